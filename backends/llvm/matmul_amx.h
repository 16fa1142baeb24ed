/* Products on the matrix unit (amx.h): the problems of matmul.h whose second matrix is one constant, not too large for
 * the second cache.
 *
 * b is split and packed at compile time, in panels of two tiles of columns. An item is a pair of tiles of rows by a
 * panel; a pair's rows are split and packed into scratch once for the panels that follow each other in one share. Where
 * k is long, it goes in blocks: a block of a with all panels of the share, whose sums wait in scratch.
 *
 * Each element is a chain of the unit's sums in the order of k, so the cut has no influence on its bits.
 *
 *     matmul_amx.c: cut, packing, the interface    matmul_amx_emit.c: IR */
#ifndef VEER_BACKENDS_LLVM_MATMUL_AMX_H
#define VEER_BACKENDS_LLVM_MATMUL_AMX_H

#include "backends/llvm/amx.h"
#include "backends/llvm/matmul.h"

enum { VEER_MM_AMX_ROWS = 2 * VEER_AMX_SIDE, VEER_MM_AMX_COLUMNS = 2 * VEER_AMX_SIDE };

/* How a problem is cut, by its shape alone. */
typedef struct veer_mm_amx_cut_s {
    int parts;             /* of a number: amx.h */
    veer_mm_blocking_t mm; /* panels and their tail, groups (pairs of tiles of rows), blocks, depth */
    int64_t chunks;        /* of a block */
    int64_t block_floats;  /* of a panel's block of packed b */
    int64_t rows_floats;   /* scratch: a pair's rows, packed; then sums */
    int64_t sums_floats;
} veer_mm_amx_cut_t;
bool veer_mm_amx_cut(const veer_mm_problem_t *p, int parts, veer_mm_amx_cut_t *out, char *reason, size_t reason_bytes);

/* Writes the body of a kernel that does items [begin, end). */
void veer_mm_amx_emit(veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut);

#endif
