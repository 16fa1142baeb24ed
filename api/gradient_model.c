/* @grad: a model with a head on one output, differentiated by some of its inputs. */
#include "api/compile.h"
#include "models/guide.h"
#include "passes/gradient.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum head_e { HEAD_SUM, HEAD_VJP, HEAD_SOFTMAX, HEAD_BERNOULLI } head_t;

typedef struct request_s {
    veer_graph_t *g;
    veer_func_t model, grad;
    int of;
    int64_t index[VEER_MAX_RANK];
    int index_count;
    int64_t wrt[64];
    int wrt_count;
    head_t head;
} request_t;

static veer_status_t no_such(const char *what, const char *name, size_t length, const veer_graph_t *g, veer_func_t f,
                             bool inputs) {
    char known[512] = "";
    veer_region_t body = veer_func_body(g, f);
    int count = inputs ? veer_region_arg_count(g, body) : veer_region_result_count(g, body);
    for (int i = 0; i < count; i++) {
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "",
                 inputs ? veer_value_name(g, veer_region_arg(g, body, i)) : veer_func_result_name(g, f, i));
    }
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "there is no %s '%.*s'", what, (int)length, name),
                            "%ss are: %s", what, known);
}

/* The number of results where there is none of that name. */
static int find_result(const request_t *r, const char *name, size_t length) {
    int i = 0, count = veer_region_result_count(r->g, veer_func_body(r->g, r->model));
    for (; i < count; i++) {
        const char *other = veer_func_result_name(r->g, r->model, i);
        if (strlen(other) == length && !memcmp(other, name, length)) break;
    }
    return i;
}

/* "logits", "logits[3]", "x[0,2]" */
static veer_status_t parse_of(request_t *r, const char *text) {
    veer_region_t body = veer_func_body(r->g, r->model);
    int count = veer_region_result_count(r->g, body);
    if (!text && count != 1)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "the model has %d outputs", count), "name one with --of");
    if (!text) return veer_ok();
    /* A name may hold brackets itself: all of it is tried first, then the index is what stands in the last pair. */
    const char *bracket = NULL;
    size_t length = strlen(text);
    r->of = find_result(r, text, length);
    if (r->of == count && length && text[length - 1] == ']' && (bracket = strrchr(text, '['))) {
        length = (size_t)(bracket - text);
        r->of = find_result(r, text, length);
    }
    if (r->of == count) return no_such("output", text, length, r->g, r->model, false);
    for (const char *at = bracket; at && *at != ']';) {
        char *end;
        if (r->index_count == VEER_MAX_RANK) return veer_error(VEER_ERR_CONFIG, "'%s' has too many indices", text);
        r->index[r->index_count++] = strtoll(at + 1, &end, 10);
        if (end == at + 1 || (*end != ',' && *end != ']'))
            return veer_error(VEER_ERR_CONFIG, "'%s' has an index that is no integer", text);
        at = end;
    }
    return veer_ok();
}

static veer_status_t check_index(const request_t *r, const char *text) {
    const veer_type_t *type = veer_value_type(r->g, veer_region_result(r->g, veer_func_body(r->g, r->model), r->of));
    char shape[VEER_TYPE_TEXT_BYTES];
    bool fits = r->index_count <= type->rank;
    for (int i = 0; fits && i < r->index_count; i++) {
        int64_t size = type->dims[type->rank - r->index_count + i];
        fits = r->index[i] >= 0 && r->index[i] < size;
    }
    return fits ? veer_ok()
                : veer_error(VEER_ERR_CONFIG, "'%s' is out of range for %s", text, veer_type_text(type, shape));
}

static veer_status_t parse_wrt(request_t *r, const veer_gradient_request_t *request) {
    veer_region_t body = veer_func_body(r->g, r->model);
    if (request->wrt_count < 1 || request->wrt_count > (int)(sizeof r->wrt / sizeof *r->wrt))
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "%d inputs to differentiate by", request->wrt_count),
                                "name 1 to 64 inputs with --wrt");
    for (int k = 0; k < request->wrt_count; k++) {
        int i = 0, count = veer_region_arg_count(r->g, body);
        while (i < count && strcmp(veer_value_name(r->g, veer_region_arg(r->g, body, i)), request->wrt[k])) i++;
        if (i == count) return no_such("input", request->wrt[k], strlen(request->wrt[k]), r->g, r->model, true);
        for (int other = 0; other < k; other++)
            if (r->wrt[other] == i) return veer_error(VEER_ERR_CONFIG, "input '%s' is named twice", request->wrt[k]);
        r->wrt[r->wrt_count++] = i;
    }
    return veer_ok();
}

static veer_status_t parse_head(request_t *r, const char *text) {
    static const char *const names[] = {"sum", "vjp", "softmax", "bernoulli"};
    const veer_type_t *type = veer_value_type(r->g, veer_region_result(r->g, veer_func_body(r->g, r->model), r->of));
    if (!text) {
        r->head = r->index_count || veer_type_count(type) == 1 ? HEAD_SUM : HEAD_VJP;
        return veer_ok();
    }
    for (head_t h = HEAD_SUM; h <= HEAD_BERNOULLI; h++) {
        if (strcmp(names[h], text)) continue;
        r->head = h;
        return r->index_count && h != HEAD_SUM
                   ? veer_error(VEER_ERR_CONFIG, "head %s takes the whole output, not an element of it", text)
                   : veer_ok();
    }
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "unknown head '%s'", text),
                            "use softmax, bernoulli, sum or vjp");
}

static veer_value_t element(veer_builder_t *b, const request_t *r, veer_value_t v) {
    if (!veer_builder_ok(b)) return v;
    int rank = veer_builder_type(b, v)->rank;
    for (int i = 0; i < r->index_count; i++) v = veer_slice_axis(b, v, rank - r->index_count + i, r->index[i], 1, 1);
    return v;
}

/* graph @objective(model's arguments, target) -> model's results, and for all heads but vjp the scalar that is
 * differentiated. */
static veer_status_t build_objective(request_t *r, veer_func_t *out) {
    veer_graph_t *g = r->g;
    veer_region_t model = veer_func_body(g, r->model);
    int args = veer_region_arg_count(g, model), results = veer_region_result_count(g, model);
    veer_value_t *in = veer_arena_array(veer_graph_arena(g), (size_t)args + 2, sizeof *in);
    veer_value_t *give = veer_arena_array(veer_graph_arena(g), (size_t)results + 2, sizeof *give),
                 target = VEER_NO_VALUE;
    if (!in || !give) return veer_out_of_memory();
    VEER_TRY(veer_graph_add_func(g, "objective", out));
    veer_region_t body = veer_func_body(g, *out);
    for (int i = 0; i < args; i++) {
        veer_value_t arg = veer_region_arg(g, model, i);
        VEER_TRY(veer_region_add_arg(g, body, *veer_value_type(g, arg), veer_value_name(g, arg), &in[i]));
    }
    veer_head_t head = r->head == HEAD_SOFTMAX ? VEER_HEAD_SOFTMAX : VEER_HEAD_BERNOULLI;
    if (r->head == HEAD_SOFTMAX || r->head == HEAD_BERNOULLI) {
        veer_type_t type;
        VEER_TRY(veer_head_target_type(head, veer_value_type(g, veer_region_result(g, model, r->of)), &type));
        VEER_TRY(veer_region_add_arg(g, body, type, veer_head_target_name(head), &target));
    }
    veer_builder_t b = veer_builder_at_end(g, body);
    veer_node_t call = veer_builder_call(&b, r->model, in, args);
    for (int i = 0; call.i && i < results; i++) give[i] = veer_node_out(g, call, i);
    int count = results;
    if (call.i && r->head == HEAD_SUM)
        give[count++] = veer_reduce_all(&b, VEER_OP_REDUCE_SUM, element(&b, r, give[r->of]));
    else if (call.i && r->head != HEAD_VJP)
        give[count++] = veer_head_log_p(&b, head, give[r->of], target);
    veer_builder_return(&b, give, count);
    return veer_builder_status(&b);
}

static veer_status_t add_argument(const request_t *r, const char *name, veer_type_t type, veer_value_t *out) {
    veer_region_t body = veer_func_body(r->g, r->grad);
    for (int i = 0; i < veer_region_arg_count(r->g, body); i++)
        if (!strcmp(veer_value_name(r->g, veer_region_arg(r->g, body, i)), name))
            return veer_error(VEER_ERR_CONFIG, "the gradient needs an input '%s', but the model has one of that name",
                              name);
    return veer_region_add_arg(r->g, body, type, name, out);
}

/* grad_x; where the model itself has an output of that name, being a gradient already, grad_grad_x, and so on. */
static void gradient_name(const request_t *r, const char *input, char *out, size_t size) {
    int i, count = veer_region_result_count(r->g, veer_func_body(r->g, r->model));
    snprintf(out, size, "grad_%s", input);
    do {
        for (i = 0; i < count && strcmp(veer_func_result_name(r->g, r->model, i), out); i++) continue;
        size_t length = strlen(out);
        if (i == count || length + sizeof "grad_" > size) return;
        memmove(out + 5, out, length + 1);
        memcpy(out, "grad_", 5);
    } while (true);
}

static veer_status_t build_grad(request_t *r, veer_func_t objective) {
    veer_graph_t *g = r->g;
    veer_region_t from = veer_func_body(g, objective), model = veer_func_body(g, r->model);
    int args = veer_region_arg_count(g, from), results = veer_region_result_count(g, model);
    veer_value_t *in = veer_arena_array(veer_graph_arena(g), (size_t)args + 1, sizeof *in), d_of;
    veer_value_t *give = veer_arena_array(veer_graph_arena(g), (size_t)(results + r->wrt_count) + 1, sizeof *give);
    if (!in || !give) return veer_out_of_memory();
    VEER_TRY(veer_graph_add_func(g, "grad", &r->grad));
    for (int i = 0; i < args; i++) {
        veer_value_t arg = veer_region_arg(g, from, i);
        VEER_TRY(add_argument(r, veer_value_name(g, arg), *veer_value_type(g, arg), &in[i]));
    }
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, r->grad));
    veer_type_t of_type = *veer_value_type(g, veer_region_result(g, model, r->of));
    char name[256];
    if (r->head == HEAD_VJP) {
        snprintf(name, sizeof name, "d_%s", veer_func_result_name(g, r->model, r->of));
        VEER_TRY(add_argument(r, name, of_type, &d_of));
    } else {
        d_of = veer_const_scalar(&b, of_type.dtype, 1);
    }
    veer_node_t node =
        veer_builder_grad(&b, objective, in, args, r->head == HEAD_VJP ? r->of : results, d_of, r->wrt, r->wrt_count);
    VEER_TRY(veer_builder_status(&b));
    int objective_results = veer_region_result_count(g, from);
    for (int i = 0; i < results; i++) give[i] = veer_node_out(g, node, i);
    for (int i = 0; i < r->wrt_count; i++) give[results + i] = veer_node_out(g, node, objective_results + i);
    veer_builder_return(&b, give, results + r->wrt_count);
    for (int i = 0; i < results; i++)
        VEER_TRY(veer_func_set_result_name(g, r->grad, i, veer_func_result_name(g, r->model, i)));
    for (int i = 0; i < r->wrt_count; i++) {
        gradient_name(r, veer_value_name(g, veer_region_arg(g, model, (int)r->wrt[i])), name, sizeof name);
        VEER_TRY(veer_func_set_result_name(g, r->grad, results + i, name));
    }
    return veer_builder_status(&b);
}

static veer_status_t parse(request_t *r, const veer_gradient_request_t *request) {
    VEER_TRY(parse_of(r, request->of));
    VEER_TRY(check_index(r, request->of));
    VEER_TRY(parse_wrt(r, request));
    VEER_TRY(parse_head(r, request->head));
    const veer_type_t *type = veer_value_type(r->g, veer_region_result(r->g, veer_func_body(r->g, r->model), r->of));
    if (veer_dtype_is_float(type->dtype)) return veer_ok();
    return veer_error(VEER_ERR_CONFIG, "output '%s' is %s; only floating-point outputs have a gradient",
                      veer_func_result_name(r->g, r->model, r->of), veer_dtype_name(type->dtype));
}

veer_status_t veer_build_gradient(veer_graph_t *g, veer_func_t func, const veer_gradient_request_t *request,
                                  veer_func_t *out_grad) {
    request_t r = {.g = g, .model = func};
    VEER_TRY(parse(&r, request));
    VEER_TRY(veer_gradient_check(g, func, r.of, r.wrt, r.wrt_count));
    veer_func_t objective;
    VEER_TRY(build_objective(&r, &objective));
    VEER_TRY(veer_run_passes(g, objective, "inline,gradient", NULL));
    VEER_TRY(build_grad(&r, objective));
    *out_grad = r.grad;
    return veer_ok();
}

veer_status_t veer_check_gradient(const char *path, const veer_gradient_request_t *request,
                                  const veer_compile_options_t *options) {
    veer_graph_t *g;
    VEER_TRY(veer_graph_create(veer_options_allocator(options), &g));
    request_t r = {.g = g};
    veer_compile_options_t plain = options ? *options : (veer_compile_options_t){0};
    veer_status_t status = veer_import_for_options(g, path, &plain, &r.model);
    if (!status) status = parse(&r, request);
    if (!status) status = veer_gradient_check(g, r.model, r.of, r.wrt, r.wrt_count);
    veer_graph_destroy(g);
    return veer_status_where(status, "%s", path);
}
