#include "api/op_support.h"

#include "backends/reference/reference.h"
#include "frontend/onnx_form.h"
#include "frontend/onnx_import.h"
#include "ir/builder.h"
#include "ir/gradient.h"
#include "ir/parse.h"
#include "passes/gradient.h"
#ifdef VEER_WITH_LLVM
#include "backends/llvm/llvm.h"
#endif
#ifdef VEER_WITH_ONEDNN
#include "backends/onednn/onednn.h"
#endif

#include <stdio.h>
#include <string.h>

enum { REASON_BYTES = 256 };

static const struct {
    veer_op_t op;
    const char *name, *args, *nodes;
} forms[] = {
#define VEER_FORM(ENUM, name, args, nodes) {VEER_OP_##ENUM, name, args, nodes},
#include "api/op_forms.def"
};

const char *veer_op_backend_name(veer_op_backend_t backend) {
    static const char *const names[] = {"reference", "onednn", "llvm"};
    return names[backend];
}

/* ---- asking ---- */

/* What the answers for one backend add up to. */
typedef struct tally_s {
    bool off;
    int yes, no;
    char *note; /* VEER_OP_NOTE_BYTES */
} tally_t;

typedef struct asker_s {
    veer_op_t op;
    veer_allocator_t allocator;
    tally_t tallies[VEER_OP_BACKEND_COUNT];
    int forms;
} asker_t;

static void put_note(tally_t *t, const char *form, const char *reason) {
    size_t at = strlen(t->note), length = strlen(reason);
    bool said = length && at >= length && !strcmp(t->note + at - length, reason);
    if (said) return; /* the form before had the same reason */
    snprintf(t->note + at, VEER_OP_NOTE_BYTES - at, "%s%s: %s", at ? "; " : "", form, reason);
}

static void count(tally_t *t, bool yes, const char *form, const char *reason) {
    t->yes += yes, t->no += !yes;
    if (!yes) put_note(t, form, reason);
}

static veer_status_t ask_llvm(tally_t *t, const veer_graph_t *g, veer_node_t node, const char *form) {
#ifdef VEER_WITH_LLVM
    char reason[REASON_BYTES] = "";
    veer_op_t op = veer_node_op(g, node);
    bool yes;
    if (op == VEER_OP_MATMUL)
        yes = veer_llvm_matmul_supports(g, node, reason, sizeof reason);
    else if (op == VEER_OP_ATTENTION || op == VEER_OP_ATTENTION_GRAD)
        yes = veer_llvm_attention_supports(g, node, reason, sizeof reason);
    else if (op == VEER_OP_CONV || op == VEER_OP_CONV_TRANSPOSE)
        yes = veer_llvm_conv_supports(g, node, reason, sizeof reason);
    else
        VEER_TRY(veer_llvm_supports(g, node, &yes, reason, sizeof reason));
    count(t, yes, form, reason);
#else
    (void)g, (void)node, (void)form;
    t->off = true;
#endif
    return veer_ok();
}

static void ask_onednn(tally_t *t, const veer_graph_t *g, veer_node_t node, const char *form) {
#ifdef VEER_WITH_ONEDNN
    char reason[REASON_BYTES] = "";
    count(t, veer_onednn_supports(g, node, reason, sizeof reason), form, reason);
#else
    (void)g, (void)node, (void)form;
    t->off = true;
#endif
}

static veer_status_t ask(asker_t *a, const veer_graph_t *g, veer_node_t node, const char *form) {
    a->forms++;
    count(&a->tallies[VEER_OP_REFERENCE], veer_reference_supports(a->op), form, "no kernel");
    ask_onednn(&a->tallies[VEER_OP_ONEDNN], g, node, form);
    return ask_llvm(&a->tallies[VEER_OP_LLVM], g, node, form);
}

/* ---- nodes to ask about ---- */

static veer_status_t parse_and_ask(asker_t *a, veer_graph_t *g, size_t form) {
    char text[1024];
    int length = snprintf(text, sizeof text, "graph @f(%s) {\n%s\nreturn %%y }\n", forms[form].args, forms[form].nodes);
    VEER_TRY(veer_parse(g, text, (size_t)length, "api/op_forms.def"));
    veer_region_t body = veer_func_body(g, veer_graph_first_func(g));
    return ask(a, g, veer_value_def(g, veer_region_result(g, body, 0)), forms[form].name);
}

static veer_status_t ask_forms(asker_t *a) {
    veer_status_t status = veer_ok();
    for (size_t i = 0; i < sizeof forms / sizeof *forms && !status; i++) {
        veer_graph_t *g;
        if (forms[i].op != a->op) continue;
        VEER_TRY(veer_graph_create(a->allocator, &g));
        status = veer_status_where(parse_and_ask(a, g, i), "op '%s'", veer_op_name(a->op));
        veer_graph_destroy(g);
    }
    return status;
}

/* An elementwise node whose operands have `dtype` where they may; false where the op does not take it. */
static bool elementwise(veer_graph_t *g, veer_func_t func, veer_op_t op, veer_dtype_t dtype, veer_node_t *out) {
    const veer_op_def_t *def = veer_op_def(op);
    veer_value_t in[VEER_OP_MAX_OPERANDS];
    int count = 0;
    for (; count < VEER_OP_MAX_OPERANDS && def->in[count].name; count++) {
        /* where's condition: a boolean before what it chooses from */
        bool condition =
            def->in[count].kind == VEER_BOOLEAN && count == 0 && def->in[1].name && def->in[1].kind != VEER_BOOLEAN;
        veer_type_t type = VEER_TYPE(condition ? VEER_DTYPE_BOOL : dtype, 4, 16);
        veer_status_t status = veer_region_add_arg(g, veer_func_body(g, func), type, "", &in[count]);
        if (status) return veer_status_free(status), false;
    }
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    veer_named_attr_t cast[] = {VEER_INT("to", VEER_DTYPE_F32), {0}}, fmod[] = {VEER_INT("fmod", 1), {0}};
    *out = veer_build_node(&b, op, in, count,
                           op == VEER_OP_CAST                                ? cast
                           : op == VEER_OP_MOD && veer_dtype_is_float(dtype) ? fmod
                                                                             : NULL);
    veer_status_t status = veer_builder_status(&b);
    veer_status_free(status);
    return !status;
}

static veer_status_t ask_elementwise(asker_t *a) {
    static const veer_dtype_t dtypes[] = {VEER_DTYPE_F32, VEER_DTYPE_F64, VEER_DTYPE_F16,
                                          VEER_DTYPE_I32, VEER_DTYPE_U8,  VEER_DTYPE_BOOL};
    veer_status_t status = veer_ok();
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes && !status; i++) {
        veer_graph_t *g;
        veer_func_t func;
        veer_node_t node;
        VEER_TRY(veer_graph_create(a->allocator, &g));
        status = veer_graph_add_func(g, "f", &func);
        if (!status && elementwise(g, func, a->op, dtypes[i], &node))
            status = ask(a, g, node, veer_dtype_name(dtypes[i]));
        veer_graph_destroy(g);
    }
    return status;
}

/* ---- answers ---- */

static bool is_structure(veer_op_t op) {
    return veer_op_has(op, VEER_REGION) || veer_op_has(op, VEER_TERMINATOR) || op == VEER_OP_CONST ||
           op == VEER_OP_CALL || op == VEER_OP_GRAD;
}

static const char *answer(const tally_t *t) {
    if (t->off) return "off";
    return !t->no ? "yes" : t->yes ? "some" : "no";
}

static const char *gradient_of(const veer_op_def_t *def) {
    if (def->grad == veer_grad_none) return "zero";
    if (!def->grad || def->grad == veer_grad_missing) return "no";
    return def->grad == veer_grad_by_expansion ? "expanded" : "yes";
}

veer_status_t veer_op_support(veer_op_t op, veer_allocator_t allocator, veer_op_support_t *out) {
    asker_t a = {.op = op, .allocator = allocator};
    *out = (veer_op_support_t){.gradient = gradient_of(veer_op_def(op))};
    for (int i = 0; i < VEER_OP_BACKEND_COUNT; i++) a.tallies[i].note = out->note[i], out->backend[i] = "-";
    if (is_structure(op)) return veer_ok();
    VEER_TRY(veer_op_has(op, VEER_ELEMENTWISE) ? ask_elementwise(&a) : ask_forms(&a));
    for (int i = 0; i < VEER_OP_BACKEND_COUNT; i++) out->backend[i] = answer(&a.tallies[i]);
    out->forms = a.forms;
    return veer_ok();
}

/* ---- ONNX operators ---- */

static const struct {
    veer_onnx_form_t form;
} onnx_forms[] = {
#define FORM_IN(domain, op, opset, attrs, operands) {{#op, domain, opset, attrs, operands}},
#define FORM(op, opset, attrs, operands)            FORM_IN(NULL, op, opset, attrs, operands)
#define ROW(op, opset, attrs, operands, torch)      FORM(op, opset, attrs, operands)
#define ZERO(op, opset, attrs, operands)            FORM(op, opset, attrs, operands)
#include "frontend/onnx/forms.def"
};

static veer_status_t ask_nodes(asker_t *a, const veer_graph_t *g, veer_func_t func) {
    VEER_FOR_EACH_NODE(g, veer_func_body(g, func), n) {
        a->op = veer_node_op(g, n);
        if (!is_structure(a->op)) VEER_TRY(ask(a, g, n, veer_op_name(a->op)));
    }
    return veer_ok();
}

/* A constant of zeros, perhaps spread. */
static bool is_zero(const veer_graph_t *g, veer_value_t v) {
    veer_node_t def;
    while ((def = veer_value_def(g, v)).i && veer_node_op(g, def) == VEER_OP_BROADCAST) v = veer_node_in(g, def, 0);
    const char *bytes = veer_value_const_data(g, v);
    size_t size = bytes ? veer_type_bytes(veer_value_type(g, v)) : 0;
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return bytes != NULL;
}

/* "yes" where some input has a gradient that is not just zero, "zero", or "-" where nothing could have one. */
static veer_status_t try_gradient(veer_graph_t *g, veer_func_t func, const char **out) {
    enum { MOST = VEER_ONNX_FORM_OPERANDS };
    veer_region_t from = veer_func_body(g, func);
    veer_value_t in[MOST + 1];
    int64_t wrt[MOST];
    int count = veer_region_arg_count(g, from), wrt_count = 0;
    veer_type_t y = *veer_value_type(g, veer_region_result(g, from, 0));
    veer_func_t df;
    VEER_TRY(veer_graph_add_func(g, "df", &df));
    for (int i = 0; i < count; i++) {
        veer_type_t type = *veer_value_type(g, veer_region_arg(g, from, i));
        VEER_TRY(veer_region_add_arg(g, veer_func_body(g, df), type, "", &in[i]));
        if (veer_dtype_is_float(type.dtype)) wrt[wrt_count++] = i;
    }
    if (!wrt_count || !veer_dtype_is_float(y.dtype)) return veer_ok();
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, df));
    veer_node_t grad = veer_builder_grad(&b, func, in, count, 0, veer_full(&b, y, 1), wrt, wrt_count);
    VEER_TRY(veer_builder_status(&b));
    veer_value_t d[MOST];
    for (int i = 0; i < wrt_count; i++) d[i] = veer_node_out(g, grad, 1 + i);
    veer_builder_return(&b, d, wrt_count);
    VEER_TRY(veer_builder_status(&b));
    VEER_TRY(veer_gradient_expand(g, grad));
    bool some = false;
    for (int i = 0; i < wrt_count; i++) some |= !is_zero(g, veer_region_result(g, veer_func_body(g, df), i));
    if (strcmp(*out, "yes")) *out = some ? "yes" : "zero";
    return veer_ok();
}

static veer_status_t ask_onnx_form(asker_t *a, const veer_onnx_form_t *form, veer_graph_t *g, veer_arena_t *arena,
                                   const char **gradient) {
    veer_onnx_form_operand_t operands[VEER_ONNX_FORM_OPERANDS];
    int count;
    veer_func_t func;
    veer_text_t model = veer_text_make(a->allocator);
    veer_onnx_options_t options = {.eval = veer_reference_node};
    veer_status_t status = veer_onnx_form_operands(form, VEER_DTYPE_F32, 1, arena, operands, &count);
    if (!status) status = veer_onnx_form_write(form, operands, count, &model);
    if (!status) status = veer_onnx_import_memory(g, model.data, model.length, "f", &options, &func);
    if (!status) status = ask_nodes(a, g, func);
    if (!status) status = try_gradient(g, func, gradient);
    veer_text_deinit(&model);
    return status;
}

veer_status_t veer_onnx_op_support(const char *op_type, veer_allocator_t allocator, veer_op_support_t *out) {
    asker_t a = {.allocator = allocator};
    *out = (veer_op_support_t){.gradient = "-"};
    for (int i = 0; i < VEER_OP_BACKEND_COUNT; i++) a.tallies[i].note = out->note[i], out->backend[i] = "-";
    for (size_t i = 0; i < sizeof onnx_forms / sizeof *onnx_forms; i++) {
        const veer_onnx_form_t *form = &onnx_forms[i].form;
        veer_graph_t *g;
        veer_arena_t arena;
        if (strcmp(form->op_type, op_type)) continue;
        VEER_TRY(veer_graph_create(allocator, &g));
        veer_arena_init(&arena, allocator);
        veer_status_t status = ask_onnx_form(&a, form, g, &arena, &out->gradient);
        veer_arena_deinit(&arena);
        veer_graph_destroy(g);
        VEER_TRY(veer_status_where(status, "ONNX operator '%s' %s", op_type, form->attrs));
    }
    out->forms = a.forms;
    for (int i = 0; i < VEER_OP_BACKEND_COUNT && a.forms; i++) out->backend[i] = answer(&a.tallies[i]);
    return veer_ok();
}
