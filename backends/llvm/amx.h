/* Products of f32 matrices on the matrix unit (AMX) of x86 processors that have one: it multiplies bf16 and sums in
 * f32, sixteen times as fast as vectors multiply f32.
 *
 * In three parts a number x is the sum of three of 8 bits: h = round(x), m = round(x - h), l = x - h - m, which is
 * exact. Of the nine products of two such sums the six that matter are added up, the small ones first:
 *
 *     a b = lh + hl + mm + mh + hm + hh + e,   |e| < 2^-25 |a b|
 *
 * so a product is closer than one rounded to f32. In two parts, m = round(x - h), a number is rounded to 16 bits, and
 * mm is left out, which is no larger than what the rounding leaves:
 *
 *     a b = mh + hh + hm + e,   |e| < 2^-15 |a b|
 *
 * This takes half of the time and two thirds of the memory, and keeps the 2e-5 that a layer may be off, as Winograd's
 * algorithm does; not for strict precision. Sums that cancel can have mm as well: |e| < 2^-16 |a b|. A tile instruction
 * adds 32 products in two chains of 16 from 0, then their sum to the element: for K products at most K/32 * 6 + 18
 * roundings (3 or 4 in place of 6 with two parts), where a chain of f32 multiply-adds has K.
 *
 *     veer_amx_begin(e);                                  // the kernel's tiles; veer_amx_end before it returns
 *     veer_amx_parts_t p = veer_amx_split(e, x, parts);  veer_amx_store(e, &p_of_low, &p_of_high, to);
 *     veer_amx_multiply(t, &product);
 *
 * Operands are packed in tiles of 1 KB, the parts of one behind each other, in the order [tile][chunk]: a chunk
 * is 32 steps of k, of which a tile holds step i and i + 16 side by side, as halves of a 32-bit lane. a's tile has a
 * row per row of a and 16 lanes for k; b's has a row per i and 16 columns as lanes. */
#ifndef VEER_BACKENDS_LLVM_AMX_H
#define VEER_BACKENDS_LLVM_AMX_H

#include "backends/llvm/tile.h"
#include "ir/base/integers.h"

enum {
    VEER_AMX_SIDE = 16,                                        /* rows of a tile; columns of a result's */
    VEER_AMX_CHUNK = 2 * VEER_AMX_SIDE,                        /* steps of k */
    VEER_AMX_PARTS = 3,                                        /* at most; 2 or 3 */
    VEER_AMX_ROW_FLOATS = 16,                                  /* of a packed tile */
    VEER_AMX_PART_FLOATS = VEER_AMX_SIDE * VEER_AMX_ROW_FLOATS /* from one part to the next */
};
static inline int64_t veer_amx_tile_floats(int parts) { /* all parts */
    return (int64_t)parts * VEER_AMX_PART_FLOATS;
}
/* Products of parts in one of f32; of two parts `mm` is one of them or not. */
static inline int veer_amx_pairs(int parts, bool mm) {
    return parts == VEER_AMX_PARTS ? 6 : 3 + mm;
}

/* Asks the system for the unit's registers, for this process; false where it has none or will not give them. */
bool veer_amx_permitted(void);
/* How much of the unit this core has just now, 0 to 1: another thread of the same core, which may be a neighbour's
 * virtual machine, can take more than half of it for seconds. Takes some 25 microseconds. Only where it is permitted.
 */
double veer_amx_share(void);

/* Tiles are registers of 16 rows from here on, then the system need not keep them any longer. */
void veer_amx_begin(veer_emit_t *e);
void veer_amx_end(veer_emit_t *e);

/* ---- packing ---- */
/* The parts of 16 floats, as bits of which the lower 16 are 0. */
typedef struct veer_amx_parts_s {
    int count;
    LLVMValueRef part[VEER_AMX_PARTS]; /* h, m, l */
} veer_amx_parts_t;
veer_amx_parts_t veer_amx_split(veer_emit_t *e, LLVMValueRef x, int parts);
/* The same in fewer instructions, but a NaN stays one only if it has no bits among the lower 16: results of the unit
 * have none there, and results of arithmetic with them neither. */
veer_amx_parts_t veer_amx_split_result(veer_emit_t *e, LLVMValueRef x, int parts);
/* The same at compile time, the upper 16 bits of each part. */
void veer_amx_split_constant(float x, int count, uint16_t parts[VEER_AMX_PARTS]);
/* A whole tile of constants: of its words the lower and the upper halves, which change. Only where there is a unit. */
void veer_amx_split_tile(float *low, float *high, int parts, uint32_t *to);
/* A row of a tile: steps i and i + 16; NULL: zeros, as far as `parts` are. `to`: of the first part. */
void veer_amx_store(veer_emit_t *e, int parts, const veer_amx_parts_t *low, const veer_amx_parts_t *high,
                    LLVMValueRef to);
/* One part of such a row, as 16 lanes of 32 bits. */
LLVMValueRef veer_amx_row(veer_emit_t *e, const veer_amx_parts_t *low, const veer_amx_parts_t *high, int part);

/* Whole tiles or chunks that hold n rows, columns or steps. */
static inline int64_t veer_amx_tiles(int64_t n) {
    return veer_ceil_div(n, VEER_AMX_SIDE);
}
static inline int64_t veer_amx_chunks(int64_t k) {
    return veer_ceil_div(k, VEER_AMX_CHUNK);
}
static inline int64_t veer_amx_packed_floats(int64_t n, int64_t k, int parts) {
    return veer_amx_tiles(n) * veer_amx_chunks(k) * veer_amx_tile_floats(parts);
}
/* a [rows, k], rows contiguous and filled up to whole vectors with zeros. Rows of the last tile that do not exist stay
 * as they are: what they give is not to be used. */
void veer_amx_pack_a(veer_tile_ctx_t *t, LLVMValueRef from, int64_t row_floats, int64_t rows, int64_t k, int parts,
                     LLVMValueRef to);
/* b [k, columns], rows contiguous, whole vectors of columns; `factors`: by row, where not NULL, or by column. */
typedef struct veer_amx_factors_s {
    LLVMValueRef by_row, by_column; /* addresses; NULL: none */
} veer_amx_factors_t;
void veer_amx_pack_b(veer_tile_ctx_t *t, LLVMValueRef from, int64_t row_floats, int64_t k, int64_t columns,
                     veer_amx_factors_t factors, int parts, LLVMValueRef to);

/* ---- products ---- */

/* Work of the vector units that is done between the products of tiles, which take 16 cycles each and one place in the
 * queue: rows of it, each of so many pieces. */
typedef struct veer_amx_beside_s {
    void (*piece)(void *user, LLVMValueRef row, int piece);
    void *user;
    int64_t first, rows; /* rows [first, first + rows) */
    int pieces;          /* of each */
} veer_amx_beside_t;

typedef struct veer_amx_product_s {
    int parts;
    bool mm; /* of two parts the product of the smaller ones as well */
    int64_t row_tiles, column_tiles, chunks;
    LLVMValueRef a, b;               /* packed; `chunks` of each tile are read, from where these point */
    int64_t a_tile, b_tile;          /* floats from one tile of rows or columns to the next */
    LLVMValueRef c;                  /* [16 row_tiles, 16 column_tiles] */
    int64_t c_row;                   /* in floats */
    bool adds;                       /* to what c holds */
    LLVMValueRef fetch;              /* what is brought to the second cache meanwhile; NULL: nothing */
    int64_t fetch_floats;            /* of it, or a little more */
    const veer_amx_beside_t *beside; /* or NULL */
} veer_amx_product_t;
void veer_amx_multiply(veer_tile_ctx_t *t, const veer_amx_product_t *p);

/* The same in steps, for operands that lie otherwise: a result of at most 2 by 2 tiles stays in the unit from where it
 * is cleared or loaded to where it is stored; a step adds the products of a chunk, whose tiles lie anywhere. */
typedef struct veer_amx_step_s {
    int parts, rows, columns;                      /* tiles of rows and of columns: 1 or 2 */
    bool mm;                                       /* of two parts the product of the smaller ones as well */
    LLVMValueRef a[2], b[2];                       /* their first parts */
    int64_t a_part, b_part;                        /* floats from one part to the next */
    LLVMValueRef fetch;                            /* what is brought to the second cache meanwhile */
    int64_t fetch_lines;                           /* of it; 0: nothing */
    void (*between)(void *user, int i, int count); /* behind product i of `count` of tiles; NULL: nothing */
    void *user;
} veer_amx_step_t;
void veer_amx_step(veer_emit_t *e, const veer_amx_step_t *s);
void veer_amx_results_clear(veer_emit_t *e, int rows, int columns);
void veer_amx_results_load(veer_emit_t *e, int rows, int columns, LLVMValueRef c, int64_t c_row);
void veer_amx_results_store(veer_emit_t *e, int rows, int columns, LLVMValueRef c, int64_t c_row);

/* The same in two parts, step by step, for operands that lie otherwise: a result of 4 tiles of rows and one of columns
 * stays in the unit from where it is cleared to where it is stored; a step adds the products of a chunk, whose tiles
 * lie anywhere. Each tile of b is read once for 64 rows. */
enum { VEER_AMX_TALL = 4 };
typedef struct veer_amx_tall_s {
    LLVMValueRef a[VEER_AMX_TALL], b; /* tiles, their first parts */
    int64_t a_part, b_part;           /* floats from one part to the next */
} veer_amx_tall_t;
void veer_amx_tall_clear(veer_emit_t *e);
void veer_amx_tall_step(veer_emit_t *e, const veer_amx_tall_t *s);
void veer_amx_tall_store(veer_emit_t *e, LLVMValueRef c); /* [64, 16] */

#endif
