/* Betas, kept steps and step tables against numbers re-derived with NumPy in double precision. */
#include "models/schedule.h"
#include "tests/unit/limited_allocator.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* 17 digits from another program: what remains is the rounding of 1 - x with x near 1, up to 2^-53 / 3e-6. */
static const double tolerance = 1e-10;

static void assert_close(double actual, double expected) {
    if (fabs(actual - expected) <= tolerance * fabs(expected)) return;
    fail_msg("%.17g, expected %.17g", actual, expected);
}

static void assert_ok(veer_status_t status) {
    if (status) fail_msg("%s", veer_status_message(status, 0));
}

static void assert_error(veer_status_t status, const char *part) {
    assert_int_equal(veer_status_code(status), VEER_ERR_CONFIG);
    if (!strstr(veer_status_message(status, 0), part))
        fail_msg("'%s' lacks '%s'", veer_status_message(status, 0), part);
    veer_status_free(status);
}

static veer_schedule_options_t options_of(veer_betas_kind_t kind, int64_t steps) {
    veer_schedule_options_t options = veer_schedule_options_default();
    options.kind = kind;
    options.steps = steps;
    return options;
}

static void test_betas(void **state) {
    (void)state;
    static const struct {
        veer_betas_kind_t kind;
        int64_t steps;
        double beta[3], abar[3]; /* at index 0, T/2, T-1 */
    } golden[] = {
        {VEER_BETAS_LINEAR,
         1000,
         {0.0001, 0.010059959959959959, 0.02},
         {0.99990000000000001, 0.077796658365023891, 4.0358297653756761e-05}},
        {VEER_BETAS_SCALED_LINEAR,
         1000,
         {0.0001, 0.0057420710676884821, 0.02},
         {0.99990000000000001, 0.33127457951725564, 0.00073341245958081591}},
        {VEER_BETAS_COSINE,
         1000,
         {4.128422482196914e-05, 0.0031556914415850068, 0.999},
         {0.99995871577517803, 0.49228517244880304, 2.4287669070348567e-09}},
        {VEER_BETAS_SIGMOID,
         1000,
         {0.00014920520081703202, 0.010079879790061013, 0.019950794799182971},
         {0.99985079479918293, 0.29888762784675893, 3.9681819905332187e-05}},
        {VEER_BETAS_SQRT,
         2000,
         {0.01464131053316331, 0.0012069759283432901, 0.999},
         {0.98535868946683669, 0.29542331509863634, 2.0204040808180702e-07}},
    };
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        veer_schedule_t s;
        veer_schedule_options_t o = options_of(golden[i].kind, golden[i].steps);
        assert_ok(veer_schedule_init(&s, &o, veer_allocator_system()));
        for (int j = 0; j < 3; j++) {
            int64_t at = j == 0 ? 0 : j == 1 ? s.steps / 2 : s.steps - 1;
            assert_close(s.beta[at], golden[i].beta[j]);
            assert_close(s.abar[at], golden[i].abar[j]);
        }
        veer_schedule_deinit(&s);
    }
}

static void test_linear_end_points(void **state) {
    (void)state;
    veer_schedule_t s;
    veer_schedule_options_t o = options_of(VEER_BETAS_LINEAR, 2000);
    assert_ok(veer_schedule_init(&s, &o, veer_allocator_system()));
    assert_close(s.beta[0], 5e-5); /* named alone: scaled with 1000 / T */
    assert_close(s.beta[1999], 0.01);
    veer_schedule_deinit(&s);
    o.beta_start = 1e-4, o.beta_end = 0.02; /* given: as they are */
    assert_ok(veer_schedule_init(&s, &o, veer_allocator_system()));
    assert_close(s.beta[0], 1e-4);
    assert_close(s.beta[1999], 0.02);
    veer_schedule_deinit(&s);
}

static void test_given_betas(void **state) {
    (void)state;
    double betas[] = {0.1, 0.2, 1.0};
    veer_schedule_t s;
    veer_schedule_options_t o = options_of(VEER_BETAS_GIVEN, 3);
    o.betas = betas;
    assert_ok(veer_schedule_init(&s, &o, veer_allocator_system())); /* the last beta may be 1 */
    assert_close(s.abar[1], 0.72);
    assert_true(s.abar[2] == 0);
    veer_schedule_deinit(&s);
    static const double wrong[] = {0, 1, -0.1, 1.5, NAN, INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        betas[1] = wrong[i];
        assert_error(veer_schedule_init(&s, &o, veer_allocator_system()), "beta of training step 1");
    }
}

static void test_zero_snr(void **state) {
    (void)state;
    veer_schedule_t s;
    veer_schedule_options_t o = options_of(VEER_BETAS_SCALED_LINEAR, 1000);
    o.rescale_zero_snr = true;
    assert_ok(veer_schedule_init(&s, &o, veer_allocator_system()));
    assert_true(s.abar[999] == 0 && s.beta[999] == 1);
    assert_close(s.abar[0], 0.9999); /* the first value stays */
    for (int i = 1; i < 1000; i++) assert_true(s.abar[i] < s.abar[i - 1]);
    veer_schedule_deinit(&s);
    o.steps = 1;
    assert_error(veer_schedule_init(&s, &o, veer_allocator_system()), "at least 2");
}

static void test_bad_schedules(void **state) {
    (void)state;
    veer_schedule_t s;
    static const int64_t lengths[] = {0, -1, INT64_MIN, VEER_MAX_TRAIN_STEPS + 1, INT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        veer_schedule_options_t o = options_of(VEER_BETAS_COSINE, lengths[i]);
        assert_error(veer_schedule_init(&s, &o, veer_allocator_system()), "training steps");
    }
    veer_schedule_options_t o = options_of(VEER_BETAS_LINEAR, 10); /* 0.02 * 1000/10 = 2 */
    assert_error(veer_schedule_init(&s, &o, veer_allocator_system()), "expected 0 < beta < 1");
    veer_betas_kind_t kind;
    assert_error(veer_betas_kind_parse("squaredcos", &kind), "squaredcos_cap_v2");
    assert_error(veer_betas_kind_parse("given", &kind), "not known");
    assert_ok(veer_betas_kind_parse("squaredcos_cap_v2", &kind));
    assert_int_equal(kind, VEER_BETAS_COSINE);
}

/* ---- kept steps ---- */

static void assert_kept(veer_kept_steps_t *kept, const int64_t *expected, int64_t count) {
    assert_int_equal(kept->count, count);
    assert_memory_equal(kept->index, expected, (size_t)count * sizeof *expected);
    veer_kept_steps_deinit(kept);
}
#define ASSERT_KEPT(kept, ...)                                                                                         \
    assert_kept(kept, (const int64_t[]){__VA_ARGS__}, (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

static void test_respacing(void **state) {
    (void)state;
    veer_kept_steps_t kept;
    veer_allocator_t a = veer_allocator_system();
    assert_ok(veer_kept_steps_respacing(&kept, 1000, "10", a));
    ASSERT_KEPT(&kept, 0, 111, 222, 333, 444, 555, 666, 777, 888, 999);
    assert_ok(veer_kept_steps_respacing(&kept, 1000, "ddim10", a));
    ASSERT_KEPT(&kept, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900);
    assert_ok(veer_kept_steps_respacing(&kept, 10, "ddim4", a)); /* stride 3 */
    ASSERT_KEPT(&kept, 0, 3, 6, 9);
    assert_ok(veer_kept_steps_respacing(&kept, 20, "3, 2,1", a)); /* sections of 7, 7, 6 */
    ASSERT_KEPT(&kept, 0, 3, 6, 7, 13, 14);
    assert_ok(veer_kept_steps_respacing(&kept, 8, "3", a)); /* 0, 3.5, 7: half to even */
    ASSERT_KEPT(&kept, 0, 4, 7);
    assert_ok(veer_kept_steps_respacing(&kept, 6, "3", a)); /* 0, 2.5, 5: half to even */
    ASSERT_KEPT(&kept, 0, 2, 5);
    assert_ok(veer_kept_steps_respacing(&kept, 4, "0,2", a));
    ASSERT_KEPT(&kept, 2, 3);
    assert_ok(veer_kept_steps_respacing(&kept, 1, "1", a));
    ASSERT_KEPT(&kept, 0);
}

static void test_bad_respacing(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"", "not understood"},         {"x", "not understood"},         {"10,", "not understood"},
        {",10", "not understood"},      {"-5", "not understood"},        {"5x", "not understood"},
        {"ddim", "not understood"},     {"ddim5,5", "not understood"},   {"99999999999999999999", "not understood"},
        {"ddim0", "no integer stride"}, {"ddim99", "no integer stride"}, {"101", "asks for 101 of the 100"},
        {"51,1", "section 1"},          {"0", "keeps no step"},          {"0,0", "keeps no step"},
        {"1.5", "not understood"}};
    veer_kept_steps_t kept;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_error(veer_kept_steps_respacing(&kept, 100, bad[i].text, veer_allocator_system()), bad[i].part);
}

static void test_spacing(void **state) {
    (void)state;
    veer_kept_steps_t kept;
    veer_allocator_t a = veer_allocator_system();
    assert_ok(veer_kept_steps_spaced(&kept, 1000, 3, VEER_SPACING_LEADING, 0, a));
    ASSERT_KEPT(&kept, 0, 333, 666);
    assert_ok(veer_kept_steps_spaced(&kept, 1000, 3, VEER_SPACING_LEADING, 1, a));
    ASSERT_KEPT(&kept, 1, 334, 667);
    assert_ok(veer_kept_steps_spaced(&kept, 1000, 3, VEER_SPACING_TRAILING, 1, a)); /* no offset here */
    ASSERT_KEPT(&kept, 332, 666, 999);
    assert_ok(veer_kept_steps_spaced(&kept, 1000, 3, VEER_SPACING_LINSPACE, 0, a)); /* 499.5 rounds to even */
    ASSERT_KEPT(&kept, 0, 500, 999);
    assert_ok(veer_kept_steps_spaced(&kept, 1000, 1, VEER_SPACING_LINSPACE, 0, a));
    ASSERT_KEPT(&kept, 0);
    assert_ok(veer_kept_steps_spaced(&kept, 1000, 1, VEER_SPACING_TRAILING, 0, a));
    ASSERT_KEPT(&kept, 999);
    assert_error(veer_kept_steps_spaced(&kept, 1000, 1000, VEER_SPACING_LEADING, 1, a), "reach index 1000");
    assert_error(veer_kept_steps_spaced(&kept, 1000, 10, VEER_SPACING_LEADING, -1, a), "steps_offset");
    assert_error(veer_kept_steps_spaced(&kept, 1000, 10, VEER_SPACING_LEADING, INT64_MAX, a), "steps_offset");
    assert_error(veer_kept_steps_spaced(&kept, 1000, 1001, VEER_SPACING_LINSPACE, 0, a), "expected 1 to 1000");
    assert_error(veer_kept_steps_spaced(&kept, 1000, 0, VEER_SPACING_LINSPACE, 0, a), "expected 1 to 1000");
}

/* Every list ascends, stays inside training and has the length asked for; numpy's arange sometimes yields one more. */
static void test_spacing_properties(void **state) {
    (void)state;
    for (int64_t train = 1; train <= 120; train++)
        for (int64_t count = 1; count <= train; count++)
            for (int spacing = 0; spacing < 3; spacing++) {
                veer_kept_steps_t kept;
                assert_ok(
                    veer_kept_steps_spaced(&kept, train, count, (veer_spacing_t)spacing, 0, veer_allocator_system()));
                assert_int_equal(kept.count, count);
                assert_true(kept.index[0] >= 0 && kept.index[count - 1] < train);
                for (int64_t i = 1; i < count; i++) assert_true(kept.index[i] > kept.index[i - 1]);
                veer_kept_steps_deinit(&kept);
            }
}

static void test_lists(void **state) {
    (void)state;
    veer_kept_steps_t kept;
    veer_allocator_t a = veer_allocator_system();
    assert_ok(veer_kept_steps_list(&kept, 1000, (int64_t[]){5, 999, 0}, 3, a));
    ASSERT_KEPT(&kept, 0, 5, 999);
    assert_error(veer_kept_steps_list(&kept, 1000, (int64_t[]){5, 1000}, 2, a), "timestep 1000");
    assert_error(veer_kept_steps_list(&kept, 1000, (int64_t[]){5, -1}, 2, a), "timestep -1");
    assert_error(veer_kept_steps_list(&kept, 1000, (int64_t[]){5, 7, 5}, 3, a), "listed twice");
    assert_ok(veer_kept_steps_all(&kept, 4, a));
    ASSERT_KEPT(&kept, 0, 1, 2, 3);
}

/* ---- tables ---- */

static void make_table(veer_step_table_t *table, veer_betas_kind_t kind, int64_t steps, const char *respacing,
                       veer_step_table_options_t options) {
    veer_schedule_options_t o = options_of(kind, steps);
    veer_schedule_t schedule;
    veer_kept_steps_t kept;
    assert_ok(veer_schedule_init(&schedule, &o, veer_allocator_system()));
    assert_ok(veer_kept_steps_respacing(&kept, steps, respacing, veer_allocator_system()));
    assert_ok(veer_step_table_init(table, &schedule, &kept, &options, veer_allocator_system()));
    veer_kept_steps_deinit(&kept);
    veer_schedule_deinit(&schedule);
}

/* Cosine, T = 20, 4 kept steps: every column of guided-diffusion's respaced chain. */
static void test_table(void **state) {
    (void)state;
    static const double golden[4][13] = {
        {19, 13, 6.0596446214521626e-06, 0.20312147411833756, 0.99997016738556199, 2.9832614438007887e-05,
         0.79685958159772352, 406.23414348622634, 406.23291266709043, 0.45067928349688458, 0.0043525163681712173,
         -0.22707679940578127, -2.9833059439300382e-05},
        {13, 6, 0.20312147411833756, 0.71985752223970223, 0.71783100427100766, 0.28216899572899234, 0.25235333820440514,
         2.2188200423306994, 1.9806974479330273, 0.76428152620768963, 0.18674177738022157, -1.3769250378133586,
         -0.33152110773389071},
        {6, 0, 0.71985752223970223, 0.99200727868421856, 0.27434249958880452, 0.72565750041119548,
         0.0078272426296036608, 1.1786279245993829, 0.62382993246993912, 0.97537485444585192, 0.024304212253608039,
         -4.8501449855848744, -1.2933779546924746},
        {0, 0, 0.99200727868421856, 1, 0.007992721315781437, 0.99200727868421856, 0, 1.004020477693345,
         0.089761459589138226, 1, 0, -4.8501449855848744, -4.8292239869811899},
    };
    veer_step_table_t t;
    make_table(&t, VEER_BETAS_COSINE, 20, "4", (veer_step_table_options_t){.variance = VEER_VARIANCE_LEARNED_RANGE});
    assert_int_equal(t.steps, 4);
    for (int64_t i = 0; i < 4; i++) {
        const double row[] = {(double)t.timestep[i],
                              (double)t.timestep_next[i],
                              t.abar[i],
                              t.abar_prev[i],
                              t.beta[i],
                              t.alpha[i],
                              t.btilde[i],
                              t.sqrt_recip_abar[i],
                              t.sqrt_recipm1_abar[i],
                              t.mean_x0[i],
                              t.mean_xt[i],
                              t.log_var_min[i],
                              t.log_var_max[i]};
        for (int j = 0; j < 13; j++) assert_close(row[j], golden[i][j]);
        assert_true(t.sigma2_shift[i] == 0 && t.sigma2_noise[i] == 0);
        assert_true(t.noise_on[i] == (i < 3));
        /* (5) is (4) with x0 from eps: the coefficients of x_t and eps agree. */
        assert_close(t.mean_recip[i], t.mean_xt[i] + t.mean_x0[i] * t.sqrt_recip_abar[i]);
        assert_close(t.mean_recip[i] * t.mean_eps[i], t.mean_x0[i] * t.sqrt_recipm1_abar[i]);
        assert_close(t.sqrt_abar[i] * t.sqrt_recip_abar[i], 1);
        assert_close(t.sqrt_one_minus_abar[i], sqrt(1 - t.abar[i]));
    }
    veer_step_table_deinit(&t);
}

static void test_variances(void **state) {
    (void)state;
    static const struct {
        veer_variance_t variance;
        double sigma2[4];
    } golden[] = {
        {VEER_VARIANCE_FIXED_SMALL, {0.79685958159772352, 0.25235333820440514, 0.0078272426296036608, 0}},
        {VEER_VARIANCE_FIXED_LARGE,
         {0.99997016738556199, 0.71783100427100766, 0.27434249958880452, 0.0078272426296036608}},
        {VEER_VARIANCE_FIXED_RANGE,
         {0.84339905526642545, 0.32772709141809736, 0.019044951457971516, 0.0078682883086402949}},
    };
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++)
        for (int final_noise = 0; final_noise < 2; final_noise++) {
            veer_step_table_t t;
            make_table(&t, VEER_BETAS_COSINE, 20, "4",
                       (veer_step_table_options_t){
                           .variance = golden[i].variance, .variance_fraction = 0.25, .final_noise = final_noise});
            for (int64_t j = 0; j < 4; j++) {
                assert_close(t.sigma2_shift[j], golden[i].sigma2[j]);
                assert_close(t.sigma2_noise[j], j < 3 || final_noise ? golden[i].sigma2[j] : 0);
            }
            veer_step_table_deinit(&t);
        }
}

/* One step: beta_1 is its only variance. */
static void test_single_step(void **state) {
    (void)state;
    static const veer_variance_t variances[] = {VEER_VARIANCE_FIXED_SMALL, VEER_VARIANCE_FIXED_LARGE,
                                                VEER_VARIANCE_FIXED_RANGE};
    for (size_t i = 0; i < 3; i++) {
        veer_step_table_t t;
        make_table(&t, VEER_BETAS_LINEAR, 1000, "1",
                   (veer_step_table_options_t){.variance = variances[i], .variance_fraction = 0.5});
        assert_int_equal(t.steps, 1);
        assert_true(t.timestep[0] == 0 && t.timestep_next[0] == 0 && t.abar_prev[0] == 1);
        assert_close(t.beta[0], 1e-4);
        assert_close(t.log_var_min[0], log(1e-4));
        assert_close(t.log_var_max[0], log(1e-4));
        assert_close(t.sigma2_shift[0], variances[i] == VEER_VARIANCE_FIXED_SMALL ? 0 : 1e-4);
        assert_true(t.sigma2_noise[0] == 0);
        veer_step_table_deinit(&t);
    }
}

/* set_alpha_to_one: false ends the run at abar of index 0: the last step of a run that visits 0 changes nothing. */
static void test_final_abar(void **state) {
    (void)state;
    veer_step_table_t t;
    make_table(&t, VEER_BETAS_LINEAR, 1000, "10", (veer_step_table_options_t){.final_abar_is_first = true});
    assert_close(t.abar_prev[9], 0.9999);
    assert_true(t.beta[9] == 0 && t.alpha[9] == 1 && t.mean_x0[9] == 0);
    assert_close(t.mean_xt[9], 1);
    assert_true(isfinite(t.log_var_max[9]));
    veer_step_table_deinit(&t);
}

static void test_bad_tables(void **state) {
    (void)state;
    veer_schedule_options_t o = veer_schedule_options_default();
    veer_schedule_t schedule;
    veer_kept_steps_t kept;
    veer_step_table_t t;
    assert_ok(veer_schedule_init(&schedule, &o, veer_allocator_system()));
    assert_ok(veer_kept_steps_all(&kept, 1001, veer_allocator_system()));
    assert_error(veer_step_table_init(&t, &schedule, &kept, &(veer_step_table_options_t){0}, veer_allocator_system()),
                 "do not fit");
    veer_kept_steps_deinit(&kept);
    assert_ok(veer_kept_steps_all(&kept, 1000, veer_allocator_system()));
    assert_error(veer_step_table_init(&t, &schedule, &kept, &(veer_step_table_options_t){.variance_fraction = NAN},
                                      veer_allocator_system()),
                 "fraction");
    veer_kept_steps_deinit(&kept);
    veer_schedule_deinit(&schedule);
}

static void test_variance_names(void **state) {
    (void)state;
    veer_variance_t variance;
    double fraction = -1;
    assert_ok(veer_variance_parse("fixed_large_log", &variance, &fraction));
    assert_true(variance == VEER_VARIANCE_FIXED_LARGE && fraction == -1);
    assert_ok(veer_variance_parse("fixed_range 0.2", &variance, &fraction));
    assert_true(variance == VEER_VARIANCE_FIXED_RANGE && fraction == 0.2);
    assert_ok(veer_variance_parse("fixed_range:1", &variance, &fraction));
    assert_true(fraction == 1);
    assert_ok(veer_variance_parse("learned_range", &variance, &fraction));
    assert_true(veer_variance_is_learned(variance));
    assert_error(veer_variance_parse("fixed_range 1.2", &variance, &fraction), "from 0 to 1");
    assert_error(veer_variance_parse("fixed_range x", &variance, &fraction), "from 0 to 1");
    assert_error(veer_variance_parse("fixed", &variance, &fraction), "not known");
}

static veer_status_t make_all(veer_allocator_t a) {
    veer_schedule_options_t o = veer_schedule_options_default();
    veer_schedule_t schedule = {0};
    veer_kept_steps_t kept = {0};
    veer_step_table_t t = {0};
    veer_status_t status;
    VEER_GOTO_DONE(veer_schedule_init(&schedule, &o, a));
    VEER_GOTO_DONE(veer_kept_steps_respacing(&kept, 1000, "10,10", a));
    VEER_GOTO_DONE(veer_step_table_init(&t, &schedule, &kept, &(veer_step_table_options_t){0}, a));
done:
    veer_step_table_deinit(&t);
    veer_kept_steps_deinit(&kept);
    veer_schedule_deinit(&schedule);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    for (int budget = 0;; budget++) {
        int left = budget;
        veer_status_t status = make_all(limited_allocator(&left));
        if (!status) {
            assert_true(budget >= 4);
            return;
        }
        assert_int_equal(veer_status_code(status), VEER_ERR_RESOURCE);
        veer_status_free(status);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_betas),
        cmocka_unit_test(test_linear_end_points),
        cmocka_unit_test(test_given_betas),
        cmocka_unit_test(test_zero_snr),
        cmocka_unit_test(test_bad_schedules),
        cmocka_unit_test(test_respacing),
        cmocka_unit_test(test_bad_respacing),
        cmocka_unit_test(test_spacing),
        cmocka_unit_test(test_spacing_properties),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_variances),
        cmocka_unit_test(test_single_step),
        cmocka_unit_test(test_final_abar),
        cmocka_unit_test(test_bad_tables),
        cmocka_unit_test(test_variance_names),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
