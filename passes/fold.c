/* fold -- computes what is known, and leaves out what changes nothing.
 *
 *     %c = const f32[2] [1, 2]  %d = const f32[] 2  %e = mul %c, %d  %r = reshape %x {dims = [4, 2]}  %s = reshape %r
 * {dims = [8]} becomes %e = const f32[2] [2, 4]  %s = reshape %x {dims = [8]}
 *
 * Constants: a node all of whose operands are constants is evaluated by ctx->eval. Declines: results over `limit`
 * bytes; results over four times the operands, unless small, because a broadcast constant is cheaper to compute than to
 * load; big contractions, which would make compile time depend on the model's size; what cannot be evaluated (an index
 * out of range is the run's to report). Identities: fold_arith.c and fold_move.c list them, each with the reason why no
 * bit of the result changes.
 *
 * Rules for the next author:
 *  1. a rule keeps the result's type; the driver asserts it;
 *  2. a rule never makes more work: the node it replaces goes, what it builds is no dearer;
 *  3. nodes are visited in order, so a rule may take its operands for folded already; what a rule builds is not
 * visited.
 */
#include "passes/fold_internal.h"
#include "passes/pass.h"

#include <assert.h>

/* Bytes: what may grow from less, what a broadcast may grow to, and what a contraction may read. */
enum { SMALL_BYTES = 1 << 16, SMALL_BROADCAST_BYTES = 1 << 12, SMALL_CONTRACTION_BYTES = 1 << 20 };

typedef struct fold_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    size_t limit_bytes;
} fold_t;

/* ---- constants ---- */

/* Sets operands and their total size; false where one is no constant. */
static bool constant_operands(const veer_graph_t *g, veer_node_t node, veer_tensor_t *in, size_t *out_bytes) {
    *out_bytes = 0;
    for (int i = 0; i < veer_node_in_count(g, node); i++) {
        veer_value_t value = veer_node_in(g, node, i);
        in[i] = (veer_tensor_t){0};
        if (!value.i) continue;
        in[i] = (veer_tensor_t){*veer_value_type(g, value), (void *)veer_value_const_data(g, value)}; /* read only */
        if (!in[i].data) return false;
        *out_bytes += veer_type_bytes(&in[i].type); /* at most 2^40 each */
    }
    return veer_node_in_count(g, node) > 0;
}

static bool worth_it(const fold_t *f, veer_node_t node, size_t in_bytes) {
    veer_op_t op = veer_node_op(f->g, node);
    size_t bytes = 0;
    for (int i = 0; i < veer_node_out_count(f->g, node); i++)
        bytes += veer_type_bytes(veer_value_type(f->g, veer_node_out(f->g, node, i)));
    size_t small = op == VEER_OP_BROADCAST ? SMALL_BROADCAST_BYTES : SMALL_BYTES;
    if (bytes > f->limit_bytes || (bytes > small && bytes > 4 * in_bytes)) return false;
    return !veer_op_has(op, VEER_CONTRACTION) || in_bytes <= SMALL_CONTRACTION_BYTES;
}

static veer_status_t replace_by_constants(fold_t *f, veer_node_t node, const veer_tensor_t *out) {
    veer_builder_t b = veer_builder_before(f->g, node);
    for (int i = 0; i < veer_node_out_count(f->g, node); i++) {
        veer_value_t was = veer_node_out(f->g, node, i), is = veer_const_view(&b, out[i].type, out[i].data, NULL);
        VEER_TRY(veer_builder_status(&b));
        VEER_TRY(veer_value_set_name(f->g, is, veer_value_name(f->g, was)));
        veer_value_replace(f->g, was, is);
    }
    if (veer_graph_out_of_memory(f->g)) return veer_out_of_memory();
    veer_node_remove(f->g, node);
    veer_pass_count(f->ctx, "computed");
    return veer_ok();
}

/* Results are made in the graph's arena; where evaluation fails they stay behind there, which is rare and harmless. */
static veer_status_t fold_constants(fold_t *f, veer_node_t node, bool *out_folded) {
    veer_op_t op = veer_node_op(f->g, node);
    int in_count = veer_node_in_count(f->g, node), out_count = veer_node_out_count(f->g, node);
    size_t in_bytes;
    *out_folded = false;
    if (!f->ctx->eval || !veer_op_has(op, VEER_PURE) || op == VEER_OP_CALL || op == VEER_OP_GRAD) return veer_ok();
    veer_tensor_t out[VEER_OP_MAX_RESULTS], few[VEER_OP_MAX_OPERANDS], *in = few;
    if (in_count > VEER_OP_MAX_OPERANDS) in = veer_arena_array(&f->ctx->scratch, (size_t)in_count, sizeof *in);
    if (!in) return veer_out_of_memory();
    if (!constant_operands(f->g, node, in, &in_bytes) || !worth_it(f, node, in_bytes)) return veer_ok();
    for (int i = 0; i < out_count; i++) {
        out[i].type = *veer_value_type(f->g, veer_node_out(f->g, node, i));
        out[i].data = veer_arena_alloc(veer_graph_arena(f->g), veer_type_bytes(&out[i].type));
        if (!out[i].data) return veer_out_of_memory();
    }
    veer_status_t status = f->ctx->eval(f->g, node, in, out);
    if (veer_status_code(status) == VEER_ERR_RESOURCE) return status;
    if (status) {
        veer_status_ignore(status);
        return veer_ok();
    }
    *out_folded = true;
    return replace_by_constants(f, node, out);
}

/* ---- identities ---- */

static veer_status_t apply_rule(fold_t *f, veer_node_t node) {
    veer_op_t op = veer_node_op(f->g, node);
    veer_fold_rule_t rule = veer_fold_arith_rule(op);
    if (!rule) rule = veer_fold_move_rule(op);
    if (!rule) return veer_ok();
    veer_builder_t b = veer_builder_before(f->g, node);
    veer_value_t was = veer_node_out(f->g, node, 0), is = rule(&b, node);
    VEER_TRY(veer_builder_status(&b));
    if (!is.i) return veer_ok();
    assert(veer_type_equal(veer_value_type(f->g, was), veer_value_type(f->g, is)));
    /* An argument's name, or that it has none, is its function's business. */
    if (veer_value_def(f->g, is).i && !*veer_value_name(f->g, is))
        VEER_TRY(veer_value_set_name(f->g, is, veer_value_name(f->g, was)));
    veer_value_replace(f->g, was, is);
    if (veer_graph_out_of_memory(f->g)) return veer_out_of_memory();
    veer_node_remove(f->g, node);
    veer_pass_count(f->ctx, "simplified");
    return veer_ok();
}

/* A fused body is one kernel already, made of what was worth keeping. */
static veer_status_t fold_region(fold_t *f, veer_region_t region) {
    VEER_FOR_EACH_NODE(f->g, region, node) {
        bool folded;
        if (veer_node_op(f->g, node) == VEER_OP_FUSED) continue;
        if (veer_node_body(f->g, node).i) {
            VEER_TRY(fold_region(f, veer_node_body(f->g, node)));
            continue;
        }
        VEER_TRY(fold_constants(f, node, &folded));
        if (!folded) VEER_TRY(apply_rule(f, node));
    }
    return veer_ok();
}

static veer_status_t run_fold(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    int64_t limit = veer_pass_option(ctx, "limit");
    fold_t f = {.g = g, .ctx = ctx, .limit_bytes = limit > 0 ? (size_t)limit : 0};
    return fold_region(&f, veer_func_body(g, func));
}

const veer_pass_def_t veer_pass_fold = {
    .name = "fold",
    .summary = "compute constants, leave out what changes nothing",
    .run = run_fold,
    .options = {{"limit", 16 << 20, "bytes: constants larger than this are not computed"}}};
