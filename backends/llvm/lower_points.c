/* Values of points: indices, masks, loads and stores, elementwise ops, what is kept from sweep to sweep. */
#include "backends/llvm/lower_internal.h"

#include "backends/llvm/elementwise.h"
#include "backends/llvm/vrandom.h"

#include <assert.h>

/* ---- index arithmetic ---- */
val_t veer_lw_mul(veer_lower_t *c, val_t v, int64_t k) {
    return k == 1 ? v : LLVMBuildMul(c->e->builder, v, veer_emit_like_int(c->e, v, k), "");
}

val_t veer_lw_add(veer_lower_t *c, val_t a, val_t b) {
    unsigned la = veer_emit_lanes(a), lb = veer_emit_lanes(b), lanes = la > lb ? la : lb;
    return LLVMBuildAdd(c->e->builder, veer_emit_splat(c->e, a, lanes), veer_emit_splat(c->e, b, lanes), "");
}

/* Groups in lanes, and the index does not go on from one group to the next as it does within one. */
static bool is_broken(const veer_lower_t *c, const veer_fx_affine_t *a) {
    return c->unit > 1 && a->coef[c->s->group_var] != c->unit * a->coef[c->lane_var];
}

/* At lane 0; without what lane_offsets adds. */
val_t veer_lw_affine_base(veer_lower_t *c, const veer_fx_affine_t *a) {
    val_t sum = veer_emit_i64(c->e, a->c);
    bool broken = is_broken(c, a);
    for (int v = 0; v < c->n->var_count; v++)
        if (a->coef[v] && !(broken && (v == c->lane_var || v == c->s->group_var)))
            sum = veer_lw_add(c, sum, veer_lw_mul(c, c->var[v], a->coef[v]));
    return sum;
}

static int64_t lane_step(const veer_lower_t *c, const veer_fx_affine_t *a) {
    return c->lane_var < 0 || is_broken(c, a) ? 0 : a->coef[c->lane_var];
}

/* What each lane adds to the base; NULL where nothing. */
static val_t lane_offsets(veer_lower_t *c, const veer_fx_affine_t *a) {
    int64_t step = lane_step(c, a);
    if (step) return veer_lw_mul(c, veer_emit_iota(c->e->i64, c->lanes), step);
    if (!is_broken(c, a)) return NULL;
    val_t group = veer_lw_add(c, c->group_of, c->first_group);
    return veer_lw_add(c, veer_lw_mul(c, group, a->coef[c->s->group_var]),
                       veer_lw_mul(c, c->within, a->coef[c->lane_var]));
}

/* Scalar, or a vector where it varies along the lanes. */
val_t veer_lw_affine_value(veer_lower_t *c, const veer_fx_affine_t *a) {
    val_t base = veer_lw_affine_base(c, a), lanes = lane_offsets(c, a);
    return lanes ? veer_lw_add(c, base, lanes) : base;
}

/* ---- masks ---- NULL means true */
static val_t and_masks(veer_lower_t *c, val_t a, val_t b) {
    if (!a || !b) return a ? a : b;
    unsigned la = veer_emit_lanes(a), lb = veer_emit_lanes(b), lanes = la > lb ? la : lb;
    return LLVMBuildAnd(c->e->builder, veer_emit_splat(c->e, a, lanes), veer_emit_splat(c->e, b, lanes), "");
}

static val_t in_range(veer_lower_t *c, const veer_fx_affine_t *a, int64_t low, int64_t high) {
    val_t x = veer_lw_affine_value(c, a); /* one unsigned comparison */
    x = LLVMBuildSub(c->e->builder, x, veer_emit_like_int(c->e, x, low), "");
    return LLVMBuildICmp(c->e->builder, LLVMIntULT, x, veer_emit_like_int(c->e, x, high - low), "");
}

static val_t guard_value(veer_lower_t *c, int guard) {
    if (!guard) return NULL;
    const veer_fx_guard_t *g = &c->n->guards[guard];
    return and_masks(c, in_range(c, &g->at, g->low, g->high), guard_value(c, g->parent));
}

/* ---- memory ---- */
static unsigned align_of(veer_dtype_t d) {
    return (unsigned)veer_dtype_size(d);
}

static val_t element_address(veer_lower_t *c, veer_dtype_t d, val_t base, val_t offset) {
    return LLVMBuildGEP2(c->e->builder, veer_fx_memory_type(c->e, d), base, &offset, 1, "");
}

static val_t load_scalar(veer_lower_t *c, veer_dtype_t d, val_t base, val_t offset, val_t guard) {
    if (guard) offset = veer_emit_select(c->e, guard, offset, veer_emit_i64(c->e, 0));
    val_t v = LLVMBuildLoad2(c->e->builder, veer_fx_memory_type(c->e, d), element_address(c, d, base, offset), "");
    LLVMSetAlignment(v, align_of(d));
    return v;
}

val_t veer_lw_load_run(veer_lower_t *c, veer_dtype_t d, val_t base, val_t offset, val_t mask) {
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

static val_t all_lanes(veer_lower_t *c) {
    return LLVMConstAllOnes(LLVMVectorType(c->e->i1, c->lanes));
}

val_t veer_lw_load_scattered(veer_lower_t *c, veer_dtype_t d, val_t base, val_t offsets, val_t mask) {
    LLVMTypeRef type = LLVMVectorType(veer_fx_memory_type(c->e, d), c->lanes);
    val_t addresses = element_address(c, d, base, veer_emit_splat(c->e, offsets, c->lanes));
    val_t args[] = {addresses, LLVMConstInt(c->e->i32, align_of(d), 0),
                    mask ? veer_emit_splat(c->e, mask, c->lanes) : all_lanes(c), LLVMConstNull(type)};
    return veer_emit_intrinsic(c->e, "llvm.masked.gather", (LLVMTypeRef[]){type, LLVMTypeOf(addresses)}, 2, args, 4);
}

val_t veer_lw_slot(veer_lower_t *c, int64_t slot, val_t at) {
    return element_address(c, VEER_DTYPE_F32, c->k->jit->scratch, veer_lw_add(c, veer_emit_i64(c->e, slot), at));
}

static val_t load(veer_lower_t *c, const veer_fx_point_t *p) {
    val_t base = p->j ? c->k->tables[p->i] : c->k->bufs[p->i], offset = veer_lw_affine_base(c, &p->at), lanes = NULL;
    int64_t step = lane_step(c, &p->at);
    for (int i = 0; i < p->dynamic_count; i++) {
        val_t v = veer_lw_mul(c, veer_lw_value(c, p->dynamic[i]), p->dynamic_coef[i]);
        if (veer_emit_lanes(v) == 1)
            offset = veer_lw_add(c, offset, v);
        else
            lanes = lanes ? veer_lw_add(c, lanes, v) : v;
    }
    val_t guard = guard_value(c, p->guard), v;
    bool vector = step || lanes || is_broken(c, &p->at) || (guard && veer_emit_lanes(guard) > 1);
    if (!vector)
        v = load_scalar(c, p->dtype, base, offset, guard);
    else if (step == 1 && !lanes)
        v = veer_lw_load_run(c, p->dtype, base, offset, and_masks(c, c->mask, guard));
    else {
        val_t along = lane_offsets(c, &p->at);
        if (along) offset = veer_lw_add(c, offset, along);
        if (lanes) offset = veer_lw_add(c, offset, lanes);
        v = veer_lw_load_scattered(c, p->dtype, base, offset, and_masks(c, c->mask, guard));
    }
    return veer_fx_from_memory(c->e, p->dtype, v);
}

/* The lanes that have a value of their own to store: of a group's lanes only the first, where the result has no more.
 */
static val_t store_mask(veer_lower_t *c, const veer_fx_store_t *s) {
    if (c->unit <= 1 || s->vars >> c->lane_var & 1) return c->mask;
    return and_masks(c, c->mask,
                     LLVMBuildICmp(c->e->builder, LLVMIntEQ, c->within, LLVMConstNull(LLVMTypeOf(c->within)), ""));
}

void veer_lw_store(veer_lower_t *c, const veer_fx_store_t *s) {
    veer_dtype_t d = c->n->points[s->point].dtype;
    val_t v = veer_lw_value(c, s->point), base = c->k->bufs[c->n->region->input_count + s->result],
          offset = veer_lw_affine_base(c, &s->at);
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
        offset = veer_lw_add(c, offset, lane_offsets(c, &s->at));
        val_t addresses = element_address(c, d, base, offset);
        val_t args[] = {v, addresses, align, mask ? mask : all_lanes(c)};
        veer_emit_intrinsic(c->e, "llvm.masked.scatter", (LLVMTypeRef[]){type, LLVMTypeOf(addresses)}, 2, args, 4);
    }
}

/* ---- points ---- */
static val_t op(veer_lower_t *c, const veer_fx_point_t *p) {
    val_t args[3] = {0};
    veer_dtype_t in[3] = {0};
    unsigned lanes = 1;
    for (int i = 0; i < p->arg_count; i++) {
        args[i] = veer_lw_value(c, p->args[i]);
        in[i] = c->n->points[p->args[i]].dtype;
        if (veer_emit_lanes(args[i]) > lanes) lanes = veer_emit_lanes(args[i]);
    }
    for (int i = 0; i < p->arg_count; i++) args[i] = veer_emit_splat(c->e, args[i], lanes);
    return veer_fx_elementwise(c->e, p->op, p->i, p->dtype, in, args);
}

static val_t pick(veer_lower_t *c, val_t condition, val_t yes, val_t no) {
    unsigned lanes = veer_emit_lanes(condition);
    if (veer_emit_lanes(yes) > lanes) lanes = veer_emit_lanes(yes);
    if (veer_emit_lanes(no) > lanes) lanes = veer_emit_lanes(no);
    yes = veer_emit_splat(c->e, yes, lanes), no = veer_emit_splat(c->e, no, lanes);
    return veer_emit_select(c->e, condition, yes, no); /* a scalar condition picks whole vectors */
}

/* A negative index counts from the end; one out of range raises the flag and becomes 0. */
static val_t checked_index(veer_lower_t *c, const veer_fx_point_t *p) {
    val_t x = veer_lw_value(c, p->args[0]);
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
static val_t folded_index(veer_lower_t *c, const veer_fx_point_t *p) {
    veer_emit_t *e = c->e;
    val_t x = veer_lw_affine_value(c, &p->at), last = veer_emit_like_int(e, x, p->i - 1),
          zero = veer_emit_like_int(e, x, 0);
    if (p->j == VEER_FX_PAD_EDGE) return veer_emit_min(e, veer_emit_max(e, x, zero), last);
    if (p->i == 1) return zero;
    int64_t period = p->j == VEER_FX_PAD_WRAP ? p->i : 2 * (p->i - 1);
    val_t by = veer_emit_like_int(e, x, period), r = LLVMBuildSRem(e->builder, x, by, "");
    r = veer_emit_select(e, LLVMBuildICmp(e->builder, LLVMIntSLT, r, zero, ""), LLVMBuildAdd(e->builder, r, by, ""), r);
    if (p->j == VEER_FX_PAD_WRAP) return r;
    return veer_emit_min(e, r, LLVMBuildSub(e->builder, by, r, ""));
}

static val_t noise(veer_lower_t *c, const veer_fx_point_t *p) {
    veer_emit_t *e = c->e;
    val_t in[3];
    for (int i = 0; i < 3; i++) in[i] = veer_lw_value(c, p->args[i]);
    val_t key[2] = {LLVMBuildTrunc(e->builder, in[0], e->i32, ""),
                    LLVMBuildTrunc(e->builder, LLVMBuildLShr(e->builder, in[0], veer_emit_i64(e, 32), ""), e->i32, "")};
    val_t step = LLVMBuildTrunc(e->builder, in[2], e->i32, ""),
          sample = veer_lw_add(c, veer_lw_affine_value(c, &p->at2), in[1]);
    sample = LLVMBuildTrunc(e->builder, sample, veer_emit_type_like(sample, e->i32), "");
    bool aligned = lane_step(c, &p->at) == 1 && lane_step(c, &p->at2) == 0 && c->lanes % 4 == 0 && c->lanes > 4 &&
                   p->at.c % 4 == 0 && !c->unit;
    for (int v = 0; v < c->n->var_count; v++) aligned = aligned && (v == c->lane_var || p->at.coef[v] % 4 == 0);
    if (aligned) return veer_vrandom_run(e, veer_lw_affine_base(c, &p->at), c->lanes, sample, step, p->i, key);
    val_t element = veer_lw_affine_value(c, &p->at);
    unsigned lanes =
        veer_emit_lanes(sample) > veer_emit_lanes(element) ? veer_emit_lanes(sample) : veer_emit_lanes(element);
    return veer_vrandom_any(e, veer_emit_splat(e, element, lanes), sample, step, p->i, key);
}

/* A reduction's value for the groups of the lanes; for all groups alike before lanes are open. */
static val_t group_value(veer_lower_t *c, int point) {
    val_t base = veer_lw_slot(c, c->s->slots[point].values, veer_emit_i64(c->e, 0));
    if (!c->unit) return load_scalar(c, VEER_DTYPE_F32, base, veer_emit_i64(c->e, 0), NULL);
    if (c->unit == 1) return veer_lw_load_run(c, VEER_DTYPE_F32, base, c->lane_at, NULL);
    return veer_lw_load_scattered(c, VEER_DTYPE_F32, base, c->group_of, NULL);
}

static val_t compute(veer_lower_t *c, int point) {
    const veer_fx_point_t *p = &c->n->points[point];
    switch (p->kind) {
    case VEER_PT_LOAD: return load(c, p);
    case VEER_PT_CONST: return veer_fx_constant(c->e, p->dtype, p->bits);
    case VEER_PT_OP: return op(c, p);
    case VEER_PT_CHOOSE: {
        val_t at = veer_lw_affine_value(c, &p->at), first = veer_lw_value(c, p->args[0]),
              second = veer_lw_value(c, p->args[1]);
        val_t is_first = LLVMBuildICmp(c->e->builder, LLVMIntSLT, at, veer_emit_like_int(c->e, at, p->i), "");
        return pick(c, is_first, first, second);
    }
    case VEER_PT_INSIDE: {
        val_t inside = veer_lw_value(c, p->args[0]);
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

void veer_lw_set_value(veer_lower_t *c, int point, val_t v) {
    c->values[point] = v;
    c->undo[c->undo_count++] = point;
}

void veer_lw_close_scope(veer_lower_t *c, int mark) {
    while (c->undo_count > mark) c->values[c->undo[--c->undo_count]] = NULL;
}

static const veer_fx_kept_t *kept_in_sweep(const veer_lower_t *c, int point) {
    for (int i = 0; i < c->s->kept_count; i++)
        if (c->s->kept[i].point == point &&
            c->s->sweeps[c->s->kept[i].first_sweep].vars == c->s->sweeps[c->sweep].vars &&
            c->s->kept[i].first_sweep <= c->sweep)
            return &c->s->kept[i];
    return NULL;
}

static val_t kept_address(veer_lower_t *c, const veer_fx_kept_t *kept) {
    val_t at = veer_emit_i64(c->e, kept->offset_bytes / 4);
    for (int v = 0; v < c->n->var_count; v++)
        if (c->kept_strides[v])
            at = veer_lw_add(c, at,
                             veer_lw_mul(c, c->unit && v == c->lane_var ? c->lane_at : c->var[v], c->kept_strides[v]));
    return element_address(c, VEER_DTYPE_F32, c->k->jit->scratch, at);
}

val_t veer_lw_value(veer_lower_t *c, int point) {
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
    veer_lw_set_value(c, point, v);
    return v;
}

void veer_lw_hoist(veer_lower_t *c, int point) {
    const veer_fx_point_t *p = &c->n->points[point];
    if (c->visited[point] || p->kind == VEER_PT_CONST) return;
    c->visited[point] = true;
    if (!(p->vars & ~c->open)) {
        veer_lw_value(c, point);
        return;
    }
    if (veer_fx_is_reduction(p)) return;
    const veer_fx_kept_t *kept = kept_in_sweep(c, point);
    if (kept && kept->first_sweep < c->sweep) return; /* read back, not computed */
    for (int i = 0; i < p->arg_count; i++) veer_lw_hoist(c, p->args[i]);
    for (int i = 0; i < p->dynamic_count; i++) veer_lw_hoist(c, p->dynamic[i]);
}
