/* What the probes of kernels share. */
#ifndef VEER_BENCH_PROBE_H
#define VEER_BENCH_PROBE_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"
#include "ir/types.h"

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

#endif
