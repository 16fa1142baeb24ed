/* Attention: how it is cut, where things lie in scratch, kernels found again. */
#include "backends/llvm/attention.h"
#include "ir/base/integers.h"

#include <stdio.h>
#include <string.h>

/* ---- cutting ---- */

/* Queries of a block: of the forward kernel one to four vectors, so that there are items to share; of the gradient as
 * many as let scores and their gradients stay in the second cache, since sums over queries wait in memory between
 * blocks. */
static int64_t block_vectors(const veer_at_problem_t *p, int lanes, int64_t vectors) {
    enum { SCORES_BYTES = 3 << 18, MOST_LANES = 64, LEAST_LANES = 32, LEAST_ITEMS = 8 };
    int64_t each = (p->is_gradient ? 2 : 1) * p->s * lanes * 4, fits = SCORES_BYTES / each, most = vectors;
    if (!p->is_gradient && most > MOST_LANES / lanes) most = MOST_LANES / lanes;
    if (!p->is_gradient)
        while (most * lanes > LEAST_LANES && p->leads * veer_ceil_div(vectors, most) < LEAST_ITEMS)
            most = (most + 1) / 2;
    if (most > fits) most = fits;
    if (most < 2) most = 2;
    return most < vectors ? most : vectors;
}

/* Whether the matrix unit is faster, by estimated cycles of a lead. It multiplies 512 pairs of a cycle, three to six
 * for one of f32; the vector units 32, but have no operands to split and nothing to fill up. LEAD is what it takes
 * until products and softmax go side by side, and at the end; measured, as the gain that is asked for. */
static bool amx_pays(const veer_at_problem_t *p, int sum_parts) {
    static const double SPLIT = 13, SOFTMAX = 8, SLOPES = 16, LEAD = 5000, GRADIENT_LEAD = 17000, GAIN = 0.9;
    double products = p->is_gradient ? 2.5 : 1; /* of d and dv each; one of them goes through exp or cancels */
    int of_scores = veer_amx_pairs(VEER_AMX_PARTS, true), of_sums = veer_amx_pairs(sum_parts, false),
        of_dq = veer_amx_pairs(sum_parts, true);
    double pairs = p->is_gradient ? of_scores + of_sums + of_dq / 2.0 : (of_scores + of_sums) / 2.0;
    double l = (double)veer_ceil_div(p->l, VEER_AMX_SIDE) * VEER_AMX_SIDE;
    double s = (double)veer_amx_chunks(p->s) * VEER_AMX_CHUNK, scores = l * s / VEER_AMX_SIDE;
    double columns = (double)(veer_amx_chunks(p->d) + veer_amx_chunks(p->dv)) * VEER_AMX_CHUNK;
    double operands = (s * (p->is_gradient ? 1.5 : 1) + l * (p->is_gradient ? 2 : 0.5)) * columns / VEER_AMX_SIDE;
    double amx = scores * (pairs * columns / 32 + SOFTMAX + (p->is_gradient ? SLOPES : SPLIT / 2)) + operands * SPLIT +
                 (p->is_gradient ? GRADIENT_LEAD : LEAD);
    double vectors = (double)(p->l * p->s) * products * (double)(p->d + p->dv) / 32 + scores * SOFTMAX;
    return amx < vectors * GAIN;
}

static veer_at_cut_t cut_for_amx(const veer_at_problem_t *p, int amx) {
    enum { ENOUGH_ITEMS = 16, LEAST_PARTS = 2 };
    veer_at_cut_t cut = {.amx = amx, .parts = veer_ceil_div(p->l, veer_at_some(p)), .blocks = 1};
    cut.block = veer_at_some(p), cut.vectors = (int)(cut.block / VEER_AMX_SIDE);
    if (p->is_gradient) return cut;
    cut.blocks = veer_ceil_div(ENOUGH_ITEMS, p->leads);
    if (cut.blocks > cut.parts / LEAST_PARTS) cut.blocks = cut.parts / LEAST_PARTS;
    if (cut.blocks < 1) cut.blocks = 1;
    return cut;
}

veer_at_cut_t veer_at_cut(const veer_at_problem_t *p, const veer_tile_ctx_t *t, int amx) {
    veer_at_cut_t cut = {0};
    int lanes = t->lanes;
    if (amx && amx_pays(p, amx)) return cut_for_amx(p, amx);
    int64_t vectors = veer_ceil_div(p->l, lanes), most = block_vectors(p, lanes, vectors);
    cut.blocks = veer_ceil_div(vectors, most);
    cut.block = p->l / cut.blocks, cut.longer = p->l % cut.blocks;
    int64_t in_block = veer_ceil_div(cut.block + (cut.longer > 0), lanes);
    cut.vectors = veer_tile_panel(t, p->s, in_block);
    return cut;
}

/* ---- scratch ---- */

static int64_t reserve(veer_at_scratch_t *s, bool wanted, int64_t floats) {
    enum { LINE_FLOATS = 16 };
    int64_t at = s->floats;
    if (wanted) s->floats += veer_ceil_div(floats, LINE_FLOATS) * LINE_FLOATS;
    return at;
}

static veer_at_scratch_t scratch_for_amx(const veer_at_problem_t *p, int sums) {
    enum { SIDE = VEER_AMX_SIDE, SCORES = VEER_AMX_PARTS };
    veer_at_scratch_t s = {0};
    const int64_t w = veer_at_some(p);
    bool grad = p->is_gradient, dq = veer_at_has(p, VEER_AT_Y), dk = veer_at_has(p, VEER_AT_DK);
    bool dv_wanted = veer_at_has(p, VEER_AT_DV), slopes = grad && (dq || dk);
    int64_t d = veer_ceil_div(p->d, SIDE) * SIDE, dv = veer_ceil_div(p->dv, SIDE) * SIDE;
    int64_t keys = veer_amx_chunks(p->s) * VEER_AMX_CHUNK, y = grad ? d : dv;
    s.q_t = reserve(&s, true, d * w);
    s.p_t = reserve(&s, true, (grad ? keys : 2 * w) * w);
    s.inverse = reserve(&s, true, w);
    s.y_t = reserve(&s, true, y * w);
    s.dy_t = reserve(&s, slopes, dv * w);
    s.ds_t = reserve(&s, slopes, keys * w);
    s.dk = reserve(&s, dk, keys * d);
    s.dv = reserve(&s, dv_wanted, keys * dv);
    s.stage = reserve(&s, true, veer_max_i64(keys, w) * veer_max_i64(d, dv));
    s.keys = reserve(&s, true, veer_amx_packed_floats(p->s, p->d, SCORES));
    s.keys_t = reserve(&s, grad && dq, veer_amx_packed_floats(p->d, p->s, sums));
    s.v = reserve(&s, slopes, veer_amx_packed_floats(p->s, p->dv, SCORES));
    s.v_t = reserve(&s, !grad, veer_amx_packed_floats(p->dv, p->s, sums));
    s.q_b = reserve(&s, true, veer_amx_packed_floats(w, p->d, SCORES));
    s.dy_b = reserve(&s, slopes, veer_amx_packed_floats(w, p->dv, SCORES));
    s.q_r = reserve(&s, dk, veer_amx_packed_floats(p->d, w, sums));
    s.dy_r = reserve(&s, dv_wanted, veer_amx_packed_floats(p->dv, w, sums));
    int64_t some = veer_amx_packed_floats(w, w, sums); /* of some keys, in two buffers */
    s.weights_b = reserve(&s, !grad || dq, grad ? 2 * some : veer_amx_packed_floats(w, p->s, sums));
    s.weights_a = reserve(&s, grad && dv_wanted, 2 * some);
    s.slopes_a = reserve(&s, grad && dk, 2 * some);
    return s;
}

veer_at_scratch_t veer_at_scratch(const veer_at_problem_t *p, const veer_at_cut_t *cut, int lanes) {
    if (cut->amx) return scratch_for_amx(p, cut->amx);
    veer_at_scratch_t s = {0};
    int64_t d = veer_ceil_div(p->d, lanes) * lanes, dv = veer_ceil_div(p->dv, lanes) * lanes;
    int64_t w = veer_ceil_div(cut->block + (cut->longer > 0), lanes) * lanes;
    bool grad = p->is_gradient, many = cut->blocks > 1;
    bool dk = veer_at_has(p, VEER_AT_DK), dv_wanted = veer_at_has(p, VEER_AT_DV);
    s.q_t = reserve(&s, true, p->d * w);
    s.p_t = reserve(&s, true, p->s * w);
    s.inverse = reserve(&s, true, w);
    s.y_t = reserve(&s, true, (grad ? p->d : p->dv) * w);
    s.dy_t = reserve(&s, grad, p->dv * w);
    s.ds_t = reserve(&s, grad, p->s * w);
    s.q = reserve(&s, dk && p->m[VEER_AT_Q].column != 1, (cut->block + 1) * d);
    s.dy = reserve(&s, dv_wanted && p->m[VEER_AT_DY].column != 1, (cut->block + 1) * dv);
    s.dk = reserve(&s, dk && (many || p->m[VEER_AT_DK].column != 1), p->s * d);
    s.dv = reserve(&s, dv_wanted && (many || p->m[VEER_AT_DV].column != 1), p->s * dv);
    return s;
}

/* ---- the interface ---- */

bool veer_llvm_attention_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t size) {
    veer_at_problem_t p;
    if (size) reason[0] = 0;
    return veer_at_match(g, node, &p, reason, size);
}

static double matrix_bytes(const veer_at_problem_t *p, veer_at_role_t role, int64_t rows, int64_t columns) {
    return veer_at_has(p, role) ? 4 * (double)(p->leads * rows) * (double)columns : 0;
}

static void count_work(const veer_at_problem_t *p, veer_llvm_kernel_t *out) {
    double scores = (double)(p->leads * p->l) * (double)p->s, d = (double)p->d, dv = (double)p->dv;
    double each = 2 * d + 4; /* the scores, and their softmax */
    if (!p->is_gradient)
        each += 2 * dv;
    else {
        bool dq = veer_at_has(p, VEER_AT_Y), dk = veer_at_has(p, VEER_AT_DK);
        if (dq || dk) each += 2 * dv + 4;
        each += (dq ? 2 * d : 0) + (dk ? 2 * d : 0) + (veer_at_has(p, VEER_AT_DV) ? 2 * dv : 0);
    }
    out->flops = scores * each;
    out->bytes = matrix_bytes(p, VEER_AT_Q, p->l, p->d) + matrix_bytes(p, VEER_AT_K, p->s, p->d) +
                 matrix_bytes(p, VEER_AT_V, p->s, p->dv) + matrix_bytes(p, VEER_AT_DY, p->l, p->dv) +
                 matrix_bytes(p, VEER_AT_Y, p->l, p->is_gradient ? p->d : p->dv) +
                 matrix_bytes(p, VEER_AT_DK, p->s, p->d) + matrix_bytes(p, VEER_AT_DV, p->s, p->dv);
}

static veer_status_t write_kernel(veer_llvm_t *llvm, const veer_at_problem_t *p, veer_llvm_kernel_t *out) {
    veer_jit_kernel_t jit;
    VEER_TRY(veer_jit_begin(llvm, VEER_JIT_LIGHT, &jit));
    int lanes = veer_llvm_lanes(llvm);
    veer_at_t c = {.jit = &jit, .p = p};
    c.t = (veer_tile_ctx_t){&jit.emit, lanes, veer_jit_registers(llvm), LLVMVectorType(jit.emit.f32, (unsigned)lanes)};
    int parts = veer_jit_is_strict(llvm) ? VEER_AMX_PARTS : 2;
    c.cut = veer_at_cut(p, &c.t, veer_jit_has_amx(llvm) ? parts : 0);
    c.scratch = veer_at_scratch(p, &c.cut, lanes);
    if (c.cut.amx)
        veer_at_emit_amx(&c);
    else if (p->is_gradient)
        veer_at_emit_gradient(&c);
    else
        veer_at_emit(&c);
    veer_jit_end(llvm, &jit, NULL, p->is_gradient ? 4000 : 1500);
    *out = (veer_llvm_kernel_t){.id = jit.id, .scratch_bytes = (size_t)c.scratch.floats * sizeof(float)};
    out->work_items = p->is_gradient ? p->leads : p->leads * c.cut.blocks;
    count_work(p, out);
    return veer_ok();
}

veer_status_t veer_llvm_attention_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                       veer_llvm_kernel_t *out_kernel) {
    struct {
        char tag[8];
        veer_at_problem_t p;
    } key = {.tag = "attend"};
    char reason[160] = "";
    if (!veer_at_match(g, node, &key.p, reason, sizeof reason))
        return veer_error(VEER_ERR_UNSUPPORTED, "llvm: %s: %s", veer_op_name(veer_node_op(g, node)), reason);
    if (veer_jit_find(llvm, &key, sizeof key, out_kernel)) return veer_ok();
    VEER_TRY(write_kernel(llvm, &key.p, out_kernel));
    return veer_jit_remember(llvm, &key, sizeof key, out_kernel);
}
