/* Replacing a composite node by what its op's definition expands it to. */
#ifndef VEER_PASSES_EXPAND_H
#define VEER_PASSES_EXPAND_H

#include "ir/graph.h"

/* The node must have an `expand`. Entries of `follow` that are the node's results become the values that replace them.
 */
VEER_MUST_USE veer_status_t veer_expand_node(veer_graph_t *g, veer_node_t n, veer_value_t *follow, int follow_count);

#endif
