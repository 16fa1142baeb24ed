/* The memory plan against a brute-force check: random lifetimes, nothing that lives at the same time overlaps. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "passes/memory_plan.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/random.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 200 };

static void ok(veer_status_t status) {
    if (status) fail_msg("%s", veer_status_message(status, 0));
}

static bool alive_together(const veer_lifetime_t *a, const veer_lifetime_t *b) {
    if (a->strand && b->strand && a->strand != b->strand) return true;
    return a->first <= b->last && b->first <= a->last;
}

/* The most bytes alive at one position, in both strands: no plan can need less. */
static size_t lower_bound(const veer_lifetime_t *items, int count) {
    size_t most[3] = {0};
    for (int i = 0; i < count; i++) {
        size_t sum = 0;
        for (int k = 0; k < count; k++)
            if (items[k].first <= items[i].first && items[i].first <= items[k].last &&
                items[k].strand == items[i].strand)
                sum += (items[k].size_bytes + 63) & ~(size_t)63;
        if (sum > most[items[i].strand]) most[items[i].strand] = sum;
    }
    return most[0] + most[1] + most[2];
}

static void check(const veer_lifetime_t *items, int count) {
    size_t at[MOST], again[MOST], total, total_again;
    ok(veer_memory_plan(items, count, veer_allocator_system(), at, &total));
    for (int i = 0; i < count; i++) {
        assert_int_equal(at[i] % 64, 0);
        assert_true(at[i] + items[i].size_bytes <= total);
        for (int k = 0; k < i; k++)
            if (alive_together(&items[i], &items[k]) && at[i] < at[k] + items[k].size_bytes &&
                at[k] < at[i] + items[i].size_bytes)
                fail_msg("items %d and %d overlap", i, k);
    }
    size_t least = lower_bound(items, count);
    if (total < least || total > 2 * least + 64) fail_msg("%zu bytes, at least %zu are needed", total, least);
    ok(veer_memory_plan(items, count, veer_allocator_system(), again, &total_again));
    assert_int_equal(total, total_again);
    assert_memory_equal(at, again, (size_t)count * sizeof *at);
}

static void nothing_alive_together_overlaps(void **state) {
    (void)state;
    random_t r = {7};
    for (int round = 0; round < 300; round++) {
        veer_lifetime_t items[MOST];
        int count = random_below(&r, MOST), longest = 1 + random_below(&r, 60);
        for (int i = 0; i < count; i++) {
            items[i].size_bytes = (size_t)random_below(&r, random_below(&r, 2) ? 100 : 5000);
            items[i].first = random_below(&r, 100);
            items[i].last = items[i].first + random_below(&r, longest);
            items[i].strand = 0;
        }
        check(items, count);
    }
}

/* Strands one behind the other, as they are listed, and what lives through both. */
static void strands_share_nothing(void **state) {
    (void)state;
    random_t r = {11};
    for (int round = 0; round < 300; round++) {
        veer_lifetime_t items[MOST];
        int count = random_below(&r, MOST);
        for (int i = 0; i < count; i++) {
            int strand = random_below(&r, 3), begin = strand == 2 ? 50 : 0, first = begin + random_below(&r, 50);
            int last = first + random_below(&r, begin + 50 - first);
            items[i] = (veer_lifetime_t){(size_t)random_below(&r, 5000), first, last, strand};
            if (!strand) items[i].first = 0, items[i].last = 99;
        }
        check(items, count);
    }
}

static void one_place_serves_all_that_follow_each_other(void **state) {
    (void)state;
    veer_lifetime_t items[4] = {{128, 0, 1, 0}, {128, 2, 3, 0}, {64, 4, 4, 0}, {1, 5, 9, 0}};
    size_t at[4], total;
    ok(veer_memory_plan(items, 4, veer_allocator_system(), at, &total));
    assert_int_equal(total, 128);
    for (int i = 0; i < 4; i++) assert_int_equal(at[i], 0);
}

static void what_has_no_size_is_an_error(void **state) {
    (void)state;
    const veer_lifetime_t cases[2][2] = {{{SIZE_MAX - 3, 0, 1, 0}, {64, 2, 3, 0}},
                                         {{SIZE_MAX / 2 + 64, 0, 1, 0}, {SIZE_MAX / 2 + 64, 1, 1, 0}}};
    size_t at[2], total;
    for (int i = 0; i < 2; i++) {
        veer_status_t status = veer_memory_plan(cases[i], 2, veer_allocator_system(), at, &total);
        assert_int_equal(veer_status_code(status), VEER_ERR_RESOURCE);
        veer_status_free(status);
    }
}

static void failed_allocations_leak_nothing(void **state) {
    (void)state;
    veer_lifetime_t items[2] = {{1, 0, 1, 0}, {64, 1, 3, 0}};
    size_t at[2], total;
    for (long n = 0;; n++) {
        failing_allocator_t f = {.fail_at = n, .once = true};
        veer_status_t status = veer_memory_plan(items, 2, failing_allocator(&f), at, &total);
        assert_int_equal(f.live, 0);
        assert_int_equal(status != NULL, f.failed);
        veer_status_free(status);
        if (!f.failed) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_alive_together_overlaps),
        cmocka_unit_test(strands_share_nothing),
        cmocka_unit_test(one_place_serves_all_that_follow_each_other),
        cmocka_unit_test(what_has_no_size_is_an_error),
        cmocka_unit_test(failed_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
