/* Convolutions as problems of kernels of our own: two spatial dims, channels last, constant weights, one group.
 *
 *     y[n, i, j, :] = f(sum over u, v, c of x[n, stride_h i + dilation_h u - pad_h, stride_w j + dilation_w v - pad_w,
 * c] w[:, c, u, v], operands)
 *
 * A conv_transpose with stride 1 is one, too: its kernel turned and exchanged.
 *
 *     winograd.h: 3x3 with stride 1, in vectors    conv_amx.h: on the matrix unit */
#ifndef VEER_BACKENDS_LLVM_CONV_H
#define VEER_BACKENDS_LLVM_CONV_H

#include "backends/llvm/matmul.h"

/* Plain data: its bytes tell kernels apart. */
typedef struct veer_conv_problem_s {
    int64_t images, h, w, y_h, y_w;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int64_t pad_h, pad_w; /* rows above x and columns left of it that count as zeros */
    int64_t transposed;   /* w is [C, M, ...] and turned by 180 degrees: a conv_transpose */
    veer_mm_problem_t mm; /* k = C, n = M; the last member, for the key */
} veer_conv_problem_t;

/* Whether a node is such a convolution; says why not. */
bool veer_conv_match(const veer_graph_t *g, veer_node_t node, veer_conv_problem_t *out, char *reason,
                     size_t reason_bytes);
/* Operations as for the direct method, so that rates compare. */
double veer_conv_operations(const veer_conv_problem_t *p);
/* Bytes read and written beside weights. */
double veer_conv_bytes(const veer_conv_problem_t *p);
/* Estimated cycles of one core that computes directly, in vectors. */
double veer_conv_direct_cycles(const veer_conv_problem_t *p, int lanes);

#endif
