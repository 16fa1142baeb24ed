/* resize: separable interpolation, one axis after the other. Along each axis y = W x with a constant matrix W [out, in]
 * from ir/resample.h, so the gradient is W^T; whole repeats of each input are done by reshaping instead. */
#include "ir/ops/common.h"
#include "ir/resample.h"
#include "ir/table.h"

#include <math.h>

static veer_status_t infer_resize(veer_infer_t *c) {
    veer_resample_t r;
    const veer_type_t *x = &c->in[0];
    const veer_attr_t *scales = veer_infer_attr(c, "scales");
    int count;
    const int64_t *dims = veer_infer_ints(c, "dims", &count);
    VEER_TRY(veer_resample_init(&r, veer_infer_string(c, "mode"), veer_infer_string(c, "coordinate"),
                                veer_infer_string(c, "nearest_mode"), veer_infer_float(c, "cubic_a"),
                                veer_infer_int(c, "exclude_outside") != 0));
    if (r.mode != VEER_RESAMPLE_NEAREST && !veer_dtype_is_float(x->dtype))
        return veer_error(VEER_ERR_UNSUPPORTED, "the input is %s, expected floats for mode %s",
                          veer_dtype_name(x->dtype), veer_infer_string(c, "mode"));
    if (count != x->rank || scales->kind != VEER_ATTR_FLOATS || scales->as.floats.n != x->rank)
        return veer_error(VEER_ERR_UNSUPPORTED, "dims has %d entries and scales %d, expected %d, one per axis", count,
                          scales->kind == VEER_ATTR_FLOATS ? scales->as.floats.n : 0, x->rank);
    for (int i = 0; i < count; i++) {
        double scale = scales->as.floats.v[i];
        if (!(scale > 0 && scale < 1e9))
            return veer_error(VEER_ERR_UNSUPPORTED, "scales[%d] is %g, expected a number above 0", i, scale);
        if (dims[i] < 0 || (x->dims[i] == 0 && dims[i] > 0))
            return veer_error(VEER_ERR_UNSUPPORTED, "axis %d is resized from %lld to %lld", i, (long long)x->dims[i],
                              (long long)dims[i]);
    }
    c->out[0] = veer_type_make(x->dtype, count, dims);
    return veer_type_check(&c->out[0]);
}

/* One axis of a resize. */
typedef struct axis_s {
    veer_resample_t how;
    int axis;
    int64_t in, out;
    double scale;
} axis_t;

static axis_t axis_of(const veer_graph_t *g, veer_node_t node, int axis) {
    int count;
    return (axis_t){veer_resample_of_node(g, node), axis, veer_value_type(g, veer_node_in(g, node, 0))->dims[axis],
                    veer_value_type(g, veer_node_out(g, node, 0))->dims[axis],
                    veer_node_floats(g, node, "scales", &count)[axis]};
}

static bool is_identity(const axis_t *a) {
    return veer_resample_is_identity(&a->how, a->in, a->out, a->scale);
}
static int64_t repeats(const axis_t *a) {
    return veer_resample_repeats(&a->how, a->in, a->out, a->scale);
}

/* W [out, in]; rows sum to 1. */
static veer_value_t weights(veer_builder_t *b, const axis_t *a, veer_dtype_t dtype) {
    veer_type_t type = VEER_TYPE(dtype, a->out, a->in);
    veer_allocator_t allocator = veer_graph_allocator(b->graph);
    veer_builder_fail(b, veer_type_check(&type));
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    double *table = veer_alloc_array(allocator, (size_t)veer_type_count(&type), sizeof *table);
    if (!table) {
        veer_builder_fail(b, veer_out_of_memory());
        return VEER_NO_VALUE;
    }
    veer_resample_tap_t taps[VEER_RESAMPLE_MAX_TAPS];
    for (int64_t o = 0; o < a->out; o++)
        for (int t = 0, n = veer_resample_taps(&a->how, a->in, a->out, a->scale, o, taps); t < n; t++)
            table[o * a->in + taps[t].index] += taps[t].weight;
    veer_value_t value = veer_const_table(b, type, table);
    veer_free(allocator, table);
    return value;
}

/* x with axis replaced by W x (or W^T x): as [before, axis, after] the axis is a row of matrices. */
static veer_value_t apply_weights(veer_builder_t *b, veer_value_t x, const axis_t *a, bool transposed) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t t = *veer_builder_type(b, x);
    int64_t before = veer_type_count_range(&t, 0, a->axis), after = veer_type_count_range(&t, a->axis + 1, t.rank);
    int64_t size = t.dims[a->axis];
    veer_value_t w = weights(b, a, t.dtype);
    if (after == 1)
        x = veer_matmul(b, veer_reshape(b, x, VEER_DIMS(before, size)), w, false, !transposed);
    else
        x = veer_matmul(b, w, veer_reshape(b, x, VEER_DIMS(before, size, after)), transposed, false);
    t.dims[a->axis] = transposed ? a->in : a->out;
    return veer_reshape_like(b, x, &t);
}

/* [before, in * f, after] to [before, in, f, after], summed over f. */
static veer_value_t sum_repeats(veer_builder_t *b, veer_value_t dy, const axis_t *a) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t t = *veer_builder_type(b, dy);
    int64_t before = veer_type_count_range(&t, 0, a->axis), after = veer_type_count_range(&t, a->axis + 1, t.rank);
    dy = veer_reshape(b, dy, VEER_DIMS(before, a->in, a->out / a->in, after));
    t.dims[a->axis] = a->in;
    return veer_reshape_like(b, veer_reduce(b, VEER_OP_REDUCE_SUM, dy, (int64_t[]){2}, 1, false), &t);
}

/* Without elements an axis may have any length: nothing may walk along it. */
static bool is_empty(const veer_graph_t *g, veer_node_t node) {
    return !veer_type_count(veer_value_type(g, veer_node_in(g, node, 0))) ||
           !veer_type_count(veer_value_type(g, veer_node_out(g, node, 0)));
}

/* The last axis first: the tensor shrinks (of an enlargement) where its rows are contiguous. */
static veer_status_t resize_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_value_t d = g->d_out[0];
    if (is_empty(g->graph, g->node)) {
        g->d_in[0] = veer_zeros(b, *veer_builder_type(b, g->in[0]));
        return veer_builder_status(b);
    }
    for (int i = veer_builder_type(b, g->in[0])->rank; i-- > 0;) {
        axis_t a = axis_of(g->graph, g->node, i);
        if (is_identity(&a)) continue;
        d = repeats(&a) ? sum_repeats(b, d, &a) : apply_weights(b, d, &a, true);
    }
    g->d_in[0] = d;
    return veer_builder_status(b);
}

/* ---- expansion ---- */

/* [before, in, after] to [before, in, f, after]. */
static veer_value_t repeat(veer_builder_t *b, veer_value_t x, const axis_t *a) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t t = *veer_builder_type(b, x);
    int64_t before = veer_type_count_range(&t, 0, a->axis), after = veer_type_count_range(&t, a->axis + 1, t.rank);
    x = veer_reshape(b, x, VEER_DIMS(before, a->in, 1, after));
    x = veer_broadcast_to(b, x, VEER_DIMS(before, a->in, a->out / a->in, after));
    t.dims[a->axis] = a->out;
    return veer_reshape_like(b, x, &t);
}

static veer_value_t gather_nearest(veer_builder_t *b, veer_value_t x, const axis_t *a) {
    veer_allocator_t allocator = veer_graph_allocator(b->graph);
    int64_t *index = veer_alloc_array(allocator, (size_t)a->out, sizeof *index);
    if (!index) {
        veer_builder_fail(b, veer_out_of_memory());
        return VEER_NO_VALUE;
    }
    veer_resample_tap_t tap[VEER_RESAMPLE_MAX_TAPS];
    for (int64_t o = 0; o < a->out; o++) {
        veer_resample_taps(&a->how, a->in, a->out, a->scale, o, tap);
        index[o] = tap[0].index;
    }
    x = veer_gather(b, x, veer_const(b, VEER_TYPE(VEER_DTYPE_I64, a->out), index), a->axis);
    veer_free(allocator, index);
    return x;
}

/* The first axis first: the tensor grows as late as possible where rows are contiguous. */
static veer_status_t resize_expand(veer_builder_t *b, veer_expand_t *e) {
    veer_value_t x = e->in[0];
    if (is_empty(e->graph, e->node)) {
        e->out[0] = veer_zeros(b, *veer_value_type(e->graph, veer_node_out(e->graph, e->node, 0)));
        return veer_builder_status(b);
    }
    for (int i = 0; i < veer_value_type(e->graph, e->in[0])->rank; i++) {
        axis_t a = axis_of(e->graph, e->node, i);
        if (is_identity(&a)) continue;
        if (repeats(&a))
            x = repeat(b, x, &a);
        else if (a.how.mode == VEER_RESAMPLE_NEAREST)
            x = gather_nearest(b, x, &a);
        else
            x = apply_weights(b, x, &a, false);
    }
    e->out[0] = x;
    return veer_builder_status(b);
}

const veer_op_def_t veer_op_resize = {
    .name = "resize",
    .doc = "x resampled to `dims`, axis by axis: nearest picks an input, linear and cubic are weighted sums of 2 and "
           "4; inputs "
           "outside repeat the edge. Names are those of ONNX Resize.",
    .in = {{"x", VEER_NUMERIC, false, false}},
    .out = {{"y", VEER_NUMERIC, false, false}},
    .attrs =
        {{.name = "dims", .kind = VEER_ATTR_INTS, .required = true, .doc = "the output's dims, one per axis"},
         {.name = "scales",
          .kind = VEER_ATTR_FLOATS,
          .required = true,
          .doc = "out / in for coordinates, one per axis"},
         {.name = "mode", .kind = VEER_ATTR_STRING, .required = true, .doc = "nearest, linear or cubic"},
         {.name = "coordinate",
          .kind = VEER_ATTR_STRING,
          .default_string = "half_pixel",
          .doc = "half_pixel, half_pixel_symmetric, pytorch_half_pixel, align_corners or asymmetric"},
         {.name = "nearest_mode",
          .kind = VEER_ATTR_STRING,
          .default_string = "round_prefer_floor",
          .doc = "round_prefer_floor, round_prefer_ceil, floor or ceil"},
         {.name = "cubic_a", .kind = VEER_ATTR_FLOAT, .default_float = -0.75, .doc = "the cubic kernel's parameter"},
         {.name = "exclude_outside", .kind = VEER_ATTR_INT, .doc = "1: cubic taps outside the input weigh 0"}},
    .traits = VEER_PURE | VEER_COMPOSITE,
    .infer = infer_resize,
    .grad = resize_grad,
    .expand = resize_expand,
    .tol_f32 = {.abs = 2e-6, .rel = 2e-6}, /* up to 4 terms an axis, |weights| <= 1.2, inputs of size 1 */
};
