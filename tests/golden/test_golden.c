/* Golden tests of passes and of the parser's messages: every tests/golden/<name>.veer is
 *
 *     // RUN: veer opt --passes=fold,dce
 *     === title
 *     IR
 *     --- expect                    (or `--- expect unchanged`, or `--- error` and a part of the message)
 *     IR
 *
 * Both sides are parsed and compared as graphs, so names and spacing never break a test. Inputs also make the round
 * trip through the printer. `test_golden --update` rewrites what is expected by what came out; `test_golden NAME` runs
 * one file.
 */
#include "api/storage.h"
#include "backends/reference/reference.h"
#include "ir/base/text.h"
#include "ir/equal.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/fuse.h"
#include "passes/manager.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER VEER_TEST_DATA "/../golden"

typedef enum expect_e { EXPECT_GRAPH, EXPECT_UNCHANGED, EXPECT_ERROR } expect_t;

/* Pieces of the file's text. */
typedef struct piece_s {
    const char *text;
    size_t length;
} piece_t;

typedef struct case_s {
    piece_t title, input, want;
    expect_t expect;
} case_t;

static veer_allocator_t memory(void) {
    return veer_allocator_system();
}

/* ---- files ---- */

static char *read_file(const char *path) {
    enum { LARGEST = 1 << 20 };
    FILE *f = fopen(path, "rb");
    char *text = f ? calloc(1, LARGEST) : NULL;
    if (text && fread(text, 1, LARGEST - 1, f) == 0) text[0] = 0;
    if (f) fclose(f);
    return text;
}

static bool starts(const char *line, const char *with) {
    return !strncmp(line, with, strlen(with));
}

static const char *next_line(const char *at) {
    at += strcspn(at, "\n");
    return *at ? at + 1 : at;
}

static piece_t rest_of_line(const char *at) {
    return (piece_t){at, strcspn(at, "\n")};
}

/* Lines from `at` to the next one that starts a section; moves `at` there. */
static piece_t take_section(const char **at) {
    piece_t p = {*at, 0};
    while (**at && !starts(*at, "=== ") && !starts(*at, "--- ")) *at = next_line(*at);
    p.length = (size_t)(*at - p.text);
    return p;
}

/* False at the end of the file; `broken` where a case has no expectation. */
static bool next_case(const char **at, case_t *c, bool *broken) {
    *broken = false;
    if (!starts(*at, "=== ")) return false;
    c->title = rest_of_line(*at + 4);
    *at = next_line(*at);
    c->input = take_section(at);
    c->expect = starts(*at, "--- error")              ? EXPECT_ERROR
                : starts(*at, "--- expect unchanged") ? EXPECT_UNCHANGED
                                                      : EXPECT_GRAPH;
    *broken = !starts(*at, "--- ");
    if (!*broken) *at = next_line(*at);
    c->want = take_section(at);
    return true;
}

/* ---- running a case ---- */

static veer_status_t parse(piece_t text, veer_graph_t **out) {
    VEER_TRY(veer_graph_create(memory(), out));
    VEER_TRY(veer_parse(*out, text.text, text.length, "golden"));
    return veer_verify(*out);
}

/* For the passes that ask what can be a kernel: everything can, so that the cases show their own rules. */
static veer_status_t accepts(const veer_graph_t *g, veer_node_t n, bool *out, char *reason, size_t reason_bytes) {
    (void)g, (void)n, (void)reason, (void)reason_bytes;
    *out = true;
    return veer_ok();
}
static const veer_fuse_target_t target = {accepts, accepts, accepts, accepts, veer_storage_residency};

static veer_status_t run_passes(veer_graph_t *g, const char *passes) {
    veer_pipeline_options_t options = {.eval = veer_reference_node, .target = &target, .verify_each = true};
    veer_pipeline_t *p;
    VEER_TRY(veer_pipeline_create(memory(), passes, &p));
    veer_status_t status = veer_pipeline_run(p, g, VEER_NO_FUNC, &options);
    veer_pipeline_destroy(p);
    return status;
}

static veer_status_t check_round_trip(const veer_graph_t *g) {
    char *first = NULL, *second = NULL;
    veer_graph_t *copy = NULL;
    veer_status_t status = veer_print(g, memory(), &first);
    if (!status) status = parse((piece_t){first, strlen(first)}, &copy);
    if (!status) status = veer_print(copy, memory(), &second);
    if (!status && strcmp(first, second)) status = veer_error(VEER_ERR_MISMATCH, "the round trip changes the text");
    veer_free(memory(), first);
    veer_free(memory(), second);
    veer_graph_destroy(copy);
    return status;
}

/* The trimmed text is part of the message or of its details. */
static veer_status_t check_message(piece_t want, veer_status_t got) {
    char all[4000], part[2000];
    while (want.length && strchr(" \n", want.text[want.length - 1])) want.length--;
    snprintf(all, sizeof all, "%s\n%s", veer_status_message(got, 0), veer_status_details(got, 0));
    snprintf(part, sizeof part, "%.*s", (int)want.length, want.text);
    if (!got) return veer_error(VEER_ERR_MISMATCH, "no error, expected: %s", part);
    if (want.length && strstr(all, part)) return veer_ok();
    return veer_error(VEER_ERR_MISMATCH, "the error is: %s\nexpected: %s", all, part);
}

static veer_status_t compare(const veer_graph_t *g, const case_t *c) {
    veer_graph_t *want = NULL;
    veer_status_t status = parse(c->expect == EXPECT_UNCHANGED ? c->input : c->want, &want);
    status = veer_status_where(status, "what is expected");
    if (!status) status = veer_status_where(veer_graph_equal(g, want), "came out (here) against expected (there)");
    veer_graph_destroy(want);
    return status;
}

/* `out_actual`: the resulting text or message, for --update and for the report; malloc'ed. */
static veer_status_t run_case(const case_t *c, const char *passes, char **out_actual, bool *out_failed) {
    veer_graph_t *g = NULL;
    char *text = NULL;
    veer_status_t status = parse(c->input, &g), verdict;
    if (!status) status = check_round_trip(g);
    if (!status) status = run_passes(g, passes);
    if (!status) status = veer_print(g, memory(), &text);
    *out_failed = status != NULL;
    *out_actual = strdup(status ? veer_status_message(status, 0) : text);
    if (c->expect == EXPECT_ERROR)
        verdict = check_message(c->want, status);
    else if (status)
        verdict = veer_error(VEER_ERR_FAILED, "%s", veer_status_message(status, 0));
    else
        verdict = compare(g, c);
    veer_status_free(status);
    veer_free(memory(), text);
    veer_graph_destroy(g);
    return verdict;
}

/* ---- files of cases ---- */

typedef struct totals_s {
    int passed, failed;
} totals_t;

/* What still holds stays as somebody wrote it. */
static void add_updated(veer_text_t *out, const case_t *c, const char *actual, bool failed, bool good) {
    static const char *const heads[] = {"expect", "expect unchanged", "error"};
    veer_text_add(out, "=== %.*s\n", (int)c->title.length, c->title.text);
    veer_text_add_bytes(out, c->input.text, c->input.length);
    if (good) {
        veer_text_add(out, "--- %s\n", heads[c->expect]);
        veer_text_add_bytes(out, c->want.text, c->want.length);
    } else {
        veer_text_add(out, "--- %s\n%s%s", failed ? "error" : "expect", actual, failed ? "\n" : "");
    }
}

static void report(const char *name, const case_t *c, veer_status_t status, const char *actual) {
    fprintf(stderr, "%s: %.*s: %s\n---- came out:\n%s\n", name, (int)c->title.length, c->title.text,
            status ? veer_status_message(status, 0) : "no expectation", actual);
}

/* With `out_updated`, failures are written there; `quiet` is for tests of this program itself. */
static void run_text(const char *name, const char *text, veer_text_t *out_updated, bool quiet, totals_t *totals) {
    char passes[500] = "";
    case_t c;
    bool broken, failed;
    const char *run = strstr(text, "--passes="), *at = strstr(text, "\n=== ");
    if (run) snprintf(passes, sizeof passes, "%.*s", (int)strcspn(run + 9, " \n"), run + 9);
    at = at ? at + 1 : "";
    if (!run || !*at) totals->failed++; /* a file without cases tests nothing */
    if (out_updated) veer_text_add_bytes(out_updated, text, (size_t)(at - text));
    while (next_case(&at, &c, &broken)) {
        char *actual;
        veer_status_t status = run_case(&c, passes, &actual, &failed);
        bool good = !status && !broken;
        if (out_updated)
            add_updated(out_updated, &c, actual, failed, good);
        else if (!good && !quiet)
            report(name, &c, status, actual);
        if (good)
            totals->passed++;
        else
            totals->failed++;
        veer_status_free(status);
        free(actual);
    }
}

static void write_update(const char *path, const veer_text_t *text) {
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(text->data, 1, text->length, f) == text->length;
    if (f) ok = fclose(f) == 0 && ok;
    printf("%s: %s\n", path, ok ? "updated" : "could not be written");
}

static int run_file(const char *name, bool update, totals_t *totals) {
    char path[1000];
    int before = totals->failed;
    veer_text_t updated = veer_text_make(memory());
    snprintf(path, sizeof path, FOLDER "/%s", name);
    char *text = read_file(path);
    if (!text) return fprintf(stderr, "%s cannot be read\n", path), 1;
    run_text(name, text, update ? &updated : NULL, false, totals);
    if (update && totals->failed > before) write_update(path, &updated);
    veer_text_deinit(&updated);
    free(text);
    return 0;
}

/* ---- is a wrong expectation noticed? ---- */

static int check_the_checker(void) {
    static const char text[] =
        "// RUN: veer opt --passes=dce\n"
        "=== right\n"
        "graph @f(%x: f32[2]) { %y = exp %x return %x }\n--- expect\ngraph @f(%x: f32[2]) { return %x }\n"
        "=== wrong graph\n"
        "graph @f(%x: f32[2]) { %y = exp %x return %x }\n--- expect\ngraph @f(%x: f32[2]) { %y = exp %x return %y }\n"
        "=== not unchanged\n"
        "graph @f(%x: f32[2]) { %y = exp %x return %x }\n--- expect unchanged\n"
        "=== no error\n"
        "graph @f(%x: f32[2]) { return %x }\n--- error\nunknown op\n"
        "=== another error\n"
        "graph @f(%x: f32[2]) { return %z }\n--- error\nunknown op\n"
        "=== an unexpected error\n"
        "graph @f(%x: f32[2]) { return %z }\n--- expect unchanged\n"
        "=== an expectation that does not parse\n"
        "graph @f(%x: f32[2]) { return %x }\n--- expect\ngraph @f(%x: f32[2]) { return %z }\n"
        "=== no expectation\n"
        "graph @f(%x: f32[2]) { return %x }\n";
    totals_t totals = {0};
    run_text("checker", text, NULL, true, &totals);
    if (totals.passed == 1 && totals.failed == 7) return 0;
    fprintf(stderr, "of its own cases, the checker passes %d and fails %d, expected 1 and 7\n", totals.passed,
            totals.failed);
    return 1;
}

static int is_golden(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 5 && !strcmp(entry->d_name + length - 5, ".veer");
}

int main(int argc, char **argv) {
    bool update = argc > 1 && !strcmp(argv[1], "--update");
    const char *only = argc > 1 + update ? argv[1 + update] : "";
    struct dirent **files = NULL;
    totals_t totals = {0};
    int wrong = check_the_checker(), count = scandir(FOLDER, &files, is_golden, alphasort), ran = 0;
    for (int i = 0; i < count; i++) {
        if (starts(files[i]->d_name, only)) {
            wrong |= run_file(files[i]->d_name, update, &totals);
            ran++;
        }
        free(files[i]);
    }
    free(files);
    printf("%d files, %d cases passed, %d failed\n", ran, totals.passed, totals.failed);
    return wrong || ran == 0 || (totals.failed && !update);
}
