#include "ir/symbols.h"

#include <string.h>

static uint32_t hash_name(const char *name, size_t length) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h;
}

/* The slot that holds the name, or the free one where it belongs. */
static size_t find_slot(const veer_symbols_t *s, const char *name, size_t length, uint32_t hash) {
    size_t at = hash & (s->slot_count - 1);
    for (; s->slots[at]; at = (at + 1) & (s->slot_count - 1)) {
        const veer_symbol_t *e = &s->list[s->slots[at] - 1];
        if (e->hash == hash && e->length == length && !memcmp(e->name, name, length)) break;
    }
    return at;
}

uint32_t veer_symbols_find(const veer_symbols_t *s, const char *name, size_t length) {
    if (!s->slot_count) return 0;
    uint32_t index = s->slots[find_slot(s, name, length, hash_name(name, length))];
    return index ? s->list[index - 1].id : 0;
}

static void insert_slot(veer_symbols_t *s, size_t index) {
    const veer_symbol_t *e = &s->list[index];
    s->slots[find_slot(s, e->name, e->length, e->hash)] = (uint32_t)index + 1;
}

/* The old arrays stay behind in the arena; they double, so they are less than the new ones. */
static veer_status_t grow(veer_symbols_t *s) {
    size_t capacity = s->capacity ? s->capacity * 2 : 32;
    veer_symbol_t *list = veer_arena_array(s->arena, capacity, sizeof *list);
    uint32_t *slots = veer_arena_array(s->arena, capacity * 2, sizeof *slots);
    if (!list || !slots) return veer_out_of_memory();
    if (s->count) memcpy(list, s->list, s->count * sizeof *list);
    s->list = list;
    s->slots = slots;
    s->capacity = capacity;
    s->slot_count = capacity * 2;
    for (size_t i = 0; i < s->count; i++) insert_slot(s, i);
    return veer_ok();
}

veer_status_t veer_symbols_put(veer_symbols_t *s, const char *name, size_t length, uint32_t id) {
    if (s->count == s->capacity) VEER_TRY(grow(s));
    s->list[s->count] = (veer_symbol_t){name, length, id, hash_name(name, length)};
    insert_slot(s, s->count++);
    return veer_ok();
}

/* Names leave in the reverse order of their coming, so nothing that stays was placed past a slot that is freed here. */
void veer_symbols_reset(veer_symbols_t *s, size_t mark) {
    while (s->count > mark) {
        const veer_symbol_t *e = &s->list[s->count - 1];
        s->slots[find_slot(s, e->name, e->length, e->hash)] = 0;
        s->count--;
    }
}
