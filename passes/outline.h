/* Turning a set of nodes of one region into one fused node. */
#ifndef VEER_PASSES_OUTLINE_H
#define VEER_PASSES_OUTLINE_H

#include "passes/fuse.h"

/* What the calls of one pass share, so that each costs what its nodes cost, however large the graph is. */
typedef struct veer_outline_s {
    veer_graph_t *g;
    veer_value_t *map; /* by value id; all zero between calls */
    uint32_t map_count;
} veer_outline_t;

void veer_outline_init(veer_outline_t *o, veer_graph_t *g);
void veer_outline_deinit(veer_outline_t *o);

/* Builds a fused node (VEER_OP_FUSED) that computes what `nodes` compute, in the place of the last of them, and asks
 * whether it can be a kernel: if so it takes the nodes' place and they are removed, else it is removed again. Operands
 * are the values that the nodes take from outside (scalar constants are copied into the body instead), results the
 * values that are used outside; of a fused node the body is copied. `nodes` are in order of execution, in one region,
 * and all that they take is defined before the last of them; what they give is used behind it. */
VEER_MUST_USE veer_status_t veer_outline_if(veer_outline_t *o, const veer_node_t *nodes, int count, const char *kind,
                                            veer_accepts_fn accepts, bool *out_accepted);

#endif
