/* A small generator for tests: the same numbers everywhere, from a seed that the test prints. */
#ifndef VEER_TESTS_RANDOM_H
#define VEER_TESTS_RANDOM_H

#include <stdint.h>

typedef struct random_s {
    uint64_t state;
} random_t;

static inline uint64_t random_next(random_t *r) {
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
/* In [0, n). */
static inline int random_below(random_t *r, int n) {
    return (int)(random_next(r) % (uint64_t)n);
}

#endif
