/* Runs a plan: one OpenMP team walks its calls together, sharing out every kernel's work items (share.h).
 *
 * A work item's result does not depend on who does it, so any number of threads gives the same bits. Nothing is
 * allocated while running.
 *
 *  1. All threads take the same way through the plan: what decides it is the same for all, or decided while they wait.
 *  2. A call begins once the calls before it are done, but for the last few that it need not wait for (`overlap`).
 *     Around a loop, between its iterations and around two strands all meet.
 *  3. Of two strands each has threads of its own, who go through it as if it were all, and then through the other to
 *     help there: what is done they pass by. So calls too small for all cores are done by one of them, with everything
 *     in its own cache.
 *  4. Behind a call that failed nothing is begun; what is before it is done by all, so of several failures the earliest
 *     tells. */
#include "ir/base/clock.h"
#include "runtime/plan_internal.h"
#include "runtime/share.h"
#include "runtime/team.h"

#include <limits.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LEVELS = 8, MAX_THREADS = 256, BOARDS = 2 /* strand 2 has one of its own */ };

/* One thread of a run. */
typedef struct worker_s {
    _Alignas(64) struct veer_exec_s *exec;
    int me, team;
    void **ptrs; /* of the call under way */
    char *scratch;
    int64_t index[MAX_LEVELS];
    struct {
        uint64_t turn, done; /* calls begun; all up to this one are done */
    } on[BOARDS];
    int failed_at, result; /* the call that failed here, -1: none */
} worker_t;

struct veer_exec_s {
    const veer_plan_t *plan;
    char *arena;
    const void **inputs;
    void **outputs;
    int *next_streams; /* by call */
    worker_t *workers;
    veer_board_word_t *parts; /* VEER_BOARD_TURNS per worker and board */
    void **ptrs;              /* most_bufs per thread */
    char *scratch;            /* plan->scratch_bytes per thread */
    int room;                 /* threads that the three above suffice for */
    /* of the run under way */
    const veer_run_options_t *options;
    veer_barrier_t barrier;
    veer_board_t boards[BOARDS];
    atomic_int failed_at; /* the earliest call that failed, INT_MAX: none */
    double start_seconds, call_start;
    int64_t steps_done, steps;
    bool interrupted; /* by the progress callback */
    bool stop;        /* written while all wait, read when they go on */
};

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
    exec->next_streams = veer_alloc_array(a, (size_t)plan->call_count + 1, sizeof *exec->next_streams);
    if (!exec->arena || !exec->inputs || !exec->outputs || !exec->next_streams) {
        veer_exec_destroy(exec);
        return veer_status_note(
            veer_error(VEER_ERR_RESOURCE, "out of memory: the plan needs an arena of %zu bytes", plan->arena_bytes),
            "a smaller batch needs less");
    }
    veer_plan_next_streams(plan, exec->next_streams);
    *out_exec = exec;
    return veer_ok();
}

void veer_exec_destroy(veer_exec_t *exec) {
    if (!exec) return;
    veer_allocator_t a = exec->plan->allocator;
    veer_free(a, exec->arena);
    veer_free(a, (void *)exec->inputs);
    veer_free(a, exec->outputs);
    veer_free(a, exec->next_streams);
    veer_free(a, exec->workers);
    veer_free(a, exec->parts);
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

static char *resolve(const worker_t *w, const veer_buf_t *buf) {
    const veer_exec_t *exec = w->exec;
    char *base = NULL;
    switch (buf->kind) {
    case VEER_BUF_NONE: return NULL;
    case VEER_BUF_ARENA: base = exec->arena + buf->at; break;
    case VEER_BUF_CONST: base = (char *)(uintptr_t)buf->ptr; break; /* kernels do not write to operands */
    case VEER_BUF_INPUT: base = (char *)(uintptr_t)exec->inputs[buf->at]; break;
    case VEER_BUF_OUTPUT: base = exec->outputs[buf->at]; break;
    }
    return base + buf->offset_bytes + buf->step_bytes * w->index[buf->level];
}

/* ---- meeting and waiting ---- */

static void decide(void *user) {
    veer_exec_t *exec = user;
    exec->stop |= atomic_load(&exec->failed_at) != INT_MAX || exec->interrupted;
}

/* `last` calls `decide`. False where the run ends here. */
static bool meet_at(worker_t *w, void (*last)(void *), void *user) {
    veer_barrier_wait(&w->exec->barrier, last, user);
    for (int i = 0; i < BOARDS; i++) w->on[i].done = w->on[i].turn;
    return !w->exec->stop;
}
static bool meet(worker_t *w) {
    return meet_at(w, decide, w->exec);
}

typedef struct need_s {
    worker_t *w;
    int board;
    uint64_t turn; /* this one and all before it */
    int call;      /* that needs them */
} need_t;

static bool is_ready(void *user) {
    const need_t *n = user;
    const veer_exec_t *exec = n->w->exec;
    uint64_t *done = &n->w->on[n->board].done;
    while (*done < n->turn && veer_board_is_done(&exec->boards[n->board], *done + 1)) ++*done;
    return *done >= n->turn || atomic_load(&exec->failed_at) < n->call;
}

/* Before the board's next turn. False where nothing more is to be begun. */
static bool wait_before(worker_t *w, int at, int board) {
    int overlap = w->exec->plan->calls[at].overlap, most = VEER_BOARD_TURNS - 1;
    uint64_t back = (uint64_t)(overlap < most ? overlap : most), turn = w->on[board].turn;
    need_t need = {w, board, turn > back ? turn - back : 0, at};
    if (!is_ready(&need)) veer_barrier_until(&w->exec->barrier, is_ready, &need);
    return atomic_load(&w->exec->failed_at) >= at;
}

/* ---- calls ---- */

/* Meeting costs up to a microsecond: a call that one core is done with sooner stays on one. The choice changes who does
 * an item, never its result. */
static bool is_shared(const veer_call_t *call) {
    enum { MEETING = 2000 };
    if (call->info.kind != VEER_CALL_KERNEL || call->info.work_items == 1) return false;
    return call->info.flops <= 0 || veer_call_nanoseconds(call) >= MEETING;
}

/* Items that take so long that starting with them costs little: some 15 microseconds, rates being rough. */
static int64_t least_items(const veer_call_t *call) {
    static const double PIECE = 40000;
    double all = veer_call_nanoseconds(call);
    return all > PIECE ? (int64_t)((double)call->info.work_items * PIECE / all) + 1 : call->info.work_items;
}

/* Whose parts a call's items are: all threads' or, of a strand, those of the threads that it got by its work. */
typedef struct crew_s {
    int first, count, board;
} crew_t;

/* Not where a thread might fall behind the other strand's turns further than a board can tell. */
static bool goes_apart(const worker_t *w, const veer_call_t *call) {
    const veer_strands_t *s = call->strands;
    return s && w->team > 1 && !w->exec->options->call_seconds && s->end - s->first < VEER_BOARD_APART;
}

static crew_t crew_of(const worker_t *w, const veer_call_t *call) {
    if (!goes_apart(w, call)) return (crew_t){0, w->team, 0};
    const double *work = call->strands->nanoseconds;
    double share = work[0] + work[1] > 0 ? work[0] / (work[0] + work[1]) : 0;
    int first = (int)(share * w->team + 0.5);
    first = first < 1 ? 1 : first < w->team ? first : w->team - 1;
    return call->info.strand == 1 ? (crew_t){0, first, 0} : (crew_t){first, w->team - first, 1};
}

static const void *stream_at(const veer_call_t *call, int64_t item) {
    const veer_stream_t *s = &call->stream;
    return (const char *)s->data + item / s->div % s->mod * s->bytes;
}

/* Where this thread's part of the next call with a stream begins. */
static const void *next_stream(const worker_t *w, int at) {
    int next = w->exec->next_streams[at];
    if (next < 0) return NULL;
    const veer_call_t *call = &w->exec->plan->calls[next];
    crew_t crew = crew_of(w, call);
    int me = w->me - crew.first;
    if (me < 0 || me >= crew.count) return NULL;
    int64_t items = call->info.work_items, item = me ? items : 0;
    if (is_shared(call)) item = veer_share_first(items, me, crew.count);
    return item < items ? stream_at(call, item) : NULL;
}

static int run_items(worker_t *w, const veer_call_t *call, int at, const veer_range_t *items, bool again) {
    if (call->info.kind == VEER_CALL_COPY) {
        memmove(w->ptrs[0], w->ptrs[1], call->copy_bytes);
        return VEER_KERNEL_OK;
    }
    veer_kernel_args_t args = {.buf = w->ptrs,
                               .params = call->params,
                               .begin = items->begin,
                               .end = items->end,
                               .scratch = w->scratch,
                               .thread = w->me,
                               .threads = w->team,
                               .continues = items->continues,
                               .again = again};
    args.next = items->is_last || !call->stream.data ? next_stream(w, at) : stream_at(call, items->end);
    return call->fn(&args);
}

static void note_failure(worker_t *w, int at, int result) {
    w->failed_at = at, w->result = result;
    int first = atomic_load(&w->exec->failed_at);
    while (at < first && !atomic_compare_exchange_weak(&w->exec->failed_at, &first, at)) continue;
    veer_barrier_wake(&w->exec->barrier);
}

static void run_call(worker_t *w, const veer_call_t *call, int at) {
    crew_t crew = crew_of(w, call);
    veer_board_t *board = &w->exec->boards[crew.board];
    if (!wait_before(w, at, crew.board)) return;
    bool shared = is_shared(call);
    veer_share_t share = {++w->on[crew.board].turn, call->info.work_items,
                          shared ? least_items(call) : call->info.work_items, crew.first, shared ? crew.count : 1};
    bool again = false;
    for (veer_range_t items = {0}; veer_board_take(board, &share, w->me, &items); again = true) {
        for (int i = 0; !again && i < call->buf_count; i++) w->ptrs[i] = resolve(w, &call->bufs[i]);
        int result = run_items(w, call, at, &items, again);
        if (result && (w->failed_at < 0 || at < w->failed_at)) note_failure(w, at, result);
        if (veer_board_finish(board, &share, &items)) veer_barrier_wake(&w->exec->barrier);
    }
}

static bool run_calls(worker_t *w, int first, int end, int level);

static bool report(worker_t *w, int64_t done, int64_t trip) {
    veer_exec_t *exec = w->exec;
    const veer_run_options_t *o = exec->options;
    if (w->me == 0) {
        veer_step_info_t info = {.step = done, .steps = trip, .seconds = veer_clock_seconds() - exec->start_seconds};
        exec->steps_done = done, exec->steps = trip;
        exec->interrupted = o->progress(&info, o->user) != 0;
    }
    return meet(w);
}

typedef struct iteration_s {
    worker_t *w;
    const veer_call_t *loop;
    int64_t i;
} iteration_t;

static void begin_iteration(void *user) {
    iteration_t *it = user;
    decide(it->w->exec);
    memcpy(resolve(it->w, &it->loop->bufs[0]), &it->i, sizeof it->i);
}

static bool run_loop(worker_t *w, int at, int level) {
    const veer_call_t *loop = &w->exec->plan->calls[at];
    const veer_run_options_t *o = w->exec->options;
    int64_t trip = loop->trip;
    if (loop->main_loop && o->steps > 0 && o->steps < trip) trip = o->steps;
    for (int64_t i = 0; i < trip; i++) {
        w->index[level] = i;
        if (!meet_at(w, begin_iteration, &(iteration_t){w, loop, i})) return false;
        if (!run_calls(w, at + 1, loop->body_end, level + 1)) return false;
        if (!loop->main_loop || !o->progress) continue;
        if (!meet(w) || !report(w, i + 1, trip)) return false;
    }
    w->index[level] = 0;
    return meet(w);
}

typedef struct timing_s {
    veer_exec_t *exec;
    double *seconds;
} timing_t;

static void start_clock(void *user) {
    timing_t *t = user;
    decide(t->exec);
    t->exec->call_start = veer_clock_seconds();
}
static void stop_clock(void *user) {
    timing_t *t = user;
    decide(t->exec);
    *t->seconds += veer_clock_seconds() - t->exec->call_start;
}

/* Times are of calls that nothing overlaps, from the moment that all are there: who leaves first may do it all. */
static bool run_timed(worker_t *w, const veer_call_t *call, int at, double *seconds) {
    timing_t t = {w->exec, seconds};
    if (!meet_at(w, start_clock, &t)) return false;
    run_call(w, call, at);
    return meet_at(w, stop_clock, &t);
}

/* Own strand first. */
static bool run_strands(worker_t *w, const veer_strands_t *s) {
    const veer_call_t *calls = w->exec->plan->calls;
    if (!meet(w)) return false;
    bool second = s->middle < s->end && w->me >= crew_of(w, &calls[s->middle]).first;
    for (int i = 0; i < 2; i++, second = !second)
        for (int at = second ? s->middle : s->first; at < (second ? s->end : s->middle); at++)
            run_call(w, &calls[at], at);
    return meet(w);
}

static bool run_calls(worker_t *w, int first, int end, int level) {
    double *seconds = w->exec->options->call_seconds;
    for (int at = first; at < end;) {
        const veer_call_t *call = &w->exec->plan->calls[at];
        if (goes_apart(w, call)) {
            if (!run_strands(w, call->strands)) return false;
            at = call->strands->end;
            continue;
        }
        bool is_loop = call->info.kind == VEER_CALL_LOOP, is_far = (w->on[0].turn + 1) % VEER_BOARD_APART == 0;
        double start = seconds ? veer_clock_seconds() : 0;
        if (is_far && !meet(w)) return false;
        if (is_loop && !run_loop(w, at, level)) return false;
        if (is_loop && seconds && w->me == 0) seconds[at] += veer_clock_seconds() - start;
        if (!is_loop && seconds && !run_timed(w, call, at, &seconds[at])) return false;
        if (!is_loop && !seconds) run_call(w, call, at);
        at = is_loop ? call->body_end : at + 1;
    }
    return true;
}

/* ---- a run ---- */

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

/* Of several threads that failed, the one with the earliest call tells. */
static veer_status_t outcome(const veer_exec_t *exec) {
    const worker_t *first = NULL;
    for (int i = 0; i < exec->workers[0].team; i++) {
        const worker_t *w = &exec->workers[i];
        if (w->failed_at >= 0 && (!first || w->failed_at < first->failed_at)) first = w;
    }
    if (first) return kernel_error(&exec->plan->calls[first->failed_at], first->result);
    if (!exec->interrupted) return veer_ok();
    return veer_error(VEER_ERR_INTERRUPTED, "stopped after step %lld of %lld", (long long)exec->steps_done,
                      (long long)exec->steps);
}

static veer_status_t check_bound(const veer_exec_t *exec) {
    const veer_plan_t *plan = exec->plan;
    for (int i = 0; i < plan->input_count; i++)
        if (!exec->inputs[i]) return veer_error(VEER_ERR_CONFIG, "input '%s' is not given", plan->inputs[i].name);
    for (int i = 0; i < plan->output_count; i++)
        if (!exec->outputs[i]) return veer_error(VEER_ERR_CONFIG, "output '%s' is not bound", plan->outputs[i].name);
    return veer_ok();
}

static void release_workers(veer_exec_t *exec) {
    veer_allocator_t a = exec->plan->allocator;
    veer_free(a, exec->workers);
    veer_free(a, exec->parts);
    veer_free(a, exec->ptrs);
    veer_free(a, exec->scratch);
    exec->workers = NULL, exec->parts = NULL, exec->ptrs = NULL, exec->scratch = NULL;
    exec->room = 0;
}

static veer_status_t reserve_workers(veer_exec_t *exec, int threads) {
    veer_allocator_t a = exec->plan->allocator;
    if (threads <= exec->room) return veer_ok();
    release_workers(exec);
    size_t bufs;
    if (!veer_size_mul((size_t)threads, (size_t)exec->plan->most_bufs + 1, &bufs)) return veer_out_of_memory();
    exec->workers = veer_alloc_array(a, (size_t)threads, sizeof *exec->workers);
    exec->parts = veer_alloc_array(a, (size_t)threads, BOARDS * VEER_BOARD_TURNS * sizeof *exec->parts);
    exec->ptrs = veer_alloc_array(a, bufs, sizeof *exec->ptrs);
    if (exec->plan->scratch_bytes) exec->scratch = veer_alloc_array(a, (size_t)threads, exec->plan->scratch_bytes);
    if (!exec->workers || !exec->parts || !exec->ptrs || (exec->plan->scratch_bytes && !exec->scratch)) {
        release_workers(exec);
        return veer_out_of_memory();
    }
    exec->room = threads;
    return veer_ok();
}

static void init_worker(veer_exec_t *exec, int me, int team) {
    worker_t *w = &exec->workers[me];
    *w = (worker_t){.exec = exec, .me = me, .team = team, .failed_at = -1};
    w->ptrs = exec->ptrs + (size_t)me * ((size_t)exec->plan->most_bufs + 1);
    w->scratch = exec->scratch ? exec->scratch + (size_t)me * exec->plan->scratch_bytes : NULL;
}

veer_status_t veer_exec_run(veer_exec_t *exec, const veer_run_options_t *options) {
    VEER_TRY(check_bound(exec));
    int threads = options->threads > 0 ? options->threads : veer_threads_default();
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    VEER_TRY(reserve_workers(exec, threads));
    exec->options = options;
    exec->interrupted = exec->stop = false;
    atomic_init(&exec->failed_at, INT_MAX);
    exec->start_seconds = veer_clock_seconds();
#pragma omp parallel num_threads(threads)
    {
        /* The team may be smaller than asked for; every item is done all the same. */
        int me = omp_get_thread_num(), team = omp_get_num_threads();
        init_worker(exec, me, team);
#pragma omp master
        {
            veer_barrier_init(&exec->barrier, team, team > omp_get_num_procs());
            for (int i = 0; i < BOARDS; i++)
                veer_board_init(&exec->boards[i], team, exec->parts + (ptrdiff_t)i * VEER_BOARD_TURNS * team);
        }
#pragma omp barrier
        run_calls(&exec->workers[me], 0, exec->plan->call_count, 0);
    }
    return outcome(exec);
}
