/* One op on made-up operands: what the numeric and the gradient test of a family of ops share. The numbers come from
 * one generator with a fixed seed per operand, so stored results need no stored inputs. */
#ifndef VEER_TESTS_OP_CASE_H
#define VEER_TESTS_OP_CASE_H

#include "backends/reference/reference.h"
#include "ir/builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

enum { OP_CASE_OPERANDS = 5, OP_CASE_RANK = 5 };

typedef struct op_shape_s {
    int rank; /* 0: an absent operand */
    int64_t dims[OP_CASE_RANK];
} op_shape_t;

typedef struct op_case_s {
    const char *name;
    veer_op_t op;
    op_shape_t in[OP_CASE_OPERANDS];
    veer_named_attr_t attrs[VEER_OP_MAX_ATTRS + 1];
    const double *want; /* result 0 in f64, or NULL */
    int want_count;
    bool zero_gradient; /* all derivatives are 0, on purpose */
} op_case_t;

#define OP_CASE_COUNT(type, ...) (int)(sizeof((type[]){__VA_ARGS__}) / sizeof(type))
#define SHAPE(...)                                                                                                     \
    {                                                                                                                  \
        .rank = OP_CASE_COUNT(int64_t, __VA_ARGS__), .dims = { __VA_ARGS__ }                                           \
    }
/* Attributes as bare initializers, which static tables may hold; inside VEER_ATTRS they do as well. */
#define INT(name, x)                                                                                                   \
    {                                                                                                                  \
        name, {                                                                                                        \
            VEER_ATTR_INT, {                                                                                           \
                .i = (x)                                                                                               \
            }                                                                                                          \
        }                                                                                                              \
    }
#define FLOAT(name, x)                                                                                                 \
    {                                                                                                                  \
        name, {                                                                                                        \
            VEER_ATTR_FLOAT, {                                                                                         \
                .f = (x)                                                                                               \
            }                                                                                                          \
        }                                                                                                              \
    }
#define STRING(name, x)                                                                                                \
    {                                                                                                                  \
        name, {                                                                                                        \
            VEER_ATTR_STRING, {                                                                                        \
                .s = (x)                                                                                               \
            }                                                                                                          \
        }                                                                                                              \
    }
#define INTS(name, ...)                                                                                                \
    {                                                                                                                  \
        name, {                                                                                                        \
            VEER_ATTR_INTS, {                                                                                          \
                .ints = {(const int64_t[]){__VA_ARGS__}, OP_CASE_COUNT(int64_t, __VA_ARGS__) }                         \
            }                                                                                                          \
        }                                                                                                              \
    }
#define FLOATS(name, ...)                                                                                              \
    {                                                                                                                  \
        name, {                                                                                                        \
            VEER_ATTR_FLOATS, {                                                                                        \
                .floats = {(const double[]){__VA_ARGS__}, OP_CASE_COUNT(double, __VA_ARGS__) }                         \
            }                                                                                                          \
        }                                                                                                              \
    }
#define ATTRS(...)                                                                                                     \
    {                                                                                                                  \
        __VA_ARGS__, {                                                                                                 \
            0                                                                                                          \
        }                                                                                                              \
    }
#define WANT(...) .want = (const double[]){__VA_ARGS__}, .want_count = OP_CASE_COUNT(double, __VA_ARGS__)

/* A failing status fails the test with its message. */
static inline void op_case_ok(veer_status_t status, const char *name) {
    if (!status) return;
    print_error("%s: %s\n%s", name, veer_status_message(status, 0), veer_status_details(status, 0));
    veer_status_free(status);
    fail();
}

/* Numbers in [-1, 1): s' = (1103515245 s + 12345) mod 2^31 from s = 12345 + 777 * operand, s / 2^30 - 1. */
static inline void op_case_fill(int operand, int64_t count, double *out) {
    uint64_t s = 12345 + 777 * (uint64_t)operand;
    for (int64_t i = 0; i < count; i++) {
        s = (s * 1103515245 + 12345) & 0x7fffffff;
        out[i] = (double)s / 0x1p30 - 1;
    }
}

/* How many operands are named, absent ones in between included. */
static inline int op_case_operands(const op_case_t *c) {
    int n = 0;
    for (int i = 0; i < OP_CASE_OPERANDS; i++)
        if (c->in[i].rank) n = i + 1;
    return n;
}

/* A function of one argument per present operand, with the op's node in it; in[i] are the operands. */
static inline veer_node_t op_case_node(veer_graph_t *g, veer_func_t f, const op_case_t *c, veer_dtype_t dtype,
                                       veer_builder_t *b, veer_value_t in[OP_CASE_OPERANDS]) {
    for (int i = 0; i < OP_CASE_OPERANDS; i++) {
        in[i] = VEER_NO_VALUE;
        if (c->in[i].rank)
            op_case_ok(veer_region_add_arg(g, veer_func_body(g, f), veer_type_make(dtype, c->in[i].rank, c->in[i].dims),
                                           "x", &in[i]),
                       c->name);
    }
    *b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_node_t node = veer_build_node(b, c->op, in, op_case_operands(c), c->attrs);
    op_case_ok(veer_builder_status(b), c->name);
    return node;
}

/* Arguments for it, in double; release with op_case_free_args. */
static inline int op_case_args(const op_case_t *c, veer_tensor_t args[OP_CASE_OPERANDS]) {
    int count = 0;
    for (int i = 0; i < OP_CASE_OPERANDS; i++) {
        if (!c->in[i].rank) continue;
        veer_tensor_t *t = &args[count++];
        t->type = veer_type_make(VEER_DTYPE_F64, c->in[i].rank, c->in[i].dims);
        assert_non_null(t->data = veer_alloc(veer_allocator_system(), veer_type_bytes(&t->type)));
        op_case_fill(i, veer_type_count(&t->type), t->data);
    }
    return count;
}

static inline void op_case_free(veer_tensor_t *tensors, int count) {
    for (int i = 0; i < count; i++) veer_free(veer_allocator_system(), tensors[i].data);
}

#endif
