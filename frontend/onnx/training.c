/* Optimisers of ai.onnx.preview.training. Inputs: the learning rate R, the number of updates T, then all tensors to
 * optimise, all gradients, all first states (and for Adam all second ones); outputs: new tensors, new states. */
#include "frontend/onnx/node.h"

#include <string.h>

enum { FIRST = 2 };

/* Tensors per group; 0 after a failure. `groups` of the inputs, groups - 1 of the outputs. */
static int tensors(veer_onnx_node_t *n, int groups) {
    int count = (n->in_count - FIRST) / groups;
    bool whole = count > 0 && n->in_count == FIRST + count * groups && n->out_count <= count * (groups - 1);
    for (int i = 0; i < n->in_count; i++) whole &= n->in[i].i != 0;
    veer_type_t rate = veer_onnx_in_type(n, 0), updates = veer_onnx_in_type(n, 1);
    whole &= veer_type_count(&rate) == 1 && veer_type_count(&updates) == 1;
    if (whole) return count;
    veer_onnx_fail(n, VEER_ERR_FILE, "%d inputs and %d outputs, expected R, T and %d for each tensor", n->in_count,
                   n->out_count, groups);
    return 0;
}

static veer_value_t scalar(veer_onnx_node_t *n, int i, veer_dtype_t dtype) {
    return veer_cast(n->b, veer_reshape(n->b, n->in[i], 0, NULL), dtype);
}

static veer_value_t number(veer_onnx_node_t *n, veer_dtype_t dtype, double value) {
    return dtype ? veer_const_scalar(n->b, dtype, value) : VEER_NO_VALUE;
}

/* T > 0 ? later : first */
static veer_value_t unless_first(veer_onnx_node_t *n, veer_dtype_t dtype, veer_value_t later, veer_value_t first) {
    return veer_where(n->b, veer_less(n->b, number(n, dtype, 0), scalar(n, 1, dtype)), later, first);
}

/* G + norm_coefficient X */
static veer_value_t regularised(veer_onnx_node_t *n, int i, int count) {
    double norm = veer_onnx_attr_float(n, "norm_coefficient", 0);
    return veer_add(n->b, n->in[FIRST + count + i], veer_mul_c(n->b, n->in[FIRST + i], norm));
}

static veer_value_t mix(veer_onnx_node_t *n, veer_value_t old, veer_value_t now, double keep) {
    return veer_add(n->b, veer_mul_c(n->b, old, keep), veer_mul_c(n->b, now, 1 - keep));
}

/* V' = a V + (1-a) g,  H' = b H + (1-b) g^2,  X' = (X - R_T V' / (sqrt(H') + eps)) (1 - norm_coefficient_post),
 * R_T = R sqrt(1 - b^T) / (1 - a^T), R before the first update */
void veer_onnx_adam(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 0.9), beta = veer_onnx_attr_float(n, "beta", 0.999);
    double eps = veer_onnx_attr_float(n, "epsilon", 1e-6), post = veer_onnx_attr_float(n, "norm_coefficient_post", 0);
    int count = tensors(n, n->op->param);
    for (int i = 0; i < count && veer_onnx_ok(n); i++) {
        veer_dtype_t dtype = veer_onnx_in_type(n, FIRST + i).dtype;
        veer_value_t g = regularised(n, i, count), rate = scalar(n, 0, dtype), t = scalar(n, 1, dtype);
        veer_value_t v = mix(n, n->in[FIRST + 2 * count + i], g, alpha);
        veer_value_t h = mix(n, n->in[FIRST + 3 * count + i], veer_mul(n->b, g, g), beta);
        veer_value_t up = veer_sqrt(n->b, veer_rsub_c(n->b, veer_pow(n->b, number(n, dtype, beta), t), 1));
        veer_value_t down = veer_rsub_c(n->b, veer_pow(n->b, number(n, dtype, alpha), t), 1);
        rate = unless_first(n, dtype, veer_div(n->b, veer_mul(n->b, rate, up), down), rate);
        veer_value_t step = veer_div(n->b, veer_mul(n->b, rate, v), veer_add_c(n->b, veer_sqrt(n->b, h), eps));
        n->out[i] = veer_mul_c(n->b, veer_sub(n->b, n->in[FIRST + i], step), 1 - post);
        if (count + i < n->out_count) n->out[count + i] = v;
        if (2 * count + i < n->out_count) n->out[2 * count + i] = h;
    }
}

/* H' = H + g^2,  X' = X - R / (1 + T decay_factor) g / (sqrt(H') + eps) */
void veer_onnx_adagrad(veer_onnx_node_t *n) {
    double decay = veer_onnx_attr_float(n, "decay_factor", 0), eps = veer_onnx_attr_float(n, "epsilon", 1e-6);
    int count = tensors(n, n->op->param);
    for (int i = 0; i < count && veer_onnx_ok(n); i++) {
        veer_dtype_t dtype = veer_onnx_in_type(n, FIRST + i).dtype;
        veer_value_t g = regularised(n, i, count);
        veer_value_t slower = veer_add_c(n->b, veer_mul_c(n->b, scalar(n, 1, dtype), decay), 1);
        veer_value_t rate = veer_div(n->b, scalar(n, 0, dtype), slower);
        veer_value_t h = veer_add(n->b, n->in[FIRST + 2 * count + i], veer_mul(n->b, g, g));
        veer_value_t step = veer_div(n->b, veer_mul(n->b, rate, g), veer_add_c(n->b, veer_sqrt(n->b, h), eps));
        n->out[i] = veer_sub(n->b, n->in[FIRST + i], step);
        if (count + i < n->out_count) n->out[count + i] = h;
    }
}

/* V' = alpha V + beta g (beta 1 before the first update),  X' = X - R V', or with mode "nesterov"
 * X - R (g + alpha V') */
void veer_onnx_momentum(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 0), beta = veer_onnx_attr_float(n, "beta", 0);
    bool nesterov = !strcmp(veer_onnx_attr_string(n, "mode", "standard"), "nesterov");
    int count = tensors(n, n->op->param);
    for (int i = 0; i < count && veer_onnx_ok(n); i++) {
        veer_dtype_t dtype = veer_onnx_in_type(n, FIRST + i).dtype;
        veer_value_t g = regularised(n, i, count);
        veer_value_t by = unless_first(n, dtype, number(n, dtype, beta), number(n, dtype, 1));
        veer_value_t v = veer_mul_c(n->b, n->in[FIRST + 2 * count + i], alpha);
        v = veer_add(n->b, v, veer_mul(n->b, by, g));
        veer_value_t step = nesterov ? veer_add(n->b, g, veer_mul_c(n->b, v, alpha)) : v;
        n->out[i] = veer_sub(n->b, n->in[FIRST + i], veer_mul(n->b, scalar(n, 0, dtype), step));
        if (count + i < n->out_count) n->out[count + i] = v;
    }
}
