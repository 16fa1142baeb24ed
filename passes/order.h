/* In which order the elements of a value lie in memory, when that need not be row-major: what layout.c keeps of every
 * value. Each axis is one factor, or, where its elements do not lie together, the product of several (major first); the
 * order is a permutation of all factors. [N, C, H, W] with its channels last is
 *
 *     factors N | C | H | W, lying as N H W C           stored as [N, H, W, C]
 *     seen as [N, G, C/G * H*W]: factors N | G | C/G H W, lying as N H W G C/G
 *
 * so reshapes and transposes of a value do not move anything, as long as they cut factors evenly. Pure arithmetic on
 * shapes: knows no graph.
 */
#ifndef VEER_PASSES_ORDER_H
#define VEER_PASSES_ORDER_H

#include "ir/types.h"

typedef struct veer_order_s {
    int n;                       /* factors; at least one per axis, of size 1 where the axis is */
    int axis[VEER_MAX_RANK];     /* of factor i, ascending */
    int64_t size[VEER_MAX_RANK]; /* of factor i; their product along an axis is its dim */
    int at[VEER_MAX_RANK];       /* storage dim k is factor at[k] */
} veer_order_t;

veer_order_t veer_order_row_major(const veer_type_t *type);
/* Storage dim k is axis perm[k]. */
veer_order_t veer_order_of_axes(const veer_type_t *type, const int64_t *perm);
/* The dims of what is stored. */
veer_type_t veer_order_stored(const veer_order_t *o, veer_dtype_t dtype);
/* The same bytes: dims of size 1, and where axes begin, do not count. */
bool veer_order_equal(const veer_order_t *a, const veer_order_t *b);
bool veer_order_is_row_major(const veer_order_t *o);
/* The storage dim of an axis; -1 where the axis is in pieces. */
int veer_order_dim(const veer_order_t *o, int axis);
/* The factor that lies last, those of size 1 not counted; -1 where there is none. */
int veer_order_last(const veer_order_t *o);

/* The order of a view of the same bytes. False where a factor would have to be cut unevenly, or there are too many. */
bool veer_order_reshape(const veer_order_t *o, const veer_type_t *to, veer_order_t *out);
veer_order_t veer_order_transpose(const veer_order_t *o, int rank, const int64_t *perm);
/* An axis that is one factor gets another size. */
veer_order_t veer_order_resize(const veer_order_t *o, int axis, int64_t size);
/* Without the axes of `mask`, or, with `keep`, with size 1 along them. */
veer_order_t veer_order_reduce(const veer_order_t *o, unsigned mask, bool keep);
/* An operand that broadcasts to the value: its dims are `type`'s, aligned at the end. */
veer_order_t veer_order_project(const veer_order_t *o, int rank, const veer_type_t *type);

/* How to bring the same value from one order into another: reshape to `from`, transpose by `perm`, reshape to the
 * stored dims of `b`. False where the two cut an axis in ways that do not refine each other. */
typedef struct veer_order_move_s {
    int rank;
    int64_t from[VEER_MAX_RANK], perm[VEER_MAX_RANK];
} veer_order_move_t;
bool veer_order_move(const veer_order_t *a, const veer_order_t *b, veer_order_move_t *out);

#endif
