/* Pass recompute: chains whose optimum is known, what it may not do, and gradients of the example classifiers: the same
 * bits in less memory. Cases in text: tests/golden/recompute.veer; random programs: test_passes_random. */
#include "api/compile.h"
#include "api/storage.h"
#include "tests/op_run.h"
#include "tests/support/random.h"

enum { WIDTH = 256, BYTES = WIDTH * 4, MOST = 64 };

/* @f(x) = a_n a_(n-1) ... a_1 with a_i = sin(a_(i-1)), a_0 = x: the shape of a network and its gradient. Every a_i
 * waits from its successor to its product. x and the result are not in the arena. Node `dear` is a product with a
 * matrix instead, of the same size. */
static veer_func_t chain(veer_graph_t *g, int length, int dear) {
    veer_func_t f;
    veer_value_t a[MOST], x;
    require_ok(veer_graph_add_func(g, "f", &f));
    require_ok(veer_region_add_arg(g, veer_func_body(g, f), VEER_TYPE(VEER_DTYPE_F32, 1, WIDTH), "x", &x));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    float *weights = veer_arena_array(veer_graph_arena(g), WIDTH * WIDTH, sizeof *weights);
    for (int i = 0; i < WIDTH * WIDTH; i++) weights[i] = (float)(i % 7 - 3) / WIDTH;
    veer_value_t w = veer_const(&b, VEER_TYPE(VEER_DTYPE_F32, WIDTH, WIDTH), weights), y = VEER_NO_VALUE;
    for (int i = 1; i <= length; i++) {
        veer_value_t from = i > 1 ? a[i - 1] : x;
        a[i] = i == dear ? veer_matmul(&b, from, w, false, false) : veer_sin(&b, from);
    }
    for (int i = length; i-- > 1;) y = veer_mul(&b, y.i ? y : a[length], a[i]);
    veer_builder_return(&b, &y, 1);
    require_ok(veer_builder_status(&b));
    return f;
}

typedef struct outcome_s {
    veer_status_t status;
    int64_t arena, nodes;
    int matmuls;
    float y[WIDTH];
} outcome_t;

static int64_t arena_of(const veer_graph_t *g, veer_func_t f) {
    int64_t bytes;
    require_ok(veer_storage_arena(g, f, true, veer_allocator_system(), &bytes));
    return bytes;
}

/* The chain within a budget of so many buffers (0: any number), evaluated. */
static outcome_t fit_chain(int length, int dear, int64_t buffers) {
    outcome_t o = {0};
    veer_graph_t *g;
    char passes[64];
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_func_t f = chain(g, length, dear);
    snprintf(passes, sizeof passes, "recompute{budget=%lld}", (long long)(buffers * BYTES));
    o.status = veer_run_passes(g, f, passes, NULL);
    float x[WIDTH];
    for (int i = 0; i < WIDTH; i++) x[i] = (float)(i - 100) / 64;
    veer_tensor_t in = {VEER_TYPE(VEER_DTYPE_F32, 1, WIDTH), x}, out;
    require_ok(veer_reference_eval(g, f, &in, 1, veer_allocator_system(), &out, 1));
    memcpy(o.y, out.data, sizeof o.y);
    tensor_free(&out);
    o.arena = arena_of(g, f);
    VEER_FOR_EACH_NODE(g, veer_func_body(g, f), n) {
        o.nodes++;
        o.matmuls += veer_node_op(g, n) == VEER_OP_MATMUL;
    }
    veer_graph_destroy(g);
    return o;
}

/* Without a budget a_1 to a_n and the first product live together. One buffer less: one node again. The least: a
 * product and two of the chain, whichever way it is computed. */
static void chains(void **state) {
    (void)state;
    for (int length = 4; length <= 12; length += 4) {
        outcome_t free = fit_chain(length, 0, 0), one, least, none;
        assert_int_equal(free.arena, (length + 1) * BYTES);
        one = fit_chain(length, 0, length);
        require_ok(one.status);
        assert_int_equal(one.arena, length * BYTES);
        assert_int_equal(one.nodes, free.nodes + 1);
        least = fit_chain(length, 0, 3);
        require_ok(least.status);
        assert_int_equal(least.arena, 3 * BYTES);
        none = fit_chain(length, 0, 2);
        require_error(none.status, VEER_ERR_RESOURCE,
                      "the memory budget of 2.05 KB cannot be met: computing values again, the arena takes 3.07 KB");
        assert_memory_equal(one.y, free.y, sizeof free.y);
        assert_memory_equal(least.y, free.y, sizeof free.y);
        assert_memory_equal(none.y, free.y, sizeof free.y);
    }
}

/* A half of the chain is freed without touching the product with a matrix in it, which costs hundreds of sines. */
static void dear_nodes_stay(void **state) {
    (void)state;
    for (int dear = 1; dear <= 8; dear++) {
        outcome_t free = fit_chain(8, dear, 0), half = fit_chain(8, dear, 5);
        require_ok(half.status);
        assert_true(half.arena <= 5 * BYTES);
        assert_int_equal(half.matmuls, 1);
        assert_memory_equal(half.y, free.y, sizeof free.y);
    }
}

static void bytes_are_parsed(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"1500", 1500}, {"64K", 64000}, {"1.5M", 1500000}, {"2g", 2000000000}};
    static const char *const bad[] = {"", "M", "-1", "0", "12X", "1MB", "nan", "1e30", "0.5"};
    int64_t bytes;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        require_ok(veer_bytes_parse(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        require_error(veer_bytes_parse(bad[i], &bytes), VEER_ERR_CONFIG, "is no number of bytes");
}

/* ---- the gradient of a classifier ---- */

typedef struct compiled_s {
    veer_compiled_t *c;
    veer_tensor_t out[8];
    int count;
} compiled_t;

/* A fixed choice of kernels: what is compared is the bits. */
static veer_status_t run_gradient(const char *path, const char *backend, int64_t budget, compiled_t *out) {
    static const char *const wrt[] = {"x"};
    veer_named_dim_t batch = {"batch", 4};
    veer_gradient_request_t request = {.of = "logits", .wrt = wrt, .wrt_count = 1, .head = "softmax"};
    veer_compile_options_t options = {
        .dims = &batch, .dim_count = 1, .backend = backend, .tune = "off", .memory_budget = budget};
    veer_tensor_t in[8];
    uint64_t random = 20251122;
    VEER_TRY(veer_compile_gradient(path, &request, &options, &out->c));
    const veer_plan_t *plan = veer_compiled_plan(out->c);
    int count = veer_plan_input_count(plan);
    for (int i = 0; i < count; i++) {
        in[i] = tensor_make(*veer_plan_input_type(plan, i));
        bool number = veer_dtype_is_float(in[i].type.dtype);
        for (int64_t k = 0; k < veer_type_count(&in[i].type); k++)
            tensor_set(&in[i], k, number ? 2 * random_unit(&random) - 1 : (double)k);
    }
    out->count = veer_plan_output_count(plan);
    for (int i = 0; i < out->count; i++) out->out[i] = tensor_make(*veer_plan_output_type(plan, i));
    veer_status_t status = veer_compiled_run(out->c, in, out->out, NULL);
    for (int i = 0; i < count; i++) tensor_free(&in[i]);
    return status;
}

static void release(compiled_t *c) {
    for (int i = 0; i < c->count; i++) tensor_free(&c->out[i]);
    veer_compiled_destroy(c->c);
}

static void check_gradient(const char *path, const char *backend) {
    compiled_t free = {0}, half = {0}, none = {0};
    require_ok(run_gradient(path, backend, 0, &free));
    int64_t arena = (int64_t)veer_plan_arena_bytes(veer_compiled_plan(free.c));
    assert_int_equal(veer_plan_budget(veer_compiled_plan(free.c))->budget_bytes, 0);
    require_ok(run_gradient(path, backend, arena / 2, &half));
    const veer_plan_t *plan = veer_compiled_plan(half.c);
    const veer_plan_budget_t *budget = veer_plan_budget(plan);
    printf("%s, %s: %lld bytes instead of %lld, %lld kernels again, %.1f %% more flops\n", path, backend,
           (long long)veer_plan_arena_bytes(plan), (long long)arena, (long long)budget->computed_again,
           100 * budget->added_flops / budget->flops);
    assert_true((int64_t)veer_plan_arena_bytes(plan) <= arena / 2);
    assert_int_equal(budget->arena_bytes, arena);
    assert_true(budget->computed_again > 0 && budget->added_flops < 0.25 * budget->flops);
    for (int i = 0; i < free.count; i++)
        assert_memory_equal(half.out[i].data, free.out[i].data, veer_type_bytes(&free.out[i].type));
    require_error(run_gradient(path, backend, arena / 100, &none), VEER_ERR_RESOURCE, "cannot be met");
    release(&free), release(&half);
}

static void gradients_in_half_the_memory(void **state) {
    (void)state;
    check_gradient(VEER_EXAMPLES "/digits/classifier/model.onnx", "auto");
    check_gradient(VEER_EXAMPLES "/digits/classifier/model.onnx", "reference");
}

/* ---- budgets and strands ---- */

static veer_sampling_t *guided_digits(int64_t budget) {
    static const char *const given[][2] = {{"class", "3"}, {"num-samples", "4"}, {"steps", "2"}, {"tune", "off"}};
    veer_settings_t *s;
    veer_sampling_t *sampling;
    char text[32];
    require_ok(veer_settings_create(veer_allocator_system(), &s));
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        require_ok(veer_settings_set(s, given[i][0], given[i][1]));
    snprintf(text, sizeof text, "%lld", (long long)budget);
    if (budget) require_ok(veer_settings_set(s, "memory-budget", text));
    require_ok(veer_sampling_create(VEER_EXAMPLES "/digits", s, NULL, &sampling));
    veer_settings_destroy(s);
    return sampling;
}

static int in_strands(const veer_plan_t *plan) {
    int count = 0;
    for (int i = 0; i < veer_plan_call_count(plan); i++) count += veer_plan_call(plan, i).strand > 0;
    return count;
}

/* Strands take memory: a budget gives them up before it computes anything again. */
static void strands_where_they_fit(void **state) {
    (void)state;
    veer_samples_t want, got;
    veer_sampling_t *free = guided_digits(0);
    int64_t arena = (int64_t)veer_plan_arena_bytes(veer_sampling_plan(free));
    int without = 0;
    assert_true(in_strands(veer_sampling_plan(free)) > 0);
    require_ok(veer_sampling_run(free, &(veer_run_options_t){.threads = 2}, &want));
    for (int tenths = 10; tenths >= 5; tenths--) {
        veer_sampling_t *less = guided_digits(arena * tenths / 10);
        const veer_plan_t *plan = veer_sampling_plan(less);
        bool again = veer_plan_budget(plan)->computed_again > 0;
        printf("%d tenths: %zu bytes, %d calls in strands, %lld kernels again\n", tenths, veer_plan_arena_bytes(plan),
               in_strands(plan), (long long)veer_plan_budget(plan)->computed_again);
        assert_true((int64_t)veer_plan_arena_bytes(plan) <= arena * tenths / 10);
        if (tenths == 10) assert_true(in_strands(plan) > 0 && !again);
        without += !in_strands(plan) && !again;
        require_ok(veer_sampling_run(less, &(veer_run_options_t){.threads = 2}, &got));
        assert_memory_equal(got.x_0.data, want.x_0.data, veer_type_bytes(&want.x_0.type));
        veer_samples_deinit(&got);
        veer_sampling_destroy(less);
    }
    assert_true(without > 0);
    veer_samples_deinit(&want);
    veer_sampling_destroy(free);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains), cmocka_unit_test(dear_nodes_stay), cmocka_unit_test(bytes_are_parsed),
        cmocka_unit_test(gradients_in_half_the_memory), cmocka_unit_test(strands_where_they_fit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
