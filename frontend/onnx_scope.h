/* The names of one ONNX graph or function, what each stands for, and the order in which its nodes can be imported. */
#ifndef VEER_FRONTEND_ONNX_SCOPE_H
#define VEER_FRONTEND_ONNX_SCOPE_H

#include "frontend/onnx/node.h"

typedef enum veer_onnx_symbol_kind_e {
    VEER_ONNX_SYMBOL_VALUE,       /* has its value */
    VEER_ONNX_SYMBOL_INITIALIZER, /* becomes a constant when it is first used */
    VEER_ONNX_SYMBOL_OUTPUT,      /* of a node that is not imported yet */
    VEER_ONNX_SYMBOL_FAILED       /* its node could not be imported; the error is known */
} veer_onnx_symbol_kind_t;

typedef struct veer_onnx_symbol_s {
    const char *name;
    veer_onnx_symbol_kind_t kind;
    veer_value_t value;
    const veer_onnx_tensor_t *initializer;
    size_t node; /* index in the scope */
} veer_onnx_symbol_t;

typedef struct veer_onnx_scope_s veer_onnx_scope_t;
struct veer_onnx_scope_s {
    veer_onnx_scope_t *outer; /* a nested graph sees the names around it; a function sees only its own: NULL */
    veer_arena_t *arena;
    VeerOnnx__NodeProto **nodes;
    size_t node_count;
    VeerOnnx__OperatorSetIdProto **opsets;
    size_t opset_count;
    const veer_onnx_node_t *caller;          /* NULL outside of functions */
    const VeerOnnx__FunctionProto *function; /* NULL outside of functions */
    veer_onnx_symbol_t *symbols;             /* open addressing by name */
    size_t capacity, count;
};

/* Adds a name; `*out_new` false where it is there already. NULL when out of memory. The symbol may move when another is
 * added. */
veer_onnx_symbol_t *veer_onnx_scope_add(veer_onnx_scope_t *scope, const char *name, bool *out_new);
/* NULL where the name is not known here or around. */
veer_onnx_symbol_t *veer_onnx_scope_find(veer_onnx_scope_t *scope, const char *name);
/* Enters the outputs of all nodes. VEER_ERR_FILE where a name is defined twice. */
VEER_MUST_USE veer_status_t veer_onnx_scope_add_nodes(veer_onnx_scope_t *scope);
/* Node indices so that every node stands after those it uses; the file's own order where that is one. VEER_ERR_FILE
 * naming the nodes of a cycle. In the arena. */
VEER_MUST_USE veer_status_t veer_onnx_scope_order(veer_onnx_scope_t *scope, size_t **out_order);
/* Version of the operator set that the scope imports for a domain; 0 where it imports none. */
int veer_onnx_scope_opset(const veer_onnx_scope_t *scope, const char *domain);
/* The node's name, or one made from its type and first output. In the arena; NULL when out of memory. */
const char *veer_onnx_scope_node_name(const veer_onnx_scope_t *scope, const VeerOnnx__NodeProto *node);

#endif
