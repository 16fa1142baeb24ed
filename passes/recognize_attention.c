/* recognize-attention -- names attention, whatever the arrangement of its transposes, scales and reshapes.
 *
 *     %t = transpose %k {perm = [0, 1, 3, 2]}   %s = matmul %q, %t      or matmul %q, %k {trans_b = 1}
 *     %c = div %s, 5.656854                                            or on %q, %k, or on both
 *     %m = add %c, %mask                                               or where %keep, %c, -inf; or none
 *     %p = softmax %m {axis = 3}
 *     %o = matmul %p, %v
 * becomes
 *     %o = attention %q, %k, %v, %mask {scale = 0.17677669}
 *
 * and channels first, %q, %k, %v: f32[8,64,256],
 *
 *     %a = mul %q, 0.35355338   %b = mul %k, 0.35355338   %s = matmul %a, %b {trans_a = 1}
 *     %p = softmax %s {axis = 2}   %o = matmul %p, %v {trans_b = 1}
 * becomes an attention of their transposes, [8,1,256,64], and a reshape of its result. A scale in front of the
 * reshapes, transposes and slices that make q or k joins as well.
 *
 * How it is read. Every matrix on the way lies straight or turned; transposes of the last two dims and the flags of the
 * matrix products turn it, and at the end q must be [L, D], k [S, D] and v [S, Dv]: where they lie turned, transposes
 * are made (index arithmetic hides them later). The probabilities may also stand on the right of the last product,
 * which then gives the attention turned: o^T = v^T p^T. Operands of rank 2, 3 or more are reshaped to [B, H, ., .].
 *
 * Valid since scales are scalars, which commute with everything; their product may differ by a few roundings. A mask by
 * `where` with a fill of -1e30 or less is the additive mask of 0 and the fill: any finite score added to it is the
 * fill.
 *
 * Declines where the scores or the probabilities have another reader, where heads broadcast (several queries for one
 * key), where more than one mask is added or the mask is inside the scale, where the softmax is along the queries, and
 * where k or v are constants: that is a pair of dense layers.
 */
#include "passes/match.h"

#include <math.h>

enum { MAX_STEPS = 12 };

/* A matrix that is needed as [rows, columns]; `turned`: it lies as [columns, rows]. Where a scale was found below
 * movements, `value` is what was scaled, to be moved in the same way. */
typedef struct operand_s {
    veer_value_t value;
    bool turned;
    int move_count;
    veer_node_t moves[MAX_STEPS]; /* the last one first */
} operand_t;

typedef struct attention_s {
    veer_match_t m;
    operand_t q, k, v;
    veer_value_t mask;   /* additive; or the condition of a where */
    double fill;         /* of the where, 0: additive */
    bool fill_if;        /* the fill stands where the condition holds */
    veer_value_t scores; /* as they meet the mask, or the product; tells B and H */
    double scale;
    bool result_turned;
} attention_t;

static int64_t leading(const veer_type_t *t) {
    return veer_type_count_range(t, 0, t->rank - 2);
}

/* The dims before the last two are the same: nothing broadcasts. */
static bool same_leading(const veer_graph_t *g, veer_value_t a, veer_value_t b) {
    const veer_type_t *ta = veer_value_type(g, a), *tb = veer_value_type(g, b);
    if (ta->rank != tb->rank) return false;
    for (int i = 0; i < ta->rank - 2; i++)
        if (ta->dims[i] != tb->dims[i]) return false;
    return true;
}

/* ---- q and k ---- */

static bool only_moves(veer_op_t op) {
    return op == VEER_OP_RESHAPE || op == VEER_OP_TRANSPOSE || op == VEER_OP_SLICE;
}

/* A scale below movements that stay: heads are split behind it. */
static void take_scale_below(attention_t *a, operand_t *o) {
    const veer_graph_t *g = a->m.graph;
    veer_value_t value = o->value, x;
    double factor;
    int count = 0;
    while (count < MAX_STEPS) {
        veer_node_t def = veer_value_def(g, value);
        if (!def.i || !only_moves(veer_node_op(g, def))) break;
        o->moves[count++] = def;
        value = veer_node_in(g, def, 0);
    }
    if (!count || !veer_match_scaled(g, value, &x, &factor)) return;
    for (int i = 0; i < count; i++) veer_match_take(&a->m, o->moves[i]);
    veer_match_take_def(&a->m, value);
    a->scale *= factor;
    o->value = x, o->move_count = count;
}

/* Takes scales, turns and reshapes off an operand. */
static void strip(attention_t *a, operand_t *o) {
    const veer_graph_t *g = a->m.graph;
    for (int i = 0; i < MAX_STEPS; i++) {
        veer_value_t x;
        double factor = 1;
        if (veer_match_transposed_last(g, o->value, &x))
            o->turned = !o->turned;
        else if (!veer_match_reshaped_leading(g, o->value, &x) && !veer_match_scaled(g, o->value, &x, &factor))
            break;
        veer_match_take_def(&a->m, o->value);
        a->scale *= factor;
        o->value = x;
    }
    take_scale_below(a, o);
}

/* scores = q k^T; `turned`: k q^T. */
static bool match_product(attention_t *a, veer_value_t value, bool turned) {
    const veer_graph_t *g = a->m.graph;
    veer_node_t node = veer_match_def(g, value, VEER_OP_MATMUL);
    if (!node.i || !same_leading(g, veer_node_in(g, node, 0), veer_node_in(g, node, 1))) return false;
    operand_t left = {.value = veer_node_in(g, node, 0), .turned = veer_node_int(g, node, "trans_a") != 0};
    operand_t right = {.value = veer_node_in(g, node, 1), .turned = veer_node_int(g, node, "trans_b") == 0};
    veer_match_take(&a->m, node);
    if (!a->scores.i) a->scores = value;
    strip(a, &left);
    strip(a, &right);
    a->q = turned ? right : left;
    a->k = turned ? left : right;
    return true;
}

/* ---- the scores ---- */

static bool match_scores(attention_t *a, veer_value_t value, bool turned, int depth);

/* value = scores + mask */
static bool match_added_mask(attention_t *a, veer_value_t value, bool turned, int depth) {
    const veer_graph_t *g = a->m.graph;
    veer_node_t node = veer_match_def(g, value, VEER_OP_ADD);
    if (!node.i) return false;
    for (int i = 0; i < 2; i++) {
        attention_t saved = *a;
        veer_value_t scores = veer_node_in(g, node, i);
        a->mask = veer_node_in(g, node, 1 - i);
        a->scores = scores;
        veer_match_take(&a->m, node);
        if (veer_match_same_type(g, scores, value) && match_scores(a, scores, turned, depth + 1)) return true;
        *a = saved;
    }
    return false;
}

/* value = where(keep, scores, fill) or where(drop, fill, scores) */
static bool match_filled(attention_t *a, veer_value_t value, bool turned, int depth) {
    const veer_graph_t *g = a->m.graph;
    veer_node_t node = veer_match_def(g, value, VEER_OP_WHERE);
    for (int i = 1; i < 3 && node.i; i++) {
        veer_value_t scores = veer_node_in(g, node, i);
        if (!veer_match_scalar(g, veer_node_in(g, node, 3 - i), &a->fill) || a->fill > -1e30) continue;
        a->mask = veer_node_in(g, node, 0);
        a->fill_if = i == 2;
        a->scores = scores;
        veer_match_take(&a->m, node);
        return veer_match_same_type(g, scores, value) && match_scores(a, scores, turned, depth + 1);
    }
    return false;
}

/* value = the scores that the softmax takes, or what they were before scale and mask. */
static bool match_scores(attention_t *a, veer_value_t value, bool turned, int depth) {
    const veer_graph_t *g = a->m.graph;
    veer_value_t x;
    double factor = 1;
    if (depth > MAX_STEPS) return false;
    if (veer_match_transposed_last(g, value, &x))
        turned = !turned;
    else if (!veer_match_reshaped_leading(g, value, &x) && !veer_match_scaled(g, value, &x, &factor)) {
        if (match_product(a, value, turned)) return true;
        if (a->mask.i || turned || a->scale != 1) return false;
        return match_added_mask(a, value, turned, depth) || match_filled(a, value, turned, depth);
    }
    veer_match_take_def(&a->m, value);
    a->scale *= factor;
    return match_scores(a, x, turned, depth + 1);
}

/* ---- the whole ---- */

/* Operand `side` of the root as probabilities: out_turned where it holds them turned. */
static bool match_probabilities(attention_t *a, int side, bool *out_turned) {
    const veer_graph_t *g = a->m.graph;
    veer_value_t value = veer_node_in(g, a->m.root, side), x;
    *out_turned = false;
    for (int i = 0; i < MAX_STEPS; i++, value = x) {
        if (veer_match_transposed_last(g, value, &x))
            *out_turned = !*out_turned;
        else if (!veer_match_reshaped_leading(g, value, &x))
            break;
        veer_match_take_def(&a->m, value);
    }
    veer_node_t softmax = veer_match_def(g, value, VEER_OP_SOFTMAX);
    int rank = veer_value_type(g, value)->rank;
    int64_t axis = softmax.i ? veer_node_int(g, softmax, "axis") : -1;
    if (!softmax.i || rank < 2 || axis < rank - 2) return false;
    veer_match_take(&a->m, softmax);
    bool turned = axis == rank - 2; /* sums over the rows are 1: lies as [S, L] */
    *out_turned ^= turned;
    return match_scores(a, veer_node_in(g, softmax, 0), turned, 0);
}

static bool match_side(attention_t *a, int side) {
    const veer_graph_t *g = a->m.graph;
    bool turned, flag_p = veer_node_int(g, a->m.root, side ? "trans_b" : "trans_a") != 0;
    bool flag_v = veer_node_int(g, a->m.root, side ? "trans_a" : "trans_b") != 0;
    if (!match_probabilities(a, side, &turned)) return false;
    if ((flag_p != turned) != (side == 1)) return false; /* p must meet v along S */
    a->v = (operand_t){.value = veer_node_in(g, a->m.root, 1 - side), .turned = side ? !flag_v : flag_v};
    a->result_turned = side == 1;
    return isfinite(a->scale) && same_leading(g, veer_node_in(g, a->m.root, 0), veer_node_in(g, a->m.root, 1)) &&
           !veer_match_constant(g, a->k.value) && !veer_match_constant(g, a->v.value) && veer_match_closed(&a->m);
}

/* ---- building ---- */

/* B and H, from the scores: [H', L, S] is H' batches of one head. False for a mask on more dims than four. */
static bool heads_of(const attention_t *a, int64_t out_bh[2]) {
    const veer_type_t *t = veer_value_type(a->m.graph, a->scores);
    bool four = t->rank == 4;
    out_bh[0] = four ? t->dims[0] : leading(t);
    out_bh[1] = four ? t->dims[1] : 1;
    return t->rank <= 4 || !a->mask.i;
}

/* What the operand's movements make of `value`, which has another definition now. */
static veer_value_t move_again(veer_builder_t *b, const operand_t *o) {
    veer_value_t x = o->value;
    for (int i = o->move_count; i-- > 0 && veer_builder_ok(b);) {
        veer_node_t n = veer_build_like(b, o->moves[i], &x, 1);
        x = n.i ? veer_node_out(b->graph, n, 0) : VEER_NO_VALUE;
    }
    return x;
}

static veer_value_t build_operand(attention_t *a, veer_builder_t *b, operand_t o, const int64_t bh[2]) {
    o.value = move_again(b, &o);
    veer_value_t x = o.turned ? veer_match_transpose_last(&a->m, b, o.value) : o.value;
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t t = *veer_builder_type(b, x);
    return veer_match_reshape(&a->m, b, x, VEER_DIMS(bh[0], bh[1], t.dims[t.rank - 2], t.dims[t.rank - 1]));
}

/* Broadcasts to [B, H, L, S] as it did to the scores: [H', L, S] becomes [H', 1, L, S]. */
static veer_value_t build_mask(attention_t *a, veer_builder_t *b) {
    veer_value_t mask = a->mask;
    if (!mask.i) return VEER_NO_VALUE;
    veer_dtype_t dtype = veer_builder_type(b, a->scores)->dtype;
    veer_type_t t = *veer_builder_type(b, mask);
    if (t.rank == 3 && veer_builder_type(b, a->scores)->rank == 3)
        mask = veer_match_reshape(&a->m, b, mask, VEER_DIMS(t.dims[0], 1, t.dims[1], t.dims[2]));
    if (a->fill == 0) return mask;
    veer_value_t zero = veer_const_scalar(b, dtype, 0), fill = veer_const_scalar(b, dtype, a->fill);
    return veer_where(b, mask, a->fill_if ? fill : zero, a->fill_if ? zero : fill);
}

static veer_status_t replace(attention_t *a, const int64_t bh[2]) {
    veer_builder_t b = veer_builder_before(a->m.graph, a->m.root);
    veer_type_t type = *veer_builder_type(&b, veer_node_out(a->m.graph, a->m.root, 0));
    veer_value_t q = build_operand(a, &b, a->q, bh), k = build_operand(a, &b, a->k, bh),
                 v = build_operand(a, &b, a->v, bh);
    veer_value_t mask = build_mask(a, &b);
    veer_value_t o =
        veer_build(&b, VEER_OP_ATTENTION, VEER_IN(q, k, v, mask), VEER_ATTRS(VEER_FLOAT("scale", a->scale)));
    if (a->result_turned) o = veer_transpose_last(&b, o);
    return veer_match_replace(&a->m, &b, veer_reshape_like(&b, o, &type));
}

static veer_status_t visit(veer_graph_t *g, veer_node_t node, veer_pass_ctx_t *ctx) {
    if (veer_node_op(g, node) != VEER_OP_MATMUL) return veer_ok();
    for (int side = 0; side < 2; side++) {
        attention_t a = {.m = veer_match_begin(g, node), .scale = 1};
        int64_t bh[2];
        if (!match_side(&a, side) || !heads_of(&a, bh)) continue;
        VEER_TRY(replace(&a, bh));
        veer_pass_count(ctx, "attention");
        break;
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return veer_match_walk(g, func, ctx, visit);
}

const veer_pass_def_t veer_pass_recognize_attention = {
    .name = "recognize-attention", .summary = "name softmax(scale q k^T + mask) v", .run = run};
