/* How a nest runs: which variable goes into vector lanes, what one work item is, which sweeps a row takes. All of it
 * follows from shapes and the target, never from the number of threads. */
#ifndef VEER_BACKENDS_LLVM_SCHEDULE_H
#define VEER_BACKENDS_LLVM_SCHEDULE_H

#include "backends/llvm/nest.h"

enum { VEER_FX_MAX_SWEEPS = 12, VEER_FX_MAX_KEPT = 8 };

/* One pass over some variables within a row: reductions of one level, or the stores. */
typedef struct veer_fx_sweep_s {
    uint32_t vars;
    int order[VEER_FX_MAX_VARS], var_count; /* outermost first; the lane variable, where it has one, last */
    int lane_var;                           /* -1: none in this sweep */
    int lanes;
    int level;     /* of its reductions; INT_MAX: the stores */
    int64_t block; /* the lane variable in blocks of so many; 0: not cut (reductions: for the shape of sums) */
} veer_fx_sweep_t;

/* A value that is dear to compute and read by several sweeps stays in scratch, laid out over the sweep's variables. */
typedef struct veer_fx_kept_s {
    int point, first_sweep;
    int64_t offset_bytes;
} veer_fx_kept_t;

typedef struct veer_fx_schedule_s {
    veer_fx_nest_t *nest;
    int rows[VEER_FX_MAX_VARS], row_count; /* outermost first: digits of the work item */
    int row_lane_var, row_lanes; /* lanes along a row variable (-1, 1: no): the item's last digit counts vectors */
    int block_var;               /* -1, or the stores' lane variable: the item's last digit counts blocks */
    int64_t block;
    /* Loads that run along another variable than the lanes do (transposes) go through square tiles: `tile_var` is that
     * variable, -1: none; items then count its blocks of `block`. */
    int tile_var;
    bool *tiled; /* by point */
    int64_t items;
    veer_fx_sweep_t sweeps[VEER_FX_MAX_SWEEPS];
    int sweep_count;
    veer_fx_kept_t kept[VEER_FX_MAX_KEPT];
    int kept_count;
    int64_t scratch_bytes;
    bool *live;    /* by point: some store needs it */
    double weight; /* instructions or so, for sharing out compilation */
} veer_fx_schedule_t;

/* `native_lanes`: f32 lanes of a register. False: the region's reason says why not. */
bool veer_fx_schedule_init(veer_fx_schedule_t *s, veer_fx_nest_t *nest, int native_lanes);
/* Elements of scratch that one row of a sweep takes, and the stride of each of its variables in it. */
int64_t veer_fx_kept_strides(const veer_fx_schedule_t *s, const veer_fx_sweep_t *sweep,
                             int64_t strides[VEER_FX_MAX_VARS]);

#endif
