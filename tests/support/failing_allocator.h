/* An allocator that counts, and fails from its Nth allocation on when told to: for sweeps over all N.
 *
 *     for (long n = 0;; n++) {
 *         failing_allocator_t f = {.fail_at = n};
 *         status = work(failing_allocator(&f));
 *         assert_int_equal(f.live, 0);            // nothing leaks
 *         if (!f.failed) break;                   // it got through: every allocation has had its turn
 *     }
 */
#ifndef VEER_TESTS_FAILING_ALLOCATOR_H
#define VEER_TESTS_FAILING_ALLOCATOR_H

#include "ir/base/allocator.h"

#include <stdlib.h>

typedef struct failing_allocator_s {
    long fail_at;             /* this many succeed; -1: all */
    _Atomic long count, live; /* kernels may allocate on any thread */
    bool failed;
    bool once; /* only the one allocation fails, later ones succeed */
} failing_allocator_t;

static inline void *failing_alloc(void *user, size_t size_bytes) {
    failing_allocator_t *f = user;
    long index = f->count++;
    if (f->fail_at >= 0 && (f->once ? index == f->fail_at : index >= f->fail_at)) {
        f->failed = true;
        return NULL;
    }
    void *ptr = veer_alloc(veer_allocator_system(), size_bytes);
    if (ptr) f->live++;
    return ptr;
}

static inline void failing_free(void *user, void *ptr) {
    ((failing_allocator_t *)user)->live--;
    veer_free(veer_allocator_system(), ptr);
}

static inline veer_allocator_t failing_allocator(failing_allocator_t *f) {
    return (veer_allocator_t){failing_alloc, failing_free, f};
}

#endif
