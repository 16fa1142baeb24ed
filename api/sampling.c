/* A compiled pipeline: builds @sample, runs it batch by batch. */
#include "api/sampling.h"

#include "frontend/npy.h"
#include "ir/base/clock.h"
#include "ir/print.h"

#include <stdio.h>
#include <string.h>

/* ---- lists and counts ---- */

static veer_status_t check_list(const char *flag, int64_t length, int64_t samples) {
    if (length <= 1 || length == samples) return veer_ok();
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "%s has %lld entries for %lld samples", flag, (long long)length,
                                       (long long)samples),
                            "give one entry for all samples, or one per sample");
}

/* How many --text there are for `input` (NULL: for the first input that has any). */
static veer_status_t text_count(const veer_settings_t *s, veer_arena_t *arena, const char *input, int64_t *out_count) {
    *out_count = 0;
    for (int i = 0; veer_setting_text(s, VEER_SETTING_TEXT, i); i++) {
        const char *name, *rest;
        VEER_TRY(veer_setting_pair(s, VEER_SETTING_TEXT, i, arena, &name, &rest));
        if (!input) input = name;
        *out_count += !strcmp(name, input);
    }
    return veer_ok();
}

/* --num-samples, else what --init holds, else the longest list, else 1. */
static veer_status_t count_samples(veer_sampling_t *s, const veer_settings_t *settings) {
    veer_parts_t *p = &s->parts;
    int64_t texts;
    VEER_TRY(text_count(settings, &p->arena, NULL, &texts));
    int64_t lists[] = {p->class_count, p->label_count, p->target_count, texts, 1};
    s->count = 1;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i] > s->count) s->count = lists[i];
    if (s->init.data) {
        char text[VEER_TYPE_TEXT_BYTES];
        if (!s->init.type.rank || !s->init.type.dims[0])
            return veer_error(VEER_ERR_CONFIG, "--init is %s, expected x_T of at least one sample [num-samples, ...]",
                              veer_type_text(&s->init.type, text));
        s->count = s->init.type.dims[0];
    }
    VEER_TRY(veer_setting_int(settings, VEER_SETTING_NUM_SAMPLES, 1, 1 << 24, &s->count));
    VEER_TRY(check_list("--class", p->class_count, s->count));
    VEER_TRY(check_list("--class-labels", p->label_count, s->count));
    VEER_TRY(check_list("--target", p->target_count, s->count));
    return veer_ok();
}

static veer_status_t choose_batch(veer_sampling_t *s, const veer_settings_t *settings) {
    int64_t fixed = 0;
    VEER_TRY(veer_networks_check_names(&s->parts, settings));
    VEER_TRY(veer_networks_fixed_batch(&s->parts, settings, &fixed));
    s->batch = fixed ? fixed : s->count < 16 ? s->count : 16;
    int64_t asked = s->batch;
    VEER_TRY(veer_setting_int(settings, VEER_SETTING_BATCH_SIZE, 1, 1 << 20, &asked));
    if (fixed && asked != fixed)
        return veer_status_help(veer_error(VEER_ERR_CONFIG,
                                           "--batch-size is %lld, but the model's batch is fixed at %lld",
                                           (long long)asked, (long long)fixed),
                                "leave --batch-size out, or export the model with a symbolic batch");
    s->batch = asked < s->count || fixed ? asked : s->count;
    return veer_ok();
}

/* ---- inputs ---- */

static veer_status_t read_input(const char *what, const char *rest, veer_allocator_t a, veer_tensor_t *out) {
    if (*rest != '@') return veer_error(VEER_ERR_CONFIG, "%s is '%s', expected @FILE.npy", what, rest);
    return veer_npy_read(rest + 1, a, out);
}

static veer_status_t encode_texts(veer_sampling_t *s, const veer_settings_t *settings, const char *input,
                                  const veer_type_t *type, veer_tensor_t *out) {
    veer_parts_t *p = &s->parts;
    char shape[VEER_TYPE_TEXT_BYTES];
    if (!p->vocab.count)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "--text %s needs a vocabulary", input),
                                "give --vocab FILE.txt");
    if (type->dtype != VEER_DTYPE_I64 || type->rank != 2)
        return veer_error(VEER_ERR_CONFIG, "--text %s: the input is %s, expected i64 [batch, length]", input,
                          veer_type_text(type, shape));
    int64_t count, length = type->dims[1], row = 0;
    VEER_TRY(text_count(settings, &p->arena, input, &count));
    VEER_TRY(check_list("--text", count, s->count));
    out->type = VEER_TYPE(VEER_DTYPE_I64, count, length);
    out->data = veer_alloc_array(s->allocator, (size_t)count, (size_t)length * sizeof(int64_t));
    if (!out->data) return veer_out_of_memory();
    for (int i = 0; veer_setting_text(settings, VEER_SETTING_TEXT, i); i++) {
        const char *name, *words;
        VEER_TRY(veer_setting_pair(settings, VEER_SETTING_TEXT, i, &p->arena, &name, &words));
        if (strcmp(name, input)) continue;
        VEER_TRY(veer_status_where(veer_vocab_encode(&p->vocab, words, length, (int64_t *)out->data + row++ * length),
                                   "--text %s", input));
    }
    return veer_ok();
}

/* A tensor given for a plan's input fits as one row per sample, as one row for all, or whole for every batch. */
static veer_status_t fit_input(veer_sampling_t *s, const char *name, const veer_type_t *want, veer_tensor_t take,
                               veer_feed_t *out) {
    veer_type_t t = take.type, row = *want;
    bool rows = t.dtype == want->dtype && t.rank == want->rank && t.rank > 0 && want->dims[0] == s->batch;
    for (int i = 1; rows && i < t.rank; i++) rows = t.dims[i] == want->dims[i];
    veer_feed_t feed = {.tensor = take, .kind = VEER_FEED_WHOLE};
    bool per_sample = rows && (t.dims[0] == s->count || t.dims[0] == 1);
    if (per_sample) feed.kind = t.dims[0] == s->count ? VEER_FEED_PER_SAMPLE : VEER_FEED_REPEATED;
    if (per_sample || (veer_type_equal(&t, want) && !(rows && s->count > s->batch))) {
        *out = feed;
        return veer_ok();
    }
    char given[VEER_TYPE_TEXT_BYTES], expected[VEER_TYPE_TEXT_BYTES];
    if (row.rank && row.dims[0] == s->batch) row.dims[0] = s->count;
    return veer_error(VEER_ERR_CONFIG, "input '%s' is %s, expected %s", name, veer_type_text(&t, given),
                      veer_type_text(&row, expected));
}

static veer_status_t find_given(veer_sampling_t *s, const veer_settings_t *settings, const char *name,
                                const veer_type_t *type, veer_tensor_t *out, bool *found) {
    for (int i = 0; veer_setting_text(settings, VEER_SETTING_INPUT, i); i++) {
        const char *who, *rest;
        VEER_TRY(veer_setting_pair(settings, VEER_SETTING_INPUT, i, &s->parts.arena, &who, &rest));
        if (strcmp(who, name) || *found) continue;
        *found = true;
        VEER_TRY(read_input("--input", rest, s->allocator, out));
    }
    int64_t texts;
    VEER_TRY(text_count(settings, &s->parts.arena, name, &texts));
    if (*found || !texts) return veer_ok();
    *found = true;
    return encode_texts(s, settings, name, type, out);
}

static veer_status_t missing_input(const veer_sampling_t *s, const char *name, const veer_type_t *type) {
    char text[VEER_TYPE_TEXT_BYTES];
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "input '%s' %s is not given", name, veer_type_text(type, text));
    status = veer_status_help(status, "give --input %s=@FILE.npy", name);
    if (veer_dtype_is_integer(type->dtype) && type->rank == 2)
        status = veer_status_help(status, "or --text %s='words'", name);
    veer_region_t body = veer_func_body(s->graph, s->parts.sampler.denoiser.func);
    const veer_type_t *x = veer_value_type(s->graph, veer_region_arg(s->graph, body, 0));
    if (veer_type_equal(x, type))
        status = veer_status_help(status, "or --self-cond %s, if it takes the previous x0-hat", name);
    return status;
}

/* One value per sample, made from a list of one or of all. */
static veer_status_t feed_ints(veer_sampling_t *s, const int64_t *list, int64_t count, veer_feed_t *out) {
    int64_t *values = veer_alloc_array(s->allocator, (size_t)s->count, sizeof *values);
    if (!values) return veer_out_of_memory();
    for (int64_t i = 0; i < s->count; i++) values[i] = list[count == 1 ? 0 : i];
    *out = (veer_feed_t){.tensor = {VEER_TYPE(VEER_DTYPE_I64, s->count), values}, .kind = VEER_FEED_PER_SAMPLE};
    return veer_ok();
}

static veer_status_t feed_floats(veer_sampling_t *s, const double *list, int64_t count, veer_feed_t *out) {
    float *values = veer_alloc_array(s->allocator, (size_t)s->count, sizeof *values);
    if (!values) return veer_out_of_memory();
    for (int64_t i = 0; i < s->count; i++) values[i] = (float)list[count == 1 ? 0 : i];
    *out = (veer_feed_t){.tensor = {VEER_TYPE(VEER_DTYPE_F32, s->count), values}, .kind = VEER_FEED_PER_SAMPLE};
    return veer_ok();
}

static veer_status_t feed_scalar(veer_sampling_t *s, veer_dtype_t dtype, double value, veer_feed_t *out) {
    void *data = veer_alloc(s->allocator, 8);
    if (!data) return veer_out_of_memory();
    if (dtype == VEER_DTYPE_F32)
        *(float *)data = (float)value;
    else
        *(int64_t *)data = (int64_t)s->parts.seed;
    *out = (veer_feed_t){.tensor = {VEER_SCALAR(dtype), data}, .kind = VEER_FEED_WHOLE};
    return veer_ok();
}

/* Largest index that a label may be: rows of every table that it picks from, through casts, reshapes and
 * concatenations. */
static int64_t label_limit(const veer_graph_t *g, veer_value_t v, int depth) {
    int64_t limit = INT64_MAX;
    for (int i = 0; depth < 16 && i < veer_value_use_count(g, v); i++) {
        int operand;
        veer_node_t n = veer_value_use(g, v, i, &operand);
        veer_op_t op = veer_node_op(g, n);
        int64_t one = INT64_MAX;
        if (op == VEER_OP_GATHER && operand == 1)
            one = veer_value_type(g, veer_node_in(g, n, 0))->dims[veer_node_int(g, n, "axis")];
        else if (op == VEER_OP_GATHER_ELEMENTS && operand == 1)
            one = veer_value_type(g, veer_node_in(g, n, 0))->dims[veer_node_int(g, n, "axis")];
        else if (op == VEER_OP_CAST || op == VEER_OP_RESHAPE || op == VEER_OP_CONCAT || op == VEER_OP_BROADCAST)
            one = label_limit(g, veer_node_out(g, n, 0), depth + 1);
        if (one < limit) limit = one;
    }
    return limit;
}

static veer_status_t check_labels(const char *flag, const int64_t *list, int64_t count, int64_t limit) {
    for (int64_t i = 0; i < count; i++)
        if (list[i] < 0 || list[i] >= limit)
            return veer_status_help(veer_error(VEER_ERR_CONFIG, "%s %lld is out of range", flag, (long long)list[i]),
                                    "the model has classes 0 to %lld", (long long)limit - 1);
    return veer_ok();
}

static veer_status_t check_all_labels(veer_sampling_t *s) {
    const veer_parts_t *p = &s->parts;
    const veer_network_t *nets[2] = {&p->sampler.denoiser, &p->sampler.classifier};
    if (p->sampler.classifier.func.i && p->sampler.head == VEER_HEAD_SOFTMAX) {
        const veer_type_t *logits = veer_value_type(
            s->graph, veer_region_result(s->graph, veer_func_body(s->graph, p->sampler.classifier.func), 0));
        if (logits->rank == 2) VEER_TRY(check_labels("--class", p->class_list, p->class_count, logits->dims[1]));
    }
    for (int k = 0; k < 2; k++) {
        veer_region_t body = nets[k]->func.i ? veer_func_body(s->graph, nets[k]->func) : VEER_NO_REGION;
        for (int i = 0; body.i && i < veer_region_arg_count(s->graph, body); i++) {
            int64_t limit = label_limit(s->graph, veer_region_arg(s->graph, body, i), 0);
            if (nets[k]->roles[i] == VEER_ROLE_TARGET)
                VEER_TRY(check_labels("--class", p->class_list, p->class_count, limit));
            if (nets[k]->roles[i] != VEER_ROLE_LABELS) continue;
            VEER_TRY(check_labels(p->label_count ? "--class-labels" : "--class",
                                  p->label_count ? p->label_list : p->class_list,
                                  p->label_count ? p->label_count : p->class_count, limit));
            if (p->cfg_given) VEER_TRY(check_labels("--null-label", &p->sampler.null_label, 1, limit));
        }
    }
    return veer_ok();
}

static veer_status_t feed_for(veer_sampling_t *s, const veer_settings_t *settings, const char *name,
                              const veer_type_t *type, veer_feed_t *out) {
    veer_parts_t *p = &s->parts;
    if (!strcmp(name, "seed")) return feed_scalar(s, VEER_DTYPE_I64, 0, out);
    if (!strcmp(name, "first_sample")) {
        VEER_TRY(feed_scalar(s, VEER_DTYPE_I64, 0, out));
        out->kind = VEER_FEED_FIRST_SAMPLE;
        return veer_ok();
    }
    if (!strcmp(name, "classifier_scale")) return feed_scalar(s, VEER_DTYPE_F32, p->classifier_scale, out);
    if (!strcmp(name, "cfg_scale")) return feed_scalar(s, VEER_DTYPE_F32, p->cfg_scale, out);
    if (!strcmp(name, "label")) {
        if (!p->class_count)
            return veer_status_help(veer_error(VEER_ERR_CONFIG, "the classifier's class is not given"),
                                    "give --class K, or --classifier-scale 0");
        return feed_ints(s, p->class_list, p->class_count, out);
    }
    if (!strcmp(name, "phi")) {
        if (!p->target_count)
            return veer_status_help(veer_error(VEER_ERR_CONFIG, "the target of the Bernoulli head is not given"),
                                    "give --target 1");
        return feed_floats(s, p->target_list, p->target_count, out);
    }
    if (!strcmp(name, "class_labels")) {
        const int64_t *list = p->label_count ? p->label_list : p->class_list;
        int64_t count = p->label_count ? p->label_count : p->class_count;
        if (!count)
            return veer_status_help(veer_error(VEER_ERR_CONFIG, "the denoiser's class_labels are not given"),
                                    "give --class-labels K or --class K");
        return feed_ints(s, list, count, out);
    }
    veer_tensor_t tensor = {0};
    bool found = false;
    veer_status_t status = find_given(s, settings, name, type, &tensor, &found);
    if (!status && !found) status = missing_input(s, name, type);
    if (!status) status = fit_input(s, name, type, tensor, out);
    if (status) veer_free(s->allocator, tensor.data);
    return status;
}

/* x_T [count, ...] and noise [steps, count, ...]. */
static veer_status_t check_given(const veer_sampling_t *s, const char *flag, const veer_tensor_t *t, veer_type_t want,
                                 int sample_axis) {
    char given[VEER_TYPE_TEXT_BYTES], expected[VEER_TYPE_TEXT_BYTES];
    want.dims[sample_axis] = s->count;
    if (veer_type_equal(&t->type, &want)) return veer_ok();
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "--%s is %s, expected %s", flag, veer_type_text(&t->type, given),
                                      veer_type_text(&want, expected));
    if (sample_axis == 1 && t->type.rank > 0 && t->type.dims[0] != want.dims[0])
        status = veer_status_help(status,
                                  "the run has %lld steps; --noise has one entry per step, in the order of the steps",
                                  (long long)want.dims[0]);
    return status;
}

static veer_status_t make_feeds(veer_sampling_t *s, const veer_settings_t *settings) {
    int count = veer_plan_input_count(s->plan);
    s->feeds = veer_alloc_array(s->allocator, (size_t)count + 1, sizeof *s->feeds);
    if (!s->feeds) return veer_out_of_memory();
    veer_status_t all = veer_ok();
    for (int i = 0; i < count; i++) {
        const char *name = veer_plan_input_name(s->plan, i);
        veer_type_t type = *veer_plan_input_type(s->plan, i);
        veer_feed_t *feed = &s->feeds[i];
        veer_status_t status;
        if (!strcmp(name, "x_T")) {
            status = check_given(s, "init", &s->init, type, 0);
            *feed = (veer_feed_t){.tensor = s->init, .kind = VEER_FEED_PER_SAMPLE, .borrowed = true};
        } else if (!strcmp(name, "noise")) {
            status = check_given(s, "noise", &s->noise, type, 1);
            *feed = (veer_feed_t){.tensor = s->noise, .kind = VEER_FEED_NOISE, .borrowed = true};
        } else {
            status = feed_for(s, settings, name, &type, feed);
        }
        all = veer_status_join(all, status);
    }
    return all;
}

/* ---- making ---- */

static veer_status_t check_input_names(const veer_sampling_t *s, const veer_settings_t *settings) {
    static const veer_setting_t kinds[] = {VEER_SETTING_INPUT, VEER_SETTING_TEXT};
    for (int k = 0; k < 2; k++)
        for (int i = 0; veer_setting_text(settings, kinds[k], i); i++) {
            const char *name, *rest;
            VEER_TRY(veer_setting_pair(settings, kinds[k], i, (veer_arena_t *)&s->parts.arena, &name, &rest));
            if (veer_plan_find_input(s->plan, name) < 0)
                return veer_status_help(veer_error(VEER_ERR_CONFIG, "no model that is used has an input '%s'", name),
                                        "veer inspect MODEL.onnx lists a model's inputs");
        }
    return veer_ok();
}

static veer_status_t make(veer_sampling_t *s, const char *folder, const veer_settings_t *settings,
                          const veer_compile_options_t *options) {
    VEER_TRY(veer_parts_init(&s->parts, folder, settings, s->allocator));
    if (options) s->parts.limits = options->limits;
    VEER_TRY(veer_setting_limits(settings, &s->parts.limits));
    const char *init = veer_setting_text(settings, VEER_SETTING_INIT, 0),
               *noise = veer_setting_text(settings, VEER_SETTING_NOISE, 0);
    if (init) VEER_TRY(veer_npy_read(init, s->allocator, &s->init));
    if (noise) VEER_TRY(veer_npy_read(noise, s->allocator, &s->noise));
    VEER_TRY(count_samples(s, settings));
    VEER_TRY(choose_batch(s, settings));
    veer_compile_options_t o = options ? *options : (veer_compile_options_t){0};
    const char *backend = veer_setting_text(settings, VEER_SETTING_BACKEND, 0);
    const char *tune = veer_setting_text(settings, VEER_SETTING_TUNE, 0),
               *cache = veer_setting_text(settings, VEER_SETTING_CACHE, 0);
    if (backend) o.backend = backend;
    const char *precision = veer_setting_text(settings, VEER_SETTING_PRECISION, 0);
    if (precision) o.precision = precision;
    const char *memory = veer_setting_text(settings, VEER_SETTING_MEMORY_BUDGET, 0);
    if (memory) VEER_TRY(veer_status_where(veer_bytes_parse(memory, &o.memory_budget), "memory-budget"));
    if (tune) o.tune = tune;
    if (cache) o.cache = cache;
    o.limits = s->parts.limits;
    VEER_TRY(veer_graph_create(s->allocator, &s->graph));
    veer_graph_set_limits(s->graph, &o.limits);
    VEER_TRY(veer_networks_import(s->graph, &s->parts, settings, &o, s->batch));
    VEER_TRY(check_all_labels(s));
    VEER_TRY(veer_sampler_build(s->graph, &s->parts.sampler, &s->parts.table, &s->func));
    VEER_TRY(veer_compile_func(s->graph, s->func, &o, s->allocator, &s->plan));
    VEER_TRY(make_feeds(s, settings));
    VEER_TRY(check_input_names(s, settings));
    return veer_exec_create(s->plan, &s->exec);
}

veer_status_t veer_sampling_create(const char *folder, const veer_settings_t *settings,
                                   const veer_compile_options_t *options, veer_sampling_t **out) {
    veer_allocator_t a = veer_options_allocator(options);
    veer_sampling_t *s = veer_alloc(a, sizeof *s);
    if (!s) return veer_out_of_memory();
    s->allocator = a;
    veer_status_t status = make(s, folder, settings, options);
    if (status)
        veer_sampling_destroy(s);
    else
        *out = s;
    return status;
}

void veer_sampling_destroy(veer_sampling_t *s) {
    if (!s) return;
    veer_allocator_t a = s->allocator;
    for (int i = 0; s->feeds && i < veer_plan_input_count(s->plan); i++)
        if (!s->feeds[i].borrowed) veer_free(a, s->feeds[i].tensor.data);
    veer_free(a, s->feeds);
    veer_exec_destroy(s->exec);
    veer_plan_destroy(s->plan);
    veer_graph_destroy(s->graph);
    veer_free(a, s->init.data);
    veer_free(a, s->noise.data);
    veer_parts_deinit(&s->parts);
    veer_free(a, s);
}

const veer_plan_t *veer_sampling_plan(const veer_sampling_t *s) {
    return s->plan;
}
const char *veer_sampling_notes(const veer_sampling_t *s) {
    return s->parts.notes;
}
veer_status_t veer_sampling_text(const veer_sampling_t *s, char **out_text) {
    return veer_print(s->graph, s->allocator, out_text);
}

/* ---- running ---- */

typedef struct run_s {
    veer_sampling_t *s;
    const veer_run_options_t *options;
    veer_samples_t *out;
    void **in, **results; /* one buffer per input and output of the plan, at the batch's size */
    int64_t done, batches, batch;
    double start; /* veer_clock_seconds */
} run_t;

static int on_step(const veer_step_info_t *info, void *user) {
    run_t *r = user;
    veer_step_info_t all = {.step = r->batch * info->steps + info->step,
                            .steps = r->batches * info->steps,
                            .seconds = veer_clock_seconds() - r->start};
    return r->options->progress(&all, r->options->user);
}

/* Rows [first, first + batch) of a tensor along an axis behind `outer` others; the last row fills what lies beyond the
 * end. */
static void copy_rows(char *dst, const char *src, int64_t outer, int64_t count, int64_t first, int64_t batch,
                      size_t row_bytes) {
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < batch; k++) {
            int64_t row = first + k < count ? first + k : count - 1;
            memcpy(dst + (size_t)(o * batch + k) * row_bytes, src + (size_t)(o * count + row) * row_bytes, row_bytes);
        }
}

static void fill_inputs(run_t *r) {
    const veer_sampling_t *s = r->s;
    for (int i = 0; i < veer_plan_input_count(s->plan); i++) {
        const veer_feed_t *feed = &s->feeds[i];
        const veer_type_t *type = veer_plan_input_type(s->plan, i);
        size_t bytes = veer_type_bytes(type);
        size_t row_bytes = type->rank > 0 && type->dims[0] ? bytes / (size_t)type->dims[0] : 0;
        switch (feed->kind) {
        case VEER_FEED_WHOLE: memcpy(r->in[i], feed->tensor.data, bytes); break;
        case VEER_FEED_FIRST_SAMPLE: *(int64_t *)r->in[i] = r->done; break;
        case VEER_FEED_PER_SAMPLE:
            copy_rows(r->in[i], feed->tensor.data, 1, s->count, r->done, s->batch, row_bytes);
            break;
        case VEER_FEED_REPEATED: copy_rows(r->in[i], feed->tensor.data, 1, 1, 0, s->batch, row_bytes); break;
        case VEER_FEED_NOISE:
            copy_rows(r->in[i], feed->tensor.data, type->dims[0], s->count, r->done, s->batch,
                      row_bytes / (size_t)s->batch);
            break;
        }
    }
}

/* The batch's finished rows to their place among all samples. */
static void keep_rows(const run_t *r, veer_tensor_t *all, const char *batch, int64_t outer, int64_t rows) {
    const veer_sampling_t *s = r->s;
    size_t row_bytes = veer_type_bytes(&all->type) / (size_t)(outer * s->count);
    for (int64_t o = 0; o < outer; o++)
        memcpy((char *)all->data + (size_t)(o * s->count + r->done) * row_bytes,
               batch + (size_t)(o * s->batch) * row_bytes, (size_t)rows * row_bytes);
}

static veer_status_t run_batch(run_t *r) {
    veer_sampling_t *s = r->s;
    fill_inputs(r);
    for (int i = 0; i < veer_plan_input_count(s->plan); i++) veer_exec_bind_input(s->exec, i, r->in[i]);
    for (int i = 0; i < veer_plan_output_count(s->plan); i++) veer_exec_bind_output(s->exec, i, r->results[i]);
    veer_run_options_t o = *r->options;
    o.user = r;
    o.progress = r->options->progress ? on_step : NULL;
    VEER_TRY(veer_exec_run(s->exec, &o));
    int64_t rows = s->count - r->done < s->batch ? s->count - r->done : s->batch;
    int tokens = veer_plan_find_output(s->plan, "tokens"), x = veer_plan_find_output(s->plan, "x");
    keep_rows(r, &r->out->x_0, r->results[veer_plan_find_output(s->plan, "x_0")], 1, rows);
    if (tokens >= 0) keep_rows(r, &r->out->tokens, r->results[tokens], 1, rows);
    if (x >= 0) keep_rows(r, &r->out->trajectory, r->results[x], r->out->steps, rows);
    r->done += rows;
    r->out->count = r->done;
    return veer_ok();
}

/* All samples of one output; of a trajectory [steps, batch, ...] as many steps as the run takes. */
static veer_status_t make_result(const veer_sampling_t *s, const char *name, int sample_axis, int64_t steps,
                                 veer_tensor_t *out) {
    int i = veer_plan_find_output(s->plan, name);
    if (i < 0) return veer_ok();
    veer_type_t type = *veer_plan_output_type(s->plan, i);
    type.dims[sample_axis] = s->count;
    if (sample_axis == 1) type.dims[0] = steps;
    VEER_TRY(veer_type_check(&type));
    void *data = veer_alloc(s->allocator, veer_type_bytes(&type));
    if (!data) return veer_out_of_memory();
    *out = (veer_tensor_t){type, data};
    return veer_ok();
}

static veer_status_t make_results(const veer_sampling_t *s, veer_samples_t *out) {
    const veer_parts_t *p = &s->parts;
    VEER_TRY(make_result(s, "x_0", 0, 0, &out->x_0));
    VEER_TRY(make_result(s, "tokens", 0, 0, &out->tokens));
    VEER_TRY(make_result(s, "x", 1, out->steps, &out->trajectory));
    const int64_t *labels = p->class_count ? p->class_list : p->label_list;
    int64_t count = p->class_count ? p->class_count : p->label_count;
    if (!count) return veer_ok();
    int64_t *all = veer_alloc_array(s->allocator, (size_t)s->count, sizeof *all);
    if (!all) return veer_out_of_memory();
    for (int64_t i = 0; i < s->count; i++) all[i] = labels[count == 1 ? 0 : i];
    out->labels = (veer_tensor_t){VEER_TYPE(VEER_DTYPE_I64, s->count), all};
    return veer_ok();
}

static veer_status_t make_buffers(run_t *r) {
    const veer_plan_t *plan = r->s->plan;
    veer_allocator_t a = r->s->allocator;
    int in = veer_plan_input_count(plan), out = veer_plan_output_count(plan);
    r->in = veer_alloc_array(a, (size_t)in + 1, sizeof *r->in);
    r->results = veer_alloc_array(a, (size_t)out + 1, sizeof *r->results);
    if (!r->in || !r->results) return veer_out_of_memory();
    for (int i = 0; i < in; i++)
        if (!(r->in[i] = veer_alloc(a, veer_type_bytes(veer_plan_input_type(plan, i))))) return veer_out_of_memory();
    for (int i = 0; i < out; i++)
        if (!(r->results[i] = veer_alloc(a, veer_type_bytes(veer_plan_output_type(plan, i)))))
            return veer_out_of_memory();
    return veer_ok();
}

static void free_buffers(run_t *r) {
    veer_allocator_t a = r->s->allocator;
    for (int i = 0; r->in && i < veer_plan_input_count(r->s->plan); i++) veer_free(a, r->in[i]);
    for (int i = 0; r->results && i < veer_plan_output_count(r->s->plan); i++) veer_free(a, r->results[i]);
    veer_free(a, r->in);
    veer_free(a, r->results);
}

/* After an interruption only finished samples count: the tensors are cut to them. */
static void cut(veer_tensor_t *t, int axis, int64_t from, int64_t to) {
    if (!t->data) return;
    int64_t outer = veer_type_count_range(&t->type, 0, axis);
    size_t row_bytes = veer_type_bytes(&t->type) / (size_t)(outer * from);
    for (int64_t o = 1; o < outer; o++)
        memmove((char *)t->data + (size_t)(o * to) * row_bytes, (char *)t->data + (size_t)(o * from) * row_bytes,
                (size_t)to * row_bytes);
    t->type.dims[axis] = to;
}

veer_status_t veer_sampling_run(veer_sampling_t *s, const veer_run_options_t *options, veer_samples_t *out) {
    static const veer_run_options_t defaults;
    *out = (veer_samples_t){.allocator = s->allocator, .seed = s->parts.seed, .steps = s->parts.table.steps};
    run_t r = {
        .s = s, .options = options ? options : &defaults, .out = out, .batches = (s->count + s->batch - 1) / s->batch};
    if (r.options->steps > 0 && r.options->steps < out->steps) out->steps = r.options->steps;
    r.start = veer_clock_seconds();
    veer_status_t status = make_results(s, out);
    if (!status) status = make_buffers(&r);
    for (; !status && r.done < s->count; r.batch++) status = run_batch(&r);
    free_buffers(&r);
    out->seconds = veer_clock_seconds() - r.start;
    if (status && (veer_status_code(status) != VEER_ERR_INTERRUPTED || !out->count)) {
        veer_samples_deinit(out);
    } else if (status) {
        cut(&out->x_0, 0, s->count, out->count);
        cut(&out->tokens, 0, s->count, out->count);
        cut(&out->labels, 0, s->count, out->count);
        cut(&out->trajectory, 1, s->count, out->count);
    }
    return status;
}

void veer_samples_deinit(veer_samples_t *samples) {
    veer_allocator_t a = samples->allocator;
    veer_free(a, samples->x_0.data);
    veer_free(a, samples->tokens.data);
    veer_free(a, samples->trajectory.data);
    veer_free(a, samples->labels.data);
    *samples = (veer_samples_t){.allocator = a};
}
