/* Spells out composite ops that the target has no kernel for, or that fuse better in pieces.
 *
 *     %o = attention %q, %k, %v {scale = s}     =>     matmul, mul, softmax, matmul
 *
 * Runs after the gradient, which wants whole layers. An op stays whole where the target accepts it alone. Repetition by
 * resize (nearest, whole factors) is always spelled out: as a broadcast it is index arithmetic in its neighbours'
 * kernels. So is an average pool of tiles where the target has kernels of reductions: as one it takes what comes before
 * it along.
 */
#include "passes/expand.h"

#include "ir/gradient.h"
#include "ir/resample.h"
#include "ir/window.h"
#include "passes/fuse.h"
#include "passes/pass.h"

veer_status_t veer_expand_node(veer_graph_t *g, veer_node_t n, veer_value_t *follow, int follow_count) {
    veer_builder_t b = veer_builder_before(g, n);
    veer_value_t in[VEER_OP_MAX_OPERANDS], out[VEER_OP_MAX_RESULTS] = {{0}};
    veer_expand_t e = {.graph = g,
                       .node = n,
                       .in_count = veer_node_in_count(g, n),
                       .out_count = veer_node_out_count(g, n),
                       .in = in,
                       .out = out};
    if (e.in_count > VEER_OP_MAX_OPERANDS)
        return veer_error(VEER_ERR_UNSUPPORTED, "op '%s' with %d operands cannot be expanded",
                          veer_op_name(veer_node_op(g, n)), e.in_count);
    for (int i = 0; i < e.in_count; i++) in[i] = veer_node_in(g, n, i);
    veer_status_t status = veer_op_def(veer_node_op(g, n))->expand(&b, &e);
    status = veer_status_join(status, veer_builder_status(&b));
    if (status) return status;
    for (int i = 0; i < e.out_count; i++) {
        veer_value_t old = veer_node_out(g, n, i);
        if (!out[i].i) continue;
        veer_value_replace(g, old, out[i]);
        for (int k = 0; k < follow_count; k++)
            if (veer_value_eq(follow[k], old)) follow[k] = out[i];
    }
    veer_node_remove(g, n);
    return veer_ok();
}

/* Every axis of a resize repeats whole elements. */
static bool repeats(const veer_graph_t *g, veer_node_t n) {
    const veer_type_t *x = veer_value_type(g, veer_node_in(g, n, 0)), *y = veer_value_type(g, veer_node_out(g, n, 0));
    const double *scales = veer_node_floats(g, n, "scales", NULL);
    veer_resample_t r = veer_resample_of_node(g, n);
    if (!veer_type_count(x) || !veer_type_count(y)) return true; /* without elements an axis may have any length */
    for (int d = 0; d < x->rank; d++)
        if (!veer_resample_is_identity(&r, x->dims[d], y->dims[d], scales[d]) &&
            !veer_resample_repeats(&r, x->dims[d], y->dims[d], scales[d]))
            return false;
    return true;
}

static veer_status_t stays_whole(const veer_graph_t *g, veer_node_t n, const veer_fuse_target_t *target, bool *out) {
    char reason[200];
    switch (veer_node_op(g, n)) {
    case VEER_OP_RESIZE: *out = !repeats(g, n); return veer_ok();
    case VEER_OP_AVG_POOL: *out = !target->accepts_cluster || !veer_pool_is_of_tiles(g, n); return veer_ok();
    default: *out = false;
    }
    if (target->accepts_attention) VEER_TRY(target->accepts_attention(g, n, out, reason, sizeof reason));
    if (!*out && target->accepts_cluster) VEER_TRY(target->accepts_cluster(g, n, out, reason, sizeof reason));
    if (*out || !target->accepts_contraction) return veer_ok();
    return target->accepts_contraction(g, n, out, reason, sizeof reason);
}

/* Layers that ONNX (of the opset that is written) has no operator for: spelled out before the export, their pieces are
 * folded and merged with others. */
static bool spelled_out_for_export(veer_op_t op) {
    return op == VEER_OP_ATTENTION || op == VEER_OP_ATTENTION_GRAD || op == VEER_OP_GROUP_NORM_GRAD;
}

static veer_status_t expand_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    bool for_export = veer_pass_option(ctx, "export") != 0;
    VEER_FOR_EACH_NODE(g, region, n) {
        veer_op_t op = veer_node_op(g, n);
        if (op == VEER_OP_LOOP) VEER_TRY(expand_region(g, veer_node_body(g, n), ctx));
        if (!veer_op_has(op, VEER_COMPOSITE) || !veer_op_def(op)->expand) continue;
        bool whole = for_export && !spelled_out_for_export(op);
        if (!for_export) VEER_TRY(stays_whole(g, n, ctx->target, &whole));
        if (whole) continue;
        VEER_TRY(veer_expand_node(g, n, NULL, 0));
        veer_pass_count(ctx, "expanded");
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    bool wanted = ctx->target || veer_pass_option(ctx, "export");
    return wanted ? expand_region(g, veer_func_body(g, func), ctx) : veer_ok();
}

const veer_pass_def_t veer_pass_expand = {
    "expand",
    "spell out composite ops that the target has no kernel for",
    run,
    {{"export", 0, "1: attention and the gradients of layers, and nothing else, whatever the target takes"}}};
