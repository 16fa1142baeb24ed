/* Tensors of an ONNX file: types, values in all the forms the format has, external data. */
#include "frontend/onnx_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian and used in place");

struct veer_onnx_map_s {
    veer_onnx_map_t *next;
    const char *location;     /* as the model spells it; in the arena */
    veer_mapped_file_t *file; /* NULL: it cannot be opened, which has been said */
    bool given;               /* to a graph, which closes it */
};

static const struct {
    const char *name;
    veer_dtype_t dtype;
} data_types[] = {
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED] = {"UNDEFINED", VEER_DTYPE_NONE},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT] = {"FLOAT", VEER_DTYPE_F32},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__UINT8] = {"UINT8", VEER_DTYPE_U8},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__INT8] = {"INT8", VEER_DTYPE_I8},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__UINT16] = {"UINT16", VEER_DTYPE_U16},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__INT16] = {"INT16", VEER_DTYPE_I16},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__INT32] = {"INT32", VEER_DTYPE_I32},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__INT64] = {"INT64", VEER_DTYPE_I64},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__STRING] = {"STRING", VEER_DTYPE_NONE},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__BOOL] = {"BOOL", VEER_DTYPE_BOOL},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16] = {"FLOAT16", VEER_DTYPE_F16},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE] = {"DOUBLE", VEER_DTYPE_F64},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__UINT32] = {"UINT32", VEER_DTYPE_U32},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__UINT64] = {"UINT64", VEER_DTYPE_U64},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX64] = {"COMPLEX64", VEER_DTYPE_NONE},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX128] = {"COMPLEX128", VEER_DTYPE_NONE},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16] = {"BFLOAT16", VEER_DTYPE_BF16},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT8E4M3FN] = {"FLOAT8E4M3FN", VEER_DTYPE_F8E4M3FN},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT8E4M3FNUZ] = {"FLOAT8E4M3FNUZ", VEER_DTYPE_F8E4M3FNUZ},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT8E5M2] = {"FLOAT8E5M2", VEER_DTYPE_F8E5M2},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT8E5M2FNUZ] = {"FLOAT8E5M2FNUZ", VEER_DTYPE_F8E5M2FNUZ},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__UINT4] = {"UINT4", VEER_DTYPE_U4},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__INT4] = {"INT4", VEER_DTYPE_I4},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT4E2M1] = {"FLOAT4E2M1", VEER_DTYPE_NONE},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT8E8M0] = {"FLOAT8E8M0", VEER_DTYPE_NONE},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__UINT2] = {"UINT2", VEER_DTYPE_NONE},
    [VEER_ONNX__TENSOR_PROTO__DATA_TYPE__INT2] = {"INT2", VEER_DTYPE_NONE},
};
enum { DATA_TYPE_COUNT = sizeof data_types / sizeof *data_types };

veer_dtype_t veer_onnx_dtype(int64_t data_type) {
    return data_type >= 0 && data_type < DATA_TYPE_COUNT ? data_types[data_type].dtype : VEER_DTYPE_NONE;
}

int32_t veer_onnx_data_type_of(veer_dtype_t dtype) {
    for (int32_t i = 0; i < DATA_TYPE_COUNT; i++)
        if (data_types[i].dtype == dtype) return i;
    return 0;
}

const char *veer_onnx_dtype_name(int64_t data_type, char out_text[32]) {
    if (data_type >= 0 && data_type < DATA_TYPE_COUNT) return data_types[data_type].name;
    snprintf(out_text, 32, "data type %lld", (long long)data_type);
    return out_text;
}

veer_onnx_tensor_t veer_onnx_tensor_of(const VeerOnnx__TensorProto *proto) {
    return (veer_onnx_tensor_t){
        .proto = proto,
        .raw = proto->has_raw_data ? (proto->raw_data.data ? proto->raw_data.data : (const uint8_t *)"") : NULL,
        .raw_bytes = proto->has_raw_data ? proto->raw_data.len : 0,
        .external = proto->data_location == VEER_ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL};
}

veer_status_t veer_onnx_tensor_type(const veer_onnx_tensor_t *tensor, veer_type_t *out_type) {
    const VeerOnnx__TensorProto *proto = tensor->proto;
    char text[32];
    veer_dtype_t dtype = veer_onnx_dtype(proto->data_type);
    if (dtype == VEER_DTYPE_NONE)
        return veer_error(VEER_ERR_UNSUPPORTED, "tensor elements of type %s are not supported",
                          veer_onnx_dtype_name(proto->data_type, text));
    if (proto->n_dims > VEER_MAX_RANK)
        return veer_error(VEER_ERR_UNSUPPORTED, "tensor has %zu dimensions, at most %d are supported", proto->n_dims,
                          VEER_MAX_RANK);
    for (size_t i = 0; i < proto->n_dims; i++)
        if (proto->dims[i] < 0)
            return veer_error(VEER_ERR_FILE, "dimension %zu of the tensor is %lld, expected at least 0", i,
                              (long long)proto->dims[i]);
    veer_type_t type = veer_type_make(dtype, (int)proto->n_dims, proto->dims);
    VEER_TRY(veer_type_check(&type));
    *out_type = type;
    return veer_ok();
}

/* ---- external data ---- */

static const char *external_entry(const VeerOnnx__TensorProto *proto, const char *key) {
    for (size_t i = 0; i < proto->n_external_data; i++)
        if (!strcmp(proto->external_data[i]->key ? proto->external_data[i]->key : "", key))
            return proto->external_data[i]->value;
    return NULL;
}

static veer_status_t external_number(const VeerOnnx__TensorProto *proto, const char *key, size_t missing,
                                     size_t *out_number) {
    const char *text = external_entry(proto, key);
    *out_number = missing;
    if (!text) return veer_ok();
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || number > SIZE_MAX / 2)
        return veer_error(VEER_ERR_FILE, "%s '%s' of external data is no number of bytes", key, text);
    *out_number = (size_t)number;
    return veer_ok();
}

/* A location is a path below the model's folder; nothing else may be read because a model says so. */
static bool stays_inside(const char *location) {
    if (!*location || *location == '/') return false;
    for (const char *part = location; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (!strncmp(part, "..", 2) && (part[2] == '/' || !part[2])) return false;
    return true;
}

static veer_status_t escapes(const char *location) {
    return veer_status_help(veer_error(VEER_ERR_FILE, "external data '%s' is outside of the model's folder", location),
                            "external data must be a file in the folder of the model or below it");
}

/* Joins folder and location, and resolves symbolic links: the file they lead to must be below the folder, too. */
static veer_status_t resolve(const char *model_path, const char *location, char *out_path) {
    char folder[PATH_MAX], joined[PATH_MAX];
    const char *slash = strrchr(model_path, '/');
    snprintf(joined, sizeof joined, "%.*s", slash ? (int)(slash - model_path + 1) : 2, slash ? model_path : "./");
    if (!realpath(joined, folder)) return veer_error(VEER_ERR_FILE, "%s: %s", joined, strerror(errno));
    size_t length = strlen(folder);
    int wrote = snprintf(joined, sizeof joined, "%s/%s", folder, location);
    if (wrote < 0 || (size_t)wrote >= sizeof joined)
        return veer_error(VEER_ERR_FILE, "external data has a path of %d bytes, more than the system takes", wrote);
    if (!realpath(joined, out_path))
        return veer_status_help(
            veer_error(VEER_ERR_FILE, "external data '%s' cannot be opened: %s", location, strerror(errno)),
            "put the file next to the model, it belongs to it");
    if (strncmp(out_path, folder, length) || (out_path[length] != '/' && length > 1)) return escapes(location);
    return veer_ok();
}

static veer_onnx_map_t *find_map(const veer_onnx_file_t *file, const char *location) {
    veer_onnx_map_t *map = file->external;
    while (map && strcmp(map->location, location)) map = map->next;
    return map;
}

bool veer_onnx_tensor_known_missing(const veer_onnx_file_t *file, const veer_onnx_tensor_t *tensor) {
    const char *location = tensor->external ? external_entry(tensor->proto, "location") : NULL;
    const veer_onnx_map_t *map = location ? find_map(file, location) : NULL;
    return map && !map->file;
}

static veer_status_t open_external(veer_onnx_file_t *file, const char *location, const veer_mapped_file_t **out_file) {
    const veer_onnx_map_t *known = find_map(file, location);
    if (known && known->file) return *out_file = known->file, veer_ok();
    veer_onnx_map_t *map = veer_arena_alloc(&file->arena, sizeof *map);
    if (!map || !(map->location = veer_arena_strdup(&file->arena, location))) return veer_out_of_memory();
    map->next = file->external;
    file->external = map;
    char path[PATH_MAX];
    if (!file->path) return veer_error(VEER_ERR_FILE, "external data '%s': a model in memory has no folder", location);
    if (!stays_inside(location)) return escapes(location);
    VEER_TRY(resolve(file->path, location, path));
    VEER_TRY(veer_mapped_file_open(file->arena.allocator, path, &map->file));
    *out_file = map->file;
    return veer_ok();
}

veer_status_t veer_onnx_tensor_locate(veer_onnx_file_t *file, veer_onnx_tensor_t *tensor, size_t size_bytes) {
    const char *location = external_entry(tensor->proto, "location");
    if (!location) return veer_error(VEER_ERR_FILE, "external data has no location");
    size_t offset, length;
    const veer_mapped_file_t *map;
    VEER_TRY(external_number(tensor->proto, "offset", 0, &offset));
    VEER_TRY(external_number(tensor->proto, "length", size_bytes, &length));
    VEER_TRY(open_external(file, location, &map));
    if (offset > map->size_bytes || length > map->size_bytes - offset)
        return veer_error(VEER_ERR_FILE, "external data '%s' has %zu bytes, bytes %zu to %zu are asked for", location,
                          map->size_bytes, offset, offset + length);
    tensor->raw = map->bytes ? map->bytes + offset : (const uint8_t *)"";
    tensor->raw_bytes = length;
    tensor->holder = map;
    return veer_ok();
}

/* ---- values ---- */

/* The typed field that holds values of a dtype: 32 or 64 bits wide, whatever the dtype's own width. */
typedef struct {
    const char *name;
    const void *values;
    size_t wide, count;
} typed_t;

static typed_t typed_field(const VeerOnnx__TensorProto *p, veer_dtype_t dtype) {
    switch (dtype) {
    case VEER_DTYPE_F32: return (typed_t){"float_data", p->float_data, 4, p->n_float_data};
    case VEER_DTYPE_F64: return (typed_t){"double_data", p->double_data, 8, p->n_double_data};
    case VEER_DTYPE_I64: return (typed_t){"int64_data", p->int64_data, 8, p->n_int64_data};
    case VEER_DTYPE_U32:
    case VEER_DTYPE_U64: return (typed_t){"uint64_data", p->uint64_data, 8, p->n_uint64_data};
    default: return (typed_t){"int32_data", p->int32_data, 4, p->n_int32_data};
    }
}

/* Bytes in the file, and values in a typed field: two of four bits share one. */
static size_t stored_count(const veer_type_t *type) {
    size_t count = (size_t)veer_type_count(type);
    return veer_dtype_is_int4(type->dtype) ? (count + 1) / 2 : count;
}
static size_t stored_bytes(const veer_type_t *type) {
    return stored_count(type) * veer_dtype_size(type->dtype);
}

/* The low half of a byte comes first. */
static void unpack(uint8_t *values, size_t count, bool is_signed) {
    for (size_t i = count; i-- > 0;) {
        int value = values[i / 2] >> (i % 2 ? 4 : 0) & 15;
        values[i] = (uint8_t)(is_signed && value > 7 ? value - 16 : value);
    }
}

veer_status_t veer_onnx_tensor_check(const veer_onnx_tensor_t *tensor, const veer_type_t *type) {
    char text[VEER_TYPE_TEXT_BYTES];
    typed_t typed = typed_field(tensor->proto, type->dtype);
    if (!tensor->raw && typed.count != stored_count(type))
        return veer_error(VEER_ERR_FILE, "%s has %zu values, %s needs %zu", typed.name, typed.count,
                          veer_type_text(type, text), stored_count(type));
    if (tensor->raw && tensor->raw_bytes != stored_bytes(type))
        return veer_error(VEER_ERR_FILE, "%s has %zu bytes, %s needs %zu",
                          tensor->external ? "external data" : "raw_data", tensor->raw_bytes,
                          veer_type_text(type, text), stored_bytes(type));
    return veer_ok();
}

void veer_onnx_tensor_values(const veer_onnx_tensor_t *tensor, const veer_type_t *type, void *out) {
    uint8_t *dst = out;
    size_t size = veer_dtype_size(type->dtype), count = (size_t)veer_type_count(type), stored = stored_count(type);
    typed_t typed = typed_field(tensor->proto, type->dtype);
    for (size_t i = 0; i < stored && !tensor->raw; i++) /* little-endian: the low bytes come first */
        memcpy(dst + i * size, (const uint8_t *)typed.values + i * typed.wide, size);
    if (tensor->raw && tensor->raw_bytes) memcpy(dst, tensor->raw, tensor->raw_bytes);
    for (size_t i = 0; i < count && type->dtype == VEER_DTYPE_BOOL; i++) dst[i] = dst[i] != 0;
    if (veer_dtype_is_int4(type->dtype)) unpack(dst, count, type->dtype == VEER_DTYPE_I4);
}

static veer_status_t make_const(veer_onnx_file_t *file, veer_builder_t *b, const veer_onnx_tensor_t *tensor,
                                const veer_type_t *type, bool view, veer_value_t *out_value) {
    veer_data_source_t source = {0};
    if (tensor->holder) source = (veer_data_source_t){tensor->holder->path, tensor->raw - tensor->holder->bytes};
    bool aligned = (uintptr_t)tensor->raw % veer_dtype_size(type->dtype) == 0;
    if (view && tensor->holder && aligned && type->dtype != VEER_DTYPE_BOOL && !veer_dtype_is_int4(type->dtype) &&
        tensor->raw_bytes) {
        *out_value = veer_const_view(b, *type, tensor->raw, &source);
        return veer_builder_status(b);
    }
    VEER_TRY(veer_onnx_file_count_constant(file, veer_type_bytes(type)));
    uint8_t *copy = veer_arena_alloc(veer_graph_arena(b->graph), veer_type_bytes(type));
    if (!copy) return veer_out_of_memory();
    veer_onnx_tensor_values(tensor, type, copy);
    bool as_stored = view && tensor->holder && !veer_dtype_is_int4(type->dtype);
    *out_value = veer_const_view(b, *type, copy, as_stored ? &source : NULL);
    return veer_builder_status(b);
}

veer_status_t veer_onnx_tensor_const(veer_onnx_file_t *file, const veer_onnx_tensor_t *given, bool view,
                                     veer_builder_t *b, veer_value_t *out_value) {
    veer_type_t type;
    veer_onnx_tensor_t tensor = *given;
    VEER_TRY(veer_onnx_tensor_type(&tensor, &type));
    if (tensor.external) VEER_TRY(veer_onnx_tensor_locate(file, &tensor, stored_bytes(&type)));
    VEER_TRY(veer_onnx_tensor_check(&tensor, &type));
    return make_const(file, b, &tensor, &type, view, out_value);
}

/* ---- the files' life ---- */

veer_status_t veer_onnx_file_give_maps(veer_onnx_file_t *file, veer_graph_t *g) {
    if (file->mapped) {
        VEER_TRY(veer_graph_on_destroy(g, veer_mapped_file_close, file->mapped));
        file->mapped = NULL;
    }
    for (veer_onnx_map_t *map = file->external; map; map = map->next) {
        if (map->given || !map->file) continue;
        VEER_TRY(veer_graph_on_destroy(g, veer_mapped_file_close, map->file));
        map->given = true;
    }
    return veer_ok();
}

void veer_onnx_file_close(veer_onnx_file_t *file) {
    for (veer_onnx_map_t *map = file->external; map; map = map->next)
        if (!map->given) veer_mapped_file_close(map->file);
    veer_mapped_file_close(file->mapped);
    veer_arena_deinit(&file->arena);
    *file = (veer_onnx_file_t){0};
}
