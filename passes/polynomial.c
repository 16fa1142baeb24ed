#include "passes/polynomial.h"

/* The spellings we look for are at most five nodes deep; a bound keeps shared subexpressions from taking 2^depth. */
enum { MAX_DEPTH = 8 };

typedef struct expansion_s {
    veer_match_t *m;
    veer_value_t x, t;
} expansion_t;

static bool multiply(const veer_polynomial_t *a, const veer_polynomial_t *b, veer_polynomial_t *out) {
    *out = (veer_polynomial_t){0};
    for (int i = 0; i < VEER_POLYNOMIAL_T * VEER_POLYNOMIAL_X; i++)
        for (int j = 0; j < VEER_POLYNOMIAL_T * VEER_POLYNOMIAL_X; j++) {
            int t = i / VEER_POLYNOMIAL_X + j / VEER_POLYNOMIAL_X, x = i % VEER_POLYNOMIAL_X + j % VEER_POLYNOMIAL_X;
            double c =
                a->c[i / VEER_POLYNOMIAL_X][i % VEER_POLYNOMIAL_X] * b->c[j / VEER_POLYNOMIAL_X][j % VEER_POLYNOMIAL_X];
            if (c == 0) continue;
            if (t >= VEER_POLYNOMIAL_T || x >= VEER_POLYNOMIAL_X) return false;
            out->c[t][x] += c;
        }
    return true;
}

/* a + factor * b */
static void add(const veer_polynomial_t *a, const veer_polynomial_t *b, double factor, veer_polynomial_t *out) {
    for (int k = 0; k < VEER_POLYNOMIAL_T; k++)
        for (int i = 0; i < VEER_POLYNOMIAL_X; i++) out->c[k][i] = a->c[k][i] + factor * b->c[k][i];
}

static bool is_constant(const veer_polynomial_t *p) {
    for (int i = 1; i < VEER_POLYNOMIAL_T * VEER_POLYNOMIAL_X; i++)
        if (p->c[i / VEER_POLYNOMIAL_X][i % VEER_POLYNOMIAL_X] != 0) return false;
    return true;
}

static bool power(const veer_polynomial_t *base, double exponent, veer_polynomial_t *out) {
    if (exponent != 2 && exponent != 3) return false;
    veer_polynomial_t square;
    if (!multiply(base, base, &square)) return false;
    if (exponent == 3) return multiply(&square, base, out);
    *out = square;
    return true;
}

static bool expand(expansion_t *e, veer_value_t value, int depth, veer_polynomial_t *out);

static bool combine(veer_op_t op, const veer_polynomial_t *a, const veer_polynomial_t *b, veer_polynomial_t *out) {
    switch (op) {
    case VEER_OP_ADD: add(a, b, 1, out); return true;
    case VEER_OP_SUB: add(a, b, -1, out); return true;
    case VEER_OP_MUL: return multiply(a, b, out);
    case VEER_OP_POW: return is_constant(b) && power(a, b->c[0][0], out);
    case VEER_OP_DIV:
        if (!is_constant(b) || b->c[0][0] == 0) return false;
        add(&(veer_polynomial_t){0}, a, 1 / b->c[0][0], out);
        return true;
    default: return false;
    }
}

static bool expand_node(expansion_t *e, veer_node_t node, int depth, veer_polynomial_t *out) {
    const veer_graph_t *g = e->m->graph;
    veer_op_t op = veer_node_op(g, node);
    veer_polynomial_t a, b;
    if (op != VEER_OP_NEG && op != VEER_OP_ADD && op != VEER_OP_SUB && op != VEER_OP_MUL && op != VEER_OP_DIV &&
        op != VEER_OP_POW)
        return false;
    if (!veer_match_same_type(g, veer_node_out(g, node, 0), e->x)) return false; /* broadcasts */
    if (!expand(e, veer_node_in(g, node, 0), depth + 1, &a)) return false;
    if (op == VEER_OP_NEG)
        add(&(veer_polynomial_t){0}, &a, -1, out);
    else if (!expand(e, veer_node_in(g, node, 1), depth + 1, &b) || !combine(op, &a, &b, out))
        return false;
    veer_match_take(e->m, node);
    return true;
}

static bool expand(expansion_t *e, veer_value_t value, int depth, veer_polynomial_t *out) {
    veer_node_t def = veer_value_def(e->m->graph, value);
    *out = (veer_polynomial_t){0};
    if (veer_value_eq(value, e->x)) return out->c[0][1] = 1, true;
    if (veer_value_eq(value, e->t)) return out->c[1][0] = 1, true;
    if (veer_match_scalar(e->m->graph, value, &out->c[0][0])) return true;
    return def.i && depth < MAX_DEPTH && expand_node(e, def, depth, out);
}

bool veer_polynomial_of(veer_match_t *m, veer_value_t value, veer_value_t x, veer_value_t t, veer_polynomial_t *out) {
    expansion_t e = {.m = m, .x = x, .t = t};
    return expand(&e, value, 0, out);
}

bool veer_polynomial_near(veer_dtype_t dtype, const veer_polynomial_t *got, const veer_polynomial_t *want) {
    for (int k = 0; k < VEER_POLYNOMIAL_T; k++)
        for (int i = 0; i < VEER_POLYNOMIAL_X; i++)
            if (!veer_match_near(dtype, got->c[k][i], want->c[k][i])) return false;
    return true;
}

static int leaves(const veer_graph_t *g, veer_value_t value, int depth, veer_value_t *out, int count, int limit) {
    veer_node_t def = veer_value_def(g, value);
    double c;
    if (veer_match_scalar(g, value, &c)) return count;
    for (int i = 0; i < count; i++)
        if (veer_value_eq(out[i], value)) return count;
    if (count < limit) out[count++] = value;
    veer_op_t op = def.i ? veer_node_op(g, def) : VEER_OP_NONE;
    if (depth == MAX_DEPTH || !veer_op_has(op, VEER_ELEMENTWISE)) return count;
    for (int i = 0; i < veer_node_in_count(g, def) && i < 2 && count < limit; i++)
        count = leaves(g, veer_node_in(g, def, i), depth + 1, out, count, limit);
    return count;
}

int veer_polynomial_leaves(const veer_graph_t *g, veer_value_t value, veer_value_t *out_leaves, int limit) {
    return leaves(g, value, 0, out_leaves, 0, limit);
}
