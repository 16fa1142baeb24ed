/* What the fuse pass asks the target. The pass context's target points to one of these (NULL: nothing is accepted). */
#ifndef VEER_PASSES_FUSE_H
#define VEER_PASSES_FUSE_H

#include "ir/graph.h"

typedef struct veer_fuse_target_s {
    /* Whether a fused node can be one kernel; says why not. `node` is a candidate that stands in the graph. */
    bool (*accepts_contraction)(const veer_graph_t *g, veer_node_t node, char *reason,
                                size_t reason_bytes); /* with its epilogue */
    bool (*accepts_cluster)(const veer_graph_t *g, veer_node_t node, char *reason,
                            size_t reason_bytes); /* without a contraction */
} veer_fuse_target_t;

#endif
