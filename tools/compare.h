/* How far a tensor is from what was expected: |got - want| <= atol + rtol |want|, element by element; NaN equals NaN.
 */
#ifndef VEER_TOOLS_COMPARE_H
#define VEER_TOOLS_COMPARE_H

#include "tools/verb.h"

#include "ir/types.h"

typedef struct veer_tolerance_s {
    double rtol, atol;
} veer_tolerance_t;

/* ONNX's own. */
static inline veer_tolerance_t veer_tolerance_default(void) {
    return (veer_tolerance_t){.rtol = 1e-3, .atol = 1e-7};
}
/* --rtol and --atol. */
VEER_MUST_USE veer_status_t veer_tolerance_from_args(const veer_args_t *args, veer_tolerance_t *out);

typedef struct veer_difference_s {
    int64_t count, wrong;    /* elements, and those outside of the tolerance */
    double max_abs, max_rel; /* over all elements; infinite where only one of the two is a number */
    int64_t worst;           /* index of the element farthest outside of its tolerance */
    double got, want;        /* that element */
} veer_difference_t;

/* Element i as a number. */
double veer_tensor_element(const veer_tensor_t *tensor, int64_t i);
/* Shapes must be equal. */
veer_difference_t veer_compare(const veer_tensor_t *got, const veer_tensor_t *want, veer_tolerance_t tolerance);
/* VEER_ERR_MISMATCH that names `what`, the shapes where they differ (and with `strict` the dtypes), else the largest
 * errors and where they are. `out` may be NULL. */
VEER_MUST_USE veer_status_t veer_compare_check(const char *what, const veer_tensor_t *got, const veer_tensor_t *want,
                                               veer_tolerance_t tolerance, bool strict, veer_difference_t *out);

#define VEER_TOLERANCE_FLAGS                                                                                           \
    {"rtol", 0, "R", "relative tolerance (1e-3)", false}, {                                                            \
        "atol", 0, "A", "absolute tolerance (1e-7)", false                                                             \
    }

#endif
