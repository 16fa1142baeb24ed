/* What passes ask the target: the fuse passes, and recompute. The pass context's target points to one of these (NULL:
 * nothing is accepted). */
#ifndef VEER_PASSES_FUSE_H
#define VEER_PASSES_FUSE_H

#include "passes/memory_plan.h"

/* Whether a fused node can be one kernel; where not, `reason` says why. `node` is a candidate that stands in the graph.
 * A failure (out of memory) is no answer: what is compiled must not depend on it. */
typedef veer_status_t (*veer_accepts_fn)(const veer_graph_t *g, veer_node_t node, bool *out_accepted, char *reason,
                                         size_t reason_bytes);

typedef struct veer_fuse_target_s {
    veer_accepts_fn accepts_contraction; /* with its epilogue */
    veer_accepts_fn accepts_moments;     /* with its epilogue and the moments of its result, see split_norm.c */
    veer_accepts_fn accepts_cluster;     /* without a contraction */
    veer_accepts_fn accepts_attention;   /* or its gradient, with what moves its operands and results */
    veer_residency_fn residency;         /* the memory that a function takes */
} veer_fuse_target_t;

#endif
