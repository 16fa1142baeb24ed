/* layer_norm, rms_norm, group_norm and its gradient */
#include "backends/reference/block.h"
#include "ir/channels.h"

#include <math.h>

/* Mean (0 without centring) and 1 / sqrt(mean((x - mean)^2) + eps) of one group of elements. */
typedef struct moments_s {
    double mean, rstd;
} moments_t;

/* `rows` rows of `length` elements, the rows `stride` apart, from `first`. */
typedef struct group_s {
    int64_t first, rows, stride, length;
} group_t;

static moments_t moments_of(const veer_tensor_t *x, group_t g, double eps, bool centre) {
    double sum = 0, square = 0, n = (double)g.rows * (double)g.length;
    for (int64_t r = 0; centre && r < g.rows; r++)
        for (int64_t i = 0; i < g.length; i++) sum += veer_load_double(x, g.first + r * g.stride + i);
    double mean = sum / n;
    for (int64_t r = 0; r < g.rows; r++)
        for (int64_t i = 0; i < g.length; i++) {
            double centred = veer_load_double(x, g.first + r * g.stride + i) - (centre ? mean : 0);
            square += centred * centred;
        }
    return (moments_t){centre ? mean : 0, 1 / sqrt(square / n + eps)};
}

/* Scale (1 where absent) or bias (0), element `at`. */
static double parameter(const veer_reference_call_t *c, int i, int64_t at, double absent) {
    return veer_call_has(c, i) ? veer_load_double(&c->in[i], at) : absent;
}

static void store_normalised(const veer_reference_call_t *c, int64_t i, moments_t m, int64_t scale_at,
                             int64_t bias_at) {
    double xhat = (veer_load_double(&c->in[0], i) - m.mean) * m.rstd;
    veer_store_double(&c->out[0], i, xhat * parameter(c, 1, scale_at, 1) + parameter(c, 2, bias_at, 0));
}

/* layer_norm and rms_norm: a row is dims axis..rank-1; scale and bias broadcast to it. */
static veer_kernel_result_t rows(veer_reference_call_t *c, bool centre) {
    const veer_type_t *t = &c->in[0].type;
    int axis = (int)veer_call_int(c, "axis");
    veer_type_t row = veer_type_make(t->dtype, t->rank - axis, t->dims + axis);
    int64_t n = veer_type_count(&row), count = veer_type_count_range(t, 0, axis);
    veer_tensor_t parameters[2] = {0};
    for (int i = 1; i <= 2; i++)
        if (veer_call_has(c, i)) parameters[i - 1] = c->in[i];
    for (int64_t r = 0; r < count; r++) {
        moments_t m = moments_of(&c->in[0], (group_t){r * n, 1, n, n}, veer_call_float(c, "eps"), centre);
        for (veer_walk_t w = veer_walk_broadcast(&row, parameters, 2); w.i < w.count; veer_walk_next(&w))
            store_normalised(c, r * n + w.i, m, w.at[0], w.at[1]);
    }
    return VEER_KERNEL_OK;
}

veer_kernel_result_t veer_reference_layer_norm(veer_reference_call_t *c) {
    return rows(c, true);
}
veer_kernel_result_t veer_reference_rms_norm(veer_reference_call_t *c) {
    return rows(c, false);
}

/* x: [N, C, size] or [N, size, C]; a group is C / groups channels of one sample: one row of neighbours, or one at each
 * position. */
typedef struct grouping_s {
    int64_t count, groups, channels, size; /* `count`: of groups in all samples */
    bool last;
} grouping_t;

static grouping_t grouping_of(const veer_reference_call_t *c) {
    bool last = veer_call_int(c, "channels_last") != 0;
    veer_type_t t = veer_channels_first(&c->in[0].type, last);
    int64_t groups = veer_call_int(c, "groups");
    return (grouping_t){t.dims[0] * groups, groups, t.dims[1], veer_type_count_range(&t, 2, t.rank), last};
}

static group_t group_at(const grouping_t *all, int64_t r) {
    int64_t each = all->channels / all->groups, size = all->size;
    if (!all->last) return (group_t){r * each * size, 1, 0, each * size};
    return (group_t){r / all->groups * all->channels * size + r % all->groups * each, size, all->channels, each};
}

veer_kernel_result_t veer_reference_group_norm(veer_reference_call_t *c) {
    grouping_t all = grouping_of(c);
    for (int64_t r = 0; r < all.count; r++) {
        group_t g = group_at(&all, r);
        moments_t m = moments_of(&c->in[0], g, veer_call_float(c, "eps"), true);
        for (int64_t row = 0; row < g.rows; row++)
            for (int64_t i = 0; i < g.length; i++) {
                int64_t channel = r % all.groups * (all.channels / all.groups) + (all.last ? i : i / all.size);
                store_normalised(c, g.first + row * g.stride + i, m, channel, channel);
            }
    }
    return VEER_KERNEL_OK;
}

/* dx = rstd * (d - mean(d) - xhat * mean(d * xhat)) over a group */
static void store_gradient(const veer_reference_call_t *c, group_t g, moments_t m) {
    double sum = 0, along = 0, n = (double)g.rows * (double)g.length;
    for (int64_t r = 0; r < g.rows; r++)
        for (int64_t i = g.first + r * g.stride, end = i + g.length; i < end; i++) {
            double d = veer_load_double(&c->in[1], i);
            sum += d, along += d * (veer_load_double(&c->in[0], i) - m.mean) * m.rstd;
        }
    for (int64_t r = 0; r < g.rows; r++)
        for (int64_t i = g.first + r * g.stride, end = i + g.length; i < end; i++) {
            double xhat = (veer_load_double(&c->in[0], i) - m.mean) * m.rstd;
            double rest = veer_load_double(&c->in[1], i) - sum / n;
            veer_store_double(&c->out[0], i, m.rstd * (rest - xhat * (along / n)));
        }
}

veer_kernel_result_t veer_reference_group_norm_grad(veer_reference_call_t *c) {
    grouping_t all = grouping_of(c);
    for (int64_t r = 0; r < all.count; r++) {
        group_t g = group_at(&all, r);
        store_gradient(c, g, moments_of(&c->in[0], g, veer_call_float(c, "eps"), true));
    }
    return VEER_KERNEL_OK;
}
