/* noise and nearest: what a sampler needs beyond a network's ops. */
#include "ir/ops/common.h"

static veer_status_t infer_noise(veer_infer_t *c) {
    static const char *const names[] = {"seed", "first_sample", "step"};
    char text[VEER_TYPE_TEXT_BYTES];
    for (int i = 0; i < 3; i++)
        if (c->in[i].dtype != VEER_DTYPE_I64 || c->in[i].rank)
            return veer_error(VEER_ERR_UNSUPPORTED, "%s is %s, expected i64[]", names[i],
                              veer_type_text(&c->in[i], text));
    int count;
    const int64_t *dims = veer_infer_ints(c, "dims", &count);
    int64_t stream = veer_infer_int(c, "stream");
    if (count < 1 || count > VEER_MAX_RANK)
        return veer_error(VEER_ERR_UNSUPPORTED, "dims has %d entries, expected 1 to %d, samples first", count,
                          VEER_MAX_RANK);
    if (stream < 0 || stream > UINT32_MAX)
        return veer_error(VEER_ERR_UNSUPPORTED, "stream is %lld, expected 0 to %lld", (long long)stream,
                          (long long)UINT32_MAX);
    c->out[0] = veer_type_make(VEER_DTYPE_F32, count, dims);
    VEER_TRY(veer_type_check(&c->out[0]));
    int64_t elements = veer_type_count_range(&c->out[0], 1, count); /* a counter word numbers blocks of 4 of them */
    if (elements <= (int64_t)1 << 34) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "a sample has %lld elements, at most 2^34 have numbers",
                      (long long)elements);
}

static veer_status_t infer_nearest(veer_infer_t *c) {
    char x[VEER_TYPE_TEXT_BYTES], t[VEER_TYPE_TEXT_BYTES];
    const veer_type_t *in = &c->in[0], *table = &c->in[1];
    veer_type_text(in, x), veer_type_text(table, t);
    if (in->rank < 1) return veer_error(VEER_ERR_UNSUPPORTED, "x is %s, expected at least one dim", x);
    if (table->rank != 2 || table->dtype != in->dtype || table->dims[1] != in->dims[in->rank - 1])
        return veer_error(VEER_ERR_UNSUPPORTED, "table is %s, expected %s[V,%lld] for x %s", t,
                          veer_dtype_name(in->dtype), (long long)in->dims[in->rank - 1], x);
    if (table->dims[0] < 1) return veer_error(VEER_ERR_UNSUPPORTED, "table is %s, expected at least one row", t);
    c->out[0] = veer_type_make(VEER_DTYPE_I64, in->rank - 1, in->dims);
    return veer_ok();
}

/* |x - e|^2 = |x|^2 - 2 (x e - |e|^2 / 2): the nearest row has the largest x e - |e|^2 / 2, one product for all of
 * them. */
static veer_status_t expand_nearest(veer_builder_t *b, veer_expand_t *e) {
    veer_type_t x = *veer_builder_type(b, e->in[0]),
                out = *veer_value_type(e->graph, veer_node_out(e->graph, e->node, 0));
    int64_t width = x.dims[x.rank - 1];
    veer_value_t rows = veer_reshape(b, e->in[0], VEER_DIMS(veer_type_count_range(&x, 0, x.rank - 1), width));
    veer_value_t half =
        veer_mul_c(b, veer_reduce_last(b, VEER_OP_REDUCE_SUM, veer_mul(b, e->in[1], e->in[1]), false), 0.5);
    veer_value_t score = veer_sub(b, veer_matmul(b, rows, e->in[1], false, true), half);
    veer_value_t id = veer_build(
        b, VEER_OP_ARG_MAX, VEER_IN(score),
        VEER_ATTRS(VEER_INT("axis", 1), VEER_INT("keepdims", 0), VEER_INT("select_last", 0), VEER_INT("largest", 1)));
    e->out[0] = veer_reshape(b, id, out.rank, out.dims);
    return veer_builder_status(b);
}

const veer_op_def_t veer_op_noise = {
    .name = "noise",
    .doc = "Standard normal numbers for samples first_sample + 0..dims[0]-1, by Philox4x32-10 and Box-Muller from "
           "(seed, sample, "
           "step, stream, element): the same wherever and whenever they are asked for. step 0 is x_T.",
    .in = {{"seed", VEER_INTEGER, false, false},
           {"first_sample", VEER_INTEGER, false, false},
           {"step", VEER_INTEGER, false, false}},
    .out = {{"xi", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "dims", .kind = VEER_ATTR_INTS, .required = true, .doc = "samples first"},
              {.name = "stream", .kind = VEER_ATTR_INT, .doc = "0 state noise, 1 categorical, 2.. others"}},
    .traits = VEER_PURE,
    .infer = infer_noise,
    .grad = veer_grad_none,
    .tol_f32 = {.abs = 2e-6, .rel = 2e-6}, /* |xi| < 6.7; log, sqrt, sin and cos within 2 ulp each */
};

const veer_op_def_t veer_op_nearest = {
    .name = "nearest",
    .doc = "For each vector of x [..., E] the row of table [V, E] at the least squared Euclidean distance; the lowest "
           "of equals "
           "(spec (17)).",
    .in = {{"x", VEER_FLOAT_ONLY, false, false}, {"table", VEER_FLOAT_ONLY, false, false}},
    .out = {{"id", VEER_INDEX, false, false}},
    .traits = VEER_PURE | VEER_COMPOSITE,
    .infer = infer_nearest,
    .expand = expand_nearest,
    .grad = veer_grad_none,
    .tol_f32 = VEER_TOL_EXACT, /* an index; two distances that are equal to rounding may be taken for each other */
};
