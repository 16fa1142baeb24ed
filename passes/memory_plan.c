#include "passes/memory_plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct placed_s {
    size_t offset, size_bytes;
    int64_t first, last;
    int strand, index;
} placed_t;

static int by_size(const void *x, const void *y) {
    const placed_t *a = x, *b = y;
    if (a->size_bytes != b->size_bytes) return a->size_bytes > b->size_bytes ? -1 : 1;
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool may_share(const placed_t *a, const placed_t *b) {
    if (a->strand && b->strand && a->strand != b->strand) return false;
    return a->last < b->first || b->last < a->first;
}

/* The lowest offset at which `item` overlaps nothing that lives at the same time. `placed`: indices into `order`,
 * sorted by offset. */
static size_t lowest_gap(const placed_t *order, const int *placed, int count, const placed_t *item) {
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        const placed_t *p = &order[placed[i]];
        if (may_share(p, item)) continue;
        if (p->offset >= at && p->offset - at >= item->size_bytes) break;
        size_t end = p->offset + p->size_bytes;
        if (end > at) at = end;
    }
    return at;
}

static void insert(const placed_t *order, int *placed, int count, int item) {
    int low = 0, high = count; /* behind all of the same offset */
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (order[placed[middle]].offset <= order[item].offset)
            low = middle + 1;
        else
            high = middle;
    }
    memmove(placed + low + 1, placed + low, (size_t)(count - low) * sizeof *placed);
    placed[low] = item;
}

static veer_status_t too_large(void) {
    return veer_error(VEER_ERR_RESOURCE, "the buffers of the plan are larger than the address space");
}

veer_status_t veer_memory_plan(const veer_lifetime_t *items, int count, veer_allocator_t allocator, size_t *out_offsets,
                               size_t *out_total_bytes) {
    placed_t *order = veer_alloc_array(allocator, (size_t)count + 1, sizeof *order);
    int *placed = veer_alloc_array(allocator, (size_t)count + 1, sizeof *placed);
    size_t total = 0, end;
    veer_status_t status = order && placed ? veer_ok() : veer_out_of_memory();
    for (int i = 0; i < count && !status; i++) {
        if (!veer_size_add(items[i].size_bytes, 63, &end)) status = too_large();
        order[i] = (placed_t){0, end & ~(size_t)63, items[i].first, items[i].last, items[i].strand, i};
    }
    if (!status) qsort(order, (size_t)count, sizeof *order, by_size);
    for (int i = 0; i < count && !status; i++) {
        order[i].offset = lowest_gap(order, placed, i, &order[i]);
        if (!veer_size_add(order[i].offset, order[i].size_bytes, &end)) {
            status = too_large();
            break;
        }
        insert(order, placed, i, i);
        out_offsets[order[i].index] = order[i].offset;
        if (end > total) total = end;
    }
    veer_free(allocator, order);
    veer_free(allocator, placed);
    *out_total_bytes = total;
    return status;
}

void veer_residency_deinit(veer_residency_t *f, veer_allocator_t allocator) {
    veer_free(allocator, f->roots);
    veer_free(allocator, f->lives);
    veer_free(allocator, f->positions);
    *f = (veer_residency_t){0};
}
