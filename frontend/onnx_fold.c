#include "frontend/onnx_fold.h"

/* MAX_WORK: a file of a few bytes may make large constants and ask for their convolution. */
enum { MAX_OPERANDS = 64, MAX_WORK = 1 << 26 };

/* Whether the op's loops may be longer than its operands and results: an upper bound of the others is their product. */
static bool too_much_work(const veer_graph_t *g, veer_node_t node) {
    veer_op_t op = veer_node_op(g, node);
    if (veer_op_has(op, VEER_ELEMENTWISE) || veer_op_has(op, VEER_MOVES) || veer_op_has(op, VEER_REDUCTION))
        return false;
    int64_t in = 0, out = 0, work;
    for (int i = 0; i < veer_node_in_count(g, node); i++)
        if (veer_node_in(g, node, i).i) in += veer_type_count(veer_value_type(g, veer_node_in(g, node, i)));
    for (int i = 0; i < veer_node_out_count(g, node); i++)
        out += veer_type_count(veer_value_type(g, veer_node_out(g, node, i)));
    return __builtin_mul_overflow(in, out, &work) || work > MAX_WORK;
}

static bool foldable(const veer_graph_t *g, veer_node_t node, size_t limit_bytes) {
    veer_op_t op = veer_node_op(g, node);
    int in_count = veer_node_in_count(g, node), out_count = veer_node_out_count(g, node);
    if (op == VEER_OP_CONST || op == VEER_OP_CALL || !veer_op_has(op, VEER_PURE) || veer_op_has(op, VEER_REGION))
        return false;
    if (in_count < 1 || in_count > MAX_OPERANDS || out_count < 1 || out_count > VEER_OP_MAX_RESULTS) return false;
    for (int i = 0; i < out_count; i++)
        if (veer_type_bytes(veer_value_type(g, veer_node_out(g, node, i))) > limit_bytes) return false;
    for (int i = 0; i < in_count; i++) {
        veer_value_t in = veer_node_in(g, node, i);
        if (in.i && !veer_value_const_data(g, in)) return false;
    }
    return !too_much_work(g, node);
}

/* Results in the graph's arena, where they stay. */
static veer_status_t evaluate(veer_graph_t *g, veer_node_t node, const veer_onnx_options_t *options,
                              veer_tensor_t *results) {
    veer_tensor_t in[MAX_OPERANDS] = {{{0}, NULL}};
    for (int i = 0; i < veer_node_in_count(g, node); i++) {
        veer_value_t value = veer_node_in(g, node, i);
        if (!value.i) continue;
        in[i] = (veer_tensor_t){*veer_value_type(g, value), (void *)(uintptr_t)veer_value_const_data(g, value)};
    }
    for (int i = 0; i < veer_node_out_count(g, node); i++) {
        results[i].type = *veer_value_type(g, veer_node_out(g, node, i));
        results[i].data = veer_arena_alloc(veer_graph_arena(g), veer_type_bytes(&results[i].type) + 1);
        if (!results[i].data) return veer_out_of_memory();
    }
    return options->eval(g, node, in, results);
}

static veer_status_t fold_node(veer_graph_t *g, veer_node_t node, const veer_onnx_options_t *options,
                               veer_value_t *values, int count) {
    veer_tensor_t results[VEER_OP_MAX_RESULTS];
    veer_status_t status = evaluate(g, node, options, results);
    if (status && veer_status_code(status) != VEER_ERR_RESOURCE) {
        veer_status_ignore(status); /* it will fail again when it runs, with a better message */
        return veer_ok();
    }
    VEER_TRY(status);
    veer_builder_t b = veer_builder_before(g, node);
    for (int i = 0; i < veer_node_out_count(g, node); i++) {
        veer_value_t folded = veer_const_view(&b, results[i].type, results[i].data, NULL);
        VEER_TRY(veer_builder_status(&b));
        veer_value_t old = veer_node_out(g, node, i);
        veer_value_replace(g, old, folded);
        for (int k = 0; k < count; k++)
            if (veer_value_eq(values[k], old)) values[k] = folded;
    }
    veer_node_remove(g, node);
    return veer_ok();
}

static veer_status_t count_results(const veer_graph_t *g, veer_node_t node, veer_onnx_file_t *file) {
    for (int i = 0; i < veer_node_out_count(g, node); i++)
        VEER_TRY(veer_onnx_file_count_constant(file, veer_type_bytes(veer_value_type(g, veer_node_out(g, node, i)))));
    return veer_ok();
}

veer_status_t veer_onnx_fold(veer_graph_t *g, veer_region_t region, veer_node_t mark,
                             const veer_onnx_options_t *options, veer_onnx_file_t *file, veer_value_t *values,
                             int count) {
    if (!options->eval) return veer_ok();
    size_t limit_bytes = options->fold_bytes ? options->fold_bytes : (size_t)64 << 10;
    veer_node_t node = mark.i ? veer_node_next(g, mark) : veer_region_first(g, region);
    while (node.i) {
        veer_node_t next = veer_node_next(g, node);
        if (foldable(g, node, limit_bytes)) {
            VEER_TRY(count_results(g, node, file));
            VEER_TRY(fold_node(g, node, options, values, count));
        }
        node = next;
    }
    return veer_ok();
}

static bool unused(const veer_graph_t *g, veer_node_t node) {
    if (!veer_op_has(veer_node_op(g, node), VEER_PURE)) return false;
    for (int i = 0; i < veer_node_out_count(g, node); i++)
        if (veer_value_use_count(g, veer_node_out(g, node, i))) return false;
    return true;
}

void veer_onnx_sweep(veer_graph_t *g, veer_region_t region) {
    for (veer_node_t node = veer_region_last(g, region); node.i;) {
        veer_node_t prev = veer_node_prev(g, node);
        if (unused(g, node)) veer_node_remove(g, node);
        node = prev;
    }
}
