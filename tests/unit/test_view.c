/* Views against the reference backend: through random chains of movements each element lies where the view says, and
 * what is written to where a view says for a concat's operands makes the concat. */
#include "ir/view.h"

#include "backends/reference/reference.h"
#include "ir/builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static const uint32_t SEED = 3;
static uint32_t state = SEED;

static uint32_t next(void) {
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state;
}

static void check(veer_status_t status) {
    if (status) print_error("%s\n", veer_status_message(status, 0));
    assert_null(status);
}

/* The offset of element `i` in row-major order. */
static int64_t offset_of(const veer_view_t *v, int64_t i) {
    int64_t offset = v->offset;
    for (int f = v->first[v->rank]; f-- > 0; i /= v->factors[f].size)
        offset += i % v->factors[f].size * v->factors[f].stride;
    return offset;
}

/* One random movement; dims stay few and their product small. */
static veer_value_t moved(veer_builder_t *b, veer_value_t x) {
    veer_type_t t = *veer_builder_type(b, x);
    int64_t dims[VEER_MAX_RANK], perm[VEER_MAX_RANK];
    int axis = (int)(next() % (uint32_t)t.rank), other = (int)(next() % (uint32_t)t.rank), rank = 0;
    switch (next() % 4) {
    case 0: {
        for (int d = 0; d < t.rank; d++) perm[d] = d;
        perm[axis] = other, perm[other] = axis;
        return veer_transpose(b, x, perm);
    }
    case 1: {
        int64_t step = next() % 4 == 0 ? -1 : (int64_t)(1 + next() % 2), size = 1 + next() % t.dims[axis];
        while ((size - 1) * (step < 0 ? 1 : step) >= t.dims[axis]) size--;
        int64_t room = t.dims[axis] - (size - 1) * (step < 0 ? 1 : step), start = next() % room;
        return veer_slice_axis(b, x, axis, step < 0 ? start + size - 1 : start, size, step);
    }
    case 2: /* two dims become one, or one becomes two */
        for (int d = 0; d < t.rank; d++) {
            int64_t size = t.dims[d];
            if (d == axis && next() % 2 && size % 2 == 0 && t.rank < 6)
                dims[rank++] = 2, dims[rank++] = size / 2;
            else if (d == axis && d > 0)
                dims[rank - 1] *= size;
            else
                dims[rank++] = size;
        }
        return veer_reshape(b, x, rank, dims);
    default:
        if (t.rank == 6 || veer_type_count(&t) > 500) return x;
        memcpy(dims + 1, t.dims, sizeof *dims * (size_t)t.rank);
        dims[0] = 1 + next() % 3;
        return veer_broadcast_to(b, x, t.rank + 1, dims);
    }
}

/* True where all of the chain was a view. */
static bool check_chain(void) {
    veer_graph_t *g;
    veer_func_t f;
    veer_value_t x, y;
    veer_type_t type = VEER_TYPE(VEER_DTYPE_I64, 2 + next() % 3, 2 * (1 + next() % 3), 4);
    check(veer_graph_create(veer_allocator_system(), &g));
    check(veer_graph_add_func(g, "f", &f));
    check(veer_region_add_arg(g, veer_func_body(g, f), type, "", &x));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    y = x;
    for (int i = 0; i < 6; i++) y = moved(&b, y);
    veer_builder_return(&b, &y, 1);
    check(veer_builder_status(&b));
    veer_view_t v = veer_view_dense(&type);
    bool good = true;
    VEER_FOR_EACH_NODE(g, veer_func_body(g, f), n)
    if (good && veer_node_op(g, n) != VEER_OP_RETURN) good = veer_view_forward(g, n, &v);
    int64_t data[256];
    for (int64_t i = 0; i < veer_type_count(&type); i++) data[i] = i;
    veer_tensor_t in = {type, data}, out;
    check(veer_reference_eval(g, f, &in, 1, veer_allocator_system(), &out, 1));
    for (int64_t i = 0; good && i < veer_type_count(&out.type); i++)
        assert_int_equal(offset_of(&v, i), ((const int64_t *)out.data)[i]);
    veer_free(veer_allocator_system(), out.data);
    veer_graph_destroy(g);
    return good;
}

static void chains_of_movements(void **unused) {
    (void)unused;
    int views = 0;
    print_message("seed %u\n", (unsigned)SEED);
    for (int i = 0; i < 2000; i++) views += check_chain();
    assert_true(views > 1000);
}

/* y = reshape(transpose(concat(a, b))): where a's and b's elements go. */
static void written_backwards(void **unused) {
    (void)unused;
    veer_graph_t *g;
    veer_func_t f;
    veer_value_t x[2];
    veer_type_t types[] = {VEER_TYPE(VEER_DTYPE_I64, 2, 3, 4), VEER_TYPE(VEER_DTYPE_I64, 2, 5, 4)};
    int64_t perm[] = {2, 0, 1}, data[2][40], got[64];
    check(veer_graph_create(veer_allocator_system(), &g));
    check(veer_graph_add_func(g, "f", &f));
    for (int i = 0; i < 2; i++) check(veer_region_add_arg(g, veer_func_body(g, f), types[i], "", &x[i]));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_value_t c = veer_concat(&b, x, 2, 1), t = veer_transpose(&b, c, perm),
                 y = veer_reshape(&b, t, VEER_DIMS(8, 8));
    veer_builder_return(&b, &y, 1);
    check(veer_builder_status(&b));
    veer_tensor_t in[2], out;
    for (int k = 0; k < 2; k++) {
        veer_view_t v = veer_view_dense(veer_value_type(g, y));
        assert_true(veer_view_backward(g, veer_value_def(g, y), 0, &v));
        assert_true(veer_view_backward(g, veer_value_def(g, t), 0, &v));
        assert_true(veer_view_backward(g, veer_value_def(g, c), k, &v));
        in[k] = (veer_tensor_t){types[k], data[k]};
        for (int64_t i = 0; i < veer_type_count(&types[k]); i++) got[offset_of(&v, i)] = data[k][i] = 100 * k + i;
    }
    check(veer_reference_eval(g, f, in, 2, veer_allocator_system(), &out, 1));
    assert_memory_equal(out.data, got, sizeof got);
    veer_free(veer_allocator_system(), out.data);
    veer_graph_destroy(g);
}

/* Dims that do not divide each other, and rows that do not follow each other, are no view. */
static void refusals(void **unused) {
    (void)unused;
    veer_type_t type = VEER_TYPE(VEER_DTYPE_I64, 4, 6);
    veer_view_t v = veer_view_dense(&type);
    int64_t perm[] = {1, 0}, stride;
    veer_view_transpose(&v, perm);
    assert_false(veer_view_reshape(&v, VEER_DIMS(8, 3)));
    v = veer_view_dense(&type);
    assert_true(veer_view_reshape(&v, VEER_DIMS(8, 3)));
    veer_view_transpose(&v, perm);
    assert_true(veer_view_reshape(&v, VEER_DIMS(24)));
    assert_false(veer_view_stride(&v, 0, &stride));
    assert_false(veer_view_slice(&v, (int64_t[]){1}, (int64_t[]){20}, (int64_t[]){1}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_of_movements),
        cmocka_unit_test(written_backwards),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
