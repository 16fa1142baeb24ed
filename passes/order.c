#include "passes/order.h"

#include <assert.h>

veer_order_t veer_order_of_axes(const veer_type_t *type, const int64_t *perm) {
    veer_order_t o = {.n = type->rank};
    for (int i = 0; i < type->rank; i++) o.axis[i] = i, o.size[i] = type->dims[i], o.at[i] = (int)perm[i];
    return o;
}

veer_order_t veer_order_row_major(const veer_type_t *type) {
    static const int64_t perm[VEER_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    return veer_order_of_axes(type, perm);
}

veer_type_t veer_order_stored(const veer_order_t *o, veer_dtype_t dtype) {
    veer_type_t t = {.dtype = dtype, .rank = o->n};
    for (int k = 0; k < o->n; k++) t.dims[k] = o->size[o->at[k]];
    return t;
}

static void positions(const veer_order_t *o, int *out) {
    for (int k = 0; k < o->n; k++) out[o->at[k]] = k;
}

/* Removes factor f. */
static void drop(veer_order_t *o, int f) {
    int k = 0;
    for (int i = 0; i < o->n; i++)
        if (o->at[i] != f) o->at[k++] = o->at[i] - (o->at[i] > f);
    for (int i = f; i + 1 < o->n; i++) o->axis[i] = o->axis[i + 1], o->size[i] = o->size[i + 1];
    o->n--;
}

static void drop_ones(veer_order_t *o) {
    for (int f = o->n; f-- > 0;)
        if (o->size[f] == 1) drop(o, f);
}

/* Factors of one axis that lie behind each other are one; a 1 is kept only where the axis has nothing else. */
static void merge(veer_order_t *o, bool across_axes) {
    int at[VEER_MAX_RANK] = {0};
    for (int f = 0; f + 1 < o->n;) {
        bool same = across_axes || o->axis[f] == o->axis[f + 1];
        if (same && (o->size[f] == 1 || o->size[f + 1] == 1)) {
            drop(o, o->size[f] == 1 ? f : f + 1);
            if (f) f--;
            continue;
        }
        positions(o, at);
        if (same && at[f + 1] == at[f] + 1) {
            o->size[f + 1] *= o->size[f];
            drop(o, f);
        } else {
            f++;
        }
    }
}

bool veer_order_equal(const veer_order_t *a, const veer_order_t *b) {
    veer_order_t x = *a, y = *b;
    drop_ones(&x), drop_ones(&y);
    merge(&x, true), merge(&y, true);
    if (x.n != y.n) return false;
    for (int i = 0; i < x.n; i++)
        if (x.size[i] != y.size[i] || x.at[i] != y.at[i]) return false;
    return true;
}

bool veer_order_is_row_major(const veer_order_t *o) {
    veer_order_t x = *o;
    drop_ones(&x);
    merge(&x, true);
    return x.n <= 1;
}

int veer_order_dim(const veer_order_t *o, int axis) {
    int dim = -1, count = 0;
    for (int k = 0; k < o->n; k++)
        if (o->axis[o->at[k]] == axis) dim = k, count++;
    return count == 1 ? dim : -1;
}

int veer_order_last(const veer_order_t *o) {
    for (int k = o->n; k-- > 0;)
        if (o->size[o->at[k]] > 1) return o->at[k];
    return -1;
}

/* Factor f becomes two, the second behind the first; sizes are the caller's to set. */
static bool split(veer_order_t *o, int f) {
    if (o->n == VEER_MAX_RANK) return false;
    int at[VEER_MAX_RANK] = {0};
    positions(o, at);
    int k = at[f];
    for (int i = 0; i < o->n; i++) o->at[i] += o->at[i] > f;
    for (int i = o->n; i > k + 1; i--) o->at[i] = o->at[i - 1];
    o->at[k + 1] = f + 1;
    for (int i = o->n; i > f + 1; i--) o->axis[i] = o->axis[i - 1], o->size[i] = o->size[i - 1];
    o->axis[f + 1] = o->axis[f], o->size[f + 1] = 1;
    o->n++;
    return true;
}

/* Cuts factor f so that its major part is `major`. */
static bool cut(veer_order_t *o, int f, int64_t major) {
    if (o->size[f] % major || !split(o, f)) return false;
    o->size[f + 1] = o->size[f] / major;
    o->size[f] = major;
    return true;
}

/* A factor of size 1 in front of factor f, lying behind the factor before it. */
static bool insert_one(veer_order_t *o, int f) {
    if (o->n == VEER_MAX_RANK) return false;
    if (f > 0) {
        if (!split(o, f - 1)) return false;
        o->size[f] = 1;
        return true;
    }
    for (int i = o->n; i > 0; i--)
        o->at[i] = o->at[i - 1] + 1, o->axis[i] = o->axis[i - 1], o->size[i] = o->size[i - 1];
    o->at[0] = 0, o->size[0] = 1, o->n++;
    return true;
}

bool veer_order_reshape(const veer_order_t *o, const veer_type_t *to, veer_order_t *out) {
    veer_order_t r = *o;
    int f = 0;
    for (int i = 0; i < r.n; i++)
        if (r.size[i] == 0) return false;
    for (int i = r.n; i-- > 0;)
        if (r.size[i] == 1) drop(&r, i);
    for (int axis = 0; axis < to->rank; axis++) {
        int64_t left = to->dims[axis];
        if (left == 1) {
            if (!insert_one(&r, f)) return false;
            r.axis[f++] = axis;
            continue;
        }
        for (; left > 1; f++) {
            if (r.size[f] > left ? !cut(&r, f, left) : left % r.size[f] != 0) return false;
            r.axis[f] = axis;
            left /= r.size[f];
        }
    }
    merge(&r, false);
    *out = r;
    return true;
}

veer_order_t veer_order_transpose(const veer_order_t *o, int rank, const int64_t *perm) {
    veer_order_t r = {.n = o->n};
    int n = 0, now[VEER_MAX_RANK] = {0};
    for (int axis = 0; axis < rank; axis++)
        for (int f = 0; f < o->n; f++) {
            if (o->axis[f] != perm[axis]) continue;
            r.axis[n] = axis, r.size[n] = o->size[f], now[f] = n++;
        }
    for (int k = 0; k < o->n; k++) r.at[k] = now[o->at[k]];
    return r;
}

veer_order_t veer_order_resize(const veer_order_t *o, int axis, int64_t size) {
    veer_order_t r = *o;
    for (int f = 0; f < r.n; f++)
        if (r.axis[f] == axis) r.size[f] = size;
    return r;
}

veer_order_t veer_order_reduce(const veer_order_t *o, unsigned mask, bool keep) {
    veer_order_t r = *o;
    int gone = 0, axis = -1;
    for (int f = 0; f < r.n; f++)
        if (mask >> r.axis[f] & 1) r.size[f] = 1;
    for (int f = r.n; !keep && f-- > 0;)
        if (mask >> r.axis[f] & 1) drop(&r, f);
    if (!keep) /* axes move up */
        for (int f = 0; f < r.n; f++) {
            for (; axis < r.axis[f]; axis++) gone += axis >= 0 && (mask >> axis & 1);
            r.axis[f] -= gone;
        }
    merge(&r, false);
    return r;
}

veer_order_t veer_order_project(const veer_order_t *o, int rank, const veer_type_t *type) {
    veer_order_t r = *o;
    for (int f = 0; f < r.n; f++) {
        int i = r.axis[f] - (rank - type->rank);
        if (i < 0 || type->dims[i] == 1) r.size[f] = 1;
    }
    return r;
}

/* Cuts the factors of `a` at the places where `b` has cuts, and the other way round. */
static bool refine(veer_order_t *a, veer_order_t *b) {
    for (int f = 0; f < a->n && f < b->n; f++) {
        if (a->size[f] > b->size[f] && !cut(a, f, b->size[f])) return false;
        if (b->size[f] > a->size[f] && !cut(b, f, a->size[f])) return false;
    }
    return a->n == b->n;
}

static bool same_factors(const veer_order_t *a, const veer_order_t *b) {
    if (a->n != b->n) return false;
    for (int f = 0; f < a->n; f++)
        if (a->size[f] != b->size[f]) return false;
    return true;
}

bool veer_order_move(const veer_order_t *a, const veer_order_t *b, veer_order_move_t *out) {
    veer_order_t x = *a, y = *b;
    int at[VEER_MAX_RANK] = {0};
    if (!same_factors(&x, &y)) {
        drop_ones(&x), drop_ones(&y);
        if (!refine(&x, &y)) return false;
    }
    positions(&x, at);
    out->rank = x.n;
    for (int k = 0; k < x.n; k++) {
        out->from[k] = x.size[x.at[k]];
        out->perm[k] = at[y.at[k]];
    }
    return true;
}
