/* Sharing a call's items out: every item is done exactly once, whoever comes first and however late the others are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include "runtime/share.h"

#include <omp.h>
#include <sched.h>
#include <string.h>

enum { MOST_ITEMS = 3000, MOST_TEAM = 8 };

static veer_board_word_t parts[VEER_BOARD_TURNS * MOST_TEAM];
static veer_board_t board;

/* What thread `me` gets when it is alone in this turn. */
static int64_t take_all(const veer_share_t *s, int me, unsigned char *done) {
    int64_t sum = 0;
    for (veer_range_t r = {0}; veer_board_take(&board, s, me, &r);) {
        assert_false(veer_board_is_done(&board, s->turn));
        assert_true(r.begin < r.end && r.end <= s->items);
        for (int64_t i = r.begin; done && i < r.end; i++) assert_int_equal(done[i]++, 0);
        sum += r.end - r.begin;
        assert_int_equal(veer_board_finish(&board, s, &r), sum == s->items);
    }
    return sum;
}

static void test_parts_are_even_and_whole(void **state) {
    (void)state;
    static const int64_t ITEMS[] = {1, 2, 7, 8, 1000, (int64_t)1 << 40, INT64_MAX};
    for (size_t i = 0; i < sizeof ITEMS / sizeof *ITEMS; i++)
        for (int team = 1; team <= MOST_TEAM; team++) {
            assert_int_equal(veer_share_first(ITEMS[i], 0, team), 0);
            assert_true(veer_share_first(ITEMS[i], team, team) == ITEMS[i]);
            for (int me = 0; me < team; me++) {
                int64_t count = veer_share_first(ITEMS[i], me + 1, team) - veer_share_first(ITEMS[i], me, team);
                assert_true(count == ITEMS[i] / team || count == ITEMS[i] / team + 1);
            }
        }
}

static void test_whoever_is_alone_does_everything(void **state) {
    (void)state;
    static unsigned char done[MOST_ITEMS];
    for (int team = 1; team <= MOST_TEAM; team++) {
        veer_board_init(&board, team, parts);
        uint64_t turn = 0;
        for (int me = 0; me < team; me++)
            for (int64_t items = 1; items <= 40; items++)
                for (int64_t least = 1; least < 50; least += 7) {
                    memset(done, 0, sizeof done);
                    turn++;
                    veer_share_t s = {turn, items, least, 0, team};
                    if (turn % 3 == 0) s.first = (int)(turn / 3 % (uint64_t)team), s.owners = 1;
                    if (turn % 3 == 1) s.first = team / 2, s.owners = team - team / 2;
                    assert_int_equal(take_all(&s, me, done), items);
                    assert_true(veer_board_is_done(&board, turn));
                    assert_false(veer_board_is_done(&board, turn + 1));
                }
    }
}

/* The owner's ranges follow each other, from the beginning of its part, and the last is said to be the last. */
static void test_an_owner_goes_forward(void **state) {
    (void)state;
    veer_board_init(&board, 2, parts);
    veer_share_t s = {1, 64, 4, 0, 2};
    static const veer_range_t WANTED[] = {{32, 48, false, false},
                                          {48, 56, true, false},
                                          {56, 60, true, false},
                                          {60, 64, true, true},
                                          {16, 32, false, true}};
    veer_range_t r = {0};
    for (size_t i = 0; i < sizeof WANTED / sizeof *WANTED; i++) {
        assert_true(veer_board_take(&board, &s, 1, &r));
        assert_int_equal(r.begin, WANTED[i].begin);
        assert_int_equal(r.end, WANTED[i].end);
        assert_int_equal(r.continues, WANTED[i].continues);
        assert_int_equal(r.is_last, WANTED[i].is_last);
    }
    veer_range_t first = {0};
    assert_true(veer_board_take(&board, &s, 0, &first));
    assert_int_equal(first.begin, 0);
    assert_false(first.continues);
}

/* Who has no part takes what the owners have left, from behind; the owners' parts are those of a team of their own. */
static void test_others_help(void **state) {
    (void)state;
    veer_board_init(&board, 4, parts);
    veer_share_t s = {1, 64, 1, 1, 2};
    veer_range_t r = {0};
    assert_true(veer_board_take(&board, &s, 3, &r));
    assert_int_equal(r.begin, 16); /* of thread 1, who has [0, 32) */
    assert_int_equal(r.end, 32);
    r = (veer_range_t){0};
    assert_true(veer_board_take(&board, &s, 2, &r));
    assert_int_equal(r.begin, 32);
    assert_int_equal(r.end, 48);
    r = (veer_range_t){0};
    assert_true(veer_board_take(&board, &s, 1, &r));
    assert_int_equal(r.begin, 0);
    assert_int_equal(r.end, 8);
}

/* A thread that comes late, by a turn or by many, finds its part gone; turns wrap around. */
static void test_turns_do_not_mix(void **state) {
    (void)state;
    enum { TURNS = 5 << 20 };
    uint64_t late = 1;
    veer_board_init(&board, 2, parts);
    for (uint64_t turn = 1; turn < TURNS; turn++) {
        veer_share_t s = {turn, 5, 1, 0, turn % 4 ? 2 : 1};
        assert_int_equal(take_all(&s, 0, NULL), 5);
        for (; turn % (VEER_BOARD_APART - 1) == 0 && late < turn; late++) {
            veer_share_t old = {late, 5, 1, 0, late % 4 ? 2 : 1};
            assert_int_equal(take_all(&old, 1, NULL), 0);
            assert_true(veer_board_is_done(&board, late));
        }
    }
}

static void test_more_items_than_a_word_counts(void **state) {
    (void)state;
    static const int64_t ITEMS[] = {
        ((int64_t)1 << 22) - 3, ((int64_t)1 << 22) - 2, ((int64_t)1 << 22) - 1, (int64_t)1 << 22,
        3 * ((int64_t)1 << 22), (int64_t)1 << 40,       ((int64_t)1 << 53) + 1, INT64_MAX};
    veer_board_init(&board, 2, parts);
    for (size_t i = 0; i < sizeof ITEMS / sizeof *ITEMS; i++) {
        veer_share_t s = {i + 1, ITEMS[i], 1, 0, 2};
        assert_true(take_all(&s, 1, NULL) == ITEMS[i]);
        assert_true(take_all(&s, 0, NULL) == 0);
        assert_true(veer_board_is_done(&board, s.turn));
    }
}

/* Each thread goes on as soon as the turn before the last is done. */
static void test_threads_at_once(void **state) {
    (void)state;
    enum { TURNS = 500, APART = 2 };
    static _Atomic unsigned char done[TURNS + 1][MOST_ITEMS];
    for (int team = 2; team <= MOST_TEAM; team *= 2) {
        int wrong = 0;
        veer_board_init(&board, team, parts);
#pragma omp parallel num_threads(team)
        for (uint64_t turn = 1; turn <= TURNS; turn++) {
            veer_share_t s = {turn, (int64_t)(turn * 37 % MOST_ITEMS) + 1, 1, 0, turn % 5 ? team : 1};
            if (turn % 5 == 2) s.first = 1, s.owners = team / 2;
            while (turn > APART && !veer_board_is_done(&board, turn - APART)) sched_yield();
            for (veer_range_t r = {0}; veer_board_take(&board, &s, omp_get_thread_num(), &r);) {
                for (int64_t i = r.begin; i < r.end; i++) atomic_fetch_add(&done[turn][i], 1);
                veer_board_finish(&board, &s, &r);
            }
        }
        for (int turn = 1; turn <= TURNS; turn++)
            for (int i = 0; i < MOST_ITEMS; i++)
                wrong += atomic_exchange(&done[turn][i], 0) != (i < turn * 37 % MOST_ITEMS + 1);
        assert_int_equal(wrong, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_even_and_whole), cmocka_unit_test(test_whoever_is_alone_does_everything),
        cmocka_unit_test(test_an_owner_goes_forward),    cmocka_unit_test(test_others_help),
        cmocka_unit_test(test_turns_do_not_mix),         cmocka_unit_test(test_more_items_than_a_word_counts),
        cmocka_unit_test(test_threads_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
