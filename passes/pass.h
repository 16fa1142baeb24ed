/* What a pass is: one file, one veer_pass_def_t, listed in passes.def, run by the manager (manager.h).
 *
 *     static veer_status_t run_merge(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) { ... }
 *     const veer_pass_def_t veer_pass_merge = {.name = "merge", .summary = "one line", .run = run_merge};
 *
 * A pass keeps nothing between runs. Everything it may use besides the graph is in its context.
 */
#ifndef VEER_PASSES_PASS_H
#define VEER_PASSES_PASS_H

#include "ir/graph.h"

/* Evaluates one node on constant operands; see veer_reference_node, which the api binds (passes know no backend). */
typedef veer_status_t (*veer_eval_fn)(const veer_graph_t *g, veer_node_t node, const veer_tensor_t *in,
                                      veer_tensor_t *out);

typedef struct veer_pass_counter_s {
    const char *name; /* a string literal of the pass */
    int64_t count;
} veer_pass_counter_t;

/* Integers only: sizes, and 0 or 1 for switches. */
typedef struct veer_pass_option_s {
    const char *name;
    int64_t default_value;
    const char *doc;
} veer_pass_option_t;

enum { VEER_PASS_MAX_OPTIONS = 8, VEER_PASS_MAX_COUNTERS = 12 };

typedef struct veer_pass_def_s veer_pass_def_t;

typedef struct veer_pass_ctx_s {
    const veer_pass_def_t *def;
    veer_arena_t scratch; /* emptied after each run */
    veer_eval_fn eval;    /* NULL: nothing can be evaluated */
    const void *target;   /* what the passes that choose for a machine agree on with the api; may be NULL */
    int64_t options[VEER_PASS_MAX_OPTIONS]; /* in the definition's order */
    veer_pass_counter_t counters[VEER_PASS_MAX_COUNTERS];
    int counter_count;
} veer_pass_ctx_t;

struct veer_pass_def_s {
    const char *name;
    const char *summary;
    /* Changes one function. May fail; the graph is then only good for looking at. */
    veer_status_t (*run)(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx);
    veer_pass_option_t options[VEER_PASS_MAX_OPTIONS]; /* ends with the first without name */
};

/* Adds to a counter of this run; `what` is a string literal. */
void veer_pass_count(veer_pass_ctx_t *ctx, const char *what);
void veer_pass_count_by(veer_pass_ctx_t *ctx, const char *what, int64_t by);
/* The value of an option that the definition has (asserted). */
int64_t veer_pass_option(const veer_pass_ctx_t *ctx, const char *name);

/* All passes, in the order of passes.def. */
int veer_pass_def_count(void);
const veer_pass_def_t *veer_pass_def(int i);
/* NULL where there is none. */
const veer_pass_def_t *veer_pass_find(const char *name, size_t length);

#endif
