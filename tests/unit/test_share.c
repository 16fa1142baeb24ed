/* Sharing a call's items out: every item is done exactly once, whoever comes first and however late the others are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include "runtime/share.h"

#include <omp.h>
#include <string.h>

enum { MOST_ITEMS = 3000, MOST_TEAM = 8 };

static void init(veer_part_t *parts, int team) {
    for (int i = 0; i < team; i++) veer_part_init(&parts[i]);
}

/* What thread `me` gets when it is alone in this turn. */
static int64_t take_all(const veer_share_t *s, int me, unsigned char *done) {
    int64_t sum = 0;
    for (veer_range_t r = {0}; veer_share_take(s, me, &r);) {
        assert_true(r.begin < r.end && r.end <= s->items);
        for (int64_t i = r.begin; done && i < r.end; i++) assert_int_equal(done[i]++, 0);
        sum += r.end - r.begin;
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
    static veer_part_t parts[MOST_TEAM];
    static unsigned char done[MOST_ITEMS];
    init(parts, MOST_TEAM);
    uint64_t turn = 0;
    for (int team = 1; team <= MOST_TEAM; team++)
        for (int me = 0; me < team; me++)
            for (int64_t items = 1; items <= 40; items++)
                for (int64_t least = 1; least < 50; least += 7) {
                    memset(done, 0, sizeof done);
                    veer_share_t s = {parts, team, ++turn, items, least};
                    assert_int_equal(take_all(&s, me, done), items);
                }
}

/* The owner's ranges follow each other, from the beginning of its part, and the last is said to be the last. */
static void test_an_owner_goes_forward(void **state) {
    (void)state;
    static veer_part_t parts[2];
    init(parts, 2);
    veer_share_t s = {parts, 2, 1, 64, 4};
    static const veer_range_t WANTED[] = {{32, 48, false, false},
                                          {48, 56, true, false},
                                          {56, 60, true, false},
                                          {60, 64, true, true},
                                          {16, 32, false, true}};
    veer_range_t r = {0};
    for (size_t i = 0; i < sizeof WANTED / sizeof *WANTED; i++) {
        assert_true(veer_share_take(&s, 1, &r));
        assert_int_equal(r.begin, WANTED[i].begin);
        assert_int_equal(r.end, WANTED[i].end);
        assert_int_equal(r.continues, WANTED[i].continues);
        assert_int_equal(r.is_last, WANTED[i].is_last);
    }
    veer_range_t first = {0};
    assert_true(veer_share_take(&s, 0, &first));
    assert_int_equal(first.begin, 0);
    assert_false(first.continues);
}

/* A thread that comes late finds its part of this turn gone, not that of an earlier one. */
static void test_turns_do_not_mix(void **state) {
    (void)state;
    static veer_part_t parts[3];
    init(parts, 3);
    for (uint64_t turn = 1; turn < 3u << 20; turn++) {
        veer_share_t s = {parts, 3, turn, 5, 1};
        int64_t sum = 0;
        for (int i = 0; i < 3; i++) sum += take_all(&s, (int)((turn + (uint64_t)i) % 3), NULL);
        assert_int_equal(sum, 5);
    }
}

static void test_more_items_than_a_word_counts(void **state) {
    (void)state;
    static const int64_t ITEMS[] = {((int64_t)1 << 22) - 1, (int64_t)1 << 22, 3 * ((int64_t)1 << 22) - 1,
                                    (int64_t)1 << 40, ((int64_t)1 << 53) + 1};
    static veer_part_t parts[2];
    init(parts, 2);
    for (size_t i = 0; i < sizeof ITEMS / sizeof *ITEMS; i++) {
        veer_share_t s = {parts, 2, i + 1, ITEMS[i], 1};
        assert_true(take_all(&s, 1, NULL) == ITEMS[i]);
        assert_true(take_all(&s, 0, NULL) == 0);
    }
}

static void test_threads_at_once(void **state) {
    (void)state;
    static veer_part_t parts[MOST_TEAM];
    static _Atomic unsigned char done[MOST_ITEMS];
    enum { TURNS = 400 };
    for (int team = 2; team <= MOST_TEAM; team *= 2) {
        init(parts, team);
        bool once = true;
#pragma omp parallel num_threads(team)
        for (uint64_t turn = 1; turn <= TURNS; turn++) {
            int me = omp_get_thread_num();
            veer_share_t s = {parts, omp_get_num_threads(), turn, (int64_t)(turn * 37 % MOST_ITEMS) + 1, 1};
            for (veer_range_t r = {0}; veer_share_take(&s, me, &r);)
                for (int64_t i = r.begin; i < r.end; i++) atomic_fetch_add(&done[i], 1);
#pragma omp barrier
#pragma omp master
            for (int64_t i = 0; i < MOST_ITEMS; i++) once &= atomic_exchange(&done[i], 0) == (i < s.items);
#pragma omp barrier
        }
        assert_true(once);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_even_and_whole),      cmocka_unit_test(test_whoever_is_alone_does_everything),
        cmocka_unit_test(test_an_owner_goes_forward),         cmocka_unit_test(test_turns_do_not_mix),
        cmocka_unit_test(test_more_items_than_a_word_counts), cmocka_unit_test(test_threads_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
