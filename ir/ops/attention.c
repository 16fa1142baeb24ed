/* attention and its gradient: kernels that never need the L x S probabilities in memory; expansions spell them out. */
#include "ir/ops/common.h"

enum { Q, K, V, MASK };
enum { GRAD_DY = 3, GRAD_MASK = 4 }; /* q, k, v as above */

static veer_value_t mask_of(const veer_value_t *in, int count, int at) {
    return count > at ? in[at] : VEER_NO_VALUE;
}

static veer_status_t infer_ranks(const veer_infer_t *c) {
    static const char *const names[] = {"q", "k", "v"};
    char text[VEER_TYPE_TEXT_BYTES];
    for (int i = Q; i <= V; i++) {
        if (c->in[i].rank != 4)
            return veer_error(VEER_ERR_UNSUPPORTED, "%s is %s, expected rank 4: [batch, heads, length, size]", names[i],
                              veer_type_text(&c->in[i], text));
        if (c->in[i].dtype != c->in[Q].dtype || c->in[i].dims[0] != c->in[Q].dims[0] ||
            c->in[i].dims[1] != c->in[Q].dims[1])
            return veer_error(VEER_ERR_UNSUPPORTED, "%s is %s, expected %s[%lld,%lld,...] as q is", names[i],
                              veer_type_text(&c->in[i], text), veer_dtype_name(c->in[Q].dtype),
                              (long long)c->in[Q].dims[0], (long long)c->in[Q].dims[1]);
    }
    return veer_ok();
}

/* q, k, v and the mask (operand `mask`); gives the type of the result. */
static veer_status_t check_operands(const veer_infer_t *c, int mask, veer_type_t *out) {
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    VEER_TRY(infer_ranks(c));
    const int64_t *q = c->in[Q].dims, *k = c->in[K].dims, *v = c->in[V].dims;
    if (q[3] != k[3])
        return veer_error(VEER_ERR_UNSUPPORTED, "q is %s and k is %s, expected the same last dim",
                          veer_type_text(&c->in[Q], a), veer_type_text(&c->in[K], b));
    if (k[2] != v[2])
        return veer_error(VEER_ERR_UNSUPPORTED, "k is %s and v is %s, expected the same length",
                          veer_type_text(&c->in[K], a), veer_type_text(&c->in[V], b));
    veer_type_t scores = VEER_TYPE(c->in[Q].dtype, q[0], q[1], q[2], k[2]);
    VEER_TRY(veer_type_check(&scores));
    if (c->in_count > mask && c->in[mask].dtype &&
        (c->in[mask].dtype != scores.dtype || !veer_type_broadcasts_to(&c->in[mask], &scores)))
        return veer_error(VEER_ERR_UNSUPPORTED, "mask is %s, expected something that broadcasts to %s",
                          veer_type_text(&c->in[mask], a), veer_type_text(&scores, b));
    *out = VEER_TYPE(c->in[Q].dtype, q[0], q[1], q[2], v[3]);
    return veer_type_check(out);
}

static veer_status_t infer_attention(veer_infer_t *c) {
    return check_operands(c, MASK, &c->out[0]);
}

static veer_status_t infer_attention_grad(veer_infer_t *c) {
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    veer_type_t y;
    VEER_TRY(check_operands(c, GRAD_MASK, &y));
    if (!veer_type_equal(&c->in[GRAD_DY], &y))
        return veer_error(VEER_ERR_UNSUPPORTED, "dy is %s, expected %s", veer_type_text(&c->in[GRAD_DY], a),
                          veer_type_text(&y, b));
    for (int i = Q; i <= V; i++) c->out[i] = c->in[i];
    return veer_ok();
}

/* p = softmax(scale * q k^T + mask): [B, H, L, S] */
static veer_value_t probabilities(veer_builder_t *b, const veer_value_t *in, veer_value_t mask, double scale) {
    veer_value_t s = veer_mul_c(b, veer_matmul(b, in[Q], in[K], false, true), scale);
    if (mask.i) s = veer_add(b, s, mask);
    return veer_build(b, VEER_OP_SOFTMAX, VEER_IN(s), VEER_ATTRS(VEER_INT("axis", 3)));
}

typedef struct spelled_s {
    veer_value_t d[3];   /* dq, dk, dv */
    veer_value_t scores; /* d scores: the mask's, before it is summed to the mask's shape */
} spelled_t;

/* o = p v: dv = p^T do, dp = do v^T; ds = p * (dp - sum(dp * p)); dq = scale * ds k, dk = scale * ds^T q, dmask = ds */
static spelled_t spell_out(veer_builder_t *b, const veer_value_t *in, veer_value_t mask, veer_value_t d_o,
                           double scale) {
    spelled_t r;
    veer_value_t p = probabilities(b, in, mask, scale), dp = veer_matmul(b, d_o, in[V], false, true);
    veer_value_t mean = veer_reduce_last(b, VEER_OP_REDUCE_SUM, veer_mul(b, dp, p), true);
    r.scores = veer_mul(b, p, veer_sub(b, dp, mean));
    veer_value_t ds = veer_mul_c(b, r.scores, scale);
    r.d[Q] = veer_matmul(b, ds, in[K], false, false);
    r.d[K] = veer_matmul(b, ds, in[Q], true, false);
    r.d[V] = veer_matmul(b, p, d_o, true, false);
    return r;
}

/* One node; where the mask's gradient is needed as well, which is as large as the scores, spelled out. */
static veer_status_t attention_grad(veer_builder_t *b, veer_grad_t *g) {
    double scale = veer_node_float(g->graph, g->node, "scale");
    veer_value_t mask = mask_of(g->in, g->in_count, MASK), d_o = g->d_out[0];
    if (mask.i && g->need[MASK]) {
        veer_type_t type = *veer_value_type(g->graph, mask);
        spelled_t r = spell_out(b, g->in, mask, d_o, scale);
        for (int i = Q; i <= V; i++)
            if (g->need[i]) g->d_in[i] = r.d[i];
        g->d_in[MASK] = veer_sum_to(b, r.scores, &type);
        return veer_builder_status(b);
    }
    veer_node_t n = veer_build_node(b, VEER_OP_ATTENTION_GRAD, VEER_IN(g->in[Q], g->in[K], g->in[V], d_o, mask),
                                    VEER_ATTRS(VEER_FLOAT("scale", scale)));
    for (int i = Q; i <= V && n.i; i++)
        if (g->need[i]) g->d_in[i] = veer_node_out(g->graph, n, i);
    return veer_builder_status(b);
}

static veer_status_t attention_grad_expand(veer_builder_t *b, veer_expand_t *e) {
    spelled_t r = spell_out(b, e->in, mask_of(e->in, e->in_count, GRAD_MASK), e->in[GRAD_DY],
                            veer_node_float(e->graph, e->node, "scale"));
    for (int i = Q; i <= V; i++) e->out[i] = r.d[i];
    return veer_builder_status(b);
}

static veer_status_t attention_expand(veer_builder_t *b, veer_expand_t *e) {
    veer_value_t p =
        probabilities(b, e->in, mask_of(e->in, e->in_count, MASK), veer_node_float(e->graph, e->node, "scale"));
    e->out[0] = veer_matmul(b, p, e->in[V], false, false);
    return veer_builder_status(b);
}

const veer_op_def_t veer_op_attention = {
    .name = "attention",
    .doc =
        "softmax(scale * q k^T + mask) v for q [B, H, L, D], k [B, H, S, D], v [B, H, S, Dv] and an additive mask that "
        "broadcasts to [B, H, L, S]; gives [B, H, L, Dv].",
    .in = {{"q", VEER_FLOAT_ONLY, false, false},
           {"k", VEER_FLOAT_ONLY, false, false},
           {"v", VEER_FLOAT_ONLY, false, false},
           {"mask", VEER_FLOAT_ONLY, true, false}},
    .out = {{"o", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "scale", .kind = VEER_ATTR_FLOAT, .default_float = 1, .doc = "usually 1 / sqrt(D)"}},
    .traits = VEER_PURE | VEER_COMPOSITE,
    .infer = infer_attention,
    .grad = attention_grad,
    .expand = attention_expand,
    /* scores of size 10 are off by D * 2^-24, probabilities by as much relatively; o is a convex mean of v of size 1 */
    .tol_f32 = {.abs = 1e-5, .rel = 1e-5},
};

const veer_op_def_t veer_op_attention_grad = {
    .name = "attention_grad",
    .doc = "The gradients of sum(dy * attention(q, k, v, mask)) by q, k and v: with p = softmax(scale * q k^T + mask), "
           "dp = dy v^T and ds = p * (dp - sum(p * dp)) over keys, dq = scale * ds k, dk = scale * ds^T q, "
           "dv = p^T dy. A result that nobody uses is not computed.",
    .in = {{"q", VEER_FLOAT_ONLY, false, false},
           {"k", VEER_FLOAT_ONLY, false, false},
           {"v", VEER_FLOAT_ONLY, false, false},
           {"dy", VEER_FLOAT_ONLY, false, false},
           {"mask", VEER_FLOAT_ONLY, true, false}},
    .out = {{"dq", VEER_FLOAT_ONLY, false, false},
            {"dk", VEER_FLOAT_ONLY, false, false},
            {"dv", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "scale", .kind = VEER_ATTR_FLOAT, .default_float = 1, .doc = "that of the attention"}},
    .traits = VEER_PURE | VEER_COMPOSITE,
    .infer = infer_attention_grad,
    .grad = veer_grad_by_expansion,
    .expand = attention_grad_expand,
    /* as attention, but dk and dv are sums over queries, and ds cancels */
    .tol_f32 = {.abs = 5e-5, .rel = 2e-5},
};
