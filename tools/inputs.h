/* Tensors that the command line gives to a model: --input NAME=@FILE.npy, or NAME=1,2,3 for small ones.
 *
 *     veer_inputs_t inputs;
 *     VEER_TRY(veer_inputs_from_args(c, &inputs));                      // reads the files
 *     VEER_TRY(veer_inputs_bind_dims(c, &inputs, &info, &dims));        // their shapes give symbolic dimensions values
 *     VEER_TRY(veer_inputs_make(&inputs, i, &type));                    // checks, or makes the tensor of a list
 *     veer_inputs_deinit(&inputs);
 */
#ifndef VEER_TOOLS_INPUTS_H
#define VEER_TOOLS_INPUTS_H

#include "tools/dims.h"

typedef struct veer_input_s {
    const char *name; /* borrowed */
    const char *list; /* "1,2,3": the tensor is made once its type is known; NULL: it is there */
    veer_tensor_t tensor;
    bool used; /* by the model */
    bool bind; /* as a constant, whatever the model says about its shape */
} veer_input_t;

typedef struct veer_inputs_s {
    veer_input_t *items;
    int count;
    veer_allocator_t allocator;
} veer_inputs_t;

/* Those of --input. */
VEER_MUST_USE veer_status_t veer_inputs_from_args(veer_command_t *c, veer_inputs_t *out);
/* Room for `count` inputs that the caller fills; tensor data from `allocator`. */
VEER_MUST_USE veer_status_t veer_inputs_init(veer_inputs_t *out, int count, veer_allocator_t allocator);
void veer_inputs_deinit(veer_inputs_t *inputs);
veer_input_t *veer_inputs_find(const veer_inputs_t *inputs, const char *name); /* NULL where there is none */

/* Compares dtypes, ranks and fixed dims with the model's, and adds to `dims` what the given shapes say about symbolic
 * ones. VEER_ERR_CONFIG: "input 'x' is f64[4,8], expected f32[batch,8]", one error per input. Names that the model does
 * not have are left for later. */
VEER_MUST_USE veer_status_t veer_inputs_bind_dims(veer_command_t *c, const veer_inputs_t *inputs,
                                                  const veer_onnx_info_t *info, veer_dims_t *dims);
/* Has a tensor of this type afterwards: parses the list (one number fills it all), or checks what was read. */
VEER_MUST_USE veer_status_t veer_input_make(veer_input_t *input, const veer_type_t *type, veer_allocator_t allocator);

/* One more input of this type: normal deviates from a fixed seed, or ones where it is no floating-point type (token 0
 * is often padding, and a sequence of nothing but padding has no meaningful gradient). */
VEER_MUST_USE veer_status_t veer_inputs_add_random(veer_inputs_t *inputs, const char *name, const veer_type_t *type);

#define VEER_INPUT_FLAG                                                                                                \
    { "input", 0, "NAME=@FILE.npy", "a model input: a file, or numbers such as 3 or 1,2,3", true }

#endif
