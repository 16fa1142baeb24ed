#include "tools/args.h"
#include "ir/base/suggest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    veer_args_t *args;
    const veer_flag_t *flags;
    int flag_count;
    int argc, at;
    char *const *argv;
    veer_status_t status; /* all mistakes so far */
} parser_t;

static bool is_switch(const veer_flag_t *flag) {
    return !flag->value || !*flag->value;
}

/* Is this word, up to `length`, the flag's name? */
static bool is_name(const char *word, size_t length, const char *name) {
    if (strlen(name) != length) return false;
    for (size_t i = 0; i < length; i++)
        if ((word[i] == '_' ? '-' : word[i]) != name[i]) return false;
    return true;
}

static const veer_flag_t *find_name(const parser_t *p, const char *word, size_t length) {
    for (int i = 0; i < p->flag_count; i++)
        if (is_name(word, length, p->flags[i].name)) return &p->flags[i];
    return NULL;
}

static const veer_flag_t *find_letter(const parser_t *p, char letter) {
    for (int i = 0; i < p->flag_count; i++)
        if (p->flags[i].letter == letter) return &p->flags[i];
    return NULL;
}

static void fail(parser_t *p, veer_status_t take_status) {
    p->status = veer_status_join(p->status, take_status);
}

static void unknown(parser_t *p, const char *word, size_t length) {
    const char **names = veer_arena_array(&p->args->arena, (size_t)p->flag_count + 1, sizeof *names);
    const char *name = veer_arena_strndup(&p->args->arena, word, length);
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "unknown flag --%.*s", (int)length, word);
    for (int i = 0; names && i < p->flag_count; i++) names[i] = p->flags[i].name;
    const char *near = names && name ? veer_suggest(name, names, (size_t)p->flag_count) : NULL;
    fail(p, near ? veer_status_help(status, "did you mean --%s?", near) : status);
}

/* `value` NULL: it is the next word, which must not look like a flag (a negative number does not). */
static void give(parser_t *p, const veer_flag_t *flag, const char *value) {
    if (is_switch(flag)) {
        if (value) fail(p, veer_error(VEER_ERR_CONFIG, "flag --%s takes no value, got '%s'", flag->name, value));
        value = "";
    } else if (!value) {
        if (p->at >= p->argc || !strncmp(p->argv[p->at], "--", 2)) {
            fail(p,
                 veer_error(VEER_ERR_CONFIG, "flag --%s needs a value: --%s %s", flag->name, flag->name, flag->value));
            return;
        }
        value = p->argv[p->at++];
    }
    p->args->given[p->args->given_count++] = (veer_given_t){flag, value};
}

static void parse_word(parser_t *p, const char *word) {
    if (word[0] != '-' || !word[1]) {
        p->args->operands[p->args->operand_count++] = word;
    } else if (word[1] == '-') {
        const char *name = word + 2, *equals = strchr(name, '=');
        size_t length = equals ? (size_t)(equals - name) : strlen(name);
        const veer_flag_t *flag = find_name(p, name, length);
        if (flag)
            give(p, flag, equals ? equals + 1 : NULL);
        else
            unknown(p, name, length);
    } else {
        const veer_flag_t *flag = find_letter(p, word[1]);
        const char *rest = word[2] == '=' ? word + 3 : word + 2;
        if (flag)
            give(p, flag, word[2] ? rest : NULL);
        else
            fail(p, veer_error(VEER_ERR_CONFIG, "unknown flag %s", word));
    }
}

veer_status_t veer_args_parse(veer_args_t *out, veer_allocator_t allocator, const veer_flag_t *flags, int flag_count,
                              int argc, char *const *argv) {
    *out = (veer_args_t){0};
    veer_arena_init(&out->arena, allocator);
    out->given = veer_arena_array(&out->arena, (size_t)argc + 1, sizeof *out->given);
    out->operands = veer_arena_array(&out->arena, (size_t)argc + 1, sizeof *out->operands);
    if (!out->given || !out->operands) return veer_out_of_memory();
    parser_t p = {.args = out, .flags = flags, .flag_count = flag_count, .argc = argc, .argv = argv};
    while (p.at < argc) {
        const char *word = argv[p.at++];
        if (!strcmp(word, "--")) break;
        parse_word(&p, word);
    }
    while (p.at < argc) out->operands[out->operand_count++] = argv[p.at++];
    return p.status;
}

void veer_args_deinit(veer_args_t *args) {
    veer_arena_deinit(&args->arena);
    *args = (veer_args_t){0};
}

/* ---- queries ---- */

const char *veer_args_value(const veer_args_t *args, const char *name) {
    const char *value = NULL;
    for (int i = 0; i < args->given_count; i++)
        if (!strcmp(args->given[i].flag->name, name)) value = args->given[i].value;
    return value;
}

int veer_args_count(const veer_args_t *args, const char *name) {
    int count = 0;
    for (int i = 0; i < args->given_count; i++) count += !strcmp(args->given[i].flag->name, name);
    return count;
}

const char *veer_args_value_at(const veer_args_t *args, const char *name, int i) {
    for (int k = 0; k < args->given_count; k++)
        if (!strcmp(args->given[k].flag->name, name) && i-- == 0) return args->given[k].value;
    return NULL;
}

veer_status_t veer_args_int(const veer_args_t *args, const char *name, int64_t least, int64_t most, int64_t *out) {
    const char *text = veer_args_value(args, name);
    if (!text) return veer_ok();
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno) return veer_error(VEER_ERR_CONFIG, "--%s: '%s' is no integer", name, text);
    if (number < least)
        return veer_error(VEER_ERR_CONFIG, "--%s: %lld, expected at least %lld", name, number, (long long)least);
    if (number > most)
        return veer_error(VEER_ERR_CONFIG, "--%s: %lld, expected at most %lld", name, number, (long long)most);
    *out = number;
    return veer_ok();
}

veer_status_t veer_args_double(const veer_args_t *args, const char *name, double least, double *out) {
    const char *text = veer_args_value(args, name);
    if (!text) return veer_ok();
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !isfinite(number))
        return veer_error(VEER_ERR_CONFIG, "--%s: '%s' is no number", name, text);
    if (number < least) return veer_error(VEER_ERR_CONFIG, "--%s: %g, expected at least %g", name, number, least);
    *out = number;
    return veer_ok();
}

veer_status_t veer_args_choice(const veer_args_t *args, const char *name, const char *const *words, const char **out) {
    const char *text = veer_args_value(args, name);
    if (!text) return veer_ok();
    char list[256] = "";
    for (int i = 0; words[i]; i++) {
        if (is_name(text, strlen(text), words[i])) return *out = words[i], veer_ok();
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", words[i]);
    }
    return veer_error(VEER_ERR_CONFIG, "--%s: '%s' is none of %s", name, text, list);
}

veer_status_t veer_args_split(veer_args_t *args, const char *text, const char *const **out_parts, int *out_count) {
    int count = 1;
    for (const char *c = text; *c; c++) count += *c == ',';
    const char **parts = veer_arena_array(&args->arena, (size_t)count, sizeof *parts);
    if (!parts) return veer_out_of_memory();
    const char *at = text;
    for (int i = 0; i < count; i++) {
        size_t length = strcspn(at, ",");
        if (!length) return veer_error(VEER_ERR_CONFIG, "'%s' has an empty part", text);
        parts[i] = veer_arena_strndup(&args->arena, at, length);
        if (!parts[i]) return veer_out_of_memory();
        at += length + 1;
    }
    *out_parts = parts;
    *out_count = count;
    return veer_ok();
}

veer_status_t veer_args_assignment(veer_args_t *args, const char *flag, const char *text, const char **out_name,
                                   const char **out_value) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return veer_error(VEER_ERR_CONFIG, "--%s '%s': expected NAME=VALUE", flag, text);
    char *name = veer_arena_strndup(&args->arena, text, (size_t)(equals - text));
    if (!name) return veer_out_of_memory();
    *out_name = name;
    *out_value = equals + 1;
    return veer_ok();
}
