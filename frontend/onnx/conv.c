/* Convolutions, and the window that they share with poolings. */
#include "frontend/onnx/window.h"

#include <string.h>

enum { MAX_WINDOW = 1 << 24 }; /* no entry of a window is larger: products stay far from overflow */

static void read_ints(veer_onnx_node_t *n, const char *name, int expected, int64_t low, int64_t *out) {
    int count;
    const int64_t *given = veer_onnx_attr_ints(n, name, &count);
    if (!given || !count) return;
    if (count != expected) {
        veer_onnx_fail(n, VEER_ERR_FILE, "%s has %d entries, expected %d", name, count, expected);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (given[i] < low || given[i] > MAX_WINDOW)
            veer_onnx_fail(n, VEER_ERR_FILE, "entry %d of %s is %lld", i, name, (long long)given[i]);
        else
            out[i] = given[i];
    }
}

bool veer_onnx_window_read(veer_onnx_node_t *n, veer_value_t weight, veer_onnx_window_t *w) {
    veer_type_t x = veer_onnx_in_type(n, 0), of_weight = veer_onnx_type(n, weight);
    *w = (veer_onnx_window_t){.rank = x.rank - 2};
    if (w->rank < 1 || w->rank > 3 || (weight.i && of_weight.rank != x.rank)) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "input has %d dims, expected 3 to 5%s", x.rank,
                       weight.i && of_weight.rank != x.rank ? ", and the weight as many" : "");
        return false;
    }
    int64_t pads[2 * VEER_MAX_RANK] = {0};
    for (int i = 0; i < w->rank; i++) {
        w->strides[i] = w->dilations[i] = 1;
        w->kernel[i] = weight.i ? of_weight.dims[i + 2] : 0;
    }
    read_ints(n, "kernel_shape", w->rank, 1, w->kernel);
    read_ints(n, "strides", w->rank, 1, w->strides);
    read_ints(n, "dilations", w->rank, 1, w->dilations);
    read_ints(n, "pads", 2 * w->rank, 0, pads);
    const char *automatic = veer_onnx_attr_string(n, "auto_pad", "NOTSET");
    w->same_upper = !strcmp(automatic, "SAME_UPPER");
    w->same = w->same_upper || !strcmp(automatic, "SAME_LOWER");
    for (int i = 0; i < w->rank; i++) {
        bool given = !strcmp(automatic, "NOTSET");
        w->before[i] = given ? pads[i] : 0;
        w->after[i] = given ? pads[i + w->rank] : 0;
        if (w->kernel[i] < 1) veer_onnx_fail(n, VEER_ERR_FILE, "kernel_shape is missing or not positive");
        if (weight.i && w->kernel[i] != of_weight.dims[i + 2])
            veer_onnx_fail(n, VEER_ERR_FILE, "kernel_shape and the weight differ in dim %d", i);
    }
    return veer_onnx_ok(n);
}

static int64_t extent(const veer_onnx_window_t *w, int i) {
    return (w->kernel[i] - 1) * w->dilations[i] + 1;
}

/* The odd one of an odd number goes behind (upper) or in front (lower). */
static void share(veer_onnx_window_t *w, int i, int64_t total, bool upper) {
    w->before[i] = upper ? total / 2 : total - total / 2;
    w->after[i] = total - w->before[i];
}

void veer_onnx_window_same(veer_onnx_window_t *w, const int64_t *space) {
    for (int i = 0; i < w->rank && w->same; i++) {
        int64_t outputs = (space[i] + w->strides[i] - 1) / w->strides[i];
        int64_t total = (outputs - 1) * w->strides[i] + extent(w, i) - space[i];
        share(w, i, total > 0 ? total : 0, w->same_upper);
    }
}

veer_value_t veer_onnx_conv_of(veer_onnx_node_t *n, veer_value_t input, veer_value_t weight, veer_value_t bias) {
    veer_onnx_window_t w;
    if (!veer_onnx_ok(n) || !veer_onnx_window_read(n, weight, &w)) return VEER_NO_VALUE;
    veer_type_t x = veer_onnx_in_type(n, 0);
    veer_onnx_window_same(&w, x.dims + 2);
    return veer_build(n->b, VEER_OP_CONV, VEER_IN(input, weight, bias),
                      VEER_ATTRS(VEER_INTS("strides", w.strides, w.rank), VEER_INTS("pads_before", w.before, w.rank),
                                 VEER_INTS("pads_after", w.after, w.rank), VEER_INTS("dilations", w.dilations, w.rank),
                                 VEER_INT("groups", veer_onnx_attr_int(n, "group", 1))));
}

void veer_onnx_conv(veer_onnx_node_t *n) {
    n->out[0] = veer_onnx_conv_of(n, n->in[0], n->in[1], veer_onnx_has_in(n, 2) ? n->in[2] : VEER_NO_VALUE);
}

/* Where the output's size is given (or is the input's times the stride), the pads follow from it; what would be
 * negative padding is output padding. */
static void pads_from_output(veer_onnx_node_t *n, veer_onnx_window_t *w, int64_t *output_padding) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t wanted[VEER_MAX_RANK], full[VEER_MAX_RANK] = {0};
    int count;
    const int64_t *given = veer_onnx_attr_ints(n, "output_shape", &count);
    if (!(given && count) && !w->same) return;
    for (int i = 0; i < w->rank; i++) {
        if (x.dims[i + 2] > VEER_MAX_TENSOR_BYTES / w->strides[i]) {
            veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "an output of %lld times %lld elements along dim %d",
                           (long long)x.dims[i + 2], (long long)w->strides[i], i + 2);
            return;
        }
        wanted[i] = x.dims[i + 2] * w->strides[i];
    }
    if (given && count == x.rank) /* early exporters gave batch and channels, too */
        read_ints(n, "output_shape", x.rank, 0, full), memcpy(wanted, full + 2, (size_t)w->rank * sizeof *wanted);
    else
        read_ints(n, "output_shape", w->rank, 0, wanted);
    for (int i = 0; i < w->rank; i++) {
        int64_t total = w->strides[i] * (x.dims[i + 2] - 1) + output_padding[i] + extent(w, i) - wanted[i];
        if (total < 0) output_padding[i] -= total, total = 0;
        share(w, i, total, w->same_upper);
    }
}

void veer_onnx_conv_transpose(veer_onnx_node_t *n) {
    veer_onnx_window_t w;
    int64_t output_padding[VEER_MAX_RANK] = {0};
    if (!veer_onnx_window_read(n, n->in[1], &w)) return;
    read_ints(n, "output_padding", w.rank, 0, output_padding);
    pads_from_output(n, &w, output_padding);
    veer_value_t bias = veer_onnx_has_in(n, 2) ? n->in[2] : VEER_NO_VALUE;
    n->out[0] =
        veer_build(n->b, VEER_OP_CONV_TRANSPOSE, VEER_IN(n->in[0], n->in[1], bias),
                   VEER_ATTRS(VEER_INTS("strides", w.strides, w.rank), VEER_INTS("pads_before", w.before, w.rank),
                              VEER_INTS("pads_after", w.after, w.rank), VEER_INTS("dilations", w.dilations, w.rank),
                              VEER_INTS("output_padding", output_padding, w.rank),
                              VEER_INT("groups", veer_onnx_attr_int(n, "group", 1))));
}
