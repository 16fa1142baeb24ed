#include "ir/lexer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_word_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_word_part(char c) {
    return is_word_start(c) || is_digit(c) || c == '.';
}

static char peek(const veer_lexer_t *l, size_t ahead) {
    return (size_t)(l->end - l->at) > ahead ? l->at[ahead] : 0;
}

static void skip_blanks(veer_lexer_t *l) {
    for (; l->at < l->end; l->at++) {
        if (peek(l, 0) == '/' && peek(l, 1) == '/')
            while (l->at < l->end && *l->at != '\n') l->at++;
        if (l->at == l->end || !strchr(" \t\r\n", *l->at) || !*l->at) return;
    }
}

static void take_word(veer_lexer_t *l) {
    while (l->at < l->end && is_word_part(*l->at)) l->at++;
}

/* Stands on the opening quote. False where the line or the text ends first. */
static bool take_string(veer_lexer_t *l) {
    for (l->at++; l->at < l->end && *l->at != '\n'; l->at++) {
        if (*l->at == '"') return l->at++, true;
        if (*l->at == '\\' && peek(l, 1) && peek(l, 1) != '\n') l->at++;
    }
    return false;
}

static void take_number(veer_lexer_t *l) {
    bool hex = peek(l, 0) == '0' && (peek(l, 1) | 32) == 'x';
    for (l->at++; l->at < l->end; l->at++) {
        bool exponent = !hex && (l->at[-1] | 32) == 'e' && (*l->at == '+' || *l->at == '-');
        if (!is_word_part(*l->at) && !exponent) return;
    }
}

static veer_token_kind_t take_name(veer_lexer_t *l, veer_token_kind_t kind) {
    l->at++; /* the sigil */
    if (peek(l, 0) == '"') {
        l->token.quoted = true;
        return take_string(l) ? kind : VEER_TOKEN_BAD;
    }
    const char *start = l->at;
    take_word(l);
    return l->at > start ? kind : VEER_TOKEN_BAD;
}

static veer_token_kind_t take_token(veer_lexer_t *l) {
    char c = *l->at;
    if (is_word_start(c)) return take_word(l), VEER_TOKEN_WORD;
    if (c == '%') return take_name(l, VEER_TOKEN_VALUE);
    if (c == '@') return take_name(l, VEER_TOKEN_AT);
    if (c == '#') return l->at++, take_word(l), VEER_TOKEN_HASH;
    if (c == '"') return take_string(l) ? VEER_TOKEN_STRING : VEER_TOKEN_BAD;
    if (is_digit(c) || c == '-' || c == '+' || (c == '.' && is_digit(peek(l, 1))))
        return take_number(l), VEER_TOKEN_NUMBER;
    l->at++;
    return c && strchr("()[]{},;:=", c) ? VEER_TOKEN_PUNCT : VEER_TOKEN_BAD;
}

void veer_lexer_next(veer_lexer_t *l) {
    skip_blanks(l);
    l->token = (veer_token_t){.kind = VEER_TOKEN_END, .text = l->at};
    if (l->at < l->end) l->token.kind = take_token(l);
    l->token.length = (size_t)(l->at - l->token.text);
}

veer_lexer_t veer_lexer_make(const char *file_name, const char *text, size_t length) {
    veer_lexer_t l = {.file_name = file_name, .text = text, .end = text + length, .at = text};
    veer_lexer_next(&l);
    return l;
}

bool veer_lexer_is(const veer_lexer_t *l, char punct) {
    return l->token.kind == VEER_TOKEN_PUNCT && *l->token.text == punct;
}

bool veer_lexer_is_word(const veer_lexer_t *l, const char *word) {
    return l->token.kind == VEER_TOKEN_WORD && l->token.length == strlen(word) &&
           !memcmp(l->token.text, word, l->token.length);
}

/* ---- strings ---- */

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | (c > '9' ? 32 : 0)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Decodes one escape at text[0] = '\\'; gives the number of characters it takes, 0 where it is none of ours. */
static size_t decode_escape(const char *text, size_t length, char *out) {
    if (length < 2) return 0;
    switch (text[1]) {
    case 'n': *out = '\n'; return 2;
    case 't': *out = '\t'; return 2;
    case '"':
    case '\\': *out = text[1]; return 2;
    case 'x':
        if (length < 4 || hex_digit(text[2]) < 0 || hex_digit(text[3]) < 0) return 0;
        *out = (char)(hex_digit(text[2]) * 16 + hex_digit(text[3]));
        return *out ? 4 : 0; /* names are NUL-terminated */
    default: return 0;
    }
}

veer_status_t veer_lexer_name(const veer_lexer_t *l, const veer_token_t *token, veer_arena_t *arena, char **out_name) {
    size_t sigil = token->kind == VEER_TOKEN_STRING ? 0 : 1, quote = token->kind == VEER_TOKEN_STRING || token->quoted;
    const char *text = token->text + sigil + quote;
    size_t length = token->length - sigil - 2 * quote, written = 0;
    char *name = veer_arena_alloc(arena, length + 1);
    if (!name) return veer_out_of_memory();
    for (size_t i = 0; i < length; written++) {
        size_t taken = 1;
        if (text[i] == '\\')
            taken = decode_escape(text + i, length - i, &name[written]);
        else
            name[written] = text[i];
        if (taken == 0 || !name[written])
            return veer_lexer_error(l, token, "an escape that is not \\\" \\\\ \\n \\t or \\xHH, or a NUL");
        i += taken;
    }
    name[written] = 0;
    *out_name = name;
    return veer_ok();
}

/* ---- errors ---- */

enum { SHOWN_BEFORE = 60, SHOWN_AFTER = 50 };

typedef struct place_s {
    int line;
    size_t column; /* both from 1 */
    char shown[SHOWN_BEFORE + SHOWN_AFTER + 1];
    int caret; /* blanks before the caret */
} place_t;

/* A long line is shown around the token only. */
static place_t find_place(const veer_lexer_t *l, const char *at) {
    place_t p = {.line = 1};
    const char *start = l->text, *end = at;
    for (const char *c = l->text; c < at; c++)
        if (*c == '\n') p.line++, start = c + 1;
    p.column = (size_t)(at - start) + 1;
    if (at - start > SHOWN_BEFORE) start = at - SHOWN_BEFORE;
    while (end < l->end && *end != '\n' && end - at < SHOWN_AFTER) end++;
    p.caret = (int)(at - start);
    for (int i = 0; i < end - start; i++) {
        unsigned char c = (unsigned char)start[i];
        p.shown[i] = c == '\t' || c == '\r' ? ' ' : c < ' ' || c == 127 ? '?' : (char)c;
    }
    return p;
}

static veer_status_t error_at(const veer_lexer_t *l, const veer_token_t *token, veer_code_t code, const char *message) {
    place_t p = find_place(l, token->text);
    return veer_error(code, "%s:%d:%zu: %s\n    %s\n    %*s^", l->file_name, p.line, p.column, message, p.shown,
                      p.caret, "");
}

veer_status_t veer_lexer_error(const veer_lexer_t *l, const veer_token_t *token, const char *format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return error_at(l, token, VEER_ERR_FILE, message);
}

/* Notes and helps of `from`, one a line, each with its kind in front. */
static veer_status_t copy_details(veer_status_t to, veer_status_t from) {
    for (const char *line = veer_status_details(from, 0); *line;) {
        int length = (int)strcspn(line, "\n");
        if (!strncmp(line, "help: ", 6))
            to = veer_status_help(to, "%.*s", length - 6, line + 6);
        else
            to = veer_status_note(to, "%.*s", strncmp(line, "note: ", 6) ? length : length - 6,
                                  strncmp(line, "note: ", 6) ? line : line + 6);
        line += length;
        line += *line == '\n';
    }
    return to;
}

veer_status_t veer_lexer_locate(const veer_lexer_t *l, const veer_token_t *token, veer_status_t status) {
    if (!status || veer_status_code(status) == VEER_ERR_RESOURCE) return status;
    veer_status_t located = error_at(l, token, veer_status_code(status), veer_status_message(status, 0));
    located = copy_details(located, status);
    veer_status_free(status);
    return located;
}
