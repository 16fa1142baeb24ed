/* inline -- puts a function's body where it is called.
 *
 *     graph @f(%x: f32[2]) { %y = call %x {callee = "g"}  return %y }      graph @g(%a: f32[2]) { %b = exp %a  return
 * %b } becomes graph @f(%x: f32[2]) { %y = exp %x  return %y }                      (@g stays)
 *
 * Valid because functions have no effects and no state. Calls in loop bodies and in inlined bodies are inlined too.
 * Declines nothing: a function that calls itself, directly or not, is an error, and so is a graph that outgrows all
 * bounds.
 */
#include "ir/builder.h"
#include "passes/pass.h"

/* A chain of functions that each call the previous one twice doubles with every link. */
enum { MAX_NODES = 1 << 24 };

typedef enum visit_e { UNSEEN, OPEN, DONE } visit_t;

static veer_func_t callee_of(const veer_graph_t *g, veer_node_t call) {
    return veer_graph_find_func(g, veer_node_string(g, call, "callee"));
}

static veer_status_t check_recursion(const veer_graph_t *g, veer_func_t func, visit_t *visits);

static veer_status_t check_region(const veer_graph_t *g, veer_region_t region, visit_t *visits) {
    VEER_FOR_EACH_NODE(g, region, node) {
        if (veer_node_op(g, node) == VEER_OP_CALL) VEER_TRY(check_recursion(g, callee_of(g, node), visits));
        if (veer_node_body(g, node).i) VEER_TRY(check_region(g, veer_node_body(g, node), visits));
    }
    return veer_ok();
}

static veer_status_t check_recursion(const veer_graph_t *g, veer_func_t func, visit_t *visits) {
    if (!func.i) return veer_error(VEER_ERR_FAILED, "a call to a function that is not there");
    if (visits[func.i] == DONE) return veer_ok();
    if (visits[func.i] == OPEN)
        return veer_error(VEER_ERR_UNSUPPORTED, "function '%s' calls itself", veer_func_name(g, func));
    visits[func.i] = OPEN;
    VEER_TRY(check_region(g, veer_func_body(g, func), visits));
    visits[func.i] = DONE;
    return veer_ok();
}

static veer_status_t inline_call(veer_graph_t *g, veer_node_t call, veer_pass_ctx_t *ctx) {
    int in_count = veer_node_in_count(g, call), out_count = veer_node_out_count(g, call);
    veer_value_t *in = veer_arena_array(&ctx->scratch, (size_t)in_count + 1, sizeof *in);
    veer_value_t *out = veer_arena_array(&ctx->scratch, (size_t)out_count + 1, sizeof *out);
    if (!in || !out) return veer_out_of_memory();
    if (veer_graph_node_limit(g) > MAX_NODES)
        return veer_error(VEER_ERR_UNSUPPORTED, "inlining calls makes more than %d nodes", MAX_NODES);
    for (int i = 0; i < in_count; i++) in[i] = veer_node_in(g, call, i);
    veer_builder_t b = veer_builder_before(g, call);
    veer_builder_inline(&b, callee_of(g, call), in, in_count, out);
    VEER_TRY(veer_builder_status(&b));
    for (int i = 0; i < out_count; i++) veer_value_replace(g, veer_node_out(g, call, i), out[i]);
    VEER_TRY(veer_graph_out_of_memory(g) ? veer_out_of_memory() : veer_ok());
    veer_node_remove(g, call);
    veer_pass_count(ctx, "inlined");
    return veer_ok();
}

static veer_status_t inline_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    for (veer_node_t node = veer_region_first(g, region); node.i;) {
        if (veer_node_op(g, node) == VEER_OP_CALL) {
            /* Go on with the first node that comes in its place: that may be a call as well. */
            veer_node_t before = veer_node_prev(g, node);
            VEER_TRY(inline_call(g, node, ctx));
            node = before.i ? veer_node_next(g, before) : veer_region_first(g, region);
            continue;
        }
        if (veer_node_body(g, node).i) VEER_TRY(inline_region(g, veer_node_body(g, node), ctx));
        node = veer_node_next(g, node);
    }
    return veer_ok();
}

static veer_status_t run_inline(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    uint32_t limit = 1;
    for (veer_func_t f = veer_graph_first_func(g); f.i; f = veer_graph_next_func(g, f)) limit = f.i + 1;
    visit_t *visits = veer_arena_array(&ctx->scratch, limit, sizeof *visits);
    if (!visits) return veer_out_of_memory();
    VEER_TRY(check_recursion(g, func, visits));
    return inline_region(g, veer_func_body(g, func), ctx);
}

const veer_pass_def_t veer_pass_inline = {
    .name = "inline", .summary = "put the bodies of called functions in place of the calls", .run = run_inline};
