#include "tools/compare.h"
#include "ir/float8.h"
#include "ir/half.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

veer_status_t veer_tolerance_from_args(const veer_args_t *args, veer_tolerance_t *out) {
    VEER_TRY(veer_args_double(args, "rtol", 0, &out->rtol));
    return veer_args_double(args, "atol", 0, &out->atol);
}

double veer_tensor_element(const veer_tensor_t *t, int64_t i) {
    switch (t->type.dtype) {
    case VEER_DTYPE_F32: return ((const float *)t->data)[i];
    case VEER_DTYPE_F64: return ((const double *)t->data)[i];
    case VEER_DTYPE_F16: return veer_half_to_double(((const uint16_t *)t->data)[i]);
    case VEER_DTYPE_BF16: return veer_bfloat_to_double(((const uint16_t *)t->data)[i]);
    case VEER_DTYPE_I8:
    case VEER_DTYPE_I4: return ((const int8_t *)t->data)[i];
    case VEER_DTYPE_I16: return ((const int16_t *)t->data)[i];
    case VEER_DTYPE_I32: return ((const int32_t *)t->data)[i];
    case VEER_DTYPE_I64: return (double)((const int64_t *)t->data)[i];
    case VEER_DTYPE_U8:
    case VEER_DTYPE_U4:
    case VEER_DTYPE_BOOL: return ((const uint8_t *)t->data)[i];
    case VEER_DTYPE_U16: return ((const uint16_t *)t->data)[i];
    case VEER_DTYPE_U32: return ((const uint32_t *)t->data)[i];
    case VEER_DTYPE_U64: return (double)((const uint64_t *)t->data)[i];
    case VEER_DTYPE_F8E4M3FN:
    case VEER_DTYPE_F8E4M3FNUZ:
    case VEER_DTYPE_F8E5M2:
    case VEER_DTYPE_F8E5M2FNUZ: return veer_float8_to_double(t->type.dtype, ((const uint8_t *)t->data)[i]);
    default: return NAN;
    }
}

/* 64-bit integers beyond 2^53 are the same number as doubles when they are not. */
static bool same_bits(const veer_tensor_t *a, const veer_tensor_t *b, int64_t i) {
    size_t size = veer_dtype_size(a->type.dtype);
    return a->type.dtype == b->type.dtype &&
           !memcmp((const char *)a->data + (size_t)i * size, (const char *)b->data + (size_t)i * size, size);
}

veer_difference_t veer_compare(const veer_tensor_t *got, const veer_tensor_t *want, veer_tolerance_t tolerance) {
    veer_difference_t d = {.count = veer_type_count(&want->type)};
    bool exact = veer_dtype_size(got->type.dtype) == 8 && veer_dtype_is_integer(got->type.dtype);
    double worst = 0;
    for (int64_t i = 0; i < d.count; i++) {
        double a = veer_tensor_element(got, i), b = veer_tensor_element(want, i);
        if (same_bits(got, want, i) || (a == b && !exact) || (isnan(a) && isnan(b))) continue;
        double error = isfinite(a) && isfinite(b) ? fabs(a - b) : INFINITY;
        double limit = tolerance.atol + tolerance.rtol * fabs(b), relative = error / fabs(b);
        d.max_abs = fmax(d.max_abs, error);
        if (b != 0) d.max_rel = fmax(d.max_rel, isnan(relative) ? INFINITY : relative);
        if (isfinite(error) && error <= limit) continue;
        double excess = isfinite(error) ? error / fmax(limit, 1e-300) : INFINITY;
        if (!d.wrong++ || excess > worst) {
            worst = excess;
            d.worst = i;
            d.got = a;
            d.want = b;
        }
    }
    return d;
}

static const char *index_text(const veer_type_t *type, int64_t flat, char *out, size_t size) {
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(type, strides);
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < type->rank && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? "," : "",
                               (long long)(flat / strides[i] % type->dims[i]));
    if (at < size) snprintf(out + at, size - at, "]");
    return out;
}

veer_status_t veer_compare_check(const char *what, const veer_tensor_t *got, const veer_tensor_t *want,
                                 veer_tolerance_t tolerance, bool strict, veer_difference_t *out) {
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    if (!veer_type_same_shape(&got->type, &want->type) || (strict && got->type.dtype != want->type.dtype))
        return veer_error(VEER_ERR_MISMATCH, "%s is %s, expected %s", what, veer_type_text(&got->type, a),
                          veer_type_text(&want->type, b));
    veer_difference_t d = veer_compare(got, want, tolerance);
    if (out) *out = d;
    if (!d.wrong) return veer_ok();
    veer_status_t status = veer_error(
        VEER_ERR_MISMATCH, "%s: %lld of %lld elements differ, worst at %s: %.9g, expected %.9g", what,
        (long long)d.wrong, (long long)d.count, index_text(&want->type, d.worst, a, sizeof a), d.got, d.want);
    return veer_status_note(status,
                            "largest absolute error %.3g, largest relative error %.3g; tolerance: rtol %g, atol %g",
                            d.max_abs, d.max_rel, tolerance.rtol, tolerance.atol);
}
