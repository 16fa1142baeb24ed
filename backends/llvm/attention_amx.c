/* Attention and its gradient with products on the matrix unit (amx.h), as LLVM IR:
 *
 *     for each item, some of a lead's queries                (of the gradient, all)
 *         where the lead is new: keys and values split and packed
 *         for each 64 queries                                (a copy of its own for the last, where they are fewer)
 *             p_t = k q_t, and the largest of each query     as in attention_emit.c, where the equations are
 *             p_t = exp2(p_t - largest), split and packed;  y_t = v_t p_t
 *             o = y_t / sum
 *
 * and for the gradient, with p not divided by its sum, but dy,
 *
 *             p_t = exp2(p_t - largest);  dy /= sum
 *             dp_t = v dy_t,  delta = sum over keys of p_t * dp_t / sum
 *             for each 64 keys:  ds_t = p_t * (dp_t - delta);  dv += p dy,  dk += ds q,  dq_t += k_t ds_t
 *         dk *= scale, dq *= scale
 *
 * Rows and columns that fill up tiles are zeros where they are summed over, else anything: nobody reads what they give.
 */
#include "backends/llvm/attention.h"
#include "backends/llvm/vmath.h"

#include <math.h>

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK, KEYS_AT_ONCE = VEER_AT_AMX_KEYS };

/* Parts of the numbers of sums, and of what goes through exp or cancels. */
static int sum_parts(const veer_at_t *c) {
    return c->cut.amx_sums;
}
static int score_parts(const veer_at_t *c) {
    return c->cut.amx;
}

static int64_t sum_tile_floats(const veer_at_t *c) {
    return veer_amx_tile_floats(sum_parts(c));
}

static int vectors(const veer_at_t *c) {
    return (int)(c->width / SIDE);
}

static val_t at(veer_at_t *c, int64_t scratch, val_t floats) {
    return veer_emit_at(c->t.e, veer_at_scratch_at(c, scratch), floats);
}

static val_t load(veer_at_t *c, val_t address) {
    return veer_emit_load_first(c->t.e, address, c->t.lanes, c->t.lanes, 4);
}

static void store(veer_at_t *c, val_t x, val_t address) {
    veer_emit_store_first(c->t.e, x, address, c->t.lanes);
}

static val_t plus(veer_at_t *c, val_t i, int64_t n) {
    return n ? veer_emit_add(c->t.e, i, veer_emit_i64(c->t.e, n)) : i;
}

static val_t all_lanes(veer_at_t *c, double value) {
    return veer_emit_splat(c->t.e, LLVMConstReal(c->t.e->f32, value), (unsigned)c->t.lanes);
}

static val_t variable(veer_at_t *c, double value) {
    val_t v = veer_emit_variable(c->t.e, c->t.vector);
    LLVMBuildStore(c->t.e->builder, all_lanes(c, value), v);
    return v;
}

static val_t value_of(veer_at_t *c, val_t v) {
    return LLVMBuildLoad2(c->t.e->builder, c->t.vector, v, "");
}

static int64_t whole(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* ---- operands ---- */

/* A matrix of the lead as first operand, its rows or, turned, its columns. */
static void pack_matrix(veer_at_t *c, veer_at_role_t role, int64_t rows, int64_t columns, bool turned, int parts,
                        int64_t to) {
    veer_tile_matrix_t m = veer_at_matrix(c, role, NULL);
    if (turned) {
        int64_t swap = rows;
        rows = columns, columns = swap;
        m = (veer_tile_matrix_t){m.base, m.column, m.row};
    }
    val_t from = m.base;
    int64_t stride = m.row;
    if (m.column != 1 || columns % SIDE) {
        from = veer_at_scratch_at(c, c->scratch.stage), stride = whole(columns, SIDE);
        veer_tile_move(&c->t, (veer_tile_matrix_t){from, stride, 1}, m, rows, columns, NULL, true);
    }
    veer_amx_pack_a(&c->t, from, stride, rows, columns, parts, veer_at_scratch_at(c, to));
}

static void pack_lead(veer_at_t *c) {
    const veer_at_problem_t *p = c->p;
    bool dq = veer_at_has(p, VEER_AT_Y);
    int scores = score_parts(c), sums = sum_parts(c);
    pack_matrix(c, VEER_AT_K, p->s, p->d, false, scores, c->scratch.keys);
    if (!p->is_gradient)
        pack_matrix(c, VEER_AT_V, p->s, p->dv, true, sums, c->scratch.v_t);
    else {
        if (dq) pack_matrix(c, VEER_AT_K, p->s, p->d, true, sums, c->scratch.keys_t);
        if (dq || veer_at_has(p, VEER_AT_DK)) pack_matrix(c, VEER_AT_V, p->s, p->dv, false, scores, c->scratch.v);
    }
}

/* The queries' rows of q or dy as second operand, steps of k being queries. */
static void pack_rows(veer_at_t *c, veer_at_role_t role, int64_t columns, veer_amx_factors_t factors, int64_t to) {
    int64_t stride = whole(columns, SIDE);
    val_t stage = veer_at_scratch_at(c, c->scratch.stage);
    veer_tile_move(&c->t, (veer_tile_matrix_t){stage, stride, 1}, veer_at_matrix(c, role, c->first), c->queries,
                   columns, NULL, true);
    veer_amx_pack_b(&c->t, stage, stride, c->queries, columns, factors, sum_parts(c), veer_at_scratch_at(c, to));
}

/* ---- keys by queries ---- */

/* [keys, width] = a b, a the lead's keys or values, b turned queries. */
static void multiply_keys(veer_at_t *c, int64_t a, int64_t b, int64_t k, int64_t to, bool adds) {
    int64_t chunks = veer_amx_chunks(k), tile = chunks * veer_amx_tile_floats(score_parts(c));
    veer_amx_product_t p = {.parts = score_parts(c),
                            .row_tiles = veer_amx_tiles(c->p->s),
                            .column_tiles = vectors(c),
                            .chunks = chunks,
                            .a = veer_at_scratch_at(c, a),
                            .b = veer_at_scratch_at(c, b),
                            .a_tile = tile,
                            .b_tile = tile,
                            .c = veer_at_scratch_at(c, to),
                            .c_row = c->width,
                            .adds = adds};
    veer_amx_multiply(&c->t, &p);
}

/* `row` for each key, in order. */
static void for_each_key(veer_at_t *c, void (*row)(veer_at_t *c, val_t key)) {
    enum { UNROLLED = 4 };
    veer_emit_t *e = c->t.e;
    int64_t most = c->p->s / UNROLLED * UNROLLED;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, most), UNROLLED);
    for (int i = 0; i < UNROLLED; i++) row(c, plus(c, loop.i, i));
    veer_emit_loop_end(e, &loop);
    for (int64_t i = most; i < c->p->s; i++) row(c, veer_emit_i64(e, i));
}

static void find_largest(veer_at_t *c, val_t key) {
    veer_emit_t *e = c->t.e;
    bool one_mask = veer_at_has(c->p, VEER_AT_MASK) && !veer_at_mask_by_query(c->p);
    val_t mask = NULL;
    if (one_mask)
        mask = veer_emit_load_all(
            e, veer_emit_at(e, c->base[VEER_AT_MASK], veer_emit_mul(e, key, c->p->m[VEER_AT_MASK].column)), c->t.lanes);
    for (int v = 0; v < vectors(c); v++) {
        val_t address = veer_at_score_at(c, c->scratch.p_t, key, 0, v), x = load(c, address),
              most = value_of(c, c->largest[v]);
        if (mask) {
            x = veer_emit_fma(e, mask, all_lanes(c, VEER_AT_LOG2_E), x);
            store(c, x, address);
        }
        most = veer_emit_select(e, LLVMBuildFCmp(e->builder, LLVMRealOGT, x, most, ""), x, most);
        LLVMBuildStore(e->builder, most, c->largest[v]);
    }
}

/* p_t = scores, and the largest of each query. */
static void find_scores(veer_at_t *c) {
    bool mask = veer_at_mask_by_query(c->p);
    veer_at_turn_rows(c, VEER_AT_Q, c->p->d, c->scratch.q_t, c->p->scale * VEER_AT_LOG2_E);
    veer_amx_pack_b(&c->t, veer_at_scratch_at(c, c->scratch.q_t), c->width, c->p->d, c->width, (veer_amx_factors_t){0},
                    score_parts(c), veer_at_scratch_at(c, c->scratch.q_b));
    if (mask) veer_at_turn_rows(c, VEER_AT_MASK, c->p->s, c->scratch.p_t, VEER_AT_LOG2_E);
    c->lane = veer_emit_i64(c->t.e, 0);
    for (int v = 0; v < vectors(c); v++) c->largest[v] = variable(c, -INFINITY);
    multiply_keys(c, c->scratch.keys, c->scratch.q_b, c->p->d, c->scratch.p_t, mask);
    for_each_key(c, find_largest);
}

/* ---- some keys at a time ---- */

/* Rows i and i + 16 of a chunk, as far as they exist. */
typedef struct pair_s {
    veer_at_t *c;
    val_t key;     /* the chunk's first */
    int64_t chunk; /* of those that are packed together */
    bool has[2];
    val_t *sums; /* variables, [half][vector] */
} pair_t;

/* `body` for each i of a chunk with `rows` rows. */
static void for_pairs(pair_t *p, int64_t rows, void (*body)(pair_t *p, val_t i)) {
    veer_emit_t *e = p->c->t.e;
    int64_t ends[] = {rows > SIDE ? rows - SIDE : 0, rows < SIDE ? rows : SIDE, SIDE}, from = 0;
    for (int kind = 0; kind < 3; from = ends[kind++]) {
        p->has[0] = kind < 2, p->has[1] = kind < 1;
        if (ends[kind] == from) continue;
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, from), veer_emit_i64(e, ends[kind]), 1);
        body(p, loop.i);
        veer_emit_loop_end(e, &loop);
    }
}

/* `body` for each `at_once` keys, in a loop, and for the rest. */
static void for_keys(veer_at_t *c, int64_t at_once, void (*body)(veer_at_t *c, val_t key, int64_t keys, void *user),
                     void *user) {
    veer_emit_t *e = c->t.e;
    int64_t most = c->p->s / at_once * at_once;
    if (most) {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, most), at_once);
        body(c, loop.i, at_once, user);
        veer_emit_loop_end(e, &loop);
    }
    if (c->p->s > most) body(c, veer_emit_i64(e, most), c->p->s - most, user);
}

static val_t row_of_tile(veer_at_t *c, int64_t scratch, int64_t tile, val_t i) {
    return at(c, scratch + tile * sum_tile_floats(c), veer_emit_mul(c->t.e, i, VEER_AMX_ROW_FLOATS));
}

/* exp2(p_t - largest), packed as second operand of all keys. */
static void weigh_pair(pair_t *p, val_t i) {
    veer_at_t *c = p->c;
    veer_emit_t *e = c->t.e;
    int64_t chunks = veer_amx_chunks(c->p->s);
    for (int v = 0; v < vectors(c); v++) {
        veer_amx_parts_t parts[2];
        for (int h = 0; h < 2; h++) {
            if (!p->has[h]) continue;
            val_t key = plus(c, veer_emit_add(e, p->key, i), h * SIDE), *sum = &p->sums[h * VEER_TILE_MAX_VECTORS + v];
            val_t x = load(c, veer_at_score_at(c, c->scratch.p_t, key, 0, v));
            x = veer_vmath_exp2_negative(e, LLVMBuildFSub(e->builder, x, value_of(c, c->largest[v]), ""));
            LLVMBuildStore(e->builder, LLVMBuildFAdd(e->builder, value_of(c, *sum), x, ""), *sum);
            parts[h] = veer_amx_split(e, x, sum_parts(c));
        }
        veer_amx_store(e, sum_parts(c), p->has[0] ? &parts[0] : NULL, p->has[1] ? &parts[1] : NULL,
                       at(c, c->scratch.weights_b + v * chunks * sum_tile_floats(c),
                          veer_emit_add(e, veer_emit_mul(e, veer_emit_div(e, p->key, CHUNK), sum_tile_floats(c)),
                                        veer_emit_mul(e, i, VEER_AMX_ROW_FLOATS))));
    }
}

static void weigh_keys(veer_at_t *c, val_t key, int64_t keys, void *sums) {
    pair_t pair = {.c = c, .key = key, .sums = sums};
    for_pairs(&pair, keys, weigh_pair);
}

/* y_t = v_t p_t */
static void multiply_weights(veer_at_t *c) {
    int64_t chunks = veer_amx_chunks(c->p->s);
    veer_amx_product_t p = {.parts = sum_parts(c),
                            .row_tiles = veer_amx_tiles(c->p->dv),
                            .column_tiles = vectors(c),
                            .chunks = chunks,
                            .a = veer_at_scratch_at(c, c->scratch.v_t),
                            .b = veer_at_scratch_at(c, c->scratch.weights_b),
                            .a_tile = chunks * sum_tile_floats(c),
                            .b_tile = chunks * sum_tile_floats(c),
                            .c = veer_at_scratch_at(c, c->scratch.y_t),
                            .c_row = c->width};
    veer_amx_multiply(&c->t, &p);
}

/* ---- results ---- */

static void clear(veer_at_t *c, int64_t scratch, int64_t rows, int64_t row_floats) {
    veer_tile_clear(&c->t, veer_at_scratch_at(c, scratch), whole(rows, SIDE) * row_floats);
}

/* The queries' rows of the result from y_t. */
static void turn_result(veer_at_t *c, int64_t columns, val_t factor) {
    veer_tile_matrix_t from = {veer_at_scratch_at(c, c->scratch.y_t), 1, c->width};
    veer_tile_move(&c->t, veer_at_matrix(c, VEER_AT_Y, c->first), from, c->queries, columns, factor, false);
}

static void divide_result(veer_at_t *c, int64_t columns) {
    veer_emit_t *e = c->t.e;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, columns), 1);
    for (int v = 0; v < vectors(c); v++) {
        val_t lane = veer_emit_i64(e, (int64_t)v * SIDE);
        val_t address = at(c, c->scratch.y_t, veer_emit_add(e, veer_emit_mul(e, loop.i, c->width), lane));
        store(c, LLVMBuildFMul(e->builder, load(c, address), load(c, at(c, c->scratch.inverse, lane)), ""), address);
    }
    veer_emit_loop_end(e, &loop);
}

/* ---- forward ---- */

static void attend(veer_at_t *c) {
    LLVMBuilderRef b = c->t.e->builder;
    val_t sums[2 * VEER_TILE_MAX_VECTORS];
    find_scores(c);
    for (int h = 0; h < 2; h++)
        for (int v = 0; v < vectors(c); v++) sums[h * VEER_TILE_MAX_VECTORS + v] = variable(c, 0);
    for_keys(c, CHUNK, weigh_keys, sums);
    multiply_weights(c);
    for (int v = 0; v < vectors(c); v++)
        veer_at_store_inverse(c, v,
                              LLVMBuildFAdd(b, value_of(c, sums[v]), value_of(c, sums[VEER_TILE_MAX_VECTORS + v]), ""));
    divide_result(c, c->p->dv);
    turn_result(c, c->p->dv, NULL);
}

/* ---- gradient ---- */

static void add_to_delta(veer_at_t *c, val_t key) {
    for (int v = 0; v < vectors(c); v++) {
        val_t p = load(c, veer_at_score_at(c, c->scratch.p_t, key, 0, v)),
              dp = load(c, veer_at_score_at(c, c->scratch.ds_t, key, 0, v));
        LLVMBuildStore(c->t.e->builder, veer_emit_fma(c->t.e, p, dp, value_of(c, c->delta[v])), c->delta[v]);
    }
}

/* ds_t = dp_t, divided by the sums as dy is, and delta. */
static void find_slopes(veer_at_t *c, veer_amx_factors_t inverse) {
    LLVMBuilderRef b = c->t.e->builder;
    veer_at_turn_rows(c, VEER_AT_DY, c->p->dv, c->scratch.dy_t, 1);
    veer_amx_pack_b(&c->t, veer_at_scratch_at(c, c->scratch.dy_t), c->width, c->p->dv, c->width, inverse,
                    score_parts(c), veer_at_scratch_at(c, c->scratch.dy_b));
    for (int v = 0; v < vectors(c); v++) c->delta[v] = variable(c, 0);
    multiply_keys(c, c->scratch.v, c->scratch.dy_b, c->p->dv, c->scratch.ds_t, false);
    for_each_key(c, add_to_delta);
    for (int v = 0; v < vectors(c); v++) {
        val_t by = load(c, at(c, c->scratch.inverse, veer_emit_i64(c->t.e, (int64_t)v * SIDE)));
        LLVMBuildStore(b, LLVMBuildFMul(b, value_of(c, c->delta[v]), by, ""), c->delta[v]);
    }
}

/* Steps of k of a product over the queries. */
static int64_t query_chunks(const veer_at_t *c) {
    return veer_amx_chunks(c->width);
}

/* A key's row of a first operand, steps of k being queries: those of vectors v and v + 1. */
static void store_by_key(veer_at_t *c, int64_t scratch, int64_t tile, val_t i, int v, const veer_amx_parts_t *parts) {
    veer_amx_store(c->t.e, sum_parts(c), &parts[0], v + 1 < vectors(c) ? &parts[1] : NULL,
                   row_of_tile(c, scratch, tile * query_chunks(c) + v / 2, i));
}

/* Two vectors of queries, from v on, of two keys. */
static void slope_square(pair_t *k, val_t i, int v) {
    veer_at_t *c = k->c;
    veer_emit_t *e = c->t.e;
    bool slopes = veer_at_has(c->p, VEER_AT_Y) || veer_at_has(c->p, VEER_AT_DK);
    veer_amx_parts_t p[2][2], ds[2][2];
    int count = vectors(c) - v < 2 ? 1 : 2;
    for (int h = 0; h < 2; h++) {
        if (!k->has[h]) continue;
        for (int w = 0; w < count; w++) {
            val_t key = plus(c, veer_emit_add(e, k->key, i), h * SIDE),
                  x = load(c, veer_at_score_at(c, c->scratch.p_t, key, 0, v + w));
            if (veer_at_has(c->p, VEER_AT_DV)) p[h][w] = veer_amx_split(e, x, sum_parts(c));
            if (!slopes) continue;
            val_t dp = load(c, veer_at_score_at(c, c->scratch.ds_t, key, 0, v + w));
            dp = LLVMBuildFSub(e->builder, dp, value_of(c, c->delta[v + w]), "");
            ds[h][w] = veer_amx_split(e, LLVMBuildFMul(e->builder, x, dp, ""), sum_parts(c));
        }
        if (veer_at_has(c->p, VEER_AT_DV)) store_by_key(c, c->scratch.weights_a, k->chunk * 2 + h, i, v, p[h]);
        if (veer_at_has(c->p, VEER_AT_DK)) store_by_key(c, c->scratch.slopes_a, k->chunk * 2 + h, i, v, ds[h]);
    }
    for (int w = 0; veer_at_has(c->p, VEER_AT_Y) && w < count; w++)
        veer_amx_store(e, sum_parts(c), k->has[0] ? &ds[0][w] : NULL, k->has[1] ? &ds[1][w] : NULL,
                       row_of_tile(c, c->scratch.weights_b, (v + w) * (KEYS_AT_ONCE / CHUNK) + k->chunk, i));
}

static void slope_pair(pair_t *k, val_t i) {
    for (int v = 0; v < vectors(k->c); v += 2) slope_square(k, i, v);
}

/* dv += p dy, or dk += ds q, of some keys. */
static void add_by_key(veer_at_t *c, val_t key, int64_t keys, int64_t a, int64_t b, int64_t columns, int64_t sums) {
    int64_t stride = whole(columns, SIDE);
    veer_amx_product_t p = {.parts = sum_parts(c),
                            .row_tiles = veer_amx_tiles(keys),
                            .column_tiles = veer_amx_tiles(columns),
                            .chunks = query_chunks(c),
                            .a = veer_at_scratch_at(c, a),
                            .b = veer_at_scratch_at(c, b),
                            .a_tile = query_chunks(c) * sum_tile_floats(c),
                            .b_tile = query_chunks(c) * sum_tile_floats(c),
                            .c = at(c, sums, veer_emit_mul(c->t.e, key, stride)),
                            .c_row = stride,
                            .adds = true};
    veer_amx_multiply(&c->t, &p);
}

static void slope_keys(veer_at_t *c, val_t key, int64_t keys, void *user) {
    const veer_at_scratch_t *s = &c->scratch;
    (void)user;
    int64_t chunks = veer_amx_chunks(keys);
    for (int64_t i = 0; i < chunks; i++) {
        pair_t pair = {.c = c, .key = plus(c, key, i * CHUNK), .chunk = i};
        for_pairs(&pair, keys - i * CHUNK < CHUNK ? keys - i * CHUNK : CHUNK, slope_pair);
    }
    if (veer_at_has(c->p, VEER_AT_DV)) add_by_key(c, key, keys, s->weights_a, s->dy_r, c->p->dv, s->dv);
    if (veer_at_has(c->p, VEER_AT_DK)) add_by_key(c, key, keys, s->slopes_a, s->q_r, c->p->d, s->dk);
    if (!veer_at_has(c->p, VEER_AT_Y)) return;
    veer_amx_product_t p = {
        .parts = sum_parts(c),
        .row_tiles = veer_amx_tiles(c->p->d),
        .column_tiles = vectors(c),
        .chunks = chunks,
        .a = at(c, s->keys_t, veer_emit_mul(c->t.e, veer_emit_div(c->t.e, key, CHUNK), sum_tile_floats(c))),
        .b = veer_at_scratch_at(c, s->weights_b),
        .a_tile = veer_amx_chunks(c->p->s) * sum_tile_floats(c),
        .b_tile = KEYS_AT_ONCE / CHUNK * sum_tile_floats(c),
        .c = veer_at_scratch_at(c, s->y_t),
        .c_row = c->width,
        .adds = true};
    veer_amx_multiply(&c->t, &p);
}

static void add_gradients(veer_at_t *c) {
    bool dq = veer_at_has(c->p, VEER_AT_Y), dk = veer_at_has(c->p, VEER_AT_DK);
    veer_amx_factors_t none = {0}, by_row = {.by_row = veer_at_scratch_at(c, c->scratch.inverse)},
                       by_column = {.by_column = by_row.by_row};
    find_scores(c);
    veer_at_softmax(c, vectors(c));
    if (dq || dk) find_slopes(c, by_column);
    if (veer_at_has(c->p, VEER_AT_DV)) pack_rows(c, VEER_AT_DY, c->p->dv, by_row, c->scratch.dy_r);
    if (dk) pack_rows(c, VEER_AT_Q, c->p->d, none, c->scratch.q_r);
    if (dq) clear(c, c->scratch.y_t, c->p->d, c->width);
    for_keys(c, KEYS_AT_ONCE, slope_keys, NULL);
    if (dq) turn_result(c, c->p->d, all_lanes(c, c->p->scale));
}

static void finish_by_key(veer_at_t *c, veer_at_role_t role, int64_t columns, int64_t sums, double factor) {
    veer_tile_matrix_t from = {veer_at_scratch_at(c, sums), whole(columns, SIDE), 1};
    veer_tile_move(&c->t, veer_at_matrix(c, role, NULL), from, c->p->s, columns,
                   factor == 1 ? NULL : all_lanes(c, factor), false);
}

/* ---- items ---- */

static void do_part(veer_at_t *c, int64_t queries) {
    c->queries = queries, c->width = whole(queries, SIDE);
    if (c->p->is_gradient)
        add_gradients(c);
    else
        attend(c);
}

static void do_parts(veer_at_t *c, val_t from, val_t end) {
    veer_emit_t *e = c->t.e;
    int64_t last = c->cut.parts - 1, rest = c->p->l - last * VEER_AT_AMX_QUERIES;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, from, end, 1);
    c->first = veer_emit_mul(e, loop.i, VEER_AT_AMX_QUERIES);
    if (rest == VEER_AT_AMX_QUERIES)
        do_part(c, rest);
    else if (last == 0)
        do_part(c, rest);
    else {
        val_t is_whole = LLVMBuildICmp(e->builder, LLVMIntSLT, loop.i, veer_emit_i64(e, last), "");
        veer_emit_branch_t whole = veer_emit_if(e, is_whole);
        do_part(c, VEER_AT_AMX_QUERIES);
        veer_emit_else(e, &whole);
        do_part(c, rest);
        veer_emit_endif(e, &whole);
    }
    veer_emit_loop_end(e, &loop);
}

/* Packs the lead's matrices, unless this thread did so for the item before. */
static void begin_lead(veer_at_t *c, val_t item, val_t block) {
    veer_emit_t *e = c->t.e;
    LLVMBuilderRef b = e->builder;
    val_t zero = veer_emit_i64(e, 0), is_new = LLVMBuildICmp(b, LLVMIntEQ, c->jit->continues, zero, "");
    is_new = LLVMBuildAnd(b, is_new, LLVMBuildICmp(b, LLVMIntEQ, item, c->jit->begin, ""), "");
    is_new = LLVMBuildOr(b, is_new, LLVMBuildICmp(b, LLVMIntEQ, block, zero, ""), "");
    veer_emit_branch_t pack = veer_emit_if(e, is_new);
    pack_lead(c);
    veer_emit_endif(e, &pack);
}

static void do_item(veer_at_t *c, val_t item) {
    veer_emit_t *e = c->t.e;
    const veer_at_problem_t *p = c->p;
    int64_t blocks = c->cut.blocks;
    val_t block = veer_emit_mod(e, item, blocks);
    veer_at_begin_lead(c, veer_emit_div(e, item, blocks));
    begin_lead(c, item, block);
    bool dk = p->is_gradient && veer_at_has(p, VEER_AT_DK), dv = p->is_gradient && veer_at_has(p, VEER_AT_DV);
    if (dk) clear(c, c->scratch.dk, whole(p->s, CHUNK), whole(p->d, SIDE));
    if (dv) clear(c, c->scratch.dv, whole(p->s, CHUNK), whole(p->dv, SIDE));
    do_parts(c, veer_emit_div(e, veer_emit_mul(e, block, c->cut.parts), blocks),
             veer_emit_div(e, veer_emit_mul(e, plus(c, block, 1), c->cut.parts), blocks));
    if (dk) finish_by_key(c, VEER_AT_DK, p->d, c->scratch.dk, p->scale);
    if (dv) finish_by_key(c, VEER_AT_DV, p->dv, c->scratch.dv, 1);
}

void veer_at_emit_amx(veer_at_t *c) {
    veer_emit_t *e = c->t.e;
    veer_amx_begin(e);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, c->jit->begin, c->jit->end, 1);
    do_item(c, loop.i);
    veer_emit_loop_end(e, &loop);
    veer_amx_end(e);
}
