/* layout -- convolutions get their channels last, and everything between them is computed in that order.
 *
 *     %a = conv %x, %w : f32[1,8,4,4]                       %t = transpose %x {perm = [0, 2, 3, 1]}
 *     %s = silu %a                                    =>    %a = conv %t, %w {channels_last = 1} : f32[1,4,4,8]
 *     %b = conv %s, %v : f32[1,6,4,4]                       %s = silu %a
 *     return %b                                             %b = conv %s, %v {channels_last = 1} : f32[1,4,4,6]
 *                                                           %y = transpose %b {perm = [0, 3, 1, 2]}  return %y
 *
 * Of every value the pass knows the forms in which it is there: which value of the new graph holds its elements, and in
 * which order (order.h). It walks each region once and computes each node in the order in which its operands lie;
 * reshapes and transposes only change how the elements are seen. A transpose is made where an op wants another order:
 * right behind the value's definition (outside the loop for what was computed there), once per order, however many read
 * it. A convolution of kernel 1 is a matrix product over the positions, and becomes one.
 *
 * Rules for the next author:
 * 1. A rule returns false where it cannot work on what is there; the node then stays and reads row-major operands.
 * 2. A rule computes the same numbers: sums may run in another order, nothing else may change.
 * 3. An elementwise op takes the order that moves the fewest elements; where there is a choice, what its readers pull
 *    for, and else row-major. Constants and values from outside the loop move for free.
 *
 * layout_rules.c holds the rules. Declines: functions without convolutions stay as they are; so does a convolution that
 * the target does not take with its channels last.
 */
#include "ir/channels.h"
#include "passes/layout_internal.h"

#include <assert.h>

/* ---- forms ---- */

veer_type_t veer_layout_type_of(const veer_layout_t *l, veer_value_t v) {
    return *veer_value_type(l->g, v);
}

veer_form_t *veer_layout_add_form(veer_layout_t *l, veer_value_t v, veer_value_t value, const veer_order_t *order) {
    veer_form_t *f = veer_arena_alloc(&l->ctx->scratch, sizeof *f), **end = &l->forms[v.i];
    if (!f) {
        veer_builder_fail(&l->b, veer_out_of_memory());
        return NULL;
    }
    *f = (veer_form_t){NULL, value, *order};
    while (*end) end = &(*end)->next;
    return *end = f;
}

veer_form_t *veer_layout_forms_of(veer_layout_t *l, veer_value_t v) {
    if (l->forms[v.i]) return l->forms[v.i];
    veer_type_t type = veer_layout_type_of(l, v);
    veer_order_t order = veer_order_row_major(&type);
    return veer_layout_add_form(l, v, v, &order);
}

bool veer_layout_moved_form(veer_layout_t *l, veer_value_t v, veer_form_t *out) {
    veer_form_t *f = l->forms[v.i];
    if (!f || veer_order_is_row_major(&f->order)) return false;
    *out = *f;
    return true;
}

veer_value_t veer_layout_with_dims(veer_builder_t *b, veer_value_t v, const veer_order_t *order) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t stored = veer_order_stored(order, veer_builder_type(b, v)->dtype);
    return veer_reshape(b, v, stored.rank, stored.dims);
}

bool veer_layout_has_form(const veer_layout_t *l, veer_value_t v, const veer_order_t *order) {
    veer_type_t type = veer_layout_type_of(l, v);
    veer_order_t row_major = veer_order_row_major(&type);
    if (!l->forms[v.i]) return veer_order_equal(&row_major, order);
    for (const veer_form_t *f = l->forms[v.i]; f; f = f->next)
        if (veer_order_equal(&f->order, order)) return true;
    return false;
}

/* A builder right behind the definition of v. */
static veer_builder_t behind(const veer_layout_t *l, veer_value_t v) {
    veer_node_t def = veer_value_def(l->g, v);
    veer_node_t next = def.i ? veer_node_next(l->g, def) : veer_region_first(l->g, veer_value_region(l->g, v));
    veer_builder_t b = veer_builder_before(l->g, next);
    b.origins_from = def;
    return b;
}

static veer_value_t moved(veer_layout_t *l, const veer_form_t *from, const veer_order_t *to) {
    veer_order_move_t move;
    veer_builder_t b = behind(l, from->value);
    veer_value_t v = from->value;
    veer_order_t middle = from->order;
    if (!veer_order_move(&from->order, to, &move)) { /* cut in different ways: by way of row-major */
        veer_type_t whole = {.rank = 0};
        for (int f = 0; f < from->order.n; f++) {
            if (f == 0 || from->order.axis[f] != from->order.axis[f - 1]) whole.dims[whole.rank++] = 1;
            whole.dims[whole.rank - 1] *= from->order.size[f];
        }
        middle = veer_order_row_major(&whole);
        bool possible = veer_order_move(&from->order, &middle, &move);
        assert(possible);
        (void)possible;
        v = veer_transpose(&b, veer_reshape(&b, v, move.rank, move.from), move.perm);
        possible = veer_order_move(&middle, to, &move);
        assert(possible);
    }
    v = veer_transpose(&b, veer_reshape(&b, v, move.rank, move.from), move.perm);
    v = veer_layout_with_dims(&b, v, to);
    veer_builder_fail(&l->b, veer_builder_status(&b));
    if (!veer_value_const_data(l->g, from->value)) veer_pass_count(l->ctx, "conversions");
    return v;
}

veer_value_t veer_layout_in_order(veer_layout_t *l, veer_value_t v, const veer_order_t *order) {
    if (!veer_layout_forms_of(l, v)) return VEER_NO_VALUE;
    for (veer_form_t *f = l->forms[v.i]; f; f = f->next)
        if (veer_order_equal(&f->order, order)) return veer_layout_with_dims(&l->b, f->value, order);
    veer_value_t value = moved(l, l->forms[v.i], order);
    if (!veer_builder_ok(&l->b)) return VEER_NO_VALUE;
    veer_layout_add_form(l, v, value, order);
    return value;
}

veer_value_t veer_layout_in_row_major(veer_layout_t *l, veer_value_t v) {
    if (!v.i || v.i >= l->limit || !l->forms[v.i]) return v;
    veer_type_t type = veer_layout_type_of(l, v);
    veer_order_t order = veer_order_row_major(&type);
    return veer_layout_in_order(l, v, &order);
}

/* ---- what readers want ---- */

/* +1 per reader that is a convolution, or passes the value on to one, -1 per reader of another kind. */
static int pull_of(const veer_layout_t *l, veer_value_t v) {
    int sum = 0, at;
    for (int i = 0; i < veer_value_use_count(l->g, v); i++) {
        veer_node_t user = veer_value_use(l->g, v, i, &at);
        veer_op_t op = veer_node_op(l->g, user);
        bool image = op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE;
        bool passes_on = veer_op_has(op, VEER_ELEMENTWISE) || veer_op_has(op, VEER_MOVES) ||
                         veer_op_is_group_norm(op) || op == VEER_OP_AVG_POOL || op == VEER_OP_MAX_POOL ||
                         op == VEER_OP_RESIZE;
        sum += image ? (at == 0 ? 1 : -1) : passes_on ? l->pull[veer_node_out(l->g, user, 0).i] : -1;
    }
    return sum;
}

/* Last to first; readers inside of a loop count as others do. */
static void find_pull(veer_layout_t *l, veer_region_t region) {
    for (veer_node_t n = veer_region_last(l->g, region); n.i; n = veer_node_prev(l->g, n)) {
        if (veer_node_op(l->g, n) == VEER_OP_LOOP) find_pull(l, veer_node_body(l->g, n));
        for (int i = 0; i < veer_node_out_count(l->g, n); i++) {
            int sum = pull_of(l, veer_node_out(l->g, n, i));
            l->pull[veer_node_out(l->g, n, i).i] = (int8_t)((sum > 0) - (sum < 0));
        }
    }
}

/* ---- the walk ---- */

static veer_status_t visit_region(veer_layout_t *l, veer_region_t region) {
    VEER_FOR_EACH_NODE(l->g, region, n) {
        l->b = veer_builder_before(l->g, n);
        bool done = veer_layout_rewrite(l, n);
        if (done) l->replaced[l->replaced_count++] = n;
        for (int i = 0; !done && i < veer_node_in_count(l->g, n); i++) {
            veer_value_t v = veer_node_in(l->g, n, i), is = veer_layout_in_row_major(l, v);
            if (veer_builder_ok(&l->b) && !veer_value_eq(v, is)) veer_node_set_in(l->g, n, i, is);
        }
        VEER_TRY(veer_builder_status(&l->b));
        if (veer_node_op(l->g, n) == VEER_OP_LOOP) VEER_TRY(visit_region(l, veer_node_body(l->g, n)));
    }
    return veer_ok();
}

static bool has_convolutions(const veer_graph_t *g, veer_region_t region) {
    VEER_FOR_EACH_NODE(g, region, n) {
        veer_op_t op = veer_node_op(g, n);
        if (op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE) return true;
        if (op == VEER_OP_LOOP && has_convolutions(g, veer_node_body(g, n))) return true;
    }
    return false;
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    veer_layout_t l = {.g = g, .ctx = ctx, .limit = veer_graph_value_limit(g)};
    if (!has_convolutions(g, veer_func_body(g, func))) return veer_ok();
    l.forms = veer_arena_array(&ctx->scratch, l.limit, sizeof(veer_form_t *));
    l.pull = veer_arena_array(&ctx->scratch, l.limit, sizeof *l.pull);
    l.replaced = veer_arena_array(&ctx->scratch, veer_graph_node_limit(g), sizeof *l.replaced);
    if (!l.forms || !l.pull || !l.replaced) return veer_out_of_memory();
    find_pull(&l, veer_func_body(g, func));
    VEER_TRY(visit_region(&l, veer_func_body(g, func)));
    while (l.replaced_count) veer_node_remove(g, l.replaced[--l.replaced_count]);
    return veer_ok();
}

const veer_pass_def_t veer_pass_layout = {
    .name = "layout", .summary = "compute convolutions, and what is between them, with channels last", .run = run};
