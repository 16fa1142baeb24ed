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
 * 2. A change is simulated on the profile first (`lessens`), never undone.
 * 3. The sum of live buffers is less than the arena, where gaps are lost: when the sum fits and the arena does not, the
 *    search goes on with a smaller limit.
 */
#include "ir/base/text.h"
#include "ir/builder.h"
#include "ir/flops.h"
#include "passes/fuse.h"
#include "passes/pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_COPIES = 16,   /* nodes that one step may copy */
    MOST_GROWTH = 4,    /* copies in all, as a multiple of the nodes there are */
    SHARES = 3,         /* ways to treat operands: see `shares` */
    LARGEST_NAMED = 5,  /* values of the peak in the error */
    FLOPS_PER_BYTE = 10 /* what moving a byte costs in flops that a machine could do meanwhile */
};
/* An operand that has ended is kept alive where it is at most this part of what is freed, else computed again. */
static const double shares[SHARES] = {1e300, 0.125, 0};

typedef enum mark_e { UNMARKED, COPIED, KEPT } mark_t;

/* A use of a buffer, by a node that is no view. */
typedef struct use_s {
    veer_node_t node;
    int64_t at;
    uint32_t next; /* the buffer's next use, 0: none */
} use_t;

typedef struct search_s {
    veer_graph_t *g;
    veer_func_t func;
    veer_pass_ctx_t *ctx;
    const veer_fuse_target_t *target;
    veer_allocator_t a;
    int64_t limit; /* what live buffers may take: the budget, less what placing loses */
    /* as the function stands */
    veer_residency_t fp;
    int64_t *live, *trial; /* by position: bytes of live buffers; the same with a candidate done */
    int64_t peak, at;      /* the largest of `live`, and where */
    uint32_t *first_use;   /* by root: index into uses */
    use_t *uses;
    bool *pinned; /* by root: used by a terminator or in another region than it is made in */
    mark_t *mark; /* by root: the candidate's copies and kept operands; `touched` of them */
    uint32_t *touched;
    int touched_count;
    /* what was done */
    int64_t copies, moves;
} search_t;

/* Something to do: compute `node` again before position `next`. */
typedef struct candidate_s {
    veer_node_t node;
    int64_t next;
    double score;
    int share;
} candidate_t;

static veer_value_t root_of(const search_t *s, veer_value_t v) {
    return s->fp.roots[v.i];
}

static int64_t size_of(const search_t *s, veer_value_t root) {
    return (int64_t)s->fp.lives[root.i].size_bytes;
}

static int64_t position(const search_t *s, veer_node_t n) {
    return s->fp.positions[n.i];
}

/* ---- surveying ---- */

static void forget(search_t *s) {
    veer_residency_deinit(&s->fp, s->a);
    veer_free(s->a, s->live);
    veer_free(s->a, s->trial);
    veer_free(s->a, s->first_use);
    veer_free(s->a, s->uses);
    veer_free(s->a, s->pinned);
    veer_free(s->a, s->mark);
    veer_free(s->a, s->touched);
    s->live = s->trial = NULL, s->first_use = s->touched = NULL, s->uses = NULL, s->pinned = NULL, s->mark = NULL;
}

static bool is_view(const search_t *s, veer_node_t n) {
    if (!veer_node_out_count(s->g, n) || veer_node_op(s->g, n) == VEER_OP_LOOP) return false;
    veer_value_t out = veer_node_out(s->g, n, 0);
    return !veer_value_eq(root_of(s, out), out);
}

static int64_t operands_in(const veer_graph_t *g, veer_region_t region) {
    int64_t count = 0;
    VEER_FOR_EACH_NODE(g, region, n) {
        count += veer_node_in_count(g, n);
        if (veer_node_op(g, n) == VEER_OP_LOOP) count += operands_in(g, veer_node_body(g, n));
    }
    return count;
}

static void add_use(search_t *s, veer_node_t n, veer_value_t v, uint32_t *count) {
    veer_value_t root = v.i ? root_of(s, v) : v;
    if (!root.i || !size_of(s, root)) return;
    s->uses[++*count] = (use_t){n, position(s, n), s->first_use[root.i]};
    s->first_use[root.i] = *count;
    s->pinned[root.i] |= veer_op_has(veer_node_op(s->g, n), VEER_TERMINATOR) ||
                         veer_node_region(s->g, n).i != veer_value_region(s->g, root).i;
}

static void list_uses(search_t *s, veer_region_t region, uint32_t *count) {
    VEER_FOR_EACH_NODE(s->g, region, n) {
        for (int i = 0; !is_view(s, n) && i < veer_node_in_count(s->g, n); i++)
            add_use(s, n, veer_node_in(s->g, n, i), count);
        if (veer_node_op(s->g, n) == VEER_OP_LOOP) list_uses(s, veer_node_body(s->g, n), count);
    }
}

/* `to` is included. */
static void add_span(int64_t *profile, int64_t from, int64_t to, int64_t bytes) {
    for (int64_t p = from; p <= to; p++) profile[p] += bytes;
}

static double excess(int64_t bytes, int64_t level) {
    return bytes > level ? (double)(bytes - level) : 0;
}

/* Sum of what a profile has above the level. */
static double excess_of(const search_t *s, const int64_t *profile, int64_t level) {
    double sum = 0;
    for (int64_t p = 1; p < s->fp.end; p++) sum += excess(profile[p], level);
    return sum;
}

static veer_status_t survey(search_t *s) {
    forget(s);
    VEER_TRY(s->target->residency(s->g, s->func, false, s->a, &s->fp));
    size_t values = s->fp.value_limit, positions = (size_t)s->fp.end + 1;
    size_t operands = (size_t)operands_in(s->g, veer_func_body(s->g, s->func));
    s->live = veer_alloc_array(s->a, positions, sizeof *s->live);
    s->trial = veer_alloc_array(s->a, positions, sizeof *s->trial);
    s->first_use = veer_alloc_array(s->a, values, sizeof *s->first_use);
    s->uses = veer_alloc_array(s->a, operands + 1, sizeof *s->uses);
    s->pinned = veer_alloc_array(s->a, values, sizeof *s->pinned);
    s->mark = veer_alloc_array(s->a, values, sizeof *s->mark);
    s->touched = veer_alloc_array(s->a, values, sizeof *s->touched);
    if (!s->live || !s->trial || !s->first_use || !s->uses || !s->pinned || !s->mark || !s->touched)
        return veer_out_of_memory();
    for (uint32_t i = 1; i < s->fp.value_limit; i++)
        if (s->fp.lives[i].size_bytes)
            add_span(s->live, s->fp.lives[i].first, s->fp.lives[i].last, (int64_t)s->fp.lives[i].size_bytes);
    s->peak = s->at = 0;
    for (int64_t p = 1; p < s->fp.end; p++)
        if (s->live[p] > s->peak) s->peak = s->live[p], s->at = p;
    uint32_t count = 0;
    list_uses(s, veer_func_body(s->g, s->func), &count);
    return veer_ok();
}

/* ---- weighing ---- */

static bool can_copy(const search_t *s, veer_node_t n) {
    veer_op_t op = veer_node_op(s->g, n);
    return n.i && veer_op_has(op, VEER_PURE) && op != VEER_OP_LOOP && op != VEER_OP_CONST && op != VEER_OP_CALL &&
           op != VEER_OP_GRAD && !is_view(s, n);
}

/* In flops; a move of memory counts as the flops of its time. */
static double cost_of(const search_t *s, veer_node_t n) {
    double bytes = 0;
    for (int i = 0; i < veer_node_in_count(s->g, n); i++)
        if (veer_node_in(s->g, n, i).i)
            bytes += (double)veer_type_bytes(veer_value_type(s->g, veer_node_in(s->g, n, i)));
    for (int i = 0; i < veer_node_out_count(s->g, n); i++)
        bytes += (double)veer_type_bytes(veer_value_type(s->g, veer_node_out(s->g, n, i)));
    return veer_node_flops(s->g, n) + FLOPS_PER_BYTE * bytes;
}

/* A result of a node around the peak: its last use up to there (or its making) and its first one behind. */
typedef struct gap_s {
    veer_value_t root;
    int64_t made, prev, next, size;
} gap_t;

/* False where the result can do nothing: nobody uses it behind the peak, or not from the arena, or it must stay. */
static bool gap_of(const search_t *s, veer_node_t n, int i, gap_t *out) {
    veer_value_t root = veer_node_out(s->g, n, i);
    *out = (gap_t){root, position(s, n), position(s, n), INT64_MAX, size_of(s, root)};
    if (!out->size || s->pinned[root.i]) return false;
    for (uint32_t u = s->first_use[root.i]; u; u = s->uses[u].next) {
        int64_t at = s->uses[u].at;
        if (at <= s->at && at > out->prev) out->prev = at;
        if (at > s->at && at < out->next) out->next = at;
    }
    return out->next < INT64_MAX;
}

/* Nobody uses a result before `next`: the node can be moved instead of copied. */
static bool may_move(const search_t *s, veer_node_t n, int64_t next) {
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        veer_value_t root = veer_node_out(s->g, n, i);
        if (s->pinned[root.i] || !size_of(s, root)) return false;
        for (uint32_t u = s->first_use[root.i]; u; u = s->uses[u].next)
            if (s->uses[u].at < next) return false;
    }
    return true;
}

static void put_mark(search_t *s, veer_value_t root, mark_t mark) {
    if (!s->mark[root.i]) s->touched[s->touched_count++] = root.i;
    s->mark[root.i] = mark;
}

static void clear_marks(search_t *s) {
    while (s->touched_count) s->mark[s->touched[--s->touched_count]] = UNMARKED;
}

typedef struct weight_s {
    int64_t next;
    double area, cost;        /* bytes times positions won; what it costs */
    int64_t freed, threshold; /* at the peak, operands included; operands up to here are kept alive */
    int copies;
} weight_t;

/* What the copy of `n` needs and has ended by then. */
static void weigh_operands(search_t *s, veer_node_t n, weight_t *w) {
    for (int i = 0; i < veer_node_in_count(s->g, n); i++) {
        veer_value_t v = veer_node_in(s->g, n, i), root = v.i ? root_of(s, v) : v;
        if (!root.i || !size_of(s, root) || s->fp.lives[root.i].last >= w->next || s->mark[root.i]) continue;
        int64_t size = size_of(s, root), last = s->fp.lives[root.i].last;
        veer_node_t def = veer_value_def(s->g, root);
        bool beside = def.i && veer_node_region(s->g, def).i == veer_node_region(s->g, n).i;
        if (size > w->threshold && w->copies < MOST_COPIES && beside && can_copy(s, def)) {
            w->copies++;
            w->cost += cost_of(s, def);
            for (int k = 0; k < veer_node_out_count(s->g, def); k++) put_mark(s, veer_node_out(s->g, def, k), COPIED);
            weigh_operands(s, def, w);
        } else {
            put_mark(s, root, KEPT);
            w->area -= (double)size * (double)(w->next - last);
            if (last < s->at) w->freed -= size;
        }
    }
}

/* What copying `n` before its first use behind the peak wins; leaves the marks. */
static bool weigh(search_t *s, veer_node_t n, int share, weight_t *out) {
    gap_t gap;
    clear_marks(s);
    *out = (weight_t){.next = INT64_MAX, .copies = 1};
    for (int i = 0; i < veer_node_out_count(s->g, n); i++)
        if (gap_of(s, n, i, &gap) && gap.next < out->next) out->next = gap.next;
    if (out->next == INT64_MAX || position(s, n) > s->at) return false;
    bool moved = may_move(s, n, out->next);
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        put_mark(s, veer_node_out(s->g, n, i), COPIED);
        if (!gap_of(s, n, i, &gap)) continue;
        if (gap.prev < s->at || (moved && gap.made <= s->at)) out->freed += gap.size;
        out->area += (double)gap.size * (double)(out->next - gap.prev - !moved);
    }
    if (!out->freed) return false;
    out->cost = moved ? 1 : cost_of(s, n);
    double threshold = (double)out->freed * shares[share];
    out->threshold = threshold < 0x1p62 ? (int64_t)threshold : INT64_MAX;
    weigh_operands(s, n, out);
    return out->freed > 0 && out->area > 0;
}

/* The copies in the order in which they are made: what a node needs before it. */
static void order_copies(const search_t *s, veer_node_t n, veer_node_t *list, int *count) {
    for (int k = 0; k < *count; k++)
        if (veer_node_eq(list[k], n)) return;
    for (int i = 0; i < veer_node_in_count(s->g, n); i++) {
        veer_value_t v = veer_node_in(s->g, n, i), root = v.i ? root_of(s, v) : v;
        if (root.i && s->mark[root.i] == COPIED) order_copies(s, veer_value_def(s->g, root), list, count);
    }
    list[(*count)++] = n;
}

/* The last of the copies that reads a result, `own` where none does. */
static int last_reader(const search_t *s, veer_value_t root, const veer_node_t *list, int count, int own) {
    int last = own;
    for (int k = own + 1; k < count; k++)
        for (int i = 0; i < veer_node_in_count(s->g, list[k]); i++) {
            veer_value_t v = veer_node_in(s->g, list[k], i);
            if (v.i && veer_value_eq(root_of(s, v), root)) last = k;
        }
    return last;
}

/* The most that the copies take at a time; those of `n` itself, the last one, live on. */
static int64_t bytes_of_copies(const search_t *s, veer_node_t n) {
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
static void end_early(search_t *s, const gap_t *gap, int64_t next, bool moved) {
    int64_t stays = gap->made;
    for (uint32_t u = s->first_use[gap->root.i]; u; u = s->uses[u].next)
        if (s->uses[u].at < next && s->uses[u].at > stays) stays = s->uses[u].at;
    add_span(s->trial, moved ? gap->made : stays + 1, next - 1, -gap->size);
}

/* With the marks of `n`: whether less would be above the level, and no peak higher. */
static bool lessens(search_t *s, veer_node_t n, int64_t next, int64_t level) {
    bool moved = may_move(s, n, next);
    int64_t across = bytes_of_copies(s, n); /* just before `next`, where the copies stand */
    memcpy(s->trial, s->live, ((size_t)s->fp.end + 1) * sizeof *s->live);
    for (uint32_t i = 1; i < s->fp.value_limit; i++) {
        const veer_lifetime_t *life = &s->fp.lives[i];
        if (life->size_bytes && life->first < next && life->last >= next) across += (int64_t)life->size_bytes;
    }
    for (int k = 0; k < s->touched_count; k++) {
        veer_value_t root = {s->touched[k]};
        if (s->mark[root.i] != KEPT) continue;
        add_span(s->trial, s->fp.lives[root.i].last + 1, next - 1, size_of(s, root));
        across += size_of(s, root);
    }
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        gap_t gap;
        if (!gap_of(s, n, i, &gap)) continue;
        across -= gap.size; /* the copy is there instead */
        end_early(s, &gap, next, moved);
    }
    for (int64_t p = 1; p < s->fp.end; p++)
        if (s->trial[p] > s->peak) return false;
    return across <= s->peak && excess(across, level) + excess_of(s, s->trial, level) < excess_of(s, s->live, level);
}

/* ---- doing ---- */

typedef struct change_s {
    veer_builder_t b;
    veer_value_t *map; /* by value id: what stands for it behind `next` */
} change_t;

/* The value that stands for v: of a view of something copied, the same view of the copy. */
static veer_value_t stand_in(search_t *s, change_t *c, veer_value_t v) {
    if (!v.i || c->map[v.i].i || veer_value_eq(root_of(s, v), v)) return v.i && c->map[v.i].i ? c->map[v.i] : v;
    veer_node_t view = veer_value_def(s->g, v);
    if (!view.i || !is_view(s, view)) return v;
    veer_value_t in[VEER_OP_MAX_OPERANDS], base = stand_in(s, c, veer_node_in(s->g, view, 0));
    if (veer_value_eq(base, veer_node_in(s->g, view, 0))) return v;
    int count = veer_node_in_count(s->g, view);
    for (int i = 0; i < count; i++) in[i] = i ? veer_node_in(s->g, view, i) : base;
    veer_node_t copy = veer_build_like(&c->b, view, in, count);
    if (copy.i) c->map[v.i] = veer_node_out(s->g, copy, 0);
    return c->map[v.i];
}

static void copy_node(search_t *s, change_t *c, veer_node_t n) {
    for (int i = 0; i < veer_node_in_count(s->g, n) && veer_builder_ok(&c->b); i++) {
        veer_value_t v = veer_node_in(s->g, n, i), root = v.i ? root_of(s, v) : v;
        if (root.i && s->mark[root.i] == COPIED && !c->map[root.i].i) copy_node(s, c, veer_value_def(s->g, root));
        if (v.i) c->map[v.i] = stand_in(s, c, v);
    }
    if (veer_builder_ok(&c->b)) veer_build_copy(&c->b, n, c->map);
    s->copies++;
}

static void redirect(search_t *s, change_t *c, veer_value_t root, int64_t next) {
    for (uint32_t u = s->first_use[root.i]; u && veer_builder_ok(&c->b); u = s->uses[u].next) {
        if (s->uses[u].at < next) continue;
        veer_node_t n = s->uses[u].node;
        for (int i = 0; i < veer_node_in_count(s->g, n); i++) {
            veer_value_t v = veer_node_in(s->g, n, i);
            if (!v.i || v.i >= s->fp.value_limit || !veer_value_eq(root_of(s, v), root)) continue;
            veer_value_t to = stand_in(s, c, v);
            if (veer_builder_ok(&c->b)) veer_node_set_in(s->g, n, i, to);
        }
    }
}

/* Views that nobody looks through any more, and the node itself where it has been replaced altogether. */
static void drop_unused(search_t *s, veer_node_t n) {
    if (veer_node_op(s->g, n) == VEER_OP_NONE) return;
    bool used = false;
    for (int i = 0; i < veer_node_out_count(s->g, n); i++) {
        veer_value_t v = veer_node_out(s->g, n, i);
        for (int k = veer_value_use_count(s->g, v); k-- > 0;) {
            int operand;
            veer_node_t user = veer_value_use(s->g, v, k, &operand); /* the last use may take a removed one's place */
            if (user.i < s->fp.node_limit && is_view(s, user) && operand == 0) drop_unused(s, user);
        }
        used |= veer_value_use_count(s->g, v) > 0;
    }
    if (!used) veer_node_remove(s->g, n);
}

static veer_node_t node_at(const search_t *s, veer_node_t n, int64_t at) {
    for (int i = 0; i < veer_node_out_count(s->g, n); i++)
        for (uint32_t u = s->first_use[veer_node_out(s->g, n, i).i]; u; u = s->uses[u].next)
            if (s->uses[u].at == at) return s->uses[u].node;
    return VEER_NO_NODE;
}

/* With the marks of `n`. */
static veer_status_t apply(search_t *s, veer_node_t n, int64_t next) {
    bool moved = may_move(s, n, next);
    change_t c = {.b = veer_builder_before(s->g, node_at(s, n, next))};
    c.b.origins_from = VEER_NO_NODE; /* each copy has the origins of what it copies */
    c.map = veer_alloc_array(s->a, s->fp.value_limit, sizeof *c.map);
    if (!c.map) return veer_out_of_memory();
    copy_node(s, &c, n);
    for (int i = 0; i < veer_node_out_count(s->g, n); i++)
        if (!s->pinned[veer_node_out(s->g, n, i).i]) redirect(s, &c, veer_node_out(s->g, n, i), next);
    veer_free(s->a, c.map);
    VEER_TRY(veer_builder_status(&c.b));
    drop_unused(s, n);
    if (moved) s->copies--, s->moves++;
    return veer_graph_out_of_memory(s->g) ? veer_out_of_memory() : veer_ok();
}

/* ---- the search ---- */

static int by_score(const void *x, const void *y) {
    const candidate_t *a = x, *b = y;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->node.i != b->node.i) return a->node.i < b->node.i ? -1 : 1;
    return a->share - b->share;
}

static void find_candidates(search_t *s, veer_region_t region, candidate_t *list, size_t *count) {
    VEER_FOR_EACH_NODE(s->g, region, n) {
        if (veer_node_op(s->g, n) == VEER_OP_LOOP) find_candidates(s, veer_node_body(s->g, n), list, count);
        weight_t w;
        for (int share = 0; share < SHARES && can_copy(s, n); share++)
            if (weigh(s, n, share, &w)) list[(*count)++] = (candidate_t){n, w.next, w.area / w.cost, share};
    }
}

/* The best change, done; *out_done is false where none helps. What brings all nearer to the limit is taken first, then
 * what makes the peak a little narrower: copies are steps, too, so when many of them are needed the former may fail. */
static veer_status_t improve(search_t *s, bool *out_done) {
    size_t count = 0;
    candidate_t *list = veer_alloc_array(s->a, (size_t)s->fp.node_limit * SHARES, sizeof *list);
    if (!list) return veer_out_of_memory();
    find_candidates(s, veer_func_body(s->g, s->func), list, &count);
    qsort(list, count, sizeof *list, by_score);
    veer_status_t status = NULL;
    *out_done = false;
    for (size_t i = 0; i < 2 * count && !*out_done; i++) {
        weight_t w;
        const candidate_t *c = &list[i % count];
        int64_t level = i < count || s->limit >= s->peak ? s->limit : s->peak - 1;
        if (!weigh(s, c->node, c->share, &w) || !lessens(s, c->node, w.next, level)) continue;
        *out_done = true;
        status = apply(s, c->node, w.next);
    }
    clear_marks(s);
    veer_free(s->a, list);
    return status;
}

static veer_status_t arena_of(search_t *s, int64_t *out_bytes) {
    veer_residency_t fp;
    veer_status_t status = s->target->residency(s->g, s->func, true, s->a, &fp);
    if (!status) *out_bytes = (int64_t)fp.arena_bytes;
    veer_residency_deinit(&fp, s->a);
    return status;
}

/* Until the arena fits, or nothing helps; *out_arena is what it takes then. */
static veer_status_t search(search_t *s, int64_t budget, int64_t *out_arena) {
    int64_t most = 0, arena = 0;
    bool done = true;
    s->limit = budget;
    for (int64_t step = 0; done; step++) {
        VEER_TRY(survey(s));
        if (!most) most = MOST_GROWTH * (int64_t)s->fp.node_limit;
        if (s->peak <= s->limit || step > most) {
            VEER_TRY(arena_of(s, out_arena));
            if (*out_arena <= budget || step > most) return veer_ok();
            arena = s->limit - (*out_arena - budget);
            s->limit = arena < s->peak ? arena : s->peak - 1;
            VEER_TRY(survey(s));
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

static const char *name_of(const search_t *s, veer_value_t v) {
    veer_node_t def = veer_value_def(s->g, v);
    if (!def.i) return "a loop's state";
    return veer_node_origin_count(s->g, def) ? veer_node_origin(s->g, def, 0) : veer_op_name(veer_node_op(s->g, def));
}

static void name_largest(const search_t *s, veer_text_t *text) {
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
        veer_text_add(text, "%s%s of '%s'", k ? ", " : "", amount(size_of(s, (veer_value_t){best}), size),
                      name_of(s, (veer_value_t){best}));
    }
}

static veer_status_t cannot(search_t *s, int64_t budget, int64_t arena) {
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

static veer_status_t fit(search_t *s, int64_t budget) {
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
    VEER_TRY(survey(s));
    return cannot(s, budget, after);
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    const veer_fuse_target_t *target = ctx->target;
    int64_t budget = veer_pass_option(ctx, "budget");
    if (!budget || !target || !target->residency) return veer_ok();
    search_t s = {.g = g, .func = func, .ctx = ctx, .target = target, .a = veer_graph_allocator(g)};
    veer_status_t status = fit(&s, budget);
    forget(&s);
    return status;
}

const veer_pass_def_t veer_pass_recompute = {
    "recompute",
    "compute values again instead of keeping them, so that memory fits a budget",
    run,
    {{"budget", 0, "bytes that the arena may take; 0: as many as it likes"}}};
