/* What the recognise passes name is what was there: every golden case, and patterns of random shape and spelling, are
 * evaluated on the reference backend before and after. A random pattern must also be found. Memory may run out
 * anywhere. */
#include "ir/parse.h"
#include "ir/verify.h"
#include "passes/manager.h"
#include "tests/op_run.h"
#include "tests/support/failing_allocator.h"

#define SEED 20240607u
/* Both sides round every node's result to f32: a dozen roundings of values up to about 4, and more where a norm divides
 * by a small deviation. */
#define TOLERANCE 1e-5

static const char *const passes[] = {"silu", "gelu", "layer_norm", "rms_norm", "group_norm", "attention"};
enum { PASS_COUNT = sizeof passes / sizeof *passes, ROUNDS = 300, MAX_ARGS = 8 };

static int below(uint64_t *state, int n) {
    return (int)(random_bits(state) % (uint64_t)n);
}

/* ---- running both ---- */

/* Runs a pass and gives its counter `what`. */
static int64_t run_pass(veer_graph_t *g, const char *pass, const char *what) {
    char text[100];
    int64_t count = 0;
    veer_pipeline_t *p;
    snprintf(text, sizeof text, "recognize-%s", pass);
    require_ok(veer_pipeline_create(veer_allocator_system(), text, &p));
    require_ok(veer_pipeline_run(p, g, VEER_NO_FUNC, &(veer_pipeline_options_t){.verify_each = true}));
    veer_pass_report_t report = veer_pipeline_report(p, 0);
    for (int i = 0; i < report.counter_count; i++)
        if (!strcmp(report.counters[i].name, what)) count = report.counters[i].count;
    veer_pipeline_destroy(p);
    return count;
}

static int make_args(const veer_graph_t *g, veer_func_t func, veer_tensor_t *args, uint64_t *state) {
    int count = veer_region_arg_count(g, veer_func_body(g, func));
    assert_true(count <= MAX_ARGS);
    for (int i = 0; i < count; i++) {
        veer_type_t type = *veer_value_type(g, veer_region_arg(g, veer_func_body(g, func), i));
        args[i] = tensor_make(type);
        tensor_fill(&args[i], &(operand_t){.fill = type.dtype == VEER_DTYPE_BOOL ? FILL_BOOL : FILL_ANY}, state);
    }
    return count;
}

static void compare(const char *label, const veer_tensor_t *a, const veer_tensor_t *b) {
    assert_true(veer_type_equal(&a->type, &b->type));
    for (int64_t i = 0; i < veer_type_count(&a->type); i++) {
        double x = veer_load_double(a, i), y = veer_load_double(b, i);
        if (isnan(x) && isnan(y)) continue; /* a row that is masked as a whole */
        if (!(fabs(x - y) <= TOLERANCE + TOLERANCE * fabs(x)))
            fail_msg("%s: element %lld is %.9g, was %.9g", label, (long long)i, y, x);
    }
}

/* Evaluates, runs the pass, evaluates again. Gives the pass's counter of its own name. */
static int64_t check_graph(const char *label, veer_graph_t *g, const char *pass, const char *what, uint64_t seed) {
    veer_func_t func = veer_graph_first_func(g);
    veer_tensor_t args[MAX_ARGS], before[VEER_OP_MAX_RESULTS], after[VEER_OP_MAX_RESULTS];
    int count = make_args(g, func, args, &seed), results = veer_region_result_count(g, veer_func_body(g, func));
    assert_true(results <= VEER_OP_MAX_RESULTS);
    require_ok(veer_reference_eval(g, func, args, count, veer_allocator_system(), before, results));
    int64_t found = run_pass(g, pass, what);
    require_ok(veer_reference_eval(g, func, args, count, veer_allocator_system(), after, results));
    for (int i = 0; i < results; i++) {
        compare(label, &before[i], &after[i]);
        tensor_free(&before[i]);
        tensor_free(&after[i]);
    }
    for (int i = 0; i < count; i++) tensor_free(&args[i]);
    return found;
}

/* ---- the golden cases ---- */

static char *read_golden(const char *pass) {
    char path[1000];
    static char text[1 << 18];
    snprintf(path, sizeof path, VEER_TEST_DATA "/../golden/recognize_%s.veer", pass);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

/* The next case of the file at `*at`: its title and text; false where there is none. */
static bool next_case(const char **at, const char *pass, char label[200], const char **out_text, size_t *out_length) {
    *at = strstr(*at, "\n=== ");
    if (!*at) return false;
    snprintf(label, 200, "%s: %.*s", pass, (int)strcspn(*at + 5, "\n"), *at + 5);
    *out_text = strchr(*at + 1, '\n') + 1;
    *at = strstr(*out_text, "\n--- ");
    assert_non_null(*at);
    *out_length = (size_t)(*at - *out_text);
    return true;
}

static void test_golden_cases(void **unused) {
    (void)unused;
    for (int i = 0; i < PASS_COUNT; i++) {
        int cases = 0;
        char label[200];
        const char *text, *at = read_golden(passes[i]);
        for (size_t length; next_case(&at, passes[i], label, &text, &length); cases++) {
            veer_graph_t *g;
            require_ok(veer_graph_create(veer_allocator_system(), &g));
            require_ok(veer_parse(g, text, length, label));
            check_graph(label, g, passes[i], passes[i], SEED);
            veer_graph_destroy(g);
        }
        assert_true(cases > 5);
    }
}

/* ---- failing allocations ---- */

static veer_status_t parse_and_run(veer_allocator_t allocator, const char *text, size_t length, const char *pass) {
    char name[100];
    veer_graph_t *g = NULL;
    veer_pipeline_t *p = NULL;
    snprintf(name, sizeof name, "recognize-%s", pass);
    veer_status_t status = veer_graph_create(allocator, &g);
    if (!status) status = veer_parse(g, text, length, "golden");
    if (!status) status = veer_pipeline_create(allocator, name, &p);
    if (!status) status = veer_pipeline_run(p, g, VEER_NO_FUNC, NULL);
    veer_pipeline_destroy(p);
    veer_graph_destroy(g);
    return status;
}

/* Every allocation fails once, alone and with all later ones: a clean status, or success without it; no leaks. */
static void sweep(const char *text, size_t length, const char *pass, bool once) {
    for (long n = 0;; n++) {
        failing_allocator_t f = {.fail_at = n, .once = once};
        veer_status_t status = parse_and_run(failing_allocator(&f), text, length, pass);
        if (status) assert_int_equal(veer_status_code(status), VEER_ERR_RESOURCE);
        assert_true(f.failed || !status);
        veer_status_free(status);
        assert_int_equal(f.live, 0);
        if (!f.failed) break;
    }
}

static void test_failing_allocations(void **unused) {
    (void)unused;
    for (int i = 0; i < PASS_COUNT; i++) {
        char label[200];
        const char *text, *at = read_golden(passes[i]);
        for (size_t length; next_case(&at, passes[i], label, &text, &length);) {
            sweep(text, length, passes[i], false);
            sweep(text, length, passes[i], true);
        }
    }
}

/* ---- random patterns ---- */

typedef struct pattern_s {
    uint64_t state;
    veer_graph_t *g;
    veer_builder_t b;
} pattern_t;

static bool coin(pattern_t *p) {
    return below(&p->state, 2);
}

static veer_value_t arg(pattern_t *p, veer_type_t type) {
    veer_value_t value;
    require_ok(veer_region_add_arg(p->g, p->b.region, type, "", &value));
    return value;
}

static veer_type_t random_type(pattern_t *p, int rank) {
    veer_type_t type = {.dtype = VEER_DTYPE_F32, .rank = rank};
    for (int i = 0; i < rank; i++) type.dims[i] = 1 + below(&p->state, 5);
    return type;
}

static veer_value_t times(pattern_t *p, veer_value_t x, veer_value_t y) {
    return coin(p) ? veer_mul(&p->b, x, y) : veer_mul(&p->b, y, x);
}
static veer_value_t plus(pattern_t *p, veer_value_t x, veer_value_t y) {
    return coin(p) ? veer_add(&p->b, x, y) : veer_add(&p->b, y, x);
}
static veer_value_t scalar(pattern_t *p, double value) {
    return veer_const_scalar(&p->b, VEER_DTYPE_F32, value);
}
static veer_value_t scale(pattern_t *p, veer_value_t x, double factor) {
    if (coin(p)) return veer_div(&p->b, x, scalar(p, 1 / factor));
    return times(p, x, scalar(p, factor));
}

/* x / 2 (1 + t), in any association */
static veer_value_t half_of(pattern_t *p, veer_value_t x, veer_value_t t) {
    int where = below(&p->state, 4);
    if (where == 3) { /* x / 2 + x / 2 t */
        veer_value_t h = scale(p, x, 0.5);
        return plus(p, h, times(p, h, t));
    }
    veer_value_t sum = plus(p, t, scalar(p, 1));
    if (where == 0) return times(p, scale(p, x, 0.5), sum);
    if (where == 1) return times(p, x, scale(p, sum, 0.5));
    return scale(p, times(p, x, sum), 0.5);
}

static veer_value_t cube(pattern_t *p, veer_value_t x) {
    if (coin(p)) return veer_pow(&p->b, x, scalar(p, 3));
    return times(p, times(p, x, x), x);
}

static const char *make_silu(pattern_t *p, veer_value_t *out) {
    veer_value_t x = arg(p, random_type(p, 1 + below(&p->state, 4)));
    veer_value_t d = plus(p, veer_exp(&p->b, veer_neg(&p->b, x)), scalar(p, 1));
    switch (below(&p->state, 4)) {
    case 0: *out = times(p, x, veer_sigmoid(&p->b, x)); break;
    case 1: *out = veer_div(&p->b, x, d); break;
    case 2: *out = times(p, x, veer_reciprocal(&p->b, d)); break;
    default: *out = times(p, x, veer_div(&p->b, scalar(p, 1), d)); break;
    }
    return "silu";
}

static const char *make_gelu(pattern_t *p, veer_value_t *out) {
    veer_value_t x = arg(p, random_type(p, 1 + below(&p->state, 4)));
    if (coin(p)) {
        *out = half_of(p, x, veer_erf(&p->b, scale(p, x, sqrt(0.5))));
        return "gelu";
    }
    veer_value_t u = plus(p, x, scale(p, cube(p, x), 0.044715));
    *out = half_of(p, x, veer_tanh(&p->b, scale(p, u, sqrt(2 / M_PI))));
    return "gelu";
}

static veer_value_t mean(pattern_t *p, veer_value_t x, int axis) {
    veer_type_t type = *veer_builder_type(&p->b, x);
    int64_t axes[VEER_MAX_RANK], kept[VEER_MAX_RANK];
    for (int i = 0; i < type.rank; i++) kept[i] = i < axis ? type.dims[i] : 1;
    for (int i = axis; i < type.rank; i++) axes[i - axis] = i;
    bool keep = coin(p), sum = coin(p);
    veer_value_t m =
        veer_reduce(&p->b, sum ? VEER_OP_REDUCE_SUM : VEER_OP_REDUCE_MEAN, x, axes, type.rank - axis, keep);
    if (sum) m = scale(p, m, 1 / (double)veer_type_count_range(&type, axis, type.rank));
    return keep ? m : veer_reshape(&p->b, m, type.rank, kept);
}

/* d (mean(d^2) + 0.3)^(-1/2) */
static veer_value_t normalise(pattern_t *p, veer_value_t d, int axis) {
    veer_value_t square = coin(p) ? veer_mul(&p->b, d, d) : veer_pow(&p->b, d, scalar(p, 2));
    veer_value_t v = plus(p, mean(p, square, axis), scalar(p, 0.3));
    switch (below(&p->state, 6)) {
    case 0: return veer_div(&p->b, d, veer_sqrt(&p->b, v));
    case 1: return times(p, d, veer_rsqrt(&p->b, v));
    case 2: return times(p, d, veer_reciprocal(&p->b, veer_sqrt(&p->b, v)));
    case 3: return times(p, d, veer_sqrt(&p->b, veer_reciprocal(&p->b, v)));
    case 4: return times(p, d, veer_div(&p->b, scalar(p, 1), veer_pow(&p->b, v, scalar(p, 0.5))));
    default: return times(p, d, veer_pow(&p->b, v, scalar(p, -0.5)));
    }
}

/* A parameter for dims axis..: some of them 1, leading ones perhaps left out. */
static veer_value_t row_parameter(pattern_t *p, veer_value_t x, int axis) {
    veer_type_t type = *veer_builder_type(&p->b, x);
    int from = axis + below(&p->state, type.rank - axis);
    veer_type_t row = veer_type_make(type.dtype, type.rank - from, type.dims + from);
    if (coin(p)) row.dims[below(&p->state, row.rank)] = 1;
    return arg(p, row);
}

static const char *make_layer_norm(pattern_t *p, veer_value_t *out) {
    int rank = 1 + below(&p->state, 4), axis = below(&p->state, rank);
    veer_value_t x = arg(p, random_type(p, rank));
    *out = normalise(p, veer_sub(&p->b, x, mean(p, x, axis)), axis);
    if (coin(p)) *out = times(p, *out, row_parameter(p, x, axis));
    if (coin(p)) *out = plus(p, *out, row_parameter(p, x, axis));
    return "layer_norm";
}

static const char *make_rms_norm(pattern_t *p, veer_value_t *out) {
    int rank = 1 + below(&p->state, 4), axis = below(&p->state, rank);
    veer_value_t x = arg(p, random_type(p, rank));
    *out = normalise(p, x, axis);
    if (coin(p)) *out = times(p, *out, row_parameter(p, x, axis));
    return "rms_norm";
}

static const char *make_group_norm(pattern_t *p, veer_value_t *out) {
    int rank = 3 + below(&p->state, 2);
    veer_type_t type = random_type(p, rank);
    int64_t groups = 1 + below(&p->state, 4), channels[VEER_MAX_RANK] = {1, 1, 1, 1};
    channels[0] = type.dims[1] = groups * (1 + below(&p->state, 3));
    veer_value_t x = arg(p, type);
    int64_t size = type.dims[1] / groups * veer_type_count_range(&type, 2, rank);
    veer_value_t r = veer_reshape(&p->b, x, VEER_DIMS(type.dims[0], groups, size, 1, 1)); /* a rank that x never has */
    r = veer_build(&p->b, VEER_OP_GROUP_NORM, VEER_IN(r),
                   VEER_ATTRS(VEER_INT("groups", groups), VEER_FLOAT("eps", 0.3)));
    *out = veer_reshape_like(&p->b, r, &type);
    veer_type_t per_channel = veer_type_make(type.dtype, rank - 1, channels);
    if (coin(p)) *out = times(p, *out, arg(p, per_channel));
    if (coin(p)) *out = plus(p, *out, arg(p, per_channel));
    return "group_norm";
}

/* An argument that is [batch.., rows, columns], perhaps stored turned and turned back by a node or, where
 * `out_flag` gets 1, by the product that takes it. */
static veer_value_t matrix(pattern_t *p, const veer_type_t *batch, int64_t rows, int64_t columns, bool *out_flag) {
    veer_type_t type = *batch;
    bool turned = coin(p), by_flag = turned && coin(p);
    type.dims[type.rank++] = turned ? columns : rows;
    type.dims[type.rank++] = turned ? rows : columns;
    veer_value_t x = arg(p, type);
    if (coin(p)) x = scale(p, x, 0.5);
    if (turned && !by_flag) x = veer_transpose_last(&p->b, x);
    *out_flag = by_flag;
    return x;
}

static veer_value_t product(pattern_t *p, veer_value_t x, bool flag_x, veer_value_t y, bool flag_y) {
    return veer_matmul(&p->b, x, y, flag_x, flag_y);
}

static veer_value_t masked(pattern_t *p, veer_value_t s) {
    veer_type_t type = *veer_builder_type(&p->b, s);
    for (int i = 0; i < type.rank; i++)
        if (coin(p)) type.dims[i] = 1;
    switch (below(&p->state, 4)) {
    case 0: return plus(p, s, arg(p, type));
    case 1: type.dtype = VEER_DTYPE_BOOL; return veer_where(&p->b, arg(p, type), s, scalar(p, -INFINITY));
    case 2: type.dtype = VEER_DTYPE_BOOL; return veer_where(&p->b, arg(p, type), scalar(p, -1e35), s);
    default: return s;
    }
}

static const char *make_attention(pattern_t *p, veer_value_t *out) {
    veer_type_t batch = random_type(p, below(&p->state, 3));
    int64_t l = 1 + below(&p->state, 5), s = 1 + below(&p->state, 5), d = 1 + below(&p->state, 5);
    bool flag_q, flag_k, flag_v, down = below(&p->state, 4) == 0;
    veer_value_t q = matrix(p, &batch, l, d, &flag_q), k = matrix(p, &batch, d, s, &flag_k);
    veer_value_t v = matrix(p, &batch, s, 1 + below(&p->state, 5), &flag_v);
    int axis = batch.rank + (down ? 0 : 1);
    /* [L, S], or k q^T: [S, L] with its softmax down the columns */
    veer_value_t scores = down ? product(p, k, !flag_k, q, !flag_q) : product(p, q, flag_q, k, flag_k);
    if (coin(p)) scores = scale(p, scores, 0.7);
    if (!down) scores = masked(p, scores);
    veer_value_t w = veer_build(&p->b, VEER_OP_SOFTMAX, VEER_IN(scores), VEER_ATTRS(VEER_INT("axis", axis)));
    bool flag_w = down;
    if (coin(p)) w = veer_transpose_last(&p->b, w), flag_w = !flag_w;
    *out = coin(p) ? product(p, w, flag_w, v, flag_v) : product(p, v, !flag_v, w, !flag_w);
    return "attention";
}

typedef const char *(*make_fn)(pattern_t *p, veer_value_t *out);
static const make_fn makers[PASS_COUNT] = {make_silu,     make_gelu,       make_layer_norm,
                                           make_rms_norm, make_group_norm, make_attention};

/* Makes the pattern of this seed, in a function that returns it. */
static const char *make_pattern(pattern_t *p, int pass, uint64_t seed) {
    veer_func_t func;
    veer_value_t y = VEER_NO_VALUE;
    *p = (pattern_t){.state = seed};
    require_ok(veer_graph_create(veer_allocator_system(), &p->g));
    require_ok(veer_graph_add_func(p->g, "f", &func));
    p->b = veer_builder_at_end(p->g, veer_func_body(p->g, func));
    const char *what = makers[pass](p, &y);
    veer_builder_return(&p->b, &y, 1);
    require_ok(veer_builder_status(&p->b));
    return what;
}

static void test_random_patterns(void **unused) {
    (void)unused;
    print_message("seed %u\n", SEED);
    for (int i = 0; i < PASS_COUNT; i++)
        for (uint64_t round = 0; round < ROUNDS; round++) {
            pattern_t p;
            char label[100];
            snprintf(label, sizeof label, "%s, round %llu", passes[i], (unsigned long long)round);
            const char *what = make_pattern(&p, i, SEED + round);
            if (check_graph(label, p.g, passes[i], what, round) != 1) fail_msg("%s is not found", label);
            veer_graph_destroy(p.g);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden_cases), cmocka_unit_test(test_failing_allocations),
                                       cmocka_unit_test(test_random_patterns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
