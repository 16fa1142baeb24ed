/* fuse-attention -- puts what only moves an attention's operands and results into its kernel, as strides.
 *
 *     %a = reshape %qkv {dims = [2, 192, 64]}                          %y = fused "attention" (%qkv) {
 *     %b = slice %a {sizes = [2, 64, 64]}                                  reshape; slice; transpose; ...; attention;
 *     %q = transpose %b {perm = [0, 2, 1]}               =>                transpose; reshape
 *     ...                                                              }
 *     %o = attention %q, %k, %v
 *     %y = reshape (transpose %o)
 *
 * In front of it: the longest chain of reshapes, transposes, slices and broadcasts of each operand that is a view
 * (ir/view.h). A chain that others read as well is copied: forward and backward both read q through their own. Behind
 * it: the chain of reshapes and transposes that are a result's only readers, and a concat all of whose operands are
 * results of this attention, so that dq, dk and dv are written where the gradient of their packed product is wanted.
 * The target has the last word; where it declines, the attention is tried with its operands' chains alone, then stays
 * as it is. */
#include "ir/builder.h"
#include "ir/view.h"
#include "passes/fuse.h"
#include "passes/outline.h"
#include "passes/pass.h"

enum { MOST_MEMBERS = 96, MOST_CHAIN = 12 };

typedef struct cluster_s {
    veer_graph_t *g;
    veer_node_t core;
    veer_node_t members[MOST_MEMBERS]; /* in order of execution */
    int count;
} cluster_t;

static bool is_attention(veer_op_t op) {
    return op == VEER_OP_ATTENTION || op == VEER_OP_ATTENTION_GRAD;
}

static bool has(const cluster_t *c, veer_node_t n) {
    for (int i = 0; i < c->count; i++)
        if (veer_node_eq(c->members[i], n)) return true;
    return false;
}

/* ---- in front ---- */

/* The nodes that move `value` to where it is, nearest first, as far as together they are a view. */
static int chain_of(const veer_graph_t *g, veer_region_t region, veer_value_t value, veer_node_t *out) {
    veer_node_t all[MOST_CHAIN];
    int count = 0;
    while (count < MOST_CHAIN) {
        veer_node_t def = veer_value_def(g, value);
        veer_op_t op = def.i ? veer_node_op(g, def) : VEER_OP_NONE;
        bool moves = op == VEER_OP_RESHAPE || op == VEER_OP_TRANSPOSE || op == VEER_OP_SLICE || op == VEER_OP_BROADCAST;
        if (!moves || veer_node_region(g, def).i != region.i) break;
        if (veer_type_count(veer_value_type(g, veer_node_out(g, def, 0))) == 0) break;
        all[count++] = def;
        value = veer_node_in(g, def, 0);
    }
    for (; count > 0; count--) {
        veer_view_t v = veer_view_dense(veer_value_type(g, veer_node_in(g, all[count - 1], 0)));
        int i = count;
        while (i > 0 && veer_view_forward(g, all[i - 1], &v)) i--;
        if (i == 0 && v.rank == 4 && veer_view_stride(&v, 2, &(int64_t){0}) && veer_view_stride(&v, 3, &(int64_t){0}))
            break;
    }
    for (int i = 0; i < count; i++) out[i] = all[i];
    return count;
}

/* Copies of the chain's nodes in front of the attention, which reads them. */
static veer_status_t take_operand(cluster_t *c, int operand) {
    veer_graph_t *g = c->g;
    veer_node_t chain[MOST_CHAIN];
    int count = chain_of(g, veer_node_region(g, c->core), veer_node_in(g, c->core, operand), chain);
    if (count == 0 || c->count + count >= MOST_MEMBERS) return veer_ok();
    veer_value_t value = veer_node_in(g, chain[count - 1], 0);
    for (int i = count; i-- > 0;) {
        veer_builder_t b = veer_builder_before(g, c->core);
        b.origins_from = chain[i];
        veer_node_t copy = veer_build_like(&b, chain[i], &value, 1);
        VEER_TRY(veer_builder_status(&b));
        c->members[c->count++] = copy;
        value = veer_node_out(g, copy, 0);
    }
    veer_node_set_in(g, c->core, operand, value);
    return veer_ok();
}

/* ---- behind ---- */

/* The node that alone reads `v`, in the same region. */
static veer_node_t only_reader(const veer_graph_t *g, veer_value_t v) {
    if (veer_value_use_count(g, v) != 1) return VEER_NO_NODE;
    veer_node_t user = veer_value_use(g, v, 0, NULL);
    return veer_node_region(g, user).i == veer_value_region(g, v).i ? user : VEER_NO_NODE;
}

static bool all_from(const cluster_t *c, veer_node_t n) {
    for (int i = 0; i < veer_node_in_count(c->g, n); i++) {
        veer_node_t def = veer_value_def(c->g, veer_node_in(c->g, n, i));
        if (!def.i || !has(c, def) || veer_value_use_count(c->g, veer_node_in(c->g, n, i)) != 1) return false;
    }
    return true;
}

static bool joins_behind(const cluster_t *c, veer_node_t n) {
    veer_op_t op = n.i ? veer_node_op(c->g, n) : VEER_OP_NONE;
    if (!n.i || has(c, n)) return false;
    return op == VEER_OP_RESHAPE || op == VEER_OP_TRANSPOSE || (op == VEER_OP_CONCAT && all_from(c, n));
}

/* Each node that joins may let another one join. */
static void take_results(cluster_t *c) {
    int first = c->count - 1; /* the attention */
    for (int k = first; k < c->count; k++)
        for (int i = 0; i < veer_node_out_count(c->g, c->members[k]) && c->count < MOST_MEMBERS; i++) {
            veer_node_t user = only_reader(c->g, veer_node_out(c->g, c->members[k], i));
            if (joins_behind(c, user)) c->members[c->count++] = user;
        }
}

/* The fused node stands where its last member stood: nobody may read a result before that. */
static bool read_early(const cluster_t *c) {
    veer_graph_t *g = c->g;
    veer_node_t last = c->members[c->count - 1];
    for (int k = 0; k < c->count; k++)
        for (int i = 0; i < veer_node_out_count(g, c->members[k]); i++) {
            veer_value_t v = veer_node_out(g, c->members[k], i);
            for (int u = 0; u < veer_value_use_count(g, v); u++) {
                veer_node_t user = veer_value_use(g, v, u, NULL);
                if (has(c, user)) continue;
                while (veer_node_region(g, user).i != veer_node_region(g, last).i)
                    user = veer_region_parent(g, veer_node_region(g, user));
                if (veer_node_before(g, user, last)) return true;
            }
        }
    return false;
}

static void sort_members(cluster_t *c) {
    for (int k = 1; k < c->count; k++) {
        veer_node_t n = c->members[k];
        int at = k;
        for (; at > 0 && veer_node_before(c->g, n, c->members[at - 1]); at--) c->members[at] = c->members[at - 1];
        c->members[at] = n;
    }
}

/* ---- the fused node ---- */

static veer_status_t fuse(veer_outline_t *o, veer_node_t core, veer_pass_ctx_t *ctx) {
    const veer_fuse_target_t *target = ctx->target;
    cluster_t c = {.g = o->g, .core = core};
    char reason[200];
    bool fused = false, alone = false;
    VEER_TRY(target->accepts_attention(o->g, core, &alone, reason, sizeof reason));
    if (!alone) return veer_ok();
    for (int i = 0; i < veer_node_in_count(o->g, core); i++)
        if (veer_node_in(o->g, core, i).i) VEER_TRY(take_operand(&c, i));
    c.members[c.count++] = core;
    int in_front = c.count;
    take_results(&c);
    sort_members(&c);
    if (!read_early(&c))
        VEER_TRY(veer_outline_if(o, c.members, c.count, "attention", target->accepts_attention, &fused));
    if (!fused && c.count > in_front) {
        c.count = in_front;
        VEER_TRY(veer_outline_if(o, c.members, c.count, "attention", target->accepts_attention, &fused));
    }
    if (fused) veer_pass_count(ctx, "attentions");
    return veer_ok();
}

static veer_status_t fuse_region(veer_outline_t *o, veer_region_t region, veer_pass_ctx_t *ctx) {
    VEER_FOR_EACH_NODE(o->g, region, n) {
        veer_op_t op = veer_node_op(o->g, n);
        if (op == VEER_OP_LOOP) VEER_TRY(fuse_region(o, veer_node_body(o->g, n), ctx));
    }
    uint32_t limit = veer_graph_node_limit(o->g);
    veer_node_t *all = veer_arena_array(&ctx->scratch, limit, sizeof *all);
    if (!all) return veer_out_of_memory();
    int count = 0;
    VEER_FOR_EACH_NODE(o->g, region, n) if (is_attention(veer_node_op(o->g, n))) all[count++] = n;
    for (int i = 0; i < count; i++) VEER_TRY(fuse(o, all[i], ctx));
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    const veer_fuse_target_t *target = ctx->target;
    if (!target || !target->accepts_attention) return veer_ok();
    veer_outline_t o;
    veer_outline_init(&o, g);
    veer_status_t status = fuse_region(&o, veer_func_body(g, func), ctx);
    veer_outline_deinit(&o);
    return status;
}

const veer_pass_def_t veer_pass_fuse_attention = {
    "fuse-attention", "put what moves an attention's operands and results into its kernel", run, {{0}}};
