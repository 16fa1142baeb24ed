/* The export: a copy of the function is made and its calls and composite nodes are spelled out; then every node is
 * written as ONNX nodes. The file is a list of pieces, so that weights go from where they are to the disk. */
#include "frontend/onnx_export.h"
#include "frontend/onnx/export.h"
#include "frontend/outfile.h"
#include "ir/gradient.h"

#include <stdio.h>
#include <string.h>

enum { MODEL_GRAPH = 7, GRAPH_NAME = 2, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };

/* ---- the copy ---- */

static veer_status_t fresh_func(veer_graph_t *g, veer_func_t func, veer_func_t *out_copy) {
    char name[300];
    int number = 0;
    do snprintf(name, sizeof name, "%.250s.export%d", veer_func_name(g, func), number++);
    while (veer_graph_find_func(g, name).i);
    return veer_graph_add_func(g, name, out_copy);
}

/* Arguments, results and names as those of `func`; the results array is the caller's. */
static veer_status_t fill_copy(veer_graph_t *g, veer_func_t func, veer_func_t copy, veer_value_t *args,
                               veer_value_t *results) {
    veer_region_t from = veer_func_body(g, func), to = veer_func_body(g, copy);
    int arg_count = veer_region_arg_count(g, from), result_count = veer_region_result_count(g, from);
    for (int i = 0; i < arg_count; i++) {
        veer_value_t arg = veer_region_arg(g, from, i);
        VEER_TRY(veer_region_add_arg(g, to, *veer_value_type(g, arg), veer_value_name(g, arg), &args[i]));
    }
    veer_builder_t b = veer_builder_at_end(g, to);
    veer_builder_inline(&b, func, args, arg_count, results);
    if (veer_builder_ok(&b)) veer_builder_return(&b, results, result_count);
    VEER_TRY(veer_builder_status(&b));
    for (int i = 0; i < result_count; i++)
        VEER_TRY(veer_func_set_result_name(g, copy, i, veer_func_result_name(g, func, i)));
    return veer_ok();
}

static veer_status_t copy_func(veer_graph_t *g, veer_func_t func, veer_func_t *out_copy) {
    veer_region_t body = veer_func_body(g, func);
    veer_arena_t *arena = veer_graph_arena(g);
    veer_value_t *args = veer_arena_array(arena, (size_t)veer_region_arg_count(g, body) + 1, sizeof *args);
    veer_value_t *results = veer_arena_array(arena, (size_t)veer_region_result_count(g, body) + 1, sizeof *results);
    if (!args || !results) return veer_out_of_memory();
    VEER_TRY(fresh_func(g, func, out_copy));
    veer_status_t status = fill_copy(g, func, *out_copy, args, results);
    if (status) veer_graph_remove_func(g, *out_copy);
    return status;
}

/* Puts what a node computes before it, in simpler nodes, and removes it. */
static veer_status_t spell_out(veer_graph_t *g, veer_node_t node) {
    int in_count = veer_node_in_count(g, node), out_count = veer_node_out_count(g, node);
    veer_arena_t *arena = veer_graph_arena(g);
    veer_value_t *in = veer_arena_array(
        arena, (size_t)(in_count > VEER_OP_MAX_OPERANDS ? in_count : VEER_OP_MAX_OPERANDS), sizeof *in);
    veer_value_t *out = veer_arena_array(arena, (size_t)out_count + 1, sizeof *out);
    if (!in || !out) return veer_out_of_memory();
    for (int i = 0; i < in_count; i++) in[i] = veer_node_in(g, node, i);
    veer_builder_t b = veer_builder_before(g, node);
    veer_status_t status = NULL;
    if (veer_node_op(g, node) == VEER_OP_CALL) {
        veer_func_t callee = veer_graph_find_func(g, veer_node_string(g, node, "callee"));
        veer_builder_inline(&b, callee, in, in_count, out);
    } else {
        veer_expand_t e = {
            .graph = g, .node = node, .in_count = in_count, .out_count = out_count, .in = in, .out = out};
        status = veer_op_def(veer_node_op(g, node))->expand(&b, &e);
    }
    status = veer_status_join(status, veer_builder_status(&b));
    VEER_TRY(status);
    for (int i = 0; i < out_count; i++) veer_value_replace(g, veer_node_out(g, node, i), out[i]);
    veer_node_remove(g, node);
    return veer_ok();
}

static veer_status_t spell_out_all(veer_graph_t *g, veer_region_t region) {
    for (veer_node_t node = veer_region_first(g, region); node.i;) {
        veer_node_t prev = veer_node_prev(g, node), next = veer_node_next(g, node);
        veer_region_t body = veer_node_body(g, node);
        if (body.i) VEER_TRY(spell_out_all(g, body));
        if (veer_node_op(g, node) == VEER_OP_CALL || veer_onnx_must_expand(g, node)) {
            VEER_TRY(spell_out(g, node));
            next = prev.i ? veer_node_next(g, prev) : veer_region_first(g, region); /* what it was made of, too */
        }
        node = next;
    }
    return veer_ok();
}

/* ---- the graph message ---- */

static void add_value_info(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, uint32_t number, const char *name,
                           const veer_type_t *type) {
    VeerOnnx__TensorShapeProto__Dimension dims[VEER_MAX_RANK], *list[VEER_MAX_RANK];
    VeerOnnx__TensorShapeProto shape = VEER_ONNX__TENSOR_SHAPE_PROTO__INIT;
    VeerOnnx__TypeProto__Tensor tensor = VEER_ONNX__TYPE_PROTO__TENSOR__INIT;
    VeerOnnx__TypeProto proto = VEER_ONNX__TYPE_PROTO__INIT;
    VeerOnnx__ValueInfoProto info = VEER_ONNX__VALUE_INFO_PROTO__INIT;
    for (int i = 0; i < type->rank; i++) {
        veer_onnx__tensor_shape_proto__dimension__init(&dims[i]);
        dims[i].value_case = VEER_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dims[i].dim_value = type->dims[i];
        list[i] = &dims[i];
    }
    shape.n_dim = (size_t)type->rank;
    shape.dim = list;
    tensor.has_elem_type = 1;
    tensor.elem_type = veer_onnx_data_type(w, type->dtype);
    tensor.shape = &shape;
    proto.value_case = VEER_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    proto.tensor_type = &tensor;
    info.name = (char *)(uintptr_t)name;
    info.type = &proto;
    veer_onnx_message_add(w, chunks, number, &info.base);
}

/* Names of arguments and results are the model's interface: they are taken first. A result gets its name at once where
 * it is a node's own value and asked for once; otherwise an Identity gives it. */
static const char **interface_names(veer_onnx_writer_t *w, veer_func_t func, veer_region_t body) {
    int results = veer_region_result_count(w->graph, body);
    const char **out = veer_onnx_writer_alloc(w, (size_t)(results + 1) * sizeof *out);
    for (int i = 0; i < veer_region_arg_count(w->graph, body) && out; i++) {
        veer_value_t arg = veer_region_arg(w->graph, body, i);
        w->names[arg.i] = veer_onnx_writer_name(w, veer_value_name(w->graph, arg));
    }
    for (int i = 0; i < results && out; i++) {
        veer_value_t value = veer_region_result(w->graph, body, i);
        const char *name = veer_func_result_name(w->graph, func, i);
        out[i] = veer_onnx_writer_name(w, *name ? name : veer_value_name(w->graph, value));
        if (!w->names[value.i]) w->names[value.i] = out[i];
    }
    return w->status ? NULL : out;
}

static void add_interface(veer_onnx_writer_t *w, veer_region_t body, const char **results, veer_onnx_chunks_t *graph) {
    for (int i = 0; i < veer_region_arg_count(w->graph, body); i++) {
        veer_value_t arg = veer_region_arg(w->graph, body, i);
        add_value_info(w, graph, GRAPH_INPUT, w->names[arg.i], veer_value_type(w->graph, arg));
    }
    for (int i = 0; i < veer_region_result_count(w->graph, body); i++)
        add_value_info(w, graph, GRAPH_OUTPUT, results[i],
                       veer_value_type(w->graph, veer_region_result(w->graph, body, i)));
}

static veer_status_t write_region(veer_onnx_writer_t *w, veer_region_t body) {
    veer_status_t errors = NULL;
    VEER_FOR_EACH_NODE(w->graph, body, node) {
        const char *op = veer_op_name(veer_node_op(w->graph, node));
        const char *origin = veer_node_origin_count(w->graph, node) ? veer_node_origin(w->graph, node, 0) : "";
        veer_status_t status = NULL;
        if (!veer_onnx_write_node(w, node))
            status = veer_error(VEER_ERR_UNSUPPORTED, "ONNX has no standard operator for it");
        if (w->status) status = veer_status_join(w->status, status);
        w->status = NULL;
        w->attr_count = 0;
        if (veer_status_code(status) == VEER_ERR_RESOURCE) {
            veer_status_free(errors);
            return status;
        }
        errors = veer_status_join(errors, veer_status_where(status, "node '%s' (%s)", origin, op));
    }
    return errors;
}

static veer_status_t write_results(veer_onnx_writer_t *w, veer_region_t body, const char **results) {
    for (int i = 0; i < veer_region_result_count(w->graph, body); i++) {
        const char *name = w->names[veer_region_result(w->graph, body, i).i];
        w->node = veer_region_terminator(w->graph, body);
        if (name != results[i]) veer_onnx_write(w, "Identity", results[i], 1, &name);
    }
    veer_status_t status = w->status;
    w->status = NULL;
    return status;
}

/* ---- the model message ---- */

static int64_t weight_bytes(const veer_graph_t *g, veer_region_t body) {
    int64_t total = 0;
    VEER_FOR_EACH_NODE(g, body, node)
    if (veer_node_op(g, node) == VEER_OP_CONST)
        total += (int64_t)veer_type_bytes(veer_value_type(g, veer_node_out(g, node, 0)));
    return total;
}

static void add_header(veer_onnx_writer_t *w, veer_onnx_chunks_t *model) {
    VeerOnnx__OperatorSetIdProto opset = VEER_ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets = &opset;
    VeerOnnx__ModelProto header = VEER_ONNX__MODEL_PROTO__INIT;
    static char domain[] = "", producer[] = "veer";
    opset.domain = domain;
    opset.has_version = 1;
    opset.version = VEER_ONNX_EXPORT_OPSET;
    header.has_ir_version = 1;
    header.ir_version = VEER_ONNX_EXPORT_IR_VERSION;
    header.producer_name = producer;
    header.n_opset_import = 1;
    header.opset_import = &opsets;
    size_t size = protobuf_c_message_get_packed_size(&header.base);
    uint8_t *bytes = veer_onnx_writer_alloc(w, size);
    if (!bytes) return;
    protobuf_c_message_pack(&header.base, bytes);
    veer_onnx_chunk_add(w, model, bytes, size);
}

static veer_status_t assemble(veer_onnx_writer_t *w, const char *graph_name, veer_onnx_chunks_t *interface,
                              veer_onnx_chunks_t *out_model) {
    veer_onnx_chunks_t name = {0};
    veer_onnx_field_add(w, &name, GRAPH_NAME, graph_name, strlen(graph_name));
    uint8_t *tag = veer_onnx_writer_alloc(w, 16);
    add_header(w, out_model);
    if (!tag || w->status) return w->status;
    veer_onnx_chunks_t *parts[] = {&w->nodes, &name, &w->initializers, interface};
    size_t total = 0;
    for (int i = 0; i < 4; i++) total += parts[i]->size_bytes;
    veer_onnx_chunk_add(w, out_model, tag, veer_onnx_tag(MODEL_GRAPH, total, tag));
    for (int i = 0; i < 4; i++)
        for (veer_onnx_chunk_t *c = parts[i]->first; c; c = c->next)
            veer_onnx_chunk_add(w, out_model, c->bytes, c->size_bytes);
    return w->status;
}

static veer_status_t write_chunks(const char *path, veer_allocator_t allocator, const veer_onnx_chunks_t *chunks) {
    veer_outfile_t *file;
    veer_status_t status = NULL;
    VEER_TRY(veer_outfile_open(path, allocator, &file));
    for (veer_onnx_chunk_t *c = chunks->first; c && !status; c = c->next)
        status = veer_outfile_write(file, c->bytes, c->size_bytes);
    return veer_outfile_close(file, status);
}

static veer_status_t set_location(veer_onnx_writer_t *w, const char *path, int64_t limit_bytes, veer_region_t body,
                                  char **out_path) {
    size_t room = strlen(path) + 8;
    char *data_path = veer_onnx_writer_alloc(w, room);
    if (!data_path) return w->status;
    snprintf(data_path, room, "%s.data", path);
    w->outside = weight_bytes(w->graph, body) > limit_bytes;
    w->location = strrchr(data_path, '/') ? strrchr(data_path, '/') + 1 : data_path;
    *out_path = data_path;
    return veer_ok();
}

static veer_status_t export_copy(veer_onnx_writer_t *w, veer_func_t func, const char *graph_name, const char *path,
                                 int64_t limit_bytes) {
    veer_region_t body = veer_func_body(w->graph, func);
    veer_onnx_chunks_t interface = {0}, model = {0};
    char *data_path = NULL;
    VEER_TRY(spell_out_all(w->graph, body));
    VEER_TRY(set_location(w, path, limit_bytes, body, &data_path));
    w->taken.arena = &w->arena;
    w->names = veer_onnx_writer_alloc(w, veer_graph_value_limit(w->graph) * sizeof *w->names);
    const char **results = w->names ? interface_names(w, func, body) : NULL;
    if (!results) return w->status;
    VEER_TRY(write_region(w, body));
    VEER_TRY(write_results(w, body, results));
    add_interface(w, body, results, &interface);
    VEER_TRY(assemble(w, graph_name, &interface, &model));
    if (w->external.first) VEER_TRY(write_chunks(data_path, w->arena.allocator, &w->external));
    return write_chunks(path, w->arena.allocator, &model);
}

veer_status_t veer_onnx_export(veer_graph_t *g, veer_func_t func, const char *path,
                               const veer_onnx_export_options_t *options) {
    veer_onnx_writer_t w = {.graph = g};
    veer_allocator_t allocator = options && options->allocator.alloc ? options->allocator : veer_graph_allocator(g);
    int64_t limit_bytes = options && options->external_bytes ? options->external_bytes : (int64_t)1 << 30;
    veer_func_t copy;
    VEER_TRY(copy_func(g, func, &copy));
    veer_arena_init(&w.arena, allocator);
    veer_status_t status = export_copy(&w, copy, veer_func_name(g, func), path, limit_bytes);
    veer_arena_deinit(&w.arena);
    veer_graph_remove_func(g, copy);
    return status;
}
