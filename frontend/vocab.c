#include "frontend/vocab.h"

#include "frontend/infile.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VOCAB_BYTES = 64 << 20, FIRST_ORDINARY = 3 };

/* ---- reading ---- */

/* Length of the UTF-8 sequence at `s`, 0 where it is none; overlong forms and surrogates are none. */
static size_t utf8_length(const unsigned char *s, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (n < 2 || n > left) return n == 1 ? 1 : 0;
    uint32_t code = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    return code >= least[n] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? n : 0;
}

static veer_status_t bad_line(int64_t line, const char *what) {
    return veer_error(VEER_ERR_FILE, "line %" PRId64 " of the vocabulary %s", line + 1, what);
}

static veer_status_t check_word(const char *word, size_t length, int64_t line) {
    if (length == 0) return bad_line(line, "is empty, expected one word per line");
    for (size_t i = 0, n; i < length; i += n) {
        n = utf8_length((const unsigned char *)word + i, length - i);
        if (n == 0 || word[i] == '\0') return bad_line(line, "is not UTF-8 text");
    }
    return veer_ok();
}

/* FNV-1a. */
static uint64_t hash_word(const char *word, size_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)word[i]) * 0x100000001b3u;
    return hash;
}

/* The slot that holds the word, or the empty one where it belongs. The table is at most half full. */
static int64_t *find_slot(const veer_vocab_t *v, const char *word, size_t length) {
    for (size_t at = hash_word(word, length);; at++) {
        int64_t *slot = &v->slots[at & (v->slot_count - 1)];
        if (!*slot) return slot;
        const char *known = v->words[*slot - 1];
        if (!strncmp(known, word, length) && !known[length]) return slot;
    }
}

static int64_t count_lines(const char *text, size_t size) {
    int64_t lines = 0;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    return lines + (size > 0 && text[size - 1] != '\n');
}

static veer_status_t allocate_tables(veer_vocab_t *v) {
    v->slot_count = 8;
    while (v->slot_count < 2 * (size_t)v->count) v->slot_count *= 2;
    v->words = veer_alloc_array(v->allocator, (size_t)v->count, sizeof *v->words);
    v->slots = veer_alloc_array(v->allocator, v->slot_count, sizeof *v->slots);
    return v->words && v->slots ? veer_ok() : veer_out_of_memory();
}

/* Cuts the text at its line ends, in place. */
static veer_status_t add_words(veer_vocab_t *v, size_t size) {
    char *at = v->text, *end = v->text + size;
    for (int64_t line = 0; line < v->count; line++) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end; /* the NUL behind the file ends the last word */
        size_t length = (size_t)(stop - at);
        if (length > 0 && at[length - 1] == '\r') length--;
        VEER_TRY(check_word(at, length, line));
        at[length] = '\0';
        int64_t *slot = find_slot(v, at, length);
        if (*slot) return bad_line(line, "repeats an earlier word");
        ((const char **)v->words)[line] = at;
        *slot = line + 1;
        at = stop + 1;
    }
    return veer_ok();
}

static veer_status_t build(veer_vocab_t *v, size_t size) {
    v->count = count_lines(v->text, size);
    if (v->count < FIRST_ORDINARY)
        return veer_error(VEER_ERR_FILE,
                          "the vocabulary has %" PRId64 " words, expected the padding, the end, the "
                          "unknown word and then others",
                          v->count);
    VEER_TRY(allocate_tables(v));
    return add_words(v, size);
}

veer_status_t veer_vocab_read(const char *path, veer_allocator_t allocator, veer_vocab_t *out_vocab) {
    veer_vocab_t v = {.allocator = allocator};
    size_t size;
    VEER_TRY(veer_infile_read_text(path, MAX_VOCAB_BYTES, allocator, &v.text, &size));
    veer_status_t status = veer_status_where(build(&v, size), "%s", path);
    if (status)
        veer_vocab_deinit(&v);
    else
        *out_vocab = v;
    return status;
}

void veer_vocab_deinit(veer_vocab_t *vocab) {
    if (vocab->text) veer_free(vocab->allocator, vocab->text);
    if (vocab->words) veer_free(vocab->allocator, (void *)vocab->words);
    if (vocab->slots) veer_free(vocab->allocator, vocab->slots);
    *vocab = (veer_vocab_t){0};
}

/* ---- words and tokens ---- */

int64_t veer_vocab_find(const veer_vocab_t *vocab, const char *word, size_t length) {
    int64_t slot = *find_slot(vocab, word, length);
    return slot ? slot - 1 : VEER_TOKEN_UNKNOWN;
}

veer_status_t veer_vocab_encode(const veer_vocab_t *vocab, const char *text, int64_t capacity, int64_t *out_tokens) {
    static const char space[] = " \t\r\n";
    int64_t count = 0;
    for (const char *p = text + strspn(text, space); *p; p += strspn(p, space)) {
        size_t length = strcspn(p, space);
        if (count < capacity) out_tokens[count] = veer_vocab_find(vocab, p, length);
        count++;
        p += length;
    }
    if (count > capacity)
        return veer_error(VEER_ERR_CONFIG, "the text has %" PRId64 " words, the input takes %" PRId64, count, capacity);
    for (int64_t i = count; i < capacity; i++) out_tokens[i] = VEER_TOKEN_PAD;
    return veer_ok();
}

/* Bytes of the text with its NUL; `out` may be NULL to ask for that only. */
static size_t join_words(const veer_vocab_t *v, const int64_t *tokens, int64_t count, char *out) {
    size_t used = 0;
    for (int64_t i = 0; i < count && tokens[i] != VEER_TOKEN_END; i++) {
        if (tokens[i] == VEER_TOKEN_PAD) continue;
        const char *word = v->words[tokens[i]];
        size_t length = strlen(word);
        if (out) memcpy(out + used, word, length), out[used + length] = ' ';
        used += length + 1;
    }
    if (out && used) out[used - 1] = '\0'; /* the last space */
    return used ? used : 1;
}

veer_status_t veer_vocab_decode(const veer_vocab_t *vocab, const int64_t *tokens, int64_t count,
                                veer_allocator_t allocator, char **out_text) {
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= vocab->count)
            return veer_status_help(veer_error(VEER_ERR_CONFIG,
                                               "token %" PRId64 " is not in the vocabulary of %" PRId64 " words",
                                               tokens[i], vocab->count),
                                    "does the vocabulary belong to these embeddings?");
    char *text = veer_alloc(allocator, join_words(vocab, tokens, count, NULL));
    if (!text) return veer_out_of_memory();
    join_words(vocab, tokens, count, text);
    *out_text = text;
    return veer_ok();
}

/* ---- JSON lines ---- */

/* The text as a JSON string with its quotes; free() it. NULL when out of memory: words are UTF-8, checked when read. */
static char *quote(const char *text) {
    json_t *string = json_string(text);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    json_decref(string);
    return quoted;
}

static char *format_line(const char *quoted, const int64_t *tokens, int64_t count, uint64_t seed, int64_t index,
                         veer_allocator_t allocator) {
    enum { NUMBER_BYTES = 24 }; /* the longest integer, its comma and a NUL */
    size_t size = strlen(quoted) + (size_t)(count + 2) * NUMBER_BYTES + 64;
    char *line = veer_alloc(allocator, size), *at = line, *end = line + size;
    if (!line) return NULL;
    at += snprintf(at, (size_t)(end - at), "{\"text\":%s,\"tokens\":[", quoted);
    for (int64_t i = 0; i < count; i++) at += snprintf(at, (size_t)(end - at), i ? ",%" PRId64 : "%" PRId64, tokens[i]);
    snprintf(at, (size_t)(end - at), "],\"seed\":%" PRIu64 ",\"index\":%" PRId64 "}\n", seed, index);
    return line;
}

veer_status_t veer_vocab_json_line(const veer_vocab_t *vocab, const int64_t *tokens, int64_t count, uint64_t seed,
                                   int64_t index, veer_allocator_t allocator, char **out_line) {
    char *text;
    VEER_TRY(veer_vocab_decode(vocab, tokens, count, allocator, &text));
    char *quoted = quote(text);
    char *line = quoted ? format_line(quoted, tokens, count, seed, index, allocator) : NULL;
    free(quoted);
    veer_free(allocator, text);
    if (!line) return veer_out_of_memory();
    *out_line = line;
    return veer_ok();
}
