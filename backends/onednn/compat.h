/* oneDNN 2.x (Debian 12) and 3.x (Debian 13) behind one interface: the only file pair that asks which one it is. Thin:
 * the calls keep oneDNN's status and argument order; tensors are f32; every primitive is an inference one with a
 * scratchpad that the caller provides.
 *
 *     veer_dnnl_md_t src = {0};
 *     status = veer_dnnl_md_strides(&src, 2, dims, NULL);   // NULL strides: any format the primitive likes
 *     ...
 *     veer_dnnl_md_deinit(&src);                            // also right for a zeroed one
 */
#ifndef VEER_BACKENDS_ONEDNN_COMPAT_H
#define VEER_BACKENDS_ONEDNN_COMPAT_H

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_version.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A memory descriptor: a value in 2.x, an object in 3.x. A zeroed one is absent (no bias). */
typedef struct veer_dnnl_md_s {
    dnnl_memory_desc_t md;
    bool present;
} veer_dnnl_md_t;

/* `out` is overwritten without being released. Strides in elements, one per dim; NULL: format any. */
dnnl_status_t veer_dnnl_md_strides(veer_dnnl_md_t *out, int rank, const int64_t *dims, const int64_t *strides);
dnnl_status_t veer_dnnl_md_tag(veer_dnnl_md_t *out, int rank, const int64_t *dims, dnnl_format_tag_t tag);
void veer_dnnl_md_deinit(veer_dnnl_md_t *md);
size_t veer_dnnl_md_bytes(const veer_dnnl_md_t *md);
bool veer_dnnl_md_equal(const veer_dnnl_md_t *a, const veer_dnnl_md_t *b);
/* What a primitive chose: dnnl_query_src_md, _weights_md, _dst_md, _scratchpad_md ... Absent where it has none. */
dnnl_status_t veer_dnnl_pd_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what, int index, veer_dnnl_md_t *out);
/* A memory object over `handle` (DNNL_MEMORY_NONE: set later). */
dnnl_status_t veer_dnnl_memory(dnnl_memory_t *out, const veer_dnnl_md_t *md, dnnl_engine_t engine, void *handle);

dnnl_status_t veer_dnnl_post_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha, float beta);
dnnl_status_t veer_dnnl_post_binary(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, const veer_dnnl_md_t *operand);

/* Operands of a primitive with up to three inputs; absent ones are zeroed. */
typedef struct veer_dnnl_operands_s {
    veer_dnnl_md_t src, weights, bias, dst;
} veer_dnnl_operands_t;

/* Windows of convolution and pooling: one entry per spatial dim; dilations are oneDNN's (0: dense). */
typedef struct veer_dnnl_window_s {
    dnnl_dims_t kernel, strides, dilates, pads_before, pads_after;
} veer_dnnl_window_t;

/* dnnl_unimplemented where no implementation takes the combination; `attr` may be NULL. */
dnnl_status_t veer_dnnl_conv(dnnl_primitive_desc_t *out, dnnl_engine_t engine, bool transposed,
                             const veer_dnnl_operands_t *operands, const veer_dnnl_window_t *window,
                             const_dnnl_primitive_attr_t attr);
dnnl_status_t veer_dnnl_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const veer_dnnl_operands_t *operands,
                               const_dnnl_primitive_attr_t attr);
dnnl_status_t veer_dnnl_inner_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                      const veer_dnnl_operands_t *operands, const_dnnl_primitive_attr_t attr);
dnnl_status_t veer_dnnl_pool(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t alg,
                             const veer_dnnl_operands_t *operands, const veer_dnnl_window_t *window,
                             const_dnnl_primitive_attr_t attr);
dnnl_status_t veer_dnnl_resampling(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t alg,
                                   const veer_dnnl_operands_t *operands, const_dnnl_primitive_attr_t attr);
dnnl_status_t veer_dnnl_reorder(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const veer_dnnl_md_t *src,
                                const veer_dnnl_md_t *dst, const_dnnl_primitive_attr_t attr);

#endif
