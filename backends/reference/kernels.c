#include "backends/reference/kernel.h"
#include "backends/reference/reference.h"

static const veer_reference_kernel_t kernels[VEER_OP_COUNT] = {
#define VEER_REFERENCE(ENUM, name) [VEER_OP_##ENUM] = veer_reference_##name,
#include "backends/reference/kernels.def"
#undef VEER_REFERENCE
};

veer_reference_kernel_t veer_reference_kernel(veer_op_t op) {
    return op > VEER_OP_NONE && op < VEER_OP_COUNT ? kernels[op] : NULL;
}

bool veer_reference_supports(veer_op_t op) {
    return veer_reference_kernel(op) != NULL;
}
