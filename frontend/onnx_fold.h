/* Constant folding while importing, and the removal of what nobody uses. */
#ifndef VEER_FRONTEND_ONNX_FOLD_H
#define VEER_FRONTEND_ONNX_FOLD_H

#include "frontend/onnx_file.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"

/* Computes the nodes after `mark` (VEER_NO_NODE: all) whose operands are constant and whose results are small, and puts
 * constants in their place; values[] are updated. Fails for want of memory, and where the constants of `file` become
 * too large: what cannot be computed stays. */
VEER_MUST_USE veer_status_t veer_onnx_fold(veer_graph_t *g, veer_region_t region, veer_node_t mark,
                                           const veer_onnx_options_t *options, veer_onnx_file_t *file,
                                           veer_value_t *values, int count);
/* Removes pure nodes without uses, also those that become so. */
void veer_onnx_sweep(veer_graph_t *g, veer_region_t region);

#endif
