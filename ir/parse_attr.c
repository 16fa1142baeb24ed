/* Attribute lists {axis = 1, dims = [2, 8], mode = "edge"}; the op's definition says of which kind each is. */
#include "ir/base/suggest.h"
#include "ir/literal.h"
#include "ir/parse_internal.h"

#include <string.h>

static veer_status_t parse_int(veer_parser_t *p, int64_t *out) {
    const veer_token_t *t = &p->lex.token;
    veer_dtype_t dtype = t->kind == VEER_TOKEN_WORD ? veer_dtype_from_name(t->text, t->length) : VEER_DTYPE_NONE;
    bool yes = veer_lexer_is_word(&p->lex, "true");
    if (!dtype && !yes && !veer_lexer_is_word(&p->lex, "false")) return veer_parse_integer(p, out);
    *out = dtype ? (int64_t)dtype : yes;
    veer_lexer_next(&p->lex);
    return veer_ok();
}

static veer_status_t parse_double(veer_parser_t *p, double *out) {
    const veer_token_t *t = &p->lex.token;
    if ((t->kind != VEER_TOKEN_NUMBER && t->kind != VEER_TOKEN_WORD) ||
        !veer_literal_parse_double(t->text, t->length, out))
        return veer_parse_expected(p, "a number");
    veer_lexer_next(&p->lex);
    return veer_ok();
}

/* [1, 2]: `ints` or `floats` by kind. */
static veer_status_t parse_list(veer_parser_t *p, veer_attr_t *attr) {
    bool ints = attr->kind == VEER_ATTR_INTS;
    int count = 0, capacity = 0;
    void *list = NULL;
    VEER_TRY(veer_parse_punct(p, '['));
    while (!veer_lexer_is(&p->lex, ']')) {
        if (count) VEER_TRY(veer_parse_punct(p, ','));
        VEER_TRY(veer_parse_grow(p, &list, count, &capacity, 8));
        if (ints)
            VEER_TRY(parse_int(p, (int64_t *)list + count));
        else
            VEER_TRY(parse_double(p, (double *)list + count));
        count++;
    }
    veer_lexer_next(&p->lex);
    if (ints)
        attr->as.ints.v = list, attr->as.ints.n = count;
    else
        attr->as.floats.v = list, attr->as.floats.n = count;
    return veer_ok();
}

static veer_status_t parse_value(veer_parser_t *p, veer_attr_t *attr) {
    char *string;
    switch (attr->kind) {
    case VEER_ATTR_INT: return parse_int(p, &attr->as.i);
    case VEER_ATTR_FLOAT: return parse_double(p, &attr->as.f);
    case VEER_ATTR_INTS:
    case VEER_ATTR_FLOATS: return parse_list(p, attr);
    case VEER_ATTR_STRING:
        VEER_TRY(veer_parse_string(p, &string));
        attr->as.s = string;
        return veer_ok();
    default: return veer_lexer_error(&p->lex, &p->lex.token, "an attribute that has no text form");
    }
}

static veer_status_t unknown_attr(veer_parser_t *p, const veer_op_def_t *def) {
    const veer_token_t *t = &p->lex.token;
    veer_suggest_t s = veer_suggest_for(t->text, t->length);
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++) veer_suggest_offer(&s, def->attrs[i].name);
    veer_status_t status =
        veer_lexer_error(&p->lex, t, "op '%s' has no attribute '%.*s'", def->name, (int)t->length, t->text);
    return s.best ? veer_status_help(status, "did you mean '%s'?", s.best) : status;
}

static veer_status_t parse_attr(veer_parser_t *p, const veer_op_def_t *def, veer_named_attr_t *list, int count) {
    const veer_token_t *t = &p->lex.token;
    const veer_attr_def_t *attr = NULL;
    if (t->kind != VEER_TOKEN_WORD) return veer_parse_expected(p, "the name of an attribute");
    for (int i = 0; !attr && i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++)
        if (strlen(def->attrs[i].name) == t->length && !memcmp(def->attrs[i].name, t->text, t->length))
            attr = &def->attrs[i];
    if (!attr) return unknown_attr(p, def);
    for (int i = 0; i < count; i++)
        if (!strcmp(list[i].name, attr->name))
            return veer_lexer_error(&p->lex, t, "attribute '%s' is given twice", attr->name);
    veer_lexer_next(&p->lex);
    VEER_TRY(veer_parse_punct(p, '='));
    list[count] = (veer_named_attr_t){attr->name, {.kind = attr->kind}};
    return parse_value(p, &list[count].attr);
}

veer_status_t veer_parse_attrs(veer_parser_t *p, veer_op_t op, veer_named_attr_t **out_attrs) {
    /* No attribute is given twice, so there are never more than the definition has. */
    veer_named_attr_t *list = veer_arena_array(&p->scratch, VEER_OP_MAX_ATTRS + 1, sizeof *list);
    int count = 0;
    if (!list) return veer_out_of_memory();
    *out_attrs = list;
    if (!veer_parse_accept(p, '{')) return veer_ok();
    while (!veer_parse_accept(p, '}')) {
        if (count) VEER_TRY(veer_parse_punct(p, ','));
        VEER_TRY(parse_attr(p, veer_op_def(op), list, count++));
    }
    return veer_ok();
}
