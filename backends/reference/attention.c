#include "backends/reference/block.h"

#include <math.h>

/* One row of queries: q [B, H, L, D], k [B, H, S, D], v [B, H, S, Dv]. */
typedef struct row_s {
    const veer_reference_call_t *c;
    int64_t q, k, v; /* first elements of the query, of its head's keys and values */
    int64_t mask, mask_step;
    int64_t s, d, dv;
    double scale, largest, sum;
} row_t;

/* scale * q.k[j] + mask[j] */
static double score(const row_t *r, int64_t j) {
    double dot = 0, q[VEER_BLOCK], k[VEER_BLOCK];
    for (int64_t i = 0; i < r->d; i += VEER_BLOCK) {
        int64_t count = veer_least(VEER_BLOCK, r->d - i);
        veer_load_block(&r->c->in[0], r->q + i, 1, count, q);
        veer_load_block(&r->c->in[1], r->k + j * r->d + i, 1, count, k);
        for (int64_t n = 0; n < count; n++) dot += q[n] * k[n];
    }
    return r->scale * dot + (veer_call_has(r->c, 3) ? veer_load_double(&r->c->in[3], r->mask + j * r->mask_step) : 0);
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

static void attend(row_t *r, int64_t first_out) {
    r->largest = -INFINITY;
    for (int64_t j = 0; j < r->s; j++) {
        double value = score(r, j);
        if (isnan(value) || value > r->largest) r->largest = value;
    }
    for (int64_t at = 0; at < r->dv; at += VEER_BLOCK) weigh(r, first_out, at, veer_least(VEER_BLOCK, r->dv - at));
}

veer_kernel_result_t veer_reference_attention(veer_reference_call_t *c) {
    const int64_t *q = c->in[0].type.dims, *v = c->in[2].type.dims;
    veer_type_t heads = VEER_TYPE(VEER_DTYPE_NONE, q[0], q[1], q[2], v[2]);
    veer_walk_t scores = veer_walk_broadcast(&heads, &c->in[3], veer_call_has(c, 3) ? 1 : 0);
    row_t r = {.c = c,
               .s = v[2],
               .d = q[3],
               .dv = v[3],
               .scale = veer_call_float(c, "scale"),
               .mask_step = scores.strides[0][3]};
    for (int64_t row = 0; row < q[0] * q[1] * q[2]; row++) {
        int64_t head = row / q[2];
        r.q = row * r.d, r.k = head * r.s * r.d, r.v = head * r.s * r.dv;
        r.mask =
            row % q[2] * scores.strides[0][2] + head % q[1] * scores.strides[0][1] + head / q[1] * scores.strides[0][0];
        attend(&r, row * r.dv);
    }
    return VEER_KERNEL_OK;
}
