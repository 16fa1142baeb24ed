/* Elementwise regions of the LLVM backend, alone and in trees: shapes that broadcast, sizes that do not fill registers,
 * casts, noise, the update of a step. Every op on every dtype: test_llvm_elementwise.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint32_t SEED = 7;

#include "tests/support/region_case.h"

static void unary_ops(void **state) {
    suite_t *s = *state;
    static const veer_op_t ops[] = {VEER_OP_NEG,   VEER_OP_ABS,   VEER_OP_SIGN,       VEER_OP_EXP,      VEER_OP_LOG,
                                    VEER_OP_SQRT,  VEER_OP_RSQRT, VEER_OP_RECIPROCAL, VEER_OP_SIN,      VEER_OP_COS,
                                    VEER_OP_ATAN,  VEER_OP_TANH,  VEER_OP_SIGMOID,    VEER_OP_SOFTPLUS, VEER_OP_ERF,
                                    VEER_OP_RELU,  VEER_OP_SILU,  VEER_OP_GELU,       VEER_OP_FLOOR,    VEER_OP_CEIL,
                                    VEER_OP_ROUND, VEER_OP_ISNAN};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        veer_builder_t b = begin(s, veer_op_name(ops[i]), 1e-6, 1e-6);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, pick(s, SIZES, SIZE_COUNT), pick(s, SIZES, SIZE_COUNT)));
        if (ops[i] == VEER_OP_RSQRT || ops[i] == VEER_OP_LOG) current(s)->low = 0.1;
        finish_value(s, &b, veer_build(&b, ops[i], VEER_IN(x), NULL));
    }
    veer_builder_t b = begin(s, "gelu tanh", 1e-6, 1e-6);
    finish_value(s, &b, veer_gelu(&b, arg(s, VEER_TYPE(VEER_DTYPE_F32, 1000)), true));
    b = begin(s, "not", 0, 0);
    finish_value(s, &b, veer_not(&b, arg(s, VEER_TYPE(VEER_DTYPE_BOOL, 100))));
    run_all(s);
}

static void binary_ops(void **state) {
    suite_t *s = *state;
    static const veer_op_t ops[] = {VEER_OP_ADD, VEER_OP_SUB,   VEER_OP_MUL,  VEER_OP_DIV,       VEER_OP_MIN,
                                    VEER_OP_MAX, VEER_OP_EQUAL, VEER_OP_LESS, VEER_OP_LESS_EQUAL};
    static const veer_dtype_t dtypes[] = {VEER_DTYPE_F32, VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_F64,
                                          VEER_DTYPE_U8};
    for (int i = 0; i < 90; i++) {
        veer_op_t op = ops[i % 9];
        veer_dtype_t dtype = dtypes[i < 45 ? 0 : i % 5];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s %s %d", veer_op_name(op), veer_dtype_name(dtype), i);
        veer_builder_t b = begin(s, name, 1e-6, 1e-6);
        veer_type_t t = random_shape(s, dtype), x = broadcastable(s, t), y = broadcastable(s, t);
        if (!veer_dtype_is_float(dtype)) current(s)->low = dtype == VEER_DTYPE_U8 ? 0 : -9, current(s)->high = 9;
        veer_value_t xv = arg(s, x), yv = arg(s, y);
        finish_value(s, &b, veer_build(&b, op, VEER_IN(xv, yv), NULL));
    }
    for (int i = 0; i < 6; i++) {
        veer_dtype_t d = (veer_dtype_t[]){VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_F32}[i / 2];
        veer_builder_t b = begin(s, "mod", 0, 1e-6);
        current(s)->low = -20, current(s)->high = 20;
        veer_value_t x = arg(s, VEER_TYPE(d, 9, 33)), y = arg(s, VEER_TYPE(d, 33));
        finish_value(
            s, &b,
            veer_build(&b, VEER_OP_MOD, VEER_IN(x, y), VEER_ATTRS(VEER_INT("fmod", d == VEER_DTYPE_F32 || i % 2))));
    }
    static const double powers[] = {2, 3, 1, -1, 0.5, 1.7};
    for (int i = 0; i < 6; i++) {
        veer_builder_t b = begin(s, "pow", 1e-6, 1e-6);
        current(s)->low = 0.1;
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 5, 41));
        fused_t f = begin_fused(s, &b, &x, 1);
        veer_value_t y = veer_pow(&f.body, f.in[0], veer_const_f32(&f.body, (float)powers[i]));
        finish_fused(s, &b, &f, &y, 1);
    }
    run_all(s);
}

static void casts_and_where(void **state) {
    suite_t *s = *state;
    static const veer_dtype_t d[] = {VEER_DTYPE_F32, VEER_DTYPE_F64, VEER_DTYPE_I64,
                                     VEER_DTYPE_I32, VEER_DTYPE_U8,  VEER_DTYPE_BOOL};
    for (int i = 0; i < 36; i++) {
        if (i / 6 == i % 6) continue;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "cast %s to %s", veer_dtype_name(d[i / 6]), veer_dtype_name(d[i % 6]));
        veer_builder_t b = begin(s, name, 0, 1e-7);
        if (d[i / 6] == VEER_DTYPE_U8 || d[i % 6] == VEER_DTYPE_U8) current(s)->low = 0;
        current(s)->high = 100;
        finish_value(s, &b, veer_cast(&b, arg(s, VEER_TYPE(d[i / 6], 7, 19)), d[i % 6]));
    }
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "where", 0, 0);
        veer_type_t t = random_shape(s, VEER_DTYPE_F32), c = broadcastable(s, t), x = broadcastable(s, t),
                    y = broadcastable(s, t);
        c.dtype = VEER_DTYPE_BOOL;
        veer_value_t cv = arg(s, c), xv = arg(s, x), yv = arg(s, y);
        finish_value(s, &b, veer_where(&b, cv, xv, yv));
    }
    run_all(s);
}

/* Random expression trees over operands that broadcast, with views in between. */
static veer_value_t random_tree(suite_t *s, fused_t *f, int operands, int depth) {
    veer_builder_t *b = &f->body;
    if (depth == 0) return f->in[next(s) % (uint32_t)operands];
    veer_value_t x = random_tree(s, f, operands, depth - 1);
    switch (next(s) % 8) {
    case 0: return veer_tanh(b, x);
    case 1: return veer_silu(b, x);
    case 2: return veer_mul_c(b, x, 0.7);
    case 3: return veer_max(b, x, random_tree(s, f, operands, depth - 1));
    case 4: return veer_where(b, veer_less(b, x, veer_const_f32(b, 0.3f)), x, random_tree(s, f, operands, depth - 1));
    case 5: return veer_sub(b, x, random_tree(s, f, operands, depth - 1));
    default: return veer_add(b, x, random_tree(s, f, operands, depth - 1));
    }
}

static void elementwise_regions(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 60; i++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "tree %d", i);
        veer_builder_t b = begin(s, name, 1e-5, 1e-5);
        veer_type_t t = random_shape(s, VEER_DTYPE_F32);
        veer_value_t in[3] = {arg(s, t), arg(s, broadcastable(s, t)), arg(s, broadcastable(s, t))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t y[2] = {veer_add(&f.body, f.in[0], random_tree(s, &f, 3, 3)), random_tree(s, &f, 3, 2)};
        finish_fused(s, &b, &f, y, 2);
    }
    run_all(s);
}

static void large_elementwise(void **state) {
    suite_t *s = *state;
    static const int64_t sizes[][3] = {{1, 1, 100003}, {3, 16411, 5}, {2, 64, 1024}, {50, 7, 301}, {1, 40000, 1}};
    for (int i = 0; i < 5; i++) {
        const int64_t *d = sizes[i];
        veer_builder_t b = begin(s, "large", 1e-6, 1e-6);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2])),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, d[1], 1)), arg(s, VEER_TYPE(VEER_DTYPE_F32, d[2]))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t y = veer_silu(&f.body, veer_add(&f.body, veer_mul(&f.body, f.in[0], f.in[1]), f.in[2]));
        finish_fused(s, &b, &f, &y, 1);
    }
    run_all(s);
}

/* ---- diffusion ---- */
static void noise_case(suite_t *s, const char *name, veer_type_t t, int64_t stream) {
    veer_builder_t b = begin(s, name, 2e-6, 2e-6);
    current(s)->low = 0, current(s)->high = 1e9;
    veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64);
    veer_value_t seed = arg(s, scalar), first = arg(s, scalar), step = arg(s, scalar);
    finish_value(s, &b,
                 veer_build(&b, VEER_OP_NOISE, VEER_IN(seed, first, step),
                            VEER_ATTRS(VEER_INTS("dims", t.dims, t.rank), VEER_INT("stream", stream))));
}

static void noise(void **state) {
    suite_t *s = *state;
    noise_case(s, "noise [2,3,16,16]", VEER_TYPE(VEER_DTYPE_F32, 2, 3, 16, 16), 0);
    noise_case(s, "noise [3,7]", VEER_TYPE(VEER_DTYPE_F32, 3, 7), 1);
    noise_case(s, "noise [5]", VEER_TYPE(VEER_DTYPE_F32, 5), 0);
    noise_case(s, "noise [1,64,1027]", VEER_TYPE(VEER_DTYPE_F32, 1, 64, 1027), 2);
    noise_case(s, "noise [4,1]", VEER_TYPE(VEER_DTYPE_F32, 4, 1), 0);
    noise_case(s, "noise [2,30000]", VEER_TYPE(VEER_DTYPE_F32, 2, 30000), 0);
    veer_builder_t b = begin(s, "noise, transposed", 2e-6, 2e-6);
    veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64);
    veer_value_t in[] = {arg(s, scalar), arg(s, scalar), arg(s, scalar)};
    fused_t f = begin_fused(s, &b, in, 3);
    veer_value_t y = veer_build(&f.body, VEER_OP_NOISE, f.in, 3,
                                VEER_ATTRS(VEER_INTS("dims", ((int64_t[]){2, 9, 21}), 3), VEER_INT("stream", 0)));
    y = veer_transpose(&f.body, y, (int64_t[]){2, 1, 0});
    finish_fused(s, &b, &f, &y, 1);
    run_all(s);
}

/* The update of a guided DDPM step with learned range, spec (1), (4), (9): one kernel. */
static void step_update(void **state) {
    suite_t *s = *state;
    static const int64_t sizes[] = {8, 5, 64};
    for (int i = 0; i < 3; i++) {
        int64_t n = 3, c = 3, h = sizes[i], steps = 4;
        veer_builder_t b = begin(s, "step update", 1e-5, 1e-5);
        current(s)->low = 0, current(s)->high = 1;
        veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64), table = VEER_TYPE(VEER_DTYPE_F32, steps, 8);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, n, c, h, h)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, n, 2 * c, h, h)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, n, c, h, h)),
                             arg(s, table),
                             arg(s, scalar),
                             arg(s, scalar),
                             arg(s, scalar)};
        fused_t f = begin_fused(s, &b, in, 7);
        veer_builder_t *k = &f.body;
        veer_value_t x = f.in[0], g = f.in[2], co[8], row = veer_step_slice(k, f.in[3], f.in[4]);
        for (int j = 0; j < 8; j++) co[j] = veer_reshape(k, veer_slice_axis(k, row, 0, j, 1, 1), 0, NULL);
        veer_value_t eps = veer_slice_axis(k, f.in[1], 1, 0, c, 1), v = veer_slice_axis(k, f.in[1], 1, c, c, 1);
        veer_value_t frac = veer_mul_c(k, veer_add_c(k, v, 1), 0.5);
        veer_value_t log_var = veer_add(k, veer_mul(k, frac, co[0]), veer_mul(k, veer_rsub_c(k, frac, 1), co[1]));
        veer_value_t x0 = veer_sub(k, veer_mul(k, x, co[2]), veer_mul(k, eps, co[3]));
        x0 = veer_min(k, veer_max(k, x0, veer_const_f32(k, -1)), veer_const_f32(k, 1));
        veer_value_t mean = veer_add(k, veer_mul(k, x0, co[4]), veer_mul(k, x, co[5]));
        mean = veer_add(k, mean, veer_mul(k, veer_mul(k, veer_exp(k, log_var), g), co[6]));
        veer_value_t xi =
            veer_build(k, VEER_OP_NOISE, VEER_IN(f.in[5], f.in[6], f.in[4]),
                       VEER_ATTRS(VEER_INTS("dims", ((int64_t[]){n, c, h, h}), 4), VEER_INT("stream", 0)));
        veer_value_t next_x =
            veer_add(k, mean, veer_mul(k, veer_mul(k, veer_exp(k, veer_mul_c(k, log_var, 0.5)), xi), co[7]));
        veer_value_t out[] = {next_x, x0};
        finish_fused(s, &b, &f, out, 2);
    }
    run_all(s);
}

static int run_group(const char *name, const char *target) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unary_ops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(binary_ops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(casts_and_where, set_up, tear_down),
        cmocka_unit_test_setup_teardown(elementwise_regions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_elementwise, set_up, tear_down),
        cmocka_unit_test_setup_teardown(noise, set_up, tear_down),
        cmocka_unit_test_setup_teardown(step_update, set_up, tear_down),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return run_targets(run_group);
}
