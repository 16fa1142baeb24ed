/* A product on the matrix unit as LLVM IR:
 *
 *     for each pair of tiles of rows of the share            (a copy of its own for the last, where it is one tile)
 *         for each block of k
 *             rows of a split and packed, unless the thread has just used them
 *             for each panel of the share
 *                 sums (+)= a b on the unit
 *                 behind the last block: y = program(sums), row by row */
#include "backends/llvm/matmul_amx.h"

#include "backends/llvm/matmul_emit.h"

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK };
enum { ROWS = VEER_MM_AMX_ROWS, COLUMNS = VEER_MM_AMX_COLUMNS };

typedef struct amx_s {
    veer_mm_emitter_t mm;
    veer_tile_ctx_t t;
    veer_emit_t *e;
    const veer_mm_problem_t *p;
    const veer_mm_amx_cut_t *cut;
    val_t rows_at, sums_at; /* scratch */
    val_t first_row, rows;  /* of the pair */
    int tiles;              /* in it */
    val_t block;            /* of k */
    val_t first_panel, end_panel;
} amx_t;

static val_t int_min(amx_t *c, val_t a, val_t b) {
    return veer_emit_binary_intrinsic(c->e, "llvm.smin", a, b);
}
static val_t int_max(amx_t *c, val_t a, val_t b) {
    return veer_emit_binary_intrinsic(c->e, "llvm.smax", a, b);
}
static val_t is_equal(amx_t *c, val_t a, val_t b) {
    return LLVMBuildICmp(c->e->builder, LLVMIntEQ, a, b, "");
}

/* ---- a ---- */

static val_t vector_of_row(amx_t *c, val_t from, int64_t offset) {
    return veer_emit_load_first(c->e, veer_tile_at_c(&c->t, from, offset), SIDE, SIDE, 4);
}

static void pack_rows(amx_t *c) {
    int parts = c->cut->parts;
    veer_emit_t *e = c->e;
    veer_emit_loop_t rows = veer_emit_loop_begin(e, veer_emit_i64(e, 0), c->rows, 1);
    val_t row = veer_emit_add(e, c->first_row, rows.i);
    val_t from = veer_emit_at(e, veer_emit_at(e, c->mm.a, veer_emit_mul(e, row, c->p->a_row)),
                              veer_emit_mul(e, c->block, c->cut->mm.depth));
    val_t to = veer_emit_add(
        e, veer_emit_mul(e, veer_emit_div(e, rows.i, SIDE), c->cut->chunks * veer_amx_tile_floats(c->cut->parts)),
        veer_emit_mul(e, veer_emit_mod(e, rows.i, SIDE), VEER_AMX_ROW_FLOATS));
    to = veer_emit_at(e, c->rows_at, to);
    veer_emit_loop_t chunks = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, c->cut->chunks), 1);
    val_t at = veer_emit_at(e, from, veer_emit_mul(e, chunks.i, CHUNK));
    veer_amx_parts_t low = veer_amx_split(e, vector_of_row(c, at, 0), parts),
                     high = veer_amx_split(e, vector_of_row(c, at, SIDE), parts);
    veer_amx_store(e, parts, &low, &high, veer_emit_at(e, to, veer_emit_mul(e, chunks.i, veer_amx_tile_floats(parts))));
    veer_emit_loop_end(e, &chunks);
    veer_emit_loop_end(e, &rows);
}

/* ---- y ---- */

typedef struct finish_s {
    val_t panel, sums, row, end; /* rows of y */
    bool is_tail;
} finish_t;

static void finish_rows(amx_t *c, finish_t *f) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = &c->cut->mm;
    c->mm.vectors = f->is_tail ? b->tail_vectors : b->vectors;
    c->mm.lanes = f->is_tail ? b->tail_lanes : b->lanes;
    c->mm.column = veer_emit_mul(e, f->panel, COLUMNS);
    veer_mm_load_columns(&c->mm);
    veer_emit_loop_t rows = veer_emit_loop_begin(e, f->row, f->end, 1);
    val_t from = veer_emit_at(e, f->sums, veer_emit_mul(e, veer_emit_sub(e, rows.i, f->row), COLUMNS)), sums[2];
    for (int v = 0; v < c->mm.vectors; v++) sums[v] = vector_of_row(c, from, (int64_t)v * SIDE);
    veer_mm_finish_row(&c->mm, sums, rows.i);
    veer_emit_loop_end(e, &rows);
}

static void finish_pair(amx_t *c, finish_t *f) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    bool partial = b->tail_vectors < b->vectors || b->tail_lanes < b->lanes;
    f->is_tail = partial;
    if (!partial || b->panels == 1) {
        finish_rows(c, f);
        return;
    }
    veer_emit_branch_t tail = veer_emit_if(c->e, is_equal(c, f->panel, veer_emit_i64(c->e, b->panels - 1)));
    finish_rows(c, f);
    veer_emit_else(c->e, &tail);
    f->is_tail = false;
    finish_rows(c, f);
    veer_emit_endif(c->e, &tail);
}

/* ---- products ---- */

/* Sums of blocks begin with zeros. */
static void clear_sums(amx_t *c, val_t sums) {
    val_t zero = LLVMConstNull(LLVMVectorType(c->e->f32, SIDE));
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0),
                                                 veer_emit_i64(c->e, (int64_t)c->tiles * SIDE * COLUMNS), SIDE);
    veer_emit_store_first(c->e, zero, veer_emit_at(c->e, sums, loop.i), SIDE);
    veer_emit_loop_end(c->e, &loop);
}

static void do_panel(amx_t *c, val_t panel) {
    veer_emit_t *e = c->e;
    int64_t tile_floats = c->cut->chunks * veer_amx_tile_floats(c->cut->parts), blocks = c->cut->mm.blocks;
    finish_t f = {.panel = panel, .sums = c->sums_at, .row = c->first_row};
    f.end = veer_emit_add(e, c->first_row, c->rows);
    if (blocks > 1) {
        f.sums = veer_emit_at(e, c->sums_at, veer_emit_mul(e, panel, ROWS * COLUMNS));
        veer_emit_branch_t first = veer_emit_if(e, is_equal(c, c->block, veer_emit_i64(e, 0)));
        clear_sums(c, f.sums);
        veer_emit_endif(e, &first);
    }
    val_t b = veer_emit_add(e, veer_emit_mul(e, panel, blocks * c->cut->block_floats),
                            veer_emit_mul(e, c->block, c->cut->block_floats));
    veer_amx_product_t product = {.parts = c->cut->parts,
                                  .row_tiles = c->tiles,
                                  .column_tiles = COLUMNS / SIDE,
                                  .chunks = c->cut->chunks,
                                  .a = c->rows_at,
                                  .b = veer_emit_at(e, c->mm.bm, b),
                                  .a_tile = tile_floats,
                                  .b_tile = tile_floats,
                                  .c = f.sums,
                                  .c_row = COLUMNS,
                                  .adds = blocks > 1};
    veer_amx_multiply(&c->t, &product);
    if (blocks == 1) {
        finish_pair(c, &f);
        return;
    }
    veer_emit_branch_t last = veer_emit_if(e, is_equal(c, c->block, veer_emit_i64(e, blocks - 1)));
    finish_pair(c, &f);
    veer_emit_endif(e, &last);
}

static void do_panels(amx_t *c) {
    veer_emit_loop_t panels = veer_emit_loop_begin(c->e, c->first_panel, c->end_panel, 1);
    do_panel(c, panels.i);
    veer_emit_loop_end(c->e, &panels);
}

/* ---- the share ---- */

static void do_pair(amx_t *c) {
    veer_emit_t *e = c->e;
    veer_jit_kernel_t *jit = c->mm.jit;
    val_t zero = veer_emit_i64(e, 0);
    if (c->cut->mm.blocks > 1) {
        veer_emit_loop_t blocks = veer_emit_loop_begin(e, zero, veer_emit_i64(e, c->cut->mm.blocks), 1);
        c->block = blocks.i;
        pack_rows(c);
        do_panels(c);
        veer_emit_loop_end(e, &blocks);
        return;
    }
    /* A range that goes on where the last one ended finds the rows of a pair that it is in the middle of. */
    val_t goes_on = LLVMBuildAnd(e->builder, LLVMBuildICmp(e->builder, LLVMIntNE, jit->continues, zero, ""),
                                 LLVMBuildICmp(e->builder, LLVMIntSGT, c->first_panel, zero, ""), "");
    c->block = zero;
    veer_emit_branch_t is_new = veer_emit_if(e, LLVMBuildNot(e->builder, goes_on, ""));
    pack_rows(c);
    veer_emit_endif(e, &is_new);
    do_panels(c);
}

/* Panels of the pair that belong to the share; its rows. */
static void open_pair(amx_t *c, val_t pair) {
    veer_emit_t *e = c->e;
    int64_t panels = c->cut->mm.panels;
    val_t before = veer_emit_mul(e, pair, panels);
    c->first_panel = veer_emit_sub(e, int_max(c, c->mm.jit->begin, before), before);
    c->end_panel = int_min(c, veer_emit_sub(e, c->mm.jit->end, before), veer_emit_i64(e, panels));
    c->first_row = veer_emit_mul(e, pair, ROWS);
    c->rows = int_min(c, veer_emit_sub(e, veer_emit_i64(e, c->p->m), c->first_row), veer_emit_i64(e, ROWS));
}

void veer_mm_amx_emit(veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut) {
    enum { REGISTERS = 32 };
    amx_t c = {.e = &jit->emit, .p = p, .cut = cut};
    veer_emit_t *e = c.e;
    veer_mm_emitter_init(&c.mm, jit, p, &cut->mm);
    c.t = (veer_tile_ctx_t){e, SIDE, REGISTERS, LLVMVectorType(e->f32, SIDE)};
    c.rows_at = jit->scratch;
    c.sums_at = veer_emit_at(e, jit->scratch, veer_emit_i64(e, cut->rows_floats));
    veer_amx_begin(e);
    val_t first = veer_emit_div(e, jit->begin, cut->mm.panels),
          last = veer_emit_div(e, veer_emit_sub(e, jit->end, veer_emit_i64(e, 1)), cut->mm.panels);
    veer_emit_loop_t pairs = veer_emit_loop_begin(e, first, veer_emit_add(e, last, veer_emit_i64(e, 1)), 1);
    open_pair(&c, pairs.i);
    veer_emit_branch_t whole =
        veer_emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSGT, c.rows, veer_emit_i64(e, SIDE), ""));
    c.tiles = ROWS / SIDE;
    do_pair(&c);
    if (veer_amx_tiles(p->m) % 2) {
        veer_emit_else(e, &whole);
        c.tiles = 1;
        do_pair(&c);
    }
    veer_emit_endif(e, &whole);
    veer_emit_loop_end(e, &pairs);
    veer_amx_end(e);
}
