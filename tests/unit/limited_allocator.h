/* An allocator that fails after a number of allocations: limited_allocator(&left), counting `left` down. */
#ifndef VEER_TESTS_UNIT_LIMITED_ALLOCATOR_H
#define VEER_TESTS_UNIT_LIMITED_ALLOCATOR_H

#include "ir/base/allocator.h"

static inline void *limited_alloc(void *user, size_t size_bytes) {
    int *left = user;
    return (*left)-- > 0 ? veer_alloc(veer_allocator_system(), size_bytes) : NULL;
}

static inline void limited_free(void *user, void *ptr) {
    (void)user;
    veer_free(veer_allocator_system(), ptr);
}

static inline veer_allocator_t limited_allocator(int *left) {
    return (veer_allocator_t){limited_alloc, limited_free, left};
}

#endif
