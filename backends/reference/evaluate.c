/* Evaluates functions node by node.
 *
 * Rules: (1) slots[] holds a tensor per value id; `owned` says that we allocated its data. (2) A value dies after its
 * last user, counted in the value's own region: a user inside a nested region counts as the node that owns that region,
 * so what a loop body captures lives until the loop is done. (3) What a region gives is moved out of its slot where it
 * is ours and given once, and copied otherwise (arguments, constants). (4) After an error every owned slot is released
 * in one place. */
#include "backends/reference/kernel.h"
#include "backends/reference/reference.h"

#include <string.h>

enum { CALL_DEPTH_MAX = 64 };

typedef struct slot_s {
    veer_tensor_t tensor;
    bool owned;
    uint32_t next_dead; /* next value that dies with the same node */
} slot_t;

typedef struct eval_s {
    const veer_graph_t *g;
    veer_allocator_t allocator;
    int depth;
    uint32_t value_limit;
    slot_t *slots;         /* by value id */
    uint32_t *first_dead;  /* by node id: the first value that dies after the node */
    veer_node_t *last_use; /* by value id; VEER_NO_NODE: no use */
} eval_t;

static veer_status_t eval_region(eval_t *e, veer_region_t region, veer_tensor_t *out);
static veer_status_t eval_func(const veer_graph_t *g, veer_func_t func, const veer_tensor_t *in,
                               veer_allocator_t allocator, int depth, veer_tensor_t *out);

/* ---- lifetimes ---- */
/* The node of `region` that is `node` or holds it. */
static veer_node_t ancestor_in(const veer_graph_t *g, veer_node_t node, veer_region_t region) {
    while (node.i && veer_node_region(g, node).i != region.i) node = veer_region_parent(g, veer_node_region(g, node));
    return node;
}

static void find_last_uses(eval_t *e, veer_region_t region) {
    VEER_FOR_EACH_NODE(e->g, region, node) {
        for (int i = 0; i < veer_node_in_count(e->g, node); i++) {
            veer_value_t v = veer_node_in(e->g, node, i);
            if (v.i) e->last_use[v.i] = ancestor_in(e->g, node, veer_value_region(e->g, v));
        }
        veer_region_t body = veer_node_body(e->g, node);
        if (body.i) find_last_uses(e, body);
    }
}

/* A value dies with its last user, or at once where it has none. */
static void find_deaths(eval_t *e, veer_region_t region) {
    VEER_FOR_EACH_NODE(e->g, region, node) {
        for (int i = 0; i < veer_node_out_count(e->g, node); i++) {
            uint32_t v = veer_node_out(e->g, node, i).i;
            uint32_t *head = &e->first_dead[e->last_use[v].i ? e->last_use[v].i : node.i];
            e->slots[v].next_dead = *head;
            *head = v;
        }
        veer_region_t body = veer_node_body(e->g, node);
        if (body.i) find_deaths(e, body);
    }
}

static veer_status_t eval_init(eval_t *e, const veer_graph_t *g, veer_region_t region, veer_allocator_t allocator,
                               int depth) {
    *e = (eval_t){.g = g, .allocator = allocator, .depth = depth, .value_limit = veer_graph_value_limit(g)};
    e->slots = veer_alloc_array(allocator, e->value_limit, sizeof *e->slots);
    e->last_use = veer_alloc_array(allocator, e->value_limit, sizeof *e->last_use);
    e->first_dead = veer_alloc_array(allocator, veer_graph_node_limit(g), sizeof *e->first_dead);
    if (!e->slots || !e->last_use || !e->first_dead) return veer_out_of_memory();
    find_last_uses(e, region);
    find_deaths(e, region);
    return veer_ok();
}

static void slot_clear(eval_t *e, uint32_t v) {
    if (e->slots[v].owned) veer_free(e->allocator, e->slots[v].tensor.data);
    e->slots[v].owned = false;
    e->slots[v].tensor.data = NULL;
}

static void eval_deinit(eval_t *e) {
    for (uint32_t v = 0; e->slots && v < e->value_limit; v++) slot_clear(e, v);
    veer_free(e->allocator, e->slots);
    veer_free(e->allocator, e->last_use);
    veer_free(e->allocator, e->first_dead);
}

/* ---- slots ---- */
static void slot_borrow(eval_t *e, veer_value_t v, const void *data) {
    e->slots[v.i].tensor = (veer_tensor_t){*veer_value_type(e->g, v), (void *)data};
    e->slots[v.i].owned = false;
}

static void slot_own(eval_t *e, veer_value_t v, void *take_data) {
    slot_borrow(e, v, take_data);
    e->slots[v.i].owned = true;
}

static veer_status_t tensor_alloc(veer_allocator_t allocator, const veer_type_t *type, veer_tensor_t *out) {
    *out = (veer_tensor_t){*type, veer_alloc(allocator, veer_type_bytes(type))};
    return out->data ? veer_ok() : veer_out_of_memory();
}

/* Result i of a region: moved out of the slot where that is ours and no other result needs it. */
static veer_status_t take_result(eval_t *e, veer_region_t region, int i, veer_tensor_t *out) {
    veer_value_t v = veer_region_result(e->g, region, i);
    slot_t *slot = &e->slots[v.i];
    bool last = true;
    for (int k = i + 1; k < veer_region_result_count(e->g, region); k++)
        last &= !veer_value_eq(veer_region_result(e->g, region, k), v);
    if (slot->owned && last && veer_value_region(e->g, v).i == region.i) {
        *out = slot->tensor;
        slot->owned = false;
        slot->tensor.data = NULL;
        return veer_ok();
    }
    VEER_TRY(tensor_alloc(e->allocator, &slot->tensor.type, out));
    memcpy(out->data, slot->tensor.data, veer_type_bytes(&out->type));
    return veer_ok();
}

static void tensors_free(veer_allocator_t allocator, veer_tensor_t *tensors, int count) {
    for (int i = 0; tensors && i < count; i++) {
        veer_free(allocator, tensors[i].data);
        tensors[i].data = NULL;
    }
}

/* ---- one node ---- */
static veer_status_t index_error(const veer_reference_call_t *c) {
    return veer_error(VEER_ERR_FAILED, "%s: index %lld is out of range for %lld entries", veer_op_name(c->op),
                      (long long)c->bad_index, (long long)c->bad_limit);
}

static veer_status_t run_kernel(const veer_graph_t *g, veer_node_t node, const veer_tensor_t *in,
                                veer_allocator_t allocator, veer_tensor_t *out) {
    veer_op_t op = veer_node_op(g, node);
    if (!veer_reference_kernel(op))
        return veer_error(VEER_ERR_UNSUPPORTED, "the reference backend has no kernel for '%s'", veer_op_name(op));
    veer_reference_call_t c = {.op = op,
                               .attrs = veer_node_attr(g, node, 0),
                               .in_count = veer_node_in_count(g, node),
                               .out_count = veer_node_out_count(g, node),
                               .in = in,
                               .out = out};
    size_t scratch_bytes = veer_reference_scratch_bytes(&c);
    if (scratch_bytes && !(c.scratch = veer_alloc(allocator, scratch_bytes))) return veer_out_of_memory();
    veer_kernel_result_t result = veer_reference_run(&c);
    veer_free(allocator, c.scratch);
    switch (result) {
    case VEER_KERNEL_OK: return veer_ok();
    case VEER_KERNEL_INDEX: return index_error(&c);
    case VEER_KERNEL_MEMORY: return veer_out_of_memory();
    default: return veer_error(VEER_ERR_FAILED, "%s: the kernel failed", veer_op_name(op));
    }
}

/* Runs a fused node's body or a callee; results are new tensors of the allocator. */
static veer_status_t run_region_node(const veer_graph_t *g, veer_node_t node, const veer_tensor_t *in,
                                     veer_allocator_t allocator, int depth, veer_tensor_t *out) {
    if (veer_node_op(g, node) == VEER_OP_CALL) {
        const char *callee = veer_node_string(g, node, "callee");
        veer_func_t func = veer_graph_find_func(g, callee);
        if (!func.i) return veer_error(VEER_ERR_UNSUPPORTED, "call of '%s': there is no such function", callee);
        return eval_func(g, func, in, allocator, depth + 1, out);
    }
    eval_t e;
    veer_region_t body = veer_node_body(g, node);
    veer_status_t status = eval_init(&e, g, body, allocator, depth);
    for (int i = 0; !status && i < veer_region_arg_count(g, body); i++)
        slot_borrow(&e, veer_region_arg(g, body, i), in[i].data);
    if (!status) status = eval_region(&e, body, out);
    eval_deinit(&e);
    return status;
}

/* ---- loops ---- */
typedef struct loop_s {
    veer_region_t body;
    int carried, total; /* yields: first the carried ones, the others are stacked */
    int64_t trip, index;
    veer_tensor_t *state;   /* carried values, ours */
    veer_tensor_t *next;    /* what one pass gives, ours */
    veer_tensor_t *stacked; /* total entries, the first `carried` unused */
} loop_t;

static veer_status_t loop_init(eval_t *e, veer_node_t node, loop_t *l) {
    const veer_graph_t *g = e->g;
    *l = (loop_t){.body = veer_node_body(g, node),
                  .carried = veer_node_in_count(g, node),
                  .total = veer_node_out_count(g, node),
                  .trip = veer_node_int(g, node, "trip")};
    l->state = veer_alloc_array(e->allocator, (size_t)l->carried, sizeof *l->state);
    l->next = veer_alloc_array(e->allocator, (size_t)l->total, sizeof *l->next);
    l->stacked = veer_alloc_array(e->allocator, (size_t)l->total, sizeof *l->stacked);
    if (!l->state || !l->next || !l->stacked) return veer_out_of_memory();
    for (int i = 0; i < l->carried; i++) {
        const veer_tensor_t *init = &e->slots[veer_node_in(g, node, i).i].tensor;
        VEER_TRY(tensor_alloc(e->allocator, &init->type, &l->state[i]));
        memcpy(l->state[i].data, init->data, veer_type_bytes(&init->type));
    }
    for (int i = l->carried; i < l->total; i++)
        VEER_TRY(tensor_alloc(e->allocator, veer_value_type(g, veer_node_out(g, node, i)), &l->stacked[i]));
    return veer_ok();
}

static veer_status_t loop_step(eval_t *e, loop_t *l) {
    slot_borrow(e, veer_region_arg(e->g, l->body, 0), &l->index);
    for (int i = 0; i < l->carried; i++) slot_borrow(e, veer_region_arg(e->g, l->body, i + 1), l->state[i].data);
    VEER_TRY(eval_region(e, l->body, l->next));
    tensors_free(e->allocator, l->state, l->carried);
    for (int i = 0; i < l->total; i++) {
        if (i < l->carried) {
            l->state[i] = l->next[i];
        } else {
            size_t row_bytes = veer_type_bytes(&l->next[i].type);
            memcpy((char *)l->stacked[i].data + (size_t)l->index * row_bytes, l->next[i].data, row_bytes);
            veer_free(e->allocator, l->next[i].data);
        }
        l->next[i].data = NULL;
    }
    return veer_ok();
}

static veer_status_t run_loop(eval_t *e, veer_node_t node) {
    loop_t l;
    veer_status_t status = loop_init(e, node, &l);
    for (; !status && l.index < l.trip; l.index++) status = loop_step(e, &l);
    for (int i = 0; !status && i < l.total; i++) {
        veer_tensor_t *from = i < l.carried ? &l.state[i] : &l.stacked[i];
        slot_own(e, veer_node_out(e->g, node, i), from->data);
        from->data = NULL;
    }
    tensors_free(e->allocator, l.state, l.carried);
    tensors_free(e->allocator, l.stacked, l.total);
    veer_free(e->allocator, l.state);
    veer_free(e->allocator, l.next); /* its tensors were moved on, or never made */
    veer_free(e->allocator, l.stacked);
    return status;
}

/* ---- regions and functions ---- */
/* An ordinary, fused or call node: operands gathered from the slots, results owned by them. */
static veer_status_t run_node(eval_t *e, veer_node_t node) {
    const veer_graph_t *g = e->g;
    int in_count = veer_node_in_count(g, node), out_count = veer_node_out_count(g, node);
    bool by_region = veer_node_op(g, node) == VEER_OP_FUSED || veer_node_op(g, node) == VEER_OP_CALL;
    veer_tensor_t *in = veer_alloc_array(e->allocator, (size_t)in_count + (size_t)out_count, sizeof *in),
                  *out = in + in_count;
    if (!in) return veer_out_of_memory();
    veer_status_t status = veer_ok();
    for (int i = 0; i < in_count; i++)
        if (veer_node_in(g, node, i).i) in[i] = e->slots[veer_node_in(g, node, i).i].tensor;
    for (int i = 0; !by_region && !status && i < out_count; i++)
        status = tensor_alloc(e->allocator, veer_value_type(g, veer_node_out(g, node, i)), &out[i]);
    if (!status)
        status = by_region ? run_region_node(g, node, in, e->allocator, e->depth, out)
                           : run_kernel(g, node, in, e->allocator, out);
    for (int i = 0; !status && i < out_count; i++) slot_own(e, veer_node_out(g, node, i), out[i].data);
    if (status) tensors_free(e->allocator, out, out_count);
    veer_free(e->allocator, in);
    return status;
}

/* Names the ONNX node that the node came from. */
static veer_status_t at_node(const veer_graph_t *g, veer_node_t node, veer_status_t status) {
    if (!status || veer_node_origin_count(g, node) == 0) return status;
    return veer_status_where(status, "evaluating '%s'", veer_node_origin(g, node, 0));
}

/* Fills out[] with new tensors, none after a failure. */
static veer_status_t eval_region(eval_t *e, veer_region_t region, veer_tensor_t *out) {
    veer_node_t end = veer_region_terminator(e->g, region);
    if (!end.i) return veer_error(VEER_ERR_UNSUPPORTED, "the region has no terminator");
    VEER_FOR_EACH_NODE(e->g, region, node) {
        if (veer_node_eq(node, end)) break;
        veer_op_t op = veer_node_op(e->g, node);
        veer_value_t first = veer_node_out_count(e->g, node) ? veer_node_out(e->g, node, 0) : VEER_NO_VALUE;
        veer_status_t status = veer_ok();
        if (op == VEER_OP_CONST)
            slot_borrow(e, first, veer_value_const_data(e->g, first));
        else
            status = op == VEER_OP_LOOP ? run_loop(e, node) : run_node(e, node);
        if (status) return at_node(e->g, node, status);
        for (uint32_t v = e->first_dead[node.i]; v; v = e->slots[v].next_dead) slot_clear(e, v);
    }
    int count = veer_region_result_count(e->g, region);
    veer_status_t status = veer_ok();
    for (int i = 0; !status && i < count; i++) {
        out[i].data = NULL;
        status = take_result(e, region, i, &out[i]);
        if (status) tensors_free(e->allocator, out, i + 1);
    }
    for (uint32_t v = e->first_dead[end.i]; v; v = e->slots[v].next_dead) slot_clear(e, v);
    return status;
}

static veer_status_t eval_func(const veer_graph_t *g, veer_func_t func, const veer_tensor_t *in,
                               veer_allocator_t allocator, int depth, veer_tensor_t *out) {
    if (depth > CALL_DEPTH_MAX)
        return veer_error(VEER_ERR_UNSUPPORTED, "calls are nested more than %d deep", CALL_DEPTH_MAX);
    eval_t e;
    veer_region_t body = veer_func_body(g, func);
    veer_status_t status = eval_init(&e, g, body, allocator, depth);
    for (int i = 0; !status && i < veer_region_arg_count(g, body); i++)
        slot_borrow(&e, veer_region_arg(g, body, i), in[i].data);
    if (!status) status = eval_region(&e, body, out);
    eval_deinit(&e);
    return status;
}

veer_status_t veer_reference_eval(const veer_graph_t *g, veer_func_t func, const veer_tensor_t *in, int in_count,
                                  veer_allocator_t allocator, veer_tensor_t *out, int out_count) {
    veer_region_t body = veer_func_body(g, func);
    const char *name = veer_func_name(g, func);
    int args = veer_region_arg_count(g, body), results = veer_region_result_count(g, body);
    if (in_count != args || out_count != results)
        return veer_error(VEER_ERR_CONFIG, "@%s takes %d tensors and gives %d, but %d and %d were passed", name, args,
                          results, in_count, out_count);
    for (int i = 0; i < args; i++) {
        const veer_type_t *want = veer_value_type(g, veer_region_arg(g, body, i));
        char x[VEER_TYPE_TEXT_BYTES], y[VEER_TYPE_TEXT_BYTES];
        if (!veer_type_equal(&in[i].type, want))
            return veer_error(VEER_ERR_CONFIG, "@%s: argument %d is %s, expected %s", name, i,
                              veer_type_text(&in[i].type, x), veer_type_text(want, y));
    }
    return veer_status_where(eval_func(g, func, in, allocator, 0, out), "@%s", name);
}

veer_status_t veer_reference_node(const veer_graph_t *g, veer_node_t node, const veer_tensor_t *in,
                                  veer_tensor_t *out) {
    veer_op_t op = veer_node_op(g, node);
    int count = veer_node_out_count(g, node);
    if (op == VEER_OP_LOOP)
        return veer_error(VEER_ERR_UNSUPPORTED, "a loop is evaluated with the function that holds it");
    if (op == VEER_OP_CONST) {
        memcpy(out[0].data, veer_value_const_data(g, veer_node_out(g, node, 0)), veer_type_bytes(&out[0].type));
        return veer_ok();
    }
    if (op != VEER_OP_FUSED && op != VEER_OP_CALL) return run_kernel(g, node, in, veer_graph_allocator(g), out);
    veer_allocator_t allocator = veer_graph_allocator(g);
    veer_tensor_t *results = veer_alloc_array(allocator, (size_t)count, sizeof *results);
    veer_status_t status = results ? run_region_node(g, node, in, allocator, 0, results) : veer_out_of_memory();
    for (int i = 0; !status && i < count; i++) memcpy(out[i].data, results[i].data, veer_type_bytes(&out[i].type));
    if (!status) tensors_free(allocator, results, count);
    veer_free(allocator, results);
    return status;
}
