/* The whole pipeline on random programs: what a user gets, optimised and lowered to the fast backends, is what the
 * unoptimised graph means.
 *
 * For each program:
 *   - lowered to the reference loops, unoptimised: the evaluator's bits (storage, loops, views, copies);
 *   - optimised, lowered to the reference loops: the evaluator's numbers (the passes);
 *   - optimised, lowered to the fast backends: the same numbers, and the same bits with 1 and 3 threads;
 *   - the same two within 9/10 of the memory, where recomputing values gets there: on the reference loops the same
 * bits.
 *
 * Tolerance: what is allowed to differ by rounding is measured. The evaluator also runs on arguments that are moved by
 * 4e-6, a few dozen ulp: a program that answers this with a change of d may answer other roundings of its nodes with a
 * multiple of d; what does not depend on arguments is allowed 3e-6 per node.
 *
 *     test_passes_random 1234         runs one seed, and prints the program if it fails
 *     test_passes_random 1000 5000    runs seeds 1000 to 5999
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/compile.h"
#include "backends/reference/reference.h"
#include "ir/print.h"
#include "tests/support/random_program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PORTS = 12, PROGRAMS = 150 };

static uint64_t first_seed = 1, seeds = PROGRAMS;
static int budgets_met, budgets_missed;

typedef struct tensors_s {
    veer_tensor_t t[MOST_PORTS];
    int count;
} tensors_t;

static veer_allocator_t memory(void) {
    return veer_allocator_system();
}

static void release(tensors_t *s) {
    for (int i = 0; i < s->count; i++) veer_free(memory(), s->t[i].data);
    s->count = 0;
}

static tensors_t arguments(const veer_graph_t *g, veer_func_t func, uint64_t seed, float moved) {
    random_t r = {seed ^ 77}, noise = {seed ^ 99};
    veer_region_t body = veer_func_body(g, func);
    tensors_t s = {.count = veer_region_arg_count(g, body)};
    for (int i = 0; i < s.count; i++) {
        s.t[i].type = *veer_value_type(g, veer_region_arg(g, body, i));
        s.t[i].data = veer_alloc(memory(), veer_type_bytes(&s.t[i].type));
        if (s.t[i].type.dtype == VEER_DTYPE_I64) {
            *(int64_t *)s.t[i].data = (int64_t)seed;
            continue;
        }
        for (int64_t k = 0; k < veer_type_count(&s.t[i].type); k++) {
            float x = (float)(random_below(&r, 4001) - 2000) / 1000.0f;
            ((float *)s.t[i].data)[k] = x * (1 + moved * (float)(random_below(&noise, 2001) - 1000) / 1000.0f);
        }
    }
    return s;
}

/* `before`: passes over every function, as over imported models. */
static veer_status_t build(uint64_t seed, const char *before, const char *passes, veer_graph_t **out_g,
                           veer_func_t *out_f) {
    VEER_TRY(veer_graph_create(memory(), out_g));
    VEER_TRY(random_program(*out_g, seed, out_f));
    VEER_TRY(veer_run_passes(*out_g, VEER_NO_FUNC, before, NULL));
    return veer_run_passes(*out_g, *out_f, passes, NULL);
}

/* ---- two ways to a result ---- */

/* What the graph means. */
static veer_status_t evaluate(uint64_t seed, float moved, tensors_t *out, int *out_nodes) {
    veer_graph_t *g = NULL;
    veer_func_t f;
    veer_status_t status = build(seed, "", "inline,gradient,dce", &g, &f);
    if (!status) {
        tensors_t in = arguments(g, f, seed, moved);
        out->count = veer_region_result_count(g, veer_func_body(g, f));
        status = veer_reference_eval(g, f, in.t, in.count, memory(), out->t, out->count);
        if (status) out->count = 0;
        release(&in);
        *out_nodes = (int)veer_graph_node_limit(g);
    }
    veer_graph_destroy(g);
    return status;
}

static veer_status_t run(veer_exec_t *exec, const veer_plan_t *plan, const tensors_t *in, int threads, tensors_t *out) {
    out->count = veer_plan_output_count(plan);
    for (int i = 0; i < in->count; i++) veer_exec_bind_input(exec, i, in->t[i].data);
    for (int i = 0; i < out->count; i++) {
        out->t[i].type = *veer_plan_output_type(plan, i);
        size_t bytes = veer_type_bytes(&out->t[i].type);
        out->t[i].data = veer_alloc(memory(), bytes);
        memset(out->t[i].data, 0xff, bytes); /* NaN, unless written */
        veer_exec_bind_output(exec, i, out->t[i].data);
    }
    return veer_exec_run(exec, &(veer_run_options_t){.threads = threads});
}

/* Twice in the same exec: with 1 thread, then with 3. `arena`: the budget on entry (0: none), what the plan takes on
 * return. */
static veer_status_t compiled(uint64_t seed, const char *backend, const char *passes, int64_t *arena, tensors_t *one,
                              tensors_t *three) {
    veer_graph_t *g = NULL;
    veer_func_t f;
    veer_plan_t *plan = NULL;
    veer_exec_t *exec = NULL;
    veer_compile_options_t options = {.backend = backend, .passes = passes, .memory_budget = *arena};
    bool plain = !strcmp(backend, "reference") && !passes;
    veer_status_t status = build(seed, plain ? "" : "raise-slice,dce", "", &g, &f);
    tensors_t in = {.count = 0};
    if (!status) {
        in = arguments(g, f, seed, 0);
        status = veer_compile_func(g, f, &options, memory(), &plan);
    }
    if (!status) *arena = (int64_t)veer_plan_arena_bytes(plan);
    if (!status) status = veer_exec_create(plan, &exec);
    if (!status) status = run(exec, plan, &in, 1, one);
    if (!status) status = run(exec, plan, &in, 3, three);
    release(&in);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
    veer_graph_destroy(g);
    return status;
}

/* ---- comparison ---- */

static float at(const veer_tensor_t *t, int64_t i) {
    return ((const float *)t->data)[i];
}

static veer_status_t same_bits(const tensors_t *a, const tensors_t *b) {
    for (int i = 0; i < a->count; i++)
        for (int64_t k = 0; k < veer_type_count(&a->t[i].type); k++)
            if (memcmp((char *)a->t[i].data + 4 * k, (char *)b->t[i].data + 4 * k, 4))
                return veer_error(VEER_ERR_MISMATCH, "result %d, element %lld: %.9g and %.9g", i, (long long)k,
                                  at(&a->t[i], k), at(&b->t[i], k));
    return veer_ok();
}

static veer_status_t near(const tensors_t *got, const tensors_t *want, const tensors_t *moved, int nodes) {
    for (int i = 0; i < want->count; i++) {
        double most = 1, change = 0;
        int64_t count = veer_type_count(&want->t[i].type);
        for (int64_t k = 0; k < count; k++) {
            most = fmax(most, fabs((double)at(&want->t[i], k)));
            change = fmax(change, fabs((double)at(&want->t[i], k) - (double)at(&moved->t[i], k)));
        }
        double allowed = 30 * change + 3e-6 * most * nodes;
        for (int64_t k = 0; k < count; k++) {
            double error = fabs((double)at(&got->t[i], k) - (double)at(&want->t[i], k));
            if (!(error <= allowed))
                return veer_error(VEER_ERR_MISMATCH, "result %d, element %lld of %lld: %.9g, expected %.9g +- %.3g", i,
                                  (long long)k, (long long)count, at(&got->t[i], k), at(&want->t[i], k), allowed);
        }
    }
    return veer_ok();
}

static const char OPTIMISED[] = "inline,gradient,fold,cse,dce,expand,sink-broadcast,fold,cse,dce,layout,fold,cse,dce,"
                                "transpose-matmul,hoist,cse,dce,fuse-attention,fuse-contraction,"
                                "split-norm{min_bytes=0},fuse,dce,interleave,strands{least_us=0,least_percent=0}";

/* Within 9/10 of `arena`. *out_met is false where that cannot be done. */
static veer_status_t within_budget(uint64_t seed, const char *backend, const char *passes, int64_t arena,
                                   tensors_t *one, tensors_t *three, bool *out_met) {
    int64_t budget = arena * 9 / 10, taken = budget;
    *out_met = false;
    if (budget < 1) return veer_ok();
    veer_status_t status = compiled(seed, backend, passes, &taken, one, three);
    *out_met = !status;
    *(status ? &budgets_missed : &budgets_met) += 1;
    if (!status && taken > budget)
        return veer_error(VEER_ERR_FAILED, "an arena of %lld bytes in a budget of %lld", (long long)taken,
                          (long long)budget);
    if (!status || veer_status_code(status) != VEER_ERR_RESOURCE) return status;
    veer_status_free(status);
    return veer_ok();
}

static veer_status_t check_budgets(uint64_t seed, const char *optimised, const int64_t arena[2], const tensors_t *bits,
                                   const tensors_t *want, const tensors_t *moved, int nodes) {
    tensors_t got[4] = {{.count = 0}};
    bool met;
    veer_status_t status = within_budget(seed, "reference", optimised, arena[0], &got[0], &got[1], &met);
    if (!status && met) status = veer_status_where(same_bits(&got[0], bits), "within a budget, reference loops");
    if (!status) status = within_budget(seed, "auto", optimised, arena[1], &got[2], &got[3], &met);
    if (!status && met) status = veer_status_where(near(&got[2], want, moved, nodes), "within a budget, fast backends");
    if (!status && met) status = veer_status_where(same_bits(&got[3], &got[2]), "within a budget, 3 threads against 1");
    for (int i = 0; i < 4; i++) release(&got[i]);
    return status;
}

static veer_status_t check_seed(uint64_t seed) {
    tensors_t want = {.count = 0}, moved = {.count = 0}, got[6] = {{.count = 0}};
    int64_t plain = 0, arena[2] = {0};
    int nodes = 0;
    veer_status_t status = veer_status_where(evaluate(seed, 0, &want, &nodes), "evaluating");
    if (!status) status = veer_status_where(evaluate(seed, 4e-6f, &moved, &nodes), "evaluating");
    if (!status)
        status =
            veer_status_where(compiled(seed, "reference", NULL, &plain, &got[0], &got[1]), "lowering to the reference");
    if (!status) status = veer_status_where(same_bits(&got[0], &want), "unoptimised, reference loops");
    if (!status) status = veer_status_where(same_bits(&got[1], &want), "unoptimised, reference loops, 3 threads");
    if (!status)
        status = veer_status_where(compiled(seed, "reference", OPTIMISED, &arena[0], &got[2], &got[3]), "optimising");
    if (!status) status = veer_status_where(near(&got[2], &want, &moved, nodes), "optimised, reference loops");
    if (!status)
        status = veer_status_where(compiled(seed, "auto", OPTIMISED, &arena[1], &got[4], &got[5]), "compiling");
    if (!status) status = veer_status_where(near(&got[4], &want, &moved, nodes), "optimised, fast backends");
    if (!status) status = veer_status_where(same_bits(&got[5], &got[4]), "3 threads against 1");
    if (!status) status = check_budgets(seed, OPTIMISED, arena, &got[2], &want, &moved, nodes);
    release(&want);
    release(&moved);
    for (int i = 0; i < 6; i++) release(&got[i]);
    return status;
}

static void show(uint64_t seed) {
    veer_graph_t *g = NULL;
    veer_func_t f;
    char *text = NULL;
    veer_status_t status = build(seed, "", "inline,gradient,dce", &g, &f);
    if (!status) status = veer_print(g, memory(), &text);
    if (!status) printf("%s\n", text);
    veer_status_free(status);
    veer_free(memory(), text);
    veer_graph_destroy(g);
}

static void pipelines_keep_what_programs_mean(void **state) {
    (void)state;
    int failed = 0;
    for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
        veer_status_t status = check_seed(seed);
        if (!status) continue;
        fprintf(stderr, "seed %llu: %s\n%s\n", (unsigned long long)seed, veer_status_message(status, 0),
                veer_status_details(status, 0));
        veer_status_free(status);
        if (seeds == 1) show(seed);
        failed++;
    }
    printf("%d budgets met, %d out of reach\n", budgets_met, budgets_missed);
    if (failed) fail_msg("%d programs failed", failed);
    if (seeds >= PROGRAMS) assert_true(budgets_met > budgets_missed / 10);
}

int main(int argc, char **argv) {
    if (argc > 1) first_seed = strtoull(argv[1], NULL, 10), seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(pipelines_keep_what_programs_mean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
