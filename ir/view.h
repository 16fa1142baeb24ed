/* Views: where the elements of a value lie in the dense buffer of another one that it only moves.
 *
 *     %h = reshape %qkv {dims = [2, 96, 16]}   %q = slice %h {sizes = [2, 32, 16]}   %t = transpose %q {perm = [0, 2,
 * 1]}
 *
 *     veer_view_t v = veer_view_dense(veer_value_type(g, qkv));
 *     veer_view_forward(g, reshape, &v) && veer_view_forward(g, slice, &v) && ...     // v: %t's elements in %qkv
 *
 * Every dim is a product of factors, each with a stride: merging two dims that do not follow each other in memory makes
 * a dim of two factors. The same record tells where a value's elements are to be *written*, walking from a result back
 * to what is moved into it. */
#ifndef VEER_IR_VIEW_H
#define VEER_IR_VIEW_H

#include "ir/graph.h"

enum { VEER_VIEW_MAX_FACTORS = 24 };

typedef struct veer_view_factor_s {
    int64_t size, stride; /* size > 1; stride in elements, 0 for a repetition */
} veer_view_factor_t;

typedef struct veer_view_s {
    int64_t offset; /* of the first element */
    int rank;
    int first[VEER_MAX_RANK + 1]; /* dim d has the factors first[d] .. first[d + 1] - 1, outer ones first */
    veer_view_factor_t factors[VEER_VIEW_MAX_FACTORS];
} veer_view_t;

/* A value in its own buffer, row-major. Its type has no dim of 0. */
veer_view_t veer_view_dense(const veer_type_t *type);

/* Each gives false where no view of this kind tells the result; *v is then spoilt. */
bool veer_view_reshape(veer_view_t *v, int rank, const int64_t *dims);
bool veer_view_slice(veer_view_t *v, const int64_t *starts, const int64_t *sizes, const int64_t *steps);
bool veer_view_broadcast(veer_view_t *v, int rank, const int64_t *dims);
void veer_view_transpose(veer_view_t *v, const int64_t *perm); /* dim i was dim perm[i] */

/* From a view of the node's operand 0 to one of its result: reshape, transpose, slice, broadcast; false for others. */
bool veer_view_forward(const veer_graph_t *g, veer_node_t node, veer_view_t *v);
/* From where the node's result is to lie to where operand `i` is: reshape, transpose, concat; false for others. */
bool veer_view_backward(const veer_graph_t *g, veer_node_t node, int i, veer_view_t *v);

/* The stride of a dim of one factor; 0 for a dim of size 1. False where it has several. */
bool veer_view_stride(const veer_view_t *v, int dim, int64_t *out_stride);

#endif
