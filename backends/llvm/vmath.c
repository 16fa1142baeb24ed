/* Polynomials are minimax fits (weighted least squares, coefficients rounded one after the other, the rest refitted);
 * the error in the comment is that of the approximation before rounding, relative to the function. */
#include "backends/llvm/vmath.h"

#include "ir/base/allocator.h"

#include <assert.h>
#include <math.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

typedef LLVMValueRef val_t;

static val_t k(veer_emit_t *e, val_t like, double v) {
    return veer_emit_like(e, like, v);
}
static val_t add(veer_emit_t *e, val_t a, val_t b) {
    return LLVMBuildFAdd(e->builder, a, b, "");
}
static val_t sub(veer_emit_t *e, val_t a, val_t b) {
    return LLVMBuildFSub(e->builder, a, b, "");
}
static val_t mul(veer_emit_t *e, val_t a, val_t b) {
    return LLVMBuildFMul(e->builder, a, b, "");
}
static val_t quot(veer_emit_t *e, val_t a, val_t b) {
    return LLVMBuildFDiv(e->builder, a, b, "");
}
static val_t neg(veer_emit_t *e, val_t a) {
    return LLVMBuildFNeg(e->builder, a, "");
}
static val_t fma_c(veer_emit_t *e, val_t a, double c, val_t b) {
    return veer_emit_fma(e, a, k(e, a, c), b);
}
static val_t cmp(veer_emit_t *e, LLVMRealPredicate p, val_t a, double c) {
    return LLVMBuildFCmp(e->builder, p, a, k(e, a, c), "");
}
static val_t pick(veer_emit_t *e, val_t c, val_t a, val_t b) {
    return veer_emit_select(e, c, a, b);
}
static val_t magnitude(veer_emit_t *e, val_t x) {
    return veer_emit_unary_intrinsic(e, "llvm.fabs", x);
}
static val_t root(veer_emit_t *e, val_t x) {
    return veer_emit_unary_intrinsic(e, "llvm.sqrt", x);
}
static val_t with_sign(veer_emit_t *e, val_t x, val_t s) {
    return veer_emit_binary_intrinsic(e, "llvm.copysign", x, s);
}
static val_t int_c(veer_emit_t *e, LLVMOpcode op, val_t a, int64_t c) {
    return LLVMBuildBinOp(e->builder, op, a, veer_emit_like_int(e, a, c), "");
}

LLVMValueRef veer_vmath_polynomial(veer_emit_t *e, LLVMValueRef x, const double *c, int count) {
    val_t y = k(e, x, c[count - 1]);
    for (int i = count - 2; i >= 0; i--) y = veer_emit_fma(e, y, x, k(e, x, c[i]));
    return y;
}

/* Rounds |x| < 2^22 to an integer, held both as a float (result) and as i32 (out_int): adding 1.5 * 2^23 pushes the
 * fraction out of the significand. */
static val_t round_int(veer_emit_t *e, val_t x, double scale, val_t *out_int) {
    const double magic = 0x1.8p23;
    val_t t = fma_c(e, x, scale, k(e, x, magic));
    *out_int = int_c(e, LLVMSub, veer_emit_bits(e, t), 0x4b400000);
    return sub(e, t, k(e, x, magic));
}

/* 2^n as a float for -126 <= n <= 127. */
static val_t power_of_two(veer_emit_t *e, val_t n) {
    return veer_emit_from_bits(e, int_c(e, LLVMShl, int_c(e, LLVMAdd, n, 127), 23));
}

/* exp x = 2^n exp r, |r| <= ln 2 / 2, exp r = 1 + r + r^2 p(r), error 2^-28. 2^n goes in as two factors, so overflow
 * gives infinity and small results are denormal. */
static val_t exp_f32(veer_emit_t *e, val_t x) {
    static const double p[] = {0.49999994, 0.166665211, 0.0416682772, 0.00836868677, 0.00138198235};
    x = pick(e, cmp(e, LLVMRealOGT, x, 89.0), k(e, x, 89.0), x); /* ordered compares let NaN through */
    x = pick(e, cmp(e, LLVMRealOLT, x, -104.0), k(e, x, -104.0), x);
    val_t n, nf = round_int(e, x, 0x1.715476p0, &n);
    val_t r = fma_c(e, nf, -0x1.62e4p-1, x); /* exact: few bits */
    r = fma_c(e, nf, -0x1.7f7d1cp-20, r);
    val_t y = veer_emit_fma(e, mul(e, r, r), veer_vmath_polynomial(e, r, p, COUNT(p)), r);
    val_t half = int_c(e, LLVMAShr, n, 1), rest = LLVMBuildSub(e->builder, n, half, "");
    y = mul(e, add(e, y, k(e, y, 1.0)), power_of_two(e, half));
    return mul(e, y, power_of_two(e, rest));
}

/* 2^x = 2^n 2^r, |r| <= 1/2, 2^r = 1 + r p(r), error 2^-28. The integer n is rounded with the exponent's bias in it, so
 * that a shift makes 2^n of its bits: 0 for n = -127. */
LLVMValueRef veer_vmath_exp2_negative(veer_emit_t *e, LLVMValueRef x) {
    static const double p[] = {0.693147182, 0.240226477, 0.0555035993, 0.00961850584, 0.00133908074, 0.000153264729};
    const double magic = 0x1.8p23 + 127;
    x = pick(e, cmp(e, LLVMRealOLT, x, -127.0), k(e, x, -127.0), x); /* lets NaN through */
    val_t t = add(e, x, k(e, x, magic)), r = sub(e, x, sub(e, t, k(e, x, magic)));
    val_t scale = veer_emit_from_bits(e, int_c(e, LLVMShl, veer_emit_bits(e, t), 23));
    return mul(e, veer_emit_fma(e, r, veer_vmath_polynomial(e, r, p, COUNT(p)), k(e, r, 1.0)), scale);
}

/* log(1+f) = f - f^2/2 + f^3 p(f), error 2^-30; k ln 2 in two parts, the first exact. */
LLVMValueRef veer_vmath_log_reduced(veer_emit_t *e, LLVMValueRef f, LLVMValueRef kf) {
    static const double p[] = {0.333333135,  -0.250000089, 0.200020745,  -0.166679993, 0.142202795,
                               -0.124059126, 0.118838929,  -0.116725259, 0.0675154179};
    val_t z = mul(e, f, f);
    val_t y = mul(e, mul(e, f, z), veer_vmath_polynomial(e, f, p, COUNT(p)));
    y = fma_c(e, kf, -2.12194440e-4, y);
    y = fma_c(e, z, -0.5, y);
    return fma_c(e, kf, 0.693359375, add(e, f, y));
}

LLVMValueRef veer_vmath_log_positive(veer_emit_t *e, LLVMValueRef x) {
    const int32_t sqrt_half = 0x3f3504f3;
    val_t i = int_c(e, LLVMSub, veer_emit_bits(e, x), sqrt_half);
    val_t kf = LLVMBuildSIToFP(e->builder, int_c(e, LLVMAShr, i, 23), LLVMTypeOf(x), "");
    val_t m = veer_emit_from_bits(e, int_c(e, LLVMAdd, int_c(e, LLVMAnd, i, 0x7fffff), sqrt_half));
    return veer_vmath_log_reduced(e, sub(e, m, k(e, m, 1.0)), kf);
}

static val_t log_f32(veer_emit_t *e, val_t x) {
    const int32_t sqrt_half = 0x3f3504f3;
    val_t tiny = cmp(e, LLVMRealOLT, x, 0x1p-126);
    val_t i = veer_emit_bits(e, pick(e, tiny, mul(e, x, k(e, x, 0x1p23)), x));
    i = int_c(e, LLVMSub, i, sqrt_half);
    val_t n = int_c(e, LLVMAShr, i, 23);
    n = pick(e, tiny, int_c(e, LLVMSub, n, 23), n);
    val_t m = veer_emit_from_bits(e, int_c(e, LLVMAdd, int_c(e, LLVMAnd, i, 0x7fffff), sqrt_half));
    val_t y = veer_vmath_log_reduced(e, sub(e, m, k(e, m, 1.0)), LLVMBuildSIToFP(e->builder, n, LLVMTypeOf(x), ""));
    y = pick(e, cmp(e, LLVMRealOEQ, x, INFINITY), x, y);
    val_t edge = pick(e, cmp(e, LLVMRealOEQ, x, 0.0), k(e, x, -INFINITY), k(e, x, NAN));
    return pick(e, cmp(e, LLVMRealOGT, x, 0.0), y, edge);
}

/* |x| < 0.625: x + x^3 p(x^2), error 2^-27; else 1 - 2/(exp 2|x| + 1). */
static val_t tanh_f32(veer_emit_t *e, val_t x) {
    static const double p[] = {-0.333332598, 0.133308291, -0.0536879189, 0.0204690993, -0.00551483687};
    val_t z = mul(e, x, x), a = magnitude(e, x);
    val_t small = veer_emit_fma(e, mul(e, x, z), veer_vmath_polynomial(e, z, p, COUNT(p)), x);
    val_t d = add(e, exp_f32(e, add(e, a, a)), k(e, x, 1.0));
    val_t large = sub(e, k(e, x, 1.0), quot(e, k(e, x, 2.0), d));
    return pick(e, cmp(e, LLVMRealOLT, a, 0.625), small, with_sign(e, large, x));
}

/* The same as two sums of even and odd powers: half as many operations wait for each other. */
static val_t polynomial_by_halves(veer_emit_t *e, val_t x, const double *c, int count) {
    int even_top = (count - 1) / 2 * 2, odd_top = count / 2 * 2 - 1;
    val_t square = mul(e, x, x), even = k(e, x, c[even_top]), odd = k(e, x, c[odd_top]);
    for (int i = even_top - 2; i >= 0; i -= 2) even = veer_emit_fma(e, even, square, k(e, x, c[i]));
    for (int i = odd_top - 2; i >= 0; i -= 2) odd = veer_emit_fma(e, odd, square, k(e, x, c[i]));
    return veer_emit_fma(e, odd, x, even);
}

/* x p(t) up to `edge`, t = scale x^2 - 1 in [-1,1], where p's coefficients alternate; 1 from there on. One piece and no
 * exponential: a third of the operations of a piece near 0 and 1 - exp(-q(x)). */
static val_t odd_to_one(veer_emit_t *e, val_t x, double edge, const double *p, int count) {
    val_t t = fma_c(e, mul(e, x, x), (float)(2 / (edge * edge)), k(e, x, -1.0));
    val_t far = cmp(e, LLVMRealOGT, magnitude(e, x), edge);
    return pick(e, far, with_sign(e, k(e, x, 1.0), x), mul(e, x, polynomial_by_halves(e, t, p, count)));
}

/* Error 2^-25. */
static val_t erf_f32(veer_emit_t *e, val_t x) {
    static const double p[] = {
        0.36073681712150574,   -0.18010863661766052,   0.1340843290090561,   -0.10917895287275314,
        0.09059950709342957,   -0.07402260601520538,   0.0583835206925869,   -0.043423861265182495,
        0.02972893975675106,   -0.02002658322453499,   0.014167861081659794, -0.007619236595928669,
        0.0019486367236822844, -0.0014221463352441788, 0.002090970752760768, -0.0008365325629711151};
    return odd_to_one(e, x, 3.92, p, COUNT(p));
}

/* atan x = b + atan t: |x| <= tan(pi/8) t = x, b = 0; to tan(3 pi/8) t = (x - 1) / (x + 1), b = pi/4; beyond
 * t = -1 / x, b = pi/2. Then t + t^3 p(t^2), error 2^-30. */
static val_t atan_f32(veer_emit_t *e, val_t x) {
    static const double p[] = {-0.333333164, 0.199984878, -0.142438322, 0.105958804, -0.0608314201};
    val_t a = magnitude(e, x), one = k(e, x, 1.0);
    val_t middle = cmp(e, LLVMRealOGT, a, 0.414213562), large = cmp(e, LLVMRealOGT, a, 2.41421356);
    val_t up = pick(e, large, k(e, x, -1.0), pick(e, middle, sub(e, a, one), a));
    val_t down = pick(e, large, a, pick(e, middle, add(e, a, one), one));
    val_t base = pick(e, large, k(e, x, M_PI_2), pick(e, middle, k(e, x, M_PI_4), k(e, x, 0.0)));
    val_t t = quot(e, up, down), z = mul(e, t, t);
    val_t y = veer_emit_fma(e, mul(e, t, z), veer_vmath_polynomial(e, z, p, COUNT(p)), t);
    return with_sign(e, add(e, base, y), x);
}

/* x + x^3 p(x^2), error 2^-32. */
LLVMValueRef veer_vmath_sin_reduced(veer_emit_t *e, LLVMValueRef r) {
    static const double p[] = {-0.166666672, 0.0083333794, -0.00019853079, 2.8328061e-06};
    val_t z = mul(e, r, r);
    return veer_emit_fma(e, mul(e, r, z), veer_vmath_polynomial(e, z, p, COUNT(p)), r);
}

/* 1 - x^2/2 + x^4 p(x^2), error 2^-37. */
LLVMValueRef veer_vmath_cos_reduced(veer_emit_t *e, LLVMValueRef r) {
    static const double p[] = {1.0, -0.5, 0.0416666679, -0.001388898, 2.48220076e-05, -2.8878452e-07};
    return veer_vmath_polynomial(e, mul(e, r, r), p, COUNT(p));
}

LLVMValueRef veer_vmath_quarter(veer_emit_t *e, LLVMValueRef q, LLVMValueRef s, LLVMValueRef c) {
    val_t odd = LLVMBuildICmp(e->builder, LLVMIntNE, int_c(e, LLVMAnd, q, 1), veer_emit_i32_like(e, q, 0), "");
    val_t sign = int_c(e, LLVMShl, int_c(e, LLVMAnd, q, 2), 30);
    return veer_emit_from_bits(e, LLVMBuildXor(e->builder, veer_emit_bits(e, pick(e, odd, c, s)), sign, ""));
}

/* ---- reduction of large arguments ---- x = m 2^k with 24 bits of m. Row k + 8 of a table holds 2^k * 2/pi mod 4 in
 * three doubles of 28, 29 and 50 bits, so the first two products with m are exact and quarter turns come off without
 * error. */
enum { FIRST_EXPONENT = -8, TABLE_ROWS = 120, TABLE_PARTS = 3 };

static int two_over_pi_bit(int i) { /* bit of weight 2^-i */
    static const uint32_t words[] = {0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0,
                                     0xDB629599, 0x3C439041, 0xFE5163AB};
    return i < 1 ? 0 : (words[(i - 1) / 32] >> (31 - (i - 1) % 32)) & 1;
}

static double two_over_pi_bits(int exponent, int first_weight, int count) {
    double sum = 0;
    for (int w = first_weight; w > first_weight - count; w--)
        if (two_over_pi_bit(exponent - w)) sum += ldexp(1.0, w);
    return sum;
}

static val_t reduction_table(veer_emit_t *e) {
    val_t table = LLVMGetNamedGlobal(e->module, "veer_two_over_pi");
    if (table) return table;
    val_t rows[TABLE_ROWS * TABLE_PARTS];
    for (int i = 0; i < TABLE_ROWS; i++) {
        int exponent = i + FIRST_EXPONENT;
        rows[TABLE_PARTS * i] = LLVMConstReal(e->f64, two_over_pi_bits(exponent, 1, 28));
        rows[TABLE_PARTS * i + 1] = LLVMConstReal(e->f64, two_over_pi_bits(exponent, -27, 29));
        rows[TABLE_PARTS * i + 2] = LLVMConstReal(e->f64, two_over_pi_bits(exponent, -56, 50));
    }
    val_t values = LLVMConstArray2(e->f64, rows, TABLE_ROWS * TABLE_PARTS);
    table = LLVMAddGlobal(e->module, LLVMTypeOf(values), "veer_two_over_pi");
    LLVMSetInitializer(table, values);
    LLVMSetGlobalConstant(table, 1);
    LLVMSetLinkage(table, LLVMInternalLinkage);
    return table;
}

static val_t table_load(veer_emit_t *e, val_t table, val_t row, int part) {
    unsigned lanes = veer_emit_lanes(row);
    val_t at = int_c(e, LLVMAdd, int_c(e, LLVMMul, row, TABLE_PARTS), part);
    val_t address = LLVMBuildGEP2(e->builder, e->f64, table, &at, 1, "");
    if (lanes == 1) return LLVMBuildLoad2(e->builder, e->f64, address, "");
    LLVMTypeRef type = LLVMVectorType(e->f64, lanes);
    val_t all = LLVMConstAllOnes(LLVMVectorType(e->i1, lanes));
    val_t args[] = {address, LLVMConstInt(e->i32, 8, 0), all, LLVMConstNull(type)};
    return veer_emit_intrinsic(e, "llvm.masked.gather", (LLVMTypeRef[]){type, LLVMTypeOf(address)}, 2, args, 4);
}

/* r = x - q pi/2 for 2^16 <= |x| < inf. */
static val_t reduce_large(veer_emit_t *e, val_t x, val_t *out_q) {
    val_t bits = veer_emit_bits(e, x);
    val_t exponent = int_c(e, LLVMAnd, int_c(e, LLVMLShr, bits, 23), 255);
    val_t row = int_c(e, LLVMSub, exponent, 127 + 23 + FIRST_EXPONENT);
    /* lanes that do not need this path must not read outside the table */
    row = veer_emit_max(e, row, veer_emit_i32_like(e, row, 0));
    row = veer_emit_min(e, row, veer_emit_i32_like(e, row, TABLE_ROWS - 1));
    val_t m = int_c(e, LLVMOr, int_c(e, LLVMAnd, bits, 0x7fffff), 0x800000);
    LLVMTypeRef f64s = veer_emit_type_like(x, e->f64);
    val_t md = LLVMBuildSIToFP(e->builder, m, f64s, ""), table = reduction_table(e);
    val_t high = mul(e, md, table_load(e, table, row, 0));
    val_t q1 = veer_emit_unary_intrinsic(e, "llvm.roundeven", high);
    val_t f = veer_emit_fma(e, md, table_load(e, table, row, 1), sub(e, high, q1));
    val_t q2 = veer_emit_unary_intrinsic(e, "llvm.roundeven", f);
    f = veer_emit_fma(e, md, table_load(e, table, row, 2), sub(e, f, q2));
    val_t q = LLVMBuildFPToSI(e->builder, add(e, q1, q2), veer_emit_type_like(x, e->i32), "");
    val_t r = LLVMBuildFPTrunc(e->builder, mul(e, f, k(e, f, 0x1.921fb54442d18p0)), LLVMTypeOf(x), "");
    val_t negative = cmp(e, LLVMRealOLT, x, 0.0);
    *out_q = pick(e, negative, LLVMBuildNeg(e->builder, q, ""), q);
    return pick(e, negative, neg(e, r), r);
}

/* pi/2 in three parts; good to |x| = 2^17, as q then has 17 bits and the first step is exact. */
static val_t reduce_small(veer_emit_t *e, val_t x, val_t *out_q) {
    val_t qf = round_int(e, x, 0x1.45f306p-1, out_q);
    val_t r = fma_c(e, qf, -0x1.921fb6p0, x);
    r = fma_c(e, qf, 0x1.777a5cp-25, r);
    return fma_c(e, qf, 0x1.ee59dap-50, r);
}

/* The large case is behind a branch that is taken only where some lane needs it. */
static val_t reduce_angle(veer_emit_t *e, val_t x, val_t *out_q) {
    val_t q, r = reduce_small(e, x, &q), a = magnitude(e, x);
    val_t large = LLVMBuildAnd(e->builder, cmp(e, LLVMRealOGT, a, 0x1p16), cmp(e, LLVMRealOLT, a, INFINITY), "");
    val_t any = veer_emit_lanes(x) == 1 ? large : veer_emit_unary_intrinsic(e, "llvm.vector.reduce.or", large);
    LLVMBasicBlockRef from[2] = {LLVMGetInsertBlock(e->builder), veer_emit_block(e, "large_angle")};
    LLVMBasicBlockRef join = veer_emit_block(e, "angle");
    LLVMBuildCondBr(e->builder, any, from[1], join);
    LLVMPositionBuilderAtEnd(e->builder, from[1]);
    val_t q_large, r_large = reduce_large(e, x, &q_large);
    val_t rs[2] = {r, pick(e, large, r_large, r)}, qs[2] = {q, pick(e, large, q_large, q)};
    from[1] = LLVMGetInsertBlock(e->builder);
    LLVMBuildBr(e->builder, join);
    LLVMPositionBuilderAtEnd(e->builder, join);
    val_t out = LLVMBuildPhi(e->builder, LLVMTypeOf(x), "");
    *out_q = LLVMBuildPhi(e->builder, LLVMTypeOf(q), "");
    LLVMAddIncoming(out, rs, from, 2);
    LLVMAddIncoming(*out_q, qs, from, 2);
    return out;
}

static val_t sin_f32(veer_emit_t *e, val_t x, int quarters) {
    val_t q, r = reduce_angle(e, x, &q);
    return veer_vmath_quarter(e, int_c(e, LLVMAdd, q, quarters), veer_vmath_sin_reduced(e, r),
                              veer_vmath_cos_reduced(e, r));
}

/* x s(x) = x / (1 + exp(-x)) with numerator x (silu) or 1 (sigmoid). */
static val_t over_one_plus_exp(veer_emit_t *e, val_t numerator, val_t minus_x) {
    return quot(e, numerator, add(e, exp_f32(e, minus_x), k(e, minus_x, 1.0)));
}

/* max(x, 0) + log(1 + t), t = exp(-|x|) in (0,1]; what 1 + t loses of t is put back: log(u) + (t - (u - 1))/u. */
static val_t softplus_f32(veer_emit_t *e, val_t x) {
    val_t t = exp_f32(e, neg(e, magnitude(e, x))), u = add(e, t, k(e, x, 1.0));
    val_t lost = quot(e, sub(e, t, sub(e, u, k(e, x, 1.0))), u);
    val_t y = add(e, veer_vmath_log_positive(e, u), lost);
    return add(e, pick(e, cmp(e, LLVMRealOLT, x, 0.0), k(e, x, 0.0), x), y);
}

/* x/2 (1 + erf(x / sqrt 2)), erf with an absolute error of 2^-24. */
static val_t gelu_f32(veer_emit_t *e, val_t x) {
    static const double p[] = {0.26185622811317444,   -0.13065610826015472,  0.09699907153844833,
                               -0.07841366529464722,  0.06423444300889969,   -0.0514926016330719,
                               0.0392841100692749,    -0.027927737683057785, 0.0193179901689291,
                               -0.013428781181573868, 0.007296797353774309,  -0.0023744013160467148,
                               0.0017643074970692396, -0.002056229393929243, 0.0007817598525434732};
    val_t h = mul(e, x, k(e, x, 0.5));
    return veer_emit_fma(e, h, odd_to_one(e, x, 5.4, p, COUNT(p)), h);
}

/* x/2 (1 + tanh u) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3). */
LLVMValueRef veer_vmath_gelu_tanh(veer_emit_t *e, LLVMValueRef x) {
    const double c = -2 * 0.79788456080286536;
    val_t minus_2u = mul(e, x, fma_c(e, mul(e, x, x), c * 0.044715, k(e, x, c)));
    return over_one_plus_exp(e, x, minus_2u);
}

static val_t sign(veer_emit_t *e, val_t x) {
    val_t y = pick(e, cmp(e, LLVMRealOLT, x, 0.0), k(e, x, -1.0), x);
    return pick(e, cmp(e, LLVMRealOGT, x, 0.0), k(e, x, 1.0), y);
}

/* ---- pow ---- in double, rounded once */
/* log2 of a positive finite number to about 2^-40: atanh series in s = (m-1)/(m+1), |s| < 0.172. */
static val_t log2_f64(veer_emit_t *e, val_t x) {
    static const double p[] = {1.0, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15};
    const int64_t sqrt_half = 0x3fe6a09e667f3bcd;
    val_t i = int_c(e, LLVMSub, veer_emit_bits(e, x), sqrt_half);
    val_t n = LLVMBuildTrunc(e->builder, int_c(e, LLVMAShr, i, 52), veer_emit_type_like(x, e->i32), "");
    val_t kf = LLVMBuildSIToFP(e->builder, n, LLVMTypeOf(x), "");
    val_t m = veer_emit_from_bits(e, int_c(e, LLVMAdd, int_c(e, LLVMAnd, i, 0xfffffffffffff), sqrt_half));
    val_t s = quot(e, sub(e, m, k(e, m, 1.0)), add(e, m, k(e, m, 1.0)));
    val_t series = veer_vmath_polynomial(e, mul(e, s, s), p, COUNT(p));
    return veer_emit_fma(e, mul(e, s, series), k(e, s, 2 * 0x1.71547652b82fep0), kf);
}

/* 2^x for |x| < 1000: Taylor to (ln 2 / 2)^10. */
static val_t exp2_f64(veer_emit_t *e, val_t x) {
    double p[10] = {1.0};
    for (int i = 1; i < COUNT(p); i++) p[i] = p[i - 1] * 0x1.62e42fefa39efp-1 / i;
    const double magic = 0x1.8p52;
    val_t t = add(e, x, k(e, x, magic)), y;
    y = veer_vmath_polynomial(e, sub(e, x, sub(e, t, k(e, x, magic))), p, COUNT(p));
    val_t n = int_c(e, LLVMSub, veer_emit_bits(e, t), 0x4338000000000000);
    return mul(e, y, veer_emit_from_bits(e, int_c(e, LLVMShl, int_c(e, LLVMAdd, n, 1023), 52)));
}

/* |x|^y from logarithms, then the sign and the special cases of C's pow. */
LLVMValueRef veer_vmath_pow(veer_emit_t *e, LLVMValueRef x, LLVMValueRef y) {
    LLVMTypeRef f64s = veer_emit_type_like(x, e->f64);
    val_t a = magnitude(e, x), one = k(e, x, 1.0), zero = k(e, x, 0.0), inf = k(e, x, INFINITY);
    val_t yd = LLVMBuildFPExt(e->builder, y, f64s, "");
    val_t p = mul(e, yd, log2_f64(e, LLVMBuildFPExt(e->builder, a, f64s, "")));
    p = pick(e, cmp(e, LLVMRealOGT, p, 200), k(e, p, 200), pick(e, cmp(e, LLVMRealOLT, p, -200), k(e, p, -200), p));
    val_t r = LLVMBuildFPTrunc(e->builder, exp2_f64(e, p), LLVMTypeOf(x), "");
    val_t y_negative = cmp(e, LLVMRealOLT, y, 0.0);
    r = pick(e, cmp(e, LLVMRealOEQ, a, 0.0), pick(e, y_negative, inf, zero), r);
    r = pick(e, cmp(e, LLVMRealOEQ, a, INFINITY), pick(e, y_negative, zero, inf), r);
    val_t ya = magnitude(e, y), y_infinite = cmp(e, LLVMRealOEQ, ya, INFINITY);
    val_t grows = LLVMBuildXor(e->builder, y_negative, cmp(e, LLVMRealOGT, a, 1.0), "");
    val_t limit = pick(e, cmp(e, LLVMRealOEQ, a, 1.0), one, pick(e, grows, inf, zero));
    r = pick(e, y_infinite, limit, r);
    /* a negative base: the sign of an odd power, NaN for a power that is no integer */
    val_t half = mul(e, y, k(e, y, 0.5));
    val_t whole = LLVMBuildFCmp(e->builder, LLVMRealOEQ, veer_emit_unary_intrinsic(e, "llvm.trunc", y), y, "");
    val_t odd = LLVMBuildFCmp(e->builder, LLVMRealONE, veer_emit_unary_intrinsic(e, "llvm.trunc", half), half, "");
    odd = LLVMBuildAnd(e->builder, odd, whole, "");
    val_t negative = LLVMBuildICmp(e->builder, LLVMIntSLT, veer_emit_bits(e, x), veer_emit_i32_like(e, x, 0), "");
    r = pick(e, LLVMBuildAnd(e->builder, negative, odd, ""), neg(e, r), r);
    val_t finite_negative =
        LLVMBuildAnd(e->builder, cmp(e, LLVMRealOLT, x, 0.0), cmp(e, LLVMRealOGT, x, -INFINITY), "");
    r = pick(e, LLVMBuildAnd(e->builder, finite_negative, LLVMBuildNot(e->builder, whole, ""), ""), k(e, x, NAN), r);
    /* NaN in, NaN out, but for x^0 and 1^y */
    r = pick(e, LLVMBuildFCmp(e->builder, LLVMRealUNO, x, y, ""), k(e, x, NAN), r);
    val_t is_one = LLVMBuildOr(e->builder, cmp(e, LLVMRealOEQ, y, 0.0), cmp(e, LLVMRealOEQ, x, 1.0), "");
    return pick(e, is_one, one, r);
}

bool veer_vmath_is_simple(veer_op_t op) {
    switch (op) {
    case VEER_OP_NEG:
    case VEER_OP_ABS:
    case VEER_OP_SIGN:
    case VEER_OP_SQRT:
    case VEER_OP_RSQRT:
    case VEER_OP_RECIPROCAL:
    case VEER_OP_RELU:
    case VEER_OP_FLOOR:
    case VEER_OP_CEIL:
    case VEER_OP_ROUND: return true;
    default: return false;
    }
}

bool veer_vmath_has(veer_op_t op) {
    switch (op) {
    case VEER_OP_EXP:
    case VEER_OP_LOG:
    case VEER_OP_SIN:
    case VEER_OP_COS:
    case VEER_OP_ATAN:
    case VEER_OP_TANH:
    case VEER_OP_SIGMOID:
    case VEER_OP_SOFTPLUS:
    case VEER_OP_ERF:
    case VEER_OP_SILU:
    case VEER_OP_GELU: return true;
    default: return veer_vmath_is_simple(op);
    }
}

static LLVMValueRef unary(veer_emit_t *e, veer_op_t op, val_t x) {
    switch (op) {
    case VEER_OP_NEG: return neg(e, x);
    case VEER_OP_ABS: return magnitude(e, x);
    case VEER_OP_SIGN: return sign(e, x);
    case VEER_OP_EXP: return exp_f32(e, x);
    case VEER_OP_LOG: return log_f32(e, x);
    case VEER_OP_SQRT: return root(e, x);
    case VEER_OP_RSQRT: return quot(e, k(e, x, 1.0), root(e, x));
    case VEER_OP_RECIPROCAL: return quot(e, k(e, x, 1.0), x);
    case VEER_OP_SIN: return sin_f32(e, x, 0);
    case VEER_OP_COS: return sin_f32(e, x, 1);
    case VEER_OP_ATAN: return atan_f32(e, x);
    case VEER_OP_TANH: return tanh_f32(e, x);
    case VEER_OP_SIGMOID: return over_one_plus_exp(e, k(e, x, 1.0), neg(e, x));
    case VEER_OP_SOFTPLUS: return softplus_f32(e, x);
    case VEER_OP_ERF: return erf_f32(e, x);
    case VEER_OP_RELU: return pick(e, cmp(e, LLVMRealOLT, x, 0.0), k(e, x, 0.0), x);
    case VEER_OP_SILU: return over_one_plus_exp(e, x, neg(e, x));
    case VEER_OP_GELU: return gelu_f32(e, x);
    case VEER_OP_FLOOR: return veer_emit_unary_intrinsic(e, "llvm.floor", x);
    case VEER_OP_CEIL: return veer_emit_unary_intrinsic(e, "llvm.ceil", x);
    case VEER_OP_ROUND: return veer_emit_unary_intrinsic(e, "llvm.roundeven", x);
    default: assert(0 && "not a unary function"); return x;
    }
}

LLVMValueRef veer_vmath_unary(veer_emit_t *e, veer_op_t op, LLVMValueRef x) {
    return unary(e, op, x);
}
