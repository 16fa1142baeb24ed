#include "backends/reference/block.h"

#include <math.h>

/* One row of queries: q [B, H, L, D], k [B, H, S, D], v [B, H, S, Dv]. */
typedef struct row_s {
    const veer_reference_call_t *c;
    int64_t q, k, v;   /* first elements of the query, of its head's keys and values */
    veer_walk_t masks; /* over [B, H, L, S] */
    int mask_at;       /* the mask's operand */
    int64_t mask, mask_step, rows;
    int64_t s, d, dv;
    double scale, largest, sum;
} row_t;

/* scale * q.k[j] + mask[j] */
static double score(const row_t *r, int64_t j) {
    double dot = 0, q[VEER_BLOCK], k[VEER_BLOCK];
    for (int64_t i = 0; i < r->d; i += VEER_BLOCK) {
        int64_t count = veer_min_i64(VEER_BLOCK, r->d - i);
        veer_load_block(&r->c->in[0], r->q + i, 1, count, q);
        veer_load_block(&r->c->in[1], r->k + j * r->d + i, 1, count, k);
        for (int64_t n = 0; n < count; n++) dot += q[n] * k[n];
    }
    return r->scale * dot +
           (veer_call_has(r->c, r->mask_at) ? veer_load_double(&r->c->in[r->mask_at], r->mask + j * r->mask_step) : 0);
}

/* out[at..at+count) = sum over j of p[j] v[j, at..at+count) */
static void weigh(row_t *r, int64_t first_out, int64_t at, int64_t count) {
    double total[VEER_BLOCK] = {0}, v[VEER_BLOCK];
    r->sum = 0;
    for (int64_t j = 0; j < r->s; j++) {
        double weight = exp(score(r, j) - r->largest);
        veer_load_block(&r->c->in[2], r->v + j * r->dv + at, 1, count, v);
        veer_add_scaled(count, weight, v, total);
        r->sum += weight;
    }
    for (int64_t i = 0; i < count; i++) total[i] /= r->sum;
    veer_store_block(&r->c->out[0], first_out + at, count, total);
}

static void find_largest(row_t *r) {
    r->largest = -INFINITY;
    for (int64_t j = 0; j < r->s; j++) {
        double value = score(r, j);
        if (isnan(value) || value > r->largest) r->largest = value;
    }
}

static void attend(row_t *r, int64_t first_out) {
    find_largest(r);
    for (int64_t at = 0; at < r->dv; at += VEER_BLOCK) weigh(r, first_out, at, veer_min_i64(VEER_BLOCK, r->dv - at));
}

/* `mask`: its operand. */
static row_t first_row(const veer_reference_call_t *c, int mask) {
    const int64_t *q = c->in[0].type.dims, *v = c->in[2].type.dims;
    veer_type_t heads = VEER_TYPE(VEER_DTYPE_NONE, q[0], q[1], q[2], v[2]);
    row_t r = {.c = c,
               .mask_at = mask,
               .rows = q[0] * q[1] * q[2],
               .s = v[2],
               .d = q[3],
               .dv = v[3],
               .scale = veer_call_float(c, "scale")};
    if (veer_call_has(c, mask)) r.masks = veer_walk_broadcast(&heads, &c->in[mask], 1);
    r.mask_step = r.masks.strides[0][3];
    return r;
}

static void find_row(row_t *r, int64_t row) {
    const int64_t *q = r->c->in[0].type.dims, *strides = r->masks.strides[0];
    int64_t head = row / q[2];
    r->q = row * r->d, r->k = head * r->s * r->d, r->v = head * r->s * r->dv;
    r->mask = row % q[2] * strides[2] + head % q[1] * strides[1] + head / q[1] * strides[0];
}

veer_kernel_result_t veer_reference_attention(veer_reference_call_t *c) {
    row_t r = first_row(c, 3);
    for (int64_t row = 0; row < r.rows; row++) {
        find_row(&r, row);
        attend(&r, row * r.dv);
    }
    return VEER_KERNEL_OK;
}

/* ---- the gradient ---- operands q, k, v, dy, mask; results dq, dk, dv */

/* dp = dy . v[j] */
static double weight_gradient(const row_t *r, int64_t dy, int64_t j) {
    double dot = 0, a[VEER_BLOCK], b[VEER_BLOCK];
    for (int64_t i = 0; i < r->dv; i += VEER_BLOCK) {
        int64_t count = veer_min_i64(VEER_BLOCK, r->dv - i);
        veer_load_block(&r->c->in[3], dy + i, 1, count, a);
        veer_load_block(&r->c->in[2], r->v + j * r->dv + i, 1, count, b);
        for (int64_t n = 0; n < count; n++) dot += a[n] * b[n];
    }
    return dot;
}

/* sum[0..count) += factor * t[first..first+count) */
static void accumulate(const veer_tensor_t *t, int64_t first, int64_t count, double factor, double *sum) {
    double x[VEER_BLOCK];
    for (int64_t i = 0; i < count; i += VEER_BLOCK) {
        int64_t part = veer_min_i64(VEER_BLOCK, count - i);
        veer_load_block(t, first + i, 1, part, x);
        veer_add_scaled(part, factor, x, sum + i);
    }
}

/* The query's part of all three results: sums[0..2] are doubles of the shapes of q, k, v.
 * p = softmax of the scores, ds = p * (dp - mean), mean = sum(p * dp). */
static void attend_back(row_t *r, int64_t dy, double *const sums[3]) {
    const veer_tensor_t *in = r->c->in;
    double mean = 0;
    find_largest(r);
    r->sum = 0;
    for (int64_t j = 0; j < r->s; j++) {
        double weight = exp(score(r, j) - r->largest);
        r->sum += weight, mean += weight * weight_gradient(r, dy, j);
    }
    mean /= r->sum;
    for (int64_t j = 0; j < r->s; j++) {
        double p = exp(score(r, j) - r->largest) / r->sum, ds = r->scale * p * (weight_gradient(r, dy, j) - mean);
        int64_t key = r->k + j * r->d, value = r->v + j * r->dv;
        accumulate(&in[1], key, r->d, ds, sums[0] + r->q);
        accumulate(&in[0], r->q, r->d, ds, sums[1] + key);
        accumulate(&in[3], dy, r->dv, p, sums[2] + value);
    }
}

veer_kernel_result_t veer_reference_attention_grad(veer_reference_call_t *c) {
    double *sums[3];
    char *room = c->scratch;
    for (int k = 0; k < 3; k++) {
        sums[k] = (double *)room, room += veer_doubles_bytes(&c->in[k]);
        for (int64_t i = 0; i < veer_type_count(&c->in[k].type); i++) sums[k][i] = 0;
    }
    row_t r = first_row(c, 4);
    for (int64_t row = 0; row < r.rows; row++) {
        find_row(&r, row);
        attend_back(&r, row * r.dv, sums);
    }
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < veer_type_count(&c->in[k].type); i++) veer_store_double(&c->out[k], i, sums[k][i]);
    return VEER_KERNEL_OK;
}
