/* Orders of elements against a table of where each one lies: reshapes and transposes see the same bytes, moves bring
 * them where they should be. Random shapes and orders; the seed is printed. */
#include "passes/order.h"
#include "tests/support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

enum { SEED = 7, ROUNDS = 4000, MOST = 4096 };

/* out[k]: the row-major index, in the value, of the element stored at k. */
static void table(const veer_order_t *o, int64_t *out) {
    int64_t count = 1;
    for (int f = 0; f < o->n; f++) count *= o->size[f];
    for (int64_t k = 0; k < count; k++) {
        int64_t index[VEER_MAX_RANK] = {0}, rest = k, flat = 0;
        for (int d = o->n; d-- > 0; rest /= o->size[o->at[d]]) index[o->at[d]] = rest % o->size[o->at[d]];
        for (int f = 0; f < o->n; f++) flat = flat * o->size[f] + index[f];
        out[k] = flat;
    }
}

static int64_t random_dim(random_t *r) {
    return (int64_t[]){1, 1, 2, 2, 3, 4, 6}[random_below(r, 7)];
}

static veer_type_t random_type(random_t *r) {
    veer_type_t t = {.dtype = VEER_DTYPE_F32, .rank = 1 + random_below(r, 5)};
    for (int i = 0; i < t.rank; i++) t.dims[i] = random_dim(r);
    return t;
}

static void shuffle(random_t *r, int n, int64_t *perm) {
    for (int i = 0; i < n; i++) perm[i] = i;
    for (int i = n; i > 1; i--) {
        int k = random_below(r, i);
        int64_t p = perm[i - 1];
        perm[i - 1] = perm[k], perm[k] = p;
    }
}

/* Neighbours multiplied, or a dim cut in two. */
static veer_type_t reshaped(random_t *r, const veer_type_t *t) {
    veer_type_t out = {.dtype = t->dtype};
    for (int i = 0; i < t->rank; i++) {
        if (out.rank && random_below(r, 3) == 0)
            out.dims[out.rank - 1] *= t->dims[i];
        else if (t->dims[i] % 2 == 0 && out.rank + t->rank - i < VEER_MAX_RANK && random_below(r, 2))
            out.dims[out.rank++] = 2, out.dims[out.rank++] = t->dims[i] / 2;
        else
            out.dims[out.rank++] = t->dims[i];
    }
    return out;
}

/* An order of `t` in which axes may be in pieces. */
static veer_order_t random_order(random_t *r, veer_type_t *t) {
    int64_t perm[VEER_MAX_RANK];
    *t = random_type(r);
    shuffle(r, t->rank, perm);
    veer_order_t o = veer_order_of_axes(t, perm), next;
    for (int i = 0; i < 2; i++) {
        veer_type_t to = reshaped(r, t);
        if (veer_order_reshape(&o, &to, &next)) o = next, *t = to;
    }
    return o;
}

static void expect_shape(const veer_order_t *o, const veer_type_t *t) {
    int64_t dims[VEER_MAX_RANK];
    for (int i = 0; i < t->rank; i++) dims[i] = 1;
    for (int f = 0; f < o->n; f++) {
        assert_true(f == 0 || o->axis[f] >= o->axis[f - 1]);
        dims[o->axis[f]] *= o->size[f];
    }
    assert_memory_equal(dims, t->dims, (size_t)t->rank * sizeof *dims);
    assert_int_equal(veer_type_count(t), veer_order_stored(o, t->dtype).rank ? veer_type_count(t) : 1);
}

static void reshapes_see_the_same_elements(void **state) {
    (void)state;
    static int64_t before[MOST], after[MOST];
    random_t r = {SEED};
    int done = 0;
    for (int i = 0; i < ROUNDS; i++) {
        veer_type_t t;
        veer_order_t o = random_order(&r, &t), next;
        veer_type_t to = reshaped(&r, &t);
        int64_t count = veer_type_count(&t);
        expect_shape(&o, &t);
        if (count > MOST || !veer_order_reshape(&o, &to, &next)) continue;
        expect_shape(&next, &to);
        table(&o, before), table(&next, after);
        assert_memory_equal(before, after, (size_t)count * sizeof *before);
        done++;
    }
    assert_true(done > ROUNDS / 2);
}

static void transposes_see_the_same_elements(void **state) {
    (void)state;
    static int64_t before[MOST], after[MOST];
    random_t r = {SEED};
    for (int i = 0; i < ROUNDS; i++) {
        veer_type_t t, to = {.dtype = VEER_DTYPE_F32};
        veer_order_t o = random_order(&r, &t);
        int64_t perm[VEER_MAX_RANK], count = veer_type_count(&t), from[VEER_MAX_RANK], into[VEER_MAX_RANK];
        if (count > MOST) continue;
        shuffle(&r, t.rank, perm);
        veer_order_t next = veer_order_transpose(&o, t.rank, perm);
        for (int k = 0; k < t.rank; k++) to.dims[to.rank++] = t.dims[perm[k]];
        expect_shape(&next, &to);
        table(&o, before), table(&next, after);
        veer_type_strides(&t, from), veer_type_strides(&to, into);
        for (int64_t k = 0; k < count; k++) {
            int64_t flat = 0;
            for (int d = 0; d < t.rank; d++) flat += after[k] / into[d] % to.dims[d] * from[perm[d]];
            assert_int_equal(flat, before[k]);
        }
    }
}

/* The elements of `a`, reshaped and transposed as the move says, lie as in `b`. */
static void expect_move(const veer_order_t *a, const veer_order_t *b, const veer_order_move_t *m, int64_t count) {
    static int64_t from[MOST], to[MOST];
    veer_type_t t = veer_type_make(VEER_DTYPE_F32, m->rank, m->from);
    veer_order_t moved = veer_order_of_axes(&t, m->perm);
    assert_int_equal(veer_type_count(&t), count);
    table(a, from), table(b, to);
    static int64_t source[MOST];
    table(&moved, source);
    for (int64_t k = 0; k < count; k++) assert_int_equal(from[source[k]], to[k]);
}

static void moves_bring_elements_where_they_belong(void **state) {
    (void)state;
    random_t r = {SEED};
    int done = 0;
    for (int i = 0; i < ROUNDS; i++) {
        veer_type_t t;
        veer_order_t a = random_order(&r, &t), b;
        veer_order_move_t move;
        int64_t perm[VEER_MAX_RANK], count = veer_type_count(&t);
        if (count > MOST) continue;
        shuffle(&r, t.rank, perm);
        b = veer_order_of_axes(&t, perm);
        veer_order_t row_major = veer_order_row_major(&t);
        assert_true(veer_order_move(&a, &row_major, &move)); /* always possible: the way by which all others can go */
        expect_move(&a, &row_major, &move, count);
        assert_true(veer_order_move(&row_major, &a, &move));
        expect_move(&row_major, &a, &move, count);
        if (!veer_order_move(&a, &b, &move)) continue;
        expect_move(&a, &b, &move, count);
        done++;
    }
    assert_true(done > ROUNDS / 2);
}

static void equal_orders_hold_the_same_bytes(void **state) {
    (void)state;
    static int64_t x[MOST], y[MOST];
    random_t r = {SEED};
    int equal = 0;
    for (int i = 0; i < ROUNDS; i++) {
        veer_type_t t;
        veer_order_t a = random_order(&r, &t), b;
        int64_t perm[VEER_MAX_RANK], count = veer_type_count(&t);
        if (count > MOST) continue;
        shuffle(&r, t.rank, perm);
        b = veer_order_of_axes(&t, perm);
        table(&a, x), table(&b, y);
        bool same = !memcmp(x, y, (size_t)count * sizeof *x), identity = true;
        for (int64_t k = 0; k < count; k++) identity &= x[k] == k;
        assert_int_equal(veer_order_equal(&a, &b), same);
        assert_int_equal(veer_order_is_row_major(&a), identity);
        equal += same;
    }
    assert_true(equal > 100);
}

static void reductions_drop_axes(void **state) {
    (void)state;
    /* [N, C, H, W], channels last, as [N, G, C/G * H * W]; the sum over the last axis is [N, G]. */
    veer_type_t t = VEER_TYPE(VEER_DTYPE_F32, 2, 6, 4, 5), grouped = VEER_TYPE(VEER_DTYPE_F32, 2, 3, 40);
    veer_order_t o = veer_order_of_axes(&t, (int64_t[]){0, 2, 3, 1}), groups;
    assert_true(veer_order_reshape(&o, &grouped, &groups));
    assert_int_equal(groups.n, 4);
    assert_int_equal(veer_order_dim(&groups, 1), 2);
    assert_int_equal(veer_order_dim(&groups, 2), -1);
    veer_type_t stored = veer_order_stored(&groups, VEER_DTYPE_F32);
    assert_memory_equal(stored.dims, ((int64_t[]){2, 20, 3, 2}), 4 * sizeof(int64_t));
    veer_order_t sum = veer_order_reduce(&groups, 1u << 2, false), kept = veer_order_reduce(&groups, 1u << 2, true);
    veer_type_t of_sum = VEER_TYPE(VEER_DTYPE_F32, 2, 3), of_kept = VEER_TYPE(VEER_DTYPE_F32, 2, 3, 1);
    expect_shape(&sum, &of_sum);
    expect_shape(&kept, &of_kept);
    assert_true(veer_order_is_row_major(&sum));
    veer_order_t first = veer_order_reduce(&o, 1u << 0, false);
    veer_type_t of_first = VEER_TYPE(VEER_DTYPE_F32, 6, 4, 5), channel = VEER_TYPE(VEER_DTYPE_F32, 6, 1, 1);
    expect_shape(&first, &of_first);
    assert_int_equal(veer_order_dim(&first, 0), 2);
    veer_order_t operand = veer_order_project(&o, 4, &channel);
    stored = veer_order_stored(&operand, VEER_DTYPE_F32);
    assert_memory_equal(stored.dims, ((int64_t[]){1, 1, 1, 6}), 4 * sizeof(int64_t));
}

/* What cannot be seen as a cut of factors. */
static void uneven_cuts_are_refused(void **state) {
    (void)state;
    veer_order_t next;
    veer_type_t t = VEER_TYPE(VEER_DTYPE_F32, 4, 9), uneven = VEER_TYPE(VEER_DTYPE_F32, 6, 6),
                empty = VEER_TYPE(VEER_DTYPE_F32, 0, 3), flat = VEER_TYPE(VEER_DTYPE_F32, 0);
    veer_order_t o = veer_order_of_axes(&t, (int64_t[]){1, 0}), none = veer_order_row_major(&empty);
    assert_false(veer_order_reshape(&o, &uneven, &next));
    assert_false(veer_order_reshape(&none, &flat, &next));
    veer_type_t twelve = VEER_TYPE(VEER_DTYPE_F32, 2, 12), threes = VEER_TYPE(VEER_DTYPE_F32, 2, 3, 4),
                fours = VEER_TYPE(VEER_DTYPE_F32, 2, 4, 3);
    veer_order_t a = veer_order_of_axes(&threes, (int64_t[]){1, 0, 2}),
                 b = veer_order_of_axes(&fours, (int64_t[]){2, 0, 1});
    veer_order_move_t move;
    assert_true(veer_order_reshape(&a, &twelve, &a) && veer_order_reshape(&b, &twelve, &b));
    assert_false(veer_order_move(&a, &b, &move)); /* 12 as 3 * 4 and as 4 * 3 */
}

int main(void) {
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reshapes_see_the_same_elements),
        cmocka_unit_test(transposes_see_the_same_elements),
        cmocka_unit_test(moves_bring_elements_where_they_belong),
        cmocka_unit_test(equal_orders_hold_the_same_bytes),
        cmocka_unit_test(reductions_drop_axes),
        cmocka_unit_test(uneven_cuts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
