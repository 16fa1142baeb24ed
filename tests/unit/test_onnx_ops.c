/* Operators in forms that ONNX's stored tests (operator sets up to 17) do not have, and in forms that changed between
 * operator sets: one node each, values worked out by hand. */
#include "backends/reference/reference.h"
#include "frontend/onnx_import.h"
#include "ir/verify.h"
#include "tests/unit/onnx_bytes.h"
#include "tests/unit/temp_folder.h"

#include <math.h>

enum { MAX_IN = 6, MAX_VALUES = 40, MAX_RANK = 5 };

typedef enum { NONE, ARG, WEIGHT, INTS, BOOLS } role_t; /* WEIGHT, INTS, BOOLS: initializers of floats, int64, bool */

typedef struct {
    role_t role; /* NONE with rank -1: an input that is left out */
    int rank;
    int64_t dims[MAX_RANK];
    double values[MAX_VALUES];
} operand_t;

typedef struct {
    const char *label, *op;
    int opset;
    const char *attrs; /* separated by blanks */
    operand_t in[MAX_IN];
    int rank;
    int64_t dims[MAX_RANK];
    double want[MAX_VALUES];
} row_t;

/* clang-format off: a table */
#define S1(a)                                                                                                          \
    1, {                                                                                                               \
        a                                                                                                              \
    }
#define S2(a, b)                                                                                                       \
    2, {                                                                                                               \
        a, b                                                                                                           \
    }
#define S3(a, b, c)                                                                                                    \
    3, {                                                                                                               \
        a, b, c                                                                                                        \
    }
#define S4(a, b, c, d)                                                                                                 \
    4, {                                                                                                               \
        a, b, c, d                                                                                                     \
    }
#define ABSENT                                                                                                         \
    {                                                                                                                  \
        NONE, -1, {0}, {                                                                                               \
            0                                                                                                          \
        }                                                                                                              \
    }

static const row_t rows[] = {
    {"softmax of a matrix before 13",
     "Softmax",
     11,
     "axis=1",
     {{ARG, S3(1, 2, 2), {0, 0, 0, 0}}},
     S3(1, 2, 2),
     {.25, .25, .25, .25}},
    {"softmax of one axis since 13",
     "Softmax",
     13,
     "axis=1",
     {{ARG, S3(1, 2, 2), {0, 0, 0, 0}}},
     S3(1, 2, 2),
     {.5, .5, .5, .5}},
    {"unsqueeze by attribute", "Unsqueeze", 11, "axes=0,2", {{ARG, S1(2), {1, 2}}}, S3(1, 2, 1), {1, 2}},
    {"unsqueeze by input", "Unsqueeze", 13, "", {{ARG, S1(2), {1, 2}}, {INTS, S1(2), {0, -1}}}, S3(1, 2, 1), {1, 2}},
    {"squeeze by attribute", "Squeeze", 11, "axes=0", {{ARG, S3(1, 2, 1), {1, 2}}}, S2(2, 1), {1, 2}},
    {"slice by attributes", "Slice", 9, "starts=-2 ends=1000 axes=0", {{ARG, S1(4), {1, 2, 3, 4}}}, S1(2), {3, 4}},
    {"slice backwards",
     "Slice",
     13,
     "",
     {{ARG, S1(4), {1, 2, 3, 4}}, {INTS, S1(1), {-1}}, {INTS, S1(1), {-1000}}, {INTS, S1(1), {0}}, {INTS, S1(1), {-2}}},
     S1(2),
     {4, 2}},
    {"clip by attributes", "Clip", 6, "min=0f max=2f", {{ARG, S1(3), {-1, 1, 3}}}, S1(3), {0, 1, 2}},
    {"clip above only", "Clip", 13, "", {{ARG, S1(3), {-1, 1, 3}}, ABSENT, {WEIGHT, 0, {0}, {2}}}, S1(3), {-1, 1, 2}},
    {"early broadcast from an axis",
     "Add",
     6,
     "broadcast=1 axis=0",
     {{ARG, S2(2, 2), {0, 0, 0, 0}}, {WEIGHT, S1(2), {1, 2}}},
     S2(2, 2),
     {1, 1, 2, 2}},
    {"mean with axes as attribute",
     "ReduceMean",
     13,
     "axes=1 keepdims=0",
     {{ARG, S2(2, 2), {1, 3, 5, 7}}},
     S1(2),
     {2, 6}},
    {"mean with axes as input",
     "ReduceMean",
     18,
     "keepdims=0",
     {{ARG, S2(2, 2), {1, 3, 5, 7}}, {INTS, S1(1), {-1}}},
     S1(2),
     {2, 6}},
    {"empty axes reduce all",
     "ReduceSum",
     13,
     "keepdims=0",
     {{ARG, S2(2, 2), {1, 3, 5, 7}}, {INTS, S1(0), {0}}},
     0,
     {0},
     {16}},
    {"empty axes as no operation",
     "ReduceSum",
     13,
     "noop_with_empty_axes=1",
     {{ARG, S1(2), {1, 3}}, {INTS, S1(0), {0}}},
     S1(2),
     {1, 3}},
    {"log-sum-exp of large numbers",
     "ReduceLogSumExp",
     13,
     "keepdims=0",
     {{ARG, S1(2), {1000, 1000}}},
     0,
     {0},
     {1000.6931471805599}},
    {"split in unequal parts", "Split", 18, "axis=0 num_outputs=1", {{ARG, S1(3), {1, 2, 3}}}, S1(3), {1, 2, 3}},
    {"negative pads cut",
     "Pad",
     13,
     "",
     {{ARG, S1(4), {1, 2, 3, 4}}, {INTS, S1(2), {-1, 2}}, {WEIGHT, 0, {0}, {9}}},
     S1(5),
     {2, 3, 4, 9, 9}},
    {"pads of one axis",
     "Pad",
     18,
     "",
     {{ARG, S2(2, 1), {1, 2}}, {INTS, S1(2), {1, 0}}, ABSENT, {INTS, S1(1), {-1}}},
     S2(2, 2),
     {0, 1, 0, 2}},
    {"pads that wrap",
     "Pad",
     19,
     "mode=wrap",
     {{ARG, S1(3), {1, 2, 3}}, {INTS, S1(2), {1, 2}}},
     S1(6),
     {3, 1, 2, 3, 1, 2}},
    {"group scale before 21",
     "GroupNormalization",
     18,
     "num_groups=1",
     {{ARG, S3(1, 2, 1), {-1, 1}}, {WEIGHT, S1(1), {2}}, {WEIGHT, S1(1), {1}}},
     S3(1, 2, 1),
     {-0.99999, 2.99999}},
    {"channel scale since 21",
     "GroupNormalization",
     21,
     "num_groups=1",
     {{ARG, S3(1, 2, 1), {-1, 1}}, {WEIGHT, S1(2), {2, 3}}, {WEIGHT, S1(2), {1, 0}}},
     S3(1, 2, 1),
     {-0.99999, 2.999985}},
    {"rms norm",
     "RMSNormalization",
     23,
     "",
     {{ARG, S1(2), {3, 4}}, {WEIGHT, S1(2), {1, 2}}},
     S1(2),
     {3 / 3.5355339, 8 / 3.5355339}},
    {"gelu", "Gelu", 20, "", {{ARG, S1(2), {1, -1}}}, S1(2), {0.841344746, -0.158655254}},
    {"gelu by tanh", "Gelu", 20, "approximate=tanh", {{ARG, S1(2), {1, -1}}}, S1(2), {0.841191991, -0.158808009}},
    {"swish", "Swish", 24, "alpha=2f", {{ARG, S1(2), {1, 0}}}, S1(2), {0.880797078, 0}},
    {"mish", "Mish", 18, "", {{ARG, S1(1), {1}}}, S1(1), {0.865098388}},
    {"old resize keeps corners", "Resize", 10, "", {{ARG, S1(2), {1, 2}}, {WEIGHT, S1(1), {1.5}}}, S1(3), {1, 1, 2}},
    {"resize of one axis",
     "Resize",
     18,
     "axes=1 mode=linear",
     {{ARG, S2(1, 2), {0, 4}}, ABSENT, ABSENT, {INTS, S1(1), {4}}},
     S2(1, 4),
     {0, 1, 3, 4}},
    {"resize within a box",
     "Resize",
     18,
     "keep_aspect_ratio_policy=not_larger",
     {{ARG, S2(2, 2), {1, 2, 3, 4}}, ABSENT, ABSENT, {INTS, S1(2), {4, 2}}},
     S2(2, 2),
     {1, 2, 3, 4}},
    {"upsample by attribute", "Upsample", 7, "scales=2f,", {{ARG, S1(2), {1, 2}}}, S1(4), {1, 1, 2, 2}},
    {"einsum, both transposed",
     "Einsum",
     12,
     "equation=ki,jk->ij",
     {{ARG, S2(2, 1), {1, 2}}, {WEIGHT, S2(1, 2), {3, 4}}},
     S2(1, 1),
     {11}},
    {"einsum, outer product",
     "Einsum",
     12,
     "equation=i,j",
     {{ARG, S1(2), {1, 2}}, {WEIGHT, S1(2), {3, 4}}},
     S2(2, 2),
     {3, 4, 6, 8}},
    {"einsum, sum of one operand", "Einsum", 12, "equation=ij->j", {{ARG, S2(2, 2), {1, 2, 3, 4}}}, S1(2), {4, 6}},
    {"einsum, ellipsis",
     "Einsum",
     12,
     "equation=...ij,...jk->...ik",
     {{ARG, S3(2, 1, 2), {1, 2, 3, 4}}, {WEIGHT, S2(2, 1), {1, 1}}},
     S3(2, 1, 1),
     {3, 7}},
    {"einsum of three",
     "Einsum",
     12,
     "equation=i,ij,j->",
     {{ARG, S1(2), {1, 2}}, {WEIGHT, S2(2, 2), {1, 2, 3, 4}}, {WEIGHT, S1(2), {1, 1}}},
     0,
     {0},
     {17}},
    {"matmul of vectors", "MatMul", 13, "", {{ARG, S1(2), {1, 2}}, {WEIGHT, S1(2), {3, 4}}}, 0, {0}, {11}},
    {"row times stack",
     "MatMul",
     13,
     "",
     {{ARG, S1(2), {1, 2}}, {WEIGHT, S3(2, 2, 1), {1, 1, 2, 2}}},
     S2(2, 1),
     {3, 6}},
    {"gemm, half of it",
     "Gemm",
     13,
     "alpha=0.5f beta=2f transB=1",
     {{ARG, S2(1, 2), {1, 2}}, {WEIGHT, S2(1, 2), {3, 4}}, {WEIGHT, S1(1), {1}}},
     S2(1, 1),
     {7.5}},
    {"attention, one head for two",
     "Attention",
     23,
     "scale=1f",
     {{ARG, S4(1, 2, 1, 1), {0, 0}}, {WEIGHT, S4(1, 1, 2, 1), {1, 2}}, {WEIGHT, S4(1, 1, 2, 1), {3, 5}}},
     S4(1, 2, 1, 1),
     {4, 4}},
    {"attention, causal, heads merged",
     "Attention",
     23,
     "is_causal=1 q_num_heads=2 kv_num_heads=2",
     {{ARG, S3(1, 2, 2), {0, 0, 0, 0}}, {WEIGHT, S3(1, 2, 2), {0, 0, 0, 0}}, {WEIGHT, S3(1, 2, 2), {1, 2, 3, 6}}},
     S3(1, 2, 2),
     {1, 2, 2, 4}},
    {"attention, masked by bool",
     "Attention",
     23,
     "",
     {{ARG, S4(1, 1, 1, 1), {0}},
      {WEIGHT, S4(1, 1, 2, 1), {1, 2}},
      {WEIGHT, S4(1, 1, 2, 1), {3, 5}},
      {BOOLS, S2(1, 2), {0, 1}}},
     S4(1, 1, 1, 1),
     {5}},
    {"scatter over one row",
     "ScatterND",
     16,
     "reduction=add",
     {{ARG, S2(2, 2), {1, 1, 1, 1}}, {INTS, S2(2, 1), {1, 1}}, {WEIGHT, S2(2, 2), {1, 2, 3, 4}}},
     S2(2, 2),
     {1, 1, 5, 7}},
    {"gather from the end",
     "GatherND",
     13,
     "batch_dims=1",
     {{ARG, S2(2, 2), {1, 2, 3, 4}}, {INTS, S2(2, 1), {-1, 0}}},
     S1(2),
     {2, 3}},
    {"batch norm",
     "BatchNormalization",
     15,
     "epsilon=0f",
     {{ARG, S2(1, 2), {3, 4}},
      {WEIGHT, S1(2), {2, 1}},
      {WEIGHT, S1(2), {1, 1}},
      {WEIGHT, S1(2), {1, 2}},
      {WEIGHT, S1(2), {4, 1}}},
     S2(1, 2),
     {3, 3}},
    {"same padding, odd one behind",
     "MaxPool",
     12,
     "kernel_shape=2 auto_pad=SAME_UPPER",
     {{ARG, S3(1, 1, 2), {1, 2}}},
     S3(1, 1, 2),
     {2, 2}},
    {"same padding, odd one in front",
     "MaxPool",
     12,
     "kernel_shape=2 auto_pad=SAME_LOWER",
     {{ARG, S3(1, 1, 2), {1, 2}}},
     S3(1, 1, 2),
     {1, 2}},
    {"transposed convolution to a size, odd one in front",
     "ConvTranspose",
     11,
     "strides=2 output_shape=3",
     {{ARG, S3(1, 1, 2), {1, 2}}, {WEIGHT, S3(1, 1, 2), {1, 10}}},
     S3(1, 1, 3),
     {10, 2, 20}},
    {"upper triangle above the diagonal",
     "Trilu",
     14,
     "",
     {{ARG, S2(2, 2), {1, 2, 3, 4}}, {INTS, 0, {0}, {1}}},
     S2(2, 2),
     {0, 2, 0, 0}},
    {"tiles", "Tile", 13, "", {{ARG, S2(1, 2), {1, 2}}, {INTS, S1(2), {2, 2}}}, S2(2, 4), {1, 2, 1, 2, 1, 2, 1, 2}},
    {"depth to space",
     "DepthToSpace",
     13,
     "blocksize=2 mode=CRD",
     {{ARG, S4(1, 4, 1, 1), {1, 2, 3, 4}}},
     S4(1, 1, 2, 2),
     {1, 2, 3, 4}},
    {"top k by attribute", "TopK", 1, "k=2 axis=0", {{ARG, S1(4), {1, 4, 2, 3}}}, S1(2), {4, 3}},
    {"top k of the smallest", "TopK", 11, "largest=0", {{ARG, S1(4), {1, 4, 2, 3}}, {INTS, S1(1), {2}}}, S1(2), {1, 2}},
    {"scatter the larger",
     "ScatterElements",
     18,
     "reduction=max",
     {{ARG, S1(3), {1, 5, 2}}, {INTS, S1(3), {0, 1, -1}}, {WEIGHT, S1(3), {3, 4, 7}}},
     S1(3),
     {3, 5, 7}},
    {"scatter slices of a product",
     "ScatterND",
     16,
     "reduction=mul",
     {{ARG, S2(2, 1), {3, 5}}, {INTS, S2(2, 1), {1, 1}}, {WEIGHT, S2(2, 1), {2, 4}}},
     S2(2, 1),
     {3, 40}},
    {"trace", "Einsum", 12, "equation=ii->", {{ARG, S2(2, 2), {1, 2, 3, 4}}}, 0, {0}, {5}},
    {"arc sine at the ends", "Asin", 7, "", {{ARG, S1(3), {-1, 0, 1}}}, S1(3), {-1.5707963, 0, 1.5707963}},
    {"arc cosine at the ends", "Acos", 7, "", {{ARG, S1(3), {-1, 0, 1}}}, S1(3), {3.1415927, 1.5707963, 0}},
    {"sample along a line",
     "GridSample",
     20,
     "mode=linear padding_mode=border align_corners=1",
     {{ARG, S3(1, 1, 3), {1, 2, 4}}, {WEIGHT, S3(1, 3, 1), {-1, 0.5, 7}}},
     S3(1, 1, 3),
     {1, 3, 4}},
    {"dequantise by blocks",
     "DequantizeLinear",
     21,
     "axis=0 block_size=2",
     {{ARG, S1(4), {1, 2, 3, 4}}, {WEIGHT, S1(2), {10, 100}}},
     S1(4),
     {10, 20, 300, 400}},
    {"Fourier transform along an axis as input",
     "DFT",
     20,
     "",
     {{ARG, S3(1, 2, 1), {1, 3}}, ABSENT, {INTS, 0, {0}, {1}}},
     S3(1, 2, 2),
     {4, 0, -2, 0}},
    {"determinant with an exchange of rows", "Det", 11, "", {{ARG, S2(2, 2), {1, 2, 3, 4}}}, 0, {0}, {-2}},
    {"determinant of a singular matrix", "Det", 11, "", {{ARG, S2(2, 2), {0, 2, 0, 4}}}, 0, {0}, {0}},
    {"gated unit, reset after the product",
     "GRU",
     14,
     "hidden_size=1 linear_before_reset=1",
     {{ARG, S3(1, 1, 1), {1}}, {WEIGHT, S3(1, 3, 1), {0, 0, 1}}, {WEIGHT, S3(1, 3, 1), {0, 0, 0}}},
     S4(1, 1, 1, 1),
     {0.38079708}}, /* tanh(1) / 2 */
    {"reverse network",
     "RNN",
     14,
     "hidden_size=1 direction=reverse activations=Relu",
     {{ARG, S3(2, 1, 1), {1, 2}}, {WEIGHT, S3(1, 1, 1), {1}}, {WEIGHT, S3(1, 1, 1), {1}}},
     S4(2, 1, 1, 1),
     {3, 2}},
    {"resize without the shift of half a pixel",
     "Resize",
     11,
     "coordinate_transformation_mode=tf_half_pixel_for_nn nearest_mode=floor",
     {{ARG, S1(4), {1, 2, 3, 4}}, {WEIGHT, S1(0), {0}}, {WEIGHT, S1(1), {0.5}}},
     S1(2),
     {2, 4}},
    {"resize a part",
     "Resize",
     13,
     "coordinate_transformation_mode=tf_crop_and_resize mode=linear extrapolation_value=9f",
     {{ARG, S1(3), {1, 2, 4}}, {WEIGHT, S1(2), {0.5, 1.5}}, ABSENT, {INTS, S1(1), {3}}},
     S1(3),
     {2, 4, 9}},
    {"antialias",
     "Resize",
     18,
     "antialias=1 mode=linear",
     {{ARG, S1(4), {1, 2, 3, 4}}, ABSENT, {WEIGHT, S1(1), {0.5}}},
     S1(2),
     {1.625, 3.375}},
    {"antialias without what is outside",
     "Resize",
     18,
     "antialias=1 mode=linear exclude_outside=1",
     {{ARG, S1(4), {1, 2, 3, 4}}, ABSENT, {WEIGHT, S1(1), {0.5}}},
     S1(2),
     {12.0 / 7, 23.0 / 7}},
    {"deformed by half a pixel, masked",
     "DeformConv",
     19,
     "",
     {{ARG, S4(1, 1, 3, 3), {0, 1, 2, 3, 4, 5, 6, 7, 8}},
      {WEIGHT, S4(1, 1, 2, 2), {1, 1, 1, 1}},
      {WEIGHT, S4(1, 8, 2, 2), {0.5, [21] = -0.1}},
      {WEIGHT, S1(1), {1}},
      {WEIGHT, S4(1, 4, 2, 2), {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.2, 1, 1, 1, 1}}},
     S4(1, 1, 2, 2),
     {10.5, 12.9, 21, 19.4}},
    {"global norms", "GlobalLpPool", 7, "", {{ARG, S3(1, 2, 2), {3, -4, 0, 1}}}, S3(1, 2, 1), {5, 1}},
    {"norms of windows, the last cut short",
     "LpPool",
     18,
     "kernel_shape=2, strides=2, ceil_mode=1 p=1",
     {{ARG, S3(1, 1, 3), {1, -2, 3}}},
     S3(1, 1, 2),
     {3, 3}},
    {"maxima of a region's bins",
     "MaxRoiPool",
     7,
     "pooled_shape=2,1",
     {{ARG, S4(1, 1, 2, 2), {1, 2, 3, 4}}, {WEIGHT, S2(1, 5), {0, 0, 0, 0, 1}}},
     S4(1, 1, 2, 1),
     {1, 3}},
    {"as many points as the region asks for",
     "RoiAlign",
     16,
     "",
     {{ARG, S4(1, 1, 2, 2), {1, 2, 3, 8}}, {WEIGHT, S2(1, 4), {0, 0, 2, 2}}, {INTS, S1(1), {0}}},
     S4(1, 1, 1, 1),
     {3.5}},
    {"a real signal from half of its transform",
     "DFT",
     20,
     "inverse=1 onesided=1",
     {{ARG, S3(1, 2, 2), {3, 0, -1, 0}}},
     S3(1, 2, 1),
     {1, 2}},
    {"a real signal of odd length",
     "DFT",
     20,
     "inverse=1 onesided=1",
     {{ARG, S3(1, 2, 2), {6, 0, -1.5, 0.8660254037844386}}, {INTS, 0, {0}, {3}}},
     S3(1, 3, 1),
     {1, 2, 3}},
    {"the maximum of nothing",
     "ReduceMax",
     20,
     "",
     {{ARG, S2(2, 0), {0}}, {INTS, S1(1), {1}}},
     S2(2, 1),
     {-INFINITY, -INFINITY}},
    {"columns that overlap",
     "Col2Im",
     18,
     "",
     {{ARG, S3(1, 2, 2), {1, 2, 3, 4}}, {INTS, S1(1), {3}}, {INTS, S1(1), {2}}},
     S3(1, 1, 3),
     {1, 5, 4}},
    {"crop and pad around the centre",
     "CenterCropPad",
     18,
     "",
     {{ARG, S2(3, 1), {1, 2, 3}}, {INTS, S1(2), {1, 2}}},
     S2(1, 2),
     {2, 0}},
    {"affine grid that exchanges x and y",
     "AffineGrid",
     20,
     "align_corners=1",
     {{ARG, S3(1, 2, 3), {0, 1, 0, 1, 0, 5}}, {INTS, S1(4), {1, 1, 2, 2}}},
     S4(1, 2, 2, 2),
     {-1, 4, -1, 6, 1, 4, 1, 6}},
    {"rotary embedding by positions",
     "RotaryEmbedding",
     23,
     "num_heads=1 rotary_embedding_dim=2 interleaved=1",
     {{ARG, S3(1, 1, 3), {3, 4, 5}}, {WEIGHT, S2(2, 1), {1, 0}}, {WEIGHT, S2(2, 1), {0, 1}}, {INTS, S2(1, 1), {1}}},
     S3(1, 1, 3),
     {-4, 3, 5}},
    {"batch normalisation in training",
     "BatchNormalization",
     15,
     "training_mode=1 epsilon=0f",
     {{ARG, S2(2, 1), {1, 3}}, {WEIGHT, S1(1), {2}}, {WEIGHT, S1(1), {1}}, {WEIGHT, S1(1), {0}}, {WEIGHT, S1(1), {1}}},
     S2(2, 1),
     {-1, 3}},
};
/* clang-format on */
enum { ROW_COUNT = sizeof rows / sizeof *rows };

/* ---- one row as a model ---- */

static int64_t count_of(const operand_t *o) {
    int64_t count = 1;
    for (int i = 0; i < o->rank; i++) count *= o->dims[i];
    return count;
}

static void put_operand(bytes_t *graph, const operand_t *o, const char *name) {
    float floats[MAX_VALUES];
    int64_t ints[MAX_VALUES];
    uint8_t bools[MAX_VALUES];
    int64_t count = count_of(o);
    for (int64_t i = 0; i < count; i++)
        floats[i] = (float)o->values[i], ints[i] = (int64_t)o->values[i], bools[i] = o->values[i] != 0;
    bytes_t t = o->role == INTS    ? tensor(name, INT64, o->rank, o->dims, ints, (size_t)count * 8)
                : o->role == BOOLS ? tensor(name, BOOL, o->rank, o->dims, bools, (size_t)count)
                                   : tensor(name, FLOAT, o->rank, o->dims, floats, (size_t)count * 4);
    put_message(graph, INITIALIZER, &t);
}

static void put_argument(bytes_t *graph, const operand_t *o) {
    char dims[100] = "";
    for (int i = 0; i < o->rank; i++) snprintf(dims + strlen(dims), 20, "%s%lld", i ? " " : "", (long long)o->dims[i]);
    put_value(graph, INPUT, "x", FLOAT, dims);
}

static bytes_t row_model(const row_t *row) {
    bytes_t graph = {0}, model = {0}, n = {0};
    for (int i = 0; i < MAX_IN && (row->in[i].role != NONE || row->in[i].rank < 0); i++) {
        char name[8];
        snprintf(name, sizeof name, i ? "in%d" : "x", i);
        put_text(&n, 1, row->in[i].role == NONE ? "" : name);
        if (row->in[i].role == ARG) put_argument(&graph, &row->in[i]);
        if (row->in[i].role > ARG) put_operand(&graph, &row->in[i], name);
    }
    put_text(&n, 2, "y");
    put_text(&n, 4, row->op);
    for (const char *at = row->attrs; *at;) {
        size_t length = strcspn(at, " ");
        bytes_t attr = text_attr(at, length);
        put_message(&n, 5, &attr);
        at += length + (at[length] == ' ');
    }
    put_message(&graph, NODE, &n);
    put_value(&graph, OUTPUT, "y", FLOAT, "");
    put_model(&model, &graph, row->opset);
    return model;
}

static void check_row(const row_t *row) {
    bytes_t model = row_model(row);
    veer_graph_t *g;
    veer_func_t func;
    veer_onnx_options_t options = {.eval = veer_reference_node};
    assert_ok(veer_graph_create(veer_allocator_system(), &g));
    veer_status_t status = veer_onnx_import_memory(g, model.data, model.size, "f", &options, &func);
    if (status) fail_msg("%s: %s", row->label, veer_status_message(status, 0));
    assert_ok(veer_verify(g));
    float x[MAX_VALUES];
    for (int i = 0; i < MAX_VALUES; i++) x[i] = (float)row->in[0].values[i];
    veer_type_t type = veer_type_make(VEER_DTYPE_F32, row->in[0].rank, row->in[0].dims);
    veer_type_t want = veer_type_make(VEER_DTYPE_F32, row->rank, row->dims);
    veer_tensor_t in = {type, x}, out;
    assert_ok(veer_reference_eval(g, func, &in, 1, veer_allocator_system(), &out, 1));
    char text[VEER_TYPE_TEXT_BYTES];
    if (!veer_type_equal(&out.type, &want)) fail_msg("%s: got %s", row->label, veer_type_text(&out.type, text));
    for (int64_t i = 0; i < veer_type_count(&want); i++) {
        double got = (double)((float *)out.data)[i];
        if (got != row->want[i] && !(fabs(got - row->want[i]) <= 2e-6 * (1 + fabs(row->want[i]))))
            fail_msg("%s: element %lld is %.9g, expected %.9g", row->label, (long long)i, got, row->want[i]);
    }
    veer_free(veer_allocator_system(), out.data);
    veer_graph_destroy(g);
}

static void test_rows(void **state) {
    (void)state;
    for (int i = 0; i < ROW_COUNT; i++) check_row(&rows[i]);
}

/* Stored in 4 or 8 bits, read by DequantizeLinear with scale 1/2: y = q / 2. */
static void test_small_storage(void **state) {
    (void)state;
    static const struct {
        int type;
        uint8_t bytes[3];
        size_t size;
        float want[3];
    } cases[] = {{22, {0x8f, 0x07}, 2, {-0.5f, -4, 3.5f}},        /* INT4: two to a byte, the low half first */
                 {21, {0x8f, 0x07}, 2, {7.5f, 4, 3.5f}},          /* UINT4 */
                 {17, {0x38, 0xb8, 0x7e}, 3, {0.5f, -0.5f, 224}}, /* FLOAT8E4M3FN: 1, -1, 448 */
                 {19, {0x3c, 0xbc, 0x01}, 3, {0.5f, -0.5f, 0x1p-17f}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes_t graph = {0}, model = {0};
        float half = 0.5f;
        bytes_t q = tensor("q", cases[i].type, 1, (int64_t[]){3}, cases[i].bytes, cases[i].size);
        bytes_t s = tensor("s", FLOAT, 0, NULL, &half, sizeof half);
        put_message(&graph, INITIALIZER, &q);
        put_message(&graph, INITIALIZER, &s);
        put_node(&graph, "DequantizeLinear", "", "q s", "y");
        put_value(&graph, OUTPUT, "y", FLOAT, "3");
        put_model(&model, &graph, 21);
        veer_graph_t *g;
        veer_func_t func;
        veer_tensor_t out;
        veer_onnx_options_t options = {.eval = veer_reference_node};
        assert_ok(veer_graph_create(veer_allocator_system(), &g));
        assert_ok(veer_onnx_import_memory(g, model.data, model.size, "f", &options, &func));
        assert_ok(veer_reference_eval(g, func, NULL, 0, veer_allocator_system(), &out, 1));
        assert_memory_equal(out.data, cases[i].want, sizeof cases[i].want);
        veer_free(veer_allocator_system(), out.data);
        veer_graph_destroy(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_small_storage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
