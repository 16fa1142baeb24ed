#include "ir/graph_internal.h"
#include "ir/builder.h"
#include "ir/infer.h"

#include <assert.h>
#include <string.h>

veer_builder_t veer_builder_at_end(veer_graph_t *g, veer_region_t region) {
    return (veer_builder_t){.graph = g, .region = region};
}

veer_builder_t veer_builder_before(veer_graph_t *g, veer_node_t node) {
    return (veer_builder_t){.graph = g, .region = veer_node_region(g, node), .before = node, .origins_from = node};
}

veer_status_t veer_builder_status(veer_builder_t *b) {
    veer_status_t status = b->status;
    b->status = NULL;
    return !status && veer_graph_out_of_memory(b->graph) ? veer_out_of_memory() : status;
}

void veer_builder_fail(veer_builder_t *b, veer_status_t take_status) {
    if (b->status)
        veer_status_free(take_status);
    else
        b->status = take_status;
}

const veer_type_t *veer_builder_type(const veer_builder_t *b, veer_value_t value) {
    return veer_value_type(b->graph, value);
}

/* ---- attributes ---- */

static veer_status_t keep_attr(veer_graph_t *g, const veer_attr_t *given, veer_attr_t *out) {
    *out = *given;
    veer_arena_t *arena = veer_graph_arena(g);
    if (given->kind == VEER_ATTR_STRING) {
        out->as.s = veer_arena_strdup(arena, given->as.s);
        return out->as.s ? veer_ok() : veer_out_of_memory();
    }
    if (given->kind == VEER_ATTR_INTS) {
        out->as.ints.v = veer_arena_copy(arena, given->as.ints.v, (size_t)given->as.ints.n * sizeof(int64_t));
        return out->as.ints.v ? veer_ok() : veer_out_of_memory();
    }
    if (given->kind == VEER_ATTR_FLOATS) {
        out->as.floats.v = veer_arena_copy(arena, given->as.floats.v, (size_t)given->as.floats.n * sizeof(double));
        return out->as.floats.v ? veer_ok() : veer_out_of_memory();
    }
    return veer_ok(); /* DATA is kept as it is: veer_const copies it first, veer_const_view borrows it */
}

static veer_attr_t default_attr(const veer_attr_def_t *def) {
    static const int64_t no_ints[1];
    static const double no_floats[1];
    veer_attr_t attr = {.kind = def->kind};
    switch (def->kind) {
    case VEER_ATTR_INT: attr.as.i = def->default_int; break;
    case VEER_ATTR_FLOAT: attr.as.f = def->default_float; break;
    case VEER_ATTR_INTS: attr.as.ints.v = no_ints; break;
    case VEER_ATTR_FLOATS: attr.as.floats.v = no_floats; break;
    case VEER_ATTR_STRING: attr.as.s = def->default_string ? def->default_string : ""; break;
    default: attr.kind = VEER_ATTR_NONE; break;
    }
    return attr;
}

static veer_status_t make_attrs(veer_graph_t *g, const veer_op_def_t *def, const veer_named_attr_t *given,
                                veer_attr_t **out_attrs) {
    veer_attr_t *attrs = veer_arena_array(veer_graph_arena(g), VEER_OP_MAX_ATTRS, sizeof *attrs);
    if (!attrs) return veer_out_of_memory();
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++) {
        const veer_named_attr_t *match = given;
        while (match && match->name && strcmp(match->name, def->attrs[i].name)) match++;
        if (match && match->name) {
            if (match->attr.kind != def->attrs[i].kind)
                return veer_error(VEER_ERR_UNSUPPORTED, "attribute '%s' is of the wrong kind", match->name);
            VEER_TRY(keep_attr(g, &match->attr, &attrs[i]));
        } else if (def->attrs[i].required) {
            return veer_error(VEER_ERR_UNSUPPORTED, "attribute '%s' is missing", def->attrs[i].name);
        } else {
            attrs[i] = default_attr(&def->attrs[i]);
        }
    }
    for (const veer_named_attr_t *a = given; a && a->name; a++) {
        int known = 0;
        for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++) known |= !strcmp(def->attrs[i].name, a->name);
        if (!known) return veer_error(VEER_ERR_UNSUPPORTED, "there is no attribute '%s'", a->name);
    }
    *out_attrs = attrs;
    return veer_ok();
}

/* ---- operands ---- */

static bool dtype_fits(veer_dtype_t dtype, veer_operand_kind_t kind) {
    switch (kind) {
    case VEER_ANY: return true;
    case VEER_FLOAT_ONLY: return veer_dtype_is_float(dtype);
    case VEER_NUMERIC: return veer_dtype_is_float(dtype) || veer_dtype_is_integer(dtype);
    case VEER_INTEGER: return veer_dtype_is_integer(dtype);
    case VEER_BOOLEAN: return dtype == VEER_DTYPE_BOOL;
    case VEER_INDEX: return dtype == VEER_DTYPE_I32 || dtype == VEER_DTYPE_I64;
    case VEER_BITS: return dtype == VEER_DTYPE_BOOL || veer_dtype_is_integer(dtype);
    }
    return false;
}

static const char *kind_text(veer_operand_kind_t kind) {
    static const char *const texts[] = {"",           "anything", "a float",    "a number",
                                        "an integer", "a bool",   "i32 or i64", "an integer or a bool"};
    return texts[kind];
}

/* The definition of operand i; a variadic one stands for all from its place on. NULL: there is none. */
static const veer_operand_def_t *operand_def(const veer_op_def_t *def, int i) {
    for (int k = 0; k < VEER_OP_MAX_OPERANDS && def->in[k].name; k++)
        if (k == i || def->in[k].variadic) return &def->in[k];
    return NULL;
}

static veer_status_t check_operands(const veer_graph_t *g, const veer_op_def_t *def, const veer_value_t *in,
                                    int count) {
    for (int i = 0; i < count; i++) {
        const veer_operand_def_t *operand = operand_def(def, i);
        if (!operand) return veer_error(VEER_ERR_UNSUPPORTED, "%d operands, expected at most %d", count, i);
        if (!in[i].i) {
            if (operand->optional && !operand->variadic) continue;
            return veer_error(VEER_ERR_UNSUPPORTED, "operand '%s' is missing", operand->name);
        }
        const veer_type_t *type = veer_value_type(g, in[i]);
        if (!dtype_fits(type->dtype, operand->kind))
            return veer_error(VEER_ERR_UNSUPPORTED, "operand '%s' is %s, expected %s", operand->name,
                              veer_dtype_name(type->dtype), kind_text(operand->kind));
    }
    const veer_operand_def_t *next = operand_def(def, count);
    if (next && !next->optional && !(next->variadic && count > 0 && operand_def(def, count - 1) == next))
        return veer_error(VEER_ERR_UNSUPPORTED, "operand '%s' is missing", next->name);
    return veer_ok();
}

/* ---- types ---- */

static int result_count(const veer_op_def_t *def) {
    int n = 0;
    while (n < VEER_OP_MAX_RESULTS && def->out[n].name) n++;
    return n;
}

static veer_status_t infer_by_rule(const veer_graph_t *g, veer_op_t op, const veer_value_t *in, int in_count,
                                   const veer_attr_t *attrs, veer_type_t *out_types, int *out_count) {
    const veer_op_def_t *def = veer_op_def(op);
    veer_type_t few[VEER_OP_MAX_OPERANDS] = {{0}}, *types = few;
    veer_allocator_t allocator = veer_graph_allocator(g);
    /* Rules may look at every declared operand, so absent trailing ones are there too, with dtype NONE. */
    if (in_count > VEER_OP_MAX_OPERANDS) {
        types = veer_alloc_array(allocator, (size_t)in_count, sizeof *types);
        if (!types) return veer_out_of_memory();
    }
    for (int i = 0; i < in_count; i++)
        if (in[i].i) types[i] = *veer_value_type(g, in[i]);
    veer_infer_t c = {
        .op = op, .in_count = in_count, .in = types, .attrs = attrs, .out_count = result_count(def), .out = out_types};
    veer_status_t status = check_operands(g, def, in, in_count);
    if (!status) status = def->infer(&c);
    for (int i = 0; !status && i < c.out_count; i++) status = veer_type_check(&out_types[i]);
    if (types != few) veer_free(allocator, types);
    *out_count = c.out_count;
    return veer_status_where(status, "op '%s'", def->name);
}

static veer_type_t stacked(const veer_type_t *type, int64_t count) {
    veer_type_t out = {.dtype = type->dtype, .rank = type->rank + 1, .dims = {count}};
    for (int i = 0; i < type->rank && i + 1 < VEER_MAX_RANK; i++) out.dims[i + 1] = type->dims[i];
    return out;
}

/* Results of loop and fused nodes. */
static veer_status_t infer_by_region(const veer_graph_t *g, veer_node_t node, veer_type_t *out_types, int *out_count) {
    veer_op_t op = veer_node_op(g, node);
    veer_region_t body = veer_node_body(g, node);
    int count = veer_region_result_count(g, body), carried = op == VEER_OP_LOOP ? veer_node_in_count(g, node) : count;
    if (count < carried)
        return veer_error(VEER_ERR_UNSUPPORTED, "op 'loop': the body yields %d values, expected at least %d", count,
                          carried);
    assert(count <= *out_count);
    for (int i = 0; i < count; i++) {
        veer_type_t type = *veer_value_type(g, veer_region_result(g, body, i));
        out_types[i] = i < carried ? type : stacked(&type, veer_node_int(g, node, "trip"));
        VEER_TRY(veer_type_check(&out_types[i]));
    }
    for (int i = 0; op == VEER_OP_LOOP && i < carried; i++) {
        char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
        const veer_type_t *init = veer_value_type(g, veer_node_in(g, node, i));
        if (!veer_type_equal(init, &out_types[i]))
            return veer_error(VEER_ERR_UNSUPPORTED, "op 'loop': carried value %d starts as %s and is yielded as %s", i,
                              veer_type_text(init, a), veer_type_text(&out_types[i], b));
    }
    *out_count = count;
    return veer_ok();
}

static veer_status_t check_argument(const veer_graph_t *g, veer_node_t node, int i, const veer_type_t *want) {
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    veer_value_t given = veer_node_in(g, node, i);
    if (given.i && veer_type_equal(veer_value_type(g, given), want)) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "argument %d of '%s' is %s, expected %s", i,
                      veer_node_string(g, node, "callee"),
                      given.i ? veer_type_text(veer_value_type(g, given), a) : "absent", veer_type_text(want, b));
}

/* Results of call and grad nodes. */
static veer_status_t infer_by_callee(const veer_graph_t *g, veer_node_t node, veer_type_t *out_types, int *out_count) {
    const char *callee = veer_node_string(g, node, "callee");
    veer_func_t func = veer_graph_find_func(g, callee);
    if (!func.i) return veer_error(VEER_ERR_UNSUPPORTED, "there is no function '%s'", callee);
    bool grad = veer_node_op(g, node) == VEER_OP_GRAD;
    veer_region_t body = veer_func_body(g, func);
    int args = veer_region_arg_count(g, body), results = veer_region_result_count(g, body), wrt_count = 0;
    if (veer_node_in_count(g, node) != args + grad)
        return veer_error(VEER_ERR_UNSUPPORTED, "%d operands for '%s', expected %d", veer_node_in_count(g, node),
                          callee, args + grad);
    for (int i = 0; i < args; i++)
        VEER_TRY(check_argument(g, node, i, veer_value_type(g, veer_region_arg(g, body, i))));
    for (int i = 0; i < results; i++) out_types[i] = *veer_value_type(g, veer_region_result(g, body, i));
    if (grad) {
        int64_t of = veer_node_int(g, node, "of");
        if (of < 0 || of >= results)
            return veer_error(VEER_ERR_UNSUPPORTED, "of is %lld, but '%s' has %d results", (long long)of, callee,
                              results);
        VEER_TRY(check_argument(g, node, args, &out_types[of]));
        const int64_t *wrt = veer_node_ints(g, node, "wrt", &wrt_count);
        for (int i = 0; i < wrt_count; i++) {
            if (wrt[i] < 0 || wrt[i] >= args)
                return veer_error(VEER_ERR_UNSUPPORTED, "wrt names argument %lld, but '%s' has %d", (long long)wrt[i],
                                  callee, args);
            out_types[results + i] = *veer_value_type(g, veer_region_arg(g, body, (int)wrt[i]));
        }
    }
    *out_count = results + wrt_count;
    return veer_ok();
}

static bool has_callee(veer_op_t op) {
    return op == VEER_OP_CALL || op == VEER_OP_GRAD;
}

int veer_node_result_limit(const veer_graph_t *g, veer_node_t node) {
    veer_op_t op = veer_node_op(g, node);
    if (!has_callee(op))
        return veer_node_body(g, node).i ? veer_region_result_count(g, veer_node_body(g, node)) : VEER_OP_MAX_RESULTS;
    veer_func_t func = veer_graph_find_func(g, veer_node_string(g, node, "callee"));
    int count = func.i ? veer_region_result_count(g, veer_func_body(g, func)) : 0, wrt = 0;
    if (op == VEER_OP_GRAD) veer_node_ints(g, node, "wrt", &wrt);
    return count + wrt;
}

veer_status_t veer_node_infer(const veer_graph_t *g, veer_node_t node, veer_type_t *out_types, int *out_count) {
    const veer_node_rec_t *n = &g->nodes[node.i];
    if (has_callee(n->op))
        return veer_status_where(infer_by_callee(g, node, out_types, out_count), "op '%s'", veer_op_name(n->op));
    if (n->body.i) return infer_by_region(g, node, out_types, out_count);
    return infer_by_rule(g, n->op, n->in, n->in_count, n->attrs, out_types, out_count);
}

/* ---- nodes ---- */

static veer_status_t add_origins(veer_builder_t *b, veer_node_t node) {
    if (b->origins_from.i) VEER_TRY(veer_node_add_origins(b->graph, node, b->origins_from));
    return b->origin ? veer_node_add_origin(b->graph, node, b->origin) : veer_ok();
}

static veer_status_t infer_results(veer_graph_t *g, veer_node_t node) {
    int count = veer_node_result_limit(g, node);
    veer_type_t *types = veer_arena_array(veer_graph_arena(g), (size_t)count + 1, sizeof *types);
    if (!types) return veer_out_of_memory();
    VEER_TRY(veer_node_infer(g, node, types, &count));
    return veer_graph_set_results(g, node, types, count);
}

static veer_status_t build_node(veer_builder_t *b, veer_op_t op, const veer_value_t *in, int in_count,
                                veer_attr_t *attrs, veer_node_t *out_node) {
    veer_type_t types[VEER_OP_MAX_RESULTS] = {{0}};
    int count = VEER_OP_MAX_RESULTS;
    VEER_TRY(infer_by_rule(b->graph, op, in, in_count, attrs, types, &count));
    VEER_TRY(veer_graph_new_node(b->graph, op, b->region, b->before, in, in_count, attrs, out_node));
    if (veer_op_has(op, VEER_REGION)) {
        veer_region_t body;
        VEER_TRY(veer_graph_new_region(b->graph, *out_node, &body));
        b->graph->nodes[out_node->i].body = body;
    }
    VEER_TRY(add_origins(b, *out_node));
    if (has_callee(op)) return infer_results(b->graph, *out_node); /* a loop's body is still empty: see finish */
    return veer_graph_set_results(b->graph, *out_node, types, count);
}

veer_node_t veer_build_node(veer_builder_t *b, veer_op_t op, const veer_value_t *in, int in_count,
                            const veer_named_attr_t *attrs) {
    veer_node_t node = VEER_NO_NODE;
    if (b->status) return node;
    veer_attr_t *kept = NULL;
    veer_status_t status =
        veer_status_where(make_attrs(b->graph, veer_op_def(op), attrs, &kept), "op '%s'", veer_op_name(op));
    if (!status) status = build_node(b, op, in, in_count, kept, &node);
    if (status) veer_builder_fail(b, status);
    return b->status ? VEER_NO_NODE : node;
}

veer_value_t veer_build(veer_builder_t *b, veer_op_t op, const veer_value_t *in, int in_count,
                        const veer_named_attr_t *attrs) {
    veer_node_t node = veer_build_node(b, op, in, in_count, attrs);
    return node.i ? veer_node_out(b->graph, node, 0) : VEER_NO_VALUE;
}

veer_node_t veer_build_like(veer_builder_t *b, veer_node_t like, const veer_value_t *in, int in_count) {
    veer_node_t node = VEER_NO_NODE;
    if (b->status) return node;
    const veer_node_rec_t *n = &b->graph->nodes[like.i];
    /* Attributes are never changed in place, so the copy may share them. */
    veer_status_t status = build_node(b, n->op, in, in_count, n->attrs, &node);
    if (!status) status = veer_node_add_origins(b->graph, node, like);
    if (status) veer_builder_fail(b, status);
    return b->status ? VEER_NO_NODE : node;
}

/* ---- regions ---- */

static void terminate(veer_builder_t *b, veer_op_t op, const veer_value_t *values, int count) {
    veer_build_node(b, op, values, count, NULL);
}

void veer_builder_return(veer_builder_t *b, const veer_value_t *values, int count) {
    terminate(b, VEER_OP_RETURN, values, count);
}
void veer_builder_yield(veer_builder_t *b, const veer_value_t *values, int count) {
    terminate(b, VEER_OP_YIELD, values, count);
}

static void add_region_args(veer_builder_t *b, veer_node_t node, const veer_value_t *like, int count) {
    for (int i = 0; i < count && !b->status; i++) {
        veer_value_t arg;
        veer_status_t status =
            veer_region_add_arg(b->graph, veer_node_body(b->graph, node), *veer_value_type(b->graph, like[i]),
                                veer_value_name(b->graph, like[i]), &arg);
        if (status) veer_builder_fail(b, status);
    }
}

veer_node_t veer_builder_loop(veer_builder_t *b, int64_t trip, const veer_value_t *init, int count) {
    veer_node_t loop = veer_build_node(b, VEER_OP_LOOP, init, count, VEER_ATTRS(VEER_INT("trip", trip)));
    if (!loop.i) return loop;
    veer_value_t index;
    veer_status_t status =
        veer_region_add_arg(b->graph, veer_node_body(b->graph, loop), VEER_SCALAR(VEER_DTYPE_I64), "i", &index);
    if (status) veer_builder_fail(b, status);
    add_region_args(b, loop, init, count);
    return loop;
}

veer_node_t veer_builder_fused(veer_builder_t *b, const char *kind, const veer_value_t *in, int count) {
    veer_node_t fused = veer_build_node(b, VEER_OP_FUSED, in, count, VEER_ATTRS(VEER_STRING("kind", kind)));
    if (fused.i) add_region_args(b, fused, in, count);
    return fused;
}

static void finish_region_node(veer_builder_t *b, veer_node_t node) {
    if (b->status) return;
    veer_status_t status = infer_results(b->graph, node);
    if (status) veer_builder_fail(b, status);
}

void veer_builder_loop_finish(veer_builder_t *b, veer_node_t loop) {
    finish_region_node(b, loop);
}
void veer_builder_fused_finish(veer_builder_t *b, veer_node_t fused) {
    finish_region_node(b, fused);
}

/* ---- copies ---- */

static veer_value_t mapped(const veer_value_t *map, veer_value_t old) {
    return map[old.i].i ? map[old.i] : old;
}

static void copy_region(veer_builder_t *b, veer_region_t from, veer_region_t to, veer_value_t *map) {
    for (int i = 0; i < veer_region_arg_count(b->graph, from) && !b->status; i++) {
        veer_value_t old = veer_region_arg(b->graph, from, i), copy;
        veer_status_t status =
            veer_region_add_arg(b->graph, to, *veer_value_type(b->graph, old), veer_value_name(b->graph, old), &copy);
        if (status)
            veer_builder_fail(b, status);
        else
            map[old.i] = copy;
    }
    veer_builder_t inner = veer_builder_at_end(b->graph, to);
    for (veer_node_t n = veer_region_first(b->graph, from); n.i && !b->status; n = veer_node_next(b->graph, n)) {
        veer_build_copy(&inner, n, map);
        if (inner.status) veer_builder_fail(b, veer_builder_status(&inner));
    }
}

veer_node_t veer_build_copy(veer_builder_t *b, veer_node_t node, veer_value_t *map) {
    if (b->status) return VEER_NO_NODE;
    int in_count = veer_node_in_count(b->graph, node);
    veer_value_t *in = veer_arena_array(veer_graph_arena(b->graph), (size_t)in_count + 1, sizeof *in);
    if (!in) {
        veer_builder_fail(b, veer_out_of_memory());
        return VEER_NO_NODE;
    }
    for (int i = 0; i < in_count; i++) in[i] = mapped(map, veer_node_in(b->graph, node, i));
    veer_node_t copy = veer_build_like(b, node, in, in_count);
    if (!copy.i) return copy;
    if (veer_node_body(b->graph, node).i) {
        copy_region(b, veer_node_body(b->graph, node), veer_node_body(b->graph, copy), map);
        finish_region_node(b, copy);
        if (b->status) return VEER_NO_NODE;
    }
    for (int i = 0; i < veer_node_out_count(b->graph, node); i++) {
        veer_value_t old = veer_node_out(b->graph, node, i);
        map[old.i] = veer_node_out(b->graph, copy, i);
    }
    return copy;
}

void veer_builder_inline(veer_builder_t *b, veer_func_t callee, const veer_value_t *args, int arg_count,
                         veer_value_t *out) {
    if (b->status) return;
    veer_graph_t *g = b->graph;
    veer_region_t body = veer_func_body(g, callee);
    assert(arg_count == veer_region_arg_count(g, body));
    veer_allocator_t allocator = veer_graph_allocator(g);
    veer_value_t *map = veer_alloc_array(allocator, veer_graph_value_limit(g), sizeof *map);
    if (!map) {
        veer_builder_fail(b, veer_out_of_memory());
        return;
    }
    for (int i = 0; i < arg_count; i++) map[veer_region_arg(g, body, i).i] = args[i];
    veer_node_t end = veer_region_terminator(g, body);
    for (veer_node_t n = veer_region_first(g, body); n.i && n.i != end.i && !b->status; n = veer_node_next(g, n))
        veer_build_copy(b, n, map);
    for (int i = 0; !b->status && i < veer_region_result_count(g, body); i++)
        out[i] = mapped(map, veer_region_result(g, body, i));
    veer_free(allocator, map);
}

veer_node_t veer_builder_call(veer_builder_t *b, veer_func_t callee, const veer_value_t *args, int arg_count) {
    return veer_build_node(b, VEER_OP_CALL, args, arg_count,
                           VEER_ATTRS(VEER_STRING("callee", veer_func_name(b->graph, callee))));
}

veer_node_t veer_builder_grad(veer_builder_t *b, veer_func_t callee, const veer_value_t *args, int arg_count, int of,
                              veer_value_t d_of, const int64_t *wrt, int wrt_count) {
    veer_value_t *in =
        b->status ? NULL : veer_arena_array(veer_graph_arena(b->graph), (size_t)arg_count + 1, sizeof *in);
    if (!in) {
        if (!b->status) veer_builder_fail(b, veer_out_of_memory());
        return VEER_NO_NODE;
    }
    if (arg_count) memcpy(in, args, (size_t)arg_count * sizeof *in);
    in[arg_count] = d_of;
    return veer_build_node(b, VEER_OP_GRAD, in, arg_count + 1,
                           VEER_ATTRS(VEER_STRING("callee", veer_func_name(b->graph, callee)), VEER_INT("of", of),
                                      VEER_INTS("wrt", wrt, wrt_count)));
}
