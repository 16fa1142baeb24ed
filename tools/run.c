/* veer run: one evaluation of a model. */
#include "tools/evaluate.h"
#include "frontend/npy.h"
#include "tools/compare.h"

#include <string.h>

typedef struct {
    veer_command_t *c;
    veer_onnx_info_t info;
    veer_inputs_t inputs;
    veer_dims_t dims;
    veer_evaluation_t evaluation;
    json_t *rows;
} run_t;

static void add_row(run_t *s, const char *name, const veer_difference_t *d, bool passed) {
    veer_report_t *r = &s->c->report;
    json_t *row = veer_report_object(r);
    veer_put_text(r, row, "output", name);
    veer_put_int(r, row, "elements", d->count);
    veer_put_int(r, row, "wrong", d->wrong);
    veer_put_real(r, row, "max_abs", d->max_abs);
    veer_put_real(r, row, "max_rel", d->max_rel);
    veer_put_bool(r, row, "passed", passed);
    veer_append(r, s->rows, row);
}

static veer_status_t expect_one(run_t *s, const char *text, veer_tolerance_t tolerance) {
    const char *name, *path;
    char what[300];
    int at;
    veer_tensor_t want;
    VEER_TRY(veer_args_assignment(&s->c->args, "expect", text, &name, &path));
    if (*path != '@') return veer_error(VEER_ERR_CONFIG, "--expect %s=%s: expected %s=@FILE.npy", name, path, name);
    VEER_TRY(veer_evaluation_find(&s->evaluation, name, &at));
    VEER_TRY(veer_status_where(veer_npy_read(path + 1, s->c->allocator, &want), "--expect %s", name));
    veer_difference_t d = {0};
    snprintf(what, sizeof what, "output '%s'", name);
    veer_status_t status = veer_compare_check(what, &s->evaluation.outputs[at], &want, tolerance, false, &d);
    add_row(s, name, &d, !status);
    veer_free(s->c->allocator, want.data);
    return status;
}

static veer_status_t expect_all(run_t *s) {
    veer_tolerance_t tolerance = veer_tolerance_default();
    VEER_TRY(veer_tolerance_from_args(&s->c->args, &tolerance));
    s->c->report.stage = "verify";
    veer_status_t status = NULL;
    for (int i = 0; i < veer_args_count(&s->c->args, "expect"); i++)
        status = veer_status_join(status, expect_one(s, veer_args_value_at(&s->c->args, "expect", i), tolerance));
    if (!veer_report_json(&s->c->report, s->rows))
        veer_report_table(&s->c->report, s->rows,
                          VEER_COLUMNS({"output", NULL}, {"elements", NULL}, {"wrong", NULL},
                                       {"max_abs", "max abs error"}, {"max_rel", "max rel error"}, {"passed", NULL}));
    return status;
}

static veer_status_t run(run_t *s) {
    const char *path = veer_command_operand(s->c, 0);
    s->rows = veer_report_array(&s->c->report);
    VEER_TRY(veer_dims_from_args(s->c, &s->dims));
    VEER_TRY(veer_inputs_from_args(s->c, &s->inputs));
    VEER_TRY(veer_outputs_check(s->c));
    s->c->report.stage = "import";
    veer_limits_t limits;
    VEER_TRY(veer_limits_from_args(s->c, &limits));
    VEER_TRY(veer_onnx_inspect(s->c->allocator, path, &limits, &s->info));
    veer_evaluate_options_t options = {.path = path, .inputs = &s->inputs, .info = &s->info, .dims = &s->dims};
    VEER_TRY(veer_evaluate(s->c, &options, &s->evaluation));
    bool expects = veer_args_has(&s->c->args, "expect");
    if (!expects || veer_args_has(&s->c->args, "output")) VEER_TRY(veer_evaluation_write(s->c, &s->evaluation));
    return expects ? expect_all(s) : veer_ok();
}

static veer_status_t run_run(veer_command_t *c) {
    run_t s = {.c = c};
    veer_status_t status = run(&s);
    veer_evaluation_deinit(&s.evaluation);
    veer_inputs_deinit(&s.inputs);
    veer_onnx_info_deinit(&s.info);
    json_decref(s.rows);
    return status;
}

static const veer_flag_t flags[] = {
    VEER_INPUT_FLAG,
    VEER_OUTPUT_FLAG,
    {"expect", 0, "NAME=@FILE.npy", "compare an output with this; exit code 4 where it differs", true},
    VEER_TOLERANCE_FLAGS,
    VEER_DIM_FLAG,
    VEER_COMPILE_FLAGS,
    VEER_LIMIT_FLAGS{0},
};

const veer_verb_t veer_verb_run = {
    .name = "run",
    .operands = "MODEL.onnx",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "evaluate a model once",
    .details = "Symbolic dimensions take their sizes from the inputs. Without --output and --expect a summary of every "
               "output is\n"
               "printed.",
    .example = "  veer run examples/digits/classifier/model.onnx --dim batch=1 --input x=0 --input timesteps=500",
    .flags = flags,
    .run = run_run,
};
