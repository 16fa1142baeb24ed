/* Gathering and scattering by indices. */
#include "frontend/onnx/node.h"

#include <string.h>

void veer_onnx_gather(veer_onnx_node_t *n) {
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), veer_onnx_in_type(n, 0).rank);
    n->out[0] = veer_gather(n->b, n->in[0], n->in[1], axis);
}

void veer_onnx_gather_elements(veer_onnx_node_t *n) {
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), veer_onnx_in_type(n, 0).rank);
    n->out[0] = veer_build(n->b, VEER_OP_GATHER_ELEMENTS, n->in, 2, VEER_ATTRS(VEER_INT("axis", axis)));
}

/* i < 0 ? i + dim : i */
static veer_value_t from_start(veer_onnx_node_t *n, veer_value_t i, int64_t dim) {
    veer_dtype_t dtype = veer_onnx_type(n, i).dtype;
    if (!dtype) return VEER_NO_VALUE;
    veer_value_t negative = veer_less(n->b, i, veer_const_scalar(n->b, dtype, 0));
    return veer_where(n->b, negative, veer_add_c(n->b, i, (double)dim), i);
}

/* Index tuples [..., k] over dims[from .. from+k) of the data, as row numbers of the data with those dims made one:
 * [...]. */
static veer_value_t flat_index(veer_onnx_node_t *n, veer_value_t indices, const veer_type_t *data, int from) {
    veer_type_t type = veer_onnx_type(n, indices), lead = type;
    lead.rank--;
    veer_value_t flat = VEER_NO_VALUE;
    int k = (int)type.dims[type.rank - 1];
    for (int i = 0; i < k && veer_onnx_ok(n); i++) {
        veer_value_t part = veer_slice_axis(n->b, indices, type.rank - 1, i, 1, 1);
        part = from_start(n, veer_reshape_like(n->b, part, &lead), data->dims[from + i]);
        flat = flat.i ? veer_add(n->b, veer_mul_c(n->b, flat, (double)data->dims[from + i]), part) : part;
    }
    return flat;
}

static bool tuples_fit(veer_onnx_node_t *n, const veer_type_t *data, const veer_type_t *indices, int batch) {
    int64_t k = indices->rank ? indices->dims[indices->rank - 1] : 0;
    if (indices->rank > batch && k >= 1 && batch + k <= data->rank) return true;
    veer_onnx_fail(n, VEER_ERR_FILE, "index tuples of %lld entries after %d batch dims for data of rank %d",
                   (long long)k, batch, data->rank);
    return false;
}

/* With batch dims B: row numbers get b * rows added, so that one gather over [B * rows, rest] does it. */
static veer_value_t add_batch(veer_onnx_node_t *n, veer_value_t flat, const veer_type_t *data, int batch,
                              int64_t rows) {
    int64_t count = veer_type_count_range(data, 0, batch);
    veer_type_t type = veer_onnx_type(n, flat), shape = {.dtype = VEER_DTYPE_I64, .rank = type.rank};
    if (batch == 0 || !veer_onnx_ok(n)) return flat;
    int64_t *starts = veer_arena_array(n->arena, (size_t)count + 1, sizeof *starts);
    if (!starts) {
        veer_builder_fail(n->b, veer_out_of_memory());
        return VEER_NO_VALUE;
    }
    for (int64_t i = 0; i < count; i++) starts[i] = i * rows;
    for (int i = 0; i < type.rank; i++) shape.dims[i] = i < batch ? type.dims[i] : 1;
    if (veer_type_count(&shape) != count) {
        veer_onnx_fail(n, VEER_ERR_FILE, "batch dims of data and indices differ");
        return VEER_NO_VALUE;
    }
    veer_value_t base = veer_cast(n->b, veer_const(n->b, shape, starts), type.dtype);
    return veer_add(n->b, flat, base);
}

void veer_onnx_gather_nd(veer_onnx_node_t *n) {
    veer_type_t data = veer_onnx_in_type(n, 0), indices = veer_onnx_in_type(n, 1), shape = {0};
    int64_t batch = veer_onnx_attr_int(n, "batch_dims", 0);
    if (batch < 0 || batch >= VEER_MAX_RANK) veer_onnx_fail(n, VEER_ERR_FILE, "batch_dims is %lld", (long long)batch);
    if (!veer_onnx_ok(n) || !tuples_fit(n, &data, &indices, (int)batch)) return;
    int first = (int)batch + (int)indices.dims[indices.rank - 1];
    int64_t rows = veer_type_count_range(&data, (int)batch, first);
    shape.dims[0] = veer_type_count_range(&data, 0, first);
    shape.rank = 1 + data.rank - first;
    for (int i = first; i < data.rank; i++) shape.dims[1 + i - first] = data.dims[i];
    veer_value_t flat = add_batch(n, flat_index(n, n->in[1], &data, (int)batch), &data, (int)batch, rows);
    n->out[0] = veer_gather(n->b, veer_reshape_like(n->b, n->in[0], &shape), flat, 0);
}

/* ---- scatter ---- */

static veer_value_t scatter_add(veer_onnx_node_t *n, veer_value_t data, veer_value_t indices, veer_value_t updates,
                                int axis) {
    return veer_build(n->b, VEER_OP_SCATTER_ADD, VEER_IN(data, indices, updates), VEER_ATTRS(VEER_INT("axis", axis)));
}

/* "add", "mul", "min" and "max" are the IR's own. "none" writes each place at most once (the specification asks for
 * it), so where(times written > 0, sum of what was written, data) is it. */
static veer_value_t scatter(veer_onnx_node_t *n, veer_value_t data, veer_value_t indices, veer_value_t updates,
                            int axis) {
    const char *reduction = veer_onnx_attr_string(n, "reduction", "none");
    if (!strcmp(reduction, "add")) return scatter_add(n, data, indices, updates, axis);
    if (strcmp(reduction, "none"))
        return veer_build(n->b, VEER_OP_SCATTER_REDUCE, VEER_IN(data, indices, updates),
                          VEER_ATTRS(VEER_INT("axis", axis), VEER_STRING("mode", reduction)));
    veer_type_t type = veer_onnx_type(n, data), of_updates = veer_onnx_type(n, updates);
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    veer_dtype_t dtype = type.dtype;
    bool boolean = dtype == VEER_DTYPE_BOOL;
    if (boolean) updates = veer_cast(n->b, updates, VEER_DTYPE_I32);
    type.dtype = boolean ? VEER_DTYPE_I32 : dtype;
    veer_value_t sum = scatter_add(n, veer_zeros(n->b, type), indices, updates, axis);
    type.dtype = of_updates.dtype = VEER_DTYPE_F32;
    veer_value_t zero = veer_zeros(n->b, type);
    veer_value_t times = scatter_add(n, zero, indices, veer_full(n->b, of_updates, 1), axis);
    veer_value_t written = veer_less(n->b, veer_const_f32(n->b, 0), times);
    return veer_where(n->b, written, veer_cast(n->b, sum, dtype), data);
}

void veer_onnx_scatter_elements(veer_onnx_node_t *n) {
    veer_type_t data = veer_onnx_in_type(n, 0), indices = veer_onnx_in_type(n, 1);
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), data.rank);
    if (!veer_onnx_ok(n)) return;
    veer_value_t at = from_start(n, n->in[1], data.dims[axis]);
    if (indices.rank == data.rank)
        n->out[0] = scatter(n, n->in[0], at, n->in[2], axis);
    else
        veer_onnx_fail(n, VEER_ERR_FILE, "indices have %d dims, data has %d", indices.rank, data.rank);
}

/* Data as [rows, rest], index tuples as row numbers [q, rest]. */
void veer_onnx_scatter_nd(veer_onnx_node_t *n) {
    veer_type_t data = veer_onnx_in_type(n, 0), indices = veer_onnx_in_type(n, 1);
    if (!veer_onnx_ok(n) || !tuples_fit(n, &data, &indices, 0)) return;
    int k = (int)indices.dims[indices.rank - 1];
    int64_t rows = veer_type_count_range(&data, 0, k), rest = veer_type_count_range(&data, k, data.rank);
    int64_t count = veer_type_count_range(&indices, 0, indices.rank - 1);
    veer_value_t flat = veer_reshape(n->b, flat_index(n, n->in[1], &data, 0), VEER_DIMS(count, 1));
    flat = veer_broadcast_to(n->b, flat, VEER_DIMS(count, rest));
    veer_value_t updates = veer_reshape(n->b, n->in[2], VEER_DIMS(count, rest));
    veer_value_t y = scatter(n, veer_reshape(n->b, n->in[0], VEER_DIMS(rows, rest)), flat, updates, 0);
    n->out[0] = veer_reshape_like(n->b, y, &data);
}

/* ---- by comparison ---- */

/* where(indices == 0 .. depth-1, on, off), the new axis at `axis`. Since operator set 11 negative indices count from
 * the end, before they are as far outside as any. */
void veer_onnx_one_hot(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), values = veer_onnx_in_type(n, 2), shape = {.dtype = x.dtype};
    int64_t depth = (int64_t)veer_onnx_in_double(n, 1, "depth", 0), iota_dims[VEER_MAX_RANK];
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", -1), x.rank + 1);
    if (veer_onnx_ok(n) &&
        (depth < 0 || depth > 1 << 24 || values.rank != 1 || values.dims[0] != 2 || x.rank + 1 > VEER_MAX_RANK))
        veer_onnx_fail(n, VEER_ERR_FILE, "depth %lld, values of rank %d, indices of rank %d: out of range",
                       (long long)depth, values.rank, x.rank);
    int64_t *iota = veer_onnx_scratch(n, depth, sizeof *iota);
    if (!iota) return;
    for (int64_t i = 0; i < depth; i++) iota[i] = i;
    shape.rank = x.rank + 1;
    for (int i = 0; i < shape.rank; i++) {
        shape.dims[i] = i == axis ? 1 : x.dims[i < axis ? i : i - 1];
        iota_dims[i] = i == axis ? depth : 1;
    }
    veer_value_t at = veer_cast(n->b, n->in[0], VEER_DTYPE_I64);
    if (n->opset >= 11) at = from_start(n, at, depth);
    veer_value_t hit = veer_equal(n->b, veer_reshape(n->b, at, shape.rank, shape.dims),
                                  veer_const(n->b, veer_type_make(VEER_DTYPE_I64, shape.rank, iota_dims), iota));
    veer_value_t off = veer_reshape(n->b, veer_slice_axis(n->b, n->in[2], 0, 0, 1, 1), 0, NULL);
    veer_value_t on = veer_reshape(n->b, veer_slice_axis(n->b, n->in[2], 0, 1, 1, 1), 0, NULL);
    n->out[0] = veer_where(n->b, hit, on, off);
}

/* The rows whose condition holds; the condition decides the shape, so it must be known. */
void veer_onnx_compress(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), condition = veer_onnx_in_type(n, 1);
    const uint8_t *keep = veer_onnx_in_const(n, 1, "condition");
    bool flat = !veer_onnx_attr(n, "axis");
    int axis = flat ? 0 : veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), x.rank), count = 0;
    if (!keep || !veer_onnx_ok(n)) return;
    int64_t dim = flat ? veer_type_count(&x) : x.dims[axis], given = veer_type_count(&condition);
    if (condition.dtype != VEER_DTYPE_BOOL || given > dim || given > INT32_MAX) {
        veer_onnx_fail(n, VEER_ERR_FILE, "condition has %lld entries of %s, expected at most %lld of bool",
                       (long long)given, veer_dtype_name(condition.dtype), (long long)dim);
        return;
    }
    int64_t *rows = veer_arena_array(n->arena, (size_t)given + 1, sizeof *rows);
    if (!rows) veer_builder_fail(n->b, veer_out_of_memory());
    for (int64_t i = 0; rows && i < given; i++)
        if (keep[i]) rows[count++] = i;
    veer_value_t from = flat ? veer_reshape(n->b, n->in[0], 1, &dim) : n->in[0];
    if (rows) n->out[0] = veer_gather(n->b, from, veer_const_ints(n->b, rows, count), axis);
}
