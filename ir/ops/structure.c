/* Operators that hold the graph together: constants, terminators, loops, fused kernels, calls, rows of step tables. */
#include "ir/gradient.h"
#include "ir/infer.h"

/* ---- const ---- */

static veer_status_t const_infer(veer_infer_t *c) {
    int rank;
    const int64_t *dims = veer_infer_ints(c, "dims", &rank);
    int64_t dtype = veer_infer_int(c, "dtype");
    if (dtype <= VEER_DTYPE_NONE || dtype >= VEER_DTYPE_COUNT)
        return veer_error(VEER_ERR_UNSUPPORTED, "dtype %lld is unknown", (long long)dtype);
    if (rank > VEER_MAX_RANK)
        return veer_error(VEER_ERR_UNSUPPORTED, "a constant of rank %d; at most %d are supported", rank, VEER_MAX_RANK);
    c->out[0] = veer_type_make((veer_dtype_t)dtype, rank, dims);
    VEER_TRY(veer_type_check(&c->out[0]));
    const veer_attr_t *value = veer_infer_attr(c, "value");
    size_t want = veer_type_bytes(&c->out[0]);
    if (value->as.data.size_bytes == want) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "a constant holds %zu bytes, expected %zu", value->as.data.size_bytes,
                      want);
}

const veer_op_def_t veer_op_const = {
    .name = "const",
    .doc = "A tensor known at compile time; its bytes may be a view into a mapped model file.",
    .out = {{"value", VEER_ANY}},
    .attrs = {{"dtype", VEER_ATTR_INT, true, .doc = "element type"},
              {"dims", VEER_ATTR_INTS, .doc = "shape"},
              {"value", VEER_ATTR_DATA, true, .doc = "row-major bytes"}},
    .traits = VEER_PURE,
    .infer = const_infer,
    .grad = veer_grad_none,
};

/* ---- terminators ---- */

static veer_status_t no_results(veer_infer_t *c) {
    c->out_count = 0;
    return veer_ok();
}

const veer_op_def_t veer_op_return = {
    .name = "return",
    .doc = "Ends a function; its operands are the function's results.",
    .in = {{"values", VEER_ANY, .variadic = true, .optional = true}},
    .traits = VEER_TERMINATOR,
    .infer = no_results,
    .grad = veer_grad_none,
};

const veer_op_def_t veer_op_yield = {
    .name = "yield",
    .doc = "Ends the body of a loop or fused node; its operands are what one pass through the body gives.",
    .in = {{"values", VEER_ANY, .variadic = true, .optional = true}},
    .traits = VEER_TERMINATOR,
    .infer = no_results,
    .grad = veer_grad_none,
};

/* ---- region nodes; veer_node_infer reads their results off the body ---- */

static veer_status_t loop_infer(veer_infer_t *c) {
    c->out_count = 0;
    int64_t trip = veer_infer_int(c, "trip");
    if (trip >= 1) return veer_ok();
    return veer_error(VEER_ERR_UNSUPPORTED, "trip is %lld, expected at least 1", (long long)trip);
}

const veer_op_def_t veer_op_loop = {
    .name = "loop",
    .doc = "Runs its body `trip` times. The body takes the iteration (i64[], from 0) and one carried value per "
           "operand, and "
           "yields their next values, then any number of further values. Results: the carried values after the last "
           "iteration, then each further value stacked over the iterations, [trip, ...]. Never unrolled.",
    .in = {{"init", VEER_ANY, .variadic = true, .optional = true}},
    .out = {{"results", VEER_ANY, .variadic = true}},
    .attrs = {{"trip", VEER_ATTR_INT, true, .doc = "number of iterations, at least 1"}},
    .traits = VEER_PURE | VEER_REGION,
    .infer = loop_infer,
    .grad = veer_grad_missing,
};

const veer_op_def_t veer_op_fused = {
    .name = "fused",
    .doc = "One kernel: a body of ordinary nodes over the operands, computed in one pass over memory where the backend "
           "can. "
           "The body takes one argument per operand, captures nothing and yields the results.",
    .in = {{"in", VEER_ANY, .variadic = true, .optional = true}},
    .out = {{"results", VEER_ANY, .variadic = true}},
    .attrs = {{"kind", VEER_ATTR_STRING, .default_string = "", .doc = "what the fuse pass made it for, for reports"}},
    .traits = VEER_PURE | VEER_REGION,
    .infer = no_results,
    .grad = veer_grad_missing,
};

const veer_op_def_t veer_op_call = {
    .name = "call",
    .doc = "The results of another function of the graph on these arguments; pass `inline` replaces it by the "
           "function's body.",
    .in = {{"args", VEER_ANY, .variadic = true, .optional = true}},
    .out = {{"results", VEER_ANY, .variadic = true}},
    .attrs = {{"callee", VEER_ATTR_STRING, true, .doc = "name of the function"}},
    .traits = VEER_PURE,
    .infer = no_results,
    .grad = veer_grad_missing,
};

const veer_op_def_t veer_op_grad = {
    .name = "grad",
    .doc = "Reverse-mode derivative of another function: operands are its arguments, then the cotangent of its result "
           "`of`. "
           "Results are the function's results, then one gradient per argument listed in `wrt`, of that argument's "
           "type. Pass "
           "`gradient` replaces it by plain nodes, before a function that holds it is differentiated itself.",
    .in = {{"args", VEER_ANY, .variadic = true}},
    .out = {{"results", VEER_ANY, .variadic = true}},
    .attrs = {{"callee", VEER_ATTR_STRING, true, .doc = "name of the function"},
              {"of", VEER_ATTR_INT, true, .doc = "index of the result that is differentiated"},
              {"wrt", VEER_ATTR_INTS, true, .doc = "indices of the arguments, ascending"}},
    .traits = VEER_PURE,
    .infer = no_results,
    .grad = veer_grad_by_expansion,
};

/* ---- step_slice ---- */

static veer_status_t step_slice_infer(veer_infer_t *c) {
    char text[VEER_TYPE_TEXT_BYTES];
    if (c->in[0].rank < 1 || c->in[0].dims[0] < 1)
        return veer_error(VEER_ERR_UNSUPPORTED, "table is %s, expected at least one row",
                          veer_type_text(&c->in[0], text));
    if (c->in[1].rank != 0 || c->in[1].dtype != VEER_DTYPE_I64)
        return veer_error(VEER_ERR_UNSUPPORTED, "index is %s, expected i64[]", veer_type_text(&c->in[1], text));
    c->out[0] = veer_type_make(c->in[0].dtype, c->in[0].rank - 1, c->in[0].dims + 1);
    return veer_ok();
}

const veer_op_def_t veer_op_step_slice = {
    .name = "step_slice",
    .doc = "Row i of a table of per-step values: table [S, ...], i in [0, S), gives [...]. Lowered to an address, not "
           "a copy.",
    .in = {{"table", VEER_ANY}, {"i", VEER_INTEGER}},
    .out = {{"row", VEER_ANY}},
    .traits = VEER_PURE | VEER_MOVES,
    .infer = step_slice_infer,
    .grad = veer_grad_missing,
};
