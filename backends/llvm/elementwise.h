/* One elementwise op on scalars or vectors of any dtype. Values in registers: floats and integers as they are, bool as
 * i1. */
#ifndef VEER_BACKENDS_LLVM_ELEMENTWISE_H
#define VEER_BACKENDS_LLVM_ELEMENTWISE_H

#include "backends/llvm/emit.h"
#include "ir/op.h"

LLVMTypeRef veer_fx_register_type(veer_emit_t *e, veer_dtype_t dtype); /* of one lane */
LLVMTypeRef veer_fx_memory_type(veer_emit_t *e, veer_dtype_t dtype);   /* bool: i8 */
LLVMValueRef veer_fx_constant(veer_emit_t *e, veer_dtype_t dtype, uint64_t bits);
/* Between the two. */
LLVMValueRef veer_fx_from_memory(veer_emit_t *e, veer_dtype_t dtype, LLVMValueRef v);
LLVMValueRef veer_fx_to_memory(veer_emit_t *e, veer_dtype_t dtype, LLVMValueRef v);

/* args: of dtype `in` (where: the condition first, then `in`; pow: in, in1), splatted to one width. `flag`: gelu, mod.
 */
LLVMValueRef veer_fx_elementwise(veer_emit_t *e, veer_op_t op, int64_t flag, veer_dtype_t out, const veer_dtype_t *in,
                                 LLVMValueRef *args);
/* What reductions do: reduce_sum adds, and so on. */
LLVMValueRef veer_fx_combine(veer_emit_t *e, veer_op_t reduce_op, veer_dtype_t dtype, LLVMValueRef a, LLVMValueRef b);
/* The value that combine leaves alone. */
LLVMValueRef veer_fx_neutral(veer_emit_t *e, veer_op_t reduce_op, veer_dtype_t dtype);

#endif
