/* One op on given or random operands: builds a function around it and evaluates it on the reference backend. For tests.
 *
 *     op_row_t c = {"add", VEER_OP_ADD, {ANY(2, 3), ANY(3)}};
 *     op_run_t r;
 *     op_run_init(&r, &c, seed);            // graph, function @f, operands
 *     veer_tensor_t y = op_run_eval(&r);    // the result; free with veer_free
 *     op_run_deinit(&r);
 */
#ifndef VEER_TESTS_OP_ROW_H
#define VEER_TESTS_OP_ROW_H

#include "backends/reference/kernel.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Rows of cases stop where the rest is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

typedef enum fill_e {
    FILL_NONE,     /* ends the operands */
    FILL_ABSENT,   /* an optional operand that is not given */
    FILL_ANY,      /* random, 0.1 to 2 in magnitude: away from kinks at 0 */
    FILL_POSITIVE, /* random, 0.3 to 2.3 */
    FILL_DISTINCT, /* shuffled multiples of 1/16: no two equal, differences far above the step of finite differences */
    FILL_INDEX,    /* random whole numbers in [-limit, limit) */
    FILL_BOOL,
    FILL_VALUES, /* `values` */
    FILL_CONST   /* `values`, as a constant of the graph instead of an argument */
} fill_t;

typedef struct operand_s {
    fill_t fill;
    veer_type_t type;
    int64_t limit;
    const double *values;
} operand_t;

enum { OP_ROW_OPERANDS = 5, OP_ROW_ATTRS = 10 };
typedef struct op_row_s {
    const char *label;
    veer_op_t op;
    operand_t in[OP_ROW_OPERANDS];
    veer_named_attr_t attrs[OP_ROW_ATTRS];
    int result; /* which result is looked at */
} op_row_t;

#define OP_TYPE(dtype, ...)                                                                                            \
    {                                                                                                                  \
        dtype, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {                                            \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define OP_SCALAR(dtype)                                                                                               \
    {                                                                                                                  \
        dtype, 0, {                                                                                                    \
            0                                                                                                          \
        }                                                                                                              \
    }
#define ANY(...)                                                                                                       \
    { FILL_ANY, OP_TYPE(VEER_DTYPE_F64, __VA_ARGS__), 0, NULL }
#define POSITIVE(...)                                                                                                  \
    { FILL_POSITIVE, OP_TYPE(VEER_DTYPE_F64, __VA_ARGS__), 0, NULL }
#define DISTINCT(...)                                                                                                  \
    { FILL_DISTINCT, OP_TYPE(VEER_DTYPE_F64, __VA_ARGS__), 0, NULL }
#define INDEX(limit, ...)                                                                                              \
    { FILL_INDEX, OP_TYPE(VEER_DTYPE_I64, __VA_ARGS__), limit, NULL }
#define BOOLS(...)                                                                                                     \
    { FILL_BOOL, OP_TYPE(VEER_DTYPE_BOOL, __VA_ARGS__), 0, NULL }
#define ABSENT                                                                                                         \
    { FILL_ABSENT, OP_SCALAR(VEER_DTYPE_NONE), 0, NULL }
/* VALUES(VEER_DTYPE_I8, ((double[]){1, 2, 3}), 3): the shape last */
#define VALUES(dtype, values, ...)                                                                                     \
    { FILL_VALUES, OP_TYPE(dtype, __VA_ARGS__), 0, values }
#define CONSTANT(dtype, values, ...)                                                                                   \
    { FILL_CONST, OP_TYPE(dtype, __VA_ARGS__), 0, values }
#define LIST(name, ...)                                                                                                \
    VEER_INTS(name, ((const int64_t[]){__VA_ARGS__}), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

/* ---- checks ---- */
static inline void require_ok(veer_status_t status) {
    if (!status) return;
    for (size_t i = 0; i < veer_status_count(status); i++) print_error("%s\n", veer_status_message(status, i));
    veer_status_free(status);
    fail();
}

/* The status is an error of this code whose message holds `text`. */
static inline void require_error(veer_status_t status, veer_code_t code, const char *text) {
    assert_non_null(status);
    if (veer_status_code(status) != code || !strstr(veer_status_message(status, 0), text))
        fail_msg("got %d \"%s\", expected %d \"..%s..\"", veer_status_code(status), veer_status_message(status, 0),
                 code, text);
    veer_status_free(status);
}

/* ---- random numbers: splitmix64 ---- */
static inline uint64_t random_bits(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
/* In [0, 1). */
static inline double random_unit(uint64_t *state) {
    return (double)(random_bits(state) >> 11) * 0x1p-53;
}

/* ---- tensors ---- */
static inline void tensor_set(const veer_tensor_t *t, int64_t i, double value) {
    if (veer_is_exact(t))
        veer_store_int(t, i, veer_is_u64(t) ? (int64_t)(uint64_t)value : (int64_t)value);
    else
        veer_store_double(t, i, value);
}

static inline veer_tensor_t tensor_make(veer_type_t type) {
    veer_tensor_t t = {type, veer_alloc(veer_allocator_system(), veer_type_bytes(&type))};
    assert_non_null(t.data);
    return t;
}
static inline void tensor_free(veer_tensor_t *t) {
    veer_free(veer_allocator_system(), t->data);
    t->data = NULL;
}

static inline void shuffle(const veer_tensor_t *t, uint64_t *state) {
    for (int64_t i = veer_type_count(&t->type) - 1; i > 0; i--) {
        int64_t j = (int64_t)(random_bits(state) % (uint64_t)(i + 1));
        double x = veer_load_double(t, i), y = veer_load_double(t, j);
        tensor_set(t, i, y);
        tensor_set(t, j, x);
    }
}

static inline void tensor_fill(const veer_tensor_t *t, const operand_t *o, uint64_t *state) {
    int64_t count = veer_type_count(&t->type);
    for (int64_t i = 0; i < count; i++) {
        double u = random_unit(state), magnitude = 0.1 + 1.9 * u;
        switch (o->fill) {
        case FILL_ANY: tensor_set(t, i, random_bits(state) & 1 ? magnitude : -magnitude); break;
        case FILL_POSITIVE: tensor_set(t, i, 0.3 + 2 * u); break;
        case FILL_DISTINCT: tensor_set(t, i, (double)(i - count / 2) / 16 + 0.01); break;
        case FILL_INDEX: tensor_set(t, i, floor((2 * u - 1) * (double)o->limit)); break;
        case FILL_BOOL: tensor_set(t, i, u < 0.5); break;
        default: tensor_set(t, i, o->values[i]); break;
        }
    }
    if (o->fill == FILL_DISTINCT) shuffle(t, state);
}

/* ---- runs ---- */
typedef struct op_run_s {
    const op_row_t *c;
    veer_graph_t *g;
    veer_func_t func; /* @f: the op's present operands -> the chosen result */
    veer_node_t node;
    veer_type_t type; /* of the result */
    int count;        /* arguments of @f */
    veer_tensor_t args[OP_ROW_OPERANDS];
} op_run_t;

static inline bool is_argument(const operand_t *o) {
    return o->fill != FILL_ABSENT && o->fill != FILL_CONST;
}

/* A copy of the operand's values in its type. */
static inline veer_value_t op_run_const(veer_builder_t *b, const operand_t *o) {
    veer_tensor_t t = tensor_make(o->type);
    tensor_fill(&t, o, &(uint64_t){0});
    veer_value_t value = veer_const(b, t.type, t.data);
    tensor_free(&t);
    return value;
}

/* Builds @f; gives the builder's status, so that tests can look at errors. */
static inline veer_status_t op_run_build(op_run_t *r, const op_row_t *c) {
    *r = (op_run_t){.c = c};
    veer_value_t in[OP_ROW_OPERANDS];
    int in_count = 0;
    require_ok(veer_graph_create(veer_allocator_system(), &r->g));
    require_ok(veer_graph_add_func(r->g, "f", &r->func));
    veer_region_t body = veer_func_body(r->g, r->func);
    veer_builder_t b = veer_builder_at_end(r->g, body);
    for (; in_count < OP_ROW_OPERANDS && c->in[in_count].fill; in_count++) {
        in[in_count] = VEER_NO_VALUE;
        if (c->in[in_count].fill == FILL_CONST) in[in_count] = op_run_const(&b, &c->in[in_count]);
        if (!is_argument(&c->in[in_count])) continue;
        require_ok(veer_region_add_arg(r->g, body, c->in[in_count].type, "", &in[in_count]));
        r->args[r->count++].type = c->in[in_count].type;
    }
    r->node = veer_build_node(&b, c->op, in, in_count, c->attrs);
    if (veer_builder_ok(&b)) {
        veer_value_t y = veer_node_out(r->g, r->node, c->result);
        r->type = *veer_builder_type(&b, y);
        veer_builder_return(&b, &y, 1);
    }
    return veer_builder_status(&b);
}

static inline void op_run_deinit(op_run_t *r) {
    for (int i = 0; i < r->count; i++) tensor_free(&r->args[i]);
    veer_graph_destroy(r->g);
}

static inline void op_run_init(op_run_t *r, const op_row_t *c, uint64_t seed) {
    uint64_t state = seed;
    require_ok(op_run_build(r, c));
    for (int i = 0, k = 0; i < OP_ROW_OPERANDS && c->in[i].fill; i++) {
        if (!is_argument(&c->in[i])) continue;
        r->args[k] = tensor_make(r->args[k].type);
        tensor_fill(&r->args[k++], &c->in[i], &state);
    }
}

static inline veer_tensor_t op_run_eval(op_run_t *r) {
    veer_tensor_t y;
    require_ok(veer_reference_eval(r->g, r->func, r->args, r->count, veer_allocator_system(), &y, 1));
    return y;
}

/* The case's result is of this type and these values, each within `tolerance` relative to max(1, |want|). */
static inline void expect_values(const op_row_t *c, veer_type_t type, const double *want, double tolerance) {
    op_run_t r;
    op_run_init(&r, c, 1);
    char got_text[VEER_TYPE_TEXT_BYTES], want_text[VEER_TYPE_TEXT_BYTES];
    if (!veer_type_equal(&r.type, &type))
        fail_msg("%s gives %s, expected %s", c->label, veer_type_text(&r.type, got_text),
                 veer_type_text(&type, want_text));
    veer_tensor_t y = op_run_eval(&r);
    for (int64_t i = 0; i < veer_type_count(&type); i++) {
        double got = veer_load_double(&y, i);
        bool same = got == want[i] || (isnan(got) && isnan(want[i]));
        if (!same && !(fabs(got - want[i]) <= tolerance * fmax(1, fabs(want[i]))))
            fail_msg("%s[%d] is %.17g, expected %.17g", c->label, (int)i, got, want[i]);
    }
    tensor_free(&y);
    op_run_deinit(&r);
}

/* Building the case fails as unsupported with `text` in the message. */
static inline void expect_error(const op_row_t *c, const char *text) {
    op_run_t r;
    require_error(op_run_build(&r, c), VEER_ERR_UNSUPPORTED, text);
    op_run_deinit(&r);
}

#endif
