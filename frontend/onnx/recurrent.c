/* RNN, GRU, LSTM, unrolled over time.
 *
 * x is [T, B, I]; per direction W [gates * H, I], R [gates * H, H] and bias [2 * gates * H]. What the input gives to
 * the gates is one product for all steps; each step adds what the state gives. A sequence shorter than T keeps its
 * state and gives zeros from its end on; the backward direction then begins there by itself, as the state stays the
 * initial one until then. */
#include "frontend/onnx/node.h"

#include <string.h>

enum { MAX_STEPS = 4096, MAX_GATES = 4, MAX_FUNCTIONS = 3 };

typedef struct {
    char name[24];
    double alpha, beta;
} function_t;

typedef struct {
    veer_onnx_node_t *n;
    veer_type_t x; /* [T, B, I] */
    int64_t steps, batch, hidden;
    int gates, directions, functions; /* functions: per direction */
    bool first_backward, batch_first;
    double clip; /* 0: none */
    veer_value_t in, lens;
    function_t f[2 * MAX_FUNCTIONS];
} net_t;

/* One direction's own. */
typedef struct {
    const function_t *f;
    veer_value_t w, r, bias_w, bias_r; /* bias: [gates * H], may be absent */
    veer_value_t from_input;           /* [T, B, gates * H], bias_w added */
    veer_value_t peepholes[3];         /* LSTM's P: [H] each, may be absent */
    veer_value_t h, c;                 /* [B, H] */
} direction_t;

/* ---- activations ---- */

static const struct {
    const char *name;
    double alpha, beta; /* where not given */
} known[] = {{"Sigmoid", 0, 0},      {"Tanh", 0, 0},
             {"Relu", 0, 0},         {"Affine", 1, 0},
             {"LeakyRelu", 0.01, 0}, {"ThresholdedRelu", 1, 0},
             {"ScaledTanh", 1, 1},   {"HardSigmoid", 0.2, 0.5},
             {"Elu", 1, 0},          {"Softsign", 0, 0},
             {"Softplus", 0, 0}};
enum { KNOWN_COUNT = (int)(sizeof known / sizeof *known) };

static veer_value_t number(const net_t *s, double value) {
    return veer_const_scalar(s->n->b, s->x.dtype, value);
}

static veer_value_t apply(const net_t *s, const function_t *f, veer_value_t x) {
    veer_builder_t *b = s->n->b;
    if (s->clip > 0) x = veer_min(b, veer_max(b, x, number(s, -s->clip)), number(s, s->clip));
    if (!strcmp(f->name, "Sigmoid")) return veer_sigmoid(b, x);
    if (!strcmp(f->name, "Tanh")) return veer_tanh(b, x);
    if (!strcmp(f->name, "Relu")) return veer_relu(b, x);
    if (!strcmp(f->name, "Softplus")) return veer_softplus(b, x);
    if (!strcmp(f->name, "Softsign")) return veer_div(b, x, veer_add_c(b, veer_abs(b, x), 1));
    if (!strcmp(f->name, "ScaledTanh")) return veer_mul_c(b, veer_tanh(b, veer_mul_c(b, x, f->beta)), f->alpha);
    veer_value_t zero = number(s, 0), line = veer_add_c(b, veer_mul_c(b, x, f->alpha), f->beta);
    if (!strcmp(f->name, "Affine")) return line;
    if (!strcmp(f->name, "HardSigmoid")) return veer_min(b, veer_max(b, line, zero), number(s, 1));
    if (!strcmp(f->name, "ThresholdedRelu")) return veer_where(b, veer_less(b, x, number(s, f->alpha)), zero, x);
    veer_value_t low = veer_mul_c(b, x, f->alpha); /* LeakyRelu, or Elu */
    if (!strcmp(f->name, "Elu")) low = veer_mul_c(b, veer_add_c(b, veer_exp(b, veer_min(b, x, zero)), -1), f->alpha);
    return veer_where(b, veer_less(b, x, zero), low, x);
}

/* Names as given or the op's own; alphas and betas are lists for all functions in order. */
static void read_functions(net_t *s, const char *const *standard) {
    veer_onnx_node_t *n = s->n;
    int alphas, betas;
    const VeerOnnx__AttributeProto *names = veer_onnx_attr(n, "activations");
    const float *alpha = veer_onnx_attr_floats(n, "activation_alpha", &alphas);
    const float *beta = veer_onnx_attr_floats(n, "activation_beta", &betas);
    int expected = s->functions * s->directions;
    if (names && names->n_strings && names->n_strings != (size_t)expected)
        veer_onnx_fail(n, VEER_ERR_FILE, "%zu activations, expected %d", names->n_strings, expected);
    for (int i = 0; i < expected && veer_onnx_ok(n); i++) {
        const char *name = standard[i % s->functions];
        size_t length = strlen(name), k = 0;
        if (names && names->n_strings) name = (const char *)names->strings[i].data, length = names->strings[i].len;
        while (k < KNOWN_COUNT && (strlen(known[k].name) != length || strncmp(known[k].name, name, length) != 0)) k++;
        if (k == KNOWN_COUNT) {
            veer_onnx_fail(n, VEER_ERR_FILE, "activation '%.*s' is not one of the standard's", (int)length, name);
            return;
        }
        strcpy(s->f[i].name, known[k].name);
        s->f[i].alpha = i < alphas ? (double)alpha[i] : known[k].alpha;
        s->f[i].beta = i < betas ? (double)beta[i] : known[k].beta;
    }
}

/* ---- operands ---- */

/* Slice d of an operand [directions, ...], which may be absent. With batch_first states are [B, D, H]. */
static veer_value_t of_direction(const net_t *s, int i, int d, bool state) {
    if (!veer_onnx_has_in(s->n, i)) return VEER_NO_VALUE;
    veer_type_t type = veer_onnx_in_type(s->n, i), part = {.dtype = type.dtype};
    int axis = state && s->batch_first ? 1 : 0;
    if (axis >= type.rank || type.dims[axis] != s->directions) {
        veer_onnx_fail(s->n, VEER_ERR_FILE, "input %d does not have %d directions", i, s->directions);
        return VEER_NO_VALUE;
    }
    for (int k = 0; k < type.rank; k++)
        if (k != axis) part.dims[part.rank++] = type.dims[k];
    return veer_reshape_like(s->n->b, veer_slice_axis(s->n->b, s->n->in[i], axis, d, 1, 1), &part);
}

static bool has_shape(const net_t *s, veer_value_t v, int64_t rows, int64_t columns, const char *what) {
    veer_type_t type = veer_onnx_type(s->n, v), want = VEER_TYPE(type.dtype, rows, columns);
    if (!rows) want = VEER_TYPE(type.dtype, columns);
    if (!v.i || !veer_onnx_ok(s->n) || veer_type_same_shape(&type, &want)) return veer_onnx_ok(s->n);
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    veer_onnx_fail(s->n, VEER_ERR_FILE, "%s is %s for each direction, expected %s", what, veer_type_text(&type, a),
                   veer_type_text(&want, b));
    return false;
}

static bool read_direction(const net_t *s, int d, bool has_cell, direction_t *o) {
    veer_builder_t *b = s->n->b;
    int64_t width = s->gates * s->hidden;
    veer_type_t state = VEER_TYPE(s->x.dtype, s->batch, s->hidden);
    *o = (direction_t){
        .f = s->f + d * s->functions, .w = of_direction(s, 1, d, false), .r = of_direction(s, 2, d, false)};
    veer_value_t bias = of_direction(s, 3, d, false), p = has_cell ? of_direction(s, 7, d, false) : VEER_NO_VALUE;
    o->h = veer_onnx_has_in(s->n, 5) ? of_direction(s, 5, d, true) : veer_zeros(b, state);
    if (has_cell) o->c = veer_onnx_has_in(s->n, 6) ? of_direction(s, 6, d, true) : veer_zeros(b, state);
    if (!has_shape(s, o->w, width, s->x.dims[2], "W") || !has_shape(s, o->r, width, s->hidden, "R") ||
        !has_shape(s, bias, 0, 2 * width, "B") || !has_shape(s, o->h, s->batch, s->hidden, "initial_h") ||
        !has_shape(s, o->c, s->batch, s->hidden, "initial_c") || !has_shape(s, p, 0, 3 * s->hidden, "P"))
        return false;
    veer_value_t flat = veer_reshape(b, s->in, VEER_DIMS(s->steps * s->batch, s->x.dims[2]));
    veer_value_t gates = veer_matmul(b, flat, o->w, false, true);
    if (bias.i) gates = veer_add(b, gates, veer_slice_axis(b, bias, 0, 0, width, 1));
    if (bias.i) o->bias_r = veer_slice_axis(b, bias, 0, width, width, 1);
    o->from_input = veer_reshape(b, gates, VEER_DIMS(s->steps, s->batch, width));
    for (int i = 0; i < 3 && p.i; i++) o->peepholes[i] = veer_slice_axis(b, p, 0, i * s->hidden, s->hidden, 1);
    return veer_onnx_ok(s->n);
}

static bool read_net(veer_onnx_node_t *n, int gates, int functions, const char *const *standard, net_t *s) {
    const char *direction = veer_onnx_attr_string(n, "direction", "forward");
    veer_type_t x = veer_onnx_in_type(n, 0), r = veer_onnx_in_type(n, 2);
    *s = (net_t){.n = n, .x = x, .gates = gates, .functions = functions, .in = n->in[0], .directions = 1};
    if (!veer_onnx_ok(n)) return false;
    if (x.rank != 3 || r.rank != 3) {
        veer_onnx_fail(n, VEER_ERR_FILE, "X and R have %d and %d dims, expected 3", x.rank, r.rank);
        return false;
    }
    s->batch_first = veer_onnx_attr_int(n, "layout", 0) != 0;
    s->clip = veer_onnx_attr_float(n, "clip", 0);
    s->first_backward = !strcmp(direction, "reverse");
    if (!strcmp(direction, "bidirectional")) s->directions = 2;
    if (s->batch_first) s->in = veer_transpose(n->b, s->in, (int64_t[]){1, 0, 2});
    s->x = veer_onnx_type(n, s->in);
    s->steps = s->x.dims[0], s->batch = s->x.dims[1], s->hidden = r.dims[2];
    if (s->steps < 1 || s->steps > MAX_STEPS)
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "%lld steps, 1 to %d are supported", (long long)s->steps, MAX_STEPS);
    if (veer_onnx_has_in(n, 4))
        s->lens = veer_reshape(n->b, veer_cast(n->b, n->in[4], VEER_DTYPE_I64), VEER_DIMS(s->batch, 1));
    read_functions(s, standard);
    return veer_onnx_ok(n);
}

/* ---- cells: gates of step t from the input [B, gates * H] to the next state ---- */

static veer_value_t gate(const net_t *s, veer_value_t all, int i) {
    return veer_slice_axis(s->n->b, all, 1, i * s->hidden, s->hidden, 1);
}

static veer_value_t from_state(const net_t *s, const direction_t *o, veer_value_t h) {
    veer_value_t y = veer_matmul(s->n->b, h, o->r, false, true);
    return o->bias_r.i ? veer_add(s->n->b, y, o->bias_r) : y;
}

typedef void (*cell_t)(const net_t *s, const direction_t *o, veer_value_t x, veer_value_t *h, veer_value_t *c);

/* h' = f(x + R h) */
static void rnn_cell(const net_t *s, const direction_t *o, veer_value_t x, veer_value_t *h, veer_value_t *c) {
    (void)c;
    *h = apply(s, &o->f[0], veer_add(s->n->b, x, from_state(s, o, *h)));
}

/* z, r = f(.), k = g(x_k + R_k (r h)) or g(x_k + r (R_k h)), h' = (1 - z) k + z h */
static void gru_cell(const net_t *s, const direction_t *o, veer_value_t x, veer_value_t *h, veer_value_t *c) {
    veer_builder_t *b = s->n->b;
    veer_value_t all = from_state(s, o, *h), state = gate(s, all, 2);
    veer_value_t z = apply(s, &o->f[0], veer_add(b, gate(s, x, 0), gate(s, all, 0)));
    veer_value_t r = apply(s, &o->f[0], veer_add(b, gate(s, x, 1), gate(s, all, 1)));
    (void)c;
    if (veer_onnx_attr_int(s->n, "linear_before_reset", 0)) {
        state = veer_mul(b, r, state);
    } else {
        veer_value_t own = veer_slice_axis(b, o->r, 0, 2 * s->hidden, s->hidden, 1);
        state = veer_matmul(b, veer_mul(b, r, *h), own, false, true);
        if (o->bias_r.i) state = veer_add(b, state, veer_slice_axis(b, o->bias_r, 0, 2 * s->hidden, s->hidden, 1));
    }
    veer_value_t k = apply(s, &o->f[1], veer_add(b, gate(s, x, 2), state));
    *h = veer_add(b, veer_mul(b, veer_rsub_c(b, z, 1), k), veer_mul(b, z, *h));
}

static veer_value_t peep(const net_t *s, const direction_t *o, int i, veer_value_t x, veer_value_t c) {
    return o->peepholes[i].i ? veer_add(s->n->b, x, veer_mul(s->n->b, o->peepholes[i], c)) : x;
}

/* i, o, f = f(.), k = g(.), c' = f c + i k, h' = o h(c'); the gates stand in the order i o f k */
static void lstm_cell(const net_t *s, const direction_t *o, veer_value_t x, veer_value_t *h, veer_value_t *c) {
    veer_builder_t *b = s->n->b;
    veer_value_t all = veer_add(b, x, from_state(s, o, *h));
    veer_value_t in = apply(s, &o->f[0], peep(s, o, 0, gate(s, all, 0), *c));
    veer_value_t forget = apply(s, &o->f[0], peep(s, o, 2, gate(s, all, 2), *c));
    if (veer_onnx_attr_int(s->n, "input_forget", 0)) forget = veer_rsub_c(b, in, 1);
    veer_value_t k = apply(s, &o->f[1], gate(s, all, 3));
    *c = veer_add(b, veer_mul(b, forget, *c), veer_mul(b, in, k));
    veer_value_t out = apply(s, &o->f[0], peep(s, o, 1, gate(s, all, 1), *c));
    *h = veer_mul(b, out, apply(s, &o->f[2], *c));
}

/* ---- time ---- */

/* Gives y [T, 1, B, H] and leaves the last states in o. */
static veer_value_t run(const net_t *s, direction_t *o, cell_t cell, bool backward) {
    veer_builder_t *b = s->n->b;
    veer_value_t *y = veer_onnx_scratch(s->n, s->steps, sizeof *y);
    int64_t width = s->gates * s->hidden;
    for (int64_t k = 0; y && k < s->steps && veer_onnx_ok(s->n); k++) {
        int64_t t = backward ? s->steps - 1 - k : k;
        veer_value_t x = veer_reshape(b, veer_slice_axis(b, o->from_input, 0, t, 1, 1), VEER_DIMS(s->batch, width));
        veer_value_t h = o->h, c = o->c, out;
        cell(s, o, x, &h, &c);
        out = h;
        if (s->lens.i) {
            veer_value_t inside = veer_less(b, veer_const_i64(b, t), s->lens);
            out = veer_where(b, inside, h, number(s, 0));
            h = veer_where(b, inside, h, o->h);
            if (c.i) c = veer_where(b, inside, c, o->c);
        }
        o->h = h, o->c = c;
        y[t] = veer_reshape(b, out, VEER_DIMS(1, 1, s->batch, s->hidden));
    }
    return y && veer_onnx_ok(s->n) ? veer_concat(b, y, (int)s->steps, 0) : VEER_NO_VALUE;
}

/* [D, B, H], or [B, D, H] with batch_first */
static veer_value_t states(const net_t *s, const veer_value_t *parts) {
    veer_value_t shaped[2];
    int axis = s->batch_first ? 1 : 0;
    int64_t dims[] = {axis ? s->batch : 1, axis ? 1 : s->batch, s->hidden};
    for (int d = 0; d < s->directions; d++) shaped[d] = veer_reshape(s->n->b, parts[d], 3, dims);
    return veer_concat(s->n->b, shaped, s->directions, axis);
}

static void run_net(const net_t *s, cell_t cell, bool has_cell) {
    veer_onnx_node_t *n = s->n;
    veer_value_t y[2], h[2], c[2];
    for (int d = 0; d < s->directions; d++) {
        direction_t o;
        if (!read_direction(s, d, has_cell, &o)) return;
        y[d] = run(s, &o, cell, d == 1 || s->first_backward);
        h[d] = o.h, c[d] = o.c;
    }
    if (!veer_onnx_ok(n)) return;
    n->out[0] = veer_concat(n->b, y, s->directions, 1); /* [T, D, B, H] */
    if (s->batch_first) n->out[0] = veer_transpose(n->b, n->out[0], (int64_t[]){2, 0, 1, 3});
    n->out[1] = states(s, h);
    if (has_cell) n->out[2] = states(s, c);
}

void veer_onnx_rnn(veer_onnx_node_t *n) {
    net_t s;
    if (read_net(n, n->op->param, 1, (const char *const[]){"Tanh"}, &s)) run_net(&s, rnn_cell, false);
}

void veer_onnx_gru(veer_onnx_node_t *n) {
    net_t s;
    if (read_net(n, n->op->param, 2, (const char *const[]){"Sigmoid", "Tanh"}, &s)) run_net(&s, gru_cell, false);
}

void veer_onnx_lstm(veer_onnx_node_t *n) {
    net_t s;
    if (read_net(n, n->op->param, 3, (const char *const[]){"Sigmoid", "Tanh", "Tanh"}, &s))
        run_net(&s, lstm_cell, true);
}
