/* Runs passes: a pipeline is text, `inline,fold{limit=65536},cse,dce`. The manager verifies between passes, times and
 * counts them, shows the graph after them and writes down how to repeat a failure, so that no pass has to.
 *
 *     veer_pipeline_t *p;
 *     VEER_TRY(veer_pipeline_create(allocator, "inline,fold,cse,dce", &p));
 *     status = veer_pipeline_run(p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.eval = veer_reference_node});
 *     ... veer_pipeline_report(p, i) ...
 *     veer_pipeline_destroy(p);
 */
#ifndef VEER_PASSES_MANAGER_H
#define VEER_PASSES_MANAGER_H

#include "passes/pass.h"

typedef struct veer_pipeline_s veer_pipeline_t;

typedef struct veer_pipeline_options_s {
    veer_eval_fn eval;
    const void *target;
    bool verify_each;       /* always on in builds with assertions */
    const char *dump_after; /* names of passes, separated by commas, or "all"; NULL: none */
    void (*dump)(void *user, const char *pass, const char *text); /* `text` is borrowed */
    void *dump_user;
    const char *repro_folder; /* on failure gets repro.veer: the graph before the pass, and what was left to run */
} veer_pipeline_options_t;

/* One pass of the pipeline, after a run: sums over all functions. */
typedef struct veer_pass_report_s {
    const char *name; /* borrowed */
    double time_ms;
    const veer_pass_counter_t *counters;
    int counter_count;
} veer_pass_report_t;

/* `-` and `_` are the same in names. VEER_ERR_CONFIG where a pass or option is unknown or the text broken. */
VEER_MUST_USE veer_status_t veer_pipeline_create(veer_allocator_t allocator, const char *text,
                                                 veer_pipeline_t **out_pipeline);
void veer_pipeline_destroy(veer_pipeline_t *p); /* NULL is allowed */
/* The text of passes [from, count): parses to the same pipeline. The caller's. */
VEER_MUST_USE veer_status_t veer_pipeline_text(const veer_pipeline_t *p, int from, veer_allocator_t allocator,
                                               char **out_text);
int veer_pipeline_count(const veer_pipeline_t *p);
/* Borrowed, of the latest run. */
veer_pass_report_t veer_pipeline_report(const veer_pipeline_t *p, int i);

/* Runs every pass over one function, or over all in order of creation (VEER_NO_FUNC). `options` may be NULL. A failing
 * pass, or one that leaves a graph that does not verify, ends the run: the status says which pass, and where the
 * reproducer is. */
VEER_MUST_USE veer_status_t veer_pipeline_run(veer_pipeline_t *p, veer_graph_t *g, veer_func_t func,
                                              const veer_pipeline_options_t *options);

#endif
