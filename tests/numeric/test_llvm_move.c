/* What the LLVM backend does with ops that only move: transposes, slices, concats, pads, gathers, alone and as views
 * inside regions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint32_t SEED = 7;

#include "tests/support/region_case.h"

static void moves(void **state) {
    suite_t *s = *state;
    static const int64_t perms[][4] = {{0, 1, 3, 2}, {3, 2, 1, 0}, {0, 2, 1, 3},
                                       {1, 0, 2, 3}, {0, 3, 1, 2}, {0, 2, 3, 1}};
    for (int i = 0; i < 24; i++) {
        veer_builder_t b = begin(s, "transpose", 0, 0);
        veer_dtype_t d = (veer_dtype_t[]){VEER_DTYPE_F32, VEER_DTYPE_I64, VEER_DTYPE_BOOL}[i / 6 % 3];
        veer_value_t x =
            arg(s, VEER_TYPE(d, pick(s, SIZES, 5), pick(s, SIZES, 8), pick(s, SIZES, 9), pick(s, SIZES, 10)));
        veer_value_t y = veer_transpose(&b, x, perms[i % 6]);
        finish_value(s, &b, y);
    }
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "slice", 0, 0);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 9, 40));
        int64_t starts[] = {i % 3, i % 2 ? 8 : 1, i % 4 ? 3 : 39}, sizes[] = {2, 4, 9},
                steps[] = {1, i % 2 ? -2 : 2, i % 4 ? 3 : -4};
        if (i % 3 == 2) steps[0] = -1;
        finish_value(s, &b,
                     veer_build(&b, VEER_OP_SLICE, VEER_IN(x),
                                VEER_ATTRS(VEER_INTS("starts", starts, 3), VEER_INTS("sizes", sizes, 3),
                                           VEER_INTS("steps", steps, 3))));
    }
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "concat", 0, 0);
        veer_value_t in[3];
        for (int k = 0; k < 3; k++) {
            int64_t dims[] = {3, 4, 21};
            dims[i % 3] = pick(s, SIZES, 9);
            in[k] = arg(s, veer_type_make(VEER_DTYPE_F32, 3, dims));
        }
        finish_value(s, &b, veer_concat(&b, in, 3, i % 3));
    }
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    for (int i = 0; i < 16; i++) {
        veer_builder_t b = begin(s, modes[i % 4], 0, 0);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 5, 1 + i));
        int64_t before[] = {0, 1 + i % 3, 2}, after[] = {i % 2, 0, 3};
        if (i % 4 == 1 && i < 3) before[2] = after[2] = 0;
        veer_named_attr_t attrs[] = {VEER_INTS("before", before, 3),
                                     VEER_INTS("after", after, 3),
                                     VEER_STRING("mode", modes[i % 4]),
                                     VEER_FLOAT("value", 0.25),
                                     {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_PAD, VEER_IN(x), attrs));
    }
    for (int i = 0; i < 8; i++) {
        veer_builder_t b = begin(s, "broadcast", 0, 0);
        veer_type_t t = random_shape(s, VEER_DTYPE_F32), x = broadcastable(s, t);
        if (veer_type_equal(&x, &t)) t.dims[t.rank++] = 3, x.dims[x.rank++] = 1;
        veer_value_t v = arg(s, x);
        finish_value(s, &b,
                     veer_build(&b, VEER_OP_BROADCAST, VEER_IN(v), VEER_ATTRS(VEER_INTS("dims", t.dims, t.rank))));
    }
    run_all(s);
}

static void gathers(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 18; i++) {
        veer_builder_t b = begin(s, "gather", 0, 0);
        current(s)->low = -4, current(s)->high = 4;
        int axis = i % 3;
        veer_dtype_t d = i % 2 ? VEER_DTYPE_I64 : VEER_DTYPE_I32;
        int64_t dims[] = {6, 5, 37};
        dims[axis] = 4;
        veer_value_t data = arg(s, veer_type_make(VEER_DTYPE_F32, 3, dims));
        veer_value_t ids = arg(s, i / 6 == 0 ? VEER_SCALAR(d) : i / 6 == 1 ? VEER_TYPE(d, 9) : VEER_TYPE(d, 3, 20));
        finish_value(s, &b, veer_gather(&b, data, ids, axis));
    }
    for (int i = 0; i < 4; i++) {
        veer_builder_t b = begin(s, "gather_elements", 0, 0);
        current(s)->low = -4, current(s)->high = 4;
        veer_value_t data = arg(s, VEER_TYPE(VEER_DTYPE_F32, i % 2 ? 4 : 7, i % 2 ? 33 : 4));
        veer_value_t ids = arg(s, VEER_TYPE(VEER_DTYPE_I64, i % 2 ? 11 : 5, i % 2 ? 30 : 19));
        finish_value(
            s, &b,
            veer_build(&b, VEER_OP_GATHER_ELEMENTS, VEER_IN(data, ids), VEER_ATTRS(VEER_INT("axis", i % 2 ? 0 : 1))));
    }
    run_all(s);
}

static void gather_checks_indices(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "gather", 0, 0);
    veer_value_t data = arg(s, VEER_TYPE(VEER_DTYPE_F32, 5, 40)), ids = arg(s, VEER_TYPE(VEER_DTYPE_I64, 3));
    finish_value(s, &b, veer_gather(&b, data, ids, 0));
    b = begin(s, "gather in lanes", 0, 0);
    data = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 5)), ids = arg(s, VEER_TYPE(VEER_DTYPE_I64, 3));
    finish_value(s, &b, veer_gather(&b, data, ids, 1));
    check(veer_llvm_finish(s->llvm));
    float table[200] = {0}, out[120];
    static const int64_t tried[][3] = {{0, 4, -5}, {0, 5, 0}, {-6, 0, 0}, {0, 0, INT64_MAX}, {INT64_MIN, 0, 0}};
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < 5; i++) {
            void *bufs[] = {table, (void *)(uintptr_t)tried[i], out};
            assert_int_equal(run_kernel(s, &s->cases[c], bufs, 1), i ? VEER_KERNEL_INDEX : VEER_KERNEL_OK);
        }
}

/* Views of operands inside regions. */
static void regions_with_views(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "split heads", 1e-6, 1e-6); /* [B,L,3HD] -> q of [B,H,L,D], scaled */
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 9, 96));
    fused_t f = begin_fused(s, &b, &x, 1);
    veer_value_t y = veer_slice_axis(&f.body, f.in[0], 2, 32, 32, 1);
    y = veer_transpose(&f.body, veer_reshape(&f.body, y, VEER_DIMS(2, 9, 4, 8)), (int64_t[]){0, 2, 1, 3});
    y = veer_mul_c(&f.body, y, 0.25);
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "merge heads", 1e-6, 1e-6);
    veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 4, 9, 8)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 9, 32))};
    f = begin_fused(s, &b, in, 2);
    y = veer_reshape(&f.body, veer_transpose(&f.body, f.in[0], (int64_t[]){0, 2, 1, 3}), VEER_DIMS(2, 9, 32));
    y = veer_add(&f.body, y, f.in[1]);
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "tokens to image", 1e-6, 1e-6); /* unpatch */
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 6, 24));
    f = begin_fused(s, &b, &x, 1);
    y = veer_transpose(&f.body, veer_reshape(&f.body, f.in[0], VEER_DIMS(2, 2, 3, 2, 4, 3)),
                       (int64_t[]){0, 5, 1, 3, 2, 4});
    y = veer_tanh(&f.body, veer_reshape(&f.body, y, VEER_DIMS(2, 3, 4, 12)));
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "layer_norm of a transposed input", 1e-5, 1e-5);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 48, 5, 5));
    f = begin_fused(s, &b, &x, 1);
    y = veer_transpose(&f.body, veer_reshape(&f.body, f.in[0], VEER_DIMS(2, 48, 25)), (int64_t[]){0, 2, 1});
    y = veer_build(&f.body, VEER_OP_LAYER_NORM, VEER_IN(y), VEER_ATTRS(VEER_INT("axis", 2), VEER_FLOAT("eps", 1e-5)));
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "concat and pad in a region", 1e-6, 1e-6);
    veer_value_t two[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 3, 40)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 5, 40))};
    f = begin_fused(s, &b, two, 2);
    y = veer_silu(&f.body, veer_concat(&f.body, f.in, 2, 1));
    y = veer_pad_zero(&f.body, y, (int64_t[]){0, 1, 3}, (int64_t[]){0, 0, 2});
    y = veer_add_c(&f.body, y, 1);
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "a table of constants", 1e-6, 1e-6);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 3, 40));
    f = begin_fused(s, &b, &x, 1);
    float row[40];
    for (int i = 0; i < 40; i++) row[i] = (float)i;
    y = veer_mul(&f.body, f.in[0], veer_const(&f.body, VEER_TYPE(VEER_DTYPE_F32, 40), row));
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "channel sums for a bias gradient", 1e-4, 1e-5);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 3, 10, 6, 7));
    f = begin_fused(s, &b, &x, 1);
    y = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, veer_mul(&f.body, f.in[0], f.in[0]), (int64_t[]){0, 2, 3}, 3, false);
    finish_fused(s, &b, &f, &y, 1);
    run_all(s);
}

/* Transposed reads long enough for tiles, of every remainder. */
static void tiles(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][3] = {{1, 100, 33}, {3, 16, 16},   {1, 1000, 31},
                                        {2, 8, 100},  {1, 300, 257}, {2, 17, 15}};
    for (int i = 0; i < 12; i++) {
        const int64_t *d = shapes[i % 6];
        veer_builder_t b = begin(s, "transposed read", 1e-6, 1e-6);
        veer_dtype_t t = i < 6 ? VEER_DTYPE_F32 : VEER_DTYPE_I32;
        veer_value_t in[] = {arg(s, VEER_TYPE(t, d[0], d[1], d[2])), arg(s, VEER_TYPE(t, d[0], d[2], d[1])),
                             arg(s, VEER_TYPE(t, d[2], 1))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t y = veer_transpose(&f.body, f.in[0], (int64_t[]){0, 2, 1}), out[2];
        out[0] = veer_add(&f.body, veer_mul(&f.body, y, f.in[2]), f.in[1]);
        out[1] = y;
        finish_fused(s, &b, &f, out, 2);
    }
    run_all(s);
}

static int run_group(const char *name, const char *target) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gathers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gather_checks_indices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(regions_with_views, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tiles, set_up, tear_down),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return run_targets(run_group);
}
