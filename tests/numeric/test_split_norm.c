/* group_norm, its gradient, and what stands around them, with statistics taken by blocks of positions, against the
 * reference kernels in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/compile.h"
#include "backends/reference/reference.h"
#include "ir/channels.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/random.h"
#include "tests/support/tensors.h"

#define PASSES "split-norm{min_bytes=0},fuse,dce"
enum { INPUTS = 4, OUTPUTS = 4 };
static const uint64_t seed = 20;

/* x of `rank` dims, n and c at the ends; groups and eps of two norms. */
typedef struct case_s {
    int rank, dims[5], groups, other_groups;
    float offset; /* of x, whose deviations are about 1 */
} case_t;

static const case_t cases[] = {
    {4, {1, 64, 64, 64}, 32, 32, 0}, {4, {1, 16, 16, 192}, 32, 6, 0}, {4, {2, 32, 24, 48}, 6, 48, 0},
    {4, {3, 20, 20, 40}, 8, 8, 0},   {4, {1, 16, 16, 24}, 24, 1, 0},  {4, {2, 8, 8, 17}, 17, 1, 0},
    {4, {1, 30, 30, 13}, 1, 13, 0},  {4, {1, 64, 64, 32}, 8, 8, 100}, {4, {1, 32, 32, 64}, 32, 2, 4000},
    {4, {2, 9, 8, 6}, 3, 2, -50},    {3, {2, 144, 20}, 5, 10, 0},     {3, {1, 8, 3}, 3, 1, 0},
    {5, {1, 4, 6, 10, 24}, 4, 4, 0}, {5, {2, 3, 8, 4, 33}, 11, 3, 1}, {4, {2, 14, 14, 24}, 6, 4, 0},
};
enum { CASES = sizeof cases / sizeof *cases };

static veer_allocator_t memory(void) {
    return veer_allocator_system();
}

static void write_dims(const case_t *k, char *out) {
    for (int i = 0; i < k->rank; i++) out += sprintf(out, "%s%d", i ? "," : "", k->dims[i]);
}

/* A norm and its gradient, which share statistics; a norm in other groups and one with another eps of the same x, which
 * do not; all again in a loop, of what it carries. */
static void write_graph(const case_t *k, char *out, size_t bytes) {
    char x[64];
    int c = k->dims[k->rank - 1], g = k->groups;
    write_dims(k, x);
    snprintf(
        out, bytes,
        "graph @f(%%x: f32[%s], %%d: f32[%s], %%s: f32[%d], %%b: f32[%d]) {"
        " %%y = group_norm %%x, %%s, %%b {groups = %d, channels_last = 1}  %%z = silu %%y"
        " %%q = sigmoid %%d  %%p = mul %%q, %%d  %%e = mul %%p, %%s"
        " %%g = group_norm_grad %%x, %%e {groups = %d, channels_last = 1}"
        " %%o = group_norm %%x, _, %%b {groups = %d, channels_last = 1}"
        " %%v = group_norm %%x {groups = %d, eps = 0.5, channels_last = 1}  %%w = add %%o, %%v"
        " %%l = loop (%%d) {trip = 2} (%%i: i64[], %%r: f32[%s]) {"
        " %%m = group_norm %%r, %%s {groups = %d, eps = 0.1, channels_last = 1}"
        " %%n = group_norm_grad %%r, %%m {groups = %d, eps = 0.1, channels_last = 1}  %%t = add %%m, %%n  yield %%t }"
        " return %%z, %%g, %%w, %%l }",
        x, x, c, c, g, g, k->other_groups, g, x, g, g);
}

static veer_status_t graph_of(const case_t *k, veer_allocator_t allocator, veer_graph_t **out_g,
                              veer_func_t *out_func) {
    char text[2048];
    write_graph(k, text, sizeof text);
    VEER_TRY(veer_graph_create(allocator, out_g));
    veer_status_t status = veer_parse(*out_g, text, strlen(text), "test");
    if (status)
        veer_graph_destroy(*out_g);
    else
        *out_func = veer_graph_find_func(*out_g, "f");
    return status;
}

static void fill(const case_t *k, const veer_graph_t *g, veer_func_t f, veer_tensor_t in[INPUTS]) {
    random_t r = {seed};
    for (int i = 0; i < INPUTS; i++) {
        in[i].type = *veer_value_type(g, veer_region_arg(g, veer_func_body(g, f), i));
        in[i].data = veer_alloc(memory(), veer_type_bytes(&in[i].type));
        for (int64_t j = 0; j < veer_type_count(&in[i].type); j++)
            ((float *)in[i].data)[j] = (i ? 0 : k->offset) + (float)(random_below(&r, 4001) - 2000) / 1000.0f;
    }
}

static void outputs_like(const veer_tensor_t *like, veer_tensor_t *out) {
    for (int i = 0; i < OUTPUTS; i++) {
        out[i].type = like[i].type;
        out[i].data = veer_alloc(memory(), veer_type_bytes(&out[i].type));
        memset(out[i].data, 0xff, veer_type_bytes(&out[i].type));
    }
}

static void run(veer_exec_t *exec, const veer_tensor_t *in, veer_tensor_t *out, int threads) {
    for (int i = 0; i < INPUTS; i++) veer_exec_bind_input(exec, i, in[i].data);
    for (int i = 0; i < OUTPUTS; i++) veer_exec_bind_output(exec, i, out[i].data);
    require_ok(veer_exec_run(exec, &(veer_run_options_t){.threads = threads}));
}

/* The ops' tolerance (2e-5 of the gradient), which a loop's second time through amplifies by 1 / sqrt(eps) at most; and
 * what x - mean loses where x is large: the mean is a sum of roundings of x's size, which go up and down; 8 times the
 * length of such a walk. */
static double tolerance_of(const case_t *k, int result) {
    double positions = 64, large = fabs(k->offset) + 2;
    for (int i = 1; i < k->rank - 1; i++) positions *= k->dims[i];
    return 2e-5 * (result == OUTPUTS - 1 ? 4 : 1) + 8 * sqrt(positions) * ldexp(large, -24);
}

static void expect_near(const case_t *k, const veer_tensor_t *got, const veer_tensor_t *want, int result) {
    double tolerance = tolerance_of(k, result);
    for (int64_t j = 0; j < veer_type_count(&want->type); j++) {
        double y = ((const float *)want->data)[j], error = fabs(((const float *)got->data)[j] - y);
        char dims[64];
        write_dims(k, dims);
        if (!(error <= tolerance * fmax(1, fabs(y))))
            fail_msg("[%s] in %d groups around %g, result %d, element %lld: %.9g, expected %.9g", dims, k->groups,
                     k->offset, result, (long long)j, ((const float *)got->data)[j], y);
    }
}

static void check_case(const case_t *k) {
    veer_func_t f;
    veer_graph_t *g;
    veer_tensor_t in[INPUTS], want[OUTPUTS], got[OUTPUTS], again[OUTPUTS];
    veer_plan_t *plan;
    veer_exec_t *exec;
    require_ok(graph_of(k, memory(), &g, &f));
    fill(k, g, f, in);
    require_ok(veer_reference_eval(g, f, in, INPUTS, memory(), want, OUTPUTS));
    require_ok(veer_compile_func(g, f, &(veer_compile_options_t){.passes = PASSES}, memory(), &plan));
    require_ok(veer_exec_create(plan, &exec));
    outputs_like(want, got);
    outputs_like(want, again);
    run(exec, in, got, 1);
    for (int i = 0; i < OUTPUTS; i++) expect_near(k, &got[i], &want[i], i);
    for (int threads = 2; threads <= 8; threads += threads == 2 ? 1 : 5) {
        run(exec, in, again, threads);
        for (int i = 0; i < OUTPUTS; i++)
            assert_memory_equal(again[i].data, got[i].data, veer_type_bytes(&got[i].type));
    }
    for (int i = 0; i < INPUTS; i++) free_tensor(&in[i]);
    for (int i = 0; i < OUTPUTS; i++) free_tensor(&want[i]), free_tensor(&got[i]), free_tensor(&again[i]);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
    veer_graph_destroy(g);
}

static void blocks_give_what_whole_norms_give(void **state) {
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < CASES; i++) check_case(&cases[i]);
}

/* Norms are split where the target takes their pieces, and that is the LLVM backend. */
static void needs_llvm(void) {
#ifndef VEER_WITH_LLVM
    print_message("built without LLVM: nothing is split\n");
    skip();
#endif
}

/* Else the test above would compare whole norms. */
static void all_are_split(void **state) {
    (void)state;
    needs_llvm();
    for (int i = 0; i < CASES; i++) {
        veer_func_t f;
        veer_graph_t *g;
        char *text;
        require_ok(graph_of(&cases[i], memory(), &g, &f));
        require_ok(veer_run_passes(g, f, "split-norm{min_bytes=0}", NULL));
        require_ok(veer_print(g, memory(), &text));
        if (strstr(text, "group_norm")) fail_msg("case %d: %s", i, text);
        veer_free(memory(), text);
        veer_graph_destroy(g);
    }
}

/* ---- behind convolutions ---- */

/* Two convolutions of x, to m channels each; `joined` of them give the moments. */
typedef struct conv_case_s {
    int n, h, w, c, m, joined;
    const char *precision;
} conv_case_t;

static const conv_case_t conv_cases[] = {
    {1, 16, 16, 64, 64, 2, NULL},     {2, 32, 20, 32, 48, 2, NULL},    {1, 64, 64, 32, 32, 2, NULL},
    {1, 32, 256, 128, 32, 0, NULL},   {2, 14, 14, 32, 40, 0, NULL},    {3, 8, 12, 40, 96, 2, NULL},
    {1, 30, 16, 64, 64, 0, NULL},     {1, 16, 16, 16, 64, 0, NULL},    {1, 8, 512, 64, 32, 0, NULL},
    {1, 16, 16, 64, 64, 2, "strict"}, {2, 12, 6, 35, 66, 2, "strict"},
};
enum { CONV_CASES = sizeof conv_cases / sizeof *conv_cases, CONV_RESULTS = 3 };

/* A norm of the first one, and a norm and its gradient of the concat of both with x. */
static veer_status_t conv_graph(const conv_case_t *k, veer_allocator_t allocator, veer_graph_t **out_g,
                                veer_func_t *out_f) {
    static const char WINDOW[] = "strides = [1, 1], pads_before = [1, 1], pads_after = [1, 1], dilations = [1, 1], "
                                 "groups = 1, channels_last = 1";
    char text[2048];
    int length = snprintf(
        text, sizeof text,
        "graph @f(%%x: f32[%d,%d,%d,%d], %%r: f32[%d,%d,%d,%d], %%b: f32[%d], %%s: f32[%d]) {"
        " %%k = const f32[%d,%d,3,3] splat 0.03  %%l = const f32[%d,%d,3,3] splat -0.02"
        " %%p = conv %%x, %%k, %%b {%s}  %%q = silu %%p  %%o = conv %%x, %%l, %%b {%s}  %%t = add %%o, %%r"
        " %%u = group_norm %%q, %%b, %%b {groups = 2, channels_last = 1}"
        " %%c = concat %%q, %%x, %%t {axis = 3}  %%e = silu %%c"
        " %%v = group_norm %%c, %%s {groups = 1, channels_last = 1}"
        " %%g = group_norm_grad %%c, %%e {groups = 1, channels_last = 1}"
        " return %%u, %%v, %%g }",
        k->n, k->h, k->w, k->c, k->n, k->h, k->w, k->m, k->m, 2 * k->m + k->c, k->m, k->c, k->m, k->c, WINDOW, WINDOW);
    VEER_TRY(veer_graph_create(allocator, out_g));
    veer_status_t status = veer_parse(*out_g, text, (size_t)length, "test");
    if (status)
        veer_graph_destroy(*out_g);
    else
        *out_f = veer_graph_find_func(*out_g, "f");
    return status;
}

/* A layer may be off by 2e-5 of its largest result; a norm divides by the deviation, which is a fifth of that or more.
 */
static void expect_close(const conv_case_t *k, const veer_tensor_t *got, const veer_tensor_t *want, int result) {
    const float *y = want->data;
    double largest = 0;
    for (int64_t j = 0; j < veer_type_count(&want->type); j++) largest = fmax(largest, fabs((double)y[j]));
    for (int64_t j = 0; j < veer_type_count(&want->type); j++)
        if (!(fabs((double)((const float *)got->data)[j] - (double)y[j]) <= 1e-4 * largest))
            fail_msg("%dx%dx%dx%d to %d, %s, result %d, element %lld: %.9g, expected %.9g", k->n, k->h, k->w, k->c,
                     k->m, k->precision ? k->precision : "default", result, (long long)j,
                     (double)((const float *)got->data)[j], (double)y[j]);
}

static void check_conv_case(const conv_case_t *k, const char *tune) {
    static const case_t SMALL = {.offset = 0};
    veer_func_t f;
    veer_graph_t *g;
    veer_tensor_t in[INPUTS], want[CONV_RESULTS], got[CONV_RESULTS];
    veer_plan_t *plan;
    veer_exec_t *exec;
    require_ok(conv_graph(k, memory(), &g, &f));
    fill(&SMALL, g, f, in);
    require_ok(veer_reference_eval(g, f, in, INPUTS, memory(), want, CONV_RESULTS));
    veer_compile_options_t options = {
        .passes = "fuse-contraction," PASSES, .precision = k->precision, .tune = tune, .cache = "none"};
    require_ok(veer_compile_func(g, f, &options, memory(), &plan));
    require_ok(veer_exec_create(plan, &exec));
    for (int i = 0; i < veer_plan_call_count(plan); i++)
        if (!strcmp(veer_plan_call(plan, i).backend, "reference")) fail_msg("%s", veer_plan_call(plan, i).reason);
    for (int i = 0; i < INPUTS; i++) veer_exec_bind_input(exec, i, in[i].data);
    for (int i = 0; i < CONV_RESULTS; i++) {
        got[i] = (veer_tensor_t){want[i].type, veer_alloc(memory(), veer_type_bytes(&want[i].type))};
        veer_exec_bind_output(exec, i, got[i].data);
    }
    for (int threads = 1; threads <= 8; threads++) {
        require_ok(veer_exec_run(exec, &(veer_run_options_t){.threads = threads}));
        for (int i = 0; i < CONV_RESULTS; i++) {
            if (threads == 1) expect_close(k, &got[i], &want[i], i);
            size_t bytes = veer_type_bytes(&got[i].type);
            if (threads == 1)
                memcpy(want[i].data, got[i].data, bytes);
            else
                assert_memory_equal(got[i].data, want[i].data, bytes);
        }
    }
    for (int i = 0; i < INPUTS; i++) free_tensor(&in[i]);
    for (int i = 0; i < CONV_RESULTS; i++) free_tensor(&want[i]), free_tensor(&got[i]);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
    veer_graph_destroy(g);
}

static void convolutions_give_moments(void **state) {
    (void)state;
    needs_llvm();
    for (int i = 0; i < CONV_CASES; i++) {
        check_conv_case(&conv_cases[i], "off");
        check_conv_case(&conv_cases[i], "on");
    }
}

/* Where rows of tiles fit, also into a cache, and Winograd's algorithm is surely the fastest; elsewhere moments are
 * kernels of their own. */
static void which_are_joined(void **state) {
    enum { WITH_MOMENTS = 3 };
    (void)state;
    needs_llvm();
    for (int i = 0; i < CONV_CASES; i++) {
        veer_func_t f;
        veer_graph_t *g;
        int joined = 0;
        require_ok(conv_graph(&conv_cases[i], memory(), &g, &f));
        require_ok(veer_run_passes(g, f, "fuse-contraction,split-norm{min_bytes=0}", NULL));
        VEER_FOR_EACH_NODE(g, veer_func_body(g, f), n) {
            assert_false(veer_op_is_group_norm(veer_node_op(g, n)));
            joined += veer_node_op(g, n) == VEER_OP_FUSED && veer_node_out_count(g, n) == WITH_MOMENTS;
        }
        if (joined != conv_cases[i].joined) fail_msg("case %d: %d joined", i, joined);
        veer_graph_destroy(g);
    }
}

/* Each allocation fails in turn, alone: what comes out must not depend on it. */
static void fail_each(bool behind_convolutions) {
    for (long tried = 0;; tried++) {
        failing_allocator_t all = {.fail_at = tried, .once = true};
        veer_func_t f;
        veer_graph_t *g;
        veer_status_t status = behind_convolutions ? conv_graph(&conv_cases[0], failing_allocator(&all), &g, &f)
                                                   : graph_of(&cases[1], failing_allocator(&all), &g, &f);
        if (!status) {
            status = veer_run_passes(g, f, "fuse-contraction," PASSES, NULL);
            veer_graph_destroy(g);
        }
        bool reported = veer_status_code(status) == VEER_ERR_RESOURCE;
        veer_status_free(status);
        assert_int_equal(all.live, 0);
        if (!all.failed) {
            assert_true(tried > 100);
            return;
        }
        if (!reported) fail_msg("allocation %ld fails, and nobody says so", tried);
    }
}

static void failures_are_reported(void **state) {
    (void)state;
    needs_llvm();
    fail_each(false);
    fail_each(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_give_what_whole_norms_give),
        cmocka_unit_test(all_are_split),
        cmocka_unit_test(convolutions_give_moments),
        cmocka_unit_test(which_are_joined),
        cmocka_unit_test(failures_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
