/* Tiny networks with known derivatives, each twice: as a function of a graph, and as a formula in double.
 *
 *     denoiser    F = A x + B x^2 + C t + L label x + P x0_prev + Q ctx,  elementwise
 *                 V = v0 + 0.02 x + 0.03 label   (the variance channels)
 *     classifier  linear    logits_k = sum_j W_jk x_j + 0.01 k t                       softmax
 *                 quadratic f = sum_j (u_j x_j + 0.1 x_j^2) + 0.02 t                   bernoulli
 *                 energy    log p = -0.5 (1 + 0.01 t) sum_j (x_j - 0.2 target - 0.1)^2 logp, target an input `y` or 0
 */
#ifndef VEER_TESTS_SAMPLER_NETS_H
#define VEER_TESTS_SAMPLER_NETS_H

#include "ir/builder.h"
#include "models/sampler.h"

#include <math.h>

enum { SAMPLES = 3, SIZE = 6, CLASSES = 4, NULL_LABEL = 3, VOCAB = 5, WIDTH = 3 };

static const double NET_A = 0.6, NET_B = 0.05, NET_C = 0.02, NET_L = 0.1, NET_P = 0.25, NET_Q = 0.3;

/* How a network is made: the shape and dtype of its timestep, and which further inputs it has. */
typedef struct net_s {
    int rank; /* of x: 4 [N,2,1,3], 3 [N,2,3], 2 [N,6] */
    veer_dtype_t time_dtype;
    enum { TIME_BATCH, TIME_SCALAR, TIME_ONE, TIME_NONE } time_shape;
    bool labels, self_cond, ctx, variance;
    veer_dtype_t label_dtype;
    double v0;
} net_t;

static inline veer_type_t net_x_type(int rank, int64_t batch) {
    return rank == 4   ? VEER_TYPE(VEER_DTYPE_F32, batch, 2, 1, 3)
           : rank == 3 ? VEER_TYPE(VEER_DTYPE_F32, batch, 2, 3)
                       : VEER_TYPE(VEER_DTYPE_F32, batch, 6);
}

/* ---- in the graph ---- */

typedef struct net_args_s {
    veer_value_t x, t, label, previous, ctx;
} net_args_t;

static inline veer_value_t net_arg(veer_graph_t *g, veer_func_t f, const char *name, veer_type_t type, veer_role_t role,
                                   veer_role_t *roles, int *count) {
    veer_value_t v;
    require_ok(veer_region_add_arg(g, veer_func_body(g, f), type, name, &v));
    roles[(*count)++] = role;
    return v;
}

static inline veer_value_t net_time(veer_graph_t *g, veer_func_t f, const net_t *n, int64_t batch, veer_role_t *roles,
                                    int *count) {
    if (n->time_shape == TIME_NONE) return VEER_NO_VALUE;
    veer_type_t type = n->time_shape == TIME_BATCH ? VEER_TYPE(n->time_dtype, batch)
                       : n->time_shape == TIME_ONE ? VEER_TYPE(n->time_dtype, 1)
                                                   : VEER_SCALAR(n->time_dtype);
    return net_arg(g, f, "t", type, VEER_ROLE_TIMESTEP, roles, count);
}

/* A scalar, [1] or [batch] as f32 that broadcasts over rows of the given rank; zero where it is absent. */
static inline veer_value_t net_column(veer_builder_t *b, veer_value_t v, int rank) {
    if (!v.i) return veer_const_f32(b, 0);
    int64_t dims[4] = {veer_type_count(veer_builder_type(b, v)), 1, 1, 1};
    return veer_reshape(b, veer_cast(b, v, VEER_DTYPE_F32), rank, dims);
}

static inline veer_value_t net_f(veer_builder_t *b, const net_t *n, const net_args_t *a) {
    veer_value_t label = net_column(b, a->label, n->rank), t = net_column(b, a->t, n->rank);
    veer_value_t slope = veer_add_c(b, veer_add(b, veer_mul_c(b, a->x, NET_B), veer_mul_c(b, label, NET_L)), NET_A);
    veer_value_t f = veer_add(b, veer_mul(b, a->x, slope), veer_mul_c(b, t, NET_C));
    if (a->previous.i) f = veer_add(b, f, veer_mul_c(b, a->previous, NET_P));
    return a->ctx.i ? veer_add(b, f, veer_mul_c(b, a->ctx, NET_Q)) : f;
}

static inline veer_network_t net_denoiser(veer_graph_t *g, const net_t *n, int64_t batch, veer_role_t roles[8]) {
    veer_func_t f;
    int count = 0;
    veer_type_t type = net_x_type(n->rank, batch);
    net_args_t a = {0};
    require_ok(veer_graph_add_func(g, "denoiser", &f));
    /* The timestep first: no order of the arguments is assumed. */
    a.t = net_time(g, f, n, batch, roles, &count);
    a.x = net_arg(g, f, "x", type, VEER_ROLE_X, roles, &count);
    if (n->self_cond) a.previous = net_arg(g, f, "x0_prev", type, VEER_ROLE_SELF_COND, roles, &count);
    if (n->labels) a.label = net_arg(g, f, "labels", VEER_TYPE(n->label_dtype, batch), VEER_ROLE_LABELS, roles, &count);
    if (n->ctx) a.ctx = net_arg(g, f, "ctx", type, VEER_ROLE_EXTRA, roles, &count);
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_value_t out = net_f(&b, n, &a);
    if (n->variance) {
        veer_value_t v =
            veer_add(&b, veer_mul_c(&b, a.x, 0.02), veer_mul_c(&b, net_column(&b, a.label, n->rank), 0.03));
        out = veer_concat(&b, (veer_value_t[]){out, veer_add_c(&b, v, n->v0)}, 2, n->rank == 3 ? 2 : 1);
    }
    veer_builder_return(&b, &out, 1);
    require_ok(veer_builder_status(&b));
    return (veer_network_t){f, roles};
}

static inline double net_weight(int j, int k) { /* W_jk, and u_j = W_j0 */
    return 0.3 * sin(1.0 + 2.0 * j + 3.7 * k);
}

static inline veer_value_t net_sum_rows(veer_builder_t *b, veer_value_t x) { /* [N, SIZE] -> [N, 1] */
    return veer_reduce(b, VEER_OP_REDUCE_SUM, x, (int64_t[]){1}, 1, true);
}

static inline veer_value_t net_head(veer_builder_t *b, veer_head_t head, veer_value_t x, veer_value_t t,
                                    veer_value_t target) {
    float w[SIZE * CLASSES], u[SIZE], ramp[CLASSES];
    for (int j = 0; j < SIZE; j++) {
        u[j] = (float)net_weight(j, 0);
        for (int k = 0; k < CLASSES; k++) w[j * CLASSES + k] = (float)net_weight(j, k), ramp[k] = (float)(0.01 * k);
    }
    if (head == VEER_HEAD_SOFTMAX) {
        veer_value_t table = veer_const(b, VEER_TYPE(VEER_DTYPE_F32, SIZE, CLASSES), w),
                     slope = veer_const(b, VEER_TYPE(VEER_DTYPE_F32, 1, CLASSES), ramp);
        return veer_add(b, veer_matmul(b, x, table, false, false), veer_mul(b, t, slope));
    }
    if (head == VEER_HEAD_BERNOULLI) {
        veer_value_t linear = veer_mul(b, x, veer_const(b, VEER_TYPE(VEER_DTYPE_F32, 1, SIZE), u));
        veer_value_t f = net_sum_rows(b, veer_add(b, linear, veer_mul_c(b, veer_mul(b, x, x), 0.1)));
        return veer_add(b, f, veer_mul_c(b, t, 0.02));
    }
    veer_value_t d = veer_sub(b, veer_add_c(b, x, -0.1), veer_mul_c(b, net_column(b, target, 2), 0.2));
    veer_value_t energy = veer_mul_c(b, net_sum_rows(b, veer_mul(b, d, d)), -0.5);
    return veer_mul(b, energy, veer_add_c(b, veer_mul_c(b, t, 0.01), 1));
}

static inline veer_network_t net_classifier(veer_graph_t *g, const net_t *n, veer_head_t head, bool target,
                                            veer_role_t roles[8]) {
    veer_func_t f;
    int count = 0;
    veer_value_t y = VEER_NO_VALUE;
    require_ok(veer_graph_add_func(g, "classifier", &f));
    if (target) y = net_arg(g, f, "y", VEER_TYPE(n->label_dtype, SAMPLES), VEER_ROLE_TARGET, roles, &count);
    veer_value_t x = net_arg(g, f, "x_t", net_x_type(n->rank, SAMPLES), VEER_ROLE_X, roles, &count);
    veer_value_t t = net_time(g, f, n, SAMPLES, roles, &count);
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_value_t out = net_head(&b, head, veer_reshape(&b, x, VEER_DIMS(SAMPLES, SIZE)), net_column(&b, t, 2), y);
    veer_builder_return(&b, &out, 1);
    require_ok(veer_builder_status(&b));
    return (veer_network_t){f, roles};
}

/* ---- the same in double ---- */

static inline double host_f(double x, double t, double label, double previous, double ctx) {
    return NET_A * x + NET_B * x * x + NET_C * t + NET_L * label * x + NET_P * previous + NET_Q * ctx;
}
static inline double host_df(double x, double label) { /* by x */
    return NET_A + 2 * NET_B * x + NET_L * label;
}
static inline double host_v(double v0, double x, double label) {
    return v0 + 0.02 * x + 0.03 * label;
}

/* grad_x log p(target | x, t) of one sample. */
static inline void host_guide(veer_head_t head, const double x[SIZE], double t, double target, double out[SIZE]) {
    if (head == VEER_HEAD_SOFTMAX) {
        double p[CLASSES], sum = 0;
        for (int k = 0; k < CLASSES; k++) {
            p[k] = 0.01 * k * t;
            for (int j = 0; j < SIZE; j++) p[k] += net_weight(j, k) * x[j];
            sum += p[k] = exp(p[k]);
        }
        for (int j = 0; j < SIZE; j++) {
            out[j] = net_weight(j, (int)target);
            for (int k = 0; k < CLASSES; k++) out[j] -= p[k] / sum * net_weight(j, k);
        }
    } else if (head == VEER_HEAD_BERNOULLI) {
        double f = 0.02 * t;
        for (int j = 0; j < SIZE; j++) f += net_weight(j, 0) * x[j] + 0.1 * x[j] * x[j];
        for (int j = 0; j < SIZE; j++) out[j] = (target - 1 / (1 + exp(-f))) * (net_weight(j, 0) + 0.2 * x[j]);
    } else {
        for (int j = 0; j < SIZE; j++) out[j] = -(1 + 0.01 * t) * (x[j] - 0.2 * target - 0.1);
    }
}

#endif
