#include "ir/base/allocator.h"

#include <stdlib.h>
#include <string.h>

static void *system_alloc(void *user, size_t size_bytes) {
    (void)user;
    size_t rounded;
    if (!veer_size_add(size_bytes, 63, &rounded)) return NULL;
    rounded &= ~(size_t)63;
    void *ptr = aligned_alloc(64, rounded);
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
