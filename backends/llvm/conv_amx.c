/* Convolutions on the matrix unit: how they are cut, weights packed, kernels found again. */
#include "backends/llvm/conv_amx.h"
#include "ir/base/integers.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK, PARTS = VEER_CONV_AMX_PARTS };
enum { STEP_FLOATS = VEER_CONV_AMX_STEP_FLOATS };

/* ---- cutting ---- */

/* Why the unit would not pay, NULL where it does. */
static const char *declines(const veer_conv_problem_t *p) {
    enum { LEAST_CHANNELS = 8, LEAST_POSITIONS = 16 };
    if (p->kernel_h * p->kernel_w > VEER_CONV_AMX_MOST_TAPS) return "its kernel is too large";
    if (p->mm.k < LEAST_CHANNELS || p->mm.n < LEAST_CHANNELS) return "it has too few channels";
    if (p->images * p->y_h * p->y_w < LEAST_POSITIONS) return "it has too few positions";
    if (p->mm.moment_rows) return "moments follow it";
    return NULL;
}

static void set_planes(const veer_conv_problem_t *p, veer_conv_amx_cut_t *cut) {
    int64_t reach = p->dilation_h * (p->kernel_h - 1);
    cut->copies = cut->in_rows ? 1 : p->kernel_w;
    cut->pitch = cut->in_rows ? p->y_w + p->dilation_w * (p->kernel_w - 1) : p->y_w;
    cut->remainders = veer_min_i64(p->stride_h, reach + 1);
    cut->plane_rows = cut->segment_rows + reach / p->stride_h;
    cut->segment_positions = cut->remainders * cut->copies * cut->plane_rows * cut->pitch;
    cut->tiles =
        cut->in_rows ? cut->segment_rows * veer_conv_amx_row_tiles(p) : veer_ceil_div(cut->segment_rows * p->y_w, SIDE);
}

static int64_t group_bytes(const veer_conv_amx_cut_t *cut, int64_t segments) {
    enum { LINE_BYTES = VEER_CONV_AMX_LINE * 4 };
    return segments * cut->segment_positions * cut->chunks * PARTS * LINE_BYTES;
}

/* What the second cache holds beside weights, and items for several threads. */
enum { GROUP_BYTES = 3 << 18, LEAST_ITEMS = 8 };

/* Segments of one length, where a few more of them give that. */
static int64_t even_parts(int64_t rows, int64_t parts) {
    for (int64_t more = parts; more <= parts + parts / 4 + 1 && more <= rows; more++)
        if (rows % more == 0) return more;
    return parts;
}

/* Rows of x that a segment shares with the next are split twice, so segments are not short. */
static void cut_images(const veer_conv_problem_t *p, veer_conv_amx_cut_t *cut) {
    enum { LEAST_ROWS = 8 };
    int64_t parts = 1, most = veer_max_i64(1, p->y_h / LEAST_ROWS);
    for (;; parts++) {
        parts = even_parts(p->y_h, parts);
        cut->segment_rows = veer_ceil_div(p->y_h, parts);
        cut->image_segments = veer_ceil_div(p->y_h, cut->segment_rows);
        set_planes(p, cut);
        bool fits = group_bytes(cut, 1) <= GROUP_BYTES,
             enough = cut->image_segments * p->images * cut->mm.panels >= LEAST_ITEMS;
        if ((fits && (enough || parts >= most)) || cut->segment_rows == 1) return;
    }
}

static void set_groups(const veer_conv_problem_t *p, veer_conv_amx_cut_t *cut) {
    cut->group_segments = 1;
    cut_images(p, cut);
    if (cut->image_segments == 1) {
        int64_t most = veer_max_i64(1, GROUP_BYTES / group_bytes(cut, 1)), groups = veer_ceil_div(p->images, most);
        groups = veer_min_i64(p->images, veer_max_i64(groups, veer_ceil_div(LEAST_ITEMS, cut->mm.panels)));
        cut->group_segments = veer_ceil_div(p->images, groups);
        while (cut->group_segments * cut->tiles % VEER_AMX_TALL && cut->group_segments < p->images)
            cut->group_segments++;
    }
    cut->mm.groups = veer_ceil_div(p->images * cut->image_segments, cut->group_segments);
}

static void set_panels(veer_mm_blocking_t *b, int64_t n) {
    b->lanes = SIDE, b->vectors = b->tail_vectors = 1;
    b->panels = veer_ceil_div(n, SIDE);
    b->tail_lanes = (int)(n - (b->panels - 1) * SIDE);
}

int64_t veer_conv_amx_offset(const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut, int64_t u, int64_t v) {
    int64_t row = u * p->dilation_h, plane = row % p->stride_h * cut->copies + (cut->in_rows ? 0 : v);
    int64_t at = (plane * cut->plane_rows + row / p->stride_h) * cut->pitch;
    return at + (cut->in_rows ? v * p->dilation_w : 0);
}

/* ---- cost ---- */

/* Cycles of one core as measured by bench/winograd_probe.c: three products of tiles; splitting a chunk of a position,
 * which takes power from the products that are under way meanwhile; finishing a vector of y, likewise; bytes of weights
 * that come from memory in a cycle. */
static const double TILE = 60, SPLIT = 17, DONE = 3, BYTES = 6;

static double cycles(const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut) {
    double segments = (double)(p->images * cut->image_segments), steps = (double)(cut->taps * cut->chunks);
    double panels = (double)cut->mm.panels, groups = (double)cut->mm.groups;
    double products = groups * (double)(veer_conv_amx_blocks(cut) * VEER_AMX_TALL) * panels * steps * TILE;
    double weights = steps * panels * STEP_FLOATS * 4 / BYTES;
    return fmax(products, weights) + segments * (double)cut->tiles * SIDE * panels * DONE +
           segments * (double)(cut->segment_positions * cut->chunks) * SPLIT;
}

/* ---- the choice ---- */

static veer_conv_amx_cut_t cut_as(const veer_conv_problem_t *p, bool in_rows) {
    veer_conv_amx_cut_t cut = {
        .in_rows = in_rows, .taps = p->kernel_h * p->kernel_w, .chunks = veer_amx_chunks(p->mm.k)};
    set_panels(&cut.mm, p->mm.n);
    set_groups(p, &cut);
    /* Behind the last position, what a tile reads that has fewer than 16; not a multiple of a page. */
    cut.part_floats = (cut.group_segments * cut.segment_positions + SIDE) * VEER_CONV_AMX_LINE;
    if (cut.part_floats % 1024 == 0) cut.part_floats += VEER_CONV_AMX_LINE;
    cut.panel_floats = cut.chunks * cut.taps * STEP_FLOATS;
    return cut;
}

bool veer_conv_amx_cut(const veer_conv_problem_t *p, veer_conv_amx_cut_t *out, char *reason, size_t reason_bytes) {
    const char *why = declines(p);
    if (why) {
        snprintf(reason, reason_bytes, "not for the matrix unit: %s", why);
        return false;
    }
    *out = cut_as(p, false);
    if (p->stride_h > 1 || p->stride_w > 1) return true;
    veer_conv_amx_cut_t in_rows = cut_as(p, true);
    if (cycles(p, &in_rows) <= cycles(p, out)) *out = in_rows;
    return true;
}

/* ---- packing ---- */

/* The taps of channel c for column n, in the order of the kernel's elements. */
static const float *weights_of(const veer_conv_problem_t *p, int64_t taps, int64_t c, int64_t n) {
    return p->mm.b_data + (p->transposed ? c * p->mm.n + n : n * p->mm.k + c) * taps;
}

/* A chunk of a panel whose first column is `first`; `out`: of its first element of the kernel. */
static void pack_chunk(const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut, int64_t chunk, int64_t first,
                       uint16_t *out) {
    int64_t channels = veer_min_i64(CHUNK, p->mm.k - chunk * CHUNK), columns = veer_min_i64(SIDE, p->mm.n - first);
    for (int64_t j = 0; j < columns; j++)
        for (int64_t c = 0; c < channels; c++) {
            const float *w = weights_of(p, cut->taps, chunk * CHUNK + c, first + j);
            uint16_t *at = out + (c % SIDE * VEER_AMX_ROW_FLOATS + j) * 2 + c / SIDE;
            for (int64_t tap = 0; tap < cut->taps; tap++, at += STEP_FLOATS * 2) {
                uint16_t parts[VEER_AMX_PARTS];
                veer_amx_split_constant(w[p->transposed ? cut->taps - 1 - tap : tap], PARTS, parts);
                for (int i = 0; i < PARTS; i++) at[(ptrdiff_t)i * VEER_AMX_PART_FLOATS * 2] = parts[i];
            }
        }
}

static void pack(const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut, float *out) {
    for (int64_t panel = 0; panel < cut->mm.panels; panel++)
        for (int64_t chunk = 0; chunk < cut->chunks; chunk++, out += cut->taps * STEP_FLOATS)
            pack_chunk(p, cut, chunk, panel * SIDE, (uint16_t *)(void *)out);
}

typedef struct pack_key_s {
    char tag[8];
    const void *data;
    int64_t k, n, taps, transposed;
} pack_key_t;

static veer_status_t pack_weights(veer_llvm_t *llvm, const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut,
                                  veer_llvm_kernel_t *out) {
    pack_key_t key = {"cvamxpk", p->mm.b_data, p->mm.k, p->mm.n, cut->taps, p->transposed};
    float *packed = NULL;
    bool is_new = false;
    size_t bytes;
    if (!veer_size_mul((size_t)cut->mm.panels, (size_t)cut->panel_floats * sizeof *packed, &bytes))
        return veer_out_of_memory();
    VEER_TRY(veer_jit_constant(llvm, &key, sizeof key, bytes, (void **)&packed, &is_new));
    if (is_new) pack(p, cut, packed);
    out->packed = packed, out->packed_bytes = bytes;
    out->packed_buf = (int)p->mm.b_buf;
    out->stream = (veer_stream_t){packed, 1, cut->mm.panels, cut->panel_floats * (int64_t)sizeof *packed};
    return veer_ok();
}

/* ---- the interface ---- */

static bool match(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, veer_conv_problem_t *p,
                  veer_conv_amx_cut_t *cut, char *reason, size_t bytes) {
    if (bytes) reason[0] = 0;
    const char *why = !veer_jit_has_amx(llvm)    ? "there is no matrix unit"
                      : veer_jit_is_strict(llvm) ? "strict precision excludes numbers of 16 bits"
                                                 : NULL;
    if (why) {
        snprintf(reason, bytes, "%s", why);
        return false;
    }
    return veer_conv_match(g, node, p, reason, bytes) && veer_conv_amx_cut(p, cut, reason, bytes);
}

bool veer_llvm_conv_amx_supports(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, double *out_gain,
                                 char *reason, size_t bytes) {
    veer_conv_problem_t p;
    veer_conv_amx_cut_t cut;
    if (!match(llvm, g, node, &p, &cut, reason, bytes)) return false;
    *out_gain = veer_conv_direct_cycles(&p, SIDE) / cycles(&p, &cut);
    return true;
}

static veer_status_t write_kernel(veer_llvm_t *llvm, const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut,
                                  veer_llvm_kernel_t *out) {
    veer_jit_kernel_t jit;
    VEER_TRY(veer_jit_begin(llvm, VEER_JIT_LIGHT, &jit));
    veer_conv_amx_emit(&jit, p, cut);
    veer_jit_end(llvm, &jit, NULL, 800 + 40 * (double)p->mm.step_count);
    *out = (veer_llvm_kernel_t){.id = jit.id, .work_items = cut->mm.groups * cut->mm.panels};
    out->scratch_bytes = (size_t)(veer_conv_amx_x_floats(cut) + VEER_AMX_TALL * VEER_AMX_PART_FLOATS) * sizeof(float);
    out->flops = veer_conv_operations(p);
    out->bytes = veer_conv_bytes(p) + 4.0 * (double)(cut->taps * p->mm.k * p->mm.n);
    return veer_ok();
}

veer_status_t veer_llvm_conv_amx_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                      veer_llvm_kernel_t *out_kernel) {
    struct {
        char tag[8];
        veer_conv_problem_t p;
    } key = {.tag = "convamx"};
    veer_conv_amx_cut_t cut;
    char reason[160] = "";
    if (!match(llvm, g, node, &key.p, &cut, reason, sizeof reason))
        return veer_error(VEER_ERR_UNSUPPORTED, "llvm: %s: %s", veer_op_name(veer_node_op(g, node)), reason);
    veer_conv_problem_t p = key.p;
    key.p.mm.b_data = NULL;
    size_t key_bytes = sizeof key.tag + offsetof(veer_conv_problem_t, mm) + offsetof(veer_mm_problem_t, steps) +
                       (size_t)p.mm.step_count * sizeof *p.mm.steps;
    if (!veer_jit_find(llvm, &key, key_bytes, out_kernel)) {
        VEER_TRY(write_kernel(llvm, &p, &cut, out_kernel));
        VEER_TRY(veer_jit_remember(llvm, &key, key_bytes, out_kernel));
    }
    return pack_weights(llvm, &p, &cut, out_kernel);
}
