#include "backends/reference/kernel.h"
#include "ir/resample.h"

/* Output position `o` of a resize, all axes. */
typedef struct point_s {
    const veer_tensor_t *x;
    const veer_type_t *y;
    const double *scales;
    veer_resample_t how;
    int64_t o[VEER_MAX_RANK];
} point_t;

static int taps_of(const point_t *p, int axis, veer_resample_tap_t *taps) {
    return veer_resample_taps(&p->how, p->x->type.dims[axis], p->y->dims[axis], p->scales[axis], p->o[axis], taps);
}

/* Nearest moves whole elements, of any dtype. */
static int64_t pick(const point_t *p) {
    veer_resample_tap_t tap[VEER_RESAMPLE_MAX_TAPS];
    int64_t at = 0;
    for (int axis = 0; axis < p->y->rank; axis++) {
        taps_of(p, axis, tap);
        at = at * p->x->type.dims[axis] + tap[0].index;
    }
    return at;
}

/* The sum over all combinations of taps of axes axis.., x's leading indices making up `at`. */
static double blend(const point_t *p, int axis, int64_t at) {
    if (axis == p->y->rank) return veer_load_double(p->x, at);
    veer_resample_tap_t taps[VEER_RESAMPLE_MAX_TAPS];
    double sum = 0;
    for (int t = 0, n = taps_of(p, axis, taps); t < n; t++)
        if (taps[t].weight != 0) sum += taps[t].weight * blend(p, axis + 1, at * p->x->type.dims[axis] + taps[t].index);
    return sum;
}

veer_kernel_result_t veer_reference_resize(veer_reference_call_t *c) {
    const veer_type_t *y = &c->out[0].type;
    int rank;
    point_t p = {&c->in[0], y, veer_call_floats(c, "scales", &rank), veer_resample_of_attrs(c->attrs), {0}};
    for (int64_t i = 0, n = veer_type_count(y); i < n; i++) {
        int64_t rest = i;
        for (int axis = y->rank; axis-- > 0; rest /= y->dims[axis]) p.o[axis] = rest % y->dims[axis];
        if (p.how.mode == VEER_RESAMPLE_NEAREST)
            veer_copy_element(&c->out[0], i, &c->in[0], pick(&p));
        else
            veer_store_double(&c->out[0], i, blend(&p, 0, 0));
    }
    return VEER_KERNEL_OK;
}
