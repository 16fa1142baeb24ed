#include "passes/match.h"

#include "ir/half.h"

#include <math.h>
#include <string.h>

/* ---- walking ---- */

static uint32_t count_nodes(const veer_graph_t *g, veer_region_t region) {
    uint32_t count = 0;
    VEER_FOR_EACH_NODE(g, region, node) {
        count++;
        if (veer_node_body(g, node).i) count += count_nodes(g, veer_node_body(g, node));
    }
    return count;
}

static uint32_t list_nodes(const veer_graph_t *g, veer_region_t region, veer_node_t *list) {
    uint32_t count = 0;
    VEER_FOR_EACH_NODE(g, region, node) {
        list[count++] = node;
        if (veer_node_body(g, node).i) count += list_nodes(g, veer_node_body(g, node), list + count);
    }
    return count;
}

veer_status_t veer_match_walk(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx, veer_match_visit_fn visit) {
    veer_region_t body = veer_func_body(g, func);
    uint32_t count = count_nodes(g, body);
    veer_node_t *list = veer_arena_array(&ctx->scratch, count + 1, sizeof *list);
    if (!list) return veer_out_of_memory();
    list_nodes(g, body, list);
    for (uint32_t i = 0; i < count; i++)
        if (veer_node_op(g, list[i]) != VEER_OP_NONE) VEER_TRY(visit(g, list[i], ctx));
    return veer_ok();
}

/* ---- constants ---- */

static double element(veer_dtype_t dtype, const void *data, int64_t i) {
    switch (dtype) {
    case VEER_DTYPE_F32: return ((const float *)data)[i];
    case VEER_DTYPE_F64: return ((const double *)data)[i];
    case VEER_DTYPE_F16: return veer_half_to_double(((const uint16_t *)data)[i]);
    case VEER_DTYPE_BF16: return veer_bfloat_to_double(((const uint16_t *)data)[i]);
    case VEER_DTYPE_I32: return ((const int32_t *)data)[i];
    case VEER_DTYPE_I64: return (double)((const int64_t *)data)[i];
    default: return NAN;
    }
}

static bool is_float(const veer_graph_t *g, veer_value_t value) {
    return veer_dtype_is_float(veer_value_type(g, value)->dtype);
}

/* Nodes whose result has the elements of their operand, perhaps several times or rounded, and no others. */
static bool keeps_elements(veer_op_t op) {
    return op == VEER_OP_RESHAPE || op == VEER_OP_TRANSPOSE || op == VEER_OP_BROADCAST || op == VEER_OP_CAST;
}

static veer_value_t through_moves(const veer_graph_t *g, veer_value_t value) {
    veer_node_t def = veer_value_def(g, value);
    while (def.i && keeps_elements(veer_node_op(g, def)) && is_float(g, veer_node_in(g, def, 0))) {
        value = veer_node_in(g, def, 0);
        def = veer_value_def(g, value);
    }
    return value;
}

bool veer_match_scalar(const veer_graph_t *g, veer_value_t value, double *out_scalar) {
    if (!value.i) return false;
    value = through_moves(g, value);
    const void *data = veer_value_const_data(g, value);
    const veer_type_t *type = veer_value_type(g, value);
    int64_t count = veer_type_count(type);
    if (!data || count == 0) return false;
    double first = element(type->dtype, data, 0);
    for (int64_t i = 1; i < count; i++)
        if (element(type->dtype, data, i) != first) return false; /* a NaN is no scalar either */
    *out_scalar = first;
    return first == first;
}

bool veer_match_near(veer_dtype_t dtype, double got, double want) {
    /* half the distance of neighbouring numbers around 1; a constant is made with two or three roundings */
    double unit = dtype == VEER_DTYPE_F64 ? 0x1p-53 : dtype == VEER_DTYPE_F16 ? 0x1p-11 : 0x1p-24;
    if (dtype == VEER_DTYPE_BF16) unit = 0x1p-8;
    return fabs(got - want) <= 4 * unit * fabs(want);
}

bool veer_match_constant(const veer_graph_t *g, veer_value_t value) {
    return veer_value_const_data(g, through_moves(g, value)) != NULL;
}

bool veer_match_parameter(const veer_graph_t *g, veer_value_t value) {
    if (veer_match_constant(g, value)) return true;
    value = through_moves(g, value);
    return !veer_value_def(g, value).i && !veer_region_parent(g, veer_value_region(g, value)).i;
}

/* ---- nodes ---- */

veer_node_t veer_match_def(const veer_graph_t *g, veer_value_t value, veer_op_t op) {
    veer_node_t def = value.i ? veer_value_def(g, value) : VEER_NO_NODE;
    return def.i && veer_node_op(g, def) == op ? def : VEER_NO_NODE;
}

bool veer_match_same_type(const veer_graph_t *g, veer_value_t a, veer_value_t b) {
    return veer_type_equal(veer_value_type(g, a), veer_value_type(g, b));
}

bool veer_match_binary_scalar(const veer_graph_t *g, veer_value_t value, veer_op_t op, veer_value_t *out_x,
                              double *out_c) {
    veer_node_t node = veer_match_def(g, value, op);
    if (!node.i) return false;
    for (int i = 1; i >= 0; i--) { /* the constant is mostly the second */
        veer_value_t x = veer_node_in(g, node, 1 - i);
        if (veer_match_scalar(g, veer_node_in(g, node, i), out_c) && veer_match_same_type(g, x, value))
            return *out_x = x, true;
        if (!veer_op_has(op, VEER_COMMUTATIVE)) break;
    }
    return false;
}

bool veer_match_scaled(const veer_graph_t *g, veer_value_t value, veer_value_t *out_x, double *out_factor) {
    double c;
    veer_node_t neg = veer_match_def(g, value, VEER_OP_NEG);
    if (!is_float(g, value)) return false; /* an integer division rounds */
    if (veer_match_binary_scalar(g, value, VEER_OP_MUL, out_x, &c)) return *out_factor = c, true;
    if (veer_match_binary_scalar(g, value, VEER_OP_DIV, out_x, &c) && c != 0) return *out_factor = 1 / c, true;
    if (!neg.i) return false;
    *out_x = veer_node_in(g, neg, 0);
    *out_factor = -1;
    return true;
}

bool veer_match_either(const veer_graph_t *g, veer_node_t node, veer_op_t op, veer_value_t *out_value,
                       veer_value_t *out_other) {
    for (int i = 0; i < 2; i++) {
        *out_value = veer_node_in(g, node, i);
        *out_other = veer_node_in(g, node, 1 - i);
        if (veer_match_def(g, *out_value, op).i) return true;
    }
    return false;
}

bool veer_match_transposed_last(const veer_graph_t *g, veer_value_t value, veer_value_t *out_x) {
    int rank;
    veer_node_t node = veer_match_def(g, value, VEER_OP_TRANSPOSE);
    const int64_t *perm = node.i ? veer_node_ints(g, node, "perm", &rank) : NULL;
    if (!perm || rank < 2) return false;
    for (int i = 0; i < rank; i++)
        if (perm[i] != (i < rank - 2 ? i : 2 * rank - 3 - i)) return false;
    *out_x = veer_node_in(g, node, 0);
    return true;
}

bool veer_match_reshaped_leading(const veer_graph_t *g, veer_value_t value, veer_value_t *out_x) {
    veer_node_t node = veer_match_def(g, value, VEER_OP_RESHAPE);
    const veer_type_t *y = veer_value_type(g, value);
    if (!node.i || y->rank < 2) return false;
    *out_x = veer_node_in(g, node, 0);
    const veer_type_t *x = veer_value_type(g, *out_x);
    return x->rank >= 2 && x->dims[x->rank - 1] == y->dims[y->rank - 1] && x->dims[x->rank - 2] == y->dims[y->rank - 2];
}

/* ---- a matched pattern ---- */

veer_match_t veer_match_begin(veer_graph_t *g, veer_node_t root) {
    return (veer_match_t){.graph = g, .root = root};
}

static bool contains(const veer_match_t *m, veer_node_t node) {
    if (veer_node_eq(node, m->root)) return true;
    for (int i = 0; i < m->count; i++)
        if (veer_node_eq(node, m->nodes[i])) return true;
    return false;
}

void veer_match_take(veer_match_t *m, veer_node_t node) {
    if (!node.i || contains(m, node)) return;
    if (m->count < VEER_MATCH_MAX_NODES)
        m->nodes[m->count++] = node;
    else
        m->overflow = true;
}

static bool is_cheap(const veer_graph_t *g, veer_node_t node) {
    veer_value_t x;
    double factor;
    veer_op_t op = veer_node_op(g, node);
    if (op == VEER_OP_CONST || veer_op_has(op, VEER_MOVES)) return true;
    return veer_node_out_count(g, node) == 1 && veer_match_scaled(g, veer_node_out(g, node, 0), &x, &factor);
}

static bool read_inside_only(const veer_match_t *m, veer_node_t node) {
    for (int i = 0; i < veer_node_out_count(m->graph, node); i++) {
        veer_value_t out = veer_node_out(m->graph, node, i);
        for (int k = 0; k < veer_value_use_count(m->graph, out); k++) {
            int operand;
            if (!contains(m, veer_value_use(m->graph, out, k, &operand))) return false;
        }
    }
    return true;
}

bool veer_match_closed(const veer_match_t *m) {
    for (int i = 0; i < m->count; i++)
        if (!is_cheap(m->graph, m->nodes[i]) && !read_inside_only(m, m->nodes[i])) return false;
    return !m->overflow;
}

static bool is_unused(const veer_graph_t *g, veer_node_t node) {
    for (int i = 0; i < veer_node_out_count(g, node); i++)
        if (veer_value_use_count(g, veer_node_out(g, node, i))) return false;
    return veer_op_has(veer_node_op(g, node), VEER_PURE) && !veer_node_body(g, node).i;
}

/* Removes a node of the pattern that has become unused; its origins go to `heir`. */
static veer_status_t retire(veer_graph_t *g, veer_node_t node, veer_node_t heir) {
    if (heir.i) VEER_TRY(veer_node_add_origins(g, heir, node));
    veer_node_remove(g, node);
    return veer_ok();
}

/* Constants of the pattern (an eps, a 0.5) that nothing else reads. */
static void drop_constants(veer_graph_t *g, const veer_value_t *in, int count) {
    for (int i = 0; i < count; i++) {
        veer_node_t def = veer_match_def(g, in[i], VEER_OP_CONST);
        if (def.i && is_unused(g, def)) veer_node_remove(g, def);
    }
}

static veer_status_t retire_with_constants(veer_graph_t *g, veer_node_t node, veer_node_t heir) {
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    int count = 0;
    for (int i = 0; i < veer_node_in_count(g, node) && count < VEER_OP_MAX_OPERANDS; i++)
        in[count++] = veer_node_in(g, node, i);
    VEER_TRY(retire(g, node, heir));
    drop_constants(g, in, count);
    return veer_ok();
}

/* One matched node dies with the nodes that read it, so this takes as many rounds as the pattern is deep. */
static veer_status_t sweep(veer_match_t *m, veer_node_t heir) {
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < m->count; i++) {
            veer_node_t node = m->nodes[i];
            if (veer_node_op(m->graph, node) == VEER_OP_NONE || !is_unused(m->graph, node)) continue;
            VEER_TRY(retire_with_constants(m->graph, node, heir));
            again = true;
        }
    }
    return veer_ok();
}

veer_status_t veer_match_replace(veer_match_t *m, veer_builder_t *b, veer_value_t by) {
    VEER_TRY(veer_builder_status(b));
    veer_graph_t *g = m->graph;
    veer_value_t old = veer_node_out(g, m->root, 0);
    veer_node_t heir = veer_value_def(g, by);
    if (!*veer_value_name(g, by)) VEER_TRY(veer_value_set_name(g, by, veer_value_name(g, old)));
    veer_value_replace(g, old, by);
    if (veer_graph_out_of_memory(g)) return veer_out_of_memory();
    VEER_TRY(retire_with_constants(g, m->root, heir));
    return sweep(m, heir);
}

/* ---- building ---- */

static veer_value_t reshape_const(veer_builder_t *b, veer_value_t x, int rank, const int64_t *dims) {
    const veer_graph_t *g = b->graph;
    const veer_attr_t *data = veer_node_attr(g, veer_value_def(g, x), veer_op_attr_index(VEER_OP_CONST, "value"));
    veer_type_t type = veer_type_make(veer_value_type(g, x)->dtype, rank, dims);
    const char *name = veer_value_name(g, x);
    veer_value_t y = veer_const_view(b, type, data->as.data.bytes, &data->as.data.source);
    if (y.i) veer_builder_fail(b, veer_value_set_name(b->graph, y, name));
    return y;
}

veer_value_t veer_match_reshape(veer_match_t *m, veer_builder_t *b, veer_value_t x, int rank, const int64_t *dims) {
    veer_type_t to = veer_type_make(VEER_DTYPE_NONE, rank, dims);
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    while (!veer_type_same_shape(veer_value_type(b->graph, x), &to)) {
        veer_node_t def = veer_match_def(b->graph, x, VEER_OP_RESHAPE);
        if (!def.i) break;
        veer_match_take(m, def);
        x = veer_node_in(b->graph, def, 0);
    }
    if (veer_value_const_data(b->graph, x) && !veer_type_same_shape(veer_value_type(b->graph, x), &to))
        return reshape_const(b, x, rank, dims);
    return veer_reshape(b, x, rank, dims);
}

veer_value_t veer_match_transpose_last(veer_match_t *m, veer_builder_t *b, veer_value_t x) {
    int rank;
    int64_t perm[VEER_MAX_RANK];
    veer_node_t def = veer_builder_ok(b) ? veer_match_def(b->graph, x, VEER_OP_TRANSPOSE) : VEER_NO_NODE;
    if (!def.i) return veer_transpose_last(b, x);
    veer_match_take(m, def);
    const int64_t *before = veer_node_ints(b->graph, def, "perm", &rank);
    for (int i = 0; i < rank; i++) perm[i] = before[i < rank - 2 ? i : 2 * rank - 3 - i];
    return veer_transpose(b, veer_node_in(b->graph, def, 0), perm);
}
