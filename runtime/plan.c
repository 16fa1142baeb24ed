#include "runtime/plan_internal.h"

#include <assert.h>
#include <string.h>

const char *veer_phase_name(veer_phase_t phase) {
    static const char *const names[VEER_PHASE_COUNT] = {"setup", "denoiser", "classifier", "gradient",
                                                        "step",  "decode",   "other"};
    return names[phase];
}

veer_status_t veer_plan_create(veer_allocator_t allocator, veer_plan_t **out_plan) {
    veer_plan_t *plan = veer_alloc(allocator, sizeof *plan);
    if (!plan) return veer_out_of_memory();
    plan->allocator = allocator;
    veer_arena_init(&plan->arena, allocator);
    *out_plan = plan;
    return veer_ok();
}

void veer_plan_destroy(veer_plan_t *plan) {
    if (!plan) return;
    for (veer_plan_release_t *r = plan->releases; r; r = r->next) r->release(r->object);
    veer_arena_deinit(&plan->arena);
    veer_free(plan->allocator, plan);
}

void *veer_plan_alloc(veer_plan_t *plan, size_t size_bytes) {
    return veer_arena_alloc(&plan->arena, size_bytes);
}

veer_status_t veer_plan_on_destroy(veer_plan_t *plan, void (*release)(void *), void *object) {
    veer_plan_release_t *r = veer_arena_alloc(&plan->arena, sizeof *r);
    if (!r) {
        release(object);
        return veer_out_of_memory();
    }
    *r = (veer_plan_release_t){plan->releases, release, object};
    plan->releases = r;
    return veer_ok();
}

/* Makes room for one more entry; the old array stays behind in the arena. */
static veer_status_t reserve(veer_plan_t *plan, void **array, int count, int *capacity, size_t size_bytes) {
    if (count < *capacity) return veer_ok();
    int want = *capacity ? *capacity * 2 : 16;
    void *bigger = veer_arena_array(&plan->arena, (size_t)want, size_bytes);
    if (!bigger) return veer_out_of_memory();
    if (count) memcpy(bigger, *array, (size_t)count * size_bytes);
    *array = bigger;
    *capacity = want;
    return veer_ok();
}

static veer_status_t add_port(veer_plan_t *plan, veer_port_t **ports, int *count, int *capacity, const char *name,
                              veer_type_t type) {
    VEER_TRY(reserve(plan, (void **)ports, *count, capacity, sizeof **ports));
    const char *copy = veer_arena_strdup(&plan->arena, name);
    if (!copy) return veer_out_of_memory();
    (*ports)[(*count)++] = (veer_port_t){copy, type};
    return veer_ok();
}

veer_status_t veer_plan_add_input(veer_plan_t *plan, const char *name, veer_type_t type) {
    return add_port(plan, &plan->inputs, &plan->input_count, &plan->input_capacity, name, type);
}

veer_status_t veer_plan_add_output(veer_plan_t *plan, const char *name, veer_type_t type) {
    return add_port(plan, &plan->outputs, &plan->output_count, &plan->output_capacity, name, type);
}

static veer_status_t add_call(veer_plan_t *plan, veer_call_t call, const veer_buf_t *bufs) {
    VEER_TRY(reserve(plan, (void **)&plan->calls, plan->call_count, &plan->call_capacity, sizeof *plan->calls));
    call.bufs = veer_arena_copy(&plan->arena, bufs, (size_t)call.buf_count * sizeof *bufs);
    if (!call.bufs) return veer_out_of_memory();
    call.info.loop_level = plan->open_loop_count;
    plan->calls[plan->call_count++] = call;
    if (call.buf_count > plan->most_bufs) plan->most_bufs = call.buf_count;
    if (call.scratch_bytes > plan->scratch_bytes) plan->scratch_bytes = call.scratch_bytes;
    return veer_ok();
}

/* A call of strand 2 goes with those before it; of strand 1, too, unless they have gone on to 2. */
static veer_status_t join_strands(veer_plan_t *plan, veer_call_t *call) {
    const veer_call_t *last = plan->call_count ? &plan->calls[plan->call_count - 1] : NULL;
    int strand = call->info.strand, at = plan->call_count;
    bool goes_on =
        last && last->strands && last->info.loop_level == plan->open_loop_count && strand >= last->info.strand;
    call->strands = goes_on ? last->strands : veer_arena_alloc(&plan->arena, sizeof *call->strands);
    if (!call->strands) return veer_out_of_memory();
    veer_strands_t *s = call->strands;
    if (!goes_on) *s = (veer_strands_t){.first = at, .middle = at};
    if (strand == 1) s->middle = at + 1;
    s->end = at + 1;
    s->nanoseconds[strand - 1] += veer_call_nanoseconds(call);
    return veer_ok();
}

veer_status_t veer_plan_add_call(veer_plan_t *plan, const veer_call_desc_t *desc) {
    assert(desc->work_items >= 1 && desc->strand >= 0 && desc->strand <= 2);
    veer_arena_t *arena = &plan->arena;
    const char **origins = veer_arena_array(arena, (size_t)desc->origin_count + 1, sizeof *origins);
    veer_call_t call = {.info = {.kind = VEER_CALL_KERNEL,
                                 .name = veer_arena_strdup(arena, desc->name),
                                 .backend = veer_arena_strdup(arena, desc->backend),
                                 .reason = veer_arena_strdup(arena, desc->reason ? desc->reason : ""),
                                 .phase = desc->phase,
                                 .strand = desc->strand,
                                 .work_items = desc->work_items,
                                 .flops = desc->flops,
                                 .bytes = desc->bytes,
                                 .origin_count = desc->origin_count,
                                 .origins = origins},
                        .fn = desc->fn,
                        .params = desc->params,
                        .buf_count = desc->buf_count,
                        .scratch_bytes = (desc->scratch_bytes + 63) & ~(size_t)63,
                        .stream = desc->stream,
                        .overlap = desc->overlap};
    if (!origins || !call.info.name || !call.info.backend || !call.info.reason) return veer_out_of_memory();
    for (int i = 0; i < desc->origin_count; i++)
        if (!(origins[i] = veer_arena_strdup(arena, desc->origins[i]))) return veer_out_of_memory();
    if (desc->strand) VEER_TRY(join_strands(plan, &call));
    return add_call(plan, call, desc->bufs);
}

veer_status_t veer_plan_add_copy(veer_plan_t *plan, veer_buf_t dst, veer_buf_t src, size_t size_bytes,
                                 veer_phase_t phase) {
    veer_call_t call = {.info = {.kind = VEER_CALL_COPY,
                                 .name = "copy",
                                 .backend = "runtime",
                                 .reason = "",
                                 .phase = phase,
                                 .work_items = 1,
                                 .bytes = 2.0 * (double)size_bytes},
                        .copy_bytes = size_bytes,
                        .buf_count = 2};
    return add_call(plan, call, (veer_buf_t[]){dst, src});
}

veer_status_t veer_plan_begin_loop(veer_plan_t *plan, int64_t trip, veer_buf_t index, bool main_loop) {
    int most = (int)(sizeof plan->open_loops / sizeof *plan->open_loops);
    if (plan->open_loop_count == most)
        return veer_error(VEER_ERR_UNSUPPORTED, "loops are nested more than %d deep", most);
    veer_call_t call = {.info = {.kind = VEER_CALL_LOOP,
                                 .name = "loop",
                                 .backend = "runtime",
                                 .reason = "",
                                 .phase = VEER_PHASE_OTHER,
                                 .work_items = 1},
                        .trip = trip,
                        .main_loop = main_loop,
                        .buf_count = 1};
    VEER_TRY(add_call(plan, call, &index));
    plan->open_loops[plan->open_loop_count++] = plan->call_count - 1;
    return veer_ok();
}

veer_status_t veer_plan_end_loop(veer_plan_t *plan) {
    assert(plan->open_loop_count > 0);
    plan->calls[plan->open_loops[--plan->open_loop_count]].body_end = plan->call_count;
    return veer_ok();
}

/* ---- streams ---- */

static int first_stream(const veer_plan_t *plan, int first, int end) {
    for (int i = first; i < end; i++)
        if (plan->calls[i].stream.data) return i;
    return -1;
}

/* Behind the last stream of a loop's body comes the first of it again. */
static void link_streams(const veer_plan_t *plan, int first, int end, int behind, int *out_calls) {
    int next = behind;
    for (int i = end; i-- > first;) {
        out_calls[i] = next;
        if (plan->calls[i].stream.data) next = i;
    }
    for (int i = first; i < end; i++) {
        const veer_call_t *loop = &plan->calls[i];
        if (loop->info.kind != VEER_CALL_LOOP) continue;
        int again = first_stream(plan, i + 1, loop->body_end);
        if (again >= 0) link_streams(plan, i + 1, loop->body_end, again, out_calls);
        i = loop->body_end - 1;
    }
}

void veer_plan_next_streams(const veer_plan_t *plan, int *out_calls) {
    link_streams(plan, 0, plan->call_count, -1, out_calls);
}

void veer_plan_set_arena_bytes(veer_plan_t *plan, size_t size_bytes) {
    plan->arena_bytes = size_bytes;
}

/* ---- queries ---- */

int veer_plan_input_count(const veer_plan_t *plan) {
    return plan->input_count;
}
int veer_plan_output_count(const veer_plan_t *plan) {
    return plan->output_count;
}
const char *veer_plan_input_name(const veer_plan_t *plan, int i) {
    return plan->inputs[i].name;
}
const char *veer_plan_output_name(const veer_plan_t *plan, int i) {
    return plan->outputs[i].name;
}
const veer_type_t *veer_plan_input_type(const veer_plan_t *plan, int i) {
    return &plan->inputs[i].type;
}
const veer_type_t *veer_plan_output_type(const veer_plan_t *plan, int i) {
    return &plan->outputs[i].type;
}
void veer_plan_set_budget(veer_plan_t *plan, const veer_plan_budget_t *budget) {
    plan->budget = *budget;
}
const veer_plan_budget_t *veer_plan_budget(const veer_plan_t *plan) {
    return &plan->budget;
}
size_t veer_plan_arena_bytes(const veer_plan_t *plan) {
    return plan->arena_bytes;
}
int veer_plan_call_count(const veer_plan_t *plan) {
    return plan->call_count;
}
veer_call_info_t veer_plan_call(const veer_plan_t *plan, int i) {
    return plan->calls[i].info;
}

static int find_port(const veer_port_t *ports, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(ports[i].name, name)) return i;
    return -1;
}

int veer_plan_find_input(const veer_plan_t *plan, const char *name) {
    return find_port(plan->inputs, plan->input_count, name);
}
int veer_plan_find_output(const veer_plan_t *plan, const char *name) {
    return find_port(plan->outputs, plan->output_count, name);
}
