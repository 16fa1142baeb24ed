/* Writes the loops of a schedule as LLVM IR into a kernel. */
#ifndef VEER_BACKENDS_LLVM_LOWER_H
#define VEER_BACKENDS_LLVM_LOWER_H

#include "backends/llvm/jit.h"
#include "backends/llvm/schedule.h"

/* What the parts of one kernel share. */
typedef struct veer_fx_kernel_s {
    veer_jit_kernel_t *jit;
    LLVMValueRef *bufs;   /* operands, then results; loaded at the entry */
    LLVMValueRef *tables; /* globals */
    LLVMValueRef flag;    /* variable: nonzero once an index was out of range */
} veer_fx_kernel_t;

VEER_MUST_USE veer_status_t veer_fx_kernel_init(veer_fx_kernel_t *k, veer_jit_kernel_t *jit,
                                                const veer_fx_region_t *region);
/* Items [first_item, first_item + schedule->items) of the kernel. */
VEER_MUST_USE veer_status_t veer_fx_lower(veer_fx_kernel_t *k, const veer_fx_schedule_t *schedule, int64_t first_item);

#endif
