/* Pieces of kernels that multiply small matrices in cache: products of a tile in registers, moves between layouts.
 *
 *     veer_tile_product_t p = {.rows = keys, .k = 64, .columns = 32, .a = k, .b = q_t, .b_row = 32,
 *                              .finish = store_scores, .user = c};
 *     veer_tile_multiply(t, &p);          // store_scores(c, tile): tile->sums of rows by vectors are ready
 */
#ifndef VEER_BACKENDS_LLVM_TILE_H
#define VEER_BACKENDS_LLVM_TILE_H

#include "backends/llvm/emit.h"

typedef struct veer_tile_ctx_s {
    veer_emit_t *e;
    int lanes, registers; /* of the target; f32 lanes of a vector */
    LLVMTypeRef vector;
} veer_tile_ctx_t;

/* A constant number of floats behind base. */
LLVMValueRef veer_tile_at_c(veer_tile_ctx_t *t, LLVMValueRef base, int64_t offset);

/* ---- products ---- */
enum { VEER_TILE_MAX_ROWS = 14, VEER_TILE_MAX_VECTORS = 5, VEER_TILE_MAX_SUMS = 28 };

/* A matrix in memory; strides in floats. */
typedef struct veer_tile_matrix_s {
    LLVMValueRef base;
    int64_t row, column;
} veer_tile_matrix_t;

/* Rows by vectors of columns of a product, in registers. */
typedef struct veer_tile_s {
    LLVMValueRef row, column; /* the first of each */
    int rows, vectors;
    int tail;                              /* columns of the last vector that exist */
    LLVMValueRef sums[VEER_TILE_MAX_SUMS]; /* [r * vectors + v] */
} veer_tile_t;
static inline int veer_tile_lanes(const veer_tile_ctx_t *t, const veer_tile_t *tile, int v) {
    return v == tile->vectors - 1 ? tile->tail : t->lanes;
}

/* y = a b; each element is one chain of multiply-adds in the order of k. */
typedef struct veer_tile_product_s {
    int64_t rows, k, columns;
    int vectors;          /* of a panel of columns; 0: as suits the shape */
    veer_tile_matrix_t a; /* [rows, k], read by broadcasts wherever it lies */
    LLVMValueRef b;       /* [k, columns], columns side by side */
    int64_t b_row;
    bool padded;                                  /* b's last vector may be read whole */
    void (*begin)(void *user, veer_tile_t *tile); /* gives the sums to start from; NULL: 0 */
    void (*finish)(void *user, veer_tile_t *tile);
    void *user;
} veer_tile_product_t;

/* `finish` is called for each kind of tile that occurs, inside loops over those tiles, panel by panel. */
void veer_tile_multiply(veer_tile_ctx_t *t, const veer_tile_product_t *p);
/* How many vectors a panel of a product should have, of `vectors` in all. */
int veer_tile_panel(const veer_tile_ctx_t *t, int64_t rows, int64_t vectors);
/* `body` is called for each kind of panel, inside a loop over those panels; tail: columns of its last vector. */
typedef void (*veer_tile_panel_fn)(void *user, LLVMValueRef column, int vectors, int tail);
void veer_tile_for_panels(veer_tile_ctx_t *t, int64_t columns, int vectors, veer_tile_panel_fn body, void *user);

/* ---- moves ---- */
/* to[i, j] = factor * from[i, j] for i < rows, j < columns; `factor` a vector of equal lanes, or NULL. Fast where each
 * side is contiguous one way or the other. `padded`: to is contiguous by columns and has whole vectors of them, the
 * rest of which becomes 0. */
void veer_tile_move(veer_tile_ctx_t *t, veer_tile_matrix_t to, veer_tile_matrix_t from, int64_t rows, int64_t columns,
                    LLVMValueRef factor, bool padded);
/* Floats at an address, a multiple of the lanes, become 0. */
void veer_tile_clear(veer_tile_ctx_t *t, LLVMValueRef address, int64_t floats);

#endif
