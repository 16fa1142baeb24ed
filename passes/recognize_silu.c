/* recognize-silu -- exporters write silu as a product with a sigmoid; one node has one kernel and one gradient.
 *
 *     %s = sigmoid %x   %y = mul %x, %s                                  either order
 *     %n = neg %x   %e = exp %n   %d = add %e, 1   %y = div %x, %d       the sigmoid spelled out
 * becomes
 *     %y = silu %x
 *
 * Valid by definition: silu(x) = x sigmoid(x), sigmoid(x) = 1 / (1 + exp(-x)). Declines where the sigmoid is of
 * something else (a gate), or where somebody else reads it, so that it has to be computed anyway.
 */
#include "passes/match.h"

/* value = 1 + exp(-x) */
static bool match_denominator(veer_match_t *m, veer_value_t value, veer_value_t *out_x) {
    const veer_graph_t *g = m->graph;
    double one;
    veer_value_t e;
    if (!veer_match_binary_scalar(g, value, VEER_OP_ADD, &e, &one) || one != 1) return false;
    veer_node_t exp = veer_match_def(g, e, VEER_OP_EXP);
    veer_node_t neg = exp.i ? veer_match_def(g, veer_node_in(g, exp, 0), VEER_OP_NEG) : VEER_NO_NODE;
    if (!neg.i) return false;
    veer_match_take_def(m, value);
    veer_match_take(m, exp);
    veer_match_take(m, neg);
    *out_x = veer_node_in(g, neg, 0);
    return true;
}

/* value = 1 / d */
static bool match_reciprocal(veer_match_t *m, veer_value_t value, veer_value_t *out_d) {
    const veer_graph_t *g = m->graph;
    double one;
    veer_node_t node = veer_match_def(g, value, VEER_OP_RECIPROCAL);
    if (node.i) {
        *out_d = veer_node_in(g, node, 0);
    } else {
        node = veer_match_def(g, value, VEER_OP_DIV);
        if (!node.i || !veer_match_scalar(g, veer_node_in(g, node, 0), &one) || one != 1) return false;
        *out_d = veer_node_in(g, node, 1);
    }
    veer_match_take(m, node);
    return veer_match_same_type(g, value, *out_d);
}

static bool match_sigmoid(veer_match_t *m, veer_value_t value, veer_value_t *out_x) {
    veer_value_t d;
    veer_node_t node = veer_match_def(m->graph, value, VEER_OP_SIGMOID);
    if (!node.i) return match_reciprocal(m, value, &d) && match_denominator(m, d, out_x);
    veer_match_take(m, node);
    *out_x = veer_node_in(m->graph, node, 0);
    return true;
}

static bool match_silu(veer_match_t *m, veer_value_t *out_x) {
    const veer_graph_t *g = m->graph;
    veer_value_t a = veer_node_in(g, m->root, 0), b = veer_node_in(g, m->root, 1), x;
    veer_op_t op = veer_node_op(g, m->root);
    *out_x = a;
    if (op == VEER_OP_DIV) return match_denominator(m, b, &x) && veer_value_eq(x, a);
    if (match_sigmoid(m, b, &x) && veer_value_eq(x, a)) return true;
    *m = veer_match_begin(m->graph, m->root);
    *out_x = b;
    return match_sigmoid(m, a, &x) && veer_value_eq(x, b);
}

static veer_status_t visit(veer_graph_t *g, veer_node_t node, veer_pass_ctx_t *ctx) {
    veer_value_t x;
    veer_match_t m = veer_match_begin(g, node);
    if (veer_node_op(g, node) != VEER_OP_MUL && veer_node_op(g, node) != VEER_OP_DIV) return veer_ok();
    if (!veer_match_same_type(g, veer_node_in(g, node, 0), veer_node_in(g, node, 1))) return veer_ok();
    if (!match_silu(&m, &x) || !veer_match_closed(&m)) return veer_ok();
    veer_builder_t b = veer_builder_before(g, node);
    VEER_TRY(veer_match_replace(&m, &b, veer_silu(&b, x)));
    veer_pass_count(ctx, "silu");
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return veer_match_walk(g, func, ctx, visit);
}

const veer_pass_def_t veer_pass_recognize_silu = {
    .name = "recognize-silu", .summary = "name x * sigmoid(x)", .run = run};
