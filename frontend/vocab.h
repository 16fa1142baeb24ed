/* vocab.txt: one word per line, the line number (from 0) is the token. 0 pads, 1 ends a text, 2 stands for words that
 * are not there.
 *
 *     veer_vocab_t v;
 *     VEER_TRY(veer_vocab_read("vocab.txt", allocator, &v));
 *     VEER_TRY(veer_vocab_encode(&v, "name [ The Mill ]", 44, tokens));        // padded to 44
 *     VEER_TRY(veer_vocab_decode(&v, tokens, 44, allocator, &text));           // veer_free(allocator, text)
 *     veer_vocab_deinit(&v);
 *
 * Read-only after it was read, so threads may share it.
 */
#ifndef VEER_FRONTEND_VOCAB_H
#define VEER_FRONTEND_VOCAB_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

enum { VEER_TOKEN_PAD = 0, VEER_TOKEN_END = 1, VEER_TOKEN_UNKNOWN = 2 };

typedef struct veer_vocab_s {
    int64_t count;
    const char *const *words; /* [count], NUL-terminated UTF-8 */
    char *text;               /* the file, cut into words */
    int64_t *slots;           /* open addressing, a power of two many; token + 1, 0 where empty */
    size_t slot_count;
    veer_allocator_t allocator;
} veer_vocab_t;

/* VEER_ERR_FILE where the file is not UTF-8, has fewer than 3 lines, an empty one or a repeated one. */
VEER_MUST_USE veer_status_t veer_vocab_read(const char *path, veer_allocator_t allocator, veer_vocab_t *out_vocab);
void veer_vocab_deinit(veer_vocab_t *vocab);

/* The token of a word, VEER_TOKEN_UNKNOWN where it has none. */
int64_t veer_vocab_find(const veer_vocab_t *vocab, const char *word, size_t length);
/* Words between white space to tokens, the rest of out_tokens[capacity] padded. VEER_ERR_CONFIG where it does not fit.
 */
VEER_MUST_USE veer_status_t veer_vocab_encode(const veer_vocab_t *vocab, const char *text, int64_t capacity,
                                              int64_t *out_tokens);
/* Words joined by spaces, up to the end token, without padding. The caller owns *out_text. VEER_ERR_CONFIG where a
 * token is not in the vocabulary. */
VEER_MUST_USE veer_status_t veer_vocab_decode(const veer_vocab_t *vocab, const int64_t *tokens, int64_t count,
                                              veer_allocator_t allocator, char **out_text);

/* One line of a .jsonl file, newline included: {"text":...,"tokens":[...],"seed":...,"index":...}; tokens are all
 * positions. The caller owns *out_line. */
VEER_MUST_USE veer_status_t veer_vocab_json_line(const veer_vocab_t *vocab, const int64_t *tokens, int64_t count,
                                                 uint64_t seed, int64_t index, veer_allocator_t allocator,
                                                 char **out_line);

#endif
