/* Convolutions on the matrix unit (amx.h), directly, numbers in two parts: the problems of conv.h.
 *
 * A thread splits what an item needs of x into scratch, with zeros around it: a line of 64 bytes per position, chunk of
 * channels and part, positions side by side. So 16 positions are a tile of the product's first
 * operand wherever they begin, and each element of the kernel is nothing but another beginning: no position is copied
 * for it. A tile is 16 positions of y that follow each other:
 *
 *     in one row, the last tile of which may be short;
 *     or across rows. Then those of x have to follow each other like those of y, without borders between them, so
 *     there is a plane of its own for each column of the kernel, and with strides for each remainder of rows.
 *
 * An item is a group by a panel of 16 channels of y. A group is some rows of an image (a segment), or several images
 * where they are small. Weights are split and packed at compile time in the order in which they are multiplied: panels,
 * in each the chunks, in each the elements of the kernel, in each the parts. The sums of a block of four tiles of
 * positions stay in the unit over all of them; meanwhile what follows the convolution is done with the block before.
 *
 * Each element is a chain of the unit's sums in one order, so neither threads nor cuts have an influence on its bits.
 *
 *     conv_amx.c: cut, packing, the interface    conv_amx_emit.c: IR */
#ifndef VEER_BACKENDS_LLVM_CONV_AMX_H
#define VEER_BACKENDS_LLVM_CONV_AMX_H

#include "backends/llvm/amx.h"
#include "backends/llvm/conv.h"

enum {
    VEER_CONV_AMX_PARTS = 2,
    VEER_CONV_AMX_MOST_TAPS = 25,                                          /* elements of the kernel */
    VEER_CONV_AMX_LINE = VEER_AMX_ROW_FLOATS,                              /* of a position, chunk and part */
    VEER_CONV_AMX_STEP_FLOATS = VEER_CONV_AMX_PARTS * VEER_AMX_PART_FLOATS /* weights of an element and chunk */
};

/* How a problem is cut, by its shape alone. */
typedef struct veer_conv_amx_cut_s {
    bool in_rows; /* tiles lie in rows of y; else across them */
    int64_t taps, chunks;
    int64_t segment_rows, image_segments, group_segments; /* rows of y; several in a group: whole images */
    int64_t tiles;                                        /* of a segment */
    int64_t remainders, copies;                           /* planes of a segment: of rows; for columns of the kernel */
    int64_t plane_rows, pitch;                            /* positions of a row */
    int64_t segment_positions;                            /* of all its planes */
    int64_t part_floats;   /* a group's positions: from one part of a chunk to the next */
    int64_t panel_floats;  /* of weights */
    veer_mm_blocking_t mm; /* panels and their tail, groups */
} veer_conv_amx_cut_t;
bool veer_conv_amx_cut(const veer_conv_problem_t *p, veer_conv_amx_cut_t *out, char *reason, size_t reason_bytes);

/* Tiles of a row of y, where they lie in rows. */
static inline int64_t veer_conv_amx_row_tiles(const veer_conv_problem_t *p) {
    return veer_amx_tiles(p->y_w);
}
/* Positions from a tile's first one to where element (u, v) of the kernel meets it. */
int64_t veer_conv_amx_offset(const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut, int64_t u, int64_t v);
/* Of a group, split. */
static inline int64_t veer_conv_amx_x_floats(const veer_conv_amx_cut_t *cut) {
    return cut->chunks * VEER_CONV_AMX_PARTS * cut->part_floats;
}
/* Blocks of a full group. */
static inline int64_t veer_conv_amx_blocks(const veer_conv_amx_cut_t *cut) {
    return veer_ceil_div(cut->group_segments * cut->tiles, VEER_AMX_TALL);
}

/* Writes the body of a kernel that does items [begin, end). */
void veer_conv_amx_emit(veer_jit_kernel_t *jit, const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut);

#endif
