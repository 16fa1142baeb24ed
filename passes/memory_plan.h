/* Static memory planning: buffers with lifetimes, placed in one arena so that none overlap while both are alive. */
#ifndef VEER_PASSES_MEMORY_PLAN_H
#define VEER_PASSES_MEMORY_PLAN_H

#include "ir/graph.h"

typedef struct veer_lifetime_s {
    size_t size_bytes;
    int64_t first, last; /* positions in execution order, both included */
    int strand;          /* 0, or of what is used in one of several strands only: those run at the same time, so what
                          * is of another strand is alive as well */
} veer_lifetime_t;

/* Fills out_offsets (one per item, multiples of 64) and the arena's size. Largest first, each at the lowest gap that
 * fits: the order is total (size, then position, then index), so equal inputs give equal plans. VEER_ERR_RESOURCE where
 * the arena cannot have a size. */
VEER_MUST_USE veer_status_t veer_memory_plan(const veer_lifetime_t *items, int count, veer_allocator_t allocator,
                                             size_t *out_offsets, size_t *out_total_bytes);

/* The memory that a function takes as it stands, were it lowered now. */
typedef struct veer_residency_s {
    uint32_t value_limit, node_limit;
    veer_value_t *roots; /* by value id: the value in whose buffer this one lies, itself unless it is a view; none where
                            the function does not hold it */
    veer_lifetime_t *lives; /* by value id, of roots in the arena: rounded to what a buffer takes; else size 0 */
    int64_t *positions;     /* by node id, in execution order, from 1 */
    int64_t end;            /* behind the last position */
    size_t arena_bytes;     /* where placing was asked for: that takes longer than the rest */
} veer_residency_t;

/* Knows what is a view and what an output (api/storage.h); passes get it from their target. `out` is to be given to
 * veer_residency_deinit, also after a failure. */
typedef veer_status_t (*veer_residency_fn)(const veer_graph_t *g, veer_func_t func, bool place,
                                           veer_allocator_t allocator, veer_residency_t *out);
void veer_residency_deinit(veer_residency_t *f, veer_allocator_t allocator);

#endif
