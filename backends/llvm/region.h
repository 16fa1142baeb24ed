/* A fused node, or a node alone, as expressions in a form of our own: composite ops (softmax, norms) are spelled out,
 * every operand is an index into one array, and nothing points into the graph. Equal kernels have equal text (the key).
 */
#ifndef VEER_BACKENDS_LLVM_REGION_H
#define VEER_BACKENDS_LLVM_REGION_H

#include "ir/base/arena.h"
#include "ir/graph.h"

typedef enum veer_fx_kind_e {
    VEER_FX_INPUT, /* i: operand */
    VEER_FX_CONST, /* bits: one value, shape of 1s */
    VEER_FX_TABLE, /* i: which of the region's tables */
    VEER_FX_OP,    /* op, elementwise; operands broadcast; i: gelu's tanh form, mod's fmod */
    VEER_FX_RESHAPE,
    VEER_FX_TRANSPOSE, /* p: perm */
    VEER_FX_BROADCAST,
    VEER_FX_SLICE,  /* p: starts, q: steps */
    VEER_FX_CONCAT, /* i: axis */
    VEER_FX_PAD,    /* p: before, i: veer_fx_pad_t, bits: value */
    VEER_FX_GATHER, /* i: axis */
    VEER_FX_GATHER_ELEMENTS,
    VEER_FX_REDUCE,  /* op: reduce_sum, max, min, prod; p[axis] = 1 where reduced; i: keepdims */
    VEER_FX_ARG_MAX, /* p, i as reduce; j: VEER_FX_LAST, VEER_FX_SMALLEST */
    VEER_FX_NOISE    /* operands seed, first sample, step; i: stream */
} veer_fx_kind_t;

typedef enum veer_fx_pad_e {
    VEER_FX_PAD_CONSTANT,
    VEER_FX_PAD_REFLECT,
    VEER_FX_PAD_EDGE,
    VEER_FX_PAD_WRAP
} veer_fx_pad_t;
enum { VEER_FX_LAST = 1, VEER_FX_SMALLEST = 2 };

typedef struct veer_fx_expr_s {
    veer_fx_kind_t kind;
    veer_op_t op;
    veer_type_t type;
    int arg_count;
    const int *args;
    int64_t p[VEER_MAX_RANK], q[VEER_MAX_RANK];
    int64_t i, j;
    uint64_t bits; /* of the dtype, in the low bytes */
} veer_fx_expr_t;

typedef struct veer_fx_table_s {
    const void *bytes; /* borrowed from the graph */
    size_t size_bytes;
    veer_dtype_t dtype;
} veer_fx_table_t;

/* Lives in the arena it was made with. */
typedef struct veer_fx_region_s {
    veer_arena_t *arena;
    veer_fx_expr_t *exprs;
    int count, room;
    veer_fx_table_t *tables;
    int table_count, table_room;
    int input_count;
    const veer_type_t *input_types; /* dtype NONE for an absent operand */
    int root_count;
    const int *roots;
    char *reason; /* why it cannot be compiled, in the caller's buffer */
    size_t reason_bytes;
    bool out_of_memory;
} veer_fx_region_t;

enum { VEER_FX_REASON_BYTES = 256 };

/* Whether the op has a kernel for operands of these dtypes (in1: of the second operand, or `in`). What is not known
 * here must not reach veer_fx_elementwise (elementwise.c, where both are). */
bool veer_fx_has(veer_op_t op, veer_dtype_t in, veer_dtype_t in1);

/* False where the node cannot be expressed: `reason` says why (or out_of_memory is set). */
bool veer_fx_region_init(veer_fx_region_t *r, veer_arena_t *arena, const veer_graph_t *g, veer_node_t node,
                         char *reason, size_t reason_bytes);
/* The same for nodes of one region in order, which are not a fused node yet: operands are the values that they take
 * from elsewhere, in order of their first use (constants of one element go into the body). */
bool veer_fx_region_init_nodes(veer_fx_region_t *r, veer_arena_t *arena, const veer_graph_t *g,
                               const veer_node_t *nodes, int node_count, const veer_value_t *results, int result_count,
                               char *reason, size_t reason_bytes);
/* Writes `reason` and gives false. */
bool veer_fx_decline(veer_fx_region_t *r, const char *format, ...) VEER_PRINTF(2, 3);
/* Bytes that two regions share exactly where their kernels are the same; arena memory, NULL when out of memory. */
const void *veer_fx_region_key(veer_fx_region_t *r, size_t *out_bytes);
double veer_fx_region_flops(const veer_fx_region_t *r);
double veer_fx_region_bytes(const veer_fx_region_t *r);

#endif
