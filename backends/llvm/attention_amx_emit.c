/* Attention on the matrix unit as LLVM IR; of some queries
 *
 *     for some keys:  p_t = exp2(k q_t + mask^T - shift), split and packed
 *     y_t = v_t p_t,  o = y_t / sum */
#include "backends/llvm/attention_amx.h"

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK };

/* Vector v, packed as second operand of all keys. */
static void weigh_piece(veer_at_pair_t *p, int v) {
    veer_at_t *c = p->c;
    veer_emit_t *e = c->t.e;
    val_t tile = veer_at_plus(c, veer_emit_div(e, p->keys.first, CHUNK), v * veer_amx_chunks(c->p->s));
    veer_amx_parts_t parts[2];
    for (int h = 0; h < 2; h++)
        if (p->has[h]) parts[h] = veer_amx_split_result(e, veer_at_amx_weight(p, h, v), veer_at_sum_parts(c));
    veer_amx_store(e, veer_at_sum_parts(c), p->has[0] ? &parts[0] : NULL, p->has[1] ? &parts[1] : NULL,
                   veer_at_amx_row(c, c->scratch.weights_b, tile, p->i));
}

/* y_t = v_t p_t */
static void multiply_weights(veer_at_t *c) {
    int64_t chunks = veer_amx_chunks(c->p->s);
    veer_amx_product_t p = {.parts = veer_at_sum_parts(c),
                            .row_tiles = veer_amx_tiles(c->p->dv),
                            .column_tiles = veer_at_vectors(c),
                            .chunks = chunks,
                            .a = veer_at_scratch_at(c, c->scratch.v_t),
                            .b = veer_at_scratch_at(c, c->scratch.weights_b),
                            .a_tile = chunks * veer_at_sum_tile_floats(c),
                            .b_tile = chunks * veer_at_sum_tile_floats(c),
                            .c = veer_at_scratch_at(c, c->scratch.y_t),
                            .c_row = c->width};
    veer_amx_multiply(&c->t, &p);
}

static void divide_result(veer_at_t *c, int64_t columns) {
    veer_emit_t *e = c->t.e;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, columns), 1);
    for (int v = 0; v < veer_at_vectors(c); v++) {
        val_t lane = veer_emit_i64(e, (int64_t)v * SIDE);
        val_t address = veer_at_behind(c, c->scratch.y_t, veer_emit_add(e, veer_emit_mul(e, loop.i, c->width), lane));
        veer_at_store(c,
                      LLVMBuildFMul(e->builder, veer_at_load(c, address),
                                    veer_at_load(c, veer_at_behind(c, c->scratch.inverse, lane)), ""),
                      address);
    }
    veer_emit_loop_end(e, &loop);
}

void veer_at_amx_attend(veer_at_t *c) {
    veer_at_amx_pack_turned(c, VEER_AT_Q, c->p->d, c->p->scale * VEER_AT_LOG2_E, c->scratch.q_t, c->scratch.q_b);
    veer_at_steps_t steps = {
        false, true, veer_at_amx_begin_keys, veer_at_amx_do_nothing, weigh_piece, veer_at_vectors(c)};
    veer_at_amx_find_weights(c, &steps);
    multiply_weights(c);
    divide_result(c, c->p->dv);
    veer_at_amx_turn_result(c, c->p->dv, NULL);
}
