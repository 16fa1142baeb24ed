#include "runtime/philox.h"

#include <assert.h>
#include <math.h>

/* Multipliers and Weyl increments of Philox4x32 (Salmon, Moraes, Dror, Shaw 2011, table 2). */
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0       0x9E3779B9u
#define WEYL_1       0xBB67AE85u

enum { ROUNDS = 10 };

void veer_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++, k0 += WEYL_0, k1 += WEYL_1) {
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0, p1 = (uint64_t)MULTIPLIER_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* r = sqrt(-2 ln u1); first = r cos(2 pi u2), second = r sin(2 pi u2). In double, rounded once: this is the reference
 * that faster generators are measured against. */
static void box_muller(uint32_t bits1, uint32_t bits2, float out[2]) {
    double r = sqrt(-2.0 * log(veer_philox_uniform(bits1)));
    double angle = 2.0 * 3.14159265358979323846 * veer_philox_uniform(bits2);
    out[0] = (float)(r * cos(angle));
    out[1] = (float)(r * sin(angle));
}

void veer_noise_block(uint64_t seed, uint32_t block, uint32_t sample, uint32_t step, uint32_t stream, float out[4]) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t bits[4] = {block, sample, step, stream};
    veer_philox4x32(bits, key, bits);
    box_muller(bits[0], bits[1], out);
    box_muller(bits[2], bits[3], out + 2);
}

void veer_noise_gaussian_range(uint64_t seed, uint32_t sample, uint32_t step, uint32_t stream, size_t first,
                               size_t count, float *out) {
    assert(first + count <= (size_t)1 << 34); /* the block index is one counter word */
    float block[4];
    for (size_t done = 0; done < count;) {
        size_t element = first + done, skip = element % 4;
        veer_noise_block(seed, (uint32_t)(element / 4), sample, step, stream, block);
        for (size_t i = skip; i < 4 && done < count; i++) out[done++] = block[i];
    }
}

void veer_noise_gaussian(uint64_t seed, uint32_t sample, uint32_t step, uint32_t stream, size_t count, float *out) {
    veer_noise_gaussian_range(seed, sample, step, stream, 0, count, out);
}
