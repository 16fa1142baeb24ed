/* recognize-group-norm -- takes group_norm out of the reshapes that exporters put around it, and gives it its scale and
 * bias.
 *
 *     %r = reshape %x {dims = [2, 32, 128]}                               %x: f32[2,64,8,8]
 *     %g = group_norm %r, %ones, %zeros {groups = 32, eps = 1e-5}         or layer_norm %r {axis = 2, eps = 1e-5}
 *     %h = reshape %g {dims = [2, 64, 8, 8]}
 *     %a = mul %h, %scale   %y = add %a, %bias                            %scale, %bias: f32[64,1,1]
 * becomes
 *     %y = group_norm %x, %s, %b {groups = 32, eps = 1e-5}                %s, %b: f32[64], the same bytes
 *
 * (InstanceNorm of ONNX is group_norm with as many groups as channels.) Valid since the elements of a group are
 * neighbours in memory: reshaping [N, C, ...] keeps the groups as long as N stays and the groups divide the channels.
 * Scale and bias join where they are learned and have one entry per channel; those inside the sandwich are per group
 * and must be 1 and 0.
 *
 * Declines where the first dim changes, where nothing is reshaped before the norm, and where somebody else reads what
 * lies between. Of layer_norms only [N, groups, ...] with more channels than groups counts: all else is a layer_norm
 * that happens to be reshaped.
 */
#include "passes/match.h"

/* Absent, or a constant of this value everywhere. */
static bool is_neutral(const veer_graph_t *g, veer_value_t value, double neutral) {
    double c;
    return !value.i || (veer_match_scalar(g, value, &c) && c == neutral);
}

/* No exporter writes it, and its groups are no neighbours. */
static bool is_channels_last(const veer_graph_t *g, veer_node_t norm) {
    return veer_node_op(g, norm) == VEER_OP_GROUP_NORM && veer_node_int(g, norm, "channels_last");
}

/* ---- the sandwich ---- */

/* The groups that `norm` of the middle sees as groups of y, the outer type; 0 where it does not. */
static int64_t groups_of(const veer_graph_t *g, veer_node_t norm, const veer_type_t *y) {
    const veer_type_t *middle = veer_value_type(g, veer_node_in(g, norm, 0));
    bool is_layer = veer_node_op(g, norm) == VEER_OP_LAYER_NORM;
    if (y->rank < 2 || middle->rank < 2 || middle->dims[0] != y->dims[0]) return 0;
    if (is_layer && (veer_node_int(g, norm, "axis") != 2 || y->rank < 3 || y->dims[1] <= middle->dims[1])) return 0;
    int64_t groups = is_layer ? middle->dims[1] : veer_node_int(g, norm, "groups");
    return groups > 0 && y->dims[1] % groups == 0 ? groups : 0;
}

static veer_status_t visit_reshape(veer_graph_t *g, veer_node_t root, veer_pass_ctx_t *ctx) {
    veer_match_t m = veer_match_begin(g, root);
    veer_node_t norm = veer_value_def(g, veer_node_in(g, root, 0));
    veer_type_t y = *veer_value_type(g, veer_node_out(g, root, 0));
    if (!norm.i || (veer_node_op(g, norm) != VEER_OP_GROUP_NORM && veer_node_op(g, norm) != VEER_OP_LAYER_NORM))
        return veer_ok();
    veer_node_t before = veer_match_def(g, veer_node_in(g, norm, 0), VEER_OP_RESHAPE);
    int64_t groups = groups_of(g, norm, &y);
    if (is_channels_last(g, norm)) return veer_ok();
    if (!before.i || !groups || !is_neutral(g, veer_node_in(g, norm, 1), 1) ||
        !is_neutral(g, veer_node_in(g, norm, 2), 0))
        return veer_ok();
    veer_match_take(&m, norm);
    veer_match_take(&m, before);
    if (!veer_match_closed(&m)) return veer_ok();
    double eps = veer_node_float(g, norm, "eps");
    veer_builder_t b = veer_builder_before(g, root);
    veer_value_t x = veer_match_reshape(&m, &b, veer_node_in(g, before, 0), y.rank, y.dims);
    veer_value_t by = veer_build(&b, VEER_OP_GROUP_NORM, VEER_IN(x, VEER_NO_VALUE, VEER_NO_VALUE),
                                 VEER_ATTRS(VEER_INT("groups", groups), VEER_FLOAT("eps", eps)));
    VEER_TRY(veer_match_replace(&m, &b, by));
    veer_pass_count(ctx, "group_norm");
    return veer_ok();
}

/* ---- scale and bias ---- */

/* One entry per channel: C at axis 1 of [N, C, ...], 1 at the others. */
static bool is_per_channel(const veer_graph_t *g, veer_value_t value, const veer_type_t *y) {
    const veer_type_t *t = veer_value_type(g, value);
    int lead = y->rank - t->rank;
    if (lead > 1 || lead < 0 || t->dtype != y->dtype) return false;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] != (i + lead == 1 ? y->dims[1] : 1)) return false;
    return veer_match_parameter(g, value);
}

static veer_status_t visit_affine(veer_graph_t *g, veer_node_t root, veer_pass_ctx_t *ctx) {
    veer_match_t m = veer_match_begin(g, root);
    veer_value_t h, other;
    bool is_scale = veer_node_op(g, root) == VEER_OP_MUL;
    if (!veer_match_either(g, root, VEER_OP_GROUP_NORM, &h, &other)) return veer_ok();
    veer_node_t norm = veer_value_def(g, h);
    veer_type_t y = *veer_value_type(g, h);
    veer_value_t x = veer_node_in(g, norm, 0), scale = veer_node_in(g, norm, 1), bias = veer_node_in(g, norm, 2);
    if (is_neutral(g, scale, 1)) scale = VEER_NO_VALUE;
    if (is_channels_last(g, norm)) return veer_ok();
    if (!is_neutral(g, bias, 0) || (is_scale && scale.i) || !is_per_channel(g, other, &y)) return veer_ok();
    veer_match_take(&m, norm);
    if (!veer_match_closed(&m)) return veer_ok();
    int64_t groups = veer_node_int(g, norm, "groups");
    double eps = veer_node_float(g, norm, "eps");
    veer_builder_t b = veer_builder_before(g, root);
    veer_value_t p = veer_match_reshape(&m, &b, other, 1, &y.dims[1]);
    veer_value_t by = veer_build(&b, VEER_OP_GROUP_NORM, VEER_IN(x, is_scale ? p : scale, is_scale ? VEER_NO_VALUE : p),
                                 VEER_ATTRS(VEER_INT("groups", groups), VEER_FLOAT("eps", eps)));
    VEER_TRY(veer_match_replace(&m, &b, by));
    veer_pass_count(ctx, is_scale ? "scale" : "bias");
    return veer_ok();
}

static veer_status_t visit(veer_graph_t *g, veer_node_t node, veer_pass_ctx_t *ctx) {
    switch (veer_node_op(g, node)) {
    case VEER_OP_RESHAPE: return visit_reshape(g, node, ctx);
    case VEER_OP_MUL:
    case VEER_OP_ADD: return visit_affine(g, node, ctx);
    default: return veer_ok();
    }
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return veer_match_walk(g, func, ctx, visit);
}

const veer_pass_def_t veer_pass_recognize_group_norm = {
    .name = "recognize-group-norm", .summary = "name group_norm, with its scale and bias", .run = run};
