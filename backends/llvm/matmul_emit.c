/* A product as LLVM IR:
 *
 *     for each item: its lead, group of tiles, panel             (two copies: full panels, and the last where it is
 * not) for each tile of the group                               (two copies: with and without the odd row) accumulators
 * = 0 for k: accumulators[r][v] = fma(a[r], b[v], accumulators[r][v]) y = program(accumulators)
 *
 * A program of cheap steps runs on the accumulators where they are. A longer one is emitted once, as a loop over rows
 * of the tile, which is put on the stack before. */
#include "backends/llvm/matmul_emit.h"

#include "backends/llvm/elementwise.h"
#include "backends/llvm/vmath.h"

typedef LLVMValueRef val_t;
typedef veer_mm_emitter_t mm_t;
typedef veer_mm_tile_t tile_t;

/* ---- the program ---- */
static val_t operand(mm_t *c, int step, val_t row, int v) {
    const veer_mm_step_t *s = &c->p->steps[step];
    val_t offset = veer_emit_i64(c->e, 0);
    for (int i = 0; i < s->term_count; i++) {
        const veer_mm_term_t *t = &s->terms[i];
        val_t r = t->div > 1 ? veer_emit_div(c->e, row, t->div) : row;
        offset =
            veer_emit_add(c->e, offset, veer_emit_mul(c->e, t->mod ? veer_emit_mod(c->e, r, t->mod) : r, t->stride));
    }
    if (!s->column_stride) return veer_emit_load_all(c->e, veer_emit_at(c->e, c->bufs[step], offset), c->b->lanes);
    offset = veer_emit_add(c->e, veer_emit_add(c->e, offset, c->column), veer_emit_i64(c->e, (int64_t)v * c->b->lanes));
    return veer_emit_load_first(c->e, veer_emit_at(c->e, c->bufs[step], offset), veer_mm_lanes_at(c, v), c->b->lanes,
                                4);
}

void veer_mm_load_columns(mm_t *c) {
    for (int i = 0; i < c->p->step_count; i++)
        for (int v = 0; v < c->vectors; v++)
            if (c->p->steps[i].kind == VEER_MM_LOAD && !c->p->steps[i].term_count)
                c->by_column[i][v] = operand(c, i, NULL, v);
}

/* y's vector v of a row. */
static val_t run_program(mm_t *c, val_t product, val_t row, int v) {
    veer_emit_t *e = c->e;
    val_t values[VEER_MM_MAX_STEPS];
    for (int i = 0; i <= c->p->result; i++) {
        const veer_mm_step_t *s = &c->p->steps[i];
        val_t args[3];
        switch (s->kind) {
        case VEER_MM_PRODUCT: values[i] = product; break;
        case VEER_MM_CONST:
            values[i] = veer_emit_splat(e, veer_fx_constant(e, s->out, s->bits), (unsigned)c->b->lanes);
            break;
        case VEER_MM_LOAD: values[i] = s->term_count ? operand(c, i, row, v) : c->by_column[i][v]; break;
        case VEER_MM_OP:
            for (int a = 0; a < s->arg_count; a++) args[a] = values[s->args[a]];
            values[i] = veer_fx_elementwise(e, s->op, s->flag, s->out, s->in, args);
            break;
        }
    }
    return values[c->p->result];
}

static bool is_cheap(const veer_mm_step_t *s) {
    switch (s->op) {
    case VEER_OP_ADD:
    case VEER_OP_SUB:
    case VEER_OP_MUL:
    case VEER_OP_NEG:
    case VEER_OP_RELU: return true;
    default: return s->kind != VEER_MM_OP;
    }
}

static bool is_long(const veer_mm_problem_t *p) {
    int work = 0;
    for (int i = 0; i < p->step_count; i++) work += !is_cheap(&p->steps[i]) ? 100 : 1 + 3 * p->steps[i].term_count;
    return work > 16;
}

void veer_mm_finish_row(mm_t *c, const val_t *products, val_t row) {
    val_t y = veer_emit_at(c->e, c->y, veer_emit_add(c->e, veer_emit_mul(c->e, row, c->p->n), c->column));
    for (int v = 0; v < c->vectors; v++)
        veer_emit_store_first(c->e, run_program(c, products[v], row, v),
                              veer_emit_at(c->e, y, veer_emit_i64(c->e, (int64_t)v * c->b->lanes)),
                              veer_mm_lanes_at(c, v));
}

/* ---- a tile ---- */
static val_t y_at(mm_t *c, const tile_t *t, int r, int v) {
    val_t row = veer_emit_add(c->e, t->row, veer_emit_i64(c->e, r)),
          column = veer_emit_add(c->e, c->column, veer_emit_i64(c->e, (int64_t)v * c->b->lanes));
    return veer_emit_at(c->e, c->y, veer_emit_add(c->e, veer_emit_mul(c->e, row, c->p->n), column));
}

/* From a's first k to this one. */
static val_t offset_in_a(mm_t *c, val_t k) {
    if (!c->a_block) return veer_emit_mul(c->e, k, c->p->a_k);
    return veer_emit_add(c->e, veer_emit_mul(c->e, veer_emit_div(c->e, k, c->a_block), c->a_block_stride),
                         veer_emit_mul(c->e, veer_emit_mod(c->e, k, c->a_block), c->p->a_k));
}

/* One k: `a` and `b` point at it, `k` more is a constant. */
static void step(mm_t *c, tile_t *t, val_t a, val_t b, int64_t k) {
    unsigned align = c->p->b_constant ? (unsigned)c->b->lanes * 4 : 4;
    val_t columns[VEER_MM_MAX_VECTORS];
    for (int v = 0; v < c->vectors; v++)
        columns[v] = veer_emit_load_first(
            c->e, veer_emit_at(c->e, b, veer_emit_i64(c->e, k * c->b_stride + (int64_t)v * c->b->lanes)),
            c->p->b_constant ? c->b->lanes : veer_mm_lanes_at(c, v), c->b->lanes, align);
    for (int r = 0; r < t->rows; r++) {
        val_t x = veer_emit_load_all(c->e, veer_emit_at(c->e, a, veer_emit_i64(c->e, r * c->p->a_row + k * c->p->a_k)),
                                     c->b->lanes);
        for (int v = 0; v < c->vectors; v++) {
            val_t *sum = &t->sums[r * c->vectors + v];
            /* One rounding on every target that can. */
            *sum = veer_emit_intrinsic(c->e, "llvm.fmuladd", &c->vector, 1, (val_t[]){x, columns[v], *sum}, 3);
        }
    }
}

/* Sum r, v of the blocks of k before this one. */
static val_t waiting_sum(mm_t *c, tile_t *t, int r, int v) {
    if (!t->waiting) return veer_emit_load_first(c->e, y_at(c, t, r, v), veer_mm_lanes_at(c, v), c->b->lanes, 4);
    val_t offset = veer_emit_i64(c->e, r * t->waiting_row + (int64_t)v * c->b->lanes);
    return veer_emit_load_first(c->e, veer_emit_at(c->e, t->waiting, offset), c->b->lanes, c->b->lanes,
                                (unsigned)c->b->lanes * 4);
}

/* Zero in the first block of k. */
static void begin_sums(mm_t *c, tile_t *t) {
    veer_emit_t *e = c->e;
    val_t zero = LLVMConstNull(c->vector);
    int count = t->rows * c->vectors;
    for (int i = 0; i < count; i++) t->sums[i] = zero;
    if (c->b->blocks == 1) return;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), more = veer_emit_block(e, "more"),
                      begin = veer_emit_block(e, "begin");
    LLVMBuildCondBr(e->builder, c->is_first, begin, more);
    LLVMPositionBuilderAtEnd(e->builder, more);
    val_t waiting[VEER_MM_MAX_ROWS * VEER_MM_MAX_VECTORS];
    for (int i = 0; i < count; i++) waiting[i] = waiting_sum(c, t, i / c->vectors, i % c->vectors);
    LLVMBuildBr(e->builder, begin);
    LLVMPositionBuilderAtEnd(e->builder, begin);
    for (int i = 0; i < count; i++) {
        t->sums[i] = LLVMBuildPhi(e->builder, c->vector, "");
        LLVMAddIncoming(t->sums[i], (val_t[]){zero, waiting[i]}, (LLVMBasicBlockRef[]){before, more}, 2);
    }
}

enum { LINE_FLOATS = 16 };

/* Whole steps of the loop; what is left of k after them is in `rest_of_k`. */
static int64_t whole_steps(int64_t k, int64_t unroll) {
    return k / unroll * unroll;
}

static void sum_over_k(mm_t *c, tile_t *t) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = c->b;
    int count = t->rows * c->vectors;
    int64_t unroll = veer_mm_unroll(count), last = c->p->k - (b->blocks - 1) * b->depth;
    begin_sums(c, t);
    if (!whole_steps(last, unroll)) return;
    val_t end = veer_emit_i64(c->e, whole_steps(last, unroll)), zero = veer_emit_i64(c->e, 0),
          phis[VEER_MM_MAX_ROWS * VEER_MM_MAX_VECTORS];
    if (b->blocks > 1) end = veer_emit_select(e, c->is_last, end, veer_emit_i64(c->e, b->depth));
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), body = veer_emit_block(e, "k"),
                      done = veer_emit_block(e, "k_done");
    LLVMBuildBr(e->builder, body);
    LLVMPositionBuilderAtEnd(e->builder, body);
    val_t k = LLVMBuildPhi(e->builder, e->i64, "k");
    for (int i = 0; i < count; i++) {
        phis[i] = LLVMBuildPhi(e->builder, c->vector, "");
        LLVMAddIncoming(phis[i], &t->sums[i], &before, 1);
        t->sums[i] = phis[i];
    }
    if (b->prefetch) {
        int64_t each = b->fetch_step ? b->fetch_step : b->prefetch * LINE_FLOATS;
        veer_emit_fetch(e, veer_emit_at(e, t->next_block, veer_emit_mul(e, veer_emit_div(e, k, unroll), each)),
                        b->prefetch);
    }
    val_t from_a = veer_emit_at(c->e, t->a, offset_in_a(c, k)),
          from_b = veer_emit_at(c->e, c->block, veer_emit_mul(c->e, k, c->b_stride));
    for (int64_t u = 0; u < unroll; u++) step(c, t, from_a, from_b, u);
    val_t next = veer_emit_add(c->e, k, veer_emit_i64(c->e, unroll));
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, next, end, ""), body, done);
    LLVMAddIncoming(k, (val_t[]){zero, next}, (LLVMBasicBlockRef[]){before, body}, 2);
    for (int i = 0; i < count; i++) LLVMAddIncoming(phis[i], &t->sums[i], &body, 1);
    LLVMPositionBuilderAtEnd(e->builder, done);
}

static void rest_of_k(mm_t *c, tile_t *t) {
    int64_t last = c->p->k - (c->b->blocks - 1) * c->b->depth, unroll = veer_mm_unroll(t->rows * c->vectors);
    int64_t from = whole_steps(last, unroll); /* those that are left lie in one block of a */
    val_t from_a = veer_emit_at(c->e, t->a, offset_in_a(c, veer_emit_i64(c->e, from))),
          from_b = veer_emit_at(c->e, c->block, veer_emit_i64(c->e, from * c->b_stride));
    for (int64_t k = from; k < last; k++) step(c, t, from_a, from_b, k - from);
}

/* The last block may have k that fill no step of the loop. */
static void rest_of_last_block(mm_t *c, tile_t *t) {
    veer_emit_t *e = c->e;
    int count = t->rows * c->vectors;
    int64_t last = c->p->k - (c->b->blocks - 1) * c->b->depth;
    if (whole_steps(last, veer_mm_unroll(count)) == last) return;
    val_t sums[VEER_MM_MAX_ROWS * VEER_MM_MAX_VECTORS];
    for (int i = 0; i < count; i++) sums[i] = t->sums[i];
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), rest = veer_emit_block(e, "rest"),
                      both = veer_emit_block(e, "all_k");
    LLVMBuildCondBr(e->builder, c->is_last, rest, both);
    LLVMPositionBuilderAtEnd(e->builder, rest);
    rest_of_k(c, t);
    LLVMBuildBr(e->builder, both);
    LLVMPositionBuilderAtEnd(e->builder, both);
    for (int i = 0; i < count; i++) {
        val_t sum = LLVMBuildPhi(e->builder, c->vector, "");
        LLVMAddIncoming(sum, (val_t[]){sums[i], t->sums[i]}, (LLVMBasicBlockRef[]){before, rest}, 2);
        t->sums[i] = sum;
    }
}

void veer_mm_sums(mm_t *c, tile_t *t) {
    sum_over_k(c, t);
    if (c->b->blocks == 1)
        rest_of_k(c, t);
    else
        rest_of_last_block(c, t);
}

static void finish_tile(mm_t *c, tile_t *t) {
    veer_emit_t *e = c->e;
    if (!c->stack) {
        for (int r = 0; r < t->rows; r++)
            veer_mm_finish_row(c, &t->sums[r * c->vectors], veer_emit_add(c->e, t->row, veer_emit_i64(c->e, r)));
        return;
    }
    for (int i = 0; i < t->rows * c->vectors; i++)
        LLVMSetAlignment(LLVMBuildStore(e->builder, t->sums[i],
                                        veer_emit_at(c->e, c->stack, veer_emit_i64(c->e, (int64_t)i * c->b->lanes))),
                         (unsigned)c->b->lanes * 4);
}

/* Rows of the tile on the stack. */
static void finish_stack(mm_t *c, val_t first, val_t rows) {
    if (c->b->blocks > 1) rows = veer_emit_select(c->e, c->is_last, rows, veer_emit_i64(c->e, 0));
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), rows, 1);
    val_t products[VEER_MM_MAX_VECTORS],
        from = veer_emit_at(c->e, c->stack, veer_emit_mul(c->e, loop.i, (int64_t)c->vectors * c->b->lanes));
    for (int v = 0; v < c->vectors; v++)
        products[v] =
            veer_emit_load_first(c->e, veer_emit_at(c->e, from, veer_emit_i64(c->e, (int64_t)v * c->b->lanes)),
                                 c->b->lanes, c->b->lanes, (unsigned)c->b->lanes * 4);
    veer_mm_finish_row(c, products, veer_emit_add(c->e, first, loop.i));
    veer_emit_loop_end(c->e, &loop);
}

static void do_tile(mm_t *c, tile_t t) {
    veer_emit_t *e = c->e;
    if (c->b->blocks == 1) {
        veer_mm_sums(c, &t);
        finish_tile(c, &t);
        return;
    }
    sum_over_k(c, &t);
    veer_emit_branch_t wait = veer_emit_if(e, LLVMBuildNot(e->builder, c->is_last, ""));
    for (int i = 0; i < t.rows * c->vectors; i++)
        veer_emit_store_first(c->e, t.sums[i], y_at(c, &t, i / c->vectors, i % c->vectors),
                              veer_mm_lanes_at(c, i % c->vectors));
    veer_emit_else(e, &wait);
    rest_of_k(c, &t);
    finish_tile(c, &t);
    veer_emit_endif(e, &wait);
}

/* ---- items ---- */

/* What is needed after the block: what follows it in memory (the next block or the next panel), or the beginning of the
 * next call's; the part of it that is the tile's to fetch. Without a next call the block itself, which costs nothing.
 */
static val_t next_block(mm_t *c, val_t tile) {
    const veer_mm_blocking_t *b = c->b;
    veer_emit_t *e = c->e;
    int64_t steps = b->depth / veer_mm_unroll((int)b->tile_rows * c->vectors);
    val_t is_none = LLVMBuildICmp(e->builder, LLVMIntEQ, c->jit->next, LLVMConstNull(e->ptr), "");
    val_t ends = c->is_last ? LLVMBuildAnd(e->builder, c->is_end, c->is_last, "") : c->is_end;
    val_t following = veer_emit_at(c->e, c->block, veer_emit_i64(c->e, b->depth * c->b_stride));
    val_t next = veer_emit_select(e, ends, veer_emit_select(e, is_none, c->block, c->jit->next), following);
    return veer_emit_at(c->e, next,
                        veer_emit_mul(c->e, veer_emit_mod(c->e, tile, b->fetch_tiles), steps * b->fetch_step));
}

static void do_tiles(mm_t *c, val_t lead, val_t first, val_t end) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = c->b;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, first, end, 1);
    val_t longs = veer_emit_i64(c->e, b->long_tiles), before = loop.i;
    val_t is_long_tile = LLVMBuildICmp(e->builder, LLVMIntSLT, loop.i, longs, "");
    if (b->long_tiles) before = veer_emit_select(e, is_long_tile, loop.i, longs);
    val_t in_lead =
        veer_emit_add(c->e, veer_emit_mul(c->e, loop.i, b->tile_rows), b->long_tiles ? before : veer_emit_i64(c->e, 0));
    val_t rows = veer_emit_i64(c->e, b->tile_rows);
    tile_t t = {.rows = (int)b->tile_rows, .row = veer_emit_add(c->e, veer_emit_mul(c->e, lead, c->p->m), in_lead)};
    t.a = veer_emit_at(
        c->e, c->a,
        veer_emit_add(c->e, veer_emit_mul(c->e, lead, c->p->a_lead), veer_emit_mul(c->e, in_lead, c->p->a_row)));
    t.a = veer_emit_at(c->e, t.a, veer_emit_mul(c->e, c->k, c->p->a_k));
    if (b->fetch_tiles) t.next_block = next_block(c, loop.i);
    if (b->long_tiles) {
        rows = veer_emit_select(e, is_long_tile, veer_emit_i64(c->e, b->tile_rows + 1), rows);
        veer_emit_branch_t longer = veer_emit_if(e, is_long_tile);
        t.rows++;
        do_tile(c, t);
        t.rows--;
        veer_emit_else(e, &longer);
        do_tile(c, t);
        veer_emit_endif(e, &longer);
    } else
        do_tile(c, t);
    if (c->stack) finish_stack(c, t.row, rows);
    veer_emit_loop_end(e, &loop);
}

static void do_blocks(mm_t *c, val_t lead, val_t first, val_t end, val_t panel) {
    const veer_mm_blocking_t *b = c->b;
    c->k = veer_emit_i64(c->e, 0), c->block = panel;
    if (b->blocks == 1) {
        do_tiles(c, lead, first, end);
        return;
    }
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, b->blocks), 1);
    c->is_first = LLVMBuildICmp(c->e->builder, LLVMIntEQ, loop.i, veer_emit_i64(c->e, 0), "");
    c->is_last = LLVMBuildICmp(c->e->builder, LLVMIntEQ, loop.i, veer_emit_i64(c->e, b->blocks - 1), "");
    c->k = veer_emit_mul(c->e, loop.i, b->depth);
    c->block = veer_emit_at(c->e, panel, veer_emit_mul(c->e, c->k, c->b_stride));
    do_tiles(c, lead, first, end);
    veer_emit_loop_end(c->e, &loop);
}

static void do_panel(mm_t *c, val_t lead, val_t group, val_t panel, bool is_tail) {
    const veer_mm_blocking_t *b = c->b;
    int64_t width = (int64_t)b->vectors * b->lanes, all = (b->panels - 1) * b->vectors + b->tail_vectors;
    c->vectors = is_tail ? b->tail_vectors : b->vectors;
    c->lanes = is_tail ? b->tail_lanes : b->lanes;
    c->column = veer_emit_mul(c->e, panel, width);
    c->b_stride = c->p->b_constant ? (int64_t)c->vectors * b->lanes : c->p->b_k;
    int64_t lead_stride = c->p->b_constant && c->p->b_lead ? all * b->lanes * c->p->k : c->p->b_lead;
    val_t in_lead = c->p->b_constant ? veer_emit_mul(c->e, panel, width * c->p->k) : c->column;
    val_t first_k = veer_emit_at(c->e, c->bm, veer_emit_add(c->e, veer_emit_mul(c->e, lead, lead_stride), in_lead));
    veer_mm_load_columns(c);
    val_t first = veer_emit_div(c->e, veer_emit_mul(c->e, group, b->tiles), b->groups),
          end = veer_emit_div(c->e, veer_emit_mul(c->e, veer_emit_add(c->e, group, veer_emit_i64(c->e, 1)), b->tiles),
                              b->groups);
    do_blocks(c, lead, first, end, first_k);
}

static void do_item(mm_t *c, val_t item) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = c->b;
    int64_t inner = b->panels_outer ? b->groups : b->panels, outer = b->panels_outer ? b->panels : b->groups;
    val_t fast = veer_emit_mod(c->e, item, inner), rest = veer_emit_div(c->e, item, inner),
          slow = veer_emit_mod(c->e, rest, outer);
    val_t lead = veer_emit_div(c->e, rest, outer), group = b->panels_outer ? fast : slow,
          panel = b->panels_outer ? slow : fast;
    val_t last = LLVMBuildSub(e->builder, c->jit->end, veer_emit_i64(c->e, 1), "");
    /* Items of one panel fetch the next one together. */
    int64_t alike = b->panels_outer && b->blocks == 1 ? b->groups : 1;
    c->is_end =
        LLVMBuildICmp(e->builder, LLVMIntEQ, veer_emit_div(c->e, item, alike), veer_emit_div(c->e, last, alike), "");
    bool partial = b->tail_vectors < b->vectors || b->tail_lanes < b->lanes;
    if (!partial || b->panels == 1) {
        do_panel(c, lead, group, panel, partial);
        return;
    }
    val_t is_full = LLVMBuildICmp(e->builder, LLVMIntSLT, panel, veer_emit_i64(c->e, b->panels - 1), "");
    veer_emit_branch_t full = veer_emit_if(e, is_full);
    do_panel(c, lead, group, panel, false);
    veer_emit_else(e, &full);
    do_panel(c, lead, group, panel, true);
    veer_emit_endif(e, &full);
}

void veer_mm_emitter_init(mm_t *c, veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_blocking_t *b) {
    *c = (mm_t){.jit = jit, .e = &jit->emit, .p = p, .b = b};
    c->vector = LLVMVectorType(c->e->f32, (unsigned)b->lanes);
    c->a = veer_jit_buffer(jit, (int)p->a_buf);
    c->bm = veer_jit_buffer(jit, (int)p->b_buf);
    c->y = veer_jit_buffer(jit, (int)p->y_buf);
    for (int i = 0; p->moment_rows && i < 2; i++) c->moments[i] = veer_jit_buffer(jit, (int)p->y_buf + 1 + i);
    for (int i = 0; i < p->step_count; i++)
        if (p->steps[i].kind == VEER_MM_LOAD) c->bufs[i] = veer_jit_buffer(jit, p->steps[i].buf);
}

void veer_mm_emit(veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_blocking_t *b) {
    mm_t c;
    veer_mm_emitter_init(&c, jit, p, b);
    veer_emit_t *e = c.e;
    if (is_long(p)) {
        c.stack = veer_emit_variable(e, LLVMArrayType2(c.vector, VEER_MM_MAX_ROWS * VEER_MM_MAX_VECTORS));
        LLVMSetAlignment(c.stack, 64);
    }
    veer_emit_loop_t loop = veer_emit_loop_begin(e, jit->begin, jit->end, 1);
    do_item(&c, loop.i);
    veer_emit_loop_end(e, &loop);
}
