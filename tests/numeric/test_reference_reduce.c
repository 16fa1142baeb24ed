/* Reductions against naive loops over a 3-D tensor, and tables for integers, ties and NaN. */
#include "tests/op_run.h"

#define WANT(...)                                                                                                      \
    (double[]) {                                                                                                       \
        __VA_ARGS__                                                                                                    \
    }
enum { A = 3, B = 4, C = 5 };

typedef double (*fold_t)(double a, double x);
static double sum(double a, double x) {
    return a + x;
}
static double product(double a, double x) {
    return a * x;
}
static double larger(double a, double x) {
    return a > x ? a : x;
}
static double smaller(double a, double x) {
    return a < x ? a : x;
}

/* x [A,B,C] over the axes of `mask` (bit per axis); y's place is the index with reduced dims left out. */
static void naive(const double *x, unsigned mask, fold_t fold, double start, double *y) {
    int b = mask & 2 ? 1 : B, c = mask & 4 ? 1 : C, count = (mask & 1 ? 1 : A) * b * c;
    for (int i = 0; i < count; i++) y[i] = start;
    for (int i = 0; i < A; i++)
        for (int j = 0; j < B; j++)
            for (int k = 0; k < C; k++) {
                double *at = &y[((mask & 1 ? 0 : i) * b + (mask & 2 ? 0 : j)) * c + (mask & 4 ? 0 : k)];
                *at = fold(*at, x[(i * B + j) * C + k]);
            }
}

static void check_fold(veer_op_t op, unsigned mask, bool keepdims, fold_t fold, double start, double scale) {
    int64_t axes[3], dims[] = {A, B, C};
    int count = 0, rank = 0;
    veer_type_t type = {.dtype = VEER_DTYPE_F64};
    for (int i = 0; i < 3; i++)
        if (mask >> i & 1) axes[count++] = i;
    for (int i = 0; i < 3; i++)
        if (!(mask >> i & 1) || keepdims) type.dims[rank++] = mask >> i & 1 ? 1 : dims[i];
    type.rank = rank;
    op_row_t c = {
        veer_op_name(op), op, {ANY(A, B, C)}, {VEER_INTS("axes", axes, count), VEER_INT("keepdims", keepdims)}};
    op_run_t r;
    op_run_init(&r, &c, 1); /* expect_values makes the same operands */
    double want[A * B * C];
    naive(r.args[0].data, mask, fold, start, want);
    for (int i = 0; i < veer_type_count(&type); i++) want[i] *= scale;
    expect_values(&c, type, want, 1e-13);
    op_run_deinit(&r);
}

static void all_axes(void **state) {
    (void)state;
    for (unsigned mask = 0; mask < 8; mask++)
        for (int keepdims = 0; keepdims < 2; keepdims++) {
            double n = (mask & 1 ? A : 1) * (mask & 2 ? B : 1) * (mask & 4 ? C : 1);
            check_fold(VEER_OP_REDUCE_SUM, mask, keepdims, sum, 0, 1);
            check_fold(VEER_OP_REDUCE_MEAN, mask, keepdims, sum, 0, 1 / n);
            check_fold(VEER_OP_REDUCE_PROD, mask, keepdims, product, 1, 1);
            check_fold(VEER_OP_REDUCE_MAX, mask, keepdims, larger, -INFINITY, 1);
            check_fold(VEER_OP_REDUCE_MIN, mask, keepdims, smaller, INFINITY, 1);
        }
}

static void expect_row(veer_op_t op, veer_dtype_t dtype, const double *x, double want) {
    op_row_t c = {veer_op_name(op), op, {{FILL_VALUES, VEER_TYPE(dtype, 3), 0, x}}, {LIST("axes", 0)}};
    expect_values(&c, VEER_SCALAR(dtype), &want, 0);
}

static void integers_and_nan(void **state) {
    (void)state;
    expect_row(VEER_OP_REDUCE_SUM, VEER_DTYPE_I8, WANT(100, 27, 1), -128);
    expect_row(VEER_OP_REDUCE_MEAN, VEER_DTYPE_I32, WANT(-3, -3, -2), -2);
    expect_row(VEER_OP_REDUCE_PROD, VEER_DTYPE_I16, WANT(3, -5, 7), -105);
    expect_row(VEER_OP_REDUCE_MAX, VEER_DTYPE_U64, WANT(1, 0x1p63, 2), 0x1p63);
    expect_row(VEER_OP_REDUCE_MIN, VEER_DTYPE_I64, WANT(1, -5, 2), -5);
    expect_row(VEER_OP_REDUCE_MAX, VEER_DTYPE_F32, WANT(1, NAN, 2), NAN);
    expect_row(VEER_OP_REDUCE_MIN, VEER_DTYPE_F32, WANT(NAN, 1, 2), NAN);
}

/* Double accumulation: one large term does not swallow the small ones before the final rounding. */
static void f32_sums_in_double(void **state) {
    (void)state;
    expect_row(VEER_OP_REDUCE_SUM, VEER_DTYPE_F32, WANT(0x1p24, 1, 1), 0x1p24 + 2);
}

static void nothing_to_reduce(void **state) {
    (void)state;
    op_row_t c = {"sum of nothing", VEER_OP_REDUCE_SUM, {ANY(2, 0)}, {LIST("axes", 1)}};
    expect_values(&c, VEER_TYPE(VEER_DTYPE_F64, 2), WANT(0, 0), 0);
    c.op = VEER_OP_REDUCE_MEAN;
    expect_values(&c, VEER_TYPE(VEER_DTYPE_F64, 2), WANT(NAN, NAN), 0);
    c.op = VEER_OP_REDUCE_MAX;
    expect_error(&c, "has no maximum");
    expect_error(&(op_row_t){"axes", VEER_OP_REDUCE_SUM, {ANY(2, 3)}, {LIST("axes", 1, 0)}}, "expected ascending");
    expect_error(&(op_row_t){"axes", VEER_OP_REDUCE_SUM, {ANY(2, 3)}, {LIST("axes", 2)}}, "axes[0] is 2");
}

static void expect_arg(const double *x, int last, int largest, const double *want) {
    op_row_t c = {"arg_max",
                  VEER_OP_ARG_MAX,
                  {{FILL_VALUES, OP_TYPE(VEER_DTYPE_F32, 2, 4), 0, x}},
                  {VEER_INT("axis", 1), VEER_INT("select_last", last), VEER_INT("largest", largest)}};
    expect_values(&c, VEER_TYPE(VEER_DTYPE_I64, 2), want, 0);
}

static void arg_max_chooses(void **state) {
    (void)state;
    const double x[] = {1, 5, 5, 1, 2, NAN, 7, NAN};
    expect_arg(x, 0, 1, WANT(1, 1));
    expect_arg(x, 1, 1, WANT(2, 3));
    expect_arg(x, 0, 0, WANT(0, 1));
    expect_arg(x, 1, 0, WANT(3, 3));
    op_row_t column = {
        "arg_max", VEER_OP_ARG_MAX, {VALUES(VEER_DTYPE_U64, WANT(1, 9, 0x1p63, 2), 2, 2)}, {VEER_INT("keepdims", 1)}};
    expect_values(&column, VEER_TYPE(VEER_DTYPE_I64, 1, 2), WANT(1, 0), 0);
    expect_error(&(op_row_t){"arg_max", VEER_OP_ARG_MAX, {ANY(0)}}, "no largest");
}

/* Result 1 holds the places; equals keep their order, NaN is the most extreme. */
static void top_k_sorts(void **state) {
    (void)state;
    op_row_t c = {"top_k",
                  VEER_OP_TOP_K,
                  {VALUES(VEER_DTYPE_F32, WANT(1, 5, 5, 2, 4, NAN, 7, 4), 2, 4)},
                  {VEER_INT("axis", 1), VEER_INT("k", 3)}};
    expect_values(&c, VEER_TYPE(VEER_DTYPE_F32, 2, 3), WANT(5, 5, 2, NAN, 7, 4), 0);
    c.attrs[2] = VEER_INT("largest", 0);
    expect_values(&c, VEER_TYPE(VEER_DTYPE_F32, 2, 3), WANT(1, 2, 5, NAN, 4, 4), 0);
    op_row_t columns = {
        "top_k", VEER_OP_TOP_K, {VALUES(VEER_DTYPE_U64, WANT(1, 9, 0x1p63, 2), 2, 2)}, {VEER_INT("k", 2)}};
    expect_values(&columns, VEER_TYPE(VEER_DTYPE_U64, 2, 2), WANT(0x1p63, 9, 1, 2), 0);
    expect_error(&(op_row_t){"top_k", VEER_OP_TOP_K, {ANY(3)}, {VEER_INT("k", 4)}}, "k is 4, expected 0 to 3");
}

static void expect_cumsum(int exclusive, int reverse, const double *want) {
    op_row_t c = {"cumsum",
                  VEER_OP_CUMSUM,
                  {VALUES(VEER_DTYPE_I32, WANT(1, 2, 3, 4, 5, 6), 3, 2)},
                  {VEER_INT("axis", 0), VEER_INT("exclusive", exclusive), VEER_INT("reverse", reverse)}};
    expect_values(&c, VEER_TYPE(VEER_DTYPE_I32, 3, 2), want, 0);
    c.in[0].type.dtype = VEER_DTYPE_F32;
    expect_values(&c, VEER_TYPE(VEER_DTYPE_F32, 3, 2), want, 0);
}

static void cumsum_directions(void **state) {
    (void)state;
    expect_cumsum(0, 0, WANT(1, 2, 4, 6, 9, 12));
    expect_cumsum(1, 0, WANT(0, 0, 1, 2, 4, 6));
    expect_cumsum(0, 1, WANT(9, 12, 8, 10, 5, 6));
    expect_cumsum(1, 1, WANT(8, 10, 5, 6, 0, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_axes),          cmocka_unit_test(integers_and_nan), cmocka_unit_test(f32_sums_in_double),
        cmocka_unit_test(nothing_to_reduce), cmocka_unit_test(arg_max_chooses),  cmocka_unit_test(cumsum_directions),
        cmocka_unit_test(top_k_sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
