/* Rules of the emitted code:
 * 1. A point is computed where the innermost loop that it depends on begins, so what does not vary is outside of loops.
 * 2. In lanes, points that vary along the lane variable are vectors, all others scalars, splatted where they meet.
 * 3. Every reduction has one accumulator per lane, combined by halving: the same tree for any number of threads.
 * 4. Nothing outside a buffer is read: tails and guards are masks, and a guarded scalar load goes to element 0 instead.
 */
#include "backends/llvm/lower.h"

#include "backends/llvm/elementwise.h"
#include "backends/llvm/vrandom.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

typedef LLVMValueRef val_t;

typedef struct lower_s {
    veer_fx_kernel_t *k;
    veer_emit_t *e;
    const veer_fx_schedule_t *s;
    const veer_fx_nest_t *n;
    val_t *values; /* by point; NULL: not computed here yet */
    int *undo, undo_count;
    bool *visited;
    val_t *sums, *partial, *best_index; /* by point: accumulators (variables) */
    val_t var[VEER_FX_MAX_VARS];
    uint32_t open; /* variables that have a value */
    int lane_var;
    unsigned lanes;
    val_t mask; /* NULL: all lanes */
    int sweep;
    int64_t kept_strides[VEER_FX_MAX_VARS];
    val_t block_begin;
    /* groups in lanes: open while a sweep's lanes are (unit > 0), but for the item's first group */
    int64_t unit;
    val_t first_group, lane_at; /* lane 0 counted from the item's first group */
    val_t group_of, within;     /* unit > 1: per lane, its group (counted from the first) and place in there */
} lower_t;

static val_t value_of(lower_t *c, int point);

/* ---- index arithmetic ---- */
static val_t mul_i64(lower_t *c, val_t v, int64_t k) {
    return k == 1 ? v : LLVMBuildMul(c->e->builder, v, veer_emit_like_int(c->e, v, k), "");
}

static val_t add_i64(lower_t *c, val_t a, val_t b) {
    unsigned la = veer_emit_lanes(a), lb = veer_emit_lanes(b), lanes = la > lb ? la : lb;
    return LLVMBuildAdd(c->e->builder, veer_emit_splat(c->e, a, lanes), veer_emit_splat(c->e, b, lanes), "");
}

/* Groups in lanes, and the index does not go on from one group to the next as it does within one. */
static bool is_broken(const lower_t *c, const veer_fx_affine_t *a) {
    return c->unit > 1 && a->coef[c->s->group_var] != c->unit * a->coef[c->lane_var];
}

/* At lane 0; without what lane_offsets adds. */
static val_t affine_base(lower_t *c, const veer_fx_affine_t *a) {
    val_t sum = veer_emit_i64(c->e, a->c);
    bool broken = is_broken(c, a);
    for (int v = 0; v < c->n->var_count; v++)
        if (a->coef[v] && !(broken && (v == c->lane_var || v == c->s->group_var)))
            sum = add_i64(c, sum, mul_i64(c, c->var[v], a->coef[v]));
    return sum;
}

static int64_t lane_step(const lower_t *c, const veer_fx_affine_t *a) {
    return c->lane_var < 0 || is_broken(c, a) ? 0 : a->coef[c->lane_var];
}

/* What each lane adds to the base; NULL where nothing. */
static val_t lane_offsets(lower_t *c, const veer_fx_affine_t *a) {
    int64_t step = lane_step(c, a);
    if (step) return mul_i64(c, veer_emit_iota(c->e->i64, c->lanes), step);
    if (!is_broken(c, a)) return NULL;
    val_t group = add_i64(c, c->group_of, c->first_group);
    return add_i64(c, mul_i64(c, group, a->coef[c->s->group_var]), mul_i64(c, c->within, a->coef[c->lane_var]));
}

/* Scalar, or a vector where it varies along the lanes. */
static val_t affine_value(lower_t *c, const veer_fx_affine_t *a) {
    val_t base = affine_base(c, a), lanes = lane_offsets(c, a);
    return lanes ? add_i64(c, base, lanes) : base;
}

/* ---- masks ---- NULL means true */
static val_t and_masks(lower_t *c, val_t a, val_t b) {
    if (!a || !b) return a ? a : b;
    unsigned la = veer_emit_lanes(a), lb = veer_emit_lanes(b), lanes = la > lb ? la : lb;
    return LLVMBuildAnd(c->e->builder, veer_emit_splat(c->e, a, lanes), veer_emit_splat(c->e, b, lanes), "");
}

static val_t in_range(lower_t *c, const veer_fx_affine_t *a, int64_t low, int64_t high) {
    val_t x = affine_value(c, a); /* one unsigned comparison */
    x = LLVMBuildSub(c->e->builder, x, veer_emit_like_int(c->e, x, low), "");
    return LLVMBuildICmp(c->e->builder, LLVMIntULT, x, veer_emit_like_int(c->e, x, high - low), "");
}

static val_t guard_value(lower_t *c, int guard) {
    if (!guard) return NULL;
    const veer_fx_guard_t *g = &c->n->guards[guard];
    return and_masks(c, in_range(c, &g->at, g->low, g->high), guard_value(c, g->parent));
}

/* ---- memory ---- */
static unsigned align_of(veer_dtype_t d) {
    return (unsigned)veer_dtype_size(d);
}

static val_t element_address(lower_t *c, veer_dtype_t d, val_t base, val_t offset) {
    return LLVMBuildGEP2(c->e->builder, veer_fx_memory_type(c->e, d), base, &offset, 1, "");
}

static val_t load_scalar(lower_t *c, veer_dtype_t d, val_t base, val_t offset, val_t guard) {
    if (guard) offset = veer_emit_select(c->e, guard, offset, veer_emit_i64(c->e, 0));
    val_t v = LLVMBuildLoad2(c->e->builder, veer_fx_memory_type(c->e, d), element_address(c, d, base, offset), "");
    LLVMSetAlignment(v, align_of(d));
    return v;
}

static val_t load_run(lower_t *c, veer_dtype_t d, val_t base, val_t offset, val_t mask) {
    LLVMTypeRef type = LLVMVectorType(veer_fx_memory_type(c->e, d), c->lanes);
    val_t address = element_address(c, d, base, offset);
    if (!mask) {
        val_t v = LLVMBuildLoad2(c->e->builder, type, address, "");
        LLVMSetAlignment(v, align_of(d));
        return v;
    }
    val_t args[] = {address, LLVMConstInt(c->e->i32, align_of(d), 0), veer_emit_splat(c->e, mask, c->lanes),
                    LLVMConstNull(type)};
    return veer_emit_intrinsic(c->e, "llvm.masked.load", (LLVMTypeRef[]){type, c->e->ptr}, 2, args, 4);
}

static val_t all_lanes(lower_t *c) {
    return LLVMConstAllOnes(LLVMVectorType(c->e->i1, c->lanes));
}

static val_t load_scattered(lower_t *c, veer_dtype_t d, val_t base, val_t offsets, val_t mask) {
    LLVMTypeRef type = LLVMVectorType(veer_fx_memory_type(c->e, d), c->lanes);
    val_t addresses = element_address(c, d, base, veer_emit_splat(c->e, offsets, c->lanes));
    val_t args[] = {addresses, LLVMConstInt(c->e->i32, align_of(d), 0),
                    mask ? veer_emit_splat(c->e, mask, c->lanes) : all_lanes(c), LLVMConstNull(type)};
    return veer_emit_intrinsic(c->e, "llvm.masked.gather", (LLVMTypeRef[]){type, LLVMTypeOf(addresses)}, 2, args, 4);
}

static val_t slot_address(lower_t *c, int64_t slot, val_t at) {
    return element_address(c, VEER_DTYPE_F32, c->k->jit->scratch, add_i64(c, veer_emit_i64(c->e, slot), at));
}

static val_t load(lower_t *c, const veer_fx_point_t *p) {
    val_t base = p->j ? c->k->tables[p->i] : c->k->bufs[p->i], offset = affine_base(c, &p->at), lanes = NULL;
    int64_t step = lane_step(c, &p->at);
    for (int i = 0; i < p->dynamic_count; i++) {
        val_t v = mul_i64(c, value_of(c, p->dynamic[i]), p->dynamic_coef[i]);
        if (veer_emit_lanes(v) == 1)
            offset = add_i64(c, offset, v);
        else
            lanes = lanes ? add_i64(c, lanes, v) : v;
    }
    val_t guard = guard_value(c, p->guard), v;
    bool vector = step || lanes || is_broken(c, &p->at) || (guard && veer_emit_lanes(guard) > 1);
    if (!vector)
        v = load_scalar(c, p->dtype, base, offset, guard);
    else if (step == 1 && !lanes)
        v = load_run(c, p->dtype, base, offset, and_masks(c, c->mask, guard));
    else {
        val_t along = lane_offsets(c, &p->at);
        if (along) offset = add_i64(c, offset, along);
        if (lanes) offset = add_i64(c, offset, lanes);
        v = load_scattered(c, p->dtype, base, offset, and_masks(c, c->mask, guard));
    }
    return veer_fx_from_memory(c->e, p->dtype, v);
}

/* The lanes that have a value of their own to store: of a group's lanes only the first, where the result has no more.
 */
static val_t store_mask(lower_t *c, const veer_fx_store_t *s) {
    if (c->unit <= 1 || s->vars >> c->lane_var & 1) return c->mask;
    return and_masks(c, c->mask,
                     LLVMBuildICmp(c->e->builder, LLVMIntEQ, c->within, LLVMConstNull(LLVMTypeOf(c->within)), ""));
}

static void store(lower_t *c, const veer_fx_store_t *s) {
    veer_dtype_t d = c->n->points[s->point].dtype;
    val_t v = value_of(c, s->point), base = c->k->bufs[c->n->region->input_count + s->result],
          offset = affine_base(c, &s->at);
    int64_t step = lane_step(c, &s->at);
    LLVMTypeRef memory = veer_fx_memory_type(c->e, d);
    v = veer_fx_to_memory(c->e, d, v);
    if (!step && !is_broken(c, &s->at)) {
        assert(veer_emit_lanes(v) == 1);
        LLVMSetAlignment(LLVMBuildStore(c->e->builder, v, element_address(c, d, base, offset)), align_of(d));
        return;
    }
    v = veer_emit_splat(c->e, v, c->lanes);
    LLVMTypeRef type = LLVMVectorType(memory, c->lanes);
    val_t align = LLVMConstInt(c->e->i32, align_of(d), 0);
    val_t mask = store_mask(c, s);
    if (step == 1 && !mask)
        LLVMSetAlignment(LLVMBuildStore(c->e->builder, v, element_address(c, d, base, offset)), align_of(d));
    else if (step == 1) {
        val_t args[] = {v, element_address(c, d, base, offset), align, mask};
        veer_emit_intrinsic(c->e, "llvm.masked.store", (LLVMTypeRef[]){type, c->e->ptr}, 2, args, 4);
    } else {
        offset = add_i64(c, offset, lane_offsets(c, &s->at));
        val_t addresses = element_address(c, d, base, offset);
        val_t args[] = {v, addresses, align, mask ? mask : all_lanes(c)};
        veer_emit_intrinsic(c->e, "llvm.masked.scatter", (LLVMTypeRef[]){type, LLVMTypeOf(addresses)}, 2, args, 4);
    }
}

/* ---- points ---- */
static val_t op(lower_t *c, const veer_fx_point_t *p) {
    val_t args[3];
    veer_dtype_t in[3];
    unsigned lanes = 1;
    for (int i = 0; i < p->arg_count; i++) {
        args[i] = value_of(c, p->args[i]);
        in[i] = c->n->points[p->args[i]].dtype;
        if (veer_emit_lanes(args[i]) > lanes) lanes = veer_emit_lanes(args[i]);
    }
    for (int i = 0; i < p->arg_count; i++) args[i] = veer_emit_splat(c->e, args[i], lanes);
    return veer_fx_elementwise(c->e, p->op, p->i, p->dtype, in, args);
}

static val_t pick(lower_t *c, val_t condition, val_t yes, val_t no) {
    unsigned lanes = veer_emit_lanes(condition);
    if (veer_emit_lanes(yes) > lanes) lanes = veer_emit_lanes(yes);
    if (veer_emit_lanes(no) > lanes) lanes = veer_emit_lanes(no);
    yes = veer_emit_splat(c->e, yes, lanes), no = veer_emit_splat(c->e, no, lanes);
    return veer_emit_select(c->e, condition, yes, no); /* a scalar condition picks whole vectors */
}

/* A negative index counts from the end; one out of range raises the flag and becomes 0. */
static val_t checked_index(lower_t *c, const veer_fx_point_t *p) {
    val_t x = value_of(c, p->args[0]);
    LLVMTypeRef wide = veer_emit_type_like(x, c->e->i64);
    veer_dtype_t d = c->n->points[p->args[0]].dtype;
    if (LLVMTypeOf(x) != wide)
        x = veer_dtype_is_signed(d) ? LLVMBuildSExt(c->e->builder, x, wide, "")
                                    : LLVMBuildZExt(c->e->builder, x, wide, "");
    val_t zero = LLVMConstNull(wide), size = veer_emit_like_int(c->e, x, p->i);
    val_t negative = LLVMBuildICmp(c->e->builder, LLVMIntSLT, x, zero, "");
    x = veer_emit_select(c->e, negative, LLVMBuildAdd(c->e->builder, x, size, ""), x);
    val_t good = LLVMBuildICmp(c->e->builder, LLVMIntULT, x, size, "");
    x = veer_emit_select(c->e, good, x, zero);
    val_t bad = LLVMBuildNot(c->e->builder, good, ""), matters = guard_value(c, p->guard);
    if (veer_emit_lanes(bad) > 1) matters = and_masks(c, matters, c->mask);
    bad = and_masks(c, bad, matters);
    if (veer_emit_lanes(bad) > 1) bad = veer_emit_unary_intrinsic(c->e, "llvm.vector.reduce.or", bad);
    val_t flag = LLVMBuildLoad2(c->e->builder, c->e->i32, c->k->flag, "");
    flag = LLVMBuildOr(c->e->builder, flag, LLVMBuildZExt(c->e->builder, bad, c->e->i32, ""), "");
    LLVMBuildStore(c->e->builder, flag, c->k->flag);
    return x;
}

/* pad's modes: edge clamps, wrap is a remainder, reflect bounces at both ends without repeating them. */
static val_t folded_index(lower_t *c, const veer_fx_point_t *p) {
    veer_emit_t *e = c->e;
    val_t x = affine_value(c, &p->at), last = veer_emit_like_int(e, x, p->i - 1), zero = veer_emit_like_int(e, x, 0);
    if (p->j == VEER_FX_PAD_EDGE)
        return veer_emit_binary_intrinsic(e, "llvm.smin", veer_emit_binary_intrinsic(e, "llvm.smax", x, zero), last);
    if (p->i == 1) return zero;
    int64_t period = p->j == VEER_FX_PAD_WRAP ? p->i : 2 * (p->i - 1);
    val_t by = veer_emit_like_int(e, x, period), r = LLVMBuildSRem(e->builder, x, by, "");
    r = veer_emit_select(e, LLVMBuildICmp(e->builder, LLVMIntSLT, r, zero, ""), LLVMBuildAdd(e->builder, r, by, ""), r);
    if (p->j == VEER_FX_PAD_WRAP) return r;
    return veer_emit_binary_intrinsic(e, "llvm.smin", r, LLVMBuildSub(e->builder, by, r, ""));
}

static val_t noise(lower_t *c, const veer_fx_point_t *p) {
    veer_emit_t *e = c->e;
    val_t in[3];
    for (int i = 0; i < 3; i++) in[i] = value_of(c, p->args[i]);
    val_t key[2] = {LLVMBuildTrunc(e->builder, in[0], e->i32, ""),
                    LLVMBuildTrunc(e->builder, LLVMBuildLShr(e->builder, in[0], veer_emit_i64(e, 32), ""), e->i32, "")};
    val_t step = LLVMBuildTrunc(e->builder, in[2], e->i32, ""), sample = add_i64(c, affine_value(c, &p->at2), in[1]);
    sample = LLVMBuildTrunc(e->builder, sample, veer_emit_type_like(sample, e->i32), "");
    bool aligned = lane_step(c, &p->at) == 1 && lane_step(c, &p->at2) == 0 && c->lanes % 4 == 0 && c->lanes > 4 &&
                   p->at.c % 4 == 0 && !c->unit;
    for (int v = 0; v < c->n->var_count; v++) aligned = aligned && (v == c->lane_var || p->at.coef[v] % 4 == 0);
    if (aligned) return veer_vrandom_run(e, affine_base(c, &p->at), c->lanes, sample, step, p->i, key);
    val_t element = affine_value(c, &p->at);
    unsigned lanes =
        veer_emit_lanes(sample) > veer_emit_lanes(element) ? veer_emit_lanes(sample) : veer_emit_lanes(element);
    return veer_vrandom_any(e, veer_emit_splat(e, element, lanes), sample, step, p->i, key);
}

/* A reduction's value for the groups of the lanes; for all groups alike before lanes are open. */
static val_t group_value(lower_t *c, int point) {
    val_t base = slot_address(c, c->s->slots[point].values, veer_emit_i64(c->e, 0));
    if (!c->unit) return load_scalar(c, VEER_DTYPE_F32, base, veer_emit_i64(c->e, 0), NULL);
    if (c->unit == 1) return load_run(c, VEER_DTYPE_F32, base, c->lane_at, NULL);
    return load_scattered(c, VEER_DTYPE_F32, base, c->group_of, NULL);
}

static val_t compute(lower_t *c, int point) {
    const veer_fx_point_t *p = &c->n->points[point];
    switch (p->kind) {
    case VEER_PT_LOAD: return load(c, p);
    case VEER_PT_CONST: return veer_fx_constant(c->e, p->dtype, p->bits);
    case VEER_PT_OP: return op(c, p);
    case VEER_PT_CHOOSE: {
        val_t at = affine_value(c, &p->at), first = value_of(c, p->args[0]), second = value_of(c, p->args[1]);
        val_t is_first = LLVMBuildICmp(c->e->builder, LLVMIntSLT, at, veer_emit_like_int(c->e, at, p->i), "");
        return pick(c, is_first, first, second);
    }
    case VEER_PT_INSIDE: {
        val_t inside = value_of(c, p->args[0]);
        return pick(c, in_range(c, &p->at, 0, p->i), inside, veer_fx_constant(c->e, p->dtype, p->bits));
    }
    case VEER_PT_INDEX: return checked_index(c, p);
    case VEER_PT_FOLD: return folded_index(c, p);
    case VEER_PT_NOISE: return noise(c, p);
    case VEER_PT_REDUCE:
        if (c->s->group_var >= 0) return group_value(c, point);
        break;
    case VEER_PT_ARG_MAX: break; /* its sweep has put the value there */
    }
    assert(0 && "a reduction is used before its sweep");
    return NULL;
}

static void set_value(lower_t *c, int point, val_t v) {
    c->values[point] = v;
    c->undo[c->undo_count++] = point;
}

static void close_scope(lower_t *c, int mark) {
    while (c->undo_count > mark) c->values[c->undo[--c->undo_count]] = NULL;
}

static const veer_fx_kept_t *kept_in_sweep(const lower_t *c, int point) {
    for (int i = 0; i < c->s->kept_count; i++)
        if (c->s->kept[i].point == point &&
            c->s->sweeps[c->s->kept[i].first_sweep].vars == c->s->sweeps[c->sweep].vars &&
            c->s->kept[i].first_sweep <= c->sweep)
            return &c->s->kept[i];
    return NULL;
}

static val_t kept_address(lower_t *c, const veer_fx_kept_t *kept) {
    val_t at = veer_emit_i64(c->e, kept->offset_bytes / 4);
    for (int v = 0; v < c->n->var_count; v++)
        if (c->kept_strides[v])
            at = add_i64(c, at, mul_i64(c, c->unit && v == c->lane_var ? c->lane_at : c->var[v], c->kept_strides[v]));
    return element_address(c, VEER_DTYPE_F32, c->k->jit->scratch, at);
}

static val_t value_of(lower_t *c, int point) {
    if (c->values[point]) return c->values[point];
    const veer_fx_point_t *p = &c->n->points[point];
    const veer_fx_kept_t *kept = p->kind == VEER_PT_OP ? kept_in_sweep(c, point) : NULL;
    val_t v;
    if (kept && kept->first_sweep < c->sweep) {
        v = LLVMBuildLoad2(c->e->builder, veer_emit_vector(c->e->f32, c->lanes), kept_address(c, kept), "");
        LLVMSetAlignment(v, 4);
    } else {
        v = compute(c, point);
        if (kept) {
            v = veer_emit_splat(c->e, v, c->lanes);
            LLVMSetAlignment(LLVMBuildStore(c->e->builder, v, kept_address(c, kept)), 4);
        }
    }
    set_value(c, point, v);
    return v;
}

/* Computes what a target needs and no variable still to be opened changes. */
static void hoist(lower_t *c, int point) {
    const veer_fx_point_t *p = &c->n->points[point];
    if (c->visited[point] || p->kind == VEER_PT_CONST) return;
    c->visited[point] = true;
    if (!(p->vars & ~c->open)) {
        value_of(c, point);
        return;
    }
    if (veer_fx_is_reduction(p)) return;
    const veer_fx_kept_t *kept = kept_in_sweep(c, point);
    if (kept && kept->first_sweep < c->sweep) return; /* read back, not computed */
    for (int i = 0; i < p->arg_count; i++) hoist(c, p->args[i]);
    for (int i = 0; i < p->dynamic_count; i++) hoist(c, p->dynamic[i]);
}

/* ---- reductions ---- */
static bool in_sweep(const lower_t *c, int point) {
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

static veer_dtype_t reduced_dtype(const lower_t *c, const veer_fx_point_t *p) {
    return c->n->points[p->args[0]].dtype;
}

static unsigned accumulator_lanes(const lower_t *c, const veer_fx_point_t *p) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    if (w->lane_var >= 0) return (unsigned)w->lanes;
    int row = c->s->row_lane_var;
    return row >= 0 && c->n->points[p->args[0]].vars >> row & 1 ? (unsigned)c->s->row_lanes : 1;
}

static val_t no_index(lower_t *c, const veer_fx_point_t *p) {
    return veer_emit_i64(c->e, p->j & VEER_FX_LAST ? -1 : INT64_MAX);
}

static void begin_accumulators(lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!in_sweep(c, i)) continue;
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
static val_t beats(lower_t *c, const veer_fx_point_t *p, val_t v, val_t at, val_t best, val_t best_at) {
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

static void accumulate_index(lower_t *c, int point, val_t v) {
    const veer_fx_point_t *p = &c->n->points[point];
    LLVMBuilderRef b = c->e->builder;
    val_t best = LLVMBuildLoad2(b, LLVMTypeOf(v), c->sums[point], "");
    val_t at = veer_emit_splat(c->e, affine_value(c, &p->at), veer_emit_lanes(v));
    val_t best_at = LLVMBuildLoad2(b, LLVMTypeOf(at), c->best_index[point], "");
    val_t take = beats(c, p, v, at, best, best_at);
    if (c->mask && c->s->sweeps[c->sweep].lane_var >= 0) take = LLVMBuildAnd(b, take, c->mask, "");
    LLVMBuildStore(b, veer_emit_select(c->e, take, v, best), c->sums[point]);
    LLVMBuildStore(b, veer_emit_select(c->e, take, at, best_at), c->best_index[point]);
}

static void accumulate(lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!in_sweep(c, i)) continue;
        const veer_fx_point_t *p = &c->n->points[i];
        unsigned lanes = accumulator_lanes(c, p);
        val_t v = veer_emit_splat(c->e, value_of(c, p->args[0]), lanes);
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
static void begin_partial(lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!in_sweep(c, i) || !float_sum(&c->n->points[i])) continue;
        val_t zero = veer_emit_splat(c->e, veer_fx_neutral(c->e, VEER_OP_REDUCE_SUM, c->n->points[i].dtype),
                                     accumulator_lanes(c, &c->n->points[i]));
        c->partial[i] = veer_emit_variable(c->e, LLVMTypeOf(zero));
        LLVMBuildStore(c->e->builder, zero, c->partial[i]);
    }
}

static void end_partial(lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!in_sweep(c, i) || !c->partial[i]) continue;
        LLVMTypeRef type = LLVMGetAllocatedType(c->sums[i]);
        val_t sum = LLVMBuildLoad2(c->e->builder, type, c->sums[i], ""),
              part = LLVMBuildLoad2(c->e->builder, type, c->partial[i], "");
        LLVMBuildStore(c->e->builder, veer_fx_combine(c->e, VEER_OP_REDUCE_SUM, c->n->points[i].dtype, sum, part),
                       c->sums[i]);
        c->partial[i] = NULL;
    }
}

static val_t half_of(lower_t *c, val_t v, unsigned lanes, bool upper) {
    int picks[128];
    for (unsigned i = 0; i < lanes / 2; i++) picks[i] = (int)(i + (upper ? lanes / 2 : 0));
    if (lanes == 2) return LLVMBuildExtractElement(c->e->builder, v, LLVMConstInt(c->e->i32, upper, 0), "");
    return veer_emit_shuffle(c->e, v, LLVMGetPoison(LLVMTypeOf(v)), picks, lanes / 2);
}

static val_t across_lanes(lower_t *c, const veer_fx_point_t *p, val_t v, val_t at) {
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

static void end_accumulators(lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!in_sweep(c, i)) continue;
        const veer_fx_point_t *p = &c->n->points[i];
        val_t v = LLVMBuildLoad2(c->e->builder, LLVMGetAllocatedType(c->sums[i]), c->sums[i], ""), at = NULL;
        if (p->kind == VEER_PT_ARG_MAX)
            at = LLVMBuildLoad2(c->e->builder, LLVMGetAllocatedType(c->best_index[i]), c->best_index[i], "");
        bool along = c->s->sweeps[c->sweep].lane_var >= 0; /* else each lane is a row of its own */
        set_value(c, i, along ? across_lanes(c, p, v, at) : at ? at : v);
    }
}

/* ---- loops ---- */
static void for_targets(lower_t *c, void (*visit)(lower_t *, int)) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    memset(c->visited, 0, (size_t)c->n->point_count);
    for (int i = 0; i < c->n->point_count; i++)
        if (in_sweep(c, i)) visit(c, c->n->points[i].args[0]);
    for (int i = 0; w->level == INT_MAX && i < c->n->store_count; i++) visit(c, c->n->stores[i].point);
}

static void sweep_body(lower_t *c) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    if (w->level != INT_MAX) {
        accumulate(c);
        return;
    }
    for (int i = 0; i < c->n->store_count; i++)
        if (c->n->stores[i].vars & w->vars || !w->vars) store(c, &c->n->stores[i]);
}

/* Results of one value per row, in a sweep that has variables. */
static void store_row_results(lower_t *c) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    for (int i = 0; i < c->n->store_count; i++)
        if (!(c->n->stores[i].vars & w->vars)) store(c, &c->n->stores[i]);
}

static void open_var(lower_t *c, int v, val_t value) {
    c->var[v] = value;
    c->open |= 1u << v;
}

/* One vector of the lane variable at `at`. */
static void lane_body(lower_t *c, int v, val_t at, val_t mask) {
    int mark = c->undo_count;
    c->mask = mask;
    open_var(c, v, at);
    sweep_body(c);
    c->open &= ~(1u << v);
    c->mask = NULL;
    close_scope(c, mark);
}

static val_t tail_mask(lower_t *c, int64_t count, unsigned lanes) {
    val_t bits[128];
    for (unsigned i = 0; i < lanes; i++) bits[i] = LLVMConstInt(c->e->i1, i < count, 0);
    return LLVMConstVector(bits, lanes);
}

static val_t smaller(lower_t *c, val_t a, int64_t b) {
    return veer_emit_binary_intrinsic(c->e, "llvm.smin", a, veer_emit_i64(c->e, b));
}

static void lane_run(lower_t *c, int v, val_t begin, val_t end) {
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, begin, end, c->lanes);
    lane_body(c, v, loop.i, NULL);
    veer_emit_loop_end(c->e, &loop);
}

/* The last, partial vector; an item of a cut variable does it where it is the last one. */
static void lane_tail(lower_t *c, int v, int64_t full, int64_t extent) {
    if (c->lanes == 1 || full == extent) return;
    LLVMBasicBlockRef after = NULL;
    if (c->s->block_var == v) {
        LLVMBasicBlockRef tail = veer_emit_block(c->e, "tail");
        after = veer_emit_block(c->e, "after");
        val_t reach = LLVMBuildAdd(c->e->builder, c->block_begin, veer_emit_i64(c->e, c->s->block), "");
        val_t last = LLVMBuildICmp(c->e->builder, LLVMIntSGE, reach, veer_emit_i64(c->e, extent), "");
        LLVMBuildCondBr(c->e->builder, last, tail, after);
        LLVMPositionBuilderAtEnd(c->e->builder, tail);
    }
    lane_body(c, v, veer_emit_i64(c->e, full), tail_mask(c, extent - full, c->lanes));
    if (!after) return;
    LLVMBuildBr(c->e->builder, after);
    LLVMPositionBuilderAtEnd(c->e->builder, after);
}

static void lane_loops(lower_t *c, const veer_fx_sweep_t *w) {
    int v = w->lane_var;
    int64_t extent = c->n->extent[v], full = extent / w->lanes * w->lanes;
    bool reduces = w->level != INT_MAX, partial = reduces && (w->block || (w->var_count > 1 && extent / w->lanes >= 8));
    c->lane_var = v, c->lanes = (unsigned)w->lanes;
    if (c->s->block_var == v) {
        val_t reach = LLVMBuildAdd(c->e->builder, c->block_begin, veer_emit_i64(c->e, c->s->block), "");
        lane_run(c, v, c->block_begin, smaller(c, reach, full));
    } else if (partial) {
        int64_t block = w->block ? w->block : full;
        veer_emit_loop_t blocks = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, full), block);
        begin_partial(c);
        val_t reach = LLVMBuildAdd(c->e->builder, blocks.i, veer_emit_i64(c->e, block), "");
        lane_run(c, v, blocks.i, smaller(c, reach, full));
        end_partial(c);
        veer_emit_loop_end(c->e, &blocks);
    } else if (full)
        lane_run(c, v, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, full));
    lane_tail(c, v, full, extent);
    c->lane_var = -1, c->lanes = 1;
}

/* ---- tiles ---- */
/* rows[i] lane j becomes rows[j] lane i: log2(lanes) rounds of interleaving the first half with the second. */
static void transpose_square(lower_t *c, val_t *rows, int lanes) {
    val_t next_rows[128];
    int low[128], high[128];
    for (int i = 0; i < lanes; i++) low[i] = i / 2 + (i % 2) * lanes, high[i] = low[i] + lanes / 2;
    for (int round = 1; round < lanes; round *= 2) {
        for (int i = 0; i < lanes / 2; i++) {
            next_rows[2 * i] = veer_emit_shuffle(c->e, rows[i], rows[i + lanes / 2], low, (unsigned)lanes);
            next_rows[2 * i + 1] = veer_emit_shuffle(c->e, rows[i], rows[i + lanes / 2], high, (unsigned)lanes);
        }
        memcpy(rows, next_rows, (size_t)lanes * sizeof *rows);
    }
}

static val_t lanes_below(lower_t *c, int64_t extent, val_t begin) {
    val_t left = LLVMBuildSub(c->e->builder, veer_emit_i64(c->e, extent), begin, "");
    return LLVMBuildICmp(c->e->builder, LLVMIntSLT, veer_emit_iota(c->e->i64, c->lanes),
                         veer_emit_splat(c->e, left, c->lanes), "");
}

/* A square of operand elements at (tile, lane) variables = (u, v), lanes along v in each row of the tile. Rows beyond
 * the end of v repeat the last one: they are never stored. */
static val_t load_tile(lower_t *c, const veer_fx_point_t *p, int lane_var, val_t u, val_t v) {
    const int lanes = (int)c->lanes;
    const int64_t extent = c->n->extent[c->s->tile_var];
    val_t rows[128], base = p->j ? c->k->tables[p->i] : c->k->bufs[p->i];
    val_t mask = extent % lanes ? lanes_below(c, extent, u) : NULL;
    LLVMTypeRef row_type = LLVMVectorType(veer_fx_memory_type(c->e, p->dtype), c->lanes);
    val_t tile = veer_emit_variable(c->e, LLVMArrayType2(row_type, c->lanes));
    open_var(c, c->s->tile_var, u);
    for (int i = 0; i < lanes; i++) {
        val_t at = LLVMBuildAdd(c->e->builder, v, veer_emit_i64(c->e, i), "");
        open_var(c, lane_var, smaller(c, at, c->n->extent[lane_var] - 1));
        rows[i] = load_run(c, p->dtype, base, affine_base(c, &p->at), mask);
    }
    transpose_square(c, rows, lanes);
    for (int i = 0; i < lanes; i++) {
        val_t at = veer_emit_i64(c->e, i);
        LLVMBuildStore(c->e->builder, rows[i], LLVMBuildGEP2(c->e->builder, row_type, tile, &at, 1, ""));
    }
    return tile;
}

static void tile_row(lower_t *c, val_t *tiles, val_t j) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!c->s->tiled[i]) continue;
        LLVMTypeRef row_type = LLVMVectorType(veer_fx_memory_type(c->e, c->n->points[i].dtype), c->lanes);
        val_t address = LLVMBuildGEP2(c->e->builder, row_type, tiles[i], &j, 1, "");
        set_value(c, i, LLVMBuildLoad2(c->e->builder, row_type, address, ""));
    }
    sweep_body(c);
}

static void tile_body(lower_t *c, int v, val_t u0, val_t v0) {
    int u = c->s->tile_var;
    int64_t extent = c->n->extent[u];
    val_t *tiles = c->sums; /* free: there are no reductions */
    for (int i = 0; i < c->n->point_count; i++)
        if (c->s->tiled[i]) tiles[i] = load_tile(c, &c->n->points[i], v, u0, v0);
    val_t left = LLVMBuildSub(c->e->builder, veer_emit_i64(c->e, extent), u0, "");
    c->mask = c->n->extent[v] % c->lanes ? lanes_below(c, c->n->extent[v], v0) : NULL;
    c->lane_var = v;
    veer_emit_loop_t rows = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), smaller(c, left, c->lanes), 1);
    int mark = c->undo_count;
    open_var(c, v, v0);
    open_var(c, u, LLVMBuildAdd(c->e->builder, u0, rows.i, ""));
    tile_row(c, tiles, rows.i);
    c->open &= ~(1u << u | 1u << v);
    close_scope(c, mark);
    veer_emit_loop_end(c->e, &rows);
    c->mask = NULL, c->lane_var = -1;
}

static void tile_loops(lower_t *c, const veer_fx_sweep_t *w) {
    int v = w->lane_var;
    val_t reach = LLVMBuildAdd(c->e->builder, c->block_begin, veer_emit_i64(c->e, c->s->block), "");
    c->lanes = (unsigned)w->lanes;
    veer_emit_loop_t us =
        veer_emit_loop_begin(c->e, c->block_begin, smaller(c, reach, c->n->extent[c->s->tile_var]), w->lanes);
    veer_emit_loop_t vs =
        veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, c->n->extent[v]), w->lanes);
    tile_body(c, v, us.i, vs.i);
    veer_emit_loop_end(c->e, &vs);
    veer_emit_loop_end(c->e, &us);
    c->lanes = 1;
}

static void sweep_loops(lower_t *c, int depth);

static void sweep_run(lower_t *c, int depth, val_t begin, val_t end) {
    int v = c->s->sweeps[c->sweep].order[depth];
    veer_emit_loop_t loop = veer_emit_loop_begin(c->e, begin, end, 1);
    int mark = c->undo_count;
    open_var(c, v, loop.i);
    sweep_loops(c, depth + 1);
    c->open &= ~(1u << v);
    close_scope(c, mark);
    veer_emit_loop_end(c->e, &loop);
}

/* The innermost loop of a reduction with groups in lanes, with sums of its own for every so many positions. */
static void sweep_blocks(lower_t *c, int depth, int64_t extent) {
    enum { BLOCK = 256 };
    if (extent <= 2 * BLOCK) {
        begin_partial(c);
        sweep_run(c, depth, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, extent));
        end_partial(c);
        return;
    }
    veer_emit_loop_t blocks = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, extent), BLOCK);
    begin_partial(c);
    val_t reach = LLVMBuildAdd(c->e->builder, blocks.i, veer_emit_i64(c->e, BLOCK), "");
    sweep_run(c, depth, blocks.i, smaller(c, reach, extent));
    end_partial(c);
    veer_emit_loop_end(c->e, &blocks);
}

static void sweep_loops(lower_t *c, int depth) {
    const veer_fx_sweep_t *w = &c->s->sweeps[c->sweep];
    if (depth == w->var_count) {
        sweep_body(c);
        return;
    }
    for_targets(c, hoist);
    int v = w->order[depth];
    int64_t extent = c->n->extent[v];
    if (v == w->lane_var)
        lane_loops(c, w);
    else if (w->unit && w->level != INT_MAX && depth == w->var_count - 1)
        sweep_blocks(c, depth, extent);
    else
        sweep_run(c, depth, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, extent));
}

/* ---- groups in lanes ---- */
static void open_groups(lower_t *c, const veer_fx_sweep_t *w, val_t at) {
    c->lane_at = at;
    if (w->unit == 1) {
        open_var(c, c->s->group_var, add_i64(c, c->first_group, at));
        return;
    }
    open_var(c, c->s->group_var, c->first_group);
    open_var(c, w->lane_var, at);
    val_t lane = veer_emit_splat(c->e, LLVMBuildTrunc(c->e->builder, at, c->e->i32, ""), c->lanes);
    lane = LLVMBuildAdd(c->e->builder, lane, veer_emit_iota(c->e->i32, c->lanes), "");
    val_t unit = veer_emit_like_int(c->e, lane, w->unit);
    LLVMTypeRef wide = veer_emit_type_like(lane, c->e->i64);
    c->group_of = LLVMBuildZExt(c->e->builder, LLVMBuildUDiv(c->e->builder, lane, unit, ""), wide, "");
    c->within = LLVMBuildZExt(c->e->builder, LLVMBuildURem(c->e->builder, lane, unit, ""), wide, "");
}

static void write_sums(lower_t *c) {
    for (int i = 0; i < c->n->point_count; i++) {
        if (!in_sweep(c, i)) continue;
        int64_t slot = c->unit == 1 ? c->s->slots[i].values : c->s->slots[i].sums;
        val_t v = LLVMBuildLoad2(c->e->builder, LLVMGetAllocatedType(c->sums[i]), c->sums[i], "");
        LLVMSetAlignment(LLVMBuildStore(c->e->builder, v, slot_address(c, slot, c->lane_at)), 4);
    }
}

/* All positions of one vector of lanes. */
static void group_body(lower_t *c, const veer_fx_sweep_t *w, val_t at, val_t mask) {
    int mark = c->undo_count;
    uint32_t open = c->open;
    c->mask = mask, c->unit = w->unit;
    open_groups(c, w, at);
    if (w->level != INT_MAX)
        begin_accumulators(c);
    else if (w->vars)
        store_row_results(c);
    sweep_loops(c, 0);
    if (w->level != INT_MAX) write_sums(c);
    c->mask = NULL, c->unit = 0, c->open = open;
    close_scope(c, mark);
}

static void group_loops(lower_t *c, const veer_fx_sweep_t *w) {
    int64_t count = c->s->group_block * w->unit, full = count / w->lanes * w->lanes;
    c->lane_var = w->lane_var, c->lanes = (unsigned)w->lanes;
    if (full == w->lanes)
        group_body(c, w, veer_emit_i64(c->e, 0), NULL);
    else if (full) {
        veer_emit_loop_t loop = veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, full), w->lanes);
        group_body(c, w, loop.i, NULL);
        veer_emit_loop_end(c->e, &loop);
    }
    if (full < count) group_body(c, w, veer_emit_i64(c->e, full), tail_mask(c, count - full, c->lanes));
    c->lane_var = -1, c->lanes = 1;
}

/* values[g] from sums[g unit ...], a vector of groups at a time. */
static void combine_lanes(lower_t *c, int point, int64_t unit, val_t first, val_t mask) {
    const veer_fx_point_t *p = &c->n->points[point];
    const veer_fx_slot_t *slot = &c->s->slots[point];
    val_t sum = NULL, at = add_i64(c, first, veer_emit_iota(c->e->i64, c->lanes));
    at = mul_i64(c, at, unit);
    for (int64_t j = 0; j < unit; j++) {
        val_t base = slot_address(c, slot->sums, veer_emit_i64(c->e, j));
        val_t v = load_scattered(c, VEER_DTYPE_F32, base, at, mask);
        sum = sum ? veer_fx_combine(c->e, p->op, p->dtype, sum, v) : v;
    }
    LLVMSetAlignment(LLVMBuildStore(c->e->builder, sum, slot_address(c, slot->values, first)), 4);
}

static void combine_groups(lower_t *c, const veer_fx_sweep_t *w) {
    int64_t groups = c->s->group_block;
    if (w->unit == 1) return;
    for (c->lanes = 2; c->lanes < groups && c->lanes < 16;) c->lanes *= 2;
    veer_emit_loop_t loop =
        veer_emit_loop_begin(c->e, veer_emit_i64(c->e, 0), veer_emit_i64(c->e, groups), (int64_t)c->lanes);
    val_t mask = groups % c->lanes ? lanes_below(c, groups, loop.i) : NULL;
    for (int i = 0; i < c->n->point_count; i++)
        if (in_sweep(c, i)) combine_lanes(c, i, w->unit, loop.i, mask);
    veer_emit_loop_end(c->e, &loop);
    c->lanes = 1;
}

static void run_sweep(lower_t *c, int sweep) {
    const veer_fx_sweep_t *w = &c->s->sweeps[sweep];
    c->sweep = sweep;
    veer_fx_kept_strides(c->s, w, c->kept_strides);
    if (c->s->group_var < 0 && w->level != INT_MAX)
        begin_accumulators(c);
    else if (c->s->group_var < 0 && w->vars)
        store_row_results(c);
    for_targets(c, hoist); /* row values stay for the sweeps behind */
    int mark = c->undo_count;
    if (w->unit)
        group_loops(c, w);
    else if (c->s->tile_var >= 0)
        tile_loops(c, w);
    else
        sweep_loops(c, 0);
    close_scope(c, mark);
    if (w->unit && w->level != INT_MAX)
        combine_groups(c, w);
    else if (w->level != INT_MAX)
        end_accumulators(c);
}

/* ---- items ---- */
/* The item's digits, innermost first. Gives the rest. */
static val_t take_digit(lower_t *c, val_t item, int64_t extent, val_t *out_digit) {
    if (extent == 1) return *out_digit = veer_emit_i64(c->e, 0), item;
    *out_digit = LLVMBuildURem(c->e->builder, item, veer_emit_i64(c->e, extent), "");
    return LLVMBuildUDiv(c->e->builder, item, veer_emit_i64(c->e, extent), "");
}

static void decode_item(lower_t *c, val_t item) {
    const veer_fx_schedule_t *s = c->s;
    val_t digit;
    if (s->row_lane_var >= 0) {
        int64_t extent = c->n->extent[s->row_lane_var], lanes = s->row_lanes;
        item = take_digit(c, item, (extent + lanes - 1) / lanes, &digit);
        open_var(c, s->row_lane_var, mul_i64(c, digit, lanes));
        c->lane_var = s->row_lane_var, c->lanes = (unsigned)lanes;
        val_t left = LLVMBuildSub(c->e->builder, veer_emit_i64(c->e, extent), c->var[s->row_lane_var], "");
        if (extent % lanes)
            c->mask = LLVMBuildICmp(c->e->builder, LLVMIntSLT, veer_emit_iota(c->e->i64, c->lanes),
                                    veer_emit_splat(c->e, left, c->lanes), "");
    }
    if (s->group_var >= 0) { /* the variable itself is opened with the lanes */
        item = take_digit(c, item, c->n->extent[s->group_var] / s->group_block, &digit);
        c->first_group = mul_i64(c, digit, s->group_block);
    }
    int cut = s->tile_var >= 0 ? s->tile_var : s->block_var;
    if (cut >= 0) {
        item = take_digit(c, item, (c->n->extent[cut] + s->block - 1) / s->block, &digit);
        c->block_begin = mul_i64(c, digit, s->block);
    }
    for (int i = s->row_count - 1; i >= 0; i--) {
        item = take_digit(c, item, c->n->extent[s->rows[i]], &digit);
        open_var(c, s->rows[i], digit);
    }
}

static void lower_items(lower_t *c, int64_t first) {
    veer_jit_kernel_t *jit = c->k->jit;
    val_t zero = veer_emit_i64(c->e, first);
    val_t begin = veer_emit_binary_intrinsic(c->e, "llvm.smax", jit->begin, zero);
    veer_emit_loop_t items = veer_emit_loop_begin(c->e, begin, smaller(c, jit->end, first + c->s->items), 1);
    decode_item(c, LLVMBuildSub(c->e->builder, items.i, zero, ""));
    for (int i = 0; i < c->s->sweep_count; i++) run_sweep(c, i);
    close_scope(c, 0);
    veer_emit_loop_end(c->e, &items);
}

veer_status_t veer_fx_lower(veer_fx_kernel_t *k, const veer_fx_schedule_t *s, int64_t first_item) {
    veer_arena_t *arena = s->nest->region->arena;
    size_t count = (size_t)s->nest->point_count + 1;
    lower_t c = {.k = k, .e = &k->jit->emit, .s = s, .n = s->nest, .lane_var = -1, .lanes = 1};
    c.values = veer_arena_array(arena, count, sizeof *c.values);
    c.undo = veer_arena_array(arena, 4 * count, sizeof *c.undo);
    c.visited = veer_arena_array(arena, count, sizeof *c.visited);
    c.sums = veer_arena_array(arena, count, sizeof *c.sums);
    c.partial = veer_arena_array(arena, count, sizeof *c.partial);
    c.best_index = veer_arena_array(arena, count, sizeof *c.best_index);
    if (!c.values || !c.undo || !c.visited || !c.sums || !c.partial || !c.best_index) return veer_out_of_memory();
    lower_items(&c, first_item);
    return veer_ok();
}

/* ---- kernels ---- */
static val_t make_table(veer_fx_kernel_t *k, const veer_fx_table_t *t) {
    veer_emit_t *e = &k->jit->emit;
    val_t bytes = LLVMConstStringInContext2(e->context, t->bytes, t->size_bytes, 1);
    val_t global = LLVMAddGlobal(e->module, LLVMTypeOf(bytes), "");
    LLVMSetInitializer(global, bytes);
    LLVMSetGlobalConstant(global, 1);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetAlignment(global, 64);
    return global;
}

veer_status_t veer_fx_kernel_init(veer_fx_kernel_t *k, veer_jit_kernel_t *jit, const veer_fx_region_t *region) {
    int count = region->input_count + region->root_count;
    *k = (veer_fx_kernel_t){.jit = jit};
    k->bufs = veer_arena_array(region->arena, (size_t)count + 1, sizeof *k->bufs);
    k->tables = veer_arena_array(region->arena, (size_t)region->table_count + 1, sizeof *k->tables);
    if (!k->bufs || !k->tables) return veer_out_of_memory();
    for (int i = 0; i < count; i++) k->bufs[i] = veer_jit_buffer(jit, i);
    for (int i = 0; i < region->table_count; i++) k->tables[i] = make_table(k, &region->tables[i]);
    k->flag = veer_emit_variable(&jit->emit, jit->emit.i32);
    LLVMBuildStore(jit->emit.builder, LLVMConstInt(jit->emit.i32, VEER_KERNEL_OK, 0), k->flag);
    return veer_ok();
}
