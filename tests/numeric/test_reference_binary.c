/* Elementwise kernels of two and three operands: broadcasting against an index formula, tables for the rest. */
#include "tests/op_run.h"

/* x [2,1,3], y [4,1] -> z [2,4,3] */
static void operands_broadcast(void **state) {
    (void)state;
    op_row_t c = {"sub", VEER_OP_SUB, {ANY(2, 1, 3), ANY(4, 1)}};
    op_run_t r;
    op_run_init(&r, &c, 3);
    veer_tensor_t z = op_run_eval(&r);
    veer_type_t type = VEER_TYPE(VEER_DTYPE_F64, 2, 4, 3);
    assert_true(veer_type_equal(&z.type, &type));
    const double *x = r.args[0].data, *y = r.args[1].data;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < 3; k++) assert_true(((double *)z.data)[(i * 4 + j) * 3 + k] == x[i * 3 + k] - y[j]);
    tensor_free(&z);
    op_run_deinit(&r);
}

static void expect_pair(veer_op_t op, veer_dtype_t dtype, int n, const double *x, const double *y, veer_dtype_t to,
                        const double *want, int fmod_mode) {
    op_row_t c = {
        veer_op_name(op), op, {{FILL_VALUES, VEER_TYPE(dtype, n), 0, x}, {FILL_VALUES, VEER_TYPE(dtype, n), 0, y}}};
    if (op == VEER_OP_MOD) c.attrs[0] = VEER_INT("fmod", fmod_mode);
    expect_values(&c, VEER_TYPE(to, n), want, 0);
}
#define LIKE(...)                                                                                                      \
    (double[]) {                                                                                                       \
        __VA_ARGS__                                                                                                    \
    }

static void floats(void **state) {
    (void)state;
    veer_dtype_t f = VEER_DTYPE_F64, b = VEER_DTYPE_BOOL;
    const double x[] = {1, -2, NAN, INFINITY}, y[] = {3, 0, 1, INFINITY};
    expect_pair(VEER_OP_ADD, f, 4, x, y, f, LIKE(4, -2, NAN, INFINITY), 0);
    expect_pair(VEER_OP_MUL, f, 4, x, y, f, LIKE(3, 0, NAN, INFINITY), 0);
    expect_pair(VEER_OP_DIV, f, 4, x, y, f, LIKE(1.0 / 3, -INFINITY, NAN, NAN), 0);
    expect_pair(VEER_OP_MIN, f, 4, x, y, f, LIKE(1, -2, NAN, INFINITY), 0);
    expect_pair(VEER_OP_MAX, f, 4, x, y, f, LIKE(3, 0, NAN, INFINITY), 0);
    expect_pair(VEER_OP_MIN, f, 4, y, x, f, LIKE(1, -2, NAN, INFINITY), 0);
    expect_pair(VEER_OP_MAX, f, 4, y, x, f, LIKE(3, 0, NAN, INFINITY), 0);
    expect_pair(VEER_OP_EQUAL, f, 4, x, y, b, LIKE(0, 0, 0, 1), 0);
    expect_pair(VEER_OP_LESS, f, 4, x, y, b, LIKE(1, 1, 0, 0), 0);
    expect_pair(VEER_OP_LESS_EQUAL, f, 4, x, y, b, LIKE(1, 1, 0, 1), 0);
    expect_pair(VEER_OP_POW, f, 4, LIKE(2, -2, 0, 4), LIKE(10, 3, 0, -0.5), f, LIKE(1024, -8, 1, 0.5), 0);
    expect_pair(VEER_OP_MOD, f, 4, LIKE(5.5, -5.5, 5.5, -5.5), LIKE(2, 2, -2, -2), f, LIKE(1.5, -1.5, 1.5, -1.5), 1);
}

static void integers(void **state) {
    (void)state;
    veer_dtype_t i = VEER_DTYPE_I32, b = VEER_DTYPE_BOOL;
    const double x[] = {7, -7, 7, -7, 5, INT32_MIN}, y[] = {2, 2, -2, -2, 0, -1};
    expect_pair(VEER_OP_DIV, i, 6, x, y, i, LIKE(3, -3, -3, 3, 0, INT32_MIN), 0);
    expect_pair(VEER_OP_MOD, i, 6, x, y, i, LIKE(1, 1, -1, -1, 0, 0), 0);
    expect_pair(VEER_OP_MOD, i, 6, x, y, i, LIKE(1, -1, 1, -1, 0, 0), 1);
    expect_pair(VEER_OP_MIN, i, 6, x, y, i, LIKE(2, -7, -2, -7, 0, INT32_MIN), 0);
    expect_pair(VEER_OP_MAX, i, 6, x, y, i, LIKE(7, 2, 7, -2, 5, -1), 0);
    expect_pair(VEER_OP_LESS, i, 6, x, y, b, LIKE(0, 1, 0, 1, 0, 1), 0);
    expect_pair(VEER_OP_LESS_EQUAL, i, 2, LIKE(3, 4), LIKE(3, 3), b, LIKE(1, 0), 0);
    expect_pair(VEER_OP_POW, i, 6, LIKE(3, -2, 2, 1, -1, 0), LIKE(4, 5, -1, -7, -3, 0), i, LIKE(81, -32, 0, 1, -1, 1),
                0);
    expect_pair(VEER_OP_ADD, VEER_DTYPE_I8, 2, LIKE(127, -128), LIKE(1, -1), VEER_DTYPE_I8, LIKE(-128, 127), 0);
    expect_pair(VEER_OP_SUB, VEER_DTYPE_U8, 2, LIKE(0, 5), LIKE(1, 2), VEER_DTYPE_U8, LIKE(255, 3), 0);
    expect_pair(VEER_OP_MUL, VEER_DTYPE_U16, 1, LIKE(65535), LIKE(65535), VEER_DTYPE_U16, LIKE(1), 0);
}

/* Numbers that are negative as i64. */
static void unsigned_64(void **state) {
    (void)state;
    veer_dtype_t u = VEER_DTYPE_U64;
    const double x[] = {0x1p63, 3}, y[] = {2, 0x1p63};
    expect_pair(VEER_OP_LESS, u, 2, x, y, VEER_DTYPE_BOOL, LIKE(0, 1), 0);
    expect_pair(VEER_OP_MAX, u, 2, x, y, u, LIKE(0x1p63, 0x1p63), 0);
    expect_pair(VEER_OP_MIN, u, 2, x, y, u, LIKE(2, 3), 0);
    expect_pair(VEER_OP_DIV, u, 2, x, y, u, LIKE(0x1p62, 0), 0);
    expect_pair(VEER_OP_MOD, u, 2, x, y, u, LIKE(0, 3), 0);
}

/* Sums and products of 64 bits are not those of doubles. */
static void integers_are_exact(void **state) {
    (void)state;
    op_row_t c = {"mul", VEER_OP_MUL, {VALUES(VEER_DTYPE_I64, LIKE(0), 1), VALUES(VEER_DTYPE_I64, LIKE(0), 1)}};
    op_run_t r;
    op_run_init(&r, &c, 1);
    ((int64_t *)r.args[0].data)[0] = 3037000499;
    ((int64_t *)r.args[1].data)[0] = 3037000498;
    veer_tensor_t z = op_run_eval(&r);
    assert_true(((int64_t *)z.data)[0] == INT64_C(9223372027889248502));
    tensor_free(&z);
    op_run_deinit(&r);
}

static void pow_takes_other_exponents(void **state) {
    (void)state;
    op_row_t whole = {
        "f32 ^ i64", VEER_OP_POW, {VALUES(VEER_DTYPE_F32, LIKE(1.5, -2), 2), VALUES(VEER_DTYPE_I64, LIKE(2, 3), 2)}};
    expect_values(&whole, VEER_TYPE(VEER_DTYPE_F32, 2), LIKE(2.25, -8), 0);
    op_row_t root = {
        "i32 ^ f32", VEER_OP_POW, {VALUES(VEER_DTYPE_I32, LIKE(10, 2), 2), VALUES(VEER_DTYPE_F32, LIKE(0.5, 3), 2)}};
    expect_values(&root, VEER_TYPE(VEER_DTYPE_I32, 2), LIKE(3, 8), 0);
}

static void logic(void **state) {
    (void)state;
    const double x[] = {0, 0, 1, 1}, y[] = {0, 1, 0, 1};
    veer_dtype_t b = VEER_DTYPE_BOOL;
    expect_pair(VEER_OP_AND, b, 4, x, y, b, LIKE(0, 0, 0, 1), 0);
    expect_pair(VEER_OP_OR, b, 4, x, y, b, LIKE(0, 1, 1, 1), 0);
    expect_pair(VEER_OP_XOR, b, 4, x, y, b, LIKE(0, 1, 1, 0), 0);
    expect_pair(VEER_OP_EQUAL, b, 4, x, y, b, LIKE(1, 0, 0, 1), 0);
}

static void logic_of_integers_is_bit_by_bit(void **state) {
    (void)state;
    const double x[] = {12, 255, 0, 7}, y[] = {10, 129, 5, 7}, s[] = {-1, -4, 3, 100}, t[] = {6, 3, -8, 27};
    veer_dtype_t u8 = VEER_DTYPE_U8, i32 = VEER_DTYPE_I32;
    expect_pair(VEER_OP_AND, u8, 4, x, y, u8, LIKE(8, 129, 0, 7), 0);
    expect_pair(VEER_OP_OR, u8, 4, x, y, u8, LIKE(14, 255, 5, 7), 0);
    expect_pair(VEER_OP_XOR, u8, 4, x, y, u8, LIKE(6, 126, 5, 0), 0);
    expect_pair(VEER_OP_AND, i32, 4, s, t, i32, LIKE(6, 0, 0, 0), 0);
    expect_pair(VEER_OP_OR, i32, 4, s, t, i32, LIKE(-1, -1, -5, 127), 0);
}

static void where_selects(void **state) {
    (void)state;
    op_row_t c = {"where",
                  VEER_OP_WHERE,
                  {VALUES(VEER_DTYPE_BOOL, LIKE(1, 0), 2, 1), VALUES(VEER_DTYPE_I16, LIKE(1, 2, 3), 3),
                   VALUES(VEER_DTYPE_I16, LIKE(-4), 1)}};
    expect_values(&c, VEER_TYPE(VEER_DTYPE_I16, 2, 3), LIKE(1, 2, 3, -4, -4, -4), 0);
}

static void misfits_are_named(void **state) {
    (void)state;
    expect_error(&(op_row_t){"add", VEER_OP_ADD, {ANY(2, 3), ANY(4)}}, "do not broadcast");
    expect_error(&(op_row_t){"add", VEER_OP_ADD, {ANY(2), INDEX(1, 2)}}, "f64 and i64");
    expect_error(&(op_row_t){"add", VEER_OP_ADD, {BOOLS(2), BOOLS(2)}}, "a number");
    expect_error(&(op_row_t){"mod", VEER_OP_MOD, {ANY(2), ANY(2)}}, "fmod must be 1");
    expect_error(&(op_row_t){"where", VEER_OP_WHERE, {BOOLS(2), ANY(2), INDEX(1, 2)}}, "x is f64 and y is i64");
    expect_error(&(op_row_t){"where", VEER_OP_WHERE, {BOOLS(2), ANY(3), ANY(3)}}, "do not broadcast");
    expect_error(&(op_row_t){"pow", VEER_OP_POW, {ANY(2), ANY(3)}}, "do not broadcast");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_broadcast),
        cmocka_unit_test(floats),
        cmocka_unit_test(integers),
        cmocka_unit_test(unsigned_64),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(pow_takes_other_exponents),
        cmocka_unit_test(logic),
        cmocka_unit_test(logic_of_integers_is_bit_by_bit),
        cmocka_unit_test(where_selects),
        cmocka_unit_test(misfits_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
