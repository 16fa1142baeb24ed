#include "ir/window.h"

#include "ir/channels.h"

#include <string.h>

/* Products of two such numbers, and sums of a few of those, fit in 64 bits. */
static const int64_t limit_31_bits = INT32_MAX;

static veer_status_t check_entry(const char *what, int i, int64_t value, int64_t least) {
    if (value >= least && value <= limit_31_bits) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "%s[%d] is %lld, expected %lld to %lld", what, i, (long long)value,
                      (long long)least, (long long)limit_31_bits);
}

static veer_status_t read_list(const veer_infer_t *c, const char *name, int spatial, int64_t least, int64_t *out) {
    int count;
    const int64_t *v = veer_infer_ints(c, name, &count);
    if (count != spatial)
        return veer_error(VEER_ERR_UNSUPPORTED, "%s has %d entries, expected %d, one per spatial axis", name, count,
                          spatial);
    for (int i = 0; i < count; i++) {
        VEER_TRY(check_entry(name, i, v[i], least));
        out[i] = v[i];
    }
    return veer_ok();
}

veer_status_t veer_window_infer(const veer_infer_t *c, const veer_type_t *weight, veer_window_t *out_window) {
    veer_window_t w = {.spatial = c->in[0].rank - 2};
    char text[VEER_TYPE_TEXT_BYTES];
    if (w.spatial < 1 || w.spatial > VEER_MAX_SPATIAL)
        return veer_error(VEER_ERR_UNSUPPORTED, "input %s has rank %d, expected 3 to %d",
                          veer_type_text(&c->in[0], text), c->in[0].rank, VEER_MAX_SPATIAL + 2);
    if (weight)
        for (int i = 0; i < w.spatial; i++) {
            VEER_TRY(check_entry("kernel", i, weight->dims[2 + i], 1));
            w.kernel[i] = weight->dims[2 + i];
        }
    else
        VEER_TRY(read_list(c, "kernel", w.spatial, 1, w.kernel));
    VEER_TRY(read_list(c, "strides", w.spatial, 1, w.strides));
    VEER_TRY(read_list(c, "pads_before", w.spatial, 0, w.pads_before));
    VEER_TRY(read_list(c, "pads_after", w.spatial, 0, w.pads_after));
    VEER_TRY(read_list(c, "dilations", w.spatial, 1, w.dilations));
    if (veer_op_attr_index(c->op, "output_padding") >= 0)
        VEER_TRY(read_list(c, "output_padding", w.spatial, 0, w.output_padding));
    *out_window = w;
    return veer_ok();
}

static void copy_list(veer_op_t op, const veer_attr_t *attrs, const char *name, int spatial, int64_t *out) {
    int i = veer_op_attr_index(op, name);
    if (i >= 0) memcpy(out, attrs[i].as.ints.v, (size_t)spatial * sizeof *out);
}

veer_window_t veer_window_of_attrs(veer_op_t op, const veer_attr_t *attrs, const veer_type_t *x,
                                   const veer_type_t *weight) {
    veer_window_t w = {.spatial = x->rank - 2};
    if (weight) memcpy(w.kernel, weight->dims + 2, (size_t)w.spatial * sizeof *w.kernel);
    copy_list(op, attrs, "kernel", w.spatial, w.kernel);
    copy_list(op, attrs, "strides", w.spatial, w.strides);
    copy_list(op, attrs, "pads_before", w.spatial, w.pads_before);
    copy_list(op, attrs, "pads_after", w.spatial, w.pads_after);
    copy_list(op, attrs, "dilations", w.spatial, w.dilations);
    copy_list(op, attrs, "output_padding", w.spatial, w.output_padding);
    return w;
}

veer_window_t veer_window_of_node(const veer_graph_t *g, veer_node_t node) {
    veer_op_t op = veer_node_op(g, node);
    veer_attr_t attrs[VEER_OP_MAX_ATTRS];
    for (int i = 0; i < VEER_OP_MAX_ATTRS && veer_op_def(op)->attrs[i].name; i++)
        attrs[i] = *veer_node_attr(g, node, i);
    bool has_weight = veer_op_attr_index(op, "kernel") < 0;
    return veer_window_of_attrs(op, attrs, veer_value_type(g, veer_node_in(g, node, 0)),
                                has_weight ? veer_value_type(g, veer_node_in(g, node, 1)) : NULL);
}

bool veer_window_is_tiling(const veer_window_t *w) {
    for (int i = 0; i < w->spatial; i++) {
        if (w->strides[i] != w->kernel[i] || w->pads_before[i] || w->pads_after[i]) return false;
        if (w->dilations[i] != 1 && w->kernel[i] != 1) return false;
    }
    return true;
}

bool veer_pool_is_of_tiles(const veer_graph_t *g, veer_node_t pool) {
    veer_window_t w = veer_window_of_node(g, pool);
    bool last = veer_node_channels_last(g, pool);
    veer_type_t x = veer_channels_first(veer_value_type(g, veer_node_in(g, pool, 0)), last);
    veer_type_t y = veer_channels_first(veer_value_type(g, veer_node_out(g, pool, 0)), last);
    for (int i = 0; i < w.spatial; i++)
        if (y.dims[2 + i] * w.kernel[i] > x.dims[2 + i]) return false;
    return veer_window_is_tiling(&w);
}

veer_status_t veer_window_positions(const veer_window_t *w, int i, int64_t in, bool ceil_mode, int64_t *out_positions) {
    int64_t padded = in + w->pads_before[i] + w->pads_after[i], extent = veer_window_extent(w, i), s = w->strides[i];
    if (padded < extent)
        return veer_error(VEER_ERR_UNSUPPORTED,
                          "spatial axis %d: the window spans %lld inputs, the padded input has only %lld", i,
                          (long long)extent, (long long)padded);
    int64_t n = (padded - extent) / s + 1;
    if (ceil_mode && (padded - extent) % s && n * s < in + w->pads_before[i]) n++;
    *out_positions = n;
    return veer_ok();
}

veer_status_t veer_window_positions_transposed(const veer_window_t *w, int i, int64_t in, int64_t *out_positions) {
    int64_t rest = veer_window_extent(w, i) + w->output_padding[i] - w->pads_before[i] - w->pads_after[i], n;
    if (in < 1) return veer_error(VEER_ERR_UNSUPPORTED, "spatial axis %d of the input is empty", i);
    if (__builtin_mul_overflow(in - 1, w->strides[i], &n) || __builtin_add_overflow(n, rest, &n))
        return veer_error(VEER_ERR_UNSUPPORTED, "spatial axis %d: the output size does not fit in 64 bits", i);
    if (n < 1)
        return veer_error(VEER_ERR_UNSUPPORTED, "spatial axis %d: the output size is %lld: the pads cut all of it away",
                          i, (long long)n);
    *out_positions = n;
    return veer_ok();
}

void veer_window_range(const veer_window_t *w, int i, int64_t o, int64_t least, int64_t limit, int64_t *out_from,
                       int64_t *out_to) {
    int64_t start = o * w->strides[i] - w->pads_before[i], d = w->dilations[i];
    int64_t from = start >= least ? 0 : (least - start + d - 1) / d; /* first k with start + k*d >= least */
    int64_t to = start >= limit ? 0 : (limit - start + d - 1) / d;   /* first k with start + k*d >= limit */
    *out_from = from;
    *out_to = to < w->kernel[i] ? to : w->kernel[i];
}

int64_t veer_window_count(const veer_window_t *w, int i, int64_t o, int64_t in, bool include_pad) {
    int64_t from, to;
    if (include_pad)
        veer_window_range(w, i, o, -w->pads_before[i], in + w->pads_after[i], &from, &to);
    else
        veer_window_range(w, i, o, 0, in, &from, &to);
    return to > from ? to - from : 0;
}
