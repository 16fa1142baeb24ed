/* Normalisations. */
#include "frontend/onnx/node.h"

#include <string.h>

/* Mean and 1 / standard deviation, where a model asks for them as outputs. */
static void norm_statistics(veer_onnx_node_t *n, int axis, int rank, double eps) {
    int64_t axes[VEER_MAX_RANK];
    int count = 0;
    for (int i = axis; i < rank; i++) axes[count++] = i;
    veer_value_t x = veer_cast(n->b, n->in[0], VEER_DTYPE_F32);
    veer_value_t mean = veer_reduce(n->b, VEER_OP_REDUCE_MEAN, x, axes, count, true);
    veer_value_t d = veer_sub(n->b, x, mean);
    veer_value_t variance = veer_reduce(n->b, VEER_OP_REDUCE_MEAN, veer_mul(n->b, d, d), axes, count, true);
    if (veer_onnx_wants(n, 1)) n->out[1] = mean;
    if (veer_onnx_wants(n, 2)) n->out[2] = veer_rsqrt(n->b, veer_add_c(n->b, variance, eps));
}

void veer_onnx_layer_norm(veer_onnx_node_t *n) {
    int rank = veer_onnx_in_type(n, 0).rank, axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", -1), rank);
    double eps = veer_onnx_attr_float(n, "epsilon", 1e-5);
    veer_value_t bias = veer_onnx_has_in(n, 2) ? n->in[2] : VEER_NO_VALUE;
    n->out[0] = veer_build(n->b, VEER_OP_LAYER_NORM, VEER_IN(n->in[0], n->in[1], bias),
                           VEER_ATTRS(VEER_INT("axis", axis), VEER_FLOAT("eps", eps)));
    if (veer_onnx_wants(n, 1) || veer_onnx_wants(n, 2)) norm_statistics(n, axis, rank, eps);
}

void veer_onnx_rms_norm(veer_onnx_node_t *n) {
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", -1), veer_onnx_in_type(n, 0).rank);
    double eps = veer_onnx_attr_float(n, "epsilon", 1e-5);
    n->out[0] = veer_build(n->b, VEER_OP_RMS_NORM, VEER_IN(n->in[0], n->in[1]),
                           VEER_ATTRS(VEER_INT("axis", axis), VEER_FLOAT("eps", eps)));
}

static veer_value_t group_norm(veer_onnx_node_t *n, veer_value_t scale, veer_value_t bias, int64_t groups) {
    double eps = veer_onnx_attr_float(n, "epsilon", 1e-5);
    return veer_build(n->b, VEER_OP_GROUP_NORM, VEER_IN(n->in[0], scale, bias),
                      VEER_ATTRS(VEER_INT("groups", groups), VEER_FLOAT("eps", eps)));
}

/* [groups] -> [C], each entry for all channels of its group. */
static veer_value_t per_channel(veer_onnx_node_t *n, veer_value_t v, int64_t groups, int64_t channels) {
    v = veer_broadcast_to(n->b, veer_reshape(n->b, v, VEER_DIMS(groups, 1)), VEER_DIMS(groups, channels / groups));
    return veer_reshape(n->b, v, 1, &channels);
}

/* Operator set 18 has one scale and bias per group, 21 one per channel. */
void veer_onnx_group_norm(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t groups = veer_onnx_attr_int(n, "num_groups", 0), channels = x.rank > 1 ? x.dims[1] : 0;
    if (groups < 1 || channels % groups || x.rank < 2) {
        veer_onnx_fail(n, VEER_ERR_FILE, "num_groups %lld does not divide %lld channels", (long long)groups,
                       (long long)channels);
        return;
    }
    veer_value_t scale = n->in[1], bias = n->in[2];
    if (n->opset < 21) {
        scale = per_channel(n, scale, groups, channels);
        bias = per_channel(n, bias, groups, channels);
    }
    n->out[0] = group_norm(n, scale, bias, groups);
}

void veer_onnx_instance_norm(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    if (x.rank < 3)
        veer_onnx_fail(n, VEER_ERR_FILE, "input has %d dims, expected 3 or more", x.rank);
    else
        n->out[0] = group_norm(n, n->in[1], n->in[2], x.dims[1]);
}

/* From operator set 14, training: mean and variance of the batch, and running ones mixed from both. */
static void batch_norm_training(veer_onnx_node_t *n, double eps) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    double momentum = veer_onnx_attr_float(n, "momentum", 0.9);
    int64_t axes[VEER_MAX_RANK];
    int count = 0;
    for (int i = 0; i < x.rank; i++)
        if (i != 1) axes[count++] = i;
    veer_value_t mean = veer_reduce(n->b, VEER_OP_REDUCE_MEAN, n->in[0], axes, count, true);
    veer_value_t d = veer_sub(n->b, n->in[0], mean);
    veer_value_t variance = veer_reduce(n->b, VEER_OP_REDUCE_MEAN, veer_mul(n->b, d, d), axes, count, true);
    veer_value_t y = veer_mul(n->b, d, veer_rsqrt(n->b, veer_add_c(n->b, variance, eps)));
    y = veer_mul(n->b, y, veer_onnx_along(n, n->in[1], 1, x.rank));
    n->out[0] = veer_add(n->b, y, veer_onnx_along(n, n->in[2], 1, x.rank));
    for (int i = 1; i < 3 && i < n->out_count && veer_onnx_ok(n); i++) {
        veer_value_t running = n->in[2 + i], now = i == 1 ? mean : variance;
        veer_type_t type = veer_onnx_type(n, running);
        now = veer_mul_c(n->b, veer_cast(n->b, veer_reshape_like(n->b, now, &type), type.dtype), 1 - momentum);
        n->out[i] = veer_add(n->b, veer_mul_c(n->b, running, momentum), now);
    }
}

/* Inference: x * s + (bias - mean * s), s = scale / sqrt(var + eps); two small vectors that are folded. */
void veer_onnx_batch_norm(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    double eps = veer_onnx_attr_float(n, "epsilon", 1e-5);
    bool training = veer_onnx_attr_int(n, "training_mode", 0) || (n->opset < 7 && !veer_onnx_attr_int(n, "is_test", 0));
    if (training && n->opset >= 14 && x.rank >= 2) {
        batch_norm_training(n, eps);
        return;
    }
    for (int i = 1; i < n->out_count; i++) training |= veer_onnx_wants(n, i);
    if (training || (n->opset < 9 && !veer_onnx_attr_int(n, "spatial", 1))) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "training mode before operator set 14 and spatial=0 are not supported");
        return;
    }
    int64_t dims[VEER_MAX_RANK] = {x.rank > 1 ? x.dims[1] : 1};
    for (int i = 1; i < x.rank; i++) dims[i] = 1;
    veer_value_t s = veer_mul(n->b, n->in[1], veer_rsqrt(n->b, veer_add_c(n->b, n->in[4], eps)));
    veer_value_t shift = veer_sub(n->b, n->in[2], veer_mul(n->b, n->in[3], s));
    int rank = x.rank > 1 ? x.rank - 1 : 1;
    s = veer_reshape(n->b, s, rank, dims);
    n->out[0] = veer_add(n->b, veer_mul(n->b, n->in[0], s), veer_reshape(n->b, shift, rank, dims));
}

/* x / ||x||_p along one axis; a row of zeros stays zero. */
void veer_onnx_lp_norm(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", -1), x.rank), p = veer_onnx_attr_int(n, "p", 2);
    if (p != 1 && p != 2) veer_onnx_fail(n, VEER_ERR_FILE, "p is %lld, expected 1 or 2", (long long)p);
    if (!veer_onnx_ok(n)) return;
    veer_value_t power = p == 1 ? veer_abs(n->b, n->in[0]) : veer_mul(n->b, n->in[0], n->in[0]);
    veer_value_t norm = veer_reduce(n->b, VEER_OP_REDUCE_SUM, power, &axis, 1, true);
    if (p == 2) norm = veer_sqrt(n->b, norm);
    veer_value_t zero = veer_const_scalar(n->b, x.dtype, 0), one = veer_const_scalar(n->b, x.dtype, 1);
    norm = veer_where(n->b, veer_equal(n->b, norm, zero), one, norm);
    n->out[0] = veer_div(n->b, n->in[0], norm);
}

/* (x - mean) / (sqrt(var) + 1e-9) over `axes`. */
void veer_onnx_mean_variance_norm(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t axes[VEER_MAX_RANK] = {0};
    int count;
    const int64_t *given = veer_onnx_attr_ints(n, "axes", &count);
    count = veer_onnx_axes(n, given ? given : (int64_t[]){0, 2, 3}, given ? count : 3, x.rank, axes);
    veer_value_t d = veer_sub(n->b, n->in[0], veer_reduce(n->b, VEER_OP_REDUCE_MEAN, n->in[0], axes, count, true));
    veer_value_t variance = veer_reduce(n->b, VEER_OP_REDUCE_MEAN, veer_mul(n->b, d, d), axes, count, true);
    n->out[0] = veer_div(n->b, d, veer_add_c(n->b, veer_sqrt(n->b, variance), 1e-9));
}

/* x / (bias + alpha / size * (sum of squares over `size` channels around))^beta */
void veer_onnx_lrn(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t size = veer_onnx_attr_int(n, "size", 0), before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0};
    double alpha = veer_onnx_attr_float(n, "alpha", 1e-4), beta = veer_onnx_attr_float(n, "beta", 0.75);
    double bias = veer_onnx_attr_float(n, "bias", 1);
    if (x.rank < 2 || size < 1 || size > 1024) {
        veer_onnx_fail(n, VEER_ERR_FILE, "size %lld with input of rank %d", (long long)size, x.rank);
        return;
    }
    before[1] = (size - 1) / 2;
    after[1] = size - 1 - before[1];
    veer_value_t squares = veer_pad_zero(n->b, veer_mul(n->b, n->in[0], n->in[0]), before, after), sum = VEER_NO_VALUE;
    for (int64_t i = 0; i < size; i++) {
        veer_value_t part = veer_slice_axis(n->b, squares, 1, i, x.dims[1], 1);
        sum = i ? veer_add(n->b, sum, part) : part;
    }
    veer_value_t base = veer_add_c(n->b, veer_mul_c(n->b, sum, alpha / (double)size), bias);
    if (veer_onnx_ok(n))
        n->out[0] = veer_div(n->b, n->in[0], veer_pow(n->b, base, veer_const_scalar(n->b, x.dtype, beta)));
}
