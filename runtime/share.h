/* The items of one call after another, shared out over a team. Every thread begins with a part of its own, the same in
 * every run, so that it finds in its caches what it left there; who is done takes from the end of what others have
 * left. On a machine with neighbours one core or the other is slow for a moment, and nobody knows which.
 *
 *     veer_part_t parts[team];                                   veer_part_init each
 *     ... each thread, with the same turns in the same order:
 *     for (veer_range_t r = {0}; veer_share_take(&share, me, &r);) do [r.begin, r.end)
 *     ... all meet before the next turn
 */
#ifndef VEER_RUNTIME_SHARE_H
#define VEER_RUNTIME_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What is left of a thread's part: turn, first unit, end, in one word, in a line of its own. */
typedef struct veer_part_s {
    _Alignas(64) _Atomic uint64_t left;
} veer_part_t;

typedef struct veer_range_s {
    int64_t begin, end;
    bool continues; /* begins where the last one of this thread and turn ended */
    bool is_last;   /* nothing of the thread's own part is left behind it */
} veer_range_t;

void veer_part_init(veer_part_t *part);

/* Where the part of thread `me` of `team` begins; that of `me + 1` is its end. */
int64_t veer_share_first(int64_t items, int me, int team);

/* A call as its items are shared out. `turn` counts such calls, from 1. `least` items, 1 or more, are worth asking for.
 */
typedef struct veer_share_s {
    veer_part_t *parts; /* one per thread */
    int team;
    uint64_t turn;
    int64_t items, least;
} veer_share_t;

/* The next items for thread `me` to do; false where none are left. `range` is what it did last in this turn, zeros at
 * first. */
bool veer_share_take(const veer_share_t *share, int me, veer_range_t *range);

#endif
