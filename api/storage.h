/* Where each value of a function lives at run time: views are resolved to the buffers that they look into, lifetimes
 * are taken over the flattened execution order, and the memory plan places what lives in the arena. */
#ifndef VEER_API_STORAGE_H
#define VEER_API_STORAGE_H

#include "passes/memory_plan.h"
#include "runtime/plan.h"

typedef struct veer_storage_s {
    const veer_graph_t *g;
    veer_allocator_t allocator;
    veer_buf_t *bufs; /* by value id */
    bool *is_view;    /* by node id: costs nothing at run time */
    size_t arena_bytes;
    bool compact;
    /* while building */
    struct veer_storage_item_s *items; /* by value id */
    int64_t *positions;                /* by node id */
    int64_t position, strands_first, strands_last;
    int strand;              /* of the node that the walk is at */
    veer_region_t loops[16]; /* bodies of the open loops */
    int loop_count;
} veer_storage_t;

/* A loop's iteration lives in the buffer of its body's argument 0, carried value i in that of argument i + 1 (which is
 * also the buffer of the loop's result i); stacked results have buffers of their own.
 *
 * Plans the storage of a function whose calls and grads have been expanded. `compact`: memory is given away at once,
 * not some calls later, which fewer calls can then overlap. Nothing in one strand (veer_node_strand) lies where the
 * other one has something. `out` is the caller's; deinit releases it, also after a failure. */
VEER_MUST_USE veer_status_t veer_storage_init(veer_storage_t *out, const veer_graph_t *g, veer_func_t func,
                                              bool compact, veer_allocator_t allocator);
void veer_storage_deinit(veer_storage_t *s);

/* What the arena would take. */
VEER_MUST_USE veer_status_t veer_storage_arena(const veer_graph_t *g, veer_func_t func, bool compact,
                                               veer_allocator_t allocator, int64_t *out_bytes);
/* The same and more, compact, for passes that want to know: see veer_residency_fn. */
VEER_MUST_USE veer_status_t veer_storage_residency(const veer_graph_t *g, veer_func_t func, bool place,
                                                   veer_allocator_t allocator, veer_residency_t *out);

static inline veer_buf_t veer_storage_of(const veer_storage_t *s, veer_value_t v) {
    return s->bufs[v.i];
}
/* What a value's memory is part of: the whole buffer that it looks into. Buffers of one kind with common bytes may be
 * each other's; constants and inputs are never written. */
typedef struct veer_span_s {
    veer_buf_kind_t kind;
    int64_t begin, end;
} veer_span_t;
veer_span_t veer_storage_span(const veer_storage_t *s, veer_value_t v);
/* True where the value must be copied to output `index` at the end: it was not placed there. */
bool veer_storage_needs_copy(const veer_storage_t *s, veer_value_t result, int index);
#endif
