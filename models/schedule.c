/* The betas of training (spec "Schedules"). */
#include "models/schedule.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = {
    [VEER_BETAS_LINEAR] = "linear", [VEER_BETAS_SCALED_LINEAR] = "scaled_linear",
    [VEER_BETAS_COSINE] = "cosine", [VEER_BETAS_SIGMOID] = "sigmoid",
    [VEER_BETAS_SQRT] = "sqrt",     [VEER_BETAS_GIVEN] = "given",
};

veer_schedule_options_t veer_schedule_options_default(void) {
    return (veer_schedule_options_t){.kind = VEER_BETAS_LINEAR, .steps = 1000, .beta_start = NAN, .beta_end = NAN};
}

const char *veer_betas_kind_name(veer_betas_kind_t kind) {
    return kind_names[kind];
}

veer_status_t veer_betas_kind_parse(const char *name, veer_betas_kind_t *out_kind) {
    if (!strcmp(name, "squaredcos_cap_v2")) name = "cosine";
    for (int i = 0; i < VEER_BETAS_GIVEN; i++) {
        if (strcmp(name, kind_names[i])) continue;
        *out_kind = (veer_betas_kind_t)i;
        return veer_ok();
    }
    return veer_error(VEER_ERR_CONFIG,
                      "beta_schedule '%s' is not known, expected linear, scaled_linear, squaredcos_cap_v2 (cosine), "
                      "sigmoid or sqrt",
                      name);
}

/* T points from first to last, both included; the first alone where T is 1. */
static double linspace(double first, double last, int64_t steps, int64_t i) {
    if (i == 0) return first;
    return i == steps - 1 ? last : first + (double)i * ((last - first) / (double)(steps - 1));
}

static double cosine_f(double u) {
    double c = cos((u + 0.008) / 1.008 * M_PI / 2);
    return c * c;
}

static double sqrt_f(double u) {
    return 1 - sqrt(u + 1e-4);
}

/* beta_t = min(1 - f(t/T) / f((t-1)/T), 0.999); i = t - 1. */
static double beta_from(double (*f)(double), int64_t steps, int64_t i) {
    return fmin(1 - f((double)(i + 1) / (double)steps) / f((double)i / (double)steps), 0.999);
}

static double beta_at(const veer_schedule_options_t *o, int64_t i) {
    switch (o->kind) {
    case VEER_BETAS_LINEAR: return linspace(o->beta_start, o->beta_end, o->steps, i);
    case VEER_BETAS_SCALED_LINEAR: {
        double root = linspace(sqrt(o->beta_start), sqrt(o->beta_end), o->steps, i);
        return root * root;
    }
    case VEER_BETAS_COSINE: return beta_from(cosine_f, o->steps, i);
    case VEER_BETAS_SIGMOID:
        return (o->beta_end - o->beta_start) / (1 + exp(-linspace(-6, 6, o->steps, i))) + o->beta_start;
    case VEER_BETAS_SQRT: return beta_from(sqrt_f, o->steps, i);
    case VEER_BETAS_GIVEN: return o->betas[i];
    }
    return NAN;
}

static veer_status_t complete_options(veer_schedule_options_t *o) {
    if (o->steps < 1 || o->steps > VEER_MAX_TRAIN_STEPS)
        return veer_error(VEER_ERR_CONFIG, "the schedule has %lld training steps, expected 1 to %lld",
                          (long long)o->steps, (long long)VEER_MAX_TRAIN_STEPS);
    double scale = o->kind == VEER_BETAS_LINEAR ? 1000.0 / (double)o->steps : 1;
    if (isnan(o->beta_start)) o->beta_start = 1e-4 * scale;
    if (isnan(o->beta_end)) o->beta_end = 0.02 * scale;
    return veer_ok();
}

static veer_status_t check_betas(const veer_schedule_t *s) {
    for (int64_t i = 0; i < s->steps; i++) {
        bool last_may_be_one = i == s->steps - 1 && s->beta[i] == 1;
        if (!(s->beta[i] > 0 && s->beta[i] < 1) && !last_may_be_one)
            return veer_status_help(veer_error(VEER_ERR_CONFIG,
                                               "beta of training step %lld is %g, expected 0 < beta < 1", (long long)i,
                                               s->beta[i]),
                                    "check beta_start, beta_end, num_train_timesteps and trained_betas");
    }
    return veer_ok();
}

static void accumulate(veer_schedule_t *s) {
    double product = 1;
    for (int64_t i = 0; i < s->steps; i++) s->abar[i] = product *= 1 - s->beta[i];
}

/* sqrt(abar) is shifted so that its last value is 0 and scaled so that its first one stays. */
static veer_status_t rescale_zero_snr(veer_schedule_t *s) {
    double first = sqrt(s->abar[0]), last = sqrt(s->abar[s->steps - 1]);
    if (s->steps < 2)
        return veer_error(VEER_ERR_CONFIG,
                          "rescale_betas_zero_snr needs at least 2 training steps, the schedule has 1");
    for (int64_t i = 0; i < s->steps; i++) {
        double root = (sqrt(s->abar[i]) - last) * (first / (first - last));
        s->abar[i] = root * root;
    }
    for (int64_t i = s->steps - 1; i > 0; i--) s->beta[i] = 1 - s->abar[i] / s->abar[i - 1];
    return veer_ok();
}

veer_status_t veer_schedule_init(veer_schedule_t *out_schedule, const veer_schedule_options_t *options,
                                 veer_allocator_t allocator) {
    veer_schedule_options_t o = *options;
    VEER_TRY(complete_options(&o));
    veer_schedule_t s = {.steps = o.steps, .allocator = allocator};
    s.beta = veer_alloc_array(allocator, (size_t)o.steps, 2 * sizeof *s.beta);
    if (!s.beta) return veer_out_of_memory();
    s.abar = s.beta + o.steps;
    for (int64_t i = 0; i < o.steps; i++) s.beta[i] = beta_at(&o, i);
    veer_status_t status = check_betas(&s);
    if (!status) accumulate(&s);
    if (!status && o.rescale_zero_snr) status = rescale_zero_snr(&s);
    if (status)
        veer_schedule_deinit(&s);
    else
        *out_schedule = s;
    return status;
}

void veer_schedule_deinit(veer_schedule_t *schedule) {
    if (schedule->beta) veer_free(schedule->allocator, schedule->beta);
    *schedule = (veer_schedule_t){0};
}
