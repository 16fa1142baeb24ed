/* What tests of kernels of the LLVM backend share: a suite of cases that are emitted first, compiled together and then
 * run. Included once, behind the test's own
 *
 *     enum { MAX_CASES = ... };
 *     static const uint32_t SEED = ...;
 *     typedef struct case_s { ...; veer_graph_t *g; veer_func_t func; veer_node_t node;
 *                              veer_llvm_kernel_t kernel; } case_t;
 *
 * which then defines run_case, and uses input, constant and run_all; conv_case.h does so for convolutions,
 * region_case.h for regions of ordinary ops. */
#ifndef VEER_TESTS_SUPPORT_LLVM_SUITE_H
#define VEER_TESTS_SUPPORT_LLVM_SUITE_H

enum { MAX_IO = 12, GUARD = 64 }; /* operands or results of a case; bytes before and behind a result */

typedef struct suite_s {
    veer_llvm_t *llvm;
    case_t cases[MAX_CASES];
    int count;
    uint32_t random;
} suite_t;

static const char *cpu; /* the target; NULL: this machine */

static void run_case(suite_t *s, const case_t *c);

static void check(veer_status_t status) {
    if (status) print_error("%s\n", veer_status_message(status, 0));
    assert_null(status);
}

static uint32_t next(suite_t *s) {
    s->random ^= s->random << 13, s->random ^= s->random >> 17, s->random ^= s->random << 5;
    return s->random;
}

/* Numbers from `low` to `high`, of integer types rounded down; bools of either kind. The caller releases them. */
static void *filled_within(suite_t *s, veer_type_t type, double low, double high) {
    void *data = veer_alloc(veer_allocator_system(), veer_type_bytes(&type) + 1);
    assert_non_null(data);
    for (int64_t i = 0; i < veer_type_count(&type); i++) {
        double u = next(s) * 0x1p-32, x = low + (high - low) * u;
        switch (type.dtype) {
        case VEER_DTYPE_F32: ((float *)data)[i] = (float)x; break;
        case VEER_DTYPE_F64: ((double *)data)[i] = x; break;
        case VEER_DTYPE_I64: ((int64_t *)data)[i] = (int64_t)floor(x); break;
        case VEER_DTYPE_I32: ((int32_t *)data)[i] = (int32_t)floor(x); break;
        case VEER_DTYPE_BOOL: ((uint8_t *)data)[i] = u < 0.5; break;
        default: ((uint8_t *)data)[i] = (uint8_t)floor(x); break;
        }
    }
    return data;
}

static inline float *filled(suite_t *s, veer_type_t type) {
    return filled_within(s, type, -1, 1);
}

static inline veer_value_t input(case_t *c, veer_type_t type) {
    veer_value_t v;
    check(veer_region_add_arg(c->g, veer_func_body(c->g, c->func), type, "", &v));
    return v;
}

/* The constant's bytes are the graph's. */
static inline veer_value_t constant(suite_t *s, case_t *c, veer_builder_t *b, veer_type_t type) {
    float *data = filled(s, type), *kept = veer_arena_copy(veer_graph_arena(c->g), data, veer_type_bytes(&type));
    veer_free(veer_allocator_system(), data);
    assert_non_null(kept);
    return veer_const(b, type, kept);
}

/* A case more, with a graph whose function the builder stands in. */
static inline case_t *begin_case(suite_t *s, case_t shape, veer_builder_t *out_builder) {
    assert_true(s->count < MAX_CASES);
    case_t *c = &s->cases[s->count++];
    *c = shape;
    check(veer_graph_create(veer_allocator_system(), &c->g));
    check(veer_graph_add_func(c->g, "f", &c->func));
    *out_builder = veer_builder_at_end(c->g, veer_func_body(c->g, c->func));
    return c;
}

enum { MAX_RESULTS = 3 };

/* The case's node is what `program` makes of the operands, one node or fused, and the function's results are its.
 * `program` writes them to `out` and returns their number. */
static inline void finish_case(case_t *c, veer_builder_t *b, veer_value_t *in, int count, bool fused,
                               int (*program)(const case_t *c, veer_builder_t *b, const veer_value_t *in,
                                              veer_value_t *out)) {
    veer_value_t out[MAX_RESULTS];
    if (fused) {
        c->node = veer_builder_fused(b, "contraction", in, count);
        check(veer_builder_status(b));
        veer_region_t body = veer_node_body(c->g, c->node);
        veer_builder_t inner = veer_builder_at_end(c->g, body);
        for (int i = 0; i < count; i++) in[i] = veer_region_arg(c->g, body, i);
        veer_builder_yield(&inner, out, program(c, &inner, in, out));
        check(veer_builder_status(&inner));
        veer_builder_fused_finish(b, c->node);
    } else {
        program(c, b, in, out);
        c->node = veer_value_def(c->g, out[0]);
    }
    check(veer_builder_status(b));
    int results = veer_node_out_count(c->g, c->node);
    for (int i = 0; i < results; i++) out[i] = veer_node_out(c->g, c->node, i);
    veer_builder_return(b, out, results);
    check(veer_builder_status(b));
}

static void run_all(suite_t *s) {
    check(veer_llvm_finish(s->llvm));
    for (int i = 0; i < s->count; i++) run_case(s, &s->cases[i]);
    print_message("%d kernels, %d objects\n", s->count, veer_llvm_object_count(s->llvm));
    assert_true(s->count > 0);
}

/* Random arguments of the case's function, and where the node finds its operands: there or in a constant. Returns
 * the arguments' number; the caller releases them. */
static inline int bind_within(suite_t *s, const case_t *c, double low, double high, veer_tensor_t in[MAX_IO],
                              void **bufs) {
    veer_region_t body = veer_func_body(c->g, c->func);
    int args = veer_region_arg_count(c->g, body);
    for (int i = 0; i < args; i++) {
        in[i].type = *veer_value_type(c->g, veer_region_arg(c->g, body, i));
        in[i].data = filled_within(s, in[i].type, low, high);
    }
    for (int i = 0; i < veer_node_in_count(c->g, c->node); i++) {
        veer_value_t v = veer_node_in(c->g, c->node, i);
        if (!v.i) continue;
        const void *data = veer_value_const_data(c->g, v);
        bufs[i] = data ? (void *)(uintptr_t)data : in[veer_value_def_index(c->g, v)].data;
    }
    return args;
}

static inline int bind(suite_t *s, const case_t *c, veer_tensor_t in[MAX_IO], void **bufs) {
    return bind_within(s, c, -1, 1, in, bufs);
}

/* A result of so many bytes inside of `out`, which has GUARD more on either side. */
static inline void *guarded(unsigned char *out, size_t bytes) {
    memset(out, 0xA5, bytes + 2 * GUARD);
    return out + GUARD;
}

static inline bool guards_hold(const unsigned char *out, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++)
        if (out[i] != 0xA5 || out[GUARD + bytes + i] != 0xA5) return false;
    return true;
}

static inline void expect_guards(const unsigned char *out, size_t bytes) {
    if (!guards_hold(out, bytes)) fail_msg("writes outside the result");
}

/* The group for this machine and for narrower vectors; gives the number of failures. */
static inline int run_targets(int (*run_group)(const char *name, const char *target)) {
    int failed = run_group("native", NULL);
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) failed += run_group("avx2", "x86-64-v3");
#endif
    return failed;
}

static int set_up(void **state) {
    suite_t *s = calloc(1, sizeof *s);
    s->random = SEED;
    check(veer_llvm_create(veer_allocator_system(), cpu, &s->llvm));
    *state = s;
    return 0;
}

static int tear_down(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < s->count; i++) veer_graph_destroy(s->cases[i].g);
    veer_llvm_destroy(s->llvm);
    free(s);
    return 0;
}

#endif
