/* Memory comes from a veer_allocator_t that the caller passes in; tests swap in one that fails on purpose.
 *
 *     veer_allocator_t a = veer_allocator_system();
 *     float *p = veer_alloc(a, n * sizeof *p);   // zeroed, 64-byte aligned, NULL when out of memory
 *     veer_free(a, p);
 */
#ifndef VEER_IR_BASE_ALLOCATOR_H
#define VEER_IR_BASE_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what is declared here is what the library exports */

/* Both functions may be called by several threads at once: a kernel takes what it keeps per thread on that thread, the
 * first time it runs there. */
typedef struct veer_allocator_s {
    /* Returns zeroed memory aligned to 64 bytes, or NULL. `size_bytes` > 0. */
    void *(*alloc)(void *user, size_t size_bytes);
    void (*free)(void *user, void *ptr);
    void *user;
} veer_allocator_t;

/* malloc and free of the C library. */
veer_allocator_t veer_allocator_system(void);

/* Zeroed memory aligned to 64 bytes; size 0 is rounded up to 1. NULL when out of memory. Release with veer_free. */
void *veer_alloc(veer_allocator_t allocator, size_t size_bytes);
/* count * size with an overflow check. */
void *veer_alloc_array(veer_allocator_t allocator, size_t count, size_t size_bytes);
/* NULL is allowed. */
void veer_free(veer_allocator_t allocator, void *ptr);
/* A copy of a NUL-terminated string, or NULL when out of memory. */
char *veer_strdup(veer_allocator_t allocator, const char *text);

/* Arithmetic on sizes that come from files: false (and *out untouched) where the result does not fit. */
static inline bool veer_size_mul(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool veer_size_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
