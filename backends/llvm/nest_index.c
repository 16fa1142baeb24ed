/* Indices: which element is meant, as affine functions of loop variables.
 *
 *     a dimension of 6, alone        one variable v of extent 6, index v
 *     seen as [2, 3] by a reshape    variables u of 2 and v of 3, index 3 u + v; as [2, 3] indices u and v
 *
 * A view (reshape, transpose, broadcast, slice) maps its own indices to those of its operand, so a chain of views is a
 * composition of maps and costs no more than one index. A reshape makes indices linear and splits them again: each
 * variable goes to the dimension in whose stride its coefficient counts. One that runs beyond that dimension is cut in
 * two; its origin remembers where (`splits`), and the nest is built anew with finer variables.
 */
#include "backends/llvm/nest_internal.h"

#include <assert.h>
#include <string.h>

/* ---- affine functions ---- */
void veer_nest_affine_add(veer_fx_affine_t *to, const veer_fx_affine_t *a, int64_t factor) {
    to->c += a->c * factor;
    for (int v = 0; v < VEER_FX_MAX_VARS; v++) to->coef[v] += a->coef[v] * factor;
}

void veer_nest_affine_range(const veer_fx_nest_t *n, const veer_fx_affine_t *a, int64_t *low, int64_t *high) {
    *low = *high = a->c;
    for (int v = 0; v < n->var_count; v++) {
        int64_t reach = a->coef[v] * (n->extent[v] - 1);
        if (reach > 0)
            *high += reach;
        else
            *low += reach;
    }
}

uint32_t veer_nest_affine_vars(const veer_fx_affine_t *a) {
    uint32_t vars = 0;
    for (int v = 0; v < VEER_FX_MAX_VARS; v++)
        if (a->coef[v]) vars |= 1u << v;
    return vars;
}

bool veer_nest_index_add(veer_fx_nest_t *n, veer_nest_index_t *to, const veer_nest_index_t *x, int64_t factor) {
    veer_nest_affine_add(&to->a, &x->a, factor);
    for (int i = 0; i < x->dynamic_count; i++) {
        if (to->dynamic_count == VEER_FX_MAX_DYNAMIC)
            return veer_fx_decline(n->region, "more than %d gathers on one index", VEER_FX_MAX_DYNAMIC);
        to->dynamic[to->dynamic_count] = x->dynamic[i];
        to->coef[to->dynamic_count++] = x->coef[i] * factor;
    }
    return true;
}

/* ---- variables ---- */
int64_t veer_fx_count_vars(const veer_fx_nest_t *n, uint32_t vars) {
    int64_t count = 1;
    for (int v = 0; v < n->var_count; v++)
        if (vars >> v & 1) count *= n->extent[v];
    return count;
}

bool veer_nest_add_vars(veer_fx_nest_t *n, int origin) {
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

veer_nest_index_t veer_nest_origin_index(const veer_fx_nest_t *n, int origin) {
    const veer_fx_origin_t *o = &n->origins[origin];
    veer_nest_index_t x = {.a = {.c = o->start}};
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

int veer_nest_space_of(veer_fx_nest_t *n, const int64_t *extents, int count) {
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
        if (!veer_nest_add_vars(n, n->origin_count - 1)) return -1;
    }
    return s;
}

/* ---- views ---- */
void veer_nest_broadcast_map(const veer_type_t *out, const veer_type_t *in, const veer_nest_map_t *m,
                             veer_nest_map_t *to) {
    memset(to, 0, sizeof *to);
    for (int i = 0; i < in->rank; i++)
        if (in->dims[i] != 1) to->dim[i] = m->dim[out->rank - in->rank + i];
}

/* Adds k v of a linear index to the dimension where that belongs. */
static bool split_term(veer_fx_nest_t *n, int v, int64_t k, const int64_t *dims, const int64_t *stride, int count,
                       veer_nest_index_t *out) {
    int i = 0;
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
    return true;
}

/* A linear index into dims[0..count) as one index per dimension. */
static bool split_linear(veer_fx_nest_t *n, const veer_nest_index_t *x, const int64_t *dims, int count,
                         veer_nest_index_t *out) {
    if (count == 1) return out[0] = *x, true;
    if (x->dynamic_count) return veer_fx_decline(n->region, "a reshape splits a gathered dimension");
    int64_t stride[VEER_MAX_RANK], c = x->a.c;
    for (int i = count - 1; i >= 0; i--) stride[i] = i == count - 1 ? 1 : stride[i + 1] * dims[i + 1];
    for (int i = 0; i < count; i++) out[i].a.c = c / stride[i], c %= stride[i];
    for (int v = 0; v < n->var_count; v++)
        if (x->a.coef[v] && !split_term(n, v, x->a.coef[v], dims, stride, count, out)) return false;
    for (int i = 0; i < count; i++) {
        int64_t low, high;
        veer_nest_affine_range(n, &out[i].a, &low, &high);
        if (high >= dims[i]) return veer_fx_decline(n->region, "a reshape cuts a slice unevenly");
    }
    return true;
}

/* Dimensions i0 .. i-1 of the operand hold the same elements as o0 .. o-1 of the result. */
static bool reshape_group(veer_fx_nest_t *n, const veer_type_t *out, int o0, int o, const veer_type_t *in, int i0,
                          int i, const veer_nest_map_t *m, veer_nest_map_t *to) {
    veer_nest_index_t linear = {0}, parts[VEER_MAX_RANK] = {0};
    int64_t stride = 1, dims[VEER_MAX_RANK];
    int count = 0, slot[VEER_MAX_RANK];
    for (int k = o - 1; k >= o0; stride *= out->dims[k--])
        if (out->dims[k] > 1 && !veer_nest_index_add(n, &linear, &m->dim[k], stride)) return false;
    for (int k = i0; k < i; k++)
        if (in->dims[k] > 1) slot[count] = k, dims[count++] = in->dims[k];
    if (count && !split_linear(n, &linear, dims, count, parts)) return false;
    for (int k = 0; k < count; k++) to->dim[slot[k]] = parts[k];
    return true;
}

/* Dimensions in groups of equal products; within one, the index is made linear and split again. */
static bool reshape_map(veer_fx_nest_t *n, const veer_type_t *out, const veer_type_t *in, const veer_nest_map_t *m,
                        veer_nest_map_t *to) {
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
        if (!reshape_group(n, out, o0, o, in, i0, i, m, to)) return false;
    }
    return true;
}

static bool slice_map(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, veer_nest_map_t *to) {
    for (int i = 0; i < e->type.rank; i++) {
        to->dim[i].a.c = e->p[i];
        if (e->type.dims[i] > 1 && !veer_nest_index_add(n, &to->dim[i], &m->dim[i], e->q[i])) return false;
    }
    return true;
}

bool veer_nest_view_map(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, veer_nest_map_t *to) {
    const veer_type_t *in = &n->region->exprs[e->args[0]].type;
    memset(to, 0, sizeof *to);
    switch (e->kind) {
    case VEER_FX_RESHAPE: return reshape_map(n, &e->type, in, m, to);
    case VEER_FX_SLICE: return slice_map(n, e, m, to);
    case VEER_FX_BROADCAST: veer_nest_broadcast_map(&e->type, in, m, to); return true;
    default: break;
    }
    assert(e->kind == VEER_FX_TRANSPOSE);
    for (int i = 0; i < e->type.rank; i++) to->dim[e->p[i]] = m->dim[i];
    return true;
}
