/* A product on the matrix unit as LLVM IR:
 *
 *     for each group of rows of the share            (a copy of its own for the last, where it has fewer tiles)
 *         rows of a split and packed, unless they are what the thread has packed last
 *         for each window of panels of the share
 *             for each block of k
 *                 for each panel of the window
 *                     sums (+)= a b on the unit; meanwhile the next block of b is fetched and, in the last block,
 *                     y = program(sums) of the panel before, row by row
 *             the same of the window's last panel */
#include "backends/llvm/matmul_amx.h"

#include "backends/llvm/matmul_emit.h"

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK, COLUMNS = VEER_MM_AMX_COLUMNS };

typedef struct amx_s {
    veer_mm_emitter_t mm;
    veer_tile_ctx_t t;
    veer_emit_t *e;
    const veer_mm_problem_t *p;
    const veer_mm_amx_cut_t *cut;
    val_t rows_at, sums_at;       /* scratch */
    val_t group, first_row, rows; /* of the group */
    int64_t tiles;                /* in it */
    val_t first_panel, end_panel; /* of the group, in the share */
    val_t window_at, window_end;  /* panels */
    val_t block;                  /* of k */
    val_t after;                  /* what is read behind the group's last panel */
} amx_t;

/* ---- a ---- */

static val_t vector_of_row(amx_t *c, val_t from, int64_t offset) {
    return veer_emit_load_first(c->e, veer_tile_at_c(&c->t, from, offset), SIDE, SIDE, 4);
}

/* Floats of a block of a. */
static int64_t block_of_rows(const amx_t *c) {
    return c->tiles * c->cut->chunks * veer_amx_tile_floats(c->cut->parts);
}

/* A chunk of a row, of which `count` steps exist. */
static void pack_chunk(amx_t *c, val_t from, int64_t count, val_t to) {
    int64_t high_count = count - SIDE, low_count = high_count > 0 ? SIDE : count;
    int parts = c->cut->parts;
    veer_amx_parts_t high, low = veer_amx_split(c->e, veer_emit_load_first(c->e, from, (int)low_count, SIDE, 4), parts);
    if (high_count > 0) {
        val_t at = veer_tile_at_c(&c->t, from, SIDE);
        high = veer_amx_split(c->e, veer_emit_load_first(c->e, at, (int)high_count, SIDE, 4), parts);
    }
    veer_amx_store(c->e, parts, &low, high_count > 0 ? &high : NULL, to);
}

/* A block of a row; `from`, `to`: of all of k. */
static void pack_block(amx_t *c, val_t from, val_t to, val_t block) {
    veer_emit_t *e = c->e;
    int64_t whole = c->p->k / CHUNK, rest = c->p->k % CHUNK, last = whole - (c->cut->mm.blocks - 1) * c->cut->chunks;
    int64_t tile_floats = veer_amx_tile_floats(c->cut->parts);
    val_t end = veer_emit_i64(e, c->cut->chunks),
          is_last = veer_emit_is_equal(e, block, veer_emit_i64(e, c->cut->mm.blocks - 1));
    if (rest) end = veer_emit_select(e, is_last, veer_emit_i64(e, last), end);
    from = veer_emit_at(e, from, veer_emit_mul(e, block, c->cut->mm.depth));
    to = veer_emit_at(e, to, veer_emit_mul(e, block, block_of_rows(c)));
    veer_emit_loop_t chunks = veer_emit_loop_begin(e, veer_emit_i64(e, 0), end, 1);
    pack_chunk(c, veer_emit_at(e, from, veer_emit_mul(e, chunks.i, CHUNK)), CHUNK,
               veer_emit_at(e, to, veer_emit_mul(e, chunks.i, tile_floats)));
    veer_emit_loop_end(e, &chunks);
    if (!rest) return;
    veer_emit_branch_t behind = veer_emit_if(e, is_last);
    pack_chunk(c, veer_tile_at_c(&c->t, from, last * CHUNK), rest, veer_tile_at_c(&c->t, to, last * tile_floats));
    veer_emit_endif(e, &behind);
}

static void pack_rows(amx_t *c) {
    veer_emit_t *e = c->e;
    veer_emit_loop_t rows = veer_emit_loop_begin(e, veer_emit_i64(e, 0), c->rows, 1);
    val_t row = veer_emit_add(e, c->first_row, rows.i);
    val_t from = veer_emit_at(e, c->mm.a, veer_emit_mul(e, row, c->p->a_row));
    int64_t tile = c->cut->chunks * veer_amx_tile_floats(c->cut->parts);
    val_t to = veer_emit_at(e, c->rows_at,
                            veer_emit_add(e, veer_emit_mul(e, veer_emit_div(e, rows.i, SIDE), tile),
                                          veer_emit_mul(e, veer_emit_mod(e, rows.i, SIDE), VEER_AMX_ROW_FLOATS)));
    veer_emit_loop_t blocks = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, c->cut->mm.blocks), 1);
    pack_block(c, from, to, blocks.i);
    veer_emit_loop_end(e, &blocks);
    veer_emit_loop_end(e, &rows);
}

/* The head of scratch tells which group is packed behind it, from one range of a call to the next. */
static void find_or_pack_rows(amx_t *c) {
    veer_emit_t *e = c->e;
    val_t packed = LLVMBuildLoad2(e->builder, e->i64, c->mm.jit->scratch, ""), zero = veer_emit_i64(e, 0);
    val_t is_known =
        LLVMBuildAnd(e->builder, LLVMBuildNot(e->builder, veer_emit_is_equal(e, c->mm.jit->again, zero), ""),
                     veer_emit_is_equal(e, packed, c->group), "");
    veer_emit_branch_t is_new = veer_emit_if(e, LLVMBuildNot(e->builder, is_known, ""));
    pack_rows(c);
    LLVMBuildStore(e->builder, c->group, c->mm.jit->scratch);
    veer_emit_endif(e, &is_new);
}

/* ---- y ---- */

/* Before rows of a panel are finished. */
static void open_panel(amx_t *c, val_t panel, bool is_tail) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    c->mm.vectors = is_tail ? b->tail_vectors : b->vectors;
    c->mm.lanes = is_tail ? b->tail_lanes : b->lanes;
    c->mm.column = veer_emit_mul(c->e, panel, COLUMNS);
    veer_mm_load_columns(&c->mm);
}

/* `row`: counted in the group; `sums`: the panel's. */
static void finish_row(amx_t *c, val_t sums, val_t row) {
    val_t from = veer_emit_at(c->e, sums, veer_emit_mul(c->e, row, COLUMNS)), of_row[COLUMNS / SIDE];
    for (int v = 0; v < c->mm.vectors; v++) of_row[v] = vector_of_row(c, from, (int64_t)v * SIDE);
    veer_mm_finish_row(&c->mm, of_row, veer_emit_add(c->e, c->first_row, row));
}

static void finish_rows(amx_t *c, val_t panel, bool is_tail, val_t sums) {
    open_panel(c, panel, is_tail);
    veer_emit_loop_t rows = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), c->rows, 1);
    finish_row(c, sums, rows.i);
    veer_emit_loop_end(c->e, &rows);
}

static void finish_panel(amx_t *c, val_t panel, val_t sums) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = &c->cut->mm;
    bool partial = b->tail_vectors < b->vectors || b->tail_lanes < b->lanes, both = partial && b->panels > 1;
    veer_emit_branch_t tail;
    if (both) tail = veer_emit_if(e, veer_emit_is_equal(e, panel, veer_emit_i64(e, b->panels - 1)));
    finish_rows(c, panel, partial, sums);
    if (!both) return;
    veer_emit_else(e, &tail);
    finish_rows(c, panel, false, sums);
    veer_emit_endif(e, &tail);
}

/* ---- y of a panel beside the products of the next one ---- */
typedef struct before_s {
    amx_t *c;
    val_t sums, end; /* of the panel before; its rows that are finished beside this one: all, or none */
    veer_amx_beside_t beside;
} before_t;

static void finish_one_row(void *user, val_t row, int piece) {
    before_t *b = user;
    (void)piece;
    veer_emit_branch_t exists = veer_emit_if(b->c->e, LLVMBuildICmp(b->c->e->builder, LLVMIntSLT, row, b->end, ""));
    finish_row(b->c, b->sums, row);
    veer_emit_endif(b->c->e, &exists);
}

/* ---- products ---- */

/* Sums of blocks begin with zeros. */
static void clear_sums(amx_t *c, val_t sums) {
    val_t zero = LLVMConstNull(LLVMVectorType(c->e->f32, SIDE));
    veer_emit_loop_t loop =
        veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, c->tiles * SIDE * COLUMNS), SIDE);
    veer_emit_store_first(c->e, zero, veer_emit_at(c->e, sums, loop.i), SIDE);
    veer_emit_loop_end(c->e, &loop);
}

static val_t packed_b(amx_t *c, val_t panel, val_t block) {
    veer_emit_t *e = c->e;
    int64_t block_floats = c->cut->block_floats;
    return veer_emit_at(e, c->mm.bm,
                        veer_emit_add(e, veer_emit_mul(e, panel, c->cut->mm.blocks * block_floats),
                                      veer_emit_mul(e, block, block_floats)));
}

/* The block of b that is read behind this one. */
static val_t next_block(amx_t *c, val_t panel) {
    veer_emit_t *e = c->e;
    val_t one = veer_emit_i64(e, 1), following = veer_emit_add(e, panel, one);
    val_t is_end = veer_emit_is_equal(e, following, c->window_end);
    val_t next = veer_emit_select(e, veer_emit_is_equal(e, c->window_end, c->end_panel), c->after,
                                  packed_b(c, c->window_end, veer_emit_i64(e, 0)));
    if (c->cut->mm.blocks > 1) {
        val_t is_last = veer_emit_is_equal(e, c->block, veer_emit_i64(e, c->cut->mm.blocks - 1));
        next = veer_emit_select(e, is_last, next, packed_b(c, c->window_at, veer_emit_add(e, c->block, one)));
    }
    return veer_emit_select(e, is_end, next, packed_b(c, following, c->block));
}

/* A window's sums, or those of two panels in turn. */
static val_t sums_of(amx_t *c, val_t panel) {
    val_t in_window = veer_emit_sub(c->e, panel, c->window_at);
    if (c->cut->mm.blocks == 1) in_window = veer_emit_mod(c->e, in_window, 2);
    return veer_emit_at(c->e, c->sums_at, veer_emit_mul(c->e, in_window, c->tiles * SIDE * COLUMNS));
}

/* The panel before is a full one, if there is any: the last one stands behind all others. */
static void finish_before(amx_t *c, val_t panel, before_t *out) {
    veer_emit_t *e = c->e;
    val_t one = veer_emit_i64(e, 1), zero = veer_emit_i64(e, 0);
    val_t has_one = LLVMBuildICmp(e->builder, LLVMIntSGT, panel, c->window_at, "");
    if (c->cut->mm.blocks > 1)
        has_one = LLVMBuildAnd(e->builder, has_one,
                               veer_emit_is_equal(e, c->block, veer_emit_i64(e, c->cut->mm.blocks - 1)), "");
    val_t before = veer_emit_max(e, veer_emit_sub(e, panel, one), zero);
    open_panel(c, before, false);
    *out = (before_t){c,
                      sums_of(c, veer_emit_max(e, before, c->window_at)),
                      veer_emit_select(e, has_one, c->rows, zero),
                      {finish_one_row, out, 0, c->tiles * SIDE, 1}};
}

static void do_panel(amx_t *c, val_t panel) {
    veer_emit_t *e = c->e;
    int64_t tile_floats = c->cut->chunks * veer_amx_tile_floats(c->cut->parts), blocks = c->cut->mm.blocks;
    val_t sums = sums_of(c, panel);
    if (blocks > 1) {
        veer_emit_branch_t first = veer_emit_if(e, veer_emit_is_equal(e, c->block, veer_emit_i64(e, 0)));
        clear_sums(c, sums);
        veer_emit_endif(e, &first);
    }
    veer_amx_product_t product = {.parts = c->cut->parts,
                                  .row_tiles = c->tiles,
                                  .column_tiles = COLUMNS / SIDE,
                                  .chunks = c->cut->chunks,
                                  .a = veer_emit_at(e, c->rows_at, veer_emit_mul(e, c->block, block_of_rows(c))),
                                  .b = packed_b(c, panel, c->block),
                                  .a_tile = tile_floats,
                                  .b_tile = tile_floats,
                                  .c = sums,
                                  .c_row = COLUMNS,
                                  .adds = blocks > 1};
    if (c->after) product.fetch = next_block(c, panel), product.fetch_floats = c->cut->block_floats;
    before_t before;
    if (c->cut->mm.panels > 1) {
        finish_before(c, panel, &before);
        product.beside = &before.beside;
    }
    veer_amx_multiply(&c->t, &product);
}

static void do_panels(amx_t *c) {
    veer_emit_loop_t panels = veer_emit_loop_begin(c->e, c->window_at, c->window_end, 1);
    do_panel(c, panels.i);
    veer_emit_loop_end(c->e, &panels);
}

static void finish_last_panel(amx_t *c) {
    val_t last = veer_emit_sub(c->e, c->window_end, veer_emit_i64(c->e, 1));
    finish_panel(c, last, sums_of(c, last));
}

/* ---- the share ---- */

static void do_windows(amx_t *c) {
    veer_emit_t *e = c->e;
    val_t zero = veer_emit_i64(e, 0);
    if (c->cut->mm.blocks == 1) {
        c->block = zero, c->window_at = c->first_panel, c->window_end = c->end_panel;
        do_panels(c);
        finish_last_panel(c);
        return;
    }
    veer_emit_loop_t windows = veer_emit_loop_begin(e, c->first_panel, c->end_panel, c->cut->window);
    c->window_at = windows.i;
    c->window_end = veer_emit_min(e, veer_emit_add(e, windows.i, veer_emit_i64(e, c->cut->window)), c->end_panel);
    veer_emit_loop_t blocks = veer_emit_loop_begin(e, zero, veer_emit_i64(e, c->cut->mm.blocks), 1);
    c->block = blocks.i;
    do_panels(c);
    veer_emit_loop_end(e, &blocks);
    finish_last_panel(c);
    veer_emit_loop_end(e, &windows);
}

/* Panels of the group that belong to the share; its rows. */
static void open_group(amx_t *c, val_t group, val_t last) {
    veer_emit_t *e = c->e;
    int64_t panels = c->cut->mm.panels, rows = c->cut->group_tiles * SIDE;
    val_t before = veer_emit_mul(e, group, panels);
    c->group = group;
    c->first_panel = veer_emit_sub(e, veer_emit_max(e, c->mm.jit->begin, before), before);
    c->end_panel = veer_emit_min(e, veer_emit_sub(e, c->mm.jit->end, before), veer_emit_i64(e, panels));
    c->first_row = veer_emit_mul(e, group, rows);
    c->rows = veer_emit_min(e, veer_emit_sub(e, veer_emit_i64(e, c->p->m), c->first_row), veer_emit_i64(e, rows));
    if (c->cut->parts == VEER_AMX_PARTS) return; /* b stays in the second cache */
    val_t is_none = LLVMBuildICmp(e->builder, LLVMIntEQ, c->mm.jit->next, LLVMConstNull(e->ptr), "");
    val_t next = veer_emit_select(e, is_none, c->mm.bm, c->mm.jit->next);
    c->after = veer_emit_select(e, veer_emit_is_equal(e, group, last), next, c->mm.bm);
}

static void do_group(amx_t *c, int64_t tiles) {
    c->tiles = tiles;
    find_or_pack_rows(c);
    do_windows(c);
}

void veer_mm_amx_emit(veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut) {
    enum { REGISTERS = 32 };
    amx_t c = {.e = &jit->emit, .p = p, .cut = cut};
    veer_emit_t *e = c.e;
    veer_mm_emitter_init(&c.mm, jit, p, &cut->mm);
    c.t = (veer_tile_ctx_t){e, SIDE, REGISTERS, LLVMVectorType(e->f32, SIDE)};
    c.rows_at = veer_tile_at_c(&c.t, jit->scratch, VEER_MM_AMX_HEAD_FLOATS);
    c.sums_at = veer_tile_at_c(&c.t, c.rows_at, cut->rows_floats);
    veer_amx_begin(e);
    val_t first = veer_emit_div(e, jit->begin, cut->mm.panels),
          last = veer_emit_div(e, veer_emit_sub(e, jit->end, veer_emit_i64(e, 1)), cut->mm.panels);
    veer_emit_loop_t groups = veer_emit_loop_begin(e, first, veer_emit_add(e, last, veer_emit_i64(e, 1)), 1);
    open_group(&c, groups.i, last);
    if (cut->last_tiles != cut->group_tiles) {
        veer_emit_branch_t tail =
            veer_emit_if(e, veer_emit_is_equal(e, groups.i, veer_emit_i64(e, cut->mm.groups - 1)));
        do_group(&c, cut->last_tiles);
        veer_emit_else(e, &tail);
        do_group(&c, cut->group_tiles);
        veer_emit_endif(e, &tail);
    } else
        do_group(&c, cut->group_tiles);
    veer_emit_loop_end(e, &groups);
    veer_amx_end(e);
}
