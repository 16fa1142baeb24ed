/* The random numbers of spec "Noise" as vector IR: Philox4x32-10 and Box-Muller. Bits equal runtime/philox.h's;
 * deviates are within 1e-6 of its. */
#ifndef VEER_BACKENDS_LLVM_VRANDOM_H
#define VEER_BACKENDS_LLVM_VRANDOM_H

#include "backends/llvm/emit.h"

/* Ten rounds on i32 lanes, counter to words in place. `key` holds two i32 lanes sets or scalars (splatted here). */
void veer_vrandom_philox(veer_emit_t *e, LLVMValueRef counter[4], const LLVMValueRef key[2]);
/* The four deviates of each lane's block. sample, step, stream, key: i32 scalars or lanes. */
void veer_vrandom_block(veer_emit_t *e, LLVMValueRef block, LLVMValueRef sample, LLVMValueRef step, int64_t stream,
                        const LLVMValueRef key[2], LLVMValueRef out[4]);
/* Elements first .. first + lanes - 1 of a sample; `first` (i64) is a multiple of 4, lanes too. */
LLVMValueRef veer_vrandom_run(veer_emit_t *e, LLVMValueRef first, unsigned lanes, LLVMValueRef sample,
                              LLVMValueRef step, int64_t stream, const LLVMValueRef key[2]);
/* Any elements (i64 scalar or lanes); each lane works through its own block. */
LLVMValueRef veer_vrandom_any(veer_emit_t *e, LLVMValueRef element, LLVMValueRef sample, LLVMValueRef step,
                              int64_t stream, const LLVMValueRef key[2]);

#endif
