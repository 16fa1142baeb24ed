/* Every op's gradient against central differences, in double on the reference backend.
 *
 * With random weights v (ones would hide errors: a softmax's row sums to 1) and L(x) = sum v y(x), the gradient pass
 * gives dL/dx; each element is compared with (L(x + h) - L(x - h)) / 2h. Step h = 1e-5: truncation h^2 |L'''| / 6 stays
 * below 1e-8, rounding 2^-53 |L| / h below 1e-9 for the sizes here; the bound 1e-6 leaves room for third derivatives of
 * 100s. To add an op: one row in `cases`. A row may be there for each operand kind, mode and attribute that the rule
 * looks at. */
#include "ir/gradient.h"
#include "tests/grad/second.h"

#define STEP  1e-5
#define BOUND 1e-6
#define SEED  20240607

#define ONE(op, fill)                                                                                                  \
    {                                                                                                                  \
#op, VEER_OP_##op, {                                                                                           \
            fill(2, 5)                                                                                                 \
        }                                                                                                              \
    }
#define PAD(mode_name, ...)                                                                                            \
    {                                                                                                                  \
        "pad " mode_name, VEER_OP_PAD, {ANY(2, 4)}, {                                                                  \
            LIST("before", 0, 3), LIST("after", 1, 2), VEER_STRING("mode", mode_name)                                  \
        }                                                                                                              \
    }
#define SLICE(text, ...)                                                                                               \
    {                                                                                                                  \
        "slice " text, VEER_OP_SLICE, {ANY(7, 5)}, {                                                                   \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define REDUCE(op, fill)                                                                                               \
    {#op, VEER_OP_##op, {fill(2, 3, 4)}, {LIST("axes", 1)}}, {                                                         \
#op " keepdims", VEER_OP_##op, {fill(2, 3, 4) }, {                                                             \
            LIST("axes", 0, 2), VEER_INT("keepdims", 1)                                                                \
        }                                                                                                              \
    }

static const op_row_t cases[] = {
    /* elementwise, one operand */
    ONE(NEG, ANY),
    ONE(ABS, ANY),
    ONE(EXP, ANY),
    ONE(LOG, POSITIVE),
    ONE(SQRT, POSITIVE),
    ONE(RSQRT, POSITIVE),
    ONE(RECIPROCAL, ANY),
    ONE(SIN, ANY),
    ONE(COS, ANY),
    ONE(ATAN, ANY),
    ONE(TANH, ANY),
    ONE(SIGMOID, ANY),
    ONE(SOFTPLUS, ANY),
    ONE(ERF, ANY),
    ONE(RELU, ANY),
    ONE(SILU, ANY),
    ONE(GELU, ANY),
    {"gelu tanh", VEER_OP_GELU, {ANY(2, 5)}, {VEER_STRING("approximate", "tanh")}},
    {"cast", VEER_OP_CAST, {ANY(2, 5)}, {VEER_INT("to", VEER_DTYPE_F64)}},
    /* elementwise, broadcast both ways */
    {"add", VEER_OP_ADD, {ANY(2, 1, 3), ANY(4, 1)}},
    {"sub", VEER_OP_SUB, {ANY(2, 1, 3), ANY(4, 1)}},
    {"mul", VEER_OP_MUL, {ANY(2, 1, 3), ANY(4, 1)}},
    {"div", VEER_OP_DIV, {ANY(2, 1, 3), ANY(4, 1)}},
    {"pow", VEER_OP_POW, {POSITIVE(2, 1, 3), ANY(4, 1)}},
    {"pow negative base", VEER_OP_POW, {ANY(3), VALUES(VEER_DTYPE_I64, ((const double[]){2, 3, -1}), 3)}},
    {"pow constant 1", VEER_OP_POW, {ANY(5), CONSTANT(VEER_DTYPE_F64, ((const double[]){1}), 1)}},
    {"pow constant 2", VEER_OP_POW, {ANY(5), CONSTANT(VEER_DTYPE_I64, ((const double[]){2}), 1)}},
    {"pow constant -0.5", VEER_OP_POW, {POSITIVE(5), CONSTANT(VEER_DTYPE_F32, ((const double[]){-0.5}), 1)}},
    {"pow constants", VEER_OP_POW, {ANY(3), CONSTANT(VEER_DTYPE_F64, ((const double[]){2, 3, 0}), 3)}},
    {"min", VEER_OP_MIN, {ANY(2, 1, 3), ANY(4, 1)}},
    {"max", VEER_OP_MAX, {ANY(2, 1, 3), ANY(4, 1)}},
    {"mod",
     VEER_OP_MOD,
     {VALUES(VEER_DTYPE_F64, ((const double[]){5.3, -7.2, 1.1}), 3), POSITIVE(2, 1)},
     {VEER_INT("fmod", 1)}},
    {"where", VEER_OP_WHERE, {BOOLS(4, 3), ANY(2, 1, 3), ANY(4, 1)}},
    /* moves */
    {"reshape", VEER_OP_RESHAPE, {ANY(2, 6)}, {LIST("dims", 3, 4)}},
    {"transpose", VEER_OP_TRANSPOSE, {ANY(2, 3, 4)}, {LIST("perm", 2, 0, 1)}},
    {"broadcast", VEER_OP_BROADCAST, {ANY(3, 1)}, {LIST("dims", 2, 3, 4)}},
    SLICE("forward", LIST("starts", 1, 0), LIST("sizes", 4, 5), LIST("steps", 1, 1)),
    SLICE("strided", LIST("starts", 0, 1), LIST("sizes", 4, 2), LIST("steps", 2, 3)),
    SLICE("backward", LIST("starts", 6, 3), LIST("sizes", 7, 2), LIST("steps", -1, -2)),
    SLICE("strided past the end", LIST("starts", 1, 4), LIST("sizes", 2, 1), LIST("steps", 4, 9)),
    {"concat", VEER_OP_CONCAT, {ANY(2, 1, 3), ANY(2, 4, 3), ANY(2, 2, 3)}, {VEER_INT("axis", 1)}},
    PAD("constant"),
    PAD("edge"),
    PAD("wrap"),
    PAD("reflect"),
    {"pad wrap, more than once",
     VEER_OP_PAD,
     {ANY(3)},
     {LIST("before", 7), LIST("after", 5), VEER_STRING("mode", "wrap")}},
    {"pad reflect, more than once",
     VEER_OP_PAD,
     {ANY(3)},
     {LIST("before", 7), LIST("after", 5), VEER_STRING("mode", "reflect")}},
    {"pad reflect of two",
     VEER_OP_PAD,
     {ANY(2, 2)},
     {LIST("before", 1, 0), LIST("after", 1, 3), VEER_STRING("mode", "reflect")}},
    {"pad reflect of one",
     VEER_OP_PAD,
     {ANY(2, 1)},
     {LIST("before", 0, 2), LIST("after", 0, 1), VEER_STRING("mode", "reflect")}},
    {"gather", VEER_OP_GATHER, {ANY(2, 4, 3), INDEX(4, 3, 2)}, {VEER_INT("axis", 1)}},
    {"gather one",
     VEER_OP_GATHER,
     {ANY(4, 3), {FILL_INDEX, OP_SCALAR(VEER_DTYPE_I32), 4, NULL}},
     {VEER_INT("axis", 0)}},
    {"gather_elements", VEER_OP_GATHER_ELEMENTS, {ANY(3, 4), INDEX(3, 5, 3)}, {VEER_INT("axis", 0)}},
    {"gather_elements", VEER_OP_GATHER_ELEMENTS, {ANY(3, 4), INDEX(4, 3, 1)}, {VEER_INT("axis", 1)}},
    {"scatter_add", VEER_OP_SCATTER_ADD, {ANY(3, 4), INDEX(4, 2, 6), ANY(2, 6)}, {VEER_INT("axis", 1)}},
    {"scatter_reduce mul",
     VEER_OP_SCATTER_REDUCE,
     {ANY(3, 4), INDEX(4, 2, 6), ANY(2, 6)},
     {VEER_INT("axis", 1), VEER_STRING("mode", "mul")}},
    {"scatter_reduce mul with zeros",
     VEER_OP_SCATTER_REDUCE,
     {VALUES(VEER_DTYPE_F64, ((const double[]){0, 3, 0}), 3), INDEX(3, 7), ANY(7)},
     {VEER_INT("axis", 0), VEER_STRING("mode", "mul")}},
    {"scatter_reduce min",
     VEER_OP_SCATTER_REDUCE,
     {ANY(3, 4), INDEX(4, 2, 6), ANY(2, 6)},
     {VEER_INT("axis", 1), VEER_STRING("mode", "min")}},
    {"scatter_reduce max",
     VEER_OP_SCATTER_REDUCE,
     {ANY(3, 4), INDEX(4, 2, 6), ANY(2, 6)},
     {VEER_INT("axis", 1), VEER_STRING("mode", "max")}},
    {"top_k", VEER_OP_TOP_K, {DISTINCT(2, 5, 3)}, {VEER_INT("axis", 1), VEER_INT("k", 3)}},
    {"top_k smallest",
     VEER_OP_TOP_K,
     {DISTINCT(2, 5)},
     {VEER_INT("axis", 1), VEER_INT("k", 2), VEER_INT("largest", 0)}},
    /* reductions */
    REDUCE(REDUCE_SUM, ANY),
    REDUCE(REDUCE_MEAN, ANY),
    REDUCE(REDUCE_MAX, DISTINCT),
    REDUCE(REDUCE_MIN, DISTINCT),
    REDUCE(REDUCE_PROD, ANY),
    {"reduce_prod with zeros",
     VEER_OP_REDUCE_PROD,
     {VALUES(VEER_DTYPE_F64, ((const double[]){2, 3, 4, 5, 0, 6, 0, 7, 0}), 3, 3)},
     {LIST("axes", 1)}},
    {"cumsum", VEER_OP_CUMSUM, {ANY(2, 5, 3)}, {VEER_INT("axis", 1)}},
    {"cumsum exclusive", VEER_OP_CUMSUM, {ANY(2, 5)}, {VEER_INT("axis", 1), VEER_INT("exclusive", 1)}},
    {"cumsum reverse", VEER_OP_CUMSUM, {ANY(2, 5)}, {VEER_INT("axis", 1), VEER_INT("reverse", 1)}},
    /* rows */
    {"softmax", VEER_OP_SOFTMAX, {ANY(2, 5, 3)}, {VEER_INT("axis", 1)}},
    {"log_softmax", VEER_OP_LOG_SOFTMAX, {ANY(2, 5, 3)}, {VEER_INT("axis", 1)}},
    {"layer_norm",
     VEER_OP_LAYER_NORM,
     {ANY(2, 3, 4), ANY(3, 4), ANY(4)},
     {VEER_INT("axis", 1), VEER_FLOAT("eps", 1e-3)}},
    {"layer_norm, bare",
     VEER_OP_LAYER_NORM,
     {ANY(2, 5), ABSENT, ABSENT},
     {VEER_INT("axis", 1), VEER_FLOAT("eps", 1e-3)}},
    {"rms_norm", VEER_OP_RMS_NORM, {ANY(2, 3, 4), ANY(4)}, {VEER_INT("axis", 2), VEER_FLOAT("eps", 1e-3)}},
    {"group_norm",
     VEER_OP_GROUP_NORM,
     {ANY(2, 4, 3), ANY(4), ANY(4)},
     {VEER_INT("groups", 2), VEER_FLOAT("eps", 1e-3)}},
    {"group_norm, channels last, bare",
     VEER_OP_GROUP_NORM,
     {ANY(2, 3, 4)},
     {VEER_INT("groups", 2), VEER_FLOAT("eps", 1e-3), VEER_INT("channels_last", 1)}},
    {"group_norm_grad",
     VEER_OP_GROUP_NORM_GRAD,
     {ANY(2, 4, 3), ANY(2, 4, 3)},
     {VEER_INT("groups", 2), VEER_FLOAT("eps", 1e-2)}},
    {"group_norm_grad, channels last",
     VEER_OP_GROUP_NORM_GRAD,
     {ANY(1, 2, 3, 4), ANY(1, 2, 3, 4)},
     {VEER_INT("groups", 2), VEER_FLOAT("eps", 1e-2), VEER_INT("channels_last", 1)}},
    /* contractions */
    {"matmul", VEER_OP_MATMUL, {ANY(2, 1, 3, 4), ANY(3, 4, 2)}},
    {"matmul transposed", VEER_OP_MATMUL, {ANY(2, 4, 3), ANY(2, 4)}, {VEER_INT("trans_a", 1), VEER_INT("trans_b", 1)}},
    {"attention",
     VEER_OP_ATTENTION,
     {ANY(2, 2, 3, 4), ANY(2, 2, 5, 4), ANY(2, 2, 5, 3), ANY(2, 1, 1, 5)},
     {VEER_FLOAT("scale", 0.5)}},
    {"attention, by a node of its own",
     VEER_OP_ATTENTION,
     {ANY(2, 2, 3, 4), ANY(2, 2, 5, 4), ANY(2, 2, 5, 3)},
     {VEER_FLOAT("scale", 0.5)}},
    {"attention_grad",
     VEER_OP_ATTENTION_GRAD,
     {ANY(1, 2, 3, 4), ANY(1, 2, 5, 4), ANY(1, 2, 5, 3), ANY(1, 2, 3, 3), ANY(3, 5)},
     {VEER_FLOAT("scale", 0.5)}},
    {"conv",
     VEER_OP_CONV,
     {ANY(2, 4, 5, 4), ANY(6, 2, 3, 2), ANY(6)},
     {LIST("strides", 2, 1), LIST("pads_before", 1, 0), LIST("pads_after", 1, 1), LIST("dilations", 1, 2),
      VEER_INT("groups", 2)}},
    {"conv_transpose",
     VEER_OP_CONV_TRANSPOSE,
     {ANY(2, 4, 3, 3), ANY(4, 2, 3, 2), ANY(4)},
     {LIST("strides", 2, 1), LIST("pads_before", 1, 0), LIST("pads_after", 0, 1), LIST("dilations", 1, 2),
      LIST("output_padding", 1, 0), VEER_INT("groups", 2)}},
    /* pooling and resampling */
    {"max_pool",
     VEER_OP_MAX_POOL,
     {DISTINCT(2, 2, 5, 4)},
     {LIST("kernel", 3, 2), LIST("strides", 2, 1), LIST("pads_before", 1, 0), LIST("pads_after", 1, 0),
      LIST("dilations", 1, 1)}},
    {"avg_pool",
     VEER_OP_AVG_POOL,
     {ANY(2, 2, 5, 4)},
     {LIST("kernel", 3, 2), LIST("strides", 2, 1), LIST("pads_before", 1, 0), LIST("pads_after", 1, 0),
      LIST("dilations", 1, 1)}},
    {"resize linear",
     VEER_OP_RESIZE,
     {ANY(1, 2, 3, 4)},
     {LIST("dims", 1, 2, 6, 6), VEER_FLOATS("scales", ((const double[]){1, 1, 2, 1.5}), 4),
      VEER_STRING("mode", "linear"), VEER_STRING("coordinate", "half_pixel")}},
};
enum { CASE_COUNT = (int)(sizeof cases / sizeof *cases) };

/* ---- the gradient of @f ---- */
typedef struct gradient_s {
    op_run_t run;
    veer_func_t func;             /* @df: the arguments of @f, then dL/dy -> gradient per floating argument */
    int64_t wrt[OP_ROW_OPERANDS]; /* the floating arguments */
    int wrt_count;
    veer_tensor_t args[OP_ROW_OPERANDS + 1], d[OP_ROW_OPERANDS];
} gradient_t;

static void gradient_build(gradient_t *s) {
    veer_graph_t *g = s->run.g;
    veer_value_t in[OP_ROW_OPERANDS + 1], out[OP_ROW_OPERANDS];
    int count = s->run.count;
    require_ok(veer_graph_add_func(g, "df", &s->func));
    veer_region_t body = veer_func_body(g, s->func);
    for (int i = 0; i <= count; i++)
        require_ok(veer_region_add_arg(g, body, i < count ? s->run.args[i].type : s->run.type, "", &in[i]));
    veer_builder_t b = veer_builder_at_end(g, body);
    veer_node_t grad = veer_build_node(
        &b, VEER_OP_GRAD, in, count + 1,
        VEER_ATTRS(VEER_STRING("callee", "f"), VEER_INT("of", 0), VEER_INTS("wrt", s->wrt, s->wrt_count)));
    require_ok(veer_builder_status(&b));
    for (int i = 0; i < s->wrt_count; i++) out[i] = veer_node_out(g, grad, 1 + i);
    veer_builder_return(&b, out, s->wrt_count);
    require_ok(veer_builder_status(&b));
    require_ok(veer_gradient_expand(g, grad));
}

/* Evaluates @df at the run's operands; `weights` may be NULL for ones. */
static void gradient_init(gradient_t *s, const op_row_t *c, const veer_tensor_t *weights) {
    *s = (gradient_t){0};
    op_run_init(&s->run, c, SEED);
    for (int i = 0; i < s->run.count; i++)
        if (veer_dtype_is_float(s->run.args[i].type.dtype)) s->wrt[s->wrt_count++] = i;
    gradient_build(s);
    veer_tensor_t d_out = tensor_make(s->run.type);
    for (int64_t i = 0; i < veer_type_count(&d_out.type); i++)
        tensor_set(&d_out, i, weights ? veer_load_double(weights, i) : 1);
    for (int i = 0; i < s->run.count; i++) s->args[i] = s->run.args[i];
    s->args[s->run.count] = d_out;
    require_ok(
        veer_reference_eval(s->run.g, s->func, s->args, s->run.count + 1, veer_allocator_system(), s->d, s->wrt_count));
    tensor_free(&d_out);
}

static void gradient_deinit(gradient_t *s) {
    for (int i = 0; i < s->wrt_count; i++) tensor_free(&s->d[i]);
    op_run_deinit(&s->run);
}

/* ---- finite differences ---- */
static double weighted_sum(op_run_t *r, const veer_tensor_t *weights) {
    veer_tensor_t y = op_run_eval(r);
    double sum = 0;
    for (int64_t i = 0; i < veer_type_count(&y.type); i++)
        sum += veer_load_double(&y, i) * veer_load_double(weights, i);
    tensor_free(&y);
    return sum;
}

static double difference(op_run_t *r, const veer_tensor_t *weights, const veer_tensor_t *x, int64_t i) {
    double middle = veer_load_double(x, i);
    tensor_set(x, i, middle + STEP);
    double above = weighted_sum(r, weights);
    tensor_set(x, i, middle - STEP);
    double below = weighted_sum(r, weights);
    tensor_set(x, i, middle);
    return (above - below) / (2 * STEP);
}

static void check_operand(gradient_t *s, const veer_tensor_t *weights, int k) {
    const veer_tensor_t *x = &s->run.args[s->wrt[k]];
    double largest = 0;
    for (int64_t i = 0; i < veer_type_count(&x->type); i++) {
        double got = veer_load_double(&s->d[k], i), want = difference(&s->run, weights, x, i);
        if (!(fabs(got - want) <= BOUND * fmax(1, fabs(want))))
            fail_msg("%s: gradient to argument %d, element %d is %.9g, differences give %.9g", s->run.c->label,
                     (int)s->wrt[k], (int)i, got, want);
        largest = fmax(largest, fabs(got));
    }
    if (!(largest > 1e-3)) fail_msg("%s: gradient to argument %d is all zero", s->run.c->label, (int)s->wrt[k]);
}

static void check_case(const op_row_t *c) {
    op_run_t shape;
    require_ok(op_run_build(&shape, c));
    veer_tensor_t weights = tensor_make(shape.type);
    op_run_deinit(&shape);
    uint64_t state = SEED + 1;
    tensor_fill(&weights, &(operand_t){.fill = FILL_ANY}, &state);
    gradient_t s;
    gradient_init(&s, c, &weights);
    for (int k = 0; k < s.wrt_count; k++) check_operand(&s, &weights, k);
    gradient_deinit(&s);
    tensor_free(&weights);
}

static void gradients_agree_with_differences(void **state) {
    (void)state;
    print_message("seed %d, %d cases\n", SEED, CASE_COUNT);
    for (int i = 0; i < CASE_COUNT; i++) check_case(&cases[i]);
}

/* The gradient of each gradient: see tests/grad/second.h. */
static void second_derivatives_agree_with_differences(void **state) {
    (void)state;
    for (int i = 0; i < CASE_COUNT; i++) {
        gradient_t s;
        second_t second;
        double largest = 0;
        gradient_init(&s, &cases[i], NULL);
        uint64_t random = SEED + 1;
        int count = s.run.count;
        s.args[count] = random_tensor(s.run.type, &random);
        second_init(&second, s.run.g, s.func, s.args, count + 1, s.wrt_count, SEED + 2);
        for (int k = 0; k <= count; k++) {
            if (!second.d[k].data) continue;
            double error = second_error(&second, k, &largest);
            if (!(error <= BOUND))
                fail_msg("%s: second derivative by argument %d is off by %g", cases[i].label, k, error);
        }
        if (!(largest > 1e-3)) fail_msg("%s: the gradient's gradient by the weights is all zero", cases[i].label);
        second_deinit(&second);
        tensor_free(&s.args[count]);
        gradient_deinit(&s);
    }
}

/* A rule without a row here is a rule nobody checked. */
static void every_gradient_has_a_case(void **state) {
    (void)state;
    for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++) {
        const veer_op_def_t *def = veer_op_def(op);
        if (def->grad == veer_grad_none || def->grad == veer_grad_missing) continue;
        if (op == VEER_OP_ROUND) continue; /* zero, or what differences cannot see: in `kinks` */
        if (op == VEER_OP_GRAD) continue;  /* in test_grad_twice.c */
        bool found = false;
        for (int i = 0; i < CASE_COUNT; i++) found |= cases[i].op == op;
        if (!found) fail_msg("no gradient case for %s", def->name);
    }
}

/* ---- kinks and ties, which differences cannot see: as PyTorch has them ---- */
static void expect_gradient(const op_row_t *c, int k, const double *want) {
    gradient_t s;
    gradient_init(&s, c, NULL);
    for (int64_t i = 0; i < veer_type_count(&s.d[k].type); i++)
        if (veer_load_double(&s.d[k], i) != want[i])
            fail_msg("%s: element %d is %g, expected %g", c->label, (int)i, veer_load_double(&s.d[k], i), want[i]);
    gradient_deinit(&s);
}

static void kinks(void **state) {
    (void)state;
    const double x[] = {-1, 0, 2};
    expect_gradient(&(op_row_t){"relu", VEER_OP_RELU, {VALUES(VEER_DTYPE_F64, x, 3)}}, 0, (double[]){0, 0, 1});
    expect_gradient(&(op_row_t){"abs", VEER_OP_ABS, {VALUES(VEER_DTYPE_F64, x, 3)}}, 0, (double[]){-1, 0, 1});
    expect_gradient(&(op_row_t){"round", VEER_OP_ROUND, {VALUES(VEER_DTYPE_F64, x, 3)}}, 0, (double[]){0, 0, 0});
    op_row_t through = {
        "round, straight through", VEER_OP_ROUND, {VALUES(VEER_DTYPE_F64, x, 3)}, {VEER_INT("straight_through", 1)}};
    expect_gradient(&through, 0, (double[]){1, 1, 1});
    op_row_t power = {"pow at 0",
                      VEER_OP_POW,
                      {VALUES(VEER_DTYPE_F64, ((const double[]){0, 0, 0}), 3),
                       VALUES(VEER_DTYPE_F64, ((const double[]){0, 1, 2}), 3)}};
    expect_gradient(&power, 0, (double[]){0, 1, 0});
    expect_gradient(&power, 1, (double[]){0, 0, 0});
}

/* x^0 is 1 everywhere: no gradient, also at 0. */
static void powers_of_zero(void **state) {
    (void)state;
    op_row_t c = {
        "pow constant 0",
        VEER_OP_POW,
        {VALUES(VEER_DTYPE_F64, ((const double[]){0, 3}), 2), CONSTANT(VEER_DTYPE_F32, ((const double[]){0}), 1)}};
    expect_gradient(&c, 0, (double[]){0, 0});
}

/* d/dx of v d/dx x^y at x = 0: nothing infinite, also where the first rule chose another branch. */
static void second_powers_of_zero(void **state) {
    (void)state;
    op_row_t c = {"pow at 0",
                  VEER_OP_POW,
                  {VALUES(VEER_DTYPE_F64, ((const double[]){0, 0, 0, 0}), 4),
                   VALUES(VEER_DTYPE_F64, ((const double[]){0, 1, 2, 3}), 4)}};
    const double curvature[] = {0, 0, 2, 0};
    gradient_t s;
    second_t second;
    gradient_init(&s, &c, NULL);
    s.args[2] = tensor_make(s.run.type);
    for (int i = 0; i < 4; i++) tensor_set(&s.args[2], i, 1);
    second_init(&second, s.run.g, s.func, s.args, 3, 2, SEED);
    for (int i = 0; i < 4; i++) {
        assert_true(veer_load_double(&second.d[0], i) == veer_load_double(&second.v[0], i) * curvature[i]);
        assert_true(isfinite(veer_load_double(&second.d[1], i)) && isfinite(veer_load_double(&second.d[2], i)));
    }
    second_deinit(&second);
    tensor_free(&s.args[2]);
    gradient_deinit(&s);
}

static void ties_share(void **state) {
    (void)state;
    const double x[] = {1, 2, 3}, y[] = {1, 3, 2}, z[] = {5, 1, 5, 5, 2, 2};
    op_row_t larger = {"max", VEER_OP_MAX, {VALUES(VEER_DTYPE_F64, x, 3), VALUES(VEER_DTYPE_F64, y, 3)}};
    op_row_t smaller = {"min", VEER_OP_MIN, {VALUES(VEER_DTYPE_F64, x, 3), VALUES(VEER_DTYPE_F64, y, 3)}};
    expect_gradient(&larger, 0, (double[]){0.5, 0, 1});
    expect_gradient(&larger, 1, (double[]){0.5, 1, 0});
    expect_gradient(&smaller, 0, (double[]){0.5, 1, 0});
    expect_gradient(&smaller, 1, (double[]){0.5, 0, 1});
    op_row_t row_max = {"reduce_max", VEER_OP_REDUCE_MAX, {VALUES(VEER_DTYPE_F64, z, 2, 3)}, {LIST("axes", 1)}};
    op_row_t row_min = {"reduce_min", VEER_OP_REDUCE_MIN, {VALUES(VEER_DTYPE_F64, z, 2, 3)}, {LIST("axes", 1)}};
    expect_gradient(&row_max, 0, (double[]){0.5, 0, 0.5, 1, 0, 0});
    expect_gradient(&row_min, 0, (double[]){0, 1, 0, 0, 0.5, 0.5});
}

/* The checker itself: a wrong rule must be seen, so differences of x^2 are not those of 2x^2. */
static void differences_see_a_factor(void **state) {
    (void)state;
    op_row_t square = {"square", VEER_OP_POW, {ANY(4), VALUES(VEER_DTYPE_I64, ((const double[]){2, 2, 2, 2}), 4)}};
    op_run_t r;
    op_run_init(&r, &square, SEED);
    veer_tensor_t weights = tensor_make(r.type);
    for (int i = 0; i < 4; i++) tensor_set(&weights, i, 1);
    for (int i = 0; i < 4; i++) {
        double x = veer_load_double(&r.args[0], i), d = difference(&r, &weights, &r.args[0], i);
        assert_true(fabs(d - 2 * x) < BOUND && fabs(d - 4 * x) > 1e3 * BOUND);
    }
    tensor_free(&weights);
    op_run_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_see_a_factor),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(second_derivatives_agree_with_differences),
        cmocka_unit_test(every_gradient_has_a_case),
        cmocka_unit_test(kinks),
        cmocka_unit_test(powers_of_zero),
        cmocka_unit_test(second_powers_of_zero),
        cmocka_unit_test(ties_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
