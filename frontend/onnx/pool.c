/* Pooling. */
#include "frontend/onnx/window.h"

static bool read_window(veer_onnx_node_t *n, veer_onnx_window_t *w) {
    if (!veer_onnx_window_read(n, VEER_NO_VALUE, w)) return false;
    veer_type_t x = veer_onnx_in_type(n, 0);
    veer_onnx_window_same(w, x.dims + 2);
    return true;
}

void veer_onnx_max_pool(veer_onnx_node_t *n) {
    veer_onnx_window_t w;
    if (!read_window(n, &w)) return;
    if (veer_onnx_attr_int(n, "storage_order", 0) && veer_onnx_wants(n, 1)) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "indices in column-major order are not supported");
        return;
    }
    veer_node_t node =
        veer_build_node(n->b, VEER_OP_MAX_POOL, n->in, 1,
                        VEER_ATTRS(VEER_INTS("kernel", w.kernel, w.rank), VEER_INTS("strides", w.strides, w.rank),
                                   VEER_INTS("pads_before", w.before, w.rank), VEER_INTS("pads_after", w.after, w.rank),
                                   VEER_INTS("dilations", w.dilations, w.rank),
                                   VEER_INT("ceil_mode", veer_onnx_attr_int(n, "ceil_mode", 0) != 0)));
    if (!node.i) return;
    n->out[0] = veer_node_out(n->b->graph, node, 0);
    n->out[1] = veer_node_out(n->b->graph, node, 1);
}

static veer_value_t average(veer_onnx_node_t *n, veer_value_t x, const veer_onnx_window_t *w, bool ceil_mode,
                            bool count_pads) {
    return veer_build(n->b, VEER_OP_AVG_POOL, &x, 1,
                      VEER_ATTRS(VEER_INTS("kernel", w->kernel, w->rank), VEER_INTS("strides", w->strides, w->rank),
                                 VEER_INTS("pads_before", w->before, w->rank),
                                 VEER_INTS("pads_after", w->after, w->rank),
                                 VEER_INTS("dilations", w->dilations, w->rank), VEER_INT("ceil_mode", ceil_mode),
                                 VEER_INT("count_include_pad", count_pads)));
}

void veer_onnx_average_pool(veer_onnx_node_t *n) {
    veer_onnx_window_t w;
    if (!read_window(n, &w)) return;
    n->out[0] = average(n, n->in[0], &w, veer_onnx_attr_int(n, "ceil_mode", 0) != 0,
                        veer_onnx_attr_int(n, "count_include_pad", 0) != 0);
}

/* (sum |x|^p)^(1/p): the sum is the average times the size of the window. */
void veer_onnx_lp_pool(veer_onnx_node_t *n) {
    veer_onnx_window_t w;
    int64_t p = veer_onnx_attr_int(n, "p", 2), size = 1;
    veer_dtype_t dtype = veer_onnx_in_type(n, 0).dtype;
    if (!read_window(n, &w)) return;
    if (p < 1 || veer_onnx_attr_int(n, "ceil_mode", 0)) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "p = %lld and ceil_mode are not supported", (long long)p);
        return;
    }
    for (int i = 0; i < w.rank; i++) size *= w.kernel[i] < 1 << 20 ? w.kernel[i] : 1 << 20;
    veer_value_t power = veer_pow(n->b, veer_abs(n->b, n->in[0]), veer_const_scalar(n->b, dtype, (double)p));
    veer_value_t sum = veer_mul_c(n->b, average(n, power, &w, false, true), (double)size);
    n->out[0] = veer_pow(n->b, sum, veer_const_scalar(n->b, dtype, 1.0 / (double)p));
}

void veer_onnx_global_pool(veer_onnx_node_t *n) {
    int rank = veer_onnx_in_type(n, 0).rank, count = 0;
    int64_t axes[VEER_MAX_RANK];
    for (int i = 2; i < rank; i++) axes[count++] = i;
    n->out[0] = veer_reduce(n->b, (veer_op_t)n->op->param, n->in[0], axes, count, true);
}
