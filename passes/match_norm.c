#include "passes/match_norm.h"

#include <string.h>

/* ---- means ---- */

/* The axes are exactly axis..rank-1. */
static bool trailing_axes(const veer_graph_t *g, veer_node_t reduce, int rank, int *out_axis) {
    int count;
    bool reduced[VEER_MAX_RANK] = {false};
    const int64_t *axes = veer_node_ints(g, reduce, "axes", &count);
    *out_axis = rank - count;
    for (int i = 0; i < count; i++) reduced[axes[i]] = true;
    for (int i = *out_axis; i < rank; i++)
        if (!reduced[i]) return false;
    return count > 0 && *out_axis >= 0;
}

/* The shape of x with 1 for dims axis.. */
static bool is_kept_shape(const veer_graph_t *g, veer_value_t value, veer_value_t x, int axis) {
    veer_type_t want = *veer_value_type(g, x);
    for (int i = axis; i < want.rank; i++) want.dims[i] = 1;
    return veer_type_equal(veer_value_type(g, value), &want);
}

bool veer_match_mean(veer_match_t *m, veer_value_t value, veer_value_t *out_x, int *out_axis) {
    const veer_graph_t *g = m->graph;
    veer_value_t v = value, inner;
    double factor = 1, step;
    veer_node_t reshape = veer_match_def(g, v, VEER_OP_RESHAPE);
    if (reshape.i) v = veer_node_in(g, reshape, 0);
    for (; veer_match_scaled(g, v, &inner, &step); v = inner, factor *= step) veer_match_take_def(m, v);
    veer_node_t mean = veer_match_def(g, v, VEER_OP_REDUCE_MEAN), sum = veer_match_def(g, v, VEER_OP_REDUCE_SUM);
    veer_node_t node = mean.i ? mean : sum;
    if (!node.i) return false;
    *out_x = veer_node_in(g, node, 0);
    const veer_type_t *x = veer_value_type(g, *out_x);
    if (!trailing_axes(g, node, x->rank, out_axis) || !is_kept_shape(g, value, *out_x, *out_axis)) return false;
    double want = mean.i ? 1 : 1 / (double)veer_type_count_range(x, *out_axis, x->rank);
    if (mean.i ? factor != 1 : !veer_match_near(x->dtype, factor, want)) return false;
    veer_match_take(m, reshape);
    veer_match_take(m, node);
    return true;
}

/* ---- d / rms ---- */

/* value = d^2 */
static bool match_square(veer_match_t *m, veer_value_t value, veer_value_t *out_d) {
    const veer_graph_t *g = m->graph;
    double two;
    veer_node_t mul = veer_match_def(g, value, VEER_OP_MUL);
    if (mul.i && veer_value_eq(veer_node_in(g, mul, 0), veer_node_in(g, mul, 1)))
        *out_d = veer_node_in(g, mul, 0);
    else if (!veer_match_binary_scalar(g, value, VEER_OP_POW, out_d, &two) || two != 2)
        return false;
    veer_match_take_def(m, value);
    return true;
}

/* value = v^(1/2) or v^(-1/2), by one node; flips *io_inverse in the latter case. */
static bool match_root(veer_match_t *m, veer_value_t value, veer_value_t *out_v, bool *io_inverse) {
    const veer_graph_t *g = m->graph;
    veer_node_t sqrt = veer_match_def(g, value, VEER_OP_SQRT), rsqrt = veer_match_def(g, value, VEER_OP_RSQRT);
    double exponent;
    if (sqrt.i || rsqrt.i) {
        *out_v = veer_node_in(g, sqrt.i ? sqrt : rsqrt, 0);
        *io_inverse ^= rsqrt.i != 0;
    } else if (veer_match_binary_scalar(g, value, VEER_OP_POW, out_v, &exponent)) {
        if (exponent != 0.5 && exponent != -0.5) return false;
        *io_inverse ^= exponent < 0;
    } else {
        return false;
    }
    veer_match_take_def(m, value);
    return true;
}

/* value = 1 / v */
static bool match_inverse(veer_match_t *m, veer_value_t value, veer_value_t *out_v) {
    const veer_graph_t *g = m->graph;
    double one;
    veer_node_t node = veer_match_def(g, value, VEER_OP_RECIPROCAL), div = veer_match_def(g, value, VEER_OP_DIV);
    if (div.i && (!veer_match_scalar(g, veer_node_in(g, div, 0), &one) || one != 1)) return false;
    if (div.i) node = div;
    if (!node.i) return false;
    *out_v = veer_node_in(g, node, div.i ? 1 : 0);
    if (!veer_match_same_type(g, *out_v, value)) return false;
    veer_match_take(m, node);
    return true;
}

/* value = (mean(d^2) + eps)^(-1/2), or ^(1/2) where not `inverse`. */
static bool match_deviation(veer_match_t *m, veer_value_t value, bool inverse, veer_match_rms_t *out) {
    const veer_graph_t *g = m->graph;
    bool got = false;
    veer_value_t v = value, variance;
    for (veer_value_t inner; match_inverse(m, v, &inner); v = inner) got = !got;
    if (!match_root(m, v, &v, &got)) return false;
    for (veer_value_t inner; match_inverse(m, v, &inner); v = inner) got = !got; /* sqrt(1 / v) */
    out->eps = 0;
    if (veer_match_binary_scalar(g, v, VEER_OP_ADD, &variance, &out->eps))
        veer_match_take_def(m, v);
    else
        variance = v;
    if (got != inverse || !(out->eps >= 0)) return false;
    return veer_match_mean(m, variance, &v, &out->axis) && match_square(m, v, &out->square);
}

bool veer_match_rms(veer_match_t *m, int i, veer_match_rms_t *out) {
    const veer_graph_t *g = m->graph;
    veer_op_t op = veer_node_op(g, m->root);
    *out = (veer_match_rms_t){0};
    if (op != VEER_OP_MUL && (op != VEER_OP_DIV || i)) return false;
    veer_value_t other = veer_node_in(g, m->root, 1 - i);
    out->d = veer_node_in(g, m->root, i);
    if (!veer_match_same_type(g, out->d, veer_node_out(g, m->root, 0))) return false;
    if (match_deviation(m, other, op == VEER_OP_MUL, out)) return true;
    veer_node_t product = op == VEER_OP_MUL ? veer_match_def(g, other, VEER_OP_MUL) : VEER_NO_NODE;
    for (int k = 0; k < 2 && product.i; k++) { /* d * (r * scale) */
        *m = veer_match_begin(m->graph, m->root);
        veer_match_take(m, product);
        out->scale = veer_node_in(g, product, 1 - k);
        if (match_deviation(m, veer_node_in(g, product, k), true, out)) return true;
    }
    return false;
}

/* ---- scale and bias ---- */

veer_value_t veer_match_row_parameter(veer_match_t *m, veer_builder_t *b, veer_value_t value, veer_value_t x,
                                      int axis) {
    const veer_graph_t *g = b->graph;
    if (!veer_builder_ok(b) || !veer_match_parameter(g, value)) return VEER_NO_VALUE;
    veer_type_t type = *veer_value_type(g, value), whole = *veer_value_type(g, x);
    veer_type_t row = veer_type_make(whole.dtype, whole.rank - axis, whole.dims + axis);
    int leading = type.rank > row.rank ? type.rank - row.rank : 0;
    for (int i = 0; i < leading; i++)
        if (type.dims[i] != 1) return VEER_NO_VALUE;
    type = veer_type_make(type.dtype, type.rank - leading, type.dims + leading);
    if (type.dtype != row.dtype || !veer_type_broadcasts_to(&type, &row)) return VEER_NO_VALUE;
    if (veer_type_count(&type) == 1 && veer_type_count(&row) > 1) return VEER_NO_VALUE; /* one number is no scale */
    return veer_match_reshape(m, b, value, type.rank, type.dims);
}

static veer_status_t merge(veer_graph_t *g, veer_node_t root, veer_value_t y, veer_value_t other, veer_op_t op,
                           veer_pass_ctx_t *ctx) {
    bool is_scale = veer_node_op(g, root) == VEER_OP_MUL;
    veer_node_t norm = veer_value_def(g, y);
    veer_match_t m = veer_match_begin(g, root);
    veer_match_take(&m, norm);
    if (!veer_match_closed(&m) || !veer_match_same_type(g, y, veer_node_out(g, root, 0))) return veer_ok();
    int64_t axis = veer_node_int(g, norm, "axis");
    double eps = veer_node_float(g, norm, "eps");
    veer_value_t x = veer_node_in(g, norm, 0), scale = veer_node_in(g, norm, 1);
    veer_builder_t b = veer_builder_before(g, root);
    veer_value_t p = veer_match_row_parameter(&m, &b, other, x, (int)axis);
    if (!p.i) return veer_builder_status(&b);
    veer_value_t in[] = {x, is_scale ? p : scale, is_scale ? VEER_NO_VALUE : p};
    veer_value_t by = veer_build(&b, op, in, op == VEER_OP_RMS_NORM ? 2 : 3,
                                 VEER_ATTRS(VEER_INT("axis", axis), VEER_FLOAT("eps", eps)));
    VEER_TRY(veer_match_replace(&m, &b, by));
    veer_pass_count(ctx, is_scale ? "scale" : "bias");
    return veer_ok();
}

veer_status_t veer_match_norm_parameter(veer_graph_t *g, veer_node_t root, veer_op_t op, veer_pass_ctx_t *ctx) {
    veer_value_t y, other;
    veer_op_t root_op = veer_node_op(g, root);
    if (root_op != VEER_OP_MUL && (root_op != VEER_OP_ADD || op == VEER_OP_RMS_NORM)) return veer_ok();
    if (!veer_match_either(g, root, op, &y, &other)) return veer_ok();
    veer_node_t norm = veer_value_def(g, y);
    if (veer_node_in(g, norm, 2).i || (root_op == VEER_OP_MUL && veer_node_in(g, norm, 1).i)) return veer_ok();
    return merge(g, root, y, other, op, ctx);
}
