/* recompute{budget=N} -- computes values again near their late uses, so that the arena fits N bytes. Runs last, on
 * kernels.
 *
 *     %a = fused %x          %b = conv %a, %w           %a = fused %x          %b = conv %a, %w
 *     ... the rest of the network, and its gradient ... ...
 *                                                   =>  %c = fused %x
 *     %z = mul %d, %a                                   %z = mul %d, %c
 *
 * Between conv and mul nothing of %a is in memory. A node all of whose results have late uses only is moved there, at
 * no cost. Valid because nodes are pure; noise, too, is a function of its operands. Nothing moves into a loop or out of
 * one: a node and its copy stand in the same region.
 *
 * The search is greedy. Where the sum of live buffers is largest, each node whose results wait there is weighed:
 *
 *     (bytes freed * steps they wait - bytes * steps that operands must live longer) / cost of computing it again
 *
 * with operands either kept alive or computed again themselves, whichever scores better. The best one that lessens what
 * exceeds the budget, and raises no peak, is done; then all is measured anew. So a chain ends up with checkpoints: what
 * was computed again from a neighbour gives way, later, to a neighbour that is computed again itself.
 *
 * Rules for the next author:
 * 1. Lifetimes are those of the lowering (target->residency), never an estimate: a view lives as long as its buffer.
 * 2. A change is simulated on the profile first (veer_recompute_lessens), never undone.
 * 3. The sum of live buffers is less than the arena, where gaps are lost: when the sum fits and the arena does not, the
 *    search goes on with a smaller limit.
 *
 * recompute_survey.c measures, recompute_change.c weighs, simulates and does one change; here is the search.
 */
#include "ir/base/text.h"
#include "ir/flops.h"
#include "passes/recompute_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MOST_GROWTH = 4,  /* copies in all, as a multiple of the nodes there are */
    LARGEST_NAMED = 5 /* values of the peak in the error */
};

/* ---- the search ---- */

static int by_score(const void *x, const void *y) {
    const veer_recompute_change_t *a = x, *b = y;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->node.i != b->node.i) return a->node.i < b->node.i ? -1 : 1;
    return a->share - b->share;
}

static void find_changes(veer_recompute_t *s, veer_region_t region, veer_recompute_change_t *list, size_t *count) {
    VEER_FOR_EACH_NODE(s->g, region, n) {
        if (veer_node_op(s->g, n) == VEER_OP_LOOP) find_changes(s, veer_node_body(s->g, n), list, count);
        for (int share = 0; share < VEER_RECOMPUTE_SHARES; share++)
            if (veer_recompute_weigh(s, n, share, &list[*count])) ++*count;
    }
}

/* The best change, done; *out_done is false where none helps. What brings all nearer to the limit is taken first, then
 * what makes the peak a little narrower: copies are steps, too, so when many of them are needed the former may fail. */
static veer_status_t improve(veer_recompute_t *s, bool *out_done) {
    size_t count = 0;
    veer_recompute_change_t *list =
        veer_alloc_array(s->a, (size_t)s->fp.node_limit * VEER_RECOMPUTE_SHARES, sizeof *list);
    if (!list) return veer_out_of_memory();
    find_changes(s, veer_func_body(s->g, s->func), list, &count);
    qsort(list, count, sizeof *list, by_score);
    veer_status_t status = NULL;
    *out_done = false;
    for (size_t i = 0; i < 2 * count && !*out_done; i++) {
        veer_recompute_change_t *c = &list[i % count];
        int64_t level = i < count || s->limit >= s->peak ? s->limit : s->peak - 1;
        /* weighed again for its marks */
        if (!veer_recompute_weigh(s, c->node, c->share, c) || !veer_recompute_lessens(s, c, level)) continue;
        *out_done = true;
        status = veer_recompute_apply(s, c);
    }
    veer_free(s->a, list);
    return status;
}

static veer_status_t arena_of(veer_recompute_t *s, int64_t *out_bytes) {
    veer_residency_t fp;
    veer_status_t status = s->target->residency(s->g, s->func, true, s->a, &fp);
    if (!status) *out_bytes = (int64_t)fp.arena_bytes;
    veer_residency_deinit(&fp, s->a);
    return status;
}

/* Until the arena fits, or nothing helps; *out_arena is what it takes then. */
static veer_status_t search(veer_recompute_t *s, int64_t budget, int64_t *out_arena) {
    int64_t most = 0, arena = 0;
    bool done = true;
    s->limit = budget;
    for (int64_t step = 0; done; step++) {
        VEER_TRY(veer_recompute_survey(s));
        if (!most) most = MOST_GROWTH * (int64_t)s->fp.node_limit;
        if (s->peak <= s->limit || step > most) {
            VEER_TRY(arena_of(s, out_arena));
            if (*out_arena <= budget || step > most) return veer_ok();
            arena = s->limit - (*out_arena - budget);
            s->limit = arena < s->peak ? arena : s->peak - 1;
            VEER_TRY(veer_recompute_survey(s));
        }
        VEER_TRY(improve(s, &done));
    }
    return arena_of(s, out_arena);
}

/* ---- when it cannot be met ---- */

enum { AMOUNT_BYTES = 32 };

static const char *amount(int64_t bytes, char text[AMOUNT_BYTES]) {
    bool small = bytes < 1000000;
    snprintf(text, AMOUNT_BYTES, "%.2f %s", (double)bytes * (small ? 1e-3 : 1e-6), small ? "KB" : "MB");
    return text;
}

static const char *name_of(const veer_recompute_t *s, veer_value_t v) {
    veer_node_t def = veer_value_def(s->g, v);
    if (!def.i) return "a loop's state";
    return veer_node_origin_count(s->g, def) ? veer_node_origin(s->g, def, 0) : veer_op_name(veer_node_op(s->g, def));
}

static void name_largest(const veer_recompute_t *s, veer_text_t *text) {
    uint32_t named[LARGEST_NAMED];
    char size[AMOUNT_BYTES];
    for (int k = 0; k < LARGEST_NAMED; k++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < s->fp.value_limit; i++) {
            const veer_lifetime_t *life = &s->fp.lives[i];
            bool known = !life->size_bytes || life->first > s->at || life->last < s->at;
            for (int j = 0; j < k; j++) known |= named[j] == i;
            if (!known && (!best || life->size_bytes > s->fp.lives[best].size_bytes)) best = i;
        }
        if (!(named[k] = best)) return;
        veer_text_add(text, "%s%s of '%s'", k ? ", " : "",
                      amount(veer_recompute_size_of(s, (veer_value_t){best}), size), name_of(s, (veer_value_t){best}));
    }
}

static veer_status_t cannot(veer_recompute_t *s, int64_t budget, int64_t arena) {
    char wanted[AMOUNT_BYTES], least[AMOUNT_BYTES];
    veer_status_t status = veer_error(VEER_ERR_RESOURCE,
                                      "the memory budget of %s cannot be met: computing values again, the arena takes "
                                      "%s at the least that was found",
                                      amount(budget, wanted), amount(arena, least));
    veer_text_t text = veer_text_make(s->a);
    name_largest(s, &text);
    if (text.data) status = veer_status_note(status, "the largest values that live at the peak: %s", text.data);
    veer_text_deinit(&text);
    return veer_status_help(status, "a budget of %lldK, or a smaller batch", (long long)(arena / 1000 + 1));
}

static veer_status_t fit(veer_recompute_t *s, int64_t budget) {
    int64_t before = 0, after = 0;
    double flops = veer_flops(s->g, veer_func_body(s->g, s->func));
    VEER_TRY(arena_of(s, &before));
    veer_pass_count_by(s->ctx, "arena bytes before", before);
    after = before;
    if (before > budget) VEER_TRY(search(s, budget, &after));
    veer_pass_count_by(s->ctx, "arena bytes after", after);
    veer_pass_count_by(s->ctx, "computed again", s->copies);
    veer_pass_count_by(s->ctx, "moved", s->moves);
    veer_pass_count_by(s->ctx, "added flops", (int64_t)(veer_flops(s->g, veer_func_body(s->g, s->func)) - flops));
    if (after <= budget) return veer_ok();
    VEER_TRY(veer_recompute_survey(s));
    return cannot(s, budget, after);
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    const veer_fuse_target_t *target = ctx->target;
    int64_t budget = veer_pass_option(ctx, "budget");
    if (!budget || !target || !target->residency) return veer_ok();
    veer_recompute_t s = {.g = g, .func = func, .ctx = ctx, .target = target, .a = veer_graph_allocator(g)};
    veer_status_t status = fit(&s, budget);
    veer_recompute_forget(&s);
    return status;
}

const veer_pass_def_t veer_pass_recompute = {
    "recompute",
    "compute values again instead of keeping them, so that memory fits a budget",
    run,
    {{"budget", 0, "bytes that the arena may take; 0: as many as it likes"}}};
