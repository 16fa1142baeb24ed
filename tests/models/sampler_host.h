/* Guided sampling in plain loops over doubles, written from the equations of the spec by their numbers: what
 * models/sampler.c must agree with. The networks are those of sampler_nets.h. */
#ifndef VEER_TESTS_SAMPLER_HOST_H
#define VEER_TESTS_SAMPLER_HOST_H

#include "tests/models/sampler_nets.h"

enum { TRAIN_STEPS = 12, MOST_STEPS = 8 };

typedef struct setup_s {
    const char *name;
    veer_sampler_t s; /* kind, eta, prediction, variance, clip, grad_at, ... */
    net_t net, classifier;
    bool guided, target_input;
    double cfg_scale, classifier_scale, fraction;
    int64_t kept[MOST_STEPS]; /* ascending */
    int kept_count;
} setup_t;

/* What both sides are given. */
typedef struct given_s {
    double beta[TRAIN_STEPS];
    float x_T[SAMPLES * SIZE], noise[MOST_STEPS][SAMPLES * SIZE], ctx[SAMPLES * SIZE], embeddings[VOCAB * WIDTH];
    int64_t class_labels[SAMPLES], label[SAMPLES];
    float phi[SAMPLES];
} given_t;

/* Scalars of one step. */
typedef struct host_step_s {
    bool last;
    double index, next_index, abar, abar_p, alpha, beta, btilde;
    double btilde_low; /* the lower bound of a range: btilde_2 in the last step */
} host_step_t;

static inline host_step_t host_scalars(const setup_t *u, const given_t *in, int step) {
    double abar[TRAIN_STEPS], product = 1;
    for (int t = 0; t < TRAIN_STEPS; t++) abar[t] = product *= 1 - in->beta[t];
    int at = u->kept_count - 1 - step; /* position in the ascending list */
    host_step_t h = {.last = at == 0, .index = (double)u->kept[at], .next_index = (double)u->kept[at ? at - 1 : 0]};
    h.abar = abar[u->kept[at]];
    h.abar_p = at ? abar[u->kept[at - 1]] : 1;
    h.beta = 1 - h.abar / h.abar_p;
    h.alpha = 1 - h.beta;
    h.btilde = h.beta * (1 - h.abar_p) / (1 - h.abar);
    h.btilde_low = h.btilde;
    if (h.last) {
        /* btilde_2: of the step before the last one; a run of one step has only beta_1. */
        double abar_2 = u->kept_count > 1 ? abar[u->kept[1]] : 0;
        h.btilde_low = u->kept_count > 1 ? (1 - abar_2 / h.abar) * (1 - h.abar) / (1 - abar_2) : h.beta;
    }
    return h;
}

/* sigma^2 of the shift; that of the noise is the same but for xi = 0 in the last step. */
static inline double host_sigma2(const setup_t *u, const host_step_t *h, double v) {
    double low = log(h->btilde_low), high = log(h->beta), fraction = (v + 1) / 2;
    switch (u->s.variance) {
    case VEER_VARIANCE_FIXED_SMALL: return h->last ? 0 : h->btilde;
    case VEER_VARIANCE_FIXED_LARGE: return h->last ? h->btilde_low : h->beta;
    case VEER_VARIANCE_FIXED_RANGE: return exp(u->fraction * high + (1 - u->fraction) * low);
    case VEER_VARIANCE_LEARNED: return exp(v);
    case VEER_VARIANCE_LEARNED_SIGMA2: return v;
    case VEER_VARIANCE_LEARNED_RANGE: return exp(fraction * high + (1 - fraction) * low);
    }
    return NAN;
}

static inline double host_x0(const setup_t *u, const host_step_t *h, double x, double f) { /* (1), (2) */
    double signal = sqrt(h->abar), noise = sqrt(1 - h->abar);
    switch (u->s.prediction) {
    case VEER_PREDICTION_EPSILON: return (x - noise * f) / signal;
    case VEER_PREDICTION_SAMPLE: return f;
    case VEER_PREDICTION_V: return signal * x - noise * f;
    case VEER_PREDICTION_SCORE: return (x + noise * noise * f) / signal;
    }
    return NAN;
}

static inline double host_dx0(const setup_t *u, const host_step_t *h, double df) { /* d x0-hat / d x_t */
    double signal = sqrt(h->abar), noise = sqrt(1 - h->abar);
    switch (u->s.prediction) {
    case VEER_PREDICTION_EPSILON: return (1 - noise * df) / signal;
    case VEER_PREDICTION_SAMPLE: return df;
    case VEER_PREDICTION_V: return signal - noise * df;
    case VEER_PREDICTION_SCORE: return (1 + noise * noise * df) / signal;
    }
    return NAN;
}

static inline int64_t host_nearest(const float *embeddings, const double *x) {
    int64_t best = 0;
    double least = INFINITY;
    for (int64_t v = 0; v < VOCAB; v++) {
        double distance = 0;
        for (int e = 0; e < WIDTH; e++) distance += pow(x[e] - embeddings[v * WIDTH + e], 2);
        if (distance < least) least = distance, best = v;
    }
    return best;
}

static inline void host_clamp(const setup_t *u, const given_t *in, const host_step_t *h, double x0[SIZE]) { /* (17) */
    if (h->index >= (double)u->s.clamp_below) return;
    for (int row = 0; row < SIZE / WIDTH; row++) {
        int64_t id = host_nearest(in->embeddings, x0 + row * WIDTH);
        for (int e = 0; e < WIDTH; e++) x0[row * WIDTH + e] = in->embeddings[id * WIDTH + e];
    }
}

/* One sample, one step: x becomes x_{t-1}, previous the raw x0-hat. */
static inline void host_one(const setup_t *u, const given_t *in, int step, int n, double x[SIZE],
                            double previous[SIZE]) {
    host_step_t h = host_scalars(u, in, step);
    const veer_sampler_t *s = &u->s;
    double scale = s->timestep_scale, t = u->net.time_shape == TIME_NONE ? 0 : h.index * scale;
    double label = u->net.labels ? s->null_labels_only ? NULL_LABEL : (double)in->class_labels[n] : 0;
    double x0[SIZE], raw[SIZE], dx0[SIZE], sigma2[SIZE], g[SIZE] = {0};
    for (int j = 0; j < SIZE; j++) { /* (a)-(e) */
        double p = u->net.self_cond ? previous[j] : 0, ctx = u->net.ctx ? in->ctx[n * SIZE + j] : 0;
        double f = host_f(x[j], t, label, p, ctx), df = host_df(x[j], label);
        if (s->cfg) { /* (12) */
            f = u->cfg_scale * f + (1 - u->cfg_scale) * host_f(x[j], t, NULL_LABEL, p, ctx);
            df = u->cfg_scale * df + (1 - u->cfg_scale) * host_df(x[j], NULL_LABEL);
        }
        x0[j] = raw[j] = host_x0(u, &h, x[j], f);
        dx0[j] = host_dx0(u, &h, df);
        sigma2[j] = host_sigma2(u, &h, host_v(u->net.v0, x[j], label));
    }
    if (s->clamp_below > 0) host_clamp(u, in, &h, x0); /* (f) */
    for (int j = 0; j < SIZE && s->clip; j++)          /* (g) */
        x0[j] = fmin(fmax(x0[j], -s->clip_range), s->clip_range);
    double mean[SIZE];
    for (int j = 0; j < SIZE; j++) /* (4) */
        mean[j] = sqrt(h.alpha) * (1 - h.abar_p) / (1 - h.abar) * x[j] + sqrt(h.abar_p) * h.beta / (1 - h.abar) * x0[j];
    if (u->guided) { /* (j) */
        bool at_mu = s->grad_at == VEER_GRAD_AT_MU, at_x0 = s->grad_at == VEER_GRAD_AT_X0;
        double target = s->head == VEER_HEAD_BERNOULLI                    ? in->phi[n]
                        : s->head == VEER_HEAD_SOFTMAX || u->target_input ? (double)in->label[n]
                                                                          : 0;
        double when = u->classifier.time_shape == TIME_NONE ? 0 : at_x0 ? 0 : at_mu ? h.next_index : h.index;
        host_guide(s->head, at_mu ? mean : at_x0 ? raw : x, when * scale, target, g);
        for (int j = 0; j < SIZE && at_x0; j++) g[j] *= dx0[j];
    }
    const float *xi = in->noise[step] + n * SIZE;
    bool by_noise = s->kind == VEER_SAMPLER_DDIM || (u->guided && s->guidance == VEER_GUIDANCE_NOISE);
    for (int j = 0; j < SIZE; j++) { /* (k), (l) */
        double eps = (x[j] - sqrt(h.abar) * x0[j]) / sqrt(1 - h.abar) - u->classifier_scale * sqrt(1 - h.abar) * g[j];
        double noise = h.last && !s->final_noise ? 0 : sqrt(sigma2[j]) * xi[j], next;
        if (s->kind == VEER_SAMPLER_DDIM) { /* (11) */
            double clean = (x[j] - sqrt(1 - h.abar) * eps) / sqrt(h.abar);
            double sigma = s->eta * sqrt((1 - h.abar_p) / (1 - h.abar)) * sqrt(1 - h.abar / h.abar_p);
            next = sqrt(h.abar_p) * clean + sqrt(1 - h.abar_p - sigma * sigma) * eps + sigma * xi[j];
        } else if (by_noise) { /* (10), (5) */
            next = (x[j] - h.beta / sqrt(1 - h.abar) * eps) / sqrt(h.alpha) + noise;
        } else { /* (9) */
            next = mean[j] + u->classifier_scale * sigma2[j] * g[j] + noise;
        }
        x[j] = next;
        previous[j] = raw[j];
    }
}

/* trajectory: [steps][SAMPLES * SIZE] */
static inline void host_sample(const setup_t *u, const given_t *in, double trajectory[][SAMPLES * SIZE]) {
    for (int n = 0; n < SAMPLES; n++) {
        double x[SIZE], previous[SIZE] = {0};
        for (int j = 0; j < SIZE; j++) x[j] = in->x_T[n * SIZE + j];
        for (int step = 0; step < u->kept_count; step++) {
            host_one(u, in, step, n, x, previous);
            for (int j = 0; j < SIZE; j++) trajectory[step][n * SIZE + j] = x[j];
        }
    }
}

#endif
