/* Elementwise ops of two or three operands, which broadcast as NumPy's do. In the gradients d is dL/dy, of the
 * broadcast shape; veer_sum_to brings each operand's share back to the operand's own shape. */
#include "ir/ops/common.h"

#define BINARY VEER_PURE | VEER_ELEMENTWISE

/* d_in[i] = d, summed to the shape of operand i */
static void give(veer_builder_t *b, veer_grad_t *g, int i, veer_value_t d) {
    veer_type_t type = veer_grad_in_type(g, i);
    g->d_in[i] = veer_sum_to(b, d, &type);
}

/* ---- arithmetic ---- */
static veer_status_t add_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx0 = dy/dx1 = 1 */
    for (int i = 0; i < 2; i++)
        if (g->need[i]) give(b, g, i, g->d_out[0]);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_add = {
    .name = "add",
    .doc = "z = x + y; integers wrap around.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = veer_infer_broadcast,
    .grad = add_grad,
    .tol_f32 = VEER_TOL_ULPS(1),
};

static veer_status_t sub_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dz/dx = 1, dz/dy = -1 */
    if (g->need[0]) give(b, g, 0, g->d_out[0]);
    if (g->need[1]) give(b, g, 1, veer_neg(b, g->d_out[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_sub = {
    .name = "sub",
    .doc = "z = x - y; integers wrap around.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .traits = BINARY,
    .infer = veer_infer_broadcast,
    .grad = sub_grad,
    .tol_f32 = VEER_TOL_ULPS(1),
};

static veer_status_t mul_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dz/dx = y, dz/dy = x */
    if (g->need[0]) give(b, g, 0, veer_mul(b, g->d_out[0], g->in[1]));
    if (g->need[1]) give(b, g, 1, veer_mul(b, g->d_out[0], g->in[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_mul = {
    .name = "mul",
    .doc = "z = x * y; integers wrap around.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = veer_infer_broadcast,
    .grad = mul_grad,
    .tol_f32 = VEER_TOL_ULPS(1),
};

static veer_status_t div_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dz/dx = 1 / y, dz/dy = -z / y */
    veer_value_t share = veer_div(b, g->d_out[0], g->in[1]);
    if (g->need[0]) give(b, g, 0, share);
    if (g->need[1]) give(b, g, 1, veer_neg(b, veer_mul(b, share, g->out[0])));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_div = {
    .name = "div",
    .doc = "z = x / y. Integers truncate toward zero; an integer divided by zero gives 0.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .traits = BINARY,
    .infer = veer_infer_broadcast,
    .grad = div_grad,
    .tol_f32 = VEER_TOL_ULPS(2), /* a product with a rounded reciprocal is allowed */
};

static veer_status_t pow_infer(veer_infer_t *c) {
    c->out[0].dtype = c->in[0].dtype;
    if (veer_type_broadcast(&c->in[0], &c->in[1], &c->out[0])) return veer_ok();
    char x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_UNSUPPORTED, "base %s and exponent %s do not broadcast", veer_type_text(&c->in[0], x),
                      veer_type_text(&c->in[1], y));
}

/* d * y x^(y-1), which is 0 where y = 0 even at x = 0: there the exponent is taken as 1. Infinities are kept out of the
 * branch that is not chosen, too: differentiated again it would be 0 times infinity. */
static veer_value_t pow_d_base(veer_builder_t *b, veer_value_t d, veer_value_t x, veer_value_t y, veer_dtype_t dtype) {
    veer_value_t zero = veer_const_scalar(b, dtype, 0), one = veer_const_scalar(b, dtype, 1);
    veer_value_t tiny = veer_less_equal(b, veer_abs(b, x), veer_const_scalar(b, dtype, 1e-37)); /* 1/x overflows */
    veer_value_t safe = veer_where(b, veer_and(b, tiny, veer_equal(b, y, zero)), one, y);
    return veer_mul(b, d, veer_mul(b, y, veer_pow(b, x, veer_add_c(b, safe, -1))));
}

/* d * z ln x, which is 0 where x = 0 (and y >= 0, else z is infinite anyway) */
static veer_value_t pow_d_exponent(veer_builder_t *b, veer_value_t d, veer_value_t x, veer_value_t y, veer_value_t z,
                                   veer_dtype_t dtype) {
    veer_value_t zero = veer_const_scalar(b, dtype, 0), one = veer_const_scalar(b, dtype, 1);
    veer_value_t flat = veer_and(b, veer_equal(b, x, zero), veer_less_equal(b, zero, y));
    return veer_mul(b, d, veer_mul(b, z, veer_log(b, veer_where(b, flat, one, x))));
}

/* The exponent where it is one number known now, as in most models. */
static bool constant_exponent(const veer_grad_t *g, double *out_exponent) {
    const void *data = veer_value_const_data(g->graph, g->in[1]);
    veer_type_t type = veer_grad_in_type(g, 1);
    if (!data || veer_type_count(&type) != 1) return false;
    switch (type.dtype) {
    case VEER_DTYPE_F32: *out_exponent = *(const float *)data; return true;
    case VEER_DTYPE_F64: *out_exponent = *(const double *)data; return true;
    case VEER_DTYPE_I32: *out_exponent = *(const int32_t *)data; return true;
    case VEER_DTYPE_I64: *out_exponent = (double)*(const int64_t *)data; return true;
    default: return false;
    }
}

/* d * c x^(c-1), with nothing to decide while running */
static void pow_by_constant_grad(veer_builder_t *b, veer_grad_t *g, double c) {
    veer_value_t x = g->in[0], slope = x;
    if (c == 0) return; /* z = 1 everywhere */
    if (c != 1 && c != 2) slope = veer_pow(b, x, veer_const_scalar(b, veer_grad_in_type(g, 0).dtype, c - 1));
    give(b, g, 0, c == 1 ? g->d_out[0] : veer_mul(b, g->d_out[0], veer_mul_c(b, slope, c)));
}

static veer_status_t pow_grad(veer_builder_t *b, veer_grad_t *g) {
    /* z = x^y:  dz/dx = y x^(y-1), dz/dy = z ln x */
    double c;
    if (!g->need[1] && constant_exponent(g, &c)) {
        pow_by_constant_grad(b, g, c);
        return veer_builder_status(b);
    }
    veer_dtype_t dtype = veer_grad_in_type(g, 0).dtype, exponent_dtype = veer_grad_in_type(g, 1).dtype;
    veer_value_t y = veer_cast(b, g->in[1], dtype);
    if (g->need[0]) give(b, g, 0, pow_d_base(b, g->d_out[0], g->in[0], y, dtype));
    if (g->need[1]) {
        veer_value_t d_y = pow_d_exponent(b, g->d_out[0], g->in[0], y, g->out[0], dtype);
        give(b, g, 1, veer_cast(b, d_y, exponent_dtype));
    }
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_pow = {
    .name = "pow",
    .doc = "z = x^y, of x's element type; y may have another one. Integer bases with negative exponents truncate.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .traits = BINARY,
    .infer = pow_infer,
    .grad = pow_grad,
    .tol_f32 = {.abs = 1.2e-38, .rel = 1e-5}, /* 2^(y log2 x): the exponent, up to 128, is rounded to 2^-24 relative */
};

/* Gradient of max (want_less: min) to operand i: all where it wins, half where both are equal. */
static veer_value_t extremum_share(veer_builder_t *b, const veer_grad_t *g, int i, bool want_less) {
    veer_value_t x = g->in[i], y = g->in[1 - i], d = g->d_out[0];
    veer_value_t zero = veer_const_scalar(b, veer_grad_in_type(g, 0).dtype, 0);
    veer_value_t wins = want_less ? veer_less(b, x, y) : veer_less(b, y, x);
    return veer_where(b, wins, d, veer_where(b, veer_equal(b, x, y), veer_mul_c(b, d, 0.5), zero));
}

static veer_status_t min_grad(veer_builder_t *b, veer_grad_t *g) {
    /* 1 to the smaller operand, 1/2 to each of two equal ones */
    for (int i = 0; i < 2; i++)
        if (g->need[i]) give(b, g, i, extremum_share(b, g, i, true));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_min = {
    .name = "min",
    .doc = "z = the smaller of x and y; NaN where either is NaN. Equal operands share the gradient.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = veer_infer_broadcast,
    .grad = min_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t max_grad(veer_builder_t *b, veer_grad_t *g) {
    /* 1 to the larger operand, 1/2 to each of two equal ones */
    for (int i = 0; i < 2; i++)
        if (g->need[i]) give(b, g, i, extremum_share(b, g, i, false));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_max = {
    .name = "max",
    .doc = "z = the larger of x and y; NaN where either is NaN. Equal operands share the gradient.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = veer_infer_broadcast,
    .grad = max_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t mod_infer(veer_infer_t *c) {
    if (veer_dtype_is_float(c->in[0].dtype) && !veer_infer_int(c, "fmod"))
        return veer_error(VEER_ERR_UNSUPPORTED, "operands are %s, for which fmod must be 1",
                          veer_dtype_name(c->in[0].dtype));
    return veer_infer_broadcast(c);
}
static veer_status_t mod_grad(veer_builder_t *b, veer_grad_t *g) {
    /* z = x - q y with a whole q:  dz/dx = 1, dz/dy = -q, q = round((x - z) / y), which undoes the division's rounding
     */
    if (g->need[0]) give(b, g, 0, g->d_out[0]);
    if (g->need[1]) {
        veer_value_t q = veer_round(b, veer_div(b, veer_sub(b, g->in[0], g->out[0]), g->in[1]));
        give(b, g, 1, veer_neg(b, veer_mul(b, g->d_out[0], q)));
    }
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_mod = {
    .name = "mod",
    .doc =
        "z = the remainder of x / y: with the sign of y for fmod = 0 (integers only), with the sign of x for fmod = 1. "
        "An integer modulo zero gives 0.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_NUMERIC}},
    .attrs = {{"fmod", VEER_ATTR_INT, .default_int = 0, .doc = "1: the sign of x, as C's fmod"}},
    .traits = BINARY,
    .infer = mod_infer,
    .grad = mod_grad,
    .tol_f32 = VEER_TOL_ULPS(1),
};

/* ---- comparisons and logic ---- */
static veer_status_t compare_infer(veer_infer_t *c) {
    VEER_TRY(veer_infer_broadcast(c));
    c->out[0].dtype = VEER_DTYPE_BOOL;
    return veer_ok();
}
const veer_op_def_t veer_op_equal = {
    .name = "equal",
    .doc = "z = true where x = y; never for NaN.",
    .in = {{"x", VEER_ANY}, {"y", VEER_ANY}},
    .out = {{"z", VEER_BOOLEAN}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = compare_infer,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_less = {
    .name = "less",
    .doc = "z = true where x < y; never for NaN.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_BOOLEAN}},
    .traits = BINARY,
    .infer = compare_infer,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_less_equal = {
    .name = "less_equal",
    .doc = "z = true where x <= y; never for NaN.",
    .in = {{"x", VEER_NUMERIC}, {"y", VEER_NUMERIC}},
    .out = {{"z", VEER_BOOLEAN}},
    .traits = BINARY,
    .infer = compare_infer,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_and = {
    .name = "and",
    .doc = "z = true where both x and y are; of integers bit by bit.",
    .in = {{"x", VEER_BITS}, {"y", VEER_BITS}},
    .out = {{"z", VEER_BITS}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = veer_infer_broadcast,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_or = {
    .name = "or",
    .doc = "z = true where x or y is; of integers bit by bit.",
    .in = {{"x", VEER_BITS}, {"y", VEER_BITS}},
    .out = {{"z", VEER_BITS}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = veer_infer_broadcast,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_xor = {
    .name = "xor",
    .doc = "z = true where exactly one of x and y is; of integers bit by bit.",
    .in = {{"x", VEER_BITS}, {"y", VEER_BITS}},
    .out = {{"z", VEER_BITS}},
    .traits = BINARY | VEER_COMMUTATIVE,
    .infer = veer_infer_broadcast,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- where ---- */
static veer_status_t where_infer(veer_infer_t *c) {
    if (c->in[1].dtype != c->in[2].dtype)
        return veer_error(VEER_ERR_UNSUPPORTED, "x is %s and y is %s, expected the same element type",
                          veer_dtype_name(c->in[1].dtype), veer_dtype_name(c->in[2].dtype));
    veer_type_t xy = {.dtype = c->in[1].dtype};
    c->out[0].dtype = c->in[1].dtype;
    if (veer_type_broadcast(&c->in[1], &c->in[2], &xy) && veer_type_broadcast(&c->in[0], &xy, &c->out[0]))
        return veer_ok();
    char condition[VEER_TYPE_TEXT_BYTES], x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_UNSUPPORTED, "condition %s, x %s and y %s do not broadcast",
                      veer_type_text(&c->in[0], condition), veer_type_text(&c->in[1], x), veer_type_text(&c->in[2], y));
}
static veer_status_t where_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dz/dx = 1 where the condition holds, dz/dy = 1 elsewhere */
    veer_value_t zero = veer_const_scalar(b, veer_grad_in_type(g, 1).dtype, 0);
    if (g->need[1]) give(b, g, 1, veer_where(b, g->in[0], g->d_out[0], zero));
    if (g->need[2]) give(b, g, 2, veer_where(b, g->in[0], zero, g->d_out[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_where = {
    .name = "where",
    .doc = "z = x where the condition is true, else y.",
    .in = {{"condition", VEER_BOOLEAN}, {"x", VEER_ANY}, {"y", VEER_ANY}},
    .out = {{"z", VEER_ANY}},
    .traits = BINARY,
    .infer = where_infer,
    .grad = where_grad,
    .tol_f32 = VEER_TOL_EXACT,
};
