/* Winograd convolutions: how they are cut, what they are expected to cost, kernels found again. */
#include "backends/llvm/winograd.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- matching ---- */

static const char *declines(const veer_wino_problem_t *p) {
    if (p->kernel_h != VEER_WINO_KERNEL || p->kernel_w != VEER_WINO_KERNEL) return "the kernel is not 3x3";
    if (p->stride_h != 1 || p->stride_w != 1) return "a stride is not 1";
    if (p->dilation_h != 1 || p->dilation_w != 1) return "a dilation is not 1";
    bool in_rows = !p->mm.moment_rows ||
                   (p->mm.moment_rows % (VEER_WINO_MAX_TILE * p->y_w) == 0 && p->y_h * p->y_w % p->mm.moment_rows == 0);
    return in_rows ? NULL : "blocks of moments are not rows of tiles of an image";
}

bool veer_wino_match(const veer_graph_t *g, veer_node_t node, veer_wino_problem_t *out, char *reason,
                     size_t reason_bytes) {
    if (!veer_conv_match(g, node, out, reason, reason_bytes)) return false;
    const char *why = declines(out);
    if (why) snprintf(reason, reason_bytes, "%s", why);
    return !why;
}

/* ---- cutting ---- */

static int64_t positions(const veer_wino_cut_t *cut) {
    return (int64_t)cut->patch * cut->patch;
}

int64_t veer_wino_v_floats(const veer_wino_cut_t *cut) {
    return veer_ceil_div(cut->mm.tiles, cut->mm.groups) * cut->v_micro;
}

int64_t veer_wino_z_floats(const veer_wino_cut_t *cut) {
    return positions(cut) * cut->z_position;
}

size_t veer_wino_scratch_floats(const veer_wino_cut_t *cut) {
    return (size_t)(veer_wino_v_floats(cut) + veer_wino_z_floats(cut) + cut->patch * cut->u_position);
}

/* Positions of z that one tile reads are not a power of two apart: those compete for the same lines of the first cache.
 */
static void set_strides(veer_wino_cut_t *cut, int64_t k) {
    const veer_mm_blocking_t *b = &cut->mm;
    cut->v_position = (b->tile_rows + (b->long_tiles > 0)) * VEER_WINO_BLOCK;
    cut->v_block = cut->v_position * positions(cut);
    cut->v_micro = cut->v_block * veer_ceil_div(k, VEER_WINO_BLOCK);
    cut->z_row = (int64_t)b->vectors * b->lanes;
    cut->z_position = veer_ceil_div(cut->group_tiles * cut->z_row, VEER_WINO_BLOCK) * VEER_WINO_BLOCK;
    if (cut->z_position / VEER_WINO_BLOCK % 2 == 0) cut->z_position += VEER_WINO_BLOCK;
    if (cut->fly && !cut->few) cut->u_position = b->depth * cut->z_row + VEER_WINO_BLOCK;
}

static size_t packed_bytes(const veer_wino_problem_t *p, const veer_wino_cut_t *cut) {
    return veer_wino_packed_floats(p, cut) * sizeof(float);
}

/* On the fly: tiles of a group whose products take less time than the transform of weights, about. */
enum { FEW_TILES = 20 };

/* Whether each group fetches the weights anew. */
static bool are_far(const veer_wino_problem_t *p, const veer_wino_cut_t *cut) {
    enum { NEAR_BYTES = 1 << 20 };
    return packed_bytes(p, cut) > NEAR_BYTES;
}

/* An odd number of items leaves one of two threads idle: where there are few, rather shorter tiles. */
static void even_tiles(veer_mm_blocking_t *b, int64_t rows) {
    enum { FEW = 16 };
    if (b->tiles < 2 || b->tiles % 2 == 0 || b->panels % 2 == 0 || b->tiles * b->panels > FEW) return;
    b->tiles++;
    b->tile_rows = rows / b->tiles, b->long_tiles = rows % b->tiles;
}

/* The products' tiles of a group: as many as the second cache holds in transformed form beside weights, few enough that
 * there are items for several threads. */
static void set_groups(const veer_wino_problem_t *p, veer_wino_cut_t *cut, int64_t tiles) {
    enum {
        GROUP_BYTES = 1 << 19,
        FAR_GROUP_BYTES = 3 << 18,
        WHOLE_BYTES = 5 << 18,
        LEAST_ITEMS = 8,
        LEAST_FAR_ITEMS = 4
    };
    veer_mm_blocking_t *b = &cut->mm;
    bool far = are_far(p, cut);
    int64_t most_rows = b->tile_rows + (b->long_tiles > 0), least = far ? LEAST_FAR_ITEMS : LEAST_ITEMS;
    int64_t bytes = positions(cut) * most_rows * (p->mm.k + (int64_t)b->vectors * b->lanes) * 4;
    int64_t group = (far ? FAR_GROUP_BYTES : GROUP_BYTES) / bytes;
    if (group < 1) group = 1;
    if (far && bytes * b->tiles <= WHOLE_BYTES) group = b->tiles; /* weights are read once by each thread's panels */
    b->groups = veer_ceil_div(b->tiles, veer_min_i64(group, b->tiles));
    while (b->groups * b->panels < least && b->groups < b->tiles) b->groups++;
    cut->group_tiles = veer_min_i64(veer_ceil_div(b->tiles, b->groups) * most_rows, tiles);
}

/* Weights are not in the second cache when their turn comes. A position's come while those before are multiplied; each
 * of a group's tiles fetches its part. */
static void set_prefetch(veer_wino_cut_t *cut) {
    enum { LINE_BYTES = 64 };
    veer_mm_blocking_t *b = &cut->mm;
    int64_t width = (int64_t)b->vectors * b->lanes, micros = veer_ceil_div(b->tiles, b->groups);
    int64_t step_bytes = veer_mm_unroll((int)b->tile_rows * b->vectors) * width * 4;
    if (cut->fly) { /* the block's weights, shared out over all positions */
        micros = b->tiles / b->groups;
        step_bytes = veer_ceil_div(step_bytes * VEER_WINO_KERNEL * VEER_WINO_KERNEL, positions(cut));
        b->fetch_step = (int)veer_ceil_div(step_bytes, 4 * micros);
    }
    b->prefetch = (int)veer_ceil_div(step_bytes, LINE_BYTES * micros);
}

/* On the fly each group transforms the weights, so groups are few: as many as the second cache asks for, and two where
 * there are tiles enough that it matters little, for two threads then share x, too. All have as many of the products'
 * tiles. */
static void set_fly_groups(const veer_wino_problem_t *p, veer_wino_cut_t *cut, int64_t tiles) {
    enum { GROUP_BYTES = 5 << 18 };
    veer_mm_blocking_t *b = &cut->mm;
    int64_t bytes = positions(cut) * tiles * (p->mm.k + (int64_t)b->vectors * b->lanes) * 4;
    b->groups = veer_ceil_div(bytes, GROUP_BYTES);
    if (b->groups == 1 && tiles > FEW_TILES) b->groups = 2;
    if (b->groups > 1) b->groups += b->groups % 2;
    b->groups = veer_min_i64(b->groups, b->tiles);
    if (veer_ceil_div(b->tiles, b->groups) * b->groups <= tiles)
        b->tiles = veer_ceil_div(b->tiles, b->groups) * b->groups;
    b->tile_rows = tiles / b->tiles, b->long_tiles = tiles % b->tiles;
    cut->group_tiles = veer_min_i64(veer_ceil_div(b->tiles, b->groups) * (b->tile_rows + (b->long_tiles > 0)), tiles);
}

/* Moments are of blocks of rows of tiles: groups then are some blocks each, as many in each; as many groups as before
 * or more, as far as there are blocks. `rows`: of the products' tiles, at most. */
static void align_groups(const veer_wino_problem_t *p, veer_wino_cut_t *cut, int64_t tiles, int64_t rows) {
    veer_mm_blocking_t *b = &cut->mm;
    int64_t blocks = tiles / veer_wino_block_tiles(p, cut->tile);
    b->groups = veer_min_i64(b->groups, blocks);
    while (blocks % b->groups) b->groups++;
    cut->alike = true;
    cut->group_tiles = tiles / b->groups;
    int64_t micros = veer_ceil_div(cut->group_tiles, rows);
    b->tiles = micros * b->groups;
    b->tile_rows = cut->group_tiles / micros, b->long_tiles = cut->group_tiles % micros;
}

/* Sums of a row of positions, and besides them what a channel's transform takes. */
static void set_few(veer_wino_cut_t *cut, int registers) {
    enum { OTHERS = 8 };
    cut->few = cut->mm.tiles == 1 && cut->patch * cut->mm.tile_rows <= registers - OTHERS;
}

/* Blocks of channels. With few tiles the transform of weights counts: a block's original and a row of positions stay in
 * the first cache. With many the sums that wait from block to block do. The last block has at least as many as a step
 * of the products' loop takes. */
static void set_blocks(veer_wino_cut_t *cut, int64_t k) {
    enum { FEW_BLOCK = 32, SHORT_BLOCK = 16, BLOCK = 64 };
    veer_mm_blocking_t *b = &cut->mm;
    int64_t most = cut->few ? FEW_BLOCK : cut->group_tiles > FEW_TILES ? BLOCK : SHORT_BLOCK;
    b->depth = veer_ceil_div(veer_ceil_div(k, veer_ceil_div(k, most)), VEER_WINO_BLOCK) * VEER_WINO_BLOCK;
    while ((k - 1) % b->depth + 1 < VEER_MM_MOST_UNROLLED && b->depth < k) b->depth += VEER_WINO_BLOCK;
    b->depth = veer_min_i64(b->depth, k);
    b->blocks = veer_ceil_div(k, b->depth);
}

veer_wino_cut_t veer_wino_cut(const veer_wino_problem_t *p, int tile, bool fly, int lanes, int registers) {
    veer_wino_cut_t cut = {.tile = tile, .patch = tile + VEER_WINO_KERNEL - 1, .fly = fly};
    cut.tiles_h = veer_ceil_div(p->y_h, tile), cut.tiles_w = veer_ceil_div(p->y_w, tile);
    veer_mm_problem_t product = p->mm;
    product.m = p->images * cut.tiles_h * cut.tiles_w, product.a_row = VEER_WINO_BLOCK;
    cut.mm = veer_mm_cut(&product, lanes, registers);
    cut.mm.blocks = 1, cut.mm.depth = p->mm.k;
    cut.mm.fetch_tiles = 0, cut.mm.fetch_step = 0;
    int64_t most_rows = cut.mm.tile_rows + (cut.mm.long_tiles > 0);
    even_tiles(&cut.mm, product.m);
    if (fly)
        set_fly_groups(p, &cut, product.m);
    else
        set_groups(p, &cut, product.m);
    if (p->mm.moment_rows) align_groups(p, &cut, product.m, most_rows);
    if (fly) {
        set_few(&cut, registers);
        set_blocks(&cut, p->mm.k);
    }
    set_prefetch(&cut);
    set_strides(&cut, p->mm.k);
    return cut;
}

/* ---- cost ---- */

/* Cycles of one core, as measured by bench/winograd_probe.c, for vectors of channels: a position of a patch on the way
 * in or out, one of y; bytes of weights that come from memory in a cycle. */
static const double IN = 4, OUT = 3, DONE = 4, FLY = 1.5, BYTES = 6;

/* One k of all products of a position. */
static double step_cycles(const veer_wino_problem_t *p, const veer_wino_cut_t *cut) {
    const veer_mm_blocking_t *b = &cut->mm;
    int64_t longs = b->long_tiles * (cut->alike ? b->groups : 1);
    int64_t rows[2] = {b->tile_rows + 1, b->tile_rows}, tiles[2] = {longs, b->tiles - longs};
    double sum = 0, sums = 0;
    for (int i = 0; i < 2; i++) {
        sum += (double)(tiles[i] * (b->panels - 1)) * veer_mm_tile_cycles(rows[i], b->vectors, b->lanes);
        sum += (double)tiles[i] * veer_mm_tile_cycles(rows[i], b->tail_vectors, b->lanes);
        sums += (double)(tiles[i] * rows[i] * b->panels * b->vectors);
    }
    return sum + sums / (double)p->mm.k;
}

/* Of a vector of weights of one c, on the fly. */
static double fly_cycles(const veer_wino_cut_t *cut) {
    return (double)positions(cut) * FLY;
}

static double winograd_cycles(const veer_wino_problem_t *p, const veer_wino_cut_t *cut) {
    double tiles = (double)(p->images * cut->tiles_h * cut->tiles_w);
    double in = (double)veer_ceil_div(p->mm.k, cut->mm.lanes), out = (double)veer_ceil_div(p->mm.n, cut->mm.lanes);
    double products = (double)(positions(cut) * p->mm.k) * step_cycles(p, cut);
    double bytes = (double)packed_bytes(p, cut) * (are_far(p, cut) ? (double)cut->mm.groups : 1);
    double transforms = in * (double)positions(cut) * IN +
                        out * ((double)positions(cut) * OUT + (double)(cut->tile * cut->tile) * DONE);
    if (cut->fly) products += (double)(p->mm.k * cut->mm.groups) * out * fly_cycles(cut);
    return fmax(products, bytes / BYTES) + tiles * transforms;
}

/* ---- error ---- */

/* With |x| <= X and |w| <= W a direct sum of 9 C products, each rounded once per addition, errs by at most
 * (9 C)^2 u X W. Here the terms are C a^2 X W in all, a the amplification, and each is rounded once in the weights, C
 * times in the product, and in each direction `in` and `out` times in the transforms. Weights on the fly are rounded
 * twice in each direction, and where their factors are no powers of two, those once, too. */
static const double MOST_ERROR = 4; /* of strict kernels */
static double error_ratio(int tile, bool fly, int64_t channels) {
    double a = veer_llvm_conv_amplification(tile), c = (double)channels;
    int in = tile == 2 ? 1 : 2, out = tile == 2 ? 2 : 3, weights = !fly ? 1 : tile == 2 ? 4 : 6;
    return (c + weights + 2 * in + 2 * out) * a * a / (81 * c);
}

/* ---- the interface ---- */

bool veer_llvm_conv_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t reason_bytes) {
    veer_wino_problem_t p;
    if (reason_bytes) reason[0] = 0;
    return veer_wino_match(g, node, &p, reason, reason_bytes);
}

/* Of a block of moments: what a group of it alone has in scratch, about, in 4x4 tiles. */
static int64_t block_bytes(const veer_wino_problem_t *p) {
    enum { PATCH = VEER_WINO_MAX_PATCH, PANEL = 32 };
    return veer_wino_block_tiles(p, VEER_WINO_MAX_TILE) * PATCH * PATCH * (p->mm.k + PANEL) * 4;
}

/* Where Winograd's algorithm is surely the fastest, in strict precision, too: nothing else takes moments. */
bool veer_llvm_conv_moments_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t reason_bytes) {
    enum { LEAST_CHANNELS = 32, MOST_BYTES = 5 << 18 };
    veer_wino_problem_t p;
    if (reason_bytes) reason[0] = 0;
    if (!veer_wino_match(g, node, &p, reason, reason_bytes)) return false;
    const char *why = veer_min_i64(p.mm.k, p.mm.n) < LEAST_CHANNELS      ? "it has too few channels"
                      : error_ratio(2, false, p.mm.k) > MOST_ERROR       ? "strict precision might exclude it"
                      : p.mm.moment_rows && block_bytes(&p) > MOST_BYTES ? "a block of moments is too large"
                                                                         : NULL;
    if (why) snprintf(reason, reason_bytes, "%s", why);
    return !why;
}

int veer_llvm_conv_ways(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                        veer_llvm_conv_t out[VEER_LLVM_CONV_WAYS], char *reason, size_t reason_bytes) {
    static const veer_llvm_conv_t WAYS[VEER_LLVM_CONV_WAYS] = {
        {2, false, 0}, {2, true, 0}, {4, false, 0}, {4, true, 0}};
    veer_wino_problem_t p;
    int count = 0, lanes = veer_llvm_lanes(llvm);
    if (reason_bytes) reason[0] = 0;
    if (!veer_wino_match(g, node, &p, reason, reason_bytes)) return 0;
    for (int i = 0; i < VEER_LLVM_CONV_WAYS; i++) {
        veer_llvm_conv_t way = WAYS[i];
        if (veer_jit_is_strict(llvm) && error_ratio(way.tile, way.fly, p.mm.k) > MOST_ERROR) continue;
        veer_wino_cut_t cut = veer_wino_cut(&p, way.tile, way.fly, lanes, veer_jit_registers(llvm));
        way.gain = veer_conv_direct_cycles(&p, lanes) / winograd_cycles(&p, &cut);
        int at = count++;
        for (; at > 0 && out[at - 1].gain < way.gain; at--) out[at] = out[at - 1];
        out[at] = way;
    }
    if (!count) snprintf(reason, reason_bytes, "strict precision excludes Winograd's algorithm here");
    return count;
}

static veer_status_t write_kernel(veer_llvm_t *llvm, const veer_wino_problem_t *p, const veer_wino_cut_t *cut,
                                  veer_llvm_kernel_t *out) {
    veer_jit_kernel_t jit;
    VEER_TRY(veer_jit_begin(llvm, VEER_JIT_LIGHT, &jit));
    veer_wino_emit(&jit, p, cut);
    veer_jit_end(llvm, &jit, NULL, 1200 + 40 * (double)p->mm.step_count);
    *out = (veer_llvm_kernel_t){.id = jit.id, .work_items = cut->mm.groups * cut->mm.panels};
    out->scratch_bytes = veer_wino_scratch_floats(cut) * sizeof(float);
    out->flops = veer_conv_operations(p);
    out->bytes = veer_conv_bytes(p) + 4 * (double)veer_wino_packed_floats(p, cut);
    return veer_ok();
}

typedef struct pack_key_s {
    char tag[8];
    const void *data;
    int64_t tile, k, n, transposed, lanes, vectors; /* tile 0: not transformed */
} pack_key_t;

static veer_status_t pack_weights(veer_llvm_t *llvm, const veer_wino_problem_t *p, const veer_wino_cut_t *cut,
                                  veer_llvm_kernel_t *out) {
    pack_key_t key = {"winopak",     p->mm.b_data,  cut->fly ? 0 : cut->tile, p->mm.k, p->mm.n,
                      p->transposed, cut->mm.lanes, cut->mm.vectors};
    float *packed = NULL;
    bool is_new = false;
    size_t count = veer_wino_packed_floats(p, cut);
    if (count > SIZE_MAX / sizeof *packed) return veer_out_of_memory();
    VEER_TRY(veer_jit_constant(llvm, &key, sizeof key, count * sizeof *packed, (void **)&packed, &is_new));
    if (is_new) veer_wino_pack(p, cut, packed);
    out->packed = packed;
    out->packed_bytes = count * sizeof *packed;
    out->packed_buf = (int)p->mm.b_buf;
    int64_t panel_floats = veer_wino_weight_floats(cut) * p->mm.k * cut->mm.vectors * cut->mm.lanes;
    out->stream = (veer_stream_t){packed, 1, cut->mm.panels, panel_floats * (int64_t)sizeof *packed};
    return veer_ok();
}

veer_status_t veer_llvm_conv_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, int tile, bool fly,
                                  veer_llvm_kernel_t *out_kernel) {
    struct {
        char tag[8];
        int64_t tile, fly;
        veer_wino_problem_t p;
    } key = {.tag = "winogra", .tile = tile, .fly = fly};
    char reason[160] = "";
    if (!veer_wino_match(g, node, &key.p, reason, sizeof reason))
        return veer_error(VEER_ERR_UNSUPPORTED, "llvm: %s: %s", veer_op_name(veer_node_op(g, node)), reason);
    veer_wino_problem_t p = key.p;
    veer_wino_cut_t cut = veer_wino_cut(&p, tile, fly, veer_llvm_lanes(llvm), veer_jit_registers(llvm));
    key.p.mm.b_data = NULL;
    size_t key_bytes = offsetof(veer_wino_problem_t, mm) + offsetof(veer_mm_problem_t, steps) +
                       (size_t)p.mm.step_count * sizeof *p.mm.steps + sizeof key.tag + sizeof key.tile + sizeof key.fly;
    if (!veer_jit_find(llvm, &key, key_bytes, out_kernel)) {
        VEER_TRY(write_kernel(llvm, &p, &cut, out_kernel));
        VEER_TRY(veer_jit_remember(llvm, &key, key_bytes, out_kernel));
    }
    return pack_weights(llvm, &p, &cut, out_kernel);
}
