#include "api/lower.h"

#include "api/overlap.h"
#include "api/storage.h"
#include "ir/builder.h"

#include <stdio.h>
#include <string.h>

veer_status_t veer_backend_parse(const char *name, veer_backend_t *out_backend) {
    if (!strcmp(name, "auto"))
        *out_backend = VEER_BACKEND_AUTO;
    else if (!strcmp(name, "reference"))
        *out_backend = VEER_BACKEND_REFERENCE;
    else
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "unknown backend '%s'", name), "use auto or reference");
    return veer_ok();
}

veer_status_t veer_precision_parse(const char *name, bool *out_strict) {
    if (strcmp(name, "default") && strcmp(name, "strict"))
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "unknown precision '%s'", name), "use default or strict");
    *out_strict = !strcmp(name, "strict");
    return veer_ok();
}

enum { LABEL_BYTES = 160 };

typedef struct lower_s {
    veer_graph_t *g;
    veer_allocator_t allocator;
    veer_plan_t *plan;
    veer_storage_t storage;
    veer_overlap_t overlap;
    veer_makers_t makers;
    veer_tuning_t *tuning;
    veer_choice_t *choices; /* by node id */
    bool main_loop_seen;
} lower_t;

/* ---- legal loops ---- */

/* What a yielded value looks into, through every op that storage may make a view of. */
static veer_value_t looks_into(const veer_graph_t *g, veer_value_t v) {
    for (;;) {
        veer_node_t def = veer_value_def(g, v);
        veer_op_t op = def.i ? veer_node_op(g, def) : VEER_OP_NONE;
        if (!veer_op_may_be_view(op)) return v;
        v = veer_node_in(g, def, 0);
    }
}

/* At the end of an iteration the yielded values are copied to the carried buffers one after the other. A yielded value
 * that looks into another carried buffer would be overwritten before it is copied, so it gets a buffer of its own
 * first. */
static veer_status_t legalise_yields(veer_graph_t *g, veer_node_t loop) {
    veer_region_t body = veer_node_body(g, loop);
    veer_node_t end = veer_region_terminator(g, body);
    for (int i = 0; i < veer_node_in_count(g, loop); i++) {
        veer_value_t v = veer_node_in(g, end, i), root = looks_into(g, v);
        bool foreign = !veer_value_def(g, root).i && veer_value_region(g, root).i == body.i;
        if (!foreign || veer_value_eq(v, veer_region_arg(g, body, i + 1))) continue;
        veer_builder_t b = veer_builder_before(g, end);
        veer_type_t type = *veer_value_type(g, v);
        veer_value_t copy =
            veer_build(&b, VEER_OP_BROADCAST, VEER_IN(v), VEER_ATTRS(VEER_INTS("dims", type.dims, type.rank)));
        VEER_TRY(veer_builder_status(&b));
        veer_node_set_in(g, end, i, copy);
    }
    return veer_ok();
}

veer_status_t veer_legalise(veer_graph_t *g, veer_region_t region) {
    VEER_FOR_EACH_NODE(g, region, n) {
        if (veer_node_op(g, n) != VEER_OP_LOOP) continue;
        VEER_TRY(legalise_yields(g, n));
        VEER_TRY(veer_legalise(g, veer_node_body(g, n)));
    }
    return veer_ok();
}

/* ---- choice ---- */

static veer_status_t choose_all(lower_t *l, veer_region_t region) {
    VEER_FOR_EACH_NODE(l->g, region, n) {
        veer_op_t op = veer_node_op(l->g, n);
        if (op == VEER_OP_LOOP) {
            VEER_TRY(choose_all(l, veer_node_body(l->g, n)));
        } else if (!l->storage.is_view[n.i] && !veer_op_has(op, VEER_TERMINATOR)) {
            const char *why;
            veer_maker_t first = veer_tuning_choice(l->tuning, n, &why);
            VEER_TRY(veer_status_where(veer_choose(&l->makers, l->g, n, first, why, &l->choices[n.i]), "op '%s'",
                                       veer_op_name(op)));
        }
    }
    return veer_ok();
}

/* ---- calls ---- */

static bool holds_noise(const veer_graph_t *g, veer_node_t from) {
    for (veer_node_t n = from; n.i; n = veer_node_next(g, n))
        if (veer_node_op(g, n) == VEER_OP_NOISE) return true;
    return false;
}

/* "matmul+add+gelu" from the ops of a fused body: the first few, and whether random numbers are made. */
static void describe(const veer_graph_t *g, veer_node_t n, char label[LABEL_BYTES]) {
    if (veer_node_op(g, n) != VEER_OP_FUSED) {
        snprintf(label, LABEL_BYTES, "%s", veer_op_name(veer_node_op(g, n)));
        return;
    }
    size_t at = 0;
    int shown = 0;
    bool attention = !strcmp(veer_node_string(g, n, "kind"), "attention"); /* what moves its operands is strides */
    label[0] = 0;
    VEER_FOR_EACH_NODE(g, veer_node_body(g, n), inner) {
        veer_op_t op = veer_node_op(g, inner);
        if (attention && veer_op_has(op, VEER_MOVES)) continue;
        if (op == VEER_OP_CONST || op == VEER_OP_RESHAPE || veer_op_has(op, VEER_TERMINATOR)) continue;
        if (shown++ == 6) {
            snprintf(label + at, LABEL_BYTES - at, "+...%s", holds_noise(g, inner) ? "+noise" : "");
            return;
        }
        at += (size_t)snprintf(label + at, LABEL_BYTES - at, "%s%s", at ? "+" : "", veer_op_name(op));
        if (at >= LABEL_BYTES) return;
    }
}

static veer_status_t add_kernel(lower_t *l, veer_node_t n, bool in_loop) {
    veer_graph_t *g = l->g;
    const veer_choice_t *c = &l->choices[n.i];
    int in = veer_node_in_count(g, n), out = veer_node_out_count(g, n), origins = veer_node_origin_count(g, n);
    veer_buf_t *bufs = veer_plan_alloc(l->plan, (size_t)(in + out + 1) * sizeof *bufs);
    const char **names = veer_plan_alloc(l->plan, (size_t)(origins + 1) * sizeof *names);
    if (!bufs || !names) return veer_out_of_memory();
    for (int i = 0; i < in; i++)
        if (veer_node_in(g, n, i).i) bufs[i] = veer_storage_of(&l->storage, veer_node_in(g, n, i));
    if (c->packed) bufs[c->packed_buf] = (veer_buf_t){.kind = VEER_BUF_CONST, .ptr = c->packed};
    for (int i = 0; i < out; i++) bufs[in + i] = veer_storage_of(&l->storage, veer_node_out(g, n, i));
    for (int i = 0; i < origins; i++) names[i] = veer_node_origin(g, n, i);
    char label[LABEL_BYTES];
    describe(g, n, label);
    veer_call_desc_t desc = c->desc;
    desc.name = label;
    desc.reason = c->reason;
    desc.phase = in_loop ? VEER_PHASE_OTHER : VEER_PHASE_SETUP;
    desc.bufs = bufs;
    desc.buf_count = in + out;
    desc.origins = names;
    desc.origin_count = origins;
    desc.fn = veer_choice_function(&l->makers, c);
    desc.strand = veer_node_strand(g, n);
    VEER_TRY(veer_overlap_add(&l->overlap, &l->storage, n, &desc.overlap));
    return veer_plan_add_call(l->plan, &desc);
}

static veer_status_t copy_value(lower_t *l, veer_buf_t dst, veer_value_t src, veer_phase_t phase) {
    size_t bytes = veer_type_bytes(veer_value_type(l->g, src));
    veer_overlap_reset(&l->overlap);
    return bytes ? veer_plan_add_copy(l->plan, dst, veer_storage_of(&l->storage, src), bytes, phase) : veer_ok();
}

static veer_status_t lower_region(lower_t *l, veer_region_t region, int level);

static veer_status_t lower_loop(lower_t *l, veer_node_t loop, int level) {
    veer_graph_t *g = l->g;
    veer_region_t body = veer_node_body(g, loop);
    int carried = veer_node_in_count(g, loop);
    for (int i = 0; i < carried; i++)
        VEER_TRY(copy_value(l, veer_storage_of(&l->storage, veer_region_arg(g, body, i + 1)), veer_node_in(g, loop, i),
                            VEER_PHASE_SETUP));
    bool main_loop = level == 0 && !l->main_loop_seen;
    l->main_loop_seen |= main_loop;
    VEER_TRY(veer_plan_begin_loop(l->plan, veer_node_int(g, loop, "trip"),
                                  veer_storage_of(&l->storage, veer_region_arg(g, body, 0)), main_loop));
    veer_overlap_reset(&l->overlap);
    VEER_TRY(lower_region(l, body, level + 1));
    /* Stacked rows first: they may be views of carried values that the copies below overwrite. */
    for (int i = carried; i < veer_node_out_count(g, loop); i++) {
        veer_value_t row = veer_region_result(g, body, i);
        veer_buf_t dst = veer_storage_of(&l->storage, veer_node_out(g, loop, i));
        dst.step_bytes = (int64_t)veer_type_bytes(veer_value_type(g, row));
        dst.level = level;
        VEER_TRY(copy_value(l, dst, row, VEER_PHASE_STEP));
    }
    for (int i = 0; i < carried; i++) {
        veer_value_t next = veer_region_result(g, body, i), arg = veer_region_arg(g, body, i + 1);
        if (!veer_value_eq(next, arg))
            VEER_TRY(copy_value(l, veer_storage_of(&l->storage, arg), next, VEER_PHASE_STEP));
    }
    veer_overlap_reset(&l->overlap);
    return veer_plan_end_loop(l->plan);
}

static veer_status_t lower_region(lower_t *l, veer_region_t region, int level) {
    VEER_FOR_EACH_NODE(l->g, region, n) {
        veer_op_t op = veer_node_op(l->g, n);
        if (op == VEER_OP_LOOP)
            VEER_TRY(lower_loop(l, n, level));
        else if (!l->storage.is_view[n.i] && !veer_op_has(op, VEER_TERMINATOR))
            VEER_TRY(add_kernel(l, n, level > 0));
    }
    return veer_ok();
}

static veer_status_t add_ports(lower_t *l, veer_func_t func) {
    veer_region_t body = veer_func_body(l->g, func);
    char number[16];
    for (int i = 0; i < veer_region_arg_count(l->g, body); i++) {
        veer_value_t arg = veer_region_arg(l->g, body, i);
        const char *name = veer_value_name(l->g, arg);
        snprintf(number, sizeof number, "%d", i);
        VEER_TRY(veer_plan_add_input(l->plan, *name ? name : number, *veer_value_type(l->g, arg)));
    }
    for (int i = 0; i < veer_region_result_count(l->g, body); i++) {
        const char *name = veer_func_result_name(l->g, func, i);
        snprintf(number, sizeof number, "%d", i);
        VEER_TRY(veer_plan_add_output(l->plan, *name ? name : number,
                                      *veer_value_type(l->g, veer_region_result(l->g, body, i))));
    }
    return veer_ok();
}

static veer_status_t copy_results(lower_t *l, veer_region_t body) {
    for (int i = 0; i < veer_region_result_count(l->g, body); i++) {
        veer_value_t v = veer_region_result(l->g, body, i);
        if (veer_storage_needs_copy(&l->storage, v, i))
            VEER_TRY(copy_value(l, (veer_buf_t){.kind = VEER_BUF_OUTPUT, .at = i}, v, VEER_PHASE_OTHER));
    }
    return veer_ok();
}

static veer_status_t lower(lower_t *l, veer_func_t func, const veer_lower_options_t *options, veer_cache_t *cache) {
    veer_region_t body = veer_func_body(l->g, func);
    VEER_TRY(veer_legalise(l->g, body));
    VEER_TRY(veer_storage_init(&l->storage, l->g, func, options->compact, l->allocator));
    l->choices = veer_alloc_array(l->allocator, veer_graph_node_limit(l->g), sizeof *l->choices);
    if (!l->choices) return veer_out_of_memory();
    veer_makers_options_t makers = {options->backend, options->strict, cache};
    VEER_TRY(veer_makers_open(&makers, l->plan, l->allocator, &l->makers));
    if (options->backend != VEER_BACKEND_REFERENCE)
        VEER_TRY(veer_tune(l->g, body, options->tune, &l->makers, &l->tuning));
    VEER_TRY(add_ports(l, func));
    VEER_TRY(choose_all(l, body));
    VEER_TRY(veer_makers_finish(&l->makers));
    VEER_TRY(lower_region(l, body, 0));
    VEER_TRY(copy_results(l, body));
    veer_plan_set_arena_bytes(l->plan, l->storage.arena_bytes);
    return veer_ok();
}

veer_status_t veer_lower(veer_graph_t *g, veer_func_t func, const veer_lower_options_t *options,
                         veer_allocator_t allocator, veer_plan_t **out_plan) {
    lower_t l = {.g = g, .allocator = allocator};
    veer_cache_t *cache = NULL;
    if (options->backend != VEER_BACKEND_REFERENCE) VEER_TRY(veer_cache_open(options->cache, allocator, &cache));
    veer_status_t status = veer_plan_create(allocator, &l.plan);
    if (!status) status = veer_status_where(lower(&l, func, options, cache), "lowering @%s", veer_func_name(g, func));
    veer_storage_deinit(&l.storage);
    veer_overlap_deinit(&l.overlap, allocator);
    veer_free(allocator, l.choices);
    veer_tuning_destroy(l.tuning);
    veer_cache_close(cache);
    if (status) {
        veer_plan_destroy(l.plan);
        return status;
    }
    *out_plan = l.plan;
    return veer_ok();
}
