/* Functions of one variable that are formulas over the IR's own. Formulas are chosen to be accurate, and where
 * gradients are taken through them: finite, on both sides of every branch. */
#include "frontend/onnx/node.h"

static veer_value_t scalar_like(veer_onnx_node_t *n, double value) {
    veer_dtype_t dtype = veer_onnx_in_type(n, 0).dtype;
    return dtype ? veer_const_scalar(n->b, dtype, value) : VEER_NO_VALUE;
}

/* x < threshold ? below : above */
static veer_value_t below(veer_onnx_node_t *n, double threshold, veer_value_t low, veer_value_t high) {
    return veer_where(n->b, veer_less(n->b, n->in[0], scalar_like(n, threshold)), low, high);
}

void veer_onnx_tan(veer_onnx_node_t *n) {
    n->out[0] = veer_div(n->b, veer_sin(n->b, n->in[0]), veer_cos(n->b, n->in[0]));
}

/* sqrt((1 - x) (1 + x)): the other side of the triangle */
void veer_onnx_asin(veer_onnx_node_t *n) {
    veer_value_t x = n->in[0];
    veer_value_t square = veer_mul(n->b, veer_rsub_c(n->b, x, 1), veer_add_c(n->b, x, 1));
    n->out[0] = veer_atan(n->b, veer_div(n->b, x, veer_sqrt(n->b, square)));
}

/* 2 atan(sqrt((1 - x) / (1 + x))): no cancellation near 1, unlike pi / 2 - asin x. */
void veer_onnx_acos(veer_onnx_node_t *n) {
    veer_value_t x = n->in[0];
    veer_value_t ratio = veer_div(n->b, veer_rsub_c(n->b, x, 1), veer_add_c(n->b, x, 1));
    n->out[0] = veer_mul_c(n->b, veer_atan(n->b, veer_sqrt(n->b, ratio)), 2);
}

static veer_value_t cosh_of(veer_onnx_node_t *n) {
    veer_value_t e = veer_exp(n->b, n->in[0]);
    return veer_mul_c(n->b, veer_add(n->b, e, veer_exp(n->b, veer_neg(n->b, n->in[0]))), 0.5);
}

void veer_onnx_cosh(veer_onnx_node_t *n) {
    n->out[0] = cosh_of(n);
}

/* tanh * cosh: no cancellation near 0, unlike (e^x - e^-x) / 2. */
void veer_onnx_sinh(veer_onnx_node_t *n) {
    n->out[0] = veer_mul(n->b, veer_tanh(n->b, n->in[0]), cosh_of(n));
}

/* sign(x) log(|x| + sqrt(x^2 + 1)) */
void veer_onnx_asinh(veer_onnx_node_t *n) {
    veer_value_t a = veer_abs(n->b, n->in[0]), root = veer_sqrt(n->b, veer_add_c(n->b, veer_mul(n->b, a, a), 1));
    n->out[0] = veer_mul(n->b, veer_sign(n->b, n->in[0]), veer_log(n->b, veer_add(n->b, a, root)));
}

/* log(x + sqrt((x - 1) (x + 1))) */
void veer_onnx_acosh(veer_onnx_node_t *n) {
    veer_value_t x = n->in[0];
    veer_value_t square = veer_mul(n->b, veer_add_c(n->b, x, -1), veer_add_c(n->b, x, 1));
    n->out[0] = veer_log(n->b, veer_add(n->b, x, veer_sqrt(n->b, square)));
}

/* log((1 + x) / (1 - x)) / 2 */
void veer_onnx_atanh(veer_onnx_node_t *n) {
    veer_value_t x = n->in[0];
    veer_value_t ratio = veer_div(n->b, veer_add_c(n->b, x, 1), veer_rsub_c(n->b, x, 1));
    n->out[0] = veer_mul_c(n->b, veer_log(n->b, ratio), 0.5);
}

/* min(max(alpha x + beta, 0), 1) */
static veer_value_t hard_sigmoid(veer_onnx_node_t *n, double alpha, double beta) {
    veer_value_t line = veer_add_c(n->b, veer_mul_c(n->b, n->in[0], alpha), beta);
    return veer_min(n->b, veer_max(n->b, line, scalar_like(n, 0)), scalar_like(n, 1));
}

void veer_onnx_hard_sigmoid(veer_onnx_node_t *n) {
    n->out[0] = hard_sigmoid(n, veer_onnx_attr_float(n, "alpha", 0.2), veer_onnx_attr_float(n, "beta", 0.5));
}

void veer_onnx_hard_swish(veer_onnx_node_t *n) {
    n->out[0] = veer_mul(n->b, n->in[0], hard_sigmoid(n, 1.0 / 6, 0.5));
}

void veer_onnx_leaky_relu(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 0.01);
    n->out[0] = below(n, 0, veer_mul_c(n->b, n->in[0], alpha), n->in[0]);
}

/* x > alpha ? x : 0 */
void veer_onnx_thresholded_relu(veer_onnx_node_t *n) {
    veer_value_t alpha = scalar_like(n, veer_onnx_attr_float(n, "alpha", 1));
    n->out[0] = veer_where(n->b, veer_less(n->b, alpha, n->in[0]), n->in[0], scalar_like(n, 0));
}

/* The slope is broadcast to x; before operator set 7 a slope [C] stood for the channels. */
void veer_onnx_prelu(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), slope = veer_onnx_in_type(n, 1);
    veer_value_t s = n->in[1];
    if (n->opset < 7 && slope.rank == 1 && x.rank > 2) {
        int64_t dims[VEER_MAX_RANK] = {slope.dims[0], 1, 1, 1, 1, 1, 1, 1, 1};
        s = veer_reshape(n->b, s, x.rank - 1, dims);
    }
    n->out[0] = below(n, 0, veer_mul(n->b, s, n->in[0]), n->in[0]);
}

/* e^x - 1 for negative x; the minimum keeps the branch that is not taken from overflowing. */
static veer_value_t exp_minus_1(veer_onnx_node_t *n, double scale) {
    veer_value_t x = veer_min(n->b, n->in[0], scalar_like(n, 0));
    return veer_add_c(n->b, veer_exp(n->b, veer_mul_c(n->b, x, scale)), -1);
}

void veer_onnx_elu(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 1);
    n->out[0] = below(n, 0, veer_mul_c(n->b, exp_minus_1(n, 1), alpha), n->in[0]);
}

void veer_onnx_selu(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 1.67326319217681884765625);
    double gamma = veer_onnx_attr_float(n, "gamma", 1.05070102214813232421875);
    n->out[0] = below(n, 0, veer_mul_c(n->b, exp_minus_1(n, 1), alpha * gamma), veer_mul_c(n->b, n->in[0], gamma));
}

/* max(0, x) + min(0, alpha (e^(x / alpha) - 1)) */
void veer_onnx_celu(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 1);
    if (alpha == 0) {
        veer_onnx_fail(n, VEER_ERR_FILE, "alpha is 0");
        return;
    }
    n->out[0] = below(n, 0, veer_mul_c(n->b, exp_minus_1(n, 1 / alpha), alpha), n->in[0]);
}

/* x < -lambd ? x + bias : x > lambd ? x - bias : 0 */
void veer_onnx_shrink(veer_onnx_node_t *n) {
    double bias = veer_onnx_attr_float(n, "bias", 0), lambda = veer_onnx_attr_float(n, "lambd", 0.5);
    veer_value_t above = veer_less(n->b, scalar_like(n, lambda), n->in[0]);
    veer_value_t high = veer_where(n->b, above, veer_add_c(n->b, n->in[0], -bias), scalar_like(n, 0));
    n->out[0] = below(n, -lambda, veer_add_c(n->b, n->in[0], bias), high);
}

/* x / (1 + |x|) */
void veer_onnx_softsign(veer_onnx_node_t *n) {
    n->out[0] = veer_div(n->b, n->in[0], veer_add_c(n->b, veer_abs(n->b, n->in[0]), 1));
}

/* x tanh(softplus(x)) */
void veer_onnx_mish(veer_onnx_node_t *n) {
    n->out[0] = veer_mul(n->b, n->in[0], veer_tanh(n->b, veer_softplus(n->b, n->in[0])));
}

void veer_onnx_gelu(veer_onnx_node_t *n) {
    const char *approximate = veer_onnx_attr_string(n, "approximate", "none");
    n->out[0] = veer_gelu(n->b, n->in[0], approximate[0] == 't');
}

/* x sigmoid(alpha x) */
void veer_onnx_swish(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 1);
    veer_value_t gate = alpha == 1 ? n->in[0] : veer_mul_c(n->b, n->in[0], alpha);
    n->out[0] = alpha == 1 ? veer_silu(n->b, gate) : veer_mul(n->b, n->in[0], veer_sigmoid(n->b, gate));
}
