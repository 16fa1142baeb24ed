/* What layout.c (forms of values, the walk) and layout_rules.c (a rule per op) share. */
#ifndef VEER_PASSES_LAYOUT_INTERNAL_H
#define VEER_PASSES_LAYOUT_INTERNAL_H

#include "ir/builder.h"
#include "passes/order.h"
#include "passes/pass.h"

typedef struct veer_form_s veer_form_t;
struct veer_form_s {
    veer_form_t *next;
    veer_value_t value; /* holds the elements; its dims may differ from the order's where that is only a reshape */
    veer_order_t order;
};

typedef struct veer_layout_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    veer_form_t **forms;   /* by value id; the first is how it was computed. NULL: the value itself, row-major */
    int8_t *pull;          /* by value id: where its readers would rather have it, see pull_of */
    uint32_t limit;        /* of value ids that are visited: later ones are the pass's own */
    veer_node_t *replaced; /* nodes whose results are held by others now, in the order of the walk */
    uint32_t replaced_count;
    veer_builder_t b; /* in front of the node under way */
} veer_layout_t;

/* ---- forms ---- Failures stick to l->b. */
veer_type_t veer_layout_type_of(const veer_layout_t *l, veer_value_t v);
veer_form_t *veer_layout_add_form(veer_layout_t *l, veer_value_t v, veer_value_t value, const veer_order_t *order);
/* NULL after a failure. */
veer_form_t *veer_layout_forms_of(veer_layout_t *l, veer_value_t v);
/* The first form; false where that is row-major (and after a failure). */
bool veer_layout_moved_form(veer_layout_t *l, veer_value_t v, veer_form_t *out);
bool veer_layout_has_form(const veer_layout_t *l, veer_value_t v, const veer_order_t *order);
/* v reshaped to the stored dims of `order`. */
veer_value_t veer_layout_with_dims(veer_builder_t *b, veer_value_t v, const veer_order_t *order);
/* v in the given order, with its dims; moved where it is not there yet. */
veer_value_t veer_layout_in_order(veer_layout_t *l, veer_value_t v, const veer_order_t *order);
/* VEER_NO_VALUE stays what it is. */
veer_value_t veer_layout_in_row_major(veer_layout_t *l, veer_value_t v);

/* ---- rules ---- */
/* Computes the node in the order in which its operands lie. True where its result is held by others now; false: the
 * node stays, and reads row-major operands. */
bool veer_layout_rewrite(veer_layout_t *l, veer_node_t n);

#endif
