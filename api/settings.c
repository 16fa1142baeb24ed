#include "api/settings.h"

#include "ir/base/suggest.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const veer_setting_info_t infos[VEER_SETTING_COUNT] = {
#define VEER_SETTING(ENUM, text, value_text, many, doc_text)                                                           \
    {.name = text, .value = value_text, .repeatable = many, .doc = doc_text},
#include "api/settings.def"
#undef VEER_SETTING
};

typedef struct entry_s {
    const char *text;
    struct entry_s *next;
} entry_t;

struct veer_settings_s {
    veer_allocator_t allocator;
    veer_arena_t arena;
    entry_t *entries[VEER_SETTING_COUNT];
};

int veer_setting_count(void) {
    return VEER_SETTING_COUNT;
}
veer_setting_info_t veer_setting_info(int i) {
    return infos[i];
}

veer_status_t veer_settings_create(veer_allocator_t allocator, veer_settings_t **out_settings) {
    veer_settings_t *s = veer_alloc(allocator, sizeof *s);
    if (!s) return veer_out_of_memory();
    s->allocator = allocator;
    veer_arena_init(&s->arena, allocator);
    *out_settings = s;
    return veer_ok();
}

void veer_settings_destroy(veer_settings_t *s) {
    if (!s) return;
    veer_arena_deinit(&s->arena);
    veer_free(s->allocator, s);
}

static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if ((*a == '_' ? '-' : *a) != (*b == '_' ? '-' : *b)) return false;
    return *a == *b;
}

static veer_status_t find(const char *name, int *out) {
    const char *known[VEER_SETTING_COUNT];
    for (int i = 0; i < VEER_SETTING_COUNT; i++) {
        known[i] = infos[i].name;
        if (!same_name(name, infos[i].name)) continue;
        *out = i;
        return veer_ok();
    }
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "there is no setting '%s'", name);
    const char *near = veer_suggest(name, known, VEER_SETTING_COUNT);
    return near ? veer_status_help(status, "did you mean '%s'?", near) : status;
}

veer_status_t veer_settings_set(veer_settings_t *s, const char *name, const char *value) {
    int i;
    VEER_TRY(find(name, &i));
    entry_t *entry = veer_arena_alloc(&s->arena, sizeof *entry);
    if (!entry || !(entry->text = veer_arena_strdup(&s->arena, value ? value : ""))) return veer_out_of_memory();
    if (*infos[i].value && !*entry->text)
        return veer_error(VEER_ERR_CONFIG, "--%s needs a value %s", infos[i].name, infos[i].value);
    /* Of two opposite switches the later one counts. */
    if (i == VEER_SETTING_CLIP_SAMPLE) s->entries[VEER_SETTING_NO_CLIP_SAMPLE] = NULL;
    if (i == VEER_SETTING_NO_CLIP_SAMPLE) s->entries[VEER_SETTING_CLIP_SAMPLE] = NULL;
    entry_t **at = &s->entries[i];
    if (!infos[i].repeatable) *at = NULL;
    while (*at) at = &(*at)->next;
    *at = entry;
    return veer_ok();
}

const char *veer_settings_get(const veer_settings_t *s, const char *name) {
    for (int i = 0; i < VEER_SETTING_COUNT; i++)
        if (same_name(name, infos[i].name)) return veer_setting_text(s, (veer_setting_t)i, 0);
    return NULL;
}

/* ---- parsed ---- */

const char *veer_setting_text(const veer_settings_t *s, veer_setting_t which, int i) {
    const entry_t *e = s ? s->entries[which] : NULL;
    while (e && i-- > 0) e = e->next;
    return e ? e->text : NULL;
}

bool veer_setting_given(const veer_settings_t *s, veer_setting_t which) {
    return veer_setting_text(s, which, 0) != NULL;
}

static bool parse_int(const char *text, const char **out_end, int64_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *out = v;
    *out_end = end;
    return end != text && !errno;
}

static bool parse_double(const char *text, const char **out_end, double *out) {
    char *end;
    *out = strtod(text, &end);
    *out_end = end;
    return end != text && isfinite(*out);
}

veer_status_t veer_setting_int(const veer_settings_t *s, veer_setting_t which, int64_t low, int64_t high,
                               int64_t *out) {
    const char *text = veer_setting_text(s, which, 0), *end;
    int64_t v;
    if (!text) return veer_ok();
    if (!parse_int(text, &end, &v) || *end)
        return veer_error(VEER_ERR_CONFIG, "--%s is '%s', expected an integer", infos[which].name, text);
    if (v < low || v > high)
        return veer_error(VEER_ERR_CONFIG, "--%s is %lld, expected %lld to %lld", infos[which].name, (long long)v,
                          (long long)low, (long long)high);
    *out = v;
    return veer_ok();
}

veer_status_t veer_setting_double(const veer_settings_t *s, veer_setting_t which, double *out) {
    const char *text = veer_setting_text(s, which, 0), *end;
    double v;
    if (!text) return veer_ok();
    if (!parse_double(text, &end, &v) || *end)
        return veer_error(VEER_ERR_CONFIG, "--%s is '%s', expected a number", infos[which].name, text);
    *out = v;
    return veer_ok();
}

veer_status_t veer_setting_limits(const veer_settings_t *s, veer_limits_t *out) {
    veer_status_t status = NULL;
#define VEER_LIMIT_READ(NAME, field, flag, usual, most, ...)                                                           \
    status = veer_status_join(status, veer_setting_int(s, VEER_SETTING_##NAME, 1, most, &out->field));
    VEER_LIMITS(VEER_LIMIT_READ)
#undef VEER_LIMIT_READ
    return status;
}

static int64_t list_length(const char *text) {
    int64_t n = 1;
    for (; *text; text++) n += *text == ',';
    return n;
}

static veer_status_t bad_list(veer_setting_t which, const char *text, const char *what) {
    return veer_error(VEER_ERR_CONFIG, "--%s is '%s', expected %s separated by commas", infos[which].name, text, what);
}

veer_status_t veer_setting_ints(const veer_settings_t *s, veer_setting_t which, veer_arena_t *arena, int64_t **out,
                                int64_t *out_count) {
    const char *text = veer_setting_text(s, which, 0), *at = text;
    if (!text) return veer_ok();
    int64_t count = list_length(text), *values = veer_arena_array(arena, (size_t)count, sizeof *values);
    if (!values) return veer_out_of_memory();
    for (int64_t i = 0; i < count; i++, at++)
        if (!parse_int(at, &at, &values[i]) || *at != (i + 1 < count ? ',' : 0))
            return bad_list(which, text, "integers");
    *out = values;
    *out_count = count;
    return veer_ok();
}

veer_status_t veer_setting_doubles(const veer_settings_t *s, veer_setting_t which, veer_arena_t *arena, double **out,
                                   int64_t *out_count) {
    const char *text = veer_setting_text(s, which, 0), *at = text;
    if (!text) return veer_ok();
    int64_t count = list_length(text);
    double *values = veer_arena_array(arena, (size_t)count, sizeof *values);
    if (!values) return veer_out_of_memory();
    for (int64_t i = 0; i < count; i++, at++)
        if (!parse_double(at, &at, &values[i]) || *at != (i + 1 < count ? ',' : 0))
            return bad_list(which, text, "numbers");
    *out = values;
    *out_count = count;
    return veer_ok();
}

veer_status_t veer_setting_pair(const veer_settings_t *s, veer_setting_t which, int i, veer_arena_t *arena,
                                const char **out_name, const char **out_rest) {
    const char *text = veer_setting_text(s, which, i), *equals = strchr(text, '=');
    if (!equals || equals == text)
        return veer_error(VEER_ERR_CONFIG, "--%s is '%s', expected %s", infos[which].name, text, infos[which].value);
    *out_name = veer_arena_strndup(arena, text, (size_t)(equals - text));
    *out_rest = equals + 1;
    return *out_name ? veer_ok() : veer_out_of_memory();
}
