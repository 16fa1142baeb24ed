/* A sampling pipeline's parts: which files, which settings hold once flags have overridden configuration files. */
#ifndef VEER_API_PARTS_H
#define VEER_API_PARTS_H

#include "api/settings.h"
#include "frontend/json_config.h"
#include "frontend/vocab.h"
#include "models/sampler.h"

typedef struct veer_parts_s {
    veer_arena_t arena; /* paths and lists */
    veer_allocator_t allocator;
    veer_limits_t limits; /* of the models */
    /* files; NULL: absent */
    const char *denoiser, *classifier, *embeddings_path, *vocab_path;
    const char *unused_classifier; /* there is one, but its scale is 0: not loaded */
    veer_scheduler_config_t scheduler;
    veer_schedule_t schedule;
    veer_kept_steps_t kept;
    veer_step_table_t table;
    veer_sampler_t sampler; /* all but networks, embeddings and what depends on inputs */
    double classifier_scale, cfg_scale;
    bool cfg_given; /* classifier-free guidance was asked for, be it with scale 0 */
    int64_t *class_list, *label_list;
    int64_t class_count, label_count; /* 0: not given */
    double *target_list;
    int64_t target_count;
    veer_tensor_t embeddings; /* f32 [vocab, width], or data NULL */
    veer_vocab_t vocab;       /* count 0: none */
    uint64_t seed;
    const char *notes;
} veer_parts_t;

/* Finds the files, reads the configurations, merges the flags. `out` is deinitialised by the caller in any case. */
VEER_MUST_USE veer_status_t veer_parts_init(veer_parts_t *out, const char *folder, const veer_settings_t *settings,
                                            veer_allocator_t allocator);
void veer_parts_deinit(veer_parts_t *parts);

#endif
