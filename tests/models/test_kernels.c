/* What the examples compile to: which kernels a step has. Counts are of the models and the equations; a change of the
 * passes that moves them should be a better program, and then changes them here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/veer.h"

#include <stdio.h>
#include <string.h>

static void ok(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n%s\n", veer_status_message(status, 0), veer_status_details(status, 0));
    veer_status_free(status);
    fail_msg("unexpected error");
}

/* `flags`: name, value, name, value, ..., NULL. */
static veer_sampling_t *compile(const char *folder, const char *const *flags, const veer_compile_options_t *options) {
    veer_settings_t *s;
    veer_sampling_t *p;
    ok(veer_settings_create(veer_allocator_system(), &s));
    for (; *flags; flags += 2) ok(veer_settings_set(s, flags[0], flags[1]));
    ok(veer_sampling_create(folder, s, options, &p));
    veer_settings_destroy(s);
    return p;
}

typedef struct counts_s {
    int kernels, copies, noise, reference, matmuls; /* in the loop */
    int reference_outside;
    char last[200]; /* name of the loop's last kernel */
} counts_t;

static counts_t count(const veer_sampling_t *p) {
    const veer_plan_t *plan = veer_sampling_plan(p);
    counts_t c = {0};
    for (int i = 0; i < veer_plan_call_count(plan); i++) {
        veer_call_info_t call = veer_plan_call(plan, i);
        bool reference = !strcmp(call.backend, "reference");
        if (!call.loop_level) c.reference_outside += reference;
        if (!call.loop_level) continue;
        c.copies += call.kind == VEER_CALL_COPY;
        if (call.kind != VEER_CALL_KERNEL) continue;
        c.kernels++;
        c.reference += reference;
        c.noise += strstr(call.name, "noise") != NULL;
        c.matmuls += !strncmp(call.name, "matmul", 6);
        snprintf(c.last, sizeof c.last, "%s", call.name);
    }
    return c;
}

static const char *const digits[] = {"class", "3", "num-samples", "16", "steps", "5", NULL};
#if defined(VEER_WITH_LLVM) && defined(VEER_WITH_ONEDNN)
static const char *const e2e[] = {
    "self-cond", "x0_prev", "text", "y=name : Alimentum | area : city centre", "steps", "5", "num-samples", "4", NULL};

/* spec (9): clip, mean, variance, shift by the gradient and noise are the last kernel, which makes the noise itself;
 * what follows are copies into the carried buffers. */
static void check_step(const char *folder, const char *const *flags, int copies) {
    veer_sampling_t *p = compile(folder, flags, NULL);
    counts_t c = count(p);
    assert_int_equal(c.noise, 1);
    assert_non_null(strstr(c.last, "noise"));
    assert_int_equal(c.reference, 0);
    assert_int_equal(c.reference_outside, 0);
    assert_int_equal(c.copies, copies);
    veer_sampling_destroy(p);
}

static void the_step_update_is_one_kernel(void **state) {
    (void)state;
    check_step(VEER_EXAMPLES "/digits", digits, 1);
    check_step(VEER_EXAMPLES "/e2e", e2e, 2); /* x_t, and x0-hat for self-conditioning */
}
#endif

/* Time embeddings and their projections into every block leave the loop. */
static void what_depends_on_the_step_only_leaves_the_loop(void **state) {
    (void)state;
    static const char before[] = "inline,gradient,fold,cse,dce,sink-broadcast,fold,cse,dce";
    char after[sizeof before + 20];
    snprintf(after, sizeof after, "%s,hoist,cse,dce", before);
    veer_sampling_t *p =
        compile(VEER_EXAMPLES "/digits", digits, &(veer_compile_options_t){.backend = "reference", .passes = before});
    veer_sampling_t *q =
        compile(VEER_EXAMPLES "/digits", digits, &(veer_compile_options_t){.backend = "reference", .passes = after});
    counts_t in = count(p), out = count(q);
    printf("matmuls in a step: %d, after hoisting %d; kernels %d and %d\n", in.matmuls, out.matmuls, in.kernels,
           out.kernels);
    /* Two of each time embedding, one of each of the residual blocks: 10 of the U-Net, 5 of the classifier. */
    assert_int_equal(in.matmuls - out.matmuls, 2 + 10 + 2 + 5);
    veer_sampling_destroy(p);
    veer_sampling_destroy(q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#if defined(VEER_WITH_LLVM) && defined(VEER_WITH_ONEDNN)
        cmocka_unit_test(the_step_update_is_one_kernel),
#endif
        cmocka_unit_test(what_depends_on_the_step_only_leaves_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
