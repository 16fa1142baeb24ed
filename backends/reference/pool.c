/* max_pool, avg_pool */
#include "backends/reference/spatial.h"

#include <math.h>

/* What a window sees of one channel: the largest element and its index, and the sum. */
typedef struct seen_s {
    double largest, sum;
    int64_t index;
} seen_t;

static void see(seen_t *seen, double x, int64_t index) {
    seen->sum += x;
    if (seen->index >= 0 && (isnan(seen->largest) || !(isnan(x) || x > seen->largest))) return;
    seen->largest = x;
    seen->index = index;
}

/* Channel c of image n; o: the output position. */
static seen_t look(const veer_spatial_t *s, const veer_tensor_t *x, int64_t n, int64_t c, const int64_t o[3]) {
    int64_t first = veer_plane(&s->x, n, c);
    const veer_window_t *w = &s->window;
    int64_t from[3], to[3], k[3];
    seen_t seen = {.index = -1};
    for (int i = 0; i < 3; i++) veer_window_range(w, i, o[i], 0, s->in[i], &from[i], &to[i]);
    for (k[0] = from[0]; k[0] < to[0]; k[0]++)
        for (k[1] = from[1]; k[1] < to[1]; k[1]++)
            for (k[2] = from[2]; k[2] < to[2]; k[2]++) {
                int64_t at = 0;
                for (int i = 0; i < 3; i++)
                    at = at * s->in[i] + o[i] * w->strides[i] + k[i] * w->dilations[i] - w->pads_before[i];
                at = first + at * s->x.position;
                see(&seen, veer_load_double(x, at), at);
            }
    return seen;
}

/* Result i in the order of channels first: its position, and what its window sees. `out_at`: the element it is. */
static seen_t look_for(const veer_spatial_t *s, const veer_tensor_t *x, int64_t i, int64_t o[3], int64_t *out_at) {
    int64_t p = i % s->out_size, c = i / s->out_size % s->y.channels, n = i / s->out_size / s->y.channels;
    *out_at = veer_plane(&s->y, n, c) + p * s->y.position;
    for (int axis = 3; axis-- > 0; p /= s->out[axis]) o[axis] = p % s->out[axis];
    return look(s, x, n, c, o);
}

veer_kernel_result_t veer_reference_max_pool(veer_reference_call_t *c) {
    veer_spatial_t s = veer_spatial_of_call(c);
    int64_t o[3], at;
    for (int64_t i = 0, n = veer_type_count(&c->out[0].type); i < n; i++) {
        seen_t seen = look_for(&s, &c->in[0], i, o, &at);
        veer_store_double(&c->out[0], at, seen.largest);
        veer_store_int(&c->out[1], at, seen.index);
    }
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_avg_pool(veer_reference_call_t *c) {
    veer_spatial_t s = veer_spatial_of_call(c);
    bool include_pad = veer_call_int(c, "count_include_pad") != 0;
    int64_t o[3], at;
    for (int64_t i = 0, n = veer_type_count(&c->out[0].type); i < n; i++) {
        seen_t seen = look_for(&s, &c->in[0], i, o, &at);
        int64_t count = 1;
        for (int axis = 0; axis < 3; axis++)
            count *= veer_window_count(&s.window, axis, o[axis], s.in[axis], include_pad);
        veer_store_double(&c->out[0], at, seen.sum / (double)count);
    }
    return VEER_KERNEL_OK;
}
