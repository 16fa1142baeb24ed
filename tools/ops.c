/* veer ops: every operator of the IR, with what can be done with it, and every ONNX operator that can be imported. */
#include "tools/verb.h"
#include "backends/reference/reference.h"
#include "frontend/onnx_import.h"
#include "ir/gradient.h"

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

static const char *gradient_text(const veer_op_def_t *def) {
    if (def->grad == veer_grad_none) return "zero";
    if (!def->grad || def->grad == veer_grad_missing) return "no";
    return def->grad == veer_grad_by_expansion ? "expanded" : "yes";
}

static void put_traits(veer_report_t *r, json_t *row, unsigned all) {
    char text[128] = "";
    for (size_t i = 0; i < sizeof traits / sizeof *traits; i++) {
        size_t at = strlen(text);
        if (all & traits[i].trait) snprintf(text + at, sizeof text - at, "%s%s", at ? " " : "", traits[i].name);
    }
    veer_put_text(r, row, "traits", text);
}

static json_t *ir_rows(veer_report_t *r) {
    json_t *rows = veer_report_array(r);
    for (int op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++) {
        const veer_op_def_t *def = veer_op_def((veer_op_t)op);
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "op", def->name);
        veer_put_bool(r, row, "run",
                      veer_reference_supports((veer_op_t)op) || (def->traits & (VEER_REGION | VEER_TERMINATOR)) ||
                          op == VEER_OP_CONST || op == VEER_OP_CALL || op == VEER_OP_GRAD);
        veer_put_text(r, row, "gradient", gradient_text(def));
        put_traits(r, row, def->traits);
        veer_put_text(r, row, "doc", def->doc);
        veer_append(r, rows, row);
    }
    return rows;
}

static json_t *onnx_rows(veer_report_t *r) {
    json_t *rows = veer_report_array(r);
    for (int i = 0; i < veer_onnx_op_count(); i++) {
        veer_onnx_op_info_t info = veer_onnx_op_info(i);
        json_t *row = veer_report_object(r);
        veer_put_text(r, row, "op", info.op_type);
        veer_put_text(r, row, "domain", info.domain && *info.domain ? info.domain : "ai.onnx");
        veer_put_int(r, row, "since", info.since);
        veer_append(r, rows, row);
    }
    return rows;
}

static veer_status_t run_ops(veer_command_t *c) {
    veer_report_t *r = &c->report;
    json_t *root = veer_report_object(r), *ir = ir_rows(r), *onnx = onnx_rows(r);
    veer_put(r, root, "ir", ir);
    veer_put(r, root, "onnx", onnx);
    if (!veer_report_json(r, root)) {
        veer_report_table(r, ir, VEER_COLUMNS({"op", "IR op"}, {"run", NULL}, {"gradient", NULL}, {"traits", NULL}));
        veer_report_print(r, "\n");
        veer_report_table(r, onnx, VEER_COLUMNS({"op", "ONNX operator"}, {"domain", NULL}, {"since", "since opset"}));
    }
    json_decref(root);
    return veer_ok();
}

const veer_verb_t veer_verb_ops = {
    .name = "ops",
    .operands = "",
    .summary = "the operators that can be run and differentiated, and the ONNX operators that can be imported",
    .details = "gradient: yes; expanded (into simpler operators first); zero (it is, or does not exist); no.",
    .example = "  veer ops --format json",
    .run = run_ops,
};
