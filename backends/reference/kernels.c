#include "backends/reference/kernel.h"
#include "backends/reference/reference.h"

static const veer_reference_kernel_t kernels[VEER_OP_COUNT] = {
#define VEER_REFERENCE(ENUM, name) [VEER_OP_##ENUM] = veer_reference_##name,
#include "backends/reference/kernels.def"
#undef VEER_REFERENCE
};

static const bool wants_scratch[VEER_OP_COUNT] = {
#define VEER_REFERENCE(ENUM, name)
#define VEER_REFERENCE_SCRATCH(ENUM, name) [VEER_OP_##ENUM] = true,
#include "backends/reference/kernels.def"
#undef VEER_REFERENCE
};

veer_reference_kernel_t veer_reference_kernel(veer_op_t op) {
    return op > VEER_OP_NONE && op < VEER_OP_COUNT ? kernels[op] : NULL;
}

bool veer_reference_supports(veer_op_t op) {
    return veer_reference_kernel(op) != NULL;
}

size_t veer_reference_scratch_bytes(const veer_reference_call_t *c) {
    size_t size_bytes = 0;
    if (!wants_scratch[c->op]) return 0;
    for (int i = 0; i < c->in_count; i++) size_bytes += veer_doubles_bytes(&c->in[i]);
    for (int i = 0; i < c->out_count; i++) size_bytes += veer_doubles_bytes(&c->out[i]);
    return size_bytes;
}

veer_kernel_result_t veer_reference_run(veer_reference_call_t *c) {
    bool empty = c->out_count > 0;
    for (int i = 0; i < c->out_count; i++) empty &= !veer_type_count(&c->out[i].type);
    return empty ? VEER_KERNEL_OK : veer_reference_kernel(c->op)(c);
}
