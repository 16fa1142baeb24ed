#include "frontend/suggest.h"

#include <ctype.h>
#include <string.h>

enum { MAX_LENGTH = 48 }; /* longer words get no suggestion */

static int fold(char c) {
    return c == '-' ? '_' : tolower((unsigned char)c);
}

static size_t min3(size_t a, size_t b, size_t c) {
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Optimal string alignment; rows i-2, i-1, i of the usual table. */
static size_t edit_distance(const char *a, const char *b) {
    size_t rows[3][MAX_LENGTH + 1], la = strlen(a), lb = strlen(b);
    for (size_t j = 0; j <= lb; j++) rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t replace = before[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            now[j] = min3(before[j] + 1, now[j - 1] + 1, replace);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = min3(now[j], two_before[j - 2] + 1, now[j]);
        }
    }
    return rows[la % 3][lb];
}

const char *veer_suggest(const char *word, const char *const *candidates, size_t count) {
    size_t length = strlen(word), best = length / 3 + 1;
    const char *found = NULL;
    if (length == 0 || length > MAX_LENGTH) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strlen(candidates[i]) > MAX_LENGTH) continue;
        size_t distance = edit_distance(word, candidates[i]);
        if (distance < best) best = distance, found = candidates[i];
    }
    return found;
}
