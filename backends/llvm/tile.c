#include "backends/llvm/tile.h"

#include <assert.h>

typedef LLVMValueRef val_t;

/* ---- addresses and memory ---- */
val_t veer_tile_at_c(veer_tile_ctx_t *t, val_t base, int64_t offset) {
    return offset ? veer_emit_at(t->e, base, veer_emit_i64(t->e, offset)) : base;
}

/* ---- products ---- */

/* A tile of a product: addresses of its first row of a and of its first columns of b. */
typedef struct work_s {
    veer_tile_ctx_t *t;
    const veer_tile_product_t *p;
    veer_tile_t tile;
    val_t a, b;
} work_t;

/* One k, `more` behind where a and b point. */
static void step(work_t *w, val_t a, val_t b, int64_t more) {
    veer_tile_ctx_t *t = w->t;
    veer_tile_t *tile = &w->tile;
    val_t columns[VEER_TILE_MAX_VECTORS];
    for (int v = 0; v < tile->vectors; v++)
        columns[v] = veer_emit_load_first(t->e, veer_tile_at_c(t, b, more * w->p->b_row + (int64_t)v * t->lanes),
                                          w->p->padded ? t->lanes : veer_tile_lanes(t, tile, v), t->lanes, 4);
    for (int r = 0; r < tile->rows; r++) {
        val_t x = veer_emit_load_all(t->e, veer_tile_at_c(t, a, r * w->p->a.row + more * w->p->a.column), t->lanes);
        for (int v = 0; v < tile->vectors; v++) {
            val_t *sum = &tile->sums[r * tile->vectors + v];
            /* One rounding on every target that can. */
            *sum = veer_emit_intrinsic(t->e, "llvm.fmuladd", &t->vector, 1, (val_t[]){x, columns[v], *sum}, 3);
        }
    }
}

/* `steps` turns of a loop, `unroll` of k in each. */
static void loop_over_k(work_t *w, int64_t steps, int64_t unroll) {
    veer_tile_ctx_t *t = w->t;
    veer_emit_t *e = t->e;
    int count = w->tile.rows * w->tile.vectors;
    val_t phis[VEER_TILE_MAX_SUMS], zero = veer_emit_i64(e, 0), *sums = w->tile.sums;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), body = veer_emit_block(e, "k"),
                      done = veer_emit_block(e, "k_done");
    LLVMBuildBr(e->builder, body);
    LLVMPositionBuilderAtEnd(e->builder, body);
    val_t k = LLVMBuildPhi(e->builder, e->i64, "k");
    for (int i = 0; i < count; i++) {
        phis[i] = LLVMBuildPhi(e->builder, t->vector, "");
        LLVMAddIncoming(phis[i], &sums[i], &before, 1);
        sums[i] = phis[i];
    }
    val_t a = veer_emit_at(t->e, w->a, veer_emit_mul(t->e, k, w->p->a.column)),
          b = veer_emit_at(t->e, w->b, veer_emit_mul(t->e, k, w->p->b_row));
    for (int64_t u = 0; u < unroll; u++) step(w, a, b, u);
    val_t next = veer_emit_add(t->e, k, veer_emit_i64(e, unroll)), end = veer_emit_i64(e, steps * unroll);
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, next, end, ""), body, done);
    LLVMAddIncoming(k, (val_t[]){zero, next}, (LLVMBasicBlockRef[]){before, body}, 2);
    for (int i = 0; i < count; i++) LLVMAddIncoming(phis[i], &sums[i], &body, 1);
    LLVMPositionBuilderAtEnd(e->builder, done);
}

static void do_tile(work_t *w, val_t row, int rows) {
    veer_tile_t *tile = &w->tile;
    tile->row = row, tile->rows = rows;
    int count = rows * tile->vectors;
    assert(count <= VEER_TILE_MAX_SUMS);
    for (int i = 0; i < count; i++) tile->sums[i] = LLVMConstNull(w->t->vector);
    if (w->p->begin) w->p->begin(w->p->user, tile);
    w->a = veer_emit_at(w->t->e, w->p->a.base, veer_emit_mul(w->t->e, row, w->p->a.row));
    int64_t unroll = count >= 20 ? 1 : count >= 8 ? 2 : 4, steps = w->p->k / unroll;
    if (steps < 2) steps = 0;
    if (steps) loop_over_k(w, steps, unroll);
    for (int64_t k = steps * unroll; k < w->p->k; k++) step(w, w->a, w->b, k);
    w->p->finish(w->p->user, tile);
}

/* `tiles` tiles of equal height. */
static void do_tiles(work_t *w, int64_t first, int64_t tiles, int rows) {
    veer_emit_t *e = w->t->e;
    if (tiles == 1) do_tile(w, veer_emit_i64(e, first), rows);
    if (tiles < 2) return;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, tiles), 1);
    do_tile(w, veer_emit_add(w->t->e, veer_emit_mul(w->t->e, loop.i, rows), veer_emit_i64(e, first)), rows);
    veer_emit_loop_end(e, &loop);
}

static int accumulators(const veer_tile_ctx_t *t) {
    return t->registers >= 32 ? 28 : 12;
}

/* Rows that are a multiple of 4096 bytes apart compete for the same lines of the first cache. */
static int most_rows(const veer_tile_ctx_t *t, int vectors, int64_t stride) {
    enum { PAGE_FLOATS = 1024, ALIASED_ROWS = 8 };
    int rows = accumulators(t) / vectors,
        most = stride && stride % PAGE_FLOATS == 0 ? ALIASED_ROWS : VEER_TILE_MAX_ROWS;
    return rows < most ? rows : most;
}

/* Rows are shared out evenly, so there are two heights of tiles at most. */
static void do_panel(void *user, val_t column, int vectors, int tail) {
    work_t *w = user;
    int most = most_rows(w->t, vectors, w->p->a.row);
    int64_t tiles = (w->p->rows + most - 1) / most, low = w->p->rows / tiles, longs = w->p->rows % tiles;
    w->tile.column = column, w->tile.vectors = vectors, w->tile.tail = tail;
    w->b = veer_emit_at(w->t->e, w->p->b, column);
    do_tiles(w, 0, longs, (int)low + 1);
    do_tiles(w, longs * (low + 1), tiles - longs, (int)low);
}

void veer_tile_multiply(veer_tile_ctx_t *t, const veer_tile_product_t *p) {
    work_t w = {.t = t, .p = p};
    int vectors = p->vectors ? p->vectors : veer_tile_panel(t, p->rows, (p->columns + t->lanes - 1) / t->lanes);
    veer_tile_for_panels(t, p->columns, vectors, do_panel, &w);
}

/* Cycles per k of a tile: two multiply-adds or two loads a cycle, a latency of four. */
static double tile_cycles(int64_t rows, int64_t vectors) {
    double fma = (double)(rows * vectors) / 2, loads = (double)(rows + vectors) / 2, most = 4;
    if (fma > most) most = fma;
    return loads > most ? loads : most;
}

static double panel_cycles(const veer_tile_ctx_t *t, int64_t rows, int vectors) {
    int most = most_rows(t, vectors, 0);
    int64_t tiles = (rows + most - 1) / most, low = rows / tiles, longs = rows % tiles;
    return (double)longs * tile_cycles(low + 1, vectors) + (double)(tiles - longs) * tile_cycles(low, vectors);
}

int veer_tile_panel(const veer_tile_ctx_t *t, int64_t rows, int64_t vectors) {
    static const int widths[] = {2, 3, 4, 1, 5};
    int best = 1;
    double best_cycles = 0;
    for (int i = 0; i < (int)(sizeof widths / sizeof *widths); i++) {
        int width = widths[i];
        if (width > vectors) continue;
        int64_t whole = vectors / width;
        int last = (int)(vectors - whole * width);
        double cycles = (double)whole * panel_cycles(t, rows, width) + (last ? panel_cycles(t, rows, last) : 0);
        if (best_cycles > 0 && cycles > best_cycles * 0.97) continue;
        best = width, best_cycles = cycles;
    }
    return best;
}

void veer_tile_for_panels(veer_tile_ctx_t *t, int64_t columns, int vectors, veer_tile_panel_fn body, void *user) {
    int64_t width = (int64_t)vectors * t->lanes, whole = columns / width, rest = columns - whole * width;
    if (whole == 1) body(user, veer_emit_i64(t->e, 0), vectors, t->lanes);
    if (whole > 1) {
        veer_emit_loop_t loop =
            veer_emit_loop_begin(t->e, veer_emit_i64(t->e, 0), veer_emit_i64(t->e, whole * width), width);
        body(user, loop.i, vectors, t->lanes);
        veer_emit_loop_end(t->e, &loop);
    }
    if (rest) {
        int last = (int)((rest + t->lanes - 1) / t->lanes);
        body(user, veer_emit_i64(t->e, whole * width), last, (int)(rest - (int64_t)(last - 1) * t->lanes));
    }
}

/* ---- moves ---- */

typedef struct move_s {
    veer_tile_ctx_t *t;
    veer_tile_matrix_t to, from;
    val_t factor;
    bool padded;
} move_t;

static val_t scaled(move_t *m, val_t x) {
    return m->factor ? LLVMBuildFMul(m->t->e->builder, x, m->factor, "") : x;
}

static val_t element(move_t *m, veer_tile_matrix_t matrix, val_t i, val_t j) {
    val_t offset =
        veer_emit_add(m->t->e, veer_emit_mul(m->t->e, i, matrix.row), veer_emit_mul(m->t->e, j, matrix.column));
    return veer_emit_at(m->t->e, matrix.base, offset);
}

/* body(m, j, lanes) for whole vectors of columns, in a loop, and for the rest. */
typedef void (*part_fn)(move_t *m, val_t i, int rows, val_t j, int columns);

static void for_columns(move_t *m, val_t i, int rows, int64_t columns, part_fn body) {
    veer_emit_t *e = m->t->e;
    int64_t whole = columns / m->t->lanes * m->t->lanes;
    if (whole) {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, whole), m->t->lanes);
        body(m, i, rows, loop.i, m->t->lanes);
        veer_emit_loop_end(e, &loop);
    }
    if (columns > whole) body(m, i, rows, veer_emit_i64(e, whole), (int)(columns - whole));
}

static void for_blocks(move_t *m, int64_t rows, int64_t columns, int height, part_fn body) {
    veer_emit_t *e = m->t->e;
    int64_t whole = rows / height * height;
    if (whole) {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, whole), height);
        for_columns(m, loop.i, height, columns, body);
        veer_emit_loop_end(e, &loop);
    }
    if (rows > whole) for_columns(m, veer_emit_i64(e, whole), (int)(rows - whole), columns, body);
}

static void copy_vector(move_t *m, val_t i, int rows, val_t j, int columns) {
    (void)rows;
    val_t x = veer_emit_load_first(m->t->e, element(m, m->from, i, j), columns, m->t->lanes, 4);
    veer_emit_store_first(m->t->e, scaled(m, x), element(m, m->to, i, j), m->padded ? m->t->lanes : columns);
}

/* The transpose of as many vectors as they have lanes: each stage interleaves the first half with the second. */
static void transpose(veer_tile_ctx_t *t, val_t *v) {
    int n = t->lanes, low[64], high[64];
    val_t next[64];
    for (int i = 0; i < n; i++) low[i] = i / 2 + i % 2 * n, high[i] = low[i] + n / 2;
    for (int stage = 1; stage < n; stage *= 2) {
        for (int i = 0; i < n / 2; i++) {
            next[2 * i] = veer_emit_shuffle(t->e, v[i], v[i + n / 2], low, (unsigned)n);
            next[2 * i + 1] = veer_emit_shuffle(t->e, v[i], v[i + n / 2], high, (unsigned)n);
        }
        for (int i = 0; i < n; i++) v[i] = next[i];
    }
}

/* from is contiguous along rows, to along columns. */
static void turn_block(move_t *m, val_t i, int rows, val_t j, int columns) {
    veer_tile_ctx_t *t = m->t;
    val_t v[64], from = element(m, m->from, i, j), to = element(m, m->to, i, j);
    for (int c = 0; c < t->lanes; c++)
        v[c] =
            c < columns
                ? scaled(m, veer_emit_load_first(t->e, veer_tile_at_c(t, from, c * m->from.column), rows, t->lanes, 4))
                : LLVMConstNull(t->vector);
    transpose(t, v);
    for (int r = 0; r < rows; r++)
        veer_emit_store_first(t->e, v[r], veer_tile_at_c(t, to, r * m->to.row), m->padded ? t->lanes : columns);
}

/* Neither way contiguous. */
static void copy_scattered(move_t *m, val_t i, int rows, val_t j, int columns) {
    veer_emit_t *e = m->t->e;
    (void)rows;
    if (m->padded) {
        val_t x = LLVMConstNull(m->t->vector), from = element(m, m->from, i, j);
        for (int c = 0; c < columns; c++) {
            val_t one = veer_emit_load_all(m->t->e, veer_tile_at_c(m->t, from, c * m->from.column), 1);
            x = LLVMBuildInsertElement(e->builder, x, one, veer_emit_i64(e, c), "");
        }
        veer_emit_store_first(m->t->e, scaled(m, x), element(m, m->to, i, j), m->t->lanes);
        return;
    }
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, columns), 1);
    val_t at = veer_emit_add(m->t->e, j, loop.i), x = veer_emit_load_all(m->t->e, element(m, m->from, i, at), 1);
    if (m->factor)
        x = LLVMBuildFMul(e->builder, x, LLVMBuildExtractElement(e->builder, m->factor, veer_emit_i64(e, 0), ""), "");
    LLVMSetAlignment(LLVMBuildStore(e->builder, x, element(m, m->to, i, at)), 4);
    veer_emit_loop_end(e, &loop);
}

static veer_tile_matrix_t turned(veer_tile_matrix_t m) {
    return (veer_tile_matrix_t){m.base, m.column, m.row};
}

/* Of a dim of size 1 any stride is right. */
static veer_tile_matrix_t normal(veer_tile_matrix_t m, int64_t rows, int64_t columns) {
    if (columns == 1) m.column = 1;
    if (rows == 1 && m.column != 1) m.row = 1;
    return m;
}

void veer_tile_move(veer_tile_ctx_t *t, veer_tile_matrix_t to, veer_tile_matrix_t from, int64_t rows, int64_t columns,
                    LLVMValueRef factor, bool padded) {
    move_t m = {t, normal(to, rows, columns), normal(from, rows, columns), factor, padded};
    bool by_rows = m.to.column == 1 || m.to.row != 1;
    assert(!padded || m.to.column == 1);
    if (!by_rows) {
        int64_t swap = rows;
        m.to = turned(m.to), m.from = turned(m.from), rows = columns, columns = swap;
    }
    if (m.to.column == 1 && m.from.column == 1)
        for_blocks(&m, rows, columns, 1, copy_vector);
    else if (m.to.column == 1 && m.from.row == 1)
        for_blocks(&m, rows, columns, t->lanes, turn_block);
    else
        for_blocks(&m, rows, columns, 1, copy_scattered);
}

void veer_tile_clear(veer_tile_ctx_t *t, val_t address, int64_t floats) {
    veer_emit_t *e = t->e;
    assert(floats % t->lanes == 0);
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, floats), t->lanes);
    veer_emit_store_first(t->e, LLVMConstNull(t->vector), veer_emit_at(t->e, address, loop.i), t->lanes);
    veer_emit_loop_end(e, &loop);
}
