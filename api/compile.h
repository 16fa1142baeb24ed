/* From a function of a graph to a plan: the usual pipelines, the target of the fuse passes, lowering. */
#ifndef VEER_API_COMPILE_H
#define VEER_API_COMPILE_H

#include "api/lower.h"
#include "api/veer.h"
#include "frontend/onnx_import.h"

/* Imports a model and names again what its exporter spelled out. `backend` as in the options. */
VEER_MUST_USE veer_status_t veer_import_model(veer_graph_t *g, const char *path, const char *func_name,
                                              const veer_onnx_options_t *import, const veer_compile_options_t *options,
                                              veer_func_t *out_func);
/* The same as @model, with the dims and bound inputs of the options (NULL: none). */
VEER_MUST_USE veer_status_t veer_import_for_options(veer_graph_t *g, const char *path,
                                                    const veer_compile_options_t *options, veer_func_t *out_func);
/* Optimises `func` (other functions of the graph are its callees) and lowers it. */
VEER_MUST_USE veer_status_t veer_compile_func(veer_graph_t *g, veer_func_t func, const veer_compile_options_t *options,
                                              veer_allocator_t allocator, veer_plan_t **out_plan);
/* Runs a pipeline given as text over one function, or over all (VEER_NO_FUNC), with the options' dump. */
VEER_MUST_USE veer_status_t veer_run_passes(veer_graph_t *g, veer_func_t func, const char *pipeline,
                                            const veer_compile_options_t *options);
/* Adds @grad: arguments of `func`, then those of the head; results of `func`, then grad_<input>. Passes have not run
 * over it. */
VEER_MUST_USE veer_status_t veer_build_gradient(veer_graph_t *g, veer_func_t func,
                                                const veer_gradient_request_t *request, veer_func_t *out_grad);

/* What passes ask about the machine: a pipeline's target. */
const void *veer_compile_target(void);
veer_allocator_t veer_options_allocator(const veer_compile_options_t *options);

#endif
