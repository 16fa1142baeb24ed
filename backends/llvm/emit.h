/* LLVM IR by function call: an emitter writes one function at a time; its helpers work on scalars and on vectors of any
 * width alike, taking the shape from their operands. Only files of backends/llvm may include this.
 *
 *     LLVMValueRef y = veer_emit_fma(e, a, x, veer_emit_like(e, x, 0.5));   // a * x + 0.5, every lane
 */
#ifndef VEER_BACKENDS_LLVM_EMIT_H
#define VEER_BACKENDS_LLVM_EMIT_H

#include <llvm-c/Core.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct veer_emit_s {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMValueRef function; /* the one being written */
    LLVMTypeRef i1, i8, i32, i64, f32, f64, ptr, nothing;
} veer_emit_t;

/* Fills the types; builder and module are the caller's. */
void veer_emit_init(veer_emit_t *e, LLVMContextRef context, LLVMModuleRef module, LLVMBuilderRef builder);

/* ---- shapes ---- 1 lane: a scalar, not a vector of one. */
unsigned veer_emit_lanes(LLVMValueRef v);
LLVMTypeRef veer_emit_vector(LLVMTypeRef element, unsigned lanes);
/* The type with `v`'s lanes and another element. */
LLVMTypeRef veer_emit_type_like(LLVMValueRef v, LLVMTypeRef element);
/* A scalar in every lane; a vector or lanes == 1 passes through. */
LLVMValueRef veer_emit_splat(veer_emit_t *e, LLVMValueRef v, unsigned lanes);

/* ---- constants ---- in every lane of something shaped like `like` */
LLVMValueRef veer_emit_like(veer_emit_t *e, LLVMValueRef like, double value);      /* of like's own (float) type */
LLVMValueRef veer_emit_like_int(veer_emit_t *e, LLVMValueRef like, int64_t value); /* of like's own (integer) type */
LLVMValueRef veer_emit_i32_like(veer_emit_t *e, LLVMValueRef like, int64_t value); /* i32 lanes, as many as like's */
LLVMValueRef veer_emit_i64(veer_emit_t *e, int64_t value);
/* <0, 1, 2, ...> of i64 or i32. */
LLVMValueRef veer_emit_iota(LLVMTypeRef element, unsigned lanes);

/* ---- operations ---- */
/* Calls an intrinsic overloaded on the given types. */
LLVMValueRef veer_emit_intrinsic(veer_emit_t *e, const char *name, LLVMTypeRef *overloads, unsigned overload_count,
                                 LLVMValueRef *args, unsigned arg_count);
LLVMValueRef veer_emit_unary_intrinsic(veer_emit_t *e, const char *name, LLVMValueRef x);
LLVMValueRef veer_emit_binary_intrinsic(veer_emit_t *e, const char *name, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef veer_emit_fma(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
LLVMValueRef veer_emit_select(veer_emit_t *e, LLVMValueRef condition, LLVMValueRef yes, LLVMValueRef no);
/* Bits of a float as integers of its width, and back. */
LLVMValueRef veer_emit_bits(veer_emit_t *e, LLVMValueRef x);
LLVMValueRef veer_emit_from_bits(veer_emit_t *e, LLVMValueRef bits);
LLVMValueRef veer_emit_shuffle(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b, const int *lanes, unsigned count);
LLVMBasicBlockRef veer_emit_block(veer_emit_t *e, const char *name); /* at the end of the function */
/* A variable on the stack, made in the function's entry block. */
LLVMValueRef veer_emit_variable(veer_emit_t *e, LLVMTypeRef type);

/* ---- integers ---- signed */
LLVMValueRef veer_emit_min(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef veer_emit_max(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef veer_emit_is_equal(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef veer_emit_is_less(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b);

/* ---- offsets and memory ---- i64 offsets, in floats */
LLVMValueRef veer_emit_add(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef veer_emit_sub(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef veer_emit_mul(veer_emit_t *e, LLVMValueRef a, int64_t by);
LLVMValueRef veer_emit_div(veer_emit_t *e, LLVMValueRef a, int64_t by); /* a >= 0 */
LLVMValueRef veer_emit_mod(veer_emit_t *e, LLVMValueRef a, int64_t by); /* a >= 0 */
LLVMValueRef veer_emit_at(veer_emit_t *e, LLVMValueRef base, LLVMValueRef offset);
/* The first `count` of a vector of `lanes` floats, the others 0, from memory aligned to `align` bytes. */
LLVMValueRef veer_emit_load_first(veer_emit_t *e, LLVMValueRef address, int count, int lanes, unsigned align);
/* The first `count` floats of a vector, to memory of any alignment. */
void veer_emit_store_first(veer_emit_t *e, LLVMValueRef value, LLVMValueRef address, int count);
/* Which lanes are among the first `count`, as a constant. */
LLVMValueRef veer_emit_mask(veer_emit_t *e, int64_t count, int lanes);
/* A line of 64 bytes on its way to a cache. */
typedef enum veer_emit_fetch_e {
    VEER_EMIT_TO_READ,       /* into the first */
    VEER_EMIT_TO_READ_LATER, /* into the second */
    VEER_EMIT_TO_WRITE       /* into the first */
} veer_emit_fetch_t;
void veer_emit_fetch_line(veer_emit_t *e, LLVMValueRef at, veer_emit_fetch_t what);
/* Lines from an address on, to be read later. */
void veer_emit_fetch(veer_emit_t *e, LLVMValueRef from, int64_t lines);
/* One float in every lane. */
LLVMValueRef veer_emit_load_all(veer_emit_t *e, LLVMValueRef address, int lanes);

/* ---- branches ---- what is emitted between if and else, or endif, is done where the condition holds. */
typedef struct veer_emit_branch_s {
    LLVMBasicBlockRef otherwise, after; /* after: NULL until there is an else */
} veer_emit_branch_t;
veer_emit_branch_t veer_emit_if(veer_emit_t *e, LLVMValueRef condition);
void veer_emit_else(veer_emit_t *e, veer_emit_branch_t *branch);
void veer_emit_endif(veer_emit_t *e, veer_emit_branch_t *branch);

/* ---- loops ---- for (i = begin; i < end; i += step), i64; the body is what is emitted between the two calls. */
typedef struct veer_emit_loop_s {
    LLVMValueRef i;
    LLVMBasicBlockRef body, done;
    LLVMValueRef end;
    int64_t step;
} veer_emit_loop_t;
veer_emit_loop_t veer_emit_loop_begin(veer_emit_t *e, LLVMValueRef begin, LLVMValueRef end, int64_t step);
void veer_emit_loop_end(veer_emit_t *e, veer_emit_loop_t *loop);

#endif
