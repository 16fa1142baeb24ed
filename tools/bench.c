/* veer bench: guided steps of pairs of models, beside the machine's peak and, where it is there, PyTorch. */
#include "api/veer.h"
#include "bench/peak.h"
#include "tools/bench_kernels.h"
#include "tools/verb.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WARM_COMPILES = 5 };

typedef struct {
    veer_command_t *c;
    veer_bench_options_t options;
    const char *python, *script; /* script NULL: no comparison */
    char perf[4096], cache[4096];
    json_t *rows, *skipped;
    bool kernels; /* a row per kind of kernel instead of one per pair */
    veer_roof_t roof;
    const char *peak_unit;
} bench_t;

/* ---- a process of its own for each measurement: its memory is its own, and so are OpenMP's threads ---- */

typedef struct {
    void (*work)(bench_t *b, FILE *to, const void *what); /* writes one JSON value, or becomes another program */
    const void *what;
} job_t;

static json_t *read_all(int fd) {
    json_error_t error;
    FILE *from = fdopen(fd, "r");
    if (!from) return close(fd), NULL;
    json_t *value = json_loadf(from, 0, &error);
    fclose(from);
    return value;
}

static void run_child(bench_t *b, job_t job, int fd) {
    FILE *to = fdopen(fd, "w");
    if (to) job.work(b, to, job.what);
    _exit(to && !fflush(to) ? 0 : 1);
}

/* What the job wrote, NULL where that was no JSON; peak memory is its process's. */
static veer_status_t in_child(bench_t *b, job_t job, json_t **out_value, double *out_peak_mb) {
    int ends[2];
    fflush(NULL);
    if (pipe(ends)) return veer_error(VEER_ERR_RESOURCE, "pipe: %s", strerror(errno));
    pid_t child = fork();
    if (!child) {
        close(ends[0]);
        run_child(b, job, ends[1]);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return veer_error(VEER_ERR_RESOURCE, "fork: %s", strerror(errno));
    }
    struct rusage usage = {0};
    int wait_status;
    *out_value = read_all(ends[0]);
    while (wait4(child, &wait_status, 0, &usage) < 0 && errno == EINTR) {}
    if (out_peak_mb) *out_peak_mb = (double)usage.ru_maxrss * 1024e-6;
    return veer_ok();
}

/* ---- the jobs ---- */

static void peak_job(bench_t *b, FILE *to, const void *what) {
    veer_peak_t peak;
    (void)what;
    if (veer_peak_measure(b->options.threads, b->kernels, &peak))
        fprintf(to, "{\"unit\": \"%s\", \"gflops\": %.17g, \"gbytes\": %.17g}", peak.unit, peak.fma_n.best,
                b->kernels ? peak.triad_n.best : 0);
}

static void pair_job(bench_t *b, FILE *to, const void *what) {
    veer_bench_result_t r;
    veer_status_t status = veer_bench_measure(what, &b->options, b->c->allocator, &r);
    if (status) {
        json_t *error =
            json_pack("{s:s, s:i}", "error", veer_status_message(status, 0), "code", veer_status_code(status));
        if (error) json_dumpf(error, to, 0);
        json_decref(error);
        veer_status_free(status);
        return;
    }
    fprintf(to, "{\"ms\": %.17g, \"best_ms\": %.17g, \"gflop\": %.17g, \"compile_s\": %.17g, \"arena_mb\": %.17g, ",
            r.median_ms, r.best_ms, r.step_gflop, r.compile_seconds, r.arena_mb);
    fprintf(to,
            "\"one_thread_ms\": %.17g, \"copies_ms\": %.17g, \"unit_share\": %.17g, \"runs\": %d, \"steps\": %d, "
            "\"calls\": %d}",
            r.one_thread_ms, r.copies_ms, r.unit_share, r.runs, r.steps, r.calls);
}

/* Python's own messages go to stderr. */
static void torch_job(bench_t *b, FILE *to, const void *what) {
    const veer_bench_pair_t *pair = what;
    char threads[16], seconds[32], models[4096], perf[4200];
    snprintf(threads, sizeof threads, "%d", b->options.threads);
    snprintf(seconds, sizeof seconds, "%g", b->options.seconds);
    snprintf(models, sizeof models, "--models=%s", b->options.places.examples);
    snprintf(perf, sizeof perf, "--perf=%s", b->options.places.perf ? b->options.places.perf : ".");
    if (dup2(fileno(to), STDOUT_FILENO) < 0) return;
    execlp(b->python, b->python, b->script, pair->name, "--no-check", "--step-only", "--threads", threads, "--seconds",
           seconds, "--patience", seconds, models, perf, (char *)NULL);
    fprintf(stderr, "veer: %s: %s\n", b->python, strerror(errno));
    _exit(1);
}

/* ---- one pair ---- */

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void copy_number(bench_t *b, json_t *row, const char *to, const json_t *object, const char *from) {
    if (json_is_number(json_object_get(object, from)))
        veer_put(&b->c->report, row, to, json_incref(json_object_get(object, from)));
}

static void put_speed(bench_t *b, json_t *row, const json_t *ours) {
    double seconds = number(ours, "ms") * 1e-3;
    if (!(seconds > 0)) return;
    double rate = number(ours, "gflop") / seconds, peak = number(row, "peak_gflops");
    veer_put_real(&b->c->report, row, "gflops", rate);
    if (!(peak > 0)) return;
    veer_put_real(&b->c->report, row, "peak_share", rate / peak);
    veer_put_real(&b->c->report, row, "best_share", rate / peak * number(ours, "ms") / number(ours, "best_ms"));
}

static veer_status_t measure_peak(bench_t *b) {
    json_t *peak = NULL;
    VEER_TRY(in_child(b, (job_t){peak_job, NULL}, &peak, NULL));
    b->roof = (veer_roof_t){number(peak, "gflops"), number(peak, "gbytes")};
    json_decref(peak);
    return veer_ok();
}

static veer_status_t failure(const veer_bench_pair_t *pair, const json_t *result) {
    const char *message = json_string_value(json_object_get(result, "error"));
    if (message) return veer_error((veer_code_t)number(result, "code"), "%s", message);
    if (!json_is_object(result)) return veer_error(VEER_ERR_FAILED, "%s: the measurement gave no result", pair->name);
    return veer_ok();
}

static double memory_mb(void) {
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) * 1e-6;
}

/* How much threads give, and how much the machine does: as many runs on a thread each, side by side, that share nothing
 * but the machine. */
static veer_status_t compare_threads(bench_t *b, const veer_bench_pair_t *pair, double peak_mb, json_t *row) {
    bench_t other = *b;
    json_t *result = NULL;
    int threads = b->options.threads;
    if (threads == 1) return veer_ok();
    other.options.copies = peak_mb * threads < memory_mb() / 2 ? threads : 1;
    VEER_TRY(in_child(&other, (job_t){pair_job, pair}, &result, NULL));
    veer_status_t status = failure(pair, result);
    copy_number(b, row, "one_thread_ms", result, "one_thread_ms");
    if (!status && number(result, "ms") > 0)
        veer_put_real(&b->c->report, row, "scaling", number(result, "one_thread_ms") / number(result, "ms"));
    if (!status && other.options.copies > 1 && number(result, "copies_ms") > 0)
        veer_put_real(&b->c->report, row, "copies_scaling",
                      threads * number(result, "one_thread_ms") / number(result, "copies_ms"));
    json_decref(result);
    return status;
}

static veer_status_t compare_torch(bench_t *b, const veer_bench_pair_t *pair, const json_t *ours, json_t *row) {
    json_t *torch = NULL;
    if (!b->script) return veer_ok();
    VEER_TRY(in_child(b, (job_t){torch_job, pair}, &torch, NULL));
    copy_number(b, row, "torch_ms", torch, "step_ms");
    copy_number(b, row, "torch_best_ms", torch, "step_best_ms");
    copy_number(b, row, "torch_peak_mb", torch, "peak_rss_mb");
    if (number(torch, "step_ms") > 0 && number(ours, "ms") > 0)
        veer_put_real(&b->c->report, row, "speedup", number(torch, "step_ms") / number(ours, "ms"));
    else
        veer_report_note(&b->c->report, "%s: no figure from PyTorch", pair->name);
    json_decref(torch);
    return veer_ok();
}

/* The time to compile for `steps` steps (0: the run's), the median of `count`, in a process that does nothing else. It
 * should not depend on the steps. */
static veer_status_t time_compile(bench_t *b, const veer_bench_pair_t *pair, int steps, int count, const char *key,
                                  json_t *row) {
    bench_t other = *b;
    json_t *result = NULL;
    if (steps) other.options.steps = steps, other.options.memory_budget = NULL; /* tables grow with the steps */
    other.options.compiles = count;
    VEER_TRY(in_child(&other, (job_t){pair_job, pair}, &result, NULL));
    veer_status_t status = failure(pair, result);
    copy_number(b, row, key, result, "compile_s");
    json_decref(result);
    return status;
}

static veer_status_t fill_row(bench_t *b, const veer_bench_pair_t *pair, json_t *row) {
    veer_report_t *r = &b->c->report;
    json_t *ours = NULL;
    double peak_mb = 0;
    veer_put_text(r, row, "pair", pair->name);
    veer_put_int(r, row, "batch", pair->batch);
    VEER_TRY(time_compile(b, pair, 0, 1, "cold_s", row)); /* fills the cache for what follows */
    /* The machine's speed changes by the minute: its peak is that around the pair's runs. */
    VEER_TRY(measure_peak(b));
    double before = b->roof.gflops;
    VEER_TRY(in_child(b, (job_t){pair_job, pair}, &ours, &peak_mb));
    veer_status_t status = failure(pair, ours);
    if (!status) status = measure_peak(b);
    veer_put_real(r, row, "peak_gflops", (before + b->roof.gflops) / 2);
    static const char *const keys[] = {"steps", "runs", "ms", "best_ms", "unit_share", "gflop", "arena_mb", "calls"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) copy_number(b, row, keys[i], ours, keys[i]);
    if (!status) {
        put_speed(b, row, ours);
        veer_put_real(r, row, "peak_mb", peak_mb);
        status = compare_threads(b, pair, peak_mb, row);
    }
    if (!status) status = compare_torch(b, pair, ours, row);
    if (!status) status = time_compile(b, pair, 0, WARM_COMPILES, "compile_s", row);
    if (!status) status = time_compile(b, pair, 1000, WARM_COMPILES, "compile_1000_s", row);
    json_decref(ours);
    return status;
}

/* A cache of its own, so that the first compilation is a cold one. */
static bool make_cache(bench_t *b) {
    const char *tmp = getenv("TMPDIR");
    snprintf(b->cache, sizeof b->cache, "%s/veer-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (b->options.cache || !mkdtemp(b->cache)) return false;
    b->options.cache = b->cache;
    return true;
}

static void remove_cache(bench_t *b) {
    DIR *dir = opendir(b->cache);
    for (struct dirent *d; dir && (d = readdir(dir));) (void)unlinkat(dirfd(dir), d->d_name, 0);
    if (dir) closedir(dir);
    (void)rmdir(b->cache);
    b->options.cache = NULL;
}

static veer_status_t bench_pair(bench_t *b, const veer_bench_pair_t *pair) {
    veer_report_t *r = &b->c->report;
    char reason[512];
    json_t *row = veer_report_object(r);
    if (veer_bench_skip(pair, &b->options.places, reason)) {
        veer_put_text(r, row, "pair", pair->name);
        veer_put_text(r, row, "reason", reason);
        veer_append(r, b->skipped, row);
        veer_report_note(r, "%s: skipped: %s", pair->name, reason);
        return veer_ok();
    }
    bool own_cache = make_cache(b);
    veer_status_t status =
        b->kernels ? veer_bench_kernels(pair, &b->options, b->roof, r, b->rows) : fill_row(b, pair, row);
    if (own_cache) remove_cache(b);
    if (status || b->kernels)
        json_decref(row);
    else
        veer_append(r, b->rows, row);
    return status;
}

/* ---- the verb ---- */

/* Numbers as a reader wants them; --format json has all digits. */
static void round_rows(json_t *rows) {
    size_t i;
    json_t *row, *value;
    const char *key;
    json_array_foreach(rows, i, row) {
        json_object_foreach(row, key, value) {
            char text[32];
            if (!json_is_real(value)) continue;
            snprintf(text, sizeof text, "%.3g", json_real_value(value));
            json_real_set(value, strtod(text, NULL));
        }
    }
}

static void print_result(bench_t *b) {
    veer_report_t *r = &b->c->report;
    json_t *root = veer_report_object(r);
    if (b->kernels) veer_put_real(r, root, "peak_gflops", b->roof.gflops);
    veer_put_int(r, root, "threads", b->options.threads);
    veer_put(r, root, "pairs", json_incref(b->rows));
    veer_put(r, root, "skipped", json_incref(b->skipped));
    if (b->kernels) veer_put_real(r, root, "triad_gbytes", b->roof.gbytes);
    if (!veer_report_json(r, root)) {
        round_rows(b->rows);
        if (b->kernels)
            veer_report_print(r, "triad %.1f GB/s, FMA peak %.0f GFLOP/s, ", b->roof.gbytes, b->roof.gflops);
        veer_report_print(r, "%d thread%s\n", b->options.threads, b->options.threads == 1 ? "" : "s");
        if (b->kernels)
            veer_report_table(r, b->rows,
                              VEER_COLUMNS({"pair", NULL}, {"kernel", NULL}, {"backend", NULL}, {"calls", NULL},
                                           {"us", NULL}, {"share", NULL}, {"gflops", "GFLOP/s"}, {"gbytes", "GB/s"},
                                           {"roof", "of roof"}, {"why", "one thread's measurement"}, {"node", NULL}));
        else
            veer_report_table(
                r, b->rows,
                VEER_COLUMNS({"pair", NULL}, {"batch", NULL}, {"ms", "ms/step"}, {"best_ms", "best"},
                             {"torch_ms", "PyTorch"}, {"torch_best_ms", "best"}, {"speedup", NULL}, {"gflop", "GFLOP"},
                             {"gflops", "GFLOP/s"}, {"peak_gflops", "FMA peak"}, {"peak_share", "of peak"},
                             {"best_share", "at best"}, {"unit_share", "of unit"}, {"scaling", NULL},
                             {"copies_scaling", "of copies"}, {"cold_s", "cold s"}, {"compile_s", "compile s"},
                             {"compile_1000_s", "1000 steps"}, {"peak_mb", "peak MB"}, {"arena_mb", "arena MB"},
                             {"torch_peak_mb", "PyTorch MB"}));
    }
    json_decref(root);
}

static bool wanted(const bench_t *b, const char *name) {
    const veer_args_t *args = &b->c->args;
    for (int i = 0; i < args->operand_count; i++)
        if (!strcmp(args->operands[i], name)) return true;
    return !args->operand_count;
}

static veer_status_t check_names(const bench_t *b) {
    for (int i = 0; i < b->c->args.operand_count; i++) {
        bool known = false;
        for (int k = 0; k < veer_bench_pair_count; k++)
            known |= !strcmp(b->c->args.operands[i], veer_bench_pairs[k].name);
        if (!known)
            return veer_status_help(veer_error(VEER_ERR_CONFIG, "there is no pair '%s'", b->c->args.operands[i]),
                                    "digits, e2e, adm64 or difflm");
    }
    return veer_ok();
}

static veer_status_t read_options(bench_t *b) {
    const veer_args_t *args = &b->c->args;
    const char *examples = veer_args_value(args, "examples"), *perf = veer_args_value(args, "perf"),
               *fixtures = getenv("VEER_FIXTURES"), *python = veer_args_value(args, "python");
    int64_t steps = 0;
    VEER_TRY(veer_args_int(args, "steps", 2, 1000, &steps));
    b->options.seconds = 5;
    VEER_TRY(veer_args_double(args, "seconds", 0, &b->options.seconds));
    if (fixtures && !perf) {
        snprintf(b->perf, sizeof b->perf, "%s/perf", fixtures);
        perf = b->perf;
    }
    b->options.places =
        (veer_bench_places_t){.examples = examples ? examples : "examples", .pairs = "bench/pairs", .perf = perf};
    b->options.threads = b->c->threads ? b->c->threads : veer_threads_default();
    b->options.steps = (int)steps;
    b->options.backend = veer_args_value(args, "backend");
    b->options.tune = veer_args_value(args, "tune");
    b->options.cache = veer_args_value(args, "cache");
    b->options.memory_budget = veer_args_value(args, "memory-budget");
    b->kernels = veer_args_has(args, "kernels");
    b->python = python ? python : "/usr/bin/python3";
    b->script = veer_args_has(args, "no-torch") || access("bench/torch_step.py", R_OK) ? NULL : "bench/torch_step.py";
    return check_names(b);
}

static veer_status_t run_bench(veer_command_t *c) {
    bench_t b = {.c = c, .rows = veer_report_array(&c->report), .skipped = veer_report_array(&c->report)};
    veer_status_t status = read_options(&b);
    c->report.stage = "run";
    if (!status && b.kernels) status = measure_peak(&b);
    for (int i = 0; i < veer_bench_pair_count && !status; i++)
        if (wanted(&b, veer_bench_pairs[i].name)) status = bench_pair(&b, &veer_bench_pairs[i]);
    if (!status) print_result(&b);
    json_decref(b.rows);
    json_decref(b.skipped);
    return status;
}

static const veer_flag_t flags[] = {
    {"steps", 0, "N", "steps of a run (50 for the examples, 10 for the large pairs)", false},
    {"seconds", 0, "S", "how long each measurement goes on (5), at least five runs", false},
    {"examples", 0, "DIR", "where digits and e2e are (examples)", false},
    {"perf", 0, "DIR", "where the large models are ($VEER_FIXTURES/perf)", false},
    {"python", 0, "FILE", "the Python that has torch (/usr/bin/python3)", false},
    {"kernels", 0, NULL, "each kind of kernel of the step beside the machine's limits, instead of whole steps", false},
    {"no-torch", 0, NULL, "without the comparison with PyTorch", false},
    {"backend", 0, "NAME", "auto or reference", false},
    {"tune", 0, "on|cached|off", "as in veer sample", false},
    {"memory-budget", 0, "BYTES[K|M|G]", "as in veer sample", false},
    {"cache", 0, "DIR", "as in veer sample; a new one per pair unless given, so the first compilation is cold", false},
    {0},
};

const veer_verb_t veer_verb_bench = {
    .name = "bench",
    .operands = "[PAIR...]",
    .max_operands = 16,
    .summary = "time guided steps, beside the machine's peak and PyTorch",
    .details = "PAIR: digits, e2e, adm64, difflm; all that are there unless given. To be run in the project's folder.\n"
               "Every figure is a median of runs in a process of its own; PyTorch follows at once on the same models.",
    .example = "  veer bench digits e2e --no-torch",
    .flags = flags,
    .run = run_bench,
};
