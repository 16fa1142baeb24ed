#include "frontend/json_config.h"

#include "frontend/json_object.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- scheduler_config.json ---- */

/* Keys that other scheduler classes of diffusers define. Its own loader drops them when a configuration moves between
 * classes, so they occur in files that people have. */
static const char *const keys_of_other_schedulers[] = {
    "algorithm_type",
    "alpha_cum_end",
    "alpha_cum_start",
    "base_image_seq_len",
    "base_shift",
    "block_length",
    "clip_denoised",
    "correct_steps",
    "corrector_k",
    "corrector_order",
    "corrector_selection",
    "corrector_selection_tau",
    "corrector_steps",
    "disable_corrector",
    "editing_threshold",
    "entropy_bound",
    "eta",
    "euler_at_final",
    "final_sigmas_type",
    "flow_shift",
    "gamma",
    "gamma_cum_end",
    "gamma_cum_start",
    "interpolation_type",
    "invert_sigmas",
    "lambda_min_clipped",
    "lower_order_final",
    "mask_token_id",
    "masking_schedule",
    "max_image_seq_len",
    "max_shift",
    "minimal_topk",
    "noise_sampler_seed",
    "num_inference_steps",
    "num_vec_classes",
    "original_inference_steps",
    "predict_x0",
    "predictor_order",
    "rho",
    "s",
    "s_noise",
    "sampling_eps",
    "scale_factors",
    "scaler",
    "scheduler_type",
    "shift",
    "shift_terminal",
    "sigma_data",
    "sigma_max",
    "sigma_min",
    "sigma_schedule",
    "skip_prk_steps",
    "snr",
    "snr_shift_scale",
    "solver_order",
    "solver_p",
    "solver_type",
    "stage_range",
    "stages",
    "stochastic_sampling",
    "t_max",
    "t_min",
    "tau_func",
    "threshold",
    "time_shift_type",
    "timestep_scaling",
    "timestep_type",
    "upscale_mode",
    "use_beta_sigmas",
    "use_dynamic_shifting",
    "use_exponential_sigmas",
    "use_flow_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
};

static const veer_json_field_t scheduler_fields[] = {
#define X(kind, type, name, ...)                                                                                       \
    {#name, VEER_JSON_##kind, offsetof(veer_scheduler_config_t, name), offsetof(veer_scheduler_config_t, given.name)},
    VEER_SCHEDULER_KEYS(X)
#undef X
};

void veer_scheduler_config_init(veer_scheduler_config_t *out_config, veer_allocator_t allocator) {
    *out_config = (veer_scheduler_config_t){
        .class_name = "DDPMScheduler",
#define X(kind, type, name, ...) .name = __VA_ARGS__,
        VEER_SCHEDULER_KEYS(X)
#undef X
            .notes = "",
    };
    veer_arena_init(&out_config->arena, allocator);
}

void veer_scheduler_config_deinit(veer_scheduler_config_t *config) {
    veer_arena_deinit(&config->arena);
}

/* The entry of `names` that `_class_name` is. */
static veer_status_t read_class(const json_t *json, const char *const *names, size_t count, const char *supported,
                                const char **out_name) {
    const json_t *value = json_object_get(json, "_class_name");
    if (!json_is_string(value)) return veer_error(VEER_ERR_CONFIG, "key '_class_name' is not a string");
    for (size_t i = 0; i < count; i++) {
        if (strcmp(json_string_value(value), names[i])) continue;
        *out_name = names[i];
        return veer_ok();
    }
    char shown[VEER_JSON_SHOWN_BYTES];
    return veer_status_help(veer_error(VEER_ERR_UNSUPPORTED, "_class_name '%s' is not supported",
                                       veer_json_shown(json_string_value(value), shown)),
                            "supported: %s", supported);
}

static veer_status_t read_scheduler(const json_t *json, veer_scheduler_config_t *config) {
    static const char *const classes[] = {"DDPMScheduler", "DDIMScheduler"};
    /* The class first: an unsupported one explains every unknown key. */
    if (json_object_get(json, "_class_name"))
        VEER_TRY(read_class(json, classes, COUNT(classes), "DDPMScheduler, DDIMScheduler", &config->class_name));
    const veer_json_fields_t fields = {scheduler_fields, COUNT(scheduler_fields), keys_of_other_schedulers,
                                       COUNT(keys_of_other_schedulers),
                                       "belongs to another scheduler class of diffusers and has no effect"};
    return veer_json_read_object(json, &fields, config, &config->arena, &config->notes);
}

veer_status_t veer_scheduler_config_read(const char *path, veer_allocator_t allocator,
                                         veer_scheduler_config_t *out_config) {
    json_t *json;
    veer_scheduler_config_t config;
    VEER_TRY(veer_json_load(path, allocator, &json));
    veer_scheduler_config_init(&config, allocator);
    veer_status_t status = veer_status_where(read_scheduler(json, &config), "%s", path);
    json_decref(json);
    if (status)
        veer_scheduler_config_deinit(&config);
    else
        *out_config = config;
    return status;
}

/* ---- guider_config.json ---- */

#define GUIDER_FIELD(kind, type, name, ...)                                                                            \
    {#name, VEER_JSON_##kind, offsetof(veer_guider_config_t, name), offsetof(veer_guider_config_t, given.name)},

static const veer_json_field_t classifier_fields[] = {VEER_GUIDER_KEYS(GUIDER_FIELD)
                                                          VEER_CLASSIFIER_KEYS(GUIDER_FIELD)};
static const veer_json_field_t classifier_free_fields[] = {VEER_GUIDER_KEYS(GUIDER_FIELD)
                                                               VEER_CLASSIFIER_FREE_KEYS(GUIDER_FIELD)};

static veer_guider_config_t guider_default(veer_guider_kind_t kind) {
    veer_guider_config_t config = {.kind = kind,
#define X(kind, type, name, ...) .name = __VA_ARGS__,
                                   VEER_CLASSIFIER_KEYS(X) VEER_CLASSIFIER_FREE_KEYS(X) VEER_GUIDER_KEYS(X)
#undef X
    };
    config.guidance_scale = kind == VEER_GUIDER_CLASSIFIER ? 1 : 7.5;
    return config;
}

static veer_status_t unsupported(const char *key, double value, double expected) {
    return veer_error(VEER_ERR_UNSUPPORTED, "%s %g is not supported, only %g", key, value, expected);
}

static veer_status_t check_guider(const veer_guider_config_t *c) {
    veer_status_t status = veer_ok();
    if (c->guidance_rescale != 0) status = unsupported("guidance_rescale", c->guidance_rescale, 0);
    if (c->start != 0) status = veer_status_join(status, unsupported("start", c->start, 0));
    if (c->stop != 1) status = veer_status_join(status, unsupported("stop", c->stop, 1));
    return status;
}

static veer_status_t read_guider(const json_t *json, veer_arena_t *arena, veer_guider_config_t *out_config) {
    static const char *const classes[] = {"ClassifierGuidance", "ClassifierFreeGuidance"};
    const char *name = NULL, *notes = "";
    if (!json_is_object(json))
        return veer_error(VEER_ERR_CONFIG, "a guider is an object with _class_name, or a list of such objects");
    VEER_TRY(read_class(json, classes, COUNT(classes), "ClassifierGuidance, ClassifierFreeGuidance", &name));
    bool classifier = name == classes[0];
    const veer_json_fields_t fields = {.fields = classifier ? classifier_fields : classifier_free_fields,
                                       .count = classifier ? COUNT(classifier_fields) : COUNT(classifier_free_fields)};
    *out_config = guider_default(classifier ? VEER_GUIDER_CLASSIFIER : VEER_GUIDER_CLASSIFIER_FREE);
    VEER_TRY(veer_status_where(veer_json_read_object(json, &fields, out_config, arena, &notes), "%s", name));
    return veer_status_where(check_guider(out_config), "%s", name);
}

static veer_status_t read_guiders(const json_t *json, veer_guider_configs_t *configs) {
    size_t count = json_is_array(json) ? json_array_size(json) : 1;
    veer_guider_config_t *items = veer_arena_array(&configs->arena, count, sizeof *items);
    if (!items) return veer_out_of_memory();
    veer_status_t status = veer_ok();
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(json) ? json_array_get(json, i) : json;
        status = veer_status_join(status, read_guider(item, &configs->arena, &items[i]));
    }
    configs->items = items;
    configs->count = count;
    return status;
}

veer_status_t veer_guider_configs_read(const char *path, veer_allocator_t allocator,
                                       veer_guider_configs_t *out_configs) {
    json_t *json;
    veer_guider_configs_t configs = {0};
    VEER_TRY(veer_json_load(path, allocator, &json));
    veer_arena_init(&configs.arena, allocator);
    veer_status_t status = veer_status_where(read_guiders(json, &configs), "%s", path);
    json_decref(json);
    if (status)
        veer_guider_configs_deinit(&configs);
    else
        *out_configs = configs;
    return status;
}

void veer_guider_configs_deinit(veer_guider_configs_t *configs) {
    veer_arena_deinit(&configs->arena);
}

double veer_guider_config_gamma(const veer_guider_config_t *config) {
    return config->use_original_formulation ? 1 + config->guidance_scale : config->guidance_scale;
}
