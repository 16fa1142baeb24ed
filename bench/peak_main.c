/* veer-bench-peak [--threads N] [--format table|json]: the limits of this machine, see peak.h. */
#include "bench/peak.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_json(const veer_peak_t *r) {
    printf("{\"unit\": \"%s\", \"threads\": %d, \"fma_1_gflops\": %.1f, \"fma_1_best_gflops\": %.1f, ", r->unit,
           r->threads, r->fma_1.median, r->fma_1.best);
    printf("\"fma_n_gflops\": %.1f, \"fma_n_best_gflops\": %.1f, ", r->fma_n.median, r->fma_n.best);
    printf("\"triad_1_gbps\": %.2f, \"triad_1_best_gbps\": %.2f, ", r->triad_1.median, r->triad_1.best);
    printf("\"triad_n_gbps\": %.2f, \"triad_n_best_gbps\": %.2f, ", r->triad_n.median, r->triad_n.best);
    printf("\"array_bytes\": %" PRId64 "}\n", r->array_bytes);
}

static void print_row(const char *what, const char *unit, int threads, veer_figure_t f) {
    printf("%-28s %3d thread%-2s %9.1f %9.1f %s\n", what, threads, threads == 1 ? "" : "s", f.median, f.best, unit);
}

static void print_table(const veer_peak_t *r) {
    char fma[32], triad[48];
    snprintf(fma, sizeof fma, "fma f32 (%s)", r->unit);
    snprintf(triad, sizeof triad, "triad (3 x %" PRId64 " MB)", r->array_bytes >> 20);
    printf("%-28s %-11s %9s %9s\n", "", "", "median", "best");
    print_row(fma, "GFLOP/s", 1, r->fma_1);
    print_row(fma, "GFLOP/s", r->threads, r->fma_n);
    print_row(triad, "GB/s", 1, r->triad_1);
    print_row(triad, "GB/s", r->threads, r->triad_n);
}

static int run(int threads, bool json) {
    veer_peak_t r;
    if (!veer_peak_measure(threads, true, &r)) {
        fputs("veer-bench-peak: no memory for the arrays of the triad\n", stderr);
        return 6;
    }
    json ? print_json(&r) : print_table(&r);
    return 0;
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
