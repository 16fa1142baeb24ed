#include "api/parts.h"

#include "frontend/npy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct load_s {
    veer_parts_t *p;
    const veer_settings_t *s;
    const char *folder;
    veer_guider_configs_t guiders;
    const char *scheduler_path, *guider_path;
} load_t;

/* ---- files ---- */

static veer_status_t in_folder(load_t *l, const char *name, const char **out) {
    char path[4096];
    if (!l->folder) return veer_ok();
    if (snprintf(path, sizeof path, "%s/%s", l->folder, name) >= (int)sizeof path)
        return veer_error(VEER_ERR_CONFIG, "the path of '%s' in '%s' is too long", name, l->folder);
    if (access(path, F_OK)) return veer_ok();
    *out = veer_arena_strdup(&l->p->arena, path);
    return *out ? veer_ok() : veer_out_of_memory();
}

/* The flag's file, else the folder's where it is there. */
static veer_status_t locate(load_t *l, veer_setting_t flag, const char *name, const char **out) {
    const char *given = veer_setting_text(l->s, flag, 0);
    if (!given) return in_folder(l, name, out);
    *out = veer_arena_strdup(&l->p->arena, given);
    return *out ? veer_ok() : veer_out_of_memory();
}

static veer_status_t locate_all(load_t *l) {
    veer_parts_t *p = l->p;
    if (l->folder && access(l->folder, F_OK))
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "there is no folder '%s'", l->folder),
                                "give a folder with unet/model.onnx or transformer/model.onnx");
    VEER_TRY(locate(l, VEER_SETTING_DENOISER, "unet/model.onnx", &p->denoiser));
    if (!p->denoiser) VEER_TRY(in_folder(l, "transformer/model.onnx", &p->denoiser));
    if (!p->denoiser)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG,
                       l->folder ? "'%s' has no unet/model.onnx and no transformer/model.onnx" : "no denoiser is given",
                       l->folder),
            "give --denoiser FILE.onnx");
    VEER_TRY(locate(l, VEER_SETTING_CLASSIFIER, "classifier/model.onnx", &p->classifier));
    VEER_TRY(locate(l, VEER_SETTING_SCHEDULER, "scheduler/scheduler_config.json", &l->scheduler_path));
    VEER_TRY(locate(l, VEER_SETTING_GUIDER, "guider_config.json", &l->guider_path));
    VEER_TRY(locate(l, VEER_SETTING_EMBEDDINGS, "embeddings.npy", &p->embeddings_path));
    return locate(l, VEER_SETTING_VOCAB, "vocab.txt", &p->vocab_path);
}

static veer_status_t read_embeddings(veer_parts_t *p) {
    if (!p->embeddings_path) return veer_ok();
    VEER_TRY(veer_npy_read(p->embeddings_path, p->allocator, &p->embeddings));
    char text[VEER_TYPE_TEXT_BYTES];
    const veer_type_t *type = &p->embeddings.type;
    if (type->dtype == VEER_DTYPE_F32 && type->rank == 2 && type->dims[0] > 0 && type->dims[1] > 0) return veer_ok();
    return veer_error(VEER_ERR_CONFIG, "%s: embeddings are %s, expected f32 [vocab, width]", p->embeddings_path,
                      veer_type_text(type, text));
}

static veer_status_t read_files(load_t *l) {
    veer_parts_t *p = l->p;
    if (l->scheduler_path) {
        veer_scheduler_config_deinit(&p->scheduler);
        veer_status_t status = veer_scheduler_config_read(l->scheduler_path, p->allocator, &p->scheduler);
        if (status) veer_scheduler_config_init(&p->scheduler, p->allocator);
        VEER_TRY(status);
    }
    if (l->guider_path) VEER_TRY(veer_guider_configs_read(l->guider_path, p->allocator, &l->guiders));
    VEER_TRY(read_embeddings(p));
    return p->vocab_path ? veer_vocab_read(p->vocab_path, p->allocator, &p->vocab) : veer_ok();
}

/* ---- schedule ---- */

static veer_status_t make_schedule(load_t *l) {
    veer_parts_t *p = l->p;
    const veer_scheduler_config_t *c = &p->scheduler;
    veer_schedule_options_t o = veer_schedule_options_default();
    if (c->thresholding)
        return veer_status_help(
            veer_error(VEER_ERR_UNSUPPORTED, "%s: dynamic thresholding is not supported", l->scheduler_path),
            "set \"thresholding\": false; clip_sample clips to a fixed range");
    o.steps = c->num_train_timesteps;
    if (c->trained_betas.count) {
        o.kind = VEER_BETAS_GIVEN;
        o.betas = c->trained_betas.values;
        o.steps = (int64_t)c->trained_betas.count;
    } else {
        VEER_TRY(veer_betas_kind_parse(c->beta_schedule, &o.kind));
        /* Without any configuration file the spec's own end points hold, scaled with T; a file means diffusers'
         * defaults. */
        if (l->scheduler_path) o.beta_start = c->beta_start, o.beta_end = c->beta_end;
    }
    o.rescale_zero_snr = c->rescale_betas_zero_snr;
    return veer_schedule_init(&p->schedule, &o, p->allocator);
}

static veer_status_t keep_steps(load_t *l) {
    veer_parts_t *p = l->p;
    int64_t train = p->schedule.steps, steps = 0, count = 0, *list = NULL;
    bool by_count = veer_setting_given(l->s, VEER_SETTING_STEPS),
         by_list = veer_setting_given(l->s, VEER_SETTING_TIMESTEPS);
    const char *respacing = veer_setting_text(l->s, VEER_SETTING_RESPACING, 0);
    if (by_count + by_list + (respacing != NULL) > 1)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG, "more than one of --steps, --timestep-respacing and --timesteps"),
            "give one of them");
    VEER_TRY(veer_setting_int(l->s, VEER_SETTING_STEPS, 1, train, &steps));
    VEER_TRY(veer_setting_ints(l->s, VEER_SETTING_TIMESTEPS, &p->arena, &list, &count));
    if (respacing) return veer_kept_steps_respacing(&p->kept, train, respacing, p->allocator);
    if (by_list) return veer_kept_steps_list(&p->kept, train, list, count, p->allocator);
    if (!by_count) return veer_kept_steps_all(&p->kept, train, p->allocator);
    veer_spacing_t spacing;
    VEER_TRY(veer_spacing_parse(p->scheduler.timestep_spacing, &spacing));
    return veer_kept_steps_spaced(&p->kept, train, steps, spacing, p->scheduler.steps_offset, p->allocator);
}

static veer_status_t make_table(load_t *l) {
    veer_parts_t *p = l->p;
    const char *flag = veer_setting_text(l->s, VEER_SETTING_VARIANCE_TYPE, 0);
    veer_step_table_options_t o = {.final_noise = p->scheduler.final_noise,
                                   .final_abar_is_first = !p->scheduler.set_alpha_to_one};
    VEER_TRY(veer_variance_parse(flag ? flag : p->scheduler.variance_type, &o.variance, &o.variance_fraction));
    /* A diffusers configuration means sigma^2 by `learned`, the flag its logarithm (spec "Variances"). */
    if (!flag && o.variance == VEER_VARIANCE_LEARNED) o.variance = VEER_VARIANCE_LEARNED_SIGMA2;
    p->sampler.variance = o.variance;
    p->sampler.final_noise = o.final_noise;
    return veer_step_table_init(&p->table, &p->schedule, &p->kept, &o, p->allocator);
}

/* ---- sampler ---- */

static veer_status_t sampler_settings(load_t *l) {
    veer_parts_t *p = l->p;
    veer_sampler_t *s = &p->sampler;
    const char *kind = veer_setting_text(l->s, VEER_SETTING_SAMPLER, 0),
               *prediction = veer_setting_text(l->s, VEER_SETTING_PREDICTION_TYPE, 0);
    const char *rng = veer_setting_text(l->s, VEER_SETTING_RNG, 0);
    bool ddim = p->scheduler.class_name && !strcmp(p->scheduler.class_name, "DDIMScheduler");
    VEER_TRY(veer_sampler_kind_parse(kind ? kind : ddim ? "ddim" : "ddpm", &s->kind));
    VEER_TRY(veer_prediction_parse(prediction ? prediction : p->scheduler.prediction_type, &s->prediction));
    VEER_TRY(veer_setting_double(l->s, VEER_SETTING_ETA, &s->eta));
    if (s->eta < 0 || s->eta > 1) return veer_error(VEER_ERR_CONFIG, "--eta is %g, expected 0 to 1", s->eta);
    VEER_TRY(veer_setting_double(l->s, VEER_SETTING_TIMESTEP_SCALE, &s->timestep_scale));
    s->clip = p->scheduler.clip_sample;
    s->clip_range = p->scheduler.clip_sample_range;
    if (veer_setting_given(l->s, VEER_SETTING_CLIP_SAMPLE)) s->clip = true;
    if (veer_setting_given(l->s, VEER_SETTING_NO_CLIP_SAMPLE)) s->clip = false;
    VEER_TRY(veer_setting_int(l->s, VEER_SETTING_CLAMP_BELOW, 0, INT64_MAX, &s->clamp_below));
    int64_t seed = 42;
    VEER_TRY(veer_setting_int(l->s, VEER_SETTING_SEED, INT64_MIN, INT64_MAX, &seed));
    p->seed = (uint64_t)seed;
    s->record = veer_setting_given(l->s, VEER_SETTING_RECORD);
    s->init_given = veer_setting_given(l->s, VEER_SETTING_INIT);
    s->noise_given = veer_setting_given(l->s, VEER_SETTING_NOISE);
    if (!rng || !strcmp(rng, "philox")) return veer_ok();
    if (strcmp(rng, "torch-cpu"))
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "unknown generator '%s'", rng), "use philox");
    return veer_status_help(veer_error(VEER_ERR_UNSUPPORTED, "generator 'torch-cpu' is not supported"),
                            "give PyTorch's noise with --init and --noise");
}

/* ---- guides ---- */

static const veer_guider_config_t *find_guider(const load_t *l, veer_guider_kind_t kind, veer_status_t *status) {
    const veer_guider_config_t *found = NULL;
    for (size_t i = 0; i < l->guiders.count; i++) {
        if (l->guiders.items[i].kind != kind) continue;
        if (found) *status = veer_error(VEER_ERR_UNSUPPORTED, "%s: more than one guider of a class", l->guider_path);
        found = &l->guiders.items[i];
    }
    return found;
}

static veer_status_t copy_lists(load_t *l, const veer_guider_config_t *c) {
    veer_parts_t *p = l->p;
    if (c && c->class.count) {
        p->class_list = veer_arena_copy(&p->arena, c->class.values, c->class.count * sizeof *c->class.values);
        p->class_count = (int64_t)c->class.count;
        if (!p->class_list) return veer_out_of_memory();
    }
    if (c && c->target.count) {
        p->target_list = veer_arena_copy(&p->arena, c->target.values, c->target.count * sizeof *c->target.values);
        p->target_count = (int64_t)c->target.count;
        if (!p->target_list) return veer_out_of_memory();
    }
    VEER_TRY(veer_setting_ints(l->s, VEER_SETTING_CLASS, &p->arena, &p->class_list, &p->class_count));
    VEER_TRY(veer_setting_ints(l->s, VEER_SETTING_CLASS_LABELS, &p->arena, &p->label_list, &p->label_count));
    return veer_setting_doubles(l->s, VEER_SETTING_TARGET, &p->arena, &p->target_list, &p->target_count);
}

static veer_status_t classifier_settings(load_t *l) {
    veer_parts_t *p = l->p;
    veer_status_t status = veer_ok();
    const veer_guider_config_t *c = find_guider(l, VEER_GUIDER_CLASSIFIER, &status);
    VEER_TRY(status);
    const char *head = veer_setting_text(l->s, VEER_SETTING_HEAD, 0),
               *at = veer_setting_text(l->s, VEER_SETTING_GRAD_AT, 0);
    const char *guidance = veer_setting_text(l->s, VEER_SETTING_GUIDANCE, 0);
    if (c) {
        head = head ? head : c->head;
        at = at ? at : c->grad_at;
        guidance = guidance ? guidance : c->guidance;
    }
    /* A classifier guides where a guider or a flag says so; one that merely lies in the folder does not. */
    bool asked =
        veer_setting_given(l->s, VEER_SETTING_CLASSIFIER) || veer_setting_given(l->s, VEER_SETTING_CLASSIFIER_SCALE);
    p->classifier_scale = c && c->enabled ? c->guidance_scale : asked ? 1 : 0;
    VEER_TRY(veer_setting_double(l->s, VEER_SETTING_CLASSIFIER_SCALE, &p->classifier_scale));
    if (p->classifier_scale == 0) {
        p->unused_classifier = p->classifier, p->classifier = NULL;
        return veer_ok();
    }
    if (!p->classifier)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG, "classifier guidance is asked for, but there is no classifier"),
            "give --classifier FILE.onnx, or --classifier-scale 0");
    VEER_TRY(veer_head_parse(head ? head : p->target_count ? "bernoulli" : "softmax", &p->sampler.head));
    VEER_TRY(veer_grad_at_parse(at ? at : "xt", &p->sampler.grad_at));
    return veer_guidance_parse(guidance ? guidance : "mean", &p->sampler.guidance);
}

static veer_status_t cfg_settings(load_t *l) {
    veer_parts_t *p = l->p;
    veer_status_t status = veer_ok();
    const veer_guider_config_t *c = find_guider(l, VEER_GUIDER_CLASSIFIER_FREE, &status);
    VEER_TRY(status);
    p->cfg_given = (c && c->enabled) || veer_setting_given(l->s, VEER_SETTING_CFG_SCALE);
    p->cfg_scale = c && c->enabled ? veer_guider_config_gamma(c) : 0;
    if (c && c->given.null_label) p->sampler.null_label = c->null_label;
    VEER_TRY(veer_setting_double(l->s, VEER_SETTING_CFG_SCALE, &p->cfg_scale));
    VEER_TRY(veer_setting_int(l->s, VEER_SETTING_NULL_LABEL, 0, INT32_MAX, &p->sampler.null_label));
    p->sampler.cfg = p->cfg_given && p->cfg_scale != 0;
    p->sampler.null_labels_only =
        p->cfg_given && p->cfg_scale == 0; /* (12) with gamma = 0: the unconditional branch alone */
    if (p->cfg_given && p->sampler.null_label < 0)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "classifier-free guidance needs the empty label"),
                                "give --null-label K");
    return veer_ok();
}

static veer_status_t load(load_t *l) {
    veer_parts_t *p = l->p;
    VEER_TRY(locate_all(l));
    VEER_TRY(read_files(l));
    veer_status_t status = make_schedule(l);
    if (!status) status = keep_steps(l);
    if (!status) status = make_table(l);
    VEER_TRY(status);
    VEER_TRY(sampler_settings(l));
    const veer_guider_config_t *c = find_guider(l, VEER_GUIDER_CLASSIFIER, &status);
    VEER_TRY(status);
    VEER_TRY(copy_lists(l, c));
    VEER_TRY(classifier_settings(l));
    VEER_TRY(cfg_settings(l));
    if (p->embeddings.data) {
        p->sampler.embeddings = p->embeddings.data;
        p->sampler.vocab = p->embeddings.type.dims[0];
        p->sampler.width = p->embeddings.type.dims[1];
    }
    p->notes = p->scheduler.notes;
    return veer_ok();
}

veer_status_t veer_parts_init(veer_parts_t *out, const char *folder, const veer_settings_t *settings,
                              veer_allocator_t allocator) {
    *out = (veer_parts_t){.allocator = allocator, .sampler = veer_sampler_default(), .notes = ""};
    veer_arena_init(&out->arena, allocator);
    veer_scheduler_config_init(&out->scheduler, allocator);
    load_t l = {.p = out, .s = settings, .folder = folder};
    veer_status_t status = load(&l);
    veer_guider_configs_deinit(&l.guiders);
    return status;
}

void veer_parts_deinit(veer_parts_t *p) {
    veer_step_table_deinit(&p->table);
    veer_kept_steps_deinit(&p->kept);
    veer_schedule_deinit(&p->schedule);
    veer_scheduler_config_deinit(&p->scheduler);
    veer_vocab_deinit(&p->vocab);
    veer_free(p->allocator, p->embeddings.data);
    veer_arena_deinit(&p->arena);
}
