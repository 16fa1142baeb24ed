/* conv and conv_transpose, a stretch of one output row at a time: sum over channels and kernel positions of weight
 * times the stretch of the input row that it meets. */
#include "backends/reference/block.h"
#include "backends/reference/spatial.h"

/* The stretch: outputs [at, at + count) of row (o0, o1), sample n, channel m. */
typedef struct stretch_s {
    const veer_reference_call_t *c;
    const veer_spatial_t *s;
    bool transposed;
    int64_t n, m, o0, o1, at, count;
    double *sum;
} stretch_t;

/* The input position along axis i that output o and kernel position k meet, -1 where there is none. */
static int64_t met(const stretch_t *t, int i, int64_t o, int64_t k) {
    const veer_window_t *w = &t->s->window;
    int64_t p = t->transposed ? o + w->pads_before[i] - k * w->dilations[i]
                              : o * w->strides[i] + k * w->dilations[i] - w->pads_before[i];
    if (t->transposed && (p < 0 || p % w->strides[i])) return -1;
    if (t->transposed) p /= w->strides[i];
    return p < t->s->in[i] ? p : -1;
}

/* Which outputs of the stretch meet something through one kernel position: `count` of them from `first`, `step` apart,
 * and inputs from `x` (within a channel), `stride` apart. */
typedef struct meeting_s {
    int64_t first, step, count, x, stride;
} meeting_t;

static meeting_t meeting_of(const stretch_t *t, const int64_t k[3]) {
    int64_t i0 = met(t, 0, t->o0, k[0]), i1 = met(t, 1, t->o1, k[1]), s = t->s->window.strides[2];
    meeting_t m = {.step = t->transposed ? s : 1, .stride = t->transposed ? 1 : s};
    if (i0 < 0 || i1 < 0) return m;
    int64_t first = t->at, end = t->at + t->count;
    while (first < end && met(t, 2, first, k[2]) < 0) first++;
    while (end > first && met(t, 2, end - 1, k[2]) < 0) end--;
    if (first == end) return m;
    m.first = first - t->at;
    m.count = (end - 1 - first) / m.step + 1;
    m.x = (i0 * t->s->in[1] + i1) * t->s->in[2] + met(t, 2, first, k[2]);
    return m;
}

/* One kernel position, number `at` of them, over the input channels of m's group. Weights are [M, C / groups, kernel],
 * transposed ones [C, M / groups, kernel]. */
static void add_position(const stretch_t *t, const meeting_t *meeting, int64_t at) {
    const int64_t *w = t->c->in[1].type.dims, *kernel = t->s->window.kernel;
    const veer_planes_t *x = &t->s->x;
    int64_t groups = veer_call_int(t->c, "groups"), inputs = x->channels / groups;
    int64_t outputs = t->s->y.channels / groups, kernel_size = kernel[0] * kernel[1] * kernel[2];
    double row[VEER_BLOCK], *sum = t->sum + meeting->first;
    for (int64_t i = 0; i < inputs; i++) {
        int64_t channel = t->m / outputs * inputs + i;
        int64_t pair = t->transposed ? channel * w[1] + t->m % outputs : t->m * w[1] + i;
        double weight = veer_load_double(&t->c->in[1], pair * kernel_size + at);
        veer_load_block(&t->c->in[0], veer_plane(x, t->n, channel) + meeting->x * x->position,
                        meeting->stride * x->position, meeting->count, row);
        for (int64_t o = 0; o < meeting->count; o++) sum[o * meeting->step] += weight * row[o];
    }
}

static void add_all(const stretch_t *t) {
    const int64_t *kernel = t->s->window.kernel;
    int64_t k[3], at = 0;
    for (k[0] = 0; k[0] < kernel[0]; k[0]++)
        for (k[1] = 0; k[1] < kernel[1]; k[1]++)
            for (k[2] = 0; k[2] < kernel[2]; k[2]++) {
                meeting_t meeting = meeting_of(t, k);
                if (meeting.count) add_position(t, &meeting, at);
                at++;
            }
}

static veer_kernel_result_t convolve(veer_reference_call_t *c, bool transposed) {
    veer_spatial_t s = veer_spatial_of_call(c);
    int64_t samples = s.y.images, channels = s.y.channels, rows = s.out[0] * s.out[1];
    double sum[VEER_BLOCK];
    stretch_t t = {.c = c, .s = &s, .transposed = transposed, .sum = sum};
    for (int64_t row = 0; row < samples * channels * rows; row++) {
        t.m = row / rows % channels, t.n = row / rows / channels;
        t.o0 = row % rows / s.out[1], t.o1 = row % s.out[1];
        for (t.at = 0; t.at < s.out[2]; t.at += VEER_BLOCK) {
            t.count = veer_min_i64(VEER_BLOCK, s.out[2] - t.at);
            for (int64_t i = 0; i < t.count; i++) sum[i] = veer_call_has(c, 2) ? veer_load_double(&c->in[2], t.m) : 0;
            add_all(&t);
            int64_t at = veer_plane(&s.y, t.n, t.m) + (row % rows * s.out[2] + t.at) * s.y.position;
            for (int64_t i = 0; i < t.count; i++) veer_store_double(&c->out[0], at + i * s.y.position, sum[i]);
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
