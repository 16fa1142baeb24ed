/* The text form: what is printed reads back as the same graph and prints as the same text; broken text is an error that
 * shows its place. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ir/equal.h"
#include "ir/literal.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/random_graph.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static veer_allocator_t system_allocator(void) {
    return veer_allocator_system();
}

static void check_ok(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n%s\n", veer_status_message(status, 0), veer_status_details(status, 0));
    veer_status_free(status);
    fail_msg("unexpected error");
}

static veer_graph_t *parse_ok(const char *text) {
    veer_graph_t *g;
    check_ok(veer_graph_create(system_allocator(), &g));
    check_ok(veer_parse(g, text, strlen(text), "t"));
    check_ok(veer_verify(g));
    return g;
}

static char *print_ok(const veer_graph_t *g) {
    char *text;
    check_ok(veer_print(g, system_allocator(), &text));
    return text;
}

static void drop(char *text) {
    veer_free(system_allocator(), text);
}

/* Parses, prints, and expects exactly this. */
static void check_print(const char *text, const char *want) {
    veer_graph_t *g = parse_ok(text);
    char *got = print_ok(g);
    assert_string_equal(got, want);
    drop(got);
    veer_graph_destroy(g);
}

static void check_error(const char *text, const char *want) {
    veer_graph_t *g;
    check_ok(veer_graph_create(system_allocator(), &g));
    veer_status_t status = veer_parse(g, text, strlen(text), "t");
    if (!status) fail_msg("no error for: %s", text);
    char whole[2000];
    snprintf(whole, sizeof whole, "%s\n%s", veer_status_message(status, 0), veer_status_details(status, 0));
    if (!strstr(whole, want)) fail_msg("got: %s\nwant: %s", whole, want);
    veer_status_free(status);
    veer_graph_destroy(g);
}

/* ---- round trips ---- */

static void one_line_is_printed_one_node_a_line(void **state) {
    (void)state;
    check_print("graph @f(%x: f32[2,8]) { %y = softmax %x {axis = 1}  return %y \"p\" }",
                "graph @f(%x: f32[2,8]) {\n"
                "    %y = softmax %x {axis = 1} : f32[2,8]\n"
                "    return %y \"p\"\n"
                "}\n");
}

static void several_results_origins_and_absent_operands(void **state) {
    (void)state;
    check_print("graph @f(%x: f32[1,1,4,4], %b: f32[4]) {\n"
                "  // a comment; and \"quotes\" in it }\n"
                "  %a, %i = max_pool %x {kernel = [2, 2], strides = [2, 2], pads_before = [0, 0], pads_after = [0, 0], "
                "dilations = [1, 1]} from [\"pool\", \"a\\\"b\\x01\"];\n"
                "  %n = layer_norm (%x, _, %b) {axis = 3}\n"
                "  return %a, %i, %n }",
                "graph @f(%x: f32[1,1,4,4], %b: f32[4]) {\n"
                "    %a, %i = max_pool %x {kernel = [2, 2], strides = [2, 2], pads_before = [0, 0], pads_after = [0, "
                "0], dilations = [1, 1]} "
                ": f32[1,1,2,2], i64[1,1,2,2] from [\"pool\", \"a\\\"b\\x01\"]\n"
                "    %n = layer_norm %x, _, %b {axis = 3} : f32[1,1,4,4]\n"
                "    return %a, %i, %n\n"
                "}\n");
}

static void loops_show_their_arguments_and_scopes(void **state) {
    (void)state;
    check_print("graph @f(%x: f32[2]) {\n"
                "  %y, %t = loop (%x) {trip = 3} (%i, %x0) { %s = exp %x0  %q = add %s, %x yield %q, %s }\n"
                "  %s = neg %y return %s, %t }",
                "graph @f(%x: f32[2]) {\n"
                "    %y, %t = loop (%x) {trip = 3} (%i: i64[], %x0: f32[2]) {\n"
                "        %s = exp %x0 : f32[2]\n"
                "        %q = add %s, %x : f32[2]\n"
                "        yield %q, %s\n"
                "    } : f32[2], f32[3,2]\n"
                "    %s = neg %y : f32[2]\n"
                "    return %s, %t\n"
                "}\n");
}

static void fused_bodies_have_names_of_their_own(void **state) {
    (void)state;
    check_print(
        "graph @f(%x: f32[2]) { %y = fused (%x) {kind = \"e\"} (%x: f32[2]) { %y = exp %x yield %y } return %y }",
        "graph @f(%x: f32[2]) {\n"
        "    %y = fused (%x) {kind = \"e\"} (%x: f32[2]) {\n"
        "        %y = exp %x : f32[2]\n"
        "        yield %y\n"
        "    } : f32[2]\n"
        "    return %y\n"
        "}\n");
}

static void calls_may_stand_before_their_callee(void **state) {
    (void)state;
    check_print("graph @f(%x: f32[2]) { %y = call %x {callee = \"g\"} return %y }"
                "graph @g(%1: f32[2]) { %2 = exp %1 return %2 }",
                "graph @f(%x: f32[2]) {\n"
                "    %y = call %x {callee = \"g\"} : f32[2]\n"
                "    return %y\n"
                "}\n"
                "\n"
                "graph @g(%0: f32[2]) {\n"
                "    %1 = exp %0 : f32[2]\n"
                "    return %1\n"
                "}\n");
}

static void constants_keep_every_bit(void **state) {
    (void)state;
    const char *text = "graph @f() {\n"
                       "    %a = const f32[5] [1.5, -0, inf, nan, 0xff800001]\n"
                       "    %b = const f32[] 0.1\n"
                       "    %c = const f64[3] [0.1, -inf, 1e-310]\n"
                       "    %d = const f16[3] [0.1, 65504, 6e-08]\n"
                       "    %e = const bf16[2] [0.1, 0x7f81]\n"
                       "    %f = const i8[2] [-128, 127]\n"
                       "    %g = const u64[1] [18446744073709551615]\n"
                       "    %h = const bool[2] [true, false]\n"
                       "    %i = const f32[20] splat -0\n"
                       "    %j = const u8[17] base64 \"AAECAwQFBgcICQoLDA0ODxA=\"\n"
                       "    %k = const i64[0,3] []\n"
                       "    %l = const i64[] -9223372036854775808\n"
                       "    return %a, %b, %c, %d, %e, %f, %g, %h, %i, %j, %k, %l\n"
                       "}\n";
    check_print(text, text);
}

static void f16_and_f32_read_back_from_all_bits(void **state) {
    (void)state;
    char text[VEER_LITERAL_BYTES];
    for (int dtype = VEER_DTYPE_F16; dtype <= VEER_DTYPE_BF16; dtype++) {
        for (uint32_t bits = 0; bits < 65536; bits++) {
            uint16_t in = (uint16_t)bits, out = 0;
            veer_literal_element((veer_dtype_t)dtype, &in, text);
            assert_true(veer_literal_parse_element((veer_dtype_t)dtype, text, strlen(text), &out));
            assert_int_equal(in, out);
        }
    }
    random_t r = {7};
    for (int i = 0; i < 100000; i++) {
        uint64_t in = random_next(&r), out = 0;
        veer_dtype_t dtype = i % 2 ? VEER_DTYPE_F32 : VEER_DTYPE_F64;
        if (i % 2) in &= 0xffffffffu;
        veer_literal_element(dtype, &in, text);
        assert_true(veer_literal_parse_element(dtype, text, strlen(text), &out));
        assert_true(in == out);
    }
}

static void check_round_trip(const veer_graph_t *g) {
    char *first = print_ok(g);
    veer_graph_t *copy = parse_ok(first);
    char *second = print_ok(copy);
    assert_string_equal(first, second);
    check_ok(veer_graph_equal(g, copy));
    drop(first);
    drop(second);
    veer_graph_destroy(copy);
}

static void random_graphs_survive_the_round_trip(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        random_t r = {seed};
        veer_graph_t *g;
        print_message("seed %d\r", (int)seed);
        check_ok(veer_graph_create(system_allocator(), &g));
        check_ok(random_graph(g, &r, 12));
        check_ok(veer_verify(g));
        check_round_trip(g);
        veer_graph_destroy(g);
    }
}

/* ---- constants in files ---- */

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void check_view(const char *path, int64_t offset) {
    float data[24];
    char *text;
    for (int i = 0; i < 24; i++) data[i] = (float)i;
    char bytes[104];
    memset(bytes, 7, sizeof bytes);
    memcpy(bytes + offset, data, sizeof data);
    write_file(path, bytes, sizeof bytes);
    veer_graph_t *g;
    veer_func_t f;
    check_ok(veer_graph_create(system_allocator(), &g));
    check_ok(veer_graph_add_func(g, "f", &f));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_value_t c = veer_const_view(&b, VEER_TYPE(VEER_DTYPE_F32, 24), data, &(veer_data_source_t){path, offset});
    veer_builder_return(&b, &c, 1);
    check_ok(veer_builder_status(&b));
    check_round_trip(g);
    text = print_ok(g);
    assert_non_null(strstr(text, path));
    bytes[offset + 5] ^= 1; /* the file is another one now */
    write_file(path, bytes, sizeof bytes);
    check_error(text, "hash to");
    write_file(path, bytes, 60);
    check_error(text, "holds 60 bytes, expected 96 at offset");
    write_file(path, bytes, 0);
    check_error(text, "holds 0 bytes");
    assert_int_equal(unlink(path), 0);
    check_error(text, "No such file");
    drop(text);
    veer_graph_destroy(g);
}

static void views_of_files_are_checked(void **state) {
    (void)state;
    char path[] = "/tmp/veer_text_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    check_view(path, 4);
    check_view(path, 3); /* not aligned for a float */
    check_error("graph @f() { %a = const f32[20] @\"/\"+0 #0123456789abcdef return %a }", "not a regular file");
}

/* ---- errors ---- */

static void errors_show_line_and_caret(void **state) {
    (void)state;
    check_error("graph @f(%x: f32[2]) {\n\n    %y = sofmax %x\n    return %y\n}\n", "t:3:10: unknown op 'sofmax'\n"
                                                                                    "        %y = sofmax %x\n"
                                                                                    "             ^\n"
                                                                                    "help: did you mean 'softmax'?");
}

static void every_kind_of_mistake_is_named(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"grph @f() { return }", "'grph', expected 'graph'"},
        {"graph f() { return }", "expected the function's name"},
        {"graph @f() { return } graph @f() { return }", "two functions are called 'f'"},
        {"graph @f() { ", "the text ends here"},
        {"graph @f(%x: f32[2) { return }", "expected ','"},
        {"graph @f(%x: f33[2]) { return }", "expected a type"},
        {"graph @f(%x: f32[-1]) { return }", "dimension 0 is -1"},
        {"graph @f(%x: f32[99999999999999999999]) { return }", "no integer of 64 bits"},
        {"graph @f(%x: f32[4611686018427387904,4611686018427387904,0]) { return }", "larger than the limit"},
        {"graph @f(%x: f32[1,1,1,1,1,1,1,1,1,1,1]) { return }", "more than 10 dimensions"},
        {"graph @f(%x: f32[2], %x: f32[2]) { return }", "already defined"},
        {"graph @f(%\"\": f32[2]) { return }", "empty name"},
        {"graph @f() { return %x }", "%x is not defined here"},
        {"graph @f(%x: f32[2]) { }", "ends without 'return'"},
        {"graph @f(%x: f32[2]) { yield %x }", "expected 'return'"},
        {"graph @f(%x: f32[2]) { return %x %y = exp %x }", "expected '}'"},
        {"graph @f(%x: f32[2]) { %y = exp %x : f32[3] return %y }", "result 0 is f32[2], the text says f32[3]"},
        {"graph @f(%x: f32[2]) { %y = exp %x : f32[2], f32[2] return %y }", "gives more types"},
        {"graph @f(%x: f32[2]) { %y, %z = exp %x return %y }", "the op has 1 results"},
        {"graph @f(%x: f32[2]) { %y = exp return %y }", "operand 'x' is missing"},
        {"graph @f(%x: f32[2]) { %y = exp %x, %x return %y }", "2 operands, expected at most 1"},
        {"graph @f(%x: f32[2]) { %y = exp _ return %y }", "operand 'x' is missing"},
        {"graph @f(%x: f32[2]) { %y = softmax %x {axes = 0} return %y }", "did you mean 'axis'?"},
        {"graph @f(%x: f32[2]) { %y = softmax %x {axis = 0, axis = 0} return %y }", "given twice"},
        {"graph @f(%x: f32[2]) { %y = softmax %x {axis = \"0\"} return %y }", "expected an integer"},
        {"graph @f(%x: f32[2]) { %y = softmax %x {axis = 1.5} return %y }", "no integer of 64 bits"},
        {"graph @f(%x: f32[2]) { %y = softmax %x {axis = 7} return %y }", "t:1:29: "},
        {"graph @f(%x: f32[2]) { %y = reshape %x {dims = [1, 2} return %y }", "expected ','"},
        {"graph @f() { %y = const f32[2] [1, 2, 3] return %y }", "3 elements, expected 2"},
        {"graph @f() { %y = const f32[2] [1, x] return %y }", "no number of dtype f32"},
        {"graph @f() { %y = const i8[1] [128] return %y }", "no number of dtype i8"},
        {"graph @f() { %y = const f32[1] [1e99] return %y }", "no number of dtype f32"},
        {"graph @f() { %y = const f32[99999999999] splat 0 return %y }", "bytes of copied or computed constants, more than the limit of 4294967296"},
        {"graph @f() { %y = const f32[99999999999] base64 \"AAAA\" return %y }", "4 characters for a constant"},
        {"graph @f() { %y = const u8[3] base64 \"AA=A\" return %y }", "no base64 of 3 bytes"},
        {"graph @f() { %y = const bool[3] base64 \"AAAC\" return %y }", "byte 2 of a bool constant is 2"},
        {"graph @f() { %y = const f32[20] @\"x\"+0 #12 return %y }", "expected a hash"},
        {"graph @f(%x: f32[2]) { return %x \"a }", "a string without its end"},
        {"graph @f(%x: f32[2]) { return %x \"a\\q\" }", "an escape that is not"},
        {"graph @f(%x: f32[2]) { %y = loop (%x) (%i, %a) { yield %a } return %y }", "needs attribute 'trip'"},
        {"graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i) { yield %x } return %y }", "takes 2 arguments"},
        {"graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i, %a, %b) { yield %a } return %y }", "takes 2 arguments"},
        {"graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i: f32[], %a) { yield %a } return %y }",
         "argument 0 is i64[]"},
        {"graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i, %a) { yield %i } return %y }",
         "starts as f32[2] and is yielded as i64[]"},
        {"graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i, %a) { yield } return %y }",
         "yields 0 values, expected at least 1"},
        {"graph @f(%x: f32[2]) { %y = loop (%x) {trip = 2} (%i, %a) { return %a } return %y }", "expected 'yield'"},
        {"graph @f(%x: f32[2]) { %y = fused (%x) (%a) { %b = add %a, %x yield %b } return %y }",
         "%x is not defined here"},
        {"graph @f(%x: f32[2]) { %y = call %x {callee = \"h\"} return %y }", "there is no function 'h'"},
        {"graph @f(%x: f32[2]) { %y = call %x {callee = \"f\"} return %y }", "'f' calls itself"},
        {"graph @f(%x: f32[2]) { %y = call %x, %x {callee = \"g\"} return %y } graph @g(%x: f32[2]) { return %x }",
         "2 operands for 'g', expected 1"},
        {"graph @f(%x: f32[2]) { %y = call %x {callee = \"g\"} return %y } graph @g(%x: f32[3]) { return %x }",
         "argument 0 of 'g' is f32[2], expected f32[3]"},
        {"graph @f(%x: f32[2]) { %y = exp %x from [\"a\" \"b\"] return %y }", "expected ','"},
        {"graph @f(%x: f32[2]) { ! }", "'!', expected the name of an op"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_error(cases[i][0], cases[i][1]);
}

static void deep_nesting_is_an_error(void **state) {
    (void)state;
    enum { DEPTH = 20000 };
    char *text = calloc(DEPTH, 40), *at = text;
    assert_non_null(text);
    at += sprintf(at, "graph @f() {");
    for (int i = 0; i < DEPTH; i++) at += sprintf(at, "loop () {trip = 1} (%%%d) {", i);
    for (int i = 0; i < DEPTH; i++) at += sprintf(at, " }");
    sprintf(at, " }");
    check_error(text, "101 levels of nesting, more than the limit of 100");
    free(text);
}

/* No mutation of a good text may crash; what still parses must verify and print. */
static void mutated_text_never_crashes(void **state) {
    (void)state;
    static const char good[] =
        "graph @f(%x: f32[2,3], %\"a b\": i64[]) {\n"
        "    %c = const f32[2] [1, -2e5]\n"
        "    %d = const f32[20] splat 0.5\n"
        "    %y, %z = loop (%x) {trip = 3} (%i: i64[], %h: f32[2,3]) {\n"
        "        %e = fused (%h) {kind = \"k\"} (%h: f32[2,3]) { %q = exp %h : f32[2,3] yield %q }\n"
        "        %t = transpose %e {perm = [1, 0]} : f32[3,2]\n"
        "        %r = reshape %t {dims = [2, 3]} : f32[2,3] from [\"a\", \"b\\n\"]\n"
        "        yield %r, %h\n"
        "    } : f32[2,3], f32[3,2,3]\n"
        "    %w = slice %z {starts = [0, 0, 2], sizes = [3, 1, 2], steps = [1, 1, -1]}\n"
        "    %g = call %y {callee = \"g\"}\n"
        "    return %y, %w \"w\", %g\n"
        "}\n"
        "graph @g(%x: f32[2,3]) { %y = reduce_sum %x {axes = [1]} return %y }\n";
    static const char splinters[] = "(){}[],;:=%@#\"\\0123456789-+.eainfxf32 \n_/";
    random_t r = {20240};
    int parsed = 0;
    print_message("seed %d\n", 20240);
    for (int round = 0; round < 20000; round++) {
        char text[sizeof good + 8];
        size_t length = sizeof good - 1;
        memcpy(text, good, sizeof good);
        for (int edits = 1 + random_below(&r, 3); edits; edits--) {
            size_t at = (size_t)random_below(&r, (int)length);
            char c = splinters[random_below(&r, (int)sizeof splinters)]; /* the NUL too */
            switch (random_below(&r, 3)) {
            case 0: text[at] = c; break;
            case 1: memmove(text + at, text + at + 1, --length - at); break;
            case 2: {
                size_t from = (size_t)random_below(&r, (int)length), n = (size_t)random_below(&r, 20);
                if (from + n > length) n = length - from;
                if (at + n > length) n = length - at;
                memmove(text + at, text + from, n);
            }
            }
        }
        veer_graph_t *g;
        check_ok(veer_graph_create(system_allocator(), &g));
        veer_status_t status = veer_parse(g, text, length, "t");
        if (!status) {
            parsed++;
            check_ok(veer_verify(g));
            check_round_trip(g);
        }
        veer_status_free(status);
        veer_graph_destroy(g);
    }
    assert_in_range(parsed, 10, 19990); /* both ways were tried */
}

/* ---- memory ---- */

static veer_status_t parse_and_print(veer_allocator_t a, const char *text) {
    veer_graph_t *g = NULL;
    char *again = NULL;
    VEER_TRY(veer_graph_create(a, &g));
    veer_status_t status = veer_parse(g, text, strlen(text), "t");
    if (!status) status = veer_verify(g);
    if (!status) status = veer_print(g, a, &again);
    if (!status) status = veer_graph_equal(g, g);
    if (!status) assert_string_equal(again, text);
    veer_free(a, again);
    veer_graph_destroy(g);
    return status;
}

static void every_failed_allocation_is_a_clean_status(void **state) {
    (void)state;
    random_t r = {3};
    veer_graph_t *g;
    check_ok(veer_graph_create(system_allocator(), &g));
    check_ok(random_graph(g, &r, 40));
    char *text = print_ok(g);
    veer_graph_destroy(g);
    for (int once = 0; once < 2; once++) {
        for (long n = 0;; n++) {
            failing_allocator_t f = {.fail_at = n, .once = once};
            veer_status_t status = parse_and_print(failing_allocator(&f), text);
            assert_int_equal(f.live, 0);
            assert_int_equal(veer_status_code(status), f.failed ? VEER_ERR_RESOURCE : VEER_OK);
            veer_status_free(status);
            if (!f.failed) {
                assert_true(n > 10);
                break;
            }
        }
    }
    drop(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_is_printed_one_node_a_line),
        cmocka_unit_test(several_results_origins_and_absent_operands),
        cmocka_unit_test(loops_show_their_arguments_and_scopes),
        cmocka_unit_test(fused_bodies_have_names_of_their_own),
        cmocka_unit_test(calls_may_stand_before_their_callee),
        cmocka_unit_test(constants_keep_every_bit),
        cmocka_unit_test(f16_and_f32_read_back_from_all_bits),
        cmocka_unit_test(random_graphs_survive_the_round_trip),
        cmocka_unit_test(views_of_files_are_checked),
        cmocka_unit_test(errors_show_line_and_caret),
        cmocka_unit_test(every_kind_of_mistake_is_named),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(mutated_text_never_crashes),
        cmocka_unit_test(every_failed_allocation_is_a_clean_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
