/* Attention and its gradient with products on the matrix unit (amx.h): what the two kernels share. Both are
 *
 *     for each item, some of a lead's queries                (of the gradient, all)
 *         where the lead is new: keys and values split and packed
 *         for some queries                                   (a copy of its own for the last, where they are fewer)
 *             for some keys:  p_t = k q_t + mask^T,  p_t = exp2(p_t - shift), and what the kernel makes of them
 *
 * The shift of a query may be any number as large as its scores, about. It is the largest score of the first keys;
 * where others exceed that by so much that sums could overflow, everything is done again with the largest of all.
 *
 * Rows and columns that fill up tiles are zeros where they are summed over, else anything: nobody reads what they give.
 *
 *     attention_amx.c: packing, keys step by step, weights, items    attention_centre.c: keys for dq
 *     attention_amx_emit.c: o                                attention_amx_grad_emit.c: dq, dk, dv */
#ifndef VEER_BACKENDS_LLVM_ATTENTION_AMX_H
#define VEER_BACKENDS_LLVM_ATTENTION_AMX_H

#include "backends/llvm/attention.h"
#include "ir/base/integers.h"

enum { VEER_AT_AMX_SCORE_PARTS = VEER_AMX_PARTS /* of numbers that go through exp or cancel */ };

/* Pairs of keys (below) that are done at once. */
static inline int64_t veer_at_pairs(const veer_at_t *c) {
    return veer_at_some(c->p) / 2;
}

/* Parts of the numbers of sums. */
static inline int veer_at_sum_parts(const veer_at_t *c) {
    return c->cut.amx;
}

static inline int64_t veer_at_sum_tile_floats(const veer_at_t *c) {
    return veer_amx_tile_floats(veer_at_sum_parts(c));
}

/* Vectors of the queries under way. */
static inline int veer_at_vectors(const veer_at_t *c) {
    return (int)(c->width / VEER_AMX_SIDE);
}

static inline int64_t veer_at_whole(int64_t n, int64_t unit) {
    return veer_ceil_div(n, unit) * unit;
}

/* So many floats behind a place in scratch. */
static inline LLVMValueRef veer_at_behind(veer_at_t *c, int64_t scratch, LLVMValueRef floats) {
    return veer_emit_at(c->t.e, veer_at_scratch_at(c, scratch), floats);
}

static inline LLVMValueRef veer_at_load(veer_at_t *c, LLVMValueRef address) {
    return veer_emit_load_first(c->t.e, address, c->t.lanes, c->t.lanes, 4);
}

static inline void veer_at_store(veer_at_t *c, LLVMValueRef x, LLVMValueRef address) {
    veer_emit_store_first(c->t.e, x, address, c->t.lanes);
}

static inline LLVMValueRef veer_at_plus(veer_at_t *c, LLVMValueRef i, int64_t n) {
    return n ? veer_emit_add(c->t.e, i, veer_emit_i64(c->t.e, n)) : i;
}

static inline LLVMValueRef veer_at_all_lanes(veer_at_t *c, double value) {
    return veer_emit_splat(c->t.e, LLVMConstReal(c->t.e->f32, value), (unsigned)c->t.lanes);
}

/* A variable that is a vector, all of whose lanes become `value` here; what it is now. */
static inline LLVMValueRef veer_at_variable(veer_at_t *c, double value) {
    LLVMValueRef v = veer_emit_variable(c->t.e, c->t.vector);
    LLVMBuildStore(c->t.e->builder, veer_at_all_lanes(c, value), v);
    return v;
}

static inline LLVMValueRef veer_at_value(veer_at_t *c, LLVMValueRef variable) {
    return LLVMBuildLoad2(c->t.e->builder, c->t.vector, variable, "");
}

static inline void veer_at_add(veer_at_t *c, LLVMValueRef x, LLVMValueRef variable) {
    LLVMBuildStore(c->t.e->builder, LLVMBuildFAdd(c->t.e->builder, veer_at_value(c, variable), x, ""), variable);
}

/* x in those lanes where it is larger (LLVMRealOGT) or smaller (LLVMRealOLT) than what the variable is. */
static inline void veer_at_keep(veer_at_t *c, LLVMValueRef x, LLVMRealPredicate than, LLVMValueRef variable) {
    LLVMValueRef known = veer_at_value(c, variable), replaces = LLVMBuildFCmp(c->t.e->builder, than, x, known, "");
    LLVMBuildStore(c->t.e->builder, veer_emit_select(c->t.e, replaces, x, known), variable);
}

/* `count` columns of keys, rows `stride` apart in scratch with whole vectors, filled up with zeros: each less what all
 * of it has in common. */
void veer_at_amx_centre(veer_at_t *c, LLVMValueRef columns, int64_t stride, int64_t count);

/* ---- some keys at a time ---- */

/* Some keys of a matrix [s, width] in scratch. */
typedef struct veer_at_keys_s {
    LLVMValueRef first, row; /* key; its row in scratch */
    int64_t count;
    LLVMValueRef buffer; /* 0 or 1: of two, where those of some keys are used while others are filled */
} veer_at_keys_t;

/* Rows i and i + 16 of a chunk, as far as they exist. */
typedef struct veer_at_pair_s {
    veer_at_t *c;
    veer_at_keys_t keys; /* the chunk's */
    LLVMValueRef chunk;  /* of those that are packed together */
    LLVMValueRef i;
    bool has[2];
} veer_at_pair_t;

/* What is done with the pairs of some keys, in pieces, so that it can be done beside products. */
typedef struct veer_at_work_s {
    veer_at_t *c;
    veer_at_keys_t keys;
    void (*piece)(veer_at_pair_t *p, int piece);
    int pieces;
} veer_at_work_t;

/* Rows [first, end) of work with as many keys as are done at once, of veer_at_pairs. */
veer_amx_beside_t veer_at_amx_beside(veer_at_work_t *w, int64_t first, int64_t end);

/* What is done for all keys, some at a time: `begin`, then the work, then `finish`. Products of the next keys' `begin`
 * have the work beside them, or those of the keys' before in `finish`. */
typedef struct veer_at_steps_s {
    bool kept;             /* each key has a row of its own in p_t */
    bool work_after_begin; /* beside the next `begin`; else beside the `finish` before */
    void (*begin)(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *beside);
    void (*finish)(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *beside);
    void (*piece)(veer_at_pair_t *p, int piece);
    int pieces;
} veer_at_steps_t;
void veer_at_amx_do_steps(veer_at_t *c, const veer_at_steps_t *s);
/* A `begin` or `finish`. */
void veer_at_amx_do_nothing(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *work);

/* ---- scores and weights ---- */

/* Turned rows of q or dy as second operand, steps of k being their columns; `stage`: where they are turned. */
void veer_at_amx_pack_turned(veer_at_t *c, veer_at_role_t role, int64_t columns, double factor, int64_t stage,
                             int64_t to);
/* = a b, a the lead's keys or values [s, k], b turned queries. */
void veer_at_amx_multiply_keys(veer_at_t *c, const veer_at_keys_t *keys, int64_t a, int64_t b, int64_t k, int64_t to,
                               bool adds, const veer_amx_beside_t *beside);
/* Scores, and from the first ones, the first time, the shift. */
void veer_at_amx_begin_some(veer_at_t *c, const veer_at_keys_t *keys, const veer_amx_beside_t *beside);
/* The same as a `begin`. */
void veer_at_amx_begin_keys(veer_at_t *c, const veer_at_keys_t *keys, veer_at_work_t *work);
/* Makes a score, of half h of a pair and vector v of queries, a weight. */
LLVMValueRef veer_at_amx_weight(veer_at_pair_t *p, int h, int v);
/* Weights of all keys, by steps that find scores and make each a weight; twice where the shift is too small. Then the
 * inverse sums. */
void veer_at_amx_find_weights(veer_at_t *c, const veer_at_steps_t *steps);

/* ---- results ---- */

/* Row i of a packed tile of a sum's operand. */
LLVMValueRef veer_at_amx_row(veer_at_t *c, int64_t scratch, LLVMValueRef tile, LLVMValueRef i);
/* The queries' rows of the result from y_t; `factor` as for veer_tile_move. */
void veer_at_amx_turn_result(veer_at_t *c, int64_t columns, LLVMValueRef factor);

/* ---- the kernels: what is done for some queries of a lead ---- */

void veer_at_amx_attend(veer_at_t *c);
void veer_at_amx_add_gradients(veer_at_t *c);
/* Before and after all queries: sums over queries, dk and dv. */
void veer_at_amx_begin_gradients(veer_at_t *c);
void veer_at_amx_finish_gradients(veer_at_t *c);

#endif
