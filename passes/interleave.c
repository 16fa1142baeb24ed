/* interleave -- lets nodes that do not need each other follow each other.
 *
 *     %a = conv %x, ...  %b = conv %a, ...  %c = conv %x, ...  %d = conv %c, ...
 * becomes
 *     %a = conv %x, ...  %c = conv %x, ...  %b = conv %a, ...  %d = conv %c, ...
 *
 * A node that reads what the one before it makes cannot begin until the last thread has done its part of that. So the
 * next node is the first in the old order that is ready without the last one; the old order's next where there is none.
 * Denoiser and classifier, which both look at x_t, then go side by side, and so do a layer's q, k and v. Nodes that
 * only look at others' memory (reshapes and the like) follow at once. Valid: any order in which definitions come before
 * uses. Declines: regions with a loop inside, whose body reads from outside.
 */
#include "passes/pass.h"

#include <string.h>

typedef struct item_s {
    veer_node_t node;
    int64_t seen; /* the latest of its operands, counted in nodes that do something */
    int missing;  /* operands not placed yet */
} item_t;

typedef struct interleave_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    item_t *items; /* in the old order */
    int count;
    int *at;                 /* item by node id, -1: of another region */
    int *ready, ready_count; /* ascending */
    int64_t placed;          /* nodes that do something */
    veer_node_t end;
} interleave_t;

static bool is_light(const interleave_t *l, veer_node_t n) {
    veer_op_t op = veer_node_op(l->g, n);
    return veer_op_may_be_view(op) || op == VEER_OP_CONST;
}

static void add_ready(interleave_t *l, int item) {
    int low = 0, high = l->ready_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (l->ready[middle] < item)
            low = middle + 1;
        else
            high = middle;
    }
    memmove(l->ready + low + 1, l->ready + low, (size_t)(l->ready_count - low) * sizeof *l->ready);
    l->ready[low] = item;
    l->ready_count++;
}

static void place(interleave_t *l, int item) {
    veer_node_t n = l->items[item].node;
    int64_t seen = is_light(l, n) ? l->items[item].seen : ++l->placed;
    veer_node_move_before(l->g, n, l->end);
    for (int i = 0; i < veer_node_out_count(l->g, n); i++) {
        veer_value_t v = veer_node_out(l->g, n, i);
        for (int k = 0; k < veer_value_use_count(l->g, v); k++) {
            veer_node_t user = veer_value_use(l->g, v, k, NULL);
            int at = l->at[user.i];
            if (at < 0) continue;
            if (l->items[at].seen < seen) l->items[at].seen = seen;
            if (!--l->items[at].missing) add_ready(l, at);
        }
    }
}

/* The place in `ready` of what comes next. */
static int choose(const interleave_t *l) {
    for (int i = 0; i < l->ready_count; i++) {
        const item_t *item = &l->items[l->ready[i]];
        if (is_light(l, item->node) || item->seen < l->placed) return i;
    }
    return 0;
}

static void place_all(interleave_t *l) {
    for (int done = 0, last = -1; done < l->count; done++) {
        int k = choose(l), item = l->ready[k];
        memmove(l->ready + k, l->ready + k + 1, (size_t)(--l->ready_count - k) * sizeof *l->ready);
        if (item < last) veer_pass_count(l->ctx, "moved");
        last = item;
        place(l, item);
    }
}

static bool read_items(interleave_t *l, veer_region_t region) {
    VEER_FOR_EACH_NODE(l->g, region, n) {
        if (veer_node_op(l->g, n) == VEER_OP_LOOP) return false;
        if (veer_op_has(veer_node_op(l->g, n), VEER_TERMINATOR)) continue;
        l->at[n.i] = l->count;
        l->items[l->count++] = (item_t){.node = n};
    }
    for (int i = 0; i < l->count; i++) {
        veer_node_t n = l->items[i].node;
        for (int k = 0; k < veer_node_in_count(l->g, n); k++) {
            veer_value_t v = veer_node_in(l->g, n, k);
            veer_node_t def = v.i ? veer_value_def(l->g, v) : VEER_NO_NODE;
            l->items[i].missing += def.i && l->at[def.i] >= 0;
        }
        if (!l->items[i].missing) add_ready(l, i);
    }
    return true;
}

static veer_status_t interleave_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    uint32_t limit = veer_graph_node_limit(g);
    interleave_t l = {.g = g, .ctx = ctx, .end = veer_region_terminator(g, region)};
    l.items = veer_arena_array(&ctx->scratch, limit, sizeof *l.items);
    l.at = veer_arena_array(&ctx->scratch, limit, sizeof *l.at);
    l.ready = veer_arena_array(&ctx->scratch, limit, sizeof *l.ready);
    if (!l.items || !l.at || !l.ready) return veer_out_of_memory();
    for (uint32_t i = 0; i < limit; i++) l.at[i] = -1;
    if (read_items(&l, region)) place_all(&l);
    VEER_FOR_EACH_NODE(g, region, n)
    if (veer_node_op(g, n) == VEER_OP_LOOP) VEER_TRY(interleave_region(g, veer_node_body(g, n), ctx));
    return veer_ok();
}

static veer_status_t run_interleave(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return interleave_region(g, veer_func_body(g, func), ctx);
}

const veer_pass_def_t veer_pass_interleave = {
    .name = "interleave", .summary = "nodes that do not need each other follow each other", .run = run_interleave};
