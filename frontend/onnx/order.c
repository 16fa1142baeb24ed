/* Operators about the order of elements. */
#include "frontend/onnx/node.h"

#include <stdlib.h>
#include <string.h>

/* k: an attribute before operator set 10, then an input. */
void veer_onnx_top_k(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t k = n->opset < 10 ? veer_onnx_attr_int(n, "k", 0) : veer_onnx_in_int(n, 1, "K", 0);
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", -1), x.rank);
    int64_t largest = veer_onnx_attr_int(n, "largest", 1) != 0;
    if (n->opset >= 10 && !veer_onnx_has_in(n, 1)) veer_onnx_fail(n, VEER_ERR_FILE, "input 1 is missing");
    veer_node_t node =
        veer_build_node(n->b, VEER_OP_TOP_K, n->in, 1,
                        VEER_ATTRS(VEER_INT("axis", axis), VEER_INT("k", k), VEER_INT("largest", largest)));
    if (!node.i) return;
    n->out[0] = veer_node_out(n->b->graph, node, 0);
    n->out[1] = veer_node_out(n->b->graph, node, 1);
}

/* The first sequence_lens[b] elements of each sequence backwards: element t is number t < len ? len - 1 - t : t. */
void veer_onnx_reverse_sequence(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), lens = veer_onnx_in_type(n, 1);
    int64_t time = veer_onnx_attr_int(n, "time_axis", 0), batch = veer_onnx_attr_int(n, "batch_axis", 1);
    if (x.rank < 2 || time < 0 || time > 1 || batch != 1 - time || lens.rank != 1 || lens.dims[0] != x.dims[batch]) {
        veer_onnx_fail(n, VEER_ERR_FILE, "time_axis %lld and batch_axis %lld for input of rank %d, lengths of rank %d",
                       (long long)time, (long long)batch, x.rank, lens.rank);
        return;
    }
    int64_t dims[VEER_MAX_RANK];
    for (int i = 0; i < x.rank; i++) dims[i] = i == batch ? x.dims[batch] : 1;
    veer_value_t len = veer_reshape(n->b, veer_cast(n->b, n->in[1], VEER_DTYPE_I64), x.rank, dims);
    veer_value_t t = veer_onnx_iota(n, x.dims[time], (int)time, x.rank);
    veer_value_t mirrored = veer_sub(n->b, veer_add_c(n->b, len, -1), t);
    veer_value_t from = veer_where(n->b, veer_less(n->b, t, len), mirrored, t);
    from = veer_broadcast_to(n->b, from, x.rank, x.dims);
    n->out[0] = veer_build(n->b, VEER_OP_GATHER_ELEMENTS, VEER_IN(n->in[0], from), VEER_ATTRS(VEER_INT("axis", time)));
}

/* ---- Unique: of an input that is known, because the number of results is their shape ---- */

typedef struct {
    veer_type_t type;
    const char *data;
    int64_t outer, count, inner; /* slices along the axis: [outer, count, inner] */
} slices_t;

/* Exactly as numbers where they are integers. */
static int compare_elements(const slices_t *s, int64_t a, int64_t b) {
    if (s->type.dtype == VEER_DTYPE_I64) {
        const int64_t *v = (const int64_t *)(const void *)s->data;
        return (v[a] > v[b]) - (v[a] < v[b]);
    }
    if (s->type.dtype == VEER_DTYPE_U64) {
        const uint64_t *v = (const uint64_t *)(const void *)s->data;
        return (v[a] > v[b]) - (v[a] < v[b]);
    }
    double x = veer_onnx_element(&s->type, s->data, a), y = veer_onnx_element(&s->type, s->data, b);
    return (x > y) - (x < y);
}

static int compare(const slices_t *s, int64_t a, int64_t b) {
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->inner; i++) {
            int order = compare_elements(s, (o * s->count + a) * s->inner + i, (o * s->count + b) * s->inner + i);
            if (order) return order;
        }
    return 0;
}

/* Stable; `spare` has room for as many. */
static void merge_sort(const slices_t *s, int64_t *order, int64_t *spare, int64_t count) {
    for (int64_t width = 1; width < count; width *= 2) {
        for (int64_t start = 0; start < count; start += 2 * width) {
            int64_t middle = start + width < count ? start + width : count;
            int64_t end = middle + width < count ? middle + width : count, a = start, b = middle;
            for (int64_t i = start; i < end; i++)
                spare[i] = b >= end || (a < middle && compare(s, order[a], order[b]) <= 0) ? order[a++] : order[b++];
        }
        memcpy(order, spare, (size_t)count * sizeof *order);
    }
}

typedef struct {
    int64_t *first, *times, *inverse; /* of each group: its first slice, its size; of each slice: its group */
    int64_t groups;
} groups_t;

static bool group(veer_onnx_node_t *n, const slices_t *s, bool sorted, groups_t *g) {
    int64_t *order = veer_onnx_scratch(n, s->count, sizeof *order),
            *spare = veer_onnx_scratch(n, s->count, sizeof *spare);
    g->first = veer_onnx_scratch(n, s->count, sizeof *g->first);
    g->times = veer_onnx_scratch(n, s->count, sizeof *g->times);
    g->inverse = veer_onnx_scratch(n, s->count, sizeof *g->inverse);
    if (!order || !spare || !g->first || !g->times || !g->inverse) return false;
    for (int64_t i = 0; i < s->count; i++) order[i] = i;
    merge_sort(s, order, spare, s->count);
    for (int64_t i = 0; i < s->count; i++) { /* the sort is stable: a group's first slice is its earliest */
        if (i == 0 || compare(s, order[i - 1], order[i])) g->first[g->groups++] = order[i];
        g->inverse[order[i]] = g->groups - 1;
    }
    if (!sorted) { /* groups in the order of their first slices */
        int64_t next = 0;
        for (int64_t i = 0; i < s->count; i++)
            if (g->first[g->inverse[i]] == i) order[next] = i, spare[g->inverse[i]] = next++;
        for (int64_t i = 0; i < s->count; i++) g->inverse[i] = spare[g->inverse[i]];
        memcpy(g->first, order, (size_t)g->groups * sizeof *order);
    }
    for (int64_t i = 0; i < s->count; i++) g->times[g->inverse[i]]++;
    return true;
}

static veer_value_t vector(veer_onnx_node_t *n, const int64_t *values, int64_t count) {
    return veer_const(n->b, VEER_TYPE(VEER_DTYPE_I64, count), values);
}

void veer_onnx_unique(veer_onnx_node_t *n) {
    slices_t s = {.type = veer_onnx_in_type(n, 0), .data = veer_onnx_in_const(n, 0, "X"), .outer = 1, .inner = 1};
    groups_t g = {0};
    bool flat = !veer_onnx_attr(n, "axis");
    int axis = flat ? 0 : veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), s.type.rank);
    if (!s.data || !veer_onnx_ok(n)) return;
    s.count = flat ? veer_type_count(&s.type) : s.type.dims[axis];
    if (!flat) s.outer = veer_type_count_range(&s.type, 0, axis);
    if (!flat) s.inner = veer_type_count_range(&s.type, axis + 1, s.type.rank);
    if (!group(n, &s, veer_onnx_attr_int(n, "sorted", 1) != 0, &g)) return;
    veer_value_t x = flat ? veer_reshape(n->b, n->in[0], 1, &s.count) : n->in[0];
    n->out[0] = veer_gather(n->b, x, vector(n, g.first, g.groups), axis);
    n->out[1] = vector(n, g.first, g.groups);
    n->out[2] = vector(n, g.inverse, s.count);
    n->out[3] = vector(n, g.times, g.groups);
}
