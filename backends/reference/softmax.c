/* softmax, log_softmax */
#include "backends/reference/kernel.h"

#include <math.h>

/* One line of n elements, `stride` apart, from element `first`. */
static void softmax_line(const veer_tensor_t *x, const veer_tensor_t *y, int64_t first, int64_t n, int64_t stride,
                         bool logarithm) {
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double value = veer_load_double(x, first + i * stride);
        if (isnan(value) || value > largest) largest = value; /* a NaN makes the whole line NaN */
    }
    for (int64_t i = 0; i < n; i++) sum += exp(veer_load_double(x, first + i * stride) - largest);
    for (int64_t i = 0; i < n; i++) {
        double shifted = veer_load_double(x, first + i * stride) - largest;
        veer_store_double(y, first + i * stride, logarithm ? shifted - log(sum) : exp(shifted) / sum);
    }
}

static veer_kernel_result_t along_axis(veer_reference_call_t *c, bool logarithm) {
    const veer_type_t *t = &c->in[0].type;
    int axis = (int)veer_call_int(c, "axis");
    int64_t before = veer_type_count_range(t, 0, axis), n = t->dims[axis];
    int64_t after = veer_type_count_range(t, axis + 1, t->rank);
    for (int64_t b = 0; b < before; b++)
        for (int64_t a = 0; a < after; a++) softmax_line(&c->in[0], &c->out[0], b * n * after + a, n, after, logarithm);
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_softmax(veer_reference_call_t *c) {
    return along_axis(c, false);
}
veer_kernel_result_t veer_reference_log_softmax(veer_reference_call_t *c) {
    return along_axis(c, true);
}
