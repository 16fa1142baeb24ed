#include "ir/base/allocator.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Weights and activations are streamed: with pages of 4 KB the walks through page tables cost as much as the data. The
 * advice is only that; where it is not taken, pages stay small. */
enum { HUGE_PAGE_BYTES = 1 << 21, SMALL_ALIGNMENT = 64 };

static void *aligned(size_t size_bytes) {
    if (size_bytes < HUGE_PAGE_BYTES) return aligned_alloc(SMALL_ALIGNMENT, size_bytes);
    void *ptr = NULL;
    if (posix_memalign(&ptr, HUGE_PAGE_BYTES, size_bytes)) return NULL;
#ifdef MADV_HUGEPAGE
    madvise(ptr, size_bytes & ~(size_t)(HUGE_PAGE_BYTES - 1), MADV_HUGEPAGE);
#endif
    return ptr;
}

static void *system_alloc(void *user, size_t size_bytes) {
    (void)user;
    size_t rounded;
    if (!veer_size_add(size_bytes, SMALL_ALIGNMENT - 1, &rounded)) return NULL;
    rounded &= ~(size_t)(SMALL_ALIGNMENT - 1);
    void *ptr = aligned(rounded);
    if (ptr) memset(ptr, 0, rounded);
    return ptr;
}

static void system_free(void *user, void *ptr) {
    (void)user;
    free(ptr);
}

veer_allocator_t veer_allocator_system(void) {
    return (veer_allocator_t){system_alloc, system_free, NULL};
}

void *veer_alloc(veer_allocator_t allocator, size_t size_bytes) {
    return allocator.alloc(allocator.user, size_bytes ? size_bytes : 1);
}

void *veer_alloc_array(veer_allocator_t allocator, size_t count, size_t size_bytes) {
    size_t total;
    return veer_size_mul(count, size_bytes, &total) ? veer_alloc(allocator, total) : NULL;
}

void veer_free(veer_allocator_t allocator, void *ptr) {
    if (ptr) allocator.free(allocator.user, ptr);
}

char *veer_strdup(veer_allocator_t allocator, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = veer_alloc(allocator, size);
    if (copy) memcpy(copy, text, size);
    return copy;
}
