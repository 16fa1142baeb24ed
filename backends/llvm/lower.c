/* Rules of the emitted code:
 * 1. A point is computed where the innermost loop that it depends on begins, so what does not vary is outside of loops.
 * 2. In lanes, points that vary along the lane variable are vectors, all others scalars, splatted where they meet.
 * 3. Every reduction has one accumulator per lane, combined by halving: the same tree for any number of threads.
 * 4. Nothing outside a buffer is read: tails and guards are masks, and a guarded scalar load goes to element 0 instead.
 */
#include "backends/llvm/lower_internal.h"

#include "backends/llvm/elementwise.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

/* ---- loops ---- */
static void for_targets(veer_lower_t *c, void (*visit)(veer_lower_t *, int)) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    memset(c->visited, 0, (size_t)c->n->point_count);
    for (int i = 0; i < c->n->point_count; i++)
        if (veer_lw_in_sweep(c, i)) visit(c, c->n->points[i].args[0]);
    for (int i = 0; w->level == INT_MAX && i < c->n->store_count; i++) visit(c, c->n->stores[i].point);
}

static void sweep_body(veer_lower_t *c) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    if (w->level != INT_MAX) {
        veer_lw_accumulate(c);
        return;
    }
    for (int i = 0; i < c->n->store_count; i++)
        if (c->n->stores[i].vars & w->vars || !w->vars) veer_lw_store(c, &c->n->stores[i]);
}

/* Results of one value per row, in a sweep that has variables. */
static void store_row_results(veer_lower_t *c) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    for (int i = 0; i < c->n->store_count; i++)
        if (!(c->n->stores[i].vars & w->vars)) veer_lw_store(c, &c->n->stores[i]);
}

static void open_var(veer_lower_t *c, int v, val_t value) {
    c->var[v] = value;
    c->open |= 1u << v;
}

/* One vector of the lane variable at `at`. */
static void lane_body(veer_lower_t *c, int v, val_t at, val_t mask) {
    int mark = c->undo_count;
    c->mask = mask;
    open_var(c, v, at);
    sweep_body(c);
    c->open &= ~(1u << v);
    c->mask = NULL;
    veer_lw_close_scope(c, mark);
}

static val_t smaller(veer_lower_t *c, val_t a, int64_t b) {
    return veer_emit_min(c->e, a, veer_emit_i64(c->e, b));
}

static void lane_run(veer_lower_t *c, int v, val_t begin, val_t end) {
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, begin, end, c->lanes);
    lane_body(c, v, loop.i, NULL);
    veer_emit_loop_end(c->e, &loop);
}

/* The last, partial vector; an item of a cut variable does it where it is the last one. */
static void lane_tail(veer_lower_t *c, int v, int64_t full, int64_t extent) {
    if (c->lanes == 1 || full == extent) return;
    bool is_cut = c->s->block_var == v;
    veer_emit_branch_t tail;
    if (is_cut) {
        val_t reach = LLVMBuildAdd(c->e->builder, c->block_begin, veer_emit_i64(c->e, c->s->block), "");
        tail = veer_emit_if(c->e, LLVMBuildICmp(c->e->builder, LLVMIntSGE, reach, veer_emit_i64(c->e, extent), ""));
    }
    lane_body(c, v, veer_emit_i64(c->e, full), veer_emit_mask(c->e, extent - full, (int)c->lanes));
    if (is_cut) veer_emit_endif(c->e, &tail);
}

static void lane_loops(veer_lower_t *c, const veer_fx_sweep_t *w) {
    int v = w->lane_var;
    int64_t extent = c->n->extent[v], full = extent / w->lanes * w->lanes;
    bool reduces = w->level != INT_MAX, partial = reduces && (w->block || (w->var_count > 1 && extent / w->lanes >= 8));
    c->lane_var = v, c->lanes = (unsigned)w->lanes;
    if (c->s->block_var == v) {
        val_t reach = LLVMBuildAdd(c->e->builder, c->block_begin, veer_emit_i64(c->e, c->s->block), "");
        lane_run(c, v, c->block_begin, smaller(c, reach, full));
    } else if (partial) {
        int64_t block = w->block ? w->block : full;
        veer_emit_loop_t blocks = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, full), block);
        veer_lw_begin_partial(c);
        val_t reach = LLVMBuildAdd(c->e->builder, blocks.i, veer_emit_i64(c->e, block), "");
        lane_run(c, v, blocks.i, smaller(c, reach, full));
        veer_lw_end_partial(c);
        veer_emit_loop_end(c->e, &blocks);
    } else if (full)
        lane_run(c, v, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, full));
    lane_tail(c, v, full, extent);
    c->lane_var = -1, c->lanes = 1;
}

/* ---- tiles ---- */
/* rows[i] lane j becomes rows[j] lane i: log2(lanes) rounds of interleaving the first half with the second. */
static void transpose_square(veer_lower_t *c, val_t *rows, int lanes) {
    val_t next_rows[128];
    int low[128], high[128];
    for (int i = 0; i < lanes; i++) low[i] = i / 2 + (i % 2) * lanes, high[i] = low[i] + lanes / 2;
    for (int round = 1; round < lanes; round *= 2) {
        for (int i = 0; i < lanes / 2; i++) {
            next_rows[2 * i] = veer_emit_shuffle(c->e, rows[i], rows[i + lanes / 2], low, (unsigned)lanes);
            next_rows[2 * i + 1] = veer_emit_shuffle(c->e, rows[i], rows[i + lanes / 2], high, (unsigned)lanes);
        }
        memcpy(rows, next_rows, (size_t)lanes * sizeof *rows);
    }
}

static val_t lanes_below(veer_lower_t *c, int64_t extent, val_t begin) {
    val_t left = LLVMBuildSub(c->e->builder, veer_emit_i64(c->e, extent), begin, "");
    return LLVMBuildICmp(c->e->builder, LLVMIntSLT, veer_emit_iota(c->e->i64, c->lanes),
                         veer_emit_splat(c->e, left, c->lanes), "");
}

/* A square of operand elements at (tile, lane) variables = (u, v), lanes along v in each row of the tile. Rows beyond
 * the end of v repeat the last one: they are never stored. */
static val_t load_tile(veer_lower_t *c, const veer_fx_point_t *p, int lane_var, val_t u, val_t v) {
    const int lanes = (int)c->lanes;
    const int64_t extent = c->n->extent[c->s->tile_var];
    val_t rows[128], base = p->j ? c->k->tables[p->i] : c->k->bufs[p->i];
    val_t mask = extent % lanes ? lanes_below(c, extent, u) : NULL;
    LLVMTypeRef row_type = LLVMVectorType(veer_fx_memory_type(c->e, p->dtype), c->lanes);
    val_t tile = veer_emit_variable(c->e, LLVMArrayType2(row_type, c->lanes));
    open_var(c, c->s->tile_var, u);
    for (int i = 0; i < lanes; i++) {
        val_t at = LLVMBuildAdd(c->e->builder, v, veer_emit_i64(c->e, i), "");
        open_var(c, lane_var, smaller(c, at, c->n->extent[lane_var] - 1));
        rows[i] = veer_lw_load_run(c, p->dtype, base, veer_lw_affine_base(c, &p->at), mask);
    }
    transpose_square(c, rows, lanes);
    for (int i = 0; i < lanes; i++) {
        val_t at = veer_emit_i64(c->e, i);
        LLVMBuildStore(c->e->builder, rows[i], LLVMBuildGEP2(c->e->builder, row_type, tile, &at, 1, ""));
    }
    return tile;
}

static void tile_row(veer_lower_t *c, val_t *tiles, val_t j) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!c->s->tiled[i]) continue;
        LLVMTypeRef row_type = LLVMVectorType(veer_fx_memory_type(c->e, c->n->points[i].dtype), c->lanes);
        val_t address = LLVMBuildGEP2(c->e->builder, row_type, tiles[i], &j, 1, "");
        veer_lw_set_value(c, i, LLVMBuildLoad2(c->e->builder, row_type, address, ""));
    }
    sweep_body(c);
}

static void tile_body(veer_lower_t *c, int v, val_t u0, val_t v0) {
    int u = c->s->tile_var;
    int64_t extent = c->n->extent[u];
    val_t *tiles = c->sums; /* free: there are no reductions */
    for (int i = 0; i < c->n->point_count; i++)
        if (c->s->tiled[i]) tiles[i] = load_tile(c, &c->n->points[i], v, u0, v0);
    val_t left = LLVMBuildSub(c->e->builder, veer_emit_i64(c->e, extent), u0, "");
    c->mask = c->n->extent[v] % c->lanes ? lanes_below(c, c->n->extent[v], v0) : NULL;
    c->lane_var = v;
    veer_emit_loop_t rows = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), smaller(c, left, c->lanes), 1);
    int mark = c->undo_count;
    open_var(c, v, v0);
    open_var(c, u, LLVMBuildAdd(c->e->builder, u0, rows.i, ""));
    tile_row(c, tiles, rows.i);
    c->open &= ~(1u << u | 1u << v);
    veer_lw_close_scope(c, mark);
    veer_emit_loop_end(c->e, &rows);
    c->mask = NULL, c->lane_var = -1;
}

static void tile_loops(veer_lower_t *c, const veer_fx_sweep_t *w) {
    int v = w->lane_var;
    val_t reach = LLVMBuildAdd(c->e->builder, c->block_begin, veer_emit_i64(c->e, c->s->block), "");
    c->lanes = (unsigned)w->lanes;
    veer_emit_loop_t us =
        veer_emit_loop_begin(c->e, c->block_begin, smaller(c, reach, c->n->extent[c->s->tile_var]), w->lanes);
    veer_emit_loop_t vs =
        veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, c->n->extent[v]), w->lanes);
    tile_body(c, v, us.i, vs.i);
    veer_emit_loop_end(c->e, &vs);
    veer_emit_loop_end(c->e, &us);
    c->lanes = 1;
}

static void sweep_loops(veer_lower_t *c, int depth);

static void sweep_run(veer_lower_t *c, int depth, val_t begin, val_t end) {
    int v = c->s->sweeps[c->sweep].order[depth];
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, begin, end, 1);
    int mark = c->undo_count;
    open_var(c, v, loop.i);
    sweep_loops(c, depth + 1);
    c->open &= ~(1u << v);
    veer_lw_close_scope(c, mark);
    veer_emit_loop_end(c->e, &loop);
}

/* The innermost loop of a reduction with groups in lanes, with sums of its own for every so many positions. */
static void sweep_blocks(veer_lower_t *c, int depth, int64_t extent) {
    enum { BLOCK = 256 };
    if (extent <= 2 * BLOCK) {
        veer_lw_begin_partial(c);
        sweep_run(c, depth, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, extent));
        veer_lw_end_partial(c);
        return;
    }
    veer_emit_loop_t blocks = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, extent), BLOCK);
    veer_lw_begin_partial(c);
    val_t reach = LLVMBuildAdd(c->e->builder, blocks.i, veer_emit_i64(c->e, BLOCK), "");
    sweep_run(c, depth, blocks.i, smaller(c, reach, extent));
    veer_lw_end_partial(c);
    veer_emit_loop_end(c->e, &blocks);
}

static void sweep_loops(veer_lower_t *c, int depth) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    if (depth == w->var_count) {
        sweep_body(c);
        return;
    }
    for_targets(c, veer_lw_hoist);
    int v = w->order[depth];
    int64_t extent = c->n->extent[v];
    if (v == w->lane_var)
        lane_loops(c, w);
    else if (w->unit && w->level != INT_MAX && depth == w->var_count - 1)
        sweep_blocks(c, depth, extent);
    else
        sweep_run(c, depth, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, extent));
}

/* ---- groups in lanes ---- */
static void open_groups(veer_lower_t *c, const veer_fx_sweep_t *w, val_t at) {
    c->lane_at = at;
    if (w->unit == 1) {
        open_var(c, c->s->group_var, veer_lw_add(c, c->first_group, at));
        return;
    }
    open_var(c, c->s->group_var, c->first_group);
    open_var(c, w->lane_var, at);
    val_t lane = veer_emit_splat(c->e, LLVMBuildTrunc(c->e->builder, at, c->e->i32, ""), c->lanes);
    lane = LLVMBuildAdd(c->e->builder, lane, veer_emit_iota(c->e->i32, c->lanes), "");
    val_t unit = veer_emit_like_int(c->e, lane, w->unit);
    LLVMTypeRef wide = veer_emit_type_like(lane, c->e->i64);
    c->group_of = LLVMBuildZExt(c->e->builder, LLVMBuildUDiv(c->e->builder, lane, unit, ""), wide, "");
    c->within = LLVMBuildZExt(c->e->builder, LLVMBuildURem(c->e->builder, lane, unit, ""), wide, "");
}

static void write_sums(veer_lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!veer_lw_in_sweep(c, i)) continue;
        int64_t slot = c->unit == 1 ? c->s->slots[i].values : c->s->slots[i].sums;
        val_t v = LLVMBuildLoad2(c->e->builder, LLVMGetAllocatedType(c->sums[i]), c->sums[i], "");
        LLVMSetAlignment(LLVMBuildStore(c->e->builder, v, veer_lw_slot(c, slot, c->lane_at)), 4);
    }
}

/* All positions of one vector of lanes. */
static void group_body(veer_lower_t *c, const veer_fx_sweep_t *w, val_t at, val_t mask) {
    int mark = c->undo_count;
    uint32_t open = c->open;
    c->mask = mask, c->unit = w->unit;
    open_groups(c, w, at);
    if (w->level != INT_MAX)
        veer_lw_begin_accumulators(c);
    else if (w->vars)
        store_row_results(c);
    sweep_loops(c, 0);
    if (w->level != INT_MAX) write_sums(c);
    c->mask = NULL, c->unit = 0, c->open = open;
    veer_lw_close_scope(c, mark);
}

static void group_loops(veer_lower_t *c, const veer_fx_sweep_t *w) {
    int64_t count = c->s->group_block * w->unit, full = count / w->lanes * w->lanes;
    c->lane_var = w->lane_var, c->lanes = (unsigned)w->lanes;
    if (full == w->lanes)
        group_body(c, w, veer_emit_i64(c->e, 0), NULL);
    else if (full) {
        veer_emit_loop_t loop = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, full), w->lanes);
        group_body(c, w, loop.i, NULL);
        veer_emit_loop_end(c->e, &loop);
    }
    if (full < count) group_body(c, w, veer_emit_i64(c->e, full), veer_emit_mask(c->e, count - full, (int)c->lanes));
    c->lane_var = -1, c->lanes = 1;
}

/* values[g] from sums[g unit ...], a vector of groups at a time. */
static void combine_lanes(veer_lower_t *c, int point, int64_t unit, val_t first, val_t mask) {
    const veer_fx_point_t *p = &c->n->points[point];
    const veer_fx_slot_t *slot = &c->s->slots[point];
    val_t sum = NULL, at = veer_lw_add(c, first, veer_emit_iota(c->e->i64, c->lanes));
    at = veer_lw_mul(c, at, unit);
    for (int64_t j = 0; j < unit; j++) {
        val_t base = veer_lw_slot(c, slot->sums, veer_emit_i64(c->e, j));
        val_t v = veer_lw_load_scattered(c, VEER_DTYPE_F32, base, at, mask);
        sum = sum ? veer_fx_combine(c->e, p->op, p->dtype, sum, v) : v;
    }
    LLVMSetAlignment(LLVMBuildStore(c->e->builder, sum, veer_lw_slot(c, slot->values, first)), 4);
}

static void combine_groups(veer_lower_t *c, const veer_fx_sweep_t *w) {
    int64_t groups = c->s->group_block;
    if (w->unit == 1) return;
    for (c->lanes = 2; c->lanes < groups && c->lanes < 16;) c->lanes *= 2;
    veer_emit_loop_t loop =
        veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, groups), (int64_t)c->lanes);
    val_t mask = groups % c->lanes ? lanes_below(c, groups, loop.i) : NULL;
    for (int i = 0; i < c->n->point_count; i++)
        if (veer_lw_in_sweep(c, i)) combine_lanes(c, i, w->unit, loop.i, mask);
    veer_emit_loop_end(c->e, &loop);
    c->lanes = 1;
}

static void run_sweep(veer_lower_t *c, int sweep) {
    const veer_fx_sweep_t *w = &c->s->sweeps[sweep];
    c->sweep = sweep;
    veer_fx_kept_strides(c->s, w, c->kept_strides);
    if (c->s->group_var < 0 && w->level != INT_MAX)
        veer_lw_begin_accumulators(c);
    else if (c->s->group_var < 0 && w->vars)
        store_row_results(c);
    for_targets(c, veer_lw_hoist); /* row values stay for the sweeps behind */
    int mark = c->undo_count;
    if (w->unit)
        group_loops(c, w);
    else if (c->s->tile_var >= 0)
        tile_loops(c, w);
    else
        sweep_loops(c, 0);
    veer_lw_close_scope(c, mark);
    if (w->unit && w->level != INT_MAX)
        combine_groups(c, w);
    else if (w->level != INT_MAX)
        veer_lw_end_accumulators(c);
}

/* ---- items ---- */
/* The item's digits, innermost first. Gives the rest. */
static val_t take_digit(veer_lower_t *c, val_t item, int64_t extent, val_t *out_digit) {
    if (extent == 1) return *out_digit = veer_emit_i64(c->e, 0), item;
    *out_digit = LLVMBuildURem(c->e->builder, item, veer_emit_i64(c->e, extent), "");
    return LLVMBuildUDiv(c->e->builder, item, veer_emit_i64(c->e, extent), "");
}

static void decode_item(veer_lower_t *c, val_t item) {
    const veer_fx_schedule_t *s = c->s;
    val_t digit;
    if (s->row_lane_var >= 0) {
        int64_t extent = c->n->extent[s->row_lane_var], lanes = s->row_lanes;
        item = take_digit(c, item, (extent + lanes - 1) / lanes, &digit);
        open_var(c, s->row_lane_var, veer_lw_mul(c, digit, lanes));
        c->lane_var = s->row_lane_var, c->lanes = (unsigned)lanes;
        val_t left = LLVMBuildSub(c->e->builder, veer_emit_i64(c->e, extent), c->var[s->row_lane_var], "");
        if (extent % lanes)
            c->mask = LLVMBuildICmp(c->e->builder, LLVMIntSLT, veer_emit_iota(c->e->i64, c->lanes),
                                    veer_emit_splat(c->e, left, c->lanes), "");
    }
    if (s->group_var >= 0) { /* the variable itself is opened with the lanes */
        item = take_digit(c, item, c->n->extent[s->group_var] / s->group_block, &digit);
        c->first_group = veer_lw_mul(c, digit, s->group_block);
    }
    int cut = s->tile_var >= 0 ? s->tile_var : s->block_var;
    if (cut >= 0) {
        item = take_digit(c, item, (c->n->extent[cut] + s->block - 1) / s->block, &digit);
        c->block_begin = veer_lw_mul(c, digit, s->block);
    }
    for (int i = s->row_count - 1; i >= 0; i--) {
        item = take_digit(c, item, c->n->extent[s->rows[i]], &digit);
        open_var(c, s->rows[i], digit);
    }
}

static void lower_items(veer_lower_t *c, int64_t first) {
    veer_jit_kernel_t *jit = c->k->jit;
    val_t zero = veer_emit_i64(c->e, first);
    val_t begin = veer_emit_max(c->e, jit->begin, zero);
    veer_emit_loop_t items = veer_emit_loop_begin(c->e, begin, smaller(c, jit->end, first + c->s->items), 1);
    decode_item(c, LLVMBuildSub(c->e->builder, items.i, zero, ""));
    for (int i = 0; i < c->s->sweep_count; i++) run_sweep(c, i);
    veer_lw_close_scope(c, 0);
    veer_emit_loop_end(c->e, &items);
}

veer_status_t veer_fx_lower(veer_fx_kernel_t *k, const veer_fx_schedule_t *s, int64_t first_item) {
    veer_arena_t *arena = s->nest->region->arena;
    size_t count = (size_t)s->nest->point_count + 1;
    veer_lower_t c = {.k = k, .e = &k->jit->emit, .s = s, .n = s->nest, .lane_var = -1, .lanes = 1};
    c.values = veer_arena_array(arena, count, sizeof *c.values);
    c.undo = veer_arena_array(arena, 4 * count, sizeof *c.undo);
    c.visited = veer_arena_array(arena, count, sizeof *c.visited);
    c.sums = veer_arena_array(arena, count, sizeof *c.sums);
    c.partial = veer_arena_array(arena, count, sizeof *c.partial);
    c.best_index = veer_arena_array(arena, count, sizeof *c.best_index);
    if (!c.values || !c.undo || !c.visited || !c.sums || !c.partial || !c.best_index) return veer_out_of_memory();
    lower_items(&c, first_item);
    return veer_ok();
}

/* ---- kernels ---- */
static val_t make_table(veer_fx_kernel_t *k, const veer_fx_table_t *t) {
    veer_emit_t *e = &k->jit->emit;
    val_t bytes = LLVMConstStringInContext2(e->context, t->bytes, t->size_bytes, 1);
    val_t global = LLVMAddGlobal(e->module, LLVMTypeOf(bytes), "");
    LLVMSetInitializer(global, bytes);
    LLVMSetGlobalConstant(global, 1);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetAlignment(global, 64);
    return global;
}

veer_status_t veer_fx_kernel_init(veer_fx_kernel_t *k, veer_jit_kernel_t *jit, const veer_fx_region_t *region) {
    int count = region->input_count + region->root_count;
    *k = (veer_fx_kernel_t){.jit = jit};
    k->bufs = veer_arena_array(region->arena, (size_t)count + 1, sizeof *k->bufs);
    k->tables = veer_arena_array(region->arena, (size_t)region->table_count + 1, sizeof *k->tables);
    if (!k->bufs || !k->tables) return veer_out_of_memory();
    for (int i = 0; i < count; i++) k->bufs[i] = veer_jit_buffer(jit, i);
    for (int i = 0; i < region->table_count; i++) k->tables[i] = make_table(k, &region->tables[i]);
    k->flag = veer_emit_variable(&jit->emit, jit->emit.i32);
    LLVMBuildStore(jit->emit.builder, LLVMConstInt(jit->emit.i32, VEER_KERNEL_OK, 0), k->flag);
    return veer_ok();
}
