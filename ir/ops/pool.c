/* max_pool and avg_pool over windows of the spatial axes of x [N, C, spatial...]. */
#include "ir/channels.h"
#include "ir/ops/common.h"
#include "ir/table.h"
#include "ir/window.h"

/* ---- shapes ---- */

static veer_status_t sees_only_padding(int i, int64_t o) {
    return veer_error(VEER_ERR_UNSUPPORTED, "spatial axis %d: the window at output %lld sees only padding", i,
                      (long long)o);
}

/* A window that sees only padding has no maximum and no mean. Those that start behind the input do; of those that start
 * before it, the first one is the farthest from the input, and whatever reaches it sees it, unless a dilation larger
 * than the input steps over it: then the windows, which repeat themselves after d positions, are looked at one by one.
 */
static veer_status_t check_sees_input(const veer_window_t *w, int i, int64_t in, int64_t out) {
    enum { MOST_STEPS = 1 << 20 };
    int64_t s = w->strides[i], d = w->dilations[i], start = -w->pads_before[i], from, to;
    int64_t behind = (in - start + s - 1) / s, before = (-start + s - 1) / s; /* the first position there; how many */
    if (before > out) before = out;
    int64_t steps = d <= in ? (before > 0) : (before < d ? before : d);
    if (steps > MOST_STEPS)
        return veer_error(VEER_ERR_UNSUPPORTED, "spatial axis %d: a dilation of %lld over an input of %lld", i,
                          (long long)d, (long long)in);
    for (int64_t o = 0; o < steps; o++) {
        veer_window_range(w, i, o, 0, in, &from, &to);
        if (from >= to) return sees_only_padding(i, o);
    }
    return behind < out ? sees_only_padding(i, behind) : veer_ok();
}

static veer_status_t infer_pool(veer_infer_t *c, bool needs_input) {
    veer_window_t w;
    VEER_TRY(veer_window_infer(c, NULL, &w));
    bool last = veer_infer_int(c, "channels_last") != 0;
    const veer_type_t first = veer_channels_first(&c->in[0], last), *x = &first;
    veer_type_t y = veer_type_make(x->dtype, x->rank, x->dims);
    for (int i = 0; i < w.spatial; i++) {
        int64_t in = x->dims[2 + i];
        if (in < 1) return veer_error(VEER_ERR_UNSUPPORTED, "spatial axis %d of the input is empty", i);
        VEER_TRY(veer_window_positions(&w, i, in, veer_infer_int(c, "ceil_mode") != 0, &y.dims[2 + i]));
        if (needs_input) VEER_TRY(check_sees_input(&w, i, in, y.dims[2 + i]));
    }
    c->out[0] = veer_channels_last(&y, last);
    return veer_type_check(&y);
}

static veer_status_t infer_max_pool(veer_infer_t *c) {
    VEER_TRY(infer_pool(c, true));
    c->out[1] = c->out[0];
    c->out[1].dtype = VEER_DTYPE_I64;
    return veer_type_check(&c->out[1]);
}

static veer_status_t infer_avg_pool(veer_infer_t *c) {
    return infer_pool(c, veer_infer_int(c, "count_include_pad") == 0);
}

/* ---- gradients ---- */

/* Each cotangent goes to the element that was the maximum; indices are x's own, wherever its channels stand. */
static veer_status_t max_pool_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_value_t dy = g->d_out[0];
    if (!dy.i) return veer_builder_status(b); /* only the indices matter: they are piecewise constant */
    veer_type_t x = *veer_builder_type(b, g->in[0]), y = *veer_builder_type(b, g->out[0]);
    veer_value_t zeros = veer_zeros(b, VEER_TYPE(x.dtype, veer_type_count(&x)));
    veer_value_t indices = veer_reshape(b, g->out[1], VEER_DIMS(veer_type_count(&y)));
    veer_value_t updates = veer_reshape(b, dy, VEER_DIMS(veer_type_count(&y)));
    veer_value_t dx =
        veer_build(b, VEER_OP_SCATTER_ADD, VEER_IN(zeros, indices, updates), VEER_ATTRS(VEER_INT("axis", 0)));
    g->d_in[0] = veer_reshape_like(b, dx, &x);
    return veer_builder_status(b);
}

static bool same_counts(const double *table, int64_t n) {
    for (int64_t i = 1; i < n; i++)
        if (table[i] != table[0]) return false;
    return true;
}

/* dy / (number of inputs that each output is the mean of); the numbers are a constant of the spatial shape. */
static veer_value_t divide_by_counts(veer_builder_t *b, veer_value_t dy, const veer_window_t *w, const veer_type_t *x,
                                     bool include_pad) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t y = *veer_builder_type(b, dy), spatial = veer_type_make(y.dtype, w->spatial, y.dims + 2);
    int64_t n = veer_type_count(&spatial);
    veer_allocator_t allocator = veer_graph_allocator(b->graph);
    double *table = veer_alloc_array(allocator, (size_t)n, sizeof *table);
    if (!table) {
        veer_builder_fail(b, veer_out_of_memory());
        return VEER_NO_VALUE;
    }
    for (int64_t p = 0; p < n; p++) {
        double count = 1;
        int64_t rest = p;
        for (int i = w->spatial; i-- > 0; rest /= spatial.dims[i])
            count *= (double)veer_window_count(w, i, rest % spatial.dims[i], x->dims[2 + i], include_pad);
        table[p] = 1 / count;
    }
    veer_value_t scaled =
        n && same_counts(table, n) ? veer_mul_c(b, dy, table[0]) : veer_mul(b, dy, veer_const_table(b, spatial, table));
    veer_free(allocator, table);
    return scaled;
}

/* Every d repeated over its tile, then cut or padded to x's size: [N, C, o] to [N, C, o, k] to [N, C, o*k]. */
static veer_value_t spread_tiles(veer_builder_t *b, veer_value_t d, const veer_window_t *w, const veer_type_t *x) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t y = *veer_builder_type(b, d), full = y;
    int64_t apart[VEER_MAX_RANK] = {y.dims[0], y.dims[1]}, tiled[VEER_MAX_RANK] = {y.dims[0], y.dims[1]};
    int64_t none[VEER_MAX_RANK] = {0}, missing[VEER_MAX_RANK] = {0};
    for (int i = 0; i < w->spatial; i++) {
        apart[2 + 2 * i] = tiled[2 + 2 * i] = y.dims[2 + i];
        apart[3 + 2 * i] = 1, tiled[3 + 2 * i] = w->kernel[i];
        full.dims[2 + i] *= w->kernel[i];
    }
    d = veer_reshape(b, d, 2 + 2 * w->spatial, apart);
    d = veer_reshape_like(b, veer_broadcast_to(b, d, 2 + 2 * w->spatial, tiled), &full);
    for (int i = 2; i < x->rank; i++) {
        if (full.dims[i] > x->dims[i])
            d = veer_slice_axis(b, d, i, 0, x->dims[i], 1);
        else
            missing[i] = x->dims[i] - full.dims[i];
    }
    return veer_pad_zero(b, d, none, missing);
}

/* The window as a convolution's, depthwise: of x [N, C, spatial...] and ones, with its pads moved so that y and x have
 * their sizes: a ceil_mode window may hang over the end, a stride may leave inputs behind the last window. */
static veer_value_t convolve_ones(veer_builder_t *b, veer_op_t op, veer_value_t in, veer_window_t w,
                                  const veer_type_t *x, const veer_type_t *y) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t kernel = VEER_TYPE(x->dtype, x->dims[1], 1);
    for (int i = 0; i < w.spatial; i++) {
        kernel.dims[kernel.rank++] = w.kernel[i];
        int64_t end = (y->dims[2 + i] - 1) * w.strides[i] + veer_window_extent(&w, i) - w.pads_before[i];
        int64_t behind = end - x->dims[2 + i];
        w.pads_after[i] = behind > 0 ? behind : 0;
        w.output_padding[i] = behind < 0 ? -behind : 0;
    }
    int n = w.spatial;
    veer_named_attr_t strides = VEER_INTS("strides", w.strides, n), before = VEER_INTS("pads_before", w.pads_before, n);
    veer_named_attr_t after = VEER_INTS("pads_after", w.pads_after, n), groups = VEER_INT("groups", x->dims[1]);
    veer_named_attr_t dilations = VEER_INTS("dilations", w.dilations, n);
    veer_value_t operands[] = {in, veer_full(b, kernel, 1)};
    if (op == VEER_OP_CONV)
        return veer_build(b, op, operands, 2, VEER_ATTRS(strides, before, after, dilations, groups));
    veer_named_attr_t output_padding = VEER_INTS("output_padding", w.output_padding, n);
    return veer_build(b, op, operands, 2, VEER_ATTRS(strides, before, after, dilations, output_padding, groups));
}

static veer_status_t avg_pool_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_window_t w = veer_window_of_node(g->graph, g->node);
    bool last = veer_node_channels_last(g->graph, g->node);
    veer_type_t x = veer_channels_first(veer_builder_type(b, g->in[0]), last);
    bool include_pad = veer_node_int(g->graph, g->node, "count_include_pad") != 0;
    veer_value_t d = divide_by_counts(b, veer_to_channels_first(b, g->d_out[0], last), &w, &x, include_pad);
    veer_type_t y = veer_channels_first(veer_builder_type(b, g->out[0]), last);
    d = veer_window_is_tiling(&w) ? spread_tiles(b, d, &w, &x) : convolve_ones(b, VEER_OP_CONV_TRANSPOSE, d, w, &x, &y);
    g->d_in[0] = veer_to_channels_last(b, d, last);
    return veer_builder_status(b);
}

/* ---- spelled out ---- */

/* [N, C, o*k...] to [N, C, o, k...], and the mean of each tile. What is behind the last one is in none. */
static veer_value_t mean_of_tiles(veer_builder_t *b, veer_value_t x, const veer_window_t *w, const veer_type_t *y) {
    int64_t apart[VEER_MAX_RANK] = {y->dims[0], y->dims[1]}, axes[VEER_MAX_SPATIAL];
    for (int i = 0; i < w->spatial; i++) {
        x = veer_slice_axis(b, x, 2 + i, 0, y->dims[2 + i] * w->kernel[i], 1);
        apart[2 + 2 * i] = y->dims[2 + i], apart[3 + 2 * i] = w->kernel[i], axes[i] = 3 + 2 * i;
    }
    x = veer_reshape(b, x, 2 + 2 * w->spatial, apart);
    return veer_reduce(b, VEER_OP_REDUCE_MEAN, x, axes, w->spatial, false);
}

static veer_status_t avg_pool_expand(veer_builder_t *b, veer_expand_t *e) {
    veer_window_t w = veer_window_of_node(e->graph, e->node);
    bool last = veer_node_channels_last(e->graph, e->node);
    bool include_pad = veer_node_int(e->graph, e->node, "count_include_pad") != 0;
    veer_type_t y = veer_channels_first(veer_value_type(e->graph, veer_node_out(e->graph, e->node, 0)), last);
    veer_type_t t = veer_channels_first(veer_value_type(e->graph, e->in[0]), last);
    veer_value_t x = veer_to_channels_first(b, e->in[0], last);
    if (veer_pool_is_of_tiles(e->graph, e->node))
        x = mean_of_tiles(b, x, &w, &y);
    else
        x = divide_by_counts(b, convolve_ones(b, VEER_OP_CONV, x, w, &t, &y), &w, &t, include_pad);
    e->out[0] = veer_to_channels_last(b, x, last);
    return veer_builder_status(b);
}

#define POOL_ATTRS                                                                                                     \
    {.name = "kernel", .kind = VEER_ATTR_INTS, .required = true, .doc = "the window's size, one per spatial axis"},    \
        {.name = "strides", .kind = VEER_ATTR_INTS, .required = true, .doc = "one per spatial axis, >= 1"},            \
        {.name = "pads_before", .kind = VEER_ATTR_INTS, .required = true, .doc = "padding before the input, >= 0"},    \
        {.name = "pads_after", .kind = VEER_ATTR_INTS, .required = true, .doc = "padding after the input, >= 0"},      \
        {.name = "dilations", .kind = VEER_ATTR_INTS, .required = true, .doc = "distance of window elements, >= 1"},   \
        {.name = "ceil_mode", .kind = VEER_ATTR_INT, .doc = "1: a last window may hang over the end"},                 \
        VEER_CHANNELS_LAST_ATTR

const veer_op_def_t veer_op_max_pool = {
    .name = "max_pool",
    .doc = "The largest element of each window of x [N, C, spatial...] (the first of equal ones; a NaN wins), and its "
           "row-major "
           "index in the whole x. With channels_last x and y are [N, spatial..., C].",
    .in = {{"x", VEER_FLOAT_ONLY, false, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}, {"indices", VEER_INDEX, false, false}},
    .attrs = {POOL_ATTRS},
    .traits = VEER_PURE,
    .infer = infer_max_pool,
    .grad = max_pool_grad,
    .tol_f32 = VEER_TOL_EXACT, /* a selection */
};

const veer_op_def_t veer_op_avg_pool = {
    .name = "avg_pool",
    .doc = "The mean of each window of x [N, C, spatial...], over the elements inside the input, or with "
           "count_include_pad over "
           "those inside the padded input, padding being 0. channels_last as in max_pool.",
    .in = {{"x", VEER_FLOAT_ONLY, false, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs = {POOL_ATTRS, {.name = "count_include_pad", .kind = VEER_ATTR_INT, .doc = "1: padding counts as zeros"}},
    .traits = VEER_PURE | VEER_COMPOSITE,
    .infer = infer_avg_pool,
    .grad = avg_pool_grad,
    .expand = avg_pool_expand,
    .tol_f32 = {.abs = 1e-6, .rel = 2e-6}, /* sums of up to a few hundred elements of size 1, divided */
};
