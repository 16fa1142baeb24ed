/* The records behind plan.h; only runtime/plan.c and runtime/exec.c may include this. */
#ifndef VEER_RUNTIME_PLAN_INTERNAL_H
#define VEER_RUNTIME_PLAN_INTERNAL_H

#include "ir/base/arena.h"
#include "runtime/plan.h"

/* Two strands: calls [first, middle) and [middle, end). */
typedef struct veer_strands_s {
    int first, middle, end;
    double nanoseconds[2]; /* of one core, roughly */
} veer_strands_t;

typedef struct veer_call_s {
    veer_call_info_t info;
    veer_kernel_fn fn;
    const void *params;
    veer_buf_t *bufs; /* copies: destination, source; loops: the index */
    int buf_count;
    size_t scratch_bytes;
    veer_stream_t stream;
    int overlap;
    veer_strands_t *strands; /* that it belongs to; NULL: none */
    size_t copy_bytes;
    int64_t trip;
    bool main_loop;
    int body_end; /* loops: the first call behind the body */
} veer_call_t;

/* Rough rates of one core: 10 operations and 6 bytes a nanosecond. */
static inline double veer_call_nanoseconds(const veer_call_t *call) {
    return call->info.flops / 10 + call->info.bytes / 6;
}

typedef struct veer_port_s {
    const char *name;
    veer_type_t type;
} veer_port_t;

typedef struct veer_plan_release_s {
    struct veer_plan_release_s *next;
    void (*release)(void *);
    void *object;
} veer_plan_release_t;

struct veer_plan_s {
    veer_allocator_t allocator;
    veer_arena_t arena;
    veer_call_t *calls;
    int call_count, call_capacity;
    veer_port_t *inputs, *outputs;
    int input_count, output_count, input_capacity, output_capacity;
    int open_loops[8], open_loop_count;
    size_t arena_bytes;
    veer_plan_budget_t budget;
    size_t scratch_bytes; /* the largest of any call, per thread */
    int most_bufs;        /* of any call */
    veer_plan_release_t *releases;
};

/* For each call the one with a stream that is run next after it, -1 where there is none. */
void veer_plan_next_streams(const veer_plan_t *plan, int *out_calls);

#endif
