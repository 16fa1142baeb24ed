#include "frontend/json_object.h"

#include "frontend/infile.h"
#include "ir/base/suggest.h"

#include <stdio.h>
#include <string.h>

enum { MAX_JSON_BYTES = 16 << 20, MAX_KEYS = 128 };

const char *veer_json_shown(const char *text, char out_text[VEER_JSON_SHOWN_BYTES]) {
    size_t i = 0;
    for (; text[i] && i < 60; i++) out_text[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    strcpy(out_text + i, text[i] ? "..." : "");
    return out_text;
}

static veer_status_t load_text(const char *path, const char *text, size_t size, json_t **out_json) {
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (json) {
        *out_json = json;
        return veer_ok();
    }
    if (json_error_code(&error) == json_error_out_of_memory) return veer_out_of_memory();
    char shown[VEER_JSON_SHOWN_BYTES];
    return veer_error(VEER_ERR_FILE, "%s:%d:%d: not valid JSON: %s", path, error.line, error.column,
                      veer_json_shown(error.text, shown));
}

veer_status_t veer_json_load(const char *path, veer_allocator_t allocator, json_t **out_json) {
    char *text;
    size_t size;
    VEER_TRY(veer_infile_read_text(path, MAX_JSON_BYTES, allocator, &text, &size));
    veer_status_t status = load_text(path, text, size, out_json);
    veer_free(allocator, text);
    return status;
}

/* ---- values ---- */

static const char *kind_text(veer_json_kind_t kind) {
    static const char *const texts[] = {
        [VEER_JSON_BOOL] = "true or false",        [VEER_JSON_INT] = "an integer",
        [VEER_JSON_NUMBER] = "a number",           [VEER_JSON_STRING] = "a string",
        [VEER_JSON_NUMBERS] = "a list of numbers", [VEER_JSON_INTS] = "a list of integers"};
    return texts[kind];
}

static const char *type_text(const json_t *value) {
    static const char *const texts[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a string", [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",     [JSON_NULL] = "null"};
    return texts[json_typeof(value)];
}

static veer_status_t wrong_type(const veer_json_field_t *field, const json_t *value) {
    return veer_error(VEER_ERR_CONFIG, "key '%s' is %s, expected %s", field->name, type_text(value),
                      kind_text(field->kind));
}

/* Item i of a list, or the value itself in place of a list of one. */
static const json_t *item_at(const json_t *value, size_t i) {
    return json_is_array(value) ? json_array_get(value, i) : value;
}

static size_t item_count(const json_t *value) {
    return json_is_array(value) ? json_array_size(value) : 1;
}

static veer_status_t read_numbers(const veer_json_field_t *field, const json_t *value, veer_arena_t *arena,
                                  veer_numbers_t *out) {
    size_t count = item_count(value);
    double *values = veer_arena_array(arena, count, sizeof *values);
    if (!values) return veer_out_of_memory();
    for (size_t i = 0; i < count; i++) {
        if (!json_is_number(item_at(value, i))) return wrong_type(field, item_at(value, i));
        values[i] = json_number_value(item_at(value, i));
    }
    *out = (veer_numbers_t){count, values};
    return veer_ok();
}

static veer_status_t read_integers(const veer_json_field_t *field, const json_t *value, veer_arena_t *arena,
                                   veer_integers_t *out) {
    size_t count = item_count(value);
    int64_t *values = veer_arena_array(arena, count, sizeof *values);
    if (!values) return veer_out_of_memory();
    for (size_t i = 0; i < count; i++) {
        if (!json_is_integer(item_at(value, i))) return wrong_type(field, item_at(value, i));
        values[i] = json_integer_value(item_at(value, i));
    }
    *out = (veer_integers_t){count, values};
    return veer_ok();
}

static veer_status_t read_string(const json_t *value, veer_arena_t *arena, const char **out) {
    const char *copy = veer_arena_strdup(arena, json_string_value(value));
    if (!copy) return veer_out_of_memory();
    *out = copy;
    return veer_ok();
}

static veer_status_t read_value(const veer_json_field_t *field, const json_t *value, void *out, veer_arena_t *arena) {
    switch (field->kind) {
    case VEER_JSON_BOOL:
        if (!json_is_boolean(value)) break;
        *(bool *)out = json_is_true(value);
        return veer_ok();
    case VEER_JSON_INT:
        if (!json_is_integer(value)) break;
        *(int64_t *)out = json_integer_value(value);
        return veer_ok();
    case VEER_JSON_NUMBER:
        if (!json_is_number(value)) break;
        *(double *)out = json_number_value(value);
        return veer_ok();
    case VEER_JSON_STRING:
        if (!json_is_string(value)) break;
        return read_string(value, arena, out);
    case VEER_JSON_NUMBERS: return read_numbers(field, value, arena, out);
    case VEER_JSON_INTS: return read_integers(field, value, arena, out);
    }
    return wrong_type(field, value);
}

/* ---- keys ---- */

static veer_status_t unknown_key(const char *key, const veer_json_fields_t *fields) {
    const char *names[MAX_KEYS];
    size_t count = 0;
    for (size_t i = 0; i < fields->count && count < MAX_KEYS; i++) names[count++] = fields->fields[i].name;
    for (size_t i = 0; i < fields->other_count && count < MAX_KEYS; i++) names[count++] = fields->other[i];
    char shown[VEER_JSON_SHOWN_BYTES];
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "key '%s' is not known", veer_json_shown(key, shown));
    const char *near = veer_suggest(key, names, count);
    return near ? veer_status_help(status, "did you mean '%s'?", near) : status;
}

static veer_status_t add_note(const char *key, const char *text, veer_arena_t *arena, const char **notes) {
    size_t size = strlen(*notes) + strlen(key) + strlen(text) + 16;
    char *joined = veer_arena_alloc(arena, size);
    if (!joined) return veer_out_of_memory();
    snprintf(joined, size, "%s%skey '%s' %s", *notes, **notes ? "\n" : "", key, text);
    *notes = joined;
    return veer_ok();
}

static veer_status_t read_key(const char *key, const json_t *value, const veer_json_fields_t *fields, char *out,
                              veer_arena_t *arena, const char **notes) {
    for (size_t i = 0; i < fields->count; i++) {
        const veer_json_field_t *field = &fields->fields[i];
        if (strcmp(key, field->name)) continue;
        if (json_is_null(value)) return veer_ok();
        *(bool *)(out + field->given_at) = true;
        return read_value(field, value, out + field->value_at, arena);
    }
    for (size_t i = 0; i < fields->other_count; i++)
        if (!strcmp(key, fields->other[i])) return add_note(key, fields->other_note, arena, notes);
    return unknown_key(key, fields);
}

veer_status_t veer_json_read_object(const json_t *object, const veer_json_fields_t *fields, void *out,
                                    veer_arena_t *arena, const char **notes) {
    if (!json_is_object(object))
        return veer_error(VEER_ERR_CONFIG, "the configuration is %s, expected an object", type_text(object));
    veer_status_t status = veer_ok();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        if (*key != '_') status = veer_status_join(status, read_key(key, value, fields, out, arena, notes));
    }
    return status;
}
