/* What a compiled pipeline holds; shared by sampling.c and save.c. */
#ifndef VEER_API_SAMPLING_H
#define VEER_API_SAMPLING_H

#include "api/networks.h"

/* How an input of the plan is filled for each batch. */
typedef enum veer_feed_kind_e {
    VEER_FEED_WHOLE,       /* the same for every batch */
    VEER_FEED_PER_SAMPLE,  /* [count, ...]: the batch's rows */
    VEER_FEED_REPEATED,    /* [1, ...]: one row for all */
    VEER_FEED_NOISE,       /* [steps, count, ...]: the batch's rows of each step */
    VEER_FEED_FIRST_SAMPLE /* index of the batch's first sample */
} veer_feed_kind_t;

typedef struct veer_feed_s {
    veer_tensor_t tensor;
    veer_feed_kind_t kind;
    bool borrowed; /* the data belongs to the sampling's init or noise */
} veer_feed_t;

struct veer_sampling_s {
    veer_allocator_t allocator;
    veer_parts_t parts;
    veer_graph_t *graph;
    veer_func_t func;
    veer_plan_t *plan;
    veer_exec_t *exec;
    veer_feed_t *feeds; /* one per input of the plan */
    veer_tensor_t init, noise;
    int64_t count, batch; /* samples in all, and per run of the plan */
};

#endif
