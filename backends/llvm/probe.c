#include "backends/llvm/jit.h"
#include "backends/llvm/vmath.h"
#include "backends/llvm/vrandom.h"

/* buf[i] + item * lanes elements of 4 bytes. */
static LLVMValueRef lane_address(veer_emit_t *e, LLVMValueRef base, LLVMValueRef item, int64_t lanes) {
    LLVMValueRef at = LLVMBuildMul(e->builder, item, veer_emit_i64(e, lanes), "");
    return LLVMBuildGEP2(e->builder, e->f32, base, &at, 1, "");
}

static LLVMValueRef load(veer_emit_t *e, LLVMTypeRef type, LLVMValueRef address) {
    LLVMValueRef v = LLVMBuildLoad2(e->builder, type, address, "");
    LLVMSetAlignment(v, 4);
    return v;
}

static void store(veer_emit_t *e, LLVMValueRef v, LLVMValueRef address) {
    LLVMSetAlignment(LLVMBuildStore(e->builder, v, address), 4);
}

static LLVMValueRef element(veer_emit_t *e, LLVMTypeRef type, LLVMValueRef base, int64_t i) {
    LLVMValueRef at = veer_emit_i64(e, i);
    return load(e, type, LLVMBuildGEP2(e->builder, type, base, &at, 1, ""));
}

static void write_function(veer_jit_kernel_t *k, veer_llvm_probe_t probe, veer_op_t op, LLVMValueRef item, int lanes) {
    veer_emit_t *e = &k->emit;
    LLVMTypeRef type = veer_emit_vector(e->f32, (unsigned)lanes);
    LLVMValueRef x = load(e, type, lane_address(e, veer_jit_buffer(k, 0), item, lanes)), y;
    if (probe == VEER_LLVM_PROBE_POW)
        y = veer_vmath_pow(e, x, load(e, type, lane_address(e, veer_jit_buffer(k, 1), item, lanes)));
    else if (probe == VEER_LLVM_PROBE_GELU_TANH)
        y = veer_vmath_gelu_tanh(e, x);
    else if (probe == VEER_LLVM_PROBE_EXP2)
        y = veer_vmath_exp2_negative(e, LLVMBuildFNeg(e->builder, veer_emit_unary_intrinsic(e, "llvm.fabs", x), ""));
    else
        y = veer_vmath_unary(e, op, x);
    store(e, y, lane_address(e, veer_jit_buffer(k, probe == VEER_LLVM_PROBE_POW ? 2 : 1), item, lanes));
}

static void write_random(veer_jit_kernel_t *k, bool gaussian, LLVMValueRef item, int lanes) {
    veer_emit_t *e = &k->emit;
    LLVMValueRef seed = veer_jit_buffer(k, 0), words = veer_jit_buffer(k, 1), out = veer_jit_buffer(k, 2);
    LLVMValueRef key[2] = {element(e, e->i32, seed, 0), element(e, e->i32, seed, 1)};
    LLVMValueRef first =
        LLVMBuildTrunc(e->builder, LLVMBuildMul(e->builder, item, veer_emit_i64(e, lanes), ""), e->i32, "");
    LLVMValueRef block = veer_emit_splat(e, first, (unsigned)lanes), c[4] = {0};
    block = LLVMBuildAdd(e->builder, block, veer_emit_iota(e->i32, (unsigned)lanes), "");
    c[0] = block;
    for (int i = 1; i < 4; i++) c[i] = veer_emit_splat(e, element(e, e->i32, words, i - 1), (unsigned)lanes);
    LLVMValueRef z[4];
    if (gaussian)
        veer_vrandom_block(e, block, c[1], c[2], 0, key, z);
    else
        veer_vrandom_philox(e, c, key);
    LLVMValueRef base = lane_address(e, out, item, 4 * lanes);
    for (int lane = 0; lane < lanes; lane++)
        for (int i = 0; i < 4; i++) {
            LLVMValueRef v = gaussian ? z[i] : c[i], at = veer_emit_i64(e, 4 * lane + i);
            if (lanes > 1) v = LLVMBuildExtractElement(e->builder, v, LLVMConstInt(e->i32, (unsigned)lane, 0), "");
            store(e, v, LLVMBuildGEP2(e->builder, e->f32, base, &at, 1, ""));
        }
}

veer_status_t veer_llvm_emit_probe(veer_llvm_t *llvm, veer_llvm_probe_t probe, veer_op_t op, int lanes,
                                   veer_llvm_kernel_t *out_kernel) {
    bool random = probe == VEER_LLVM_PROBE_PHILOX || probe == VEER_LLVM_PROBE_GAUSSIAN;
    if (probe == VEER_LLVM_PROBE_UNARY && !veer_vmath_has(op))
        return veer_error(VEER_ERR_UNSUPPORTED, "llvm: no vector function for op %d", (int)op);
    veer_jit_kernel_t k;
    VEER_TRY(veer_jit_begin(llvm, VEER_JIT_FULL, &k));
    veer_emit_loop_t loop = veer_emit_loop_begin(&k.emit, k.begin, k.end, 1);
    if (random)
        write_random(&k, probe == VEER_LLVM_PROBE_GAUSSIAN, loop.i, lanes);
    else
        write_function(&k, probe, op, loop.i, lanes);
    veer_emit_loop_end(&k.emit, &loop);
    veer_jit_end(llvm, &k, NULL, 100);
    *out_kernel = (veer_llvm_kernel_t){.id = k.id, .work_items = 1};
    return veer_ok();
}
