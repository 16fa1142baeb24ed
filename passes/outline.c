#include "passes/outline.h"

#include "ir/builder.h"

#include <stdlib.h>

typedef struct candidate_s {
    veer_node_t fused;
    int result_count;
    veer_value_t *results; /* the old values, in the order of the fused node's results */
} candidate_t;

static int by_id(const void *x, const void *y) {
    uint32_t a = ((const veer_node_t *)x)->i, b = ((const veer_node_t *)y)->i;
    return a < b ? -1 : a > b;
}

static bool contains(const veer_node_t *sorted, int count, veer_node_t n) {
    return n.i && bsearch(&n, sorted, (size_t)count, sizeof n, by_id);
}

static bool scalar_const(const veer_graph_t *g, veer_value_t v) {
    return veer_value_const_data(g, v) && veer_type_count(veer_value_type(g, v)) == 1;
}

static bool used_outside(const veer_graph_t *g, const veer_node_t *sorted, int count, veer_value_t v) {
    for (int i = 0; i < veer_value_use_count(g, v); i++)
        if (!contains(sorted, count, veer_value_use(g, v, i, NULL))) return true;
    return false;
}

typedef struct gather_s {
    veer_graph_t *g;
    const veer_node_t *nodes, *sorted;
    int count;
    veer_value_t *map; /* by value id: none = not met */
    veer_value_t *in;  /* operands */
    veer_value_t *constants;
    int in_count, constant_count;
} gather_t;

static void gather_operands(gather_t *s) {
    for (int k = 0; k < s->count; k++)
        for (int i = 0; i < veer_node_in_count(s->g, s->nodes[k]); i++) {
            veer_value_t v = veer_node_in(s->g, s->nodes[k], i);
            if (!v.i || s->map[v.i].i || contains(s->sorted, s->count, veer_value_def(s->g, v))) continue;
            s->map[v.i] = v;
            if (scalar_const(s->g, v))
                s->constants[s->constant_count++] = v;
            else
                s->in[s->in_count++] = v;
        }
}

static int most_operands(const veer_graph_t *g, const veer_node_t *nodes, int count) {
    int most = 1;
    for (int k = 0; k < count; k++) most += veer_node_in_count(g, nodes[k]);
    return most;
}

static int most_results(const veer_graph_t *g, const veer_node_t *nodes, int count) {
    int most = 1;
    for (int k = 0; k < count; k++) most += veer_node_out_count(g, nodes[k]);
    return most;
}

/* A fused node's body takes its place. */
static void copy_body(veer_builder_t *inner, gather_t *s, veer_node_t fused) {
    veer_region_t body = veer_node_body(s->g, fused);
    for (int i = 0; i < veer_node_in_count(s->g, fused); i++)
        s->map[veer_region_arg(s->g, body, i).i] = s->map[veer_node_in(s->g, fused, i).i];
    VEER_FOR_EACH_NODE(s->g, body, n)
    if (!veer_op_has(veer_node_op(s->g, n), VEER_TERMINATOR)) veer_build_copy(inner, n, s->map);
    for (int i = 0; i < veer_node_out_count(s->g, fused); i++)
        s->map[veer_node_out(s->g, fused, i).i] = s->map[veer_region_result(s->g, body, i).i];
}

static void fill_body(veer_builder_t *b, gather_t *s, candidate_t *out, veer_value_t *yields) {
    veer_value_t *map = s->map;
    veer_graph_t *g = s->g;
    veer_region_t body = veer_node_body(g, out->fused);
    veer_builder_t inner = veer_builder_at_end(g, body);
    for (int i = 0; i < s->in_count; i++) map[s->in[i].i] = veer_region_arg(g, body, i);
    for (int i = 0; i < s->constant_count; i++) veer_build_copy(&inner, veer_value_def(g, s->constants[i]), map);
    for (int k = 0; k < s->count; k++)
        if (veer_node_op(g, s->nodes[k]) == VEER_OP_FUSED)
            copy_body(&inner, s, s->nodes[k]);
        else
            veer_build_copy(&inner, s->nodes[k], map);
    for (int i = 0; i < out->result_count; i++) yields[i] = map[out->results[i].i];
    veer_builder_yield(&inner, yields, out->result_count);
    veer_builder_fail(b, veer_builder_status(&inner));
}

static void clear_results(gather_t *s, veer_node_t n) {
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) s->map[veer_node_out(s->g, n, i).i] = VEER_NO_VALUE;
}

static void clear_body(gather_t *s, veer_node_t fused) {
    veer_region_t body = veer_node_body(s->g, fused);
    for (int i = 0; i < veer_node_in_count(s->g, fused); i++) s->map[veer_region_arg(s->g, body, i).i] = VEER_NO_VALUE;
    VEER_FOR_EACH_NODE(s->g, body, n) clear_results(s, n);
}

/* Only these entries were touched. */
static void clear_map(gather_t *s) {
    for (int i = 0; i < s->in_count; i++) s->map[s->in[i].i] = VEER_NO_VALUE;
    for (int i = 0; i < s->constant_count; i++) s->map[s->constants[i].i] = VEER_NO_VALUE;
    for (int k = 0; k < s->count; k++) {
        clear_results(s, s->nodes[k]);
        if (veer_node_op(s->g, s->nodes[k]) == VEER_OP_FUSED) clear_body(s, s->nodes[k]);
    }
}

static veer_status_t reserve_map(veer_outline_t *o) {
    uint32_t need = veer_graph_value_limit(o->g);
    if (need <= o->map_count) return veer_ok();
    veer_allocator_t a = veer_graph_allocator(o->g);
    veer_value_t *map = veer_alloc_array(a, (size_t)need * 2, sizeof *map);
    if (!map) return veer_out_of_memory();
    veer_free(a, o->map);
    o->map = map;
    o->map_count = need * 2;
    return veer_ok();
}

static veer_status_t build(veer_graph_t *g, gather_t *s, const char *kind, veer_value_t *yields, candidate_t *out) {
    gather_operands(s);
    for (int k = 0; k < s->count; k++)
        for (int i = 0; i < veer_node_out_count(g, s->nodes[k]); i++)
            if (used_outside(g, s->sorted, s->count, veer_node_out(g, s->nodes[k], i)))
                out->results[out->result_count++] = veer_node_out(g, s->nodes[k], i);
    veer_builder_t b = veer_builder_before(g, s->nodes[s->count - 1]);
    b.origins_from = VEER_NO_NODE;
    out->fused = veer_builder_fused(&b, kind, s->in, s->in_count);
    if (veer_builder_ok(&b)) fill_body(&b, s, out, yields);
    veer_builder_fused_finish(&b, out->fused);
    for (int k = 0; k < s->count && veer_builder_ok(&b); k++)
        veer_builder_fail(&b, veer_node_add_origins(g, out->fused, s->nodes[k]));
    clear_map(s);
    return veer_builder_status(&b);
}

static veer_status_t outline(veer_outline_t *o, const veer_node_t *nodes, int count, const char *kind,
                             veer_arena_t *scratch, candidate_t *out) {
    veer_graph_t *g = o->g;
    VEER_TRY(reserve_map(o));
    int operands = most_operands(g, nodes, count), results = most_results(g, nodes, count);
    veer_node_t *sorted = veer_arena_copy(scratch, nodes, (size_t)count * sizeof *nodes);
    gather_t s = {.g = g,
                  .nodes = nodes,
                  .sorted = sorted,
                  .count = count,
                  .map = o->map,
                  .in = veer_arena_array(scratch, (size_t)operands, sizeof(veer_value_t)),
                  .constants = veer_arena_array(scratch, (size_t)operands, sizeof(veer_value_t))};
    veer_value_t *yields = veer_arena_array(scratch, (size_t)results, sizeof *yields);
    *out = (candidate_t){.results = veer_arena_array(scratch, (size_t)results, sizeof *out->results)};
    if (!sorted || !s.in || !s.constants || !yields || !out->results) return veer_out_of_memory();
    qsort(sorted, (size_t)count, sizeof *sorted, by_id);
    return build(g, &s, kind, yields, out);
}

static void commit(veer_graph_t *g, const candidate_t *o, const veer_node_t *nodes, int count) {
    for (int i = 0; i < o->result_count; i++) veer_value_replace(g, o->results[i], veer_node_out(g, o->fused, i));
    for (int k = count; k-- > 0;) veer_node_remove(g, nodes[k]);
}

void veer_outline_init(veer_outline_t *o, veer_graph_t *g) {
    *o = (veer_outline_t){.g = g};
}

void veer_outline_deinit(veer_outline_t *o) {
    veer_free(veer_graph_allocator(o->g), o->map);
    o->map = NULL;
}

veer_status_t veer_outline_if(veer_outline_t *o, const veer_node_t *nodes, int count, const char *kind,
                              veer_accepts_fn accepts, bool *out_accepted) {
    veer_graph_t *g = o->g;
    veer_arena_t scratch;
    veer_arena_init(&scratch, veer_graph_allocator(g));
    candidate_t c;
    char reason[256] = "";
    veer_status_t status = outline(o, nodes, count, kind, &scratch, &c);
    if (!status) {
        *out_accepted = false;
        status = accepts(g, c.fused, out_accepted, reason, sizeof reason);
        if (*out_accepted)
            commit(g, &c, nodes, count);
        else
            veer_node_remove(g, c.fused);
    }
    veer_arena_deinit(&scratch);
    return status;
}
