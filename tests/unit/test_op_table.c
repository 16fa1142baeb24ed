/* Walks the op table: everything that a definition must say is said. */
#include "backends/reference/reference.h"
#include "ir/gradient.h"
#include "ir/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#define FOR_EACH_OP(op, def)                                                                                           \
    for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++)                                                    \
        for (const veer_op_def_t *def = veer_op_def(op); def; def = NULL)

/* Ops that hold the graph together: lowering, inlining or a pass takes care of them. */
static bool is_structure(veer_op_t op) {
    switch (op) {
    case VEER_OP_CONST:
    case VEER_OP_RETURN:
    case VEER_OP_YIELD:
    case VEER_OP_LOOP:
    case VEER_OP_FUSED:
    case VEER_OP_CALL:
    case VEER_OP_GRAD: return true;
    default: return false;
    }
}

static void names_are_those_of_the_list(void **state) {
    (void)state;
    static const char *const names[VEER_OP_COUNT] = {
#define VEER_OP(ENUM, name) [VEER_OP_##ENUM] = #name,
#include "ir/ops.def"
#undef VEER_OP
    };
    FOR_EACH_OP(op, def) {
        assert_string_equal(def->name, names[op]);
        assert_int_equal(veer_op_from_name(names[op], strlen(names[op])), op);
    }
}

static void every_op_says_what_it_is(void **state) {
    (void)state;
    FOR_EACH_OP(op, def) {
        if (!def->doc || strlen(def->doc) < 6) fail_msg("%s has no doc", def->name);
        if (!def->infer) fail_msg("%s has no infer", def->name);
        if (!def->grad) fail_msg("%s does not decide on a gradient (veer_grad_none?)", def->name);
    }
}

static void operands_are_described(void **state) {
    (void)state;
    FOR_EACH_OP(op, def) {
        for (int i = 0; i < VEER_OP_MAX_OPERANDS && def->in[i].name; i++) {
            if (!def->in[i].kind) fail_msg("%s: operand %s has no kind", def->name, def->in[i].name);
            bool last = i + 1 == VEER_OP_MAX_OPERANDS || !def->in[i + 1].name;
            if (def->in[i].variadic && !last)
                fail_msg("%s: variadic operand %s is not the last", def->name, def->in[i].name);
        }
        for (int i = 0; i < VEER_OP_MAX_RESULTS && def->out[i].name; i++)
            if (!def->out[i].kind) fail_msg("%s: result %s has no kind", def->name, def->out[i].name);
        if (!(def->traits & VEER_TERMINATOR) && !def->out[0].name) fail_msg("%s has no result", def->name);
    }
}

static void attributes_are_described(void **state) {
    (void)state;
    FOR_EACH_OP(op, def)
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++) {
        const veer_attr_def_t *a = &def->attrs[i];
        if (!a->kind) fail_msg("%s: attribute %s has no kind", def->name, a->name);
        if (!a->doc) fail_msg("%s: attribute %s has no doc", def->name, a->name);
        if (a->kind == VEER_ATTR_STRING && !a->required && !a->default_string)
            fail_msg("%s: attribute %s has neither a default nor to be given", def->name, a->name);
        assert_int_equal(veer_op_attr_index(op, a->name), i);
    }
}

static void traits_match_the_definition(void **state) {
    (void)state;
    FOR_EACH_OP(op, def) {
        if (!!(def->traits & VEER_COMPOSITE) != !!def->expand)
            fail_msg("%s: trait COMPOSITE and `expand` go together", def->name);
        if ((def->traits & VEER_REDUCTION) && veer_op_attr_index(op, "axes") < 0)
            fail_msg("%s is a reduction without attribute axes", def->name);
        if ((def->traits & VEER_ROWWISE) && veer_op_attr_index(op, "axis") < 0 && veer_op_attr_index(op, "groups") < 0)
            fail_msg("%s works on rows but has no attribute that says which", def->name);
        if ((def->traits & VEER_COMMUTATIVE) && !def->in[1].name) fail_msg("%s has nothing to exchange", def->name);
    }
}

static void float_results_have_a_tolerance(void **state) {
    (void)state;
    FOR_EACH_OP(op, def)
    if (!is_structure(op) && op != VEER_OP_STEP_SLICE && !(def->tol_f32.abs > 0 || def->tol_f32.rel > 0))
        fail_msg("%s has no tolerance (exact: a subnormal's worth)", def->name);
}

static void every_op_has_a_reference_kernel(void **state) {
    (void)state;
    FOR_EACH_OP(op, def)
    if (veer_reference_supports(op) == is_structure(op))
        fail_msg("%s %s a reference kernel", def->name, is_structure(op) ? "should not have" : "has no");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_list),     cmocka_unit_test(every_op_says_what_it_is),
        cmocka_unit_test(operands_are_described),          cmocka_unit_test(attributes_are_described),
        cmocka_unit_test(traits_match_the_definition),     cmocka_unit_test(float_results_have_a_tolerance),
        cmocka_unit_test(every_op_has_a_reference_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
