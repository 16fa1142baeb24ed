#include "backends/llvm/schedule.h"

#include <limits.h>
#include <string.h>

enum {
    ITEM_ELEMENTS = 8192,      /* of an elementwise work item */
    DEAR_ITEM_ELEMENTS = 2048, /* the same where one element costs much */
    KEPT_LIMIT = 1 << 20,      /* bytes of scratch */
    KEEP_COST = 8,
    SUM_BLOCK = 4096, /* elements per partial sum */
    FEW_ITEMS = 16    /* too few to share out evenly */
};

static void mark_live(veer_fx_schedule_t *s, int point) {
    if (s->live[point]) return;
    s->live[point] = true;
    const veer_fx_point_t *p = &s->nest->points[point];
    for (int i = 0; i < p->arg_count; i++) mark_live(s, p->args[i]);
    for (int i = 0; i < p->dynamic_count; i++) mark_live(s, p->dynamic[i]);
    s->weight += veer_fx_point_cost(p);
}

/* ---- lanes ---- */
/* Votes for each variable: accesses that go through memory one by one along it. Standing still counts a little. */
static void count_votes(const veer_fx_schedule_t *s, double votes[VEER_FX_MAX_VARS]) {
    const veer_fx_nest_t *n = s->nest;
    for (int v = 0; v < n->var_count; v++) {
        votes[v] = 0;
        for (int i = 0; i < n->point_count; i++) {
            const veer_fx_point_t *p = &n->points[i];
            if (!s->live[i] || (p->kind != VEER_PT_LOAD && p->kind != VEER_PT_NOISE) || !p->vars) continue;
            bool dynamic = false; /* an index that varies along v makes it a gather */
            for (int d = 0; d < p->dynamic_count; d++) dynamic = dynamic || n->points[p->dynamic[d]].vars >> v & 1;
            double accesses = (double)veer_fx_count_vars(n, p->vars);
            if (p->at.coef[v] == 1 && !dynamic)
                votes[v] += 2 * accesses;
            else if (!(p->vars >> v & 1))
                votes[v] += 0.1 * accesses;
        }
        for (int i = 0; i < n->store_count; i++)
            if (n->stores[i].at.coef[v] == 1) votes[v] += 3 * (double)veer_fx_count_vars(n, n->stores[i].vars);
    }
}

static int best_var(const veer_fx_nest_t *n, uint32_t vars, const double votes[VEER_FX_MAX_VARS]) {
    int best = -1;
    for (int v = 0; v < n->var_count; v++)
        if (vars >> v & 1 && n->extent[v] > 1 && (best < 0 || votes[v] >= votes[best])) best = v;
    return best;
}

static int several_for(double weight) {
    return weight <= 24 ? 4 : weight <= 64 ? 2 : 1;
}

/* Several registers per value hide latency where the body is cheap; none where lanes would idle. */
static int choose_lanes(const veer_fx_schedule_t *s, int64_t extent, int native) {
    bool noise = false;
    for (int i = 0; i < s->nest->point_count; i++)
        noise = noise || (s->live[i] && s->nest->points[i].kind == VEER_PT_NOISE);
    int lanes = native * several_for(s->weight);
    if (noise) lanes = 4 * native;
    int64_t ideal = (extent + native - 1) / native * native;
    while (lanes > native && ((extent + lanes - 1) / lanes * lanes) * 4 > ideal * 5) lanes /= 2;
    while (lanes > 1 && lanes / 2 >= extent) lanes /= 2;
    return lanes;
}

/* ---- sweeps ---- */
static veer_fx_sweep_t *add_sweep(veer_fx_schedule_t *s, uint32_t vars, int level) {
    for (int i = 0; i < s->sweep_count; i++)
        if (s->sweeps[i].vars == vars && s->sweeps[i].level == level) return &s->sweeps[i];
    if (s->sweep_count == VEER_FX_MAX_SWEEPS) return NULL;
    int at = s->sweep_count++;
    for (; at && s->sweeps[at - 1].level > level; at--) s->sweeps[at] = s->sweeps[at - 1];
    s->sweeps[at] = (veer_fx_sweep_t){.vars = vars, .level = level, .lane_var = -1, .lanes = 1};
    return &s->sweeps[at];
}

static bool find_sweeps(veer_fx_schedule_t *s) {
    const veer_fx_nest_t *n = s->nest;
    for (int i = 0; i < n->point_count; i++)
        if (s->live[i] && veer_fx_is_reduction(&n->points[i]) &&
            !add_sweep(s, n->spaces[n->points[i].space].vars, n->points[i].level))
            return false;
    uint32_t inner = 0;
    for (int i = 0; i < n->store_count; i++) inner |= n->stores[i].vars;
    return add_sweep(s, inner & ~n->row_vars, INT_MAX);
}

static void order_sweep(const veer_fx_schedule_t *s, veer_fx_sweep_t *w) {
    w->var_count = 0;
    for (int v = 0; v < s->nest->var_count; v++)
        if (w->vars >> v & 1 && v != w->lane_var && s->nest->extent[v] != 1) w->order[w->var_count++] = v;
    if (w->lane_var >= 0) w->order[w->var_count++] = w->lane_var;
}

static void mark_needed(const veer_fx_schedule_t *s, int point, const veer_fx_sweep_t *w, bool *needed) {
    const veer_fx_point_t *p = &s->nest->points[point];
    if (needed[point] || !(p->vars & w->vars) || veer_fx_is_reduction(p)) return;
    needed[point] = true;
    for (int i = 0; i < p->arg_count; i++) mark_needed(s, p->args[i], w, needed);
    for (int i = 0; i < p->dynamic_count; i++) mark_needed(s, p->dynamic[i], w, needed);
}

static void sweep_needs(const veer_fx_schedule_t *s, const veer_fx_sweep_t *w, bool *needed) {
    const veer_fx_nest_t *n = s->nest;
    for (int i = 0; i < n->point_count; i++)
        if (s->live[i] && veer_fx_is_reduction(&n->points[i]) && n->points[i].level == w->level &&
            n->spaces[n->points[i].space].vars == w->vars)
            mark_needed(s, n->points[i].args[0], w, needed);
    for (int i = 0; w->level == INT_MAX && i < n->store_count; i++) mark_needed(s, n->stores[i].point, w, needed);
}

int veer_fx_sweep_registers(const veer_fx_schedule_t *s, const veer_fx_sweep_t *w) {
    const veer_fx_nest_t *n = s->nest;
    double weight = 0;
    bool *needed = veer_arena_array(n->region->arena, (size_t)n->point_count + 1, sizeof *needed);
    if (!needed) return n->region->out_of_memory = true, 1;
    sweep_needs(s, w, needed);
    for (int i = 0; i < n->point_count; i++)
        if (needed[i]) weight += veer_fx_point_cost(&n->points[i]);
    return several_for(weight);
}

/* ---- work items ---- */
/* With reductions a row is an item. Where most accesses run along a row variable, lanes do too. */
static void schedule_rows(veer_fx_schedule_t *s, const double votes[VEER_FX_MAX_VARS], int native) {
    const veer_fx_nest_t *n = s->nest;
    uint32_t swept = 0;
    for (int i = 0; i < s->sweep_count; i++) swept |= s->sweeps[i].vars;
    int row = best_var(n, n->row_vars, votes), inner = best_var(n, swept, votes);
    s->row_lane_var = row >= 0 && (inner < 0 || votes[row] > votes[inner]) ? row : -1;
    if (s->row_lane_var >= 0) s->row_lanes = choose_lanes(s, n->extent[row], native);
    int64_t others = veer_fx_count_vars(n, n->row_vars & ~(s->row_lane_var >= 0 ? 1u << row : 0));
    while (s->row_lanes > native && n->extent[row] / s->row_lanes * others < FEW_ITEMS) s->row_lanes /= 2;
    for (int v = 0; v < n->var_count; v++)
        if (n->row_vars >> v & 1 && n->extent[v] != 1 && v != s->row_lane_var) {
            s->rows[s->row_count++] = v;
            s->items *= n->extent[v];
        }
    if (s->row_lane_var < 0 && veer_fx_schedule_groups(s, native)) return;
    if (s->row_lane_var >= 0) s->items *= (n->extent[row] + s->row_lanes - 1) / s->row_lanes;
    for (int i = 0; i < s->sweep_count; i++) {
        veer_fx_sweep_t *w = &s->sweeps[i];
        if (s->row_lane_var < 0) w->lane_var = best_var(n, w->vars, votes);
        if (w->lane_var >= 0) w->lanes = choose_lanes(s, n->extent[w->lane_var], native);
        if (w->lane_var >= 0 && w->level != INT_MAX && n->extent[w->lane_var] > 2 * SUM_BLOCK) w->block = SUM_BLOCK;
        order_sweep(s, w);
    }
}

/* ---- tiles ---- */
static bool runs_along(const veer_fx_schedule_t *s, int point, int tile, int lane) {
    const veer_fx_point_t *p = &s->nest->points[point];
    return s->live[point] && p->kind == VEER_PT_LOAD && veer_dtype_size(p->dtype) == 4 && !p->dynamic_count &&
           !p->guard && p->at.coef[tile] == 1 && p->at.coef[lane] > 1;
}

/* The variable that most transposed loads run along. Short ones are left to gathers. */
static bool schedule_tiles(veer_fx_schedule_t *s, veer_fx_sweep_t *w, int64_t wanted, int native) {
    const veer_fx_nest_t *n = s->nest;
    int best = -1, best_count = 0, lane = w->lane_var;
    for (int v = 0; v < n->var_count; v++) {
        int count = 0;
        if (v == lane || n->extent[v] < native / 2 || !(w->vars >> v & 1)) continue;
        for (int i = 0; i < n->point_count; i++) count += runs_along(s, i, v, lane);
        if (count > best_count) best = v, best_count = count;
    }
    if (best < 0 || n->extent[lane] < native / 2 || native < 4) return false;
    for (int i = 0; i < n->point_count; i++) s->tiled[i] = runs_along(s, i, best, lane);
    w->lanes = native;
    s->tile_var = best;
    s->block = n->extent[best] * n->extent[lane] <= wanted ? (n->extent[best] + native - 1) / native * native : native;
    s->items = (n->extent[best] + s->block - 1) / s->block;
    for (int v = 0; v < n->var_count; v++)
        if (w->vars >> v & 1 && n->extent[v] != 1 && v != best && v != lane)
            s->rows[s->row_count++] = v, s->items *= n->extent[v];
    return true;
}

/* Elementwise: lanes along the best variable, then as many inner variables as fill an item; the rest are rows. */
static void schedule_elements(veer_fx_schedule_t *s, const double votes[VEER_FX_MAX_VARS], int native) {
    veer_fx_nest_t *n = s->nest;
    veer_fx_sweep_t *w = &s->sweeps[0];
    int64_t wanted = s->weight > 40 ? DEAR_ITEM_ELEMENTS : ITEM_ELEMENTS, filled = 1;
    w->lane_var = best_var(n, w->vars, votes);
    if (w->lane_var < 0) return;
    w->lanes = choose_lanes(s, n->extent[w->lane_var], native);
    if (schedule_tiles(s, w, wanted, native)) {
        n->row_vars = w->vars & ~(1u << w->lane_var | 1u << s->tile_var);
        w->vars &= ~n->row_vars;
        order_sweep(s, w);
        return;
    }
    filled = n->extent[w->lane_var];
    if (filled > 2 * wanted) s->block_var = w->lane_var, s->block = wanted, filled = wanted;
    uint32_t inner = 1u << w->lane_var;
    for (int v = n->var_count - 1; v >= 0; v--) {
        if (!(w->vars >> v & 1) || n->extent[v] == 1 || v == w->lane_var) continue;
        if (s->row_count || s->block_var >= 0 || filled * n->extent[v] > 2 * wanted)
            s->rows[s->row_count++] = v;
        else
            inner |= 1u << v, filled *= n->extent[v];
    }
    for (int i = 0; i < s->row_count; i++) s->items *= n->extent[s->rows[i]];
    for (int i = 0; i < s->row_count / 2; i++) { /* outermost first */
        int other = s->rows[s->row_count - 1 - i];
        s->rows[s->row_count - 1 - i] = s->rows[i], s->rows[i] = other;
    }
    if (s->block_var >= 0) s->items *= (n->extent[s->block_var] + s->block - 1) / s->block;
    n->row_vars = w->vars & ~inner;
    w->vars = inner;
    order_sweep(s, w);
}

/* ---- values kept between sweeps ---- */
static double inner_cost(const veer_fx_schedule_t *s, int point, const veer_fx_sweep_t *w) {
    const veer_fx_point_t *p = &s->nest->points[point];
    if (!(p->vars & w->vars) || veer_fx_is_reduction(p)) return 0;
    double cost = veer_fx_point_cost(p);
    for (int i = 0; i < p->arg_count && cost < 1000; i++) cost += inner_cost(s, p->args[i], w);
    return cost;
}

int64_t veer_fx_kept_strides(const veer_fx_schedule_t *s, const veer_fx_sweep_t *w, int64_t strides[VEER_FX_MAX_VARS]) {
    int64_t stride = s->row_lanes;
    memset(strides, 0, VEER_FX_MAX_VARS * sizeof *strides);
    if (w->unit) {
        strides[w->lane_var] = 1;
        int64_t widest = 1; /* sweeps that share values may have other lanes */
        for (int i = 0; i < s->sweep_count; i++)
            if (s->sweeps[i].lanes > widest) widest = s->sweeps[i].lanes;
        stride = (s->group_block * w->unit + widest - 1) / widest * widest;
    }
    for (int i = w->var_count - 1; i >= 0; i--) {
        int v = w->order[i];
        int64_t extent = s->nest->extent[v];
        strides[v] = stride;
        if (v == w->lane_var) extent = (extent + w->lanes - 1) / w->lanes * w->lanes; /* tails are written whole */
        stride *= extent;
    }
    return stride;
}

static bool is_kept(const veer_fx_schedule_t *s, int point) {
    for (int i = 0; i < s->kept_count; i++)
        if (s->kept[i].point == point) return true;
    return false;
}

/* The outermost dear values of `point` that an earlier sweep over the same variables has computed. */
static void keep_from(veer_fx_schedule_t *s, int point, int first, const veer_fx_sweep_t *w, const bool *earlier,
                      bool *seen) {
    const veer_fx_point_t *p = &s->nest->points[point];
    if (seen[point] || !(p->vars & w->vars) || veer_fx_is_reduction(p) || is_kept(s, point)) return;
    seen[point] = true;
    bool whole = (p->vars & w->vars) == w->vars && p->kind == VEER_PT_OP && p->dtype == VEER_DTYPE_F32;
    if (earlier[point] && whole && inner_cost(s, point, w) >= KEEP_COST) {
        int64_t strides[VEER_FX_MAX_VARS], bytes = veer_fx_kept_strides(s, w, strides) * 4;
        bytes = (bytes + 63) / 64 * 64;
        if (s->kept_count == VEER_FX_MAX_KEPT || s->scratch_bytes + bytes > KEPT_LIMIT) return;
        s->kept[s->kept_count++] = (veer_fx_kept_t){point, first, s->scratch_bytes};
        s->scratch_bytes += bytes;
        return;
    }
    for (int i = 0; i < p->arg_count; i++) keep_from(s, p->args[i], first, w, earlier, seen);
}

static bool keep_values(veer_fx_schedule_t *s) {
    const veer_fx_nest_t *n = s->nest;
    bool *earlier = veer_arena_array(n->region->arena, (size_t)n->point_count + 1, sizeof *earlier);
    bool *seen = veer_arena_array(n->region->arena, (size_t)n->point_count + 1, sizeof *seen);
    if (!earlier || !seen) return n->region->out_of_memory = true, false;
    for (int first = 0; first < s->sweep_count; first++) {
        memset(earlier, 0, (size_t)n->point_count);
        sweep_needs(s, &s->sweeps[first], earlier);
        for (int later = first + 1; later < s->sweep_count; later++) {
            const veer_fx_sweep_t *w = &s->sweeps[later];
            if (w->vars != s->sweeps[first].vars || w->level == s->sweeps[first].level) continue;
            memset(seen, 0, (size_t)n->point_count);
            for (int i = 0; i < n->point_count; i++)
                if (s->live[i] && veer_fx_is_reduction(&n->points[i]) && n->points[i].level == w->level &&
                    n->spaces[n->points[i].space].vars == w->vars)
                    keep_from(s, n->points[i].args[0], first, w, earlier, seen);
            for (int i = 0; w->level == INT_MAX && i < n->store_count; i++)
                keep_from(s, n->stores[i].point, first, w, earlier, seen);
        }
    }
    return true;
}

/* Reductions along different axes would be repeated for every element of the other: not worth one kernel. */
static bool check_work(const veer_fx_schedule_t *s) {
    const veer_fx_nest_t *n = s->nest;
    int64_t rows = veer_fx_count_vars(n, n->row_vars);
    double done = 0, needed = 1e5;
    for (int i = 0; i < n->point_count; i++) {
        if (!s->live[i] || !veer_fx_is_reduction(&n->points[i])) continue;
        double swept = (double)veer_fx_count_vars(n, n->spaces[n->points[i].space].vars);
        done += (double)rows * swept;
        needed += (double)veer_fx_count_vars(n, n->points[i].vars) * swept;
    }
    for (int i = 0; i < n->store_count; i++) needed += (double)veer_fx_count_vars(n, n->stores[i].vars);
    return done <= 4 * needed || veer_fx_decline(n->region, "reductions along different axes");
}

bool veer_fx_schedule_init(veer_fx_schedule_t *s, veer_fx_nest_t *n, int native_lanes) {
    *s = (veer_fx_schedule_t){
        .nest = n, .row_lane_var = -1, .row_lanes = 1, .group_var = -1, .block_var = -1, .tile_var = -1, .items = 1};
    s->live = veer_arena_array(n->region->arena, (size_t)n->point_count + 1, sizeof *s->live);
    s->tiled = veer_arena_array(n->region->arena, (size_t)n->point_count + 1, sizeof *s->tiled);
    if (!s->live || !s->tiled) return n->region->out_of_memory = true, false;
    for (int i = 0; i < n->store_count; i++) mark_live(s, n->stores[i].point);
    n->row_vars = 0;
    for (int i = 0; i < n->point_count; i++)
        if (s->live[i] && veer_fx_is_reduction(&n->points[i])) n->row_vars |= n->points[i].vars;
    if (!find_sweeps(s))
        return veer_fx_decline(n->region, "reductions of reductions in more than %d sweeps", VEER_FX_MAX_SWEEPS);
    if (!check_work(s)) return false;
    double votes[VEER_FX_MAX_VARS];
    count_votes(s, votes);
    if (s->sweep_count == 1)
        schedule_elements(s, votes, native_lanes);
    else
        schedule_rows(s, votes, native_lanes);
    return !n->region->out_of_memory && (s->sweep_count == 1 || keep_values(s));
}
