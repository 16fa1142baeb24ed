/* split-norm -- large norms over channels that stand last: the statistics by blocks of positions, then the rest.
 *
 *     %y = group_norm %x, %scale, %bias {groups = 32, channels_last = 1}       %x: f32[1,64,64,128]
 * =>
 *     %m, %q = fused "cluster" (%x) {...}         // of each block of positions and channel: the mean, and that of
 *                                                 // (x - mean)^2: f32[1,32,1,128] each
 *     %mean, %rstd = fused "cluster" (%m, %q)     // of the whole group, for each channel: f32[1,1,1,128]
 *     %y = (%x - %mean) * %rstd * %scale + %bias  // elementwise
 *
 *     %dx = group_norm_grad %x, %d {...}
 * =>
 *     %xhat = (%x - %mean) * %rstd                // with the same mean and rstd; spelled out wherever it is read
 *     %e, %p = of each block and channel the means of %d and %d * %xhat
 *     %s, %t = fused "cluster" (%e, %p)           // of the whole group, for each channel
 *     %dx = %rstd * (%d - %s - %xhat * %t)        // elementwise
 *
 * As one kernel a norm's work items are groups of channels. The convolution before it wrote by positions, and the one
 * behind it reads so: each thread gets most of its lines, a few channels of each position, out of another's cache, and
 * writes into lines that another holds. By positions a thread finds what it wrote itself, and reads whole lines one
 * after the other. What follows is elementwise, and may join what stands behind it.
 *
 * With B blocks of as many positions each, of means m_b and variances q_b:
 *     mean = sum(m_b) / B,   variance = sum(q_b) / B + sum((m_b - mean)^2) / B
 * No difference of large sums occurs: it is as exact as two passes.
 *
 * Where %x comes from a convolution that the target's kernel can follow by the moments of blocks, they become results
 * of that kernel: it has them while its part of %x is in the second cache. Those of a concat of channels are its
 * parts'.
 *
 *     %x, %m, %q = fused "contraction" (...) { conv; add; reshape; reduce_mean; sub; mul; reduce_mean }
 *
 * Rules:
 *  1. Only where a sample is large: three kernels cost two more meetings of the threads, and small samples are done by
 *     one thread each anyway (option min_bytes).
 *  2. Blocks follow from the shape alone, so that results do not depend on the number of threads.
 *  3. What takes the blocks' numbers together is a kernel from the start: the fuse pass must not join it with what
 *     stands before or behind it. */
#include "ir/base/integers.h"
#include "ir/builder.h"
#include "ir/channels.h"
#include "passes/outline.h"
#include "passes/pass.h"

#include <string.h>

typedef struct norm_s {
    veer_node_t node;
    veer_value_t x;
    veer_type_t type;                         /* of x */
    int64_t samples, space, channels, groups; /* x is [samples, space, channels] */
    int64_t blocks;                           /* of positions, all of one size */
    int parts;                                /* whose moments are known, side by side in the channels */
    double eps;
    veer_value_t mean, rstd; /* once they are there: for each channel, broadcasting to x */
} norm_t;

/* Moments of x's blocks: mean and variance, [samples, blocks, 1, channels of x]. */
typedef struct moments_s {
    veer_value_t x, of[2];
    int64_t blocks;
} moments_t;

/* Parts of a norm's x, and what computes the moments of those that were not known. */
enum { MOST_PARTS = 8, MOMENT_NODES = 5 };
typedef struct parts_s {
    int count;
    moments_t of[MOST_PARTS];
    veer_node_t nodes[MOST_PARTS][MOMENT_NODES]; /* none: known */
} parts_t;

typedef struct split_s {
    veer_graph_t *g;
    const veer_fuse_target_t *target;
    veer_pass_ctx_t *ctx;
    veer_outline_t *outline;
    norm_t *done; /* those of the region whose statistics are there; room for all of its norms */
    int done_count;
    moments_t *moments; /* of values in the region; room for all parts of its norms */
    int moments_count;
} split_t;

/* ---- which ---- */

/* Blocks of whole rows of an image, four or a multiple of it, as convolutions' kernels give them. They follow from the
 * image alone, so that values of other channels have the same. Elsewhere as many blocks as divide the positions, so
 * that threads can share them evenly. 0: positions do not divide. */
static int64_t blocks_of(const veer_type_t *t) {
    enum { ROWS = 4, SMALL = 256, MOST_POSITIONS = 4096, LEAST_BLOCKS = 8, MOST_BLOCKS = 64, POSITIONS = 64 };
    int64_t space = veer_type_count_range(t, 1, t->rank - 1), rows = ROWS, width = t->dims[t->rank - 2];
    if (t->rank == 4 && t->dims[1] % rows == 0 && rows * width <= MOST_POSITIONS) {
        while (t->dims[1] / rows > MOST_BLOCKS && t->dims[1] % (2 * rows) == 0 && 2 * rows * width <= MOST_POSITIONS)
            rows *= 2;
        if (t->dims[1] / rows >= LEAST_BLOCKS || rows * width <= SMALL) return t->dims[1] / rows;
    }
    int64_t wanted = veer_min_i64(MOST_BLOCKS, veer_max_i64(LEAST_BLOCKS, space / POSITIONS));
    for (int64_t blocks = wanted; blocks <= MOST_BLOCKS && blocks <= space; blocks++)
        if (space % blocks == 0) return blocks;
    return 0;
}

/* Reshapes that leave samples and channels as they are only say how positions are counted. */
static veer_value_t by_rows(const veer_graph_t *g, veer_value_t x) {
    const veer_type_t *t = veer_value_type(g, x);
    for (veer_node_t def; (def = veer_value_def(g, x)).i && veer_node_op(g, def) == VEER_OP_RESHAPE;) {
        veer_value_t from = veer_node_in(g, def, 0);
        const veer_type_t *f = veer_value_type(g, from);
        if (f->rank < 3 || f->dims[0] != t->dims[0] || f->dims[f->rank - 1] != t->dims[t->rank - 1]) break;
        x = from;
    }
    return x;
}

static bool is_large_norm(const split_t *s, veer_node_t n, norm_t *out) {
    if (!veer_op_is_group_norm(veer_node_op(s->g, n)) || !veer_node_channels_last(s->g, n)) return false;
    veer_value_t x = veer_node_in(s->g, n, 0);
    veer_type_t t = *veer_value_type(s->g, x);
    int64_t sample = veer_type_count_range(&t, 1, t.rank) * (int64_t)sizeof(float);
    if (t.dtype != VEER_DTYPE_F32 || !t.dims[0] || sample < veer_pass_option(s->ctx, "min_bytes")) return false;
    *out = (norm_t){.node = n, .x = x, .type = t, .eps = veer_node_float(s->g, n, "eps")};
    out->samples = t.dims[0], out->channels = t.dims[t.rank - 1], out->groups = veer_node_int(s->g, n, "groups");
    out->space = veer_type_count_range(&t, 1, t.rank - 1);
    out->blocks = blocks_of(veer_value_type(s->g, by_rows(s->g, x)));
    return out->blocks > 0;
}

/* ---- formulas ---- */

static veer_value_t mean_over(veer_builder_t *b, veer_value_t x, const int64_t *axes, int count) {
    return veer_reduce(b, VEER_OP_REDUCE_MEAN, x, axes, count, true);
}

/* [N, blocks, positions, channels of x]; a node even where x is that already. */
static veer_value_t by_block(veer_builder_t *b, const norm_t *n, veer_value_t x) {
    const veer_type_t *t = veer_value_type(b->graph, x);
    int64_t dims[] = {n->samples, n->blocks, n->space / n->blocks, t->dims[t->rank - 1]};
    return veer_build(b, VEER_OP_RESHAPE, VEER_IN(x), VEER_ATTRS(VEER_INTS("dims", dims, 4)));
}

/* [N, blocks, 1, C] */
static veer_value_t mean_of_blocks(veer_builder_t *b, veer_value_t x) {
    return mean_over(b, x, (int64_t[]){2}, 1);
}

/* What blocks gave, [N, blocks, 1, C], by groups, and what groups have in common: [N, 1, G, 1]. */
static veer_value_t by_group(veer_builder_t *b, const norm_t *n, veer_value_t of_blocks) {
    return veer_reshape(b, of_blocks, VEER_DIMS(n->samples, n->blocks, n->groups, n->channels / n->groups));
}
static veer_value_t mean_of_groups(veer_builder_t *b, veer_value_t x) {
    return mean_over(b, x, (int64_t[]){1, 3}, 2);
}

/* [N, 1, G, 1] for each of its channels, in as many dims as x. */
static veer_value_t for_channels(veer_builder_t *b, const norm_t *n, veer_value_t v) {
    v = veer_broadcast_to(b, v, VEER_DIMS(n->samples, 1, n->groups, n->channels / n->groups));
    int64_t dims[VEER_MAX_RANK] = {n->samples};
    for (int i = 1; i < n->type.rank - 1; i++) dims[i] = 1;
    dims[n->type.rank - 1] = n->channels;
    return veer_reshape(b, v, n->type.rank, dims);
}

typedef void (*formula_t)(veer_builder_t *b, const norm_t *n, const veer_value_t *in, veer_value_t out[2]);

/* x by blocks: their means and variances */
static void moments_of_blocks(veer_builder_t *b, const norm_t *n, const veer_value_t *in, veer_value_t out[2]) {
    (void)n;
    out[0] = mean_of_blocks(b, in[0]);
    veer_value_t off = veer_sub(b, in[0], out[0]);
    out[1] = mean_of_blocks(b, veer_mul(b, off, off));
}

/* of those: means and 1 / standard deviation of groups */
static void moments_of_groups(veer_builder_t *b, const norm_t *n, const veer_value_t *in, veer_value_t out[2]) {
    veer_value_t of[2] = {in[0], in[1]};
    for (int i = 0; n->parts > 1 && i < 2; i++) of[i] = veer_concat(b, in + i * n->parts, n->parts, 3);
    veer_value_t means = by_group(b, n, of[0]), mean = mean_of_groups(b, means), off = veer_sub(b, means, mean);
    veer_value_t within = mean_of_groups(b, by_group(b, n, of[1])), between = mean_of_groups(b, veer_mul(b, off, off));
    veer_value_t variance = veer_add(b, within, between);
    out[0] = for_channels(b, n, mean);
    out[1] = for_channels(b, n, veer_rsqrt(b, veer_add_c(b, variance, n->eps)));
}

/* two means of blocks: those of groups */
static void means_of_groups(veer_builder_t *b, const norm_t *n, const veer_value_t *in, veer_value_t out[2]) {
    for (int i = 0; i < 2; i++) out[i] = for_channels(b, n, mean_of_groups(b, by_group(b, n, in[i])));
}

static veer_value_t xhat_of(veer_builder_t *b, const norm_t *n) {
    return veer_mul(b, veer_sub(b, n->x, n->mean), n->rstd);
}

/* ---- kernels ---- */

static veer_status_t fill(const split_t *s, veer_node_t fused, const norm_t *n, formula_t formula) {
    veer_region_t body = veer_node_body(s->g, fused);
    veer_builder_t b = veer_builder_at_end(s->g, body);
    veer_value_t args[2 * MOST_PARTS], results[2];
    for (int i = 0; i < veer_node_in_count(s->g, fused); i++) args[i] = veer_region_arg(s->g, body, i);
    formula(&b, n, args, results);
    veer_builder_yield(&b, results, 2);
    return veer_builder_status(&b);
}

/* A kernel of two results; VEER_NO_NODE where the target does not take it. */
static veer_status_t make_kernel(const split_t *s, veer_builder_t *b, const norm_t *n, const veer_value_t *in,
                                 int in_count, formula_t formula, veer_node_t *out) {
    char reason[200];
    bool taken = false;
    veer_node_t fused = veer_builder_fused(b, "cluster", in, in_count);
    VEER_TRY(veer_builder_status(b));
    VEER_TRY(fill(s, fused, n, formula));
    veer_builder_fused_finish(b, fused);
    VEER_TRY(veer_builder_status(b));
    VEER_TRY(s->target->accepts_cluster(s->g, fused, &taken, reason, sizeof reason));
    if (!taken) veer_node_remove(s->g, fused);
    *out = taken ? fused : VEER_NO_NODE;
    return veer_ok();
}

/* ---- moments of blocks ---- */

/* The contraction that x is the only result of, in the norm's region. */
static veer_node_t contraction_of(const split_t *s, const norm_t *n, veer_value_t x) {
    veer_node_t def = veer_value_def(s->g, x);
    if (!def.i || veer_node_region(s->g, def).i != veer_node_region(s->g, n->node).i) return VEER_NO_NODE;
    bool is_one = veer_node_op(s->g, def) == VEER_OP_FUSED
                      ? strcmp(veer_node_string(s->g, def, "kind"), "contraction") == 0
                      : veer_op_has(veer_node_op(s->g, def), VEER_CONTRACTION);
    return is_one && veer_node_out_count(s->g, def) == 1 ? def : VEER_NO_NODE;
}

/* Among `count` of them. */
static bool find_known(const moments_t *all, int count, moments_t *part) {
    for (int i = 0; i < count; i++) {
        const moments_t *known = &all[i];
        if (!veer_value_eq(known->x, part->x) || known->blocks != part->blocks) continue;
        *part = *known;
        return true;
    }
    return false;
}

/* Plain nodes, behind what computes x, or where `b` stands. */
static void build_moments(const split_t *s, veer_builder_t *b, const norm_t *n, parts_t *parts, int i) {
    moments_t *part = &parts->of[i];
    veer_node_t from = contraction_of(s, n, part->x);
    veer_builder_t behind = *b;
    if (from.i) behind = veer_builder_before(s->g, veer_node_next(s->g, from));
    behind.origins_from = n->node;
    veer_value_t of_blocks = by_block(&behind, n, part->x);
    moments_of_blocks(&behind, n, &of_blocks, part->of);
    veer_builder_fail(b, veer_builder_status(&behind));
    if (!veer_builder_ok(b)) return;
    veer_node_t node = veer_value_def(s->g, part->of[1]);
    for (int k = MOMENT_NODES; k-- > 0; node = veer_node_prev(s->g, node)) parts->nodes[i][k] = node;
}

/* x, or what it is a concat of along the channels. */
static void open_parts(const split_t *s, veer_builder_t *b, const norm_t *n, parts_t *parts) {
    veer_value_t x = by_rows(s->g, n->x);
    veer_node_t def = veer_value_def(s->g, x);
    int rank = veer_value_type(s->g, x)->rank;
    bool is_concat = def.i && veer_node_op(s->g, def) == VEER_OP_CONCAT &&
                     veer_node_int(s->g, def, "axis") == rank - 1 && veer_node_in_count(s->g, def) <= MOST_PARTS;
    *parts = (parts_t){.count = is_concat ? veer_node_in_count(s->g, def) : 1};
    for (int i = 0; i < parts->count; i++) {
        parts->of[i] = (moments_t){.x = is_concat ? veer_node_in(s->g, def, i) : x, .blocks = n->blocks};
        if (!find_known(s->moments, s->moments_count, &parts->of[i]) && !find_known(parts->of, i, &parts->of[i]))
            build_moments(s, b, n, parts, i);
    }
}

static void remove_parts(const split_t *s, const parts_t *parts) {
    for (int i = 0; i < parts->count; i++)
        for (int k = MOMENT_NODES; k-- > 0;)
            if (parts->nodes[i][k].i) veer_node_remove(s->g, parts->nodes[i][k]);
}

/* Makes part i's moments results of the contraction's kernel, or else a kernel of their own, and keeps them.
 * `of_groups` reads them. */
static veer_status_t close_part(split_t *s, const norm_t *n, parts_t *parts, int i, veer_node_t of_groups) {
    veer_node_t with_contraction[MOMENT_NODES + 1];
    bool taken = false;
    if (!parts->nodes[i][0].i) return veer_ok();
    with_contraction[0] = contraction_of(s, n, veer_node_in(s->g, parts->nodes[i][0], 0));
    memcpy(with_contraction + 1, parts->nodes[i], sizeof parts->nodes[i]);
    if (with_contraction[0].i && s->target->accepts_moments)
        VEER_TRY(veer_outline_if(s->outline, with_contraction, MOMENT_NODES + 1, "contraction",
                                 s->target->accepts_moments, &taken));
    if (taken) {
        veer_pass_count(s->ctx, "joined");
        parts->of[i].x = veer_node_out(s->g, veer_value_def(s->g, veer_node_in(s->g, of_groups, i)), 0);
    } else /* the reshape is a view */
        VEER_TRY(veer_outline_if(s->outline, parts->nodes[i] + 1, MOMENT_NODES - 1, "cluster",
                                 s->target->accepts_cluster, &taken));
    for (int k = 0; k < 2; k++) parts->of[i].of[k] = veer_node_in(s->g, of_groups, k * parts->count + i);
    s->moments[s->moments_count++] = parts->of[i];
    return veer_ok();
}

static veer_status_t make_moments(split_t *s, veer_builder_t *b, norm_t *n, veer_node_t *of_groups) {
    parts_t parts;
    veer_value_t in[2 * MOST_PARTS];
    open_parts(s, b, n, &parts);
    VEER_TRY(veer_builder_status(b));
    n->parts = parts.count;
    for (int i = 0; i < 2 * n->parts; i++) in[i] = parts.of[i % n->parts].of[i / n->parts];
    VEER_TRY(make_kernel(s, b, n, in, 2 * n->parts, moments_of_groups, of_groups));
    if (!of_groups->i) remove_parts(s, &parts);
    for (int i = 0; of_groups->i && i < n->parts; i++) VEER_TRY(close_part(s, n, &parts, i, *of_groups));
    n->x = veer_node_in(s->g, n->node, 0); /* another result may have taken its place */
    return veer_ok();
}

/* Sets mean and rstd, as they are already or by new kernels; neither where the target does not take those. */
static veer_status_t find_or_make_moments(split_t *s, veer_builder_t *b, norm_t *n) {
    for (int i = 0; i < s->done_count; i++) {
        const norm_t *known = &s->done[i];
        if (known->x.i != n->x.i || known->groups != n->groups || known->eps != n->eps) continue;
        n->mean = known->mean, n->rstd = known->rstd;
        return veer_ok();
    }
    veer_node_t of_groups;
    VEER_TRY(make_moments(s, b, n, &of_groups));
    if (!of_groups.i) return veer_ok();
    n->mean = veer_node_out(s->g, of_groups, 0), n->rstd = veer_node_out(s->g, of_groups, 1);
    s->done[s->done_count++] = *n;
    return veer_ok();
}

/* ---- the nodes ---- */

static veer_value_t normalised(const split_t *s, veer_builder_t *b, const norm_t *n) {
    veer_value_t y = xhat_of(b, n);
    int count = veer_node_in_count(s->g, n->node);
    if (count > 1 && veer_node_in(s->g, n->node, 1).i) y = veer_mul(b, y, veer_node_in(s->g, n->node, 1));
    if (count > 2 && veer_node_in(s->g, n->node, 2).i) y = veer_add(b, y, veer_node_in(s->g, n->node, 2));
    return y;
}

/* `out` none: the target does not take the kernel. What computes the means of blocks joins what computes d. */
static veer_status_t gradient_of(const split_t *s, veer_builder_t *b, const norm_t *n, veer_value_t *out) {
    veer_value_t d = veer_node_in(s->g, n->node, 1), of_block = by_block(b, n, d);
    veer_value_t means[] = {mean_of_blocks(b, of_block),
                            mean_of_blocks(b, veer_mul(b, of_block, by_block(b, n, xhat_of(b, n))))};
    veer_node_t of_groups;
    *out = VEER_NO_VALUE;
    VEER_TRY(veer_builder_status(b));
    VEER_TRY(make_kernel(s, b, n, means, 2, means_of_groups, &of_groups));
    if (!of_groups.i) return veer_ok();
    veer_value_t along = veer_mul(b, xhat_of(b, n), veer_node_out(s->g, of_groups, 1));
    *out = veer_mul(b, n->rstd, veer_sub(b, veer_sub(b, d, veer_node_out(s->g, of_groups, 0)), along));
    return veer_builder_status(b);
}

static veer_status_t split(split_t *s, norm_t *n) {
    veer_builder_t b = veer_builder_before(s->g, n->node);
    bool is_gradient = veer_node_op(s->g, n->node) == VEER_OP_GROUP_NORM_GRAD;
    veer_value_t y = VEER_NO_VALUE;
    VEER_TRY(find_or_make_moments(s, &b, n));
    if (!n->mean.i) return veer_ok();
    if (is_gradient)
        VEER_TRY(gradient_of(s, &b, n, &y));
    else
        y = normalised(s, &b, n);
    VEER_TRY(veer_builder_status(&b));
    if (!y.i) return veer_ok();
    veer_pass_count(s->ctx, is_gradient ? "gradients" : "norms");
    veer_value_replace(s->g, veer_node_out(s->g, n->node, 0), y);
    veer_node_remove(s->g, n->node);
    return veer_ok();
}

static veer_status_t split_region(split_t *outer, veer_region_t region) {
    split_t s = *outer;
    size_t norms = 0;
    norm_t n;
    VEER_FOR_EACH_NODE(s.g, region, node) norms += is_large_norm(&s, node, &n);
    s.done = veer_arena_array(&s.ctx->scratch, norms + 1, sizeof *s.done), s.done_count = 0;
    s.moments = veer_arena_array(&s.ctx->scratch, (norms + 1) * MOST_PARTS, sizeof *s.moments), s.moments_count = 0;
    if (!s.done || !s.moments) return veer_out_of_memory();
    VEER_FOR_EACH_NODE(s.g, region, node) {
        if (veer_node_op(s.g, node) == VEER_OP_LOOP) VEER_TRY(split_region(&s, veer_node_body(s.g, node)));
        if (is_large_norm(&s, node, &n)) VEER_TRY(split(&s, &n));
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    veer_outline_t outline;
    split_t s = {.g = g, .target = ctx->target, .ctx = ctx, .outline = &outline};
    if (!s.target || !s.target->accepts_cluster) return veer_ok();
    veer_outline_init(&outline, g);
    veer_status_t status = split_region(&s, veer_func_body(g, func));
    veer_outline_deinit(&outline);
    return status;
}

const veer_pass_def_t veer_pass_split_norm = {
    "split-norm",
    "take large norms' statistics by blocks of positions",
    run,
    {{"min_bytes", 1 << 18, "of a sample: norms of smaller ones stay one kernel"}}};
