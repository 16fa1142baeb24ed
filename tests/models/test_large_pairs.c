/* The large pairs of `veer bench`, where layers are long enough for the ways that small models do not take: default
 * precision against strict, and the same bits for any number of threads. Their weights are in $VEER_FIXTURES/perf;
 * skipped without. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/veer.h"
#include "tests/support/tensors.h"

#include <stdlib.h>
#include <unistd.h>

#define PAIRS VEER_EXAMPLES "/../bench/pairs/"

enum { STEPS = 4, MOST_SETTINGS = 8 };
static const double TOLERANCE = 1e-4; /* of the range, as golden trajectories are held to */

typedef struct pair_s {
    const char *name, *denoiser, *classifier;
    struct {
        const char *name, *value;
    } settings[MOST_SETTINGS];
} pair_t;

static const pair_t ADM64 = {"adm64",
                             "adm64-unet",
                             "adm64-classifier",
                             {{"scheduler", PAIRS "adm64/scheduler_config.json"},
                              {"classifier-head", "softmax"},
                              {"class", "3"}}},
                    DIFFLM = {"difflm",
                              "difflm-transformer",
                              "difflm-classifier",
                              {{"scheduler", PAIRS "difflm/scheduler_config.json"},
                               {"classifier-head", "bernoulli"},
                               {"target", "1"},
                               {"input", "y=@" PAIRS "difflm/y.npy"}}};

static void set_model(veer_settings_t *settings, const char *role, const char *model) {
    char path[4096];
    snprintf(path, sizeof path, "%s/perf/%s/model.onnx", getenv("VEER_FIXTURES"), model);
    require_ok(veer_settings_set(settings, role, path));
}

static veer_sampling_t *compile(const pair_t *pair, const char *precision) {
    veer_settings_t *settings;
    veer_sampling_t *s;
    char steps[16];
    snprintf(steps, sizeof steps, "%d", STEPS);
    require_ok(veer_settings_create(veer_allocator_system(), &settings));
    set_model(settings, "denoiser", pair->denoiser);
    set_model(settings, "classifier", pair->classifier);
    for (int i = 0; i < MOST_SETTINGS && pair->settings[i].name; i++)
        require_ok(veer_settings_set(settings, pair->settings[i].name, pair->settings[i].value));
    require_ok(veer_settings_set(settings, "steps", steps));
    require_ok(veer_settings_set(settings, "precision", precision));
    require_ok(veer_sampling_create(NULL, settings, &(veer_compile_options_t){0}, &s));
    veer_settings_destroy(settings);
    return s;
}

static veer_samples_t run(veer_sampling_t *s, int threads) {
    veer_samples_t samples;
    require_ok(veer_sampling_run(s, &(veer_run_options_t){.threads = threads}, &samples));
    return samples;
}

/* The same bits as on one thread. */
static void check_threads(veer_sampling_t *s, const veer_samples_t *one) {
    static const int threads[] = {2, 3, 8};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        veer_samples_t more = run(s, threads[i]);
        assert_memory_equal(more.x_0.data, one->x_0.data, veer_type_bytes(&one->x_0.type));
        veer_samples_deinit(&more);
    }
}

static void check_pair(const pair_t *pair) {
    char path[4096];
    const char *fixtures = getenv("VEER_FIXTURES");
    snprintf(path, sizeof path, "%s/perf/%s/model.onnx", fixtures ? fixtures : "", pair->denoiser);
    if (!fixtures || access(path, R_OK)) {
        print_message("skipped: $VEER_FIXTURES/perf/%s is not there\n", pair->denoiser);
        skip();
    }
    veer_sampling_t *fast = compile(pair, "default"), *strict = compile(pair, "strict");
    veer_samples_t got = run(fast, 1), want = run(strict, 1);
    double error = relative_error(got.x_0.data, want.x_0.data, veer_type_count(&want.x_0.type));
    print_message("%s: default and strict differ by %.1e of the range after %d steps\n", pair->name, error, STEPS);
    assert_true(error <= TOLERANCE);
    check_threads(fast, &got);
    check_threads(strict, &want);
    veer_samples_deinit(&got);
    veer_samples_deinit(&want);
    veer_sampling_destroy(fast);
    veer_sampling_destroy(strict);
}

static void adm64(void **state) {
    (void)state;
    check_pair(&ADM64);
}
static void difflm(void **state) {
    (void)state;
    check_pair(&DIFFLM);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(adm64), cmocka_unit_test(difflm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
