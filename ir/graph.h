/* The graph: functions made of regions, regions made of nodes in order, nodes that take values and define values.
 *
 * All ids belong to one veer_graph_t and index its arrays; id 0 is "none". Hold ids, never pointers, across anything
 * that may add a node. Everything lives in the graph's arena. A region's nodes stand in execution order: a value is
 * used only after its definition, by nodes of the same region or of regions nested in it (captures need no
 * declaration).
 *
 *     veer_graph_t *g;
 *     VEER_TRY(veer_graph_create(allocator, &g));
 *     veer_func_t f;                                        // graph @f(%x: f32[2,8]) { ... }
 *     VEER_TRY(veer_graph_add_func(g, "f", &f));
 *     veer_value_t x;
 *     VEER_TRY(veer_region_add_arg(g, veer_func_body(g, f), VEER_TYPE(VEER_DTYPE_F32, 2, 8), "x", &x));
 *     veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
 *     veer_builder_return(&b, &(veer_value_t){veer_silu(&b, x)}, 1);
 *     VEER_TRY(veer_builder_status(&b));
 *
 * Not thread-safe per graph.
 */
#ifndef VEER_IR_GRAPH_H
#define VEER_IR_GRAPH_H

#include "ir/base/arena.h"
#include "ir/base/status.h"
#include "ir/limits.h"
#include "ir/op.h"
#include "ir/types.h"

typedef struct veer_graph_s veer_graph_t;

/* ---- ids ---- */
typedef struct {
    uint32_t i;
} veer_value_t;
typedef struct {
    uint32_t i;
} veer_node_t;
typedef struct {
    uint32_t i;
} veer_region_t;
typedef struct {
    uint32_t i;
} veer_func_t;
#define VEER_NO_VALUE  ((veer_value_t){0})
#define VEER_NO_NODE   ((veer_node_t){0})
#define VEER_NO_REGION ((veer_region_t){0})
#define VEER_NO_FUNC   ((veer_func_t){0})
static inline bool veer_value_eq(veer_value_t a, veer_value_t b) {
    return a.i == b.i;
}
static inline bool veer_node_eq(veer_node_t a, veer_node_t b) {
    return a.i == b.i;
}

/* ---- graph and functions ---- */
VEER_MUST_USE veer_status_t veer_graph_create(veer_allocator_t allocator, veer_graph_t **out_graph);
/* NULL is allowed. Runs the release callbacks of veer_graph_on_destroy, newest first. */
void veer_graph_destroy(veer_graph_t *g);
veer_arena_t *veer_graph_arena(veer_graph_t *g);
veer_allocator_t veer_graph_allocator(const veer_graph_t *g);
/* What the graph may come to; NULL: the defaults, as at first. Nodes, and bytes of a tensor, are checked wherever one
 * is added; the others by who reads files into the graph. */
void veer_graph_set_limits(veer_graph_t *g, const veer_limits_t *limits);
const veer_limits_t *veer_graph_limits(const veer_graph_t *g);
/* True once an allocation of the graph has failed: edits that return nothing may then be incomplete. The builder's
 * status and the pass manager report it. */
bool veer_graph_out_of_memory(const veer_graph_t *g);
/* Ties something's life to the graph's (a mapped model file whose bytes constants point into). */
VEER_MUST_USE veer_status_t veer_graph_on_destroy(veer_graph_t *g, void (*release)(void *), void *object);

/* `name` is copied. VEER_ERR_CONFIG where it is taken. */
VEER_MUST_USE veer_status_t veer_graph_add_func(veer_graph_t *g, const char *name, veer_func_t *out_func);
void veer_graph_remove_func(veer_graph_t *g, veer_func_t func); /* with its nodes */
/* VEER_NO_FUNC where there is none. */
veer_func_t veer_graph_find_func(const veer_graph_t *g, const char *name);
/* Functions in order of creation: for (f = first; f.i; f = next). */
veer_func_t veer_graph_first_func(const veer_graph_t *g);
veer_func_t veer_graph_next_func(const veer_graph_t *g, veer_func_t func);
const char *veer_func_name(const veer_graph_t *g, veer_func_t func);
veer_region_t veer_func_body(const veer_graph_t *g, veer_func_t func);
/* Name of result `i` (an ONNX output name), "" where it was never set. */
const char *veer_func_result_name(const veer_graph_t *g, veer_func_t func, int i);
VEER_MUST_USE veer_status_t veer_func_set_result_name(veer_graph_t *g, veer_func_t func, int i, const char *name);

/* One more than the largest id in use: sizes of side arrays. */
uint32_t veer_graph_value_limit(const veer_graph_t *g);
uint32_t veer_graph_node_limit(const veer_graph_t *g);
uint32_t veer_graph_region_limit(const veer_graph_t *g);

/* ---- regions ---- */
/* A region ends with a terminator, VEER_OP_RETURN (function) or VEER_OP_YIELD (loop, fused), once it is complete. */
int veer_region_arg_count(const veer_graph_t *g, veer_region_t region);
veer_value_t veer_region_arg(const veer_graph_t *g, veer_region_t region, int i);
VEER_MUST_USE veer_status_t veer_region_add_arg(veer_graph_t *g, veer_region_t region, veer_type_t type,
                                                const char *name, veer_value_t *out_value);
/* The argument must have no uses. Later ones move down by one. */
void veer_region_remove_arg(veer_graph_t *g, veer_region_t region, int i);
veer_node_t veer_region_first(const veer_graph_t *g, veer_region_t region);
veer_node_t veer_region_last(const veer_graph_t *g, veer_region_t region);
/* The terminator, or VEER_NO_NODE while the region is not complete. */
veer_node_t veer_region_terminator(const veer_graph_t *g, veer_region_t region);
/* What the region gives: the terminator's operands. */
int veer_region_result_count(const veer_graph_t *g, veer_region_t region);
veer_value_t veer_region_result(const veer_graph_t *g, veer_region_t region, int i);
/* The node that owns the region; VEER_NO_NODE for a function's body. */
veer_node_t veer_region_parent(const veer_graph_t *g, veer_region_t region);

/* ---- nodes ---- */
veer_op_t veer_node_op(const veer_graph_t *g, veer_node_t node);     /* VEER_OP_NONE once removed */
veer_node_t veer_node_next(const veer_graph_t *g, veer_node_t node); /* VEER_NO_NODE at the end */
veer_node_t veer_node_prev(const veer_graph_t *g, veer_node_t node);
veer_region_t veer_node_region(const veer_graph_t *g, veer_node_t node); /* the region it stands in */
int veer_node_in_count(const veer_graph_t *g, veer_node_t node);
/* VEER_NO_VALUE for an optional operand that is absent. */
veer_value_t veer_node_in(const veer_graph_t *g, veer_node_t node, int i);
int veer_node_out_count(const veer_graph_t *g, veer_node_t node);
veer_value_t veer_node_out(const veer_graph_t *g, veer_node_t node, int i);
/* The nested region of a loop or fused node; VEER_NO_REGION for others. */
veer_region_t veer_node_body(const veer_graph_t *g, veer_node_t node);
/* True where a stands before b in the same region. O(1) amortised. */
bool veer_node_before(veer_graph_t *g, veer_node_t a, veer_node_t b);

/* Attributes by name; the node's op must declare them (asserted). A default fills in what was not given. */
int64_t veer_node_int(const veer_graph_t *g, veer_node_t node, const char *name);
double veer_node_float(const veer_graph_t *g, veer_node_t node, const char *name);
const char *veer_node_string(const veer_graph_t *g, veer_node_t node, const char *name);
/* Borrowed; *out_count entries. */
const int64_t *veer_node_ints(const veer_graph_t *g, veer_node_t node, const char *name, int *out_count);
const double *veer_node_floats(const veer_graph_t *g, veer_node_t node, const char *name, int *out_count);
/* Attribute `i` in the order of the op's definition. */
const veer_attr_t *veer_node_attr(const veer_graph_t *g, veer_node_t node, int i);

/* Names of the ONNX nodes that this node came from. Borrowed, strings owned by the graph. */
int veer_node_origin_count(const veer_graph_t *g, veer_node_t node);
const char *veer_node_origin(const veer_graph_t *g, veer_node_t node, int i);
/* Adds the origins of `from` (or one name) to `to`; a name is kept once. */
VEER_MUST_USE veer_status_t veer_node_add_origins(veer_graph_t *g, veer_node_t to, veer_node_t from);
VEER_MUST_USE veer_status_t veer_node_add_origin(veer_graph_t *g, veer_node_t to, const char *name);

/* 0, or 1 or 2: nodes of strand 1, one after the other, and those of strand 2, right behind them, need nothing of each
 * other and may run at the same time. A matter of schedule, which pass strands decides on last of all:
 * the manager takes them away before any pass. */
int veer_node_strand(const veer_graph_t *g, veer_node_t node);
void veer_node_set_strand(veer_graph_t *g, veer_node_t node, int strand);
/* None for all nodes of a region, and of those inside. */
void veer_region_clear_strands(veer_graph_t *g, veer_region_t region);

/* The types a node's results must have, by its op's rule and, for nodes with a region or a callee, what that yields.
 * `out_types` has room for *out_count types on entry, at least veer_node_result_limit. */
VEER_MUST_USE veer_status_t veer_node_infer(const veer_graph_t *g, veer_node_t node, veer_type_t *out_types,
                                            int *out_count);

/* No node of its op, callee and body has more results than this. */
int veer_node_result_limit(const veer_graph_t *g, veer_node_t node);

/* ---- values ---- */
const veer_type_t *veer_value_type(const veer_graph_t *g, veer_value_t value); /* valid until a value is added */
/* The node that defines it; VEER_NO_NODE for a region's argument. */
veer_node_t veer_value_def(const veer_graph_t *g, veer_value_t value);
int veer_value_def_index(const veer_graph_t *g, veer_value_t value);        /* which result or argument it is */
veer_region_t veer_value_region(const veer_graph_t *g, veer_value_t value); /* where it is defined */
const char *veer_value_name(const veer_graph_t *g, veer_value_t value);     /* "" where it has none */
VEER_MUST_USE veer_status_t veer_value_set_name(veer_graph_t *g, veer_value_t value, const char *name);
/* Uses include terminators. A node that takes a value twice is two uses. */
int veer_value_use_count(const veer_graph_t *g, veer_value_t value);
veer_node_t veer_value_use(const veer_graph_t *g, veer_value_t value, int i, int *out_operand);
/* Constants: the bytes of a const node, or NULL where the value is none. Borrowed, row-major. */
const void *veer_value_const_data(const veer_graph_t *g, veer_value_t value);

/* ---- edits ---- */
void veer_node_set_in(veer_graph_t *g, veer_node_t node, int i, veer_value_t value);
/* Every use of `from` becomes one of `to`. Types must be equal (asserted). */
void veer_value_replace(veer_graph_t *g, veer_value_t from, veer_value_t to);
/* The node's results must have no uses (asserted). Nested regions go with it. */
void veer_node_remove(veer_graph_t *g, veer_node_t node);
/* Moves a node to stand just before `before` (which may be in another region). */
void veer_node_move_before(veer_graph_t *g, veer_node_t node, veer_node_t before);

/* Walks a region's nodes in order; removing or replacing the current node is safe. Nested regions are not entered. */
#define VEER_FOR_EACH_NODE(g, region, node)                                                                            \
    for (veer_node_t node = veer_region_first(g, region), node##_next = node.i ? veer_node_next(g, node) : node;       \
         node.i; node = node##_next, node##_next = node.i ? veer_node_next(g, node) : node)

#endif
