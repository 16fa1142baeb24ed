/* The example models again after export and import: the same function, and valid ONNX as far as our own reader goes. */
#include "backends/reference/reference.h"
#include "frontend/npy.h"
#include "frontend/onnx_export.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"
#include "ir/verify.h"
#include "tests/unit/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *model, *oracle;
} case_t;

static const case_t cases[] = {{"digits/unet", "digits_unet"},
                               {"digits/classifier", "digits_classifier"},
                               {"digits-cfg/unet", "digits_cfg_unet"},
                               {"e2e/transformer", "e2e_transformer"},
                               {"e2e/classifier", "e2e_classifier"}};
enum { CASE_COUNT = sizeof cases / sizeof *cases, MAX_INPUTS = 4, BATCH = 2 };

static veer_allocator_t system_allocator(void) {
    return veer_allocator_system();
}

static veer_graph_t *new_graph(void) {
    veer_graph_t *g;
    assert_ok(veer_graph_create(system_allocator(), &g));
    return g;
}

static veer_func_t import(veer_graph_t *g, const char *path) {
    veer_onnx_options_t options = {
        .dims = &(veer_dim_binding_t){"batch", BATCH}, .dim_count = 1, .eval = veer_reference_node};
    veer_func_t func;
    assert_ok(veer_onnx_import(g, path, "f", &options, &func));
    assert_ok(veer_verify(g));
    return func;
}

/* The first rows of an oracle's input. */
static veer_tensor_t read_rows(const char *oracle, const char *name) {
    char path[512];
    veer_tensor_t tensor;
    snprintf(path, sizeof path, "%s/oracles/%s/%s.npy", VEER_TEST_DATA, oracle, name);
    assert_ok(veer_npy_read(path, system_allocator(), &tensor));
    assert_true(tensor.type.dims[0] >= BATCH);
    tensor.type.dims[0] = BATCH;
    return tensor;
}

static veer_tensor_t run(const veer_graph_t *g, veer_func_t func, const char *oracle) {
    veer_region_t body = veer_func_body(g, func);
    veer_tensor_t in[MAX_INPUTS], out;
    int count = veer_region_arg_count(g, body);
    assert_true(count <= MAX_INPUTS);
    for (int i = 0; i < count; i++) in[i] = read_rows(oracle, veer_value_name(g, veer_region_arg(g, body, i)));
    assert_ok(veer_reference_eval(g, func, in, count, system_allocator(), &out, 1));
    for (int i = 0; i < count; i++) veer_free(system_allocator(), in[i].data);
    return out;
}

static void check_round_trip(const case_t *c, const veer_onnx_export_options_t *options) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s/model.onnx", VEER_EXAMPLES, c->model);
    veer_graph_t *g = new_graph(), *again = new_graph();
    veer_func_t func = import(g, path);
    uint32_t nodes = 0, nodes_after = 0;
    VEER_FOR_EACH_NODE(g, veer_func_body(g, func), n) nodes++;
    assert_ok(veer_onnx_export(g, func, temp_path("model.onnx"), options));
    assert_ok(veer_verify(g));
    VEER_FOR_EACH_NODE(g, veer_func_body(g, func), m) nodes_after++;
    assert_int_equal(nodes, nodes_after);
    veer_func_t func_again = import(again, temp_path("model.onnx"));
    assert_string_equal(veer_func_result_name(again, func_again, 0), veer_func_result_name(g, func, 0));
    veer_tensor_t want = run(g, func, c->oracle), got = run(again, func_again, c->oracle);
    assert_true(veer_type_equal(&want.type, &got.type));
    double largest = 0;
    for (int64_t i = 0; i < veer_type_count(&want.type); i++) {
        double x = (double)((float *)want.data)[i], y = (double)((float *)got.data)[i];
        largest = fmax(largest, fabs(x));
        assert_true(fabs(x - y) <= 2e-5 * (1 + fabs(x))); /* group norms are computed in another order */
    }
    assert_true(largest > 0);
    veer_free(system_allocator(), want.data);
    veer_free(system_allocator(), got.data);
    veer_graph_destroy(g);
    veer_graph_destroy(again);
}

static void test_round_trip(void **state) {
    (void)state;
    for (int i = 0; i < CASE_COUNT; i++) check_round_trip(&cases[i], NULL);
    assert_int_equal(temp_folder_count(true), 1);
}

static void test_external_data(void **state) {
    (void)state;
    check_round_trip(&cases[1], &(veer_onnx_export_options_t){.external_bytes = 1000});
    assert_int_equal(temp_folder_count(false), 2);
    unlink(temp_path("model.onnx.data"));
    veer_graph_t *g = new_graph();
    veer_onnx_options_t options = {.eval = veer_reference_node};
    veer_func_t func;
    veer_status_t status = veer_onnx_import(g, temp_path("model.onnx"), "f", &options, &func);
    assert_int_equal(veer_status_count(status), 1); /* one file is missing, not fifty weights */
    assert_error(status, VEER_ERR_FILE, "external data 'model.onnx.data' cannot be opened");
    veer_graph_destroy(g);
    temp_folder_count(true);
}

static size_t export_bytes(uint8_t *bytes, size_t room) {
    veer_graph_t *g = new_graph();
    veer_func_t func = import(g, VEER_EXAMPLES "/e2e/classifier/model.onnx");
    assert_ok(veer_onnx_export(g, func, temp_path("model.onnx"), NULL));
    veer_graph_destroy(g);
    return read_file(temp_path("model.onnx"), bytes, room);
}

static void test_same_bytes(void **state) {
    (void)state;
    enum { ROOM = 1 << 23 };
    static uint8_t a[ROOM], b[ROOM];
    size_t size = export_bytes(a, ROOM);
    assert_true(size > 1000 && size < ROOM);
    assert_int_equal(export_bytes(b, ROOM), size);
    assert_memory_equal(a, b, size);
    temp_folder_count(true);
}

/* An argument given back, twice, and a constant: each result has its name and value. */
static void test_plain_results(void **state) {
    (void)state;
    veer_graph_t *g = new_graph(), *again = new_graph();
    veer_func_t func;
    veer_value_t x;
    assert_ok(veer_graph_add_func(g, "f", &func));
    assert_ok(veer_region_add_arg(g, veer_func_body(g, func), VEER_TYPE(VEER_DTYPE_F32, 2), "x", &x));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    veer_value_t two = veer_const_f32(&b, 2), y = veer_mul(&b, x, two);
    veer_builder_return(&b, (veer_value_t[]){x, y, y, two}, 4);
    assert_ok(veer_builder_status(&b));
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) assert_ok(veer_func_set_result_name(g, func, i, names[i]));
    assert_ok(veer_onnx_export(g, func, temp_path("model.onnx"), NULL));
    func = import(again, temp_path("model.onnx"));
    float values[] = {3, 4};
    veer_tensor_t in = {VEER_TYPE(VEER_DTYPE_F32, 2), values}, out[4];
    assert_ok(veer_reference_eval(again, func, &in, 1, system_allocator(), out, 4));
    static const float want[] = {3, 6, 6, 2};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(veer_func_result_name(again, func, i), names[i]);
        assert_true(((float *)out[i].data)[0] == want[i]);
        veer_free(system_allocator(), out[i].data);
    }
    veer_graph_destroy(g);
    veer_graph_destroy(again);
    temp_folder_count(true);
}

static void test_unsupported(void **state) {
    (void)state;
    veer_graph_t *g = new_graph();
    veer_func_t func;
    assert_ok(veer_graph_add_func(g, "f", &func));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    b.origin = "xi";
    veer_value_t zero = veer_const_i64(&b, 0), noise[2];
    for (int i = 0; i < 2; i++)
        noise[i] = veer_build(&b, VEER_OP_NOISE, VEER_IN(zero, zero, zero),
                              VEER_ATTRS(VEER_INTS("dims", ((int64_t[]){1, 4}), 2), VEER_INT("stream", i)));
    veer_builder_return(&b, noise, 2);
    assert_ok(veer_builder_status(&b));
    veer_status_t status = veer_onnx_export(g, func, temp_path("model.onnx"), NULL);
    assert_int_equal(veer_status_count(status), 2);
    assert_error(status, VEER_ERR_UNSUPPORTED, "node 'xi' (noise): ONNX has no standard operator for it");
    assert_int_equal(temp_folder_count(false), 0);
    veer_graph_destroy(g);
}

/* Channels last: standard operators between transposes, the norm spelled out. */
static void test_channels_last(void **state) {
    (void)state;
    enum { COUNT = 6 };
    veer_graph_t *g = new_graph(), *again = new_graph();
    veer_func_t func;
    veer_value_t x, y[COUNT];
    assert_ok(veer_graph_add_func(g, "f", &func));
    veer_type_t type = VEER_TYPE(VEER_DTYPE_F32, 2, 4, 5, 6);
    assert_ok(veer_region_add_arg(g, veer_func_body(g, func), type, "x", &x));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    float values[240], weights[6 * 6 * 4];
    for (int i = 0; i < 240; i++) values[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int i = 0; i < 144; i++) weights[i] = (float)(i * 29 % 61) / 30 - 1;
    veer_value_t w = veer_const(&b, VEER_TYPE(VEER_DTYPE_F32, 6, 6, 2, 2), weights);
    int64_t one[] = {1, 1}, two[] = {2, 2}, none[] = {0, 0};
    veer_named_attr_t window[] = {VEER_INTS("strides", two, 2),
                                  VEER_INTS("pads_before", none, 2),
                                  VEER_INTS("pads_after", one, 2),
                                  VEER_INTS("dilations", one, 2),
                                  VEER_INT("channels_last", 1),
                                  {0},
                                  {0}};
    y[0] = veer_build(&b, VEER_OP_CONV, VEER_IN(x, w), window);
    window[5] = VEER_INTS("output_padding", one, 2);
    y[1] = veer_build(&b, VEER_OP_CONV_TRANSPOSE, VEER_IN(x, w), window);
    window[5] = VEER_INTS("kernel", two, 2);
    y[2] = veer_node_out(g, veer_build_node(&b, VEER_OP_MAX_POOL, &x, 1, window), 0);
    y[3] = veer_build(&b, VEER_OP_AVG_POOL, VEER_IN(x), window);
    y[4] =
        veer_build(&b, VEER_OP_GROUP_NORM, VEER_IN(x), VEER_ATTRS(VEER_INT("groups", 3), VEER_INT("channels_last", 1)));
    y[5] = veer_build(&b, VEER_OP_GROUP_NORM_GRAD, VEER_IN(x, y[4]),
                      VEER_ATTRS(VEER_INT("groups", 2), VEER_INT("channels_last", 1)));
    veer_builder_return(&b, y, COUNT);
    assert_ok(veer_builder_status(&b));
    assert_ok(veer_onnx_export(g, func, temp_path("model.onnx"), NULL));
    veer_func_t copy = import(again, temp_path("model.onnx"));
    veer_tensor_t in = {type, values}, want[COUNT], got[COUNT];
    assert_ok(veer_reference_eval(g, func, &in, 1, system_allocator(), want, COUNT));
    assert_ok(veer_reference_eval(again, copy, &in, 1, system_allocator(), got, COUNT));
    for (int k = 0; k < COUNT; k++) {
        assert_true(veer_type_equal(&want[k].type, &got[k].type));
        for (int64_t i = 0; i < veer_type_count(&want[k].type); i++)
            assert_true(fabs((double)((float *)want[k].data)[i] - ((float *)got[k].data)[i]) <= 1e-5);
        veer_free(system_allocator(), want[k].data);
        veer_free(system_allocator(), got[k].data);
    }
    veer_graph_destroy(g);
    veer_graph_destroy(again);
    temp_folder_count(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_external_data),
                                       cmocka_unit_test(test_same_bytes),  cmocka_unit_test(test_plain_results),
                                       cmocka_unit_test(test_unsupported), cmocka_unit_test(test_channels_last)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
