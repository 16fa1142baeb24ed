/* Resize and Upsample: output sizes from scales or sizes, and the scale that coordinates use. */
#include "frontend/onnx/resize.h"

#include <math.h>
#include <string.h>

typedef veer_onnx_resize_t target_t;

static void build(veer_onnx_node_t *n, const target_t *to, const char *coordinate, const char *nearest) {
    int rank = veer_onnx_in_type(n, 0).rank;
    if (!veer_onnx_ok(n)) return;
    const char *mode = veer_onnx_attr_string(n, "mode", "nearest");
    if (!strcmp(mode, "bilinear")) mode = "linear";
    n->out[0] = veer_build(n->b, VEER_OP_RESIZE, n->in, 1,
                           VEER_ATTRS(VEER_INTS("dims", to->dims, rank), VEER_FLOATS("scales", to->scales, rank),
                                      VEER_STRING("mode", mode), VEER_STRING("coordinate", coordinate),
                                      VEER_STRING("nearest_mode", nearest),
                                      VEER_FLOAT("cubic_a", veer_onnx_attr_float(n, "cubic_coeff_a", -0.75)),
                                      VEER_INT("exclude_outside", veer_onnx_attr_int(n, "exclude_outside", 0) != 0)));
}

static void set_scale(veer_onnx_node_t *n, const veer_type_t *x, int axis, double scale, target_t *to) {
    double size = floor((double)x->dims[axis] * scale);
    if (!(scale > 0) || !(size < (double)VEER_MAX_TENSOR_BYTES)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "scale %g of axis %d is out of range", scale, axis);
        return;
    }
    to->dims[axis] = (int64_t)size;
    to->scales[axis] = scale;
}

/* One scale per axis of `axes`, or of all. */
static void apply_scales(veer_onnx_node_t *n, const veer_type_t *x, const double *scales, int count,
                         const int64_t *axes, target_t *to) {
    for (int i = 0; i < count && veer_onnx_ok(n); i++) {
        int axis = axes ? veer_onnx_axis(n, axes[i], x->rank) : i;
        if (veer_onnx_ok(n)) set_scale(n, x, axis, scales[i], to);
    }
}

/* Sizes as given, or (keep_aspect_ratio_policy) the largest within them, the smallest around them. */
static void apply_sizes(veer_onnx_node_t *n, const veer_type_t *x, const int64_t *sizes, int count, const int64_t *axes,
                        target_t *to) {
    const char *policy = veer_onnx_attr_string(n, "keep_aspect_ratio_policy", "stretch");
    bool larger = !strcmp(policy, "not_smaller"), keep = larger || !strcmp(policy, "not_larger");
    double common = 0;
    for (int pass = 0; pass < 2 && veer_onnx_ok(n); pass++)
        for (int i = 0; i < count && veer_onnx_ok(n); i++) {
            int axis = axes ? veer_onnx_axis(n, axes[i], x->rank) : i;
            if (sizes[i] < 1 || x->dims[axis] < 1 || sizes[i] > VEER_MAX_TENSOR_BYTES) {
                veer_onnx_fail(n, VEER_ERR_FILE, "axis %d is resized from %lld to %lld", axis, (long long)x->dims[axis],
                               (long long)sizes[i]);
                return;
            }
            double scale = (double)sizes[i] / (double)x->dims[axis];
            if (pass == 0) common = i == 0 ? scale : larger ? fmax(common, scale) : fmin(common, scale);
            to->scales[axis] = keep ? common : scale;
            to->dims[axis] = keep ? (int64_t)floor(common * (double)x->dims[axis] + 0.5) : sizes[i];
        }
}

/* align_corners maps x to x (in - 1) / (out - 1), where ONNX's own tests take in * scale for out, even where that is no
 * whole number. Then it is the asymmetric mode with another scale. */
static bool corners_by_scale(const veer_type_t *x, const char *coordinate, target_t *to) {
    bool whole = true;
    for (int i = 0; i < x->rank; i++) whole &= (double)x->dims[i] * to->scales[i] == (double)to->dims[i];
    if (whole || strcmp(coordinate, "align_corners")) return false;
    for (int i = 0; i < x->rank; i++)
        if (x->dims[i] > 1) to->scales[i] = ((double)x->dims[i] * to->scales[i] - 1) / (double)(x->dims[i] - 1);
    for (int i = 0; i < x->rank; i++)
        if (to->dims[i] <= 1 || !(to->scales[i] > 0)) to->scales[i] = 1; /* the first pixel, whatever the scale */
    return true;
}

/* Nearest has nothing to smooth. */
static bool is_smooth(veer_onnx_node_t *n, const veer_type_t *x, const target_t *to) {
    bool down = false;
    for (int i = 0; i < x->rank; i++) down |= to->scales[i] < 1;
    return down && veer_onnx_attr_int(n, "antialias", 0) &&
           strcmp(veer_onnx_attr_string(n, "mode", "nearest"), "nearest");
}

void veer_onnx_resize(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    target_t to = {{0}, {0}};
    bool old = n->opset < 11;
    int count = 0, sizes_count = 0, axes_count = 0;
    for (int i = 0; i < x.rank; i++) to.dims[i] = x.dims[i], to.scales[i] = 1;
    const char *coordinate =
        old ? "asymmetric" : veer_onnx_attr_string(n, "coordinate_transformation_mode", "half_pixel");
    const double *scales = veer_onnx_in_doubles(n, old ? 1 : 2, "scales", &count);
    const int64_t *sizes = old ? NULL : veer_onnx_in_ints(n, 3, "sizes", &sizes_count);
    const int64_t *axes = veer_onnx_attr_ints(n, "axes", &axes_count);
    int expected = axes ? axes_count : x.rank;
    if (!veer_onnx_ok(n)) return;
    if (count ? count != expected || sizes_count : sizes_count != expected) {
        veer_onnx_fail(n, VEER_ERR_FILE, "%d scales and %d sizes, expected %d of one of them", count, sizes_count,
                       expected);
        return;
    }
    if (count) {
        apply_scales(n, &x, scales, count, axes, &to);
        if (veer_onnx_ok(n) && corners_by_scale(&x, coordinate, &to)) coordinate = "asymmetric";
    } else {
        apply_sizes(n, &x, sizes, sizes_count, axes, &to);
    }
    if (!veer_onnx_ok(n)) return;
    if (is_smooth(n, &x, &to))
        veer_onnx_resize_smooth(n, &to, coordinate);
    else if (!strcmp(coordinate, "tf_crop_and_resize") || !strcmp(coordinate, "tf_half_pixel_for_nn"))
        veer_onnx_resize_roi(n, &to, count > 0, coordinate);
    else
        build(n, &to, coordinate, old ? "floor" : veer_onnx_attr_string(n, "nearest_mode", "round_prefer_floor"));
}

/* Scales: an attribute in operator set 7, an input since 9. Pixels keep their corner: the asymmetric mode. */
void veer_onnx_upsample(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    target_t to = {{0}, {0}};
    int count;
    double from_attr[VEER_MAX_RANK];
    const double *scales = from_attr;
    if (n->opset < 9) {
        const float *given = veer_onnx_attr_floats(n, "scales", &count);
        for (int i = 0; i < count && i < VEER_MAX_RANK; i++) from_attr[i] = (double)given[i];
    } else {
        scales = veer_onnx_in_doubles(n, 1, "scales", &count);
    }
    if (veer_onnx_ok(n) && (!scales || count != x.rank))
        veer_onnx_fail(n, VEER_ERR_FILE, "%d scales for %d dims", count, x.rank);
    if (veer_onnx_ok(n)) apply_scales(n, &x, scales, count, NULL, &to);
    build(n, &to, "asymmetric", "floor");
}
