/* Every option of models/sampler.h against plain loops in double (sampler_host.h), with networks whose derivatives are
 * known (sampler_nets.h); on both backends, after each step. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/compile.h"
#include "runtime/philox.h"
#include "tests/support/random.h"
#include "tests/support/tensors.h"
#include "tests/models/sampler_host.h"

enum { SEED = 1234, FIRST_SAMPLE = 5 };

/* ---- what is given ---- */

static double uniform(random_t *r, double low, double high) {
    return low + (high - low) * (double)(random_next(r) >> 11) * 0x1p-53;
}

static given_t make_given(const setup_t *u) {
    given_t in = {.class_labels = {1, 0, 2}, .label = {2, 0, 1}, .phi = {1, 0, 0.5f}};
    random_t r = {SEED};
    for (int t = 0; t < TRAIN_STEPS; t++) in.beta[t] = 0.02 + 0.025 * t;
    for (int i = 0; i < VOCAB * WIDTH; i++) in.embeddings[i] = (float)uniform(&r, -1, 1);
    for (int i = 0; i < SAMPLES * SIZE; i++) in.ctx[i] = (float)uniform(&r, -1, 1);
    for (int i = 0; i < SAMPLES * SIZE; i++) in.x_T[i] = (float)uniform(&r, -2, 2);
    for (int s = 0; s < MOST_STEPS; s++)
        for (int i = 0; i < SAMPLES * SIZE; i++) in.noise[s][i] = (float)uniform(&r, -2, 2);
    for (int n = 0; n < SAMPLES; n++) {
        if (!u->s.init_given) veer_noise_gaussian(SEED, (uint32_t)(FIRST_SAMPLE + n), 0, 0, SIZE, in.x_T + n * SIZE);
        for (int s = 0; s < u->kept_count && !u->s.noise_given; s++)
            veer_noise_gaussian(SEED, (uint32_t)(FIRST_SAMPLE + n), (uint32_t)s + 1, 0, SIZE, in.noise[s] + n * SIZE);
    }
    return in;
}

/* ---- in the graph ---- */

static void make_table(const setup_t *u, const given_t *in, veer_step_table_t *out) {
    veer_schedule_options_t o = veer_schedule_options_default();
    veer_schedule_t schedule;
    veer_kept_steps_t kept;
    veer_step_table_options_t table = {
        .variance = u->s.variance, .variance_fraction = u->fraction, .final_noise = u->s.final_noise};
    o.kind = VEER_BETAS_GIVEN, o.betas = in->beta, o.steps = TRAIN_STEPS;
    require_ok(veer_schedule_init(&schedule, &o, veer_allocator_system()));
    require_ok(veer_kept_steps_list(&kept, TRAIN_STEPS, u->kept, u->kept_count, veer_allocator_system()));
    require_ok(veer_step_table_init(out, &schedule, &kept, &table, veer_allocator_system()));
    veer_kept_steps_deinit(&kept);
    veer_schedule_deinit(&schedule);
}

/* Builds @sample; `roles` must live as long as that takes. */
static veer_status_t build(veer_graph_t *g, const setup_t *u, const given_t *in, veer_func_t *out) {
    veer_role_t roles[2][8];
    veer_sampler_t s = u->s;
    veer_step_table_t table;
    make_table(u, in, &table);
    s.denoiser = net_denoiser(g, &u->net, s.cfg ? 2 * SAMPLES : SAMPLES, roles[0]);
    if (u->guided) s.classifier = net_classifier(g, &u->classifier, s.head, u->target_input, roles[1]);
    if (s.clamp_below > 0 || s.vocab) s.embeddings = in->embeddings, s.vocab = VOCAB, s.width = WIDTH;
    veer_status_t status = veer_sampler_build(g, &s, &table, out);
    veer_step_table_deinit(&table);
    return status;
}

static void bind(const setup_t *u, given_t *in, const veer_plan_t *plan, veer_exec_t *exec) {
    static int64_t seed = SEED, first = FIRST_SAMPLE;
    static float cfg_scale, classifier_scale;
    cfg_scale = (float)u->cfg_scale, classifier_scale = (float)u->classifier_scale;
    const struct {
        const char *name;
        const void *data;
    } known[] = {{"seed", &seed},      {"first_sample", &first},           {"x_T", in->x_T},
                 {"noise", in->noise}, {"class_labels", in->class_labels}, {"label", in->label},
                 {"phi", in->phi},     {"cfg_scale", &cfg_scale},          {"classifier_scale", &classifier_scale},
                 {"ctx", in->ctx}};
    for (int i = 0; i < veer_plan_input_count(plan); i++) {
        size_t k = 0, count = sizeof known / sizeof *known;
        while (k < count && strcmp(known[k].name, veer_plan_input_name(plan, i))) k++;
        if (k == count) fail_msg("@sample has an argument '%s'", veer_plan_input_name(plan, i));
        veer_exec_bind_input(exec, i, known[k].data);
    }
}

/* ---- comparison ---- */

typedef struct results_s {
    float x_0[SAMPLES * SIZE], x[MOST_STEPS * SAMPLES * SIZE];
    int64_t tokens[SAMPLES * SIZE / WIDTH];
} results_t;

static void run_on(const setup_t *u, given_t *in, const char *backend, results_t *out) {
    veer_graph_t *g;
    veer_func_t f;
    veer_plan_t *plan;
    veer_exec_t *exec;
    veer_compile_options_t options = {.backend = backend};
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    require_ok(build(g, u, in, &f));
    require_ok(veer_compile_func(g, f, &options, veer_allocator_system(), &plan));
    require_ok(veer_exec_create(plan, &exec));
    bind(u, in, plan, exec);
    memset(out, 0xff, sizeof *out);
    for (int i = 0; i < veer_plan_output_count(plan); i++) {
        const char *name = veer_plan_output_name(plan, i);
        void *data = !strcmp(name, "x_0")      ? (void *)out->x_0
                     : !strcmp(name, "tokens") ? (void *)out->tokens
                     : !strcmp(name, "x")      ? (void *)out->x
                                               : NULL;
        assert_non_null(data);
        veer_exec_bind_output(exec, i, data);
    }
    assert_int_equal(veer_plan_find_output(plan, "x") >= 0, u->s.record);
    assert_int_equal(veer_plan_find_output(plan, "tokens") >= 0, u->s.clamp_below > 0 || u->s.vocab);
    require_ok(veer_exec_run(exec, &(veer_run_options_t){.threads = 2}));
    veer_exec_destroy(exec);
    veer_plan_destroy(plan);
    veer_graph_destroy(g);
}

/* Relative to the step's largest element, at least to 1. A setup that runs away would measure nothing. */
static double step_error(const setup_t *u, const float *got, const double *want) {
    double worst = 0, largest = 1;
    for (int i = 0; i < SAMPLES * SIZE; i++) {
        double error = fabs(got[i] - want[i]);
        if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
        largest = fmax(largest, fabs(want[i]));
    }
    if (!(largest < 30)) fail_msg("%s: elements of %g, choose milder settings", u->name, largest);
    return worst / largest;
}

static void check_results(const setup_t *u, const given_t *in, const results_t *r, const char *backend) {
    static double want[MOST_STEPS][SAMPLES * SIZE];
    host_sample(u, in, want);
    const double *last = want[u->kept_count - 1];
    double worst = step_error(u, r->x_0, last);
    for (int s = 0; s < u->kept_count && u->s.record; s++)
        worst = fmax(worst, step_error(u, r->x + s * SAMPLES * SIZE, want[s]));
    if (worst > 1e-5) fail_msg("%s on %s: error %g", u->name, backend, worst);
    for (int row = 0; row < SAMPLES * SIZE / WIDTH && (u->s.clamp_below > 0 || u->s.vocab); row++)
        assert_int_equal(r->tokens[row], host_nearest(in->embeddings, last + row * WIDTH));
}

static void check(const setup_t *u) {
    given_t in = make_given(u);
    results_t r;
    run_on(u, &in, "reference", &r);
    check_results(u, &in, &r, "reference");
    run_on(u, &in, "auto", &r);
    check_results(u, &in, &r, "auto");
}

/* Six of twelve steps with given noise, an unguided epsilon network on images. */
static setup_t usual(const char *name) {
    setup_t u = {.name = name, .s = veer_sampler_default(), .kept = {0, 2, 3, 6, 9, 11}, .kept_count = 6};
    u.net = (net_t){.rank = 4, .time_dtype = VEER_DTYPE_I64, .label_dtype = VEER_DTYPE_I64};
    u.classifier = u.net;
    u.s.init_given = u.s.noise_given = u.s.record = true;
    u.s.variance = VEER_VARIANCE_FIXED_LARGE;
    u.s.null_label = NULL_LABEL;
    u.s.clip_range = 1.5;
    return u;
}

static setup_t guided(const char *name, veer_head_t head) {
    setup_t u = usual(name);
    u.guided = true;
    u.s.head = head;
    u.classifier_scale = 1.7;
    return u;
}

/* ---- the tests ---- */

static void test_variances(void **state) {
    (void)state;
    static const struct {
        const char *name;
        veer_variance_t variance;
        double v0, fraction;
    } kinds[] = {{"fixed_small", VEER_VARIANCE_FIXED_SMALL, 0, 0},
                 {"fixed_large", VEER_VARIANCE_FIXED_LARGE, 0, 0},
                 {"fixed_range", VEER_VARIANCE_FIXED_RANGE, 0, 0.3},
                 {"learned", VEER_VARIANCE_LEARNED, -1.5, 0},
                 {"learned sigma^2", VEER_VARIANCE_LEARNED_SIGMA2, 0.4, 0},
                 {"learned_range", VEER_VARIANCE_LEARNED_RANGE, -0.2, 0}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int rank = 2; rank <= 4; rank++) /* the channels' axis: 1, but the last one of [N, L, E] */
            for (int last = 0; last < 2; last++) {
                setup_t u = rank == 3 ? guided(kinds[k].name, VEER_HEAD_SOFTMAX) : usual(kinds[k].name);
                u.s.variance = kinds[k].variance;
                u.s.final_noise = last;
                u.fraction = kinds[k].fraction;
                u.net.rank = u.classifier.rank = rank;
                u.net.v0 = kinds[k].v0;
                u.net.variance = veer_variance_is_learned(u.s.variance);
                check(&u);
            }
}

static void test_predictions(void **state) {
    (void)state;
    for (int p = VEER_PREDICTION_EPSILON; p <= VEER_PREDICTION_SCORE; p++)
        for (int kind = VEER_SAMPLER_DDPM; kind <= VEER_SAMPLER_DDIM; kind++)
            for (int clip = 0; clip < 2; clip++) {
                static const char *const names[] = {"epsilon", "sample", "v_prediction", "score"};
                setup_t u = guided(names[p], VEER_HEAD_BERNOULLI);
                u.s.prediction = (veer_prediction_t)p;
                u.s.kind = (veer_sampler_kind_t)kind;
                u.s.clip = clip;
                u.s.clip_range = 0.7;
                check(&u);
            }
}

static void test_ddim(void **state) {
    (void)state;
    static const double etas[] = {0, 0.7, 1};
    for (int e = 0; e < 3; e++)
        for (int with_guide = 0; with_guide < 2; with_guide++)
            for (int learned = 0; learned < 2; learned++) { /* whose channels are dropped */
                setup_t u = with_guide ? guided("ddim, guided", VEER_HEAD_SOFTMAX) : usual("ddim");
                u.s.kind = VEER_SAMPLER_DDIM;
                u.s.eta = etas[e];
                u.s.variance = learned ? VEER_VARIANCE_LEARNED_RANGE : VEER_VARIANCE_FIXED_SMALL;
                u.net.variance = learned;
                check(&u);
            }
}

static void test_guidance_places(void **state) {
    (void)state;
    for (int head = VEER_HEAD_SOFTMAX; head <= VEER_HEAD_LOGP; head++)
        for (int at = VEER_GRAD_AT_XT; at <= VEER_GRAD_AT_X0; at++)
            for (int prediction = VEER_PREDICTION_EPSILON; prediction <= VEER_PREDICTION_SCORE; prediction++) {
                static const char *const names[] = {"at xt", "at mu", "at x0"};
                if (at != VEER_GRAD_AT_X0 && prediction != VEER_PREDICTION_EPSILON)
                    continue; /* only there it matters */
                setup_t u = guided(names[at], (veer_head_t)head);
                u.s.grad_at = (veer_grad_at_t)at;
                u.s.prediction = (veer_prediction_t)prediction;
                if (at == VEER_GRAD_AT_X0) u.classifier_scale = 0.2; /* steep through a small sqrt(abar) */
                u.net.variance = true;
                u.s.variance = VEER_VARIANCE_LEARNED_RANGE;
                check(&u);
            }
}

static void test_noise_guidance(void **state) {
    (void)state;
    static const veer_grad_at_t places[] = {VEER_GRAD_AT_XT, VEER_GRAD_AT_X0};
    for (int k = 0; k < 2; k++)
        for (int kind = VEER_SAMPLER_DDPM; kind <= VEER_SAMPLER_DDIM; kind++)
            for (int clip = 0; clip < 2; clip++) {
                setup_t u = guided("noise guidance", VEER_HEAD_SOFTMAX);
                u.s.guidance = VEER_GUIDANCE_NOISE;
                u.s.grad_at = places[k];
                u.s.kind = (veer_sampler_kind_t)kind;
                u.s.eta = 0.7;
                u.s.clip = clip;
                check(&u);
            }
}

/* The label-free energy, and one whose class is an integer input of any width. */
static void test_classifier_inputs(void **state) {
    (void)state;
    static const veer_dtype_t dtypes[] = {VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_I16};
    for (size_t k = 0; k < sizeof dtypes / sizeof *dtypes; k++)
        for (int head = VEER_HEAD_SOFTMAX; head <= VEER_HEAD_LOGP; head += 2) {
            setup_t u = guided("class as an input", (veer_head_t)head);
            u.target_input = true;
            u.classifier.label_dtype = dtypes[k];
            u.classifier.time_shape = k == 1 ? TIME_NONE : TIME_BATCH;
            check(&u);
        }
}

static void test_classifier_free(void **state) {
    (void)state;
    static const double scales[] = {1, 3, 0.4, -1};
    for (int k = 0; k < 4; k++)
        for (int extra = 0; extra < 4; extra++) {
            setup_t u = extra & 2 ? guided("cfg and classifier", VEER_HEAD_BERNOULLI) : usual("cfg");
            u.s.cfg = true;
            u.cfg_scale = scales[k];
            u.net.labels = true;
            u.net.self_cond = extra & 1;
            u.net.ctx = extra & 1;
            u.net.variance = true;
            u.s.variance = VEER_VARIANCE_LEARNED_RANGE;
            u.s.grad_at = extra == 3 ? VEER_GRAD_AT_X0 : VEER_GRAD_AT_XT;
            u.net.label_dtype = k % 2 ? VEER_DTYPE_I32 : VEER_DTYPE_I64;
            check(&u);
        }
}

static void test_labels(void **state) {
    (void)state;
    for (int null_only = 0; null_only < 2; null_only++) {
        setup_t u = usual("labels without guidance");
        u.net.labels = true;
        u.s.null_labels_only = null_only;
        check(&u);
    }
}

static void test_self_conditioning(void **state) {
    (void)state;
    for (int place = -1; place <= VEER_GRAD_AT_X0; place++)
        for (int clip = 0; clip < 2; clip++) { /* what is fed back is raw, clipped or not */
            setup_t u = place < 0 ? usual("self-conditioning") : guided("self-conditioning", VEER_HEAD_SOFTMAX);
            u.net.self_cond = true;
            u.s.prediction = VEER_PREDICTION_SAMPLE;
            u.s.grad_at = place < 0 ? VEER_GRAD_AT_XT : (veer_grad_at_t)place;
            u.s.clip = clip;
            u.s.clip_range = 0.3;
            check(&u);
        }
}

static void test_clamp(void **state) {
    (void)state;
    static const int64_t below[] = {0, 1, 3, 100};
    for (size_t k = 0; k < sizeof below / sizeof *below; k++)
        for (int kind = VEER_SAMPLER_DDPM; kind <= VEER_SAMPLER_DDIM; kind++)
            for (int rank = 3; rank <= 4; rank++) {
                setup_t u = guided("clamp", VEER_HEAD_BERNOULLI);
                u.net.rank = u.classifier.rank = rank;
                u.s.kind = (veer_sampler_kind_t)kind;
                u.s.prediction = VEER_PREDICTION_SAMPLE;
                u.s.clamp_below = below[k];
                u.s.vocab = VOCAB; /* tokens also where nothing is clamped */
                u.net.self_cond = true;
                u.s.clip = rank == 4;
                u.s.clip_range = 0.5; /* the clamp comes first */
                check(&u);
            }
}

static void test_timesteps(void **state) {
    (void)state;
    static const veer_dtype_t dtypes[] = {VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_F32, VEER_DTYPE_F64};
    static const double scales[] = {1, 2, 0.25};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (int shape = TIME_BATCH; shape <= TIME_NONE; shape++)
            for (int k = 0; k < 3; k++) {
                bool fraction = k == 2; /* integers would have to be rounded: an error, see test_pipeline_errors */
                if (fraction && veer_dtype_is_integer(dtypes[d])) continue;
                if (shape != TIME_BATCH && k == 1) continue;
                setup_t u = guided("timesteps", VEER_HEAD_SOFTMAX);
                u.net.time_dtype = u.classifier.time_dtype = dtypes[d];
                u.net.time_shape = u.classifier.time_shape = shape;
                u.s.timestep_scale = scales[k];
                u.s.grad_at = (veer_grad_at_t)(shape % 3);
                u.s.cfg = shape == TIME_BATCH; /* [2 N] */
                u.cfg_scale = 2;
                u.net.labels = u.s.cfg;
                check(&u);
            }
}

/* x_T and noise from outside or from the generator, each on its own; no record. */
static void test_noise(void **state) {
    (void)state;
    for (int k = 0; k < 8; k++) {
        setup_t u = usual("noise");
        u.s.init_given = k & 1;
        u.s.noise_given = k & 2;
        u.s.record = k & 4;
        check(&u);
        u.s.kind = VEER_SAMPLER_DDIM, u.s.eta = 0.7;
        check(&u);
    }
}

static void test_short_runs(void **state) {
    (void)state;
    static const veer_variance_t kinds[] = {VEER_VARIANCE_FIXED_SMALL, VEER_VARIANCE_FIXED_LARGE,
                                            VEER_VARIANCE_FIXED_RANGE, VEER_VARIANCE_LEARNED_RANGE};
    for (int steps = 1; steps <= 2; steps++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            for (int place = VEER_GRAD_AT_XT; place <= VEER_GRAD_AT_X0; place++)
                for (int final_noise = 0; final_noise < 2; final_noise++) {
                    setup_t u = guided("one or two steps", VEER_HEAD_LOGP);
                    u.kept_count = steps;
                    u.kept[0] = 4; /* the last step of the run is not training's first */
                    u.kept[1] = 9;
                    u.s.variance = kinds[k];
                    u.net.variance = veer_variance_is_learned(kinds[k]);
                    u.net.self_cond = k == 1;
                    u.fraction = 0.8;
                    u.s.grad_at = (veer_grad_at_t)place;
                    u.s.final_noise = final_noise;
                    u.s.kind = place == VEER_GRAD_AT_MU || k ? VEER_SAMPLER_DDPM : VEER_SAMPLER_DDIM;
                    check(&u);
                }
}

/* An argument is a pattern of the names of the tests to run. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_variances),
                                       cmocka_unit_test(test_predictions),
                                       cmocka_unit_test(test_ddim),
                                       cmocka_unit_test(test_guidance_places),
                                       cmocka_unit_test(test_noise_guidance),
                                       cmocka_unit_test(test_classifier_inputs),
                                       cmocka_unit_test(test_classifier_free),
                                       cmocka_unit_test(test_labels),
                                       cmocka_unit_test(test_self_conditioning),
                                       cmocka_unit_test(test_clamp),
                                       cmocka_unit_test(test_timesteps),
                                       cmocka_unit_test(test_noise),
                                       cmocka_unit_test(test_short_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
