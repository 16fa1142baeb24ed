/* Which implementation computes a node. Makers are asked in a fixed order, unless measurement says otherwise
 * (tune.h); each may decline and says why; the reference loops take what is left. */
#ifndef VEER_API_CHOOSE_H
#define VEER_API_CHOOSE_H

#include "api/cache.h"
#include "ir/graph.h"
#include "runtime/plan.h"

typedef enum veer_backend_e {
    VEER_BACKEND_AUTO,     /* the fastest that takes a node, the reference loops as the last resort */
    VEER_BACKEND_REFERENCE /* the reference loops only */
} veer_backend_t;

/* In the order in which they are asked. */
typedef enum veer_maker_e {
    VEER_MAKER_NONE,
    VEER_MAKER_AMX_MATMUL,     /* packed products of our own on the matrix unit, where there is one */
    VEER_MAKER_LLVM_MATMUL,    /* in vectors */
    VEER_MAKER_LLVM_ATTENTION, /* and its gradient */
    VEER_MAKER_AMX_CONV,       /* convolutions of our own on the matrix unit, in numbers of 16 bits: other than
                                  Winograd's */
    VEER_MAKER_WINOGRAD_4_FLY, /* 3x3 convolutions of our own, in tiles of 4x4, weights transformed on the fly: they
                                  take less memory than packed ones and less of its speed, which threads share */
    VEER_MAKER_WINOGRAD_4,
    VEER_MAKER_WINOGRAD_2_FLY,
    VEER_MAKER_WINOGRAD_2,
    VEER_MAKER_ONEDNN,
    VEER_MAKER_LLVM, /* fused elementwise and reductions */
    VEER_MAKER_REFERENCE,
    VEER_MAKER_COUNT
} veer_maker_t;

/* "llvm matmul", "onednn", ...: in cached measurements and reasons. */
const char *veer_maker_name(veer_maker_t maker);

/* "llvm 19.1.7, onednn 2.6.3", of the libraries that are loaded. */
enum { VEER_MAKERS_VERSIONS_BYTES = 96 };
void veer_makers_versions(char out[VEER_MAKERS_VERSIONS_BYTES]);

typedef struct veer_makers_options_s {
    veer_backend_t backend;
    bool strict;         /* as veer_precision_parse says */
    veer_cache_t *cache; /* NULL: none; must live until veer_makers_finish */
} veer_makers_options_t;

/* The backends of one plan. Owned by it once opened (veer_plan_on_destroy). */
typedef struct veer_makers_s {
    veer_makers_options_t options;
    veer_allocator_t allocator;
    veer_plan_t *plan;
    struct veer_llvm_s *llvm;
    struct veer_onednn_s *onednn;
} veer_makers_t;

VEER_MUST_USE veer_status_t veer_makers_open(const veer_makers_options_t *options, veer_plan_t *plan,
                                             veer_allocator_t allocator, veer_makers_t *out_makers);
/* Compiles what was chosen; then every choice has its function. */
VEER_MUST_USE veer_status_t veer_makers_finish(veer_makers_t *makers);

/* How much of the core's matrix unit is to be had just now, 0 to 1; 1 where there is none. */
double veer_makers_unit_share(const veer_makers_t *makers);

/* What was chosen for a node. */
typedef struct veer_choice_s {
    veer_maker_t by;
    int llvm_id;
    const void *packed; /* takes the place of buffer `packed_buf`; NULL: none */
    size_t packed_bytes;
    int packed_buf;
    veer_call_desc_t desc; /* backend, params, work_items, scratch, flops, bytes; fn unless it is LLVM's */
    const char *reason;    /* the plan's */
} veer_choice_t;

/* Whether `maker` would take the node; where not, `reason` says why, or is empty where the node is none of its kind.
 * It may still decline when asked to emit it. Fails only where memory is short. */
VEER_MUST_USE veer_status_t veer_maker_supports(const veer_makers_t *makers, veer_maker_t maker, const veer_graph_t *g,
                                                veer_node_t n, bool *out_supports, char *reason, size_t reason_bytes);
/* out->by stays VEER_MAKER_NONE where it declines, and `reason` says why. */
VEER_MUST_USE veer_status_t veer_maker_emit(veer_makers_t *makers, veer_maker_t maker, const veer_graph_t *g,
                                            veer_node_t n, veer_choice_t *out, char *reason, size_t reason_bytes);
/* `first`: asked before the others; VEER_MAKER_NONE: nobody. `why_first` goes into the reason. */
VEER_MUST_USE veer_status_t veer_choose(veer_makers_t *makers, const veer_graph_t *g, veer_node_t n, veer_maker_t first,
                                        const char *why_first, veer_choice_t *out);
/* The i-th constant that it reads in a format of its own; NULL: there are no more. Borrowed. */
const void *veer_choice_constant(const veer_choice_t *choice, int i, size_t *out_bytes);
/* After veer_makers_finish. */
veer_kernel_fn veer_choice_function(const veer_makers_t *makers, const veer_choice_t *choice);

#endif
