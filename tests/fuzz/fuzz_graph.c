/* What every graph that was read has to stand. */
#include "tests/fuzz/fuzz.h"

#include "backends/reference/reference.h"
#include "ir/builder.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/gradient.h"
#include "passes/manager.h"

#include <math.h>
#include <string.h>

/* Larger graphs are not differentiated or evaluated: a run has to stay short. */
enum { MOST_NODES = 400, MOST_PORTS = 16, MOST_WORK = 400000 };

/* ---- how much there is to do ---- */

static double add_work(const veer_graph_t *g, veer_region_t region);

/* An upper bound of the elements that a kernel touches, and of what it has to hold. */
static double node_work(const veer_graph_t *g, veer_node_t node) {
    double in = 1, largest = 1, out = 1;
    veer_op_t op = veer_node_op(g, node);
    for (int i = 0; i < veer_node_in_count(g, node); i++) {
        veer_value_t v = veer_node_in(g, node, i);
        double count = v.i ? (double)veer_type_count(veer_value_type(g, v)) : 0;
        in += count;
        largest = fmax(largest, count);
    }
    for (int i = 0; i < veer_node_out_count(g, node); i++)
        out += (double)veer_type_count(veer_value_type(g, veer_node_out(g, node, i)));
    if (op == VEER_OP_LOOP)
        return out + in + (double)veer_node_int(g, node, "trip") * (1 + in + add_work(g, veer_node_body(g, node)));
    if (op == VEER_OP_FUSED) return out + in + add_work(g, veer_node_body(g, node));
    bool windows = op == VEER_OP_MAX_POOL || op == VEER_OP_AVG_POOL || op == VEER_OP_NEAREST || op == VEER_OP_RESIZE;
    return veer_op_has(op, VEER_CONTRACTION) || windows ? in + out * largest : in + out;
}

static double add_work(const veer_graph_t *g, veer_region_t region) {
    double sum = 0;
    VEER_FOR_EACH_NODE(g, region, node) sum += node_work(g, node);
    return sum;
}

static int nodes_in(const veer_graph_t *g, veer_region_t region) {
    int count = 0;
    VEER_FOR_EACH_NODE(g, region, node)
    count += 1 + (veer_node_body(g, node).i ? nodes_in(g, veer_node_body(g, node)) : 0);
    return count;
}

static bool has_op(const veer_graph_t *g, veer_region_t region, veer_op_t op) {
    VEER_FOR_EACH_NODE(g, region, node) {
        if (veer_node_op(g, node) == op) return true;
        if (veer_node_body(g, node).i && has_op(g, veer_node_body(g, node), op)) return true;
    }
    return false;
}

static bool is_small(const veer_graph_t *g, veer_func_t f) {
    veer_region_t body = veer_func_body(g, f);
    double arguments = 0;
    for (int i = 0; i < veer_region_arg_count(g, body); i++)
        arguments += (double)veer_type_count(veer_value_type(g, veer_region_arg(g, body, i)));
    return veer_region_arg_count(g, body) < MOST_PORTS && veer_region_result_count(g, body) < MOST_PORTS &&
           nodes_in(g, body) <= MOST_NODES && arguments + add_work(g, body) <= MOST_WORK;
}

/* ---- text ---- */

/* The graph read back from its own text; NULL where memory ran out. */
static veer_graph_t *parse_again(const char *text, veer_allocator_t allocator) {
    veer_graph_t *g = NULL;
    if (!fuzz_must(veer_graph_create(allocator, &g), "a new graph")) return NULL;
    if (fuzz_must(veer_parse(g, text, strlen(text), "printed"), text) &&
        fuzz_must(veer_verify(g), "verify what was printed and parsed"))
        return g;
    veer_graph_destroy(g);
    return NULL;
}

static veer_graph_t *copy_through_text(veer_graph_t *g, veer_allocator_t allocator) {
    char *text = NULL, *again = NULL;
    if (!fuzz_must(veer_print(g, allocator, &text), "print")) return NULL;
    veer_graph_t *copy = parse_again(text, allocator);
    if (copy && fuzz_must(veer_print(copy, allocator, &again), "print again"))
        FUZZ_CHECK(!strcmp(text, again), "printed\n%s\nand then\n%s", text, again);
    veer_free(allocator, text);
    veer_free(allocator, again);
    return copy;
}

/* ---- passes ---- */

static bool run(veer_graph_t *g, const char *passes, veer_code_t unless, veer_allocator_t allocator) {
    veer_pipeline_t *p = NULL;
    if (!fuzz_must(veer_pipeline_create(allocator, passes, &p), passes)) return false;
    veer_pipeline_options_t options = {.eval = veer_reference_node, .verify_each = true};
    bool ok = fuzz_must_unless(veer_pipeline_run(p, g, VEER_NO_FUNC, &options), unless, passes);
    veer_pipeline_destroy(p);
    return ok;
}

/* ---- values ---- */

static void fill(veer_tensor_t *t, fuzz_random_t *r) {
    for (int64_t i = 0; i < veer_type_count(&t->type); i++) {
        int64_t x = (int64_t)fuzz_below(r, 9) - 4;
        switch (t->type.dtype) {
        case VEER_DTYPE_F32: ((float *)t->data)[i] = (float)x * 0.375f; break;
        case VEER_DTYPE_F64: ((double *)t->data)[i] = (double)x * 0.375; break;
        case VEER_DTYPE_F16: ((uint16_t *)t->data)[i] = (uint16_t)(0x3c00 + 64 * x); break;
        case VEER_DTYPE_BF16: ((uint16_t *)t->data)[i] = (uint16_t)(0x3f80 + 8 * x); break;
        case VEER_DTYPE_BOOL: ((uint8_t *)t->data)[i] = x & 1; break;
        default:
            memcpy((char *)t->data + (size_t)i * veer_dtype_size(t->type.dtype), &x, veer_dtype_size(t->type.dtype));
        }
    }
}

typedef struct values_s {
    veer_tensor_t t[MOST_PORTS];
    int count;
} values_t;

static void release(values_t *v, veer_allocator_t allocator) {
    for (int i = 0; i < v->count; i++) veer_free(allocator, v->t[i].data);
    v->count = 0;
}

/* False where memory ran out or the function fails at run time (an index out of range). */
static bool evaluate(const veer_graph_t *g, veer_func_t f, veer_allocator_t allocator, values_t *out) {
    veer_region_t body = veer_func_body(g, f);
    values_t in = {.count = veer_region_arg_count(g, body)};
    fuzz_random_t r = {1};
    bool ok = true;
    for (int i = 0; i < in.count; i++) {
        in.t[i].type = *veer_value_type(g, veer_region_arg(g, body, i));
        in.t[i].data = veer_alloc(allocator, veer_type_bytes(&in.t[i].type));
        if (in.t[i].data) fill(&in.t[i], &r);
        ok &= in.t[i].data != NULL;
    }
    out->count = veer_region_result_count(g, body);
    ok = ok && fuzz_must_unless(veer_reference_eval(g, f, in.t, in.count, allocator, out->t, out->count),
                                VEER_ERR_FAILED, "evaluate");
    if (!ok) out->count = 0;
    release(&in, allocator);
    return ok;
}

/* The same bits, or both not a number. */
static bool same_element(const veer_tensor_t *a, const veer_tensor_t *b, int64_t i) {
    size_t size = veer_dtype_size(a->type.dtype);
    const char *x = (const char *)a->data + (size_t)i * size, *y = (const char *)b->data + (size_t)i * size;
    if (!memcmp(x, y, size)) return true;
    switch (a->type.dtype) {
    case VEER_DTYPE_F32: return isnan(*(const float *)x) && isnan(*(const float *)y);
    case VEER_DTYPE_F64: return isnan(*(const double *)x) && isnan(*(const double *)y);
    case VEER_DTYPE_F16: return (*(const uint16_t *)x & 0x7fff) > 0x7c00 && (*(const uint16_t *)y & 0x7fff) > 0x7c00;
    case VEER_DTYPE_BF16: return (*(const uint16_t *)x & 0x7fff) > 0x7f80 && (*(const uint16_t *)y & 0x7fff) > 0x7f80;
    default: return false;
    }
}

static void check_same(const values_t *a, const values_t *b) {
    FUZZ_CHECK(a->count == b->count, "%d and %d results", a->count, b->count);
    for (int k = 0; k < a->count; k++) {
        FUZZ_CHECK(veer_type_equal(&a->t[k].type, &b->t[k].type), "result %d has another type", k);
        for (int64_t i = 0; i < veer_type_count(&a->t[k].type); i++)
            FUZZ_CHECK(same_element(&a->t[k], &b->t[k], i), "passes changed element %lld of result %d", (long long)i,
                       k);
    }
}

/* What `passed` computes is what `g` does: both have the same functions, calls inlined. */
static void compare(const veer_graph_t *g, const veer_graph_t *passed, veer_allocator_t allocator) {
    for (veer_func_t f = veer_graph_first_func(g); f.i; f = veer_graph_next_func(g, f)) {
        veer_func_t other = veer_graph_find_func(passed, veer_func_name(g, f));
        values_t a, b;
        if (!is_small(g, f) || !is_small(passed, other) || has_op(g, veer_func_body(g, f), VEER_OP_GRAD)) continue;
        if (evaluate(g, f, allocator, &a)) {
            if (evaluate(passed, other, allocator, &b)) {
                check_same(&a, &b);
                release(&b, allocator);
            }
            release(&a, allocator);
        }
    }
}

/* ---- gradients ---- */

/* Adds @grad: the gradient of the first floating result of `f` by its floating arguments. Calls are inlined. */
static bool add_gradient(veer_graph_t *g, veer_func_t f, veer_func_t *out_grad) {
    veer_region_t body = veer_func_body(g, f);
    veer_value_t args[MOST_PORTS], d_of = VEER_NO_VALUE;
    int64_t wrt[MOST_PORTS];
    int count = veer_region_arg_count(g, body), wrt_count = 0, of = 0, results = veer_region_result_count(g, body);
    while (of < results && !veer_dtype_is_float(veer_value_type(g, veer_region_result(g, body, of))->dtype)) of++;
    for (int i = 0; i < count; i++)
        if (veer_dtype_is_float(veer_value_type(g, veer_region_arg(g, body, i))->dtype)) wrt[wrt_count++] = i;
    if (of == results || !wrt_count ||
        !fuzz_must_unless(veer_gradient_check(g, f, of, wrt, wrt_count), VEER_ERR_UNSUPPORTED, "check the gradient"))
        return false;
    if (!fuzz_must_unless(veer_graph_add_func(g, "a name for the gradient", out_grad), VEER_ERR_CONFIG, "a function"))
        return false;
    veer_region_t grad = veer_func_body(g, *out_grad);
    bool ok = true;
    for (int i = 0; i < count && ok; i++)
        ok = fuzz_must(veer_region_add_arg(g, grad, *veer_value_type(g, veer_region_arg(g, body, i)), "", &args[i]),
                       "arg");
    veer_type_t type = *veer_value_type(g, veer_region_result(g, body, of));
    ok = ok && fuzz_must(veer_region_add_arg(g, grad, type, "", &d_of), "the cotangent");
    if (!ok) return false;
    veer_builder_t b = veer_builder_at_end(g, grad);
    veer_node_t node = veer_builder_grad(&b, f, args, count, of, d_of, wrt, wrt_count);
    veer_value_t d[MOST_PORTS];
    for (int i = 0; i < wrt_count && node.i; i++) d[i] = veer_node_out(g, node, i);
    if (node.i) veer_builder_return(&b, d, wrt_count);
    return fuzz_must(veer_builder_status(&b), "build the gradient");
}

static void differentiate(veer_graph_t *g, veer_allocator_t allocator) {
    values_t out;
    veer_func_t f = veer_graph_first_func(g), grad;
    if (!f.i || !is_small(g, f) || has_op(g, veer_func_body(g, f), VEER_OP_GRAD)) return;
    if (!add_gradient(g, f, &grad) || !run(g, "gradient,fold,cse,dce", VEER_ERR_RESOURCE, allocator)) return;
    if (is_small(g, grad) && evaluate(g, grad, allocator, &out)) release(&out, allocator);
}

/* ---- all of it ---- */

void fuzz_graph(veer_graph_t *g, veer_allocator_t allocator) {
    if (!fuzz_must(veer_verify(g), "verify what was read")) return;
    veer_graph_t *copy = copy_through_text(g, allocator);
    int nodes = 0;
    for (veer_func_t f = veer_graph_first_func(g); f.i; f = veer_graph_next_func(g, f))
        nodes += nodes_in(g, veer_func_body(g, f));
    /* Recursion is refused by inline: the graph as it was read may have it. */
    if (copy && nodes <= MOST_NODES && run(g, "inline", VEER_ERR_UNSUPPORTED, allocator) &&
        run(copy, "inline", VEER_ERR_UNSUPPORTED, allocator) &&
        run(copy, "fold,cse,dce", VEER_ERR_RESOURCE, allocator)) {
        compare(g, copy, allocator);
        differentiate(g, allocator);
        run(copy,
            "gradient,recognize-silu,recognize-gelu,recognize-layer-norm,recognize-rms-norm,recognize-group-norm,"
            "recognize-attention,expand,sink-broadcast,fold,cse,dce,transpose-matmul,hoist,cse,dce",
            VEER_ERR_UNSUPPORTED, allocator);
    }
    veer_graph_destroy(copy);
}
