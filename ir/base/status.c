#include "ir/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct veer_status_s {
    veer_code_t code;
    char *message; /* owned */
    char *details; /* owned, may be NULL */
    const char *file;
    int line;
    veer_status_t next; /* further errors of the same stage */
};

static struct veer_status_s out_of_memory_status = {
    .code = VEER_ERR_RESOURCE, .message = (char *)"out of memory", .file = __FILE__, .line = __LINE__};

veer_status_t veer_out_of_memory(void) {
    return &out_of_memory_status;
}

/* ---- texts ---- Messages hold names from files that anyone may have made: what is no UTF-8, or would be obeyed by a
 * terminal, is shown as '?', and a text ends where nobody reads on. */

enum { MAX_TEXT_BYTES = 4096 };

/* Bytes of the character at `text`; 0 where it cannot be shown. */
static size_t character_bytes(const unsigned char *text) {
    unsigned char c = *text;
    if (c < 0x80) return (c >= ' ' && c != 0x7f) || c == '\n' || c == '\t';
    size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4) return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;      /* also where the text ends */
    return c == 0xc2 && text[1] < 0xa0 ? 0 : length; /* U+0080 to U+009F are control characters */
}

static void make_shown(char *text) {
    size_t i = 0;
    while (text[i]) {
        size_t length = character_bytes((const unsigned char *)text + i);
        if (!length) text[i] = '?', length = 1;
        if (i + length >= MAX_TEXT_BYTES && strlen(text + i) > 3) { /* so there is room for the dots */
            strcpy(text + i, "...");
            return;
        }
        i += length;
    }
}

static char *format_text(const char *format, va_list args) {
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) return NULL;
    make_shown(text);
    return text;
}

veer_status_t veer_error_at(const char *file, int line, veer_code_t code, const char *format, ...) {
    veer_status_t status = calloc(1, sizeof *status);
    va_list args;
    va_start(args, format);
    char *message = status ? format_text(format, args) : NULL;
    va_end(args);
    if (!message) {
        free(status);
        return veer_out_of_memory();
    }
    *status = (struct veer_status_s){.code = code, .message = message, .file = file, .line = line};
    return status;
}

veer_status_t veer_status_where(veer_status_t status, const char *format, ...) {
    if (!status) return NULL;
    va_list args;
    va_start(args, format);
    char *where = format_text(format, args);
    va_end(args);
    for (veer_status_t s = status; s && where; s = s->next) {
        char *joined;
        if (s == &out_of_memory_status || asprintf(&joined, "%s: %s", where, s->message) < 0) continue;
        free(s->message);
        s->message = joined;
    }
    free(where);
    return status;
}

static veer_status_t add_detail(veer_status_t status, const char *kind, const char *format, va_list args) {
    if (!status || status == &out_of_memory_status) return status;
    char *text = format_text(format, args), *joined = NULL;
    const char *before = status->details ? status->details : "";
    if (text && asprintf(&joined, "%s%s%s: %s", before, *before ? "\n" : "", kind, text) >= 0) {
        free(status->details);
        status->details = joined;
    }
    free(text);
    return status;
}

veer_status_t veer_status_note(veer_status_t status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    status = add_detail(status, "note", format, args);
    va_end(args);
    return status;
}

veer_status_t veer_status_help(veer_status_t status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    status = add_detail(status, "help", format, args);
    va_end(args);
    return status;
}

veer_status_t veer_status_join(veer_status_t first, veer_status_t second) {
    if (!first) return second;
    /* The static status cannot be linked to others; alone it says all there is to say. */
    if (!second || first == &out_of_memory_status) {
        veer_status_free(second);
        return first;
    }
    if (second == &out_of_memory_status) {
        veer_status_free(first);
        return second;
    }
    veer_status_t last = first;
    while (last->next) last = last->next;
    last->next = second;
    return first;
}

veer_code_t veer_status_code(veer_status_t status) {
    return status ? status->code : VEER_OK;
}

size_t veer_status_count(veer_status_t status) {
    size_t n = 0;
    for (; status; status = status->next) n++;
    return n;
}

static veer_status_t at(veer_status_t status, size_t i) {
    while (status && i--) status = status->next;
    return status;
}

const char *veer_status_message(veer_status_t status, size_t i) {
    veer_status_t s = at(status, i);
    return s ? s->message : "";
}

const char *veer_status_details(veer_status_t status, size_t i) {
    veer_status_t s = at(status, i);
    return s && s->details ? s->details : "";
}

const char *veer_status_origin(veer_status_t status, size_t i, int *out_line) {
    veer_status_t s = at(status, i);
    if (out_line) *out_line = s ? s->line : 0;
    return s ? s->file : "";
}

void veer_status_free(veer_status_t status) {
    while (status && status != &out_of_memory_status) {
        veer_status_t next = status->next;
        free(status->message);
        free(status->details);
        free(status);
        status = next;
    }
}
