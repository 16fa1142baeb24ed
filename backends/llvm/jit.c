#include "backends/llvm/jit.h"

#include "backends/llvm/amx.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two threads compile, each one unit of either kind: the first two are optimised in full, the others lightly. */
enum { THREADS = 2, UNITS = 2 * THREADS, NAME_BYTES = 24 };

/* A module on its way to an object: contexts are not shared, so each unit can compile in a thread of its own. */
typedef struct unit_s {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMTargetMachineRef machine;
    LLVMMemoryBufferRef object;
    char *message; /* of LLVM, where compiling failed */
    double weight;
} unit_t;

typedef struct symbol_s {
    char name[NAME_BYTES];
    veer_kernel_fn fn;
} symbol_t;

typedef struct known_s {
    uint64_t hash;
    size_t key_bytes;
    void *key;
    veer_llvm_kernel_t kernel;
} known_t;

/* Data that kernels read, by what it was made of. */
typedef struct constant_s {
    size_t key_bytes;
    void *key, *data;
} constant_t;

/* Constants lie close together in large slabs, which can have huge pages. */
typedef struct slab_s {
    char *data;
    size_t size_bytes, used_bytes;
} slab_t;

struct veer_llvm_s {
    veer_allocator_t allocator;
    veer_llvm_store_t store;
    char *triple, *cpu, *features; /* LLVM's strings */
    LLVMTargetRef target;
    LLVMOrcLLJITRef jit;
    int lanes, registers;
    bool has_amx, strict;
    unit_t units[UNITS];
    symbol_t *symbols;
    int symbol_count, symbol_room, finished_count;
    LLVMMemoryBufferRef *objects;
    int object_count, object_room;
    known_t *known;
    int known_count, known_room;
    constant_t *constants;
    int constant_count, constant_room;
    slab_t *slabs; /* the last is being filled */
    int slab_count, slab_room;
    size_t slab_bytes; /* of all */
};

/* Makes room for one more entry; false when out of memory. */
static bool grow(veer_allocator_t a, void **array, int count, int *room, size_t size) {
    if (count < *room) return true;
    int wanted = *room ? *room * 2 : 64;
    void *bigger = veer_alloc_array(a, (size_t)wanted, size);
    if (!bigger) return false;
    if (count) memcpy(bigger, *array, (size_t)count * size);
    veer_free(a, *array);
    *array = bigger;
    *room = wanted;
    return true;
}

/* ---- create ---- */
static veer_status_t from_llvm_error(const char *what, LLVMErrorRef error) {
    char *text = LLVMGetErrorMessage(error);
    veer_status_t status = veer_error(VEER_ERR_FAILED, "LLVM: %s: %s", what, text);
    LLVMDisposeErrorMessage(text);
    return status;
}

static void init_target_once(void) {
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    LLVMInitializeNativeAsmParser();
}

static LLVMTargetMachineRef make_machine(const veer_llvm_t *llvm) {
    return LLVMCreateTargetMachine(llvm->target, llvm->triple, llvm->cpu, llvm->features, LLVMCodeGenLevelDefault,
                                   LLVMRelocPIC, LLVMCodeModelDefault);
}

/* What a 512-bit, 256-bit or other machine is, by its feature list. A named CPU is asked for by its level only. */
static int lanes_of(const char *cpu, const char *features) {
    if (strstr(features, "+avx512f")) return 16;
    if (strstr(features, "+avx2")) return 8;
    if (strcmp(cpu, "x86-64-v4") == 0) return 16;
    if (strcmp(cpu, "x86-64-v3") == 0) return 8;
    return 4;
}

static int registers_of(const char *triple, int lanes) {
    return strncmp(triple, "aarch64", 7) == 0 || lanes == 16 ? 32 : 16;
}

static veer_status_t choose_target(veer_llvm_t *llvm, const char *cpu) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_target_once);
    llvm->triple = LLVMGetDefaultTargetTriple();
    llvm->cpu = cpu ? LLVMCreateMessage(cpu) : LLVMGetHostCPUName();
    llvm->features = cpu ? LLVMCreateMessage("") : LLVMGetHostCPUFeatures();
    char *message = NULL;
    if (LLVMGetTargetFromTriple(llvm->triple, &llvm->target, &message)) {
        veer_status_t status =
            veer_error(VEER_ERR_CONFIG, "LLVM has no code generator for %s: %s", llvm->triple, message);
        LLVMDisposeMessage(message);
        return status;
    }
    llvm->lanes = lanes_of(llvm->cpu, llvm->features);
    llvm->registers = registers_of(llvm->triple, llvm->lanes);
    llvm->has_amx = llvm->lanes == VEER_AMX_ROW_FLOATS && strstr(llvm->features, "+amx-tile") &&
                    strstr(llvm->features, "+amx-bf16") && veer_amx_permitted();
    return veer_ok();
}

static veer_status_t make_jit(veer_llvm_t *llvm) {
    LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
    LLVMTargetMachineRef machine = make_machine(llvm);
    if (!machine) return veer_error(VEER_ERR_CONFIG, "LLVM: no target machine for CPU '%s'", llvm->cpu);
    LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(builder,
                                                  LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(machine));
    LLVMErrorRef error = LLVMOrcCreateLLJIT(&llvm->jit, builder);
    if (error) return from_llvm_error("no JIT", error);
    LLVMOrcDefinitionGeneratorRef process; /* memset, memcpy and libm */
    error = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(llvm->jit), NULL,
                                                                 NULL);
    if (error) return from_llvm_error("no symbols of the process", error);
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(llvm->jit), process);
    return veer_ok();
}

veer_status_t veer_llvm_create(veer_allocator_t allocator, const char *cpu, veer_llvm_t **out_llvm) {
    veer_llvm_t *llvm = veer_alloc(allocator, sizeof *llvm);
    if (!llvm) return veer_out_of_memory();
    llvm->allocator = allocator;
    veer_status_t status = choose_target(llvm, cpu);
    if (!status) status = make_jit(llvm);
    if (status)
        veer_llvm_destroy(llvm);
    else
        *out_llvm = llvm;
    return status;
}

void veer_llvm_set_strict(veer_llvm_t *llvm, bool strict) {
    llvm->strict = strict;
}

void veer_llvm_use_store(veer_llvm_t *llvm, const veer_llvm_store_t *store) {
    llvm->store = *store;
}

static void unit_deinit(unit_t *unit) {
    if (unit->builder) LLVMDisposeBuilder(unit->builder);
    if (unit->module) LLVMDisposeModule(unit->module);
    if (unit->context) LLVMContextDispose(unit->context);
    if (unit->machine) LLVMDisposeTargetMachine(unit->machine);
    if (unit->object) LLVMDisposeMemoryBuffer(unit->object);
    if (unit->message) LLVMDisposeMessage(unit->message);
    *unit = (unit_t){0};
}

void veer_llvm_destroy(veer_llvm_t *llvm) {
    if (!llvm) return;
    veer_allocator_t a = llvm->allocator;
    for (int i = 0; i < UNITS; i++) unit_deinit(&llvm->units[i]);
    for (int i = 0; i < llvm->object_count; i++) LLVMDisposeMemoryBuffer(llvm->objects[i]);
    for (int i = 0; i < llvm->known_count; i++) veer_free(a, llvm->known[i].key);
    for (int i = 0; i < llvm->constant_count; i++) veer_free(a, llvm->constants[i].key);
    for (int i = 0; i < llvm->slab_count; i++) veer_free(a, llvm->slabs[i].data);
    veer_free(a, llvm->slabs);
    if (llvm->jit) LLVMConsumeError(LLVMOrcDisposeLLJIT(llvm->jit));
    if (llvm->triple) LLVMDisposeMessage(llvm->triple);
    if (llvm->cpu) LLVMDisposeMessage(llvm->cpu);
    if (llvm->features) LLVMDisposeMessage(llvm->features);
    veer_free(a, llvm->objects);
    veer_free(a, llvm->known);
    veer_free(a, llvm->constants);
    veer_free(a, llvm->symbols);
    veer_free(a, llvm);
}

/* ---- emission ---- */
static veer_status_t unit_init(const veer_llvm_t *llvm, unit_t *unit) {
    if (unit->module) return veer_ok();
    unit->machine = make_machine(llvm);
    if (!unit->machine) return veer_error(VEER_ERR_CONFIG, "LLVM: no target machine for CPU '%s'", llvm->cpu);
    unit->context = LLVMContextCreate();
    unit->module = LLVMModuleCreateWithNameInContext("veer", unit->context);
    unit->builder = LLVMCreateBuilderInContext(unit->context);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(unit->machine);
    LLVMSetModuleDataLayout(unit->module, layout);
    LLVMDisposeTargetData(layout);
    LLVMSetTarget(unit->module, llvm->triple);
    return veer_ok();
}

static void add_attribute(veer_jit_kernel_t *k, LLVMAttributeIndex index, const char *name) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(k->emit.function, index, LLVMCreateEnumAttribute(k->emit.context, kind, 0));
}

static LLVMValueRef argument(veer_jit_kernel_t *k, LLVMTypeRef type, size_t offset) {
    veer_emit_t *e = &k->emit;
    LLVMValueRef at = veer_emit_i64(e, (int64_t)offset);
    LLVMValueRef address = LLVMBuildGEP2(e->builder, e->i8, LLVMGetParam(e->function, 0), &at, 1, "");
    return LLVMBuildLoad2(e->builder, type, address, "");
}

veer_status_t veer_jit_begin(veer_llvm_t *llvm, veer_jit_effort_t effort, veer_jit_kernel_t *out_kernel) {
    if (!grow(llvm->allocator, (void **)&llvm->symbols, llvm->symbol_count, &llvm->symbol_room, sizeof *llvm->symbols))
        return veer_out_of_memory();
    int u = effort == VEER_JIT_LIGHT ? THREADS : 0;
    for (int i = u + 1, end = u + THREADS; i < end; i++)
        if (llvm->units[i].weight < llvm->units[u].weight) u = i;
    unit_t *unit = &llvm->units[u];
    VEER_TRY(unit_init(llvm, unit));
    veer_jit_kernel_t k = {.id = llvm->symbol_count, .unit = u};
    symbol_t *symbol = &llvm->symbols[llvm->symbol_count++];
    *symbol = (symbol_t){.fn = NULL};
    snprintf(symbol->name, sizeof symbol->name, "veer_k%d", k.id);
    veer_emit_init(&k.emit, unit->context, unit->module, unit->builder);
    LLVMTypeRef type = LLVMFunctionType(k.emit.i32, &k.emit.ptr, 1, 0);
    k.emit.function = LLVMAddFunction(unit->module, symbol->name, type);
    add_attribute(&k, LLVMAttributeFunctionIndex, "nounwind");
    add_attribute(&k, 1, "readonly");
    add_attribute(&k, 1, "noalias");
    LLVMPositionBuilderAtEnd(unit->builder, veer_emit_block(&k.emit, "entry"));
    k.bufs = argument(&k, k.emit.ptr, offsetof(veer_kernel_args_t, buf));
    k.begin = argument(&k, k.emit.i64, offsetof(veer_kernel_args_t, begin));
    k.end = argument(&k, k.emit.i64, offsetof(veer_kernel_args_t, end));
    k.scratch = argument(&k, k.emit.ptr, offsetof(veer_kernel_args_t, scratch));
    k.next = argument(&k, k.emit.ptr, offsetof(veer_kernel_args_t, next));
    k.continues = argument(&k, k.emit.i64, offsetof(veer_kernel_args_t, continues));
    k.again = argument(&k, k.emit.i64, offsetof(veer_kernel_args_t, again));
    *out_kernel = k;
    return veer_ok();
}

LLVMValueRef veer_jit_buffer(veer_jit_kernel_t *kernel, int i) {
    veer_emit_t *e = &kernel->emit;
    LLVMValueRef at = veer_emit_i64(e, i), slot = LLVMBuildGEP2(e->builder, e->ptr, kernel->bufs, &at, 1, "");
    return LLVMBuildLoad2(e->builder, e->ptr, slot, "");
}

void veer_jit_end(veer_llvm_t *llvm, veer_jit_kernel_t *kernel, LLVMValueRef result, double weight) {
    veer_emit_t *e = &kernel->emit;
    LLVMBuildRet(e->builder, result ? result : LLVMConstInt(e->i32, VEER_KERNEL_OK, 0));
    llvm->units[kernel->unit].weight += weight;
}

/* ---- kernels known by structure ---- */
static uint64_t hash_bytes(const void *bytes, size_t count) { /* FNV-1a */
    const unsigned char *p = bytes;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

bool veer_jit_find(const veer_llvm_t *llvm, const void *key, size_t key_bytes, veer_llvm_kernel_t *out_kernel) {
    uint64_t hash = hash_bytes(key, key_bytes);
    for (int i = 0; i < llvm->known_count; i++) {
        const known_t *k = &llvm->known[i];
        if (k->hash != hash || k->key_bytes != key_bytes || memcmp(k->key, key, key_bytes)) continue;
        *out_kernel = k->kernel;
        return true;
    }
    return false;
}

veer_status_t veer_jit_remember(veer_llvm_t *llvm, const void *key, size_t key_bytes,
                                const veer_llvm_kernel_t *kernel) {
    if (!grow(llvm->allocator, (void **)&llvm->known, llvm->known_count, &llvm->known_room, sizeof *llvm->known))
        return veer_out_of_memory();
    void *copy = veer_alloc(llvm->allocator, key_bytes);
    if (!copy) return veer_out_of_memory();
    memcpy(copy, key, key_bytes);
    llvm->known[llvm->known_count++] = (known_t){hash_bytes(key, key_bytes), key_bytes, copy, *kernel};
    return veer_ok();
}

/* A new slab is a quarter of all before it: little is left over at the end of the last. */
static bool add_slab(veer_llvm_t *llvm, size_t at_least) {
    enum { LEAST_BYTES = 4 << 20, MOST_BYTES = 32 << 20 };
    size_t wanted = llvm->slab_bytes / 4;
    if (wanted < LEAST_BYTES) wanted = LEAST_BYTES;
    if (wanted > MOST_BYTES) wanted = MOST_BYTES;
    if (wanted < at_least) wanted = at_least;
    if (!grow(llvm->allocator, (void **)&llvm->slabs, llvm->slab_count, &llvm->slab_room, sizeof *llvm->slabs))
        return false;
    slab_t slab = {.data = veer_alloc(llvm->allocator, wanted), .size_bytes = wanted};
    if (!slab.data) return false;
    llvm->slabs[llvm->slab_count++] = slab;
    llvm->slab_bytes += wanted;
    return true;
}

static void *alloc_constant(veer_llvm_t *llvm, size_t size_bytes) {
    enum { ALIGNMENT = 64 };
    size_t rounded;
    if (!veer_size_add(size_bytes, ALIGNMENT - 1, &rounded)) return NULL;
    rounded &= ~(size_t)(ALIGNMENT - 1);
    slab_t *slab = llvm->slab_count ? &llvm->slabs[llvm->slab_count - 1] : NULL;
    if (!slab || rounded > slab->size_bytes - slab->used_bytes) {
        if (!add_slab(llvm, rounded)) return NULL;
        slab = &llvm->slabs[llvm->slab_count - 1];
    }
    void *data = slab->data + slab->used_bytes;
    slab->used_bytes += rounded;
    return data;
}

veer_status_t veer_jit_constant(veer_llvm_t *llvm, const void *key, size_t key_bytes, size_t size_bytes,
                                void **out_data, bool *out_is_new) {
    for (int i = 0; i < llvm->constant_count; i++) {
        const constant_t *c = &llvm->constants[i];
        if (c->key_bytes != key_bytes || memcmp(c->key, key, key_bytes) != 0) continue;
        *out_data = c->data, *out_is_new = false;
        return veer_ok();
    }
    if (!grow(llvm->allocator, (void **)&llvm->constants, llvm->constant_count, &llvm->constant_room,
              sizeof *llvm->constants))
        return veer_out_of_memory();
    constant_t c = {key_bytes, veer_alloc(llvm->allocator, key_bytes), alloc_constant(llvm, size_bytes)};
    if (!c.key || !c.data) {
        veer_free(llvm->allocator, c.key);
        return veer_out_of_memory();
    }
    memcpy(c.key, key, key_bytes);
    llvm->constants[llvm->constant_count++] = c;
    *out_data = c.data, *out_is_new = true;
    return veer_ok();
}

veer_allocator_t veer_jit_allocator(const veer_llvm_t *llvm) {
    return llvm->allocator;
}

/* ---- compilation ---- */

/* Where each kernel is written as it should be, cleaning up is enough, and what else O3 does takes most of the time. */
static const char LIGHT[] =
    "function(sroa,early-cse,simplifycfg,instcombine<no-verify-fixpoint>,loop-mssa(licm),early-cse)";

static void optimise_unit(unit_t *unit, const char *passes) {
    if (LLVMVerifyModule(unit->module, LLVMReturnStatusAction, &unit->message)) return;
    LLVMDisposeMessage(unit->message);
    unit->message = NULL;
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    /* kernels are written as vectors already */
    LLVMPassBuilderOptionsSetLoopVectorization(options, 0);
    LLVMPassBuilderOptionsSetSLPVectorization(options, 0);
    LLVMPassBuilderOptionsSetLoopUnrolling(options, 0); /* values span several registers: unrolling gains nothing */
    LLVMErrorRef error = LLVMRunPasses(unit->module, passes, unit->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (error) {
        char *text = LLVMGetErrorMessage(error);
        unit->message = LLVMCreateMessage(text);
        LLVMDisposeErrorMessage(text);
        return;
    }
    LLVMTargetMachineEmitToMemoryBuffer(unit->machine, unit->module, LLVMObjectFile, &unit->message, &unit->object);
}

/* All that the object of a unit depends on: what compiles, for what, how, and the module itself as bitcode. NULL: out
 * of memory. */
static char *unit_key(const veer_llvm_t *llvm, const unit_t *unit, const char *passes, size_t *out_bytes) {
    LLVMMemoryBufferRef bitcode = LLVMWriteBitcodeToMemoryBuffer(unit->module);
    const char *parts[] = {"llvm object", veer_llvm_version(), llvm->triple, llvm->cpu, llvm->features, passes};
    size_t bytes = LLVMGetBufferSize(bitcode), at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) bytes += strlen(parts[i]) + 1;
    char *key = veer_alloc(llvm->allocator, bytes);
    for (size_t i = 0; key && i < sizeof parts / sizeof *parts; at += strlen(parts[i++]) + 1)
        strcpy(key + at, parts[i]);
    if (key) memcpy(key + at, LLVMGetBufferStart(bitcode), bytes - at);
    LLVMDisposeMemoryBuffer(bitcode);
    *out_bytes = bytes;
    return key;
}

static LLVMMemoryBufferRef stored_object(const veer_llvm_t *llvm, const char *key, size_t key_bytes) {
    void *bytes;
    size_t count;
    if (!key || !llvm->store.find(llvm->store.user, key, key_bytes, &bytes, &count)) return NULL;
    LLVMMemoryBufferRef object = LLVMCreateMemoryBufferWithMemoryRangeCopy(bytes, count, "veer.o");
    veer_free(llvm->allocator, bytes);
    return object;
}

static void compile_unit(const veer_llvm_t *llvm, unit_t *unit, const char *passes) {
    if (!unit->module) return;
    if (!llvm->store.find) {
        optimise_unit(unit, passes);
        return;
    }
    size_t key_bytes;
    char *key = unit_key(llvm, unit, passes, &key_bytes);
    unit->object = stored_object(llvm, key, key_bytes);
    if (!unit->object) {
        optimise_unit(unit, passes);
        if (key && unit->object)
            llvm->store.keep(llvm->store.user, key, key_bytes, LLVMGetBufferStart(unit->object),
                             LLVMGetBufferSize(unit->object));
    }
    veer_free(llvm->allocator, key);
}

typedef struct pair_s {
    const veer_llvm_t *llvm;
    unit_t *first;
} pair_t;

static void *compile_pair(void *arg) {
    const pair_t *pair = arg;
    compile_unit(pair->llvm, pair->first, "default<O3>");
    compile_unit(pair->llvm, pair->first + THREADS, LIGHT);
    return NULL;
}

static void compile_units(veer_llvm_t *llvm) {
    pthread_t thread;
    pair_t pairs[THREADS] = {{llvm, &llvm->units[0]}, {llvm, &llvm->units[1]}};
    bool both = llvm->units[1].module || llvm->units[1 + THREADS].module;
    bool started = both && pthread_create(&thread, NULL, compile_pair, &pairs[1]) == 0;
    compile_pair(&pairs[0]);
    if (started)
        pthread_join(thread, NULL);
    else if (both)
        compile_pair(&pairs[1]);
}

/* The JIT takes a copy; the object stays for whoever writes an artefact. */
static veer_status_t take_object(veer_llvm_t *llvm, unit_t *unit) {
    if (!unit->object) return veer_error(VEER_ERR_FAILED, "LLVM: %s", unit->message ? unit->message : "no object");
    if (!grow(llvm->allocator, (void **)&llvm->objects, llvm->object_count, &llvm->object_room, sizeof *llvm->objects))
        return veer_out_of_memory();
    LLVMMemoryBufferRef copy = LLVMCreateMemoryBufferWithMemoryRangeCopy(LLVMGetBufferStart(unit->object),
                                                                         LLVMGetBufferSize(unit->object), "veer.o");
    LLVMErrorRef error = LLVMOrcLLJITAddObjectFile(llvm->jit, LLVMOrcLLJITGetMainJITDylib(llvm->jit), copy);
    if (error) return from_llvm_error("object refused", error);
    llvm->objects[llvm->object_count++] = unit->object;
    unit->object = NULL;
    return veer_ok();
}

static veer_status_t look_up(veer_llvm_t *llvm) {
    for (; llvm->finished_count < llvm->symbol_count; llvm->finished_count++) {
        symbol_t *symbol = &llvm->symbols[llvm->finished_count];
        LLVMOrcExecutorAddress address = 0;
        LLVMErrorRef error = LLVMOrcLLJITLookup(llvm->jit, &address, symbol->name);
        if (error) return from_llvm_error(symbol->name, error);
        symbol->fn = (veer_kernel_fn)(uintptr_t)address;
    }
    return veer_ok();
}

veer_status_t veer_llvm_finish(veer_llvm_t *llvm) {
    compile_units(llvm);
    veer_status_t status = veer_ok();
    for (int i = 0; i < UNITS; i++) {
        if (llvm->units[i].module && !status) status = take_object(llvm, &llvm->units[i]);
        unit_deinit(&llvm->units[i]);
    }
    return status ? status : look_up(llvm);
}

/* ---- queries ---- */
veer_kernel_fn veer_llvm_symbol(const veer_llvm_t *llvm, int id) {
    return id >= 0 && id < llvm->symbol_count ? llvm->symbols[id].fn : NULL;
}

const char *veer_llvm_symbol_name(const veer_llvm_t *llvm, int id) {
    return id >= 0 && id < llvm->symbol_count ? llvm->symbols[id].name : "";
}

int veer_llvm_object_count(const veer_llvm_t *llvm) {
    return llvm->object_count;
}

const void *veer_llvm_object(const veer_llvm_t *llvm, int i, size_t *out_bytes) {
    *out_bytes = LLVMGetBufferSize(llvm->objects[i]);
    return LLVMGetBufferStart(llvm->objects[i]);
}

int veer_llvm_lanes(const veer_llvm_t *llvm) {
    return llvm->lanes;
}

int veer_jit_registers(const veer_llvm_t *llvm) {
    return llvm->registers;
}

bool veer_jit_has_amx(const veer_llvm_t *llvm) {
    return llvm->has_amx;
}

double veer_llvm_unit_share(const veer_llvm_t *llvm) {
    return veer_jit_has_amx(llvm) ? veer_amx_share() : 1;
}

bool veer_jit_is_strict(const veer_llvm_t *llvm) {
    return llvm->strict;
}

const char *veer_llvm_version(void) {
    static _Thread_local char text[48];
    unsigned major = 0, minor = 0, patch = 0;
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(text, sizeof text, "%u.%u.%u", major, minor, patch);
    return text;
}
