/* The survey: what lives when, as the function stands. Lifetimes are the lowering's; the profile is their sum by
 * position, and every use of a buffer by a node that computes something is listed, so that a change can tell what a
 * lifetime would be without one of them. Nodes that only look at a buffer in another shape use nothing: whoever reads
 * them does.
 */
#include "passes/recompute_internal.h"

void veer_recompute_forget(veer_recompute_t *s) {
    veer_residency_deinit(&s->fp, s->a);
    veer_free(s->a, s->live);
    veer_free(s->a, s->trial);
    veer_free(s->a, s->first_use);
    veer_free(s->a, s->uses);
    veer_free(s->a, s->pinned);
    veer_free(s->a, s->mark);
    veer_free(s->a, s->touched);
    s->live = s->trial = NULL, s->first_use = s->touched = NULL, s->uses = NULL, s->pinned = NULL, s->mark = NULL;
    s->touched_count = 0;
}

bool veer_recompute_is_view(const veer_recompute_t *s, veer_node_t n) {
    if (!veer_node_out_count(s->g, n) || veer_node_op(s->g, n) == VEER_OP_LOOP) return false;
    veer_value_t out = veer_node_out(s->g, n, 0);
    return !veer_value_eq(veer_recompute_root_of(s, out), out);
}

static int64_t operands_in(const veer_graph_t *g, veer_region_t region) {
    int64_t count = 0;
    VEER_FOR_EACH_NODE(g, region, n) {
        count += veer_node_in_count(g, n);
        if (veer_node_op(g, n) == VEER_OP_LOOP) count += operands_in(g, veer_node_body(g, n));
    }
    return count;
}

static void add_use(veer_recompute_t *s, veer_node_t n, veer_value_t v, uint32_t *count) {
    veer_value_t root = v.i ? veer_recompute_root_of(s, v) : v;
    if (!root.i || !veer_recompute_size_of(s, root)) return;
    s->uses[++*count] = (veer_recompute_use_t){n, veer_recompute_position(s, n), s->first_use[root.i]};
    s->first_use[root.i] = *count;
    s->pinned[root.i] |= veer_op_has(veer_node_op(s->g, n), VEER_TERMINATOR) ||
                         veer_node_region(s->g, n).i != veer_value_region(s->g, root).i;
}

static void list_uses(veer_recompute_t *s, veer_region_t region, uint32_t *count) {
    VEER_FOR_EACH_NODE(s->g, region, n) {
        for (int i = 0; !veer_recompute_is_view(s, n) && i < veer_node_in_count(s->g, n); i++)
            add_use(s, n, veer_node_in(s->g, n, i), count);
        if (veer_node_op(s->g, n) == VEER_OP_LOOP) list_uses(s, veer_node_body(s->g, n), count);
    }
}

void veer_recompute_add_span(int64_t *profile, int64_t from, int64_t to, int64_t bytes) {
    for (int64_t p = from; p <= to; p++) profile[p] += bytes;
}

veer_status_t veer_recompute_survey(veer_recompute_t *s) {
    veer_recompute_forget(s);
    VEER_TRY(s->target->residency(s->g, s->func, false, s->a, &s->fp));
    size_t values = s->fp.value_limit, positions = (size_t)s->fp.end + 1;
    size_t operands = (size_t)operands_in(s->g, veer_func_body(s->g, s->func));
    s->live = veer_alloc_array(s->a, positions, sizeof *s->live);
    s->trial = veer_alloc_array(s->a, positions, sizeof *s->trial);
    s->first_use = veer_alloc_array(s->a, values, sizeof *s->first_use);
    s->uses = veer_alloc_array(s->a, operands + 1, sizeof *s->uses);
    s->pinned = veer_alloc_array(s->a, values, sizeof *s->pinned);
    s->mark = veer_alloc_array(s->a, values, sizeof *s->mark);
    s->touched = veer_alloc_array(s->a, values, sizeof *s->touched);
    if (!s->live || !s->trial || !s->first_use || !s->uses || !s->pinned || !s->mark || !s->touched)
        return veer_out_of_memory();
    for (uint32_t i = 1; i < s->fp.value_limit; i++)
        if (s->fp.lives[i].size_bytes)
            veer_recompute_add_span(s->live, s->fp.lives[i].first, s->fp.lives[i].last,
                                    (int64_t)s->fp.lives[i].size_bytes);
    s->peak = s->at = 0;
    for (int64_t p = 1; p < s->fp.end; p++)
        if (s->live[p] > s->peak) s->peak = s->live[p], s->at = p;
    uint32_t count = 0;
    list_uses(s, veer_func_body(s->g, s->func), &count);
    return veer_ok();
}
