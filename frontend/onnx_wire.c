#include "frontend/onnx_wire.h"

/* protobuf-c recurses once per message in a message, with about 2 KiB of stack each. OTHER_MESSAGES: what stands around
 * and below graphs in real models (types, shapes, dimensions). */
enum { MESSAGES_PER_GRAPH = 3, OTHER_MESSAGES = 20 };

veer_wire_t veer_wire(const uint8_t *bytes, size_t size_bytes) {
    static const uint8_t none;
    if (!bytes) bytes = &none;
    return (veer_wire_t){.at = bytes, .end = bytes + size_bytes};
}

static bool read_varint(veer_wire_t *wire, uint64_t *out_value) {
    uint64_t value = 0;
    for (int shift = 0; shift < 70 && wire->at < wire->end; shift += 7) {
        uint8_t byte = *wire->at++;
        if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

static bool read_payload(veer_wire_t *wire, veer_wire_field_t *field) {
    uint64_t value;
    field->bytes = wire->at;
    switch (field->type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        if (!read_varint(wire, &value)) return false;
        field->size_bytes = (size_t)(wire->at - field->bytes);
        return true;
    case PROTOBUF_C_WIRE_TYPE_64BIT: field->size_bytes = 8; break;
    case PROTOBUF_C_WIRE_TYPE_32BIT: field->size_bytes = 4; break;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!read_varint(wire, &value) || value > (uint64_t)(wire->end - wire->at)) return false;
        field->bytes = wire->at;
        field->size_bytes = (size_t)value;
        break;
    default: return false;
    }
    if (field->size_bytes > (size_t)(wire->end - wire->at)) return false;
    wire->at += field->size_bytes;
    return true;
}

bool veer_wire_next(veer_wire_t *wire, veer_wire_field_t *out_field) {
    if (wire->broken || wire->at == wire->end) return false;
    uint64_t tag;
    *out_field = (veer_wire_field_t){.start = wire->at};
    if (!read_varint(wire, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3) {
        wire->broken = true;
        return false;
    }
    out_field->number = (uint32_t)(tag >> 3);
    out_field->type = (ProtobufCWireType)(tag & 7);
    wire->broken = !read_payload(wire, out_field);
    return !wire->broken;
}

static veer_status_t check(const uint8_t *bytes, size_t size_bytes, const ProtobufCMessageDescriptor *message,
                           int depth, const veer_limits_t *limits) {
    if (depth > OTHER_MESSAGES)
        VEER_TRY(veer_limit_check(limits, VEER_LIMIT_MAX_DEPTH,
                                  (depth - OTHER_MESSAGES + MESSAGES_PER_GRAPH - 1) / MESSAGES_PER_GRAPH));
    veer_wire_t wire = veer_wire(bytes, size_bytes);
    veer_wire_field_t field;
    while (veer_wire_next(&wire, &field)) {
        const ProtobufCFieldDescriptor *known = protobuf_c_message_descriptor_get_field(message, field.number);
        if (!known || known->type != PROTOBUF_C_TYPE_MESSAGE) continue;
        if (field.type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            return veer_error(VEER_ERR_FILE, "field '%s' of %s has wire type %d, expected a message", known->name,
                              message->short_name, (int)field.type);
        VEER_TRY(check(field.bytes, field.size_bytes, known->descriptor, depth + 1, limits));
    }
    if (wire.broken) return veer_error(VEER_ERR_FILE, "a %s is cut off or malformed", message->short_name);
    return veer_ok();
}

veer_status_t veer_wire_check(const uint8_t *bytes, size_t size_bytes, const ProtobufCMessageDescriptor *message,
                              const veer_limits_t *limits) {
    return check(bytes, size_bytes, message, 0, limits);
}
