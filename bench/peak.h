/* The limits of this machine: fused multiply-adds per second in the widest vectors it has, and memory bandwidth.
 *
 * Every figure is measured with 1 and with N threads, as median and best of many runs. FLOPs count a fused
 * multiply-add as two; bandwidth is the triad a = b + s * c over arrays several times larger than the last cache,
 * counting the three arrays once each (so not the read that a store may need first).
 */
#ifndef VEER_BENCH_PEAK_H
#define VEER_BENCH_PEAK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct veer_figure_s {
    double median, best;
} veer_figure_t;

typedef struct veer_peak_s {
    const char *unit; /* "avx512", static */
    int threads;
    int64_t array_bytes;            /* of each of the triad's arrays; 0 where it was not measured */
    veer_figure_t fma_1, fma_n;     /* GFLOP/s */
    veer_figure_t triad_1, triad_n; /* GB/s */
} veer_peak_t;

/* Takes about a second, with the triad two. False: no memory for the triad's arrays. Starts OpenMP's threads. */
bool veer_peak_measure(int threads, bool with_triad, veer_peak_t *out);

#endif
