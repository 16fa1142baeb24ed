/* Nodes to kernels: region, nests, schedules, IR. A kernel is a list of parts, each a nest with work items of its own.
 */
#include "backends/llvm/jit.h"
#include "backends/llvm/lower.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PARTS = 48 };

typedef struct parts_s {
    veer_fx_region_t region;
    veer_fx_nest_t *nests[MAX_PARTS];
    veer_fx_schedule_t *schedules[MAX_PARTS];
    int count;
    int native_lanes;
    int64_t items, scratch_bytes;
    double weight;
} parts_t;

static bool add_box(parts_t *p, int *results, int count, const veer_fx_box_t *box, bool may_cut);

/* Two nests instead of one: [start, at) and [at, end) of a dimension. Both do the same results. */
static bool add_halves(parts_t *p, int *results, int count, const veer_fx_box_t *box, int axis, int64_t at) {
    int second[VEER_FX_MAX_STORES];
    memcpy(second, results, (size_t)count * sizeof *second);
    veer_fx_box_t low = *box, high = *box;
    low.size[axis] = at - box->start[axis];
    high.start[axis] = at;
    high.size[axis] = box->size[axis] - low.size[axis];
    bool may_cut = p->count < MAX_PARTS / 2;
    return add_box(p, results, count, &low, may_cut) && add_box(p, second, count, &high, may_cut);
}

static bool add_box(parts_t *p, int *results, int count, const veer_fx_box_t *box, bool may_cut) {
    if (p->count == MAX_PARTS)
        return veer_fx_decline(&p->region, "more than %d results of different shapes", MAX_PARTS);
    veer_fx_nest_t *nest = veer_arena_alloc(p->region.arena, sizeof *nest);
    veer_fx_schedule_t *schedule = veer_arena_alloc(p->region.arena, sizeof *schedule);
    if (!nest || !schedule) return p->region.out_of_memory = true, false;
    if (!veer_fx_nest_init(nest, &p->region, results, count, box, may_cut)) return false;
    if (nest->cut_axis >= 0 && nest->space_count == 0)
        return add_halves(p, results, count, box, nest->cut_axis, nest->cut_at);
    if (!veer_fx_schedule_init(schedule, nest, p->native_lanes)) return false;
    p->nests[p->count] = nest;
    p->schedules[p->count++] = schedule;
    p->items += schedule->items;
    p->weight += 20 + schedule->weight;
    if (schedule->scratch_bytes > p->scratch_bytes) p->scratch_bytes = schedule->scratch_bytes;
    return true;
}

static int64_t result_count(const parts_t *p, int i) {
    return veer_type_count(&p->region.exprs[p->region.roots[i]].type);
}

/* The largest result that is still to do goes first; others of its nest come along. Empty ones need nothing. */
static bool make_parts(parts_t *p) {
    int todo[VEER_FX_MAX_STORES], left = 0;
    if (p->region.root_count > VEER_FX_MAX_STORES)
        return veer_fx_decline(&p->region, "%d results; at most %d", p->region.root_count, VEER_FX_MAX_STORES);
    for (int i = 0; i < p->region.root_count; i++)
        if (result_count(p, i)) todo[left++] = i;
    while (left) {
        int first = 0;
        for (int i = 1; i < left; i++)
            if (result_count(p, todo[i]) > result_count(p, todo[first])) first = i;
        int largest = todo[first];
        todo[first] = todo[0], todo[0] = largest;
        const veer_type_t *t = &p->region.exprs[p->region.roots[largest]].type;
        veer_fx_box_t box = {0};
        memcpy(box.size, t->dims, sizeof box.size);
        if (!add_box(p, todo, left, &box, true)) return false;
        int kept = 0;
        for (int i = 0; i < left; i++)
            if (todo[i] >= 0) todo[kept++] = todo[i];
        left = kept;
    }
    return true;
}

static bool plan_node(parts_t *p, veer_arena_t *arena, const veer_graph_t *g, veer_node_t node, int native_lanes,
                      char *reason, size_t size) {
    *p = (parts_t){.native_lanes = native_lanes};
    return veer_fx_region_init(&p->region, arena, g, node, reason, size) && make_parts(p);
}

/* What was asked of the parts is answered by `good`, unless memory was short. */
static veer_status_t answer(const parts_t *p, bool good, bool *out) {
    *out = good;
    return !p || (!good && p->region.out_of_memory) ? veer_out_of_memory() : veer_ok();
}

veer_status_t veer_llvm_supports(const veer_graph_t *g, veer_node_t node, bool *out_supports, char *reason,
                                 size_t size) {
    veer_arena_t arena;
    veer_arena_init(&arena, veer_graph_allocator(g));
    parts_t *p = veer_arena_alloc(&arena, sizeof *p);
    if (size) reason[0] = 0;
    bool good = p && plan_node(p, &arena, g, node, 8, reason, size);
    veer_status_t status = answer(p, good, out_supports);
    veer_arena_deinit(&arena);
    return status;
}

veer_status_t veer_llvm_can_fuse(const veer_graph_t *g, const veer_node_t *nodes, int node_count,
                                 const veer_value_t *results, int result_count, bool *out_can,
                                 veer_llvm_fusion_t *out_info, char *reason, size_t size) {
    veer_arena_t arena;
    veer_arena_init(&arena, veer_graph_allocator(g));
    parts_t *p = veer_arena_alloc(&arena, sizeof *p);
    if (size) reason[0] = 0;
    if (p) *p = (parts_t){.native_lanes = 8};
    bool good =
        p && veer_fx_region_init_nodes(&p->region, &arena, g, nodes, node_count, results, result_count, reason, size) &&
        make_parts(p);
    if (good && out_info) {
        *out_info = (veer_llvm_fusion_t){.nests = p->count, .work_items = p->items};
        for (int i = 0; i < p->count; i++) out_info->sweeps += p->schedules[i]->sweep_count;
    }
    veer_status_t status = answer(p, good, out_can);
    veer_arena_deinit(&arena);
    return status;
}

static veer_status_t write_kernel(veer_llvm_t *llvm, parts_t *p, veer_llvm_kernel_t *out) {
    veer_jit_kernel_t jit;
    veer_fx_kernel_t kernel;
    VEER_TRY(veer_jit_begin(llvm, VEER_JIT_FULL, &jit));
    veer_status_t status = veer_fx_kernel_init(&kernel, &jit, &p->region);
    int64_t first = 0;
    for (int i = 0; i < p->count && !status; i++) {
        status = veer_fx_lower(&kernel, p->schedules[i], first);
        first += p->schedules[i]->items;
    }
    veer_emit_t *e = &jit.emit; /* closed even after a failure: the module must stay well-formed */
    veer_jit_end(llvm, &jit, status ? NULL : LLVMBuildLoad2(e->builder, e->i32, kernel.flag, ""), p->weight);
    *out = (veer_llvm_kernel_t){
        .id = jit.id, .work_items = p->items > 1 ? p->items : 1, .scratch_bytes = (size_t)p->scratch_bytes};
    out->flops = veer_fx_region_flops(&p->region), out->bytes = veer_fx_region_bytes(&p->region);
    return status;
}

static veer_status_t emit(veer_llvm_t *llvm, parts_t *p, veer_llvm_kernel_t *out) {
    size_t key_bytes;
    const void *key = veer_fx_region_key(&p->region, &key_bytes);
    if (!key) return veer_out_of_memory();
    if (veer_jit_find(llvm, key, key_bytes, out)) return veer_ok();
    VEER_TRY(write_kernel(llvm, p, out));
    return veer_jit_remember(llvm, key, key_bytes, out);
}

veer_status_t veer_llvm_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                             veer_llvm_kernel_t *out_kernel) {
    veer_arena_t arena;
    char reason[VEER_FX_REASON_BYTES] = "";
    veer_arena_init(&arena, veer_jit_allocator(llvm));
    parts_t *p = veer_arena_alloc(&arena, sizeof *p);
    veer_status_t status;
    if (!p)
        status = veer_out_of_memory();
    else if (plan_node(p, &arena, g, node, veer_llvm_lanes(llvm), reason, sizeof reason))
        status = emit(llvm, p, out_kernel);
    else if (p->region.out_of_memory)
        status = veer_out_of_memory();
    else
        status = veer_error(VEER_ERR_UNSUPPORTED, "llvm: %s: %s", veer_op_name(veer_node_op(g, node)), reason);
    veer_arena_deinit(&arena);
    return status;
}
