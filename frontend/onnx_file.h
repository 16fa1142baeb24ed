/* An ONNX file, read but not yet understood: nodes as protobuf-c messages, initializers with their bytes left where
 * they are in the mapped file. Everything else (import, inspection) works on this.
 *
 *     veer_onnx_file_t file;
 *     VEER_GOTO_DONE(veer_onnx_file_open(allocator, "model.onnx", 0, &file));
 *     ... file.nodes[i]->op_type ...
 *     veer_onnx_file_close(&file);
 */
#ifndef VEER_FRONTEND_ONNX_FILE_H
#define VEER_FRONTEND_ONNX_FILE_H

#include "frontend/mapped_file.h"
#include "ir/builder.h"

#include <onnx.pb-c.h>

/* A TensorProto whose raw_data was left out of the message. */
typedef struct veer_onnx_tensor_s {
    const VeerOnnx__TensorProto *proto;
    const uint8_t *raw; /* NULL: the values are in the typed fields of the message, or in an external file */
    size_t raw_bytes;
    bool external;
    const veer_mapped_file_t *holder; /* the mapped file that holds `raw`; NULL where the message itself does */
} veer_onnx_tensor_t;

typedef struct veer_onnx_map_s veer_onnx_map_t;

typedef struct veer_onnx_file_s {
    veer_arena_t arena;                /* of all messages and arrays here */
    ProtobufCAllocator messages;       /* gives out of the arena, up to a limit */
    const veer_limits_t *limits;       /* borrowed; may be NULL */
    int64_t constant_bytes;            /* of what was counted so far */
    bool out_of_memory, over_limit;    /* why a message could not be read */
    size_t wanted_bytes;               /* over the limit: what all messages would have come to */
    const char *path;                  /* NULL for a model in memory */
    veer_mapped_file_t *mapped;        /* NULL for a model in memory, or once given to a graph */
    veer_onnx_map_t *external;         /* files of external data, opened as they are needed */
    const VeerOnnx__ModelProto *model; /* without its graph */
    const char *graph_name;
    VeerOnnx__NodeProto **nodes;
    size_t node_count;
    veer_onnx_tensor_t *initializers;
    size_t initializer_count;
    VeerOnnx__ValueInfoProto **inputs, **outputs;
    size_t input_count, output_count;
    size_t sparse_initializer_count;
} veer_onnx_file_t;

/* `limits` (borrowed; NULL: the defaults) bound the depth of messages and the memory that they take. VEER_ERR_FILE for
 * anything that is not an ONNX model. */
VEER_MUST_USE veer_status_t veer_onnx_file_open(veer_allocator_t allocator, const char *path,
                                                const veer_limits_t *limits, veer_onnx_file_t *out_file);
/* A model in memory, borrowed until veer_onnx_file_close. It cannot have external data. */
VEER_MUST_USE veer_status_t veer_onnx_file_read(veer_allocator_t allocator, const void *bytes, size_t size_bytes,
                                                const veer_limits_t *limits, veer_onnx_file_t *out_file);
void veer_onnx_file_close(veer_onnx_file_t *file);
/* Ties the mapped files (so far opened) to the life of the graph. */
VEER_MUST_USE veer_status_t veer_onnx_file_give_maps(veer_onnx_file_t *file, veer_graph_t *g);

/* Adds to the constants that the model makes us copy or compute; VEER_ERR_UNSUPPORTED where they become too large. */
VEER_MUST_USE veer_status_t veer_onnx_file_count_constant(veer_onnx_file_t *file, size_t size_bytes);

/* ---- tensors ---- */
/* A tensor inside a node's attribute. */
veer_onnx_tensor_t veer_onnx_tensor_of(const VeerOnnx__TensorProto *proto);
/* VEER_DTYPE_NONE where the IR has no such type. */
veer_dtype_t veer_onnx_dtype(int64_t data_type);
/* The other way; 0 for VEER_DTYPE_NONE. */
int32_t veer_onnx_data_type_of(veer_dtype_t dtype);
/* Any data type, for messages: "FLOAT8E4M3FN", or "data type 99". */
const char *veer_onnx_dtype_name(int64_t data_type, char out_text[32]);
/* Checks dims and data type. */
VEER_MUST_USE veer_status_t veer_onnx_tensor_type(const veer_onnx_tensor_t *tensor, veer_type_t *out_type);
/* True where the tensor's external file could not be opened for another tensor: one error for the file is enough. */
bool veer_onnx_tensor_known_missing(const veer_onnx_file_t *file, const veer_onnx_tensor_t *tensor);
/* VEER_ERR_FILE where there are not as many values as the type says. External data must have been located. */
VEER_MUST_USE veer_status_t veer_onnx_tensor_check(const veer_onnx_tensor_t *tensor, const veer_type_t *type);
/* Copies the values of a checked tensor to dst, which has room for them. */
void veer_onnx_tensor_values(const veer_onnx_tensor_t *tensor, const veer_type_t *type, void *dst);
/* The tensor as a constant of the graph: a view into the mapped file where it is aligned and `view` allows it (then the
 * file must be given to the graph), else a copy. */
VEER_MUST_USE veer_status_t veer_onnx_tensor_const(veer_onnx_file_t *file, const veer_onnx_tensor_t *tensor, bool view,
                                                   veer_builder_t *b, veer_value_t *out_value);
/* Finds the bytes of external data: sets raw, raw_bytes and holder. */
VEER_MUST_USE veer_status_t veer_onnx_tensor_locate(veer_onnx_file_t *file, veer_onnx_tensor_t *tensor,
                                                    size_t size_bytes);

#endif
