#include "api/widen.h"
#include "ir/builder.h"
#include "ir/half.h"

typedef struct widen_s {
    veer_graph_t *g;
    veer_builder_t b;
    veer_value_t *map; /* by value id of the original */
    uint32_t limit;
} widen_t;

static veer_type_t wide_type(veer_type_t type) {
    if (veer_dtype_is_float(type.dtype)) type.dtype = VEER_DTYPE_F64;
    return type;
}

double *veer_widen_data(const veer_type_t *type, const void *data, veer_allocator_t allocator) {
    int64_t count = veer_type_count(type);
    double *wide = veer_alloc_array(allocator, (size_t)count, sizeof *wide);
    for (int64_t i = 0; wide && i < count; i++) switch (type->dtype) {
        case VEER_DTYPE_F32: wide[i] = ((const float *)data)[i]; break;
        case VEER_DTYPE_F16: wide[i] = veer_half_to_double(((const uint16_t *)data)[i]); break;
        case VEER_DTYPE_BF16: wide[i] = veer_bfloat_to_double(((const uint16_t *)data)[i]); break;
        default: wide[i] = ((const double *)data)[i]; break;
        }
    return wide;
}

/* A constant stays where it is, unless it is of another floating-point type. */
static veer_value_t wide_const(widen_t *w, veer_node_t node) {
    veer_value_t value = veer_node_out(w->g, node, 0);
    veer_type_t type = *veer_value_type(w->g, value);
    const void *data = veer_value_const_data(w->g, value);
    if (!veer_dtype_is_float(type.dtype) || type.dtype == VEER_DTYPE_F64)
        return veer_const_view(&w->b, type, data, NULL);
    veer_allocator_t allocator = veer_graph_allocator(w->g);
    double *wide = veer_widen_data(&type, data, allocator);
    if (!wide) {
        veer_builder_fail(&w->b, veer_out_of_memory());
        return VEER_NO_VALUE;
    }
    veer_value_t result = veer_const(&w->b, wide_type(type), wide);
    veer_free(allocator, wide);
    return result;
}

/* A cast to a floating-point type becomes one to f64 (or nothing); all other ops follow their operands. */
static void widen_node(widen_t *w, veer_node_t node) {
    veer_op_t op = veer_node_op(w->g, node);
    int count = veer_node_in_count(w->g, node);
    if (op == VEER_OP_CONST) {
        w->map[veer_node_out(w->g, node, 0).i] = wide_const(w, node);
        return;
    }
    veer_value_t *in = veer_arena_array(veer_graph_arena(w->g), (size_t)count + 1, sizeof *in);
    if (!in) {
        veer_builder_fail(&w->b, veer_out_of_memory());
        return;
    }
    for (int i = 0; i < count; i++) in[i] = w->map[veer_node_in(w->g, node, i).i];
    if (op == VEER_OP_CAST) {
        veer_dtype_t to = (veer_dtype_t)veer_node_int(w->g, node, "to");
        w->map[veer_node_out(w->g, node, 0).i] = veer_cast(&w->b, in[0], veer_dtype_is_float(to) ? VEER_DTYPE_F64 : to);
        return;
    }
    veer_node_t copy = veer_build_like(&w->b, node, in, count);
    for (int i = 0; copy.i && i < veer_node_out_count(w->g, node); i++) {
        veer_value_t value = veer_node_out(w->g, copy, i);
        bool is_float =
            veer_dtype_is_float(veer_value_type(w->g, value)->dtype); /* noise is f32 whatever it is given */
        w->map[veer_node_out(w->g, node, i).i] = is_float ? veer_cast(&w->b, value, VEER_DTYPE_F64) : value;
    }
}

static veer_status_t widen_body(widen_t *w, veer_func_t func, veer_func_t wide) {
    veer_region_t from = veer_func_body(w->g, func), to = veer_func_body(w->g, wide);
    for (int i = 0; i < veer_region_arg_count(w->g, from); i++) {
        veer_value_t arg = veer_region_arg(w->g, from, i);
        VEER_TRY(veer_region_add_arg(w->g, to, wide_type(*veer_value_type(w->g, arg)), veer_value_name(w->g, arg),
                                     &w->map[arg.i]));
    }
    w->b = veer_builder_at_end(w->g, to);
    VEER_FOR_EACH_NODE(w->g, from, node) {
        if (veer_node_body(w->g, node).i || veer_node_op(w->g, node) == VEER_OP_CALL ||
            veer_node_op(w->g, node) == VEER_OP_GRAD)
            return veer_error(VEER_ERR_UNSUPPORTED, "op '%s' cannot be widened",
                              veer_op_name(veer_node_op(w->g, node)));
        widen_node(w, node);
        VEER_TRY(veer_builder_status(&w->b));
    }
    for (int i = 0; i < veer_region_result_count(w->g, from); i++)
        VEER_TRY(veer_func_set_result_name(w->g, wide, i, veer_func_result_name(w->g, func, i)));
    return veer_ok();
}

veer_status_t veer_widen(veer_graph_t *g, veer_func_t func, const char *name, veer_func_t *out_func) {
    widen_t w = {.g = g, .limit = veer_graph_value_limit(g)};
    veer_func_t wide;
    w.map = veer_alloc_array(veer_graph_allocator(g), w.limit, sizeof *w.map);
    if (!w.map) return veer_out_of_memory();
    veer_status_t status = veer_graph_add_func(g, name, &wide);
    if (!status) status = widen_body(&w, func, wide);
    veer_free(veer_graph_allocator(g), w.map);
    if (!status) *out_func = wide;
    return status;
}
