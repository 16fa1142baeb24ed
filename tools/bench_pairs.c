#include "tools/bench_pairs.h"

#include "api/choose.h"
#include "api/sampling.h"
#include "ir/base/clock.h"
#include "ir/flops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, REASON_BYTES = 512, MAX_RUNS = 1000, MIN_RUNS = 5, MAX_COMPILES = 16 };

/* The pairs of bench/torch_step.py. Classes, texts and seeds change nothing about what is computed. */
const veer_bench_pair_t veer_bench_pairs[] = {
    {"digits", "digits", 16, 50, {{"class", "3"}}},
    {"e2e",
     "e2e",
     4,
     50,
     {{"self-cond", "x0_prev"}, {"text", "y=name : The Mill | Type : pub | food : Fast food | near : Café Sicilia"}}},
    {"adm64",
     NULL,
     1,
     10,
     {{"denoiser", "%p/adm64-unet/model.onnx"},
      {"classifier", "%p/adm64-classifier/model.onnx"},
      {"scheduler", "%b/adm64/scheduler_config.json"},
      {"classifier-head", "softmax"},
      {"class", "3"}}},
    {"difflm",
     NULL,
     1,
     10,
     {{"denoiser", "%p/difflm-transformer/model.onnx"},
      {"classifier", "%p/difflm-classifier/model.onnx"},
      {"scheduler", "%b/difflm/scheduler_config.json"},
      {"classifier-head", "bernoulli"},
      {"target", "1"},
      {"input", "y=@%b/difflm/y.npy"}}},
};
const int veer_bench_pair_count = sizeof veer_bench_pairs / sizeof *veer_bench_pairs;

/* ---- places ---- */

/* `value` with its first %p or %b replaced. */
static const char *place(const char *value, const veer_bench_places_t *places, char out[PATH_BYTES]) {
    const char *mark = strchr(value, '%');
    if (!mark || (mark[1] != 'p' && mark[1] != 'b')) return value;
    const char *folder = mark[1] == 'p' ? places->perf : places->pairs;
    snprintf(out, PATH_BYTES, "%.*s%s%s", (int)(mark - value), value, folder ? folder : "", mark + 2);
    return out;
}

bool veer_bench_skip(const veer_bench_pair_t *pair, const veer_bench_places_t *places, char *out_reason) {
    char path[PATH_BYTES];
    if (pair->folder) {
        snprintf(path, sizeof path, "%s/%s", places->examples, pair->folder);
        if (!access(path, R_OK)) return false;
        snprintf(out_reason, REASON_BYTES, "there is no folder '%.400s' (--examples)", path);
        return true;
    }
    if (!places->perf) {
        snprintf(out_reason, REASON_BYTES, "VEER_FIXTURES is not set: its perf/ has the large models");
        return true;
    }
    for (const veer_bench_setting_t *s = pair->settings; s->name; s++) {
        const char *file = place(s->value, places, path);
        file = strchr(file, '@') ? strchr(file, '@') + 1 : file;
        if (!strchr(s->value, '%') || !access(file, R_OK)) continue;
        snprintf(out_reason, REASON_BYTES, "there is no file '%.400s'", file);
        return true;
    }
    return false;
}

/* ---- one measurement ---- */

static veer_status_t apply(const veer_bench_pair_t *pair, const veer_bench_options_t *o, veer_settings_t *settings) {
    char text[PATH_BYTES];
    snprintf(text, sizeof text, "%d", o->steps ? o->steps : pair->steps);
    VEER_TRY(veer_settings_set(settings, "steps", text));
    snprintf(text, sizeof text, "%d", pair->batch);
    VEER_TRY(veer_settings_set(settings, "num-samples", text));
    VEER_TRY(veer_settings_set(settings, "batch-size", text));
    if (o->backend) VEER_TRY(veer_settings_set(settings, "backend", o->backend));
    if (o->tune) VEER_TRY(veer_settings_set(settings, "tune", o->tune));
    if (o->cache) VEER_TRY(veer_settings_set(settings, "cache", o->cache));
    if (o->memory_budget) VEER_TRY(veer_settings_set(settings, "memory-budget", o->memory_budget));
    for (const veer_bench_setting_t *s = pair->settings; s->name; s++)
        VEER_TRY(veer_settings_set(settings, s->name, place(s->value, &o->places, text)));
    return veer_ok();
}

veer_status_t veer_bench_compile(const veer_bench_pair_t *pair, const veer_bench_options_t *o,
                                 veer_allocator_t allocator, veer_sampling_t **out) {
    char folder[PATH_BYTES];
    veer_settings_t *settings;
    VEER_TRY(veer_settings_create(allocator, &settings));
    veer_status_t status = apply(pair, o, settings);
    if (pair->folder) snprintf(folder, sizeof folder, "%s/%s", o->places.examples, pair->folder);
    veer_compile_options_t options = {.allocator = allocator};
    if (!status) status = veer_sampling_create(pair->folder ? folder : NULL, settings, &options, out);
    veer_settings_destroy(settings);
    return status;
}

/* Contractions of one iteration of the sampling loop, which is the function's first. */
static double step_flops(const veer_sampling_t *s) {
    VEER_FOR_EACH_NODE(s->graph, veer_func_body(s->graph, s->func), node)
    if (veer_node_op(s->graph, node) == VEER_OP_LOOP) return veer_flops(s->graph, veer_node_body(s->graph, node));
    return 0;
}

static bool is_finite(const veer_tensor_t *x) {
    const float *data = x->data;
    for (int64_t i = 0; i < veer_type_count(&x->type); i++)
        if (!isfinite(data[i])) return false;
    return true;
}

/* Milliseconds per step of one run. A run that ends in infinities would be timed on numbers nobody computes with. */
static veer_status_t run_once(veer_sampling_t *s, int threads, double *out_ms, int *out_steps) {
    veer_samples_t samples = {0};
    double start = veer_clock_seconds();
    veer_status_t status = veer_sampling_run(s, &(veer_run_options_t){.threads = threads}, &samples);
    double seconds = veer_clock_seconds() - start;
    if (!status && !is_finite(&samples.x_0)) status = veer_error(VEER_ERR_FAILED, "the samples are not finite");
    if (!status) {
        *out_ms = seconds * 1e3 / (double)samples.steps;
        *out_steps = (int)samples.steps;
    }
    veer_samples_deinit(&samples);
    return status;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* How much of their cores' matrix units the threads have just now, on average. */
static double unit_share(const veer_makers_t *makers, int threads) {
    double sum = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : sum)
    for (int i = 0; i < threads; i++) sum += veer_makers_unit_share(makers);
    return sum / threads;
}

static veer_status_t run_many(veer_sampling_t *s, const veer_bench_options_t *o, const veer_makers_t *makers,
                              veer_bench_result_t *out) {
    double ms[MAX_RUNS], shares[MAX_RUNS];
    VEER_TRY(run_once(s, o->threads, &ms[0], &out->steps)); /* warm: pages touched, threads started */
    double start = veer_clock_seconds();
    while (out->runs < MAX_RUNS && (out->runs < MIN_RUNS || veer_clock_seconds() - start < o->seconds)) {
        VEER_TRY(run_once(s, o->threads, &ms[out->runs], &out->steps));
        shares[out->runs++] = unit_share(makers, o->threads > 0 ? o->threads : 1);
    }
    out->unit_share = median(shares, out->runs);
    out->median_ms = median(ms, out->runs);
    out->best_ms = ms[0];
    return veer_ok();
}

/* The makers tell what the cores have. */
static veer_status_t run_alone(veer_sampling_t *s, const veer_bench_options_t *o, veer_allocator_t allocator,
                               veer_bench_result_t *out) {
    veer_makers_t makers;
    veer_plan_t *plan;
    VEER_TRY(veer_plan_create(allocator, &plan));
    veer_status_t status =
        veer_makers_open(&(veer_makers_options_t){.backend = VEER_BACKEND_AUTO}, plan, allocator, &makers);
    if (!status) status = run_many(s, o, &makers, out);
    veer_plan_destroy(plan);
    return status;
}

/* ---- scaling ---- */

/* Milliseconds per step of the slowest. */
static veer_status_t run_copies(veer_sampling_t **s, int count, double *out_ms) {
    veer_status_t status = veer_ok();
    *out_ms = 0;
#pragma omp parallel for num_threads(count) schedule(static, 1)
    for (int i = 0; i < count; i++) {
        double ms = 0;
        int steps;
        veer_status_t mine = run_once(s[i], 1, &ms, &steps);
#pragma omp critical
        {
            if (ms > *out_ms) *out_ms = ms;
            if (status)
                veer_status_free(mine);
            else
                status = mine;
        }
    }
    return status;
}

/* In turns, since the machine's speed changes by the minute. */
static veer_status_t run_in_turns(veer_sampling_t **s, const veer_bench_options_t *o, veer_bench_result_t *out) {
    enum { KINDS = 3, TURNS = MAX_RUNS / KINDS };
    double ms[KINDS][TURNS], start = 0;
    for (int warm = 1; warm >= 0; warm--) {
        start = veer_clock_seconds();
        for (out->runs = 0; out->runs < (warm ? 1 : TURNS); out->runs++) {
            if (out->runs >= MIN_RUNS && veer_clock_seconds() - start >= o->seconds) break;
            VEER_TRY(run_once(s[0], o->threads, &ms[0][out->runs], &out->steps));
            VEER_TRY(run_once(s[0], 1, &ms[1][out->runs], &out->steps));
            VEER_TRY(run_copies(s, o->copies, &ms[2][out->runs]));
        }
    }
    out->median_ms = median(ms[0], out->runs);
    out->best_ms = ms[0][0];
    out->one_thread_ms = median(ms[1], out->runs);
    out->copies_ms = median(ms[2], out->runs);
    return veer_ok();
}

/* `first` is one of the copies. */
static veer_status_t compare_threads(const veer_bench_pair_t *pair, const veer_bench_options_t *o,
                                     veer_allocator_t allocator, veer_sampling_t *first, veer_bench_result_t *out) {
    veer_sampling_t **all = veer_alloc_array(allocator, (size_t)o->copies, sizeof(veer_sampling_t *));
    if (!all) return veer_out_of_memory();
    veer_status_t status = veer_ok();
    all[0] = first;
    for (int i = 1; i < o->copies && !status; i++) status = veer_bench_compile(pair, o, allocator, &all[i]);
    if (!status) status = run_in_turns(all, o, out);
    for (int i = 1; i < o->copies; i++) veer_sampling_destroy(all[i]);
    veer_free(allocator, all);
    return status;
}

/* ---- compiling ---- */

/* Compiles and gives the time it took. */
static veer_status_t timed_compile(const veer_bench_pair_t *pair, const veer_bench_options_t *o,
                                   veer_allocator_t allocator, double *out_seconds, veer_sampling_t **out) {
    double start = veer_clock_seconds();
    VEER_TRY(veer_bench_compile(pair, o, allocator, out));
    *out_seconds = veer_clock_seconds() - start;
    return veer_ok();
}

static veer_status_t compile_many(const veer_bench_pair_t *pair, const veer_bench_options_t *o,
                                  veer_allocator_t allocator, veer_bench_result_t *out) {
    double seconds[MAX_COMPILES];
    int count = o->compiles < MAX_COMPILES ? o->compiles : MAX_COMPILES;
    for (int i = 0; i < count; i++) {
        veer_sampling_t *s;
        VEER_TRY(timed_compile(pair, o, allocator, &seconds[i], &s));
        veer_sampling_destroy(s);
    }
    qsort(seconds, (size_t)count, sizeof *seconds, by_value);
    out->compile_seconds = seconds[count / 2];
    return veer_ok();
}

static veer_status_t compile_and_run(const veer_bench_pair_t *pair, const veer_bench_options_t *o,
                                     veer_allocator_t allocator, veer_bench_result_t *out) {
    veer_sampling_t *s;
    VEER_TRY(timed_compile(pair, o, allocator, &out->compile_seconds, &s));
    out->step_gflop = step_flops(s) * 1e-9;
    out->arena_mb = (double)veer_plan_arena_bytes(veer_sampling_plan(s)) * 1e-6;
    out->calls = veer_plan_call_count(veer_sampling_plan(s));
    veer_status_t status = o->copies ? compare_threads(pair, o, allocator, s, out) : run_alone(s, o, allocator, out);
    veer_sampling_destroy(s);
    return status;
}

veer_status_t veer_bench_measure(const veer_bench_pair_t *pair, const veer_bench_options_t *o,
                                 veer_allocator_t allocator, veer_bench_result_t *out) {
    *out = (veer_bench_result_t){0};
    veer_status_t status = (o->compiles ? compile_many : compile_and_run)(pair, o, allocator, out);
    return veer_status_where(status, "%s", pair->name);
}
