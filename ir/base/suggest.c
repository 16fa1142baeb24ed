#include "ir/base/suggest.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST = 48 }; /* longer words get no suggestion */

static int fold(char c) {
    return c == '-' ? '_' : tolower((unsigned char)c);
}

static size_t min3(size_t a, size_t b, size_t c) {
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Optimal string alignment; rows i-2, i-1, i of the usual table. Both words are at most LONGEST long. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t rows[3][LONGEST + 1];
    for (size_t j = 0; j <= b_length; j++) rows[0][j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replace = before[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            now[j] = min3(before[j] + 1, now[j - 1] + 1, replace);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = min3(now[j], two_before[j - 2] + 1, now[j]);
        }
    }
    return rows[a_length % 3][b_length];
}

veer_suggest_t veer_suggest_for(const char *word, size_t length) {
    return (veer_suggest_t){word, length, length / 3 + 1, NULL};
}

void veer_suggest_offer(veer_suggest_t *s, const char *candidate) {
    size_t length = strlen(candidate);
    if (s->length > LONGEST || length > LONGEST || s->length == 0) return;
    size_t distance = edit_distance(s->word, s->length, candidate, length);
    if (distance >= s->limit) return;
    s->limit = distance; /* the first of equally near candidates stays */
    s->best = candidate;
}

const char *veer_suggest(const char *word, const char *const *candidates, size_t count) {
    veer_suggest_t s = veer_suggest_for(word, strlen(word));
    for (size_t i = 0; i < count; i++) veer_suggest_offer(&s, candidates[i]);
    return s.best;
}
