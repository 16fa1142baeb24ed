/* Attention as LLVM IR:
 *
 *     for each item, a lead's block of queries            (two copies where blocks differ in length)
 *         q_t = q^T scale log2 e,  p_t = mask^T log2 e    in scratch, [d, queries] and [s, queries]
 *         p_t += k q_t                                    tiles of keys by queries; the largest of each query
 *         p_t = exp2(p_t - largest)                       and the sum of each query
 *         o = p v / sum
 *
 * The last product has the columns of v along the lanes where v and o lie by rows, else the queries: then v is read by
 * broadcasts and o comes turned. */
#include "backends/llvm/attention.h"
#include "backends/llvm/vmath.h"

#include <math.h>

typedef LLVMValueRef val_t;

/* ---- where things are ---- */

val_t veer_at_scratch_at(veer_at_t *c, int64_t floats) {
    return veer_tile_at_c(&c->t, c->jit->scratch, floats);
}

static val_t lead_offset(veer_at_t *c, const veer_at_matrix_t *m, val_t lead) {
    LLVMBuilderRef b = c->t.e->builder;
    val_t sum = veer_emit_i64(c->t.e, m->offset);
    for (int i = 0; i < m->term_count; i++) {
        const veer_at_term_t *term = &m->terms[i];
        val_t n = term->div > 1 ? LLVMBuildUDiv(b, lead, veer_emit_i64(c->t.e, term->div), "") : lead;
        if (term->div * term->mod < c->p->leads) n = LLVMBuildURem(b, n, veer_emit_i64(c->t.e, term->mod), "");
        sum = veer_emit_add(c->t.e, sum, veer_emit_mul(c->t.e, n, term->stride));
    }
    return sum;
}

void veer_at_begin_lead(veer_at_t *c, val_t lead) {
    for (int i = 0; i < VEER_AT_ROLES; i++)
        if (veer_at_has(c->p, i))
            c->base[i] =
                veer_emit_at(c->t.e, veer_jit_buffer(c->jit, (int)c->p->m[i].buf), lead_offset(c, &c->p->m[i], lead));
}

veer_tile_matrix_t veer_at_matrix(veer_at_t *c, veer_at_role_t role, val_t first) {
    const veer_at_matrix_t *m = &c->p->m[role];
    val_t base = c->base[role];
    if (first) base = veer_emit_at(c->t.e, base, veer_emit_mul(c->t.e, first, m->row));
    return (veer_tile_matrix_t){base, m->row, m->column};
}

/* ---- blocks ---- */

static void set_queries(veer_at_t *c, int64_t queries) {
    c->queries = queries;
    c->width = (queries + c->t.lanes - 1) / c->t.lanes * c->t.lanes;
}

void veer_at_block(veer_at_t *c, val_t block, void (*body)(veer_at_t *c)) {
    veer_emit_t *e = c->t.e;
    const veer_at_cut_t *cut = &c->cut;
    c->first = veer_emit_mul(c->t.e, block, cut->block);
    if (!cut->longer) {
        set_queries(c, cut->block);
        body(c);
        return;
    }
    val_t longer = veer_emit_i64(c->t.e, cut->longer), base = c->first;
    veer_emit_branch_t is_longer = veer_emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, block, longer, ""));
    c->first = veer_emit_add(c->t.e, base, block);
    set_queries(c, cut->block + 1);
    body(c);
    veer_emit_else(e, &is_longer);
    c->first = veer_emit_add(c->t.e, base, longer);
    set_queries(c, cut->block);
    body(c);
    veer_emit_endif(e, &is_longer);
}

static val_t all_lanes(veer_at_t *c, double value) {
    return veer_emit_splat(c->t.e, LLVMConstReal(c->t.e->f32, value), (unsigned)c->t.lanes);
}

void veer_at_turn_rows(veer_at_t *c, veer_at_role_t role, int64_t columns, int64_t to, double factor) {
    veer_tile_matrix_t from = veer_at_matrix(c, role, c->first), turned = {from.base, from.column, from.row};
    veer_tile_move(&c->t, (veer_tile_matrix_t){veer_at_scratch_at(c, to), c->width, 1}, turned, columns, c->queries,
                   factor == 1 ? NULL : all_lanes(c, factor), true);
}

/* ---- scores ---- */

/* A mask that differs between queries waits in p_t, turned; one that does not is read as it is needed. */
static bool mask_by_query(const veer_at_t *c) {
    return veer_at_mask_by_query(c->p);
}

val_t veer_at_score_at(veer_at_t *c, int64_t scores, val_t key, int more, int v) {
    val_t offset = veer_emit_add(c->t.e, veer_emit_mul(c->t.e, key, c->width), c->lane);
    val_t at = veer_emit_at(c->t.e, veer_at_scratch_at(c, scores), offset);
    return veer_tile_at_c(&c->t, at, more * c->width + (int64_t)v * c->t.lanes);
}

static val_t load_variable(veer_at_t *c, val_t variable) {
    return LLVMBuildLoad2(c->t.e->builder, c->t.vector, variable, "");
}

static val_t larger(veer_at_t *c, val_t x, val_t y) {
    return veer_emit_select(c->t.e, LLVMBuildFCmp(c->t.e->builder, LLVMRealOGT, x, y, ""), x, y);
}

static void finish_scores(void *user, veer_tile_t *tile) {
    veer_at_t *c = user;
    LLVMBuilderRef b = c->t.e->builder;
    val_t most[VEER_TILE_MAX_VECTORS];
    bool one_mask = veer_at_has(c->p, VEER_AT_MASK) && !mask_by_query(c);
    for (int v = 0; v < tile->vectors; v++) most[v] = load_variable(c, c->largest[v]);
    for (int r = 0; r < tile->rows; r++) {
        val_t row = veer_emit_add(c->t.e, tile->row, veer_emit_i64(c->t.e, r)), mask = NULL;
        if (one_mask)
            mask = veer_emit_load_all(
                c->t.e,
                veer_emit_at(c->t.e, c->base[VEER_AT_MASK], veer_emit_mul(c->t.e, row, c->p->m[VEER_AT_MASK].column)),
                c->t.lanes);
        for (int v = 0; v < tile->vectors; v++) {
            val_t x = tile->sums[r * tile->vectors + v], at = veer_at_score_at(c, c->scratch.p_t, tile->row, r, v);
            if (mask) x = veer_emit_fma(c->t.e, mask, all_lanes(c, VEER_AT_LOG2_E), x);
            if (mask_by_query(c))
                x = LLVMBuildFAdd(b, x, veer_emit_load_first(c->t.e, at, c->t.lanes, c->t.lanes, 4), "");
            veer_emit_store_first(c->t.e, x, at, c->t.lanes);
            most[v] = larger(c, x, most[v]);
        }
    }
    for (int v = 0; v < tile->vectors; v++) LLVMBuildStore(b, most[v], c->largest[v]);
}

/* ---- softmax ---- */

static val_t inverse_at(veer_at_t *c, val_t query) {
    return veer_emit_at(c->t.e, veer_at_scratch_at(c, c->scratch.inverse), query);
}

/* exp2(p_t - largest) of `rows` rows from `row` on, each added to a sum of its own. */
static void exponentials(veer_at_t *c, val_t row, int rows, int vectors, val_t *sums) {
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            val_t address = veer_at_score_at(c, c->scratch.p_t, row, r, v),
                  x = veer_emit_load_first(c->t.e, address, c->t.lanes, c->t.lanes, 4);
            x = LLVMBuildFSub(c->t.e->builder, x, load_variable(c, c->largest[v]), "");
            x = veer_vmath_exp2_negative(c->t.e, x);
            veer_emit_store_first(c->t.e, x, address, c->t.lanes);
            val_t *sum = &sums[r * vectors + v];
            LLVMBuildStore(c->t.e->builder, LLVMBuildFAdd(c->t.e->builder, load_variable(c, *sum), x, ""), *sum);
        }
}

void veer_at_store_inverse(veer_at_t *c, int v, val_t sum) {
    val_t offset = veer_emit_add(c->t.e, c->lane, veer_emit_i64(c->t.e, (int64_t)v * c->t.lanes));
    val_t inverse = LLVMBuildFDiv(c->t.e->builder, all_lanes(c, 1), sum, "");
    veer_emit_store_first(c->t.e, inverse, inverse_at(c, offset), c->t.lanes);
}

/* Of narrow panels several rows at a time, each with sums of its own, so that there is work while an addition lasts. */
void veer_at_softmax(veer_at_t *c, int vectors) {
    veer_emit_t *e = c->t.e;
    val_t sums[4 * VEER_TILE_MAX_VECTORS];
    int parts = vectors == 1 ? 4 : vectors < 4 ? 2 : 1;
    int64_t whole = c->p->s / parts * parts;
    for (int i = 0; i < parts * vectors; i++) {
        sums[i] = veer_emit_variable(e, c->t.vector);
        LLVMBuildStore(e->builder, LLVMConstNull(c->t.vector), sums[i]);
    }
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(c->t.e, 0), veer_emit_i64(c->t.e, whole), parts);
    exponentials(c, loop.i, parts, vectors, sums);
    veer_emit_loop_end(e, &loop);
    exponentials(c, veer_emit_i64(c->t.e, whole), (int)(c->p->s - whole), vectors, sums);
    for (int v = 0; v < vectors; v++) {
        val_t sum = load_variable(c, sums[v]);
        for (int i = 1; i < parts; i++)
            sum = LLVMBuildFAdd(e->builder, sum, load_variable(c, sums[i * vectors + v]), "");
        veer_at_store_inverse(c, v, sum);
    }
}

static void weigh_panel(void *user, val_t lane, int vectors, int tail) {
    veer_at_t *c = user;
    (void)tail;
    c->lane = lane;
    for (int v = 0; v < vectors; v++) {
        c->largest[v] = veer_emit_variable(c->t.e, c->t.vector);
        LLVMBuildStore(c->t.e->builder, all_lanes(c, -INFINITY), c->largest[v]);
    }
    veer_tile_product_t p = {.rows = c->p->s,
                             .k = c->p->d,
                             .columns = (int64_t)vectors * c->t.lanes,
                             .vectors = vectors,
                             .padded = true,
                             .a = veer_at_matrix(c, VEER_AT_K, NULL),
                             .b = veer_emit_at(c->t.e, veer_at_scratch_at(c, c->scratch.q_t), lane),
                             .b_row = c->width,
                             .finish = finish_scores,
                             .user = c};
    veer_tile_multiply(&c->t, &p);
    veer_at_softmax(c, vectors);
}

void veer_at_weights(veer_at_t *c) {
    veer_at_turn_rows(c, VEER_AT_Q, c->p->d, c->scratch.q_t, c->p->scale * VEER_AT_LOG2_E);
    if (mask_by_query(c)) veer_at_turn_rows(c, VEER_AT_MASK, c->p->s, c->scratch.p_t, VEER_AT_LOG2_E);
    veer_tile_for_panels(&c->t, c->width, c->cut.vectors, weigh_panel, c);
}

/* ---- y = factor x m ---- */

typedef struct weigh_s {
    veer_at_t *c;
    veer_tile_matrix_t to;
    const double *factor;
} weigh_t;

static val_t y_at(weigh_t *w, val_t row, val_t column) {
    veer_tile_ctx_t *t = &w->c->t;
    return veer_emit_at(
        t->e, w->to.base,
        veer_emit_add(t->e, veer_emit_mul(t->e, row, w->to.row), veer_emit_mul(t->e, column, w->to.column)));
}

/* Queries by columns. */
static void finish_rows(void *user, veer_tile_t *tile) {
    weigh_t *w = user;
    veer_tile_ctx_t *t = &w->c->t;
    for (int r = 0; r < tile->rows; r++) {
        val_t row = veer_emit_add(t->e, tile->row, veer_emit_i64(t->e, r));
        val_t factor =
            w->factor ? all_lanes(w->c, *w->factor) : veer_emit_load_all(t->e, inverse_at(w->c, row), t->lanes);
        for (int v = 0; v < tile->vectors; v++) {
            val_t column = veer_emit_add(t->e, tile->column, veer_emit_i64(t->e, (int64_t)v * t->lanes)),
                  y = LLVMBuildFMul(t->e->builder, tile->sums[r * tile->vectors + v], factor, "");
            veer_emit_store_first(t->e, y, y_at(w, row, column), veer_tile_lanes(t, tile, v));
        }
    }
}

/* Columns by queries. */
static void finish_turned(void *user, veer_tile_t *tile) {
    weigh_t *w = user;
    veer_tile_ctx_t *t = &w->c->t;
    for (int v = 0; v < tile->vectors; v++) {
        val_t query = veer_emit_add(t->e, tile->column, veer_emit_i64(t->e, (int64_t)v * t->lanes));
        val_t factor = w->factor ? all_lanes(w->c, *w->factor)
                                 : veer_emit_load_first(t->e, inverse_at(w->c, query), t->lanes, t->lanes, 4);
        for (int r = 0; r < tile->rows; r++) {
            val_t row = veer_emit_add(t->e, tile->row, veer_emit_i64(t->e, r)),
                  y = LLVMBuildFMul(t->e->builder, tile->sums[r * tile->vectors + v], factor, "");
            veer_emit_store_first(t->e, y, y_at(w, query, row), veer_tile_lanes(t, tile, v));
        }
    }
}

void veer_at_weigh(veer_at_t *c, int64_t x, veer_at_role_t role, int64_t columns, const double *factor) {
    veer_tile_matrix_t m = veer_at_matrix(c, role, NULL), y = veer_at_matrix(c, VEER_AT_Y, c->first);
    weigh_t w = {c, y, factor};
    veer_tile_product_t p = {.k = c->p->s, .user = &w};
    if (m.column == 1 && y.column == 1) {
        p.rows = c->queries, p.columns = columns, p.finish = finish_rows;
        p.a = (veer_tile_matrix_t){veer_at_scratch_at(c, x), 1, c->width};
        p.b = m.base, p.b_row = m.row;
        veer_tile_multiply(&c->t, &p);
        return;
    }
    p.rows = columns, p.columns = c->queries, p.finish = finish_turned, p.vectors = c->cut.vectors;
    p.padded = true;
    p.a = (veer_tile_matrix_t){m.base, m.column, m.row};
    p.b = veer_at_scratch_at(c, x), p.b_row = c->width;
    bool direct = y.row == 1;
    if (!direct) w.to = (veer_tile_matrix_t){veer_at_scratch_at(c, c->scratch.y_t), 1, c->width};
    veer_tile_multiply(&c->t, &p);
    if (!direct) veer_tile_move(&c->t, y, w.to, c->queries, columns, NULL, false);
}

/* ---- items ---- */

static void do_block(veer_at_t *c) {
    veer_at_weights(c);
    veer_at_weigh(c, c->scratch.p_t, VEER_AT_V, c->p->dv, NULL);
}

void veer_at_emit(veer_at_t *c) {
    veer_emit_t *e = c->t.e;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, c->jit->begin, c->jit->end, 1);
    val_t blocks = veer_emit_i64(c->t.e, c->cut.blocks);
    veer_at_begin_lead(c, LLVMBuildUDiv(e->builder, loop.i, blocks, ""));
    veer_at_block(c, LLVMBuildURem(e->builder, loop.i, blocks, ""), do_block);
    veer_emit_loop_end(e, &loop);
}
