/* veer ops: every operator of the IR, with what can be done with it, and every ONNX operator that can be imported. */
#include "tools/verb.h"
#include "api/op_support.h"
#include "frontend/onnx_import.h"

#include <string.h>

static const struct {
    unsigned trait;
    const char *name;
} traits[] = {
    {VEER_PURE, "pure"},
    {VEER_ELEMENTWISE, "elementwise"},
    {VEER_COMMUTATIVE, "commutative"},
    {VEER_REDUCTION, "reduction"},
    {VEER_ROWWISE, "rowwise"},
    {VEER_MOVES, "moves"},
    {VEER_CONTRACTION, "contraction"},
    {VEER_TERMINATOR, "terminator"},
    {VEER_REGION, "region"},
    {VEER_COMPOSITE, "composite"},
};

static void put_traits(veer_report_t *r, json_t *row, unsigned all) {
    char text[128] = "";
    for (size_t i = 0; i < sizeof traits / sizeof *traits; i++) {
        size_t at = strlen(text);
        if (all & traits[i].trait) snprintf(text + at, sizeof text - at, "%s%s", at ? " " : "", traits[i].name);
    }
    veer_put_text(r, row, "traits", text);
}

/* A column per backend; <backend>_note says which forms it declines, and why. */
static void put_support(veer_report_t *r, json_t *row, const veer_op_support_t *s) {
    for (int i = 0; i < VEER_OP_BACKEND_COUNT; i++) {
        char key[32];
        const char *name = veer_op_backend_name((veer_op_backend_t)i);
        veer_put_text(r, row, name, s->backend[i]);
        snprintf(key, sizeof key, "%s_note", name);
        veer_put_text(r, row, key, *s->note[i] ? s->note[i] : NULL);
    }
    veer_put_text(r, row, "gradient", s->gradient);
}

static veer_status_t ir_rows(veer_command_t *c, json_t *rows) {
    veer_report_t *r = &c->report;
    for (int op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++) {
        const veer_op_def_t *def = veer_op_def((veer_op_t)op);
        veer_op_support_t support;
        VEER_TRY(veer_op_support((veer_op_t)op, c->allocator, &support));
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "op", def->name);
        put_support(r, row, &support);
        put_traits(r, row, def->traits);
        veer_put_text(r, row, "doc", def->doc);
        veer_append(r, rows, row);
    }
    return veer_ok();
}

static veer_status_t onnx_rows(veer_command_t *c, json_t *rows) {
    veer_report_t *r = &c->report;
    for (int i = 0; i < veer_onnx_op_count(); i++) {
        veer_onnx_op_info_t info = veer_onnx_op_info(i);
        veer_op_support_t support;
        VEER_TRY(veer_onnx_op_support(info.op_type, c->allocator, &support));
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "op", info.op_type);
        veer_put_text(r, row, "domain", info.domain && *info.domain ? info.domain : "ai.onnx");
        veer_put_int(r, row, "since", info.since);
        put_support(r, row, &support);
        veer_append(r, rows, row);
    }
    return veer_ok();
}

/* ---- docs/operators.md ---- */

static const char *text_of(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static void print_ir(veer_report_t *r, const json_t *rows) {
    size_t i;
    json_t *row;
    veer_report_print(r,
                      "| op | reference | oneDNN | LLVM | gradient | what it computes |\n|---|---|---|---|---|---|\n");
    json_array_foreach(rows, i, row) {
        veer_report_print(r, "| `%s` | %s | %s | %s | %s | %s |\n", text_of(row, "op"), text_of(row, "reference"),
                          text_of(row, "onednn"), text_of(row, "llvm"), text_of(row, "gradient"), text_of(row, "doc"));
    }
}

/* What is declined: not for ops that a backend has nothing to do with. */
static void print_notes(veer_report_t *r, const json_t *rows) {
    static const char *const backends[][3] = {{"onednn", "onednn_note", "oneDNN"}, {"llvm", "llvm_note", "LLVM"}};
    size_t i;
    json_t *row;
    veer_report_print(r, "| op | backend | declined form: reason |\n|---|---|---|\n");
    json_array_foreach(rows, i, row) for (int k = 0; k < 2; k++) {
        if (strcmp(text_of(row, backends[k][0]), "some") && (k == 0 || strcmp(text_of(row, backends[k][0]), "no")))
            continue;
        veer_report_print(r, "| `%s` | %s | %s |\n", text_of(row, "op"), backends[k][2], text_of(row, backends[k][1]));
    }
}

static void print_markdown(veer_report_t *r, const json_t *ir, const json_t *onnx) {
    veer_report_print(
        r,
        "# Operators\n\nWritten by `veer ops --markdown`; the test `operators_doc` fails where this page is stale.\n\n"
        "## Operators of the IR\n\n"
        "Each backend is asked about representative nodes (`api/op_forms.def`; elementwise operators: f32, f64, f16, "
        "i32, u8, bool): "
        "*yes*, *no*, *some* (the next table says which not, and why), - (the compiler's own business). The first that "
        "takes a "
        "node computes it: LLVM's matrix products and 3x3 convolutions, oneDNN, LLVM, the reference loops.\n"
        "Gradient: *yes*; *expanded* into simpler operators first; *zero* (it is, or does not exist); *no*.\n\n");
    print_ir(r, ir);
    veer_report_print(r, "\n## What backends decline\n\n");
    print_notes(r, ir);
    veer_report_print(
        r,
        "\n## Operators of ONNX\n\n"
        "The first operator set whose form is understood, and the same questions about the nodes that an operator is "
        "imported as "
        "(`frontend/onnx/forms.def`), as they are before any pass: - where nothing is left to compute after the "
        "import. Nested graphs (If, Loop, "
        "Scan, recurrent "
        "layers) become ordinary nodes, which gradients go through. Constants, shapes, and what else is known are "
        "computed at once.\n\n"
        "| operator | domain | since opset | reference | oneDNN | LLVM | gradient |\n|---|---|---|---|---|---|---|\n");
    size_t i;
    json_t *row;
    json_array_foreach(onnx, i, row)
        veer_report_print(r, "| %s | %s | %d | %s | %s | %s | %s |\n", text_of(row, "op"), text_of(row, "domain"),
                          (int)json_integer_value(json_object_get(row, "since")), text_of(row, "reference"),
                          text_of(row, "onednn"), text_of(row, "llvm"), text_of(row, "gradient"));
}

static void print_tables(veer_report_t *r, const json_t *ir, const json_t *onnx) {
    veer_report_table(r, ir,
                      VEER_COLUMNS({"op", "IR op"}, {"reference", NULL}, {"onednn", "oneDNN"}, {"llvm", "LLVM"},
                                   {"gradient", NULL}, {"traits", NULL}));
    veer_report_print(r, "\n");
    veer_report_table(r, onnx,
                      VEER_COLUMNS({"op", "ONNX operator"}, {"domain", NULL}, {"since", "since opset"},
                                   {"reference", NULL}, {"onednn", "oneDNN"}, {"llvm", "LLVM"}, {"gradient", NULL}));
}

static veer_status_t run_ops(veer_command_t *c) {
    veer_report_t *r = &c->report;
    json_t *root = veer_report_object(r), *ir = veer_report_array(r), *onnx = veer_report_array(r);
    veer_put(r, root, "ir", ir);
    veer_put(r, root, "onnx", onnx);
    veer_status_t status = ir_rows(c, ir);
    if (!status) status = onnx_rows(c, onnx);
    if (!status && veer_args_has(&c->args, "markdown"))
        print_markdown(r, ir, onnx);
    else if (!status && !veer_report_json(r, root))
        print_tables(r, ir, onnx);
    json_decref(root);
    return status;
}

static const veer_flag_t flags[] = {{"markdown", 0, NULL, "as the page docs/operators.md", false}, {0}};

const veer_verb_t veer_verb_ops = {
    .name = "ops",
    .operands = "",
    .summary = "the operators that can be run and differentiated, and the ONNX operators that can be imported",
    .details =
        "reference, oneDNN, LLVM: yes; some (forms: --format json says which not, and why); no; - (the compiler's "
        "own business); off (not built in).\n"
        "gradient: yes; expanded (into simpler operators first); zero (it is, or does not exist); no.",
    .example = "  veer ops --format json",
    .flags = flags,
    .run = run_ops,
};
