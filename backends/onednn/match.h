/* From a node of the graph to a problem, or the reason why not. */
#ifndef VEER_BACKENDS_ONEDNN_MATCH_H
#define VEER_BACKENDS_ONEDNN_MATCH_H

#include "backends/onednn/onednn.h"
#include "backends/onednn/problem.h"

typedef struct veer_onednn_match_s {
    veer_onednn_problem_t problem;
    uint32_t unused_bufs;
    char reason[160]; /* why it declined */
} veer_onednn_match_t;

/* False: see m->reason. The problem borrows the graph's constants. */
bool veer_onednn_match(const veer_graph_t *g, veer_node_t node, veer_onednn_layouts_t layouts, veer_onednn_match_t *m);
/* Strides of [N, C, s...] in a layout. */
void veer_onednn_view_init(veer_onednn_view_t *v, int rank, const int64_t *dims, veer_onednn_layout_t layout, int buf);

#endif
