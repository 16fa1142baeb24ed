/* Which results a nest computes, and what its variables are for. In order:
 *
 *     1. variables for the main result's dims, and points of all results of its shape
 *     2. unify: inner variables of the results that reductions, too, can sweep
 *     3. results with one value per row
 *     4. variables that every index goes through as through one become one
 *
 * What cuts a variable, or shares one, begins at 1 again with what has been learnt (`splits`; `inner` and `shared`),
 * until nothing is new. A concat along a dimension of the results, where nothing is reduced, ends it after 1: the
 * caller builds a nest for either side of `cut_at`.
 */
#include "backends/llvm/nest_internal.h"

#include <assert.h>
#include <string.h>

enum { MAX_RESTARTS = 64, DEAR = 8 };

/* ---- results ---- */
static const veer_type_t *result_type(const veer_fx_nest_t *n, int result) {
    return &n->region->exprs[n->region->roots[result]].type;
}

/* The map of a result whose dims are those of the main one, or a prefix of them, or have 1 in places. False: neither.
 */
static bool result_map(const veer_fx_nest_t *n, const veer_type_t *t, const veer_type_t *main_type,
                       veer_nest_map_t *m) {
    memset(m, 0, sizeof *m);
    if (t->rank > main_type->rank) return false;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 1) continue;
        if (t->dims[i] != main_type->dims[i]) return false;
        m->dim[i] = veer_nest_origin_index(n, i);
    }
    return true;
}

static bool add_store(veer_fx_nest_t *n, int result, const veer_nest_map_t *m) {
    const veer_type_t *t = result_type(n, result);
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(t, strides);
    veer_fx_store_t *s = &n->stores[n->store_count];
    memset(s, 0, sizeof *s);
    s->result = result;
    for (int i = 0; i < t->rank; i++) veer_nest_affine_add(&s->at, &m->dim[i].a, t->dims[i] == 1 ? 0 : strides[i]);
    s->vars = veer_nest_affine_vars(&s->at);
    s->point = veer_nest_point_of(n, n->region->roots[result], m, 0);
    if (s->point < 0) return false;
    n->store_count++;
    return true;
}

static void find_row_vars(veer_fx_nest_t *n) {
    n->row_vars = 0;
    uint32_t swept = 0;
    for (int s = 0; s < n->space_count; s++) swept |= n->spaces[s].vars;
    for (int i = 0; i < n->point_count; i++)
        if (veer_fx_is_reduction(&n->points[i])) n->row_vars |= n->points[i].vars;
    n->row_vars &= ~swept;
}

/* ---- spaces over the results' own variables ---- */
static void list_digits(veer_fx_nest_t *n) {
    n->digit_count = 0;
    for (int o = 0; o < n->rank; o++) {
        const veer_fx_origin_t *origin = &n->origins[o];
        int64_t below = 1;
        int first = origin->first_var + origin->var_count;
        while (first > origin->first_var && below < n->inner[o]) below *= n->extent[--first];
        for (int v = first; v < origin->first_var + origin->var_count; v++) n->digits[n->digit_count++] = v;
    }
}

/* Each axis of the space as a run of digits; false where they do not come out even. */
static bool match_digits(veer_fx_nest_t *n, const veer_fx_space_t *space) {
    int k = 0;
    for (int i = 0; i < space->axis_count; i++) {
        veer_fx_origin_t *origin = &n->origins[space->origins[i]];
        int64_t product = 1;
        origin->first_digit = k;
        while (k < n->digit_count && product < space->extents[i]) product *= n->extent[n->digits[k++]];
        if (product != space->extents[i]) return false;
        origin->digit_count = k - origin->first_digit;
    }
    return k == n->digit_count;
}

static void share_digits(veer_fx_nest_t *n) {
    list_digits(n);
    for (int s = 0; s < n->space_count; s++) {
        veer_fx_space_t *space = &n->spaces[s];
        if (!space->shared) continue;
        bool even = match_digits(n, space); /* it did before; further cuts only make finer digits */
        assert(even);
        (void)even;
        for (int k = 0; k < n->digit_count; k++) space->vars |= 1u << n->digits[k];
    }
}

/* Splits each result dimension into row digits above and inner digits below. False where they are mixed. */
static bool find_inner(veer_fx_nest_t *n) {
    bool any = false;
    for (int o = 0; o < n->rank; o++) {
        const veer_fx_origin_t *origin = &n->origins[o];
        int v = origin->first_var + origin->var_count - 1;
        n->inner[o] = 1;
        for (; v >= origin->first_var && !(n->row_vars >> v & 1); v--) n->inner[o] *= n->extent[v], any = true;
        for (; v >= origin->first_var; v--)
            if (!(n->row_vars >> v & 1)) return false;
        if (origin->start) return false;
    }
    return any;
}

static bool dear_reductions(const veer_fx_nest_t *n, int space) {
    for (int i = 0; i < n->point_count; i++)
        if (n->points[i].vars & n->spaces[space].vars && veer_fx_point_cost(&n->points[i]) >= DEAR) return true;
    return false;
}

/* Result dimensions that no reduction depends on, where they multiply up to the axes that reductions sweep, become the
 * variables of those reductions too: a value needed in both is one point, and may be kept from one sweep to the next.
 * Where the axes are cut differently that makes shorter loops: worth it only for dear values. */
static bool unify(veer_fx_nest_t *n) {
    if (n->unified || !n->space_count || !find_inner(n)) return false;
    list_digits(n);
    for (int s = 0; s < n->space_count; s++) {
        veer_fx_space_t *space = &n->spaces[s];
        bool wanted = space->axis_count == n->digit_count || dear_reductions(n, s);
        if (wanted && match_digits(n, space)) space->shared = n->unified = true;
        for (int i = 0; i < space->axis_count; i++)
            n->origins[space->origins[i]].digit_count = 0; /* until built anew */
    }
    return n->unified;
}

/* ---- building ---- */

/* Variables of all dimensions, cut as is known by now. */
static bool make_vars(veer_fx_nest_t *n) {
    n->var_count = 0;
    for (int s = 0; s < n->space_count; s++) n->spaces[s].vars = 0;
    for (int o = 0; o < n->origin_count; o++) {
        int space = n->origins[o].space;
        n->origins[o].var_count = n->origins[o].digit_count = 0;
        if ((space < 0 || !n->spaces[space].shared) && !veer_nest_add_vars(n, o)) return false;
    }
    if (n->unified) share_digits(n);
    return true;
}

/* Points for the variables as they stand now. */
static bool build(veer_fx_nest_t *n, const int *results, int result_count, bool *out_in) {
    n->store_count = 0;
    if (!veer_nest_clear_points(n) || !make_vars(n)) return false;
    const veer_type_t main_type = *result_type(n, results[0]);
    for (int i = 0; i < result_count; i++) {
        veer_nest_map_t m;
        const veer_type_t *t = result_type(n, results[i]);
        bool same = veer_type_same_shape(t, &main_type);
        out_in[i] = same;
        if (!same || n->store_count == VEER_FX_MAX_STORES) continue;
        result_map(n, t, &main_type, &m);
        if (!add_store(n, results[i], &m)) return false;
    }
    find_row_vars(n);
    return true;
}

/* Forgets what was added since `before` was copied; arrays that grew in between keep their room. */
static void undo(veer_fx_nest_t *n, const veer_fx_nest_t *before) {
    n->space_count = before->space_count, n->origin_count = before->origin_count, n->var_count = before->var_count;
    n->store_count = before->store_count;
    veer_nest_keep_points(n, before->point_count, before->guard_count);
}

/* Results with fewer dims (a mean beside what it normalises) come along where they vary with exactly the row variables.
 */
static bool add_row_results(veer_fx_nest_t *n, const int *results, int result_count, bool *in) {
    const veer_type_t main_type = *result_type(n, results[0]);
    for (int i = 1; i < result_count; i++) {
        veer_nest_map_t m;
        if (in[i] || n->store_count == VEER_FX_MAX_STORES || !result_map(n, result_type(n, results[i]), &main_type, &m))
            continue;
        veer_fx_nest_t before = *n;
        bool done = add_store(n, results[i], &m);
        if (!done && (n->restart || n->region->out_of_memory)) return false;
        const veer_fx_store_t *s = &n->stores[before.store_count];
        in[i] = done && n->space_count == before.space_count && s->vars == n->row_vars &&
                !(n->points[s->point].vars & ~n->row_vars);
        if (!in[i]) undo(n, &before);
    }
    return true;
}

/* ---- merging variables ---- v directly inside u, and every index goes through both as through one. */
static bool mergeable(const veer_fx_nest_t *n, const veer_fx_affine_t *a, int u, int v) {
    return a->coef[u] == a->coef[v] * n->extent[v];
}

static bool can_merge(const veer_fx_nest_t *n, int u, int v) {
    for (int i = 0; i < n->point_count; i++)
        if (!mergeable(n, &n->points[i].at, u, v) || !mergeable(n, &n->points[i].at2, u, v)) return false;
    for (int i = 1; i < n->guard_count; i++)
        if (!mergeable(n, &n->guards[i].at, u, v)) return false;
    for (int i = 0; i < n->store_count; i++)
        if (!mergeable(n, &n->stores[i].at, u, v)) return false;
    return true;
}

static void drop_var(veer_fx_nest_t *n, int u) {
    uint32_t bit = 1u << u;
    for (int i = 0; i < n->point_count; i++)
        n->points[i].at.coef[u] = n->points[i].at2.coef[u] = 0, n->points[i].vars &= ~bit;
    for (int i = 1; i < n->guard_count; i++) n->guards[i].at.coef[u] = 0, n->guards[i].vars &= ~bit;
    for (int i = 0; i < n->store_count; i++) n->stores[i].at.coef[u] = 0, n->stores[i].vars &= ~bit;
    for (int s = 0; s < n->space_count; s++) n->spaces[s].vars &= ~bit;
    n->row_vars &= ~bit;
    n->extent[u] = 1;
}

/* Which place a variable has: its space, or row, or the results' own inner variables. */
static int place(const veer_fx_nest_t *n, int v) {
    for (int s = 0; s < n->space_count; s++)
        if (n->spaces[s].vars >> v & 1) return s;
    return n->row_vars >> v & 1 ? VEER_FX_MAX_SPACES : VEER_FX_MAX_SPACES + 1;
}

static void merge_vars(veer_fx_nest_t *n) {
    for (int v = n->var_count - 1; v > 0; v--) {
        for (int u = v - 1; n->extent[v] > 1 && u >= 0; u--) {
            if (n->extent[u] == 1 || place(n, u) != place(n, v)) continue;
            if (!can_merge(n, u, v)) break;
            int64_t extent = n->extent[u] * n->extent[v];
            drop_var(n, u);
            n->extent[v] = extent;
        }
    }
}

static bool build_until_settled(veer_fx_nest_t *n, int *results, int result_count, bool *in) {
    for (int tries = 0; tries < MAX_RESTARTS; tries++) {
        n->restart = false;
        if (build(n, results, result_count, in)) {
            if (n->cut_axis >= 0 && n->space_count == 0) return true;
            if (unify(n)) continue;
            if (n->space_count == 0 || add_row_results(n, results, result_count, in)) return true;
        }
        if (!n->restart) return false;
    }
    return veer_fx_decline(n->region, "the reshapes do not settle");
}

bool veer_fx_nest_init(veer_fx_nest_t *n, veer_fx_region_t *region, int *results, int result_count,
                       const veer_fx_box_t *box, bool may_cut) {
    const veer_type_t *t = &region->exprs[region->roots[results[0]]].type;
    memset(n, 0, sizeof *n);
    n->region = region, n->rank = n->origin_count = t->rank, n->cut_axis = may_cut ? -1 : -2;
    n->memo = veer_arena_array(region->arena, (size_t)region->count + 1, sizeof *n->memo);
    bool in[VEER_FX_MAX_STORES] = {false};
    if (!n->memo) return region->out_of_memory = true, false;
    for (int i = 0; i < t->rank; i++) {
        n->origins[i] = (veer_fx_origin_t){.start = box->start[i], .extent = box->size[i], .space = -1};
    }
    if (result_count > VEER_FX_MAX_STORES) result_count = VEER_FX_MAX_STORES;
    if (!build_until_settled(n, results, result_count, in)) return false;
    if (n->cut_axis >= 0 && n->space_count == 0) return true; /* to be built again, in two */
    merge_vars(n);
    for (int i = 0; i < result_count; i++)
        if (in[i]) results[i] = -1;
    return true;
}
