#include "passes/batch.h"

#include <string.h>

enum { MOST = VEER_OP_MAX_OPERANDS };

typedef struct batch_s {
    veer_builder_t *b;
    veer_node_t n;
    const veer_value_t *in;
    const bool *batched;
    int64_t count;
} batch_t;

static veer_type_t in_type(const batch_t *t, int i) {
    return *veer_builder_type(t->b, veer_node_in(t->b->graph, t->n, i));
}
static veer_type_t out_type(const batch_t *t) {
    return *veer_builder_type(t->b, veer_node_out(t->b->graph, t->n, 0));
}

/* dims with `first` put in front. */
static int put_first(int64_t first, const int64_t *dims, int rank, int64_t *out) {
    out[0] = first;
    memcpy(out + 1, dims, (size_t)rank * sizeof *dims);
    return rank + 1;
}

/* A batched operand of a lower rank than the others: ones between the batch and its own dims keep them aligned at the
 * end. */
static veer_value_t align(const batch_t *t, int i, int rank) {
    veer_type_t type = in_type(t, i);
    if (!t->batched[i] || type.rank == rank) return t->in[i];
    int64_t dims[VEER_MAX_RANK] = {t->count};
    int lead = rank - type.rank;
    for (int d = 0; d < rank; d++) dims[d + 1] = d < lead ? 1 : type.dims[d - lead];
    return veer_reshape(t->b, t->in[i], rank + 1, dims);
}

static veer_value_t like(const batch_t *t, const veer_value_t *in, int in_count) {
    veer_node_t node = veer_build_like(t->b, t->n, in, in_count);
    return node.i ? veer_node_out(t->b->graph, node, 0) : VEER_NO_VALUE;
}

static veer_value_t elementwise(const batch_t *t) {
    veer_value_t in[MOST];
    int count = veer_node_in_count(t->b->graph, t->n), rank = out_type(t).rank;
    for (int i = 0; i < count; i++) in[i] = align(t, i, rank);
    return like(t, in, count);
}

/* Every operand with the batch in front: constants are broadcast to it. */
static veer_value_t spread(const batch_t *t, int i) {
    veer_type_t type = in_type(t, i);
    int64_t dims[VEER_MAX_RANK];
    int rank = put_first(t->count, type.dims, type.rank, dims);
    return t->batched[i] ? t->in[i] : veer_broadcast_to(t->b, t->in[i], rank, dims);
}

static veer_value_t concat(const batch_t *t) {
    veer_graph_t *g = t->b->graph;
    int count = veer_node_in_count(g, t->n);
    veer_value_t *in = veer_arena_array(veer_graph_arena(g), (size_t)count, sizeof *in);
    if (!in) return VEER_NO_VALUE;
    for (int i = 0; i < count; i++) in[i] = spread(t, i);
    return veer_concat(t->b, in, count, (int)veer_node_int(g, t->n, "axis") + 1);
}

/* x [.., M, K] against one matrix for all steps: the batch joins the rows, so that one large product is left. */
static veer_value_t matmul(const batch_t *t) {
    veer_graph_t *g = t->b->graph;
    bool trans_a = veer_node_int(g, t->n, "trans_a"), trans_b = veer_node_int(g, t->n, "trans_b");
    veer_type_t a = in_type(t, 0), b = in_type(t, 1), out = out_type(t);
    if (t->batched[0] && !t->batched[1] && b.rank == 2 && !trans_a) {
        int64_t rows = t->count * veer_type_count_range(&a, 0, a.rank - 1), dims[VEER_MAX_RANK];
        veer_value_t x = veer_reshape(t->b, t->in[0], VEER_DIMS(rows, a.dims[a.rank - 1]));
        int rank = put_first(t->count, out.dims, out.rank, dims);
        return veer_reshape(t->b, veer_matmul(t->b, x, t->in[1], false, trans_b), rank, dims);
    }
    return veer_matmul(t->b, align(t, 0, out.rank), align(t, 1, out.rank), trans_a, trans_b);
}

static veer_value_t reshape(const batch_t *t) {
    veer_type_t out = out_type(t);
    int64_t dims[VEER_MAX_RANK];
    int rank = put_first(t->count, out.dims, out.rank, dims);
    return veer_reshape(t->b, t->in[0], rank, dims);
}

static veer_value_t broadcast(const batch_t *t) {
    veer_type_t out = out_type(t);
    int64_t dims[VEER_MAX_RANK];
    int rank = put_first(t->count, out.dims, out.rank, dims);
    return veer_broadcast_to(t->b, align(t, 0, out.rank), rank, dims);
}

static veer_value_t transpose(const batch_t *t) {
    int rank;
    const int64_t *perm = veer_node_ints(t->b->graph, t->n, "perm", &rank);
    int64_t shifted[VEER_MAX_RANK] = {0};
    for (int i = 0; i < rank; i++) shifted[i + 1] = perm[i] + 1;
    return veer_transpose(t->b, t->in[0], shifted);
}

static veer_value_t slice(const batch_t *t) {
    veer_graph_t *g = t->b->graph;
    int rank;
    const int64_t *old_starts = veer_node_ints(g, t->n, "starts", &rank);
    int64_t starts[VEER_MAX_RANK], sizes[VEER_MAX_RANK], steps[VEER_MAX_RANK];
    put_first(0, old_starts, rank, starts);
    put_first(t->count, veer_node_ints(g, t->n, "sizes", NULL), rank, sizes);
    int batched_rank = put_first(1, veer_node_ints(g, t->n, "steps", NULL), rank, steps);
    return veer_build(t->b, VEER_OP_SLICE, VEER_IN(t->in[0]),
                      VEER_ATTRS(VEER_INTS("starts", starts, batched_rank), VEER_INTS("sizes", sizes, batched_rank),
                                 VEER_INTS("steps", steps, batched_rank)));
}

static veer_value_t reduce(const batch_t *t) {
    veer_graph_t *g = t->b->graph;
    int count;
    const int64_t *axes = veer_node_ints(g, t->n, "axes", &count);
    int64_t shifted[VEER_MAX_RANK];
    for (int i = 0; i < count; i++) shifted[i] = axes[i] + 1;
    return veer_reduce(t->b, veer_node_op(g, t->n), t->in[0], shifted, count, veer_node_int(g, t->n, "keepdims"));
}

static veer_value_t rows(const batch_t *t) {
    veer_graph_t *g = t->b->graph;
    veer_op_t op = veer_node_op(g, t->n);
    int64_t axis = veer_node_int(g, t->n, "axis") + 1;
    int count = veer_node_in_count(g, t->n);
    if (op == VEER_OP_SOFTMAX || op == VEER_OP_LOG_SOFTMAX)
        return veer_build(t->b, op, t->in, count, VEER_ATTRS(VEER_INT("axis", axis)));
    return veer_build(t->b, op, t->in, count,
                      VEER_ATTRS(VEER_INT("axis", axis), VEER_FLOAT("eps", veer_node_float(g, t->n, "eps"))));
}

/* Rows of one table by the steps' own indices: along axis 0 the batch is just more index dims. */
static veer_value_t gather(const batch_t *t) {
    return veer_gather(t->b, t->in[0], t->in[1], 0);
}

/* Rules that need a certain operand to be the batched one. */
static bool operands_fit(const veer_graph_t *g, veer_node_t n, const bool *batched) {
    veer_op_t op = veer_node_op(g, n);
    if (op == VEER_OP_GATHER) return !batched[0];
    if (veer_op_has(op, VEER_ROWWISE))
        for (int i = 1; i < veer_node_in_count(g, n); i++)
            if (batched[i]) return false;
    return true;
}

bool veer_batch_supports(const veer_graph_t *g, veer_node_t n, const bool *batched) {
    veer_op_t op = veer_node_op(g, n);
    if (veer_node_out_count(g, n) != 1 || veer_value_type(g, veer_node_out(g, n, 0))->rank >= VEER_MAX_RANK)
        return false;
    if (op != VEER_OP_CONCAT && veer_node_in_count(g, n) > MOST) return false;
    if (!operands_fit(g, n, batched)) return false;
    if (veer_op_has(op, VEER_ELEMENTWISE) || veer_op_has(op, VEER_REDUCTION)) return true;
    if (veer_op_has(op, VEER_ROWWISE)) return veer_op_attr_index(op, "axis") >= 0;
    switch (op) {
    case VEER_OP_RESHAPE:
    case VEER_OP_TRANSPOSE:
    case VEER_OP_BROADCAST:
    case VEER_OP_SLICE:
    case VEER_OP_CONCAT:
    case VEER_OP_MATMUL: return true;
    case VEER_OP_GATHER: return veer_node_int(g, n, "axis") == 0;
    default: return false;
    }
}

veer_value_t veer_batch_node(veer_builder_t *b, veer_node_t n, const veer_value_t *in, const bool *batched,
                             int64_t count) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    batch_t t = {b, n, in, batched, count};
    veer_op_t op = veer_node_op(b->graph, n);
    if (veer_op_has(op, VEER_ELEMENTWISE)) return elementwise(&t);
    if (veer_op_has(op, VEER_REDUCTION)) return reduce(&t);
    if (veer_op_has(op, VEER_ROWWISE)) return rows(&t);
    switch (op) {
    case VEER_OP_RESHAPE: return reshape(&t);
    case VEER_OP_TRANSPOSE: return transpose(&t);
    case VEER_OP_BROADCAST: return broadcast(&t);
    case VEER_OP_SLICE: return slice(&t);
    case VEER_OP_CONCAT: return concat(&t);
    case VEER_OP_MATMUL: return matmul(&t);
    default: return gather(&t);
    }
}
