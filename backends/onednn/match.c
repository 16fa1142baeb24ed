/* What oneDNN can compute, and why not. A fused node must be one contraction, pool or resampling followed by a chain of
 * post-ops, each taking the value before it and perhaps one more operand; anything else declines:
 *
 *     %0 = fused "conv" %x, %w, %b, %r { %c = conv %x, %w, %b   %s = silu %c   %y = add %s, %r   yield %y }
 */
#include "backends/onednn/match.h"

#include "ir/channels.h"
#include "ir/resample.h"
#include "ir/window.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A matrix of this many elements or more is cut into columns unless there are many rows: each tile then reads its own
 * part of the matrix once, which beats the faster kernels that read all of it (measured, see README.md). */
enum { FEW_ROWS = 32, MANY_ROWS = 512, LARGE_MATRIX = 1 << 18 };

typedef struct matcher_s {
    const veer_graph_t *g;
    veer_node_t node, core; /* core: the node itself, or the contraction in its body */
    veer_onednn_layouts_t layouts;
    veer_onednn_match_t *m;
    veer_onednn_problem_t *p;
    veer_value_t result; /* the node's, for its type */
    bool last;           /* the graph has [N, s..., C]: types are turned to [N, C, s...], strides tell where they lie */
} matcher_t;

/* An operand, looked through reshapes and broadcasts of the body. */
typedef struct source_s {
    veer_type_t type;
    int buf; /* -1: a constant of the body */
    const float *data;
    bool reshaped;
} source_t;

static VEER_PRINTF(2, 3) bool decline(matcher_t *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(s->m->reason, sizeof s->m->reason, format, args);
    va_end(args);
    return false;
}

void veer_onednn_view_init(veer_onednn_view_t *v, int rank, const int64_t *dims, veer_onednn_layout_t layout, int buf) {
    *v = (veer_onednn_view_t){.rank = rank, .buf = buf};
    memcpy(v->dims, dims, (size_t)rank * sizeof *dims);
    veer_onednn_dense_strides(rank, dims, layout == VEER_ONEDNN_CHANNELS_LAST, v->strides);
}

/* ---- operands ---- */

static bool from_outside(matcher_t *s, veer_value_t value, source_t *out) {
    int i = veer_value_def_index(s->g, value);
    if (veer_node_eq(s->node, s->core)) return decline(s, "operand is not the node's");
    value = veer_node_in(s->g, s->node, i);
    out->buf = i, out->data = veer_value_const_data(s->g, value);
    return true;
}

static bool resolve(matcher_t *s, veer_value_t value, source_t *out) {
    *out = (source_t){.type = *veer_value_type(s->g, value), .buf = -1};
    if (out->type.dtype != VEER_DTYPE_F32)
        return decline(s, "an operand is %s, expected f32", veer_dtype_name(out->type.dtype));
    if (veer_type_count(&out->type) == 0) return decline(s, "an operand is empty");
    for (veer_node_t def; (def = veer_value_def(s->g, value)).i; value = veer_node_in(s->g, def, 0)) {
        veer_op_t op = veer_node_op(s->g, def);
        if (op != VEER_OP_RESHAPE && op != VEER_OP_BROADCAST) break;
        if (op == VEER_OP_RESHAPE)
            out->reshaped = true;
        else if (out->reshaped)
            return decline(s, "an operand is broadcast, then reshaped");
        else
            out->type = *veer_value_type(s->g, veer_node_in(s->g, def, 0));
    }
    if (!veer_value_def(s->g, value).i) return from_outside(s, value, out);
    out->data = veer_value_const_data(s->g, value);
    return out->data || decline(s, "an operand is computed inside the fused node");
}

/* Operand `i` of the core. */
static bool core_operand(matcher_t *s, int i, source_t *out) {
    veer_value_t value = veer_node_in(s->g, s->core, i);
    if (!veer_node_eq(s->node, s->core)) return resolve(s, value, out);
    *out = (source_t){.type = *veer_value_type(s->g, value), .buf = i, .data = veer_value_const_data(s->g, value)};
    if (out->type.dtype != VEER_DTYPE_F32)
        return decline(s, "operand %d is %s, expected f32", i, veer_dtype_name(out->type.dtype));
    return veer_type_count(&out->type) > 0 || decline(s, "operand %d is empty", i);
}

static void set_view(veer_onednn_view_t *v, const source_t *from, veer_onednn_layout_t layout) {
    veer_onednn_view_init(v, from->type.rank, from->type.dims, from->data ? VEER_ONEDNN_PLAIN : layout, from->buf);
    v->data = from->data;
    v->data_count = veer_type_count(&from->type);
}

/* What stands in the graph's order of dims: images, post-op operands, the result. `from` becomes [N, C, s...]. */
static void set_image_view(const matcher_t *s, veer_onednn_view_t *v, source_t *from, veer_onednn_layout_t layout) {
    from->type = veer_channels_first(&from->type, s->last);
    set_view(v, from, layout);
    if (s->last) veer_onednn_dense_strides(v->rank, v->dims, true, v->strides);
}

static veer_type_t result_type(const matcher_t *s) {
    return veer_channels_first(veer_value_type(s->g, s->result), s->last);
}

/* ---- post-ops ---- */

static bool add_post(matcher_t *s, dnnl_alg_kind_t alg, double alpha, double beta) {
    if (s->p->post_count == VEER_ONEDNN_MAX_POST) return decline(s, "more than %d post-ops", VEER_ONEDNN_MAX_POST);
    s->p->posts[s->p->post_count++] = (veer_onednn_post_t){alg, (float)alpha, (float)beta};
    return true;
}

static bool add_scalar_operand(matcher_t *s, dnnl_alg_kind_t alg, double value, int rank) {
    int at = s->p->post_count;
    if (!add_post(s, alg, 0, 0)) return false;
    source_t scalar = {.type = {.dtype = VEER_DTYPE_F32, .rank = rank}, .buf = -1, .data = &s->p->scalars[at]};
    for (int i = 0; i < rank; i++) scalar.type.dims[i] = 1;
    s->p->scalars[at] = (float)value;
    set_view(&s->p->tensors[VEER_ONEDNN_POST + at], &scalar, VEER_ONEDNN_PLAIN);
    return true;
}

/* alpha * y + beta. One primitive gets one linear post-op only: oneDNN 2.6 computes a second one with the first one's
 * numbers. Neighbours become one, others scalar operands. */
static bool add_linear(matcher_t *s, double alpha, double beta) {
    int rank = veer_value_type(s->g, s->result)->rank;
    for (int i = s->p->post_count - 1; i >= 0; i--) {
        veer_onednn_post_t *post = &s->p->posts[i];
        if (post->alg != dnnl_eltwise_linear) continue;
        if (i < s->p->post_count - 1)
            return (alpha == 1 || add_scalar_operand(s, dnnl_binary_mul, alpha, rank)) &&
                   (beta == 0 || add_scalar_operand(s, dnnl_binary_add, beta, rank));
        *post = (veer_onednn_post_t){post->alg, (float)(post->alpha * alpha), (float)(post->beta * alpha + beta)};
        return true;
    }
    return add_post(s, dnnl_eltwise_linear, alpha, beta);
}

static bool add_unary(matcher_t *s, veer_node_t n) {
    switch (veer_node_op(s->g, n)) {
    case VEER_OP_RELU: return add_post(s, dnnl_eltwise_relu, 0, 0);
    case VEER_OP_SILU: return add_post(s, dnnl_eltwise_swish, 1, 0);
    case VEER_OP_TANH: return add_post(s, dnnl_eltwise_tanh, 0, 0);
    case VEER_OP_SIGMOID: return add_post(s, dnnl_eltwise_logistic, 0, 0);
    case VEER_OP_NEG: return add_linear(s, -1, 0);
    case VEER_OP_ABS: return add_post(s, dnnl_eltwise_abs, 0, 0);
    case VEER_OP_GELU:
        return add_post(s,
                        strcmp(veer_node_string(s->g, n, "approximate"), "tanh") ? dnnl_eltwise_gelu_erf
                                                                                 : dnnl_eltwise_gelu_tanh,
                        0, 0);
    default: return decline(s, "'%s' is no post-op of oneDNN", veer_op_name(veer_node_op(s->g, n)));
    }
}

/* With a constant c: the chain's value is operand `at` of n. */
static bool add_scalar(matcher_t *s, veer_node_t n, int at, double c) {
    switch (veer_node_op(s->g, n)) {
    case VEER_OP_ADD: return add_linear(s, 1, c);
    case VEER_OP_MUL: return add_linear(s, c, 0);
    case VEER_OP_SUB: return add_linear(s, at ? -1 : 1, at ? c : -c);
    case VEER_OP_DIV: return at || c == 0 ? decline(s, "division of a constant") : add_linear(s, 1 / c, 0);
    default: return decline(s, "'%s' with a constant is no post-op of oneDNN", veer_op_name(veer_node_op(s->g, n)));
    }
}

static bool binary_alg(matcher_t *s, veer_node_t n, int at, dnnl_alg_kind_t *out) {
    switch (veer_node_op(s->g, n)) {
    case VEER_OP_ADD: *out = dnnl_binary_add; return true;
    case VEER_OP_MUL: *out = dnnl_binary_mul; return true;
    case VEER_OP_SUB: *out = at ? dnnl_binary_add : dnnl_binary_sub; return !at || add_linear(s, -1, 0);
    case VEER_OP_DIV: *out = dnnl_binary_div; return !at || decline(s, "division by the chain's value");
    default: return decline(s, "'%s' is no binary post-op here", veer_op_name(veer_node_op(s->g, n)));
    }
}

/* The operand's dims, aligned to y's from the right; each must be 1 or y's. */
static bool align(matcher_t *s, source_t *from, const veer_type_t *y) {
    veer_type_t t = {.dtype = VEER_DTYPE_F32, .rank = y->rank};
    int lack = y->rank - from->type.rank;
    for (int i = 0; i < y->rank; i++) t.dims[i] = i < lack ? 1 : from->type.dims[i - lack];
    for (int i = 0; i < y->rank; i++)
        if (t.dims[i] != 1 && t.dims[i] != y->dims[i])
            return decline(s, "a post-op's operand is larger than the result");
    from->type = t;
    return lack >= 0;
}

static bool add_binary(matcher_t *s, veer_node_t n, veer_value_t value, const veer_type_t *y) {
    int at = veer_value_eq(veer_node_in(s->g, n, 0), value) ? 0 : 1;
    source_t other;
    dnnl_alg_kind_t alg = dnnl_alg_kind_undef;
    if (!resolve(s, veer_node_in(s->g, n, 1 - at), &other)) return false;
    if (other.data && veer_type_count(&other.type) == 1 && other.type.rank <= y->rank)
        return add_scalar(s, n, at, other.data[0]);
    if (other.type.rank > y->rank) return decline(s, "a post-op's operand has a higher rank than the result");
    if (!align(s, &other, y) || !binary_alg(s, n, at, &alg)) return false;
    if (other.reshaped && veer_type_count(&other.type) == veer_type_count(y) && s->layouts.out != VEER_ONEDNN_PLAIN)
        return decline(s, "a reshaped operand, with channels last");
    if (!add_post(s, alg, 0, 0)) return false;
    bool full = veer_type_same_shape(&other.type, y);
    set_image_view(s, &s->p->tensors[VEER_ONEDNN_POST + s->p->post_count - 1], &other,
                   full ? s->layouts.out : VEER_ONEDNN_PLAIN);
    return true;
}

/* Follows the value from the core to the yield. */
static bool add_posts(matcher_t *s) {
    veer_value_t value = veer_node_out(s->g, s->core, 0);
    veer_type_t y = *veer_value_type(s->g, value);
    veer_region_t body = veer_node_body(s->g, s->node);
    veer_value_t last = veer_region_result(s->g, body, 0);
    while (!veer_value_eq(value, last)) {
        int operand;
        if (veer_value_use_count(s->g, value) != 1) return decline(s, "a value inside the fused node has several uses");
        veer_node_t n = veer_value_use(s->g, value, 0, &operand);
        if (veer_node_out_count(s->g, n) != 1 || veer_node_body(s->g, n).i)
            return decline(s, "not a chain of post-ops");
        veer_value_t next = veer_node_out(s->g, n, 0);
        if (!veer_type_equal(veer_value_type(s->g, next), &y)) return decline(s, "a post-op changes the type");
        if (!(veer_node_in_count(s->g, n) == 2 ? add_binary(s, n, value, &y) : add_unary(s, n))) return false;
        value = next;
    }
    return veer_value_use_count(s->g, value) == 1 || decline(s, "a value inside the fused node has several uses");
}

/* ---- convolution ---- */

static void set_window(matcher_t *s, const veer_window_t *w) {
    for (int i = 0; i < w->spatial; i++) {
        s->p->window.kernel[i] = w->kernel[i];
        s->p->window.strides[i] = w->strides[i];
        s->p->window.dilates[i] = w->dilations[i] - 1;
        s->p->window.pads_before[i] = w->pads_before[i];
        s->p->window.pads_after[i] = w->pads_after[i] - w->output_padding[i];
    }
}

/* A transposed convolution of stride 1 is a convolution with the kernel reversed; those are faster, and their tiles
 * exact. */
static bool flip(matcher_t *s, const veer_window_t *w) {
    veer_dnnl_window_t *out = &s->p->window;
    for (int i = 0; i < w->spatial; i++)
        if (w->strides[i] != 1 || veer_window_extent(w, i) - 1 < w->pads_before[i] ||
            veer_window_extent(w, i) - 1 < w->pads_after[i] - w->output_padding[i])
            return false;
    for (int i = 0; i < w->spatial; i++) {
        out->pads_before[i] = veer_window_extent(w, i) - 1 - w->pads_before[i];
        out->pads_after[i] = veer_window_extent(w, i) - 1 - w->pads_after[i] + w->output_padding[i];
    }
    s->p->form = VEER_ONEDNN_CONV;
    s->p->flip_kernel = true;
    return true;
}

/* w as [g, M/g, C/g, k...]: conv has it as [M, C/g, k...], conv_transpose as [C, M/g, k...]. */
static void set_weight(matcher_t *s, const source_t *w, int64_t groups, bool transposed) {
    veer_onednn_view_t *v = &s->p->tensors[VEER_ONEDNN_W];
    int64_t strides[VEER_MAX_RANK], first = w->type.dims[0] / groups;
    veer_type_strides(&w->type, strides);
    *v = (veer_onednn_view_t){
        .rank = w->type.rank + 1, .buf = w->buf, .data = w->data, .data_count = veer_type_count(&w->type)};
    v->dims[0] = groups, v->strides[0] = first * strides[0];
    v->dims[1] = transposed ? w->type.dims[1] : first, v->strides[1] = strides[transposed ? 1 : 0];
    v->dims[2] = transposed ? first : w->type.dims[1], v->strides[2] = strides[transposed ? 0 : 1];
    for (int i = 2; i < w->type.rank; i++) v->dims[1 + i] = w->type.dims[i], v->strides[1 + i] = strides[i];
}

static bool set_result(matcher_t *s, veer_onednn_layout_t layout) {
    source_t y = {.type = *veer_value_type(s->g, s->result), .buf = veer_node_in_count(s->g, s->node)};
    if (y.type.dtype != VEER_DTYPE_F32)
        return decline(s, "the result is %s, expected f32", veer_dtype_name(y.type.dtype));
    if (veer_type_count(&y.type) == 0) return decline(s, "the result is empty");
    set_image_view(s, &s->p->tensors[VEER_ONEDNN_Y], &y, layout);
    return true;
}

static bool match_conv(matcher_t *s) {
    bool transposed = veer_node_op(s->g, s->core) == VEER_OP_CONV_TRANSPOSE;
    int64_t groups = veer_node_int(s->g, s->core, "groups");
    source_t x, w, bias;
    if (!core_operand(s, 0, &x) || !core_operand(s, 1, &w) || !set_result(s, s->layouts.out)) return false;
    if (x.data) return decline(s, "the input is a constant");
    if (x.reshaped || w.reshaped) return decline(s, "a reshape stands before the convolution");
    if (!w.data) return decline(s, "the weight is not a constant");
    veer_window_t window = veer_window_of_node(s->g, s->core);
    s->p->form = transposed ? VEER_ONEDNN_CONV_TRANSPOSE : VEER_ONEDNN_CONV;
    set_window(s, &window);
    if (transposed) flip(s, &window);
    set_image_view(s, &s->p->tensors[VEER_ONEDNN_X], &x, s->layouts.in);
    set_weight(s, &w, groups, transposed);
    if (veer_node_in_count(s->g, s->core) > 2 && veer_node_in(s->g, s->core, 2).i) {
        if (!core_operand(s, 2, &bias)) return false;
        set_view(&s->p->tensors[VEER_ONEDNN_BIAS], &bias, VEER_ONEDNN_PLAIN);
    }
    int64_t pixels = veer_type_count(transposed ? &x.type : veer_value_type(s->g, s->result));
    s->p->flops = 2.0 * (double)pixels * (double)veer_type_count_range(&w.type, 1, w.type.rank);
    return true;
}

/* ---- matmul ---- */

/* [lead..., r, c] as [L or 1, r, c]; false where the leading dims are broadcast in part. */
static bool fold_leads(veer_onednn_view_t *v, const source_t *from, int64_t leads) {
    const veer_type_t *t = &from->type;
    int64_t count = veer_type_count_range(t, 0, t->rank - 2), r = t->dims[t->rank - 2], c = t->dims[t->rank - 1];
    *v = (veer_onednn_view_t){.rank = 3, .buf = from->buf, .data = from->data, .data_count = veer_type_count(t)};
    v->dims[0] = count, v->dims[1] = r, v->dims[2] = c;
    v->strides[0] = r * c, v->strides[1] = c, v->strides[2] = 1;
    return count == 1 || count == leads;
}

static void exchange(veer_onednn_view_t *v, int a, int b) {
    int64_t dim = v->dims[a], stride = v->strides[a];
    v->dims[a] = v->dims[b], v->strides[a] = v->strides[b];
    v->dims[b] = dim, v->strides[b] = stride;
}

/* Post-op operands as [L or 1, M or 1, N or 1]. */
static bool fold_posts(matcher_t *s, int64_t leads) {
    for (int i = 0; i < s->p->post_count; i++) {
        veer_onednn_view_t *v = &s->p->tensors[VEER_ONEDNN_POST + i];
        if (!v->rank) continue;
        source_t from = {.type = veer_type_make(VEER_DTYPE_F32, v->rank, v->dims), .buf = v->buf, .data = v->data};
        if (!fold_leads(v, &from, leads)) return decline(s, "a post-op's operand broadcasts some of the leading dims");
    }
    return true;
}

/* Leading dims can become rows where every operand has all of them or none, and all rows or none. */
static bool rows_are_one(const veer_onednn_problem_t *p, bool trans_a) {
    const veer_onednn_view_t *x = &p->tensors[VEER_ONEDNN_X], *w = &p->tensors[VEER_ONEDNN_W],
                             *y = &p->tensors[VEER_ONEDNN_Y];
    if (trans_a || w->dims[0] != 1 || x->dims[0] != y->dims[0]) return false;
    for (int i = 0; i < p->post_count; i++) {
        const veer_onednn_view_t *v = &p->tensors[VEER_ONEDNN_POST + i];
        bool all = v->dims[0] == y->dims[0] && v->dims[1] == y->dims[1], none = v->dims[0] == 1 && v->dims[1] == 1;
        if (v->rank && !all && !none) return false;
    }
    return true;
}

static void make_rows_one(veer_onednn_problem_t *p) {
    for (int i = 0; i < VEER_ONEDNN_POST + p->post_count; i++) {
        veer_onednn_view_t *v = &p->tensors[i];
        if (!v->rank || i == VEER_ONEDNN_W) continue;
        v->dims[1] *= v->dims[0], v->dims[0] = 1;
    }
}

/* What a post-op adds to a convolution's [N, C, s...] varies along s only where it has y's full shape: oneDNN takes the
 * wrong elements of anything between ([1, C, H, W] under several images, [N, C, H, 1], [N, 1, H, W], ...). `first`: the
 * first axis of s. */
static bool posts_fit_conv(const veer_onednn_problem_t *p, int first, int end) {
    const veer_onednn_view_t *y = &p->tensors[VEER_ONEDNN_Y];
    for (int i = 0; i < p->post_count; i++) {
        const veer_onednn_view_t *v = &p->tensors[VEER_ONEDNN_POST + i];
        bool varies = false;
        for (int d = first; d < end && v->rank; d++) varies |= v->dims[d] > 1;
        if (varies && memcmp(v->dims, y->dims, (size_t)y->rank * sizeof *y->dims)) return false;
    }
    return true;
}

/* To the conv form: [L, M, K] is [L, K, M] with channels last; w [1, K, N] becomes [1, N, K, 1]. */
static void make_conv(veer_onednn_problem_t *p) {
    veer_onednn_view_t *w = &p->tensors[VEER_ONEDNN_W];
    for (int i = 0; i < VEER_ONEDNN_POST + p->post_count; i++)
        if (i != VEER_ONEDNN_W) exchange(&p->tensors[i], 1, 2);
    exchange(w, 1, 2);
    w->rank = 4, w->dims[3] = 1, w->strides[3] = 1;
    p->form = VEER_ONEDNN_CONV;
    p->window = (veer_dnnl_window_t){.kernel = {1}, .strides = {1}};
}

static bool match_matmul(matcher_t *s) {
    veer_onednn_view_t *v = s->p->tensors;
    bool trans_a = veer_node_int(s->g, s->core, "trans_a") != 0, trans_b = veer_node_int(s->g, s->core, "trans_b") != 0;
    veer_type_t type = *veer_value_type(s->g, s->result);
    int64_t leads = veer_type_count_range(&type, 0, type.rank - 2);
    source_t a, b, y = {.type = type, .buf = veer_node_in_count(s->g, s->node)};
    if (!core_operand(s, 0, &a) || !core_operand(s, 1, &b) || !set_result(s, VEER_ONEDNN_PLAIN)) return false;
    if (s->layouts.in != VEER_ONEDNN_PLAIN || s->layouts.out != VEER_ONEDNN_PLAIN)
        return decline(s, "matmul has plain layouts only");
    if (a.data) return decline(s, "the first matrix is a constant");
    if (!fold_leads(&v[VEER_ONEDNN_X], &a, leads) || !fold_leads(&v[VEER_ONEDNN_W], &b, leads))
        return decline(s, "an operand broadcasts some of the leading dims");
    fold_leads(&v[VEER_ONEDNN_Y], &y, leads);
    if (!fold_posts(s, leads)) return false;
    if (trans_a) exchange(&v[VEER_ONEDNN_X], 1, 2);
    if (trans_b) exchange(&v[VEER_ONEDNN_W], 1, 2);
    s->p->form = VEER_ONEDNN_MATMUL;
    s->p->flops = 2.0 * (double)veer_type_count(&type) * (double)v[VEER_ONEDNN_X].dims[2];
    if (rows_are_one(s->p, trans_a)) make_rows_one(s->p);
    int64_t rows = v[VEER_ONEDNN_X].dims[0] * v[VEER_ONEDNN_X].dims[1],
            matrix = v[VEER_ONEDNN_W].dims[1] * v[VEER_ONEDNN_W].dims[2];
    bool few = rows < FEW_ROWS || (rows <= MANY_ROWS && matrix >= LARGE_MATRIX);
    if (b.data && v[VEER_ONEDNN_W].dims[0] == 1 && v[VEER_ONEDNN_X].dims[0] == v[VEER_ONEDNN_Y].dims[0] && !trans_a &&
        !few && posts_fit_conv(s->p, 1, 2))
        make_conv(s->p);
    return true;
}

/* ---- pools and resampling ---- */

/* Row-major [N, C, s...] as one image of N * C channels: each is done alone anyway. */
static void merge_images(veer_onednn_problem_t *p) {
    veer_onednn_view_t *x = &p->tensors[VEER_ONEDNN_X], *y = &p->tensors[VEER_ONEDNN_Y];
    x->dims[1] *= x->dims[0], y->dims[1] *= y->dims[0];
    x->dims[0] = y->dims[0] = 1;
}

static bool match_spread(matcher_t *s, source_t *x) {
    if (s->layouts.in != s->layouts.out) return decline(s, "input and result have different layouts");
    if (!core_operand(s, 0, x) || !set_result(s, s->layouts.out)) return false;
    if (x->data) return decline(s, "the input is a constant");
    if (x->reshaped) return decline(s, "a reshape stands before it");
    set_image_view(s, &s->p->tensors[VEER_ONEDNN_X], x, s->layouts.in);
    s->p->flops = (double)veer_type_count(veer_value_type(s->g, s->result));
    if (s->layouts.in == VEER_ONEDNN_PLAIN && !s->last && s->p->post_count == 0) merge_images(s->p);
    return true;
}

static bool match_pool(matcher_t *s) {
    bool is_max = veer_node_op(s->g, s->core) == VEER_OP_MAX_POOL;
    bool include = !is_max && veer_node_int(s->g, s->core, "count_include_pad") != 0;
    source_t x;
    veer_window_t w = veer_window_of_node(s->g, s->core);
    if (is_max && veer_value_use_count(s->g, veer_node_out(s->g, s->core, 1)) > 0)
        return decline(s, "the indices are used");
    if (!match_spread(s, &x)) return false;
    veer_type_t result = result_type(s);
    for (int i = 0; i < w.spatial; i++) {
        /* What the last window needs; less than pads_after where a stride leaves a remainder, more in ceil mode. */
        int64_t y = result.dims[2 + i];
        int64_t after = (y - 1) * w.strides[i] + veer_window_extent(&w, i) - w.pads_before[i] - x.type.dims[2 + i];
        if (include && after > w.pads_after[i]) return decline(s, "a window hangs over the padding, which counts");
        if (w.pads_before[i] >= w.kernel[i] || after >= w.kernel[i])
            return decline(s, "a window may see padding alone");
        if (w.dilations[i] > 1) return decline(s, "dilated pooling");
        w.pads_after[i] = after;
    }
    set_window(s, &w);
    s->p->form = VEER_ONEDNN_POOL;
    s->p->alg = is_max    ? dnnl_pooling_max
                : include ? dnnl_pooling_avg_include_padding
                          : dnnl_pooling_avg_exclude_padding;
    s->p->flops *= (double)(w.kernel[0] * (w.spatial > 1 ? w.kernel[1] : 1) * (w.spatial > 2 ? w.kernel[2] : 1));
    return true;
}

static bool resizes(const veer_graph_t *g, veer_node_t n, int axis) {
    const veer_type_t *x = veer_value_type(g, veer_node_in(g, n, 0)), *y = veer_value_type(g, veer_node_out(g, n, 0));
    veer_resample_t r = veer_resample_of_node(g, n);
    return x->dims[axis] != y->dims[axis] ||
           !veer_resample_is_identity(&r, x->dims[axis], y->dims[axis], veer_node_floats(g, n, "scales", NULL)[axis]);
}

/* oneDNN knows nearest and linear with half-pixel centres. */
static bool match_resize(matcher_t *s) {
    source_t x;
    veer_resample_t r = veer_resample_of_node(s->g, s->core);
    int count;
    const double *scales = veer_node_floats(s->g, s->core, "scales", &count);
    if (!match_spread(s, &x)) return false;
    veer_type_t result = result_type(s);
    if (x.type.rank < 3 || x.type.rank > 5) return decline(s, "resize of rank %d, expected 3 to 5", x.type.rank);
    if (r.mode == VEER_RESAMPLE_CUBIC) return decline(s, "cubic resize");
    for (int i = 0; i < x.type.rank; i++) {
        double scale = scales[s->last && i ? (i == 1 ? x.type.rank - 1 : i - 1) : i];
        int64_t in = x.type.dims[i], out = result.dims[i], f = veer_resample_repeats(&r, in, out, scale);
        bool identity = veer_resample_is_identity(&r, in, out, scale);
        bool half = r.coordinate == VEER_COORDINATE_HALF_PIXEL && scale == (double)out / (double)in;
        if (i < 2 && !identity) return decline(s, "resize of the batch or the channels");
        if (identity && in == out) continue;
        if (r.mode == VEER_RESAMPLE_NEAREST && !f) return decline(s, "nearest resize other than repetition");
        if (r.mode == VEER_RESAMPLE_LINEAR && !half) return decline(s, "linear resize without half-pixel centres");
    }
    s->p->form = VEER_ONEDNN_RESAMPLING;
    s->p->alg = r.mode == VEER_RESAMPLE_NEAREST ? dnnl_resampling_nearest : dnnl_resampling_linear;
    s->p->repeats = r.mode == VEER_RESAMPLE_NEAREST
                        ? s->p->tensors[VEER_ONEDNN_Y].dims[2] / s->p->tensors[VEER_ONEDNN_X].dims[2]
                        : 0;
    return true;
}

/* ---- nodes ---- */

static bool is_core(veer_op_t op) {
    return op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE || op == VEER_OP_MATMUL || op == VEER_OP_MAX_POOL ||
           op == VEER_OP_AVG_POOL || op == VEER_OP_RESIZE;
}

static bool find_core(matcher_t *s) {
    s->core = s->node;
    if (veer_node_op(s->g, s->node) != VEER_OP_FUSED)
        return is_core(veer_node_op(s->g, s->node)) ||
               decline(s, "'%s' is none of oneDNN's ops", veer_op_name(veer_node_op(s->g, s->node)));
    if (veer_node_out_count(s->g, s->node) != 1) return decline(s, "the fused node has several results");
    s->core = VEER_NO_NODE;
    VEER_FOR_EACH_NODE(s->g, veer_node_body(s->g, s->node), n) {
        if (!is_core(veer_node_op(s->g, n))) continue;
        if (s->core.i) return decline(s, "two contractions in one fused node");
        s->core = n;
    }
    return s->core.i || decline(s, "no contraction in the fused node");
}

/* A resize does not say where its channels are: at the end where it resizes dim 1 and not the last one. */
static bool is_channels_last(const veer_graph_t *g, veer_node_t core) {
    int rank = veer_value_type(g, veer_node_in(g, core, 0))->rank;
    switch (veer_node_op(g, core)) {
    case VEER_OP_MATMUL: return false;
    case VEER_OP_RESIZE: return rank >= 3 && rank <= 5 && resizes(g, core, 1) && !resizes(g, core, rank - 1);
    default: return veer_node_channels_last(g, core);
    }
}

static bool match_core(matcher_t *s) {
    switch (veer_node_op(s->g, s->core)) {
    case VEER_OP_MATMUL: return match_matmul(s);
    case VEER_OP_MAX_POOL:
    case VEER_OP_AVG_POOL: return match_pool(s);
    case VEER_OP_RESIZE: return match_resize(s);
    default: return match_conv(s);
    }
}

static uint32_t unused_bufs(const matcher_t *s) {
    uint32_t used = 0;
    int count = veer_node_in_count(s->g, s->node) + veer_node_out_count(s->g, s->node);
    for (int i = 0; i < VEER_ONEDNN_POST + s->p->post_count; i++)
        if (s->p->tensors[i].rank && !s->p->tensors[i].data) used |= 1u << s->p->tensors[i].buf;
    return ~used & (count < 32 ? (1u << count) - 1 : ~0u);
}

static bool check_posts(matcher_t *s) {
    if (s->p->form == VEER_ONEDNN_MATMUL || posts_fit_conv(s->p, 2, s->p->tensors[VEER_ONEDNN_Y].rank)) return true;
    return decline(s, "a post-op's operand broadcasts some of the positions, images or channels");
}

bool veer_onednn_match(const veer_graph_t *g, veer_node_t node, veer_onednn_layouts_t layouts, veer_onednn_match_t *m) {
    *m = (veer_onednn_match_t){0};
    matcher_t s = {.g = g, .node = node, .layouts = layouts, .m = m, .p = &m->problem};
    if (!find_core(&s)) return false;
    if (veer_node_in_count(g, node) > 30) return decline(&s, "more than 30 operands");
    s.result = veer_node_out(g, node, 0);
    s.last = is_channels_last(g, s.core);
    if (s.last && (layouts.in != VEER_ONEDNN_PLAIN || layouts.out != VEER_ONEDNN_PLAIN))
        return decline(&s, "the graph says where the channels are");
    /* Post-ops first: a matmul's shape depends on their operands. */
    if (!veer_node_eq(s.core, node) && !add_posts(&s)) return false;
    if (!match_core(&s) || !check_posts(&s)) return false;
    m->unused_bufs = unused_bufs(&s);
    return true;
}
