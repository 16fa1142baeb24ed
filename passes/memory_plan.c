#include "passes/memory_plan.h"

#include <stdlib.h>

typedef struct placed_s {
    size_t offset, size_bytes;
    int64_t first, last;
    int index;
} placed_t;

static int by_size(const void *x, const void *y) {
    const placed_t *a = x, *b = y;
    if (a->size_bytes != b->size_bytes) return a->size_bytes > b->size_bytes ? -1 : 1;
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static int by_offset(const void *x, const void *y) {
    const placed_t *a = x, *b = y;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* The lowest offset at which `item` overlaps none of the `count` neighbours (sorted by offset). */
static size_t lowest_gap(const placed_t *neighbours, int count, size_t size_bytes) {
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        if (neighbours[i].offset >= at && neighbours[i].offset - at >= size_bytes) break;
        size_t end = neighbours[i].offset + neighbours[i].size_bytes;
        if (end > at) at = end;
    }
    return at;
}

veer_status_t veer_memory_plan(const veer_lifetime_t *items, int count, veer_allocator_t allocator, size_t *out_offsets,
                               size_t *out_total_bytes) {
    placed_t *order = veer_alloc_array(allocator, (size_t)count * 2 + 1, sizeof *order);
    if (!order) return veer_out_of_memory();
    placed_t *neighbours = order + count;
    size_t total = 0;
    for (int i = 0; i < count; i++)
        order[i] = (placed_t){0, (items[i].size_bytes + 63) & ~(size_t)63, items[i].first, items[i].last, i};
    qsort(order, (size_t)count, sizeof *order, by_size);
    for (int i = 0; i < count; i++) {
        int alive = 0;
        for (int k = 0; k < i; k++)
            if (order[k].first <= order[i].last && order[i].first <= order[k].last) neighbours[alive++] = order[k];
        qsort(neighbours, (size_t)alive, sizeof *neighbours, by_offset);
        order[i].offset = lowest_gap(neighbours, alive, order[i].size_bytes);
        out_offsets[order[i].index] = order[i].offset;
        if (order[i].offset + order[i].size_bytes > total) total = order[i].offset + order[i].size_bytes;
    }
    veer_free(allocator, order);
    *out_total_bytes = total;
    return veer_ok();
}
