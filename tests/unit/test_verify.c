/* The verifier: a graph that keeps the rules passes, and each broken rule is found and named. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ir/builder.h"
#include "ir/equal.h"
#include "ir/graph_internal.h" /* to break what the public functions keep in order */
#include "ir/parse.h"
#include "ir/verify.h"

#include <stdio.h>
#include <string.h>

static const char good[] = "graph @f(%x: f32[2,3], %k: i64[]) {\n"
                           "    %y = exp %x\n"
                           "    %z = add %y, %x\n"
                           "    %l, %s = loop (%z) {trip = 3} (%i, %h) { %a = mul %h, %y  %b = neg %a yield %a, %b }\n"
                           "    %q = fused (%l, %z) {kind = \"k\"} (%m, %n) { %o = mul %m, %n yield %o }\n"
                           "    %c = call %q {callee = \"g\"}\n"
                           "    return %c, %s\n"
                           "}\n"
                           "graph @g(%x: f32[2,3]) { %y = relu %x return %y }\n";

static void check_ok(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n%s\n", veer_status_message(status, 0), veer_status_details(status, 0));
    veer_status_free(status);
    fail_msg("unexpected error");
}

static veer_graph_t *parse_ok(const char *text) {
    veer_graph_t *g;
    check_ok(veer_graph_create(veer_allocator_system(), &g));
    check_ok(veer_parse(g, text, strlen(text), "t"));
    return g;
}

static veer_value_t value(const veer_graph_t *g, const char *name) {
    for (uint32_t i = 1; i < veer_graph_value_limit(g); i++)
        if (!strcmp(veer_value_name(g, (veer_value_t){i}), name)) return (veer_value_t){i};
    fail_msg("no value %s", name);
    return VEER_NO_VALUE;
}

static veer_node_t def(const veer_graph_t *g, const char *name) {
    return veer_value_def(g, value(g, name));
}

static void expect(veer_graph_t *g, const char *want) {
    veer_status_t status = veer_verify(g);
    if (!status) fail_msg("not found: %s", want);
    if (!strstr(veer_status_message(status, 0), want))
        fail_msg("got: %s\nwant: %s", veer_status_message(status, 0), want);
    assert_int_equal(veer_status_code(status), VEER_ERR_FAILED);
    veer_status_free(status);
    veer_graph_destroy(g);
}

static void a_good_graph_passes(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(good);
    check_ok(veer_verify(g));
    veer_graph_destroy(g);
}

static void terminators_end_regions(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(good);
    veer_node_remove(g, veer_region_last(g, veer_func_body(g, veer_graph_find_func(g, "f"))));
    expect(g, "a region ends with it, expected 'return'");

    g = parse_ok("graph @f(%x: f32[2]) { return %x }");
    veer_node_remove(g, veer_region_last(g, veer_func_body(g, veer_graph_find_func(g, "f"))));
    expect(g, "a region is empty, expected 'return'");

    g = parse_ok(good);
    veer_builder_t b = veer_builder_before(g, def(g, "z"));
    veer_builder_return(&b, NULL, 0);
    check_ok(veer_builder_status(&b));
    expect(g, "there are nodes after it in its region");

    g = parse_ok(good);
    veer_node_t yield = veer_region_last(g, veer_node_body(g, def(g, "l")));
    g->nodes[yield.i].op = VEER_OP_RETURN;
    expect(g, "expected 'yield'");
}

static void definitions_come_before_uses(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(good);
    veer_node_move_before(g, def(g, "z"), def(g, "y"));
    expect(g, "op 'add': operand 0, %y is not defined before it, or not in sight");

    g = parse_ok(good); /* a value of the loop's body used outside */
    veer_node_set_in(g, def(g, "q"), 1, value(g, "a"));
    expect(g, "op 'fused': operand 1, %a is not defined before it");

    g = parse_ok(good); /* a capture in a fused body */
    veer_node_set_in(g, def(g, "o"), 1, value(g, "z"));
    expect(g, "op 'mul': operand 1, %z is not defined before it, or not in sight");

    g = parse_ok(good); /* a value of another function */
    veer_node_set_in(g, veer_region_last(g, veer_func_body(g, veer_graph_find_func(g, "g"))), 0, value(g, "z"));
    expect(g, "op 'return': operand 0");
}

static void results_and_regions_point_back(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(good);
    g->values[value(g, "y").i].def_index = 1;
    expect(g, "result 0 says that it is defined elsewhere");

    g = parse_ok(good);
    g->values[value(g, "k").i].def_index = 0;
    expect(g, "argument 1 of a region says that it is defined elsewhere");

    g = parse_ok(good);
    g->nodes[def(g, "z").i].prev = VEER_NO_NODE;
    expect(g, "its links to its neighbours are wrong");

    g = parse_ok(good);
    g->nodes[def(g, "z").i].region = veer_node_body(g, def(g, "l"));
    expect(g, "which is not there");

    g = parse_ok(good);
    g->regions[veer_node_body(g, def(g, "l")).i].last = def(g, "a");
    expect(g, "last node is not where its links lead");

    g = parse_ok(good);
    g->regions[veer_node_body(g, def(g, "l")).i].parent = def(g, "q");
    expect(g, "its body belongs to another node");

    g = parse_ok(good);
    g->nodes[def(g, "y").i].body = veer_node_body(g, def(g, "l"));
    expect(g, "it has a body and should not");
}

static void operands_and_types_follow_the_rules(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(good);
    veer_node_set_in(g, def(g, "z"), 1, value(g, "k")); /* f32 + i64 */
    expect(g, "op 'add': its operands or attributes break the op's rule");

    g = parse_ok(good);
    veer_node_set_in(g, def(g, "z"), 1, VEER_NO_VALUE);
    expect(g, "operand 'y' is missing");

    g = parse_ok(good);
    g->values[value(g, "z").i].type = VEER_TYPE(VEER_DTYPE_F32, 3, 3);
    expect(g, "result 0 is f32[3,3], its rule infers f32[2,3]");

    g = parse_ok(good);
    g->nodes[def(g, "y").i].out_count = 0;
    expect(g, "");
}

static void bodies_and_calls_match_their_operands(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(good); /* the loop yields another type than it carries */
    veer_node_set_in(g, veer_region_last(g, veer_node_body(g, def(g, "l"))), 0, value(g, "i"));
    expect(g, "carried value 0 starts as f32[2,3] and is yielded as i64[]");

    g = parse_ok(good);
    veer_node_set_in(g, def(g, "l"), 0, value(g, "k"));
    expect(g, "operand 0 is i64[], argument 1 of the body is f32[2,3]");

    g = parse_ok(good);
    g->values[value(g, "i").i].type = VEER_SCALAR(VEER_DTYPE_I32);
    expect(g, "is not the iteration, i64[]");

    g = parse_ok(good);
    veer_value_t extra;
    check_ok(veer_region_add_arg(g, veer_node_body(g, def(g, "q")), VEER_SCALAR(VEER_DTYPE_F32), "", &extra));
    expect(g, "2 operands, the body takes 3");

    g = parse_ok(good);
    veer_node_set_in(g, def(g, "c"), 0, value(g, "k"));
    expect(g, "argument 0 of 'g' is i64[], expected f32[2,3]");

    g = parse_ok(good);
    veer_graph_remove_func(g, veer_graph_find_func(g, "g"));
    expect(g, "there is no function 'g'");
}

static void use_lists_hold_what_is_there(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(good);
    g->values[value(g, "y").i].use_count = 1;
    expect(g, "'y' lists 1 uses, there are 2");

    g = parse_ok(good);
    g->nodes[def(g, "z").i].in[0] = value(g, "x");
    expect(g, "uses, there are");

    g = parse_ok(good);
    g->values[value(g, "y").i].uses[0].operand = 1;
    expect(g, "that is not there");

    g = parse_ok(good);
    g->values[value(g, "y").i].uses[1] = g->values[value(g, "y").i].uses[0];
    expect(g, "lists a use twice and another not at all");
}

/* ---- comparison ---- */

static void check_equal(const char *a, const char *b, const char *difference) {
    veer_graph_t *ga = parse_ok(a), *gb = parse_ok(b);
    for (int turn = 0; turn < 2; turn++) {
        veer_status_t status = turn ? veer_graph_equal(gb, ga) : veer_graph_equal(ga, gb);
        if (!difference)
            check_ok(status);
        else if (!status)
            fail_msg("not found: %s", difference);
        else if (!turn && !strstr(veer_status_message(status, 0), difference))
            fail_msg("got: %s\nwant: %s", veer_status_message(status, 0), difference);
        if (difference) veer_status_free(status);
    }
    veer_graph_destroy(ga);
    veer_graph_destroy(gb);
}

static void names_and_order_do_not_matter(void **state) {
    (void)state;
    check_equal(good, good, NULL);
    check_equal("graph @f(%x: f32[2]) { %a = exp %x %b = neg %x %c = sub %a, %b return %c }",
                "graph @f(%y: f32[2]) { %1 = neg %y from [\"n\"] %2 = exp %y %0 = sub %2, %1 return %0 }", NULL);
}

static void differences_are_found(void **state) {
    (void)state;
    const char *base = "graph @f(%x: f32[2], %y: f32[2]) { %a = exp %x %b = sub %a, %y return %b }";
    check_equal(base, "graph @f(%x: f32[2], %y: f32[2]) { %a = exp %x strand 1 %b = sub %a, %y return %b }",
                "other strands");
    check_equal(base, "graph @g(%x: f32[2], %y: f32[2]) { %a = exp %x %b = sub %a, %y return %b }", "called @g");
    check_equal(base, "graph @f(%x: f32[2], %y: f32[2]) { %a = exp %y %b = sub %a, %y return %b }",
                "different operands");
    check_equal(base, "graph @f(%x: f32[2], %y: f32[2]) { %a = exp %x %b = sub %y, %a return %b }",
                "different operands");
    check_equal(base, "graph @f(%x: f32[2], %y: f32[2]) { %a = neg %x %b = sub %a, %y return %b }", "other ops");
    check_equal(base, "graph @f(%x: f32[2], %y: f32[2]) { %a = exp %x %b = sub %a, %y %c = exp %y return %b }",
                "3 nodes here has 4");
    check_equal(base, "graph @f(%x: f32[2], %y: f32[2]) { %a = exp %x %b = sub %a, %y return %b \"b\" }",
                "is called ''");
    check_equal(base, "graph @f(%x: f32[2], %y: f32[2]) { %a = exp %x %b = sub %a, %y return %b, %b }",
                "numbers of operands");
    check_equal(base, "graph @f(%x: f32[3], %y: f32[3]) { %a = exp %x %b = sub %a, %y return %b }",
                "argument 0 differs");
    check_equal(base, "graph @f(%x: f32[2]) { %a = exp %x %b = sub %a, %x return %b }", "numbers of arguments");
    check_equal("graph @f(%x: f32[2,2]) { %a = softmax %x {axis = 0} return %a }",
                "graph @f(%x: f32[2,2]) { %a = softmax %x {axis = 1} return %a }", "other attributes");
    check_equal("graph @f() { %a = const f32[2] [0, 1] return %a }",
                "graph @f() { %a = const f32[2] [-0, 1] return %a }", "other attributes");
    /* shared in one, computed twice in the other */
    check_equal("graph @f(%x: f32[2]) { %a = exp %x %b = add %a, %a return %b }",
                "graph @f(%x: f32[2]) { %a = exp %x %c = exp %x %b = add %a, %c return %b }", "different operands");
    check_equal("graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i, %a) { %b = exp %a yield %b } return %y }",
                "graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i, %a) { %b = exp %x yield %b } return %y }",
                "different operands");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_graph_passes),
        cmocka_unit_test(terminators_end_regions),
        cmocka_unit_test(definitions_come_before_uses),
        cmocka_unit_test(results_and_regions_point_back),
        cmocka_unit_test(operands_and_types_follow_the_rules),
        cmocka_unit_test(bodies_and_calls_match_their_operands),
        cmocka_unit_test(use_lists_hold_what_is_there),
        cmocka_unit_test(names_and_order_do_not_matter),
        cmocka_unit_test(differences_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
