#include "backends/llvm/nest.h"

#include <assert.h>
#include <string.h>

enum { MAX_RESTARTS = 64, MAX_POINTS = 6000, DEAR = 8 };

/* One dimension of an index: affine, plus points computed while running. */
typedef struct index_s {
    veer_fx_affine_t a;
    int dynamic_count, dynamic[VEER_FX_MAX_DYNAMIC], unused; /* no padding: indices are compared as bytes */
    int64_t coef[VEER_FX_MAX_DYNAMIC];
} index_t;

typedef struct map_s {
    index_t dim[VEER_MAX_RANK];
} map_t;

typedef struct memo_s {
    struct memo_s *next;
    int guard, point, rank;
    index_t dim[];
} memo_t;

static int point_of(veer_fx_nest_t *n, int expr, const map_t *m, int guard);

/* ---- affine arithmetic ---- */
static void affine_add(veer_fx_affine_t *to, const veer_fx_affine_t *a, int64_t factor) {
    to->c += a->c * factor;
    for (int v = 0; v < VEER_FX_MAX_VARS; v++) to->coef[v] += a->coef[v] * factor;
}

static void affine_range(const veer_fx_nest_t *n, const veer_fx_affine_t *a, int64_t *low, int64_t *high) {
    *low = *high = a->c;
    for (int v = 0; v < n->var_count; v++) {
        int64_t reach = a->coef[v] * (n->extent[v] - 1);
        if (reach > 0)
            *high += reach;
        else
            *low += reach;
    }
}

static uint32_t affine_vars(const veer_fx_affine_t *a) {
    uint32_t vars = 0;
    for (int v = 0; v < VEER_FX_MAX_VARS; v++)
        if (a->coef[v]) vars |= 1u << v;
    return vars;
}

static bool index_add(veer_fx_nest_t *n, index_t *to, const index_t *x, int64_t factor) {
    affine_add(&to->a, &x->a, factor);
    for (int i = 0; i < x->dynamic_count; i++) {
        if (to->dynamic_count == VEER_FX_MAX_DYNAMIC)
            return veer_fx_decline(n->region, "more than %d gathers on one index", VEER_FX_MAX_DYNAMIC);
        to->dynamic[to->dynamic_count] = x->dynamic[i];
        to->coef[to->dynamic_count++] = x->coef[i] * factor;
    }
    return true;
}

int64_t veer_fx_count_vars(const veer_fx_nest_t *n, uint32_t vars) {
    int64_t count = 1;
    for (int v = 0; v < n->var_count; v++)
        if (vars >> v & 1) count *= n->extent[v];
    return count;
}

/* ---- costs ---- */
double veer_fx_point_cost(const veer_fx_point_t *p) {
    if (p->kind == VEER_PT_NOISE) return 60;
    if (p->kind == VEER_PT_LOAD) return p->dynamic_count ? 4 : 1;
    if (p->kind != VEER_PT_OP) return 1;
    switch (p->op) {
    case VEER_OP_POW: return 60;
    case VEER_OP_SIN:
    case VEER_OP_COS:
    case VEER_OP_ERF:
    case VEER_OP_GELU:
    case VEER_OP_ATAN:
    case VEER_OP_TANH:
    case VEER_OP_SOFTPLUS: return 30;
    case VEER_OP_EXP:
    case VEER_OP_LOG:
    case VEER_OP_SIGMOID:
    case VEER_OP_SILU: return 14;
    case VEER_OP_DIV:
    case VEER_OP_SQRT:
    case VEER_OP_RSQRT:
    case VEER_OP_RECIPROCAL: return 4;
    case VEER_OP_MOD: return 8;
    default: return 1;
    }
}

/* ---- variables ---- */
static bool add_vars(veer_fx_nest_t *n, int origin) {
    veer_fx_origin_t *o = &n->origins[origin];
    o->first_var = n->var_count, o->var_count = 0;
    if (o->extent == 1) return true;
    for (int i = o->split_count; i >= 0; i--) { /* outermost first */
        int64_t above = i == o->split_count ? o->extent : o->splits[i], below = i ? o->splits[i - 1] : 1;
        if (n->var_count == VEER_FX_MAX_VARS)
            return veer_fx_decline(n->region, "more than %d loop variables", VEER_FX_MAX_VARS);
        n->extent[n->var_count++] = above / below;
        o->var_count++;
    }
    if (o->space >= 0)
        for (int i = 0; i < o->var_count; i++) n->spaces[o->space].vars |= 1u << (o->first_var + i);
    return true;
}

static index_t origin_index(const veer_fx_nest_t *n, int origin) {
    const veer_fx_origin_t *o = &n->origins[origin];
    index_t x = {.a = {.c = o->start}};
    int64_t stride = 1;
    for (int k = o->first_digit + o->digit_count - 1; k >= o->first_digit; stride *= n->extent[n->digits[k--]])
        x.a.coef[n->digits[k]] = stride;
    for (int v = o->first_var + o->var_count - 1; v >= o->first_var; stride *= n->extent[v--]) x.a.coef[v] = stride;
    return x;
}

/* Cuts variable v so that its inner part has extent t; the nest is built anew. */
static bool split(veer_fx_nest_t *n, int v, int64_t t) {
    for (int i = 0; i < n->origin_count; i++) {
        veer_fx_origin_t *o = &n->origins[i];
        if (v < o->first_var || v >= o->first_var + o->var_count) continue;
        for (int w = v + 1; w < o->first_var + o->var_count; w++) t *= n->extent[w];
        if (o->split_count == VEER_FX_MAX_SPLITS)
            return veer_fx_decline(n->region, "a dimension is reshaped in too many ways");
        int at = 0;
        while (at < o->split_count && o->splits[at] < t) at++;
        memmove(o->splits + at + 1, o->splits + at, (size_t)(o->split_count - at) * sizeof *o->splits);
        o->splits[at] = t;
        o->split_count++;
        n->restart = true;
        return false;
    }
    assert(0 && "a variable without origin");
    return false;
}

/* The space of reductions over these extents: one for equal lists. -1 after a failure. */
static int space_of(veer_fx_nest_t *n, const int64_t *extents, int count) {
    for (int s = 0; s < n->space_count; s++)
        if (n->spaces[s].axis_count == count && !memcmp(n->spaces[s].extents, extents, (size_t)count * sizeof *extents))
            return s;
    if (n->space_count == VEER_FX_MAX_SPACES) {
        veer_fx_decline(n->region, "reductions over more than %d kinds of axes", VEER_FX_MAX_SPACES);
        return -1;
    }
    int s = n->space_count++;
    veer_fx_space_t *space = &n->spaces[s];
    *space = (veer_fx_space_t){.axis_count = count};
    for (int i = 0; i < count; i++) {
        space->extents[i] = extents[i];
        space->origins[i] = n->origin_count;
        n->origins[n->origin_count++] = (veer_fx_origin_t){.extent = extents[i], .space = s};
        if (!add_vars(n, n->origin_count - 1)) return -1;
    }
    return s;
}

/* ---- points and guards ---- */
static bool reserve(veer_fx_nest_t *n, void **array, int count, int *room, size_t size) {
    if (count < *room) return true;
    void *bigger = veer_arena_array(n->region->arena, *room ? (size_t)*room * 2 : 128, size);
    if (!bigger) return n->region->out_of_memory = true, false;
    if (count) memcpy(bigger, *array, (size_t)count * size);
    *array = bigger;
    *room = *room ? *room * 2 : 128;
    return true;
}

static uint32_t guard_vars(const veer_fx_nest_t *n, int guard) {
    return guard ? n->guards[guard].vars : 0;
}

static void derive(const veer_fx_nest_t *n, veer_fx_point_t *p) {
    p->vars = affine_vars(&p->at) | affine_vars(&p->at2) | guard_vars(n, p->guard);
    for (int i = 0; i < p->arg_count; i++) p->vars |= n->points[p->args[i]].vars;
    for (int i = 0; i < p->dynamic_count; i++) p->vars |= n->points[p->dynamic[i]].vars;
    for (int i = 0; i < p->arg_count; i++)
        if (n->points[p->args[i]].level > p->level) p->level = n->points[p->args[i]].level;
    for (int i = 0; i < p->dynamic_count; i++)
        if (n->points[p->dynamic[i]].level > p->level) p->level = n->points[p->dynamic[i]].level;
    if (veer_fx_is_reduction(p)) p->vars &= ~n->spaces[p->space].vars, p->level++;
}

/* `p` must be zeroed before it is filled: points are compared as bytes. */
static int add_point(veer_fx_nest_t *n, veer_fx_point_t *p) {
    derive(n, p);
    for (int i = 0; i < n->point_count; i++)
        if (n->points[i].kind == p->kind && n->points[i].op == p->op && !memcmp(&n->points[i], p, sizeof *p)) return i;
    if (n->point_count == MAX_POINTS) return veer_fx_decline(n->region, "the body is too large") ? 0 : -1;
    if (!reserve(n, (void **)&n->points, n->point_count, &n->point_room, sizeof *p)) return -1;
    memcpy(&n->points[n->point_count], p, sizeof *p);
    return n->point_count++;
}

static veer_fx_point_t new_point(veer_fx_point_kind_t kind, veer_dtype_t dtype) {
    veer_fx_point_t p;
    memset(&p, 0, sizeof p);
    p.kind = kind, p.dtype = dtype;
    return p;
}

/* -1 after a failure, `parent` itself where the condition always holds. */
static int add_guard(veer_fx_nest_t *n, int parent, const veer_fx_affine_t *at, int64_t low, int64_t high) {
    int64_t from, to;
    affine_range(n, at, &from, &to);
    if (from >= low && to < high) return parent;
    veer_fx_guard_t g;
    memset(&g, 0, sizeof g);
    g.parent = parent, g.low = low, g.high = high, g.at = *at;
    g.vars = affine_vars(at) | guard_vars(n, parent);
    for (int i = 1; i < n->guard_count; i++)
        if (!memcmp(&n->guards[i], &g, sizeof g)) return i;
    if (!reserve(n, (void **)&n->guards, n->guard_count, &n->guard_room, sizeof g)) return -1;
    n->guards[n->guard_count] = g;
    return n->guard_count++;
}

static int constant_point(veer_fx_nest_t *n, veer_dtype_t dtype, uint64_t bits) {
    veer_fx_point_t p = new_point(VEER_PT_CONST, dtype);
    p.bits = bits;
    return add_point(n, &p);
}

/* ---- index maps of the moving ops ---- */
static bool broadcast_map(const veer_type_t *out, const veer_type_t *in, const map_t *m, map_t *to) {
    memset(to, 0, sizeof *to);
    for (int i = 0; i < in->rank; i++)
        if (in->dims[i] != 1) to->dim[i] = m->dim[out->rank - in->rank + i];
    return true;
}

/* A linear index into dims[0..count) as one index per dimension. */
static bool split_linear(veer_fx_nest_t *n, const index_t *x, const int64_t *dims, int count, index_t *out) {
    if (count == 1) return out[0] = *x, true;
    if (x->dynamic_count) return veer_fx_decline(n->region, "a reshape splits a gathered dimension");
    int64_t stride[VEER_MAX_RANK], c = x->a.c;
    for (int i = count - 1; i >= 0; i--) stride[i] = i == count - 1 ? 1 : stride[i + 1] * dims[i + 1];
    for (int i = 0; i < count; i++) out[i].a.c = c / stride[i], c %= stride[i];
    for (int v = 0; v < n->var_count; v++) {
        int64_t k = x->a.coef[v];
        int i = 0;
        if (!k) continue;
        while (i < count - 1 && stride[i] > k) i++;
        if (k < 0 || k % stride[i])
            return veer_fx_decline(n->region, "a reshape mixes dimensions that were sliced or reversed");
        if (i && k / stride[i] * (n->extent[v] - 1) >= dims[i]) {
            int64_t t = stride[i - 1] / k;
            if (stride[i - 1] % k || n->extent[v] % t)
                return veer_fx_decline(n->region, "a reshape cuts a dimension unevenly");
            return split(n, v, t);
        }
        out[i].a.coef[v] += k / stride[i];
    }
    for (int i = 0; i < count; i++) {
        int64_t low, high;
        affine_range(n, &out[i].a, &low, &high);
        if (high >= dims[i]) return veer_fx_decline(n->region, "a reshape cuts a slice unevenly");
    }
    return true;
}

/* Dimensions in groups of equal products; within one, the index is made linear and split again. */
static bool reshape_map(veer_fx_nest_t *n, const veer_type_t *out, const veer_type_t *in, const map_t *m, map_t *to) {
    memset(to, 0, sizeof *to);
    if (veer_type_count(out) == 0) return true;
    for (int i = 0, o = 0; i < in->rank || o < out->rank;) {
        int64_t pi = 1, po = 1;
        int i0 = i, o0 = o;
        if (i < in->rank) pi = in->dims[i++];
        if (o < out->rank) po = out->dims[o++];
        while (pi != po) {
            if (pi < po)
                pi *= in->dims[i++];
            else
                po *= out->dims[o++];
        }
        index_t linear = {0};
        int64_t stride = 1;
        for (int k = o - 1; k >= o0; stride *= out->dims[k--])
            if (out->dims[k] > 1 && !index_add(n, &linear, &m->dim[k], stride)) return false;
        int64_t dims[VEER_MAX_RANK];
        index_t parts[VEER_MAX_RANK] = {0};
        int count = 0, slot[VEER_MAX_RANK];
        for (int k = i0; k < i; k++)
            if (in->dims[k] > 1) slot[count] = k, dims[count++] = in->dims[k];
        if (count && !split_linear(n, &linear, dims, count, parts)) return false;
        for (int k = 0; k < count; k++) to->dim[slot[k]] = parts[k];
    }
    return true;
}

static bool slice_map(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, map_t *to) {
    memset(to, 0, sizeof *to);
    for (int i = 0; i < e->type.rank; i++) {
        to->dim[i].a.c = e->p[i];
        if (e->type.dims[i] > 1 && !index_add(n, &to->dim[i], &m->dim[i], e->q[i])) return false;
    }
    return true;
}

/* ---- expressions at an index ---- */
static int load_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(&e->type, strides);
    index_t x = {0};
    for (int i = 0; i < e->type.rank; i++)
        if (e->type.dims[i] != 1 && !index_add(n, &x, &m->dim[i], strides[i])) return -1;
    veer_fx_point_t p = new_point(VEER_PT_LOAD, e->type.dtype);
    p.i = e->i, p.j = e->kind == VEER_FX_TABLE, p.at = x.a, p.guard = guard;
    p.dynamic_count = x.dynamic_count;
    for (int i = 0; i < x.dynamic_count; i++) p.dynamic[i] = x.dynamic[i], p.dynamic_coef[i] = x.coef[i];
    return add_point(n, &p);
}

static int op_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    veer_fx_point_t p = new_point(VEER_PT_OP, e->type.dtype);
    p.op = e->op, p.i = e->i, p.arg_count = e->arg_count;
    for (int k = 0; k < e->arg_count; k++) {
        map_t to;
        broadcast_map(&e->type, &n->region->exprs[e->args[k]].type, m, &to);
        if ((p.args[k] = point_of(n, e->args[k], &to, guard)) < 0) return -1;
    }
    return add_point(n, &p);
}

/* A concat along a result's own dimension: the caller makes two nests, and no index is tested while running. */
static bool cut(veer_fx_nest_t *n, const veer_fx_affine_t *at, int64_t bound) {
    for (int o = 0; o < n->rank && n->cut_axis == -1; o++) {
        const veer_fx_origin_t *origin = &n->origins[o];
        if (origin->var_count != 1 || at->coef[origin->first_var] != 1) continue;
        veer_fx_affine_t rest = *at;
        rest.coef[origin->first_var] = 0;
        if (affine_vars(&rest)) continue;
        n->cut_axis = o, n->cut_at = bound - at->c + origin->start;
        return true;
    }
    return false;
}

static int concat_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    int axis = (int)e->i, point = -1;
    const veer_fx_affine_t *at = &m->dim[axis].a;
    if (m->dim[axis].dynamic_count) return veer_fx_decline(n->region, "a gather from a concat") ? 0 : -1;
    int64_t from, to, ends[64], end = 0;
    affine_range(n, at, &from, &to);
    if (e->type.dims[axis] <= 1) from = to = 0;
    if (e->arg_count > 64) return veer_fx_decline(n->region, "a concat of %d values", e->arg_count) ? 0 : -1;
    for (int k = 0; k < e->arg_count; k++) ends[k] = end += n->region->exprs[e->args[k]].type.dims[axis];
    for (int k = e->arg_count - 1; k >= 0; k--) { /* at < ends[0] ? a0 : at < ends[1] ? a1 : ... */
        int64_t start = k ? ends[k - 1] : 0;
        if (to < start || from >= ends[k]) continue;
        if (from < start && n->cut_axis >= -1) cut(n, at, start);
        int inside = add_guard(n, guard, at, start, ends[k]);
        map_t part = *m;
        part.dim[axis].a.c -= start;
        int value = inside < 0 ? -1 : point_of(n, e->args[k], &part, inside);
        if (value < 0) return -1;
        if (point >= 0) {
            veer_fx_point_t p = new_point(VEER_PT_CHOOSE, e->type.dtype);
            p.arg_count = 2, p.args[0] = value, p.args[1] = point, p.i = ends[k], p.at = *at;
            value = add_point(n, &p);
        }
        if ((point = value) < 0) return -1;
    }
    return point;
}

static int pad_constant_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    const veer_type_t *in = &n->region->exprs[e->args[0]].type;
    veer_fx_point_t tests[VEER_MAX_RANK];
    int test_count = 0;
    map_t to;
    memset(&to, 0, sizeof to);
    for (int i = 0; i < in->rank; i++) {
        index_t x = m->dim[i];
        x.a.c -= e->p[i];
        int64_t low, high;
        affine_range(n, &x.a, &low, &high);
        if (e->type.dims[i] == in->dims[i]) { /* no padding here */
            to.dim[i] = m->dim[i];
            continue;
        }
        if (x.dynamic_count) return veer_fx_decline(n->region, "a gather from a pad") ? 0 : -1;
        if (high < 0 || low >= in->dims[i]) return constant_point(n, e->type.dtype, e->bits);
        to.dim[i] = x;
        if (low >= 0 && high < in->dims[i]) continue;
        if ((guard = add_guard(n, guard, &x.a, 0, in->dims[i])) < 0) return -1;
        tests[test_count] = new_point(VEER_PT_INSIDE, e->type.dtype);
        tests[test_count].at = x.a, tests[test_count].i = in->dims[i], tests[test_count].bits = e->bits;
        test_count++;
    }
    int point = point_of(n, e->args[0], &to, guard);
    for (int i = 0; i < test_count && point >= 0; i++) {
        tests[i].arg_count = 1, tests[i].args[0] = point;
        point = add_point(n, &tests[i]);
    }
    return point;
}

static int pad_fold_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    const veer_type_t *in = &n->region->exprs[e->args[0]].type;
    map_t to = *m;
    for (int i = 0; i < in->rank; i++) {
        if (e->type.dims[i] == in->dims[i]) continue;
        if (m->dim[i].dynamic_count) return veer_fx_decline(n->region, "a gather from a pad") ? 0 : -1;
        veer_fx_point_t p = new_point(VEER_PT_FOLD, VEER_DTYPE_I64);
        p.at = m->dim[i].a, p.at.c -= e->p[i], p.i = in->dims[i], p.j = e->i;
        memset(&to.dim[i], 0, sizeof to.dim[i]);
        to.dim[i].dynamic_count = 1, to.dim[i].coef[0] = 1;
        if ((to.dim[i].dynamic[0] = add_point(n, &p)) < 0) return -1;
    }
    return point_of(n, e->args[0], &to, guard);
}

/* Dimension `axis` of data comes from an index tensor at `im`; the others of `to` are filled already. */
static int gathered(veer_fx_nest_t *n, const veer_fx_expr_t *e, int axis, const map_t *im, map_t *to, int guard) {
    veer_fx_point_t p = new_point(VEER_PT_INDEX, VEER_DTYPE_I64);
    p.i = n->region->exprs[e->args[0]].type.dims[axis], p.guard = guard, p.arg_count = 1;
    if ((p.args[0] = point_of(n, e->args[1], im, guard)) < 0) return -1;
    memset(&to->dim[axis], 0, sizeof to->dim[axis]);
    to->dim[axis].dynamic_count = 1, to->dim[axis].coef[0] = 1;
    if ((to->dim[axis].dynamic[0] = add_point(n, &p)) < 0) return -1;
    return point_of(n, e->args[0], to, guard);
}

static int gather_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    const veer_type_t *data = &n->region->exprs[e->args[0]].type, *ids = &n->region->exprs[e->args[1]].type;
    int axis = (int)e->i;
    map_t to, im;
    memset(&to, 0, sizeof to), memset(&im, 0, sizeof im);
    if (e->kind == VEER_FX_GATHER_ELEMENTS) {
        im = *m, to = *m;
        return gathered(n, e, axis, &im, &to, guard);
    }
    for (int i = 0; i < ids->rank; i++) im.dim[i] = m->dim[axis + i];
    for (int i = 0; i < data->rank; i++)
        if (i != axis) to.dim[i] = m->dim[i < axis ? i : i + ids->rank - 1];
    return gathered(n, e, axis, &im, &to, guard);
}

static uint32_t index_vars(const veer_fx_nest_t *n, const index_t *x) {
    uint32_t vars = affine_vars(&x->a);
    for (int i = 0; i < x->dynamic_count; i++) vars |= n->points[x->dynamic[i]].vars;
    return vars;
}

static int reduce_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    static const char different[] = "a reduction of another reduction's results along a different axis";
    const veer_type_t *in = &n->region->exprs[e->args[0]].type;
    int64_t extents[VEER_MAX_RANK];
    int count = 0;
    for (int i = 0; i < in->rank; i++)
        if (e->p[i] && in->dims[i] != 1) extents[count++] = in->dims[i];
    int space = space_of(n, extents, count);
    if (space < 0) return -1;
    uint32_t outside = guard_vars(n, guard);
    map_t to;
    memset(&to, 0, sizeof to);
    veer_fx_point_t p = new_point(e->kind == VEER_FX_REDUCE ? VEER_PT_REDUCE : VEER_PT_ARG_MAX, e->type.dtype);
    for (int i = 0, o = 0, axis = 0; i < in->rank; i++) {
        if (e->p[i] && in->dims[i] != 1) {
            to.dim[i] = origin_index(n, n->spaces[space].origins[axis++]);
            p.at = to.dim[i].a;
        } else if (!e->p[i] && in->dims[i] != 1) {
            to.dim[i] = m->dim[o];
            /* This one is inside another over equally long axes, of which it is asked for each element. */
            if (index_vars(n, &to.dim[i]) & n->spaces[space].vars)
                return veer_fx_decline(n->region, different) ? 0 : -1;
        }
        if (!e->p[i] || e->i) o++;
    }
    /* It is asked for each element of another reduction, over equally long axes: one variable cannot count both. */
    if (outside & n->spaces[space].vars) return veer_fx_decline(n->region, different) ? 0 : -1;
    if (p.kind == VEER_PT_REDUCE) memset(&p.at, 0, sizeof p.at);
    p.op = e->op, p.space = space, p.arg_count = 1, p.j = e->j;
    if ((p.args[0] = point_of(n, e->args[0], &to, guard)) < 0) return -1;
    if (p.kind == VEER_PT_REDUCE && count == 0) return p.args[0];
    for (int i = 0; i < n->point_count; i++) { /* a reduction inside must not run in this one's loops */
        const veer_fx_point_t *q = &n->points[i];
        if (veer_fx_is_reduction(q) && q->vars & n->spaces[space].vars)
            return veer_fx_decline(n->region, different) ? 0 : -1;
    }
    return add_point(n, &p);
}

static int noise_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m) {
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(&e->type, strides);
    veer_fx_point_t p = new_point(VEER_PT_NOISE, VEER_DTYPE_F32);
    p.i = e->i, p.arg_count = 3;
    index_t element = {0}, sample = {0};
    for (int i = 0; i < e->type.rank; i++)
        if (e->type.dims[i] != 1 && !index_add(n, i ? &element : &sample, &m->dim[i], i ? strides[i] : 1)) return -1;
    if (element.dynamic_count || sample.dynamic_count)
        return veer_fx_decline(n->region, "a gather from noise") ? 0 : -1;
    p.at = element.a, p.at2 = sample.a;
    map_t scalar;
    memset(&scalar, 0, sizeof scalar);
    for (int i = 0; i < 3; i++)
        if ((p.args[i] = point_of(n, e->args[i], &scalar, 0)) < 0) return -1;
    return add_point(n, &p);
}

static int make_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const map_t *m, int guard) {
    const veer_type_t *in = e->arg_count ? &n->region->exprs[e->args[0]].type : NULL;
    map_t to;
    memset(&to, 0, sizeof to);
    switch (e->kind) {
    case VEER_FX_INPUT:
    case VEER_FX_TABLE: return load_point(n, e, m, guard);
    case VEER_FX_CONST: return constant_point(n, e->type.dtype, e->bits);
    case VEER_FX_OP: return op_point(n, e, m, guard);
    case VEER_FX_RESHAPE: return reshape_map(n, &e->type, in, m, &to) ? point_of(n, e->args[0], &to, guard) : -1;
    case VEER_FX_TRANSPOSE:
        for (int i = 0; i < e->type.rank; i++) to.dim[e->p[i]] = m->dim[i];
        return point_of(n, e->args[0], &to, guard);
    case VEER_FX_BROADCAST: broadcast_map(&e->type, in, m, &to); return point_of(n, e->args[0], &to, guard);
    case VEER_FX_SLICE: return slice_map(n, e, m, &to) ? point_of(n, e->args[0], &to, guard) : -1;
    case VEER_FX_CONCAT: return concat_point(n, e, m, guard);
    case VEER_FX_PAD:
        return e->i == VEER_FX_PAD_CONSTANT ? pad_constant_point(n, e, m, guard) : pad_fold_point(n, e, m, guard);
    case VEER_FX_GATHER:
    case VEER_FX_GATHER_ELEMENTS: return gather_point(n, e, m, guard);
    case VEER_FX_REDUCE:
    case VEER_FX_ARG_MAX: return reduce_point(n, e, m, guard);
    case VEER_FX_NOISE: return noise_point(n, e, m);
    }
    return -1;
}

/* Remembered by expression, guard and index, so that a value with many readers is visited once. */
static int point_of(veer_fx_nest_t *n, int expr, const map_t *m, int guard) {
    veer_fx_expr_t e = n->region->exprs[expr];
    size_t size = (size_t)e.type.rank * sizeof *m->dim;
    for (memo_t *k = n->memo[expr]; k; k = k->next)
        if (k->guard == guard && !memcmp(k->dim, m->dim, size)) return k->point;
    int point = make_point(n, &e, m, guard);
    if (point < 0) return -1;
    memo_t *k = veer_arena_alloc(n->region->arena, sizeof *k + size);
    if (!k) return n->region->out_of_memory = true, -1;
    k->guard = guard, k->point = point, k->next = n->memo[expr];
    memcpy(k->dim, m->dim, size);
    n->memo[expr] = k;
    return point;
}

/* ---- nests ---- */
static const veer_type_t *result_type(const veer_fx_nest_t *n, int result) {
    return &n->region->exprs[n->region->roots[result]].type;
}

/* The map of a result whose dims are those of the main one, or a prefix of them, or have 1 in places. False: neither.
 */
static bool result_map(const veer_fx_nest_t *n, const veer_type_t *t, const veer_type_t *main_type, map_t *m) {
    memset(m, 0, sizeof *m);
    if (t->rank > main_type->rank) return false;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 1) continue;
        if (t->dims[i] != main_type->dims[i]) return false;
        m->dim[i] = origin_index(n, i);
    }
    return true;
}

static bool add_store(veer_fx_nest_t *n, int result, const map_t *m) {
    const veer_type_t *t = result_type(n, result);
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(t, strides);
    veer_fx_store_t *s = &n->stores[n->store_count];
    memset(s, 0, sizeof *s);
    s->result = result;
    for (int i = 0; i < t->rank; i++) affine_add(&s->at, &m->dim[i].a, t->dims[i] == 1 ? 0 : strides[i]);
    s->vars = affine_vars(&s->at);
    s->point = point_of(n, n->region->roots[result], m, 0);
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

/* Builds points for the variables as they stand now. */
static bool build(veer_fx_nest_t *n, const int *results, int result_count, bool *out_in) {
    n->point_count = n->store_count = n->var_count = 0;
    n->guard_count = 1;
    if (!reserve(n, (void **)&n->guards, 0, &n->guard_room, sizeof *n->guards)) return false;
    memset(n->memo, 0, (size_t)n->region->count * sizeof *n->memo);
    for (int s = 0; s < n->space_count; s++) n->spaces[s].vars = 0;
    for (int o = 0; o < n->origin_count; o++) {
        int space = n->origins[o].space;
        n->origins[o].var_count = n->origins[o].digit_count = 0;
        if ((space < 0 || !n->spaces[space].shared) && !add_vars(n, o)) return false;
    }
    if (n->unified) share_digits(n);
    const veer_type_t main_type = *result_type(n, results[0]);
    for (int i = 0; i < result_count; i++) {
        map_t m;
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
    n->point_count = before->point_count, n->guard_count = before->guard_count, n->store_count = before->store_count;
    n->space_count = before->space_count, n->origin_count = before->origin_count, n->var_count = before->var_count;
    memset(n->memo, 0, (size_t)n->region->count * sizeof *n->memo);
}

/* Results with fewer dims (a mean beside what it normalises) come along where they vary with exactly the row variables.
 */
static bool add_row_results(veer_fx_nest_t *n, const int *results, int result_count, bool *in) {
    const veer_type_t main_type = *result_type(n, results[0]);
    for (int i = 1; i < result_count; i++) {
        map_t m;
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
