#include "bench/peak.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { RUNS = 21, FMA_RUN_MS = 20 };

/* ---- fused multiply-adds: COUNT independent chains, enough to hide the latency of both units ---- */
#define FMA_KERNEL(name, target, vector, COUNT, lanes, splat, fma, store)                                              \
    target static float name(int64_t rounds) {                                                                         \
        vector scale = splat(0.999f), offset = splat(1e-3f), chain[COUNT];                                             \
        for (int i = 0; i < COUNT; i++) chain[i] = splat((float)i);                                                    \
        for (int64_t r = 0; r < rounds; r++) {                                                                         \
            _Pragma("GCC unroll 32") for (int i = 0; i < COUNT; i++) chain[i] = fma(chain[i], scale, offset);          \
        }                                                                                                              \
        float out[lanes], sum = 0;                                                                                     \
        for (int i = 0; i < COUNT; i++) {                                                                              \
            store(out, chain[i]);                                                                                      \
            sum += out[0];                                                                                             \
        }                                                                                                              \
        return sum;                                                                                                    \
    }

#define SPLAT_ONE(x)     (x)
#define STORE_ONE(to, x) ((to)[0] = (x))
FMA_KERNEL(fma_scalar, , float, 12, 1, SPLAT_ONE, fmaf, STORE_ONE)
static bool always(void) {
    return true;
}

#if defined(__x86_64__)
FMA_KERNEL(fma_avx512, __attribute__((target("avx512f"))), __m512, 24, 16, _mm512_set1_ps, _mm512_fmadd_ps,
           _mm512_storeu_ps)
FMA_KERNEL(fma_avx2, __attribute__((target("avx2,fma"))), __m256, 12, 8, _mm256_set1_ps, _mm256_fmadd_ps,
           _mm256_storeu_ps)
static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f");
}
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#elif defined(__aarch64__)
#define NEON_FMA(acc, x, y) vfmaq_f32(y, acc, x)
FMA_KERNEL(fma_neon, , float32x4_t, 24, 4, vdupq_n_f32, NEON_FMA, vst1q_f32)
#endif

typedef struct unit_s {
    const char *name;
    int lanes, chains;
    bool (*supported)(void);
    float (*run)(int64_t rounds);
} unit_t;

/* Widest first; the first that is supported is measured. */
static const unit_t units[] = {
#if defined(__x86_64__)
    {"avx512", 16, 24, has_avx512, fma_avx512},
    {"avx2", 8, 12, has_avx2, fma_avx2},
#elif defined(__aarch64__)
    {"neon", 4, 24, always, fma_neon},
#endif
    {"scalar", 1, 12, always, fma_scalar},
};

static const unit_t *best_unit(void) {
    const unit_t *unit = units;
    while (!unit->supported()) unit++;
    return unit;
}

/* ---- statistics ---- */
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `work` units in each of the RUNS times, as units per second. */
static veer_figure_t rate(double work, double *seconds) {
    qsort(seconds, RUNS, sizeof *seconds, by_value);
    return (veer_figure_t){.median = work / seconds[RUNS / 2], .best = work / seconds[0]};
}

/* ---- the measurements ---- */
static volatile float sink; /* what a kernel computes must be used somewhere */

static double time_fma(const unit_t *unit, int threads, int64_t rounds) {
    double start = 0;
#pragma omp parallel num_threads(threads)
    {
#pragma omp barrier
#pragma omp master
        start = omp_get_wtime();
        float result = unit->run(rounds);
        if (!isfinite(result)) sink = result;
    }
    return omp_get_wtime() - start;
}

static veer_figure_t measure_fma(const unit_t *unit, int threads) {
    int64_t rounds = 1000;
    while (time_fma(unit, threads, rounds) * 1e3 < FMA_RUN_MS) rounds *= 2;
    double seconds[RUNS];
    for (int i = 0; i < RUNS; i++) seconds[i] = time_fma(unit, threads, rounds);
    return rate(2.0 * unit->lanes * unit->chains * (double)rounds * threads / 1e9, seconds);
}

static double time_triad(float *a, const float *b, const float *c, int64_t count, int threads) {
    double start = omp_get_wtime();
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) a[i] = b[i] + 3.0f * c[i];
    double seconds = omp_get_wtime() - start;
    sink = a[count / 2];
    return seconds;
}

/* Elements of each of the three arrays: together four times the last cache, within an eighth of the memory. */
static int64_t triad_count(void) {
    int64_t cache = sysconf(_SC_LEVEL3_CACHE_SIZE), memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    int64_t bytes = cache > (48 << 20) ? cache * 4 : 192 << 20;
    if (bytes > memory / 8) bytes = memory / 8;
    return bytes / 3 / (int64_t)sizeof(float);
}

static veer_figure_t measure_triad(float *const array[3], int64_t count, int threads) {
    double seconds[RUNS];
    time_triad(array[0], array[1], array[2], count, threads);
    for (int i = 0; i < RUNS; i++) seconds[i] = time_triad(array[0], array[1], array[2], count, threads);
    return rate(3.0 * (double)count * sizeof(float) / 1e9, seconds);
}

/* Writes where later reads happen: each thread touches first what it uses. */
static bool make_arrays(float *array[3], int64_t count, int threads) {
    for (int k = 0; k < 3; k++) {
        array[k] = malloc((size_t)count * sizeof(float));
        if (!array[k]) return false;
        float *to = array[k];
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < count; i++) to[i] = (float)k;
    }
    return true;
}

static bool measure_all_triads(int threads, veer_peak_t *p) {
    float *array[3] = {NULL, NULL, NULL};
    int64_t count = triad_count();
    bool made = make_arrays(array, count, threads);
    if (made) {
        p->array_bytes = count * (int64_t)sizeof(float);
        p->triad_1 = measure_triad(array, count, 1);
        p->triad_n = measure_triad(array, count, threads);
    }
    for (int k = 0; k < 3; k++) free(array[k]);
    return made;
}

bool veer_peak_measure(int threads, bool with_triad, veer_peak_t *out) {
    const unit_t *unit = best_unit();
    *out = (veer_peak_t){.unit = unit->name, .threads = threads};
    if (with_triad && !measure_all_triads(threads, out)) return false;
    out->fma_1 = measure_fma(unit, 1);
    out->fma_n = measure_fma(unit, threads);
    return true;
}
