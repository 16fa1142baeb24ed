/* Batched forms: the same computation for many steps at once, one more leading dimension. Used by hoist. */
#ifndef VEER_PASSES_BATCH_H
#define VEER_PASSES_BATCH_H

#include "ir/builder.h"

/* True where veer_batch_node has a rule for the node with these operands batched. */
bool veer_batch_supports(const veer_graph_t *g, veer_node_t n, const bool *batched);

/* Builds node `n` for `count` steps: operand i is in[i], of type [count, ...] where batched[i], else as it was. Gives
 * the batched result [count, ...]. At least one operand is batched. */
veer_value_t veer_batch_node(veer_builder_t *b, veer_node_t n, const veer_value_t *in, const bool *batched,
                             int64_t count);

#endif
