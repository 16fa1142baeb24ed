/* veer verify: ONNX's tests, a folder of .pb files or a whole suite. */
#include "frontend/onnx_testdata.h"
#include "tools/compare.h"
#include "tools/evaluate.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    veer_command_t *c;
    veer_tolerance_t tolerance;
    json_t *rows;
    int passed, failed, skipped;
} verify_t;

/* One model with one folder of values. */
typedef struct {
    verify_t *s;
    const char *path;
    veer_onnx_info_t info;
    veer_onnx_testdata_t data;
    veer_inputs_t inputs;
    veer_dims_t dims;
    veer_evaluation_t evaluation;
} case_t;

/* ---- one data set ---- */

/* Files carry names in most tests; where they do not, they are the inputs without a default, in order. */
static const char *input_name(const case_t *t, int i) {
    const char *name = t->data.inputs[i].name;
    for (int k = 0; *name && k < t->info.input_count; k++)
        if (!strcmp(t->info.inputs[k].name, name)) return name;
    for (int k = 0; k < t->info.input_count; k++)
        if (!t->info.inputs[k].has_default && i-- == 0) return t->info.inputs[k].name;
    return NULL;
}

/* NumPy has no bfloat16: ONNX's files hold its bits as uint16. */
static void retag(veer_tensor_t *t, veer_dtype_t model) {
    if (model == VEER_DTYPE_BF16 && t->type.dtype == VEER_DTYPE_U16) t->type.dtype = VEER_DTYPE_BF16;
}

static const veer_onnx_value_info_t *find_info(const case_t *t, const char *name) {
    for (int k = 0; k < t->info.input_count; k++)
        if (!strcmp(t->info.inputs[k].name, name)) return &t->info.inputs[k];
    return NULL;
}

/* Some tests give an input another shape than their model says, or no elements: such inputs are bound as they are. */
static bool is_misfit(const veer_onnx_value_info_t *info, const veer_type_t *type) {
    if (info->rank >= 0 && info->rank != type->rank) return true;
    for (int axis = 0; axis < info->rank; axis++)
        if (info->dim_names[axis] ? type->dims[axis] == 0 : type->dims[axis] != info->dims[axis]) return true;
    return false;
}

/* The tensors move from the data set to the inputs. */
static veer_status_t take_inputs(case_t *t) {
    VEER_TRY(veer_inputs_init(&t->inputs, t->data.input_count, t->s->c->allocator));
    for (int i = 0; i < t->data.input_count; i++) {
        veer_input_t *input = &t->inputs.items[i];
        if (!(input->name = input_name(t, i)))
            return veer_error(VEER_ERR_FILE, "input_%d.pb belongs to no input of the model", i);
        input->tensor = t->data.inputs[i].tensor;
        t->data.inputs[i].tensor.data = NULL;
        const veer_onnx_value_info_t *info = find_info(t, input->name);
        retag(&input->tensor, info->dtype);
        input->bind = is_misfit(info, &input->tensor.type);
    }
    return veer_ok();
}

static veer_status_t only_tensors(const case_t *t) {
    for (int out = 0; out < 2; out++)
        for (int i = 0; i < (out ? t->info.output_count : t->info.input_count); i++) {
            const veer_onnx_value_info_t *v = out ? &t->info.outputs[i] : &t->info.inputs[i];
            if (v->dtype == VEER_DTYPE_NONE)
                return veer_error(VEER_ERR_UNSUPPORTED, "%s '%s' is of type %s", out ? "output" : "input", v->name,
                                  v->type);
        }
    return veer_ok();
}

/* Dropout is random where its training_mode is on, a flag among the inputs, unless its ratio is 0. */
static bool has_flag(const case_t *t) {
    bool flag = false, zero = false;
    for (int i = 0; i < t->data.input_count; i++) {
        const veer_tensor_t *x = &t->inputs.items[i].tensor;
        if (!x->data || x->type.rank) continue;
        flag |= x->type.dtype == VEER_DTYPE_BOOL && *(const uint8_t *)x->data;
        zero |= x->type.dtype == VEER_DTYPE_F32 && *(const float *)x->data == 0;
    }
    return flag && !zero;
}

static bool is_random(const case_t *t) {
    static const char *const ops[] = {"RandomNormal",      "RandomNormalLike", "RandomUniform",
                                      "RandomUniformLike", "Multinomial",      "Bernoulli"};
    for (int i = 0; i < t->info.op_count; i++)
        for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
            if (!strcmp(t->info.ops[i].op_type, ops[k]) || (!strcmp(t->info.ops[i].op_type, "Dropout") && has_flag(t)))
                return true;
    return false;
}

static veer_status_t check_outputs(const case_t *t, bool random) {
    char what[300], a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    veer_status_t status = NULL;
    if (t->evaluation.output_count < t->data.output_count)
        return veer_error(VEER_ERR_FILE, "the model has %d outputs, the test %d", t->evaluation.output_count,
                          t->data.output_count);
    for (int i = 0; i < t->data.output_count; i++) {
        const veer_tensor_t *got = &t->evaluation.outputs[i];
        veer_tensor_t *want = &t->data.outputs[i].tensor;
        veer_tolerance_t tolerance = t->s->tolerance;
        retag(want, got->type.dtype);
        /* One unit in the last place, where no tolerance was asked for: the files were truncated, not rounded. */
        if (got->type.dtype == VEER_DTYPE_BF16 && !veer_args_has(&t->s->c->args, "rtol")) tolerance.rtol = 0x1p-7;
        snprintf(what, sizeof what, "output '%s'", veer_evaluation_name(&t->evaluation, i));
        if (!random)
            status = veer_status_join(status, veer_compare_check(what, got, want, tolerance, true, NULL));
        else if (!veer_type_equal(&got->type, &want->type))
            status =
                veer_status_join(status, veer_error(VEER_ERR_MISMATCH, "%s is %s, expected %s", what,
                                                    veer_type_text(&got->type, a), veer_type_text(&want->type, b)));
    }
    return status;
}

static veer_status_t check_case(case_t *t, const char *folder, bool *out_random) {
    veer_command_t *c = t->s->c;
    veer_evaluate_options_t options = {.path = t->path, .inputs = &t->inputs, .info = &t->info, .dims = &t->dims};
    VEER_TRY(veer_dims_from_args(c, &t->dims));
    veer_limits_t limits;
    VEER_TRY(veer_limits_from_args(c, &limits));
    VEER_TRY(veer_onnx_inspect(c->allocator, t->path, &limits, &t->info));
    VEER_TRY(only_tensors(t));
    VEER_TRY(veer_onnx_testdata_read(c->allocator, folder, &t->data));
    VEER_TRY(take_inputs(t));
    VEER_TRY(veer_evaluate(c, &options, &t->evaluation));
    *out_random = is_random(t);
    return check_outputs(t, *out_random);
}

static veer_status_t verify_data_set(verify_t *s, const char *path, const char *folder, bool *out_random) {
    case_t t = {.s = s, .path = path};
    veer_status_t status = check_case(&t, folder, out_random);
    veer_evaluation_deinit(&t.evaluation);
    veer_inputs_deinit(&t.inputs);
    veer_onnx_testdata_deinit(&t.data);
    veer_onnx_info_deinit(&t.info);
    return status;
}

static veer_status_t join_path(const char *folder, const char *name, char out[PATH_MAX]) {
    int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return n < PATH_MAX ? veer_ok() : veer_error(VEER_ERR_CONFIG, "%s/%s: the path is too long", folder, name);
}

/* All test_data_set_* of a folder; the first failure ends it. */
static veer_status_t verify_data_sets(verify_t *s, const char *model, const char *folder, bool *out_random) {
    char **names, path[PATH_MAX];
    size_t count, sets = 0;
    VEER_TRY(veer_onnx_testdata_names(s->c->allocator, folder, &names, &count));
    veer_status_t status = NULL;
    for (size_t i = 0; i < count && !status; i++) {
        if (strncmp(names[i], "test_data_set_", 14)) continue;
        sets++;
        status = join_path(folder, names[i], path);
        if (!status) status = veer_status_where(verify_data_set(s, model, path, out_random), "%s", names[i]);
    }
    veer_onnx_testdata_names_free(s->c->allocator, names, count);
    if (!status && !sets) return veer_error(VEER_ERR_FILE, "%s: there is no test_data_set_0", folder);
    return status;
}

/* ---- suites ---- */

static bool exists(const char *path, mode_t kind) {
    struct stat info;
    return !stat(path, &info) && (info.st_mode & S_IFMT) == kind;
}

/* Tests of ONNX's own whose outputs do not belong to their model; NULL for others. */
static const char *wrong_test(const char *name) {
    static const char WRAPS[] = "wrong: results beyond int8 were stored as they wrap around; the operator saturates",
                      NOISE[] = "wrong: zeros were stored with a rounding error beyond the tolerance";
    static const char *const tests[][2] = {
        {"test_adam_multiple", "wrong: the outputs were made with epsilon 0.01, which the model does not have"},
        {"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True",
         "wrong: counts what lies beyond the padding, unlike the other tests of count_include_pad with ceil_mode"},
        {"test_dft_inverse", NOISE},
        {"test_dft_inverse_opset19", NOISE},
        {"test_qlinearmatmul_2D_int8_float16", WRAPS},
        {"test_qlinearmatmul_2D_int8_float32", WRAPS},
        {"test_qlinearmatmul_3D_int8_float16", WRAPS},
        {"test_qlinearmatmul_3D_int8_float32", WRAPS},
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!strcmp(tests[i][0], name)) return tests[i][1];
    return NULL;
}

/* One line per test as it is done. Takes the status. */
static void report_case(verify_t *s, const char *name, veer_status_t take_status, bool random) {
    veer_report_t *r = &s->c->report;
    veer_code_t code = veer_status_code(take_status);
    const char *wrong = wrong_test(name);
    bool skipped = code == VEER_ERR_UNSUPPORTED || (!take_status && random) || (code == VEER_ERR_MISMATCH && wrong);
    const char *result = skipped ? "skipped" : take_status ? "failed" : "passed";
    const char *reason = code == VEER_ERR_MISMATCH && wrong ? wrong
                         : take_status                      ? veer_status_message(take_status, 0)
                         : random                           ? "random"
                                                            : NULL;
    if (!r->json) veer_report_print(r, "%s: %s%s%s\n", name, result, reason ? ": " : "", reason ? reason : "");
    json_t *row = veer_report_object(r);
    veer_put_text(r, row, "test", name);
    veer_put_text(r, row, "result", result);
    veer_put_text(r, row, "reason", reason);
    veer_append(r, s->rows, row);
    *(skipped ? &s->skipped : take_status ? &s->failed : &s->passed) += 1;
    veer_status_free(take_status);
}

static veer_status_t walk(verify_t *s, const char *folder, const char *name, int depth);

static veer_status_t walk_inner(verify_t *s, const char *folder, int depth) {
    char **names, path[PATH_MAX];
    size_t count;
    VEER_TRY(veer_onnx_testdata_names(s->c->allocator, folder, &names, &count));
    veer_status_t status = NULL;
    for (size_t i = 0; i < count && !status; i++) {
        status = join_path(folder, names[i], path);
        if (!status && exists(path, S_IFDIR)) status = walk(s, path, names[i], depth + 1);
    }
    veer_onnx_testdata_names_free(s->c->allocator, names, count);
    return status;
}

/* A folder with a model is a test; any other is walked. */
static veer_status_t walk(verify_t *s, const char *folder, const char *name, int depth) {
    char model[PATH_MAX];
    bool random = false;
    if (depth > 16) return veer_ok();
    VEER_TRY(join_path(folder, "model.onnx", model));
    if (!exists(model, S_IFREG)) return walk_inner(s, folder, depth);
    veer_status_t status = verify_data_sets(s, model, folder, &random);
    if (veer_status_code(status) == VEER_ERR_INTERRUPTED) return status;
    report_case(s, name, status, random);
    return veer_ok();
}

static veer_status_t verify_suite(verify_t *s, const char *folder) {
    veer_report_t *r = &s->c->report;
    const char *slash = strrchr(folder, '/');
    VEER_TRY(walk(s, folder, slash && slash[1] ? slash + 1 : folder, 0));
    int count = s->passed + s->failed + s->skipped;
    if (!count)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "%s: there are no tests", folder),
                                "a test is a folder with model.onnx and test_data_set_0");
    json_t *root = veer_report_object(r);
    veer_put(r, root, "tests", json_incref(s->rows));
    veer_put_int(r, root, "passed", s->passed);
    veer_put_int(r, root, "failed", s->failed);
    veer_put_int(r, root, "skipped", s->skipped);
    if (!veer_report_json(r, root))
        veer_report_print(r, "%d passed, %d failed, %d skipped\n", s->passed, s->failed, s->skipped);
    json_decref(root);
    if (!s->failed) return veer_ok();
    return veer_error(VEER_ERR_MISMATCH, "%d of %d tests failed", s->failed, count);
}

/* ---- one model ---- */

static veer_status_t verify_model(verify_t *s, const char *model, const char *folder) {
    veer_report_t *r = &s->c->report;
    bool random = false;
    char first[PATH_MAX];
    VEER_TRY(join_path(folder, "output_0.pb", first));
    /* The folder itself may be one data set. */
    veer_status_t status = exists(first, S_IFREG) ? verify_data_set(s, model, folder, &random)
                                                  : verify_data_sets(s, model, folder, &random);
    if (status) return status;
    json_t *root = veer_report_object(r);
    veer_put_text(r, root, "model", model);
    veer_put_text(r, root, "result", random ? "skipped" : "passed");
    veer_put_text(r, root, "reason", random ? "random" : NULL);
    if (!veer_report_json(r, root)) veer_report_print(r, "%s: %s\n", model, random ? "skipped: random" : "passed");
    json_decref(root);
    return veer_ok();
}

static veer_status_t run_verify(veer_command_t *c) {
    verify_t s = {.c = c, .tolerance = veer_tolerance_default(), .rows = veer_report_array(&c->report)};
    const char *model = veer_command_operand(c, 0), *suite = veer_args_value(&c->args, "suite");
    const char *folder = veer_args_value(&c->args, "pbdir");
    veer_status_t status = veer_tolerance_from_args(&c->args, &s.tolerance);
    if (!status && (suite ? model || folder : !model || !folder))
        status = veer_error(VEER_ERR_CONFIG, "give either MODEL.onnx and --pbdir DIR, or --suite DIR");
    if (!status) status = suite ? verify_suite(&s, suite) : verify_model(&s, model, folder);
    json_decref(s.rows);
    return status;
}

static const veer_flag_t flags[] = {
    {"pbdir", 0, "DIR", "the model's test: input_*.pb and output_*.pb, in DIR or in DIR/test_data_set_*", false},
    {"suite", 0, "DIR", "a folder of tests, each with model.onnx and test_data_set_*", false},
    VEER_TOLERANCE_FLAGS,
    VEER_DIM_FLAG,
    VEER_COMPILE_FLAGS,
    VEER_LIMIT_FLAGS{0},
};

const veer_verb_t veer_verb_verify = {
    .name = "verify",
    .operands = "[MODEL.onnx]",
    .max_operands = 1,
    .summary = "compare a model with an ONNX test, or run a suite of such tests",
    .details = "Inputs that shapes depend on are bound as constants. A suite has a line per test; what is skipped "
               "names its reason.\n"
               "Outputs of random operators are checked for shape and type only. Exit code 4 where anything differs.",
    .example = "  veer verify --suite /usr/share/libonnx-testdata/data/node",
    .flags = flags,
    .run = run_verify,
};
