#include "ir/gradient.h"

veer_status_t veer_grad_none(veer_builder_t *b, veer_grad_t *g) {
    (void)b, (void)g;
    return veer_ok();
}

veer_status_t veer_grad_missing(veer_builder_t *b, veer_grad_t *g) {
    (void)b;
    return veer_error(VEER_ERR_UNSUPPORTED, "op '%s' has no gradient rule",
                      veer_op_name(veer_node_op(g->graph, g->node)));
}

/* The pass recognises this rule by its address and never calls it. */
veer_status_t veer_grad_by_expansion(veer_builder_t *b, veer_grad_t *g) {
    return veer_grad_missing(b, g);
}
