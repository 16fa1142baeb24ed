/* The pairs of models that `veer bench` times, and one measurement of one of them. */
#ifndef VEER_TOOLS_BENCH_PAIRS_H
#define VEER_TOOLS_BENCH_PAIRS_H

#include "api/veer.h"
#include "ir/base/allocator.h"
#include "ir/base/status.h"

#include <stdbool.h>

enum { VEER_BENCH_MAX_SETTINGS = 8 };

typedef struct veer_bench_setting_s {
    const char *name;
    const char *value; /* "%p/" in front stands for the folder of the large models, "%b/" for bench/pairs */
} veer_bench_setting_t;

typedef struct veer_bench_pair_s {
    const char *name;
    const char *folder; /* in the folder of the examples; NULL: the settings name all files */
    int batch, steps;   /* steps of a run, as many as make the setup negligible without making it long */
    veer_bench_setting_t settings[VEER_BENCH_MAX_SETTINGS]; /* ends with an entry without name */
} veer_bench_pair_t;

extern const veer_bench_pair_t veer_bench_pairs[];
extern const int veer_bench_pair_count;

typedef struct veer_bench_places_s {
    const char *examples; /* the project's examples/ */
    const char *pairs;    /* bench/pairs: schedules and inputs of the large models */
    const char *perf;     /* the large models, <perf>/<model>/model.onnx; NULL: they are skipped */
} veer_bench_places_t;

typedef struct veer_bench_options_s {
    veer_bench_places_t places;
    int threads, steps; /* 0: physical cores; the pair's own */
    double seconds;     /* to go on measuring for */
    const char *backend, *tune, *cache, *memory_budget;
    int compiles; /* only compile, so often; 0: compile once and run */
    int copies;   /* beside each run one of a single thread and one of so many copies on a thread each; 0: neither */
} veer_bench_options_t;

typedef struct veer_bench_result_s {
    double compile_seconds;
    double median_ms, best_ms;       /* per guided step, setup and sampling of x_T included in proportion */
    double one_thread_ms, copies_ms; /* medians, where asked for */
    double unit_share; /* of the cores' matrix units, right after runs: median; see veer_llvm_unit_share */
    double step_gflop;               /* of one step's contractions, counted as for direct methods */
    double arena_mb;
    int runs, steps, calls; /* calls: kernels, copies and loops of the plan */
} veer_bench_result_t;

/* Why the pair cannot run here, in text of at least 512 bytes; false where nothing keeps it. */
bool veer_bench_skip(const veer_bench_pair_t *pair, const veer_bench_places_t *places, char *out_reason);
/* As `veer sample` would. */
VEER_MUST_USE veer_status_t veer_bench_compile(const veer_bench_pair_t *pair, const veer_bench_options_t *options,
                                               veer_allocator_t allocator, veer_sampling_t **out);
/* Compiles, runs once to warm up, then runs again and again. With `compiles`: the median time of so many compilations,
 * and nothing else. */
VEER_MUST_USE veer_status_t veer_bench_measure(const veer_bench_pair_t *pair, const veer_bench_options_t *options,
                                               veer_allocator_t allocator, veer_bench_result_t *out);

#endif
