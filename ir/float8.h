/* The float8 formats of ONNX as stored: a sign, 4 or 5 bits of exponent, 3 or 2 of fraction. FN: no infinities; UZ: no
 * minus zero either, its code is the only NaN. */
#ifndef VEER_IR_FLOAT8_H
#define VEER_IR_FLOAT8_H

#include "ir/types.h"

/* Rounded to nearest even. What is too large becomes the largest number where `saturate` is set, else infinity, or NaN
 * where there is none. */
uint8_t veer_float8_from_double(veer_dtype_t dtype, double value, bool saturate);
double veer_float8_to_double(veer_dtype_t dtype, uint8_t bits);

#endif
