/* Where the channels stand: conv, conv_transpose, pools, group_norm and its gradient have them behind the batch,
 * [N, C, s...], or, with attribute `channels_last`, at the end, [N, s..., C]. Their rules are written for the first and
 * read the second through these. Rank 2 and more.
 *
 *     veer_type_t x = veer_channels_first(&c->in[0], last);     // [N, C, s...] either way
 */
#ifndef VEER_IR_CHANNELS_H
#define VEER_IR_CHANNELS_H

#include "ir/builder.h"

/* [N, s..., C] as [N, C, s...]; `last` false: as it is. */
static inline veer_type_t veer_channels_first(const veer_type_t *t, bool last) {
    veer_type_t first = *t;
    if (!last) return first;
    first.dims[1] = t->dims[t->rank - 1];
    for (int i = 2; i < t->rank; i++) first.dims[i] = t->dims[i - 1];
    return first;
}

/* [N, C, s...] as [N, s..., C]; `last` false: as it is. */
static inline veer_type_t veer_channels_last(const veer_type_t *t, bool last) {
    veer_type_t y = *t;
    if (!last) return y;
    y.dims[t->rank - 1] = t->dims[1];
    for (int i = 2; i < t->rank; i++) y.dims[i - 1] = t->dims[i];
    return y;
}

/* The transposes that do so: dim i of the result is dim perm[i] of the operand. */
static inline void veer_channels_first_perm(int rank, int64_t *out_perm) {
    out_perm[0] = 0, out_perm[1] = rank - 1;
    for (int i = 2; i < rank; i++) out_perm[i] = i - 1;
}
static inline void veer_channels_last_perm(int rank, int64_t *out_perm) {
    out_perm[0] = 0, out_perm[rank - 1] = 1;
    for (int i = 2; i < rank; i++) out_perm[i - 1] = i;
}

/* The same on values; the value itself where `last` is false or it is VEER_NO_VALUE. */
static inline veer_value_t veer_to_channels_first(veer_builder_t *b, veer_value_t x, bool last) {
    int64_t perm[VEER_MAX_RANK];
    if (!last || !x.i || !veer_builder_ok(b)) return x;
    veer_channels_first_perm(veer_builder_type(b, x)->rank, perm);
    return veer_transpose(b, x, perm);
}
static inline veer_value_t veer_to_channels_last(veer_builder_t *b, veer_value_t x, bool last) {
    int64_t perm[VEER_MAX_RANK];
    if (!last || !x.i || !veer_builder_ok(b)) return x;
    veer_channels_last_perm(veer_builder_type(b, x)->rank, perm);
    return veer_transpose(b, x, perm);
}

static inline bool veer_node_channels_last(const veer_graph_t *g, veer_node_t node) {
    return veer_node_int(g, node, "channels_last") != 0;
}

/* group_norm or its gradient: rows are the groups of each sample. */
static inline bool veer_op_is_group_norm(veer_op_t op) {
    return op == VEER_OP_GROUP_NORM || op == VEER_OP_GROUP_NORM_GRAD;
}

#define VEER_CHANNELS_LAST_ATTR                                                                                        \
    { .name = "channels_last", .kind = VEER_ATTR_INT, .doc = "1: x and y are [N, spatial..., C], C at the end" }

#endif
