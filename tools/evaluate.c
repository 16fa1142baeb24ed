#include "tools/evaluate.h"
#include "frontend/npy.h"
#include "ir/base/suggest.h"
#include "ir/half.h"
#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Which inputs become constants: tried in this order until the model can be compiled. */
typedef enum { BIND_NEEDED, BIND_INTEGERS, BIND_ALL, BIND_COUNT } bind_t;

typedef struct {
    veer_command_t *c;
    const veer_evaluate_options_t *o;
    veer_evaluation_t *out;
    const char **bound_names;
    veer_tensor_t *bound_tensors;
    int bound_count;
    bool lists_made;
} evaluate_t;

/* ---- compiling ---- */

static bool must_bind(const veer_onnx_value_info_t *info) {
    return info->has_default || info->rank < 0;
}

static veer_status_t choose_bound(evaluate_t *e, bind_t bind) {
    const veer_onnx_info_t *info = e->o->info;
    e->bound_count = 0;
    for (int i = 0; i < info->input_count; i++) {
        const veer_onnx_value_info_t *v = &info->inputs[i];
        veer_input_t *input = veer_inputs_find(e->o->inputs, v->name);
        bool is_float = veer_dtype_is_float(v->dtype);
        if (!input || !(must_bind(v) || input->bind || bind == BIND_ALL || (bind == BIND_INTEGERS && !is_float)))
            continue;
        if (input->list && v->rank < 0)
            return veer_error(VEER_ERR_CONFIG, "input '%s' has no shape in the model: give it as a file", v->name);
        if (input->list) { /* a type without symbolic dimensions is all that is needed to make it */
            veer_type_t type = veer_type_make(v->dtype, v->rank, v->dims);
            for (int axis = 0; axis < v->rank; axis++)
                for (int k = 0; v->dim_names[axis] && k < e->o->dims->count; k++)
                    if (!strcmp(e->o->dims->items[k].name, v->dim_names[axis]))
                        type.dims[axis] = e->o->dims->items[k].value;
            VEER_TRY(veer_type_check(&type));
            VEER_TRY(veer_input_make(input, &type, e->c->allocator));
        }
        input->used = true;
        e->bound_names[e->bound_count] = v->name;
        e->bound_tensors[e->bound_count++] = input->tensor;
    }
    return veer_ok();
}

veer_status_t veer_compile_flags(const veer_command_t *c, veer_compile_options_t *options) {
    options->backend = veer_args_value(&c->args, "backend");
    options->precision = veer_args_value(&c->args, "precision");
    options->straight_through = veer_args_has(&c->args, "straight-through");
    options->tune = veer_args_value(&c->args, "tune");
    options->cache = veer_args_value(&c->args, "cache");
    const char *memory = veer_args_value(&c->args, "memory-budget");
    if (memory) VEER_TRY(veer_status_where(veer_bytes_parse(memory, &options->memory_budget), "--memory-budget"));
    return veer_limits_from_args(c, &options->limits);
}

void veer_budget_note(veer_report_t *r, const veer_plan_t *plan) {
    const veer_plan_budget_t *b = veer_plan_budget(plan);
    if (!b->budget_bytes) return;
    veer_report_note(r,
                     "memory budget: the arena takes %.2f MB instead of %.2f MB; %lld kernels run again, %lld later; "
                     "%.3g GFLOP more (%.1f %%)",
                     (double)veer_plan_arena_bytes(plan) * 1e-6, (double)b->arena_bytes * 1e-6,
                     (long long)b->computed_again, (long long)b->moved, b->added_flops * 1e-9,
                     b->flops > 0 ? 100 * b->added_flops / b->flops : 0);
}

static veer_status_t compile_once(evaluate_t *e) {
    const veer_dims_t *dims = e->o->dims;
    veer_named_dim_t *named = veer_arena_array(&e->c->args.arena, (size_t)dims->count + 1, sizeof *named);
    if (!named) return veer_out_of_memory();
    for (int i = 0; i < dims->count; i++) named[i] = (veer_named_dim_t){dims->items[i].name, dims->items[i].value};
    veer_compile_options_t options = {.allocator = e->c->allocator,
                                      .dims = named,
                                      .dim_count = dims->count,
                                      .bound_names = e->bound_names,
                                      .bound_tensors = e->bound_tensors,
                                      .bound_count = e->bound_count};
    VEER_TRY(veer_compile_flags(e->c, &options));
    e->out->options = options;
    if (e->o->gradient) return veer_compile_gradient(e->o->path, e->o->gradient, &options, &e->out->compiled);
    return veer_compile_model(e->o->path, &options, &e->out->compiled);
}

/* Without bound inputs first; where shapes depend on some, once more with those bound. The first error is the one to
 * show: it is about the model as it stands. */
static veer_status_t compile(evaluate_t *e) {
    size_t count = (size_t)e->o->info->input_count + 1;
    e->bound_names = veer_arena_array(&e->c->args.arena, count, sizeof *e->bound_names);
    e->bound_tensors = veer_arena_array(&e->c->args.arena, count, sizeof *e->bound_tensors);
    if (!e->bound_names || !e->bound_tensors) return veer_out_of_memory();
    veer_status_t first = NULL;
    int tried = -1;
    for (bind_t bind = BIND_NEEDED; bind < BIND_COUNT; bind++) {
        veer_status_t status = choose_bound(e, bind);
        if (!status && e->bound_count == tried) continue;
        tried = e->bound_count;
        if (!status) status = compile_once(e);
        if (!status) {
            veer_status_free(first);
            return veer_ok();
        }
        if (first)
            veer_status_free(status);
        else
            first = status;
        if (veer_status_code(first) != VEER_ERR_UNSUPPORTED) break;
    }
    return first;
}

/* ---- inputs ---- */

static veer_status_t missing(const veer_plan_t *plan, int i) {
    char text[VEER_TYPE_TEXT_BYTES];
    const char *name = veer_plan_input_name(plan, i);
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "input '%s' (%s) is not given", name,
                                      veer_type_text(veer_plan_input_type(plan, i), text));
    return veer_status_help(status, "--input %s=@FILE.npy", name);
}

static veer_status_t unknown(const veer_plan_t *plan, const char *name) {
    const char *names[64];
    size_t count = 0;
    for (int i = 0; i < veer_plan_input_count(plan) && count < 64; i++) names[count++] = veer_plan_input_name(plan, i);
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "the model has no input '%s'", name);
    const char *near = veer_suggest(name, names, count);
    return near ? veer_status_help(status, "did you mean '%s'?", near) : status;
}

static veer_status_t make_up(evaluate_t *e, const veer_plan_t *plan, int i) {
    char text[VEER_TYPE_TEXT_BYTES];
    const veer_type_t *type = veer_plan_input_type(plan, i);
    veer_report_note(&e->c->report, "input '%s' (%s) is not given: %s", veer_plan_input_name(plan, i),
                     veer_type_text(type, text),
                     veer_dtype_is_float(type->dtype) ? "normal random numbers are taken" : "ones are taken");
    return veer_inputs_add_random(e->o->inputs, veer_plan_input_name(plan, i), type);
}

static veer_status_t take_input(evaluate_t *e, const veer_plan_t *plan, int i, veer_tensor_t *out) {
    const char *name = veer_plan_input_name(plan, i);
    if (!veer_inputs_find(e->o->inputs, name)) {
        if (!e->o->make_missing) return missing(plan, i);
        VEER_TRY(make_up(e, plan, i));
    }
    veer_input_t *input = veer_inputs_find(e->o->inputs, name);
    VEER_TRY(veer_input_make(input, veer_plan_input_type(plan, i), e->c->allocator));
    *out = input->tensor;
    return veer_ok();
}

static veer_status_t take_inputs(evaluate_t *e, veer_tensor_t *in) {
    const veer_plan_t *plan = veer_compiled_plan(e->out->compiled);
    veer_status_t status = NULL;
    for (int i = 0; i < veer_plan_input_count(plan); i++)
        status = veer_status_join(status, take_input(e, plan, i, &in[i]));
    for (int i = 0; i < e->o->inputs->count; i++)
        if (!e->o->inputs->items[i].used) status = veer_status_join(status, unknown(plan, e->o->inputs->items[i].name));
    return status;
}

/* An input of the model whose name is known, but that nothing depends on, is no mistake. */
static void mark_known(evaluate_t *e) {
    for (int i = 0; i < e->o->info->input_count; i++) {
        veer_input_t *input = veer_inputs_find(e->o->inputs, e->o->info->inputs[i].name);
        if (input) input->used = true;
    }
}

/* ---- running ---- */

static veer_status_t make_outputs(veer_evaluation_t *e) {
    const veer_plan_t *plan = veer_compiled_plan(e->compiled);
    int count = veer_plan_output_count(plan);
    e->outputs = veer_alloc_array(e->allocator, (size_t)count + 1, sizeof *e->outputs);
    if (!e->outputs) return veer_out_of_memory();
    for (; e->output_count < count; e->output_count++) {
        veer_tensor_t *t = &e->outputs[e->output_count];
        t->type = *veer_plan_output_type(plan, e->output_count);
        t->data = veer_alloc(e->allocator, veer_type_bytes(&t->type));
        if (!t->data) return veer_out_of_memory();
    }
    return veer_ok();
}

veer_status_t veer_evaluate(veer_command_t *c, const veer_evaluate_options_t *options, veer_evaluation_t *out) {
    evaluate_t e = {.c = c, .o = options, .out = out};
    *out = (veer_evaluation_t){.allocator = c->allocator};
    VEER_TRY(veer_dims_check(options->dims, options->info));
    VEER_TRY(veer_inputs_bind_dims(c, options->inputs, options->info, options->dims));
    c->report.stage = "compile";
    VEER_TRY(compile(&e));
    veer_budget_note(&c->report, veer_compiled_plan(out->compiled));
    c->report.stage = "run";
    mark_known(&e);
    int count = veer_plan_input_count(veer_compiled_plan(out->compiled));
    veer_tensor_t *in = veer_arena_array(&c->args.arena, (size_t)count + 1, sizeof *in);
    if (!in) return veer_out_of_memory();
    VEER_TRY(veer_status_where(take_inputs(&e, in), "%s", options->path));
    VEER_TRY(make_outputs(out));
    return veer_compiled_run(out->compiled, in, out->outputs, &(veer_run_options_t){.threads = c->threads});
}

void veer_evaluation_deinit(veer_evaluation_t *e) {
    for (int i = 0; i < e->output_count; i++) veer_free(e->allocator, e->outputs[i].data);
    if (e->outputs) veer_free(e->allocator, e->outputs);
    veer_compiled_destroy(e->compiled);
    *e = (veer_evaluation_t){0};
}

const char *veer_evaluation_name(const veer_evaluation_t *e, int i) {
    return veer_plan_output_name(veer_compiled_plan(e->compiled), i);
}

veer_status_t veer_evaluation_find(const veer_evaluation_t *e, const char *name, int *out_index) {
    const veer_plan_t *plan = veer_compiled_plan(e->compiled);
    int i = veer_plan_find_output(plan, name);
    if (i >= 0) return *out_index = i, veer_ok();
    char list[400] = "";
    for (int k = 0; k < veer_plan_output_count(plan); k++) {
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", k ? ", " : "", veer_plan_output_name(plan, k));
    }
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "there is no output '%s'", name), "outputs are: %s", list);
}

/* ---- results ---- */

static veer_status_t output_at(veer_command_t *c, int i, const char **out_name, const char **out_path) {
    VEER_TRY(veer_args_assignment(&c->args, "output", veer_args_value_at(&c->args, "output", i), out_name, out_path));
    if (**out_path != '@' || !(*out_path)[1])
        return veer_error(VEER_ERR_CONFIG, "--output %s=%s: expected %s=@FILE.npy", *out_name, *out_path, *out_name);
    (*out_path)++;
    return veer_ok();
}

veer_status_t veer_outputs_check(veer_command_t *c) {
    veer_status_t status = NULL;
    for (int i = 0; i < veer_args_count(&c->args, "output"); i++) {
        const char *name, *path;
        veer_outfile_t *file;
        veer_status_t one = output_at(c, i, &name, &path);
        if (!one && !(one = veer_outfile_open(path, c->allocator, &file))) veer_outfile_abandon(file);
        status = veer_status_join(status, one);
    }
    return status;
}

static veer_status_t write_outputs(veer_command_t *c, const veer_evaluation_t *e) {
    c->report.stage = "write";
    for (int i = 0; i < veer_args_count(&c->args, "output"); i++) {
        const char *name, *path;
        int at;
        VEER_TRY(output_at(c, i, &name, &path));
        VEER_TRY(veer_evaluation_find(e, name, &at));
        VEER_TRY(veer_npy_write(path, &e->outputs[at], c->allocator));
    }
    return veer_ok();
}

static void summarize(veer_report_t *r, json_t *row, const veer_tensor_t *t) {
    int64_t count = veer_type_count(&t->type), special = 0;
    double least = INFINITY, most = -INFINITY, sum = 0;
    char first[160] = "";
    for (int64_t i = 0; i < count; i++) {
        double x = veer_tensor_element(t, i);
        size_t at = strlen(first);
        if (i < 4) snprintf(first + at, sizeof first - at, "%s%.6g", i ? " " : "", x);
        if (!isfinite(x)) {
            special++;
            continue;
        }
        least = x < least ? x : least;
        most = x > most ? x : most;
        sum += x;
    }
    if (count > 4) strcat(first, " ...");
    veer_put_real(r, row, "min", least);
    veer_put_real(r, row, "max", most);
    veer_put_real(r, row, "mean", count > special ? sum / (double)(count - special) : NAN);
    if (special) veer_put_int(r, row, "not_finite", special);
    veer_put_text(r, row, "first", first);
}

static void print_summary(veer_command_t *c, const veer_evaluation_t *e) {
    veer_report_t *r = &c->report;
    char text[VEER_TYPE_TEXT_BYTES];
    json_t *rows = veer_report_array(r);
    for (int i = 0; i < e->output_count; i++) {
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "output", veer_evaluation_name(e, i));
        veer_put_text(r, row, "type", veer_type_text(&e->outputs[i].type, text));
        summarize(r, row, &e->outputs[i]);
        veer_append(r, rows, row);
    }
    if (!veer_report_json(r, rows))
        veer_report_table(r, rows,
                          VEER_COLUMNS({"output", NULL}, {"type", NULL}, {"min", NULL}, {"max", NULL}, {"mean", NULL},
                                       {"not_finite", "not finite"}, {"first", NULL}));
    json_decref(rows);
}

veer_status_t veer_evaluation_write(veer_command_t *c, const veer_evaluation_t *e) {
    if (veer_args_has(&c->args, "output")) return write_outputs(c, e);
    print_summary(c, e);
    return veer_ok();
}
