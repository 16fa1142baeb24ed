/* What the files that make nests share: indices, maps of them, points.
 *
 *     nest.c: results, rows, what is swept together    nest_index.c: variables, indices, views    nest_points.c: points
 */
#ifndef VEER_BACKENDS_LLVM_NEST_INTERNAL_H
#define VEER_BACKENDS_LLVM_NEST_INTERNAL_H

#include "backends/llvm/nest.h"

/* One dimension of an index: affine, plus points computed while running. */
typedef struct veer_nest_index_s {
    veer_fx_affine_t a;
    int dynamic_count, dynamic[VEER_FX_MAX_DYNAMIC], unused; /* no padding: indices are compared as bytes */
    int64_t coef[VEER_FX_MAX_DYNAMIC];
} veer_nest_index_t;

/* Which element of an expression is meant, by dimension; those of dimensions of 1 are not looked at. */
typedef struct veer_nest_map_s {
    veer_nest_index_t dim[VEER_MAX_RANK];
} veer_nest_map_t;

/* Functions that give bool or a point fail with the region's reason, out_of_memory or `restart` set. */

/* ---- nest_index.c ---- */
void veer_nest_affine_add(veer_fx_affine_t *to, const veer_fx_affine_t *a, int64_t factor);
/* Both included. */
void veer_nest_affine_range(const veer_fx_nest_t *n, const veer_fx_affine_t *a, int64_t *low, int64_t *high);
uint32_t veer_nest_affine_vars(const veer_fx_affine_t *a);
bool veer_nest_index_add(veer_fx_nest_t *n, veer_nest_index_t *to, const veer_nest_index_t *x, int64_t factor);
/* Makes an origin's variables, and what runs through the whole dimension with them. */
bool veer_nest_add_vars(veer_fx_nest_t *n, int origin);
veer_nest_index_t veer_nest_origin_index(const veer_fx_nest_t *n, int origin);
/* The space of reductions over these extents: one for equal lists. -1 after a failure. */
int veer_nest_space_of(veer_fx_nest_t *n, const int64_t *extents, int count);
/* Where the element of an operand lies that is broadcast to the one at `m`. */
void veer_nest_broadcast_map(const veer_type_t *out, const veer_type_t *in, const veer_nest_map_t *m,
                             veer_nest_map_t *to);
/* Where the element at `m` of a reshape, transpose, broadcast or slice lies in its operand. */
bool veer_nest_view_map(veer_fx_nest_t *n, const veer_fx_expr_t *e, const veer_nest_map_t *m, veer_nest_map_t *to);

/* ---- nest_points.c ---- */
/* No points, no guards. */
bool veer_nest_clear_points(veer_fx_nest_t *n);
/* Forgets those that were added since there were so many. */
void veer_nest_keep_points(veer_fx_nest_t *n, int point_count, int guard_count);
/* The point of an expression's element; -1 after a failure. */
int veer_nest_point_of(veer_fx_nest_t *n, int expr, const veer_nest_map_t *m, int guard);

#endif
