/* oneDNN's matrix products of random shapes, with chains behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/onednn_case.h"

enum { SEED = 20261 };

typedef struct matmul_s {
    int lead_rank;
    int64_t lead[3], lead_a[3], lead_b[3]; /* lead_a and lead_b: the same or 1 */
    int64_t m, k, n;
    bool trans_a, trans_b, constant;
} matmul_t;

static veer_type_t matrix_type(const matmul_t *c, const int64_t *lead, int64_t rows, int64_t columns, bool trans) {
    int64_t dims[5];
    memcpy(dims, lead, sizeof c->lead);
    dims[c->lead_rank] = trans ? columns : rows, dims[c->lead_rank + 1] = trans ? rows : columns;
    return veer_type_make(VEER_DTYPE_F32, c->lead_rank + 2, dims);
}

static veer_node_t build_matmul(subject_t *s, const matmul_t *c, const veer_value_t *operands) {
    return veer_build_node(&s->b, VEER_OP_MATMUL, operands, 2,
                           VEER_ATTRS(VEER_INT("trans_a", c->trans_a), VEER_INT("trans_b", c->trans_b)));
}

static void matmul_operands(subject_t *s, const matmul_t *c) {
    veer_type_t b = matrix_type(c, c->lead_b, c->k, c->n, c->trans_b);
    s->terms = c->k;
    add_arg(s, matrix_type(c, c->lead_a, c->m, c->k, c->trans_a));
    if (c->constant)
        add_const(s, b);
    else
        add_arg(s, b);
}

static bool check_matmul(const matmul_t *c, uint64_t seed) {
    subject_t s = subject(seed);
    matmul_operands(&s, c);
    finish(&s, build_matmul(&s, c, s.operands));
    return check(&s, plain);
}

static void test_matmul_of_models(void **state) {
    (void)state;
    const matmul_t cases[] = {
        {.m = 160, .k = 192, .n = 576, .constant = true},
        {.m = 160, .k = 768, .n = 192, .constant = true, .trans_b = true},
        {.m = 64, .k = 768, .n = 1024, .constant = true},
        {.m = 16, .k = 192, .n = 768, .constant = true, .trans_b = true},
        {.m = 1, .k = 64, .n = 256, .constant = true},
        {.m = 7, .k = 5, .n = 3, .constant = false},
        {.lead_rank = 2,
         .lead = {4, 4},
         .lead_a = {4, 4},
         .lead_b = {4, 4},
         .m = 40,
         .k = 48,
         .n = 40,
         .trans_b = true},
        {.lead_rank = 2, .lead = {4, 4}, .lead_a = {4, 4}, .lead_b = {4, 4}, .m = 40, .k = 40, .n = 48},
        {.lead_rank = 1, .lead = {4}, .lead_a = {4}, .lead_b = {1}, .m = 40, .k = 192, .n = 192, .constant = true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_true(check_matmul(&cases[i], SEED + i));
}

static matmul_t random_matmul(random_t *r) {
    matmul_t c = {.lead_rank = random_below(r, 3),
                  .m = 1 + random_below(r, 70),
                  .k = 1 + random_below(r, 70),
                  .n = 1 + random_below(r, 70)};
    int shared = random_below(r, 4);
    for (int i = 0; i < c.lead_rank; i++) {
        c.lead[i] = 1 + random_below(r, 5);
        c.lead_a[i] = shared == 1 ? 1 : c.lead[i], c.lead_b[i] = shared >= 2 ? 1 : c.lead[i];
    }
    c.trans_a = random_below(r, 3) == 0, c.trans_b = random_below(r, 2), c.constant = random_below(r, 2);
    return c;
}

static void test_random_matmul(void **state) {
    (void)state;
    random_t r = {SEED};
    print_message("seed %d\n", SEED);
    for (uint64_t i = 0; i < 200; i++) {
        matmul_t c = random_matmul(&r);
        assert_true(check_matmul(&c, SEED + i));
    }
}

static void test_leads_broadcast_in_part_decline(void **state) {
    (void)state;
    const matmul_t c = {.lead_rank = 2, .lead = {3, 4}, .lead_a = {3, 4}, .lead_b = {3, 1}, .m = 5, .k = 6, .n = 7};
    assert_false(check_matmul(&c, SEED));
}

/* ---- chains of post-ops ---- */

static veer_node_t build_matmul_core(subject_t *s, const void *core, const veer_value_t *operands) {
    return build_matmul(s, core, operands);
}

/* Every way in which an operand can broadcast to the result: taken or declined, but never wrong. */
static void test_operands_of_chains_broadcast(void **state) {
    (void)state;
    for (int axes = 0; axes < 8; axes++)
        for (uint64_t i = 0; i < 4; i++) {
            chain_t c = {.activation = {-1, -1}, .binary = {(int)i % 2, -1}, .operand = {BY_AXES + axes}};
            matmul_t matmul = {.lead_rank = 1,
                               .lead = {40},
                               .lead_a = {40},
                               .lead_b = {i < 2 ? 1 : 40},
                               .m = 6,
                               .k = 32,
                               .n = 48,
                               .constant = i < 2};
            subject_t s = subject(SEED + i);
            matmul_operands(&s, &matmul);
            finish_chain(&s, &c, &matmul, 2, build_matmul_core);
            check(&s, plain);
        }
}

static void test_matmul_chains(void **state) {
    (void)state;
    random_t r = {SEED};
    int taken = 0;
    for (uint64_t i = 0; i < 160; i++) {
        matmul_t matmul = random_matmul(&r);
        chain_t c = random_chain(&r);
        subject_t s = subject(SEED + i);
        matmul_operands(&s, &matmul);
        finish_chain(&s, &c, &matmul, matmul.lead_rank + 1, build_matmul_core);
        taken += check(&s, plain);
    }
    print_message("seed %d: %d of 160 taken\n", SEED, taken);
    assert_true(taken >= 130);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_of_models),
        cmocka_unit_test(test_random_matmul),
        cmocka_unit_test(test_leads_broadcast_in_part_decline),
        cmocka_unit_test(test_operands_of_chains_broadcast),
        cmocka_unit_test(test_matmul_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
