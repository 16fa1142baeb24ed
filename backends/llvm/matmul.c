/* Products: how they are cut, constants packed, kernels found again. */
#include "backends/llvm/matmul.h"
#include "ir/base/integers.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- cutting ---- */

/* Rows of `a` that are whole pages apart compete for the same few lines of the first cache. */
enum { PAGE_BYTES = 4096, ALIASED_ROWS = 8 };

/* Cycles per k of a tile: two multiply-adds or two loads a cycle, a latency of four, 40 bytes of b a cycle. */
double veer_mm_tile_cycles(int64_t rows, int vectors, int lanes) {
    double fma = (double)(rows * vectors) / 2, loads = (double)(rows + vectors) / 2, most = 4;
    double bytes = (double)(vectors * lanes * 4) / 40;
    if (fma > most) most = fma;
    if (loads > most) most = loads;
    if (bytes > most) most = bytes;
    return most;
}

static void set_tiles(veer_mm_blocking_t *b, int64_t m, int64_t most_rows) {
    b->tiles = veer_ceil_div(m, most_rows);
    b->tile_rows = m / b->tiles;
    b->long_tiles = m % b->tiles;
}

static void set_panels(veer_mm_blocking_t *b, int64_t n) {
    int64_t width = (int64_t)b->vectors * b->lanes, rest;
    b->panels = veer_ceil_div(n, width);
    rest = n - (b->panels - 1) * width;
    b->tail_vectors = (int)veer_ceil_div(rest, b->lanes);
    b->tail_lanes = (int)(rest - (int64_t)(b->tail_vectors - 1) * b->lanes);
}

static double lead_cycles(const veer_mm_blocking_t *b) {
    int64_t tiles[2] = {b->long_tiles, b->tiles - b->long_tiles};
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        int64_t rows = b->tile_rows + (i == 0);
        sum += (double)tiles[i] * ((double)(b->panels - 1) * veer_mm_tile_cycles(rows, b->vectors, b->lanes) +
                                   veer_mm_tile_cycles(rows, b->tail_vectors, b->lanes));
    }
    return sum;
}

int veer_mm_unroll(int accumulators) {
    return accumulators >= 12 ? 2 : accumulators >= 6 ? 4 : VEER_MM_MOST_UNROLLED;
}

/* Sums wait in y while another block of k is on its way, exactly. */
static void set_blocks(const veer_mm_problem_t *p, veer_mm_blocking_t *b) {
    enum { LONG = 1024, DEPTH = 768 };
    b->depth = p->k, b->blocks = 1;
    if (p->k <= LONG) return;
    int64_t wanted = veer_ceil_div(p->k, DEPTH);
    b->depth = veer_ceil_div(veer_ceil_div(p->k, wanted), VEER_MM_MOST_UNROLLED) * VEER_MM_MOST_UNROLLED;
    while ((p->k - 1) % b->depth + 1 < VEER_MM_MOST_UNROLLED) b->depth += VEER_MM_MOST_UNROLLED;
    b->blocks = veer_ceil_div(p->k, b->depth);
}

/* Nothing of a constant is in the second cache when its turn comes: all others were used since. It comes while the
 * block before it is multiplied with all tiles, each of which fetches its part; the first block, while the last one of
 * the product before is. */
static void set_fetch(const veer_mm_problem_t *p, veer_mm_blocking_t *b) {
    enum { SMALL_BYTES = 1 << 14, LINE_FLOATS = 16 };
    if (!p->b_constant || p->b_lead || p->k * p->n * 4 < SMALL_BYTES) return;
    b->fetch_tiles = b->panels_outer && b->blocks == 1 ? b->tiles : b->tiles / b->groups;
    int64_t steps = b->depth / veer_mm_unroll((int)b->tile_rows * b->vectors);
    b->fetch_step = (int)veer_ceil_div(b->depth * b->vectors * b->lanes, veer_max_i64(1, steps) * b->fetch_tiles);
    b->prefetch = (int)veer_ceil_div(b->fetch_step, LINE_FLOATS);
}

/* A matrix that fits the second cache is better read by every thread, each with rows of its own, than shared out: rows
 * of `a` are then mostly where this thread's part of the product before left them, and not in another's cache. Groups
 * of fewer rows would wait for the panels, which come from the third cache. */
static bool has_rows_to_share(const veer_mm_problem_t *p) {
    enum { MOST_BYTES = 1 << 20, LEAST_ROWS = 128 };
    return p->b_constant && !p->b_lead && p->leads * p->m >= LEAST_ROWS && p->k * p->n * 4 <= MOST_BYTES;
}

/* Tiles that an item does by one panel: their rows of a should stay in the second cache while panels go by; items
 * should be many enough to share, and not too small to be worth it. */
static void set_groups(const veer_mm_problem_t *p, veer_mm_blocking_t *b) {
    enum { GROUP_ROWS = 40 };
    if (has_rows_to_share(p)) {
        b->groups = veer_max_i64(1, veer_min_i64(b->tiles, p->m / GROUP_ROWS));
        return;
    }
    enum { GROUP_BYTES = 1 << 19, LEAST_ITEMS = 32, LEAST_FLOPS = 400000 };
    int64_t row_bytes = b->depth * 4, tile_bytes = b->tile_rows * row_bytes;
    int64_t group = veer_min_i64(b->tiles, veer_max_i64(1, GROUP_BYTES / tile_bytes));
    double tile_flops = 2.0 * (double)(b->tile_rows * p->k * b->vectors * b->lanes);
    /* A second group would want each block of a panel twice as fast as memory gives it, and then not at all. */
    int64_t least_items = b->blocks > 1 ? LEAST_ITEMS / 2 : LEAST_ITEMS;
    while (group > 1 && p->leads * b->panels * veer_ceil_div(b->tiles, group) < least_items &&
           tile_flops * (double)group > LEAST_FLOPS)
        group = (group + 1) / 2;
    b->groups = veer_ceil_div(b->tiles, group);
    b->panels_outer = p->k * p->n > p->m * p->k;
}

veer_mm_blocking_t veer_mm_cut(const veer_mm_problem_t *p, int lanes, int registers) {
    int accumulators = registers >= 32 ? 28 : 12;
    int64_t most_rows = p->a_row * 4 % PAGE_BYTES ? VEER_MM_MAX_ROWS : ALIASED_ROWS;
    veer_mm_blocking_t best = {0};
    double best_cycles = 0;
    for (int i = 0; i < VEER_MM_MAX_VECTORS; i++) {
        int vectors = (int[VEER_MM_MAX_VECTORS]){2, 3, 4, 1}[i];
        veer_mm_blocking_t b = {.lanes = lanes, .vectors = vectors};
        set_tiles(&b, p->m, veer_min_i64(most_rows, accumulators / vectors));
        set_panels(&b, p->n);
        if (b.panels == 1) b.vectors = b.tail_vectors;
        double cycles = lead_cycles(&b);
        if (best.lanes && cycles > best_cycles * 0.97) continue;
        best = b, best_cycles = cycles;
    }
    set_blocks(p, &best);
    set_groups(p, &best);
    set_fetch(p, &best);
    return best;
}

/* ---- packing ---- */

static size_t packed_floats(const veer_mm_problem_t *p, const veer_mm_blocking_t *b) {
    int64_t vectors = (b->panels - 1) * b->vectors + b->tail_vectors;
    return (size_t)((p->b_lead ? p->leads : 1) * vectors * b->lanes * p->k);
}

/* Zeros behind the last column. `out` is zeroed. */
static void pack(const veer_mm_problem_t *p, const veer_mm_blocking_t *b, float *out) {
    int64_t width = (int64_t)b->vectors * b->lanes, leads = p->b_lead ? p->leads : 1;
    for (int64_t l = 0; l < leads; l++)
        for (int64_t j0 = 0; j0 < p->n; j0 += width) {
            int64_t columns = veer_min_i64(width, p->n - j0),
                    stride = j0 + width < p->n ? width : (int64_t)b->tail_vectors * b->lanes;
            const float *from = p->b_data + l * p->b_lead + j0 * p->b_n;
            for (int64_t k = 0; k < p->k; k++, out += stride)
                for (int64_t j = 0; j < columns; j++) out[j] = from[k * p->b_k + j * p->b_n];
        }
}

typedef struct pack_key_s {
    const void *data;
    int64_t leads, k, n, b_lead, b_k, b_n, lanes, vectors;
} pack_key_t;

static veer_status_t pack_constant(veer_llvm_t *llvm, const veer_mm_problem_t *p, const veer_mm_blocking_t *b,
                                   veer_llvm_kernel_t *out) {
    pack_key_t key = {p->b_data, p->b_lead ? p->leads : 1, p->k, p->n, p->b_lead, p->b_k, p->b_n, b->lanes, b->vectors};
    float *packed = NULL;
    bool is_new = false;
    size_t count = packed_floats(p, b);
    if (count > SIZE_MAX / sizeof *packed) return veer_out_of_memory();
    VEER_TRY(veer_jit_constant(llvm, &key, sizeof key, count * sizeof *packed, (void **)&packed, &is_new));
    if (is_new) pack(p, b, packed);
    out->packed = packed;
    out->packed_bytes = count * sizeof *packed;
    out->packed_buf = (int)p->b_buf;
    out->stream = (veer_stream_t){NULL, 1, 1, 0};
    if (b->fetch_tiles)
        out->stream = (veer_stream_t){packed, b->panels_outer ? b->groups : 1, b->panels,
                                      (int64_t)b->vectors * b->lanes * p->k * (int64_t)sizeof *packed};
    return veer_ok();
}

/* ---- the interface ---- */

bool veer_llvm_matmul_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t size) {
    veer_mm_problem_t p;
    if (size) reason[0] = 0;
    return veer_mm_match(g, node, &p, reason, size);
}

static double operations(const veer_mm_problem_t *p) {
    double each = 2.0 * (double)p->k;
    for (int i = 0; i < p->step_count; i++) each += p->steps[i].kind == VEER_MM_OP;
    return each * (double)(p->leads * p->m) * (double)p->n;
}

static double bytes_moved(const veer_mm_problem_t *p) {
    double rows = (double)(p->leads * p->m), y = rows * (double)p->n;
    double b = (double)(p->b_lead ? p->leads : 1) * (double)(p->k * p->n), sum = rows * (double)p->k + b + y;
    for (int i = 0; i < p->step_count; i++)
        if (p->steps[i].kind == VEER_MM_LOAD && p->steps[i].term_count && p->steps[i].column_stride) sum += y;
    return 4 * sum;
}

void veer_mm_measures(const veer_mm_problem_t *p, double *out_flops, double *out_bytes) {
    *out_flops = operations(p), *out_bytes = bytes_moved(p);
}

static veer_status_t write_kernel(veer_llvm_t *llvm, const veer_mm_problem_t *p, const veer_mm_blocking_t *b,
                                  veer_llvm_kernel_t *out) {
    veer_jit_kernel_t jit;
    VEER_TRY(veer_jit_begin(llvm, VEER_JIT_LIGHT, &jit));
    veer_mm_emit(&jit, p, b);
    veer_jit_end(llvm, &jit, NULL, 400 + 40 * (double)p->step_count);
    *out = (veer_llvm_kernel_t){.id = jit.id, .work_items = p->leads * b->groups * b->panels};
    veer_mm_measures(p, &out->flops, &out->bytes);
    return veer_ok();
}

veer_status_t veer_llvm_matmul_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                    veer_llvm_kernel_t *out_kernel) {
    static const char tag[8] = "product";
    struct {
        char tag[8];
        veer_mm_problem_t p;
    } key;
    char reason[160] = "";
    memcpy(key.tag, tag, sizeof tag);
    if (!veer_mm_match(g, node, &key.p, reason, sizeof reason))
        return veer_error(VEER_ERR_UNSUPPORTED, "llvm: %s: %s", veer_op_name(veer_node_op(g, node)), reason);
    veer_mm_problem_t p = key.p;
    veer_mm_blocking_t b = veer_mm_cut(&p, veer_llvm_lanes(llvm), veer_jit_registers(llvm));
    key.p.b_data = NULL;
    size_t key_bytes = offsetof(veer_mm_problem_t, steps) + (size_t)p.step_count * sizeof *p.steps + sizeof tag;
    if (!veer_jit_find(llvm, &key, key_bytes, out_kernel)) {
        VEER_TRY(write_kernel(llvm, &p, &b, out_kernel));
        VEER_TRY(veer_jit_remember(llvm, &key, key_bytes, out_kernel));
    }
    return p.b_constant ? pack_constant(llvm, &p, &b, out_kernel) : veer_ok();
}
