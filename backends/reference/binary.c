/* Elementwise kernels of two or three operands, which broadcast. Integers of any width are computed as 64 bits and cut,
 * which is exact for sums, differences and products modulo 2^n; where the sign matters the functions are told of u64.
 */
#include "backends/reference/kernel.h"

#include <math.h>

typedef double (*binary_f)(double, double);
typedef int64_t (*binary_i)(int64_t, int64_t, bool is_u64);

static veer_kernel_result_t map2(veer_reference_call_t *c, binary_f f, binary_i g) {
    const veer_tensor_t *x = &c->in[0], *y = &c->in[1], *z = &c->out[0];
    bool exact = veer_is_exact(x);
    for (veer_walk_t w = veer_walk_broadcast(&z->type, c->in, 2); w.i < w.count; veer_walk_next(&w))
        if (exact)
            veer_store_int(z, w.i, g(veer_load_int(x, w.at[0]), veer_load_int(y, w.at[1]), veer_is_u64(x)));
        else
            veer_store_double(z, w.i, f(veer_load_double(x, w.at[0]), veer_load_double(y, w.at[1])));
    return VEER_KERNEL_OK;
}

/* Comparisons and logic: a bool result whatever the operands are. */
static veer_kernel_result_t test2(veer_reference_call_t *c, bool (*f)(double, double), binary_i g) {
    const veer_tensor_t *x = &c->in[0], *y = &c->in[1], *z = &c->out[0];
    bool exact = veer_is_exact(x);
    for (veer_walk_t w = veer_walk_broadcast(&z->type, c->in, 2); w.i < w.count; veer_walk_next(&w))
        veer_store_int(z, w.i,
                       exact ? g(veer_load_int(x, w.at[0]), veer_load_int(y, w.at[1]), veer_is_u64(x))
                             : f(veer_load_double(x, w.at[0]), veer_load_double(y, w.at[1])));
    return VEER_KERNEL_OK;
}

/* ---- numbers ---- */
static double add_f(double x, double y) {
    return x + y;
}
static double sub_f(double x, double y) {
    return x - y;
}
static double mul_f(double x, double y) {
    return x * y;
}
static double div_f(double x, double y) {
    return x / y;
}
static double min_f(double x, double y) {
    return isnan(x) || x < y ? x : y;
}
static double max_f(double x, double y) {
    return isnan(x) || x > y ? x : y;
}
static int64_t add_i(int64_t x, int64_t y, bool is_u64) {
    return (void)is_u64, (int64_t)((uint64_t)x + (uint64_t)y);
}
static int64_t sub_i(int64_t x, int64_t y, bool is_u64) {
    return (void)is_u64, (int64_t)((uint64_t)x - (uint64_t)y);
}
static int64_t mul_i(int64_t x, int64_t y, bool is_u64) {
    return (void)is_u64, (int64_t)((uint64_t)x * (uint64_t)y);
}
static int64_t less_i(int64_t x, int64_t y, bool is_u64) {
    return is_u64 ? (uint64_t)x < (uint64_t)y : x < y;
}
static int64_t min_i(int64_t x, int64_t y, bool is_u64) {
    return less_i(x, y, is_u64) ? x : y;
}
static int64_t max_i(int64_t x, int64_t y, bool is_u64) {
    return less_i(x, y, is_u64) ? y : x;
}

static int64_t div_i(int64_t x, int64_t y, bool is_u64) {
    if (y == 0) return 0;
    if (is_u64) return (int64_t)((uint64_t)x / (uint64_t)y);
    return y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y; /* -2^63 / -1 wraps around */
}

/* The sign of x. */
static int64_t fmod_i(int64_t x, int64_t y, bool is_u64) {
    if (y == 0 || y == -1) return y == 0 || !is_u64 ? 0 : (int64_t)((uint64_t)x % (uint64_t)y);
    return is_u64 ? (int64_t)((uint64_t)x % (uint64_t)y) : x % y;
}

/* The sign of y. */
static int64_t mod_i(int64_t x, int64_t y, bool is_u64) {
    int64_t r = fmod_i(x, y, is_u64);
    return !is_u64 && r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

#define MAP2(name, f, g)                                                                                               \
    veer_kernel_result_t veer_reference_##name(veer_reference_call_t *c) {                                             \
        return map2(c, f, g);                                                                                          \
    }
MAP2(add, add_f, add_i)
MAP2(sub, sub_f, sub_i)
MAP2(mul, mul_f, mul_i)
MAP2(div, div_f, div_i)
MAP2(min, min_f, min_i)
MAP2(max, max_f, max_i)
MAP2(mod, fmod, veer_call_int(c, "fmod") ? fmod_i : mod_i)

/* ---- pow ---- */
static int64_t pow_i(int64_t x, int64_t y, bool negative) {
    if (negative) return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0; /* 1 / x^|y| toward zero; 0 for x = 0 too */
    uint64_t result = 1, base = (uint64_t)x;
    for (uint64_t e = (uint64_t)y; e; e >>= 1, base *= base)
        if (e & 1) result *= base;
    return (int64_t)result;
}

static int64_t pow_of_int(int64_t x, const veer_tensor_t *y, int64_t i) {
    if (veer_is_exact(y)) return pow_i(x, veer_load_int(y, i), !veer_is_u64(y) && veer_load_int(y, i) < 0);
    double z = pow((double)x, veer_load_double(y, i));
    return isnan(z) ? 0 : z >= 0x1p63 ? INT64_MAX : z <= -0x1p63 ? INT64_MIN : (int64_t)z;
}

veer_kernel_result_t veer_reference_pow(veer_reference_call_t *c) {
    const veer_tensor_t *x = &c->in[0], *y = &c->in[1], *z = &c->out[0];
    bool exact = veer_is_exact(x);
    for (veer_walk_t w = veer_walk_broadcast(&z->type, c->in, 2); w.i < w.count; veer_walk_next(&w))
        if (exact)
            veer_store_int(z, w.i, pow_of_int(veer_load_int(x, w.at[0]), y, w.at[1]));
        else
            veer_store_double(z, w.i, pow(veer_load_double(x, w.at[0]), veer_load_double(y, w.at[1])));
    return VEER_KERNEL_OK;
}

/* ---- comparisons and logic ---- */
static bool equal_f(double x, double y) {
    return x == y;
}
static bool less_f(double x, double y) {
    return x < y;
}
static bool less_equal_f(double x, double y) {
    return x <= y;
}
static int64_t equal_i(int64_t x, int64_t y, bool is_u64) {
    return (void)is_u64, x == y;
}
static int64_t less_equal_i(int64_t x, int64_t y, bool is_u64) {
    return !less_i(y, x, is_u64);
}
static int64_t and_i(int64_t x, int64_t y, bool is_u64) {
    return (void)is_u64, x & y;
}
static int64_t or_i(int64_t x, int64_t y, bool is_u64) {
    return (void)is_u64, x | y;
}
static int64_t xor_i(int64_t x, int64_t y, bool is_u64) {
    return (void)is_u64, x ^ y;
}

#define TEST2(name, f, g)                                                                                              \
    veer_kernel_result_t veer_reference_##name(veer_reference_call_t *c) {                                             \
        return test2(c, f, g);                                                                                         \
    }
TEST2(equal, equal_f, equal_i)
TEST2(less, less_f, less_i)
TEST2(less_equal, less_equal_f, less_equal_i)
TEST2(and, NULL, and_i)
TEST2(or, NULL, or_i)
TEST2(xor, NULL, xor_i)

veer_kernel_result_t veer_reference_where(veer_reference_call_t *c) {
    for (veer_walk_t w = veer_walk_broadcast(&c->out[0].type, c->in, 3); w.i < w.count; veer_walk_next(&w)) {
        int from = veer_load_int(&c->in[0], w.at[0]) ? 1 : 2;
        veer_copy_element(&c->out[0], w.i, &c->in[from], w.at[from]);
    }
    return VEER_KERNEL_OK;
}
