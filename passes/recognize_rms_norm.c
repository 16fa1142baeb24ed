/* recognize-rms-norm -- names rms_norm and gives it its scale.
 *
 *     %q = mul %x, %x                                                     or pow %x, 2
 *     %v = reduce_mean %q {axes = [2], keepdims = 1}   %e = add %v, 1e-6
 *     %r = rsqrt %e   %n = mul %x, %r                                     or sqrt, reciprocal, pow; div %x, %s
 *     %y = mul %n, %scale
 * becomes
 *     %y = rms_norm %x, %scale {axis = 2, eps = 1e-6}
 *
 * Valid by definition of rms_norm; all else is as in recognize-layer-norm, which runs first: of a layer_norm whose
 * difference x - mean somebody else reads, the rms_norm of that difference is left to find.
 */
#include "passes/match_norm.h"

static bool match_rms_norm(veer_match_t *m, veer_match_rms_t *r) {
    for (int i = 0; i < VEER_MATCH_RMS_WAYS; i++) {
        *m = veer_match_begin(m->graph, m->root);
        if (veer_match_rms(m, i, r) && veer_value_eq(r->d, r->square) && veer_match_closed(m)) return true;
    }
    return false;
}

static veer_status_t visit(veer_graph_t *g, veer_node_t node, veer_pass_ctx_t *ctx) {
    veer_match_t m = veer_match_begin(g, node);
    veer_match_rms_t r;
    veer_value_t scale = VEER_NO_VALUE;
    if (!match_rms_norm(&m, &r)) return veer_match_norm_parameter(g, node, VEER_OP_RMS_NORM, ctx);
    veer_builder_t b = veer_builder_before(g, node);
    if (r.scale.i) {
        scale = veer_match_row_parameter(&m, &b, r.scale, r.d, r.axis);
        if (!scale.i) return veer_builder_status(&b);
    }
    veer_value_t by = veer_build(&b, VEER_OP_RMS_NORM, VEER_IN(r.d, scale),
                                 VEER_ATTRS(VEER_INT("axis", r.axis), VEER_FLOAT("eps", r.eps)));
    VEER_TRY(veer_match_replace(&m, &b, by));
    veer_pass_count(ctx, "rms_norm");
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return veer_match_walk(g, func, ctx, visit);
}

const veer_pass_def_t veer_pass_recognize_rms_norm = {
    .name = "recognize-rms-norm", .summary = "name rms_norm, with its scale", .run = run};
