#include "backends/reference/spatial.h"

#include "ir/channels.h"

static void lift(int64_t *v, int spatial, int64_t filler) {
    int missing = VEER_MAX_SPATIAL - spatial;
    for (int i = VEER_MAX_SPATIAL; i-- > 0;) v[i] = i >= missing ? v[i - missing] : filler;
}

/* `first`: the type with the channels behind the batch. */
static veer_planes_t planes_of(const veer_type_t *first, bool last) {
    int64_t channels = first->dims[1], size = veer_type_count_range(first, 2, first->rank);
    return (veer_planes_t){first->dims[0], channels, channels * size, last ? 1 : size, last ? channels : 1};
}

veer_spatial_t veer_spatial_of_call(const veer_reference_call_t *c) {
    bool last = veer_call_int(c, "channels_last") != 0;
    const veer_type_t x_first = veer_channels_first(&c->in[0].type, last), *x = &x_first;
    const veer_type_t y_first = veer_channels_first(&c->out[0].type, last), *y = &y_first;
    veer_spatial_t s = {.window = veer_window_of_attrs(c->op, c->attrs, x, c->in_count > 1 ? &c->in[1].type : NULL)};
    veer_window_t *w = &s.window;
    int n = w->spatial;
    for (int i = 0; i < n; i++) s.in[i] = x->dims[2 + i], s.out[i] = y->dims[2 + i];
    lift(s.in, n, 1), lift(s.out, n, 1);
    lift(w->kernel, n, 1), lift(w->strides, n, 1), lift(w->dilations, n, 1);
    lift(w->pads_before, n, 0), lift(w->pads_after, n, 0), lift(w->output_padding, n, 0);
    w->spatial = VEER_MAX_SPATIAL;
    s.in_size = s.in[0] * s.in[1] * s.in[2];
    s.out_size = s.out[0] * s.out[1] * s.out[2];
    s.x = planes_of(x, last), s.y = planes_of(y, last);
    return s;
}
