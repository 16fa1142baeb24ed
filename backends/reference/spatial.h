/* One, two or three spatial axes seen as three: axes of size 1 stand in front. */
#ifndef VEER_BACKENDS_REFERENCE_SPATIAL_H
#define VEER_BACKENDS_REFERENCE_SPATIAL_H

#include "backends/reference/kernel.h"
#include "ir/window.h"

/* Where element (image n, channel c, position p) of a tensor stands: n*image + c*channel + p*position. */
typedef struct veer_planes_s {
    int64_t images, channels;
    int64_t image, channel, position;
} veer_planes_t;

static inline int64_t veer_plane(const veer_planes_t *p, int64_t n, int64_t c) {
    return n * p->image + c * p->channel;
}

typedef struct veer_spatial_s {
    veer_window_t window;                     /* with spatial = 3 */
    int64_t in[3], out[3], in_size, out_size; /* of operand 0 and result 0, and the products of the three */
    veer_planes_t x, y;                       /* operand 0 and result 0 */
} veer_spatial_t;

/* Of a conv, conv_transpose or pool. */
veer_spatial_t veer_spatial_of_call(const veer_reference_call_t *c);

#endif
