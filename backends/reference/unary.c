/* Elementwise kernels of one operand: a function of double each, integers apart. */
#include "backends/reference/kernel.h"

#include <math.h>
#include <string.h>

static veer_kernel_result_t map(veer_reference_call_t *c, double (*f)(double)) {
    int64_t count = veer_type_count(&c->out[0].type);
    for (int64_t i = 0; i < count; i++) veer_store_double(&c->out[0], i, f(veer_load_double(&c->in[0], i)));
    return VEER_KERNEL_OK;
}

/* For ops of any number: integers through `g`, which sees u64 as its bits and is told so. */
static veer_kernel_result_t map_any(veer_reference_call_t *c, double (*f)(double), int64_t (*g)(int64_t, bool)) {
    if (!veer_is_exact(&c->in[0])) return map(c, f);
    int64_t count = veer_type_count(&c->out[0].type);
    for (int64_t i = 0; i < count; i++)
        veer_store_int(&c->out[0], i, g(veer_load_int(&c->in[0], i), veer_is_u64(&c->in[0])));
    return VEER_KERNEL_OK;
}

static double neg_f(double x) {
    return -x;
}
static double sign_f(double x) {
    return isnan(x) ? x : (double)((x > 0) - (x < 0));
}
static double rsqrt_f(double x) {
    return 1 / sqrt(x);
}
static double reciprocal_f(double x) {
    return 1 / x;
}
/* e^-x would overflow far left of 0, where e^x / (1 + e^x) is the same number */
static double sigmoid_f(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}
static double softplus_f(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x))) + (isnan(x) ? x : 0);
}
static double relu_f(double x) {
    return x > 0 || isnan(x) ? x : 0;
}
static double silu_f(double x) {
    return x == -INFINITY ? -0.0 : x * sigmoid_f(x);
}
/* erfc keeps its digits where 1 + erf cancels */
static double gelu_f(double x) {
    return x == -INFINITY ? -0.0 : 0.5 * x * erfc(-x * M_SQRT1_2);
}
static double gelu_tanh_f(double x) {
    double u = sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    return x == -INFINITY ? -0.0 : 0.5 * x * (1 + tanh(u));
}

static int64_t neg_i(int64_t x, bool is_u64) {
    return (void)is_u64, (int64_t)(0 - (uint64_t)x);
}
static int64_t abs_i(int64_t x, bool is_u64) {
    return x < 0 && !is_u64 ? neg_i(x, false) : x;
}
static int64_t sign_i(int64_t x, bool is_u64) {
    return is_u64 ? x != 0 : (x > 0) - (x < 0);
}
static int64_t relu_i(int64_t x, bool is_u64) {
    return x < 0 && !is_u64 ? 0 : x;
}

#define MAP(name, f)                                                                                                   \
    veer_kernel_result_t veer_reference_##name(veer_reference_call_t *c) {                                             \
        return map(c, f);                                                                                              \
    }
#define MAP_ANY(name, f, g)                                                                                            \
    veer_kernel_result_t veer_reference_##name(veer_reference_call_t *c) {                                             \
        return map_any(c, f, g);                                                                                       \
    }
MAP_ANY(neg, neg_f, neg_i)
MAP_ANY(abs, fabs, abs_i)
MAP_ANY(sign, sign_f, sign_i)
MAP_ANY(relu, relu_f, relu_i)
MAP(exp, exp)
MAP(log, log)
MAP(sqrt, sqrt)
MAP(rsqrt, rsqrt_f)
MAP(reciprocal, reciprocal_f)
MAP(sin, sin)
MAP(cos, cos)
MAP(atan, atan)
MAP(tanh, tanh)
MAP(sigmoid, sigmoid_f)
MAP(softplus, softplus_f)
MAP(erf, erf)
MAP(silu, silu_f)
MAP(floor, floor)
MAP(ceil, ceil)
MAP(round, rint) /* the default rounding mode is to nearest even */

veer_kernel_result_t veer_reference_gelu(veer_reference_call_t *c) {
    return map(c, strcmp(veer_call_string(c, "approximate"), "tanh") ? gelu_f : gelu_tanh_f);
}

veer_kernel_result_t veer_reference_not(veer_reference_call_t *c) {
    int64_t count = veer_type_count(&c->out[0].type);
    bool truth = c->in[0].type.dtype == VEER_DTYPE_BOOL;
    for (int64_t i = 0; i < count; i++) {
        int64_t x = veer_load_int(&c->in[0], i);
        veer_store_int(&c->out[0], i, truth ? !x : ~x);
    }
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_isnan(veer_reference_call_t *c) {
    int64_t count = veer_type_count(&c->out[0].type);
    for (int64_t i = 0; i < count; i++) veer_store_int(&c->out[0], i, isnan(veer_load_double(&c->in[0], i)));
    return VEER_KERNEL_OK;
}

/* ---- cast ---- */
/* Toward zero, saturating; NaN is 0. */
static int64_t truncate_to(double x, veer_dtype_t to) {
    int bits = veer_dtype_is_int4(to) ? 4 : 8 * (int)veer_dtype_size(to);
    bool is_signed = veer_dtype_is_signed(to) || to == VEER_DTYPE_I4;
    double limit = ldexp(1, is_signed ? bits - 1 : bits); /* the first number too large */
    if (isnan(x)) return 0;
    x = trunc(x);
    if (x >= limit) return is_signed ? (int64_t)(((uint64_t)1 << (bits - 1)) - 1) : -1; /* -1: all bits */
    if (x < (is_signed ? -limit : 0)) return is_signed ? -(int64_t)(((uint64_t)1 << (bits - 1)) - 1) - 1 : 0;
    return x >= 0x1p63 ? (int64_t)(uint64_t)x : (int64_t)x;
}

/* Integers to f32 are rounded once, not through double. */
static void store_int_as_float(const veer_tensor_t *y, int64_t i, int64_t value, bool is_u64) {
    if (y->type.dtype == VEER_DTYPE_F32)
        ((float *)y->data)[i] = is_u64 ? (float)(uint64_t)value : (float)value;
    else
        veer_store_double(y, i, is_u64 ? (double)(uint64_t)value : (double)value);
}

static void cast_element(const veer_tensor_t *y, const veer_tensor_t *x, int64_t i) {
    bool from_float = !veer_is_exact(x), to_float = !veer_is_exact(y);
    if (y->type.dtype == VEER_DTYPE_BOOL)
        veer_store_int(y, i, from_float ? veer_load_double(x, i) != 0 : veer_load_int(x, i) != 0);
    else if (from_float && to_float)
        veer_store_double(y, i, veer_load_double(x, i));
    else if (from_float)
        veer_store_int(y, i, truncate_to(veer_load_double(x, i), y->type.dtype));
    else if (to_float)
        store_int_as_float(y, i, veer_load_int(x, i), veer_is_u64(x));
    else
        veer_store_int(y, i, veer_load_int(x, i));
}

veer_kernel_result_t veer_reference_cast(veer_reference_call_t *c) {
    int64_t count = veer_type_count(&c->out[0].type);
    veer_dtype_t to = c->out[0].type.dtype;
    bool cut = veer_dtype_is_float8(to) && !veer_call_int(c, "saturate");
    for (int64_t i = 0; i < count; i++)
        if (cut)
            ((uint8_t *)c->out[0].data)[i] = veer_float8_from_double(to, veer_load_double(&c->in[0], i), false);
        else
            cast_element(&c->out[0], &c->in[0], i);
    return VEER_KERNEL_OK;
}
