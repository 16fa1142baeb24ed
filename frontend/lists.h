/* Lists that a configuration holds; the values are borrowed from it. */
#ifndef VEER_FRONTEND_LISTS_H
#define VEER_FRONTEND_LISTS_H

#include <stddef.h>
#include <stdint.h>

typedef struct veer_numbers_s {
    size_t count;
    const double *values;
} veer_numbers_t;

typedef struct veer_integers_s {
    size_t count;
    const int64_t *values;
} veer_integers_t;

#endif
