/* strands -- two models side by side, each for threads of its own.
 *
 *     %x = ...  %a = conv %x  %c = conv %x  %b = conv %a  %d = conv %c  %y = fused (%b, %d, %x)
 * becomes
 *     %x = ...  %a = conv %x strand 1  %b = conv %a strand 1  %c = conv %x strand 2  %d = conv %c strand 2
 *     %y = fused (%b, %d, %x)
 *
 * Layers that take some tens of microseconds lose a sixth of their speed when two cores share them: both read all
 * weights, and each finds in the other's cache what that one wrote. A core for each of two models loses nothing.
 * Denoiser and classifier, which both look at x_t, are the case that this is for.
 *
 *  1. For a node with operands p and q: what p needs and q does not, and the other way round. No node of the one set
 *     needs one of the other, for then q (p) would need it as well. Of all such pairs the one whose smaller set has
 *     most to do is taken, in one region of the function. What both need comes first.
 *  2. What else needs nothing but strand 1 and what comes first belongs to it as well (a carried value that only the
 *     denoiser makes); likewise strand 2.
 *
 * Valid: any order in which definitions come before uses, and strands that take nothing of each other. Declines: less
 * than `least_us`, or than `least_percent` of the region, to do in the shorter strand; regions with loops inside, or of
 * more than 4096 nodes. Memory that would have served one after the other is taken twice: see veer_fit_budget. */
#include "ir/flops.h"
#include "passes/pass.h"

#include <string.h>

enum { MOST_NODES = 4096, MOST_OPERANDS = 16 };

typedef struct survey_s {
    const veer_graph_t *g;
    veer_node_t *nodes; /* in order */
    double *work;       /* nanoseconds of one core, roughly */
    double *behind;     /* of all that it needs */
    uint64_t *needs;    /* of node i: words [i * row, (i + 1) * row); itself included */
    int *at;            /* by node id; -1: of another region */
    int count, row;
} survey_t;

typedef struct pair_s {
    int p, q;    /* -1: none */
    double work; /* of the shorter strand */
} pair_t;

/* ---- one region ---- */

static bool has(const uint64_t *set, int i) {
    return set[i / 64] >> i % 64 & 1;
}
static const uint64_t *needs_of(const survey_t *s, int i) {
    return s->needs + (ptrdiff_t)i * s->row;
}

/* What `p` needs and `q` does not; -1: who needs nothing. */
static double apart(const survey_t *s, int p, int q) {
    double work = 0;
    for (int w = 0; w < s->row; w++)
        for (uint64_t set = needs_of(s, p)[w] & (q < 0 ? ~(uint64_t)0 : ~needs_of(s, q)[w]); set; set &= set - 1)
            work += s->work[64 * w + __builtin_ctzll(set)];
    return work;
}

/* 150 operations and 6 bytes a nanosecond: what kernels reach on one core. */
static double work_of(const veer_graph_t *g, veer_node_t n) {
    veer_op_t op = veer_node_op(g, n);
    if (veer_op_may_be_view(op) || op == VEER_OP_CONST || veer_op_has(op, VEER_TERMINATOR)) return 0;
    return veer_node_flops(g, n) / 150 + veer_node_bytes(g, n) / 6;
}

static int def_at(const survey_t *s, veer_node_t n, int operand) {
    veer_value_t v = veer_node_in(s->g, n, operand);
    veer_node_t def = v.i ? veer_value_def(s->g, v) : VEER_NO_NODE;
    return def.i ? s->at[def.i] : -1;
}

static bool is_simple(const veer_graph_t *g, veer_region_t region, int *out_count) {
    *out_count = 0;
    VEER_FOR_EACH_NODE(g, region, n) {
        if (veer_node_op(g, n) == VEER_OP_LOOP || ++*out_count > MOST_NODES) return false;
    }
    return true;
}

/* Terminators included: they join. `at`: -1 everywhere. */
static veer_status_t survey(const veer_graph_t *g, veer_region_t region, int count, int *at, veer_arena_t *a,
                            survey_t *out) {
    *out = (survey_t){.g = g, .row = count / 64 + 1, .at = at};
    out->nodes = veer_arena_array(a, (size_t)count + 1, sizeof *out->nodes);
    out->work = veer_arena_array(a, (size_t)count + 1, sizeof *out->work);
    out->behind = veer_arena_array(a, (size_t)count + 1, sizeof *out->behind);
    out->needs = veer_arena_array(a, (size_t)count * (size_t)out->row + 1, sizeof *out->needs);
    if (!out->nodes || !out->work || !out->behind || !out->needs) return veer_out_of_memory();
    VEER_FOR_EACH_NODE(g, region, n) {
        int me = out->count++;
        uint64_t *needs = out->needs + (ptrdiff_t)me * out->row;
        out->nodes[me] = n, out->at[n.i] = me;
        out->work[me] = work_of(g, n);
        needs[me / 64] |= (uint64_t)1 << me % 64;
        for (int i = 0; i < veer_node_in_count(g, n); i++) {
            int def = def_at(out, n, i);
            for (int k = 0; def >= 0 && k < out->row; k++) needs[k] |= needs_of(out, def)[k];
        }
        out->behind[me] = apart(out, me, -1);
    }
    return veer_ok();
}

static void try_pair(const survey_t *s, double least, int p, int q, pair_t *best) {
    if (s->behind[p] <= best->work || s->behind[q] <= best->work) return;
    double a = apart(s, p, q), b = apart(s, q, p), shorter = a < b ? a : b;
    if (shorter >= least && shorter > best->work) *best = (pair_t){p, q, shorter};
}

/* The operands of node j behind which there is enough for a strand, in the order of the nodes; returns their number. */
static int candidates(const survey_t *s, double least, int j, int out[MOST_OPERANDS]) {
    int count = 0;
    for (int i = 0; i < veer_node_in_count(s->g, s->nodes[j]) && count < MOST_OPERANDS; i++) {
        int def = def_at(s, s->nodes[j], i), at = count;
        if (def < 0 || s->behind[def] < least) continue;
        while (at > 0 && out[at - 1] > def) out[at] = out[at - 1], at--;
        out[at] = def;
        count++;
    }
    return count;
}

static pair_t best_pair(const survey_t *s, double least) {
    pair_t best = {-1, -1, 0};
    int operands[MOST_OPERANDS];
    for (int j = 0; j < s->count; j++) {
        int count = candidates(s, least, j, operands);
        for (int i = 0; i < count; i++)
            for (int k = 0; k < i; k++)
                if (operands[k] < operands[i]) try_pair(s, least, operands[k], operands[i], &best);
    }
    return best;
}

/* ---- the order ---- */

enum { FIRST = 0, STRAND_1 = 1, STRAND_2 = 2, LAST = 3 };

static int place_of(const survey_t *s, const pair_t *pair, const unsigned char *places, int i) {
    bool p = has(needs_of(s, pair->p), i), q = has(needs_of(s, pair->q), i);
    if (p || q) return p && q ? FIRST : p ? STRAND_1 : STRAND_2;
    int seen = 0; /* STRAND_1 | STRAND_2 == LAST */
    for (int k = 0; k < veer_node_in_count(s->g, s->nodes[i]); k++) {
        int def = def_at(s, s->nodes[i], k);
        if (def >= 0) seen |= places[def];
    }
    return seen == FIRST ? LAST : seen;
}

static veer_status_t arrange(veer_graph_t *g, veer_region_t region, const survey_t *s, const pair_t *pair,
                             veer_pass_ctx_t *ctx) {
    veer_node_t end = veer_region_terminator(g, region);
    unsigned char *places = veer_arena_array(&ctx->scratch, (size_t)s->count + 1, sizeof *places);
    if (!places) return veer_out_of_memory();
    for (int i = 0; i < s->count; i++) places[i] = (unsigned char)place_of(s, pair, places, i);
    for (int place = FIRST; place <= LAST; place++)
        for (int i = 0; i < s->count; i++) {
            if (places[i] != place || veer_node_eq(s->nodes[i], end)) continue;
            veer_node_move_before(g, s->nodes[i], end);
            if (place == FIRST || place == LAST) continue;
            veer_node_set_strand(g, s->nodes[i], place);
            veer_pass_count(ctx, place == STRAND_1 ? "in strand 1" : "in strand 2");
        }
    return veer_ok();
}

/* ---- all regions ---- */

typedef struct search_s {
    veer_pass_ctx_t *ctx;
    int *at;     /* by node id: -1 */
    pair_t best; /* so far */
    veer_region_t region;
} search_t;

static double least_of(const survey_t *s, const veer_pass_ctx_t *ctx) {
    double all = 0, least = 1e3 * (double)veer_pass_option(ctx, "least_us");
    for (int i = 0; i < s->count; i++) all += s->work[i];
    double part = all * (double)veer_pass_option(ctx, "least_percent") / 100;
    return part > least ? part : least;
}

static veer_status_t look_at(const veer_graph_t *g, veer_region_t region, int count, search_t *s) {
    survey_t here;
    VEER_TRY(survey(g, region, count, s->at, &s->ctx->scratch, &here));
    pair_t pair = best_pair(&here, least_of(&here, s->ctx));
    if (pair.work > s->best.work) s->best = pair, s->region = region;
    for (int i = 0; i < here.count; i++) s->at[here.nodes[i].i] = -1;
    return veer_ok();
}

static veer_status_t search(const veer_graph_t *g, veer_region_t region, search_t *s) {
    int count;
    if (is_simple(g, region, &count)) return look_at(g, region, count, s);
    VEER_FOR_EACH_NODE(g, region, n)
    if (veer_node_op(g, n) == VEER_OP_LOOP) VEER_TRY(search(g, veer_node_body(g, n), s));
    return veer_ok();
}

static veer_status_t run_strands(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    uint32_t limit = veer_graph_node_limit(g);
    int count;
    search_t s = {.ctx = ctx};
    s.at = veer_arena_array(&ctx->scratch, limit, sizeof *s.at);
    if (!s.at) return veer_out_of_memory();
    for (uint32_t i = 0; i < limit; i++) s.at[i] = -1;
    VEER_TRY(search(g, veer_func_body(g, func), &s));
    if (!(s.best.work > 0) || !is_simple(g, s.region, &count)) return veer_ok();
    survey_t here;
    VEER_TRY(survey(g, s.region, count, s.at, &ctx->scratch, &here));
    return arrange(g, s.region, &here, &s.best, ctx);
}

const veer_pass_def_t veer_pass_strands = {
    .name = "strands",
    .summary = "two models side by side, each for threads of its own",
    .run = run_strands,
    .options = {{"least_us", 50, "what the shorter strand has to do at least, in microseconds of one core"},
                {"least_percent", 5, "and of all that there is to do"}}};
