/* Lowering: an optimised function becomes a plan. Chooses an implementation per node, plans memory, lists calls. */
#ifndef VEER_API_LOWER_H
#define VEER_API_LOWER_H

#include "api/choose.h"
#include "api/tune.h"

/* "auto", "reference"; VEER_ERR_CONFIG otherwise. */
VEER_MUST_USE veer_status_t veer_backend_parse(const char *name, veer_backend_t *out_backend);

/* "default", "strict"; VEER_ERR_CONFIG otherwise. Strict excludes algorithms whose error bound is more than four times
 * that of the direct one, and numbers of fewer bits than f32's. */
VEER_MUST_USE veer_status_t veer_precision_parse(const char *name, bool *out_strict);

typedef struct veer_lower_options_s {
    veer_backend_t backend;
    bool strict;
    bool compact; /* memory before speed: see veer_storage_init */
    veer_tune_mode_t tune;
    const char *cache; /* as veer_cache_open's folder */
} veer_lower_options_t;

/* Adds the copies that loops need which yield their arguments in other places, if they are not there yet. veer_lower
 * does it itself; who wants to know the memory that it will plan does it before. */
VEER_MUST_USE veer_status_t veer_legalise(veer_graph_t *g, veer_region_t region);

/* Arguments of the function become the plan's inputs, results its outputs, under their names (%i where a result has
 * none). Calls and grads must have been expanded. The plan points into the graph's constants: the graph must outlive
 * it. The first loop of the function's body is the plan's main loop. */
VEER_MUST_USE veer_status_t veer_lower(veer_graph_t *g, veer_func_t func, const veer_lower_options_t *options,
                                       veer_allocator_t allocator, veer_plan_t **out_plan);

#endif
