/* conv and conv_transpose. Each is the other's gradient towards x, with the same weight and window; the weight's
 * gradient of both is a convolution whose batch is the channels and whose kernel is the narrow tensor:
 *
 *     conv            narrow[n, m, o]                      = sum wide[n, c, o*stride + k*dilation - pad] w[m, c, k]
 *     conv_transpose  wide[n, c, o*stride + k*dilation - pad] += narrow[n, m, o] w[m, c, k]
 *     both            dw[m, c, k] = sum over n, o of narrow[n, m, o] wide[n, c, o*stride + k*dilation - pad]
 *
 * so in the last line k walks with `dilation` and o with `stride`: the two change places. "Wide" is x of conv and y of
 * conv_transpose, "narrow" the other one; w is [narrow channels, wide channels / groups, kernel...] for both. */
#include "ir/channels.h"
#include "ir/ops/common.h"
#include "ir/window.h"

/* ---- shapes ---- */

static veer_status_t infer_bias(const veer_infer_t *c, int64_t channels) {
    char text[VEER_TYPE_TEXT_BYTES];
    if (c->in_count < 3 || !c->in[2].dtype) return veer_ok();
    if (c->in[2].dtype == c->in[0].dtype && c->in[2].rank == 1 && c->in[2].dims[0] == channels) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "bias is %s, expected %s[%lld]", veer_type_text(&c->in[2], text),
                      veer_dtype_name(c->in[0].dtype), (long long)channels);
}

static veer_status_t infer_operands(const veer_infer_t *c, int64_t groups) {
    char x[VEER_TYPE_TEXT_BYTES], w[VEER_TYPE_TEXT_BYTES];
    if (c->in[1].rank != c->in[0].rank || c->in[1].dtype != c->in[0].dtype)
        return veer_error(VEER_ERR_UNSUPPORTED, "weight is %s, expected %s of rank %d as the input %s has",
                          veer_type_text(&c->in[1], w), veer_dtype_name(c->in[0].dtype), c->in[0].rank,
                          veer_type_text(&c->in[0], x));
    if (groups < 1) return veer_error(VEER_ERR_UNSUPPORTED, "groups is %lld, expected 1 or more", (long long)groups);
    return veer_ok();
}

static veer_status_t infer_conv(veer_infer_t *c) {
    veer_window_t window;
    int64_t groups = veer_infer_int(c, "groups");
    VEER_TRY(infer_operands(c, groups));
    VEER_TRY(veer_window_infer(c, &c->in[1], &window));
    bool last = veer_infer_int(c, "channels_last") != 0;
    const veer_type_t first = veer_channels_first(&c->in[0], last), *x = &first, *w = &c->in[1];
    if (x->dims[1] % groups || x->dims[1] / groups != w->dims[1])
        return veer_error(VEER_ERR_UNSUPPORTED,
                          "the input has %lld channels in %lld groups, the weight expects %lld channels in each",
                          (long long)x->dims[1], (long long)groups, (long long)w->dims[1]);
    if (w->dims[0] % groups)
        return veer_error(VEER_ERR_UNSUPPORTED,
                          "the weight gives %lld channels, expected a multiple of the %lld groups",
                          (long long)w->dims[0], (long long)groups);
    VEER_TRY(infer_bias(c, w->dims[0]));
    veer_type_t y = veer_type_make(x->dtype, x->rank, x->dims);
    y.dims[1] = w->dims[0];
    for (int i = 0; i < window.spatial; i++)
        VEER_TRY(veer_window_positions(&window, i, x->dims[2 + i], false, &y.dims[2 + i]));
    c->out[0] = veer_channels_last(&y, last);
    return veer_type_check(&y);
}

static veer_status_t infer_conv_transpose(veer_infer_t *c) {
    veer_window_t window;
    int64_t groups = veer_infer_int(c, "groups"), channels;
    VEER_TRY(infer_operands(c, groups));
    VEER_TRY(veer_window_infer(c, &c->in[1], &window));
    bool last = veer_infer_int(c, "channels_last") != 0;
    const veer_type_t first = veer_channels_first(&c->in[0], last), *x = &first, *w = &c->in[1];
    if (x->dims[1] != w->dims[0] || x->dims[1] % groups)
        return veer_error(VEER_ERR_UNSUPPORTED,
                          "the input has %lld channels, the weight %lld; expected the same multiple of the %lld groups",
                          (long long)x->dims[1], (long long)w->dims[0], (long long)groups);
    if (__builtin_mul_overflow(w->dims[1], groups, &channels))
        return veer_error(VEER_ERR_UNSUPPORTED, "groups is %lld, too many", (long long)groups);
    VEER_TRY(infer_bias(c, channels));
    veer_type_t y = veer_type_make(x->dtype, x->rank, x->dims);
    y.dims[1] = channels;
    for (int i = 0; i < window.spatial; i++)
        VEER_TRY(veer_window_positions_transposed(&window, i, x->dims[2 + i], &y.dims[2 + i]));
    c->out[0] = veer_channels_last(&y, last);
    return veer_type_check(&y);
}

/* ---- gradients ---- */

static veer_value_t build(veer_builder_t *b, veer_op_t op, veer_value_t x, veer_value_t w, const veer_window_t *window,
                          int64_t groups) {
    int n = window->spatial;
    bool transposed = op == VEER_OP_CONV_TRANSPOSE;
    return veer_build(
        b, op, VEER_IN(x, w),
        VEER_ATTRS(VEER_INTS("strides", window->strides, n), VEER_INTS("pads_before", window->pads_before, n),
                   VEER_INTS("pads_after", window->pads_after, n), VEER_INTS("dilations", window->dilations, n),
                   VEER_INT("groups", groups),
                   transposed ? VEER_INTS("output_padding", window->output_padding, n) : (veer_named_attr_t){0}));
}

/* conv with exactly `want` positions along each spatial axis, whatever pads_after says: what the last window lacks is
 * padded, what it does not reach is cut off. VEER_NO_VALUE where all windows lie in the padding before (result zero).
 */
static veer_value_t conv_exact(veer_builder_t *b, veer_value_t x, veer_value_t w, veer_window_t window,
                               const int64_t *want, int64_t groups) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    for (int i = 0; i < window.spatial; i++) {
        int64_t reach = (want[i] - 1) * window.strides[i] + veer_window_extent(&window, i) - window.pads_before[i];
        int64_t have = veer_builder_type(b, x)->dims[2 + i];
        if (reach < 1) return VEER_NO_VALUE;
        if (reach < have) x = veer_slice_axis(b, x, 2 + i, 0, reach, 1);
        if (!veer_builder_ok(b)) return VEER_NO_VALUE;
        window.pads_after[i] = reach > have ? reach - have : 0;
    }
    return build(b, VEER_OP_CONV, x, w, &window, groups);
}

/* The first two dims exchanged. */
static veer_value_t swap_batch(veer_builder_t *b, veer_value_t x) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    int64_t perm[VEER_MAX_RANK] = {1, 0};
    for (int i = 2; i < veer_builder_type(b, x)->rank; i++) perm[i] = i;
    return veer_transpose(b, x, perm);
}

/* [N, groups * C, ...] to [C, groups * N, ...]: batch and channels exchanged within each group. */
static veer_value_t swap_batch_in_groups(veer_builder_t *b, veer_value_t x, int64_t groups) {
    if (groups == 1 || !veer_builder_ok(b)) return swap_batch(b, x);
    veer_type_t t = *veer_builder_type(b, x);
    int64_t channels = t.dims[1] / groups, size = veer_type_count_range(&t, 2, t.rank);
    x = veer_reshape(b, x, VEER_DIMS(t.dims[0], groups, channels, size));
    x = veer_transpose(b, x, (int64_t[]){2, 1, 0, 3});
    t.dims[1] = t.dims[0] * groups, t.dims[0] = channels;
    return veer_reshape_like(b, x, &t);
}

/* dw of both ops; see the equation at the top. */
static veer_value_t weight_grad(veer_builder_t *b, veer_value_t wide, veer_value_t narrow, const veer_window_t *window,
                                int64_t groups) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_window_t exchanged = *window;
    for (int i = 0; i < window->spatial; i++) {
        exchanged.kernel[i] = veer_builder_type(b, narrow)->dims[2 + i];
        exchanged.strides[i] = window->dilations[i];
        exchanged.dilations[i] = window->strides[i];
    }
    wide = swap_batch_in_groups(b, wide, groups); /* [wide channels / groups, groups * N, ...] */
    narrow = swap_batch(b, narrow);               /* [narrow channels, N, ...] */
    veer_value_t dw = conv_exact(b, wide, narrow, exchanged, window->kernel, groups);
    return dw.i ? swap_batch(b, dw) : dw;
}

static veer_value_t bias_grad(veer_builder_t *b, veer_value_t dy, int spatial) {
    int64_t axes[1 + VEER_MAX_SPATIAL] = {0, 2, 3, 4};
    return veer_reduce(b, VEER_OP_REDUCE_SUM, dy, axes, 1 + spatial, false);
}

/* With channels last: the rule of channels first, on transposes of x and dy.
 *
 * dx: conv_transpose with the same weight; inputs behind the last window (a stride that leaves a remainder) are output
 * padding: their gradient is 0. */
static veer_status_t conv_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_window_t window = veer_window_of_node(g->graph, g->node);
    int64_t groups = veer_node_int(g->graph, g->node, "groups");
    bool last = veer_node_channels_last(g->graph, g->node);
    veer_type_t x = veer_channels_first(veer_builder_type(b, g->in[0]), last),
                y = veer_channels_first(veer_builder_type(b, g->out[0]), last);
    veer_value_t dy = veer_to_channels_first(b, g->d_out[0], last);
    if (g->need[0]) {
        veer_window_t back = window;
        for (int i = 0; i < window.spatial; i++) {
            int64_t reach = (y.dims[2 + i] - 1) * window.strides[i] + veer_window_extent(&window, i);
            back.output_padding[i] = x.dims[2 + i] + window.pads_before[i] + window.pads_after[i] - reach;
        }
        g->d_in[0] = veer_to_channels_last(b, build(b, VEER_OP_CONV_TRANSPOSE, dy, g->in[1], &back, groups), last);
    }
    if (g->need[1]) g->d_in[1] = weight_grad(b, veer_to_channels_first(b, g->in[0], last), dy, &window, groups);
    if (g->in_count > 2 && g->in[2].i && g->need[2]) g->d_in[2] = bias_grad(b, dy, window.spatial);
    return veer_builder_status(b);
}

static veer_status_t conv_transpose_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_window_t window = veer_window_of_node(g->graph, g->node);
    int64_t groups = veer_node_int(g->graph, g->node, "groups");
    bool last = veer_node_channels_last(g->graph, g->node);
    veer_value_t dy = veer_to_channels_first(b, g->d_out[0], last);
    veer_type_t x = veer_channels_first(veer_builder_type(b, g->in[0]), last);
    if (g->need[0])
        g->d_in[0] = veer_to_channels_last(b, conv_exact(b, dy, g->in[1], window, x.dims + 2, groups), last);
    if (g->need[1]) g->d_in[1] = weight_grad(b, dy, veer_to_channels_first(b, g->in[0], last), &window, groups);
    if (g->in_count > 2 && g->in[2].i && g->need[2]) g->d_in[2] = bias_grad(b, dy, window.spatial);
    return veer_builder_status(b);
}

#define WINDOW_ATTRS                                                                                                   \
    {.name = "strides", .kind = VEER_ATTR_INTS, .required = true, .doc = "one per spatial axis, >= 1"},                \
        {.name = "pads_before", .kind = VEER_ATTR_INTS, .required = true, .doc = "zeros before the input, >= 0"},      \
        {.name = "pads_after", .kind = VEER_ATTR_INTS, .required = true, .doc = "zeros after the input, >= 0"}, {      \
        .name = "dilations", .kind = VEER_ATTR_INTS, .required = true, .doc = "distance of kernel positions, >= 1"     \
    }
#define GROUPS_ATTR                                                                                                    \
    { .name = "groups", .kind = VEER_ATTR_INT, .default_int = 1, .doc = "channels are split into this many" }

/* As matmul with K = channels * kernel of about 1024; a Winograd implementation multiplies its roundings by about 10.
 */
#define CONV_TOLERANCE                                                                                                 \
    { .abs = 2e-4, .rel = 2e-5 }

const veer_op_def_t veer_op_conv = {
    .name = "conv",
    .doc = "Cross-correlation of x [N, C, spatial...] with w [M, C/groups, kernel...], plus bias [M]: y[n, m, o] = "
           "bias[m] + "
           "sum over c, k of x[n, c, o*stride + k*dilation - pad_before] w[m, c, k]. One to three spatial axes. With "
           "channels_last x is [N, spatial..., C] and y [N, spatial..., M]; w and bias stay as they are.",
    .in = {{"x", VEER_FLOAT_ONLY, false, false},
           {"w", VEER_FLOAT_ONLY, false, false},
           {"bias", VEER_FLOAT_ONLY, true, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs = {WINDOW_ATTRS, GROUPS_ATTR, VEER_CHANNELS_LAST_ATTR},
    .traits = VEER_PURE | VEER_CONTRACTION,
    .infer = infer_conv,
    .grad = conv_grad,
    .tol_f32 = CONV_TOLERANCE,
};

const veer_op_def_t veer_op_conv_transpose = {
    .name = "conv_transpose",
    .doc = "The transpose of conv, x [N, C, spatial...], w [C, M/groups, kernel...], bias [M]: x[n, c, i] w[c, m, k] "
           "is added to "
           "y[n, m, i*stride + k*dilation - pad_before]. Sizes (in-1)*stride + (kernel-1)*dilation + 1 + "
           "output_padding - pads. channels_last as in conv.",
    .in = {{"x", VEER_FLOAT_ONLY, false, false},
           {"w", VEER_FLOAT_ONLY, false, false},
           {"bias", VEER_FLOAT_ONLY, true, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs =
        {WINDOW_ATTRS,
         {.name = "output_padding", .kind = VEER_ATTR_INTS, .required = true, .doc = "more outputs at the end, >= 0"},
         GROUPS_ATTR,
         VEER_CHANNELS_LAST_ATTR},
    .traits = VEER_PURE | VEER_CONTRACTION,
    .infer = infer_conv_transpose,
    .grad = conv_transpose_grad,
    .tol_f32 = CONV_TOLERANCE,
};
