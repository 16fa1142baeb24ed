/* Matrix products of the LLVM backend. A bare product must have the very bits of the chain of fused multiply-adds in
 * the order of k, for every width of the target's vectors; what stands behind it is compared with the reference
 * backend. Results have guards around them, and work items are run in uneven shares, last share first. */
#include "backends/llvm/llvm.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CASES = 200 };
static const uint32_t SEED = 11;

typedef struct case_s {
    int64_t leads, m, k, n;
    bool trans_a, trans_b;
    int program; /* 0: none */
    int parts;   /* of a number on the matrix unit; 0: not there */
    veer_graph_t *g;
    veer_func_t func;
    veer_node_t node;
    veer_llvm_kernel_t kernel;
} case_t;

#include "tests/support/llvm_suite.h"

static bool fuses = true; /* the target has fused multiply-adds */

/* ---- making cases ---- */

/* What stands behind the product, with operands of each form: a bias, all of y, one value, one per row, one per lead,
 * one per row of a lead, one per column of a lead. */
enum { PROGRAMS = 9 };
static int program_operands(const case_t *c, int program, veer_type_t *out) {
    veer_type_t bias = VEER_TYPE(VEER_DTYPE_F32, c->n), full = VEER_TYPE(VEER_DTYPE_F32, c->leads, c->m, c->n),
                one = VEER_TYPE(VEER_DTYPE_F32, 1), row = VEER_TYPE(VEER_DTYPE_F32, c->leads, c->m, 1),
                lead = VEER_TYPE(VEER_DTYPE_F32, c->leads, 1, c->n), shared = VEER_TYPE(VEER_DTYPE_F32, c->m, c->n),
                position = VEER_TYPE(VEER_DTYPE_F32, c->m, 1);
    switch (program) {
    case 1:
    case 2: out[0] = bias; return 1;
    case 3: out[0] = bias, out[1] = full; return 2;
    case 4: out[0] = one, out[1] = row; return 2;
    case 5: out[0] = lead, out[1] = lead, out[2] = full; return 3;
    case 6: out[0] = shared, out[1] = position; return 2;
    case 7: out[0] = bias; return 1;
    case 8: out[0] = full; return 1;
    default: return 0;
    }
}

/* The product and what stands behind it. */
static veer_value_t program(const case_t *c, veer_builder_t *b, const veer_value_t *in) {
    veer_value_t y = veer_build(b, VEER_OP_MATMUL, in, 2,
                                VEER_ATTRS(VEER_INT("trans_a", c->trans_a), VEER_INT("trans_b", c->trans_b)));
    in += 2;
    int64_t flat[] = {c->leads * c->m, 1, c->n}, dims[] = {c->leads, c->m, c->n};
    switch (c->program) {
    case 1: return veer_add(b, y, in[0]);
    case 2: return veer_gelu(b, veer_add(b, y, in[0]), true);
    case 3: return veer_add(b, in[1], veer_add(b, y, in[0]));
    case 4: return veer_mul(b, veer_sub(b, in[0], y), in[1]);
    case 5: return veer_add(b, in[2], veer_silu(b, veer_add(b, veer_mul(b, y, in[0]), in[1])));
    case 6: return veer_relu(b, veer_add(b, veer_mul_c(b, veer_add(b, y, in[1]), 0.25), in[0]));
    case 7: /* a value read twice, a bool between */
        y = veer_add(b, y, in[0]);
        return veer_where(b, veer_less(b, y, veer_const_f32(b, 0.1f)), veer_tanh(b, y), y);
    case 8: y = veer_reshape(b, y, 3, flat); return veer_add(b, in[0], veer_reshape(b, veer_neg(b, y), 3, dims));
    default: return y;
    }
}

static int one_result(const case_t *c, veer_builder_t *b, const veer_value_t *in, veer_value_t *out) {
    out[0] = program(c, b, in);
    return 1;
}

static void add_case(suite_t *s, case_t shape, bool is_constant, bool shared_b) {
    veer_builder_t b;
    case_t *c = begin_case(s, shape, &b);
    veer_type_t types[MAX_IO],
        a = VEER_TYPE(VEER_DTYPE_F32, c->leads, c->trans_a ? c->k : c->m, c->trans_a ? c->m : c->k);
    veer_type_t w =
        VEER_TYPE(VEER_DTYPE_F32, shared_b ? 1 : c->leads, c->trans_b ? c->n : c->k, c->trans_b ? c->k : c->n);
    veer_value_t in[MAX_IO];
    in[0] = input(c, a);
    in[1] = is_constant ? constant(s, c, &b, w) : input(c, w);
    int count = program_operands(c, c->program, types);
    for (int i = 0; i < count; i++) in[2 + i] = input(c, types[i]);
    finish_case(c, &b, in, 2 + count, c->program != 0, one_result);
    char reason[256];
    if (!veer_llvm_matmul_supports(c->g, c->node, reason, sizeof reason)) fail_msg("not supported: %s", reason);
    if (c->parts && !veer_llvm_matmul_amx_supports(s->llvm, c->g, c->node, reason, sizeof reason))
        fail_msg("not supported: %s", reason);
    check(c->parts ? veer_llvm_matmul_amx_emit(s->llvm, c->g, c->node, &c->kernel)
                   : veer_llvm_matmul_emit(s->llvm, c->g, c->node, &c->kernel));
}

/* ---- running ---- */

/* Shares one after the other, `forward` as a thread that goes on where it ended, else from the last to the first;
 * `again`: as one that finds its scratch as it left it. */
static void run_kernel(const suite_t *s, const case_t *c, void **bufs, void *scratch, int shares, bool forward,
                       bool again) {
    int64_t items = c->kernel.work_items;
    memset(scratch, 0xFF, c->kernel.scratch_bytes);
    for (int i = 0; i < shares; i++) {
        int share = forward ? i : shares - 1 - i;
        veer_kernel_args_t args = {.buf = bufs, .begin = items * share / shares, .end = items * (share + 1) / shares};
        args.scratch = scratch, args.continues = forward && args.begin > 0, args.again = again && i > 0;
        args.next = share % 2 ? c->kernel.packed : NULL; /* fetched at the end of the share, used for nothing */
        if (args.begin < args.end) assert_int_equal(veer_llvm_symbol(s->llvm, c->kernel.id)(&args), 0);
    }
}

static void expect_chain(const case_t *c, const float *a, const float *b, int64_t b_lead, const float *got) {
    for (int64_t i = 0; i < c->leads * c->m * c->n; i++) {
        int64_t j = i % c->n, r = i / c->n % c->m, l = i / c->n / c->m;
        float sum = 0;
        for (int64_t k = 0; k < c->k; k++)
            sum = fmaf(a[l * c->m * c->k + (c->trans_a ? k * c->m + r : r * c->k + k)],
                       b[l * b_lead + (c->trans_b ? j * c->k + k : k * c->n + j)], sum);
        if (memcmp(&sum, &got[i], sizeof sum))
            fail_msg("%lldx%lldx%lldx%lld: [%lld] is %.9g, expected exactly %.9g", (long long)c->leads, (long long)c->m,
                     (long long)c->k, (long long)c->n, (long long)i, (double)got[i], (double)sum);
    }
}

/* As amx.h says: 2^-25 of each product is left out, or 2^-15, and k / 32 * 6 + 18 roundings of sums, or 3 for 6. */
static double bound_of_unit(const case_t *c, double size) {
    double chunks = (double)c->k / 32 + 1;
    return c->parts == 3 ? size * 0x1p-24 * (chunks * 6 + 19) : size * (0x1p-15 + 0x1p-24 * (chunks * 3 + 18));
}

static void expect_sums(const case_t *c, const float *a, const float *b, const float *got) {
    for (int64_t i = 0; i < c->m * c->n; i++) {
        double sum = 0, size = 0;
        for (int64_t k = 0; k < c->k; k++) {
            double term = (double)a[i / c->n * c->k + k] * b[c->trans_b ? i % c->n * c->k + k : k * c->n + i % c->n];
            sum += term, size += fabs(term);
        }
        double tolerance = bound_of_unit(c, size);
        if (!(fabs(sum - (double)got[i]) <= tolerance))
            fail_msg("%lldx%lldx%lld: [%lld] is %.9g, expected %.9g within %.3g", (long long)c->m, (long long)c->k,
                     (long long)c->n, (long long)i, (double)got[i], sum, tolerance);
    }
}

/* Sums of k products of numbers up to 1, each rounded once; no program here amplifies by more than 3. */
static void expect_near(const case_t *c, const float *want, const float *got) {
    double size = (double)c->k / 4 + 2, tolerance = 3 * 0x1p-24 * ((double)c->k + 16) * size;
    if (c->parts == 2) tolerance += 3 * 0x1p-15 * size;
    for (int64_t i = 0; i < c->leads * c->m * c->n; i++)
        if (!(fabs((double)want[i] - (double)got[i]) <= tolerance))
            fail_msg("%lldx%lldx%lldx%lld, program %d: [%lld] is %.9g, expected %.9g within %.3g", (long long)c->leads,
                     (long long)c->m, (long long)c->k, (long long)c->n, c->program, (long long)i, (double)got[i],
                     (double)want[i], tolerance);
}

static void run_case(suite_t *s, const case_t *c) {
    veer_tensor_t in[MAX_IO], want;
    void *bufs[MAX_IO + 1] = {0};
    enum { RUNS = 4 };
    unsigned char *out[RUNS];
    void *scratch = aligned_alloc(64, (c->kernel.scratch_bytes + 127) & ~(size_t)63);
    int args = bind(s, c, in, bufs), operands = veer_node_in_count(c->g, c->node);
    size_t bytes = veer_type_bytes(veer_value_type(c->g, veer_node_out(c->g, c->node, 0)));
    const float *b = bufs[1];
    if (c->kernel.packed) bufs[c->kernel.packed_buf] = (void *)(uintptr_t)c->kernel.packed;
    for (int i = 0; i < RUNS; i++) {
        out[i] = malloc(bytes + 2 * GUARD);
        bufs[operands] = guarded(out[i], bytes);
        run_kernel(s, c, bufs, scratch, (int[RUNS]){1, 3, 5, 7}[i], i == 2, i >= 2);
        expect_guards(out[i], bytes);
    }
    for (int i = 1; i < RUNS; i++) assert_memory_equal(out[0], out[i], bytes + 2 * GUARD);
    bool shared_b = veer_value_type(c->g, veer_node_in(c->g, c->node, 1))->dims[0] == 1;
    if (c->program == 0 && c->parts) expect_sums(c, bufs[0], b, (float *)(out[0] + GUARD));
    if (c->program == 0 && fuses && !c->parts)
        expect_chain(c, bufs[0], b, shared_b ? 0 : c->k * c->n, (float *)(out[0] + GUARD));
    check(veer_reference_eval(c->g, c->func, in, args, veer_allocator_system(), &want, 1));
    expect_near(c, want.data, (float *)(out[0] + GUARD));
    veer_free(veer_allocator_system(), want.data);
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
    for (int i = 0; i < RUNS; i++) free(out[i]);
    free(scratch);
}

/* ---- tests ---- */
static const int64_t ROWS[] = {1, 2, 3, 5, 7, 8, 9, 13, 14, 15, 29, 65},
                     COLUMNS[] = {1, 3, 8, 15, 16, 17, 32, 40, 63, 96, 130},
                     DEPTHS[] = {1, 2, 3, 4, 5, 8, 11, 16, 33, 100};
#define PICK(s, from) from[next(s) % (sizeof from / sizeof *from)]

static case_t random_shape(suite_t *s) {
    return (case_t){.leads = 1 + next(s) % 3, .m = PICK(s, ROWS), .k = PICK(s, DEPTHS), .n = PICK(s, COLUMNS)};
}

static void bare_products(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 40; i++) {
        case_t c = random_shape(s);
        c.trans_a = i % 4 == 1;
        c.trans_b = i % 3 == 1;
        add_case(s, c, true, i % 5 != 4);
    }
    run_all(s);
}

static void batches(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 16; i++) {
        case_t c = random_shape(s);
        c.trans_a = i % 3 == 1;
        c.program = i < 8 ? 0 : i - 7;
        add_case(s, c, false, i % 5 == 4);
    }
    run_all(s);
}

static void programs(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 4 * (PROGRAMS - 1); i++) {
        case_t c = random_shape(s);
        c.program = 1 + i % (PROGRAMS - 1);
        c.trans_b = i % 2;
        add_case(s, c, true, true);
    }
    run_all(s);
}

/* Many tiles and panels, rows that are pages apart, several groups of tiles, blocks of k. */
static void large_products(void **state) {
    suite_t *s = *state;
    add_case(s, (case_t){.leads = 1, .m = 129, .k = 300, .n = 200}, true, true);
    add_case(s, (case_t){.leads = 2, .m = 40, .k = 1024, .n = 70, .program = 3}, true, true);
    add_case(s, (case_t){.leads = 1, .m = 700, .k = 130, .n = 33, .program = 2}, true, true);
    add_case(s, (case_t){.leads = 4, .m = 33, .k = 64, .n = 65}, false, false);
    add_case(s, (case_t){.leads = 1, .m = 21, .k = 1541, .n = 50}, true, true);
    add_case(s, (case_t){.leads = 1, .m = 3, .k = 2048, .n = 37, .program = 3}, true, true);
    add_case(s, (case_t){.leads = 2, .m = 17, .k = 1100, .n = 130, .program = 2}, true, true);
    add_case(s, (case_t){.leads = 2, .m = 18, .k = 1025, .n = 21}, false, false);
    add_case(s, (case_t){.leads = 1, .m = 5, .k = 99 * 776 + 1, .n = 3}, true, true); /* a last block of one step */
    run_all(s);
}

static void skip_without_unit(suite_t *s) {
    char reason[160];
    add_case(s, (case_t){.leads = 1, .m = 64, .k = 128, .n = 64}, true, true);
    if (veer_llvm_matmul_amx_supports(s->llvm, s->cases[0].g, s->cases[0].node, reason, sizeof reason)) return;
    print_message("skipped: %s\n", reason);
    skip();
}

/* One tile or two at the end, panels with and without all columns, one block of k and several, a last chunk that is
 * not full, every program. */
static void products_on_the_matrix_unit(void **state) {
    suite_t *s = *state;
    static const int64_t rows[] = {48, 49, 63, 64, 65, 80, 97, 160}, columns[] = {64, 70, 80, 81, 96, 100, 128, 159},
                         depths[] = {96, 128, 165, 192, 768, 797, 1536, 1617};
    skip_without_unit(s);
    for (int i = 0; i < 8 + 2 * (PROGRAMS - 1); i++) {
        case_t c = {.leads = 1, .m = rows[i % 8], .k = depths[(i * 3 + i / 8) % 8], .n = columns[(i * 5 + i / 8) % 8]};
        c.trans_b = i % 2, c.parts = 3;
        c.program = i < 8 ? 0 : 1 + (i - 8) % (PROGRAMS - 1);
        add_case(s, c, true, true);
    }
    run_all(s);
}

/* Matrices of more than 1.5 MB in three parts: all rows in one group, or in several of which the last is shorter;
 * windows of panels, one and several. */
static void large_products_on_the_matrix_unit(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][3] = {{64, 768, 352},  {49, 300, 1000}, {129, 1536, 180},
                                        {258, 777, 351}, {25, 3072, 96},  {130, 1600, 180}};
    skip_without_unit(s);
    for (int i = 0; i < 5 + PROGRAMS; i++) {
        const int64_t *shape = shapes[i % 6];
        case_t c = {.leads = 1, .m = shape[0], .k = shape[1], .n = shape[2], .trans_b = i % 2 ^ i / 6, .parts = 2};
        c.program = i < 6 ? 0 : i - 5;
        add_case(s, c, true, true);
    }
    run_all(s);
}

enum { ODD_NUMBERS = 7 };
static const uint32_t odd_numbers[ODD_NUMBERS] = {0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF,
                                                  0xFFBFFFFF, 0x7F800000, 0xFF800000};

/* NaNs and infinities in some places of a matrix: row i * row, column i * column. */
static void put_odd_numbers(float *to, int64_t columns, int64_t row, int64_t column) {
    for (int64_t i = 0; i < ODD_NUMBERS; i++) memcpy(&to[i * row * columns + i * column], &odd_numbers[i], 4);
}
static bool is_odd(int64_t at, int64_t step) {
    return at % step == 0 && at / step < ODD_NUMBERS;
}

/* The case with them in every fourth row of a and every third column of b. */
static void expect_not_numbers(suite_t *s, const case_t *c) {
    veer_llvm_kernel_t k;
    veer_tensor_t in[MAX_IO];
    void *bufs[MAX_IO + 1];
    int args = bind(s, c, in, bufs);
    put_odd_numbers(bufs[0], c->k, 4, 11);
    put_odd_numbers(bufs[1], c->n, 5, 3);
    check(veer_llvm_create(veer_allocator_system(), cpu, &s->llvm)); /* where the constant is not packed yet */
    check(veer_llvm_matmul_amx_emit(s->llvm, c->g, c->node, &k));
    check(veer_llvm_finish(s->llvm));
    float *y = malloc((size_t)(c->m * c->n) * sizeof *y);
    bufs[1] = (void *)(uintptr_t)k.packed, bufs[2] = y;
    veer_kernel_args_t run = {.buf = bufs, .end = k.work_items};
    run.scratch = aligned_alloc(64, (k.scratch_bytes + 63) & ~(size_t)63);
    assert_int_equal(veer_llvm_symbol(s->llvm, k.id)(&run), 0);
    for (int64_t i = 0; i < c->m * c->n; i++)
        if ((bool)isnan(y[i]) != (is_odd(i / c->n, 4) || is_odd(i % c->n, 3)))
            fail_msg("k %lld: [%lld] is %g", (long long)c->k, (long long)i, (double)y[i]);
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
    free(y), free(run.scratch);
    veer_llvm_destroy(s->llvm);
}

/* A NaN stays one, whatever its bits; an infinity becomes one; elsewhere nothing of it is seen. */
static void not_numbers_on_the_matrix_unit(void **state) {
    suite_t *s = *state;
    static const int64_t depths[] = {128, 2048}; /* in three parts and in two */
    skip_without_unit(s);
    veer_llvm_t *llvm = s->llvm;
    for (int d = 0; d < 2; d++) {
        add_case(s, (case_t){.leads = 1, .m = 50, .k = depths[d], .n = 160, .parts = 3 - d}, true, true);
        expect_not_numbers(s, &s->cases[s->count - 1]);
        s->llvm = llvm;
    }
}

/* Strict kernels know three parts only. */
static void strict_products_on_the_matrix_unit(void **state) {
    suite_t *s = *state;
    char reason[160];
    skip_without_unit(s);
    veer_llvm_set_strict(s->llvm, true);
    add_case(s, (case_t){.leads = 1, .m = 64, .k = 512, .n = 512, .parts = 3}, true, true);
    add_case(s, (case_t){.leads = 1, .m = 64, .k = 512, .n = 513}, true, true);
    assert_false(veer_llvm_matmul_amx_supports(s->llvm, s->cases[2].g, s->cases[2].node, reason, sizeof reason));
    assert_non_null(strstr(reason, "too large"));
    run_all(s);
}

/* What the unit is not for is refused with the reason. */
static void products_that_are_not_for_the_unit(void **state) {
    suite_t *s = *state;
    static const struct {
        case_t c;
        bool is_constant, shared_b;
        const char *reason;
    } refused[] = {
        {{.leads = 1, .m = 64, .k = 128, .n = 64}, false, true, "not one constant"},
        {{.leads = 2, .m = 64, .k = 128, .n = 64}, true, false, "not one constant"},
        {{.leads = 1, .m = 64, .k = 128, .n = 64, .trans_a = true}, true, true, "not contiguous"},
        {{.leads = 1, .m = 47, .k = 128, .n = 64}, true, true, "too small"},
        {{.leads = 1, .m = 23, .k = 1024, .n = 300}, true, true, "too small"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char reason[160];
        add_case(s, refused[i].c, refused[i].is_constant, refused[i].shared_b);
        assert_false(veer_llvm_matmul_amx_supports(s->llvm, s->cases[i].g, s->cases[i].node, reason, sizeof reason));
        assert_true(strstr(reason, refused[i].reason) || strstr(reason, "there is no matrix unit"));
    }
}

/* Equal shapes share a kernel but not its constant; equal constants share their packed form. */
static void kernels_are_shared(void **state) {
    suite_t *s = *state;
    case_t c = {.leads = 1, .m = 5, .k = 7, .n = 9};
    add_case(s, c, true, true);
    add_case(s, c, true, true);
    assert_int_equal(s->cases[0].kernel.id, s->cases[1].kernel.id);
    assert_ptr_not_equal(s->cases[0].kernel.packed, s->cases[1].kernel.packed);
    veer_llvm_kernel_t again;
    check(veer_llvm_matmul_emit(s->llvm, s->cases[1].g, s->cases[1].node, &again));
    assert_ptr_equal(again.packed, s->cases[1].kernel.packed);
    c.program = 1;
    add_case(s, c, true, true);
    assert_int_not_equal(s->cases[0].kernel.id, s->cases[2].kernel.id);
    run_all(s);
}

static int run_group(const char *name, const char *target) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bare_products, set_up, tear_down),
        cmocka_unit_test_setup_teardown(batches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(programs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_products, set_up, tear_down),
        cmocka_unit_test_setup_teardown(products_on_the_matrix_unit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_products_on_the_matrix_unit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(not_numbers_on_the_matrix_unit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strict_products_on_the_matrix_unit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(products_that_are_not_for_the_unit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kernels_are_shared, set_up, tear_down),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
#ifdef __x86_64__
    fuses = __builtin_cpu_supports("fma");
#endif
    return run_targets(run_group);
}
