/* What the files of Resize share: the output, and the scale that coordinates use. */
#ifndef VEER_FRONTEND_ONNX_RESIZE_H
#define VEER_FRONTEND_ONNX_RESIZE_H

#include "frontend/onnx/node.h"

typedef struct veer_onnx_resize_s {
    int64_t dims[VEER_MAX_RANK];
    double scales[VEER_MAX_RANK];
} veer_onnx_resize_t;

/* With antialias: each output is a mean of inputs that grows with 1 / scale. */
void veer_onnx_resize_smooth(veer_onnx_node_t *n, const veer_onnx_resize_t *to, const char *coordinate);
/* For coordinate modes tf_crop_and_resize and tf_half_pixel_for_nn. by_scale: dims follow from scales and the crop. */
void veer_onnx_resize_roi(veer_onnx_node_t *n, veer_onnx_resize_t *to, bool by_scale, const char *coordinate);

#endif
