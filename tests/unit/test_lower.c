/* Lowering: where values live. Programs whose buffers are easy to get wrong (views of carried values, results that are
 * arguments, one value given twice, stacked rows, loops in loops), against the evaluator, bit by bit; a checker that
 * follows every buffer through two iterations of every loop; failing allocations. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/compile.h"
#include "api/overlap.h"
#include "api/storage.h"
#include "backends/reference/reference.h"
#include "ir/parse.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/random_program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PORTS = 12 };

static veer_allocator_t memory(void) {
    return veer_allocator_system();
}

static void ok(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n%s\n", veer_status_message(status, 0), veer_status_details(status, 0));
    veer_status_free(status);
    fail_msg("unexpected error");
}

/* ---- programs as text ---- */

static const char *const programs[] = {
    /* an argument as a result, twice, and a view of it */
    "graph @f(%x: f32[2,3]) { %r = reshape %x {dims = [6]}  return %x, %x, %r }",
    /* one value given twice, and a part of it */
    "graph @f(%x: f32[4]) { %y = exp %x  %s = slice %y {starts = [1], sizes = [2], steps = [1]}  return %y, %y, %s }",
    /* a constant as a result */
    "graph @f(%x: f32[2]) { %c = const f32[2] [1, 2]  return %c, %x }",
    /* carried values that change places */
    "graph @f(%x: f32[3], %y: f32[3]) {\n"
    "  %a, %b = loop (%x, %y) {trip = 3} (%i: i64[], %p: f32[3], %q: f32[3]) { yield %q, %p }\n"
    "  return %a, %b }",
    /* three in a ring, one of them through a reshape */
    "graph @f(%x: f32[3], %y: f32[3], %z: f32[3]) {\n"
    "  %a, %b, %c = loop (%x, %y, %z) {trip = 4} (%i: i64[], %p: f32[3], %q: f32[3], %r: f32[3]) {\n"
    "    %v = reshape %q {dims = [1, 3]}  %w = reshape %v {dims = [3]}  yield %w, %r, %p }\n"
    "  return %a, %b, %c }",
    /* a part of one carried value becomes another, which was copied before */
    "graph @f(%t: f32[4,2], %y: f32[2]) {\n"
    "  %a, %b = loop (%t, %y) {trip = 3} (%i: i64[], %p: f32[4,2], %q: f32[2]) {\n"
    "    %n = exp %p  %s = slice %p {starts = [1, 0], sizes = [1, 2], steps = [1, 1]}\n"
    "    %r = reshape %s {dims = [2]}  yield %n, %r }\n"
    "  return %a, %b }",
    /* a row of a carried table becomes another carried value */
    "graph @f(%t: f32[4,2], %y: f32[2]) {\n"
    "  %a, %b = loop (%t, %y) {trip = 3} (%i: i64[], %p: f32[4,2], %q: f32[2]) {\n"
    "    %n = exp %p  %r = step_slice %p, %i  yield %n, %r }\n"
    "  return %a, %b }",
    /* the counter itself is carried */
    "graph @f(%k: i64[]) {\n"
    "  %a, %r = loop (%k) {trip = 3} (%i: i64[], %p: i64[]) { yield %i, %p }\n"
    "  return %a, %r }",
    /* stacked rows that are carried values, before and after they change, and a row of a table */
    "graph @f(%x: f32[2], %t: f32[3,2]) {\n"
    "  %a, %r, %s, %u = loop (%x) {trip = 3} (%i: i64[], %p: f32[2]) {\n"
    "    %n = add %p, %p  %row = step_slice %t, %i  yield %n, %p, %n, %row }\n"
    "  return %a, %r, %s, %u }",
    /* a loop in a loop: the inner one starts from what the outer one carries, stacks, and reads outer values */
    "graph @f(%x: f32[2], %t: f32[3,2]) {\n"
    "  %a, %r = loop (%x) {trip = 3} (%i: i64[], %p: f32[2]) {\n"
    "    %row = step_slice %t, %i\n"
    "    %b, %s = loop (%p) {trip = 2} (%j: i64[], %q: f32[2]) {\n"
    "      %m = mul %q, %row  %n = sub %m, %p  yield %n, %q }\n"
    "    %sum = reduce_sum %s {axes = [0], keepdims = 0}  %c = add %b, %sum  yield %c, %s }\n"
    "  return %a, %r }",
    /* the outer counter indexes a table inside the inner loop */
    "graph @f(%x: f32[2], %t: f32[3,2]) {\n"
    "  %a = loop (%x) {trip = 3} (%i: i64[], %p: f32[2]) {\n"
    "    %b = loop (%p) {trip = 2} (%j: i64[], %q: f32[2]) {\n"
    "      %row = step_slice %t, %i  %other = step_slice %t, %j  %m = mul %row, %other  %n = sub %q, %m  yield %n }\n"
    "    yield %b }\n"
    "  return %a }",
    /* a row of a table of tables: two counters */
    "graph @f(%x: f32[2], %t: f32[3,2,2]) {\n"
    "  %a = loop (%x) {trip = 3} (%i: i64[], %p: f32[2]) {\n"
    "    %rows = step_slice %t, %i\n"
    "    %b = loop (%p) {trip = 2} (%j: i64[], %q: f32[2]) {\n"
    "      %row = step_slice %rows, %j  %n = sub %q, %row  yield %n }\n"
    "    yield %b }\n"
    "  return %a }",
    /* one value starts two loops and is used behind them */
    "graph @f(%x: f32[2]) {\n"
    "  %y = exp %x\n"
    "  %a = loop (%y) {trip = 2} (%i: i64[], %p: f32[2]) { %n = add %p, %p  yield %n }\n"
    "  %b, %c = loop (%y, %y) {trip = 2} (%i: i64[], %p: f32[2], %q: f32[2]) { %n = mul %p, %q  yield %q, %n }\n"
    "  return %a, %b, %c, %y }",
    /* a loop that changes nothing, and one whose result nobody reads */
    "graph @f(%x: f32[2]) {\n"
    "  %a = loop (%x) {trip = 2} (%i: i64[], %p: f32[2]) { yield %p }\n"
    "  %b = loop (%x) {trip = 2} (%i: i64[], %p: f32[2]) { %n = exp %p  yield %n }\n"
    "  return %a }",
    /* a result that is a part of what a loop gives, next to the whole */
    "graph @f(%x: f32[4]) {\n"
    "  %a = loop (%x) {trip = 2} (%i: i64[], %p: f32[4]) { %n = neg %p  yield %n }\n"
    "  %s = slice %a {starts = [2], sizes = [2], steps = [1]}  return %s, %a }",
};

static void *pattern(const veer_type_t *type) {
    int64_t count = veer_type_count(type);
    char *data = veer_alloc(memory(), veer_type_bytes(type));
    for (int64_t i = 0; i < count; i++) {
        if (type->dtype == VEER_DTYPE_I64)
            ((int64_t *)(void *)data)[i] = 7 + i;
        else
            ((float *)(void *)data)[i] = 0.25f * (float)(i % 7) - 0.5f;
    }
    return data;
}

static void run_plan(const veer_plan_t *plan, void *const *in, void **out, int threads) {
    veer_exec_t *exec;
    ok(veer_exec_create(plan, &exec));
    for (int i = 0; i < veer_plan_input_count(plan); i++) veer_exec_bind_input(exec, i, in[i]);
    for (int i = 0; i < veer_plan_output_count(plan); i++) {
        size_t bytes = veer_type_bytes(veer_plan_output_type(plan, i));
        out[i] = veer_alloc(memory(), bytes);
        memset(out[i], 0xff, bytes);
        veer_exec_bind_output(exec, i, out[i]);
    }
    ok(veer_exec_run(exec, &(veer_run_options_t){.threads = threads}));
    veer_exec_destroy(exec);
}

static void check_program(const char *text, const char *backend) {
    veer_graph_t *g;
    veer_plan_t *plan;
    veer_tensor_t in[MOST_PORTS], want[MOST_PORTS];
    void *inputs[MOST_PORTS], *out[MOST_PORTS];
    ok(veer_graph_create(memory(), &g));
    ok(veer_parse(g, text, strlen(text), "program"));
    veer_func_t f = veer_graph_find_func(g, "f");
    veer_region_t body = veer_func_body(g, f);
    int args = veer_region_arg_count(g, body), results = veer_region_result_count(g, body);
    for (int i = 0; i < args; i++) {
        in[i].type = *veer_value_type(g, veer_region_arg(g, body, i));
        inputs[i] = in[i].data = pattern(&in[i].type);
    }
    ok(veer_reference_eval(g, f, in, args, memory(), want, results));
    ok(veer_compile_func(g, f, &(veer_compile_options_t){.backend = backend, .passes = ""}, memory(), &plan));
    run_plan(plan, inputs, out, 1);
    for (int i = 0; i < results; i++) {
        if (memcmp(out[i], want[i].data, veer_type_bytes(&want[i].type)))
            fail_msg("%s: result %d differs from the evaluator's:\n%s", backend, i, text);
        veer_free(memory(), out[i]);
        veer_free(memory(), want[i].data);
    }
    for (int i = 0; i < args; i++) veer_free(memory(), in[i].data);
    veer_plan_destroy(plan);
    veer_graph_destroy(g);
}

static void programs_give_the_evaluators_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) check_program(programs[i], "reference");
}

/* ---- no two live values overlap ---- */

/* Which value's contents lie where, as execution goes on: one entry per 64 bytes of the arena and of each output. Every
 * value that owns a buffer stamps it when it is written; whoever reads a value, or a view into it, must find its stamp.
 */
typedef struct shadow_s {
    const veer_graph_t *g;
    const veer_storage_t *s;
    uint32_t *arena, *outputs[MOST_PORTS];
    bool *written; /* by value id: constants and inputs have no stamps */
    veer_overlap_t overlap;
    veer_node_t last[VEER_OVERLAP_MOST]; /* kernels, the latest first */
    int overlaps, pairs;
} shadow_t;

static size_t granules(const veer_graph_t *g, veer_value_t v) {
    return (veer_type_bytes(veer_value_type(g, v)) + 63) / 64;
}

static uint32_t *place(const shadow_t *h, veer_value_t v) {
    veer_buf_t buf = veer_storage_of(h->s, v);
    if (buf.kind == VEER_BUF_ARENA) return h->arena + buf.at / 64;
    return buf.kind == VEER_BUF_OUTPUT ? h->outputs[buf.at] : NULL;
}

static void stamp(shadow_t *h, veer_value_t v) {
    uint32_t *at = place(h, v);
    assert_non_null(at);
    if (veer_storage_of(h->s, v).kind == VEER_BUF_ARENA)
        assert_true((size_t)veer_storage_of(h->s, v).at + veer_type_bytes(veer_value_type(h->g, v)) <=
                    h->s->arena_bytes);
    for (size_t i = 0; i < granules(h->g, v); i++) at[i] = v.i;
    h->written[v.i] = true;
}

/* The value whose buffer v lies in. */
static veer_value_t owner(const shadow_t *h, veer_value_t v) {
    for (veer_node_t def; (def = veer_value_def(h->g, v)).i;) {
        if (veer_node_op(h->g, def) == VEER_OP_LOOP) {
            int i = veer_value_def_index(h->g, v);
            return i < veer_node_in_count(h->g, def) ? veer_region_arg(h->g, veer_node_body(h->g, def), i + 1) : v;
        }
        if (!h->s->is_view[def.i] || !veer_node_in_count(h->g, def)) return v;
        v = veer_node_in(h->g, def, 0);
    }
    return v;
}

static void expect(shadow_t *h, veer_value_t v) {
    if (!v.i) return;
    veer_value_t root = owner(h, v);
    const uint32_t *at = place(h, root);
    if (!at) return;
    assert_true(h->written[root.i]);
    for (size_t i = 0; i < granules(h->g, root); i++)
        if (at[i] != root.i) fail_msg("value %u is read where value %u lies", root.i, at[i]);
}

/* Whether two values lie in the same memory, in part or as a whole. */
static bool share_memory(const shadow_t *h, veer_value_t a, veer_value_t b) {
    if (!a.i || !b.i) return false;
    a = owner(h, a), b = owner(h, b);
    const uint32_t *at_a = place(h, a), *at_b = place(h, b);
    return at_a && at_b && at_a < at_b + granules(h->g, b) && at_b < at_a + granules(h->g, a);
}

/* Neither writes what the other reads or writes. */
static void expect_apart(const shadow_t *h, veer_node_t a, veer_node_t b) {
    veer_node_t both[] = {a, b};
    for (int writer = 0; writer < 2; writer++)
        for (int i = 0; i < veer_node_out_count(h->g, both[writer]); i++) {
            veer_value_t made = veer_node_out(h->g, both[writer], i);
            for (int j = 0; j < veer_node_in_count(h->g, both[!writer]); j++)
                assert_false(share_memory(h, made, veer_node_in(h->g, both[!writer], j)));
            for (int j = 0; j < veer_node_out_count(h->g, both[!writer]); j++)
                assert_false(share_memory(h, made, veer_node_out(h->g, both[!writer], j)));
        }
}

/* Kernel n runs while the ones before it that it need not wait for are under way. */
static void expect_independent(shadow_t *h, veer_node_t n) {
    int overlap;
    ok(veer_overlap_add(&h->overlap, h->s, n, &overlap));
    assert_in_range(overlap, 0, VEER_OVERLAP_MOST - 1);
    for (int k = 0; k < overlap; k++) expect_apart(h, n, h->last[k]);
    h->overlaps += overlap;
    memmove(h->last + 1, h->last, sizeof h->last - sizeof *h->last);
    h->last[0] = n;
}

/* Any kernel of one strand runs beside any of the other. */
static void expect_independent_strands(shadow_t *h, veer_region_t region) {
    VEER_FOR_EACH_NODE(h->g, region, a) {
        if (veer_node_strand(h->g, a) != 1 || h->s->is_view[a.i]) continue;
        VEER_FOR_EACH_NODE(h->g, region, b) {
            if (veer_node_strand(h->g, b) != 2 || h->s->is_view[b.i]) continue;
            expect_apart(h, a, b);
            h->pairs++;
        }
    }
}

static void follow(shadow_t *h, veer_region_t region);

static void follow_loop(shadow_t *h, veer_node_t n) {
    veer_region_t body = veer_node_body(h->g, n);
    int carried = veer_node_in_count(h->g, n);
    for (int i = 0; i < carried; i++) {
        expect(h, veer_node_in(h->g, n, i));
        stamp(h, veer_region_arg(h->g, body, i + 1));
    }
    for (int round = 0; round < 2; round++) {
        stamp(h, veer_region_arg(h->g, body, 0));
        veer_overlap_reset(&h->overlap);
        follow(h, body);
        veer_overlap_reset(&h->overlap);
        for (int i = carried; i < veer_node_out_count(h->g, n); i++) {
            expect(h, veer_region_result(h->g, body, i));
            if (round) expect(h, veer_node_out(h->g, n, i)); /* the rows before this one are still there */
            stamp(h, veer_node_out(h->g, n, i));
        }
        for (int i = 0; i < carried; i++) {
            expect(h, veer_region_result(h->g, body, i));
            stamp(h, veer_region_arg(h->g, body, i + 1));
        }
    }
}

static void follow(shadow_t *h, veer_region_t region) {
    expect_independent_strands(h, region);
    VEER_FOR_EACH_NODE(h->g, region, n) {
        if (veer_node_op(h->g, n) == VEER_OP_LOOP) {
            follow_loop(h, n);
            continue;
        }
        if (h->s->is_view[n.i]) continue;
        for (int i = 0; i < veer_node_in_count(h->g, n); i++) expect(h, veer_node_in(h->g, n, i));
        if (veer_op_has(veer_node_op(h->g, n), VEER_TERMINATOR)) continue;
        /* Results may not overlap operands: stamped first, the operands must still be there. */
        for (int i = 0; i < veer_node_out_count(h->g, n); i++) stamp(h, veer_node_out(h->g, n, i));
        for (int i = 0; i < veer_node_in_count(h->g, n); i++) expect(h, veer_node_in(h->g, n, i));
        for (int i = 0; i < veer_node_out_count(h->g, n); i++) expect(h, veer_node_out(h->g, n, i));
        expect_independent(h, n);
    }
}

/* Adds how often a kernel need not wait for one before it, and the pairs of kernels in different strands. */
static void check_storage(const veer_graph_t *g, veer_func_t f, int *overlaps, int *pairs) {
    veer_storage_t s;
    ok(veer_storage_init(&s, g, f, false, memory()));
    shadow_t h = {.g = g, .s = &s};
    veer_region_t body = veer_func_body(g, f);
    h.arena = calloc(s.arena_bytes / 64 + 1, sizeof *h.arena);
    h.written = calloc(veer_graph_value_limit(g), 1);
    for (int i = 0; i < veer_region_result_count(g, body); i++)
        h.outputs[i] = calloc(granules(g, veer_region_result(g, body, i)) + 1, sizeof *h.arena);
    follow(&h, body);
    for (int i = 0; i < veer_region_result_count(g, body); i++) free(h.outputs[i]);
    free(h.arena);
    free(h.written);
    veer_overlap_deinit(&h.overlap, memory());
    veer_storage_deinit(&s);
    *overlaps += h.overlaps, *pairs += h.pairs;
}

static void live_values_do_not_overlap(void **state) {
    (void)state;
    static const char *const passes[] = {
        "inline,gradient,dce", "inline,gradient,fold,cse,dce,sink-broadcast,hoist,dce,interleave",
        "inline,gradient,fold,cse,dce,sink-broadcast,hoist,dce,interleave,strands{least_us=0,least_percent=0}"};
    int overlaps = 0, pairs = 0;
    for (uint64_t seed = 1; seed <= 225; seed++) {
        veer_graph_t *g;
        veer_func_t f;
        ok(veer_graph_create(memory(), &g));
        ok(random_program(g, seed, &f));
        ok(veer_run_passes(g, f, passes[seed % 3], NULL));
        check_storage(g, f, &overlaps, &pairs);
        veer_graph_destroy(g);
    }
    assert_true(overlaps > 1000 && pairs > 1000);
}

/* ---- strands ---- */

static veer_func_t two_chains(veer_graph_t **out) {
    static const char text[] = "graph @f(%x: f32[64]) {\n"
                               "  %h = exp %x  %a = tanh %h  %p = neg %h  %b = sqrt %a  %q = abs %p\n"
                               "  %s = add %b, %q  return %s }";
    ok(veer_graph_create(memory(), out));
    ok(veer_parse(*out, text, strlen(text), "program"));
    return veer_graph_find_func(*out, "f");
}

static void calls_are_in_their_nodes_strands(void **state) {
    (void)state;
    static const int want[] = {0, 1, 1, 2, 2, 0};
    enum { CALLS = sizeof want / sizeof *want };
    veer_graph_t *g;
    veer_plan_t *plan;
    veer_func_t f = two_chains(&g);
    ok(veer_compile_func(
        g, f, &(veer_compile_options_t){.backend = "reference", .passes = "strands{least_us=0,least_percent=0}"},
        memory(), &plan));
    assert_int_equal(veer_plan_call_count(plan), CALLS);
    for (int i = 0; i < CALLS; i++) assert_int_equal(veer_plan_call(plan, i).strand, want[i]);
    veer_plan_destroy(plan);
    veer_graph_destroy(g);
}

/* Strands that need each other would give wrong numbers, now and then: they are not lowered, verified or not. */
static void wrong_strands_are_not_lowered(void **state) {
    (void)state;
    veer_graph_t *g;
    veer_func_t f = two_chains(&g);
    veer_storage_t s;
    int i = 0;
    VEER_FOR_EACH_NODE(g, veer_func_body(g, f), n) veer_node_set_strand(g, n, (int[]){0, 1, 1, 2, 2, 0, 0}[i++]);
    veer_status_t status = veer_storage_init(&s, g, f, false, memory()); /* %b needs %a, %q needs %p */
    veer_storage_deinit(&s);
    assert_int_equal(veer_status_code(status), VEER_ERR_FAILED);
    assert_non_null(strstr(veer_status_message(status, 0), "op 'sqrt' of strand 2 takes what strand 1 makes"));
    veer_status_free(status);
    veer_graph_destroy(g);
}

/* ---- failing allocations ---- */

static veer_status_t compile_with(failing_allocator_t *f, uint64_t seed) {
    veer_graph_t *g;
    veer_func_t func;
    veer_plan_t *plan = NULL;
    veer_exec_t *exec = NULL;
    veer_compile_options_t options = {
        .backend = "reference",
        .passes = "inline,gradient,fold,cse,dce,expand,sink-broadcast,fold,cse,dce,"
                  "transpose-matmul,hoist,cse,dce,fuse-attention,fuse-contraction,split-norm{min_bytes=0},"
                  "fuse,dce,interleave,strands{least_us=0,least_percent=0}"};
    VEER_TRY(veer_graph_create(failing_allocator(f), &g));
    veer_status_t status = random_program(g, seed, &func);
    if (!status) status = veer_compile_func(g, func, &options, failing_allocator(f), &plan);
    if (!status) status = veer_exec_create(plan, &exec);
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
    veer_graph_destroy(g);
    return status;
}

static void failing_allocations_are_reported(void **state) {
    (void)state;
    const uint64_t seed = 11;
    for (int once = 0; once < 2; once++) {
        long tried = 0;
        for (;; tried++) {
            failing_allocator_t f = {.fail_at = tried, .once = once};
            veer_status_t status = compile_with(&f, seed);
            if (f.live) fail_msg("%ld blocks leak when allocation %ld fails", f.live, tried);
            if (!f.failed) {
                ok(status);
                break;
            }
            if (!once && veer_status_code(status) != VEER_ERR_RESOURCE)
                fail_msg("allocation %ld fails: %s", tried, status ? veer_status_message(status, 0) : "no error");
            veer_status_free(status);
        }
        assert_true(tried > 50);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_give_the_evaluators_bits), cmocka_unit_test(live_values_do_not_overlap),
        cmocka_unit_test(calls_are_in_their_nodes_strands),  cmocka_unit_test(wrong_strands_are_not_lowered),
        cmocka_unit_test(failing_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
