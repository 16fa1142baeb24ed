/* The same function in double precision: what finite differences need, which single precision would drown in rounding.
 *
 *     veer_func_t f64;
 *     VEER_TRY(veer_widen(g, f, "f64", &f64));
 *     VEER_TRY(veer_reference_eval(g, f64, ...));    // arguments and results are f64 where those of f are floats
 */
#ifndef VEER_API_WIDEN_H
#define VEER_API_WIDEN_H

#include "ir/graph.h"

/* Adds a copy of `func` in which every floating-point value is f64; integers and booleans stay as they are, names are
 * kept. VEER_ERR_UNSUPPORTED for loops, calls and fused nodes: inline first. */
VEER_MUST_USE veer_status_t veer_widen(veer_graph_t *g, veer_func_t func, const char *name, veer_func_t *out_func);

/* The tensor's values as doubles, row-major; the caller's, from `allocator`. NULL when out of memory. */
double *veer_widen_data(const veer_type_t *type, const void *data, veer_allocator_t allocator);

#endif
