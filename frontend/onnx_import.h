/* ONNX models as functions of a graph, and a look at a model without importing it.
 *
 *     veer_onnx_options_t options = {.allocator = allocator, .dims = &(veer_dim_binding_t){"batch", 4}, .dim_count = 1,
 *                                    .eval = veer_reference_node};
 *     veer_func_t f;
 *     VEER_TRY(veer_onnx_import(g, "unet/model.onnx", "denoiser", &options, &f));
 *
 * Every shape is known after the import: chains of Shape, Gather, Concat ... are computed by `eval` and leave no nodes.
 * Big constants are views into the mapped model file, which lives as long as the graph.
 */
#ifndef VEER_FRONTEND_ONNX_IMPORT_H
#define VEER_FRONTEND_ONNX_IMPORT_H

#include "ir/graph.h"

/* A value for a symbolic dimension: by its name in the model, or "input.axis" for one without name. */
typedef struct veer_dim_binding_s {
    const char *name;
    int64_t value;
} veer_dim_binding_t;

/* The whole shape of an input, whatever the model says. */
typedef struct veer_onnx_shape_s {
    const char *input;
    int rank;
    const int64_t *dims;
} veer_onnx_shape_t;

/* An input that becomes a constant: for models whose shapes depend on it. The bytes are copied. */
typedef struct veer_onnx_binding_s {
    const char *input;
    veer_tensor_t tensor;
} veer_onnx_binding_t;

typedef struct veer_onnx_options_s {
    veer_allocator_t allocator; /* for what the import needs while it runs; unset: the graph's */
    const veer_dim_binding_t *dims;
    int dim_count;
    const veer_onnx_shape_t *shapes;
    int shape_count;
    const veer_onnx_binding_t *bindings;
    int binding_count;
    /* Computes one node; in[] and out[] have one tensor per operand and result, out[i].data is there to be filled.
     * NULL: nothing is computed, so only models with constant shapes can be imported. */
    veer_status_t (*eval)(const veer_graph_t *g, veer_node_t node, const veer_tensor_t *in, veer_tensor_t *out);
    /* Gradients pass QuantizeLinear and DequantizeLinear as if nothing were rounded, where nothing is cut off. */
    bool straight_through;
    size_t fold_bytes; /* results up to this size are computed while importing; 0: 64 KiB */
} veer_onnx_options_t;

/* Adds the model's graph as function `func_name`: arguments are the inputs that are not bound, results the outputs. On
 * failure the graph has no such function. The graph's limits hold. Errors: VEER_ERR_FILE (broken), VEER_ERR_UNSUPPORTED
 * (all nodes that cannot be imported, one error each), VEER_ERR_CONFIG (a dimension without a value, the function name
 * is taken). */
VEER_MUST_USE veer_status_t veer_onnx_import(veer_graph_t *g, const char *path, const char *func_name,
                                             const veer_onnx_options_t *options, veer_func_t *out_func);
/* The same for a model in memory, which may be released afterwards; external data is refused. */
VEER_MUST_USE veer_status_t veer_onnx_import_memory(veer_graph_t *g, const void *bytes, size_t size_bytes,
                                                    const char *func_name, const veer_onnx_options_t *options,
                                                    veer_func_t *out_func);

/* ---- the operators that can be imported ---- */
typedef struct veer_onnx_op_info_s {
    const char *op_type, *domain;
    int since; /* first operator set whose form of the op is understood */
} veer_onnx_op_info_t;
int veer_onnx_op_count(void);
veer_onnx_op_info_t veer_onnx_op_info(int i);

/* ---- inspection ---- */
typedef struct veer_onnx_value_info_s {
    const char *name;
    const char *type;                     /* "f32[batch,3,64,64]", "sequence", "STRING[n]" */
    veer_dtype_t dtype;                   /* NONE where the IR has no such type */
    int rank;                             /* -1: not known */
    int64_t dims[VEER_MAX_RANK];          /* -1: symbolic */
    const char *dim_names[VEER_MAX_RANK]; /* of symbolic dims: as bound by veer_dim_binding_t; NULL for others */
    bool has_default;                     /* an input with an initializer */
} veer_onnx_value_info_t;

typedef struct veer_onnx_op_use_s {
    const char *op_type, *domain;
    int opset;
    int count;
    const char *node;   /* the name of the first such node */
    const char *reason; /* why it cannot be imported; NULL where it can, as far as is known without shapes */
} veer_onnx_op_use_t;

/* A node, nested graphs and functions included: its name is what the IR nodes made of it have as origin. */
typedef struct veer_onnx_node_use_s {
    const char *name, *op_type, *domain;
    int opset;
} veer_onnx_node_use_t;

typedef struct veer_onnx_opset_s {
    const char *domain;
    int64_t version;
} veer_onnx_opset_t;

typedef struct veer_onnx_info_s {
    veer_arena_t arena; /* of everything here */
    int64_t ir_version;
    const char *producer, *producer_version, *graph_name;
    veer_onnx_opset_t *opsets;
    int opset_count;
    veer_onnx_value_info_t *inputs, *outputs;
    int input_count, output_count;
    veer_onnx_op_use_t *ops;                     /* by op_type, then domain */
    int op_count, node_count, unsupported_count; /* unsupported_count: entries of ops with a reason */
    veer_onnx_node_use_t *nodes;                 /* node_count entries, in the order of the file */
    int initializer_count;
    int64_t parameter_count;          /* elements of all initializers */
    int64_t initializer_bytes;        /* as the types say; external data is not opened */
    int external_count;               /* initializers in other files */
    const char **unsupported_tensors; /* "initializer 'w': FLOAT8E5M2 ..." */
    int unsupported_tensor_count;
} veer_onnx_info_t;

/* Needs no values for symbolic dimensions; `limits` may be NULL. VEER_ERR_FILE where the file is broken. Release with
 * veer_onnx_info_deinit.
 */
VEER_MUST_USE veer_status_t veer_onnx_inspect(veer_allocator_t allocator, const char *path, const veer_limits_t *limits,
                                              veer_onnx_info_t *out_info);
VEER_MUST_USE veer_status_t veer_onnx_inspect_memory(veer_allocator_t allocator, const void *bytes, size_t size_bytes,
                                                     const veer_limits_t *limits, veer_onnx_info_t *out_info);
void veer_onnx_info_deinit(veer_onnx_info_t *info);

#endif
