/* What the probes of kernels share. */
#ifndef VEER_BENCH_PROBE_H
#define VEER_BENCH_PROBE_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"
#include "ir/types.h"
#include "runtime/plan.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void check(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n", veer_status_message(status, 0));
    exit(1);
}

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Multiples of `step` between -6 and 6 of them. */
static inline float *filled(float step, veer_type_t type) {
    float *p = veer_alloc(veer_allocator_system(), veer_type_bytes(&type));
    if (!p) exit(1);
    for (int64_t i = 0; i < veer_type_count(&type); i++) p[i] = (float)(i * 7 % 13 - 6) * step;
    return p;
}

/* A kernel and its buffers; `next` as in veer_kernel_args_t, by turn and first work item; NULL: none. */
typedef struct probe_s {
    veer_kernel_fn fn;
    const void *params;
    void *const *bufs;
    int64_t items;
    size_t scratch_bytes;
    const void *(*next)(const void *user, int64_t turn, int64_t item);
    const void *user;
} probe_t;

/* Seconds of one execution, its items shared out over threads. */
static inline double execute(const probe_t *p, int64_t turn, int threads) {
    double from = now();
#pragma omp parallel num_threads(threads)
    {
        static _Thread_local void *scratch;
        static _Thread_local size_t room;
        if (room < p->scratch_bytes)
            free(scratch), scratch = aligned_alloc(64, room = (p->scratch_bytes + 63) & ~(size_t)63);
        int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
        veer_kernel_args_t args = {
            .buf = p->bufs, .params = p->params, .scratch = scratch, .thread = me, .threads = team};
        args.begin = p->items * me / team, args.end = p->items * (me + 1) / team;
        if (p->next) args.next = p->next(p->user, turn, args.begin);
        if (args.begin < args.end && p->fn(&args)) exit(1);
    }
    return now() - from;
}

/* GFLOP/s of the best of several executions. */
static inline double rate_of(const probe_t *p, double flops, int threads) {
    double best = 1e9, start = now();
    for (int i = 0; i < 5 || now() - start < 0.06; i++) {
        double took = execute(p, i, threads);
        if (took < best) best = took;
    }
    return flops / best * 1e-9;
}

#endif
