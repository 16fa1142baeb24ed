/* Samples to files, by ending. */
#include "api/sampling.h"

#include "frontend/npz.h"
#include "frontend/outfile.h"
#include "frontend/png.h"

#include <stdio.h>
#include <string.h>

veer_status_t veer_sampling_words(const veer_sampling_t *s, const veer_samples_t *samples, int64_t i, char **out_text) {
    if (!samples->tokens.data || !s->parts.vocab.count)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "text needs embeddings and a vocabulary"),
                                "give --embeddings FILE.npy and --vocab FILE.txt");
    int64_t length = samples->tokens.type.dims[1];
    return veer_vocab_decode(&s->parts.vocab, (const int64_t *)samples->tokens.data + i * length, length, s->allocator,
                             out_text);
}

static veer_status_t save_jsonl(const veer_sampling_t *s, const veer_samples_t *samples, const char *path) {
    const veer_type_t *type = &samples->tokens.type;
    if (!samples->tokens.data || type->rank != 2 || !s->parts.vocab.count)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG, "%s: text needs embeddings, a vocabulary and x_t [batch, length, width]", path),
            "give --embeddings FILE.npy and --vocab FILE.txt");
    veer_outfile_t *file;
    VEER_TRY(veer_outfile_open(path, s->allocator, &file));
    veer_status_t status = veer_ok();
    for (int64_t i = 0; !status && i < samples->count; i++) {
        char *line;
        status = veer_vocab_json_line(&s->parts.vocab, (const int64_t *)samples->tokens.data + i * type->dims[1],
                                      type->dims[1], samples->seed, i, s->allocator, &line);
        if (status) break;
        status = veer_outfile_write(file, line, strlen(line));
        veer_free(s->allocator, line);
    }
    return veer_outfile_close(file, status);
}

/* guided-diffusion's layout: arr_0 uint8 NHWC, arr_1 labels. */
static veer_status_t save_npz(const veer_sampling_t *s, const veer_samples_t *samples, const char *path) {
    const veer_type_t *t = &samples->x_0.type;
    if (t->rank != 4)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG, "%s: an .npz holds images, but samples have %d dimensions", path, t->rank - 1),
            "use .npy");
    int64_t n = t->dims[0], c = t->dims[1], h = t->dims[2], w = t->dims[3];
    uint8_t *pixels = veer_alloc(s->allocator, (size_t)veer_type_count(t));
    if (!pixels) return veer_out_of_memory();
    const float *x = samples->x_0.data;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t at = 0; at < h * w; at++)
                pixels[(i * h * w + at) * c + k] = veer_pixel_from_float(x[(i * c + k) * h * w + at]);
    veer_npz_entry_t entries[2] = {{"arr_0", {VEER_TYPE(VEER_DTYPE_U8, n, h, w, c), pixels}},
                                   {"arr_1", samples->labels}};
    veer_status_t status = veer_npz_write(path, entries, samples->labels.data ? 2 : 1, s->allocator);
    veer_free(s->allocator, pixels);
    return status;
}

/* The layout of the `parameters` text that image tools read. */
static void describe(const veer_sampling_t *s, const veer_samples_t *samples, char *out, size_t size) {
    const veer_parts_t *p = &s->parts;
    const veer_type_t *t = &samples->x_0.type;
    int at = snprintf(out, size, "Steps: %lld, Sampler: %s, ", (long long)samples->steps,
                      p->sampler.kind == VEER_SAMPLER_DDIM ? "ddim" : "ddpm");
    if (p->cfg_given) at += snprintf(out + at, size - (size_t)at, "CFG scale: %g, ", p->cfg_scale);
    if (p->classifier_scale != 0)
        at += snprintf(out + at, size - (size_t)at, "Classifier scale: %g, ", p->classifier_scale);
    at += snprintf(out + at, size - (size_t)at, "Seed: %llu, Size: %lldx%lld, Version: veer %s",
                   (unsigned long long)samples->seed, (long long)t->dims[3], (long long)t->dims[2], veer_version());
}

static veer_status_t save_png(const veer_sampling_t *s, const veer_samples_t *samples, const char *path) {
    const veer_type_t *t = &samples->x_0.type;
    if (t->rank != 4 || (t->dims[1] != 1 && t->dims[1] != 3)) {
        char text[VEER_TYPE_TEXT_BYTES];
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "%s: samples are %s, a picture needs [N, 1 or 3, H, W]",
                                           path, veer_type_text(t, text)),
                                "use .npy");
    }
    char parameters[512];
    describe(s, samples, parameters, sizeof parameters);
    /* Very small images are enlarged so that a person can see them. */
    int64_t scale = t->dims[3] < 32 ? 32 / t->dims[3] : 1;
    return veer_png_write(path, &samples->x_0, &(veer_png_options_t){.scale = scale, .parameters = parameters},
                          s->allocator);
}

static bool ends_with(const char *path, const char *ending) {
    size_t n = strlen(path), k = strlen(ending);
    return n >= k && !strcmp(path + n - k, ending);
}

veer_status_t veer_sampling_save(const veer_sampling_t *s, const veer_samples_t *samples, const char *path) {
    if (ends_with(path, ".npy")) return veer_npy_write(path, &samples->x_0, s->allocator);
    if (ends_with(path, ".npz")) return save_npz(s, samples, path);
    if (ends_with(path, ".png")) return save_png(s, samples, path);
    if (ends_with(path, ".jsonl")) return save_jsonl(s, samples, path);
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "%s: unknown ending", path), "use .npy, .npz, .png or .jsonl");
}

veer_status_t veer_sampling_save_record(const veer_sampling_t *s, const veer_samples_t *samples, const char *path) {
    if (!samples->trajectory.data) return veer_error(VEER_ERR_CONFIG, "%s: no trajectory was kept; set `record`", path);
    return veer_npz_write(path, &(veer_npz_entry_t){"x", samples->trajectory}, 1, s->allocator);
}
