/* Lets products read and give transposed matrices instead of moving them.
 *
 *     %t = transpose %x {perm = [0, 2, 1]}                =>     %y = matmul %x, %w {trans_a = 1}
 *     %y = matmul %t, %w
 *
 *     %m = matmul %a, %b     %y = transpose %m {perm = [0, 2, 1]}     =>     %y = matmul %b, %a {trans_a = 1, trans_b =
 * 1}
 *
 * (a b)^T = b^T a^T; the sums are the same numbers in the same order. Only the last two dims may be exchanged. The
 * second rule declines where the product has other readers. Transposes that nobody reads any more are left to dce.
 */
#include "passes/pass.h"

#include "ir/builder.h"

static bool exchanges_last(const veer_graph_t *g, veer_node_t n) {
    if (!n.i || veer_node_op(g, n) != VEER_OP_TRANSPOSE) return false;
    int rank;
    const int64_t *perm = veer_node_ints(g, n, "perm", &rank);
    for (int i = 0; i < rank - 2; i++)
        if (perm[i] != i) return false;
    return rank >= 2 && perm[rank - 1] == rank - 2;
}

static veer_status_t rebuild(veer_graph_t *g, veer_node_t at, veer_value_t a, veer_value_t b, bool trans_a,
                             bool trans_b) {
    veer_builder_t builder = veer_builder_before(g, at);
    veer_value_t y = veer_matmul(&builder, a, b, trans_a, trans_b);
    VEER_TRY(veer_builder_status(&builder));
    veer_value_replace(g, veer_node_out(g, at, 0), y);
    veer_node_remove(g, at);
    return veer_ok();
}

static veer_status_t read_transposed(veer_graph_t *g, veer_node_t n, veer_pass_ctx_t *ctx) {
    veer_value_t in[2] = {veer_node_in(g, n, 0), veer_node_in(g, n, 1)};
    bool trans[2] = {veer_node_int(g, n, "trans_a"), veer_node_int(g, n, "trans_b")}, changed = false;
    for (int i = 0; i < 2; i++) {
        veer_node_t def = veer_value_def(g, in[i]);
        if (!exchanges_last(g, def)) continue;
        in[i] = veer_node_in(g, def, 0);
        trans[i] = !trans[i];
        changed = true;
    }
    if (!changed) return veer_ok();
    veer_pass_count(ctx, "operands");
    return rebuild(g, n, in[0], in[1], trans[0], trans[1]);
}

static veer_status_t give_transposed(veer_graph_t *g, veer_node_t n, veer_pass_ctx_t *ctx) {
    veer_value_t product = veer_node_in(g, n, 0);
    veer_node_t matmul = veer_value_def(g, product);
    if (!matmul.i || veer_node_op(g, matmul) != VEER_OP_MATMUL || veer_value_use_count(g, product) != 1)
        return veer_ok();
    if (veer_node_region(g, matmul).i != veer_node_region(g, n).i) return veer_ok();
    veer_pass_count(ctx, "results");
    return rebuild(g, n, veer_node_in(g, matmul, 1), veer_node_in(g, matmul, 0), !veer_node_int(g, matmul, "trans_b"),
                   !veer_node_int(g, matmul, "trans_a"));
}

static veer_status_t rewrite_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    VEER_FOR_EACH_NODE(g, region, n) {
        veer_op_t op = veer_node_op(g, n);
        if (op == VEER_OP_LOOP)
            VEER_TRY(rewrite_region(g, veer_node_body(g, n), ctx));
        else if (op == VEER_OP_MATMUL)
            VEER_TRY(read_transposed(g, n, ctx));
        else if (exchanges_last(g, n))
            VEER_TRY(give_transposed(g, n, ctx));
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return rewrite_region(g, veer_func_body(g, func), ctx);
}

const veer_pass_def_t veer_pass_transpose_matmul = {
    "transpose-matmul", "let products read and give transposed matrices", run, {{0}}};
