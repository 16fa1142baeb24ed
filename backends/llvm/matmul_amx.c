/* Products on the matrix unit: how they are cut, constants packed, kernels found again. */
#include "backends/llvm/matmul_amx.h"
#include "ir/base/integers.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- cutting ---- */

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK, COLUMNS = VEER_MM_AMX_COLUMNS };

/* A matrix that fits the second cache goes in three parts: every thread reads all of it for each pair of tiles, and
 * nothing is lost of an f32 number. Of larger ones six bytes for each element would come from memory; in two parts they
 * take the four that f32 takes, and the error that a layer of default precision may have. 0: not on the unit. */
static int parts_of(const veer_mm_problem_t *p, bool strict) {
    enum { MOST_BYTES = 3 << 19, BYTES = 6 };
    if (p->k * BYTES <= MOST_BYTES / p->n) return 3;
    return strict ? 0 : 2;
}

/* Why the unit would not pay, NULL where it does: small products are packed longer than they are multiplied. */
static const char *declines(const veer_mm_problem_t *p, bool strict) {
    enum { LEAST_ROWS = 24, LEAST_ROWS_OF_SMALL = 48, LEAST_DEPTH = 96, LEAST_COLUMNS = 64 };
    if (!p->b_constant || p->leads > 1) return "its second matrix is not one constant";
    if (p->a_k != 1) return "its rows are not contiguous";
    if (p->m < LEAST_ROWS || p->k < LEAST_DEPTH || p->n < LEAST_COLUMNS) return "it is too small";
    int parts = parts_of(p, strict);
    if (parts == 3 && p->m < LEAST_ROWS_OF_SMALL) return "it is too small";
    if (!parts) return "in three parts it is too large for the second cache";
    return NULL;
}

/* Blocks of k are of one length, so that none has zeros to multiply. */
static void set_blocks(veer_mm_amx_cut_t *cut, int64_t k) {
    enum { MOST_CHUNKS = 24, LEAST_CHUNKS = 8 };
    int64_t all = veer_amx_chunks(k), blocks = veer_ceil_div(all, MOST_CHUNKS);
    while (all % blocks) blocks++;
    if (all / blocks < LEAST_CHUNKS) blocks = 1;
    cut->mm.blocks = blocks, cut->chunks = all / blocks, cut->mm.depth = cut->chunks * CHUNK;
}

static void set_panels(veer_mm_amx_cut_t *cut, int64_t n) {
    veer_mm_blocking_t *b = &cut->mm;
    b->lanes = SIDE, b->vectors = COLUMNS / SIDE;
    b->panels = veer_ceil_div(n, COLUMNS);
    int64_t rest = n - (b->panels - 1) * COLUMNS;
    b->tail_vectors = (int)veer_ceil_div(rest, SIDE);
    b->tail_lanes = (int)(rest - (int64_t)(b->tail_vectors - 1) * SIDE);
}

/* Rows of a group are packed in 4 MB at most: what comes from the third cache then comes once for a window. */
static void set_groups(veer_mm_amx_cut_t *cut, int64_t m) {
    enum { MOST_PAIRS = 8, MOST_BYTES = 4 << 20, WINDOW_BYTES = 1 << 19 };
    int64_t tiles = veer_amx_tiles(m), pairs = veer_ceil_div(tiles, 2), most = 1;
    int64_t pair_floats = 2 * cut->mm.blocks * cut->chunks * veer_amx_tile_floats(cut->parts);
    if (cut->parts == 2) most = veer_max_i64(1, veer_min_i64(MOST_PAIRS, MOST_BYTES / 4 / pair_floats));
    int64_t each = veer_ceil_div(pairs, veer_ceil_div(pairs, most));
    cut->mm.groups = veer_ceil_div(pairs, each);
    cut->last_tiles = tiles - 2 * each * (cut->mm.groups - 1);
    cut->group_tiles = cut->mm.groups > 1 ? 2 * each : cut->last_tiles;
    int64_t panel_floats = cut->group_tiles * SIDE * COLUMNS;
    cut->window =
        cut->mm.blocks > 1 ? veer_max_i64(1, veer_min_i64(cut->mm.panels, WINDOW_BYTES / 4 / panel_floats)) : 1;
    cut->rows_floats = veer_ceil_div(cut->group_tiles, 2) * pair_floats;
    cut->sums_floats = veer_max_i64(2, cut->window) * panel_floats;
}

bool veer_mm_amx_cut(const veer_mm_problem_t *p, bool strict, veer_mm_amx_cut_t *out, char *reason,
                     size_t reason_bytes) {
    const char *why = declines(p, strict);
    if (why) {
        snprintf(reason, reason_bytes, "not for the matrix unit: %s", why);
        return false;
    }
    *out = (veer_mm_amx_cut_t){.parts = parts_of(p, strict)};
    set_blocks(out, p->k);
    set_panels(out, p->n);
    set_groups(out, p->m);
    out->block_floats = COLUMNS / SIDE * out->chunks * veer_amx_tile_floats(out->parts);
    return true;
}

/* ---- packing ---- */

/* A chunk of 16 columns; of a word of a tile the lower and the upper half: steps i and i + 16. */
typedef struct chunk_s {
    float low[VEER_AMX_PART_FLOATS], high[VEER_AMX_PART_FLOATS];
} chunk_t;

/* `k`, `column`: the first; zeros where there is none. */
static void load_chunk(const veer_mm_problem_t *p, int64_t k, int64_t column, chunk_t *out) {
    int64_t steps = veer_min_i64(CHUNK, p->k - k), columns = veer_min_i64(SIDE, p->n - column);
    const float *from = p->b_data + k * p->b_k + column * p->b_n;
    if (steps < CHUNK || columns < SIDE) *out = (chunk_t){{0}, {0}};
    float *halves[] = {out->low, out->high};
    if (p->b_n == 1 && columns == SIDE)
        for (int64_t i = 0; i < steps; i++) memcpy(halves[i / SIDE] + i % SIDE * SIDE, from + i * p->b_k, SIDE * 4);
    else
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = 0; i < steps; i++) halves[i / SIDE][i % SIDE * SIDE + j] = from[i * p->b_k + j * p->b_n];
}

static void pack_panel_chunk(const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut, int64_t panel, int64_t chunk,
                             float *out) {
    int64_t block = panel * cut->mm.blocks + chunk / cut->chunks, tile_floats = veer_amx_tile_floats(cut->parts);
    for (int64_t tile = 0; tile < COLUMNS / SIDE; tile++) {
        int64_t column = panel * COLUMNS + tile * SIDE;
        float *to = out + block * cut->block_floats + (tile * cut->chunks + chunk % cut->chunks) * tile_floats;
        if (column >= p->n) return;
        chunk_t c;
        load_chunk(p, chunk * CHUNK, column, &c);
        veer_amx_split_tile(c.low, c.high, cut->parts, (uint32_t *)(void *)to);
    }
}

/* Panel after panel, in each the blocks of k, in each the tiles, in each the chunks. They are made in the order in
 * which b lies in memory. */
static void pack(const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut, float *out) {
    int64_t chunks = cut->mm.blocks * cut->chunks, panels = cut->mm.panels;
    if (p->b_n == 1)
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int64_t panel = 0; panel < panels; panel++) pack_panel_chunk(p, cut, panel, chunk, out);
    else
        for (int64_t panel = 0; panel < panels; panel++)
            for (int64_t chunk = 0; chunk < chunks; chunk++) pack_panel_chunk(p, cut, panel, chunk, out);
}

typedef struct pack_key_s {
    char tag[8];
    const void *data;
    int64_t k, n, b_k, b_n, chunks, parts;
} pack_key_t;

static veer_status_t pack_constant(veer_llvm_t *llvm, const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut,
                                   veer_llvm_kernel_t *out) {
    pack_key_t key = {"amxpack", p->b_data, p->k, p->n, p->b_k, p->b_n, cut->chunks, cut->parts};
    float *packed = NULL;
    bool is_new = false;
    size_t panel = (size_t)(cut->mm.blocks * cut->block_floats) * sizeof *packed, bytes;
    if (!veer_size_mul(panel, (size_t)cut->mm.panels, &bytes)) return veer_out_of_memory();
    VEER_TRY(veer_jit_constant(llvm, &key, sizeof key, bytes, (void **)&packed, &is_new));
    if (is_new) pack(p, cut, packed);
    out->packed = packed, out->packed_bytes = bytes;
    out->packed_buf = (int)p->b_buf;
    out->stream = (veer_stream_t){packed, 1, cut->mm.panels, (int64_t)panel};
    return veer_ok();
}

/* ---- the interface ---- */

static bool match(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, veer_mm_problem_t *p,
                  veer_mm_amx_cut_t *cut, char *reason, size_t bytes) {
    if (bytes) reason[0] = 0;
    if (!veer_jit_has_amx(llvm)) {
        snprintf(reason, bytes, "there is no matrix unit");
        return false;
    }
    return veer_mm_match(g, node, p, reason, bytes) && veer_mm_amx_cut(p, veer_jit_is_strict(llvm), cut, reason, bytes);
}

bool veer_llvm_matmul_amx_supports(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, char *reason,
                                   size_t bytes) {
    veer_mm_problem_t p;
    veer_mm_amx_cut_t cut;
    return match(llvm, g, node, &p, &cut, reason, bytes);
}

static veer_status_t write_kernel(veer_llvm_t *llvm, const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut,
                                  veer_llvm_kernel_t *out) {
    veer_jit_kernel_t jit;
    VEER_TRY(veer_jit_begin(llvm, VEER_JIT_LIGHT, &jit));
    veer_mm_amx_emit(&jit, p, cut);
    veer_jit_end(llvm, &jit, NULL, 400 + 40 * (double)p->step_count);
    *out = (veer_llvm_kernel_t){.id = jit.id, .work_items = cut->mm.groups * cut->mm.panels};
    out->scratch_bytes = (size_t)(VEER_MM_AMX_HEAD_FLOATS + cut->rows_floats + cut->sums_floats) * sizeof(float);
    veer_mm_measures(p, &out->flops, &out->bytes);
    return veer_ok();
}

veer_status_t veer_llvm_matmul_amx_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                        veer_llvm_kernel_t *out_kernel) {
    struct {
        char tag[8];
        veer_mm_problem_t p;
    } key = {.tag = "amxmul"};
    veer_mm_amx_cut_t cut;
    char reason[160] = "";
    if (!match(llvm, g, node, &key.p, &cut, reason, sizeof reason))
        return veer_error(VEER_ERR_UNSUPPORTED, "llvm: %s: %s", veer_op_name(veer_node_op(g, node)), reason);
    veer_mm_problem_t p = key.p;
    key.p.b_data = NULL;
    size_t key_bytes = sizeof key.tag + offsetof(veer_mm_problem_t, steps) + (size_t)p.step_count * sizeof *p.steps;
    if (!veer_jit_find(llvm, &key, key_bytes, out_kernel)) {
        VEER_TRY(write_kernel(llvm, &p, &cut, out_kernel));
        VEER_TRY(veer_jit_remember(llvm, &key, key_bytes, out_kernel));
    }
    return pack_constant(llvm, &p, &cut, out_kernel);
}
