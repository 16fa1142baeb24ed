/* What `veer ops` says about operators is asked of the code that does the work. */
#include "api/op_support.h"
#include "frontend/onnx_import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static veer_op_support_t support_of(veer_op_t op) {
    veer_op_support_t s;
    veer_status_t status = veer_op_support(op, veer_allocator_system(), &s);
    if (status) fail_msg("%s: %s", veer_op_name(op), veer_status_message(status, 0));
    return s;
}

/* An operator without a form in api/op_forms.def would be answered for without having been asked. */
static void every_op_has_a_form(void **state) {
    (void)state;
    for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++) {
        veer_op_support_t s = support_of(op);
        bool structure = !strcmp(s.backend[VEER_OP_REFERENCE], "-");
        if (!structure && !s.forms) fail_msg("%s has no form in api/op_forms.def", veer_op_name(op));
        if (!structure && strcmp(s.backend[VEER_OP_REFERENCE], "yes")) fail_msg("%s: no reference", veer_op_name(op));
    }
}

static void what_is_declined_has_a_reason(void **state) {
    (void)state;
    for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++) {
        veer_op_support_t s = support_of(op);
        for (int b = 0; b < VEER_OP_BACKEND_COUNT; b++) {
            bool declined = !strcmp(s.backend[b], "some") || !strcmp(s.backend[b], "no");
            if (declined != (*s.note[b] != 0))
                fail_msg("%s, %s: %s, '%s'", veer_op_name(op), veer_op_backend_name((veer_op_backend_t)b), s.backend[b],
                         s.note[b]);
        }
    }
}

/* Some answers that hold on every machine. */
static void answers(void **state) {
    (void)state;
    veer_op_support_t exp = support_of(VEER_OP_EXP), conv = support_of(VEER_OP_CONV), loop = support_of(VEER_OP_LOOP);
    assert_string_equal(exp.gradient, "yes");
    assert_string_equal(loop.backend[VEER_OP_LLVM], "-");
    assert_string_equal(support_of(VEER_OP_EQUAL).gradient, "zero");
#ifdef VEER_WITH_LLVM
    assert_string_equal(exp.backend[VEER_OP_LLVM], "some");
    assert_non_null(strstr(exp.note[VEER_OP_LLVM], "f64: no kernel for exp of f64"));
#else
    assert_string_equal(exp.backend[VEER_OP_LLVM], "off");
#endif
#ifdef VEER_WITH_ONEDNN
    assert_string_equal(exp.backend[VEER_OP_ONEDNN], "no");
    assert_string_equal(conv.backend[VEER_OP_ONEDNN], "some");
    assert_non_null(strstr(conv.note[VEER_OP_ONEDNN], "computed weight: the weight is not a constant"));
#else
    assert_string_equal(conv.backend[VEER_OP_ONEDNN], "off");
#endif
}

static void onnx_operators(void **state) {
    (void)state;
    static const char *const gradients[][2] = {{"Conv", "yes"},      {"LSTM", "yes"}, {"Floor", "zero"},
                                               {"ArgMax", "-"},      {"Shape", "-"},  {"QuantizeLinear", "-"},
                                               {"GridSample", "yes"}};
    veer_op_support_t s;
    for (int i = 0; i < veer_onnx_op_count(); i++) {
        const char *name = veer_onnx_op_info(i).op_type;
        veer_status_t status = veer_onnx_op_support(name, veer_allocator_system(), &s);
        if (status) fail_msg("%s: %s", name, veer_status_message(status, 0));
        if (s.forms && strcmp(s.backend[VEER_OP_REFERENCE], "yes")) fail_msg("%s: no reference kernel", name);
        for (size_t k = 0; k < sizeof gradients / sizeof *gradients; k++)
            if (!strcmp(gradients[k][0], name)) assert_string_equal(s.gradient, gradients[k][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op_has_a_form),
                                       cmocka_unit_test(what_is_declined_has_a_reason), cmocka_unit_test(answers),
                                       cmocka_unit_test(onnx_operators)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
