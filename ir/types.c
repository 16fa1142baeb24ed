#include "ir/types.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size_bytes;
} dtypes[VEER_DTYPE_COUNT] = {[VEER_DTYPE_NONE] = {"none", 0},
#define X(suffix, text, size) [VEER_DTYPE_##suffix] = {#text, size},
                              VEER_DTYPES(X)
#undef X
};

size_t veer_dtype_size(veer_dtype_t dtype) {
    return dtypes[dtype].size_bytes;
}
const char *veer_dtype_name(veer_dtype_t dtype) {
    return dtypes[dtype].name;
}

veer_dtype_t veer_dtype_from_name(const char *name, size_t length) {
    for (veer_dtype_t d = VEER_DTYPE_NONE + 1; d < VEER_DTYPE_COUNT; d++)
        if (strlen(dtypes[d].name) == length && !memcmp(dtypes[d].name, name, length)) return d;
    return VEER_DTYPE_NONE;
}

veer_type_t veer_type_make(veer_dtype_t dtype, int rank, const int64_t *dims) {
    veer_type_t type = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank && i < VEER_MAX_RANK; i++) type.dims[i] = dims[i];
    return type;
}

veer_status_t veer_type_check(const veer_type_t *type) {
    if (type->rank < 0 || type->rank > VEER_MAX_RANK)
        return veer_error(VEER_ERR_UNSUPPORTED, "a tensor of rank %d; at most %d are supported", type->rank,
                          VEER_MAX_RANK);
    int64_t bytes = (int64_t)veer_dtype_size(type->dtype);
    for (int i = 0; i < type->rank; i++) {
        if (type->dims[i] < 0)
            return veer_error(VEER_ERR_UNSUPPORTED, "dimension %d is %lld", i, (long long)type->dims[i]);
        /* Sizes of 0 are left out: products of the other dims alone (strides, ranges) must not overflow either. */
        if (type->dims[i] > 0 && __builtin_mul_overflow(bytes, type->dims[i], &bytes)) bytes = INT64_MAX;
        if (bytes > VEER_MAX_TENSOR_BYTES) bytes = VEER_MAX_TENSOR_BYTES + 1;
    }
    if (bytes <= VEER_MAX_TENSOR_BYTES) return veer_ok();
    char text[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_UNSUPPORTED, "a tensor %s is larger than the limit of %lld bytes",
                      veer_type_text(type, text), (long long)VEER_MAX_TENSOR_BYTES);
}

bool veer_type_same_shape(const veer_type_t *a, const veer_type_t *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}

bool veer_type_equal(const veer_type_t *a, const veer_type_t *b) {
    return a->dtype == b->dtype && veer_type_same_shape(a, b);
}

int64_t veer_type_count_range(const veer_type_t *type, int from, int to) {
    int64_t n = 1;
    for (int i = from; i < to; i++) n *= type->dims[i];
    return n;
}

int64_t veer_type_count(const veer_type_t *type) {
    return veer_type_count_range(type, 0, type->rank);
}
size_t veer_type_bytes(const veer_type_t *type) {
    return (size_t)veer_type_count(type) * veer_dtype_size(type->dtype);
}

void veer_type_strides(const veer_type_t *type, int64_t *out_strides) {
    int64_t stride = 1;
    for (int i = type->rank; i-- > 0; stride *= type->dims[i]) out_strides[i] = stride;
}

const char *veer_type_text(const veer_type_t *type, char out_text[VEER_TYPE_TEXT_BYTES]) {
    int at = snprintf(out_text, VEER_TYPE_TEXT_BYTES, "%s[", veer_dtype_name(type->dtype));
    for (int i = 0; i < type->rank; i++)
        at += snprintf(out_text + at, (size_t)(VEER_TYPE_TEXT_BYTES - at), "%s%lld", i ? "," : "",
                       (long long)type->dims[i]);
    snprintf(out_text + at, (size_t)(VEER_TYPE_TEXT_BYTES - at), "]");
    return out_text;
}

bool veer_type_broadcast(const veer_type_t *a, const veer_type_t *b, veer_type_t *out) {
    int rank = a->rank > b->rank ? a->rank : b->rank;
    veer_type_t result = {.dtype = out->dtype, .rank = rank};
    for (int i = 0; i < rank; i++) { /* i counts from the last dim */
        int64_t da = i < a->rank ? a->dims[a->rank - 1 - i] : 1, db = i < b->rank ? b->dims[b->rank - 1 - i] : 1;
        if (da != db && da != 1 && db != 1) return false;
        result.dims[rank - 1 - i] = da == 1 ? db : da;
    }
    *out = result;
    return true;
}

bool veer_type_broadcasts_to(const veer_type_t *from, const veer_type_t *to) {
    veer_type_t both = {0};
    return veer_type_broadcast(from, to, &both) && veer_type_same_shape(&both, to);
}
