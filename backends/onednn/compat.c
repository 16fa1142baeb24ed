#include "backends/onednn/compat.h"

#if DNNL_VERSION_MAJOR < 3

static dnnl_status_t publish(veer_dnnl_md_t *out, const dnnl_memory_desc_t *md, dnnl_status_t status) {
    *out = (veer_dnnl_md_t){.present = status == dnnl_success};
    if (out->present) out->md = *md;
    return status;
}

dnnl_status_t veer_dnnl_md_strides(veer_dnnl_md_t *out, int rank, const int64_t *dims, const int64_t *strides) {
    dnnl_memory_desc_t md;
    if (!strides) return veer_dnnl_md_tag(out, rank, dims, dnnl_format_tag_any);
    return publish(out, &md, dnnl_memory_desc_init_by_strides(&md, rank, dims, dnnl_f32, strides));
}

dnnl_status_t veer_dnnl_md_tag(veer_dnnl_md_t *out, int rank, const int64_t *dims, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t md;
    return publish(out, &md, dnnl_memory_desc_init_by_tag(&md, rank, dims, dnnl_f32, tag));
}

void veer_dnnl_md_deinit(veer_dnnl_md_t *md) {
    *md = (veer_dnnl_md_t){0};
}
static const dnnl_memory_desc_t *view(const veer_dnnl_md_t *md) {
    return md->present ? &md->md : NULL;
}
size_t veer_dnnl_md_bytes(const veer_dnnl_md_t *md) {
    return md->present ? dnnl_memory_desc_get_size(&md->md) : 0;
}

bool veer_dnnl_md_equal(const veer_dnnl_md_t *a, const veer_dnnl_md_t *b) {
    return a->present == b->present && (!a->present || dnnl_memory_desc_equal(&a->md, &b->md));
}

dnnl_status_t veer_dnnl_pd_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what, int index, veer_dnnl_md_t *out) {
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, what, index);
    *out = (veer_dnnl_md_t){0};
    return md && md->ndims ? publish(out, md, dnnl_success) : dnnl_success;
}

dnnl_status_t veer_dnnl_post_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha, float beta) {
    return dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, beta);
}

dnnl_status_t veer_dnnl_conv(dnnl_primitive_desc_t *out, dnnl_engine_t engine, bool transposed,
                             const veer_dnnl_operands_t *operands, const veer_dnnl_window_t *window,
                             const_dnnl_primitive_attr_t attr) {
    const veer_dnnl_operands_t *o = operands;
    const veer_dnnl_window_t *w = window;
    /* Deconvolution's descriptor is convolution's type with another primitive kind. */
    dnnl_convolution_desc_t desc;
    dnnl_status_t status =
        transposed ? dnnl_dilated_deconvolution_forward_desc_init(
                         &desc, dnnl_forward_inference, dnnl_deconvolution_direct, view(&o->src), view(&o->weights),
                         view(&o->bias), view(&o->dst), w->strides, w->dilates, w->pads_before, w->pads_after)
                   : dnnl_dilated_convolution_forward_desc_init(
                         &desc, dnnl_forward_inference, dnnl_convolution_direct, view(&o->src), view(&o->weights),
                         view(&o->bias), view(&o->dst), w->strides, w->dilates, w->pads_before, w->pads_after);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &desc, attr, engine, NULL) : status;
}

dnnl_status_t veer_dnnl_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const veer_dnnl_operands_t *operands,
                               const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    dnnl_status_t status = dnnl_matmul_desc_init(&desc, view(&operands->src), view(&operands->weights),
                                                 view(&operands->bias), view(&operands->dst));
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &desc, attr, engine, NULL) : status;
}

dnnl_status_t veer_dnnl_inner_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                      const veer_dnnl_operands_t *operands, const_dnnl_primitive_attr_t attr) {
    dnnl_inner_product_desc_t desc;
    dnnl_status_t status =
        dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_inference, view(&operands->src),
                                             view(&operands->weights), view(&operands->bias), view(&operands->dst));
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &desc, attr, engine, NULL) : status;
}

dnnl_status_t veer_dnnl_pool(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t alg,
                             const veer_dnnl_operands_t *operands, const veer_dnnl_window_t *window,
                             const_dnnl_primitive_attr_t attr) {
    const veer_dnnl_window_t *w = window;
    dnnl_pooling_v2_desc_t desc;
    dnnl_status_t status = dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_inference, alg, view(&operands->src),
                                                             view(&operands->dst), w->strides, w->kernel, w->dilates,
                                                             w->pads_before, w->pads_after);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &desc, attr, engine, NULL) : status;
}

dnnl_status_t veer_dnnl_resampling(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t alg,
                                   const veer_dnnl_operands_t *operands, const_dnnl_primitive_attr_t attr) {
    dnnl_resampling_desc_t desc;
    dnnl_status_t status = dnnl_resampling_forward_desc_init(&desc, dnnl_forward_inference, alg, NULL,
                                                             view(&operands->src), view(&operands->dst));
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &desc, attr, engine, NULL) : status;
}

#else

static dnnl_status_t publish(veer_dnnl_md_t *out, dnnl_memory_desc_t md, dnnl_status_t status) {
    *out = status == dnnl_success ? (veer_dnnl_md_t){md, true} : (veer_dnnl_md_t){0};
    return status;
}

dnnl_status_t veer_dnnl_md_strides(veer_dnnl_md_t *out, int rank, const int64_t *dims, const int64_t *strides) {
    dnnl_memory_desc_t md = NULL;
    if (!strides) return veer_dnnl_md_tag(out, rank, dims, dnnl_format_tag_any);
    dnnl_status_t status = dnnl_memory_desc_create_with_strides(&md, rank, dims, dnnl_f32, strides);
    return publish(out, md, status);
}

dnnl_status_t veer_dnnl_md_tag(veer_dnnl_md_t *out, int rank, const int64_t *dims, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t md = NULL;
    dnnl_status_t status = dnnl_memory_desc_create_with_tag(&md, rank, dims, dnnl_f32, tag);
    return publish(out, md, status);
}

void veer_dnnl_md_deinit(veer_dnnl_md_t *md) {
    if (md->present) dnnl_memory_desc_destroy(md->md);
    *md = (veer_dnnl_md_t){0};
}

static const_dnnl_memory_desc_t view(const veer_dnnl_md_t *md) {
    return md->present ? md->md : NULL;
}
size_t veer_dnnl_md_bytes(const veer_dnnl_md_t *md) {
    return md->present ? dnnl_memory_desc_get_size(md->md) : 0;
}

bool veer_dnnl_md_equal(const veer_dnnl_md_t *a, const veer_dnnl_md_t *b) {
    return a->present == b->present && (!a->present || dnnl_memory_desc_equal(a->md, b->md));
}

dnnl_status_t veer_dnnl_pd_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what, int index, veer_dnnl_md_t *out) {
    const_dnnl_memory_desc_t borrowed = dnnl_primitive_desc_query_md(pd, what, index);
    int rank = 0;
    *out = (veer_dnnl_md_t){0};
    if (!borrowed || dnnl_memory_desc_query(borrowed, dnnl_query_ndims_s32, &rank) != dnnl_success || rank == 0)
        return dnnl_success;
    dnnl_memory_desc_t md = NULL;
    dnnl_status_t status = dnnl_memory_desc_clone(&md, borrowed);
    return publish(out, md, status);
}

dnnl_status_t veer_dnnl_post_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha, float beta) {
    return dnnl_post_ops_append_eltwise(ops, alg, alpha, beta);
}

dnnl_status_t veer_dnnl_conv(dnnl_primitive_desc_t *out, dnnl_engine_t engine, bool transposed,
                             const veer_dnnl_operands_t *operands, const veer_dnnl_window_t *window,
                             const_dnnl_primitive_attr_t attr) {
    const veer_dnnl_operands_t *o = operands;
    const veer_dnnl_window_t *w = window;
    return transposed
               ? dnnl_deconvolution_forward_primitive_desc_create(
                     out, engine, dnnl_forward_inference, dnnl_deconvolution_direct, view(&o->src), view(&o->weights),
                     view(&o->bias), view(&o->dst), w->strides, w->dilates, w->pads_before, w->pads_after, attr)
               : dnnl_convolution_forward_primitive_desc_create(
                     out, engine, dnnl_forward_inference, dnnl_convolution_direct, view(&o->src), view(&o->weights),
                     view(&o->bias), view(&o->dst), w->strides, w->dilates, w->pads_before, w->pads_after, attr);
}

dnnl_status_t veer_dnnl_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const veer_dnnl_operands_t *operands,
                               const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(out, engine, view(&operands->src), view(&operands->weights),
                                             view(&operands->bias), view(&operands->dst), attr);
}

dnnl_status_t veer_dnnl_inner_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                      const veer_dnnl_operands_t *operands, const_dnnl_primitive_attr_t attr) {
    return dnnl_inner_product_forward_primitive_desc_create(out, engine, dnnl_forward_inference, view(&operands->src),
                                                            view(&operands->weights), view(&operands->bias),
                                                            view(&operands->dst), attr);
}

dnnl_status_t veer_dnnl_pool(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t alg,
                             const veer_dnnl_operands_t *operands, const veer_dnnl_window_t *window,
                             const_dnnl_primitive_attr_t attr) {
    const veer_dnnl_window_t *w = window;
    return dnnl_pooling_forward_primitive_desc_create(out, engine, dnnl_forward_inference, alg, view(&operands->src),
                                                      view(&operands->dst), w->strides, w->kernel, w->dilates,
                                                      w->pads_before, w->pads_after, attr);
}

dnnl_status_t veer_dnnl_resampling(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t alg,
                                   const veer_dnnl_operands_t *operands, const_dnnl_primitive_attr_t attr) {
    return dnnl_resampling_forward_primitive_desc_create(out, engine, dnnl_forward_inference, alg, NULL,
                                                         view(&operands->src), view(&operands->dst), attr);
}

#endif

dnnl_status_t veer_dnnl_memory(dnnl_memory_t *out, const veer_dnnl_md_t *md, dnnl_engine_t engine, void *handle) {
    return dnnl_memory_create(out, view(md), engine, handle);
}

dnnl_status_t veer_dnnl_post_binary(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, const veer_dnnl_md_t *operand) {
    return dnnl_post_ops_append_binary(ops, alg, view(operand));
}

dnnl_status_t veer_dnnl_reorder(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const veer_dnnl_md_t *src,
                                const veer_dnnl_md_t *dst, const_dnnl_primitive_attr_t attr) {
    return dnnl_reorder_primitive_desc_create(out, view(src), engine, view(dst), engine, attr);
}
