/* What the export of one IR node sees: names of operands and results, and functions that write ONNX nodes.
 *
 *     static void export_rsqrt(veer_onnx_writer_t *w, veer_node_t node) { // 1 / sqrt(x)
 *         const char *root = veer_onnx_write(w, "Sqrt", NULL, 1, (const char *[]){veer_onnx_in(w, node, 0)});
 *         veer_onnx_write(w, "Reciprocal", veer_onnx_out(w, node, 0), 1, &root);
 *     }
 *
 * The first failure sticks; names are "" after it. */
#ifndef VEER_FRONTEND_ONNX_EXPORT_OPS_H
#define VEER_FRONTEND_ONNX_EXPORT_OPS_H

#include "frontend/onnx_scope.h"

enum { VEER_ONNX_EXPORT_OPSET = 17, VEER_ONNX_EXPORT_IR_VERSION = 8 };

/* A piece of the file; pieces are written in order. */
typedef struct veer_onnx_chunk_s veer_onnx_chunk_t;
struct veer_onnx_chunk_s {
    veer_onnx_chunk_t *next;
    const void *bytes;
    size_t size_bytes;
};

typedef struct veer_onnx_chunks_s {
    veer_onnx_chunk_t *first, *last;
    size_t size_bytes;
} veer_onnx_chunks_t;

typedef struct veer_onnx_writer_s {
    veer_graph_t *graph;
    veer_arena_t arena;
    veer_onnx_scope_t taken; /* names in use */
    const char **names;      /* of values, by id; NULL: none yet */
    size_t name_limit;
    uint64_t made_up; /* names made so far */
    veer_onnx_chunks_t nodes, initializers, external;
    bool outside;                        /* weights go to `external` */
    const char *location;                /* of the external file, as the model spells it */
    veer_node_t node;                    /* being written: its origin names the ONNX nodes */
    VeerOnnx__AttributeProto *attrs[12]; /* of the next ONNX node */
    size_t attr_count;
    veer_status_t status;
} veer_onnx_writer_t;

/* ONNX's number for an element type; fails for those that the operator set does not have. */
int32_t veer_onnx_data_type(veer_onnx_writer_t *w, veer_dtype_t dtype);
void veer_onnx_writer_fail(veer_onnx_writer_t *w, veer_status_t take_status);
/* Out of the arena; NULL after a failure. */
void *veer_onnx_writer_alloc(veer_onnx_writer_t *w, size_t size_bytes);
/* A name that nobody has: `wish` where it is free. */
const char *veer_onnx_writer_name(veer_onnx_writer_t *w, const char *wish);
void veer_onnx_chunk_add(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, const void *bytes, size_t size_bytes);
/* Appends a length-delimited field. */
void veer_onnx_field_add(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, uint32_t number, const void *bytes,
                         size_t size_bytes);
void veer_onnx_message_add(veer_onnx_writer_t *w, veer_onnx_chunks_t *chunks, uint32_t number,
                           const ProtobufCMessage *message);
size_t veer_onnx_tag(uint32_t number, size_t length, uint8_t out_bytes[16]);

/* ---- for export functions ---- */
const char *veer_onnx_in(veer_onnx_writer_t *w, veer_node_t node, int i); /* "" where absent */
const char *veer_onnx_out(veer_onnx_writer_t *w, veer_node_t node, int i);
/* Attributes of the node that is written next. */
void veer_onnx_put_int(veer_onnx_writer_t *w, const char *name, int64_t value);
void veer_onnx_put_float(veer_onnx_writer_t *w, const char *name, double value);
void veer_onnx_put_string(veer_onnx_writer_t *w, const char *name, const char *value);
void veer_onnx_put_ints(veer_onnx_writer_t *w, const char *name, const int64_t *values, int count);
/* Writes a node; `out` NULL makes up a name. Gives the output's name. */
const char *veer_onnx_write(veer_onnx_writer_t *w, const char *op_type, const char *out, int in_count,
                            const char *const *in);
const char *veer_onnx_write_many(veer_onnx_writer_t *w, const char *op_type, int out_count, const char *const *out,
                                 int in_count, const char *const *in);
/* A new initializer; the bytes must live until the file is written. */
const char *veer_onnx_write_tensor(veer_onnx_writer_t *w, const char *wish, const veer_type_t *type, const void *data);
const char *veer_onnx_write_ints(veer_onnx_writer_t *w, const int64_t *values, int count);
/* `count` times the same number. */
const char *veer_onnx_write_full(veer_onnx_writer_t *w, const veer_type_t *type, double value);

/* Writes one node of the IR (nested bodies included). False where ONNX has no form for it. */
bool veer_onnx_write_node(veer_onnx_writer_t *w, veer_node_t node);
/* True where the node has to be spelled out (its op's `expand`) before it can be written. */
bool veer_onnx_must_expand(const veer_graph_t *g, veer_node_t node);

#endif
