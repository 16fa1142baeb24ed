/* Pooling. */
#include "frontend/onnx/window.h"

static bool read_window(veer_onnx_node_t *n, veer_onnx_window_t *w) {
    if (!veer_onnx_window_read(n, VEER_NO_VALUE, w)) return false;
    veer_type_t x = veer_onnx_in_type(n, 0);
    veer_onnx_window_same(w, x.dims + 2);
    return true;
}

/* Indices into planes whose elements lie with the first spatial dim next to each other. */
static veer_value_t column_major(veer_onnx_node_t *n, veer_value_t indices, const veer_type_t *x) {
    int64_t strides[VEER_MAX_RANK], plane = veer_type_count_range(x, 2, x->rank), stride = 1;
    veer_type_strides(x, strides);
    veer_value_t size = veer_const_i64(n->b, plane), at = VEER_NO_VALUE;
    at = veer_mul(n->b, veer_div(n->b, indices, size), size);
    for (int i = 2; i < x->rank; i++) {
        veer_value_t k = veer_div(n->b, indices, veer_const_i64(n->b, strides[i]));
        k = veer_build(n->b, VEER_OP_MOD, VEER_IN(k, veer_const_i64(n->b, x->dims[i])), NULL);
        at = veer_add(n->b, at, veer_mul(n->b, k, veer_const_i64(n->b, stride)));
        stride *= x->dims[i];
    }
    return at;
}

void veer_onnx_max_pool(veer_onnx_node_t *n) {
    veer_onnx_window_t w;
    if (!read_window(n, &w)) return;
    veer_type_t x = veer_onnx_in_type(n, 0);
    bool exact = !veer_dtype_is_float(x.dtype); /* i8 and u8, by the standard */
    veer_value_t in = exact ? veer_cast(n->b, n->in[0], VEER_DTYPE_F32) : n->in[0];
    veer_node_t node =
        veer_build_node(n->b, VEER_OP_MAX_POOL, &in, 1,
                        VEER_ATTRS(VEER_INTS("kernel", w.kernel, w.rank), VEER_INTS("strides", w.strides, w.rank),
                                   VEER_INTS("pads_before", w.before, w.rank), VEER_INTS("pads_after", w.after, w.rank),
                                   VEER_INTS("dilations", w.dilations, w.rank),
                                   VEER_INT("ceil_mode", veer_onnx_attr_int(n, "ceil_mode", 0) != 0)));
    if (!node.i) return;
    n->out[0] = veer_cast(n->b, veer_node_out(n->b->graph, node, 0), x.dtype);
    n->out[1] = veer_node_out(n->b->graph, node, 1);
    if (veer_onnx_attr_int(n, "storage_order", 0)) n->out[1] = column_major(n, n->out[1], &x);
}

/* The places of MaxPool's indices get the values, all others 0. Indices are into the smallest input that the pooling
 * can have had; a larger `output_shape` is filled up behind. */
void veer_onnx_max_unpool(veer_onnx_node_t *n) {
    veer_onnx_window_t w;
    veer_type_t x = veer_onnx_in_type(n, 0), y = x;
    int64_t before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0}, count = veer_type_count(&x);
    int shape_count;
    if (!veer_onnx_window_read(n, VEER_NO_VALUE, &w)) return;
    for (int i = 0; i < w.rank; i++)
        y.dims[i + 2] = (x.dims[i + 2] - 1) * w.strides[i] + w.kernel[i] - w.before[i] - w.after[i];
    const int64_t *shape = veer_onnx_in_ints(n, 2, "output_shape", &shape_count);
    for (int i = 0; shape && i < x.rank; i++) {
        if (shape_count != x.rank || shape[i] < y.dims[i]) {
            veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "output_shape does not hold the %lld entries of dim %d",
                           (long long)y.dims[i], i);
            return;
        }
        after[i] = shape[i] - y.dims[i];
    }
    for (int i = 0; i < x.rank; i++)
        if (y.dims[i] < 0) veer_onnx_fail(n, VEER_ERR_FILE, "the output would have %lld entries", (long long)y.dims[i]);
    veer_type_t indices = veer_onnx_in_type(n, 1);
    if (veer_onnx_ok(n) && !veer_type_same_shape(&indices, &x))
        veer_onnx_fail(n, VEER_ERR_FILE, "indices and values differ in shape");
    if (!veer_onnx_ok(n)) return;
    veer_value_t zeros = veer_zeros(n->b, VEER_TYPE(x.dtype, veer_type_count(&y)));
    veer_value_t filled = veer_build(
        n->b, VEER_OP_SCATTER_ADD,
        VEER_IN(zeros, veer_reshape(n->b, n->in[1], VEER_DIMS(count)), veer_reshape(n->b, n->in[0], VEER_DIMS(count))),
        VEER_ATTRS(VEER_INT("axis", 0)));
    n->out[0] = veer_pad_zero(n->b, veer_reshape_like(n->b, filled, &y), before, after);
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

/* The padding behind that ceil_mode amounts to: windows that start inside the input, or in the padding before it. */
static void pad_to_ceil(veer_onnx_window_t *w, const int64_t *space) {
    for (int i = 0; i < w->rank; i++) {
        int64_t extent = (w->kernel[i] - 1) * w->dilations[i] + 1;
        int64_t room = space[i] + w->before[i] + w->after[i] - extent;
        if (room < 0) continue;
        int64_t y = (room + w->strides[i] - 1) / w->strides[i] + 1;
        if ((y - 1) * w->strides[i] >= space[i] + w->before[i]) y--;
        w->after[i] = (y - 1) * w->strides[i] + extent - space[i] - w->before[i];
        if (w->after[i] < 0) w->after[i] = 0;
    }
}

/* (sum |x|^p)^(1/p): the sum is the average times the size of the window. */
void veer_onnx_lp_pool(veer_onnx_node_t *n) {
    veer_onnx_window_t w;
    int64_t p = veer_onnx_attr_int(n, "p", 2), size = 1;
    veer_dtype_t dtype = veer_onnx_in_type(n, 0).dtype;
    if (!read_window(n, &w)) return;
    if (p < 1) {
        veer_onnx_fail(n, VEER_ERR_FILE, "p is %lld, expected 1 or more", (long long)p);
        return;
    }
    veer_type_t x = veer_onnx_in_type(n, 0);
    if (veer_onnx_attr_int(n, "ceil_mode", 0)) pad_to_ceil(&w, x.dims + 2);
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

void veer_onnx_global_lp_pool(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t axes[VEER_MAX_RANK], p = veer_onnx_attr_int(n, "p", 2);
    int count = 0;
    if (p < 1) {
        veer_onnx_fail(n, VEER_ERR_FILE, "p is %lld, expected 1 or more", (long long)p);
        return;
    }
    for (int i = 2; i < x.rank; i++) axes[count++] = i;
    veer_value_t power = veer_pow(n->b, veer_abs(n->b, n->in[0]), veer_const_scalar(n->b, x.dtype, (double)p));
    veer_value_t sum = veer_reduce(n->b, VEER_OP_REDUCE_SUM, power, axes, count, true);
    n->out[0] = veer_pow(n->b, sum, veer_const_scalar(n->b, x.dtype, 1.0 / (double)p));
}
