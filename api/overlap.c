#include "api/overlap.h"

static veer_status_t footprint(const veer_storage_t *s, veer_node_t n, veer_footprint_t *out) {
    int in = veer_node_in_count(s->g, n), outs = veer_node_out_count(s->g, n);
    veer_free(s->allocator, out->spans);
    *out = (veer_footprint_t){.spans = veer_alloc_array(s->allocator, (size_t)(in + outs + 1), sizeof *out->spans)};
    if (!out->spans) return veer_out_of_memory();
    for (int i = 0; i < in; i++) {
        veer_value_t v = veer_node_in(s->g, n, i);
        if (v.i) out->spans[out->count++] = veer_storage_span(s, v);
    }
    out->reads = out->count;
    for (int i = 0; i < outs; i++) out->spans[out->count++] = veer_storage_span(s, veer_node_out(s->g, n, i));
    return veer_ok();
}

static bool meet(const veer_span_t *a, const veer_span_t *b) {
    return a->kind == b->kind && a->begin < b->end && b->begin < a->end;
}

/* One of them writes what the other touches. */
static bool conflict(const veer_footprint_t *a, const veer_footprint_t *b) {
    for (int i = 0; i < a->count; i++)
        for (int k = 0; k < b->count; k++)
            if ((i >= a->reads || k >= b->reads) && meet(&a->spans[i], &b->spans[k])) return true;
    return false;
}

void veer_overlap_reset(veer_overlap_t *o) {
    o->count = 0;
}

veer_status_t veer_overlap_add(veer_overlap_t *o, const veer_storage_t *s, veer_node_t node, int *out_overlap) {
    veer_footprint_t *mine = &o->last[o->count % VEER_OVERLAP_MOST];
    int most = o->count < VEER_OVERLAP_MOST - 1 ? o->count : VEER_OVERLAP_MOST - 1, back = 0;
    VEER_TRY(footprint(s, node, mine));
    while (back < most && !conflict(mine, &o->last[(o->count - 1 - back) % VEER_OVERLAP_MOST])) back++;
    o->count++;
    *out_overlap = back;
    return veer_ok();
}

void veer_overlap_deinit(veer_overlap_t *o, veer_allocator_t allocator) {
    for (int i = 0; i < VEER_OVERLAP_MOST; i++) veer_free(allocator, o->last[i].spans);
    *o = (veer_overlap_t){0};
}
