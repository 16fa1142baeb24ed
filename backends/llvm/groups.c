/* Groups in lanes. Where channels come last, a group is a few of them at every position: [N, S, G, C/G]. A row of its
 * own would read runs of C/G elements. Here an item takes several groups, lanes run along all their channels, each lane
 * sums over the positions, and the sums of a group's lanes are combined when the sweep is done:
 *
 *     for lanes k of the item's channels:   for s: sum[k] += x[n, s, first * C/G + k]
 *     for groups g of the item:             value[g] = sum[g C/G] + ... + sum[g C/G + C/G - 1]
 *     for lanes k ...                       m = value[k / (C/G)]:   for s: y[...] = (x[...] - m) ...
 *
 * Nothing in here knows of norms: it is any row variable g and swept variable c such that most accesses run through
 * (g, c) as through one variable.
 */
#include "backends/llvm/schedule.h"

#include <limits.h>

enum {
    MOST_REGISTERS = 4, /* per value */
    MIN_POSITIONS = 4,  /* per lane, or combining costs more than it saves */
    FEW_ITEMS = 16      /* too few to share out evenly */
};

static bool runs_through(const veer_fx_affine_t *a, int g, int v, int64_t unit) {
    return a->coef[v] == 1 && a->coef[g] == unit;
}

/* How many more accesses run through (g, v) than otherwise along v. */
static double advantage(const veer_fx_schedule_t *s, int g, int v) {
    const veer_fx_nest_t *n = s->nest;
    double sum = 0;
    for (int i = 0; i < n->point_count; i++) {
        const veer_fx_point_t *p = &n->points[i];
        if (!s->live[i] || !(p->vars >> v & 1) || p->kind != VEER_PT_LOAD) continue;
        double accesses = (double)veer_fx_count_vars(n, p->vars);
        sum += runs_through(&p->at, g, v, n->extent[v]) && !p->dynamic_count ? accesses : -accesses;
    }
    for (int i = 0; i < n->store_count; i++) {
        if (!(n->stores[i].vars >> v & 1)) continue;
        double accesses = (double)veer_fx_count_vars(n, n->stores[i].vars);
        sum += runs_through(&n->stores[i].at, g, v, n->extent[v]) ? accesses : -accesses;
    }
    return sum;
}

/* The variable of the sweep that continues in g; g itself for one without variables; -1: none. */
static int find_lane(const veer_fx_schedule_t *s, const veer_fx_sweep_t *w, int g, int native) {
    const veer_fx_nest_t *n = s->nest;
    int best = -1;
    double most = 0;
    if (!w->vars) return g;
    for (int v = 0; v < n->var_count; v++) {
        if (!(w->vars >> v & 1) || n->extent[v] == 1 || n->extent[v] >= 4 * native) continue;
        double score = advantage(s, g, v);
        if (score > most) best = v, most = score;
    }
    bool worth = best >= 0 && veer_fx_count_vars(n, w->vars) >= MIN_POSITIONS * n->extent[best];
    return worth ? best : -1;
}

static bool find_lanes(const veer_fx_schedule_t *s, int g, int native, int lane_vars[VEER_FX_MAX_SWEEPS]) {
    for (int i = 0; i < s->sweep_count; i++)
        if ((lane_vars[i] = find_lane(s, &s->sweeps[i], g, native)) < 0) return false;
    return true;
}

static bool sums_only(const veer_fx_schedule_t *s) {
    const veer_fx_nest_t *n = s->nest;
    for (int i = 0; i < n->point_count; i++) {
        const veer_fx_point_t *p = &n->points[i];
        if (!s->live[i] || !veer_fx_is_reduction(p)) continue;
        if (p->kind != VEER_PT_REDUCE || p->dtype != VEER_DTYPE_F32) return false;
    }
    return true;
}

/* The fewest groups that fill registers to six sevenths, or as full as it gets; then as many more as leave items to
 * share out, up to some registers. Always a divisor of all, so that items are alike. */
static int64_t choose_block(int64_t groups, int64_t unit, int64_t rows, int native) {
    int64_t best = 1;
    double fullest = 0;
    for (int64_t block = 1; block <= groups && block * unit <= 16 * native; block++) {
        int64_t count = block * unit, vectors = (count + native - 1) / native;
        double full = (double)count / (double)(vectors * native);
        if (groups % block || full <= fullest) continue;
        best = block, fullest = full;
        if (full > 6.0 / 7) break;
    }
    while (groups % (2 * best) == 0 && 2 * best * unit <= MOST_REGISTERS * native &&
           rows * groups / (2 * best) >= FEW_ITEMS)
        best *= 2;
    return best;
}

/* A divisor of the item's registers, at most `several`; a power of two: values of three registers became slow code. */
static int choose_width(int64_t count, int native, int several) {
    int64_t vectors = (count + native - 1) / native;
    int lanes = native;
    while (vectors % several) several /= 2;
    while (lanes > 2 && lanes / 2 >= count) lanes /= 2; /* never 1: the IR of lanes is vectors */
    return lanes < native ? lanes : native * several;
}

static int64_t round_up(int64_t x, int64_t to) {
    return (x + to - 1) / to * to;
}

static bool make_slots(veer_fx_schedule_t *s) {
    const veer_fx_nest_t *n = s->nest;
    int64_t at = 0, widest = 0, lanes = 1;
    s->slots = veer_arena_array(n->region->arena, (size_t)n->point_count + 1, sizeof *s->slots);
    if (!s->slots) return n->region->out_of_memory = true, false;
    for (int i = 0; i < s->sweep_count; i++) {
        const veer_fx_sweep_t *w = &s->sweeps[i];
        if (s->group_block * w->unit > widest) widest = s->group_block * w->unit;
        if (w->lanes > lanes) lanes = w->lanes;
    }
    for (int i = 0; i < n->point_count; i++) {
        if (!s->live[i] || !veer_fx_is_reduction(&n->points[i])) continue;
        s->slots[i] = (veer_fx_slot_t){at, at + round_up(widest, lanes)};
        at = s->slots[i].values + round_up(s->group_block + lanes, 16); /* idle lanes read beyond the last group */
    }
    s->scratch_bytes = round_up(at, 16) * 4;
    return true;
}

static void use_lanes(veer_fx_schedule_t *s, veer_fx_sweep_t *w, int lane_var, int native) {
    const veer_fx_nest_t *n = s->nest;
    w->lane_var = lane_var;
    w->unit = lane_var == s->group_var ? 1 : n->extent[lane_var];
    w->lanes = choose_width(s->group_block * w->unit, native, veer_fx_sweep_registers(s, w));
    w->var_count = 0;
    for (int v = 0; v < n->var_count; v++)
        if (w->vars >> v & 1 && v != lane_var && n->extent[v] != 1) w->order[w->var_count++] = v;
}

bool veer_fx_schedule_groups(veer_fx_schedule_t *s, int native) {
    const veer_fx_nest_t *n = s->nest;
    int lane_vars[VEER_FX_MAX_SWEEPS], g = n->var_count - 1;
    int64_t unit = 1, rows = 1;
    if (!sums_only(s)) return false;
    for (; g >= 0; g--)
        if (n->row_vars >> g & 1 && n->extent[g] > 1 && find_lanes(s, g, native, lane_vars)) break;
    if (g < 0) return false;
    for (int i = 0; i < s->sweep_count; i++)
        if (lane_vars[i] != g && n->extent[lane_vars[i]] > unit) unit = n->extent[lane_vars[i]];
    s->group_var = g, s->row_count = 0;
    for (int v = 0; v < n->var_count; v++)
        if (n->row_vars >> v & 1 && n->extent[v] != 1 && v != g) s->rows[s->row_count++] = v, rows *= n->extent[v];
    s->group_block = choose_block(n->extent[g], unit, rows, native);
    s->items = rows * (n->extent[g] / s->group_block);
    for (int i = 0; i < s->sweep_count; i++) use_lanes(s, &s->sweeps[i], lane_vars[i], native);
    return make_slots(s);
}
