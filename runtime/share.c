/*  1. A part whose turn is another than the present one is whole: whoever comes first, its owner or another, takes from
 *     all of it.
 *  2. An owner writes its part in every turn, so no part is older than one turn and turns may wrap around.
 *  3. Owners take from the front, a half of what is left at a time, others from the back: the rest is what can go over
 * to others when a thread is held up. */
#include "runtime/share.h"

enum { UNIT_BITS = 22, TURN_BITS = 20 };
static const uint64_t UNITS = (uint64_t)1 << UNIT_BITS, TURNS = (uint64_t)1 << TURN_BITS;

void veer_part_init(veer_part_t *part) {
    atomic_init(&part->left, 0);
}

int64_t veer_share_first(int64_t items, int me, int team) {
    return items / team * me + items % team * me / team;
}

/* Items are counted in units, so that their number fits. */
static int64_t unit_of(int64_t items) {
    return items / ((int64_t)UNITS - 1) + 1;
}

typedef struct left_s {
    int64_t begin, end;
} left_t;

static uint64_t pack(uint64_t turn, left_t l) {
    return turn % TURNS << 2 * UNIT_BITS | (uint64_t)l.begin << UNIT_BITS | (uint64_t)l.end;
}

static left_t left_of(const veer_share_t *s, int64_t units, int owner, uint64_t word) {
    if (word >> 2 * UNIT_BITS == s->turn % TURNS)
        return (left_t){(int64_t)(word >> UNIT_BITS & (UNITS - 1)), (int64_t)(word & (UNITS - 1))};
    return (left_t){veer_share_first(units, owner, s->team), veer_share_first(units, owner + 1, s->team)};
}

/* Half of what is left, but `least` at least. */
static int64_t piece(left_t l, int64_t least) {
    int64_t all = l.end - l.begin, half = (all + 1) / 2;
    return half > least ? half : all > least ? least : all;
}

/* A piece of `owner`'s part; `rest` is what is left behind. */
static bool take_from(const veer_share_t *s, int64_t units, int64_t least, int owner, bool is_mine, left_t *out,
                      left_t *rest) {
    _Atomic uint64_t *left = &s->parts[owner].left;
    uint64_t word = atomic_load_explicit(left, memory_order_relaxed);
    for (;;) {
        left_t l = left_of(s, units, owner, word);
        int64_t count = piece(l, least);
        if (!count && !is_mine) return false;
        *rest = is_mine ? (left_t){l.begin + count, l.end} : (left_t){l.begin, l.end - count};
        *out = is_mine ? (left_t){l.begin, rest->begin} : (left_t){rest->end, l.end};
        if (atomic_compare_exchange_weak_explicit(left, &word, pack(s->turn, *rest), memory_order_relaxed,
                                                  memory_order_relaxed))
            return count > 0;
    }
}

bool veer_share_take(const veer_share_t *s, int me, veer_range_t *range) {
    int64_t unit = unit_of(s->items), units = (s->items + unit - 1) / unit, least = (s->least + unit - 1) / unit;
    left_t got, rest;
    for (int i = 0; i < s->team; i++) {
        if (!take_from(s, units, least, (me + i) % s->team, i == 0, &got, &rest)) continue;
        int64_t begin = got.begin * unit, end = got.end * unit < s->items ? got.end * unit : s->items;
        *range = (veer_range_t){begin, end, begin > 0 && begin == range->end, i > 0 || rest.begin == rest.end};
        return true;
    }
    return false;
}
