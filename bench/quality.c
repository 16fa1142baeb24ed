/* How good guided digits are: how many are what was asked for, and how far they are from real ones.
 *
 *     veer-bench-quality examples/digits [STEPS [SEED]]
 *
 * 20 samples of each class with the folder's guider_config.json, and as many without guidance (where "as asked" is what
 * chance gives), DDPM on STEPS (50) respaced steps. The judge is the classifier of the same folder at t = 0, which also
 * guided: the distance to the nearest real image is the figure that it has no part in. Real images are judged, too,
 * each against all others.
 */
#include "api/veer.h"
#include "frontend/npy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 10, PER_CLASS = 20, SAMPLES = CLASSES * PER_CLASS, BATCH = 20 };

typedef struct quality_s {
    const char *folder, *steps, *seed;
    veer_allocator_t allocator;
    veer_compiled_t *judge;
    veer_tensor_t images, labels;
    float *real; /* [count, pixels], as the networks see it: image / 8 - 1 */
    int64_t count, pixels;
} quality_t;

static const char *in_folder(const quality_t *q, const char *name, char path[4096]) {
    snprintf(path, 4096, "%s/%s", q->folder, name);
    return path;
}

static veer_status_t load_real(quality_t *q) {
    char path[4096];
    VEER_TRY(veer_npy_read(in_folder(q, "images.npy", path), q->allocator, &q->images));
    VEER_TRY(veer_npy_read(in_folder(q, "labels.npy", path), q->allocator, &q->labels));
    const veer_type_t *t = &q->images.type;
    if (t->dtype != VEER_DTYPE_U8 || t->rank != 3 || q->labels.type.dtype != VEER_DTYPE_U8 ||
        veer_type_count(&q->labels.type) != t->dims[0] || !t->dims[0])
        return veer_error(VEER_ERR_FILE, "%s: expected images.npy u8 [n,h,w] and labels.npy u8 [n]", q->folder);
    q->count = t->dims[0];
    q->pixels = t->dims[1] * t->dims[2];
    q->real = veer_alloc_array(q->allocator, (size_t)(q->count * q->pixels), sizeof *q->real);
    if (!q->real) return veer_out_of_memory();
    const uint8_t *bytes = q->images.data;
    for (int64_t i = 0; i < q->count * q->pixels; i++) q->real[i] = (float)bytes[i] / 8 - 1;
    return veer_ok();
}

static veer_status_t load_judge(quality_t *q) {
    char path[4096];
    veer_named_dim_t batch = {"batch", BATCH};
    return veer_compile_model(in_folder(q, "classifier/model.onnx", path),
                              &(veer_compile_options_t){.dims = &batch, .dim_count = 1}, &q->judge);
}

/* The classes that the judge sees in BATCH images at t = 0. */
static veer_status_t judge_batch(quality_t *q, const float *images, int64_t out_class[BATCH]) {
    int64_t zero[BATCH] = {0};
    float logits[BATCH * CLASSES];
    const veer_plan_t *plan = veer_compiled_plan(q->judge);
    veer_tensor_t in[2], out = {*veer_plan_output_type(plan, 0), logits};
    if (veer_plan_input_count(plan) != 2 || veer_type_count(&out.type) != BATCH * CLASSES)
        return veer_error(VEER_ERR_CONFIG, "the classifier should take x and timesteps and give %d logits", CLASSES);
    for (int i = 0; i < 2; i++) {
        in[i].type = *veer_plan_input_type(plan, i);
        in[i].data = in[i].type.rank == 1 ? (void *)zero : (void *)(uintptr_t)images;
    }
    VEER_TRY(veer_compiled_run(q->judge, in, &out, NULL));
    for (int i = 0; i < BATCH; i++) {
        out_class[i] = 0;
        for (int k = 1; k < CLASSES; k++)
            if (logits[i * CLASSES + k] > logits[i * CLASSES + out_class[i]]) out_class[i] = k;
    }
    return veer_ok();
}

/* Euclidean distance to the nearest real image other than number `except`. */
static double nearest(const quality_t *q, const float *image, int64_t except) {
    double least = INFINITY;
    for (int64_t i = 0; i < q->count; i++) {
        double sum = 0;
        for (int64_t k = 0; k < q->pixels; k++) {
            double d = (double)image[k] - (double)q->real[i * q->pixels + k];
            sum += d * d;
        }
        if (i != except && sum < least) least = sum;
    }
    return sqrt(least);
}

/* `first_real`: the images are real ones from there on; -1 where they are samples. The last, partial batch is left out.
 */
static veer_status_t report(quality_t *q, const char *what, const float *images, const uint8_t *labels, int64_t count,
                            int64_t first_real) {
    int64_t right = 0, judged = count / BATCH * BATCH, seen[BATCH];
    double distance = 0;
    for (int64_t i = 0; i < judged; i += BATCH) {
        VEER_TRY(judge_batch(q, images + i * q->pixels, seen));
        for (int64_t k = 0; k < BATCH; k++) {
            right += seen[k] == labels[i + k];
            distance += nearest(q, images + (i + k) * q->pixels, first_real < 0 ? -1 : first_real + i + k);
        }
    }
    printf("%-12s %7" PRId64 " %10.1f %% %20.2f\n", what, judged, 100.0 * (double)right / (double)judged,
           distance / (double)judged);
    return veer_ok();
}

static veer_status_t configure(const quality_t *q, const char *scale, const char *classes, veer_settings_t *s) {
    char text[16];
    snprintf(text, sizeof text, "%d", SAMPLES);
    VEER_TRY(veer_settings_set(s, "num-samples", text));
    snprintf(text, sizeof text, "%d", BATCH);
    VEER_TRY(veer_settings_set(s, "batch-size", text));
    VEER_TRY(veer_settings_set(s, "timestep-respacing", q->steps));
    VEER_TRY(veer_settings_set(s, "seed", q->seed));
    VEER_TRY(veer_settings_set(s, "class", classes));
    return scale ? veer_settings_set(s, "classifier-scale", scale) : veer_ok();
}

/* `scale` NULL: the folder's own. */
static veer_status_t sample_and_report(quality_t *q, const char *what, const char *scale) {
    char classes[2 * SAMPLES];
    uint8_t labels[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        labels[i] = (uint8_t)(i % CLASSES);
        classes[2 * i] = (char)('0' + i % CLASSES);
        classes[2 * i + 1] = i + 1 < SAMPLES ? ',' : 0;
    }
    veer_settings_t *settings;
    veer_sampling_t *sampling = NULL;
    veer_samples_t samples = {0};
    VEER_TRY(veer_settings_create(q->allocator, &settings));
    veer_status_t status = configure(q, scale, classes, settings);
    if (!status) status = veer_sampling_create(q->folder, settings, NULL, &sampling);
    if (!status) status = veer_sampling_run(sampling, NULL, &samples);
    if (!status && veer_type_count(&samples.x_0.type) != SAMPLES * q->pixels)
        status = veer_error(VEER_ERR_CONFIG, "%s: samples and images.npy differ in size", q->folder);
    if (!status) status = report(q, what, samples.x_0.data, labels, SAMPLES, -1);
    veer_samples_deinit(&samples);
    veer_sampling_destroy(sampling);
    veer_settings_destroy(settings);
    return status;
}

static veer_status_t run(quality_t *q) {
    VEER_TRY(load_real(q));
    VEER_TRY(load_judge(q));
    printf("%-12s %7s %12s %20s\n", "", "images", "as asked", "distance to nearest");
    VEER_TRY(sample_and_report(q, "guided", NULL));
    VEER_TRY(sample_and_report(q, "unguided", "0"));
    return report(q, "real", q->real, q->labels.data, q->count, 0);
}

int main(int argc, char **argv) {
    quality_t q = {.folder = argc > 1 ? argv[1] : "examples/digits",
                   .steps = argc > 2 ? argv[2] : "50",
                   .seed = argc > 3 ? argv[3] : "42",
                   .allocator = veer_allocator_system()};
    veer_status_t status = run(&q);
    int code = veer_status_code(status);
    for (size_t i = 0; i < veer_status_count(status); i++)
        fprintf(stderr, "veer-bench-quality: %s\n", veer_status_message(status, i));
    veer_status_free(status);
    veer_compiled_destroy(q.judge);
    veer_free(q.allocator, q.images.data);
    veer_free(q.allocator, q.labels.data);
    veer_free(q.allocator, q.real);
    return code;
}
