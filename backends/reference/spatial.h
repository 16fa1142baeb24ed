/* One, two or three spatial axes seen as three: axes of size 1 stand in front. */
#ifndef VEER_BACKENDS_REFERENCE_SPATIAL_H
#define VEER_BACKENDS_REFERENCE_SPATIAL_H

#include "backends/reference/kernel.h"
#include "ir/window.h"

typedef struct veer_spatial_s {
    veer_window_t window;                     /* with spatial = 3 */
    int64_t in[3], out[3], in_size, out_size; /* of operand 0 and result 0, and the products of the three */
} veer_spatial_t;

/* Of a conv, conv_transpose or pool. */
veer_spatial_t veer_spatial_of_call(const veer_reference_call_t *c);

#endif
