/* Computes only what a slice keeps: moves slices in front of the nodes whose results they cut.
 *
 *     %h = layer_norm %x {axis = 2} : f32[4,85,256]             %s = slice %x {sizes = [4,1,256], ...} : f32[4,1,256]
 *     %y = slice %h {sizes = [4,1,256], ...}              =>    %y = layer_norm %s {axis = 2}
 *
 * A classifier that reads one token of its last layer needs no other: that token's products, norms and activations are
 * a fraction of the layer's, forward and, because this runs before the gradient is taken, backward. Nodes are visited
 * last to first. One is rewritten where every reader of its result is the same slice (then they are one), so nothing is
 * computed twice; its operands get slices of their own, which move on when their turn comes. An axis that the op mixes
 * (a normalised one, a reduced one, a product's inner one) stops the slice: it then stays behind the node as a whole.
 * Values do not change: the same arithmetic on fewer numbers.
 */
#include "passes/pass.h"

#include "ir/builder.h"

#include <string.h>

typedef struct raise_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    veer_builder_t b;
    veer_node_t n; /* whose result is cut */
    veer_type_t type;
    int64_t starts[VEER_MAX_RANK], sizes[VEER_MAX_RANK], steps[VEER_MAX_RANK];
} raise_t;

static bool is_cut(const raise_t *r, int d) {
    return r->starts[d] != 0 || r->steps[d] != 1 || r->sizes[d] != r->type.dims[d];
}

/* ---- slices of operands ---- */

typedef struct cut_s {
    int rank;
    int64_t starts[VEER_MAX_RANK], sizes[VEER_MAX_RANK], steps[VEER_MAX_RANK];
} cut_t;

static cut_t no_cut(const veer_type_t *type) {
    cut_t c = {.rank = type->rank};
    for (int d = 0; d < type->rank; d++) c.sizes[d] = type->dims[d], c.steps[d] = 1;
    return c;
}

/* Axis `to` of the operand is cut as axis `from` of the result. */
static void take(cut_t *c, const raise_t *r, int to, int from) {
    c->starts[to] = r->starts[from], c->sizes[to] = r->sizes[from], c->steps[to] = r->steps[from];
}

static veer_value_t cut(raise_t *r, veer_value_t v, const cut_t *c) {
    if (!v.i || !veer_builder_ok(&r->b)) return v;
    veer_type_t type = *veer_builder_type(&r->b, v);
    bool whole = true;
    for (int d = 0; d < c->rank; d++) whole &= c->starts[d] == 0 && c->steps[d] == 1 && c->sizes[d] == type.dims[d];
    if (whole) return v;
    return veer_build(&r->b, VEER_OP_SLICE, VEER_IN(v),
                      VEER_ATTRS(VEER_INTS("starts", c->starts, c->rank), VEER_INTS("sizes", c->sizes, c->rank),
                                 VEER_INTS("steps", c->steps, c->rank)));
}

/* Axes [0, end) of the result, where operand i, aligned at the end of the result's axes, has them and does not
 * broadcast. */
static veer_value_t cut_aligned(raise_t *r, int i, int end) {
    veer_value_t v = veer_node_in(r->g, r->n, i);
    if (!v.i) return v;
    veer_type_t type = *veer_value_type(r->g, v);
    int lead = r->type.rank - type.rank;
    cut_t c = no_cut(&type);
    for (int d = lead; d < end; d++)
        if (type.dims[d - lead] != 1) take(&c, r, d - lead, d);
    return cut(r, v, &c);
}

/* ---- rules: the same node on cut operands; none where an axis that it mixes is cut ---- */

static veer_value_t like(raise_t *r, const veer_value_t *in, int count) {
    veer_node_t node = veer_build_like(&r->b, r->n, in, count);
    return node.i ? veer_node_out(r->g, node, 0) : VEER_NO_VALUE;
}

static veer_value_t raise_elementwise(raise_t *r) {
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    int count = veer_node_in_count(r->g, r->n);
    for (int i = 0; i < count; i++) in[i] = cut_aligned(r, i, r->type.rank);
    return like(r, in, count);
}

static bool any_cut(const raise_t *r, int first, int end) {
    for (int d = first; d < end; d++)
        if (is_cut(r, d)) return true;
    return false;
}

/* softmax along one axis, norms over the last ones: their parameters have none of the others. */
static veer_value_t raise_rows(raise_t *r) {
    veer_op_t op = veer_node_op(r->g, r->n);
    int axis = (int)veer_node_int(r->g, r->n, "axis"), count = veer_node_in_count(r->g, r->n);
    bool one = op == VEER_OP_SOFTMAX || op == VEER_OP_LOG_SOFTMAX;
    if (any_cut(r, axis, one ? axis + 1 : r->type.rank)) return VEER_NO_VALUE;
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    for (int i = 0; i < count; i++) in[i] = i ? veer_node_in(r->g, r->n, i) : cut_aligned(r, 0, r->type.rank);
    return like(r, in, count);
}

/* Leading axes align; the rows are a's, the columns b's. */
static veer_value_t raise_matmul(raise_t *r) {
    veer_value_t in[2];
    for (int i = 0; i < 2; i++) {
        in[i] = veer_node_in(r->g, r->n, i);
        veer_type_t type = *veer_value_type(r->g, in[i]);
        int lead = r->type.rank - type.rank;
        bool trans = veer_node_int(r->g, r->n, i ? "trans_b" : "trans_a") != 0;
        cut_t c = no_cut(&type);
        for (int d = lead; d < r->type.rank - 2; d++)
            if (type.dims[d - lead] != 1) take(&c, r, d - lead, d);
        take(&c, r, type.rank - (trans == (i == 0) ? 1 : 2), r->type.rank - 2 + i);
        in[i] = cut(r, in[i], &c);
    }
    return like(r, in, 2);
}

/* o [B, H, L, Dv]: the queries' rows, the values' features, heads of all. */
static veer_value_t raise_attention(raise_t *r) {
    veer_value_t in[4];
    int count = veer_node_in_count(r->g, r->n);
    for (int i = 0; i < count; i++) {
        veer_value_t v = veer_node_in(r->g, r->n, i);
        in[i] = i == 3 ? cut_aligned(r, i, 3) : v;
        if (i == 3 || !v.i) continue;
        veer_type_t type = *veer_value_type(r->g, v);
        cut_t c = no_cut(&type);
        take(&c, r, 0, 0), take(&c, r, 1, 1);
        if (i == 0) take(&c, r, 2, 2);
        if (i == 2) take(&c, r, 3, 3);
        in[i] = cut(r, v, &c);
    }
    return like(r, in, count);
}

/* A cut axis must be one of x's too: as long, with as many elements in front of it. */
static veer_value_t raise_reshape(raise_t *r) {
    veer_value_t x = veer_node_in(r->g, r->n, 0);
    veer_type_t from = *veer_value_type(r->g, x), to = r->type;
    cut_t c = no_cut(&from);
    for (int d = 0; d < to.rank; d++) {
        if (!is_cut(r, d)) continue;
        int e = 0;
        while (e < from.rank && (from.dims[e] != to.dims[d] ||
                                 veer_type_count_range(&from, 0, e) != veer_type_count_range(&r->type, 0, d)))
            e++;
        if (e == from.rank) return VEER_NO_VALUE;
        take(&c, r, e, d);
    }
    return veer_reshape(&r->b, cut(r, x, &c), to.rank, r->sizes);
}

static veer_value_t raise_transpose(raise_t *r) {
    veer_value_t x = veer_node_in(r->g, r->n, 0);
    cut_t c = no_cut(veer_value_type(r->g, x));
    const int64_t *perm = veer_node_ints(r->g, r->n, "perm", NULL);
    for (int d = 0; d < r->type.rank; d++) take(&c, r, (int)perm[d], d);
    x = cut(r, x, &c);
    return like(r, &x, 1);
}

static veer_value_t raise_broadcast(raise_t *r) {
    return veer_broadcast_to(&r->b, cut_aligned(r, 0, r->type.rank), r->type.rank, r->sizes);
}

static veer_value_t raise_concat(raise_t *r) {
    int axis = (int)veer_node_int(r->g, r->n, "axis"), count = veer_node_in_count(r->g, r->n);
    if (is_cut(r, axis) || count > VEER_OP_MAX_OPERANDS) return VEER_NO_VALUE;
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    for (int i = 0; i < count; i++) {
        in[i] = veer_node_in(r->g, r->n, i);
        cut_t c = no_cut(veer_value_type(r->g, in[i]));
        for (int d = 0; d < c.rank; d++)
            if (d != axis) take(&c, r, d, d);
        in[i] = cut(r, in[i], &c);
    }
    return like(r, in, count);
}

/* A convolution of kernel 1 is a product at each position. */
static veer_value_t raise_conv(raise_t *r) {
    veer_value_t in[3] = {VEER_NO_VALUE, VEER_NO_VALUE, VEER_NO_VALUE};
    if (veer_node_int(r->g, r->n, "channels_last")) return VEER_NO_VALUE;
    int spatial = r->type.rank - 2, count = veer_node_in_count(r->g, r->n);
    const int64_t *strides = veer_node_ints(r->g, r->n, "strides", NULL),
                  *before = veer_node_ints(r->g, r->n, "pads_before", NULL),
                  *after = veer_node_ints(r->g, r->n, "pads_after", NULL),
                  *kernel = veer_value_type(r->g, veer_node_in(r->g, r->n, 1))->dims + 2;
    for (int i = 0; i < spatial; i++)
        if (is_cut(r, 2 + i) && (kernel[i] != 1 || strides[i] != 1 || before[i] || after[i])) return VEER_NO_VALUE;
    if (is_cut(r, 1)) return VEER_NO_VALUE;
    for (int i = 0; i < count; i++) in[i] = veer_node_in(r->g, r->n, i);
    cut_t c = no_cut(veer_value_type(r->g, in[0]));
    for (int d = 0; d < c.rank; d++)
        if (is_cut(r, d)) take(&c, r, d, d);
    in[0] = cut(r, in[0], &c);
    return like(r, in, count);
}

static veer_value_t raised(raise_t *r) {
    veer_op_t op = veer_node_op(r->g, r->n);
    if (veer_op_has(op, VEER_ELEMENTWISE)) return raise_elementwise(r);
    if (veer_op_has(op, VEER_ROWWISE) && veer_op_attr_index(op, "axis") >= 0) return raise_rows(r);
    switch (op) {
    case VEER_OP_MATMUL: return raise_matmul(r);
    case VEER_OP_ATTENTION: return raise_attention(r);
    case VEER_OP_RESHAPE: return raise_reshape(r);
    case VEER_OP_TRANSPOSE: return raise_transpose(r);
    case VEER_OP_BROADCAST: return raise_broadcast(r);
    case VEER_OP_CONCAT: return raise_concat(r);
    case VEER_OP_CONV: return raise_conv(r);
    default: return VEER_NO_VALUE;
    }
}

/* ---- the walk ---- */

static bool same_ints(const veer_graph_t *g, veer_node_t a, veer_node_t b, const char *name) {
    int n;
    const int64_t *x = veer_node_ints(g, a, name, &n), *y = veer_node_ints(g, b, name, NULL);
    return !memcmp(x, y, (size_t)n * sizeof *x);
}

/* The slice that every reader of v is; none where there is another reader. */
static veer_node_t only_slice(const veer_graph_t *g, veer_value_t v) {
    veer_node_t first = VEER_NO_NODE;
    for (int i = 0; i < veer_value_use_count(g, v); i++) {
        veer_node_t user = veer_value_use(g, v, i, NULL);
        if (veer_node_op(g, user) != VEER_OP_SLICE) return VEER_NO_NODE;
        if (!first.i) first = user;
        if (!same_ints(g, first, user, "starts") || !same_ints(g, first, user, "sizes") ||
            !same_ints(g, first, user, "steps"))
            return VEER_NO_NODE;
    }
    return first;
}

static veer_status_t raise_node(veer_graph_t *g, veer_node_t n, veer_pass_ctx_t *ctx) {
    if (veer_node_out_count(g, n) != 1 || veer_node_in_count(g, n) == 0) return veer_ok();
    veer_value_t out = veer_node_out(g, n, 0);
    veer_node_t slice = only_slice(g, out);
    if (!slice.i || !veer_type_count(veer_value_type(g, veer_node_out(g, slice, 0)))) return veer_ok();
    raise_t r = {.g = g, .ctx = ctx, .b = veer_builder_before(g, n), .n = n, .type = *veer_value_type(g, out)};
    size_t bytes = (size_t)r.type.rank * sizeof *r.starts;
    memcpy(r.starts, veer_node_ints(g, slice, "starts", NULL), bytes);
    memcpy(r.sizes, veer_node_ints(g, slice, "sizes", NULL), bytes);
    memcpy(r.steps, veer_node_ints(g, slice, "steps", NULL), bytes);
    veer_value_t y = raised(&r);
    VEER_TRY(veer_builder_status(&r.b));
    if (!y.i) return veer_ok();
    while (veer_value_use_count(g, out)) {
        slice = veer_value_use(g, out, 0, NULL);
        veer_value_replace(g, veer_node_out(g, slice, 0), y);
        veer_node_remove(g, slice);
    }
    veer_node_remove(g, n);
    veer_pass_count(ctx, "raised");
    return veer_ok();
}

/* Last to first; the slices that a rewritten node's operands got stand in front of it and need no visit themselves. */
static veer_status_t raise_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    for (veer_node_t n = veer_region_last(g, region), prev; n.i; n = prev) {
        if (veer_node_op(g, n) == VEER_OP_LOOP) VEER_TRY(raise_region(g, veer_node_body(g, n), ctx));
        prev = veer_node_prev(g, n);
        VEER_TRY(raise_node(g, n, ctx));
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return raise_region(g, veer_func_body(g, func), ctx);
}

const veer_pass_def_t veer_pass_raise_slice = {"raise-slice", "compute only what a slice keeps", run, {{0}}};
