#include "ir/resample.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const mode_names[] = {"nearest", "linear", "cubic", NULL};
static const char *const coordinate_names[] = {"half_pixel",    "half_pixel_symmetric", "pytorch_half_pixel",
                                               "align_corners", "asymmetric",           NULL};
static const char *const nearest_names[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};

static veer_status_t find_name(const char *what, const char *name, const char *const *names, int *out_index) {
    char known[128];
    size_t at = 0;
    for (int i = 0; names[i]; i++) {
        if (name && !strcmp(name, names[i])) {
            *out_index = i;
            return veer_ok();
        }
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", names[i]);
    }
    return veer_error(VEER_ERR_UNSUPPORTED, "%s is '%s', expected one of %s", what, name ? name : "", known);
}

veer_status_t veer_resample_init(veer_resample_t *r, const char *mode, const char *coordinate, const char *nearest_mode,
                                 double cubic_a, bool exclude_outside) {
    int m, c, n;
    VEER_TRY(find_name("mode", mode, mode_names, &m));
    VEER_TRY(find_name("coordinate", coordinate, coordinate_names, &c));
    VEER_TRY(find_name("nearest_mode", nearest_mode, nearest_names, &n));
    *r = (veer_resample_t){(veer_resample_mode_t)m, (veer_coordinate_t)c, (veer_nearest_mode_t)n, cubic_a,
                           exclude_outside};
    return veer_ok();
}

static const veer_attr_t *attr(const veer_attr_t *attrs, const char *name) {
    return &attrs[veer_op_attr_index(VEER_OP_RESIZE, name)];
}

veer_resample_t veer_resample_of_attrs(const veer_attr_t *attrs) {
    veer_resample_t r = {0};
    veer_status_t status = veer_resample_init(&r, attr(attrs, "mode")->as.s, attr(attrs, "coordinate")->as.s,
                                              attr(attrs, "nearest_mode")->as.s, attr(attrs, "cubic_a")->as.f,
                                              attr(attrs, "exclude_outside")->as.i != 0);
    assert(!status); /* infer has accepted these names */
    veer_status_ignore(status);
    return r;
}

veer_resample_t veer_resample_of_node(const veer_graph_t *g, veer_node_t node) {
    veer_attr_t attrs[VEER_OP_MAX_ATTRS];
    for (int i = 0; i < VEER_OP_MAX_ATTRS && veer_op_def(VEER_OP_RESIZE)->attrs[i].name; i++)
        attrs[i] = *veer_node_attr(g, node, i);
    return veer_resample_of_attrs(attrs);
}

double veer_resample_coordinate(const veer_resample_t *r, int64_t in, int64_t out, double scale, int64_t o) {
    double n = (double)in, half_pixel = ((double)o + 0.5) / scale - 0.5;
    switch (r->coordinate) {
    case VEER_COORDINATE_HALF_PIXEL: return half_pixel;
    case VEER_COORDINATE_HALF_PIXEL_SYMMETRIC: /* scale * in need not be whole: keep the centres on each other */
        return n / 2 * (1 - (double)out / (scale * n)) + half_pixel;
    case VEER_COORDINATE_PYTORCH_HALF_PIXEL: return out > 1 ? half_pixel : 0;
    case VEER_COORDINATE_ALIGN_CORNERS: return out > 1 ? (double)o * (n - 1) / (double)(out - 1) : 0;
    case VEER_COORDINATE_ASYMMETRIC: return (double)o / scale;
    }
    return 0;
}

/* Into [0, in): edges repeat. A NaN (no scale gives one) would become 0. */
static int64_t clamp_index(double index, int64_t in) {
    if (!(index > 0)) return 0;
    return index >= (double)in ? in - 1 : (int64_t)index;
}

static double nearest_index(veer_nearest_mode_t mode, double x) {
    switch (mode) {
    case VEER_NEAREST_ROUND_PREFER_FLOOR: return ceil(x - 0.5);
    case VEER_NEAREST_ROUND_PREFER_CEIL: return floor(x + 0.5);
    case VEER_NEAREST_FLOOR: return floor(x);
    case VEER_NEAREST_CEIL: return ceil(x);
    }
    return x;
}

/* Keys' cubic convolution kernel at the four taps -1, 0, 1, 2 around floor(x), t = x - floor(x). */
static void cubic_weights(double a, double t, double w[4]) {
    double near[2] = {t, 1 - t}, far[2] = {1 + t, 2 - t};
    for (int i = 0; i < 2; i++) {
        double u = near[i], v = far[i];
        w[1 + i] = ((a + 2) * u - (a + 3)) * u * u + 1;           /* |u| <= 1 */
        w[i ? 3 : 0] = ((a * v - 5 * a) * v + 8 * a) * v - 4 * a; /* 1 < |v| < 2 */
    }
}

static int cubic_taps(const veer_resample_t *r, int64_t in, double x, veer_resample_tap_t *taps) {
    double base = floor(x), w[4], sum = 0;
    cubic_weights(r->cubic_a, x - base, w);
    for (int i = 0; i < 4; i++) {
        double index = base - 1 + i;
        if (r->exclude_outside && (index < 0 || index >= (double)in)) w[i] = 0;
        sum += w[i];
        taps[i] = (veer_resample_tap_t){clamp_index(index, in), w[i]};
    }
    if (r->exclude_outside && sum != 0)
        for (int i = 0; i < 4; i++) taps[i].weight /= sum;
    return 4;
}

int veer_resample_taps(const veer_resample_t *r, int64_t in, int64_t out, double scale, int64_t o,
                       veer_resample_tap_t taps[VEER_RESAMPLE_MAX_TAPS]) {
    double x = veer_resample_coordinate(r, in, out, scale, o);
    if (r->mode == VEER_RESAMPLE_NEAREST) {
        taps[0] = (veer_resample_tap_t){clamp_index(nearest_index(r->nearest, x), in), 1};
        return 1;
    }
    if (r->mode == VEER_RESAMPLE_CUBIC) return cubic_taps(r, in, x, taps);
    double base = floor(x);
    taps[0] = (veer_resample_tap_t){clamp_index(base, in), 1 - (x - base)};
    taps[1] = (veer_resample_tap_t){clamp_index(base + 1, in), x - base};
    return 2;
}

bool veer_resample_is_identity(const veer_resample_t *r, int64_t in, int64_t out, double scale) {
    veer_resample_tap_t taps[VEER_RESAMPLE_MAX_TAPS];
    if (in != out) return false;
    for (int64_t o = 0; o < out; o++)
        for (int t = 0, n = veer_resample_taps(r, in, out, scale, o, taps); t < n; t++)
            if (taps[t].weight != 0 && taps[t].index != o) return false;
    return true;
}

int64_t veer_resample_repeats(const veer_resample_t *r, int64_t in, int64_t out, double scale) {
    veer_resample_tap_t tap[VEER_RESAMPLE_MAX_TAPS];
    if (r->mode != VEER_RESAMPLE_NEAREST || in < 1 || out % in) return 0;
    for (int64_t o = 0; o < out; o++) {
        veer_resample_taps(r, in, out, scale, o, tap);
        if (tap[0].index != o / (out / in)) return 0;
    }
    return out / in;
}
