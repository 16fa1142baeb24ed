/* Elementwise ops of one operand. In the gradients d is dL/dy and the rule gives dL/dx = d * dy/dx. */
#include "ir/ops/common.h"

#include <math.h>
#include <string.h>

#define UNARY VEER_PURE | VEER_ELEMENTWISE

/* ---- arithmetic ---- */
static veer_status_t neg_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = -1 */
    g->d_in[0] = veer_neg(b, g->d_out[0]);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_neg = {
    .name = "neg",
    .doc = "y = -x; integers wrap around.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = neg_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t abs_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = sign(x), 0 at the kink */
    g->d_in[0] = veer_mul(b, g->d_out[0], veer_sign(b, g->in[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_abs = {
    .name = "abs",
    .doc = "y = |x|. The derivative at 0 is taken as 0.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = abs_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_sign = {
    .name = "sign",
    .doc = "y = -1, 0 or 1 as x is negative, zero or positive; NaN stays NaN.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t exp_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = y */
    g->d_in[0] = veer_mul(b, g->d_out[0], g->out[0]);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_exp = {
    .name = "exp",
    .doc = "y = e^x.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = exp_grad,
    .tol_f32 = VEER_TOL_ULPS(3), /* 2 ulp of the implementation, half a ulp of the reference's rounding */
};

static veer_status_t log_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = 1 / x */
    g->d_in[0] = veer_div(b, g->d_out[0], g->in[0]);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_log = {
    .name = "log",
    .doc = "y = ln x; -inf at 0, NaN below.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = log_grad,
    .tol_f32 = {.abs = VEER_ULP_F32, .rel = 3 * VEER_ULP_F32}, /* absolute next to x = 1, where y vanishes */
};

static veer_status_t sqrt_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = 1 / (2 y) */
    g->d_in[0] = veer_div(b, veer_mul_c(b, g->d_out[0], 0.5), g->out[0]);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_sqrt = {
    .name = "sqrt",
    .doc = "y = square root of x; NaN below 0.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = sqrt_grad,
    .tol_f32 = VEER_TOL_ULPS(1),
};

static veer_status_t rsqrt_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = -y^3 / 2 */
    veer_value_t y = g->out[0], cube = veer_mul(b, veer_mul(b, y, y), y);
    g->d_in[0] = veer_mul(b, g->d_out[0], veer_mul_c(b, cube, -0.5));
    return veer_builder_status(b);
}
static veer_status_t rsqrt_expand(veer_builder_t *b, veer_expand_t *e) {
    e->out[0] = veer_reciprocal(b, veer_sqrt(b, e->in[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_rsqrt = {
    .name = "rsqrt",
    .doc = "y = 1 / sqrt(x).",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY | VEER_COMPOSITE,
    .infer = veer_infer_same,
    .grad = rsqrt_grad,
    .expand = rsqrt_expand,
    .tol_f32 = VEER_TOL_ULPS(3), /* a rounded root, then a rounded quotient */
};

static veer_status_t reciprocal_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = -y^2 */
    veer_value_t y = g->out[0];
    g->d_in[0] = veer_neg(b, veer_mul(b, g->d_out[0], veer_mul(b, y, y)));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_reciprocal = {
    .name = "reciprocal",
    .doc = "y = 1 / x.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = reciprocal_grad,
    .tol_f32 = VEER_TOL_ULPS(2),
};

/* ---- trigonometric ---- */
static veer_status_t sin_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = cos x */
    g->d_in[0] = veer_mul(b, g->d_out[0], veer_cos(b, g->in[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_sin = {
    .name = "sin",
    .doc = "y = sin x, x in radians.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = sin_grad,
    .tol_f32 = {.abs = VEER_ULP_F32, .rel = 3 * VEER_ULP_F32}, /* absolute next to the zeros, after range reduction */
};

static veer_status_t cos_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = -sin x */
    g->d_in[0] = veer_neg(b, veer_mul(b, g->d_out[0], veer_sin(b, g->in[0])));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_cos = {
    .name = "cos",
    .doc = "y = cos x, x in radians.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = cos_grad,
    .tol_f32 = {.abs = VEER_ULP_F32, .rel = 3 * VEER_ULP_F32},
};

/* ---- activations ---- */
static veer_status_t atan_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = 1 / (1 + x^2) */
    g->d_in[0] = veer_div(b, g->d_out[0], veer_add_c(b, veer_mul(b, g->in[0], g->in[0]), 1));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_atan = {
    .name = "atan",
    .doc = "y = the angle in [-pi/2, pi/2] whose tangent is x.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = atan_grad,
    .tol_f32 = VEER_TOL_ULPS(4),
};

static veer_status_t tanh_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = 1 - y^2 */
    veer_value_t y = g->out[0];
    g->d_in[0] = veer_mul(b, g->d_out[0], veer_rsub_c(b, veer_mul(b, y, y), 1));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_tanh = {
    .name = "tanh",
    .doc = "y = hyperbolic tangent of x.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = tanh_grad,
    .tol_f32 = {.abs = VEER_ULP_F32, .rel = 4 * VEER_ULP_F32},
};

static veer_status_t sigmoid_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = y (1 - y) */
    veer_value_t y = g->out[0];
    g->d_in[0] = veer_mul(b, g->d_out[0], veer_mul(b, y, veer_rsub_c(b, y, 1)));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_sigmoid = {
    .name = "sigmoid",
    .doc = "y = 1 / (1 + e^-x).",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = sigmoid_grad,
    .tol_f32 = VEER_TOL_ULPS(4), /* exp, sum, quotient */
};

static veer_status_t softplus_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = sigmoid(x) */
    g->d_in[0] = veer_mul(b, g->d_out[0], veer_sigmoid(b, g->in[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_softplus = {
    .name = "softplus",
    .doc = "y = ln(1 + e^x), computed as max(x, 0) + ln(1 + e^-|x|), which cannot overflow.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = softplus_grad,
    .tol_f32 = {.abs = VEER_ULP_F32, .rel = 4 * VEER_ULP_F32}, /* ln(1 + small) loses the small one's last bits */
};

static veer_status_t erf_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = 2 / sqrt(pi) * exp(-x^2) */
    veer_value_t x = g->in[0], bell = veer_exp(b, veer_neg(b, veer_mul(b, x, x)));
    g->d_in[0] = veer_mul(b, g->d_out[0], veer_mul_c(b, bell, M_2_SQRTPI));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_erf = {
    .name = "erf",
    .doc = "y = 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = erf_grad,
    .tol_f32 = {.abs = VEER_ULP_F32, .rel = 4 * VEER_ULP_F32},
};

static veer_status_t relu_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = 1 where x > 0, else 0 (also at the kink) */
    veer_value_t zero = veer_const_scalar(b, veer_grad_in_type(g, 0).dtype, 0);
    g->d_in[0] = veer_where(b, veer_less(b, zero, g->in[0]), g->d_out[0], zero);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_relu = {
    .name = "relu",
    .doc = "y = max(x, 0). The derivative at 0 is taken as 0.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = relu_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t silu_grad(veer_builder_t *b, veer_grad_t *g) {
    /* y = x s, s = sigmoid(x):  dy/dx = s (1 + x (1 - s)) */
    veer_value_t x = g->in[0], s = veer_sigmoid(b, x);
    veer_value_t slope = veer_mul(b, s, veer_add_c(b, veer_mul(b, x, veer_rsub_c(b, s, 1)), 1));
    g->d_in[0] = veer_mul(b, g->d_out[0], slope);
    return veer_builder_status(b);
}
static veer_status_t silu_expand(veer_builder_t *b, veer_expand_t *e) {
    e->out[0] = veer_mul(b, e->in[0], veer_sigmoid(b, e->in[0]));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_silu = {
    .name = "silu",
    .doc = "y = x * sigmoid(x).",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY | VEER_COMPOSITE,
    .infer = veer_infer_same,
    .grad = silu_grad,
    .expand = silu_expand,
    .tol_f32 = VEER_TOL_ULPS(5), /* sigmoid's and one product */
};

/* ---- gelu ---- */
#define GELU_CUBIC 0.044715

static veer_status_t gelu_infer(veer_infer_t *c) {
    const char *approximate = veer_infer_string(c, "approximate");
    if (strcmp(approximate, "none") && strcmp(approximate, "tanh"))
        return veer_error(VEER_ERR_UNSUPPORTED, "approximate is \"%s\", expected \"none\" or \"tanh\"", approximate);
    return veer_infer_same(c);
}

/* u(x) = sqrt(2/pi) (x + 0.044715 x^3) */
static veer_value_t gelu_tanh_argument(veer_builder_t *b, veer_value_t x, veer_value_t square) {
    veer_value_t cubic = veer_mul(b, x, veer_add_c(b, veer_mul_c(b, square, GELU_CUBIC), 1));
    return veer_mul_c(b, cubic, M_SQRT2 * M_2_SQRTPI / 2);
}

static veer_value_t gelu_tanh_slope(veer_builder_t *b, veer_value_t x) {
    /* t = tanh u:  dy/dx = (1 + t)/2 + x/2 (1 - t^2) u',  u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2) */
    veer_value_t square = veer_mul(b, x, x), t = veer_tanh(b, gelu_tanh_argument(b, x, square));
    veer_value_t du = veer_mul_c(b, veer_add_c(b, veer_mul_c(b, square, 3 * GELU_CUBIC), 1), M_SQRT2 * M_2_SQRTPI / 2);
    veer_value_t bend = veer_mul(b, veer_mul(b, x, veer_rsub_c(b, veer_mul(b, t, t), 1)), du);
    return veer_mul_c(b, veer_add(b, veer_add_c(b, t, 1), bend), 0.5);
}

/* Phi(x) = (1 + erf(x / sqrt 2)) / 2 */
static veer_value_t normal_cdf(veer_builder_t *b, veer_value_t x) {
    return veer_mul_c(b, veer_add_c(b, veer_erf(b, veer_mul_c(b, x, M_SQRT1_2)), 1), 0.5);
}

static veer_value_t gelu_erf_slope(veer_builder_t *b, veer_value_t x) {
    /* dy/dx = Phi(x) + x phi(x),  phi(x) = exp(-x^2 / 2) / sqrt(2 pi) */
    veer_value_t bell = veer_exp(b, veer_mul_c(b, veer_mul(b, x, x), -0.5));
    veer_value_t density = veer_mul_c(b, bell, M_2_SQRTPI * M_SQRT1_2 / 2);
    return veer_add(b, normal_cdf(b, x), veer_mul(b, x, density));
}

static veer_status_t gelu_grad(veer_builder_t *b, veer_grad_t *g) {
    bool by_tanh = !strcmp(veer_node_string(g->graph, g->node, "approximate"), "tanh");
    veer_value_t slope = by_tanh ? gelu_tanh_slope(b, g->in[0]) : gelu_erf_slope(b, g->in[0]);
    g->d_in[0] = veer_mul(b, g->d_out[0], slope);
    return veer_builder_status(b);
}

static veer_status_t gelu_expand(veer_builder_t *b, veer_expand_t *e) {
    veer_value_t x = e->in[0];
    if (!strcmp(veer_node_string(e->graph, e->node, "approximate"), "tanh")) {
        veer_value_t t = veer_tanh(b, gelu_tanh_argument(b, x, veer_mul(b, x, x)));
        e->out[0] = veer_mul(b, veer_mul_c(b, x, 0.5), veer_add_c(b, t, 1));
    } else {
        e->out[0] = veer_mul(b, x, normal_cdf(b, x));
    }
    return veer_builder_status(b);
}

const veer_op_def_t veer_op_gelu = {
    .name = "gelu",
    .doc = "y = x * Phi(x), Phi the normal distribution function: x/2 (1 + erf(x/sqrt 2)); with approximate \"tanh\" "
           "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .attrs = {{"approximate", VEER_ATTR_STRING, .default_string = "none", .doc = "\"none\" or \"tanh\""}},
    .traits = UNARY | VEER_COMPOSITE,
    .infer = gelu_infer,
    .grad = gelu_grad,
    .expand = gelu_expand,
    .tol_f32 = {.abs = 1e-6, .rel = 5 * VEER_ULP_F32}, /* 1 + erf cancels left of 0: |x|/2 ulps, |x| up to 6 matter */
};

/* ---- rounding and tests ---- */
const veer_op_def_t veer_op_floor = {
    .name = "floor",
    .doc = "y = the largest whole number not above x.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_ceil = {
    .name = "ceil",
    .doc = "y = the smallest whole number not below x.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t round_grad(veer_builder_t *b, veer_grad_t *g) {
    if (veer_node_int(g->graph, g->node, "straight_through")) g->d_in[0] = g->d_out[0];
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_round = {
    .name = "round",
    .doc = "y = the whole number nearest to x, halves to the even one. The derivative is zero; with straight_through "
           "that of "
           "y = x is taken for it.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_FLOAT_ONLY}},
    .attrs = {{"straight_through", VEER_ATTR_INT, .default_int = 0,
               .doc = "1: gradients pass as if nothing were rounded"}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = round_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_not = {
    .name = "not",
    .doc = "y = true where x is false; of integers every bit inverted.",
    .in = {{"x", VEER_BITS}},
    .out = {{"y", VEER_BITS}},
    .traits = UNARY,
    .infer = veer_infer_same,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t isnan_infer(veer_infer_t *c) {
    c->out[0] = c->in[0];
    c->out[0].dtype = VEER_DTYPE_BOOL;
    return veer_ok();
}
const veer_op_def_t veer_op_isnan = {
    .name = "isnan",
    .doc = "y = true where x is NaN.",
    .in = {{"x", VEER_FLOAT_ONLY}},
    .out = {{"y", VEER_BOOLEAN}},
    .traits = UNARY,
    .infer = isnan_infer,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- cast ---- */
static veer_status_t cast_infer(veer_infer_t *c) {
    int64_t to = veer_infer_int(c, "to");
    if (to <= VEER_DTYPE_NONE || to >= VEER_DTYPE_COUNT)
        return veer_error(VEER_ERR_UNSUPPORTED, "to is %lld, which is no element type", (long long)to);
    c->out[0] = c->in[0];
    c->out[0].dtype = (veer_dtype_t)to;
    return veer_ok();
}

static veer_status_t cast_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx = 1 between floating types; a whole number does not move with x */
    veer_dtype_t from = veer_grad_in_type(g, 0).dtype;
    if (!veer_dtype_is_float(from) || !veer_dtype_is_float(veer_value_type(g->graph, g->out[0])->dtype))
        return veer_ok();
    g->d_in[0] = veer_cast(b, g->d_out[0], from);
    return veer_builder_status(b);
}

const veer_op_def_t veer_op_cast = {
    .name = "cast",
    .doc = "y = x as another element type: floats round to nearest even, floats to integers truncate toward zero and "
           "saturate (NaN gives 0), integers keep their low bits, bool is x != 0. Float8 and int4 are for storage.",
    .in = {{"x", VEER_ANY}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"to", VEER_ATTR_INT, .required = true, .doc = "the element type of y"},
              {"saturate", VEER_ATTR_INT, .default_int = 1, .doc = "0: what float8 cannot hold is infinite or NaN"}},
    .traits = UNARY,
    .infer = cast_infer,
    .grad = cast_grad,
    .tol_f32 = VEER_TOL_ULPS(1),
};
