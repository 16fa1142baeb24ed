/* What the probes of kernels share. */
#ifndef VEER_BENCH_PROBE_H
#define VEER_BENCH_PROBE_H

#include "ir/base/allocator.h"
#include "ir/base/clock.h"
#include "ir/base/status.h"
#include "ir/types.h"
#include "runtime/plan.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void check(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n", veer_status_message(status, 0));
    exit(1);
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
    double from = veer_clock_seconds();
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
    return veer_clock_seconds() - from;
}

/* GFLOP/s of the best of several executions. */
static inline double rate_of(const probe_t *p, double flops, int threads) {
    double best = 1e9, start = veer_clock_seconds();
    for (int i = 0; i < 5 || veer_clock_seconds() - start < 0.06; i++) {
        double took = execute(p, i, threads);
        if (took < best) best = took;
    }
    return flops / best * 1e-9;
}

/* ---- cold: as a step meets a kernel ---- */

/* A call in turn with others of its kind: the constant of each is a copy of its own. */
typedef struct ring_s {
    int buf; /* of the constant */
    char *copies;
    size_t bytes;
    int count;
    veer_stream_t stream;
} ring_t;

static inline const void *next_of(const void *user, int64_t turn, int64_t item) {
    const ring_t *ring = user;
    if (ring->count < 2 || !ring->stream.data) return NULL;
    return ring->copies + (size_t)((turn + 1) % ring->count) * ring->bytes +
           item / ring->stream.div % ring->stream.mod * ring->stream.bytes;
}

/* Numbers that threads write before each turn, rows of columns, each thread a part of the columns of all rows: as a
 * norm does that is shared out by channels. */
typedef struct written_s {
    float *to;
    int64_t rows, columns;
} written_t;

static inline void write_again(const written_t *w, int threads) {
#pragma omp parallel num_threads(threads)
    {
        int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
        int64_t first = w->columns * me / team, end = w->columns * (me + 1) / team;
        for (int64_t i = 0; i < w->rows; i++)
            for (int64_t j = first; j < end; j++) ((volatile float *)w->to)[i * w->columns + j] *= -1;
    }
}

/* As rate_of, with another copy in each turn, each copy once at least. `written`: NULL, nothing. */
static inline double cold_rate(probe_t p, const ring_t *ring, void **bufs, const written_t *written, double flops,
                               int threads) {
    double best = 1e9, start = veer_clock_seconds();
    p.next = next_of, p.user = ring;
    for (int i = 0; i < 5 || veer_clock_seconds() - start < 0.06 || i < ring->count; i++) {
        bufs[ring->buf] = ring->copies + (size_t)(i % ring->count) * ring->bytes;
        if (written) write_again(written, threads);
        double took = execute(&p, i, threads);
        if (took < best) best = took;
    }
    return flops / best * 1e-9;
}

/* More than the caches hold, but no more than some thousand turns. */
enum { RING_BYTES = 400 << 20, MOST_TURNS = 2000 };
static inline ring_t cold_ring(const void *packed, size_t bytes, int buf, const veer_stream_t *stream, char *room) {
    ring_t ring = {.buf = buf, .copies = room, .bytes = bytes, .stream = *stream};
    ring.count = (int)(RING_BYTES / ring.bytes);
    if (ring.count > MOST_TURNS) ring.count = MOST_TURNS;
    for (int i = 0; i < ring.count; i++) memcpy(ring.copies + (size_t)i * ring.bytes, packed, ring.bytes);
    return ring;
}

#endif
