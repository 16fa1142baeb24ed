/* Reductions over axes, arg_max and cumsum. `axes` is ascending; an empty list reduces nothing. */
#include "ir/ops/common.h"

#define REDUCE VEER_PURE | VEER_REDUCTION
/* Sums of n terms of order 1 in blocks of 8 or more: the error grows like n / 8 ulps at worst, n up to about 1000. */
#define TOL_SUM                                                                                                        \
    { .abs = 1e-5, .rel = 1e-5 }
#define AXES                                                                                                           \
    { "axes", VEER_ATTR_INTS, .required = true, .doc = "dimensions to reduce, ascending" }
#define KEEPDIMS                                                                                                       \
    { "keepdims", VEER_ATTR_INT, .default_int = 0, .doc = "1: reduced dimensions stay, of size 1" }

/* ---- shapes ---- */
/* x's dims with the reduced ones set to 1 */
static veer_type_t keep_dims(veer_type_t x, const int64_t *axes, int count) {
    for (int i = 0; i < count; i++) x.dims[axes[i]] = 1;
    return x;
}

static veer_type_t drop_dims(const veer_type_t *x, const int64_t *axes, int count) {
    veer_type_t y = {.dtype = x->dtype};
    for (int i = 0, next = 0; i < x->rank; i++)
        if (next < count && axes[next] == i)
            next++;
        else
            y.dims[y.rank++] = x->dims[i];
    return y;
}

static veer_status_t reduce_infer(veer_infer_t *c) {
    int count, rank = c->in[0].rank;
    const int64_t *axes = veer_infer_ints(c, "axes", &count);
    for (int i = 0; i < count; i++)
        if (axes[i] < 0 || axes[i] >= rank || (i && axes[i] <= axes[i - 1]))
            return veer_error(VEER_ERR_UNSUPPORTED, "axes[%d] is %lld, expected ascending numbers from 0 to %d", i,
                              (long long)axes[i], rank - 1);
    c->out[0] = veer_infer_int(c, "keepdims") ? keep_dims(c->in[0], axes, count) : drop_dims(&c->in[0], axes, count);
    return veer_ok();
}

/* A largest or smallest element exists only where there is one. */
static veer_status_t extremum_infer(veer_infer_t *c) {
    VEER_TRY(reduce_infer(c));
    int count;
    const int64_t *axes = veer_infer_ints(c, "axes", &count);
    for (int i = 0; i < count; i++)
        if (c->in[0].dims[axes[i]] == 0)
            return veer_error(VEER_ERR_UNSUPPORTED, "dimension %lld of x is 0, which has no %s", (long long)axes[i],
                              c->op == VEER_OP_REDUCE_MAX ? "maximum" : "minimum");
    return veer_ok();
}

/* What a rule needs of the node: its axes and the type that out has with keepdims. */
typedef struct reduce_s {
    const int64_t *axes;
    int axis_count;
    veer_type_t x, kept;
} reduce_t;

static reduce_t reduce_of(const veer_grad_t *g) {
    reduce_t r = {.x = veer_grad_in_type(g, 0)};
    r.axes = veer_node_ints(g->graph, g->node, "axes", &r.axis_count);
    r.kept = keep_dims(r.x, r.axes, r.axis_count);
    return r;
}

/* ---- sums ---- */
static veer_status_t reduce_sum_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx_i = 1: d in every place */
    reduce_t r = reduce_of(g);
    g->d_in[0] = veer_broadcast_to(b, veer_reshape_like(b, g->d_out[0], &r.kept), r.x.rank, r.x.dims);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_reduce_sum = {
    .name = "reduce_sum",
    .doc = "y = the sum of x over `axes`; integers wrap around.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {AXES, KEEPDIMS},
    .traits = REDUCE,
    .infer = reduce_infer,
    .grad = reduce_sum_grad,
    .tol_f32 = TOL_SUM,
};

static veer_status_t reduce_mean_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx_i = 1 / n */
    reduce_t r = reduce_of(g);
    if (veer_type_count(&r.x) == 0) return veer_ok();
    double share = (double)veer_type_count(&r.kept) / (double)veer_type_count(&r.x);
    veer_value_t d = veer_mul_c(b, veer_reshape_like(b, g->d_out[0], &r.kept), share);
    g->d_in[0] = veer_broadcast_to(b, d, r.x.rank, r.x.dims);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_reduce_mean = {
    .name = "reduce_mean",
    .doc = "y = the mean of x over `axes`; integers truncate toward zero. The mean of nothing is NaN (0 for integers).",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {AXES, KEEPDIMS},
    .traits = REDUCE,
    .infer = reduce_infer,
    .grad = reduce_mean_grad,
    .tol_f32 = TOL_SUM,
};

/* ---- extrema ---- */
static veer_status_t extremum_grad(veer_builder_t *b, veer_grad_t *g) {
    /* the m elements that equal y get d / m each */
    reduce_t r = reduce_of(g);
    veer_value_t y = veer_reshape_like(b, g->out[0], &r.kept), d = veer_reshape_like(b, g->d_out[0], &r.kept);
    veer_value_t hit = veer_cast(b, veer_equal(b, g->in[0], y), r.x.dtype);
    veer_value_t m = veer_reduce(b, VEER_OP_REDUCE_SUM, hit, r.axes, r.axis_count, true);
    g->d_in[0] = veer_mul(b, hit, veer_div(b, d, m));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_reduce_max = {
    .name = "reduce_max",
    .doc = "y = the largest element of x over `axes`; NaN where there is one. Equal elements share the gradient.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {AXES, KEEPDIMS},
    .traits = REDUCE,
    .infer = extremum_infer,
    .grad = extremum_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

const veer_op_def_t veer_op_reduce_min = {
    .name = "reduce_min",
    .doc = "y = the smallest element of x over `axes`; NaN where there is one. Equal elements share the gradient.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {AXES, KEEPDIMS},
    .traits = REDUCE,
    .infer = extremum_infer,
    .grad = extremum_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- product ---- */
static veer_value_t sum_of_others(veer_builder_t *b, const reduce_t *r, veer_value_t v) {
    return veer_sub(b, veer_reduce(b, VEER_OP_REDUCE_SUM, v, r->axes, r->axis_count, true), v);
}

static veer_status_t reduce_prod_grad(veer_builder_t *b, veer_grad_t *g) {
    /* dy/dx_i = the product of the others. With zeros replaced by 1 the product p has no zero factor, so with
     * x' = x where it is not zero, else 1, and the sum z of x's other elements that are zero
     *   dy/dx_i = p / x'_i       where no other element is zero
     *           = p / x'_i * z   where one other is: zero, but its derivative by that one is what remains without it
     *           = 0              where more are, also twice differentiated. */
    reduce_t r = reduce_of(g);
    veer_value_t x = g->in[0], zero = veer_const_scalar(b, r.x.dtype, 0), one = veer_const_scalar(b, r.x.dtype, 1);
    veer_value_t is_zero = veer_equal(b, x, zero), safe = veer_where(b, is_zero, one, x);
    veer_value_t p = veer_reduce(b, VEER_OP_REDUCE_PROD, safe, r.axes, r.axis_count, true);
    veer_value_t others = sum_of_others(b, &r, veer_cast(b, is_zero, r.x.dtype));
    veer_value_t z = sum_of_others(b, &r, veer_where(b, is_zero, x, zero));
    veer_value_t share = veer_div(b, veer_mul(b, veer_reshape_like(b, g->d_out[0], &r.kept), p), safe);
    veer_value_t rest = veer_where(b, veer_equal(b, others, one), veer_mul(b, share, z), zero);
    g->d_in[0] = veer_where(b, veer_equal(b, others, zero), share, rest);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_reduce_prod = {
    .name = "reduce_prod",
    .doc = "y = the product of x over `axes`; integers wrap around.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {AXES, KEEPDIMS},
    .traits = REDUCE,
    .infer = reduce_infer,
    .grad = reduce_prod_grad,
    .tol_f32 = {.abs = 1.2e-38, .rel = 1e-5}, /* one rounding per factor, up to about 100 factors */
};

/* ---- arg_max ---- */
static veer_status_t arg_max_infer(veer_infer_t *c) {
    int axis = 0;
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), c->in[0].rank, &axis));
    if (c->in[0].dims[axis] == 0)
        return veer_error(VEER_ERR_UNSUPPORTED, "dimension %d of x is 0, which has no largest element", axis);
    int64_t axes[] = {axis};
    c->out[0] = veer_infer_int(c, "keepdims") ? keep_dims(c->in[0], axes, 1) : drop_dims(&c->in[0], axes, 1);
    c->out[0].dtype = VEER_DTYPE_I64;
    return veer_ok();
}
const veer_op_def_t veer_op_arg_max = {
    .name = "arg_max",
    .doc = "y = the index of the largest element along `axis` (the smallest for largest = 0), the first one of equals "
           "(the "
           "last for select_last = 1). A NaN counts as the most extreme.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_INDEX}},
    .attrs = {{"axis", VEER_ATTR_INT, .default_int = 0, .doc = "dimension to search"},
              {"keepdims", VEER_ATTR_INT, .default_int = 0, .doc = "1: the dimension stays, of size 1"},
              {"select_last", VEER_ATTR_INT, .default_int = 0, .doc = "1: the last of equals"},
              {"largest", VEER_ATTR_INT, .default_int = 1, .doc = "0: the smallest element (ArgMin)"}},
    .traits = VEER_PURE,
    .infer = arg_max_infer,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- top_k ---- */
static veer_status_t top_k_infer(veer_infer_t *c) {
    int axis = 0;
    int64_t k = veer_infer_int(c, "k");
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), c->in[0].rank, &axis));
    if (k < 0 || k > c->in[0].dims[axis])
        return veer_error(VEER_ERR_UNSUPPORTED, "k is %lld, expected 0 to %lld, the size of dimension %d", (long long)k,
                          (long long)c->in[0].dims[axis], axis);
    c->out[0] = c->in[0];
    c->out[0].dims[axis] = k;
    c->out[1] = c->out[0];
    c->out[1].dtype = VEER_DTYPE_I64;
    return veer_type_check(&c->out[1]);
}
static veer_status_t top_k_grad(veer_builder_t *b, veer_grad_t *g) {
    /* each cotangent goes to the element that was taken */
    if (!g->d_out[0].i) return veer_ok(); /* only the indices matter: they are piecewise constant */
    veer_value_t zeros = veer_zeros(b, veer_grad_in_type(g, 0));
    g->d_in[0] = veer_build(b, VEER_OP_SCATTER_ADD, VEER_IN(zeros, g->out[1], g->d_out[0]),
                            VEER_ATTRS(VEER_INT("axis", veer_node_int(g->graph, g->node, "axis"))));
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_top_k = {
    .name = "top_k",
    .doc = "The k largest elements of x along `axis` (the smallest for largest = 0), most extreme first, and their "
           "indices; of equals the first comes first. A NaN counts as the most extreme.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}, {"indices", VEER_INDEX}},
    .attrs = {{"axis", VEER_ATTR_INT, .default_int = 0, .doc = "dimension to search"},
              {"k", VEER_ATTR_INT, .required = true, .doc = "how many"},
              {"largest", VEER_ATTR_INT, .default_int = 1, .doc = "0: the smallest elements"}},
    .traits = VEER_PURE,
    .infer = top_k_infer,
    .grad = top_k_grad,
    .tol_f32 = VEER_TOL_EXACT,
};

/* ---- cumsum ---- */
static veer_status_t cumsum_infer(veer_infer_t *c) {
    int axis = 0;
    VEER_TRY(veer_check_axis(veer_infer_int(c, "axis"), c->in[0].rank, &axis));
    return veer_infer_same(c);
}
static veer_status_t cumsum_grad(veer_builder_t *b, veer_grad_t *g) {
    /* x_j is in y_i for all i from j on: sum d from the other end */
    veer_named_attr_t attrs[] = {VEER_INT("axis", veer_node_int(g->graph, g->node, "axis")),
                                 VEER_INT("exclusive", veer_node_int(g->graph, g->node, "exclusive")),
                                 VEER_INT("reverse", !veer_node_int(g->graph, g->node, "reverse")),
                                 {0}};
    g->d_in[0] = veer_build(b, VEER_OP_CUMSUM, VEER_IN(g->d_out[0]), attrs);
    return veer_builder_status(b);
}
const veer_op_def_t veer_op_cumsum = {
    .name = "cumsum",
    .doc = "y_i = x_0 + ... + x_i along `axis`; without x_i for exclusive = 1, from the end for reverse = 1.",
    .in = {{"x", VEER_NUMERIC}},
    .out = {{"y", VEER_NUMERIC}},
    .attrs = {{"axis", VEER_ATTR_INT, .required = true, .doc = "dimension to sum along"},
              {"exclusive", VEER_ATTR_INT, .default_int = 0, .doc = "1: y_i leaves x_i out"},
              {"reverse", VEER_ATTR_INT, .default_int = 0, .doc = "1: sum from the end"}},
    .traits = VEER_PURE,
    .infer = cumsum_infer,
    .grad = cumsum_grad,
    .tol_f32 = TOL_SUM,
};
