/* Winograd's algorithm as LLVM IR:
 *
 *     for each item: its group of tiles, its panel of channels
 *         unless the item before it had the same group:
 *             for each tile, each vector of channels: v[position][tile] = B^T d B
 *         for each position: z[tile] = sum over c of v[position][tile][c] u[position][c]
 *             (on the fly: for each block of c, each row of positions: u, then for each position z[tile] += ...)
 *         for each tile: A^T z A, then the program, row by row of y
 *
 * Patches that lie in x are read where they are; of others a table holds one address per position, that of zeros where
 * it is outside. */
#include "backends/llvm/winograd.h"

#include "backends/llvm/matmul_emit.h"

typedef LLVMValueRef val_t;

enum { PATCH = VEER_WINO_MAX_PATCH, LINE_FLOATS = 16 };

typedef struct wino_s {
    veer_mm_emitter_t mm;
    veer_emit_t *e;
    const veer_wino_problem_t *p;
    const veer_wino_cut_t *cut;
    veer_wino_points_t points;
    val_t v, z, u;                /* scratch */
    val_t table, zeros;           /* addresses of a patch's positions; channels of a position outside */
    val_t results;                /* a tile of y, on the stack */
    val_t first_micro, end_micro; /* the group's tiles of the products */
    val_t first, end;             /* the group's tiles */
    val_t after;                  /* weights that are needed next */
    double factors[PATCH];        /* of the points' sums, which are no part of u on the fly */
} wino_t;

/* ---- addresses and memory ---- */

static val_t is_below(wino_t *c, val_t a, int64_t limit) { /* 0 <= a < limit */
    return LLVMBuildICmp(c->e->builder, LLVMIntULT, a, veer_emit_i64(c->e, limit < 0 ? 0 : limit), "");
}

static val_t load(wino_t *c, val_t address, unsigned align) {
    val_t v = LLVMBuildLoad2(c->e->builder, c->mm.vector, address, "");
    LLVMSetAlignment(v, align);
    return v;
}

/* Of scratch and of the stack. */
static void store(wino_t *c, val_t v, val_t address) {
    LLVMSetAlignment(LLVMBuildStore(c->e->builder, v, address), (unsigned)c->cut->mm.lanes * 4);
}

/* Lines into the first cache, to be written. */
static void fetch(wino_t *c, val_t from, int64_t floats) {
    for (int64_t i = 0; i < floats; i += LINE_FLOATS)
        veer_emit_fetch_line(c->e, veer_emit_at(c->e, from, veer_emit_i64(c->e, i)), VEER_EMIT_TO_WRITE);
}

/* ---- arithmetic on vectors ---- */

static val_t plus(wino_t *c, val_t a, val_t b) {
    return LLVMBuildFAdd(c->e->builder, a, b, "");
}
static val_t minus(wino_t *c, val_t a, val_t b) {
    return LLVMBuildFSub(c->e->builder, a, b, "");
}
/* k * a + b */
static val_t scaled_plus(wino_t *c, double k, val_t a, val_t b) {
    if (k == 1) return plus(c, a, b);
    if (k == -1) return minus(c, b, a);
    val_t args[] = {veer_emit_like(c->e, a, k), a, b};
    return veer_emit_intrinsic(c->e, "llvm.fmuladd", &c->mm.vector, 1, args, 3);
}

static val_t scaled(wino_t *c, double k, val_t a) {
    if (k == 1) return a;
    return LLVMBuildFMul(c->e->builder, a, veer_emit_like(c->e, a, k), "");
}

/* t = B^T d. With the pairs p, q: the row of +-p holds (x +- p) x (x^2 - q^2), rows of 0 and infinity the products of
 * (x^2 - p^2) and (x^2 - q^2), the latter times x. */
static void input_1d(wino_t *c, const val_t *d, val_t *t) {
    double p = c->points.at[0], q = c->points.at[1], pp = p * p, qq = q * q;
    if (c->points.pairs == 1) {
        t[0] = scaled_plus(c, -pp, d[0], d[2]);
        t[1] = scaled_plus(c, p, d[1], d[2]);
        t[2] = scaled_plus(c, -p, d[1], d[2]);
        t[3] = scaled_plus(c, -pp, d[1], d[3]);
        return;
    }
    val_t even = scaled_plus(c, -qq, d[2], d[4]), odd = scaled_plus(c, -qq, d[1], d[3]);
    t[1] = scaled_plus(c, p, odd, even), t[2] = scaled_plus(c, -p, odd, even);
    even = scaled_plus(c, -pp, d[2], d[4]), odd = scaled_plus(c, -pp, d[1], d[3]);
    t[3] = scaled_plus(c, q, odd, even), t[4] = scaled_plus(c, -q, odd, even);
    t[0] = scaled_plus(c, pp * qq, d[0], scaled_plus(c, -pp - qq, d[2], d[4]));
    t[5] = scaled_plus(c, pp * qq, d[1], scaled_plus(c, -pp - qq, d[3], d[5]));
}

/* y = A^T z: sums over the points of their powers; infinity counts for the last. */
static void output_1d(wino_t *c, const val_t *z, val_t *y) {
    double p = c->points.at[0], q = c->points.at[1];
    const double *f = c->factors; /* f[1] is f[2], f[3] is f[4] */
    val_t even = plus(c, z[1], z[2]), odd = minus(c, z[1], z[2]);
    y[0] = scaled_plus(c, f[1], even, scaled(c, f[0], z[0]));
    if (c->points.pairs == 1) {
        y[1] = scaled_plus(c, f[1] * p, odd, z[3]);
        return;
    }
    val_t even_q = plus(c, z[3], z[4]), odd_q = minus(c, z[3], z[4]);
    y[0] = scaled_plus(c, f[3], even_q, y[0]);
    y[1] = scaled_plus(c, f[1] * p, odd, scaled(c, f[3] * q, odd_q));
    y[2] = scaled_plus(c, f[1] * p * p, even, scaled(c, f[3] * q * q, even_q));
    y[3] = scaled_plus(c, f[1] * p * p * p, odd, scaled_plus(c, f[3] * q * q * q, odd_q, z[5]));
}

/* A product's tile among those of which the first are long. */
static val_t in_pattern(wino_t *c, val_t micro) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    return c->cut->alike ? veer_emit_mod(c->e, micro, b->tiles / b->groups) : micro;
}

static val_t is_long(wino_t *c, val_t micro) {
    return LLVMBuildICmp(c->e->builder, LLVMIntSLT, in_pattern(c, micro), veer_emit_i64(c->e, c->cut->mm.long_tiles),
                         "");
}

/* The first tile of a product's tile. */
static val_t first_tile(wino_t *c, val_t micro) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    val_t first = veer_emit_mul(c->e, micro, b->tile_rows), longs = veer_emit_i64(c->e, b->long_tiles);
    if (!b->long_tiles) return first;
    first = veer_emit_add(c->e, first, veer_emit_min(c->e, in_pattern(c, micro), longs));
    if (!c->cut->alike) return first;
    return veer_emit_add(c->e, first,
                         veer_emit_mul(c->e, veer_emit_div(c->e, micro, b->tiles / b->groups), b->long_tiles));
}

/* ---- patches of x ---- */

typedef struct place_s {
    val_t image, h, w; /* of the tile's first row and column, in tiles */
} place_t;

static place_t place_of(wino_t *c, val_t tile) {
    int64_t tiles = c->cut->tiles_h * c->cut->tiles_w;
    val_t in_image = veer_emit_mod(c->e, tile, tiles);
    return (place_t){veer_emit_div(c->e, tile, tiles), veer_emit_div(c->e, in_image, c->cut->tiles_w),
                     veer_emit_mod(c->e, in_image, c->cut->tiles_w)};
}

/* Where a patch is read: at `base`, or where it is NULL at the table's addresses. */
static val_t position(wino_t *c, val_t base, int i, int j, val_t channel) {
    if (base)
        return veer_emit_at(c->e, base,
                            veer_emit_add(c->e, channel, veer_emit_i64(c->e, (i * c->p->w + j) * c->p->mm.k)));
    val_t slot = veer_emit_i64(c->e, i * c->cut->patch + j);
    val_t address = LLVMBuildInBoundsGEP2(c->e->builder, c->e->ptr, c->table, &slot, 1, "");
    return veer_emit_at(c->e, LLVMBuildLoad2(c->e->builder, c->e->ptr, address, ""), channel);
}

/* One vector of channels of a patch, to row `row` of v. */
static void transform_channels(wino_t *c, val_t base, val_t channel, int lanes, val_t row) {
    int n = c->cut->patch;
    val_t block = veer_emit_mul(c->e, veer_emit_div(c->e, channel, VEER_WINO_BLOCK), c->cut->v_block);
    val_t to = veer_emit_at(c->e, row, veer_emit_add(c->e, block, veer_emit_mod(c->e, channel, VEER_WINO_BLOCK)));
    val_t half[PATCH][PATCH];
    for (int j = 0; j < n; j++) {
        val_t d[PATCH], t[PATCH];
        for (int i = 0; i < n; i++)
            d[i] = veer_emit_load_first(c->e, position(c, base, i, j, channel), lanes, c->cut->mm.lanes, 4);
        input_1d(c, d, t);
        for (int i = 0; i < n; i++) half[i][j] = t[i];
    }
    for (int i = 0; i < n; i++) {
        val_t t[PATCH];
        input_1d(c, half[i], t);
        for (int j = 0; j < n; j++)
            store(c, t[j], veer_emit_at(c->e, to, veer_emit_i64(c->e, (i * n + j) * c->cut->v_position)));
    }
}

static void transform_patch(wino_t *c, val_t base, val_t row) {
    int lanes = c->cut->mm.lanes;
    int64_t whole = c->p->mm.k / lanes * lanes;
    if (whole) {
        veer_emit_loop_t loop = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, whole), lanes);
        transform_channels(c, base, loop.i, lanes, row);
        veer_emit_loop_end(c->e, &loop);
    }
    if (whole < c->p->mm.k) transform_channels(c, base, veer_emit_i64(c->e, whole), (int)(c->p->mm.k - whole), row);
}

/* h, w: the patch's first row and column in x, perhaps negative; base: its address, were it inside. */
static void fill_table(wino_t *c, val_t h, val_t w, val_t base) {
    int n = c->cut->patch;
    val_t row_exists[PATCH], column_exists[PATCH];
    for (int i = 0; i < n; i++) {
        row_exists[i] = is_below(c, veer_emit_add(c->e, h, veer_emit_i64(c->e, i)), c->p->h);
        column_exists[i] = is_below(c, veer_emit_add(c->e, w, veer_emit_i64(c->e, i)), c->p->w);
    }
    for (int i = 0; i < n * n; i++) {
        val_t exists = LLVMBuildAnd(c->e->builder, row_exists[i / n], column_exists[i % n], ""),
              slot = veer_emit_i64(c->e, i);
        val_t offset = veer_emit_i64(c->e, (i / n * c->p->w + i % n) * c->p->mm.k);
        /* not in bounds where it is not taken */
        val_t inside = LLVMBuildGEP2(c->e->builder, c->e->f32, base, &offset, 1, "");
        LLVMBuildStore(c->e->builder, veer_emit_select(c->e, exists, inside, c->zeros),
                       LLVMBuildInBoundsGEP2(c->e->builder, c->e->ptr, c->table, &slot, 1, ""));
    }
}

/* `row`: where v has the tile. */
static void transform_tile(wino_t *c, val_t tile, val_t row) {
    veer_emit_t *e = c->e;
    int n = c->cut->patch;
    place_t place = place_of(c, tile);
    val_t h = veer_emit_sub(c->e, veer_emit_mul(c->e, place.h, c->cut->tile), veer_emit_i64(c->e, c->p->pad_h));
    val_t w = veer_emit_sub(c->e, veer_emit_mul(c->e, place.w, c->cut->tile), veer_emit_i64(c->e, c->p->pad_w));
    val_t offset = veer_emit_add(
        c->e, veer_emit_mul(c->e, veer_emit_add(c->e, veer_emit_mul(c->e, place.image, c->p->h), h), c->p->w), w);
    offset = veer_emit_mul(c->e, offset, c->p->mm.k);
    val_t base = LLVMBuildGEP2(e->builder, e->f32, c->mm.a, &offset, 1, "");
    LLVMBasicBlockRef whole = veer_emit_block(e, "whole"), edge = veer_emit_block(e, "edge"),
                      both = veer_emit_block(e, "transformed");
    val_t is_whole = LLVMBuildAnd(e->builder, is_below(c, h, c->p->h - n + 1), is_below(c, w, c->p->w - n + 1), "");
    LLVMBuildCondBr(e->builder, is_whole, whole, edge);
    LLVMPositionBuilderAtEnd(e->builder, whole);
    transform_patch(c, base, row);
    LLVMBuildBr(e->builder, both);
    LLVMPositionBuilderAtEnd(e->builder, edge);
    fill_table(c, h, w, base);
    transform_patch(c, NULL, row);
    LLVMBuildBr(e->builder, both);
    LLVMPositionBuilderAtEnd(e->builder, both);
}

static void transform_group(wino_t *c, val_t is_new) {
    veer_emit_t *e = c->e;
    veer_emit_branch_t new_group = veer_emit_if(e, is_new);
    veer_emit_loop_t micros = veer_emit_loop_begin(e, c->first_micro, c->end_micro, 1);
    val_t first = first_tile(c, micros.i), end = first_tile(c, veer_emit_add(c->e, micros.i, veer_emit_i64(c->e, 1)));
    val_t v =
        veer_emit_at(c->e, c->v, veer_emit_mul(c->e, veer_emit_sub(c->e, micros.i, c->first_micro), c->cut->v_micro));
    veer_emit_loop_t tiles = veer_emit_loop_begin(e, first, end, 1);
    transform_tile(c, tiles.i,
                   veer_emit_at(c->e, v, veer_emit_mul(c->e, veer_emit_sub(c->e, tiles.i, first), VEER_WINO_BLOCK)));
    veer_emit_loop_end(e, &tiles);
    veer_emit_loop_end(e, &micros);
    veer_emit_endif(e, &new_group);
}

/* ---- products ---- */

/* The part of the weights that follow, `after`, which a tile of the products fetches. */
static val_t part_to_fetch(wino_t *c, val_t micro) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    int64_t steps = b->depth / veer_mm_unroll((int)b->tile_rows * c->mm.vectors);
    int64_t each = b->fetch_step ? b->fetch_step : b->prefetch * LINE_FLOATS;
    return veer_emit_at(c->e, c->after, veer_emit_mul(c->e, veer_emit_sub(c->e, micro, c->first_micro), steps * each));
}

static void multiply_rows(wino_t *c, int rows, val_t position, val_t micro, val_t row) {
    const veer_wino_cut_t *cut = c->cut;
    int count = rows * c->mm.vectors;
    veer_mm_tile_t t = {.rows = rows};
    val_t v = veer_emit_mul(c->e, veer_emit_sub(c->e, micro, c->first_micro), cut->v_micro);
    v = veer_emit_add(c->e, v, veer_emit_mul(c->e, veer_emit_div(c->e, c->mm.k, VEER_WINO_BLOCK), cut->v_block));
    t.a = veer_emit_at(c->e, c->v, veer_emit_add(c->e, v, veer_emit_mul(c->e, position, cut->v_position)));
    if (cut->mm.prefetch) t.next_block = part_to_fetch(c, micro);
    val_t to = veer_emit_at(
        c->e, c->z,
        veer_emit_add(c->e, veer_emit_mul(c->e, position, cut->z_position), veer_emit_mul(c->e, row, cut->z_row)));
    t.waiting = to, t.waiting_row = cut->z_row;
    veer_mm_sums(&c->mm, &t);
    for (int i = 0; i < count; i++) {
        int64_t offset = i / c->mm.vectors * cut->z_row + i % c->mm.vectors * cut->mm.lanes;
        store(c, t.sums[i], veer_emit_at(c->e, to, veer_emit_i64(c->e, offset)));
    }
}

static void multiply_micro(wino_t *c, val_t position, val_t micro) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = &c->cut->mm;
    val_t row = veer_emit_sub(c->e, first_tile(c, micro), c->first);
    if (!b->long_tiles) {
        multiply_rows(c, (int)b->tile_rows, position, micro, row);
        return;
    }
    veer_emit_branch_t longer = veer_emit_if(e, is_long(c, micro));
    multiply_rows(c, (int)b->tile_rows + 1, position, micro, row);
    veer_emit_else(e, &longer);
    multiply_rows(c, (int)b->tile_rows, position, micro, row);
    veer_emit_endif(e, &longer);
}

/* What is read after a panel's weights: the next panel's, the first of the next group, or the beginning of the next
 * call's stream; where there is no such, what is there already. */
static val_t after_panel(wino_t *c, val_t item, val_t panel, val_t weights, int64_t floats) {
    veer_emit_t *e = c->e;
    val_t is_end = LLVMBuildICmp(e->builder, LLVMIntEQ, veer_emit_add(c->e, item, veer_emit_i64(c->e, 1)),
                                 c->mm.jit->end, ""),
          is_last = LLVMBuildICmp(e->builder, LLVMIntEQ, panel, veer_emit_i64(c->e, c->cut->mm.panels - 1), ""),
          is_none = LLVMBuildICmp(e->builder, LLVMIntEQ, c->mm.jit->next, LLVMConstNull(e->ptr), "");
    val_t here = veer_emit_select(e, is_last, c->mm.bm, veer_emit_at(c->e, weights, veer_emit_i64(c->e, floats)));
    return veer_emit_select(e, is_end, veer_emit_select(e, is_none, weights, c->mm.jit->next), here);
}

static void multiply_micros(wino_t *c, val_t position) {
    veer_emit_loop_t micros = veer_emit_loop_begin(c->e, c->first_micro, c->end_micro, 1);
    multiply_micro(c, position, micros.i);
    veer_emit_loop_end(c->e, &micros);
}

/* Weights that were transformed at compile time. `after`: what is read next. */
static void multiply_packed(wino_t *c, val_t weights, val_t after) {
    int64_t n = c->cut->patch, floats = c->p->mm.k * c->mm.b_stride; /* of a position's weights */
    veer_emit_loop_t positions = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, n * n), 1);
    c->mm.block = veer_emit_at(c->e, weights, veer_emit_mul(c->e, positions.i, floats));
    val_t is_last = LLVMBuildICmp(c->e->builder, LLVMIntEQ, positions.i, veer_emit_i64(c->e, n * n - 1), "");
    c->after = veer_emit_select(c->e, is_last, after, veer_emit_at(c->e, c->mm.block, veer_emit_i64(c->e, floats)));
    multiply_micros(c, positions.i);
    veer_emit_loop_end(c->e, &positions);
}

/* A row of positions of a block's transformed weights with all tiles; each position fetches its part of what is
 * `after` them. */
static void multiply_row(wino_t *c, val_t row, val_t after) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    int64_t n = c->cut->patch, steps = b->depth / veer_mm_unroll((int)b->tile_rows * c->mm.vectors);
    val_t micros = veer_emit_sub(c->e, c->end_micro, c->first_micro),
          part = veer_emit_mul(c->e, micros, steps * b->fetch_step), first = veer_emit_mul(c->e, row, n);
    veer_emit_loop_t columns = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, n), 1);
    val_t position = veer_emit_add(c->e, first, columns.i);
    c->mm.block = veer_emit_at(c->e, c->u, veer_emit_mul(c->e, columns.i, c->cut->u_position));
    c->after = veer_emit_at(c->e, after, LLVMBuildMul(c->e->builder, position, part, ""));
    multiply_micros(c, position);
    veer_emit_loop_end(c->e, &columns);
}

static void multiply_few(wino_t *c, val_t weights, val_t channels, val_t after) {
    val_t block = veer_emit_mul(c->e, veer_emit_div(c->e, c->mm.k, VEER_WINO_BLOCK), c->cut->v_block);
    veer_wino_few_t few = {.vectors = c->mm.vectors,
                           .weights = weights,
                           .v = veer_emit_at(c->e, c->v, block),
                           .z = c->z,
                           .channels = channels,
                           .is_first = c->mm.is_first,
                           .after = after};
    veer_wino_emit_few(c->e, c->cut, &few);
}

static void multiply_on_the_fly(wino_t *c, val_t weights, val_t after) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = &c->cut->mm;
    int64_t block_floats = b->depth * veer_wino_weight_floats(c->cut) * c->mm.b_stride;
    veer_emit_loop_t blocks = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, b->blocks), 1);
    c->mm.is_first = LLVMBuildICmp(e->builder, LLVMIntEQ, blocks.i, veer_emit_i64(e, 0), "");
    c->mm.is_last = LLVMBuildICmp(e->builder, LLVMIntEQ, blocks.i, veer_emit_i64(e, b->blocks - 1), "");
    c->mm.k = veer_emit_mul(e, blocks.i, b->depth);
    val_t from = veer_emit_at(e, weights, veer_emit_mul(e, blocks.i, block_floats)),
          channels = veer_emit_select(e, c->mm.is_last, veer_emit_i64(e, c->p->mm.k - (b->blocks - 1) * b->depth),
                                      veer_emit_i64(e, b->depth)),
          next = veer_emit_select(e, c->mm.is_last, after, veer_emit_at(e, from, veer_emit_i64(e, block_floats)));
    if (c->cut->few)
        multiply_few(c, from, channels, next);
    else {
        veer_emit_loop_t rows = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, c->cut->patch), 1);
        veer_wino_emit_weights(e, c->cut, c->mm.vectors, rows.i, from, c->u, channels);
        multiply_row(c, rows.i, next);
        veer_emit_loop_end(e, &rows);
    }
    veer_emit_loop_end(e, &blocks);
}

static void multiply(wino_t *c, val_t item, val_t panel) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    int64_t each = veer_wino_weight_floats(c->cut) * c->p->mm.k;
    val_t weights = veer_emit_at(c->e, c->mm.bm, veer_emit_mul(c->e, panel, each * b->vectors * b->lanes));
    val_t after = after_panel(c, item, panel, weights, each * c->mm.b_stride);
    if (c->cut->fly)
        multiply_on_the_fly(c, weights, after);
    else
        multiply_packed(c, weights, after);
}

/* ---- tiles of y ---- */

static val_t result_at(wino_t *c, val_t i, int v) {
    val_t index = veer_emit_add(c->e, veer_emit_mul(c->e, i, c->mm.vectors), veer_emit_i64(c->e, v));
    return veer_emit_at(c->e, c->results, veer_emit_mul(c->e, index, c->cut->mm.lanes));
}

/* Vector v of the panel, of all the tile's positions. */
static void transform_back(wino_t *c, val_t z, int v) {
    const veer_wino_cut_t *cut = c->cut;
    val_t half[PATCH][PATCH];
    for (int j = 0; j < cut->patch; j++) {
        val_t from[PATCH], to[PATCH];
        for (int i = 0; i < cut->patch; i++) {
            int64_t offset = (i * cut->patch + j) * cut->z_position + v * cut->mm.lanes;
            from[i] = load(c, veer_emit_at(c->e, z, veer_emit_i64(c->e, offset)), (unsigned)cut->mm.lanes * 4);
        }
        output_1d(c, from, to);
        for (int i = 0; i < cut->tile; i++) half[i][j] = to[i];
    }
    for (int i = 0; i < cut->tile; i++) {
        val_t y[PATCH];
        output_1d(c, half[i], y);
        for (int j = 0; j < cut->tile; j++) store(c, y[j], result_at(c, veer_emit_i64(c->e, i * cut->tile + j), v));
    }
}

/* How much of a tile lies in y, along one axis. */
static val_t extent(wino_t *c, val_t tile, int64_t size) {
    val_t most = veer_emit_i64(c->e, c->cut->tile),
          left = veer_emit_sub(c->e, veer_emit_i64(c->e, size), veer_emit_mul(c->e, tile, c->cut->tile));
    if (size % c->cut->tile == 0) return most;
    return veer_emit_select(c->e, LLVMBuildICmp(c->e->builder, LLVMIntSLT, left, most, ""), left, most);
}

/* The first position of a tile, as a row of y. */
static val_t first_row(wino_t *c, const place_t *place) {
    val_t h =
        veer_emit_add(c->e, veer_emit_mul(c->e, place->image, c->p->y_h), veer_emit_mul(c->e, place->h, c->cut->tile));
    return veer_emit_add(c->e, veer_emit_mul(c->e, h, c->p->y_w), veer_emit_mul(c->e, place->w, c->cut->tile));
}

/* y was last used long ago: its lines come while the tile before is finished. */
static void fetch_tile(wino_t *c, val_t tile) {
    place_t place = place_of(c, tile);
    val_t y = veer_emit_at(c->e, c->mm.y,
                           veer_emit_add(c->e, veer_emit_mul(c->e, first_row(c, &place), c->p->mm.n), c->mm.column));
    for (int i = 0; i < c->cut->tile; i++)
        for (int j = 0; j < c->cut->tile; j++)
            fetch(c, veer_emit_at(c->e, y, veer_emit_i64(c->e, (i * c->p->y_w + j) * c->p->mm.n)),
                  (int64_t)c->mm.vectors * c->cut->mm.lanes);
}

static void finish_tile(wino_t *c, val_t tile) {
    const veer_wino_cut_t *cut = c->cut;
    val_t z = veer_emit_at(c->e, c->z, veer_emit_mul(c->e, veer_emit_sub(c->e, tile, c->first), cut->z_row));
    for (int v = 0; v < c->mm.vectors; v++) transform_back(c, z, v);
    place_t place = place_of(c, tile);
    val_t first = first_row(c, &place);
    fetch_tile(c, veer_emit_add(c->e, tile, veer_emit_i64(c->e, 1)));
    veer_emit_loop_t rows = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), extent(c, place.h, c->p->y_h), 1);
    val_t row = veer_emit_add(c->e, first, veer_emit_mul(c->e, rows.i, c->p->y_w));
    veer_emit_loop_t columns = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), extent(c, place.w, c->p->y_w), 1);
    val_t products[VEER_MM_MAX_VECTORS], i = veer_emit_add(c->e, veer_emit_mul(c->e, rows.i, cut->tile), columns.i);
    for (int v = 0; v < c->mm.vectors; v++) products[v] = load(c, result_at(c, i, v), (unsigned)cut->mm.lanes * 4);
    veer_mm_finish_row(&c->mm, products, veer_emit_add(c->e, row, columns.i));
    veer_emit_loop_end(c->e, &columns);
    veer_emit_loop_end(c->e, &rows);
}

/* ---- items ---- */

static void do_panel(wino_t *c, val_t item, val_t panel, bool is_tail) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    c->mm.vectors = is_tail ? b->tail_vectors : b->vectors;
    c->mm.lanes = is_tail ? b->tail_lanes : b->lanes;
    c->mm.b_stride = (int64_t)c->mm.vectors * b->lanes;
    c->mm.column = veer_emit_mul(c->e, panel, (int64_t)b->vectors * b->lanes);
    c->mm.k = veer_emit_i64(c->e, 0);
    multiply(c, item, panel);
    veer_mm_load_columns(&c->mm);
    veer_emit_loop_t tiles = veer_emit_loop_begin(c->e, c->first, c->end, 1);
    finish_tile(c, tiles.i);
    veer_emit_loop_end(c->e, &tiles);
    if (!c->p->mm.moment_rows) return;
    place_t place = place_of(c, c->first);
    veer_mm_moments(&c->mm, first_row(c, &place), c->cut->group_tiles / veer_wino_block_tiles(c->p, c->cut->tile));
}

static void do_item(wino_t *c, val_t item) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = &c->cut->mm;
    val_t group = veer_emit_div(c->e, item, b->panels), panel = veer_emit_mod(c->e, item, b->panels);
    c->first_micro = veer_emit_div(c->e, veer_emit_mul(c->e, group, b->tiles), b->groups);
    c->end_micro = veer_emit_div(
        c->e, veer_emit_mul(c->e, veer_emit_add(c->e, group, veer_emit_i64(c->e, 1)), b->tiles), b->groups);
    c->first = first_tile(c, c->first_micro), c->end = first_tile(c, c->end_micro);
    val_t starts_group = LLVMBuildICmp(e->builder, LLVMIntEQ, panel, veer_emit_i64(c->e, 0), ""),
          starts_share = LLVMBuildICmp(e->builder, LLVMIntEQ, item, c->mm.jit->begin, ""),
          is_new = LLVMBuildICmp(e->builder, LLVMIntEQ, c->mm.jit->continues, veer_emit_i64(c->e, 0), "");
    transform_group(c, LLVMBuildOr(e->builder, starts_group, LLVMBuildAnd(e->builder, starts_share, is_new, ""), ""));
    bool partial = b->tail_vectors < b->vectors || b->tail_lanes < b->lanes;
    if (!partial || b->panels == 1) {
        do_panel(c, item, panel, partial);
        return;
    }
    val_t is_full = LLVMBuildICmp(e->builder, LLVMIntSLT, panel, veer_emit_i64(c->e, b->panels - 1), "");
    veer_emit_branch_t full = veer_emit_if(e, is_full);
    do_panel(c, item, panel, false);
    veer_emit_else(e, &full);
    do_panel(c, item, panel, true);
    veer_emit_endif(e, &full);
}

static val_t make_zeros(wino_t *c, int64_t floats) {
    LLVMTypeRef type = LLVMArrayType2(c->e->f32, (uint64_t)floats);
    val_t zeros = LLVMAddGlobal(c->e->module, type, "zeros");
    LLVMSetInitializer(zeros, LLVMConstNull(type));
    LLVMSetGlobalConstant(zeros, 1);
    LLVMSetLinkage(zeros, LLVMPrivateLinkage);
    LLVMSetAlignment(zeros, 64);
    return zeros;
}

static void set_factors(wino_t *c) {
    if (c->cut->fly)
        veer_wino_factors(c->cut->tile, c->factors);
    else
        for (int i = 0; i < PATCH; i++) c->factors[i] = 1;
}

void veer_wino_emit(veer_jit_kernel_t *jit, const veer_wino_problem_t *p, const veer_wino_cut_t *cut) {
    veer_mm_problem_t product = p->mm;
    product.m = p->images * cut->tiles_h * cut->tiles_w;
    product.a_row = VEER_WINO_BLOCK;
    wino_t c = {.e = &jit->emit, .p = p, .cut = cut, .points = veer_wino_points(cut->tile)};
    veer_mm_emitter_init(&c.mm, jit, &product, &cut->mm);
    c.mm.a_block = VEER_WINO_BLOCK, c.mm.a_block_stride = cut->v_block;
    c.v = jit->scratch;
    c.z = veer_emit_at(c.e, c.v, veer_emit_i64(c.e, veer_wino_v_floats(cut)));
    c.u = veer_emit_at(c.e, c.z, veer_emit_i64(c.e, veer_wino_z_floats(cut)));
    set_factors(&c);
    c.zeros = make_zeros(&c, p->mm.k);
    c.table = veer_emit_variable(c.e, LLVMArrayType2(c.e->ptr, PATCH * PATCH));
    c.results = veer_emit_variable(
        c.e, LLVMArrayType2(c.mm.vector, VEER_WINO_MAX_TILE * VEER_WINO_MAX_TILE * VEER_MM_MAX_VECTORS));
    LLVMSetAlignment(c.results, 64);
    veer_emit_loop_t loop = veer_emit_loop_begin(c.e, jit->begin, jit->end, 1);
    do_item(&c, loop.i);
    veer_emit_loop_end(c.e, &loop);
}
