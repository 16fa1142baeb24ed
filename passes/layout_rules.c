/* The rules of layout.c, one per op or family; layout.c says what they must keep. */
#include "ir/channels.h"
#include "passes/fuse.h"
#include "passes/layout_internal.h"

#include <string.h>

/* ---- building ---- */

/* The node again, some attributes replaced; `changed` ends with an empty name. */
static veer_node_t build_with(veer_layout_t *l, veer_node_t n, const veer_value_t *in, int count,
                              const veer_named_attr_t *changed) {
    veer_op_t op = veer_node_op(l->g, n);
    veer_named_attr_t attrs[VEER_OP_MAX_ATTRS + 1] = {{0}};
    const veer_op_def_t *def = veer_op_def(op);
    int used = 0;
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++) {
        veer_named_attr_t attr = {def->attrs[i].name, *veer_node_attr(l->g, n, i)};
        for (const veer_named_attr_t *c = changed; c->name; c++)
            if (!strcmp(c->name, attr.name)) attr = *c;
        if (attr.attr.kind != VEER_ATTR_NONE) attrs[used++] = attr;
    }
    return veer_build_node(&l->b, op, in, count, attrs);
}

static veer_value_t result_of(const veer_layout_t *l, veer_node_t built) {
    return built.i ? veer_node_out(l->g, built, 0) : VEER_NO_VALUE;
}

static veer_value_t operand(const veer_layout_t *l, veer_node_t n, int i) {
    return i < veer_node_in_count(l->g, n) ? veer_node_in(l->g, n, i) : VEER_NO_VALUE;
}

/* Result i of the node is there as `value`. */
static bool gives(veer_layout_t *l, veer_node_t n, int i, veer_value_t value, const veer_order_t *order) {
    if (veer_builder_ok(&l->b)) veer_layout_add_form(l, veer_node_out(l->g, n, i), value, order);
    return true;
}

/* ---- elementwise ---- */

/* Elements that would have to move; what does not change in the loop is moved outside of it. */
static int64_t cost_of(const veer_layout_t *l, veer_node_t n, veer_value_t v, const veer_order_t *order) {
    bool outside = veer_value_const_data(l->g, v) || veer_value_region(l->g, v).i != veer_node_region(l->g, n).i;
    if (outside || veer_layout_has_form(l, v, order)) return 0;
    return veer_type_count(veer_value_type(l->g, v));
}

static int64_t cost_of_all(const veer_layout_t *l, veer_node_t n, int rank, const veer_order_t *order) {
    int64_t cost = 0;
    for (int i = 0; i < veer_node_in_count(l->g, n); i++) {
        veer_value_t v = veer_node_in(l->g, n, i);
        if (!v.i) continue;
        veer_order_t own = veer_order_project(order, rank, veer_value_type(l->g, v));
        cost += cost_of(l, n, v, &own);
    }
    return cost;
}

/* An operand as it broadcasts to a result stored in `order`. A scalar stays what it is. */
static veer_value_t broadcasting(veer_layout_t *l, veer_value_t v, int rank, const veer_order_t *order) {
    veer_type_t type = veer_layout_type_of(l, v);
    if (veer_type_count(&type) == 1) {
        v = veer_layout_in_row_major(l, v);
        return type.rank <= order->n ? v : veer_reshape(&l->b, v, 0, NULL);
    }
    veer_order_t own = veer_order_project(order, rank, &type);
    return veer_layout_in_order(l, v, &own);
}

/* The order that moves the fewest elements, of those that `fits` (NULL: any); where there is a choice, what readers
 * pull for. False: row-major. */
static bool cheapest_order(const veer_layout_t *l, veer_node_t n, bool (*fits)(const veer_order_t *),
                           veer_order_t *out_best) {
    veer_type_t type = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    veer_order_t row_major = veer_order_row_major(&type);
    int64_t least = cost_of_all(l, n, type.rank, &row_major);
    bool found = false;
    for (int i = 0; i < veer_node_in_count(l->g, n); i++) {
        veer_value_t v = veer_node_in(l->g, n, i);
        if (!veer_type_same_shape(veer_value_type(l->g, v), &type)) continue;
        for (const veer_form_t *f = l->forms[v.i]; f; f = f->next) {
            int64_t cost = cost_of_all(l, n, type.rank, &f->order);
            bool pulled = !found && cost == least && l->pull[veer_node_out(l->g, n, 0).i] > 0;
            if (veer_order_is_row_major(&f->order) || (fits && !fits(&f->order)) || (cost >= least && !pulled))
                continue;
            *out_best = f->order, least = cost, found = true;
        }
    }
    return found;
}

static bool elementwise(veer_layout_t *l, veer_node_t n) {
    veer_type_t type = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    veer_order_t best;
    int count = veer_node_in_count(l->g, n);
    if (!cheapest_order(l, n, NULL, &best)) return false;
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    for (int i = 0; i < count; i++) in[i] = broadcasting(l, veer_node_in(l->g, n, i), type.rank, &best);
    if (!veer_builder_ok(&l->b)) return true;
    return gives(l, n, 0, result_of(l, veer_build_like(&l->b, n, in, count)), &best);
}

/* ---- moves ---- */

/* Forms of x, seen anew. */
static bool reshape(veer_layout_t *l, veer_node_t n) {
    veer_value_t x = veer_node_in(l->g, n, 0), y = veer_node_out(l->g, n, 0);
    veer_type_t type = veer_layout_type_of(l, y);
    veer_order_t order;
    bool any = false;
    for (const veer_form_t *f = l->forms[x.i]; f; f = f->next) {
        if (!veer_order_reshape(&f->order, &type, &order)) continue;
        veer_layout_add_form(l, y, f->value, &order);
        any = true;
    }
    return any;
}

static bool transpose(veer_layout_t *l, veer_node_t n) {
    veer_value_t x = veer_node_in(l->g, n, 0), y = veer_node_out(l->g, n, 0);
    int rank;
    const int64_t *perm = veer_node_ints(l->g, n, "perm", &rank);
    for (const veer_form_t *f = veer_layout_forms_of(l, x); f; f = f->next) {
        veer_order_t order = veer_order_transpose(&f->order, rank, perm);
        veer_layout_add_form(l, y, f->value, &order);
    }
    return true;
}

/* [.., 1, ..] grows where it lies; new leading axes lie in front. */
static bool broadcast(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    veer_value_t in = veer_node_in(l->g, n, 0);
    veer_type_t from = veer_layout_type_of(l, in), to = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    if (!veer_layout_moved_form(l, in, &x)) return false;
    veer_order_t one = {0}, order;
    int lead = to.rank - from.rank;
    if (lead + x.order.n > VEER_MAX_RANK) return false;
    one.n = lead + x.order.n;
    for (int i = 0; i < lead; i++) one.axis[i] = one.at[i] = i, one.size[i] = 1;
    for (int i = 0; i < x.order.n; i++) {
        one.axis[lead + i] = lead + x.order.axis[i];
        one.size[lead + i] = x.order.size[i];
        one.at[lead + i] = lead + x.order.at[i];
    }
    order = one;
    for (int i = 0; i < one.n; i++) {
        int own = one.axis[i] - lead;
        if (own < 0 || from.dims[own] == 1) order.size[i] = to.dims[one.axis[i]];
    }
    veer_type_t stored = veer_order_stored(&order, to.dtype);
    return gives(l, n, 0,
                 veer_broadcast_to(&l->b, veer_layout_with_dims(&l->b, x.value, &one), stored.rank, stored.dims),
                 &order);
}

/* Lists with an entry per axis as lists with one per storage dim. False where an axis whose entry is not `idle` is in
 * pieces. */
static bool list_of(const veer_order_t *o, const int64_t *of_axis, int64_t idle, int64_t *out) {
    for (int k = 0; k < o->n; k++) {
        int axis = o->axis[o->at[k]];
        bool whole = veer_order_dim(o, axis) == k;
        if (!whole && of_axis[axis] != idle) return false;
        out[k] = whole ? of_axis[axis] : idle;
    }
    return true;
}

static bool slice(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    veer_value_t in = veer_node_in(l->g, n, 0);
    veer_type_t to = veer_layout_type_of(l, veer_node_out(l->g, n, 0)), from = veer_layout_type_of(l, in);
    int64_t starts[VEER_MAX_RANK], steps[VEER_MAX_RANK];
    if (!veer_layout_moved_form(l, in, &x) || !list_of(&x.order, veer_node_ints(l->g, n, "starts", NULL), 0, starts) ||
        !list_of(&x.order, veer_node_ints(l->g, n, "steps", NULL), 1, steps))
        return false;
    veer_order_t order = x.order;
    for (int i = 0; i < to.rank; i++) {
        if (to.dims[i] == from.dims[i]) continue;
        if (veer_order_dim(&order, i) < 0) return false;
        order = veer_order_resize(&order, i, to.dims[i]);
    }
    veer_type_t stored = veer_order_stored(&order, to.dtype);
    veer_value_t v = veer_layout_with_dims(&l->b, x.value, &x.order);
    if (!veer_builder_ok(&l->b)) return true;
    v = result_of(l,
                  build_with(l, n, &v, 1,
                             VEER_ATTRS(VEER_INTS("starts", starts, order.n), VEER_INTS("sizes", stored.dims, order.n),
                                        VEER_INTS("steps", steps, order.n))));
    return gives(l, n, 0, v, &order);
}

static bool pad(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    veer_value_t in = veer_node_in(l->g, n, 0);
    veer_type_t to = veer_layout_type_of(l, veer_node_out(l->g, n, 0)), from = veer_layout_type_of(l, in);
    int64_t before[VEER_MAX_RANK], after[VEER_MAX_RANK];
    if (!veer_layout_moved_form(l, in, &x) || !list_of(&x.order, veer_node_ints(l->g, n, "before", NULL), 0, before) ||
        !list_of(&x.order, veer_node_ints(l->g, n, "after", NULL), 0, after))
        return false;
    veer_order_t order = x.order;
    for (int i = 0; i < to.rank; i++)
        if (to.dims[i] != from.dims[i]) order = veer_order_resize(&order, i, to.dims[i]);
    veer_value_t v = veer_layout_with_dims(&l->b, x.value, &x.order);
    if (!veer_builder_ok(&l->b)) return true;
    v = result_of(l, build_with(l, n, &v, 1,
                                VEER_ATTRS(VEER_INTS("before", before, order.n), VEER_INTS("after", after, order.n))));
    return gives(l, n, 0, v, &order);
}

/* The order of operand `v` of a concat in `order`. */
static veer_order_t part_of(const veer_layout_t *l, veer_value_t v, const veer_order_t *order, int axis) {
    return veer_order_resize(order, axis, veer_value_type(l->g, v)->dims[axis]);
}

static int64_t cost_of_parts(const veer_layout_t *l, veer_node_t n, const veer_order_t *order, int axis) {
    int64_t cost = 0;
    for (int i = 0; i < veer_node_in_count(l->g, n); i++) {
        veer_order_t own = part_of(l, veer_node_in(l->g, n, i), order, axis);
        cost += cost_of(l, n, veer_node_in(l->g, n, i), &own);
    }
    return cost;
}

static bool concat(veer_layout_t *l, veer_node_t n) {
    int axis = (int)veer_node_int(l->g, n, "axis"), count = veer_node_in_count(l->g, n);
    veer_type_t type = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    veer_order_t best = veer_order_row_major(&type);
    int64_t least = cost_of_parts(l, n, &best, axis);
    bool found = false;
    for (int i = 0; i < count; i++)
        for (const veer_form_t *f = l->forms[veer_node_in(l->g, n, i).i]; f; f = f->next) {
            if (veer_order_dim(&f->order, axis) < 0) continue;
            veer_order_t order = veer_order_resize(&f->order, axis, type.dims[axis]);
            int64_t cost = cost_of_parts(l, n, &order, axis);
            if (veer_order_is_row_major(&order) || cost >= least) continue;
            best = order, least = cost, found = true;
        }
    if (!found) return false;
    veer_value_t *in = veer_arena_array(&l->ctx->scratch, (size_t)count, sizeof *in);
    if (!in) {
        veer_builder_fail(&l->b, veer_out_of_memory());
        return true;
    }
    for (int i = 0; i < count; i++) {
        veer_order_t own = part_of(l, veer_node_in(l->g, n, i), &best, axis);
        in[i] = veer_layout_in_order(l, veer_node_in(l->g, n, i), &own);
    }
    return gives(l, n, 0, veer_concat(&l->b, in, count, veer_order_dim(&best, axis)), &best);
}

/* ---- along axes ---- */

static bool reduce(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    int count, used = 0;
    const int64_t *axes = veer_node_ints(l->g, n, "axes", &count);
    int64_t dims[VEER_MAX_RANK];
    unsigned mask = 0;
    if (!veer_layout_moved_form(l, veer_node_in(l->g, n, 0), &x)) return false;
    for (int i = 0; i < count; i++) mask |= 1u << axes[i];
    for (int k = 0; k < x.order.n; k++)
        if (mask >> x.order.axis[x.order.at[k]] & 1) dims[used++] = k;
    bool keep = veer_node_int(l->g, n, "keepdims") != 0;
    veer_order_t order = veer_order_reduce(&x.order, mask, keep);
    veer_value_t v =
        veer_reduce(&l->b, veer_node_op(l->g, n), veer_layout_with_dims(&l->b, x.value, &x.order), dims, used, keep);
    return gives(l, n, 0, veer_layout_with_dims(&l->b, v, &order), &order);
}

/* softmax, log_softmax, cumsum: along one axis, wherever it lies. */
static bool along_axis(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    if (!veer_layout_moved_form(l, veer_node_in(l->g, n, 0), &x)) return false;
    int dim = veer_order_dim(&x.order, (int)veer_node_int(l->g, n, "axis"));
    if (dim < 0) return false;
    veer_value_t v = veer_layout_with_dims(&l->b, x.value, &x.order);
    if (!veer_builder_ok(&l->b)) return true;
    return gives(l, n, 0, result_of(l, build_with(l, n, &v, 1, VEER_ATTRS(VEER_INT("axis", dim)))), &x.order);
}

/* layer_norm, rms_norm: the row's axes must lie last and in order; what is in front of them does not matter. */
static bool rows(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    int axis = (int)veer_node_int(l->g, n, "axis"), count = veer_node_in_count(l->g, n);
    if (!veer_layout_moved_form(l, veer_node_in(l->g, n, 0), &x)) return false;
    int rank = veer_layout_type_of(l, veer_node_in(l->g, n, 0)).rank;
    for (int i = axis; i < rank; i++)
        if (veer_order_dim(&x.order, i) != x.order.n - (rank - i)) return false;
    veer_value_t in[3] = {veer_layout_with_dims(&l->b, x.value, &x.order)};
    for (int i = 1; i < count; i++) in[i] = veer_layout_in_row_major(l, veer_node_in(l->g, n, i));
    if (!veer_builder_ok(&l->b)) return true;
    veer_named_attr_t *at = VEER_ATTRS(VEER_INT("axis", x.order.n - (rank - axis)));
    return gives(l, n, 0, result_of(l, build_with(l, n, in, count, at)), &x.order);
}

/* ---- images ---- */

static veer_order_t channels_last_order(const veer_type_t *type) {
    int64_t perm[VEER_MAX_RANK];
    veer_channels_last_perm(type->rank, perm);
    return veer_order_of_axes(type, perm);
}

/* Batch first, channels last, the rest in any order in between. */
static bool is_channels_last(const veer_order_t *o) {
    return o->n >= 2 && veer_order_dim(o, 0) == 0 && veer_order_dim(o, 1) == o->n - 1;
}

static bool group_norm(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    int count = veer_node_in_count(l->g, n);
    if (veer_node_channels_last(l->g, n) || !veer_layout_moved_form(l, veer_node_in(l->g, n, 0), &x) ||
        !is_channels_last(&x.order))
        return false;
    veer_value_t in[3] = {veer_layout_with_dims(&l->b, x.value, &x.order)};
    for (int i = 1; i < count; i++) in[i] = veer_layout_in_row_major(l, veer_node_in(l->g, n, i));
    if (!veer_builder_ok(&l->b)) return true;
    veer_node_t y = build_with(l, n, in, count, VEER_ATTRS(VEER_INT("channels_last", 1)));
    return gives(l, n, 0, result_of(l, y), &x.order);
}

/* x and d in the same order. */
static bool group_norm_grad(veer_layout_t *l, veer_node_t n) {
    veer_order_t best;
    if (veer_node_channels_last(l->g, n) || !cheapest_order(l, n, is_channels_last, &best)) return false;
    veer_value_t in[2];
    for (int i = 0; i < 2; i++) in[i] = veer_layout_in_order(l, veer_node_in(l->g, n, i), &best);
    if (!veer_builder_ok(&l->b)) return true;
    veer_node_t y = build_with(l, n, in, 2, VEER_ATTRS(VEER_INT("channels_last", 1)));
    return gives(l, n, 0, result_of(l, y), &best);
}

static bool pool(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    bool indices = veer_node_out_count(l->g, n) > 1 && veer_value_use_count(l->g, veer_node_out(l->g, n, 1)) > 0;
    veer_type_t from = veer_layout_type_of(l, veer_node_in(l->g, n, 0)),
                to = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    veer_order_t before = channels_last_order(&from), after = channels_last_order(&to);
    if (indices || veer_node_channels_last(l->g, n) || !veer_layout_moved_form(l, veer_node_in(l->g, n, 0), &x) ||
        !veer_order_equal(&x.order, &before))
        return false;
    veer_value_t v = veer_layout_with_dims(&l->b, x.value, &before);
    if (!veer_builder_ok(&l->b)) return true;
    v = result_of(l, build_with(l, n, &v, 1, VEER_ATTRS(VEER_INT("channels_last", 1))));
    return gives(l, n, 0, v, &after);
}

static bool resize(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    veer_value_t in = veer_node_in(l->g, n, 0);
    veer_type_t to = veer_layout_type_of(l, veer_node_out(l->g, n, 0)), from = veer_layout_type_of(l, in);
    const double *scales = veer_node_floats(l->g, n, "scales", NULL);
    double stored_scales[VEER_MAX_RANK];
    if (!veer_layout_moved_form(l, in, &x)) return false;
    veer_order_t order = x.order;
    for (int i = 0; i < to.rank; i++) {
        int dim = veer_order_dim(&order, i);
        if (dim < 0 && (to.dims[i] != from.dims[i] || scales[i] != 1)) return false;
        if (dim >= 0) order = veer_order_resize(&order, i, to.dims[i]);
    }
    for (int k = 0; k < order.n; k++) {
        int axis = order.axis[order.at[k]];
        stored_scales[k] = veer_order_dim(&order, axis) < 0 ? 1 : scales[axis];
    }
    veer_type_t stored = veer_order_stored(&order, to.dtype);
    veer_value_t v = veer_layout_with_dims(&l->b, x.value, &x.order);
    if (!veer_builder_ok(&l->b)) return true;
    v = result_of(l, build_with(l, n, &v, 1,
                                VEER_ATTRS(VEER_INTS("dims", stored.dims, order.n),
                                           VEER_FLOATS("scales", stored_scales, order.n))));
    return gives(l, n, 0, v, &order);
}

/* ---- contractions ---- */

static bool all_are(const int64_t *v, int count, int64_t value) {
    for (int i = 0; i < count; i++)
        if (v[i] != value) return false;
    return true;
}

/* One position of x makes one of y. */
static bool is_product(const veer_layout_t *l, veer_node_t n) {
    veer_type_t w = veer_layout_type_of(l, veer_node_in(l->g, n, 1));
    int s = w.rank - 2;
    if (veer_node_int(l->g, n, "groups") != 1 || !all_are(w.dims + 2, s, 1) ||
        !all_are(veer_node_ints(l->g, n, "strides", NULL), s, 1) ||
        !all_are(veer_node_ints(l->g, n, "pads_before", NULL), s, 0) ||
        !all_are(veer_node_ints(l->g, n, "pads_after", NULL), s, 0))
        return false;
    return veer_node_op(l->g, n) == VEER_OP_CONV || all_are(veer_node_ints(l->g, n, "output_padding", NULL), s, 0);
}

/* The order of x for a product: channels last, positions as they are. */
static veer_order_t rows_order(veer_layout_t *l, veer_value_t x) {
    for (const veer_form_t *f = veer_layout_forms_of(l, x); f; f = f->next)
        if (veer_order_dim(&f->order, 1) == f->order.n - 1) return f->order;
    veer_type_t type = veer_layout_type_of(l, x);
    return channels_last_order(&type);
}

/* Whether the target takes the contraction that gives y; it goes where not. True after a failure. */
static bool kept(veer_layout_t *l, veer_value_t y) {
    const veer_fuse_target_t *target = l->ctx->target;
    char reason[200];
    bool accepted = false;
    if (!veer_builder_ok(&l->b) || !target) return true;
    veer_node_t n = veer_value_def(l->g, y);
    if (target->accepts_contraction)
        veer_builder_fail(&l->b, target->accepts_contraction(l->g, n, &accepted, reason, sizeof reason));
    if (accepted || !veer_builder_ok(&l->b)) return true;
    veer_node_remove(l->g, n);
    return false;
}

/* [M, C, 1...] as [M, C]; a constant stays a constant, and where it is. */
static veer_value_t as_matrix(veer_layout_t *l, veer_value_t w, const veer_type_t *type) {
    veer_type_t matrix = veer_type_make(type->dtype, 2, type->dims);
    const void *data = veer_value_const_data(l->g, w);
    if (!data) return veer_reshape(&l->b, w, 2, type->dims);
    int at = veer_op_attr_index(VEER_OP_CONST, "value");
    return veer_const_view(&l->b, matrix, data, &veer_node_attr(l->g, veer_value_def(l->g, w), at)->as.data.source);
}

/* w is [M, C, 1...], of conv_transpose [C, M, 1...]. */
static bool product(veer_layout_t *l, veer_node_t n) {
    bool transposed = veer_node_op(l->g, n) == VEER_OP_CONV_TRANSPOSE;
    veer_value_t x = veer_node_in(l->g, n, 0), bias = veer_layout_in_row_major(l, operand(l, n, 2));
    veer_order_t order = rows_order(l, x);
    veer_value_t a = veer_layout_in_order(l, x, &order), w = veer_layout_in_row_major(l, veer_node_in(l->g, n, 1));
    if (!veer_builder_ok(&l->b)) return true;
    veer_type_t matrix = veer_layout_type_of(l, w);
    w = as_matrix(l, w, &matrix);
    veer_value_t y = veer_matmul(&l->b, a, w, false, !transposed);
    if (!kept(l, y)) return false;
    if (bias.i) y = veer_add(&l->b, y, bias);
    order = veer_order_resize(&order, 1, matrix.dims[transposed ? 1 : 0]);
    veer_pass_count(l->ctx, "products");
    return gives(l, n, 0, y, &order);
}

static bool convolution(veer_layout_t *l, veer_node_t n) {
    int count = veer_node_in_count(l->g, n);
    veer_value_t x = veer_node_in(l->g, n, 0), in[3];
    veer_type_t from = veer_layout_type_of(l, x), to = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    if (veer_node_channels_last(l->g, n)) return false;
    if (is_product(l, n)) return product(l, n);
    veer_order_t before = channels_last_order(&from), after = channels_last_order(&to);
    in[0] = veer_layout_in_order(l, x, &before);
    for (int i = 1; i < count; i++) in[i] = veer_layout_in_row_major(l, veer_node_in(l->g, n, i));
    if (!veer_builder_ok(&l->b)) return true;
    veer_value_t y = result_of(l, build_with(l, n, in, count, VEER_ATTRS(VEER_INT("channels_last", 1))));
    if (!kept(l, y)) return false;
    veer_pass_count(l->ctx, "convolutions");
    return gives(l, n, 0, y, &after);
}

static veer_order_t exchanged(const veer_type_t *type) {
    int64_t perm[VEER_MAX_RANK];
    for (int i = 0; i < type->rank; i++) perm[i] = i;
    perm[type->rank - 1] = type->rank - 2, perm[type->rank - 2] = type->rank - 1;
    return veer_order_of_axes(type, perm);
}

/* An operand of a product as matrices, or as transposed ones. A move keeps what lies last. */
static veer_value_t matrices(veer_layout_t *l, veer_value_t v, bool *transposed) {
    veer_type_t type = veer_layout_type_of(l, v);
    veer_order_t rows = veer_order_row_major(&type), columns = exchanged(&type);
    if (!veer_layout_forms_of(l, v)) return VEER_NO_VALUE;
    const veer_order_t *first = &l->forms[v.i]->order;
    int last = veer_order_last(first);
    bool flip = !veer_layout_has_form(l, v, &rows) &&
                (veer_layout_has_form(l, v, &columns) || (last >= 0 && first->axis[last] == type.rank - 2));
    *transposed ^= flip;
    return veer_layout_in_order(l, v, flip ? &columns : &rows);
}

/* [.., K] by one matrix: the rows may lie in any order, and so do the result's. */
static bool rows_by_matrix(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    veer_value_t a = veer_node_in(l->g, n, 0), w = veer_node_in(l->g, n, 1);
    veer_type_t to = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    if (veer_layout_type_of(l, w).rank != 2 || veer_node_int(l->g, n, "trans_a") || !veer_layout_moved_form(l, a, &x) ||
        x.order.n < 2 || veer_order_dim(&x.order, to.rank - 1) != x.order.n - 1)
        return false;
    bool trans_b = veer_node_int(l->g, n, "trans_b") != 0;
    w = matrices(l, w, &trans_b);
    veer_value_t y = veer_matmul(&l->b, veer_layout_with_dims(&l->b, x.value, &x.order), w, false, trans_b);
    veer_order_t order = veer_order_resize(&x.order, to.rank - 1, to.dims[to.rank - 1]);
    return gives(l, n, 0, y, &order);
}

static bool matmul(veer_layout_t *l, veer_node_t n) {
    veer_form_t x;
    veer_value_t a = veer_node_in(l->g, n, 0), b = veer_node_in(l->g, n, 1);
    if (!veer_layout_moved_form(l, a, &x) && !veer_layout_moved_form(l, b, &x)) return false;
    if (rows_by_matrix(l, n)) return true;
    veer_type_t to = veer_layout_type_of(l, veer_node_out(l->g, n, 0));
    veer_order_t order = veer_order_row_major(&to);
    bool trans_a = veer_node_int(l->g, n, "trans_a") != 0, trans_b = veer_node_int(l->g, n, "trans_b") != 0;
    a = matrices(l, a, &trans_a), b = matrices(l, b, &trans_b);
    return gives(l, n, 0, veer_matmul(&l->b, a, b, trans_a, trans_b), &order);
}

/* ---- dispatch ---- */

static bool is_empty(const veer_layout_t *l, veer_node_t n) {
    for (int i = 0; i < veer_node_out_count(l->g, n); i++)
        if (veer_type_count(veer_value_type(l->g, veer_node_out(l->g, n, i))) == 0) return true;
    for (int i = 0; i < veer_node_in_count(l->g, n); i++) {
        veer_value_t v = veer_node_in(l->g, n, i);
        if (v.i && veer_type_count(veer_value_type(l->g, v)) == 0) return true;
    }
    return false;
}

bool veer_layout_rewrite(veer_layout_t *l, veer_node_t n) {
    veer_op_t op = veer_node_op(l->g, n);
    if (is_empty(l, n)) return false;
    if (veer_op_has(op, VEER_ELEMENTWISE)) return elementwise(l, n);
    if (veer_op_has(op, VEER_REDUCTION) && veer_op_attr_index(op, "axes") >= 0) return reduce(l, n);
    switch (op) {
    case VEER_OP_RESHAPE: return reshape(l, n);
    case VEER_OP_TRANSPOSE: return transpose(l, n);
    case VEER_OP_BROADCAST: return broadcast(l, n);
    case VEER_OP_SLICE: return slice(l, n);
    case VEER_OP_PAD: return pad(l, n);
    case VEER_OP_CONCAT: return concat(l, n);
    case VEER_OP_SOFTMAX:
    case VEER_OP_LOG_SOFTMAX:
    case VEER_OP_CUMSUM: return along_axis(l, n);
    case VEER_OP_LAYER_NORM:
    case VEER_OP_RMS_NORM: return rows(l, n);
    case VEER_OP_GROUP_NORM: return group_norm(l, n);
    case VEER_OP_GROUP_NORM_GRAD: return group_norm_grad(l, n);
    case VEER_OP_MAX_POOL:
    case VEER_OP_AVG_POOL: return pool(l, n);
    case VEER_OP_RESIZE: return resize(l, n);
    case VEER_OP_CONV:
    case VEER_OP_CONV_TRANSPOSE: return convolution(l, n);
    case VEER_OP_MATMUL: return matmul(l, n);
    default: return false;
    }
}
