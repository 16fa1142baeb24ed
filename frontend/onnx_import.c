/* The import: names to values, node by node.
 *
 * 1. A node is imported by its row of the op table, which sees operands as values. What it needs constant (shapes,
 * axes) is constant by then: every node's IR is folded before the next node is looked at.
 * 2. A node that fails leaves its outputs FAILED. Nodes that use them are not imported, only looked up, so that one
 * import tells everything that is unsupported and nothing twice.
 * 3. Only want of memory stops the import at once. */
#include "frontend/onnx_import.h"
#include "frontend/onnx_fold.h"
#include "frontend/onnx_scope.h"

#include <stdio.h>
#include <string.h>

enum { MAX_ERRORS = 100, NEWEST_OPSET = 25 };

typedef struct veer_onnx_importer_s {
    veer_graph_t *graph;
    const veer_onnx_options_t *options;
    veer_onnx_file_t file;
    veer_arena_t scratch;
    veer_builder_t b;
    veer_onnx_scope_t *scope; /* of the node that is being imported */
    veer_status_t errors;
    size_t error_count;
    bool view;         /* constants may point into the file */
    int depth;         /* of functions and nested graphs */
    size_t node_count; /* imported so far, functions inlined and loops unrolled */
} veer_onnx_importer_t;

/* ---- errors ---- */

/* Keeps an error and goes on; gives it back where going on makes no sense. */
static veer_status_t keep(veer_onnx_importer_t *im, veer_status_t take_error) {
    if (!take_error || veer_status_code(take_error) == VEER_ERR_RESOURCE) return take_error;
    if (im->error_count++ < MAX_ERRORS)
        im->errors = veer_status_join(im->errors, take_error);
    else
        veer_status_free(take_error);
    return veer_ok();
}

static veer_status_t all_errors(veer_onnx_importer_t *im) {
    veer_status_t errors = im->errors;
    im->errors = NULL;
    if (im->error_count > MAX_ERRORS)
        errors = veer_status_join(
            errors, veer_error(veer_status_code(errors), "and %zu more errors", im->error_count - MAX_ERRORS));
    return errors;
}

/* ---- values ---- */

static veer_status_t initializer_value(veer_onnx_importer_t *im, veer_onnx_symbol_t *symbol) {
    const char *origin = im->b.origin;
    symbol->kind = VEER_ONNX_SYMBOL_FAILED;
    if (veer_onnx_tensor_known_missing(&im->file, symbol->initializer)) return veer_ok();
    im->b.origin = NULL; /* a weight belongs to no node */
    veer_status_t status = veer_onnx_tensor_const(&im->file, symbol->initializer, im->view, &im->b, &symbol->value);
    im->b.origin = origin;
    if (!status) status = veer_value_set_name(im->graph, symbol->value, symbol->name);
    if (!status) symbol->kind = VEER_ONNX_SYMBOL_VALUE;
    return veer_status_where(status, "initializer '%s'", symbol->name);
}

/* The value of a name; VEER_NO_VALUE for the empty name, and (with *out_failed) where there is none to be had. */
static veer_status_t value_of(veer_onnx_importer_t *im, const char *name, veer_value_t *out_value, bool *out_failed) {
    *out_value = VEER_NO_VALUE;
    if (!*name) return veer_ok();
    veer_onnx_symbol_t *symbol = veer_onnx_scope_find(im->scope, name);
    if (!symbol) {
        *out_failed = true;
        veer_status_t status = veer_error(VEER_ERR_FILE, "'%s' is not defined in the model", name);
        return keep(im, im->b.origin ? veer_status_where(status, "node '%s'", im->b.origin)
                                     : veer_status_where(status, "outputs"));
    }
    if (symbol->kind == VEER_ONNX_SYMBOL_INITIALIZER) VEER_TRY(keep(im, initializer_value(im, symbol)));
    if (symbol->kind == VEER_ONNX_SYMBOL_VALUE)
        *out_value = symbol->value;
    else
        *out_failed = true;
    return veer_ok();
}

bool veer_onnx_straight_through(const veer_onnx_node_t *n) {
    return n->importer->options->straight_through;
}

veer_value_t veer_onnx_value_named(const veer_onnx_node_t *n, const char *name) {
    veer_onnx_symbol_t *symbol = veer_onnx_scope_find(n->importer->scope, name);
    return symbol && symbol->kind == VEER_ONNX_SYMBOL_VALUE ? symbol->value : VEER_NO_VALUE;
}

static void set_outputs(veer_onnx_importer_t *im, const VeerOnnx__NodeProto *proto, const veer_value_t *values) {
    for (size_t i = 0; i < proto->n_output; i++) {
        if (!*proto->output[i]) continue;
        veer_onnx_symbol_t *symbol = veer_onnx_scope_find(im->scope, proto->output[i]);
        symbol->kind = values && values[i].i ? VEER_ONNX_SYMBOL_VALUE : VEER_ONNX_SYMBOL_FAILED;
        if (values) symbol->value = values[i];
    }
}

/* ---- nested graphs and functions ---- */

static veer_status_t import_nodes(veer_onnx_importer_t *im);

/* Runs `inner` as the current scope and looks up what it gives. *out_values is NULL where something in it failed. */
static veer_status_t import_inner(veer_onnx_importer_t *im, veer_onnx_scope_t *inner, char **names, size_t count,
                                  veer_value_t **out_values) {
    veer_onnx_scope_t *outer = im->scope;
    size_t errors_before = im->error_count;
    bool failed = false;
    veer_value_t *values = veer_arena_array(&im->scratch, count + 1, sizeof *values);
    if (!values) return veer_out_of_memory();
    im->scope = inner;
    veer_status_t status = veer_limit_check(im->file.limits, VEER_LIMIT_MAX_DEPTH, ++im->depth);
    if (!status) status = veer_onnx_scope_add_nodes(inner);
    if (!status) status = import_nodes(im);
    for (size_t i = 0; i < count && !status && im->error_count == errors_before; i++) {
        status = *names[i] ? value_of(im, names[i], &values[i], &failed)
                           : veer_error(VEER_ERR_FILE, "output %zu of the function or nested graph has no name", i);
        failed |= !values[i].i;
    }
    im->depth--;
    im->scope = outer;
    *out_values = failed || im->error_count != errors_before ? NULL : values;
    return status;
}

static veer_status_t add_graph_initializers(veer_onnx_importer_t *im, veer_onnx_scope_t *scope,
                                            const VeerOnnx__GraphProto *graph) {
    veer_onnx_tensor_t *tensors = veer_arena_array(&im->scratch, graph->n_initializer, sizeof *tensors);
    if (!tensors) return veer_out_of_memory();
    for (size_t i = 0; i < graph->n_initializer; i++) {
        bool is_new;
        tensors[i] = veer_onnx_tensor_of(graph->initializer[i]);
        const char *name = graph->initializer[i]->name;
        veer_onnx_symbol_t *symbol = veer_onnx_scope_add(scope, name ? name : "", &is_new);
        if (!symbol) return veer_out_of_memory();
        symbol->kind = VEER_ONNX_SYMBOL_INITIALIZER;
        symbol->initializer = &tensors[i];
    }
    return veer_ok();
}

/* The inputs of a nested graph: what the node gives it. */
static veer_status_t add_graph_inputs(veer_onnx_scope_t *scope, const VeerOnnx__GraphProto *graph,
                                      const veer_value_t *in, size_t count) {
    if (graph->n_input != count)
        return veer_error(VEER_ERR_FILE, "the nested graph has %zu inputs, expected %zu", graph->n_input, count);
    for (size_t i = 0; i < count; i++) {
        bool is_new;
        const char *name = graph->input[i]->name;
        veer_onnx_symbol_t *symbol = veer_onnx_scope_add(scope, name ? name : "", &is_new);
        if (!symbol) return veer_out_of_memory();
        symbol->kind = VEER_ONNX_SYMBOL_VALUE;
        symbol->value = in[i];
    }
    return veer_ok();
}

static veer_status_t inline_graph(veer_onnx_importer_t *im, const VeerOnnx__GraphProto *graph, const veer_value_t *in,
                                  size_t in_count, veer_value_t **out) {
    veer_onnx_scope_t inner = *im->scope;
    inner.outer = im->scope;
    inner.symbols = NULL;
    inner.capacity = inner.count = 0;
    inner.nodes = graph->node;
    inner.node_count = graph->n_node;
    char **names = veer_arena_array(&im->scratch, graph->n_output + 1, sizeof *names);
    if (!names) return veer_out_of_memory();
    for (size_t i = 0; i < graph->n_output; i++)
        names[i] = graph->output[i]->name ? graph->output[i]->name : (char *)"";
    VEER_TRY(add_graph_initializers(im, &inner, graph));
    VEER_TRY(add_graph_inputs(&inner, graph, in, in_count));
    return import_inner(im, &inner, names, graph->n_output, out);
}

const veer_value_t *veer_onnx_inline_graph(veer_onnx_node_t *n, const VeerOnnx__GraphProto *graph,
                                           const veer_value_t *in, int in_count) {
    veer_value_t *values = NULL;
    const char *origin = n->b->origin;
    veer_status_t status = inline_graph(n->importer, graph, in, (size_t)in_count, &values);
    n->b->origin = origin;
    if (status) veer_builder_fail(n->b, status);
    n->failed = !values;
    return values;
}

static const VeerOnnx__FunctionProto *find_function(const veer_onnx_importer_t *im, const char *type,
                                                    const char *domain, const char *overload) {
    for (size_t i = 0; i < im->file.model->n_functions; i++) {
        const VeerOnnx__FunctionProto *f = im->file.model->functions[i];
        if (!strcmp(f->name ? f->name : "", type) && !strcmp(f->domain ? f->domain : "", domain) &&
            !strcmp(f->overload ? f->overload : "", overload ? overload : ""))
            return f;
    }
    return NULL;
}

static bool calls_itself(const veer_onnx_node_t *n, const VeerOnnx__FunctionProto *f) {
    for (; n; n = n->caller)
        if (n->function == f) return true;
    return false;
}

/* A function of the model: its nodes, with inputs in place of its parameters. */
static veer_status_t import_call(veer_onnx_importer_t *im, veer_onnx_node_t *n, const VeerOnnx__FunctionProto *f) {
    veer_onnx_scope_t inner = {.arena = &im->scratch,
                               .nodes = f->node,
                               .node_count = f->n_node,
                               .opsets = f->opset_import,
                               .opset_count = f->n_opset_import,
                               .caller = n,
                               .function = f};
    const char *origin = im->b.origin;
    if ((size_t)n->in_count > f->n_input || (size_t)n->out_count > f->n_output)
        return veer_error(VEER_ERR_FILE, "%d inputs and %d outputs, the function has %zu and %zu", n->in_count,
                          n->out_count, f->n_input, f->n_output);
    if (calls_itself(n, f)) return veer_error(VEER_ERR_FILE, "the function calls itself");
    for (size_t i = 0; i < f->n_input; i++) {
        bool is_new;
        if (i >= (size_t)n->in_count || !n->in[i].i) continue; /* optional ones that are left out stay undefined */
        veer_onnx_symbol_t *symbol = veer_onnx_scope_add(&inner, f->input[i], &is_new);
        if (!symbol) return veer_out_of_memory();
        symbol->kind = VEER_ONNX_SYMBOL_VALUE;
        symbol->value = n->in[i];
    }
    veer_value_t *values = NULL;
    VEER_TRY(import_inner(im, &inner, f->output, f->n_output, &values));
    im->b.origin = origin;
    n->failed = !values;
    for (int i = 0; values && i < n->out_count; i++) n->out[i] = values[i];
    return veer_ok();
}

/* ---- one node ---- */

static veer_status_t count_node(veer_onnx_importer_t *im) {
    return veer_limit_check(im->file.limits, VEER_LIMIT_MAX_NODES, (int64_t)++im->node_count);
}

bool veer_onnx_count_turn(veer_onnx_node_t *n) {
    if (veer_onnx_ok(n)) veer_builder_fail(n->b, count_node(n->importer));
    return veer_onnx_ok(n);
}

static veer_status_t check_row(const veer_onnx_node_t *n, const char *domain) {
    const char *type = n->proto->op_type;
    const veer_onnx_op_t *op = n->op;
    if (!op) {
        veer_status_t status = veer_error(VEER_ERR_UNSUPPORTED, "the operator is not supported");
        return veer_status_help(status, "see `veer ops` for the operators that are; domain '%s'", domain);
    }
    if (n->opset < op->since)
        return veer_status_help(
            veer_error(VEER_ERR_UNSUPPORTED, "%s is supported from operator set %d on", type, op->since),
            "export with opset %d or later", op->since > 13 ? op->since : 13);
    if (op->max_in >= 0 && n->in_count > op->max_in)
        return veer_error(VEER_ERR_UNSUPPORTED, "%d inputs, at most %d are supported", n->in_count, op->max_in);
    for (int i = 0; i < op->min_in; i++)
        if (!veer_onnx_has_in(n, i)) return veer_error(VEER_ERR_FILE, "input %d is missing", i);
    for (int i = op->max_out; op->max_out >= 0 && i < n->out_count; i++)
        if (veer_onnx_wants(n, i)) return veer_error(VEER_ERR_UNSUPPORTED, "output %d is not supported", i);
    if (n->out_count < 1) return veer_error(VEER_ERR_FILE, "the node has no output");
    return veer_ok();
}

/* Values of inputs; *out_failed where one of them could not be imported. */
static veer_status_t read_inputs(veer_onnx_importer_t *im, veer_onnx_node_t *n, bool *out_failed) {
    const VeerOnnx__NodeProto *proto = n->proto;
    veer_value_t *in = veer_arena_array(&im->scratch, proto->n_input + 8, sizeof *in);
    n->in = in;
    n->out = veer_arena_array(&im->scratch, proto->n_output + 4, sizeof *n->out);
    if (!in || !n->out) return veer_out_of_memory();
    n->out_count = (int)proto->n_output;
    for (size_t i = 0; i < proto->n_input; i++) {
        /* Inputs of a function that the call leaves out are absent wherever the function uses them. */
        if (im->scope->function && !veer_onnx_scope_find(im->scope, proto->input[i])) {
            bool parameter = false;
            for (size_t k = 0; k < im->scope->function->n_input; k++)
                parameter |= !strcmp(im->scope->function->input[k], proto->input[i]);
            if (parameter) continue;
        }
        VEER_TRY(value_of(im, proto->input[i], &in[i], out_failed));
        if (in[i].i) n->in_count = (int)i + 1;
    }
    return veer_ok();
}

static veer_status_t run_row(veer_onnx_importer_t *im, veer_onnx_node_t *n, const char *domain) {
    VEER_TRY(check_row(n, domain));
    veer_node_t mark = veer_region_last(im->graph, im->b.region);
    n->op->import(n);
    VEER_TRY(veer_builder_status(&im->b));
    if (n->failed) return veer_ok();
    VEER_TRY(veer_onnx_fold(im->graph, im->b.region, mark, im->options, &im->file, n->out, n->out_count));
    for (int i = 0; i < n->out_count; i++) {
        const char *name = n->proto->output[i];
        if (!*name || !n->out[i].i) continue;
        if (!*veer_value_name(im->graph, n->out[i])) VEER_TRY(veer_value_set_name(im->graph, n->out[i], name));
    }
    return veer_ok();
}

static veer_status_t import_node(veer_onnx_importer_t *im, const VeerOnnx__NodeProto *proto) {
    const char *type = proto->op_type ? proto->op_type : "", *domain = proto->domain ? proto->domain : "";
    const char *name = veer_onnx_scope_node_name(im->scope, proto);
    if (!name) return veer_out_of_memory();
    im->b.origin = name;
    veer_onnx_node_t n = {.b = &im->b,
                          .arena = &im->scratch,
                          .file = &im->file,
                          .importer = im,
                          .proto = proto,
                          .name = name,
                          .number = im->node_count,
                          .caller = im->scope->caller,
                          .function = im->scope->function,
                          .opset = veer_onnx_scope_opset(im->scope, domain)};
    bool failed = false;
    VEER_TRY(read_inputs(im, &n, &failed));
    const VeerOnnx__FunctionProto *callee = find_function(im, type, domain, proto->overload);
    n.op = veer_onnx_op_find(type, domain);
    veer_status_t status = NULL;
    VEER_TRY(count_node(im));
    if (!failed)
        status = callee ? import_call(im, &n, callee) : run_row(im, &n, domain);
    else if (!n.op && !callee)
        status = check_row(&n, domain);
    failed |= status || n.failed;
    if (status && veer_status_code(status) != VEER_ERR_RESOURCE)
        status = veer_status_where(status, "node '%s' (%s, opset %d)", name, type, n.opset);
    set_outputs(im, proto, failed ? NULL : n.out);
    return keep(im, status);
}

static veer_status_t import_nodes(veer_onnx_importer_t *im) {
    size_t *order;
    VEER_TRY(veer_onnx_scope_order(im->scope, &order));
    for (size_t i = 0; i < im->scope->node_count; i++) VEER_TRY(import_node(im, im->scope->nodes[order[i]]));
    return veer_ok();
}

/* ---- inputs and outputs of the model ---- */

static const veer_dim_binding_t *find_dim(const veer_onnx_options_t *o, const char *name) {
    for (int i = 0; i < o->dim_count; i++)
        if (!strcmp(o->dims[i].name, name)) return &o->dims[i];
    return NULL;
}

/* One dim of an input: its value, or that of its name, or that of "input.axis". */
static veer_status_t read_dim(const veer_onnx_options_t *o, const char *input, size_t axis,
                              const VeerOnnx__TensorShapeProto__Dimension *dim, int64_t *out_dim) {
    bool known = dim->value_case == VEER_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    bool named = dim->value_case == VEER_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && *dim->dim_param;
    char place[300];
    snprintf(place, sizeof place, "%.250s.%zu", input, axis);
    const veer_dim_binding_t *binding = find_dim(o, place);
    if (!binding && named) binding = find_dim(o, dim->dim_param);
    if (known && !binding) {
        *out_dim = dim->dim_value;
        if (dim->dim_value >= 0) return veer_ok();
        return veer_error(VEER_ERR_FILE, "input '%s': dimension %zu is %lld", input, axis, (long long)dim->dim_value);
    }
    const char *name = named ? dim->dim_param : place;
    if (!binding)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG, "input '%s': dimension %zu ('%s') has no value", input, axis, name),
            "--dim %s=N", name);
    if (binding->value < 1)
        return veer_error(VEER_ERR_CONFIG, "dimension '%s' is bound to %lld, expected at least 1", name,
                          (long long)binding->value);
    *out_dim = binding->value;
    return veer_ok();
}

static veer_status_t read_input_type(veer_onnx_importer_t *im, const VeerOnnx__ValueInfoProto *info, veer_type_t *out) {
    char text[32];
    const char *name = info->name ? info->name : "";
    if (!info->type || info->type->value_case != VEER_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return veer_error(VEER_ERR_UNSUPPORTED, "input '%s' is no tensor", name);
    const VeerOnnx__TypeProto__Tensor *tensor = info->type->tensor_type;
    veer_type_t type = {.dtype = veer_onnx_dtype(tensor->elem_type)};
    if (type.dtype == VEER_DTYPE_NONE)
        return veer_error(VEER_ERR_UNSUPPORTED, "input '%s' has elements of type %s", name,
                          veer_onnx_dtype_name(tensor->elem_type, text));
    for (int i = 0; i < im->options->shape_count; i++)
        if (!strcmp(im->options->shapes[i].input, name)) {
            *out = veer_type_make(type.dtype, im->options->shapes[i].rank, im->options->shapes[i].dims);
            return veer_status_where(veer_type_check(out), "input '%s'", name);
        }
    if (!tensor->shape) return veer_error(VEER_ERR_UNSUPPORTED, "input '%s' has no shape, not even a rank", name);
    if (tensor->shape->n_dim > VEER_MAX_RANK)
        return veer_error(VEER_ERR_UNSUPPORTED, "input '%s' has %zu dimensions, at most %d are supported", name,
                          tensor->shape->n_dim, VEER_MAX_RANK);
    veer_status_t status = NULL;
    type.rank = (int)tensor->shape->n_dim;
    for (size_t i = 0; i < tensor->shape->n_dim; i++)
        status = veer_status_join(status, read_dim(im->options, name, i, tensor->shape->dim[i], &type.dims[i]));
    VEER_TRY(status);
    *out = type;
    return veer_status_where(veer_type_check(&type), "input '%s'", name);
}

static veer_status_t input_value(veer_onnx_importer_t *im, const VeerOnnx__ValueInfoProto *info, veer_value_t *out) {
    const veer_onnx_options_t *o = im->options;
    for (int i = 0; i < o->binding_count; i++)
        if (!strcmp(o->bindings[i].input, info->name)) {
            *out = veer_const(&im->b, o->bindings[i].tensor.type, o->bindings[i].tensor.data);
            VEER_TRY(veer_builder_status(&im->b));
            return veer_value_set_name(im->graph, *out, info->name);
        }
    veer_type_t type;
    VEER_TRY(read_input_type(im, info, &type));
    return veer_region_add_arg(im->graph, im->b.region, type, info->name, out);
}

static veer_status_t add_initializers(veer_onnx_importer_t *im, veer_onnx_scope_t *scope) {
    for (size_t i = 0; i < im->file.initializer_count; i++) {
        bool is_new;
        const char *name = im->file.initializers[i].proto->name;
        if (!name || !*name) return veer_error(VEER_ERR_FILE, "initializer %zu has no name", i);
        veer_onnx_symbol_t *symbol = veer_onnx_scope_add(scope, name, &is_new);
        if (!symbol) return veer_out_of_memory();
        if (!is_new) return veer_error(VEER_ERR_FILE, "initializer '%s' is defined twice", name);
        symbol->kind = VEER_ONNX_SYMBOL_INITIALIZER;
        symbol->initializer = &im->file.initializers[i];
    }
    return veer_ok();
}

static bool is_bound(const veer_onnx_options_t *o, const char *name) {
    for (int i = 0; i < o->binding_count; i++)
        if (!strcmp(o->bindings[i].input, name)) return true;
    return false;
}

/* An input that is an initializer, too, has a default: it stays constant, unless the caller binds it. */
static veer_status_t add_inputs(veer_onnx_importer_t *im, veer_onnx_scope_t *scope) {
    for (size_t i = 0; i < im->file.input_count; i++) {
        const VeerOnnx__ValueInfoProto *info = im->file.inputs[i];
        if (!info->name || !*info->name) return veer_error(VEER_ERR_FILE, "input %zu has no name", i);
        bool is_new;
        veer_onnx_symbol_t *symbol = veer_onnx_scope_add(scope, info->name, &is_new);
        if (!symbol) return veer_out_of_memory();
        if (!is_new && symbol->kind == VEER_ONNX_SYMBOL_VALUE)
            return veer_error(VEER_ERR_FILE, "input '%s' is defined twice", info->name);
        if (!is_new && !is_bound(im->options, info->name)) continue;
        veer_value_t value = VEER_NO_VALUE;
        VEER_TRY(keep(im, input_value(im, info, &value)));
        symbol->kind = VEER_ONNX_SYMBOL_VALUE;
        symbol->value = value;
    }
    return veer_ok();
}

static veer_status_t add_outputs(veer_onnx_importer_t *im, veer_func_t func) {
    size_t count = im->file.output_count;
    bool failed = false;
    veer_value_t *values = veer_arena_array(&im->scratch, count + 1, sizeof *values);
    if (!values) return veer_out_of_memory();
    im->b.origin = NULL;
    if (!count) return veer_error(VEER_ERR_FILE, "the model has no outputs");
    for (size_t i = 0; i < count; i++)
        VEER_TRY(value_of(im, im->file.outputs[i]->name ? im->file.outputs[i]->name : "", &values[i], &failed));
    for (size_t i = 0; i < count && !failed; i++)
        if (!values[i].i) return veer_error(VEER_ERR_FILE, "output %zu has no name", i);
    if (failed && !im->error_count) return veer_error(VEER_ERR_FILE, "an output depends on a value that has no name");
    if (im->error_count) return veer_ok();
    veer_builder_return(&im->b, values, (int)count);
    VEER_TRY(veer_builder_status(&im->b));
    for (size_t i = 0; i < count; i++)
        VEER_TRY(veer_func_set_result_name(im->graph, func, (int)i, im->file.outputs[i]->name));
    return veer_ok();
}

/* ---- the whole ---- */

static veer_status_t check_model(const veer_onnx_importer_t *im, const veer_onnx_scope_t *scope) {
    int opset = veer_onnx_scope_opset(scope, "");
    if (im->file.sparse_initializer_count)
        return veer_error(VEER_ERR_UNSUPPORTED, "sparse initializers are not supported");
    if (opset <= NEWEST_OPSET) return veer_ok();
    return veer_status_help(veer_error(VEER_ERR_UNSUPPORTED,
                                       "operator set %d is newer than %d, the newest that is known", opset,
                                       NEWEST_OPSET),
                            "export with opset %d or earlier", NEWEST_OPSET);
}

static veer_status_t import_model(veer_onnx_importer_t *im, veer_func_t func) {
    veer_onnx_scope_t scope = {.arena = &im->scratch,
                               .nodes = im->file.nodes,
                               .node_count = im->file.node_count,
                               .opsets = im->file.model->opset_import,
                               .opset_count = im->file.model->n_opset_import};
    im->scope = &scope;
    VEER_TRY(check_model(im, &scope));
    VEER_TRY(add_initializers(im, &scope));
    VEER_TRY(add_inputs(im, &scope));
    if (im->error_count) return all_errors(im);
    VEER_TRY(veer_onnx_scope_add_nodes(&scope));
    VEER_TRY(import_nodes(im));
    VEER_TRY(add_outputs(im, func));
    if (im->error_count) return all_errors(im);
    veer_onnx_sweep(im->graph, im->b.region);
    return im->view ? veer_onnx_file_give_maps(&im->file, im->graph) : veer_ok();
}

/* Takes the opened file of `im`. */
static veer_status_t import_file(veer_onnx_importer_t *im, const char *func_name, veer_func_t *out_func) {
    veer_func_t func = VEER_NO_FUNC;
    veer_arena_init(&im->scratch, im->file.arena.allocator);
    veer_status_t status = veer_graph_add_func(im->graph, func_name, &func);
    if (!status) {
        im->b = veer_builder_at_end(im->graph, veer_func_body(im->graph, func));
        status = import_model(im, func);
        veer_status_free(im->errors);
        veer_builder_fail(&im->b, NULL);
    }
    if (!status && (im->scratch.failed || im->file.arena.failed)) status = veer_out_of_memory(); /* a name, say */
    if (status && im->file.path) status = veer_status_where(status, "%s", im->file.path);
    if (status && func.i) veer_graph_remove_func(im->graph, func);
    if (!status) *out_func = func;
    veer_arena_deinit(&im->scratch);
    veer_onnx_file_close(&im->file);
    return status;
}

static veer_allocator_t allocator_of(veer_graph_t *g, const veer_onnx_options_t *options) {
    return options && options->allocator.alloc ? options->allocator : veer_graph_allocator(g);
}

static const veer_onnx_options_t no_options;

veer_status_t veer_onnx_import(veer_graph_t *g, const char *path, const char *func_name,
                               const veer_onnx_options_t *options, veer_func_t *out_func) {
    veer_onnx_importer_t im = {.graph = g, .options = options ? options : &no_options, .view = true};
    VEER_TRY(veer_onnx_file_open(allocator_of(g, options), path, veer_graph_limits(g), &im.file));
    return import_file(&im, func_name, out_func);
}

veer_status_t veer_onnx_import_memory(veer_graph_t *g, const void *bytes, size_t size_bytes, const char *func_name,
                                      const veer_onnx_options_t *options, veer_func_t *out_func) {
    veer_onnx_importer_t im = {.graph = g, .options = options ? options : &no_options};
    VEER_TRY(veer_onnx_file_read(allocator_of(g, options), bytes, size_bytes, veer_graph_limits(g), &im.file));
    return import_file(&im, func_name, out_func);
}

int veer_onnx_op_count(void) {
    int count = 0;
    while (veer_onnx_op_at(count)) count++;
    return count;
}

veer_onnx_op_info_t veer_onnx_op_info(int i) {
    const veer_onnx_op_t *op = veer_onnx_op_at(i);
    return (veer_onnx_op_info_t){op->op_type, *op->domain ? op->domain : "ai.onnx", op->since};
}
