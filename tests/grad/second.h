/* The gradient of a gradient, for tests. @df takes arguments and, last, the weights w of y, and gives d_k = d/dx_k of
 * sum(w * y(x)). With random v
 *
 *     h(x, w) = sum over k of sum(v_k * d_k(x, w))
 *
 * is differentiated by x, which gives the Hessian times v, and by w, which gives the Jacobian times v: that one
 * vanishes for no operator that has a gradient, so a rule that gets lost on the way is seen.
 *
 *     second_t s;
 *     second_init(&s, g, df, args, arg_count, d_count, seed);       // s.d[k]: by argument k, data NULL where no float
 *     ... second_difference(&s, k, i) ...                           // what s.d[k][i] should be
 *     second_deinit(&s);
 */
#ifndef VEER_TESTS_GRAD_SECOND_H
#define VEER_TESTS_GRAD_SECOND_H

#include "passes/gradient.h"
#include "tests/op_run.h"

enum { SECOND_MAX = 12 };
static const double second_step = 1e-5; /* as for first derivatives: see test_grad_ops.c */

typedef struct second_s {
    veer_graph_t *g;
    veer_func_t df;
    const veer_tensor_t *args; /* the caller's; differences move their elements and put them back */
    int arg_count, d_count;
    veer_tensor_t v[SECOND_MAX], d[SECOND_MAX];
} second_t;

static inline veer_tensor_t random_tensor(veer_type_t type, uint64_t *state) {
    veer_tensor_t t = tensor_make(type);
    for (int64_t i = 0; i < veer_type_count(&type); i++) tensor_set(&t, i, 4 * random_unit(state) - 2);
    return t;
}

/* A function of @df's arguments; its body is the caller's to write. */
static inline veer_builder_t second_func(second_t *s, const char *name, veer_func_t *func, veer_value_t *in) {
    require_ok(veer_graph_add_func(s->g, name, func));
    veer_region_t body = veer_func_body(s->g, *func);
    for (int i = 0; i < s->arg_count; i++) require_ok(veer_region_add_arg(s->g, body, s->args[i].type, "", &in[i]));
    return veer_builder_at_end(s->g, body);
}

static inline veer_func_t second_build_h(second_t *s, uint64_t *state) {
    veer_func_t h;
    veer_value_t in[SECOND_MAX], d[SECOND_MAX], sum = VEER_NO_VALUE;
    veer_builder_t b = second_func(s, "h", &h, in);
    veer_builder_inline(&b, s->df, in, s->arg_count, d);
    require_ok(veer_builder_status(&b));
    for (int k = 0; k < s->d_count; k++) {
        s->v[k] = random_tensor(*veer_value_type(s->g, d[k]), state);
        veer_value_t product = veer_mul(&b, d[k], veer_const(&b, s->v[k].type, s->v[k].data));
        product = veer_reduce_all(&b, VEER_OP_REDUCE_SUM, product);
        sum = sum.i ? veer_add(&b, sum, product) : product;
    }
    veer_builder_return(&b, &sum, 1);
    require_ok(veer_builder_status(&b));
    return h;
}

static inline void second_init(second_t *s, veer_graph_t *g, veer_func_t df, const veer_tensor_t *args, int arg_count,
                               int d_count, uint64_t seed) {
    *s = (second_t){.g = g, .df = df, .args = args, .arg_count = arg_count, .d_count = d_count};
    assert_true(arg_count <= SECOND_MAX && d_count <= SECOND_MAX);
    int64_t wrt[SECOND_MAX];
    int count = 0;
    veer_func_t dh, h = second_build_h(s, &seed);
    veer_value_t in[SECOND_MAX], out[SECOND_MAX];
    veer_tensor_t results[SECOND_MAX];
    for (int i = 0; i < arg_count; i++)
        if (veer_dtype_is_float(args[i].type.dtype)) wrt[count++] = i;
    veer_builder_t b = second_func(s, "dh", &dh, in);
    veer_value_t one = veer_const_scalar(&b, VEER_DTYPE_F64, 1);
    veer_node_t grad = veer_builder_grad(&b, h, in, arg_count, 0, one, wrt, count);
    require_ok(veer_builder_status(&b));
    for (int i = 0; i < count; i++) out[i] = veer_node_out(g, grad, 1 + i);
    veer_builder_return(&b, out, count);
    require_ok(veer_builder_status(&b));
    require_ok(veer_gradient_expand(g, grad));
    require_ok(veer_reference_eval(g, dh, args, arg_count, veer_allocator_system(), results, count));
    for (int i = 0; i < count; i++) s->d[wrt[i]] = results[i];
}

/* h at the arguments as they stand. */
static inline double second_value(const second_t *s) {
    veer_tensor_t d[SECOND_MAX];
    double sum = 0;
    require_ok(veer_reference_eval(s->g, s->df, s->args, s->arg_count, veer_allocator_system(), d, s->d_count));
    for (int k = 0; k < s->d_count; k++) {
        for (int64_t i = 0; i < veer_type_count(&d[k].type); i++)
            sum += veer_load_double(&d[k], i) * veer_load_double(&s->v[k], i);
        tensor_free(&d[k]);
    }
    return sum;
}

static inline double second_difference(const second_t *s, int k, int64_t i) {
    double x = veer_load_double(&s->args[k], i);
    tensor_set(&s->args[k], i, x + second_step);
    double above = second_value(s);
    tensor_set(&s->args[k], i, x - second_step);
    double below = second_value(s);
    tensor_set(&s->args[k], i, x);
    return (above - below) / (2 * second_step);
}

/* Largest error of s->d[k], relative where the derivative is above 1; *out_largest is the largest derivative. */
static inline double second_error(const second_t *s, int k, double *out_largest) {
    double worst = *out_largest = 0;
    for (int64_t i = 0; i < veer_type_count(&s->args[k].type); i++) {
        double got = veer_load_double(&s->d[k], i), want = second_difference(s, k, i);
        double error = fabs(got - want) / fmax(1, fabs(want));
        if (!(error <= worst)) worst = error;
        *out_largest = fmax(*out_largest, fabs(got));
    }
    return worst;
}

static inline void second_deinit(second_t *s) {
    for (int k = 0; k < SECOND_MAX; k++) tensor_free(&s->v[k]), tensor_free(&s->d[k]);
}

#endif
