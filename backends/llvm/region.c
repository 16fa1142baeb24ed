#include "backends/llvm/region.h"
#include "ir/channels.h"
#include "ir/half.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TABLE_BYTES = 1 << 16, MAX_BODY = 4096 };

bool veer_fx_decline(veer_fx_region_t *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->reason, r->reason_bytes, format, args);
    va_end(args);
    return false;
}

/* ---- building blocks; each gives the new expression's index, or -1 after a failure ---- */
static int fail(veer_fx_region_t *r) {
    r->out_of_memory = true;
    return -1;
}

static int append(veer_fx_region_t *r, veer_fx_expr_t expr, const int *args, int arg_count) {
    for (int i = 0; i < arg_count; i++)
        if (args[i] < 0) return -1;
    if (r->count == r->room) {
        int room = r->room ? 2 * r->room : 64;
        veer_fx_expr_t *bigger = veer_arena_array(r->arena, (size_t)room, sizeof *bigger);
        if (!bigger) return fail(r);
        if (r->count) memcpy(bigger, r->exprs, (size_t)r->count * sizeof *bigger);
        r->exprs = bigger, r->room = room;
    }
    if (arg_count && !(expr.args = veer_arena_copy(r->arena, args, (size_t)arg_count * sizeof *args))) return fail(r);
    expr.arg_count = arg_count;
    r->exprs[r->count] = expr;
    return r->count++;
}
#define ARGS(...) (int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static veer_type_t type_of(const veer_fx_region_t *r, int expr) {
    return expr < 0 ? (veer_type_t){.dtype = VEER_DTYPE_F32} : r->exprs[expr].type;
}

static uint64_t scalar_bits(veer_dtype_t dtype, double value) {
    uint64_t bits = 0;
    float f = (float)value;
    int64_t i = dtype == VEER_DTYPE_BOOL ? value != 0 : veer_int64_from_double(value);
    if (dtype == VEER_DTYPE_F32)
        memcpy(&bits, &f, sizeof f);
    else if (dtype == VEER_DTYPE_F64)
        memcpy(&bits, &value, sizeof value);
    else
        memcpy(&bits, &i, veer_dtype_size(dtype));
    return bits;
}

static int constant(veer_fx_region_t *r, veer_dtype_t dtype, double value) {
    return append(
        r, (veer_fx_expr_t){.kind = VEER_FX_CONST, .type = VEER_SCALAR(dtype), .bits = scalar_bits(dtype, value)}, NULL,
        0);
}

static int unary(veer_fx_region_t *r, veer_op_t op, int x) {
    return append(r, (veer_fx_expr_t){.kind = VEER_FX_OP, .op = op, .type = type_of(r, x)}, &x, 1);
}

static int binary(veer_fx_region_t *r, veer_op_t op, int x, int y) {
    veer_type_t a = type_of(r, x), b = type_of(r, y), t = a;
    veer_type_broadcast(&a, &b, &t);
    t.dtype = a.dtype;
    return append(r, (veer_fx_expr_t){.kind = VEER_FX_OP, .op = op, .type = t}, ARGS(x, y));
}

static int reshape(veer_fx_region_t *r, int x, int rank, const int64_t *dims) {
    veer_type_t t = veer_type_make(type_of(r, x).dtype, rank, dims);
    return append(r, (veer_fx_expr_t){.kind = VEER_FX_RESHAPE, .type = t}, &x, 1);
}

/* Over axes [from, to), dims kept. */
static int reduce(veer_fx_region_t *r, veer_op_t op, int x, int from, int to) {
    veer_fx_expr_t e = {.kind = VEER_FX_REDUCE, .op = op, .type = type_of(r, x), .i = 1};
    for (int i = from; i < to; i++) e.p[i] = 1, e.type.dims[i] = 1;
    return append(r, e, &x, 1);
}

static int mean(veer_fx_region_t *r, int x, int from, int to) {
    veer_type_t t = type_of(r, x);
    int sum = reduce(r, VEER_OP_REDUCE_SUM, x, from, to);
    return binary(r, VEER_OP_DIV, sum, constant(r, t.dtype, (double)veer_type_count_range(&t, from, to)));
}

/* (x - mean) / sqrt(mean((x - mean)^2) + eps) over axes [from, to): two passes, so nothing cancels. */
static int normalise(veer_fx_region_t *r, int x, int from, int to, double eps, bool centre, int *out_rstd) {
    if (centre) x = binary(r, VEER_OP_SUB, x, mean(r, x, from, to));
    int variance = mean(r, binary(r, VEER_OP_MUL, x, x), from, to);
    *out_rstd = unary(r, VEER_OP_RSQRT, binary(r, VEER_OP_ADD, variance, constant(r, type_of(r, x).dtype, eps)));
    return binary(r, VEER_OP_MUL, x, *out_rstd);
}

/* ---- translation of nodes ---- */
typedef struct reader_s {
    veer_fx_region_t *r;
    const veer_graph_t *g;
    veer_node_t node;
    int in[VEER_OP_MAX_OPERANDS]; /* expressions of the first operands; -1: absent */
    const int *all;               /* of all of them */
    int in_count;
    veer_fx_expr_t e; /* kind OP, the node's op and result type */
} reader_t;

static bool has(const reader_t *n, int i) {
    return i < n->in_count && n->all[i] >= 0;
}
static int64_t int_attr(const reader_t *n, const char *name) {
    return veer_node_int(n->g, n->node, name);
}

static void copy_ints(const reader_t *n, const char *name, int64_t *to) {
    int count;
    const int64_t *from = veer_node_ints(n->g, n->node, name, &count);
    for (int i = 0; i < count && i < VEER_MAX_RANK; i++) to[i] = from[i];
}

static int one(reader_t *n, veer_fx_kind_t kind) {
    n->e.kind = kind;
    return append(n->r, n->e, n->in, 1);
}

static int read_reduce(reader_t *n) {
    int count;
    const int64_t *axes = veer_node_ints(n->g, n->node, "axes", &count);
    int64_t elements = 1;
    for (int i = 0; i < count; i++) n->e.p[axes[i]] = 1, elements *= type_of(n->r, n->in[0]).dims[axes[i]];
    n->e.i = int_attr(n, "keepdims");
    bool is_mean = n->e.op == VEER_OP_REDUCE_MEAN;
    if (is_mean) n->e.op = VEER_OP_REDUCE_SUM;
    int y = one(n, VEER_FX_REDUCE);
    return is_mean ? binary(n->r, VEER_OP_DIV, y, constant(n->r, n->e.type.dtype, (double)elements)) : y;
}

static int read_arg_max(reader_t *n) {
    n->e.p[int_attr(n, "axis")] = 1;
    n->e.i = int_attr(n, "keepdims");
    n->e.j = (int_attr(n, "select_last") ? VEER_FX_LAST : 0) | (int_attr(n, "largest") ? 0 : VEER_FX_SMALLEST);
    return one(n, VEER_FX_ARG_MAX);
}

static int read_softmax(reader_t *n, bool logarithm) {
    int axis = (int)int_attr(n, "axis");
    int d = binary(n->r, VEER_OP_SUB, n->in[0], reduce(n->r, VEER_OP_REDUCE_MAX, n->in[0], axis, axis + 1));
    int e = unary(n->r, VEER_OP_EXP, d), sum = reduce(n->r, VEER_OP_REDUCE_SUM, e, axis, axis + 1);
    if (logarithm) return binary(n->r, VEER_OP_SUB, d, unary(n->r, VEER_OP_LOG, sum));
    return binary(n->r, VEER_OP_MUL, e, unary(n->r, VEER_OP_RECIPROCAL, sum));
}

static int scale_and_shift(reader_t *n, int y, int scale, int shift) {
    if (scale >= 0) y = binary(n->r, VEER_OP_MUL, y, scale);
    return shift >= 0 ? binary(n->r, VEER_OP_ADD, y, shift) : y;
}

static int read_norm(reader_t *n, bool centre) {
    int rstd;
    int y = normalise(n->r, n->in[0], (int)int_attr(n, "axis"), n->e.type.rank, veer_node_float(n->g, n->node, "eps"),
                      centre, &rstd);
    return scale_and_shift(n, y, has(n, 1) ? n->in[1] : -1, centre && has(n, 2) ? n->in[2] : -1);
}

/* [N, A, B, D] as [N, B, A, D]. */
static int exchange_middle(veer_fx_region_t *r, int x) {
    veer_type_t t = type_of(r, x);
    int64_t a = t.dims[1];
    t.dims[1] = t.dims[2], t.dims[2] = a;
    return append(r, (veer_fx_expr_t){.kind = VEER_FX_TRANSPOSE, .type = t, .p = {0, 2, 1, 3}}, &x, 1);
}

/* x [N, C, ...] as [N, groups, C/groups, S], with channels last [N, ..., C] as [N, groups, S, C/groups]: axes 2 and 3
 * are a group's. */
static int in_groups(reader_t *n, int x) {
    veer_type_t t = n->e.type;
    bool last = int_attr(n, "channels_last") != 0;
    int64_t groups = int_attr(n, "groups"), channels = t.dims[last ? t.rank - 1 : 1] / groups;
    int64_t space = veer_type_count_range(&t, last ? 1 : 2, last ? t.rank - 1 : t.rank);
    if (last) return exchange_middle(n->r, reshape(n->r, x, 4, (int64_t[]){t.dims[0], space, groups, channels}));
    return reshape(n->r, x, 4, (int64_t[]){t.dims[0], groups, channels, space});
}

static int from_groups(reader_t *n, int y) {
    if (int_attr(n, "channels_last")) y = exchange_middle(n->r, y);
    return reshape(n->r, y, n->e.type.rank, n->e.type.dims);
}

static int normalise_groups(reader_t *n, int *out_rstd) {
    return normalise(n->r, in_groups(n, n->in[0]), 2, 4, veer_node_float(n->g, n->node, "eps"), true, out_rstd);
}

static int read_group_norm(reader_t *n) {
    int rstd, y = normalise_groups(n, &rstd), scale = has(n, 1) ? n->in[1] : -1, shift = has(n, 2) ? n->in[2] : -1;
    if (int_attr(n, "channels_last")) return scale_and_shift(n, from_groups(n, y), scale, shift);
    veer_type_t t = type_of(n->r, y);
    if (scale >= 0) scale = reshape(n->r, scale, 3, (int64_t[]){t.dims[1], t.dims[2], 1});
    if (shift >= 0) shift = reshape(n->r, shift, 3, (int64_t[]){t.dims[1], t.dims[2], 1});
    return from_groups(n, scale_and_shift(n, y, scale, shift));
}

/* dx = rstd * (d - mean(d) - xhat * mean(d * xhat)) */
static int read_group_norm_grad(reader_t *n) {
    int rstd, xhat = normalise_groups(n, &rstd), d = in_groups(n, n->in[1]);
    int along = binary(n->r, VEER_OP_MUL, xhat, mean(n->r, binary(n->r, VEER_OP_MUL, d, xhat), 2, 4));
    int rest = binary(n->r, VEER_OP_SUB, d, mean(n->r, d, 2, 4));
    return from_groups(n, binary(n->r, VEER_OP_MUL, rstd, binary(n->r, VEER_OP_SUB, rest, along)));
}

/* x^c for the exponents that models use. */
static int read_pow(reader_t *n) {
    const veer_fx_expr_t *y = &n->r->exprs[n->in[1]];
    float c = NAN;
    if (y->kind == VEER_FX_CONST && y->type.dtype == VEER_DTYPE_F32) memcpy(&c, &y->bits, sizeof c);
    int x = n->in[0];
    if (veer_type_count(&y->type) == 1 && y->type.rank <= n->r->exprs[x].type.rank) {
        if (c == 1) return x;
        if (c == 2) return binary(n->r, VEER_OP_MUL, x, x);
        if (c == 3) return binary(n->r, VEER_OP_MUL, binary(n->r, VEER_OP_MUL, x, x), x);
        if (c == -1) return unary(n->r, VEER_OP_RECIPROCAL, x);
    }
    return append(n->r, n->e, n->in, 2);
}

static int read_pad(reader_t *n) {
    const char *mode = veer_node_string(n->g, n->node, "mode");
    n->e.i = !strcmp(mode, "reflect") ? VEER_FX_PAD_REFLECT
             : !strcmp(mode, "edge")  ? VEER_FX_PAD_EDGE
             : !strcmp(mode, "wrap")  ? VEER_FX_PAD_WRAP
                                      : VEER_FX_PAD_CONSTANT;
    copy_ints(n, "before", n->e.p);
    n->e.bits = scalar_bits(n->e.type.dtype, veer_node_float(n->g, n->node, "value"));
    return one(n, VEER_FX_PAD);
}

static int read_const(reader_t *n) {
    const void *bytes = veer_value_const_data(n->g, veer_node_out(n->g, n->node, 0));
    size_t size = veer_type_bytes(&n->e.type);
    if (veer_type_count(&n->e.type) == 1) {
        n->e.kind = VEER_FX_CONST;
        memcpy(&n->e.bits, bytes, size);
        return append(n->r, n->e, NULL, 0);
    }
    if (size > MAX_TABLE_BYTES) {
        veer_fx_decline(n->r, "a constant of %zu bytes inside the body; more than %d must be an operand", size,
                        MAX_TABLE_BYTES);
        return -1;
    }
    veer_fx_table_t *tables = veer_arena_array(n->r->arena, (size_t)n->r->table_count + 1, sizeof *tables);
    if (!tables) return fail(n->r);
    if (n->r->table_count) memcpy(tables, n->r->tables, (size_t)n->r->table_count * sizeof *tables);
    tables[n->r->table_count] = (veer_fx_table_t){bytes, size, n->e.type.dtype};
    n->r->tables = tables;
    n->e.kind = VEER_FX_TABLE, n->e.i = n->r->table_count++;
    return append(n->r, n->e, NULL, 0);
}

static int read_gather(reader_t *n, veer_fx_kind_t kind, int64_t axis) {
    n->e.kind = kind, n->e.i = axis;
    return append(n->r, n->e, n->in, 2);
}

static int read_elementwise(reader_t *n) {
    n->e.kind = VEER_FX_OP;
    if (n->e.op == VEER_OP_GELU) n->e.i = !strcmp(veer_node_string(n->g, n->node, "approximate"), "tanh");
    if (n->e.op == VEER_OP_MOD) n->e.i = int_attr(n, "fmod");
    return append(n->r, n->e, n->all, n->in_count);
}

static int read_op(reader_t *n) {
    switch (n->e.op) {
    case VEER_OP_CONST: return read_const(n);
    case VEER_OP_STEP_SLICE: return read_gather(n, VEER_FX_GATHER, 0);
    case VEER_OP_GATHER: return read_gather(n, VEER_FX_GATHER, int_attr(n, "axis"));
    case VEER_OP_GATHER_ELEMENTS: return read_gather(n, VEER_FX_GATHER_ELEMENTS, int_attr(n, "axis"));
    case VEER_OP_RESHAPE: return one(n, VEER_FX_RESHAPE);
    case VEER_OP_BROADCAST: return one(n, VEER_FX_BROADCAST);
    case VEER_OP_TRANSPOSE: copy_ints(n, "perm", n->e.p); return one(n, VEER_FX_TRANSPOSE);
    case VEER_OP_SLICE:
        copy_ints(n, "starts", n->e.p);
        copy_ints(n, "steps", n->e.q);
        return one(n, VEER_FX_SLICE);
    case VEER_OP_CONCAT:
        n->e.kind = VEER_FX_CONCAT, n->e.i = int_attr(n, "axis");
        return append(n->r, n->e, n->all, n->in_count);
    case VEER_OP_PAD: return read_pad(n);
    case VEER_OP_REDUCE_SUM:
    case VEER_OP_REDUCE_MEAN:
    case VEER_OP_REDUCE_MAX:
    case VEER_OP_REDUCE_MIN:
    case VEER_OP_REDUCE_PROD: return read_reduce(n);
    case VEER_OP_ARG_MAX: return read_arg_max(n);
    case VEER_OP_SOFTMAX: return read_softmax(n, false);
    case VEER_OP_LOG_SOFTMAX: return read_softmax(n, true);
    case VEER_OP_LAYER_NORM: return read_norm(n, true);
    case VEER_OP_RMS_NORM: return read_norm(n, false);
    case VEER_OP_GROUP_NORM: return read_group_norm(n);
    case VEER_OP_GROUP_NORM_GRAD: return read_group_norm_grad(n);
    case VEER_OP_POW: return read_pow(n);
    case VEER_OP_NOISE: n->e.kind = VEER_FX_NOISE, n->e.i = int_attr(n, "stream"); return append(n->r, n->e, n->in, 3);
    default:
        if (veer_op_has(n->e.op, VEER_ELEMENTWISE)) return read_elementwise(n);
        veer_fx_decline(n->r, "no kernel for op %s", veer_op_name(n->e.op));
        return -1;
    }
}

/* ---- what the code generator can do with which dtypes ---- */
static bool dtype_known(veer_dtype_t d) {
    return d == VEER_DTYPE_F32 || d == VEER_DTYPE_F64 || d == VEER_DTYPE_BOOL || veer_dtype_is_integer(d);
}

static bool check_dtypes(reader_t *n) {
    const char *name = veer_op_name(n->e.op);
    for (int i = 0; i < veer_node_in_count(n->g, n->node); i++) {
        veer_value_t v = veer_node_in(n->g, n->node, i);
        veer_dtype_t d = v.i ? veer_value_type(n->g, v)->dtype : VEER_DTYPE_F32;
        if (!dtype_known(d)) return veer_fx_decline(n->r, "%s of %s operands", name, veer_dtype_name(d));
    }
    if (!dtype_known(n->e.type.dtype))
        return veer_fx_decline(n->r, "%s gives %s", name, veer_dtype_name(n->e.type.dtype));
    veer_dtype_t d = n->in_count && n->in[0] >= 0 ? type_of(n->r, n->in[0]).dtype : n->e.type.dtype;
    veer_dtype_t d1 = n->in_count > 1 && n->in[1] >= 0 ? type_of(n->r, n->in[1]).dtype : d;
    bool rows = veer_op_has(n->e.op, VEER_ROWWISE) || veer_op_is_group_norm(n->e.op);
    if (rows && d != VEER_DTYPE_F32) return veer_fx_decline(n->r, "%s of %s", name, veer_dtype_name(d));
    if (veer_op_has(n->e.op, VEER_ELEMENTWISE) && !veer_fx_has(n->e.op, d, d1))
        return veer_fx_decline(n->r, "no kernel for %s of %s", name, veer_dtype_name(d));
    return true;
}

/* ---- regions ---- */
/* Expressions of values: body arguments and results seen so far. */
typedef struct known_s {
    uint32_t *values;
    int *exprs;
    int count;
} known_t;

static int look_up(const known_t *k, veer_value_t v) {
    for (int i = k->count - 1; i >= 0; i--)
        if (k->values[i] == v.i) return k->exprs[i];
    return -1;
}

static int translate(veer_fx_region_t *r, const veer_graph_t *g, veer_node_t node, const known_t *known) {
    int count = veer_node_in_count(g, node);
    int *all = veer_arena_array(r->arena, (size_t)count + 1, sizeof *all);
    if (!all) return fail(r);
    reader_t n = {.r = r, .g = g, .node = node, .all = all};
    for (int i = 0; i < count; i++) {
        veer_value_t v = veer_node_in(g, node, i);
        all[i] = v.i ? look_up(known, v) : -1;
        if (v.i && all[i] < 0) {
            veer_fx_decline(r, "%s takes a value from outside the body", veer_op_name(veer_node_op(g, node)));
            return -1;
        }
        if (i < VEER_OP_MAX_OPERANDS) n.in[i] = all[i];
    }
    n.in_count = count;
    if (veer_node_out_count(g, node) != 1) {
        veer_fx_decline(r, "no kernel for op %s", veer_op_name(veer_node_op(g, node)));
        return -1;
    }
    n.e = (veer_fx_expr_t){
        .kind = VEER_FX_OP, .op = veer_node_op(g, node), .type = *veer_value_type(g, veer_node_out(g, node, 0))};
    return check_dtypes(&n) ? read_op(&n) : -1;
}

static bool add_known(known_t *k, veer_value_t v, int expr) {
    k->values[k->count] = v.i;
    k->exprs[k->count++] = expr;
    return expr >= 0;
}

static bool init_inputs(veer_fx_region_t *r, const veer_graph_t *g, veer_node_t node, known_t *known,
                        veer_region_t body) {
    r->input_count = veer_node_in_count(g, node);
    veer_type_t *types = veer_arena_array(r->arena, (size_t)r->input_count + 1, sizeof *types);
    if (!types) return fail(r), false;
    r->input_types = types;
    for (int i = 0; i < r->input_count; i++) {
        veer_value_t v = veer_node_in(g, node, i);
        if (!v.i) continue;
        types[i] = *veer_value_type(g, v);
        if (!dtype_known(types[i].dtype))
            return veer_fx_decline(r, "operand %d is %s", i, veer_dtype_name(types[i].dtype));
        int e = append(r, (veer_fx_expr_t){.kind = VEER_FX_INPUT, .type = types[i], .i = i}, NULL, 0);
        if (!add_known(known, body.i ? veer_region_arg(g, body, i) : v, e)) return false;
    }
    return true;
}

static bool read_body(veer_fx_region_t *r, const veer_graph_t *g, veer_region_t body, known_t *known, int *roots) {
    veer_node_t end = veer_region_terminator(g, body);
    for (veer_node_t n = veer_region_first(g, body); n.i && n.i != end.i; n = veer_node_next(g, n)) {
        if (known->count >= MAX_BODY) return veer_fx_decline(r, "more than %d nodes", MAX_BODY);
        int e = translate(r, g, n, known);
        if (e < 0 || !add_known(known, veer_node_out(g, n, 0), e)) return false;
    }
    for (int i = 0; i < r->root_count; i++)
        if ((roots[i] = look_up(known, veer_region_result(g, body, i))) < 0)
            return veer_fx_decline(r, "result %d is defined outside the body", i);
    return true;
}

bool veer_fx_region_init(veer_fx_region_t *r, veer_arena_t *arena, const veer_graph_t *g, veer_node_t node,
                         char *reason, size_t reason_bytes) {
    *r = (veer_fx_region_t){.arena = arena, .reason = reason, .reason_bytes = reason_bytes};
    veer_region_t body = veer_node_op(g, node) == VEER_OP_FUSED ? veer_node_body(g, node) : VEER_NO_REGION;
    int inputs = veer_node_in_count(g, node);
    known_t known = {veer_arena_array(arena, (size_t)inputs + MAX_BODY + 1, sizeof(uint32_t)),
                     veer_arena_array(arena, (size_t)inputs + MAX_BODY + 1, sizeof(int)), 0};
    r->root_count = veer_node_out_count(g, node);
    int *roots = veer_arena_array(arena, (size_t)r->root_count + 1, sizeof *roots);
    r->roots = roots;
    if (!known.values || !known.exprs || !roots) return fail(r), false;
    if (!init_inputs(r, g, node, &known, body)) return false;
    if (body.i) return read_body(r, g, body, &known, roots);
    if (r->root_count != 1 || !veer_op_has(veer_node_op(g, node), VEER_PURE) || veer_node_op(g, node) == VEER_OP_CONST)
        return veer_fx_decline(r, "no kernel for op %s", veer_op_name(veer_node_op(g, node)));
    return (roots[0] = translate(r, g, node, &known)) >= 0;
}

/* ---- nodes that are not fused yet ---- */
static bool defined_by(const veer_graph_t *g, const veer_node_t *nodes, int count, veer_value_t v) {
    veer_node_t def = veer_value_def(g, v);
    for (int i = 0; def.i && i < count; i++)
        if (nodes[i].i == def.i) return true;
    return false;
}

static bool add_outside(veer_fx_region_t *r, const veer_graph_t *g, veer_value_t v, veer_type_t *types,
                        known_t *known) {
    const veer_type_t *t = veer_value_type(g, v);
    const void *bytes = veer_value_const_data(g, v);
    veer_fx_expr_t e = {.kind = VEER_FX_INPUT, .type = *t, .i = r->input_count};
    if (!dtype_known(t->dtype)) return veer_fx_decline(r, "an operand is %s", veer_dtype_name(t->dtype));
    if (known->count >= MAX_BODY) return veer_fx_decline(r, "more than %d values", MAX_BODY);
    if (bytes && veer_type_count(t) == 1) {
        e.kind = VEER_FX_CONST, e.i = 0;
        memcpy(&e.bits, bytes, veer_type_bytes(t));
    } else
        types[r->input_count++] = *t;
    return add_known(known, v, append(r, e, NULL, 0));
}

static bool add_operands(veer_fx_region_t *r, const veer_graph_t *g, const veer_node_t *nodes, int count,
                         veer_type_t *types, known_t *known) {
    for (int i = 0; i < count; i++)
        for (int k = 0; k < veer_node_in_count(g, nodes[i]); k++) {
            veer_value_t v = veer_node_in(g, nodes[i], k);
            if (!v.i || look_up(known, v) >= 0 || defined_by(g, nodes, count, v)) continue;
            if (!add_outside(r, g, v, types, known)) return false;
        }
    return true;
}

bool veer_fx_region_init_nodes(veer_fx_region_t *r, veer_arena_t *arena, const veer_graph_t *g,
                               const veer_node_t *nodes, int node_count, const veer_value_t *results, int result_count,
                               char *reason, size_t reason_bytes) {
    *r = (veer_fx_region_t){.arena = arena, .reason = reason, .reason_bytes = reason_bytes, .root_count = result_count};
    size_t room = MAX_BODY + (size_t)node_count + 1;
    known_t known = {veer_arena_array(arena, room, sizeof(uint32_t)), veer_arena_array(arena, room, sizeof(int)), 0};
    veer_type_t *types = veer_arena_array(arena, room, sizeof *types);
    int *roots = veer_arena_array(arena, (size_t)result_count + 1, sizeof *roots);
    r->roots = roots, r->input_types = types;
    if (!known.values || !known.exprs || !types || !roots) return fail(r), false;
    if (!add_operands(r, g, nodes, node_count, types, &known)) return false;
    for (int i = 0; i < node_count; i++) {
        int e = translate(r, g, nodes[i], &known);
        if (e < 0 || !add_known(&known, veer_node_out(g, nodes[i], 0), e)) return false;
    }
    for (int i = 0; i < result_count; i++)
        if ((roots[i] = look_up(&known, results[i])) < 0)
            return veer_fx_decline(r, "result %d is not one of the nodes'", i);
    return true;
}

/* ---- the key ---- */
typedef struct writer_s {
    unsigned char *bytes; /* NULL: count only */
    size_t size;
} writer_t;

static void put(writer_t *w, const void *data, size_t size) {
    if (w->bytes && size) memcpy(w->bytes + w->size, data, size);
    w->size += size;
}
static void put_int(writer_t *w, int64_t v) {
    put(w, &v, sizeof v);
}

static void put_expr(writer_t *w, const veer_fx_expr_t *e) {
    int64_t head[] = {e->kind, e->op, e->type.dtype, e->type.rank, e->i, e->j, (int64_t)e->bits, e->arg_count};
    put(w, head, sizeof head);
    put(w, e->type.dims, (size_t)e->type.rank * sizeof *e->type.dims);
    put(w, e->p, sizeof e->p);
    put(w, e->q, sizeof e->q);
    put(w, e->args, (size_t)e->arg_count * sizeof *e->args);
}

static void put_region(writer_t *w, const veer_fx_region_t *r) {
    put_int(w, r->count), put_int(w, r->input_count), put_int(w, r->root_count), put_int(w, r->table_count);
    for (int i = 0; i < r->count; i++) put_expr(w, &r->exprs[i]);
    for (int i = 0; i < r->root_count; i++) put_int(w, r->roots[i]);
    for (int i = 0; i < r->table_count; i++) {
        put_int(w, (int64_t)r->tables[i].size_bytes);
        put(w, r->tables[i].bytes, r->tables[i].size_bytes);
    }
}

const void *veer_fx_region_key(veer_fx_region_t *r, size_t *out_bytes) {
    writer_t w = {0};
    put_region(&w, r);
    w.bytes = veer_arena_alloc(r->arena, w.size);
    if (!w.bytes) return NULL;
    *out_bytes = w.size;
    w.size = 0;
    put_region(&w, r);
    return w.bytes;
}

double veer_fx_region_flops(const veer_fx_region_t *r) {
    double flops = 0;
    for (int i = 0; i < r->count; i++) {
        const veer_fx_expr_t *e = &r->exprs[i];
        if (e->kind == VEER_FX_OP || e->kind == VEER_FX_NOISE) flops += (double)veer_type_count(&e->type);
        if (e->kind == VEER_FX_REDUCE) flops += (double)veer_type_count(&r->exprs[e->args[0]].type);
    }
    return flops;
}

double veer_fx_region_bytes(const veer_fx_region_t *r) {
    double bytes = 0;
    for (int i = 0; i < r->input_count; i++)
        if (r->input_types[i].dtype) bytes += (double)veer_type_bytes(&r->input_types[i]);
    for (int i = 0; i < r->root_count; i++) bytes += (double)veer_type_bytes(&r->exprs[r->roots[i]].type);
    return bytes;
}
