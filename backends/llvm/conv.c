/* A node as a convolution: conv or conv_transpose alone, or a fused node of one and elementwise ops behind it. */
#include "backends/llvm/conv.h"
#include "ir/channels.h"
#include "ir/window.h"

#include <stdio.h>
#include <string.h>

static bool is_conv(veer_op_t op) {
    return op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE;
}

/* NULL: it is one of ours. */
static const char *decline(const veer_graph_t *g, veer_node_t core, const veer_window_t *w) {
    if (w->spatial != 2) return "the convolution has other than two spatial dims";
    if (veer_node_op(g, core) == VEER_OP_CONV_TRANSPOSE && (w->strides[0] != 1 || w->strides[1] != 1))
        return "a stride of the transposed convolution is not 1";
    if (!veer_node_channels_last(g, core)) return "the channels are not last";
    if (veer_node_int(g, core, "groups") != 1) return "the convolution has groups";
    return NULL;
}

/* conv_transpose: x meets y at i = o - d k + pad, so with the kernel turned, k' = K - 1 - k, at
 * i = o + d k' - (d (K - 1) - pad). */
static int64_t pad_before(const veer_conv_problem_t *p, const veer_window_t *w, int axis) {
    return p->transposed ? veer_window_extent(w, axis) - 1 - w->pads_before[axis] : w->pads_before[axis];
}

static void set_geometry(veer_conv_problem_t *p, const veer_type_t *x, const veer_type_t *y, const veer_window_t *w) {
    p->images = x->dims[0], p->h = x->dims[1], p->w = x->dims[2];
    p->y_h = y->dims[1], p->y_w = y->dims[2];
    p->kernel_h = w->kernel[0], p->kernel_w = w->kernel[1];
    p->stride_h = w->strides[0], p->stride_w = w->strides[1];
    p->dilation_h = w->dilations[0], p->dilation_w = w->dilations[1];
    p->pad_h = pad_before(p, w, 0), p->pad_w = pad_before(p, w, 1);
    p->mm.k = x->dims[3], p->mm.n = y->dims[3];
}

static void set_product(veer_conv_problem_t *p, const veer_mm_source_t *x, const veer_mm_source_t *w, int y_buf) {
    veer_mm_problem_t *mm = &p->mm;
    mm->leads = 1, mm->a_k = 1;
    mm->a_buf = x->buf, mm->b_buf = w->buf, mm->y_buf = y_buf;
    mm->b_data = w->data, mm->b_constant = 1;
}

bool veer_conv_match(const veer_graph_t *g, veer_node_t node, veer_conv_problem_t *out, char *reason,
                     size_t reason_bytes) {
    veer_node_t core;
    veer_mm_source_t x, w;
    memset(out, 0, sizeof *out);
    if (!veer_mm_find_core(g, node, is_conv, &core, reason, reason_bytes)) return false;
    veer_window_t window = veer_window_of_node(g, core);
    const char *why = decline(g, core, &window);
    if (why) {
        snprintf(reason, reason_bytes, "%s", why);
        return false;
    }
    if (!veer_mm_match_operand(g, node, core, 0, &x, reason, reason_bytes) ||
        !veer_mm_match_operand(g, node, core, 1, &w, reason, reason_bytes))
        return false;
    if (!w.data) {
        snprintf(reason, reason_bytes, "the weights are no constant");
        return false;
    }
    const veer_type_t *y = veer_value_type(g, veer_node_out(g, core, 0));
    out->transposed = veer_node_op(g, core) == VEER_OP_CONV_TRANSPOSE;
    set_geometry(out, &x.type, y, &window);
    set_product(out, &x, &w, veer_node_in_count(g, node));
    bool has_bias = veer_node_in_count(g, core) > 2 && veer_node_in(g, core, 2).i;
    return veer_mm_match_program(g, node, core, has_bias ? 2 : -1, out->images * out->y_h * out->y_w, &out->mm, reason,
                                 reason_bytes);
}

/* ---- measures ---- */

static double outputs(const veer_conv_problem_t *p) {
    return (double)(p->images * p->y_h * p->y_w) * (double)p->mm.n;
}

double veer_conv_operations(const veer_conv_problem_t *p) {
    double each = 2.0 * (double)(p->kernel_h * p->kernel_w * p->mm.k);
    for (int i = 0; i < p->mm.step_count; i++) each += p->mm.steps[i].kind == VEER_MM_OP;
    return each * outputs(p);
}

double veer_conv_bytes(const veer_conv_problem_t *p) {
    double y = outputs(p), sum = (double)(p->images * p->h * p->w) * (double)p->mm.k + y;
    for (int i = 0; i < p->mm.step_count; i++)
        if (p->mm.steps[i].kind == VEER_MM_LOAD && p->mm.steps[i].term_count && p->mm.steps[i].column_stride) sum += y;
    return 4 * sum;
}

double veer_conv_direct_cycles(const veer_conv_problem_t *p, int lanes) {
    static const double DONE = 4, BYTES = 6; /* cycles of a finished vector; bytes from memory in a cycle */
    double steps = (double)(p->kernel_h * p->kernel_w * p->mm.k);
    double vectors = (double)(p->images * p->y_h * p->y_w) * (double)((p->mm.n + lanes - 1) / lanes);
    double products = steps * vectors / 2, weights = 4 * steps * (double)p->mm.n / BYTES;
    return (products > weights ? products : weights) + vectors * DONE;
}
