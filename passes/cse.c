/* cse -- computes the same thing once.
 *
 *     %a = exp %x   %b = mul %a, %y   %c = exp %x   %d = mul %y, %c
 * becomes
 *     %a = exp %x   %b = mul %a, %y                                   with %c = %a, %d = %b
 *
 * Valid for pure nodes with the same op, attributes and operands (the first two in either order where the op commutes).
 * A node in a loop's body may reuse one from around the loop, never the other way round. Equal constants are one,
 * wherever their bytes came from. Declines nodes with regions, and never looks out of a fused body, which captures
 * nothing.
 */
#include "ir/equal.h"
#include "passes/pass.h"

#include <string.h>

/* Nodes that can be reused where we are, in order of appearance; a region's are dropped when it ends. */
typedef struct table_s {
    veer_node_t *list;
    uint64_t *hash;
    uint32_t *slots; /* open addressing: index into list plus 1 */
    size_t count, slot_count;
} table_t;

typedef struct cse_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    table_t *table;
} cse_t;

static uint64_t mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

/* Operand i in an order that does not depend on how a commutative node was written. */
static uint32_t operand(const veer_graph_t *g, veer_node_t node, int i) {
    int swapped = i;
    if (i < 2 && veer_op_has(veer_node_op(g, node), VEER_COMMUTATIVE) && veer_node_in_count(g, node) >= 2 &&
        veer_node_in(g, node, 0).i > veer_node_in(g, node, 1).i)
        swapped = 1 - i;
    return veer_node_in(g, node, swapped).i;
}

static uint64_t hash_node(const veer_graph_t *g, veer_node_t node) {
    const veer_op_def_t *def = veer_op_def(veer_node_op(g, node));
    uint64_t h = mix(0, veer_node_op(g, node));
    for (int i = 0; i < veer_node_in_count(g, node); i++) h = mix(h, operand(g, node, i));
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++)
        h = mix(h, veer_attr_hash(veer_node_attr(g, node, i)));
    return h;
}

static bool same_node(const veer_graph_t *g, veer_node_t a, veer_node_t b) {
    const veer_op_def_t *def = veer_op_def(veer_node_op(g, a));
    if (veer_node_op(g, a) != veer_node_op(g, b) || veer_node_in_count(g, a) != veer_node_in_count(g, b)) return false;
    for (int i = 0; i < veer_node_in_count(g, a); i++)
        if (operand(g, a, i) != operand(g, b, i)) return false;
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++)
        if (!veer_attr_equal(veer_node_attr(g, a, i), veer_node_attr(g, b, i))) return false;
    return true;
}

static size_t find_slot(const cse_t *c, veer_node_t node, uint64_t hash) {
    const table_t *t = c->table;
    size_t at = hash & (t->slot_count - 1);
    for (; t->slots[at]; at = (at + 1) & (t->slot_count - 1)) {
        size_t i = t->slots[at] - 1;
        if (t->hash[i] == hash && same_node(c->g, t->list[i], node)) break;
    }
    return at;
}

/* Last in, first out, so a freed slot never hides one that stays. */
static void leave(cse_t *c, size_t mark) {
    for (table_t *t = c->table; t->count > mark; t->count--)
        t->slots[find_slot(c, t->list[t->count - 1], t->hash[t->count - 1])] = 0;
}

static veer_status_t merge(cse_t *c, veer_node_t node, veer_node_t into) {
    for (int i = 0; i < veer_node_out_count(c->g, node); i++) {
        veer_value_t from = veer_node_out(c->g, node, i), to = veer_node_out(c->g, into, i);
        veer_value_replace(c->g, from, to);
        if (!*veer_value_name(c->g, to)) VEER_TRY(veer_value_set_name(c->g, to, veer_value_name(c->g, from)));
    }
    VEER_TRY(veer_node_add_origins(c->g, into, node));
    if (veer_graph_out_of_memory(c->g)) return veer_out_of_memory();
    veer_node_remove(c->g, node);
    veer_pass_count(c->ctx, "merged");
    return veer_ok();
}

static veer_status_t visit_region(cse_t *c, veer_region_t region);

static size_t count_nodes(const veer_graph_t *g, veer_region_t region) {
    size_t count = 0;
    VEER_FOR_EACH_NODE(g, region, node) {
        count++;
        if (veer_node_body(g, node).i) count += count_nodes(g, veer_node_body(g, node));
    }
    return count;
}

/* Visits a function's or a fused node's body, which see nothing of what is around them, with a table of their own. */
static veer_status_t visit_closed(cse_t *c, veer_region_t region) {
    table_t *outside = c->table, inside = {.slot_count = 64};
    size_t nodes = count_nodes(c->g, region);
    while (inside.slot_count < nodes * 2) inside.slot_count *= 2;
    inside.list = veer_arena_array(&c->ctx->scratch, nodes, sizeof *inside.list);
    inside.hash = veer_arena_array(&c->ctx->scratch, nodes, sizeof *inside.hash);
    inside.slots = veer_arena_array(&c->ctx->scratch, inside.slot_count, sizeof *inside.slots);
    if (!inside.list || !inside.hash || !inside.slots) return veer_out_of_memory();
    c->table = &inside;
    VEER_TRY(visit_region(c, region));
    c->table = outside;
    return veer_ok();
}

static veer_status_t visit_node(cse_t *c, veer_node_t node) {
    veer_region_t body = veer_node_body(c->g, node);
    veer_op_t op = veer_node_op(c->g, node);
    if (op == VEER_OP_FUSED) return visit_closed(c, body);
    if (body.i) return visit_region(c, body);
    if (!veer_op_has(op, VEER_PURE)) return veer_ok();
    uint64_t hash = hash_node(c->g, node);
    table_t *t = c->table;
    size_t slot = find_slot(c, node, hash);
    if (t->slots[slot]) return merge(c, node, t->list[t->slots[slot] - 1]);
    t->list[t->count] = node;
    t->hash[t->count] = hash;
    t->slots[slot] = (uint32_t)++t->count;
    return veer_ok();
}

static veer_status_t visit_region(cse_t *c, veer_region_t region) {
    size_t mark = c->table->count;
    VEER_FOR_EACH_NODE(c->g, region, node) VEER_TRY(visit_node(c, node));
    leave(c, mark);
    return veer_ok();
}

static veer_status_t run_cse(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    cse_t c = {.g = g, .ctx = ctx};
    return visit_closed(&c, veer_func_body(g, func));
}

const veer_pass_def_t veer_pass_cse = {.name = "cse", .summary = "compute what is computed twice once", .run = run_cse};
