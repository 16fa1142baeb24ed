/* Files over each limit: refused with an error that names the limit, what was found and the flag that raises it, and
 * taken once it is raised. */
#include "backends/reference/reference.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"
#include "ir/parse.h"
#include "ir/verify.h"
#include "tests/unit/onnx_bytes.h"
#include "tests/unit/temp_folder.h"

#include <stdio.h>

/* Imports the graph with these limits into a graph that is thrown away. */
static veer_status_t import_with(const bytes_t *model, veer_limits_t limits) {
    static const veer_onnx_options_t options = {.eval = veer_reference_node};
    veer_graph_t *g;
    veer_func_t func;
    veer_onnx_info_t info;
    VEER_TRY(veer_onnx_inspect_memory(veer_allocator_system(), model->data, model->size, &limits, &info));
    veer_onnx_info_deinit(&info);
    assert_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_graph_set_limits(g, &limits);
    veer_status_t status = veer_onnx_import_memory(g, model->data, model->size, "f", &options, &func);
    if (!status) status = veer_verify(g);
    veer_graph_destroy(g);
    return status;
}

static bytes_t model_of(const bytes_t *graph) {
    bytes_t model = {0};
    put_model(&model, graph, 17);
    return model;
}

static bytes_t with_interface(const char *dims) {
    bytes_t graph = {0};
    put_value(&graph, INPUT, "x", FLOAT, dims);
    put_value(&graph, OUTPUT, "y", FLOAT, dims);
    return graph;
}

/* ---- depth ---- */

/* `depth` branches in one another, and Relu in the innermost. */
static bytes_t branches(int depth) {
    bytes_t inner = {0};
    put_node(&inner, "Relu", "", "x", "r");
    put_value(&inner, OUTPUT, "r", FLOAT, "2");
    for (int i = 0; i < depth; i++) {
        bytes_t n = node("If", "", "c", "r"), graph = {0}, then_attr = graph_attr("then_branch", &inner);
        put_message(&n, 5, &then_attr);
        put_message(&graph, NODE, &n);
        if (i + 1 < depth) put_value(&graph, OUTPUT, "r", FLOAT, "2");
        inner = graph;
    }
    bytes_t yes = tensor("c", BOOL, 0, NULL, "\1", 1);
    put_value(&inner, INPUT, "x", FLOAT, "2");
    put_value(&inner, OUTPUT, "r", FLOAT, "2");
    put_message(&inner, INITIALIZER, &yes);
    return model_of(&inner);
}

static void test_depth_of_graphs(void **state) {
    (void)state;
    bytes_t deep = branches(150), deepest = branches(480), few = branches(3);
    assert_error(import_with(&deep, (veer_limits_t){0}), VEER_ERR_UNSUPPORTED,
                 "levels of nesting, more than the limit of 100");
    assert_error(import_with(&deep, (veer_limits_t){0}), VEER_ERR_UNSUPPORTED, "help: --max-depth N admits more");
    assert_ok(import_with(&deep, (veer_limits_t){.max_depth = 150}));
    assert_error(import_with(&few, (veer_limits_t){.max_depth = 2}), VEER_ERR_UNSUPPORTED,
                 "3 levels of nesting, more than the limit of 2");
    assert_ok(import_with(&few, (veer_limits_t){.max_depth = 3}));
    assert_ok(import_with(&deepest, (veer_limits_t){.max_depth = 500}));
}

/* More than any limit: the messages alone are refused before anybody recurses into them. */
static void test_depth_of_messages(void **state) {
    (void)state;
    bytes_t deep = branches(600);
    assert_error(import_with(&deep, (veer_limits_t){.max_depth = 100000}), VEER_ERR_UNSUPPORTED,
                 "more than the limit of 500");
    assert_error(import_with(&deep, (veer_limits_t){.max_depth = 100000}), VEER_ERR_UNSUPPORTED,
                 "max-depth cannot be raised further");
}

static void put_function(bytes_t *model, const char *name, const char *op) {
    bytes_t f = {0}, inner = node(op, "", "v", "w");
    put_text(&f, 1, name);
    put_text(&f, 4, "v");
    put_text(&f, 5, "w");
    put_message(&f, 7, &inner);
    bytes_t id = {0};
    put_int(&id, 2, 17);
    put_message(&f, 9, &id);
    put_message(model, 25, &f);
}

/* f0 calls f1, f1 calls f2, ... and the last one is Relu. */
static void test_depth_of_functions(void **state) {
    (void)state;
    bytes_t graph = with_interface("2");
    put_node(&graph, "f0", "", "x", "y");
    bytes_t model = model_of(&graph);
    for (int i = 0; i < 120; i++) {
        char name[16], next[16];
        snprintf(name, sizeof name, "f%d", i);
        snprintf(next, sizeof next, "f%d", i + 1);
        put_function(&model, name, i == 119 ? "Relu" : next);
    }
    assert_error(import_with(&model, (veer_limits_t){0}), VEER_ERR_UNSUPPORTED,
                 "101 levels of nesting, more than the limit of 100");
    assert_ok(import_with(&model, (veer_limits_t){.max_depth = 120}));
}

static veer_status_t parse_with(const char *text, veer_limits_t limits) {
    veer_graph_t *g;
    assert_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_graph_set_limits(g, &limits);
    veer_status_t status = veer_parse(g, text, strlen(text), "text");
    veer_graph_destroy(g);
    return status;
}

static void test_depth_of_text(void **state) {
    (void)state;
    static char text[1 << 14];
    size_t at = (size_t)snprintf(text, sizeof text, "graph @f(%%x: f32[2]) { ");
    for (int i = 0; i < 110; i++)
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "%%l%d = loop (%%x) {trip = 1} (%%i%d: i64[], %%c%d: f32[2]) { ", i, i, i);
    for (int i = 110; i-- > 0;) at += (size_t)snprintf(text + at, sizeof text - at, "yield %%c%d } ", i);
    snprintf(text + at, sizeof text - at, "return %%l0 }");
    assert_error(parse_with(text, (veer_limits_t){0}), VEER_ERR_UNSUPPORTED,
                 "101 levels of nesting, more than the limit of 100");
    assert_ok(parse_with(text, (veer_limits_t){.max_depth = 110}));
}

/* ---- nodes ---- */

static void test_nodes_of_a_file(void **state) {
    (void)state;
    bytes_t graph = with_interface("2");
    for (int i = 0; i < 29; i++) put_node(&graph, "Relu", "", "x", i ? "" : "unused");
    put_node(&graph, "Relu", "", "x", "y");
    bytes_t model = model_of(&graph);
    assert_error(import_with(&model, (veer_limits_t){.max_nodes = 20}), VEER_ERR_UNSUPPORTED,
                 "21 nodes, more than the limit of 20");
    assert_error(import_with(&model, (veer_limits_t){.max_nodes = 20}), VEER_ERR_UNSUPPORTED,
                 "help: --max-nodes N admits more");
}

/* A loop whose body has no node: its turns count. */
static bytes_t loop_model(int64_t turns) {
    bytes_t body = {0}, graph = with_interface("2"), n = node("Loop", "", "m  x", "y");
    put_value(&body, INPUT, "i", INT64, "");
    put_value(&body, INPUT, "c", BOOL, "");
    put_value(&body, INPUT, "v", FLOAT, "2");
    put_value(&body, OUTPUT, "c", BOOL, "");
    put_value(&body, OUTPUT, "v", FLOAT, "2");
    bytes_t attr = graph_attr("body", &body), m = tensor("m", INT64, 0, NULL, &turns, sizeof turns);
    put_message(&n, 5, &attr);
    put_message(&graph, NODE, &n);
    put_message(&graph, INITIALIZER, &m);
    return model_of(&graph);
}

static void test_turns_of_loops(void **state) {
    (void)state;
    bytes_t model = loop_model(1000), endless = loop_model(INT64_MAX);
    assert_ok(import_with(&model, (veer_limits_t){0}));
    assert_error(import_with(&model, (veer_limits_t){.max_nodes = 900}), VEER_ERR_UNSUPPORTED,
                 "901 nodes, more than the limit of 900");
    assert_error(import_with(&endless, (veer_limits_t){0}), VEER_ERR_UNSUPPORTED,
                 "1048577 nodes, more than the limit of 1048576");
}

/* One node of the file that becomes many of the graph. */
static void test_nodes_of_the_graph(void **state) {
    (void)state;
    float weights[8] = {0};
    bytes_t graph = {0}, n = node("RNN", "", "x w r", "y"), hidden = int_attr("hidden_size", 1);
    bytes_t w = tensor("w", FLOAT, 3, (int64_t[]){1, 1, 1}, weights, 4);
    bytes_t r = tensor("r", FLOAT, 3, (int64_t[]){1, 1, 1}, weights, 4);
    put_value(&graph, INPUT, "x", FLOAT, "200 1 1");
    put_value(&graph, OUTPUT, "y", FLOAT, "200 1 1 1");
    put_message(&n, 5, &hidden);
    put_message(&graph, NODE, &n);
    put_message(&graph, INITIALIZER, &w);
    put_message(&graph, INITIALIZER, &r);
    bytes_t model = model_of(&graph);
    assert_ok(import_with(&model, (veer_limits_t){0}));
    assert_error(import_with(&model, (veer_limits_t){.max_nodes = 300}), VEER_ERR_UNSUPPORTED,
                 "301 nodes, more than the limit of 300");
}

/* What is removed does not count. */
static void test_removed_nodes(void **state) {
    (void)state;
    veer_graph_t *g;
    veer_func_t f;
    veer_limits_t limits = {.max_nodes = 3};
    assert_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_graph_set_limits(g, &limits);
    assert_ok(veer_graph_add_func(g, "f", &f));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    for (int i = 0; i < 10; i++) {
        veer_value_t v = veer_const_f32(&b, 1);
        assert_true(veer_builder_ok(&b));
        veer_node_remove(g, veer_value_def(g, v));
    }
    for (int i = 0; i < 3; i++) veer_const_f32(&b, 1);
    assert_true(veer_builder_ok(&b));
    veer_const_f32(&b, 1);
    assert_error(veer_builder_status(&b), VEER_ERR_UNSUPPORTED, "4 nodes, more than the limit of 3");
    veer_graph_destroy(g);
}

/* ---- bytes ---- */

static void test_tensor_bytes(void **state) {
    (void)state;
    bytes_t input = with_interface("8589934592"), grows = with_interface("2"); /* 2^33 elements */
    put_node(&input, "Relu", "", "x", "y");
    put_node(&grows, "Expand", "wide", "x s", "y");
    bytes_t s = tensor("s", INT64, 1, (int64_t[]){2}, (int64_t[]){4, 2}, 16);
    put_message(&grows, INITIALIZER, &s);
    bytes_t big = model_of(&input), model = model_of(&grows);
    assert_error(import_with(&big, (veer_limits_t){0}), VEER_ERR_UNSUPPORTED,
                 "tensor f32[8589934592]: 34359738368 bytes of a tensor, more than the limit of 17179869184");
    assert_error(import_with(&big, (veer_limits_t){0}), VEER_ERR_UNSUPPORTED, "help: --max-tensor-bytes N admits more");
    assert_ok(import_with(&big, (veer_limits_t){.max_tensor_bytes = (int64_t)1 << 35}));
    assert_error(import_with(&model, (veer_limits_t){.max_tensor_bytes = 31}), VEER_ERR_UNSUPPORTED,
                 "node 'wide' (Expand, opset 17): ");
    assert_error(import_with(&model, (veer_limits_t){.max_tensor_bytes = 31}), VEER_ERR_UNSUPPORTED,
                 "tensor f32[4,2]: 32 bytes of a tensor, more than the limit of 31");
    assert_ok(import_with(&model, (veer_limits_t){.max_tensor_bytes = 32}));
}

/* A few bytes of file that ask for much memory, each time a little. */
static void test_constant_bytes(void **state) {
    (void)state;
    bytes_t graph = with_interface("4096");
    int64_t size = 4096;
    bytes_t s = tensor("s", INT64, 1, (int64_t[]){1}, &size, 8);
    put_message(&graph, INITIALIZER, &s);
    put_node(&graph, "ConstantOfShape", "", "s", "c");
    put_node(&graph, "Add", "", "x c", "t0");
    for (int i = 0; i < 8; i++) {
        char in[32], out[16];
        snprintf(in, sizeof in, "t%d c%d", i, i);
        snprintf(out, sizeof out, i == 7 ? "y" : "t%d", i + 1);
        put_node(&graph, "ConstantOfShape", "", "s", in + 3);
        put_node(&graph, "Add", "", in, out);
    }
    bytes_t model = model_of(&graph);
    assert_ok(import_with(&model, (veer_limits_t){0}));
    assert_error(import_with(&model, (veer_limits_t){.max_constant_bytes = 100000}), VEER_ERR_UNSUPPORTED,
                 "bytes of copied or computed constants, more than the limit of 100000");
    assert_error(import_with(&model, (veer_limits_t){.max_constant_bytes = 100000}), VEER_ERR_UNSUPPORTED,
                 "help: --max-constant-bytes N admits more");
    assert_ok(import_with(&model, (veer_limits_t){.max_constant_bytes = 1 << 20}));
    assert_error(
        parse_with("graph @f() { %y = const f32[64] splat 1 return %y }", (veer_limits_t){.max_constant_bytes = 255}),
        VEER_ERR_UNSUPPORTED, "256 bytes of copied or computed constants, more than the limit of 255");
}

static void test_message_bytes(void **state) {
    (void)state;
    bytes_t graph = with_interface("2");
    for (int i = 0; i < 500; i++) {
        char out[16];
        snprintf(out, sizeof out, "t%d", i);
        put_node(&graph, "Relu", "a long name of a node", "x", out);
    }
    put_node(&graph, "Relu", "", "x", "y");
    bytes_t model = model_of(&graph);
    assert_ok(import_with(&model, (veer_limits_t){0}));
    assert_error(import_with(&model, (veer_limits_t){.max_message_bytes = 20000}), VEER_ERR_UNSUPPORTED,
                 "bytes of messages, more than the limit of 20000");
    assert_error(import_with(&model, (veer_limits_t){.max_message_bytes = 20000}), VEER_ERR_UNSUPPORTED,
                 "help: --max-message-bytes N admits more");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth_of_graphs),    cmocka_unit_test(test_depth_of_messages),
        cmocka_unit_test(test_depth_of_functions), cmocka_unit_test(test_depth_of_text),
        cmocka_unit_test(test_nodes_of_a_file),    cmocka_unit_test(test_turns_of_loops),
        cmocka_unit_test(test_nodes_of_the_graph), cmocka_unit_test(test_removed_nodes),
        cmocka_unit_test(test_tensor_bytes),       cmocka_unit_test(test_constant_bytes),
        cmocka_unit_test(test_message_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
