/* What a model holds, read without importing it. */
#include "frontend/onnx/node.h"
#include "frontend/onnx_import.h"
#include "frontend/onnx_scope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "" where memory is short: the arena remembers that. */
static const char *text_of(veer_onnx_info_t *info, const char *text) {
    const char *copy = veer_arena_strdup(&info->arena, text ? text : "");
    return copy ? copy : "";
}

/* ---- inputs and outputs ---- */

static const char *dim_name(veer_onnx_info_t *info, const char *value, size_t axis,
                            const VeerOnnx__TensorShapeProto__Dimension *dim) {
    char place[300];
    if (dim->value_case == VEER_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && *dim->dim_param)
        return text_of(info, dim->dim_param);
    snprintf(place, sizeof place, "%.250s.%zu", value, axis);
    return text_of(info, place);
}

static const char *type_text(veer_onnx_info_t *info, const veer_onnx_value_info_t *v, int64_t elem_type) {
    char text[2048], name[32];
    const char *dtype = v->dtype ? veer_dtype_name(v->dtype) : veer_onnx_dtype_name(elem_type, name);
    int at = snprintf(text, sizeof text, "%s%s", dtype, v->rank < 0 ? "[?]" : "[");
    for (int i = 0; i < v->rank && at < (int)sizeof text - 300; i++)
        at += v->dim_names[i] ? snprintf(text + at, 200, "%s%.190s", i ? "," : "", v->dim_names[i])
                              : snprintf(text + at, 200, "%s%lld", i ? "," : "", (long long)v->dims[i]);
    if (v->rank >= 0) snprintf(text + at, sizeof text - (size_t)at, "]");
    return text_of(info, text);
}

static const char *other_type(const VeerOnnx__TypeProto *type) {
    if (!type) return "unknown";
    switch (type->value_case) {
    case VEER_ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE: return "sequence";
    case VEER_ONNX__TYPE_PROTO__VALUE_MAP_TYPE: return "map";
    case VEER_ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE: return "optional";
    case VEER_ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE: return "sparse tensor";
    default: return "unknown";
    }
}

static void read_value(veer_onnx_info_t *info, const VeerOnnx__ValueInfoProto *proto, veer_onnx_value_info_t *v) {
    v->name = text_of(info, proto->name);
    v->rank = -1;
    if (!proto->type || proto->type->value_case != VEER_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        v->type = other_type(proto->type);
        return;
    }
    const VeerOnnx__TypeProto__Tensor *tensor = proto->type->tensor_type;
    v->dtype = veer_onnx_dtype(tensor->elem_type);
    if (tensor->shape && tensor->shape->n_dim <= VEER_MAX_RANK) {
        v->rank = (int)tensor->shape->n_dim;
        for (int i = 0; i < v->rank; i++) {
            const VeerOnnx__TensorShapeProto__Dimension *dim = tensor->shape->dim[i];
            bool known = dim->value_case == VEER_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            v->dims[i] = known ? dim->dim_value : -1;
            v->dim_names[i] = known ? NULL : dim_name(info, v->name, (size_t)i, dim);
        }
    }
    v->type = type_text(info, v, tensor->elem_type);
}

static veer_status_t read_values(veer_onnx_info_t *info, const veer_onnx_file_t *file) {
    info->inputs = veer_arena_array(&info->arena, file->input_count, sizeof *info->inputs);
    info->outputs = veer_arena_array(&info->arena, file->output_count, sizeof *info->outputs);
    if (!info->inputs || !info->outputs) return veer_out_of_memory();
    for (size_t i = 0; i < file->input_count; i++) {
        veer_onnx_value_info_t *v = &info->inputs[info->input_count++];
        read_value(info, file->inputs[i], v);
        for (size_t k = 0; k < file->initializer_count; k++) {
            const char *name = file->initializers[k].proto->name;
            if (name && !strcmp(name, v->name)) v->has_default = true;
        }
    }
    for (size_t i = 0; i < file->output_count; i++)
        read_value(info, file->outputs[i], &info->outputs[info->output_count++]);
    return veer_ok();
}

/* ---- initializers ---- */

static veer_status_t read_initializers(veer_onnx_info_t *info, const veer_onnx_file_t *file) {
    info->unsupported_tensors = veer_arena_array(&info->arena, file->initializer_count + 1, sizeof(char *));
    if (!info->unsupported_tensors) return veer_out_of_memory();
    for (size_t i = 0; i < file->initializer_count; i++) {
        const veer_onnx_tensor_t *tensor = &file->initializers[i];
        char text[400];
        veer_type_t type;
        veer_status_t status = veer_onnx_tensor_type(tensor, &type);
        info->initializer_count++;
        info->external_count += tensor->external;
        if (!status) {
            info->parameter_count += veer_type_count(&type);
            info->initializer_bytes += (int64_t)veer_type_bytes(&type);
            continue;
        }
        snprintf(text, sizeof text, "initializer '%.100s': %.250s", tensor->proto->name ? tensor->proto->name : "",
                 veer_status_message(status, 0));
        veer_status_free(status);
        info->unsupported_tensors[info->unsupported_tensor_count++] = text_of(info, text);
    }
    if (file->sparse_initializer_count)
        info->unsupported_tensors[info->unsupported_tensor_count++] = "sparse initializers";
    return veer_ok();
}

/* ---- operators ---- */

typedef struct {
    veer_onnx_info_t *info;
    const veer_onnx_file_t *file;
    size_t capacity, node_capacity;
} count_t;

/* Room for `count` + 1 elements in an array of the arena, which doubles. NULL when out of memory. */
static void *grow(veer_arena_t *arena, void *array, size_t count, size_t *capacity, size_t size_bytes) {
    if (count < *capacity) return array;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *larger = veer_arena_array(arena, wanted, size_bytes);
    if (!larger) return NULL;
    if (count) memcpy(larger, array, count * size_bytes);
    *capacity = wanted;
    return larger;
}

static bool is_function(const veer_onnx_file_t *file, const char *type, const char *domain) {
    for (size_t i = 0; i < file->model->n_functions; i++) {
        const VeerOnnx__FunctionProto *f = file->model->functions[i];
        if (!strcmp(f->name ? f->name : "", type) && !strcmp(f->domain ? f->domain : "", domain)) return true;
    }
    return false;
}

static const char *reason_of(count_t *c, const char *type, const char *domain, int opset) {
    const veer_onnx_op_t *op = veer_onnx_op_find(type, domain);
    char text[100];
    if (is_function(c->file, type, domain)) return NULL;
    if (!op) return "the operator is not supported";
    if (opset >= op->since) return NULL;
    snprintf(text, sizeof text, "supported from operator set %d on", op->since);
    return text_of(c->info, text);
}

static veer_status_t count_op(count_t *c, const veer_onnx_node_use_t *node) {
    veer_onnx_info_t *info = c->info;
    int i = 0;
    while (i < info->op_count && (strcmp(info->ops[i].op_type, node->op_type) ||
                                  strcmp(info->ops[i].domain, node->domain) || info->ops[i].opset != node->opset))
        i++;
    if (i < info->op_count) return info->ops[i].count++, veer_ok();
    veer_onnx_op_use_t *ops = grow(&info->arena, info->ops, (size_t)info->op_count, &c->capacity, sizeof *ops);
    if (!ops) return veer_out_of_memory();
    info->ops = ops;
    info->ops[info->op_count++] =
        (veer_onnx_op_use_t){.op_type = node->op_type,
                             .domain = node->domain,
                             .opset = node->opset,
                             .count = 1,
                             .node = node->name,
                             .reason = reason_of(c, node->op_type, node->domain, node->opset)};
    return veer_ok();
}

static veer_status_t count_node(count_t *c, const veer_onnx_scope_t *scope, const VeerOnnx__NodeProto *proto) {
    veer_onnx_info_t *info = c->info;
    const char *domain = proto->domain ? proto->domain : "";
    veer_onnx_node_use_t node = {.name = text_of(info, veer_onnx_scope_node_name(scope, proto)),
                                 .op_type = text_of(info, proto->op_type),
                                 .domain = text_of(info, strcmp(domain, "ai.onnx") ? domain : ""),
                                 .opset = veer_onnx_scope_opset(scope, domain)};
    veer_onnx_node_use_t *nodes =
        grow(&info->arena, info->nodes, (size_t)info->node_count, &c->node_capacity, sizeof *nodes);
    if (!nodes) return veer_out_of_memory();
    info->nodes = nodes;
    info->nodes[info->node_count++] = node;
    return count_op(c, &node);
}

static veer_status_t count_nodes(count_t *c, const veer_onnx_scope_t *scope, VeerOnnx__NodeProto **nodes,
                                 size_t count) {
    for (size_t i = 0; i < count; i++) {
        VEER_TRY(count_node(c, scope, nodes[i]));
        for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
            const VeerOnnx__GraphProto *inner = nodes[i]->attribute[k]->g;
            if (inner) VEER_TRY(count_nodes(c, scope, inner->node, inner->n_node));
        }
    }
    return veer_ok();
}

static int by_name(const void *a, const void *b) {
    const veer_onnx_op_use_t *x = a, *y = b;
    int order = strcmp(x->op_type, y->op_type);
    if (!order) order = strcmp(x->domain, y->domain);
    return order ? order : x->opset - y->opset;
}

static veer_status_t read_ops(veer_onnx_info_t *info, veer_onnx_file_t *file) {
    count_t count = {.info = info, .file = file};
    veer_onnx_scope_t scope = {
        .arena = &file->arena, .opsets = file->model->opset_import, .opset_count = file->model->n_opset_import};
    VEER_TRY(count_nodes(&count, &scope, file->nodes, file->node_count));
    for (size_t i = 0; i < file->model->n_functions; i++) {
        const VeerOnnx__FunctionProto *f = file->model->functions[i];
        scope.opsets = f->opset_import;
        scope.opset_count = f->n_opset_import;
        VEER_TRY(count_nodes(&count, &scope, f->node, f->n_node));
    }
    if (info->op_count) qsort(info->ops, (size_t)info->op_count, sizeof *info->ops, by_name);
    for (int i = 0; i < info->op_count; i++) info->unsupported_count += info->ops[i].reason != NULL;
    return veer_ok();
}

/* ---- the whole ---- */

static veer_status_t read_header(veer_onnx_info_t *info, const veer_onnx_file_t *file) {
    const VeerOnnx__ModelProto *model = file->model;
    info->ir_version = model->ir_version;
    info->producer = text_of(info, model->producer_name);
    info->producer_version = text_of(info, model->producer_version);
    info->graph_name = text_of(info, file->graph_name);
    info->opsets = veer_arena_array(&info->arena, model->n_opset_import, sizeof *info->opsets);
    if (!info->opsets) return veer_out_of_memory();
    for (size_t i = 0; i < model->n_opset_import; i++)
        info->opsets[info->opset_count++] =
            (veer_onnx_opset_t){text_of(info, model->opset_import[i]->domain), model->opset_import[i]->version};
    return veer_ok();
}

/* Takes the opened file. */
static veer_status_t inspect(veer_allocator_t allocator, veer_onnx_file_t *file, veer_onnx_info_t *out_info) {
    veer_onnx_info_t info = {0};
    veer_arena_init(&info.arena, allocator);
    veer_status_t status = read_header(&info, file);
    if (!status) status = read_values(&info, file);
    if (!status) status = read_initializers(&info, file);
    if (!status) status = read_ops(&info, file);
    if (!status && (info.arena.failed || file->arena.failed)) status = veer_out_of_memory();
    veer_onnx_file_close(file);
    if (status)
        veer_onnx_info_deinit(&info);
    else
        *out_info = info;
    return status;
}

veer_status_t veer_onnx_inspect(veer_allocator_t allocator, const char *path, const veer_limits_t *limits,
                                veer_onnx_info_t *out_info) {
    veer_onnx_file_t file;
    VEER_TRY(veer_onnx_file_open(allocator, path, limits, &file));
    return inspect(allocator, &file, out_info);
}

veer_status_t veer_onnx_inspect_memory(veer_allocator_t allocator, const void *bytes, size_t size_bytes,
                                       const veer_limits_t *limits, veer_onnx_info_t *out_info) {
    veer_onnx_file_t file;
    VEER_TRY(veer_onnx_file_read(allocator, bytes, size_bytes, limits, &file));
    return inspect(allocator, &file, out_info);
}

void veer_onnx_info_deinit(veer_onnx_info_t *info) {
    veer_arena_deinit(&info->arena);
    *info = (veer_onnx_info_t){0};
}
