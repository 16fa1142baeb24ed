#include "api/compile.h"

#include "api/budget.h"
#include "api/storage.h"
#include "backends/reference/reference.h"
#include "frontend/onnx_export.h"
#include "ir/print.h"
#include "passes/fuse.h"
#include "passes/gradient.h"
#include "passes/manager.h"
#ifdef VEER_WITH_LLVM
#include "backends/llvm/llvm.h"
#endif
#ifdef VEER_WITH_ONEDNN
#include "backends/onednn/onednn.h"
#endif

#include <string.h>

/* Before the gradient: what it should see is whole layers. After: one program, see ARCHITECTURE.md. The reference
 * backend gets what it cannot do without and nothing else, so that it can check the rest. Behind OPTIMISED comes
 * interleave, strands: see veer_fit_budget. */
static const char IMPORTED[] =
    "inline,fold,cse,dce,recognize-silu,recognize-gelu,recognize-layer-norm,recognize-rms-norm,"
    "recognize-group-norm,recognize-attention,dce,raise-slice,dce";
static const char OPTIMISED[] = "inline,gradient,fold,cse,dce,expand,sink-broadcast,fold,cse,dce,layout,fold,cse,dce,"
                                "transpose-matmul,hoist,cse,dce,"
                                "fuse-attention,fuse-contraction,split-norm,fuse,dce";
static const char PLAIN[] = "inline,gradient,dce";

#if defined VEER_WITH_LLVM || defined VEER_WITH_ONEDNN
static veer_status_t accepts_contraction(const veer_graph_t *g, veer_node_t n, bool *out, char *reason, size_t size) {
    *out = false;
#ifdef VEER_WITH_LLVM
    *out = veer_llvm_matmul_supports(g, n, reason, size);
#endif
#ifdef VEER_WITH_ONEDNN
    *out = *out || veer_onednn_supports(g, n, reason, size);
#endif
    return veer_ok();
}
#endif
#ifdef VEER_WITH_LLVM
static veer_status_t accepts_moments(const veer_graph_t *g, veer_node_t n, bool *out, char *reason, size_t size) {
    *out = veer_llvm_conv_moments_supports(g, n, reason, size);
    return veer_ok();
}
static veer_status_t accepts_attention(const veer_graph_t *g, veer_node_t n, bool *out, char *reason, size_t size) {
    *out = veer_llvm_attention_supports(g, n, reason, size);
    return veer_ok();
}
#endif

static const veer_fuse_target_t target = {
#if defined VEER_WITH_LLVM || defined VEER_WITH_ONEDNN
    .accepts_contraction = accepts_contraction,
#endif
#ifdef VEER_WITH_LLVM
    .accepts_cluster = veer_llvm_supports,
    .accepts_moments = accepts_moments,
    .accepts_attention = accepts_attention,
#endif
    .residency = veer_storage_residency,
};

const void *veer_compile_target(void) {
    return &target;
}

veer_allocator_t veer_options_allocator(const veer_compile_options_t *options) {
    return options && options->allocator.alloc ? options->allocator : veer_allocator_system();
}

static veer_status_t backend_of(const veer_compile_options_t *options, veer_backend_t *out) {
    *out = VEER_BACKEND_AUTO;
    return options && options->backend ? veer_backend_parse(options->backend, out) : veer_ok();
}

static veer_status_t precision_of(const veer_compile_options_t *options, bool *out_strict) {
    *out_strict = false;
    return options && options->precision ? veer_precision_parse(options->precision, out_strict) : veer_ok();
}

veer_status_t veer_run_passes(veer_graph_t *g, veer_func_t func, const char *text,
                              const veer_compile_options_t *options) {
    veer_pipeline_t *pipeline;
    VEER_TRY(veer_pipeline_create(veer_graph_allocator(g), text, &pipeline));
    veer_pipeline_options_t o = {.eval = veer_reference_node, .target = &target};
    if (options) o.dump_after = options->dump_after, o.dump = options->dump, o.dump_user = options->dump_user;
    veer_status_t status = veer_pipeline_run(pipeline, g, func, &o);
    veer_pipeline_destroy(pipeline);
    return status;
}

veer_status_t veer_import_model(veer_graph_t *g, const char *path, const char *func_name,
                                const veer_onnx_options_t *import, const veer_compile_options_t *options,
                                veer_func_t *out_func) {
    veer_backend_t backend;
    VEER_TRY(backend_of(options, &backend));
    VEER_TRY(veer_onnx_import(g, path, func_name, import, out_func));
    if (backend == VEER_BACKEND_REFERENCE || (options && options->passes)) return veer_ok();
    return veer_run_passes(g, *out_func, IMPORTED, options);
}

veer_status_t veer_compile_func(veer_graph_t *g, veer_func_t func, const veer_compile_options_t *options,
                                veer_allocator_t allocator, veer_plan_t **out_plan) {
    veer_backend_t backend;
    bool strict;
    VEER_TRY(backend_of(options, &backend));
    VEER_TRY(precision_of(options, &strict));
    /* Callees first: what is differentiated must hold no calls. */
    VEER_TRY(veer_run_passes(g, VEER_NO_FUNC, "inline", NULL));
    const char *passes = options && options->passes          ? options->passes
                         : backend == VEER_BACKEND_REFERENCE ? PLAIN
                                                             : OPTIMISED;
    VEER_TRY(veer_run_passes(g, func, passes, options));
    veer_plan_budget_t budget = {0};
    bool reorder = passes == OPTIMISED, compact = false;
    if (options && options->memory_budget)
        VEER_TRY(veer_fit_budget(g, func, options, reorder, &budget, &compact));
    else if (reorder)
        VEER_TRY(veer_run_passes(g, func, "interleave,strands", options));
    veer_lower_options_t lower = {.backend = backend, .strict = strict, .compact = compact, .tune = VEER_TUNE_ON};
    if (options) lower.cache = options->cache;
    if (options && options->tune) VEER_TRY(veer_tune_parse(options->tune, &lower.tune));
    VEER_TRY(veer_lower(g, func, &lower, allocator, out_plan));
    veer_plan_set_budget(*out_plan, &budget);
    return veer_ok();
}

/* ---- compiled models ---- */

struct veer_compiled_s {
    veer_allocator_t allocator;
    veer_graph_t *graph;
    veer_func_t func;
    veer_plan_t *plan;
    veer_exec_t *exec;
};

void veer_compiled_destroy(veer_compiled_t *c) {
    if (!c) return;
    veer_exec_destroy(c->exec);
    veer_plan_destroy(c->plan);
    veer_graph_destroy(c->graph); /* last: the plan points into its constants */
    veer_free(c->allocator, c);
}

veer_status_t veer_import_for_options(veer_graph_t *g, const char *path, const veer_compile_options_t *o,
                                      veer_func_t *out) {
    static const veer_compile_options_t none;
    if (!o) o = &none;
    veer_graph_set_limits(g, &o->limits);
    veer_arena_t *arena = veer_graph_arena(g);
    veer_dim_binding_t *dims = veer_arena_array(arena, (size_t)o->dim_count + 1, sizeof *dims);
    veer_onnx_binding_t *bindings = veer_arena_array(arena, (size_t)o->bound_count + 1, sizeof *bindings);
    if (!dims || !bindings) return veer_out_of_memory();
    for (int i = 0; i < o->dim_count; i++) dims[i] = (veer_dim_binding_t){o->dims[i].name, o->dims[i].value};
    for (int i = 0; i < o->bound_count; i++)
        bindings[i] = (veer_onnx_binding_t){o->bound_names[i], o->bound_tensors[i]};
    veer_onnx_options_t import = {.dims = dims,
                                  .dim_count = o->dim_count,
                                  .bindings = bindings,
                                  .binding_count = o->bound_count,
                                  .straight_through = o->straight_through,
                                  .eval = veer_reference_node};
    return veer_import_model(g, path, "model", &import, o, out);
}

static veer_status_t finish(veer_compiled_t *c, const veer_compile_options_t *options, veer_compiled_t **out) {
    VEER_TRY(veer_compile_func(c->graph, c->func, options, c->allocator, &c->plan));
    VEER_TRY(veer_exec_create(c->plan, &c->exec));
    *out = c;
    return veer_ok();
}

static veer_status_t compile(const char *path, const veer_gradient_request_t *request,
                             const veer_compile_options_t *options, veer_compiled_t **out) {
    veer_allocator_t a = veer_options_allocator(options);
    veer_compiled_t *c = veer_alloc(a, sizeof *c);
    if (!c) return veer_out_of_memory();
    c->allocator = a;
    veer_status_t status = veer_graph_create(a, &c->graph);
    if (!status) status = veer_import_for_options(c->graph, path, options, &c->func);
    if (!status && request)
        status = veer_status_where(veer_build_gradient(c->graph, c->func, request, &c->func), "%s", path);
    if (!status) status = finish(c, options, out);
    if (status) veer_compiled_destroy(c);
    return status;
}

veer_status_t veer_compile_model(const char *path, const veer_compile_options_t *options,
                                 veer_compiled_t **out_compiled) {
    return compile(path, NULL, options, out_compiled);
}

veer_status_t veer_compile_gradient(const char *path, const veer_gradient_request_t *request,
                                    const veer_compile_options_t *options, veer_compiled_t **out_compiled) {
    return compile(path, request, options, out_compiled);
}

/* Writes standard operators that any runtime has, so recognised layers stay as they are and nothing is fused. */
static veer_status_t export_into(veer_graph_t *g, const char *path, const veer_gradient_request_t *request,
                                 const veer_compile_options_t *options, const char *out_path) {
    veer_func_t func;
    VEER_TRY(veer_import_for_options(g, path, options, &func));
    VEER_TRY(veer_status_where(veer_build_gradient(g, func, request, &func), "%s", path));
    VEER_TRY(
        veer_run_passes(g, func, "inline,gradient,fold,cse,dce,expand{export=1},sink-broadcast,fold,cse,dce", options));
    return veer_onnx_export(g, func, out_path, NULL);
}

veer_status_t veer_export_gradient(const char *path, const veer_gradient_request_t *request,
                                   const veer_compile_options_t *options, const char *out_path) {
    veer_graph_t *g;
    VEER_TRY(veer_graph_create(veer_options_allocator(options), &g));
    veer_status_t status = export_into(g, path, request, options, out_path);
    veer_graph_destroy(g);
    return status;
}

const veer_plan_t *veer_compiled_plan(const veer_compiled_t *c) {
    return c->plan;
}

veer_status_t veer_compiled_text(const veer_compiled_t *c, char **out_text) {
    return veer_print(c->graph, c->allocator, out_text);
}

veer_status_t veer_compiled_run(veer_compiled_t *c, const veer_tensor_t *in, veer_tensor_t *out,
                                const veer_run_options_t *options) {
    static const veer_run_options_t defaults;
    char given[VEER_TYPE_TEXT_BYTES], want[VEER_TYPE_TEXT_BYTES];
    for (int i = 0; i < veer_plan_input_count(c->plan); i++) {
        const veer_type_t *type = veer_plan_input_type(c->plan, i);
        if (!veer_type_equal(&in[i].type, type))
            return veer_error(VEER_ERR_CONFIG, "input '%s' is %s, expected %s", veer_plan_input_name(c->plan, i),
                              veer_type_text(&in[i].type, given), veer_type_text(type, want));
        veer_exec_bind_input(c->exec, i, in[i].data);
    }
    for (int i = 0; i < veer_plan_output_count(c->plan); i++) {
        out[i].type = *veer_plan_output_type(c->plan, i);
        veer_exec_bind_output(c->exec, i, out[i].data);
    }
    return veer_exec_run(c->exec, options ? options : &defaults);
}
