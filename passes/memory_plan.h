/* Static memory planning: buffers with lifetimes, placed in one arena so that none overlap while both are alive. */
#ifndef VEER_PASSES_MEMORY_PLAN_H
#define VEER_PASSES_MEMORY_PLAN_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

typedef struct veer_lifetime_s {
    size_t size_bytes;
    int64_t first, last; /* positions in execution order, both included */
} veer_lifetime_t;

/* Fills out_offsets (one per item, multiples of 64) and the arena's size. Largest first, each at the lowest gap that
 * fits: the order is total (size, then position, then index), so equal inputs give equal plans. VEER_ERR_RESOURCE where
 * the arena cannot have a size. */
VEER_MUST_USE veer_status_t veer_memory_plan(const veer_lifetime_t *items, int count, veer_allocator_t allocator,
                                             size_t *out_offsets, size_t *out_total_bytes);

#endif
