/* The LLVM backend as a compiler of regions: what it declines and tells the fuse pass, what equal kernels share,
 * failing allocations, empty results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint32_t SEED = 7;

#include "tests/support/failing_allocator.h"
#include "tests/support/region_case.h"

static void declines_with_a_reason(void **state) {
    suite_t *s = *state;
    char reason[256];
    veer_builder_t b = begin(s, "matmul", 0, 0);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 4));
    veer_node_t node = veer_value_def(b.graph, veer_matmul(&b, x, x, false, false));
    check(veer_builder_status(&b));
    bool yes;
    check(veer_llvm_supports(b.graph, node, &yes, reason, sizeof reason));
    assert_false(yes);
    assert_string_equal(reason, "no kernel for op matmul");
    veer_llvm_kernel_t kernel;
    veer_status_t status = veer_llvm_emit(s->llvm, b.graph, node, &kernel);
    assert_int_equal(veer_status_code(status), VEER_ERR_UNSUPPORTED);
    veer_status_free(status);
    b = begin(s, "crossed reductions", 0, 0);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 400, 400));
    fused_t f = begin_fused(s, &b, &x, 1);
    veer_value_t rows = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, f.in[0], (int64_t[]){1}, 1, true);
    veer_value_t columns = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, f.in[0], (int64_t[]){0}, 1, true);
    veer_value_t y = veer_add(&f.body, rows, columns);
    end_fused(s, &b, &f, &y, 1);
    check(veer_llvm_supports(b.graph, f.node, &yes, reason, sizeof reason));
    assert_false(yes);
    assert_string_equal(reason, "reductions along different axes");
    b = begin(s, "a reduction of another's results", 0, 0);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 4)); /* equally long */
    f = begin_fused(s, &b, &x, 1);
    rows = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, f.in[0], (int64_t[]){1}, 1, true);
    y = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, veer_mul(&f.body, f.in[0], rows), (int64_t[]){0}, 1, false);
    end_fused(s, &b, &f, &y, 1);
    check(veer_llvm_supports(b.graph, f.node, &yes, reason, sizeof reason));
    assert_false(yes);
    assert_string_equal(reason, "a reduction of another reduction's results along a different axis");
}

/* What the fuse pass asks before it makes a node. */
static void tells_what_can_be_fused(void **state) {
    suite_t *s = *state;
    char reason[256];
    veer_llvm_fusion_t info;
    veer_builder_t b = begin(s, "candidates", 0, 0);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 8, 64));
    veer_value_t y = veer_silu(&b, x), m = veer_reduce_last(&b, VEER_OP_REDUCE_MEAN, y, true), z = veer_sub(&b, y, m);
    veer_value_t columns = veer_reduce(&b, VEER_OP_REDUCE_SUM, y, (int64_t[]){0}, 1, false);
    veer_value_t product = veer_matmul(&b, z, z, false, true);
    check(veer_builder_status(&b));
    veer_node_t nodes[] = {veer_value_def(b.graph, y), veer_value_def(b.graph, m), veer_value_def(b.graph, z)};
    veer_value_t results[] = {z, m};
    bool can;
    check(veer_llvm_can_fuse(b.graph, nodes, 3, results, 2, &can, &info, reason, sizeof reason));
    assert_true(can);
    assert_int_equal(info.nests, 1);
    assert_int_equal(info.sweeps, 2);
    assert_int_equal(info.work_items, 8);
    nodes[1] = veer_value_def(b.graph, columns), results[0] = y, results[1] = columns;
    check(veer_llvm_can_fuse(b.graph, nodes, 2, results, 2, &can, &info, reason, sizeof reason));
    assert_true(can);
    assert_int_equal(info.nests, 2);
    nodes[1] = veer_value_def(b.graph, product), results[1] = product;
    check(veer_llvm_can_fuse(b.graph, nodes, 2, results, 2, &can, &info, reason, sizeof reason));
    assert_false(can);
    assert_string_equal(reason, "no kernel for op matmul");
}

static void equal_kernels_are_one(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 3; i++) {
        veer_builder_t b = begin(s, "shared", 1e-6, 1e-6);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, i < 2 ? 50 : 51));
        finish_value(s, &b, veer_silu(&b, x));
    }
    assert_int_equal(s->cases[0].kernel.id, s->cases[1].kernel.id);
    assert_int_not_equal(s->cases[0].kernel.id, s->cases[2].kernel.id);
    run_all(s);
}

/* Every allocation fails once, alone and with all that follow: a clean status, no leak, and the compiler still works.
 */
static void survives_failing_allocations(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "softmax", 1e-6, 1e-6);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 50));
    veer_node_t node =
        veer_value_def(b.graph, veer_build(&b, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 1))));
    check(veer_builder_status(&b));
    for (int once = 0; once < 2; once++)
        for (long n = 0;; n++) {
            failing_allocator_t failing = {.fail_at = n, .once = once};
            veer_llvm_t *llvm = NULL;
            veer_llvm_kernel_t kernel;
            veer_status_t status = veer_llvm_create(failing_allocator(&failing), cpu, &llvm);
            bool created = !status;
            if (!status) status = veer_llvm_emit(llvm, b.graph, node, &kernel);
            bool emit_failed = created && status;
            if (!status) status = veer_llvm_finish(llvm);
            assert_int_equal(veer_status_code(status), failing.failed ? VEER_ERR_RESOURCE : VEER_OK);
            assert_true(status || veer_llvm_symbol(llvm, kernel.id));
            if (emit_failed && once) check(veer_llvm_finish(llvm)); /* what was begun is closed: the module compiles */
            veer_status_free(status);
            veer_llvm_destroy(llvm);
            assert_int_equal(failing.live, 0);
            if (!failing.failed) break;
        }
}

/* Short memory is a failure, never "no": what is compiled would depend on it. */
static void short_memory_is_no_answer(void **state) {
    (void)state;
    failing_allocator_t failing = {.fail_at = -1};
    veer_graph_t *g;
    veer_func_t func;
    veer_value_t x;
    char reason[256];
    check(veer_graph_create(failing_allocator(&failing), &g));
    check(veer_graph_add_func(g, "f", &func));
    check(veer_region_add_arg(g, veer_func_body(g, func), VEER_TYPE(VEER_DTYPE_F32, 4, 50), "", &x));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    veer_node_t node = veer_value_def(g, veer_build(&b, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 1))));
    check(veer_builder_status(&b));
    for (int once = 0; once < 2; once++)
        for (long n = 0;; n++) {
            bool supports = false, can = false;
            failing = (failing_allocator_t){.fail_at = n, .once = once, .live = failing.live};
            veer_status_t status = veer_llvm_supports(g, node, &supports, reason, sizeof reason);
            assert_int_equal(veer_status_code(status), failing.failed ? VEER_ERR_RESOURCE : VEER_OK);
            assert_int_equal(supports, !failing.failed);
            veer_status_free(status);
            bool failed = failing.failed;
            failing = (failing_allocator_t){.fail_at = n, .once = once, .live = failing.live};
            veer_value_t y = veer_node_out(g, node, 0);
            status = veer_llvm_can_fuse(g, &node, 1, &y, 1, &can, NULL, reason, sizeof reason);
            assert_int_equal(veer_status_code(status), failing.failed ? VEER_ERR_RESOURCE : VEER_OK);
            assert_int_equal(can, !failing.failed);
            veer_status_free(status);
            if (!failed && !failing.failed) break;
        }
    failing.fail_at = -1;
    veer_graph_destroy(g);
    assert_int_equal(failing.live, 0);
}

static void empty_results(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "empty", 0, 0);
    finish_value(s, &b, veer_exp(&b, arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 0))));
    b = begin(s, "sum of nothing", 0, 0);
    finish_value(s, &b, veer_reduce_last(&b, VEER_OP_REDUCE_SUM, arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 0)), false));
    run_all(s);
}

static int run_group(const char *name, const char *target) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(declines_with_a_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(short_memory_is_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_what_can_be_fused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(equal_kernels_are_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(survives_failing_allocations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_results, set_up, tear_down),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return run_targets(run_group);
}
