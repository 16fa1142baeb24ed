/* "did you mean": the candidate nearest to a mistyped word.
 *
 *     veer_suggest_t s = veer_suggest_for("sofmax", 6);
 *     for (...) veer_suggest_offer(&s, name[i]);
 *     if (s.best) ...                                  // NULL where nothing is near
 */
#ifndef VEER_IR_BASE_SUGGEST_H
#define VEER_IR_BASE_SUGGEST_H

#include <stddef.h>

typedef struct veer_suggest_s {
    const char *word;
    size_t length, limit; /* candidates must be nearer than `limit` */
    const char *best;     /* borrowed from the caller of offer */
} veer_suggest_t;

veer_suggest_t veer_suggest_for(const char *word, size_t length);
void veer_suggest_offer(veer_suggest_t *s, const char *candidate);

#endif
