#include "backends/llvm/elementwise.h"

#include "backends/llvm/region.h"
#include "backends/llvm/vmath.h"

#include <assert.h>
#include <math.h>
#include <string.h>

typedef LLVMValueRef val_t;

/* ---- registers and memory ---- */
LLVMTypeRef veer_fx_register_type(veer_emit_t *e, veer_dtype_t dtype) {
    if (dtype == VEER_DTYPE_F32) return e->f32;
    if (dtype == VEER_DTYPE_F64) return e->f64;
    if (dtype == VEER_DTYPE_BOOL) return e->i1;
    return LLVMIntTypeInContext(e->context, 8 * (unsigned)veer_dtype_size(dtype));
}

LLVMTypeRef veer_fx_memory_type(veer_emit_t *e, veer_dtype_t dtype) {
    return dtype == VEER_DTYPE_BOOL ? e->i8 : veer_fx_register_type(e, dtype);
}

LLVMValueRef veer_fx_constant(veer_emit_t *e, veer_dtype_t dtype, uint64_t bits) {
    LLVMTypeRef type = veer_fx_register_type(e, dtype);
    if (dtype == VEER_DTYPE_BOOL) return LLVMConstInt(type, (bits & 0xff) != 0, 0);
    if (!veer_dtype_is_float(dtype)) return LLVMConstInt(type, bits, 0);
    return LLVMConstBitCast(LLVMConstInt(dtype == VEER_DTYPE_F64 ? e->i64 : e->i32, bits, 0), type);
}

LLVMValueRef veer_fx_from_memory(veer_emit_t *e, veer_dtype_t dtype, LLVMValueRef v) {
    if (dtype != VEER_DTYPE_BOOL) return v;
    return LLVMBuildICmp(e->builder, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

LLVMValueRef veer_fx_to_memory(veer_emit_t *e, veer_dtype_t dtype, LLVMValueRef v) {
    return dtype == VEER_DTYPE_BOOL ? LLVMBuildZExt(e->builder, v, veer_emit_type_like(v, e->i8), "") : v;
}

/* ---- helpers ---- */
static bool is_float(veer_dtype_t d) {
    return veer_dtype_is_float(d);
}
static bool is_signed(veer_dtype_t d) {
    return veer_dtype_is_signed(d);
}
static val_t zero_like(val_t v) {
    return LLVMConstNull(LLVMTypeOf(v));
}

static val_t int_binary(veer_emit_t *e, LLVMOpcode op, val_t a, val_t b) {
    return LLVMBuildBinOp(e->builder, op, a, b, "");
}

/* a * b + c may become one rounding: never less accurate than two. */
static val_t float_binary(veer_emit_t *e, LLVMOpcode op, val_t a, val_t b) {
    val_t y = LLVMBuildBinOp(e->builder, op, a, b, "");
    if (LLVMIsAInstruction(y)) LLVMSetFastMathFlags(y, LLVMFastMathAllowContract);
    return y;
}

static val_t arithmetic(veer_emit_t *e, veer_dtype_t d, LLVMOpcode on_float, LLVMOpcode on_int, val_t a, val_t b) {
    return is_float(d) ? float_binary(e, on_float, a, b) : int_binary(e, on_int, a, b);
}

static val_t min_max(veer_emit_t *e, veer_dtype_t d, bool max, val_t a, val_t b) {
    const char *name = is_float(d)    ? (max ? "llvm.maximum" : "llvm.minimum")
                       : is_signed(d) ? (max ? "llvm.smax" : "llvm.smin")
                                      : (max ? "llvm.umax" : "llvm.umin");
    return veer_emit_binary_intrinsic(e, name, a, b);
}

/* Integer division must not trap: x / 0 = 0, and the smallest number / -1 wraps around. */
static val_t int_divide(veer_emit_t *e, veer_dtype_t d, val_t a, val_t b, bool remainder) {
    val_t zero = zero_like(b), one = veer_emit_like_int(e, b, 1);
    val_t by_zero = LLVMBuildICmp(e->builder, LLVMIntEQ, b, zero, ""), safe = veer_emit_select(e, by_zero, one, b), q;
    if (is_signed(d)) {
        val_t by_minus = LLVMBuildICmp(e->builder, LLVMIntEQ, b, veer_emit_like_int(e, b, -1), "");
        safe = veer_emit_select(e, by_minus, one, safe);
        q = int_binary(e, remainder ? LLVMSRem : LLVMSDiv, a, safe);
        if (!remainder) q = veer_emit_select(e, by_minus, LLVMBuildNeg(e->builder, a, ""), q);
    } else
        q = int_binary(e, remainder ? LLVMURem : LLVMUDiv, a, safe);
    return veer_emit_select(e, by_zero, zero, q);
}

/* fmod = 0: the remainder takes the divisor's sign. */
static val_t modulo(veer_emit_t *e, veer_dtype_t d, val_t a, val_t b, bool fmod_sign) {
    if (is_float(d)) return LLVMBuildFRem(e->builder, a, b, "");
    val_t r = int_divide(e, d, a, b, true);
    if (fmod_sign || !is_signed(d)) return r;
    val_t nonzero = LLVMBuildICmp(e->builder, LLVMIntNE, r, zero_like(r), "");
    val_t differ = LLVMBuildICmp(e->builder, LLVMIntSLT, LLVMBuildXor(e->builder, r, b, ""), zero_like(r), "");
    val_t by_zero = LLVMBuildICmp(e->builder, LLVMIntEQ, b, zero_like(b), "");
    val_t fix = LLVMBuildAnd(e->builder, LLVMBuildAnd(e->builder, nonzero, differ, ""),
                             LLVMBuildNot(e->builder, by_zero, ""), "");
    return veer_emit_select(e, fix, LLVMBuildAdd(e->builder, r, b, ""), r);
}

static val_t compare(veer_emit_t *e, veer_op_t op, veer_dtype_t d, val_t a, val_t b) {
    if (is_float(d)) {
        LLVMRealPredicate p = op == VEER_OP_EQUAL ? LLVMRealOEQ : op == VEER_OP_LESS ? LLVMRealOLT : LLVMRealOLE;
        return LLVMBuildFCmp(e->builder, p, a, b, "");
    }
    LLVMIntPredicate p = op == VEER_OP_EQUAL  ? LLVMIntEQ
                         : op == VEER_OP_LESS ? (is_signed(d) ? LLVMIntSLT : LLVMIntULT)
                                              : (is_signed(d) ? LLVMIntSLE : LLVMIntULE);
    return LLVMBuildICmp(e->builder, p, a, b, "");
}

/* ---- casts ---- as C converts, but out-of-range floats saturate and NaN becomes 0 */
static val_t cast_float_to_int(veer_emit_t *e, veer_dtype_t to, val_t x) {
    LLVMTypeRef type = veer_emit_type_like(x, veer_fx_register_type(e, to)), both[] = {type, LLVMTypeOf(x)};
    return veer_emit_intrinsic(e, is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat", both, 2, &x, 1);
}

static val_t cast(veer_emit_t *e, veer_dtype_t from, veer_dtype_t to, val_t x) {
    if (from == to) return x;
    LLVMTypeRef type = veer_emit_type_like(x, veer_fx_register_type(e, to));
    if (to == VEER_DTYPE_BOOL)
        return is_float(from) ? LLVMBuildFCmp(e->builder, LLVMRealUNE, x, zero_like(x), "")
                              : LLVMBuildICmp(e->builder, LLVMIntNE, x, zero_like(x), "");
    if (is_float(from) && is_float(to))
        return to == VEER_DTYPE_F64 ? LLVMBuildFPExt(e->builder, x, type, "")
                                    : LLVMBuildFPTrunc(e->builder, x, type, "");
    if (is_float(from)) return cast_float_to_int(e, to, x);
    if (is_float(to))
        return is_signed(from) ? LLVMBuildSIToFP(e->builder, x, type, "") : LLVMBuildUIToFP(e->builder, x, type, "");
    if (from == VEER_DTYPE_BOOL || veer_dtype_size(from) < veer_dtype_size(to))
        return is_signed(from) ? LLVMBuildSExt(e->builder, x, type, "") : LLVMBuildZExt(e->builder, x, type, "");
    return veer_dtype_size(from) == veer_dtype_size(to) ? x : LLVMBuildTrunc(e->builder, x, type, "");
}

static val_t int_unary(veer_emit_t *e, veer_op_t op, veer_dtype_t d, val_t x) {
    val_t zero = zero_like(x), one = veer_emit_like_int(e, x, 1);
    val_t negative = is_signed(d) ? LLVMBuildICmp(e->builder, LLVMIntSLT, x, zero, "")
                                  : LLVMConstNull(veer_emit_type_like(x, e->i1));
    switch (op) {
    case VEER_OP_NEG: return LLVMBuildNeg(e->builder, x, "");
    case VEER_OP_ABS: return veer_emit_select(e, negative, LLVMBuildNeg(e->builder, x, ""), x);
    case VEER_OP_RELU: return veer_emit_select(e, negative, zero, x);
    case VEER_OP_SIGN: {
        val_t is_zero = LLVMBuildICmp(e->builder, LLVMIntEQ, x, zero, "");
        return veer_emit_select(e, negative, veer_emit_like_int(e, x, -1), veer_emit_select(e, is_zero, zero, one));
    }
    default: assert(0 && "not an integer function"); return x;
    }
}

bool veer_fx_has(veer_op_t op, veer_dtype_t in, veer_dtype_t in1) {
    switch (op) {
    case VEER_OP_ADD:
    case VEER_OP_SUB:
    case VEER_OP_MUL:
    case VEER_OP_DIV:
    case VEER_OP_MOD:
    case VEER_OP_MIN:
    case VEER_OP_MAX:
    case VEER_OP_EQUAL:
    case VEER_OP_LESS:
    case VEER_OP_LESS_EQUAL:
    case VEER_OP_AND:
    case VEER_OP_OR:
    case VEER_OP_XOR:
    case VEER_OP_NOT:
    case VEER_OP_WHERE:
    case VEER_OP_CAST:
    case VEER_OP_ISNAN: return true;
    case VEER_OP_POW: return in == VEER_DTYPE_F32 && in1 != VEER_DTYPE_F64;
    case VEER_OP_NEG:
    case VEER_OP_ABS:
    case VEER_OP_SIGN:
    case VEER_OP_RELU: return true;
    default: return in == VEER_DTYPE_F32 ? veer_vmath_has(op) : in == VEER_DTYPE_F64 && veer_vmath_is_simple(op);
    }
}

LLVMValueRef veer_fx_elementwise(veer_emit_t *e, veer_op_t op, int64_t flag, veer_dtype_t out, const veer_dtype_t *in,
                                 LLVMValueRef *a) {
    veer_dtype_t d = in[0];
    switch (op) {
    case VEER_OP_ADD: return arithmetic(e, d, LLVMFAdd, LLVMAdd, a[0], a[1]);
    case VEER_OP_SUB: return arithmetic(e, d, LLVMFSub, LLVMSub, a[0], a[1]);
    case VEER_OP_MUL: return arithmetic(e, d, LLVMFMul, LLVMMul, a[0], a[1]);
    case VEER_OP_DIV: return is_float(d) ? float_binary(e, LLVMFDiv, a[0], a[1]) : int_divide(e, d, a[0], a[1], false);
    case VEER_OP_MOD: return modulo(e, d, a[0], a[1], flag);
    case VEER_OP_MIN: return min_max(e, d, false, a[0], a[1]);
    case VEER_OP_MAX: return min_max(e, d, true, a[0], a[1]);
    case VEER_OP_POW: return veer_vmath_pow(e, a[0], cast(e, in[1], VEER_DTYPE_F32, a[1]));
    case VEER_OP_EQUAL:
    case VEER_OP_LESS:
    case VEER_OP_LESS_EQUAL: return compare(e, op, d, a[0], a[1]);
    case VEER_OP_AND: return LLVMBuildAnd(e->builder, a[0], a[1], "");
    case VEER_OP_OR: return LLVMBuildOr(e->builder, a[0], a[1], "");
    case VEER_OP_XOR: return LLVMBuildXor(e->builder, a[0], a[1], "");
    case VEER_OP_NOT: return LLVMBuildNot(e->builder, a[0], "");
    case VEER_OP_WHERE: return veer_emit_select(e, a[0], a[1], a[2]);
    case VEER_OP_CAST: return cast(e, d, out, a[0]);
    case VEER_OP_ISNAN:
        return is_float(d) ? LLVMBuildFCmp(e->builder, LLVMRealUNO, a[0], a[0], "")
                           : LLVMConstNull(veer_emit_type_like(a[0], e->i1));
    case VEER_OP_GELU: return flag ? veer_vmath_gelu_tanh(e, a[0]) : veer_vmath_unary(e, op, a[0]);
    default: return is_float(d) ? veer_vmath_unary(e, op, a[0]) : int_unary(e, op, d, a[0]);
    }
}

/* ---- reductions ---- */
LLVMValueRef veer_fx_combine(veer_emit_t *e, veer_op_t op, veer_dtype_t d, LLVMValueRef a, LLVMValueRef b) {
    switch (op) {
    case VEER_OP_REDUCE_SUM: return arithmetic(e, d, LLVMFAdd, LLVMAdd, a, b);
    case VEER_OP_REDUCE_PROD: return arithmetic(e, d, LLVMFMul, LLVMMul, a, b);
    case VEER_OP_REDUCE_MAX: return min_max(e, d, true, a, b);
    case VEER_OP_REDUCE_MIN: return min_max(e, d, false, a, b);
    default: assert(0 && "not a reduction"); return a;
    }
}

static val_t lowest(veer_emit_t *e, veer_dtype_t d, bool highest) {
    LLVMTypeRef type = veer_fx_register_type(e, d);
    if (is_float(d)) return LLVMConstReal(type, highest ? INFINITY : -INFINITY);
    unsigned bits = 8 * (unsigned)veer_dtype_size(d);
    if (!is_signed(d)) return highest ? LLVMConstAllOnes(type) : LLVMConstNull(type);
    uint64_t top = (uint64_t)1 << (bits - 1);
    return LLVMConstInt(type, highest ? top - 1 : top, 0);
}

LLVMValueRef veer_fx_neutral(veer_emit_t *e, veer_op_t op, veer_dtype_t d) {
    LLVMTypeRef type = veer_fx_register_type(e, d);
    switch (op) {
    case VEER_OP_REDUCE_SUM: return is_float(d) ? LLVMConstReal(type, -0.0) : LLVMConstNull(type);
    case VEER_OP_REDUCE_PROD: return is_float(d) ? LLVMConstReal(type, 1) : LLVMConstInt(type, 1, 0);
    case VEER_OP_REDUCE_MAX: return lowest(e, d, false);
    default: return lowest(e, d, true);
    }
}
