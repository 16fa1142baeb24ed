/* The reader of the text form: functions, regions, statements. Functions are found first and their bodies read when
 * they are needed, so a call may stand before its callee. */
#include "ir/parse.h"

#include "ir/base/suggest.h"
#include "ir/literal.h"
#include "ir/parse_internal.h"

#include <inttypes.h>
#include <string.h>

/* Recursion is over nested regions and over calls to functions not read yet; the limit on depth bounds it. */
/* What the graph searches linearly. */
enum { MAX_FUNCS = 4096, MAX_ORIGINS = 16384 };

/* ---- words ---- */

veer_status_t veer_parse_expected(veer_parser_t *p, const char *what) {
    const veer_token_t *t = &p->lex.token;
    if (t->kind == VEER_TOKEN_END) return veer_lexer_error(&p->lex, t, "the text ends here, expected %s", what);
    if (t->kind == VEER_TOKEN_BAD && *t->text == '"') return veer_lexer_error(&p->lex, t, "a string without its end");
    int shown = t->length < 40 ? (int)t->length : 40;
    return veer_lexer_error(&p->lex, t, "'%.*s', expected %s", shown, t->text, what);
}

bool veer_parse_accept(veer_parser_t *p, char punct) {
    if (!veer_lexer_is(&p->lex, punct)) return false;
    veer_lexer_next(&p->lex);
    return true;
}

veer_status_t veer_parse_punct(veer_parser_t *p, char punct) {
    char what[] = {'\'', punct, '\'', 0};
    return veer_parse_accept(p, punct) ? veer_ok() : veer_parse_expected(p, what);
}

veer_status_t veer_parse_integer(veer_parser_t *p, int64_t *out) {
    const veer_token_t *t = &p->lex.token;
    if (t->kind != VEER_TOKEN_NUMBER) return veer_parse_expected(p, "an integer");
    if (!veer_literal_parse_int(t->text, t->length, out)) return veer_lexer_error(&p->lex, t, "no integer of 64 bits");
    veer_lexer_next(&p->lex);
    return veer_ok();
}

veer_status_t veer_parse_string(veer_parser_t *p, char **out_string) {
    veer_token_t t = p->lex.token;
    if (t.kind != VEER_TOKEN_STRING) return veer_parse_expected(p, "a string");
    VEER_TRY(veer_lexer_name(&p->lex, &t, &p->scratch, out_string));
    veer_lexer_next(&p->lex);
    return veer_ok();
}

veer_status_t veer_parse_grow(veer_parser_t *p, void **array, int count, int *capacity, size_t size_bytes) {
    if (count < *capacity) return veer_ok();
    if (count >= INT32_MAX / 2)
        return veer_lexer_error(&p->lex, &p->lex.token, "a list of more than %d entries", count);
    int want = *capacity ? *capacity * 2 : 8;
    void *bigger = veer_arena_array(&p->scratch, (size_t)want, size_bytes);
    if (!bigger) return veer_out_of_memory();
    if (count) memcpy(bigger, *array, (size_t)count * size_bytes);
    *array = bigger;
    *capacity = want;
    return veer_ok();
}

veer_status_t veer_parse_type(veer_parser_t *p, veer_type_t *out_type) {
    veer_token_t t = p->lex.token;
    veer_type_t type = {0};
    if (t.kind == VEER_TOKEN_WORD) type.dtype = veer_dtype_from_name(t.text, t.length);
    if (!type.dtype) return veer_parse_expected(p, "a type such as f32[2,8]");
    veer_lexer_next(&p->lex);
    VEER_TRY(veer_parse_punct(p, '['));
    while (!veer_parse_accept(p, ']')) {
        if (type.rank) VEER_TRY(veer_parse_punct(p, ','));
        if (type.rank == VEER_MAX_RANK) return veer_lexer_error(&p->lex, &t, "more than %d dimensions", VEER_MAX_RANK);
        VEER_TRY(veer_parse_integer(p, &type.dims[type.rank++]));
    }
    VEER_TRY(veer_lexer_locate(&p->lex, &t, veer_type_check(&type)));
    *out_type = type;
    return veer_ok();
}

/* ---- values ---- */

static bool is_number(const veer_token_t *t) {
    return !t->quoted && t->text[1] >= '0' && t->text[1] <= '9';
}

/* %x and %"x" are one name; %12 is a number, which says that the value has no name. */
static veer_status_t value_name(veer_parser_t *p, const veer_token_t *t, veer_symbols_t **out_table, char **out_name) {
    *out_table = is_number(t) ? &p->numbered : &p->named;
    VEER_TRY(veer_lexer_name(&p->lex, t, &p->scratch, out_name));
    if (**out_name) return veer_ok();
    return veer_lexer_error(&p->lex, t, "a value with an empty name");
}

static veer_status_t find_value(veer_parser_t *p, veer_value_t *out) {
    veer_token_t t = p->lex.token;
    veer_symbols_t *table;
    char *name;
    if (t.kind != VEER_TOKEN_VALUE) return veer_parse_expected(p, "a value such as %x");
    VEER_TRY(value_name(p, &t, &table, &name));
    *out = (veer_value_t){veer_symbols_find(table, name, strlen(name))};
    if (!out->i) return veer_lexer_error(&p->lex, &t, "%%%s is not defined here", name);
    veer_lexer_next(&p->lex);
    return veer_ok();
}

static veer_status_t define_value(veer_parser_t *p, const veer_token_t *t, veer_value_t value) {
    veer_symbols_t *table;
    char *name;
    VEER_TRY(value_name(p, t, &table, &name));
    if (veer_symbols_find(table, name, strlen(name)))
        return veer_lexer_error(&p->lex, t, "%%%s is already defined", name);
    VEER_TRY(veer_symbols_put(table, name, strlen(name), value.i));
    const char *kept = is_number(t) ? "" : name;
    return strcmp(veer_value_name(p->g, value), kept) ? veer_value_set_name(p->g, value, kept) : veer_ok();
}

typedef struct names_s {
    veer_token_t *list;
    int count, capacity;
} names_t;

/* %a, %b = */
static veer_status_t parse_names(veer_parser_t *p, names_t *names) {
    while (p->lex.token.kind == VEER_TOKEN_VALUE) {
        VEER_TRY(veer_parse_grow(p, (void **)&names->list, names->count, &names->capacity, sizeof *names->list));
        names->list[names->count++] = p->lex.token;
        veer_lexer_next(&p->lex);
        if (!veer_parse_accept(p, ',')) return veer_parse_punct(p, '=');
    }
    return names->count ? veer_parse_expected(p, "a value such as %x") : veer_ok();
}

/* ---- statements ---- */

typedef struct statement_s {
    names_t names;
    veer_token_t op_token;
    veer_op_t op;
    veer_value_t *in;
    char **in_names; /* of a function's results */
    int in_count, in_capacity, name_capacity;
    veer_named_attr_t *attrs;
} statement_t;

static veer_status_t parse_op(veer_parser_t *p, statement_t *s) {
    const veer_token_t *t = &p->lex.token;
    s->op_token = *t;
    if (t->kind != VEER_TOKEN_WORD) return veer_parse_expected(p, "the name of an op");
    s->op = veer_op_from_name(t->text, t->length);
    if (!s->op) {
        veer_suggest_t near = veer_suggest_for(t->text, t->length);
        for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++) veer_suggest_offer(&near, veer_op_name(op));
        int shown = t->length < 60 ? (int)t->length : 60;
        veer_status_t status = veer_lexer_error(&p->lex, t, "unknown op '%.*s'", shown, t->text);
        return near.best ? veer_status_help(status, "did you mean '%s'?", near.best) : status;
    }
    veer_lexer_next(&p->lex);
    return veer_ok();
}

static veer_status_t parse_operand(veer_parser_t *p, statement_t *s) {
    VEER_TRY(veer_parse_grow(p, (void **)&s->in, s->in_count, &s->in_capacity, sizeof *s->in));
    VEER_TRY(veer_parse_grow(p, (void **)&s->in_names, s->in_count, &s->name_capacity, sizeof *s->in_names));
    s->in_names[s->in_count] = NULL;
    s->in[s->in_count] = VEER_NO_VALUE;
    if (veer_lexer_is_word(&p->lex, "_"))
        veer_lexer_next(&p->lex);
    else
        VEER_TRY(find_value(p, &s->in[s->in_count]));
    s->in_count++;
    if (s->op != VEER_OP_RETURN || p->lex.token.kind != VEER_TOKEN_STRING) return veer_ok();
    return veer_parse_string(p, &s->in_names[s->in_count - 1]);
}

/* From the last one on, so that the graph's list of names is made once. */
static veer_status_t set_result_names(veer_parser_t *p, const statement_t *s) {
    for (int i = s->in_count; i-- > 0;)
        if (s->in_names[i] && *s->in_names[i]) VEER_TRY(veer_func_set_result_name(p->g, p->func, i, s->in_names[i]));
    return veer_ok();
}

/* %x, _, %y or (%x, _, %y) */
static veer_status_t parse_operands(veer_parser_t *p, statement_t *s) {
    bool paren = veer_parse_accept(p, '(');
    if (paren && veer_parse_accept(p, ')')) return veer_ok();
    if (!paren && p->lex.token.kind != VEER_TOKEN_VALUE && !veer_lexer_is_word(&p->lex, "_")) return veer_ok();
    do VEER_TRY(parse_operand(p, s));
    while (veer_parse_accept(p, ','));
    return paren ? veer_parse_punct(p, ')') : veer_ok();
}

static veer_status_t parse_result_types(veer_parser_t *p, veer_node_t node) {
    if (!veer_parse_accept(p, ':')) return veer_ok();
    int count = veer_node_out_count(p->g, node), i = 0;
    do {
        char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
        veer_token_t t = p->lex.token;
        veer_type_t type;
        VEER_TRY(veer_parse_type(p, &type));
        if (i == count) return veer_lexer_error(&p->lex, &t, "the op has %d results, the text gives more types", count);
        const veer_type_t *got = veer_value_type(p->g, veer_node_out(p->g, node, i++));
        if (!veer_type_equal(got, &type))
            return veer_lexer_error(&p->lex, &t, "result %d is %s, the text says %s", i - 1, veer_type_text(got, a),
                                    veer_type_text(&type, b));
    } while (veer_parse_accept(p, ','));
    return i == count ? veer_ok() : veer_parse_expected(p, "the types of all results");
}

static veer_status_t parse_origins(veer_parser_t *p, veer_node_t node) {
    if (!veer_lexer_is_word(&p->lex, "from")) return veer_ok();
    veer_lexer_next(&p->lex);
    VEER_TRY(veer_parse_punct(p, '['));
    for (int i = 0; !veer_parse_accept(p, ']'); i++) {
        char *name;
        if (i) VEER_TRY(veer_parse_punct(p, ','));
        if (i == MAX_ORIGINS) return veer_lexer_error(&p->lex, &p->lex.token, "more than %d origins", MAX_ORIGINS);
        VEER_TRY(veer_parse_string(p, &name));
        VEER_TRY(veer_node_add_origin(p->g, node, name));
    }
    return veer_ok();
}

static veer_status_t parse_strand(veer_parser_t *p, veer_node_t node) {
    int64_t strand;
    if (!veer_lexer_is_word(&p->lex, "strand")) return veer_ok();
    veer_lexer_next(&p->lex);
    veer_token_t t = p->lex.token;
    VEER_TRY(veer_parse_integer(p, &strand));
    if (strand != 1 && strand != 2)
        return veer_lexer_error(&p->lex, &t, "strand %lld, expected 1 or 2", (long long)strand);
    veer_node_set_strand(p->g, node, (int)strand);
    return veer_ok();
}

/* ---- regions ---- */

static veer_status_t parse_region(veer_parser_t *p, veer_region_t region, veer_op_t terminator);

static veer_status_t check_depth(veer_parser_t *p) {
    veer_status_t status = veer_limit_check(veer_graph_limits(p->g), VEER_LIMIT_MAX_DEPTH, p->depth + 1);
    return veer_lexer_locate(&p->lex, &p->lex.token, status);
}

/* (%i: i64[], %x: f32[2,8]): names for arguments that the node's operands have already given types. */
static veer_status_t parse_region_args(veer_parser_t *p, veer_region_t region) {
    int count = veer_region_arg_count(p->g, region), i = 0;
    VEER_TRY(veer_parse_punct(p, '('));
    for (; !veer_lexer_is(&p->lex, ')'); i++) {
        if (i) VEER_TRY(veer_parse_punct(p, ','));
        veer_token_t t = p->lex.token;
        veer_type_t type;
        if (t.kind != VEER_TOKEN_VALUE) return veer_parse_expected(p, "an argument such as %x: f32[2,8]");
        if (i == count) break;
        veer_value_t arg = veer_region_arg(p->g, region, i);
        VEER_TRY(define_value(p, &t, arg));
        veer_lexer_next(&p->lex);
        if (!veer_parse_accept(p, ':')) continue;
        veer_token_t at = p->lex.token;
        VEER_TRY(veer_parse_type(p, &type));
        char text[VEER_TYPE_TEXT_BYTES];
        if (!veer_type_equal(&type, veer_value_type(p->g, arg)))
            return veer_lexer_error(&p->lex, &at, "argument %d is %s", i,
                                    veer_type_text(veer_value_type(p->g, arg), text));
    }
    if (i != count || !veer_lexer_is(&p->lex, ')'))
        return veer_lexer_error(&p->lex, &p->lex.token, "the body takes %d arguments", count);
    return veer_parse_punct(p, ')');
}

/* The body of a loop sees what is around it; that of a fused node sees its arguments only. */
static veer_status_t parse_body(veer_parser_t *p, veer_node_t node) {
    veer_symbols_t named = p->named, numbered = p->numbered;
    size_t named_mark = veer_symbols_mark(&named), numbered_mark = veer_symbols_mark(&numbered);
    bool closed = veer_node_op(p->g, node) == VEER_OP_FUSED;
    VEER_TRY(check_depth(p));
    if (closed) p->named = p->numbered = veer_symbols_make(&p->scratch);
    p->depth++;
    VEER_TRY(parse_region_args(p, veer_node_body(p->g, node)));
    VEER_TRY(parse_region(p, veer_node_body(p->g, node), VEER_OP_YIELD));
    p->depth--;
    if (closed) {
        p->named = named;
        p->numbered = numbered;
    }
    veer_symbols_reset(&p->named, named_mark);
    veer_symbols_reset(&p->numbered, numbered_mark);
    return veer_ok();
}

static const veer_attr_t *find_attr(const statement_t *s, const char *name) {
    for (const veer_named_attr_t *a = s->attrs; a->name; a++)
        if (!strcmp(a->name, name)) return &a->attr;
    return NULL;
}

static veer_status_t build_loop(veer_parser_t *p, veer_builder_t *b, const statement_t *s, veer_node_t *out_node) {
    const veer_attr_t *trip = find_attr(s, "trip");
    if (!trip) return veer_lexer_error(&p->lex, &s->op_token, "op 'loop' needs attribute 'trip'");
    veer_node_t loop = veer_builder_loop(b, trip->as.i, s->in, s->in_count);
    VEER_TRY(veer_lexer_locate(&p->lex, &s->op_token, veer_builder_status(b)));
    VEER_TRY(parse_body(p, loop));
    veer_builder_loop_finish(b, loop);
    *out_node = loop;
    return veer_ok();
}

static veer_status_t build_fused(veer_parser_t *p, veer_builder_t *b, const statement_t *s, veer_node_t *out_node) {
    const veer_attr_t *kind = find_attr(s, "kind");
    veer_node_t fused = veer_builder_fused(b, kind ? kind->as.s : "", s->in, s->in_count);
    VEER_TRY(veer_lexer_locate(&p->lex, &s->op_token, veer_builder_status(b)));
    VEER_TRY(parse_body(p, fused));
    veer_builder_fused_finish(b, fused);
    *out_node = fused;
    return veer_ok();
}

/* ---- calls ---- */

static veer_status_t parse_func(veer_parser_t *p, veer_parsed_func_t *f);

/* Reads the callee of a call or grad first where that has not been done. */
static veer_status_t prepare_call(veer_parser_t *p, const statement_t *s) {
    const veer_attr_t *callee = find_attr(s, "callee");
    if (!callee) return veer_ok(); /* the builder says that it is missing */
    uint32_t index = veer_symbols_find(&p->func_index, callee->as.s, strlen(callee->as.s));
    veer_parsed_func_t *f = index ? &p->funcs[index - 1] : NULL;
    if (f && f->state == VEER_PARSE_OPEN)
        return veer_lexer_error(&p->lex, &s->op_token, "'%s' calls itself", callee->as.s);
    VEER_TRY(check_depth(p));
    p->depth++;
    if (f && f->state == VEER_PARSE_WAITS) VEER_TRY(parse_func(p, f));
    p->depth--;
    return veer_ok();
}

/* ---- nodes ---- */

static veer_status_t build_statement(veer_parser_t *p, veer_builder_t *b, const statement_t *s, veer_node_t *out_node) {
    if (s->op == VEER_OP_LOOP) return build_loop(p, b, s, out_node);
    if (s->op == VEER_OP_FUSED) return build_fused(p, b, s, out_node);
    VEER_TRY(prepare_call(p, s));
    *out_node = veer_build_node(b, s->op, s->in, s->in_count, s->attrs);
    return veer_ok();
}

static veer_status_t define_results(veer_parser_t *p, const names_t *names, veer_node_t node) {
    int count = veer_node_out_count(p->g, node);
    if (names->count > count) return veer_lexer_error(&p->lex, &names->list[count], "the op has %d results", count);
    for (int i = 0; i < names->count; i++) VEER_TRY(define_value(p, &names->list[i], veer_node_out(p->g, node, i)));
    return veer_ok();
}

static veer_status_t parse_statement(veer_parser_t *p, veer_region_t region, veer_node_t *out_node) {
    statement_t s = {0};
    veer_builder_t b = veer_builder_at_end(p->g, region);
    VEER_TRY(parse_names(p, &s.names));
    VEER_TRY(parse_op(p, &s));
    if (s.op == VEER_OP_CONST) {
        VEER_TRY(veer_parse_const(p, &b, out_node));
    } else {
        VEER_TRY(parse_operands(p, &s));
        VEER_TRY(veer_parse_attrs(p, s.op, &s.attrs));
        VEER_TRY(set_result_names(p, &s));
        VEER_TRY(build_statement(p, &b, &s, out_node));
        VEER_TRY(veer_lexer_locate(&p->lex, &s.op_token, veer_builder_status(&b)));
    }
    VEER_TRY(define_results(p, &s.names, *out_node));
    VEER_TRY(parse_result_types(p, *out_node));
    VEER_TRY(parse_strand(p, *out_node));
    VEER_TRY(parse_origins(p, *out_node));
    veer_parse_accept(p, ';');
    return veer_ok();
}

/* { statements, the last of which is the terminator } */
static veer_status_t parse_region(veer_parser_t *p, veer_region_t region, veer_op_t terminator) {
    VEER_TRY(veer_parse_punct(p, '{'));
    for (veer_op_t op = VEER_OP_NONE; op != terminator;) {
        veer_node_t node = VEER_NO_NODE;
        veer_token_t t = p->lex.token;
        if (veer_lexer_is(&p->lex, '}'))
            return veer_lexer_error(&p->lex, &t, "the body ends without '%s'", veer_op_name(terminator));
        VEER_TRY(parse_statement(p, region, &node));
        op = veer_node_op(p->g, node);
        if (op != terminator && veer_op_has(op, VEER_TERMINATOR))
            return veer_lexer_error(&p->lex, &t, "'%s', expected '%s' at the end of this body", veer_op_name(op),
                                    veer_op_name(terminator));
    }
    return veer_parse_punct(p, '}');
}

/* ---- functions ---- */

static veer_status_t parse_func_args(veer_parser_t *p, veer_region_t body) {
    VEER_TRY(veer_parse_punct(p, '('));
    for (int i = 0; !veer_parse_accept(p, ')'); i++) {
        if (i) VEER_TRY(veer_parse_punct(p, ','));
        veer_token_t t = p->lex.token;
        veer_type_t type;
        veer_value_t arg;
        if (t.kind != VEER_TOKEN_VALUE) return veer_parse_expected(p, "an argument such as %x: f32[2,8]");
        veer_lexer_next(&p->lex);
        VEER_TRY(veer_parse_punct(p, ':'));
        VEER_TRY(veer_parse_type(p, &type));
        VEER_TRY(veer_region_add_arg(p->g, body, type, "", &arg));
        VEER_TRY(define_value(p, &t, arg));
    }
    return veer_ok();
}

/* Comes back to where the parser stood: a callee may be read in the middle of its caller. */
static veer_status_t parse_func(veer_parser_t *p, veer_parsed_func_t *f) {
    veer_lexer_t lex = p->lex;
    veer_symbols_t named = p->named, numbered = p->numbered;
    veer_func_t func = p->func;
    f->state = VEER_PARSE_OPEN;
    p->lex = f->at;
    p->named = p->numbered = veer_symbols_make(&p->scratch);
    p->func = f->func;
    VEER_TRY(parse_func_args(p, veer_func_body(p->g, f->func)));
    VEER_TRY(parse_region(p, veer_func_body(p->g, f->func), VEER_OP_RETURN));
    f->state = VEER_PARSE_DONE;
    p->lex = lex;
    p->named = named;
    p->numbered = numbered;
    p->func = func;
    return veer_ok();
}

/* Stands after the name; goes past the brace that closes the body. */
static veer_status_t skip_func(veer_parser_t *p) {
    for (int depth = 0;; veer_lexer_next(&p->lex)) {
        if (p->lex.token.kind == VEER_TOKEN_END || p->lex.token.kind == VEER_TOKEN_BAD)
            return veer_parse_expected(p, "'}' at the end of the function");
        if (veer_lexer_is(&p->lex, '{')) depth++;
        if (veer_lexer_is(&p->lex, '}') && --depth <= 0) break;
    }
    veer_lexer_next(&p->lex);
    return veer_ok();
}

static veer_status_t index_func(veer_parser_t *p) {
    if (!veer_lexer_is_word(&p->lex, "graph")) return veer_parse_expected(p, "'graph'");
    veer_lexer_next(&p->lex);
    veer_token_t t = p->lex.token;
    char *name;
    if (t.kind != VEER_TOKEN_AT) return veer_parse_expected(p, "the function's name, such as @f");
    VEER_TRY(veer_lexer_name(&p->lex, &t, &p->scratch, &name));
    if (!*name) return veer_lexer_error(&p->lex, &t, "a function with an empty name");
    if (p->func_count == MAX_FUNCS) return veer_lexer_error(&p->lex, &t, "more than %d functions", MAX_FUNCS);
    VEER_TRY(veer_parse_grow(p, (void **)&p->funcs, p->func_count, &p->func_capacity, sizeof *p->funcs));
    veer_parsed_func_t *f = &p->funcs[p->func_count];
    VEER_TRY(veer_lexer_locate(&p->lex, &t, veer_graph_add_func(p->g, name, &f->func)));
    VEER_TRY(veer_symbols_put(&p->func_index, name, strlen(name), (uint32_t)++p->func_count));
    veer_lexer_next(&p->lex);
    f->at = p->lex;
    return veer_ok();
}

/* A text whose braces do not match still deserves the error that a full reading of its start would give: only functions
 * found before the trouble are read, and the trouble comes last. */
static veer_status_t index_funcs(veer_parser_t *p) {
    while (p->lex.token.kind != VEER_TOKEN_END) {
        VEER_TRY(index_func(p));
        VEER_TRY(skip_func(p));
    }
    return veer_ok();
}

static veer_status_t parse_text(veer_parser_t *p) {
    veer_status_t trouble = index_funcs(p);
    for (int i = 0; i < p->func_count && veer_status_code(trouble) != VEER_ERR_RESOURCE; i++) {
        veer_status_t status = p->funcs[i].state == VEER_PARSE_WAITS ? parse_func(p, &p->funcs[i]) : veer_ok();
        if (!status) continue;
        veer_status_free(trouble);
        return status;
    }
    return trouble;
}

veer_status_t veer_parse(veer_graph_t *g, const char *text, size_t length, const char *file_name) {
    veer_parser_t p = {.g = g, .lex = veer_lexer_make(file_name, text, length)};
    locale_t locale = veer_literal_locale_enter();
    veer_arena_init(&p.scratch, veer_graph_allocator(g));
    p.func_index = veer_symbols_make(&p.scratch);
    veer_status_t status = parse_text(&p);
    veer_arena_deinit(&p.scratch);
    veer_literal_locale_leave(locale);
    return status;
}
