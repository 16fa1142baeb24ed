/* conv and conv_transpose, a stretch of one output row at a time: sum over channels and kernel positions of weight
 * times the stretch of the input row that it meets. */
#include "backends/reference/block.h"
#include "backends/reference/spatial.h"

/* The stretch: outputs [at, at + count) of row (o0, o1), and where input and weight of one channel pair begin. */
typedef struct stretch_s {
    const veer_reference_call_t *c;
    const veer_spatial_t *s;
    int64_t o0, o1, at, count, x, w;
    double *sum;
} stretch_t;

/* The input position along axis i that output o and kernel position k meet, -1 where there is none. */
static int64_t met(const veer_spatial_t *s, bool transposed, int i, int64_t o, int64_t k) {
    const veer_window_t *w = &s->window;
    int64_t p = transposed ? o + w->pads_before[i] - k * w->dilations[i]
                           : o * w->strides[i] + k * w->dilations[i] - w->pads_before[i];
    if (transposed && (p < 0 || p % w->strides[i])) return -1;
    if (transposed) p /= w->strides[i];
    return p < s->in[i] ? p : -1;
}

/* Adds weight * input row for one kernel position of the last axis; `row` is the row's first element. */
static void add_row(const stretch_t *t, bool transposed, int64_t row, int64_t k, double weight) {
    /* outputs that meet something are `step` apart, the inputs they meet `stride` */
    int64_t s = t->s->window.strides[2], step = transposed ? s : 1, stride = transposed ? 1 : s;
    int64_t first = t->at, end = t->at + t->count;
    while (first < end && met(t->s, transposed, 2, first, k) < 0) first++;
    while (end > first && met(t->s, transposed, 2, end - 1, k) < 0) end--;
    if (first == end) return;
    double x[VEER_BLOCK], *sum = t->sum + (first - t->at);
    int64_t n = (end - 1 - first) / step + 1;
    veer_load_block(&t->c->in[0], row + met(t->s, transposed, 2, first, k), stride, n, x);
    for (int64_t i = 0; i < n; i++) sum[i * step] += weight * x[i];
}

/* One pair of channels. */
static void add_channel(const stretch_t *t, bool transposed) {
    const int64_t *kernel = t->s->window.kernel;
    for (int64_t k0 = 0; k0 < kernel[0]; k0++) {
        int64_t i0 = met(t->s, transposed, 0, t->o0, k0);
        for (int64_t k1 = 0; i0 >= 0 && k1 < kernel[1]; k1++) {
            int64_t i1 = met(t->s, transposed, 1, t->o1, k1);
            for (int64_t k2 = 0; i1 >= 0 && k2 < kernel[2]; k2++)
                add_row(t, transposed, t->x + (i0 * t->s->in[1] + i1) * t->s->in[2], k2,
                        veer_load_double(&t->c->in[1], t->w + (k0 * kernel[1] + k1) * kernel[2] + k2));
        }
    }
}

/* All input channels of output channel m's group, sample n. Weights are [M, C / groups, kernel], transposed ones
 * [C, M / groups, kernel]. */
static void add_channels(stretch_t *t, bool transposed, int64_t n, int64_t m) {
    const int64_t *x = t->c->in[0].type.dims, *w = t->c->in[1].type.dims, *kernel = t->s->window.kernel;
    int64_t groups = veer_call_int(t->c, "groups"), inputs = x[1] / groups,
            outputs = t->c->out[0].type.dims[1] / groups;
    for (int64_t i = 0; i < inputs; i++) {
        int64_t channel = m / outputs * inputs + i;
        t->x = (n * x[1] + channel) * t->s->in_size;
        t->w = (transposed ? channel * w[1] + m % outputs : m * w[1] + i) * kernel[0] * kernel[1] * kernel[2];
        add_channel(t, transposed);
    }
}

static veer_kernel_result_t convolve(veer_reference_call_t *c, bool transposed) {
    veer_spatial_t s = veer_spatial_of_call(c);
    int64_t samples = c->out[0].type.dims[0], channels = c->out[0].type.dims[1], rows = s.out[0] * s.out[1];
    double sum[VEER_BLOCK];
    for (int64_t row = 0; row < samples * channels * rows; row++) {
        int64_t m = row / rows % channels, n = row / rows / channels;
        stretch_t t = {.c = c, .s = &s, .o0 = row % rows / s.out[1], .o1 = row % s.out[1], .sum = sum};
        for (t.at = 0; t.at < s.out[2]; t.at += VEER_BLOCK) {
            t.count = veer_least(VEER_BLOCK, s.out[2] - t.at);
            for (int64_t i = 0; i < t.count; i++) sum[i] = veer_call_has(c, 2) ? veer_load_double(&c->in[2], m) : 0;
            add_channels(&t, transposed, n, m);
            veer_store_block(&c->out[0], row * s.out[2] + t.at, t.count, sum);
        }
    }
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_conv(veer_reference_call_t *c) {
    return convolve(c, false);
}
veer_kernel_result_t veer_reference_conv_transpose(veer_reference_call_t *c) {
    return convolve(c, true);
}
