/* Losses over class scores [N, C, d1 ...] and labels [N, d1 ...]. */
#include "frontend/onnx/node.h"

#include <string.h>

/* x[n, labels[n, ..], ..]: [N, d1 ...] */
static veer_value_t pick(veer_onnx_node_t *n, veer_value_t x, veer_value_t labels) {
    veer_type_t type = veer_onnx_type(n, labels), wide = type;
    if (!veer_onnx_ok(n) || type.rank + 1 > VEER_MAX_RANK) return VEER_NO_VALUE;
    wide.rank++;
    for (int i = type.rank; i > 1; i--) wide.dims[i] = type.dims[i - 1];
    wide.dims[1] = 1;
    veer_value_t at = veer_reshape_like(n->b, labels, &wide);
    x = veer_build(n->b, VEER_OP_GATHER_ELEMENTS, VEER_IN(x, at), VEER_ATTRS(VEER_INT("axis", 1)));
    return veer_reshape_like(n->b, x, &type);
}

typedef struct {
    veer_value_t labels, weight; /* in range; [N, d1 ...], VEER_NO_VALUE where all weigh 1 */
} targets_t;

/* Weights of the places: those of their labels, and 0 where the label is to be ignored. */
static targets_t read_targets(veer_onnx_node_t *n, veer_dtype_t dtype) {
    targets_t t = {.labels = n->in[1], .weight = VEER_NO_VALUE};
    veer_dtype_t label_dtype = veer_onnx_in_type(n, 1).dtype;
    veer_value_t ignored = VEER_NO_VALUE;
    if (veer_onnx_attr(n, "ignore_index")) {
        double index = (double)veer_onnx_attr_int(n, "ignore_index", 0);
        ignored = veer_equal(n->b, t.labels, veer_const_scalar(n->b, label_dtype, index));
        t.labels = veer_where(n->b, ignored, veer_const_scalar(n->b, label_dtype, 0), t.labels);
    }
    if (veer_onnx_has_in(n, 2)) t.weight = veer_gather(n->b, n->in[2], t.labels, 0);
    if (ignored.i) {
        veer_value_t one = t.weight.i ? t.weight : veer_const_scalar(n->b, dtype, 1);
        t.weight = veer_where(n->b, ignored, veer_const_scalar(n->b, dtype, 0), one);
    }
    return t;
}

/* - weight * log p[label], as it is, summed, or averaged by weight. */
static veer_value_t negative_log_likelihood(veer_onnx_node_t *n, veer_value_t log_p) {
    veer_dtype_t dtype = veer_onnx_type(n, log_p).dtype;
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    targets_t t = read_targets(n, dtype);
    const char *reduction = veer_onnx_attr_string(n, "reduction", "mean");
    veer_value_t loss = veer_neg(n->b, pick(n, log_p, t.labels));
    if (t.weight.i) loss = veer_mul(n->b, loss, t.weight);
    if (!strcmp(reduction, "none")) return loss;
    if (!strcmp(reduction, "mean") && !t.weight.i) return veer_reduce_all(n->b, VEER_OP_REDUCE_MEAN, loss);
    loss = veer_reduce_all(n->b, VEER_OP_REDUCE_SUM, loss);
    if (!strcmp(reduction, "sum")) return loss;
    return veer_div(n->b, loss, veer_reduce_all(n->b, VEER_OP_REDUCE_SUM, t.weight));
}

static bool shapes_fit(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), labels = veer_onnx_in_type(n, 1);
    if (x.rank >= 2 && labels.rank == x.rank - 1) return true;
    veer_onnx_fail(n, VEER_ERR_FILE, "scores have %d dims and labels %d", x.rank, labels.rank);
    return false;
}

void veer_onnx_nll_loss(veer_onnx_node_t *n) {
    if (shapes_fit(n)) n->out[0] = negative_log_likelihood(n, n->in[0]);
}

void veer_onnx_cross_entropy(veer_onnx_node_t *n) {
    if (!shapes_fit(n)) return;
    n->out[1] = veer_build(n->b, VEER_OP_LOG_SOFTMAX, n->in, 1, VEER_ATTRS(VEER_INT("axis", 1)));
    n->out[0] = negative_log_likelihood(n, n->out[1]);
}
