/* Reductions: for each element of y a walk over the elements of x that it is made of. */
#include "backends/reference/kernel.h"

#include <math.h>

/* kept: over the dims that stay, operand 0 is the base in x; reduced: over the reduced dims, operand 0 is added to it.
 */
typedef struct reduction_s {
    veer_walk_t kept, reduced;
} reduction_t;

static reduction_t reduction_of(const veer_reference_call_t *c) {
    const veer_type_t *x = &c->in[0].type;
    veer_type_t kept = {.rank = x->rank}, reduced = {.rank = x->rank};
    int count, next = 0;
    int64_t strides[VEER_MAX_RANK];
    const int64_t *axes = veer_call_ints(c, "axes", &count);
    for (int i = 0; i < x->rank; i++) {
        bool is_reduced = next < count && axes[next] == i;
        next += is_reduced;
        kept.dims[i] = is_reduced ? 1 : x->dims[i];
        reduced.dims[i] = is_reduced ? x->dims[i] : 1;
    }
    reduction_t r = {veer_walk(&kept, 1), veer_walk(&reduced, 1)};
    veer_type_strides(x, strides);
    for (int i = 0; i < x->rank; i++) r.kept.strides[0][i] = r.reduced.strides[0][i] = strides[i];
    return r;
}

typedef double (*fold_f)(double so_far, double x);
typedef int64_t (*fold_i)(int64_t so_far, int64_t x, bool is_u64);

static double fold_floats(const veer_tensor_t *x, int64_t base, veer_walk_t w, double start, fold_f f) {
    for (; w.i < w.count; veer_walk_next(&w)) start = f(start, veer_load_double(x, base + w.at[0]));
    return start;
}
static int64_t fold_ints(const veer_tensor_t *x, int64_t base, veer_walk_t w, int64_t start, fold_i g) {
    for (; w.i < w.count; veer_walk_next(&w)) start = g(start, veer_load_int(x, base + w.at[0]), veer_is_u64(x));
    return start;
}

/* Folds begin with `start`, or with the first element where from_first is set. */
static veer_kernel_result_t fold(veer_reference_call_t *c, fold_f f, fold_i g, int64_t start, bool from_first) {
    const veer_tensor_t *x = &c->in[0], *y = &c->out[0];
    reduction_t r = reduction_of(c);
    for (veer_walk_t w = r.kept; w.i < w.count; veer_walk_next(&w)) {
        if (veer_is_exact(x))
            veer_store_int(y, w.i, fold_ints(x, w.at[0], r.reduced, from_first ? veer_load_int(x, w.at[0]) : start, g));
        else
            veer_store_double(
                y, w.i,
                fold_floats(x, w.at[0], r.reduced, from_first ? veer_load_double(x, w.at[0]) : (double)start, f));
    }
    return VEER_KERNEL_OK;
}

static double sum_f(double a, double x) {
    return a + x;
}
static double prod_f(double a, double x) {
    return a * x;
}
static double max_f(double a, double x) {
    return isnan(a) || a > x ? a : x;
}
static double min_f(double a, double x) {
    return isnan(a) || a < x ? a : x;
}
static int64_t sum_i(int64_t a, int64_t x, bool is_u64) {
    return (void)is_u64, (int64_t)((uint64_t)a + (uint64_t)x);
}
static int64_t prod_i(int64_t a, int64_t x, bool is_u64) {
    return (void)is_u64, (int64_t)((uint64_t)a * (uint64_t)x);
}
static bool less_i(int64_t x, int64_t y, bool is_u64) {
    return is_u64 ? (uint64_t)x < (uint64_t)y : x < y;
}
static int64_t max_i(int64_t a, int64_t x, bool is_u64) {
    return less_i(a, x, is_u64) ? x : a;
}
static int64_t min_i(int64_t a, int64_t x, bool is_u64) {
    return less_i(x, a, is_u64) ? x : a;
}

veer_kernel_result_t veer_reference_reduce_sum(veer_reference_call_t *c) {
    return fold(c, sum_f, sum_i, 0, false);
}
veer_kernel_result_t veer_reference_reduce_prod(veer_reference_call_t *c) {
    return fold(c, prod_f, prod_i, 1, false);
}
veer_kernel_result_t veer_reference_reduce_max(veer_reference_call_t *c) {
    return fold(c, max_f, max_i, 0, true);
}
veer_kernel_result_t veer_reference_reduce_min(veer_reference_call_t *c) {
    return fold(c, min_f, min_i, 0, true);
}

static int64_t mean_of(int64_t sum, int64_t count, bool is_u64) {
    if (count == 0) return 0;
    return is_u64 ? (int64_t)((uint64_t)sum / (uint64_t)count) : sum / count;
}

veer_kernel_result_t veer_reference_reduce_mean(veer_reference_call_t *c) {
    const veer_tensor_t *x = &c->in[0], *y = &c->out[0];
    reduction_t r = reduction_of(c);
    for (veer_walk_t w = r.kept; w.i < w.count; veer_walk_next(&w))
        if (veer_is_exact(x))
            veer_store_int(y, w.i,
                           mean_of(fold_ints(x, w.at[0], r.reduced, 0, sum_i), r.reduced.count, veer_is_u64(x)));
        else
            veer_store_double(y, w.i, fold_floats(x, w.at[0], r.reduced, 0, sum_f) / (double)r.reduced.count);
    return VEER_KERNEL_OK;
}

/* ---- along one axis: x seen as [outer, n, inner] ---- */
typedef struct lines_s {
    int64_t outer, n, inner;
} lines_t;

static lines_t lines_of(const veer_reference_call_t *c) {
    const veer_type_t *x = &c->in[0].type;
    int axis = (int)veer_call_int(c, "axis");
    return (lines_t){veer_type_count_range(x, 0, axis), x->dims[axis], veer_type_count_range(x, axis + 1, x->rank)};
}

/* x[i] beats x[best]; NaN beats every number and nothing beats it. */
static bool beats(const veer_tensor_t *x, int64_t i, int64_t best, bool largest) {
    if (veer_is_exact(x)) {
        int64_t a = veer_load_int(x, i), b = veer_load_int(x, best);
        return largest ? less_i(b, a, veer_is_u64(x)) : less_i(a, b, veer_is_u64(x));
    }
    double a = veer_load_double(x, i), b = veer_load_double(x, best);
    if (isnan(a) || isnan(b)) return isnan(a) && !isnan(b);
    return largest ? a > b : a < b;
}

veer_kernel_result_t veer_reference_arg_max(veer_reference_call_t *c) {
    const veer_tensor_t *x = &c->in[0];
    bool largest = veer_call_int(c, "largest"), last = veer_call_int(c, "select_last");
    lines_t l = lines_of(c);
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < l.inner; i++) {
            int64_t base = o * l.n * l.inner + i, best = 0;
            for (int64_t k = 1; k < l.n; k++) {
                int64_t here = base + k * l.inner, there = base + best * l.inner;
                if (last ? !beats(x, there, here, largest) : beats(x, here, there, largest)) best = k;
            }
            veer_store_int(&c->out[0], o * l.inner + i, best);
        }
    return VEER_KERNEL_OK;
}

/* ---- top_k: of each line a heap of the best so far, whose root is the worst of them ---- */
typedef struct best_s {
    const veer_tensor_t *x;
    int64_t base, stride, count;
    int64_t *found; /* indices in the line, `stride` apart */
    bool largest;
} best_t;

/* Whether element a of the line comes before b: of equals the first. */
static bool precedes(const best_t *s, int64_t a, int64_t b) {
    int64_t at_a = s->base + a * s->stride, at_b = s->base + b * s->stride;
    if (beats(s->x, at_a, at_b, s->largest)) return true;
    return a < b && !beats(s->x, at_b, at_a, s->largest);
}

/* Moves `value` down from place i until nothing below it is worse. */
static void sink(best_t *s, int64_t i, int64_t value) {
    for (int64_t child; (child = 2 * i + 1) < s->count; i = child) {
        if (child + 1 < s->count && precedes(s, s->found[child * s->stride], s->found[(child + 1) * s->stride]))
            child++;
        if (!precedes(s, value, s->found[child * s->stride])) break;
        s->found[i * s->stride] = s->found[child * s->stride];
    }
    s->found[i * s->stride] = value;
}

static void rise(best_t *s, int64_t i, int64_t value) {
    for (int64_t parent; i > 0; i = parent) {
        parent = (i - 1) / 2;
        if (!precedes(s, s->found[parent * s->stride], value)) break;
        s->found[i * s->stride] = s->found[parent * s->stride];
    }
    s->found[i * s->stride] = value;
}

/* The k best of n in order: n log k, whatever the order of the elements. */
static void find_best(best_t *s, int64_t n, int64_t k) {
    for (int64_t at = 0; at < n && k > 0; at++) {
        if (s->count < k)
            s->count++, rise(s, s->count - 1, at);
        else if (precedes(s, at, s->found[0]))
            sink(s, 0, at);
    }
    while (s->count > 1) {
        int64_t worst = s->found[0], last = --s->count;
        sink(s, 0, s->found[last * s->stride]);
        s->found[last * s->stride] = worst;
    }
}

veer_kernel_result_t veer_reference_top_k(veer_reference_call_t *c) {
    const veer_tensor_t *x = &c->in[0];
    int64_t k = veer_call_int(c, "k");
    bool largest = veer_call_int(c, "largest");
    lines_t l = lines_of(c);
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < l.inner; i++) {
            int64_t to = o * k * l.inner + i;
            best_t s = {x, o * l.n * l.inner + i, l.inner, 0, (int64_t *)c->out[1].data + to, largest};
            find_best(&s, l.n, k);
            for (int64_t j = 0; j < k; j++)
                veer_copy_element(&c->out[0], to + j * l.inner, x, s.base + s.found[j * l.inner] * l.inner);
        }
    return VEER_KERNEL_OK;
}

/* One line, `count` elements from `at` on, `stride` apart (negative from the end). */
static void cumsum_line(veer_reference_call_t *c, int64_t at, int64_t stride, int64_t count, bool exclusive) {
    const veer_tensor_t *x = &c->in[0], *y = &c->out[0];
    double sum = 0;
    uint64_t sum_exact = 0;
    bool exact = veer_is_exact(x);
    for (int64_t k = 0; k < count; k++, at += stride) {
        double before = sum;
        uint64_t before_exact = sum_exact;
        if (exact)
            sum_exact += (uint64_t)veer_load_int(x, at);
        else
            sum += veer_load_double(x, at);
        if (exact)
            veer_store_int(y, at, (int64_t)(exclusive ? before_exact : sum_exact));
        else
            veer_store_double(y, at, exclusive ? before : sum);
    }
}

veer_kernel_result_t veer_reference_cumsum(veer_reference_call_t *c) {
    bool exclusive = veer_call_int(c, "exclusive"), reverse = veer_call_int(c, "reverse");
    lines_t l = lines_of(c);
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < l.inner; i++) {
            int64_t first = o * l.n * l.inner + i, last = first + (l.n - 1) * l.inner;
            cumsum_line(c, reverse ? last : first, reverse ? -l.inner : l.inner, l.n, exclusive);
        }
    return VEER_KERNEL_OK;
}
