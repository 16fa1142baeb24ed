/* What can be done with an IR operator, asked of the code that does it: the gradient's rule, the reference kernels, and
 * what oneDNN and LLVM say to representative nodes (api/op_forms.def). */
#ifndef VEER_API_OP_SUPPORT_H
#define VEER_API_OP_SUPPORT_H

#include "ir/base/allocator.h"
#include "ir/op.h"

typedef enum veer_op_backend_e {
    VEER_OP_REFERENCE,
    VEER_OP_ONEDNN,
    VEER_OP_LLVM,
    VEER_OP_BACKEND_COUNT
} veer_op_backend_t;

enum { VEER_OP_NOTE_BYTES = 400 };
typedef struct veer_op_support_s {
    /* "yes", "no", "some" (of the forms), "-" (holds the graph together: no kernel's business), "off" (not built in) */
    const char *backend[VEER_OP_BACKEND_COUNT];
    /* Where the answer is "some" or "no": which forms are declined, and why. */
    char note[VEER_OP_BACKEND_COUNT][VEER_OP_NOTE_BYTES];
    const char *gradient; /* "yes", "expanded" (in simpler operators first), "zero", "no" */
    int forms;            /* that were asked about */
} veer_op_support_t;

VEER_MUST_USE veer_status_t veer_op_support(veer_op_t op, veer_allocator_t allocator, veer_op_support_t *out);
/* The same of an ONNX operator, asked about the nodes that its forms (frontend/onnx/forms.def) are imported as. "-" where
 * nothing is left to compute after the import, or there is no form: nested graphs are imported node by node. */
VEER_MUST_USE veer_status_t veer_onnx_op_support(const char *op_type, veer_allocator_t allocator,
                                                 veer_op_support_t *out);
/* "reference", "onednn", "llvm" */
const char *veer_op_backend_name(veer_op_backend_t backend);

#endif
