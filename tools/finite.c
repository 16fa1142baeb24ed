#include "tools/finite.h"
#include "api/compile.h"
#include "api/widen.h"
#include "backends/reference/reference.h"
#include "runtime/philox.h"
#include "tools/compare.h"

#include <math.h>
#include <string.h>

/* A function in double precision with its arguments. */
typedef struct {
    veer_allocator_t allocator;
    veer_graph_t *graph;
    veer_func_t func;
    int arg_count, result_count;
    veer_tensor_t *args, *results;
} wide_t;

/* ---- functions ---- */

/* The model in double precision, with the gradient on top: @grad and @objective. `recognized` takes the model as the
 * compiler sees it, otherwise as the file has it. */
static veer_status_t build(wide_t *w, const veer_finite_options_t *o, bool recognized, const char *name) {
    veer_compile_options_t options = o->evaluation->options;
    veer_func_t model, wide, grad;
    if (!recognized) options.backend = "reference";
    VEER_TRY(veer_graph_create(w->allocator, &w->graph));
    VEER_TRY(veer_import_for_options(w->graph, o->path, &options, &model));
    VEER_TRY(veer_run_passes(w->graph, model, "inline,gradient", NULL)); /* what the model itself has of these */
    VEER_TRY(veer_widen(w->graph, model, "wide", &wide));
    VEER_TRY(veer_build_gradient(w->graph, wide, o->request, &grad));
    w->func = veer_graph_find_func(w->graph, name);
    return veer_run_passes(w->graph, w->func, "inline,gradient,dce", NULL);
}

static veer_status_t make_arg(wide_t *w, veer_value_t arg, const veer_finite_options_t *o, veer_tensor_t *out) {
    const veer_input_t *input = veer_inputs_find(o->inputs, veer_value_name(w->graph, arg));
    veer_type_t type = *veer_value_type(w->graph, arg);
    if (!input || !veer_type_same_shape(&type, &input->tensor.type))
        return veer_error(VEER_ERR_FAILED, "input '%s' has no value", veer_value_name(w->graph, arg));
    out->type = type;
    if (type.dtype == VEER_DTYPE_F64) {
        out->data = veer_widen_data(&input->tensor.type, input->tensor.data, w->allocator);
    } else {
        out->data = veer_alloc(w->allocator, veer_type_bytes(&type));
        if (out->data) memcpy(out->data, input->tensor.data, veer_type_bytes(&type));
    }
    return out->data ? veer_ok() : veer_out_of_memory();
}

static veer_status_t make_args(wide_t *w, const veer_finite_options_t *o) {
    veer_region_t body = veer_func_body(w->graph, w->func);
    int count = veer_region_arg_count(w->graph, body);
    w->result_count = veer_region_result_count(w->graph, body);
    w->args = veer_alloc_array(w->allocator, (size_t)count + 1, sizeof *w->args);
    w->results = veer_alloc_array(w->allocator, (size_t)w->result_count + 1, sizeof *w->results);
    if (!w->args || !w->results) return veer_out_of_memory();
    for (; w->arg_count < count; w->arg_count++)
        VEER_TRY(make_arg(w, veer_region_arg(w->graph, body, w->arg_count), o, &w->args[w->arg_count]));
    return veer_ok();
}

static void free_results(wide_t *w) {
    for (int i = 0; w->results && i < w->result_count; i++) {
        veer_free(w->allocator, w->results[i].data);
        w->results[i].data = NULL;
    }
}

static void deinit(wide_t *w) {
    free_results(w);
    for (int i = 0; i < w->arg_count; i++) veer_free(w->allocator, w->args[i].data);
    veer_free(w->allocator, w->args);
    veer_free(w->allocator, w->results);
    veer_graph_destroy(w->graph);
}

static veer_status_t evaluate(wide_t *w) {
    free_results(w);
    return veer_reference_eval(w->graph, w->func, w->args, w->arg_count, w->allocator, w->results, w->result_count);
}

static int find_arg(const wide_t *w, const char *name) {
    veer_region_t body = veer_func_body(w->graph, w->func);
    for (int i = 0; i < w->arg_count; i++)
        if (!strcmp(veer_value_name(w->graph, veer_region_arg(w->graph, body, i)), name)) return i;
    return -1;
}

/* ---- the scalar ---- */

static double dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* What is differentiated: the objective's last result; for a vector-Jacobian product <d_output, output>, whose
 * cotangent is an argument of the gradient alone. */
static veer_status_t objective(wide_t *w, const wide_t *grad, double *out) {
    VEER_TRY(evaluate(w));
    char name[300];
    for (int i = 0; i < w->result_count; i++) {
        snprintf(name, sizeof name, "d_%s", veer_func_result_name(grad->graph, grad->func, i));
        int at = find_arg(grad, name);
        if (at < 0 || find_arg(w, name) >= 0) continue;
        *out = dot(grad->args[at].data, w->results[i].data, veer_type_count(&grad->args[at].type));
        return veer_ok();
    }
    *out = *(const double *)w->results[w->result_count - 1].data;
    return veer_ok();
}

/* ---- one input ---- */

static double rms(const double *x, int64_t count) {
    return count ? sqrt(dot(x, x, count) / (double)count) : 0;
}

/* (f(x + h v) - f(x - h v)) / 2h */
static veer_status_t central(wide_t *w, const wide_t *grad, int arg, const double *v, const double *x, double h,
                             double *out) {
    double *at = w->args[arg].data, plus, minus;
    int64_t count = veer_type_count(&w->args[arg].type);
    for (int64_t i = 0; i < count; i++) at[i] = x[i] + h * v[i];
    VEER_TRY(objective(w, grad, &plus));
    for (int64_t i = 0; i < count; i++) at[i] = x[i] - h * v[i];
    VEER_TRY(objective(w, grad, &minus));
    *out = (plus - minus) / (2 * h);
    return veer_ok();
}

/* The better of two step sizes: a kink (relu, max) between the two points disturbs one of them, seldom both. Errors are
 * relative to the derivative, or to a hundredth of the gradient's norm where the direction happens to miss it. */
static veer_status_t check_direction(wide_t *w, const wide_t *grad, int arg, const double *v, const double *x,
                                     const double *g, double *out) {
    static const double steps[] = {1e-5, 1e-6};
    int64_t count = veer_type_count(&w->args[arg].type);
    double along = dot(g, v, count), floor = 0.01 * sqrt(dot(g, g, count)), size = fmax(1, rms(x, count)), fd;
    *out = INFINITY;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        VEER_TRY(central(w, grad, arg, v, x, steps[i] * size, &fd));
        double scale = fmax(fmax(fabs(fd), fabs(along)), floor), error = fabs(fd - along);
        *out = fmin(*out, error == 0 ? 0 : error / scale);
    }
    return veer_ok();
}

static veer_status_t check_directions(wide_t *w, const wide_t *grad, int arg, double *v, double *x, const double *g,
                                      double *out) {
    int64_t count = veer_type_count(&w->args[arg].type);
    memcpy(x, w->args[arg].data, (size_t)count * sizeof *x);
    *out = 0;
    for (uint32_t d = 0; d < VEER_FINITE_DIRECTIONS; d++) {
        float block[4];
        double error;
        for (int64_t i = 0; i < count; i++) {
            if (i % 4 == 0) veer_noise_block(7, (uint32_t)(i / 4), d, (uint32_t)arg, VEER_STREAM_OTHER, block);
            v[i] = block[i % 4];
        }
        VEER_TRY(check_direction(w, grad, arg, v, x, g, &error));
        *out = error > *out || isnan(error) ? error : *out;
    }
    memcpy(w->args[arg].data, x, (size_t)count * sizeof *x);
    return veer_ok();
}

static double compiled_error(const veer_tensor_t *compiled, const double *g) {
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < veer_type_count(&compiled->type); i++) {
        double error = fabs(veer_tensor_element(compiled, i) - g[i]);
        largest = fmax(largest, fabs(g[i]));
        worst = error > worst || isnan(error) ? error : worst;
    }
    return worst == 0 ? 0 : worst / largest;
}

static veer_status_t check_input(const veer_finite_options_t *o, wide_t *w, wide_t *grad, int k, veer_finite_t *out) {
    int arg = find_arg(w, o->request->wrt[k]), at = grad->result_count - o->request->wrt_count + k;
    int64_t count = veer_type_count(&w->args[arg].type);
    const double *g = grad->results[at].data;
    double *v = veer_alloc_array(w->allocator, (size_t)count, sizeof *v);
    double *x = veer_alloc_array(w->allocator, (size_t)count, sizeof *x);
    veer_status_t status = v && x ? check_directions(w, grad, arg, v, x, g, &out->difference) : veer_out_of_memory();
    out->norm = sqrt(dot(g, g, count));
    out->compiled_error = compiled_error(&o->evaluation->outputs[at], g);
    veer_free(w->allocator, v);
    veer_free(w->allocator, x);
    return status;
}

veer_status_t veer_finite_check(const veer_finite_options_t *options, veer_allocator_t allocator, veer_finite_t *out) {
    wide_t w = {.allocator = allocator}, grad = {.allocator = allocator};
    veer_status_t status = build(&w, options, false, "objective");
    if (!status) status = build(&grad, options, true, "grad");
    if (!status) status = make_args(&w, options);
    if (!status) status = make_args(&grad, options);
    if (!status) status = evaluate(&grad);
    for (int k = 0; k < options->request->wrt_count && !status; k++)
        status = check_input(options, &w, &grad, k, &out[k]);
    deinit(&w);
    deinit(&grad);
    return status;
}
