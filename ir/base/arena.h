/* A bump allocator: many small allocations, one release. Everything that lives as long as a graph lives in its arena.
 *
 *     veer_arena_t arena;
 *     veer_arena_init(&arena, allocator);
 *     int64_t *dims = veer_arena_array(&arena, rank, sizeof *dims);   // zeroed, NULL when out of memory
 *     veer_arena_deinit(&arena);                                      // releases all of it
 */
#ifndef VEER_IR_BASE_ARENA_H
#define VEER_IR_BASE_ARENA_H

#include "ir/base/allocator.h"

typedef struct veer_arena_block_s veer_arena_block_t;

typedef struct veer_arena_s {
    veer_allocator_t allocator;
    veer_arena_block_t *head; /* newest block first */
    size_t used_bytes;        /* sum over all allocations, for reports */
    bool failed;              /* some allocation failed: for edits that cannot report it where it happens */
} veer_arena_t;

void veer_arena_init(veer_arena_t *arena, veer_allocator_t allocator);
void veer_arena_deinit(veer_arena_t *arena);

/* Zeroed memory aligned to 16 bytes (64 for requests of 64 bytes and more), or NULL when out of memory. */
void *veer_arena_alloc(veer_arena_t *arena, size_t size_bytes);
void *veer_arena_array(veer_arena_t *arena, size_t count, size_t size_bytes);
void *veer_arena_copy(veer_arena_t *arena, const void *src, size_t size_bytes);
char *veer_arena_strdup(veer_arena_t *arena, const char *text);
char *veer_arena_strndup(veer_arena_t *arena, const char *text, size_t length);

#endif
