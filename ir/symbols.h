/* Names to ids, with scopes: what the text form's reader and writer know of names.
 *
 *     veer_symbols_t s = veer_symbols_make(&scratch);
 *     size_t mark = veer_symbols_mark(&s);              // enter a region
 *     VEER_TRY(veer_symbols_put(&s, "x", 1, value.i));
 *     veer_symbols_find(&s, "x", 1);                    // 0 where there is none
 *     veer_symbols_reset(&s, mark);                     // leave it: its names are gone
 */
#ifndef VEER_IR_SYMBOLS_H
#define VEER_IR_SYMBOLS_H

#include "ir/base/arena.h"
#include "ir/base/status.h"

typedef struct veer_symbol_s {
    const char *name; /* borrowed */
    size_t length;
    uint32_t id, hash;
} veer_symbol_t;

typedef struct veer_symbols_s {
    veer_arena_t *arena;
    veer_symbol_t *list; /* in order of definition */
    uint32_t *slots;     /* open addressing: index into list plus 1, 0 where free */
    size_t count, capacity, slot_count;
} veer_symbols_t;

static inline veer_symbols_t veer_symbols_make(veer_arena_t *arena) {
    return (veer_symbols_t){.arena = arena};
}
uint32_t veer_symbols_find(const veer_symbols_t *s, const char *name, size_t length);
/* `id` > 0; the name must not be there already, and its characters must outlive the table. */
VEER_MUST_USE veer_status_t veer_symbols_put(veer_symbols_t *s, const char *name, size_t length, uint32_t id);
static inline size_t veer_symbols_mark(const veer_symbols_t *s) {
    return s->count;
}
void veer_symbols_reset(veer_symbols_t *s, size_t mark);

#endif
