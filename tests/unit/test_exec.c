/* Running plans that are written by hand: any number of threads gives the same numbers, loops, failures, interruption.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include "runtime/plan.h"
#include "runtime/team.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { COUNT = 61, ITEMS = 13, TRIP = 200 };

static void ok(veer_status_t status) {
    if (status) fail_msg("%s", veer_status_message(status, 0));
}

/* ---- kernels: buffers are arrays of COUNT numbers ---- */

static void range_of(const veer_kernel_args_t *args, int64_t *out_from, int64_t *out_to) {
    *out_from = COUNT * args->begin / ITEMS, *out_to = COUNT * args->end / ITEMS;
}

/* Each element from its neighbours, which other threads may have written. */
static int mix(const veer_kernel_args_t *args) {
    const uint64_t *x = args->buf[0];
    uint64_t *y = args->buf[1];
    int64_t from, to;
    range_of(args, &from, &to);
    for (int64_t i = from; i < to; i++)
        y[i] = 6364136223846793005u * (x[(i + COUNT - 1) % COUNT] ^ (x[(i + 1) % COUNT] >> 7)) + (uint64_t)i;
    return VEER_KERNEL_OK;
}

/* So late that other threads have come to their calls meanwhile. */
static int mix_late(const veer_kernel_args_t *args) {
    for (int i = 0; i < 50; i++) sched_yield();
    return mix(args);
}

/* One item: y[0] from all of x, the rest as it is. */
static int fold(const veer_kernel_args_t *args) {
    const uint64_t *x = args->buf[0];
    uint64_t *y = args->buf[1], sum = 0;
    memcpy(y, x, COUNT * sizeof *x);
    for (int i = 0; i < COUNT; i++) sum = sum * 31 + x[i];
    y[0] = sum;
    return VEER_KERNEL_OK;
}

static int add_index(const veer_kernel_args_t *args) {
    const uint64_t *x = args->buf[0];
    const int64_t *index = args->buf[1];
    uint64_t *y = args->buf[2];
    int64_t from, to;
    range_of(args, &from, &to);
    for (int64_t i = from; i < to; i++) y[i] = x[i] + (uint64_t)*index;
    return VEER_KERNEL_OK;
}

static int sum(const veer_kernel_args_t *args) {
    const uint64_t *a = args->buf[0], *b = args->buf[1];
    uint64_t *y = args->buf[2];
    int64_t from, to;
    range_of(args, &from, &to);
    for (int64_t i = from; i < to; i++) y[i] = a[i] + 3 * b[i];
    return VEER_KERNEL_OK;
}

/* Fails at the item that params names. */
static int fail_at(const veer_kernel_args_t *args) {
    int64_t at = *(const int64_t *)args->params;
    return args->begin <= at && at < args->end ? VEER_KERNEL_INDEX : VEER_KERNEL_OK;
}

static int count_calls(const veer_kernel_args_t *args) {
    ++*(int64_t *)args->buf[0];
    return VEER_KERNEL_OK;
}

/* ---- plans ---- */

static veer_buf_t in_arena(int slot) {
    return (veer_buf_t){.kind = VEER_BUF_ARENA, .at = (int64_t)slot * 1024};
}

static void add(veer_plan_t *plan, const char *name, veer_kernel_fn fn, int64_t items, const veer_buf_t *bufs,
                int count, const void *params) {
    ok(veer_plan_add_call(plan, &(veer_call_desc_t){.name = name,
                                                    .backend = "test",
                                                    .fn = fn,
                                                    .params = params,
                                                    .bufs = bufs,
                                                    .buf_count = count,
                                                    .work_items = items}));
}

static veer_plan_t *new_plan(void) {
    veer_plan_t *plan;
    veer_type_t type = VEER_TYPE(VEER_DTYPE_I64, COUNT);
    ok(veer_plan_create(veer_allocator_system(), &plan));
    ok(veer_plan_add_input(plan, "x", type));
    ok(veer_plan_add_output(plan, "y", type));
    veer_plan_set_arena_bytes(plan, 4 * 1024);
    return plan;
}

/* x -> a; a loop: a -> b (shared), b -> c (one item), c -> a (shared), a + index -> b, b copied to a; a -> y. */
static veer_plan_t *new_mixing_plan(void) {
    veer_plan_t *plan = new_plan();
    veer_buf_t x = {.kind = VEER_BUF_INPUT}, y = {.kind = VEER_BUF_OUTPUT}, a = in_arena(0), b = in_arena(1),
               c = in_arena(2), index = in_arena(3);
    add(plan, "first", mix, ITEMS, (veer_buf_t[]){x, a}, 2, NULL);
    ok(veer_plan_begin_loop(plan, TRIP, index, true));
    add(plan, "mix", mix, ITEMS, (veer_buf_t[]){a, b}, 2, NULL);
    add(plan, "fold", fold, 1, (veer_buf_t[]){b, c}, 2, NULL);
    add(plan, "fold", fold, 1, (veer_buf_t[]){c, b}, 2, NULL);
    add(plan, "mix", mix, ITEMS, (veer_buf_t[]){b, a}, 2, NULL);
    add(plan, "index", add_index, ITEMS, (veer_buf_t[]){a, index, b}, 3, NULL);
    ok(veer_plan_add_copy(plan, a, b, COUNT * sizeof(uint64_t), VEER_PHASE_STEP));
    ok(veer_plan_end_loop(plan));
    add(plan, "last", mix, ITEMS, (veer_buf_t[]){a, y}, 2, NULL);
    return plan;
}

static void expect_mixing(const uint64_t *x, uint64_t *y, int64_t trip) {
    uint64_t a[COUNT], b[COUNT], c[COUNT];
    mix(&(veer_kernel_args_t){.buf = (void *[]){(void *)x, a}, .end = ITEMS});
    for (int64_t i = 0; i < trip; i++) {
        mix(&(veer_kernel_args_t){.buf = (void *[]){a, b}, .end = ITEMS});
        fold(&(veer_kernel_args_t){.buf = (void *[]){b, c}, .end = 1});
        fold(&(veer_kernel_args_t){.buf = (void *[]){c, b}, .end = 1});
        mix(&(veer_kernel_args_t){.buf = (void *[]){b, a}, .end = ITEMS});
        add_index(&(veer_kernel_args_t){.buf = (void *[]){a, &i, b}, .end = ITEMS});
        memcpy(a, b, sizeof a);
    }
    mix(&(veer_kernel_args_t){.buf = (void *[]){a, y}, .end = ITEMS});
}

static void test_any_threads(void **state) {
    (void)state;
    uint64_t x[COUNT], y[COUNT], want[COUNT];
    for (int i = 0; i < COUNT; i++) x[i] = (uint64_t)i * 0x9e3779b97f4a7c15u;
    veer_plan_t *plan = new_mixing_plan();
    veer_exec_t *exec;
    ok(veer_exec_create(plan, &exec));
    veer_exec_bind_input(exec, 0, x);
    veer_exec_bind_output(exec, 0, y);
    for (int steps = 0; steps <= 7; steps += 7) {
        expect_mixing(x, want, steps ? steps : TRIP);
        for (int i = 0; i < 5; i++) {
            int threads = (int[]){1, 2, 3, 8, 2}[i];
            memset(y, 0, sizeof y);
            ok(veer_exec_run(exec, &(veer_run_options_t){.threads = threads, .steps = steps}));
            assert_memory_equal(y, want, sizeof y);
        }
    }
    double *seconds = veer_alloc_array(veer_allocator_system(), (size_t)veer_plan_call_count(plan), sizeof *seconds);
    assert_non_null(seconds);
    ok(veer_exec_run(exec, &(veer_run_options_t){.threads = 3, .steps = 7, .call_seconds = seconds}));
    assert_memory_equal(y, want, sizeof y);
    veer_free(veer_allocator_system(), seconds);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

/* Kernel 'wrong' tells, whatever fails as well; y[0], where what is before it counts, is one more after each run. The
 * plan is destroyed. */
static void expect_wrong_tells(veer_plan_t *plan) {
    uint64_t x[COUNT] = {0}, y[COUNT] = {0};
    veer_exec_t *exec;
    ok(veer_exec_create(plan, &exec));
    veer_exec_bind_input(exec, 0, x);
    veer_exec_bind_output(exec, 0, y);
    for (int threads = 1; threads <= 8; threads++) {
        veer_status_t status = veer_exec_run(exec, &(veer_run_options_t){.threads = threads});
        assert_int_equal(veer_status_code(status), VEER_ERR_FAILED);
        assert_non_null(strstr(veer_status_message(status, 0), "kernel 'wrong': an index is out of range"));
        veer_status_free(status);
        assert_int_equal(y[0], threads);
    }
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

/* What comes behind a failure is not run, whichever thread it happened on, and the next run is a fresh one. */
static void test_failure(void **state) {
    (void)state;
    static const int64_t first = 0, last = ITEMS - 1;
    for (int i = 0; i < 2; i++) {
        veer_plan_t *plan = new_plan();
        veer_buf_t counter = {.kind = VEER_BUF_OUTPUT};
        ok(veer_plan_begin_loop(plan, 5, in_arena(3), true));
        add(plan, "before", count_calls, 1, &counter, 1, NULL);
        add(plan, "wrong", fail_at, ITEMS, NULL, 0, i ? &last : &first);
        add(plan, "later", fail_at, ITEMS, NULL, 0, i ? &first : &last);
        add(plan, "after", count_calls, 1, &counter, 1, NULL);
        ok(veer_plan_end_loop(plan));
        expect_wrong_tells(plan);
    }
}

static int stop_after(const veer_step_info_t *info, void *user) {
    assert_int_equal(info->steps, TRIP);
    return info->step == *(int *)user;
}

static void test_interruption(void **state) {
    (void)state;
    uint64_t x[COUNT] = {0}, y[COUNT];
    int step = 3;
    veer_plan_t *plan = new_mixing_plan();
    veer_exec_t *exec;
    ok(veer_exec_create(plan, &exec));
    veer_exec_bind_input(exec, 0, x);
    veer_exec_bind_output(exec, 0, y);
    for (int threads = 1; threads <= 3; threads++) {
        veer_status_t status =
            veer_exec_run(exec, &(veer_run_options_t){.threads = threads, .progress = stop_after, .user = &step});
        assert_int_equal(veer_status_code(status), VEER_ERR_INTERRUPTED);
        assert_string_equal(veer_status_message(status, 0), "stopped after step 3 of 200");
        veer_status_free(status);
    }
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

static void test_unbound(void **state) {
    (void)state;
    veer_plan_t *plan = new_mixing_plan();
    veer_exec_t *exec;
    ok(veer_exec_create(plan, &exec));
    veer_status_t status = veer_exec_run(exec, &(veer_run_options_t){.threads = 1});
    assert_string_equal(veer_status_message(status, 0), "input 'x' is not given");
    veer_status_free(status);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

/* ---- strands ---- */

enum { LONG = 40, SHORT = 9 };

/* `fn`, a kind of mix, into the next of three slots, LONG or SHORT times. */
static void add_strand(veer_plan_t *plan, int strand, int calls, int slot, veer_kernel_fn fn) {
    for (int i = 0; i < calls; i++) {
        veer_buf_t bufs[] = {in_arena(slot + i % 3), in_arena(slot + (i + 1) % 3)};
        ok(veer_plan_add_call(plan, &(veer_call_desc_t){.name = "mix",
                                                        .backend = "test",
                                                        .fn = i % 4 == 3 ? fold : fn,
                                                        .bufs = bufs,
                                                        .buf_count = 2,
                                                        .work_items = i % 4 == 3 ? 1 : ITEMS,
                                                        .bytes = i % 3 ? 1e6 : 0,
                                                        .strand = strand}));
    }
}

/* A loop: a -> b, a -> c; one strand on b, one on c; both -> a. */
static veer_plan_t *new_strands_plan(int first, int second) {
    veer_plan_t *plan = new_plan();
    veer_buf_t x = {.kind = VEER_BUF_INPUT}, y = {.kind = VEER_BUF_OUTPUT};
    veer_plan_set_arena_bytes(plan, 10 * 1024);
    add(plan, "first", mix, ITEMS, (veer_buf_t[]){x, in_arena(0)}, 2, NULL);
    ok(veer_plan_begin_loop(plan, TRIP, in_arena(1), true));
    add(plan, "b", mix, ITEMS, (veer_buf_t[]){in_arena(0), in_arena(2)}, 2, NULL);
    add(plan, "c", fold, 1, (veer_buf_t[]){in_arena(0), in_arena(5)}, 2, NULL);
    add_strand(plan, 1, first, 2, mix);
    add_strand(plan, 2, second, 5, mix);
    add(plan, "b", mix, ITEMS, (veer_buf_t[]){in_arena(2 + first % 3), in_arena(8)}, 2, NULL);
    add(plan, "c", mix, ITEMS, (veer_buf_t[]){in_arena(5 + second % 3), in_arena(9)}, 2, NULL);
    add(plan, "sum", sum, ITEMS, (veer_buf_t[]){in_arena(8), in_arena(9), in_arena(0)}, 3, NULL);
    ok(veer_plan_end_loop(plan));
    add(plan, "last", mix, ITEMS, (veer_buf_t[]){in_arena(0), y}, 2, NULL);
    return plan;
}

/* As one thread gives, who does the calls in their order. The plan is destroyed. */
static void expect_the_same_for_all(veer_plan_t *plan) {
    uint64_t x[COUNT], y[COUNT], want[COUNT];
    veer_exec_t *exec;
    for (int i = 0; i < COUNT; i++) x[i] = (uint64_t)i * 0x9e3779b97f4a7c15u;
    ok(veer_exec_create(plan, &exec));
    veer_exec_bind_input(exec, 0, x);
    veer_exec_bind_output(exec, 0, want);
    ok(veer_exec_run(exec, &(veer_run_options_t){.threads = 1}));
    veer_exec_bind_output(exec, 0, y);
    for (int i = 0; i < 6; i++) {
        memset(y, 0, sizeof y);
        ok(veer_exec_run(exec, &(veer_run_options_t){.threads = (int[]){1, 2, 3, 8, 5, 2}[i]}));
        assert_memory_equal(y, want, sizeof y);
    }
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

static void test_strands(void **state) {
    (void)state;
    static const int lengths[][2] = {{LONG, SHORT}, {SHORT, LONG}, {1, 1}, {0, SHORT}, {LONG, 0}};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
        expect_the_same_for_all(new_strands_plan(lengths[k][0], lengths[k][1]));
}

/* Which stretch of strands a call is of is told by its place: a second one may take what the first one made, a call
 * behind a loop is not of the loop's, and a strand of the loop outside is not of the loop inside. */
static veer_plan_t *new_neighbours_plan(void) {
    veer_plan_t *plan = new_plan();
    veer_plan_set_arena_bytes(plan, 10 * 1024);
    for (int slot = 0; slot < 6; slot++)
        add(plan, "first", mix, ITEMS, (veer_buf_t[]){{.kind = VEER_BUF_INPUT}, in_arena(slot)}, 2, NULL);
    ok(veer_plan_begin_loop(plan, TRIP / 20, in_arena(6), true));
    ok(veer_plan_begin_loop(plan, 3, in_arena(7), false));
    add_strand(plan, 1, SHORT, 0, mix_late);
    add_strand(plan, 2, SHORT, 3, mix_late);
    add(plan, "sum", sum, ITEMS, (veer_buf_t[]){in_arena(0), in_arena(3), in_arena(8)}, 3, NULL);
    add(plan, "b", mix, ITEMS, (veer_buf_t[]){in_arena(8), in_arena(0)}, 2, NULL);
    add_strand(plan, 1, SHORT, 3, mix_late);
    add_strand(plan, 2, SHORT, 0, mix_late);
    add_strand(plan, 1, SHORT, 0, mix_late);
    add_strand(plan, 2, SHORT, 3, mix_late);
    ok(veer_plan_end_loop(plan));
    add_strand(plan, 2, SHORT, 0, mix_late);
    ok(veer_plan_end_loop(plan));
    add(plan, "sum", sum, ITEMS, (veer_buf_t[]){in_arena(0), in_arena(3), {.kind = VEER_BUF_OUTPUT}}, 3, NULL);
    return plan;
}

static void test_strands_next_to_each_other(void **state) {
    (void)state;
    expect_the_same_for_all(new_neighbours_plan());
}

static atomic_int met[2]; /* threads in a call of each strand */

/* Waits until a thread is in the other strand; with calls one after the other none ever is. */
static int meet_other(const veer_kernel_args_t *args) {
    enum { PATIENCE = 10000000 };
    int strand = *(const int *)args->params;
    atomic_fetch_add(&met[strand], 1);
    for (int i = 0; i < PATIENCE; i++) {
        if (atomic_load(&met[!strand])) return VEER_KERNEL_OK;
        sched_yield();
    }
    return VEER_KERNEL_LIBRARY;
}

static atomic_int in_strand, at_once; /* calls under way; 1 where there was another one */

static int note_company(const veer_kernel_args_t *args) {
    (void)args;
    if (atomic_fetch_add(&in_strand, 1)) atomic_store(&at_once, 1);
    for (int i = 0; i < 100; i++) sched_yield();
    atomic_fetch_sub(&in_strand, 1);
    return VEER_KERNEL_OK;
}

/* Times of calls are of calls that run alone: each has one. */
static void test_timed_strands_do_not(void **state) {
    (void)state;
    enum { CALLS = 10 };
    uint64_t x[COUNT] = {0}, y[COUNT];
    double seconds[CALLS] = {0};
    veer_plan_t *plan = new_plan();
    veer_exec_t *exec;
    for (int i = 0; i < CALLS; i++)
        ok(veer_plan_add_call(
            plan,
            &(veer_call_desc_t){
                .name = "note", .backend = "test", .fn = note_company, .work_items = 1, .strand = 1 + 2 * i / CALLS}));
    ok(veer_exec_create(plan, &exec));
    veer_exec_bind_input(exec, 0, x);
    veer_exec_bind_output(exec, 0, y);
    ok(veer_exec_run(exec, &(veer_run_options_t){.threads = 2, .call_seconds = seconds}));
    assert_false(atomic_load(&at_once));
    for (int i = 0; i < CALLS; i++) assert_true(seconds[i] > 0);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

static void test_strands_run_at_once(void **state) {
    (void)state;
    static const int numbers[] = {0, 1};
    uint64_t x[COUNT] = {0}, y[COUNT];
    veer_plan_t *plan = new_plan();
    veer_exec_t *exec;
    for (int strand = 0; strand < 2; strand++)
        ok(veer_plan_add_call(plan, &(veer_call_desc_t){.name = "meet",
                                                        .backend = "test",
                                                        .fn = meet_other,
                                                        .params = &numbers[strand],
                                                        .work_items = 1,
                                                        .strand = strand + 1}));
    assert_int_equal(veer_plan_call(plan, 1).strand, 2);
    ok(veer_exec_create(plan, &exec));
    veer_exec_bind_input(exec, 0, x);
    veer_exec_bind_output(exec, 0, y);
    ok(veer_exec_run(exec, &(veer_run_options_t){.threads = 2}));
    assert_int_equal(atomic_load(&met[0]) + atomic_load(&met[1]), 2);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

/* Of failures in both strands the one that comes first in the plan tells, and what is before it is done. */
static void test_failures_in_strands(void **state) {
    (void)state;
    static const int64_t at = ITEMS / 2;
    veer_plan_t *plan = new_plan();
    veer_buf_t counter = {.kind = VEER_BUF_OUTPUT};
    veer_call_desc_t call = {.backend = "test", .bufs = &counter, .buf_count = 1};
    ok(veer_plan_begin_loop(plan, 5, in_arena(3), true));
    for (int i = 0; i < 6; i++) { /* count, fail, count; fail, count, count */
        bool fails = i == 1 || i == 3;
        call.name = i == 1 ? "wrong" : i == 3 ? "also wrong" : "count";
        call.fn = fails ? fail_at : count_calls;
        call.work_items = fails ? ITEMS : 1;
        call.params = &at;
        call.strand = 1 + i / 3;
        ok(veer_plan_add_call(plan, &call));
    }
    ok(veer_plan_end_loop(plan));
    expect_wrong_tells(plan);
}

/* ---- streams ---- */

enum { STREAM_ITEMS = 8, STREAM_TEAM = 4 };

static atomic_int begun; /* ranges of shared calls */

/* What each thread is told that it will read next, by call and thread. Nobody is done before all have begun, so
 * everyone does its own part. */
static int note_next(const veer_kernel_args_t *args) {
    const void **notes = args->buf[0];
    int64_t call = *(const int64_t *)args->params;
    notes[call * STREAM_TEAM + args->thread] = args->next;
    if (call == 1 || call == 4) return VEER_KERNEL_OK;
    int all = atomic_fetch_add(&begun, 1) / STREAM_TEAM * STREAM_TEAM + STREAM_TEAM;
    while (atomic_load(&begun) < all) sched_yield();
    return VEER_KERNEL_OK;
}

static void test_streams(void **state) {
    (void)state;
    static const int64_t numbers[] = {0, 1, 2, 3, 4};
    static const char weights[3][1024];
    const char *notes[COUNT] = {0};
    uint64_t x[COUNT] = {0};
    veer_plan_t *plan = new_plan();
    veer_buf_t y = {.kind = VEER_BUF_OUTPUT};
    veer_call_desc_t call = {.name = "note", .backend = "test", .fn = note_next, .bufs = &y, .buf_count = 1};
    for (int i = 0; i < 4; i++) {
        if (i == 1) ok(veer_plan_begin_loop(plan, 2, in_arena(3), true));
        call.params = &numbers[i];
        call.work_items = i == 1 ? 1 : STREAM_ITEMS;
        /* 0: panel by panel; 1: none; 2: two items per panel; 3: panels again and again */
        call.stream = (veer_stream_t[]){{weights[0], 1, 8, 16}, {0}, {weights[1], 2, 4, 16}, {weights[2], 1, 2, 32}}[i];
        ok(veer_plan_add_call(plan, &call));
    }
    ok(veer_plan_end_loop(plan));
    call.params = &numbers[4], call.work_items = 1, call.stream.data = NULL;
    ok(veer_plan_add_call(plan, &call));
    veer_exec_t *exec;
    ok(veer_exec_create(plan, &exec));
    veer_exec_bind_input(exec, 0, x);
    veer_exec_bind_output(exec, 0, notes);
    ok(veer_exec_run(exec, &(veer_run_options_t){.threads = STREAM_TEAM}));
    for (int t = 0; t < STREAM_TEAM; t++) {
        int item = STREAM_ITEMS * t / STREAM_TEAM;
        assert_ptr_equal(notes[0 * STREAM_TEAM + t], weights[1] + item / 2 * 16);
        assert_ptr_equal(notes[2 * STREAM_TEAM + t], weights[2] + item % 2 * 32);
        assert_ptr_equal(notes[3 * STREAM_TEAM + t], weights[1] + item / 2 * 16); /* around the loop */
        const char *one = notes[1 * STREAM_TEAM + t];                             /* of a call that one thread does */
        assert_true(!one || one == weights[1] + item / 2 * 16);
        assert_null(notes[4 * STREAM_TEAM + t]);
    }
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
}

/* ---- the barrier ---- */

typedef struct meeting_s {
    int team, rounds;
    int arrived[8]; /* rounds that each thread has begun */
    int meetings, wrong;
} meeting_t;

static void check_all_here(void *user) {
    meeting_t *m = user;
    m->meetings++;
    for (int i = 0; i < m->team; i++) m->wrong += m->arrived[i] != m->meetings;
}

static void test_barrier(void **state) {
    (void)state;
    for (int team = 1; team <= 8; team++)
        for (int crowded = 0; crowded < 2; crowded++) {
            veer_barrier_t barrier;
            meeting_t m = {.rounds = 300};
#pragma omp parallel num_threads(team)
            {
#pragma omp single
                {
                    m.team = omp_get_num_threads();
                    veer_barrier_init(&barrier, m.team, crowded);
                }
                for (int i = 0; i < m.rounds; i++) {
                    m.arrived[omp_get_thread_num()]++;
                    veer_barrier_wait(&barrier, check_all_here, &m);
                }
            }
            assert_int_equal(m.meetings, m.rounds);
            assert_int_equal(m.wrong, 0);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_threads),
                                       cmocka_unit_test(test_failure),
                                       cmocka_unit_test(test_interruption),
                                       cmocka_unit_test(test_unbound),
                                       cmocka_unit_test(test_strands),
                                       cmocka_unit_test(test_strands_next_to_each_other),
                                       cmocka_unit_test(test_strands_run_at_once),
                                       cmocka_unit_test(test_timed_strands_do_not),
                                       cmocka_unit_test(test_failures_in_strands),
                                       cmocka_unit_test(test_streams),
                                       cmocka_unit_test(test_barrier)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
