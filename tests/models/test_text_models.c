/* The example models through the text form and through the general passes: nothing is lost, and no result changes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "backends/reference/reference.h"
#include "frontend/npy.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"
#include "ir/equal.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/gradient.h"
#include "passes/manager.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct case_s {
    const char *model, *oracle;
} case_t;

static const case_t cases[] = {
    {"digits/unet", "digits_unet"},         {"digits/classifier", "digits_classifier"},
    {"digits-cfg/unet", "digits_cfg_unet"}, {"e2e/transformer", "e2e_transformer"},
    {"e2e/classifier", "e2e_classifier"},
};
enum { CASE_COUNT = sizeof cases / sizeof *cases, MAX_INPUTS = 8 };

static void check_ok(veer_status_t status) {
    for (size_t i = 0; i < veer_status_count(status); i++) print_error("%s\n", veer_status_message(status, i));
    bool ok = !status;
    veer_status_free(status);
    assert_true(ok);
}

static veer_tensor_t read_npy(const char *oracle, const char *name) {
    char path[512];
    veer_tensor_t tensor;
    snprintf(path, sizeof path, "%s/oracles/%s/%s.npy", VEER_TEST_DATA, oracle, name);
    check_ok(veer_npy_read(path, veer_allocator_system(), &tensor));
    return tensor;
}

/* The batch is what the oracle's first argument has. */
static veer_graph_t *import(const case_t *c, int64_t batch, veer_func_t *out_func) {
    char path[512];
    veer_graph_t *g;
    veer_dim_binding_t dim = {"batch", batch};
    veer_onnx_options_t options = {.dims = &dim, .dim_count = 1, .eval = veer_reference_node};
    snprintf(path, sizeof path, "%s/%s/model.onnx", VEER_EXAMPLES, c->model);
    check_ok(veer_graph_create(veer_allocator_system(), &g));
    check_ok(veer_onnx_import(g, path, "f", &options, out_func));
    return g;
}

static int64_t oracle_batch(const case_t *c) {
    veer_func_t f;
    veer_graph_t *g = import(c, 1, &f);
    veer_tensor_t x = read_npy(c->oracle, veer_value_name(g, veer_region_arg(g, veer_func_body(g, f), 0)));
    int64_t batch = x.type.dims[0];
    veer_free(veer_allocator_system(), x.data);
    veer_graph_destroy(g);
    return batch;
}

static void check_round_trip(const veer_graph_t *g) {
    char *first, *second;
    veer_graph_t *copy;
    check_ok(veer_print(g, veer_allocator_system(), &first));
    check_ok(veer_graph_create(veer_allocator_system(), &copy));
    check_ok(veer_parse(copy, first, strlen(first), "printed"));
    check_ok(veer_verify(copy));
    check_ok(veer_graph_equal(g, copy));
    check_ok(veer_print(copy, veer_allocator_system(), &second));
    assert_string_equal(first, second);
    assert_non_null(strstr(first, "model.onnx\"+")); /* weights are named, not repeated */
    assert_true(strlen(first) < 1 << 20);
    veer_free(veer_allocator_system(), first);
    veer_free(veer_allocator_system(), second);
    veer_graph_destroy(copy);
}

static int count_nodes(const veer_graph_t *g, veer_func_t func) {
    int count = 0;
    VEER_FOR_EACH_NODE(g, veer_func_body(g, func), node) count += veer_node_op(g, node) != VEER_OP_CONST;
    return count;
}

static void run_passes(veer_graph_t *g) {
    veer_pipeline_t *p;
    check_ok(veer_pipeline_create(veer_allocator_system(), "inline,fold,cse,dce,fold,cse,dce", &p));
    check_ok(veer_pipeline_run(p, g, VEER_NO_FUNC,
                               &(veer_pipeline_options_t){.eval = veer_reference_node, .verify_each = true}));
    veer_pipeline_destroy(p);
}

static void evaluate(const veer_graph_t *g, veer_func_t func, const veer_tensor_t *in, veer_tensor_t *out, int count) {
    check_ok(veer_reference_eval(g, func, in, veer_region_arg_count(g, veer_func_body(g, func)),
                                 veer_allocator_system(), out, count));
}

/* Every rule of the passes is exact, so every bit stays. */
static void check_same(const veer_tensor_t *a, const veer_tensor_t *b) {
    const float *x = a->data, *y = b->data;
    double worst = 0, largest = 0;
    assert_true(veer_type_equal(&a->type, &b->type) && a->type.dtype == VEER_DTYPE_F32);
    for (int64_t i = 0; i < veer_type_count(&a->type); i++) {
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
        largest = fmax(largest, fabs((double)x[i]));
    }
    print_message("  passes change the result by %.1e of %.1e\n", worst, largest);
    assert_true(largest > 0 && worst == 0);
}

static void check_model(const case_t *c) {
    veer_func_t f;
    veer_tensor_t in[MAX_INPUTS], before, after;
    veer_graph_t *g = import(c, oracle_batch(c), &f);
    veer_region_t body = veer_func_body(g, f);
    int inputs = veer_region_arg_count(g, body), nodes = count_nodes(g, f);
    for (int i = 0; i < inputs; i++) in[i] = read_npy(c->oracle, veer_value_name(g, veer_region_arg(g, body, i)));
    check_round_trip(g);
    evaluate(g, f, in, &before, 1);
    run_passes(g);
    check_round_trip(g);
    evaluate(g, f, in, &after, 1);
    print_message("%s: %d nodes, %d after the passes\n", c->model, nodes, count_nodes(g, f));
    assert_true(count_nodes(g, f) <= nodes);
    check_same(&before, &after);
    for (int i = 0; i < inputs; i++) veer_free(veer_allocator_system(), in[i].data);
    veer_free(veer_allocator_system(), before.data);
    veer_free(veer_allocator_system(), after.data);
    veer_graph_destroy(g);
}

static void models_survive_text_and_passes(void **state) {
    (void)state;
    for (int i = 0; i < CASE_COUNT; i++) check_model(&cases[i]);
}

/* @gradient(inputs, seed): the model's result and its gradient by the first input. */
static veer_func_t add_gradient(veer_graph_t *g, veer_func_t f) {
    veer_func_t func;
    veer_value_t in[MAX_INPUTS + 1];
    veer_region_t from = veer_func_body(g, f);
    int count = veer_region_arg_count(g, from);
    check_ok(veer_graph_add_func(g, "gradient", &func));
    for (int i = 0; i <= count; i++) {
        veer_value_t like = i < count ? veer_region_arg(g, from, i) : veer_region_result(g, from, 0);
        check_ok(veer_region_add_arg(g, veer_func_body(g, func), *veer_value_type(g, like),
                                     i < count ? veer_value_name(g, like) : "seed", &in[i]));
    }
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    veer_node_t grad = veer_builder_grad(&b, f, in, count, 0, in[count], (int64_t[]){0}, 1);
    check_ok(veer_builder_status(&b));
    veer_builder_return(
        &b, (veer_value_t[]){veer_node_out(g, grad, 0), veer_node_out(g, grad, veer_node_out_count(g, grad) - 1)}, 2);
    check_ok(veer_builder_status(&b));
    check_ok(veer_verify(g));
    check_round_trip(g); /* with the grad node */
    check_ok(veer_gradient_expand(g, grad));
    check_ok(veer_verify(g));
    return func;
}

static void check_gradient(const case_t *c) {
    veer_func_t f;
    veer_tensor_t in[MAX_INPUTS + 1], before[2], after[2];
    veer_graph_t *g = import(c, oracle_batch(c), &f);
    int inputs = veer_region_arg_count(g, veer_func_body(g, f));
    veer_func_t func = add_gradient(g, f);
    veer_region_t body = veer_func_body(g, func);
    for (int i = 0; i < inputs; i++) in[i] = read_npy(c->oracle, veer_value_name(g, veer_region_arg(g, body, i)));
    in[inputs].type = *veer_value_type(g, veer_region_arg(g, body, inputs));
    in[inputs].data = veer_alloc(veer_allocator_system(), veer_type_bytes(&in[inputs].type));
    for (int64_t i = 0; i < veer_type_count(&in[inputs].type); i++) ((float *)in[inputs].data)[i] = (float)(1 + i % 3);
    evaluate(g, func, in, before, 2);
    int nodes = count_nodes(g, func);
    run_passes(g);
    check_round_trip(g);
    evaluate(g, func, in, after, 2);
    print_message("gradient of %s: %d nodes, %d after the passes\n", c->model, nodes, count_nodes(g, func));
    for (int i = 0; i < 2; i++) {
        check_same(&before[i], &after[i]);
        veer_free(veer_allocator_system(), before[i].data);
        veer_free(veer_allocator_system(), after[i].data);
    }
    for (int i = 0; i <= inputs; i++) veer_free(veer_allocator_system(), in[i].data);
    veer_graph_destroy(g);
}

static void gradients_survive_text_and_passes(void **state) {
    (void)state;
    check_gradient(&cases[1]);
    check_gradient(&cases[4]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_survive_text_and_passes),
        cmocka_unit_test(gradients_survive_text_and_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
