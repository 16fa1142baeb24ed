/* DeformConv: a convolution whose kernel positions are moved by `offset`, and weighted by `mask`.
 *
 *     y[n, m, p] = bias[m] + sum over c, k of w[m, c, k] mask[n, k, p] x(n, c, p * stride - pad + k * dilation +
 * offset[n, k, p])
 *
 * x(.) is linear between pixels and 0 outside. Columns of all positions are sampled, then multiplied: gradients go to
 * all of the five. */
#include "frontend/onnx/sample.h"
#include "frontend/onnx/window.h"

typedef struct {
    veer_onnx_node_t *n;
    veer_onnx_window_t w;
    veer_type_t x, weight;
    int64_t out[VEER_MAX_RANK]; /* spatial dims of y */
    int64_t groups, offset_groups, positions, kernels;
} deform_t;

/* The pixel of each kernel position and output position along spatial dim `dim`, without offsets: [1, 1, K * P] */
static veer_value_t regular(const deform_t *d, int dim) {
    int64_t count = d->kernels * d->positions, k_stride = 1, p_stride = 1;
    for (int i = dim + 1; i < d->w.rank; i++) k_stride *= d->w.kernel[i], p_stride *= d->out[i];
    double *at = veer_onnx_scratch(d->n, count, sizeof *at);
    if (!at) return VEER_NO_VALUE;
    for (int64_t i = 0; i < count; i++) {
        int64_t k = i / d->positions / k_stride % d->w.kernel[dim], p = i % d->positions / p_stride % d->out[dim];
        at[i] = (double)(p * d->w.strides[dim] - d->w.before[dim] + k * d->w.dilations[dim]);
    }
    return veer_onnx_const_doubles(d->n, VEER_TYPE(d->x.dtype, 1, 1, count), at);
}

/* Group g of x as columns: [N, C / offset_groups, K * P] */
static veer_value_t columns(const deform_t *d, int64_t g) {
    veer_builder_t *b = d->n->b;
    int64_t images = d->x.dims[0], count = d->kernels * d->positions, channels = d->x.dims[1] / d->offset_groups;
    int space = d->w.rank;
    veer_value_t at[VEER_ONNX_SAMPLE_SPATIAL];
    veer_value_t offset =
        veer_reshape(b, d->n->in[2], VEER_DIMS(images, d->offset_groups, d->kernels, space, d->positions));
    offset = veer_slice_axis(b, offset, 1, g, 1, 1);
    for (int i = 0; i < space; i++) {
        veer_value_t part = veer_slice_axis(b, offset, 3, i, 1, 1);
        at[i] = veer_add(b, veer_reshape(b, part, VEER_DIMS(images, 1, count)), regular(d, i));
    }
    veer_value_t x = veer_slice_axis(b, d->n->in[0], 1, g * channels, channels, 1);
    veer_value_t y = veer_onnx_sample_linear(d->n, x, at);
    if (!veer_onnx_has_in(d->n, 4)) return y;
    veer_value_t mask = veer_reshape(b, d->n->in[4], VEER_DIMS(images, d->offset_groups, count));
    return veer_mul(b, y, veer_slice_axis(b, mask, 1, g, 1, 1));
}

static bool check(deform_t *d) {
    veer_onnx_node_t *n = d->n;
    veer_type_t offset = veer_onnx_in_type(n, 2), mask = {0};
    if (veer_onnx_has_in(n, 4)) mask = veer_onnx_in_type(n, 4);
    int64_t c = d->x.dims[1], m = d->weight.dims[0];
    bool fits = d->groups > 0 && d->offset_groups > 0 && !(c % d->groups) && !(m % d->groups) &&
                !(c % d->offset_groups) && d->weight.dims[1] == c / d->groups;
    for (int i = 0; i < d->w.rank; i++) {
        int64_t room = d->x.dims[2 + i] + d->w.before[i] + d->w.after[i] - (d->w.kernel[i] - 1) * d->w.dilations[i] - 1;
        d->out[i] = room < 0 ? 0 : room / d->w.strides[i] + 1;
    }
    d->positions = d->kernels = 1;
    for (int i = 0; i < d->w.rank; i++) d->positions *= d->out[i], d->kernels *= d->w.kernel[i];
    int64_t expected = d->x.dims[0] * d->offset_groups * d->kernels * d->positions;
    fits =
        fits && veer_type_count(&offset) == expected * d->w.rank && (!mask.rank || veer_type_count(&mask) == expected);
    if (!fits)
        veer_onnx_fail(n, VEER_ERR_FILE, "X, W, offset and mask do not fit %lld groups and %lld offset groups",
                       (long long)d->groups, (long long)d->offset_groups);
    return fits;
}

void veer_onnx_deform_conv(veer_onnx_node_t *n) {
    deform_t d = {.n = n, .x = veer_onnx_in_type(n, 0), .weight = veer_onnx_in_type(n, 1)};
    veer_builder_t *b = n->b;
    d.groups = veer_onnx_attr_int(n, "group", 1), d.offset_groups = veer_onnx_attr_int(n, "offset_group", 1);
    if (!veer_onnx_window_read(n, n->in[1], &d.w) || !check(&d)) return;
    veer_value_t col = VEER_NO_VALUE;
    for (int64_t g = 0; g < d.offset_groups; g++) {
        veer_value_t part = columns(&d, g);
        col = g ? veer_concat(b, (veer_value_t[]){col, part}, 2, 1) : part;
    }
    int64_t depth = d.x.dims[1] / d.groups * d.kernels, m = d.weight.dims[0];
    col = veer_reshape(b, col, VEER_DIMS(d.x.dims[0], d.groups, depth, d.positions));
    veer_value_t weight = veer_reshape(b, n->in[1], VEER_DIMS(1, d.groups, m / d.groups, depth));
    veer_value_t y = veer_matmul(b, weight, col, false, false);
    if (veer_onnx_has_in(n, 3)) y = veer_add(b, y, veer_reshape(b, n->in[3], VEER_DIMS(1, d.groups, m / d.groups, 1)));
    veer_type_t out = d.x;
    out.dims[1] = m;
    for (int i = 0; i < d.w.rank; i++) out.dims[2 + i] = d.out[i];
    n->out[0] = veer_reshape_like(b, y, &out);
}
