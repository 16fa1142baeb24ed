/* Moves work out of loops (ARCHITECTURE.md, "One program").
 *
 *   - What depends on nothing of the loop (the condition, constants too large to fold) is moved in front of it: once
 * per run.
 *   - What depends on the iteration only, through rows of step tables, is computed in front of the loop for all
 * iterations at once, as one batch with the iteration in front, and the loop reads its row:
 *
 *     loop (...) {trip = 50} (%i, ...) {                     %e = ... for all 50 steps: f32[50,192]
 *       %t = step_slice %steps, %i : f32[]                   loop (...) {trip = 50} (%i, ...) {
 *       %e = ... %t : f32[192]                         =>      %p = step_slice %e, %i : f32[192]
 *
 * A U-Net's time embedding and the projections of it in every block leave the loop this way: dozens of products with
 * one row become as many with `trip` rows. Compile time does not depend on the number of steps: tables are computed in
 * the run, and later passes do not fold them. A broadcast stays in the loop: its table would hold every number many
 * times. Declines: nodes without a batched form (passes/batch.c), noise (a table
 * of it would be as large as the run), and tables larger than MOST_TABLE_BYTES.
 */
#include "passes/batch.h"
#include "passes/pass.h"

enum { MOST_TABLE_BYTES = 256 << 20 };

typedef enum kind_e { IN_LOOP, INVARIANT, STEP_ONLY } kind_t;

typedef struct hoist_s {
    veer_graph_t *g;
    veer_pass_ctx_t *ctx;
    veer_node_t loop;
    veer_region_t body;
    int64_t trip;
    uint8_t *kind;       /* by value id, of values defined in the body */
    veer_value_t *table; /* by value id: [trip, ...] of a step-only value */
    uint32_t limit;      /* ids from here on are new and lie outside the body */
} hoist_t;

static bool defined_in_body(const hoist_t *h, veer_value_t v) {
    return v.i < h->limit && veer_value_region(h->g, v).i == h->body.i;
}

static kind_t kind_of(const hoist_t *h, veer_value_t v) {
    return !v.i || !defined_in_body(h, v) ? INVARIANT : (kind_t)h->kind[v.i];
}

static bool table_fits(const hoist_t *h, veer_value_t v) {
    size_t bytes;
    return veer_size_mul(veer_type_bytes(veer_value_type(h->g, v)), (size_t)h->trip, &bytes) &&
           bytes <= MOST_TABLE_BYTES;
}

/* A row of a constant table, by this loop's own counter. Tables that the caller gives (noise) stay where they are: what
 * is made of their rows would be as large as they are. */
static bool own_table(const hoist_t *h, veer_node_t n) {
    veer_value_t table = veer_node_in(h->g, n, 0);
    return veer_value_eq(veer_node_in(h->g, n, 1), veer_region_arg(h->g, h->body, 0)) &&
           veer_value_def(h->g, table).i && kind_of(h, table) == INVARIANT;
}

static kind_t classify(const hoist_t *h, veer_node_t n) {
    veer_op_t op = veer_node_op(h->g, n);
    if (!veer_op_has(op, VEER_PURE) || veer_op_has(op, VEER_TERMINATOR)) return IN_LOOP;
    bool step = false, batched[VEER_OP_MAX_OPERANDS] = {false};
    int count = veer_node_in_count(h->g, n);
    for (int i = 0; i < count; i++) {
        kind_t k = kind_of(h, veer_node_in(h->g, n, i));
        if (k == IN_LOOP) return IN_LOOP;
        step |= k == STEP_ONLY;
        if (i < VEER_OP_MAX_OPERANDS) batched[i] = k == STEP_ONLY;
    }
    if (veer_op_has(op, VEER_REGION)) return IN_LOOP; /* its body may read what the operands do not show */
    if (!step) return INVARIANT;
    if (op == VEER_OP_STEP_SLICE) return own_table(h, n) ? STEP_ONLY : IN_LOOP;
    bool fits = veer_node_out_count(h->g, n) == 1 && table_fits(h, veer_node_out(h->g, n, 0));
    return fits && veer_batch_supports(h->g, n, batched) ? STEP_ONLY : IN_LOOP;
}

/* The counter itself as a table: 0, 1, ..., trip - 1. */
static veer_value_t counter_table(hoist_t *h, veer_builder_t *b) {
    int64_t *values = veer_arena_array(veer_graph_arena(h->g), (size_t)h->trip, sizeof *values);
    if (!values) return VEER_NO_VALUE;
    for (int64_t i = 0; i < h->trip; i++) values[i] = i;
    return veer_const_view(b, VEER_TYPE(VEER_DTYPE_I64, h->trip), values, NULL);
}

static veer_value_t batched_operand(hoist_t *h, veer_builder_t *b, veer_value_t v) {
    if (h->table[v.i].i || !veer_value_eq(v, veer_region_arg(h->g, h->body, 0))) return h->table[v.i];
    return h->table[v.i] = counter_table(h, b);
}

static void make_table(hoist_t *h, veer_builder_t *b, veer_node_t n) {
    veer_value_t out = veer_node_out(h->g, n, 0);
    if (veer_node_op(h->g, n) == VEER_OP_STEP_SLICE) {
        veer_value_t table = veer_node_in(h->g, n, 0);
        h->table[out.i] = veer_slice_axis(b, table, 0, 0, h->trip, 1);
        return;
    }
    int count = veer_node_in_count(h->g, n);
    veer_value_t *in = veer_arena_array(veer_graph_arena(h->g), (size_t)count, sizeof *in);
    bool *batched = veer_arena_array(veer_graph_arena(h->g), (size_t)count, sizeof *batched);
    if (!in || !batched) return; /* the arena remembers */
    for (int i = 0; i < count; i++) {
        veer_value_t v = veer_node_in(h->g, n, i);
        batched[i] = v.i && kind_of(h, v) == STEP_ONLY;
        in[i] = batched[i] ? batched_operand(h, b, v) : v;
    }
    b->origins_from = n;
    h->table[out.i] = veer_batch_node(b, n, in, batched, h->trip);
}

/* A reader whose own table was made from this one's. */
static bool is_hoisted(const hoist_t *h, veer_node_t user) {
    return veer_node_region(h->g, user).i == h->body.i && veer_node_out_count(h->g, user) == 1 &&
           kind_of(h, veer_node_out(h->g, user, 0)) == STEP_ONLY;
}

static bool has_reader_in_loop(const hoist_t *h, veer_value_t v) {
    for (int i = 0; i < veer_value_use_count(h->g, v); i++)
        if (!is_hoisted(h, veer_value_use(h->g, v, i, NULL))) return true;
    return false;
}

/* Nodes of the body that a step-only value feeds and that stay there read their row. A row of a table that was there
 * before gains nothing. */
static veer_status_t read_rows(hoist_t *h, veer_node_t n) {
    if (veer_node_op(h->g, n) == VEER_OP_STEP_SLICE) return veer_ok();
    veer_value_t out = veer_node_out(h->g, n, 0), row = VEER_NO_VALUE;
    for (int i = veer_value_use_count(h->g, out); i-- > 0;) {
        int operand;
        veer_node_t user = veer_value_use(h->g, out, i, &operand);
        if (is_hoisted(h, user)) continue;
        if (!row.i) {
            veer_builder_t b = veer_builder_before(h->g, n);
            row = veer_step_slice(&b, h->table[out.i], veer_region_arg(h->g, h->body, 0));
            VEER_TRY(veer_builder_status(&b));
            veer_pass_count(h->ctx, "tables");
        }
        veer_node_set_in(h->g, user, operand, row);
    }
    return veer_ok();
}

/* Last to first: a broadcast that the loop reads stays there, and is then itself a reader of its operand's row. */
static veer_status_t read_all_rows(hoist_t *h) {
    for (veer_node_t n = veer_region_last(h->g, h->body), prev; n.i; n = prev) {
        prev = veer_node_prev(h->g, n);
        if (veer_node_out_count(h->g, n) != 1 || kind_of(h, veer_node_out(h->g, n, 0)) != STEP_ONLY) continue;
        veer_value_t out = veer_node_out(h->g, n, 0);
        if (veer_node_op(h->g, n) == VEER_OP_BROADCAST && has_reader_in_loop(h, out))
            h->kind[out.i] = IN_LOOP;
        else
            VEER_TRY(read_rows(h, n));
    }
    return veer_ok();
}

static void remove_dead(hoist_t *h) {
    for (veer_node_t n = veer_region_last(h->g, h->body), prev; n.i; n = prev) {
        prev = veer_node_prev(h->g, n);
        bool used = veer_op_has(veer_node_op(h->g, n), VEER_TERMINATOR);
        for (int i = 0; i < veer_node_out_count(h->g, n); i++)
            used |= veer_value_use_count(h->g, veer_node_out(h->g, n, i)) > 0;
        if (used || veer_node_out_count(h->g, n) != 1 || kind_of(h, veer_node_out(h->g, n, 0)) != STEP_ONLY) continue;
        veer_node_remove(h->g, n);
        veer_pass_count(h->ctx, "step-only nodes");
    }
}

static veer_status_t hoist_loop(veer_graph_t *g, veer_node_t loop, veer_pass_ctx_t *ctx) {
    hoist_t h = {.g = g,
                 .ctx = ctx,
                 .loop = loop,
                 .body = veer_node_body(g, loop),
                 .trip = veer_node_int(g, loop, "trip"),
                 .limit = veer_graph_value_limit(g)};
    veer_arena_t *scratch = &ctx->scratch;
    h.kind = veer_arena_array(scratch, h.limit, sizeof *h.kind);
    h.table = veer_arena_array(scratch, h.limit, sizeof *h.table);
    if (!h.kind || !h.table) return veer_out_of_memory();
    h.kind[veer_region_arg(g, h.body, 0).i] = STEP_ONLY;
    veer_builder_t b = veer_builder_before(g, loop);
    VEER_FOR_EACH_NODE(g, h.body, n) {
        kind_t k = classify(&h, n);
        for (int i = 0; i < veer_node_out_count(g, n); i++) h.kind[veer_node_out(g, n, i).i] = (uint8_t)k;
        if (k == INVARIANT) {
            veer_node_move_before(g, n, loop);
            if (veer_node_op(g, n) != VEER_OP_CONST) veer_pass_count(ctx, "invariant nodes");
        } else if (k == STEP_ONLY) {
            make_table(&h, &b, n);
            VEER_TRY(veer_builder_status(&b));
        }
    }
    VEER_TRY(read_all_rows(&h));
    remove_dead(&h);
    return veer_ok();
}

static veer_status_t hoist_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    VEER_FOR_EACH_NODE(g, region, n) {
        if (veer_node_op(g, n) != VEER_OP_LOOP) continue;
        VEER_TRY(
            hoist_region(g, veer_node_body(g, n), ctx)); /* inner loops first: what leaves them may leave this one */
        VEER_TRY(hoist_loop(g, n, ctx));
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return hoist_region(g, veer_func_body(g, func), ctx);
}

const veer_pass_def_t veer_pass_hoist = {
    "hoist", "move what does not change, or changes with the step only, out of loops", run, {{0}}};
