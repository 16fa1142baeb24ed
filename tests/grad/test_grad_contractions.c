/* The gradient rules of the larger op families against central differences of the reference kernels, in double. The
 * output is weighted with made-up numbers (weights of one hide errors: every softmax row sums to 1), and a gradient
 * that is zero everywhere fails, so a rule that is not connected cannot pass. */
#include "ir/gradient.h"
#include "tests/contraction_cases.h"

#include <math.h>
#include <string.h>

/* f(x...) = y and its gradient d(x...; weights) = sum of weights * dy/dx. */
typedef struct subject_s {
    const op_case_t *c;
    veer_graph_t *g;
    veer_func_t value, gradient;
    veer_tensor_t args[OP_CASE_OPERANDS + 1]; /* the weights after the last argument */
    int arg_count;
} subject_t;

static void build_value(subject_t *s) {
    veer_builder_t b;
    veer_value_t in[OP_CASE_OPERANDS];
    op_case_ok(veer_graph_add_func(s->g, "value", &s->value), s->c->name);
    veer_node_t node = op_case_node(s->g, s->value, s->c, VEER_DTYPE_F64, &b, in);
    veer_value_t y = veer_node_out(s->g, node, 0);
    veer_builder_return(&b, &y, 1);
    op_case_ok(veer_builder_status(&b), s->c->name);
    s->args[s->arg_count].type = *veer_value_type(s->g, y);
}

static void build_gradient(subject_t *s) {
    veer_builder_t b;
    veer_value_t in[OP_CASE_OPERANDS], out[2], d_out[2] = {{0}}, d_in[OP_CASE_OPERANDS] = {{0}},
                                               results[OP_CASE_OPERANDS];
    bool need[OP_CASE_OPERANDS];
    op_case_ok(veer_graph_add_func(s->g, "gradient", &s->gradient), s->c->name);
    veer_node_t node = op_case_node(s->g, s->gradient, s->c, VEER_DTYPE_F64, &b, in);
    int out_count = veer_node_out_count(s->g, node), count = 0;
    for (int i = 0; i < out_count; i++) out[i] = veer_node_out(s->g, node, i);
    for (int i = 0; i < OP_CASE_OPERANDS; i++) need[i] = in[i].i != 0;
    op_case_ok(veer_region_add_arg(s->g, veer_func_body(s->g, s->gradient), s->args[s->arg_count].type, "d", &d_out[0]),
               s->c->name);
    veer_grad_t rule = {s->g, node, veer_node_in_count(s->g, node), out_count, in, out, d_out, need, d_in};
    op_case_ok(veer_op_def(s->c->op)->grad(&b, &rule), s->c->name);
    for (int i = 0; i < OP_CASE_OPERANDS; i++) {
        if (!need[i]) continue;
        veer_type_t type = *veer_value_type(s->g, in[i]);
        results[count++] = d_in[i].i ? d_in[i] : veer_zeros(&b, type);
        assert_true(veer_type_equal(veer_value_type(s->g, results[count - 1]), &type));
    }
    veer_builder_return(&b, results, count);
    op_case_ok(veer_builder_status(&b), s->c->name);
}

/* sum of weights * y */
static double weighted(const subject_t *s) {
    veer_tensor_t y;
    double sum = 0;
    op_case_ok(veer_reference_eval(s->g, s->value, s->args, s->arg_count, veer_allocator_system(), &y, 1), s->c->name);
    for (int64_t i = 0; i < veer_type_count(&y.type); i++)
        sum += ((const double *)y.data)[i] * ((const double *)s->args[s->arg_count].data)[i];
    op_case_free(&y, 1);
    return sum;
}

/* Central differences with h = 2^-16: off by h^2/6 of the third derivative, 4e-11 times at most 1e3 for the norms, and
 * by 2^-52 / h = 1e-11 of the value. */
static bool check_argument(subject_t *s, int arg, const veer_tensor_t *got) {
    const double h = 0x1p-16, tolerance = 1e-7;
    double *x = s->args[arg].data;
    bool any = false;
    for (int64_t i = 0; i < veer_type_count(&got->type); i++) {
        double at = x[i], value = ((const double *)got->data)[i];
        x[i] = at + h;
        double above = weighted(s);
        x[i] = at - h;
        double slope = (above - weighted(s)) / (2 * h);
        x[i] = at;
        if (!(fabs(value - slope) <= tolerance * (1 + fabs(slope)))) {
            print_error("%s: d/d(argument %d)[%lld] is %.12g, differences give %.12g\n", s->c->name, arg, (long long)i,
                        value, slope);
            return false;
        }
        any |= value != 0;
    }
    if (any || s->c->zero_gradient) return true;
    print_error("%s: the gradient by argument %d is zero everywhere\n", s->c->name, arg);
    return false;
}

static bool check_case(const op_case_t *c) {
    subject_t s = {.c = c};
    veer_tensor_t gradients[OP_CASE_OPERANDS];
    bool good = true;
    op_case_ok(veer_graph_create(veer_allocator_system(), &s.g), c->name);
    s.arg_count = op_case_args(c, s.args);
    build_value(&s);
    build_gradient(&s);
    veer_tensor_t *weights = &s.args[s.arg_count];
    assert_non_null(weights->data = veer_alloc(veer_allocator_system(), veer_type_bytes(&weights->type)));
    op_case_fill(9, veer_type_count(&weights->type), weights->data);
    op_case_ok(
        veer_reference_eval(s.g, s.gradient, s.args, s.arg_count + 1, veer_allocator_system(), gradients, s.arg_count),
        c->name);
    for (int i = 0; i < s.arg_count; i++) good &= check_argument(&s, i, &gradients[i]);
    op_case_free(gradients, s.arg_count), op_case_free(s.args, s.arg_count + 1);
    veer_graph_destroy(s.g);
    return good;
}

/* What is differentiated by its expansion is in test_grad_ops.c. */
static bool has_rule(const op_case_t *c) {
    return veer_op_def(c->op)->grad != veer_grad_by_expansion;
}

static void test_against_differences(void **state) {
    (void)state;
    int bad = 0;
    for (int i = 0; i < CONTRACTION_CASES; i++)
        if (has_rule(&contraction_cases[i])) bad += !check_case(&contraction_cases[i]);
    assert_int_equal(bad, 0);
}

/* Nothing is built for operands that need no gradient. */
static void test_only_what_is_needed(void **state) {
    (void)state;
    for (int i = 0; i < CONTRACTION_CASES; i++) {
        const op_case_t *c = &contraction_cases[i];
        if (!has_rule(c)) continue;
        veer_graph_t *g;
        veer_func_t f;
        veer_builder_t b;
        veer_value_t in[OP_CASE_OPERANDS], out[2], d_out[2] = {{0}}, d_in[OP_CASE_OPERANDS] = {{0}};
        bool need[OP_CASE_OPERANDS] = {false};
        op_case_ok(veer_graph_create(veer_allocator_system(), &g), c->name);
        op_case_ok(veer_graph_add_func(g, "f", &f), c->name);
        veer_node_t node = op_case_node(g, f, c, VEER_DTYPE_F64, &b, in);
        for (int k = 0; k < veer_node_out_count(g, node); k++) out[k] = veer_node_out(g, node, k);
        int last = op_case_operands(c) - 1;
        d_out[0] = out[0];
        need[last] = true;
        veer_grad_t rule = {g, node, last + 1, veer_node_out_count(g, node), in, out, d_out, need, d_in};
        op_case_ok(veer_op_def(c->op)->grad(&b, &rule), c->name);
        for (int k = 0; k < OP_CASE_OPERANDS; k++)
            assert_true(k == last ? d_in[k].i != 0 || c->zero_gradient : !d_in[k].i);
        veer_graph_destroy(g);
    }
}

int main(void) {
    printf("operands: seed 12345 + 777 * operand; weights: operand 9\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_differences),
        cmocka_unit_test(test_only_what_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
