/* veer schedule: the kept steps of a run and their coefficients. */
#include "tools/verb.h"
#include "frontend/json_config.h"
#include "models/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    veer_command_t *c;
    veer_scheduler_config_t config;
    bool has_config; /* read from a file: its defaults are diffusers' */
    veer_schedule_t schedule;
    veer_kept_steps_t kept;
    veer_step_table_t table;
} schedule_t;

static veer_status_t read_config(schedule_t *s) {
    const char *path = veer_args_value(&s->c->args, "scheduler"), *folder = veer_command_operand(s->c, 0);
    char joined[4096];
    if (!path && folder) {
        snprintf(joined, sizeof joined, "%s/scheduler/scheduler_config.json", folder);
        path = joined;
    }
    s->c->report.stage = "configuration";
    s->has_config = path != NULL;
    if (!path) return veer_scheduler_config_init(&s->config, s->c->allocator), veer_ok();
    return veer_scheduler_config_read(path, s->c->allocator, &s->config);
}

/* ---- the betas ---- */

static veer_status_t make_schedule(schedule_t *s) {
    const veer_scheduler_config_t *config = &s->config;
    const char *name = veer_args_value(&s->c->args, "beta-schedule");
    veer_schedule_options_t o = veer_schedule_options_default();
    o.steps = config->num_train_timesteps;
    o.rescale_zero_snr = config->rescale_betas_zero_snr;
    VEER_TRY(veer_args_int(&s->c->args, "train-steps", 1, VEER_MAX_TRAIN_STEPS, &o.steps));
    if (config->given.trained_betas && !name) {
        o.kind = VEER_BETAS_GIVEN;
        o.betas = config->trained_betas.values;
        o.steps = (int64_t)config->trained_betas.count;
        return veer_schedule_init(&s->schedule, &o, s->c->allocator);
    }
    VEER_TRY(veer_betas_kind_parse(name ? name : config->beta_schedule, &o.kind));
    /* A file has end points, its own or diffusers'; a schedule that is only named has those of its kind. */
    if (s->has_config && (!name || config->given.beta_start)) o.beta_start = config->beta_start;
    if (s->has_config && (!name || config->given.beta_end)) o.beta_end = config->beta_end;
    VEER_TRY(veer_args_double(&s->c->args, "beta-start", 0, &o.beta_start));
    VEER_TRY(veer_args_double(&s->c->args, "beta-end", 0, &o.beta_end));
    return veer_schedule_init(&s->schedule, &o, s->c->allocator);
}

/* ---- the kept steps ---- */

static veer_status_t kept_from_list(schedule_t *s, const char *text) {
    const char *const *parts;
    int count;
    VEER_TRY(veer_args_split(&s->c->args, text, &parts, &count));
    int64_t *index = veer_arena_array(&s->c->args.arena, (size_t)count, sizeof *index);
    if (!index) return veer_out_of_memory();
    for (int i = 0; i < count; i++) {
        char *end;
        index[i] = strtoll(parts[i], &end, 10);
        if (*end) return veer_error(VEER_ERR_CONFIG, "--timesteps: '%s' is no integer", parts[i]);
    }
    return veer_kept_steps_list(&s->kept, s->schedule.steps, index, count, s->c->allocator);
}

static veer_status_t kept_from_count(schedule_t *s) {
    const char *name = veer_args_value(&s->c->args, "timestep-spacing");
    veer_spacing_t spacing;
    int64_t count = 0;
    VEER_TRY(veer_args_int(&s->c->args, "steps", 1, s->schedule.steps, &count));
    VEER_TRY(veer_spacing_parse(name ? name : s->config.timestep_spacing, &spacing));
    return veer_kept_steps_spaced(&s->kept, s->schedule.steps, count, spacing, s->config.steps_offset, s->c->allocator);
}

static veer_status_t make_kept(schedule_t *s) {
    const veer_args_t *args = &s->c->args;
    const char *respacing = veer_args_value(args, "timestep-respacing"), *list = veer_args_value(args, "timesteps");
    bool has_count = veer_args_has(args, "steps");
    if (!!respacing + !!list + has_count > 1)
        return veer_error(VEER_ERR_CONFIG, "give one of --steps, --timestep-respacing and --timesteps, not %d of them",
                          !!respacing + !!list + has_count);
    if (respacing) return veer_kept_steps_respacing(&s->kept, s->schedule.steps, respacing, s->c->allocator);
    if (list) return kept_from_list(s, list);
    if (has_count) return kept_from_count(s);
    return veer_kept_steps_all(&s->kept, s->schedule.steps, s->c->allocator);
}

/* ---- the table ---- */

static veer_status_t make_table(schedule_t *s) {
    const char *flag = veer_args_value(&s->c->args, "variance-type");
    veer_step_table_options_t o = {.final_noise = s->config.final_noise,
                                   .final_abar_is_first = !s->config.set_alpha_to_one};
    VEER_TRY(veer_variance_parse(flag ? flag : s->config.variance_type, &o.variance, &o.variance_fraction));
    return veer_step_table_init(&s->table, &s->schedule, &s->kept, &o, s->c->allocator);
}

static json_t *rows_of(schedule_t *s) {
    veer_report_t *r = &s->c->report;
    const veer_step_table_t *t = &s->table;
    const struct {
        const char *key;
        const double *values;
    } columns[] = {
        {"beta", t->beta},
        {"alpha", t->alpha},
        {"abar", t->abar},
        {"abar_prev", t->abar_prev},
        {"btilde", t->btilde},
        {"sigma2_shift", t->sigma2_shift},
        {"sigma2_noise", t->sigma2_noise},
        {"log_var_min", t->log_var_min},
        {"log_var_max", t->log_var_max},
        {"mean_x0", t->mean_x0},
        {"mean_xt", t->mean_xt},
        {"mean_eps", t->mean_eps},
        {"mean_recip", t->mean_recip},
        {"sqrt_abar", t->sqrt_abar},
        {"sqrt_one_minus_abar", t->sqrt_one_minus_abar},
    };
    json_t *rows = veer_report_array(r);
    for (int64_t i = 0; i < t->steps; i++) {
        json_t *row = veer_report_object(r);
        veer_put_int(r, row, "step", i + 1);
        veer_put_int(r, row, "timestep", t->timestep[i]);
        for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
            veer_put_real(r, row, columns[k].key, columns[k].values[i]);
        veer_append(r, rows, row);
    }
    return rows;
}

static void print_table(schedule_t *s) {
    json_t *rows = rows_of(s);
    if (!veer_report_json(&s->c->report, rows))
        veer_report_table(&s->c->report, rows,
                          VEER_COLUMNS({"step", NULL}, {"timestep", NULL}, {"beta", NULL}, {"abar", NULL},
                                       {"abar_prev", NULL}, {"btilde", NULL}, {"sigma2_shift", "sigma2"},
                                       {"sigma2_noise", "noise"}, {"mean_x0", NULL}, {"mean_xt", NULL},
                                       {"log_var_min", NULL}, {"log_var_max", NULL}));
    json_decref(rows);
}

static veer_status_t run_schedule(veer_command_t *c) {
    schedule_t s = {.c = c};
    veer_status_t status = read_config(&s);
    if (!status && *s.config.notes) veer_report_note(&c->report, "%s", s.config.notes);
    if (!status) status = make_schedule(&s);
    if (!status) status = make_kept(&s);
    if (!status) status = make_table(&s);
    if (!status) print_table(&s);
    veer_step_table_deinit(&s.table);
    veer_kept_steps_deinit(&s.kept);
    veer_schedule_deinit(&s.schedule);
    veer_scheduler_config_deinit(&s.config);
    return status;
}

static const veer_flag_t flags[] = {
    {"scheduler", 0, "F.json", "scheduler_config.json to read; otherwise FOLDER's, or none", false},
    {"beta-schedule", 0, "NAME", "linear, scaled_linear, cosine, sigmoid, sqrt", false},
    {"beta-start", 0, "B", "first beta of linear, scaled_linear, sigmoid", false},
    {"beta-end", 0, "B", "last beta of these", false},
    {"train-steps", 0, "T", "length of the schedule (1000)", false},
    {"steps", 0, "N", "keep N steps, spaced as --timestep-spacing says", false},
    {"timestep-spacing", 0, "NAME", "leading, trailing, linspace", false},
    {"timestep-respacing", 0, "S", "keep steps as \"50\", \"ddim25\" or \"10,15,20\" says", false},
    {"timesteps", 0, "A,B,C", "keep these training indices (0-based)", false},
    {"variance-type", 0, "V", "fixed_small, fixed_large, \"fixed_range V\", learned, learned_range", false},
    {0},
};

const veer_verb_t veer_verb_schedule = {
    .name = "schedule",
    .operands = "[FOLDER]",
    .max_operands = 1,
    .summary = "the kept steps of a run and their coefficients, in the order of execution",
    .example = "  veer schedule examples/digits --timestep-respacing ddim25\n"
               "  veer schedule --beta-schedule cosine --steps 10 --format json",
    .flags = flags,
    .run = run_schedule,
};
