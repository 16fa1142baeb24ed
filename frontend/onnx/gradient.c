/* Gradient of ai.onnx.preview.training: the derivative of tensor `y` by tensors `xs`, at the values that the node's
 * inputs give to xs and zs.
 *
 * What lies between xs, zs and y has been imported already: its nodes are copied into a function of xs, zs and whatever
 * else they read, and the node becomes a grad node of that function. */
#include "frontend/onnx/node.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CUTS = 64 };

typedef struct {
    veer_onnx_node_t *n;
    veer_graph_t *g;
    veer_value_t cuts[MAX_CUTS], y; /* xs, then zs */
    int x_count, cut_count;
    uint32_t limit;     /* of value ids */
    uint8_t *depends;   /* by value id: on one of the cuts */
    uint8_t *needed;    /* by value id: for y */
    veer_value_t *map;  /* by value id: in the function */
    veer_value_t *args; /* of the call */
    int arg_count;
} gradient_t;

/* Appends the values that a list of names stands for. */
static bool read_names(gradient_t *s, const char *attr_name) {
    const VeerOnnx__AttributeProto *attr = veer_onnx_attr(s->n, attr_name);
    for (size_t i = 0; attr && i < attr->n_strings; i++) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)attr->strings[i].len, (const char *)attr->strings[i].data);
        veer_value_t v = veer_onnx_value_named(s->n, name);
        if (!v.i || s->cut_count == MAX_CUTS) {
            veer_onnx_fail(s->n, VEER_ERR_UNSUPPORTED, "%s names '%s', which is not known before this node", attr_name,
                           name);
            return false;
        }
        s->cuts[s->cut_count++] = v;
    }
    return true;
}

static bool read(gradient_t *s) {
    veer_onnx_node_t *n = s->n;
    const char *y = veer_onnx_attr_string(n, "y", "");
    if (!read_names(s, "xs")) return false;
    s->x_count = s->cut_count;
    if (!read_names(s, "zs")) return false;
    s->y = veer_onnx_value_named(n, y);
    if (!s->y.i) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "y is '%s', which is not known before this node", y);
        return false;
    }
    bool fits = s->x_count > 0 && n->in_count == s->cut_count && n->out_count <= s->x_count;
    for (int i = 0; fits && i < n->in_count; i++) {
        veer_type_t given = veer_onnx_in_type(n, i), expected = veer_onnx_type(n, s->cuts[i]);
        fits = n->in[i].i && veer_type_equal(&given, &expected);
    }
    if (!fits)
        veer_onnx_fail(n, VEER_ERR_FILE, "%d inputs do not fit %d tensors in xs and zs", n->in_count, s->cut_count);
    return fits;
}

static bool prepare(gradient_t *s) {
    size_t most = 0;
    VEER_FOR_EACH_NODE(s->g, s->n->b->region, node) most += (size_t)veer_node_in_count(s->g, node);
    s->limit = veer_graph_value_limit(s->g);
    s->depends = veer_onnx_scratch(s->n, s->limit, 1);
    s->needed = veer_onnx_scratch(s->n, s->limit, 1);
    s->map = veer_onnx_scratch(s->n, s->limit, sizeof *s->map);
    s->args = veer_onnx_scratch(s->n, (int64_t)most + MAX_CUTS, sizeof *s->args);
    return s->depends && s->needed && s->map && s->args;
}

static bool any_out(const gradient_t *s, veer_node_t node, const uint8_t *flags) {
    bool any = false;
    for (int i = 0; i < veer_node_out_count(s->g, node); i++) any |= flags[veer_node_out(s->g, node, i).i];
    return any;
}

/* What depends on the cuts, then what of it y needs. A cut is where it ends, whatever it is made of. */
static void mark(gradient_t *s) {
    for (int i = 0; i < s->cut_count; i++) s->depends[s->cuts[i].i] = 1;
    VEER_FOR_EACH_NODE(s->g, s->n->b->region, node) {
        bool depends = false;
        for (int i = 0; i < veer_node_in_count(s->g, node); i++) depends |= s->depends[veer_node_in(s->g, node, i).i];
        for (int i = 0; depends && i < veer_node_out_count(s->g, node); i++)
            s->depends[veer_node_out(s->g, node, i).i] = 1;
    }
    s->needed[s->y.i] = 1;
    for (veer_node_t node = veer_region_last(s->g, s->n->b->region); node.i; node = veer_node_prev(s->g, node)) {
        if (!any_out(s, node, s->needed) || !any_out(s, node, s->depends)) continue;
        bool cut = false;
        for (int i = 0; i < s->cut_count; i++)
            cut |= veer_value_def(s->g, s->cuts[i]).i == node.i && veer_node_out_count(s->g, node) == 1;
        for (int i = 0; !cut && i < veer_node_in_count(s->g, node); i++) s->needed[veer_node_in(s->g, node, i).i] = 1;
    }
}

/* The function's argument for a value of the model, which the call gets as `given`. */
static void add_arg(gradient_t *s, veer_func_t func, veer_value_t v, veer_value_t given) {
    veer_status_t status =
        veer_region_add_arg(s->g, veer_func_body(s->g, func), *veer_value_type(s->g, v), "", &s->map[v.i]);
    if (status) veer_builder_fail(s->n->b, status);
    s->args[s->arg_count++] = given;
}

/* What a copied node reads and is not there yet: constants are copied, the rest comes from outside. */
static void add_operands(gradient_t *s, veer_func_t func, veer_builder_t *b, veer_node_t node) {
    for (int i = 0; i < veer_node_in_count(s->g, node) && veer_onnx_ok(s->n); i++) {
        veer_value_t v = veer_node_in(s->g, node, i);
        if (!v.i || s->map[v.i].i) continue;
        if (veer_value_const_data(s->g, v))
            veer_build_copy(b, veer_value_def(s->g, v), s->map);
        else
            add_arg(s, func, v, v);
    }
}

static void copy_nodes(gradient_t *s, veer_func_t func) {
    veer_builder_t b = veer_builder_at_end(s->g, veer_func_body(s->g, func));
    for (int i = 0; i < s->cut_count; i++) add_arg(s, func, s->cuts[i], s->n->in[i]);
    /* Nodes are added to another region while this one is walked: its own list stays as it is. */
    VEER_FOR_EACH_NODE(s->g, s->n->b->region, node) {
        if (!veer_onnx_ok(s->n) || !veer_builder_ok(&b)) break;
        bool there = s->map[veer_node_out(s->g, node, 0).i].i != 0;
        if (there || !any_out(s, node, s->needed) || !any_out(s, node, s->depends)) continue;
        add_operands(s, func, &b, node);
        if (veer_onnx_ok(s->n)) veer_build_copy(&b, node, s->map);
    }
    veer_value_t y = s->map[s->y.i];
    if (veer_onnx_ok(s->n) && veer_builder_ok(&b)) veer_builder_return(&b, &y, 1);
    veer_status_t status = veer_builder_status(&b);
    if (status) veer_builder_fail(s->n->b, status);
}

static void differentiate(gradient_t *s, veer_func_t func) {
    int64_t wrt[MAX_CUTS];
    veer_type_t type = veer_onnx_type(s->n, s->y);
    for (int i = 0; i < s->x_count; i++) wrt[i] = i;
    veer_value_t ones = veer_full(s->n->b, type, 1);
    veer_node_t grad = veer_builder_grad(s->n->b, func, s->args, s->arg_count, 0, ones, wrt, s->x_count);
    for (int i = 0; grad.i && i < s->n->out_count; i++) s->n->out[i] = veer_node_out(s->g, grad, 1 + i);
}

void veer_onnx_gradient_of(veer_onnx_node_t *n) {
    gradient_t s = {.n = n, .g = n->b->graph};
    veer_func_t func;
    char name[64];
    if (!read(&s) || !prepare(&s)) return;
    mark(&s);
    if (!s.depends[s.y.i]) {
        veer_onnx_fail(n, VEER_ERR_FILE, "y does not depend on xs");
        return;
    }
    snprintf(name, sizeof name, "gradient %zu", n->number);
    veer_status_t status = veer_graph_add_func(s.g, name, &func);
    if (status) {
        veer_builder_fail(n->b, status);
        return;
    }
    copy_nodes(&s, func);
    if (veer_onnx_ok(n)) differentiate(&s, func);
    if (!veer_onnx_ok(n)) veer_graph_remove_func(s.g, func);
}
