/* What a user can get wrong about a pipeline: each has its own message, with code and help. Pipelines are made of the
 * examples and of tiny models written here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "api/veer.h"
#include "frontend/onnx_export.h"
#include "ir/builder.h"
#include "models/sampler.h"
#include "tests/support/tensors.h"
#include "tests/unit/temp_folder.h"

#define DIGITS VEER_EXAMPLES "/digits"
#define CFG    VEER_EXAMPLES "/digits-cfg"
#define E2E    VEER_EXAMPLES "/e2e"

/* ---- tiny models ---- */

typedef struct port_s {
    const char *name;
    veer_type_t type;
} port_t;

/* out = in[0] * 0.5 repeated `times` along axis 1, plus a zero from every other input; or only the sum of in[0]. */
static void write_model(const char *file, const port_t *in, int count, int times, bool sum) {
    veer_graph_t *g;
    veer_func_t f;
    veer_value_t args[4];
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    require_ok(veer_graph_add_func(g, "tiny", &f));
    for (int i = 0; i < count; i++)
        require_ok(veer_region_add_arg(g, veer_func_body(g, f), in[i].type, in[i].name, &args[i]));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_value_t half = veer_mul_c(&b, veer_cast(&b, args[0], VEER_DTYPE_F32), 0.5), out = half;
    for (int i = 1; i < count; i++) {
        veer_value_t all = veer_reduce_all(&b, VEER_OP_REDUCE_SUM, veer_cast(&b, args[i], VEER_DTYPE_F32));
        out = veer_add(&b, out, veer_mul_c(&b, all, 0));
    }
    if (sum) out = veer_reduce_last(&b, VEER_OP_REDUCE_SUM, out, false);
    veer_value_t parts[3] = {out, out, out};
    if (times > 1) out = veer_concat(&b, parts, times, 1);
    veer_builder_return(&b, &out, 1);
    require_ok(veer_func_set_result_name(g, f, 0, "out"));
    require_ok(veer_builder_status(&b));
    require_ok(veer_onnx_export(g, f, temp_path(file), NULL));
    veer_graph_destroy(g);
}

#define F32(...) VEER_TYPE(VEER_DTYPE_F32, __VA_ARGS__)
#define I64(...) VEER_TYPE(VEER_DTYPE_I64, __VA_ARGS__)

static void write_models(void) {
    write_model("two.onnx", (port_t[]){{"x", F32(2, 4)}, {"t", I64(2)}}, 2, 1, false);
    write_model("three.onnx", (port_t[]){{"x", F32(3, 4)}, {"class_labels", I64(3)}}, 2, 1, false);
    write_model("nameless.onnx", (port_t[]){{"foo", F32(2, 4)}}, 1, 1, false);
    write_model("flat.onnx", (port_t[]){{"x", F32(4)}}, 1, 1, false);
    write_model("ints.onnx", (port_t[]){{"x", I64(2, 4)}}, 1, 1, false);
    write_model("wide.onnx", (port_t[]){{"x", F32(2, 4)}}, 1, 3, false);
    write_model("channels.onnx", (port_t[]){{"x", F32(2, 4)}}, 1, 2, false);
    write_model("extra.onnx", (port_t[]){{"x", F32(2, 4)}, {"c", F32(2, 5)}}, 2, 1, false);
    write_model("energy.onnx", (port_t[]){{"x", F32(2, 4)}}, 1, 1, true);
    write_model("energy_c.onnx", (port_t[]){{"x", F32(2, 4)}, {"c", F32(2, 6)}}, 2, 1, true);
    write_model("energy_5.onnx", (port_t[]){{"x", F32(2, 5)}}, 1, 1, true);
    write_model("logits.onnx", (port_t[]){{"x", F32(2, 4)}}, 1, 1, false);
    write_model("cube.onnx", (port_t[]){{"x", F32(2, 2, 2)}}, 1, 1, false);
}

static void write_text(const char *file, const char *text) {
    write_file(temp_path(file), text, strlen(text));
}

static void write_array(const char *file, veer_type_t type) {
    veer_tensor_t t = {type, veer_alloc(veer_allocator_system(), veer_type_bytes(&type))};
    require_ok(veer_npy_write(temp_path(file), &t, veer_allocator_system()));
    free_tensor(&t);
}

static int group_setup(void **state) {
    if (temp_folder_create(state)) return -1;
    write_models();
    write_text("zero_snr.json", "{\"rescale_betas_zero_snr\": true, \"prediction_type\": \"epsilon\"}");
    write_text("threshold.json", "{\"thresholding\": true}");
    write_text("spacing.json", "{\"timestep_spacing\": \"sideways\"}");
    write_text("betas.json", "{\"beta_schedule\": \"wavy\"}");
    write_text("two_guiders.json",
               "[{\"_class_name\": \"ClassifierGuidance\"}, {\"_class_name\": \"ClassifierGuidance\"}]");
    write_text("vocab.txt", "PAD\nEND\nUNK\nword\n");
    write_array("scalar.npy", VEER_SCALAR(VEER_DTYPE_F32));
    write_array("empty.npy", F32(0, 4));
    write_array("x_2_4.npy", F32(2, 4));
    write_array("x_2_5.npy", F32(2, 5));
    write_array("noise_3.npy", F32(3, 2, 4));
    write_array("flat.npy", F32(4));
    write_array("doubles.npy", VEER_TYPE(VEER_DTYPE_F64, 5, 4));
    write_array("width_3.npy", F32(5, 3));
    return 0;
}

/* ---- running a case ---- */

typedef struct case_s {
    const char *folder, *settings; /* "name=value|switch|..."; ~ is the folder of the test's own files */
    const char *message, *help;    /* parts of them; help NULL: there is none */
} case_t;

static void expand(const char *text, char *out, size_t size) {
    size_t at = 0;
    for (; *text && at < size - 1; text++) {
        if (*text == '~')
            at += (size_t)snprintf(out + at, size - at, "%s", temp_folder);
        else
            out[at++] = *text;
    }
    assert_true(at < size);
    out[at] = 0;
}

/* Sets "name=value|..."; the first failure. */
static veer_status_t set_all(veer_settings_t *s, const char *settings) {
    char text[2048], *rest = text;
    expand(settings, text, sizeof text);
    for (char *one; (one = strsep(&rest, "|"));) {
        if (!*one) continue;
        char *value = strchr(one, '=');
        if (value) *value++ = 0;
        VEER_TRY(veer_settings_set(s, one, value));
    }
    return veer_ok();
}

static veer_status_t create(const char *folder, const char *settings, veer_sampling_t **out) {
    veer_settings_t *s;
    VEER_TRY(veer_settings_create(veer_allocator_system(), &s));
    veer_status_t status = set_all(s, settings);
    if (!status) status = veer_settings_set(s, "backend", "reference");
    if (!status) status = veer_sampling_create(folder, s, NULL, out);
    veer_settings_destroy(s);
    return status;
}

/* Where several errors are given at once, one of them is the one expected. */
static bool matches(veer_status_t status, const case_t *c) {
    for (size_t i = 0; i < veer_status_count(status); i++) {
        const char *details = veer_status_details(status, i);
        if (strstr(veer_status_message(status, i), c->message) &&
            (c->help ? strstr(details, c->help) != NULL : !*details))
            return true;
    }
    return false;
}

static bool passes(const case_t *c, veer_code_t code) {
    veer_sampling_t *sampling = (veer_sampling_t *)(uintptr_t)1;
    veer_status_t status = create(c->folder, c->settings, &sampling);
    if (!status) {
        print_error("'%s' went well, expected '%s'\n", c->settings, c->message);
        veer_sampling_destroy(sampling);
        return false;
    }
    assert_ptr_equal(sampling, (void *)1); /* outputs are written on success only */
    bool ok = veer_status_code(status) == code && matches(status, c);
    if (!ok)
        print_error("'%s': (%d) '%s' / '%s', expected (%d) '%s' / '%s'\n", c->settings, veer_status_code(status),
                    veer_status_message(status, 0), veer_status_details(status, 0), code, c->message,
                    c->help ? c->help : "");
    veer_status_free(status);
    return ok;
}

/* All of them, so that a failing run shows every difference. */
static void check_all(const case_t *cases, size_t count, veer_code_t code) {
    bool ok = true;
    for (size_t i = 0; i < count; i++) ok &= passes(&cases[i], code);
    assert_true(ok);
}
#define CHECK_ALL(cases) check_all(cases, sizeof cases / sizeof *cases, VEER_ERR_CONFIG)

/* ---- the cases ---- */

static void test_settings(void **state) {
    (void)state;
    static const case_t cases[] = {
        {DIGITS, "stepz=3", "there is no setting 'stepz'", "did you mean 'steps'?"},
        {DIGITS, "steps=", "--steps needs a value N", NULL},
        {DIGITS, "class=1|steps=ten", "--steps is 'ten', expected an integer", NULL},
        {DIGITS, "class=1|steps=0", "--steps is 0, expected 1 to 1000", NULL},
        {DIGITS, "class=1|steps=99999999999999999999", "expected an integer", NULL},
        {DIGITS, "class=1|eta=much", "--eta is 'much', expected a number", NULL},
        {DIGITS, "class=1|eta=nan", "--eta is 'nan', expected a number", NULL},
        {DIGITS, "class=1,b|steps=1", "--class is '1,b', expected integers separated by commas", NULL},
        {DIGITS, "class=1,|steps=1", "--class is '1,', expected integers separated by commas", NULL},
        {E2E, "target=1;0|steps=1", "--target is '1;0', expected numbers separated by commas", NULL},
        {DIGITS, "class=1|steps=1|input=@file.npy", "--input is '@file.npy', expected NAME=@FILE.npy", NULL},
        {E2E, "target=1|steps=1|text=words", "--text is 'words', expected INPUT=WORDS", NULL},
        {DIGITS, "class=1|steps=1|map-input==x", "--map-input is '=x', expected THEIRS=OURS", NULL},
    };
    CHECK_ALL(cases);
}

static void test_files(void **state) {
    (void)state;
    static const case_t cases[] = {
        {"/nowhere/at/all", "", "there is no folder '/nowhere/at/all'", "unet/model.onnx or transformer/model.onnx"},
        {VEER_EXAMPLES, "", "has no unet/model.onnx and no transformer/model.onnx", "give --denoiser FILE.onnx"},
        {NULL, "steps=2", "no denoiser is given", "give --denoiser FILE.onnx"},
        {NULL, "denoiser=~/two.onnx|embeddings=~/doubles.npy", "doubles.npy: embeddings are f64[5,4], expected f32",
         NULL},
        {NULL, "denoiser=~/two.onnx|embeddings=~/flat.npy", "embeddings are f32[4], expected f32 [vocab, width]", NULL},
        {NULL, "denoiser=~/two.onnx|embeddings=~/empty.npy", "embeddings are f32[0,4]", NULL},
    };
    CHECK_ALL(cases);
}

static void test_other_codes(void **state) {
    (void)state;
    static const case_t unsupported[] = {
        {NULL, "denoiser=~/two.onnx|scheduler=~/threshold.json", "dynamic thresholding is not supported", "false"},
        {DIGITS, "rng=torch-cpu", "generator 'torch-cpu' is not supported", "--init and --noise"},
        {DIGITS, "guider=~/two_guiders.json", "more than one guider of a class", NULL},
    };
    check_all(unsupported, sizeof unsupported / sizeof *unsupported, VEER_ERR_UNSUPPORTED);
    check_all(&(case_t){NULL, "denoiser=~/none.onnx", "none.onnx", NULL}, 1, VEER_ERR_FILE);
}

/* A folder that is there, but so long that no file's path fits. */
static void test_long_path(void **state) {
    (void)state;
    static char folder[4090];
    size_t at = (size_t)snprintf(folder, sizeof folder, "%s", DIGITS);
    while (at + 3 < sizeof folder) folder[at++] = '/', folder[at++] = '.';
    check_all(&(case_t){folder, "class=1", "the path of 'unet/model.onnx'", NULL}, 1, VEER_ERR_CONFIG);
}

static void test_schedules(void **state) {
    (void)state;
    static const case_t cases[] = {
        {DIGITS, "steps=3|timesteps=1,2", "more than one of --steps, --timestep-respacing and --timesteps", "give one"},
        {DIGITS, "timestep-respacing=3|timesteps=1,2", "more than one of", "give one"},
        {DIGITS, "steps=3|timestep-respacing=3", "more than one of", "give one"},
        {DIGITS, "timesteps=1,1000", "1000", NULL},
        {DIGITS, "timestep-respacing=ddim7,", "ddim7,", NULL},
        {NULL, "denoiser=~/two.onnx|scheduler=~/betas.json", "wavy", NULL},
        {NULL, "denoiser=~/two.onnx|scheduler=~/spacing.json|steps=5", "sideways", NULL},
        {NULL, "denoiser=~/two.onnx|scheduler=~/zero_snr.json", "the schedule ends at abar = 0",
         "v_prediction or sample"},
        {DIGITS, "variance-type=medium", "variance_type 'medium' is not known", NULL},
        {DIGITS, "variance-type=fixed_range:2", "fixed_range has fraction '2'", NULL},
    };
    CHECK_ALL(cases);
}

static void test_sampler_settings(void **state) {
    (void)state;
    static const case_t cases[] = {
        {DIGITS, "sampler=plms", "unknown sampler 'plms'", "use one of: ddpm, ddim"},
        {DIGITS, "prediction-type=noise", "unknown prediction type 'noise'", "epsilon, sample, v_prediction, score"},
        {DIGITS, "eta=1.5", "--eta is 1.5, expected 0 to 1", NULL},
        {DIGITS, "clamp-below=-1", "--clamp-below is -1, expected 0", NULL},
        {DIGITS, "rng=mt19937", "unknown generator 'mt19937'", "use philox"},
        {DIGITS, "classifier-head=linear", "unknown classifier head 'linear'", "use softmax, bernoulli or logp"},
        {DIGITS, "grad-at=x1", "unknown place for the gradient 'x1'", "xt, mu, x0"},
        {DIGITS, "guidance=both", "unknown guidance 'both'", "mean, noise"},
        {CFG, "classifier-scale=2", "classifier guidance is asked for, but there is no classifier",
         "--classifier-scale 0"},
        {DIGITS, "cfg-scale=2", "classifier-free guidance needs the empty label", "give --null-label K"},
        {DIGITS, "class=1|steps=1|grad-at=mu|guidance=noise", "a gradient at mu goes with DDPM's mean guidance only",
         "use --grad-at xt"},
        {DIGITS, "class=1|steps=1|grad-at=mu|sampler=ddim", "a gradient at mu goes with DDPM's mean guidance only",
         "--sampler ddpm"},
        {DIGITS, "class=1|steps=1|clamp-below=10", "the nearest-embedding clamp needs embeddings", "give --embeddings"},
        {DIGITS, "class=1|timestep-scale=0.3|timesteps=5",
         "timestep 5 times the scale 0.3 is not an integer, but the network's timestep input is i64", NULL},
    };
    CHECK_ALL(cases);
}

static void test_networks(void **state) {
    (void)state;
    static const case_t cases[] = {
        {DIGITS, "class=1|steps=1|self-cond=prev", "--self-cond names 'prev', but the denoiser has no such input",
         NULL},
        {NULL, "denoiser=~/nameless.onnx|steps=1", "nameless.onnx: no input is called sample, x or x_t",
         "--map-input NAME=sample"},
        {NULL, "denoiser=~/two.onnx|steps=1|map-input=x=image", "no input is called sample, x or x_t", "--map-input"},
        {NULL, "denoiser=~/two.onnx|classifier=~/nameless.onnx|class=1|steps=1", "nameless.onnx: no input is called",
         "--map-input"},
        {DIGITS, "class=1|steps=1|map-input=image=sample", "--map-input image=sample: no model has an input 'image'",
         "the models' inputs are 'sample', 'timestep', 'x', 'timesteps'"},
        {DIGITS, "classifier-scale=0|steps=1|map-input=timesteps=t|map-input=image=sample",
         "--map-input image=sample: no model has an input 'image'", "'sample', 'timestep', 'x', 'timesteps'"},
        {DIGITS, "class=1|steps=1|dim=height=none", "--dim height=none: expected a number of at least 1", NULL},
        {DIGITS, "class=1|steps=1|dim=height=0", "--dim height=0: expected a number of at least 1", NULL},
        {NULL, "denoiser=~/three.onnx|cfg-scale=2|null-label=1|class=0|steps=1",
         "three.onnx: classifier-free guidance runs both branches in one batch, but the batch is fixed at 3", NULL},
        {NULL, "denoiser=~/two.onnx|steps=1|batch-size=4", "--batch-size is 4, but the model's batch is fixed at 2",
         "symbolic batch"},
        {NULL, "denoiser=~/flat.onnx|steps=1", "the denoiser's x_t is f32[4], expected f32 with the batch first", NULL},
        {NULL, "denoiser=~/ints.onnx|steps=1", "the denoiser's x_t is i64[2,4], expected f32 with the batch first",
         NULL},
        {NULL, "denoiser=~/wide.onnx|steps=1", "the denoiser's output is f32[2,12], expected x_t's type f32[2,4]",
         NULL},
        {NULL, "denoiser=~/two.onnx|steps=1|variance-type=learned",
         "a learned variance needs twice the channels, the denoiser's output is f32[2,4]",
         "fixed_small or fixed_large"},
        {NULL, "denoiser=~/channels.onnx|steps=1",
         "the denoiser's output f32[2,8] has variance channels, but the variance type is a fixed one",
         "learned_range or learned"},
        {NULL, "denoiser=~/two.onnx|steps=1|embeddings=~/width_3.npy",
         "embeddings are [5, 3], but the last dimension of x_t is 4", NULL},
        {NULL, "denoiser=~/two.onnx|classifier=~/energy_5.onnx|classifier-head=logp|steps=1",
         "the classifier's x_t is f32[2,5], the denoiser's f32[2,4]", NULL},
        {NULL, "denoiser=~/extra.onnx|classifier=~/energy_c.onnx|classifier-head=logp|steps=1",
         "input 'c' is f32[2,5] for one model and f32[2,6] for the other", "rename one of them with --map-input"},
        {NULL, "denoiser=~/two.onnx|classifier=~/energy.onnx|class=1|steps=1",
         "classifier: head softmax needs logits [batch, classes], the output is f32[2]", NULL},
        {NULL, "denoiser=~/two.onnx|classifier=~/logits.onnx|target=1|steps=1",
         "classifier: head bernoulli needs one logit per sample, [batch] or [batch, 1]; the output is f32[2,4]", NULL},
        {NULL, "denoiser=~/two.onnx|classifier=~/logits.onnx|classifier-head=logp|steps=1",
         "classifier: head logp needs one value per sample, [batch], [batch, 1] or a scalar; the output is f32[2,4]",
         NULL},
    };
    CHECK_ALL(cases);
}

static void test_too_many_dims(void **state) {
    (void)state;
    char settings[2048] = "class=1|steps=1";
    for (int i = 0; i < 64; i++) strcat(settings, "|dim=height=8");
    check_all(&(case_t){DIGITS, settings, "more than 63 --dim", NULL}, 1, VEER_ERR_CONFIG);
}

static void test_inputs(void **state) {
    (void)state;
    static const case_t cases[] = {
        {DIGITS, "class=1,2,3|num-samples=2|steps=1", "--class has 3 entries for 2 samples", "one entry for all"},
        {CFG, "class-labels=1,2,3|num-samples=2|steps=1", "--class-labels has 3 entries for 2 samples", "one entry"},
        {E2E, "target=1,0,1|num-samples=2|steps=1", "--target has 3 entries for 2 samples", "one entry for all"},
        {E2E, "text=y=a|text=y=b|text=y=c|num-samples=2|steps=1|self-cond=x0_prev",
         "--text has 3 entries for 2 samples", "one entry for all"},
        {DIGITS, "num-samples=0|class=1", "--num-samples is 0, expected 1", NULL},
        {DIGITS, "steps=1", "the classifier's class is not given", "give --class K, or --classifier-scale 0"},
        {DIGITS, "steps=1|class=10", "--class 10 is out of range", "the model has classes 0 to 9"},
        {DIGITS, "steps=1|class=-1", "--class -1 is out of range", "the model has classes 0 to 9"},
        {CFG, "steps=1|class-labels=11", "--class-labels 11 is out of range", "the model has classes 0 to 10"},
        {CFG, "steps=1|class=11", "--class 11 is out of range", "the model has classes 0 to 10"},
        {CFG, "steps=1|class=1|null-label=11", "--null-label 11 is out of range", "the model has classes 0 to 10"},
        {CFG, "steps=1", "the denoiser's class_labels are not given", "give --class-labels K or --class K"},
        {NULL, "denoiser=~/two.onnx|classifier=~/energy.onnx|classifier-head=bernoulli|steps=1",
         "the target of the Bernoulli head is not given", "give --target 1"},
        {E2E, "steps=1|self-cond=x0_prev", "input 'y' i64[1,44] is not given", "or --text y='words'"},
        {E2E, "steps=1|text=y=a", "input 'x0_prev' f32[1,40,32] is not given", "or --self-cond x0_prev"},
        {E2E, "steps=1|self-cond=x0_prev|input=y=tokens.npy", "--input is 'tokens.npy', expected @FILE.npy", NULL},
        {NULL, "denoiser=~/extra.onnx|steps=1|input=c=@~/x_2_4.npy", "input 'c' is f32[2,4], expected f32[1,5]", NULL},
        {NULL, "denoiser=~/extra.onnx|steps=1|num-samples=3|input=c=@~/x_2_5.npy",
         "input 'c' is f32[2,5], expected f32[3,5]", NULL},
        {NULL, "denoiser=~/extra.onnx|steps=1|text=c=word", "--text c needs a vocabulary", "give --vocab FILE.txt"},
        {NULL, "denoiser=~/extra.onnx|steps=1|text=c=word|vocab=~/vocab.txt",
         "--text c: the input is f32[2,5], expected i64 [batch, length]", NULL},
        {DIGITS, "class=1|steps=1|input=y=@~/x_2_4.npy", "no model that is used has an input 'y'", "veer inspect"},
        {NULL, "denoiser=~/two.onnx|steps=1|init=~/x_2_5.npy", "--init is f32[2,5], expected f32[2,4]", NULL},
        {NULL, "denoiser=~/two.onnx|steps=1|num-samples=3|init=~/x_2_4.npy", "--init is f32[2,4], expected f32[3,4]",
         NULL},
        {NULL, "denoiser=~/two.onnx|steps=1|init=~/scalar.npy", "--init is f32[], expected x_T of at least one sample",
         NULL},
        {NULL, "denoiser=~/two.onnx|steps=1|init=~/empty.npy",
         "--init is f32[0,4], expected x_T of at least one sample", NULL},
        {NULL, "denoiser=~/two.onnx|steps=2|num-samples=2|noise=~/noise_3.npy",
         "--noise is f32[3,2,4], expected f32[2,2,4]", "the run has 2 steps"},
        {NULL, "denoiser=~/two.onnx|steps=3|num-samples=3|noise=~/noise_3.npy",
         "--noise is f32[3,2,4], expected f32[3,3,4]", NULL},
    };
    CHECK_ALL(cases);
}

/* All that is missing, at once. */
static void test_together(void **state) {
    (void)state;
    veer_sampling_t *sampling;
    veer_status_t status = create(E2E, "steps=1|init=~/x_2_4.npy|num-samples=1", &sampling);
    assert_int_equal(veer_status_code(status), VEER_ERR_CONFIG);
    assert_int_equal(veer_status_count(status), 3); /* x_T, x0_prev, y */
    veer_status_free(status);
}

static void test_backend(void **state) {
    (void)state;
    veer_compiled_t *compiled;
    veer_compile_options_t o = {.backend = "cuda"};
    assert_error(veer_compile_model(temp_path("two.onnx"), &o, &compiled), VEER_ERR_CONFIG, "unknown backend 'cuda'");
    assert_error(veer_compile_model(temp_path("two.onnx"), &o, &compiled), VEER_ERR_CONFIG, "use auto or reference");
}

/* ---- results ---- */

static void check_saves(const char *settings, const case_t *cases, size_t count) {
    veer_sampling_t *sampling;
    veer_samples_t samples;
    require_ok(create(NULL, settings, &sampling));
    require_ok(veer_sampling_run(sampling, NULL, &samples));
    for (size_t i = 0; i < count; i++) {
        const char *path = temp_path(cases[i].settings);
        assert_error(veer_sampling_save(sampling, &samples, path), VEER_ERR_CONFIG, cases[i].message);
        if (cases[i].help) assert_error(veer_sampling_save(sampling, &samples, path), VEER_ERR_CONFIG, cases[i].help);
        assert_int_equal(access(path, F_OK), -1); /* a file that could not be written is not there */
    }
    char *words;
    assert_error(veer_sampling_save_record(sampling, &samples, temp_path("record.npz")), VEER_ERR_CONFIG,
                 "no trajectory was kept; set `record`");
    assert_error(veer_sampling_words(sampling, &samples, 0, &words), VEER_ERR_CONFIG,
                 "text needs embeddings and a vocabulary");
    veer_samples_deinit(&samples);
    veer_sampling_destroy(sampling);
}

static void test_saving(void **state) {
    (void)state;
    static const case_t flat[] = {
        {NULL, "x.npz", "x.npz: an .npz holds images, but samples have 1 dimensions", "use .npy"},
        {NULL, "x.png", "x.png: samples are f32[1,4], a picture needs [N, 1 or 3, H, W]", "use .npy"},
        {NULL, "x.jsonl", "x.jsonl: text needs embeddings, a vocabulary and x_t", "--vocab FILE.txt"},
        {NULL, "x.txt", "x.txt: unknown ending", "use .npy, .npz, .png or .jsonl"},
        {NULL, "npy", "npy: unknown ending", "use .npy"}};
    check_saves("denoiser=~/two.onnx|steps=1", flat, sizeof flat / sizeof *flat);
    check_saves("denoiser=~/cube.onnx|steps=1", flat + 2, 1);
}

/* ---- what the api checks before, and models/sampler.h on its own ---- */

static void check_sampler(const veer_type_t *type, const veer_role_t *roles, bool cfg, bool classifier,
                          const char *message) {
    veer_graph_t *g;
    veer_func_t f, sample;
    veer_value_t x;
    require_ok(veer_graph_create(veer_allocator_system(), &g));
    require_ok(veer_graph_add_func(g, "net", &f));
    require_ok(veer_region_add_arg(g, veer_func_body(g, f), *type, "x", &x));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    veer_builder_return(&b, &x, 1);
    require_ok(veer_builder_status(&b));
    static const veer_role_t as_x[] = {VEER_ROLE_X};
    veer_sampler_t s = veer_sampler_default();
    s.cfg = cfg;
    s.denoiser = (veer_network_t){f, classifier ? as_x : roles};
    if (classifier) s.classifier = (veer_network_t){f, roles};
    veer_schedule_options_t o = veer_schedule_options_default();
    veer_step_table_options_t table_options = {0};
    veer_schedule_t schedule;
    veer_kept_steps_t kept;
    veer_step_table_t table;
    o.steps = 100;
    require_ok(veer_schedule_init(&schedule, &o, veer_allocator_system()));
    require_ok(veer_kept_steps_all(&kept, 100, veer_allocator_system()));
    require_ok(veer_step_table_init(&table, &schedule, &kept, &table_options, veer_allocator_system()));
    assert_error(veer_sampler_build(g, &s, &table, &sample), VEER_ERR_CONFIG, message);
    veer_step_table_deinit(&table);
    veer_kept_steps_deinit(&kept);
    veer_schedule_deinit(&schedule);
    veer_graph_destroy(g);
}

static void test_sampler_alone(void **state) {
    (void)state;
    veer_type_t odd = F32(3, 4);
    veer_role_t extra[] = {VEER_ROLE_EXTRA}, x[] = {VEER_ROLE_X};
    check_sampler(&odd, extra, false, false, "the denoiser has no input for x_t");
    check_sampler(&odd, extra, false, true, "the classifier has no input for x_t");
    check_sampler(&odd, x, true, false,
                  "classifier-free guidance needs the denoiser at twice the batch, it has f32[3,4]");
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_settings),     cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_other_codes),  cmocka_unit_test(test_long_path),
                                       cmocka_unit_test(test_schedules),    cmocka_unit_test(test_sampler_settings),
                                       cmocka_unit_test(test_networks),     cmocka_unit_test(test_too_many_dims),
                                       cmocka_unit_test(test_inputs),       cmocka_unit_test(test_together),
                                       cmocka_unit_test(test_backend),      cmocka_unit_test(test_saving),
                                       cmocka_unit_test(test_sampler_alone)};
    return cmocka_run_group_tests(tests, group_setup, temp_folder_remove);
}
