#include "api/tune.h"

#include "ir/base/clock.h"
#include "ir/base/text.h"
#include "ir/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REASON_BYTES = 512, WHY_BYTES = 160, MACHINE_BYTES = 8192, ALIGNMENT = 64, MAX_BUFS = 64 };
/* A neighbour on the same core takes the matrix unit or the caches for tenths of a second, which would decide for good
 * what is measured then. So all nodes are gone through several times, some rounds each; again those of which a time
 * became less than SETTLED of what it was. */
enum { LEAST_PASSES = 3, MOST_PASSES = 8, ROUNDS = 3 };
static const double SETTLED = 0.95;
/* The round that would go beyond this ends a node's turn; one is always done. */
static const double ENOUGH_SECONDS = 0.07;
/* What the passes beyond the least may take. */
static const double MORE_SECONDS = 3;
/* A compilation waits so long in all for the matrix unit to be its own, looking every millisecond. */
static const double MOST_WAITING = 2, OWN_SHARE = 0.85;
static const useconds_t LOOK_MICROSECONDS = 1000;
/* More than second caches hold, less than takes long to read. */
static const size_t OTHER_BYTES = 8 << 20;
/* A step's constants that no cache keeps until the next step. */
static const size_t LARGE_BYTES = 32 << 20;
/* Makers come first in their order unless another one is faster by more than noise. */
static const double WORTH = 0.97;

/* All nodes of one signature. */
typedef struct subject_s {
    char *signature;
    veer_node_t node;    /* one of them */
    unsigned candidates; /* bit per maker */
    veer_choice_t choices[VEER_MAKER_COUNT];
    double seconds[VEER_MAKER_COUNT]; /* the least so far; 0: none */
    bool settled;                     /* the last turn made none much less */
    veer_maker_t best;                /* VEER_MAKER_NONE: not known */
    char why[WHY_BYTES];
} subject_t;

struct veer_tuning_s {
    veer_allocator_t allocator;
    const veer_graph_t *g;
    const veer_makers_t *makers;
    veer_cache_t *cache;
    size_t constant_bytes; /* that the nodes in loops read */
    bool is_large;         /* constants of the step are in no cache when their turn comes */
    double waited;         /* seconds, for the matrix unit */
    char machine[MACHINE_BYTES];
    subject_t *subjects;
    int count;
    int *subject_of; /* by node id: index plus 1 */
};

veer_status_t veer_tune_parse(const char *name, veer_tune_mode_t *out_mode) {
    static const char *const names[] = {"off", "cached", "on"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) {
            *out_mode = (veer_tune_mode_t)i;
            return veer_ok();
        }
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "unknown tune mode '%s'", name), "use off, cached or on");
}

void veer_tuning_destroy(veer_tuning_t *t) {
    if (!t) return;
    for (int i = 0; i < t->count; i++) veer_free(t->allocator, t->subjects[i].signature);
    veer_free(t->allocator, t->subjects);
    veer_free(t->allocator, t->subject_of);
    veer_free(t->allocator, t);
}

veer_maker_t veer_tuning_choice(const veer_tuning_t *t, veer_node_t n, const char **out_why) {
    *out_why = "";
    if (!t || !t->subject_of[n.i]) return VEER_MAKER_NONE;
    const subject_t *s = &t->subjects[t->subject_of[n.i] - 1];
    *out_why = s->why;
    return s->best;
}

/* ---- subjects ---- */

/* Makers that are worth comparing: the reference loops and fused elementwise kernels never compete. */
static veer_status_t candidates_of(const veer_makers_t *m, const veer_graph_t *g, veer_node_t n, unsigned *out_mask) {
    char reason[REASON_BYTES];
    *out_mask = 0;
    for (veer_maker_t maker = VEER_MAKER_NONE + 1; maker < VEER_MAKER_LLVM; maker++) {
        bool supports;
        VEER_TRY(veer_maker_supports(m, maker, g, n, &supports, reason, sizeof reason));
        if (supports) *out_mask |= 1u << maker;
    }
    return veer_ok();
}

static veer_status_t add_subject(veer_tuning_t *t, veer_node_t n, unsigned candidates) {
    char *signature;
    VEER_TRY(veer_print_signature(t->g, n, t->allocator, &signature));
    int i = 0;
    while (i < t->count && strcmp(t->subjects[i].signature, signature) != 0) i++;
    if (i < t->count)
        veer_free(t->allocator, signature);
    else
        t->subjects[t->count++] = (subject_t){.signature = signature, .node = n, .candidates = candidates};
    t->subject_of[n.i] = i + 1;
    return veer_ok();
}

static bool holds_loop(const veer_graph_t *g, veer_region_t region) {
    VEER_FOR_EACH_NODE(g, region, n)
    if (veer_node_op(g, n) == VEER_OP_LOOP) return true;
    return false;
}

static size_t constant_bytes(const veer_graph_t *g, veer_node_t n) {
    size_t sum = 0;
    for (int i = 0; i < veer_node_in_count(g, n); i++) {
        veer_value_t v = veer_node_in(g, n, i);
        if (v.i && veer_value_const_data(g, v)) sum += veer_type_bytes(veer_value_type(g, v));
    }
    return sum;
}

static veer_status_t collect(veer_tuning_t *t, veer_region_t region, bool in_loop) {
    VEER_FOR_EACH_NODE(t->g, region, n) {
        if (veer_node_op(t->g, n) == VEER_OP_LOOP) {
            VEER_TRY(collect(t, veer_node_body(t->g, n), true));
        } else if (in_loop) {
            unsigned candidates;
            t->constant_bytes += constant_bytes(t->g, n);
            VEER_TRY(candidates_of(t->makers, t->g, n, &candidates));
            if (candidates & (candidates - 1)) VEER_TRY(add_subject(t, n, candidates));
        }
    }
    return veer_ok();
}

/* ---- cache ---- */

/* The libraries, and what stays the same of the first processor's description: its clock does not. */
static void describe_machine(char out[MACHINE_BYTES]) {
    static const char *const wanted[] = {"vendor_id",  "cpu family", "model",    "model name", "stepping",
                                         "cache size", "flags",      "CPU part", "Features"};
    char line[MACHINE_BYTES];
    veer_makers_versions(out);
    size_t at = strlen(out);
    at += (size_t)snprintf(out + at, MACHINE_BYTES - at, "%ld processors\n", sysconf(_SC_NPROCESSORS_CONF));
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f) && *line != '\n') {
        size_t name = strcspn(line, "\t:");
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (strlen(wanted[i]) == name && !strncmp(line, wanted[i], name) && at < MACHINE_BYTES)
                at += (size_t)snprintf(out + at, MACHINE_BYTES - at, "%s", line);
    }
    if (f) fclose(f);
}

static veer_status_t cache_key(const veer_tuning_t *t, const subject_t *s, char **out_key) {
    veer_text_t text = veer_text_make(t->allocator);
    veer_text_add(&text, "tune 7\n%s\n%s%s", t->machine, t->is_large ? "large\n" : "",
                  t->makers->options.strict ? "strict\n" : "");
    for (veer_maker_t m = VEER_MAKER_NONE + 1; m < VEER_MAKER_COUNT; m++)
        if (s->candidates & 1u << m) veer_text_add(&text, "%s\n", veer_maker_name(m));
    veer_text_add(&text, "%s", s->signature);
    veer_status_t status = veer_text_take(&text, out_key);
    veer_text_deinit(&text);
    return status;
}

/* "onednn" NUL "measured: ..." NUL. */
static void read_decision(subject_t *s, const char *value, size_t bytes) {
    size_t name = strnlen(value, bytes);
    if (name + 1 >= bytes || value[bytes - 1]) return;
    for (veer_maker_t m = VEER_MAKER_NONE + 1; m < VEER_MAKER_COUNT; m++)
        if (s->candidates & 1u << m && !strcmp(value, veer_maker_name(m))) s->best = m;
    snprintf(s->why, sizeof s->why, "%s", value + name + 1);
}

static veer_status_t look_up(veer_tuning_t *t, subject_t *s) {
    char *key;
    void *value;
    size_t bytes;
    VEER_TRY(cache_key(t, s, &key));
    if (veer_cache_find(t->cache, key, strlen(key), &value, &bytes)) {
        read_decision(s, value, bytes);
        veer_free(t->allocator, value);
    }
    veer_free(t->allocator, key);
    return veer_ok();
}

static veer_status_t keep(veer_tuning_t *t, subject_t *s) {
    char *key, value[WHY_BYTES + 64];
    VEER_TRY(cache_key(t, s, &key));
    int name = snprintf(value, sizeof value, "%s", veer_maker_name(s->best)) + 1;
    int why = snprintf(value + name, sizeof value - (size_t)name, "%s", s->why) + 1;
    veer_cache_store_first(t->cache, key, strlen(key), value, (size_t)(name + why));
    veer_free(t->allocator, key);
    return look_up(t, s); /* another process may have been first */
}

/* ---- measurement ---- */

/* One node's buffers, filled with numbers that are neither zero nor extreme. */
typedef struct bench_s {
    veer_allocator_t allocator;
    void *memory[MAX_BUFS], *buf[MAX_BUFS];
    size_t constant_bytes[MAX_BUFS]; /* 0: no constant */
    int count;
    void *scratch_memory, *scratch;
    char *other; /* OTHER_BYTES that stand for what the step reads between two runs of the node */
} bench_t;

static void *align(void *p) {
    return (void *)(((uintptr_t)p + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

static veer_status_t add_buffer(bench_t *b, const veer_graph_t *g, veer_value_t v) {
    int i = b->count++;
    if (!v.i) return veer_ok();
    const void *bytes = veer_value_const_data(g, v);
    if (bytes) {
        b->buf[i] = (void *)(uintptr_t)bytes; /* kernels only read operands */
        b->constant_bytes[i] = veer_type_bytes(veer_value_type(g, v));
        return veer_ok();
    }
    const veer_type_t *type = veer_value_type(g, v);
    size_t size = veer_type_bytes(type);
    b->memory[i] = veer_alloc(b->allocator, size + ALIGNMENT);
    if (!b->memory[i]) return veer_out_of_memory();
    b->buf[i] = align(b->memory[i]);
    if (type->dtype == VEER_DTYPE_F32)
        for (size_t k = 0; k < size / sizeof(float); k++) ((float *)b->buf[i])[k] = 0.25f + (float)(k % 13) / 32;
    return veer_ok();
}

static veer_status_t bench_init(bench_t *b, const veer_graph_t *g, const subject_t *s) {
    for (int i = 0; i < veer_node_in_count(g, s->node); i++) VEER_TRY(add_buffer(b, g, veer_node_in(g, s->node, i)));
    for (int i = 0; i < veer_node_out_count(g, s->node); i++) VEER_TRY(add_buffer(b, g, veer_node_out(g, s->node, i)));
    size_t scratch = 0;
    for (int m = 0; m < VEER_MAKER_COUNT; m++)
        if (s->choices[m].by && s->choices[m].desc.scratch_bytes > scratch) scratch = s->choices[m].desc.scratch_bytes;
    b->scratch_memory = veer_alloc(b->allocator, scratch + ALIGNMENT);
    if (!b->scratch_memory) return veer_out_of_memory();
    b->scratch = align(b->scratch_memory);
    b->other = veer_alloc(b->allocator, OTHER_BYTES);
    return b->other ? veer_ok() : veer_out_of_memory();
}

static void bench_deinit(bench_t *b) {
    for (int i = 0; i < b->count; i++) veer_free(b->allocator, b->memory[i]);
    veer_free(b->allocator, b->scratch_memory);
    veer_free(b->allocator, b->other);
}

/* Out of all caches, where user code can have it in little time: 9 MB take 0.4 ms, by the older clflush 25. */
#if defined __x86_64__
__attribute__((target("clflushopt"))) static void evict_lines(const char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += ALIGNMENT) __builtin_ia32_clflushopt((void *)(uintptr_t)(p + i));
    __builtin_ia32_mfence();
}

static void evict(const void *p, size_t bytes) {
    if (__builtin_cpu_supports("clflushopt")) evict_lines(p, bytes);
}
#else
static void evict(const void *p, size_t bytes) {
    (void)p, (void)bytes;
}
#endif

/* In a step a node's weights were not read since the step before, and where those of all nodes are many they come from
 * memory: kernels that read less, or fetch ahead, must be seen to do so. */
static void forget(const bench_t *b, const veer_choice_t *c, bool is_large) {
    for (size_t i = 0; i < OTHER_BYTES; i += ALIGNMENT) ++*(volatile char *)&b->other[i];
    const void *own;
    size_t bytes;
    for (int i = 0; is_large && (own = veer_choice_constant(c, i, &bytes)); i++) evict(own, bytes);
    for (int i = 0; is_large && i < b->count; i++) evict(b->buf[i], b->constant_bytes[i]);
}

/* Seconds of one execution; negative where the kernel fails. */
static double execute(const bench_t *b, const veer_choice_t *c) {
    void *buf[MAX_BUFS];
    memcpy(buf, b->buf, sizeof buf);
    if (c->packed) buf[c->packed_buf] = (void *)(uintptr_t)c->packed;
    veer_kernel_args_t args = {
        .buf = buf, .params = c->desc.params, .end = c->desc.work_items, .scratch = b->scratch, .threads = 1};
    double begin = veer_clock_seconds();
    return c->desc.fn(&args) == VEER_KERNEL_OK ? veer_clock_seconds() - begin : -1;
}

/* The best of several rounds, in which the candidates take turns; in the first pass after one that warms up. */
static void measure_rounds(const bench_t *b, subject_t *s, int pass, bool is_large) {
    double begin = veer_clock_seconds();
    s->settled = true;
    for (int round = pass ? 0 : -1; round < ROUNDS; round++) {
        if (round >= 1 && veer_clock_seconds() - begin > ENOUGH_SECONDS) break;
        for (int m = 0; m < VEER_MAKER_COUNT; m++) {
            if (!s->choices[m].by) continue;
            forget(b, &s->choices[m], is_large);
            double seconds = execute(b, &s->choices[m]);
            if (seconds < 0) s->choices[m].by = VEER_MAKER_NONE;
            if (seconds < 0 || round < 0 || (s->seconds[m] > 0 && seconds >= s->seconds[m])) continue;
            if (seconds < s->seconds[m] * SETTLED) s->settled = false;
            s->seconds[m] = seconds;
        }
    }
}

/* On all cores of the machine, each taking whole items: a kernel of few items pays for the idle ones. */
static double spread(double seconds, int64_t items) {
    long cores = sysconf(_SC_NPROCESSORS_CONF);
    if (cores < 1) cores = 1;
    if (cores > 8) cores = 8;
    return seconds / (double)items * (double)((items + cores - 1) / cores);
}

static void decide(subject_t *s) {
    double best = 0;
    size_t at = (size_t)snprintf(s->why, sizeof s->why, "measured:");
    for (veer_maker_t m = VEER_MAKER_NONE + 1; m < VEER_MAKER_COUNT; m++) {
        if (!s->choices[m].by) continue;
        double seconds = spread(s->seconds[m], s->choices[m].desc.work_items);
        if (at < sizeof s->why)
            at += (size_t)snprintf(s->why + at, sizeof s->why - at, "%s %s %.1f us", s->best ? "," : "",
                                   veer_maker_name(m), seconds * 1e6);
        if (!s->best || seconds < best * WORTH) s->best = m, best = seconds;
    }
}

static void await_unit(veer_tuning_t *t, const veer_makers_t *makers) {
    double begin = veer_clock_seconds();
    while (t->waited + veer_clock_seconds() - begin < MOST_WAITING && veer_makers_unit_share(makers) < OWN_SHARE)
        usleep(LOOK_MICROSECONDS);
    t->waited += veer_clock_seconds() - begin;
}

static veer_status_t measure(veer_tuning_t *t, const veer_makers_t *makers, subject_t *s, int pass) {
    enum { OF_UNIT = 1u << VEER_MAKER_AMX_MATMUL | 1u << VEER_MAKER_AMX_CONV };
    bench_t b = {.allocator = t->allocator};
    veer_status_t status = bench_init(&b, t->g, s);
    if (!status && s->candidates & OF_UNIT) await_unit(t, makers);
    if (!status) measure_rounds(&b, s, pass, t->is_large);
    bench_deinit(&b);
    return status;
}

static bool is_open(const veer_tuning_t *t, const subject_t *s) {
    return !s->best && veer_node_in_count(t->g, s->node) + veer_node_out_count(t->g, s->node) <= MAX_BUFS;
}

static veer_status_t emit_candidates(veer_tuning_t *t, veer_makers_t *makers) {
    char reason[REASON_BYTES];
    for (int i = 0; i < t->count; i++) {
        subject_t *s = &t->subjects[i];
        for (veer_maker_t m = VEER_MAKER_NONE + 1; m < VEER_MAKER_COUNT; m++)
            if (is_open(t, s) && s->candidates & 1u << m)
                VEER_TRY(veer_maker_emit(makers, m, t->g, s->node, &s->choices[m], reason, sizeof reason));
    }
    return veer_makers_finish(makers);
}

static veer_status_t measure_passes(veer_tuning_t *t, const veer_makers_t *makers) {
    double begin = veer_clock_seconds();
    for (int pass = 0; pass < MOST_PASSES; pass++) {
        if (pass == LEAST_PASSES) begin = veer_clock_seconds();
        if (pass > LEAST_PASSES && veer_clock_seconds() - begin > MORE_SECONDS) break;
        for (int i = 0; i < t->count; i++) {
            subject_t *s = &t->subjects[i];
            if (!is_open(t, s) || (pass >= LEAST_PASSES && s->settled)) continue;
            VEER_TRY(measure(t, makers, s, pass));
        }
    }
    return veer_ok();
}

static veer_status_t measure_all(veer_tuning_t *t, veer_makers_t *makers) {
    VEER_TRY(emit_candidates(t, makers));
    for (int i = 0; i < t->count; i++) {
        subject_t *s = &t->subjects[i];
        for (int m = 0; is_open(t, s) && m < VEER_MAKER_COUNT; m++)
            s->choices[m].desc.fn = veer_choice_function(makers, &s->choices[m]);
    }
    VEER_TRY(measure_passes(t, makers));
    for (int i = 0; i < t->count; i++) {
        subject_t *s = &t->subjects[i];
        if (!is_open(t, s)) continue;
        decide(s);
        if (s->best) VEER_TRY(keep(t, s));
    }
    return veer_ok();
}

/* Candidates live in a plan of their own, which is dropped. */
static veer_status_t measure_open(veer_tuning_t *t) {
    int open = 0;
    for (int i = 0; i < t->count; i++) open += is_open(t, &t->subjects[i]);
    if (!open) return veer_ok();
    veer_plan_t *plan;
    veer_makers_t makers;
    VEER_TRY(veer_plan_create(t->allocator, &plan));
    veer_status_t status = veer_makers_open(&t->makers->options, plan, t->allocator, &makers);
    if (!status) status = measure_all(t, &makers);
    veer_plan_destroy(plan);
    return status;
}

static veer_status_t tune(veer_tuning_t *t, veer_region_t body, veer_tune_mode_t mode) {
    size_t nodes = veer_graph_node_limit(t->g);
    t->subjects = veer_alloc_array(t->allocator, nodes, sizeof *t->subjects);
    t->subject_of = veer_alloc_array(t->allocator, nodes, sizeof *t->subject_of);
    if (!t->subjects || !t->subject_of) return veer_out_of_memory();
    describe_machine(t->machine);
    VEER_TRY(collect(t, body, !holds_loop(t->g, body)));
    t->is_large = t->constant_bytes > LARGE_BYTES;
    for (int i = 0; i < t->count; i++) VEER_TRY(look_up(t, &t->subjects[i]));
    return mode == VEER_TUNE_ON ? measure_open(t) : veer_ok();
}

veer_status_t veer_tune(const veer_graph_t *g, veer_region_t body, veer_tune_mode_t mode, const veer_makers_t *makers,
                        veer_tuning_t **out_tuning) {
    *out_tuning = NULL;
    if (mode == VEER_TUNE_OFF || !makers->options.cache) return veer_ok();
    veer_tuning_t *t = veer_alloc(makers->allocator, sizeof *t);
    if (!t) return veer_out_of_memory();
    t->allocator = makers->allocator, t->g = g, t->makers = makers, t->cache = makers->options.cache;
    veer_status_t status = tune(t, body, mode);
    if (status)
        veer_tuning_destroy(t);
    else
        *out_tuning = t;
    return status;
}
