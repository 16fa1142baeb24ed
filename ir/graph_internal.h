/* The records behind the ids of graph.h; only ir/graph.c and ir/builder.c may include this. */
#ifndef VEER_IR_GRAPH_INTERNAL_H
#define VEER_IR_GRAPH_INTERNAL_H

#include "ir/graph.h"

typedef struct veer_use_s {
    veer_node_t node;
    int operand;
} veer_use_t;

typedef struct veer_value_rec_s {
    veer_type_t type;
    veer_node_t def; /* none: a region's argument */
    int def_index;
    veer_region_t region; /* where it is defined */
    const char *name;
    veer_use_t *uses; /* arena */
    int use_count, use_capacity;
} veer_value_rec_t;

typedef struct veer_node_rec_s {
    veer_op_t op;
    veer_region_t region, body;
    veer_node_t prev, next;
    int64_t order; /* within the region, valid while the region's order_valid is set */
    veer_value_t *in, *out;
    int in_count, out_count;
    veer_attr_t *attrs; /* as many as the definition has */
    const char **origins;
    int origin_count, origin_capacity;
    unsigned char strand;
} veer_node_rec_t;

typedef struct veer_region_rec_s {
    veer_node_t parent, first, last;
    veer_value_t *args;
    int arg_count, arg_capacity;
    bool order_valid;
} veer_region_rec_t;

typedef struct veer_func_rec_s {
    const char *name; /* NULL once removed */
    veer_region_t body;
    const char **result_names;
    int result_name_count;
} veer_func_rec_t;

typedef struct veer_release_s {
    struct veer_release_s *next;
    void (*release)(void *);
    void *object;
} veer_release_t;

struct veer_graph_s {
    veer_allocator_t allocator;
    veer_arena_t arena;
    veer_limits_t limits;
    veer_value_rec_t *values; /* entry 0 is "none" in all four arrays */
    veer_node_rec_t *nodes;
    veer_region_rec_t *regions;
    veer_func_rec_t *funcs;
    uint32_t value_count, node_count, region_count, func_count;
    uint32_t nodes_in_use;
    uint32_t value_capacity, node_capacity, region_capacity, func_capacity;
    veer_release_t *releases;
};

VEER_MUST_USE veer_status_t veer_graph_new_region(veer_graph_t *g, veer_node_t parent, veer_region_t *out_region);
/* A value defined by `def` (or an argument where def is none). */
VEER_MUST_USE veer_status_t veer_graph_new_value(veer_graph_t *g, veer_type_t type, veer_region_t region,
                                                 veer_node_t def, int index, veer_value_t *out_value);
/* A node without results, linked before `before` (none: at the end). Copies `in`; `attrs` is kept as given. */
VEER_MUST_USE veer_status_t veer_graph_new_node(veer_graph_t *g, veer_op_t op, veer_region_t region, veer_node_t before,
                                                const veer_value_t *in, int in_count, veer_attr_t *attrs,
                                                veer_node_t *out_node);
VEER_MUST_USE veer_status_t veer_graph_set_results(veer_graph_t *g, veer_node_t node, const veer_type_t *types,
                                                   int count);

#endif
