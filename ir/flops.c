#include "ir/flops.h"

static double count_of(const veer_type_t *type) {
    return (double)veer_type_count(type);
}

static const veer_type_t *in_type(const veer_graph_t *g, veer_node_t node, int i) {
    return veer_value_type(g, veer_node_in(g, node, i));
}

/* y: [..., M, N], K is the last dim of a, or the one before with trans_a. */
static double matmul_flops(const veer_graph_t *g, veer_node_t node) {
    const veer_type_t *a = in_type(g, node, 0), *y = veer_value_type(g, veer_node_out(g, node, 0));
    return 2 * count_of(y) * (double)a->dims[a->rank - (veer_node_int(g, node, "trans_a") ? 2 : 1)];
}

/* q: [B, H, L, D], k: [B, H, S, D], v: [B, H, S, Dv]: q k^T, then the product with v. */
static double attention_flops(const veer_graph_t *g, veer_node_t node) {
    const veer_type_t *q = in_type(g, node, 0), *v = in_type(g, node, 2);
    return 2 * count_of(q) * (double)v->dims[2] + 2 * count_of(v) * (double)q->dims[2];
}

/* dy v^T for dq and dk, and a product for each of dq, dk, dv that is used; what computes the probabilities again is no
 * work of the method. */
static double attention_grad_flops(const veer_graph_t *g, veer_node_t node) {
    const veer_type_t *q = in_type(g, node, 0), *v = in_type(g, node, 2);
    double scores = count_of(q) / (double)q->dims[3] * (double)v->dims[2];
    bool used[3];
    for (int i = 0; i < 3; i++) used[i] = veer_value_use_count(g, veer_node_out(g, node, i)) > 0;
    double columns = (double)(used[0] + used[1]) * (double)q->dims[3] +
                     (double)(used[2] + (used[0] || used[1])) * (double)v->dims[3];
    return 2 * scores * columns;
}

/* w: [M, C/g, k...] for conv, where every output takes C/g * k inputs; [C, M/g, k...] for conv_transpose, where every
 * input goes to M/g * k outputs. */
static double conv_flops(const veer_graph_t *g, veer_node_t node, const veer_type_t *each) {
    const veer_type_t *w = in_type(g, node, 1);
    return 2 * count_of(each) * (double)veer_type_count_range(w, 1, w->rank);
}

double veer_node_flops(const veer_graph_t *g, veer_node_t node) {
    switch (veer_node_op(g, node)) {
    case VEER_OP_MATMUL: return matmul_flops(g, node);
    case VEER_OP_ATTENTION: return attention_flops(g, node);
    case VEER_OP_ATTENTION_GRAD: return attention_grad_flops(g, node);
    case VEER_OP_CONV: return conv_flops(g, node, veer_value_type(g, veer_node_out(g, node, 0)));
    case VEER_OP_CONV_TRANSPOSE: return conv_flops(g, node, in_type(g, node, 0));
    case VEER_OP_LOOP: return (double)veer_node_int(g, node, "trip") * veer_flops(g, veer_node_body(g, node));
    case VEER_OP_FUSED: return veer_flops(g, veer_node_body(g, node));
    default: return 0;
    }
}

double veer_flops(const veer_graph_t *g, veer_region_t region) {
    double sum = 0;
    VEER_FOR_EACH_NODE(g, region, node) sum += veer_node_flops(g, node);
    return sum;
}

double veer_node_bytes(const veer_graph_t *g, veer_node_t node) {
    double sum = 0;
    for (int i = 0; i < veer_node_in_count(g, node); i++)
        if (veer_node_in(g, node, i).i) sum += (double)veer_type_bytes(in_type(g, node, i));
    for (int i = 0; i < veer_node_out_count(g, node); i++)
        sum += (double)veer_type_bytes(veer_value_type(g, veer_node_out(g, node, i)));
    return sum;
}
