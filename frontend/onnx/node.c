#include "frontend/onnx/node.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the table ---- */

static const veer_onnx_op_t ops[] = {
#define VEER_ONNX_OP_IN(domain, op_type, since, min_in, max_in, max_out, function, param)                              \
    {#op_type, domain, since, min_in, max_in, max_out, veer_onnx_##function, param},
#define VEER_ONNX_OP(...) VEER_ONNX_OP_IN("", __VA_ARGS__)
#include "frontend/onnx/ops.def"
#undef VEER_ONNX_OP
};

const veer_onnx_op_t *veer_onnx_op_at(int i) {
    return i >= 0 && (size_t)i < sizeof ops / sizeof *ops ? &ops[i] : NULL;
}

const veer_onnx_op_t *veer_onnx_op_find(const char *op_type, const char *domain) {
    if (!strcmp(domain, "ai.onnx")) domain = "";
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(ops[i].op_type, op_type) && !strcmp(ops[i].domain, domain)) return &ops[i];
    return NULL;
}

/* ---- types ---- */

bool veer_onnx_wants(const veer_onnx_node_t *n, int i) {
    return (size_t)i < n->proto->n_output && *n->proto->output[i];
}

bool veer_onnx_has_in(const veer_onnx_node_t *n, int i) {
    return i < n->in_count && n->in[i].i;
}

veer_type_t veer_onnx_type(const veer_onnx_node_t *n, veer_value_t value) {
    return value.i ? *veer_builder_type(n->b, value) : (veer_type_t){0};
}

int veer_onnx_axis(veer_onnx_node_t *n, int64_t axis, int rank) {
    if (axis >= -rank && axis < rank) return (int)(axis < 0 ? axis + rank : axis);
    veer_onnx_fail(n, VEER_ERR_FILE, "axis %lld is out of range for rank %d", (long long)axis, rank);
    return 0;
}

int veer_onnx_axes(veer_onnx_node_t *n, const int64_t *axes, int count, int rank, int64_t *out_axes) {
    bool taken[VEER_MAX_RANK] = {false};
    int found = 0;
    for (int i = 0; i < count && veer_onnx_ok(n) && rank > 0; i++) {
        int axis = veer_onnx_axis(n, axes[i], rank);
        if (taken[axis]) veer_onnx_fail(n, VEER_ERR_FILE, "axis %d is given twice", axis);
        taken[axis] = true;
    }
    if (rank == 0 && count > 0) veer_onnx_fail(n, VEER_ERR_FILE, "axes are given for a scalar");
    for (int i = 0; i < rank; i++)
        if (taken[i]) out_axes[found++] = i;
    return veer_onnx_ok(n) ? found : 0;
}

/* ---- attributes ---- */

static const VeerOnnx__AttributeProto *find(VeerOnnx__AttributeProto **attributes, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (attributes[i]->name && !strcmp(attributes[i]->name, name)) return attributes[i];
    return NULL;
}

const VeerOnnx__AttributeProto *veer_onnx_attr(const veer_onnx_node_t *n, const char *name) {
    const VeerOnnx__AttributeProto *attr = find(n->proto->attribute, n->proto->n_attribute, name);
    if (!attr || !attr->ref_attr_name || !*attr->ref_attr_name) return attr;
    const char *outer = attr->ref_attr_name;
    if (!n->caller) {
        veer_onnx_fail(n, VEER_ERR_FILE, "attribute '%s' refers to '%s' of a function, but stands in none", name,
                       outer);
        return NULL;
    }
    attr = veer_onnx_attr(n->caller, outer);
    return attr ? attr : find(n->function->attribute_proto, n->function->n_attribute_proto, outer);
}

static const char *const attr_types[] = {
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED] = "UNDEFINED",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT] = "FLOAT",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT] = "INT",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING] = "STRING",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR] = "TENSOR",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH] = "GRAPH",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS] = "FLOATS",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS] = "INTS",
    [VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS] = "STRINGS",
};

/* Files of early versions have no type; then the field that is read decides. */
static const VeerOnnx__AttributeProto *typed(veer_onnx_node_t *n, const char *name, int type) {
    const VeerOnnx__AttributeProto *attr = veer_onnx_attr(n, name);
    if (!attr || !attr->has_type || attr->type == VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED ||
        (int)attr->type == type)
        return attr;
    size_t known = sizeof attr_types / sizeof *attr_types;
    veer_onnx_fail(n, VEER_ERR_FILE, "attribute '%s' is of type %s, expected %s", name,
                   (size_t)attr->type < known ? attr_types[attr->type] : "other", attr_types[type]);
    return NULL;
}

int64_t veer_onnx_attr_int(veer_onnx_node_t *n, const char *name, int64_t missing) {
    const VeerOnnx__AttributeProto *attr = typed(n, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    return attr ? attr->i : missing;
}

double veer_onnx_attr_float(veer_onnx_node_t *n, const char *name, double missing) {
    const VeerOnnx__AttributeProto *attr = typed(n, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    return attr ? (double)attr->f : missing;
}

const char *veer_onnx_attr_string(veer_onnx_node_t *n, const char *name, const char *missing) {
    const VeerOnnx__AttributeProto *attr = typed(n, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    if (!attr || !attr->s.len) return missing;
    const char *text = veer_arena_strndup(n->arena, (const char *)attr->s.data, attr->s.len);
    if (!text) veer_builder_fail(n->b, veer_out_of_memory());
    return text ? text : missing;
}

const int64_t *veer_onnx_attr_ints(veer_onnx_node_t *n, const char *name, int *out_count) {
    static const int64_t none[1];
    const VeerOnnx__AttributeProto *attr = typed(n, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    *out_count = attr ? (int)attr->n_ints : 0;
    return !attr ? NULL : attr->n_ints ? attr->ints : none;
}

const float *veer_onnx_attr_floats(veer_onnx_node_t *n, const char *name, int *out_count) {
    static const float none[1];
    const VeerOnnx__AttributeProto *attr = typed(n, name, VEER_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);
    *out_count = attr ? (int)attr->n_floats : 0;
    return !attr ? NULL : attr->n_floats ? attr->floats : none;
}

/* ---- constant inputs ---- */

const void *veer_onnx_in_const(veer_onnx_node_t *n, int i, const char *name) {
    if (!veer_onnx_has_in(n, i)) return NULL;
    const void *data = veer_value_const_data(n->b->graph, n->in[i]);
    if (data) return data;
    veer_builder_fail(
        n->b,
        veer_status_help(veer_error(VEER_ERR_UNSUPPORTED, "input '%s' must be known when the model is imported", name),
                         "export with constant shapes, or bind the model input that it depends on"));
    return NULL;
}

static double half_to_double(uint16_t h) {
    int exponent = h >> 10 & 31;
    double fraction = h & 1023, sign = h >> 15 ? -1 : 1;
    if (exponent == 31) return fraction != 0 ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static double bfloat_to_double(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return (double)value;
}

double veer_onnx_element(const veer_type_t *type, const void *data, int64_t i) {
    switch (type->dtype) {
    case VEER_DTYPE_F32: return (double)((const float *)data)[i];
    case VEER_DTYPE_F64: return ((const double *)data)[i];
    case VEER_DTYPE_F16: return half_to_double(((const uint16_t *)data)[i]);
    case VEER_DTYPE_BF16: return bfloat_to_double(((const uint16_t *)data)[i]);
    case VEER_DTYPE_I8: return ((const int8_t *)data)[i];
    case VEER_DTYPE_I16: return ((const int16_t *)data)[i];
    case VEER_DTYPE_I32: return ((const int32_t *)data)[i];
    case VEER_DTYPE_I64: return (double)((const int64_t *)data)[i];
    case VEER_DTYPE_U16: return ((const uint16_t *)data)[i];
    case VEER_DTYPE_U32: return ((const uint32_t *)data)[i];
    case VEER_DTYPE_U64: return (double)((const uint64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
    }
}

/* Room for the elements of a constant input, which must be few: shapes, axes, bounds. */
static void *room(veer_onnx_node_t *n, int i, const char *name, const void **out_data, int *out_count) {
    *out_count = 0;
    const void *data = veer_onnx_in_const(n, i, name);
    if (!data) return NULL;
    veer_type_t type = veer_onnx_in_type(n, i);
    int64_t count = veer_type_count(&type);
    if (count > 1 << 20) {
        veer_onnx_fail(n, VEER_ERR_FILE, "input '%s' has %lld values", name, (long long)count);
        return NULL;
    }
    void *values = veer_arena_array(n->arena, (size_t)count + 1, sizeof(int64_t));
    if (!values) veer_builder_fail(n->b, veer_out_of_memory());
    *out_data = data;
    *out_count = values ? (int)count : 0;
    return values;
}

const double *veer_onnx_in_doubles(veer_onnx_node_t *n, int i, const char *name, int *out_count) {
    const void *data;
    double *values = room(n, i, name, &data, out_count);
    if (!values) return NULL;
    veer_type_t type = veer_onnx_in_type(n, i);
    for (int k = 0; k < *out_count; k++) values[k] = veer_onnx_element(&type, data, k);
    return values;
}

const int64_t *veer_onnx_in_ints(veer_onnx_node_t *n, int i, const char *name, int *out_count) {
    const void *data;
    int64_t *values = room(n, i, name, &data, out_count);
    if (!values) return NULL;
    veer_type_t type = veer_onnx_in_type(n, i);
    if (!veer_dtype_is_integer(type.dtype)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "input '%s' is %s, expected integers", name, veer_dtype_name(type.dtype));
        *out_count = 0;
        return NULL;
    }
    for (int k = 0; k < *out_count; k++) /* a double holds no 64-bit integer */
        values[k] = type.dtype == VEER_DTYPE_I64 || type.dtype == VEER_DTYPE_U64
                        ? ((const int64_t *)data)[k]
                        : (int64_t)veer_onnx_element(&type, data, k);
    return values;
}

int64_t veer_onnx_in_int(veer_onnx_node_t *n, int i, const char *name, int64_t missing) {
    int count;
    const int64_t *values = veer_onnx_in_ints(n, i, name, &count);
    if (values && count != 1) veer_onnx_fail(n, VEER_ERR_FILE, "input '%s' has %d values, expected 1", name, count);
    return values && count == 1 ? values[0] : missing;
}

double veer_onnx_in_double(veer_onnx_node_t *n, int i, const char *name, double missing) {
    int count;
    const double *values = veer_onnx_in_doubles(n, i, name, &count);
    if (values && count != 1) veer_onnx_fail(n, VEER_ERR_FILE, "input '%s' has %d values, expected 1", name, count);
    return values && count == 1 ? values[0] : missing;
}

const int64_t *veer_onnx_in_or_attr_ints(veer_onnx_node_t *n, int i, const char *name, int moved, int *out_count) {
    if (n->opset < moved) return veer_onnx_attr_ints(n, name, out_count);
    return veer_onnx_in_ints(n, i, name, out_count);
}

void *veer_onnx_new_data(veer_onnx_node_t *n, const veer_type_t *type) {
    veer_status_t status = veer_type_check(type);
    if (!status) status = veer_onnx_file_count_constant(n->file, veer_type_bytes(type));
    void *data = status ? NULL : veer_arena_alloc(veer_graph_arena(n->b->graph), veer_type_bytes(type) + 1);
    if (!status && !data) status = veer_out_of_memory();
    if (status) veer_builder_fail(n->b, status);
    return data;
}

void *veer_onnx_scratch(veer_onnx_node_t *n, int64_t count, size_t size) {
    if (!veer_onnx_ok(n)) return NULL;
    bool sane = count >= 0 && count <= VEER_MAX_TENSOR_BYTES / (int64_t)size;
    veer_status_t status = sane
                               ? veer_onnx_file_count_constant(n->file, (size_t)count * size)
                               : veer_error(VEER_ERR_UNSUPPORTED,
                                            "%lld numbers would have to be computed while importing", (long long)count);
    void *data = status ? NULL : veer_arena_array(n->arena, (size_t)count + 1, size);
    if (!data) veer_builder_fail(n->b, status ? status : veer_out_of_memory());
    return data;
}

veer_value_t veer_onnx_iota(veer_onnx_node_t *n, int64_t count, int axis, int rank) {
    veer_type_t type = {.dtype = VEER_DTYPE_I64, .rank = rank};
    for (int i = 0; i < rank; i++) type.dims[i] = i == axis ? count : 1;
    int64_t *values = veer_onnx_scratch(n, count, sizeof *values);
    for (int64_t i = 0; values && i < count; i++) values[i] = i;
    return values ? veer_const(n->b, type, values) : VEER_NO_VALUE;
}

veer_value_t veer_onnx_const_doubles(veer_onnx_node_t *n, veer_type_t type, const double *values) {
    veer_type_t stored = type;
    stored.dtype = type.dtype == VEER_DTYPE_F64 ? VEER_DTYPE_F64 : VEER_DTYPE_F32;
    int64_t count = veer_type_count(&type);
    void *data = veer_onnx_new_data(n, &stored);
    if (!data) return VEER_NO_VALUE;
    for (int64_t i = 0; i < count; i++)
        if (stored.dtype == VEER_DTYPE_F64)
            ((double *)data)[i] = values[i];
        else
            ((float *)data)[i] = (float)values[i];
    return veer_cast(n->b, veer_const_view(n->b, stored, data, NULL), type.dtype);
}

veer_dtype_t veer_onnx_attr_dtype(veer_onnx_node_t *n, const char *name, veer_dtype_t missing) {
    char text[32];
    if (!veer_onnx_attr(n, name)) return missing;
    int64_t type = veer_onnx_attr_int(n, name, 0);
    veer_dtype_t dtype = veer_onnx_dtype(type);
    if (dtype == VEER_DTYPE_NONE)
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "%s is %s, which is not supported", name,
                       veer_onnx_dtype_name(type, text));
    return dtype;
}

veer_value_t veer_onnx_along(veer_onnx_node_t *n, veer_value_t x, int axis, int rank) {
    veer_type_t type = veer_onnx_type(n, x);
    int64_t dims[VEER_MAX_RANK], count = veer_type_count(&type);
    if (!veer_onnx_ok(n) || !x.i) return VEER_NO_VALUE;
    if (count == 1 && type.rank <= 1) return veer_reshape(n->b, x, 0, NULL);
    for (int i = 0; i < rank; i++) dims[i] = i == axis ? count : 1;
    if (type.rank == 1) return veer_reshape(n->b, x, rank, dims);
    veer_onnx_fail(n, VEER_ERR_FILE, "a scale or zero point has %d dims, expected 0 or 1", type.rank);
    return VEER_NO_VALUE;
}
