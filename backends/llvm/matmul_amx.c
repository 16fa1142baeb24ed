/* Products on the matrix unit: how they are cut, constants packed, kernels found again. */
#include "backends/llvm/matmul_amx.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* ---- cutting ---- */

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK };
enum { ROWS = VEER_MM_AMX_ROWS, COLUMNS = VEER_MM_AMX_COLUMNS };

/* Why the unit would not pay, NULL where it does. Small products are packed longer than they are multiplied. Of large
 * ones each thread would need b's three parts from memory, half as many bytes again as f32 has, for every pair of
 * tiles; threads that share it out instead would all pack all of a. */
static const char *declines(const veer_mm_problem_t *p) {
    enum { LEAST_ROWS = 48, LEAST_DEPTH = 96, LEAST_COLUMNS = 64, MOST_BYTES = 3 << 19, BYTES = 6 };
    if (!p->b_constant || p->leads > 1) return "its second matrix is not one constant";
    if (p->a_k != 1 || p->k % CHUNK) return "its rows are not whole chunks of 32";
    if (p->m < LEAST_ROWS || p->k < LEAST_DEPTH || p->n < LEAST_COLUMNS) return "it is too small";
    if (p->k * BYTES > MOST_BYTES / p->n) return "it is too large for the second cache";
    return NULL;
}

/* Blocks of k are of one length, so that none has zeros to multiply. */
static void set_blocks(veer_mm_amx_cut_t *cut, int64_t k) {
    enum { MOST_CHUNKS = 24, LEAST_CHUNKS = 8 };
    int64_t all = k / CHUNK, blocks = ceil_div(all, MOST_CHUNKS);
    while (all % blocks) blocks++;
    if (all / blocks < LEAST_CHUNKS) blocks = 1;
    cut->mm.blocks = blocks, cut->chunks = all / blocks, cut->mm.depth = cut->chunks * CHUNK;
}

static void set_panels(veer_mm_amx_cut_t *cut, int64_t n) {
    veer_mm_blocking_t *b = &cut->mm;
    b->lanes = SIDE, b->vectors = COLUMNS / SIDE;
    b->panels = ceil_div(n, COLUMNS);
    int64_t rest = n - (b->panels - 1) * COLUMNS;
    b->tail_vectors = (int)ceil_div(rest, SIDE);
    b->tail_lanes = (int)(rest - (int64_t)(b->tail_vectors - 1) * SIDE);
}

bool veer_mm_amx_cut(const veer_mm_problem_t *p, int parts, veer_mm_amx_cut_t *out, char *reason, size_t reason_bytes) {
    *out = (veer_mm_amx_cut_t){.parts = parts};
    int64_t tile_floats = veer_amx_tile_floats(parts);
    const char *why = declines(p);
    if (why) {
        snprintf(reason, reason_bytes, "not for the matrix unit: %s", why);
        return false;
    }
    set_blocks(out, p->k);
    set_panels(out, p->n);
    out->mm.groups = ceil_div(p->m, ROWS);
    out->block_floats = COLUMNS / SIDE * out->chunks * tile_floats;
    out->rows_floats = ROWS / SIDE * out->chunks * tile_floats;
    out->sums_floats = (int64_t)ROWS * COLUMNS * (out->mm.blocks > 1 ? out->mm.panels : 1);
    return true;
}

/* ---- packing ---- */

/* A chunk of 16 columns; `k`, `column`: the first. `out` is zeroed. */
static void pack_tile(const veer_mm_problem_t *p, int count, int64_t k, int64_t column, uint16_t *out) {
    int64_t columns = min_i64(SIDE, p->n - column);
    for (int64_t step = 0; step < CHUNK; step++)
        for (int64_t j = 0; j < columns; j++) {
            uint16_t parts[VEER_AMX_PARTS];
            veer_amx_split_constant(p->b_data[(k + step) * p->b_k + (column + j) * p->b_n], count, parts);
            int64_t at = (step % SIDE * VEER_AMX_ROW_FLOATS + j) * 2 + step / SIDE;
            for (int i = 0; i < count; i++) out[i * VEER_AMX_PART_FLOATS * 2 + at] = parts[i];
        }
}

/* Panel after panel, in each the blocks of k, in each the tiles, in each the chunks. */
static void pack(const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut, float *out) {
    int64_t tile_floats = veer_amx_tile_floats(cut->parts);
    for (int64_t panel = 0; panel < cut->mm.panels; panel++)
        for (int64_t block = 0; block < cut->mm.blocks; block++)
            for (int64_t column = panel * COLUMNS; column < (panel + 1) * COLUMNS; column += SIDE)
                for (int64_t chunk = 0; chunk < cut->chunks; chunk++, out += tile_floats)
                    if (column < p->n)
                        pack_tile(p, cut->parts, block * cut->mm.depth + chunk * CHUNK, column,
                                  (uint16_t *)(void *)out);
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
    if (!veer_jit_has_amx(llvm) || veer_llvm_lanes(llvm) != SIDE) {
        snprintf(reason, bytes, "there is no matrix unit");
        return false;
    }
    return veer_mm_match(g, node, p, reason, bytes) && veer_mm_amx_cut(p, VEER_AMX_PARTS, cut, reason, bytes);
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
    out->scratch_bytes = (size_t)(cut->rows_floats + cut->sums_floats) * sizeof(float);
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
    const veer_llvm_kernel_t *known = veer_jit_find(llvm, &key, key_bytes);
    if (known)
        *out_kernel = *known;
    else {
        VEER_TRY(write_kernel(llvm, &p, &cut, out_kernel));
        VEER_TRY(veer_jit_remember(llvm, &key, key_bytes, out_kernel));
    }
    return pack_constant(llvm, &p, &cut, out_kernel);
}
