/* What an op's gradient rule and its expansion see. See passes/gradient.c for the pass that calls the rules. */
#ifndef VEER_IR_GRADIENT_H
#define VEER_IR_GRADIENT_H

#include "ir/builder.h"

/* For results `out` of a node and the cotangents d_out (VEER_NO_VALUE where a result does not matter), the rule builds
 * d_in[i] for every operand with need[i]: same shape and dtype as in[i]. Leaving VEER_NO_VALUE means zero. The rule may
 * use in[] and out[], which are computed anyway. */
struct veer_grad_s {
    veer_graph_t *graph;
    veer_node_t node;
    int in_count, out_count;
    const veer_value_t *in, *out, *d_out;
    const bool *need;
    veer_value_t *d_in;
};

/* "The derivative is zero or does not exist": for index results and comparisons. Builds nothing. */
VEER_MUST_USE veer_status_t veer_grad_none(veer_builder_t *b, veer_grad_t *g);
/* "There is a derivative, but no rule": VEER_ERR_UNSUPPORTED that names the op. */
VEER_MUST_USE veer_status_t veer_grad_missing(veer_builder_t *b, veer_grad_t *g);
/* For composite ops: the gradient pass first replaces the node by what `expand` builds, and differentiates that. */
VEER_MUST_USE veer_status_t veer_grad_by_expansion(veer_builder_t *b, veer_grad_t *g);

/* `expand` fills out[0..out_count) with values equal to the node's results. */
struct veer_expand_s {
    veer_graph_t *graph;
    veer_node_t node;
    int in_count, out_count;
    const veer_value_t *in;
    veer_value_t *out;
};

#endif
