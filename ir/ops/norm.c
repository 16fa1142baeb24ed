/* layer_norm, rms_norm and group_norm (and its gradient as one node): y = xhat * scale + bias, with xhat = (x -
 * mean(x)) * rstd over a group of elements, rstd = (mean((x - mean(x))^2) + eps)^(-1/2); rms_norm leaves the mean out.
 */
#include "ir/channels.h"
#include "ir/ops/common.h"

/* What forward and backward share; `centre`: subtract the mean. */
typedef struct rows_s {
    int64_t axes[VEER_MAX_RANK]; /* the axes of one group, ascending */
    int axis_count;
    bool centre;
    veer_value_t xhat, rstd;
} rows_t;

static veer_value_t mean_of(veer_builder_t *b, const rows_t *r, veer_value_t x) {
    return veer_reduce(b, VEER_OP_REDUCE_MEAN, x, r->axes, r->axis_count, true);
}

static void normalise(veer_builder_t *b, rows_t *r, veer_value_t x, double eps) {
    if (r->centre) x = veer_sub(b, x, mean_of(b, r, x));
    r->rstd = veer_rsqrt(b, veer_add_c(b, mean_of(b, r, veer_mul(b, x, x)), eps));
    r->xhat = veer_mul(b, x, r->rstd);
}

/* d = d xhat: dx = rstd * (d - mean(d) - xhat * mean(d * xhat)); without centring the term mean(d) falls away */
static veer_value_t normalise_grad(veer_builder_t *b, const rows_t *r, veer_value_t d) {
    veer_value_t along = veer_mul(b, r->xhat, mean_of(b, r, veer_mul(b, d, r->xhat)));
    veer_value_t rest = r->centre ? veer_sub(b, d, mean_of(b, r, d)) : d;
    return veer_mul(b, r->rstd, veer_sub(b, rest, along));
}

/* ---- layer_norm, rms_norm: over dims axis..rank-1 ---- */

static rows_t rows_from_axis(int64_t axis, int rank, bool centre) {
    rows_t r = {.centre = centre, .axis_count = rank - (int)axis};
    for (int i = 0; i < r.axis_count; i++) r.axes[i] = axis + i;
    return r;
}

static veer_status_t infer_eps(const veer_infer_t *c) {
    double eps = veer_infer_float(c, "eps");
    if (eps >= 0) return veer_ok(); /* false for NaN */
    return veer_error(VEER_ERR_UNSUPPORTED, "eps is %g, expected a number >= 0", eps);
}

static veer_status_t infer_parameter(const veer_infer_t *c, int i, const veer_type_t *row) {
    static const char *const names[] = {"x", "scale", "bias"};
    char got[VEER_TYPE_TEXT_BYTES], want[VEER_TYPE_TEXT_BYTES];
    if (i >= c->in_count || !c->in[i].dtype) return veer_ok(); /* absent */
    if (c->in[i].dtype == row->dtype && veer_type_broadcasts_to(&c->in[i], row)) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "%s is %s, expected something that broadcasts to %s", names[i],
                      veer_type_text(&c->in[i], got), veer_type_text(row, want));
}

static veer_status_t infer_rows(veer_infer_t *c) {
    int axis = 0;
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), c->in[0].rank, &axis));
    VEER_TRY(infer_eps(c));
    veer_type_t row = veer_type_make(c->in[0].dtype, c->in[0].rank - axis, c->in[0].dims + axis);
    VEER_TRY(infer_parameter(c, 1, &row));
    VEER_TRY(infer_parameter(c, 2, &row));
    return veer_infer_same(c);
}

static bool present(const veer_value_t *in, int count, int i) {
    return i < count && in[i].i;
}

static veer_status_t rows_grad(veer_builder_t *b, veer_grad_t *g, bool centre) {
    veer_value_t dy = g->d_out[0];
    rows_t r = rows_from_axis(veer_node_int(g->graph, g->node, "axis"), veer_builder_type(b, g->in[0])->rank, centre);
    bool has_scale = present(g->in, g->in_count, 1), has_bias = present(g->in, g->in_count, 2);
    if (g->need[0] || (has_scale && g->need[1])) normalise(b, &r, g->in[0], veer_node_float(g->graph, g->node, "eps"));
    if (g->need[0]) g->d_in[0] = normalise_grad(b, &r, has_scale ? veer_mul(b, dy, g->in[1]) : dy);
    if (has_scale && g->need[1]) {
        veer_type_t type = *veer_value_type(g->graph, g->in[1]);
        g->d_in[1] = veer_sum_to(b, veer_mul(b, dy, r.xhat), &type);
    }
    if (has_bias && g->need[2]) {
        veer_type_t type = *veer_value_type(g->graph, g->in[2]);
        g->d_in[2] = veer_sum_to(b, dy, &type);
    }
    return veer_builder_status(b);
}

static veer_status_t rows_expand(veer_builder_t *b, veer_expand_t *e, bool centre) {
    rows_t r = rows_from_axis(veer_node_int(e->graph, e->node, "axis"), veer_builder_type(b, e->in[0])->rank, centre);
    normalise(b, &r, e->in[0], veer_node_float(e->graph, e->node, "eps"));
    veer_value_t y = r.xhat;
    if (present(e->in, e->in_count, 1)) y = veer_mul(b, y, e->in[1]);
    if (present(e->in, e->in_count, 2)) y = veer_add(b, y, e->in[2]);
    e->out[0] = y;
    return veer_builder_status(b);
}

static veer_status_t layer_norm_grad(veer_builder_t *b, veer_grad_t *g) {
    return rows_grad(b, g, true);
}
static veer_status_t layer_norm_expand(veer_builder_t *b, veer_expand_t *e) {
    return rows_expand(b, e, true);
}
static veer_status_t rms_norm_grad(veer_builder_t *b, veer_grad_t *g) {
    return rows_grad(b, g, false);
}
static veer_status_t rms_norm_expand(veer_builder_t *b, veer_expand_t *e) {
    return rows_expand(b, e, false);
}

/* ---- group_norm: x [N, C, ...] as [N, groups, C / groups * ...], or [N, ..., C] as [N, ..., groups, C / groups] ----
 */

/* x and the groups; gives x with its channels first. */
static veer_status_t check_groups(const veer_infer_t *c, veer_type_t *out_first) {
    char text[VEER_TYPE_TEXT_BYTES];
    int64_t groups = veer_infer_int(c, "groups");
    if (c->in[0].rank < 2)
        return veer_error(VEER_ERR_UNSUPPORTED, "input %s has rank %d, expected at least 2",
                          veer_type_text(&c->in[0], text), c->in[0].rank);
    *out_first = veer_channels_first(&c->in[0], veer_infer_int(c, "channels_last") != 0);
    if (groups < 1 || out_first->dims[1] % groups)
        return veer_error(VEER_ERR_UNSUPPORTED, "groups is %lld, expected a divisor of the %lld channels",
                          (long long)groups, (long long)out_first->dims[1]);
    return infer_eps(c);
}

static veer_status_t infer_group_norm(veer_infer_t *c) {
    static const char *const names[] = {"x", "scale", "bias"};
    char text[VEER_TYPE_TEXT_BYTES];
    veer_type_t x;
    VEER_TRY(check_groups(c, &x));
    for (int i = 1; i < c->in_count && i < 3; i++) {
        if (!c->in[i].dtype) continue;
        if (c->in[i].dtype != x.dtype || c->in[i].rank != 1 || c->in[i].dims[0] != x.dims[1])
            return veer_error(VEER_ERR_UNSUPPORTED, "%s is %s, expected %s[%lld]", names[i],
                              veer_type_text(&c->in[i], text), veer_dtype_name(x.dtype), (long long)x.dims[1]);
    }
    return veer_infer_same(c);
}

static veer_status_t infer_group_norm_grad(veer_infer_t *c) {
    char got[VEER_TYPE_TEXT_BYTES], want[VEER_TYPE_TEXT_BYTES];
    veer_type_t x;
    VEER_TRY(check_groups(c, &x));
    if (!veer_type_equal(&c->in[1], &c->in[0]))
        return veer_error(VEER_ERR_UNSUPPORTED, "d is %s, expected %s as x is", veer_type_text(&c->in[1], got),
                          veer_type_text(&c->in[0], want));
    return veer_infer_same(c);
}

/* A node's groups: how many, and where the channels stand. */
typedef struct groups_s {
    int64_t count;
    bool last;
} groups_t;

static groups_t groups_of(const veer_graph_t *g, veer_node_t node) {
    return (groups_t){veer_node_int(g, node, "groups"), veer_node_channels_last(g, node)};
}

static veer_value_t grouped(veer_builder_t *b, veer_value_t x, groups_t groups) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    const veer_type_t t = veer_channels_first(veer_builder_type(b, x), groups.last);
    int64_t each = t.dims[1] / groups.count, space = veer_type_count_range(&t, 2, t.rank);
    if (groups.last) return veer_reshape(b, x, VEER_DIMS(t.dims[0], space, groups.count, each));
    return veer_reshape(b, x, VEER_DIMS(t.dims[0], groups.count, each * space));
}

/* The axes of a group in what `grouped` gives. */
static rows_t rows_of_groups(groups_t groups) {
    if (groups.last) return (rows_t){.axes = {1, 3}, .axis_count = 2, .centre = true};
    return (rows_t){.axes = {2}, .axis_count = 1, .centre = true};
}

/* [C], broadcasting over a tensor of `rank` dims along its channels: [C, 1, ...], unless they are last anyway. */
static veer_value_t per_channel(veer_builder_t *b, veer_value_t v, int rank, groups_t groups) {
    if (groups.last || !veer_builder_ok(b)) return v;
    int64_t dims[VEER_MAX_RANK] = {veer_builder_type(b, v)->dims[0]};
    for (int i = 1; i < rank - 1; i++) dims[i] = 1;
    return veer_reshape(b, v, rank - 1, dims);
}

/* Over all dims but the channels: [N, C, ...] to [C]. */
static veer_value_t sum_to_channels(veer_builder_t *b, veer_value_t x, int rank, groups_t groups) {
    int64_t axes[VEER_MAX_RANK] = {0};
    for (int i = 1; i < rank - 1; i++) axes[i] = groups.last ? i : i + 1;
    return veer_reduce(b, VEER_OP_REDUCE_SUM, x, axes, rank - 1, false);
}

/* dx is one node, of d = dy * scale. */
static veer_value_t grad_node(veer_builder_t *b, const veer_grad_t *g, veer_value_t d) {
    veer_named_attr_t attrs[] = {VEER_INT("groups", veer_node_int(g->graph, g->node, "groups")),
                                 VEER_FLOAT("eps", veer_node_float(g->graph, g->node, "eps")),
                                 VEER_INT("channels_last", veer_node_channels_last(g->graph, g->node)),
                                 {0}};
    return veer_build(b, VEER_OP_GROUP_NORM_GRAD, VEER_IN(g->in[0], d), attrs);
}

static veer_status_t group_norm_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_value_t dy = g->d_out[0];
    veer_type_t type = *veer_builder_type(b, g->in[0]);
    groups_t groups = groups_of(g->graph, g->node);
    bool has_scale = present(g->in, g->in_count, 1), has_bias = present(g->in, g->in_count, 2);
    if (g->need[0])
        g->d_in[0] = grad_node(b, g, has_scale ? veer_mul(b, dy, per_channel(b, g->in[1], type.rank, groups)) : dy);
    if (has_scale && g->need[1]) {
        rows_t r = rows_of_groups(groups);
        normalise(b, &r, grouped(b, g->in[0], groups), veer_node_float(g->graph, g->node, "eps"));
        g->d_in[1] = sum_to_channels(b, veer_mul(b, dy, veer_reshape_like(b, r.xhat, &type)), type.rank, groups);
    }
    if (has_bias && g->need[2]) g->d_in[2] = sum_to_channels(b, dy, type.rank, groups);
    return veer_builder_status(b);
}

static veer_status_t group_norm_grad_expand(veer_builder_t *b, veer_expand_t *e) {
    veer_type_t type = *veer_builder_type(b, e->in[0]);
    groups_t groups = groups_of(e->graph, e->node);
    rows_t r = rows_of_groups(groups);
    normalise(b, &r, grouped(b, e->in[0], groups), veer_node_float(e->graph, e->node, "eps"));
    e->out[0] = veer_reshape_like(b, normalise_grad(b, &r, grouped(b, e->in[1], groups)), &type);
    return veer_builder_status(b);
}

static veer_status_t group_norm_expand(veer_builder_t *b, veer_expand_t *e) {
    veer_type_t type = *veer_builder_type(b, e->in[0]);
    groups_t groups = groups_of(e->graph, e->node);
    rows_t r = rows_of_groups(groups);
    normalise(b, &r, grouped(b, e->in[0], groups), veer_node_float(e->graph, e->node, "eps"));
    veer_value_t y = veer_reshape_like(b, r.xhat, &type);
    if (present(e->in, e->in_count, 1)) y = veer_mul(b, y, per_channel(b, e->in[1], type.rank, groups));
    if (present(e->in, e->in_count, 2)) y = veer_add(b, y, per_channel(b, e->in[2], type.rank, groups));
    e->out[0] = y;
    return veer_builder_status(b);
}

/* Sums of a few thousand terms of size 1 in some order, then a few roundings; scale and bias of size 1. */
#define NORM_TOLERANCE                                                                                                 \
    { .abs = 5e-6, .rel = 5e-6 }
#define EPS_ATTR                                                                                                       \
    { .name = "eps", .kind = VEER_ATTR_FLOAT, .default_float = 1e-5, .doc = "added to the variance, >= 0" }

const veer_op_def_t veer_op_layer_norm = {
    .name = "layer_norm",
    .doc =
        "(x - mean) / sqrt(variance + eps) * scale + bias over dims axis..rank-1; scale and bias broadcast to those.",
    .in = {{"x", VEER_FLOAT_ONLY, false, false},
           {"scale", VEER_FLOAT_ONLY, true, false},
           {"bias", VEER_FLOAT_ONLY, true, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "axis", .kind = VEER_ATTR_INT, .required = true, .doc = "first axis of a row"}, EPS_ATTR},
    .traits = VEER_PURE | VEER_ROWWISE | VEER_COMPOSITE,
    .infer = infer_rows,
    .grad = layer_norm_grad,
    .expand = layer_norm_expand,
    .tol_f32 = NORM_TOLERANCE,
};

const veer_op_def_t veer_op_rms_norm = {
    .name = "rms_norm",
    .doc = "x / sqrt(mean(x^2) + eps) * scale over dims axis..rank-1; scale broadcasts to those.",
    .in = {{"x", VEER_FLOAT_ONLY, false, false}, {"scale", VEER_FLOAT_ONLY, true, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "axis", .kind = VEER_ATTR_INT, .required = true, .doc = "first axis of a row"}, EPS_ATTR},
    .traits = VEER_PURE | VEER_ROWWISE | VEER_COMPOSITE,
    .infer = infer_rows,
    .grad = rms_norm_grad,
    .expand = rms_norm_expand,
    .tol_f32 = NORM_TOLERANCE,
};

const veer_op_def_t veer_op_group_norm = {
    .name = "group_norm",
    .doc =
        "(x - mean) / sqrt(variance + eps) * scale[c] + bias[c] over each sample's groups of channels, x [N, C, ...], "
        "scale and bias [C]; instance normalisation is groups = C. With channels_last x is [N, ..., C].",
    .in = {{"x", VEER_FLOAT_ONLY, false, false},
           {"scale", VEER_FLOAT_ONLY, true, false},
           {"bias", VEER_FLOAT_ONLY, true, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "groups", .kind = VEER_ATTR_INT, .required = true, .doc = "a divisor of the number of channels"},
              EPS_ATTR,
              VEER_CHANNELS_LAST_ATTR},
    .traits = VEER_PURE | VEER_COMPOSITE,
    .infer = infer_group_norm,
    .grad = group_norm_grad,
    .expand = group_norm_expand,
    .tol_f32 = NORM_TOLERANCE,
};

const veer_op_def_t veer_op_group_norm_grad = {
    .name = "group_norm_grad",
    .doc = "The gradient by x of sum(d * group_norm(x)) without scale and bias (d is dy * scale): with mean and rstd = "
           "1 / sqrt(variance + eps) of each sample's groups and xhat = (x - mean) * rstd, "
           "rstd * (d - mean(d) - xhat * mean(d * xhat)); x and d [N, C, ...], with channels_last [N, ..., C].",
    .in = {{"x", VEER_FLOAT_ONLY, false, false}, {"d", VEER_FLOAT_ONLY, false, false}},
    .out = {{"dx", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "groups", .kind = VEER_ATTR_INT, .required = true, .doc = "that of the group_norm"},
              EPS_ATTR,
              VEER_CHANNELS_LAST_ATTR},
    .traits = VEER_PURE | VEER_COMPOSITE,
    .infer = infer_group_norm_grad,
    .grad = veer_grad_by_expansion,
    .expand = group_norm_grad_expand,
    /* as the norms, but differences of three terms of size 1 to 3, times rstd of size 2 */
    .tol_f32 = {.abs = 2e-5, .rel = 1e-5},
};
