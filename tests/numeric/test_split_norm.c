/* group_norm, its gradient, and what stands around them, with statistics taken by blocks of positions, against the
 * reference kernels in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/compile.h"
#include "backends/reference/reference.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "tests/support/random.h"
#include "tests/support/tensors.h"

#define PASSES "split-norm{min_bytes=0},fuse,dce"
enum { INPUTS = 4, OUTPUTS = 2 };
static const uint64_t seed = 20;

typedef struct case_s {
    int n, h, w, c, groups;
    float offset; /* of x, whose deviations are about 1 */
} case_t;

static const case_t cases[] = {
    {1, 64, 64, 64, 32, 0},  {1, 16, 16, 192, 32, 0},   {2, 32, 24, 48, 6, 0}, {3, 20, 20, 40, 8, 0},
    {1, 16, 16, 24, 24, 0},  {1, 16, 16, 24, 1, 0},     {2, 8, 8, 17, 17, 0},  {1, 30, 30, 13, 1, 0},
    {1, 64, 64, 32, 8, 100}, {1, 32, 32, 64, 32, 4000}, {2, 9, 8, 6, 3, -50},
};

static veer_allocator_t memory(void) {
    return veer_allocator_system();
}

static veer_graph_t *graph_of(const case_t *k, veer_func_t *out_func) {
    char text[1024];
    int length = snprintf(text, sizeof text,
                          "graph @f(%%x: f32[%d,%d,%d,%d], %%d: f32[%d,%d,%d,%d], %%s: f32[%d], %%b: f32[%d]) {"
                          " %%y = group_norm %%x, %%s, %%b {groups = %d, channels_last = 1}  %%z = silu %%y"
                          " %%q = sigmoid %%d  %%p = mul %%q, %%d  %%e = mul %%p, %%s"
                          " %%g = group_norm_grad %%x, %%e {groups = %d, channels_last = 1}  return %%z, %%g }",
                          k->n, k->h, k->w, k->c, k->n, k->h, k->w, k->c, k->c, k->c, k->groups, k->groups);
    veer_graph_t *g;
    require_ok(veer_graph_create(memory(), &g));
    require_ok(veer_parse(g, text, (size_t)length, "test"));
    *out_func = veer_graph_find_func(g, "f");
    return g;
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

static void outputs_like(const veer_tensor_t *like, veer_tensor_t out[OUTPUTS]) {
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

/* The op's tolerance, and what x - mean loses where x is large: the mean is a sum of roundings of x's size, which go up
 * and down; 8 times the length of such a walk. */
static double tolerance_of(const case_t *k) {
    double steps = (double)(k->h * k->w) + 64, large = fabs(k->offset) + 2;
    return 5e-6 + 8 * sqrt(steps) * ldexp(large, -24);
}

static void expect_near(const case_t *k, const veer_tensor_t *got, const veer_tensor_t *want, int result) {
    double tolerance = tolerance_of(k);
    for (int64_t j = 0; j < veer_type_count(&want->type); j++) {
        double y = ((const float *)want->data)[j], error = fabs(((const float *)got->data)[j] - y);
        if (!(error <= tolerance * fmax(1, fabs(y))))
            fail_msg("[%d,%d,%d,%d] in %d groups around %g, result %d, element %lld: %.9g, expected %.9g", k->n, k->h,
                     k->w, k->c, k->groups, k->offset, result, (long long)j, ((const float *)got->data)[j], y);
    }
}

static void check_case(const case_t *k) {
    veer_func_t f;
    veer_graph_t *g = graph_of(k, &f);
    veer_tensor_t in[INPUTS], want[OUTPUTS], got[OUTPUTS], again[OUTPUTS];
    veer_plan_t *plan;
    veer_exec_t *exec;
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
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(&cases[i]);
}

/* Else the test above would compare whole norms. */
static void both_nodes_are_split(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        veer_func_t f;
        veer_graph_t *g = graph_of(&cases[i], &f);
        char *text;
        require_ok(veer_run_passes(g, f, "split-norm{min_bytes=0}", NULL));
        require_ok(veer_print(g, memory(), &text));
        if (strstr(text, "group_norm")) fail_msg("case %d: %s", (int)i, text);
        veer_free(memory(), text);
        veer_graph_destroy(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_give_what_whole_norms_give),
        cmocka_unit_test(both_nodes_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
