/* Words of the text form, and errors that show where they stand. The text is hostile: nothing is assumed about it. */
#ifndef VEER_IR_LEXER_H
#define VEER_IR_LEXER_H

#include "ir/base/arena.h"
#include "ir/base/status.h"

typedef enum veer_token_kind_e {
    VEER_TOKEN_END,    /* of the text */
    VEER_TOKEN_BAD,    /* an unexpected byte, or an unterminated string */
    VEER_TOKEN_WORD,   /* softmax, f32, _ */
    VEER_TOKEN_VALUE,  /* %x, %"any name", %12 */
    VEER_TOKEN_AT,     /* @f, @"any name" */
    VEER_TOKEN_NUMBER, /* 1, -0.5, +4096, 0x7fc00001, -inf */
    VEER_TOKEN_STRING, /* "..." */
    VEER_TOKEN_HASH,   /* #0123456789abcdef */
    VEER_TOKEN_PUNCT   /* one of ( ) [ ] { } , ; : = */
} veer_token_kind_t;

typedef struct veer_token_s {
    veer_token_kind_t kind;
    const char *text; /* as it stands, sigil and quotes included; borrowed from the text */
    size_t length;
    bool quoted;
} veer_token_t;

typedef struct veer_lexer_s {
    const char *file_name, *text, *end, *at;
    veer_token_t token; /* the current one */
} veer_lexer_t;

/* Stands on the first token. Everything is borrowed. */
veer_lexer_t veer_lexer_make(const char *file_name, const char *text, size_t length);
void veer_lexer_next(veer_lexer_t *l);
/* Is the current token this punctuation mark / this word? */
bool veer_lexer_is(const veer_lexer_t *l, char punct);
bool veer_lexer_is_word(const veer_lexer_t *l, const char *word);
/* The name in a value, at or string token: without sigil and quotes, escapes decoded, NUL-terminated, in the arena. */
VEER_MUST_USE veer_status_t veer_lexer_name(const veer_lexer_t *l, const veer_token_t *token, veer_arena_t *arena,
                                            char **out_name);

/* An error at a token: "file:line:column: message", the line and a caret under the token. */
VEER_MUST_USE veer_status_t veer_lexer_error(const veer_lexer_t *l, const veer_token_t *token, const char *format, ...)
    VEER_PRINTF(3, 4);
/* The same for an error made elsewhere, which keeps its code, notes and helps. Takes `status`; NULL stays NULL. */
VEER_MUST_USE veer_status_t veer_lexer_locate(const veer_lexer_t *l, const veer_token_t *token, veer_status_t status);

#endif
