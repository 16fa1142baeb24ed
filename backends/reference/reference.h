/* The reference backend: the oracle that every other implementation is compared with, and the last resort of the
 * lowering. Obvious loops; floating types are loaded to double, computed in double and rounded once; integers stay
 * exact.
 *
 *     veer_tensor_t y;
 *     VEER_TRY(veer_reference_eval(g, func, (veer_tensor_t[]){x}, 1, allocator, &y, 1));
 *     ...
 *     veer_free(allocator, y.data);
 *
 * Adding a kernel: kernel.h says what it sees; list it in kernels.def. */
#ifndef VEER_BACKENDS_REFERENCE_REFERENCE_H
#define VEER_BACKENDS_REFERENCE_REFERENCE_H

#include "ir/graph.h"
#include "runtime/plan.h"

/* True where there is a kernel for the op; structure ops other than step_slice have none. */
bool veer_reference_supports(veer_op_t op);

/* Evaluates one node: any op with a kernel, const, fused and call (not loop: its body may use values that are no
 * operands). `in` has an entry per operand, data NULL where an optional one is absent; out[i].type is set, out[i].data
 * is the caller's and large enough. VEER_ERR_FAILED where an index is out of range. */
VEER_MUST_USE veer_status_t veer_reference_node(const veer_graph_t *g, veer_node_t node, const veer_tensor_t *in,
                                                veer_tensor_t *out);

/* Evaluates a function; arguments are checked against its types. Results come from `allocator`, the caller releases
 * each with veer_free. Intermediates are released after their last use. On failure there are no results to release. */
VEER_MUST_USE veer_status_t veer_reference_eval(const veer_graph_t *g, veer_func_t func, const veer_tensor_t *in,
                                                int in_count, veer_allocator_t allocator, veer_tensor_t *out,
                                                int out_count);

/* A plan kernel for one node (fused nodes included): sets name, backend, fn, params, work_items and scratch_bytes of
 * `desc`. The caller sets bufs: one per operand (VEER_BUF_NONE where absent), then one per result. The kernel's data is
 * copied into the plan, which does not need the graph any more. */
VEER_MUST_USE veer_status_t veer_reference_emit(const veer_graph_t *g, veer_node_t node, veer_plan_t *plan,
                                                veer_call_desc_t *desc);

#endif
