/*  1. A word names its turn. One of an older turn than is asked for has not been touched in this one: the part is
 * whole, nothing is done. One of a newer turn says that this one was done long ago.
 *  2. Turns may wrap around: an owner writes its part in every turn, and no thread is VEER_BOARD_APART turns behind.
 *  3. Owners take from the front, a half of what is left at a time, others from the back: the rest is what can go over
 * to others when a thread is held up. */
#include "runtime/share.h"

enum { UNIT_BITS = 22, TURN_BITS = 20 };
static const uint64_t UNITS = (uint64_t)1 << UNIT_BITS, TURNS = (uint64_t)1 << TURN_BITS;

void veer_board_init(veer_board_t *board, int team, veer_board_word_t *parts) {
    board->team = team, board->parts = parts;
    for (int i = 0; i < VEER_BOARD_TURNS; i++) atomic_init(&board->done[i].word, 0);
    for (int i = 0; i < VEER_BOARD_TURNS * team; i++) atomic_init(&parts[i].word, 0);
}

int64_t veer_share_first(int64_t items, int me, int team) {
    return items / team * me + items % team * me / team;
}

/* Items are counted in units, so that their number fits; one more than fits tells that all are done. */
static int64_t unit_of(int64_t items) {
    return items / ((int64_t)UNITS - 2) + 1;
}
static int64_t in_units(int64_t items, int64_t unit) {
    return items / unit + (items % unit > 0);
}

/* How far the word's turn is ahead of this one; negative: behind. */
static int64_t ahead(uint64_t word, uint64_t turn) {
    uint64_t distance = ((word >> 2 * UNIT_BITS) - turn) & (TURNS - 1);
    return distance < TURNS / 2 ? (int64_t)distance : (int64_t)distance - (int64_t)TURNS;
}

/* ---- parts ---- */
typedef struct left_s {
    int64_t begin, end;
} left_t;

static uint64_t pack(uint64_t turn, left_t l) {
    return turn % TURNS << 2 * UNIT_BITS | (uint64_t)l.begin << UNIT_BITS | (uint64_t)l.end;
}

static left_t left_of(const veer_share_t *s, int64_t units, int owner, uint64_t word) {
    int64_t distance = ahead(word, s->turn);
    if (distance > 0) return (left_t){0, 0};
    if (!distance) return (left_t){(int64_t)(word >> UNIT_BITS & (UNITS - 1)), (int64_t)(word & (UNITS - 1))};
    int i = owner - s->first;
    if (i < 0 || i >= s->owners) return (left_t){0, 0};
    return (left_t){veer_share_first(units, i, s->owners), veer_share_first(units, i + 1, s->owners)};
}

/* Half of what is left, but `least` at least. */
static int64_t piece(left_t l, int64_t least) {
    int64_t all = l.end - l.begin, half = (all + 1) / 2;
    return half > least ? half : all > least ? least : all;
}

/* A piece of `owner`'s part; `rest` is what is left behind. */
static bool take_from(veer_board_t *b, const veer_share_t *s, int64_t unit, int owner, bool is_mine, left_t *out,
                      left_t *rest) {
    _Atomic uint64_t *left = &b->parts[owner * VEER_BOARD_TURNS + (int)(s->turn % VEER_BOARD_TURNS)].word;
    uint64_t word = atomic_load_explicit(left, memory_order_relaxed);
    for (;;) {
        left_t l = left_of(s, in_units(s->items, unit), owner, word);
        int64_t count = piece(l, in_units(s->least, unit));
        if (!count && (!is_mine || ahead(word, s->turn) > 0)) return false;
        *rest = is_mine ? (left_t){l.begin + count, l.end} : (left_t){l.begin, l.end - count};
        *out = is_mine ? (left_t){l.begin, rest->begin} : (left_t){rest->end, l.end};
        if (atomic_compare_exchange_weak_explicit(left, &word, pack(s->turn, *rest), memory_order_relaxed,
                                                  memory_order_relaxed))
            return count > 0;
    }
}

bool veer_board_take(veer_board_t *b, const veer_share_t *s, int me, veer_range_t *range) {
    int64_t unit = unit_of(s->items);
    left_t got, rest;
    for (int i = 0; i < b->team; i++) {
        if (!take_from(b, s, unit, (me + i) % b->team, i == 0, &got, &rest)) continue;
        int64_t begin = got.begin * unit, end = s->items - begin;
        end = end / unit < got.end - got.begin ? s->items : got.end * unit;
        *range = (veer_range_t){begin, end, begin > 0 && begin == range->end, i > 0 || rest.begin == rest.end};
        return true;
    }
    return false;
}

/* ---- what is done ---- */

bool veer_board_finish(veer_board_t *b, const veer_share_t *s, const veer_range_t *range) {
    int64_t unit = unit_of(s->items), units = in_units(s->items, unit);
    _Atomic uint64_t *done = &b->done[s->turn % VEER_BOARD_TURNS].word;
    uint64_t word = atomic_load_explicit(done, memory_order_relaxed), next;
    int64_t sum;
    do {
        sum = in_units(range->end - range->begin, unit);
        if (!ahead(word, s->turn)) sum += (int64_t)(word & (UNITS - 1));
        next = pack(s->turn, (left_t){0, sum < units ? sum : (int64_t)UNITS - 1});
    } while (!atomic_compare_exchange_weak(done, &word, next));
    return sum == units;
}

bool veer_board_is_done(const veer_board_t *b, uint64_t turn) {
    uint64_t word = atomic_load(&b->done[turn % VEER_BOARD_TURNS].word);
    int64_t distance = ahead(word, turn);
    return distance > 0 || (!distance && (word & (UNITS - 1)) == UNITS - 1);
}
