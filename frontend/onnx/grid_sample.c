/* GridSample: y[n, c, p] = the input at the place grid[n, p], between its pixels by interpolation.
 *
 * Per spatial dim the place gives 1 (nearest), 2 (linear) or 4 (cubic) pixels with weights; y is the sum over all
 * combinations of weight * input[pixel]. Where a pixel lies outside, padding_mode moves it inside or takes its weight
 * away. All of it is made of ordinary operators, so there are gradients to the input and (through the weights) to the
 * grid. */
#include "frontend/onnx/sample.h"

#include <string.h>

enum { MAX_TAPS = 4, MAX_SPATIAL = VEER_ONNX_SAMPLE_SPATIAL };
#define CUBIC_A (-0.75)

typedef struct {
    int count;
    veer_value_t at[MAX_TAPS];     /* i64, always inside; [N, 1, P] */
    veer_value_t weight[MAX_TAPS]; /* of the input's dtype; [N, 1, P] */
} taps_t;

typedef struct {
    veer_onnx_node_t *n;
    bool align, zeros, reflect;
    char mode; /* n, l or c */
    veer_dtype_t dtype;
} sample_t;

static veer_value_t number(const sample_t *s, double value) {
    return veer_const_scalar(s->n->b, s->dtype, value);
}

/* x mirrored at low and high, as often as it takes */
static veer_value_t mirrored(const sample_t *s, veer_value_t x, double low, double high) {
    veer_builder_t *b = s->n->b;
    double span = high - low;
    if (span <= 0) return veer_mul_c(b, x, 0);
    veer_value_t d = veer_abs(b, veer_add_c(b, x, -low));
    d = veer_build(b, VEER_OP_MOD, VEER_IN(d, number(s, 2 * span)), VEER_ATTRS(VEER_INT("fmod", 1)));
    d = veer_where(b, veer_less(b, number(s, span), d), veer_rsub_c(b, d, 2 * span), d);
    return veer_add_c(b, d, low);
}

/* The pixel at whole number x, `size` pixels long. */
static void add_tap(const sample_t *s, taps_t *taps, veer_value_t x, veer_value_t weight, double size) {
    veer_builder_t *b = s->n->b;
    veer_value_t last = number(s, size - 1), first = number(s, 0);
    if (s->reflect) x = s->align ? mirrored(s, x, 0, size - 1) : mirrored(s, x, -0.5, size - 0.5);
    if (s->zeros) {
        veer_value_t inside = veer_and(b, veer_less_equal(b, first, x), veer_less_equal(b, x, last));
        weight = weight.i ? veer_where(b, inside, weight, first) : veer_cast(b, inside, s->dtype);
    }
    taps->at[taps->count] = veer_cast(b, veer_min(b, veer_max(b, x, first), last), VEER_DTYPE_I64);
    taps->weight[taps->count++] = weight;
}

/* Keys' cubic at distance d: |d| <= 1 (near) or 1 <= |d| <= 2 */
static veer_value_t cubic(const sample_t *s, veer_value_t d, bool near) {
    const double a = CUBIC_A;
    veer_builder_t *b = s->n->b;
    if (near) { /* ((a + 2) d - (a + 3)) d^2 + 1 */
        veer_value_t y = veer_add_c(b, veer_mul_c(b, d, a + 2), -(a + 3));
        return veer_add_c(b, veer_mul(b, veer_mul(b, y, d), d), 1);
    }
    veer_value_t y = veer_add_c(b, veer_mul_c(b, d, a), -5 * a); /* ((a d - 5 a) d + 8 a) d - 4 a */
    y = veer_add_c(b, veer_mul(b, y, d), 8 * a);
    return veer_add_c(b, veer_mul(b, y, d), -4 * a);
}

/* g in [-1, 1] over `size` pixels: between the centres of the first and last (align) or between their outer edges. */
static veer_value_t pixel_of(const sample_t *s, veer_value_t g, double size) {
    veer_builder_t *b = s->n->b;
    return s->align ? veer_mul_c(b, veer_add_c(b, g, 1), (size - 1) / 2)
                    : veer_mul_c(b, veer_add_c(b, veer_mul_c(b, veer_add_c(b, g, 1), size), -1), 0.5);
}

/* Around pixel x. */
static taps_t taps_of(const sample_t *s, veer_value_t x, double size) {
    veer_builder_t *b = s->n->b;
    taps_t taps = {0};
    if (s->mode == 'n') {
        add_tap(s, &taps, veer_round(b, x), VEER_NO_VALUE, size);
        return taps;
    }
    veer_value_t whole = veer_floor(b, x), t = veer_sub(b, x, whole), u = veer_rsub_c(b, t, 1);
    bool wide = s->mode == 'c';
    if (wide) add_tap(s, &taps, veer_add_c(b, whole, -1), cubic(s, veer_add_c(b, t, 1), false), size);
    add_tap(s, &taps, whole, wide ? cubic(s, t, true) : u, size);
    add_tap(s, &taps, veer_add_c(b, whole, 1), wide ? cubic(s, u, true) : t, size);
    if (wide) add_tap(s, &taps, veer_add_c(b, whole, 2), cubic(s, veer_add_c(b, u, 1), false), size);
    return taps;
}

/* Sum over all combinations of the dims from `dim` on; `at` and `weight`: of the dims before, VEER_NO_VALUE for none.
 */
static veer_value_t combine(const sample_t *s, const taps_t *taps, const veer_type_t *x, int dim, veer_value_t at,
                            veer_value_t weight, veer_value_t flat, int64_t places) {
    veer_builder_t *b = s->n->b;
    if (dim == x->rank - 2 || dim == MAX_SPATIAL) {
        at = veer_broadcast_to(b, at, VEER_DIMS(x->dims[0], x->dims[1], places));
        veer_value_t y = veer_build(b, VEER_OP_GATHER_ELEMENTS, VEER_IN(flat, at), VEER_ATTRS(VEER_INT("axis", 2)));
        return weight.i ? veer_mul(b, y, weight) : y;
    }
    veer_value_t sum = VEER_NO_VALUE;
    for (int i = 0; i < taps[dim].count; i++) {
        veer_value_t to = taps[dim].at[i], w = taps[dim].weight[i];
        if (at.i) to = veer_add(b, veer_mul_c(b, at, (double)x->dims[2 + dim]), to);
        if (weight.i) w = w.i ? veer_mul(b, weight, w) : weight;
        veer_value_t part = combine(s, taps, x, dim + 1, to, w, flat, places);
        sum = sum.i ? veer_add(b, sum, part) : part;
    }
    return sum;
}

veer_value_t veer_onnx_sample_linear(veer_onnx_node_t *n, veer_value_t x, const veer_value_t *at) {
    veer_type_t type = veer_onnx_type(n, x), place = veer_onnx_type(n, at[0]);
    sample_t s = {.n = n, .zeros = true, .mode = 'l', .dtype = type.dtype};
    taps_t taps[MAX_SPATIAL] = {0};
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    for (int i = 0; i < type.rank - 2; i++) taps[i] = taps_of(&s, at[i], (double)type.dims[2 + i]);
    veer_value_t flat =
        veer_reshape(n->b, x, VEER_DIMS(type.dims[0], type.dims[1], veer_type_count_range(&type, 2, type.rank)));
    return combine(&s, taps, &type, 0, VEER_NO_VALUE, VEER_NO_VALUE, flat, place.dims[2]);
}

static bool read_modes(sample_t *s, const veer_type_t *x, const veer_type_t *grid) {
    veer_onnx_node_t *n = s->n;
    int spatial = x->rank - 2;
    const char *padding = veer_onnx_attr_string(n, "padding_mode", "zeros");
    const char *mode = veer_onnx_attr_string(n, "mode", n->opset < 20 ? "bilinear" : "linear");
    s->mode = !strcmp(mode, "nearest")                               ? 'n'
              : !strcmp(mode, "bilinear") || !strcmp(mode, "linear") ? 'l'
              : !strcmp(mode, "bicubic") || !strcmp(mode, "cubic")   ? 'c'
                                                                     : 0;
    s->zeros = !strcmp(padding, "zeros"), s->reflect = !strcmp(padding, "reflection");
    if (!s->mode || (!s->zeros && !s->reflect && strcmp(padding, "border") != 0))
        veer_onnx_fail(n, VEER_ERR_FILE, "mode is '%s' and padding_mode '%s'", mode, padding);
    else if (spatial < 1 || spatial > MAX_SPATIAL || grid->rank != x->rank || grid->dims[x->rank - 1] != spatial ||
             grid->dims[0] != x->dims[0] || veer_type_count_range(x, 2, x->rank) < 1)
        veer_onnx_fail(n, VEER_ERR_FILE, "input of rank %d (expected 3 to 5) and grid of rank %d do not fit", x->rank,
                       grid->rank);
    return veer_onnx_ok(n);
}

void veer_onnx_grid_sample(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), grid = veer_onnx_in_type(n, 1), out = grid;
    sample_t s = {.n = n, .align = veer_onnx_attr_int(n, "align_corners", 0) != 0, .dtype = x.dtype};
    taps_t taps[MAX_SPATIAL] = {0};
    if (!veer_onnx_ok(n) || !read_modes(&s, &x, &grid)) return;
    int spatial = x.rank - 2;
    int64_t places = veer_type_count_range(&grid, 1, x.rank - 1);
    veer_value_t g = veer_cast(n->b, n->in[1], x.dtype);
    for (int i = 0; i < spatial; i++) { /* the last dim of the grid names the innermost dim first */
        veer_value_t part = veer_slice_axis(n->b, g, x.rank - 1, spatial - 1 - i, 1, 1);
        part = veer_reshape(n->b, part, VEER_DIMS(x.dims[0], 1, places));
        taps[i] = taps_of(&s, pixel_of(&s, part, (double)x.dims[2 + i]), (double)x.dims[2 + i]);
    }
    veer_value_t flat =
        veer_reshape(n->b, n->in[0], VEER_DIMS(x.dims[0], x.dims[1], veer_type_count_range(&x, 2, x.rank)));
    veer_value_t y = combine(&s, taps, &x, 0, VEER_NO_VALUE, VEER_NO_VALUE, flat, places);
    for (int i = 0; i < spatial; i++) out.dims[2 + i] = grid.dims[1 + i];
    out.dims[1] = x.dims[1];
    n->out[0] = veer_reshape_like(n->b, y, &out);
}
