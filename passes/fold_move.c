/* Moving elements: two moves that are one, moves that move nothing. All of them exact, since no element is computed.
 *
 *     reshape(reshape x), transpose(transpose x), broadcast(broadcast x), slice(slice x)     one of each
 *     reshape, transpose, broadcast, slice, pad, concat that give their operand                the operand
 *     transpose that moves dims of 1 only                                                       a reshape, which costs
 * nothing slice(concat(.., x, ..)) inside one of the pieces                                         a slice of that
 * piece gather(x, one constant index)                                                             slice and reshape
 */
#include "passes/fold_internal.h"

#include <string.h>

static bool same_type(const veer_builder_t *b, veer_value_t x, veer_node_t node) {
    return veer_type_equal(veer_fold_type(b, x), veer_fold_out(b, node));
}

/* ---- shapes ---- */

static veer_value_t fold_reshape(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    if (same_type(b, x, node)) return x;
    veer_node_t inner = veer_fold_def(b, x, VEER_OP_RESHAPE);
    if (!inner.i) return VEER_NO_VALUE;
    veer_type_t type = *veer_fold_out(b, node);
    return veer_reshape(b, veer_fold_in(b, inner, 0), type.rank, type.dims); /* the operand where nothing changes */
}

static bool is_identity(const int64_t *perm, int rank) {
    for (int i = 0; i < rank; i++)
        if (perm[i] != i) return false;
    return true;
}

/* The dims of more than one element stay in their order. */
static bool moves_ones_only(const veer_type_t *type, const int64_t *perm) {
    int64_t last = -1;
    for (int i = 0; i < type->rank; i++) {
        if (type->dims[perm[i]] == 1) continue;
        if (perm[i] < last) return false;
        last = perm[i];
    }
    return true;
}

static veer_value_t fold_transpose(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    int rank;
    const int64_t *outer = veer_node_ints(b->graph, node, "perm", &rank);
    int64_t perm[VEER_MAX_RANK];
    memcpy(perm, outer, (size_t)rank * sizeof *perm);
    veer_node_t inner = veer_fold_def(b, x, VEER_OP_TRANSPOSE);
    if (inner.i) { /* out[i] = mid[outer[i]] = in[inner[outer[i]]] */
        const int64_t *first = veer_node_ints(b->graph, inner, "perm", &rank);
        for (int i = 0; i < rank; i++) perm[i] = first[outer[i]];
        x = veer_fold_in(b, inner, 0);
    }
    if (is_identity(perm, rank)) return x;
    veer_type_t type = *veer_fold_out(b, node);
    if (moves_ones_only(veer_fold_type(b, x), perm)) return veer_reshape(b, x, type.rank, type.dims);
    return inner.i ? veer_transpose(b, x, perm) : VEER_NO_VALUE;
}

static veer_value_t fold_broadcast(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    if (same_type(b, x, node)) return x;
    veer_type_t type = *veer_fold_out(b, node);
    veer_node_t inner = veer_fold_def(b, x, VEER_OP_BROADCAST);
    if (inner.i) return veer_broadcast_to(b, veer_fold_in(b, inner, 0), type.rank, type.dims);
    /* Dims of 1 put in front of it are a reshape. */
    if (veer_type_count(&type) == veer_type_count(veer_fold_type(b, x)))
        return veer_reshape(b, x, type.rank, type.dims);
    return VEER_NO_VALUE;
}

/* ---- slices ---- */

typedef struct window_s {
    int rank;
    int64_t starts[VEER_MAX_RANK], sizes[VEER_MAX_RANK], steps[VEER_MAX_RANK];
} window_t;

static window_t get_window(const veer_graph_t *g, veer_node_t slice) {
    window_t w;
    size_t bytes;
    const int64_t *starts = veer_node_ints(g, slice, "starts", &w.rank);
    bytes = (size_t)w.rank * sizeof *starts;
    memcpy(w.starts, starts, bytes);
    memcpy(w.sizes, veer_node_ints(g, slice, "sizes", NULL), bytes);
    memcpy(w.steps, veer_node_ints(g, slice, "steps", NULL), bytes);
    return w;
}

static veer_value_t build_slice(veer_builder_t *b, veer_value_t x, const window_t *w) {
    return veer_build(b, VEER_OP_SLICE, &x, 1,
                      VEER_ATTRS(VEER_INTS("starts", w->starts, w->rank), VEER_INTS("sizes", w->sizes, w->rank),
                                 VEER_INTS("steps", w->steps, w->rank)));
}

static bool takes_everything(const window_t *w, const veer_type_t *type) {
    for (int i = 0; i < w->rank; i++)
        if (w->sizes[i] != type->dims[i] || (w->steps[i] != 1 && w->sizes[i] > 1) || w->starts[i] != 0) return false;
    return true;
}

/* An empty or single window has no step worth the name; this keeps products of steps small. */
static void normalise(window_t *w) {
    for (int i = 0; i < w->rank; i++) {
        if (w->sizes[i] <= 1) w->steps[i] = 1;
        if (w->sizes[i] == 0) w->starts[i] = 0;
    }
}

/* outer(inner x): element k of dim i is x at inner.start + (outer.start + k * outer.step) * inner.step. */
static veer_value_t fold_slice_of_slice(veer_builder_t *b, veer_node_t inner, window_t outer) {
    window_t w = get_window(b->graph, inner);
    for (int i = 0; i < w.rank; i++) {
        if (outer.sizes[i] == 0) return VEER_NO_VALUE; /* nothing is read: where from does not matter */
        w.starts[i] += outer.starts[i] * w.steps[i];
        w.sizes[i] = outer.sizes[i];
        w.steps[i] *= outer.steps[i];
    }
    normalise(&w);
    veer_value_t x = veer_fold_in(b, inner, 0);
    return takes_everything(&w, veer_fold_type(b, x)) ? x : build_slice(b, x, &w);
}

static veer_value_t fold_slice_of_concat(veer_builder_t *b, veer_node_t concat, window_t w) {
    int axis = (int)veer_node_int(b->graph, concat, "axis");
    if (w.sizes[axis] == 0) return VEER_NO_VALUE;
    int64_t first = w.starts[axis], last = first + (w.sizes[axis] - 1) * w.steps[axis], at = 0;
    if (last < first) {
        int64_t swap = first;
        first = last;
        last = swap;
    }
    for (int i = 0; i < veer_node_in_count(b->graph, concat); i++) {
        veer_value_t piece = veer_fold_in(b, concat, i);
        int64_t end = at + veer_fold_type(b, piece)->dims[axis];
        if (first >= at && last < end) {
            w.starts[axis] -= at;
            return takes_everything(&w, veer_fold_type(b, piece)) ? piece : build_slice(b, piece, &w);
        }
        at = end;
    }
    return VEER_NO_VALUE;
}

static veer_value_t fold_slice(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    window_t w = get_window(b->graph, node);
    normalise(&w);
    if (takes_everything(&w, veer_fold_type(b, x))) return x;
    veer_node_t inner = veer_fold_def(b, x, VEER_OP_SLICE);
    if (inner.i) return fold_slice_of_slice(b, inner, w);
    inner = veer_fold_def(b, x, VEER_OP_CONCAT);
    return inner.i ? fold_slice_of_concat(b, inner, w) : VEER_NO_VALUE;
}

/* ---- others ---- */

/* One piece, or all others empty. */
static veer_value_t fold_concat(veer_builder_t *b, veer_node_t node) {
    for (int i = 0; i < veer_node_in_count(b->graph, node); i++)
        if (same_type(b, veer_fold_in(b, node, i), node)) return veer_fold_in(b, node, i);
    return VEER_NO_VALUE;
}

/* Amounts are never negative, so a pad that keeps the shape adds nothing. */
static veer_value_t fold_pad(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    return same_type(b, x, node) ? x : VEER_NO_VALUE;
}

/* The index where it is one constant, whatever its rank; counted from the front. False also where it is out of range.
 */
static bool constant_index(const veer_builder_t *b, veer_value_t indices, int64_t limit, int64_t *out) {
    const veer_type_t *type = veer_fold_type(b, indices);
    const void *data = veer_value_const_data(b->graph, indices);
    int32_t narrow;
    if (!data || veer_type_count(type) != 1) return false;
    if (type->dtype == VEER_DTYPE_I32) {
        memcpy(&narrow, data, sizeof narrow);
        *out = narrow;
    } else {
        memcpy(out, data, sizeof *out);
    }
    if (*out < 0) *out += limit;
    return *out >= 0 && *out < limit;
}

static veer_value_t fold_gather(veer_builder_t *b, veer_node_t node) {
    veer_value_t x = veer_fold_in(b, node, 0);
    int axis = (int)veer_node_int(b->graph, node, "axis");
    veer_type_t in = *veer_fold_type(b, x), out = *veer_fold_out(b, node);
    int64_t index;
    if (!constant_index(b, veer_fold_in(b, node, 1), in.dims[axis], &index)) return VEER_NO_VALUE;
    window_t w = {.rank = in.rank};
    for (int i = 0; i < in.rank; i++) {
        w.sizes[i] = in.dims[i];
        w.steps[i] = 1;
    }
    w.starts[axis] = index;
    w.sizes[axis] = 1;
    veer_value_t row = takes_everything(&w, &in) ? x : build_slice(b, x, &w);
    return veer_reshape(b, row, out.rank, out.dims);
}

veer_fold_rule_t veer_fold_move_rule(veer_op_t op) {
    switch (op) {
    case VEER_OP_RESHAPE: return fold_reshape;
    case VEER_OP_TRANSPOSE: return fold_transpose;
    case VEER_OP_BROADCAST: return fold_broadcast;
    case VEER_OP_SLICE: return fold_slice;
    case VEER_OP_CONCAT: return fold_concat;
    case VEER_OP_PAD: return fold_pad;
    case VEER_OP_GATHER: return fold_gather;
    default: return NULL;
    }
}
