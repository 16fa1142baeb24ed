/* scheduler_config.json and guider_config.json: defaults, strictness, and text made to break readers. */
#include "frontend/json_config.h"
#include "ir/base/suggest.h"
#include "tests/unit/limited_allocator.h"
#include "tests/unit/temp_folder.h"

static veer_status_t read_scheduler(const char *text, veer_scheduler_config_t *out) {
    write_file(temp_path("scheduler_config.json"), text, strlen(text));
    return veer_scheduler_config_read(temp_path("scheduler_config.json"), veer_allocator_system(), out);
}

static veer_status_t read_guiders(const char *text, veer_guider_configs_t *out) {
    write_file(temp_path("guider_config.json"), text, strlen(text));
    return veer_guider_configs_read(temp_path("guider_config.json"), veer_allocator_system(), out);
}

static void test_defaults(void **state) {
    (void)state;
    veer_scheduler_config_t c;
    assert_ok(read_scheduler("{}", &c));
    assert_string_equal(c.class_name, "DDPMScheduler");
    assert_int_equal(c.num_train_timesteps, 1000);
    assert_true(c.beta_start == 0.0001 && c.beta_end == 0.02 && c.clip_sample_range == 1 && c.sample_max_value == 1);
    assert_true(c.dynamic_thresholding_ratio == 0.995 && c.steps_offset == 0 && c.trained_betas.count == 0);
    assert_true(c.clip_sample && !c.thresholding && !c.rescale_betas_zero_snr && c.set_alpha_to_one && !c.final_noise);
    assert_string_equal(c.beta_schedule, "linear");
    assert_string_equal(c.variance_type, "fixed_small");
    assert_string_equal(c.prediction_type, "epsilon");
    assert_string_equal(c.timestep_spacing, "leading");
    assert_string_equal(c.notes, "");
    assert_false(c.given.variance_type || c.given.clip_sample || c.given.num_train_timesteps);
    veer_scheduler_config_deinit(&c);
}

static void test_values(void **state) {
    (void)state;
    veer_scheduler_config_t c;
    assert_ok(read_scheduler("{\"_class_name\": \"DDIMScheduler\", \"_diffusers_version\": \"0.30\", \"_x\": [1],"
                             "\"num_train_timesteps\": 3, \"beta_start\": 1, \"trained_betas\": [0.1, 0.2, 1],"
                             "\"set_alpha_to_one\": false, \"clip_sample\": false, \"variance_type\": null,"
                             "\"prediction_type\": \"v_prediction\", \"beta_schedule\": \"squaredcos_cap_v2\","
                             "\"skip_prk_steps\": true, \"rho\": 7.0}",
                             &c));
    assert_string_equal(c.class_name, "DDIMScheduler");
    assert_true(c.num_train_timesteps == 3 && c.beta_start == 1 && c.given.beta_start && !c.given.beta_end);
    assert_true(c.trained_betas.count == 3 && c.trained_betas.values[1] == 0.2 && c.trained_betas.values[2] == 1);
    assert_true(!c.set_alpha_to_one && !c.clip_sample && c.given.clip_sample);
    assert_string_equal(c.prediction_type, "v_prediction");
    assert_string_equal(c.beta_schedule, "squaredcos_cap_v2");
    assert_string_equal(c.variance_type, "fixed_small"); /* null is absent */
    assert_false(c.given.variance_type);
    assert_string_equal(c.notes,
                        "key 'skip_prk_steps' belongs to another scheduler class of diffusers and has no effect\n"
                        "key 'rho' belongs to another scheduler class of diffusers and has no effect");
    veer_scheduler_config_deinit(&c);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        veer_code_t code;
        const char *part;
    } cases[] = {
        {"{\"beta_strat\": 0.1}", VEER_ERR_CONFIG, "did you mean 'beta_start'?"},
        {"{\"prediction-type\": \"epsilon\"}", VEER_ERR_CONFIG, "did you mean 'prediction_type'?"},
        {"{\"solver_ordr\": 2}", VEER_ERR_CONFIG, "did you mean 'solver_order'?"},
        {"{\"completely_different\": 2}", VEER_ERR_CONFIG, "key 'completely_different' is not known"},
        {"{\"\": 2}", VEER_ERR_CONFIG, "key '' is not known"},
        {"{\"\\u001b[31m\": 2}", VEER_ERR_CONFIG, "key '?[31m' is not known"},
        {"{\"_class_name\": \"EulerDiscreteScheduler\", \"x\": 1}", VEER_ERR_UNSUPPORTED,
         "DDPMScheduler, DDIMScheduler"},
        {"{\"_class_name\": 3}", VEER_ERR_CONFIG, "_class_name"},
        {"{\"num_train_timesteps\": 1000.0}", VEER_ERR_CONFIG, "is a number, expected an integer"},
        {"{\"num_train_timesteps\": \"1000\"}", VEER_ERR_CONFIG, "is a string, expected an integer"},
        {"{\"beta_start\": true}", VEER_ERR_CONFIG, "is true, expected a number"},
        {"{\"clip_sample\": 1}", VEER_ERR_CONFIG, "is an integer, expected true or false"},
        {"{\"beta_schedule\": [\"linear\"]}", VEER_ERR_CONFIG, "is a list, expected a string"},
        {"{\"trained_betas\": [0.1, \"x\"]}", VEER_ERR_CONFIG, "is a string, expected a list of numbers"},
        {"{\"trained_betas\": {}}", VEER_ERR_CONFIG, "is an object, expected a list of numbers"},
        {"[]", VEER_ERR_CONFIG, "is a list, expected an object"},
        {"", VEER_ERR_FILE, "not valid JSON"},
        {"{", VEER_ERR_FILE, "not valid JSON"},
        {"{} {}", VEER_ERR_FILE, "not valid JSON"},
        {"{\"beta_start\": NaN}", VEER_ERR_FILE, "not valid JSON"},
        {"{\"beta_start\": 1e999}", VEER_ERR_FILE, "not valid JSON"},
        {"{\"num_train_timesteps\": 99999999999999999999}", VEER_ERR_FILE, "not valid JSON"},
        {"{\"beta_start\": 1, \"beta_start\": 2}", VEER_ERR_FILE, "not valid JSON"},
        {"{\n  \"beta_start\": ,\n}", VEER_ERR_FILE, "scheduler_config.json:2:"},
        {"{\"beta_schedule\": \"\xff\"}", VEER_ERR_FILE, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        veer_scheduler_config_t c;
        assert_error(read_scheduler(cases[i].text, &c), cases[i].code, cases[i].part);
    }
}

static void test_all_errors_at_once(void **state) {
    (void)state;
    veer_scheduler_config_t c;
    veer_status_t status = read_scheduler("{\"beta_strat\": 1, \"clip_sample\": 3, \"thresholding\": \"no\"}", &c);
    assert_int_equal(veer_status_count(status), 3);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(strstr(veer_status_message(status, i), "scheduler_config.json: key"));
    veer_status_free(status);
}

/* Nesting deep enough to overflow a stack is refused by its depth. */
static void test_deep_nesting(void **state) {
    (void)state;
    static char text[200001];
    memset(text, '[', sizeof text - 1);
    veer_scheduler_config_t c;
    assert_error(read_scheduler(text, &c), VEER_ERR_FILE, "not valid JSON");
}

static void test_missing_file(void **state) {
    (void)state;
    veer_scheduler_config_t c;
    assert_error(veer_scheduler_config_read(temp_path("none.json"), veer_allocator_system(), &c), VEER_ERR_FILE,
                 "No such file");
}

/* ---- guiders ---- */

static void test_classifier_guider(void **state) {
    (void)state;
    veer_guider_configs_t g;
    assert_ok(read_guiders("{\"_class_name\": \"ClassifierGuidance\", \"head\": \"bernoulli\", \"target\": 1.0,"
                           "\"class\": [3, 4], \"grad_at\": \"mu\", \"guidance\": \"noise\"}",
                           &g));
    assert_int_equal(g.count, 1);
    const veer_guider_config_t *c = g.items;
    assert_int_equal(c->kind, VEER_GUIDER_CLASSIFIER);
    assert_string_equal(c->head, "bernoulli");
    assert_string_equal(c->grad_at, "mu");
    assert_string_equal(c->guidance, "noise");
    assert_true(c->target.count == 1 && c->target.values[0] == 1);
    assert_true(c->class.count == 2 && c->class.values[0] == 3 && c->class.values[1] == 4);
    assert_true(c->guidance_scale == 1 && !c->given.guidance_scale && c->enabled && c->given.head);
    veer_guider_configs_deinit(&g);
}

static void test_classifier_free_guider(void **state) {
    (void)state;
    veer_guider_configs_t g;
    assert_ok(read_guiders("[{\"_class_name\": \"ClassifierFreeGuidance\", \"null_label\": 10, \"start\": 0.0},"
                           "{\"_class_name\": \"ClassifierFreeGuidance\", \"guidance_scale\": 2,"
                           " \"use_original_formulation\": true, \"enabled\": false},"
                           "{\"_class_name\": \"ClassifierGuidance\"}]",
                           &g));
    assert_int_equal(g.count, 3);
    assert_true(g.items[0].null_label == 10 && g.items[0].given.null_label && !g.items[1].given.null_label);
    assert_true(veer_guider_config_gamma(&g.items[0]) == 7.5);
    assert_true(veer_guider_config_gamma(&g.items[1]) == 3); /* w = 2 is gamma = 3, spec (12) */
    assert_false(g.items[1].enabled);
    assert_int_equal(g.items[2].kind, VEER_GUIDER_CLASSIFIER);
    assert_true(g.items[2].head == NULL && g.items[2].target.count == 0);
    veer_guider_configs_deinit(&g);
    assert_ok(read_guiders("[]", &g));
    assert_int_equal(g.count, 0);
    veer_guider_configs_deinit(&g);
}

static void test_refused_guiders(void **state) {
    (void)state;
    static const struct {
        const char *text;
        veer_code_t code;
        const char *part;
    } cases[] = {
        {"{\"_class_name\": \"PerturbedAttentionGuidance\"}", VEER_ERR_UNSUPPORTED, "ClassifierFreeGuidance"},
        {"{\"head\": \"softmax\"}", VEER_ERR_CONFIG, "_class_name"},
        {"[3]", VEER_ERR_CONFIG, "a guider is an object"},
        {"[[]]", VEER_ERR_CONFIG, "a guider is an object"},
        {"{\"_class_name\": \"ClassifierFreeGuidance\", \"head\": \"softmax\"}", VEER_ERR_CONFIG,
         "key 'head' is not known"},
        {"{\"_class_name\": \"ClassifierGuidance\", \"null_label\": 1}", VEER_ERR_CONFIG,
         "key 'null_label' is not known"},
        {"{\"_class_name\": \"ClassifierGuidance\", \"guidance_scal\": 1}", VEER_ERR_CONFIG,
         "did you mean 'guidance_scale'"},
        {"{\"_class_name\": \"ClassifierGuidance\", \"class\": [1.5]}", VEER_ERR_CONFIG, "expected a list of integers"},
        {"{\"_class_name\": \"ClassifierFreeGuidance\", \"stop\": 0.5}", VEER_ERR_UNSUPPORTED, "stop 0.5"},
        {"{\"_class_name\": \"ClassifierFreeGuidance\", \"guidance_rescale\": 0.7}", VEER_ERR_UNSUPPORTED,
         "rescale 0.7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        veer_guider_configs_t g;
        assert_error(read_guiders(cases[i].text, &g), cases[i].code, cases[i].part);
    }
}

static void test_out_of_memory(void **state) {
    (void)state;
    static const char text[] = "[{\"_class_name\": \"ClassifierGuidance\", \"head\": \"softmax\", \"class\": [1, 2]}]";
    write_file(temp_path("g.json"), text, sizeof text - 1);
    for (int budget = 0;; budget++) {
        int left = budget;
        veer_guider_configs_t g;
        veer_status_t status = veer_guider_configs_read(temp_path("g.json"), limited_allocator(&left), &g);
        if (!status) {
            veer_guider_configs_deinit(&g);
            assert_true(budget >= 2);
            return;
        }
        assert_error(status, VEER_ERR_RESOURCE, "memory");
    }
}

static void test_suggest(void **state) {
    (void)state;
    static const char *const words[] = {"beta_start", "beta_end", "rho", "steps_offset"};
    assert_string_equal(veer_suggest("beta_strat", words, 4), "beta_start");
    assert_string_equal(veer_suggest("Beta-End", words, 4), "beta_end");
    assert_string_equal(veer_suggest("step_offset", words, 4), "steps_offset");
    assert_null(veer_suggest("sigma", words, 4));
    assert_null(veer_suggest("", words, 4));
    assert_null(veer_suggest("beta_start", words, 0));
    char longest[200];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(veer_suggest(longest, words, 4));
    const char *candidate = longest;
    assert_null(veer_suggest("beta", &candidate, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),          cmocka_unit_test(test_values),
        cmocka_unit_test(test_refused),           cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_deep_nesting),      cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_classifier_guider), cmocka_unit_test(test_classifier_free_guider),
        cmocka_unit_test(test_refused_guiders),   cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_suggest),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
