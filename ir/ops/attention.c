/* attention: one kernel that never needs the L x S probabilities in memory; gradient and expansion spell them out. */
#include "ir/ops/common.h"

enum { Q, K, V, MASK };

static bool has_mask(const veer_value_t *in, int count) {
    return count > MASK && in[MASK].i;
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

static veer_status_t infer_attention(veer_infer_t *c) {
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
    if (c->in_count > MASK && c->in[MASK].dtype &&
        (c->in[MASK].dtype != scores.dtype || !veer_type_broadcasts_to(&c->in[MASK], &scores)))
        return veer_error(VEER_ERR_UNSUPPORTED, "mask is %s, expected something that broadcasts to %s",
                          veer_type_text(&c->in[MASK], a), veer_type_text(&scores, b));
    c->out[0] = VEER_TYPE(c->in[Q].dtype, q[0], q[1], q[2], v[3]);
    return veer_type_check(&c->out[0]);
}

/* p = softmax(scale * q k^T + mask): [B, H, L, S] */
static veer_value_t probabilities(veer_builder_t *b, const veer_value_t *in, int in_count, double scale) {
    veer_value_t s = veer_mul_c(b, veer_matmul(b, in[Q], in[K], false, true), scale);
    if (has_mask(in, in_count)) s = veer_add(b, s, in[MASK]);
    return veer_build(b, VEER_OP_SOFTMAX, VEER_IN(s), VEER_ATTRS(VEER_INT("axis", 3)));
}

/* o = p v: dv = p^T do, dp = do v^T; ds = p * (dp - sum(dp * p)); dq = scale * ds k, dk = scale * ds^T q, dmask = ds */
static veer_status_t attention_grad(veer_builder_t *b, veer_grad_t *g) {
    double scale = veer_node_float(g->graph, g->node, "scale");
    veer_value_t d_o = g->d_out[0], p = probabilities(b, g->in, g->in_count, scale);
    bool need_mask = has_mask(g->in, g->in_count) && g->need[MASK];
    if (g->need[V]) g->d_in[V] = veer_matmul(b, p, d_o, true, false);
    if (!g->need[Q] && !g->need[K] && !need_mask) return veer_builder_status(b);
    veer_value_t dp = veer_matmul(b, d_o, g->in[V], false, true);
    veer_value_t mean = veer_reduce_last(b, VEER_OP_REDUCE_SUM, veer_mul(b, dp, p), true);
    veer_value_t ds = veer_mul(b, p, veer_sub(b, dp, mean));
    if (need_mask) {
        veer_type_t type = *veer_value_type(g->graph, g->in[MASK]);
        g->d_in[MASK] = veer_sum_to(b, ds, &type);
    }
    ds = veer_mul_c(b, ds, scale);
    if (g->need[Q]) g->d_in[Q] = veer_matmul(b, ds, g->in[K], false, false);
    if (g->need[K]) g->d_in[K] = veer_matmul(b, ds, g->in[Q], true, false);
    return veer_builder_status(b);
}

static veer_status_t attention_expand(veer_builder_t *b, veer_expand_t *e) {
    veer_value_t p = probabilities(b, e->in, e->in_count, veer_node_float(e->graph, e->node, "scale"));
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
