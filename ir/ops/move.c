/* Ops that only move, copy or select elements, and scatter_add, which is gather's transpose. Gradients are built from
 * the same family, so what comes out is ordinary IR. */
#include "ir/ops/common.h"

#include <string.h>

#define MOVE VEER_PURE | VEER_MOVES

/* ---- reshape, transpose, broadcast ---- */
static veer_status_t reshape_infer(veer_infer_t *c) {
    int rank;
    const int64_t *dims = veer_infer_ints(c, "dims", &rank);
    c->out[0] = veer_type_make(c->in[0].dtype, rank, dims);
    VEER_TRY(veer_type_check(&c->out[0]));
    if (veer_type_count(&c->out[0]) == veer_type_count(&c->in[0])) return veer_ok();
    char x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_UNSUPPORTED, "x %s has %lld elements, but %s has %lld", veer_type_text(&c->in[0], x),
                      (long long)veer_type_count(&c->in[0]), veer_type_text(&c->out[0], y),
                      (long long)veer_type_count(&c->out[0]));
}
static veer_status_t reshape_grad(veer_builder_t *b, veer_grad_t *g) {
    /* the elements stay in order: reshape back */
    veer_type_t type = veer_grad_in_type(g, 0);
    g->d_in[0] = veer_reshape_like(b, g->d_out[0], &type);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_reshape = {
    .name = "reshape",
    .doc = "y = the elements of x in row-major order, in the shape `dims` of as many elements.",
    .in = {{"x", VEER_ANY}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"dims", VEER_ATTR_INTS, .required = true, .doc = "shape of y"}},
    .traits = MOVE,
    .infer = reshape_infer,
    .grad = reshape_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t transpose_infer(veer_infer_t *c) {
    int count, rank = c->in[0].rank;
    const int64_t *perm = veer_infer_ints(c, "perm", &count);
    VEER_TRY(veer_check_rank_list("perm", count, rank));
    unsigned seen = 0;
    c->out[0] = (veer_type_t){.dtype = c->in[0].dtype, .rank = rank};
    for (int i = 0; i < rank; i++) {
        if (perm[i] < 0 || perm[i] >= rank || (seen >> perm[i] & 1))
            return veer_error(VEER_ERR_UNSUPPORTED, "perm[%d] is %lld, expected each of 0 to %d once", i,
                              (long long)perm[i], rank - 1);
        seen |= 1u << perm[i];
        c->out[0].dims[i] = c->in[0].dims[perm[i]];
    }
    return veer_ok();
}
static veer_status_t transpose_grad(veer_builder_t *b, veer_grad_t *g) {
    /* the inverse permutation */
    int rank;
    const int64_t *perm = veer_node_ints(g->graph, g->node, "perm", &rank);
    int64_t inverse[VEER_MAX_RANK];
    for (int i = 0; i < rank; i++) inverse[perm[i]] = i;
    g->d_in[0] = veer_transpose(b, g->d_out[0], inverse);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_transpose = {
    .name = "transpose",
    .doc = "y = x with its dimensions in another order: dimension i of y is dimension perm[i] of x.",
    .in = {{"x", VEER_ANY}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"perm", VEER_ATTR_INTS, .required = true, .doc = "a permutation of the dimensions"}},
    .traits = MOVE,
    .infer = transpose_infer,
    .grad = transpose_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t broadcast_infer(veer_infer_t *c) {
    int rank;
    const int64_t *dims = veer_infer_ints(c, "dims", &rank);
    c->out[0] = veer_type_make(c->in[0].dtype, rank, dims);
    VEER_TRY(veer_type_check(&c->out[0]));
    if (veer_type_broadcasts_to(&c->in[0], &c->out[0])) return veer_ok();
    char x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_UNSUPPORTED, "x %s does not broadcast to %s", veer_type_text(&c->in[0], x),
                      veer_type_text(&c->out[0], y));
}
static veer_status_t broadcast_grad(veer_builder_t *b, veer_grad_t *g) {
    /* each element of x was used many times: sum over its copies */
    veer_type_t type = veer_grad_in_type(g, 0);
    g->d_in[0] = veer_sum_to(b, g->d_out[0], &type);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_broadcast = {
    .name = "broadcast",
    .doc = "y = x repeated to the shape `dims`, as NumPy broadcasts.",
    .in = {{"x", VEER_ANY}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"dims", VEER_ATTR_INTS, .required = true, .doc = "shape of y"}},
    .traits = MOVE,
    .infer = broadcast_infer,
    .grad = broadcast_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- slice ---- */
/* Position of the last element along a dimension; false where it or the first one lies outside [0, dim). */
static bool slice_fits(int64_t dim, int64_t start, int64_t size, int64_t step) {
    int64_t last;
    if (size == 0) return true;
    if (__builtin_mul_overflow(size - 1, step, &last) || __builtin_add_overflow(last, start, &last)) return false;
    return start >= 0 && start < dim && last >= 0 && last < dim;
}

static veer_status_t slice_infer(veer_infer_t *c) {
    int start_count, size_count, step_count, rank = c->in[0].rank;
    const int64_t *starts = veer_infer_ints(c, "starts", &start_count);
    const int64_t *sizes = veer_infer_ints(c, "sizes", &size_count);
    const int64_t *steps = veer_infer_ints(c, "steps", &step_count);
    VEER_TRY(veer_check_rank_list("starts", start_count, rank));
    VEER_TRY(veer_check_rank_list("sizes", size_count, rank));
    VEER_TRY(veer_check_rank_list("steps", step_count, rank));
    c->out[0] = (veer_type_t){.dtype = c->in[0].dtype, .rank = rank};
    for (int i = 0; i < rank; i++) {
        if (steps[i] == 0) return veer_error(VEER_ERR_UNSUPPORTED, "steps[%d] is 0", i);
        if (sizes[i] < 0 || !slice_fits(c->in[0].dims[i], starts[i], sizes[i], steps[i]))
            return veer_error(VEER_ERR_UNSUPPORTED, "dimension %d: start %lld, size %lld, step %lld leaves [0, %lld)",
                              i, (long long)starts[i], (long long)sizes[i], (long long)steps[i],
                              (long long)c->in[0].dims[i]);
        c->out[0].dims[i] = sizes[i];
    }
    return veer_ok();
}

/* Puts step - 1 zeros behind each element along `axis` and cuts or pads the result so that it fills [0, dim) with the
 * first element at `start`. `type` is d's type and becomes the result's. */
static veer_value_t spread(veer_builder_t *b, veer_value_t d, veer_type_t *type, int axis, int64_t start, int64_t step,
                           int64_t dim) {
    int64_t outer = veer_type_count_range(type, 0, axis), inner = veer_type_count_range(type, axis + 1, type->rank);
    int64_t size = type->dims[axis], before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0};
    if (step > 1) { /* [outer, size, 1, inner] -> [outer, size, step, inner] */
        d = veer_reshape(b, d, VEER_DIMS(outer, size, 1, inner));
        d = veer_pad_zero(b, d, before, (int64_t[]){0, 0, step - 1, 0});
        type->dims[axis] = size = size * step;
        d = veer_reshape_like(b, d, type);
    }
    if (start + size > dim) d = veer_slice_axis(b, d, axis, 0, size = dim - start, 1);
    before[axis] = start, after[axis] = dim - start - size;
    type->dims[axis] = dim;
    return veer_pad_zero(b, d, before, after);
}

static veer_value_t reverse_axis(veer_builder_t *b, veer_value_t x, int axis, int64_t size) {
    return size > 1 ? veer_slice_axis(b, x, axis, size - 1, size, -1) : x;
}

static veer_status_t slice_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dx is d at the selected places and 0 elsewhere: along each dimension reverse (negative steps), spread, pad */
    veer_type_t from = veer_grad_in_type(g, 0), type = *veer_value_type(g->graph, g->out[0]);
    int rank;
    const int64_t *starts = veer_node_ints(g->graph, g->node, "starts", &rank);
    const int64_t *steps = veer_node_ints(g->graph, g->node, "steps", &rank);
    if (veer_type_count(&type) == 0) return veer_ok(); /* nothing was selected: zero */
    veer_value_t d = g->d_out[0];
    for (int i = 0; i < rank; i++) {
        int64_t size = type.dims[i], step = steps[i] < 0 ? -steps[i] : steps[i];
        if (steps[i] < 0) d = reverse_axis(b, d, i, size);
        d = spread(b, d, &type, i, steps[i] < 0 ? starts[i] + (size - 1) * steps[i] : starts[i], size > 1 ? step : 1,
                   from.dims[i]);
    }
    g->d_in[0] = d;
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_slice = {
    .name = "slice",
    .doc = "y[i, ...] = x[starts + i * steps, ...], along every dimension; steps may be negative.",
    .in = {{"x", VEER_ANY}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"starts", VEER_ATTR_INTS, .required = true, .doc = "first index, one per dimension"},
              {"sizes", VEER_ATTR_INTS, .required = true, .doc = "shape of y"},
              {"steps", VEER_ATTR_INTS, .required = true, .doc = "distance between indices, not 0"}},
    .traits = MOVE,
    .infer = slice_infer,
    .grad = slice_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- concat ---- */
static veer_status_t concat_infer(veer_infer_t *c) {
    int axis = 0;
    if (c->in_count < 1) return veer_error(VEER_ERR_UNSUPPORTED, "no operands, expected one or more");
    c->out[0] = c->in[0];
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), c->in[0].rank, &axis));
    for (int i = 1; i < c->in_count; i++) {
        veer_type_t like = c->in[0];
        if (c->in[i].rank == like.rank) like.dims[axis] = c->in[i].dims[axis];
        char x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
        if (!veer_type_equal(&c->in[i], &like))
            return veer_error(VEER_ERR_UNSUPPORTED, "operand %d is %s, expected %s but for dimension %d", i,
                              veer_type_text(&c->in[i], x), veer_type_text(&c->in[0], y), axis);
        if (__builtin_add_overflow(c->out[0].dims[axis], like.dims[axis], &c->out[0].dims[axis]))
            return veer_error(VEER_ERR_UNSUPPORTED, "dimension %d of the result overflows", axis);
    }
    return veer_ok();
}
static veer_status_t concat_grad(veer_builder_t *b, veer_grad_t *g) {
    /* each operand gets its part of d */
    int axis = (int)veer_node_int(g->graph, g->node, "axis");
    int64_t start = 0;
    for (int i = 0; i < g->in_count; i++) {
        int64_t size = veer_grad_in_type(g, i).dims[axis];
        if (g->need[i]) g->d_in[i] = veer_slice_axis(b, g->d_out[0], axis, start, size, 1);
        start += size;
    }
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_concat = {
    .name = "concat",
    .doc = "y = the operands one behind the other along `axis`; their other dimensions agree.",
    .in = {{"x", VEER_ANY, .variadic = true}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"axis", VEER_ATTR_INT, .required = true, .doc = "dimension to join along"}},
    .traits = MOVE,
    .infer = concat_infer,
    .grad = concat_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- pad ---- */
static veer_status_t pad_infer(veer_infer_t *c) {
    int before_count, after_count, rank = c->in[0].rank;
    const int64_t *before = veer_infer_ints(c, "before", &before_count),
                  *after = veer_infer_ints(c, "after", &after_count);
    const char *mode = veer_infer_string(c, "mode");
    bool constant = !strcmp(mode, "constant");
    if (!constant && strcmp(mode, "reflect") && strcmp(mode, "edge") && strcmp(mode, "wrap"))
        return veer_error(VEER_ERR_UNSUPPORTED, "mode is \"%s\", expected constant, reflect, edge or wrap", mode);
    VEER_TRY(veer_check_rank_list("before", before_count, rank));
    VEER_TRY(veer_check_rank_list("after", after_count, rank));
    c->out[0] = c->in[0];
    for (int i = 0; i < rank; i++) {
        int64_t *dim = &c->out[0].dims[i];
        if (before[i] < 0 || after[i] < 0)
            return veer_error(VEER_ERR_UNSUPPORTED,
                              "dimension %d is padded by %lld and %lld, expected no negative pad "
                              "(a slice removes elements)",
                              i, (long long)before[i], (long long)after[i]);
        if (!constant && *dim == 0 && (before[i] || after[i]))
            return veer_error(VEER_ERR_UNSUPPORTED, "mode %s has nothing to repeat: dimension %d is 0", mode, i);
        if (__builtin_add_overflow(*dim, before[i], dim) || __builtin_add_overflow(*dim, after[i], dim))
            return veer_error(VEER_ERR_UNSUPPORTED, "dimension %d of the result overflows", i);
    }
    return veer_ok();
}

/* One dimension of pad's gradient: d [outer, before + size + after, inner] becomes [outer, size, inner]. */
typedef struct pad_axis_s {
    int64_t outer, size, inner, before, after;
} pad_axis_t;

static veer_value_t pad_axis_part(veer_builder_t *b, veer_value_t d, int64_t start, int64_t size) {
    return veer_slice_axis(b, d, 1, start, size, 1);
}
static veer_value_t sum_part(veer_builder_t *b, veer_value_t d, int64_t start, int64_t size) {
    return veer_reduce(b, VEER_OP_REDUCE_SUM, pad_axis_part(b, d, start, size), (int64_t[]){1}, 1, true);
}

/* The pads are copies of the first and the last element: these collect the pads' sums. */
static veer_value_t pad_edge_grad(veer_builder_t *b, veer_value_t d, pad_axis_t p) {
    veer_value_t dx = pad_axis_part(b, d, p.before, p.size);
    if (p.before)
        dx = veer_add(
            b, dx, veer_pad_zero(b, sum_part(b, d, 0, p.before), (int64_t[]){0, 0, 0}, (int64_t[]){0, p.size - 1, 0}));
    if (p.after)
        dx = veer_add(b, dx,
                      veer_pad_zero(b, sum_part(b, d, p.before + p.size, p.after), (int64_t[]){0, p.size - 1, 0},
                                    (int64_t[]){0, 0, 0}));
    return dx;
}

/* Sums d over all places that are the same modulo `period`; entry i of the result belongs to index i of x. */
static veer_value_t fold_period(veer_builder_t *b, veer_value_t d, pad_axis_t p, int64_t period) {
    int64_t lead = (period - p.before % period) % period, length = lead + p.before + p.size + p.after;
    int64_t tail = (period - length % period) % period, turns = (length + tail) / period;
    d = veer_pad_zero(b, d, (int64_t[]){0, lead, 0}, (int64_t[]){0, tail, 0});
    d = veer_reshape(b, d, VEER_DIMS(p.outer, turns, period, p.inner));
    return veer_reduce(b, VEER_OP_REDUCE_SUM, d, (int64_t[]){1}, 1, false);
}

/* Reflection has period 2 (n - 1), and index n-1+j of a period mirrors n-1-j: fold, then add the mirrored part. */
static veer_value_t pad_reflect_grad(veer_builder_t *b, veer_value_t d, pad_axis_t p) {
    int64_t n = p.size, period = n > 1 ? 2 * (n - 1) : 1;
    veer_value_t folded = fold_period(b, d, p, period), dx = pad_axis_part(b, folded, 0, n);
    if (n <= 2) return dx;
    veer_value_t mirrored = reverse_axis(b, pad_axis_part(b, folded, n, n - 2), 1, n - 2);
    return veer_add(b, dx, veer_pad_zero(b, mirrored, (int64_t[]){0, 1, 0}, (int64_t[]){0, 1, 0}));
}

static veer_status_t pad_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dx[i] = the sum of d over the places that hold x[i]; dimensions are independent, so one after the other */
    veer_type_t from = veer_grad_in_type(g, 0), type = *veer_value_type(g->graph, g->out[0]);
    const char *mode = veer_node_string(g->graph, g->node, "mode");
    int rank;
    const int64_t *before = veer_node_ints(g->graph, g->node, "before", &rank);
    const int64_t *after = veer_node_ints(g->graph, g->node, "after", &rank);
    veer_value_t d = g->d_out[0];
    for (int i = 0; i < rank; i++) {
        if (!before[i] && !after[i]) continue;
        pad_axis_t p = {veer_type_count_range(&type, 0, i), from.dims[i], veer_type_count_range(&type, i + 1, rank),
                        before[i], after[i]};
        d = veer_reshape(b, d, VEER_DIMS(p.outer, type.dims[i], p.inner));
        if (!strcmp(mode, "constant"))
            d = pad_axis_part(b, d, p.before, p.size);
        else if (!strcmp(mode, "edge"))
            d = pad_edge_grad(b, d, p);
        else if (!strcmp(mode, "wrap"))
            d = fold_period(b, d, p, p.size);
        else
            d = pad_reflect_grad(b, d, p);
        type.dims[i] = p.size;
        d = veer_reshape_like(b, d, &type);
    }
    g->d_in[0] = d;
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_pad = {
    .name = "pad",
    .doc =
        "y = x with `before` and `after` elements added at the ends of each dimension: `value` (constant), the mirror "
        "image without the end element (reflect), the end element (edge), x repeated (wrap).",
    .in = {{"x", VEER_ANY}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"before", VEER_ATTR_INTS, .required = true, .doc = "elements added at the front, one per dimension"},
              {"after", VEER_ATTR_INTS, .required = true, .doc = "elements added at the end, one per dimension"},
              {"mode", VEER_ATTR_STRING, .default_string = "constant", .doc = "constant, reflect, edge or wrap"},
              {"value", VEER_ATTR_FLOAT, .default_float = 0, .doc = "what mode constant adds"}},
    .traits = MOVE,
    .infer = pad_infer,
    .grad = pad_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- gather ---- */
static veer_status_t gather_infer(veer_infer_t *c) {
    const veer_type_t *data = &c->in[0], *indices = &c->in[1];
    int axis = 0, rank = data->rank - 1 + indices->rank;
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), data->rank, &axis));
    if (rank > VEER_MAX_RANK)
        return veer_error(VEER_ERR_UNSUPPORTED, "the result has rank %d; at most %d are supported", rank,
                          VEER_MAX_RANK);
    c->out[0] = (veer_type_t){.dtype = data->dtype, .rank = rank};
    int64_t *dims = c->out[0].dims;
    for (int i = 0; i < axis; i++) *dims++ = data->dims[i];
    for (int i = 0; i < indices->rank; i++) *dims++ = indices->dims[i];
    for (int i = axis + 1; i < data->rank; i++) *dims++ = data->dims[i];
    return veer_ok();
}
static veer_status_t gather_grad(veer_builder_t *b, veer_grad_t *g) {
    /* d_data[.., indices[i], ..] += d[.., i, ..]: scatter_add wants indices of d's shape, so the list of indices is
     * laid along the axis and repeated along the other dimensions */
    if (!g->need[0]) return veer_ok();
    veer_type_t data = veer_grad_in_type(g, 0), indices = veer_grad_in_type(g, 1), rows = data, line = data;
    int axis = (int)veer_node_int(g->graph, g->node, "axis");
    rows.dims[axis] = veer_type_count(&indices);
    for (int i = 0; i < data.rank; i++) line.dims[i] = i == axis ? rows.dims[axis] : 1;
    veer_value_t places = veer_reshape_like(b, g->in[1], &line), updates = veer_reshape_like(b, g->d_out[0], &rows);
    places = veer_broadcast_to(b, places, rows.rank, rows.dims);
    g->d_in[0] = veer_build(b, VEER_OP_SCATTER_ADD, VEER_IN(veer_zeros(b, data), places, updates),
                            VEER_ATTRS(VEER_INT("axis", axis)));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_gather = {
    .name = "gather",
    .doc = "y = the slices of data that `indices` names along `axis`: shape data[..axis] + indices + data[axis+1..]. A "
           "negative index counts from the end; one out of range is an error while running.",
    .in = {{"data", VEER_ANY}, {"indices", VEER_INDEX}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"axis", VEER_ATTR_INT, .default_int = 0, .doc = "dimension that the indices select from"}},
    .traits = MOVE,
    .infer = gather_infer,
    .grad = gather_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- gather_elements and scatter_add ---- */
/* Indices name a place in data for each of their elements: no dimension but `axis` may be longer than data's. */
static veer_status_t check_elements(const veer_infer_t *c, int *out_axis) {
    const veer_type_t *data = &c->in[0], *indices = &c->in[1];
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), data->rank, out_axis));
    bool fits = data->rank == indices->rank;
    for (int i = 0; fits && i < data->rank; i++) fits = i == *out_axis || indices->dims[i] <= data->dims[i];
    if (fits) return veer_ok();
    char x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_UNSUPPORTED,
                      "indices %s do not fit data %s: expected the same rank, and no dimension but "
                      "the axis %d longer than data's",
                      veer_type_text(indices, x), veer_type_text(data, y), *out_axis);
}

static veer_status_t gather_elements_infer(veer_infer_t *c) {
    int axis = 0;
    VEER_TRY(check_elements(c, &axis));
    c->out[0] = c->in[1];
    c->out[0].dtype = c->in[0].dtype;
    return veer_ok();
}
/* One index per row (a class label): d_data[j] = d where j is the index. The index passes through a gather of 0, 1,
 * ..., n - 1, which counts negative ones from the end and reports those out of range, as the op itself does. */
static veer_value_t place_one(veer_builder_t *b, veer_value_t index, veer_value_t d, veer_type_t data, int axis) {
    int64_t n = data.dims[axis], dims[VEER_MAX_RANK];
    int64_t *counting = veer_arena_array(veer_graph_arena(b->graph), (size_t)n + 1, sizeof *counting);
    if (!counting) {
        veer_builder_fail(b, veer_out_of_memory());
        return VEER_NO_VALUE;
    }
    for (int64_t i = 0; i < n; i++) counting[i] = i;
    for (int i = 0; i < data.rank; i++) dims[i] = i == axis ? n : 1;
    veer_value_t all = veer_const_view(b, VEER_TYPE(VEER_DTYPE_I64, n), counting, NULL);
    veer_value_t chosen = veer_equal(b, veer_gather(b, all, index, 0), veer_reshape(b, all, data.rank, dims));
    return veer_where(b, chosen, d, veer_const_scalar(b, data.dtype, 0));
}

static veer_status_t gather_elements_grad(veer_builder_t *b, veer_grad_t *g) {
    /* d_data[indices[i]] += d[i] */
    if (!g->need[0]) return veer_ok();
    int64_t axis = veer_node_int(g->graph, g->node, "axis");
    veer_type_t data = veer_grad_in_type(g, 0), index = veer_grad_in_type(g, 1);
    bool whole = index.dims[axis] == 1;
    for (int i = 0; i < data.rank; i++) whole &= i == axis || index.dims[i] == data.dims[i];
    if (whole) {
        g->d_in[0] = place_one(b, g->in[1], g->d_out[0], data, (int)axis);
    } else {
        veer_value_t zeros = veer_zeros(b, data);
        g->d_in[0] = veer_build(b, VEER_OP_SCATTER_ADD, VEER_IN(zeros, g->in[1], g->d_out[0]),
                                VEER_ATTRS(VEER_INT("axis", axis)));
    }
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_gather_elements = {
    .name = "gather_elements",
    .doc =
        "y[i, j, ...] = data[i, indices[i, j, ...], ...], the index standing at `axis`; y has the shape of indices. A "
        "negative index counts from the end; one out of range is an error while running.",
    .in = {{"data", VEER_ANY}, {"indices", VEER_INDEX}},
    .out = {{"y", VEER_ANY}},
    .attrs = {{"axis", VEER_ATTR_INT, .default_int = 0, .doc = "dimension that the indices select from"}},
    .traits = MOVE,
    .infer = gather_elements_infer,
    .grad = gather_elements_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

static veer_status_t scatter_add_infer(veer_infer_t *c) {
    int axis = 0;
    VEER_TRY(check_elements(c, &axis));
    veer_type_t expected = c->in[1];
    expected.dtype = c->in[0].dtype;
    char x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
    if (!veer_type_equal(&c->in[2], &expected))
        return veer_error(VEER_ERR_UNSUPPORTED, "updates are %s, expected %s (shape of indices, element type of data)",
                          veer_type_text(&c->in[2], x), veer_type_text(&expected, y));
    c->out[0] = c->in[0];
    return veer_ok();
}
static veer_status_t scatter_add_grad(veer_builder_t *b, veer_grad_t *g) {
    /* d_data = d, d_updates[i] = d[indices[i]] */
    int64_t axis = veer_node_int(g->graph, g->node, "axis");
    if (g->need[0]) g->d_in[0] = g->d_out[0];
    if (g->need[2])
        g->d_in[2] =
            veer_build(b, VEER_OP_GATHER_ELEMENTS, VEER_IN(g->d_out[0], g->in[1]), VEER_ATTRS(VEER_INT("axis", axis)));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_scatter_add = {
    .name = "scatter_add",
    .doc =
        "y = data, with y[i, indices[i, j, ...], ...] += updates[i, j, ...] for every element of updates in row-major "
        "order, the index standing at `axis`. Negative indices count from the end; one out of range is an error while "
        "running.",
    .in = {{"data", VEER_NUMERIC}, {"indices", VEER_INDEX}, {"updates", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {{"axis", VEER_ATTR_INT, .default_int = 0, .doc = "dimension that the indices select from"}},
    .traits = VEER_PURE,
    .infer = scatter_add_infer,
    .grad = scatter_add_grad,
    .tol_f32 = {.abs = 1e-5, .rel = 1e-5}, /* sums of up to about 100 terms of order 1 */
};

static bool is_mode(const char *mode, const char *name) {
    return !strcmp(mode, name);
}

static veer_status_t scatter_reduce_infer(veer_infer_t *c) {
    const char *mode = veer_infer_string(c, "mode");
    if (!is_mode(mode, "mul") && !is_mode(mode, "min") && !is_mode(mode, "max"))
        return veer_error(VEER_ERR_UNSUPPORTED, "mode is \"%s\", expected \"mul\", \"min\" or \"max\"", mode);
    return scatter_add_infer(c);
}

static veer_value_t scatter_like(veer_builder_t *b, const veer_grad_t *g, veer_op_t op, veer_value_t data,
                                 veer_value_t updates) {
    veer_named_attr_t axis = VEER_INT("axis", veer_node_int(g->graph, g->node, "axis"));
    veer_named_attr_t mode = VEER_STRING("mode", veer_node_string(g->graph, g->node, "mode"));
    if (op == VEER_OP_SCATTER_ADD) mode.name = NULL;
    return veer_build(b, op, VEER_IN(data, g->in[1], updates), VEER_ATTRS(axis, mode));
}

static veer_value_t gather_like(veer_builder_t *b, const veer_grad_t *g, veer_value_t data) {
    int64_t axis = veer_node_int(g->graph, g->node, "axis");
    return veer_build(b, VEER_OP_GATHER_ELEMENTS, VEER_IN(data, g->in[1]), VEER_ATTRS(VEER_INT("axis", axis)));
}

/* The m elements of data and updates that equal y get d / m each. */
static void scatter_extremum_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_dtype_t dtype = veer_grad_in_type(g, 0).dtype;
    veer_value_t own = veer_cast(b, veer_equal(b, g->in[0], g->out[0]), dtype);
    veer_value_t hit = veer_cast(b, veer_equal(b, g->in[2], gather_like(b, g, g->out[0])), dtype);
    veer_value_t d = veer_div(b, g->d_out[0], scatter_like(b, g, VEER_OP_SCATTER_ADD, own, hit));
    if (g->need[0]) g->d_in[0] = veer_mul(b, own, d);
    if (g->need[2]) g->d_in[2] = veer_mul(b, hit, gather_like(b, g, d));
}

/* What meets operand `i` (0 data, 1 updates) of a scatter_add of both, without that operand itself. */
static veer_value_t sum_of_others(veer_builder_t *b, const veer_grad_t *g, int i, const veer_value_t both[2]) {
    veer_value_t sum = scatter_like(b, g, VEER_OP_SCATTER_ADD, both[0], both[1]);
    return veer_sub(b, i ? gather_like(b, g, sum) : sum, both[i]);
}

/* As for reduce_prod: p is the product with 1 in place of zeros; a factor's derivative is p over the factor where no
 * other factor is zero, that times the other's zero where one is, else 0. */
static void scatter_mul_grad(veer_builder_t *b, veer_grad_t *g) {
    veer_dtype_t dtype = veer_grad_in_type(g, 0).dtype;
    veer_value_t zero = veer_const_scalar(b, dtype, 0), one = veer_const_scalar(b, dtype, 1);
    veer_value_t count[2], zeros[2], safe[2];
    for (int i = 0; i < 2; i++) {
        veer_value_t is_zero = veer_equal(b, g->in[2 * i], zero);
        count[i] = veer_cast(b, is_zero, dtype);
        zeros[i] = veer_where(b, is_zero, g->in[2 * i], zero);
        safe[i] = veer_where(b, is_zero, one, g->in[2 * i]);
    }
    veer_value_t p = veer_mul(b, g->d_out[0], scatter_like(b, g, VEER_OP_SCATTER_REDUCE, safe[0], safe[1]));
    for (int i = 0; i < 2; i++) {
        if (!g->need[2 * i]) continue;
        veer_value_t others = sum_of_others(b, g, i, count), z = sum_of_others(b, g, i, zeros);
        veer_value_t share = veer_div(b, i ? gather_like(b, g, p) : p, safe[i]);
        veer_value_t rest = veer_where(b, veer_equal(b, others, one), veer_mul(b, share, z), zero);
        g->d_in[2 * i] = veer_where(b, veer_equal(b, others, zero), share, rest);
    }
}

static veer_status_t scatter_reduce_grad(veer_builder_t *b, veer_grad_t *g) {
    if (is_mode(veer_node_string(g->graph, g->node, "mode"), "mul"))
        scatter_mul_grad(b, g);
    else
        scatter_extremum_grad(b, g);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_scatter_reduce = {
    .name = "scatter_reduce",
    .doc = "As scatter_add, but y[i, indices[i, j, ...], ...] becomes its product with updates[i, j, ...] (mode "
           "\"mul\"), or the smaller or larger of the two (\"min\", \"max\"; NaN where there is one). Equal "
           "elements share the gradient of min and max.",
    .in = {{"data", VEER_NUMERIC}, {"indices", VEER_INDEX}, {"updates", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {{"axis", VEER_ATTR_INT, .default_int = 0, .doc = "dimension that the indices select from"},
              {"mode", VEER_ATTR_STRING, .required = true, .doc = "\"mul\", \"min\" or \"max\""}},
    .traits = VEER_PURE,
    .infer = scatter_reduce_infer,
    .grad = scatter_reduce_grad,
    .tol_f32 = {.abs = 1.2e-38, .rel = 1e-5}, /* one rounding per factor, up to about 100 factors */
};
