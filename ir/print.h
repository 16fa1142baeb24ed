/* The graph as text, without loss: print(parse(print(g))) == print(g). docs/ir.md describes the language.
 *
 *     char *text;
 *     VEER_TRY(veer_print(g, allocator, &text));
 *     ...
 *     veer_free(allocator, text);
 */
#ifndef VEER_IR_PRINT_H
#define VEER_IR_PRINT_H

#include "ir/graph.h"

/* All functions, in order of creation. The text is NUL-terminated and the caller's. VEER_ERR_RESOURCE only. The graph
 * may be incomplete (no terminators yet) or wrong in any way that keeps its ids valid: the text serves for looking at
 * it. */
VEER_MUST_USE veer_status_t veer_print(const veer_graph_t *g, veer_allocator_t allocator, char **out_text);

/* One node with its body, without names and origins: the same text for every node that computes the same from operands
 * of the same types, and of constants in the same places. No graph can be read from it. The caller's, as above. */
VEER_MUST_USE veer_status_t veer_print_signature(const veer_graph_t *g, veer_node_t node, veer_allocator_t allocator,
                                                 char **out_text);

/* Constants of at most this many elements are spelled out. */
enum { VEER_PRINT_INLINE_ELEMENTS = 16 };
/* The most that `splat` constants may occupy, in all, in one text: keeps a short text from asking for all memory. */
enum { VEER_TEXT_SPLAT_BYTES = 1 << 30 };

#endif
