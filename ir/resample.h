/* Interpolation along one axis: which inputs an output position reads, with which weights. The one place where the
 * coordinate rules of resize are written; its definition, gradient and reference kernel all ask here.
 *
 *     veer_resample_t r;
 *     VEER_TRY(veer_resample_init(&r, "linear", "half_pixel", "floor", -0.75, false));
 *     veer_resample_tap_t taps[VEER_RESAMPLE_MAX_TAPS];
 *     int n = veer_resample_taps(&r, in, out, (double)out / in, o, taps);   // y[o] = sum taps[t].weight *
 * x[taps[t].index]
 */
#ifndef VEER_IR_RESAMPLE_H
#define VEER_IR_RESAMPLE_H

#include "ir/graph.h"

typedef enum veer_resample_mode_e {
    VEER_RESAMPLE_NEAREST,
    VEER_RESAMPLE_LINEAR,
    VEER_RESAMPLE_CUBIC
} veer_resample_mode_t;

/* How an output position o maps to an input coordinate, scale = out / in; names are ONNX's. */
typedef enum veer_coordinate_e {
    VEER_COORDINATE_HALF_PIXEL,           /* (o + 1/2) / scale - 1/2 */
    VEER_COORDINATE_HALF_PIXEL_SYMMETRIC, /* the same, shifted so that a scale which does not divide stays centred */
    VEER_COORDINATE_PYTORCH_HALF_PIXEL,   /* half_pixel, but 0 where out = 1 */
    VEER_COORDINATE_ALIGN_CORNERS,        /* o (in - 1) / (out - 1), 0 where out = 1 */
    VEER_COORDINATE_ASYMMETRIC            /* o / scale */
} veer_coordinate_t;

typedef enum veer_nearest_mode_e {
    VEER_NEAREST_ROUND_PREFER_FLOOR,
    VEER_NEAREST_ROUND_PREFER_CEIL,
    VEER_NEAREST_FLOOR,
    VEER_NEAREST_CEIL
} veer_nearest_mode_t;

typedef struct veer_resample_s {
    veer_resample_mode_t mode;
    veer_coordinate_t coordinate;
    veer_nearest_mode_t nearest;
    double cubic_a;
    bool exclude_outside; /* cubic: taps outside count nothing and the others are scaled to sum 1; else edges repeat */
} veer_resample_t;

typedef struct veer_resample_tap_s {
    int64_t index; /* always inside the input; the same index may occur twice */
    double weight;
} veer_resample_tap_t;

enum { VEER_RESAMPLE_MAX_TAPS = 4 };

/* From the attributes' names; VEER_ERR_UNSUPPORTED with the known ones where a name is unknown. */
VEER_MUST_USE veer_status_t veer_resample_init(veer_resample_t *r, const char *mode, const char *coordinate,
                                               const char *nearest_mode, double cubic_a, bool exclude_outside);
/* Of a resize that has been checked: its attributes in the definition's order, or the node. */
veer_resample_t veer_resample_of_attrs(const veer_attr_t *attrs);
veer_resample_t veer_resample_of_node(const veer_graph_t *g, veer_node_t node);
/* Fills taps for output position o of an axis; gives how many: 1, 2 or 4. in, out >= 1, scale > 0. */
int veer_resample_taps(const veer_resample_t *r, int64_t in, int64_t out, double scale, int64_t o,
                       veer_resample_tap_t taps[VEER_RESAMPLE_MAX_TAPS]);
/* The input coordinate of output position o. */
double veer_resample_coordinate(const veer_resample_t *r, int64_t in, int64_t out, double scale, int64_t o);
/* True where y = x along the axis. */
bool veer_resample_is_identity(const veer_resample_t *r, int64_t in, int64_t out, double scale);
/* The factor f where each input is repeated f times in a row (y[o] = x[o / f]), else 0. */
int64_t veer_resample_repeats(const veer_resample_t *r, int64_t in, int64_t out, double scale);

#endif
