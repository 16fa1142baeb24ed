/* What attention and its gradient on the matrix unit share, as LLVM IR: packing, keys step by step, weights, items. */
#include "backends/llvm/attention_amx.h"
#include "backends/llvm/vmath.h"

#include <math.h>

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK };

/* ---- operands ---- */

/* How a matrix of the lead is packed: its rows or, turned, its columns; these less what they have in common. */
typedef enum how_e { AS_IT_IS, TURNED, TURNED_CENTRED } how_t;

/* As first operand. */
static void pack_matrix(veer_at_t *c, veer_at_role_t role, int64_t rows, int64_t columns, how_t how, int parts,
                        int64_t to) {
    veer_tile_matrix_t m = veer_at_matrix(c, role, NULL);
    if (how != AS_IT_IS) {
        int64_t swap = rows;
        rows = columns, columns = swap;
        m = (veer_tile_matrix_t){m.base, m.column, m.row};
    }
    val_t from = m.base;
    int64_t stride = m.row;
    if (m.column != 1 || columns % SIDE || how == TURNED_CENTRED) {
        from = veer_at_scratch_at(c, c->scratch.stage), stride = veer_at_whole(columns, SIDE);
        veer_tile_move(&c->t, (veer_tile_matrix_t){from, stride, 1}, m, rows, columns, NULL, true);
    }
    if (how == TURNED_CENTRED) veer_at_amx_centre(c, from, stride, rows);
    veer_amx_pack_a(&c->t, from, stride, rows, columns, parts, veer_at_scratch_at(c, to));
}

static void pack_lead(veer_at_t *c) {
    const veer_at_problem_t *p = c->p;
    bool dq = veer_at_has(p, VEER_AT_Y);
    int sums = veer_at_sum_parts(c);
    pack_matrix(c, VEER_AT_K, p->s, p->d, AS_IT_IS, VEER_AT_AMX_SCORE_PARTS, c->scratch.keys);
    if (!p->is_gradient)
        pack_matrix(c, VEER_AT_V, p->s, p->dv, TURNED, sums, c->scratch.v_t);
    else {
        if (dq) pack_matrix(c, VEER_AT_K, p->s, p->d, TURNED_CENTRED, sums, c->scratch.keys_t);
        if (dq || veer_at_has(p, VEER_AT_DK))
            pack_matrix(c, VEER_AT_V, p->s, p->dv, AS_IT_IS, VEER_AT_AMX_SCORE_PARTS, c->scratch.v);
    }
}

/* ---- keys by queries ---- */

void veer_at_amx_pack_turned(veer_at_t *c, veer_at_role_t role, int64_t columns, double factor, int64_t stage,
                             int64_t to) {
    veer_at_turn_rows(c, role, columns, stage, factor);
    veer_amx_pack_b(&c->t, veer_at_scratch_at(c, stage), c->width, columns, c->width, (veer_amx_factors_t){0},
                    VEER_AT_AMX_SCORE_PARTS, veer_at_scratch_at(c, to));
}

void veer_at_amx_multiply_keys(veer_at_t *c, const veer_at_keys_t *keys, int64_t a, int64_t b, int64_t k, int64_t to,
                               bool adds, const veer_amx_beside_t *beside) {
    int64_t chunks = veer_amx_chunks(k), tile = chunks * veer_amx_tile_floats(VEER_AT_AMX_SCORE_PARTS);
    val_t tiles = veer_emit_mul(c->t.e, veer_emit_div(c->t.e, keys->first, SIDE), tile);
    veer_amx_product_t p = {.parts = VEER_AT_AMX_SCORE_PARTS,
                            .row_tiles = veer_amx_tiles(keys->count),
                            .column_tiles = veer_at_vectors(c),
                            .chunks = chunks,
                            .a = veer_at_behind(c, a, tiles),
                            .b = veer_at_scratch_at(c, b),
                            .a_tile = tile,
                            .b_tile = tile,
                            .c = veer_at_behind(c, to, veer_emit_mul(c->t.e, keys->row, c->width)),
                            .c_row = c->width,
                            .adds = adds,
                            .beside = beside};
    veer_amx_multiply(&c->t, &p);
}

static void turn_mask(veer_at_t *c, const veer_at_keys_t *keys) {
    veer_tile_matrix_t m = veer_at_matrix(c, VEER_AT_MASK, c->first);
    veer_tile_matrix_t turned = {veer_emit_at(c->t.e, m.base, veer_emit_mul(c->t.e, keys->first, m.column)), m.column,
                                 m.row};
    val_t to = veer_at_behind(c, c->scratch.p_t, veer_emit_mul(c->t.e, keys->row, c->width));
    veer_tile_move(&c->t, (veer_tile_matrix_t){to, c->width, 1}, turned, keys->count, c->queries,
                   veer_at_all_lanes(c, VEER_AT_LOG2_E), true);
}

static void find_scores(veer_at_t *c, const veer_at_keys_t *keys, const veer_amx_beside_t *beside) {
    bool mask = veer_at_mask_by_query(c->p);
    if (mask) turn_mask(c, keys);
    veer_at_amx_multiply_keys(c, keys, c->scratch.keys, c->scratch.q_b, c->p->d, c->scratch.p_t, mask, beside);
}

/* A NaN's lower bits are cleared, so that it is one when it is split. */
static val_t without_lower(veer_at_t *c, val_t x) {
    veer_emit_t *e = c->t.e;
    val_t bits = veer_emit_bits(e, x), is_nan = LLVMBuildFCmp(e->builder, LLVMRealUNO, x, x, "");
    val_t upper = LLVMBuildAnd(e->builder, bits, veer_emit_like_int(e, bits, (int64_t)0xFFFF0000), "");
    return veer_emit_from_bits(e, veer_emit_select(e, is_nan, upper, bits));
}

/* The score of a key, `ahead` behind keys->first + i, of vector v of queries. */
static val_t score(veer_at_t *c, const veer_at_keys_t *keys, val_t i, int64_t ahead, int v) {
    veer_emit_t *e = c->t.e;
    val_t row = veer_at_plus(c, veer_emit_add(e, keys->row, i), ahead);
    val_t x = veer_at_load(c, veer_at_score_at(c, c->scratch.p_t, row, 0, v));
    if (!veer_at_has(c->p, VEER_AT_MASK)) return x;
    if (!veer_at_mask_by_query(c->p)) {
        val_t key = veer_at_plus(c, veer_emit_add(e, keys->first, i), ahead);
        val_t address = veer_emit_at(e, c->base[VEER_AT_MASK], veer_emit_mul(e, key, c->p->m[VEER_AT_MASK].column));
        x = veer_emit_fma(e, veer_emit_load_all(e, address, c->t.lanes), veer_at_all_lanes(c, VEER_AT_LOG2_E), x);
    }
    return without_lower(c, x);
}

/* The shift of each query. */
static void find_shift(veer_at_t *c, const veer_at_keys_t *keys) {
    veer_emit_t *e = c->t.e;
    for (int v = 0; v < veer_at_vectors(c); v++)
        LLVMBuildStore(e->builder, veer_at_all_lanes(c, -INFINITY), c->shift[v]);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, keys->count), 1);
    for (int v = 0; v < veer_at_vectors(c); v++)
        veer_at_keep(c, score(c, keys, loop.i, 0, v), LLVMRealOGT, c->shift[v]);
    veer_emit_loop_end(e, &loop);
}

/* ---- some keys at a time ---- */

static veer_at_pair_t pair_of(veer_at_work_t *w, val_t chunk, int64_t count) {
    veer_emit_t *e = w->c->t.e;
    val_t row = veer_emit_mul(e, chunk, CHUNK);
    veer_at_keys_t keys = {veer_emit_add(e, w->keys.first, row), veer_emit_add(e, w->keys.row, row), count,
                           w->keys.buffer};
    return (veer_at_pair_t){.c = w->c, .keys = keys, .chunk = chunk};
}

static void do_pairs(veer_at_work_t *w, int64_t chunk) {
    veer_emit_t *e = w->c->t.e;
    int64_t rest = w->keys.count - chunk * CHUNK, rows = rest < CHUNK ? rest : CHUNK, from = 0;
    int64_t ends[] = {rows > SIDE ? rows - SIDE : 0, rows < SIDE ? rows : SIDE, SIDE};
    for (int kind = 0; kind < 3; from = ends[kind++]) {
        if (ends[kind] == from) continue;
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, from), veer_emit_i64(e, ends[kind]), 1);
        veer_at_pair_t pair = pair_of(w, veer_emit_i64(e, chunk), rows);
        pair.i = loop.i, pair.has[0] = kind < 2, pair.has[1] = kind < 1;
        for (int i = 0; i < w->pieces; i++) w->piece(&pair, i);
        veer_emit_loop_end(e, &loop);
    }
}

static void do_work(veer_at_work_t *w) {
    for (int64_t i = 0; i < veer_amx_chunks(w->keys.count); i++) do_pairs(w, i);
}

static void piece_beside(void *user, val_t row, int piece) {
    veer_at_work_t *w = user;
    veer_emit_t *e = w->c->t.e;
    veer_at_pair_t pair = pair_of(w, veer_emit_div(e, row, SIDE), CHUNK);
    pair.i = veer_emit_mod(e, row, SIDE), pair.has[0] = pair.has[1] = true;
    w->piece(&pair, piece);
}

veer_amx_beside_t veer_at_amx_beside(veer_at_work_t *w, int64_t first, int64_t end) {
    return (veer_amx_beside_t){piece_beside, w, first, end - first, w->pieces};
}

static veer_at_keys_t keys_from(veer_at_t *c, const veer_at_steps_t *s, val_t first, int64_t count) {
    veer_emit_t *e = c->t.e;
    const int64_t some = veer_at_some(c->p);
    val_t buffer = veer_emit_mod(e, veer_emit_div(e, first, some), 2);
    return (veer_at_keys_t){first, s->kept ? first : veer_emit_mul(e, buffer, some), count, buffer};
}

static veer_at_work_t work_of(veer_at_t *c, const veer_at_steps_t *s, const veer_at_keys_t *keys) {
    return (veer_at_work_t){c, *keys, s->piece, s->pieces};
}

static void do_step(veer_at_t *c, const veer_at_steps_t *s, const veer_at_keys_t *keys) {
    veer_at_work_t work = work_of(c, s, keys);
    s->begin(c, keys, NULL);
    do_work(&work);
    s->finish(c, keys, NULL);
}

/* Each turn of the loop begins keys and ends those before. */
static void do_steps_beside(veer_at_t *c, const veer_at_steps_t *s, int64_t most) {
    veer_emit_t *e = c->t.e;
    const int64_t some = veer_at_some(c->p);
    val_t one = veer_emit_i64(e, some);
    veer_at_keys_t keys = keys_from(c, s, veer_emit_i64(e, 0), some), before;
    veer_at_work_t work = work_of(c, s, &keys);
    s->begin(c, &keys, NULL);
    if (!s->work_after_begin) do_work(&work);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, one, veer_emit_i64(e, most), some);
    before = keys_from(c, s, veer_emit_sub(e, loop.i, one), some);
    keys = keys_from(c, s, loop.i, some);
    work = work_of(c, s, s->work_after_begin ? &before : &keys);
    s->begin(c, &keys, s->work_after_begin ? &work : NULL);
    s->finish(c, &before, s->work_after_begin ? NULL : &work);
    veer_emit_loop_end(e, &loop);
    keys = keys_from(c, s, veer_emit_i64(e, most - some), some);
    work = work_of(c, s, &keys);
    if (s->work_after_begin) do_work(&work);
    s->finish(c, &keys, NULL);
}

void veer_at_amx_do_steps(veer_at_t *c, const veer_at_steps_t *s) {
    veer_emit_t *e = c->t.e;
    const int64_t some = veer_at_some(c->p);
    int64_t most = c->p->s / some * some;
    veer_at_keys_t first = keys_from(c, s, veer_emit_i64(e, 0), some),
                   last = keys_from(c, s, veer_emit_i64(e, most), c->p->s - most);
    if (most > some)
        do_steps_beside(c, s, most);
    else if (most)
        do_step(c, s, &first);
    if (last.count) do_step(c, s, &last);
}

void veer_at_amx_do_nothing(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *work) {
    (void)c, (void)keys, (void)work;
}

/* ---- weights ---- */

val_t veer_at_amx_weight(veer_at_pair_t *p, int h, int v) {
    veer_at_t *c = p->c;
    veer_emit_t *e = c->t.e;
    val_t x = score(c, &p->keys, p->i, (int64_t)h * SIDE, v);
    veer_at_keep(c, x, LLVMRealOGT, c->largest[v]);
    x = veer_vmath_exp2_negative(e, LLVMBuildFSub(e->builder, x, veer_at_value(c, c->shift[v]), ""));
    veer_at_add(c, x, c->sums[h][v]);
    return x;
}

static void begin_sums(veer_at_t *c) {
    LLVMBuilderRef b = c->t.e->builder;
    for (int v = 0; v < veer_at_vectors(c); v++) {
        LLVMBuildStore(b, veer_at_all_lanes(c, -INFINITY), c->largest[v]);
        LLVMBuildStore(b, veer_at_all_lanes(c, 0), c->delta[v]);
        for (int h = 0; h < 2; h++) LLVMBuildStore(b, veer_at_all_lanes(c, 0), c->sums[h][v]);
    }
}

/* Whether a score exceeds the shift by too much; then the largest is the shift. */
static val_t try_again(veer_at_t *c) {
    static const double MOST = 32; /* weights of 2^32, and sums of them times any value below 2^80 or so */
    veer_emit_t *e = c->t.e;
    LLVMTypeRef bits = LLVMIntTypeInContext(e->context, (unsigned)c->t.lanes);
    val_t any = LLVMConstNull(bits);
    for (int v = 0; v < veer_at_vectors(c); v++) {
        val_t most = veer_at_value(c, c->largest[v]);
        val_t limit = LLVMBuildFAdd(e->builder, veer_at_value(c, c->shift[v]), veer_at_all_lanes(c, MOST), "");
        val_t over = LLVMBuildFCmp(e->builder, LLVMRealOGT, most, limit, "");
        any = LLVMBuildOr(e->builder, any, LLVMBuildBitCast(e->builder, over, bits, ""), "");
        LLVMBuildStore(e->builder, most, c->shift[v]);
    }
    return LLVMBuildICmp(e->builder, LLVMIntNE, any, LLVMConstNull(bits), "");
}

void veer_at_amx_find_weights(veer_at_t *c, const veer_at_steps_t *steps) {
    veer_emit_t *e = c->t.e;
    val_t again = veer_emit_variable(e, e->i1);
    LLVMBuildStore(e->builder, LLVMConstInt(e->i1, 1, 0), again);
    c->lane = veer_emit_i64(e, 0);
    for (int v = 0; v < veer_at_vectors(c); v++) {
        c->shift[v] = veer_at_variable(c, 0), c->largest[v] = veer_at_variable(c, 0),
        c->delta[v] = veer_at_variable(c, 0);
        for (int h = 0; h < 2; h++) c->sums[h][v] = veer_at_variable(c, 0);
    }
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, 2), 1);
    c->attempt = loop.i;
    veer_emit_branch_t needed = veer_emit_if(e, LLVMBuildLoad2(e->builder, e->i1, again, ""));
    begin_sums(c);
    veer_at_amx_do_steps(c, steps);
    LLVMBuildStore(e->builder, try_again(c), again);
    veer_emit_endif(e, &needed);
    veer_emit_loop_end(e, &loop);
    for (int v = 0; v < veer_at_vectors(c); v++)
        veer_at_store_inverse(
            c, v, LLVMBuildFAdd(e->builder, veer_at_value(c, c->sums[0][v]), veer_at_value(c, c->sums[1][v]), ""));
}

void veer_at_amx_begin_some(veer_at_t *c, const veer_at_keys_t *keys, const veer_amx_beside_t *beside) {
    veer_emit_t *e = c->t.e;
    find_scores(c, keys, beside);
    if (beside) return; /* other keys were before */
    val_t time = LLVMBuildOr(e->builder, keys->first, c->attempt, "");
    veer_emit_branch_t first = veer_emit_if(e, LLVMBuildICmp(e->builder, LLVMIntEQ, time, veer_emit_i64(e, 0), ""));
    find_shift(c, keys);
    veer_emit_endif(e, &first);
}

void veer_at_amx_begin_keys(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *work) {
    veer_amx_beside_t all = {0};
    if (work) all = veer_at_amx_beside(work, 0, veer_at_pairs(c));
    veer_at_amx_begin_some(c, keys, work ? &all : NULL);
}

/* ---- results ---- */

val_t veer_at_amx_row(veer_at_t *c, int64_t scratch, val_t tile, val_t i) {
    val_t offset = veer_emit_mul(c->t.e, tile, veer_at_sum_tile_floats(c));
    return veer_at_behind(c, scratch, veer_emit_add(c->t.e, offset, veer_emit_mul(c->t.e, i, VEER_AMX_ROW_FLOATS)));
}

void veer_at_amx_turn_result(veer_at_t *c, int64_t columns, val_t factor) {
    veer_tile_matrix_t from = {veer_at_scratch_at(c, c->scratch.y_t), 1, c->width};
    veer_tile_move(&c->t, veer_at_matrix(c, VEER_AT_Y, c->first), from, c->queries, columns, factor, false);
}

/* ---- items ---- */

static void do_part(veer_at_t *c, int64_t queries) {
    c->queries = queries, c->width = veer_at_whole(queries, SIDE);
    if (c->p->is_gradient)
        veer_at_amx_add_gradients(c);
    else
        veer_at_amx_attend(c);
}

static void do_parts(veer_at_t *c, val_t from, val_t end) {
    veer_emit_t *e = c->t.e;
    const int64_t some = veer_at_some(c->p);
    int64_t last = c->cut.parts - 1, rest = c->p->l - last * some;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, from, end, 1);
    c->first = veer_emit_mul(e, loop.i, some);
    if (rest == some)
        do_part(c, rest);
    else if (last == 0)
        do_part(c, rest);
    else {
        val_t is_whole = LLVMBuildICmp(e->builder, LLVMIntSLT, loop.i, veer_emit_i64(e, last), "");
        veer_emit_branch_t whole = veer_emit_if(e, is_whole);
        do_part(c, some);
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
    int64_t blocks = c->cut.blocks;
    val_t block = veer_emit_mod(e, item, blocks);
    veer_at_begin_lead(c, veer_emit_div(e, item, blocks));
    begin_lead(c, item, block);
    if (c->p->is_gradient) veer_at_amx_begin_gradients(c);
    do_parts(c, veer_emit_div(e, veer_emit_mul(e, block, c->cut.parts), blocks),
             veer_emit_div(e, veer_emit_mul(e, veer_at_plus(c, block, 1), c->cut.parts), blocks));
    if (c->p->is_gradient) veer_at_amx_finish_gradients(c);
}

void veer_at_emit_amx(veer_at_t *c) {
    veer_emit_t *e = c->t.e;
    veer_amx_begin(e);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, c->jit->begin, c->jit->end, 1);
    do_item(c, loop.i);
    veer_emit_loop_end(e, &loop);
    veer_amx_end(e);
}
