/* Writing graphs: every call makes one node before the builder's position and gives its result. Types are inferred. The
 * first failure sticks: later calls give VEER_NO_VALUE and do nothing, so formulas stay formulas.
 *
 *     veer_builder_t b = veer_builder_before(g, node);
 *     veer_value_t y = veer_mul(&b, x, veer_sigmoid(&b, x));
 *     VEER_TRY(veer_builder_status(&b));
 */
#ifndef VEER_IR_BUILDER_H
#define VEER_IR_BUILDER_H

#include "ir/graph.h"

typedef struct veer_builder_s {
    veer_graph_t *graph;
    veer_region_t region;
    veer_node_t before;       /* VEER_NO_NODE: at the end of the region */
    veer_node_t origins_from; /* new nodes get this node's origins (may be VEER_NO_NODE) */
    const char *origin;       /* and this one, where not NULL */
    veer_status_t status;     /* first failure; fetch it with veer_builder_status */
} veer_builder_t;

veer_builder_t veer_builder_at_end(veer_graph_t *g, veer_region_t region);
/* New nodes stand before `node` and carry its origins. */
veer_builder_t veer_builder_before(veer_graph_t *g, veer_node_t node);
/* Gives the first failure, which the caller owns from then on; the builder is clean again. */
VEER_MUST_USE veer_status_t veer_builder_status(veer_builder_t *b);
/* Puts a failure into the builder (takes it); only the first is kept. NULL is allowed. */
void veer_builder_fail(veer_builder_t *b, veer_status_t take_status);
static inline bool veer_builder_ok(const veer_builder_t *b) {
    return !b->status;
}
const veer_type_t *veer_builder_type(const veer_builder_t *b, veer_value_t value); /* of a valid value */

/* ---- any op ---- `attrs` ends with an entry without name; NULL for none. */
veer_value_t veer_build(veer_builder_t *b, veer_op_t op, const veer_value_t *in, int in_count,
                        const veer_named_attr_t *attrs);
/* Gives the node (results by veer_node_out), for ops with several results. VEER_NO_NODE after a failure. */
veer_node_t veer_build_node(veer_builder_t *b, veer_op_t op, const veer_value_t *in, int in_count,
                            const veer_named_attr_t *attrs);
#define VEER_IN(...) (veer_value_t[]){__VA_ARGS__}, (int)(sizeof((veer_value_t[]){__VA_ARGS__}) / sizeof(veer_value_t))
#define VEER_ATTRS(...)                                                                                                \
    (veer_named_attr_t[]) {                                                                                            \
        __VA_ARGS__, {                                                                                                 \
            0                                                                                                          \
        }                                                                                                              \
    }
/* The same op with other operands: attributes are copied; a nested region is not. */
veer_node_t veer_build_like(veer_builder_t *b, veer_node_t like, const veer_value_t *in, int in_count);
/* Copies a node with its regions, operands through `map` (indexed by old value id, entry 0 = keep the value itself);
 * fills map for its results. `map` must have veer_graph_value_limit entries as of before the first copy. */
veer_node_t veer_build_copy(veer_builder_t *b, veer_node_t node, veer_value_t *map);

/* ---- terminators and regions ---- */
void veer_builder_return(veer_builder_t *b, const veer_value_t *values, int count);
void veer_builder_yield(veer_builder_t *b, const veer_value_t *values, int count);
/* A loop node, see VEER_OP_LOOP: body arguments (i64[] step index, then one per `init`) are made here; fill the body
 * with veer_builder_at_end(g, veer_node_body(g, loop)) and end it with a yield, then call veer_builder_loop_finish,
 * which makes the results. */
veer_node_t veer_builder_loop(veer_builder_t *b, int64_t trip, const veer_value_t *init, int count);
void veer_builder_loop_finish(veer_builder_t *b, veer_node_t loop);
/* An empty fused node over `in`; the body has one argument per operand. Fill, yield, then finish as with loops. */
veer_node_t veer_builder_fused(veer_builder_t *b, const char *kind, const veer_value_t *in, int count);
void veer_builder_fused_finish(veer_builder_t *b, veer_node_t fused);
/* Inlines a call of `callee`'s body (region nodes are copied) at the builder; gives results in `out`
 * (veer_region_result_count entries). Functions are always inlined before lowering. */
void veer_builder_inline(veer_builder_t *b, veer_func_t callee, const veer_value_t *args, int arg_count,
                         veer_value_t *out);

/* A call of `callee`, and its gradient (VEER_OP_GRAD): results of result `of` by argument `wrt`, seeded with `d_of`. */
veer_node_t veer_builder_call(veer_builder_t *b, veer_func_t callee, const veer_value_t *args, int arg_count);
veer_node_t veer_builder_grad(veer_builder_t *b, veer_func_t callee, const veer_value_t *args, int arg_count, int of,
                              veer_value_t d_of, const int64_t *wrt, int wrt_count);

/* ---- constants ---- */
/* Copies `data` (veer_type_bytes). */
veer_value_t veer_const(veer_builder_t *b, veer_type_t type, const void *data);
/* Borrows `data`, which must live as long as the graph. `source` may be NULL. */
veer_value_t veer_const_view(veer_builder_t *b, veer_type_t type, const void *data, const veer_data_source_t *source);
veer_value_t veer_const_f32(veer_builder_t *b, float value);   /* f32[] */
veer_value_t veer_const_i64(veer_builder_t *b, int64_t value); /* i64[] */
/* A scalar of any dtype (rounded to it). */
veer_value_t veer_const_scalar(veer_builder_t *b, veer_dtype_t dtype, double value);
/* 1-D i64 tensor. */
veer_value_t veer_const_ints(veer_builder_t *b, const int64_t *values, int count);
veer_value_t veer_zeros(veer_builder_t *b, veer_type_t type);
/* A tensor of one value: a scalar constant, broadcast. */
veer_value_t veer_full(veer_builder_t *b, veer_type_t type, double value);

/* ---- formulas; operands broadcast as in NumPy ---- */
#define VEER_BUILDER_UNARY(X)                                                                                          \
    X(neg, NEG)                                                                                                        \
    X(abs, ABS)                                                                                                        \
    X(sign, SIGN)                                                                                                      \
    X(exp, EXP) X(log, LOG) X(sqrt, SQRT) X(rsqrt, RSQRT) X(reciprocal, RECIPROCAL) X(sin, SIN) X(cos, COS)            \
        X(atan, ATAN) X(tanh, TANH) X(sigmoid, SIGMOID) X(softplus, SOFTPLUS) X(erf, ERF) X(relu, RELU) X(silu, SILU)                \
            X(floor, FLOOR) X(ceil, CEIL) X(round, ROUND) X(not, NOT) X(isnan, ISNAN)
#define VEER_BUILDER_BINARY(X)                                                                                         \
    X(add, ADD)                                                                                                        \
    X(sub, SUB)                                                                                                        \
    X(mul, MUL)                                                                                                        \
    X(div, DIV) X(pow, POW) X(min, MIN) X(max, MAX) X(equal, EQUAL) X(less, LESS) X(less_equal, LESS_EQUAL)            \
        X(and, AND) X(or, OR) X(xor, XOR)
#define X(name, ENUM) veer_value_t veer_##name(veer_builder_t *b, veer_value_t x);
VEER_BUILDER_UNARY(X)
#undef X
#define X(name, ENUM) veer_value_t veer_##name(veer_builder_t *b, veer_value_t x, veer_value_t y);
VEER_BUILDER_BINARY(X)
#undef X
/* With a scalar of x's dtype: x + c, x - c, c - x, x * c. */
veer_value_t veer_add_c(veer_builder_t *b, veer_value_t x, double c);
veer_value_t veer_rsub_c(veer_builder_t *b, veer_value_t x, double c);
veer_value_t veer_mul_c(veer_builder_t *b, veer_value_t x, double c);
veer_value_t veer_where(veer_builder_t *b, veer_value_t condition, veer_value_t x, veer_value_t y);
veer_value_t veer_cast(veer_builder_t *b, veer_value_t x, veer_dtype_t to); /* x itself where it has the dtype */
veer_value_t veer_gelu(veer_builder_t *b, veer_value_t x, bool tanh_approximation);

/* ---- shapes; each gives the operand itself where nothing would change ---- */
veer_value_t veer_reshape(veer_builder_t *b, veer_value_t x, int rank, const int64_t *dims);
#define VEER_DIMS(...)                                                                                                 \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                           \
        __VA_ARGS__                                                                                                    \
    }
veer_value_t veer_reshape_like(veer_builder_t *b, veer_value_t x, const veer_type_t *like);
veer_value_t veer_transpose(veer_builder_t *b, veer_value_t x, const int64_t *perm);
veer_value_t veer_transpose_last(veer_builder_t *b, veer_value_t x); /* exchanges the last two dims */
veer_value_t veer_broadcast_to(veer_builder_t *b, veer_value_t x, int rank, const int64_t *dims);
/* x[.., start : start + size*step : step, ..] along one axis. */
veer_value_t veer_slice_axis(veer_builder_t *b, veer_value_t x, int axis, int64_t start, int64_t size, int64_t step);
veer_value_t veer_concat(veer_builder_t *b, const veer_value_t *in, int count, int axis);
/* Pads with zeros; `before`, `after` have rank entries, none negative. */
veer_value_t veer_pad_zero(veer_builder_t *b, veer_value_t x, const int64_t *before, const int64_t *after);
veer_value_t veer_gather(veer_builder_t *b, veer_value_t data, veer_value_t indices, int axis);
/* Row `i` (i64[]) of table [S, ...]: gives [...]. */
veer_value_t veer_step_slice(veer_builder_t *b, veer_value_t table, veer_value_t i);

/* ---- reductions ---- `axes` non-negative, ascending. */
veer_value_t veer_reduce(veer_builder_t *b, veer_op_t op, veer_value_t x, const int64_t *axes, int count,
                         bool keepdims);
veer_value_t veer_reduce_last(veer_builder_t *b, veer_op_t op, veer_value_t x, bool keepdims);
veer_value_t veer_reduce_all(veer_builder_t *b, veer_op_t op, veer_value_t x); /* to a scalar [] */
/* Sums a gradient back to the shape that was broadcast: the transpose of broadcasting. */
veer_value_t veer_sum_to(veer_builder_t *b, veer_value_t x, const veer_type_t *shape);

/* ---- contractions ---- */
veer_value_t veer_matmul(veer_builder_t *b, veer_value_t x, veer_value_t y, bool trans_x, bool trans_y);

#endif
