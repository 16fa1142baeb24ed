#include "tools/bench_kernels.h"

#include "api/sampling.h"

#include <stdlib.h>
#include <string.h>

enum { RUNS = 7 };

/* Calls of one kind. */
typedef struct kind_s {
    veer_call_info_t first;
    int calls;
    double seconds; /* of all of them in one step, the median over runs */
} kind_t;

typedef struct kernels_s {
    const veer_plan_t *plan;
    int count;       /* calls of the plan */
    double *seconds; /* [RUNS][count]: of one run, per step */
    kind_t *kinds;
    int kind_count;
} kernels_t;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b) {
    const kind_t *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static veer_status_t run_once(veer_sampling_t *s, int threads, double *seconds, int count) {
    veer_samples_t samples = {0};
    memset(seconds, 0, (size_t)count * sizeof *seconds);
    veer_status_t status =
        veer_sampling_run(s, &(veer_run_options_t){.threads = threads, .call_seconds = seconds}, &samples);
    for (int i = 0; i < count && !status; i++) seconds[i] /= (double)samples.steps;
    veer_samples_deinit(&samples);
    return status;
}

static double median_of(const kernels_t *k, int call) {
    double values[RUNS];
    for (int r = 0; r < RUNS; r++) values[r] = k->seconds[r * k->count + call];
    qsort(values, RUNS, sizeof *values, by_value);
    return values[RUNS / 2];
}

static bool same_kind(const veer_call_info_t *a, const veer_call_info_t *b) {
    return !strcmp(a->name, b->name) && !strcmp(a->backend, b->backend) && a->flops == b->flops &&
           a->bytes == b->bytes && a->work_items == b->work_items;
}

static void collect(kernels_t *k) {
    for (int i = 0; i < k->count; i++) {
        veer_call_info_t call = veer_plan_call(k->plan, i);
        if (call.kind != VEER_CALL_KERNEL || !call.loop_level) continue;
        int at = 0;
        while (at < k->kind_count && !same_kind(&k->kinds[at].first, &call)) at++;
        if (at == k->kind_count) k->kinds[k->kind_count++] = (kind_t){.first = call};
        k->kinds[at].calls++;
        k->kinds[at].seconds += median_of(k, i);
    }
    qsort(k->kinds, (size_t)k->kind_count, sizeof *k->kinds, by_time);
}

static void put_row(const kind_t *kind, const char *pair, double step, veer_roof_t roof, veer_report_t *r,
                    json_t *rows) {
    const veer_call_info_t *c = &kind->first;
    json_t *row = veer_report_object(r);
    double seconds = kind->seconds / kind->calls;
    veer_put_text(r, row, "pair", pair);
    veer_put_text(r, row, "kernel", c->name);
    veer_put_text(r, row, "backend", c->backend);
    veer_put_text(r, row, "node", c->origin_count ? c->origins[0] : "");
    veer_put_int(r, row, "calls", kind->calls);
    veer_put_real(r, row, "us", seconds * 1e6);
    veer_put_real(r, row, "share", step > 0 ? kind->seconds / step : 0);
    if (seconds > 0) {
        double least = c->flops / (roof.gflops * 1e9), moved = c->bytes / (roof.gbytes * 1e9);
        veer_put_real(r, row, "gflops", c->flops / seconds * 1e-9);
        veer_put_real(r, row, "gbytes", c->bytes / seconds * 1e-9);
        veer_put_real(r, row, "roof", (least > moved ? least : moved) / seconds);
    }
    if (c->reason && !strncmp(c->reason, "measured:", 9)) veer_put_text(r, row, "why", c->reason);
    veer_append(r, rows, row);
}

static veer_status_t measure(kernels_t *k, veer_sampling_t *s, const veer_bench_options_t *o) {
    k->plan = veer_sampling_plan(s);
    k->count = veer_plan_call_count(k->plan);
    k->seconds = calloc((size_t)k->count * RUNS, sizeof *k->seconds);
    k->kinds = calloc((size_t)k->count + 1, sizeof *k->kinds);
    if (!k->seconds || !k->kinds) return veer_out_of_memory();
    VEER_TRY(run_once(s, o->threads, k->seconds, k->count)); /* warm */
    for (int r = 0; r < RUNS; r++) VEER_TRY(run_once(s, o->threads, k->seconds + r * k->count, k->count));
    collect(k);
    return veer_ok();
}

veer_status_t veer_bench_kernels(const veer_bench_pair_t *pair, const veer_bench_options_t *o, veer_roof_t roof,
                                 veer_report_t *r, json_t *rows) {
    veer_sampling_t *s;
    kernels_t k = {0};
    VEER_TRY(veer_bench_compile(pair, o, veer_allocator_system(), &s));
    veer_status_t status = measure(&k, s, o);
    double step = 0;
    for (int i = 0; i < k.kind_count; i++) step += k.kinds[i].seconds;
    for (int i = 0; i < k.kind_count; i++) put_row(&k.kinds[i], pair->name, step, roof, r, rows);
    free(k.seconds), free(k.kinds);
    veer_sampling_destroy(s);
    return veer_status_where(status, "%s", pair->name);
}
