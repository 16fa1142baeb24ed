#include "backends/llvm/vrandom.h"

#include "backends/llvm/vmath.h"

#include <assert.h>

typedef LLVMValueRef val_t;

enum { ROUNDS = 10, BLOCK = 4 };

static val_t ic(veer_emit_t *e, LLVMOpcode op, val_t a, int64_t c) {
    return LLVMBuildBinOp(e->builder, op, a, veer_emit_like_int(e, a, c), "");
}

static val_t xor3(veer_emit_t *e, val_t a, val_t b, val_t c) {
    return LLVMBuildXor(e->builder, LLVMBuildXor(e->builder, a, b, ""), c, "");
}

/* 32 x 32 -> 64 bits by a constant. */
static void wide_mul(veer_emit_t *e, val_t a, uint32_t c, val_t *out_high, val_t *out_low) {
    LLVMTypeRef wide = veer_emit_type_like(a, e->i64), narrow = LLVMTypeOf(a);
    val_t p = ic(e, LLVMMul, LLVMBuildZExt(e->builder, a, wide, ""), c);
    *out_low = LLVMBuildTrunc(e->builder, p, narrow, "");
    *out_high = LLVMBuildTrunc(e->builder, ic(e, LLVMLShr, p, 32), narrow, "");
}

void veer_vrandom_philox(veer_emit_t *e, LLVMValueRef c[4], const LLVMValueRef key[2]) {
    val_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        val_t h0, l0, h1, l1;
        wide_mul(e, c[0], 0xD2511F53u, &h0, &l0);
        wide_mul(e, c[2], 0xCD9E8D57u, &h1, &l1);
        unsigned lanes = veer_emit_lanes(c[0]);
        c[0] = xor3(e, h1, c[1], veer_emit_splat(e, k0, lanes));
        c[2] = xor3(e, h0, c[3], veer_emit_splat(e, k1, lanes));
        c[1] = l1, c[3] = l0;
        k0 = ic(e, LLVMAdd, k0, 0x9E3779B9), k1 = ic(e, LLVMAdd, k1, (int32_t)0xBB67AE85);
    }
}

/* sqrt(-2 ln u), u = (bits + 0.5) 2^-32. Near 1, u has too few bits in a float: there ln u = log(1 + f) with
 * f = -(~bits + 0.5) 2^-32 taken from the integer. */
static val_t radius(veer_emit_t *e, val_t bits) {
    LLVMTypeRef floats = veer_emit_type_like(bits, e->f32);
    val_t to_one = LLVMBuildUIToFP(e->builder, LLVMBuildNot(e->builder, bits, ""), floats, "");
    val_t half = veer_emit_like(e, to_one, 0.5), scale = veer_emit_like(e, to_one, 0x1p-32);
    val_t f = LLVMBuildFMul(e->builder, LLVMBuildFAdd(e->builder, to_one, half, ""),
                            LLVMBuildFNeg(e->builder, scale, ""), "");
    val_t u = LLVMBuildFAdd(e->builder, LLVMBuildUIToFP(e->builder, bits, floats, ""), half, "");
    u = LLVMBuildFMul(e->builder, u, scale, "");
    /* log of u split as m 2^k, or f with k = 0: one polynomial for both */
    const int32_t sqrt_half = 0x3f3504f3;
    val_t i = ic(e, LLVMSub, veer_emit_bits(e, u), sqrt_half), n = ic(e, LLVMAShr, i, 23);
    val_t m = veer_emit_from_bits(e, ic(e, LLVMAdd, ic(e, LLVMAnd, i, 0x7fffff), sqrt_half));
    m = LLVMBuildFSub(e->builder, m, veer_emit_like(e, m, 1.0), "");
    val_t near = LLVMBuildICmp(e->builder, LLVMIntUGE, bits, veer_emit_like_int(e, bits, (int32_t)0xB8000000), "");
    f = veer_emit_select(e, near, f, m);
    n = veer_emit_select(e, near, veer_emit_like_int(e, n, 0), n);
    val_t log_u = veer_vmath_log_reduced(e, f, LLVMBuildSIToFP(e->builder, n, floats, ""));
    return veer_emit_unary_intrinsic(e, "llvm.sqrt",
                                     LLVMBuildFMul(e->builder, log_u, veer_emit_like(e, log_u, -2.0), ""));
}

/* r cos and r sin of 2 pi (bits + 0.5) 2^-32: whole quarter turns and the signed rest are split off in integers. */
static void turn(veer_emit_t *e, val_t r, val_t bits, val_t *out_cos, val_t *out_sin) {
    val_t q = ic(e, LLVMLShr, ic(e, LLVMAdd, bits, 1 << 29), 30);
    val_t rest = LLVMBuildSub(e->builder, bits, ic(e, LLVMShl, q, 30), "");
    rest = ic(e, LLVMOr, ic(e, LLVMShl, rest, 1), 1); /* 2 rest + 1: the half is in */
    val_t angle = LLVMBuildSIToFP(e->builder, rest, LLVMTypeOf(r), "");
    angle = LLVMBuildFMul(e->builder, angle, veer_emit_like(e, r, 0x1.921fb54442d18p-32 * 2), "");
    val_t s = veer_vmath_sin_reduced(e, angle), c = veer_vmath_cos_reduced(e, angle);
    *out_sin = LLVMBuildFMul(e->builder, r, veer_vmath_quarter(e, q, s, c), "");
    *out_cos = LLVMBuildFMul(e->builder, r, veer_vmath_quarter(e, ic(e, LLVMAdd, q, 1), s, c), "");
}

void veer_vrandom_block(veer_emit_t *e, LLVMValueRef block, LLVMValueRef sample, LLVMValueRef step, int64_t stream,
                        const LLVMValueRef key[2], LLVMValueRef out[4]) {
    unsigned lanes = veer_emit_lanes(block);
    val_t c[4] = {block, veer_emit_splat(e, sample, lanes), veer_emit_splat(e, step, lanes),
                  veer_emit_like_int(e, block, stream)};
    veer_vrandom_philox(e, c, key);
    turn(e, radius(e, c[0]), c[1], &out[0], &out[1]);
    turn(e, radius(e, c[2]), c[3], &out[2], &out[3]);
}

LLVMValueRef veer_vrandom_run(veer_emit_t *e, LLVMValueRef first, unsigned lanes, LLVMValueRef sample,
                              LLVMValueRef step, int64_t stream, const LLVMValueRef key[2]) {
    assert(lanes % BLOCK == 0 && lanes > BLOCK);
    unsigned blocks = lanes / BLOCK;
    val_t block = LLVMBuildTrunc(e->builder, ic(e, LLVMLShr, first, 2), e->i32, ""), z[4];
    block = LLVMBuildAdd(e->builder, veer_emit_splat(e, block, blocks), veer_emit_iota(e->i32, blocks), "");
    veer_vrandom_block(e, block, sample, step, stream, key, z);
    int join[128], weave[128];
    for (unsigned i = 0; i < 2 * blocks; i++) join[i] = (int)i;
    val_t z01 = veer_emit_shuffle(e, z[0], z[1], join, 2 * blocks),
          z23 = veer_emit_shuffle(e, z[2], z[3], join, 2 * blocks);
    for (unsigned i = 0; i < lanes; i++) weave[i] = (int)(i % BLOCK * blocks + i / BLOCK);
    return veer_emit_shuffle(e, z01, z23, weave, lanes);
}

LLVMValueRef veer_vrandom_any(veer_emit_t *e, LLVMValueRef element, LLVMValueRef sample, LLVMValueRef step,
                              int64_t stream, const LLVMValueRef key[2]) {
    LLVMTypeRef i32s = veer_emit_type_like(element, e->i32);
    val_t z[4], at = LLVMBuildTrunc(e->builder, ic(e, LLVMAnd, element, 3), i32s, "");
    val_t block = LLVMBuildTrunc(e->builder, ic(e, LLVMLShr, element, 2), i32s, "");
    veer_vrandom_block(e, block, sample, step, stream, key, z);
    val_t out = z[0];
    for (int i = 1; i < BLOCK; i++) {
        val_t here = LLVMBuildICmp(e->builder, LLVMIntEQ, at, veer_emit_like_int(e, at, i), "");
        out = veer_emit_select(e, here, z[i], out);
    }
    return out;
}
