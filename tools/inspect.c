/* veer inspect: what a model is, what it costs, and what of it veer can run and differentiate. The file is read twice:
 * as it stands, and imported, for what shows only with all shapes known. */
#include "tools/dims.h"
#include "tools/limits.h"
#include "ir/flops.h"
#include "backends/reference/reference.h"
#include "ir/gradient.h"
#include "passes/gradient.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    veer_command_t *c;
    const char *path;
    veer_onnx_info_t info;
    veer_dims_t dims;
    veer_limits_t limits;
    veer_onnx_node_use_t *nodes; /* info.nodes by name */
    json_t *root, *unsupported;
    veer_graph_t *graph;
    veer_func_t func; /* VEER_NO_FUNC: could not be imported */
} inspect_t;

/* ---- as it stands ---- */

static json_t *values_json(inspect_t *s, const veer_onnx_value_info_t *values, int count) {
    veer_report_t *r = &s->c->report;
    json_t *array = veer_report_array(r);
    for (int i = 0; i < count; i++) {
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "name", values[i].name);
        veer_put_text(r, row, "type", values[i].type);
        if (values[i].has_default) veer_put_bool(r, row, "default", true);
        veer_append(r, array, row);
    }
    return array;
}

static void put_header(inspect_t *s) {
    veer_report_t *r = &s->c->report;
    json_t *opsets = veer_report_array(r);
    for (int i = 0; i < s->info.opset_count; i++) {
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "domain", *s->info.opsets[i].domain ? s->info.opsets[i].domain : "ai.onnx");
        veer_put_int(r, row, "version", s->info.opsets[i].version);
        veer_append(r, opsets, row);
    }
    veer_put_text(r, s->root, "model", s->path);
    veer_put_text(r, s->root, "producer", s->info.producer);
    veer_put_text(r, s->root, "producer_version", s->info.producer_version);
    veer_put_int(r, s->root, "ir_version", s->info.ir_version);
    veer_put(r, s->root, "opsets", opsets);
    veer_put(r, s->root, "inputs", values_json(s, s->info.inputs, s->info.input_count));
    veer_put(r, s->root, "outputs", values_json(s, s->info.outputs, s->info.output_count));
    veer_put_int(r, s->root, "parameters", s->info.parameter_count);
    veer_put_int(r, s->root, "parameter_bytes", s->info.initializer_bytes);
    veer_put_int(r, s->root, "external_tensors", s->info.external_count);
    veer_put_int(r, s->root, "nodes", s->info.node_count);
}

static void add_unsupported(inspect_t *s, const char *op, int count, const char *node, const char *reason) {
    veer_report_t *r = &s->c->report;
    json_t *row = veer_report_object(r);
    veer_put_text(r, row, "op", op);
    veer_put_int(r, row, "count", count);
    veer_put_text(r, row, "node", node);
    veer_put_text(r, row, "reason", reason);
    veer_append(r, s->unsupported, row);
}

static void add_known_unsupported(inspect_t *s) {
    for (int i = 0; i < s->info.op_count; i++) {
        const veer_onnx_op_use_t *op = &s->info.ops[i];
        if (op->reason) add_unsupported(s, op->op_type, op->count, op->node, op->reason);
    }
    for (int i = 0; i < s->info.unsupported_tensor_count; i++)
        add_unsupported(s, NULL, 1, NULL, s->info.unsupported_tensors[i]);
}

/* ---- imported ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const veer_onnx_node_use_t *)a)->name, ((const veer_onnx_node_use_t *)b)->name);
}

static veer_status_t sort_nodes(inspect_t *s) {
    size_t count = (size_t)s->info.node_count;
    s->nodes = veer_arena_array(&s->info.arena, count + 1, sizeof *s->nodes);
    if (!s->nodes) return veer_out_of_memory();
    if (!count) return veer_ok();
    memcpy(s->nodes, s->info.nodes, count * sizeof *s->nodes);
    qsort(s->nodes, count, sizeof *s->nodes, by_name);
    return veer_ok();
}

/* The row of info.ops that a node of this name belongs to; -1 where there is no such node. */
static int op_of(const inspect_t *s, const char *name) {
    veer_onnx_node_use_t key = {.name = name};
    const veer_onnx_node_use_t *node =
        s->info.node_count ? bsearch(&key, s->nodes, (size_t)s->info.node_count, sizeof key, by_name) : NULL;
    for (int i = 0; node && i < s->info.op_count; i++) {
        const veer_onnx_op_use_t *op = &s->info.ops[i];
        if (op->opset == node->opset && !strcmp(op->op_type, node->op_type) && !strcmp(op->domain, node->domain))
            return i;
    }
    return -1;
}

/* One error of the import: "file: node 'name' (Op, opset 17): reason". Nodes whose op is in the table already are not
 * repeated; the first node of others stands for all with the same reason. */
static void add_import_error(inspect_t *s, const char *message) {
    veer_report_t *r = &s->c->report;
    const char *start = strstr(message, "node '"), *end = start ? strstr(start, "' (") : NULL;
    const char *close = end ? strstr(end, "): ") : NULL;
    char name[256];
    if (!close) {
        add_unsupported(s, NULL, 1, NULL, message);
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)(end - start - 6), start + 6);
    int op = op_of(s, name);
    if (op >= 0 && s->info.ops[op].reason) return;
    const char *type = op >= 0 ? s->info.ops[op].op_type : NULL, *reason = close + 3;
    for (size_t i = 0; i < json_array_size(s->unsupported); i++) {
        json_t *row = json_array_get(s->unsupported, i);
        const char *row_type = json_string_value(json_object_get(row, "op"));
        if (!type || !row_type || strcmp(type, row_type) ||
            strcmp(reason, json_string_value(json_object_get(row, "reason"))))
            continue;
        veer_put_int(r, row, "count", json_integer_value(json_object_get(row, "count")) + 1);
        return;
    }
    add_unsupported(s, type, 1, name, reason);
}

static veer_status_t import(inspect_t *s) {
    veer_onnx_options_t options = {
        .allocator = s->c->allocator, .dims = s->dims.items, .dim_count = s->dims.count, .eval = veer_reference_node};
    s->c->report.stage = "import";
    VEER_TRY(veer_graph_create(s->c->allocator, &s->graph));
    veer_graph_set_limits(s->graph, &s->limits);
    veer_status_t status = veer_onnx_import(s->graph, s->path, "model", &options, &s->func);
    add_known_unsupported(s);
    if (veer_status_code(status) != VEER_ERR_UNSUPPORTED) return status;
    s->func = VEER_NO_FUNC;
    for (size_t i = 0; i < veer_status_count(status); i++) add_import_error(s, veer_status_message(status, i));
    veer_status_free(status);
    return veer_ok();
}

/* ---- operators ---- */

typedef enum { NOT_SEEN, ZERO, YES, NO } gradient_t;

static gradient_t gradient_of(veer_op_t op) {
    const veer_op_def_t *def = veer_op_def(op);
    if (def->grad == veer_grad_none) return ZERO;
    return def->grad && def->grad != veer_grad_missing ? YES : NO;
}

/* An ONNX operator has a gradient where all the IR nodes have one that its nodes became. */
static void find_gradients(const inspect_t *s, veer_region_t region, gradient_t *of_ops) {
    VEER_FOR_EACH_NODE(s->graph, region, node) {
        veer_op_t op = veer_node_op(s->graph, node);
        if (veer_node_body(s->graph, node).i) find_gradients(s, veer_node_body(s->graph, node), of_ops);
        if (op == VEER_OP_CONST || veer_op_has(op, VEER_TERMINATOR) || veer_op_has(op, VEER_REGION)) continue;
        for (int i = 0; i < veer_node_origin_count(s->graph, node); i++) {
            int row = op_of(s, veer_node_origin(s->graph, node, i));
            if (row >= 0 && gradient_of(op) > of_ops[row]) of_ops[row] = gradient_of(op);
        }
    }
}

static veer_status_t put_operators(inspect_t *s) {
    static const char *const texts[] = {[NOT_SEEN] = "constant", [ZERO] = "zero", [YES] = "yes", [NO] = "no"};
    veer_report_t *r = &s->c->report;
    gradient_t *gradients = veer_arena_array(&s->info.arena, (size_t)s->info.op_count + 1, sizeof *gradients);
    if (!gradients) return veer_out_of_memory();
    if (s->func.i) find_gradients(s, veer_func_body(s->graph, s->func), gradients);
    json_t *rows = veer_report_array(r);
    for (int i = 0; i < s->info.op_count; i++) {
        const veer_onnx_op_use_t *op = &s->info.ops[i];
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "op", op->op_type);
        veer_put_text(r, row, "domain", *op->domain ? op->domain : NULL);
        veer_put_int(r, row, "opset", op->opset);
        veer_put_int(r, row, "count", op->count);
        veer_put_bool(r, row, "run", !op->reason);
        veer_put_text(r, row, "gradient", s->func.i ? texts[gradients[i]] : NULL);
        veer_append(r, rows, row);
    }
    veer_put(r, s->root, "operators", rows);
    return veer_ok();
}

/* ---- whole-model facts that need shapes ---- */

static bool is_float(const inspect_t *s, veer_value_t value) {
    return veer_dtype_is_float(veer_value_type(s->graph, value)->dtype);
}

/* Each floating-point output by each such input. */
static void put_gradients(inspect_t *s) {
    veer_report_t *r = &s->c->report;
    veer_region_t body = veer_func_body(s->graph, s->func);
    json_t *rows = veer_report_array(r);
    for (int of = 0; of < veer_region_result_count(s->graph, body); of++)
        for (int64_t wrt = 0; wrt < veer_region_arg_count(s->graph, body); wrt++) {
            veer_value_t x = veer_region_arg(s->graph, body, (int)wrt);
            if (!is_float(s, x) || !is_float(s, veer_region_result(s->graph, body, of))) continue;
            json_t *row = veer_report_object(r);
            veer_status_t status = veer_gradient_check(s->graph, s->func, of, &wrt, 1);
            veer_put_text(r, row, "of", veer_func_result_name(s->graph, s->func, of));
            veer_put_text(r, row, "wrt", veer_value_name(s->graph, x));
            veer_put_bool(r, row, "gradient", !status);
            veer_put_text(r, row, "reason", status ? veer_status_message(status, 0) : NULL);
            veer_append(r, rows, row);
            veer_status_free(status);
        }
    veer_put(r, s->root, "gradients", rows);
}

static void put_shapes(inspect_t *s) {
    veer_report_t *r = &s->c->report;
    json_t *dims = veer_report_object(r);
    for (int i = 0; i < s->dims.count; i++) veer_put_int(r, dims, s->dims.items[i].name, s->dims.items[i].value);
    veer_put(r, s->root, "dims", dims);
    if (s->func.i)
        veer_put_real(r, s->root, "flops", veer_flops(s->graph, veer_func_body(s->graph, s->func)));
    else
        veer_put(r, s->root, "flops", json_null());
}

/* ---- output ---- */

static void print_summary(inspect_t *s) {
    veer_report_t *r = &s->c->report;
    const veer_onnx_info_t *info = &s->info;
    veer_report_print(r, "%s: %s%s%s, IR version %lld", s->path, *info->producer ? info->producer : "unknown producer",
                      *info->producer_version ? " " : "", info->producer_version, (long long)info->ir_version);
    for (int i = 0; i < info->opset_count; i++)
        veer_report_print(r, ", opset %s%s%lld", info->opsets[i].domain, *info->opsets[i].domain ? " " : "",
                          (long long)info->opsets[i].version);
    veer_report_print(r, "\n\n");
    for (int out = 0; out < 2; out++)
        for (int i = 0; i < (out ? info->output_count : info->input_count); i++) {
            const veer_onnx_value_info_t *v = out ? &info->outputs[i] : &info->inputs[i];
            veer_report_print(r, "%-10s  %s  %s%s\n", out ? "output" : "input", v->name, v->type,
                              v->has_default ? "  (has a default)" : "");
        }
    veer_report_print(r, "parameters  %lld (%.1f MB)\n", (long long)info->parameter_count,
                      (double)info->initializer_bytes / 1e6);
    if (info->external_count) veer_report_print(r, "external    %d tensors in other files\n", info->external_count);
    if (s->func.i) veer_report_print(r, "FLOPs       %.4g\n", json_real_value(json_object_get(s->root, "flops")));
    veer_report_print(r, "nodes       %d\n", info->node_count);
}

static void print_result(inspect_t *s) {
    veer_report_t *r = &s->c->report;
    if (veer_report_json(r, s->root)) return;
    print_summary(s);
    veer_report_print(r, "\n");
    veer_report_table(r, json_object_get(s->root, "operators"),
                      VEER_COLUMNS({"op", "operator"}, {"domain", NULL}, {"opset", NULL}, {"count", NULL},
                                   {"run", NULL}, {"gradient", NULL}));
    const json_t *gradients = json_object_get(s->root, "gradients");
    if (json_array_size(gradients)) veer_report_print(r, "\n");
    veer_report_table(r, gradients,
                      VEER_COLUMNS({"of", "gradient of"}, {"wrt", "by"}, {"gradient", "there"}, {"reason", NULL}));
    if (json_array_size(s->unsupported)) veer_report_print(r, "\nunsupported\n");
    veer_report_table(r, s->unsupported,
                      VEER_COLUMNS({"op", "operator"}, {"count", NULL}, {"node", "first node"}, {"reason", NULL}));
}

static veer_status_t inspect(inspect_t *s) {
    veer_report_t *r = &s->c->report;
    s->root = veer_report_object(r);
    s->unsupported = veer_report_array(r);
    VEER_TRY(veer_dims_from_args(s->c, &s->dims));
    r->stage = "read";
    VEER_TRY(veer_limits_from_args(s->c, &s->limits));
    VEER_TRY(veer_onnx_inspect(s->c->allocator, s->path, &s->limits, &s->info));
    VEER_TRY(sort_nodes(s));
    VEER_TRY(veer_dims_check(&s->dims, &s->info));
    VEER_TRY(veer_dims_fill(s->c, &s->dims, &s->info));
    VEER_TRY(import(s));
    put_header(s);
    put_shapes(s);
    VEER_TRY(put_operators(s));
    if (s->func.i) put_gradients(s);
    veer_put(r, s->root, "unsupported", json_incref(s->unsupported));
    print_result(s);
    int count = (int)json_array_size(s->unsupported);
    if (!count) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "%s: %d thing%s not supported", s->path, count,
                      count == 1 ? " is" : "s are");
}

static veer_status_t run_inspect(veer_command_t *c) {
    inspect_t s = {.c = c, .path = veer_command_operand(c, 0)};
    veer_status_t status = inspect(&s);
    json_decref(s.root);
    json_decref(s.unsupported);
    veer_graph_destroy(s.graph);
    veer_onnx_info_deinit(&s.info);
    return status;
}

static const veer_flag_t flags[] = {VEER_DIM_FLAG, VEER_LIMIT_FLAGS{0}};

const veer_verb_t veer_verb_inspect = {
    .name = "inspect",
    .operands = "MODEL.onnx",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "inputs, outputs, parameters, FLOPs and operators of a model, and what is not supported",
    .details = "FLOPs are those of matrix products and convolutions. Exit code 3 where anything is not supported.",
    .example = "  veer inspect examples/digits/unet/model.onnx --dim batch=4",
    .flags = flags,
    .run = run_inspect,
};
