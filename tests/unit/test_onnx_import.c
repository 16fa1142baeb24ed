/* What the import says about models that are wrong, and that it takes the forms that models may have. */
#include "backends/reference/reference.h"
#include "frontend/onnx_export.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"
#include "ir/verify.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/random.h"
#include "tests/unit/onnx_bytes.h"
#include "tests/unit/temp_folder.h"

static veer_graph_t *new_graph(veer_allocator_t allocator) {
    veer_graph_t *g;
    assert_ok(veer_graph_create(allocator, &g));
    return g;
}

static const veer_onnx_options_t plain = {.eval = veer_reference_node};

/* Imports into a graph that is thrown away. */
static veer_status_t import(const bytes_t *model) {
    veer_graph_t *g = new_graph(veer_allocator_system());
    veer_func_t func;
    veer_status_t status = veer_onnx_import_memory(g, model->data, model->size, "f", &plain, &func);
    if (status)
        assert_int_equal(veer_graph_find_func(g, "f").i, 0);
    else
        assert_ok(veer_verify(g));
    veer_graph_destroy(g);
    return status;
}

static veer_status_t import_graph(const bytes_t *graph) {
    bytes_t model = {0};
    put_model(&model, graph, 17);
    return import(&model);
}

/* One f32[2] input x and output y: the value of y[0] for x = {value, 0}. */
static float run_model(const bytes_t *model, float value) {
    veer_graph_t *g = new_graph(veer_allocator_system());
    veer_func_t func;
    float x[2] = {value, 0};
    assert_ok(veer_onnx_import_memory(g, model->data, model->size, "f", &plain, &func));
    assert_ok(veer_verify(g));
    veer_tensor_t in = {VEER_TYPE(VEER_DTYPE_F32, 2), x}, out;
    assert_ok(veer_reference_eval(g, func, &in, 1, veer_allocator_system(), &out, 1));
    float y = ((float *)out.data)[0];
    veer_free(veer_allocator_system(), out.data);
    veer_graph_destroy(g);
    return y;
}

static bytes_t with_interface(void) {
    bytes_t graph = {0};
    put_value(&graph, INPUT, "x", FLOAT, "2");
    put_value(&graph, OUTPUT, "y", FLOAT, "2");
    return graph;
}

/* ---- not a model ---- */

static void test_not_a_model(void **state) {
    (void)state;
    bytes_t empty = {0}, text = {0}, no_graph = {0}, two = {0}, graph = with_interface();
    assert_error(import(&empty), VEER_ERR_FILE, "the file is empty");
    text.size = 40;
    memcpy(text.data, "# This is a README and no model at all.\n", text.size);
    assert_error(import(&text), VEER_ERR_FILE, "is not an ONNX model");
    put_int(&no_graph, 1, 8);
    assert_error(import(&no_graph), VEER_ERR_FILE, "it has no graph");
    put_message(&no_graph, 7, &graph);
    assert_error(import(&no_graph), VEER_ERR_FILE, "it imports no operator set");
    put_model(&two, &graph, 17);
    put_message(&two, 7, &graph);
    assert_error(import(&two), VEER_ERR_FILE, "more than one graph");
}

static void test_every_prefix_is_refused(void **state) {
    (void)state;
    bytes_t graph = with_interface(), model = {0};
    put_node(&graph, "Relu", "r", "x", "y");
    put_model(&model, &graph, 17);
    assert_ok(import(&model));
    for (model.size--; model.size; model.size--) {
        veer_status_t status = import(&model);
        assert_int_equal(veer_status_code(status), VEER_ERR_FILE);
        veer_status_free(status);
    }
}

/* ---- graphs that are none ---- */

static void test_names(void **state) {
    (void)state;
    bytes_t undefined = with_interface(), twice = with_interface(), no_output = with_interface();
    put_node(&undefined, "Add", "sum", "x z", "y");
    assert_error(import_graph(&undefined), VEER_ERR_FILE, "node 'sum': 'z' is not defined in the model");
    put_node(&twice, "Relu", "a", "x", "y");
    put_node(&twice, "Relu", "b", "x", "y");
    assert_error(import_graph(&twice), VEER_ERR_FILE, "'y' is defined twice");
    put_node(&no_output, "Relu", "a", "x", "z");
    assert_error(import_graph(&no_output), VEER_ERR_FILE, "'y' is not defined in the model");
}

static void test_cycle(void **state) {
    (void)state;
    bytes_t graph = with_interface(), self = with_interface();
    put_node(&graph, "Add", "first", "x c", "a");
    put_node(&graph, "Relu", "second", "a", "b");
    put_node(&graph, "Relu", "third", "b", "c");
    put_node(&graph, "Relu", "", "c", "y");
    assert_error(import_graph(&graph), VEER_ERR_FILE, "cycle of 3 nodes through node 'first'");
    assert_error(import_graph(&graph), VEER_ERR_FILE, "note: node 'second' is part of it");
    put_node(&self, "Add", "loop", "x y", "y");
    assert_error(import_graph(&self), VEER_ERR_FILE, "cycle of 1 nodes through node 'loop'");
}

static void test_nodes_in_any_order(void **state) {
    (void)state;
    bytes_t graph = with_interface(), model = {0};
    put_node(&graph, "Add", "", "b a", "y");
    put_node(&graph, "Neg", "", "a", "b_not");
    put_node(&graph, "Abs", "", "b_not", "b");
    put_node(&graph, "Exp", "", "x", "a");
    put_model(&model, &graph, 17);
    assert_true(run_model(&model, 0) == 2);
}

/* ---- everything unsupported at once, nothing twice ---- */

static void test_all_unsupported(void **state) {
    (void)state;
    bytes_t graph = with_interface();
    put_node(&graph, "Foo", "one", "x", "a");
    put_node(&graph, "Relu", "two", "a", "b"); /* fine, but its operand is not there */
    put_node(&graph, "Bar", "three", "b", "c");
    put_node(&graph, "Gelu", "four", "x", "d"); /* not in operator set 17 */
    put_node(&graph, "Add", "five", "c d", "y");
    veer_status_t status = import_graph(&graph);
    assert_int_equal(veer_status_count(status), 3);
    assert_string_equal(veer_status_message(status, 0), "node 'one' (Foo, opset 17): the operator is not supported");
    assert_string_equal(veer_status_message(status, 1), "node 'three' (Bar, opset 17): the operator is not supported");
    assert_string_equal(veer_status_message(status, 2),
                        "node 'four' (Gelu, opset 17): Gelu is supported from operator set 20 on");
    assert_error(status, VEER_ERR_UNSUPPORTED, "help: ");
}

static void test_operator_set(void **state) {
    (void)state;
    bytes_t graph = with_interface(), model = {0};
    put_node(&graph, "Relu", "", "x", "y");
    put_model(&model, &graph, 99);
    assert_error(import(&model), VEER_ERR_UNSUPPORTED, "operator set 99 is newer than");
}

static void test_inputs(void **state) {
    (void)state;
    bytes_t text = {0}, rank = {0}, negative = {0}, unnamed = {0};
    put_value(&text, INPUT, "words", STRING, "2");
    assert_error(import_graph(&text), VEER_ERR_UNSUPPORTED, "input 'words' has elements of type STRING");
    put_value(&rank, INPUT, "x", FLOAT, "1 1 1 1 1 1 1 1 1 1 1");
    assert_error(import_graph(&rank), VEER_ERR_UNSUPPORTED, "input 'x' has 11 dimensions, at most 10");
    put_value(&negative, INPUT, "x", FLOAT, "-3");
    assert_error(import_graph(&negative), VEER_ERR_FILE, "input 'x': dimension 0 is -3");
    put_value(&unnamed, INPUT, "x", FLOAT, "2 n");
    assert_error(import_graph(&unnamed), VEER_ERR_CONFIG, "help: --dim n=N");
    bytes_t big = {0};
    put_value(&big, INPUT, "x", FLOAT, "4611686018427387904 4611686018427387904");
    assert_error(import_graph(&big), VEER_ERR_UNSUPPORTED, "larger than the limit");
}

/* ---- tensors ---- */

static veer_status_t import_weight(const bytes_t *weight) {
    bytes_t graph = with_interface();
    put_message(&graph, INITIALIZER, weight);
    put_node(&graph, "Add", "", "x w", "y");
    return import_graph(&graph);
}

static void test_tensors(void **state) {
    (void)state;
    float data[] = {1, 2};
    bytes_t w = tensor("w", FLOAT, 1, (int64_t[]){2}, data, 8);
    assert_ok(import_weight(&w));
    w = tensor("w", FLOAT, 1, (int64_t[]){2}, data, 7);
    assert_error(import_weight(&w), VEER_ERR_FILE, "initializer 'w': raw_data has 7 bytes, f32[2] needs 8");
    w = tensor("w", FLOAT, 1, (int64_t[]){2}, NULL, 0);
    assert_error(import_weight(&w), VEER_ERR_FILE, "float_data has 0 values, f32[2] needs 2");
    w = tensor("w", FLOAT, 1, (int64_t[]){-2}, data, 8);
    assert_error(import_weight(&w), VEER_ERR_FILE, "dimension 0 of the tensor is -2");
    w = tensor("w", FLOAT, 2, (int64_t[]){(int64_t)1 << 62, (int64_t)1 << 62}, data, 8);
    assert_error(import_weight(&w), VEER_ERR_UNSUPPORTED, "larger than the limit");
    w = tensor("w", FLOAT, 3, (int64_t[]){0, (int64_t)1 << 62, (int64_t)1 << 62}, data, 0);
    assert_error(import_weight(&w), VEER_ERR_UNSUPPORTED, "larger than the limit");
    w = tensor("w", 14, 1, (int64_t[]){1}, data, 8);
    assert_error(import_weight(&w), VEER_ERR_UNSUPPORTED, "COMPLEX64");
    w = tensor("w", 22, 1, (int64_t[]){3}, data, 3);
    assert_error(import_weight(&w), VEER_ERR_FILE, "raw_data has 3 bytes, i4[3] needs 2");
    w = tensor("w", 99, 1, (int64_t[]){2}, data, 2);
    assert_error(import_weight(&w), VEER_ERR_UNSUPPORTED, "data type 99");
}

/* ---- external data ---- */

static veer_status_t import_external(const char *location, const char *offset, const char *length) {
    bytes_t graph = with_interface(), model = {0}, w = tensor("w", FLOAT, 1, (int64_t[]){2}, NULL, 0);
    put_int(&w, 14, 1);
    put_external(&w, "location", location);
    if (offset) put_external(&w, "offset", offset);
    if (length) put_external(&w, "length", length);
    put_message(&graph, INITIALIZER, &w);
    put_node(&graph, "Add", "", "x w", "y");
    put_model(&model, &graph, 17);
    write_file(temp_path("model.onnx"), model.data, model.size);
    veer_graph_t *g = new_graph(veer_allocator_system());
    veer_func_t func;
    veer_status_t status = veer_onnx_import(g, temp_path("model.onnx"), "f", &plain, &func);
    veer_graph_destroy(g);
    return status;
}

static void test_external_data(void **state) {
    (void)state;
    write_file(temp_path("weights"), (float[]){0, 1, 2, 3}, 16);
    assert_int_equal(symlink("/etc/passwd", temp_path("link")), 0);
    assert_ok(import_external("weights", NULL, NULL));
    assert_ok(import_external("./weights", "8", "8"));
    assert_error(import_external("weights", "12", NULL), VEER_ERR_FILE, "has 16 bytes, bytes 12 to 20 are asked for");
    assert_error(import_external("weights", "0", "12"), VEER_ERR_FILE, "external data has 12 bytes, f32[2] needs 8");
    assert_error(import_external("weights", "-8", NULL), VEER_ERR_FILE, "offset '-8' of external data is no number");
    assert_error(import_external("weights", "18446744073709551615", NULL), VEER_ERR_FILE, "is no number of bytes");
    assert_error(import_external("nothing", NULL, NULL), VEER_ERR_FILE, "external data 'nothing' cannot be opened");
    assert_error(import_external("/etc/passwd", NULL, NULL), VEER_ERR_FILE, "outside of the model's folder");
    assert_error(import_external("a/../../x", NULL, NULL), VEER_ERR_FILE, "outside of the model's folder");
    assert_error(import_external("..", NULL, NULL), VEER_ERR_FILE, "outside of the model's folder");
    assert_error(import_external("", NULL, NULL), VEER_ERR_FILE, "outside of the model's folder");
    assert_error(import_external("link", NULL, NULL), VEER_ERR_FILE, "outside of the model's folder");
    assert_error(import_external(".", NULL, NULL), VEER_ERR_FILE, "outside of the model's folder");
    temp_folder_count(true);
}

/* Offsets beyond 4 GiB, in a file that is mostly a hole; nothing of it is copied. */
static void test_large_external_data(void **state) {
    (void)state;
    int64_t at = ((int64_t)5 << 30) + 64;
    FILE *f = fopen(temp_path("weights"), "wb");
    assert_non_null(f);
    if (fseeko(f, at, SEEK_SET) || fwrite((float[]){7, 8}, 4, 2, f) != 2 || fclose(f))
        skip(); /* no room for such files */
    bytes_t graph = with_interface(), model = {0}, w = tensor("w", FLOAT, 1, (int64_t[]){2}, NULL, 0);
    bytes_t big = tensor("big", FLOAT, 1, (int64_t[]){(int64_t)1 << 30}, NULL, 0);
    char offset[24];
    snprintf(offset, sizeof offset, "%lld", (long long)at);
    put_int(&w, 14, 1);
    put_int(&big, 14, 1);
    put_external(&w, "location", "weights");
    put_external(&big, "location", "weights");
    put_external(&w, "offset", offset);
    put_external(&big, "length", "4294967296");
    put_message(&graph, INITIALIZER, &w);
    put_message(&graph, INITIALIZER, &big);
    put_node(&graph, "Add", "", "x w", "y");
    put_value(&graph, OUTPUT, "big", FLOAT, "1073741824");
    put_model(&model, &graph, 17);
    write_file(temp_path("model.onnx"), model.data, model.size);
    veer_graph_t *g = new_graph(veer_allocator_system());
    veer_func_t func;
    assert_ok(veer_onnx_import(g, temp_path("model.onnx"), "f", &plain, &func));
    assert_true(veer_graph_arena(g)->used_bytes < 1 << 20);
    veer_value_t sum = veer_region_result(g, veer_func_body(g, func), 0);
    const float *data = veer_value_const_data(g, veer_node_in(g, veer_value_def(g, sum), 1));
    assert_true(data[0] == 7 && data[1] == 8);
    veer_graph_destroy(g);
    temp_folder_count(true);
}

/* ---- functions and branches ---- */

/* y = Scale(x; by = 3) twice, where Scale(v) = v * Constant(value_int = by). */
static void test_functions(void **state) {
    (void)state;
    bytes_t graph = with_interface(), model = {0}, f = {0}, id = {0}, own = {0};
    bytes_t by = int_attr("by", 3), constant = node("Constant", "c", "", "k"), ref = {0};
    for (int i = 0; i < 2; i++) {
        bytes_t call = node("Scale", i ? "second" : "first", i ? "t" : "x", i ? "y" : "t");
        put_text(&call, 7, "own");
        put_message(&call, 5, &by);
        put_message(&graph, NODE, &call);
    }
    put_text(&ref, 1, "value_int");
    put_int(&ref, 20, 2);
    put_text(&ref, 21, "by");
    put_message(&constant, 5, &ref);
    put_text(&f, 1, "Scale");
    put_text(&f, 4, "v");
    put_text(&f, 5, "w");
    put_text(&f, 6, "by");
    put_message(&f, 7, &constant);
    bytes_t cast = node("Cast", "", "k", "kf"), to = int_attr("to", FLOAT), mul = node("Mul", "m", "v kf", "w");
    put_message(&cast, 5, &to);
    put_message(&f, 7, &cast);
    put_message(&f, 7, &mul);
    put_int(&id, 2, 17);
    put_message(&f, 9, &id);
    put_text(&f, 10, "own");
    put_model(&model, &graph, 17);
    put_text(&own, 1, "own");
    put_int(&own, 2, 1);
    put_message(&model, 8, &own);
    put_message(&model, 25, &f);
    assert_true(run_model(&model, 2) == 18);
}

static void test_recursive_function(void **state) {
    (void)state;
    bytes_t graph = with_interface(), model = {0}, f = {0}, call = node("F", "", "v", "w");
    bytes_t outer = node("F", "", "x", "y");
    put_text(&f, 1, "F");
    put_text(&f, 4, "v");
    put_text(&f, 5, "w");
    put_message(&f, 7, &call);
    put_message(&graph, NODE, &outer);
    put_model(&model, &graph, 17);
    put_message(&model, 25, &f);
    assert_error(import(&model), VEER_ERR_FILE, "the function calls itself");
}

static bytes_t branch(const char *type) {
    bytes_t graph = {0};
    put_node(&graph, type, "inner", "x", "r");
    put_value(&graph, OUTPUT, "r", FLOAT, "2");
    return graph;
}

static void test_if(void **state) {
    (void)state;
    for (uint8_t condition = 0; condition < 2; condition++) {
        bytes_t graph = with_interface(), model = {0}, then_graph = branch("Neg"), else_graph = branch("Abs");
        bytes_t c = tensor("c", BOOL, 0, NULL, &condition, 1), n = node("If", "", "c", "y");
        bytes_t then_attr = graph_attr("then_branch", &then_graph), else_attr = graph_attr("else_branch", &else_graph);
        put_message(&n, 5, &then_attr);
        put_message(&n, 5, &else_attr);
        put_message(&graph, INITIALIZER, &c);
        put_message(&graph, NODE, &n);
        put_model(&model, &graph, 17);
        assert_true(run_model(&model, 5) == (condition ? -5 : 5));
    }
}

/* ---- want of memory, damage ---- */

/* Shapes, weights, a fold, a composite. */
static bytes_t busy_model(void) {
    bytes_t graph = with_interface(), model = {0};
    bytes_t w = tensor("w", FLOAT, 2, (int64_t[]){2, 2}, (float[]){1, 2, 3, 4}, 16);
    bytes_t two = tensor("two", INT64, 1, (int64_t[]){1}, (int64_t[]){2}, 8);
    put_message(&graph, INITIALIZER, &w);
    put_message(&graph, INITIALIZER, &two);
    put_node(&graph, "Shape", "", "x", "s");
    put_node(&graph, "Concat", "", "s two", "no_axis");
    put_node(&graph, "Mul", "", "s two", "s2");
    put_node(&graph, "Div", "", "s2 two", "s3");
    put_node(&graph, "Reshape", "", "x s3", "r");
    put_node(&graph, "MatMul", "mm", "r w", "t");
    put_node(&graph, "Softsign", "soft", "t", "u");
    put_node(&graph, "LayerNormalization", "ln", "u w", "y");
    put_model(&model, &graph, 17);
    return model;
}

static bytes_t sound_model(void) {
    bytes_t graph = with_interface(), model = {0};
    bytes_t w = tensor("w", FLOAT, 2, (int64_t[]){2, 2}, (float[]){1, 2, 3, 4}, 16);
    bytes_t two = tensor("two", INT64, 1, (int64_t[]){1}, (int64_t[]){2}, 8);
    put_message(&graph, INITIALIZER, &w);
    put_message(&graph, INITIALIZER, &two);
    put_node(&graph, "Shape", "", "x", "s");
    put_node(&graph, "Mul", "", "s two", "s2");
    put_node(&graph, "Div", "", "s2 two", "s3");
    put_node(&graph, "Reshape", "", "x s3", "r");
    put_node(&graph, "MatMul", "mm", "r w", "t");
    put_node(&graph, "Softsign", "soft", "t", "y");
    put_model(&model, &graph, 17);
    return model;
}

static veer_status_t import_and_export(const bytes_t *model, veer_allocator_t allocator) {
    veer_graph_t *g;
    veer_func_t func;
    VEER_TRY(veer_graph_create(allocator, &g));
    veer_status_t status = veer_onnx_import_memory(g, model->data, model->size, "f", &plain, &func);
    if (!status) status = veer_onnx_export(g, func, temp_path("out.onnx"), NULL);
    veer_graph_destroy(g);
    return status;
}

static void test_failing_allocations(void **state) {
    (void)state;
    bytes_t model = sound_model();
    for (int once = 0; once < 2; once++)
        for (long n = 0;; n++) {
            failing_allocator_t f = {.fail_at = n, .once = once};
            veer_status_t status = import_and_export(&model, failing_allocator(&f));
            assert_int_equal(f.live, 0);
            if (!f.failed) {
                assert_ok(status);
                assert_int_equal(temp_folder_count(true), 1);
                break;
            }
            assert_int_equal(veer_status_code(status), VEER_ERR_RESOURCE);
            veer_status_free(status);
            assert_int_equal(temp_folder_count(false), 0);
        }
}

/* Whatever is in the file: a status or a graph that keeps its rules. */
static void test_damaged_files(void **state) {
    (void)state;
    uint64_t seed = 1;
    printf("seed %llu\n", (unsigned long long)seed);
    random_t r = {seed};
    bytes_t models[] = {sound_model(), busy_model()};
    for (int i = 0; i < 20000; i++) {
        bytes_t model = models[i % 2];
        int changes = 1 + random_below(&r, 4);
        for (int k = 0; k < changes; k++) {
            size_t at = (size_t)random_below(&r, (int)model.size);
            if (random_below(&r, 2))
                model.data[at] = (uint8_t)random_next(&r);
            else
                model.data[at] = (uint8_t)(model.data[at] + random_below(&r, 3) - 1);
        }
        veer_onnx_info_t info;
        veer_status_ignore(import(&model));
        veer_status_t status = veer_onnx_inspect_memory(veer_allocator_system(), model.data, model.size, NULL, &info);
        if (!status) veer_onnx_info_deinit(&info);
        veer_status_free(status);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_a_model),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_cycle),
        cmocka_unit_test(test_nodes_in_any_order),
        cmocka_unit_test(test_all_unsupported),
        cmocka_unit_test(test_operator_set),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_external_data),
        cmocka_unit_test(test_large_external_data),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_recursive_function),
        cmocka_unit_test(test_if),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
