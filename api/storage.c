#include "api/storage.h"

#include "ir/verify.h"
#include "passes/memory_plan.h"

#include <string.h>

/* A buffer of its own, or a view into another value's. */
typedef struct veer_storage_item_s {
    veer_value_t root;   /* the value whose buffer this one lies in; itself for owners */
    int64_t first, last; /* of owners: positions of the lifetime */
    size_t size_bytes;   /* of owners in the arena; 0 elsewhere */
    unsigned touched;    /* of owners: bit s: in strand s, bit 0: outside of strands */
} item_t;

static void own(veer_storage_t *s, veer_value_t v) {
    size_t bytes = veer_type_bytes(veer_value_type(s->g, v));
    s->items[v.i] = (item_t){.root = v,
                             .first = s->position,
                             .last = s->position,
                             .size_bytes = bytes ? bytes : 1,
                             .touched = 1u << s->strand};
    s->bufs[v.i] = (veer_buf_t){.kind = VEER_BUF_ARENA};
}

static void view(veer_storage_t *s, veer_value_t v, veer_value_t of) {
    s->items[v.i].root = s->items[of.i].root;
    s->bufs[v.i] = s->bufs[of.i];
}

static void use(veer_storage_t *s, veer_value_t v) {
    if (!v.i) return;
    item_t *root = &s->items[s->items[v.i].root.i];
    if (root->last < s->position) root->last = s->position;
    root->touched |= 1u << s->strand;
}

/* ---- views ---- */

/* A slice that is one contiguous piece: step 1, whole behind the cut axis, single in front of it. */
static bool contiguous_slice(const veer_graph_t *g, veer_node_t n, int64_t *out_offset) {
    const veer_type_t *in = veer_value_type(g, veer_node_in(g, n, 0));
    const int64_t *starts = veer_node_ints(g, n, "starts", NULL), *sizes = veer_node_ints(g, n, "sizes", NULL);
    const int64_t *steps = veer_node_ints(g, n, "steps", NULL);
    int64_t strides[VEER_MAX_RANK], offset = 0;
    veer_type_strides(in, strides);
    bool cut = false;
    for (int i = in->rank; i-- > 0;) {
        if (steps[i] != 1 && sizes[i] > 1) return false;
        if (cut && sizes[i] != 1) return false;
        cut |= sizes[i] != in->dims[i];
        offset += starts[i] * strides[i];
    }
    *out_offset = offset * (int64_t)veer_dtype_size(in->dtype);
    return true;
}

/* The level of the loop that counts with `index`, -1 where it is not a loop's own counter. */
static int loop_level(const veer_storage_t *s, veer_value_t index) {
    for (int level = 0; level < s->loop_count; level++)
        if (veer_value_eq(veer_region_arg(s->g, s->loops[level], 0), index)) return level;
    return -1;
}

static bool make_view(veer_storage_t *s, veer_node_t n) {
    veer_op_t op = veer_node_op(s->g, n);
    veer_value_t in = veer_node_in(s->g, n, 0), out = op == VEER_OP_NONE ? VEER_NO_VALUE : veer_node_out(s->g, n, 0);
    int64_t offset = 0;
    if (op == VEER_OP_RESHAPE) {
        view(s, out, in);
        return true;
    }
    if (op == VEER_OP_SLICE && contiguous_slice(s->g, n, &offset)) {
        view(s, out, in);
        s->bufs[out.i].offset_bytes += offset;
        return true;
    }
    if (op != VEER_OP_STEP_SLICE || s->bufs[in.i].step_bytes) return false;
    int level = loop_level(s, veer_node_in(s->g, n, 1));
    if (level < 0) return false;
    view(s, out, in);
    s->bufs[out.i].step_bytes = (int64_t)veer_type_bytes(veer_value_type(s->g, out));
    s->bufs[out.i].level = level;
    return true;
}

/* ---- the walk in execution order ---- */

static veer_status_t walk(veer_storage_t *s, veer_region_t region);

static void extend_over_loop(veer_storage_t *s, int64_t begin) {
    /* What was there before the loop and is used inside must survive every iteration; what only starts it need not. */
    for (uint32_t i = 1; i < veer_graph_value_limit(s->g); i++) {
        item_t *item = &s->items[i];
        if (item->size_bytes && item->first <= begin && item->last > begin) item->last = s->position;
    }
}

static veer_status_t walk_loop(veer_storage_t *s, veer_node_t n) {
    const veer_graph_t *g = s->g;
    veer_region_t body = veer_node_body(g, n);
    int carried = veer_node_in_count(g, n), results = veer_node_out_count(g, n);
    if (s->loop_count == (int)(sizeof s->loops / sizeof *s->loops))
        return veer_error(VEER_ERR_UNSUPPORTED, "loops are nested more than %d deep", s->loop_count);
    int64_t begin = s->position;
    for (int i = 0; i <= carried; i++) own(s, veer_region_arg(g, body, i));
    for (int i = 0; i < results; i++) {
        if (i < carried)
            view(s, veer_node_out(g, n, i), veer_region_arg(g, body, i + 1));
        else
            own(s, veer_node_out(g, n, i));
    }
    s->loops[s->loop_count++] = body;
    VEER_TRY(walk(s, body));
    s->loop_count--;
    s->position++; /* the copies of the yielded values */
    for (int i = 0; i < veer_region_result_count(g, body); i++) use(s, veer_region_result(g, body, i));
    for (int i = 0; i <= carried; i++) use(s, veer_region_arg(g, body, i));
    for (int i = carried; i < results; i++) use(s, veer_node_out(g, n, i));
    extend_over_loop(s, begin);
    return veer_ok();
}

static void enter_strand(veer_storage_t *s, veer_node_t n) {
    s->strand = veer_node_strand(s->g, n);
    if (!s->strand) return;
    if (!s->strands_first) s->strands_first = s->position;
    s->strands_last = s->position;
}

static veer_status_t walk_node(veer_storage_t *s, veer_node_t n) {
    const veer_graph_t *g = s->g;
    veer_op_t op = veer_node_op(g, n);
    s->positions[n.i] = ++s->position;
    enter_strand(s, n);
    for (int i = 0; i < veer_node_in_count(g, n); i++) use(s, veer_node_in(g, n, i));
    if (veer_op_has(op, VEER_TERMINATOR)) return veer_ok();
    if (op == VEER_OP_LOOP) return walk_loop(s, n);
    if (op == VEER_OP_CALL || op == VEER_OP_GRAD)
        return veer_error(VEER_ERR_FAILED, "op '%s' reached the lowering; run passes inline and gradient first",
                          veer_op_name(op));
    if (op == VEER_OP_CONST) {
        veer_value_t v = veer_node_out(g, n, 0);
        s->items[v.i].root = v;
        s->bufs[v.i] = (veer_buf_t){.kind = VEER_BUF_CONST, .ptr = veer_value_const_data(g, v)};
        s->is_view[n.i] = true;
        return veer_ok();
    }
    s->is_view[n.i] = make_view(s, n);
    for (int i = 0; !s->is_view[n.i] && i < veer_node_out_count(g, n); i++) own(s, veer_node_out(g, n, i));
    return veer_ok();
}

static veer_status_t walk(veer_storage_t *s, veer_region_t region) {
    VEER_TRY(veer_verify_strands(s->g, region));
    VEER_FOR_EACH_NODE(s->g, region, n) VEER_TRY(walk_node(s, n));
    return veer_ok();
}

/* ---- results and placement ---- */

bool veer_storage_needs_copy(const veer_storage_t *s, veer_value_t result, int index) {
    veer_buf_t buf = s->bufs[result.i];
    return buf.kind != VEER_BUF_OUTPUT || buf.at != index || buf.offset_bytes;
}

veer_span_t veer_storage_span(const veer_storage_t *s, veer_value_t v) {
    veer_value_t root = s->items[v.i].root;
    veer_buf_t buf = s->bufs[root.i];
    if (buf.kind == VEER_BUF_ARENA)
        return (veer_span_t){buf.kind, buf.at, buf.at + (int64_t)s->items[root.i].size_bytes};
    if (buf.kind == VEER_BUF_OUTPUT) return (veer_span_t){buf.kind, buf.at, buf.at + 1};
    return (veer_span_t){.kind = VEER_BUF_NONE};
}

/* A result is computed in the caller's buffer where its owner is as large and no other result is there already. */
static void place_results(veer_storage_t *s, veer_region_t body) {
    for (int i = 0; i < veer_region_result_count(s->g, body); i++) {
        veer_value_t v = veer_region_result(s->g, body, i), root = s->items[v.i].root;
        bool whole =
            s->items[root.i].size_bytes == veer_type_bytes(veer_value_type(s->g, v)) && !s->bufs[v.i].offset_bytes;
        if (!whole || s->bufs[root.i].kind != VEER_BUF_ARENA) continue;
        s->bufs[root.i].kind = VEER_BUF_OUTPUT;
        s->bufs[root.i].at = i;
        s->items[root.i].size_bytes = 0;
    }
}

/* The strand that alone uses it, or 0. What is used in both, or in one and outside, lives as long as they do. */
static int strand_of(const veer_storage_t *s, item_t *item) {
    if (item->touched == 1u << 0) return 0;
    if (item->touched == 1u << 1) return 1;
    if (item->touched == 1u << 2) return 2;
    if (item->first > s->strands_first) item->first = s->strands_first;
    if (item->last < s->strands_last) item->last = s->strands_last;
    return 0;
}

/* Calls near each other run side by side where their memory allows it, so it is not given away at once. */
enum { RESPITE = 3 };

static veer_status_t place(veer_storage_t *s) {
    uint32_t limit = veer_graph_value_limit(s->g);
    veer_lifetime_t *lives = veer_alloc_array(s->allocator, limit, sizeof *lives);
    size_t *offsets = veer_alloc_array(s->allocator, limit, sizeof *offsets);
    uint32_t *ids = veer_alloc_array(s->allocator, limit, sizeof *ids);
    veer_status_t status = lives && offsets && ids ? veer_ok() : veer_out_of_memory();
    int count = 0;
    for (uint32_t i = 1; !status && i < limit; i++) {
        item_t *item = &s->items[i];
        if (!item->size_bytes) continue;
        int strand = strand_of(s, item);
        ids[count] = i;
        lives[count++] =
            (veer_lifetime_t){item->size_bytes, item->first, item->last + (s->compact ? 0 : RESPITE), strand};
    }
    if (!status) status = veer_memory_plan(lives, count, s->allocator, offsets, &s->arena_bytes);
    for (int i = 0; !status && i < count; i++) s->bufs[ids[i]].at = (int64_t)offsets[i];
    veer_free(s->allocator, lives);
    veer_free(s->allocator, offsets);
    veer_free(s->allocator, ids);
    return status;
}

/* Views copied their root's buffer before it was placed. */
static void place_views(veer_storage_t *s) {
    for (uint32_t i = 1; i < veer_graph_value_limit(s->g); i++) {
        veer_value_t root = s->items[i].root;
        if (!root.i || root.i == i) continue;
        s->bufs[i].kind = s->bufs[root.i].kind;
        s->bufs[i].at = s->bufs[root.i].at;
    }
}

/* All but places. */
static veer_status_t analyse(veer_storage_t *s, veer_func_t func) {
    const veer_graph_t *g = s->g;
    uint32_t values = veer_graph_value_limit(g), nodes = veer_graph_node_limit(g);
    s->bufs = veer_alloc_array(s->allocator, values, sizeof *s->bufs);
    s->items = veer_alloc_array(s->allocator, values, sizeof *s->items);
    s->is_view = veer_alloc_array(s->allocator, nodes, sizeof *s->is_view);
    s->positions = veer_alloc_array(s->allocator, nodes, sizeof *s->positions);
    if (!s->bufs || !s->items || !s->is_view || !s->positions) return veer_out_of_memory();
    veer_region_t body = veer_func_body(g, func);
    for (int i = 0; i < veer_region_arg_count(g, body); i++) {
        veer_value_t arg = veer_region_arg(g, body, i);
        s->items[arg.i].root = arg;
        s->bufs[arg.i] = (veer_buf_t){.kind = VEER_BUF_INPUT, .at = i};
    }
    VEER_TRY(walk(s, body));
    place_results(s, body);
    return veer_ok();
}

veer_status_t veer_storage_init(veer_storage_t *out, const veer_graph_t *g, veer_func_t func, bool compact,
                                veer_allocator_t allocator) {
    *out = (veer_storage_t){.g = g, .allocator = allocator, .compact = compact};
    VEER_TRY(analyse(out, func));
    VEER_TRY(place(out));
    place_views(out);
    return veer_ok();
}

void veer_storage_deinit(veer_storage_t *s) {
    veer_free(s->allocator, s->bufs);
    veer_free(s->allocator, s->items);
    veer_free(s->allocator, s->is_view);
    veer_free(s->allocator, s->positions);
    *s = (veer_storage_t){0};
}

static veer_status_t tell(veer_storage_t *s, veer_func_t func, bool with_places, veer_residency_t *out) {
    VEER_TRY(analyse(s, func));
    if (with_places) VEER_TRY(place(s));
    out->roots = veer_alloc_array(s->allocator, out->value_limit, sizeof *out->roots);
    out->lives = veer_alloc_array(s->allocator, out->value_limit, sizeof *out->lives);
    if (!out->roots || !out->lives) return veer_out_of_memory();
    for (uint32_t i = 1; i < out->value_limit; i++) {
        const item_t *item = &s->items[i];
        out->roots[i] = item->root;
        size_t rounded = (item->size_bytes + 63) & ~(size_t)63;
        out->lives[i] = (veer_lifetime_t){rounded, item->first, item->last, 0};
    }
    out->positions = s->positions;
    s->positions = NULL;
    out->end = s->position + 1;
    out->arena_bytes = s->arena_bytes;
    return veer_ok();
}

veer_status_t veer_storage_residency(const veer_graph_t *g, veer_func_t func, bool with_places,
                                     veer_allocator_t allocator, veer_residency_t *out) {
    veer_storage_t s = {.g = g, .allocator = allocator, .compact = true};
    *out = (veer_residency_t){.value_limit = veer_graph_value_limit(g), .node_limit = veer_graph_node_limit(g)};
    veer_status_t status = tell(&s, func, with_places, out);
    veer_storage_deinit(&s);
    return status;
}

veer_status_t veer_storage_arena(const veer_graph_t *g, veer_func_t func, bool compact, veer_allocator_t allocator,
                                 int64_t *out_bytes) {
    veer_storage_t s;
    veer_status_t status = veer_storage_init(&s, g, func, compact, allocator);
    *out_bytes = (int64_t)s.arena_bytes;
    veer_storage_deinit(&s);
    return status;
}
