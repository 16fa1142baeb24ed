/* Measured choices: made once per shape, kept, found again, and never trusted blindly. */
#include "api/lower.h"
#include "ir/parse.h"
#include "tests/support/failing_allocator.h"
#include "tests/unit/temp_folder.h"

/* Two products of one shape, one of another, in a loop; one outside. */
static const char program[] = "graph @f(%x: f32[24,32]) {\n"
                              "  %w = const f32[32,32] splat 0.03\n"
                              "  %v = const f32[32,48] splat 0.04\n"
                              "  %before = matmul %x, %w : f32[24,32]\n"
                              "  %y = loop (%before) {trip = 2} (%i: i64[], %p: f32[24,32]) {\n"
                              "    %a = matmul %p, %w : f32[24,32]\n"
                              "    %b = tanh %a : f32[24,32]\n"
                              "    %c = matmul %b, %w : f32[24,32]\n"
                              "    %d = matmul %c, %v : f32[24,48]\n"
                              "    %e = slice %d {starts = [0, 8], sizes = [24, 32], steps = [1, 1]} : f32[24,32]\n"
                              "    yield %e\n"
                              "  } : f32[24,32]\n"
                              "  return %y\n"
                              "}\n";

typedef struct fixture_s {
    veer_graph_t *g;
    veer_func_t func;
    veer_region_t body;
    veer_cache_t *cache;
} fixture_t;

static void open_fixture(fixture_t *f) {
    assert_ok(veer_graph_create(veer_allocator_system(), &f->g));
    assert_ok(veer_parse(f->g, program, sizeof program - 1, "program"));
    f->func = veer_graph_first_func(f->g);
    f->body = veer_func_body(f->g, f->func);
    assert_ok(veer_cache_open(temp_folder, veer_allocator_system(), &f->cache));
}

static void close_fixture(fixture_t *f) {
    veer_cache_close(f->cache);
    veer_graph_destroy(f->g);
}

/* The choices for all products in order of the program. */
static int choices(const fixture_t *f, veer_tune_mode_t mode, veer_maker_t out[8], char why[8][200]) {
    veer_tuning_t *tuning;
    int count = 0;
    veer_plan_t *plan;
    veer_makers_t makers;
    veer_makers_options_t options = {.backend = VEER_BACKEND_AUTO, .cache = f->cache};
    assert_ok(veer_plan_create(veer_allocator_system(), &plan));
    assert_ok(veer_makers_open(&options, plan, veer_allocator_system(), &makers));
    assert_ok(veer_tune(f->g, f->body, mode, &makers, &tuning));
    veer_region_t regions[2] = {f->body};
    VEER_FOR_EACH_NODE(f->g, f->body, n)
    if (veer_node_op(f->g, n) == VEER_OP_LOOP) regions[1] = veer_node_body(f->g, n);
    for (int r = 0; r < 2; r++) VEER_FOR_EACH_NODE(f->g, regions[r], n)
    if (veer_node_op(f->g, n) == VEER_OP_MATMUL) {
        const char *text;
        out[count] = veer_tuning_choice(tuning, n, &text);
        snprintf(why[count++], 200, "%s", text);
    }
    veer_tuning_destroy(tuning);
    veer_plan_destroy(plan);
    return count;
}

static void test_modes(void **state) {
    (void)state;
    fixture_t f;
    veer_maker_t by[8], again[8];
    char why[8][200], why_again[8][200];
    open_fixture(&f);
    assert_int_equal(choices(&f, VEER_TUNE_OFF, by, why), 4);
    for (int i = 0; i < 4; i++) assert_int_equal(by[i], VEER_MAKER_NONE);
    choices(&f, VEER_TUNE_CACHED, by, why); /* nothing is known, nothing is measured */
    for (int i = 0; i < 4; i++) assert_int_equal(by[i], VEER_MAKER_NONE);
    assert_int_equal(temp_folder_count(false), 0);
    choices(&f, VEER_TUNE_ON, by, why);
#if defined VEER_WITH_LLVM && defined VEER_WITH_ONEDNN
    assert_int_equal(by[0], VEER_MAKER_NONE); /* runs once */
    for (int i = 1; i < 4; i++) {
        assert_true(by[i] == VEER_MAKER_LLVM_MATMUL || by[i] == VEER_MAKER_ONEDNN);
        assert_non_null(strstr(why[i], "measured: llvm matmul "));
        assert_non_null(strstr(why[i], ", onednn "));
    }
    assert_string_equal(why[1], why[2]); /* one shape, one measurement */
    assert_string_not_equal(why[1], why[3]);
#endif
    for (veer_tune_mode_t mode = VEER_TUNE_CACHED; mode <= VEER_TUNE_ON; mode++) {
        choices(&f, mode, again, why_again);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(again[i], by[i]);
            assert_string_equal(why_again[i], why[i]);
        }
    }
    close_fixture(&f);
    temp_folder_count(true);
}

/* Without a cache a measurement could come out otherwise the next time: none is made. */
static void test_no_cache(void **state) {
    (void)state;
    fixture_t f;
    veer_maker_t by[8];
    char why[8][200];
    open_fixture(&f);
    veer_cache_close(f.cache);
    f.cache = NULL;
    choices(&f, VEER_TUNE_ON, by, why);
    for (int i = 0; i < 4; i++) assert_int_equal(by[i], VEER_MAKER_NONE);
    close_fixture(&f);
}

static veer_status_t lower_with(veer_allocator_t allocator, const fixture_t *f) {
    veer_plan_t *plan;
    veer_lower_options_t o = {.backend = VEER_BACKEND_AUTO, .tune = VEER_TUNE_ON, .cache = temp_folder};
    VEER_TRY(veer_lower(f->g, f->func, &o, allocator, &plan));
    veer_plan_destroy(plan);
    return veer_ok();
}

/* Some of the allocations of measuring and lowering fail in turn; what is kept then serves or is absent. */
static void test_no_memory(void **state) {
    (void)state;
    enum { TIMES = 60, LOOKS = 8 }; /* how often nodes are measured depends on their times: the least of several */
    fixture_t f;
    open_fixture(&f);
    long count = 0;
    for (int i = 0; i < LOOKS; i++) {
        failing_allocator_t all = {.fail_at = -1};
        assert_ok(lower_with(failing_allocator(&all), &f));
        if (!count || all.count < count) count = all.count;
        temp_folder_count(true);
    }
    print_message("%ld allocations\n", count);
    for (long k = 0; k < TIMES; k++) {
        temp_folder_count(true);
        failing_allocator_t failing = {.fail_at = count * k / TIMES, .once = k % 2};
        veer_status_t status = lower_with(failing_allocator(&failing), &f);
        assert_true(veer_status_code(status) == VEER_ERR_RESOURCE || (!status && failing.once));
        veer_status_free(status);
        assert_int_equal(failing.live, 0);
    }
    close_fixture(&f);
    temp_folder_count(true);
}

/* Results are those of the reference loops, whatever was chosen. */
static void test_results(void **state) {
    (void)state;
    static const veer_lower_options_t options[] = {
        {.backend = VEER_BACKEND_REFERENCE, .cache = "none"},
        {.backend = VEER_BACKEND_AUTO, .tune = VEER_TUNE_OFF, .cache = "none"},
        {.backend = VEER_BACKEND_AUTO, .tune = VEER_TUNE_ON, .cache = temp_folder},
        {.backend = VEER_BACKEND_AUTO, .tune = VEER_TUNE_CACHED, .cache = temp_folder}};
    float x[24 * 32], y[4][24 * 32];
    for (int i = 0; i < 24 * 32; i++) x[i] = (float)(i * 37 % 64) / 64 - 0.5f;
    for (int o = 0; o < 4; o++) {
        fixture_t f;
        veer_plan_t *plan;
        veer_exec_t *exec;
        open_fixture(&f);
        assert_ok(veer_lower(f.g, f.func, &options[o], veer_allocator_system(), &plan));
        assert_ok(veer_exec_create(plan, &exec));
        veer_exec_bind_input(exec, 0, x);
        veer_exec_bind_output(exec, 0, y[o]);
        assert_ok(veer_exec_run(exec, &(veer_run_options_t){.threads = 2}));
        veer_exec_destroy(exec);
        veer_plan_destroy(plan);
        close_fixture(&f);
    }
    for (int o = 1; o < 4; o++)
        for (int i = 0; i < 24 * 32; i++) assert_float_equal(y[o][i], y[0][i], 1e-5);
    assert_memory_equal(y[2], y[3], sizeof y[2]); /* the same choices, the same bits */
    temp_folder_count(true);
}

static void test_names(void **state) {
    (void)state;
    veer_tune_mode_t mode;
    assert_ok(veer_tune_parse("cached", &mode));
    assert_int_equal(mode, VEER_TUNE_CACHED);
    assert_error(veer_tune_parse("fast", &mode), VEER_ERR_CONFIG, "off, cached or on");
}

/* Within 0 to 1, whatever the machine has and does; 1 for makers that do not use it. */
static void test_unit_share(void **state) {
    (void)state;
    for (int backend = 0; backend < 2; backend++) {
        veer_makers_options_t options = {.backend = backend ? VEER_BACKEND_REFERENCE : VEER_BACKEND_AUTO};
        veer_makers_t makers;
        veer_plan_t *plan;
        assert_ok(veer_plan_create(veer_allocator_system(), &plan));
        assert_ok(veer_makers_open(&options, plan, veer_allocator_system(), &makers));
        for (int i = 0; i < 50; i++) {
            double share = veer_makers_unit_share(&makers);
            if (!(share > 0 && share <= 1) || (backend && share != 1)) fail_msg("backend %d: share %g", backend, share);
        }
        veer_plan_destroy(plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_modes),     cmocka_unit_test(test_no_cache),
                                       cmocka_unit_test(test_no_memory), cmocka_unit_test(test_results),
                                       cmocka_unit_test(test_names),     cmocka_unit_test(test_unit_share)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
