/* The compiler proper: modules that wait for compilation, objects, symbols. */
#ifndef VEER_BACKENDS_LLVM_JIT_H
#define VEER_BACKENDS_LLVM_JIT_H

#include "backends/llvm/emit.h"
#include "backends/llvm/llvm.h"

/* A kernel being written: an emitter positioned in its entry block, and its arguments. */
typedef struct veer_jit_kernel_s {
    veer_emit_t emit;
    int id;
    int unit;
    LLVMValueRef bufs;                                        /* ptr to the array of buffer pointers */
    LLVMValueRef begin, end, scratch, next, continues, again; /* of the arguments */
} veer_jit_kernel_t;

/* What LLVM's passes do to a kernel: all that they can, or only cleaning up. */
typedef enum veer_jit_effort_e { VEER_JIT_FULL, VEER_JIT_LIGHT } veer_jit_effort_t;
/* Starts a function of the kernel signature in one of the pending modules. */
VEER_MUST_USE veer_status_t veer_jit_begin(veer_llvm_t *llvm, veer_jit_effort_t effort, veer_jit_kernel_t *out_kernel);
/* buf[i], loaded where the builder stands. */
LLVMValueRef veer_jit_buffer(veer_jit_kernel_t *kernel, int i);
/* Returns `result` (i32; NULL: VEER_KERNEL_OK) and closes the function. `weight`: roughly its number of instructions,
 * to share modules out over threads. */
void veer_jit_end(veer_llvm_t *llvm, veer_jit_kernel_t *kernel, LLVMValueRef result, double weight);

/* Kernels already emitted, by the text of their structure: whether there is one. */
bool veer_jit_find(const veer_llvm_t *llvm, const void *key, size_t key_bytes, veer_llvm_kernel_t *out_kernel);
VEER_MUST_USE veer_status_t veer_jit_remember(veer_llvm_t *llvm, const void *key, size_t key_bytes,
                                              const veer_llvm_kernel_t *kernel);
/* Memory that lives as long as `llvm`, zeroed, one per key; *out_is_new: the caller is to fill it. */
VEER_MUST_USE veer_status_t veer_jit_constant(veer_llvm_t *llvm, const void *key, size_t key_bytes, size_t size_bytes,
                                              void **out_data, bool *out_is_new);
veer_allocator_t veer_jit_allocator(const veer_llvm_t *llvm);
/* Vector registers of the target. */
int veer_jit_registers(const veer_llvm_t *llvm);
/* Whether kernels may use the matrix unit of amx.h, whose rows are the target's vectors then. */
bool veer_jit_has_amx(const veer_llvm_t *llvm);
/* As veer_llvm_set_strict says; false at first. */
bool veer_jit_is_strict(const veer_llvm_t *llvm);

#endif
