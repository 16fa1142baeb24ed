/* Points: every element that a nest computes, as an operation at an index. Made from expressions, from the results
 * back to the operands.
 *
 *     y[i, j] = exp(x[j, i]), x: [4, 5]        p0 = load x at 5 j + i        p1 = exp p0
 *
 * Invariants:
 * 1. Operands come before what reads them, so one walk through the array sees values before their readers.
 * 2. Equal points are one point, compared as bytes: structs are zeroed before they are filled.
 * 3. A guard says where a value is wanted: the inside of a pad, one part of a concat. What may fault bears it (loads,
 *    indices that are checked); all else is computed anywhere and not taken.
 */
#include "backends/llvm/nest_internal.h"

#include <string.h>

enum { MAX_POINTS = 6000 };

typedef struct memo_s {
    struct memo_s *next;
    int guard, point;
    veer_nest_index_t dim[];
} memo_t;

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

void veer_nest_keep_points(veer_fx_nest_t *n, int point_count, int guard_count) {
    n->point_count = point_count, n->guard_count = guard_count;
    memset(n->memo, 0, (size_t)n->region->count * sizeof *n->memo);
}

bool veer_nest_clear_points(veer_fx_nest_t *n) {
    veer_nest_keep_points(n, 0, 1);
    return reserve(n, (void **)&n->guards, 0, &n->guard_room, sizeof *n->guards);
}

static uint32_t guard_vars(const veer_fx_nest_t *n, int guard) {
    return guard ? n->guards[guard].vars : 0;
}

static void derive(const veer_fx_nest_t *n, veer_fx_point_t *p) {
    p->vars = veer_nest_affine_vars(&p->at) | veer_nest_affine_vars(&p->at2) | guard_vars(n, p->guard);
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
    veer_nest_affine_range(n, at, &from, &to);
    if (from >= low && to < high) return parent;
    veer_fx_guard_t g;
    memset(&g, 0, sizeof g);
    g.parent = parent, g.low = low, g.high = high, g.at = *at;
    g.vars = veer_nest_affine_vars(at) | guard_vars(n, parent);
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

/* ---- loads, arithmetic, noise ---- */
static int load_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(&e->type, strides);
    veer_nest_index_t x = {0};
    for (int i = 0; i < e->type.rank; i++)
        if (e->type.dims[i] != 1 && !veer_nest_index_add(n, &x, &m->dim[i], strides[i])) return -1;
    veer_fx_point_t p = new_point(VEER_PT_LOAD, e->type.dtype);
    p.i = e->i, p.j = e->kind == VEER_FX_TABLE, p.at = x.a, p.guard = guard;
    p.dynamic_count = x.dynamic_count;
    for (int i = 0; i < x.dynamic_count; i++) p.dynamic[i] = x.dynamic[i], p.dynamic_coef[i] = x.coef[i];
    return add_point(n, &p);
}

static int op_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    veer_fx_point_t p = new_point(VEER_PT_OP, e->type.dtype);
    p.op = e->op, p.i = e->i, p.arg_count = e->arg_count;
    for (int k = 0; k < e->arg_count; k++) {
        veer_nest_map_t to;
        veer_nest_broadcast_map(&e->type, &n->region->exprs[e->args[k]].type, m, &to);
        if ((p.args[k] = veer_nest_point_of(n, e->args[k], &to, guard)) < 0) return -1;
    }
    return add_point(n, &p);
}

static int noise_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m) {
    int64_t strides[VEER_MAX_RANK];
    veer_type_strides(&e->type, strides);
    veer_fx_point_t p = new_point(VEER_PT_NOISE, VEER_DTYPE_F32);
    p.i = e->i, p.arg_count = 3;
    veer_nest_index_t element = {0}, sample = {0};
    for (int i = 0; i < e->type.rank; i++)
        if (e->type.dims[i] != 1 && !veer_nest_index_add(n, i ? &element : &sample, &m->dim[i], i ? strides[i] : 1))
            return -1;
    if (element.dynamic_count || sample.dynamic_count)
        return veer_fx_decline(n->region, "a gather from noise") ? 0 : -1;
    p.at = element.a, p.at2 = sample.a;
    veer_nest_map_t scalar;
    memset(&scalar, 0, sizeof scalar);
    for (int i = 0; i < 3; i++)
        if ((p.args[i] = veer_nest_point_of(n, e->args[i], &scalar, 0)) < 0) return -1;
    return add_point(n, &p);
}

/* ---- tests of an index: concat, pad ---- */

/* A concat along a result's own dimension: the caller makes two nests, and no index is tested while running. */
static bool cut(veer_fx_nest_t *n, const veer_fx_affine_t *at, int64_t bound) {
    for (int o = 0; o < n->rank && n->cut_axis == -1; o++) {
        const veer_fx_origin_t *origin = &n->origins[o];
        if (origin->var_count != 1 || at->coef[origin->first_var] != 1) continue;
        veer_fx_affine_t rest = *at;
        rest.coef[origin->first_var] = 0;
        if (veer_nest_affine_vars(&rest)) continue;
        n->cut_axis = o, n->cut_at = bound - at->c + origin->start;
        return true;
    }
    return false;
}

/* `value` where at < end, else `otherwise`. */
static int choose_point(veer_fx_nest_t *n, veer_dtype_t dtype, const veer_fx_affine_t *at, int64_t end, int value,
                        int otherwise) {
    veer_fx_point_t p = new_point(VEER_PT_CHOOSE, dtype);
    p.arg_count = 2, p.args[0] = value, p.args[1] = otherwise, p.i = end, p.at = *at;
    return add_point(n, &p);
}

static int concat_part(veer_fx_nest_t *n, const veer_fx_expr_t *e, int k, int64_t start, int64_t end,
                       const veer_nest_map_t *m, int guard) {
    int inside = add_guard(n, guard, &m->dim[e->i].a, start, end);
    veer_nest_map_t part = *m;
    part.dim[e->i].a.c -= start;
    return inside < 0 ? -1 : veer_nest_point_of(n, e->args[k], &part, inside);
}

/* at < ends[0] ? a0 : at < ends[1] ? a1 : ... */
static int concat_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    int axis = (int)e->i, point = -1;
    const veer_fx_affine_t *at = &m->dim[axis].a;
    if (m->dim[axis].dynamic_count) return veer_fx_decline(n->region, "a gather from a concat") ? 0 : -1;
    int64_t from, to, ends[64], end = 0;
    veer_nest_affine_range(n, at, &from, &to);
    if (e->type.dims[axis] <= 1) from = to = 0;
    if (e->arg_count > 64) return veer_fx_decline(n->region, "a concat of %d values", e->arg_count) ? 0 : -1;
    for (int k = 0; k < e->arg_count; k++) ends[k] = end += n->region->exprs[e->args[k]].type.dims[axis];
    for (int k = e->arg_count - 1; k >= 0; k--) {
        int64_t start = k ? ends[k - 1] : 0;
        if (to < start || from >= ends[k]) continue;
        if (from < start && n->cut_axis >= -1) cut(n, at, start);
        int value = concat_part(n, e, k, start, ends[k], m, guard);
        if (value >= 0 && point >= 0) value = choose_point(n, e->type.dtype, at, ends[k], value, point);
        if ((point = value) < 0) return -1;
    }
    return point;
}

/* `value` where at is inside, else what the pad says. */
static int inside_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_fx_affine_t *at, int64_t end,
                        int value) {
    veer_fx_point_t p = new_point(VEER_PT_INSIDE, e->type.dtype);
    p.at = *at, p.i = end, p.bits = e->bits;
    p.arg_count = 1, p.args[0] = value;
    return add_point(n, &p);
}

static int pad_constant_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    const veer_type_t *in = &n->region->exprs[e->args[0]].type;
    int tested[VEER_MAX_RANK], test_count = 0;
    veer_nest_map_t to = *m;
    for (int i = 0; i < in->rank; i++) {
        if (e->type.dims[i] == in->dims[i]) continue; /* no padding here */
        veer_fx_affine_t *at = &to.dim[i].a;
        int64_t low, high;
        at->c -= e->p[i];
        veer_nest_affine_range(n, at, &low, &high);
        if (to.dim[i].dynamic_count) return veer_fx_decline(n->region, "a gather from a pad") ? 0 : -1;
        if (high < 0 || low >= in->dims[i]) return constant_point(n, e->type.dtype, e->bits);
        if (low >= 0 && high < in->dims[i]) continue;
        if ((guard = add_guard(n, guard, at, 0, in->dims[i])) < 0) return -1;
        tested[test_count++] = i;
    }
    int point = veer_nest_point_of(n, e->args[0], &to, guard);
    for (int k = 0; k < test_count && point >= 0; k++)
        point = inside_point(n, e, &to.dim[tested[k]].a, in->dims[tested[k]], point);
    return point;
}

/* ---- computed indices ---- */

/* Dimension `axis` of data comes from an index tensor at `im`; the others of `to` are filled already. */
static int gathered(veer_fx_nest_t *n, const veer_fx_expr_t *e, int axis, const veer_nest_map_t *im,
                    veer_nest_map_t *to, int guard) {
    veer_fx_point_t p = new_point(VEER_PT_INDEX, VEER_DTYPE_I64);
    p.i = n->region->exprs[e->args[0]].type.dims[axis], p.guard = guard, p.arg_count = 1;
    if ((p.args[0] = veer_nest_point_of(n, e->args[1], im, guard)) < 0) return -1;
    memset(&to->dim[axis], 0, sizeof to->dim[axis]);
    to->dim[axis].dynamic_count = 1, to->dim[axis].coef[0] = 1;
    if ((to->dim[axis].dynamic[0] = add_point(n, &p)) < 0) return -1;
    return veer_nest_point_of(n, e->args[0], to, guard);
}

static int gather_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    const veer_type_t *data = &n->region->exprs[e->args[0]].type, *ids = &n->region->exprs[e->args[1]].type;
    int axis = (int)e->i;
    veer_nest_map_t to, im;
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

static int pad_fold_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    const veer_type_t *in = &n->region->exprs[e->args[0]].type;
    veer_nest_map_t to = *m;
    for (int i = 0; i < in->rank; i++) {
        if (e->type.dims[i] == in->dims[i]) continue;
        if (m->dim[i].dynamic_count) return veer_fx_decline(n->region, "a gather from a pad") ? 0 : -1;
        veer_fx_point_t p = new_point(VEER_PT_FOLD, VEER_DTYPE_I64);
        p.at = m->dim[i].a, p.at.c -= e->p[i], p.i = in->dims[i], p.j = e->i;
        memset(&to.dim[i], 0, sizeof to.dim[i]);
        to.dim[i].dynamic_count = 1, to.dim[i].coef[0] = 1;
        if ((to.dim[i].dynamic[0] = add_point(n, &p)) < 0) return -1;
    }
    return veer_nest_point_of(n, e->args[0], &to, guard);
}

/* ---- reductions ---- */
static uint32_t index_vars(const veer_fx_nest_t *n, const veer_nest_index_t *x) {
    uint32_t vars = veer_nest_affine_vars(&x->a);
    for (int i = 0; i < x->dynamic_count; i++) vars |= n->points[x->dynamic[i]].vars;
    return vars;
}

static int reduced_axes(const veer_fx_expr_t *e, const veer_type_t *in, int64_t *extents) {
    int count = 0;
    for (int i = 0; i < in->rank; i++)
        if (e->p[i] && in->dims[i] != 1) extents[count++] = in->dims[i];
    return count;
}

/* Where the elements lie that a reduction's element at `m` is made of. Gives the variables on which the dimensions
 * depend that it keeps. */
static uint32_t reduce_map(const veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_fx_space_t *space,
                           const veer_nest_map_t *m, veer_nest_map_t *to) {
    const veer_type_t *in = &n->region->exprs[e->args[0]].type;
    uint32_t kept = 0;
    memset(to, 0, sizeof *to);
    for (int i = 0, o = 0, axis = 0; i < in->rank; i++) {
        if (e->p[i] && in->dims[i] != 1) {
            to->dim[i] = veer_nest_origin_index(n, space->origins[axis++]);
        } else if (!e->p[i] && in->dims[i] != 1) {
            to->dim[i] = m->dim[o];
            kept |= index_vars(n, &to->dim[i]);
        }
        if (!e->p[i] || e->i) o++;
    }
    return kept;
}

/* Whether some reduction is wanted for each of the space's elements. */
static bool reduces_within(const veer_fx_nest_t *n, const veer_fx_space_t *space) {
    for (int i = 0; i < n->point_count; i++)
        if (veer_fx_is_reduction(&n->points[i]) && n->points[i].vars & space->vars) return true;
    return false;
}

static int reduce_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    static const char different[] = "a reduction of another reduction's results along a different axis";
    int64_t extents[VEER_MAX_RANK];
    int count = reduced_axes(e, &n->region->exprs[e->args[0]].type, extents);
    int s = veer_nest_space_of(n, extents, count);
    if (s < 0) return -1;
    const veer_fx_space_t *space = &n->spaces[s];
    veer_nest_map_t to;
    /* Asked for each element of another reduction over equally long axes: one variable cannot count both. */
    if ((reduce_map(n, e, space, m, &to) | guard_vars(n, guard)) & space->vars)
        return veer_fx_decline(n->region, different) ? 0 : -1;
    veer_fx_point_t p = new_point(e->kind == VEER_FX_REDUCE ? VEER_PT_REDUCE : VEER_PT_ARG_MAX, e->type.dtype);
    p.op = e->op, p.space = s, p.arg_count = 1, p.j = e->j;
    if (e->kind == VEER_FX_ARG_MAX && count) p.at = veer_nest_origin_index(n, space->origins[count - 1]).a;
    if ((p.args[0] = veer_nest_point_of(n, e->args[0], &to, guard)) < 0) return -1;
    if (e->kind == VEER_FX_REDUCE && count == 0) return p.args[0];
    /* A reduction inside must not run in this one's loops. */
    if (reduces_within(n, space)) return veer_fx_decline(n->region, different) ? 0 : -1;
    return add_point(n, &p);
}

/* ---- expressions at an index ---- */
static int make_point(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, int guard) {
    veer_nest_map_t to;
    switch (e->kind) {
    case VEER_FX_INPUT:
    case VEER_FX_TABLE: return load_point(n, e, m, guard);
    case VEER_FX_CONST: return constant_point(n, e->type.dtype, e->bits);
    case VEER_FX_OP: return op_point(n, e, m, guard);
    case VEER_FX_RESHAPE:
    case VEER_FX_TRANSPOSE:
    case VEER_FX_BROADCAST:
    case VEER_FX_SLICE: return veer_nest_view_map(n, e, m, &to) ? veer_nest_point_of(n, e->args[0], &to, guard) : -1;
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
int veer_nest_point_of(veer_fx_nest_t *n, int expr, const veer_nest_map_t *m, int guard) {
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
