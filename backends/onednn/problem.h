/* What one oneDNN kernel computes, as shapes and strides: the graph's ops are brought to these few forms (match.c),
 * tiles cut them (tile.c), kernel.c makes primitives of them. Knows nothing of graphs.
 *
 *   conv, conv_transpose   x [N, C, s...]  w [g, M/g, C/g, k...]  y [N, M, s'...]
 *   matmul                 x [L, M, K]     w [L or 1, K, N]       y [L, M, N]
 *   pools, resampling      x [N, C, s...]                         y [N, C, s'...]
 *   reorder                x, y of the same dims
 *
 * A matmul with a constant matrix over many rows is the conv form with k = 1: x [L, K, M] with channels last is just
 * the row-major [L, M, K], and oneDNN's 1x1 convolutions are its fastest packed products on every CPU that was
 * measured. */
#ifndef VEER_BACKENDS_ONEDNN_PROBLEM_H
#define VEER_BACKENDS_ONEDNN_PROBLEM_H

#include "backends/onednn/compat.h"
#include "ir/base/status.h"

enum {
    VEER_ONEDNN_MAX_RANK = 6, /* groups, channels twice, three spatial dims */
    VEER_ONEDNN_MAX_POST = 6,
    /* Indices of a problem's tensors; operands of post-ops follow. */
    VEER_ONEDNN_X = 0,
    VEER_ONEDNN_W,
    VEER_ONEDNN_BIAS,
    VEER_ONEDNN_Y,
    VEER_ONEDNN_POST,
    VEER_ONEDNN_MAX_TENSORS = VEER_ONEDNN_POST + VEER_ONEDNN_MAX_POST
};

typedef enum veer_onednn_form_e {
    VEER_ONEDNN_CONV,
    VEER_ONEDNN_CONV_TRANSPOSE,
    VEER_ONEDNN_MATMUL,
    VEER_ONEDNN_POOL,
    VEER_ONEDNN_RESAMPLING,
    VEER_ONEDNN_REORDER
} veer_onednn_form_t;

/* A tensor as this problem sees it. Strides in elements. Rank 0: absent. */
typedef struct veer_onednn_view_s {
    int rank;
    int64_t dims[VEER_ONEDNN_MAX_RANK], strides[VEER_ONEDNN_MAX_RANK];
    int buf;           /* index in the call's buffers */
    const float *data; /* a constant's elements, else NULL; borrowed until the kernel is made */
    int64_t data_count;
} veer_onednn_view_t;

/* y = alg(y) with alpha, beta, or, where the tensor is present, y = alg(y, tensor): its dims are y's or 1. */
typedef struct veer_onednn_post_s {
    dnnl_alg_kind_t alg;
    float alpha, beta;
} veer_onednn_post_t;

typedef struct veer_onednn_problem_s {
    veer_onednn_form_t form;
    dnnl_alg_kind_t alg; /* pools and resampling */
    veer_onednn_view_t tensors[VEER_ONEDNN_MAX_TENSORS];
    veer_dnnl_window_t window; /* conv, conv_transpose, pools */
    int64_t repeats;           /* resampling: rows of y per row of x, where that is a whole number, else 0 */
    bool flip_kernel;          /* w is to be read with its kernel positions reversed */
    veer_onednn_post_t posts[VEER_ONEDNN_MAX_POST];
    float scalars[VEER_ONEDNN_MAX_POST]; /* data of scalar operands that the matcher made */
    int post_count;
    double flops;
} veer_onednn_problem_t;

/* True where dim 1 varies fastest and nothing lies between elements. Dims of size 1 do not count. */
bool veer_onednn_channels_last(const veer_onednn_view_t *v);
int64_t veer_onednn_view_count(const veer_onednn_view_t *v);
/* Strides of a dense tensor, dims in order (row-major) or with dim 1 last. */
void veer_onednn_dense_strides(int rank, const int64_t *dims, bool channels_last, int64_t *out_strides);

/* ---- tiles ---- */
/* One work item: what is computed by one thread in one go. Cut by shape alone, so that results cannot depend on the
 * number of threads. */
typedef struct veer_onednn_tile_s {
    int64_t n0, n1;                /* images; leading index of a matmul */
    int64_t c0, c1;                /* channels of y (and x where they are the same); columns of a matmul */
    int64_t a, b;                  /* rows of y: its first spatial dim; rows of a matmul */
    int64_t i0, i1;                /* the rows of x that they need */
    int64_t pad_before, pad_after; /* padding of these rows */
} veer_onednn_tile_t;

typedef struct veer_onednn_cut_s {
    int64_t images, channels, rows; /* of one tile */
    int64_t count;
} veer_onednn_cut_t;

veer_onednn_cut_t veer_onednn_cut(const veer_onednn_problem_t *p);
veer_onednn_tile_t veer_onednn_tile(const veer_onednn_problem_t *p, const veer_onednn_cut_t *cut, int64_t i);

#endif
