/* Control flow that is known at import: branches with a known condition, loops with a known number of turns. Loops are
 * unrolled, so that what a turn computes from its number (slices, shapes) is known, too; a turn counts as a node, and
 * the limit on nodes bounds them. */
#include "frontend/onnx/node.h"

#include <string.h>

/* A branch whose condition is known is the branch. */
void veer_onnx_branch(veer_onnx_node_t *n) {
    const uint8_t *condition = veer_onnx_in_const(n, 0, "cond");
    if (!condition) return;
    const char *name = *condition ? "then_branch" : "else_branch";
    const VeerOnnx__AttributeProto *attr = veer_onnx_attr(n, name);
    veer_type_t type = veer_onnx_in_type(n, 0);
    if (type.dtype != VEER_DTYPE_BOOL || veer_type_count(&type) != 1 || !attr || !attr->g ||
        attr->g->n_output < (size_t)n->out_count) {
        veer_onnx_fail(n, VEER_ERR_FILE, "%s is missing or does not fit the node, or the condition is no bool", name);
        return;
    }
    const veer_value_t *values = veer_onnx_inline_graph(n, attr->g, NULL, 0);
    for (int i = 0; values && i < n->out_count; i++) n->out[i] = values[i];
}

/* ---- loops ---- */

/* What the turns left behind for one output. */
typedef struct {
    veer_value_t *values; /* scratch */
    int64_t count, capacity;
} left_t;

/* What a loop is made of: values that turns hand on, and values that each turn leaves behind. */
typedef struct {
    veer_onnx_node_t *n;
    const VeerOnnx__GraphProto *body;
    int carried, stacked;
    veer_value_t *in;  /* of the next turn; the carried ones are the last of its inputs (Loop) or the first (Scan) */
    veer_value_t *now; /* the carried ones */
    left_t left[64];
} loop_t;

enum { MAX_STACKED = 64 };

static bool init(loop_t *l, veer_onnx_node_t *n, int carried, int before) {
    const VeerOnnx__AttributeProto *attr = veer_onnx_attr(n, "body");
    *l = (loop_t){.n = n, .carried = carried};
    if (!attr || !attr->g || carried < 0 || attr->g->n_output < (size_t)(carried + before) ||
        attr->g->n_output - (size_t)(carried + before) > MAX_STACKED) {
        veer_onnx_fail(n, VEER_ERR_FILE, "body is missing, or does not hand on %d values", carried);
        return false;
    }
    l->body = attr->g;
    l->stacked = (int)attr->g->n_output - carried - before;
    l->in = veer_onnx_scratch(n, (int64_t)attr->g->n_input + carried + 2, sizeof *l->in);
    l->now = veer_onnx_scratch(n, carried, sizeof *l->now);
    return veer_onnx_ok(n);
}

static void leave(veer_onnx_node_t *n, left_t *left, veer_value_t value) {
    if (left->count == left->capacity) {
        int64_t capacity = left->capacity ? 2 * left->capacity : 16;
        veer_value_t *values = veer_onnx_scratch(n, capacity, sizeof *values);
        if (!values) return;
        if (left->count) memcpy(values, left->values, (size_t)left->count * sizeof *values);
        left->values = values;
        left->capacity = capacity;
    }
    left->values[left->count++] = value;
}

/* One turn over `count` inputs; its carried values stand at `from` in what it gives, the others behind them. Gives all
 * values, NULL after a failure. */
static const veer_value_t *turn(loop_t *l, int count, int from) {
    if (!veer_onnx_count_turn(l->n)) return NULL;
    const veer_value_t *out = veer_onnx_inline_graph(l->n, l->body, l->in, count);
    for (int i = 0; out && i < l->carried; i++) l->now[i] = out[from + i];
    for (int i = 0; out && i < l->stacked; i++) leave(l->n, &l->left[i], out[from + l->carried + i]);
    return out && veer_onnx_ok(l->n) ? out : NULL;
}

/* What the turns left, along a new axis. */
static veer_value_t stack(veer_onnx_node_t *n, veer_value_t *parts, int64_t count, int64_t axis) {
    veer_type_t type = count ? veer_onnx_type(n, parts[0]) : (veer_type_t){0}, wide = {.dtype = type.dtype};
    if (!count)
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "a loop without turns leaves a tensor of unknown shape");
    else if (type.rank == VEER_MAX_RANK)
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "more than %d dimensions", VEER_MAX_RANK);
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    int at = veer_onnx_axis(n, axis, type.rank + 1);
    wide.rank = type.rank + 1;
    for (int i = 0; i < wide.rank; i++) wide.dims[i] = i == at ? 1 : type.dims[i < at ? i : i - 1];
    for (int64_t i = 0; i < count; i++) parts[i] = veer_reshape_like(n->b, parts[i], &wide);
    return veer_concat(n->b, parts, (int)count, at);
}

static bool holds(veer_onnx_node_t *n, veer_value_t condition) {
    const uint8_t *data = veer_onnx_ok(n) ? veer_value_const_data(n->b->graph, condition) : NULL;
    if (!data && veer_onnx_ok(n))
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "input 'cond' must be known when the model is imported, in every turn");
    return data && *data;
}

/* Loop(M?, cond?, initial...): body (number, cond, carried...) gives (cond, carried..., left...) */
void veer_onnx_loop(veer_onnx_node_t *n) {
    loop_t l;
    int64_t most = INT64_MAX, number = 0;
    int carried = (int)n->proto->n_input - 2;
    if (veer_onnx_has_in(n, 0)) most = veer_onnx_in_int(n, 0, "M", 0);
    uint8_t yes = 1;
    veer_value_t go = veer_onnx_has_in(n, 1) ? n->in[1] : veer_const(n->b, VEER_SCALAR(VEER_DTYPE_BOOL), &yes);
    if (!veer_onnx_ok(n) || !init(&l, n, carried, 1)) return;
    for (int i = 0; i < carried; i++) l.now[i] = n->in[2 + i];
    while (number < most && holds(n, go)) {
        l.in[0] = veer_const_i64(n->b, number);
        l.in[1] = go;
        memcpy(l.in + 2, l.now, (size_t)carried * sizeof *l.now);
        const veer_value_t *out = turn(&l, carried + 2, 1);
        if (!out) return;
        number++;
        go = out[0];
    }
    for (int i = 0; i < n->out_count && veer_onnx_ok(n); i++) {
        if (!veer_onnx_wants(n, i)) continue;
        if (i < carried)
            n->out[i] = l.now[i];
        else if (i < carried + l.stacked)
            n->out[i] = stack(n, l.left[i - carried].values, number, 0);
    }
}

/* Entry i of a list attribute, 0 where it is absent. */
static int64_t entry(veer_onnx_node_t *n, const char *name, int i) {
    int count;
    const int64_t *values = veer_onnx_attr_ints(n, name, &count);
    return i < count ? values[i] : 0;
}

/* Element `number` of a scanned input along its axis, which leaves. */
static veer_value_t element(veer_onnx_node_t *n, veer_value_t x, int axis, int64_t number) {
    veer_type_t type = veer_onnx_type(n, x), part = {.dtype = type.dtype};
    for (int i = 0; i < type.rank; i++)
        if (i != axis) part.dims[part.rank++] = type.dims[i];
    return veer_reshape_like(n->b, veer_slice_axis(n->b, x, axis, number, 1, 1), &part);
}

/* Scan over states and scanned inputs in[0 .. states + scanned); out: final states, then what was left, stacked.
 * `directions`: the attribute that turns inputs around. */
static void scan(veer_onnx_node_t *n, const veer_value_t *in, int states, int scanned, const char *directions,
                 veer_value_t *out) {
    loop_t l;
    int axes[64];
    int64_t turns = -1;
    for (int i = 0; i < scanned && veer_onnx_ok(n); i++) {
        veer_type_t type = veer_onnx_type(n, in[states + i]);
        axes[i] = veer_onnx_axis(n, entry(n, "scan_input_axes", i), type.rank);
        if (turns >= 0 && turns != type.dims[axes[i]])
            veer_onnx_fail(n, VEER_ERR_FILE, "scanned inputs have %lld and %lld elements", (long long)turns,
                           (long long)type.dims[axes[i]]);
        turns = type.dims[axes[i]];
    }
    if (!veer_onnx_ok(n) || !init(&l, n, states, 0)) return;
    for (int i = 0; i < states; i++) l.now[i] = in[i];
    for (int64_t k = 0; k < turns; k++) {
        memcpy(l.in, l.now, (size_t)states * sizeof *l.now);
        for (int i = 0; i < scanned; i++)
            l.in[states + i] = element(n, in[states + i], axes[i], entry(n, directions, i) ? turns - 1 - k : k);
        if (!turn(&l, states + scanned, 0)) return;
    }
    for (int i = 0; i < states && i < n->out_count; i++) out[i] = l.now[i];
    for (int i = 0; i < l.stacked && states + i < n->out_count && veer_onnx_ok(n); i++) {
        for (int64_t k = 0; entry(n, "scan_output_directions", i) && k < turns / 2; k++) {
            veer_value_t *values = l.left[i].values, first = values[k];
            values[k] = values[turns - 1 - k], values[turns - 1 - k] = first;
        }
        out[states + i] = stack(n, l.left[i].values, turns, entry(n, "scan_output_axes", i));
    }
}

/* Operator set 8: the first input would hold lengths, and all others have a batch in front, whose items are scanned one
 * by one. */
static void scan_batches(veer_onnx_node_t *n, int states, int scanned) {
    veer_type_t first = veer_onnx_in_type(n, 1);
    int count = states + scanned;
    int64_t batch = first.rank ? first.dims[0] : 0;
    veer_value_t *in = veer_onnx_scratch(n, count, sizeof *in);
    if (veer_onnx_has_in(n, 0)) veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "sequence_lens is not supported");
    for (int64_t b = 0; b < batch && veer_onnx_count_turn(n); b++) {} /* before memory is asked for them */
    veer_value_t *out = veer_onnx_scratch(n, batch * n->out_count, sizeof *out);
    veer_value_t *parts = veer_onnx_scratch(n, batch, sizeof *parts);
    if (!in || !out || !parts) return;
    for (int64_t b = 0; b < batch; b++) {
        for (int i = 0; i < count; i++) {
            veer_type_t type = veer_onnx_in_type(n, 1 + i);
            if (type.rank < 1 || type.dims[0] != batch)
                veer_onnx_fail(n, VEER_ERR_FILE, "input %d has no batch of %lld", 1 + i, (long long)batch);
            if (veer_onnx_ok(n)) in[i] = element(n, n->in[1 + i], 0, b);
        }
        scan(n, in, states, scanned, "directions", out + b * n->out_count);
        if (!veer_onnx_ok(n) || n->failed) return;
    }
    for (int i = 0; i < n->out_count; i++) {
        for (int64_t b = 0; b < batch; b++) parts[b] = out[b * n->out_count + i];
        n->out[i] = stack(n, parts, batch, 0);
    }
}

void veer_onnx_scan(veer_onnx_node_t *n) {
    int skip = n->opset < 9 ? 1 : 0, most = n->in_count - skip;
    int64_t given = veer_onnx_attr_int(n, "num_scan_inputs", 0);
    if (given < 1 || given > MAX_STACKED || given > most) {
        veer_onnx_fail(n, VEER_ERR_FILE, "num_scan_inputs is %lld of %d inputs", (long long)given, n->in_count);
        return;
    }
    int scanned = (int)given, states = most - scanned;
    for (int i = skip; i < n->in_count; i++)
        if (!n->in[i].i) veer_onnx_fail(n, VEER_ERR_FILE, "input %d is missing", i);
    if (!veer_onnx_ok(n)) return;
    if (skip)
        scan_batches(n, states, scanned);
    else
        scan(n, n->in, states, scanned, "scan_input_directions", n->out);
}
