#include "backends/reference/block.h"

/* A matrix inside a tensor: element (i, j) is tensor[first + i * row + j * column]. */
typedef struct matrix_s {
    const veer_tensor_t *tensor;
    int64_t first, row, column;
} matrix_t;

/* y[i, j..j+count) = a[i, :] b[:, j..j+count) */
static void product_row(const matrix_t *a, const matrix_t *b, int64_t k, int64_t i, int64_t j, int64_t count,
                        double *sum) {
    double row[VEER_BLOCK];
    for (int64_t n = 0; n < count; n++) sum[n] = 0;
    for (int64_t l = 0; l < k; l++) {
        veer_load_block(b->tensor, b->first + l * b->row + j * b->column, b->column, count, row);
        veer_add_scaled(count, veer_load_double(a->tensor, a->first + i * a->row + l * a->column), row, sum);
    }
}

/* Which matrix of operand t belongs to matrix `batch` of y: leading dims broadcast. */
static int64_t matrix_index(const veer_type_t *t, const veer_type_t *y, int64_t batch) {
    int64_t index = 0, stride = 1;
    for (int i = y->rank - 3; i >= 0; batch /= y->dims[i--]) {
        int axis = i - (y->rank - t->rank);
        if (axis < 0) continue;
        if (t->dims[axis] != 1) index += batch % y->dims[i] * stride;
        stride *= t->dims[axis];
    }
    return index;
}

static matrix_t matrix_of(const veer_tensor_t *t, const veer_type_t *y, int64_t batch, bool trans) {
    int64_t rows = t->type.dims[t->type.rank - 2], columns = t->type.dims[t->type.rank - 1];
    int64_t first = matrix_index(&t->type, y, batch) * rows * columns;
    return trans ? (matrix_t){t, first, 1, columns} : (matrix_t){t, first, columns, 1};
}

veer_kernel_result_t veer_reference_matmul(veer_reference_call_t *c) {
    const veer_type_t *a = &c->in[0].type, *y = &c->out[0].type;
    bool trans_a = veer_call_int(c, "trans_a") != 0, trans_b = veer_call_int(c, "trans_b") != 0;
    int64_t m = y->dims[y->rank - 2], n = y->dims[y->rank - 1], k = a->dims[a->rank - (trans_a ? 2 : 1)];
    double sum[VEER_BLOCK];
    for (int64_t batch = 0; batch < veer_type_count_range(y, 0, y->rank - 2); batch++) {
        matrix_t left = matrix_of(&c->in[0], y, batch, trans_a), right = matrix_of(&c->in[1], y, batch, trans_b);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j += VEER_BLOCK) {
                int64_t count = veer_min_i64(VEER_BLOCK, n - j);
                product_row(&left, &right, k, i, j, count, sum);
                veer_store_block(&c->out[0], (batch * m + i) * n + j, count, sum);
            }
    }
    return VEER_KERNEL_OK;
}
