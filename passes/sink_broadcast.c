/* Computes once what a broadcast only repeats: moves broadcasts behind the nodes that read them.
 *
 *     %t = broadcast %i {dims = [16]} : i64[16]          %e0 = exp ... %t0 : f32[1]
 *     ... %e = exp ... %t : f32[16]                 =>   %e  = broadcast %e0 {dims = [16]}
 *
 * A network's timestep is one number repeated over the batch; without this pass its embedding, and every projection of
 * it, is computed once per sample, and a table over steps would hold every row as often. Where all operands of a node
 * repeat along an axis of its result, so does the result: the node runs on operands of size 1 there, and its result is
 * broadcast. An elementwise node reads a broadcast's source directly, because its operands broadcast anyway. Declines
 * for ops that it has no rule for (their operands stay broadcast). Values do not change: the same arithmetic on the
 * same numbers, once.
 */
#include "passes/pass.h"

#include "ir/builder.h"

typedef unsigned axes_t; /* a bit per axis */

typedef struct sink_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    veer_status_t status; /* of the node under way */
} sink_t;

/* Dim of `type` at axis d of a result of rank `rank`, aligned at the end; 1 where the type has no such axis. */
static int64_t aligned_dim(const veer_type_t *type, int rank, int d) {
    int i = d - (rank - type->rank);
    return i < 0 ? 1 : type->dims[i];
}

/* Axes of v along which it repeats one slice, because it is a broadcast. */
static axes_t repeated_axes(const veer_graph_t *g, veer_value_t v) {
    veer_node_t def = veer_value_def(g, v);
    if (!def.i || veer_node_op(g, def) != VEER_OP_BROADCAST) return 0;
    const veer_type_t *to = veer_value_type(g, v), *from = veer_value_type(g, veer_node_in(g, def, 0));
    axes_t axes = 0;
    for (int d = 0; d < to->rank; d++)
        if (to->dims[d] > 1 && aligned_dim(from, to->rank, d) == 1) axes |= 1u << d;
    return axes;
}

/* v with size 1 along `axes`, which it repeats along (or has size 1 along already). */
static veer_value_t shrink(veer_builder_t *b, veer_value_t v, axes_t axes) {
    axes &= repeated_axes(b->graph, v);
    if (!axes || !veer_builder_ok(b)) return v;
    veer_value_t source = veer_node_in(b->graph, veer_value_def(b->graph, v), 0);
    veer_type_t type = *veer_builder_type(b, v), from = *veer_builder_type(b, source),
                full = {.dtype = type.dtype, .rank = type.rank};
    for (int d = 0; d < type.rank; d++) {
        full.dims[d] = aligned_dim(&from, type.rank, d);
        if (axes >> d & 1) type.dims[d] = 1;
    }
    return veer_broadcast_to(b, veer_reshape(b, source, full.rank, full.dims), type.rank, type.dims);
}

/* ---- rules: which axes of the result repeat ---- */

static bool repeats_along(const veer_graph_t *g, veer_value_t v, int rank, int d) {
    if (!v.i) return true;
    const veer_type_t *type = veer_value_type(g, v);
    int i = d - (rank - type->rank);
    return i < 0 || type->dims[i] == 1 || (repeated_axes(g, v) >> i & 1);
}

/* Axes [0, end) of a result whose operands align with it there at distance `rank - their rank`. */
static axes_t aligned_axes(const veer_graph_t *g, veer_node_t n, int end) {
    const veer_type_t *out = veer_value_type(g, veer_node_out(g, n, 0));
    axes_t axes = 0;
    for (int d = 0; d < end; d++) {
        bool all = out->dims[d] > 1;
        for (int i = 0; all && i < veer_node_in_count(g, n); i++)
            all = repeats_along(g, veer_node_in(g, n, i), out->rank, d);
        if (all) axes |= 1u << d;
    }
    return axes;
}

/* Operand i seen from axes of the result: the same axes, shifted by the difference of ranks. */
static axes_t operand_axes(const veer_graph_t *g, veer_node_t n, int i, axes_t axes) {
    int lead = veer_value_type(g, veer_node_out(g, n, 0))->rank - veer_value_type(g, veer_node_in(g, n, i))->rank;
    return lead >= 0 ? axes >> lead : axes << -lead;
}

static axes_t with_size(const veer_type_t *type, axes_t axes) {
    for (int d = 0; d < type->rank; d++)
        if (type->dims[d] <= 1) axes &= ~(1u << d);
    return axes;
}

static void replace(veer_builder_t *b, veer_node_t n, veer_value_t compact) {
    if (!veer_builder_ok(b)) return;
    veer_value_t out = veer_node_out(b->graph, n, 0);
    veer_type_t type = *veer_builder_type(b, out);
    veer_value_t full = veer_broadcast_to(b, compact, type.rank, type.dims);
    if (!veer_builder_ok(b)) return;
    veer_value_replace(b->graph, out, full);
    veer_node_remove(b->graph, n);
}

/* The node again on operands shrunk along the result's axes; its attributes hold no sizes. */
static void rebuild_aligned(veer_builder_t *b, veer_node_t n, axes_t axes) {
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    int count = veer_node_in_count(b->graph, n);
    for (int i = 0; i < count; i++) {
        in[i] = veer_node_in(b->graph, n, i);
        if (in[i].i) in[i] = shrink(b, in[i], operand_axes(b->graph, n, i, axes));
    }
    veer_node_t like = veer_build_like(b, n, in, count);
    if (like.i) replace(b, n, veer_node_out(b->graph, like, 0));
}

static bool sink_aligned(sink_t *s, veer_node_t n, int end) {
    if (veer_node_in_count(s->g, n) > VEER_OP_MAX_OPERANDS) return false;
    axes_t axes = aligned_axes(s->g, n, end);
    if (!axes) return false;
    veer_builder_t b = veer_builder_before(s->g, n);
    rebuild_aligned(&b, n, axes);
    s->status = veer_builder_status(&b);
    return true;
}

static bool sink_concat(sink_t *s, veer_node_t n) {
    const veer_type_t *out = veer_value_type(s->g, veer_node_out(s->g, n, 0));
    axes_t axes = aligned_axes(s->g, n, out->rank) & ~(1u << veer_node_int(s->g, n, "axis"));
    int count = veer_node_in_count(s->g, n);
    if (!axes || count > VEER_OP_MAX_OPERANDS) return false;
    veer_builder_t b = veer_builder_before(s->g, n);
    rebuild_aligned(&b, n, axes);
    s->status = veer_builder_status(&b);
    return true;
}

/* y [..., M, N]: leading axes align; M repeats with x's rows, N with y's columns. */
static bool sink_matmul(sink_t *s, veer_node_t n) {
    const veer_graph_t *g = s->g;
    veer_value_t in[2] = {veer_node_in(g, n, 0), veer_node_in(g, n, 1)};
    const veer_type_t *a = veer_value_type(g, in[0]), *c = veer_value_type(g, in[1]),
                      *out = veer_value_type(g, veer_node_out(g, n, 0));
    axes_t lead = aligned_axes(g, n, out->rank - 2);
    int row = veer_node_int(g, n, "trans_a") ? a->rank - 1 : a->rank - 2,
        column = veer_node_int(g, n, "trans_b") ? c->rank - 2 : c->rank - 1;
    axes_t axes_a = (repeated_axes(g, in[0]) & 1u << row), axes_b = (repeated_axes(g, in[1]) & 1u << column);
    if (!lead && !axes_a && !axes_b) return false;
    axes_a |= operand_axes(g, n, 0, lead) & ((1u << (a->rank - 2)) - 1);
    axes_b |= operand_axes(g, n, 1, lead) & ((1u << (c->rank - 2)) - 1);
    veer_builder_t b = veer_builder_before(s->g, n);
    in[0] = shrink(&b, in[0], axes_a);
    in[1] = shrink(&b, in[1], axes_b);
    veer_node_t like = veer_build_like(&b, n, in, 2);
    if (like.i) replace(&b, n, veer_node_out(s->g, like, 0));
    s->status = veer_builder_status(&b);
    return true;
}

/* An axis survives a reshape where the result has an axis of the same size behind as many elements. */
static bool sink_reshape(sink_t *s, veer_node_t n) {
    const veer_graph_t *g = s->g;
    veer_value_t x = veer_node_in(g, n, 0);
    axes_t repeated = repeated_axes(g, x), axes = 0;
    veer_type_t from = *veer_value_type(g, x), to = *veer_value_type(g, veer_node_out(g, n, 0));
    for (int d = 0; d < from.rank; d++) {
        if (!(repeated >> d & 1)) continue;
        for (int e = 0; e < to.rank; e++)
            if (to.dims[e] == from.dims[d] && veer_type_count_range(&to, 0, e) == veer_type_count_range(&from, 0, d)) {
                axes |= 1u << d;
                to.dims[e] = 1;
                from.dims[d] = 1; /* later prefixes are counted without it on both sides */
                break;
            }
    }
    if (!axes) return false;
    veer_builder_t b = veer_builder_before(s->g, n);
    replace(&b, n, veer_reshape(&b, shrink(&b, x, axes), to.rank, to.dims));
    s->status = veer_builder_status(&b);
    return true;
}

/* The node again with operand i shrunk along some of its axes; its attributes hold no sizes. */
static bool sink_operand(sink_t *s, veer_node_t n, int i, axes_t axes) {
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    int count = veer_node_in_count(s->g, n);
    if (!axes || count > VEER_OP_MAX_OPERANDS) return false;
    for (int k = 0; k < count; k++) in[k] = veer_node_in(s->g, n, k);
    veer_builder_t b = veer_builder_before(s->g, n);
    in[i] = shrink(&b, in[i], axes);
    veer_node_t like = veer_build_like(&b, n, in, count);
    if (like.i) replace(&b, n, veer_node_out(s->g, like, 0));
    s->status = veer_builder_status(&b);
    return true;
}

static bool sink_transpose(sink_t *s, veer_node_t n) {
    return sink_operand(s, n, 0, repeated_axes(s->g, veer_node_in(s->g, n, 0)));
}

static bool sink_slice(sink_t *s, veer_node_t n) {
    veer_value_t x = veer_node_in(s->g, n, 0);
    const veer_type_t *out = veer_value_type(s->g, veer_node_out(s->g, n, 0));
    axes_t axes = with_size(out, repeated_axes(s->g, x));
    if (!axes) return false;
    int64_t starts[VEER_MAX_RANK], sizes[VEER_MAX_RANK], steps[VEER_MAX_RANK];
    int rank = out->rank;
    for (int d = 0; d < rank; d++) {
        bool cut = axes >> d & 1;
        starts[d] = cut ? 0 : veer_node_ints(s->g, n, "starts", NULL)[d];
        sizes[d] = cut ? 1 : out->dims[d];
        steps[d] = cut ? 1 : veer_node_ints(s->g, n, "steps", NULL)[d];
    }
    veer_builder_t b = veer_builder_before(s->g, n);
    replace(&b, n,
            veer_build(&b, VEER_OP_SLICE, VEER_IN(shrink(&b, x, axes)),
                       VEER_ATTRS(VEER_INTS("starts", starts, rank), VEER_INTS("sizes", sizes, rank),
                                  VEER_INTS("steps", steps, rank))));
    s->status = veer_builder_status(&b);
    return true;
}

/* data [A, K, B] indexed by [I...] along K gives [A, I..., B]: the result repeats where the indices do. */
static bool sink_gather(sink_t *s, veer_node_t n) {
    return sink_operand(s, n, 1, repeated_axes(s->g, veer_node_in(s->g, n, 1)));
}

static bool sink_reduce(sink_t *s, veer_node_t n) {
    int count;
    const int64_t *reduced = veer_node_ints(s->g, n, "axes", &count);
    axes_t axes = repeated_axes(s->g, veer_node_in(s->g, n, 0));
    for (int i = 0; i < count; i++) axes &= ~(1u << reduced[i]);
    return sink_operand(s, n, 0, axes);
}

/* Rows of softmax and the norms are independent: axes in front of `axis` (all others, for softmax). */
static bool sink_rows(sink_t *s, veer_node_t n) {
    veer_op_t op = veer_node_op(s->g, n);
    int64_t axis = veer_node_int(s->g, n, "axis");
    axes_t others = op == VEER_OP_SOFTMAX || op == VEER_OP_LOG_SOFTMAX ? ~(1u << axis) : (1u << axis) - 1;
    return sink_operand(s, n, 0, repeated_axes(s->g, veer_node_in(s->g, n, 0)) & others);
}

/* ---- elementwise readers ---- */

/* Operands of elementwise nodes broadcast by themselves: a broadcast in front is dropped where the result keeps its
 * shape. */
static void read_sources(sink_t *s, veer_node_t n) {
    veer_type_t want = *veer_value_type(s->g, veer_node_out(s->g, n, 0));
    int count = veer_node_in_count(s->g, n);
    for (int i = 0; i < count; i++) {
        veer_node_t def = veer_value_def(s->g, veer_node_in(s->g, n, i));
        if (!def.i || veer_node_op(s->g, def) != VEER_OP_BROADCAST) continue;
        veer_type_t shape = *veer_value_type(s->g, veer_node_in(s->g, def, 0));
        bool fits = true;
        for (int k = 0; k < count && fits; k++)
            if (k != i) fits = veer_type_broadcast(&shape, veer_value_type(s->g, veer_node_in(s->g, n, k)), &shape);
        if (!fits || !veer_type_same_shape(&shape, &want)) continue;
        veer_node_set_in(s->g, n, i, veer_node_in(s->g, def, 0));
        veer_pass_count(s->ctx, "dropped");
    }
}

static bool sink_node(sink_t *s, veer_node_t n) {
    veer_op_t op = veer_node_op(s->g, n);
    if (veer_op_has(op, VEER_ELEMENTWISE))
        return sink_aligned(s, n, veer_value_type(s->g, veer_node_out(s->g, n, 0))->rank);
    if (veer_op_has(op, VEER_REDUCTION)) return sink_reduce(s, n);
    if (veer_op_has(op, VEER_ROWWISE) && veer_op_attr_index(op, "axis") >= 0) return sink_rows(s, n);
    switch (op) {
    case VEER_OP_MATMUL: return sink_matmul(s, n);
    case VEER_OP_CONCAT: return sink_concat(s, n);
    case VEER_OP_RESHAPE: return sink_reshape(s, n);
    case VEER_OP_TRANSPOSE: return sink_transpose(s, n);
    case VEER_OP_SLICE: return sink_slice(s, n);
    case VEER_OP_GATHER: return sink_gather(s, n);
    default: return false;
    }
}

static veer_status_t sink_region(sink_t *s, veer_region_t region) {
    VEER_FOR_EACH_NODE(s->g, region, n) {
        if (veer_node_body(s->g, n).i && veer_node_op(s->g, n) == VEER_OP_LOOP)
            VEER_TRY(sink_region(s, veer_node_body(s->g, n)));
        bool elementwise = veer_op_has(veer_node_op(s->g, n), VEER_ELEMENTWISE);
        if (sink_node(s, n))
            veer_pass_count(s->ctx, "sunk");
        else if (elementwise)
            read_sources(s, n);
        VEER_TRY(s->status);
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    sink_t s = {.g = g, .ctx = ctx};
    return sink_region(&s, veer_func_body(g, func));
}

const veer_pass_def_t veer_pass_sink_broadcast = {
    "sink-broadcast", "compute once what a broadcast only repeats", run, {{0}}};
