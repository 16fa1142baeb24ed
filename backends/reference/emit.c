/* A node as a plan kernel. A program is a list of steps over slots: a single node is one step over the call's buffers,
 * a fused node one step per node of its body, with the body's values in the thread's scratch. Everything the kernel
 * reads is copied into the plan. */
#include "backends/reference/kernel.h"
#include "backends/reference/reference.h"

#include <string.h>

typedef enum slot_kind_e { SLOT_NONE, SLOT_BUFFER, SLOT_SCRATCH, SLOT_CONST } slot_kind_t;
typedef struct slot_s {
    slot_kind_t kind;
    veer_type_t type;
    size_t at; /* buffer index, or byte offset in the scratch */
    const void *data;
} slot_t;

typedef struct step_s {
    veer_op_t op;
    const veer_attr_t *attrs;
    int in_count, out_count;
    const int *slots; /* in_count + out_count slot numbers */
} step_t;

typedef struct program_s {
    int slot_count, step_count, result_count, tensor_count; /* tensor_count: of the largest step */
    size_t kernel_bytes;                                    /* scratch of the hungriest kernel */
    slot_t *slots;                                          /* slot 0 is "absent" */
    step_t *steps;
    int *results; /* slots whose data is copied to buffers first_result.. at the end (fused nodes) */
    int first_result;
} program_t;

static size_t round_up(size_t size_bytes) {
    return (size_bytes + 63) & ~(size_t)63;
}
static size_t tensors_bytes(const program_t *p) {
    return round_up((size_t)p->tensor_count * sizeof(veer_tensor_t));
}

/* The scratch: tensors of a step, a kernel's own, then the body's values. */
static size_t values_at(const program_t *p) {
    return tensors_bytes(p) + p->kernel_bytes;
}

static veer_reference_call_t step_call(const step_t *step, veer_tensor_t *tensors) {
    return (veer_reference_call_t){.op = step->op,
                                   .attrs = step->attrs,
                                   .in_count = step->in_count,
                                   .out_count = step->out_count,
                                   .in = tensors,
                                   .out = tensors + step->in_count};
}

/* ---- running ---- */
static void *slot_data(const program_t *p, const slot_t *slot, const veer_kernel_args_t *args) {
    switch (slot->kind) {
    case SLOT_BUFFER: return args->buf[slot->at];
    case SLOT_SCRATCH: return (char *)args->scratch + values_at(p) + slot->at;
    case SLOT_CONST: return (void *)slot->data;
    default: return NULL;
    }
}

static int program_run(const veer_kernel_args_t *args) {
    const program_t *p = args->params;
    veer_tensor_t *tensors = args->scratch;
    if (args->begin >= args->end) return VEER_KERNEL_OK;
    for (int s = 0; s < p->step_count; s++) {
        const step_t *step = &p->steps[s];
        for (int i = 0; i < step->in_count + step->out_count; i++) {
            const slot_t *slot = &p->slots[step->slots[i]];
            tensors[i] = (veer_tensor_t){slot->type, slot_data(p, slot, args)};
        }
        veer_reference_call_t c = step_call(step, tensors);
        c.scratch = (char *)args->scratch + tensors_bytes(p);
        veer_kernel_result_t result = veer_reference_run(&c);
        if (result != VEER_KERNEL_OK) return result;
    }
    for (int i = 0; i < p->result_count; i++) {
        const slot_t *slot = &p->slots[p->results[i]];
        memcpy(args->buf[p->first_result + i], slot_data(p, slot, args), veer_type_bytes(&slot->type));
    }
    return VEER_KERNEL_OK;
}

/* ---- building ---- */
static void *plan_copy(veer_plan_t *plan, const void *src, size_t size_bytes) {
    void *dst = veer_plan_alloc(plan, size_bytes ? size_bytes : 1);
    if (dst && size_bytes) memcpy(dst, src, size_bytes);
    return dst;
}

/* Lists and strings are copied as well. */
static const veer_attr_t *copy_attrs(veer_plan_t *plan, const veer_graph_t *g, veer_node_t node) {
    veer_attr_t *attrs = plan_copy(plan, veer_node_attr(g, node, 0), VEER_OP_MAX_ATTRS * sizeof *attrs);
    for (int i = 0; attrs && i < VEER_OP_MAX_ATTRS; i++) {
        veer_attr_t *a = &attrs[i];
        const void *copy = attrs;
        if (a->kind == VEER_ATTR_STRING) copy = a->as.s = plan_copy(plan, a->as.s, strlen(a->as.s) + 1);
        if (a->kind == VEER_ATTR_INTS) copy = a->as.ints.v = plan_copy(plan, a->as.ints.v, (size_t)a->as.ints.n * 8);
        if (a->kind == VEER_ATTR_FLOATS)
            copy = a->as.floats.v = plan_copy(plan, a->as.floats.v, (size_t)a->as.floats.n * 8);
        if (!copy) return NULL;
    }
    return attrs;
}

typedef struct emit_s {
    const veer_graph_t *g;
    veer_plan_t *plan;
    program_t *p;
    int *slot_of; /* by value id; 0 where the value has no slot */
    size_t scratch_bytes;
} emit_t;

static void add_slot(emit_t *e, veer_value_t v, slot_kind_t kind, size_t at, const void *data) {
    int i = e->p->slot_count++;
    e->p->slots[i] = (slot_t){kind, *veer_value_type(e->g, v), at, data};
    e->slot_of[v.i] = i;
}

static veer_status_t note_kernel_scratch(emit_t *e, const step_t *step) {
    int count = step->in_count + step->out_count;
    veer_allocator_t allocator = veer_graph_allocator(e->g);
    veer_tensor_t *tensors = veer_alloc_array(allocator, (size_t)count, sizeof *tensors);
    if (!tensors) return veer_out_of_memory();
    for (int i = 0; i < count; i++) tensors[i].type = e->p->slots[step->slots[i]].type;
    veer_reference_call_t c = step_call(step, tensors);
    size_t size_bytes = veer_reference_scratch_bytes(&c);
    veer_free(allocator, tensors);
    if (size_bytes > e->p->kernel_bytes) e->p->kernel_bytes = size_bytes;
    return veer_ok();
}

static veer_status_t add_step(emit_t *e, veer_node_t node) {
    const veer_graph_t *g = e->g;
    step_t *step = &e->p->steps[e->p->step_count];
    int in_count = veer_node_in_count(g, node), out_count = veer_node_out_count(g, node), count = in_count + out_count;
    int *slots = veer_plan_alloc(e->plan, (size_t)(count + 1) * sizeof *slots);
    *step = (step_t){veer_node_op(g, node), copy_attrs(e->plan, g, node), in_count, out_count, slots};
    if (!slots || !step->attrs) return veer_out_of_memory();
    if (!veer_reference_supports(step->op))
        return veer_error(VEER_ERR_UNSUPPORTED, "the reference backend has no kernel for '%s'", veer_op_name(step->op));
    for (int i = 0; i < in_count; i++) slots[i] = e->slot_of[veer_node_in(g, node, i).i];
    for (int i = 0; i < out_count; i++) slots[in_count + i] = e->slot_of[veer_node_out(g, node, i).i];
    if (count > e->p->tensor_count) e->p->tensor_count = count;
    e->p->step_count++;
    return note_kernel_scratch(e, step);
}

/* A value of the body gets room in the scratch, a constant a copy in the plan. */
static veer_status_t add_body_node(emit_t *e, veer_node_t node) {
    const veer_graph_t *g = e->g;
    if (veer_node_op(g, node) == VEER_OP_CONST) {
        veer_value_t v = veer_node_out(g, node, 0);
        const void *data = plan_copy(e->plan, veer_value_const_data(g, v), veer_type_bytes(veer_value_type(g, v)));
        if (!data) return veer_out_of_memory();
        add_slot(e, v, SLOT_CONST, 0, data);
        return veer_ok();
    }
    for (int i = 0; i < veer_node_out_count(g, node); i++) {
        veer_value_t v = veer_node_out(g, node, i);
        add_slot(e, v, SLOT_SCRATCH, e->scratch_bytes, NULL);
        e->scratch_bytes += round_up(veer_type_bytes(veer_value_type(g, v)));
    }
    return add_step(e, node);
}

static veer_status_t emit_fused(emit_t *e, veer_node_t node) {
    veer_region_t body = veer_node_body(e->g, node);
    veer_node_t end = veer_region_terminator(e->g, body);
    int args = veer_region_arg_count(e->g, body);
    for (int i = 0; i < args; i++) add_slot(e, veer_region_arg(e->g, body, i), SLOT_BUFFER, (size_t)i, NULL);
    VEER_FOR_EACH_NODE(e->g, body, inner)
    if (!veer_node_eq(inner, end)) VEER_TRY(add_body_node(e, inner));
    e->p->first_result = args;
    e->p->result_count = veer_region_result_count(e->g, body);
    for (int i = 0; i < e->p->result_count; i++) e->p->results[i] = e->slot_of[veer_region_result(e->g, body, i).i];
    return veer_ok();
}

static veer_status_t emit_single(emit_t *e, veer_node_t node) {
    int in_count = veer_node_in_count(e->g, node);
    for (int i = 0; i < in_count; i++) {
        veer_value_t v = veer_node_in(e->g, node, i);
        if (v.i && !e->slot_of[v.i]) add_slot(e, v, SLOT_BUFFER, (size_t)i, NULL);
    }
    for (int i = 0; i < veer_node_out_count(e->g, node); i++)
        add_slot(e, veer_node_out(e->g, node, i), SLOT_BUFFER, (size_t)(in_count + i), NULL);
    return add_step(e, node);
}

/* Upper bounds for the arrays of a program. */
static void count_parts(const veer_graph_t *g, veer_node_t node, size_t *out_slots, size_t *out_steps) {
    *out_slots = 1 + (size_t)veer_node_in_count(g, node) + (size_t)veer_node_out_count(g, node);
    *out_steps = 1;
    if (veer_node_op(g, node) != VEER_OP_FUSED) return;
    VEER_FOR_EACH_NODE(g, veer_node_body(g, node), inner) {
        *out_slots += (size_t)veer_node_out_count(g, inner);
        ++*out_steps;
    }
}

veer_status_t veer_reference_emit(const veer_graph_t *g, veer_node_t node, veer_plan_t *plan, veer_call_desc_t *desc) {
    size_t slots, steps;
    count_parts(g, node, &slots, &steps);
    program_t *p = veer_plan_alloc(plan, sizeof *p);
    if (!p) return veer_out_of_memory();
    p->slots = veer_plan_alloc(plan, slots * sizeof *p->slots);
    p->steps = veer_plan_alloc(plan, steps * sizeof *p->steps);
    p->results = veer_plan_alloc(plan, (size_t)(veer_node_out_count(g, node) + 1) * sizeof *p->results);
    p->slot_count = 1;
    emit_t e = {.g = g, .plan = plan, .p = p};
    e.slot_of = veer_alloc_array(veer_graph_allocator(g), veer_graph_value_limit(g), sizeof *e.slot_of);
    veer_status_t status = veer_ok();
    if (!p->slots || !p->steps || !p->results || !e.slot_of) status = veer_out_of_memory();
    if (!status) status = veer_node_op(g, node) == VEER_OP_FUSED ? emit_fused(&e, node) : emit_single(&e, node);
    veer_free(veer_graph_allocator(g), e.slot_of);
    if (status) return status;
    desc->name = veer_op_name(veer_node_op(g, node));
    desc->backend = "reference";
    desc->fn = program_run;
    desc->params = p;
    desc->work_items = 1;
    desc->scratch_bytes = values_at(p) + e.scratch_bytes;
    return veer_ok();
}
