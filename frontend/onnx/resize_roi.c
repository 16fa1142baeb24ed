/* Resize in the two coordinate modes of TensorFlow that the IR's resize does not have: a part of the input
 * (tf_crop_and_resize) and half_pixel without its shift (tf_half_pixel_for_nn). Every output position of an axis reads
 * up to four inputs; as a matrix [in, out] that is a product along the axis. Positions outside of the input get
 * extrapolation_value. */
#include "frontend/onnx/resize.h"

#include <math.h>
#include <string.h>

enum { MAX_TAPS = 4 };

typedef struct {
    veer_onnx_node_t *n;
    const char *mode, *nearest;
    double a; /* of the cubic */
    bool exclude_outside;
} filter_t;

static int64_t clamp(double x, int64_t size) {
    return x < 0 ? 0 : x > (double)(size - 1) ? size - 1 : (int64_t)x;
}

static double nearest(const char *mode, double x) {
    if (!strcmp(mode, "floor")) return floor(x);
    if (!strcmp(mode, "ceil")) return ceil(x);
    return !strcmp(mode, "round_prefer_ceil") ? floor(x + 0.5) : ceil(x - 0.5);
}

/* Keys' cubic at distance d */
static double cubic(double d, double a) {
    d = fabs(d);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* Adds what position o of an axis of `size` reads at x to column o of the matrix. */
static void add_taps(const filter_t *f, double x, int64_t size, int64_t o, int64_t out, double *matrix) {
    double whole = floor(x), total = 0, weights[MAX_TAPS];
    int first = f->mode[0] == 'c' ? -1 : 0, count = f->mode[0] == 'c' ? 4 : f->mode[0] == 'l' ? 2 : 1;
    if (f->mode[0] == 'n') whole = nearest(f->nearest, x);
    for (int i = 0; i < count; i++) {
        double at = whole + first + i;
        weights[i] = count == 1 ? 1 : count == 2 ? 1 - fabs(x - at) : cubic(x - at, f->a);
        if (f->exclude_outside && (at < 0 || at > (double)(size - 1))) weights[i] = 0;
        total += weights[i];
    }
    for (int i = 0; i < count; i++)
        matrix[clamp(whole + first + i, size) * out + o] +=
            f->exclude_outside && total != 0 ? weights[i] / total : weights[i];
}

/* One axis of x; *inside (NULL: everything so far is) becomes false where it reads from outside. */
static veer_value_t along(const filter_t *f, veer_value_t x, int axis, int64_t out, const double *at,
                          veer_value_t *inside) {
    veer_onnx_node_t *n = f->n;
    veer_type_t type = veer_onnx_type(n, x);
    if (!veer_onnx_ok(n)) return x;
    int last = type.rank - 1;
    int64_t size = type.dims[axis], perm[VEER_MAX_RANK], dims[VEER_MAX_RANK];
    double *matrix = size < 1 || out > INT32_MAX ? NULL : veer_onnx_scratch(n, size * out, sizeof *matrix);
    uint8_t *seen = veer_onnx_scratch(n, out, 1);
    if (!matrix || !seen) return VEER_NO_VALUE;
    bool all = true;
    for (int64_t o = 0; o < out; o++) {
        seen[o] = at[o] >= 0 && at[o] <= (double)(size - 1);
        all &= seen[o];
        add_taps(f, at[o], size, o, out, matrix);
    }
    for (int i = 0; i < type.rank; i++) perm[i] = i, dims[i] = i == axis ? out : 1;
    perm[axis] = last, perm[last] = axis;
    x = veer_transpose(n->b, x, perm);
    type = veer_onnx_type(n, x);
    x = veer_reshape(n->b, x, VEER_DIMS(veer_type_count_range(&type, 0, last), size));
    x = veer_matmul(n->b, x, veer_onnx_const_doubles(n, VEER_TYPE(type.dtype, size, out), matrix), false, false);
    type.dims[last] = out;
    x = veer_transpose(n->b, veer_reshape_like(n->b, x, &type), perm);
    veer_value_t mask = veer_const(n->b, veer_type_make(VEER_DTYPE_BOOL, type.rank, dims), seen);
    if (!all) *inside = inside->i ? veer_and(n->b, *inside, mask) : mask;
    return x;
}

/* Start and end of an axis in the crop, in units of its length. */
static void crop_of(veer_onnx_node_t *n, int axis, int rank, double *out_start, double *out_end) {
    int count, axes_count;
    const double *roi = veer_onnx_in_doubles(n, 1, "roi", &count);
    const int64_t *axes = veer_onnx_attr_ints(n, "axes", &axes_count);
    int listed = axes ? axes_count : rank;
    *out_start = 0, *out_end = 1;
    if (veer_onnx_ok(n) && count != 2 * listed)
        veer_onnx_fail(n, VEER_ERR_FILE, "roi has %d entries, expected %d", count, 2 * listed);
    for (int i = 0; i < listed && roi && veer_onnx_ok(n); i++)
        if ((axes ? veer_onnx_axis(n, axes[i], rank) : i) == axis) *out_start = roi[i], *out_end = roi[listed + i];
}

void veer_onnx_resize_roi(veer_onnx_node_t *n, veer_onnx_resize_t *to, bool by_scale, const char *coordinate) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    bool crop = !strcmp(coordinate, "tf_crop_and_resize");
    filter_t f = {n, veer_onnx_attr_string(n, "mode", "nearest"),
                  veer_onnx_attr_string(n, "nearest_mode", "round_prefer_floor"),
                  veer_onnx_attr_float(n, "cubic_coeff_a", -0.75), veer_onnx_attr_int(n, "exclude_outside", 0) != 0};
    veer_dtype_t dtype = veer_dtype_is_float(type.dtype) ? type.dtype : VEER_DTYPE_F32;
    veer_value_t x = veer_cast(n->b, n->in[0], dtype), inside = VEER_NO_VALUE;
    for (int axis = 0; axis < type.rank && veer_onnx_ok(n); axis++) {
        double start = 0, end = 1, last = (double)(type.dims[axis] - 1);
        if (crop) crop_of(n, axis, type.rank, &start, &end);
        if (crop && by_scale)
            to->dims[axis] = (int64_t)floor((double)type.dims[axis] * (end - start) * to->scales[axis]);
        int64_t out = to->dims[axis];
        if (out == type.dims[axis] && start == 0 && end == 1) continue;
        double *at = veer_onnx_scratch(n, out, sizeof *at);
        for (int64_t o = 0; at && o < out; o++)
            at[o] = !crop     ? ((double)o + 0.5) / to->scales[axis]
                    : out > 1 ? (start + (double)o * (end - start) / (double)(out - 1)) * last
                              : (start + end) / 2 * last;
        if (at) x = along(&f, x, axis, out, at, &inside);
    }
    if (!crop) inside = VEER_NO_VALUE; /* positions are moved to the edge */
    if (inside.i && veer_onnx_ok(n))
        x = veer_where(n->b, inside, x,
                       veer_const_scalar(n->b, dtype, veer_onnx_attr_float(n, "extrapolation_value", 0)));
    n->out[0] = veer_cast(n->b, x, type.dtype);
}
