/* The example models: every shape is known after the import, and the reference backend gives what PyTorch gave. */
#include "backends/reference/reference.h"
#include "frontend/npy.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"
#include "ir/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *model, *oracle, *output;
} case_t;

static const case_t cases[] = {
    {"digits/unet", "digits_unet", "out_sample"},         {"digits/classifier", "digits_classifier", "logits"},
    {"digits-cfg/unet", "digits_cfg_unet", "out_sample"}, {"e2e/transformer", "e2e_transformer", "out_sample"},
    {"e2e/classifier", "e2e_classifier", "logit"},
};
enum { CASE_COUNT = sizeof cases / sizeof *cases, MAX_INPUTS = 4 };

static void require_ok(veer_status_t status) {
    for (size_t i = 0; i < veer_status_count(status); i++) print_error("%s\n", veer_status_message(status, i));
    bool ok = !status;
    veer_status_free(status);
    assert_true(ok);
}

static veer_tensor_t read_npy(const char *oracle, const char *name) {
    char path[512];
    veer_tensor_t tensor;
    snprintf(path, sizeof path, "%s/oracles/%s/%s.npy", VEER_TEST_DATA, oracle, name);
    require_ok(veer_npy_read(path, veer_allocator_system(), &tensor));
    return tensor;
}

static veer_func_t import(veer_graph_t *g, const case_t *c, int64_t batch) {
    char path[512];
    veer_dim_binding_t dim = {"batch", batch};
    veer_onnx_options_t options = {.dims = &dim, .dim_count = 1, .eval = veer_reference_node};
    veer_func_t func;
    snprintf(path, sizeof path, "%s/%s/model.onnx", VEER_EXAMPLES, c->model);
    require_ok(veer_onnx_import(g, path, "f", &options, &func));
    require_ok(veer_verify(g));
    return func;
}

/* Nothing that could have been computed is left, nothing unused, and every node says where it came from. */
static void check_nodes(const veer_graph_t *g, veer_func_t func) {
    VEER_FOR_EACH_NODE(g, veer_func_body(g, func), node) {
        if (veer_node_op(g, node) == VEER_OP_CONST || veer_node_op(g, node) == VEER_OP_RETURN) continue;
        bool constant = true;
        int uses = 0;
        for (int i = 0; i < veer_node_in_count(g, node); i++) {
            veer_value_t in = veer_node_in(g, node, i);
            constant &= !in.i || veer_value_const_data(g, in);
        }
        for (int i = 0; i < veer_node_out_count(g, node); i++)
            uses += veer_value_use_count(g, veer_node_out(g, node, i));
        size_t bytes = veer_type_bytes(veer_value_type(g, veer_node_out(g, node, 0)));
        if (constant && bytes <= 64 << 10) fail_msg("a %s of constants is left", veer_op_name(veer_node_op(g, node)));
        assert_true(uses > 0);
        assert_true(veer_node_origin_count(g, node) > 0);
    }
}

static void check_output(const veer_tensor_t *got, const veer_tensor_t *want) {
    assert_true(veer_type_equal(&got->type, &want->type));
    double largest = 0, worst = 0;
    const float *a = got->data, *b = want->data;
    for (int64_t i = 0; i < veer_type_count(&got->type); i++) {
        largest = fmax(largest, fabs((double)b[i]));
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    printf("largest difference %.2e of %.2e\n", worst, largest);
    /* f32 through some hundred layers: the oracle's own rounding is about 1e-6 of the largest value */
    assert_true(worst <= 1e-5 * largest);
    assert_true(largest > 0);
}

static void check_case(const case_t *c) {
    veer_graph_t *g;
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_tensor_t want = read_npy(c->oracle, c->output), in[MAX_INPUTS], out;
    veer_func_t func = import(g, c, want.type.dims[0]);
    veer_region_t body = veer_func_body(g, func);
    int count = veer_region_arg_count(g, body);
    assert_true(count <= MAX_INPUTS);
    for (int i = 0; i < count; i++) in[i] = read_npy(c->oracle, veer_value_name(g, veer_region_arg(g, body, i)));
    assert_string_equal(veer_func_result_name(g, func, 0), c->output);
    check_nodes(g, func);
    require_ok(veer_reference_eval(g, func, in, count, veer_allocator_system(), &out, 1));
    printf("%s: ", c->model);
    check_output(&out, &want);
    for (int i = 0; i < count; i++) veer_free(veer_allocator_system(), in[i].data);
    veer_free(veer_allocator_system(), out.data);
    veer_free(veer_allocator_system(), want.data);
    veer_graph_destroy(g);
}

static void test_oracles(void **state) {
    (void)state;
    for (int i = 0; i < CASE_COUNT; i++) check_case(&cases[i]);
}

static void test_unbound_dim_is_named(void **state) {
    (void)state;
    veer_graph_t *g;
    veer_func_t func;
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_onnx_options_t options = {.eval = veer_reference_node};
    veer_status_t status = veer_onnx_import(g, VEER_EXAMPLES "/digits/unet/model.onnx", "f", &options, &func);
    assert_int_equal(veer_status_code(status), VEER_ERR_CONFIG);
    assert_int_equal(veer_status_count(status), 2); /* both inputs */
    assert_non_null(strstr(veer_status_message(status, 0), "input 'sample': dimension 0 ('batch') has no value"));
    assert_non_null(strstr(veer_status_details(status, 0), "help: --dim batch=N"));
    assert_int_equal(veer_graph_find_func(g, "f").i, 0);
    veer_status_free(status);
    veer_graph_destroy(g);
}

static void test_inspect(void **state) {
    (void)state;
    veer_onnx_info_t info;
    require_ok(veer_onnx_inspect(veer_allocator_system(), VEER_EXAMPLES "/digits/unet/model.onnx", NULL, &info));
    assert_string_equal(info.inputs[0].name, "sample");
    assert_string_equal(info.inputs[0].type, "f32[batch,1,8,8]");
    assert_string_equal(info.inputs[1].type, "i64[batch]");
    assert_string_equal(info.outputs[0].type, "f32[batch,2,8,8]");
    assert_int_equal(info.opset_count, 1);
    assert_int_equal(info.opsets[0].version, 17);
    assert_int_equal(info.node_count, 920);
    assert_int_equal(info.unsupported_count, 0);
    assert_int_equal(info.initializer_count, 144);
    assert_int_equal(info.initializer_bytes, 4 * info.parameter_count);
    assert_true(info.parameter_count > 820000 && info.parameter_count < 840000); /* 0.83 M */
    int convolutions = 0;
    for (int i = 0; i < info.op_count; i++)
        if (!strcmp(info.ops[i].op_type, "Conv")) convolutions = info.ops[i].count;
    assert_int_equal(convolutions, 35);
    veer_onnx_info_deinit(&info);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_oracles), cmocka_unit_test(test_unbound_dim_is_named),
                                       cmocka_unit_test(test_inspect)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
