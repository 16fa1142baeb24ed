#include "backends/onednn/onednn.h"

#include "backends/onednn/kernel.h"
#include "backends/onednn/match.h"

#include <stdio.h>
#include <string.h>

struct veer_onednn_s {
    veer_allocator_t allocator;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    veer_onednn_compiled_t *kernels; /* newest first */
};

veer_status_t veer_onednn_create(veer_allocator_t allocator, veer_onednn_t **out) {
    veer_onednn_t *dnn = veer_alloc(allocator, sizeof *dnn);
    if (!dnn) return veer_out_of_memory();
    dnn->allocator = allocator;
    dnnl_status_t status = dnnl_engine_create(&dnn->engine, dnnl_cpu, 0);
    if (status == dnnl_success) status = dnnl_stream_create(&dnn->stream, dnn->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) {
        veer_onednn_destroy(dnn);
        return veer_onednn_error(status, "creation of the engine");
    }
    *out = dnn;
    return veer_ok();
}

void veer_onednn_destroy(veer_onednn_t *dnn) {
    if (!dnn) return;
    while (dnn->kernels) {
        veer_onednn_compiled_t *k = dnn->kernels;
        dnn->kernels = *veer_onednn_compiled_next(k);
        veer_onednn_compiled_destroy(k);
    }
    if (dnn->stream) dnnl_stream_destroy(dnn->stream);
    if (dnn->engine) dnnl_engine_destroy(dnn->engine);
    veer_free(dnn->allocator, dnn);
}

void veer_onednn_release(void *dnn) {
    veer_onednn_destroy(dnn);
}

bool veer_onednn_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t size) {
    veer_onednn_match_t m;
    bool ok = veer_onednn_match(g, node, (veer_onednn_layouts_t){0}, &m);
    if (!ok && reason && size) snprintf(reason, size, "%s", m.reason);
    return ok;
}

static veer_status_t emit(veer_onednn_t *dnn, const veer_onednn_problem_t *p, veer_onednn_kernel_t *out) {
    veer_onednn_compiled_t *k;
    VEER_TRY(veer_onednn_compile(dnn->allocator, dnn->engine, dnn->stream, p, &k));
    *veer_onednn_compiled_next(k) = dnn->kernels;
    dnn->kernels = k;
    veer_onednn_compiled_describe(k, out);
    return veer_ok();
}

/* A copy of the weight with the kernel positions, its last dims, in reverse order. */
static veer_status_t reverse_kernel(veer_allocator_t allocator, const veer_onednn_view_t *w, float **out) {
    int64_t size = 1;
    for (int i = 3; i < w->rank; i++) size *= w->dims[i];
    float *copy = veer_alloc_array(allocator, (size_t)w->data_count, sizeof *copy);
    if (!copy) return veer_out_of_memory();
    for (int64_t i = 0; i < w->data_count; i += size)
        for (int64_t k = 0; k < size; k++) copy[i + k] = w->data[i + size - 1 - k];
    *out = copy;
    return veer_ok();
}

veer_status_t veer_onednn_emit(veer_onednn_t *dnn, const veer_graph_t *g, veer_node_t node,
                               const veer_onednn_layouts_t *layouts, veer_onednn_kernel_t *out) {
    veer_onednn_match_t m;
    float *reversed = NULL;
    veer_onednn_view_t *w = &m.problem.tensors[VEER_ONEDNN_W];
    if (!veer_onednn_match(g, node, layouts ? *layouts : (veer_onednn_layouts_t){0}, &m))
        return veer_error(VEER_ERR_UNSUPPORTED, "oneDNN: %s", m.reason);
    if (m.problem.flip_kernel) {
        VEER_TRY(reverse_kernel(dnn->allocator, w, &reversed));
        w->data = reversed;
    }
    veer_status_t status = emit(dnn, &m.problem, out);
    if (!status) out->unused_bufs = m.unused_bufs;
    veer_free(dnn->allocator, reversed);
    return status;
}

veer_status_t veer_onednn_emit_reorder(veer_onednn_t *dnn, const veer_type_t *type, veer_onednn_layout_t from,
                                       veer_onednn_layout_t to, veer_onednn_kernel_t *out) {
    veer_onednn_problem_t p = {.form = VEER_ONEDNN_REORDER};
    char text[VEER_TYPE_TEXT_BYTES];
    if (type->dtype != VEER_DTYPE_F32 || type->rank < 3 || type->rank > 5 || veer_type_count(type) == 0)
        return veer_error(VEER_ERR_UNSUPPORTED, "reorder of %s, expected f32 of rank 3 to 5",
                          veer_type_text(type, text));
    veer_onednn_view_init(&p.tensors[VEER_ONEDNN_X], type->rank, type->dims, from, 0);
    veer_onednn_view_init(&p.tensors[VEER_ONEDNN_Y], type->rank, type->dims, to, 1);
    return emit(dnn, &p, out);
}

const char *veer_onednn_version(void) {
    static _Thread_local char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}
