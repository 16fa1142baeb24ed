#include "ir/half.h"

#include <math.h>
#include <string.h>

/* Rounds |value| to a float format with `mantissa` stored bits and exponents from `min_exp` to `max_exp`. Scaling by a
 * power of two is exact and rint rounds to nearest even, so one rounding happens, straight from double. */
static uint16_t encode(double value, int mantissa, int min_exp, int max_exp) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    uint16_t exp_ones = (uint16_t)((max_exp - min_exp + 2) << mantissa);
    if (isnan(value)) return (uint16_t)(sign | exp_ones | 1 << (mantissa - 1));
    double magnitude = fabs(value);
    int exponent;
    frexp(magnitude, &exponent);
    exponent--; /* magnitude = 1.m * 2^exponent */
    if (isinf(magnitude) || exponent > max_exp) return sign | exp_ones;
    if (magnitude == 0 || exponent < min_exp) exponent = min_exp; /* subnormal: the exponent field is 0 */
    double scaled =
        rint(ldexp(magnitude, mantissa - exponent)); /* integer below 2^(mantissa+1), or that after a carry */
    uint32_t field = (uint32_t)(exponent - min_exp) << mantissa;
    /* Adding, not or-ing: a normal number's leading one adds 1 to the exponent field, and so does a carry. */
    uint32_t bits = field + (uint32_t)scaled;
    return bits >= exp_ones ? (uint16_t)(sign | exp_ones) : (uint16_t)(sign | bits);
}

static double decode(uint16_t bits, int mantissa, int min_exp, int max_exp) {
    int field = (bits & 0x7fff) >> mantissa, fraction = bits & ((1 << mantissa) - 1);
    double value;
    if (field == max_exp - min_exp + 2)
        value = fraction ? NAN : INFINITY;
    else if (field == 0)
        value = ldexp(fraction, min_exp - mantissa);
    else
        value = ldexp((1 << mantissa) + fraction, field - 1 + min_exp - mantissa);
    return bits & 0x8000 ? -value : value;
}

uint16_t veer_half_from_double(double value) {
    return encode(value, 10, -14, 15);
}
double veer_half_to_double(uint16_t bits) {
    return decode(bits, 10, -14, 15);
}
uint16_t veer_bfloat_from_double(double value) {
    return encode(value, 7, -126, 127);
}
double veer_bfloat_to_double(uint16_t bits) {
    return decode(bits, 7, -126, 127);
}

int64_t veer_int64_from_double(double value) {
    if (isnan(value)) return 0;
    return value >= 0x1p63 ? INT64_MAX : value <= -0x1p63 ? INT64_MIN : (int64_t)value;
}
