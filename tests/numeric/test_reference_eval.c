/* The evaluator: nested regions, lifetimes, failures; and the same nodes as plan kernels. */
#include "tests/op_run.h"

#include "runtime/plan.h"

static const veer_type_t f64x2 = {VEER_DTYPE_F64, 1, {2}};

/* ---- an allocator that counts, and fails from the `left`-th allocation on ---- */
typedef struct counter_s {
    int64_t bytes, peak_bytes;
    int left, live;
} counter_t;

static void *counted_alloc(void *user, size_t size_bytes) {
    counter_t *c = user;
    if (c->left == 0) return NULL;
    if (c->left > 0) c->left--;
    char *block = veer_alloc(veer_allocator_system(), size_bytes + 64);
    assert_non_null(block);
    *(int64_t *)block = (int64_t)size_bytes;
    c->live++;
    c->bytes += (int64_t)size_bytes;
    if (c->bytes > c->peak_bytes) c->peak_bytes = c->bytes;
    return block + 64;
}
static void counted_free(void *user, void *ptr) {
    counter_t *c = user;
    char *block = (char *)ptr - 64;
    c->live--;
    c->bytes -= *(int64_t *)block;
    veer_free(veer_allocator_system(), block);
}
static veer_allocator_t counted(counter_t *c) {
    return (veer_allocator_t){counted_alloc, counted_free, c};
}

/* ---- building ---- */
typedef struct module_s {
    veer_graph_t *g;
    veer_func_t func;
    veer_value_t x, k;
    veer_builder_t b;
} module_t;

/* @f(%x: f64[2], %k: f64[2]) */
static module_t module_begin(void) {
    module_t m;
    require_ok(veer_graph_create(veer_allocator_system(), &m.g));
    require_ok(veer_graph_add_func(m.g, "f", &m.func));
    require_ok(veer_region_add_arg(m.g, veer_func_body(m.g, m.func), f64x2, "x", &m.x));
    require_ok(veer_region_add_arg(m.g, veer_func_body(m.g, m.func), f64x2, "k", &m.k));
    m.b = veer_builder_at_end(m.g, veer_func_body(m.g, m.func));
    return m;
}
static void module_end(module_t *m, const veer_value_t *results, int count) {
    veer_builder_return(&m->b, results, count);
    require_ok(veer_builder_status(&m->b));
}

static double x_data[] = {1, 2}, k_data[] = {3, -1};
static const veer_tensor_t args[] = {{{VEER_DTYPE_F64, 1, {2}}, x_data}, {{VEER_DTYPE_F64, 1, {2}}, k_data}};

static void expect_result(module_t *m, int i, int results, int count, const double *want) {
    veer_tensor_t out[4];
    require_ok(veer_reference_eval(m->g, m->func, args, 2, veer_allocator_system(), out, results));
    assert_int_equal(veer_type_count(&out[i].type), count);
    for (int j = 0; j < count; j++) assert_true(veer_load_double(&out[i], j) == want[j]);
    for (int j = 0; j < results; j++) tensor_free(&out[j]);
}

/* s_0 = x, s_{i+1} = s_i + i c with c = 2k made outside the loop and last used inside; s_i^2 is stacked. */
static module_t loop_module(void) {
    module_t m = module_begin();
    veer_value_t c = veer_mul_c(&m.b, m.k, 2);
    veer_node_t loop = veer_builder_loop(&m.b, 4, &m.x, 1);
    veer_region_t body = veer_node_body(m.g, loop);
    veer_builder_t b = veer_builder_at_end(m.g, body);
    veer_value_t i = veer_cast(&b, veer_region_arg(m.g, body, 0), VEER_DTYPE_F64), s = veer_region_arg(m.g, body, 1);
    veer_value_t yields[] = {veer_add(&b, s, veer_mul(&b, i, c)), veer_mul(&b, s, s)};
    veer_builder_yield(&b, yields, 2);
    require_ok(veer_builder_status(&b));
    veer_builder_loop_finish(&m.b, loop);
    module_end(&m, (veer_value_t[]){veer_node_out(m.g, loop, 0), veer_node_out(m.g, loop, 1)}, 2);
    return m;
}

static void loops_carry_and_stack(void **state) {
    (void)state;
    module_t m = loop_module();
    expect_result(&m, 0, 2, 2, (double[]){37, -10}); /* 1 + (0+1+2+3) 6,  2 - 6 * 2 */
    expect_result(&m, 1, 2, 8, (double[]){1, 4, 1, 4, 49, 0, 361, 16});
    veer_graph_destroy(m.g);
}

/* The body gives its own argument, a captured value and one value twice. */
static void yields_may_be_anything(void **state) {
    (void)state;
    module_t m = module_begin();
    veer_node_t loop = veer_builder_loop(&m.b, 2, (veer_value_t[]){m.x, m.k}, 2);
    veer_region_t body = veer_node_body(m.g, loop);
    veer_builder_t b = veer_builder_at_end(m.g, body);
    veer_value_t s = veer_region_arg(m.g, body, 1), t = veer_region_arg(m.g, body, 2), sum = veer_add(&b, s, t);
    veer_builder_yield(&b, (veer_value_t[]){t, sum, sum, m.x}, 4);
    require_ok(veer_builder_status(&b));
    veer_builder_loop_finish(&m.b, loop);
    veer_value_t out[] = {veer_node_out(m.g, loop, 0), veer_node_out(m.g, loop, 1), veer_node_out(m.g, loop, 2),
                          veer_node_out(m.g, loop, 3)};
    module_end(&m, out, 4);
    expect_result(&m, 0, 4, 2, (double[]){4, 1});
    expect_result(&m, 1, 4, 2, (double[]){7, 0});
    expect_result(&m, 2, 4, 4, (double[]){4, 1, 7, 0});
    expect_result(&m, 3, 4, 4, (double[]){1, 2, 1, 2});
    veer_graph_destroy(m.g);
}

static void results_may_repeat(void **state) {
    (void)state;
    module_t m = module_begin();
    veer_value_t y = veer_neg(&m.b, m.x), c = veer_const(&m.b, f64x2, (double[]){5, 6});
    module_end(&m, (veer_value_t[]){m.x, y, y, c}, 4);
    expect_result(&m, 0, 4, 2, (double[]){1, 2});
    expect_result(&m, 1, 4, 2, (double[]){-1, -2});
    expect_result(&m, 2, 4, 2, (double[]){-1, -2});
    expect_result(&m, 3, 4, 2, (double[]){5, 6});
    veer_graph_destroy(m.g);
}

/* fused(x, k) = (x k + 7, x k, x) */
static veer_node_t fused_node(module_t *m) {
    veer_node_t fused = veer_builder_fused(&m->b, "test", (veer_value_t[]){m->x, m->k}, 2);
    veer_region_t body = veer_node_body(m->g, fused);
    veer_builder_t b = veer_builder_at_end(m->g, body);
    veer_value_t x = veer_region_arg(m->g, body, 0), xk = veer_mul(&b, x, veer_region_arg(m->g, body, 1));
    veer_builder_yield(&b, (veer_value_t[]){veer_add_c(&b, xk, 7), xk, x}, 3);
    require_ok(veer_builder_status(&b));
    veer_builder_fused_finish(&m->b, fused);
    require_ok(veer_builder_status(&m->b));
    return fused;
}

static void fused_nodes(void **state) {
    (void)state;
    module_t m = module_begin();
    veer_node_t fused = fused_node(&m);
    module_end(
        &m, (veer_value_t[]){veer_node_out(m.g, fused, 0), veer_node_out(m.g, fused, 1), veer_node_out(m.g, fused, 2)},
        3);
    expect_result(&m, 0, 3, 2, (double[]){10, 5});
    expect_result(&m, 1, 3, 2, (double[]){3, -2});
    expect_result(&m, 2, 3, 2, (double[]){1, 2});
    double got[3][2];
    veer_tensor_t out[] = {{f64x2, got[0]}, {f64x2, got[1]}, {f64x2, got[2]}};
    require_ok(veer_reference_node(m.g, fused, args, out));
    assert_true(got[0][0] == 10 && got[0][1] == 5 && got[1][1] == -2 && got[2][1] == 2);
    veer_graph_destroy(m.g);
}

static void calls(void **state) {
    (void)state;
    module_t m = loop_module();
    veer_func_t outer;
    veer_value_t x;
    require_ok(veer_graph_add_func(m.g, "outer", &outer));
    require_ok(veer_region_add_arg(m.g, veer_func_body(m.g, outer), f64x2, "x", &x));
    veer_builder_t b = veer_builder_at_end(m.g, veer_func_body(m.g, outer));
    veer_node_t call =
        veer_build_node(&b, VEER_OP_CALL, VEER_IN(x, veer_neg(&b, x)), VEER_ATTRS(VEER_STRING("callee", "f")));
    veer_value_t y = veer_neg(&b, veer_node_out(m.g, call, 0));
    veer_builder_return(&b, &y, 1);
    require_ok(veer_builder_status(&b));
    veer_tensor_t out;
    require_ok(veer_reference_eval(m.g, outer, args, 1, veer_allocator_system(), &out, 1));
    assert_true(veer_load_double(&out, 0) == 11 && veer_load_double(&out, 1) == 22); /* -(x - 12 x) */
    tensor_free(&out);
    veer_graph_destroy(m.g);
}

static void wrong_arguments_are_named(void **state) {
    (void)state;
    module_t m = loop_module();
    veer_tensor_t out[2], wrong[] = {args[0], {VEER_TYPE(VEER_DTYPE_F32, 2), k_data}};
    require_error(veer_reference_eval(m.g, m.func, args, 1, veer_allocator_system(), out, 2), VEER_ERR_CONFIG,
                  "takes 2 tensors");
    require_error(veer_reference_eval(m.g, m.func, wrong, 2, veer_allocator_system(), out, 2), VEER_ERR_CONFIG,
                  "argument 1 is f32[2], expected f64[2]");
    veer_graph_destroy(m.g);
}

/* A chain of 20 tensors of 1 MB never holds more than an operand and a result. */
static void intermediates_are_released(void **state) {
    (void)state;
    op_row_t c = {"exp", VEER_OP_EXP, {ANY(131072)}};
    op_run_t r;
    op_run_init(&r, &c, 1);
    veer_node_t end = veer_region_terminator(r.g, veer_func_body(r.g, r.func));
    veer_builder_t b = veer_builder_before(r.g, end);
    veer_value_t y = veer_node_out(r.g, r.node, 0);
    for (int i = 0; i < 20; i++) y = veer_tanh(&b, y);
    require_ok(veer_builder_status(&b));
    veer_node_set_in(r.g, end, 0, y);
    counter_t counter = {.left = -1};
    veer_tensor_t out;
    require_ok(veer_reference_eval(r.g, r.func, r.args, 1, counted(&counter), &out, 1));
    assert_int_equal(counter.live, 1);
    assert_true(counter.peak_bytes < 2 * (1 << 20) + (1 << 16));
    veer_free(counted(&counter), out.data);
    op_run_deinit(&r);
}

/* Each allocation fails once: a clean status, nothing left behind. */
static void failing_allocations(void **state) {
    (void)state;
    module_t m = loop_module();
    int failures = 0;
    for (bool done = false; !done; failures++) {
        counter_t counter = {.left = failures};
        veer_tensor_t out[2];
        veer_status_t status = veer_reference_eval(m.g, m.func, args, 2, counted(&counter), out, 2);
        done = !status;
        assert_true(done || veer_status_code(status) == VEER_ERR_RESOURCE);
        veer_status_free(status);
        for (int i = 0; done && i < 2; i++) veer_free(counted(&counter), out[i].data);
        assert_int_equal(counter.live, 0);
    }
    assert_true(failures > 20);
    veer_graph_destroy(m.g);
}

/* ---- plan kernels ---- */
/* A plan of one call: inputs are the node's operands, outputs its results. */
static veer_plan_t *plan_of(const veer_graph_t *g, veer_node_t node) {
    veer_plan_t *plan;
    veer_call_desc_t desc = {0};
    veer_buf_t bufs[16];
    require_ok(veer_plan_create(veer_allocator_system(), &plan));
    for (int i = 0; i < veer_node_in_count(g, node); i++) {
        bufs[desc.buf_count++] = (veer_buf_t){.kind = VEER_BUF_INPUT, .at = i};
        require_ok(veer_plan_add_input(plan, "in", *veer_value_type(g, veer_node_in(g, node, i))));
    }
    for (int i = 0; i < veer_node_out_count(g, node); i++) {
        bufs[desc.buf_count++] = (veer_buf_t){.kind = VEER_BUF_OUTPUT, .at = i};
        require_ok(veer_plan_add_output(plan, "out", *veer_value_type(g, veer_node_out(g, node, i))));
    }
    desc.bufs = bufs;
    require_ok(veer_reference_emit(g, node, plan, &desc));
    require_ok(veer_plan_add_call(plan, &desc));
    return plan;
}

static veer_status_t plan_run(veer_plan_t *plan, const veer_tensor_t *in, veer_tensor_t *out) {
    veer_exec_t *exec;
    veer_run_options_t options = {.threads = 2};
    require_ok(veer_exec_create(plan, &exec));
    for (int i = 0; i < veer_plan_input_count(plan); i++) veer_exec_bind_input(exec, i, in[i].data);
    for (int i = 0; i < veer_plan_output_count(plan); i++) veer_exec_bind_output(exec, i, out[i].data);
    veer_status_t status = veer_exec_run(exec, &options);
    veer_exec_destroy(exec);
    return status;
}

/* The plan gives the bits that the evaluator gives; the graph is gone by then. */
static void check_plan(const op_row_t *c) {
    op_run_t r;
    op_run_init(&r, c, 11);
    veer_tensor_t want = op_run_eval(&r), got = tensor_make(r.type);
    veer_plan_t *plan = plan_of(r.g, r.node);
    veer_graph_destroy(r.g);
    r.g = NULL;
    require_ok(plan_run(plan, r.args, &got));
    assert_memory_equal(got.data, want.data, veer_type_bytes(&r.type));
    veer_plan_destroy(plan);
    tensor_free(&want);
    tensor_free(&got);
    op_run_deinit(&r);
}

static void single_nodes_in_plans(void **state) {
    (void)state;
    check_plan(&(op_row_t){"add", VEER_OP_ADD, {ANY(2, 3), ANY(3)}});
    check_plan(&(op_row_t){"gelu", VEER_OP_GELU, {ANY(9)}, {VEER_STRING("approximate", "tanh")}});
    check_plan(
        &(op_row_t){"concat", VEER_OP_CONCAT, {ANY(2, 3), ANY(2, 1), ANY(2, 2), ANY(2, 4)}, {VEER_INT("axis", 1)}});
    check_plan(&(op_row_t){"transpose", VEER_OP_TRANSPOSE, {ANY(2, 3, 4)}, {LIST("perm", 2, 0, 1)}});
    check_plan(&(op_row_t){"reduce", VEER_OP_REDUCE_SUM, {ANY(2, 3, 4)}, {LIST("axes", 0, 2)}});
    check_plan(
        &(op_row_t){"scatter_add", VEER_OP_SCATTER_ADD, {ANY(3, 4), INDEX(4, 2, 6), ANY(2, 6)}, {VEER_INT("axis", 1)}});
    check_plan(&(op_row_t){"softmax", VEER_OP_SOFTMAX, {ANY(2, 3, 4)}, {VEER_INT("axis", 1)}});
    check_plan(&(op_row_t){"matmul", VEER_OP_MATMUL, {ANY(2, 3), ANY(3, 4)}});
}

static void one_operand_twice_in_a_plan(void **state) {
    (void)state;
    module_t m = module_begin();
    veer_node_t square = veer_build_node(&m.b, VEER_OP_MUL, VEER_IN(m.k, m.k), NULL);
    require_ok(veer_builder_status(&m.b));
    veer_plan_t *plan = plan_of(m.g, square);
    double got[2];
    require_ok(plan_run(plan, (veer_tensor_t[]){args[1], args[1]}, &(veer_tensor_t){f64x2, got}));
    assert_true(got[0] == 9 && got[1] == 1);
    veer_plan_destroy(plan);
    veer_graph_destroy(m.g);
}

static void fused_nodes_in_plans(void **state) {
    (void)state;
    module_t m = module_begin();
    veer_plan_t *plan = plan_of(m.g, fused_node(&m));
    veer_graph_destroy(m.g);
    double got[3][2];
    require_ok(plan_run(plan, args, (veer_tensor_t[]){{f64x2, got[0]}, {f64x2, got[1]}, {f64x2, got[2]}}));
    assert_true(got[0][0] == 10 && got[0][1] == 5 && got[1][0] == 3 && got[1][1] == -2 && got[2][0] == 1 &&
                got[2][1] == 2);
    veer_plan_destroy(plan);
}

static void bad_indices_stop_plans(void **state) {
    (void)state;
    op_row_t c = {"gather", VEER_OP_GATHER, {ANY(3), VALUES(VEER_DTYPE_I64, ((const double[]){5}), 1)}};
    op_run_t r;
    op_run_init(&r, &c, 1);
    veer_plan_t *plan = plan_of(r.g, r.node);
    veer_tensor_t got = tensor_make(r.type);
    require_error(plan_run(plan, r.args, &got), VEER_ERR_FAILED, "out of range");
    tensor_free(&got);
    veer_plan_destroy(plan);
    op_run_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_carry_and_stack),
        cmocka_unit_test(yields_may_be_anything),
        cmocka_unit_test(results_may_repeat),
        cmocka_unit_test(fused_nodes),
        cmocka_unit_test(calls),
        cmocka_unit_test(wrong_arguments_are_named),
        cmocka_unit_test(intermediates_are_released),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(single_nodes_in_plans),
        cmocka_unit_test(one_operand_twice_in_a_plan),
        cmocka_unit_test(fused_nodes_in_plans),
        cmocka_unit_test(bad_indices_stop_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
