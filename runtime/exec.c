/* Runs a plan: walks its calls, shares each kernel's work items over one OpenMP team, repeats loop bodies.
 *
 * Sharing is static and contiguous, and a work item's result does not depend on who does it, so any number of threads
 * gives the same bits. Nothing is allocated while running. */
#include "runtime/plan_internal.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_LEVELS = 8, MAX_THREADS = 256 };

struct veer_exec_s {
    const veer_plan_t *plan;
    char *arena;
    const void **inputs;
    void **outputs;
    void **ptrs;   /* of the call under way */
    char *scratch; /* scratch_threads x plan->scratch_bytes */
    int scratch_threads;
    /* of the run under way */
    const veer_run_options_t *options;
    int threads;
    int64_t index[MAX_LEVELS];
    double start_seconds;
};

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Cores, not hardware threads: SMT siblings share the FMA units that our kernels keep busy. */
int veer_threads_default(void) {
    cpu_set_t usable;
    CPU_ZERO(&usable);
    if (sched_getaffinity(0, sizeof usable, &usable)) return 1;
    int cores = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &usable)) continue;
        char path[96];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        FILE *f = fopen(path, "r");
        int first = cpu;
        if (f && fscanf(f, "%d", &first) != 1) first = cpu;
        if (f) fclose(f);
        /* A core counts once, at its first sibling; at its own number where that sibling is not ours to use. */
        if (first == cpu || first < 0 || first >= CPU_SETSIZE || !CPU_ISSET(first, &usable)) cores++;
    }
    return cores > MAX_THREADS ? MAX_THREADS : cores ? cores : 1;
}

veer_status_t veer_exec_create(const veer_plan_t *plan, veer_exec_t **out_exec) {
    veer_allocator_t a = plan->allocator;
    veer_exec_t *exec = veer_alloc(a, sizeof *exec);
    if (!exec) return veer_out_of_memory();
    exec->plan = plan;
    exec->arena = veer_alloc(a, plan->arena_bytes);
    exec->inputs = veer_alloc_array(a, (size_t)plan->input_count + 1, sizeof *exec->inputs);
    exec->outputs = veer_alloc_array(a, (size_t)plan->output_count + 1, sizeof *exec->outputs);
    exec->ptrs = veer_alloc_array(a, (size_t)plan->most_bufs + 1, sizeof *exec->ptrs);
    if (!exec->arena || !exec->inputs || !exec->outputs || !exec->ptrs) {
        veer_exec_destroy(exec);
        return veer_status_note(
            veer_error(VEER_ERR_RESOURCE, "out of memory: the plan needs an arena of %zu bytes", plan->arena_bytes),
            "a smaller batch needs less");
    }
    *out_exec = exec;
    return veer_ok();
}

void veer_exec_destroy(veer_exec_t *exec) {
    if (!exec) return;
    veer_allocator_t a = exec->plan->allocator;
    veer_free(a, exec->arena);
    veer_free(a, (void *)exec->inputs);
    veer_free(a, exec->outputs);
    veer_free(a, exec->ptrs);
    veer_free(a, exec->scratch);
    veer_free(a, exec);
}

void veer_exec_bind_input(veer_exec_t *exec, int i, const void *data) {
    exec->inputs[i] = data;
}
void veer_exec_bind_output(veer_exec_t *exec, int i, void *data) {
    exec->outputs[i] = data;
}

static char *resolve(const veer_exec_t *exec, const veer_buf_t *buf) {
    char *base = NULL;
    switch (buf->kind) {
    case VEER_BUF_NONE: return NULL;
    case VEER_BUF_ARENA: base = exec->arena + buf->at; break;
    case VEER_BUF_CONST: base = (char *)(uintptr_t)buf->ptr; break; /* kernels do not write to operands */
    case VEER_BUF_INPUT: base = (char *)(uintptr_t)exec->inputs[buf->at]; break;
    case VEER_BUF_OUTPUT: base = exec->outputs[buf->at]; break;
    }
    return base + buf->offset_bytes + buf->step_bytes * exec->index[buf->level];
}

static int run_shared(veer_exec_t *exec, const veer_call_t *call, veer_kernel_args_t args) {
    int64_t items = call->info.work_items;
    int threads = items < exec->threads ? (int)items : exec->threads, failed = 0;
#pragma omp parallel num_threads(threads) reduction(max : failed)
    {
        /* The team may be smaller than asked for; every item is done all the same. */
        int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
        veer_kernel_args_t mine = args;
        mine.begin = items * me / team;
        mine.end = items * (me + 1) / team;
        mine.thread = me;
        mine.scratch = exec->scratch ? exec->scratch + (size_t)me * exec->plan->scratch_bytes : NULL;
        if (mine.begin < mine.end) failed = call->fn(&mine);
    }
    return failed;
}

static veer_status_t kernel_error(const veer_call_t *call, int result) {
    static const char *const texts[VEER_KERNEL_RESULT_COUNT] = {
        "", "an index is out of range", "out of memory inside a library", "a library call failed"};
    veer_status_t status = result == VEER_KERNEL_MEMORY
                               ? veer_error(VEER_ERR_RESOURCE, "kernel '%s': %s", call->info.name, texts[result])
                               : veer_error(VEER_ERR_FAILED, "kernel '%s': %s", call->info.name,
                                            result > 0 && result < VEER_KERNEL_RESULT_COUNT ? texts[result] : "failed");
    if (call->info.origin_count) status = veer_status_note(status, "it computes node '%s'", call->info.origins[0]);
    if (result == VEER_KERNEL_INDEX)
        status = veer_status_help(status, "check labels and token ids against the sizes of the tables that they index");
    return status;
}

/* Waking and joining a team costs some microseconds: a call that one core is done with sooner stays on one. Rough rates
 * of one core: 10 operations and 6 bytes a nanosecond. The choice changes who does an item, never its result. */
static bool too_small_to_share(const veer_call_t *call) {
    enum { TEAM_NANOSECONDS = 5000 };
    return call->info.flops > 0 && call->info.flops / 10 + call->info.bytes / 6 < TEAM_NANOSECONDS;
}

static veer_status_t run_kernel(veer_exec_t *exec, const veer_call_t *call) {
    for (int i = 0; i < call->buf_count; i++) exec->ptrs[i] = resolve(exec, &call->bufs[i]);
    veer_kernel_args_t args = {.buf = exec->ptrs,
                               .params = call->params,
                               .end = call->info.work_items,
                               .scratch = exec->scratch,
                               .threads = exec->threads};
    int result;
    if (call->team || call->info.work_items == 1 || exec->threads == 1 || too_small_to_share(call))
        result = call->fn(&args);
    else
        result = run_shared(exec, call, args);
    return result ? kernel_error(call, result) : veer_ok();
}

static veer_status_t run_calls(veer_exec_t *exec, int first, int end, int level);

static veer_status_t run_loop(veer_exec_t *exec, int at, int level) {
    const veer_call_t *loop = &exec->plan->calls[at];
    const veer_run_options_t *o = exec->options;
    int64_t trip = loop->trip;
    if (loop->main_loop && o->steps > 0 && o->steps < trip) trip = o->steps;
    for (int64_t i = 0; i < trip; i++) {
        exec->index[level] = i;
        memcpy(resolve(exec, &loop->bufs[0]), &i, sizeof i);
        VEER_TRY(run_calls(exec, at + 1, loop->body_end, level + 1));
        if (!loop->main_loop || !o->progress) continue;
        veer_step_info_t info = {.step = i + 1, .steps = trip, .seconds = now_seconds() - exec->start_seconds};
        if (o->progress(&info, o->user))
            return veer_error(VEER_ERR_INTERRUPTED, "stopped after step %lld of %lld", (long long)(i + 1),
                              (long long)trip);
    }
    exec->index[level] = 0;
    return veer_ok();
}

static veer_status_t run_calls(veer_exec_t *exec, int first, int end, int level) {
    for (int at = first; at < end;) {
        const veer_call_t *call = &exec->plan->calls[at];
        double *seconds = exec->options->call_seconds, start = seconds ? now_seconds() : 0;
        if (call->info.kind == VEER_CALL_LOOP)
            VEER_TRY(run_loop(exec, at, level));
        else if (call->info.kind == VEER_CALL_COPY)
            memmove(resolve(exec, &call->bufs[0]), resolve(exec, &call->bufs[1]), call->copy_bytes);
        else
            VEER_TRY(run_kernel(exec, call));
        if (seconds) seconds[at] += now_seconds() - start;
        at = call->info.kind == VEER_CALL_LOOP ? call->body_end : at + 1;
    }
    return veer_ok();
}

static veer_status_t check_bound(const veer_exec_t *exec) {
    const veer_plan_t *plan = exec->plan;
    for (int i = 0; i < plan->input_count; i++)
        if (!exec->inputs[i]) return veer_error(VEER_ERR_CONFIG, "input '%s' is not given", plan->inputs[i].name);
    for (int i = 0; i < plan->output_count; i++)
        if (!exec->outputs[i]) return veer_error(VEER_ERR_CONFIG, "output '%s' is not bound", plan->outputs[i].name);
    return veer_ok();
}

static veer_status_t reserve_scratch(veer_exec_t *exec) {
    size_t each = exec->plan->scratch_bytes;
    if (!each || exec->threads <= exec->scratch_threads) return veer_ok();
    char *scratch = veer_alloc_array(exec->plan->allocator, (size_t)exec->threads, each);
    if (!scratch) return veer_out_of_memory();
    veer_free(exec->plan->allocator, exec->scratch);
    exec->scratch = scratch;
    exec->scratch_threads = exec->threads;
    return veer_ok();
}

veer_status_t veer_exec_run(veer_exec_t *exec, const veer_run_options_t *options) {
    VEER_TRY(check_bound(exec));
    exec->options = options;
    exec->threads = options->threads > 0 ? options->threads : veer_threads_default();
    if (exec->threads > MAX_THREADS) exec->threads = MAX_THREADS;
    VEER_TRY(reserve_scratch(exec));
    memset(exec->index, 0, sizeof exec->index);
    exec->start_seconds = now_seconds();
    /* Libraries that open a team of their own (calls with `team`) take its size from here. */
    int before = omp_get_max_threads();
    omp_set_num_threads(exec->threads);
    veer_status_t status = run_calls(exec, 0, exec->plan->call_count, 0);
    omp_set_num_threads(before);
    return status;
}
