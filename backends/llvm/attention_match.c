/* A node as attention: attention or attention_grad alone, or a fused node of one with reshapes, transposes, slices and
 * broadcasts in front of it, and reshapes, transposes and concats behind it, which are strides of its matrices. */
#include "backends/llvm/attention.h"
#include "ir/view.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct matcher_s {
    const veer_graph_t *g;
    veer_node_t node, core; /* core: the node itself, or the attention in its body */
    veer_at_problem_t *p;
    char *reason;
    size_t reason_bytes;
} matcher_t;

static VEER_PRINTF(2, 3) bool decline(matcher_t *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(s->reason, s->reason_bytes, format, args);
    va_end(args);
    return false;
}

/* ---- views as matrices ---- */

/* The leads are numbered through both leading dims, so their factors are terms one after the other. */
static bool set_terms(const veer_view_t *v, veer_at_matrix_t *out) {
    int64_t div = 1;
    for (int f = v->first[2]; f-- > 0; div *= v->factors[f].size) {
        veer_at_term_t *last = out->term_count ? &out->terms[out->term_count - 1] : NULL;
        veer_at_term_t term = {div, v->factors[f].size, v->factors[f].stride};
        if (last && last->stride * last->mod == term.stride)
            last->mod *= term.mod;
        else if (out->term_count == VEER_AT_MAX_TERMS)
            return false;
        else
            out->terms[out->term_count++] = term;
    }
    return true;
}

static bool set_matrix(matcher_t *s, veer_at_role_t role, int buf, const veer_view_t *v) {
    veer_at_matrix_t *m = &s->p->m[role];
    m->buf = buf, m->offset = v->offset;
    if (!set_terms(v, m)) return decline(s, "the heads of an operand lie too scattered");
    if (!veer_view_stride(v, 2, &m->row) || !veer_view_stride(v, 3, &m->column))
        return decline(s, "the rows or columns of an operand have no single stride");
    return true;
}

/* ---- operands ---- */

static bool is_f32(const veer_type_t *t) {
    return t->dtype == VEER_DTYPE_F32 && veer_type_count(t) > 0;
}

/* The view of a value of the body in the operand that it is moved from. */
static bool resolve(matcher_t *s, veer_value_t value, int *out_buf, veer_view_t *out) {
    veer_node_t def = veer_value_def(s->g, value);
    const veer_type_t *type = veer_value_type(s->g, value);
    if (!is_f32(type)) return decline(s, "an operand is empty or not f32");
    if (!def.i) {
        *out_buf = veer_value_def_index(s->g, value), *out = veer_view_dense(type);
        return true;
    }
    if (veer_node_op(s->g, def) == VEER_OP_CONST) return decline(s, "a constant stands inside the fused node");
    if (veer_node_in_count(s->g, def) == 0 || !resolve(s, veer_node_in(s->g, def, 0), out_buf, out)) return false;
    return veer_view_forward(s->g, def, out) ||
           decline(s, "'%s' in front of it is no view", veer_op_name(veer_node_op(s->g, def)));
}

static bool operand(matcher_t *s, int i, veer_at_role_t role) {
    veer_value_t value = veer_node_in(s->g, s->core, i);
    veer_view_t view;
    int buf = i;
    if (veer_node_eq(s->core, s->node)) {
        const veer_type_t *type = veer_value_type(s->g, value);
        if (!is_f32(type)) return decline(s, "operand %d is empty or not f32", i);
        view = veer_view_dense(type);
    } else if (!resolve(s, value, &buf, &view))
        return false;
    if (role == VEER_AT_MASK) {
        const veer_type_t *q = veer_value_type(s->g, veer_node_in(s->g, s->core, 0));
        int64_t dims[] = {q->dims[0], q->dims[1], s->p->l, s->p->s};
        if (!veer_view_broadcast(&view, 4, dims)) return decline(s, "the mask lies too scattered");
    }
    return set_matrix(s, role, buf, &view);
}

static bool operands(matcher_t *s) {
    int mask = s->p->is_gradient ? 4 : 3, count = veer_node_in_count(s->g, s->core);
    for (int i = 0; i < 3; i++)
        if (!operand(s, i, VEER_AT_Q + i)) return false;
    if (s->p->is_gradient && !operand(s, 3, VEER_AT_DY)) return false;
    return count <= mask || !veer_node_in(s->g, s->core, mask).i || operand(s, mask, VEER_AT_MASK);
}

/* ---- results ---- */

static veer_at_role_t role_of_result(int i) {
    return i == 0 ? VEER_AT_Y : i == 1 ? VEER_AT_DK : VEER_AT_DV;
}

/* `view`: where `value` is to lie in result `buf`. */
static bool place(matcher_t *s, veer_value_t value, int buf, const veer_view_t *view) {
    veer_node_t def = veer_value_def(s->g, value);
    if (!def.i) return decline(s, "a result is an operand");
    if (veer_node_eq(def, s->core)) {
        veer_at_role_t role = role_of_result(veer_value_def_index(s->g, value));
        return veer_at_has(s->p, role) ? decline(s, "a result is wanted twice") : set_matrix(s, role, buf, view);
    }
    for (int i = 0; i < veer_node_in_count(s->g, def); i++) {
        veer_view_t part = *view;
        if (!veer_view_backward(s->g, def, i, &part))
            return decline(s, "'%s' behind it is no view", veer_op_name(veer_node_op(s->g, def)));
        if (!place(s, veer_node_in(s->g, def, i), buf, &part)) return false;
    }
    return true;
}

static bool results(matcher_t *s) {
    bool alone = veer_node_eq(s->core, s->node);
    int first = veer_node_in_count(s->g, s->node);
    for (int i = 0; i < veer_node_out_count(s->g, s->node); i++) {
        veer_value_t out = veer_node_out(s->g, s->node, i);
        veer_view_t view = veer_view_dense(veer_value_type(s->g, out));
        if (alone && veer_value_use_count(s->g, out) == 0) continue;
        veer_value_t from = alone ? out : veer_region_result(s->g, veer_node_body(s->g, s->node), i);
        if (!place(s, from, first + i, &view)) return false;
    }
    for (int i = VEER_AT_Y; i <= VEER_AT_DV; i++)
        if (veer_at_has(s->p, i)) return true;
    return decline(s, "no result is used");
}

/* ---- the node ---- */

static bool is_core(veer_op_t op) {
    return op == VEER_OP_ATTENTION || op == VEER_OP_ATTENTION_GRAD;
}

static bool find_core(matcher_t *s) {
    veer_op_t op = veer_node_op(s->g, s->node);
    if (is_core(op)) s->core = s->node;
    if (op == VEER_OP_FUSED) VEER_FOR_EACH_NODE(s->g, veer_node_body(s->g, s->node), n) {
            if (!is_core(veer_node_op(s->g, n))) continue;
            if (s->core.i) return decline(s, "two attentions in one fused node");
            s->core = n;
        }
    return s->core.i || decline(s, "no attention");
}

static bool read_shape(matcher_t *s) {
    const veer_type_t *q = veer_value_type(s->g, veer_node_in(s->g, s->core, 0)),
                      *v = veer_value_type(s->g, veer_node_in(s->g, s->core, 2));
    veer_at_problem_t *p = s->p;
    p->is_gradient = veer_node_op(s->g, s->core) == VEER_OP_ATTENTION_GRAD;
    p->leads = q->dims[0] * q->dims[1], p->l = q->dims[2], p->d = q->dims[3];
    p->s = v->dims[2], p->dv = v->dims[3];
    p->scale = veer_node_float(s->g, s->core, "scale");
    if (q->dtype != VEER_DTYPE_F32) return decline(s, "q is %s, expected f32", veer_dtype_name(q->dtype));
    return veer_type_count(q) * veer_type_count(v) > 0 || decline(s, "an operand is empty");
}

bool veer_at_match(const veer_graph_t *g, veer_node_t node, veer_at_problem_t *out, char *reason, size_t reason_bytes) {
    memset(out, 0, sizeof *out);
    for (int i = 0; i < VEER_AT_ROLES; i++) out->m[i].buf = -1;
    matcher_t s = {.g = g, .node = node, .p = out, .reason = reason, .reason_bytes = reason_bytes};
    return find_core(&s) && read_shape(&s) && operands(&s) && results(&s);
}
