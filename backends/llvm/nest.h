/* From expressions to loops. A nest computes some results of a region over one set of loop variables. Every element
 * that it needs is a point: an operation at an index that is an affine function of the variables. Reshapes, transposes,
 * broadcasts and slices are index arithmetic and leave no point behind.
 *
 * Rules:
 * 1. A point depends on the variables in its mask only; equal points are one point.
 * 2. A variable has one place: a row variable (outer; work items are made of them) or a member of a space (swept inside
 * a row: by reductions, or by the stores of the results).
 * 3. Where a reshape cuts through a variable, the variable is cut in two and the nest built anew (`restart`).
 * 4. Loads under a guard (the inside of a pad, one part of a concat) happen only where the guard holds.
 */
#ifndef VEER_BACKENDS_LLVM_NEST_H
#define VEER_BACKENDS_LLVM_NEST_H

#include "backends/llvm/region.h"

enum {
    VEER_FX_MAX_VARS = 16,
    VEER_FX_MAX_DYNAMIC = 4,
    VEER_FX_MAX_SPACES = 6,
    VEER_FX_MAX_SPLITS = 6,
    VEER_FX_MAX_STORES = 16
};

/* c + sum coef[v] * v */
typedef struct veer_fx_affine_s {
    int64_t c;
    int64_t coef[VEER_FX_MAX_VARS];
} veer_fx_affine_t;

typedef enum veer_fx_point_kind_e {
    VEER_PT_LOAD,    /* i: operand (or table, j = 1); element at + sum dynamic */
    VEER_PT_CONST,   /* bits */
    VEER_PT_OP,      /* op on args */
    VEER_PT_CHOOSE,  /* at < i ? args[0] : args[1] */
    VEER_PT_INSIDE,  /* 0 <= at < i ? args[0] : bits */
    VEER_PT_INDEX,   /* args[0] as an index into i elements: negative ones from the end, checked */
    VEER_PT_FOLD,    /* at mapped into [0, i) as pad mode j does */
    VEER_PT_REDUCE,  /* op over space of args[0] */
    VEER_PT_ARG_MAX, /* the same; at: the index, j: flags */
    VEER_PT_NOISE    /* args seed, first, step; element at, sample at2, stream i */
} veer_fx_point_kind_t;

typedef struct veer_fx_point_s {
    veer_fx_point_kind_t kind;
    veer_op_t op;
    veer_dtype_t dtype;
    int arg_count, args[3];
    int dynamic_count, dynamic[VEER_FX_MAX_DYNAMIC]; /* points of i64 */
    int64_t dynamic_coef[VEER_FX_MAX_DYNAMIC];
    int guard; /* 0: none */
    int space;
    int64_t i, j;
    uint64_t bits;
    veer_fx_affine_t at, at2;
    /* ---- derived ---- */
    uint32_t vars;
    int level; /* of reductions: how many others must be done before it */
} veer_fx_point_t;

/* low <= at < high, and the parent's condition */
typedef struct veer_fx_guard_s {
    int parent;
    int64_t low, high;
    veer_fx_affine_t at;
    uint32_t vars;
} veer_fx_guard_t;

/* What is swept together: variables in order, outermost first. */
typedef struct veer_fx_space_s {
    int axis_count;
    int64_t extents[VEER_MAX_RANK];
    int origins[VEER_MAX_RANK];
    uint32_t vars;
    bool shared; /* its axes are made of the results' own inner variables */
} veer_fx_space_t;

/* A dimension of a result or of a reduction, which is one variable or, cut by reshapes, several. */
typedef struct veer_fx_origin_s {
    int64_t start, extent;
    int space; /* -1: a result's dimension */
    int split_count;
    int64_t splits[VEER_FX_MAX_SPLITS]; /* ascending; each divides the next and the extent */
    int first_var, var_count;           /* outermost first */
    int first_digit, digit_count;       /* of a shared space: which of the inner variables */
} veer_fx_origin_t;

typedef struct veer_fx_store_s {
    int result; /* which of the region's */
    int point;
    veer_fx_affine_t at;
    uint32_t vars;
} veer_fx_store_t;

typedef struct veer_fx_nest_s {
    veer_fx_region_t *region;
    int rank; /* origins 0 .. rank-1 are the main result's dimensions */
    veer_fx_origin_t origins[VEER_MAX_RANK + VEER_FX_MAX_SPACES * VEER_MAX_RANK];
    int origin_count;
    bool unified;
    int64_t
        inner[VEER_MAX_RANK]; /* unified: how much of each result dimension, its low digits, is swept inside a row */
    int digits[VEER_FX_MAX_VARS], digit_count; /* the variables of those, outermost first */
    veer_fx_space_t spaces[VEER_FX_MAX_SPACES];
    int space_count;
    int64_t extent[VEER_FX_MAX_VARS];
    int var_count;
    uint32_t row_vars; /* result variables that reductions depend on */
    veer_fx_point_t *points;
    int point_count, point_room;
    veer_fx_guard_t *guards; /* [0] unused */
    int guard_count, guard_room;
    veer_fx_store_t stores[VEER_FX_MAX_STORES];
    int store_count;
    /* where a concat cuts a result's dimension and no reduction is about: build two nests instead */
    int cut_axis;
    int64_t cut_at;
    bool restart;
    struct memo_s **memo; /* by expression */
} veer_fx_nest_t;

/* A box of a result: start and size per dimension. */
typedef struct veer_fx_box_s {
    int64_t start[VEER_MAX_RANK], size[VEER_MAX_RANK];
} veer_fx_box_t;

/* Builds the nest that computes `results[0]` within the box, and those of the others that it can compute along with it;
 * results[i] becomes -1 for each that is in. `may_cut`: fill cut_axis and cut_at instead of testing indices in the
 * loop. */
bool veer_fx_nest_init(veer_fx_nest_t *n, veer_fx_region_t *region, int *results, int result_count,
                       const veer_fx_box_t *box, bool may_cut);
/* Instructions or so. */
double veer_fx_point_cost(const veer_fx_point_t *p);
int64_t veer_fx_count_vars(const veer_fx_nest_t *n, uint32_t vars); /* product of extents */
static inline bool veer_fx_is_reduction(const veer_fx_point_t *p) {
    return p->kind == VEER_PT_REDUCE || p->kind == VEER_PT_ARG_MAX;
}

#endif
