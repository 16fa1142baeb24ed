/* The reference kernels of the larger op families against PyTorch's results, in every float dtype; what `expand` builds
 * against the kernels; noise and nearest against their definitions. */
#include "ir/channels.h"
#include "ir/gradient.h"
#include "ir/half.h"
#include "runtime/philox.h"
#include "tests/contraction_cases.h"

#include <math.h>
#include <string.h>

static const veer_allocator_t *heap(void) {
    static veer_allocator_t a;
    a = veer_allocator_system();
    return &a;
}

static double element(const veer_tensor_t *t, int64_t i) {
    switch (t->type.dtype) {
    case VEER_DTYPE_F32: return ((const float *)t->data)[i];
    case VEER_DTYPE_F64: return ((const double *)t->data)[i];
    case VEER_DTYPE_F16: return veer_half_to_double(((const uint16_t *)t->data)[i]);
    default: return veer_bfloat_to_double(((const uint16_t *)t->data)[i]);
    }
}

static void set_element(const veer_tensor_t *t, int64_t i, double value) {
    switch (t->type.dtype) {
    case VEER_DTYPE_F32: ((float *)t->data)[i] = (float)value; break;
    case VEER_DTYPE_F64: ((double *)t->data)[i] = value; break;
    case VEER_DTYPE_F16: ((uint16_t *)t->data)[i] = veer_half_from_double(value); break;
    default: ((uint16_t *)t->data)[i] = veer_bfloat_from_double(value); break;
    }
}

/* In place: a double is never smaller than what it is rounded to. */
static void round_args(veer_tensor_t *args, int count, veer_dtype_t dtype) {
    for (int i = 0; i < count; i++) {
        const double *values = args[i].data;
        args[i].type.dtype = dtype;
        for (int64_t j = 0; j < veer_type_count(&args[i].type); j++) {
            double value;
            memcpy(&value, values + j, sizeof value);
            set_element(&args[i], j, value);
        }
    }
}

static void compare(const op_case_t *c, const char *what, const veer_tensor_t *got, int64_t i, double want,
                    double tolerance) {
    if (fabs(element(got, i) - want) <= tolerance * (1 + fabs(want))) return;
    print_error("%s, %s: element %lld is %.17g, expected %.17g\n", c->name, what, (long long)i, element(got, i), want);
    fail();
}

/* Evaluates the op and, where it has one, its expansion. */
static void check_case(const op_case_t *c, veer_dtype_t dtype, double tolerance) {
    veer_graph_t *g;
    veer_func_t f;
    veer_builder_t b;
    veer_value_t in[OP_CASE_OPERANDS], results[2] = {{0}};
    op_case_ok(veer_graph_create(*heap(), &g), c->name);
    op_case_ok(veer_graph_add_func(g, "f", &f), c->name);
    veer_node_t node = op_case_node(g, f, c, dtype, &b, in);
    results[0] = veer_node_out(g, node, 0);
    int count = 1;
    if (veer_op_def(c->op)->expand && dtype == VEER_DTYPE_F64) {
        veer_expand_t e = {g, node, veer_node_in_count(g, node), veer_node_out_count(g, node), in, &results[count++]};
        op_case_ok(veer_op_def(c->op)->expand(&b, &e), c->name);
    }
    veer_builder_return(&b, results, count);
    op_case_ok(veer_builder_status(&b), c->name);

    veer_tensor_t args[OP_CASE_OPERANDS], out[2];
    int arg_count = op_case_args(c, args);
    round_args(args, arg_count, dtype);
    op_case_ok(veer_reference_eval(g, f, args, arg_count, *heap(), out, count), c->name);
    if (c->want) assert_int_equal(veer_type_count(&out[0].type), c->want_count);
    for (int i = 0; i < c->want_count; i++) compare(c, veer_dtype_name(dtype), &out[0], i, c->want[i], tolerance);
    if (count == 2) {
        assert_true(veer_type_equal(&out[0].type, &out[1].type));
        for (int64_t i = 0; i < veer_type_count(&out[0].type); i++)
            compare(c, "expanded", &out[1], i, element(&out[0], i), 1e-13);
    }
    op_case_free(args, arg_count), op_case_free(out, count);
    veer_graph_destroy(g);
}

/* 17 digits, sums of at most 40 terms of size 1, norms that divide by at least 0.1: 1e-12. */
static void test_f64(void **state) {
    (void)state;
    for (int i = 0; i < CONTRACTION_CASES; i++) check_case(&contraction_cases[i], VEER_DTYPE_F64, 1e-12);
}

/* Rounding the operands costs half an ulp of each: 40 terms and a division by 0.1 make 400 of them; instances whose
 * variance is near 0 more. */
static void test_f32(void **state) {
    (void)state;
    for (int i = 0; i < CONTRACTION_CASES; i++) check_case(&contraction_cases[i], VEER_DTYPE_F32, 400 * 0x1p-24);
}
static void test_f16(void **state) {
    (void)state;
    for (int i = 0; i < CONTRACTION_CASES; i++) check_case(&contraction_cases[i], VEER_DTYPE_F16, 100 * 0x1p-11);
}
static void test_bf16(void **state) {
    (void)state;
    for (int i = 0; i < CONTRACTION_CASES; i++) check_case(&contraction_cases[i], VEER_DTYPE_BF16, 50 * 0x1p-8);
}

/* ---- channels last ---- */

/* The case's op with its channels last, between transposes; NULL attributes end the list. */
static void build_channels_last(veer_builder_t *b, const op_case_t *c, const veer_value_t *in, veer_value_t *out_y) {
    veer_named_attr_t attrs[VEER_OP_MAX_ATTRS + 1] = {{0}};
    veer_value_t operands[OP_CASE_OPERANDS];
    int count = 0;
    while (c->attrs[count].name) attrs[count] = c->attrs[count], count++;
    attrs[count] = VEER_INT("channels_last", 1);
    memcpy(operands, in, sizeof operands);
    operands[0] = veer_to_channels_last(b, in[0], true);
    if (c->op == VEER_OP_GROUP_NORM_GRAD) operands[1] = veer_to_channels_last(b, in[1], true);
    *out_y = veer_to_channels_first(b, veer_build(b, c->op, operands, op_case_operands(c), attrs), true);
}

/* The same numbers as with channels first: sums run in the same order, but for those of the norms. */
static void check_channels_last(const op_case_t *c) {
    veer_graph_t *g;
    veer_func_t f;
    veer_builder_t b;
    veer_value_t in[OP_CASE_OPERANDS], results[2];
    op_case_ok(veer_graph_create(*heap(), &g), c->name);
    op_case_ok(veer_graph_add_func(g, "f", &f), c->name);
    results[0] = veer_node_out(g, op_case_node(g, f, c, VEER_DTYPE_F64, &b, in), 0);
    build_channels_last(&b, c, in, &results[1]);
    veer_builder_return(&b, results, 2);
    op_case_ok(veer_builder_status(&b), c->name);
    veer_tensor_t args[OP_CASE_OPERANDS], out[2];
    int arg_count = op_case_args(c, args);
    op_case_ok(veer_reference_eval(g, f, args, arg_count, *heap(), out, 2), c->name);
    assert_true(veer_type_equal(&out[0].type, &out[1].type));
    bool is_norm = c->op == VEER_OP_GROUP_NORM || c->op == VEER_OP_GROUP_NORM_GRAD;
    for (int64_t i = 0; i < veer_type_count(&out[0].type); i++)
        compare(c, "channels last", &out[1], i, element(&out[0], i), is_norm ? 1e-12 : 0);
    op_case_free(args, arg_count), op_case_free(out, 2);
    veer_graph_destroy(g);
}

static bool is_channels_last(const op_case_t *c) {
    for (int i = 0; c->attrs[i].name; i++)
        if (!strcmp(c->attrs[i].name, "channels_last")) return true;
    return false;
}

static void test_channels_last(void **state) {
    (void)state;
    int checked = 0;
    for (int i = 0; i < CONTRACTION_CASES; i++) {
        const op_case_t *c = &contraction_cases[i];
        if (veer_op_attr_index(c->op, "channels_last") < 0 || is_channels_last(c)) continue;
        check_channels_last(c);
        checked++;
    }
    assert_true(checked > 30);
}

/* ---- single ops with operands of our own ---- */

/* Evaluates one node; results in `out`, released by the caller. */
static void evaluate(veer_op_t op, const veer_tensor_t *in, int count, const veer_named_attr_t *attrs,
                     veer_tensor_t *out, int out_count) {
    veer_graph_t *g;
    veer_func_t f;
    veer_value_t values[OP_CASE_OPERANDS], results[2];
    op_case_ok(veer_graph_create(*heap(), &g), "create");
    op_case_ok(veer_graph_add_func(g, "f", &f), "add_func");
    for (int i = 0; i < count; i++)
        op_case_ok(veer_region_add_arg(g, veer_func_body(g, f), in[i].type, "x", &values[i]), "add_arg");
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_node_t node = veer_build_node(&b, op, values, count, attrs);
    op_case_ok(veer_builder_status(&b), veer_op_name(op));
    for (int i = 0; i < out_count; i++) results[i] = veer_node_out(g, node, i);
    veer_builder_return(&b, results, out_count);
    op_case_ok(veer_builder_status(&b), veer_op_name(op));
    op_case_ok(veer_reference_eval(g, f, in, count, *heap(), out, out_count), veer_op_name(op));
    veer_graph_destroy(g);
}

/* Every index points at the element that is the maximum, in the whole tensor; of equal ones at the first. */
static void test_max_pool_indices(void **state) {
    (void)state;
    float x[2 * 2 * 5];
    for (int i = 0; i < 20; i++) x[i] = (float)(i * 7 % 5 - (i == 13 ? NAN : 0));
    veer_tensor_t in = {VEER_TYPE(VEER_DTYPE_F32, 2, 2, 5), x}, out[2];
    evaluate(VEER_OP_MAX_POOL, &in, 1,
             VEER_ATTRS(INTS("kernel", 3), INTS("strides", 2), INTS("pads_before", 1), INTS("pads_after", 1),
                        INTS("dilations", 1)),
             out, 2);
    assert_int_equal(veer_type_count(&out[1].type), 12);
    for (int i = 0; i < 12; i++) {
        int channel = i / 3, from = i % 3 * 2 - 1, best = -1;
        for (int p = from < 0 ? 0 : from; p < from + 3 && p < 5; p++) {
            int at = channel * 5 + p;
            if (best < 0 || x[at] > x[best] || (isnan(x[at]) && !isnan(x[best]))) best = at;
        }
        assert_int_equal(((const int64_t *)out[1].data)[i], best);
        assert_memory_equal((const float *)out[0].data + i, &x[best], sizeof *x);
    }
    op_case_free(out, 2);
}

/* Keys with a score of minus infinity count nothing: the result is that of the other keys alone. */
static void test_attention_masked_keys(void **state) {
    (void)state;
    double q[4], k[6], v[6], mask[3] = {0, -INFINITY, 0}, k2[4], v2[4], zero[2] = {0};
    op_case_fill(0, 4, q), op_case_fill(1, 6, k), op_case_fill(2, 6, v);
    memcpy(k2, k, 16), memcpy(k2 + 2, k + 4, 16), memcpy(v2, v, 16), memcpy(v2 + 2, v + 4, 16);
    veer_tensor_t all[4] = {{VEER_TYPE(VEER_DTYPE_F64, 1, 1, 2, 2), q},
                            {VEER_TYPE(VEER_DTYPE_F64, 1, 1, 3, 2), k},
                            {VEER_TYPE(VEER_DTYPE_F64, 1, 1, 3, 2), v},
                            {VEER_TYPE(VEER_DTYPE_F64, 3), mask}};
    veer_tensor_t some[4] = {all[0],
                             {VEER_TYPE(VEER_DTYPE_F64, 1, 1, 2, 2), k2},
                             {VEER_TYPE(VEER_DTYPE_F64, 1, 1, 2, 2), v2},
                             {VEER_TYPE(VEER_DTYPE_F64, 2), zero}};
    veer_tensor_t got, want;
    evaluate(VEER_OP_ATTENTION, all, 4, VEER_ATTRS(FLOAT("scale", 0.5)), &got, 1);
    evaluate(VEER_OP_ATTENTION, some, 4, VEER_ATTRS(FLOAT("scale", 0.5)), &want, 1);
    for (int i = 0; i < 4; i++) assert_true(fabs(element(&got, i) - element(&want, i)) < 1e-14);
    op_case_free(&got, 1), op_case_free(&want, 1);
}

/* The kernel of attention's gradient and its expansion, all three results. Differences check one of them in
 * tests/grad/test_grad_ops.c. */
static void check_attention_grad(const op_case_t *c) {
    veer_graph_t *g;
    veer_func_t f;
    veer_builder_t b;
    veer_value_t in[OP_CASE_OPERANDS], results[6];
    op_case_ok(veer_graph_create(*heap(), &g), c->name);
    op_case_ok(veer_graph_add_func(g, "f", &f), c->name);
    veer_node_t node = op_case_node(g, f, c, VEER_DTYPE_F64, &b, in);
    veer_expand_t e = {g, node, veer_node_in_count(g, node), 3, in, &results[3]};
    for (int i = 0; i < 3; i++) results[i] = veer_node_out(g, node, i);
    op_case_ok(veer_op_def(c->op)->expand(&b, &e), c->name);
    veer_builder_return(&b, results, 6);
    op_case_ok(veer_builder_status(&b), c->name);
    veer_tensor_t args[OP_CASE_OPERANDS], out[6];
    int arg_count = op_case_args(c, args);
    op_case_ok(veer_reference_eval(g, f, args, arg_count, *heap(), out, 6), c->name);
    for (int k = 0; k < 3; k++) {
        assert_true(veer_type_equal(&out[k].type, &out[3 + k].type));
        for (int64_t i = 0; i < veer_type_count(&out[k].type); i++)
            compare(c, "expanded", &out[3 + k], i, element(&out[k], i), 1e-13);
    }
    op_case_free(args, arg_count), op_case_free(out, 6);
    veer_graph_destroy(g);
}

static void test_attention_grad(void **state) {
    (void)state;
    const op_case_t cases[] = {
        {.name = "attention_grad",
         .op = VEER_OP_ATTENTION_GRAD,
         .in = {SHAPE(1, 2, 3, 2), SHAPE(1, 2, 4, 2), SHAPE(1, 2, 4, 3), SHAPE(1, 2, 3, 3)},
         .attrs = ATTRS(FLOAT("scale", 0.7))},
        {.name = "attention_grad, mask per key",
         .op = VEER_OP_ATTENTION_GRAD,
         .in = {SHAPE(2, 1, 2, 3), SHAPE(2, 1, 3, 3), SHAPE(2, 1, 3, 2), SHAPE(2, 1, 2, 2), SHAPE(2, 1, 1, 3)},
         .attrs = ATTRS(FLOAT("scale", 1.5))},
        {.name = "attention_grad, mask per pair, longer than a block",
         .op = VEER_OP_ATTENTION_GRAD,
         .in = {SHAPE(1, 1, 2, 300), SHAPE(1, 1, 3, 300), SHAPE(1, 1, 3, 260), SHAPE(1, 1, 2, 260), SHAPE(2, 3)},
         .attrs = ATTRS(FLOAT("scale", 0.05))},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_attention_grad(&cases[i]);
}

/* Longer than a kernel's stretch of 256 elements: rows meet at the seams. */
static void test_long_rows(void **state) {
    (void)state;
    enum { N = 600 };
    static double x[N], w[3], a[2 * 2];
    op_case_fill(0, N, x), op_case_fill(1, 3, w), op_case_fill(2, 4, a);
    veer_tensor_t conv[2] = {{VEER_TYPE(VEER_DTYPE_F64, 1, 1, N), x}, {VEER_TYPE(VEER_DTYPE_F64, 1, 1, 3), w}}, y;
    evaluate(VEER_OP_CONV, conv, 2,
             VEER_ATTRS(INTS("strides", 1), INTS("pads_before", 2), INTS("pads_after", 2), INTS("dilations", 2)), &y,
             1);
    assert_int_equal(veer_type_count(&y.type), N);
    for (int o = 0; o < N; o++) {
        double want = 0;
        for (int k = 0; k < 3; k++)
            if (o + 2 * k - 2 >= 0 && o + 2 * k - 2 < N) want += x[o + 2 * k - 2] * w[k];
        assert_true(fabs(element(&y, o) - want) < 1e-14);
    }
    op_case_free(&y, 1);
    evaluate(VEER_OP_CONV_TRANSPOSE, conv, 2,
             VEER_ATTRS(INTS("strides", 3), INTS("pads_before", 1), INTS("pads_after", 0), INTS("dilations", 2),
                        INTS("output_padding", 1)),
             &y, 1);
    static double spread[3 * N + 5];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 3; k++) spread[3 * i + 2 * k] += x[i] * w[k];
    assert_int_equal(veer_type_count(&y.type), 3 * (N - 1) + 5 + 1 - 1);
    for (int o = 0; o < 3 * (N - 1) + 5; o++) assert_true(fabs(element(&y, o) - spread[o + 1]) < 1e-14);
    op_case_free(&y, 1);
    veer_tensor_t product[2] = {{VEER_TYPE(VEER_DTYPE_F64, 2, 2), a}, {VEER_TYPE(VEER_DTYPE_F64, 2, N / 2), x}};
    evaluate(VEER_OP_MATMUL, product, 2, NULL, &y, 1);
    for (int i = 0; i < N; i++) {
        const double *row = a + i / (N / 2) * 2, *column = x + i % (N / 2);
        assert_true(fabs(element(&y, i) - (row[0] * column[0] + row[1] * column[N / 2])) < 1e-14);
    }
    op_case_free(&y, 1);
}

/* Sample n of a batch that starts at 7 is sample 7 + n, whatever its neighbours are. */
static void test_noise(void **state) {
    (void)state;
    int64_t seed = -5, first = 7, step = 3;
    float want[6];
    veer_tensor_t in[3] = {{VEER_SCALAR(VEER_DTYPE_I64), &seed},
                           {VEER_SCALAR(VEER_DTYPE_I64), &first},
                           {VEER_SCALAR(VEER_DTYPE_I64), &step}};
    veer_tensor_t xi;
    evaluate(VEER_OP_NOISE, in, 3, VEER_ATTRS(INTS("dims", 3, 2, 3), INT("stream", 2)), &xi, 1);
    for (uint32_t n = 0; n < 3; n++) {
        veer_noise_gaussian((uint64_t)seed, 7 + n, 3, 2, 6, want);
        assert_memory_equal((const float *)xi.data + 6 * n, want, sizeof want);
    }
    op_case_free(&xi, 1);
}

static void test_nearest(void **state) {
    (void)state;
    float table[4][2] = {{0, 0}, {1, 0}, {1, 0}, {-2, 2}}, x[4][2] = {{0.9f, 0}, {0.5f, 0}, {-1, 1.5f}, {2, -1}};
    static const int64_t want[4] = {1, 0, 3, 1}; /* ties, in the second and last: the lowest id */
    veer_tensor_t in[2] = {{VEER_TYPE(VEER_DTYPE_F32, 2, 2, 2), x}, {VEER_TYPE(VEER_DTYPE_F32, 4, 2), table}}, ids;
    evaluate(VEER_OP_NEAREST, in, 2, NULL, &ids, 1);
    assert_int_equal(ids.type.rank, 2);
    assert_memory_equal(ids.data, want, sizeof want);
    op_case_free(&ids, 1);
}

/* Nearest picks whole elements: integers beyond 2^53 come through. */
static void test_resize_integers(void **state) {
    (void)state;
    int64_t x[2] = {INT64_MAX, INT64_MIN + 1};
    veer_tensor_t in = {VEER_TYPE(VEER_DTYPE_I64, 2), x}, y;
    evaluate(VEER_OP_RESIZE, &in, 1, VEER_ATTRS(INTS("dims", 3), FLOATS("scales", 1.5), STRING("mode", "nearest")), &y,
             1);
    assert_memory_equal(y.data, ((int64_t[]){x[0], x[0], x[1]}), 3 * sizeof *x);
    op_case_free(&y, 1);
}

/* ---- what infer refuses ---- */

typedef struct refusal_s {
    op_case_t node;
    const char *message; /* part of it */
} refusal_t;

#define WINDOW(s, b, a, d) INTS("strides", s), INTS("pads_before", b), INTS("pads_after", a), INTS("dilations", d)
static const refusal_t refusals[] = {
    {{.op = VEER_OP_SOFTMAX, .in = {SHAPE(2, 3)}, .attrs = ATTRS(INT("axis", 2))}, "axis is 2, expected 0 to 1"},
    {{.op = VEER_OP_LAYER_NORM, .in = {SHAPE(2, 3), SHAPE(2)}, .attrs = ATTRS(INT("axis", 1))},
     "scale is f64[2], expected something that broadcasts to f64[3]"},
    {{.op = VEER_OP_RMS_NORM, .in = {SHAPE(2, 3)}, .attrs = ATTRS(INT("axis", 1), FLOAT("eps", -1))},
     "eps is -1, expected a number >= 0"},
    {{.op = VEER_OP_GROUP_NORM, .in = {SHAPE(2, 3, 4)}, .attrs = ATTRS(INT("groups", 2))},
     "groups is 2, expected a divisor of the 3 channels"},
    {{.op = VEER_OP_GROUP_NORM, .in = {SHAPE(2, 4, 3)}, .attrs = ATTRS(INT("groups", 2), INT("channels_last", 1))},
     "groups is 2, expected a divisor of the 3 channels"},
    {{.op = VEER_OP_GROUP_NORM_GRAD, .in = {SHAPE(2, 4, 3), SHAPE(2, 3, 4)}, .attrs = ATTRS(INT("groups", 2))},
     "d is f64[2,3,4], expected f64[2,4,3] as x is"},
    {{.op = VEER_OP_GROUP_NORM_GRAD,
      .in = {SHAPE(2, 4, 3), SHAPE(2, 4, 3)},
      .attrs = ATTRS(INT("groups", 2), INT("channels_last", 1))},
     "groups is 2, expected a divisor of the 3 channels"},
    {{.op = VEER_OP_CONV,
      .in = {SHAPE(1, 2, 5), SHAPE(1, 2, 2)},
      .attrs = ATTRS(WINDOW(1, 0, 0, 1), INT("channels_last", 1))},
     "the input has 5 channels in 1 groups, the weight expects 2"},
    {{.op = VEER_OP_MATMUL, .in = {SHAPE(2, 3), SHAPE(2, 3)}}, "inner dims of f64[2,3] and f64[2,3] are 3 and 2"},
    {{.op = VEER_OP_MATMUL, .in = {SHAPE(2, 1, 3), SHAPE(3, 3, 1)}}, "leading dims"},
    {{.op = VEER_OP_ATTENTION, .in = {SHAPE(1, 2, 3, 4), SHAPE(1, 2, 5, 4), SHAPE(1, 2, 4, 4)}},
     "k is f64[1,2,5,4] and v is f64[1,2,4,4], expected the same length"},
    {{.op = VEER_OP_ATTENTION, .in = {SHAPE(1, 2, 3, 4), SHAPE(1, 2, 5, 4), SHAPE(1, 2, 5, 4), SHAPE(3, 4)}},
     "mask is f64[3,4], expected something that broadcasts to f64[1,2,3,5]"},
    {{.op = VEER_OP_ATTENTION_GRAD, .in = {SHAPE(1, 2, 3, 4), SHAPE(1, 2, 5, 4), SHAPE(1, 2, 5, 4), SHAPE(1, 2, 5, 4)}},
     "dy is f64[1,2,5,4], expected f64[1,2,3,4]"},
    {{.op = VEER_OP_CONV, .in = {SHAPE(1, 2, 3), SHAPE(1, 2, 5)}, .attrs = ATTRS(WINDOW(1, 0, 0, 1))},
     "the window spans 5 inputs, the padded input has only 3"},
    {{.op = VEER_OP_CONV, .in = {SHAPE(1, 3, 5), SHAPE(2, 2, 2)}, .attrs = ATTRS(WINDOW(1, 0, 0, 1))},
     "the input has 3 channels in 1 groups, the weight expects 2"},
    {{.op = VEER_OP_CONV, .in = {SHAPE(1, 2, 5), SHAPE(1, 2, 2)}, .attrs = ATTRS(WINDOW(0, 0, 0, 1))},
     "strides[0] is 0, expected 1 to 2147483647"},
    {{.op = VEER_OP_CONV, .in = {SHAPE(1, 2, 5, 5), SHAPE(1, 2, 2, 2)}, .attrs = ATTRS(WINDOW(1, 0, 0, 1))},
     "strides has 1 entries, expected 2"},
    {{.op = VEER_OP_CONV_TRANSPOSE,
      .in = {SHAPE(1, 1, 2), SHAPE(1, 1, 2)},
      .attrs = ATTRS(WINDOW(1, 2, 2, 1), INTS("output_padding", 0))},
     "the output size is -1: the pads cut all of it away"},
    {{.op = VEER_OP_CONV_TRANSPOSE,
      .in = {SHAPE(1, 1, 65536), SHAPE(1, 1, 2)},
      .attrs = ATTRS(WINDOW(INT32_MAX, 0, 0, 1), INTS("output_padding", 0))},
     "larger than the limit"},
    {{.op = VEER_OP_MAX_POOL, .in = {SHAPE(1, 1, 2)}, .attrs = ATTRS(INTS("kernel", 2), WINDOW(1, 3, 0, 1))},
     "the window at output 0 sees only padding"},
    {{.op = VEER_OP_AVG_POOL, .in = {SHAPE(1, 1, 2)}, .attrs = ATTRS(INTS("kernel", 2), WINDOW(1, 0, 3, 1))},
     "the window at output 2 sees only padding"},
    {{.op = VEER_OP_RESIZE,
      .in = {SHAPE(2)},
      .attrs = ATTRS(INTS("dims", 4), FLOATS("scales", 2.0), STRING("mode", "bicubic"))},
     "mode is 'bicubic', expected one of nearest, linear, cubic"},
    {{.op = VEER_OP_RESIZE,
      .in = {SHAPE(2)},
      .attrs = ATTRS(INTS("dims", 4), FLOATS("scales", 0.0), STRING("mode", "linear"))},
     "scales[0] is 0, expected a number above 0"},
    {{.op = VEER_OP_NEAREST, .in = {SHAPE(2, 3), SHAPE(4, 2)}}, "table is f64[4,2], expected f64[V,3] for x f64[2,3]"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        veer_graph_t *g;
        veer_func_t f;
        const op_case_t *c = &refusals[i].node;
        veer_value_t in[OP_CASE_OPERANDS];
        op_case_ok(veer_graph_create(*heap(), &g), "create");
        op_case_ok(veer_graph_add_func(g, "f", &f), "add_func");
        for (int k = 0; k < op_case_operands(c); k++)
            op_case_ok(veer_region_add_arg(g, veer_func_body(g, f),
                                           veer_type_make(VEER_DTYPE_F64, c->in[k].rank, c->in[k].dims), "x", &in[k]),
                       "add_arg");
        veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
        veer_build_node(&b, c->op, in, op_case_operands(c), c->attrs);
        veer_status_t status = veer_builder_status(&b);
        if (!status || !strstr(veer_status_message(status, 0), refusals[i].message)) {
            print_error("%s: got '%s', expected '%s'\n", veer_op_name(c->op),
                        status ? veer_status_message(status, 0) : "ok", refusals[i].message);
            fail();
        }
        veer_status_free(status);
        veer_graph_destroy(g);
    }
}

int main(void) {
    printf("operands: seed 12345 + 777 * operand\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f64),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_channels_last),
        cmocka_unit_test(test_max_pool_indices),
        cmocka_unit_test(test_attention_masked_keys),
        cmocka_unit_test(test_attention_grad),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_resize_integers),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
