/* Whole trajectories through the public API against those of the original samplers, step by step; and what must not
 * change a sample: threads, the batch, running again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/veer.h"
#include "tests/support/tensors.h"

#include <jansson.h>

enum { LIST_BYTES = 4096, SEED = 7, THREAD_STEPS = 3 };

/* ---- settings ---- */

static void set(veer_settings_t *s, const char *name, const char *value) {
    require_ok(veer_settings_set(s, name, value));
}

static void set_number(veer_settings_t *s, const char *name, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.17g", value);
    set(s, name, text);
}

static void set_list(veer_settings_t *s, const char *name, const json_t *list) {
    char text[LIST_BYTES] = "";
    size_t at = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", i ? "," : "",
                               (long long)json_integer_value(json_array_get(list, i)));
    assert_true(at > 0 && at < sizeof text);
    set(s, name, text);
}

static void set_file(veer_settings_t *s, const char *name, const char *prefix, const char *golden, const char *file) {
    char text[512];
    snprintf(text, sizeof text, "%s%s/goldens/%s/%s.npy", prefix, VEER_TEST_DATA, golden, file);
    set(s, name, text);
}

static const char *text_of(const json_t *c, const char *key) {
    const char *text = json_string_value(json_object_get(c, key));
    assert_non_null(text);
    return text;
}

static double number_of(const json_t *c, const char *key) {
    assert_true(json_is_number(json_object_get(c, key)));
    return json_number_value(json_object_get(c, key));
}

static void set_images(veer_settings_t *s, const json_t *c) {
    const json_t *gamma = json_object_get(c, "cfg_gamma");
    set_list(s, json_is_null(gamma) ? "class" : "class-labels", json_object_get(c, "labels"));
    if (!json_is_null(gamma)) set_number(s, "cfg-scale", number_of(c, "cfg_gamma"));
    set(s, "guidance", text_of(c, "guidance"));
    set_number(s, "eta", number_of(c, "eta"));
}

static void set_text(veer_settings_t *s, const json_t *c, const char *golden) {
    set(s, "self-cond", "x0_prev");
    set_number(s, "clamp-below", number_of(c, "clamp_below_t"));
    if (number_of(c, "guidance_scale") == 0) return;
    set_number(s, "target", number_of(c, "phi"));
    set_file(s, "input", "y=@", golden, "y");
}

/* Everything that case.json says, and the given x_T and noise. */
static veer_settings_t *settings_of(const char *golden, const json_t *c, const char *backend) {
    veer_settings_t *s;
    require_ok(veer_settings_create(veer_allocator_system(), &s));
    set_list(s, "timesteps", json_object_get(c, "kept_timesteps"));
    set(s, "sampler", text_of(c, "sampler"));
    set(s, "prediction-type", text_of(c, "prediction_type"));
    set(s, "variance-type", text_of(c, "variance_type"));
    set(s, json_is_true(json_object_get(c, "clip_sample")) ? "clip-sample" : "no-clip-sample", NULL);
    set_number(s, "classifier-scale", number_of(c, "guidance_scale"));
    set_file(s, "init", "", golden, "x_T");
    set_file(s, "noise", "", golden, "noise");
    set(s, "record", NULL);
    set(s, "backend", backend);
    if (!strcmp(text_of(c, "kind"), "text"))
        set_text(s, c, golden);
    else
        set_images(s, c);
    return s;
}

static json_t *read_case(const char *golden) {
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/goldens/%s/case.json", VEER_TEST_DATA, golden);
    json_t *c = json_load_file(path, 0, &error);
    if (!c) fail_msg("%s: %s", path, error.text);
    return c;
}

static const char *folder_of(const json_t *c) {
    const char *denoiser = text_of(c, "denoiser");
    return !strcmp(denoiser, "digits_denoiser") ? VEER_EXAMPLES "/digits"
           : !strcmp(denoiser, "digits_cfg")    ? VEER_EXAMPLES "/digits-cfg"
                                                : VEER_EXAMPLES "/e2e";
}

static veer_sampling_t *create(const char *folder, veer_settings_t *s) {
    veer_sampling_t *sampling;
    require_ok(veer_sampling_create(folder, s, NULL, &sampling));
    veer_settings_destroy(s);
    return sampling;
}

/* `steps`: 0 for all. */
static veer_samples_t run(veer_sampling_t *sampling, int threads, int64_t steps) {
    veer_samples_t samples;
    require_ok(veer_sampling_run(sampling, &(veer_run_options_t){.threads = threads, .steps = steps}, &samples));
    return samples;
}

/* ---- trajectories ---- */

/* Each step relative to that step's range, so that a small step is not measured by a large one. `got` may have fewer
 * steps than `want`. */
static double worst_step(const veer_tensor_t *got, const veer_tensor_t *want) {
    veer_type_t type = want->type;
    int64_t steps = got->type.dims[0], size = veer_type_count_range(&type, 1, type.rank);
    assert_in_range(steps, 1, type.dims[0]);
    type.dims[0] = steps;
    assert_true(veer_type_equal(&got->type, &type));
    double worst = 0;
    for (int64_t i = 0; i < steps; i++)
        worst = fmax(worst, relative_error((float *)got->data + i * size, (float *)want->data + i * size, size));
    return worst;
}

static veer_tensor_t read_golden(const char *golden, const char *name) {
    char folder[128];
    snprintf(folder, sizeof folder, "goldens/%s", golden);
    return read_data(folder, name);
}

static void check_trajectory(const char *golden, const veer_samples_t *s) {
    veer_tensor_t want = read_golden(golden, "traj");
    double worst = worst_step(&s->trajectory, &want);
    free_tensor(&want);
    print_message("%s: %.2g of the step's range in %lld steps\n", golden, worst, (long long)s->steps);
    assert_true(worst <= 1e-4);
}

static void check_tokens(const char *golden, const veer_tensor_t *tokens) {
    veer_tensor_t want = read_golden(golden, "tokens");
    assert_true(veer_type_equal(&tokens->type, &want.type));
    assert_memory_equal(tokens->data, want.data, veer_type_bytes(&want.type));
    free_tensor(&want);
}

/* The last row of the trajectory is x_0, to the bit. */
static void check_last_row(const veer_samples_t *s) {
    size_t bytes = veer_type_bytes(&s->x_0.type);
    assert_int_equal(s->trajectory.type.dims[0], s->steps);
    assert_memory_equal((char *)s->trajectory.data + (size_t)(s->steps - 1) * bytes, s->x_0.data, bytes);
}

/* The first steps, with other numbers of threads: equal bits after each of them. */
static void check_threads(veer_sampling_t *sampling, const veer_samples_t *want, int64_t steps) {
    static const int threads[] = {1, 3, 8};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        veer_samples_t got = run(sampling, threads[t], steps);
        assert_int_equal(got.steps, steps);
        assert_memory_equal(got.trajectory.data, want->trajectory.data, veer_type_bytes(&got.trajectory.type));
        check_last_row(&got);
        veer_samples_deinit(&got);
    }
}

/* `steps` of the golden (0: all) on a backend, then with other numbers of threads `thread_steps` of them. */
static void check_golden(const char *golden, const char *backend, int64_t steps, int64_t thread_steps) {
    json_t *c = read_case(golden);
    veer_sampling_t *sampling = create(folder_of(c), settings_of(golden, c, backend));
    bool text = !strcmp(text_of(c, "kind"), "text");
    assert_string_equal(veer_sampling_notes(sampling), "");
    veer_samples_t samples = run(sampling, 2, steps);
    assert_int_equal(samples.steps, steps ? steps : (int64_t)json_array_size(json_object_get(c, "kept_timesteps")));
    check_trajectory(golden, &samples);
    check_last_row(&samples);
    assert_int_equal(samples.tokens.data != NULL, text);
    if (text && !steps) check_tokens(golden, &samples.tokens);
    if (thread_steps) check_threads(sampling, &samples, thread_steps);
    veer_samples_deinit(&samples);
    veer_sampling_destroy(sampling);
    json_decref(c);
}

#define GOLDEN(name)                                                                                                   \
    static void test_##name(void **state) {                                                                            \
        (void)state;                                                                                                   \
        check_golden(#name, "auto", 0, THREAD_STEPS);                                                                  \
    }
GOLDEN(digits_cfg_ddpm)
GOLDEN(digits_ddpm_guided)
GOLDEN(digits_ddpm_noise_guided)
GOLDEN(digits_ddpm_unguided)
GOLDEN(text_guided)
GOLDEN(text_guided_clamp)
GOLDEN(text_unguided)

/* Over a whole run threads have the longest way to drift apart. */
static void test_digits_ddim_guided(void **state) {
    (void)state;
    check_golden("digits_ddim_guided", "auto", 0, 25);
}

static void test_reference_backend(void **state) {
    (void)state;
    check_golden("digits_ddim_guided", "reference", 4, 0);
    check_golden("digits_cfg_ddpm", "reference", 4, 0);
    check_golden("text_guided_clamp", "reference", 1, 0);
}

/* ---- noise of our own ---- */

static veer_sampling_t *seeded(const char *folder, int batch) {
    veer_settings_t *s;
    require_ok(veer_settings_create(veer_allocator_system(), &s));
    set(s, "steps", "6");
    set_number(s, "seed", SEED);
    set(s, "class", "3,1,4,1,5,9,2");
    set(s, "record", NULL);
    set_number(s, "batch-size", batch);
    return create(folder, s);
}

/* Two samples of the same class that nothing but their noise tells apart. */
static void check_samples_differ(const veer_samples_t *s, int64_t a, int64_t b) {
    int64_t size = veer_type_count_range(&s->x_0.type, 1, s->x_0.type.rank);
    assert_int_equal(((int64_t *)s->labels.data)[a], ((int64_t *)s->labels.data)[b]);
    assert_true(relative_error((float *)s->trajectory.data + a * size, (float *)s->trajectory.data + b * size, size) >
                0.1);
}

/* 7 samples in batches of 1, 4 and 5 (the last one partial) against all at once, and again. */
static void check_batches(const char *folder) {
    static const int batches[] = {1, 4, 5};
    veer_sampling_t *sampling = seeded(folder, 7);
    veer_samples_t want = run(sampling, 2, 0), again = run(sampling, 2, 0);
    assert_int_equal(want.count, 7);
    assert_memory_equal(again.trajectory.data, want.trajectory.data, veer_type_bytes(&want.trajectory.type));
    veer_samples_deinit(&again);
    check_samples_differ(&want, 1, 3);
    veer_sampling_destroy(sampling);
    for (size_t k = 0; k < sizeof batches / sizeof *batches; k++) {
        sampling = seeded(folder, batches[k]);
        veer_samples_t got = run(sampling, 2, 0);
        assert_int_equal(got.count, 7);
        double worst = worst_step(&got.trajectory, &want.trajectory);
        print_message("seed %d, batch %d: %.2g of the step's range\n", SEED, batches[k], worst);
        assert_true(worst <= 1e-4);
        check_last_row(&got);
        veer_samples_deinit(&got);
        veer_sampling_destroy(sampling);
    }
    veer_samples_deinit(&want);
}

static void test_batches(void **state) {
    (void)state;
    check_batches(VEER_EXAMPLES "/digits");
}

static void test_batches_cfg(void **state) {
    (void)state;
    check_batches(VEER_EXAMPLES "/digits-cfg");
}

/* An argument is a pattern of the names of the tests to run. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digits_cfg_ddpm),      cmocka_unit_test(test_digits_ddim_guided),
        cmocka_unit_test(test_digits_ddpm_guided),   cmocka_unit_test(test_digits_ddpm_noise_guided),
        cmocka_unit_test(test_digits_ddpm_unguided), cmocka_unit_test(test_text_guided),
        cmocka_unit_test(test_text_guided_clamp),    cmocka_unit_test(test_text_unguided),
        cmocka_unit_test(test_reference_backend),    cmocka_unit_test(test_batches),
        cmocka_unit_test(test_batches_cfg)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
