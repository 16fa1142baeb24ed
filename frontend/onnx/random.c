/* The random family, by the noise of the IR: the numbers depend on the attribute `seed` (0 where there is none) and on
 * the node, and are the same in every run. */
#include "frontend/onnx/node.h"

#include <string.h>

enum { FIRST_STREAM = 16 }; /* the ones before are the samplers' own */

/* Streams differ between nodes by their names and, in unrolled loops, by their number. */
static int64_t stream_of(const veer_onnx_node_t *n) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *c = n->name; *c; c++) hash = (hash ^ (uint8_t)*c) * 16777619u;
    for (size_t k = n->number; k; k >>= 8) hash = (hash ^ (uint8_t)k) * 16777619u;
    return hash < FIRST_STREAM ? FIRST_STREAM : hash;
}

/* A whole number for Dropout, the bits of a float for the others. */
static uint32_t seed_of(veer_onnx_node_t *n) {
    if (!strcmp(n->op->op_type, "Dropout")) return (uint32_t)veer_onnx_attr_int(n, "seed", 0);
    float given = (float)veer_onnx_attr_float(n, "seed", 0);
    uint32_t seed;
    memcpy(&seed, &given, sizeof seed);
    return seed;
}

/* Standard normal numbers, f32. */
static veer_value_t normal(veer_onnx_node_t *n, const veer_type_t *shape) {
    uint32_t seed = seed_of(n);
    int64_t dims[] = {1, veer_type_count(shape)};
    veer_value_t zero = veer_const_i64(n->b, 0);
    veer_value_t xi = veer_build(n->b, VEER_OP_NOISE, VEER_IN(veer_const_i64(n->b, seed), zero, zero),
                                 VEER_ATTRS(VEER_INTS("dims", dims, 2), VEER_INT("stream", stream_of(n))));
    return veer_reshape_like(n->b, xi, shape);
}

/* Uniform on [0, 1), f32: the normal distribution function of normal numbers. */
static veer_value_t uniform(veer_onnx_node_t *n, const veer_type_t *shape) {
    veer_value_t z = veer_mul_c(n->b, normal(n, shape), 0.70710678118654752);
    veer_value_t u = veer_mul_c(n->b, veer_add_c(n->b, veer_erf(n->b, z), 1), 0.5);
    return veer_min(n->b, u, veer_const_f32(n->b, 1 - 0x1p-24f));
}

static bool shape_of(veer_onnx_node_t *n, veer_type_t *out) {
    int rank;
    veer_dtype_t missing = VEER_DTYPE_F32;
    if (n->op->min_in) {
        *out = veer_onnx_in_type(n, 0);
        if (veer_dtype_is_float(out->dtype)) missing = out->dtype;
    } else {
        const int64_t *dims = veer_onnx_attr_ints(n, "shape", &rank);
        if (!dims || rank > VEER_MAX_RANK) {
            veer_onnx_fail(n, VEER_ERR_FILE, "shape is missing, or has more than %d entries", VEER_MAX_RANK);
            return false;
        }
        *out = veer_type_make(VEER_DTYPE_F32, rank, dims);
    }
    out->dtype = veer_onnx_attr_dtype(n, "dtype", missing);
    veer_status_t status = out->dtype ? veer_type_check(out) : NULL;
    if (status) veer_builder_fail(n->b, status);
    if (veer_onnx_ok(n) && !veer_dtype_is_float(out->dtype))
        veer_onnx_fail(n, VEER_ERR_FILE, "dtype is %s, expected a float", veer_dtype_name(out->dtype));
    return veer_onnx_ok(n);
}

/* param 0: mean + scale * normal; 1: low + (high - low) * uniform */
void veer_onnx_random(veer_onnx_node_t *n) {
    veer_type_t type;
    bool flat = n->op->param == 1;
    double from = flat ? veer_onnx_attr_float(n, "low", 0) : veer_onnx_attr_float(n, "mean", 0);
    double by = flat ? veer_onnx_attr_float(n, "high", 1) - from : veer_onnx_attr_float(n, "scale", 1);
    if (!shape_of(n, &type)) return;
    veer_value_t x = flat ? uniform(n, &type) : normal(n, &type);
    n->out[0] = veer_cast(n->b, veer_add_c(n->b, veer_mul_c(n->b, x, by), from), type.dtype);
}

/* 1 with probability x */
void veer_onnx_bernoulli(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    veer_value_t hit = veer_less(n->b, uniform(n, &type), veer_cast(n->b, n->in[0], VEER_DTYPE_F32));
    n->out[0] = veer_cast(n->b, hit, veer_onnx_attr_dtype(n, "dtype", type.dtype));
}

/* Draws from unnormalised log probabilities x [batch, classes] to [batch, sample_size]: the largest of
 * x - log(-log(u)), the Gumbel-max form. */
void veer_onnx_multinomial(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t count = veer_onnx_attr_int(n, "sample_size", 1);
    if (x.rank != 2 || count < 1 || count > INT32_MAX) {
        veer_onnx_fail(n, VEER_ERR_FILE, "input of rank %d and sample_size %lld, expected 2 and 1 or more", x.rank,
                       (long long)count);
        return;
    }
    veer_type_t wide = VEER_TYPE(VEER_DTYPE_F32, x.dims[0], count, x.dims[1]);
    veer_status_t status = veer_type_check(&wide);
    if (status) {
        veer_builder_fail(n->b, status);
        return;
    }
    veer_value_t u = veer_max(n->b, uniform(n, &wide), veer_const_f32(n->b, 0x1p-33f));
    veer_value_t gumbel = veer_neg(n->b, veer_log(n->b, veer_neg(n->b, veer_log(n->b, u))));
    veer_value_t logits =
        veer_reshape(n->b, veer_cast(n->b, n->in[0], VEER_DTYPE_F32), VEER_DIMS(x.dims[0], 1, x.dims[1]));
    veer_value_t taken =
        veer_build(n->b, VEER_OP_ARG_MAX, VEER_IN(veer_add(n->b, logits, gumbel)), VEER_ATTRS(VEER_INT("axis", 2)));
    n->out[0] = veer_cast(n->b, taken, veer_onnx_attr_dtype(n, "dtype", VEER_DTYPE_I32));
}

/* At inference dropout does nothing, and its mask keeps all; in training x / (1 - ratio) stays with probability
 * 1 - ratio. */
void veer_onnx_dropout(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0), mask = type;
    bool training = false;
    if (veer_onnx_has_in(n, 2)) training = veer_onnx_in_double(n, 2, "training_mode", 0) != 0;
    double ratio = training ? veer_onnx_in_double(n, 1, "ratio", 0.5) : 0;
    mask.dtype = n->opset < 10 ? type.dtype : VEER_DTYPE_BOOL;
    if (veer_onnx_ok(n) && !(ratio >= 0 && ratio < 1))
        veer_onnx_fail(n, VEER_ERR_FILE, "ratio is %g, expected 0 to below 1", ratio);
    n->out[0] = n->in[0];
    if (ratio == 0) {
        if (veer_onnx_wants(n, 1)) n->out[1] = veer_full(n->b, mask, 1);
        return;
    }
    veer_value_t keep = veer_less_equal(n->b, veer_const_f32(n->b, (float)ratio), uniform(n, &type));
    veer_value_t zero = veer_onnx_ok(n) ? veer_const_scalar(n->b, type.dtype, 0) : VEER_NO_VALUE;
    n->out[0] = veer_where(n->b, keep, veer_mul_c(n->b, n->in[0], 1 / (1 - ratio)), zero);
    if (veer_onnx_wants(n, 1)) n->out[1] = veer_cast(n->b, keep, mask.dtype);
}
