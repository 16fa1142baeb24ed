/* What the import of one ONNX node sees. An import function reads inputs and attributes, builds IR with n->b and sets
 * n->out[]; failures go into the builder and stick, as everywhere in formulas.
 *
 *     void veer_onnx_softsign(veer_onnx_node_t *n) { // x / (1 + |x|)
 *         n->out[0] = veer_div(n->b, n->in[0], veer_add_c(n->b, veer_abs(n->b, n->in[0]), 1));
 *     }
 */
#ifndef VEER_FRONTEND_ONNX_NODE_H
#define VEER_FRONTEND_ONNX_NODE_H

#include "frontend/onnx_file.h"

typedef struct veer_onnx_node_s veer_onnx_node_t;

/* One row of the op table, see frontend/onnx/ops.def. */
typedef struct veer_onnx_op_s {
    const char *op_type, *domain;
    int since;          /* first operator set whose form of the op the function understands */
    int min_in, max_in; /* number of inputs; the first min_in must be present. max_in -1: any number */
    int max_out;        /* number of outputs that can be had; -1: any number */
    void (*import)(veer_onnx_node_t *n);
    int param; /* tells apart ops that share a function, often a veer_op_t */
} veer_onnx_op_t;

/* NULL where there is none. An empty domain is the standard one, "ai.onnx". */
const veer_onnx_op_t *veer_onnx_op_at(int i); /* NULL past the end */
const veer_onnx_op_t *veer_onnx_op_find(const char *op_type, const char *domain);

struct veer_onnx_node_s {
    veer_builder_t *b;
    veer_arena_t *arena; /* scratch, lives until the import ends */
    veer_onnx_file_t *file;
    const VeerOnnx__NodeProto *proto;
    const veer_onnx_op_t *op;
    struct veer_onnx_importer_s *importer;
    const char *name; /* of the node, or made up */
    size_t number;    /* of nodes imported so far: differs between the turns of a loop */
    /* Where the node stands in a function of the model: the call, whose attributes are what ref_attr_name means. */
    const veer_onnx_node_t *caller;
    const VeerOnnx__FunctionProto *function;
    int opset;
    int in_count;           /* up to the last present input */
    const veer_value_t *in; /* max(in_count, 8) entries, VEER_NO_VALUE where absent */
    int out_count;
    veer_value_t *out; /* out_count entries, at least 4 */
    bool failed;       /* a nested graph failed, and has said why */
};

/* ---- failing ---- */
#define veer_onnx_fail(n, code, ...) veer_builder_fail((n)->b, veer_error(code, __VA_ARGS__))
static inline bool veer_onnx_ok(const veer_onnx_node_t *n) {
    return veer_builder_ok(n->b);
}
/* True where output i is wanted by the model. */
bool veer_onnx_wants(const veer_onnx_node_t *n, int i);

/* ---- types ---- a copy, so that it stays valid; all zero for VEER_NO_VALUE (after a failure). */
veer_type_t veer_onnx_type(const veer_onnx_node_t *n, veer_value_t value);
static inline veer_type_t veer_onnx_in_type(const veer_onnx_node_t *n, int i) {
    return veer_onnx_type(n, n->in[i]);
}
/* Axis in [-rank, rank) made non-negative; fails (and gives 0) otherwise. */
int veer_onnx_axis(veer_onnx_node_t *n, int64_t axis, int rank);
/* Several; they must differ. Ascending in out_axes (VEER_MAX_RANK entries). */
int veer_onnx_axes(veer_onnx_node_t *n, const int64_t *axes, int count, int rank, int64_t *out_axes);

/* ---- attributes ---- */
const VeerOnnx__AttributeProto *veer_onnx_attr(const veer_onnx_node_t *n, const char *name); /* NULL where absent */
int64_t veer_onnx_attr_int(veer_onnx_node_t *n, const char *name, int64_t missing);
double veer_onnx_attr_float(veer_onnx_node_t *n, const char *name, double missing);
const char *veer_onnx_attr_string(veer_onnx_node_t *n, const char *name, const char *missing);
/* NULL (and count 0) where absent; an empty list is not NULL. */
const int64_t *veer_onnx_attr_ints(veer_onnx_node_t *n, const char *name, int *out_count);
const float *veer_onnx_attr_floats(veer_onnx_node_t *n, const char *name, int *out_count);

/* ---- inputs that must be constant ---- */
bool veer_onnx_has_in(const veer_onnx_node_t *n, int i);
/* The bytes of input i; fails (NULL) where it is not constant. */
const void *veer_onnx_in_const(veer_onnx_node_t *n, int i, const char *name);
/* Integers of any integer type; NULL after a failure. */
const int64_t *veer_onnx_in_ints(veer_onnx_node_t *n, int i, const char *name, int *out_count);
int64_t veer_onnx_in_int(veer_onnx_node_t *n, int i, const char *name, int64_t missing);
/* Numbers of any type. */
const double *veer_onnx_in_doubles(veer_onnx_node_t *n, int i, const char *name, int *out_count);
double veer_onnx_in_double(veer_onnx_node_t *n, int i, const char *name, double missing);
/* From operator set `moved` on an input, before that an attribute. NULL where absent or after a failure. */
const int64_t *veer_onnx_in_or_attr_ints(veer_onnx_node_t *n, int i, const char *name, int moved, int *out_count);

/* Element i of a tensor in memory, as a number. */
double veer_onnx_element(const veer_type_t *type, const void *data, int64_t i);

/* Zeroed room in the graph for the bytes of a constant; NULL after a failure. Counts as a
 * constant: a short model must not ask for all memory. */
void *veer_onnx_new_data(veer_onnx_node_t *n, const veer_type_t *type);

/* ---- constants ---- */
/* 0, 1, ... count - 1 (i64) along `axis`, the other dims of `rank` are 1. */
veer_value_t veer_onnx_iota(veer_onnx_node_t *n, int64_t count, int axis, int rank);
/* A floating tensor of numbers that were computed here. */
veer_value_t veer_onnx_const_doubles(veer_onnx_node_t *n, veer_type_t type, const double *values);
/* Scratch, zeroed; NULL after a failure. Counts as a constant: a short model must not ask for all memory. */
void *veer_onnx_scratch(veer_onnx_node_t *n, int64_t count, size_t size);
/* The element type of attribute `name` (an ONNX number), `missing` where it is not given. */
veer_dtype_t veer_onnx_attr_dtype(veer_onnx_node_t *n, const char *name, veer_dtype_t missing);
/* x of the shape of a vector along `axis` of `rank` dims; scalars and vectors of one stay scalars. */
veer_value_t veer_onnx_along(veer_onnx_node_t *n, veer_value_t x, int axis, int rank);

/* ---- the import ---- */
bool veer_onnx_straight_through(const veer_onnx_node_t *n); /* the option */
/* What a name stands for here; VEER_NO_VALUE where its node has not been imported yet, or there is no such name. */
veer_value_t veer_onnx_value_named(const veer_onnx_node_t *n, const char *name);

/* ---- more nodes ---- */
/* One turn of a loop that is unrolled: it counts as a node. False after a failure. */
bool veer_onnx_count_turn(veer_onnx_node_t *n);
/* Imports the nodes of a nested graph here, `in` standing for its inputs. Gives its outputs, in the scratch arena; NULL
 * after a failure. */
const veer_value_t *veer_onnx_inline_graph(veer_onnx_node_t *n, const VeerOnnx__GraphProto *graph,
                                           const veer_value_t *in, int in_count);

/* What ReduceX does around the plain reduction. */
enum {
    VEER_ONNX_REDUCE_SUM,
    VEER_ONNX_REDUCE_MEAN,
    VEER_ONNX_REDUCE_MAX,
    VEER_ONNX_REDUCE_MIN,
    VEER_ONNX_REDUCE_PROD,
    VEER_ONNX_REDUCE_L1,
    VEER_ONNX_REDUCE_L2,
    VEER_ONNX_REDUCE_LOG_SUM,
    VEER_ONNX_REDUCE_LOG_SUM_EXP,
    VEER_ONNX_REDUCE_SUM_SQUARE
};

#define VEER_ONNX_OP(op_type, since, min_in, max_in, max_out, function, param)                                         \
    void veer_onnx_##function(veer_onnx_node_t *n);
#include "frontend/onnx/ops.def"
#undef VEER_ONNX_OP

#endif
