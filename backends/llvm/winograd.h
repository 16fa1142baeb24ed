/* 3x3 convolutions with stride 1 by Winograd's algorithm F(m x m, 3x3), channels last:
 *
 *     y[n, i, j, :] = f(sum over u, v, c of x[n, i + u - pad_h, j + v - pad_w, c] w[:, c, u, v], operands)
 *
 * y is cut in tiles of m x m positions; d is the (m + 2) x (m + 2) patch of x that a tile depends on:
 *
 *     y = A^T [ sum over c of (G w G^T) o (B^T d B) ] A         (o: element by element)
 *
 * With the points 0, +-p, ... and infinity: column i of A^T holds the powers of point i, row i of G the powers over
 * N_i = prod over l != i of (p_i - p_l), row i of B^T the coefficients of prod over l != i of (x - p_l). The sum over c
 * is, for each of the (m + 2)^2 positions, a matrix product of tiles x channels by channels x channels, where a direct
 * convolution does 9 m^2 / (m + 2)^2 times as many operations: 2.25 for m = 2, 4 for m = 4.
 *
 * An item is a group of tiles by one panel of y's channels. A group's patches are transformed into scratch (once for
 * the panels that follow each other in one share), multiplied position by position, transformed back, and the program
 * of what follows the convolution (matmul.h) runs on the rows of y. Everything between x and y stays in the second
 * cache; so does the item's part of y until its moments are taken, where a norm wants them.
 *
 * Weights are transformed at compile time, in double, and rounded once: (m + 2)^2 floats for 9. Or on the fly, where
 * there is less to do with each than it takes to bring them from memory: an item transforms its panel's weights, a
 * block of channels c and a row of positions at a time, into scratch that stays in the first cache, and multiplies them
 * with all tiles of its group before it turns to the next.
 *
 *     winograd.c: cuts, cost, the interface    winograd_weights.c: points, packing    winograd_emit.c: IR
 *     winograd_fly.c: IR of the transform of weights */
#ifndef VEER_BACKENDS_LLVM_WINOGRAD_H
#define VEER_BACKENDS_LLVM_WINOGRAD_H

#include "backends/llvm/conv.h"
#include "ir/base/integers.h"

enum { VEER_WINO_KERNEL = 3, VEER_WINO_MAX_TILE = 4, VEER_WINO_MAX_PATCH = VEER_WINO_MAX_TILE + VEER_WINO_KERNEL - 1 };

/* kernel_h, kernel_w 3, strides and dilations 1; rows of the product are tiles. */
typedef veer_conv_problem_t veer_wino_problem_t;

/* Whether a node is such a convolution, whose moments are of blocks of whole rows of tiles; says why not. */
bool veer_wino_match(const veer_graph_t *g, veer_node_t node, veer_wino_problem_t *out, char *reason,
                     size_t reason_bytes);

/* Tiles of m x m in a block of moments. */
static inline int64_t veer_wino_block_tiles(const veer_wino_problem_t *p, int tile) {
    return p->mm.moment_rows / (p->y_w * tile) * veer_ceil_div(p->y_w, tile);
}

/* Channels of transformed x that lie together, tile by tile: a line of the cache, a multiple of the lanes. So what one
 * patch gives for them lies in few pages, and a product reads whole lines. */
enum { VEER_WINO_BLOCK = 16 };

/* How a problem is cut, by its shape and the target's registers alone. */
typedef struct veer_wino_cut_s {
    int tile, patch;                      /* m, m + 2 */
    bool fly;                             /* weights are transformed on the fly, in mm.blocks of mm.depth channels */
    bool few;                             /* and with so few tiles that those of a row of positions stay in registers */
    int64_t tiles_h, tiles_w;             /* of one image */
    veer_mm_blocking_t mm;                /* of one product: all tiles by M */
    int64_t group_tiles;                  /* of the largest group */
    bool alike;                           /* groups are: each has tiles / groups of the products' tiles, of which the
                                             first long_tiles are long */
    int64_t v_position, v_block, v_micro; /* transformed x: floats from one position to the next, from one block of
                                             channels to the next, from one of the products' tiles to the next */
    int64_t z_row, z_position;            /* the products: from one tile to the next, from one position to the next */
    int64_t u_position;                   /* weights transformed on the fly: from one position to the next */
} veer_wino_cut_t;
/* Scratch: transformed x of a group, its products, a row of positions of a block's transformed weights. */
int64_t veer_wino_v_floats(const veer_wino_cut_t *cut);
int64_t veer_wino_z_floats(const veer_wino_cut_t *cut);
size_t veer_wino_scratch_floats(const veer_wino_cut_t *cut);
veer_wino_cut_t veer_wino_cut(const veer_wino_problem_t *p, int tile, bool fly, int lanes, int registers);

/* The points besides 0 and infinity come in pairs: 1 pair for m = 2, 2 for m = 4. */
typedef struct veer_wino_points_s {
    int pairs;
    double at[2];
} veer_wino_points_t;
veer_wino_points_t veer_wino_points(int tile);
/* 1 / N_i of each point, infinity's being 1. */
void veer_wino_factors(int tile, double out[VEER_WINO_MAX_PATCH]);
/* Floats of weights of one c and one column: 9, or (m + 2)^2 where they are packed in transformed form. */
int64_t veer_wino_weight_floats(const veer_wino_cut_t *cut);
size_t veer_wino_packed_floats(const veer_wino_problem_t *p, const veer_wino_cut_t *cut);
/* w transformed: panel after panel, in each the positions, in each the rows c. Or as it is: panel after panel, in each
 * the rows c, in each the 9 elements. `out` is zeroed. */
void veer_wino_pack(const veer_wino_problem_t *p, const veer_wino_cut_t *cut, float *out);

/* Transforms a row of positions of the weights of `channels` input channels of a panel of `vectors`, from where they
 * are packed to scratch. */
void veer_wino_emit_weights(veer_emit_t *e, const veer_wino_cut_t *cut, int vectors, LLVMValueRef row,
                            LLVMValueRef from, LLVMValueRef to, LLVMValueRef channels);
/* Few tiles: a block's part of the products of a row of positions, transforms in registers. */
typedef struct veer_wino_few_s {
    int vectors;                     /* of the panel */
    LLVMValueRef weights;            /* the block's, where they are packed */
    LLVMValueRef v, z;               /* the block's channels; the group's products */
    LLVMValueRef channels, is_first; /* of the blocks: z is not yet anything */
    LLVMValueRef after;              /* weights to fetch meanwhile, a part in each row */
} veer_wino_few_t;
void veer_wino_emit_few(veer_emit_t *e, const veer_wino_cut_t *cut, const veer_wino_few_t *few);
/* Writes the body of a kernel that does items [begin, end). */
void veer_wino_emit(veer_jit_kernel_t *jit, const veer_wino_problem_t *p, const veer_wino_cut_t *cut);

#endif
