/* Products on the matrix unit (amx.h): the problems of matmul.h whose second matrix is one constant.
 *
 * b is split and packed at compile time, in panels of two tiles of columns. An item is a group of rows by a panel. A
 * thread splits and packs a group's rows into its scratch once and goes through the panels of its share with them.
 * Where k is long it goes in blocks: a block of a with some panels, whose sums wait in scratch, then the next block.
 *
 * In three parts (a matrix that fits the second cache) a group is two tiles of rows, and a panel is read again for
 * each. In two parts (one that does not) all rows are one group where they are not too many: a panel comes from memory
 * once, to one thread, and its block stays in the second cache while the rows go by. They fetch the next one meanwhile.
 *
 * Each element is a chain of the unit's sums in the order of k, so the cut has no influence on its bits.
 *
 *     matmul_amx.c: cut, packing, the interface    matmul_amx_emit.c: IR */
#ifndef VEER_BACKENDS_LLVM_MATMUL_AMX_H
#define VEER_BACKENDS_LLVM_MATMUL_AMX_H

#include "backends/llvm/amx.h"
#include "backends/llvm/matmul.h"

enum { VEER_MM_AMX_COLUMNS = 2 * VEER_AMX_SIDE, VEER_MM_AMX_HEAD_FLOATS = VEER_AMX_SIDE };

/* How a problem is cut, by its shape and strictness alone. */
typedef struct veer_mm_amx_cut_s {
    int parts;                       /* of a number: amx.h */
    veer_mm_blocking_t mm;           /* panels and their tail, groups of rows, blocks, depth */
    int64_t chunks;                  /* of a block; k's last one is filled up with zeros */
    int64_t group_tiles, last_tiles; /* of rows: in a group, in the last one */
    int64_t window;                  /* panels that a block of a meets before the next block does */
    int64_t block_floats;            /* of a panel's block of packed b */
    int64_t rows_floats;             /* scratch: behind HEAD_FLOATS a group's rows, packed; */
    int64_t sums_floats;             /* then sums of a window, or of two panels in turn */
} veer_mm_amx_cut_t;
bool veer_mm_amx_cut(const veer_mm_problem_t *p, bool strict, veer_mm_amx_cut_t *out, char *reason,
                     size_t reason_bytes);

/* Writes the body of a kernel that does items [begin, end). */
void veer_mm_amx_emit(veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_amx_cut_t *cut);

#endif
