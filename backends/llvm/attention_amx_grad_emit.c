/* The gradient of attention on the matrix unit as LLVM IR; of 64 queries, with p not divided by its sum, but dy,
 *
 *     for each 64 keys:  p_t = exp2(k q_t + mask^T - shift),  dp_t = v dy_t,  delta += p_t * dp_t
 *     for each 64 keys:  ds_t = p_t * (dp_t - delta / sum) / sum;  dv += p dy,  dk += ds q,  dq_t += k_t ds_t
 *
 * and after all queries of a lead dk *= scale; dq *= scale on its way out. k_t: the keys less what they have in common.
 * What no result needs is left out. */
#include "backends/llvm/attention_amx.h"

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK };

static bool has_slopes(const veer_at_t *c) {
    return veer_at_has(c->p, VEER_AT_Y) || veer_at_has(c->p, VEER_AT_DK);
}

/* ---- operands ---- */

/* The queries' rows of q or dy as second operand, steps of k being queries. */
static void pack_rows(veer_at_t *c, veer_at_role_t role, int64_t columns, veer_amx_factors_t factors, int64_t to) {
    int64_t stride = veer_at_whole(columns, SIDE);
    val_t stage = veer_at_scratch_at(c, c->scratch.stage);
    veer_tile_move(&c->t, (veer_tile_matrix_t){stage, stride, 1}, veer_at_matrix(c, role, c->first), c->queries,
                   columns, NULL, true);
    veer_amx_pack_b(&c->t, stage, stride, c->queries, columns, factors, veer_at_sum_parts(c),
                    veer_at_scratch_at(c, to));
}

/* ---- weights ---- */

/* Weights of vector v stay in p_t; what they and dp_t add to delta. */
static void keep_piece(veer_at_pair_t *p, int v) {
    veer_at_t *c = p->c;
    for (int h = 0; h < 2; h++) {
        if (!p->has[h]) continue;
        val_t x = veer_at_amx_weight(p, h, v),
              row = veer_at_plus(c, veer_emit_add(c->t.e, p->keys.row, p->i), (int64_t)h * SIDE);
        veer_at_store(c, x, veer_at_score_at(c, c->scratch.p_t, row, 0, v));
        if (!has_slopes(c)) continue;
        val_t dp = veer_at_load(c, veer_at_score_at(c, c->scratch.ds_t, row, 0, v));
        LLVMBuildStore(c->t.e->builder, veer_emit_fma(c->t.e, x, dp, veer_at_value(c, c->delta[v])), c->delta[v]);
    }
}

static void begin_kept(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *work) {
    if (!has_slopes(c)) {
        veer_at_amx_begin_keys(c, keys, work);
        return;
    }
    veer_amx_beside_t half = {0}, rest = {0};
    if (work) half = veer_at_amx_beside(work, 0, veer_at_pairs(c) / 2);
    if (work) rest = veer_at_amx_beside(work, veer_at_pairs(c) / 2, veer_at_pairs(c));
    veer_at_amx_begin_some(c, keys, work ? &half : NULL);
    veer_at_amx_multiply_keys(c, keys, c->scratch.v, c->scratch.dy_b, c->p->dv, c->scratch.ds_t, false,
                              work ? &rest : NULL);
}

/* delta / sum^2, which is what is to be subtracted from dp / sum. */
static void divide_delta(veer_at_t *c) {
    LLVMBuilderRef b = c->t.e->builder;
    for (int v = 0; v < veer_at_vectors(c); v++) {
        c->inverse[v] =
            veer_at_load(c, veer_at_behind(c, c->scratch.inverse, veer_emit_i64(c->t.e, (int64_t)v * SIDE)));
        val_t x =
            LLVMBuildFMul(b, LLVMBuildFMul(b, veer_at_value(c, c->delta[v]), c->inverse[v], ""), c->inverse[v], "");
        LLVMBuildStore(b, LLVMBuildFNeg(b, x, ""), c->delta[v]);
    }
}

/* ---- slopes ---- */

/* Steps of k of a product over the queries. */
static int64_t query_chunks(const veer_at_t *c) {
    return veer_amx_chunks(c->width);
}

/* Of what is packed of some keys, of which there are two buffers. */
static int64_t buffer_floats(const veer_at_t *c) {
    return veer_amx_packed_floats(veer_at_some(c->p), veer_at_some(c->p), veer_at_sum_parts(c));
}

static val_t in_buffer(veer_at_t *c, const veer_at_keys_t *keys, val_t address) {
    return veer_emit_at(c->t.e, address, veer_emit_mul(c->t.e, keys->buffer, buffer_floats(c)));
}

/* A key's row of a first operand, steps of k being queries: those of vectors v and v + 1. */
static void store_by_key(veer_at_pair_t *k, int64_t scratch, int h, int v, const veer_amx_parts_t *parts) {
    veer_at_t *c = k->c;
    val_t tile = veer_at_plus(c, veer_emit_mul(c->t.e, k->chunk, 2 * query_chunks(c)), h * query_chunks(c) + v / 2);
    veer_amx_store(c->t.e, veer_at_sum_parts(c), &parts[0], v + 1 < veer_at_vectors(c) ? &parts[1] : NULL,
                   in_buffer(c, &k->keys, veer_at_amx_row(c, scratch, tile, k->i)));
}

static void store_by_query(veer_at_pair_t *k, int v, const veer_amx_parts_t *low, const veer_amx_parts_t *high) {
    veer_at_t *c = k->c;
    val_t tile = veer_at_plus(c, k->chunk, (int64_t)v * (veer_at_some(c->p) / CHUNK));
    veer_amx_store(c->t.e, veer_at_sum_parts(c), low, high,
                   in_buffer(c, &k->keys, veer_at_amx_row(c, c->scratch.weights_b, tile, k->i)));
}

/* Two vectors of queries of two keys. */
static void slope_piece(veer_at_pair_t *k, int piece) {
    veer_at_t *c = k->c;
    veer_emit_t *e = c->t.e;
    veer_amx_parts_t p[2][2], ds[2][2];
    int v = piece * 2, count = veer_at_vectors(c) - v < 2 ? 1 : 2;
    for (int h = 0; h < 2; h++) {
        if (!k->has[h]) continue;
        for (int w = 0; w < count; w++) {
            val_t key = veer_at_plus(c, veer_emit_add(e, k->keys.row, k->i), (int64_t)h * SIDE),
                  x = veer_at_load(c, veer_at_score_at(c, c->scratch.p_t, key, 0, v + w));
            if (veer_at_has(c->p, VEER_AT_DV)) p[h][w] = veer_amx_split_result(e, x, veer_at_sum_parts(c));
            if (!has_slopes(c)) continue;
            val_t dp = veer_at_load(c, veer_at_score_at(c, c->scratch.ds_t, key, 0, v + w));
            dp = veer_emit_fma(e, dp, c->inverse[v + w], veer_at_value(c, c->delta[v + w]));
            ds[h][w] = veer_amx_split_result(e, LLVMBuildFMul(e->builder, x, dp, ""), veer_at_sum_parts(c));
        }
        if (veer_at_has(c->p, VEER_AT_DV)) store_by_key(k, c->scratch.weights_a, h, v, p[h]);
        if (veer_at_has(c->p, VEER_AT_DK)) store_by_key(k, c->scratch.slopes_a, h, v, ds[h]);
    }
    for (int w = 0; veer_at_has(c->p, VEER_AT_Y) && w < count; w++)
        store_by_query(k, v + w, k->has[0] ? &ds[0][w] : NULL, k->has[1] ? &ds[1][w] : NULL);
}

/* ---- products ---- */

/* dv += p dy, or dk += ds q, of some keys. */
static void add_by_key(veer_at_t *c, const veer_at_keys_t *keys, veer_at_role_t role, const veer_amx_beside_t *beside) {
    const veer_at_scratch_t *s = &c->scratch;
    bool dk = role == VEER_AT_DK;
    int64_t columns = dk ? c->p->d : c->p->dv, stride = veer_at_whole(columns, SIDE);
    int64_t tile = query_chunks(c) * veer_at_sum_tile_floats(c);
    veer_amx_product_t p = {.parts = veer_at_sum_parts(c),
                            .row_tiles = veer_amx_tiles(keys->count),
                            .column_tiles = veer_amx_tiles(columns),
                            .chunks = query_chunks(c),
                            .a = in_buffer(c, keys, veer_at_scratch_at(c, dk ? s->slopes_a : s->weights_a)),
                            .b = veer_at_scratch_at(c, dk ? s->q_r : s->dy_r),
                            .a_tile = tile,
                            .b_tile = tile,
                            .c = veer_at_behind(c, dk ? s->dk : s->dv, veer_emit_mul(c->t.e, keys->first, stride)),
                            .c_row = stride,
                            .adds = true,
                            .beside = beside};
    veer_amx_multiply(&c->t, &p);
}

/* dq_t += k_t ds_t. A query's slopes add up to 0, so what is left of what keys have in common cancels: with mm. */
static void add_by_query(veer_at_t *c, const veer_at_keys_t *keys, const veer_amx_beside_t *beside) {
    int64_t tile = veer_at_sum_tile_floats(c);
    val_t chunk = veer_emit_div(c->t.e, keys->first, CHUNK);
    veer_amx_product_t p = {.parts = veer_at_sum_parts(c),
                            .mm = true,
                            .row_tiles = veer_amx_tiles(c->p->d),
                            .column_tiles = veer_at_vectors(c),
                            .chunks = veer_amx_chunks(keys->count),
                            .a = veer_at_behind(c, c->scratch.keys_t, veer_emit_mul(c->t.e, chunk, tile)),
                            .b = in_buffer(c, keys, veer_at_scratch_at(c, c->scratch.weights_b)),
                            .a_tile = veer_amx_chunks(c->p->s) * tile,
                            .b_tile = veer_at_some(c->p) / CHUNK * tile,
                            .c = veer_at_scratch_at(c, c->scratch.y_t),
                            .c_row = c->width,
                            .adds = true,
                            .beside = beside};
    veer_amx_multiply(&c->t, &p);
}

/* The work is shared out over the products. */
static void finish_slopes(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *work) {
    static const veer_at_role_t roles[] = {VEER_AT_DV, VEER_AT_DK, VEER_AT_Y};
    int count = 0, done = 0;
    for (int i = 0; i < 3; i++) count += veer_at_has(c->p, roles[i]);
    for (int i = 0; i < 3; i++) {
        if (!veer_at_has(c->p, roles[i])) continue;
        veer_amx_beside_t some = {0}, *with = work ? &some : NULL;
        if (work)
            some = veer_at_amx_beside(work, veer_at_pairs(c) * done / count, veer_at_pairs(c) * (done + 1) / count);
        if (roles[i] == VEER_AT_Y)
            add_by_query(c, keys, with);
        else
            add_by_key(c, keys, roles[i], with);
        done++;
    }
}

/* ---- some queries, and sums over all of them ---- */

static void clear(veer_at_t *c, int64_t scratch, int64_t rows, int64_t row_floats) {
    veer_tile_clear(&c->t, veer_at_scratch_at(c, scratch), veer_at_whole(rows, SIDE) * row_floats);
}

void veer_at_amx_begin_gradients(veer_at_t *c) {
    const veer_at_problem_t *p = c->p;
    if (veer_at_has(p, VEER_AT_DK)) clear(c, c->scratch.dk, veer_at_whole(p->s, CHUNK), veer_at_whole(p->d, SIDE));
    if (veer_at_has(p, VEER_AT_DV)) clear(c, c->scratch.dv, veer_at_whole(p->s, CHUNK), veer_at_whole(p->dv, SIDE));
}

void veer_at_amx_add_gradients(veer_at_t *c) {
    bool dq = veer_at_has(c->p, VEER_AT_Y), dk = veer_at_has(c->p, VEER_AT_DK);
    veer_amx_factors_t none = {0}, by_row = {.by_row = veer_at_scratch_at(c, c->scratch.inverse)};
    veer_at_amx_pack_turned(c, VEER_AT_Q, c->p->d, c->p->scale * VEER_AT_LOG2_E, c->scratch.q_t, c->scratch.q_b);
    if (dq || dk) veer_at_amx_pack_turned(c, VEER_AT_DY, c->p->dv, 1, c->scratch.dy_t, c->scratch.dy_b);
    veer_at_steps_t keep = {true, true, begin_kept, veer_at_amx_do_nothing, keep_piece, veer_at_vectors(c)};
    int pieces = (veer_at_vectors(c) + 1) / 2;
    veer_at_steps_t slope = {true, false, veer_at_amx_do_nothing, finish_slopes, slope_piece, pieces};
    veer_at_amx_find_weights(c, &keep);
    divide_delta(c);
    if (veer_at_has(c->p, VEER_AT_DV)) pack_rows(c, VEER_AT_DY, c->p->dv, by_row, c->scratch.dy_r);
    if (dk) pack_rows(c, VEER_AT_Q, c->p->d, none, c->scratch.q_r);
    if (dq) clear(c, c->scratch.y_t, c->p->d, c->width);
    veer_at_amx_do_steps(c, &slope);
    if (dq) veer_at_amx_turn_result(c, c->p->d, veer_at_all_lanes(c, c->p->scale));
}

static void finish_by_key(veer_at_t *c, veer_at_role_t role, int64_t columns, int64_t sums, double factor) {
    veer_tile_matrix_t from = {veer_at_scratch_at(c, sums), veer_at_whole(columns, SIDE), 1};
    veer_tile_move(&c->t, veer_at_matrix(c, role, NULL), from, c->p->s, columns,
                   factor == 1 ? NULL : veer_at_all_lanes(c, factor), false);
}

void veer_at_amx_finish_gradients(veer_at_t *c) {
    const veer_at_problem_t *p = c->p;
    if (veer_at_has(p, VEER_AT_DK)) finish_by_key(c, VEER_AT_DK, p->d, c->scratch.dk, p->scale);
    if (veer_at_has(p, VEER_AT_DV)) finish_by_key(c, VEER_AT_DV, p->dv, c->scratch.dv, 1);
}
