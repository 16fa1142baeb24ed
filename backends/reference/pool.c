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

/* The channel begins at element `first` of x; o: the output position. */
static seen_t look(const veer_spatial_t *s, const veer_tensor_t *x, int64_t first, const int64_t o[3]) {
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
                see(&seen, veer_load_double(x, first + at), first + at);
            }
    return seen;
}

static void position(const veer_spatial_t *s, int64_t i, int64_t o[3]) {
    for (int axis = 3; axis-- > 0; i /= s->out[axis]) o[axis] = i % s->out[axis];
}

veer_kernel_result_t veer_reference_max_pool(veer_reference_call_t *c) {
    veer_spatial_t s = veer_spatial_of_call(c);
    int64_t o[3];
    for (int64_t i = 0, n = veer_type_count(&c->out[0].type); i < n; i++) {
        position(&s, i % s.out_size, o);
        seen_t seen = look(&s, &c->in[0], i / s.out_size * s.in_size, o);
        veer_store_double(&c->out[0], i, seen.largest);
        veer_store_int(&c->out[1], i, seen.index);
    }
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_avg_pool(veer_reference_call_t *c) {
    veer_spatial_t s = veer_spatial_of_call(c);
    bool include_pad = veer_call_int(c, "count_include_pad") != 0;
    int64_t o[3];
    for (int64_t i = 0, n = veer_type_count(&c->out[0].type); i < n; i++) {
        int64_t count = 1;
        position(&s, i % s.out_size, o);
        for (int axis = 0; axis < 3; axis++)
            count *= veer_window_count(&s.window, axis, o[axis], s.in[axis], include_pad);
        veer_store_double(&c->out[0], i, look(&s, &c->in[0], i / s.out_size * s.in_size, o).sum / (double)count);
    }
    return VEER_KERNEL_OK;
}
