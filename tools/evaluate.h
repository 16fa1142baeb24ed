/* One evaluation of a model, or of its gradient: dimensions from the inputs, compiled, run once. */
#ifndef VEER_TOOLS_EVALUATE_H
#define VEER_TOOLS_EVALUATE_H

#include "api/veer.h"
#include "tools/inputs.h"
#include "tools/limits.h"

typedef struct veer_evaluation_s {
    veer_compiled_t *compiled;
    veer_compile_options_t options; /* it was compiled with; its arrays live as long as the args */
    veer_tensor_t *outputs;         /* those of the plan */
    int output_count;
    veer_allocator_t allocator;
} veer_evaluation_t;

typedef struct veer_evaluate_options_s {
    const char *path;
    const veer_gradient_request_t *gradient; /* NULL: the model itself */
    veer_inputs_t *inputs;
    const veer_onnx_info_t *info; /* of the model */
    veer_dims_t *dims;            /* those given; extended by what the inputs say */
    bool make_missing;            /* inputs that are not given are made up, and said so */
} veer_evaluate_options_t;

/* Inputs that shapes depend on, or that have a default or no known rank, are bound as constants. VEER_ERR_CONFIG for
 * inputs that are missing, unknown or of another type (all of them). *out needs veer_evaluation_deinit in any case. */
VEER_MUST_USE veer_status_t veer_evaluate(veer_command_t *c, const veer_evaluate_options_t *options,
                                          veer_evaluation_t *out);
void veer_evaluation_deinit(veer_evaluation_t *e);
const char *veer_evaluation_name(const veer_evaluation_t *e, int i);

/* Writes the outputs that --output NAME=@FILE.npy asks for; prints a summary of all where there is no such flag. */
VEER_MUST_USE veer_status_t veer_evaluation_write(veer_command_t *c, const veer_evaluation_t *e);
/* That the files of --output could be written: before anything is computed. */
VEER_MUST_USE veer_status_t veer_outputs_check(veer_command_t *c);
/* "there is no output 'y'", with those there are. */
VEER_MUST_USE veer_status_t veer_evaluation_find(const veer_evaluation_t *e, const char *name, int *out_index);

#define VEER_OUTPUT_FLAG                                                                                               \
    { "output", 0, "NAME=@FILE.npy", "where an output goes", true }
#define VEER_COMPILE_FLAGS                                                                                             \
    {"backend", 0, "reference|auto", "plain loops, or the fastest there is (the default)", false},                     \
        {"precision", 0, "default|strict", "strict: no algorithm with more than 4 times the direct one's error bound", \
         false},                                                                                                       \
        {"tune", 0, "on|cached|off", "measure what is fastest (the default), use what was measured, or neither",       \
         false},                                                                                                       \
        {"memory-budget", 0, "BYTES[K|M|G]",                                                                           \
         "what the arena may take: values are computed again instead of kept until it does", false},                   \
    {                                                                                                                  \
        "cache", 0, "DIR", "keeps measurements and compiled code ($VEER_CACHE_DIR, ~/.cache/veer); none: nothing",     \
            false                                                                                                      \
    }
/* What these flags and VEER_LIMIT_FLAGS say. */
VEER_MUST_USE veer_status_t veer_compile_flags(const veer_command_t *c, veer_compile_options_t *options);
/* Says what a memory budget did, where there was one. */
void veer_budget_note(veer_report_t *r, const veer_plan_t *plan);

#endif
