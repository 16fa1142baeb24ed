/* Moving kernels: small tables that can be read, and index formulas over random shapes. x counts from 0 in the tables.
 */
#include "tests/op_run.h"

#define WANT(...)                                                                                                      \
    (double[]) {                                                                                                       \
        __VA_ARGS__                                                                                                    \
    }
static const double count12[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
#define COUNTING(...) VALUES(VEER_DTYPE_I32, count12, __VA_ARGS__)
#define I32(...)      VEER_TYPE(VEER_DTYPE_I32, __VA_ARGS__)

static void reshape_keeps_order(void **state) {
    (void)state;
    op_row_t c = {"reshape", VEER_OP_RESHAPE, {COUNTING(2, 6)}, {LIST("dims", 3, 4)}};
    expect_values(&c, I32(3, 4), count12, 0);
    expect_error(&(op_row_t){"reshape", VEER_OP_RESHAPE, {ANY(2, 3)}, {LIST("dims", 4)}}, "has 6 elements");
}

static void transpose_permutes(void **state) {
    (void)state;
    op_row_t c = {"transpose", VEER_OP_TRANSPOSE, {COUNTING(2, 2, 3)}, {LIST("perm", 2, 0, 1)}};
    expect_values(&c, I32(3, 2, 2), WANT(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11), 0);
    expect_error(&(op_row_t){"transpose", VEER_OP_TRANSPOSE, {ANY(2, 3)}, {LIST("perm", 0, 0)}}, "perm[1] is 0");
    expect_error(&(op_row_t){"transpose", VEER_OP_TRANSPOSE, {ANY(2, 3)}, {LIST("perm", 0)}}, "perm has 1 entries");
}

static void broadcast_repeats(void **state) {
    (void)state;
    op_row_t c = {"broadcast", VEER_OP_BROADCAST, {COUNTING(2, 1)}, {LIST("dims", 2, 2, 3)}};
    expect_values(&c, I32(2, 2, 3), WANT(0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1), 0);
    expect_error(&(op_row_t){"broadcast", VEER_OP_BROADCAST, {ANY(2, 3)}, {LIST("dims", 2, 4)}}, "does not broadcast");
}

static op_row_t slice_case(const int64_t *starts, const int64_t *sizes, const int64_t *steps) {
    return (op_row_t){"slice",
                      VEER_OP_SLICE,
                      {COUNTING(3, 4)},
                      {VEER_INTS("starts", starts, 2), VEER_INTS("sizes", sizes, 2), VEER_INTS("steps", steps, 2)}};
}
#define AT(...)                                                                                                        \
    (int64_t[]) {                                                                                                      \
        __VA_ARGS__                                                                                                    \
    }

static void slice_steps(void **state) {
    (void)state;
    op_row_t forward = slice_case(AT(1, 0), AT(2, 2), AT(1, 3)), backward = slice_case(AT(2, 3), AT(2, 3), AT(-2, -1));
    op_row_t empty = slice_case(AT(9, 0), AT(0, 2), AT(1, 1)), far = slice_case(AT(0, 0), AT(3, 1), AT(1, INT64_MAX));
    expect_values(&forward, I32(2, 2), WANT(4, 7, 8, 11), 0);
    expect_values(&backward, I32(2, 3), WANT(11, 10, 9, 3, 2, 1), 0);
    expect_values(&empty, I32(0, 2), NULL, 0);
    expect_values(&far, I32(3, 1), WANT(0, 4, 8), 0);
    op_row_t past = slice_case(AT(1, 0), AT(3, 1), AT(1, 1)), below = slice_case(AT(1, 0), AT(3, 1), AT(-1, 1));
    op_row_t huge = slice_case(AT(0, 0), AT(3, 1), AT(INT64_MAX, 1)), still = slice_case(AT(0, 0), AT(1, 1), AT(0, 1));
    expect_error(&past, "dimension 0: start 1, size 3, step 1 leaves [0, 3)");
    expect_error(&below, "leaves [0, 3)");
    expect_error(&huge, "leaves [0, 3)");
    expect_error(&still, "steps[0] is 0");
}

static void concat_joins(void **state) {
    (void)state;
    op_row_t c = {"concat",
                  VEER_OP_CONCAT,
                  {COUNTING(2, 2), VALUES(VEER_DTYPE_I32, WANT(-1, -2), 2, 1), VALUES(VEER_DTYPE_I32, NULL, 2, 0)},
                  {VEER_INT("axis", 1)}};
    expect_values(&c, I32(2, 3), WANT(0, 1, -1, 2, 3, -2), 0);
    expect_error(&(op_row_t){"concat", VEER_OP_CONCAT, {ANY(2, 2), ANY(3, 2)}, {VEER_INT("axis", 1)}},
                 "operand 1 is f64[3,2]");
    expect_error(&(op_row_t){"concat", VEER_OP_CONCAT, {ANY(2, 2)}, {VEER_INT("axis", 2)}},
                 "axis is 2, expected 0 to 1");
}

/* ---- pad ---- */
static void expect_pad(const char *mode, const double *want) {
    op_row_t c = {mode,
                  VEER_OP_PAD,
                  {COUNTING(3)},
                  {LIST("before", 5), LIST("after", 4), VEER_STRING("mode", mode), VEER_FLOAT("value", 9)}};
    expect_values(&c, I32(12), want, 0);
}

static void pad_modes(void **state) {
    (void)state;
    expect_pad("constant", WANT(9, 9, 9, 9, 9, 0, 1, 2, 9, 9, 9, 9));
    expect_pad("edge", WANT(0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2));
    expect_pad("wrap", WANT(1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0));
    expect_pad("reflect", WANT(1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2));
    op_row_t square = {
        "pad", VEER_OP_PAD, {COUNTING(2, 2)}, {LIST("before", 0, 1), LIST("after", 1, 0), VEER_STRING("mode", "edge")}};
    expect_values(&square, I32(3, 3), WANT(0, 0, 1, 2, 2, 3, 2, 2, 3), 0);
    expect_error(&(op_row_t){"pad", VEER_OP_PAD, {ANY(2)}, {LIST("before", -1), LIST("after", 0)}}, "no negative pad");
    expect_error(
        &(op_row_t){"pad", VEER_OP_PAD, {ANY(0)}, {LIST("before", 1), LIST("after", 0), VEER_STRING("mode", "edge")}},
        "nothing to repeat");
    expect_error(
        &(op_row_t){"pad", VEER_OP_PAD, {ANY(2)}, {LIST("before", 1), LIST("after", 0), VEER_STRING("mode", "mirror")}},
        "mode is \"mirror\"");
}

/* ---- by index ---- */
static void gather_selects(void **state) {
    (void)state;
    op_row_t c = {
        "gather", VEER_OP_GATHER, {COUNTING(2, 3, 2), VALUES(VEER_DTYPE_I64, WANT(2, -3), 2)}, {VEER_INT("axis", 1)}};
    expect_values(&c, I32(2, 2, 2), WANT(4, 5, 0, 1, 10, 11, 6, 7), 0);
    op_row_t one = {"gather", VEER_OP_GATHER, {COUNTING(4, 3), {FILL_VALUES, OP_SCALAR(VEER_DTYPE_I32), 0, WANT(-1)}}};
    expect_values(&one, I32(3), WANT(9, 10, 11), 0);
}

static void expect_index_error(const op_row_t *c, const char *text) {
    op_run_t r;
    veer_tensor_t y = {.data = &y};
    op_run_init(&r, c, 1);
    require_error(veer_reference_eval(r.g, r.func, r.args, r.count, veer_allocator_system(), &y, 1), VEER_ERR_FAILED,
                  text);
    op_run_deinit(&r);
}

static void bad_indices_are_errors(void **state) {
    (void)state;
    operand_t bad = VALUES(VEER_DTYPE_I64, WANT(3), 1), low = VALUES(VEER_DTYPE_I64, WANT(-4), 1);
    expect_index_error(&(op_row_t){"gather", VEER_OP_GATHER, {ANY(3), bad}},
                       "gather: index 3 is out of range for 3 entries");
    expect_index_error(&(op_row_t){"gather", VEER_OP_GATHER, {ANY(3), low}}, "gather: index -4");
    expect_index_error(&(op_row_t){"gather_elements", VEER_OP_GATHER_ELEMENTS, {ANY(3), bad}}, "index 3");
    expect_index_error(&(op_row_t){"scatter_add", VEER_OP_SCATTER_ADD, {ANY(3), bad, ANY(1)}}, "index 3");
    op_row_t step = {
        "step_slice", VEER_OP_STEP_SLICE, {ANY(3, 2), {FILL_VALUES, OP_SCALAR(VEER_DTYPE_I64), 0, WANT(3)}}};
    expect_index_error(&step, "index 3");
}

static void elements_by_index(void **state) {
    (void)state;
    operand_t indices = VALUES(VEER_DTYPE_I64, WANT(0, -1, 2, 1), 2, 2);
    op_row_t gather = {"gather_elements", VEER_OP_GATHER_ELEMENTS, {COUNTING(3, 4), indices}, {VEER_INT("axis", 0)}};
    expect_values(&gather, I32(2, 2), WANT(0, 9, 8, 5), 0);
    gather.attrs[0] = VEER_INT("axis", 1);
    expect_values(&gather, I32(2, 2), WANT(0, 3, 6, 5), 0);
    op_row_t add = {"scatter_add",
                    VEER_OP_SCATTER_ADD,
                    {COUNTING(2, 3), VALUES(VEER_DTYPE_I64, WANT(1, 1, 1, 0, -1, 0), 2, 3),
                     VALUES(VEER_DTYPE_I32, WANT(10, 20, 30, 40, 50, 60), 2, 3)},
                    {VEER_INT("axis", 1)}};
    expect_values(&add, I32(2, 3), WANT(0, 61, 2, 103, 4, 55), 0);
    expect_error(
        &(op_row_t){"gather_elements", VEER_OP_GATHER_ELEMENTS, {ANY(2, 2), INDEX(1, 3, 3)}, {VEER_INT("axis", 1)}},
        "do not fit data");
    expect_error(&(op_row_t){"scatter_add", VEER_OP_SCATTER_ADD, {ANY(2, 2), INDEX(1, 2, 2), ANY(2, 1)}},
                 "updates are f64[2,1]");
}

static void scatter_reduce_joins(void **state) {
    (void)state;
    op_row_t c = {"scatter_reduce",
                  VEER_OP_SCATTER_REDUCE,
                  {VALUES(VEER_DTYPE_I32, WANT(1, 2, 3, 4), 4), VALUES(VEER_DTYPE_I64, WANT(1, 1, -1), 3),
                   VALUES(VEER_DTYPE_I32, WANT(5, -7, 3), 3)},
                  {VEER_STRING("mode", "mul")}};
    expect_values(&c, I32(4), WANT(1, -70, 3, 12), 0);
    c.attrs[0] = VEER_STRING("mode", "min");
    expect_values(&c, I32(4), WANT(1, -7, 3, 3), 0);
    c.attrs[0] = VEER_STRING("mode", "max");
    expect_values(&c, I32(4), WANT(1, 5, 3, 4), 0);
    c.in[0].type.dtype = c.in[2].type.dtype = VEER_DTYPE_F32;
    expect_values(&c, VEER_TYPE(VEER_DTYPE_F32, 4), WANT(1, 5, 3, 4), 0);
    c.attrs[0] = VEER_STRING("mode", "sub");
    expect_error(&c, "mode is \"sub\"");
}

/* 2^24 + 1 + 1 in f32, rounded once. */
static void scatter_add_sums_in_double(void **state) {
    (void)state;
    op_row_t c = {"scatter_add",
                  VEER_OP_SCATTER_ADD,
                  {VALUES(VEER_DTYPE_F32, WANT(0x1p24, 0), 2), VALUES(VEER_DTYPE_I64, WANT(0, 0), 2),
                   VALUES(VEER_DTYPE_F32, WANT(1, 1), 2)}};
    expect_values(&c, VEER_TYPE(VEER_DTYPE_F32, 2), WANT(0x1p24 + 2, 0), 0);
}

static void step_slice_takes_a_row(void **state) {
    (void)state;
    op_row_t c = {
        "step_slice", VEER_OP_STEP_SLICE, {COUNTING(3, 2, 2), {FILL_VALUES, OP_SCALAR(VEER_DTYPE_I64), 0, WANT(1)}}};
    expect_values(&c, I32(2, 2), WANT(4, 5, 6, 7), 0);
}

/* Each width of element moves its own bytes. */
static void all_types_move(void **state) {
    (void)state;
    for (veer_dtype_t d = VEER_DTYPE_NONE + 1; d < VEER_DTYPE_COUNT; d++) {
        op_row_t c = {veer_dtype_name(d),
                      VEER_OP_TRANSPOSE,
                      {{FILL_VALUES, VEER_TYPE(d, 2, 2), 0, WANT(0, 1, 1, 1)}},
                      {LIST("perm", 1, 0)}};
        expect_values(&c, VEER_TYPE(d, 2, 2), WANT(0, 1, 1, 1), 0);
        op_row_t pad = {veer_dtype_name(d),
                        VEER_OP_PAD,
                        {{FILL_VALUES, VEER_TYPE(d, 1), 0, WANT(0)}},
                        {LIST("before", 1), LIST("after", 0), VEER_FLOAT("value", 1)}};
        expect_values(&pad, VEER_TYPE(d, 2), WANT(1, 0), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reshape_keeps_order),  cmocka_unit_test(transpose_permutes),
        cmocka_unit_test(broadcast_repeats),    cmocka_unit_test(slice_steps),
        cmocka_unit_test(concat_joins),         cmocka_unit_test(pad_modes),
        cmocka_unit_test(gather_selects),       cmocka_unit_test(bad_indices_are_errors),
        cmocka_unit_test(elements_by_index),    cmocka_unit_test(step_slice_takes_a_row),
        cmocka_unit_test(all_types_move),       cmocka_unit_test(scatter_add_sums_in_double),
        cmocka_unit_test(scatter_reduce_joins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
