#include "ir/graph_internal.h"

#include <assert.h>
#include <string.h>

/* Ids are 32 bits; this leaves room and stops hostile files early. */
enum { MAX_IDS = 1 << 28 };

static veer_status_t grow(veer_graph_t *g, void **array, uint32_t count, uint32_t *capacity, size_t size_bytes) {
    if (count < *capacity) return veer_ok();
    if (count >= MAX_IDS)
        return veer_error(VEER_ERR_UNSUPPORTED, "the graph has more than %d values or nodes", MAX_IDS);
    uint32_t want = *capacity ? *capacity * 2 : 64;
    void *bigger = veer_alloc_array(g->allocator, want, size_bytes);
    if (!bigger) return veer_out_of_memory();
    if (count) memcpy(bigger, *array, (size_t)count * size_bytes);
    veer_free(g->allocator, *array);
    *array = bigger;
    *capacity = want;
    return veer_ok();
}

/* Grows an array in the arena (the old copy stays behind until the arena goes). */
static void *grow_in_arena(veer_graph_t *g, const void *array, int count, int *capacity, size_t size_bytes) {
    int want = *capacity ? *capacity * 2 : 4;
    void *bigger = veer_arena_array(&g->arena, (size_t)want, size_bytes);
    if (!bigger) return NULL;
    if (count) memcpy(bigger, array, (size_t)count * size_bytes);
    *capacity = want;
    return bigger;
}

/* ---- graph and functions ---- */

veer_status_t veer_graph_create(veer_allocator_t allocator, veer_graph_t **out_graph) {
    veer_graph_t *g = veer_alloc(allocator, sizeof *g);
    if (!g) return veer_out_of_memory();
    g->allocator = allocator;
    veer_arena_init(&g->arena, allocator);
    veer_status_t status = grow(g, (void **)&g->values, 0, &g->value_capacity, sizeof *g->values);
    if (!status) status = grow(g, (void **)&g->nodes, 0, &g->node_capacity, sizeof *g->nodes);
    if (!status) status = grow(g, (void **)&g->regions, 0, &g->region_capacity, sizeof *g->regions);
    if (!status) status = grow(g, (void **)&g->funcs, 0, &g->func_capacity, sizeof *g->funcs);
    if (status) {
        veer_graph_destroy(g);
        return status;
    }
    g->value_count = g->node_count = g->region_count = g->func_count = 1;
    *out_graph = g;
    return veer_ok();
}

void veer_graph_destroy(veer_graph_t *g) {
    if (!g) return;
    for (veer_release_t *r = g->releases; r; r = r->next) r->release(r->object);
    veer_arena_deinit(&g->arena);
    veer_free(g->allocator, g->values);
    veer_free(g->allocator, g->nodes);
    veer_free(g->allocator, g->regions);
    veer_free(g->allocator, g->funcs);
    veer_free(g->allocator, g);
}

veer_arena_t *veer_graph_arena(veer_graph_t *g) {
    return &g->arena;
}
veer_allocator_t veer_graph_allocator(const veer_graph_t *g) {
    return g->allocator;
}
uint32_t veer_graph_value_limit(const veer_graph_t *g) {
    return g->value_count;
}
uint32_t veer_graph_node_limit(const veer_graph_t *g) {
    return g->node_count;
}
uint32_t veer_graph_region_limit(const veer_graph_t *g) {
    return g->region_count;
}

void veer_graph_set_limits(veer_graph_t *g, const veer_limits_t *limits) {
    g->limits = limits ? *limits : (veer_limits_t){0};
}
const veer_limits_t *veer_graph_limits(const veer_graph_t *g) {
    return &g->limits;
}

bool veer_graph_out_of_memory(const veer_graph_t *g) {
    return g->arena.failed;
}

veer_status_t veer_graph_on_destroy(veer_graph_t *g, void (*release)(void *), void *object) {
    veer_release_t *r = veer_arena_alloc(&g->arena, sizeof *r);
    if (!r) return veer_out_of_memory();
    *r = (veer_release_t){g->releases, release, object};
    g->releases = r;
    return veer_ok();
}

veer_status_t veer_graph_add_func(veer_graph_t *g, const char *name, veer_func_t *out_func) {
    if (veer_graph_find_func(g, name).i) return veer_error(VEER_ERR_CONFIG, "two functions are called '%s'", name);
    VEER_TRY(grow(g, (void **)&g->funcs, g->func_count, &g->func_capacity, sizeof *g->funcs));
    veer_func_rec_t rec = {.name = veer_arena_strdup(&g->arena, name)};
    if (!rec.name) return veer_out_of_memory();
    VEER_TRY(veer_graph_new_region(g, VEER_NO_NODE, &rec.body));
    g->funcs[g->func_count] = rec;
    *out_func = (veer_func_t){g->func_count++};
    return veer_ok();
}

static void remove_all_nodes(veer_graph_t *g, veer_region_t region) {
    for (veer_node_t n = veer_region_last(g, region); n.i; n = veer_region_last(g, region)) veer_node_remove(g, n);
}

void veer_graph_remove_func(veer_graph_t *g, veer_func_t func) {
    remove_all_nodes(g, g->funcs[func.i].body);
    g->funcs[func.i].name = NULL;
}

veer_func_t veer_graph_find_func(const veer_graph_t *g, const char *name) {
    for (uint32_t i = 1; i < g->func_count; i++)
        if (g->funcs[i].name && !strcmp(g->funcs[i].name, name)) return (veer_func_t){i};
    return VEER_NO_FUNC;
}

veer_func_t veer_graph_next_func(const veer_graph_t *g, veer_func_t func) {
    for (uint32_t i = func.i + 1; i < g->func_count; i++)
        if (g->funcs[i].name) return (veer_func_t){i};
    return VEER_NO_FUNC;
}

veer_func_t veer_graph_first_func(const veer_graph_t *g) {
    return veer_graph_next_func(g, VEER_NO_FUNC);
}
const char *veer_func_name(const veer_graph_t *g, veer_func_t func) {
    return g->funcs[func.i].name;
}
veer_region_t veer_func_body(const veer_graph_t *g, veer_func_t func) {
    return g->funcs[func.i].body;
}

const char *veer_func_result_name(const veer_graph_t *g, veer_func_t func, int i) {
    const veer_func_rec_t *f = &g->funcs[func.i];
    return i < f->result_name_count && f->result_names[i] ? f->result_names[i] : "";
}

veer_status_t veer_func_set_result_name(veer_graph_t *g, veer_func_t func, int i, const char *name) {
    veer_func_rec_t *f = &g->funcs[func.i];
    if (i >= f->result_name_count) {
        const char **bigger = veer_arena_array(&g->arena, (size_t)i + 1, sizeof *bigger);
        if (!bigger) return veer_out_of_memory();
        if (f->result_name_count) memcpy(bigger, f->result_names, (size_t)f->result_name_count * sizeof *bigger);
        f->result_names = bigger;
        f->result_name_count = i + 1;
    }
    f->result_names[i] = veer_arena_strdup(&g->arena, name);
    return f->result_names[i] ? veer_ok() : veer_out_of_memory();
}

/* ---- regions ---- */

veer_status_t veer_graph_new_region(veer_graph_t *g, veer_node_t parent, veer_region_t *out_region) {
    VEER_TRY(grow(g, (void **)&g->regions, g->region_count, &g->region_capacity, sizeof *g->regions));
    g->regions[g->region_count] = (veer_region_rec_t){.parent = parent, .order_valid = true};
    *out_region = (veer_region_t){g->region_count++};
    return veer_ok();
}

int veer_region_arg_count(const veer_graph_t *g, veer_region_t region) {
    return g->regions[region.i].arg_count;
}
veer_value_t veer_region_arg(const veer_graph_t *g, veer_region_t region, int i) {
    return g->regions[region.i].args[i];
}
veer_node_t veer_region_first(const veer_graph_t *g, veer_region_t region) {
    return g->regions[region.i].first;
}
veer_node_t veer_region_last(const veer_graph_t *g, veer_region_t region) {
    return g->regions[region.i].last;
}
veer_node_t veer_region_parent(const veer_graph_t *g, veer_region_t region) {
    return g->regions[region.i].parent;
}

veer_status_t veer_region_add_arg(veer_graph_t *g, veer_region_t region, veer_type_t type, const char *name,
                                  veer_value_t *out_value) {
    VEER_TRY(veer_type_check(&type));
    veer_value_t value;
    VEER_TRY(veer_graph_new_value(g, type, region, VEER_NO_NODE, g->regions[region.i].arg_count, &value));
    veer_region_rec_t *r = &g->regions[region.i];
    if (r->arg_count == r->arg_capacity) {
        veer_value_t *bigger = grow_in_arena(g, r->args, r->arg_count, &r->arg_capacity, sizeof *bigger);
        if (!bigger) return veer_out_of_memory();
        r->args = bigger;
    }
    r->args[r->arg_count++] = value;
    if (name && *name) VEER_TRY(veer_value_set_name(g, value, name));
    *out_value = value;
    return veer_ok();
}

void veer_region_remove_arg(veer_graph_t *g, veer_region_t region, int i) {
    veer_region_rec_t *r = &g->regions[region.i];
    assert(g->values[r->args[i].i].use_count == 0);
    g->values[r->args[i].i].region = VEER_NO_REGION;
    for (int k = i + 1; k < r->arg_count; k++) {
        r->args[k - 1] = r->args[k];
        g->values[r->args[k].i].def_index = k - 1;
    }
    r->arg_count--;
}

veer_node_t veer_region_terminator(const veer_graph_t *g, veer_region_t region) {
    veer_node_t last = g->regions[region.i].last;
    return last.i && veer_op_has(g->nodes[last.i].op, VEER_TERMINATOR) ? last : VEER_NO_NODE;
}

int veer_region_result_count(const veer_graph_t *g, veer_region_t region) {
    veer_node_t end = veer_region_terminator(g, region);
    return end.i ? g->nodes[end.i].in_count : 0;
}

veer_value_t veer_region_result(const veer_graph_t *g, veer_region_t region, int i) {
    return g->nodes[veer_region_terminator(g, region).i].in[i];
}

/* ---- nodes ---- */

veer_op_t veer_node_op(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].op;
}
veer_node_t veer_node_next(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].next;
}
veer_node_t veer_node_prev(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].prev;
}
veer_region_t veer_node_region(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].region;
}
int veer_node_in_count(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].in_count;
}
veer_value_t veer_node_in(const veer_graph_t *g, veer_node_t node, int i) {
    return i < g->nodes[node.i].in_count ? g->nodes[node.i].in[i] : VEER_NO_VALUE;
}
int veer_node_out_count(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].out_count;
}
veer_value_t veer_node_out(const veer_graph_t *g, veer_node_t node, int i) {
    return g->nodes[node.i].out[i];
}
veer_region_t veer_node_body(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].body;
}

/* Orders have gaps, so that most insertions find a number between their neighbours' and renumbering stays rare. */
#define ORDER_GAP ((int64_t)1 << 24)

static void renumber(veer_graph_t *g, veer_region_t region) {
    int64_t order = 0;
    for (veer_node_t n = g->regions[region.i].first; n.i; n = g->nodes[n.i].next)
        g->nodes[n.i].order = order += ORDER_GAP;
    g->regions[region.i].order_valid = true;
}

bool veer_node_before(veer_graph_t *g, veer_node_t a, veer_node_t b) {
    veer_region_t region = g->nodes[a.i].region;
    assert(region.i == g->nodes[b.i].region.i);
    if (!g->regions[region.i].order_valid) renumber(g, region);
    return g->nodes[a.i].order < g->nodes[b.i].order;
}

static const veer_attr_t *find_attr(const veer_graph_t *g, veer_node_t node, const char *name, veer_attr_kind_t kind) {
    int i = veer_op_attr_index(g->nodes[node.i].op, name);
    assert(i >= 0 && g->nodes[node.i].attrs[i].kind == kind);
    (void)kind;
    return &g->nodes[node.i].attrs[i];
}

int64_t veer_node_int(const veer_graph_t *g, veer_node_t node, const char *name) {
    return find_attr(g, node, name, VEER_ATTR_INT)->as.i;
}
double veer_node_float(const veer_graph_t *g, veer_node_t node, const char *name) {
    return find_attr(g, node, name, VEER_ATTR_FLOAT)->as.f;
}
const char *veer_node_string(const veer_graph_t *g, veer_node_t node, const char *name) {
    return find_attr(g, node, name, VEER_ATTR_STRING)->as.s;
}
const int64_t *veer_node_ints(const veer_graph_t *g, veer_node_t node, const char *name, int *out_count) {
    const veer_attr_t *a = find_attr(g, node, name, VEER_ATTR_INTS);
    if (out_count) *out_count = a->as.ints.n;
    return a->as.ints.v;
}
const double *veer_node_floats(const veer_graph_t *g, veer_node_t node, const char *name, int *out_count) {
    const veer_attr_t *a = find_attr(g, node, name, VEER_ATTR_FLOATS);
    if (out_count) *out_count = a->as.floats.n;
    return a->as.floats.v;
}
const veer_attr_t *veer_node_attr(const veer_graph_t *g, veer_node_t node, int i) {
    return &g->nodes[node.i].attrs[i];
}

int veer_node_origin_count(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].origin_count;
}
const char *veer_node_origin(const veer_graph_t *g, veer_node_t node, int i) {
    return g->nodes[node.i].origins[i];
}

int veer_node_strand(const veer_graph_t *g, veer_node_t node) {
    return g->nodes[node.i].strand;
}
void veer_node_set_strand(veer_graph_t *g, veer_node_t node, int strand) {
    g->nodes[node.i].strand = (unsigned char)strand;
}

void veer_region_clear_strands(veer_graph_t *g, veer_region_t region) {
    VEER_FOR_EACH_NODE(g, region, n) {
        veer_node_set_strand(g, n, 0);
        if (veer_node_body(g, n).i) veer_region_clear_strands(g, veer_node_body(g, n));
    }
}

/* `name` already lives in the arena. */
static veer_status_t add_origin(veer_graph_t *g, veer_node_t to, const char *name) {
    veer_node_rec_t *n = &g->nodes[to.i];
    for (int i = 0; i < n->origin_count; i++)
        if (n->origins[i] == name || !strcmp(n->origins[i], name)) return veer_ok();
    if (n->origin_count == n->origin_capacity) {
        const char **bigger = grow_in_arena(g, n->origins, n->origin_count, &n->origin_capacity, sizeof *bigger);
        if (!bigger) return veer_out_of_memory();
        n->origins = bigger;
    }
    n->origins[n->origin_count++] = name;
    return veer_ok();
}

veer_status_t veer_node_add_origins(veer_graph_t *g, veer_node_t to, veer_node_t from) {
    for (int i = 0; i < g->nodes[from.i].origin_count; i++) VEER_TRY(add_origin(g, to, g->nodes[from.i].origins[i]));
    return veer_ok();
}

veer_status_t veer_node_add_origin(veer_graph_t *g, veer_node_t to, const char *name) {
    const char *copy = veer_arena_strdup(&g->arena, name);
    return copy ? add_origin(g, to, copy) : veer_out_of_memory();
}

/* ---- values ---- */

static veer_status_t check_bytes(const veer_graph_t *g, const veer_type_t *type) {
    char text[VEER_TYPE_TEXT_BYTES];
    veer_status_t status = veer_limit_check(&g->limits, VEER_LIMIT_MAX_TENSOR_BYTES, (int64_t)veer_type_bytes(type));
    return status ? veer_status_where(status, "tensor %s", veer_type_text(type, text)) : veer_ok();
}

veer_status_t veer_graph_new_value(veer_graph_t *g, veer_type_t type, veer_region_t region, veer_node_t def, int index,
                                   veer_value_t *out_value) {
    VEER_TRY(check_bytes(g, &type));
    VEER_TRY(grow(g, (void **)&g->values, g->value_count, &g->value_capacity, sizeof *g->values));
    g->values[g->value_count] =
        (veer_value_rec_t){.type = type, .def = def, .def_index = index, .region = region, .name = ""};
    *out_value = (veer_value_t){g->value_count++};
    return veer_ok();
}

const veer_type_t *veer_value_type(const veer_graph_t *g, veer_value_t value) {
    return &g->values[value.i].type;
}
veer_node_t veer_value_def(const veer_graph_t *g, veer_value_t value) {
    return g->values[value.i].def;
}
int veer_value_def_index(const veer_graph_t *g, veer_value_t value) {
    return g->values[value.i].def_index;
}
veer_region_t veer_value_region(const veer_graph_t *g, veer_value_t value) {
    const veer_value_rec_t *v = &g->values[value.i];
    return v->def.i ? g->nodes[v->def.i].region : v->region;
}
const char *veer_value_name(const veer_graph_t *g, veer_value_t value) {
    return g->values[value.i].name;
}

veer_status_t veer_value_set_name(veer_graph_t *g, veer_value_t value, const char *name) {
    const char *copy = veer_arena_strdup(&g->arena, name);
    if (!copy) return veer_out_of_memory();
    g->values[value.i].name = copy;
    return veer_ok();
}

int veer_value_use_count(const veer_graph_t *g, veer_value_t value) {
    return g->values[value.i].use_count;
}

veer_node_t veer_value_use(const veer_graph_t *g, veer_value_t value, int i, int *out_operand) {
    const veer_use_t *use = &g->values[value.i].uses[i];
    if (out_operand) *out_operand = use->operand;
    return use->node;
}

const void *veer_value_const_data(const veer_graph_t *g, veer_value_t value) {
    veer_node_t def = g->values[value.i].def;
    if (!def.i || g->nodes[def.i].op != VEER_OP_CONST) return NULL;
    return find_attr(g, def, "value", VEER_ATTR_DATA)->as.data.bytes;
}

/* ---- edits ---- */

/* Room for `more` further uses; false leaves the arena out of memory for whoever asks next. */
static bool reserve_uses(veer_graph_t *g, veer_value_t value, int more) {
    veer_value_rec_t *v = &g->values[value.i];
    while (v->use_capacity - v->use_count < more) {
        veer_use_t *bigger = grow_in_arena(g, v->uses, v->use_count, &v->use_capacity, sizeof *bigger);
        if (!bigger) return false;
        v->uses = bigger;
    }
    return true;
}

static veer_status_t add_use(veer_graph_t *g, veer_value_t value, veer_node_t node, int operand) {
    if (!value.i) return veer_ok();
    if (!reserve_uses(g, value, 1)) return veer_out_of_memory();
    veer_value_rec_t *v = &g->values[value.i];
    v->uses[v->use_count++] = (veer_use_t){node, operand};
    return veer_ok();
}

static void drop_use(veer_graph_t *g, veer_value_t value, veer_node_t node, int operand) {
    if (!value.i) return;
    veer_value_rec_t *v = &g->values[value.i];
    for (int i = 0; i < v->use_count; i++) {
        if (v->uses[i].node.i != node.i || v->uses[i].operand != operand) continue;
        /* Order is kept: what passes see must not depend on the history of edits more than it has to. */
        memmove(v->uses + i, v->uses + i + 1, (size_t)(v->use_count - i - 1) * sizeof *v->uses);
        v->use_count--;
        return;
    }
    assert(!"a use is missing from its list");
}

static void link_node(veer_graph_t *g, veer_node_t node, veer_region_t region, veer_node_t before) {
    veer_node_rec_t *n = &g->nodes[node.i];
    veer_region_rec_t *r = &g->regions[region.i];
    n->region = region;
    n->next = before;
    n->prev = before.i ? g->nodes[before.i].prev : r->last;
    if (n->prev.i)
        g->nodes[n->prev.i].next = node;
    else
        r->first = node;
    if (before.i)
        g->nodes[before.i].prev = node;
    else
        r->last = node;
    int64_t low = n->prev.i ? g->nodes[n->prev.i].order : 0;
    n->order = before.i ? low + (g->nodes[before.i].order - low) / 2 : low + ORDER_GAP;
    if (n->order == low) r->order_valid = false;
}

static void unlink_node(veer_graph_t *g, veer_node_t node) {
    veer_node_rec_t *n = &g->nodes[node.i];
    veer_region_rec_t *r = &g->regions[n->region.i];
    if (n->prev.i)
        g->nodes[n->prev.i].next = n->next;
    else
        r->first = n->next;
    if (n->next.i)
        g->nodes[n->next.i].prev = n->prev;
    else
        r->last = n->prev;
    n->prev = n->next = VEER_NO_NODE;
}

veer_status_t veer_graph_new_node(veer_graph_t *g, veer_op_t op, veer_region_t region, veer_node_t before,
                                  const veer_value_t *in, int in_count, veer_attr_t *attrs, veer_node_t *out_node) {
    VEER_TRY(veer_limit_check(&g->limits, VEER_LIMIT_MAX_NODES, (int64_t)g->nodes_in_use + 1));
    VEER_TRY(grow(g, (void **)&g->nodes, g->node_count, &g->node_capacity, sizeof *g->nodes));
    veer_node_t node = {g->node_count};
    veer_node_rec_t rec = {.op = op, .in_count = in_count, .attrs = attrs};
    rec.in = veer_arena_copy(&g->arena, in, (size_t)in_count * sizeof *in);
    if (!rec.in) return veer_out_of_memory();
    for (int i = 0; i < in_count; i++) {
        veer_status_t status = add_use(g, in[i], node, i);
        if (!status) continue;
        while (i--) drop_use(g, in[i], node, i);
        return status;
    }
    g->nodes[g->node_count++] = rec;
    g->nodes_in_use++;
    link_node(g, node, region, before);
    *out_node = node;
    return veer_ok();
}

veer_status_t veer_graph_set_results(veer_graph_t *g, veer_node_t node, const veer_type_t *types, int count) {
    veer_value_t *out = veer_arena_array(&g->arena, (size_t)count + 1, sizeof *out);
    if (!out) return veer_out_of_memory();
    for (int i = 0; i < count; i++)
        VEER_TRY(veer_graph_new_value(g, types[i], g->nodes[node.i].region, node, i, &out[i]));
    g->nodes[node.i].out = out;
    g->nodes[node.i].out_count = count;
    return veer_ok();
}

void veer_node_set_in(veer_graph_t *g, veer_node_t node, int i, veer_value_t value) {
    veer_value_t old = g->nodes[node.i].in[i];
    if (old.i == value.i) return;
    drop_use(g, old, node, i);
    /* A use that was just dropped left room in some list, but not in this one: memory may run out here. The edit is
     * refused then by leaving the operand as it was, and the graph's arena is out of memory for whoever asks next. */
    veer_status_t status = add_use(g, value, node, i);
    if (status) {
        veer_status_ignore(status);
        veer_status_ignore(add_use(g, old, node, i));
        g->arena.failed = true;
        return;
    }
    g->nodes[node.i].in[i] = value;
}

void veer_value_replace(veer_graph_t *g, veer_value_t from, veer_value_t to) {
    assert(veer_type_equal(veer_value_type(g, from), veer_value_type(g, to)));
    if (from.i == to.i) return;
    /* In one go: a constant may have as many uses as the graph has nodes. */
    veer_value_rec_t *v = &g->values[from.i];
    if (!reserve_uses(g, to, v->use_count)) return;
    veer_value_rec_t *w = &g->values[to.i];
    for (int i = 0; i < v->use_count; i++) {
        g->nodes[v->uses[i].node.i].in[v->uses[i].operand] = to;
        w->uses[w->use_count++] = v->uses[i];
    }
    v->use_count = 0;
}

void veer_node_remove(veer_graph_t *g, veer_node_t node) {
    veer_node_rec_t *n = &g->nodes[node.i];
    if (n->body.i) remove_all_nodes(g, n->body);
    n = &g->nodes[node.i];
    for (int i = 0; i < n->out_count; i++) { assert(g->values[n->out[i].i].use_count == 0); }
    for (int i = 0; i < n->in_count; i++) drop_use(g, n->in[i], node, i);
    unlink_node(g, node);
    n->op = VEER_OP_NONE;
    n->in_count = 0;
    g->nodes_in_use--;
}

void veer_node_move_before(veer_graph_t *g, veer_node_t node, veer_node_t before) {
    if (node.i == before.i) return;
    unlink_node(g, node);
    link_node(g, node, g->nodes[before.i].region, before);
}
