/* Every elementwise op on every kind of element: the LLVM backend either declines with a reason, or its kernel agrees
 * with the reference one. So an op that the IR gains without a kernel here cannot quietly become something else. */
#ifdef VEER_WITH_LLVM
#include "backends/llvm/llvm.h"
#include "backends/llvm/region.h"
#endif
#include "tests/op_run.h"

#include <stdlib.h>

#ifdef VEER_WITH_LLVM
enum { COUNT = 24, MAX_KERNELS = 600 };

/* Small numbers of both signs where the type has them, ties of rounding, zeros. */
static const double SIGNED[COUNT] = {-100, -7,   -3,  -2,    -1,   -1,  0,   0,   1,  1,  2,  3,
                                     5,    6.75, -.5, -1.25, -2.5, 2.5, 3.5, 0.5, 10, 64, 99, 100};
static const double UNSIGNED[COUNT] = {0, 1, 2,    3,   4,    5,   7,   8,  15, 16, 31,  32,
                                       0, 1, 0.25, 0.5, 1.75, 2.5, 3.5, 50, 64, 99, 100, 127};

typedef struct kernel_s {
    op_row_t row;
    char label[64];
    double second[COUNT];
    op_run_t run;
    veer_llvm_kernel_t kernel;
} kernel_t;

static bool takes_negative(veer_op_t op) {
    return op != VEER_OP_LOG && op != VEER_OP_SQRT && op != VEER_OP_RSQRT && op != VEER_OP_POW;
}

static void set_operand(operand_t *o, veer_dtype_t dtype, const double *values) {
    *o = (operand_t){FILL_VALUES, VEER_TYPE(dtype, COUNT), 0, values};
}

/* The row for an op on `dtype`, cast to `to`; false where the op does not take it. */
static bool make_row(kernel_t *k, veer_op_t op, veer_dtype_t dtype, veer_dtype_t to) {
    const veer_op_def_t *def = veer_op_def(op);
    bool both = (veer_dtype_is_float(dtype) || veer_dtype_is_signed(dtype)) && takes_negative(op);
    if (op == VEER_OP_CAST && veer_dtype_is_integer(to) && !veer_dtype_is_signed(to)) both = false;
    const double *first = both ? SIGNED : UNSIGNED;
    snprintf(k->label, sizeof k->label, "%s of %s%s%s", def->name, veer_dtype_name(dtype), to ? " to " : "",
             to ? veer_dtype_name(to) : "");
    k->row = (op_row_t){.label = k->label, .op = op};
    for (int i = 0; i < COUNT; i++) {
        k->second[i] = first[(i * 7 + 5) % COUNT];
        if (dtype != VEER_DTYPE_BOOL && op == VEER_OP_POW) k->second[i] = k->second[i] > 4 ? 2 : k->second[i];
    }
    int count = 0;
    for (; count < 3 && def->in[count].name; count++)
        set_operand(&k->row.in[count], op == VEER_OP_WHERE && !count ? VEER_DTYPE_BOOL : dtype,
                    op == VEER_OP_WHERE && !count ? UNSIGNED
                    : count                       ? k->second
                                                  : first);
    if (op == VEER_OP_CAST) k->row.attrs[0] = VEER_INT("to", to);
    if (op == VEER_OP_MOD && veer_dtype_is_float(dtype)) k->row.attrs[0] = VEER_INT("fmod", 1);
    veer_status_t status = op_run_build(&k->run, &k->row);
    bool good = !status;
    veer_status_free(status);
    op_run_deinit(&k->run);
    return good;
}

static void run(const kernel_t *k, veer_kernel_fn fn) {
    veer_tensor_t want, got = tensor_make(k->run.type);
    op_run_t r = k->run;
    void *bufs[4], *scratch = calloc(1, k->kernel.scratch_bytes + 1);
    want = op_run_eval(&r);
    for (int i = 0; i < r.count; i++) bufs[i] = r.args[i].data;
    bufs[r.count] = got.data;
    veer_kernel_args_t args = {.buf = bufs, .end = k->kernel.work_items, .scratch = scratch, .threads = 1};
    assert_int_equal(fn(&args), 0);
    double rel = r.type.dtype == VEER_DTYPE_F64 ? 1e-14 : 2e-6;
    const veer_op_def_t *def = veer_op_def(k->row.op);
    for (int i = 0; i < COUNT; i++) {
        double g = veer_load_double(&got, i), w = veer_load_double(&want, i);
        if (g == w || (isnan(g) && isnan(w))) continue;
        /* gelu and erf have tolerances of their own: left of 0 gelu's errors are those of x */
        double bound = 1e-9 + rel * fabs(w), tolerance = def->tol_f32.abs + def->tol_f32.rel * fabs(w);
        if (r.type.dtype == VEER_DTYPE_F32 && tolerance > bound) bound = tolerance;
        if (!veer_dtype_is_float(r.type.dtype) || !(fabs(g - w) <= bound))
            fail_msg("%s [%d] of %g: %.9g, expected %.9g", k->label, i, veer_load_double(&r.args[0], i), g, w);
    }
    tensor_free(&got), tensor_free(&want);
    free(scratch);
}

/* Adds the kernel where the backend takes the node; what it declines has a reason. */
static int add(veer_llvm_t *llvm, kernel_t *k) {
    char reason[256] = "";
    bool yes;
    op_run_init(&k->run, &k->row, 1);
    require_ok(veer_llvm_supports(k->run.g, k->run.node, &yes, reason, sizeof reason));
    if (yes) {
        require_ok(veer_llvm_emit(llvm, k->run.g, k->run.node, &k->kernel));
        return 1;
    }
    if (!*reason) fail_msg("%s is declined without a reason", k->label);
    op_run_deinit(&k->run);
    return 0;
}

static void every_op_agrees_or_is_declined(void **state) {
    (void)state;
    veer_llvm_t *llvm;
    kernel_t *kernels = calloc(MAX_KERNELS, sizeof *kernels);
    int count = 0, declined = 0;
    require_ok(veer_llvm_create(veer_allocator_system(), NULL, &llvm));
    for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++) {
        if (!veer_op_has(op, VEER_ELEMENTWISE)) continue;
        for (veer_dtype_t d = VEER_DTYPE_NONE + 1; d < VEER_DTYPE_COUNT; d++)
            for (veer_dtype_t to = 0; to < VEER_DTYPE_COUNT; to++) {
                if ((op == VEER_OP_CAST) != (to != VEER_DTYPE_NONE)) continue;
                assert_true(count < MAX_KERNELS);
                if (!make_row(&kernels[count], op, d, to)) continue;
                int taken = add(llvm, &kernels[count]);
                count += taken, declined += !taken;
            }
    }
    require_ok(veer_llvm_finish(llvm));
    for (int i = 0; i < count; i++) run(&kernels[i], veer_llvm_symbol(llvm, kernels[i].kernel.id));
    print_message("%d kernels, %d declined\n", count, declined);
    assert_true(count > 150 && declined > 50);
    for (int i = 0; i < count; i++) op_run_deinit(&kernels[i].run);
    veer_llvm_destroy(llvm);
    free(kernels);
}

/* The question that region.c asks of every elementwise node, for ops that have no kernel at all. */
static void an_op_without_a_kernel_is_declined(void **state) {
    (void)state;
    assert_true(veer_fx_has(VEER_OP_EXP, VEER_DTYPE_F32, VEER_DTYPE_F32));
    for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++)
        if (!veer_op_has(op, VEER_ELEMENTWISE))
            for (veer_dtype_t d = VEER_DTYPE_NONE + 1; d < VEER_DTYPE_COUNT; d++)
                if (veer_fx_has(op, d, d)) fail_msg("%s of %s", veer_op_name(op), veer_dtype_name(d));
}
#else
static void every_op_agrees_or_is_declined(void **state) {
    (void)state;
    skip();
}
static void an_op_without_a_kernel_is_declined(void **state) {
    (void)state;
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_agrees_or_is_declined),
        cmocka_unit_test(an_op_without_a_kernel_is_declined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
