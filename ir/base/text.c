#include "ir/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void veer_text_deinit(veer_text_t *t) {
    veer_free(t->allocator, t->data);
    *t = veer_text_make(t->allocator);
}

/* Room for `extra` bytes and the NUL. */
static bool reserve(veer_text_t *t, size_t extra) {
    size_t want;
    if (t->failed) return false;
    if (t->data && extra < t->capacity - t->length) return true;
    t->failed = true;
    if (!veer_size_add(t->length, extra, &want) || !veer_size_add(want, 1, &want)) return false;
    if (want < t->capacity * 2) want = t->capacity * 2;
    if (want < 256) want = 256;
    char *bigger = veer_alloc(t->allocator, want);
    if (!bigger) return false;
    if (t->length) memcpy(bigger, t->data, t->length);
    veer_free(t->allocator, t->data);
    t->data = bigger;
    t->capacity = want;
    t->failed = false;
    return true;
}

char *veer_text_extend(veer_text_t *t, size_t length) {
    if (!reserve(t, length)) return NULL;
    char *at = t->data + t->length;
    t->length += length;
    t->data[t->length] = 0;
    return at;
}

void veer_text_add_bytes(veer_text_t *t, const char *bytes, size_t length) {
    char *at = veer_text_extend(t, length);
    if (at && length) memcpy(at, bytes, length);
}

void veer_text_add(veer_text_t *t, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) t->failed = true;
    if (length >= 0 && reserve(t, (size_t)length)) {
        vsnprintf(t->data + t->length, (size_t)length + 1, format, again);
        t->length += (size_t)length;
    }
    va_end(again);
}

veer_status_t veer_text_take(veer_text_t *t, char **out_text) {
    if (!reserve(t, 0)) { /* an empty text is still a string */
        veer_text_deinit(t);
        return veer_out_of_memory();
    }
    *out_text = t->data;
    *t = veer_text_make(t->allocator);
    return veer_ok();
}
