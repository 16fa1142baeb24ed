/* "did you mean": the known word nearest to one that is not known.
 *
 *     const char *near = veer_suggest("stpes", flags, flag_count);
 *
 *     veer_suggest_t s = veer_suggest_for("sofmax", 6);
 *     for (...) veer_suggest_offer(&s, name[i]);
 *     if (s.best) ...                                  // NULL where nothing is near
 *
 * Near is the smallest edit distance (insert, delete, replace, swap of neighbours; case and '-' for '_' are free), the
 * first one of several; not more than a third of the word may have to change.
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
/* The best of a list; NULL where none is near. */
const char *veer_suggest(const char *word, const char *const *candidates, size_t count);

#endif
