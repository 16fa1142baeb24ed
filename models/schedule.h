/* Discrete-time noise schedules: the betas of training, the kept steps of a run, and every coefficient that a step of
 * the run needs (spec "Notation", "Variances", "Schedules"). All in double; whoever builds a graph rounds once.
 *
 *     veer_schedule_options_t o = veer_schedule_options_default();   // linear, T = 1000
 *     o.kind = VEER_BETAS_COSINE;
 *     VEER_TRY(veer_schedule_init(&schedule, &o, allocator));
 *     VEER_TRY(veer_kept_steps_respacing(&kept, schedule.steps, "ddim25", allocator));
 *     VEER_TRY(veer_step_table_init(&table, &schedule, &kept, &table_options, allocator));
 *     // table.timestep[0] is the largest kept index, table.timestep[24] the last step of the run
 *
 * Objects live in the caller's storage: every init is paired with its deinit, which also takes a zeroed object; a
 * failed init leaves its output alone and nothing to release.
 */
#ifndef VEER_MODELS_SCHEDULE_H
#define VEER_MODELS_SCHEDULE_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

/* ---- the betas of training ---- */

typedef enum veer_betas_kind_e {
    VEER_BETAS_LINEAR,
    VEER_BETAS_SCALED_LINEAR, /* linear in sqrt(beta) */
    VEER_BETAS_COSINE,        /* squaredcos_cap_v2 */
    VEER_BETAS_SIGMOID,       /* a sigmoid over [-6, 6] between the end points */
    VEER_BETAS_SQRT,          /* Diffusion-LM */
    VEER_BETAS_GIVEN          /* an explicit list */
} veer_betas_kind_t;

/* No run or training is longer than this; keeps tables and files bounded. */
#define VEER_MAX_TRAIN_STEPS ((int64_t)1 << 20)

typedef struct veer_schedule_options_s {
    veer_betas_kind_t kind;
    int64_t steps;               /* T; with VEER_BETAS_GIVEN the length of `betas` */
    double beta_start, beta_end; /* NAN: not given, see veer_schedule_init */
    const double *betas;         /* [steps], VEER_BETAS_GIVEN only; copied */
    bool rescale_zero_snr;       /* shift and scale sqrt(abar) so that abar_T = 0 (Lin et al. 2023) */
} veer_schedule_options_t;

/* Linear, T = 1000, no end points. */
veer_schedule_options_t veer_schedule_options_default(void);

typedef struct veer_schedule_s {
    int64_t steps; /* T */
    double *beta;  /* [T]; index 0 is t = 1 */
    double *abar;  /* [T], the running product of 1 - beta */
    veer_allocator_t allocator;
} veer_schedule_t;

/* "linear", "scaled_linear", "cosine" or "squaredcos_cap_v2", "sigmoid", "sqrt"; VEER_ERR_CONFIG otherwise. */
VEER_MUST_USE veer_status_t veer_betas_kind_parse(const char *name, veer_betas_kind_t *out_kind);
const char *veer_betas_kind_name(veer_betas_kind_t kind);

/* End points that are not given are 1e-4 * 1000/T .. 0.02 * 1000/T for linear, 1e-4 .. 0.02 for scaled_linear and
 * sigmoid; cosine and sqrt have none. VEER_ERR_CONFIG where T is out of range or a beta is not inside (0, 1); only
 * the very last beta may be 1. */
VEER_MUST_USE veer_status_t veer_schedule_init(veer_schedule_t *out_schedule, const veer_schedule_options_t *options,
                                               veer_allocator_t allocator);
void veer_schedule_deinit(veer_schedule_t *schedule);

/* ---- the kept steps of a run ---- */

/* 0-based training indices, ascending, without repetition. */
typedef struct veer_kept_steps_s {
    int64_t count;
    int64_t *index; /* [count] */
    veer_allocator_t allocator;
} veer_kept_steps_t;

typedef enum veer_spacing_e { VEER_SPACING_LEADING, VEER_SPACING_TRAILING, VEER_SPACING_LINSPACE } veer_spacing_t;

/* "leading", "trailing", "linspace"; VEER_ERR_CONFIG otherwise. */
VEER_MUST_USE veer_status_t veer_spacing_parse(const char *name, veer_spacing_t *out_spacing);

/* All T steps. */
VEER_MUST_USE veer_status_t veer_kept_steps_all(veer_kept_steps_t *out_kept, int64_t train_steps,
                                                veer_allocator_t allocator);
/* guided-diffusion's notation: "50", "10,15,20" (counts per equal section), "ddim25" (a fixed integer stride). */
VEER_MUST_USE veer_status_t veer_kept_steps_respacing(veer_kept_steps_t *out_kept, int64_t train_steps,
                                                      const char *text, veer_allocator_t allocator);
/* diffusers' `timestep_spacing` with `count` steps; the offset counts for `leading` only, as it does there. */
VEER_MUST_USE veer_status_t veer_kept_steps_spaced(veer_kept_steps_t *out_kept, int64_t train_steps, int64_t count,
                                                   veer_spacing_t spacing, int64_t steps_offset,
                                                   veer_allocator_t allocator);
/* An explicit list in any order. */
VEER_MUST_USE veer_status_t veer_kept_steps_list(veer_kept_steps_t *out_kept, int64_t train_steps, const int64_t *index,
                                                 int64_t count, veer_allocator_t allocator);
void veer_kept_steps_deinit(veer_kept_steps_t *kept);

/* ---- the coefficients of the run ---- */

typedef enum veer_variance_e {
    VEER_VARIANCE_FIXED_SMALL,    /* btilde; 0 in the last step */
    VEER_VARIANCE_FIXED_LARGE,    /* beta; btilde_2 in the last step */
    VEER_VARIANCE_FIXED_RANGE,    /* log sigma^2 at a constant fraction between log btilde and log beta */
    VEER_VARIANCE_LEARNED,        /* the network emits log sigma^2 */
    VEER_VARIANCE_LEARNED_SIGMA2, /* the network emits sigma^2: `learned` in a diffusers config */
    VEER_VARIANCE_LEARNED_RANGE   /* the network emits v in [-1, 1] between the two bounds */
} veer_variance_t;

static inline bool veer_variance_is_learned(veer_variance_t v) {
    return v >= VEER_VARIANCE_LEARNED;
}

/* "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "fixed_range", "learned", "learned_range".
 * "fixed_range V" and "fixed_range:V" also set *out_fraction, which is left alone otherwise. */
VEER_MUST_USE veer_status_t veer_variance_parse(const char *name, veer_variance_t *out_variance, double *out_fraction);

typedef struct veer_step_table_options_s {
    veer_variance_t variance;
    double variance_fraction; /* V of fixed_range, in [0, 1] */
    bool final_noise;         /* keep xi in the last step of the run, with that step's sigma */
    bool final_abar_is_first; /* diffusers' `set_alpha_to_one: false`: the run ends at abar of index 0 instead of 1 */
} veer_step_table_options_t;

/* Arrays over the steps in the order of execution: [0] is the step from pure noise, [steps-1] the last one. Names are
 * those of the spec; "prev" is the next kept step of the run, nearer to the data. */
typedef struct veer_step_table_s {
    int64_t steps;
    int64_t *timestep; /* 0-based training index of the step */
    int64_t
        *timestep_next; /* that of the next step of the run; the last step's own index in the last step, spec (9') */

    double *abar, *abar_prev;
    double *beta, *alpha;          /* recomputed on the kept steps: beta = 1 - abar/abar_prev */
    double *btilde;                /* beta (1 - abar_prev) / (1 - abar) */
    double *sqrt_abar;             /* (1) */
    double *sqrt_one_minus_abar;   /* (1), (2), (10) */
    double *sqrt_recip_abar;       /* x0 = sqrt_recip_abar x_t - sqrt_recipm1_abar eps; infinite where abar = 0 */
    double *sqrt_recipm1_abar;     /* sqrt(1/abar - 1) */
    double *mean_x0, *mean_xt;     /* (4): mutilde = mean_xt x_t + mean_x0 x0 */
    double *mean_eps, *mean_recip; /* (5): mu = mean_recip (x_t - mean_eps eps) */

    double *log_var_min, *log_var_max; /* log btilde and log beta, the bounds of learned_range and fixed_range */
    double *sigma2_shift;              /* sigma^2 of the mean shift (9) and (9'); 0 for learned variances */
    double *sigma2_noise; /* sigma^2 of the noise: sigma2_shift, but 0 in the last step unless final_noise */
    double *noise_on;     /* 1, but 0 in the last step unless final_noise: multiplies xi of a learned variance */

    veer_allocator_t allocator;
    double *storage; /* all double arrays */
} veer_step_table_t;

/* Conventions of the last step are guided-diffusion's: fixed_large and the lower bound of the range take btilde of the
 * step before it (btilde_2), fixed_small is 0. A run of a single step has no btilde_2: there it is beta_1, the only
 * variance that step has, so that both bounds of a range meet. VEER_ERR_CONFIG where the kept steps and the schedule
 * do not fit together or V is not inside [0, 1]. */
VEER_MUST_USE veer_status_t veer_step_table_init(veer_step_table_t *out_table, const veer_schedule_t *schedule,
                                                 const veer_kept_steps_t *kept,
                                                 const veer_step_table_options_t *options, veer_allocator_t allocator);
void veer_step_table_deinit(veer_step_table_t *table);

#endif
