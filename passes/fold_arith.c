/* Arithmetic that changes nothing. Exactness is the rule: every result keeps its bits, zeros their signs. The
 * exceptions are named: pow(x, 0.5) = sqrt(x) differs from C's pow at x = -0 and -inf only, as ONNX exporters mean it;
 * and a NaN stays a NaN, whichever.
 *
 *     x * 1, x / 1, x - (+0)     exact for all x
 *     x + (-0)                   exact for all x; x + (+0) turns -0 into +0, so x must be one that is never -0
 *     x + 0, x - 0               on integers
 *     x + neg y = x - y, neg x + y = y - x, x - neg y = x + y    the same operation by definition
 *     pow(x, 1), pow(x, 2) = x * x, pow(x, -1) = 1 / x: correctly rounded on the right, which is what pow aims at
 *     neg(neg x), not(not x), and(x, true), or(x, false), xor(x, false), abs(abs x), where(c, x, x), where(constant, x,
 * y) cast to the same dtype; cast(cast x) where the inner one loses nothing f(broadcast x, y) = f(x, y) where y brings
 * the shape along: elementwise operands broadcast by themselves
 */
#include "passes/fold_internal.h"

#include "ir/half.h"

#include <math.h>
#include <string.h>

/* ---- what a value is known to be ---- */

static double element(veer_dtype_t dtype, const void *p) {
    union {
        float f;
        double d;
        uint16_t h;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        uint32_t u32;
        uint64_t u64;
    } u = {.u64 = 0};
    memcpy(&u, p, veer_dtype_size(dtype));
    switch (dtype) {
    case VEER_DTYPE_F32: return u.f;
    case VEER_DTYPE_F64: return u.d;
    case VEER_DTYPE_F16: return veer_half_to_double(u.h);
    case VEER_DTYPE_BF16: return veer_bfloat_to_double(u.h);
    case VEER_DTYPE_I8: return u.i8;
    case VEER_DTYPE_I16: return u.i16;
    case VEER_DTYPE_I32: return u.i32;
    case VEER_DTYPE_I64: return (double)u.i64; /* only compared with small numbers */
    case VEER_DTYPE_U16: return u.h;
    case VEER_DTYPE_U32: return u.u32;
    case VEER_DTYPE_U64: return (double)u.u64;
    default: return u.u8;
    }
}

/* The one number that all elements are, also behind broadcasts and reshapes; false where there is none. */
static bool splat(const veer_builder_t *b, veer_value_t value, double *out) {
    veer_node_t def;
    while ((def = veer_fold_def(b, value, VEER_OP_BROADCAST)).i || (def = veer_fold_def(b, value, VEER_OP_RESHAPE)).i)
        value = veer_fold_in(b, def, 0);
    const char *bytes = value.i ? veer_value_const_data(b->graph, value) : NULL;
    const veer_type_t *type = veer_fold_type(b, value);
    size_t size = veer_dtype_size(type->dtype), total = veer_type_bytes(type);
    if (!bytes || total == 0 || memcmp(bytes, bytes + size, total - size)) return false;
    *out = element(type->dtype, bytes);
    return true;
}

static bool is_splat(const veer_builder_t *b, veer_value_t value, double x) {
    double got;
    return splat(b, value, &got) && got == x && signbit(got) == signbit(x);
}

/* Values that are never -0, so that adding +0 leaves them alone. */
static bool never_minus_zero(const veer_builder_t *b, veer_value_t value) {
    veer_node_t def = veer_value_def(b->graph, value);
    switch (def.i ? veer_node_op(b->graph, def) : VEER_OP_NONE) {
    case VEER_OP_ABS:
    case VEER_OP_EXP:
    case VEER_OP_SIGMOID:
    case VEER_OP_SOFTPLUS:
    case VEER_OP_SOFTMAX: return true;
    case VEER_OP_CAST: return !veer_dtype_is_float(veer_fold_type(b, veer_fold_in(b, def, 0))->dtype);
    default: return false;
    }
}

/* ---- helpers ---- */

/* The operand itself, where it has the result's type. */
static veer_value_t take(const veer_builder_t *b, veer_node_t node, veer_value_t x) {
    return x.i && veer_type_equal(veer_fold_type(b, x), veer_fold_out(b, node)) ? x : VEER_NO_VALUE;
}

/* f(broadcast x, y): the same node on x, where the result's type stays. One operand at a time is enough: the new node's
 * other operands were looked at before. */
static veer_value_t drop_broadcasts(veer_builder_t *b, veer_node_t node) {
    veer_value_t in[3];
    int count = veer_node_in_count(b->graph, node), dropped = 0;
    if (count < 2 || count > 3) return VEER_NO_VALUE;
    for (int i = 0; i < count; i++) in[i] = veer_fold_in(b, node, i);
    for (int i = 0; i < count; i++) {
        veer_node_t def = veer_fold_def(b, in[i], VEER_OP_BROADCAST);
        if (!def.i) continue;
        veer_value_t was = in[i];
        veer_type_t shape = {0};
        in[i] = veer_fold_in(b, def, 0);
        bool fits = true;
        for (int k = 0; k < count; k++) fits = fits && veer_type_broadcast(&shape, veer_fold_type(b, in[k]), &shape);
        if (fits && veer_type_same_shape(&shape, veer_fold_out(b, node)))
            dropped++;
        else
            in[i] = was;
    }
    veer_node_t like = dropped ? veer_build_like(b, node, in, count) : VEER_NO_NODE;
    return like.i ? veer_node_out(b->graph, like, 0) : VEER_NO_VALUE;
}

static veer_value_t or_drop_broadcasts(veer_builder_t *b, veer_node_t node, veer_value_t found) {
    return found.i ? found : drop_broadcasts(b, node);
}

static bool adds_nothing(const veer_builder_t *b, veer_value_t x, veer_value_t zero) {
    if (!veer_dtype_is_float(veer_fold_type(b, x)->dtype)) return is_splat(b, zero, 0.0);
    return is_splat(b, zero, -0.0) || (is_splat(b, zero, 0.0) && never_minus_zero(b, x));
}

/* ---- rules ---- */

static veer_value_t fold_add(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0), y = veer_fold_in(b, node, 1), found = VEER_NO_VALUE;
    if (adds_nothing(b, x, y)) found = take(b, node, x);
    if (!found.i && adds_nothing(b, y, x)) found = take(b, node, y);
    if (found.i) return found;
    veer_node_t minus_y = veer_fold_def(b, y, VEER_OP_NEG), minus_x = veer_fold_def(b, x, VEER_OP_NEG);
    if (minus_y.i) return veer_sub(b, x, veer_fold_in(b, minus_y, 0));
    if (minus_x.i) return veer_sub(b, y, veer_fold_in(b, minus_x, 0));
    return drop_broadcasts(b, node);
}

static veer_value_t fold_sub(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0), y = veer_fold_in(b, node, 1);
    veer_node_t minus = veer_fold_def(b, y, VEER_OP_NEG);
    if (minus.i) return veer_add(b, x, veer_fold_in(b, minus, 0));
    return or_drop_broadcasts(b, node, is_splat(b, y, 0.0) ? take(b, node, x) : VEER_NO_VALUE);
}

static veer_value_t fold_mul(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0), y = veer_fold_in(b, node, 1), found = VEER_NO_VALUE;
    if (is_splat(b, y, 1.0)) found = take(b, node, x);
    if (!found.i && is_splat(b, x, 1.0)) found = take(b, node, y);
    return or_drop_broadcasts(b, node, found);
}

static veer_value_t fold_div(veer_builder_t *b, veer_node_t node) {
    bool nothing = is_splat(b, veer_fold_in(b, node, 1), 1.0);
    return or_drop_broadcasts(b, node, nothing ? take(b, node, veer_fold_in(b, node, 0)) : VEER_NO_VALUE);
}

static veer_value_t fold_pow(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    double e;
    if (!splat(b, veer_fold_in(b, node, 1), &e) || !take(b, node, x).i) return drop_broadcasts(b, node);
    if (e == 1.0) return x;
    if (e == 2.0) return veer_mul(b, x, x);
    bool real = veer_dtype_is_float(veer_fold_type(b, x)->dtype);
    if (real && e == 0.5) return veer_sqrt(b, x);
    if (real && e == -1.0) return veer_reciprocal(b, x);
    return drop_broadcasts(b, node);
}

static veer_value_t fold_and(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0), y = veer_fold_in(b, node, 1), found = VEER_NO_VALUE;
    if (veer_fold_type(b, x)->dtype != VEER_DTYPE_BOOL) return drop_broadcasts(b, node);
    if (is_splat(b, y, 1.0)) found = take(b, node, x);
    if (!found.i && is_splat(b, x, 1.0)) found = take(b, node, y);
    return or_drop_broadcasts(b, node, found);
}

static veer_value_t fold_or(veer_builder_t *b, veer_node_t node) { /* xor too: false and 0 are neutral to both */
    veer_value_t x = veer_fold_in(b, node, 0), y = veer_fold_in(b, node, 1), found = VEER_NO_VALUE;
    if (is_splat(b, y, 0.0)) found = take(b, node, x);
    if (!found.i && is_splat(b, x, 0.0)) found = take(b, node, y);
    return or_drop_broadcasts(b, node, found);
}

/* f(f(x)) = x */
static veer_value_t fold_involution(veer_builder_t *b, veer_node_t node) {
    veer_node_t inner = veer_fold_def(b, veer_fold_in(b, node, 0), veer_node_op(b->graph, node));
    return inner.i ? veer_fold_in(b, inner, 0) : VEER_NO_VALUE;
}

/* f(f(x)) = f(x) */
static veer_value_t fold_idempotent(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    return veer_fold_def(b, x, veer_node_op(b->graph, node)).i ? x : VEER_NO_VALUE;
}

static veer_value_t fold_where(veer_builder_t *b, veer_node_t node) {
    veer_value_t condition = veer_fold_in(b, node, 0), x = veer_fold_in(b, node, 1), y = veer_fold_in(b, node, 2);
    double c;
    veer_value_t found = VEER_NO_VALUE;
    if (veer_value_eq(x, y))
        found = take(b, node, x);
    else if (splat(b, condition, &c))
        found = take(b, node, c != 0.0 ? x : y);
    return or_drop_broadcasts(b, node, found);
}

/* Every value of `from` is one of `to`. */
static bool loses_nothing(veer_dtype_t from, veer_dtype_t to) {
    size_t small = veer_dtype_size(from), big = veer_dtype_size(to);
    if (from == to) return true;
    if (from == VEER_DTYPE_BOOL) return true;
    if (veer_dtype_is_float(from)) return veer_dtype_is_float(to) && small < big;
    if (veer_dtype_is_integer(to)) {
        if (veer_dtype_is_signed(from) == veer_dtype_is_signed(to)) return small < big;
        return veer_dtype_is_signed(to) && small < big;
    }
    return to == VEER_DTYPE_F64 ? small <= 4 : to == VEER_DTYPE_F32 && small <= 2;
}

static veer_value_t fold_cast(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    veer_dtype_t to = veer_fold_out(b, node)->dtype;
    if (take(b, node, x).i) return x;
    veer_node_t inner = veer_fold_def(b, x, VEER_OP_CAST);
    if (!inner.i || to == VEER_DTYPE_BOOL) return VEER_NO_VALUE;
    veer_value_t origin = veer_fold_in(b, inner, 0);
    if (!loses_nothing(veer_fold_type(b, origin)->dtype, veer_fold_type(b, x)->dtype)) return VEER_NO_VALUE;
    return veer_cast(b, origin, to); /* `origin` itself where it has the dtype */
}

veer_fold_rule_t veer_fold_arith_rule(veer_op_t op) {
    switch (op) {
    case VEER_OP_ADD: return fold_add;
    case VEER_OP_SUB: return fold_sub;
    case VEER_OP_MUL: return fold_mul;
    case VEER_OP_DIV: return fold_div;
    case VEER_OP_POW: return fold_pow;
    case VEER_OP_AND: return fold_and;
    case VEER_OP_OR:
    case VEER_OP_XOR: return fold_or;
    case VEER_OP_NEG:
    case VEER_OP_NOT: return fold_involution;
    case VEER_OP_ABS:
    case VEER_OP_RELU:
    case VEER_OP_FLOOR:
    case VEER_OP_CEIL:
    case VEER_OP_ROUND:
    case VEER_OP_SIGN: return fold_idempotent;
    case VEER_OP_WHERE: return fold_where;
    case VEER_OP_CAST: return fold_cast;
    case VEER_OP_MIN:
    case VEER_OP_MAX:
    case VEER_OP_MOD:
    case VEER_OP_EQUAL:
    case VEER_OP_LESS:
    case VEER_OP_LESS_EQUAL: return drop_broadcasts;
    default: return NULL;
    }
}
