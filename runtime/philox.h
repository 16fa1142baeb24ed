/* Random numbers that depend on nothing but where they are used: (seed, sample, step, stream, element). Philox4x32-10
 * (Salmon et al. 2011) turns a counter into 4 words of bits; Box-Muller turns those into 4 normal deviates.
 *
 *     float xi[16];
 *     veer_noise_gaussian(seed, sample, step, VEER_STREAM_GAUSSIAN, 16, xi);
 *
 * The mapping is fixed for all releases; docs/noise.md states it with test vectors. All functions are pure and
 * thread-safe.
 */
#ifndef VEER_RUNTIME_PHILOX_H
#define VEER_RUNTIME_PHILOX_H

#include <stddef.h>
#include <stdint.h>

/* The last counter word: draws for different purposes never share bits. */
enum {
    VEER_STREAM_GAUSSIAN = 0,    /* x_T and the xi of the steps */
    VEER_STREAM_CATEGORICAL = 1, /* Gumbel-max draws */
    VEER_STREAM_OTHER = 2        /* 2 and above */
};

/* Ten rounds of Philox4x32. `out` may be `ctr`. */
void veer_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

/* Bits to a double in (0,1), exactly (bits + 0.5) * 2^-32. */
static inline double veer_philox_uniform(uint32_t bits) {
    return ((double)bits + 0.5) * 0x1p-32;
}

/* The 4 normal deviates of one block of 4 elements: element 4*block + i of a sample is out[i]. */
void veer_noise_block(uint64_t seed, uint32_t block, uint32_t sample, uint32_t step, uint32_t stream, float out[4]);

/* Elements 0 .. count-1 of a sample. `step` is 0 for x_T, then 1..S in the order of execution. count <= 2^34. */
void veer_noise_gaussian(uint64_t seed, uint32_t sample, uint32_t step, uint32_t stream, size_t count, float *out);

/* Elements first .. first+count-1 of a sample, the same numbers as veer_noise_gaussian gives them. */
void veer_noise_gaussian_range(uint64_t seed, uint32_t sample, uint32_t step, uint32_t stream, size_t first,
                               size_t count, float *out);

#endif
