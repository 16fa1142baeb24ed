/* What the files that write loops share: the state of a nest under way, values of points, accumulators.
 *
 *     lower.c: loops, tiles, groups, items    lower_points.c: indices, masks, memory, values    lower_reduce.c: sums */
#ifndef VEER_BACKENDS_LLVM_LOWER_INTERNAL_H
#define VEER_BACKENDS_LLVM_LOWER_INTERNAL_H

#include "backends/llvm/lower.h"

typedef LLVMValueRef val_t;

typedef struct veer_lower_s {
    veer_fx_kernel_t *k;
    veer_emit_t *e;
    const veer_fx_schedule_t *s;
    const veer_fx_nest_t *n;
    val_t *values; /* by point; NULL: not computed here yet */
    int *undo, undo_count;
    bool *visited;
    val_t *sums, *partial, *best_index; /* by point: accumulators (variables) */
    val_t var[VEER_FX_MAX_VARS];
    uint32_t open; /* variables that have a value */
    int lane_var;
    unsigned lanes;
    val_t mask; /* NULL: all lanes */
    int sweep;
    int64_t kept_strides[VEER_FX_MAX_VARS];
    val_t block_begin;
    /* groups in lanes: open while a sweep's lanes are (unit > 0), but for the item's first group */
    int64_t unit;
    val_t first_group, lane_at; /* lane 0 counted from the item's first group */
    val_t group_of, within;     /* unit > 1: per lane, its group (counted from the first) and place in there */
} veer_lower_t;

/* ---- lower_points.c ---- */
/* Integers, of one lane or several. */
val_t veer_lw_mul(veer_lower_t *c, val_t v, int64_t k);
val_t veer_lw_add(veer_lower_t *c, val_t a, val_t b);
/* An index at lane 0, and in all lanes. */
val_t veer_lw_affine_base(veer_lower_t *c, const veer_fx_affine_t *a);
val_t veer_lw_affine_value(veer_lower_t *c, const veer_fx_affine_t *a);
/* Neighbours, and elements at an offset of each lane's own; masked ones are zero. */
val_t veer_lw_load_run(veer_lower_t *c, veer_dtype_t d, val_t base, val_t offset, val_t mask);
val_t veer_lw_load_scattered(veer_lower_t *c, veer_dtype_t d, val_t base, val_t offsets, val_t mask);
/* An f32 of the thread's scratch. */
val_t veer_lw_slot(veer_lower_t *c, int64_t slot, val_t at);
void veer_lw_store(veer_lower_t *c, const veer_fx_store_t *s);
/* A point's value where it stands, computed once per scope. */
val_t veer_lw_value(veer_lower_t *c, int point);
void veer_lw_set_value(veer_lower_t *c, int point, val_t v);
/* Forgets what was computed since `undo_count` was `mark`. */
void veer_lw_close_scope(veer_lower_t *c, int mark);
/* Computes what a target needs and no variable still to be opened changes. */
void veer_lw_hoist(veer_lower_t *c, int point);

/* ---- lower_reduce.c ---- */
/* Whether the sweep under way makes this reduction. */
bool veer_lw_in_sweep(const veer_lower_t *c, int point);
void veer_lw_begin_accumulators(veer_lower_t *c);
void veer_lw_accumulate(veer_lower_t *c);
/* Partial sums of a block of a long float sum, added to the accumulators at its end. */
void veer_lw_begin_partial(veer_lower_t *c);
void veer_lw_end_partial(veer_lower_t *c);
/* Combines the lanes; the reductions' values are then known. */
void veer_lw_end_accumulators(veer_lower_t *c);

#endif
