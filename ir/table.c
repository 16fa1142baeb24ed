#include "ir/table.h"

veer_value_t veer_const_table(veer_builder_t *b, veer_type_t type, const double *values) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_dtype_t dtype = type.dtype;
    if (dtype == VEER_DTYPE_F64) return veer_const(b, type, values);
    int64_t n = veer_type_count(&type);
    float *rounded = veer_alloc_array(veer_graph_allocator(b->graph), (size_t)n, sizeof *rounded);
    if (!rounded) {
        veer_builder_fail(b, veer_out_of_memory());
        return VEER_NO_VALUE;
    }
    for (int64_t i = 0; i < n; i++) rounded[i] = (float)values[i];
    type.dtype = VEER_DTYPE_F32;
    veer_value_t table = veer_const(b, type, rounded);
    veer_free(veer_graph_allocator(b->graph), rounded);
    return veer_cast(b, table, dtype); /* 16-bit floats: by way of f32 */
}
