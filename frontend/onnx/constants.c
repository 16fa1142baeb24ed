/* Values that are known at import: constants, shapes, ranges. */
#include "frontend/onnx/node.h"

#include <math.h>
#include <string.h>

static veer_value_t numbers(veer_onnx_node_t *n, veer_dtype_t dtype, int rank, int64_t count, const void *values) {
    return veer_const(n->b, veer_type_make(dtype, rank, &count), values);
}

static void from_tensor(veer_onnx_node_t *n, const VeerOnnx__TensorProto *proto) {
    veer_onnx_tensor_t tensor = veer_onnx_tensor_of(proto);
    veer_status_t status = veer_onnx_tensor_const(n->file, &tensor, true, n->b, &n->out[0]);
    if (status) veer_builder_fail(n->b, status);
}

void veer_onnx_constant(veer_onnx_node_t *n) {
    const VeerOnnx__AttributeProto *attr;
    int count;
    if ((attr = veer_onnx_attr(n, "value")) && attr->t) {
        from_tensor(n, attr->t);
    } else if (veer_onnx_attr(n, "value_float")) {
        n->out[0] = veer_const_f32(n->b, (float)veer_onnx_attr_float(n, "value_float", 0));
    } else if (veer_onnx_attr(n, "value_int")) {
        n->out[0] = veer_const_i64(n->b, veer_onnx_attr_int(n, "value_int", 0));
    } else if (veer_onnx_attr(n, "value_floats")) {
        const float *values = veer_onnx_attr_floats(n, "value_floats", &count);
        if (values) n->out[0] = numbers(n, VEER_DTYPE_F32, 1, count, values);
    } else if (veer_onnx_attr(n, "value_ints")) {
        const int64_t *values = veer_onnx_attr_ints(n, "value_ints", &count);
        if (values) n->out[0] = numbers(n, VEER_DTYPE_I64, 1, count, values);
    } else if (veer_onnx_attr(n, "value_string") || veer_onnx_attr(n, "value_strings") ||
               veer_onnx_attr(n, "sparse_value")) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "strings and sparse tensors are not supported");
    } else if (veer_onnx_ok(n)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "there is no attribute with a value");
    }
}

void veer_onnx_constant_of_shape(veer_onnx_node_t *n) {
    int rank;
    const int64_t *dims = veer_onnx_in_ints(n, 0, "input", &rank);
    const VeerOnnx__AttributeProto *attr = veer_onnx_attr(n, "value");
    if (!dims) return;
    if (rank > VEER_MAX_RANK) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "%d dimensions, at most %d are supported", rank, VEER_MAX_RANK);
        return;
    }
    if (attr && attr->t)
        from_tensor(n, attr->t);
    else
        n->out[0] = veer_const_f32(n->b, 0);
    veer_type_t type = veer_onnx_type(n, n->out[0]);
    if (veer_onnx_ok(n) && veer_type_count(&type) != 1)
        veer_onnx_fail(n, VEER_ERR_FILE, "value has %lld elements, expected 1", (long long)veer_type_count(&type));
    n->out[0] = veer_broadcast_to(n->b, veer_reshape(n->b, n->out[0], 0, NULL), rank, dims);
}

/* Bounds of Shape: clamped to [0, rank]. */
static int64_t bound(int64_t at, int rank) {
    if (at < 0) at += rank;
    return at < 0 ? 0 : at > rank ? rank : at;
}

void veer_onnx_shape(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    int64_t start = bound(veer_onnx_attr_int(n, "start", 0), type.rank);
    int64_t end = bound(veer_onnx_attr_int(n, "end", type.rank), type.rank);
    n->out[0] = veer_const_ints(n->b, type.dims + start, (int)(end > start ? end - start : 0));
}

void veer_onnx_size(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    n->out[0] = veer_const_i64(n->b, veer_type_count(&type));
}

static void store(veer_dtype_t dtype, void *data, int64_t i, double real, int64_t integer) {
    switch (dtype) {
    case VEER_DTYPE_F32: ((float *)data)[i] = (float)real; break;
    case VEER_DTYPE_F64: ((double *)data)[i] = real; break;
    case VEER_DTYPE_I16: ((int16_t *)data)[i] = (int16_t)integer; break;
    case VEER_DTYPE_I32: ((int32_t *)data)[i] = (int32_t)integer; break;
    default: ((int64_t *)data)[i] = integer; break;
    }
}

static int64_t int_steps(int64_t start, int64_t limit, int64_t delta) {
    __int128 span = (__int128)limit - start, steps = delta ? (span + delta - (delta > 0 ? 1 : -1)) / delta : 0;
    return steps <= 0 || (span > 0) != (delta > 0) ? 0 : steps > INT64_MAX ? INT64_MAX : (int64_t)steps;
}

static int64_t real_steps(double start, double limit, double delta) {
    double steps = ceil((limit - start) / delta);
    return steps > 0 ? (steps < 1e18 ? (int64_t)steps : (int64_t)1e18) : 0; /* NaN: none */
}

/* start, start + delta, ... below limit. Known at import, because the number of elements is. */
void veer_onnx_range(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    double v[3];
    int64_t k[3] = {0};
    static const char *const names[] = {"start", "limit", "delta"};
    bool real = veer_dtype_is_float(type.dtype);
    if (type.dtype == VEER_DTYPE_F16 || type.dtype == VEER_DTYPE_BF16 || veer_dtype_size(type.dtype) < 2 ||
        (type.dtype >= VEER_DTYPE_U8)) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "a range of %s is not supported", veer_dtype_name(type.dtype));
        return;
    }
    for (int i = 0; i < 3; i++) {
        v[i] = veer_onnx_in_double(n, i, names[i], 0);
        if (!real) k[i] = veer_onnx_in_int(n, i, names[i], 0);
    }
    if (veer_onnx_ok(n) && v[2] == 0) veer_onnx_fail(n, VEER_ERR_FILE, "delta is 0");
    if (!veer_onnx_ok(n)) return;
    int64_t count = real ? real_steps(v[0], v[1], v[2]) : int_steps(k[0], k[1], k[2]);
    type = veer_type_make(type.dtype, 1, &count);
    void *data = veer_onnx_new_data(n, &type);
    if (!data) return;
    for (int64_t i = 0; i < count; i++)
        store(type.dtype, data, i, v[0] + (double)i * v[2], (int64_t)((uint64_t)k[0] + (uint64_t)i * (uint64_t)k[2]));
    n->out[0] = veer_const_view(n->b, type, data, NULL);
}

void veer_onnx_eye_like(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    int64_t k = veer_onnx_attr_int(n, "k", 0), to = veer_onnx_attr_int(n, "dtype", 0);
    if (type.rank != 2) {
        veer_onnx_fail(n, VEER_ERR_FILE, "input has %d dims, expected 2", type.rank);
        return;
    }
    veer_dtype_t dtype = veer_onnx_attr(n, "dtype") ? veer_onnx_dtype(to) : type.dtype;
    veer_type_t mask = type;
    mask.dtype = VEER_DTYPE_BOOL;
    uint8_t *data = veer_onnx_new_data(n, &mask);
    if (dtype == VEER_DTYPE_NONE) veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "dtype %lld is not supported", (long long)to);
    bool inside = k < type.dims[1] && k > -type.dims[0]; /* some of the diagonal is */
    for (int64_t i = k < 0 ? -k : 0; data && inside && i < type.dims[0] && i + k < type.dims[1]; i++)
        data[i * type.dims[1] + i + k] = 1;
    if (data && veer_onnx_ok(n)) n->out[0] = veer_cast(n->b, veer_const_view(n->b, mask, data, NULL), dtype);
}

static bool is_zero(const veer_type_t *type, const void *data, int64_t i) {
    return veer_onnx_element(type, data, i) == 0;
}

/* Indices of the elements that are not zero, one column each. Their number is the shape, so the input must be known. */
void veer_onnx_non_zero(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    const void *data = veer_onnx_in_const(n, 0, "X");
    if (!data) return;
    int64_t total = veer_type_count(&type), count = 0, column = 0, strides[VEER_MAX_RANK];
    veer_type_strides(&type, strides);
    for (int64_t i = 0; i < total; i++) count += !is_zero(&type, data, i);
    veer_type_t out = VEER_TYPE(VEER_DTYPE_I64, type.rank, count);
    int64_t *indices = veer_onnx_new_data(n, &out);
    for (int64_t i = 0; indices && i < total; i++) {
        if (is_zero(&type, data, i)) continue;
        for (int d = 0; d < type.rank; d++) indices[d * count + column] = i / strides[d] % type.dims[d];
        column++;
    }
    if (indices) n->out[0] = veer_const_view(n->b, out, indices, NULL);
}
