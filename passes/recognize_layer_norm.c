/* recognize-layer-norm -- names layer_norm and gives it its scale and bias.
 *
 *     %m = reduce_mean %x {axes = [2], keepdims = 1}   %d = sub %x, %m
 *     %q = mul %d, %d                                                     or pow %d, 2
 *     %v = reduce_mean %q {axes = [2], keepdims = 1}   %e = add %v, 1e-5
 *     %s = sqrt %e   %n = div %d, %s                                      or rsqrt, reciprocal, pow; mul %d, %r
 *     %a = mul %n, %scale   %y = add %a, %bias
 * becomes
 *     %y = layer_norm %x, %scale, %bias {axis = 2, eps = 1e-5}
 *
 * Valid by definition of layer_norm; eps is read off the sum. A scale may also have been multiplied with 1 / %s first:
 * only the order of two products changes. Scale and bias join a layer_norm that has none, whoever named it, where they
 * are learned (constants or arguments of the function) and the same for all rows; a product with something computed
 * (adaptive norms) stays one.
 *
 * Declines axes that are not the last ones, means that are not over the same axes, eps outside the root, the variance
 * as E[x^2] - E[x]^2 or divided by N - 1 (other numbers), and deviations or means that somebody else reads. Run cse
 * before, so that a difference computed twice is one value.
 */
#include "passes/match_norm.h"

/* d = x - mean(x) */
static bool match_centred(veer_match_t *m, veer_value_t d, veer_value_t *out_x, int *out_axis) {
    const veer_graph_t *g = m->graph;
    veer_node_t sub = veer_match_def(g, d, VEER_OP_SUB);
    veer_value_t x;
    if (!sub.i || !veer_match_mean(m, veer_node_in(g, sub, 1), &x, out_axis)) return false;
    veer_match_take(m, sub);
    *out_x = veer_node_in(g, sub, 0);
    return veer_value_eq(x, *out_x);
}

static bool match_layer_norm(veer_match_t *m, veer_match_rms_t *r, veer_value_t *out_x) {
    int axis;
    for (int i = 0; i < VEER_MATCH_RMS_WAYS; i++) {
        *m = veer_match_begin(m->graph, m->root);
        if (veer_match_rms(m, i, r) && veer_value_eq(r->d, r->square) && match_centred(m, r->d, out_x, &axis) &&
            axis == r->axis && veer_match_closed(m))
            return true;
    }
    return false;
}

static veer_status_t visit(veer_graph_t *g, veer_node_t node, veer_pass_ctx_t *ctx) {
    veer_match_t m = veer_match_begin(g, node);
    veer_match_rms_t r;
    veer_value_t x, scale = VEER_NO_VALUE;
    if (!match_layer_norm(&m, &r, &x)) return veer_match_norm_parameter(g, node, VEER_OP_LAYER_NORM, ctx);
    veer_builder_t b = veer_builder_before(g, node);
    if (r.scale.i) {
        scale = veer_match_row_parameter(&m, &b, r.scale, x, r.axis);
        if (!scale.i) return veer_builder_status(&b);
    }
    veer_value_t by = veer_build(&b, VEER_OP_LAYER_NORM, VEER_IN(x, scale, VEER_NO_VALUE),
                                 VEER_ATTRS(VEER_INT("axis", r.axis), VEER_FLOAT("eps", r.eps)));
    VEER_TRY(veer_match_replace(&m, &b, by));
    veer_pass_count(ctx, "layer_norm");
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return veer_match_walk(g, func, ctx, visit);
}

const veer_pass_def_t veer_pass_recognize_layer_norm = {
    .name = "recognize-layer-norm", .summary = "name layer_norm, with its scale and bias", .run = run};
