/* Keys less what they have in common, for dq = scale ds k. A query's slopes ds add up to 0, so for any c
 *
 *     dq = scale ds (k - c)
 *
 * and with keys far from 0, as trained models have them, what they have in common would only leave its roundings.
 * Here a column's c is the mean of the n keys that are seen, where
 *
 *     (sum k)^2 > 0.85 n sum k^2      and      |k - mean| < 0.6 max |k| for all of them,
 *
 * else 0: a few keys that lie elsewhere may have most of the weight, and are not to be moved away from 0. Keys that the
 * mask hides from all queries alike are not seen: they may be anything. Of a mask that differs by query it is not known
 * whom it hides, and all are seen; where hidden ones are far off, the first holds only with more than 0.85 of them, and
 * then another one is farther from the mean than 0.6. With a NaN or an infinity c is 0. */
#include "backends/llvm/attention_amx.h"

#include <math.h>

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE };

/* A key is hidden whose number in the mask is below. */
static const double HIDDEN = -1000;

/* A column of the keys, which is a row in scratch. */
typedef struct column_s {
    veer_at_t *c;
    bool has_mask; /* by key */
    int64_t keys;
    val_t number;                    /* of the keys that are seen, a float */
    val_t row, common;               /* the column; c */
    val_t sum, squares, least, most; /* variables: of the keys that are seen */
} column_t;

static val_t sum_over_lanes(veer_emit_t *e, val_t x) {
    LLVMTypeRef type = LLVMTypeOf(x);
    val_t args[] = {LLVMConstReal(e->f32, -0.0), x},
          sum = veer_emit_intrinsic(e, "llvm.vector.reduce.fadd", &type, 1, args, 2);
    LLVMSetFastMathFlags(sum, LLVMFastMathAllowReassoc); /* by halves, not one after the other */
    return sum;
}

/* Which of the keys from `at` on are seen, of `count`. */
static val_t are_seen(column_t *k, val_t at, int count) {
    veer_emit_t *e = k->c->t.e;
    val_t exist = veer_emit_mask(e, count, SIDE);
    if (!k->has_mask) return exist;
    val_t mask = veer_emit_load_first(e, veer_emit_at(e, k->c->base[VEER_AT_MASK], at), count, SIDE, 4);
    val_t is_high = LLVMBuildFCmp(e->builder, LLVMRealOGT, mask, veer_at_all_lanes(k->c, HIDDEN), "");
    return LLVMBuildAnd(e->builder, exist, is_high, "");
}

static void see(column_t *k, val_t at, int count) {
    veer_emit_t *e = k->c->t.e;
    val_t seen = are_seen(k, at, count), x = veer_at_load(k->c, veer_emit_at(e, k->row, at));
    val_t known = veer_emit_select(e, seen, x, veer_at_all_lanes(k->c, 0));
    veer_at_add(k->c, known, k->sum);
    LLVMBuildStore(e->builder, veer_emit_fma(e, known, known, veer_at_value(k->c, k->squares)), k->squares);
    veer_at_keep(k->c, veer_emit_select(e, seen, x, veer_at_all_lanes(k->c, INFINITY)), LLVMRealOLT, k->least);
    veer_at_keep(k->c, veer_emit_select(e, seen, x, veer_at_all_lanes(k->c, -INFINITY)), LLVMRealOGT, k->most);
}

static void count_seen(column_t *k, val_t at, int count) {
    veer_emit_t *e = k->c->t.e;
    val_t one = veer_emit_select(e, are_seen(k, at, count), veer_at_all_lanes(k->c, 1), veer_at_all_lanes(k->c, 0));
    veer_at_add(k->c, one, k->sum);
}

static void subtract(column_t *k, val_t at, int count) {
    veer_emit_t *e = k->c->t.e;
    val_t address = veer_emit_at(e, k->row, at),
          x = LLVMBuildFSub(e->builder, veer_at_load(k->c, address), k->common, "");
    veer_at_store(k->c, veer_emit_select(e, veer_emit_mask(e, count, SIDE), x, veer_at_all_lanes(k->c, 0)), address);
}

static void for_vectors(column_t *k, void (*piece)(column_t *k, val_t at, int count)) {
    veer_emit_t *e = k->c->t.e;
    int64_t whole = k->keys / SIDE * SIDE;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, whole), SIDE);
    piece(k, loop.i, SIDE);
    veer_emit_loop_end(e, &loop);
    if (whole < k->keys) piece(k, veer_emit_i64(e, whole), (int)(k->keys - whole));
}

static val_t times(veer_emit_t *e, val_t x, double factor) {
    return LLVMBuildFMul(e->builder, x, LLVMConstReal(e->f32, factor), "");
}

/* How many: the same in each column. */
static val_t number_of_seen(column_t *k) {
    if (!k->has_mask) return LLVMConstReal(k->c->t.e->f32, (double)k->keys);
    k->sum = veer_at_variable(k->c, 0);
    for_vectors(k, count_seen);
    return sum_over_lanes(k->c->t.e, veer_at_value(k->c, k->sum));
}

/* |k - mean| < 0.6 max |k| for all keys. */
static val_t all_are_near(column_t *k, val_t mean) {
    veer_emit_t *e = k->c->t.e;
    LLVMBuilderRef b = e->builder;
    val_t least = veer_emit_unary_intrinsic(e, "llvm.vector.reduce.fmin", veer_at_value(k->c, k->least)),
          most = veer_emit_unary_intrinsic(e, "llvm.vector.reduce.fmax", veer_at_value(k->c, k->most));
    val_t is_above = LLVMBuildFCmp(b, LLVMRealOGT, mean, LLVMConstReal(e->f32, 0), "");
    val_t near = times(e, veer_emit_select(e, is_above, most, LLVMBuildFNeg(b, least, "")), 0.6);
    val_t is_below = LLVMBuildFCmp(b, LLVMRealOLT, LLVMBuildFSub(b, most, mean, ""), near, ""),
          is_over = LLVMBuildFCmp(b, LLVMRealOLT, LLVMBuildFSub(b, mean, least, ""), near, "");
    return LLVMBuildAnd(b, is_below, is_over, "");
}

/* c, from what was seen. */
static val_t common_part(column_t *k) {
    veer_emit_t *e = k->c->t.e;
    LLVMBuilderRef b = e->builder;
    val_t sum = sum_over_lanes(e, veer_at_value(k->c, k->sum)),
          squares = sum_over_lanes(e, veer_at_value(k->c, k->squares)), mean = LLVMBuildFDiv(b, sum, k->number, "");
    val_t is_shared = LLVMBuildFCmp(b, LLVMRealOGT, LLVMBuildFMul(b, mean, sum, ""), times(e, squares, 0.85), ""),
          is_common = LLVMBuildAnd(b, is_shared, all_are_near(k, mean), "");
    return veer_emit_splat(e, veer_emit_select(e, is_common, mean, LLVMConstReal(e->f32, 0)), (unsigned)k->c->t.lanes);
}

void veer_at_amx_centre(veer_at_t *c, val_t columns, int64_t stride, int64_t count) {
    veer_emit_t *e = c->t.e;
    const veer_at_matrix_t *mask = &c->p->m[VEER_AT_MASK];
    column_t k = {.c = c, .keys = c->p->s};
    k.has_mask = veer_at_has(c->p, VEER_AT_MASK) && !mask->row && mask->column == 1;
    k.number = number_of_seen(&k);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, count), 1);
    k.row = veer_emit_at(e, columns, veer_emit_mul(e, loop.i, stride));
    k.sum = veer_at_variable(c, 0), k.squares = veer_at_variable(c, 0);
    k.least = veer_at_variable(c, INFINITY), k.most = veer_at_variable(c, -INFINITY);
    for_vectors(&k, see);
    k.common = common_part(&k);
    for_vectors(&k, subtract);
    veer_emit_loop_end(e, &loop);
}
