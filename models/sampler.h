/* The whole sampling loop as one function of the graph (spec "Guided steps"; the order within a step is the spec's
 * (a)-(l)).
 *
 *     veer_sampler_t s = veer_sampler_default();
 *     s.denoiser.func = denoiser; ...roles of its arguments...
 *     VEER_TRY(veer_sampler_build(g, &s, &table, &sample));      // graph @sample(...)
 *
 * Arguments of @sample, those that apply, in this order: seed i64[], first_sample i64[], x_T, noise [S, N, ...],
 * class_labels i64[N], label i64[N] or phi f32[N], cfg_scale f32[], classifier_scale f32[], then every further model
 * input under its own name. Results: x_0, tokens i64[N, L] (with embeddings), x [S, N, ...] (with `record`).
 */
#ifndef VEER_MODELS_SAMPLER_H
#define VEER_MODELS_SAMPLER_H

#include "ir/graph.h"
#include "models/guide.h"
#include "models/schedule.h"

typedef enum veer_sampler_kind_e { VEER_SAMPLER_DDPM, VEER_SAMPLER_DDIM } veer_sampler_kind_t;
typedef enum veer_prediction_e {
    VEER_PREDICTION_EPSILON,
    VEER_PREDICTION_SAMPLE,
    VEER_PREDICTION_V,
    VEER_PREDICTION_SCORE
} veer_prediction_t;
typedef enum veer_grad_at_e { VEER_GRAD_AT_XT, VEER_GRAD_AT_MU, VEER_GRAD_AT_X0 } veer_grad_at_t;
typedef enum veer_guidance_e { VEER_GUIDANCE_MEAN, VEER_GUIDANCE_NOISE } veer_guidance_t;

VEER_MUST_USE veer_status_t veer_sampler_kind_parse(const char *name, veer_sampler_kind_t *out);
VEER_MUST_USE veer_status_t veer_prediction_parse(const char *name, veer_prediction_t *out);
VEER_MUST_USE veer_status_t veer_grad_at_parse(const char *name, veer_grad_at_t *out);
VEER_MUST_USE veer_status_t veer_guidance_parse(const char *name, veer_guidance_t *out);

/* What each argument of a network's function is. */
typedef enum veer_role_e {
    VEER_ROLE_EXTRA,     /* an argument of @sample of the same name */
    VEER_ROLE_X,         /* x_t (mu, x0-hat for a guide taken there) */
    VEER_ROLE_TIMESTEP,  /* the training index times timestep_scale, [], [1] or [batch], any integer or float dtype */
    VEER_ROLE_LABELS,    /* class labels, integers [batch] */
    VEER_ROLE_SELF_COND, /* the previous step's raw x0-hat */
    VEER_ROLE_TARGET     /* classifier only: takes the guide's label (an integer input `y` of shape [batch]) */
} veer_role_t;

typedef struct veer_network_s {
    veer_func_t func;         /* VEER_NO_FUNC: absent */
    const veer_role_t *roles; /* one per argument of the function */
} veer_network_t;

typedef struct veer_sampler_s {
    veer_sampler_kind_t kind;
    double eta; /* (11) */
    veer_prediction_t prediction;
    veer_variance_t variance;
    double timestep_scale;
    bool clip; /* (g) */
    double clip_range;
    int64_t clamp_below;     /* (f), (17): where the training index is below it; 0 = never */
    veer_network_t denoiser; /* its batch is 2 N with classifier-free guidance (both branches at once), else N */
    veer_network_t classifier;
    veer_head_t head;
    veer_grad_at_t grad_at;
    veer_guidance_t guidance;     /* of DDPM; DDIM is always VEER_GUIDANCE_NOISE */
    bool cfg;                     /* (12) */
    int64_t null_label;           /* the empty label; -1: none */
    bool null_labels_only;        /* no guidance and no labels: every sample takes the empty label */
    bool init_given, noise_given; /* x_T and noise are arguments instead of noise nodes */
    bool final_noise;
    bool record;
    const float *embeddings; /* [vocab, width] or NULL; copied */
    int64_t vocab, width;
} veer_sampler_t;

/* DDPM, epsilon, fixed_small, clip to [-1, 1], scale 1, nothing attached. */
veer_sampler_t veer_sampler_default(void);

/* Adds @sample. The table must have been made with the same variance. VEER_ERR_CONFIG with a message that names what
 * does not fit: shapes of networks, missing variance channels, a scaled timestep that an integer input cannot take, ...
 */
VEER_MUST_USE veer_status_t veer_sampler_build(veer_graph_t *g, const veer_sampler_t *sampler,
                                               const veer_step_table_t *table, veer_func_t *out_sample);

#endif
