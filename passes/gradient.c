/* Reverse-mode differentiation (ARCHITECTURE.md, "One program").
 *
 *     %y, %dx = grad(%x, %dy) {callee = "f", of = 0, wrt = [0]}      graph @f(%x) { %y = tanh %x  return %y }
 * becomes
 *     %y = tanh %x
 *     %t = mul %y, %y   %u = sub 1, %t   %dx = mul %dy, %u
 *
 * Rules for the next author:
 * 1. A node is differentiated only if it lies on a path from a `wrt` argument to the result `of`: everything else may
 * hold whatever op it likes.
 * 2. The op's rule (ir/op.h, `grad`) is the only place that knows calculus. This file accumulates cotangents: nodes are
 *    visited last to first, so a value's cotangent is complete before its definition is visited.
 * 3. Output is ordinary IR: it is folded, merged, fused and exported like any other, and can be differentiated again
 *    (a grad node of a function that holds grad nodes: those are replaced first). So a rule keeps infinities out of
 *    branches that are not chosen, and what it drops because it is zero here has a derivative of zero, too.
 * 4. Whatever the forward rule recomputes (sigmoid of the same x, ...) is left to cse.
 */
#include "passes/gradient.h"

#include "ir/gradient.h"
#include "passes/expand.h"
#include "passes/pass.h"

#include <string.h>

/* What the sweep knows of each value, indexed by id. */
typedef struct sweep_s {
    veer_graph_t *g;
    veer_builder_t *b;
    bool *reached;   /* depends on a wrt argument, through values that can have a derivative */
    bool *wanted;    /* the result depends on it */
    veer_value_t *d; /* cotangent so far, none = zero */
} sweep_t;

static bool differentiable(const veer_graph_t *g, veer_value_t v) {
    return v.i && veer_dtype_is_float(veer_value_type(g, v)->dtype);
}

/* Marks forward what depends on wrt, then backward what the result depends on. Nodes [first, end) of one region. */
static void mark(const veer_graph_t *g, veer_node_t first, veer_node_t end, veer_node_t last, veer_value_t of,
                 bool *reached, bool *wanted) {
    for (veer_node_t n = first; n.i && n.i != end.i; n = veer_node_next(g, n)) {
        if (veer_op_def(veer_node_op(g, n))->grad == veer_grad_none) continue;
        bool any = false;
        for (int i = 0; i < veer_node_in_count(g, n); i++) any |= reached[veer_node_in(g, n, i).i];
        for (int i = 0; any && i < veer_node_out_count(g, n); i++)
            reached[veer_node_out(g, n, i).i] = differentiable(g, veer_node_out(g, n, i));
    }
    wanted[of.i] = true;
    for (veer_node_t n = last; n.i; n = veer_node_prev(g, n)) {
        bool any = false;
        for (int i = 0; i < veer_node_out_count(g, n); i++) any |= wanted[veer_node_out(g, n, i).i];
        for (int i = 0; any && i < veer_node_in_count(g, n); i++)
            if (veer_node_in(g, n, i).i) wanted[veer_node_in(g, n, i).i] = true;
        if (n.i == first.i) break;
    }
}

static bool on_path(const veer_graph_t *g, veer_node_t n, const bool *reached, const bool *wanted) {
    for (int i = 0; i < veer_node_out_count(g, n); i++) {
        veer_value_t v = veer_node_out(g, n, i);
        if (reached[v.i] && wanted[v.i]) return true;
    }
    return false;
}

static veer_status_t name_node(const veer_graph_t *g, veer_node_t n, veer_status_t status) {
    const char *origin = veer_node_origin_count(g, n) ? veer_node_origin(g, n, 0) : NULL;
    return origin ? veer_status_where(status, "node '%s'", origin) : status;
}

static veer_status_t missing_rules(const veer_graph_t *g, veer_node_t first, veer_node_t end, const bool *reached,
                                   const bool *wanted) {
    veer_status_t all = veer_ok();
    for (veer_node_t n = first; n.i && n.i != end.i; n = veer_node_next(g, n)) {
        if (!on_path(g, n, reached, wanted) || veer_op_def(veer_node_op(g, n))->grad != veer_grad_missing) continue;
        veer_status_t one =
            veer_error(VEER_ERR_UNSUPPORTED, "op '%s' lies on the path of the gradient and has no gradient rule",
                       veer_op_name(veer_node_op(g, n)));
        one =
            veer_status_help(one, "`veer ops` lists the operators that have one; calls are inlined and loops unrolled "
                                  "before they are differentiated");
        all = veer_status_join(all, name_node(g, n, one));
    }
    return all;
}

veer_status_t veer_gradient_check(const veer_graph_t *g, veer_func_t func, int of, const int64_t *wrt, int wrt_count) {
    veer_region_t body = veer_func_body(g, func);
    veer_allocator_t a = veer_graph_allocator(g);
    uint32_t limit = veer_graph_value_limit(g);
    bool *marks = veer_alloc_array(a, (size_t)limit * 2, sizeof *marks);
    if (!marks) return veer_out_of_memory();
    for (int i = 0; i < wrt_count; i++) {
        veer_value_t arg = veer_region_arg(g, body, (int)wrt[i]);
        marks[arg.i] = differentiable(g, arg);
        if (marks[arg.i]) continue;
        veer_free(a, marks);
        return veer_error(VEER_ERR_CONFIG, "input '%s' is %s; only floating-point inputs have a gradient",
                          veer_value_name(g, arg), veer_dtype_name(veer_value_type(g, arg)->dtype));
    }
    veer_node_t end = veer_region_terminator(g, body);
    mark(g, veer_region_first(g, body), end, end, veer_region_result(g, body, of), marks, marks + limit);
    veer_status_t status = missing_rules(g, veer_region_first(g, body), end, marks, marks + limit);
    veer_free(a, marks);
    return status;
}

/* ---- expansion of composites whose gradient is that of their definition ---- */

static veer_status_t expand_composites(veer_graph_t *g, veer_node_t before_first, veer_node_t end, veer_region_t region,
                                       veer_value_t *results, int result_count) {
    veer_node_t n = before_first.i ? veer_node_next(g, before_first) : veer_region_first(g, region);
    while (n.i && n.i != end.i) {
        veer_node_t next = veer_node_next(g, n);
        const veer_op_def_t *def = veer_op_def(veer_node_op(g, n));
        if (def->grad == veer_grad_by_expansion && def->expand)
            VEER_TRY(name_node(g, n, veer_expand_node(g, n, results, result_count)));
        n = next;
    }
    return veer_ok();
}

/* ---- the sweep ---- */

/* A piece of a cotangent: zeros around `from` along one axis, as the rule of slice makes it. */
typedef struct piece_s {
    veer_value_t from;
    int axis;
    int64_t begin, end;
} piece_t;

static bool is_piece(const veer_graph_t *g, veer_value_t v, piece_t *out) {
    veer_node_t def = veer_value_def(g, v);
    if (!def.i || veer_node_op(g, def) != VEER_OP_PAD || strcmp(veer_node_string(g, def, "mode"), "constant"))
        return false;
    if (veer_node_float(g, def, "value") != 0) return false;
    int rank, padded = 0;
    const int64_t *before = veer_node_ints(g, def, "before", &rank), *after = veer_node_ints(g, def, "after", NULL);
    const veer_type_t *type = veer_value_type(g, v);
    for (int d = 0; d < rank; d++) {
        if (!before[d] && !after[d]) continue;
        if (before[d] < 0 || after[d] < 0) return false;
        *out = (piece_t){veer_node_in(g, def, 0), d, before[d], type->dims[d] - after[d]};
        padded++;
    }
    return padded == 1;
}

/* `v`, or what it joins along `axis` itself where there is room. */
static int add_parts(const veer_graph_t *g, veer_value_t v, int axis, veer_value_t *parts, int count) {
    veer_node_t def = veer_value_def(g, v);
    bool joined = def.i && veer_node_op(g, def) == VEER_OP_CONCAT && veer_node_int(g, def, "axis") == axis &&
                  count + veer_node_in_count(g, def) < VEER_OP_MAX_OPERANDS;
    for (int i = 0; joined && i < veer_node_in_count(g, def); i++) parts[count++] = veer_node_in(g, def, i);
    if (!joined) parts[count++] = v;
    return count;
}

/* The sum of two cotangents. Pieces that touch, as the parts of a split do, are put together instead: nothing is
 * padded and added. */
static veer_value_t sum(veer_builder_t *b, veer_value_t x, veer_value_t y) {
    piece_t p, q;
    if (!veer_builder_ok(b) || !is_piece(b->graph, x, &p) || !is_piece(b->graph, y, &q) || p.axis != q.axis ||
        (p.end != q.begin && q.end != p.begin))
        return veer_add(b, x, y);
    bool ordered = p.end == q.begin;
    int64_t before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0};
    before[p.axis] = ordered ? p.begin : q.begin;
    after[p.axis] = veer_builder_type(b, x)->dims[p.axis] - (ordered ? q.end : p.end);
    veer_value_t parts[VEER_OP_MAX_OPERANDS + 1];
    int count = add_parts(b->graph, ordered ? p.from : q.from, p.axis, parts, 0);
    count = add_parts(b->graph, ordered ? q.from : p.from, p.axis, parts, count);
    return veer_pad_zero(b, veer_concat(b, parts, count, p.axis), before, after);
}

static veer_status_t accumulate(sweep_t *s, veer_value_t v, veer_value_t d) {
    if (!d.i) return veer_ok();
    char want[VEER_TYPE_TEXT_BYTES], got[VEER_TYPE_TEXT_BYTES];
    if (!veer_type_equal(veer_value_type(s->g, v), veer_value_type(s->g, d)))
        return veer_error(VEER_ERR_FAILED, "a gradient rule gave %s for an operand %s",
                          veer_type_text(veer_value_type(s->g, d), got),
                          veer_type_text(veer_value_type(s->g, v), want));
    s->d[v.i] = s->d[v.i].i ? sum(s->b, s->d[v.i], d) : d;
    return veer_ok();
}

static veer_status_t sweep_node(sweep_t *s, veer_node_t n) {
    veer_graph_t *g = s->g;
    int in_count = veer_node_in_count(g, n), out_count = veer_node_out_count(g, n);
    veer_allocator_t a = veer_graph_allocator(g);
    size_t ins = (size_t)in_count + 1, outs = (size_t)out_count + 1;
    veer_value_t *values = veer_alloc_array(a, 2 * ins + 2 * outs, sizeof *values);
    bool *need = veer_alloc_array(a, ins, sizeof *need);
    veer_status_t status = values && need ? veer_ok() : veer_out_of_memory();
    veer_value_t *in = values, *d_in = values + ins, *out = d_in + ins, *d_out = out + outs;
    if (status) goto done;
    for (int i = 0; i < in_count; i++) {
        in[i] = veer_node_in(g, n, i);
        need[i] = in[i].i && s->reached[in[i].i] && s->wanted[in[i].i];
    }
    for (int i = 0; i < out_count; i++) {
        out[i] = veer_node_out(g, n, i);
        d_out[i] = s->d[out[i].i];
    }
    veer_grad_t rule = {.graph = g,
                        .node = n,
                        .in_count = in_count,
                        .out_count = out_count,
                        .in = in,
                        .out = out,
                        .d_out = d_out,
                        .need = need,
                        .d_in = d_in};
    s->b->origins_from = n;
    status = veer_op_def(veer_node_op(g, n))->grad(s->b, &rule);
    status = veer_status_join(status, veer_builder_status(s->b));
    for (int i = 0; i < in_count && !status; i++)
        if (need[i]) status = accumulate(s, in[i], d_in[i]);
    if (!status) status = veer_builder_status(s->b);
done:
    veer_free(a, values);
    veer_free(a, need);
    return status ? name_node(g, n, veer_status_where(status, "gradient of op '%s'", veer_op_name(veer_node_op(g, n))))
                  : status;
}

/* A result without elements hands nothing on; rules need not know such types. */
static bool has_cotangent(const sweep_t *s, veer_node_t n) {
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        veer_value_t out = veer_node_out(s->g, n, i);
        if (s->d[out.i].i && s->reached[out.i] && veer_type_count(veer_value_type(s->g, out))) return true;
    }
    return false;
}

/* Nodes first..last stand in front of the builder; of and wrt are values among them or before them. */
static veer_status_t sweep(sweep_t *s, veer_node_t first, veer_node_t last, veer_node_t end, veer_value_t of,
                           veer_value_t d_of, const veer_value_t *wrt, int wrt_count, veer_value_t *out) {
    for (int i = 0; i < wrt_count; i++) s->reached[wrt[i].i] = differentiable(s->g, wrt[i]);
    mark(s->g, first, end, last, of, s->reached, s->wanted);
    VEER_TRY(missing_rules(s->g, first, end, s->reached, s->wanted));
    s->d[of.i] = d_of;
    for (veer_node_t n = last; n.i; n = veer_node_prev(s->g, n)) {
        if (has_cotangent(s, n)) VEER_TRY(sweep_node(s, n));
        if (n.i == first.i) break;
    }
    for (int i = 0; i < wrt_count; i++) {
        veer_type_t type = *veer_value_type(s->g, wrt[i]);
        out[i] = s->d[wrt[i].i].i ? s->d[wrt[i].i] : veer_zeros(s->b, type);
    }
    return veer_builder_status(s->b);
}

/* ---- the grad node ---- */

/* Arguments enter through identity-free ids of their own: two arguments may be the same value, and a cotangent for a
 * value that is also used outside the callee must not mix with others. So the callee is copied with placeholder
 * arguments (a function of its own would do the same); they are replaced by the operands when the sweep is done. */
static veer_status_t copy_callee(veer_builder_t *b, veer_func_t callee, veer_value_t *args, int arg_count,
                                 veer_value_t *results) {
    for (int i = 0; i < arg_count; i++) {
        veer_type_t type = *veer_value_type(b->graph, veer_region_arg(b->graph, veer_func_body(b->graph, callee), i));
        args[i] =
            veer_build(b, VEER_OP_BROADCAST, VEER_IN(args[i]), VEER_ATTRS(VEER_INTS("dims", type.dims, type.rank)));
    }
    if (veer_builder_ok(b)) veer_builder_inline(b, callee, args, arg_count, results);
    return veer_builder_status(b);
}

enum { MOST_DERIVATIVES = 16 };

static veer_status_t expand_at_depth(veer_graph_t *g, veer_node_t grad, int depth);

/* Gradients inside the callee, which is what second derivatives are: replaced where they stand. */
static veer_status_t expand_inner(veer_graph_t *g, veer_func_t callee, int depth) {
    if (depth == MOST_DERIVATIVES)
        return veer_error(VEER_ERR_UNSUPPORTED, "gradients of function '%s' are nested %d deep, or it calls itself",
                          veer_func_name(g, callee), depth);
    VEER_FOR_EACH_NODE(g, veer_func_body(g, callee), n)
    if (veer_node_op(g, n) == VEER_OP_GRAD) VEER_TRY(expand_at_depth(g, n, depth + 1));
    return veer_ok();
}

static veer_status_t expand_grad(veer_graph_t *g, veer_node_t grad, veer_arena_t *scratch) {
    veer_func_t callee = veer_graph_find_func(g, veer_node_string(g, grad, "callee"));
    veer_region_t body = veer_func_body(g, callee);
    int arg_count = veer_region_arg_count(g, body), result_count = veer_region_result_count(g, body), wrt_count;
    const int64_t *wrt = veer_node_ints(g, grad, "wrt", &wrt_count);
    veer_value_t *args = veer_arena_array(scratch, (size_t)arg_count + 1, sizeof *args);
    veer_value_t *placeholders = veer_arena_array(scratch, (size_t)arg_count + 1, sizeof *args);
    veer_value_t *results = veer_arena_array(scratch, (size_t)(result_count + wrt_count) + 1, sizeof *results);
    veer_value_t *by = veer_arena_array(scratch, (size_t)wrt_count + 1, sizeof *by);
    if (!args || !placeholders || !results || !by) return veer_out_of_memory();
    for (int i = 0; i < arg_count; i++) args[i] = placeholders[i] = veer_node_in(g, grad, i);

    veer_node_t before = veer_node_prev(g, grad);
    veer_region_t region = veer_node_region(g, grad);
    veer_builder_t b = veer_builder_before(g, grad);
    VEER_TRY(copy_callee(&b, callee, placeholders, arg_count, results));
    VEER_TRY(expand_composites(g, before, grad, region, results, result_count));
    for (int i = 0; i < wrt_count; i++) by[i] = placeholders[wrt[i]];

    uint32_t limit = veer_graph_value_limit(g);
    /* Cotangents are values of the sweep itself; they are never looked up by id beyond `limit`. */
    sweep_t s = {.g = g,
                 .b = &b,
                 .reached = veer_arena_array(scratch, limit, sizeof(bool)),
                 .wanted = veer_arena_array(scratch, limit, sizeof(bool)),
                 .d = veer_arena_array(scratch, limit, sizeof(veer_value_t))};
    if (!s.reached || !s.wanted || !s.d) return veer_out_of_memory();
    veer_node_t first = before.i ? veer_node_next(g, before) : veer_region_first(g, region);
    int64_t of = veer_node_int(g, grad, "of");
    VEER_TRY(sweep(&s, first, veer_node_prev(g, grad), grad, results[of], veer_node_in(g, grad, arg_count), by,
                   wrt_count, results + result_count));
    for (int i = 0; i < result_count + wrt_count; i++) veer_value_replace(g, veer_node_out(g, grad, i), results[i]);
    for (int i = 0; i < arg_count; i++) {
        veer_node_t placeholder = veer_value_def(g, placeholders[i]);
        veer_value_replace(g, placeholders[i], args[i]);
        veer_node_remove(g, placeholder);
    }
    veer_node_remove(g, grad);
    return veer_graph_out_of_memory(g) ? veer_out_of_memory() : veer_ok();
}

static veer_status_t expand_at_depth(veer_graph_t *g, veer_node_t grad, int depth) {
    veer_arena_t scratch;
    VEER_TRY(expand_inner(g, veer_graph_find_func(g, veer_node_string(g, grad, "callee")), depth));
    veer_arena_init(&scratch, veer_graph_allocator(g));
    veer_status_t status = expand_grad(g, grad, &scratch);
    veer_arena_deinit(&scratch);
    return status;
}

veer_status_t veer_gradient_expand(veer_graph_t *g, veer_node_t grad) {
    return expand_at_depth(g, grad, 0);
}

/* ---- the pass: every grad node, wherever it stands ---- */

static veer_status_t expand_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    VEER_FOR_EACH_NODE(g, region, n) {
        if (veer_node_op(g, n) == VEER_OP_LOOP) VEER_TRY(expand_region(g, veer_node_body(g, n), ctx));
        if (veer_node_op(g, n) != VEER_OP_GRAD) continue;
        VEER_TRY(veer_gradient_expand(g, n));
        veer_pass_count(ctx, "expanded");
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return expand_region(g, veer_func_body(g, func), ctx);
}

const veer_pass_def_t veer_pass_gradient = {"gradient", "replace grad nodes by the gradient's plain nodes", run, {{0}}};
