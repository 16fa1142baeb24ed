#include "ir/float8.h"

#include <assert.h>
#include <math.h>

typedef struct {
    int fraction, bias; /* bits of the fraction; the exponent that stands for 2^0 */
    uint8_t largest;    /* code of the largest number */
    uint8_t beyond;     /* of what lies beyond it: infinity or NaN */
    uint8_t nan;
    bool unsigned_zero;
} format_t;

static format_t format_of(veer_dtype_t dtype) {
    switch (dtype) {
    case VEER_DTYPE_F8E4M3FN: return (format_t){3, 7, 0x7e, 0x7f, 0x7f, false};
    case VEER_DTYPE_F8E4M3FNUZ: return (format_t){3, 8, 0x7f, 0x80, 0x80, true};
    case VEER_DTYPE_F8E5M2: return (format_t){2, 15, 0x7b, 0x7c, 0x7f, false};
    default: assert(dtype == VEER_DTYPE_F8E5M2FNUZ); return (format_t){2, 16, 0x7f, 0x80, 0x80, true};
    }
}

/* Codes of numbers without sign ascend: exponent, then fraction; below the least exponent the fraction alone. */
static double code_limit(const format_t *f, double magnitude) {
    int exponent, least = 1 - f->bias;
    if (magnitude == 0) return 0;
    frexp(magnitude, &exponent);
    exponent = exponent - 1 > least ? exponent - 1 : least;
    return ldexp((double)(exponent - least), f->fraction) + rint(ldexp(magnitude, f->fraction - exponent));
}

uint8_t veer_float8_from_double(veer_dtype_t dtype, double value, bool saturate) {
    format_t f = format_of(dtype);
    uint8_t sign = signbit(value) ? 0x80 : 0;
    if (isnan(value)) return f.nan;
    double code = isinf(value) ? INFINITY : code_limit(&f, fabs(value));
    if (code > f.largest) return (uint8_t)(saturate ? sign | f.largest : f.unsigned_zero ? f.beyond : sign | f.beyond);
    if (code == 0 && f.unsigned_zero) return 0;
    return (uint8_t)(sign | (uint8_t)code);
}

double veer_float8_to_double(veer_dtype_t dtype, uint8_t bits) {
    format_t f = format_of(dtype);
    int code = bits & 0x7f, exponent = code >> f.fraction, fraction = code & ((1 << f.fraction) - 1);
    double sign = bits & 0x80 ? -1 : 1;
    if (f.unsigned_zero && bits == 0x80) return NAN;
    if (code > f.largest) return f.beyond == f.nan || code != f.beyond ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - f.bias - f.fraction);
    return sign * ldexp(fraction + (1 << f.fraction), exponent - f.bias - f.fraction);
}
