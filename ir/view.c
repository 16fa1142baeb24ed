#include "ir/view.h"

/* ---- factors ---- */

/* Appends to the last dim; one that continues the factor before it becomes one with it. */
static bool push(veer_view_t *v, int64_t size, int64_t stride) {
    int *end = &v->first[v->rank];
    if (size == 1) return true;
    veer_view_factor_t *last = *end > v->first[v->rank - 1] ? &v->factors[*end - 1] : NULL;
    if (last && last->stride == size * stride) {
        last->size *= size, last->stride = stride;
        return true;
    }
    if (*end == VEER_VIEW_MAX_FACTORS) return false;
    v->factors[(*end)++] = (veer_view_factor_t){size, stride};
    return true;
}

/* Begins a dim; push fills it. */
static void open_dim(veer_view_t *v) {
    v->first[v->rank + 1] = v->first[v->rank];
    v->rank++;
}

static int64_t dim_size(const veer_view_t *v, int d) {
    int64_t size = 1;
    for (int f = v->first[d]; f < v->first[d + 1]; f++) size *= v->factors[f].size;
    return size;
}

veer_view_t veer_view_dense(const veer_type_t *type) {
    veer_view_t v = {.offset = 0};
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(type, strides);
    for (int d = 0; d < type->rank; d++) {
        open_dim(&v);
        push(&v, type->dims[d], strides[d]); /* a factor per dim fits */
    }
    return v;
}

bool veer_view_stride(const veer_view_t *v, int dim, int64_t *out_stride) {
    int count = v->first[dim + 1] - v->first[dim];
    *out_stride = count ? v->factors[v->first[dim]].stride : 0;
    return count <= 1;
}

/* ---- movements ---- */

/* All factors in one dim, merged where they follow each other. */
static bool flatten(const veer_view_t *v, veer_view_t *out) {
    *out = (veer_view_t){.offset = v->offset};
    open_dim(out);
    for (int f = 0; f < v->first[v->rank]; f++)
        if (!push(out, v->factors[f].size, v->factors[f].stride)) return false;
    return true;
}

bool veer_view_reshape(veer_view_t *v, int rank, const int64_t *dims) {
    veer_view_t flat, out = {.offset = v->offset};
    if (!flatten(v, &flat)) return false;
    int at = 0, count = flat.first[1];
    for (int d = 0; d < rank; d++) {
        open_dim(&out);
        for (int64_t left = dims[d]; left > 1;) {
            if (at == count) return false;
            veer_view_factor_t *f = &flat.factors[at];
            int64_t take = left < f->size ? left : f->size;
            if (f->size % take || left % take || !push(&out, take, f->stride * (f->size / take))) return false;
            left /= take, f->size /= take;
            at += f->size == 1;
        }
    }
    *v = out;
    return at == count;
}

void veer_view_transpose(veer_view_t *v, const int64_t *perm) {
    veer_view_t old = *v;
    v->rank = 0;
    for (int d = 0; d < old.rank; d++) {
        open_dim(v);
        for (int f = old.first[perm[d]]; f < old.first[perm[d] + 1]; f++)
            v->factors[v->first[v->rank]++] = old.factors[f];
    }
}

/* One element, or of a dim of one factor, or of whole blocks of the outermost one. */
static bool slice_dim(const veer_view_t *from, int d, int64_t start, int64_t size, int64_t step, veer_view_t *out) {
    int first = from->first[d], end = from->first[d + 1];
    int64_t inner = dim_size(from, d);
    open_dim(out);
    if (size == 1) {
        for (int f = first; f < end; f++) {
            inner /= from->factors[f].size;
            out->offset += start / inner % from->factors[f].size * from->factors[f].stride;
        }
        return true;
    }
    inner /= from->factors[first].size;
    if (inner > 1 && (start % inner || size % inner || step != 1)) return false;
    int64_t stride = from->factors[first].stride;
    out->offset += start / inner * stride;
    if (!push(out, size / inner, stride * step)) return false;
    for (int f = first + 1; f < end; f++)
        if (!push(out, from->factors[f].size, from->factors[f].stride)) return false;
    return true;
}

bool veer_view_slice(veer_view_t *v, const int64_t *starts, const int64_t *sizes, const int64_t *steps) {
    veer_view_t out = {.offset = v->offset};
    for (int d = 0; d < v->rank; d++)
        if (!slice_dim(v, d, starts[d], sizes[d], steps[d], &out)) return false;
    *v = out;
    return true;
}

bool veer_view_broadcast(veer_view_t *v, int rank, const int64_t *dims) {
    veer_view_t out = {.offset = v->offset};
    int lack = rank - v->rank;
    for (int d = 0; d < rank; d++) {
        open_dim(&out);
        if (d < lack || (dim_size(v, d - lack) == 1 && dims[d] != 1)) {
            if (!push(&out, dims[d], 0)) return false;
            continue;
        }
        for (int f = v->first[d - lack]; f < v->first[d - lack + 1]; f++)
            if (!push(&out, v->factors[f].size, v->factors[f].stride)) return false;
    }
    *v = out;
    return true;
}

/* ---- through nodes ---- */

bool veer_view_forward(const veer_graph_t *g, veer_node_t node, veer_view_t *v) {
    switch (veer_node_op(g, node)) {
    case VEER_OP_TRANSPOSE: veer_view_transpose(v, veer_node_ints(g, node, "perm", NULL)); return true;
    case VEER_OP_SLICE:
        return veer_view_slice(v, veer_node_ints(g, node, "starts", NULL), veer_node_ints(g, node, "sizes", NULL),
                               veer_node_ints(g, node, "steps", NULL));
    case VEER_OP_RESHAPE:
    case VEER_OP_BROADCAST: {
        const veer_type_t *to = veer_value_type(g, veer_node_out(g, node, 0));
        return veer_node_op(g, node) == VEER_OP_RESHAPE ? veer_view_reshape(v, to->rank, to->dims)
                                                        : veer_view_broadcast(v, to->rank, to->dims);
    }
    default: return false;
    }
}

static bool part_of_concat(const veer_graph_t *g, veer_node_t node, int i, veer_view_t *v) {
    const veer_type_t *part = veer_value_type(g, veer_node_in(g, node, i));
    int64_t starts[VEER_MAX_RANK] = {0}, steps[VEER_MAX_RANK], axis = veer_node_int(g, node, "axis");
    for (int d = 0; d < part->rank; d++) steps[d] = 1;
    for (int k = 0; k < i; k++) starts[axis] += veer_value_type(g, veer_node_in(g, node, k))->dims[axis];
    return veer_view_slice(v, starts, part->dims, steps);
}

bool veer_view_backward(const veer_graph_t *g, veer_node_t node, int i, veer_view_t *v) {
    switch (veer_node_op(g, node)) {
    case VEER_OP_CONCAT: return part_of_concat(g, node, i, v);
    case VEER_OP_RESHAPE: {
        const veer_type_t *from = veer_value_type(g, veer_node_in(g, node, i));
        return veer_view_reshape(v, from->rank, from->dims);
    }
    case VEER_OP_TRANSPOSE: {
        int rank;
        const int64_t *perm = veer_node_ints(g, node, "perm", &rank);
        int64_t inverse[VEER_MAX_RANK];
        for (int d = 0; d < rank; d++) inverse[perm[d]] = d;
        veer_view_transpose(v, inverse);
        return true;
    }
    default: return false;
    }
}
