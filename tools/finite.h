/* Gradients against finite differences: central differences of the model as it stands, in double precision on the
 * reference backend, along random directions; and the compiled gradient against the same gradient in double precision.
 */
#ifndef VEER_TOOLS_FINITE_H
#define VEER_TOOLS_FINITE_H

#include "tools/evaluate.h"

typedef struct veer_finite_s {
    double norm;           /* of the gradient in double precision */
    double difference;     /* largest relative error of <gradient, direction> against the central difference */
    double compiled_error; /* largest error of the compiled gradient, relative to its largest element */
} veer_finite_t;

typedef struct veer_finite_options_s {
    const char *path;
    const veer_gradient_request_t *request;
    const veer_inputs_t *inputs;         /* all that the compiled gradient has */
    const veer_evaluation_t *evaluation; /* of the compiled gradient */
} veer_finite_options_t;

enum { VEER_FINITE_DIRECTIONS = 3 };

/* One entry per input of the request. */
VEER_MUST_USE veer_status_t veer_finite_check(const veer_finite_options_t *options, veer_allocator_t allocator,
                                              veer_finite_t *out);

#endif
