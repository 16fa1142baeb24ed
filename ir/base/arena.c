#include "ir/base/arena.h"

#include <string.h>

struct veer_arena_block_s {
    veer_arena_block_t *next;
    size_t size_bytes, used_bytes; /* of the payload, which starts 64 bytes after the block */
};

/* Under the address sanitizer every piece is a block of its own, so that reading behind its end is found, and a sweep
 * of failing allocations reaches each. */
#if defined(__SANITIZE_ADDRESS__)
#define VEER_ARENA_EXACT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VEER_ARENA_EXACT 1
#endif
#endif
#ifndef VEER_ARENA_EXACT
#define VEER_ARENA_EXACT 0
#endif

enum { HEADER_BYTES = 64, FIRST_BLOCK_BYTES = 1 << 14, LARGEST_BLOCK_BYTES = 1 << 20 };
_Static_assert(sizeof(veer_arena_block_t) <= HEADER_BYTES, "the header fits in front of the payload");

void veer_arena_init(veer_arena_t *arena, veer_allocator_t allocator) {
    *arena = (veer_arena_t){.allocator = allocator};
}

void veer_arena_deinit(veer_arena_t *arena) {
    for (veer_arena_block_t *block = arena->head; block;) {
        veer_arena_block_t *next = block->next;
        veer_free(arena->allocator, block);
        block = next;
    }
    arena->head = NULL;
    arena->used_bytes = 0;
}

static veer_arena_block_t *add_block(veer_arena_t *arena, size_t at_least) {
    size_t want = arena->head ? arena->head->size_bytes * 2 : FIRST_BLOCK_BYTES, total;
    if (want > LARGEST_BLOCK_BYTES) want = LARGEST_BLOCK_BYTES;
    if (want < at_least || VEER_ARENA_EXACT) want = at_least;
    if (!veer_size_add(want, HEADER_BYTES, &total)) return NULL;
    veer_arena_block_t *block = veer_alloc(arena->allocator, total);
    if (!block) return NULL;
    block->size_bytes = want;
    block->next = arena->head;
    return arena->head = block;
}

void *veer_arena_alloc(veer_arena_t *arena, size_t size_bytes) {
    size_t align = size_bytes >= 64 ? 64 : 16;
    veer_arena_block_t *block = arena->head;
    size_t at = block ? (block->used_bytes + align - 1) & ~(align - 1) : 0;
    if (!block || at > block->size_bytes || size_bytes > block->size_bytes - at) {
        block = add_block(arena, size_bytes ? size_bytes : 1);
        if (!block) {
            arena->failed = true;
            return NULL;
        }
        at = 0;
    }
    block->used_bytes = at + size_bytes;
    arena->used_bytes += size_bytes;
    return (char *)block + HEADER_BYTES + at;
}

void *veer_arena_array(veer_arena_t *arena, size_t count, size_t size_bytes) {
    size_t total;
    return veer_size_mul(count, size_bytes, &total) ? veer_arena_alloc(arena, total) : NULL;
}

void *veer_arena_copy(veer_arena_t *arena, const void *src, size_t size_bytes) {
    void *copy = veer_arena_alloc(arena, size_bytes);
    if (copy && size_bytes) memcpy(copy, src, size_bytes);
    return copy;
}

char *veer_arena_strndup(veer_arena_t *arena, const char *text, size_t length) {
    char *copy = veer_arena_alloc(arena, length + 1); /* zeroed, so terminated */
    if (copy) memcpy(copy, text, length);
    return copy;
}

char *veer_arena_strdup(veer_arena_t *arena, const char *text) {
    return veer_arena_strndup(arena, text, strlen(text));
}
