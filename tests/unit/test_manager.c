/* The pass manager: pipelines as text, reports, dumps, reproducers, failures; and that passes change no result. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "backends/reference/reference.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/manager.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/random_graph.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static void drop(char *text) {
    veer_free(veer_allocator_system(), text);
}

static veer_pipeline_t *pipeline(const char *text) {
    veer_pipeline_t *p;
    check_ok(veer_pipeline_create(veer_allocator_system(), text, &p));
    return p;
}

/* ---- text ---- */

static void check_text(const char *text, const char *want) {
    char *got;
    veer_pipeline_t *p = pipeline(text);
    check_ok(veer_pipeline_text(p, 0, veer_allocator_system(), &got));
    assert_string_equal(got, want);
    drop(got);
    veer_pipeline_destroy(p);
}

static void pipelines_are_text(void **state) {
    (void)state;
    check_text("", "");
    check_text("inline,fold,cse,dce", "inline,fold,cse,dce");
    check_text("fold{limit=12},dce", "fold{limit=12},dce");
    check_text("fold{limit=16777216},dce", "fold,dce"); /* the default */
}

static void check_bad(const char *text, const char *want) {
    veer_pipeline_t *p = NULL;
    char all[1000];
    veer_status_t status = veer_pipeline_create(veer_allocator_system(), text, &p);
    assert_null(p);
    assert_int_equal(veer_status_code(status), VEER_ERR_CONFIG);
    snprintf(all, sizeof all, "%s\n%s", veer_status_message(status, 0), veer_status_details(status, 0));
    if (!strstr(all, want)) fail_msg("got: %s\nwant: %s", all, want);
    veer_status_free(status);
}

static void broken_pipelines_are_errors(void **state) {
    (void)state;
    check_bad("fold,,dce", "unknown pass ''");
    check_bad("fold,", "ends with ','");
    check_bad("inlin", "did you mean 'inline'?");
    check_bad("fold dce", "expected ','");
    check_bad("fold{limt=3}", "did you mean 'limit'?");
    check_bad("fold{limit}", "no option such as");
    check_bad("fold{limit=}", "is no integer");
    check_bad("fold{limit=99999999999999999999}", "is no integer");
    check_bad("fold{limit=3", "lack a '}'");
    check_bad("dce{x=3}", "pass 'dce': unknown option 'x'");
}

static void every_pass_has_a_name_and_a_summary(void **state) {
    (void)state;
    for (int i = 0; i < veer_pass_def_count(); i++) {
        const veer_pass_def_t *def = veer_pass_def(i);
        assert_true(strlen(def->name) > 0 && strlen(def->summary) > 0 && def->run);
        assert_ptr_equal(veer_pass_find(def->name, strlen(def->name)), def);
    }
    assert_null(veer_pass_find("nothing", 7));
}

/* ---- runs ---- */

static const char source[] =
    "graph @g(%x: f32[2]) { %c = const f32[] 1  %y = mul %x, %c  %z = exp %x  return %y }\n"
    "graph @f(%x: f32[2]) { %y = call %x {callee = \"g\"}  %a = exp %y  %b = exp %y  %s = add %a, %b  return %s }\n";

static void reports_count_over_functions(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(source);
    veer_pipeline_t *p = pipeline("inline,fold,cse,dce");
    check_ok(veer_pipeline_run(p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.eval = veer_reference_node}));
    assert_int_equal(veer_pipeline_count(p), 4);
    veer_pass_report_t fold = veer_pipeline_report(p, 1), cse = veer_pipeline_report(p, 2);
    assert_string_equal(fold.name, "fold");
    assert_string_equal(fold.counters[0].name, "simplified");
    assert_int_equal(fold.counters[0].count, 2); /* in @g, and where it was inlined */
    assert_string_equal(cse.counters[0].name, "merged");
    assert_int_equal(cse.counters[0].count, 2); /* exp of the inlined body, and the two of @f: one is left */
    assert_true(fold.time_ms >= 0);
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
}

static void one_function_may_be_chosen(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(source);
    veer_pipeline_t *p = pipeline("fold");
    check_ok(veer_pipeline_run(p, g, veer_graph_find_func(g, "f"), NULL));
    assert_int_equal(veer_pipeline_report(p, 0).counter_count, 0);
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
}

typedef struct dumps_s {
    int count;
    char names[100];
    bool text_is_ir;
} dumps_t;

static void on_dump(void *user, const char *pass, const char *text) {
    dumps_t *d = user;
    d->count++;
    d->text_is_ir = !strncmp(text, "graph @g", 8);
    strcat(strcat(d->names, pass), " ");
}

static void check_dumps(const char *dump_after, const char *want) {
    veer_graph_t *g = parse_ok(source);
    veer_pipeline_t *p = pipeline("inline,fold,cse,fold");
    dumps_t d = {0};
    veer_pipeline_options_t options = {.dump_after = dump_after, .dump = on_dump, .dump_user = &d};
    check_ok(veer_pipeline_run(p, g, VEER_NO_FUNC, &options));
    assert_string_equal(d.names, want);
    assert_true(d.text_is_ir || !*want);
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
}

static void dumps_go_to_the_callback(void **state) {
    (void)state;
    check_dumps(NULL, "");
    check_dumps("fold", "fold fold ");
    check_dumps("cse,inline", "inline cse ");
    check_dumps("all", "inline fold cse fold ");
    veer_graph_t *g = parse_ok(source);
    veer_pipeline_t *p = pipeline("fold");
    veer_status_t status = veer_pipeline_run(p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.dump_after = "flod"});
    assert_non_null(strstr(veer_status_details(status, 0), "did you mean 'fold'?"));
    veer_status_free(status);
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
}

/* ---- failures ---- */

/* A function that calls itself cannot be written as text, but a program can make one. */
static veer_graph_t *recursive_graph(void) {
    veer_graph_t *g = parse_ok("graph @h(%x: f32[2]) { %a = exp %x  return %a }\n"
                               "graph @f(%x: f32[2]) { %y = call %x {callee = \"h\"}  return %y }\n");
    veer_func_t h = veer_graph_find_func(g, "h");
    veer_node_t first = veer_region_first(g, veer_func_body(g, h));
    veer_builder_t b = veer_builder_before(g, veer_node_next(g, first));
    veer_value_t x = veer_node_out(g, first, 0);
    veer_value_t y = veer_build(&b, VEER_OP_CALL, &x, 1, VEER_ATTRS(VEER_STRING("callee", "f")));
    check_ok(veer_builder_status(&b));
    veer_node_set_in(g, veer_region_last(g, veer_func_body(g, h)), 0, y);
    check_ok(veer_verify(g));
    return g;
}

static void a_failure_leaves_a_reproducer(void **state) {
    (void)state;
    char folder[] = "/tmp/veer_repro_XXXXXX", path[100], text[4000] = "";
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/repro.veer", folder);
    veer_graph_t *g = recursive_graph();
    veer_pipeline_t *p = pipeline("cse,inline,fold{limit=5},dce");
    veer_status_t status = veer_pipeline_run(p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.repro_folder = folder});
    assert_int_equal(veer_status_code(status), VEER_ERR_UNSUPPORTED);
    assert_non_null(strstr(veer_status_message(status, 0), "pass 'inline' on @h: function 'h' calls itself"));
    assert_non_null(strstr(veer_status_details(status, 0), path));
    veer_status_free(status);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_int_equal(strncmp(text, "// RUN: veer opt --passes=inline,fold{limit=5},dce\ngraph @h", 59), 0);
    assert_int_equal(unlink(path) | rmdir(folder), 0);
    status = veer_pipeline_run(p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.repro_folder = folder}); /* gone */
    assert_non_null(strstr(veer_status_details(status, 0), "no reproducer"));
    veer_status_free(status);
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
}

static void a_wrong_graph_is_noticed(void **state) {
    (void)state;
    veer_graph_t *g = parse_ok(source);
    veer_node_t end = veer_region_last(g, veer_func_body(g, veer_graph_find_func(g, "f")));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, veer_graph_find_func(g, "f")));
    veer_builder_return(&b, (veer_value_t[]){veer_node_in(g, end, 0)}, 1); /* a second terminator */
    check_ok(veer_builder_status(&b));
    veer_pipeline_t *p = pipeline("cse");
    veer_status_t status = veer_pipeline_run(p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.verify_each = true});
    assert_int_equal(veer_status_code(status), VEER_ERR_FAILED);
    assert_non_null(strstr(veer_status_message(status, 0), "pass 'cse' on @g: the graph is wrong afterwards: @f"));
    veer_status_free(status);
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
}

/* ---- nothing changes ---- */

static void evaluate(veer_graph_t *g, veer_tensor_t *out) {
    float x[] = {0.0f, -0.0f, 1.0f, -2.5f, 3.0f, 0.125f}, y[] = {-1.0f, 0.5f, -0.0f, 2.0f, 100.0f, -7.0f};
    veer_type_t type = VEER_TYPE(VEER_DTYPE_F32, 2, 3);
    veer_tensor_t in[] = {{type, x}, {type, y}};
    check_ok(veer_reference_eval(g, veer_graph_find_func(g, "f"), in, 2, veer_allocator_system(), out, 2));
}

/* The same bits, but for NaNs: which NaN comes out is not promised. */
static void check_same(const veer_tensor_t *a, const veer_tensor_t *b) {
    const float *x = a->data, *y = b->data;
    assert_true(veer_type_equal(&a->type, &b->type));
    for (int64_t i = 0; i < veer_type_count(&a->type); i++)
        if (memcmp(&x[i], &y[i], sizeof *x) && !(x[i] != x[i] && y[i] != y[i]))
            fail_msg("element %d is %g, was %g", (int)i, (double)y[i], (double)x[i]);
}

static void passes_change_no_result(void **state) {
    (void)state;
    int64_t simplified = 0, computed = 0;
    veer_pipeline_t *p = pipeline("inline,fold,cse,dce,fold,dce");
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_t r = {seed};
        veer_graph_t *g;
        veer_tensor_t before[2], after[2];
        check_ok(veer_graph_create(veer_allocator_system(), &g));
        check_ok(random_graph(g, &r, 25));
        evaluate(g, before);
        veer_status_t status = veer_pipeline_run(
            p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.eval = veer_reference_node, .verify_each = true});
        if (status) print_message("seed %d\n", (int)seed);
        check_ok(status);
        evaluate(g, after);
        for (int i = 0; i < 2; i++) {
            check_same(&before[i], &after[i]);
            veer_free(veer_allocator_system(), before[i].data);
            veer_free(veer_allocator_system(), after[i].data);
        }
        veer_pass_report_t fold = veer_pipeline_report(p, 1);
        for (int i = 0; i < fold.counter_count; i++)
            *(strcmp(fold.counters[i].name, "computed") ? &simplified : &computed) += fold.counters[i].count;
        veer_graph_destroy(g);
    }
    assert_true(simplified > 300 && computed > 300); /* there was something to do */
    veer_pipeline_destroy(p);
}

static veer_status_t parse_and_run(veer_allocator_t a, const char *text) {
    veer_graph_t *g = NULL;
    veer_pipeline_t *p = NULL;
    VEER_TRY(veer_graph_create(a, &g));
    veer_status_t status = veer_parse(g, text, strlen(text), "t");
    if (!status) status = veer_pipeline_create(a, "inline,fold,cse,dce", &p);
    if (!status)
        status = veer_pipeline_run(p, g, VEER_NO_FUNC,
                                   &(veer_pipeline_options_t){.eval = veer_reference_node, .verify_each = true});
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
    return status;
}

static void every_failed_allocation_is_a_clean_status(void **state) {
    (void)state;
    random_t r = {5};
    veer_graph_t *g;
    char *text;
    check_ok(veer_graph_create(veer_allocator_system(), &g));
    check_ok(random_graph(g, &r, 60));
    check_ok(veer_print(g, veer_allocator_system(), &text));
    veer_graph_destroy(g);
    for (int once = 0; once < 2; once++) {
        for (long n = 0;; n++) {
            failing_allocator_t f = {.fail_at = n, .once = once};
            veer_status_t status = parse_and_run(failing_allocator(&f), text);
            assert_int_equal(f.live, 0);
            assert_int_equal(veer_status_code(status), f.failed ? VEER_ERR_RESOURCE : VEER_OK);
            veer_status_free(status);
            if (!f.failed) {
                assert_true(n > 20);
                break;
            }
        }
    }
    drop(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelines_are_text),
        cmocka_unit_test(broken_pipelines_are_errors),
        cmocka_unit_test(every_pass_has_a_name_and_a_summary),
        cmocka_unit_test(reports_count_over_functions),
        cmocka_unit_test(one_function_may_be_chosen),
        cmocka_unit_test(dumps_go_to_the_callback),
        cmocka_unit_test(a_failure_leaves_a_reproducer),
        cmocka_unit_test(a_wrong_graph_is_noticed),
        cmocka_unit_test(passes_change_no_result),
        cmocka_unit_test(every_failed_allocation_is_a_clean_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
