/* Kernels that move elements. */
#include "backends/reference/kernel.h"
#include "ir/half.h"

#include <math.h>
#include <string.h>

veer_kernel_result_t veer_reference_reshape(veer_reference_call_t *c) {
    memcpy(c->out[0].data, c->in[0].data, veer_type_bytes(&c->out[0].type));
    return VEER_KERNEL_OK;
}

/* y in row-major order, x by the walk's first operand. */
static veer_kernel_result_t copy_walk(veer_reference_call_t *c, veer_walk_t w) {
    for (; w.i < w.count; veer_walk_next(&w)) veer_copy_element(&c->out[0], w.i, &c->in[0], w.at[0]);
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_transpose(veer_reference_call_t *c) {
    int rank;
    int64_t strides[VEER_MAX_RANK];
    const int64_t *perm = veer_call_ints(c, "perm", &rank);
    veer_type_strides(&c->in[0].type, strides);
    veer_walk_t w = veer_walk(&c->out[0].type, 1);
    for (int i = 0; i < rank; i++) w.strides[0][i] = strides[perm[i]];
    return copy_walk(c, w);
}

veer_kernel_result_t veer_reference_broadcast(veer_reference_call_t *c) {
    return copy_walk(c, veer_walk_broadcast(&c->out[0].type, c->in, 1));
}

veer_kernel_result_t veer_reference_slice(veer_reference_call_t *c) {
    int rank;
    int64_t strides[VEER_MAX_RANK];
    const int64_t *starts = veer_call_ints(c, "starts", &rank), *steps = veer_call_ints(c, "steps", &rank);
    veer_type_strides(&c->in[0].type, strides);
    veer_walk_t w = veer_walk(&c->out[0].type, 1);
    for (int i = 0; i < rank; i++) {
        w.at[0] += starts[i] * strides[i];
        w.strides[0][i] = w.dims[i] > 1 ? steps[i] * strides[i] : 0; /* one element: its step may be anything */
    }
    return copy_walk(c, w);
}

veer_kernel_result_t veer_reference_concat(veer_reference_call_t *c) {
    const veer_type_t *y = &c->out[0].type;
    int axis = (int)veer_call_int(c, "axis");
    size_t size_bytes = veer_dtype_size(y->dtype),
           row_bytes = (size_t)veer_type_count_range(y, axis, y->rank) * size_bytes;
    int64_t outer = veer_type_count_range(y, 0, axis);
    char *dst = c->out[0].data;
    for (int k = 0; k < c->in_count; k++) {
        size_t part_bytes = (size_t)veer_type_count_range(&c->in[k].type, axis, y->rank) * size_bytes;
        if (part_bytes == 0) continue;
        for (int64_t i = 0; i < outer; i++)
            memcpy(dst + (size_t)i * row_bytes, (const char *)c->in[k].data + (size_t)i * part_bytes, part_bytes);
        dst += part_bytes;
    }
    return VEER_KERNEL_OK;
}

/* ---- pad ---- */
/* The index in [0, n) that position i, outside it or not, repeats; -1 for the constant. */
static int64_t pad_source(int64_t i, int64_t n, char mode) {
    if (i >= 0 && i < n) return i;
    if (mode == 'c') return -1;
    if (mode == 'e') return i < 0 ? 0 : n - 1;
    int64_t period = mode == 'w' ? n : n > 1 ? 2 * (n - 1) : 1, at = (i % period + period) % period;
    return at < n ? at : period - at;
}

static void store_constant(const veer_tensor_t *y, int64_t i, double value) {
    if (veer_is_exact(y))
        veer_store_int(y, i, y->type.dtype == VEER_DTYPE_BOOL ? value != 0 : veer_int64_from_double(value));
    else
        veer_store_double(y, i, value);
}

veer_kernel_result_t veer_reference_pad(veer_reference_call_t *c) {
    int rank;
    const int64_t *before = veer_call_ints(c, "before", &rank);
    char mode = veer_call_string(c, "mode")[0];
    double value = veer_call_float(c, "value");
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(&c->in[0].type, strides);
    for (veer_walk_t w = veer_walk(&c->out[0].type, 0); w.i < w.count; veer_walk_next(&w)) {
        int64_t from = 0;
        for (int k = 0; k < rank && from >= 0; k++) {
            int64_t source = pad_source(w.index[k] - before[k], c->in[0].type.dims[k], mode);
            from = source < 0 ? -1 : from + source * strides[k];
        }
        if (from < 0)
            store_constant(&c->out[0], w.i, value);
        else
            veer_copy_element(&c->out[0], w.i, &c->in[0], from);
    }
    return VEER_KERNEL_OK;
}

/* ---- by index ---- */
veer_kernel_result_t veer_reference_step_slice(veer_reference_call_t *c) {
    int64_t row, rows = c->in[0].type.dims[0];
    size_t row_bytes = veer_type_bytes(&c->out[0].type);
    if (!veer_load_index(c, &c->in[1], 0, rows, &row)) return VEER_KERNEL_INDEX;
    memcpy(c->out[0].data, (const char *)c->in[0].data + (size_t)row * row_bytes, row_bytes);
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_gather(veer_reference_call_t *c) {
    const veer_type_t *data = &c->in[0].type;
    int axis = (int)veer_call_int(c, "axis");
    int64_t outer = veer_type_count_range(data, 0, axis), limit = data->dims[axis], row;
    int64_t indices = veer_type_count(&c->in[1].type);
    size_t row_bytes = (size_t)veer_type_count_range(data, axis + 1, data->rank) * veer_dtype_size(data->dtype);
    char *dst = c->out[0].data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < indices; i++, dst += row_bytes) {
            if (!veer_load_index(c, &c->in[1], i, limit, &row)) return VEER_KERNEL_INDEX;
            memcpy(dst, (const char *)c->in[0].data + (size_t)(o * limit + row) * row_bytes, row_bytes);
        }
    return VEER_KERNEL_OK;
}

/* A walk over the indices whose operand 0 is the place in data without its index along `axis`. */
static veer_walk_t element_walk(const veer_reference_call_t *c, int axis, int64_t *out_axis_stride) {
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(&c->in[0].type, strides);
    veer_walk_t w = veer_walk(&c->in[1].type, 1);
    for (int i = 0; i < w.rank; i++) w.strides[0][i] = i == axis ? 0 : strides[i];
    *out_axis_stride = strides[axis];
    return w;
}

veer_kernel_result_t veer_reference_gather_elements(veer_reference_call_t *c) {
    int axis = (int)veer_call_int(c, "axis");
    int64_t stride, index;
    for (veer_walk_t w = element_walk(c, axis, &stride); w.i < w.count; veer_walk_next(&w)) {
        if (!veer_load_index(c, &c->in[1], w.i, c->in[0].type.dims[axis], &index)) return VEER_KERNEL_INDEX;
        veer_copy_element(&c->out[0], w.i, &c->in[0], w.at[0] + index * stride);
    }
    return VEER_KERNEL_OK;
}

/* Floats add up in the scratch, a double per element of y, and are rounded once; integers add up in y itself. */
veer_kernel_result_t veer_reference_scatter_add(veer_reference_call_t *c) {
    const veer_tensor_t *y = &c->out[0], *updates = &c->in[2];
    int axis = (int)veer_call_int(c, "axis");
    int64_t stride, index, count = veer_type_count(&y->type);
    double *sums = veer_is_exact(y) ? NULL : c->scratch;
    memcpy(y->data, c->in[0].data, veer_type_bytes(&y->type));
    for (int64_t i = 0; sums && i < count; i++) sums[i] = veer_load_double(y, i);
    for (veer_walk_t w = element_walk(c, axis, &stride); w.i < w.count; veer_walk_next(&w)) {
        if (!veer_load_index(c, &c->in[1], w.i, c->in[0].type.dims[axis], &index)) return VEER_KERNEL_INDEX;
        int64_t to = w.at[0] + index * stride;
        if (sums)
            sums[to] += veer_load_double(updates, w.i);
        else
            veer_store_int(y, to, (int64_t)((uint64_t)veer_load_int(y, to) + (uint64_t)veer_load_int(updates, w.i)));
    }
    for (int64_t i = 0; sums && i < count; i++) veer_store_double(y, i, sums[i]);
    return VEER_KERNEL_OK;
}

typedef double (*join_f)(double a, double b);

static double mul_f(double a, double b) {
    return a * b;
}
static double min_f(double a, double b) {
    return isnan(a) || a < b ? a : b;
}
static double max_f(double a, double b) {
    return isnan(a) || a > b ? a : b;
}

static int64_t join_ints(char mode, int64_t a, int64_t b, bool is_u64) {
    bool less = is_u64 ? (uint64_t)a < (uint64_t)b : a < b;
    if (mode == 'u') return (int64_t)((uint64_t)a * (uint64_t)b);
    return less == (mode == 'i') ? a : b;
}

/* Floats as in scatter_add. The second letter of the mode tells them apart. */
veer_kernel_result_t veer_reference_scatter_reduce(veer_reference_call_t *c) {
    const veer_tensor_t *y = &c->out[0], *updates = &c->in[2];
    int axis = (int)veer_call_int(c, "axis");
    char mode = veer_call_string(c, "mode")[1];
    join_f join = mode == 'u' ? mul_f : mode == 'i' ? min_f : max_f;
    int64_t stride, index, count = veer_type_count(&y->type);
    double *values = veer_is_exact(y) ? NULL : c->scratch;
    memcpy(y->data, c->in[0].data, veer_type_bytes(&y->type));
    for (int64_t i = 0; values && i < count; i++) values[i] = veer_load_double(y, i);
    for (veer_walk_t w = element_walk(c, axis, &stride); w.i < w.count; veer_walk_next(&w)) {
        if (!veer_load_index(c, &c->in[1], w.i, c->in[0].type.dims[axis], &index)) return VEER_KERNEL_INDEX;
        int64_t to = w.at[0] + index * stride;
        if (values)
            values[to] = join(values[to], veer_load_double(updates, w.i));
        else
            veer_store_int(y, to, join_ints(mode, veer_load_int(y, to), veer_load_int(updates, w.i), veer_is_u64(y)));
    }
    for (int64_t i = 0; values && i < count; i++) veer_store_double(y, i, values[i]);
    return VEER_KERNEL_OK;
}
