/* softmax and log_softmax along one axis. */
#include "ir/ops/common.h"

static veer_status_t infer_along_axis(veer_infer_t *c) {
    int axis = 0;
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), c->in[0].rank, &axis));
    return veer_infer_same(c);
}

/* y = softmax(x): dx = y * (dy - sum(dy * y)) */
static veer_status_t softmax_grad(veer_builder_t *b, veer_grad_t *g) {
    int64_t axis = veer_node_int(g->graph, g->node, "axis");
    veer_value_t y = g->out[0], dy = g->d_out[0];
    veer_value_t mean = veer_reduce(b, VEER_OP_REDUCE_SUM, veer_mul(b, dy, y), &axis, 1, true);
    g->d_in[0] = veer_mul(b, y, veer_sub(b, dy, mean));
    return veer_builder_status(b);
}

/* y = x - log sum exp x: dx = dy - exp(y) * sum(dy) */
static veer_status_t log_softmax_grad(veer_builder_t *b, veer_grad_t *g) {
    int64_t axis = veer_node_int(g->graph, g->node, "axis");
    veer_value_t dy = g->d_out[0], total = veer_reduce(b, VEER_OP_REDUCE_SUM, dy, &axis, 1, true);
    g->d_in[0] = veer_sub(b, dy, veer_mul(b, veer_exp(b, g->out[0]), total));
    return veer_builder_status(b);
}

/* x - max(x): no exponential of it can overflow, and one of them is 1. */
static veer_value_t shifted(veer_builder_t *b, veer_value_t x, int64_t axis) {
    return veer_sub(b, x, veer_reduce(b, VEER_OP_REDUCE_MAX, x, &axis, 1, true));
}

static veer_status_t softmax_expand(veer_builder_t *b, veer_expand_t *e) {
    int64_t axis = veer_node_int(e->graph, e->node, "axis");
    veer_value_t weight = veer_exp(b, shifted(b, e->in[0], axis));
    e->out[0] = veer_div(b, weight, veer_reduce(b, VEER_OP_REDUCE_SUM, weight, &axis, 1, true));
    return veer_builder_status(b);
}

static veer_status_t log_softmax_expand(veer_builder_t *b, veer_expand_t *e) {
    int64_t axis = veer_node_int(e->graph, e->node, "axis");
    veer_value_t x = shifted(b, e->in[0], axis);
    veer_value_t total = veer_reduce(b, VEER_OP_REDUCE_SUM, veer_exp(b, x), &axis, 1, true);
    e->out[0] = veer_sub(b, x, veer_log(b, total));
    return veer_builder_status(b);
}

const veer_op_def_t veer_op_softmax = {
    .name = "softmax",
    .doc = "exp(x) / sum(exp(x)) along one axis.",
    .in = {{"x", VEER_FLOAT_ONLY, false, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "axis", .kind = VEER_ATTR_INT, .required = true, .doc = "the axis along which y sums to 1"}},
    .traits = VEER_PURE | VEER_ROWWISE | VEER_COMPOSITE,
    .infer = infer_along_axis,
    .grad = softmax_grad,
    .expand = softmax_expand,
    .tol_f32 = {.abs = 1e-7, .rel = 5e-6}, /* exp within 2 ulp after rounding x - max, a sum of a few thousand terms */
};

const veer_op_def_t veer_op_log_softmax = {
    .name = "log_softmax",
    .doc = "x - log(sum(exp(x))) along one axis.",
    .in = {{"x", VEER_FLOAT_ONLY, false, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs =
        {{.name = "axis", .kind = VEER_ATTR_INT, .required = true, .doc = "the axis along which exp(y) sums to 1"}},
    .traits = VEER_PURE | VEER_ROWWISE | VEER_COMPOSITE,
    .infer = infer_along_axis,
    .grad = log_softmax_grad,
    .expand = log_softmax_expand,
    .tol_f32 = {.abs = 5e-6, .rel = 2e-6}, /* x - max and the logarithm of the sum cancel near y = 0 */
};
