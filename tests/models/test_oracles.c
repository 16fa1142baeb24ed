/* The example models and their gradients through the public API, against what PyTorch gave; on both backends, and with
 * the same bits for any number of threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/veer.h"
#include "tests/support/tensors.h"

typedef struct case_s {
    const char *model, *oracle;
    const char *wrt, *head; /* NULL: the model itself */
} case_t;

static const case_t cases[] = {
    {"digits/unet", "digits_unet", NULL, NULL},
    {"digits/classifier", "digits_classifier", NULL, NULL},
    {"digits-cfg/unet", "digits_cfg_unet", NULL, NULL},
    {"e2e/transformer", "e2e_transformer", NULL, NULL},
    {"e2e/classifier", "e2e_classifier", NULL, NULL},
    {"digits/classifier", "digits_classifier", "x", "softmax"},
    {"e2e/classifier", "e2e_classifier", "x_t", "bernoulli"},
    {"digits/unet", "digits_unet_sum", "sample", "sum"},
};
enum { CASE_COUNT = sizeof cases / sizeof *cases, MAX_PORTS = 8 };

typedef struct ports_s {
    veer_tensor_t in[MAX_PORTS], out[MAX_PORTS];
    int in_count, out_count;
} ports_t;

static bool has_oracle(const case_t *c, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/oracles/%s/%s.npy", VEER_TEST_DATA, c->oracle, name);
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

static veer_tensor_t read_oracle(const case_t *c, const char *name) {
    char folder[128];
    snprintf(folder, sizeof folder, "oracles/%s", c->oracle);
    return read_data(folder, name);
}

static int64_t batch_of(const case_t *c) {
    static const char *const names[] = {"sample", "x", "x_t"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!has_oracle(c, names[i])) continue;
        veer_tensor_t x = read_oracle(c, names[i]);
        free_tensor(&x);
        return x.type.dims[0];
    }
    fail_msg("%s has no input of a known name", c->oracle);
    return 0;
}

static veer_compiled_t *compile(const case_t *c, const char *backend) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s/model.onnx", VEER_EXAMPLES, c->model);
    veer_named_dim_t batch = {"batch", batch_of(c)};
    veer_compile_options_t o = {.dims = &batch, .dim_count = 1, .backend = backend};
    veer_gradient_request_t request = {.wrt = &c->wrt, .wrt_count = 1, .head = c->head};
    veer_compiled_t *compiled;
    require_ok(c->wrt ? veer_compile_gradient(path, &request, &o, &compiled) : veer_compile_model(path, &o, &compiled));
    return compiled;
}

static ports_t open_ports(const case_t *c, const veer_plan_t *plan) {
    ports_t p = {.in_count = veer_plan_input_count(plan), .out_count = veer_plan_output_count(plan)};
    assert_in_range(p.in_count, 1, MAX_PORTS);
    assert_in_range(p.out_count, 1, MAX_PORTS);
    for (int i = 0; i < p.in_count; i++) p.in[i] = read_oracle(c, veer_plan_input_name(plan, i));
    for (int i = 0; i < p.out_count; i++)
        p.out[i].data = veer_alloc(veer_allocator_system(), veer_type_bytes(veer_plan_output_type(plan, i)));
    return p;
}

static void close_ports(ports_t *p) {
    for (int i = 0; i < p->in_count; i++) free_tensor(&p->in[i]);
    for (int i = 0; i < p->out_count; i++) free_tensor(&p->out[i]);
}

/* Every output that the oracle has; of a gradient's case the gradient must be among them. */
static void check_outputs(const case_t *c, const veer_plan_t *plan, const ports_t *p, const char *backend) {
    int compared = 0;
    for (int i = 0; i < p->out_count; i++) {
        const char *name = veer_plan_output_name(plan, i);
        bool gradient = !strncmp(name, "grad_", 5);
        if (!has_oracle(c, name)) continue;
        veer_tensor_t want = read_oracle(c, name);
        assert_true(veer_type_equal(&want.type, &p->out[i].type));
        double error = relative_error(p->out[i].data, want.data, veer_type_count(&want.type));
        free_tensor(&want);
        print_message("%s %s %s: %.2g\n", c->oracle, name, backend, error);
        assert_true(error <= (gradient ? 1e-4 : 5e-6));
        compared += gradient == (c->wrt != NULL);
    }
    assert_int_equal(compared, 1);
}

static void check_backend(const char *backend) {
    for (int k = 0; k < CASE_COUNT; k++) {
        veer_compiled_t *compiled = compile(&cases[k], backend);
        ports_t p = open_ports(&cases[k], veer_compiled_plan(compiled));
        require_ok(veer_compiled_run(compiled, p.in, p.out, NULL));
        check_outputs(&cases[k], veer_compiled_plan(compiled), &p, backend);
        close_ports(&p);
        veer_compiled_destroy(compiled);
    }
}

static void test_reference(void **state) {
    (void)state;
    check_backend("reference");
}

/* The outputs of a run with `threads` threads; what stood there before is overwritten. */
static void run_with(veer_compiled_t *compiled, ports_t *p, int threads) {
    for (int i = 0; i < p->out_count; i++)
        memset(p->out[i].data, 0xff, veer_type_bytes(veer_plan_output_type(veer_compiled_plan(compiled), i)));
    require_ok(veer_compiled_run(compiled, p->in, p->out, &(veer_run_options_t){.threads = threads}));
}

static void test_auto_any_threads(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    for (int k = 0; k < CASE_COUNT; k++) {
        veer_compiled_t *compiled = compile(&cases[k], "auto");
        const veer_plan_t *plan = veer_compiled_plan(compiled);
        ports_t first = open_ports(&cases[k], plan), p = open_ports(&cases[k], plan);
        run_with(compiled, &first, threads[0]);
        check_outputs(&cases[k], plan, &first, "auto");
        for (size_t t = 1; t < sizeof threads / sizeof *threads; t++) {
            run_with(compiled, &p, threads[t]);
            for (int i = 0; i < p.out_count; i++)
                assert_memory_equal(p.out[i].data, first.out[i].data, veer_type_bytes(&first.out[i].type));
        }
        close_ports(&first);
        close_ports(&p);
        veer_compiled_destroy(compiled);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_auto_any_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
