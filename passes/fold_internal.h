/* What the parts of the fold pass share. */
#ifndef VEER_PASSES_FOLD_INTERNAL_H
#define VEER_PASSES_FOLD_INTERNAL_H

#include "ir/builder.h"

/* A rule gives what equals the node's only result: an operand, something simpler built at `b` (which stands before the
 * node), or VEER_NO_VALUE where it does not apply. Always of the result's own type. */
typedef veer_value_t (*veer_fold_rule_t)(veer_builder_t *b, veer_node_t node);

/* NULL where the op has none. Arithmetic: fold_arith.c; moving elements: fold_move.c. */
veer_fold_rule_t veer_fold_arith_rule(veer_op_t op);
veer_fold_rule_t veer_fold_move_rule(veer_op_t op);

/* The node's operand i, the node that defines it (only where it is of `op`, else none), and the type of a value. */
static inline veer_value_t veer_fold_in(const veer_builder_t *b, veer_node_t node, int i) {
    return veer_node_in(b->graph, node, i);
}
static inline veer_node_t veer_fold_def(const veer_builder_t *b, veer_value_t value, veer_op_t op) {
    veer_node_t def = value.i ? veer_value_def(b->graph, value) : VEER_NO_NODE;
    return def.i && veer_node_op(b->graph, def) == op ? def : VEER_NO_NODE;
}
static inline const veer_type_t *veer_fold_type(const veer_builder_t *b, veer_value_t value) {
    return veer_value_type(b->graph, value);
}
static inline const veer_type_t *veer_fold_out(const veer_builder_t *b, veer_node_t node) {
    return veer_value_type(b->graph, veer_node_out(b->graph, node, 0));
}

#endif
