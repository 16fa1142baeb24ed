#include "frontend/onnx_scope.h"

#include <stdio.h>
#include <string.h>

/* ---- names ---- */

static size_t hash(const char *name) { /* FNV-1a */
    uint64_t h = 14695981039346656037u;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

static veer_onnx_symbol_t *slot(veer_onnx_symbol_t *symbols, size_t capacity, const char *name) {
    size_t i = hash(name) & (capacity - 1);
    while (symbols[i].name && strcmp(symbols[i].name, name)) i = (i + 1) & (capacity - 1);
    return &symbols[i];
}

static bool grow(veer_onnx_scope_t *scope) {
    size_t capacity = scope->capacity ? scope->capacity * 2 : 64;
    veer_onnx_symbol_t *symbols = veer_arena_array(scope->arena, capacity, sizeof *symbols);
    if (!symbols) return false;
    for (size_t i = 0; i < scope->capacity; i++)
        if (scope->symbols[i].name) *slot(symbols, capacity, scope->symbols[i].name) = scope->symbols[i];
    scope->symbols = symbols;
    scope->capacity = capacity;
    return true;
}

veer_onnx_symbol_t *veer_onnx_scope_add(veer_onnx_scope_t *scope, const char *name, bool *out_new) {
    if (2 * scope->count >= scope->capacity && !grow(scope)) return NULL;
    veer_onnx_symbol_t *symbol = slot(scope->symbols, scope->capacity, name);
    *out_new = !symbol->name;
    if (*out_new) {
        scope->count++;
        symbol->name = name; /* the first one's: whoever asks again may change theirs */
    }
    return symbol;
}

static veer_onnx_symbol_t *find_here(veer_onnx_scope_t *scope, const char *name) {
    veer_onnx_symbol_t *symbol = scope->capacity ? slot(scope->symbols, scope->capacity, name) : NULL;
    return symbol && symbol->name ? symbol : NULL;
}

veer_onnx_symbol_t *veer_onnx_scope_find(veer_onnx_scope_t *scope, const char *name) {
    veer_onnx_symbol_t *symbol = NULL;
    for (; scope && !symbol; scope = scope->outer) symbol = find_here(scope, name);
    return symbol;
}

int veer_onnx_scope_opset(const veer_onnx_scope_t *scope, const char *domain) {
    if (!strcmp(domain, "ai.onnx")) domain = "";
    for (size_t i = 0; i < scope->opset_count; i++) {
        const char *own = scope->opsets[i]->domain ? scope->opsets[i]->domain : "";
        if (!strcmp(own, "ai.onnx")) own = "";
        int64_t version = scope->opsets[i]->version;
        if (!strcmp(own, domain)) return version > 0 && version < 1 << 20 ? (int)version : 0;
    }
    return 0;
}

const char *veer_onnx_scope_node_name(const veer_onnx_scope_t *scope, const VeerOnnx__NodeProto *node) {
    const char *name = node->name && *node->name ? node->name : NULL;
    const char *type = node->op_type ? node->op_type : "", *output = node->n_output ? node->output[0] : "";
    const char *outer = scope->caller ? scope->caller->name : NULL;
    const char *parts[] = {outer ? outer : "", outer ? "/" : "", name ? name : type, name ? "" : "_",
                           name ? "" : output};
    size_t length = 0;
    for (int i = 0; i < 5; i++) length += strlen(parts[i]);
    char *text = veer_arena_alloc(scope->arena, length + 1);
    if (text) snprintf(text, length + 1, "%s%s%s%s%s", parts[0], parts[1], parts[2], parts[3], parts[4]);
    return text;
}

/* ---- nodes ---- */

veer_status_t veer_onnx_scope_add_nodes(veer_onnx_scope_t *scope) {
    veer_status_t status = NULL;
    for (size_t i = 0; i < scope->node_count; i++)
        for (size_t k = 0; k < scope->nodes[i]->n_output; k++) {
            const char *name = scope->nodes[i]->output[k];
            bool is_new = true;
            veer_onnx_symbol_t *symbol = *name ? veer_onnx_scope_add(scope, name, &is_new) : NULL;
            if (*name && !symbol) return veer_status_free(status), veer_out_of_memory();
            if (symbol && !is_new && veer_status_count(status) < 20)
                status = veer_status_join(status, veer_error(VEER_ERR_FILE, "'%s' is defined twice", name));
            if (symbol && is_new) {
                symbol->kind = VEER_ONNX_SYMBOL_OUTPUT;
                symbol->node = i;
            }
        }
    return status;
}

/* ---- order: depth first, with a stack of its own ---- */

typedef struct {
    size_t *uses; /* indices of the nodes that it uses */
    size_t count, next;
    enum { NEW, OPEN, DONE } state;
} visit_t;

/* Counts (uses NULL) or lists the nodes of `scope` that a node refers to, also from within its nested graphs. */
static void collect(veer_onnx_scope_t *scope, const VeerOnnx__NodeProto *node, visit_t *visit) {
    for (size_t i = 0; i < node->n_input; i++) {
        const veer_onnx_symbol_t *symbol = *node->input[i] ? find_here(scope, node->input[i]) : NULL;
        if (!symbol || symbol->kind != VEER_ONNX_SYMBOL_OUTPUT) continue;
        if (visit->uses) visit->uses[visit->count] = symbol->node;
        visit->count++;
    }
    for (size_t i = 0; i < node->n_attribute; i++)
        for (size_t k = 0; node->attribute[i]->g && k < node->attribute[i]->g->n_node; k++)
            collect(scope, node->attribute[i]->g->node[k], visit);
}

static veer_status_t list_uses(veer_onnx_scope_t *scope, visit_t *visits) {
    for (size_t i = 0; i < scope->node_count; i++) {
        collect(scope, scope->nodes[i], &visits[i]);
        visits[i].uses = veer_arena_array(scope->arena, visits[i].count, sizeof(size_t));
        if (!visits[i].uses) return veer_out_of_memory();
        visits[i].count = 0;
        collect(scope, scope->nodes[i], &visits[i]);
    }
    return veer_ok();
}

static veer_status_t cycle(veer_onnx_scope_t *scope, const size_t *stack, size_t depth, size_t back_to) {
    const char *name = veer_onnx_scope_node_name(scope, scope->nodes[back_to]);
    size_t length = 1;
    while (stack[depth - length] != back_to) length++;
    veer_status_t status =
        veer_error(VEER_ERR_FILE, "the graph has a cycle of %zu nodes through node '%s'", length, name ? name : "");
    for (size_t i = 1; i <= length && i <= 8; i++) {
        name = veer_onnx_scope_node_name(scope, scope->nodes[stack[depth - i]]);
        status = veer_status_note(status, "node '%s' is part of it", name ? name : "");
    }
    return status;
}

static veer_status_t visit_from(veer_onnx_scope_t *scope, visit_t *visits, size_t *stack, size_t root, size_t *order,
                                size_t *done) {
    size_t depth = 0;
    stack[depth++] = root;
    visits[root].state = OPEN;
    while (depth) {
        visit_t *top = &visits[stack[depth - 1]];
        if (top->next == top->count) {
            top->state = DONE;
            order[(*done)++] = stack[--depth];
            continue;
        }
        size_t used = top->uses[top->next++];
        if (visits[used].state == OPEN) return cycle(scope, stack, depth, used);
        if (visits[used].state == DONE) continue;
        visits[used].state = OPEN;
        stack[depth++] = used;
    }
    return veer_ok();
}

veer_status_t veer_onnx_scope_order(veer_onnx_scope_t *scope, size_t **out_order) {
    size_t count = scope->node_count, done = 0;
    visit_t *visits = veer_arena_array(scope->arena, count, sizeof *visits);
    size_t *stack = veer_arena_array(scope->arena, count, sizeof *stack);
    size_t *order = veer_arena_array(scope->arena, count, sizeof *order);
    if (!visits || !stack || !order) return veer_out_of_memory();
    VEER_TRY(list_uses(scope, visits));
    for (size_t i = 0; i < count; i++)
        if (visits[i].state == NEW) VEER_TRY(visit_from(scope, visits, stack, i, order, &done));
    *out_order = order;
    return veer_ok();
}
