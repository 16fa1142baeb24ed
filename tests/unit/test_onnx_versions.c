/* Every version of every operator of ONNX's default domain that is in force at an operator set from 7 to 23:
 * tests/data/onnx_versions.txt (written by scripts/onnx_versions.py, which says what a line is) has models of each with
 * the values that they should give, or the message with which they are refused. A model runs at the first and at the
 * last operator set of each version on the reference backend; those of the newest version are compiled, too. */
#include "api/compile.h"
#include "backends/reference/reference.h"
#include "frontend/onnx_import.h"
#include "ir/literal.h"
#include "ir/verify.h"
#include "tests/support/failing_allocator.h"
#include "tests/unit/temp_folder.h"

#include <math.h>

enum { MOST_TENSORS = 12, MODEL_BYTES = 1 << 14, LINE_BYTES = 1 << 16, MOST_OPERATORS = 256, MOST_FAILURES = 80 };

/* What the file has at least: all versions of 196 operators (opset 1 to 23), refusals among them. */
enum { VERSIONS = 505, OPERATORS = 196, REFUSED_AT_MOST = 19 };
enum { NEWEST_OPSET = 23 };

typedef struct {
    const char *op, *versions, *message; /* message: of a refusal, else NULL */
    uint8_t model[MODEL_BYTES];
    size_t model_bytes;
    veer_tensor_t in[MOST_TENSORS], out[MOST_TENSORS];
    int in_count, out_count;
} case_t;

static veer_allocator_t memory(void) {
    return veer_allocator_system();
}

/* ---- reading ---- */

static int digit(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : 0;
}

static size_t decode(const char *text, uint8_t *out) {
    size_t n = 0, length = strlen(text);
    assert_true(length % 4 == 0 && length / 4 * 3 < MODEL_BYTES);
    for (size_t i = 0; i < length; i += 4) {
        int v = digit(text[i]) << 18 | digit(text[i + 1]) << 12 | digit(text[i + 2]) << 6 | digit(text[i + 3]);
        for (int k = 2; k >= 0; k--) out[n++] = (uint8_t)(v >> 8 * k);
    }
    return n - (length && text[length - 1] == '=') - (length && text[length - 2] == '=');
}

/* f32[2,3]:1,2,... */
static veer_tensor_t read_tensor(char *text) {
    char *at = text + strcspn(text, "[");
    veer_type_t type = {.dtype = veer_dtype_from_name(text, (size_t)(at - text))};
    assert_true(type.dtype != VEER_DTYPE_NONE);
    while (*++at != ']') {
        type.dims[type.rank++] = strtol(at, &at, 10);
        if (*at == ']') break;
    }
    size_t size = veer_dtype_size(type.dtype);
    char *data = veer_alloc(memory(), veer_type_bytes(&type) + 1);
    assert_non_null(data);
    at += 2;
    for (int64_t i = 0; i < veer_type_count(&type); i++) {
        size_t length = strcspn(at, ",");
        assert_true(veer_literal_parse_element(type.dtype, at, length, data + (size_t)i * size));
        at += length + 1;
    }
    return (veer_tensor_t){type, data};
}

static void read_case(char *line, case_t *c) {
    char *save;
    c->op = strtok_r(line, " \n", &save);
    c->versions = strtok_r(NULL, " \n", &save);
    bool refused = !strcmp(strtok_r(NULL, " \n", &save), "refuse"), outputs = false;
    c->model_bytes = decode(strtok_r(NULL, " \n", &save), c->model);
    c->in_count = c->out_count = 0;
    c->message = NULL;
    for (char *word; (word = strtok_r(NULL, " \n", &save));) {
        assert_true(c->in_count < MOST_TENSORS && c->out_count < MOST_TENSORS);
        if (!strcmp(word, ">"))
            outputs = true;
        else if (!outputs)
            c->in[c->in_count++] = read_tensor(word);
        else if (!refused)
            c->out[c->out_count++] = read_tensor(word);
        else {
            for (char *at = word; (at = strchr(at, '_'));) *at = ' ';
            c->message = word;
        }
    }
    assert_true(refused == (c->message != NULL) && refused != (c->out_count > 0));
}

static void release(veer_tensor_t *t, int count) {
    for (int i = 0; i < count; i++) veer_free(memory(), t[i].data);
}

/* ---- running ---- */

static bool close_to(const veer_tensor_t *want, const veer_tensor_t *got, double tolerance, int64_t i) {
    size_t size = veer_dtype_size(want->type.dtype);
    const char *a = (const char *)want->data + (size_t)i * size, *b = (const char *)got->data + (size_t)i * size;
    double x, y;
    switch (want->type.dtype) {
    case VEER_DTYPE_F32: x = (double)*(const float *)a, y = (double)*(const float *)b; break;
    case VEER_DTYPE_F64: x = *(const double *)a, y = *(const double *)b; break;
    default: return !memcmp(a, b, size);
    }
    if (isnan(x) || isinf(x)) return isnan(x) ? isnan(y) : x == y;
    return fabs(x - y) <= tolerance + 5 * tolerance * fabs(x);
}

/* "" where the results are right. */
static void compare(const case_t *c, const veer_tensor_t *got, double tolerance, char *why, size_t room) {
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    for (int k = 0; k < c->out_count && !*why; k++) {
        if (!veer_type_equal(&got[k].type, &c->out[k].type))
            snprintf(why, room, "output %d is %s, expected %s", k, veer_type_text(&got[k].type, a),
                     veer_type_text(&c->out[k].type, b));
        for (int64_t i = 0; !*why && i < veer_type_count(&got[k].type); i++)
            if (!close_to(&c->out[k], &got[k], tolerance, i))
                snprintf(why, room, "element %lld of output %d is wrong: %g, expected %g", (long long)i, k,
                         got[k].type.dtype == VEER_DTYPE_F32 ? (double)((float *)got[k].data)[i] : 0,
                         got[k].type.dtype == VEER_DTYPE_F32 ? (double)((float *)c->out[k].data)[i] : 0);
    }
}

static veer_status_t evaluate(const veer_graph_t *g, veer_func_t f, const case_t *c, char *why, size_t room) {
    veer_tensor_t got[MOST_TENSORS] = {{{0}, NULL}};
    int results = veer_region_result_count(g, veer_func_body(g, f));
    if (results != c->out_count || veer_region_arg_count(g, veer_func_body(g, f)) != c->in_count)
        return veer_error(VEER_ERR_FAILED, "other numbers of inputs or outputs");
    VEER_TRY(veer_reference_eval(g, f, c->in, c->in_count, memory(), got, results));
    compare(c, got, 2e-6, why, room); /* numbers have seven digits in the file */
    release(got, results);
    return veer_ok();
}

static veer_status_t run_plan(const veer_plan_t *plan, const case_t *c, char *why, size_t room) {
    static const veer_run_options_t options = {.threads = 1};
    veer_tensor_t got[MOST_TENSORS] = {{{0}, NULL}};
    veer_exec_t *exec;
    VEER_TRY(veer_exec_create(plan, &exec));
    for (int i = 0; i < c->in_count; i++) veer_exec_bind_input(exec, i, c->in[i].data);
    for (int i = 0; i < c->out_count; i++) {
        got[i].type = *veer_plan_output_type(plan, i);
        got[i].data = veer_alloc(memory(), veer_type_bytes(&got[i].type) + 1);
        assert_non_null(got[i].data);
        veer_exec_bind_output(exec, i, got[i].data);
    }
    veer_status_t status = veer_exec_run(exec, &options);
    if (!status) compare(c, got, 2e-5, why, room); /* single precision */
    release(got, c->out_count);
    veer_exec_destroy(exec);
    return status;
}

static veer_status_t evaluate_compiled(veer_graph_t *g, veer_func_t f, const case_t *c, char *why, size_t room) {
    static const veer_compile_options_t options = {.tune = "off", .cache = "none"};
    veer_plan_t *plan;
    VEER_TRY(veer_status_where(veer_compile_func(g, f, &options, memory(), &plan), "compiled"));
    veer_status_t status = veer_status_where(run_plan(plan, c, why, room), "compiled");
    veer_plan_destroy(plan);
    return status;
}

/* The model at one operator set: protobuf messages may be continued by appending fields. */
static void run(case_t *c, int opset, char *why, size_t room) {
    static const veer_onnx_options_t options = {.eval = veer_reference_node};
    uint8_t *end = c->model + c->model_bytes;
    memcpy(end, (uint8_t[]){8 << 3 | 2, 2, 2 << 3, (uint8_t)opset}, 4);
    veer_graph_t *g;
    veer_func_t f;
    assert_ok(veer_graph_create(memory(), &g));
    veer_status_t status = veer_onnx_import_memory(g, c->model, c->model_bytes + 4, "f", &options, &f);
    bool imported = !status;
    if (imported) status = veer_verify(g);
    if (!status && c->message)
        snprintf(why, room, "it runs, expected '%s'", c->message);
    else if (!status)
        status = evaluate(g, f, c, why, room);
    if (!status && !c->message && !*why && opset == NEWEST_OPSET) status = evaluate_compiled(g, f, c, why, room);
    if (status && !(c->message && !imported && veer_status_code(status) == VEER_ERR_UNSUPPORTED &&
                    strstr(veer_status_message(status, 0), c->message)))
        snprintf(why, room, "%s", veer_status_message(status, 0));
    veer_status_free(status);
    veer_graph_destroy(g);
}

/* ---- all of them ---- */

typedef struct {
    char op[40];
    uint32_t seen, ran; /* bit v: version v */
} covered_t;

static covered_t covered[MOST_OPERATORS];
static int covered_count;

static covered_t *coverage_of(const char *op) {
    int i = 0;
    while (i < covered_count && strcmp(covered[i].op, op)) i++;
    assert_true(i < MOST_OPERATORS && strlen(op) < sizeof covered[i].op);
    if (i == covered_count) strcpy(covered[covered_count++].op, op);
    return &covered[i];
}

static int run_versions(case_t *c, int *failures) {
    int version, first, last, length, runs = 0;
    for (const char *at = c->versions; sscanf(at, "%d:%d-%d%n", &version, &first, &last, &length) == 3;
         at += length + 1) {
        covered_t *of = coverage_of(c->op);
        of->seen |= (uint32_t)1 << version;
        if (!c->message) of->ran |= (uint32_t)1 << version;
        for (int opset = first;; opset = last) {
            char why[512] = "";
            run(c, opset, why, sizeof why);
            runs++;
            if (*why && ++*failures <= MOST_FAILURES)
                printf("%s-%d at operator set %d: %s\n", c->op, version, opset, why);
            if (opset == last) break;
        }
        if (at[length] != ',') break;
    }
    return runs;
}

static void test_versions(void **state) {
    (void)state;
    static char line[LINE_BYTES];
    static case_t c;
    int failures = 0, runs = 0, versions = 0, refused = 0;
    FILE *file = fopen(VEER_TEST_DATA "/onnx_versions.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        assert_true(strchr(line, '\n') != NULL);
        if (*line == '#') continue;
        read_case(line, &c);
        runs += run_versions(&c, &failures);
        release(c.in, c.in_count);
        release(c.out, c.out_count);
    }
    fclose(file);
    for (int i = 0; i < covered_count; i++) {
        versions += __builtin_popcount(covered[i].seen);
        refused += __builtin_popcount(covered[i].seen & ~covered[i].ran);
    }
    printf("%d versions of %d operators in %d runs; %d versions are refused\n", versions, covered_count, runs, refused);
    assert_int_equal(failures, 0);
    assert_int_equal(versions, VERSIONS);
    assert_int_equal(covered_count, OPERATORS);
    assert_true(refused <= REFUSED_AT_MOST);
}

/* Every allocation of an import fails in turn, and all from it on: of each model, at its newest operator set. */
static void sweep(case_t *c) {
    static const veer_onnx_options_t options = {.eval = veer_reference_node};
    memcpy(c->model + c->model_bytes, (uint8_t[]){8 << 3 | 2, 2, 2 << 3, (uint8_t)NEWEST_OPSET}, 4);
    for (long at = 0;; at += 1 + at / 16) {
        failing_allocator_t f = {.fail_at = at};
        veer_graph_t *g = NULL;
        veer_func_t func;
        veer_status_t status = veer_graph_create(failing_allocator(&f), &g);
        if (!status) status = veer_onnx_import_memory(g, c->model, c->model_bytes + 4, "f", &options, &func);
        veer_code_t code = veer_status_code(status);
        veer_status_free(status);
        veer_graph_destroy(g);
        if (f.live) fail_msg("%s, allocation %ld: %ld blocks leaked", c->op, at, (long)f.live);
        if (!f.failed) return;
        if (code != VEER_ERR_RESOURCE) fail_msg("%s, allocation %ld: code %d", c->op, at, code);
    }
}

static void test_failing_allocations(void **state) {
    (void)state;
    static char line[LINE_BYTES];
    static case_t c;
    FILE *file = fopen(VEER_TEST_DATA "/onnx_versions.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (*line == '#') continue;
        read_case(line, &c);
        if (strstr(c.versions, "-23")) sweep(&c);
        release(c.in, c.in_count);
        release(c.out, c.out_count);
    }
    fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_versions), cmocka_unit_test(test_failing_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
