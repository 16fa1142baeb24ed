/* Resize with antialias: along each axis y = W x, where the rows of W are the interpolation's kernel, as wide as 1 /
 * scale where that is more than 1, with a sum of 1. Inputs outside repeat the edge, or (exclude_outside) count nothing.
 */
#include "frontend/onnx/resize.h"

#include "ir/resample.h"

#include <math.h>

/* The kernel at distance d, for linear (support 1) and cubic (support 2). */
static double kernel(const veer_resample_t *r, double d) {
    double a = r->cubic_a;
    d = fabs(d);
    if (r->mode == VEER_RESAMPLE_LINEAR) return d < 1 ? 1 - d : 0;
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* Row of one output position, `in` wide. Weights are scaled before the edge gathers what hangs over it. */
static void fill_row(const veer_resample_t *r, int64_t in, int64_t out, double scale, int64_t o, double *row) {
    double x = veer_resample_coordinate(r, in, out, scale, o), narrow = fmin(scale, 1), sum = 0;
    double support = (r->mode == VEER_RESAMPLE_LINEAR ? 1 : 2) / narrow;
    for (int pass = 0; pass < 2; pass++)
        for (double i = floor(x - support); i <= ceil(x + support); i++) {
            double w = kernel(r, (i - x) * narrow);
            bool outside = i < 0 || i >= (double)in;
            if (outside && r->exclude_outside) continue;
            if (pass == 0)
                sum += w;
            else if (sum != 0)
                row[i < 0 ? 0 : outside ? in - 1 : (int64_t)i] += w / sum;
        }
}

/* y = W x along one axis, as a product with W^T from the right. */
static veer_value_t smooth_axis(veer_onnx_node_t *n, const veer_resample_t *r, veer_value_t x, int axis, int64_t out,
                                double scale) {
    veer_type_t type = veer_onnx_type(n, x), y = type;
    int64_t in = type.dims[axis], perm[VEER_MAX_RANK];
    double *weights = out > 1 << 24 || in > 1 << 24 ? NULL : veer_onnx_scratch(n, in * out, sizeof *weights);
    if (!weights) {
        if (veer_onnx_ok(n)) veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "antialias over more than %d pixels", 1 << 24);
        return VEER_NO_VALUE;
    }
    for (int64_t o = 0; o < out; o++) fill_row(r, in, out, scale, o, weights + o * in);
    for (int i = 0; i < type.rank; i++) perm[i] = i;
    perm[axis] = type.rank - 1, perm[type.rank - 1] = axis; /* an exchange, its own inverse */
    y.dims[axis] = type.dims[type.rank - 1], y.dims[type.rank - 1] = out;
    veer_value_t w = veer_onnx_const_doubles(n, VEER_TYPE(type.dtype, out, in), weights);
    int64_t rows = in ? veer_type_count(&type) / in : 0;
    x = veer_reshape(n->b, veer_transpose(n->b, x, perm), VEER_DIMS(rows, in));
    x = veer_reshape_like(n->b, veer_matmul(n->b, x, w, false, true), &y);
    return veer_transpose(n->b, x, perm);
}

void veer_onnx_resize_smooth(veer_onnx_node_t *n, const veer_onnx_resize_t *to, const char *coordinate) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    veer_resample_t r;
    veer_status_t status = veer_resample_init(&r, veer_onnx_attr_string(n, "mode", "nearest"), coordinate, "floor",
                                              veer_onnx_attr_float(n, "cubic_coeff_a", -0.75),
                                              veer_onnx_attr_int(n, "exclude_outside", 0) != 0);
    if (status) {
        veer_builder_fail(n->b, status);
        return;
    }
    veer_dtype_t wide = type.dtype == VEER_DTYPE_F64 ? VEER_DTYPE_F64 : VEER_DTYPE_F32;
    veer_value_t y = veer_cast(n->b, n->in[0], wide);
    for (int i = 0; i < type.rank && veer_onnx_ok(n); i++)
        if (type.dims[i] != to->dims[i] || to->scales[i] != 1) y = smooth_axis(n, &r, y, i, to->dims[i], to->scales[i]);
    n->out[0] = veer_cast(n->b, y, type.dtype);
}
