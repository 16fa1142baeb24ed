/* Whole models as PyTorch exports them, gradients against torch.autograd: a ViT, a BERT and a U-Net classifier, made by
 * torch_models.py where /usr/bin/python3 has PyTorch; on both backends. The bound is 1e-4 of the gradient's range, as
 * for the shipped models; what single precision gives is printed. */
#include "api/veer.h"
#include "frontend/npy.h"
#include "tests/unit/temp_folder.h"

#include <math.h>

enum { MAX_PORTS = 8 };
static const double BOUND = 1e-4;

static void require(veer_status_t status, const char *what) {
    if (!status) return;
    for (size_t i = 0; i < veer_status_count(status); i++)
        print_error("%s: %s\n", what, veer_status_message(status, i));
    veer_status_free(status);
    fail();
}

static veer_tensor_t stored(const char *model, const char *name) {
    char file[128];
    veer_tensor_t t;
    snprintf(file, sizeof file, "%s.%s.npy", model, name);
    require(veer_npy_read(temp_path(file), veer_allocator_system(), &t), file);
    return t;
}

/* Largest difference over the largest element that is wanted. */
static double error_of(const veer_tensor_t *got, const veer_tensor_t *want) {
    double worst = 0, range = 0;
    assert_true(veer_type_equal(&got->type, &want->type));
    for (int64_t i = 0; i < veer_type_count(&want->type); i++) {
        double g = ((const float *)got->data)[i], w = ((const float *)want->data)[i];
        worst = fmax(worst, isnan(g) ? INFINITY : fabs(g - w)), range = fmax(range, fabs(w));
    }
    assert_true(range > 1e-3);
    return worst / range;
}

static void compare_outputs(const char *model, const char *backend, const veer_plan_t *plan, const veer_tensor_t *out) {
    int gradients = 0;
    for (int i = 0; i < veer_plan_output_count(plan); i++) {
        const char *name = veer_plan_output_name(plan, i);
        veer_tensor_t want = stored(model, name);
        double error = error_of(&out[i], &want);
        gradients += !strncmp(name, "grad_", 5);
        printf("%-5s %-10s %-12s error %.2g of the range\n", model, backend, name, error);
        assert_true(error <= BOUND);
        veer_free(veer_allocator_system(), want.data);
    }
    assert_int_equal(gradients, 1);
}

static void check_model(const char *model, const char *wrt, const char *backend) {
    char file[64];
    veer_compiled_t *compiled;
    veer_tensor_t in[MAX_PORTS], out[MAX_PORTS];
    veer_gradient_request_t request = {.wrt = &wrt, .wrt_count = 1, .head = "vjp"};
    veer_compile_options_t options = {.backend = backend};
    snprintf(file, sizeof file, "%s.onnx", model);
    require(veer_compile_gradient(temp_path(file), &request, &options, &compiled), model);
    const veer_plan_t *plan = veer_compiled_plan(compiled);
    int in_count = veer_plan_input_count(plan), out_count = veer_plan_output_count(plan);
    assert_true(in_count <= MAX_PORTS && out_count <= MAX_PORTS);
    for (int i = 0; i < in_count; i++) in[i] = stored(model, veer_plan_input_name(plan, i));
    for (int i = 0; i < out_count; i++) {
        out[i].type = *veer_plan_output_type(plan, i);
        out[i].data = veer_alloc(veer_allocator_system(), veer_type_bytes(&out[i].type));
        assert_non_null(out[i].data);
    }
    require(veer_compiled_run(compiled, in, out, NULL), model);
    compare_outputs(model, backend, plan, out);
    for (int i = 0; i < in_count; i++) veer_free(veer_allocator_system(), in[i].data);
    for (int i = 0; i < out_count; i++) veer_free(veer_allocator_system(), out[i].data);
    veer_compiled_destroy(compiled);
}

static void gradients_agree_with_autograd(void **state) {
    (void)state;
    static const char *const models[][2] = {{"vit", "pixels"}, {"bert", "embeds"}, {"unet", "x"}};
    static const char *const backends[] = {"auto", "reference"};
    char command[700];
    if (system("/usr/bin/python3 -c 'import torch, numpy' > /dev/null 2>&1")) {
        printf("no PyTorch here to compare with\n");
        skip();
    }
    snprintf(command, sizeof command, "/usr/bin/python3 %s/../models/torch_models.py %s > /dev/null", VEER_TEST_DATA,
             temp_folder);
    assert_int_equal(system(command), 0);
    for (int m = 0; m < 3; m++)
        for (int b = 0; b < 2; b++) check_model(models[m][0], models[m][1], backends[b]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_agree_with_autograd)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
