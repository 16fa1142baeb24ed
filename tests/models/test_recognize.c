/* The example models: the recognise passes find every norm, activation and attention that their modules have, and
 * change neither result nor gradient by more than rounding. */
#include "backends/reference/reference.h"
#include "frontend/npy.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"
#include "ir/verify.h"
#include "passes/gradient.h"
#include "passes/manager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const recognise = "recognize-silu,recognize-gelu,recognize-layer-norm,recognize-rms-norm,"
                                     "recognize-group-norm,recognize-attention";

enum { MAX_INPUTS = 6 };

/* How many of an op the model must have; 0 of those that the spellings are made of. */
typedef struct model_s {
    const char *path, *oracle;
    struct {
        veer_op_t op;
        int count;
    } want[6];
} model_t;

static const model_t models[] = {
    /* ten residual blocks of two norms and two silu, four attentions with a norm, a norm and silu at the end, two silu
     * for the time embedding (the second is every block's, exported once) */
    {"digits/unet",
     "digits_unet",
     {{VEER_OP_GROUP_NORM, 25},
      {VEER_OP_SILU, 23},
      {VEER_OP_ATTENTION, 4},
      {VEER_OP_SOFTMAX, 0},
      {VEER_OP_SIGMOID, 0}}},
    {"digits-cfg/unet",
     "digits_cfg_unet",
     {{VEER_OP_GROUP_NORM, 25},
      {VEER_OP_SILU, 23},
      {VEER_OP_ATTENTION, 4},
      {VEER_OP_SOFTMAX, 0},
      {VEER_OP_SIGMOID, 0}}},
    /* five such blocks, two such attentions, the attention that pools */
    {"digits/classifier",
     "digits_classifier",
     {{VEER_OP_GROUP_NORM, 13},
      {VEER_OP_SILU, 13},
      {VEER_OP_ATTENTION, 3},
      {VEER_OP_SOFTMAX, 0},
      {VEER_OP_SIGMOID, 0}}},
    /* per block two norms, a gelu, an attention; a norm before the blocks; a silu in the time embedding */
    {"e2e/transformer",
     "e2e_transformer",
     {{VEER_OP_LAYER_NORM, 9},
      {VEER_OP_GELU, 4},
      {VEER_OP_ATTENTION, 4},
      {VEER_OP_SILU, 1},
      {VEER_OP_SOFTMAX, 0},
      {VEER_OP_ERF, 0}}},
    {"e2e/classifier",
     "e2e_classifier",
     {{VEER_OP_LAYER_NORM, 7},
      {VEER_OP_GELU, 3},
      {VEER_OP_ATTENTION, 3},
      {VEER_OP_SILU, 1},
      {VEER_OP_SOFTMAX, 0},
      {VEER_OP_SQRT, 0}}},
};
enum { MODEL_COUNT = sizeof models / sizeof *models };

static void require_ok(veer_status_t status) {
    for (size_t i = 0; i < veer_status_count(status); i++) print_error("%s\n", veer_status_message(status, i));
    bool ok = !status;
    veer_status_free(status);
    assert_true(ok);
}

static veer_graph_t *import(const model_t *m, int64_t batch, veer_func_t *out_func) {
    char path[512];
    veer_graph_t *g;
    veer_dim_binding_t dim = {"batch", batch};
    veer_onnx_options_t options = {.dims = &dim, .dim_count = 1, .eval = veer_reference_node};
    snprintf(path, sizeof path, "%s/%s/model.onnx", VEER_EXAMPLES, m->path);
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    require_ok(veer_onnx_import(g, path, "f", &options, out_func));
    return g;
}

static void run_passes(veer_graph_t *g, const char *before, const char *after) {
    char text[400];
    veer_pipeline_t *p;
    snprintf(text, sizeof text, "%s%s%s", before, recognise, after);
    require_ok(veer_pipeline_create(veer_allocator_system(), text, &p));
    require_ok(veer_pipeline_run(p, g, VEER_NO_FUNC,
                                 &(veer_pipeline_options_t){.eval = veer_reference_node, .verify_each = true}));
    veer_pipeline_destroy(p);
}

/* ---- counts ---- */

static int count_op(const veer_graph_t *g, veer_func_t func, veer_op_t op) {
    int count = 0;
    VEER_FOR_EACH_NODE(g, veer_func_body(g, func), node) count += veer_node_op(g, node) == op;
    return count;
}

/* Every group_norm and layer_norm has got its scale and bias. */
static void check_norms(const veer_graph_t *g, veer_func_t func) {
    VEER_FOR_EACH_NODE(g, veer_func_body(g, func), node) {
        veer_op_t op = veer_node_op(g, node);
        if (op != VEER_OP_GROUP_NORM && op != VEER_OP_LAYER_NORM) continue;
        assert_true(veer_node_in(g, node, 1).i && veer_value_const_data(g, veer_node_in(g, node, 1)));
        assert_true(veer_node_in(g, node, 2).i && veer_value_const_data(g, veer_node_in(g, node, 2)));
    }
}

static void check_counts(const model_t *m, int64_t batch, const char *before, const char *after) {
    veer_func_t func;
    veer_graph_t *g = import(m, batch, &func);
    run_passes(g, before, after);
    for (int i = 0; i < 6 && m->want[i].op; i++) {
        int count = count_op(g, func, m->want[i].op);
        if (count != m->want[i].count)
            fail_msg("%s at batch %lld: %d %s, expected %d", m->path, (long long)batch, count,
                     veer_op_name(m->want[i].op), m->want[i].count);
    }
    check_norms(g, func);
    veer_graph_destroy(g);
}

/* With and without the general passes before; batch 1 makes many dims 1, where axes are easily mistaken. */
static void test_counts(void **unused) {
    (void)unused;
    for (int i = 0; i < MODEL_COUNT; i++)
        for (int64_t batch = 1; batch <= 3; batch += 2) {
            check_counts(&models[i], batch, "", ",dce");
            check_counts(&models[i], batch, "fold,cse,dce,", ",fold,cse,dce");
        }
}

/* ---- results and gradients ---- */

static veer_tensor_t read_npy(const char *oracle, const char *name) {
    char path[512];
    veer_tensor_t tensor;
    snprintf(path, sizeof path, "%s/oracles/%s/%s.npy", VEER_TEST_DATA, oracle, name);
    require_ok(veer_npy_read(path, veer_allocator_system(), &tensor));
    return tensor;
}

/* @gradient(inputs, seed): the model's result and its gradient by the first input. */
static veer_func_t add_gradient(veer_graph_t *g, veer_func_t f) {
    veer_func_t func;
    veer_value_t in[MAX_INPUTS + 1];
    veer_region_t from = veer_func_body(g, f);
    int count = veer_region_arg_count(g, from);
    require_ok(veer_graph_add_func(g, "gradient", &func));
    for (int i = 0; i <= count; i++) {
        veer_value_t like = i < count ? veer_region_arg(g, from, i) : veer_region_result(g, from, 0);
        veer_type_t type = *veer_value_type(g, like);
        require_ok(veer_region_add_arg(g, veer_func_body(g, func), type, "", &in[i]));
    }
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    veer_node_t grad = veer_builder_grad(&b, f, in, count, 0, in[count], (int64_t[]){0}, 1);
    require_ok(veer_builder_status(&b));
    veer_value_t out[] = {veer_node_out(g, grad, 0), veer_node_out(g, grad, veer_node_out_count(g, grad) - 1)};
    veer_builder_return(&b, out, 2);
    require_ok(veer_builder_status(&b));
    require_ok(veer_gradient_expand(g, grad));
    require_ok(veer_verify(g));
    return func;
}

/* The oracle's inputs, then a seed with other weights for neighbours (ones would hide errors of softmax). */
static int read_inputs(const model_t *m, veer_tensor_t *in) {
    veer_func_t func;
    veer_graph_t *g = import(m, 1, &func);
    veer_region_t body = veer_func_body(g, func);
    int count = veer_region_arg_count(g, body);
    assert_true(count <= MAX_INPUTS);
    for (int i = 0; i < count; i++) in[i] = read_npy(m->oracle, veer_value_name(g, veer_region_arg(g, body, i)));
    in[count].type = *veer_value_type(g, veer_region_result(g, body, 0));
    in[count].type.dims[0] = in[0].type.dims[0];
    in[count].data = veer_alloc(veer_allocator_system(), veer_type_bytes(&in[count].type));
    assert_non_null(in[count].data);
    for (int64_t i = 0; i < veer_type_count(&in[count].type); i++) ((float *)in[count].data)[i] = (float)(1 + i % 3);
    veer_graph_destroy(g);
    return count + 1;
}

static void evaluate(const model_t *m, bool recognised, const veer_tensor_t *in, int count, veer_tensor_t out[2]) {
    veer_func_t func;
    veer_graph_t *g = import(m, in[0].type.dims[0], &func);
    if (recognised) run_passes(g, "", ",dce");
    func = add_gradient(g, func);
    require_ok(veer_reference_eval(g, func, in, count, veer_allocator_system(), out, 2));
    veer_graph_destroy(g);
}

static void compare(const char *what, const veer_tensor_t *a, const veer_tensor_t *b) {
    double largest = 0, worst = 0;
    const float *x = a->data, *y = b->data;
    assert_true(veer_type_equal(&a->type, &b->type) && a->type.dtype == VEER_DTYPE_F32);
    for (int64_t i = 0; i < veer_type_count(&a->type); i++) {
        largest = fmax(largest, fabs((double)x[i]));
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    }
    print_message("  %s differs by %.1e of %.1e\n", what, worst, largest);
    /* f32 through some hundred layers, as against the oracles: about 1e-6 of the largest value */
    assert_true(largest > 0 && worst <= 1e-5 * largest);
}

static void test_results(void **unused) {
    (void)unused;
    for (int i = 0; i < MODEL_COUNT; i++) {
        veer_tensor_t in[MAX_INPUTS + 1], before[2], after[2];
        int count = read_inputs(&models[i], in);
        evaluate(&models[i], false, in, count, before);
        evaluate(&models[i], true, in, count, after);
        print_message("%s\n", models[i].path);
        for (int k = 0; k < 2; k++) {
            compare(k ? "the gradient" : "the result", &before[k], &after[k]);
            veer_free(veer_allocator_system(), before[k].data);
            veer_free(veer_allocator_system(), after[k].data);
        }
        for (int k = 0; k < count; k++) veer_free(veer_allocator_system(), in[k].data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_results)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
