/* The items of one call after another, shared out over a team. Every thread begins with a part of its own, the same in
 * every run, so that it finds in its caches what it left there; who is done takes from the end of what others have
 * left. On a machine with neighbours one core or the other is slow for a moment, and nobody knows which.
 *
 * Threads need not meet between calls: a few turns may be under way at once, and each tells when all of it is done.
 *
 *     ... each thread, with the same turns in the same order, once those it needs are done:
 *     veer_share_t share = {turn, items, least, 0, team};
 *     for (veer_range_t r = {0}; veer_board_take(board, &share, me, &r);) {
 *         ... [r.begin, r.end)
 *         veer_board_finish(board, &share, &r);
 *     }
 */
#ifndef VEER_RUNTIME_SHARE_H
#define VEER_RUNTIME_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    VEER_BOARD_TURNS = 8,       /* turn t may begin once turn t - 8 is done */
    VEER_BOARD_APART = 1 << 18, /* so many turns a thread may fall behind the others, at most */
};

/* A thread's part of a turn, or how much of a turn is done; in a line of its own. */
typedef struct veer_board_word_s {
    _Alignas(64) _Atomic uint64_t word;
} veer_board_word_t;

typedef struct veer_board_s {
    veer_board_word_t done[VEER_BOARD_TURNS];
    veer_board_word_t *parts; /* TURNS per thread, borrowed */
    int team;
} veer_board_t;

void veer_board_init(veer_board_t *board, int team, veer_board_word_t *parts);

/* A call. `turn` counts calls, from 1. `least` items, 1 or more, are worth asking for. Threads first to first +
 * owners - 1 have a part each; others have none, and help. */
typedef struct veer_share_s {
    uint64_t turn;
    int64_t items, least;
    int first, owners;
} veer_share_t;

typedef struct veer_range_s {
    int64_t begin, end;
    bool continues; /* begins where the last one of this thread and turn ended */
    bool is_last;   /* nothing of the thread's own part is left behind it */
} veer_range_t;

/* Where the part of thread `me` of `team` begins; that of `me + 1` is its end. */
int64_t veer_share_first(int64_t items, int me, int team);

/* The next items for thread `me` to do; false where none are left. `range` is what it did last in this turn, zeros at
 * first. */
bool veer_board_take(veer_board_t *board, const veer_share_t *share, int me, veer_range_t *range);
/* The items of `range` are done. True where the whole turn is. */
bool veer_board_finish(veer_board_t *board, const veer_share_t *share, const veer_range_t *range);
/* What was written in that turn is seen by whom it is told that it is done. */
bool veer_board_is_done(const veer_board_t *board, uint64_t turn);

#endif
