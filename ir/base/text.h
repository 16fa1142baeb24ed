/* A growing string. The first failed allocation sticks: later calls do nothing, and veer_text_take reports it.
 *
 *     veer_text_t t = veer_text_make(allocator);
 *     veer_text_add(&t, "%d nodes", n);
 *     VEER_TRY(veer_text_take(&t, &text));     // the caller owns `text` (veer_free); t is empty again
 */
#ifndef VEER_IR_BASE_TEXT_H
#define VEER_IR_BASE_TEXT_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

typedef struct veer_text_s {
    veer_allocator_t allocator;
    char *data; /* owned; NUL-terminated unless NULL */
    size_t length, capacity;
    bool failed;
} veer_text_t;

static inline veer_text_t veer_text_make(veer_allocator_t allocator) {
    return (veer_text_t){.allocator = allocator};
}
void veer_text_deinit(veer_text_t *t);
void veer_text_add(veer_text_t *t, const char *format, ...) VEER_PRINTF(2, 3);
void veer_text_add_bytes(veer_text_t *t, const char *bytes, size_t length);
/* Room for `length` bytes at the end, counted as written; NULL where memory ran out. */
char *veer_text_extend(veer_text_t *t, size_t length);
/* Gives the string away; VEER_ERR_RESOURCE (and nothing to release) where memory ran out. */
VEER_MUST_USE veer_status_t veer_text_take(veer_text_t *t, char **out_text);

#endif
