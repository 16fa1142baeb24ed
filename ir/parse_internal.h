/* The parser's state; only ir/parse*.c may include this. */
#ifndef VEER_IR_PARSE_INTERNAL_H
#define VEER_IR_PARSE_INTERNAL_H

#include "ir/builder.h"
#include "ir/lexer.h"
#include "ir/symbols.h"

typedef enum veer_parse_state_e { VEER_PARSE_WAITS, VEER_PARSE_OPEN, VEER_PARSE_DONE } veer_parse_state_t;

typedef struct veer_parsed_func_s {
    veer_func_t func;
    veer_lexer_t at; /* on the "(" of its arguments */
    veer_parse_state_t state;
} veer_parsed_func_t;

typedef struct veer_mapped_file_s {
    struct veer_mapped_file_s *next;
    const char *path;
    const void *bytes;
    size_t size_bytes;
} veer_mapped_file_t;

typedef struct veer_parser_s {
    veer_graph_t *g;
    veer_lexer_t lex;
    veer_arena_t scratch;
    veer_func_t func;               /* the one whose body we are in */
    veer_symbols_t named, numbered; /* values in sight; %12 is no name but a number */
    veer_symbols_t func_index;      /* function names to funcs[] index plus 1 */
    veer_parsed_func_t *funcs;
    int func_count, func_capacity;
    int depth; /* of regions and calls */
    size_t splat_bytes;
    veer_mapped_file_t *files;
} veer_parser_t;

/* The current token is the mark or word (consumed), else an error "... , expected ...". */
VEER_MUST_USE veer_status_t veer_parse_punct(veer_parser_t *p, char punct);
bool veer_parse_accept(veer_parser_t *p, char punct);
VEER_MUST_USE veer_status_t veer_parse_expected(veer_parser_t *p, const char *what);
/* f32[2,8] */
VEER_MUST_USE veer_status_t veer_parse_type(veer_parser_t *p, veer_type_t *out_type);
VEER_MUST_USE veer_status_t veer_parse_string(veer_parser_t *p, char **out_string);
VEER_MUST_USE veer_status_t veer_parse_integer(veer_parser_t *p, int64_t *out);
/* Doubles an array in the scratch arena when it is full. */
VEER_MUST_USE veer_status_t veer_parse_grow(veer_parser_t *p, void **array, int count, int *capacity,
                                            size_t size_bytes);

/* Where the current token is `{`: attributes of `op`, ended by an entry without name. None: *out_attrs is an empty
 * list. */
VEER_MUST_USE veer_status_t veer_parse_attrs(veer_parser_t *p, veer_op_t op, veer_named_attr_t **out_attrs);
/* What follows `const`: builds the node. */
VEER_MUST_USE veer_status_t veer_parse_const(veer_parser_t *p, veer_builder_t *b, veer_node_t *out_node);

#endif
