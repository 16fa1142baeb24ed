/* Time that passes, whatever is done to the calendar. */
#ifndef VEER_IR_BASE_CLOCK_H
#define VEER_IR_BASE_CLOCK_H

#include <time.h>

/* Seconds since some moment that stays the same while the process runs. */
static inline double veer_clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
