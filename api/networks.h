/* The two networks of a pipeline: what their inputs are, at which batch they are imported. */
#ifndef VEER_API_NETWORKS_H
#define VEER_API_NETWORKS_H

#include "api/compile.h"
#include "api/parts.h"

typedef struct veer_networks_s {
    int64_t batch; /* samples per run of the plan */
    int64_t count; /* samples in all, as far as the settings say: 0 = not at all */
} veer_networks_t;

/* Imports both networks into the graph at the batch size that settings and models allow, and fills p->sampler.denoiser
 * and .classifier (roles in the graph's arena). */
VEER_MUST_USE veer_status_t veer_networks_import(veer_graph_t *g, veer_parts_t *p, const veer_settings_t *settings,
                                                 const veer_compile_options_t *options, int64_t batch);
/* That each --map-input names an input of one of the models, from the files alone. */
VEER_MUST_USE veer_status_t veer_networks_check_names(const veer_parts_t *p, const veer_settings_t *settings);
/* The batch size that the denoiser's file fixes; 0 where it is symbolic. */
VEER_MUST_USE veer_status_t veer_networks_fixed_batch(const veer_parts_t *p, const veer_settings_t *settings,
                                                      int64_t *out_batch);

#endif
