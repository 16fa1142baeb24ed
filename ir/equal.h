/* Whether two graphs say the same, whatever their names, ids, origins and the order of independent nodes: what golden
 * tests and common-subexpression elimination need. */
#ifndef VEER_IR_EQUAL_H
#define VEER_IR_EQUAL_H

#include "ir/graph.h"

/* OK where the functions, in order of creation, have the same names, arguments, results, names of results and nodes.
 * VEER_ERR_MISMATCH says where the first difference lies; VEER_ERR_RESOURCE. */
VEER_MUST_USE veer_status_t veer_graph_equal(const veer_graph_t *a, const veer_graph_t *b);

/* Attributes: floats by their bits, data by its bytes and not by where it came from. */
bool veer_attr_equal(const veer_attr_t *a, const veer_attr_t *b);
uint64_t veer_attr_hash(const veer_attr_t *attr);

#endif
