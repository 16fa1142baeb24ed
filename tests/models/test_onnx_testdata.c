/* ONNX's own tests (Debian: libonnx-testdata), where they are installed: every model that we say we can import gives
 * the stored outputs, and gives them again after it was exported. What is not supported is counted, and must not become
 * more. */
#include "backends/reference/reference.h"
#include "frontend/onnx_export.h"
#include "frontend/onnx_import.h"
#include "frontend/onnx_pb.h"
#include "ir/verify.h"
#include "passes/manager.h"
#include "tests/unit/temp_folder.h"

#include "backends/reference/kernel.h"
#include "tests/support/onnx_contradictions.h"

#include <math.h>

#define DATA "/usr/share/libonnx-testdata/data/"
enum { MAX_TENSORS = 32, PATH_BYTES = 600 };

typedef struct {
    veer_tensor_t tensor[MAX_TENSORS];
    char *name[MAX_TENSORS];
    int count;
} tensors_t;

typedef struct {
    char folder[PATH_BYTES], model[PATH_BYTES];
    tensors_t in, want;
    veer_graph_t *g;
    veer_func_t func;
} case_t;

static veer_allocator_t memory(void) {
    return veer_allocator_system();
}

static void free_tensors(tensors_t *t) {
    for (int i = 0; i < t->count; i++) {
        veer_free(memory(), t->tensor[i].data);
        veer_free(memory(), t->name[i]);
    }
    t->count = 0;
}

/* False where a file holds no tensor (strings, sequences). */
static bool read_tensors(const char *folder, const char *kind, tensors_t *t) {
    for (t->count = 0; t->count < MAX_TENSORS; t->count++) {
        char path[PATH_BYTES + 60];
        snprintf(path, sizeof path, "%s/test_data_set_0/%s_%d.pb", folder, kind, t->count);
        if (access(path, R_OK)) return true;
        veer_status_t status = veer_onnx_pb_read(path, memory(), &t->tensor[t->count], &t->name[t->count]);
        if (status) {
            veer_status_free(status);
            return false;
        }
    }
    return true;
}

/* Some files leave out the names of tensors, or have others than the model: then they are those of the model's inputs,
 * in order. */
static void complete_names(case_t *c) {
    veer_onnx_info_t info;
    assert_ok(veer_onnx_inspect(memory(), c->model, NULL, &info));
    for (int i = 0; i < c->in.count && i < info.input_count; i++) {
        bool known = false;
        for (int k = 0; k < info.input_count; k++) known |= !strcmp(c->in.name[i], info.inputs[k].name);
        if (known) continue;
        veer_free(memory(), c->in.name[i]);
        c->in.name[i] = veer_strdup(memory(), info.inputs[i].name);
        assert_non_null(c->in.name[i]);
    }
    veer_onnx_info_deinit(&info);
}

/* What the operator Gradient became, as plain nodes. */
static void expand_gradients(case_t *c) {
    veer_pipeline_t *pipeline;
    veer_pipeline_options_t options = {.eval = veer_reference_node};
    assert_ok(veer_pipeline_create(memory(), "gradient", &pipeline));
    assert_ok(veer_pipeline_run(pipeline, c->g, c->func, &options));
    veer_pipeline_destroy(pipeline);
}

/* With all inputs as arguments; where shapes depend on them, as constants. */
static veer_status_t import(case_t *c, const char *path, bool bind) {
    veer_onnx_shape_t shapes[MAX_TENSORS];
    veer_onnx_binding_t bindings[MAX_TENSORS];
    for (int i = 0; i < c->in.count; i++) {
        const veer_tensor_t *t = &c->in.tensor[i];
        shapes[i] = (veer_onnx_shape_t){c->in.name[i], t->type.rank, t->type.dims};
        bindings[i] = (veer_onnx_binding_t){c->in.name[i], *t};
    }
    veer_onnx_options_t options = {.shapes = shapes,
                                   .shape_count = c->in.count,
                                   .bindings = bindings,
                                   .binding_count = bind ? c->in.count : 0,
                                   .eval = veer_reference_node};
    assert_ok(veer_graph_create(memory(), &c->g));
    veer_status_t status = veer_onnx_import(c->g, path, "f", &options, &c->func);
    if (!status) expand_gradients(c);
    if (status) veer_graph_destroy(c->g);
    return status;
}

static veer_tensor_t argument(const case_t *c, const char *name) {
    for (int i = 0; i < c->in.count; i++)
        if (!strcmp(c->in.name[i], name)) return c->in.tensor[i];
    fail_msg("%s: there is no input '%s'", c->folder, name);
    return (veer_tensor_t){0};
}

/* bf16 is stored as u16, which NumPy has no name for, and was cut where we round: half of its 7 bits more or less. */
static void compare(const case_t *c, int output, const veer_tensor_t *got) {
    veer_tensor_t want = c->want.tensor[output];
    if (got->type.dtype == VEER_DTYPE_BF16 && want.type.dtype == VEER_DTYPE_U16) want.type.dtype = VEER_DTYPE_BF16;
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    if (!veer_type_equal(&got->type, &want.type))
        fail_msg("%s: output %d is %s, expected %s", c->folder, output, veer_type_text(&got->type, a),
                 veer_type_text(&want.type, b));
    double rtol = want.type.dtype == VEER_DTYPE_BF16 ? 0x1p-7 : 1e-3; /* 1e-3 and 1e-7: ONNX's own */
    for (int64_t i = 0; i < veer_type_count(&want.type); i++) {
        double x = veer_load_double(got, i), y = veer_load_double(&want, i);
        bool same = x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= 1e-7 + rtol * fabs(y);
        if (!same) fail_msg("%s: output %d, element %lld is %g, expected %g", c->folder, output, (long long)i, x, y);
    }
}

/* Its stored outputs were made with epsilon 0.01; the model has none, which means 1e-6. */
static bool is_wrong(const case_t *c) {
    return strstr(c->folder, "/test_adam_multiple") != NULL;
}

/* Random outputs: their type, and that a number may be drawn at all. Dropout's and Bernoulli's are 0, or (up to the
 * scale) one value each. */
static bool is_random(const case_t *c) {
    return strstr(c->folder, "bernoulli") || strstr(c->folder, "training_dropout");
}

static void check_support(const case_t *c, int output, const veer_tensor_t *got) {
    const veer_tensor_t *want = &c->want.tensor[output], *x = &c->in.tensor[0];
    double ratio = c->in.count > 1 ? veer_load_double(&c->in.tensor[1], 0) : 0;
    assert_true(veer_type_equal(&got->type, &want->type));
    for (int64_t i = 0; i < veer_type_count(&want->type); i++) {
        double y = veer_load_double(got, i), kept = 1;
        if (strstr(c->folder, "dropout") && output == 0) kept = veer_load_double(x, i) / (1 - ratio);
        if (y != 0 && fabs(y - kept) > 1e-5 * fabs(kept))
            fail_msg("%s: output %d, element %lld is %g, expected 0 or %g", c->folder, output, (long long)i, y, kept);
    }
}

static void check_outputs(case_t *c) {
    veer_region_t body = veer_func_body(c->g, c->func);
    int count = veer_region_result_count(c->g, body), arg_count = veer_region_arg_count(c->g, body);
    veer_tensor_t args[MAX_TENSORS], got[MAX_TENSORS];
    assert_ok(veer_verify(c->g));
    assert_true(count <= MAX_TENSORS && arg_count <= MAX_TENSORS);
    for (int i = 0; i < arg_count; i++) {
        veer_value_t arg = veer_region_arg(c->g, body, i);
        args[i] = argument(c, veer_value_name(c->g, arg));
        if (veer_value_type(c->g, arg)->dtype == VEER_DTYPE_BF16) args[i].type.dtype = VEER_DTYPE_BF16;
    }
    veer_status_t status = veer_reference_eval(c->g, c->func, args, arg_count, memory(), got, count);
    if (status) fail_msg("%s: %s", c->folder, veer_status_message(status, 0));
    for (int i = 0; i < count && i < c->want.count; i++)
        if (is_random(c))
            check_support(c, i, &got[i]);
        else
            compare(c, i, &got[i]);
    for (int i = 0; i < count; i++) veer_free(memory(), got[i].data);
}

static int not_exported;

static void check_export(case_t *c) {
    veer_status_t status = veer_onnx_export(c->g, c->func, temp_path("again.onnx"), NULL);
    if (veer_status_code(status) == VEER_ERR_UNSUPPORTED) { /* what operator set 17 has no words for */
        veer_status_free(status);
        not_exported++;
        veer_graph_destroy(c->g);
        return;
    }
    if (status) fail_msg("%s: export: %s", c->folder, veer_status_message(status, 0));
    veer_graph_destroy(c->g);
    status = import(c, temp_path("again.onnx"), false);
    if (status) fail_msg("%s: import again: %s", c->folder, veer_status_message(status, 0));
    check_outputs(c);
    veer_graph_destroy(c->g);
}

/* True where the model was checked, false where it cannot be imported. */
static bool check_case(case_t *c) {
    bool readable = read_tensors(c->folder, "input", &c->in) && read_tensors(c->folder, "output", &c->want),
         done = false;
    if (readable && !is_wrong(c)) {
        complete_names(c);
        veer_status_t status = import(c, c->model, false);
        if (veer_status_code(status) == VEER_ERR_UNSUPPORTED &&
            strstr(veer_status_message(status, 0), "must be known")) {
            veer_status_free(status);
            status = import(c, c->model, true);
        }
        if (status && veer_status_code(status) != VEER_ERR_UNSUPPORTED)
            fail_msg("%s: %s", c->folder, veer_status_message(status, 0));
        done = !status;
        veer_status_free(status);
    }
    if (done) {
        check_outputs(c);
        check_export(c);
    }
    free_tensors(&c->in);
    free_tensors(&c->want);
    return done;
}

static void check_folder(const char *folder, int at_least) {
    DIR *dir = opendir(folder);
    int done = 0, skipped = 0;
    not_exported = 0;
    if (!dir) skip();
    for (struct dirent *e; (e = readdir(dir));) {
        case_t c = {0};
        if (e->d_name[0] == '.' || veer_contradictory_test(e->d_name)) continue;
        snprintf(c.folder, sizeof c.folder, "%s/%.200s", folder, e->d_name);
        snprintf(c.model, sizeof c.model, "%.390s/model.onnx", c.folder);
        if (check_case(&c))
            done++;
        else
            skipped++;
    }
    closedir(dir);
    printf("%s: %d checked, %d of them not exported, %d not supported\n", folder, done, not_exported, skipped);
    assert_true(done >= at_least);
    assert_true(not_exported <= done / 12); /* float8, int4, logic of integers, ... */
}

static void test_nodes(void **state) {
    (void)state;
    check_folder(DATA "node", 894);
}
static void test_pytorch(void **state) {
    (void)state;
    check_folder(DATA "pytorch-operator", 35);
    check_folder(DATA "pytorch-converted", 82);
}
static void test_simple(void **state) {
    (void)state;
    check_folder(DATA "simple", 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nodes), cmocka_unit_test(test_pytorch),
                                       cmocka_unit_test(test_simple)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
