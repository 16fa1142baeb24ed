/* Einsum as transposes, products and sums.
 *
 * Every dimension has a label: a letter, or for those under an ellipsis a number counted from the right. Operands are
 * taken two by two, from the left. A pair's labels fall into four groups: batch (in both, needed later), contracted (in
 * both, not needed later), and those of only one operand; labels of one operand that nobody needs are summed first.
 * With contracted labels the pair is a matrix product, otherwise a broadcast multiplication. */
#include "frontend/onnx/node.h"

#include <string.h>

enum { MAX_LABELS = VEER_MAX_RANK, ELLIPSIS = 128 }; /* labels below ELLIPSIS are letters */

typedef struct {
    int count;
    int label[MAX_LABELS];
} labels_t;

typedef struct {
    veer_value_t value;
    labels_t labels;
} term_t;

static int find(const labels_t *l, int label) {
    for (int i = 0; i < l->count; i++)
        if (l->label[i] == label) return i;
    return -1;
}

static bool push(veer_onnx_node_t *n, labels_t *l, int label) {
    if (l->count < MAX_LABELS) return l->label[l->count++] = label, true;
    veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "more than %d dimensions in one term", MAX_LABELS);
    return false;
}

/* ---- the equation ---- */

/* One term "b...ij" up to , or - or the end; `dots`: how many dims the ellipsis stands for. Gives where it ended. */
static const char *read_term(veer_onnx_node_t *n, const char *at, int dots, labels_t *out) {
    bool seen = false;
    for (; *at && *at != ',' && *at != '-'; at++) {
        if (*at == ' ') continue;
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        bool ellipsis = !strncmp(at, "...", 3) && !seen;
        if (letter)
            push(n, out, *at);
        else if (!ellipsis)
            veer_onnx_fail(n, VEER_ERR_FILE, "equation has a wrong character '%c'", *at);
        for (int i = dots; ellipsis && i > 0 && veer_onnx_ok(n); i--) push(n, out, ELLIPSIS + i);
        if (ellipsis) seen = true, at += 2;
        if (!veer_onnx_ok(n)) return NULL;
    }
    return at;
}

static int count_letters(const char *at) {
    int count = 0;
    for (; *at && *at != ',' && *at != '-'; at++) count += *at != ' ' && *at != '.';
    return count;
}

/* Without "->": the ellipsis, then the letters that occur once, in alphabetical order. */
static void implicit_output(veer_onnx_node_t *n, const char *equation, int dots, labels_t *out) {
    int times[128] = {0};
    for (const char *c = equation; *c; c++)
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z')) times[(int)*c]++;
    for (int i = dots; i > 0; i--) push(n, out, ELLIPSIS + i);
    for (int c = 'A'; c <= 'z'; c++)
        if (times[c] == 1) push(n, out, c);
}

/* ---- terms ---- */

static veer_value_t permute(veer_onnx_node_t *n, const term_t *t, const labels_t *order) {
    int64_t perm[VEER_MAX_RANK];
    for (int i = 0; i < order->count; i++) perm[i] = find(&t->labels, order->label[i]);
    return veer_transpose(n->b, t->value, perm);
}

/* Sums the labels that neither `other` nor `needed` has. */
static void sum_unneeded(veer_onnx_node_t *n, term_t *t, const labels_t *other, const labels_t *needed) {
    int64_t axes[VEER_MAX_RANK];
    int count = 0;
    labels_t left = {0};
    for (int i = 0; i < t->labels.count; i++) {
        int label = t->labels.label[i];
        if (find(other, label) < 0 && find(needed, label) < 0)
            axes[count++] = i;
        else
            left.label[left.count++] = label;
    }
    t->value = veer_reduce(n->b, VEER_OP_REDUCE_SUM, t->value, axes, count, false);
    t->labels = left;
}

/* A dim of size 1 under a label that is larger elsewhere is broadcast. */
static void broadcast_ones(veer_onnx_node_t *n, term_t *t, const term_t *other) {
    veer_type_t type = veer_onnx_type(n, t->value), wide = veer_onnx_type(n, other->value);
    for (int i = 0; i < t->labels.count && veer_onnx_ok(n); i++) {
        int k = find(&other->labels, t->labels.label[i]);
        if (k < 0 || type.dims[i] == wide.dims[k]) continue;
        if (type.dims[i] == 1)
            type.dims[i] = wide.dims[k];
        else if (wide.dims[k] != 1)
            veer_onnx_fail(n, VEER_ERR_FILE, "a label stands for %lld and for %lld", (long long)type.dims[i],
                           (long long)wide.dims[k]);
    }
    if (veer_onnx_ok(n)) t->value = veer_broadcast_to(n->b, t->value, type.rank, type.dims);
}

typedef struct {
    labels_t batch, contracted, only_a, only_b;
} groups_t;

static labels_t join(labels_t a, const labels_t *b, const labels_t *c) {
    for (int i = 0; b && i < b->count && a.count < MAX_LABELS; i++) a.label[a.count++] = b->label[i];
    for (int i = 0; c && i < c->count && a.count < MAX_LABELS; i++) a.label[a.count++] = c->label[i];
    return a;
}

static int64_t size_of(const term_t *t, const veer_type_t *type, const labels_t *l) {
    int64_t size = 1;
    for (int i = 0; i < l->count; i++) size *= type->dims[find(&t->labels, l->label[i])];
    return size;
}

static bool same_labels(const labels_t *a, const labels_t *b) {
    return a->count == b->count && !memcmp(a->label, b->label, (size_t)a->count * sizeof *a->label);
}

/* A term as a stack of matrices [batch.., rows, columns]; where it lies the other way round it stays, and is marked. */
static veer_value_t matrix(veer_onnx_node_t *n, const term_t *t, const labels_t *batch, const labels_t *rows,
                           const labels_t *columns, bool *out_transposed) {
    labels_t straight = join(*batch, rows, columns), turned = join(*batch, columns, rows);
    veer_type_t type = veer_onnx_type(n, t->value);
    *out_transposed = !same_labels(&t->labels, &straight) && same_labels(&t->labels, &turned);
    veer_value_t x = *out_transposed ? t->value : permute(n, t, &straight);
    int64_t dims[VEER_MAX_RANK + 2], r = size_of(t, &type, rows), c = size_of(t, &type, columns);
    if (batch->count + 2 > VEER_MAX_RANK) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "more than %d batch dimensions", VEER_MAX_RANK - 2);
        return VEER_NO_VALUE;
    }
    for (int i = 0; i < batch->count; i++) dims[i] = type.dims[find(&t->labels, batch->label[i])];
    dims[batch->count] = *out_transposed ? c : r;
    dims[batch->count + 1] = *out_transposed ? r : c;
    return veer_reshape(n->b, x, batch->count + 2, dims);
}

/* Dims of a term in the order of `order`, 1 where it has no such label. */
static veer_value_t aligned(veer_onnx_node_t *n, const term_t *t, const labels_t *order) {
    labels_t own = {0};
    int64_t dims[VEER_MAX_RANK];
    veer_type_t type = veer_onnx_type(n, t->value);
    for (int i = 0; i < order->count; i++) {
        int k = find(&t->labels, order->label[i]);
        if (k >= 0) own.label[own.count++] = order->label[i];
        dims[i] = k >= 0 ? type.dims[k] : 1;
    }
    return veer_reshape(n->b, permute(n, t, &own), order->count, dims);
}

static term_t contract(veer_onnx_node_t *n, const term_t *a, const term_t *b, const groups_t *g) {
    term_t out = {.labels = join(g->batch, &g->only_a, &g->only_b)};
    veer_type_t ta = veer_onnx_type(n, a->value), tb = veer_onnx_type(n, b->value), shape = {0};
    for (int i = 0; i < out.labels.count; i++) {
        int k = find(&a->labels, out.labels.label[i]);
        shape.dims[shape.rank++] = k >= 0 ? ta.dims[k] : tb.dims[find(&b->labels, out.labels.label[i])];
    }
    if (!g->contracted.count) {
        out.value = veer_mul(n->b, aligned(n, a, &out.labels), aligned(n, b, &out.labels));
        return out;
    }
    bool trans_a, trans_b;
    veer_value_t x = matrix(n, a, &g->batch, &g->only_a, &g->contracted, &trans_a);
    veer_value_t y = matrix(n, b, &g->batch, &g->contracted, &g->only_b, &trans_b);
    out.value = veer_reshape_like(n->b, veer_matmul(n->b, x, y, trans_a, trans_b), &shape);
    return out;
}

/* `needed`: labels of the output and of terms still to come. */
static term_t multiply(veer_onnx_node_t *n, term_t a, term_t b, const labels_t *needed) {
    groups_t g = {0};
    term_t none = {0};
    sum_unneeded(n, &a, &b.labels, needed);
    sum_unneeded(n, &b, &a.labels, needed);
    broadcast_ones(n, &a, &b);
    broadcast_ones(n, &b, &a);
    for (int i = 0; i < a.labels.count; i++) {
        int label = a.labels.label[i];
        labels_t *group = find(&b.labels, label) < 0 ? &g.only_a : find(needed, label) >= 0 ? &g.batch : &g.contracted;
        group->label[group->count++] = label;
    }
    for (int i = 0; i < b.labels.count; i++)
        if (find(&a.labels, b.labels.label[i]) < 0) g.only_b.label[g.only_b.count++] = b.labels.label[i];
    if (g.batch.count + g.only_a.count + g.only_b.count > VEER_MAX_RANK)
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "a product of more than %d dimensions", VEER_MAX_RANK);
    return veer_onnx_ok(n) ? contract(n, &a, &b, &g) : none;
}

/* ---- the node ---- */

static int ellipsis_dims(veer_onnx_node_t *n, const char *equation) {
    int dots = 0;
    const char *at = equation;
    for (int i = 0; i < n->in_count; i++) {
        int rank = veer_onnx_in_type(n, i).rank, more = rank - count_letters(at);
        if (strstr(at, "...") && strstr(at, "...") < at + strcspn(at, ",-") && more > dots) dots = more;
        at += strcspn(at, ",-");
        if (*at == ',') at++;
    }
    return dots > VEER_MAX_RANK ? VEER_MAX_RANK : dots;
}

/* A label that stands twice in a term is a diagonal: both dims move to the end, become one, and every (d + 1)th
 * element of it stays. */
static void take_diagonals(veer_onnx_node_t *n, term_t *t) {
    for (int j = t->labels.count; j-- > 0 && veer_onnx_ok(n);) {
        int i = find(&t->labels, t->labels.label[j]), rank = t->labels.count, next = 0;
        veer_type_t type = veer_onnx_type(n, t->value);
        int64_t perm[VEER_MAX_RANK], dims[VEER_MAX_RANK], d = type.dims[j];
        if (i == j) continue;
        if (type.dims[i] != d) {
            veer_onnx_fail(n, VEER_ERR_FILE, "a label stands for %lld and for %lld", (long long)type.dims[i],
                           (long long)d);
            return;
        }
        labels_t left = {0};
        for (int k = 0; k < rank; k++)
            if (k != i && k != j) perm[next] = k, dims[next++] = type.dims[k], push(n, &left, t->labels.label[k]);
        perm[next] = i, perm[next + 1] = j, dims[next] = d * d;
        push(n, &left, t->labels.label[j]);
        veer_value_t x = veer_reshape(n->b, veer_transpose(n->b, t->value, perm), rank - 1, dims);
        *t = (term_t){veer_slice_axis(n->b, x, next, 0, d, d + 1), left};
    }
}

static const char *read_operands(veer_onnx_node_t *n, const char *at, term_t *terms) {
    for (int i = 0; i < n->in_count; i++) {
        veer_type_t type = veer_onnx_in_type(n, i);
        int own_dots = type.rank - count_letters(at);
        at = read_term(n, at, own_dots, &terms[i].labels);
        if (!at) return NULL;
        if (!n->in[i].i || terms[i].labels.count != type.rank || (*at == ',') != (i + 1 < n->in_count)) {
            veer_onnx_fail(n, VEER_ERR_FILE, "equation does not fit operand %d of rank %d", i, type.rank);
            return NULL;
        }
        terms[i].value = n->in[i];
        take_diagonals(n, &terms[i]);
        if (*at == ',') at++;
    }
    return at;
}

static void read_output(veer_onnx_node_t *n, const char *equation, const char *at, labels_t *out) {
    int dots = ellipsis_dims(n, equation);
    if (!*at) {
        implicit_output(n, equation, dots, out);
        return;
    }
    if (strncmp(at, "->", 2)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "equation is malformed at '%s'", at);
        return;
    }
    at = read_term(n, at + 2, dots, out);
    if (at && *at) veer_onnx_fail(n, VEER_ERR_FILE, "equation is malformed at '%s'", at);
    for (int i = 0; i < out->count; i++)
        if (find(out, out->label[i]) != i) veer_onnx_fail(n, VEER_ERR_FILE, "the output has a label twice");
}

void veer_onnx_einsum(veer_onnx_node_t *n) {
    const char *equation = veer_onnx_attr_string(n, "equation", "");
    term_t *terms = veer_arena_array(n->arena, (size_t)n->in_count, sizeof *terms);
    if (!terms) {
        veer_builder_fail(n->b, veer_out_of_memory());
        return;
    }
    const char *at = read_operands(n, equation, terms);
    labels_t output = {0};
    if (at) read_output(n, equation, at, &output);
    if (!veer_onnx_ok(n)) return;
    term_t result = terms[0];
    for (int i = 1; i < n->in_count && veer_onnx_ok(n); i++) {
        labels_t needed = output;
        for (int k = i + 1; k < n->in_count; k++)
            for (int l = 0; l < terms[k].labels.count; l++)
                if (find(&needed, terms[k].labels.label[l]) < 0) push(n, &needed, terms[k].labels.label[l]);
        if (veer_onnx_ok(n)) result = multiply(n, result, terms[i], &needed);
    }
    sum_unneeded(n, &result, &(labels_t){0}, &output);
    for (int i = 0; i < output.count && veer_onnx_ok(n); i++)
        if (find(&result.labels, output.label[i]) < 0)
            veer_onnx_fail(n, VEER_ERR_FILE, "the output has a label that no operand has");
    if (veer_onnx_ok(n)) n->out[0] = permute(n, &result, &output);
}
