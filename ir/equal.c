/* Walks both graphs backwards from their results. When a node's turn comes, everything that takes its results has been
 * paired with its counterpart, and so have the results themselves; so one pass in reverse order pairs all nodes that
 * matter, whatever the order of independent ones. Nodes that nobody takes anything from are paired in order. */
#include "ir/equal.h"

#include "ir/literal.h"

#include <string.h>

bool veer_attr_equal(const veer_attr_t *a, const veer_attr_t *b) {
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case VEER_ATTR_NONE: return true;
    case VEER_ATTR_INT: return a->as.i == b->as.i;
    case VEER_ATTR_FLOAT: return !memcmp(&a->as.f, &b->as.f, sizeof a->as.f);
    case VEER_ATTR_INTS:
        return a->as.ints.n == b->as.ints.n &&
               (a->as.ints.n == 0 || !memcmp(a->as.ints.v, b->as.ints.v, (size_t)a->as.ints.n * sizeof *a->as.ints.v));
    case VEER_ATTR_FLOATS:
        return a->as.floats.n == b->as.floats.n &&
               (a->as.floats.n == 0 ||
                !memcmp(a->as.floats.v, b->as.floats.v, (size_t)a->as.floats.n * sizeof *a->as.floats.v));
    case VEER_ATTR_STRING: return !strcmp(a->as.s, b->as.s);
    case VEER_ATTR_DATA:
        if (a->as.data.size_bytes != b->as.data.size_bytes) return false;
        return a->as.data.bytes == b->as.data.bytes ||
               !memcmp(a->as.data.bytes, b->as.data.bytes, a->as.data.size_bytes);
    }
    return false;
}

uint64_t veer_attr_hash(const veer_attr_t *attr) {
    switch (attr->kind) {
    case VEER_ATTR_NONE: return 0;
    case VEER_ATTR_INT: return veer_literal_hash(&attr->as.i, sizeof attr->as.i);
    case VEER_ATTR_FLOAT: return veer_literal_hash(&attr->as.f, sizeof attr->as.f);
    case VEER_ATTR_INTS: return veer_literal_hash(attr->as.ints.v, (size_t)attr->as.ints.n * sizeof *attr->as.ints.v);
    case VEER_ATTR_FLOATS:
        return veer_literal_hash(attr->as.floats.v, (size_t)attr->as.floats.n * sizeof *attr->as.floats.v);
    case VEER_ATTR_STRING: return veer_literal_hash(attr->as.s, strlen(attr->as.s));
    case VEER_ATTR_DATA: {
        /* A sample is enough to tell constants apart; a model's weights are not read through for it. */
        size_t size = attr->as.data.size_bytes;
        return veer_literal_hash(attr->as.data.bytes, size < 256 ? size : 256) ^ size;
    }
    }
    return 0;
}

/* ---- graphs ---- */

typedef struct pairing_s {
    const veer_graph_t *a, *b;
    veer_arena_t scratch;
    veer_value_t *to_b, *to_a; /* by value id */
} pairing_t;

static veer_status_t differ(const pairing_t *p, veer_node_t na, veer_node_t nb, const char *what) {
    const char *oa = na.i ? veer_op_name(veer_node_op(p->a, na)) : "nothing";
    const char *ob = nb.i ? veer_op_name(veer_node_op(p->b, nb)) : "nothing";
    return veer_error(VEER_ERR_MISMATCH, "'%s' here and '%s' there: %s", oa, ob, what);
}

/* False where one of the two is already paired with something else. */
static bool pair(pairing_t *p, veer_value_t va, veer_value_t vb) {
    if (!va.i || !vb.i) return va.i == vb.i;
    if (p->to_b[va.i].i || p->to_a[vb.i].i) return p->to_b[va.i].i == vb.i && p->to_a[vb.i].i == va.i;
    p->to_b[va.i] = vb;
    p->to_a[vb.i] = va;
    return veer_type_equal(veer_value_type(p->a, va), veer_value_type(p->b, vb));
}

static int operand_count(const veer_graph_t *g, veer_node_t node) {
    int count = veer_node_in_count(g, node);
    while (count && !veer_node_in(g, node, count - 1).i) count--;
    return count;
}

static bool attrs_equal(const pairing_t *p, veer_node_t na, veer_node_t nb) {
    const veer_op_def_t *def = veer_op_def(veer_node_op(p->a, na));
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++)
        if (!veer_attr_equal(veer_node_attr(p->a, na, i), veer_node_attr(p->b, nb, i))) return false;
    return true;
}

static veer_status_t compare_regions(pairing_t *p, veer_region_t ra, veer_region_t rb);

static veer_status_t compare_nodes(pairing_t *p, veer_node_t na, veer_node_t nb) {
    int count = operand_count(p->a, na);
    if (veer_node_op(p->a, na) != veer_node_op(p->b, nb)) return differ(p, na, nb, "other ops");
    if (!attrs_equal(p, na, nb)) return differ(p, na, nb, "other attributes");
    if (veer_node_strand(p->a, na) != veer_node_strand(p->b, nb)) return differ(p, na, nb, "other strands");
    if (count != operand_count(p->b, nb)) return differ(p, na, nb, "other numbers of operands");
    if (veer_node_out_count(p->a, na) != veer_node_out_count(p->b, nb))
        return differ(p, na, nb, "other numbers of results");
    for (int i = 0; i < veer_node_out_count(p->a, na); i++)
        if (!pair(p, veer_node_out(p->a, na, i), veer_node_out(p->b, nb, i)))
            return differ(p, na, nb, "their results are used differently or have other types");
    if (veer_node_body(p->a, na).i) VEER_TRY(compare_regions(p, veer_node_body(p->a, na), veer_node_body(p->b, nb)));
    for (int i = 0; i < count; i++)
        if (!pair(p, veer_node_in(p->a, na, i), veer_node_in(p->b, nb, i)))
            return differ(p, na, nb, "they take different operands");
    return veer_ok();
}

static bool is_used(const veer_graph_t *g, veer_node_t node) {
    for (int i = 0; i < veer_node_out_count(g, node); i++)
        if (veer_value_use_count(g, veer_node_out(g, node, i))) return true;
    return veer_op_has(veer_node_op(g, node), VEER_TERMINATOR);
}

static veer_node_t unused_at_or_before(const veer_graph_t *g, veer_node_t node) {
    while (node.i && is_used(g, node)) node = veer_node_prev(g, node);
    return node;
}

/* The node of b that a used node of a must be: the definition of what one of its results has been paired with. */
static veer_node_t counterpart(const pairing_t *p, veer_node_t na, veer_region_t rb) {
    for (int i = 0; i < veer_node_out_count(p->a, na); i++) {
        veer_value_t vb = p->to_b[veer_node_out(p->a, na, i).i];
        if (!vb.i) continue;
        veer_node_t nb = veer_value_def(p->b, vb);
        return nb.i && veer_node_region(p->b, nb).i == rb.i ? nb : VEER_NO_NODE;
    }
    return VEER_NO_NODE;
}

static int node_count(const veer_graph_t *g, veer_region_t region) {
    int count = 0;
    VEER_FOR_EACH_NODE(g, region, node) count++;
    return count;
}

static veer_status_t compare_regions(pairing_t *p, veer_region_t ra, veer_region_t rb) {
    int args = veer_region_arg_count(p->a, ra), here = node_count(p->a, ra), there = node_count(p->b, rb);
    if (args != veer_region_arg_count(p->b, rb)) return veer_error(VEER_ERR_MISMATCH, "other numbers of arguments");
    for (int i = 0; i < args; i++)
        if (!pair(p, veer_region_arg(p->a, ra, i), veer_region_arg(p->b, rb, i)))
            return veer_error(VEER_ERR_MISMATCH, "argument %d differs", i);
    veer_node_t unused = unused_at_or_before(p->b, veer_region_last(p->b, rb));
    for (veer_node_t na = veer_region_last(p->a, ra); na.i; na = veer_node_prev(p->a, na)) {
        veer_node_t nb = counterpart(p, na, rb);
        if (veer_op_has(veer_node_op(p->a, na), VEER_TERMINATOR))
            nb = veer_region_terminator(p->b, rb);
        else if (!is_used(p->a, na)) {
            nb = unused;
            if (nb.i) unused = unused_at_or_before(p->b, veer_node_prev(p->b, nb));
        }
        if (!nb.i) return differ(p, na, nb, "there is no counterpart");
        VEER_TRY(compare_nodes(p, na, nb));
    }
    if (here == there) return veer_ok();
    return veer_error(VEER_ERR_MISMATCH, "a region of %d nodes here has %d nodes there", here, there);
}

static veer_status_t compare_funcs(pairing_t *p, veer_func_t fa, veer_func_t fb) {
    if (strcmp(veer_func_name(p->a, fa), veer_func_name(p->b, fb)))
        return veer_error(VEER_ERR_MISMATCH, "it is called @%s there", veer_func_name(p->b, fb));
    VEER_TRY(compare_regions(p, veer_func_body(p->a, fa), veer_func_body(p->b, fb)));
    for (int i = 0; i < veer_region_result_count(p->a, veer_func_body(p->a, fa)); i++)
        if (strcmp(veer_func_result_name(p->a, fa, i), veer_func_result_name(p->b, fb, i)))
            return veer_error(VEER_ERR_MISMATCH, "result %d is called '%s' here and '%s' there", i,
                              veer_func_result_name(p->a, fa, i), veer_func_result_name(p->b, fb, i));
    return veer_ok();
}

static veer_status_t compare(pairing_t *p) {
    p->to_b = veer_arena_array(&p->scratch, veer_graph_value_limit(p->a), sizeof *p->to_b);
    p->to_a = veer_arena_array(&p->scratch, veer_graph_value_limit(p->b), sizeof *p->to_a);
    if (!p->to_b || !p->to_a) return veer_out_of_memory();
    veer_func_t fa = veer_graph_first_func(p->a), fb = veer_graph_first_func(p->b);
    for (; fa.i && fb.i; fa = veer_graph_next_func(p->a, fa), fb = veer_graph_next_func(p->b, fb))
        VEER_TRY(veer_status_where(compare_funcs(p, fa, fb), "@%s", veer_func_name(p->a, fa)));
    return fa.i || fb.i ? veer_error(VEER_ERR_MISMATCH, "other numbers of functions") : veer_ok();
}

veer_status_t veer_graph_equal(const veer_graph_t *a, const veer_graph_t *b) {
    pairing_t p = {.a = a, .b = b};
    veer_arena_init(&p.scratch, veer_graph_allocator(a));
    veer_status_t status = compare(&p);
    veer_arena_deinit(&p.scratch);
    return status;
}
