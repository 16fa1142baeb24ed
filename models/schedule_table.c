/* The coefficients of every step of a run, from the schedule and the kept steps (spec (1)-(5), "Variances"). */
#include "models/schedule.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static veer_status_t parse_fraction(const char *text, double *out_fraction) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 1))
        return veer_error(VEER_ERR_CONFIG, "fixed_range has fraction '%s', expected a number from 0 to 1", text);
    *out_fraction = value;
    return veer_ok();
}

veer_status_t veer_variance_parse(const char *name, veer_variance_t *out_variance, double *out_fraction) {
    static const struct {
        const char *name;
        veer_variance_t variance;
    } known[] = {{"fixed_small", VEER_VARIANCE_FIXED_SMALL},    {"fixed_small_log", VEER_VARIANCE_FIXED_SMALL},
                 {"fixed_large", VEER_VARIANCE_FIXED_LARGE},    {"fixed_large_log", VEER_VARIANCE_FIXED_LARGE},
                 {"fixed_range", VEER_VARIANCE_FIXED_RANGE},    {"learned", VEER_VARIANCE_LEARNED},
                 {"learned_range", VEER_VARIANCE_LEARNED_RANGE}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name)) continue;
        *out_variance = known[i].variance;
        return veer_ok();
    }
    static const char range[] = "fixed_range";
    size_t length = sizeof range - 1;
    if (!strncmp(name, range, length) && (name[length] == ' ' || name[length] == ':')) {
        VEER_TRY(parse_fraction(name + length + 1, out_fraction));
        *out_variance = VEER_VARIANCE_FIXED_RANGE;
        return veer_ok();
    }
    return veer_error(VEER_ERR_CONFIG,
                      "variance_type '%s' is not known, expected fixed_small, fixed_large, fixed_range V, learned or "
                      "learned_range",
                      name);
}

/* ---- storage ---- */

#define DOUBLE_ARRAYS(X)                                                                                               \
    X(abar)                                                                                                            \
    X(abar_prev)                                                                                                       \
    X(beta) X(alpha) X(btilde) X(sqrt_abar) X(sqrt_one_minus_abar) X(sqrt_recip_abar) X(sqrt_recipm1_abar) X(mean_x0)  \
        X(mean_xt) X(mean_eps) X(mean_recip) X(log_var_min) X(log_var_max) X(sigma2_shift) X(sigma2_noise) X(noise_on)

static veer_status_t table_alloc(veer_step_table_t *t, int64_t steps, veer_allocator_t allocator) {
    enum {
#define X(name) +1
        array_count = 0 DOUBLE_ARRAYS(X)
#undef X
    };
    *t = (veer_step_table_t){.steps = steps, .allocator = allocator};
    t->storage = veer_alloc_array(allocator, (size_t)steps, array_count * sizeof *t->storage);
    t->timestep = veer_alloc_array(allocator, (size_t)steps, 2 * sizeof *t->timestep);
    if (!t->storage || !t->timestep) {
        veer_step_table_deinit(t);
        return veer_out_of_memory();
    }
    t->timestep_next = t->timestep + steps;
    double *next = t->storage;
#define X(name) t->name = next, next += steps;
    DOUBLE_ARRAYS(X)
#undef X
    assert(next == t->storage + steps * array_count);
    return veer_ok();
}

void veer_step_table_deinit(veer_step_table_t *table) {
    if (table->storage) veer_free(table->allocator, table->storage);
    if (table->timestep) veer_free(table->allocator, table->timestep);
    *table = (veer_step_table_t){0};
}

/* ---- coefficients ---- */

static void fill_alphas(veer_step_table_t *t, const veer_schedule_t *schedule, const veer_kept_steps_t *kept,
                        double final_abar) {
    for (int64_t i = 0; i < t->steps; i++) {
        int64_t at = t->steps - 1 - i; /* position in the ascending list */
        t->timestep[i] = kept->index[at];
        t->timestep_next[i] = kept->index[at > 0 ? at - 1 : 0];
        t->abar[i] = schedule->abar[kept->index[at]];
        t->abar_prev[i] = at > 0 ? schedule->abar[kept->index[at - 1]] : final_abar;
        t->alpha[i] = t->abar[i] / t->abar_prev[i];
        t->beta[i] = 1 - t->alpha[i];
        t->btilde[i] = t->beta[i] * (1 - t->abar_prev[i]) / (1 - t->abar[i]);
    }
}

static void fill_means(veer_step_table_t *t) {
    for (int64_t i = 0; i < t->steps; i++) {
        double abar = t->abar[i], rest = 1 - abar;
        t->sqrt_abar[i] = sqrt(abar);
        t->sqrt_one_minus_abar[i] = sqrt(rest);
        t->sqrt_recip_abar[i] = sqrt(1 / abar);
        t->sqrt_recipm1_abar[i] = sqrt(1 / abar - 1);
        t->mean_x0[i] = t->beta[i] * sqrt(t->abar_prev[i]) / rest;
        t->mean_xt[i] = (1 - t->abar_prev[i]) * sqrt(t->alpha[i]) / rest;
        t->mean_eps[i] = t->beta[i] / sqrt(rest);
        t->mean_recip[i] = 1 / sqrt(t->alpha[i]);
    }
}

/* Only set_alpha_to_one: false, where a last step may have beta = 0, comes near this floor (diffusers' own). */
static double clamped_log(double variance) {
    return log(fmax(variance, 1e-20));
}

static void fill_variances(veer_step_table_t *t, const veer_step_table_options_t *o) {
    int64_t last = t->steps - 1;
    double btilde_2 = last > 0 ? t->btilde[last - 1] : t->beta[last];
    for (int64_t i = 0; i <= last; i++) {
        double btilde = i == last ? btilde_2 : t->btilde[i], v = o->variance_fraction;
        t->log_var_min[i] = clamped_log(btilde);
        t->log_var_max[i] = clamped_log(t->beta[i]);
        switch (o->variance) {
        case VEER_VARIANCE_FIXED_SMALL: t->sigma2_shift[i] = i == last ? 0 : t->btilde[i]; break;
        case VEER_VARIANCE_FIXED_LARGE: t->sigma2_shift[i] = i == last ? btilde_2 : t->beta[i]; break;
        case VEER_VARIANCE_FIXED_RANGE:
            t->sigma2_shift[i] = exp(v * t->log_var_max[i] + (1 - v) * t->log_var_min[i]);
            break;
        default: t->sigma2_shift[i] = 0; break;
        }
        t->noise_on[i] = i < last || o->final_noise;
        t->sigma2_noise[i] = t->noise_on[i] * t->sigma2_shift[i];
    }
}

veer_status_t veer_step_table_init(veer_step_table_t *out_table, const veer_schedule_t *schedule,
                                   const veer_kept_steps_t *kept, const veer_step_table_options_t *options,
                                   veer_allocator_t allocator) {
    if (kept->count < 1 || kept->index[kept->count - 1] >= schedule->steps)
        return veer_error(VEER_ERR_CONFIG, "%lld kept steps do not fit a schedule of %lld", (long long)kept->count,
                          (long long)schedule->steps);
    if (!(options->variance_fraction >= 0 && options->variance_fraction <= 1))
        return veer_error(VEER_ERR_CONFIG, "variance fraction is %g, expected 0 to 1", options->variance_fraction);
    veer_step_table_t table;
    VEER_TRY(table_alloc(&table, kept->count, allocator));
    fill_alphas(&table, schedule, kept, options->final_abar_is_first ? schedule->abar[0] : 1);
    fill_means(&table);
    fill_variances(&table, options);
    *out_table = table;
    return veer_ok();
}
