#include "backends/llvm/emit.h"

#include <assert.h>
#include <string.h>

enum { MAX_LANES = 128 };

void veer_emit_init(veer_emit_t *e, LLVMContextRef context, LLVMModuleRef module, LLVMBuilderRef builder) {
    *e = (veer_emit_t){.context = context, .module = module, .builder = builder};
    e->i1 = LLVMInt1TypeInContext(context);
    e->i8 = LLVMInt8TypeInContext(context);
    e->i32 = LLVMInt32TypeInContext(context);
    e->i64 = LLVMInt64TypeInContext(context);
    e->f32 = LLVMFloatTypeInContext(context);
    e->f64 = LLVMDoubleTypeInContext(context);
    e->ptr = LLVMPointerTypeInContext(context, 0);
    e->nothing = LLVMVoidTypeInContext(context);
}

unsigned veer_emit_lanes(LLVMValueRef v) {
    LLVMTypeRef type = LLVMTypeOf(v);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetVectorSize(type) : 1;
}

LLVMTypeRef veer_emit_vector(LLVMTypeRef element, unsigned lanes) {
    return lanes == 1 ? element : LLVMVectorType(element, lanes);
}

LLVMTypeRef veer_emit_type_like(LLVMValueRef v, LLVMTypeRef element) {
    return veer_emit_vector(element, veer_emit_lanes(v));
}

static LLVMValueRef const_splat(LLVMValueRef scalar, unsigned lanes) {
    assert(lanes <= MAX_LANES);
    LLVMValueRef all[MAX_LANES];
    for (unsigned i = 0; i < lanes; i++) all[i] = scalar;
    return lanes == 1 ? scalar : LLVMConstVector(all, lanes);
}

LLVMValueRef veer_emit_splat(veer_emit_t *e, LLVMValueRef v, unsigned lanes) {
    if (lanes == 1 || veer_emit_lanes(v) > 1) return v;
    if (LLVMIsConstant(v) && !LLVMIsAGlobalValue(v)) return const_splat(v, lanes);
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(v), lanes);
    LLVMValueRef one = LLVMBuildInsertElement(e->builder, LLVMGetPoison(type), v, LLVMConstInt(e->i32, 0, 0), "");
    return LLVMBuildShuffleVector(e->builder, one, LLVMGetPoison(type), LLVMConstNull(LLVMVectorType(e->i32, lanes)),
                                  "");
}

static LLVMTypeRef element_type(LLVMValueRef v) {
    LLVMTypeRef type = LLVMTypeOf(v);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type;
}

LLVMValueRef veer_emit_like(veer_emit_t *e, LLVMValueRef like, double value) {
    (void)e;
    return const_splat(LLVMConstReal(element_type(like), value), veer_emit_lanes(like));
}

LLVMValueRef veer_emit_like_int(veer_emit_t *e, LLVMValueRef like, int64_t value) {
    (void)e;
    return const_splat(LLVMConstInt(element_type(like), (uint64_t)value, 1), veer_emit_lanes(like));
}

LLVMValueRef veer_emit_i32_like(veer_emit_t *e, LLVMValueRef like, int64_t value) {
    return const_splat(LLVMConstInt(e->i32, (uint64_t)value, 1), veer_emit_lanes(like));
}

LLVMValueRef veer_emit_i64(veer_emit_t *e, int64_t value) {
    return LLVMConstInt(e->i64, (uint64_t)value, 1);
}

LLVMValueRef veer_emit_iota(LLVMTypeRef element, unsigned lanes) {
    assert(lanes <= MAX_LANES);
    LLVMValueRef all[MAX_LANES];
    for (unsigned i = 0; i < lanes; i++) all[i] = LLVMConstInt(element, i, 0);
    return lanes == 1 ? all[0] : LLVMConstVector(all, lanes);
}

LLVMValueRef veer_emit_intrinsic(veer_emit_t *e, const char *name, LLVMTypeRef *overloads, unsigned overload_count,
                                 LLVMValueRef *args, unsigned arg_count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id != 0);
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(e->module, id, overloads, overload_count);
    return LLVMBuildCall2(e->builder, LLVMGlobalGetValueType(function), function, args, arg_count, "");
}

LLVMValueRef veer_emit_unary_intrinsic(veer_emit_t *e, const char *name, LLVMValueRef x) {
    return veer_emit_intrinsic(e, name, (LLVMTypeRef[]){LLVMTypeOf(x)}, 1, &x, 1);
}

LLVMValueRef veer_emit_binary_intrinsic(veer_emit_t *e, const char *name, LLVMValueRef x, LLVMValueRef y) {
    return veer_emit_intrinsic(e, name, (LLVMTypeRef[]){LLVMTypeOf(x)}, 1, (LLVMValueRef[]){x, y}, 2);
}

LLVMValueRef veer_emit_fma(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    return veer_emit_intrinsic(e, "llvm.fma", (LLVMTypeRef[]){LLVMTypeOf(a)}, 1, (LLVMValueRef[]){a, b, c}, 3);
}

LLVMValueRef veer_emit_select(veer_emit_t *e, LLVMValueRef condition, LLVMValueRef yes, LLVMValueRef no) {
    return LLVMBuildSelect(e->builder, condition, yes, no, "");
}

LLVMValueRef veer_emit_bits(veer_emit_t *e, LLVMValueRef x) {
    LLVMTypeRef to = element_type(x) == e->f64 ? e->i64 : e->i32;
    return LLVMBuildBitCast(e->builder, x, veer_emit_type_like(x, to), "");
}

LLVMValueRef veer_emit_from_bits(veer_emit_t *e, LLVMValueRef bits) {
    LLVMTypeRef to = element_type(bits) == e->i64 ? e->f64 : e->f32;
    return LLVMBuildBitCast(e->builder, bits, veer_emit_type_like(bits, to), "");
}

LLVMValueRef veer_emit_shuffle(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b, const int *lanes, unsigned count) {
    assert(count <= MAX_LANES);
    LLVMValueRef picks[MAX_LANES];
    for (unsigned i = 0; i < count; i++) picks[i] = LLVMConstInt(e->i32, (unsigned)lanes[i], 0);
    return LLVMBuildShuffleVector(e->builder, a, b, LLVMConstVector(picks, count), "");
}

LLVMValueRef veer_emit_add(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildNSWAdd(e->builder, a, b, "");
}

LLVMValueRef veer_emit_sub(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildNSWSub(e->builder, a, b, "");
}

LLVMValueRef veer_emit_mul(veer_emit_t *e, LLVMValueRef a, int64_t by) {
    return LLVMBuildNSWMul(e->builder, a, veer_emit_i64(e, by), "");
}

LLVMValueRef veer_emit_div(veer_emit_t *e, LLVMValueRef a, int64_t by) {
    return LLVMBuildUDiv(e->builder, a, veer_emit_i64(e, by), "");
}

LLVMValueRef veer_emit_mod(veer_emit_t *e, LLVMValueRef a, int64_t by) {
    return LLVMBuildURem(e->builder, a, veer_emit_i64(e, by), "");
}

LLVMValueRef veer_emit_at(veer_emit_t *e, LLVMValueRef base, LLVMValueRef offset) {
    return LLVMBuildInBoundsGEP2(e->builder, e->f32, base, &offset, 1, "");
}

LLVMValueRef veer_emit_mask(veer_emit_t *e, int64_t count, int lanes) {
    assert(lanes <= MAX_LANES);
    LLVMValueRef bits[MAX_LANES];
    for (int i = 0; i < lanes; i++) bits[i] = LLVMConstInt(e->i1, i < count, 0);
    return LLVMConstVector(bits, (unsigned)lanes);
}

LLVMValueRef veer_emit_load_first(veer_emit_t *e, LLVMValueRef address, int count, int lanes, unsigned align) {
    LLVMTypeRef type = veer_emit_vector(e->f32, (unsigned)lanes);
    if (count == lanes) {
        LLVMValueRef v = LLVMBuildLoad2(e->builder, type, address, "");
        LLVMSetAlignment(v, align);
        return v;
    }
    LLVMValueRef args[] = {address, LLVMConstInt(e->i32, align, 0), veer_emit_mask(e, count, lanes),
                           LLVMConstNull(type)};
    return veer_emit_intrinsic(e, "llvm.masked.load", (LLVMTypeRef[]){type, e->ptr}, 2, args, 4);
}

void veer_emit_store_first(veer_emit_t *e, LLVMValueRef value, LLVMValueRef address, int count) {
    enum { ANY = sizeof(float) };
    int lanes = (int)veer_emit_lanes(value);
    if (count == lanes) {
        LLVMSetAlignment(LLVMBuildStore(e->builder, value, address), ANY);
        return;
    }
    LLVMValueRef args[] = {value, address, LLVMConstInt(e->i32, ANY, 0), veer_emit_mask(e, count, lanes)};
    veer_emit_intrinsic(e, "llvm.masked.store", (LLVMTypeRef[]){LLVMTypeOf(value), e->ptr}, 2, args, 4);
}

LLVMValueRef veer_emit_load_all(veer_emit_t *e, LLVMValueRef address, int lanes) {
    LLVMValueRef v = LLVMBuildLoad2(e->builder, e->f32, address, "");
    LLVMSetAlignment(v, sizeof(float));
    return veer_emit_splat(e, v, (unsigned)lanes);
}

LLVMValueRef veer_emit_min(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b) {
    return veer_emit_binary_intrinsic(e, "llvm.smin", a, b);
}
LLVMValueRef veer_emit_max(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b) {
    return veer_emit_binary_intrinsic(e, "llvm.smax", a, b);
}
LLVMValueRef veer_emit_is_equal(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildICmp(e->builder, LLVMIntEQ, a, b, "");
}
LLVMValueRef veer_emit_is_less(veer_emit_t *e, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildICmp(e->builder, LLVMIntSLT, a, b, "");
}

void veer_emit_fetch_line(veer_emit_t *e, LLVMValueRef at, veer_emit_fetch_t what) {
    enum { SECOND_CACHE = 2, FIRST_CACHE = 3, DATA = 1 };
    LLVMValueRef args[] = {at, LLVMConstInt(e->i32, what == VEER_EMIT_TO_WRITE, 0),
                           LLVMConstInt(e->i32, what == VEER_EMIT_TO_READ_LATER ? SECOND_CACHE : FIRST_CACHE, 0),
                           LLVMConstInt(e->i32, DATA, 0)};
    veer_emit_intrinsic(e, "llvm.prefetch", &e->ptr, 1, args, 4);
}

void veer_emit_fetch(veer_emit_t *e, LLVMValueRef from, int64_t lines) {
    enum { LINE_FLOATS = 16 };
    for (int64_t i = 0; i < lines; i++)
        veer_emit_fetch_line(e, veer_emit_at(e, from, veer_emit_i64(e, i * LINE_FLOATS)), VEER_EMIT_TO_READ_LATER);
}

LLVMBasicBlockRef veer_emit_block(veer_emit_t *e, const char *name) {
    return LLVMAppendBasicBlockInContext(e->context, e->function, name);
}

LLVMValueRef veer_emit_variable(veer_emit_t *e, LLVMTypeRef type) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->builder), entry = LLVMGetEntryBasicBlock(e->function);
    LLVMValueRef first = LLVMGetFirstInstruction(entry);
    if (first)
        LLVMPositionBuilderBefore(e->builder, first);
    else
        LLVMPositionBuilderAtEnd(e->builder, entry);
    LLVMValueRef variable = LLVMBuildAlloca(e->builder, type, "");
    LLVMPositionBuilderAtEnd(e->builder, here);
    return variable;
}

/* Tested at the top, so an empty range does nothing. */
veer_emit_branch_t veer_emit_if(veer_emit_t *e, LLVMValueRef condition) {
    LLVMBasicBlockRef yes = veer_emit_block(e, "yes");
    veer_emit_branch_t branch = {.otherwise = veer_emit_block(e, "otherwise")};
    LLVMBuildCondBr(e->builder, condition, yes, branch.otherwise);
    LLVMPositionBuilderAtEnd(e->builder, yes);
    return branch;
}

void veer_emit_else(veer_emit_t *e, veer_emit_branch_t *branch) {
    branch->after = veer_emit_block(e, "both");
    LLVMBuildBr(e->builder, branch->after);
    LLVMPositionBuilderAtEnd(e->builder, branch->otherwise);
}

void veer_emit_endif(veer_emit_t *e, veer_emit_branch_t *branch) {
    LLVMBasicBlockRef after = branch->after ? branch->after : branch->otherwise;
    LLVMBuildBr(e->builder, after);
    LLVMPositionBuilderAtEnd(e->builder, after);
}

veer_emit_loop_t veer_emit_loop_begin(veer_emit_t *e, LLVMValueRef begin, LLVMValueRef end, int64_t step) {
    veer_emit_loop_t loop = {.end = end, .step = step};
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), inside = veer_emit_block(e, "body");
    loop.body = veer_emit_block(e, "loop");
    loop.done = veer_emit_block(e, "done");
    LLVMBuildBr(e->builder, loop.body);
    LLVMPositionBuilderAtEnd(e->builder, loop.body);
    loop.i = LLVMBuildPhi(e->builder, e->i64, "i");
    LLVMAddIncoming(loop.i, &begin, &before, 1);
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, loop.i, end, ""), inside, loop.done);
    LLVMPositionBuilderAtEnd(e->builder, inside);
    return loop;
}

void veer_emit_loop_end(veer_emit_t *e, veer_emit_loop_t *loop) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->builder);
    LLVMValueRef next = LLVMBuildNSWAdd(e->builder, loop->i, veer_emit_i64(e, loop->step), "");
    LLVMBuildBr(e->builder, loop->body);
    LLVMAddIncoming(loop->i, &next, &here, 1);
    LLVMPositionBuilderAtEnd(e->builder, loop->done);
}
