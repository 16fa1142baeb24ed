/* Elementwise kernels of one operand against values of libm in long double, and integer tables. */
#include "tests/op_run.h"

#include "ir/gradient.h"

#define COUNT 64

/* ---- floats: naive formulas in long double ---- */
static long double sign_l(long double x) {
    return x > 0 ? 1 : x < 0 ? -1 : 0;
}
static long double abs_l(long double x) {
    return x < 0 ? -x : x;
}
static long double neg_l(long double x) {
    return 0 - x;
}
static long double rsqrt_l(long double x) {
    return powl(x, -0.5L);
}
static long double reciprocal_l(long double x) {
    return 1 / x;
}
static long double sigmoid_l(long double x) {
    return 1 / (1 + expl(-x));
}
static long double softplus_l(long double x) {
    return logl(1 + expl(x));
}
static long double relu_l(long double x) {
    return x > 0 ? x : 0;
}
static long double silu_l(long double x) {
    return x / (1 + expl(-x));
}
static long double gelu_l(long double x) {
    return x / 2 * (1 + erfl(x / sqrtl(2)));
}
static long double round_l(long double x) {
    return 2 * floorl((x + 1) / 2) + rintl(x - 2 * floorl((x + 1) / 2));
}

static const struct {
    veer_op_t op;
    fill_t fill;
    long double (*want)(long double);
} floats[] = {
    {VEER_OP_NEG, FILL_ANY, neg_l},          {VEER_OP_ABS, FILL_ANY, abs_l},
    {VEER_OP_SIGN, FILL_ANY, sign_l},        {VEER_OP_EXP, FILL_ANY, expl},
    {VEER_OP_LOG, FILL_POSITIVE, logl},      {VEER_OP_SQRT, FILL_POSITIVE, sqrtl},
    {VEER_OP_RSQRT, FILL_POSITIVE, rsqrt_l}, {VEER_OP_RECIPROCAL, FILL_ANY, reciprocal_l},
    {VEER_OP_SIN, FILL_ANY, sinl},           {VEER_OP_COS, FILL_ANY, cosl},
    {VEER_OP_ATAN, FILL_ANY, atanl},         {VEER_OP_TANH, FILL_ANY, tanhl},
    {VEER_OP_SIGMOID, FILL_ANY, sigmoid_l},  {VEER_OP_SOFTPLUS, FILL_ANY, softplus_l},
    {VEER_OP_ERF, FILL_ANY, erfl},           {VEER_OP_RELU, FILL_ANY, relu_l},
    {VEER_OP_SILU, FILL_ANY, silu_l},        {VEER_OP_GELU, FILL_ANY, gelu_l},
    {VEER_OP_FLOOR, FILL_ANY, floorl},       {VEER_OP_CEIL, FILL_ANY, ceill},
    {VEER_OP_ROUND, FILL_ANY, round_l},
};

/* Half the distance between neighbours, relative: what one rounding to the type may cost. */
static double rounding(veer_dtype_t dtype) {
    switch (dtype) {
    case VEER_DTYPE_F32: return 0x1p-24;
    case VEER_DTYPE_F16: return 0x1p-11;
    case VEER_DTYPE_BF16: return 0x1p-8;
    default: return 0x1p-51; /* f64: libm's own ulp or two */
    }
}

static void check_float(int k, veer_dtype_t dtype) {
    op_row_t c = {veer_op_name(floats[k].op), floats[k].op, {{floats[k].fill, OP_TYPE(dtype, COUNT)}}};
    op_run_t r;
    op_run_init(&r, &c, 7);
    veer_tensor_t y = op_run_eval(&r);
    for (int i = 0; i < COUNT; i++) {
        double x = veer_load_double(&r.args[0], i), got = veer_load_double(&y, i);
        double want = (double)floats[k].want((long double)x);
        if (!(fabs(got - want) <= 1.01 * rounding(dtype) * fabs(want) + 0x1p-51)) /* 2^-51: where 1 + erf cancels */
            fail_msg("%s of %s: %.17g gives %.17g, expected %.17g", c.label, veer_dtype_name(dtype), x, got, want);
    }
    tensor_free(&y);
    op_run_deinit(&r);
}

static void floats_are_rounded_once(void **state) {
    (void)state;
    static const veer_dtype_t dtypes[] = {VEER_DTYPE_F64, VEER_DTYPE_F32, VEER_DTYPE_F16, VEER_DTYPE_BF16};
    for (int k = 0; k < (int)(sizeof floats / sizeof *floats); k++)
        for (int d = 0; d < 4; d++) check_float(k, dtypes[d]);
}

static void expect_f64(veer_op_t op, int count, const double *x, const double *want, double tolerance) {
    veer_type_t type = VEER_TYPE(VEER_DTYPE_F64, count);
    op_row_t c = {veer_op_name(op), op, {{FILL_VALUES, type, 0, x}}};
    expect_values(&c, type, want, tolerance);
}

static void far_away_and_at_the_edges(void **state) {
    (void)state;
    const double far[] = {-INFINITY, -1000, 1000, INFINITY, NAN};
    expect_f64(VEER_OP_SIGMOID, 5, far, (double[]){0, 0, 1, 1, NAN}, 0);
    expect_f64(VEER_OP_SOFTPLUS, 5, far, (double[]){0, 0, 1000, INFINITY, NAN}, 0);
    expect_f64(VEER_OP_SILU, 5, far, (double[]){0, 0, 1000, INFINITY, NAN}, 0);
    expect_f64(VEER_OP_GELU, 5, far, (double[]){0, 0, 1000, INFINITY, NAN}, 0);
    expect_f64(VEER_OP_RELU, 5, far, (double[]){0, 0, 1000, INFINITY, NAN}, 0);
    expect_f64(VEER_OP_SIGN, 5, far, (double[]){-1, -1, 1, 1, NAN}, 0);
    expect_f64(VEER_OP_ROUND, 5, (double[]){-1.5, -0.5, 0.5, 1.5, 2.5}, (double[]){-2, 0, 0, 2, 2}, 0);
    expect_f64(VEER_OP_LOG, 2, (double[]){0, -1}, (double[]){-INFINITY, NAN}, 0);
    op_row_t by_tanh = {
        "gelu tanh", VEER_OP_GELU, {VALUES(VEER_DTYPE_F64, far, 4)}, {VEER_STRING("approximate", "tanh")}};
    expect_values(&by_tanh, VEER_TYPE(VEER_DTYPE_F64, 4), (double[]){0, 0, 1000, INFINITY}, 0);
}

static void integers_wrap(void **state) {
    (void)state;
    const double x[] = {-128, -3, 0, 127};
    veer_type_t type = VEER_TYPE(VEER_DTYPE_I8, 4);
    expect_values(&(op_row_t){"neg i8", VEER_OP_NEG, {VALUES(VEER_DTYPE_I8, x, 4)}}, type, (double[]){-128, 3, 0, -127},
                  0);
    expect_values(&(op_row_t){"abs i8", VEER_OP_ABS, {VALUES(VEER_DTYPE_I8, x, 4)}}, type, (double[]){-128, 3, 0, 127},
                  0);
    expect_values(&(op_row_t){"sign i8", VEER_OP_SIGN, {VALUES(VEER_DTYPE_I8, x, 4)}}, type, (double[]){-1, -1, 0, 1},
                  0);
    expect_values(&(op_row_t){"relu i8", VEER_OP_RELU, {VALUES(VEER_DTYPE_I8, x, 4)}}, type, (double[]){0, 0, 0, 127},
                  0);
    const double large[] = {0x1p63, 1}; /* not negative in u64 */
    veer_type_t u64 = VEER_TYPE(VEER_DTYPE_U64, 2);
    expect_values(&(op_row_t){"relu u64", VEER_OP_RELU, {VALUES(VEER_DTYPE_U64, large, 2)}}, u64, large, 0);
    expect_values(&(op_row_t){"sign u64", VEER_OP_SIGN, {VALUES(VEER_DTYPE_U64, large, 2)}}, u64, (double[]){1, 1}, 0);
}

static void logic(void **state) {
    (void)state;
    veer_type_t type = VEER_TYPE(VEER_DTYPE_BOOL, 2);
    expect_values(&(op_row_t){"not", VEER_OP_NOT, {VALUES(VEER_DTYPE_BOOL, ((double[]){0, 1}), 2)}}, type,
                  (double[]){1, 0}, 0);
    expect_values(&(op_row_t){"isnan", VEER_OP_ISNAN, {VALUES(VEER_DTYPE_F16, ((double[]){NAN, INFINITY}), 2)}}, type,
                  (double[]){1, 0}, 0);
    expect_values(&(op_row_t){"not of u8", VEER_OP_NOT, {VALUES(VEER_DTYPE_U8, ((double[]){0, 200}), 2)}},
                  VEER_TYPE(VEER_DTYPE_U8, 2), (double[]){255, 55}, 0);
    expect_error(&(op_row_t){"not of f32", VEER_OP_NOT, {VALUES(VEER_DTYPE_F32, NULL, 2)}}, "bool");
    expect_error(&(op_row_t){"exp of i32", VEER_OP_EXP, {VALUES(VEER_DTYPE_I32, NULL, 2)}}, "float");
    expect_error(&(op_row_t){"gelu", VEER_OP_GELU, {ANY(2)}, {VEER_STRING("approximate", "erf")}},
                 "approximate is \"erf\"");
}

/* ---- cast ---- */
static void expect_cast(veer_dtype_t from, veer_dtype_t to, int count, const double *x, const double *want) {
    op_row_t c = {"cast", VEER_OP_CAST, {{FILL_VALUES, VEER_TYPE(from, count), 0, x}}, {VEER_INT("to", to)}};
    expect_values(&c, VEER_TYPE(to, count), want, 0);
}

static void casts(void **state) {
    (void)state;
    const double x[] = {-1.5, 300.7, NAN, INFINITY, -INFINITY, -0.0};
    expect_cast(VEER_DTYPE_F64, VEER_DTYPE_I32, 6, x, (double[]){-1, 300, 0, INT32_MAX, INT32_MIN, 0});
    expect_cast(VEER_DTYPE_F32, VEER_DTYPE_U8, 6, x, (double[]){0, 255, 0, 255, 0, 0});
    expect_cast(VEER_DTYPE_F32, VEER_DTYPE_I8, 6, x, (double[]){-1, 127, 0, 127, -128, 0});
    expect_cast(VEER_DTYPE_F64, VEER_DTYPE_I64, 6, x, (double[]){-1, 300, 0, 0x1p63, -0x1p63, 0});
    expect_cast(VEER_DTYPE_F64, VEER_DTYPE_U64, 6, x, (double[]){0, 300, 0, 0x1p64, 0, 0});
    expect_cast(VEER_DTYPE_F64, VEER_DTYPE_BOOL, 6, x, (double[]){1, 1, 1, 1, 1, 0});
    expect_cast(VEER_DTYPE_I32, VEER_DTYPE_U8, 3, (double[]){-1, 256, 511}, (double[]){255, 0, 255});
    expect_cast(VEER_DTYPE_F64, VEER_DTYPE_F16, 4, (double[]){65519, 65520, 2049, 0x1p-25},
                (double[]){65504, INFINITY, 2048, 0});
    expect_cast(VEER_DTYPE_F64, VEER_DTYPE_BF16, 3, (double[]){257, 259, 0x1p127}, (double[]){256, 260, 0x1p127});
    expect_cast(VEER_DTYPE_BOOL, VEER_DTYPE_F32, 2, (double[]){1, 0}, (double[]){1, 0});
    expect_error(&(op_row_t){"cast", VEER_OP_CAST, {ANY(2)}, {VEER_INT("to", 99)}}, "to is 99");
}

/* 2^62 + 2^38 + 1 lies just above the middle of two floats; through double it would fall on the middle and go to even.
 */
static void wide_integers_are_rounded_once(void **state) {
    (void)state;
    op_row_t c = {"cast", VEER_OP_CAST, {VALUES(VEER_DTYPE_I64, ((double[]){0}), 1)}, {VEER_INT("to", VEER_DTYPE_F32)}};
    op_run_t r;
    op_run_init(&r, &c, 1);
    ((int64_t *)r.args[0].data)[0] = ((int64_t)1 << 62) + ((int64_t)1 << 38) + 1;
    veer_tensor_t y = op_run_eval(&r);
    assert_true(((float *)y.data)[0] == 0x1p62f + 0x1p39f);
    tensor_free(&y);
    op_run_deinit(&r);
}

/* ---- composites: `expand` says the same as the kernel ---- */
static void check_expansion(const op_row_t *c) {
    op_run_t r;
    op_run_init(&r, c, 5);
    veer_tensor_t want = op_run_eval(&r), got;
    veer_builder_t b = veer_builder_before(r.g, r.node);
    veer_value_t x = veer_node_in(r.g, r.node, 0), y = VEER_NO_VALUE;
    veer_expand_t e = {.graph = r.g, .node = r.node, .in_count = 1, .out_count = 1, .in = &x, .out = &y};
    require_ok(veer_op_def(c->op)->expand(&b, &e));
    veer_value_replace(r.g, veer_node_out(r.g, r.node, 0), y);
    veer_node_remove(r.g, r.node);
    require_ok(veer_reference_eval(r.g, r.func, r.args, 1, veer_allocator_system(), &got, 1));
    for (int64_t i = 0; i < veer_type_count(&got.type); i++)
        assert_true(fabs(veer_load_double(&got, i) - veer_load_double(&want, i)) < 1e-14);
    tensor_free(&got);
    tensor_free(&want);
    op_run_deinit(&r);
}

static void expansions(void **state) {
    (void)state;
    check_expansion(&(op_row_t){"silu", VEER_OP_SILU, {ANY(50)}});
    check_expansion(&(op_row_t){"gelu", VEER_OP_GELU, {ANY(50)}});
    check_expansion(&(op_row_t){"gelu tanh", VEER_OP_GELU, {ANY(50)}, {VEER_STRING("approximate", "tanh")}});
    check_expansion(&(op_row_t){"rsqrt", VEER_OP_RSQRT, {POSITIVE(50)}});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_are_rounded_once),
        cmocka_unit_test(far_away_and_at_the_edges),
        cmocka_unit_test(integers_wrap),
        cmocka_unit_test(logic),
        cmocka_unit_test(casts),
        cmocka_unit_test(wide_integers_are_rounded_once),
        cmocka_unit_test(expansions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
