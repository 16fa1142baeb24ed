/* Elementary functions as LLVM IR on float scalars and vectors of any width: the same bits in every lane and at every
 * width. Errors against the exact value (tests/numeric/test_llvm_vmath.c measures them):
 *
 *     exp log tanh sin cos rsqrt softplus pow                  2 ulp at most (sigmoid 2.5)
 *     erf                                                      5 ulp
 *     gelu silu                                                4 ulp of max(|x|, |y|) (they cancel for negative x)
 *
 * Infinities and NaN give what the C library gives, zeros keep their sign where it matters. exp rounds gradually into
 * the denormals; log takes them exactly. sigmoid and silu give 0 where exp(-x) overflows (x < -88.7), within 1e-38.
 */
#ifndef VEER_BACKENDS_LLVM_VMATH_H
#define VEER_BACKENDS_LLVM_VMATH_H

#include "backends/llvm/emit.h"
#include "ir/op.h"

/* True for the ops that veer_vmath_unary knows. */
bool veer_vmath_has(veer_op_t op);
/* f(x) of f32 lanes for a unary op: neg abs sign exp log sqrt rsqrt reciprocal sin cos tanh sigmoid softplus erf relu
 * silu gelu (the erf form) floor ceil round. All but exp .. silu that need tables or polynomials also take f64 lanes.
 */
LLVMValueRef veer_vmath_unary(veer_emit_t *e, veer_op_t op, LLVMValueRef x);
/* True where the op is one instruction or so, valid for f64 too. */
bool veer_vmath_is_simple(veer_op_t op);
LLVMValueRef veer_vmath_gelu_tanh(veer_emit_t *e, LLVMValueRef x);
LLVMValueRef veer_vmath_pow(veer_emit_t *e, LLVMValueRef x, LLVMValueRef y);

/* ---- pieces that others build on ---- */
/* sum c[i] x^i by Horner's rule with fused multiply-adds. */
LLVMValueRef veer_vmath_polynomial(veer_emit_t *e, LLVMValueRef x, const double *c, int count);
/* log((1 + f) * 2^k) for 1 + f in [sqrt(1/2), sqrt(2)], k an integer held in a float. */
LLVMValueRef veer_vmath_log_reduced(veer_emit_t *e, LLVMValueRef f, LLVMValueRef k);
/* log of a positive normal number: no special cases. */
LLVMValueRef veer_vmath_log_positive(veer_emit_t *e, LLVMValueRef x);
/* sin r and cos r for |r| <= pi/4. */
LLVMValueRef veer_vmath_sin_reduced(veer_emit_t *e, LLVMValueRef r);
LLVMValueRef veer_vmath_cos_reduced(veer_emit_t *e, LLVMValueRef r);
/* 2^x of f32 lanes for x <= 0, within 2 ulp; 0 below -126.5, so no result is denormal but those next to 2^-126. */
LLVMValueRef veer_vmath_exp2_negative(veer_emit_t *e, LLVMValueRef x);
/* Quarter turns: q even gives s, odd gives c, negated where q & 2. sin(r + q pi/2) for s = sin r, c = cos r. */
LLVMValueRef veer_vmath_quarter(veer_emit_t *e, LLVMValueRef q, LLVMValueRef s, LLVMValueRef c);

#endif
