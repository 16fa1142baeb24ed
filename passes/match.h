/* Finding patterns: what the recognise passes ask about the values around a node, and how they put one node in the
 * place of many.
 *
 *     veer_match_t m = veer_match_begin(g, root);
 *     ... veer_match_take(&m, node) for every node of the pattern besides the root ...
 *     if (!veer_match_closed(&m)) return veer_ok();
 *     veer_builder_t b = veer_builder_before(g, root);
 *     return veer_match_replace(&m, &b, veer_silu(&b, x));
 *
 * Rules for patterns:
 *  1. A replacement computes the same function: constants agree to a few roundings, shapes and axes exactly.
 *  2. A node of the pattern that others read would be computed twice. Moves and multiplications by a constant are cheap
 *     enough for that, anything else declines (veer_match_closed).
 *  3. New nodes stand before the root; whatever the pattern leaves unused goes, and its origins move to the new node.
 */
#ifndef VEER_PASSES_MATCH_H
#define VEER_PASSES_MATCH_H

#include "ir/builder.h"
#include "passes/pass.h"

/* ---- walking ---- */
typedef veer_status_t (*veer_match_visit_fn)(veer_graph_t *g, veer_node_t node, veer_pass_ctx_t *ctx);
/* Visits the nodes that the function has now, in order, nested regions included; nodes that a visit removed are
 * skipped, nodes that it made are not visited. */
VEER_MUST_USE veer_status_t veer_match_walk(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx,
                                            veer_match_visit_fn visit);

/* ---- questions about one value ---- */
/* The node that defines `value` where that is an `op`; VEER_NO_NODE otherwise. */
veer_node_t veer_match_def(const veer_graph_t *g, veer_value_t value, veer_op_t op);
bool veer_match_same_type(const veer_graph_t *g, veer_value_t a, veer_value_t b);
/* True where a constant (floating, i32 or i64), perhaps moved or cast, has one value in all its elements. */
bool veer_match_scalar(const veer_graph_t *g, veer_value_t value, double *out_scalar);
/* `got` is `want` up to a few roundings in `dtype`. */
bool veer_match_near(veer_dtype_t dtype, double got, double want);
/* value = op(x, c) with a scalar constant c that does not change x's shape; either order where the op commutes. */
bool veer_match_binary_scalar(const veer_graph_t *g, veer_value_t value, veer_op_t op, veer_value_t *out_x,
                              double *out_c);
/* One step of value = factor * x: a product or quotient with a scalar constant, or a negation. */
bool veer_match_scaled(const veer_graph_t *g, veer_value_t value, veer_value_t *out_x, double *out_factor);
/* The operand of `node` (of two operands) that an `op` defines, and the other one; either order. */
bool veer_match_either(const veer_graph_t *g, veer_node_t node, veer_op_t op, veer_value_t *out_value,
                       veer_value_t *out_other);
/* A floating constant, perhaps moved or cast. */
bool veer_match_constant(const veer_graph_t *g, veer_value_t value);
/* Something learned: a constant, or an argument of a function, perhaps moved or cast. */
bool veer_match_parameter(const veer_graph_t *g, veer_value_t value);
/* transpose that exchanges the last two dims: gives its operand. */
bool veer_match_transposed_last(const veer_graph_t *g, veer_value_t value, veer_value_t *out_x);
/* reshape that keeps the last two dims: gives its operand. */
bool veer_match_reshaped_leading(const veer_graph_t *g, veer_value_t value, veer_value_t *out_x);

/* ---- a matched pattern ---- */
enum { VEER_MATCH_MAX_NODES = 64 };
typedef struct veer_match_s {
    veer_graph_t *graph;
    veer_node_t root; /* gives the pattern's only result */
    veer_node_t nodes[VEER_MATCH_MAX_NODES];
    int count;
    bool overflow; /* more nodes than that: never closed */
} veer_match_t;

veer_match_t veer_match_begin(veer_graph_t *g, veer_node_t root);
/* Notes that a node belongs to the pattern; the root and what is noted already stay as they are. */
void veer_match_take(veer_match_t *m, veer_node_t node);
static inline void veer_match_take_def(veer_match_t *m, veer_value_t value) {
    veer_match_take(m, veer_value_def(m->graph, value));
}
/* Nobody outside reads what the nodes give, other than what is cheap (rule 2). */
bool veer_match_closed(const veer_match_t *m);
/* Puts `by` in the place of the root's result, and fetches the builder's status. */
VEER_MUST_USE veer_status_t veer_match_replace(veer_match_t *m, veer_builder_t *b, veer_value_t by);

/* ---- building ---- */
/* As the builder's, but a constant is viewed under its new shape, and moves of moves are one: those that are stepped
 * over are taken. */
veer_value_t veer_match_reshape(veer_match_t *m, veer_builder_t *b, veer_value_t x, int rank, const int64_t *dims);
veer_value_t veer_match_transpose_last(veer_match_t *m, veer_builder_t *b, veer_value_t x);

#endif
