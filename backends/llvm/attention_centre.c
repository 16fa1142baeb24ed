/* Keys less what they have in common, for dq = scale ds k. A query's slopes ds add up to 0, so for any c
 *
 *     dq = scale ds (k - c)
 *
 * and with keys far from 0, as trained models have them, what they have in common would only leave its roundings.
 * Here a column's c is the mean of the keys where
 *
 *     (sum k)^2 > 0.85 s sum k^2      and      |k - mean| < 0.6 max |k| for all keys,
 *
 * else 0: keys that a mask hides may be anything, and must not cost the others their digits. Where hidden keys are far
 * off, the first holds only with more than 0.85 of them, and then a visible one is farther from the mean than 0.6.
 * With a NaN or an infinity neither holds. */
#include "backends/llvm/attention_amx.h"

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE };

/* A column of the keys, which is a row in scratch. */
typedef struct column_s {
    veer_at_t *c;
    val_t row;
    int64_t keys;
    val_t sum, squares, least, most; /* variables, of lanes */
} column_t;

static val_t sum_over_lanes(veer_emit_t *e, val_t x) {
    LLVMTypeRef type = LLVMTypeOf(x);
    val_t args[] = {LLVMConstReal(e->f32, -0.0), x},
          sum = veer_emit_intrinsic(e, "llvm.vector.reduce.fadd", &type, 1, args, 2);
    LLVMSetFastMathFlags(sum, LLVMFastMathAllowReassoc); /* by halves, not one after the other */
    return sum;
}

/* The larger or the smaller one of each lane. */
static void keep(column_t *k, val_t x, val_t variable, LLVMRealPredicate replaces) {
    LLVMBuilderRef b = k->c->t.e->builder;
    val_t known = veer_at_value(k->c, variable);
    LLVMBuildStore(b, LLVMBuildSelect(b, LLVMBuildFCmp(b, replaces, x, known, ""), x, known, ""), variable);
}

/* `other` stands where there is no key. */
static void see(column_t *k, val_t at, int count, val_t other) {
    veer_emit_t *e = k->c->t.e;
    val_t x = veer_at_load(k->c, veer_emit_at(e, k->row, at)); /* whole vectors, with zeros */
    LLVMBuildStore(e->builder, LLVMBuildFAdd(e->builder, veer_at_value(k->c, k->sum), x, ""), k->sum);
    LLVMBuildStore(e->builder, veer_emit_fma(e, x, x, veer_at_value(k->c, k->squares)), k->squares);
    x = veer_emit_first_lanes(e, x, count, other);
    keep(k, x, k->least, LLVMRealOLT), keep(k, x, k->most, LLVMRealOGT);
}

static void subtract(column_t *k, val_t at, int count, val_t common) {
    veer_emit_t *e = k->c->t.e;
    val_t address = veer_emit_at(e, k->row, at), x = LLVMBuildFSub(e->builder, veer_at_load(k->c, address), common, "");
    veer_at_store(k->c, veer_emit_first_lanes(e, x, count, LLVMConstNull(k->c->t.vector)), address);
}

static void for_vectors(column_t *k, void (*piece)(column_t *k, val_t at, int count, val_t with), val_t with) {
    veer_emit_t *e = k->c->t.e;
    int64_t whole = k->keys / SIDE * SIDE;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, whole), SIDE);
    piece(k, loop.i, SIDE, with);
    veer_emit_loop_end(e, &loop);
    if (whole < k->keys) piece(k, veer_emit_i64(e, whole), (int)(k->keys - whole), with);
}

static val_t times(veer_emit_t *e, val_t x, double factor) {
    return LLVMBuildFMul(e->builder, x, LLVMConstReal(e->f32, factor), "");
}

/* c, from what was seen. */
static val_t common_part(column_t *k) {
    veer_emit_t *e = k->c->t.e;
    LLVMBuilderRef b = e->builder;
    val_t zero = LLVMConstReal(e->f32, 0), sum = sum_over_lanes(e, veer_at_value(k->c, k->sum)),
          squares = sum_over_lanes(e, veer_at_value(k->c, k->squares)),
          least = veer_emit_unary_intrinsic(e, "llvm.vector.reduce.fmin", veer_at_value(k->c, k->least)),
          most = veer_emit_unary_intrinsic(e, "llvm.vector.reduce.fmax", veer_at_value(k->c, k->most));
    val_t mean = times(e, sum, 1 / (double)k->keys), is_above = LLVMBuildFCmp(b, LLVMRealOGT, mean, zero, "");
    val_t near = times(e, veer_emit_select(e, is_above, most, LLVMBuildFNeg(b, least, "")), 0.6);
    val_t is_shared = LLVMBuildFCmp(b, LLVMRealOGT, LLVMBuildFMul(b, mean, sum, ""), times(e, squares, 0.85), ""),
          is_below = LLVMBuildFCmp(b, LLVMRealOLT, LLVMBuildFSub(b, most, mean, ""), near, ""),
          is_over = LLVMBuildFCmp(b, LLVMRealOLT, LLVMBuildFSub(b, mean, least, ""), near, "");
    val_t is_common = LLVMBuildAnd(b, is_shared, LLVMBuildAnd(b, is_below, is_over, ""), "");
    return veer_emit_splat(e, veer_emit_select(e, is_common, mean, zero), (unsigned)k->c->t.lanes);
}

void veer_at_amx_centre(veer_at_t *c, val_t columns, int64_t stride, int64_t count) {
    veer_emit_t *e = c->t.e;
    column_t k = {.c = c, .keys = c->p->s};
    val_t *variables[] = {&k.sum, &k.squares, &k.least, &k.most};
    for (int i = 0; i < 4; i++) *variables[i] = veer_emit_variable(e, c->t.vector);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, count), 1);
    k.row = veer_emit_at(e, columns, veer_emit_mul(e, loop.i, stride));
    val_t first = veer_emit_load_all(e, k.row, c->t.lanes);
    LLVMBuildStore(e->builder, LLVMConstNull(c->t.vector), k.sum);
    LLVMBuildStore(e->builder, LLVMConstNull(c->t.vector), k.squares);
    LLVMBuildStore(e->builder, first, k.least);
    LLVMBuildStore(e->builder, first, k.most);
    for_vectors(&k, see, first);
    for_vectors(&k, subtract, common_part(&k));
    veer_emit_loop_end(e, &loop);
}
