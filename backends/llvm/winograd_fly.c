/* The transform of weights as IR, for kernels that do it on the fly: of a block of input channels, between the original
 * in panels and scratch,
 *
 *     u = P w P^T    row i of P: the powers of point i; for infinity only the last
 *
 * which is G w G^T without the factors 1 / N_i: those are the output transform's (veer_wino_factors). One row of u at a
 * time: that stays in the first cache while it is multiplied, or in registers, where tiles are few. */
#include "backends/llvm/winograd.h"

#include <assert.h>

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

/* The first half of row i of u: one row of P times the elements, `width` floats apart. */
static void half_row(fly_t *f, int row, val_t from, int64_t width, val_t half[KERNEL]) {
    int n = f->cut->patch, lanes = f->cut->mm.lanes;
    for (int j = 0; j < KERNEL; j++) {
        val_t w[KERNEL] = {0};
        for (int i = 0; i < KERNEL; i++) {
            if ((row == 0 && i > 0) || (row == n - 1 && i < KERNEL - 1)) continue;
            w[i] = veer_emit_load_first(f->e, at(f, from, (i * KERNEL + j) * width), lanes, lanes, (unsigned)lanes * 4);
        }
        half[j] = row_times(f, row, w);
    }
}

static void store(fly_t *f, val_t x, val_t address) {
    LLVMSetAlignment(LLVMBuildStore(f->e->builder, x, address), (unsigned)f->cut->mm.lanes * 4);
}

/* `body` once for each row of positions, where control gets for that row. */
typedef void (*row_fn)(fly_t *f, int row, const void *user);
static void switch_rows(fly_t *f, val_t row, row_fn body, const void *user) {
    veer_emit_t *e = f->e;
    LLVMBasicBlockRef last = veer_emit_block(e, "row"), done = veer_emit_block(e, "row_done");
    val_t choice = LLVMBuildSwitch(e->builder, row, last, (unsigned)f->cut->patch);
    for (int i = 0; i < f->cut->patch; i++) {
        LLVMBasicBlockRef block = i == f->cut->patch - 1 ? last : veer_emit_block(e, "row");
        if (block != last) LLVMAddCase(choice, veer_emit_i64(e, i), block);
        LLVMPositionBuilderAtEnd(e->builder, block);
        body(f, i, user);
        LLVMBuildBr(e->builder, done);
    }
    LLVMPositionBuilderAtEnd(e->builder, done);
}

/* ---- rows of u in the first cache ---- */

typedef struct transform_s {
    int vectors;
    val_t from, to, channels;
} transform_t;

static void transform_row(fly_t *f, int row, const void *user) {
    const transform_t *t = user;
    int64_t width = (int64_t)t->vectors * f->cut->mm.lanes;
    veer_emit_loop_t loop = veer_emit_loop_begin(f->e, veer_emit_i64(f->e, 0), t->channels, 1);
    val_t w = veer_emit_at(f->e, t->from, veer_emit_mul(f->e, loop.i, KERNEL * KERNEL * width)),
          u = veer_emit_at(f->e, t->to, veer_emit_mul(f->e, loop.i, width)), half[KERNEL];
    for (int v = 0; v < t->vectors; v++) {
        int64_t offset = (int64_t)v * f->cut->mm.lanes;
        half_row(f, row, at(f, w, offset), width, half);
        for (int j = 0; j < f->cut->patch; j++)
            store(f, row_times(f, j, half), at(f, u, offset + j * f->cut->u_position));
    }
    veer_emit_loop_end(f->e, &loop);
}

void veer_wino_emit_weights(veer_emit_t *e, const veer_wino_cut_t *cut, int vectors, val_t row, val_t from, val_t to,
                            val_t channels) {
    fly_t f = {.e = e, .cut = cut, .points = veer_wino_points(cut->tile)};
    switch_rows(&f, row, transform_row, &(transform_t){vectors, from, to, channels});
}

/* ---- rows of u in registers ---- */

typedef struct few_s {
    const veer_wino_few_t *io;
    val_t vector; /* of the panel */
} few_t;

enum { MOST_SUMS = 28 };

/* The sum of position j of the row, tile r. */
static val_t sum_at(fly_t *f, const few_t *c, int row, int j, int r) {
    int64_t offset = (row * f->cut->patch + j) * f->cut->z_position + r * f->cut->z_row;
    return at(f, veer_emit_at(f->e, c->io->z, veer_emit_mul(f->e, c->vector, f->cut->mm.lanes)), offset);
}

/* Every channel fetches its part of what comes after the block: all rows and vectors together fetch all of it. */
static void fetch_after(fly_t *f, const few_t *c, int row, val_t channel) {
    enum { LINE_FLOATS = 16 };
    veer_emit_t *e = f->e;
    int64_t each = (KERNEL * KERNEL * f->cut->mm.lanes + f->cut->patch - 1) / f->cut->patch;
    val_t turn = veer_emit_add(e, veer_emit_i64(e, (int64_t)row * c->io->vectors), c->vector);
    val_t offset = veer_emit_add(e, veer_emit_mul(e, turn, f->cut->mm.depth), channel);
    val_t from = veer_emit_at(e, c->io->after, veer_emit_mul(e, offset, each));
    veer_emit_fetch(e, from, (each + LINE_FLOATS - 1) / LINE_FLOATS);
}

/* One channel: u's row, times every tile. */
static void add_channel(fly_t *f, const few_t *c, int row, val_t channel, val_t *sums) {
    const veer_wino_cut_t *cut = f->cut;
    int lanes = cut->mm.lanes, rows = (int)cut->mm.tile_rows;
    int64_t width = (int64_t)c->io->vectors * lanes;
    val_t w = veer_emit_at(f->e, c->io->weights, veer_emit_mul(f->e, channel, KERNEL * KERNEL * width)), half[KERNEL];
    half_row(f, row, veer_emit_at(f->e, w, veer_emit_mul(f->e, c->vector, lanes)), width, half);
    val_t in_v = veer_emit_add(f->e, veer_emit_mul(f->e, veer_emit_div(f->e, channel, VEER_WINO_BLOCK), cut->v_block),
                               veer_emit_mod(f->e, channel, VEER_WINO_BLOCK));
    val_t v = at(f, veer_emit_at(f->e, c->io->v, in_v), row * cut->patch * cut->v_position);
    for (int j = 0; j < cut->patch; j++) {
        val_t u = row_times(f, j, half);
        LLVMTypeRef type = LLVMTypeOf(u);
        for (int r = 0; r < rows; r++) {
            val_t x = veer_emit_load_all(f->e, at(f, v, j * cut->v_position + r * VEER_WINO_BLOCK), lanes);
            val_t *sum = &sums[j * rows + r];
            *sum = veer_emit_intrinsic(f->e, "llvm.fmuladd", &type, 1, (val_t[]){x, u, *sum}, 3);
        }
    }
}

static void multiply_row(fly_t *f, int row, const void *user) {
    const few_t *c = user;
    veer_emit_t *e = f->e;
    int rows = (int)f->cut->mm.tile_rows, count = f->cut->patch * rows, lanes = f->cut->mm.lanes;
    val_t sums[MOST_SUMS], phis[MOST_SUMS], begin[MOST_SUMS], zero = veer_emit_i64(e, 0);
    assert(count <= MOST_SUMS);
    for (int i = 0; i < count; i++) {
        val_t waiting =
            veer_emit_load_first(e, sum_at(f, c, row, i / rows, i % rows), lanes, lanes, (unsigned)lanes * 4);
        begin[i] = veer_emit_select(e, c->io->is_first, LLVMConstNull(LLVMTypeOf(waiting)), waiting);
    }
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), body = veer_emit_block(e, "channel"),
                      done = veer_emit_block(e, "channels_done");
    LLVMBuildBr(e->builder, body);
    LLVMPositionBuilderAtEnd(e->builder, body);
    val_t channel = LLVMBuildPhi(e->builder, e->i64, "");
    for (int i = 0; i < count; i++) {
        sums[i] = phis[i] = LLVMBuildPhi(e->builder, LLVMTypeOf(begin[i]), "");
        LLVMAddIncoming(phis[i], &begin[i], &before, 1);
    }
    fetch_after(f, c, row, channel);
    add_channel(f, c, row, channel, sums);
    val_t next = veer_emit_add(e, channel, veer_emit_i64(e, 1));
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, next, c->io->channels, ""), body, done);
    LLVMAddIncoming(channel, (val_t[]){zero, next}, (LLVMBasicBlockRef[]){before, body}, 2);
    for (int i = 0; i < count; i++) LLVMAddIncoming(phis[i], &sums[i], &body, 1);
    LLVMPositionBuilderAtEnd(e->builder, done);
    for (int i = 0; i < count; i++) store(f, sums[i], sum_at(f, c, row, i / rows, i % rows));
}

void veer_wino_emit_few(veer_emit_t *e, const veer_wino_cut_t *cut, const veer_wino_few_t *few) {
    fly_t f = {.e = e, .cut = cut, .points = veer_wino_points(cut->tile)};
    veer_emit_loop_t vectors = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, few->vectors), 1);
    veer_emit_loop_t rows = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, cut->patch), 1);
    switch_rows(&f, rows.i, multiply_row, &(few_t){few, vectors.i});
    veer_emit_loop_end(e, &rows);
    veer_emit_loop_end(e, &vectors);
}
