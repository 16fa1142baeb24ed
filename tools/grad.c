/* veer grad: the gradient of a model, as an ONNX file, evaluated, or checked. */
#include "frontend/outfile.h"
#include "tools/evaluate.h"
#include "tools/finite.h"

#include <string.h>

typedef struct {
    veer_command_t *c;
    const char *path, *export_path;
    int of_count; /* outputs to differentiate, one after the other: 1 unless --of is given more than once */
    veer_gradient_request_t request;
    veer_onnx_info_t info;
    veer_inputs_t inputs;
    veer_dims_t dims;
    veer_evaluation_t evaluation;
} grad_t;

static veer_status_t read_wrt(grad_t *s) {
    veer_args_t *args = &s->c->args;
    const char **all = NULL;
    int count = 0;
    for (int i = 0; i < veer_args_count(args, "wrt"); i++) {
        const char *const *parts;
        int n;
        VEER_TRY(veer_args_split(args, veer_args_value_at(args, "wrt", i), &parts, &n));
        const char **more = veer_arena_array(&args->arena, (size_t)(count + n), sizeof *more);
        if (!more) return veer_out_of_memory();
        if (count) memcpy(more, all, (size_t)count * sizeof *more);
        memcpy(more + count, parts, (size_t)n * sizeof *more);
        all = more;
        count += n;
    }
    s->request.wrt = all;
    s->request.wrt_count = count;
    if (count) return veer_ok();
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "there is nothing to differentiate by"), "--wrt INPUT");
}

static veer_status_t read_request(grad_t *s) {
    const veer_args_t *args = &s->c->args;
    s->path = veer_command_operand(s->c, 0);
    s->export_path = veer_args_value(args, "export");
    s->request.of = veer_args_value(args, "of");
    s->request.head = veer_args_value(args, "head");
    int given = veer_args_count(args, "of");
    s->of_count = given > 1 ? given : 1;
    VEER_TRY(read_wrt(s));
    bool one = s->export_path || veer_args_has(args, "output") ||
               (!veer_args_has(args, "check") && !veer_args_has(args, "verify"));
    if (given > 1 && one)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "--of is given %d times", given),
                                "only --check and --verify, without -o and --output, take several outputs");
    if (!s->export_path && !veer_args_has(args, "check") && !veer_args_has(args, "verify") &&
        !veer_args_has(args, "input") && !veer_args_has(args, "output"))
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG, "there is nothing to do with the gradient"),
            "-o FILE.onnx writes it, --input NAME=@FILE.npy evaluates it, --check and --verify check it");
    VEER_TRY(veer_outputs_check(s->c));
    if (!s->export_path) return veer_ok();
    veer_outfile_t *file;
    VEER_TRY(veer_outfile_open(s->export_path, s->c->allocator, &file));
    veer_outfile_abandon(file);
    return veer_ok();
}

/* Dimensions from --dim and from the inputs' shapes; those left over are 1 for what needs no numbers. */
static veer_status_t read_model(grad_t *s) {
    s->c->report.stage = "import";
    VEER_TRY(veer_dims_from_args(s->c, &s->dims));
    VEER_TRY(veer_inputs_from_args(s->c, &s->inputs));
    veer_limits_t limits;
    VEER_TRY(veer_limits_from_args(s->c, &limits));
    VEER_TRY(veer_onnx_inspect(s->c->allocator, s->path, &limits, &s->info));
    VEER_TRY(veer_dims_check(&s->dims, &s->info));
    return veer_inputs_bind_dims(s->c, &s->inputs, &s->info, &s->dims);
}

static veer_status_t options_of(grad_t *s, veer_compile_options_t *out) {
    veer_named_dim_t *named = veer_arena_array(&s->c->args.arena, (size_t)s->dims.count + 1, sizeof *named);
    if (!named) return veer_out_of_memory();
    for (int i = 0; i < s->dims.count; i++)
        named[i] = (veer_named_dim_t){s->dims.items[i].name, s->dims.items[i].value};
    *out = (veer_compile_options_t){.allocator = s->c->allocator, .dims = named, .dim_count = s->dims.count};
    return veer_compile_flags(s->c, out);
}

/* The request for output k of those that --of names. */
static void choose_of(grad_t *s, int k) {
    if (veer_args_count(&s->c->args, "of")) s->request.of = veer_args_value_at(&s->c->args, "of", k);
}

/* ---- --check ---- */

static veer_status_t check(grad_t *s) {
    veer_report_t *r = &s->c->report;
    veer_compile_options_t options;
    r->stage = "gradient";
    VEER_TRY(veer_dims_fill(s->c, &s->dims, &s->info));
    VEER_TRY(options_of(s, &options));
    veer_status_t status = veer_ok();
    for (int k = 0; k < s->of_count; k++) {
        choose_of(s, k);
        status = veer_status_join(status, veer_check_gradient(s->path, &s->request, &options));
    }
    VEER_TRY(status);
    json_t *root = veer_report_object(r);
    veer_put_text(r, root, "model", s->path);
    veer_put_bool(r, root, "gradient", true);
    if (!veer_report_json(r, root)) veer_report_print(r, "%s: every operator on the path has a gradient\n", s->path);
    json_decref(root);
    return veer_ok();
}

/* ---- --verify ---- */

static const double compiled_tolerance = 1e-3; /* single precision through a deep network */

static veer_status_t add_verified(grad_t *s, const veer_finite_t *results, double rtol, json_t *rows) {
    veer_report_t *r = &s->c->report;
    veer_status_t status = NULL;
    for (int k = 0; k < s->request.wrt_count; k++) {
        const veer_finite_t *f = &results[k];
        bool passed = f->difference <= rtol && f->compiled_error <= compiled_tolerance;
        json_t *row = veer_report_object(r);
        if (s->of_count > 1) veer_put_text(r, row, "of", s->request.of);
        veer_put_text(r, row, "input", s->request.wrt[k]);
        veer_put_real(r, row, "norm", f->norm);
        veer_put_int(r, row, "directions", VEER_FINITE_DIRECTIONS);
        veer_put_real(r, row, "difference", f->difference);
        veer_put_real(r, row, "compiled", f->compiled_error);
        veer_put_bool(r, row, "passed", passed);
        veer_append(r, rows, row);
        if (f->norm == 0) veer_report_note(r, "the gradient by '%s' is zero everywhere", s->request.wrt[k]);
        if (passed) continue;
        veer_status_t one = veer_error(VEER_ERR_MISMATCH, "%s: the gradient of '%s' by '%s' is wrong", s->path,
                                       s->request.of ? s->request.of : "the output", s->request.wrt[k]);
        one = veer_status_note(one, "against finite differences: relative error %.3g, allowed %g", f->difference, rtol);
        one = veer_status_note(one, "compiled against double precision: relative error %.3g, allowed %g",
                               f->compiled_error, compiled_tolerance);
        status = veer_status_join(status, one);
    }
    return status;
}

static void print_verified(grad_t *s, json_t *rows) {
    veer_report_t *r = &s->c->report;
    if (veer_report_json(r, rows)) return;
    veer_report_table(r, rows,
                      VEER_COLUMNS({"of", "output"}, {"input", NULL}, {"norm", "gradient norm"}, {"directions", NULL},
                                   {"difference", "error of differences"}, {"compiled", "error of compiled"},
                                   {"passed", NULL}));
}

static veer_status_t evaluate(grad_t *s, bool make_missing) {
    veer_evaluate_options_t options = {.path = s->path,
                                       .gradient = &s->request,
                                       .inputs = &s->inputs,
                                       .info = &s->info,
                                       .dims = &s->dims,
                                       .make_missing = make_missing};
    return veer_evaluate(s->c, &options, &s->evaluation);
}

/* Of one output; its rows. */
static veer_status_t verify_output(grad_t *s, double rtol, json_t *rows) {
    VEER_TRY(evaluate(s, true));
    s->c->report.stage = "verify";
    veer_finite_t *results = veer_arena_array(&s->c->args.arena, (size_t)s->request.wrt_count, sizeof *results);
    if (!results) return veer_out_of_memory();
    veer_finite_options_t options = {
        .path = s->path, .request = &s->request, .inputs = &s->inputs, .evaluation = &s->evaluation};
    VEER_TRY(veer_finite_check(&options, s->c->allocator, results));
    return add_verified(s, results, rtol, rows);
}

/* Each output has a cotangent or a label of its own, so inputs are made up anew. */
static veer_status_t forget_evaluation(grad_t *s) {
    veer_evaluation_deinit(&s->evaluation);
    veer_inputs_deinit(&s->inputs);
    s->inputs = (veer_inputs_t){0};
    return veer_inputs_from_args(s->c, &s->inputs);
}

static veer_status_t verify(grad_t *s) {
    double rtol = 1e-4;
    VEER_TRY(veer_args_double(&s->c->args, "rtol", 0, &rtol));
    VEER_TRY(veer_dims_fill(s->c, &s->dims, &s->info));
    json_t *rows = veer_report_array(&s->c->report);
    veer_status_t status = veer_ok();
    for (int k = 0; k < s->of_count && (!status || veer_status_code(status) == VEER_ERR_MISMATCH); k++) {
        if (k) status = veer_status_join(status, forget_evaluation(s));
        choose_of(s, k);
        status = veer_status_join(status, verify_output(s, rtol, rows));
    }
    if (!status || veer_status_code(status) == VEER_ERR_MISMATCH) print_verified(s, rows);
    json_decref(rows);
    return status;
}

/* ---- all ---- */

static veer_status_t write_model(grad_t *s) {
    veer_compile_options_t options;
    s->c->report.stage = "export";
    VEER_TRY(options_of(s, &options));
    return veer_export_gradient(s->path, &s->request, &options, s->export_path);
}

static veer_status_t grad(grad_t *s) {
    const veer_args_t *args = &s->c->args;
    VEER_TRY(read_request(s));
    VEER_TRY(read_model(s));
    if (veer_args_has(args, "check")) VEER_TRY(check(s));
    if (s->export_path) VEER_TRY(write_model(s));
    if (veer_args_has(args, "verify")) {
        VEER_TRY(verify(s));
        return veer_args_has(args, "output") ? veer_evaluation_write(s->c, &s->evaluation) : veer_ok();
    }
    if (!veer_args_has(args, "input") && !veer_args_has(args, "output")) return veer_ok();
    VEER_TRY(evaluate(s, false));
    return veer_evaluation_write(s->c, &s->evaluation);
}

static veer_status_t run_grad(veer_command_t *c) {
    grad_t s = {.c = c};
    veer_status_t status = grad(&s);
    veer_evaluation_deinit(&s.evaluation);
    veer_inputs_deinit(&s.inputs);
    veer_onnx_info_deinit(&s.info);
    return status;
}

static const veer_flag_t flags[] = {
    {"of", 0, "OUTPUT[INDEX]", "what is differentiated: an output, or one element of its last axes", true},
    {"wrt", 0, "INPUT[,INPUT]", "by what", true},
    {"head", 0, "HEAD", "softmax, bernoulli, sum, or vjp (the default where OUTPUT is no scalar)", false},
    {"export", 'o', "FILE.onnx", "write the outputs and gradients as an ordinary ONNX model", false},
    {"check", 0, NULL, "list what on the path has no gradient; exit code 3 where there is such", false},
    {"verify", 0, NULL, "compare with finite differences; exit code 4 where they differ", false},
    {"straight-through", 0, NULL, "gradients pass QuantizeLinear and DequantizeLinear as if nothing were rounded",
     false},
    VEER_INPUT_FLAG,
    VEER_OUTPUT_FLAG,
    {"rtol", 0, "R", "relative tolerance of --verify (1e-4)", false},
    VEER_DIM_FLAG,
    VEER_COMPILE_FLAGS,
    VEER_LIMIT_FLAGS{0},
};

const veer_verb_t veer_verb_grad = {
    .name = "grad",
    .operands = "MODEL.onnx",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "the gradient of a model: as an ONNX file, evaluated, or checked",
    .details = "Gradients are outputs grad_INPUT. Heads: softmax adds log_softmax(OUTPUT)[label], bernoulli the "
               "log-likelihood of phi,\n"
               "both summed over the batch, with a new input of that name; sum the sum of all elements; vjp takes the "
               "cotangent\n"
               "from a new input d_OUTPUT.",
    .example = "  veer grad examples/digits/classifier/model.onnx --of logits --wrt x --head softmax --dim batch=4 -o "
               "grad.onnx\n"
               "  veer grad examples/digits/classifier/model.onnx --of logits --wrt x --head softmax --verify",
    .flags = flags,
    .run = run_grad,
};
