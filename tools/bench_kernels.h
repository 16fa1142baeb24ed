/* The kernels of a guided step, each beside the limits of the machine: `veer bench --kernels`. */
#ifndef VEER_TOOLS_BENCH_KERNELS_H
#define VEER_TOOLS_BENCH_KERNELS_H

#include "tools/bench_pairs.h"
#include "tools/report.h"

typedef struct veer_roof_s {
    double gflops, gbytes; /* per second, of all threads */
} veer_roof_t;

/* Runs the pair a few times and appends a row per kind of kernel of its loop (same operations, same amount of work),
 * the dearest first: `pair`, `kernel`, `backend`, `node` (the first ONNX node), `calls` a step, `us` of one call (the
 * median over runs), `share` of the step, `gflops`, `gbytes`, `roof` (the time that the slower of arithmetic and memory
 * needs at least, over the time it took; beyond 1 where data stays in caches or an algorithm saves operations), `why`
 * (what was measured when it was chosen). */
VEER_MUST_USE veer_status_t veer_bench_kernels(const veer_bench_pair_t *pair, const veer_bench_options_t *options,
                                               veer_roof_t roof, veer_report_t *report, json_t *rows);

#endif
