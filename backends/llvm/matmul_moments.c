/* Moments behind a product's y as LLVM IR: of each block of rows and column the mean m and the mean of (y - m)^2, in
 * two passes over what was just written. */
#include "backends/llvm/matmul_emit.h"

typedef LLVMValueRef val_t;
typedef veer_mm_emitter_t mm_t;

/* Sums are several, for an addition takes longer than what it adds; moment_rows is a multiple of them. They begin anew
 * after some rows, for long ones lose digits. */
enum { MOMENT_SUMS = 4, MOMENT_ROWS = 1024 };

static val_t halved(mm_t *c, const val_t *sums) {
    val_t a = LLVMBuildFAdd(c->e->builder, sums[0], sums[2], ""),
          b = LLVMBuildFAdd(c->e->builder, sums[1], sums[3], "");
    return LLVMBuildFAdd(c->e->builder, a, b, "");
}

static val_t load_variable(mm_t *c, val_t variable) {
    return LLVMBuildLoad2(c->e->builder, c->vector, variable, "");
}

static void clear_variables(mm_t *c, const val_t *variables, int count) {
    for (int i = 0; i < count; i++) LLVMBuildStore(c->e->builder, LLVMConstNull(c->vector), variables[i]);
}

/* Adds rows [first, end) of a block that begins at `y` to `sums`: y, or (y - mean)^2. */
static void add_rows(mm_t *c, val_t y, val_t first, val_t end, const val_t *mean, const val_t *sums) {
    veer_emit_t *e = c->e;
    veer_emit_loop_t rows = veer_emit_loop_begin(e, first, end, MOMENT_SUMS);
    val_t at = veer_emit_at(e, y, veer_emit_mul(e, rows.i, c->p->n));
    for (int i = 0; i < MOMENT_SUMS * c->vectors; i++) {
        int v = i % c->vectors;
        val_t from = veer_emit_at(e, at, veer_emit_i64(e, i / c->vectors * c->p->n + (int64_t)v * c->b->lanes));
        val_t value = veer_emit_load_first(e, from, veer_mm_lanes_at(c, v), c->b->lanes, 4),
              sum = load_variable(c, sums[i]);
        if (mean) {
            val_t off = LLVMBuildFSub(e->builder, value, mean[v], "");
            sum = veer_emit_intrinsic(e, "llvm.fmuladd", &c->vector, 1, (val_t[]){off, off, sum}, 3);
        } else
            sum = LLVMBuildFAdd(e->builder, sum, value, "");
        LLVMBuildStore(e->builder, sum, sums[i]);
    }
    veer_emit_loop_end(e, &rows);
}

/* The means over a block's rows of y, or of (y - mean)^2. */
static void means_of_block(mm_t *c, val_t y, const val_t *mean, val_t *out) {
    veer_emit_t *e = c->e;
    val_t sums[MOMENT_SUMS * VEER_MM_MAX_VECTORS], totals[VEER_MM_MAX_VECTORS];
    int count = MOMENT_SUMS * c->vectors;
    for (int i = 0; i < count; i++) sums[i] = veer_emit_variable(e, c->vector);
    for (int v = 0; v < c->vectors; v++) totals[v] = veer_emit_variable(e, c->vector);
    clear_variables(c, totals, c->vectors);
    val_t rows = veer_emit_i64(e, c->p->moment_rows);
    veer_emit_loop_t parts = veer_emit_loop_begin(e, veer_emit_i64(e, 0), rows, MOMENT_ROWS);
    clear_variables(c, sums, count);
    add_rows(c, y, parts.i, veer_emit_min(e, veer_emit_add(e, parts.i, veer_emit_i64(e, MOMENT_ROWS)), rows), mean,
             sums);
    for (int v = 0; v < c->vectors; v++) {
        val_t of_part[MOMENT_SUMS];
        for (int i = 0; i < MOMENT_SUMS; i++) of_part[i] = load_variable(c, sums[i * c->vectors + v]);
        val_t total = LLVMBuildFAdd(e->builder, load_variable(c, totals[v]), halved(c, of_part), "");
        LLVMBuildStore(e->builder, total, totals[v]);
    }
    veer_emit_loop_end(e, &parts);
    for (int v = 0; v < c->vectors; v++) {
        val_t total = load_variable(c, totals[v]);
        out[v] = LLVMBuildFMul(e->builder, total, veer_emit_like(e, total, 1.0 / (double)c->p->moment_rows), "");
    }
}

void veer_mm_moments(mm_t *c, val_t first, int64_t blocks) {
    veer_emit_t *e = c->e;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, blocks), 1);
    val_t row = veer_emit_add(e, first, veer_emit_mul(e, loop.i, c->p->moment_rows));
    val_t y = veer_emit_at(e, c->y, veer_emit_add(e, veer_emit_mul(e, row, c->p->n), c->column));
    val_t to = veer_emit_mul(e, veer_emit_div(e, row, c->p->moment_rows), c->p->n);
    val_t moments[2][VEER_MM_MAX_VECTORS];
    means_of_block(c, y, NULL, moments[0]);
    means_of_block(c, y, moments[0], moments[1]);
    for (int i = 0; i < 2 * c->vectors; i++) {
        int v = i % c->vectors;
        val_t column = veer_emit_add(e, c->column, veer_emit_i64(e, (int64_t)v * c->b->lanes));
        val_t out = veer_emit_at(e, c->moments[i / c->vectors], veer_emit_add(e, to, column));
        veer_emit_store_first(e, moments[i / c->vectors][v], out, veer_mm_lanes_at(c, v));
    }
    veer_emit_loop_end(e, &loop);
}
