#include "ir/verify.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct verifier_s {
    const veer_graph_t *g;
    veer_arena_t scratch;
    /* By value id: the scope in which the value can be seen where we are, 0 where it cannot. Loop bodies belong to the
     * scope around them; a fused body is one of its own. */
    uint32_t *visible;
    uint32_t scope, scope_count;
    uint32_t *uses;   /* by value id: operands seen so far */
    uint64_t *places; /* and a sum over where they are */
    bool *seen;       /* by node id */
} verifier_t;

/* Sums of this agree for equal sets of uses, and hardly ever for others. */
static uint64_t place_hash(veer_node_t node, int operand) {
    uint64_t h = ((uint64_t)node.i << 32 | (uint32_t)operand) * 0x9e3779b97f4a7c15u;
    return (h ^ h >> 31) * 0xbf58476d1ce4e5b9u;
}

static veer_status_t check_region(verifier_t *v, veer_region_t region, veer_op_t terminator);

static veer_status_t wrong(verifier_t *v, veer_node_t node, const char *format, ...) VEER_PRINTF(3, 4);

/* "op 'mul' (%y, from conv1): message" */
static veer_status_t wrong(verifier_t *v, veer_node_t node, const char *format, ...) {
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    const char *name = "", *origin = "";
    if (veer_node_out_count(v->g, node)) name = veer_value_name(v->g, veer_node_out(v->g, node, 0));
    if (veer_node_origin_count(v->g, node)) origin = veer_node_origin(v->g, node, 0);
    veer_status_t status = veer_error(VEER_ERR_FAILED, "op '%s': %s", veer_op_name(veer_node_op(v->g, node)), message);
    if (*name) status = veer_status_note(status, "its result is called '%s'", name);
    return *origin ? veer_status_note(status, "it comes from '%s'", origin) : status;
}

/* ---- definitions ---- */

static veer_status_t check_results(verifier_t *v, veer_node_t node) {
    for (int i = 0; i < veer_node_out_count(v->g, node); i++) {
        veer_value_t out = veer_node_out(v->g, node, i);
        if (!out.i || out.i >= veer_graph_value_limit(v->g)) return wrong(v, node, "result %d is no value", i);
        if (veer_value_def(v->g, out).i != node.i || veer_value_def_index(v->g, out) != i)
            return wrong(v, node, "result %d says that it is defined elsewhere", i);
        if (v->visible[out.i]) return wrong(v, node, "result %d is defined twice", i);
        v->visible[out.i] = v->scope;
    }
    return veer_ok();
}

static veer_status_t check_args(verifier_t *v, veer_region_t region) {
    for (int i = 0; i < veer_region_arg_count(v->g, region); i++) {
        veer_value_t arg = veer_region_arg(v->g, region, i);
        if (veer_value_def(v->g, arg).i || veer_value_def_index(v->g, arg) != i ||
            veer_value_region(v->g, arg).i != region.i || v->visible[arg.i])
            return veer_error(VEER_ERR_FAILED, "argument %d of a region says that it is defined elsewhere", i);
        v->visible[arg.i] = v->scope;
    }
    return veer_ok();
}

static void hide_region(verifier_t *v, veer_region_t region) {
    for (int i = 0; i < veer_region_arg_count(v->g, region); i++) v->visible[veer_region_arg(v->g, region, i).i] = 0;
    VEER_FOR_EACH_NODE(v->g, region, node)
    for (int i = 0; i < veer_node_out_count(v->g, node); i++) v->visible[veer_node_out(v->g, node, i).i] = 0;
}

/* ---- operands and types ---- */

static veer_status_t check_operands(verifier_t *v, veer_node_t node) {
    for (int i = 0; i < veer_node_in_count(v->g, node); i++) {
        veer_value_t in = veer_node_in(v->g, node, i);
        if (!in.i) continue; /* whether it may be absent is the rule's to say */
        if (in.i >= veer_graph_value_limit(v->g)) return wrong(v, node, "operand %d is no value", i);
        if (v->visible[in.i] != v->scope) {
            const char *name = veer_value_name(v->g, in);
            return wrong(v, node, "operand %d%s%s is not defined before it, or not in sight", i, *name ? ", %" : "",
                         name);
        }
        v->uses[in.i]++;
        v->places[in.i] += place_hash(node, i);
    }
    return veer_ok();
}

static veer_status_t check_types(verifier_t *v, veer_node_t node) {
    veer_type_t few[16] = {{0}}, *types = few;
    int count = veer_node_result_limit(v->g, node);
    if (count > 16) types = veer_arena_array(&v->scratch, (size_t)count, sizeof *types);
    if (!types) return veer_out_of_memory();
    veer_status_t status = veer_node_infer(v->g, node, types, &count);
    if (veer_status_code(status) == VEER_ERR_RESOURCE) return status;
    if (status) {
        veer_status_t said =
            wrong(v, node, "its operands or attributes break the op's rule: %s", veer_status_message(status, 0));
        veer_status_free(status);
        return said;
    }
    if (count != veer_node_out_count(v->g, node))
        return wrong(v, node, "it has %d results, its rule infers %d", veer_node_out_count(v->g, node), count);
    for (int i = 0; i < count; i++) {
        char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
        const veer_type_t *got = veer_value_type(v->g, veer_node_out(v->g, node, i));
        if (!veer_type_equal(got, &types[i]))
            return wrong(v, node, "result %d is %s, its rule infers %s", i, veer_type_text(got, a),
                         veer_type_text(&types[i], b));
    }
    return veer_ok();
}

/* ---- bodies ---- */

/* Arguments [first, ...) of `region` against all operands of `node`. */
static veer_status_t check_match(verifier_t *v, veer_node_t node, veer_region_t region, int first) {
    int count = veer_node_in_count(v->g, node), args = veer_region_arg_count(v->g, region);
    if (args != first + count) return wrong(v, node, "%d operands, the body takes %d", count, args - first);
    for (int i = 0; i < count; i++) {
        char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
        veer_value_t in = veer_node_in(v->g, node, i);
        if (!in.i) return wrong(v, node, "operand %d is absent", i);
        const veer_type_t *got = veer_value_type(v->g, in);
        const veer_type_t *want = veer_value_type(v->g, veer_region_arg(v->g, region, first + i));
        if (!veer_type_equal(got, want))
            return wrong(v, node, "operand %d is %s, argument %d of the body is %s", i, veer_type_text(got, a),
                         first + i, veer_type_text(want, b));
    }
    return veer_ok();
}

static veer_status_t check_loop_index(verifier_t *v, veer_node_t node) {
    veer_region_t body = veer_node_body(v->g, node);
    veer_type_t want = VEER_SCALAR(VEER_DTYPE_I64);
    if (veer_region_arg_count(v->g, body) > 0 &&
        veer_type_equal(veer_value_type(v->g, veer_region_arg(v->g, body, 0)), &want))
        return veer_ok();
    return wrong(v, node, "the first argument of its body is not the iteration, i64[]");
}

static veer_status_t check_body(verifier_t *v, veer_node_t node) {
    veer_region_t body = veer_node_body(v->g, node);
    bool loop = veer_node_op(v->g, node) == VEER_OP_LOOP;
    uint32_t outside = v->scope;
    if (veer_region_parent(v->g, body).i != node.i) return wrong(v, node, "its body belongs to another node");
    if (loop) VEER_TRY(check_loop_index(v, node));
    VEER_TRY(check_match(v, node, body, loop ? 1 : 0));
    if (!loop) v->scope = ++v->scope_count;
    VEER_TRY(check_region(v, body, VEER_OP_YIELD));
    v->scope = outside;
    return veer_ok();
}

/* ---- regions ---- */

static veer_status_t check_node(verifier_t *v, veer_region_t region, veer_node_t node, veer_op_t terminator) {
    veer_op_t op = veer_node_op(v->g, node);
    bool last = !veer_node_next(v->g, node).i;
    if (op == VEER_OP_NONE || v->seen[node.i] || veer_node_region(v->g, node).i != region.i)
        return veer_error(VEER_ERR_FAILED, "a region lists node %u, which is not there", node.i);
    v->seen[node.i] = true;
    if (last && op != terminator)
        return wrong(v, node, "a region ends with it, expected '%s'", veer_op_name(terminator));
    if (!last && veer_op_has(op, VEER_TERMINATOR)) return wrong(v, node, "there are nodes after it in its region");
    VEER_TRY(check_operands(v, node));
    if (veer_op_has(op, VEER_REGION) != (veer_node_body(v->g, node).i != 0))
        return wrong(v, node, "it has a body and should not, or the other way round");
    if (veer_node_body(v->g, node).i) VEER_TRY(check_body(v, node));
    VEER_TRY(check_results(v, node));
    return check_types(v, node);
}

/* ---- strands ---- */

/* In a region: nodes of none, of strand 1, of strand 2, of none. */
static veer_status_t check_strand(const veer_graph_t *g, veer_node_t node, int *last, bool *over) {
    int strand = veer_node_strand(g, node);
    const char *op = veer_op_name(veer_node_op(g, node));
    if (strand && (veer_node_op(g, node) == VEER_OP_LOOP || veer_op_has(veer_node_op(g, node), VEER_TERMINATOR)))
        return veer_error(VEER_ERR_FAILED, "op '%s' is in a strand", op);
    if (strand && (*over || strand < *last))
        return veer_error(VEER_ERR_FAILED, "op '%s' of strand %d stands behind nodes of %s: strands come last of all",
                          op, strand, *over ? "none" : "another strand");
    for (int i = 0; strand && i < veer_node_in_count(g, node); i++) {
        veer_value_t v = veer_node_in(g, node, i);
        veer_node_t def = v.i ? veer_value_def(g, v) : VEER_NO_NODE;
        bool here = def.i && veer_node_region(g, def).i == veer_node_region(g, node).i;
        int other = here ? veer_node_strand(g, def) : 0;
        if (other && other != strand)
            return veer_error(VEER_ERR_FAILED, "op '%s' of strand %d takes what strand %d makes", op, strand, other);
    }
    *over |= *last && !strand;
    *last = strand ? strand : *last;
    return veer_ok();
}

veer_status_t veer_verify_strands(const veer_graph_t *g, veer_region_t region) {
    int last = 0;
    bool over = false;
    VEER_FOR_EACH_NODE(g, region, n) VEER_TRY(check_strand(g, n, &last, &over));
    return veer_ok();
}

static veer_status_t check_region(verifier_t *v, veer_region_t region, veer_op_t terminator) {
    veer_node_t before = VEER_NO_NODE;
    VEER_TRY(check_args(v, region));
    if (!veer_region_first(v->g, region).i)
        return veer_error(VEER_ERR_FAILED, "a region is empty, expected '%s'", veer_op_name(terminator));
    for (veer_node_t n = veer_region_first(v->g, region); n.i; before = n, n = veer_node_next(v->g, n)) {
        if (veer_node_prev(v->g, n).i != before.i) return wrong(v, n, "its links to its neighbours are wrong");
        VEER_TRY(check_node(v, region, n, terminator));
    }
    if (veer_region_last(v->g, region).i != before.i)
        return veer_error(VEER_ERR_FAILED, "a region's last node is not where its links lead");
    VEER_TRY(veer_verify_strands(v->g, region));
    hide_region(v, region);
    return veer_ok();
}

/* ---- use lists ---- */

static veer_status_t check_uses(verifier_t *v, veer_value_t value) {
    int count = veer_value_use_count(v->g, value);
    if ((uint32_t)count != v->uses[value.i])
        return veer_error(VEER_ERR_FAILED, "value %u '%s' lists %d uses, there are %u", value.i,
                          veer_value_name(v->g, value), count, v->uses[value.i]);
    uint64_t places = 0;
    for (int i = 0; i < count; i++) {
        int operand;
        veer_node_t user = veer_value_use(v->g, value, i, &operand);
        if (!v->seen[user.i] || operand >= veer_node_in_count(v->g, user) ||
            veer_node_in(v->g, user, operand).i != value.i)
            return veer_error(VEER_ERR_FAILED, "value %u '%s' lists a use in node %u that is not there", value.i,
                              veer_value_name(v->g, value), user.i);
        places += place_hash(user, operand);
    }
    if (places != v->places[value.i])
        return veer_error(VEER_ERR_FAILED, "value %u '%s' lists a use twice and another not at all", value.i,
                          veer_value_name(v->g, value));
    return veer_ok();
}

static veer_status_t check_graph(verifier_t *v) {
    size_t values = veer_graph_value_limit(v->g);
    v->visible = veer_arena_array(&v->scratch, values, sizeof *v->visible);
    v->uses = veer_arena_array(&v->scratch, values, sizeof *v->uses);
    v->places = veer_arena_array(&v->scratch, values, sizeof *v->places);
    v->seen = veer_arena_array(&v->scratch, veer_graph_node_limit(v->g), sizeof *v->seen);
    if (!v->visible || !v->uses || !v->places || !v->seen) return veer_out_of_memory();
    for (veer_func_t f = veer_graph_first_func(v->g); f.i; f = veer_graph_next_func(v->g, f))
        VEER_TRY(veer_status_where(check_region(v, veer_func_body(v->g, f), VEER_OP_RETURN), "@%s",
                                   veer_func_name(v->g, f)));
    for (uint32_t i = 1; i < values; i++) VEER_TRY(check_uses(v, (veer_value_t){i}));
    return veer_ok();
}

veer_status_t veer_verify(const veer_graph_t *g) {
    verifier_t v = {.g = g, .scope = 1, .scope_count = 1};
    veer_arena_init(&v.scratch, veer_graph_allocator(g));
    veer_status_t status = check_graph(&v);
    veer_arena_deinit(&v.scratch);
    return status;
}
