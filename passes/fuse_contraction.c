/* Pulls what follows a contraction into it: bias, activation, residual become its epilogue.
 *
 *     %c = conv %x, %w : f32[1,8,4,4]                 %s = fused "conv" (%x, %w, %b) { conv; add; silu } : f32[1,8,4,4]
 *     %a = add %c, %b                           =>
 *     %s = silu %a
 *
 * A chain goes on while the value has one reader, which is elementwise and keeps its shape. The longest prefix that the
 * target accepts is taken; where not even one op is, the contraction stays alone. An operand of the chain (a residual)
 * that is defined behind the contraction is no obstacle: the fused node stands where the last op of the chain stood.
 */
#include "passes/fuse.h"
#include "passes/outline.h"
#include "passes/pass.h"

enum { MOST_CHAIN = 8 };

static bool starts_chain(veer_op_t op) {
    return veer_op_has(op, VEER_CONTRACTION);
}

/* The one node that reads `v`, in the same region; none where there are several, or the value is yielded. */
static veer_node_t only_reader(const veer_graph_t *g, veer_value_t v) {
    if (veer_value_use_count(g, v) != 1) return VEER_NO_NODE;
    veer_node_t user = veer_value_use(g, v, 0, NULL);
    return veer_node_region(g, user).i == veer_value_region(g, v).i ? user : VEER_NO_NODE;
}

/* An operand that a pointwise node computes for this reader alone: the two belong into one cluster with what surrounds
 * them (the step update is such a cluster, and one kernel). Materialising the operand for an epilogue would tear it
 * apart. */
static bool tears_cluster(const veer_graph_t *g, veer_node_t n, veer_value_t chain) {
    for (int i = 0; i < veer_node_in_count(g, n); i++) {
        veer_value_t v = veer_node_in(g, n, i);
        veer_node_t def = v.i && !veer_value_eq(v, chain) ? veer_value_def(g, v) : VEER_NO_NODE;
        if (!def.i || veer_value_use_count(g, v) != 1 || veer_node_region(g, def).i != veer_node_region(g, n).i)
            continue;
        if (veer_op_has(veer_node_op(g, def), VEER_ELEMENTWISE) || veer_node_op(g, def) == VEER_OP_NOISE) return true;
    }
    return false;
}

static bool joins(const veer_graph_t *g, veer_node_t n, const veer_type_t *type) {
    veer_op_t op = n.i ? veer_node_op(g, n) : VEER_OP_NONE;
    if (!veer_op_has(op, VEER_ELEMENTWISE) && op != VEER_OP_RESHAPE) return false;
    if (op == VEER_OP_RESHAPE) return true; /* between the product and what follows; never last, see longest_chain */
    const veer_type_t *out = veer_value_type(g, veer_node_out(g, n, 0));
    return out->dtype == type->dtype && veer_type_count(out) == veer_type_count(type);
}

static int longest_chain(const veer_graph_t *g, veer_node_t first, veer_node_t *out) {
    int count = 1;
    out[0] = first;
    veer_type_t type = *veer_value_type(g, veer_node_out(g, first, 0));
    for (int i = 1; i < veer_node_out_count(g, first); i++)
        if (veer_value_use_count(g, veer_node_out(g, first, i))) return 1;
    while (count < MOST_CHAIN) {
        veer_node_t next = only_reader(g, veer_node_out(g, out[count - 1], 0));
        if (!joins(g, next, &type) || tears_cluster(g, next, veer_node_out(g, out[count - 1], 0))) break;
        out[count++] = next;
    }
    return count;
}

static veer_status_t fuse_chain(veer_outline_t *o, veer_node_t first, veer_pass_ctx_t *ctx,
                                const veer_fuse_target_t *target) {
    veer_graph_t *g = o->g;
    veer_node_t chain[MOST_CHAIN];
    for (int count = longest_chain(g, first, chain); count > 1; count--) {
        if (veer_node_op(g, chain[count - 1]) == VEER_OP_RESHAPE) continue;
        bool fused = false;
        VEER_TRY(veer_outline_if(o, chain, count, "contraction", target->accepts_contraction, &fused));
        if (!fused) continue;
        veer_pass_count(ctx, "epilogues");
        return veer_ok();
    }
    return veer_ok();
}

static veer_status_t fuse_region(veer_outline_t *o, veer_region_t region, veer_pass_ctx_t *ctx,
                                 const veer_fuse_target_t *target) {
    veer_graph_t *g = o->g;
    /* The next node may be swallowed by this one's chain: walk by an order fixed beforehand. */
    veer_node_t *all = veer_arena_array(&ctx->scratch, veer_graph_node_limit(g), sizeof *all);
    if (!all) return veer_out_of_memory();
    int count = 0;
    VEER_FOR_EACH_NODE(g, region, n) all[count++] = n;
    for (int i = 0; i < count; i++) {
        veer_op_t op = veer_node_op(g, all[i]);
        if (op == VEER_OP_LOOP)
            VEER_TRY(fuse_region(o, veer_node_body(g, all[i]), ctx, target));
        else if (starts_chain(op))
            VEER_TRY(fuse_chain(o, all[i], ctx, target));
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    const veer_fuse_target_t *target = ctx->target;
    if (!target || !target->accepts_contraction) return veer_ok();
    veer_outline_t o;
    veer_outline_init(&o, g);
    veer_status_t status = fuse_region(&o, veer_func_body(g, func), ctx, target);
    veer_outline_deinit(&o);
    return status;
}

const veer_pass_def_t veer_pass_fuse_contraction = {
    "fuse-contraction", "pull bias, activation and residual into contractions", run, {{0}}};
