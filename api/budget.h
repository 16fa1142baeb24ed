/* The memory budget of a compilation: the order of the nodes and what is computed twice are chosen so that the arena
 * fits. */
#ifndef VEER_API_BUDGET_H
#define VEER_API_BUDGET_H

#include "api/compile.h"

/* After all other passes, on the kernels that there will be: fits `func` into options->memory_budget bytes.
 * `reorder`: its nodes may be put in the order of passes interleave and strands, where that fits, too.
 * VEER_ERR_RESOURCE where it cannot be done. */
VEER_MUST_USE veer_status_t veer_fit_budget(veer_graph_t *g, veer_func_t func, const veer_compile_options_t *options,
                                            bool reorder, veer_plan_budget_t *out, bool *out_compact);

#endif
