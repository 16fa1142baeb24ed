/* Which steps of the schedule a run visits. The lists equal those of guided-diffusion's space_timesteps and of
 * diffusers' set_timesteps to the last index; the arithmetic below is theirs, in the same order. */
#include "models/schedule.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

veer_status_t veer_spacing_parse(const char *name, veer_spacing_t *out_spacing) {
    static const char *const names[] = {"leading", "trailing", "linspace"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i])) continue;
        *out_spacing = (veer_spacing_t)i;
        return veer_ok();
    }
    return veer_error(VEER_ERR_CONFIG, "timestep_spacing '%s' is not known, expected leading, trailing or linspace",
                      name);
}

static veer_status_t kept_alloc(veer_kept_steps_t *kept, int64_t count, veer_allocator_t allocator) {
    *kept = (veer_kept_steps_t){.allocator = allocator};
    kept->index = veer_alloc_array(allocator, (size_t)count, sizeof *kept->index);
    if (!kept->index) return veer_out_of_memory();
    kept->count = count;
    return veer_ok();
}

void veer_kept_steps_deinit(veer_kept_steps_t *kept) {
    if (kept->index) veer_free(kept->allocator, kept->index);
    *kept = (veer_kept_steps_t){0};
}

static veer_status_t check_count(int64_t train_steps, int64_t count) {
    if (count >= 1 && count <= train_steps) return veer_ok();
    return veer_error(VEER_ERR_CONFIG, "%lld steps asked for, expected 1 to %lld (the steps of training)",
                      (long long)count, (long long)train_steps);
}

veer_status_t veer_kept_steps_all(veer_kept_steps_t *out_kept, int64_t train_steps, veer_allocator_t allocator) {
    return veer_kept_steps_spaced(out_kept, train_steps, train_steps, VEER_SPACING_LEADING, 0, allocator);
}

/* ---- guided-diffusion ---- */

/* One non-negative integer; spaces around it are allowed. False where there is none or it is too large. */
static bool parse_count(const char **text, int64_t *out_count) {
    const char *p = *text;
    while (isspace((unsigned char)*p)) p++;
    if (!isdigit((unsigned char)*p)) return false;
    char *end;
    errno = 0;
    long long value = strtoll(p, &end, 10);
    if (errno || value > VEER_MAX_TRAIN_STEPS) return false;
    while (isspace((unsigned char)*end)) end++;
    *text = end;
    *out_count = value;
    return true;
}

static veer_status_t bad_respacing(const char *text) {
    return veer_error(VEER_ERR_CONFIG,
                      "timestep respacing '%s' is not understood, expected a number of steps (\"50\"), counts per "
                      "section (\"10,15,20\") or a DDIM stride (\"ddim25\")",
                      text);
}

/* The smallest stride i in 1..T-1 with ceil(T / i) = count. */
static veer_status_t respace_ddim(veer_kept_steps_t *kept, int64_t train_steps, const char *text,
                                  veer_allocator_t allocator) {
    const char *p = text + strlen("ddim");
    int64_t count = 0;
    if (!parse_count(&p, &count) || *p) return bad_respacing(text);
    for (int64_t stride = 1; stride < train_steps; stride++) {
        if ((train_steps + stride - 1) / stride != count) continue;
        VEER_TRY(kept_alloc(kept, count, allocator));
        for (int64_t i = 0; i < count; i++) kept->index[i] = i * stride;
        return veer_ok();
    }
    return veer_status_help(veer_error(VEER_ERR_CONFIG,
                                       "no integer stride takes exactly %lld of %lld steps (respacing '%s')",
                                       (long long)count, (long long)train_steps, text),
                            "use the plain count \"%lld\" instead, which allows fractional strides", (long long)count);
}

/* `count` steps of a section of `size` steps from `start`: a running sum of a fractional stride, each rounded half to
 * even. The sum, not a product: its rounding errors are part of the list. */
static void take_section(veer_kept_steps_t *kept, int64_t start, int64_t size, int64_t count) {
    double stride = count <= 1 ? 1 : (double)(size - 1) / (double)(count - 1), at = 0;
    for (int64_t i = 0; i < count; i++, at += stride) kept->index[kept->count++] = start + (int64_t)nearbyint(at);
}

static veer_status_t respace_sections(veer_kept_steps_t *kept, int64_t train_steps, int64_t sections,
                                      const char *text) {
    const char *p = text;
    for (int64_t i = 0, start = 0; i < sections; i++) {
        int64_t size = train_steps / sections + (i < train_steps % sections), count = 0;
        if (!parse_count(&p, &count)) return bad_respacing(text);
        p++; /* the comma, or the end that stops the loop */
        if (count > size)
            return veer_error(VEER_ERR_CONFIG, "respacing '%s' asks for %lld of the %lld steps in section %lld", text,
                              (long long)count, (long long)size, (long long)(i + 1));
        take_section(kept, start, size, count);
        start += size;
    }
    if (kept->count == 0) return veer_error(VEER_ERR_CONFIG, "respacing '%s' keeps no step", text);
    return veer_ok();
}

/* Number of comma-separated counts, 0 where the text is something else. */
static int64_t count_sections(const char *text) {
    int64_t sections = 0, count;
    for (const char *p = text;; p++) {
        if (!parse_count(&p, &count)) return 0;
        sections++;
        if (*p != ',') return *p ? 0 : sections;
    }
}

veer_status_t veer_kept_steps_respacing(veer_kept_steps_t *out_kept, int64_t train_steps, const char *text,
                                        veer_allocator_t allocator) {
    veer_kept_steps_t kept;
    if (!strncmp(text, "ddim", 4)) {
        VEER_TRY(respace_ddim(&kept, train_steps, text, allocator));
        *out_kept = kept;
        return veer_ok();
    }
    int64_t sections = count_sections(text);
    if (!sections) return bad_respacing(text);
    VEER_TRY(kept_alloc(&kept, train_steps, allocator)); /* no list is longer */
    kept.count = 0;
    veer_status_t status = respace_sections(&kept, train_steps, sections, text);
    if (status)
        veer_kept_steps_deinit(&kept);
    else
        *out_kept = kept;
    return status;
}

/* ---- diffusers ---- */

/* Index i of the list before it is reversed: `leading` and `linspace` count up, `trailing` counts down from T. */
static int64_t spaced_index(int64_t train_steps, int64_t count, veer_spacing_t spacing, int64_t offset, int64_t i) {
    double t = (double)train_steps, n = (double)count;
    switch (spacing) {
    case VEER_SPACING_LEADING: return i * (train_steps / count) + offset;
    case VEER_SPACING_LINSPACE:
        if (i == 0) return 0;
        return i == count - 1 ? train_steps - 1 : (int64_t)nearbyint((double)i * ((t - 1) / (n - 1)));
    case VEER_SPACING_TRAILING: {
        /* numpy's arange(T, 0, -T/n) steps by its second value minus its first. It may also yield one value too many,
         * near 0, which would be index -1; that value is left out here. */
        double delta = (t - t / n) - t;
        return (int64_t)nearbyint(t + (double)(count - 1 - i) * delta) - 1;
    }
    }
    return 0;
}

veer_status_t veer_kept_steps_spaced(veer_kept_steps_t *out_kept, int64_t train_steps, int64_t count,
                                     veer_spacing_t spacing, int64_t steps_offset, veer_allocator_t allocator) {
    VEER_TRY(check_count(train_steps, count));
    if (steps_offset < 0 || steps_offset > train_steps)
        return veer_error(VEER_ERR_CONFIG, "steps_offset is %lld, expected 0 to %lld", (long long)steps_offset,
                          (long long)train_steps - 1);
    int64_t last = spaced_index(train_steps, count, spacing, steps_offset, count - 1);
    if (last >= train_steps)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG, "%lld steps with steps_offset %lld reach index %lld, but training had %lld",
                       (long long)count, (long long)steps_offset, (long long)last, (long long)train_steps),
            "use fewer steps, steps_offset 0 or another timestep_spacing");
    veer_kept_steps_t kept;
    VEER_TRY(kept_alloc(&kept, count, allocator));
    for (int64_t i = 0; i < count; i++) kept.index[i] = spaced_index(train_steps, count, spacing, steps_offset, i);
    *out_kept = kept;
    return veer_ok();
}

/* ---- explicit ---- */

static int compare_indices(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static veer_status_t check_list(const veer_kept_steps_t *kept, int64_t train_steps) {
    for (int64_t i = 0; i < kept->count; i++) {
        long long index = kept->index[i];
        if (index < 0 || index >= train_steps)
            return veer_error(VEER_ERR_CONFIG, "timestep %lld is not a training index, expected 0 to %lld", index,
                              (long long)train_steps - 1);
        if (i > 0 && kept->index[i - 1] == index)
            return veer_error(VEER_ERR_CONFIG, "timestep %lld is listed twice", index);
    }
    return veer_ok();
}

veer_status_t veer_kept_steps_list(veer_kept_steps_t *out_kept, int64_t train_steps, const int64_t *index,
                                   int64_t count, veer_allocator_t allocator) {
    VEER_TRY(check_count(train_steps, count));
    veer_kept_steps_t kept;
    VEER_TRY(kept_alloc(&kept, count, allocator));
    memcpy(kept.index, index, (size_t)count * sizeof *index);
    qsort(kept.index, (size_t)count, sizeof *index, compare_indices);
    veer_status_t status = check_list(&kept, train_steps);
    if (status)
        veer_kept_steps_deinit(&kept);
    else
        *out_kept = kept;
    return status;
}
