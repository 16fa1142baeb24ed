/* Reverse-mode differentiation of the graph: turns a grad node into plain nodes. */
#ifndef VEER_PASSES_GRADIENT_H
#define VEER_PASSES_GRADIENT_H

#include "ir/graph.h"

/* Replaces one grad node by the callee's nodes and their gradient. Calls inside the callee must have been inlined; grad
 * nodes inside it are replaced first, in the callee itself.
 * VEER_ERR_UNSUPPORTED with one error per node on the path that has no gradient. */
VEER_MUST_USE veer_status_t veer_gradient_expand(veer_graph_t *g, veer_node_t grad);

/* The preflight: VEER_OK, or the errors that veer_gradient_expand would give for result `of` by arguments `wrt`. Only
 * nodes on a path from an argument of `wrt` to the result count. Nothing is changed. */
VEER_MUST_USE veer_status_t veer_gradient_check(const veer_graph_t *g, veer_func_t func, int of, const int64_t *wrt,
                                                int wrt_count);

#endif
