/* Messages, names and bytes of a model that is being written. */
#include "frontend/onnx/export.h"
#include "ir/half.h"

#include <stdio.h>
#include <string.h>

enum { GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, TENSOR_RAW_DATA = 9, EXTERNAL_ALIGNMENT = 64 };
/* Small tensors stay in the model, where readers look for shapes. */
enum { EXTERNAL_MIN_BYTES = 1024 };

void veer_onnx_writer_fail(veer_onnx_writer_t *w, veer_status_t take_status) {
    if (w->status)
        veer_status_free(take_status);
    else
        w->status = take_status;
}

void *veer_onnx_writer_alloc(veer_onnx_writer_t *w, size_t size_bytes) {
    void *memory = w->status ? NULL : veer_arena_alloc(&w->arena, size_bytes ? size_bytes : 1);
    if (!memory && !w->status) veer_onnx_writer_fail(w, veer_out_of_memory());
    return memory;
}

/* ---- names ---- */

const char *veer_onnx_writer_name(veer_onnx_writer_t *w, const char *wish) {
    bool is_new = false;
    size_t room = strlen(wish) + 32;
    char *name = veer_onnx_writer_alloc(w, room);
    if (!name) return "";
    snprintf(name, room, "%s", wish);
    if (*wish && !veer_onnx_scope_add(&w->taken, name, &is_new)) veer_onnx_writer_fail(w, veer_out_of_memory());
    while (!is_new && !w->status) {
        snprintf(name, room, "%s%s%llu", *wish ? wish : "v", *wish ? "_" : "", (unsigned long long)++w->made_up);
        if (!veer_onnx_scope_add(&w->taken, name, &is_new)) veer_onnx_writer_fail(w, veer_out_of_memory());
    }
    return w->status ? "" : name;
}

const char *veer_onnx_in(veer_onnx_writer_t *w, veer_node_t node, int i) {
    veer_value_t value = i < veer_node_in_count(w->graph, node) ? veer_node_in(w->graph, node, i) : VEER_NO_VALUE;
    return value.i && w->names[value.i] ? w->names[value.i] : "";
}

const char *veer_onnx_out(veer_onnx_writer_t *w, veer_node_t node, int i) {
    veer_value_t value = veer_node_out(w->graph, node, i);
    if (!w->names[value.i]) w->names[value.i] = veer_onnx_writer_name(w, veer_value_name(w->graph, value));
    return w->names[value.i];
}

/* ---- bytes ---- */

void veer_onnx_chunk_add(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, const void *bytes, size_t size_bytes) {
    veer_onnx_chunk_t *chunk = veer_onnx_writer_alloc(w, sizeof *chunk);
    if (!chunk) return;
    *chunk = (veer_onnx_chunk_t){.bytes = bytes, .size_bytes = size_bytes};
    if (chunks->last)
        chunks->last->next = chunk;
    else
        chunks->first = chunk;
    chunks->last = chunk;
    chunks->size_bytes += size_bytes;
}

static size_t varint(uint64_t value, uint8_t *out) {
    size_t length = 0;
    for (; value > 127; value >>= 7) out[length++] = (uint8_t)(value | 128);
    out[length++] = (uint8_t)value;
    return length;
}

size_t veer_onnx_tag(uint32_t number, size_t length, uint8_t out_bytes[16]) {
    size_t at = varint((uint64_t)number << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, out_bytes);
    return at + varint(length, out_bytes + at);
}

static void add_tag(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, uint32_t number, size_t length) {
    uint8_t *tag = veer_onnx_writer_alloc(w, 16);
    if (tag) veer_onnx_chunk_add(w, chunks, tag, veer_onnx_tag(number, length, tag));
}

void veer_onnx_field_add(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, uint32_t number, const void *bytes,
                         size_t size_bytes) {
    add_tag(w, chunks, number, size_bytes);
    veer_onnx_chunk_add(w, chunks, bytes, size_bytes);
}

static uint8_t *pack(veer_onnx_writer_t *w, const ProtobufCMessage *message, size_t *out_size) {
    if (w->status) return NULL;
    *out_size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = veer_onnx_writer_alloc(w, *out_size);
    if (bytes) protobuf_c_message_pack(message, bytes);
    return bytes;
}

void veer_onnx_message_add(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, uint32_t number,
                           const ProtobufCMessage *message) {
    size_t size;
    uint8_t *bytes = pack(w, message, &size);
    if (bytes) veer_onnx_field_add(w, chunks, number, bytes, size);
}

/* ---- attributes ---- */

static VeerOnnx__AttributeProto *new_attr(veer_onnx_writer_t *w, const char *name, int type) {
    VeerOnnx__AttributeProto *attr = veer_onnx_writer_alloc(w, sizeof *attr);
    if (!attr) return NULL;
    veer_onnx__attribute_proto__init(attr);
    attr->name = (char *)(uintptr_t)name;
    attr->has_type = 1;
    attr->type = (VeerOnnx__AttributeProto__AttributeType)type;
    w->attrs[w->attr_count++] = attr;
    return attr;
}

void veer_onnx_put_int(veer_onnx_writer_t *w, const char *name, int64_t value) {
    VeerOnnx__AttributeProto *attr = new_attr(w, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!attr) return;
    attr->has_i = 1;
    attr->i = value;
}

void veer_onnx_put_float(veer_onnx_writer_t *w, const char *name, double value) {
    VeerOnnx__AttributeProto *attr = new_attr(w, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!attr) return;
    attr->has_f = 1;
    attr->f = (float)value;
}

void veer_onnx_put_string(veer_onnx_writer_t *w, const char *name, const char *value) {
    VeerOnnx__AttributeProto *attr = new_attr(w, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    if (!attr) return;
    attr->has_s = 1;
    attr->s = (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
}

void veer_onnx_put_ints(veer_onnx_writer_t *w, const char *name, const int64_t *values, int count) {
    VeerOnnx__AttributeProto *attr = new_attr(w, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    if (!attr) return;
    attr->ints = veer_onnx_writer_alloc(w, (size_t)count * sizeof *values);
    if (!attr->ints) return;
    memcpy(attr->ints, values, (size_t)count * sizeof *values);
    attr->n_ints = (size_t)count;
}

/* ---- nodes ---- */

const char *veer_onnx_write_many(veer_onnx_writer_t *w, const char *op_type, int out_count, const char *const *out,
                                 int in_count, const char *const *in) {
    VeerOnnx__NodeProto node = VEER_ONNX__NODE_PROTO__INIT;
    const char *first = out[0] ? out[0] : veer_onnx_writer_name(w, "");
    char **outputs = veer_onnx_writer_alloc(w, (size_t)out_count * sizeof *outputs);
    if (!outputs) return "";
    for (int i = 0; i < out_count; i++) outputs[i] = (char *)(uintptr_t)(i ? out[i] : first);
    node.output = outputs;
    node.n_output = (size_t)out_count;
    node.input = (char **)(uintptr_t)in;
    node.n_input = (size_t)in_count;
    node.op_type = (char *)(uintptr_t)op_type;
    node.attribute = w->attrs;
    node.n_attribute = w->attr_count;
    /* The node of the original, and a number where several come from it: ONNX Runtime insists on different names. */
    if (veer_node_origin_count(w->graph, w->node))
        node.name = (char *)(uintptr_t)veer_onnx_writer_name(w, veer_node_origin(w->graph, w->node, 0));
    veer_onnx_message_add(w, &w->nodes, GRAPH_NODE, &node.base);
    w->attr_count = 0;
    return w->status ? "" : first;
}

const char *veer_onnx_write(veer_onnx_writer_t *w, const char *op_type, const char *out, int in_count,
                            const char *const *in) {
    return veer_onnx_write_many(w, op_type, 1, &out, in_count, in);
}

/* ---- tensors ---- */

int32_t veer_onnx_data_type(veer_onnx_writer_t *w, veer_dtype_t dtype) {
    if (veer_dtype_is_float8(dtype) || veer_dtype_is_int4(dtype))
        veer_onnx_writer_fail(w, veer_error(VEER_ERR_UNSUPPORTED, "%s has no form in operator set %d",
                                            veer_dtype_name(dtype), VEER_ONNX_EXPORT_OPSET));
    return veer_onnx_data_type_of(dtype);
}

/* Entries location, offset and length; the bytes go to the external file. */
static void put_outside(veer_onnx_writer_t *w, VeerOnnx__TensorProto *tensor, const void *data, size_t size) {
    static const uint8_t zeros[EXTERNAL_ALIGNMENT];
    size_t gap = (EXTERNAL_ALIGNMENT - w->external.size_bytes % EXTERNAL_ALIGNMENT) % EXTERNAL_ALIGNMENT;
    if (gap) veer_onnx_chunk_add(w, &w->external, zeros, gap);
    struct {
        VeerOnnx__StringStringEntryProto entries[3], *list[3];
        char offset[24], length[24];
    } *e = veer_onnx_writer_alloc(w, sizeof *e);
    if (!e) return;
    snprintf(e->offset, sizeof e->offset, "%zu", w->external.size_bytes);
    snprintf(e->length, sizeof e->length, "%zu", size);
    const char *pairs[3][2] = {{"location", w->location}, {"offset", e->offset}, {"length", e->length}};
    for (int i = 0; i < 3; i++) {
        veer_onnx__string_string_entry_proto__init(&e->entries[i]);
        e->entries[i].key = (char *)(uintptr_t)pairs[i][0];
        e->entries[i].value = (char *)(uintptr_t)pairs[i][1];
        e->list[i] = &e->entries[i];
    }
    tensor->external_data = e->list;
    tensor->n_external_data = 3;
    tensor->has_data_location = 1;
    tensor->data_location = VEER_ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    veer_onnx_chunk_add(w, &w->external, data, size);
}

/* The message is packed without its raw_data, which is a chunk of its own: big weights are never copied. */
const char *veer_onnx_write_tensor(veer_onnx_writer_t *w, const char *wish, const veer_type_t *type, const void *data) {
    VeerOnnx__TensorProto tensor = VEER_ONNX__TENSOR_PROTO__INIT;
    const char *name = veer_onnx_writer_name(w, wish);
    size_t size = veer_type_bytes(type), head_size;
    bool outside = w->outside && size >= EXTERNAL_MIN_BYTES;
    tensor.name = (char *)(uintptr_t)name;
    tensor.has_data_type = 1;
    tensor.data_type = veer_onnx_data_type(w, type->dtype);
    tensor.n_dims = (size_t)type->rank;
    tensor.dims = (int64_t *)(uintptr_t)type->dims;
    if (outside) put_outside(w, &tensor, data, size);
    uint8_t *head = pack(w, &tensor.base, &head_size), raw_tag[16];
    if (!head) return "";
    size_t raw_size = outside ? 0 : veer_onnx_tag(TENSOR_RAW_DATA, size, raw_tag) + size;
    add_tag(w, &w->initializers, GRAPH_INITIALIZER, head_size + raw_size);
    veer_onnx_chunk_add(w, &w->initializers, head, head_size);
    if (!outside) veer_onnx_field_add(w, &w->initializers, TENSOR_RAW_DATA, data, size);
    return w->status ? "" : name;
}

const char *veer_onnx_write_ints(veer_onnx_writer_t *w, const int64_t *values, int count) {
    veer_type_t type = VEER_TYPE(VEER_DTYPE_I64, count);
    int64_t *copy = veer_onnx_writer_alloc(w, (size_t)count * sizeof *copy);
    if (!copy) return "";
    memcpy(copy, values, (size_t)count * sizeof *copy);
    return veer_onnx_write_tensor(w, "", &type, copy);
}

static void store(veer_dtype_t dtype, void *at, double value) {
    float f32 = (float)value;
    uint16_t f16 = veer_half_from_double(value), bf16 = veer_bfloat_from_double(value);
    bool finite = value - value == 0;
    int64_t whole = finite && value > -9e18 && value < 9e18 ? (int64_t)value : 0;
    switch (dtype) {
    case VEER_DTYPE_F32: memcpy(at, &f32, 4); break;
    case VEER_DTYPE_F64: memcpy(at, &value, 8); break;
    case VEER_DTYPE_F16: memcpy(at, &f16, 2); break;
    case VEER_DTYPE_BF16: memcpy(at, &bf16, 2); break;
    default: memcpy(at, &whole, veer_dtype_size(dtype)); break; /* little-endian: the low bytes */
    }
}

const char *veer_onnx_write_full(veer_onnx_writer_t *w, const veer_type_t *type, double value) {
    size_t size = veer_dtype_size(type->dtype);
    uint8_t *data = veer_onnx_writer_alloc(w, veer_type_bytes(type));
    if (!data) return "";
    for (int64_t i = 0; i < veer_type_count(type); i++) store(type->dtype, data + (size_t)i * size, value);
    return veer_onnx_write_tensor(w, "", type, data);
}
