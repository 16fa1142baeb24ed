/* The text form read back into a graph. The text may come from anywhere: a broken or hostile one is a status whose
 * message shows line and caret, never a crash, and never more memory than the text accounts for (see
 * VEER_TEXT_SPLAT_BYTES).
 *
 *     graph @f(%x: f32[2,8]) { %y = softmax %x {axis = 1} : f32[2,8]  return %y "probabilities" }
 *
 * Types after ` : ` may be left out; where given they are checked. `;` may end a statement; `//` starts a comment.
 */
#ifndef VEER_IR_PARSE_H
#define VEER_IR_PARSE_H

#include "ir/graph.h"

/* Adds the text's functions to `g`. `file_name` stands in messages only. Files that constants refer to are mapped until
 * the graph is destroyed. VEER_ERR_FILE for text that does not parse, the op's own code for nodes that cannot be,
 * MISMATCH for a type or a file's bytes other than the text says. After a failure the graph holds part of the text:
 * destroy it. */
VEER_MUST_USE veer_status_t veer_parse(veer_graph_t *g, const char *text, size_t length, const char *file_name);

#endif
