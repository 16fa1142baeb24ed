/* Reading an image between its pixels (grid_sample.c). */
#ifndef VEER_FRONTEND_ONNX_SAMPLE_H
#define VEER_FRONTEND_ONNX_SAMPLE_H

#include "frontend/onnx/node.h"

enum { VEER_ONNX_SAMPLE_SPATIAL = 3 };
/* x [N, C, s...] at pixels at[0], at[1], ... [N, 1, P], one per spatial dim, linearly; pixels outside are 0. Gives
 * [N, C, P]. */
veer_value_t veer_onnx_sample_linear(veer_onnx_node_t *n, veer_value_t x, const veer_value_t *at);

#endif
