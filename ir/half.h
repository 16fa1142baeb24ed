/* float16 and bfloat16 as stored: conversions to and from double, rounding to nearest even. And doubles as integers. */
#ifndef VEER_IR_HALF_H
#define VEER_IR_HALF_H

#include <stdint.h>

uint16_t veer_half_from_double(double value);
double veer_half_to_double(uint16_t bits);
uint16_t veer_bfloat_from_double(double value);
double veer_bfloat_to_double(uint16_t bits);

/* The nearest int64_t, towards zero; NaN gives 0. */
int64_t veer_int64_from_double(double value);

#endif
