/* What the files of recompute share: the memory that a function takes as it stands, and one change to it.
 *
 *     recompute.c: the search    recompute_survey.c: what lives when    recompute_change.c: a change, weighed and done
 */
#ifndef VEER_PASSES_RECOMPUTE_INTERNAL_H
#define VEER_PASSES_RECOMPUTE_INTERNAL_H

#include "passes/fuse.h"
#include "passes/pass.h"

enum { VEER_RECOMPUTE_SHARES = 3 }; /* ways to treat operands: see recompute_change.c */

typedef enum veer_recompute_mark_e {
    VEER_RECOMPUTE_UNMARKED,
    VEER_RECOMPUTE_COPIED,
    VEER_RECOMPUTE_KEPT
} veer_recompute_mark_t;

/* A use of a buffer, by a node that is no view. */
typedef struct veer_recompute_use_s {
    veer_node_t node;
    int64_t at;
    uint32_t next; /* the buffer's next use, 0: none */
} veer_recompute_use_t;

typedef struct veer_recompute_s {
    veer_graph_t *g;
    veer_func_t func;
    veer_pass_ctx_t *ctx;
    const veer_fuse_target_t *target;
    veer_allocator_t a;
    int64_t limit; /* what live buffers may take: the budget, less what placing loses */
    /* as the function stands */
    veer_residency_t fp;
    int64_t *live, *trial; /* by position: bytes of live buffers; the same with a change done */
    int64_t peak, at;      /* the largest of `live`, and where */
    uint32_t *first_use;   /* by root: index into uses */
    veer_recompute_use_t *uses;
    bool *pinned;                /* by root: used by a terminator or in another region than it is made in */
    veer_recompute_mark_t *mark; /* by root: what the change weighed last does with it */
    uint32_t *touched;           /* the roots with a mark */
    int touched_count;
    /* what was done */
    int64_t copies, moves;
} veer_recompute_t;

/* Something to do: compute `node` again before position `next`. */
typedef struct veer_recompute_change_s {
    veer_node_t node;
    int64_t next;
    double score;
    int share; /* how its operands are treated */
} veer_recompute_change_t;

/* The value in whose buffer v lies, its bytes in the arena (0: elsewhere), and a node's place in execution order. */
static inline veer_value_t veer_recompute_root_of(const veer_recompute_t *s, veer_value_t v) {
    return s->fp.roots[v.i];
}
static inline int64_t veer_recompute_size_of(const veer_recompute_t *s, veer_value_t root) {
    return (int64_t)s->fp.lives[root.i].size_bytes;
}
static inline int64_t veer_recompute_position(const veer_recompute_t *s, veer_node_t n) {
    return s->fp.positions[n.i];
}

/* ---- recompute_survey.c ---- */
/* Measures the function anew; veer_recompute_forget frees what that takes, also after a failure. */
VEER_MUST_USE veer_status_t veer_recompute_survey(veer_recompute_t *s);
void veer_recompute_forget(veer_recompute_t *s);
bool veer_recompute_is_view(const veer_recompute_t *s, veer_node_t n);
/* `to` is included. */
void veer_recompute_add_span(int64_t *profile, int64_t from, int64_t to, int64_t bytes);

/* ---- recompute_change.c ---- */
/* What computing `n` again before its first use behind the peak wins. False: nothing, or it may not be. Leaves the
 * marks of that change, on which the two below rely. */
bool veer_recompute_weigh(veer_recompute_t *s, veer_node_t n, int share, veer_recompute_change_t *out);
/* Whether less would be above the level, and no peak higher. */
bool veer_recompute_lessens(veer_recompute_t *s, const veer_recompute_change_t *c, int64_t level);
/* The survey is void afterwards. */
VEER_MUST_USE veer_status_t veer_recompute_apply(veer_recompute_t *s, const veer_recompute_change_t *c);

#endif
