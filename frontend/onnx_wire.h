/* The protobuf wire format, read in place: enough to find the large byte fields of a model without copying them, and to
 * refuse what protobuf-c would take without a limit (nesting depth).
 *
 *     veer_wire_t wire = veer_wire(bytes, size_bytes);
 *     veer_wire_field_t field;
 *     while (veer_wire_next(&wire, &field))
 *         if (field.number == 7) graph = veer_wire(field.bytes, field.size_bytes);
 *     if (wire.broken) ...
 */
#ifndef VEER_FRONTEND_ONNX_WIRE_H
#define VEER_FRONTEND_ONNX_WIRE_H

#include "ir/limits.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct veer_wire_s {
    const uint8_t *at, *end;
    bool broken; /* a field is cut off or malformed; nothing more is read */
} veer_wire_t;

typedef struct veer_wire_field_s {
    uint32_t number;
    ProtobufCWireType type;
    const uint8_t *start; /* of the field with its tag; it ends where the payload does */
    const uint8_t *bytes; /* the payload: of a varint its bytes, of a length-delimited field what follows the length */
    size_t size_bytes;
} veer_wire_field_t;

veer_wire_t veer_wire(const uint8_t *bytes, size_t size_bytes);
/* False at the end, and where the bytes are no field. */
bool veer_wire_next(veer_wire_t *wire, veer_wire_field_t *out_field);

/* Walks a message and all messages in it. VEER_ERR_FILE where it is cut off or malformed, VEER_ERR_UNSUPPORTED where it
 * is nested more deeply than max_depth admits: a graph in a node of a graph is three messages. */
VEER_MUST_USE veer_status_t veer_wire_check(const uint8_t *bytes, size_t size_bytes,
                                            const ProtobufCMessageDescriptor *message, const veer_limits_t *limits);

#endif
