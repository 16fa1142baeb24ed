#include "api/choose.h"

#include "backends/reference/reference.h"
#ifdef VEER_WITH_LLVM
#include "backends/llvm/llvm.h"
#endif
#ifdef VEER_WITH_ONEDNN
#include "backends/onednn/onednn.h"
#endif

#include <stdio.h>
#include <string.h>

enum { REASON_BYTES = 512, NAME_BYTES = 64 /* of a maker */ };

/* ---- kinds of nodes ---- */

#ifdef VEER_WITH_ONEDNN
static bool is_contraction(veer_op_t op) {
    return veer_op_has(op, VEER_CONTRACTION) || op == VEER_OP_MAX_POOL || op == VEER_OP_AVG_POOL ||
           op == VEER_OP_RESIZE;
}
#endif

#ifdef VEER_WITH_LLVM
static bool is_matmul(veer_op_t op) {
    return op == VEER_OP_MATMUL;
}
#endif

#if defined VEER_WITH_LLVM || defined VEER_WITH_ONEDNN
/* The node itself, or one in its body. */
static bool contains(const veer_graph_t *g, veer_node_t n, bool (*is)(veer_op_t op)) {
    if (veer_node_op(g, n) != VEER_OP_FUSED) return is(veer_node_op(g, n));
    VEER_FOR_EACH_NODE(g, veer_node_body(g, n), inner)
    if (contains(g, inner, is)) return true;
    return false;
}
#endif

/* ---- makers ---- */

#ifdef VEER_WITH_LLVM
static void take_llvm(veer_choice_t *c, veer_maker_t maker, const veer_llvm_kernel_t *k) {
    *c = (veer_choice_t){.by = maker,
                         .llvm_id = k->id,
                         .packed = k->packed,
                         .packed_bytes = k->packed_bytes,
                         .packed_buf = k->packed_buf,
                         .desc = {.backend = "llvm",
                                  .stream = k->stream,
                                  .work_items = k->work_items,
                                  .scratch_bytes = k->scratch_bytes,
                                  .flops = k->flops,
                                  .bytes = k->bytes}};
}

static veer_status_t supports_llvm(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                   bool *out, char *reason, size_t bytes) {
    (void)m, (void)maker;
    return veer_llvm_supports(g, n, out, reason, bytes);
}

static bool is_attention(veer_op_t op) {
    return op == VEER_OP_ATTENTION || op == VEER_OP_ATTENTION_GRAD;
}

/* Contractions of our own that are done in one way. */
static veer_status_t supports_contraction(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g,
                                          veer_node_t n, bool *out, char *reason, size_t bytes) {
    if (maker == VEER_MAKER_LLVM_ATTENTION)
        *out = contains(g, n, is_attention) && veer_llvm_attention_supports(g, n, reason, bytes);
    else if (maker == VEER_MAKER_AMX_MATMUL)
        *out = contains(g, n, is_matmul) && veer_llvm_matmul_amx_supports(m->llvm, g, n, reason, bytes);
    else
        *out = contains(g, n, is_matmul) && veer_llvm_matmul_supports(g, n, reason, bytes);
    return veer_ok();
}

static bool is_conv(veer_op_t op) {
    return op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE;
}

static bool is_winograd(veer_maker_t maker) {
    return maker >= VEER_MAKER_WINOGRAD_4_FLY && maker <= VEER_MAKER_WINOGRAD_2;
}

static int tile_of(veer_maker_t maker) {
    return maker == VEER_MAKER_WINOGRAD_4 || maker == VEER_MAKER_WINOGRAD_4_FLY ? 4 : 2;
}

static bool is_fly(veer_maker_t maker) {
    return maker == VEER_MAKER_WINOGRAD_4_FLY || maker == VEER_MAKER_WINOGRAD_2_FLY;
}

/* The way of Winograd's algorithm that a maker stands for, and whether it is the most promising; false where it does
 * not do the node or is far behind, and `reason`. */
static bool winograd_way(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                         veer_llvm_conv_t *out_way, bool *out_is_best, char *reason, size_t bytes) {
    static const double WORTH_MEASURING = 0.7; /* of the best way's gain: estimates do not err by more */
    veer_llvm_conv_t ways[VEER_LLVM_CONV_WAYS];
    if (!contains(g, n, is_conv)) return false;
    int count = veer_llvm_conv_ways(m->llvm, g, n, ways, reason, bytes);
    for (int i = 0; i < count; i++) {
        if (ways[i].tile != tile_of(maker) || ways[i].fly != is_fly(maker)) continue;
        *out_way = ways[i], *out_is_best = i == 0;
        snprintf(reason, bytes, "%.2f times as fast by estimate, the best way %.2f times", ways[i].gain, ways[0].gain);
        return ways[i].gain >= WORTH_MEASURING * ways[0].gain;
    }
    if (count) snprintf(reason, bytes, "its error bound is more than four times that of a direct convolution");
    return false;
}

static veer_status_t emit_winograd(veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                   veer_choice_t *out) {
    veer_llvm_kernel_t k;
    VEER_TRY(veer_llvm_conv_emit(m->llvm, g, n, tile_of(maker), is_fly(maker), &k));
    take_llvm(out, maker, &k);
    return veer_ok();
}

/* Convolutions that Winograd's algorithm does are its own, whose error is smaller (backends/llvm/README.md). */
static veer_status_t supports_amx_conv(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                       bool *out, char *reason, size_t bytes) {
    double gain;
    (void)maker;
    *out = false;
    if (!contains(g, n, is_conv)) return veer_ok();
    if (veer_llvm_conv_supports(g, n, reason, bytes)) {
        snprintf(reason, bytes, "not for the matrix unit: Winograd's algorithm is closer");
        return veer_ok();
    }
    *out = veer_llvm_conv_amx_supports(m->llvm, g, n, &gain, reason, bytes);
    return veer_ok();
}

/* Kernels of LLVM that are made in one way. */
static veer_status_t emit_llvm(veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                               veer_choice_t *out) {
    static veer_status_t (*const emit[VEER_MAKER_COUNT])(veer_llvm_t *, const veer_graph_t *, veer_node_t,
                                                         veer_llvm_kernel_t *) = {
        [VEER_MAKER_AMX_MATMUL] = veer_llvm_matmul_amx_emit,
        [VEER_MAKER_LLVM_MATMUL] = veer_llvm_matmul_emit,
        [VEER_MAKER_LLVM_ATTENTION] = veer_llvm_attention_emit,
        [VEER_MAKER_AMX_CONV] = veer_llvm_conv_amx_emit,
        [VEER_MAKER_LLVM] = veer_llvm_emit,
    };
    veer_llvm_kernel_t k;
    VEER_TRY(emit[maker](m->llvm, g, n, &k));
    take_llvm(out, maker, &k);
    return veer_ok();
}

static veer_status_t supports_winograd(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                       bool *out, char *reason, size_t bytes) {
    veer_llvm_conv_t way;
    bool is_best;
    *out = winograd_way(m, maker, g, n, &way, &is_best, reason, bytes);
    return veer_ok();
}
#endif

#ifdef VEER_WITH_ONEDNN
static veer_status_t supports_onednn(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                     bool *out, char *reason, size_t bytes) {
    (void)m, (void)maker;
    *out = contains(g, n, is_contraction) && veer_onednn_supports(g, n, reason, bytes);
    return veer_ok();
}

static veer_status_t emit_onednn(veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                 veer_choice_t *out) {
    veer_onednn_kernel_t k;
    VEER_TRY(veer_onednn_emit(m->onednn, g, n, NULL, &k));
    *out = (veer_choice_t){.by = maker,
                           .desc = {.backend = "onednn",
                                    .fn = k.fn,
                                    .params = k.params,
                                    .work_items = k.work_items,
                                    .scratch_bytes = k.scratch_bytes,
                                    .flops = k.flops,
                                    .bytes = k.bytes}};
    return veer_ok();
}
#endif

static veer_status_t supports_reference(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g,
                                        veer_node_t n, bool *out, char *reason, size_t bytes) {
    (void)m, (void)maker, (void)g, (void)n, (void)reason, (void)bytes;
    *out = true;
    return veer_ok();
}

static veer_status_t emit_reference(veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                    veer_choice_t *out) {
    out->by = maker;
    return veer_reference_emit(g, n, m->plan, &out->desc);
}

static const struct {
    const char *name;
    veer_status_t (*supports)(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                              bool *out, char *reason, size_t bytes);
    veer_status_t (*emit)(veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                          veer_choice_t *out);
} makers[VEER_MAKER_COUNT] = {
#ifdef VEER_WITH_LLVM
    [VEER_MAKER_AMX_MATMUL] = {"llvm matmul amx", supports_contraction, emit_llvm},
    [VEER_MAKER_LLVM_MATMUL] = {"llvm matmul", supports_contraction, emit_llvm},
    [VEER_MAKER_LLVM_ATTENTION] = {"llvm attention", supports_contraction, emit_llvm},
    [VEER_MAKER_AMX_CONV] = {"conv amx", supports_amx_conv, emit_llvm},
    [VEER_MAKER_WINOGRAD_4] = {"winograd 4x4", supports_winograd, emit_winograd},
    [VEER_MAKER_WINOGRAD_4_FLY] = {"winograd 4x4 fly", supports_winograd, emit_winograd},
    [VEER_MAKER_WINOGRAD_2] = {"winograd 2x2", supports_winograd, emit_winograd},
    [VEER_MAKER_WINOGRAD_2_FLY] = {"winograd 2x2 fly", supports_winograd, emit_winograd},
    [VEER_MAKER_LLVM] = {"llvm", supports_llvm, emit_llvm},
#endif
#ifdef VEER_WITH_ONEDNN
    [VEER_MAKER_ONEDNN] = {"onednn", supports_onednn, emit_onednn},
#endif
    [VEER_MAKER_REFERENCE] = {"reference", supports_reference, emit_reference},
};

const char *veer_maker_name(veer_maker_t maker) {
    return makers[maker].name ? makers[maker].name : "";
}

void veer_makers_versions(char out[VEER_MAKERS_VERSIONS_BYTES]) {
#ifdef VEER_WITH_LLVM
    const char *llvm = veer_llvm_version();
#else
    const char *llvm = "none";
#endif
#ifdef VEER_WITH_ONEDNN
    const char *onednn = veer_onednn_version();
#else
    const char *onednn = "none";
#endif
    snprintf(out, VEER_MAKERS_VERSIONS_BYTES, "llvm %s, onednn %s", llvm, onednn);
}

#ifdef VEER_WITH_LLVM
static void release_llvm(void *llvm) {
    veer_llvm_destroy(llvm);
}

static bool find_object(void *cache, const void *key, size_t key_bytes, void **out_object, size_t *out_bytes) {
    return veer_cache_find(cache, key, key_bytes, out_object, out_bytes);
}

static void keep_object(void *cache, const void *key, size_t key_bytes, const void *object, size_t bytes) {
    veer_cache_store(cache, key, key_bytes, object, bytes);
}
#endif

veer_status_t veer_makers_open(const veer_makers_options_t *options, veer_plan_t *plan, veer_allocator_t allocator,
                               veer_makers_t *out_makers) {
    *out_makers = (veer_makers_t){.options = *options, .allocator = allocator, .plan = plan};
    if (options->backend == VEER_BACKEND_REFERENCE) return veer_ok();
#ifdef VEER_WITH_LLVM
    VEER_TRY(veer_llvm_create(allocator, NULL, &out_makers->llvm));
    veer_llvm_set_strict(out_makers->llvm, options->strict);
    VEER_TRY(veer_plan_on_destroy(plan, release_llvm, out_makers->llvm));
    if (options->cache)
        veer_llvm_use_store(out_makers->llvm, &(veer_llvm_store_t){find_object, keep_object, options->cache});
#endif
#ifdef VEER_WITH_ONEDNN
    VEER_TRY(veer_onednn_create(allocator, &out_makers->onednn));
    VEER_TRY(veer_plan_on_destroy(plan, veer_onednn_release, out_makers->onednn));
#endif
    return veer_ok();
}

veer_status_t veer_makers_finish(veer_makers_t *m) {
#ifdef VEER_WITH_LLVM
    if (m->llvm) return veer_llvm_finish(m->llvm);
#endif
    (void)m;
    return veer_ok();
}

double veer_makers_unit_share(const veer_makers_t *m) {
#ifdef VEER_WITH_LLVM
    if (m->llvm) return veer_llvm_unit_share(m->llvm);
#endif
    (void)m;
    return 1;
}

veer_kernel_fn veer_choice_function(const veer_makers_t *m, const veer_choice_t *choice) {
#ifdef VEER_WITH_LLVM
    bool llvm = choice->by && choice->by != VEER_MAKER_ONEDNN && choice->by != VEER_MAKER_REFERENCE;
    if (llvm) return veer_llvm_symbol(m->llvm, choice->llvm_id);
#endif
    (void)m;
    return choice->desc.fn;
}

const void *veer_choice_constant(const veer_choice_t *choice, int i, size_t *out_bytes) {
#ifdef VEER_WITH_ONEDNN
    if (choice->by == VEER_MAKER_ONEDNN) return veer_onednn_constant(choice->desc.params, i, out_bytes);
#endif
    *out_bytes = choice->packed_bytes;
    return i == 0 ? choice->packed : NULL;
}

/* ---- choice ---- */

veer_status_t veer_maker_supports(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                                  bool *out_supports, char *reason, size_t reason_bytes) {
    *reason = 0, *out_supports = false;
    if (!makers[maker].supports) return veer_ok();
    return makers[maker].supports(m, maker, g, n, out_supports, reason, reason_bytes);
}

veer_status_t veer_maker_emit(veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                              veer_choice_t *out, char *reason, size_t reason_bytes) {
    *out = (veer_choice_t){.by = VEER_MAKER_NONE};
    bool supports;
    VEER_TRY(veer_maker_supports(m, maker, g, n, &supports, reason, reason_bytes));
    if (!supports) return veer_ok();
    veer_status_t status = makers[maker].emit(m, maker, g, n, out);
    if (maker == VEER_MAKER_REFERENCE || veer_status_code(status) != VEER_ERR_UNSUPPORTED) return status;
    snprintf(reason, reason_bytes, "%s", veer_status_message(status, 0));
    veer_status_free(status);
    *out = (veer_choice_t){.by = VEER_MAKER_NONE};
    return veer_ok();
}

/* Whether a maker is worth asking before the others where nothing was measured: of the ways of Winograd's algorithm the
 * one that is estimated to be the fastest, and faster than a direct convolution by more than estimates err, or with
 * moments behind it, which no direct one has. */
static bool is_worth_asking(const veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                            char *reason, size_t bytes) {
#ifdef VEER_WITH_LLVM
    static const double LEAST_GAIN = 1.15;
    if (!is_winograd(maker)) return true;
    veer_llvm_conv_t way;
    bool is_best;
    if (!winograd_way(m, maker, g, n, &way, &is_best, reason, bytes)) return false;
    snprintf(reason, bytes, "%.2f times as fast by estimate", way.gain);
    return is_best && (way.gain >= LEAST_GAIN || veer_node_out_count(g, n) > 1);
#else
    (void)m, (void)maker, (void)g, (void)n, (void)reason, (void)bytes;
    return true;
#endif
}

/* Why the others were not taken, one after the other. */
static void add_reason(char *why, const char *who, const char *reason) {
    size_t at = strlen(why);
    if (*reason) snprintf(why + at, REASON_BYTES - at, "%s%s declined: %s", at ? "; " : "", who, reason);
}

static veer_status_t try_maker(veer_makers_t *m, veer_maker_t maker, const veer_graph_t *g, veer_node_t n,
                               veer_choice_t *out, char *why) {
    char reason[REASON_BYTES] = "";
    VEER_TRY(veer_maker_emit(m, maker, g, n, out, reason, sizeof reason));
    if (!out->by) add_reason(why, veer_maker_name(maker), reason);
    return veer_ok();
}

veer_status_t veer_choose(veer_makers_t *m, const veer_graph_t *g, veer_node_t n, veer_maker_t first,
                          const char *why_first, veer_choice_t *out) {
    char why[REASON_BYTES + NAME_BYTES] = "";
    *out = (veer_choice_t){.by = VEER_MAKER_NONE};
    if (m->options.backend == VEER_BACKEND_REFERENCE) {
        VEER_TRY(try_maker(m, VEER_MAKER_REFERENCE, g, n, out, why));
        snprintf(why, sizeof why, "asked for");
    }
    if (!out->by && first) {
        VEER_TRY(try_maker(m, first, g, n, out, why));
        if (out->by) snprintf(why, sizeof why, "%s", why_first);
    }
    for (veer_maker_t maker = VEER_MAKER_NONE + 1; !out->by && maker < VEER_MAKER_COUNT; maker++) {
        char reason[REASON_BYTES] = "";
        if (maker == first) continue;
        if (!is_worth_asking(m, maker, g, n, reason, sizeof reason)) {
            add_reason(why, veer_maker_name(maker), reason);
            continue;
        }
        VEER_TRY(try_maker(m, maker, g, n, out, why));
        if (out->by && *reason) snprintf(why, sizeof why, "%s: %s", veer_maker_name(maker), reason);
    }
    char *kept = veer_plan_alloc(m->plan, strlen(why) + 1);
    if (!kept) return veer_out_of_memory();
    out->reason = strcpy(kept, why);
    return veer_ok();
}
