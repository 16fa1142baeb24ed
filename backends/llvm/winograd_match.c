/* A node as a 3x3 convolution: conv or conv_transpose alone, or a fused node of one and elementwise ops behind it. */
#include "backends/llvm/winograd.h"
#include "ir/channels.h"
#include "ir/window.h"

#include <stdio.h>
#include <string.h>

static bool is_conv(veer_op_t op) {
    return op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE;
}

/* NULL: the window is one that the algorithm knows. */
static const char *window_reason(const veer_window_t *w) {
    if (w->spatial != 2) return "the convolution has other than two spatial dims";
    for (int i = 0; i < 2; i++) {
        if (w->kernel[i] != VEER_WINO_KERNEL) return "the kernel is not 3x3";
        if (w->strides[i] != 1) return "a stride is not 1";
        if (w->dilations[i] != 1) return "a dilation is not 1";
    }
    return NULL;
}

static const char *conv_reason(const veer_graph_t *g, veer_node_t core) {
    if (!veer_node_channels_last(g, core)) return "the channels are not last";
    if (veer_node_int(g, core, "groups") != 1) return "the convolution has groups";
    return NULL;
}

/* conv_transpose: x meets y at i = o - k + pad, so with the kernel turned, k' = 2 - k, at i = o + k' - (2 - pad). */
static void set_geometry(veer_wino_problem_t *p, const veer_type_t *x, const veer_type_t *y, const veer_window_t *w) {
    p->images = x->dims[0], p->h = x->dims[1], p->w = x->dims[2];
    p->y_h = y->dims[1], p->y_w = y->dims[2];
    p->pad_h = p->transposed ? VEER_WINO_KERNEL - 1 - w->pads_before[0] : w->pads_before[0];
    p->pad_w = p->transposed ? VEER_WINO_KERNEL - 1 - w->pads_before[1] : w->pads_before[1];
    p->mm.k = x->dims[3], p->mm.n = y->dims[3];
}

static void set_product(veer_wino_problem_t *p, const veer_mm_source_t *x, const veer_mm_source_t *w, int y_buf) {
    veer_mm_problem_t *mm = &p->mm;
    mm->leads = 1, mm->a_k = 1;
    mm->a_buf = x->buf, mm->b_buf = w->buf, mm->y_buf = y_buf;
    mm->b_data = w->data, mm->b_constant = 1;
}

bool veer_wino_match(const veer_graph_t *g, veer_node_t node, veer_wino_problem_t *out, char *reason,
                     size_t reason_bytes) {
    veer_node_t core;
    veer_mm_source_t x, w;
    memset(out, 0, sizeof *out);
    if (!veer_mm_find_core(g, node, is_conv, &core, reason, reason_bytes)) return false;
    veer_window_t window = veer_window_of_node(g, core);
    const char *why = window_reason(&window);
    if (!why) why = conv_reason(g, core);
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
