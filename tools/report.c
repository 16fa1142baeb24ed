#include "tools/report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

veer_report_t veer_report_make(void) {
    return (veer_report_t){.out = stdout, .err = stderr, .stage = "arguments"};
}

/* ---- text ---- */

void veer_report_text(FILE *file, const char *text) {
    for (; *text; text++) {
        bool control = ((unsigned char)*text < ' ' && *text != '\n' && *text != '\t') || *text == 127;
        fputc(control ? '?' : *text, file);
    }
}

static void print_to(FILE *file, const char *format, va_list args) {
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) return;
    veer_report_text(file, text);
    free(text);
}

void veer_report_print(veer_report_t *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_to(r->out, format, args);
    va_end(args);
}

void veer_report_note(veer_report_t *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("note: ", r->err);
    print_to(r->err, format, args);
    fputc('\n', r->err);
    va_end(args);
}

/* ---- errors ---- */

enum { MAX_ERRORS = 64 }; /* more are counted, not shown */

/* The name in "... node 'name' ..."; NULL where the message has none. */
static json_t *node_of(const char *message) {
    const char *start = strstr(message, "node '");
    const char *end = start ? strchr(start + 6, '\'') : NULL;
    return end ? json_stringn(start + 6, (size_t)(end - start - 6)) : NULL;
}

/* The lines of `details` that begin with `kind`, joined, without it. */
static json_t *lines_of(const char *details, const char *kind) {
    char *joined = calloc(strlen(details) + 2, 1);
    size_t length = strlen(kind);
    if (!joined) return NULL;
    for (const char *line = details; *line;) {
        size_t n = strcspn(line, "\n");
        if (n > length && !strncmp(line, kind, length)) {
            if (*joined) strcat(joined, "\n");
            strncat(joined, line + length, n - length);
        }
        line += n + (line[n] == '\n');
    }
    json_t *value = *joined ? json_string(joined) : json_null();
    free(joined);
    return value;
}

static void put_or_null(json_t *object, const char *key, json_t *value) {
    json_object_set_new(object, key, value ? value : json_null());
}

static void error_json(const veer_report_t *r, veer_status_t status, size_t i) {
    const char *message = veer_status_message(status, i), *details = veer_status_details(status, i);
    json_t *object = json_object();
    put_or_null(object, "code", json_integer(veer_status_code(status)));
    put_or_null(object, "stage", json_string(r->stage));
    put_or_null(object, "node", node_of(message));
    put_or_null(object, "message", json_string(message));
    put_or_null(object, "note", lines_of(details, "note: "));
    put_or_null(object, "help", lines_of(details, "help: "));
    json_dumpf(object, r->err, JSON_COMPACT);
    fputc('\n', r->err);
    json_decref(object);
}

/* Notes and helps that the error before had, too, are not repeated. */
static void error_text(const veer_report_t *r, veer_status_t status, size_t i) {
    const char *details = veer_status_details(status, i);
    fputs("veer: ", r->err);
    veer_report_text(r->err, veer_status_message(status, i));
    fputc('\n', r->err);
    if (!*details || (i && !strcmp(details, veer_status_details(status, i - 1)))) return;
    veer_report_text(r->err, details);
    fputc('\n', r->err);
}

static veer_status_t written(veer_report_t *r) {
    if (r->failed) return veer_out_of_memory();
    errno = 0;
    if (!fflush(r->out) && !ferror(r->out)) return veer_ok();
    return veer_error(errno == EPIPE ? VEER_ERR_FAILED : VEER_ERR_RESOURCE, "standard output: %s",
                      errno ? strerror(errno) : "write failed");
}

int veer_report_finish(veer_report_t *r, veer_status_t take_status) {
    take_status = veer_status_join(take_status, written(r));
    int code = veer_status_code(take_status);
    for (size_t i = 0; i < veer_status_count(take_status); i++) (r->json ? error_json : error_text)(r, take_status, i);
    veer_status_free(take_status);
    fflush(r->err);
    return code;
}

/* ---- JSON ---- */

static json_t *made(veer_report_t *r, json_t *value) {
    r->failed |= !value;
    return value;
}
json_t *veer_report_object(veer_report_t *r) {
    return made(r, json_object());
}
json_t *veer_report_array(veer_report_t *r) {
    return made(r, json_array());
}
void veer_put(veer_report_t *r, json_t *object, const char *key, json_t *take_value) {
    r->failed |= json_object_set_new(object, key, take_value) != 0;
}
void veer_append(veer_report_t *r, json_t *array, json_t *take_value) {
    r->failed |= json_array_append_new(array, take_value) != 0;
}
void veer_put_int(veer_report_t *r, json_t *object, const char *key, int64_t value) {
    veer_put(r, object, key, json_integer(value));
}
void veer_put_real(veer_report_t *r, json_t *object, const char *key, double value) {
    veer_put(r, object, key, isfinite(value) ? json_real(value) : json_null());
}
void veer_put_bool(veer_report_t *r, json_t *object, const char *key, bool value) {
    veer_put(r, object, key, json_boolean(value));
}

/* Names in files are any bytes; what is no UTF-8 is shown as '?'. */
static json_t *text_value(const char *text) {
    json_t *value = json_string(text);
    if (value) return value;
    char *plain = strdup(text);
    for (char *c = plain; c && *c; c++)
        if (*c & 0x80) *c = '?';
    value = plain ? json_string(plain) : NULL;
    free(plain);
    return value;
}
void veer_put_text(veer_report_t *r, json_t *object, const char *key, const char *text) {
    veer_put(r, object, key, text ? text_value(text) : json_null());
}

bool veer_report_json(veer_report_t *r, const json_t *value) {
    if (!r->json || r->failed) return r->json;
    json_dumpf(value, r->out, JSON_INDENT(2) | JSON_ENCODE_ANY);
    fputc('\n', r->out);
    return true;
}

/* ---- tables ---- */

enum { CELL_BYTES = 512 };

static void cell_text(const json_t *value, char out[CELL_BYTES]) {
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_INTEGER: snprintf(out, CELL_BYTES, "%lld", (long long)json_integer_value(value)); break;
    case JSON_REAL: snprintf(out, CELL_BYTES, "%.6g", json_real_value(value)); break;
    case JSON_STRING: snprintf(out, CELL_BYTES, "%s", json_string_value(value)); break;
    case JSON_TRUE: strcpy(out, "yes"); break;
    case JSON_FALSE: strcpy(out, "no"); break;
    default: strcpy(out, "-"); break;
    }
}

/* Characters, not bytes: the continuation bytes of UTF-8 take no place. */
static int text_width(const char *text) {
    int width = 0;
    for (; *text; text++) width += (*text & 0xC0) != 0x80;
    return width;
}

static const char *title_of(const veer_column_t *column) {
    return column->title ? column->title : column->key;
}

/* 0 for a column without any value. */
static int column_width(const json_t *rows, const veer_column_t *column) {
    char text[CELL_BYTES];
    int width = text_width(title_of(column));
    bool any = false;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *value = json_object_get(json_array_get(rows, i), column->key);
        cell_text(value, text);
        any |= value && !json_is_null(value);
        if (text_width(text) > width) width = text_width(text);
    }
    return any ? width : 0;
}

static void print_cell(veer_report_t *r, const char *text, int width, bool right, bool last) {
    int space = width - text_width(text);
    if (right) fprintf(r->out, "%*s", space, "");
    veer_report_text(r->out, text);
    if (!right && !last) fprintf(r->out, "%*s", space, "");
    fputs(last ? "\n" : "  ", r->out);
}

void veer_report_table(veer_report_t *r, const json_t *rows, const veer_column_t *columns, int count) {
    enum { MAX_COLUMNS = 32 };
    int widths[MAX_COLUMNS], last = -1;
    char text[CELL_BYTES];
    if (r->failed || count > MAX_COLUMNS) return;
    for (int c = 0; c < count; c++)
        if ((widths[c] = column_width(rows, &columns[c]))) last = c;
    for (int i = -1; i < (int)json_array_size(rows) && last >= 0; i++)
        for (int c = 0; c <= last; c++) {
            if (!widths[c]) continue;
            /* A title stands as the cell below it does. */
            const json_t *value = json_object_get(json_array_get(rows, i < 0 ? 0 : (size_t)i), columns[c].key);
            cell_text(value, text);
            print_cell(r, i < 0 ? title_of(&columns[c]) : text, widths[c], json_is_number(value), c == last);
        }
}
