/* "did you mean": the known word nearest to one that is not known. */
#ifndef VEER_FRONTEND_SUGGEST_H
#define VEER_FRONTEND_SUGGEST_H

#include <stddef.h>

/* The candidate with the smallest edit distance (insert, delete, replace, swap of neighbours; case and '-' for '_' are
 * free), the first one of several; NULL where none is near: more than a third of the word would have to change. */
const char *veer_suggest(const char *word, const char *const *candidates, size_t count);

#endif
