/* The compiled plan: data that the runtime executes and that an artefact is written from. A list of calls, each a
 * kernel with buffers; loops are calls too, their bodies stand right behind them. It knows nothing of graphs or
 * compilers.
 *
 *     veer_plan_t *plan;  VEER_TRY(veer_plan_create(allocator, &plan));      // a backend fills it (veer_plan_add_*)
 *     veer_exec_t *exec;  VEER_TRY(veer_exec_create(plan, &exec));           // the arena of one run at a time
 *     veer_exec_bind(exec, 0, x);  VEER_TRY(veer_exec_run(exec, &options));
 *
 * A plan is immutable once built and may be shared by threads; an exec belongs to one thread at a time.
 */
#ifndef VEER_RUNTIME_PLAN_H
#define VEER_RUNTIME_PLAN_H

#include "veer/allocator.h"
#include "veer/status.h"
#include "veer/types.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what is declared here is what the library exports */

typedef struct veer_plan_s veer_plan_t;
typedef struct veer_exec_s veer_exec_t;

/* ---- kernels ---- */
typedef struct veer_kernel_args_s {
    void *const *buf;   /* one pointer per buffer of the call, in the call's order */
    const void *params; /* the call's own constant data */
    int64_t begin, end; /* the work items to do: [begin, end) of [0, work_items) */
    void *scratch;      /* this thread's scratch, 64-byte aligned, scratch_bytes long */
    int64_t thread;     /* 0 .. threads-1 */
    int64_t threads;    /* of the run; a kernel's result must not depend on it */
    const void *next;   /* what this thread will read first of the next call's stream; NULL: unknown */
    int64_t continues;  /* 1: this thread's last range of this call ended at `begin`; scratch is as it left it */
    int64_t again;      /* 1: this thread has done a range of this call before; scratch is as it left it */
} veer_kernel_args_t;

typedef enum veer_kernel_result_e {
    VEER_KERNEL_OK = 0,
    VEER_KERNEL_INDEX = 1,   /* an index operand is out of range */
    VEER_KERNEL_MEMORY = 2,  /* out of memory inside a library */
    VEER_KERNEL_LIBRARY = 3, /* a library call failed */
    VEER_KERNEL_RESULT_COUNT
} veer_kernel_result_t;

/* Does work items [begin, end); called by each thread of an OpenMP team, as often as there are items left. Each item's
 * result must not depend on how items are shared out. Also the signature of LLVM-compiled kernels (i32 (ptr)). */
typedef int (*veer_kernel_fn)(const veer_kernel_args_t *args);

/* ---- buffers ---- */
typedef enum veer_buf_kind_e {
    VEER_BUF_NONE,  /* NULL */
    VEER_BUF_ARENA, /* at = byte offset in the exec's arena */
    VEER_BUF_CONST, /* ptr */
    VEER_BUF_INPUT, /* at = input index */
    VEER_BUF_OUTPUT /* at = output index */
} veer_buf_kind_t;

typedef struct veer_buf_s {
    veer_buf_kind_t kind;
    int64_t at;
    const void *ptr;
    int64_t offset_bytes; /* added to the base: a view into a buffer */
    int64_t step_bytes;   /* times the index of loop `level`, added too: a row of a step table */
    int level;            /* 0 = outermost loop */
} veer_buf_t;

/* A constant operand that a call reads from one end to the other, and that is not in a cache when the call begins, so
 * that the call before it may well fetch its first part: item i begins at byte i / div % mod * bytes of it. */
typedef struct veer_stream_s {
    const void *data; /* NULL: none */
    int64_t div, mod, bytes;
} veer_stream_t;

/* ---- building (used by backends) ---- */
typedef enum veer_phase_e {
    VEER_PHASE_SETUP, /* before the loop: hoisted tables, condition-only values */
    VEER_PHASE_DENOISER,
    VEER_PHASE_CLASSIFIER,
    VEER_PHASE_GRADIENT,
    VEER_PHASE_STEP,
    VEER_PHASE_DECODE,
    VEER_PHASE_OTHER,
    VEER_PHASE_COUNT
} veer_phase_t;
const char *veer_phase_name(veer_phase_t phase);

typedef struct veer_call_desc_s {
    const char *name;    /* "conv+silu input_blocks.1", copied */
    const char *backend; /* "llvm", "onednn", "reference", copied */
    const char *reason;  /* why this implementation, copied; may be NULL */
    veer_phase_t phase;
    veer_kernel_fn fn;
    const void *params; /* borrowed: must live as long as the plan (veer_plan_alloc, veer_plan_on_destroy) */
    const veer_buf_t *bufs;
    int buf_count;
    int64_t work_items;   /* at least 1 */
    size_t scratch_bytes; /* per thread */
    double flops, bytes;  /* per execution, for the profile */
    veer_stream_t stream;
    int overlap; /* so many calls right before this one it need not wait for: they neither write what it reads or
                  * writes, nor read what it writes */
    int strand;  /* 0, or 1 or 2: calls of strand 1, added one after the other, and those of strand 2 right behind them
                  * touch nothing that the other strand writes, so that threads may do one strand each */
    const char *const *origins; /* ONNX node names, copied */
    int origin_count;
} veer_call_desc_t;

VEER_MUST_USE veer_status_t veer_plan_create(veer_allocator_t allocator, veer_plan_t **out_plan);
void veer_plan_destroy(veer_plan_t *plan);
/* Zeroed memory that lives as long as the plan; NULL when out of memory. */
void *veer_plan_alloc(veer_plan_t *plan, size_t size_bytes);
/* Ties an object's life to the plan's; released newest first. On failure the object is released at once. */
VEER_MUST_USE veer_status_t veer_plan_on_destroy(veer_plan_t *plan, void (*release)(void *), void *object);
VEER_MUST_USE veer_status_t veer_plan_add_input(veer_plan_t *plan, const char *name, veer_type_t type);
VEER_MUST_USE veer_status_t veer_plan_add_output(veer_plan_t *plan, const char *name, veer_type_t type);
VEER_MUST_USE veer_status_t veer_plan_add_call(veer_plan_t *plan, const veer_call_desc_t *desc);
/* dst[0..bytes) = src[0..bytes). */
VEER_MUST_USE veer_status_t veer_plan_add_copy(veer_plan_t *plan, veer_buf_t dst, veer_buf_t src, size_t size_bytes,
                                               veer_phase_t phase);
/* Calls added until veer_plan_end_loop are its body. `index`: an i64 in the arena that holds the iteration.
 * `main_loop`: the sampling loop, whose steps are reported to the progress callback and whose number may be lowered at
 * run time. */
VEER_MUST_USE veer_status_t veer_plan_begin_loop(veer_plan_t *plan, int64_t trip, veer_buf_t index, bool main_loop);
VEER_MUST_USE veer_status_t veer_plan_end_loop(veer_plan_t *plan);
void veer_plan_set_arena_bytes(veer_plan_t *plan, size_t size_bytes);
/* What a memory budget did to the plan. */
typedef struct veer_plan_budget_s {
    int64_t budget_bytes;          /* 0: none was given */
    int64_t arena_bytes;           /* what the arena would take without it */
    int64_t computed_again, moved; /* kernels that run once more, or later */
    double flops, added_flops;     /* of a run without it, and what it adds */
} veer_plan_budget_t;
void veer_plan_set_budget(veer_plan_t *plan, const veer_plan_budget_t *budget);

/* ---- queries ---- */
int veer_plan_input_count(const veer_plan_t *plan);
int veer_plan_output_count(const veer_plan_t *plan);
const char *veer_plan_input_name(const veer_plan_t *plan, int i);
const char *veer_plan_output_name(const veer_plan_t *plan, int i);
const veer_type_t *veer_plan_input_type(const veer_plan_t *plan, int i);
const veer_type_t *veer_plan_output_type(const veer_plan_t *plan, int i);
/* -1 where there is none. */
int veer_plan_find_input(const veer_plan_t *plan, const char *name);
int veer_plan_find_output(const veer_plan_t *plan, const char *name);
size_t veer_plan_arena_bytes(const veer_plan_t *plan);
const veer_plan_budget_t *veer_plan_budget(const veer_plan_t *plan);
int veer_plan_call_count(const veer_plan_t *plan); /* kernels, copies and loops */

typedef enum veer_call_kind_e { VEER_CALL_KERNEL, VEER_CALL_COPY, VEER_CALL_LOOP } veer_call_kind_t;
typedef struct veer_call_info_s {
    veer_call_kind_t kind;
    const char *name, *backend, *reason;
    veer_phase_t phase;
    int loop_level; /* 0 outside every loop */
    int strand;     /* 0: none */
    int64_t work_items;
    double flops, bytes;
    int origin_count;
    const char *const *origins;
} veer_call_info_t;
veer_call_info_t veer_plan_call(const veer_plan_t *plan, int i);

/* ---- running ---- */
typedef struct veer_step_info_s {
    int64_t step, steps; /* steps done so far, steps in all */
    double seconds;      /* since the run began */
} veer_step_info_t;
typedef struct veer_run_options_s {
    int threads;   /* <= 0: physical cores */
    int64_t steps; /* of the main loop; 0: all of its table */
    /* Called after each step of the main loop, on the calling thread; nonzero stops the run with VEER_ERR_INTERRUPTED.
     */
    int (*progress)(const veer_step_info_t *info, void *user);
    void *user;
    double *call_seconds; /* NULL, or one entry per call: its time is added */
} veer_run_options_t;

/* Allocates the arena: nothing is allocated while running. The plan must outlive it. */
VEER_MUST_USE veer_status_t veer_exec_create(const veer_plan_t *plan, veer_exec_t **out_exec);
void veer_exec_destroy(veer_exec_t *exec);
/* Buffers are borrowed until the run is over, 64-byte alignment is not needed, size is the type's. */
void veer_exec_bind_input(veer_exec_t *exec, int i, const void *data);
void veer_exec_bind_output(veer_exec_t *exec, int i, void *data);
/* VEER_ERR_CONFIG where an input or output is not bound. */
VEER_MUST_USE veer_status_t veer_exec_run(veer_exec_t *exec, const veer_run_options_t *options);
/* Physical cores that this process may use. */
int veer_threads_default(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
