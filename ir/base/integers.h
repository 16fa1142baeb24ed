/* Arithmetic on sizes and counts. */
#ifndef VEER_IR_BASE_INTEGERS_H
#define VEER_IR_BASE_INTEGERS_H

#include <stdint.h>

static inline int64_t veer_min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t veer_max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}
/* a / b, rounded up; a >= 0, b > 0. */
static inline int64_t veer_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

#endif
