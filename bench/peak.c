/* The limits of this machine: fused multiply-adds per second in the widest vectors it has, and memory bandwidth.
 *
 *     veer-bench-peak [--threads N] [--format table|json]
 *
 * Every figure is measured with 1 and with N threads (default: all), as median and best of many runs. FLOPs count a
 * fused multiply-add as two; bandwidth is the triad a = b + s * c over arrays several times larger than the last cache,
 * counting the three arrays once each (so not the read that a store may need first).
 */
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
typedef struct figure_s {
    double median, best;
} figure_t;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `work` units in each of the RUNS times, as units per second. */
static figure_t rate(double work, double *seconds) {
    qsort(seconds, RUNS, sizeof *seconds, by_value);
    return (figure_t){.median = work / seconds[RUNS / 2], .best = work / seconds[0]};
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

static figure_t measure_fma(const unit_t *unit, int threads) {
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

static figure_t measure_triad(float *const array[3], int64_t count, int threads) {
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

/* ---- output ---- */
typedef struct report_s {
    const unit_t *unit;
    int threads;
    int64_t array_bytes;
    figure_t fma_1, fma_n, triad_1, triad_n;
} report_t;

static void print_json(const report_t *r) {
    printf("{\"unit\": \"%s\", \"threads\": %d, \"fma_1_gflops\": %.1f, \"fma_1_best_gflops\": %.1f, ", r->unit->name,
           r->threads, r->fma_1.median, r->fma_1.best);
    printf("\"fma_n_gflops\": %.1f, \"fma_n_best_gflops\": %.1f, ", r->fma_n.median, r->fma_n.best);
    printf("\"triad_1_gbps\": %.2f, \"triad_1_best_gbps\": %.2f, ", r->triad_1.median, r->triad_1.best);
    printf("\"triad_n_gbps\": %.2f, \"triad_n_best_gbps\": %.2f, ", r->triad_n.median, r->triad_n.best);
    printf("\"array_bytes\": %" PRId64 "}\n", r->array_bytes);
}

static void print_row(const char *what, const char *unit, int threads, figure_t f) {
    printf("%-28s %3d thread%-2s %9.1f %9.1f %s\n", what, threads, threads == 1 ? "" : "s", f.median, f.best, unit);
}

static void print_table(const report_t *r) {
    char fma[32], triad[48];
    snprintf(fma, sizeof fma, "fma f32 (%s)", r->unit->name);
    snprintf(triad, sizeof triad, "triad (3 x %" PRId64 " MB)", r->array_bytes >> 20);
    printf("%-28s %-11s %9s %9s\n", "", "", "median", "best");
    print_row(fma, "GFLOP/s", 1, r->fma_1);
    print_row(fma, "GFLOP/s", r->threads, r->fma_n);
    print_row(triad, "GB/s", 1, r->triad_1);
    print_row(triad, "GB/s", r->threads, r->triad_n);
}

static int run(int threads, bool json) {
    report_t r = {.unit = best_unit(), .threads = threads};
    float *array[3] = {NULL, NULL, NULL};
    int64_t count = triad_count();
    bool made = make_arrays(array, count, threads);
    if (made) {
        r.array_bytes = count * (int64_t)sizeof(float);
        r.triad_1 = measure_triad(array, count, 1);
        r.triad_n = measure_triad(array, count, threads);
        r.fma_1 = measure_fma(r.unit, 1);
        r.fma_n = measure_fma(r.unit, threads);
        json ? print_json(&r) : print_table(&r);
    } else {
        fprintf(stderr, "veer-bench-peak: no memory for three arrays of %" PRId64 " floats\n", count);
    }
    for (int k = 0; k < 3; k++) free(array[k]);
    return made ? 0 : 6;
}

static int usage(const char *wrong) {
    if (wrong) fprintf(stderr, "veer-bench-peak: %s\n", wrong);
    fprintf(wrong ? stderr : stdout, "usage: veer-bench-peak [-t|--threads N] [--format table|json]\n");
    return wrong ? 2 : 0;
}

int main(int argc, char **argv) {
    int threads = omp_get_num_procs();
    bool json = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--help")) return usage(NULL);
        if (!strcmp(argv[i], "--threads") || !strcmp(argv[i], "-t")) {
            char *end;
            long n = strtol(value, &end, 10);
            if (end == value || *end || n < 1 || n > 4096) return usage("--threads wants a number from 1 to 4096");
            threads = (int)n;
        } else if (!strcmp(argv[i], "--format")) {
            if (strcmp(value, "json") && strcmp(value, "table")) return usage("--format is table or json");
            json = !strcmp(value, "json");
        } else {
            return usage("unknown argument");
        }
        i++;
    }
    return run(threads, json);
}
