/* noise, nearest */
#include "backends/reference/kernel.h"
#include "runtime/philox.h"

veer_kernel_result_t veer_reference_noise(veer_reference_call_t *c) {
    uint64_t seed = (uint64_t)veer_load_int(&c->in[0], 0);
    int64_t first = veer_load_int(&c->in[1], 0), step = veer_load_int(&c->in[2], 0);
    uint32_t stream = (uint32_t)veer_call_int(c, "stream");
    const veer_type_t *t = &c->out[0].type;
    int64_t count = veer_type_count_range(t, 1, t->rank);
    for (int64_t n = 0; n < t->dims[0]; n++)
        veer_noise_gaussian(seed, (uint32_t)(first + n), (uint32_t)step, stream, (size_t)count,
                            (float *)c->out[0].data + n * count);
    return VEER_KERNEL_OK;
}

static double squared_distance(const veer_tensor_t *x, int64_t a, const veer_tensor_t *table, int64_t b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double difference = veer_load_double(x, a + i) - veer_load_double(table, b + i);
        sum += difference * difference;
    }
    return sum;
}

/* x: [..., E], table: [V, E] */
veer_kernel_result_t veer_reference_nearest(veer_reference_call_t *c) {
    const veer_tensor_t *x = &c->in[0], *table = &c->in[1];
    int64_t rows = veer_type_count(&c->out[0].type), n = table->type.dims[1];
    for (int64_t r = 0; r < rows; r++) {
        int64_t id = 0;
        double least = squared_distance(x, r * n, table, 0, n);
        for (int64_t v = 1; v < table->type.dims[0]; v++) {
            double distance = squared_distance(x, r * n, table, v * n, n);
            if (distance < least) least = distance, id = v;
        }
        veer_store_int(&c->out[0], r, id);
    }
    return VEER_KERNEL_OK;
}
