/* Every allocation of a pipeline fails in turn: from the settings over import, gradient, optimisation and lowering to
 * the run and the files it writes. Each time the status says so, nothing leaks and no file is left behind. Where there
 * are too many allocations, the first ones and evenly spread ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/veer.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/tensors.h"
#include "tests/unit/temp_folder.h"

typedef struct work_s {
    const char *folder;
    const char *settings[12][2]; /* name, value */
    const char *output;
} work_t;

static const work_t digits = {
    VEER_EXAMPLES "/digits", {{"class", "3,5"}, {"steps", "2"}, {"batch-size", "1"}, {"record", ""}}, "x.png"};
static const work_t cfg = {VEER_EXAMPLES "/digits-cfg",
                           {{"class", "3,5"}, {"timestep-respacing", "1"}, {"record", ""}, {"cfg-scale", "2"}},
                           "x.npz"};
static const work_t text = {VEER_EXAMPLES "/e2e",
                            {{"steps", "1"},
                             {"self-cond", "x0_prev"},
                             {"text", "y=the name"},
                             {"clamp-below", "2000"},
                             {"classifier-scale", "2"},
                             {"record", ""}},
                            "x.jsonl"};

static veer_status_t use(veer_sampling_t *sampling, const char *output, int threads, veer_allocator_t allocator) {
    veer_samples_t samples;
    VEER_TRY(veer_sampling_run(sampling, &(veer_run_options_t){.threads = threads}, &samples));
    veer_status_t status = veer_sampling_save(sampling, &samples, temp_path(output));
    if (!status) status = veer_sampling_save_record(sampling, &samples, temp_path("record.npz"));
    veer_samples_deinit(&samples);
    char *printed = NULL;
    if (!status) status = veer_sampling_text(sampling, &printed);
    veer_free(allocator, printed);
    return status;
}

static veer_status_t work(const work_t *w, const char *backend, int threads, veer_allocator_t allocator) {
    veer_settings_t *s;
    veer_sampling_t *sampling = NULL;
    VEER_TRY(veer_settings_create(allocator, &s));
    veer_status_t status = veer_settings_set(s, "backend", backend);
    for (int i = 0; !status && w->settings[i][0]; i++)
        status = veer_settings_set(s, w->settings[i][0], w->settings[i][1]);
    veer_compile_options_t options = {.allocator = allocator, .tune = "off", .cache = "none"}; /* the same every time */
    if (!status) status = veer_sampling_create(w->folder, s, &options, &sampling);
    if (!status) status = use(sampling, w->output, threads, allocator);
    veer_sampling_destroy(sampling);
    veer_settings_destroy(s);
    return status;
}

/* What may follow once an allocation has failed. One that fails alone while a backend is asked whether it takes a node
 * counts as a no: the pipeline works, only slower. */
static void check_failure(const failing_allocator_t *f, veer_status_t take_status, const char *backend) {
    bool may_survive = !f->failed || (f->once && strcmp(backend, "reference"));
    veer_code_t code = veer_status_code(take_status);
    if (code != VEER_ERR_RESOURCE && (code || !may_survive))
        fail_msg("%s, allocation %ld%s: code %d, '%s'", backend, f->fail_at, f->once ? " alone" : "", code,
                 take_status ? veer_status_message(take_status, 0) : "");
    veer_status_free(take_status);
    if (f->live) fail_msg("%s, allocation %ld: %ld blocks leaked", backend, f->fail_at, f->live);
}

/* One allocation fails, or all from it on. With several threads their number may vary from run to run, so that the last
 * ones may not be reached. */
static void fail_once(const work_t *w, const char *backend, int threads, long at, bool once) {
    failing_allocator_t f = {.fail_at = at, .once = once};
    veer_status_t status = work(w, backend, threads, failing_allocator(&f));
    bool finished = !status;
    assert_true(f.failed || threads > 1);
    check_failure(&f, status, backend);
    int files = temp_folder_count(true);
    assert_true(finished ? files == 2 : files <= 2); /* of the two the first may be there, complete */
}

/* `most` allocations of all, spread evenly; then the last ones, of the run itself, with two threads. */
static void sweep(const work_t *w, const char *backend, long most) {
    failing_allocator_t all = {.fail_at = -1};
    require_ok(work(w, backend, 1, failing_allocator(&all)));
    assert_int_equal(all.live, 0);
    assert_int_equal(temp_folder_count(true), 2);
    print_message("%s on %s: %ld allocations\n", w->folder, backend, all.count);
    for (long k = 0; k < most; k++) fail_once(w, backend, 1, all.count * k / most, k % 2);
    for (long at = all.count > 4 ? all.count - 4 : 0; at < all.count; at++) fail_once(w, backend, 2, at, true);
}

static void test_reference(void **state) {
    (void)state;
    sweep(&digits, "reference", 60);
    sweep(&cfg, "reference", 40);
    sweep(&text, "reference", 16);
}

static void test_auto(void **state) {
    (void)state;
    sweep(&digits, "auto", 20);
    sweep(&cfg, "auto", 10);
    sweep(&text, "auto", 8);
}

/* One model and its gradient. */
static veer_status_t gradient(const char *backend, veer_allocator_t allocator) {
    static const char *const wrt = "x";
    veer_named_dim_t batch = {"batch", 1};
    veer_compile_options_t o = {
        .allocator = allocator, .dims = &batch, .dim_count = 1, .backend = backend, .tune = "off", .cache = "none"};
    veer_gradient_request_t r = {.wrt = &wrt, .wrt_count = 1, .head = "softmax"};
    float x[64] = {0}, logits[10], grad[64];
    int64_t t = 5, label = 3;
    veer_tensor_t in[3] = {{VEER_TYPE(VEER_DTYPE_F32, 1, 1, 8, 8), x},
                           {VEER_TYPE(VEER_DTYPE_I64, 1), &t},
                           {VEER_TYPE(VEER_DTYPE_I64, 1), &label}},
                  out[2] = {{.data = logits}, {.data = grad}};
    const char *path = VEER_EXAMPLES "/digits/classifier/model.onnx";
    veer_compiled_t *c;
    VEER_TRY(veer_compile_gradient(path, &r, &o, &c));
    veer_status_t status = veer_compiled_run(c, in, out, &(veer_run_options_t){.threads = 1});
    char *printed = NULL;
    if (!status) status = veer_compiled_text(c, &printed);
    veer_free(allocator, printed);
    veer_compiled_destroy(c);
    return status ? status : veer_export_gradient(path, &r, &o, temp_path("grad.onnx"));
}

static void test_gradient(void **state) {
    (void)state;
    static const char *const backends[] = {"reference", "auto"};
    for (int b = 0; b < 2; b++) {
        failing_allocator_t all = {.fail_at = -1};
        require_ok(gradient(backends[b], failing_allocator(&all)));
        assert_int_equal(all.live, 0);
        temp_folder_count(true);
        print_message("gradient on %s: %ld allocations\n", backends[b], all.count);
        for (long k = 0; k < 30; k++) {
            failing_allocator_t f = {.fail_at = all.count * k / 30, .once = k % 2};
            veer_status_t status = gradient(backends[b], failing_allocator(&f));
            int files = status ? 0 : 1; /* complete or not there */
            assert_true(f.failed);
            check_failure(&f, status, backends[b]);
            assert_int_equal(temp_folder_count(true), files);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_auto),
                                       cmocka_unit_test(test_gradient)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
