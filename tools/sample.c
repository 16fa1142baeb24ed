/* veer sample: guided sampling. The flags are the library's settings, by name. */
#include "api/veer.h"
#include "frontend/outfile.h"
#include "tools/evaluate.h"
#include "tools/progress.h"
#include "tools/verb.h"

#include <string.h>

typedef struct {
    veer_command_t *c;
    const char *output, *record;
    veer_settings_t *settings;
    veer_sampling_t *sampling;
    veer_samples_t samples;
} sample_t;

static bool is_own(const char *name) {
    return !strcmp(name, "output") || !strcmp(name, "record") || !strcmp(name, "format") || !strcmp(name, "threads");
}

static veer_status_t read_settings(sample_t *s) {
    veer_status_t status = NULL;
    for (int i = 0; i < s->c->args.given_count; i++) {
        const veer_given_t *given = &s->c->args.given[i];
        if (!is_own(given->flag->name))
            status = veer_status_join(status, veer_settings_set(s->settings, given->flag->name, given->value));
    }
    if (s->record) status = veer_status_join(status, veer_settings_set(s->settings, "record", NULL));
    return status;
}

/* That a file could be written is known before anything is computed; its ending, too. */
static veer_status_t check_target(sample_t *s, const char *path, const char *const *endings, const char *list) {
    size_t length = strlen(path);
    veer_outfile_t *file;
    bool known = false;
    for (; *endings; endings++)
        known |= length > strlen(*endings) && !strcmp(path + length - strlen(*endings), *endings);
    if (!known) return veer_status_help(veer_error(VEER_ERR_CONFIG, "%s: unknown ending", path), "use %s", list);
    VEER_TRY(veer_outfile_open(path, s->c->allocator, &file));
    veer_outfile_abandon(file);
    return veer_ok();
}

static veer_status_t check_targets(sample_t *s) {
    static const char *const samples[] = {".npy", ".npz", ".png", ".jsonl", NULL}, *const records[] = {".npz", NULL};
    s->output = veer_args_value(&s->c->args, "output");
    s->record = veer_args_value(&s->c->args, "record");
    if (!s->output)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "there is no place for the samples"), "-o FILE");
    veer_status_t status = check_target(s, s->output, samples, ".npy, .npz, .png or .jsonl");
    return s->record ? veer_status_join(status, check_target(s, s->record, records, ".npz")) : status;
}

static void show_notes(sample_t *s) {
    for (const char *line = veer_sampling_notes(s->sampling); *line;) {
        size_t n = strcspn(line, "\n");
        if (n) veer_report_note(&s->c->report, "%.*s", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static veer_status_t save(sample_t *s) {
    if (!s->samples.count) return veer_ok();
    VEER_TRY(veer_sampling_save(s->sampling, &s->samples, s->output));
    return s->record ? veer_sampling_save_record(s->sampling, &s->samples, s->record) : veer_ok();
}

/* Samples that were finished before Ctrl-C are written all the same. */
static veer_status_t run_and_save(sample_t *s) {
    veer_progress_t progress;
    s->c->report.stage = "run";
    veer_progress_begin(&progress, s->c->report.err);
    veer_status_t status = veer_sampling_run(
        s->sampling, &(veer_run_options_t){.threads = s->c->threads, .progress = veer_progress_step, .user = &progress},
        &s->samples);
    veer_progress_end(&progress);
    if (status && veer_status_code(status) != VEER_ERR_INTERRUPTED) return status;
    if (!status) s->c->report.stage = "write";
    veer_status_t saved = save(s);
    if (status && !saved)
        status =
            veer_status_note(status, s->samples.count ? "%lld finished samples are in %s" : "no sample was finished",
                             (long long)s->samples.count, s->output);
    return veer_status_join(status, saved);
}

static void print_result(sample_t *s) {
    veer_report_t *r = &s->c->report;
    json_t *root = veer_report_object(r);
    veer_put_text(r, root, "output", s->output);
    veer_put_text(r, root, "record", s->record);
    veer_put_int(r, root, "samples", s->samples.count);
    veer_put_int(r, root, "steps", s->samples.steps);
    veer_put(r, root, "seed", json_integer((json_int_t)s->samples.seed));
    veer_put_real(r, root, "seconds", s->samples.seconds);
    if (!veer_report_json(r, root))
        fprintf(r->err, "%s: %lld samples, %lld steps, seed %llu, %.2f s\n", s->output, (long long)s->samples.count,
                (long long)s->samples.steps, (unsigned long long)s->samples.seed, s->samples.seconds);
    json_decref(root);
}

static veer_status_t sample(sample_t *s) {
    VEER_TRY(veer_settings_create(s->c->allocator, &s->settings));
    veer_status_t status = check_targets(s);
    VEER_TRY(veer_status_join(status, read_settings(s)));
    s->c->report.stage = "compile";
    veer_compile_options_t options = {.allocator = s->c->allocator};
    VEER_TRY(veer_sampling_create(veer_command_operand(s->c, 0), s->settings, &options, &s->sampling));
    show_notes(s);
    veer_budget_note(&s->c->report, veer_sampling_plan(s->sampling));
    status = run_and_save(s);
    if (!status) print_result(s);
    return status;
}

static veer_status_t run_sample(veer_command_t *c) {
    sample_t s = {.c = c};
    veer_status_t status = sample(&s);
    veer_samples_deinit(&s.samples);
    veer_sampling_destroy(s.sampling);
    veer_settings_destroy(s.settings);
    return status;
}

static const veer_flag_t flags[] = {
    {"output", 'o', "FILE", "x_0 as .npy, images as .npz or .png, text as .jsonl", false},
    {"record", 0, "FILE.npz", "x after each step, as `x` [steps, ...]", false},
    {0},
};

const veer_verb_t veer_verb_sample = {
    .name = "sample",
    .operands = "[FOLDER]",
    .max_operands = 1,
    .summary = "draw guided samples from a diffusion model",
    .details = "FOLDER has unet/model.onnx or transformer/model.onnx, scheduler/scheduler_config.json, and where they "
               "are needed\n"
               "classifier/model.onnx, guider_config.json, embeddings.npy and vocab.txt. Flags go before all of these.",
    .example = "  veer sample examples/digits --steps 50 --class 3 --num-samples 4 -o digits.png",
    .flags = flags,
    .settings = true,
    .run = run_sample,
};
