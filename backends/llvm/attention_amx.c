/* Attention and its gradient with products on the matrix unit (amx.h), as LLVM IR:
 *
 *     for each item, some of a lead's queries                (of the gradient, all)
 *         where the lead is new: keys and values split and packed
 *         for each 64 queries                                (a copy of its own for the last, where they are fewer)
 *             for each 64 keys:  p_t = k q_t + mask^T,  p_t = exp2(p_t - shift), split and packed
 *             y_t = v_t p_t,  o = y_t / sum
 *
 * and for the gradient, with p not divided by its sum, but dy,
 *
 *             for each 64 keys:  p_t = exp2(k q_t + mask^T - shift),  dp_t = v dy_t,  delta += p_t * dp_t
 *             for each 64 keys:  ds_t = p_t * (dp_t - delta / sum) / sum;  dv += p dy,  dk += ds q,  dq_t += k_t ds_t
 *         dk *= scale, dq *= scale
 *
 * The shift of a query may be any number as large as its scores, about. It is the largest score of the first 64 keys;
 * where others exceed that by so much that sums could overflow, everything is done again with the largest of all.
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
    return c->cut.amx;
}
enum { SCORE_PARTS = VEER_AMX_PARTS };

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
    int sums = sum_parts(c);
    pack_matrix(c, VEER_AT_K, p->s, p->d, false, SCORE_PARTS, c->scratch.keys);
    if (!p->is_gradient)
        pack_matrix(c, VEER_AT_V, p->s, p->dv, true, sums, c->scratch.v_t);
    else {
        if (dq) pack_matrix(c, VEER_AT_K, p->s, p->d, true, sums, c->scratch.keys_t);
        if (dq || veer_at_has(p, VEER_AT_DK)) pack_matrix(c, VEER_AT_V, p->s, p->dv, false, SCORE_PARTS, c->scratch.v);
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

/* Turned rows of q or dy as second operand, steps of k being their columns. */
static void pack_turned(veer_at_t *c, veer_at_role_t role, int64_t columns, double factor, int64_t stage, int64_t to) {
    veer_at_turn_rows(c, role, columns, stage, factor);
    veer_amx_pack_b(&c->t, veer_at_scratch_at(c, stage), c->width, columns, c->width, (veer_amx_factors_t){0},
                    SCORE_PARTS, veer_at_scratch_at(c, to));
}

/* Some keys of a matrix [s, width] in scratch. */
typedef struct keys_s {
    val_t first, row; /* key; its row in scratch */
    int64_t count;
    val_t buffer; /* 0 or 1: of two, where those of some keys are used while others are filled */
} keys_t;

/* = a b, a the lead's keys or values [s, k], b turned queries. */
static void multiply_keys(veer_at_t *c, const keys_t *keys, int64_t a, int64_t b, int64_t k, int64_t to, bool adds,
                          const veer_amx_beside_t *beside) {
    int64_t chunks = veer_amx_chunks(k), tile = chunks * veer_amx_tile_floats(SCORE_PARTS);
    val_t tiles = veer_emit_mul(c->t.e, veer_emit_div(c->t.e, keys->first, SIDE), tile);
    veer_amx_product_t p = {.parts = SCORE_PARTS,
                            .row_tiles = veer_amx_tiles(keys->count),
                            .column_tiles = vectors(c),
                            .chunks = chunks,
                            .a = at(c, a, tiles),
                            .b = veer_at_scratch_at(c, b),
                            .a_tile = tile,
                            .b_tile = tile,
                            .c = at(c, to, veer_emit_mul(c->t.e, keys->row, c->width)),
                            .c_row = c->width,
                            .adds = adds,
                            .beside = beside};
    veer_amx_multiply(&c->t, &p);
}

static void turn_mask(veer_at_t *c, const keys_t *keys) {
    veer_tile_matrix_t m = veer_at_matrix(c, VEER_AT_MASK, c->first);
    veer_tile_matrix_t turned = {veer_emit_at(c->t.e, m.base, veer_emit_mul(c->t.e, keys->first, m.column)), m.column,
                                 m.row};
    val_t to = at(c, c->scratch.p_t, veer_emit_mul(c->t.e, keys->row, c->width));
    veer_tile_move(&c->t, (veer_tile_matrix_t){to, c->width, 1}, turned, keys->count, c->queries,
                   all_lanes(c, VEER_AT_LOG2_E), true);
}

static void find_scores(veer_at_t *c, const keys_t *keys, const veer_amx_beside_t *beside) {
    bool mask = veer_at_mask_by_query(c->p);
    if (mask) turn_mask(c, keys);
    multiply_keys(c, keys, c->scratch.keys, c->scratch.q_b, c->p->d, c->scratch.p_t, mask, beside);
}

/* A NaN's lower bits are cleared, so that it is one when it is split. */
static val_t without_lower(veer_at_t *c, val_t x) {
    veer_emit_t *e = c->t.e;
    val_t bits = veer_emit_bits(e, x), is_nan = LLVMBuildFCmp(e->builder, LLVMRealUNO, x, x, "");
    val_t upper = LLVMBuildAnd(e->builder, bits, veer_emit_like_int(e, bits, (int64_t)0xFFFF0000), "");
    return veer_emit_from_bits(e, veer_emit_select(e, is_nan, upper, bits));
}

/* The score of a key, `ahead` behind keys->first + i, of vector v of queries. */
static val_t score(veer_at_t *c, const keys_t *keys, val_t i, int64_t ahead, int v) {
    veer_emit_t *e = c->t.e;
    val_t x = load(c, veer_at_score_at(c, c->scratch.p_t, plus(c, veer_emit_add(e, keys->row, i), ahead), 0, v));
    if (!veer_at_has(c->p, VEER_AT_MASK)) return x;
    if (!veer_at_mask_by_query(c->p)) {
        val_t key = plus(c, veer_emit_add(e, keys->first, i), ahead);
        val_t address = veer_emit_at(e, c->base[VEER_AT_MASK], veer_emit_mul(e, key, c->p->m[VEER_AT_MASK].column));
        x = veer_emit_fma(e, veer_emit_load_all(e, address, c->t.lanes), all_lanes(c, VEER_AT_LOG2_E), x);
    }
    return without_lower(c, x);
}

static void add_largest(veer_at_t *c, val_t x, val_t most) {
    veer_emit_t *e = c->t.e;
    val_t known = value_of(c, most), is_larger = LLVMBuildFCmp(e->builder, LLVMRealOGT, x, known, "");
    LLVMBuildStore(e->builder, veer_emit_select(e, is_larger, x, known), most);
}

/* The shift of each query. */
static void find_shift(veer_at_t *c, const keys_t *keys) {
    veer_emit_t *e = c->t.e;
    for (int v = 0; v < vectors(c); v++) LLVMBuildStore(e->builder, all_lanes(c, -INFINITY), c->shift[v]);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, keys->count), 1);
    for (int v = 0; v < vectors(c); v++) add_largest(c, score(c, keys, loop.i, 0, v), c->shift[v]);
    veer_emit_loop_end(e, &loop);
}

/* ---- some keys at a time ---- */

/* Rows i and i + 16 of a chunk, as far as they exist. */
typedef struct pair_s {
    veer_at_t *c;
    keys_t keys; /* the chunk's */
    val_t chunk; /* of those that are packed together */
    val_t i;
    bool has[2];
} pair_t;

/* What is done with the pairs of some keys, in pieces, so that it can be done beside products. */
typedef struct work_s {
    veer_at_t *c;
    keys_t keys;
    void (*piece)(pair_t *p, int piece);
    int pieces;
} work_t;

static pair_t pair_of(work_t *w, val_t chunk, int64_t count) {
    veer_emit_t *e = w->c->t.e;
    val_t row = veer_emit_mul(e, chunk, CHUNK);
    keys_t keys = {veer_emit_add(e, w->keys.first, row), veer_emit_add(e, w->keys.row, row), count, w->keys.buffer};
    return (pair_t){.c = w->c, .keys = keys, .chunk = chunk};
}

static void do_pairs(work_t *w, int64_t chunk) {
    veer_emit_t *e = w->c->t.e;
    int64_t rest = w->keys.count - chunk * CHUNK, rows = rest < CHUNK ? rest : CHUNK, from = 0;
    int64_t ends[] = {rows > SIDE ? rows - SIDE : 0, rows < SIDE ? rows : SIDE, SIDE};
    for (int kind = 0; kind < 3; from = ends[kind++]) {
        if (ends[kind] == from) continue;
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, from), veer_emit_i64(e, ends[kind]), 1);
        pair_t pair = pair_of(w, veer_emit_i64(e, chunk), rows);
        pair.i = loop.i, pair.has[0] = kind < 2, pair.has[1] = kind < 1;
        for (int i = 0; i < w->pieces; i++) w->piece(&pair, i);
        veer_emit_loop_end(e, &loop);
    }
}

static void do_work(work_t *w) {
    for (int64_t i = 0; i < veer_amx_chunks(w->keys.count); i++) do_pairs(w, i);
}

static void piece_beside(void *user, val_t row, int piece) {
    work_t *w = user;
    veer_emit_t *e = w->c->t.e;
    pair_t pair = pair_of(w, veer_emit_div(e, row, SIDE), CHUNK);
    pair.i = veer_emit_mod(e, row, SIDE), pair.has[0] = pair.has[1] = true;
    w->piece(&pair, piece);
}

enum { ROWS_AT_ONCE = KEYS_AT_ONCE / 2 };

/* Rows [first, end) of work with as many keys as are done at once. */
static veer_amx_beside_t beside(work_t *w, int64_t first, int64_t end) {
    return (veer_amx_beside_t){piece_beside, w, first, end - first, w->pieces};
}

/* What is done for all keys, 64 at a time: `begin`, then the work, then `finish`. Products of the next keys' `begin`
 * have the work beside them, or those of the keys' before in `finish`. */
typedef struct steps_s {
    bool kept;             /* each key has a row of its own in p_t */
    bool work_after_begin; /* beside the next `begin`; else beside the `finish` before */
    void (*begin)(veer_at_t *c, const keys_t *keys, work_t *beside);
    void (*finish)(veer_at_t *c, const keys_t *keys, work_t *beside);
    void (*piece)(pair_t *p, int piece);
    int pieces;
} steps_t;

static keys_t keys_from(veer_at_t *c, const steps_t *s, val_t first, int64_t count) {
    veer_emit_t *e = c->t.e;
    val_t buffer = veer_emit_mod(e, veer_emit_div(e, first, KEYS_AT_ONCE), 2);
    return (keys_t){first, s->kept ? first : veer_emit_mul(e, buffer, KEYS_AT_ONCE), count, buffer};
}

static work_t work_of(veer_at_t *c, const steps_t *s, const keys_t *keys) {
    return (work_t){c, *keys, s->piece, s->pieces};
}

static void do_step(veer_at_t *c, const steps_t *s, const keys_t *keys) {
    work_t work = work_of(c, s, keys);
    s->begin(c, keys, NULL);
    do_work(&work);
    s->finish(c, keys, NULL);
}

/* Each turn of the loop begins keys and ends those before. */
static void do_steps_beside(veer_at_t *c, const steps_t *s, int64_t most) {
    veer_emit_t *e = c->t.e;
    val_t one = veer_emit_i64(e, KEYS_AT_ONCE);
    keys_t keys = keys_from(c, s, veer_emit_i64(e, 0), KEYS_AT_ONCE), before;
    work_t work = work_of(c, s, &keys);
    s->begin(c, &keys, NULL);
    if (!s->work_after_begin) do_work(&work);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, one, veer_emit_i64(e, most), KEYS_AT_ONCE);
    before = keys_from(c, s, veer_emit_sub(e, loop.i, one), KEYS_AT_ONCE);
    keys = keys_from(c, s, loop.i, KEYS_AT_ONCE);
    work = work_of(c, s, s->work_after_begin ? &before : &keys);
    s->begin(c, &keys, s->work_after_begin ? &work : NULL);
    s->finish(c, &before, s->work_after_begin ? NULL : &work);
    veer_emit_loop_end(e, &loop);
    keys = keys_from(c, s, veer_emit_i64(e, most - KEYS_AT_ONCE), KEYS_AT_ONCE);
    work = work_of(c, s, &keys);
    if (s->work_after_begin) do_work(&work);
    s->finish(c, &keys, NULL);
}

static void do_steps(veer_at_t *c, const steps_t *s) {
    veer_emit_t *e = c->t.e;
    int64_t most = c->p->s / KEYS_AT_ONCE * KEYS_AT_ONCE;
    keys_t first = keys_from(c, s, veer_emit_i64(e, 0), KEYS_AT_ONCE),
           last = keys_from(c, s, veer_emit_i64(e, most), c->p->s - most);
    if (most > KEYS_AT_ONCE)
        do_steps_beside(c, s, most);
    else if (most)
        do_step(c, s, &first);
    if (last.count) do_step(c, s, &last);
}

static val_t row_of_tile(veer_at_t *c, int64_t scratch, val_t tile, val_t i) {
    val_t offset = veer_emit_mul(c->t.e, tile, sum_tile_floats(c));
    return at(c, scratch, veer_emit_add(c->t.e, offset, veer_emit_mul(c->t.e, i, VEER_AMX_ROW_FLOATS)));
}

/* ---- weights ---- */

/* Makes a score, of half h of a pair, a weight. */
static val_t weight(pair_t *p, int h, int v) {
    veer_at_t *c = p->c;
    veer_emit_t *e = c->t.e;
    val_t x = score(c, &p->keys, p->i, (int64_t)h * SIDE, v), *sum = &c->sums[h][v];
    add_largest(c, x, c->largest[v]);
    x = veer_vmath_exp2_negative(e, LLVMBuildFSub(e->builder, x, value_of(c, c->shift[v]), ""));
    LLVMBuildStore(e->builder, LLVMBuildFAdd(e->builder, value_of(c, *sum), x, ""), *sum);
    return x;
}

static void begin_sums(veer_at_t *c) {
    LLVMBuilderRef b = c->t.e->builder;
    for (int v = 0; v < vectors(c); v++) {
        LLVMBuildStore(b, all_lanes(c, -INFINITY), c->largest[v]);
        LLVMBuildStore(b, all_lanes(c, 0), c->delta[v]);
        for (int h = 0; h < 2; h++) LLVMBuildStore(b, all_lanes(c, 0), c->sums[h][v]);
    }
}

/* Whether a score exceeds the shift by too much; then the largest is the shift. */
static val_t try_again(veer_at_t *c) {
    static const double MOST = 32; /* weights of 2^32, and sums of them times any value below 2^80 or so */
    veer_emit_t *e = c->t.e;
    LLVMTypeRef bits = LLVMIntTypeInContext(e->context, (unsigned)c->t.lanes);
    val_t any = LLVMConstNull(bits);
    for (int v = 0; v < vectors(c); v++) {
        val_t most = value_of(c, c->largest[v]);
        val_t limit = LLVMBuildFAdd(e->builder, value_of(c, c->shift[v]), all_lanes(c, MOST), "");
        val_t over = LLVMBuildFCmp(e->builder, LLVMRealOGT, most, limit, "");
        any = LLVMBuildOr(e->builder, any, LLVMBuildBitCast(e->builder, over, bits, ""), "");
        LLVMBuildStore(e->builder, most, c->shift[v]);
    }
    return LLVMBuildICmp(e->builder, LLVMIntNE, any, LLVMConstNull(bits), "");
}

/* Weights of all keys; twice where the shift is too small. */
static void find_weights(veer_at_t *c, const steps_t *steps) {
    veer_emit_t *e = c->t.e;
    val_t again = veer_emit_variable(e, e->i1);
    LLVMBuildStore(e->builder, LLVMConstInt(e->i1, 1, 0), again);
    c->lane = veer_emit_i64(e, 0);
    for (int v = 0; v < vectors(c); v++) {
        c->shift[v] = variable(c, 0), c->largest[v] = variable(c, 0), c->delta[v] = variable(c, 0);
        for (int h = 0; h < 2; h++) c->sums[h][v] = variable(c, 0);
    }
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, 2), 1);
    c->attempt = loop.i;
    veer_emit_branch_t needed = veer_emit_if(e, LLVMBuildLoad2(e->builder, e->i1, again, ""));
    begin_sums(c);
    do_steps(c, steps);
    LLVMBuildStore(e->builder, try_again(c), again);
    veer_emit_endif(e, &needed);
    veer_emit_loop_end(e, &loop);
    for (int v = 0; v < vectors(c); v++)
        veer_at_store_inverse(c, v,
                              LLVMBuildFAdd(e->builder, value_of(c, c->sums[0][v]), value_of(c, c->sums[1][v]), ""));
}

/* Scores, and from the first ones, the first time, the shift. */
static void begin_some(veer_at_t *c, const keys_t *keys, const veer_amx_beside_t *beside) {
    veer_emit_t *e = c->t.e;
    find_scores(c, keys, beside);
    if (beside) return; /* other keys were before */
    val_t time = LLVMBuildOr(e->builder, keys->first, c->attempt, "");
    veer_emit_branch_t first = veer_emit_if(e, LLVMBuildICmp(e->builder, LLVMIntEQ, time, veer_emit_i64(e, 0), ""));
    find_shift(c, keys);
    veer_emit_endif(e, &first);
}

static void begin_keys(veer_at_t *c, const keys_t *keys, work_t *work) {
    veer_amx_beside_t all = {0};
    if (work) all = beside(work, 0, ROWS_AT_ONCE);
    begin_some(c, keys, work ? &all : NULL);
}

static void do_nothing(veer_at_t *c, const keys_t *keys, work_t *work) {
    (void)c, (void)keys, (void)work;
}

/* Vector v, packed as second operand of all keys. */
static void weigh_piece(pair_t *p, int v) {
    veer_at_t *c = p->c;
    veer_emit_t *e = c->t.e;
    val_t tile = plus(c, veer_emit_div(e, p->keys.first, CHUNK), v * veer_amx_chunks(c->p->s));
    veer_amx_parts_t parts[2];
    for (int h = 0; h < 2; h++)
        if (p->has[h]) parts[h] = veer_amx_split_result(e, weight(p, h, v), sum_parts(c));
    veer_amx_store(e, sum_parts(c), p->has[0] ? &parts[0] : NULL, p->has[1] ? &parts[1] : NULL,
                   row_of_tile(c, c->scratch.weights_b, tile, p->i));
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
    pack_turned(c, VEER_AT_Q, c->p->d, c->p->scale * VEER_AT_LOG2_E, c->scratch.q_t, c->scratch.q_b);
    steps_t steps = {false, true, begin_keys, do_nothing, weigh_piece, vectors(c)};
    find_weights(c, &steps);
    multiply_weights(c);
    divide_result(c, c->p->dv);
    turn_result(c, c->p->dv, NULL);
}

/* ---- gradient ---- */

static bool has_slopes(const veer_at_t *c) {
    return veer_at_has(c->p, VEER_AT_Y) || veer_at_has(c->p, VEER_AT_DK);
}

/* Weights of vector v stay in p_t; what they and dp_t add to delta. */
static void keep_piece(pair_t *p, int v) {
    veer_at_t *c = p->c;
    for (int h = 0; h < 2; h++) {
        if (!p->has[h]) continue;
        val_t x = weight(p, h, v), row = plus(c, veer_emit_add(c->t.e, p->keys.row, p->i), (int64_t)h * SIDE);
        store(c, x, veer_at_score_at(c, c->scratch.p_t, row, 0, v));
        if (!has_slopes(c)) continue;
        val_t dp = load(c, veer_at_score_at(c, c->scratch.ds_t, row, 0, v));
        LLVMBuildStore(c->t.e->builder, veer_emit_fma(c->t.e, x, dp, value_of(c, c->delta[v])), c->delta[v]);
    }
}

static void begin_kept(veer_at_t *c, const keys_t *keys, work_t *work) {
    if (!has_slopes(c)) {
        begin_keys(c, keys, work);
        return;
    }
    veer_amx_beside_t half = {0}, rest = {0};
    if (work) half = beside(work, 0, ROWS_AT_ONCE / 2), rest = beside(work, ROWS_AT_ONCE / 2, ROWS_AT_ONCE);
    begin_some(c, keys, work ? &half : NULL);
    multiply_keys(c, keys, c->scratch.v, c->scratch.dy_b, c->p->dv, c->scratch.ds_t, false, work ? &rest : NULL);
}

/* delta / sum^2, which is what is to be subtracted from dp / sum. */
static void divide_delta(veer_at_t *c) {
    LLVMBuilderRef b = c->t.e->builder;
    for (int v = 0; v < vectors(c); v++) {
        c->inverse[v] = load(c, at(c, c->scratch.inverse, veer_emit_i64(c->t.e, (int64_t)v * SIDE)));
        val_t x = LLVMBuildFMul(b, LLVMBuildFMul(b, value_of(c, c->delta[v]), c->inverse[v], ""), c->inverse[v], "");
        LLVMBuildStore(b, LLVMBuildFNeg(b, x, ""), c->delta[v]);
    }
}

/* Steps of k of a product over the queries. */
static int64_t query_chunks(const veer_at_t *c) {
    return veer_amx_chunks(c->width);
}

/* Of what is packed of some keys, of which there are two buffers. */
static int64_t buffer_floats(const veer_at_t *c) {
    return veer_amx_packed_floats(KEYS_AT_ONCE, VEER_AT_AMX_QUERIES, sum_parts(c));
}

static val_t in_buffer(veer_at_t *c, const keys_t *keys, val_t address) {
    return veer_emit_at(c->t.e, address, veer_emit_mul(c->t.e, keys->buffer, buffer_floats(c)));
}

/* A key's row of a first operand, steps of k being queries: those of vectors v and v + 1. */
static void store_by_key(pair_t *k, int64_t scratch, int h, int v, const veer_amx_parts_t *parts) {
    veer_at_t *c = k->c;
    val_t tile = plus(c, veer_emit_mul(c->t.e, k->chunk, 2 * query_chunks(c)), h * query_chunks(c) + v / 2);
    veer_amx_store(c->t.e, sum_parts(c), &parts[0], v + 1 < vectors(c) ? &parts[1] : NULL,
                   in_buffer(c, &k->keys, row_of_tile(c, scratch, tile, k->i)));
}

static void store_by_query(pair_t *k, int v, const veer_amx_parts_t *low, const veer_amx_parts_t *high) {
    veer_at_t *c = k->c;
    val_t tile = plus(c, k->chunk, (int64_t)v * (KEYS_AT_ONCE / CHUNK));
    veer_amx_store(c->t.e, sum_parts(c), low, high,
                   in_buffer(c, &k->keys, row_of_tile(c, c->scratch.weights_b, tile, k->i)));
}

/* Two vectors of queries of two keys. */
static void slope_piece(pair_t *k, int piece) {
    veer_at_t *c = k->c;
    veer_emit_t *e = c->t.e;
    veer_amx_parts_t p[2][2], ds[2][2];
    int v = piece * 2, count = vectors(c) - v < 2 ? 1 : 2;
    for (int h = 0; h < 2; h++) {
        if (!k->has[h]) continue;
        for (int w = 0; w < count; w++) {
            val_t key = plus(c, veer_emit_add(e, k->keys.row, k->i), (int64_t)h * SIDE),
                  x = load(c, veer_at_score_at(c, c->scratch.p_t, key, 0, v + w));
            if (veer_at_has(c->p, VEER_AT_DV)) p[h][w] = veer_amx_split_result(e, x, sum_parts(c));
            if (!has_slopes(c)) continue;
            val_t dp = load(c, veer_at_score_at(c, c->scratch.ds_t, key, 0, v + w));
            dp = veer_emit_fma(e, dp, c->inverse[v + w], value_of(c, c->delta[v + w]));
            ds[h][w] = veer_amx_split_result(e, LLVMBuildFMul(e->builder, x, dp, ""), sum_parts(c));
        }
        if (veer_at_has(c->p, VEER_AT_DV)) store_by_key(k, c->scratch.weights_a, h, v, p[h]);
        if (veer_at_has(c->p, VEER_AT_DK)) store_by_key(k, c->scratch.slopes_a, h, v, ds[h]);
    }
    for (int w = 0; veer_at_has(c->p, VEER_AT_Y) && w < count; w++)
        store_by_query(k, v + w, k->has[0] ? &ds[0][w] : NULL, k->has[1] ? &ds[1][w] : NULL);
}

/* dv += p dy, or dk += ds q, of some keys. */
static void add_by_key(veer_at_t *c, const keys_t *keys, veer_at_role_t role, const veer_amx_beside_t *beside) {
    const veer_at_scratch_t *s = &c->scratch;
    bool dk = role == VEER_AT_DK;
    int64_t columns = dk ? c->p->d : c->p->dv, stride = whole(columns, SIDE);
    int64_t tile = query_chunks(c) * sum_tile_floats(c);
    veer_amx_product_t p = {.parts = sum_parts(c),
                            .row_tiles = veer_amx_tiles(keys->count),
                            .column_tiles = veer_amx_tiles(columns),
                            .chunks = query_chunks(c),
                            .a = in_buffer(c, keys, veer_at_scratch_at(c, dk ? s->slopes_a : s->weights_a)),
                            .b = veer_at_scratch_at(c, dk ? s->q_r : s->dy_r),
                            .a_tile = tile,
                            .b_tile = tile,
                            .c = at(c, dk ? s->dk : s->dv, veer_emit_mul(c->t.e, keys->first, stride)),
                            .c_row = stride,
                            .adds = true,
                            .beside = beside};
    veer_amx_multiply(&c->t, &p);
}

/* dq_t += k_t ds_t */
static void add_by_query(veer_at_t *c, const keys_t *keys, const veer_amx_beside_t *beside) {
    int64_t tile = sum_tile_floats(c);
    val_t chunk = veer_emit_div(c->t.e, keys->first, CHUNK);
    veer_amx_product_t p = {.parts = sum_parts(c),
                            .row_tiles = veer_amx_tiles(c->p->d),
                            .column_tiles = vectors(c),
                            .chunks = veer_amx_chunks(keys->count),
                            .a = at(c, c->scratch.keys_t, veer_emit_mul(c->t.e, chunk, tile)),
                            .b = in_buffer(c, keys, veer_at_scratch_at(c, c->scratch.weights_b)),
                            .a_tile = veer_amx_chunks(c->p->s) * tile,
                            .b_tile = KEYS_AT_ONCE / CHUNK * tile,
                            .c = veer_at_scratch_at(c, c->scratch.y_t),
                            .c_row = c->width,
                            .adds = true,
                            .beside = beside};
    veer_amx_multiply(&c->t, &p);
}

/* The work is shared out over the products. */
static void finish_slopes(veer_at_t *c, const keys_t *keys, work_t *work) {
    static const veer_at_role_t roles[] = {VEER_AT_DV, VEER_AT_DK, VEER_AT_Y};
    int count = 0, done = 0;
    for (int i = 0; i < 3; i++) count += veer_at_has(c->p, roles[i]);
    for (int i = 0; i < 3; i++) {
        if (!veer_at_has(c->p, roles[i])) continue;
        veer_amx_beside_t some = {0}, *with = work ? &some : NULL;
        if (work) some = beside(work, ROWS_AT_ONCE * done / count, ROWS_AT_ONCE * (done + 1) / count);
        if (roles[i] == VEER_AT_Y)
            add_by_query(c, keys, with);
        else
            add_by_key(c, keys, roles[i], with);
        done++;
    }
}

static void add_gradients(veer_at_t *c) {
    bool dq = veer_at_has(c->p, VEER_AT_Y), dk = veer_at_has(c->p, VEER_AT_DK);
    veer_amx_factors_t none = {0}, by_row = {.by_row = veer_at_scratch_at(c, c->scratch.inverse)};
    pack_turned(c, VEER_AT_Q, c->p->d, c->p->scale * VEER_AT_LOG2_E, c->scratch.q_t, c->scratch.q_b);
    if (dq || dk) pack_turned(c, VEER_AT_DY, c->p->dv, 1, c->scratch.dy_t, c->scratch.dy_b);
    steps_t keep = {true, true, begin_kept, do_nothing, keep_piece, vectors(c)},
            slope = {true, false, do_nothing, finish_slopes, slope_piece, (vectors(c) + 1) / 2};
    find_weights(c, &keep);
    divide_delta(c);
    if (veer_at_has(c->p, VEER_AT_DV)) pack_rows(c, VEER_AT_DY, c->p->dv, by_row, c->scratch.dy_r);
    if (dk) pack_rows(c, VEER_AT_Q, c->p->d, none, c->scratch.q_r);
    if (dq) clear(c, c->scratch.y_t, c->p->d, c->width);
    do_steps(c, &slope);
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
