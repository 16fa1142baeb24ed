#include "frontend/onnx_file.h"
#include "frontend/onnx_wire.h"

#include <string.h>

/* Field numbers of the messages that are read in place. */
enum {
    MODEL_GRAPH = 7,
    MODEL_TRAINING_INFO = 20,
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_SPARSE_INITIALIZER = 15,
    TENSOR_RAW_DATA = 9
};

/* ---- messages live in the arena: nothing is ever freed one by one ---- */

static void *message_alloc(void *user, size_t size_bytes) {
    veer_onnx_file_t *file = user;
    size_t limit_bytes = (size_t)veer_limit(file->limits, VEER_LIMIT_MAX_MESSAGE_BYTES);
    if (file->arena.used_bytes > limit_bytes || size_bytes > limit_bytes - file->arena.used_bytes) {
        file->wanted_bytes = file->arena.used_bytes + size_bytes;
        file->over_limit = true;
        return NULL;
    }
    void *memory = veer_arena_alloc(&file->arena, size_bytes);
    if (!memory) file->out_of_memory = true;
    return memory;
}

static void message_free(void *user, void *memory) {
    (void)user, (void)memory;
}

static veer_status_t no_message(const veer_onnx_file_t *file) {
    if (file->out_of_memory) return veer_out_of_memory();
    return veer_limit_check(file->limits, VEER_LIMIT_MAX_MESSAGE_BYTES, (int64_t)file->wanted_bytes);
}

static veer_status_t unpack(veer_onnx_file_t *file, const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                            size_t size_bytes, void *out_message) {
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &file->messages, size_bytes, bytes);
    if (file->out_of_memory || file->over_limit) return no_message(file);
    if (!message) return veer_error(VEER_ERR_FILE, "a %s is malformed", type->short_name);
    memcpy(out_message, &message, sizeof message);
    return veer_ok();
}

/* ---- parts of the file ---- */

/* The message without the fields that `skip` names, as one piece of memory. */
static veer_status_t without_fields(veer_onnx_file_t *file, veer_wire_t wire, uint32_t skip_a, uint32_t skip_b,
                                    uint8_t **out_bytes, size_t *out_size) {
    veer_wire_field_t field;
    size_t size = 0;
    for (veer_wire_t w = wire; veer_wire_next(&w, &field);)
        if (field.number != skip_a && field.number != skip_b) size += (size_t)(w.at - field.start);
    uint8_t *bytes = message_alloc(file, size + 1);
    if (!bytes) return no_message(file);
    *out_bytes = bytes;
    *out_size = size;
    for (veer_wire_t w = wire; veer_wire_next(&w, &field);) {
        if (field.number == skip_a || field.number == skip_b) continue;
        memcpy(bytes, field.start, (size_t)(w.at - field.start));
        bytes += w.at - field.start;
    }
    return veer_ok();
}

static veer_status_t read_initializer(veer_onnx_file_t *file, const veer_wire_field_t *message,
                                      veer_onnx_tensor_t *out_tensor) {
    veer_wire_t wire = veer_wire(message->bytes, message->size_bytes);
    veer_wire_field_t field;
    veer_onnx_tensor_t tensor = {0};
    for (veer_wire_t w = wire; veer_wire_next(&w, &field);) {
        if (field.number != TENSOR_RAW_DATA) continue;
        if (field.type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            return veer_error(VEER_ERR_FILE, "raw_data of a tensor is malformed");
        tensor.raw = field.bytes;
        tensor.raw_bytes = field.size_bytes;
        tensor.holder = file->mapped;
    }
    uint8_t *rest;
    size_t rest_bytes;
    VEER_TRY(without_fields(file, wire, TENSOR_RAW_DATA, 0, &rest, &rest_bytes));
    VEER_TRY(unpack(file, &veer_onnx__tensor_proto__descriptor, rest, rest_bytes, &tensor.proto));
    tensor.external = tensor.proto->data_location == VEER_ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    *out_tensor = tensor;
    return veer_ok();
}

static veer_status_t read_graph_field(veer_onnx_file_t *file, const veer_wire_field_t *field) {
    const uint8_t *bytes = field->bytes;
    size_t size = field->size_bytes;
    switch (field->number) {
    case GRAPH_NODE:
        return unpack(file, &veer_onnx__node_proto__descriptor, bytes, size, &file->nodes[file->node_count++]);
    case GRAPH_INPUT:
        return unpack(file, &veer_onnx__value_info_proto__descriptor, bytes, size, &file->inputs[file->input_count++]);
    case GRAPH_OUTPUT:
        return unpack(file, &veer_onnx__value_info_proto__descriptor, bytes, size,
                      &file->outputs[file->output_count++]);
    case GRAPH_INITIALIZER: return read_initializer(file, field, &file->initializers[file->initializer_count++]);
    case GRAPH_SPARSE_INITIALIZER: file->sparse_initializer_count++; return veer_ok();
    case GRAPH_NAME:
        if (field->type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            return veer_error(VEER_ERR_FILE, "the name of the graph is malformed");
        file->graph_name = veer_arena_strndup(&file->arena, (const char *)bytes, size);
        return file->graph_name ? veer_ok() : veer_out_of_memory();
    default: return veer_ok();
    }
}

static veer_status_t read_graph(veer_onnx_file_t *file, veer_wire_t wire) {
    size_t counts[16] = {0};
    veer_wire_field_t field;
    for (veer_wire_t w = wire; veer_wire_next(&w, &field);)
        if (field.number < 16) counts[field.number]++;
    file->nodes = veer_arena_array(&file->arena, counts[GRAPH_NODE], sizeof(void *));
    file->inputs = veer_arena_array(&file->arena, counts[GRAPH_INPUT], sizeof(void *));
    file->outputs = veer_arena_array(&file->arena, counts[GRAPH_OUTPUT], sizeof(void *));
    file->initializers = veer_arena_array(&file->arena, counts[GRAPH_INITIALIZER], sizeof *file->initializers);
    if (!file->nodes || !file->inputs || !file->outputs || !file->initializers) return veer_out_of_memory();
    while (veer_wire_next(&wire, &field)) VEER_TRY(read_graph_field(file, &field));
    return veer_ok();
}

static veer_status_t not_a_model(const char *why) {
    return veer_status_help(veer_error(VEER_ERR_FILE, "is not an ONNX model: %s", why),
                            "a model is what torch.onnx.export or onnx.save writes; was the file copied completely?");
}

static veer_status_t read_model(veer_onnx_file_t *file, const uint8_t *bytes, size_t size_bytes) {
    if (!size_bytes) return not_a_model("the file is empty");
    veer_status_t status = veer_wire_check(bytes, size_bytes, &veer_onnx__model_proto__descriptor, file->limits);
    if (veer_status_code(status) == VEER_ERR_FILE)
        return veer_status_help(veer_status_where(status, "is not an ONNX model, or a damaged one"),
                                "was the file copied completely?");
    VEER_TRY(status);
    veer_wire_t wire = veer_wire(bytes, size_bytes), graph = {0};
    veer_wire_field_t field;
    for (veer_wire_t w = wire; veer_wire_next(&w, &field);) {
        if (field.number != MODEL_GRAPH) continue;
        if (graph.at) return not_a_model("it has more than one graph");
        graph = veer_wire(field.bytes, field.size_bytes);
    }
    if (!graph.at) return not_a_model("it has no graph");
    uint8_t *rest;
    size_t rest_bytes;
    VEER_TRY(without_fields(file, wire, MODEL_GRAPH, MODEL_TRAINING_INFO, &rest, &rest_bytes));
    VEER_TRY(unpack(file, &veer_onnx__model_proto__descriptor, rest, rest_bytes, &file->model));
    if (!file->model->has_ir_version) return not_a_model("it has no ir_version");
    if (!file->model->n_opset_import) return not_a_model("it imports no operator set");
    return read_graph(file, graph);
}

static void init_file(veer_onnx_file_t *file, veer_allocator_t allocator, const veer_limits_t *limits) {
    *file = (veer_onnx_file_t){.limits = limits, .graph_name = ""};
    file->messages = (ProtobufCAllocator){message_alloc, message_free, file};
    veer_arena_init(&file->arena, allocator);
}

veer_status_t veer_onnx_file_open(veer_allocator_t allocator, const char *path, const veer_limits_t *limits,
                                  veer_onnx_file_t *file) {
    init_file(file, allocator, limits);
    veer_status_t status;
    VEER_GOTO_DONE(veer_mapped_file_open(allocator, path, &file->mapped));
    file->path = file->mapped->path;
    status = veer_status_where(read_model(file, file->mapped->bytes, file->mapped->size_bytes), "%s", path);
done:
    if (status) veer_onnx_file_close(file);
    return status;
}

veer_status_t veer_onnx_file_read(veer_allocator_t allocator, const void *bytes, size_t size_bytes,
                                  const veer_limits_t *limits, veer_onnx_file_t *file) {
    init_file(file, allocator, limits);
    veer_status_t status = read_model(file, bytes, size_bytes);
    if (status) veer_onnx_file_close(file);
    return status;
}

veer_status_t veer_onnx_file_count_constant(veer_onnx_file_t *file, size_t size_bytes) {
    int64_t sum = file->constant_bytes + (int64_t)size_bytes; /* of a checked type: far from overflow */
    VEER_TRY(veer_limit_check(file->limits, VEER_LIMIT_MAX_CONSTANT_BYTES, sum));
    file->constant_bytes = sum;
    return veer_ok();
}
