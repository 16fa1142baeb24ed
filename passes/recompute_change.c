/* A change: a node is computed again before its first use behind the peak, and what it needs there is kept alive or
 * computed again as well. It is weighed, simulated on the profile, and done.
 *
 *     %a = made    use (prev)    ... waits ...    the peak    ... waits ...    use (next)
 *     %a = made    use                            the peak             %c = made again, use
 *
 * Marks say what becomes of each buffer: VEER_RECOMPUTE_COPIED (the node, and operands that are computed again with it)
 * or VEER_RECOMPUTE_KEPT (operands that had ended and live on to `next`). They are those of the change weighed last.
 */
#include "passes/recompute_internal.h"

#include "ir/builder.h"
#include "ir/flops.h"

#include <string.h>

enum {
    MOST_COPIES = 16,   /* nodes that one change may copy */
    FLOPS_PER_BYTE = 10 /* what moving a byte costs in flops that a machine could do meanwhile */
};
/* An operand that has ended is kept alive where it is at most this part of what is freed, else computed again. */
static const double shares[VEER_RECOMPUTE_SHARES] = {1e300, 0.125, 0};

/* ---- marks ---- */

static void put_mark(veer_recompute_t *s, veer_value_t root, veer_recompute_mark_t mark) {
    if (!s->mark[root.i]) s->touched[s->touched_count++] = root.i;
    s->mark[root.i] = mark;
}

static void clear_marks(veer_recompute_t *s) {
    while (s->touched_count) s->mark[s->touched[--s->touched_count]] = VEER_RECOMPUTE_UNMARKED;
}

/* ---- weighing ---- */

static bool can_copy(const veer_recompute_t *s, veer_node_t n) {
    veer_op_t op = veer_node_op(s->g, n);
    return n.i && veer_op_has(op, VEER_PURE) && op != VEER_OP_LOOP && op != VEER_OP_CONST && op != VEER_OP_CALL &&
           op != VEER_OP_GRAD && !veer_recompute_is_view(s, n);
}

/* In flops; a move of memory counts as the flops of its time. */
static double cost_of(const veer_recompute_t *s, veer_node_t n) {
    return veer_node_flops(s->g, n) + FLOPS_PER_BYTE * veer_node_bytes(s->g, n);
}

/* A result of a node around the peak: its last use up to there (or its making) and its first one behind. */
typedef struct gap_s {
    veer_value_t root;
    int64_t made, prev, next, size;
} gap_t;

/* False where the result can do nothing: nobody uses it behind the peak, or not from the arena, or it must stay. */
static bool gap_of(const veer_recompute_t *s, veer_node_t n, int i, gap_t *out) {
    veer_value_t root = veer_node_out(s->g, n, i);
    *out = (gap_t){root, veer_recompute_position(s, n), veer_recompute_position(s, n), INT64_MAX,
                   veer_recompute_size_of(s, root)};
    if (!out->size || s->pinned[root.i]) return false;
    for (uint32_t u = s->first_use[root.i]; u; u = s->uses[u].next) {
        int64_t at = s->uses[u].at;
        if (at <= s->at && at > out->prev) out->prev = at;
        if (at > s->at && at < out->next) out->next = at;
    }
    return out->next < INT64_MAX;
}

/* Nobody uses a result before `next`: the node can be moved instead of copied. */
static bool may_move(const veer_recompute_t *s, veer_node_t n, int64_t next) {
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        veer_value_t root = veer_node_out(s->g, n, i);
        if (s->pinned[root.i] || !veer_recompute_size_of(s, root)) return false;
        for (uint32_t u = s->first_use[root.i]; u; u = s->uses[u].next)
            if (s->uses[u].at < next) return false;
    }
    return true;
}

typedef struct weight_s {
    int64_t next;
    double area, cost;        /* bytes times positions won; what it costs */
    int64_t freed, threshold; /* at the peak, operands included; operands up to here are kept alive */
    int copies;
} weight_t;

/* What the copy of `n` needs and has ended by then. */
static void weigh_operands(veer_recompute_t *s, veer_node_t n, weight_t *w) {
    for (int i = 0; i < veer_node_in_count(s->g, n); i++) {
        veer_value_t v = veer_node_in(s->g, n, i), root = v.i ? veer_recompute_root_of(s, v) : v;
        if (!root.i || !veer_recompute_size_of(s, root) || s->fp.lives[root.i].last >= w->next || s->mark[root.i])
            continue;
        int64_t size = veer_recompute_size_of(s, root), last = s->fp.lives[root.i].last;
        veer_node_t def = veer_value_def(s->g, root);
        bool beside = def.i && veer_node_region(s->g, def).i == veer_node_region(s->g, n).i;
        if (size > w->threshold && w->copies < MOST_COPIES && beside && can_copy(s, def)) {
            w->copies++;
            w->cost += cost_of(s, def);
            for (int k = 0; k < veer_node_out_count(s->g, def); k++)
                put_mark(s, veer_node_out(s->g, def, k), VEER_RECOMPUTE_COPIED);
            weigh_operands(s, def, w);
        } else {
            put_mark(s, root, VEER_RECOMPUTE_KEPT);
            w->area -= (double)size * (double)(w->next - last);
            if (last < s->at) w->freed -= size;
        }
    }
}

/* The results: what the peak loses by them, and for how long. */
static void weigh_results(veer_recompute_t *s, veer_node_t n, bool moved, weight_t *w) {
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        gap_t gap;
        put_mark(s, veer_node_out(s->g, n, i), VEER_RECOMPUTE_COPIED);
        if (!gap_of(s, n, i, &gap)) continue;
        if (gap.prev < s->at || (moved && gap.made <= s->at)) w->freed += gap.size;
        w->area += (double)gap.size * (double)(w->next - gap.prev - !moved);
    }
}

bool veer_recompute_weigh(veer_recompute_t *s, veer_node_t n, int share, veer_recompute_change_t *out) {
    gap_t gap;
    weight_t w = {.next = INT64_MAX, .copies = 1};
    clear_marks(s);
    if (!can_copy(s, n)) return false;
    for (int i = 0; i < veer_node_out_count(s->g, n); i++)
        if (gap_of(s, n, i, &gap) && gap.next < w.next) w.next = gap.next;
    if (w.next == INT64_MAX || veer_recompute_position(s, n) > s->at) return false;
    bool moved = may_move(s, n, w.next);
    weigh_results(s, n, moved, &w);
    if (!w.freed) return false;
    w.cost = moved ? 1 : cost_of(s, n);
    double threshold = (double)w.freed * shares[share];
    w.threshold = threshold < 0x1p62 ? (int64_t)threshold : INT64_MAX;
    weigh_operands(s, n, &w);
    if (w.freed <= 0 || w.area <= 0) return false;
    *out = (veer_recompute_change_t){n, w.next, w.area / w.cost, share};
    return true;
}

/* ---- trying ---- */

/* The copies in the order in which they are made: what a node needs before it. */
static void order_copies(const veer_recompute_t *s, veer_node_t n, veer_node_t *list, int *count) {
    for (int k = 0; k < *count; k++)
        if (veer_node_eq(list[k], n)) return;
    for (int i = 0; i < veer_node_in_count(s->g, n); i++) {
        veer_value_t v = veer_node_in(s->g, n, i), root = v.i ? veer_recompute_root_of(s, v) : v;
        if (root.i && s->mark[root.i] == VEER_RECOMPUTE_COPIED)
            order_copies(s, veer_value_def(s->g, root), list, count);
    }
    list[(*count)++] = n;
}

/* The last of the copies that reads a result, `own` where none does. */
static int last_reader(const veer_recompute_t *s, veer_value_t root, const veer_node_t *list, int count, int own) {
    int last = own;
    for (int k = own + 1; k < count; k++)
        for (int i = 0; i < veer_node_in_count(s->g, list[k]); i++) {
            veer_value_t v = veer_node_in(s->g, list[k], i);
            if (v.i && veer_value_eq(veer_recompute_root_of(s, v), root)) last = k;
        }
    return last;
}

/* The most that the copies take at a time; those of `n` itself, the last one, live on. */
static int64_t bytes_of_copies(const veer_recompute_t *s, veer_node_t n) {
    veer_node_t list[MOST_COPIES + 1];
    int count = 0;
    int64_t most = 0;
    order_copies(s, n, list, &count);
    for (int now = 0; now < count; now++) {
        int64_t bytes = 0;
        for (int k = 0; k <= now; k++)
            for (int i = 0; i < veer_node_out_count(s->g, list[k]); i++) {
                veer_value_t root = veer_node_out(s->g, list[k], i);
                if (last_reader(s, root, list, count, k) >= now)
                    bytes += (int64_t)veer_type_bytes(veer_value_type(s->g, root));
            }
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Takes a result of `n` out of the profile from its last use before `next` on. */
static void end_early(veer_recompute_t *s, const gap_t *gap, int64_t next, bool moved) {
    int64_t stays = gap->made;
    for (uint32_t u = s->first_use[gap->root.i]; u; u = s->uses[u].next)
        if (s->uses[u].at < next && s->uses[u].at > stays) stays = s->uses[u].at;
    veer_recompute_add_span(s->trial, moved ? gap->made : stays + 1, next - 1, -gap->size);
}

/* Fills `trial`. Gives what lives just before `next`, where the copies stand. */
static int64_t simulate(veer_recompute_t *s, const veer_recompute_change_t *c) {
    bool moved = may_move(s, c->node, c->next);
    int64_t across = bytes_of_copies(s, c->node);
    memcpy(s->trial, s->live, ((size_t)s->fp.end + 1) * sizeof *s->live);
    for (uint32_t i = 1; i < s->fp.value_limit; i++) {
        const veer_lifetime_t *life = &s->fp.lives[i];
        if (life->size_bytes && life->first < c->next && life->last >= c->next) across += (int64_t)life->size_bytes;
    }
    for (int k = 0; k < s->touched_count; k++) {
        veer_value_t root = {s->touched[k]};
        if (s->mark[root.i] != VEER_RECOMPUTE_KEPT) continue;
        veer_recompute_add_span(s->trial, s->fp.lives[root.i].last + 1, c->next - 1, veer_recompute_size_of(s, root));
        across += veer_recompute_size_of(s, root);
    }
    for (int i = 0; i < veer_node_out_count(s->g, c->node); i++) {
        gap_t gap;
        if (!gap_of(s, c->node, i, &gap)) continue;
        across -= gap.size; /* the copy is there instead */
        end_early(s, &gap, c->next, moved);
    }
    return across;
}

static double excess(int64_t bytes, int64_t level) {
    return bytes > level ? (double)(bytes - level) : 0;
}

/* Sum of what a profile has above the level. */
static double excess_of(const veer_recompute_t *s, const int64_t *profile, int64_t level) {
    double sum = 0;
    for (int64_t p = 1; p < s->fp.end; p++) sum += excess(profile[p], level);
    return sum;
}

bool veer_recompute_lessens(veer_recompute_t *s, const veer_recompute_change_t *c, int64_t level) {
    int64_t across = simulate(s, c);
    for (int64_t p = 1; p < s->fp.end; p++)
        if (s->trial[p] > s->peak) return false;
    return across <= s->peak && excess(across, level) + excess_of(s, s->trial, level) < excess_of(s, s->live, level);
}

/* ---- doing ---- */

typedef struct rewrite_s {
    veer_builder_t b;
    veer_value_t *map; /* by value id: what stands for it behind `next` */
} rewrite_t;

/* The value that stands for v: of a view of something copied, the same view of the copy. */
static veer_value_t stand_in(veer_recompute_t *s, rewrite_t *r, veer_value_t v) {
    if (!v.i || r->map[v.i].i || veer_value_eq(veer_recompute_root_of(s, v), v))
        return v.i && r->map[v.i].i ? r->map[v.i] : v;
    veer_node_t view = veer_value_def(s->g, v);
    if (!view.i || !veer_recompute_is_view(s, view)) return v;
    veer_value_t in[VEER_OP_MAX_OPERANDS], base = stand_in(s, r, veer_node_in(s->g, view, 0));
    if (veer_value_eq(base, veer_node_in(s->g, view, 0))) return v;
    int count = veer_node_in_count(s->g, view);
    for (int i = 0; i < count; i++) in[i] = i ? veer_node_in(s->g, view, i) : base;
    veer_node_t copy = veer_build_like(&r->b, view, in, count);
    if (copy.i) r->map[v.i] = veer_node_out(s->g, copy, 0);
    return r->map[v.i];
}

static void copy_node(veer_recompute_t *s, rewrite_t *r, veer_node_t n) {
    for (int i = 0; i < veer_node_in_count(s->g, n) && veer_builder_ok(&r->b); i++) {
        veer_value_t v = veer_node_in(s->g, n, i), root = v.i ? veer_recompute_root_of(s, v) : v;
        if (root.i && s->mark[root.i] == VEER_RECOMPUTE_COPIED && !r->map[root.i].i)
            copy_node(s, r, veer_value_def(s->g, root));
        if (v.i) r->map[v.i] = stand_in(s, r, v);
    }
    if (veer_builder_ok(&r->b)) veer_build_copy(&r->b, n, r->map);
    s->copies++;
}

static void redirect(veer_recompute_t *s, rewrite_t *r, veer_value_t root, int64_t next) {
    for (uint32_t u = s->first_use[root.i]; u && veer_builder_ok(&r->b); u = s->uses[u].next) {
        if (s->uses[u].at < next) continue;
        veer_node_t n = s->uses[u].node;
        for (int i = 0; i < veer_node_in_count(s->g, n); i++) {
            veer_value_t v = veer_node_in(s->g, n, i);
            if (!v.i || v.i >= s->fp.value_limit || !veer_value_eq(veer_recompute_root_of(s, v), root)) continue;
            veer_value_t to = stand_in(s, r, v);
            if (veer_builder_ok(&r->b)) veer_node_set_in(s->g, n, i, to);
        }
    }
}

/* Views that nobody looks through any more, and the node itself where it has been replaced altogether. */
static void drop_unused(veer_recompute_t *s, veer_node_t n) {
    if (veer_node_op(s->g, n) == VEER_OP_NONE) return;
    bool used = false;
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        veer_value_t v = veer_node_out(s->g, n, i);
        for (int k = veer_value_use_count(s->g, v); k-- > 0;) {
            int operand;
            veer_node_t user = veer_value_use(s->g, v, k, &operand); /* the last use may take a removed one's place */
            if (user.i < s->fp.node_limit && veer_recompute_is_view(s, user) && operand == 0) drop_unused(s, user);
        }
        used |= veer_value_use_count(s->g, v) > 0;
    }
    if (!used) veer_node_remove(s->g, n);
}

static veer_node_t node_at(const veer_recompute_t *s, veer_node_t n, int64_t at) {
    for (int i = 0; i < veer_node_out_count(s->g, n); i++)
        for (uint32_t u = s->first_use[veer_node_out(s->g, n, i).i]; u; u = s->uses[u].next)
            if (s->uses[u].at == at) return s->uses[u].node;
    return VEER_NO_NODE;
}

veer_status_t veer_recompute_apply(veer_recompute_t *s, const veer_recompute_change_t *c) {
    veer_node_t n = c->node;
    bool moved = may_move(s, n, c->next);
    rewrite_t r = {.b = veer_builder_before(s->g, node_at(s, n, c->next))};
    r.b.origins_from = VEER_NO_NODE; /* each copy has the origins of what it copies */
    r.map = veer_alloc_array(s->a, s->fp.value_limit, sizeof *r.map);
    if (!r.map) return veer_out_of_memory();
    copy_node(s, &r, n);
    for (int i = 0; i < veer_node_out_count(s->g, n); i++)
        if (!s->pinned[veer_node_out(s->g, n, i).i]) redirect(s, &r, veer_node_out(s->g, n, i), c->next);
    veer_free(s->a, r.map);
    VEER_TRY(veer_builder_status(&r.b));
    drop_unused(s, n);
    if (moved) s->copies--, s->moves++;
    return veer_graph_out_of_memory(s->g) ? veer_out_of_memory() : veer_ok();
}
