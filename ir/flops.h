/* What a graph costs: the arithmetic of its contractions, the bytes of its nodes. */
#ifndef VEER_IR_FLOPS_H
#define VEER_IR_FLOPS_H

#include "ir/graph.h"

/* Multiplications and additions of matmul, attention and convolution, each counted as for the direct method; the bodies
 * of loops as often as they run. Everything else counts 0. */
double veer_flops(const veer_graph_t *g, veer_region_t region);
double veer_node_flops(const veer_graph_t *g, veer_node_t node);
/* Of a node's operands and results, each once per place that it is in. */
double veer_node_bytes(const veer_graph_t *g, veer_node_t node);

#endif
