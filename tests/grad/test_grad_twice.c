/* Gradients of gradients as users make them: grad nodes of functions that hold grad nodes, and `veer grad` of a model
 * that `veer grad` wrote. Closed forms where there are: the Hessian of a quadratic form and of softmax's cross entropy;
 * for a whole classifier differences of the squared norm of its gradient. Each operator: test_grad_onnx, test_grad_ops.
 */
#include "api/compile.h"
#include "api/widen.h"
#include "passes/gradient.h"
#include "tests/op_run.h"
#include "tests/unit/temp_folder.h"

enum { N = 4 };
#define VECTOR VEER_TYPE(VEER_DTYPE_F64, N)

/* ---- grad nodes in grad nodes ---- */

typedef veer_value_t (*scalar_t)(veer_builder_t *b, veer_value_t x, veer_value_t parameter);

/* x^T A x / 2 */
static veer_value_t quadratic(veer_builder_t *b, veer_value_t x, veer_value_t a) {
    veer_value_t row = veer_reshape(b, x, VEER_DIMS(1, N));
    veer_value_t y = veer_matmul(b, veer_matmul(b, row, a, false, false), row, false, true);
    return veer_mul_c(b, veer_reduce_all(b, VEER_OP_REDUCE_SUM, y), 0.5);
}

/* -sum of t log softmax(x) */
static veer_value_t cross_entropy(veer_builder_t *b, veer_value_t x, veer_value_t t) {
    veer_value_t log_p = veer_build(b, VEER_OP_LOG_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 0)));
    return veer_neg(b, veer_reduce_all(b, VEER_OP_REDUCE_SUM, veer_mul(b, log_p, t)));
}

static veer_builder_t function(veer_graph_t *g, const char *name, veer_func_t *f, const veer_type_t *types, int count,
                               veer_value_t *in) {
    require_ok(veer_graph_add_func(g, name, f));
    for (int i = 0; i < count; i++) require_ok(veer_region_add_arg(g, veer_func_body(g, *f), types[i], "", &in[i]));
    return veer_builder_at_end(g, veer_func_body(g, *f));
}

/* out = H v of a scalar function of x at `x`, by a grad node of a function that holds one. */
static void hessian_product(scalar_t scalar, veer_type_t parameter_type, const double *parameter, const double *x,
                            const double *v, double *out) {
    veer_graph_t *g;
    veer_func_t f, h, dh;
    veer_value_t in[3], y;
    const veer_type_t types[] = {VECTOR, parameter_type, VECTOR};
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_builder_t b = function(g, "f", &f, types, 2, in);
    y = scalar(&b, in[0], in[1]);
    veer_builder_return(&b, &y, 1);
    require_ok(veer_builder_status(&b));

    b = function(g, "h", &h, types, 3, in);
    veer_node_t inner = veer_builder_grad(&b, f, in, 2, 0, veer_const_scalar(&b, VEER_DTYPE_F64, 1), (int64_t[]){0}, 1);
    y = veer_reduce_all(&b, VEER_OP_REDUCE_SUM, veer_mul(&b, veer_node_out(g, inner, 1), in[2]));
    veer_builder_return(&b, &y, 1);
    require_ok(veer_builder_status(&b));

    b = function(g, "dh", &dh, types, 3, in);
    veer_node_t outer = veer_builder_grad(&b, h, in, 3, 0, veer_const_scalar(&b, VEER_DTYPE_F64, 1), (int64_t[]){0}, 1);
    y = veer_node_out(g, outer, 1);
    veer_builder_return(&b, &y, 1);
    require_ok(veer_builder_status(&b));
    require_ok(veer_gradient_check(g, h, 0, (int64_t[]){0}, 1));
    require_ok(veer_gradient_expand(g, outer));

    double copies[2][N], parameters[N * N];
    memcpy(copies[0], x, sizeof copies[0]), memcpy(copies[1], v, sizeof copies[1]);
    memcpy(parameters, parameter, veer_type_bytes(&parameter_type));
    veer_tensor_t args[] = {{VECTOR, copies[0]}, {parameter_type, parameters}, {VECTOR, copies[1]}}, result;
    y = veer_region_result(g, veer_func_body(g, dh), 0);
    require_ok(veer_reference_eval(g, dh, args, 3, veer_allocator_system(), &result, 1));
    memcpy(out, result.data, N * sizeof *out);
    tensor_free(&result);
    veer_graph_destroy(g);
}

static void expect_close(const double *got, const double *want) {
    for (int i = 0; i < N; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-14)) fail_msg("element %d is %.17g, expected %.17g", i, got[i], want[i]);
}

static void hessian_of_a_quadratic_form(void **state) {
    (void)state;
    const double a[N * N] = {2, 1, 0, -1, 3, 0.5, 1, 0, -2, 1, 1, 0.25, 0, 4, -1, 3};
    const double x[N] = {0.5, -1, 2, 0.25}, v[N] = {1, -0.5, 0.25, 2};
    double got[N], want[N] = {0};
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) want[i] += (a[i * N + j] + a[j * N + i]) / 2 * v[j];
    hessian_product(quadratic, VEER_TYPE(VEER_DTYPE_F64, N, N), a, x, v, got);
    expect_close(got, want);
}

/* diag(p) - p p^T, column by column, whatever t is as long as it sums to 1 */
static void hessian_of_cross_entropy(void **state) {
    (void)state;
    const double t[N] = {0.5, 0, 0.25, 0.25}, x[N] = {0.5, -1, 2, 0.25};
    double p[N], sum = 0, got[N], want[N];
    for (int i = 0; i < N; i++) sum += p[i] = exp(x[i]);
    for (int j = 0; j < N; j++) {
        double v[N] = {0};
        v[j] = 1;
        for (int i = 0; i < N; i++) want[i] = (i == j) * p[i] / sum - p[i] * p[j] / sum / sum;
        hessian_product(cross_entropy, VECTOR, t, x, v, got);
        expect_close(got, want);
    }
}

/* ---- a gradient in a file, differentiated ---- */

enum { DIRECTIONS = 4 };
static const char *const wrt[] = {"x"};

/* One function of a graph in double precision, with tensors for its arguments by name. */
typedef struct model_s {
    veer_graph_t *g;
    veer_func_t func;
    veer_tensor_t args[8], results[8];
    int arg_count, result_count;
} model_t;

/* Timesteps and labels are small whole numbers, all else is random, the same for the same name. */
static void fill_args(model_t *m) {
    veer_region_t body = veer_func_body(m->g, m->func);
    m->arg_count = veer_region_arg_count(m->g, body), m->result_count = veer_region_result_count(m->g, body);
    assert_true(m->arg_count <= 8 && m->result_count <= 8);
    for (int i = 0; i < m->arg_count; i++) {
        veer_value_t arg = veer_region_arg(m->g, body, i);
        uint64_t random = 7 + (uint64_t)veer_value_name(m->g, arg)[0];
        m->args[i] = tensor_make(*veer_value_type(m->g, arg));
        bool number = veer_dtype_is_float(m->args[i].type.dtype);
        for (int64_t k = 0; k < veer_type_count(&m->args[i].type); k++)
            tensor_set(&m->args[i], k, number ? 2 * random_unit(&random) - 1 : (double)(3 + k));
    }
}

static veer_tensor_t *arg_named(model_t *m, const char *name) {
    for (int i = 0; i < m->arg_count; i++)
        if (!strcmp(veer_value_name(m->g, veer_region_arg(m->g, veer_func_body(m->g, m->func), i)), name))
            return &m->args[i];
    fail_msg("no argument '%s'", name);
    return NULL;
}

static veer_tensor_t *result_named(model_t *m, const char *name) {
    for (int i = 0; i < m->result_count; i++)
        if (!strcmp(veer_func_result_name(m->g, m->func, i), name)) return &m->results[i];
    fail_msg("no result '%s'", name);
    return NULL;
}

static void free_results(model_t *m) {
    for (int i = 0; i < m->result_count; i++) tensor_free(&m->results[i]);
}

static void evaluate(model_t *m) {
    free_results(m);
    require_ok(veer_reference_eval(m->g, m->func, m->args, m->arg_count, veer_allocator_system(), m->results,
                                   m->result_count));
}

/* The model of a file, or its gradient, in double precision. */
static void load(model_t *m, const char *path, const veer_gradient_request_t *request) {
    veer_func_t model;
    *m = (model_t){0};
    require_ok(veer_graph_create(veer_allocator_system(), &m->g));
    require_ok(veer_import_for_options(m->g, path, NULL, &model));
    require_ok(veer_widen(m->g, model, "wide", &m->func));
    if (request) require_ok(veer_build_gradient(m->g, m->func, request, &m->func));
    require_ok(veer_run_passes(m->g, m->func, "inline,gradient,dce", NULL));
    fill_args(m);
}

static void unload(model_t *m) {
    free_results(m);
    for (int i = 0; i < m->arg_count; i++) tensor_free(&m->args[i]);
    veer_graph_destroy(m->g);
}

static double dot(const veer_tensor_t *a, const veer_tensor_t *b) {
    double sum = 0;
    for (int64_t i = 0; i < veer_type_count(&a->type); i++) sum += veer_load_double(a, i) * veer_load_double(b, i);
    return sum;
}

static void move_by(const veer_tensor_t *x, double step, const veer_tensor_t *v) {
    for (int64_t i = 0; i < veer_type_count(&x->type); i++)
        tensor_set(x, i, veer_load_double(x, i) + step * veer_load_double(v, i));
}

/* |grad|^2 with x moved. */
static double squared_norm(model_t *gradient, double step, const veer_tensor_t *v) {
    veer_tensor_t *x = arg_named(gradient, "x"), before = tensor_make(x->type);
    memcpy(before.data, x->data, veer_type_bytes(&x->type));
    move_by(x, step, v);
    evaluate(gradient);
    memcpy(x->data, before.data, veer_type_bytes(&x->type));
    tensor_free(&before);
    veer_tensor_t *g = result_named(gradient, "grad_x");
    return dot(g, g);
}

/* d |g|^2 / dx = 2 H g: the vector-Jacobian product of g with 2 g. */
static void squared_norm_of_a_classifier(void **state) {
    (void)state;
    veer_gradient_request_t once = {.of = "logits", .wrt = wrt, .wrt_count = 1, .head = "softmax"};
    veer_gradient_request_t twice = {.of = "grad_x", .wrt = wrt, .wrt_count = 1};
    veer_named_dim_t batch = {"batch", 1};
    veer_compile_options_t options = {.dims = &batch, .dim_count = 1};
    model_t gradient, second;
    require_ok(
        veer_export_gradient(VEER_EXAMPLES "/digits/classifier/model.onnx", &once, &options, temp_path("grad.onnx")));
    require_ok(veer_check_gradient(temp_path("grad.onnx"), &twice, NULL));
    load(&gradient, temp_path("grad.onnx"), NULL);
    load(&second, temp_path("grad.onnx"), &twice);
    veer_tensor_t *x = arg_named(&gradient, "x");
    evaluate(&gradient);
    veer_tensor_t *g = result_named(&gradient, "grad_x"), *d = arg_named(&second, "d_grad_x");
    assert_true(dot(g, g) > 1e-6);
    for (int64_t i = 0; i < veer_type_count(&g->type); i++) tensor_set(d, i, 2 * veer_load_double(g, i));
    evaluate(&second);
    const veer_tensor_t *got = result_named(&second, "grad_grad_x");
    double norm = sqrt(dot(got, got)), worst = 0;
    uint64_t random = 20251122;
    for (int k = 0; k < DIRECTIONS; k++) {
        veer_tensor_t v = tensor_make(x->type);
        for (int64_t i = 0; i < veer_type_count(&v.type); i++) tensor_set(&v, i, 2 * random_unit(&random) - 1);
        double h = 1e-5, want = (squared_norm(&gradient, h, &v) - squared_norm(&gradient, -h, &v)) / (2 * h);
        worst = fmax(worst, fabs(dot(got, &v) - want) / fmax(fabs(want), 0.01 * norm));
        tensor_free(&v);
    }
    printf("digits classifier: |d |grad|^2| = %.3g, error by differences %.1e\n", norm, worst);
    assert_true(norm > 1e-6 && worst <= 1e-6);
    unload(&gradient), unload(&second);
}

/* The compiled second derivative against the one in double. */
static void compiled_second_derivative(void **state) {
    (void)state;
    veer_gradient_request_t twice = {.of = "grad_x", .wrt = wrt, .wrt_count = 1};
    model_t want;
    veer_compiled_t *compiled;
    veer_tensor_t in[8], out[8];
    load(&want, temp_path("grad.onnx"), &twice);
    evaluate(&want);
    require_ok(veer_compile_gradient(temp_path("grad.onnx"), &twice, NULL, &compiled));
    const veer_plan_t *plan = veer_compiled_plan(compiled);
    assert_int_equal(veer_plan_input_count(plan), want.arg_count);
    for (int i = 0; i < want.arg_count; i++) {
        in[i] = tensor_make(*veer_plan_input_type(plan, i));
        for (int64_t k = 0; k < veer_type_count(&in[i].type); k++)
            tensor_set(&in[i], k, veer_load_double(arg_named(&want, veer_plan_input_name(plan, i)), k));
    }
    for (int i = 0; i < veer_plan_output_count(plan); i++) out[i] = tensor_make(*veer_plan_output_type(plan, i));
    require_ok(veer_compiled_run(compiled, in, out, NULL));
    int at = veer_plan_find_output(plan, "grad_grad_x");
    assert_true(at >= 0);
    const veer_tensor_t *exact = result_named(&want, "grad_grad_x");
    double worst = 0, range = 0;
    for (int64_t k = 0; k < veer_type_count(&exact->type); k++) {
        double error = fabs(veer_load_double(&out[at], k) - veer_load_double(exact, k));
        if (!(error <= worst)) worst = error;
        range = fmax(range, fabs(veer_load_double(exact, k)));
    }
    printf("compiled: error %.1e of the range\n", worst / range);
    assert_true(range > 1e-6 && worst <= 1e-4 * range);
    for (int i = 0; i < want.arg_count; i++) tensor_free(&in[i]);
    for (int i = 0; i < veer_plan_output_count(plan); i++) tensor_free(&out[i]);
    veer_compiled_destroy(compiled);
    unload(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hessian_of_a_quadratic_form), cmocka_unit_test(hessian_of_cross_entropy),
        cmocka_unit_test(squared_norm_of_a_classifier), cmocka_unit_test(compiled_second_derivative)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
