/* Parts of a product's IR that kernels around products share: the sums of a tile, and the program on rows of y. */
#ifndef VEER_BACKENDS_LLVM_MATMUL_EMIT_H
#define VEER_BACKENDS_LLVM_MATMUL_EMIT_H

#include "backends/llvm/matmul.h"

typedef struct veer_mm_emitter_s {
    veer_jit_kernel_t *jit;
    veer_emit_t *e;
    const veer_mm_problem_t *p;
    const veer_mm_blocking_t *b;
    LLVMTypeRef vector;
    LLVMValueRef a, y, bm;
    LLVMValueRef moments[2];              /* results behind y, where there are any */
    LLVMValueRef bufs[VEER_MM_MAX_STEPS]; /* of the program's loads */
    LLVMValueRef stack;                   /* a tile, where the program is long */
    /* of the panel under way */
    int vectors, lanes;              /* lanes: of the last vector */
    LLVMValueRef column;             /* its first */
    LLVMValueRef block;              /* b's address at the block's first k */
    LLVMValueRef k;                  /* that k */
    LLVMValueRef is_first, is_last;  /* of the blocks; NULL where there is one */
    LLVMValueRef is_end;             /* nothing of b follows in this call */
    int64_t b_stride;                /* from one k to the next */
    int64_t a_block, a_block_stride; /* a is in blocks of so many k, so far apart; a_block 0: it is not */
    LLVMValueRef by_column[VEER_MM_MAX_STEPS][VEER_MM_MAX_VECTORS]; /* loads that are the same for every row */
} veer_mm_emitter_t;

typedef struct veer_mm_tile_s {
    int rows;
    LLVMValueRef row;        /* the first, of y */
    LLVMValueRef a;          /* its address at the block's first k */
    LLVMValueRef next_block; /* its part of what is to be fetched */
    LLVMValueRef waiting; /* where sums of the blocks of k before wait, rows `waiting_row` floats apart; NULL: in y */
    int64_t waiting_row;
    LLVMValueRef sums[VEER_MM_MAX_ROWS * VEER_MM_MAX_VECTORS];
} veer_mm_tile_t;

/* Columns of the panel's vector v that exist. */
static inline int veer_mm_lanes_at(const veer_mm_emitter_t *c, int v) {
    return v == c->vectors - 1 ? c->lanes : c->b->lanes;
}

/* Loads the addresses of buffers where the builder stands; the panel is the caller's to set. */
void veer_mm_emitter_init(veer_mm_emitter_t *c, veer_jit_kernel_t *jit, const veer_mm_problem_t *p,
                          const veer_mm_blocking_t *b);
/* t->sums of a product, or of its blocks of k up to this one. Reads the panel's vectors, block, b_stride and, where
 * there are several blocks, is_first and is_last; and t's rows, a, next_block, waiting. */
void veer_mm_sums(veer_mm_emitter_t *c, veer_mm_tile_t *t);
/* Loads what the program reads once per column: before rows of a panel are finished. */
void veer_mm_load_columns(veer_mm_emitter_t *c);
/* Runs the program on the panel's vectors of a row and stores them in y. */
void veer_mm_finish_row(veer_mm_emitter_t *c, const LLVMValueRef *products, LLVMValueRef row);
/* matmul_moments.c: of `blocks` blocks of finished rows of the panel, from row `first` on, which begins one: the
 * moments, from y, which is still in cache, in two passes. */
void veer_mm_moments(veer_mm_emitter_t *c, LLVMValueRef first, int64_t blocks);

#endif
