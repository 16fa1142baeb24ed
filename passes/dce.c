/* dce -- drops what nobody needs.
 *
 *     %a = exp %x   %b = neg %a   return %x
 *     %y, %z = loop (%x, %s) {trip = 3} (%i, %p, %q) { %u = mul %p, %p   %v = add %q, %p   yield %u, %v }   return %y
 * becomes
 *     return %x
 *     %y = loop (%x) {trip = 3} (%i, %p) { %u = mul %p, %p   yield %u }   return %y
 *
 * Valid for pure nodes. What is needed is found backwards from the function's results; a carried value of a loop is
 * needed if its final value is, or if something needed reads it inside: one that only feeds itself goes. Further
 * results of a loop, and operands and results of fused nodes, go one by one as well. Declines: a function's own
 * arguments and results stay, whoever calls it relies on them; other functions are not looked at.
 */
#include "ir/builder.h"
#include "passes/pass.h"

typedef struct dce_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    uint32_t limit;      /* of values when the pass began: whatever is newer is needed */
    bool *needed;        /* by value id */
    veer_value_t *stack; /* needed, but not followed yet; each value gets here once */
    uint32_t depth;
} dce_t;

/* ---- finding what is needed ---- */

static void need(dce_t *d, veer_value_t value) {
    if (!value.i || d->needed[value.i]) return;
    d->needed[value.i] = true;
    d->stack[d->depth++] = value;
}

static bool is_needed(const dce_t *d, veer_value_t value) {
    return value.i >= d->limit || d->needed[value.i];
}

/* Result or, with `arg`, body argument i of a node with a region. */
static void follow_region_node(dce_t *d, veer_node_t node, int i, bool arg) {
    veer_region_t body = veer_node_body(d->g, node);
    bool loop = veer_node_op(d->g, node) == VEER_OP_LOOP;
    int carried = loop ? veer_node_in_count(d->g, node) : 0;
    if (arg && loop && i == 0) return; /* the iteration */
    if (arg && loop) i--;
    if (!arg || loop) need(d, veer_region_result(d->g, body, i));
    if (arg || i < carried) need(d, veer_node_in(d->g, node, i));
}

static void follow(dce_t *d, veer_value_t value) {
    veer_node_t def = veer_value_def(d->g, value);
    int index = veer_value_def_index(d->g, value);
    if (!def.i) {
        veer_node_t parent = veer_region_parent(d->g, veer_value_region(d->g, value));
        if (parent.i) follow_region_node(d, parent, index, true);
    } else if (veer_node_body(d->g, def).i) {
        follow_region_node(d, def, index, false);
    } else {
        for (int i = 0; i < veer_node_in_count(d->g, def); i++) need(d, veer_node_in(d->g, def, i));
    }
}

/* ---- dropping the rest ---- */

static veer_status_t sweep_region(dce_t *d, veer_region_t region);

static bool is_dead(const dce_t *d, veer_node_t node) {
    if (!veer_op_has(veer_node_op(d->g, node), VEER_PURE)) return false;
    for (int i = 0; i < veer_node_out_count(d->g, node); i++)
        if (is_needed(d, veer_node_out(d->g, node, i))) return false;
    return true;
}

/* A carried value stays with its argument or its result; they are one thing. */
static bool keeps_carried(const dce_t *d, veer_node_t loop, int i) {
    return is_needed(d, veer_region_arg(d->g, veer_node_body(d->g, loop), i + 1)) ||
           is_needed(d, veer_node_out(d->g, loop, i));
}

static bool keeps_result(const dce_t *d, veer_node_t node, int i) {
    if (veer_node_op(d->g, node) == VEER_OP_LOOP && i < veer_node_in_count(d->g, node))
        return keeps_carried(d, node, i);
    return is_needed(d, veer_node_out(d->g, node, i));
}

static bool keeps_operand(const dce_t *d, veer_node_t node, int i) {
    if (veer_node_op(d->g, node) == VEER_OP_LOOP) return keeps_carried(d, node, i);
    return is_needed(d, veer_region_arg(d->g, veer_node_body(d->g, node), i));
}

static bool keeps_everything(const dce_t *d, veer_node_t node) {
    for (int i = 0; i < veer_node_in_count(d->g, node); i++)
        if (!keeps_operand(d, node, i)) return false;
    for (int i = 0; i < veer_node_out_count(d->g, node); i++)
        if (!keeps_result(d, node, i)) return false;
    return true;
}

typedef struct kept_s {
    veer_value_t *in, *yields;
    int *in_index, *out_index; /* where they were */
    int in_count, out_count;
} kept_t;

static veer_status_t collect_kept(dce_t *d, veer_node_t node, kept_t *k) {
    size_t in_count = (size_t)veer_node_in_count(d->g, node), out_count = (size_t)veer_node_out_count(d->g, node);
    k->in = veer_arena_array(&d->ctx->scratch, in_count + 1, sizeof *k->in);
    k->in_index = veer_arena_array(&d->ctx->scratch, in_count + 1, sizeof *k->in_index);
    k->yields = veer_arena_array(&d->ctx->scratch, out_count + 1, sizeof *k->yields);
    k->out_index = veer_arena_array(&d->ctx->scratch, out_count + 1, sizeof *k->out_index);
    if (!k->in || !k->in_index || !k->yields || !k->out_index) return veer_out_of_memory();
    for (int i = 0; i < (int)in_count; i++) {
        if (!keeps_operand(d, node, i)) continue;
        k->in_index[k->in_count] = i;
        k->in[k->in_count++] = veer_node_in(d->g, node, i);
    }
    for (int i = 0; i < (int)out_count; i++) {
        if (!keeps_result(d, node, i)) continue;
        k->out_index[k->out_count] = i;
        k->yields[k->out_count++] = veer_region_result(d->g, veer_node_body(d->g, node), i);
    }
    veer_pass_count_by(d->ctx, "values dropped", (int64_t)(out_count - (size_t)k->out_count));
    return veer_ok();
}

static veer_status_t rename_like(veer_graph_t *g, veer_value_t value, veer_value_t like) {
    return veer_value_set_name(g, value, veer_value_name(g, like));
}

/* The old body's nodes, without its terminator, move to the new body, and so do uses of its arguments. */
static veer_status_t move_body(dce_t *d, veer_node_t from, veer_node_t to, const kept_t *k) {
    veer_region_t old = veer_node_body(d->g, from), body = veer_node_body(d->g, to);
    int first = veer_node_op(d->g, from) == VEER_OP_LOOP ? 1 : 0;
    veer_builder_t b = veer_builder_at_end(d->g, body);
    veer_builder_yield(&b, k->yields, k->out_count);
    VEER_TRY(veer_builder_status(&b));
    veer_node_t end = veer_region_last(d->g, body);
    VEER_FOR_EACH_NODE(d->g, old, node) veer_node_move_before(d->g, node, end);
    for (int i = 0; i < k->in_count + first; i++) {
        veer_value_t was = veer_region_arg(d->g, old, i < first ? i : k->in_index[i - first] + first);
        veer_value_t is = veer_region_arg(d->g, body, i);
        veer_value_replace(d->g, was, is);
        VEER_TRY(rename_like(d->g, is, was));
    }
    return veer_ok();
}

/* A loop or fused node with fewer operands and results takes the place of this one. */
static veer_status_t rebuild(dce_t *d, veer_node_t node) {
    veer_graph_t *g = d->g;
    kept_t k = {0};
    veer_node_t end = veer_region_terminator(g, veer_node_body(g, node));
    bool loop = veer_node_op(g, node) == VEER_OP_LOOP;
    /* Nothing dead in the body keeps a reader; only then can it be swept. What is yielded may be another value after
     * it. */
    for (int i = 0; i < veer_node_in_count(g, end); i++)
        if (!keeps_result(d, node, i)) veer_node_set_in(g, end, i, VEER_NO_VALUE);
    VEER_TRY(sweep_region(d, veer_node_body(g, node)));
    VEER_TRY(collect_kept(d, node, &k));
    veer_node_remove(g, end);
    veer_builder_t b = veer_builder_before(g, node);
    veer_node_t to = loop ? veer_builder_loop(&b, veer_node_int(g, node, "trip"), k.in, k.in_count)
                          : veer_builder_fused(&b, veer_node_string(g, node, "kind"), k.in, k.in_count);
    VEER_TRY(veer_builder_status(&b));
    VEER_TRY(move_body(d, node, to, &k));
    if (loop)
        veer_builder_loop_finish(&b, to);
    else
        veer_builder_fused_finish(&b, to);
    VEER_TRY(veer_builder_status(&b));
    for (int i = 0; i < k.out_count; i++) {
        veer_value_t was = veer_node_out(g, node, k.out_index[i]);
        VEER_TRY(rename_like(g, veer_node_out(g, to, i), was));
        veer_value_replace(g, was, veer_node_out(g, to, i));
    }
    if (veer_graph_out_of_memory(g)) return veer_out_of_memory();
    veer_node_remove(g, node);
    return veer_ok();
}

/* Last node first: when a dead node's turn comes, its readers, dead as well, are gone. */
static veer_status_t sweep_region(dce_t *d, veer_region_t region) {
    for (veer_node_t node = veer_region_last(d->g, region), before; node.i; node = before) {
        before = veer_node_prev(d->g, node);
        veer_region_t body = veer_node_body(d->g, node);
        if (is_dead(d, node)) {
            veer_node_remove(d->g, node);
            veer_pass_count(d->ctx, "nodes removed");
        } else if (body.i && keeps_everything(d, node)) {
            VEER_TRY(sweep_region(d, body));
        } else if (body.i) {
            VEER_TRY(rebuild(d, node));
        }
    }
    return veer_ok();
}

static veer_status_t run_dce(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    veer_region_t body = veer_func_body(g, func);
    dce_t d = {.g = g, .ctx = ctx, .limit = veer_graph_value_limit(g)};
    d.needed = veer_arena_array(&ctx->scratch, d.limit, sizeof *d.needed);
    d.stack = veer_arena_array(&ctx->scratch, d.limit, sizeof *d.stack);
    if (!d.needed || !d.stack) return veer_out_of_memory();
    for (int i = 0; i < veer_region_result_count(g, body); i++) need(&d, veer_region_result(g, body, i));
    while (d.depth) follow(&d, d.stack[--d.depth]);
    return sweep_region(&d, body);
}

const veer_pass_def_t veer_pass_dce = {
    .name = "dce", .summary = "drop nodes, carried values and results that nobody needs", .run = run_dce};
