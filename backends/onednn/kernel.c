/* Rules of running:
 *  1. A primitive is created while OpenMP allows one thread and runs while it allows one: it never splits its own work,
 *     and never finds more threads than it has room for.
 *  2. Memory objects carry pointers, so a thread needs its own. They stand in slots; a thread takes a free one
 * (atomically, the plan may run several times at once), makes one where none is free and puts it back: nothing is
 * allocated once every thread has run the kernel.
 *  3. Packed weights are read-only memory objects that all slots share. */
#include "backends/onednn/kernel.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { MAX_OPERANDS = VEER_ONEDNN_MAX_TENSORS + 1, MAX_STEPS = VEER_ONEDNN_MAX_TENSORS + 1, SLOTS = 64 };

typedef enum source_e { FROM_TENSOR, FROM_STAGE, FROM_WEIGHTS } source_t;

typedef struct operand_s {
    int arg; /* DNNL_ARG_... */
    source_t source;
    int tensor; /* FROM_TENSOR */
    size_t at;  /* FROM_STAGE: bytes into the scratch */
    veer_dnnl_md_t md;
} operand_t;

typedef struct step_s {
    dnnl_primitive_t primitive;
    operand_t operands[MAX_OPERANDS];
    int operand_count;
    int first; /* of its operands in a slot's arrays */
} step_t;

/* Tiles of one size and padding share primitives. */
typedef struct variant_s {
    veer_onednn_tile_t key;
    step_t steps[MAX_STEPS];
    int step_count;
    veer_dnnl_md_t weights; /* the format its primitive wants, for the tile's part of the constant */
} variant_t;

typedef struct pack_s {
    int variant;
    int64_t n0, c0; /* which part of the constant */
    dnnl_memory_t memory;
    void *data;
} pack_t;

typedef struct item_s {
    int variant, pack;
    int64_t offsets[VEER_ONEDNN_MAX_TENSORS]; /* bytes */
} item_t;

typedef struct slot_s {
    dnnl_exec_arg_t *args;
} slot_t;

struct veer_onednn_compiled_s {
    veer_allocator_t allocator;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int bufs[VEER_ONEDNN_MAX_TENSORS];
    float *constants[VEER_ONEDNN_MAX_TENSORS]; /* owned; NULL: the tensor is a buffer */
    item_t *items;
    int64_t item_count;
    variant_t *variants; /* room for one per item */
    int variant_count;
    pack_t *packs; /* room for one per item */
    int pack_count, memory_count;
    _Atomic(slot_t *) slots[SLOTS];
    size_t stage_bytes, scratch_bytes, packed_bytes;
    double flops, bytes;
    char implementation[VEER_ONEDNN_IMPLEMENTATION_BYTES];
    veer_onednn_compiled_t *next;
};

#define DNN_TRY(call)                                                                                                  \
    do {                                                                                                               \
        dnnl_status_t dnn_status_ = (call);                                                                            \
        if (dnn_status_ != dnnl_success) return veer_onednn_error(dnn_status_, #call);                                 \
    } while (0)

veer_status_t veer_onednn_error(dnnl_status_t status, const char *what) {
    int length = (int)strcspn(what, "(");
    if (status == dnnl_out_of_memory) return veer_out_of_memory();
    if (status == dnnl_unimplemented)
        return veer_error(VEER_ERR_UNSUPPORTED, "oneDNN has no implementation of this combination of shapes");
    return veer_error(VEER_ERR_FAILED, "oneDNN: %.*s failed with status %d", length, what, (int)status);
}

/* ---- running ---- */

static void slot_destroy(veer_onednn_compiled_t *k, slot_t *slot) {
    int at = 0;
    if (!slot) return;
    for (int v = 0; slot->args && v < k->variant_count; v++)
        for (int s = 0; s < k->variants[v].step_count; s++)
            for (int i = 0; i < k->variants[v].steps[s].operand_count; i++, at++)
                if (k->variants[v].steps[s].operands[i].source != FROM_WEIGHTS && slot->args[at].memory)
                    dnnl_memory_destroy(slot->args[at].memory);
    veer_free(k->allocator, slot->args);
    veer_free(k->allocator, slot);
}

static bool slot_fill(const veer_onednn_compiled_t *k, slot_t *slot) {
    for (int v = 0; v < k->variant_count; v++)
        for (int s = 0; s < k->variants[v].step_count; s++) {
            const step_t *step = &k->variants[v].steps[s];
            for (int i = 0; i < step->operand_count; i++) {
                dnnl_exec_arg_t *arg = &slot->args[step->first + i];
                arg->arg = step->operands[i].arg;
                if (step->operands[i].source == FROM_WEIGHTS) continue;
                if (veer_dnnl_memory(&arg->memory, &step->operands[i].md, k->engine, DNNL_MEMORY_NONE)) return false;
            }
        }
    return true;
}

static slot_t *slot_create(veer_onednn_compiled_t *k) {
    slot_t *slot = veer_alloc(k->allocator, sizeof *slot);
    if (!slot) return NULL;
    slot->args = veer_alloc_array(k->allocator, (size_t)k->memory_count, sizeof *slot->args);
    if (slot->args && slot_fill(k, slot)) return slot;
    slot_destroy(k, slot);
    return NULL;
}

static slot_t *slot_take(veer_onednn_compiled_t *k, int64_t thread) {
    for (int i = 0; i < SLOTS; i++) {
        slot_t *slot = atomic_exchange(&k->slots[(thread + i) % SLOTS], NULL);
        if (slot) return slot;
    }
    return slot_create(k);
}

static void slot_put(veer_onednn_compiled_t *k, int64_t thread, slot_t *slot) {
    for (int i = 0; i < SLOTS; i++) {
        slot_t *none = NULL;
        if (atomic_compare_exchange_strong(&k->slots[(thread + i) % SLOTS], &none, slot)) return;
    }
    slot_destroy(k, slot);
}

static dnnl_status_t run_step(const veer_onednn_compiled_t *k, const step_t *step, const item_t *item,
                              dnnl_exec_arg_t *args, const veer_kernel_args_t *call) {
    for (int i = 0; i < step->operand_count; i++) {
        const operand_t *o = &step->operands[i];
        if (o->source == FROM_WEIGHTS) {
            args[i].memory = k->packs[item->pack].memory;
            continue;
        }
        char *base = o->source == FROM_STAGE   ? (char *)call->scratch + o->at
                     : k->constants[o->tensor] ? (char *)k->constants[o->tensor] + item->offsets[o->tensor]
                                               : (char *)call->buf[k->bufs[o->tensor]] + item->offsets[o->tensor];
        dnnl_status_t status = dnnl_memory_set_data_handle(args[i].memory, base);
        if (status != dnnl_success) return status;
    }
    return dnnl_primitive_execute(step->primitive, k->stream, step->operand_count, args);
}

static dnnl_status_t run_items(const veer_onednn_compiled_t *k, slot_t *slot, const veer_kernel_args_t *call) {
    dnnl_status_t status = dnnl_success;
    for (int64_t i = call->begin; i < call->end && status == dnnl_success; i++) {
        const variant_t *variant = &k->variants[k->items[i].variant];
        for (int s = 0; s < variant->step_count && status == dnnl_success; s++)
            status = run_step(k, &variant->steps[s], &k->items[i], slot->args + variant->steps[s].first, call);
    }
    return status;
}

static int run(const veer_kernel_args_t *call) {
    veer_onednn_compiled_t *k = (veer_onednn_compiled_t *)call->params;
    slot_t *slot = slot_take(k, call->thread);
    if (!slot) return VEER_KERNEL_MEMORY;
    int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
    if (threads > 1) omp_set_num_threads(1);
    dnnl_status_t status = run_items(k, slot, call);
    if (threads > 1) omp_set_num_threads(threads);
    slot_put(k, call->thread, slot);
    return status == dnnl_success         ? VEER_KERNEL_OK
           : status == dnnl_out_of_memory ? VEER_KERNEL_MEMORY
                                          : VEER_KERNEL_LIBRARY;
}

/* ---- the parts of a tile ---- */

typedef struct part_s {
    int64_t starts[VEER_ONEDNN_MAX_RANK], sizes[VEER_ONEDNN_MAX_RANK];
} part_t;

static void part_axis(part_t *part, const veer_onednn_view_t *v, int axis, int64_t from, int64_t to) {
    if (axis >= v->rank || v->dims[axis] == 1) return; /* a broadcast axis is read as it is */
    part->starts[axis] = from, part->sizes[axis] = to - from;
}

/* Which part of tensor `i` the tile touches. */
static part_t part_of(const veer_onednn_problem_t *p, int i, const veer_onednn_tile_t *t) {
    const veer_onednn_view_t *v = &p->tensors[i];
    bool matmul = p->form == VEER_ONEDNN_MATMUL, same_channels = p->form >= VEER_ONEDNN_POOL;
    part_t part = {0};
    memcpy(part.sizes, v->dims, sizeof part.sizes);
    if (i == VEER_ONEDNN_BIAS || (i == VEER_ONEDNN_W && !matmul)) return part;
    part_axis(&part, v, 0, t->n0, t->n1);
    if (i == VEER_ONEDNN_W)
        part_axis(&part, v, 2, t->c0, t->c1);
    else if (i == VEER_ONEDNN_X) {
        part_axis(&part, v, matmul ? 1 : 2, t->i0, t->i1);
        if (same_channels) part_axis(&part, v, 1, t->c0, t->c1);
    } else {
        part_axis(&part, v, matmul ? 1 : 2, t->a, t->b);
        part_axis(&part, v, matmul ? 2 : 1, t->c0, t->c1);
    }
    return part;
}

static int64_t offset_of(const veer_onednn_view_t *v, const part_t *part) {
    int64_t offset = 0;
    for (int i = 0; i < v->rank; i++) offset += part->starts[i] * v->strides[i];
    return offset * (int64_t)sizeof(float);
}

/* Dims of size 1 may have any stride; oneDNN recognises a layout by the usual ones. */
static bool try_dense(int rank, const int64_t *dims, bool channels_last, int64_t *strides) {
    int64_t dense[VEER_ONEDNN_MAX_RANK];
    veer_onednn_dense_strides(rank, dims, channels_last, dense);
    for (int i = 0; i < rank; i++)
        if (dims[i] > 1 && strides[i] != dense[i]) return false;
    memcpy(strides, dense, (size_t)rank * sizeof *dense);
    return true;
}

static dnnl_status_t part_md(const veer_onednn_problem_t *p, int i, const part_t *part, veer_dnnl_md_t *out) {
    const veer_onednn_view_t *v = &p->tensors[i];
    int64_t strides[VEER_ONEDNN_MAX_RANK];
    bool images = p->form != VEER_ONEDNN_MATMUL && i != VEER_ONEDNN_W;
    memcpy(strides, v->strides, sizeof strides);
    if (!images || !try_dense(v->rank, part->sizes, true, strides)) try_dense(v->rank, part->sizes, false, strides);
    return veer_dnnl_md_strides(out, v->rank, part->sizes, strides);
}

/* ---- making a variant ---- */

typedef struct maker_s {
    veer_onednn_compiled_t *k;
    const veer_onednn_problem_t *p;
    variant_t *variant;
    const veer_onednn_tile_t *tile;
    size_t stage_bytes;                     /* of this variant so far */
    size_t staged[VEER_ONEDNN_MAX_TENSORS]; /* offset + 1 of a tensor's copy in the scratch, 0: used where it is */
} maker_t;

/* Takes `md`. */
static void add_operand(step_t *step, int arg, source_t source, int tensor, size_t at, veer_dnnl_md_t md) {
    step->operands[step->operand_count++] =
        (operand_t){.arg = arg, .source = source, .tensor = tensor, .at = at, .md = md};
}

static size_t stage(maker_t *m, const veer_dnnl_md_t *md) {
    size_t at = m->stage_bytes;
    m->stage_bytes += (veer_dnnl_md_bytes(md) + 63) & ~(size_t)63;
    return at;
}

static veer_status_t add_scratchpad(maker_t *m, step_t *step, const_dnnl_primitive_desc_t pd) {
    veer_dnnl_md_t md;
    DNN_TRY(veer_dnnl_pd_md(pd, dnnl_query_scratchpad_md, 0, &md));
    size_t bytes = veer_dnnl_md_bytes(&md);
    if (!bytes) {
        veer_dnnl_md_deinit(&md);
        return veer_ok();
    }
    add_operand(step, DNNL_ARG_SCRATCHPAD, FROM_STAGE, 0, stage(m, &md), md);
    return veer_ok();
}

static dnnl_status_t create_attr(dnnl_primitive_attr_t *out) {
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    return status;
}

/* Moves a tensor's part into the scratch, channels last, or (`back`) out of it. */
static veer_status_t add_move(maker_t *m, int tensor, bool back) {
    step_t *step = &m->variant->steps[m->variant->step_count];
    part_t part = part_of(m->p, tensor, m->tile);
    veer_dnnl_md_t there = {0}, here = {0};
    int64_t strides[VEER_ONEDNN_MAX_RANK];
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int rank = m->p->tensors[tensor].rank;
    veer_onednn_dense_strides(rank, part.sizes, true, strides);
    dnnl_status_t status = part_md(m->p, tensor, &part, &there);
    if (status == dnnl_success) status = veer_dnnl_md_strides(&here, rank, part.sizes, strides);
    if (status == dnnl_success) status = create_attr(&attr);
    if (status == dnnl_success)
        status = veer_dnnl_reorder(&pd, m->k->engine, back ? &here : &there, back ? &there : &here, attr);
    if (status == dnnl_success) status = dnnl_primitive_create(&step->primitive, pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (status != dnnl_success) {
        veer_dnnl_md_deinit(&there), veer_dnnl_md_deinit(&here);
        if (pd) dnnl_primitive_desc_destroy(pd);
        return veer_onednn_error(status, "reorder");
    }
    m->variant->step_count++;
    if (!back) m->staged[tensor] = stage(m, &here) + 1;
    add_operand(step, back ? DNNL_ARG_TO : DNNL_ARG_FROM, FROM_TENSOR, tensor, 0, there);
    add_operand(step, back ? DNNL_ARG_FROM : DNNL_ARG_TO, FROM_STAGE, 0, m->staged[tensor] - 1, here);
    veer_status_t error = add_scratchpad(m, step, pd);
    dnnl_primitive_desc_destroy(pd);
    return error;
}

/* What the main primitive is told about tensor `i`: its copy in the scratch, or the tensor itself. */
static dnnl_status_t main_md(maker_t *m, int i, veer_dnnl_md_t *out) {
    part_t part = part_of(m->p, i, m->tile);
    int64_t strides[VEER_ONEDNN_MAX_RANK];
    if (!m->p->tensors[i].rank) return dnnl_success;
    if (!m->staged[i]) return part_md(m->p, i, &part, out);
    veer_onednn_dense_strides(m->p->tensors[i].rank, part.sizes, true, strides);
    return veer_dnnl_md_strides(out, m->p->tensors[i].rank, part.sizes, strides);
}

/* A constant weight has the format that the primitive likes, and one group is no group dim. */
static dnnl_status_t weights_md(maker_t *m, bool any, veer_dnnl_md_t *out) {
    const veer_onednn_view_t *w = &m->p->tensors[VEER_ONEDNN_W];
    part_t part = part_of(m->p, VEER_ONEDNN_W, m->tile);
    int skip = m->p->form != VEER_ONEDNN_MATMUL && w->dims[0] == 1;
    return veer_dnnl_md_strides(out, w->rank - skip, part.sizes + skip, any ? NULL : w->strides + skip);
}

static dnnl_status_t append_posts(maker_t *m, dnnl_post_ops_t ops, veer_dnnl_md_t *mds) {
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < m->p->post_count && status == dnnl_success; i++) {
        const veer_onednn_post_t *post = &m->p->posts[i];
        if (!m->p->tensors[VEER_ONEDNN_POST + i].rank) {
            status = veer_dnnl_post_eltwise(ops, post->alg, post->alpha, post->beta);
            continue;
        }
        status = main_md(m, VEER_ONEDNN_POST + i, &mds[i]);
        if (status == dnnl_success) status = veer_dnnl_post_binary(ops, post->alg, &mds[i]);
    }
    return status;
}

static dnnl_status_t create_post_attr(maker_t *m, dnnl_primitive_attr_t *out, veer_dnnl_md_t *mds) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = create_attr(out);
    if (status == dnnl_success) status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success) status = append_posts(m, ops, mds);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return status;
}

static dnnl_status_t create_main(maker_t *m, const veer_dnnl_operands_t *o, dnnl_primitive_attr_t attr,
                                 dnnl_primitive_desc_t *out) {
    veer_dnnl_window_t w = m->p->window;
    dnnl_engine_t engine = m->k->engine;
    if (m->p->form <= VEER_ONEDNN_CONV_TRANSPOSE || m->p->form == VEER_ONEDNN_POOL)
        w.pads_before[0] = m->tile->pad_before, w.pads_after[0] = m->tile->pad_after;
    switch (m->p->form) {
    case VEER_ONEDNN_CONV:
    case VEER_ONEDNN_CONV_TRANSPOSE:
        return veer_dnnl_conv(out, engine, m->p->form == VEER_ONEDNN_CONV_TRANSPOSE, o, &w, attr);
    case VEER_ONEDNN_MATMUL: return veer_dnnl_matmul(out, engine, o, attr);
    case VEER_ONEDNN_POOL: return veer_dnnl_pool(out, engine, m->p->alg, o, &w, attr);
    case VEER_ONEDNN_RESAMPLING: return veer_dnnl_resampling(out, engine, m->p->alg, o, attr);
    case VEER_ONEDNN_REORDER: return veer_dnnl_reorder(out, engine, &o->src, &o->dst, attr);
    }
    return dnnl_invalid_arguments;
}

/* oneDNN's own reference loops are far slower than ours; reorders have good ones under names of all kinds. */
static veer_status_t check_implementation(maker_t *m, const_dnnl_primitive_desc_t pd) {
    const char *name = "";
    DNN_TRY(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name));
    if (!m->k->implementation[0]) snprintf(m->k->implementation, sizeof m->k->implementation, "%s", name);
    bool reference = !strncmp(name, "ref", 3) || strstr(name, ":ref") || !strncmp(name, "simple:any", 10);
    if (reference && m->p->form != VEER_ONEDNN_REORDER)
        return veer_error(VEER_ERR_UNSUPPORTED, "oneDNN has only its reference implementation (%s) for these shapes",
                          name);
    return veer_ok();
}

/* Takes the descriptors out of `o` and `posts`. */
static veer_status_t bind_operands(maker_t *m, step_t *step, const_dnnl_primitive_desc_t pd, veer_dnnl_operands_t *o,
                                   veer_dnnl_md_t *posts) {
    const veer_onednn_problem_t *p = m->p;
    veer_dnnl_md_t *mds[] = {&o->src, &o->weights, &o->bias, &o->dst};
    const int args[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST};
    for (int i = 0; i < VEER_ONEDNN_POST + p->post_count; i++) {
        veer_dnnl_md_t *md = i < VEER_ONEDNN_POST ? mds[i] : &posts[i - VEER_ONEDNN_POST];
        int arg =
            i < VEER_ONEDNN_POST ? args[i] : DNNL_ARG_ATTR_MULTIPLE_POST_OP(i - VEER_ONEDNN_POST) | DNNL_ARG_SRC_1;
        if (!md->present) continue;
        if (i == VEER_ONEDNN_W && p->tensors[i].data) {
            DNN_TRY(veer_dnnl_pd_md(pd, dnnl_query_weights_md, 0, &m->variant->weights));
            veer_dnnl_md_deinit(md);
            add_operand(step, arg, FROM_WEIGHTS, i, 0, (veer_dnnl_md_t){0});
            continue;
        }
        add_operand(step, arg, m->staged[i] ? FROM_STAGE : FROM_TENSOR, i, m->staged[i] ? m->staged[i] - 1 : 0, *md);
        *md = (veer_dnnl_md_t){0};
    }
    return add_scratchpad(m, step, pd);
}

static veer_status_t add_main(maker_t *m) {
    step_t *step = &m->variant->steps[m->variant->step_count];
    veer_dnnl_operands_t o = {0};
    veer_dnnl_md_t posts[VEER_ONEDNN_MAX_POST] = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    veer_status_t error = NULL;
    bool has_weights = m->p->tensors[VEER_ONEDNN_W].rank > 0;
    dnnl_status_t status = main_md(m, VEER_ONEDNN_X, &o.src);
    if (status == dnnl_success && has_weights) status = weights_md(m, m->p->tensors[VEER_ONEDNN_W].data, &o.weights);
    if (status == dnnl_success) status = main_md(m, VEER_ONEDNN_BIAS, &o.bias);
    if (status == dnnl_success) status = main_md(m, VEER_ONEDNN_Y, &o.dst);
    if (status == dnnl_success) status = create_post_attr(m, &attr, posts);
    if (status == dnnl_success) status = create_main(m, &o, attr, &pd);
    if (status == dnnl_success) error = check_implementation(m, pd);
    if (status == dnnl_success && !error) status = dnnl_primitive_create(&step->primitive, pd);
    if (status == dnnl_success && !error) {
        m->variant->step_count++;
        error = bind_operands(m, step, pd, &o, posts);
    }
    for (int i = 0; i < VEER_ONEDNN_MAX_POST; i++) veer_dnnl_md_deinit(&posts[i]);
    veer_dnnl_md_deinit(&o.src), veer_dnnl_md_deinit(&o.weights), veer_dnnl_md_deinit(&o.bias),
        veer_dnnl_md_deinit(&o.dst);
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (pd) dnnl_primitive_desc_destroy(pd);
    return error ? error : status == dnnl_success ? veer_ok() : veer_onednn_error(status, "the primitive's descriptor");
}

/* Convolutions work channels last: what lies otherwise is moved there and back within the tile. Operands that are
 * spread over pixels must lie as y does; the others do not care. */
static bool wants_stage(const veer_onednn_problem_t *p, int i) {
    const veer_onednn_view_t *v = &p->tensors[i], *y = &p->tensors[VEER_ONEDNN_Y];
    if (p->form > VEER_ONEDNN_CONV_TRANSPOSE || !v->rank || i == VEER_ONEDNN_W || i == VEER_ONEDNN_BIAS) return false;
    if (i >= VEER_ONEDNN_POST && veer_onednn_view_count(v) != veer_onednn_view_count(y)) return false;
    return !veer_onednn_channels_last(v);
}

static veer_status_t make_variant(maker_t *m) {
    const veer_onednn_problem_t *p = m->p;
    veer_dnnl_md_t y = {0};
    for (int i = 0; i < VEER_ONEDNN_POST + p->post_count; i++)
        if (i != VEER_ONEDNN_Y && wants_stage(p, i)) VEER_TRY(add_move(m, i, false));
    if (wants_stage(p, VEER_ONEDNN_Y)) {
        m->staged[VEER_ONEDNN_Y] = 1; /* so that main_md describes the copy */
        DNN_TRY(main_md(m, VEER_ONEDNN_Y, &y));
        m->staged[VEER_ONEDNN_Y] = stage(m, &y) + 1;
        veer_dnnl_md_deinit(&y);
    }
    VEER_TRY(add_main(m));
    return m->staged[VEER_ONEDNN_Y] ? add_move(m, VEER_ONEDNN_Y, true) : veer_ok();
}

/* ---- packed constants ---- */

static veer_status_t pack_weights(veer_onednn_compiled_t *k, const veer_onednn_problem_t *p, const variant_t *variant,
                                  const veer_onednn_tile_t *tile, pack_t *pack) {
    maker_t m = {.k = k, .p = p, .tile = tile};
    part_t part = part_of(p, VEER_ONEDNN_W, tile);
    const char *from = (const char *)p->tensors[VEER_ONEDNN_W].data + offset_of(&p->tensors[VEER_ONEDNN_W], &part);
    size_t bytes = veer_dnnl_md_bytes(&variant->weights);
    veer_dnnl_md_t plain = {0};
    dnnl_memory_t src = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    if (!(pack->data = veer_alloc(k->allocator, bytes))) return veer_out_of_memory();
    k->packed_bytes += bytes;
    dnnl_status_t status = weights_md(&m, false, &plain);
    if (status == dnnl_success) status = veer_dnnl_memory(&src, &plain, k->engine, (void *)from);
    if (status == dnnl_success) status = veer_dnnl_memory(&pack->memory, &variant->weights, k->engine, pack->data);
    if (status == dnnl_success) status = veer_dnnl_reorder(&pd, k->engine, &plain, &variant->weights, NULL);
    if (status == dnnl_success) status = dnnl_primitive_create(&reorder, pd);
    if (status == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, pack->memory}};
        status = dnnl_primitive_execute(reorder, k->stream, 2, args);
    }
    if (reorder) dnnl_primitive_destroy(reorder);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (src) dnnl_memory_destroy(src);
    veer_dnnl_md_deinit(&plain);
    return status == dnnl_success ? veer_ok() : veer_onednn_error(status, "packing of the weight");
}

/* Tiles whose primitives want one format share one packed copy. */
static veer_status_t find_pack(veer_onednn_compiled_t *k, const veer_onednn_problem_t *p, int variant,
                               const veer_onednn_tile_t *tile, int *out_pack) {
    part_t part = part_of(p, VEER_ONEDNN_W, tile);
    bool matmul = p->form == VEER_ONEDNN_MATMUL;
    int64_t n0 = matmul ? part.starts[0] : 0, c0 = matmul ? part.starts[2] : 0;
    if (!k->variants[variant].weights.present) return veer_ok();
    for (int i = 0; i < k->pack_count; i++)
        if (k->packs[i].n0 == n0 && k->packs[i].c0 == c0 &&
            veer_dnnl_md_equal(&k->variants[k->packs[i].variant].weights, &k->variants[variant].weights)) {
            *out_pack = i;
            return veer_ok();
        }
    pack_t *pack = &k->packs[k->pack_count];
    *pack = (pack_t){.variant = variant, .n0 = n0, .c0 = c0};
    *out_pack = k->pack_count++;
    return pack_weights(k, p, &k->variants[variant], tile, pack);
}

static veer_status_t copy_constants(veer_onednn_compiled_t *k, const veer_onednn_problem_t *p) {
    for (int i = 0; i < VEER_ONEDNN_POST + p->post_count; i++) {
        const veer_onednn_view_t *v = &p->tensors[i];
        k->bufs[i] = v->buf;
        if (!v->data || i == VEER_ONEDNN_W) continue;
        size_t bytes = (size_t)v->data_count * sizeof(float);
        if (!(k->constants[i] = veer_alloc(k->allocator, bytes))) return veer_out_of_memory();
        memcpy(k->constants[i], v->data, bytes);
        k->packed_bytes += bytes;
    }
    return veer_ok();
}

/* ---- compiling ---- */

static bool same_shape(const veer_onednn_tile_t *a, const veer_onednn_tile_t *b) {
    return a->n1 - a->n0 == b->n1 - b->n0 && a->c1 - a->c0 == b->c1 - b->c0 && a->b - a->a == b->b - b->a &&
           a->i1 - a->i0 == b->i1 - b->i0 && a->pad_before == b->pad_before && a->pad_after == b->pad_after;
}

static veer_status_t find_variant(veer_onednn_compiled_t *k, const veer_onednn_problem_t *p,
                                  const veer_onednn_tile_t *tile, int *out_variant) {
    for (int i = 0; i < k->variant_count; i++)
        if (same_shape(&k->variants[i].key, tile)) {
            *out_variant = i;
            return veer_ok();
        }
    variant_t *variant = &k->variants[k->variant_count];
    variant->key = *tile;
    maker_t m = {.k = k, .p = p, .variant = variant, .tile = tile};
    *out_variant = k->variant_count++;
    VEER_TRY(make_variant(&m));
    if (m.stage_bytes > k->scratch_bytes) k->scratch_bytes = m.stage_bytes;
    return veer_ok();
}

static veer_status_t make_item(veer_onednn_compiled_t *k, const veer_onednn_problem_t *p,
                               const veer_onednn_tile_t *tile, item_t *item) {
    VEER_TRY(find_variant(k, p, tile, &item->variant));
    VEER_TRY(find_pack(k, p, item->variant, tile, &item->pack));
    for (int i = 0; i < VEER_ONEDNN_POST + p->post_count; i++) {
        part_t part = part_of(p, i, tile);
        item->offsets[i] = offset_of(&p->tensors[i], &part);
    }
    return veer_ok();
}

static veer_status_t compile(veer_onednn_compiled_t *k, const veer_onednn_problem_t *p) {
    veer_onednn_cut_t cut = veer_onednn_cut(p);
    size_t count = (size_t)cut.count;
    k->item_count = cut.count;
    k->flops = p->flops;
    k->items = veer_alloc_array(k->allocator, count, sizeof *k->items);
    k->variants = veer_alloc_array(k->allocator, count, sizeof *k->variants);
    k->packs = veer_alloc_array(k->allocator, count, sizeof *k->packs);
    if (!k->items || !k->variants || !k->packs) return veer_out_of_memory();
    VEER_TRY(copy_constants(k, p));
    for (int64_t i = 0; i < cut.count; i++) {
        veer_onednn_tile_t tile = veer_onednn_tile(p, &cut, i);
        VEER_TRY(make_item(k, p, &tile, &k->items[i]));
    }
    for (int v = 0; v < k->variant_count; v++)
        for (int s = 0; s < k->variants[v].step_count; s++) {
            k->variants[v].steps[s].first = k->memory_count;
            k->memory_count += k->variants[v].steps[s].operand_count;
        }
    for (int i = 0; i < VEER_ONEDNN_POST + p->post_count; i++)
        k->bytes += (double)veer_onednn_view_count(&p->tensors[i]) * sizeof(float);
    return veer_ok();
}

veer_status_t veer_onednn_compile(veer_allocator_t allocator, dnnl_engine_t engine, dnnl_stream_t stream,
                                  const veer_onednn_problem_t *p, veer_onednn_compiled_t **out) {
    veer_onednn_compiled_t *k = veer_alloc(allocator, sizeof *k);
    if (!k) return veer_out_of_memory();
    k->allocator = allocator, k->engine = engine, k->stream = stream;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    veer_status_t status = compile(k, p);
    omp_set_num_threads(threads);
    if (status)
        veer_onednn_compiled_destroy(k);
    else
        *out = k;
    return status;
}

static void variant_deinit(variant_t *variant) {
    for (int s = 0; s < VEER_ONEDNN_MAX_TENSORS + 1; s++) {
        step_t *step = &variant->steps[s];
        if (step->primitive) dnnl_primitive_destroy(step->primitive);
        for (int i = 0; i < step->operand_count; i++) veer_dnnl_md_deinit(&step->operands[i].md);
    }
    veer_dnnl_md_deinit(&variant->weights);
}

void veer_onednn_compiled_destroy(veer_onednn_compiled_t *k) {
    if (!k) return;
    for (int i = 0; i < SLOTS; i++) slot_destroy(k, k->slots[i]);
    for (int i = 0; i < k->pack_count; i++) {
        if (k->packs[i].memory) dnnl_memory_destroy(k->packs[i].memory);
        veer_free(k->allocator, k->packs[i].data);
    }
    for (int i = 0; i < k->variant_count; i++) variant_deinit(&k->variants[i]);
    for (int i = 0; i < VEER_ONEDNN_MAX_TENSORS; i++) veer_free(k->allocator, k->constants[i]);
    veer_free(k->allocator, k->items);
    veer_free(k->allocator, k->variants);
    veer_free(k->allocator, k->packs);
    veer_free(k->allocator, k);
}

void veer_onednn_compiled_describe(const veer_onednn_compiled_t *k, veer_onednn_kernel_t *out) {
    *out = (veer_onednn_kernel_t){.fn = run,
                                  .params = k,
                                  .work_items = k->item_count,
                                  .scratch_bytes = k->scratch_bytes,
                                  .flops = k->flops,
                                  .bytes = k->bytes,
                                  .packed_bytes = k->packed_bytes};
    memcpy(out->implementation, k->implementation, sizeof out->implementation);
}

const void *veer_onednn_constant(const void *params, int i, size_t *out_bytes) {
    const veer_onednn_compiled_t *k = params;
    if (i >= k->pack_count) return NULL;
    *out_bytes = veer_dnnl_md_bytes(&k->variants[k->packs[i].variant].weights);
    return k->packs[i].data;
}

veer_onednn_compiled_t **veer_onednn_compiled_next(veer_onednn_compiled_t *k) {
    return &k->next;
}
