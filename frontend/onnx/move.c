/* Operators that move elements: shapes, slices, concatenation, padding, blocks. */
#include "frontend/onnx/node.h"

#include <string.h>

static bool rank_fits(veer_onnx_node_t *n, int64_t rank) {
    if (rank >= 0 && rank <= VEER_MAX_RANK) return true;
    veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "%lld dimensions, at most %d are supported", (long long)rank,
                   VEER_MAX_RANK);
    return false;
}

void veer_onnx_identity(veer_onnx_node_t *n) {
    n->out[0] = n->in[0];
}

void veer_onnx_reshape(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int rank, free_dim = -1;
    const int64_t *shape = veer_onnx_in_ints(n, 1, "shape", &rank);
    if (!shape || !rank_fits(n, rank)) return;
    bool keep_zero = veer_onnx_attr_int(n, "allowzero", 0) != 0;
    int64_t dims[VEER_MAX_RANK], known = 1, total = veer_type_count(&x);
    for (int i = 0; i < rank; i++) {
        dims[i] = shape[i] == 0 && !keep_zero ? (i < x.rank ? x.dims[i] : -2) : shape[i];
        bool second = dims[i] == -1 && free_dim >= 0;
        if (dims[i] == -1) free_dim = i;
        if (dims[i] < -1 || second || (dims[i] >= 0 && __builtin_mul_overflow(known, dims[i], &known))) {
            veer_onnx_fail(n, VEER_ERR_FILE, "entry %d of shape is %lld: %s", i, (long long)shape[i],
                           second ? "only one may be -1" : "not a dimension of this input");
            return;
        }
    }
    if (free_dim >= 0) {
        if (known <= 0 || total % known) {
            veer_onnx_fail(n, VEER_ERR_FILE, "%lld elements cannot be cut into rows of %lld", (long long)total,
                           (long long)known);
            return;
        }
        dims[free_dim] = total / known;
    }
    n->out[0] = veer_reshape(n->b, n->in[0], rank, dims);
}

void veer_onnx_flatten(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t axis = veer_onnx_attr_int(n, "axis", 1);
    int at = axis == x.rank ? x.rank : veer_onnx_axis(n, axis, x.rank);
    n->out[0] = veer_reshape(n->b, n->in[0],
                             VEER_DIMS(veer_type_count_range(&x, 0, at), veer_type_count_range(&x, at, x.rank)));
}

void veer_onnx_squeeze(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t axes[VEER_MAX_RANK], dims[VEER_MAX_RANK];
    int count, rank = 0, next = 0;
    const int64_t *given = veer_onnx_in_or_attr_ints(n, 1, "axes", 13, &count);
    count = veer_onnx_axes(n, given, given ? count : 0, x.rank, axes);
    for (int i = 0; i < x.rank; i++) {
        bool drop = given ? next < count && axes[next] == i : x.dims[i] == 1;
        if (drop && given) next++;
        if (drop && x.dims[i] != 1)
            veer_onnx_fail(n, VEER_ERR_FILE, "dimension %d is %lld, only 1 can be squeezed", i, (long long)x.dims[i]);
        if (!drop) dims[rank++] = x.dims[i];
    }
    n->out[0] = veer_reshape(n->b, n->in[0], rank, dims);
}

void veer_onnx_unsqueeze(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t axes[VEER_MAX_RANK], dims[VEER_MAX_RANK];
    int count, next = 0, from = 0;
    const int64_t *given = veer_onnx_in_or_attr_ints(n, 1, "axes", 13, &count);
    if (!given && veer_onnx_ok(n)) veer_onnx_fail(n, VEER_ERR_FILE, "axes are missing");
    if (!given || !rank_fits(n, (int64_t)x.rank + count)) return;
    int rank = x.rank + count;
    count = veer_onnx_axes(n, given, count, rank, axes);
    if (!veer_onnx_ok(n)) return;
    for (int i = 0; i < rank; i++) {
        bool add = next < count && axes[next] == i;
        dims[i] = add ? 1 : x.dims[from++];
        next += add;
    }
    n->out[0] = veer_reshape(n->b, n->in[0], rank, dims);
}

void veer_onnx_transpose(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t perm[VEER_MAX_RANK];
    int count;
    const int64_t *given = veer_onnx_attr_ints(n, "perm", &count);
    if (given && count != x.rank && count) {
        veer_onnx_fail(n, VEER_ERR_FILE, "perm has %d entries, the input has %d dims", count, x.rank);
        return;
    }
    for (int i = 0; i < x.rank; i++) perm[i] = given && count ? veer_onnx_axis(n, given[i], x.rank) : x.rank - 1 - i;
    n->out[0] = veer_transpose(n->b, n->in[0], perm);
}

/* Both ways: the output is what NumPy's broadcasting makes of the input and the shape. */
void veer_onnx_expand(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), out = {0};
    int rank;
    const int64_t *shape = veer_onnx_in_ints(n, 1, "shape", &rank);
    if (!shape || !rank_fits(n, rank)) return;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0) veer_onnx_fail(n, VEER_ERR_FILE, "entry %d of shape is %lld", i, (long long)shape[i]);
    veer_type_t to = veer_type_make(x.dtype, rank, shape);
    if (veer_onnx_ok(n) && !veer_type_broadcast(&x, &to, &out)) {
        char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
        veer_onnx_fail(n, VEER_ERR_FILE, "%s cannot be expanded to %s", veer_type_text(&x, a), veer_type_text(&to, b));
    }
    if (veer_onnx_ok(n)) n->out[0] = veer_broadcast_to(n->b, n->in[0], out.rank, out.dims);
}

/* ---- slices ---- */

static int64_t clamp(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

/* Python's rules: negative bounds count from the end, bounds out of range are clamped. */
static void slice_bounds(int64_t dim, int64_t *start, int64_t *size, int64_t end, int64_t step) {
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? dim : dim - 1;
    int64_t from = clamp(*start < 0 ? *start + dim : *start, low, high);
    int64_t to = clamp(end < 0 ? end + dim : end, low, high);
    int64_t span = step > 0 ? to - from : from - to;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    *size = span > 0 ? (int64_t)(((uint64_t)span - 1) / stride + 1) : 0;
    *start = *size ? from : 0;
}

typedef struct {
    int64_t starts[VEER_MAX_RANK], sizes[VEER_MAX_RANK], steps[VEER_MAX_RANK];
} slice_t;

static slice_t whole(const veer_type_t *x) {
    slice_t s = {0};
    for (int i = 0; i < x->rank; i++) s.sizes[i] = x->dims[i], s.steps[i] = 1;
    return s;
}

static veer_value_t build_slice(veer_onnx_node_t *n, veer_value_t x, const slice_t *s) {
    veer_type_t type = veer_onnx_type(n, x);
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    bool same = true;
    for (int i = 0; i < type.rank; i++) same &= s->steps[i] == 1 && s->sizes[i] == type.dims[i];
    if (same) return x;
    return veer_build(n->b, VEER_OP_SLICE, &x, 1,
                      VEER_ATTRS(VEER_INTS("starts", s->starts, type.rank), VEER_INTS("sizes", s->sizes, type.rank),
                                 VEER_INTS("steps", s->steps, type.rank)));
}

void veer_onnx_slice(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int count = 0, ends_count = 0, axes_count = 0, steps_count = 0;
    const int64_t *starts = veer_onnx_in_or_attr_ints(n, 1, "starts", 10, &count);
    const int64_t *ends = veer_onnx_in_or_attr_ints(n, 2, "ends", 10, &ends_count);
    const int64_t *axes = veer_onnx_in_or_attr_ints(n, 3, "axes", 10, &axes_count);
    const int64_t *steps = n->opset < 10 ? NULL : veer_onnx_in_ints(n, 4, "steps", &steps_count);
    if (!veer_onnx_ok(n)) return;
    if (!starts || !ends || ends_count != count || (axes && axes_count != count) || (steps && steps_count != count) ||
        (!axes && count > x.rank)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "starts, ends, axes and steps have %d, %d, %d and %d entries", count,
                       ends_count, axes_count, steps_count);
        return;
    }
    slice_t s = whole(&x);
    for (int i = 0; i < count && veer_onnx_ok(n); i++) {
        int axis = veer_onnx_axis(n, axes ? axes[i] : i, x.rank);
        int64_t step = steps ? steps[i] : 1;
        if (step == 0) veer_onnx_fail(n, VEER_ERR_FILE, "step %d is 0", i);
        if (!veer_onnx_ok(n)) return;
        s.starts[axis] = starts[i];
        s.steps[axis] = step;
        slice_bounds(x.dims[axis], &s.starts[axis], &s.sizes[axis], ends[i], step);
        if (s.sizes[axis] <= 1) s.steps[axis] = 1; /* a step that is never taken */
    }
    n->out[0] = build_slice(n, n->in[0], &s);
}

/* Sizes of the parts: given, or equal parts of which the last may be smaller. */
void veer_onnx_split(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), x.rank), count;
    const int64_t *sizes = veer_onnx_in_or_attr_ints(n, 1, "split", 13, &count);
    if (!veer_onnx_ok(n) || !n->out_count) return;
    int64_t dim = x.dims[axis], at = 0, parts = n->out_count;
    if (sizes && count != n->out_count) {
        veer_onnx_fail(n, VEER_ERR_FILE, "split has %d entries, the node has %d outputs", count, n->out_count);
        return;
    }
    int64_t chunk = (dim + parts - 1) / parts;
    for (int i = 0; i < n->out_count; i++) {
        int64_t left = dim - at, size = sizes ? sizes[i] : left < chunk ? left : chunk;
        if (size < 0 || size > left || (i == n->out_count - 1 && size != left)) {
            veer_onnx_fail(n, VEER_ERR_FILE, "split does not add up to the %lld entries of axis %d", (long long)dim,
                           axis);
            return;
        }
        n->out[i] = veer_slice_axis(n->b, n->in[0], axis, at, size, 1);
        at += size;
    }
}

void veer_onnx_concat(veer_onnx_node_t *n) {
    int rank = veer_onnx_in_type(n, 0).rank;
    for (int i = 0; i < n->in_count; i++)
        if (!n->in[i].i) veer_onnx_fail(n, VEER_ERR_FILE, "input %d is empty", i);
    if (!veer_onnx_attr(n, "axis")) veer_onnx_fail(n, VEER_ERR_FILE, "attribute 'axis' is missing");
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), rank);
    if (veer_onnx_ok(n)) n->out[0] = veer_concat(n->b, n->in, n->in_count, axis);
}

/* ---- padding ---- */

/* Pads are given per axis: all befores, then all afters. False after a failure. */
static bool read_pads(veer_onnx_node_t *n, int rank, int64_t *before, int64_t *after) {
    int count, axes_count = 0;
    const int64_t *pads = veer_onnx_in_or_attr_ints(n, 1, "pads", 11, &count);
    const int64_t *axes = n->opset < 18 ? NULL : veer_onnx_in_ints(n, 3, "axes", &axes_count);
    int expected = axes ? axes_count : rank;
    if (veer_onnx_ok(n) && (!pads || count != 2 * expected))
        veer_onnx_fail(n, VEER_ERR_FILE, "pads has %d entries, expected %d", count, 2 * expected);
    for (int i = 0; i < expected && veer_onnx_ok(n); i++) {
        int axis = axes ? veer_onnx_axis(n, axes[i], rank) : i;
        before[axis] = pads[i];
        after[axis] = pads[i + expected];
        bool sane = pads[i] > -VEER_MAX_TENSOR_BYTES && pads[i] < VEER_MAX_TENSOR_BYTES &&
                    pads[i + expected] > -VEER_MAX_TENSOR_BYTES && pads[i + expected] < VEER_MAX_TENSOR_BYTES;
        if (!sane) veer_onnx_fail(n, VEER_ERR_FILE, "pads of axis %d are out of range", axis);
    }
    return veer_onnx_ok(n);
}

/* Negative pads cut; what is left of the pads is not negative. */
static veer_value_t cut_negative(veer_onnx_node_t *n, const veer_type_t *x, int64_t *before, int64_t *after) {
    slice_t s = whole(x);
    for (int i = 0; i < x->rank; i++) {
        if (before[i] < 0) s.starts[i] = -before[i], s.sizes[i] += before[i], before[i] = 0;
        if (after[i] < 0) s.sizes[i] += after[i], after[i] = 0;
        if (s.sizes[i] < 0) veer_onnx_fail(n, VEER_ERR_FILE, "pads cut more than axis %d has", i);
    }
    return veer_onnx_ok(n) ? build_slice(n, n->in[0], &s) : VEER_NO_VALUE;
}

void veer_onnx_pad(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0};
    const char *mode = veer_onnx_attr_string(n, "mode", "constant");
    double value = n->opset < 11 ? veer_onnx_attr_float(n, "value", 0) : veer_onnx_in_double(n, 2, "constant_value", 0);
    if (!read_pads(n, x.rank, before, after)) return;
    veer_value_t cut = cut_negative(n, &x, before, after);
    bool none = true;
    for (int i = 0; i < x.rank; i++) none &= !before[i] && !after[i];
    n->out[0] = none ? cut
                     : veer_build(n->b, VEER_OP_PAD, &cut, 1,
                                  VEER_ATTRS(VEER_INTS("before", before, x.rank), VEER_INTS("after", after, x.rank),
                                             VEER_STRING("mode", mode), VEER_FLOAT("value", value)));
}

/* ---- repetition and blocks ---- */

/* Axis by axis: [pre, 1, rest] is broadcast to [pre, r, rest]. */
void veer_onnx_tile(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int count;
    const int64_t *repeats = veer_onnx_in_ints(n, 1, "repeats", &count);
    if (!repeats) return;
    if (count != x.rank) {
        veer_onnx_fail(n, VEER_ERR_FILE, "repeats has %d entries, the input has %d dims", count, x.rank);
        return;
    }
    veer_value_t y = n->in[0];
    for (int i = 0; i < x.rank && veer_onnx_ok(n); i++) {
        if (repeats[i] < 0 || repeats[i] > VEER_MAX_TENSOR_BYTES ||
            __builtin_mul_overflow(x.dims[i], repeats[i], &(int64_t){0})) {
            veer_onnx_fail(n, VEER_ERR_FILE, "entry %d of repeats is %lld", i, (long long)repeats[i]);
            return;
        }
        if (repeats[i] == 1) continue;
        int64_t pre = veer_type_count_range(&x, 0, i), rest = veer_type_count_range(&x, i, x.rank);
        y = veer_reshape(n->b, y, VEER_DIMS(pre, 1, rest));
        y = veer_broadcast_to(n->b, y, VEER_DIMS(pre, repeats[i], rest));
        x.dims[i] *= repeats[i];
        if (veer_onnx_ok(n)) y = veer_reshape_like(n->b, y, &x);
    }
    n->out[0] = y;
}

/* Keeps the upper (or lower) triangle of the last two dims: where(mask, x, 0). */
void veer_onnx_trilu(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t k = veer_onnx_in_int(n, 1, "k", 0);
    bool upper = veer_onnx_attr_int(n, "upper", 1) != 0;
    if (veer_onnx_ok(n) && x.rank < 2)
        veer_onnx_fail(n, VEER_ERR_FILE, "input has %d dims, expected 2 or more", x.rank);
    if (!veer_onnx_ok(n)) return;
    int64_t rows = x.dims[x.rank - 2], columns = x.dims[x.rank - 1];
    veer_type_t mask = VEER_TYPE(VEER_DTYPE_BOOL, rows, columns);
    uint8_t *keep = veer_onnx_new_data(n, &mask);
    if (!keep) return;
    k = clamp(k, -rows - 1, columns + 1);
    for (int64_t i = 0; columns > 0 && i < rows; i++) /* rows may be any number where there are no columns */
        for (int64_t j = 0; j < columns; j++) keep[i * columns + j] = upper ? j - i >= k : j - i <= k;
    n->out[0] =
        veer_where(n->b, veer_const_view(n->b, mask, keep, NULL), n->in[0], veer_const_scalar(n->b, x.dtype, 0));
}

/* [N, C, H, W] and a block size; false after a failure. */
static bool read_blocks(veer_onnx_node_t *n, veer_type_t *x, int64_t *block) {
    *x = veer_onnx_in_type(n, 0);
    *block = veer_onnx_attr_int(n, "blocksize", 0);
    if (veer_onnx_ok(n) && (x->rank != 4 || *block < 1 || *block > 1 << 15))
        veer_onnx_fail(n, VEER_ERR_FILE, "input of rank %d and blocksize %lld, expected rank 4 and at least 1", x->rank,
                       (long long)*block);
    return veer_onnx_ok(n);
}

void veer_onnx_depth_to_space(veer_onnx_node_t *n) {
    veer_type_t x;
    int64_t k;
    if (!read_blocks(n, &x, &k)) return;
    bool columns_first = !strcmp(veer_onnx_attr_string(n, "mode", "DCR"), "CRD");
    int64_t c = x.dims[1] / (k * k), h = x.dims[2], w = x.dims[3];
    veer_value_t y = columns_first ? veer_reshape(n->b, n->in[0], VEER_DIMS(x.dims[0], c, k, k, h, w))
                                   : veer_reshape(n->b, n->in[0], VEER_DIMS(x.dims[0], k, k, c, h, w));
    y = veer_transpose(n->b, y, columns_first ? (int64_t[]){0, 1, 4, 2, 5, 3} : (int64_t[]){0, 3, 4, 1, 5, 2});
    n->out[0] = veer_reshape(n->b, y, VEER_DIMS(x.dims[0], c, h * k, w * k));
}

void veer_onnx_space_to_depth(veer_onnx_node_t *n) {
    veer_type_t x;
    int64_t k;
    if (!read_blocks(n, &x, &k)) return;
    int64_t h = x.dims[2] / k, w = x.dims[3] / k;
    veer_value_t y = veer_reshape(n->b, n->in[0], VEER_DIMS(x.dims[0], x.dims[1], h, k, w, k));
    y = veer_transpose(n->b, y, (int64_t[]){0, 3, 5, 1, 2, 4});
    n->out[0] = veer_reshape(n->b, y, VEER_DIMS(x.dims[0], x.dims[1] * k * k, h, w));
}
