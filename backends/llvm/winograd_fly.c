/* The transform of weights as IR, for kernels that do it on the fly: of a block of input channels, between the original
 * in panels and scratch,
 *
 *     u = P w P^T    row i of P: the powers of point i; for infinity only the last
 *
 * which is G w G^T without the factors 1 / N_i: those are the output transform's (veer_wino_factors). One row of u at a
 * time: that stays in the first cache while it is multiplied. */
#include "backends/llvm/winograd.h"

typedef LLVMValueRef val_t;

enum { PATCH = VEER_WINO_MAX_PATCH, KERNEL = VEER_WINO_KERNEL };

typedef struct fly_s {
    veer_emit_t *e;
    const veer_wino_cut_t *cut;
    veer_wino_points_t points;
} fly_t;

static val_t scaled_plus(fly_t *f, double k, val_t a, val_t b) {
    if (k == 1) return LLVMBuildFAdd(f->e->builder, a, b, "");
    LLVMTypeRef type = LLVMTypeOf(a);
    return veer_emit_intrinsic(f->e, "llvm.fmuladd", &type, 1, (val_t[]){veer_emit_like(f->e, a, k), a, b}, 3);
}

/* The sum of w[i] p^i for p = sign * point. */
static val_t value_at(fly_t *f, const val_t w[KERNEL], double point, int sign) {
    val_t even = scaled_plus(f, point * point, w[2], w[0]);
    if (point == 1 && sign < 0) return LLVMBuildFSub(f->e->builder, even, w[1], "");
    return scaled_plus(f, sign * point, w[1], even);
}

/* Row i of P times a vector. */
static val_t row_times(fly_t *f, int i, const val_t w[KERNEL]) {
    if (i == 0) return w[0];
    if (i == f->cut->patch - 1) return w[KERNEL - 1];
    return value_at(f, w, f->points.at[(i - 1) / 2], i % 2 ? 1 : -1);
}

static val_t at(fly_t *f, val_t base, int64_t offset) {
    return veer_emit_at(f->e, base, veer_emit_i64(f->e, offset));
}

/* Row i of u, of a vector of output channels and one input channel; elements of w are `width` floats apart. */
static void transform_vector(fly_t *f, int row, val_t from, int64_t width, val_t to) {
    int n = f->cut->patch, lanes = f->cut->mm.lanes;
    unsigned align = (unsigned)lanes * 4;
    val_t half[KERNEL];
    for (int j = 0; j < KERNEL; j++) {
        val_t w[KERNEL] = {0};
        for (int i = 0; i < KERNEL; i++) {
            if ((row == 0 && i > 0) || (row == n - 1 && i < KERNEL - 1)) continue;
            w[i] = veer_emit_load_first(f->e, at(f, from, (i * KERNEL + j) * width), lanes, lanes, align);
        }
        half[j] = row_times(f, row, w);
    }
    for (int j = 0; j < n; j++) {
        val_t address = at(f, to, j * f->cut->u_position);
        LLVMSetAlignment(LLVMBuildStore(f->e->builder, row_times(f, j, half), address), align);
    }
}

static void transform_row(fly_t *f, int row, int vectors, val_t from, val_t to, val_t channels) {
    int64_t width = (int64_t)vectors * f->cut->mm.lanes;
    veer_emit_loop_t loop = veer_emit_loop_begin(f->e, veer_emit_i64(f->e, 0), channels, 1);
    val_t w = veer_emit_at(f->e, from, veer_emit_mul(f->e, loop.i, KERNEL * KERNEL * width)),
          u = veer_emit_at(f->e, to, veer_emit_mul(f->e, loop.i, width));
    for (int v = 0; v < vectors; v++) {
        int64_t offset = (int64_t)v * f->cut->mm.lanes;
        transform_vector(f, row, at(f, w, offset), width, at(f, u, offset));
    }
    veer_emit_loop_end(f->e, &loop);
}

void veer_wino_emit_weights(veer_emit_t *e, const veer_wino_cut_t *cut, int vectors, val_t row, val_t from, val_t to,
                            val_t channels) {
    fly_t f = {.e = e, .cut = cut, .points = veer_wino_points(cut->tile)};
    LLVMBasicBlockRef last = veer_emit_block(e, "row"), done = veer_emit_block(e, "transformed_row");
    val_t choice = LLVMBuildSwitch(e->builder, row, last, (unsigned)cut->patch);
    for (int i = 0; i < cut->patch; i++) {
        LLVMBasicBlockRef block = i == cut->patch - 1 ? last : veer_emit_block(e, "row");
        if (block != last) LLVMAddCase(choice, veer_emit_i64(e, i), block);
        LLVMPositionBuilderAtEnd(e->builder, block);
        transform_row(&f, i, vectors, from, to, channels);
        LLVMBuildBr(e->builder, done);
    }
    LLVMPositionBuilderAtEnd(e->builder, done);
}
