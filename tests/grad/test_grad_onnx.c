/* The report of gradients: every ONNX operator of frontend/onnx/forms.def as a model of its own, its gradient against
 * central differences in double on the reference backend with random output weights, and against torch.autograd where
 * /usr/bin/python3 has PyTorch; then the gradient of the gradient in the same two ways. Prints a line per form:
 *
 *     operator (opset) attributes      largest |gradient|, error by differences, by autograd      the same, second
 *
 * Second: h(x, w) = sum of v * d/dx (sum of w * y(x)) with random v, differentiated by x (the Hessian) and by the
 * weights w (the Jacobian, which no rule may lose), against differences of the first gradient.
 * Steps and bounds as in test_grad_ops.c. ONNX's documentation marks inputs as differentiable: `documented` are the
 * operators that have such inputs, each must have a row. */
#include "frontend/onnx_form.h"
#include "frontend/onnx_import.h"
#include "tests/grad/second.h"
#include "tests/unit/onnx_bytes.h"
#include "tests/unit/temp_folder.h"

#define STEP           1e-5
#define BOUND          1e-6
#define AUTOGRAD_BOUND 1e-6
#define SEED           20251122

static const struct row_s {
    const char *op;
    int opset;
    const char *attrs, *operands, *torch;
    bool zero;
} rows[] = {
#define ROW(op, opset, attrs, operands, torch) {#op, opset, attrs, operands, torch, false},
#define ZERO(op, opset, attrs, operands)       {#op, opset, attrs, operands, NULL, true},
#include "frontend/onnx/forms.def"
};
typedef struct row_s row_t;
enum { ROW_COUNT = sizeof rows / sizeof *rows, MAX_OPERANDS = VEER_ONNX_FORM_OPERANDS };

/* Operators of the default domain with a differentiable input, from the schemas of ONNX 1.12 and the pages of later
 * operator sets. */
static const char documented[] =
    "Abs Acos Acosh Add Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Celu Clip Compress Concat "
    "Conv ConvTranspose Cos Cosh CumSum DepthToSpace Det Div Dropout Einsum Elu Erf Exp Expand Flatten GRU Gather "
    "GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample HardSigmoid HardSwish "
    "Hardmax Identity InstanceNormalization LRN LSTM LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul Max "
    "MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mod Mul Neg NegativeLogLikelihoodLoss PRelu Pad "
    "Pow RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare Relu Reshape Resize Scatter ScatterElements ScatterND Selu Shrink Sigmoid Sin Sinh "
    "Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh "
    "ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where "
    "AffineGrid Attention CenterCropPad Col2Im DFT DeformConv Gelu GroupNormalization LayerNormalization Mish "
    "RMSNormalization ReverseSequence RoiAlign RotaryEmbedding STFT Swish Upsample";

typedef struct case_s {
    const row_t *row;
    veer_arena_t arena; /* of the operands */
    veer_onnx_form_operand_t in[MAX_OPERANDS];
    int in_count;
    veer_graph_t *g;
    veer_func_t func, df;
    veer_tensor_t args[MAX_OPERANDS + 1], d[MAX_OPERANDS], weights; /* args of func, then the weights for df */
    second_t second;                                                /* its gradients, by args and weights */
    int arg_count, arg_operand[MAX_OPERANDS];
    struct {
        double largest, error, autograd; /* autograd < 0: not compared */
    } report[2];                         /* first and second derivatives */
} case_t;

/* ---- the model ---- */

static void import(case_t *c) {
    veer_onnx_form_t form = {c->row->op, NULL, c->row->opset, c->row->attrs, c->row->operands};
    veer_text_t model = veer_text_make(veer_allocator_system());
    veer_arena_init(&c->arena, veer_allocator_system());
    require_ok(veer_onnx_form_operands(&form, VEER_DTYPE_F64, SEED, &c->arena, c->in, &c->in_count));
    require_ok(veer_onnx_form_write(&form, c->in, c->in_count, &model));
    veer_onnx_options_t options = {.eval = veer_reference_node};
    require_ok(veer_graph_create(veer_allocator_system(), &c->g));
    veer_status_t status = veer_onnx_import_memory(c->g, model.data, model.length, "f", &options, &c->func);
    veer_text_deinit(&model);
    if (status) fail_msg("%s %s: %s", c->row->op, c->row->attrs, veer_status_message(status, 0));
    for (int i = 0; i < c->in_count; i++)
        if (c->in[i].is_input) {
            c->arg_operand[c->arg_count] = i;
            c->args[c->arg_count++] = c->in[i].tensor;
        }
    assert_int_equal(veer_region_arg_count(c->g, veer_func_body(c->g, c->func)), c->arg_count);
}

/* ---- its gradient ---- */

static veer_type_t result_type(const case_t *c) {
    veer_region_t body = veer_func_body(c->g, c->func);
    return *veer_value_type(c->g, veer_region_result(c->g, body, 0));
}

/* @df: the arguments of @f and the weights -> a gradient per argument. */
static void differentiate(case_t *c) {
    veer_value_t in[MAX_OPERANDS + 1], out[MAX_OPERANDS];
    int64_t wrt[MAX_OPERANDS];
    require_ok(veer_graph_add_func(c->g, "df", &c->df));
    veer_region_t body = veer_func_body(c->g, c->df);
    for (int i = 0; i <= c->arg_count; i++)
        require_ok(veer_region_add_arg(c->g, body, i < c->arg_count ? c->args[i].type : result_type(c), "", &in[i]));
    veer_builder_t b = veer_builder_at_end(c->g, body);
    for (int i = 0; i < c->arg_count; i++) wrt[i] = i;
    veer_node_t grad = veer_builder_grad(&b, c->func, in, c->arg_count, 0, in[c->arg_count], wrt, c->arg_count);
    require_ok(veer_builder_status(&b));
    for (int i = 0; i < c->arg_count; i++) out[i] = veer_node_out(c->g, grad, 1 + i);
    veer_builder_return(&b, out, c->arg_count);
    require_ok(veer_builder_status(&b));
    require_ok(veer_gradient_expand(c->g, grad));
    c->args[c->arg_count] = c->weights;
    require_ok(
        veer_reference_eval(c->g, c->df, c->args, c->arg_count + 1, veer_allocator_system(), c->d, c->arg_count));
}

static double weighted_sum(const case_t *c) {
    veer_tensor_t y;
    double sum = 0;
    require_ok(veer_reference_eval(c->g, c->func, c->args, c->arg_count, veer_allocator_system(), &y, 1));
    for (int64_t i = 0; i < veer_type_count(&y.type); i++)
        sum += veer_load_double(&y, i) * veer_load_double(&c->weights, i);
    tensor_free(&y);
    return sum;
}

static void compare_with_differences(case_t *c) {
    for (int k = 0; k < c->arg_count; k++) {
        double largest = 0;
        for (int64_t i = 0; i < veer_type_count(&c->args[k].type); i++) {
            double x = veer_load_double(&c->args[k], i), got = veer_load_double(&c->d[k], i);
            tensor_set(&c->args[k], i, x + STEP);
            double above = weighted_sum(c);
            tensor_set(&c->args[k], i, x - STEP);
            double want = (above - weighted_sum(c)) / (2 * STEP), error = fabs(got - want) / fmax(1, fabs(want));
            tensor_set(&c->args[k], i, x);
            if (!(error <= c->report[0].error)) c->report[0].error = error;
            largest = fmax(largest, fabs(got));
        }
        if (c->row->zero != (largest < 1e-6))
            fail_msg("%s %s: gradient to input %d is at most %g", c->row->op, c->row->attrs, c->arg_operand[k],
                     largest);
        c->report[0].largest = fmax(c->report[0].largest, largest);
    }
}

/* ---- the gradient of the gradient ---- */

static void differentiate_again(case_t *c) {
    int count = c->arg_count + 1;
    double largest = 0;
    second_init(&c->second, c->g, c->df, c->args, count, c->arg_count, SEED + 1);
    for (int k = 0; k < count; k++) {
        double error = second_error(&c->second, k, &largest);
        if (!(error <= c->report[1].error)) c->report[1].error = error;
        if (k < c->arg_count) c->report[1].largest = fmax(c->report[1].largest, largest);
    }
    if (c->row->zero != (largest < 1e-6))
        fail_msg("%s %s: the gradient's gradient by the weights is at most %g", c->row->op, c->row->attrs, largest);
}

static void run(case_t *c, const row_t *row) {
    uint64_t state = SEED;
    *c = (case_t){.row = row, .report = {{.autograd = -1}, {.autograd = -1}}};
    import(c);
    c->weights = random_tensor(result_type(c), &state);
    differentiate(c);
    compare_with_differences(c);
    differentiate_again(c);
}

static void release(case_t *c) {
    veer_arena_deinit(&c->arena);
    for (int i = 0; i < c->arg_count; i++) tensor_free(&c->d[i]);
    second_deinit(&c->second);
    tensor_free(&c->weights);
    veer_graph_destroy(c->g);
}

/* ---- torch.autograd ---- */

static void write_values(FILE *file, const veer_tensor_t *t) {
    for (int64_t i = 0; i < veer_type_count(&t->type); i++)
        fprintf(file, "%s%.17g", i ? "," : "[", veer_load_double(t, i));
    fprintf(file, "]");
}

static void write_named(FILE *file, const case_t *c, const char *what, const veer_tensor_t *tensors) {
    fprintf(file, ",\"%s\":{", what);
    for (int k = 0; k < c->arg_count; k++) {
        fprintf(file, "%s\"x%d\":", k ? "," : "", c->arg_operand[k]);
        write_values(file, &tensors[k]);
    }
    fprintf(file, "}");
}

static void write_case(FILE *file, const case_t *c, int row, bool first) {
    const char *separator = "";
    fprintf(file, "%s{\"row\":%d,\"expr\":\"%s\",\"args\":[", first ? "" : ",\n", row, c->row->torch);
    for (int i = 0; i < c->in_count; i++) {
        const veer_tensor_t *t = &c->in[i].tensor;
        if (!t->data) continue;
        fprintf(file, "%s[\"%c%d\",[", separator, c->in[i].is_input ? 'x' : 'c', i);
        for (int k = 0; k < t->type.rank; k++) fprintf(file, "%s%lld", k ? "," : "", (long long)t->type.dims[k]);
        fprintf(file, "],");
        write_values(file, t);
        fprintf(file, "]");
        separator = ",";
    }
    fprintf(file, "],\"weights\":");
    write_values(file, &c->weights);
    write_named(file, c, "grads", c->d);
    write_named(file, c, "v", c->second.v);
    write_named(file, c, "seconds", c->second.d);
    fprintf(file, ",\"by_weights\":");
    write_values(file, &c->second.d[c->arg_count]);
    fprintf(file, "}");
}

/* False where there is no PyTorch. */
static bool compare_with_autograd(case_t *cases) {
    char command[700];
    bool first = true;
    if (system("/usr/bin/python3 -c 'import torch' > /dev/null 2>&1")) return false;
    FILE *file = fopen(temp_path("cases.json"), "w");
    assert_non_null(file);
    fprintf(file, "[");
    for (int i = 0; i < ROW_COUNT; i++)
        if (cases[i].row->torch) write_case(file, &cases[i], i, first), first = false;
    fprintf(file, "]");
    assert_int_equal(fclose(file), 0);
    snprintf(command, sizeof command, "/usr/bin/python3 %s/../grad/onnx_autograd.py %s", VEER_TEST_DATA,
             temp_path("cases.json"));
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    double first_error, second_error;
    for (int row; fscanf(pipe, "%d %lf %lf", &row, &first_error, &second_error) == 3;)
        if (row >= 0 && row < ROW_COUNT)
            cases[row].report[0].autograd = first_error, cases[row].report[1].autograd = second_error;
    assert_int_equal(pclose(pipe), 0);
    return true;
}

/* ---- the report ---- */

static int distinct_ops(const case_t *cases, int order, bool by_autograd) {
    int count = 0;
    for (int i = 0; i < ROW_COUNT; i++) {
        bool known = by_autograd && cases[i].report[order].autograd < 0;
        for (int k = 0; k < i && !known; k++)
            known = !strcmp(rows[k].op, rows[i].op) && (!by_autograd || cases[k].report[order].autograd >= 0);
        count += !known && !rows[i].zero;
    }
    return count;
}

static bool print_row(const case_t *c) {
    char label[100];
    bool good = true;
    snprintf(label, sizeof label, "%s (%d) %s", c->row->op, c->row->opset, c->row->attrs);
    printf("%-76s", label);
    for (int order = 0; order < 2; order++) {
        char autograd[32] = "-";
        double error = c->report[order].error, by_autograd = c->report[order].autograd;
        if (by_autograd >= 0) snprintf(autograd, sizeof autograd, "%.1e", by_autograd);
        printf(" %9.3g %8.1e %8s", c->report[order].largest, error, autograd);
        good &= error <= BOUND && by_autograd <= AUTOGRAD_BOUND;
    }
    printf("%s\n", good ? "" : "  WRONG");
    return good;
}

static void print_total(const case_t *cases, int order, bool autograd) {
    double worst = 0, worst_autograd = 0;
    for (int i = 0; i < ROW_COUNT; i++) {
        worst = fmax(worst, cases[i].report[order].error);
        worst_autograd = fmax(worst_autograd, cases[i].report[order].autograd);
    }
    printf("%s: %d operators in %d forms, worst error by differences %.1e; ",
           order ? "second derivatives" : "gradients", distinct_ops(cases, order, false), ROW_COUNT, worst);
    if (autograd)
        printf("%d operators compared with torch.autograd, worst %.1e\n", distinct_ops(cases, order, true),
               worst_autograd);
    else
        printf("no PyTorch here to compare with\n");
}

static void gradients_agree(void **state) {
    (void)state;
    case_t *cases = calloc(ROW_COUNT, sizeof *cases);
    int wrong = 0;
    for (int i = 0; i < ROW_COUNT; i++) run(&cases[i], &rows[i]);
    bool autograd = compare_with_autograd(cases);
    printf("seed %d\n%-76s %9s %8s %8s %9s %8s %8s\n", SEED, "operator (operator set) attributes", "largest", "differ.",
           "autograd", "second", "differ.", "autograd");
    for (int i = 0; i < ROW_COUNT; i++) {
        wrong += !print_row(&cases[i]);
        if (autograd && rows[i].torch && cases[i].report[0].autograd < 0) fail_msg("%s was not compared", rows[i].op);
    }
    for (int order = 0; order < 2; order++) print_total(cases, order, autograd);
    for (int i = 0; i < ROW_COUNT; i++) release(&cases[i]);
    free(cases);
    assert_int_equal(wrong, 0);
}

static void every_documented_operator_has_a_row(void **state) {
    (void)state;
    for (const char *at = documented; *at;) {
        size_t length = strcspn(at, " ");
        bool found = false;
        for (int i = 0; i < ROW_COUNT; i++) found |= strlen(rows[i].op) == length && !strncmp(rows[i].op, at, length);
        if (!found) fail_msg("no row for %.*s", (int)length, at);
        at += length + (at[length] == ' ');
    }
}

/* ---- nested graphs, which are unrolled ---- */

/* Adds a node with nested graph `body` as attribute `name`, and one more integer attribute where `more` is not NULL. */
static void put_nested(bytes_t *graph, const char *op, const char *in, const char *out, const char *name,
                       const bytes_t *body, const char *more, int64_t value) {
    bytes_t n = node(op, "", in, out), attr = graph_attr(name, body);
    put_message(&n, 5, &attr);
    if (more) {
        bytes_t extra = int_attr(more, value);
        put_message(&n, 5, &extra);
    }
    put_message(graph, NODE, &n);
}

/* y = h after three times h = tanh(h x) + x, from h = x */
static void put_loop(bytes_t *graph) {
    bytes_t body = {0};
    int64_t three = 3;
    uint8_t yes = 1;
    put_node(&body, "Identity", "", "go", "go_on");
    put_node(&body, "Mul", "", "h x", "a");
    put_node(&body, "Tanh", "", "a", "b");
    put_node(&body, "Add", "", "b x", "next");
    put_value(&body, INPUT, "i", INT64, "");
    put_value(&body, INPUT, "go", BOOL, "");
    put_value(&body, INPUT, "h", DOUBLE, "2 3");
    put_value(&body, OUTPUT, "go_on", BOOL, "");
    put_value(&body, OUTPUT, "next", DOUBLE, "2 3");
    bytes_t m = tensor("m", INT64, 0, NULL, &three, sizeof three), c = tensor("c", BOOL, 0, NULL, &yes, 1);
    put_message(graph, INITIALIZER, &m);
    put_message(graph, INITIALIZER, &c);
    put_nested(graph, "Loop", "m c x", "y", "body", &body, NULL, 0);
}

/* y[t] = s after s = s x[t] + x[t], from s = 1 */
static void put_scan(bytes_t *graph) {
    bytes_t body = {0};
    double ones[] = {1, 1, 1};
    put_node(&body, "Mul", "", "s r", "a");
    put_node(&body, "Add", "", "a r", "next");
    put_node(&body, "Identity", "", "next", "row");
    put_value(&body, INPUT, "s", DOUBLE, "3");
    put_value(&body, INPUT, "r", DOUBLE, "3");
    put_value(&body, OUTPUT, "next", DOUBLE, "3");
    put_value(&body, OUTPUT, "row", DOUBLE, "3");
    bytes_t s0 = tensor("s0", DOUBLE, 1, (int64_t[]){3}, ones, sizeof ones);
    put_message(graph, INITIALIZER, &s0);
    put_nested(graph, "Scan", "s0 x", "last y", "body", &body, "num_scan_inputs", 1);
}

/* y = exp(x), the other branch being -x */
static void put_if(bytes_t *graph) {
    bytes_t then = {0}, other = {0}, n = node("If", "", "c", "y");
    uint8_t yes = 1;
    put_node(&then, "Exp", "", "x", "t");
    put_value(&then, OUTPUT, "t", DOUBLE, "2 3");
    put_node(&other, "Neg", "", "x", "e");
    put_value(&other, OUTPUT, "e", DOUBLE, "2 3");
    bytes_t c = tensor("c", BOOL, 0, NULL, &yes, 1), a = graph_attr("then_branch", &then),
            b = graph_attr("else_branch", &other);
    put_message(graph, INITIALIZER, &c);
    put_message(&n, 5, &a);
    put_message(&n, 5, &b);
    put_message(graph, NODE, &n);
}

static void nested_graphs(void **state) {
    (void)state;
    static const struct {
        row_t row;
        void (*put)(bytes_t *graph);
    } nested[] = {{{"Loop", 16, "", "", NULL, false}, put_loop},
                  {{"Scan", 16, "", "", NULL, false}, put_scan},
                  {{"If", 16, "", "", NULL, false}, put_if}};
    for (int i = 0; i < 3; i++) {
        double x[] = {0.3, -0.7, 1.1, 0.9, -0.2, 0.6}, weights[] = {1, -0.5, 0.25, 2, 0.75, -1.5};
        bytes_t graph = {0}, model = {0};
        case_t c = {.row = &nested[i].row, .args = {{VEER_TYPE(VEER_DTYPE_F64, 2, 3), x}}, .arg_count = 1};
        c.weights = (veer_tensor_t){VEER_TYPE(VEER_DTYPE_F64, 2, 3), weights};
        veer_onnx_options_t options = {.eval = veer_reference_node};
        put_value(&graph, INPUT, "x", DOUBLE, "2 3");
        nested[i].put(&graph);
        put_value(&graph, OUTPUT, "y", DOUBLE, "2 3");
        put_model(&model, &graph, 16);
        require_ok(veer_graph_create(veer_allocator_system(), &c.g));
        require_ok(veer_onnx_import_memory(c.g, model.data, model.size, "f", &options, &c.func));
        differentiate(&c);
        compare_with_differences(&c);
        differentiate_again(&c);
        printf("%-76s %9.3g %8.1e %8s %9.3g %8.1e\n", nested[i].row.op, c.report[0].largest, c.report[0].error, "-",
               c.report[1].largest, c.report[1].error);
        assert_true(c.report[0].error <= BOUND && c.report[1].error <= BOUND);
        tensor_free(&c.d[0]), second_deinit(&c.second);
        veer_graph_destroy(c.g);
    }
}

/* ---- straight through ---- */

/* x quantised in steps of 1/2 to what is stored as `zero`'s type, and back. */
static bytes_t quantised_model(const veer_tensor_t *x, int stored_type, uint8_t zero) {
    bytes_t graph = {0}, model = {0};
    double scale = 0.5;
    char dims[20];
    snprintf(dims, sizeof dims, "%lld", (long long)x->type.dims[0]);
    put_value(&graph, INPUT, "x", DOUBLE, dims);
    bytes_t s = tensor("s", DOUBLE, 0, NULL, &scale, sizeof scale), z = tensor("z", stored_type, 0, NULL, &zero, 1);
    put_message(&graph, INITIALIZER, &s);
    put_message(&graph, INITIALIZER, &z);
    put_node(&graph, "QuantizeLinear", "", "x s z", "q");
    put_node(&graph, "DequantizeLinear", "", "q s z", "y");
    put_value(&graph, OUTPUT, "y", DOUBLE, "");
    put_model(&model, &graph, 19);
    return model;
}

/* By default what is rounded has no gradient; straight through it is 1 where nothing is cut off. */
static void quantised_gradients(void **state) {
    (void)state;
    enum { COUNT = 6 };
    static const struct {
        int type;
        uint8_t zero;
        double x[COUNT], y[COUNT], through[COUNT];
    } formats[] = {
        {2, 128, {-70, -1.1, 0.3, 63.4, 70, 0}, {-64, -1, 0.5, 63.5, 63.5, 0}, {0, 1, 1, 1, 0, 1}}, /* uint8 */
        {17,
         0,
         {-500, -1.1, 0.3, 200, 230, 240},
         {-224, -1.125, 0.3125, 192, 224, 224},
         {0, 1, 1, 1, 1, 0}}, /* e4m3fn */
        {18,
         0,
         {-500, -1.1, 0.3, 1e-5, 119.9, 121},
         {-120, -1.125, 0.3125, 0, 120, 120},
         {0, 1, 1, 1, 1, 1}}, /* fnuz */
        {19, 0, {-3e4, -1.1, 0.3, 1e-5, 5, 3e4}, {-28672, -1, 0.3125, 7.62939453125e-06, 5, 28672}, {1, 1, 1, 1, 1, 1}},
    };
    for (int k = 0; k < 2 * (int)(sizeof formats / sizeof *formats); k++) {
        double x[COUNT], ones[COUNT] = {1, 1, 1, 1, 1, 1}, none[COUNT] = {0};
        bool through = k & 1;
        memcpy(x, formats[k / 2].x, sizeof x);
        case_t c = {.args = {{VEER_TYPE(VEER_DTYPE_F64, COUNT), x}}, .arg_count = 1};
        c.weights = (veer_tensor_t){VEER_TYPE(VEER_DTYPE_F64, COUNT), ones};
        veer_onnx_options_t options = {.eval = veer_reference_node, .straight_through = through};
        bytes_t model = quantised_model(&c.args[0], formats[k / 2].type, formats[k / 2].zero);
        veer_tensor_t got;
        require_ok(veer_graph_create(veer_allocator_system(), &c.g));
        require_ok(veer_onnx_import_memory(c.g, model.data, model.size, "f", &options, &c.func));
        require_ok(veer_reference_eval(c.g, c.func, c.args, 1, veer_allocator_system(), &got, 1));
        for (int i = 0; i < COUNT; i++)
            if (((double *)got.data)[i] != formats[k / 2].y[i])
                fail_msg("type %d, element %d: %.17g", formats[k / 2].type, i, ((double *)got.data)[i]);
        differentiate(&c);
        const double *want = through ? formats[k / 2].through : none;
        for (int i = 0; i < COUNT; i++)
            if (((double *)c.d[0].data)[i] != want[i])
                fail_msg("type %d, gradient %d: %.17g", formats[k / 2].type, i, ((double *)c.d[0].data)[i]);
        tensor_free(&got), tensor_free(&c.d[0]);
        veer_graph_destroy(c.g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_agree),
                                       cmocka_unit_test(every_documented_operator_has_a_row),
                                       cmocka_unit_test(nested_graphs), cmocka_unit_test(quantised_gradients)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
