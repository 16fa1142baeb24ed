#include "api/lower.h"

#include "api/storage.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"
#ifdef VEER_WITH_LLVM
#include "backends/llvm/llvm.h"
#endif
#ifdef VEER_WITH_ONEDNN
#include "backends/onednn/onednn.h"
#endif

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

enum { REASON_BYTES = 256, LABEL_BYTES = 160 };

/* What was chosen for a node; kernels of LLVM get their address once all are compiled. */
typedef struct choice_s {
    enum { BY_NONE, BY_LLVM, BY_ONEDNN, BY_REFERENCE } by;
    int llvm_id;
    const void *packed; /* takes the place of buffer `packed_buf`; NULL: none */
    int packed_buf;
    veer_call_desc_t desc;
    const char *reason;
} choice_t;

typedef struct lower_s {
    veer_graph_t *g;
    veer_backend_t backend;
    bool strict;
    veer_allocator_t allocator;
    veer_plan_t *plan;
    veer_storage_t storage;
    choice_t *choices; /* by node id */
    bool main_loop_seen;
#ifdef VEER_WITH_LLVM
    veer_llvm_t *llvm;
#endif
#ifdef VEER_WITH_ONEDNN
    veer_onednn_t *onednn;
#endif
} lower_t;

/* ---- legal loops ---- */

/* What a yielded value looks into, through every op that storage may make a view of. */
static veer_value_t looks_into(const veer_graph_t *g, veer_value_t v) {
    for (;;) {
        veer_node_t def = veer_value_def(g, v);
        veer_op_t op = def.i ? veer_node_op(g, def) : VEER_OP_NONE;
        if (op != VEER_OP_RESHAPE && op != VEER_OP_SLICE && op != VEER_OP_STEP_SLICE) return v;
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

static veer_status_t legalise(veer_graph_t *g, veer_region_t region) {
    VEER_FOR_EACH_NODE(g, region, n) {
        if (veer_node_op(g, n) != VEER_OP_LOOP) continue;
        VEER_TRY(legalise_yields(g, n));
        VEER_TRY(legalise(g, veer_node_body(g, n)));
    }
    return veer_ok();
}

/* ---- choice ---- */

static bool is_contraction(veer_op_t op) {
    return veer_op_has(op, VEER_CONTRACTION) || op == VEER_OP_MAX_POOL || op == VEER_OP_AVG_POOL ||
           op == VEER_OP_RESIZE;
}

static bool is_matmul(veer_op_t op) {
    return op == VEER_OP_MATMUL;
}

/* The node itself, or one in its body. */
static bool contains(const veer_graph_t *g, veer_node_t n, bool (*is)(veer_op_t op)) {
    if (veer_node_op(g, n) != VEER_OP_FUSED) return is(veer_node_op(g, n));
    VEER_FOR_EACH_NODE(g, veer_node_body(g, n), inner)
    if (contains(g, inner, is)) return true;
    return false;
}

/* Each tries one backend: true where it took the node; `why` collects the reasons of those that declined. */
static void add_reason(char *why, const char *who, const char *reason) {
    size_t at = strlen(why);
    snprintf(why + at, REASON_BYTES - at, "%s%s declined: %s", at ? "; " : "", who,
             *reason ? reason : "no reason given");
}

#ifdef VEER_WITH_ONEDNN
static veer_status_t try_onednn(lower_t *l, veer_node_t n, choice_t *c, char *why) {
    char reason[REASON_BYTES] = "";
    if (!contains(l->g, n, is_contraction)) return veer_ok();
    if (!veer_onednn_supports(l->g, n, reason, sizeof reason)) {
        add_reason(why, "onednn", reason);
        return veer_ok();
    }
    veer_onednn_kernel_t k;
    veer_status_t status = veer_onednn_emit(l->onednn, l->g, n, NULL, &k);
    if (veer_status_code(status) == VEER_ERR_UNSUPPORTED) {
        add_reason(why, "onednn", veer_status_message(status, 0));
        veer_status_free(status);
        return veer_ok();
    }
    VEER_TRY(status);
    c->by = BY_ONEDNN;
    c->desc = (veer_call_desc_t){.backend = "onednn",
                                 .fn = k.fn,
                                 .params = k.params,
                                 .work_items = k.work_items,
                                 .scratch_bytes = k.scratch_bytes,
                                 .flops = k.flops,
                                 .bytes = k.bytes};
    return veer_ok();
}
#endif

#ifdef VEER_WITH_LLVM
static void take_llvm(choice_t *c, const veer_llvm_kernel_t *k) {
    c->by = BY_LLVM;
    c->llvm_id = k->id;
    c->packed = k->packed, c->packed_buf = k->packed_buf;
    c->desc = (veer_call_desc_t){.backend = "llvm",
                                 .stream = k->stream,
                                 .work_items = k->work_items,
                                 .scratch_bytes = k->scratch_bytes,
                                 .flops = k->flops,
                                 .bytes = k->bytes};
}

static veer_status_t try_llvm(lower_t *l, veer_node_t n, choice_t *c, char *why) {
    char reason[REASON_BYTES] = "";
    bool supports;
    VEER_TRY(veer_llvm_supports(l->g, n, &supports, reason, sizeof reason));
    if (!supports) {
        add_reason(why, "llvm", reason);
        return veer_ok();
    }
    veer_llvm_kernel_t k;
    VEER_TRY(veer_llvm_emit(l->llvm, l->g, n, &k));
    take_llvm(c, &k);
    return veer_ok();
}

/* Products: ours are level with oneDNN's or ahead on every shape and CPU that was measured (backends/llvm/README.md).
 */
static veer_status_t try_llvm_matmul(lower_t *l, veer_node_t n, choice_t *c, char *why) {
    char reason[REASON_BYTES] = "";
    if (!contains(l->g, n, is_matmul)) return veer_ok();
    if (!veer_llvm_matmul_supports(l->g, n, reason, sizeof reason)) {
        add_reason(why, "llvm", reason);
        return veer_ok();
    }
    veer_llvm_kernel_t k;
    VEER_TRY(veer_llvm_matmul_emit(l->llvm, l->g, n, &k));
    take_llvm(c, &k);
    return veer_ok();
}

static bool is_conv(veer_op_t op) {
    return op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE;
}

/* Convolutions that Winograd's algorithm does with fewer operations. */
static veer_status_t try_llvm_conv(lower_t *l, veer_node_t n, choice_t *c, char *why) {
    static const double LEAST_GAIN = 1.15; /* estimates are some 10 % off */
    char reason[REASON_BYTES] = "";
    veer_llvm_conv_t ways[VEER_LLVM_CONV_WAYS];
    if (!contains(l->g, n, is_conv)) return veer_ok();
    if (!veer_llvm_conv_ways(l->llvm, l->g, n, l->strict, ways, reason, sizeof reason)) {
        add_reason(why, "winograd", reason);
        return veer_ok();
    }
    if (ways[0].gain < LEAST_GAIN) {
        snprintf(reason, sizeof reason, "%.2f times as fast by estimate", ways[0].gain);
        add_reason(why, "winograd", reason);
        return veer_ok();
    }
    veer_llvm_kernel_t k;
    VEER_TRY(veer_llvm_conv_emit(l->llvm, l->g, n, ways[0].tile, &k));
    snprintf(why, REASON_BYTES, "winograd %dx%d: %.2f times as fast by estimate", ways[0].tile, ways[0].tile,
             ways[0].gain);
    take_llvm(c, &k);
    return veer_ok();
}
#endif

static veer_status_t choose(lower_t *l, veer_node_t n) {
    choice_t *c = &l->choices[n.i];
    char why[REASON_BYTES] = "";
#ifdef VEER_WITH_LLVM
    if (l->backend == VEER_BACKEND_AUTO) VEER_TRY(try_llvm_matmul(l, n, c, why));
    if (l->backend == VEER_BACKEND_AUTO && !c->by) VEER_TRY(try_llvm_conv(l, n, c, why));
#endif
#ifdef VEER_WITH_ONEDNN
    if (l->backend == VEER_BACKEND_AUTO && !c->by) VEER_TRY(try_onednn(l, n, c, why));
#endif
#ifdef VEER_WITH_LLVM
    if (l->backend == VEER_BACKEND_AUTO && !c->by) VEER_TRY(try_llvm(l, n, c, why));
#endif
    if (!c->by) {
        if (l->backend == VEER_BACKEND_REFERENCE) snprintf(why, sizeof why, "asked for");
        VEER_TRY(veer_reference_emit(l->g, n, l->plan, &c->desc));
        c->by = BY_REFERENCE;
    }
    char *kept = veer_plan_alloc(l->plan, strlen(why) + 1);
    if (!kept) return veer_out_of_memory();
    c->reason = strcpy(kept, why);
    return veer_ok();
}

static veer_status_t choose_all(lower_t *l, veer_region_t region) {
    VEER_FOR_EACH_NODE(l->g, region, n) {
        veer_op_t op = veer_node_op(l->g, n);
        if (op == VEER_OP_LOOP)
            VEER_TRY(choose_all(l, veer_node_body(l->g, n)));
        else if (!l->storage.is_view[n.i] && !veer_op_has(op, VEER_TERMINATOR))
            VEER_TRY(veer_status_where(choose(l, n), "op '%s'", veer_op_name(op)));
    }
    return veer_ok();
}

#ifdef VEER_WITH_LLVM
static void release_llvm(void *llvm) {
    veer_llvm_destroy(llvm);
}
#endif

static veer_status_t open_backends(lower_t *l) {
    if (l->backend == VEER_BACKEND_REFERENCE) return veer_ok();
#ifdef VEER_WITH_LLVM
    VEER_TRY(veer_llvm_create(l->allocator, NULL, &l->llvm));
    VEER_TRY(veer_plan_on_destroy(l->plan, release_llvm, l->llvm));
#endif
#ifdef VEER_WITH_ONEDNN
    VEER_TRY(veer_onednn_create(l->allocator, &l->onednn));
    VEER_TRY(veer_plan_on_destroy(l->plan, veer_onednn_release, l->onednn));
#endif
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
    label[0] = 0;
    VEER_FOR_EACH_NODE(g, veer_node_body(g, n), inner) {
        veer_op_t op = veer_node_op(g, inner);
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
    choice_t *c = &l->choices[n.i];
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
#ifdef VEER_WITH_LLVM
    if (c->by == BY_LLVM) desc.fn = veer_llvm_symbol(l->llvm, c->llvm_id);
#endif
    return veer_plan_add_call(l->plan, &desc);
}

static veer_status_t copy_value(lower_t *l, veer_buf_t dst, veer_value_t src, veer_phase_t phase) {
    size_t bytes = veer_type_bytes(veer_value_type(l->g, src));
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

static veer_status_t lower(lower_t *l, veer_func_t func) {
    veer_region_t body = veer_func_body(l->g, func);
    VEER_TRY(legalise(l->g, body));
    VEER_TRY(veer_storage_init(&l->storage, l->g, func, l->allocator));
    l->choices = veer_alloc_array(l->allocator, veer_graph_node_limit(l->g), sizeof *l->choices);
    if (!l->choices) return veer_out_of_memory();
    VEER_TRY(open_backends(l));
    VEER_TRY(add_ports(l, func));
    VEER_TRY(choose_all(l, body));
#ifdef VEER_WITH_LLVM
    if (l->llvm) VEER_TRY(veer_llvm_finish(l->llvm));
#endif
    VEER_TRY(lower_region(l, body, 0));
    VEER_TRY(copy_results(l, body));
    veer_plan_set_arena_bytes(l->plan, l->storage.arena_bytes);
    return veer_ok();
}

veer_status_t veer_lower(veer_graph_t *g, veer_func_t func, veer_backend_t backend, bool strict,
                         veer_allocator_t allocator, veer_plan_t **out_plan) {
    lower_t l = {.g = g, .backend = backend, .strict = strict, .allocator = allocator};
    VEER_TRY(veer_plan_create(allocator, &l.plan));
    veer_status_t status = veer_status_where(lower(&l, func), "lowering @%s", veer_func_name(g, func));
    veer_storage_deinit(&l.storage);
    veer_free(allocator, l.choices);
    if (status) {
        veer_plan_destroy(l.plan);
        return status;
    }
    *out_plan = l.plan;
    return veer_ok();
}
