/* Random programs as the lowering meets them: f32 tensors of many shapes, broadcasts, moves, reductions, norms,
 * products, convolutions, pools, noise, gradients, step tables, loops in loops, stacked rows; arguments, repeated
 * values and views among the results. The same seed gives the same program.
 *
 * Values stay within a few units (growth passes through tanh), comparisons look at arguments only: a last-bit
 * difference stays one. */
#ifndef VEER_TESTS_RANDOM_PROGRAM_H
#define VEER_TESTS_RANDOM_PROGRAM_H

#include "ir/builder.h"
#include "ir/channels.h"
#include "tests/support/random.h"

enum { PROGRAM_POOL = 96, PROGRAM_ELEMENTS = 6000, PROGRAM_TRIP = 4 };

typedef struct program_s {
    veer_graph_t *g;
    veer_builder_t *b;
    random_t *r;
    veer_value_t v[PROGRAM_POOL];
    int count;
    veer_value_t exact; /* an f32 argument: the same in every evaluation */
    veer_value_t seed;  /* i64[], or none inside functions that are differentiated */
    veer_value_t index; /* of the loop under way, or none */
    int depth;
    bool smooth; /* only what has a gradient */
} program_t;

static inline int program_below(program_t *p, int n) {
    return random_below(p->r, n);
}

static inline const veer_type_t *program_type(const program_t *p, veer_value_t v) {
    return veer_builder_type(p->b, v);
}

static inline veer_value_t program_pick(program_t *p) {
    /* Later values are likelier: chains grow. */
    int a = program_below(p, p->count), b = program_below(p, p->count);
    return p->v[a > b ? a : b];
}

static inline void program_add(program_t *p, veer_value_t v) {
    if (!v.i || !veer_builder_ok(p->b)) return;
    const veer_type_t *t = program_type(p, v);
    int64_t count = veer_type_count(t);
    if (t->dtype != VEER_DTYPE_F32 || count > PROGRAM_ELEMENTS || p->count == PROGRAM_POOL) return;
    p->v[p->count++] = v;
}

/* Numbers in [-1, 1]. */
static inline veer_value_t program_const(program_t *p, veer_type_t type) {
    float data[PROGRAM_ELEMENTS];
    int64_t count = veer_type_count(&type);
    if (count > PROGRAM_ELEMENTS) return VEER_NO_VALUE;
    for (int64_t i = 0; i < count; i++) data[i] = (float)(program_below(p, 2001) - 1000) / 1000.0f;
    return veer_const(p->b, type, data);
}

static inline veer_value_t program_unary(program_t *p, veer_value_t x) {
    veer_builder_t *b = p->b;
    switch (program_below(p, p->smooth ? 9 : 14)) {
    case 0: return veer_tanh(b, x);
    case 1: return veer_sigmoid(b, x);
    case 2: return veer_silu(b, x);
    case 3: return veer_gelu(b, x, program_below(p, 2));
    case 4: return veer_exp(b, veer_tanh(b, x));
    case 5: return veer_sqrt(b, veer_add_c(b, veer_mul(b, x, x), 0.5));
    case 6: return veer_mul_c(b, x, 0.75);
    case 7: return veer_neg(b, x);
    case 8: return veer_sin(b, x);
    case 9: return veer_relu(b, x);
    case 10: return veer_abs(b, x);
    case 11: return veer_erf(b, x);
    case 12: return veer_log(b, veer_add_c(b, veer_abs(b, x), 0.5));
    default: return veer_cast(b, veer_cast(b, x, VEER_DTYPE_F64), VEER_DTYPE_F32);
    }
}

/* A value that broadcasts with x; x itself where none is found. */
static inline veer_value_t program_partner(program_t *p, veer_value_t x) {
    for (int i = 0; i < 8; i++) {
        veer_value_t y = program_pick(p);
        veer_type_t both = {0};
        if (veer_type_broadcast(program_type(p, x), program_type(p, y), &both) &&
            veer_type_count(&both) <= PROGRAM_ELEMENTS)
            return y;
    }
    return x;
}

static inline veer_value_t program_binary(program_t *p, veer_value_t x) {
    veer_builder_t *b = p->b;
    veer_value_t y = program_partner(p, x);
    switch (program_below(p, p->smooth ? 4 : 7)) {
    case 0: return veer_add(b, x, y);
    case 1: return veer_sub(b, y, x);
    case 2: return veer_mul(b, veer_tanh(b, x), y);
    case 3: return veer_div(b, x, veer_add_c(b, veer_mul(b, y, y), 1));
    case 4: return veer_min(b, x, y);
    case 5: return veer_max(b, x, y);
    default: {
        veer_type_t both = {0};
        if (!veer_type_broadcast(program_type(p, x), program_type(p, p->exact), &both) ||
            !veer_type_broadcast(program_type(p, y), &both, &both) || veer_type_count(&both) > PROGRAM_ELEMENTS)
            return VEER_NO_VALUE;
        return veer_where(b, veer_less(b, p->exact, veer_const_f32(b, 0.1f)), x, y);
    }
    }
}

static inline veer_value_t program_reshape(program_t *p, veer_value_t x) {
    veer_type_t t = *program_type(p, x);
    if (program_below(p, 2) && t.rank >= 2) { /* joins two neighbours */
        int at = program_below(p, t.rank - 1);
        t.dims[at] *= t.dims[at + 1];
        for (int i = at + 1; i + 1 < t.rank; i++) t.dims[i] = t.dims[i + 1];
        t.rank--;
    } else if (t.rank >= 1 && t.rank < 5) { /* splits one, or puts a 1 somewhere */
        int at = program_below(p, t.rank);
        int64_t part = t.dims[at] % 2 == 0 && program_below(p, 2) ? 2 : 1;
        for (int i = t.rank; i > at; i--) t.dims[i] = t.dims[i - 1];
        t.dims[at] = part;
        t.dims[at + 1] /= part;
        t.rank++;
    }
    return veer_reshape(p->b, x, t.rank, t.dims);
}

static inline veer_value_t program_transpose(program_t *p, veer_value_t x) {
    int64_t perm[VEER_MAX_RANK];
    int rank = program_type(p, x)->rank;
    for (int i = 0; i < rank; i++) perm[i] = i;
    for (int i = rank - 1; i > 0; i--) {
        int k = program_below(p, i + 1);
        int64_t t = perm[i];
        perm[i] = perm[k], perm[k] = t;
    }
    return veer_transpose(p->b, x, perm);
}

static inline veer_value_t program_broadcast(program_t *p, veer_value_t x) {
    veer_type_t t = *program_type(p, x);
    bool one = false;
    for (int i = 0; i < t.rank; i++)
        if (t.dims[i] == 1 && program_below(p, 2)) t.dims[i] = 2 + program_below(p, 7), one = true;
    if (!one && t.rank < 5) {
        for (int i = t.rank; i > 0; i--) t.dims[i] = t.dims[i - 1];
        t.dims[0] = 1 + program_below(p, 4);
        t.rank++;
    }
    return veer_type_count(&t) > PROGRAM_ELEMENTS ? VEER_NO_VALUE : veer_broadcast_to(p->b, x, t.rank, t.dims);
}

static inline veer_value_t program_slice(program_t *p, veer_value_t x) {
    const veer_type_t *t = program_type(p, x);
    if (!t->rank) return VEER_NO_VALUE;
    int axis = program_below(p, t->rank);
    int64_t size = t->dims[axis];
    if (program_below(p, 4) == 0) return veer_slice_axis(p->b, x, axis, size - 1, size, -1);
    if (program_below(p, 4) == 0) return veer_slice_axis(p->b, x, axis, 0, (size + 1) / 2, 2);
    int64_t start = program_below(p, (int)size);
    return veer_slice_axis(p->b, x, axis, start, 1 + program_below(p, (int)(size - start)), 1);
}

static inline veer_value_t program_move(program_t *p, veer_value_t x) {
    int64_t before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0};
    int rank = program_type(p, x)->rank, axis = rank ? program_below(p, rank) : 0;
    switch (program_below(p, 8)) {
    case 0:
    case 1: return program_reshape(p, x);
    case 2: return program_transpose(p, x);
    case 3:
    case 4: return program_broadcast(p, x);
    case 5: return program_slice(p, x);
    case 6:
        if (!rank) return VEER_NO_VALUE;
        before[axis] = program_below(p, 2), after[axis] = program_below(p, 3);
        return veer_pad_zero(p->b, x, before, after);
    default: {
        if (!rank) return VEER_NO_VALUE;
        veer_value_t parts[] = {x, program_unary(p, x), program_slice(p, x)};
        bool fits = parts[2].i != 0;
        for (int i = 0; fits && i < rank; i++)
            fits = i == axis || program_type(p, parts[2])->dims[i] == program_type(p, x)->dims[i];
        return veer_concat(p->b, parts, fits ? 3 : 2, axis);
    }
    }
}

static inline veer_value_t program_reduce(program_t *p, veer_value_t x) {
    static const veer_op_t ops[] = {VEER_OP_REDUCE_SUM, VEER_OP_REDUCE_MEAN, VEER_OP_REDUCE_MAX, VEER_OP_REDUCE_MIN};
    int rank = program_type(p, x)->rank, count = 0;
    int64_t axes[VEER_MAX_RANK];
    bool last = program_below(p, 2);
    for (int i = 0; i < rank; i++)
        if (last ? i == rank - 1 : program_below(p, 2)) axes[count++] = i;
    if (!count) return VEER_NO_VALUE;
    veer_op_t op = ops[program_below(p, p->smooth ? 2 : 4)];
    veer_value_t y = veer_reduce(p->b, op, x, axes, count, program_below(p, 2));
    return op == VEER_OP_REDUCE_SUM ? veer_tanh(p->b, y) : y;
}

/* x * scale + bias or a norm over the last axis, with parameters. */
static inline veer_value_t program_norm(program_t *p, veer_value_t x) {
    veer_builder_t *b = p->b;
    veer_type_t t = *program_type(p, x);
    if (t.rank < 1) return VEER_NO_VALUE;
    int64_t last = t.dims[t.rank - 1];
    veer_named_attr_t eps = VEER_FLOAT("eps", 0.1);
    switch (program_below(p, 8)) {
    case 0: return veer_build(b, VEER_OP_SOFTMAX, &x, 1, VEER_ATTRS(VEER_INT("axis", program_below(p, t.rank))));
    case 1: return veer_build(b, VEER_OP_LOG_SOFTMAX, &x, 1, VEER_ATTRS(VEER_INT("axis", t.rank - 1)));
    case 2: {
        veer_value_t in[] = {x, program_const(p, VEER_TYPE(VEER_DTYPE_F32, last)),
                             program_const(p, VEER_TYPE(VEER_DTYPE_F32, last))};
        return veer_build(b, VEER_OP_LAYER_NORM, in, 1 + program_below(p, 3),
                          VEER_ATTRS(VEER_INT("axis", t.rank - 1), eps));
    }
    case 3: {
        veer_value_t in[] = {x, program_const(p, VEER_TYPE(VEER_DTYPE_F32, last))};
        return veer_build(b, VEER_OP_RMS_NORM, in, 1 + program_below(p, 2),
                          VEER_ATTRS(VEER_INT("axis", t.rank - 1), eps));
    }
    default: {
        if (t.rank < 3) return VEER_NO_VALUE;
        int64_t c = t.dims[1];
        veer_value_t in[] = {x, program_const(p, VEER_TYPE(VEER_DTYPE_F32, c)),
                             program_const(p, VEER_TYPE(VEER_DTYPE_F32, c))};
        bool channels_last = program_below(p, 4) != 0;
        in[0] = veer_to_channels_last(b, x, channels_last);
        veer_value_t y = veer_build(b, VEER_OP_GROUP_NORM, in, program_below(p, 2) ? 3 : 1,
                                    VEER_ATTRS(VEER_INT("groups", c % 2 == 0 && program_below(p, 2) ? 2 : 1), eps,
                                               VEER_INT("channels_last", channels_last)));
        return veer_to_channels_first(b, y, channels_last);
    }
    }
}

static inline veer_value_t program_matmul(program_t *p, veer_value_t x) {
    veer_builder_t *b = p->b;
    veer_type_t t = *program_type(p, x);
    if (t.rank < 2) return VEER_NO_VALUE;
    int64_t k = t.dims[t.rank - 1], n = 1 + program_below(p, 20);
    if (program_below(p, 3) == 0) /* with itself: scores */
        return veer_tanh(b, veer_matmul(b, x, x, false, true));
    if (program_below(p, 4) == 0 && !p->smooth) {
        veer_value_t w = program_const(p, VEER_TYPE(VEER_DTYPE_F32, t.dims[t.rank - 2], n));
        return w.i ? veer_tanh(b, veer_matmul(b, x, w, true, false)) : w;
    }
    bool trans = program_below(p, 2);
    veer_value_t w = program_const(p, trans ? VEER_TYPE(VEER_DTYPE_F32, n, k) : VEER_TYPE(VEER_DTYPE_F32, k, n));
    if (!w.i) return w;
    veer_value_t y = veer_matmul(b, x, w, false, trans);
    if (program_below(p, 2)) y = veer_add(b, y, program_const(p, VEER_TYPE(VEER_DTYPE_F32, n)));
    return program_below(p, 2) ? veer_silu(b, veer_mul_c(b, y, 0.25)) : veer_tanh(b, y);
}

/* [N, C, L] or [N, C, H, W] with a kernel of 3 or 1, bias as an operand or added, perhaps a residual. */
static inline veer_value_t program_conv(program_t *p, veer_value_t x) {
    veer_builder_t *b = p->b;
    veer_type_t t = *program_type(p, x);
    int sp = t.rank - 2;
    if (sp < 1 || sp > 2) return VEER_NO_VALUE;
    int64_t k = program_below(p, 3) ? 3 : 1, m = program_below(p, 2) ? t.dims[1] : 1 + program_below(p, 9);
    veer_type_t wt = {VEER_DTYPE_F32, t.rank, {m, t.dims[1], k, k}};
    int64_t strides[] = {1, 1}, pads[] = {k / 2, k / 2}, dilations[] = {1, 1};
    if (program_below(p, 4) == 0) strides[0] = strides[sp - 1] = 2;
    if (veer_type_count(&wt) > PROGRAM_ELEMENTS) return VEER_NO_VALUE;
    bool channels_last = program_below(p, 4) == 0;
    veer_value_t in[] = {veer_to_channels_last(b, x, channels_last), program_const(p, wt),
                         program_const(p, VEER_TYPE(VEER_DTYPE_F32, m))};
    veer_value_t y = veer_build(b, VEER_OP_CONV, in, 2 + program_below(p, 2),
                                VEER_ATTRS(VEER_INTS("strides", strides, sp), VEER_INTS("pads_before", pads, sp),
                                           VEER_INTS("pads_after", pads, sp), VEER_INTS("dilations", dilations, sp),
                                           VEER_INT("channels_last", channels_last)));
    y = veer_to_channels_first(b, y, channels_last);
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    if (program_below(p, 2) && veer_type_same_shape(program_type(p, y), &t)) y = veer_add(b, x, y);
    return veer_tanh(b, veer_mul_c(b, y, 0.3));
}

/* Means of tiles, or of windows that overlap and see padding. */
static inline veer_value_t program_pool(program_t *p, veer_value_t x) {
    veer_builder_t *b = p->b;
    veer_type_t t = *program_type(p, x);
    int sp = t.rank - 2;
    if (sp < 1 || sp > 2) return VEER_NO_VALUE;
    bool tiles = program_below(p, 3), channels_last = program_below(p, 3) == 0;
    int64_t kernel[2], strides[2], pads[2] = {0}, dilations[] = {1, 1};
    for (int i = 0; i < sp; i++) {
        kernel[i] = 1 + program_below(p, t.dims[2 + i] < 4 ? t.dims[2 + i] : 4);
        strides[i] = tiles ? kernel[i] : 1, pads[i] = tiles ? 0 : kernel[i] / 2;
    }
    veer_value_t y = veer_to_channels_last(b, x, channels_last);
    y = veer_build(b, VEER_OP_AVG_POOL, VEER_IN(y),
                   VEER_ATTRS(VEER_INTS("kernel", kernel, sp), VEER_INTS("strides", strides, sp),
                              VEER_INTS("pads_before", pads, sp), VEER_INTS("pads_after", pads, sp),
                              VEER_INTS("dilations", dilations, sp), VEER_INT("channels_last", channels_last),
                              VEER_INT("count_include_pad", program_below(p, 2))));
    return veer_to_channels_first(b, y, channels_last);
}

static inline veer_value_t program_attention(program_t *p, veer_value_t x) {
    veer_type_t t = *program_type(p, x);
    if (t.rank != 4) return VEER_NO_VALUE;
    veer_value_t in[] = {x, veer_tanh(p->b, x), x};
    return veer_build(p->b, VEER_OP_ATTENTION, in, 3, VEER_ATTRS(VEER_FLOAT("scale", 0.5)));
}

/* What changes with the step only: a row of a table, or a function of the counter. */
static inline veer_value_t program_step(program_t *p) {
    if (!p->index.i) return VEER_NO_VALUE;
    veer_builder_t *b = p->b;
    if (program_below(p, 3) == 0) return veer_mul_c(b, veer_cast(b, p->index, VEER_DTYPE_F32), 0.2);
    veer_type_t t = {VEER_DTYPE_F32, 1 + program_below(p, 3), {PROGRAM_TRIP}};
    for (int i = 1; i < t.rank; i++) t.dims[i] = 1 + program_below(p, 12);
    return veer_step_slice(b, program_const(p, t), p->index);
}

static inline veer_value_t program_noise(program_t *p) {
    if (!p->seed.i) return VEER_NO_VALUE;
    int64_t dims[] = {1 + program_below(p, 3), 1 + program_below(p, 9), 1 + program_below(p, 9)};
    veer_value_t step = p->index.i ? p->index : veer_const_i64(p->b, 5);
    veer_value_t in[] = {p->seed, veer_const_i64(p->b, program_below(p, 3)), step};
    return veer_build(p->b, VEER_OP_NOISE, in, 3, VEER_ATTRS(VEER_INTS("dims", dims, 1 + program_below(p, 3))));
}

static inline veer_value_t program_gather(program_t *p, veer_value_t x) {
    veer_type_t t = *program_type(p, x);
    if (!t.rank) return VEER_NO_VALUE;
    int axis = program_below(p, t.rank);
    int64_t index[4];
    for (int i = 0; i < 4; i++) index[i] = program_below(p, (int)(2 * t.dims[axis])) - t.dims[axis];
    return veer_gather(p->b, x, veer_const_ints(p->b, index, 1 + program_below(p, 4)), axis);
}

static inline void program_nodes(program_t *p, int count);

static inline void program_loop(program_t *p) {
    veer_builder_t *b = p->b, inner;
    int carried = 1 + program_below(p, 3), stacked = program_below(p, 3);
    veer_value_t init[3], yields[6];
    for (int i = 0; i < carried; i++) init[i] = program_pick(p);
    veer_node_t loop = veer_builder_loop(b, 1 + program_below(p, PROGRAM_TRIP), init, carried);
    if (!loop.i) return;
    program_t body = *p;
    veer_region_t region = veer_node_body(p->g, loop);
    inner = veer_builder_at_end(p->g, region);
    body.b = &inner;
    body.depth++;
    body.index = veer_region_arg(p->g, region, 0);
    if (body.count > PROGRAM_POOL / 2) body.count = PROGRAM_POOL / 2;
    for (int i = 0; i < carried; i++) body.v[body.count++] = veer_region_arg(p->g, region, i + 1);
    program_nodes(&body, 4 + program_below(p, 14));
    for (int i = 0; i < carried; i++) {
        veer_value_t next = VEER_NO_VALUE; /* the newest of the right type that is not always itself */
        for (int k = body.count - 1, skip = program_below(p, 3); k >= 0; k--)
            if (veer_type_equal(veer_builder_type(&inner, body.v[k]), veer_builder_type(&inner, init[i]))) {
                next = body.v[k];
                if (skip-- == 0) break;
            }
        yields[i] = program_below(p, 3) ? next : veer_tanh(&inner, next);
    }
    for (int i = 0; i < stacked; i++) yields[carried + i] = program_pick(&body);
    veer_builder_yield(&inner, yields, carried + stacked);
    veer_builder_fail(b, veer_builder_status(&inner));
    veer_builder_loop_finish(b, loop);
    for (int i = 0; veer_builder_ok(b) && i < carried + stacked; i++) program_add(p, veer_node_out(p->g, loop, i));
}

/* grad of @net by its argument, where an operand has the right shape. */
static inline veer_value_t program_gradient(program_t *p) {
    veer_func_t net = veer_graph_find_func(p->g, "net");
    if (!net.i || p->smooth) return VEER_NO_VALUE;
    veer_region_t body = veer_func_body(p->g, net);
    veer_value_t in[2] = {VEER_NO_VALUE, VEER_NO_VALUE};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < p->count; k++)
            if (veer_type_equal(program_type(p, p->v[k]), program_type(p, veer_region_arg(p->g, body, i))) &&
                (!in[i].i || program_below(p, 2)))
                in[i] = p->v[k];
    if (!in[0].i || !in[1].i) return VEER_NO_VALUE;
    veer_type_t of = *program_type(p, veer_region_result(p->g, body, 0));
    veer_node_t grad =
        veer_builder_grad(p->b, net, in, 2, 0, program_const(p, of), (int64_t[]){0, 1}, 1 + program_below(p, 2));
    if (!grad.i) return VEER_NO_VALUE;
    program_add(p, veer_node_out(p->g, grad, 0));
    /* Gradients of norms may be large. */
    return veer_tanh(p->b, veer_node_out(p->g, grad, veer_region_result_count(p->g, body)));
}

static inline void program_nodes(program_t *p, int count) {
    for (int i = 0; i < count && veer_builder_ok(p->b); i++) {
        veer_value_t x = program_pick(p), y = VEER_NO_VALUE;
        switch (program_below(p, 20)) {
        case 0:
        case 1:
        case 2: y = program_unary(p, x); break;
        case 3:
        case 4:
        case 5:
        case 6: y = program_binary(p, x); break;
        case 7:
        case 8:
        case 9:
        case 10: y = program_move(p, x); break;
        case 11: y = program_reduce(p, x); break;
        case 12: y = program_norm(p, x); break;
        case 13: y = program_matmul(p, x); break;
        case 14: y = program_below(p, 3) ? program_conv(p, x) : program_pool(p, x); break;
        case 15: y = program_step(p); break;
        case 16: y = p->smooth ? VEER_NO_VALUE : program_noise(p); break;
        case 17: y = p->smooth ? program_attention(p, x) : program_gather(p, x); break;
        case 18:
            if (p->depth < 2 && !p->smooth) program_loop(p);
            break;
        default: y = program_gradient(p); break;
        }
        program_add(p, y);
    }
}

/* [2..3, 1..8, 1..17] and the like. */
static inline veer_type_t program_shape(random_t *r) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 8, 8, 16, 17};
    veer_type_t t = {.dtype = VEER_DTYPE_F32, .rank = random_below(r, 10) ? 1 + random_below(r, 4) : 0};
    for (int i = 0; i < t.rank; i++) t.dims[i] = sizes[random_below(r, i + 1 < t.rank ? 6 : 9)];
    return t;
}

static inline veer_status_t program_net(veer_graph_t *g, random_t *r, const veer_type_t *types) {
    veer_func_t net;
    VEER_TRY(veer_graph_add_func(g, "net", &net));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, net));
    program_t p = {.g = g, .b = &b, .r = r, .smooth = true};
    for (int i = 0; i < 2; i++)
        VEER_TRY(veer_region_add_arg(g, veer_func_body(g, net), types[i], i ? "y" : "x", &p.v[p.count++]));
    p.exact = p.v[0];
    program_nodes(&p, 4 + random_below(r, 16));
    veer_builder_return(&b, (veer_value_t[]){p.v[p.count - 1], p.v[random_below(r, p.count)]}, 2);
    return veer_builder_status(&b);
}

/* Arguments: some f32 tensors, then the seed i64[]. */
static inline veer_status_t random_program(veer_graph_t *g, uint64_t seed, veer_func_t *out) {
    random_t r = {seed};
    veer_type_t types[4];
    int args = 2 + random_below(&r, 3);
    for (int i = 0; i < args; i++) types[i] = program_shape(&r);
    VEER_TRY(program_net(g, &r, types));
    VEER_TRY(veer_graph_add_func(g, "main", out));
    veer_region_t body = veer_func_body(g, *out);
    veer_builder_t b = veer_builder_at_end(g, body);
    program_t p = {.g = g, .b = &b, .r = &r};
    for (int i = 0; i < args; i++) VEER_TRY(veer_region_add_arg(g, body, types[i], "", &p.v[p.count++]));
    VEER_TRY(veer_region_add_arg(g, body, VEER_SCALAR(VEER_DTYPE_I64), "seed", &p.seed));
    p.exact = p.v[0];
    program_nodes(&p, 6 + random_below(&r, 24));
    veer_value_t results[6];
    int count = 1 + random_below(&r, 5);
    for (int i = 0; i < count; i++) results[i] = i && random_below(&r, 5) == 0 ? results[i - 1] : program_pick(&p);
    results[count++] = p.v[p.count - 1];
    veer_builder_return(&b, results, count);
    return veer_builder_status(&b);
}

#endif
