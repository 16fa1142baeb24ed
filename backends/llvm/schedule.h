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
    /* Groups in lanes (group_var below): lane_var counts lanes through all groups of the item, `unit` to a group (its
     * own extent, or 1 where it is group_var itself), and is the outermost loop, not in `order`. 0: not so. */
    int64_t unit;
} veer_fx_sweep_t;

/* A value that is dear to compute and read by several sweeps stays in scratch, laid out over the sweep's variables. */
typedef struct veer_fx_kept_s {
    int point, first_sweep;
    int64_t offset_bytes;
} veer_fx_kept_t;

/* Of a reduction over groups in lanes, in floats of scratch: one per lane before, one per group after combining. */
typedef struct veer_fx_slot_s {
    int64_t sums, values;
} veer_fx_slot_t;

typedef struct veer_fx_schedule_s {
    veer_fx_nest_t *nest;
    int rows[VEER_FX_MAX_VARS], row_count; /* outermost first: digits of the work item */
    int row_lane_var, row_lanes; /* lanes along a row variable (-1, 1: no): the item's last digit counts vectors */
    /* A row variable whose neighbours continue the runs of short inner variables (channels of a group, [N, S, G, C/G]):
     * an item does `group_block` of its values and lanes run through all of them. -1: none. */
    int group_var;
    int64_t group_block;
    veer_fx_slot_t *slots; /* by point: where reductions over such lanes are kept */
    int block_var;         /* -1, or the stores' lane variable: the item's last digit counts blocks */
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
/* How many registers per value the length of a sweep's body allows. */
int veer_fx_sweep_registers(const veer_fx_schedule_t *s, const veer_fx_sweep_t *sweep);
/* Puts groups in lanes where that makes runs longer: group_var, group_block, slots, items, and the sweeps. False: not
 * here, nothing is changed (or memory was short). */
bool veer_fx_schedule_groups(veer_fx_schedule_t *s, int native_lanes);
/* Elements of scratch that one row of a sweep takes, and the stride of each of its variables in it. */
int64_t veer_fx_kept_strides(const veer_fx_schedule_t *s, const veer_fx_sweep_t *sweep,
                             int64_t strides[VEER_FX_MAX_VARS]);

#endif
