/* The gradient of attention as LLVM IR:
 *
 *     for each lead
 *         for each block of queries                       (two copies where blocks differ in length)
 *             p_t, not divided by its sums, as for attention
 *             p_t /= sum,  dp_t = v dy_t,  delta = sum over keys of p_t * dp_t
 *             ds_t = p_t * (dp_t - delta)                 in place of dp_t
 *             dv += p_t dy,  dk += ds_t q                 queries in their order
 *             dq = scale ds k
 *         dk *= scale
 *
 * dk and dv go straight to where they are wanted where there is one block and they lie by rows, else they add up in
 * scratch and are moved at the end. What no result needs is left out. */
#include "backends/llvm/attention.h"

typedef LLVMValueRef val_t;

/* ---- ds_t ---- */

static void finish_products(void *user, veer_tile_t *tile) {
    veer_at_t *c = user;
    LLVMBuilderRef b = c->t.e->builder;
    val_t delta[VEER_TILE_MAX_VECTORS];
    for (int v = 0; v < tile->vectors; v++) delta[v] = LLVMBuildLoad2(b, c->t.vector, c->delta[v], "");
    for (int r = 0; r < tile->rows; r++)
        for (int v = 0; v < tile->vectors; v++) {
            val_t dp = tile->sums[r * tile->vectors + v], at = veer_at_score_at(c, c->scratch.p_t, tile->row, r, v);
            val_t p = LLVMBuildFMul(b, veer_emit_load_first(c->t.e, at, c->t.lanes, c->t.lanes, 4), c->inverse[v], "");
            veer_emit_store_first(c->t.e, p, at, c->t.lanes);
            veer_emit_store_first(c->t.e, dp, veer_at_score_at(c, c->scratch.ds_t, tile->row, r, v), c->t.lanes);
            delta[v] = veer_emit_fma(c->t.e, p, dp, delta[v]);
        }
    for (int v = 0; v < tile->vectors; v++) LLVMBuildStore(b, delta[v], c->delta[v]);
}

static void load_inverse(veer_at_t *c, int vectors) {
    val_t at = veer_emit_at(c->t.e, veer_at_scratch_at(c, c->scratch.inverse), c->lane);
    for (int v = 0; v < vectors; v++)
        c->inverse[v] =
            veer_emit_load_first(c->t.e, veer_tile_at_c(&c->t, at, (int64_t)v * c->t.lanes), c->t.lanes, c->t.lanes, 4);
}

static void subtract_delta(veer_at_t *c, int vectors) {
    LLVMBuilderRef b = c->t.e->builder;
    veer_emit_loop_t loop = veer_emit_loop_begin(c->t.e, veer_emit_i64(c->t.e, 0), veer_emit_i64(c->t.e, c->p->s), 1);
    for (int v = 0; v < vectors; v++) {
        val_t at = veer_at_score_at(c, c->scratch.ds_t, loop.i, 0, v),
              dp = veer_emit_load_first(c->t.e, at, c->t.lanes, c->t.lanes, 4);
        val_t p =
            veer_emit_load_first(c->t.e, veer_at_score_at(c, c->scratch.p_t, loop.i, 0, v), c->t.lanes, c->t.lanes, 4);
        val_t delta = LLVMBuildLoad2(b, c->t.vector, c->delta[v], "");
        veer_emit_store_first(c->t.e, LLVMBuildFMul(b, p, LLVMBuildFSub(b, dp, delta, ""), ""), at, c->t.lanes);
    }
    veer_emit_loop_end(c->t.e, &loop);
}

static void score_gradients(void *user, val_t lane, int vectors, int tail) {
    veer_at_t *c = user;
    const veer_at_matrix_t *m = &c->p->m[VEER_AT_V];
    (void)tail;
    c->lane = lane;
    load_inverse(c, vectors);
    for (int v = 0; v < vectors; v++) {
        c->delta[v] = veer_emit_variable(c->t.e, c->t.vector);
        LLVMBuildStore(c->t.e->builder, LLVMConstNull(c->t.vector), c->delta[v]);
    }
    veer_tile_product_t p = {.rows = c->p->s,
                             .k = c->p->dv,
                             .columns = (int64_t)vectors * c->t.lanes,
                             .vectors = vectors,
                             .padded = true,
                             .a = {c->base[VEER_AT_V], m->row, m->column},
                             .b = veer_emit_at(c->t.e, veer_at_scratch_at(c, c->scratch.dy_t), lane),
                             .b_row = c->width,
                             .finish = finish_products,
                             .user = c};
    veer_tile_multiply(&c->t, &p);
    subtract_delta(c, vectors);
}

/* Where dv alone is wanted. */
static void divide_by_sums(void *user, val_t lane, int vectors, int tail) {
    veer_at_t *c = user;
    (void)tail;
    c->lane = lane;
    load_inverse(c, vectors);
    veer_emit_loop_t loop = veer_emit_loop_begin(c->t.e, veer_emit_i64(c->t.e, 0), veer_emit_i64(c->t.e, c->p->s), 1);
    for (int v = 0; v < vectors; v++) {
        val_t at = veer_at_score_at(c, c->scratch.p_t, loop.i, 0, v),
              p = veer_emit_load_first(c->t.e, at, c->t.lanes, c->t.lanes, 4);
        veer_emit_store_first(c->t.e, LLVMBuildFMul(c->t.e->builder, p, c->inverse[v], ""), at, c->t.lanes);
    }
    veer_emit_loop_end(c->t.e, &loop);
}

/* ---- dk and dv ---- */

/* A result with a row per key, and what it is the product of. */
typedef struct by_key_s {
    veer_at_role_t role, rows; /* rows: q or dy, a row per query */
    int64_t weights;           /* ds_t or p_t */
    int64_t columns, stride;   /* stride: of rows in scratch */
    int64_t sums, packed;      /* in scratch */
    double factor;
    bool direct; /* straight to its place */
    bool first;  /* of one block: nothing to add to */
} by_key_t;

static by_key_t result_by_key(const veer_at_t *c, veer_at_role_t role) {
    by_key_t r = {.role = role, .first = c->cut.blocks == 1};
    if (role == VEER_AT_DK) {
        r.rows = VEER_AT_Q, r.weights = c->scratch.ds_t, r.columns = c->p->d, r.factor = c->p->scale;
        r.sums = c->scratch.dk, r.packed = c->scratch.q;
    } else {
        r.rows = VEER_AT_DY, r.weights = c->scratch.p_t, r.columns = c->p->dv, r.factor = 1;
        r.sums = c->scratch.dv, r.packed = c->scratch.dy;
    }
    r.stride = (r.columns + c->t.lanes - 1) / c->t.lanes * c->t.lanes;
    r.direct = r.first && c->p->m[role].column == 1;
    return r;
}

typedef struct adding_s {
    veer_at_t *c;
    by_key_t r;
} adding_t;

static val_t sum_at(adding_t *a, const veer_tile_t *tile, int r, int v) {
    veer_tile_ctx_t *t = &a->c->t;
    int64_t stride = a->r.direct ? a->c->p->m[a->r.role].row : a->r.stride;
    val_t base = a->r.direct ? a->c->base[a->r.role] : veer_at_scratch_at(a->c, a->r.sums);
    val_t row = veer_emit_add(t->e, tile->row, veer_emit_i64(t->e, r));
    val_t column = veer_emit_add(t->e, tile->column, veer_emit_i64(t->e, (int64_t)v * t->lanes));
    return veer_emit_at(t->e, base, veer_emit_add(t->e, veer_emit_mul(t->e, row, stride), column));
}

static void load_sums(void *user, veer_tile_t *tile) {
    adding_t *a = user;
    for (int i = 0; i < tile->rows * tile->vectors; i++)
        tile->sums[i] = veer_emit_load_first(a->c->t.e, sum_at(a, tile, i / tile->vectors, i % tile->vectors),
                                             a->c->t.lanes, a->c->t.lanes, 4);
}

static val_t times(veer_at_t *c, val_t x, double factor) {
    return factor == 1 ? x : LLVMBuildFMul(c->t.e->builder, x, veer_emit_like(c->t.e, x, factor), "");
}

static void store_sums(void *user, veer_tile_t *tile) {
    adding_t *a = user;
    for (int i = 0; i < tile->rows * tile->vectors; i++) {
        int v = i % tile->vectors, lanes = a->r.direct ? veer_tile_lanes(&a->c->t, tile, v) : a->c->t.lanes;
        val_t x = a->r.direct ? times(a->c, tile->sums[i], a->r.factor) : tile->sums[i];
        veer_emit_store_first(a->c->t.e, x, sum_at(a, tile, i / tile->vectors, v), lanes);
    }
}

/* The block's queries: += weights_t rows. */
static void add_by_key(veer_at_t *c, veer_at_role_t role) {
    adding_t a = {c, result_by_key(c, role)};
    veer_tile_matrix_t rows = veer_at_matrix(c, a.r.rows, c->first);
    veer_tile_product_t p = {.rows = c->p->s,
                             .k = c->queries,
                             .columns = a.r.columns,
                             .a = {veer_at_scratch_at(c, a.r.weights), c->width, 1},
                             .b = rows.base,
                             .b_row = rows.row,
                             .begin = a.r.first ? NULL : load_sums,
                             .finish = store_sums,
                             .user = &a};
    if (rows.column != 1) {
        p.b = veer_at_scratch_at(c, a.r.packed), p.b_row = a.r.stride, p.padded = true;
        veer_tile_move(&c->t, (veer_tile_matrix_t){p.b, p.b_row, 1}, rows, c->queries, a.r.columns, NULL, true);
    }
    veer_tile_multiply(&c->t, &p);
}

static void begin_by_key(veer_at_t *c, veer_at_role_t role) {
    by_key_t r = result_by_key(c, role);
    if (!r.first) veer_tile_clear(&c->t, veer_at_scratch_at(c, r.sums), c->p->s * r.stride);
}

static void finish_by_key(veer_at_t *c, veer_at_role_t role) {
    by_key_t r = result_by_key(c, role);
    if (r.direct) return;
    val_t factor = r.factor == 1 ? NULL : veer_emit_like(c->t.e, LLVMConstNull(c->t.vector), r.factor);
    veer_tile_move(&c->t, veer_at_matrix(c, role, NULL),
                   (veer_tile_matrix_t){veer_at_scratch_at(c, r.sums), r.stride, 1}, c->p->s, r.columns, factor, false);
}

/* ---- leads ---- */

static void do_block(veer_at_t *c) {
    bool dq = veer_at_has(c->p, VEER_AT_Y), dk = veer_at_has(c->p, VEER_AT_DK);
    veer_at_weights(c);
    if (dq || dk) {
        veer_at_turn_rows(c, VEER_AT_DY, c->p->dv, c->scratch.dy_t, 1);
        veer_tile_for_panels(&c->t, c->width, c->cut.vectors, score_gradients, c);
    } else
        veer_tile_for_panels(&c->t, c->width, c->cut.vectors, divide_by_sums, c);
    if (veer_at_has(c->p, VEER_AT_DV)) add_by_key(c, VEER_AT_DV);
    if (dk) add_by_key(c, VEER_AT_DK);
    if (dq) veer_at_weigh(c, c->scratch.ds_t, VEER_AT_K, c->p->d, &c->p->scale);
}

void veer_at_emit_gradient(veer_at_t *c) {
    veer_emit_t *e = c->t.e;
    veer_emit_loop_t leads = veer_emit_loop_begin(e, c->jit->begin, c->jit->end, 1);
    veer_at_begin_lead(c, leads.i);
    for (int role = VEER_AT_DK; role <= VEER_AT_DV; role++)
        if (veer_at_has(c->p, role)) begin_by_key(c, role);
    veer_emit_loop_t blocks =
        veer_emit_loop_begin(e, veer_emit_i64(c->t.e, 0), veer_emit_i64(c->t.e, c->cut.blocks), 1);
    veer_at_block(c, blocks.i, do_block);
    veer_emit_loop_end(e, &blocks);
    for (int role = VEER_AT_DK; role <= VEER_AT_DV; role++)
        if (veer_at_has(c->p, role)) finish_by_key(c, role);
    veer_emit_loop_end(e, &leads);
}
