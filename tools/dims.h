/* Values for symbolic dimensions, from --dim and from the tensors that a model is given. */
#ifndef VEER_TOOLS_DIMS_H
#define VEER_TOOLS_DIMS_H

#include "frontend/onnx_import.h"
#include "tools/verb.h"

typedef struct veer_dims_s {
    veer_dim_binding_t *items; /* in the args' arena */
    int count, capacity;
} veer_dims_t;

/* Those of --dim NAME=N. VEER_ERR_CONFIG. */
VEER_MUST_USE veer_status_t veer_dims_from_args(veer_command_t *c, veer_dims_t *out);
/* The name is borrowed. */
VEER_MUST_USE veer_status_t veer_dims_add(veer_command_t *c, veer_dims_t *dims, const char *name, int64_t value);
bool veer_dims_has(const veer_dims_t *dims, const char *name);
/* Is dimension `axis` of this input bound, by its name or as "input.axis"? */
bool veer_dims_binds(const veer_dims_t *dims, const veer_onnx_value_info_t *input, int axis);
/* --dim for something that the model does not have. VEER_ERR_CONFIG with a suggestion. */
VEER_MUST_USE veer_status_t veer_dims_check(const veer_dims_t *dims, const veer_onnx_info_t *info);

/* Every symbolic dimension without a value is taken as 1, and said so: enough to see what can be imported. */
VEER_MUST_USE veer_status_t veer_dims_fill(veer_command_t *c, veer_dims_t *dims, const veer_onnx_info_t *info);

#define VEER_DIM_FLAG                                                                                                  \
    { "dim", 0, "NAME=N", "value of a symbolic dimension, or of INPUT.AXIS", true }

#endif
