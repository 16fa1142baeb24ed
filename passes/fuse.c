/* Gathers elementwise nodes, reductions and norms into clusters that are one kernel each.
 *
 *     %a = mul %x, %c                                  %y = fused "cluster" (%x, %c, %z) { mul; add; layer_norm }
 *     %b = add %a, %z                            =>
 *     %y = layer_norm %b {axis = 1}
 *
 * Rules for the next author:
 * 1. Clusters grow from a root (the last node) towards producers. A producer joins when all its readers are in the
 * cluster, or stand behind the root (it becomes a further result). Either way the fused node can stand where the root
 * stood and nothing that feeds the cluster comes later: no cycle can arise.
 * 2. One sweep over memory: every member has the elements of the root's rows. A producer with fewer elements than its
 * reader (a broadcast operand) joins only where computing it again for every element is cheap; a scalar always may.
 * 3. Reductions of one cluster run along the same rows: what they keep must agree in number. Which axes they reduce is
 * the target's to judge. What they give is computed once per row.
 * 4. A root that is a reduction takes along others of the same axes of what a member reads (the two means of a norm's
 * gradient), so that it is swept once.
 * 5. Movement that the kernel's index arithmetic hides (reshape, broadcast, slice, a transpose that keeps the last
 * axis) may join, but is never the root.
 * 6. The target has the last word. A node that it declines alone joins nothing. Where it declines a cluster, smaller
 * ones are tried: without movement, then with half as many members, and so on. What all declined candidates of a
 * function may cost is limited (MOST_DECLINED), so that compile time does not depend on how picky a target is.
 */
#include "passes/fuse.h"

#include "ir/channels.h"
#include "passes/outline.h"
#include "passes/pass.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_MEMBERS = 96, MOST_OPERANDS = 24, MOST_DECLINED = 32 /* members, per node of the function */ };
typedef enum verdict_e { UNASKED, TAKEN, DECLINED } verdict_t;

typedef struct cluster_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    const veer_fuse_target_t *target;
    veer_node_t root;
    veer_node_t members[MOST_MEMBERS];
    int count, most;  /* members now, and at most in this attempt */
    int64_t declined; /* members of declined candidates that may still be spent */
    uint8_t *alone;   /* by node id: verdict_t on the node by itself */
    veer_outline_t outline;
    int64_t elements; /* of one sweep */
    int64_t rows;     /* of its reductions; 0 while there is none */
    bool with_moves;
    uint32_t *mark; /* by node id: number of the cluster it is in */
    uint32_t limit; /* of node ids that were there before: later ones are fused nodes */
    uint32_t number;
    veer_status_t status; /* the first failure while growing; owned */
} cluster_t;

static int64_t count_of(const veer_graph_t *g, veer_value_t v) {
    return veer_type_count(veer_value_type(g, v));
}

/* ---- what kind of member a node would be ---- */

static bool keeps_last_axis(const veer_graph_t *g, veer_node_t n) {
    int rank;
    const int64_t *perm = veer_node_ints(g, n, "perm", &rank);
    return rank > 0 && perm[rank - 1] == rank - 1 && veer_value_type(g, veer_node_out(g, n, 0))->dims[rank - 1] >= 8;
}

static bool is_move(const veer_graph_t *g, veer_node_t n) {
    switch (veer_node_op(g, n)) {
    case VEER_OP_RESHAPE:
    case VEER_OP_BROADCAST: return true;
    case VEER_OP_SLICE: {
        int rank;
        const int64_t *steps = veer_node_ints(g, n, "steps", &rank);
        return rank > 0 && steps[rank - 1] == 1;
    }
    case VEER_OP_TRANSPOSE: return keeps_last_axis(g, n);
    default: return false;
    }
}

static bool is_pointwise(const veer_graph_t *g, veer_node_t n) {
    veer_op_t op = veer_node_op(g, n);
    return veer_op_has(op, VEER_ELEMENTWISE) || op == VEER_OP_NOISE;
}

/* Rows of a reduction or norm: what it keeps; 0 where n is none. */
static int64_t rows_of(const veer_graph_t *g, veer_node_t n) {
    veer_op_t op = veer_node_op(g, n);
    bool reduction = veer_op_has(op, VEER_REDUCTION) && op != VEER_OP_ARG_MAX;
    bool groups = veer_op_is_group_norm(op), rowwise = veer_op_has(op, VEER_ROWWISE);
    if (!reduction && !rowwise && !groups) return 0;
    const veer_type_t *x = veer_value_type(g, veer_node_in(g, n, 0));
    if (groups) return x->dims[0] * veer_node_int(g, n, "groups");
    if (rowwise) {
        int64_t axis = veer_node_int(g, n, "axis");
        bool last = op == VEER_OP_LAYER_NORM || op == VEER_OP_RMS_NORM || axis == x->rank - 1;
        return last ? veer_type_count_range(x, 0, (int)axis) : 0;
    }
    int count;
    const int64_t *axes = veer_node_ints(g, n, "axes", &count);
    int64_t rows = veer_type_count(x);
    for (int i = 0; i < count; i++) rows /= x->dims[axes[i]] ? x->dims[axes[i]] : 1;
    return count ? rows : 0;
}

static bool is_cheap(const veer_graph_t *g, veer_node_t n) {
    switch (veer_node_op(g, n)) {
    case VEER_OP_ADD:
    case VEER_OP_SUB:
    case VEER_OP_MUL:
    case VEER_OP_NEG:
    case VEER_OP_CAST:
    case VEER_OP_MIN:
    case VEER_OP_MAX:
    case VEER_OP_RELU:
    case VEER_OP_RESHAPE:
    case VEER_OP_BROADCAST:
    case VEER_OP_SLICE: return true;
    default: return false;
    }
    (void)g;
}

static bool can_be_root(const veer_graph_t *g, veer_node_t n) {
    if (veer_node_out_count(g, n) != 1) return false;
    return is_pointwise(g, n) || rows_of(g, n) > 0;
}

/* ---- growth ---- */

static bool in_cluster(const cluster_t *c, veer_node_t n) {
    return n.i && n.i < c->limit && c->mark[n.i] == c->number;
}

/* Rule 1. */
static bool readers_allow(const cluster_t *c, veer_node_t n) {
    veer_value_t out = veer_node_out(c->g, n, 0);
    veer_region_t region = veer_node_region(c->g, n);
    for (int i = 0; i < veer_value_use_count(c->g, out); i++) {
        veer_node_t user = veer_value_use(c->g, out, i, NULL);
        if (in_cluster(c, user)) continue;
        if (veer_node_region(c->g, user).i != region.i) return false;
        if (!veer_node_before(c->g, c->root, user)) return false;
    }
    return true;
}

static bool only_inside(const cluster_t *c, veer_node_t n) {
    veer_value_t out = veer_node_out(c->g, n, 0);
    for (int i = 0; i < veer_value_use_count(c->g, out); i++)
        if (!in_cluster(c, veer_value_use(c->g, out, i, NULL))) return false;
    return true;
}

/* Rules 2 and 3 for a producer whose reader is in the cluster. */
static bool fits_sweep(cluster_t *c, veer_node_t n) {
    veer_value_t out = veer_node_out(c->g, n, 0);
    int64_t rows = rows_of(c->g, n), elements = count_of(c->g, out);
    if (rows) {
        int64_t swept = count_of(c->g, veer_node_in(c->g, n, 0));
        if (c->rows && rows != c->rows) return false;
        if (c->elements > c->rows && c->rows && swept != c->elements) return false;
        /* A reduction in front of elementwise work over the same rows, or over its own results only. */
        if (swept != c->elements && elements != c->elements && elements != rows) return false;
        if (!c->rows && c->elements != swept && c->elements != rows && c->elements % rows) return false;
        c->rows = rows;
        if (swept > c->elements) c->elements = swept;
        return true;
    }
    if (is_move(c->g, n))
        return c->with_moves && (elements == c->elements || elements == c->rows || elements == 1 ||
                                 veer_node_op(c->g, n) != VEER_OP_SLICE || elements >= c->elements);
    if (elements == c->elements || elements == 1 || (c->rows && elements == c->rows)) return true;
    /* Half of a network's output, and the like: a part of the sweep is read from a whole of its own. */
    return elements < c->elements && is_cheap(c->g, n) && only_inside(c, n);
}

static int operand_count(const cluster_t *c) {
    int count = 0;
    for (int k = 0; k < c->count; k++)
        for (int i = 0; i < veer_node_in_count(c->g, c->members[k]); i++) {
            veer_value_t v = veer_node_in(c->g, c->members[k], i);
            if (v.i && !in_cluster(c, veer_value_def(c->g, v)) && count_of(c->g, v) > 1) count++;
        }
    return count;
}

/* Asked once per node. Movement has no verdict: it costs nothing inside other kernels. */
static bool accepted_alone(cluster_t *c, veer_node_t n) {
    char reason[200];
    if (is_move(c->g, n)) return true;
    if (c->alone[n.i] == UNASKED && !c->status) {
        bool taken = false;
        c->status = c->target->accepts_cluster(c->g, n, &taken, reason, sizeof reason);
        c->alone[n.i] = taken ? TAKEN : DECLINED;
    }
    return c->alone[n.i] == TAKEN && !c->status;
}

static bool try_join(cluster_t *c, veer_node_t n) {
    veer_graph_t *g = c->g;
    if (!n.i || n.i >= c->limit || in_cluster(c, n) || c->count >= c->most || veer_node_out_count(g, n) != 1)
        return false;
    if (veer_node_region(g, n).i != veer_node_region(g, c->root).i) return false;
    if (!is_pointwise(g, n) && !is_move(g, n) && !rows_of(g, n)) return false;
    if (!accepted_alone(c, n)) return false;
    if (!readers_allow(c, n) || (is_move(g, n) && !only_inside(c, n))) return false;
    int64_t rows = c->rows, elements = c->elements;
    if (!fits_sweep(c, n)) return false;
    c->members[c->count++] = n;
    c->mark[n.i] = c->number;
    if (operand_count(c) <= MOST_OPERANDS) return true;
    c->count--;
    c->mark[n.i] = 0;
    c->rows = rows, c->elements = elements;
    return false;
}

static bool is_reduction(const veer_graph_t *g, veer_node_t n) {
    return veer_op_has(veer_node_op(g, n), VEER_REDUCTION) && rows_of(g, n) > 0;
}

static bool reduce_alike(const veer_graph_t *g, veer_node_t a, veer_node_t b) {
    int count_a, count_b;
    const int64_t *of_a = veer_node_ints(g, a, "axes", &count_a), *of_b = veer_node_ints(g, b, "axes", &count_b);
    const veer_type_t *x = veer_value_type(g, veer_node_in(g, a, 0)), *y = veer_value_type(g, veer_node_in(g, b, 0));
    return count_a == count_b && !memcmp(of_a, of_b, (size_t)count_a * sizeof *of_a) && x->rank == y->rank &&
           !memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims);
}

/* Rule 4, for what a member reads. */
static bool join_siblings(cluster_t *c, veer_value_t v) {
    bool grown = false;
    for (int i = 0; i < veer_value_use_count(c->g, v); i++) {
        veer_node_t n = veer_value_use(c->g, v, i, NULL);
        if (!is_reduction(c->g, n) || veer_node_region(c->g, n).i != veer_node_region(c->g, c->root).i) continue;
        if (reduce_alike(c->g, n, c->root) && veer_node_before(c->g, n, c->root)) grown |= try_join(c, n);
    }
    return grown;
}

static void grow(cluster_t *c) {
    /* Members are visited in the order they joined; a pass that adds nobody ends it, because a producer may have been
     * refused only until its other readers joined. */
    for (bool grown = true; grown;) {
        grown = false;
        for (int k = 0; k < c->count; k++)
            for (int i = 0; i < veer_node_in_count(c->g, c->members[k]); i++) {
                veer_value_t v = veer_node_in(c->g, c->members[k], i);
                if (v.i) grown |= try_join(c, veer_value_def(c->g, v));
                if (v.i && is_reduction(c->g, c->root)) grown |= join_siblings(c, v);
            }
    }
}

static void start(cluster_t *c, veer_node_t root, bool with_moves) {
    for (int k = 0; k < c->count; k++) c->mark[c->members[k].i] = 0;
    c->number++;
    c->root = root;
    c->count = 1;
    c->members[0] = root;
    c->mark[root.i] = c->number;
    c->with_moves = with_moves;
    c->rows = rows_of(c->g, root);
    c->elements = count_of(c->g, c->rows ? veer_node_in(c->g, root, 0) : veer_node_out(c->g, root, 0));
}

/* ---- the fused node ---- */

/* In order of execution: insertion, because members mostly joined last to first. */
static void sort_members(cluster_t *c) {
    for (int k = 1; k < c->count; k++) {
        veer_node_t n = c->members[k];
        int at = k;
        for (; at > 0 && veer_node_before(c->g, n, c->members[at - 1]); at--) c->members[at] = c->members[at - 1];
        c->members[at] = n;
    }
}

/* A movement whose readers were never joined, or that no member reads, stays outside. */
static bool worth_it(const cluster_t *c) {
    int work = 0;
    for (int k = 0; k < c->count; k++) work += !is_move(c->g, c->members[k]);
    return work > 1 || (work == 1 && c->count > 1);
}

/* True in *out_fused where the cluster around `root` became a kernel; else its size stays in c->count. */
static veer_status_t attempt(cluster_t *c, veer_node_t root, bool with_moves, int most, bool *out_fused) {
    start(c, root, with_moves);
    c->most = most;
    grow(c);
    *out_fused = false;
    if (c->status || !worth_it(c)) return veer_ok();
    sort_members(c);
    VEER_TRY(veer_outline_if(&c->outline, c->members, c->count, "cluster", c->target->accepts_cluster, out_fused));
    if (*out_fused) {
        veer_pass_count(c->ctx, "clusters");
        c->count = 0;
    } else {
        c->declined -= c->count;
    }
    return veer_ok();
}

static veer_status_t fuse_at(cluster_t *c, veer_node_t root) {
    bool fused = false;
    if (!accepted_alone(c, root)) return veer_ok();
    for (int most = MOST_MEMBERS; most > 1 && c->declined > 0 && !c->status; most = c->count / 2) {
        VEER_TRY(attempt(c, root, true, most, &fused));
        if (!fused) VEER_TRY(attempt(c, root, false, most, &fused));
        if (fused) break;
    }
    return veer_ok();
}

static veer_status_t fuse_region(cluster_t *c, veer_region_t region) {
    /* Last to first: a node that has been swallowed by a later root's cluster is gone (VEER_OP_NONE). */
    uint32_t limit = veer_graph_node_limit(c->g);
    veer_node_t *all = veer_arena_array(&c->ctx->scratch, limit, sizeof *all);
    if (!all) return veer_out_of_memory();
    int count = 0;
    VEER_FOR_EACH_NODE(c->g, region, n) all[count++] = n;
    while (count-- > 0 && !c->status) {
        veer_op_t op = veer_node_op(c->g, all[count]);
        if (op == VEER_OP_LOOP)
            VEER_TRY(fuse_region(c, veer_node_body(c->g, all[count])));
        else if (op != VEER_OP_NONE && can_be_root(c->g, all[count]))
            VEER_TRY(fuse_at(c, all[count]));
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    cluster_t c = {.g = g, .ctx = ctx, .target = ctx->target};
    if (!c.target || !c.target->accepts_cluster) return veer_ok();
    /* Candidates are nodes of their own while they are tried; marks are only asked for nodes that were there before. */
    c.limit = veer_graph_node_limit(g);
    c.mark = veer_arena_array(&ctx->scratch, c.limit, sizeof *c.mark);
    c.alone = veer_arena_array(&ctx->scratch, c.limit, sizeof *c.alone);
    if (!c.mark || !c.alone) return veer_out_of_memory();
    c.declined = (int64_t)c.limit * MOST_DECLINED;
    veer_outline_init(&c.outline, g);
    veer_status_t status = fuse_region(&c, veer_func_body(g, func));
    status = veer_status_join(status, c.status);
    veer_outline_deinit(&c.outline);
    return status;
}

const veer_pass_def_t veer_pass_fuse = {
    "fuse", "gather elementwise nodes, reductions and norms into kernels", run, {{0}}};
