/* Whether a graph keeps its own rules: what every pass may take for granted, and must leave behind. */
#ifndef VEER_IR_VERIFY_H
#define VEER_IR_VERIFY_H

#include "ir/graph.h"

/* Checks every function:
 *  1. regions end with their terminator (return, yield), and terminators stand nowhere else;
 *  2. links, regions and definitions agree: a node stands where it says, its results and its body point back to it;
 *  3. operands are defined before they are used, in the same region or around it; fused bodies capture nothing;
 *  4. operands are as many and of the kinds that the op declares, and result types are what its rule infers;
 *  5. body arguments match the node's operands (loop: i64[], then the carried values), calls match their callee;
 *  6. use lists hold exactly the uses there are;
 *  7. strands are as veer_verify_strands wants them.
 * VEER_ERR_FAILED with function, op and value for the first violation; VEER_ERR_RESOURCE. */
VEER_MUST_USE veer_status_t veer_verify(const veer_graph_t *g);

/* The nodes of a region, not of those inside: first such of no strand, then those of strand 1, of strand 2, of none;
 * neither strand takes what the other one makes; loops are in none. VEER_ERR_FAILED otherwise. */
VEER_MUST_USE veer_status_t veer_verify_strands(const veer_graph_t *g, veer_region_t region);

#endif
