#include "ir/base/suggest.h"

#include <string.h>

enum { LONGEST = 48 };

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Levenshtein's distance, two rows folded into one. Both words are at most LONGEST long. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t row[LONGEST + 1];
    for (size_t j = 0; j <= b_length; j++) row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t changed = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(changed, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_length];
}

veer_suggest_t veer_suggest_for(const char *word, size_t length) {
    /* A third of the letters may differ; one in a very short word. */
    return (veer_suggest_t){word, length, length / 3 + 2, NULL};
}

void veer_suggest_offer(veer_suggest_t *s, const char *candidate) {
    size_t length = strlen(candidate);
    if (s->length > LONGEST || length > LONGEST || s->length == 0) return;
    size_t distance = edit_distance(s->word, s->length, candidate, length);
    if (distance >= s->limit || distance >= s->length) return;
    s->limit = distance; /* the first of equally near candidates stays */
    s->best = candidate;
}
