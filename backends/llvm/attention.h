/* Attention and its gradient as kernels of their own: what one computes (a problem), how it is cut, and its IR.
 *
 *     o = softmax(scale q k^T + mask) v              per lead (batch and head)
 *
 * Scores are held turned, [keys, queries], with the queries of a block along the lanes: the softmax is elementwise work
 * and keys are read by broadcasts, wherever they lie. A block's scores stay in the thread's scratch. Each element of a
 * product is one chain of multiply-adds in a fixed order and sums over keys have a fixed shape, so no cut changes bits.
 *
 *     attention_match.c: node -> problem     attention.c: cuts, kernels found again
 *     attention_emit.c: o                    attention_grad_emit.c: dq, dk, dv           tile.h: products and moves
 *     attention_amx.h: both where products are done by the matrix unit (amx.h), which pays from some 100 keys on */
#ifndef VEER_BACKENDS_LLVM_ATTENTION_H
#define VEER_BACKENDS_LLVM_ATTENTION_H

#include "backends/llvm/amx.h"
#include "backends/llvm/jit.h"

/* A part of the offset of a lead: lead / div % mod * stride. */
typedef struct veer_at_term_s {
    int64_t div, mod, stride;
} veer_at_term_t;

enum { VEER_AT_MAX_TERMS = 6 };

/* A matrix per lead inside a buffer; strides in elements, of a dim of size 1 they are 0. */
typedef struct veer_at_matrix_s {
    int64_t buf; /* -1: there is none */
    int64_t offset, row, column;
    int64_t term_count;
    veer_at_term_t terms[VEER_AT_MAX_TERMS];
} veer_at_matrix_t;

typedef enum veer_at_role_e {
    VEER_AT_Q,    /* [l, d] */
    VEER_AT_K,    /* [s, d] */
    VEER_AT_V,    /* [s, dv] */
    VEER_AT_MASK, /* [l, s], or none */
    VEER_AT_DY,   /* [l, dv], of the gradient */
    VEER_AT_Y,    /* [l, dv], or of the gradient dq [l, d] */
    VEER_AT_DK,   /* of the gradient; each of dq, dk, dv may be none */
    VEER_AT_DV,
    VEER_AT_ROLES
} veer_at_role_t;

/* Plain data without holes: its bytes tell kernels apart. */
typedef struct veer_at_problem_s {
    int64_t is_gradient;
    int64_t leads, l, s, d, dv;
    double scale;
    veer_at_matrix_t m[VEER_AT_ROLES];
} veer_at_problem_t;

/* Whether a node is an attention, or its gradient, that can be done here, alone or fused with what moves its operands
 * and results; says why not. */
bool veer_at_match(const veer_graph_t *g, veer_node_t node, veer_at_problem_t *out, char *reason, size_t reason_bytes);
static inline bool veer_at_has(const veer_at_problem_t *p, veer_at_role_t role) {
    return p->m[role].buf >= 0;
}

static inline bool veer_at_mask_by_query(const veer_at_problem_t *p) {
    return veer_at_has(p, VEER_AT_MASK) && p->m[VEER_AT_MASK].row != 0;
}

/* On the matrix unit, queries, and keys, that are done at once. Forward so few that scores and what is multiplied for
 * them stay in the first cache. The gradient has more to load for each. */
static inline int64_t veer_at_some(const veer_at_problem_t *p) {
    return p->is_gradient ? 2 * VEER_AMX_CHUNK : VEER_AMX_CHUNK;
}

/* How the queries of a lead are cut, by shape and the target alone. */
typedef struct veer_at_cut_s {
    int64_t blocks; /* of queries */
    int64_t block;  /* queries of one; the first `longer` have one more */
    int64_t longer;
    int vectors; /* of a panel of them */
    int amx;     /* 0: vectors do it. Else parts of a number on the matrix unit where products are only added up: p v,
                    p dy, ds q, ds k; where they go through exp or cancel, k q and v dy, it is always VEER_AMX_PARTS. Then
                    queries are done veer_at_some at a time, `parts` times, which blocks share */
    int64_t parts;
} veer_at_cut_t;

/* `amx`: as in the result, where the unit pays; 0: there is none. */
veer_at_cut_t veer_at_cut(const veer_at_problem_t *p, const veer_tile_ctx_t *t, int amx);

/* Where things lie in a thread's scratch, in floats. */
typedef struct veer_at_scratch_s {
    int64_t q_t, dy_t; /* [d or dv, width], turned */
    int64_t p_t, ds_t; /* [s, width] */
    int64_t q, dy;     /* [queries, d or dv], where they must lie by rows and do not */
    int64_t inverse;   /* [width], of the sums */
    int64_t dk, dv;    /* [s, d or dv], sums over blocks */
    int64_t y_t;       /* [d or dv, width], a result before it is turned */
    /* packed for the matrix unit */
    int64_t stage;                /* a matrix of the lead, or rows of the queries, on its way there */
    int64_t keys, keys_t, v, v_t; /* of the lead: rows of k; its columns; the same of v */
    int64_t q_b, dy_b;            /* turned, of the queries */
    int64_t q_r, dy_r;            /* their rows */
    int64_t weights_b;            /* p_t, or ds_t, of some keys: steps of k are keys */
    int64_t weights_a, slopes_a;  /* p_t and ds_t of some keys: steps of k are queries */
    int64_t floats;
} veer_at_scratch_t;

/* A kernel under way. */
typedef struct veer_at_s {
    veer_tile_ctx_t t;
    veer_jit_kernel_t *jit;
    const veer_at_problem_t *p;
    veer_at_cut_t cut;
    veer_at_scratch_t scratch;
    LLVMValueRef base[VEER_AT_ROLES]; /* the lead's matrices */
    /* the block under way */
    int64_t queries;    /* of it */
    int64_t width;      /* whole vectors of them: the stride of what is turned */
    LLVMValueRef first; /* the first of them */
    /* the panel under way */
    LLVMValueRef lane; /* its first */
    /* variables, a vector each */
    LLVMValueRef largest[VEER_TILE_MAX_VECTORS], delta[VEER_TILE_MAX_VECTORS];
    LLVMValueRef shift[VEER_TILE_MAX_VECTORS], sums[2][VEER_TILE_MAX_VECTORS]; /* on the matrix unit */
    LLVMValueRef attempt;                                                      /* 0 or 1 */
    LLVMValueRef inverse[VEER_TILE_MAX_VECTORS];                               /* values, of the sums */
} veer_at_t;

veer_at_scratch_t veer_at_scratch(const veer_at_problem_t *p, const veer_at_cut_t *cut, int lanes);

/* Write the body of a kernel that does items [begin, end): a lead's block of queries; of the gradient, a lead. */
void veer_at_emit(veer_at_t *c);
void veer_at_emit_gradient(veer_at_t *c);
void veer_at_emit_amx(veer_at_t *c); /* either */

/* ---- what all share: attention_emit.c ---- */
#define VEER_AT_LOG2_E 1.4426950408889634
LLVMValueRef veer_at_scratch_at(veer_at_t *c, int64_t floats);
/* A matrix of the lead from row `first` on (NULL: the first). */
veer_tile_matrix_t veer_at_matrix(veer_at_t *c, veer_at_role_t role, LLVMValueRef first);
/* Vector v of the panel, of key `key` + `more`, in p_t or ds_t. */
LLVMValueRef veer_at_score_at(veer_at_t *c, int64_t scores, LLVMValueRef key, int more, int v);
/* Finds the lead's matrices. */
void veer_at_begin_lead(veer_at_t *c, LLVMValueRef lead);
/* Calls `body` once per length of block there is, where the block has that length, with queries and first set. */
void veer_at_block(veer_at_t *c, LLVMValueRef block, void (*body)(veer_at_t *c));
/* Rows of q or dy of the block, turned into scratch, with zeros for the queries that the last vector lacks. */
void veer_at_turn_rows(veer_at_t *c, veer_at_role_t role, int64_t columns, int64_t to, double factor);
/* In a panel: p_t = exp2(p_t - largest), and the inverse sums. */
void veer_at_softmax(veer_at_t *c, int vectors);
void veer_at_store_inverse(veer_at_t *c, int v, LLVMValueRef sum);
/* p_t of the block, and the inverse sums: p_t = exp2(score - largest), not yet divided by its sum. */
void veer_at_weights(veer_at_t *c);
/* The result's rows of the block: y = factor x m for x [s, queries], turned in scratch, and m [s, columns]. The factor
 * is a number, or by query the inverse of the sum. */
void veer_at_weigh(veer_at_t *c, int64_t x, veer_at_role_t m, int64_t columns, const double *factor);

#endif
