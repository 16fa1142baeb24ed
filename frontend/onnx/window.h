/* What convolutions and poolings have in common: a window that moves over the spatial dims. */
#ifndef VEER_FRONTEND_ONNX_WINDOW_H
#define VEER_FRONTEND_ONNX_WINDOW_H

#include "frontend/onnx/node.h"

typedef struct veer_onnx_window_s {
    int rank; /* of the space: 1..3 */
    int64_t kernel[VEER_MAX_RANK], strides[VEER_MAX_RANK], dilations[VEER_MAX_RANK];
    int64_t before[VEER_MAX_RANK], after[VEER_MAX_RANK];
    bool same, same_upper; /* auto_pad */
} veer_onnx_window_t;

/* Reads kernel_shape (missing: from `weight`, which may be VEER_NO_VALUE), strides, dilations, pads, auto_pad. False
 * after a failure. Pads of auto_pad SAME_* are not there yet: see veer_onnx_window_same. */
bool veer_onnx_window_read(veer_onnx_node_t *n, veer_value_t weight, veer_onnx_window_t *out_window);
/* Pads so that there is one output per stride. */
void veer_onnx_window_same(veer_onnx_window_t *w, const int64_t *space);
/* A convolution with the attributes of the node, whose first input has the shape of `input`. */
veer_value_t veer_onnx_conv_of(veer_onnx_node_t *n, veer_value_t input, veer_value_t weight, veer_value_t bias);

#endif
