/* A node as a matrix product: matmul alone, or a fused node of one matmul and elementwise ops behind it, whose other
 * operands are the node's own, reshaped or broadcast at most. */
#include "backends/llvm/matmul.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A value of the body that depends on the product, and the step that gives it. */
typedef struct known_s {
    veer_value_t value;
    int step;
} known_t;

enum { MOMENT_NODES = 5 };

typedef struct matcher_s {
    const veer_graph_t *g;
    veer_node_t node, core; /* core: the node itself, or the matmul in its body */
    veer_mm_problem_t *p;
    int64_t rows; /* of y, all leading dims together */
    known_t known[2 * VEER_MM_MAX_STEPS];
    int known_count;
    veer_node_t moments[MOMENT_NODES]; /* those of the body that compute them */
    char *reason;
    size_t reason_bytes;
} matcher_t;

typedef veer_mm_source_t source_t;

static VEER_PRINTF(2, 3) bool decline(matcher_t *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(s->reason, s->reason_bytes, format, args);
    va_end(args);
    return false;
}

/* ---- operands ---- */

/* Looks through reshapes and broadcasts of the body. */
static bool resolve(matcher_t *s, veer_value_t value, source_t *out) {
    bool reshaped = false;
    *out = (source_t){.type = *veer_value_type(s->g, value), .buf = -1};
    if (out->type.dtype != VEER_DTYPE_F32)
        return decline(s, "an operand is %s, expected f32", veer_dtype_name(out->type.dtype));
    for (veer_node_t def; (def = veer_value_def(s->g, value)).i; value = veer_node_in(s->g, def, 0)) {
        veer_op_t op = veer_node_op(s->g, def);
        if (op == VEER_OP_CONST) break;
        if (op != VEER_OP_RESHAPE && op != VEER_OP_BROADCAST)
            return decline(s, "an operand is computed inside the fused node");
        if (op == VEER_OP_RESHAPE)
            reshaped = true;
        else if (reshaped)
            return decline(s, "an operand is broadcast, then reshaped");
        else
            out->type = *veer_value_type(s->g, veer_node_in(s->g, def, 0)), out->broadcast = true;
    }
    if (veer_type_count(&out->type) == 0) return decline(s, "an operand is empty");
    out->data = veer_value_const_data(s->g, value);
    if (!veer_value_def(s->g, value).i) out->buf = veer_value_def_index(s->g, value);
    return true;
}

/* Operand `i` of the product. */
static bool core_operand(matcher_t *s, int i, source_t *out) {
    veer_value_t value = veer_node_in(s->g, s->core, i);
    bool alone = veer_node_eq(s->node, s->core);
    if (alone) {
        *out = (source_t){.type = *veer_value_type(s->g, value), .buf = i};
        out->data = veer_value_const_data(s->g, value);
    } else {
        if (!resolve(s, value, out)) return false;
        if (out->buf < 0) return decline(s, "a matrix is a constant of the body");
        out->data = veer_value_const_data(s->g, veer_node_in(s->g, s->node, out->buf));
    }
    if (out->type.dtype != VEER_DTYPE_F32)
        return decline(s, "operand %d is %s, expected f32", i, veer_dtype_name(out->type.dtype));
    if (veer_type_count(&out->type) == 0) return decline(s, "operand %d is empty", i);
    return !out->broadcast || decline(s, "a matrix is broadcast");
}

/* ---- the program behind the product ---- */

static veer_mm_step_t *add_step(matcher_t *s, veer_mm_kind_t kind, veer_dtype_t out) {
    if (s->p->step_count == VEER_MM_MAX_STEPS) {
        decline(s, "more than %d operations behind the product", VEER_MM_MAX_STEPS);
        return NULL;
    }
    veer_mm_step_t *step = &s->p->steps[s->p->step_count++];
    step->kind = kind, step->out = out;
    return step;
}

static bool remember(matcher_t *s, veer_value_t value, int step) {
    if (s->known_count == (int)(sizeof s->known / sizeof *s->known))
        return decline(s, "too many values behind the product");
    s->known[s->known_count++] = (known_t){value, step};
    return true;
}

/* -1: does not depend on the product. */
static int step_of(const matcher_t *s, veer_value_t value) {
    for (int i = 0; i < s->known_count; i++)
        if (veer_value_eq(s->known[i].value, value)) return s->known[i].step;
    return -1;
}

/* Values behind the product have y's elements in y's order: [..., N]. */
static bool is_frame(const matcher_t *s, const veer_type_t *t) {
    return t->rank > 0 && t->dims[t->rank - 1] == s->p->n && veer_type_count(t) == s->rows * s->p->n;
}

/* Inner dims first; a dim that continues the one before it in memory and in rows is the same term. */
static void add_term(veer_mm_step_t *step, int64_t div, int64_t mod, int64_t stride) {
    veer_mm_term_t *last = step->term_count ? &step->terms[step->term_count - 1] : NULL;
    if (last && last->div * last->mod == div && last->stride * last->mod == stride)
        last->mod *= mod;
    else
        step->terms[step->term_count++] = (veer_mm_term_t){div, mod, stride};
}

static bool load(matcher_t *s, const source_t *from, const veer_type_t *frame) {
    const veer_type_t *t = &from->type;
    int lack = frame->rank - t->rank;
    if (lack < 0) return decline(s, "an operand has a higher rank than the result");
    if (from->buf < 0) return decline(s, "a constant of several elements stands inside the fused node");
    veer_mm_step_t *step = add_step(s, VEER_MM_LOAD, VEER_DTYPE_F32);
    if (!step) return false;
    step->buf = from->buf;
    int64_t stride = 1, div = 1;
    for (int i = frame->rank - 1; i >= 0; i--) {
        int64_t size = i < lack ? 1 : t->dims[i - lack];
        if (size != 1 && size != frame->dims[i]) return decline(s, "an operand is larger than the result");
        if (i == frame->rank - 1)
            step->column_stride = size > 1;
        else if (size > 1)
            add_term(step, div, size, stride);
        if (i < frame->rank - 1) div *= frame->dims[i];
        stride *= size;
    }
    if (step->term_count) {
        veer_mm_term_t *last = &step->terms[step->term_count - 1];
        if (last->div * last->mod == s->rows) last->mod = 0;
    }
    return true;
}

static bool leaf(matcher_t *s, veer_value_t value, const veer_type_t *frame, int *out_step) {
    source_t from;
    if (!resolve(s, value, &from)) return false;
    *out_step = (int)s->p->step_count;
    if (from.buf >= 0 || veer_type_count(&from.type) > 1) return load(s, &from, frame);
    veer_mm_step_t *step = add_step(s, VEER_MM_CONST, VEER_DTYPE_F32);
    if (step) memcpy(&step->bits, from.data, sizeof *from.data);
    return step != NULL;
}

static int64_t flag_of(matcher_t *s, veer_node_t n) {
    veer_op_t op = veer_node_op(s->g, n);
    if (op == VEER_OP_GELU) return strcmp(veer_node_string(s->g, n, "approximate"), "tanh") == 0;
    return op == VEER_OP_MOD ? veer_node_int(s->g, n, "fmod") : 0;
}

static bool is_register_type(veer_dtype_t d) {
    return d == VEER_DTYPE_F32 || d == VEER_DTYPE_BOOL;
}

static bool elementwise(matcher_t *s, veer_node_t n) {
    veer_value_t out = veer_node_out(s->g, n, 0);
    const veer_type_t *frame = veer_value_type(s->g, out);
    veer_mm_step_t next;
    memset(&next, 0, sizeof next);
    next.kind = VEER_MM_OP, next.op = veer_node_op(s->g, n), next.out = frame->dtype;
    next.arg_count = veer_node_in_count(s->g, n);
    if (next.arg_count > 3 || !is_frame(s, frame)) return decline(s, "an operation changes the shape");
    for (int i = 0; i < next.arg_count; i++) {
        veer_value_t in = veer_node_in(s->g, n, i);
        const veer_type_t *type = veer_value_type(s->g, in);
        next.in[i] = type->dtype;
        next.args[i] = step_of(s, in);
        if (next.args[i] < 0 && !leaf(s, in, frame, &next.args[i])) return false;
    }
    next.flag = flag_of(s, n);
    for (int i = 0; i < next.arg_count; i++)
        if (!is_register_type(next.in[i]))
            return decline(s, "'%s' of %s", veer_op_name(next.op), veer_dtype_name(next.in[i]));
    if (!is_register_type(next.out))
        return decline(s, "'%s' gives %s", veer_op_name(next.op), veer_dtype_name(next.out));
    veer_mm_step_t *step = add_step(s, VEER_MM_OP, next.out);
    if (!step) return false;
    memcpy(step, &next, sizeof next);
    return remember(s, out, (int)s->p->step_count - 1);
}

static bool depends_on_product(const matcher_t *s, veer_node_t n) {
    for (int i = 0; i < veer_node_in_count(s->g, n); i++)
        if (step_of(s, veer_node_in(s->g, n, i)) >= 0) return true;
    return false;
}

static bool read_node(matcher_t *s, veer_node_t n) {
    veer_op_t op = veer_node_op(s->g, n);
    if (!depends_on_product(s, n)) return true; /* an operand, looked at where it is used */
    if (op == VEER_OP_RESHAPE) {
        veer_value_t out = veer_node_out(s->g, n, 0);
        return is_frame(s, veer_value_type(s->g, out)) ? remember(s, out, step_of(s, veer_node_in(s->g, n, 0)))
                                                       : decline(s, "a reshape cuts the columns");
    }
    if (veer_op_has(op, VEER_ELEMENTWISE)) return elementwise(s, n);
    return decline(s, "'%s' behind the product", veer_op_name(op));
}

/* ---- moments behind y ---- */

static bool defined_by(const matcher_t *s, veer_value_t v, veer_op_t op, veer_node_t *out) {
    *out = veer_value_def(s->g, v);
    return out->i && veer_node_op(s->g, *out) == op;
}

/* A mean over dim 2, of the values of `out_of`. */
static bool is_mean_of_blocks(const matcher_t *s, veer_value_t v, veer_node_t *out, veer_value_t *out_of) {
    if (!defined_by(s, v, VEER_OP_REDUCE_MEAN, out)) return false;
    int count;
    const int64_t *axes = veer_node_ints(s->g, *out, "axes", &count);
    *out_of = veer_node_in(s->g, *out, 0);
    return count == 1 && axes[0] == 2 && veer_node_int(s->g, *out, "keepdims");
}

/* Results m and q of y by blocks [N, blocks, rows, columns]; sets the nodes that compute them, which are all that reads
 * the blocks, and p->moment_rows. */
static bool match_moments(matcher_t *s) {
    veer_region_t body = veer_node_body(s->g, s->node);
    veer_value_t y = veer_region_result(s->g, body, 0), m = veer_region_result(s->g, body, 1), blocks, square;
    veer_node_t *n = s->moments;
    if (!is_mean_of_blocks(s, m, &n[1], &blocks) || !defined_by(s, blocks, VEER_OP_RESHAPE, &n[0]) ||
        !is_mean_of_blocks(s, veer_region_result(s->g, body, 2), &n[4], &square) ||
        !defined_by(s, square, VEER_OP_MUL, &n[3]) || !defined_by(s, veer_node_in(s->g, n[3], 0), VEER_OP_SUB, &n[2]))
        return false;
    const veer_type_t *t = veer_value_type(s->g, blocks);
    bool is_square = veer_value_eq(veer_node_in(s->g, n[3], 0), veer_node_in(s->g, n[3], 1)),
         is_off = veer_value_eq(veer_node_in(s->g, n[2], 0), blocks) && veer_value_eq(veer_node_in(s->g, n[2], 1), m);
    if (!is_square || !is_off || !veer_value_eq(veer_node_in(s->g, n[0], 0), y)) return false;
    if (t->rank != 4 || t->dims[3] != s->p->n) return false;
    s->p->moment_rows = t->dims[2];
    return true;
}

static bool is_of_moments(const matcher_t *s, veer_node_t n) {
    for (int i = 0; i < MOMENT_NODES; i++)
        if (veer_node_eq(s->moments[i], n)) return true;
    return false;
}

/* The values of the body; the product with its bias is step `product`. */
static bool read_body(matcher_t *s, int product) {
    veer_region_t body = veer_node_body(s->g, s->node);
    s->p->result = product;
    if (veer_node_eq(s->node, s->core)) return true;
    if (!remember(s, veer_node_out(s->g, s->core, 0), product)) return false;
    if (veer_node_out_count(s->g, s->node) > 1 && !match_moments(s))
        return decline(s, "its further results are no moments of the first");
    VEER_FOR_EACH_NODE(s->g, body, n)
    if (!veer_op_has(veer_node_op(s->g, n), VEER_TERMINATOR) && !is_of_moments(s, n) && !read_node(s, n)) return false;
    s->p->result = step_of(s, veer_region_result(s->g, body, 0));
    if (s->p->result < 0) return decline(s, "the result does not depend on the product");
    return s->p->steps[s->p->result].out == VEER_DTYPE_F32 || decline(s, "the result is not f32");
}

/* Steps for sum + bias, where operand `bias` of the core gives one value per column. */
static bool add_bias(matcher_t *s, int bias) {
    source_t from;
    if (!core_operand(s, bias, &from)) return false;
    if (from.type.rank != 1 || from.type.dims[0] != s->p->n) return decline(s, "a bias of another size");
    veer_mm_step_t *load = add_step(s, VEER_MM_LOAD, VEER_DTYPE_F32), *sum = add_step(s, VEER_MM_OP, VEER_DTYPE_F32);
    if (!load || !sum) return false;
    load->buf = from.buf, load->column_stride = s->p->n > 1;
    sum->op = VEER_OP_ADD, sum->arg_count = 2, sum->args[1] = 1;
    sum->in[0] = sum->in[1] = VEER_DTYPE_F32;
    return true;
}

bool veer_mm_match_program(const veer_graph_t *g, veer_node_t node, veer_node_t core, int bias, int64_t rows,
                           veer_mm_problem_t *p, char *reason, size_t reason_bytes) {
    matcher_t s = {.g = g, .node = node, .core = core, .p = p, .reason = reason, .reason_bytes = reason_bytes};
    s.rows = rows;
    if (!add_step(&s, VEER_MM_PRODUCT, VEER_DTYPE_F32)) return false;
    if (bias >= 0 && !add_bias(&s, bias)) return false;
    return read_body(&s, (int)p->step_count - 1);
}

bool veer_mm_match_operand(const veer_graph_t *g, veer_node_t node, veer_node_t core, int i, veer_mm_source_t *out,
                           char *reason, size_t reason_bytes) {
    matcher_t s = {.g = g, .node = node, .core = core, .reason = reason, .reason_bytes = reason_bytes};
    return core_operand(&s, i, out);
}

/* ---- the product ---- */

static bool read_product(matcher_t *s) {
    veer_mm_problem_t *p = s->p;
    bool trans_a = veer_node_int(s->g, s->core, "trans_a") != 0, trans_b = veer_node_int(s->g, s->core, "trans_b") != 0;
    const veer_type_t *y = veer_value_type(s->g, veer_node_out(s->g, s->core, 0));
    source_t a, b;
    if (!core_operand(s, 0, &a) || !core_operand(s, 1, &b)) return false;
    int64_t a_leads = veer_type_count_range(&a.type, 0, a.type.rank - 2),
            b_leads = veer_type_count_range(&b.type, 0, b.type.rank - 2);
    int64_t a_cols = a.type.dims[a.type.rank - 1], b_cols = b.type.dims[b.type.rank - 1];
    p->leads = veer_type_count_range(y, 0, y->rank - 2);
    p->m = y->dims[y->rank - 2], p->n = y->dims[y->rank - 1];
    p->k = trans_a ? a.type.dims[a.type.rank - 2] : a_cols;
    s->rows = p->leads * p->m;
    if ((a_leads != 1 && a_leads != p->leads) || (b_leads != 1 && b_leads != p->leads))
        return decline(s, "a matrix broadcasts some of the leading dims");
    if (!b.data && trans_b) return decline(s, "the second matrix is transposed and no constant");
    p->a_row = trans_a ? 1 : a_cols, p->a_k = trans_a ? a_cols : 1, p->a_lead = a_leads > 1 ? p->m * p->k : 0;
    p->b_k = trans_b ? 1 : b_cols, p->b_n = trans_b ? b_cols : 1, p->b_lead = b_leads > 1 ? p->k * p->n : 0;
    p->a_buf = a.buf, p->b_buf = b.buf, p->y_buf = veer_node_in_count(s->g, s->node);
    p->b_data = b.data, p->b_constant = b.data != NULL;
    if (b_leads == 1 && a_leads == p->leads && (!trans_a || p->leads == 1)) p->m = s->rows, p->leads = 1;
    return true;
}

bool veer_mm_find_core(const veer_graph_t *g, veer_node_t node, bool (*is_core)(veer_op_t op), veer_node_t *out_core,
                       char *reason, size_t reason_bytes) {
    matcher_t s = {.g = g, .node = node, .core = node, .reason = reason, .reason_bytes = reason_bytes};
    *out_core = node;
    if (is_core(veer_node_op(g, node))) return true;
    if (veer_node_op(g, node) != VEER_OP_FUSED) return decline(&s, "no product");
    enum { WITH_MOMENTS = 3 };
    int results = veer_node_out_count(g, node);
    if (results != 1 && results != WITH_MOMENTS) return decline(&s, "the fused node has several results");
    *out_core = VEER_NO_NODE;
    VEER_FOR_EACH_NODE(g, veer_node_body(g, node), n) {
        if (!is_core(veer_node_op(g, n))) continue;
        if (out_core->i) return decline(&s, "two products in one fused node");
        *out_core = n;
    }
    return out_core->i || decline(&s, "no product in the fused node");
}

static bool is_matmul(veer_op_t op) {
    return op == VEER_OP_MATMUL;
}

bool veer_mm_match(const veer_graph_t *g, veer_node_t node, veer_mm_problem_t *out, char *reason, size_t reason_bytes) {
    memset(out, 0, sizeof *out);
    matcher_t s = {.g = g, .node = node, .p = out, .reason = reason, .reason_bytes = reason_bytes};
    return veer_mm_find_core(g, node, is_matmul, &s.core, reason, reason_bytes) && read_product(&s) &&
           veer_mm_match_program(g, node, s.core, -1, s.rows, out, reason, reason_bytes) &&
           (!out->moment_rows || decline(&s, "moments behind the product"));
}
