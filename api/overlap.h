/* Which of the calls right before it a call need not wait for: those that do not write what it touches, nor read what
 * it writes. Buffers in the arena take each other's place, so what counts is memory, not values. Calls of the other
 * strand count like any: they touch nothing of its. */
#ifndef VEER_API_OVERLAP_H
#define VEER_API_OVERLAP_H

#include "api/storage.h"

enum { VEER_OVERLAP_MOST = 6 }; /* calls to look back; fewer than the runtime has under way at once */

typedef struct veer_footprint_s {
    veer_span_t *spans; /* reads, then writes */
    int reads, count;
} veer_footprint_t;

typedef struct veer_overlap_s {
    veer_footprint_t last[VEER_OVERLAP_MOST];
    int count; /* calls since the last one that waits for all and is waited for */
} veer_overlap_t;

/* A call that others do not overlap: a copy, the beginning or end of a loop. */
void veer_overlap_reset(veer_overlap_t *o);
/* A kernel for `node`. How many calls before it it may overlap. */
VEER_MUST_USE veer_status_t veer_overlap_add(veer_overlap_t *o, const veer_storage_t *s, veer_node_t node,
                                             int *out_overlap);
void veer_overlap_deinit(veer_overlap_t *o, veer_allocator_t allocator);

#endif
