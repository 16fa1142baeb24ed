/* recognize-gelu -- names gelu in its erf and tanh forms, and silu where it is written with tanh.
 *
 *     %u = div %x, 1.4142135   %t = erf %u   %s = add %t, 1   %p = mul %x, %s   %y = mul %p, 0.5
 * becomes
 *     %y = gelu %x
 * and with t = tanh(0.79788456 * (x + 0.044715 x^3)) gelu{approximate = "tanh"}, with t = tanh(x / 2) silu.
 *
 * t = f(q(x)) is found first; from there the readers are followed until y = x / 2 + x t / 2. Both q and y are compared
 * as polynomials, so the order and the association of sums and products do not matter, nor whether one multiplies or
 * divides. Valid since equal polynomials are equal functions; coefficients may differ by a few roundings. Declines
 * where a constant is another one (0.7071, 1.702), where the halving is missing (folded into the next weights), where
 * operands broadcast, and where somebody else reads what lies between.
 */
#include "passes/polynomial.h"

typedef enum target_e { TARGET_GELU, TARGET_GELU_TANH, TARGET_SILU } target_t;

typedef struct form_s {
    veer_op_t op;
    veer_polynomial_t inner; /* q */
    target_t target;
} form_t;

static const form_t forms[] = {
    {VEER_OP_ERF, {{{0, 0.70710678118654752}}}, TARGET_GELU},
    {VEER_OP_TANH, {{{0, 0.79788456080286536, 0, 0.79788456080286536 * 0.044715}}}, TARGET_GELU_TANH},
    {VEER_OP_TANH, {{{0, 0.5}}}, TARGET_SILU},
};
static const veer_polynomial_t outer = {{{0, 0.5}, {0, 0.5}}}; /* x / 2 + x t / 2 */

enum { MAX_LEAVES = 16, MAX_STEPS = 6 };

/* The one node that reads `value`, or none. */
static veer_node_t only_reader(const veer_graph_t *g, veer_value_t value) {
    int operand;
    return veer_value_use_count(g, value) == 1 ? veer_value_use(g, value, 0, &operand) : VEER_NO_NODE;
}

/* Follows the readers of t up to the node that gives x / 2 + x t / 2. */
static bool match_outer(veer_match_t *m, veer_value_t x, veer_value_t t) {
    veer_graph_t *g = m->graph;
    veer_dtype_t dtype = veer_value_type(g, x)->dtype;
    veer_node_t node = only_reader(g, t);
    for (int i = 0; i < MAX_STEPS && node.i && veer_node_out_count(g, node) == 1; i++) {
        veer_polynomial_t p;
        veer_match_t outside = veer_match_begin(g, node);
        veer_value_t y = veer_node_out(g, node, 0);
        if (!veer_polynomial_of(&outside, y, x, t, &p)) return false;
        if (veer_polynomial_near(dtype, &p, &outer)) {
            for (int k = 0; k < m->count; k++) veer_match_take(&outside, m->nodes[k]);
            *m = outside;
            return true;
        }
        node = only_reader(g, y);
    }
    return false;
}

static bool match_form(veer_match_t *m, const form_t *form, veer_value_t x, veer_node_t f) {
    veer_value_t t = veer_node_out(m->graph, f, 0);
    veer_polynomial_t q;
    if (!veer_match_same_type(m->graph, x, t)) return false;
    if (!veer_polynomial_of(m, veer_node_in(m->graph, f, 0), x, VEER_NO_VALUE, &q)) return false;
    if (!veer_polynomial_near(veer_value_type(m->graph, x)->dtype, &q, &form->inner)) return false;
    veer_match_take(m, f);
    return match_outer(m, x, t);
}

static veer_status_t replace(veer_match_t *m, target_t target, veer_value_t x, veer_pass_ctx_t *ctx) {
    veer_builder_t b = veer_builder_before(m->graph, m->root);
    veer_value_t y = target == TARGET_SILU ? veer_silu(&b, x) : veer_gelu(&b, x, target == TARGET_GELU_TANH);
    VEER_TRY(veer_match_replace(m, &b, y));
    veer_pass_count(ctx, target == TARGET_SILU ? "silu" : "gelu");
    return veer_ok();
}

static veer_status_t visit(veer_graph_t *g, veer_node_t node, veer_pass_ctx_t *ctx) {
    veer_op_t op = veer_node_op(g, node);
    if (op != VEER_OP_ERF && op != VEER_OP_TANH) return veer_ok();
    veer_value_t leaves[MAX_LEAVES];
    int count = veer_polynomial_leaves(g, veer_node_in(g, node, 0), leaves, MAX_LEAVES);
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof forms / sizeof *forms; k++) {
            veer_match_t m = veer_match_begin(g, VEER_NO_NODE);
            if (forms[k].op == op && match_form(&m, &forms[k], leaves[i], node) && veer_match_closed(&m))
                return replace(&m, forms[k].target, leaves[i], ctx);
        }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return veer_match_walk(g, func, ctx, visit);
}

const veer_pass_def_t veer_pass_recognize_gelu = {
    .name = "recognize-gelu", .summary = "name gelu, in its erf and tanh forms", .run = run};
