/* Reductions: accumulators per lane, partial sums, lanes combined by halving. */
#include "backends/llvm/lower_internal.h"

#include "backends/llvm/elementwise.h"

#include <limits.h>

/* ---- reductions ---- */
bool veer_lw_in_sweep(const veer_lower_t *c, int point) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    const veer_fx_point_t *p = &c->n->points[point];
    return c->s->live[point] && veer_fx_is_reduction(p) && p->level == w->level &&
           c->n->spaces[p->space].vars == w->vars;
}

static bool float_sum(const veer_fx_point_t *p) {
    return p->kind == VEER_PT_REDUCE && p->op == VEER_OP_REDUCE_SUM && veer_dtype_is_float(p->dtype);
}

static veer_op_t reduce_op(const veer_fx_point_t *p) {
    if (p->kind == VEER_PT_REDUCE) return p->op;
    return p->j & VEER_FX_SMALLEST ? VEER_OP_REDUCE_MIN : VEER_OP_REDUCE_MAX;
}

static veer_dtype_t reduced_dtype(const veer_lower_t *c, const veer_fx_point_t *p) {
    return c->n->points[p->args[0]].dtype;
}

static unsigned accumulator_lanes(const veer_lower_t *c, const veer_fx_point_t *p) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    if (w->lane_var >= 0) return (unsigned)w->lanes;
    int row = c->s->row_lane_var;
    return row >= 0 && c->n->points[p->args[0]].vars >> row & 1 ? (unsigned)c->s->row_lanes : 1;
}

static val_t no_index(veer_lower_t *c, const veer_fx_point_t *p) {
    return veer_emit_i64(c->e, p->j & VEER_FX_LAST ? -1 : INT64_MAX);
}

void veer_lw_begin_accumulators(veer_lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!veer_lw_in_sweep(c, i)) continue;
        const veer_fx_point_t *p = &c->n->points[i];
        unsigned lanes = accumulator_lanes(c, p);
        val_t neutral = veer_emit_splat(c->e, veer_fx_neutral(c->e, reduce_op(p), reduced_dtype(c, p)), lanes);
        c->sums[i] = veer_emit_variable(c->e, LLVMTypeOf(neutral));
        LLVMBuildStore(c->e->builder, neutral, c->sums[i]);
        c->partial[i] = NULL;
        if (p->kind != VEER_PT_ARG_MAX) continue;
        val_t none = veer_emit_splat(c->e, no_index(c, p), lanes);
        c->best_index[i] = veer_emit_variable(c->e, LLVMTypeOf(none));
        LLVMBuildStore(c->e->builder, none, c->best_index[i]);
    }
}

/* Is (v, at) to be taken over (best, best_at)? NaN counts as the most extreme; of equals the first, or the last. */
static val_t beats(veer_lower_t *c, const veer_fx_point_t *p, val_t v, val_t at, val_t best, val_t best_at) {
    LLVMBuilderRef b = c->e->builder;
    veer_dtype_t d = reduced_dtype(c, p);
    bool smallest = p->j & VEER_FX_SMALLEST, last = p->j & VEER_FX_LAST;
    val_t better, equal;
    if (veer_dtype_is_float(d)) {
        val_t nan = LLVMBuildFCmp(b, LLVMRealUNO, v, v, ""), best_nan = LLVMBuildFCmp(b, LLVMRealUNO, best, best, "");
        better = LLVMBuildFCmp(b, smallest ? LLVMRealOLT : LLVMRealOGT, v, best, "");
        better = LLVMBuildOr(b, better, LLVMBuildAnd(b, nan, LLVMBuildNot(b, best_nan, ""), ""), "");
        equal = LLVMBuildOr(b, LLVMBuildFCmp(b, LLVMRealOEQ, v, best, ""), LLVMBuildAnd(b, nan, best_nan, ""), "");
    } else {
        bool is_signed = veer_dtype_is_signed(d);
        LLVMIntPredicate less = is_signed ? LLVMIntSLT : LLVMIntULT, more = is_signed ? LLVMIntSGT : LLVMIntUGT;
        better = LLVMBuildICmp(b, smallest ? less : more, v, best, "");
        equal = LLVMBuildICmp(b, LLVMIntEQ, v, best, "");
    }
    val_t order = LLVMBuildICmp(b, last ? LLVMIntSGT : LLVMIntSLT, at, best_at, "");
    return LLVMBuildOr(b, better, LLVMBuildAnd(b, equal, order, ""), "");
}

static void accumulate_index(veer_lower_t *c, int point, val_t v) {
    const veer_fx_point_t *p = &c->n->points[point];
    LLVMBuilderRef b = c->e->builder;
    val_t best = LLVMBuildLoad2(b, LLVMTypeOf(v), c->sums[point], "");
    val_t at = veer_emit_splat(c->e, veer_lw_affine_value(c, &p->at), veer_emit_lanes(v));
    val_t best_at = LLVMBuildLoad2(b, LLVMTypeOf(at), c->best_index[point], "");
    val_t take = beats(c, p, v, at, best, best_at);
    if (c->mask && c->s->sweeps[c->sweep].lane_var >= 0) take = LLVMBuildAnd(b, take, c->mask, "");
    LLVMBuildStore(b, veer_emit_select(c->e, take, v, best), c->sums[point]);
    LLVMBuildStore(b, veer_emit_select(c->e, take, at, best_at), c->best_index[point]);
}

void veer_lw_accumulate(veer_lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!veer_lw_in_sweep(c, i)) continue;
        const veer_fx_point_t *p = &c->n->points[i];
        unsigned lanes = accumulator_lanes(c, p);
        val_t v = veer_emit_splat(c->e, veer_lw_value(c, p->args[0]), lanes);
        if (p->kind == VEER_PT_ARG_MAX) {
            accumulate_index(c, i, v);
            continue;
        }
        if (c->mask && c->s->sweeps[c->sweep].lane_var >= 0)
            v = veer_emit_select(c->e, c->mask, v,
                                 veer_emit_splat(c->e, veer_fx_neutral(c->e, p->op, reduced_dtype(c, p)), lanes));
        val_t to = c->partial[i] ? c->partial[i] : c->sums[i];
        val_t sum = LLVMBuildLoad2(c->e->builder, LLVMTypeOf(v), to, "");
        LLVMBuildStore(c->e->builder, veer_fx_combine(c->e, p->op, p->dtype, sum, v), to);
    }
}

/* Long float sums go through partial ones, so that rounding errors grow with the root of the length at most. */
void veer_lw_begin_partial(veer_lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!veer_lw_in_sweep(c, i) || !float_sum(&c->n->points[i])) continue;
        val_t zero = veer_emit_splat(c->e, veer_fx_neutral(c->e, VEER_OP_REDUCE_SUM, c->n->points[i].dtype),
                                     accumulator_lanes(c, &c->n->points[i]));
        c->partial[i] = veer_emit_variable(c->e, LLVMTypeOf(zero));
        LLVMBuildStore(c->e->builder, zero, c->partial[i]);
    }
}

void veer_lw_end_partial(veer_lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!veer_lw_in_sweep(c, i) || !c->partial[i]) continue;
        LLVMTypeRef type = LLVMGetAllocatedType(c->sums[i]);
        val_t sum = LLVMBuildLoad2(c->e->builder, type, c->sums[i], ""),
              part = LLVMBuildLoad2(c->e->builder, type, c->partial[i], "");
        LLVMBuildStore(c->e->builder, veer_fx_combine(c->e, VEER_OP_REDUCE_SUM, c->n->points[i].dtype, sum, part),
                       c->sums[i]);
        c->partial[i] = NULL;
    }
}

static val_t half_of(veer_lower_t *c, val_t v, unsigned lanes, bool upper) {
    int picks[128];
    for (unsigned i = 0; i < lanes / 2; i++) picks[i] = (int)(i + (upper ? lanes / 2 : 0));
    if (lanes == 2) return LLVMBuildExtractElement(c->e->builder, v, LLVMConstInt(c->e->i32, upper, 0), "");
    return veer_emit_shuffle(c->e, v, LLVMGetPoison(LLVMTypeOf(v)), picks, lanes / 2);
}

static val_t across_lanes(veer_lower_t *c, const veer_fx_point_t *p, val_t v, val_t at) {
    for (unsigned lanes = veer_emit_lanes(v); lanes > 1; lanes /= 2) {
        val_t low = half_of(c, v, lanes, false), high = half_of(c, v, lanes, true);
        if (p->kind == VEER_PT_REDUCE) {
            v = veer_fx_combine(c->e, p->op, p->dtype, low, high);
            continue;
        }
        val_t at_low = half_of(c, at, lanes, false), at_high = half_of(c, at, lanes, true);
        val_t take = beats(c, p, high, at_high, low, at_low);
        v = veer_emit_select(c->e, take, high, low), at = veer_emit_select(c->e, take, at_high, at_low);
    }
    return p->kind == VEER_PT_REDUCE ? v : at;
}

void veer_lw_end_accumulators(veer_lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!veer_lw_in_sweep(c, i)) continue;
        const veer_fx_point_t *p = &c->n->points[i];
        val_t v = LLVMBuildLoad2(c->e->builder, LLVMGetAllocatedType(c->sums[i]), c->sums[i], ""), at = NULL;
        if (p->kind == VEER_PT_ARG_MAX)
            at = LLVMBuildLoad2(c->e->builder, LLVMGetAllocatedType(c->best_index[i]), c->best_index[i], "");
        bool along = c->s->sweeps[c->sweep].lane_var >= 0; /* else each lane is a row of its own */
        veer_lw_set_value(c, i, along ? across_lanes(c, p, v, at) : at ? at : v);
    }
}
