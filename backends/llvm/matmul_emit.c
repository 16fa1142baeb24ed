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

/* ---- addresses and memory ---- */
static val_t i64(mm_t *c, int64_t v) {
    return veer_emit_i64(c->e, v);
}
static val_t add(mm_t *c, val_t a, val_t b) {
    return LLVMBuildNSWAdd(c->e->builder, a, b, "");
}
static val_t mul(mm_t *c, val_t a, int64_t by) {
    return LLVMBuildNSWMul(c->e->builder, a, i64(c, by), "");
}
static val_t divide(mm_t *c, val_t a, int64_t by) {
    return LLVMBuildUDiv(c->e->builder, a, i64(c, by), "");
}
static val_t modulo(mm_t *c, val_t a, int64_t by) {
    return LLVMBuildURem(c->e->builder, a, i64(c, by), "");
}
static val_t at(mm_t *c, val_t base, val_t elements) {
    return LLVMBuildInBoundsGEP2(c->e->builder, c->e->f32, base, &elements, 1, "");
}

static val_t mask_of(mm_t *c, int lanes) {
    val_t bits[64];
    for (int i = 0; i < c->b->lanes; i++) bits[i] = LLVMConstInt(c->e->i1, i < lanes, 0);
    return LLVMConstVector(bits, (unsigned)c->b->lanes);
}

/* Columns of vector v that exist. */
static int lanes_at(const mm_t *c, int v) {
    return v == c->vectors - 1 ? c->lanes : c->b->lanes;
}

static val_t load_vector(mm_t *c, val_t address, int lanes, unsigned align) {
    veer_emit_t *e = c->e;
    if (lanes == c->b->lanes) {
        val_t v = LLVMBuildLoad2(e->builder, c->vector, address, "");
        LLVMSetAlignment(v, align);
        return v;
    }
    val_t args[] = {address, LLVMConstInt(e->i32, align, 0), mask_of(c, lanes), LLVMConstNull(c->vector)};
    return veer_emit_intrinsic(e, "llvm.masked.load", (LLVMTypeRef[]){c->vector, e->ptr}, 2, args, 4);
}

static void store_vector(mm_t *c, val_t value, val_t address, int lanes) {
    veer_emit_t *e = c->e;
    if (lanes == c->b->lanes) {
        LLVMSetAlignment(LLVMBuildStore(e->builder, value, address), 4);
        return;
    }
    val_t args[] = {value, address, LLVMConstInt(e->i32, 4, 0), mask_of(c, lanes)};
    veer_emit_intrinsic(e, "llvm.masked.store", (LLVMTypeRef[]){c->vector, e->ptr}, 2, args, 4);
}

static val_t load_scalar(mm_t *c, val_t address) {
    val_t v = LLVMBuildLoad2(c->e->builder, c->e->f32, address, "");
    LLVMSetAlignment(v, 4);
    return veer_emit_splat(c->e, v, (unsigned)c->b->lanes);
}

/* ---- the program ---- */
static val_t operand(mm_t *c, int step, val_t row, int v) {
    const veer_mm_step_t *s = &c->p->steps[step];
    val_t offset = i64(c, 0);
    for (int i = 0; i < s->term_count; i++) {
        const veer_mm_term_t *t = &s->terms[i];
        val_t r = t->div > 1 ? divide(c, row, t->div) : row;
        offset = add(c, offset, mul(c, t->mod ? modulo(c, r, t->mod) : r, t->stride));
    }
    if (!s->column_stride) return load_scalar(c, at(c, c->bufs[step], offset));
    offset = add(c, add(c, offset, c->column), i64(c, (int64_t)v * c->b->lanes));
    return load_vector(c, at(c, c->bufs[step], offset), lanes_at(c, v), 4);
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
    val_t y = at(c, c->y, add(c, mul(c, row, c->p->n), c->column));
    for (int v = 0; v < c->vectors; v++)
        store_vector(c, run_program(c, products[v], row, v), at(c, y, i64(c, (int64_t)v * c->b->lanes)),
                     lanes_at(c, v));
}

/* ---- a tile ---- */
static val_t y_at(mm_t *c, const tile_t *t, int r, int v) {
    val_t row = add(c, t->row, i64(c, r)), column = add(c, c->column, i64(c, (int64_t)v * c->b->lanes));
    return at(c, c->y, add(c, mul(c, row, c->p->n), column));
}

/* From a's first k to this one. */
static val_t offset_in_a(mm_t *c, val_t k) {
    if (!c->a_block) return mul(c, k, c->p->a_k);
    return add(c, mul(c, divide(c, k, c->a_block), c->a_block_stride), mul(c, modulo(c, k, c->a_block), c->p->a_k));
}

/* One k: `a` and `b` point at it, `k` more is a constant. */
static void step(mm_t *c, tile_t *t, val_t a, val_t b, int64_t k) {
    unsigned align = c->p->b_constant ? (unsigned)c->b->lanes * 4 : 4;
    val_t columns[VEER_MM_MAX_VECTORS];
    for (int v = 0; v < c->vectors; v++)
        columns[v] = load_vector(c, at(c, b, i64(c, k * c->b_stride + (int64_t)v * c->b->lanes)),
                                 c->p->b_constant ? c->b->lanes : lanes_at(c, v), align);
    for (int r = 0; r < t->rows; r++) {
        val_t x = load_scalar(c, at(c, a, i64(c, r * c->p->a_row + k * c->p->a_k)));
        for (int v = 0; v < c->vectors; v++) {
            val_t *sum = &t->sums[r * c->vectors + v];
            /* One rounding on every target that can. */
            *sum = veer_emit_intrinsic(c->e, "llvm.fmuladd", &c->vector, 1, (val_t[]){x, columns[v], *sum}, 3);
        }
    }
}

/* Sums of the blocks of k before this one: they are in y, unless it is the first. */
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
    for (int i = 0; i < count; i++)
        waiting[i] = load_vector(c, y_at(c, t, i / c->vectors, i % c->vectors), lanes_at(c, i % c->vectors), 4);
    LLVMBuildBr(e->builder, begin);
    LLVMPositionBuilderAtEnd(e->builder, begin);
    for (int i = 0; i < count; i++) {
        t->sums[i] = LLVMBuildPhi(e->builder, c->vector, "");
        LLVMAddIncoming(t->sums[i], (val_t[]){zero, waiting[i]}, (LLVMBasicBlockRef[]){before, more}, 2);
    }
}

enum { LINE_FLOATS = 16 };

static void fetch(mm_t *c, val_t from, int lines) {
    enum { SECOND_CACHE = 2 };
    veer_emit_t *e = c->e;
    for (int i = 0; i < lines; i++) {
        val_t args[] = {at(c, from, i64(c, i * LINE_FLOATS)), LLVMConstInt(e->i32, 0, 0),
                        LLVMConstInt(e->i32, SECOND_CACHE, 0), LLVMConstInt(e->i32, 1, 0)};
        veer_emit_intrinsic(e, "llvm.prefetch", &e->ptr, 1, args, 4);
    }
}

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
    val_t end = i64(c, whole_steps(last, unroll)), zero = i64(c, 0), phis[VEER_MM_MAX_ROWS * VEER_MM_MAX_VECTORS];
    if (b->blocks > 1) end = veer_emit_select(e, c->is_last, end, i64(c, b->depth));
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
        fetch(c, at(c, t->next_block, mul(c, divide(c, k, unroll), each)), b->prefetch);
    }
    val_t from_a = at(c, t->a, offset_in_a(c, k)), from_b = at(c, c->block, mul(c, k, c->b_stride));
    for (int64_t u = 0; u < unroll; u++) step(c, t, from_a, from_b, u);
    val_t next = add(c, k, i64(c, unroll));
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, next, end, ""), body, done);
    LLVMAddIncoming(k, (val_t[]){zero, next}, (LLVMBasicBlockRef[]){before, body}, 2);
    for (int i = 0; i < count; i++) LLVMAddIncoming(phis[i], &t->sums[i], &body, 1);
    LLVMPositionBuilderAtEnd(e->builder, done);
}

static void rest_of_k(mm_t *c, tile_t *t) {
    int64_t last = c->p->k - (c->b->blocks - 1) * c->b->depth, unroll = veer_mm_unroll(t->rows * c->vectors);
    int64_t from = whole_steps(last, unroll); /* those that are left lie in one block of a */
    val_t from_a = at(c, t->a, offset_in_a(c, i64(c, from))), from_b = at(c, c->block, i64(c, from * c->b_stride));
    for (int64_t k = from; k < last; k++) step(c, t, from_a, from_b, k - from);
}

void veer_mm_sums(mm_t *c, tile_t *t) {
    sum_over_k(c, t);
    rest_of_k(c, t);
}

static void finish_tile(mm_t *c, tile_t *t) {
    veer_emit_t *e = c->e;
    if (!c->stack) {
        for (int r = 0; r < t->rows; r++) veer_mm_finish_row(c, &t->sums[r * c->vectors], add(c, t->row, i64(c, r)));
        return;
    }
    for (int i = 0; i < t->rows * c->vectors; i++)
        LLVMSetAlignment(LLVMBuildStore(e->builder, t->sums[i], at(c, c->stack, i64(c, (int64_t)i * c->b->lanes))),
                         (unsigned)c->b->lanes * 4);
}

/* Rows of the tile on the stack. */
static void finish_stack(mm_t *c, val_t first, val_t rows) {
    if (c->b->blocks > 1) rows = veer_emit_select(c->e, c->is_last, rows, i64(c, 0));
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, i64(c, 0), rows, 1);
    val_t products[VEER_MM_MAX_VECTORS], from = at(c, c->stack, mul(c, loop.i, (int64_t)c->vectors * c->b->lanes));
    for (int v = 0; v < c->vectors; v++)
        products[v] =
            load_vector(c, at(c, from, i64(c, (int64_t)v * c->b->lanes)), c->b->lanes, (unsigned)c->b->lanes * 4);
    veer_mm_finish_row(c, products, add(c, first, loop.i));
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
    LLVMBasicBlockRef last = veer_emit_block(e, "last"), wait = veer_emit_block(e, "wait"),
                      both = veer_emit_block(e, "block_done");
    LLVMBuildCondBr(e->builder, c->is_last, last, wait);
    LLVMPositionBuilderAtEnd(e->builder, wait);
    for (int i = 0; i < t.rows * c->vectors; i++)
        store_vector(c, t.sums[i], y_at(c, &t, i / c->vectors, i % c->vectors), lanes_at(c, i % c->vectors));
    LLVMBuildBr(e->builder, both);
    LLVMPositionBuilderAtEnd(e->builder, last);
    rest_of_k(c, &t);
    finish_tile(c, &t);
    LLVMBuildBr(e->builder, both);
    LLVMPositionBuilderAtEnd(e->builder, both);
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
    val_t following = at(c, c->block, i64(c, b->depth * c->b_stride));
    val_t next = veer_emit_select(e, ends, veer_emit_select(e, is_none, c->block, c->jit->next), following);
    return at(c, next, mul(c, modulo(c, tile, b->fetch_tiles), steps * b->fetch_step));
}

static void do_tiles(mm_t *c, val_t lead, val_t first, val_t end) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = c->b;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, first, end, 1);
    val_t longs = i64(c, b->long_tiles), before = loop.i;
    val_t is_long_tile = LLVMBuildICmp(e->builder, LLVMIntSLT, loop.i, longs, "");
    if (b->long_tiles) before = veer_emit_select(e, is_long_tile, loop.i, longs);
    val_t in_lead = add(c, mul(c, loop.i, b->tile_rows), b->long_tiles ? before : i64(c, 0));
    val_t rows = i64(c, b->tile_rows);
    tile_t t = {.rows = (int)b->tile_rows, .row = add(c, mul(c, lead, c->p->m), in_lead)};
    t.a = at(c, c->a, add(c, mul(c, lead, c->p->a_lead), mul(c, in_lead, c->p->a_row)));
    t.a = at(c, t.a, mul(c, c->k, c->p->a_k));
    if (b->fetch_tiles) t.next_block = next_block(c, loop.i);
    if (b->long_tiles) {
        LLVMBasicBlockRef yes = veer_emit_block(e, "long"), no = veer_emit_block(e, "short"),
                          both = veer_emit_block(e, "both");
        rows = veer_emit_select(e, is_long_tile, i64(c, b->tile_rows + 1), rows);
        LLVMBuildCondBr(e->builder, is_long_tile, yes, no);
        LLVMPositionBuilderAtEnd(e->builder, yes);
        t.rows++;
        do_tile(c, t);
        t.rows--;
        LLVMBuildBr(e->builder, both);
        LLVMPositionBuilderAtEnd(e->builder, no);
        do_tile(c, t);
        LLVMBuildBr(e->builder, both);
        LLVMPositionBuilderAtEnd(e->builder, both);
    } else
        do_tile(c, t);
    if (c->stack) finish_stack(c, t.row, rows);
    veer_emit_loop_end(e, &loop);
}

static void do_blocks(mm_t *c, val_t lead, val_t first, val_t end, val_t panel) {
    const veer_mm_blocking_t *b = c->b;
    c->k = i64(c, 0), c->block = panel;
    if (b->blocks == 1) {
        do_tiles(c, lead, first, end);
        return;
    }
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, i64(c, 0), i64(c, b->blocks), 1);
    c->is_first = LLVMBuildICmp(c->e->builder, LLVMIntEQ, loop.i, i64(c, 0), "");
    c->is_last = LLVMBuildICmp(c->e->builder, LLVMIntEQ, loop.i, i64(c, b->blocks - 1), "");
    c->k = mul(c, loop.i, b->depth);
    c->block = at(c, panel, mul(c, c->k, c->b_stride));
    do_tiles(c, lead, first, end);
    veer_emit_loop_end(c->e, &loop);
}

static void do_panel(mm_t *c, val_t lead, val_t group, val_t panel, bool is_tail) {
    const veer_mm_blocking_t *b = c->b;
    int64_t width = (int64_t)b->vectors * b->lanes, all = (b->panels - 1) * b->vectors + b->tail_vectors;
    c->vectors = is_tail ? b->tail_vectors : b->vectors;
    c->lanes = is_tail ? b->tail_lanes : b->lanes;
    c->column = mul(c, panel, width);
    c->b_stride = c->p->b_constant ? (int64_t)c->vectors * b->lanes : c->p->b_k;
    int64_t lead_stride = c->p->b_constant && c->p->b_lead ? all * b->lanes * c->p->k : c->p->b_lead;
    val_t in_lead = c->p->b_constant ? mul(c, panel, width * c->p->k) : c->column;
    val_t first_k = at(c, c->bm, add(c, mul(c, lead, lead_stride), in_lead));
    veer_mm_load_columns(c);
    val_t first = divide(c, mul(c, group, b->tiles), b->groups),
          end = divide(c, mul(c, add(c, group, i64(c, 1)), b->tiles), b->groups);
    do_blocks(c, lead, first, end, first_k);
}

static void do_item(mm_t *c, val_t item) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = c->b;
    int64_t inner = b->panels_outer ? b->groups : b->panels, outer = b->panels_outer ? b->panels : b->groups;
    val_t fast = modulo(c, item, inner), rest = divide(c, item, inner), slow = modulo(c, rest, outer);
    val_t lead = divide(c, rest, outer), group = b->panels_outer ? fast : slow, panel = b->panels_outer ? slow : fast;
    val_t last = LLVMBuildSub(e->builder, c->jit->end, i64(c, 1), "");
    /* Items of one panel fetch the next one together. */
    int64_t alike = b->panels_outer && b->blocks == 1 ? b->groups : 1;
    c->is_end = LLVMBuildICmp(e->builder, LLVMIntEQ, divide(c, item, alike), divide(c, last, alike), "");
    bool partial = b->tail_vectors < b->vectors || b->tail_lanes < b->lanes;
    if (!partial || b->panels == 1) {
        do_panel(c, lead, group, panel, partial);
        return;
    }
    LLVMBasicBlockRef full = veer_emit_block(e, "full"), tail = veer_emit_block(e, "tail"),
                      both = veer_emit_block(e, "both");
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, panel, i64(c, b->panels - 1), ""), full, tail);
    LLVMPositionBuilderAtEnd(e->builder, full);
    do_panel(c, lead, group, panel, false);
    LLVMBuildBr(e->builder, both);
    LLVMPositionBuilderAtEnd(e->builder, tail);
    do_panel(c, lead, group, panel, true);
    LLVMBuildBr(e->builder, both);
    LLVMPositionBuilderAtEnd(e->builder, both);
}

void veer_mm_emitter_init(mm_t *c, veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_blocking_t *b) {
    *c = (mm_t){.jit = jit, .e = &jit->emit, .p = p, .b = b};
    c->vector = LLVMVectorType(c->e->f32, (unsigned)b->lanes);
    c->a = veer_jit_buffer(jit, (int)p->a_buf);
    c->bm = veer_jit_buffer(jit, (int)p->b_buf);
    c->y = veer_jit_buffer(jit, (int)p->y_buf);
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
