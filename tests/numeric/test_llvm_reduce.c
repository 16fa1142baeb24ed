/* Reductions by the LLVM backend and what is made of them: softmax, norms, their gradients, alone and with what stands
 * around them in a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint32_t SEED = 7;

#include "tests/support/region_case.h"

static const int64_t REDUCED[] = {1, 2, 7, 16, 31, 100, 1000};

static void reductions(void **state) {
    suite_t *s = *state;
    static const veer_op_t ops[] = {VEER_OP_REDUCE_SUM, VEER_OP_REDUCE_MEAN, VEER_OP_REDUCE_MAX, VEER_OP_REDUCE_MIN};
    for (int i = 0; i < 112; i++) {
        int64_t n = REDUCED[i / 4 % 7], m = pick(s, SIZES, SIZE_COUNT);
        int kind = i / 28;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s %d of %lld (%lld)", veer_op_name(ops[i % 4]), kind, (long long)n, (long long)m);
        veer_builder_t b = begin(s, name, 2e-5, 1e-5);
        int64_t axes[2] = {kind == 0 ? 1 : 0, 2};
        veer_type_t t = kind == 0   ? VEER_TYPE(VEER_DTYPE_F32, m, n)    /* trailing */
                        : kind == 1 ? VEER_TYPE(VEER_DTYPE_F32, n, m)    /* leading */
                        : kind == 2 ? VEER_TYPE(VEER_DTYPE_F32, n, m, 5) /* first and last */
                                    : VEER_TYPE(VEER_DTYPE_F32, n, 3, m);
        veer_value_t x = arg(s, t);
        finish_value(s, &b, veer_reduce(&b, ops[i % 4], x, axes, kind < 2 ? 1 : 2, i % 3 == 0));
    }
    static const veer_dtype_t ints[] = {VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_F64};
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "integer reduction", 1e-9, 1e-9);
        current(s)->low = -50, current(s)->high = 50;
        veer_value_t x = arg(s, VEER_TYPE(ints[i % 3], 6, 37));
        finish_value(s, &b, veer_reduce(&b, ops[i / 3], x, (int64_t[]){i % 2}, 1, false));
    }
    veer_builder_t b = begin(s, "sum of all", 2e-3, 1e-5);
    finish_value(s, &b, veer_reduce_all(&b, VEER_OP_REDUCE_SUM, arg(s, VEER_TYPE(VEER_DTYPE_F32, 3, 100003))));
    b = begin(s, "product", 1e-6, 1e-5);
    current(s)->low = 0.5;
    finish_value(s, &b, veer_reduce_last(&b, VEER_OP_REDUCE_PROD, arg(s, VEER_TYPE(VEER_DTYPE_F32, 9, 21)), true));
    b = begin(s, "no axes", 0, 0);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 9, 21));
    finish_value(s, &b,
                 veer_build(&b, VEER_OP_REDUCE_SUM, VEER_IN(x),
                            VEER_ATTRS(VEER_INTS("axes", NULL, 0), VEER_INT("keepdims", 1))));
    run_all(s);
}

static void arg_max(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 32; i++) {
        veer_builder_t b = begin(s, "arg_max", 0, 0);
        veer_dtype_t d = i % 2 ? VEER_DTYPE_F32 : VEER_DTYPE_I32; /* small integers: many equals */
        veer_value_t x = arg(s, VEER_TYPE(d, i % 8 < 4 ? 5 : 40, i % 16 < 8 ? 33 : 7));
        veer_named_attr_t attrs[] = {VEER_INT("axis", i / 8 % 2),
                                     VEER_INT("keepdims", i % 3 == 0),
                                     VEER_INT("select_last", i / 2 % 2),
                                     VEER_INT("largest", i / 16),
                                     {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_ARG_MAX, VEER_IN(x), attrs));
    }
    run_all(s);
}

/* ---- rows ---- */
static void softmaxes(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][3] = {{3, 5, 7}, {1, 4, 1000}, {2, 1, 64}, {4, 9, 1}, {6, 16, 33}, {2, 3, 4099}};
    for (int i = 0; i < 36; i++) {
        const int64_t *d = shapes[i % 6];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "softmax %d axis %d", i, i / 12);
        veer_builder_t b = begin(s, name, 1e-6, 2e-6);
        current(s)->low = -20, current(s)->high = 20;
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2]));
        veer_op_t op = i / 6 % 2 ? VEER_OP_LOG_SOFTMAX : VEER_OP_SOFTMAX;
        finish_value(s, &b, veer_build(&b, op, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", i / 12))));
    }
    run_all(s);
}

static void norms(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][4] = {{2, 6, 5, 7}, {1, 32, 8, 8}, {3, 12, 1, 1}, {2, 8, 16, 3}, {1, 64, 33, 1}};
    for (int i = 0; i < 40; i++) {
        const int64_t *d = shapes[i % 5];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "norm %d", i);
        veer_builder_t b = begin(s, name, 5e-6, 5e-6);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3]));
        int kind = i / 10, with = i / 5 % 2;
        if (kind == 0 || kind == 3) {
            veer_value_t scale = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[1])),
                         bias = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[1]));
            veer_named_attr_t attrs[] = {VEER_INT("groups", kind == 3 ? d[1] : 2), VEER_FLOAT("eps", 1e-5), {0}};
            if (with)
                finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM, VEER_IN(x, scale, bias), attrs));
            else
                finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM, VEER_IN(x), attrs));
            continue;
        }
        int axis = 2 + i % 2;
        veer_type_t row = axis == 2 ? VEER_TYPE(VEER_DTYPE_F32, d[2], d[3]) : VEER_TYPE(VEER_DTYPE_F32, d[3]);
        veer_named_attr_t attrs[] = {VEER_INT("axis", axis), VEER_FLOAT("eps", 1e-5), {0}};
        veer_value_t scale = arg(s, row), bias = arg(s, row);
        veer_op_t op = kind == 1 ? VEER_OP_LAYER_NORM : VEER_OP_RMS_NORM;
        if (!with)
            finish_value(s, &b, veer_build(&b, op, VEER_IN(x), attrs));
        else if (kind == 1)
            finish_value(s, &b, veer_build(&b, op, VEER_IN(x, scale, bias), attrs));
        else
            finish_value(s, &b, veer_build(&b, op, VEER_IN(x, scale), attrs));
    }
    run_all(s);
}

static void norms_with_channels_last(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][4] = {{2, 5, 7, 6}, {1, 8, 8, 32}, {3, 1, 1, 12}, {2, 16, 3, 8}, {1, 33, 1, 64}};
    for (int i = 0; i < 20; i++) {
        const int64_t *d = shapes[i % 5];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "norm with channels last %d", i);
        veer_builder_t b = begin(s, name, 5e-6, 5e-6);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3])),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, d[3])), arg(s, VEER_TYPE(VEER_DTYPE_F32, d[3]))};
        veer_named_attr_t attrs[] = {
            VEER_INT("groups", i < 10 ? 2 : d[3]), VEER_FLOAT("eps", 1e-5), VEER_INT("channels_last", 1), {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM, in, i / 5 % 2 ? 3 : 1, attrs));
    }
    run_all(s);
}

/* Groups whose channels fill registers evenly and not, groups of one or many channels, few and many positions. */
static const int64_t GROUPED[][5] = {/* N, H, W, C, groups */
                                     {1, 8, 8, 192, 32}, {2, 4, 4, 64, 32}, {1, 5, 3, 21, 7},   {3, 3, 3, 10, 5},
                                     {1, 7, 5, 96, 4},   {2, 2, 3, 36, 3},  {1, 23, 31, 48, 8}, {1, 4, 4, 66, 11},
                                     {2, 3, 4, 144, 8},  {1, 6, 6, 13, 1},  {1, 2, 2, 40, 20},  {2, 9, 1, 90, 30}};
enum { GROUPED_COUNT = sizeof GROUPED / sizeof *GROUPED };

static veer_value_t group_norm_last(veer_builder_t *b, veer_value_t x, veer_value_t scale, veer_value_t bias,
                                    int64_t groups) {
    veer_named_attr_t attrs[] = {
        VEER_INT("groups", groups), VEER_FLOAT("eps", 1e-5), VEER_INT("channels_last", 1), {0}};
    return veer_build(b, VEER_OP_GROUP_NORM, VEER_IN(x, scale, bias), attrs);
}

static void groups_in_lanes(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 2 * GROUPED_COUNT; i++) { /* with scale and shift per sample and silu; a residual in front */
        const int64_t *d = GROUPED[i % GROUPED_COUNT];
        veer_builder_t b = begin(s, "group_norm with channels last, scale and shift, silu", 2e-5, 1e-5);
        veer_type_t t = VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3]), c = VEER_TYPE(VEER_DTYPE_F32, d[3]);
        veer_type_t per_sample = VEER_TYPE(VEER_DTYPE_F32, d[0], 1, 1, d[3]);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, c), arg(s, c), arg(s, per_sample), arg(s, per_sample)};
        fused_t f = begin_fused(s, &b, in, 6);
        veer_value_t x = i < GROUPED_COUNT ? f.in[0] : veer_tanh(&f.body, veer_add(&f.body, f.in[0], f.in[1]));
        veer_value_t y = group_norm_last(&f.body, x, f.in[2], f.in[3], d[4]);
        y = veer_silu(&f.body, veer_add(&f.body, veer_mul(&f.body, y, veer_add_c(&f.body, f.in[4], 1)), f.in[5]));
        veer_value_t out[] = {y, x};
        finish_fused(s, &b, &f, out, i < GROUPED_COUNT ? 1 : 2);
    }
    for (int i = 0; i < 2 * GROUPED_COUNT; i++) { /* sums alone, of [N, S, G, C/G] and with what is behind them */
        const int64_t *d = GROUPED[i % GROUPED_COUNT];
        bool keep = i < GROUPED_COUNT;
        veer_builder_t b = begin(s, "sums of groups", 2e-5, 1e-5);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1] * d[2], d[4], d[3] / d[4]))};
        fused_t f = begin_fused(s, &b, in, 1);
        veer_op_t op = (veer_op_t[]){VEER_OP_REDUCE_MEAN, VEER_OP_REDUCE_MAX, VEER_OP_REDUCE_MIN}[i % 3];
        veer_value_t sum = veer_reduce(&f.body, op, veer_mul(&f.body, f.in[0], f.in[0]), (int64_t[]){1, 3}, 2, keep);
        veer_value_t y = veer_rsqrt(&f.body, veer_add_c(&f.body, sum, 1));
        finish_fused(s, &b, &f, &y, 1);
    }
    run_all(s);
}

/* d loss/dx of silu(scale * group_norm(x) + ...) with channels last, spelled out as passes/gradient.c does. */
static veer_value_t group_norm_backward(veer_builder_t *k, const veer_value_t *in, const int64_t *d) {
    int64_t split[] = {d[0], d[1] * d[2], d[4], d[3] / d[4]}, all[] = {d[0], d[1], d[2], d[3]}, axes[] = {1, 3};
    veer_value_t x = veer_reshape(k, in[0], 4, split);
    x = veer_sub(k, x, veer_reduce(k, VEER_OP_REDUCE_MEAN, x, axes, 2, true));
    veer_value_t variance = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, x, x), axes, 2, true);
    veer_value_t rstd = veer_rsqrt(k, veer_add_c(k, variance, 1e-5)), xhat = veer_mul(k, x, rstd);
    veer_value_t h = veer_mul(k, veer_reshape(k, xhat, 4, all), in[2]), sig = veer_sigmoid(k, h);
    veer_value_t slope = veer_mul(k, sig, veer_add_c(k, veer_mul(k, h, veer_rsub_c(k, sig, 1)), 1));
    veer_value_t dy = veer_reshape(k, veer_mul(k, veer_mul(k, in[1], slope), in[2]), 4, split);
    veer_value_t along = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, dy, xhat), axes, 2, true);
    veer_value_t mean = veer_reduce(k, VEER_OP_REDUCE_MEAN, dy, axes, 2, true);
    veer_value_t dx = veer_mul(k, rstd, veer_sub(k, veer_sub(k, dy, mean), veer_mul(k, xhat, along)));
    return veer_reshape(k, dx, 4, all);
}

static void groups_in_lanes_backward(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < GROUPED_COUNT; i++) {
        const int64_t *d = GROUPED[i];
        veer_builder_t b = begin(s, "group_norm with channels last, backward", 5e-5, 2e-5);
        veer_type_t t = VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3]);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, VEER_TYPE(VEER_DTYPE_F32, d[3]))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t dx = group_norm_backward(&f.body, f.in, d);
        finish_fused(s, &b, &f, &dx, 1);
    }
    run_all(s);
}

/* The gradient as one node, alone: both layouts, groups of one channel, of all, of a number that no register has. */
static void norm_gradients(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][5] = {/* N, H, W, C, groups */
                                        {2, 5, 7, 6, 2},   {1, 8, 8, 32, 32}, {3, 2, 1, 12, 12}, {2, 16, 3, 8, 1},
                                        {1, 33, 1, 64, 2}, {1, 9, 5, 21, 7},  {2, 4, 4, 13, 13}, {2, 1, 3, 90, 6}};
    for (int i = 0; i < 16; i++) {
        const int64_t *d = shapes[i % 8];
        bool last = i >= 8;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "group_norm_grad %d", i);
        veer_builder_t b = begin(s, name, 5e-5, 2e-5);
        veer_type_t t = last ? VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3])
                             : VEER_TYPE(VEER_DTYPE_F32, d[0], d[3], d[1], d[2]);
        veer_value_t in[] = {arg(s, t), arg(s, t)};
        veer_named_attr_t attrs[] = {
            VEER_INT("groups", d[4]), VEER_FLOAT("eps", 1e-3), VEER_INT("channels_last", last), {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM_GRAD, in, 2, attrs));
    }
    run_all(s);
}

/* d loss/dx of silu(scale * group_norm(x)) + x as the gradient pass gives it: the forward norm and the gradient's node
 * in one kernel. */
static veer_value_t group_norm_silu_gradient(veer_builder_t *k, const veer_value_t *in, int64_t groups, bool last) {
    veer_named_attr_t attrs[] = {
        VEER_INT("groups", groups), VEER_FLOAT("eps", 1e-5), VEER_INT("channels_last", last), {0}};
    veer_value_t h = veer_mul(k, veer_build(k, VEER_OP_GROUP_NORM, in, 1, attrs), in[2]), sig = veer_sigmoid(k, h);
    veer_value_t slope = veer_mul(k, sig, veer_add_c(k, veer_mul(k, h, veer_rsub_c(k, sig, 1)), 1));
    veer_value_t d = veer_mul(k, veer_mul(k, in[1], slope), in[2]);
    return veer_add(k, veer_build(k, VEER_OP_GROUP_NORM_GRAD, VEER_IN(in[0], d), attrs), in[1]);
}

static void norm_gradients_in_clusters(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 2 * GROUPED_COUNT; i++) {
        const int64_t *d = GROUPED[i % GROUPED_COUNT];
        bool last = i < GROUPED_COUNT;
        veer_builder_t b = begin(s, "group_norm and silu, backward by one node", 5e-5, 2e-5);
        veer_type_t t = last ? VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3])
                             : VEER_TYPE(VEER_DTYPE_F32, d[0], d[3], d[1], d[2]);
        veer_type_t scale = last ? VEER_TYPE(VEER_DTYPE_F32, d[3]) : VEER_TYPE(VEER_DTYPE_F32, d[3], 1, 1);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, scale)};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t dx = group_norm_silu_gradient(&f.body, f.in, d[4], last);
        finish_fused(s, &b, &f, &dx, 1);
    }
    run_all(s);
}

/* What a transformer and a U-Net give the fuse pass. */
static void row_regions(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 6; i++) { /* residual + layer_norm, both results and the mean */
        int64_t l = (int64_t[]){3, 64, 17}[i % 3], d = (int64_t[]){192, 768, 33}[i % 3];
        veer_builder_t b = begin(s, "residual and layer_norm", 1e-5, 1e-5);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, l, d)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, l, d)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, d)), arg(s, VEER_TYPE(VEER_DTYPE_F32, d))};
        fused_t f = begin_fused(s, &b, in, 4);
        veer_value_t h = veer_add(&f.body, f.in[0], veer_gelu(&f.body, f.in[1], i >= 3));
        veer_named_attr_t attrs[] = {VEER_INT("axis", 2), VEER_FLOAT("eps", 1e-5), {0}};
        veer_value_t y = veer_build(&f.body, VEER_OP_LAYER_NORM, VEER_IN(h, f.in[2], f.in[3]), attrs);
        veer_value_t m = veer_reduce_last(&f.body, VEER_OP_REDUCE_MEAN, h, i % 2);
        veer_value_t out[] = {h, y, m};
        finish_fused(s, &b, &f, out, 3);
    }
    for (int i = 0; i < 6; i++) { /* group_norm + scale by time embedding + silu, of a concat */
        int64_t c = (int64_t[]){32, 6, 64}[i % 3], hw = (int64_t[]){8, 5, 16}[i % 3];
        veer_builder_t b = begin(s, "group_norm and silu of a concat", 1e-5, 1e-5);
        veer_value_t in[] = {
            arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, c, hw, hw)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, c / 2, hw, hw)),
            arg(s, VEER_TYPE(VEER_DTYPE_F32, c + c / 2)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, c + c / 2))};
        fused_t f = begin_fused(s, &b, in, 4);
        veer_value_t x = veer_concat(&f.body, f.in, 2, 1);
        veer_named_attr_t attrs[] = {VEER_INT("groups", 3), VEER_FLOAT("eps", 1e-5), {0}};
        veer_value_t y = veer_build(&f.body, VEER_OP_GROUP_NORM, VEER_IN(x, f.in[2]), attrs);
        y = veer_mul(&f.body, y, veer_add_c(&f.body, veer_reshape(&f.body, f.in[3], VEER_DIMS(2, c + c / 2, 1, 1)), 1));
        y = veer_silu(&f.body, y);
        finish_fused(s, &b, &f, &y, i < 3 ? 1 : 1);
    }
    for (int i = 0; i < 3; i++) { /* backward of group_norm + silu towards x, spelled out */
        int64_t c = (int64_t[]){32, 6, 64}[i], hw = (int64_t[]){8, 5, 16}[i], g = 2, all[] = {2, c, hw, hw};
        veer_builder_t b = begin(s, "group_norm and silu, backward", 2e-5, 1e-5);
        veer_type_t t = veer_type_make(VEER_DTYPE_F32, 4, all);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, VEER_TYPE(VEER_DTYPE_F32, c, 1, 1))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_builder_t *k = &f.body;
        veer_value_t x = veer_reshape(k, f.in[0], VEER_DIMS(2, g, c / g, hw * hw));
        x = veer_sub(k, x, veer_reduce(k, VEER_OP_REDUCE_MEAN, x, (int64_t[]){2, 3}, 2, true));
        veer_value_t variance = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, x, x), (int64_t[]){2, 3}, 2, true);
        veer_value_t rstd = veer_rsqrt(k, veer_add_c(k, variance, 1e-5)), xhat = veer_mul(k, x, rstd);
        veer_value_t h = veer_mul(k, veer_reshape(k, xhat, 4, all), f.in[2]), sig = veer_sigmoid(k, h);
        veer_value_t slope = veer_mul(k, sig, veer_add_c(k, veer_mul(k, h, veer_rsub_c(k, sig, 1)), 1));
        veer_value_t d = veer_mul(k, veer_mul(k, f.in[1], slope), f.in[2]);
        d = veer_reshape(k, d, VEER_DIMS(2, g, c / g, hw * hw));
        veer_value_t along = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, d, xhat), (int64_t[]){2, 3}, 2, true);
        veer_value_t mean = veer_reduce(k, VEER_OP_REDUCE_MEAN, d, (int64_t[]){2, 3}, 2, true);
        veer_value_t dx = veer_mul(k, rstd, veer_sub(k, veer_sub(k, d, mean), veer_mul(k, xhat, along)));
        dx = veer_reshape(k, dx, 4, all);
        finish_fused(s, &b, &f, &dx, 1);
        assert_true(current(s)->kernel.scratch_bytes > 0); /* d is kept, not computed twice */
    }
    for (int i = 0; i < 4; i++) { /* attention scores: scale, mask, softmax; and its backward */
        int64_t n = (int64_t[]){16, 77, 64, 7}[i];
        veer_builder_t b = begin(s, "softmax and its backward", 1e-5, 1e-5);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 3, n, n)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 1, 1, n)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 3, n, n))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t x = veer_add(&f.body, veer_mul_c(&f.body, f.in[0], 0.125), f.in[1]);
        veer_value_t p = veer_build(&f.body, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 3)));
        veer_value_t dot = veer_reduce_last(&f.body, VEER_OP_REDUCE_SUM, veer_mul(&f.body, p, f.in[2]), true);
        veer_value_t dx = veer_mul(&f.body, p, veer_sub(&f.body, f.in[2], dot)), out[] = {p, dx};
        finish_fused(s, &b, &f, out, 2);
    }
    run_all(s);
}

static int run_group(const char *name, const char *target) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reductions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(arg_max, set_up, tear_down),
        cmocka_unit_test_setup_teardown(softmaxes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(norms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(norms_with_channels_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(groups_in_lanes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(groups_in_lanes_backward, set_up, tear_down),
        cmocka_unit_test_setup_teardown(norm_gradients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(norm_gradients_in_clusters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(row_regions, set_up, tear_down),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return run_targets(run_group);
}
