/* What an elementwise expression is as a polynomial in one or two values of the graph: tells whether two spellings are
 * the same function, whatever the order and association of their sums and products. */
#ifndef VEER_PASSES_POLYNOMIAL_H
#define VEER_PASSES_POLYNOMIAL_H

#include "passes/match.h"

enum { VEER_POLYNOMIAL_X = 4, VEER_POLYNOMIAL_T = 2 };

/* sum over i, k of c[k][i] x^i t^k */
typedef struct veer_polynomial_s {
    double c[VEER_POLYNOMIAL_T][VEER_POLYNOMIAL_X];
} veer_polynomial_t;

/* `value` as a polynomial in x and t (VEER_NO_VALUE: in x alone), both of value's type; its nodes are taken. False
 * where it is none, of too high a degree, or deeply nested. */
bool veer_polynomial_of(veer_match_t *m, veer_value_t value, veer_value_t x, veer_value_t t, veer_polynomial_t *out);
/* Equal up to rounding of the coefficients. */
bool veer_polynomial_near(veer_dtype_t dtype, const veer_polynomial_t *got, const veer_polynomial_t *want);
/* The values that `value` may be a polynomial in: what its sums and products are made of. Gives how many. */
int veer_polynomial_leaves(const veer_graph_t *g, veer_value_t value, veer_value_t *out_leaves, int limit);

#endif
