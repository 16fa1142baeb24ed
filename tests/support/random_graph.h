/* A random graph of everything the text form has to say: all dtypes, odd names, loops, fused bodies, big and small
 * constants, origins, several results and functions. */
#ifndef VEER_TESTS_RANDOM_GRAPH_H
#define VEER_TESTS_RANDOM_GRAPH_H

#include "ir/builder.h"
#include "tests/support/random.h"

enum { RANDOM_POOL = 64 };

typedef struct random_pool_s {
    veer_value_t v[RANDOM_POOL]; /* all f32[2,3] */
    int count;
} random_pool_t;

static inline const char *random_name(random_t *r) {
    static const char *const names[] = {
        "",  "",         "x",   "y",     "h.1", "12", "/conv/Conv_output_0", "quote\"back\\slash\n\t\x01",
        "_", "\xc3\xa4", "a b", "splat", "%1"};
    return names[random_below(r, (int)(sizeof names / sizeof *names))];
}

static inline veer_value_t random_pick(random_t *r, const random_pool_t *p) {
    return p->v[random_below(r, p->count)];
}

static inline void random_add(veer_builder_t *b, random_t *r, random_pool_t *p, veer_value_t value) {
    if (!value.i || p->count == RANDOM_POOL) return;
    veer_builder_fail(b, veer_value_set_name(b->graph, value, random_name(r)));
    if (random_below(r, 3) == 0)
        veer_builder_fail(b, veer_node_add_origin(b->graph, veer_value_def(b->graph, value), random_name(r)));
    p->v[p->count++] = value;
}

/* A constant of any dtype and bytes: nothing takes it (it is dead), but its bits must survive. */
static inline void random_const(veer_builder_t *b, random_t *r) {
    uint64_t data[40];
    veer_dtype_t dtype = (veer_dtype_t)(1 + random_below(r, VEER_DTYPE_COUNT - 1));
    int64_t count = random_below(r, 2) ? random_below(r, 17) : random_below(r, 40);
    bool same = random_below(r, 3) == 0;
    for (int i = 0; i < 40; i++) data[i] = same && i ? data[0] : random_next(r);
    if (same)
        for (int i = 0; i < 40 * 8; i++) ((char *)data)[i] = ((char *)data)[i % (int)veer_dtype_size(dtype)];
    if (dtype == VEER_DTYPE_F32) data[0] |= random_below(r, 2) ? 0x7f800000u : 0;
    if (dtype == VEER_DTYPE_BOOL)
        for (int i = 0; i < 40 * 8; i++) ((unsigned char *)data)[i] &= 1;
    veer_value_t value =
        random_below(r, 8) ? veer_const(b, VEER_TYPE(dtype, count), data) : veer_const(b, VEER_SCALAR(dtype), data);
    if (value.i) veer_builder_fail(b, veer_value_set_name(b->graph, value, random_name(r)));
}

/* f32[2,3] of few values, all equal ones among them: what folding looks for. */
static inline veer_value_t random_known(veer_builder_t *b, random_t *r) {
    static const float values[] = {0.0f, -0.0f, 1.0f, 2.0f, -1.0f, 0.5f};
    float data[6];
    veer_type_t type = VEER_TYPE(VEER_DTYPE_F32, 2, 3);
    if (random_below(r, 2)) return veer_full(b, type, values[random_below(r, 6)]);
    int first = random_below(r, 6), spread = 1 + random_below(r, 2);
    for (int i = 0; i < 6; i++) data[i] = values[(first + i * (spread - 1)) % 6];
    return veer_const(b, type, data);
}

/* Moves that folding may see through. */
static inline veer_value_t random_move(veer_builder_t *b, random_t *r, veer_value_t x, veer_value_t y) {
    int axis = random_below(r, 2);
    veer_value_t both = veer_concat(b, (veer_value_t[]){x, y}, 2, axis);
    switch (random_below(r, 4)) {
    case 0: return veer_slice_axis(b, both, axis, random_below(r, 2) * (axis ? 3 : 2), axis ? 3 : 2, 1);
    case 1: return veer_slice_axis(b, both, axis, axis ? 4 : 3, axis ? 3 : 2, -1);
    case 2: return veer_transpose(b, veer_transpose(b, x, (int64_t[]){1, 0}), (int64_t[]){1, 0});
    default: {
        veer_value_t row = veer_gather(b, both, veer_const_i64(b, random_below(r, 4) - 2), axis);
        return veer_broadcast_to(b, axis ? veer_reshape(b, row, 2, (int64_t[]){2, 1}) : row, 2, (int64_t[]){2, 3});
    }
    }
}

static inline void random_nodes(veer_builder_t *b, random_t *r, random_pool_t *p, int count, int depth, bool loops);

static inline void random_loop(veer_builder_t *b, random_t *r, random_pool_t *p, int depth) {
    veer_value_t init[] = {random_pick(r, p), random_pick(r, p)};
    veer_node_t loop = veer_builder_loop(b, 1 + random_below(r, 5), init, 2);
    if (!loop.i) return;
    veer_region_t body = veer_node_body(b->graph, loop);
    veer_builder_t inner = veer_builder_at_end(b->graph, body);
    random_pool_t seen = *p;
    seen.count = p->count < RANDOM_POOL - 2 ? p->count : RANDOM_POOL - 2;
    seen.v[seen.count++] = veer_region_arg(b->graph, body, 1);
    seen.v[seen.count++] = veer_region_arg(b->graph, body, 2);
    random_nodes(&inner, r, &seen, 3, depth + 1, true);
    veer_value_t yields[] = {random_pick(r, &seen), random_pick(r, &seen), random_pick(r, &seen)};
    veer_builder_yield(&inner, yields, 2 + random_below(r, 2));
    veer_builder_fail(b, veer_builder_status(&inner));
    veer_builder_loop_finish(b, loop);
    if (!veer_builder_ok(b)) return;
    random_add(b, r, p, veer_node_out(b->graph, loop, 0));
    random_add(b, r, p, veer_node_out(b->graph, loop, 1));
}

static inline void random_fused(veer_builder_t *b, random_t *r, random_pool_t *p, int depth) {
    veer_value_t in[] = {random_pick(r, p), random_pick(r, p)};
    veer_node_t fused = veer_builder_fused(b, "elementwise", in, 2);
    if (!fused.i) return;
    veer_region_t body = veer_node_body(b->graph, fused);
    veer_builder_t inner = veer_builder_at_end(b->graph, body);
    random_pool_t seen = {{veer_region_arg(b->graph, body, 0), veer_region_arg(b->graph, body, 1)}, 2};
    random_nodes(&inner, r, &seen, 3, depth + 1, false);
    veer_builder_yield(&inner, &seen.v[seen.count - 1], 1);
    veer_builder_fail(b, veer_builder_status(&inner));
    veer_builder_fused_finish(b, fused);
    if (veer_builder_ok(b)) random_add(b, r, p, veer_node_out(b->graph, fused, 0));
}

static inline void random_nodes(veer_builder_t *b, random_t *r, random_pool_t *p, int count, int depth, bool loops) {
    for (int i = 0; i < count && veer_builder_ok(b); i++) {
        veer_value_t x = random_pick(r, p), y = random_pick(r, p);
        switch (random_below(r, 13)) {
        case 0: random_add(b, r, p, veer_mul(b, x, y)); break;
        case 1: random_add(b, r, p, veer_sub(b, x, random_below(r, 2) ? veer_neg(b, y) : y)); break;
        case 2: random_add(b, r, p, veer_silu(b, x)); break;
        case 3: random_add(b, r, p, veer_gelu(b, x, random_below(r, 2))); break;
        case 4:
            random_add(b, r, p,
                       veer_build(b, VEER_OP_SOFTMAX, &x, 1, VEER_ATTRS(VEER_INT("axis", random_below(r, 2)))));
            break;
        case 5: {
            veer_value_t t = veer_transpose(b, x, (int64_t[]){1, 0});
            random_add(b, r, p, veer_reshape(b, t, 2, (int64_t[]){2, 3}));
            break;
        }
        case 6: random_const(b, r); break;
        case 7: random_add(b, r, p, veer_cast(b, veer_cast(b, x, VEER_DTYPE_F16), VEER_DTYPE_F32)); break;
        case 8:
            if (loops && depth < 3) random_loop(b, r, p, depth);
            break;
        case 10: random_add(b, r, p, random_known(b, r)); break;
        case 11: random_add(b, r, p, random_move(b, r, x, y)); break;
        case 12: random_add(b, r, p, random_below(r, 2) ? veer_add(b, veer_neg(b, x), y) : veer_div(b, x, y)); break;
        case 9:
            if (depth < 3) random_fused(b, r, p, depth);
            break;
        }
    }
}

/* Two functions, the second of which calls the first. */
static inline veer_status_t random_graph(veer_graph_t *g, random_t *r, int nodes) {
    for (int f = 0; f < 2; f++) {
        veer_func_t func;
        random_pool_t pool = {.count = 2};
        VEER_TRY(veer_graph_add_func(g, f ? "f" : "odd name", &func));
        veer_region_t body = veer_func_body(g, func);
        for (int i = 0; i < 2; i++)
            VEER_TRY(veer_region_add_arg(g, body, VEER_TYPE(VEER_DTYPE_F32, 2, 3), random_name(r), &pool.v[i]));
        veer_builder_t b = veer_builder_at_end(g, body);
        random_nodes(&b, r, &pool, nodes, 0, true);
        if (f)
            random_add(&b, r, &pool,
                       veer_build(&b, VEER_OP_CALL, pool.v, 2, VEER_ATTRS(VEER_STRING("callee", "odd name"))));
        veer_builder_return(&b, &pool.v[pool.count - 2], 2);
        VEER_TRY(veer_builder_status(&b));
        VEER_TRY(veer_func_set_result_name(g, func, 1, "out \"1\""));
    }
    return veer_ok();
}

#endif
