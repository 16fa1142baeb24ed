/* scheduler_config.json with diffusers' names and defaults, and guider_config.json, as plain structs. What the words in
 * them mean is for the caller; here only keys and types are checked.
 *
 *     veer_scheduler_config_t c;
 *     VEER_TRY(veer_scheduler_config_read("scheduler/scheduler_config.json", allocator, &c));
 *     if (c.given.variance_type) ...                // says whether the file had the key; absent keys hold the default
 *     veer_scheduler_config_deinit(&c);
 *
 * Strings and lists belong to the config. VEER_ERR_FILE for a file that is no JSON, VEER_ERR_CONFIG for unknown keys
 * and wrong types (all of them at once), VEER_ERR_UNSUPPORTED for classes and settings that are known and not there.
 */
#ifndef VEER_FRONTEND_JSON_CONFIG_H
#define VEER_FRONTEND_JSON_CONFIG_H

#include "frontend/lists.h"
#include "ir/base/arena.h"
#include "ir/base/status.h"

/* X(kind of json_object.h, C type, key, default). Those of diffusers' DDPMScheduler and DDIMScheduler together,
 * whatever the class, since the sampler can be chosen apart from it; final_noise is ours. */
#define VEER_SCHEDULER_KEYS(X)                                                                                         \
    X(INT, int64_t, num_train_timesteps, 1000)                                                                         \
    X(NUMBER, double, beta_start, 0.0001)                                                                              \
    X(NUMBER, double, beta_end, 0.02)                                                                                  \
    X(STRING, const char *, beta_schedule, "linear")                                                                   \
    X(NUMBERS, veer_numbers_t, trained_betas, {0})                                                                     \
    X(STRING, const char *, variance_type, "fixed_small") /* `learned` in a config means sigma^2, not its log */       \
    X(STRING, const char *, prediction_type, "epsilon")                                                                \
    X(STRING, const char *, timestep_spacing, "leading")                                                               \
    X(INT, int64_t, steps_offset, 0)                                                                                   \
    X(BOOL, bool, rescale_betas_zero_snr, false)                                                                       \
    X(BOOL, bool, clip_sample, true)                                                                                   \
    X(NUMBER, double, clip_sample_range, 1.0)                                                                          \
    X(BOOL, bool, thresholding, false)                                                                                 \
    X(NUMBER, double, dynamic_thresholding_ratio, 0.995)                                                               \
    X(NUMBER, double, sample_max_value, 1.0)                                                                           \
    X(BOOL, bool, set_alpha_to_one, true)                                                                              \
    X(BOOL, bool, final_noise, false)

typedef struct veer_scheduler_config_s {
    const char *class_name; /* DDPMScheduler where the file has no _class_name */
#define X(kind, type, name, ...) type name;
    VEER_SCHEDULER_KEYS(X)
#undef X
    struct {
#define X(kind, type, name, ...) bool name;
        VEER_SCHEDULER_KEYS(X)
#undef X
    } given;
    const char *notes; /* one line per key that has no effect; "" where there is none */
    veer_arena_t arena;
} veer_scheduler_config_t;

/* No file: all defaults, nothing given. */
void veer_scheduler_config_init(veer_scheduler_config_t *out_config, veer_allocator_t allocator);
VEER_MUST_USE veer_status_t veer_scheduler_config_read(const char *path, veer_allocator_t allocator,
                                                       veer_scheduler_config_t *out_config);
void veer_scheduler_config_deinit(veer_scheduler_config_t *config);

/* ---- guiders ---- */

typedef enum veer_guider_kind_e { VEER_GUIDER_CLASSIFIER, VEER_GUIDER_CLASSIFIER_FREE } veer_guider_kind_t;

/* `class` and `target` may be a list or a single value. `guidance` ("mean" or "noise") is the flag of that name. */
#define VEER_CLASSIFIER_KEYS(X)                                                                                        \
    X(STRING, const char *, head, NULL)                                                                                \
    X(NUMBERS, veer_numbers_t, target, {0})                                                                            \
    X(INTS, veer_integers_t, class, {0})                                                                               \
    X(STRING, const char *, grad_at, NULL)                                                                             \
    X(STRING, const char *, guidance, NULL)
#define VEER_CLASSIFIER_FREE_KEYS(X)                                                                                   \
    X(BOOL, bool, use_original_formulation, false)                                                                     \
    X(INT, int64_t, null_label, 0)
/* Keys of diffusers' guiders; what is not the default is VEER_ERR_UNSUPPORTED, but for guidance_scale and enabled. */
#define VEER_GUIDER_KEYS(X)                                                                                            \
    X(NUMBER, double, guidance_scale, 0)                                                                               \
    X(BOOL, bool, enabled, true)                                                                                       \
    X(NUMBER, double, guidance_rescale, 0)                                                                             \
    X(NUMBER, double, start, 0)                                                                                        \
    X(NUMBER, double, stop, 1)

/* Keys of the other class hold their defaults. */
typedef struct veer_guider_config_s {
    veer_guider_kind_t kind;
#define X(kind, type, name, ...) type name;
    VEER_CLASSIFIER_KEYS(X)
    VEER_CLASSIFIER_FREE_KEYS(X)
    VEER_GUIDER_KEYS(X)
#undef X
    struct {
#define X(kind, type, name, ...) bool name;
        VEER_CLASSIFIER_KEYS(X)
        VEER_CLASSIFIER_FREE_KEYS(X)
        VEER_GUIDER_KEYS(X)
#undef X
    } given;
} veer_guider_config_t;

typedef struct veer_guider_configs_s {
    size_t count;
    const veer_guider_config_t *items; /* in the order of the file */
    veer_arena_t arena;
} veer_guider_configs_t;

/* guidance_scale defaults to 7.5 for ClassifierFreeGuidance (diffusers') and 1 for ClassifierGuidance. */
VEER_MUST_USE veer_status_t veer_guider_configs_read(const char *path, veer_allocator_t allocator,
                                                     veer_guider_configs_t *out_configs);
void veer_guider_configs_deinit(veer_guider_configs_t *configs);

/* gamma of spec (12): guidance_scale, or 1 + guidance_scale with use_original_formulation. */
double veer_guider_config_gamma(const veer_guider_config_t *config);

#endif
