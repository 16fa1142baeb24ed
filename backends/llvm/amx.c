#include "backends/llvm/amx.h"
#include "ir/base/clock.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef LLVMValueRef val_t;

bool veer_amx_permitted(void) {
#if defined(__x86_64__) && defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

#if defined(__x86_64__) && defined(__linux__)
enum { PROBE_ROUNDS = 250, PRODUCTS = 4, PRODUCT_CYCLES = 16 };

static double seconds_of_products(void) {
    double begin = veer_clock_seconds();
    for (int i = 0; i < PROBE_ROUNDS; i++)
        __asm__ volatile("tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
                         "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
    return veer_clock_seconds() - begin;
}

/* The time that products take where nobody else is on the core, by multiplications each of which waits for the one
 * before: three cycles, whoever else is. (Additions of constants are done while registers are renamed.) */
static double seconds_of_cycles(void) {
    enum { CYCLES = 3, AT_ONCE = 8 };
    uint64_t x = 3;
    double begin = veer_clock_seconds();
    for (int i = 0; i < PROBE_ROUNDS * PRODUCTS * PRODUCT_CYCLES / CYCLES; i += AT_ONCE)
        __asm__ volatile("imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0\n\t"
                         "imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0"
                         : "+r"(x));
    return veer_clock_seconds() - begin;
}

double veer_amx_share(void) {
    enum { TRIES = 2 };
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.row_bytes[i] = 4 * VEER_AMX_ROW_FLOATS, shape.rows[i] = VEER_AMX_SIDE;
    double share = 0;
    __asm__ volatile("ldtilecfg %0" : : "m"(shape));
    for (int i = 0; i < TRIES; i++) share = fmax(share, seconds_of_cycles() / seconds_of_products());
    __asm__ volatile("tilerelease");
    return fmin(share, 1);
}
#else
double veer_amx_share(void) {
    return 1;
}
#endif

/* ---- instructions ---- */

static void call(veer_emit_t *e, const char *name, val_t *args, unsigned count) {
    veer_emit_intrinsic(e, name, NULL, 0, args, count);
}

static val_t tile_name(veer_emit_t *e, int tile) {
    return LLVMConstInt(e->i8, (unsigned)tile, 0);
}

void veer_amx_begin(veer_emit_t *e) {
    enum { WORDS = 16, TILES = 8, COLUMN_WORDS = 4, ROW_WORDS = 12 };
    uint32_t words[WORDS] = {1}; /* palette 1; 64 bytes in each of 16 rows */
    for (int i = 0; i < TILES / 2; i++) words[COLUMN_WORDS + i] = 0x00400040;
    for (int i = 0; i < TILES / 4; i++) words[ROW_WORDS + i] = 0x10101010;
    val_t all[WORDS];
    for (int i = 0; i < WORDS; i++) all[i] = LLVMConstInt(e->i32, words[i], 0);
    val_t shape = LLVMConstVector(all, WORDS), at = veer_emit_variable(e, LLVMTypeOf(shape));
    LLVMBuildStore(e->builder, shape, at);
    call(e, "llvm.x86.ldtilecfg", &at, 1);
}

void veer_amx_end(veer_emit_t *e) {
    call(e, "llvm.x86.tilerelease", NULL, 0);
}

/* ---- packing ---- */

/* Rounded to 8 bits. A NaN may become 0, but then what is left of it stays one. */
static val_t upper(veer_emit_t *e, val_t x) {
    val_t bits = veer_emit_bits(e, x);
    bits = LLVMBuildAdd(e->builder, bits, veer_emit_like_int(e, bits, 0x8000), "");
    return LLVMBuildAnd(e->builder, bits, veer_emit_like_int(e, bits, (int64_t)0xFFFF0000), "");
}

/* The same for what is left of a number: a NaN stays one. */
static val_t last_upper(veer_emit_t *e, val_t x) {
    unsigned lanes = veer_emit_lanes(x);
    val_t rounded = LLVMBuildFPTrunc(e->builder, x, LLVMVectorType(LLVMBFloatTypeInContext(e->context), lanes), "");
    val_t bits = LLVMBuildBitCast(e->builder, rounded, LLVMVectorType(LLVMInt16TypeInContext(e->context), lanes), "");
    bits = LLVMBuildZExt(e->builder, bits, LLVMVectorType(e->i32, lanes), "");
    return LLVMBuildShl(e->builder, bits, veer_emit_like_int(e, bits, 16), "");
}

/* What is left has no more than 8 bits, which lie lower only below 2^-126: those the unit takes for zeros anyway. */
static val_t last_exact(veer_emit_t *e, val_t x) {
    val_t bits = veer_emit_bits(e, x);
    return LLVMBuildAnd(e->builder, bits, veer_emit_like_int(e, bits, (int64_t)0xFFFF0000), "");
}

static veer_amx_parts_t split(veer_emit_t *e, val_t x, int parts, val_t (*last)(veer_emit_t *e, val_t x)) {
    veer_amx_parts_t p = {.count = parts};
    for (int i = 0; i < parts - 1; i++) {
        p.part[i] = upper(e, x);
        x = LLVMBuildFSub(e->builder, x, veer_emit_from_bits(e, p.part[i]), "");
    }
    p.part[parts - 1] = parts == VEER_AMX_PARTS ? last_exact(e, x) : last(e, x);
    return p;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The same at compile time: the upper part, taken from x. */
static inline uint32_t take_upper(float *x) {
    uint32_t bits = (bits_of(*x) + 0x8000) & 0xFFFF0000;
    float part;
    memcpy(&part, &bits, sizeof part);
    *x -= part;
    return bits;
}

static inline uint32_t last_of(float x) {
    uint32_t bits = bits_of(x);
    return (isnan(x) ? bits : bits + 0x8000) & 0xFFFF0000;
}

veer_amx_parts_t veer_amx_split(veer_emit_t *e, val_t x, int parts) {
    return split(e, x, parts, last_upper);
}

veer_amx_parts_t veer_amx_split_result(veer_emit_t *e, val_t x, int parts) {
    return split(e, x, parts, upper);
}

void veer_amx_split_constant(float x, int count, uint16_t parts[VEER_AMX_PARTS]) {
    for (int i = 0; i < count - 1; i++) parts[i] = (uint16_t)(take_upper(&x) >> 16);
    parts[count - 1] = (uint16_t)(last_of(x) >> 16);
}

#if defined __x86_64__
__attribute__((target("avx512f"))) /* all processors with the unit have it */
#endif
void veer_amx_split_tile(float *low, float *high, int parts, uint32_t *to) {
    for (int part = 0; part < parts - 1; part++, to += VEER_AMX_PART_FLOATS)
        for (int i = 0; i < VEER_AMX_PART_FLOATS; i++) {
            uint32_t bits = take_upper(&low[i]) >> 16;
            to[i] = bits | take_upper(&high[i]);
        }
    for (int i = 0; i < VEER_AMX_PART_FLOATS; i++) to[i] = last_of(low[i]) >> 16 | last_of(high[i]);
}

val_t veer_amx_row(veer_emit_t *e, const veer_amx_parts_t *low, const veer_amx_parts_t *high, int part) {
    val_t row = high ? high->part[part] : NULL;
    if (!low) return row ? row : LLVMConstNull(LLVMVectorType(e->i32, VEER_AMX_ROW_FLOATS));
    val_t bits = LLVMBuildLShr(e->builder, low->part[part], veer_emit_like_int(e, low->part[part], 16), "");
    return row ? LLVMBuildOr(e->builder, row, bits, "") : bits;
}

void veer_amx_store(veer_emit_t *e, int parts, const veer_amx_parts_t *low, const veer_amx_parts_t *high, val_t to) {
    for (int i = 0; i < parts; i++) {
        val_t at = veer_emit_at(e, to, veer_emit_i64(e, (int64_t)i * VEER_AMX_PART_FLOATS));
        LLVMSetAlignment(LLVMBuildStore(e->builder, veer_amx_row(e, low, high, i), at), 64);
    }
}

static val_t load(veer_tile_ctx_t *t, val_t at, int64_t offset) {
    return veer_emit_load_first(t->e, veer_tile_at_c(t, at, offset), t->lanes, t->lanes, 4);
}

/* `body` for i in [from, to). */
typedef void (*index_fn)(void *user, val_t i);
static void for_each(veer_emit_t *e, int64_t from, int64_t to, index_fn body, void *user) {
    if (to - from == 1) body(user, veer_emit_i64(e, from));
    if (to - from < 2) return;
    veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, from), veer_emit_i64(e, to), 1);
    body(user, loop.i);
    veer_emit_loop_end(e, &loop);
}

typedef struct pack_s {
    veer_tile_ctx_t *t;
    val_t from, to;
    int64_t row_floats, k, columns;
    int parts;
    veer_amx_factors_t factors;
    val_t tile; /* of rows, of a; the chunk, of b */
    bool low, high;
} pack_t;

static void pack_a_row(void *user, val_t r) {
    pack_t *p = user;
    veer_emit_t *e = p->t->e;
    int64_t chunks = veer_amx_chunks(p->k), tile_floats = veer_amx_tile_floats(p->parts);
    val_t row = veer_emit_add(e, veer_emit_mul(e, p->tile, VEER_AMX_SIDE), r);
    val_t from = veer_emit_at(e, p->from, veer_emit_mul(e, row, p->row_floats));
    val_t to = veer_emit_at(
        e, p->to,
        veer_emit_add(e, veer_emit_mul(e, p->tile, chunks * tile_floats), veer_emit_mul(e, r, VEER_AMX_ROW_FLOATS)));
    int64_t whole = (p->k + VEER_AMX_SIDE - 1) / VEER_AMX_CHUNK; /* chunks of two vectors */
    if (whole) {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, whole), 1);
        val_t at = veer_emit_at(e, from, veer_emit_mul(e, loop.i, VEER_AMX_CHUNK));
        veer_amx_parts_t low = veer_amx_split(e, load(p->t, at, 0), p->parts),
                         high = veer_amx_split(e, load(p->t, at, VEER_AMX_SIDE), p->parts);
        veer_amx_store(e, p->parts, &low, &high, veer_emit_at(e, to, veer_emit_mul(e, loop.i, tile_floats)));
        veer_emit_loop_end(e, &loop);
    }
    if (whole == chunks) return;
    veer_amx_parts_t low = veer_amx_split(e, load(p->t, from, whole * VEER_AMX_CHUNK), p->parts);
    veer_amx_store(e, p->parts, &low, NULL, veer_tile_at_c(p->t, to, whole * tile_floats));
}

void veer_amx_pack_a(veer_tile_ctx_t *t, val_t from, int64_t row_floats, int64_t rows, int64_t k, int parts, val_t to) {
    veer_emit_t *e = t->e;
    pack_t p = {.t = t, .from = from, .to = to, .row_floats = row_floats, .k = k, .parts = parts};
    int64_t tiles = rows / VEER_AMX_SIDE;
    if (tiles) {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, tiles), 1);
        p.tile = loop.i;
        for_each(e, 0, VEER_AMX_SIDE, pack_a_row, &p);
        veer_emit_loop_end(e, &loop);
    }
    p.tile = veer_emit_i64(e, tiles);
    for_each(e, 0, rows - tiles * VEER_AMX_SIDE, pack_a_row, &p);
}

static val_t b_vector(pack_t *p, val_t row, int64_t column) {
    veer_emit_t *e = p->t->e;
    val_t x = load(p->t, veer_emit_at(e, p->from, veer_emit_mul(e, row, p->row_floats)), column);
    if (p->factors.by_row)
        x = LLVMBuildFMul(e->builder, x, veer_emit_load_all(e, veer_emit_at(e, p->factors.by_row, row), p->t->lanes),
                          "");
    if (p->factors.by_column) x = LLVMBuildFMul(e->builder, x, load(p->t, p->factors.by_column, column), "");
    return x;
}

/* Steps i and i + 16 of a chunk, in all tiles of columns. */
static void pack_b_row(void *user, val_t i) {
    pack_t *p = user;
    veer_emit_t *e = p->t->e;
    int64_t chunks = veer_amx_chunks(p->k), tile_floats = veer_amx_tile_floats(p->parts);
    val_t row = veer_emit_add(e, veer_emit_mul(e, p->tile, VEER_AMX_CHUNK), i);
    val_t to = veer_emit_at(
        e, p->to, veer_emit_add(e, veer_emit_mul(e, p->tile, tile_floats), veer_emit_mul(e, i, VEER_AMX_ROW_FLOATS)));
    for (int64_t tile = 0; tile < veer_amx_tiles(p->columns); tile++) {
        veer_amx_parts_t low, high;
        if (p->low) low = veer_amx_split(e, b_vector(p, row, tile * VEER_AMX_SIDE), p->parts);
        if (p->high)
            high = veer_amx_split(
                e, b_vector(p, veer_emit_add(e, row, veer_emit_i64(e, VEER_AMX_SIDE)), tile * VEER_AMX_SIDE), p->parts);
        veer_amx_store(e, p->parts, p->low ? &low : NULL, p->high ? &high : NULL,
                       veer_tile_at_c(p->t, to, tile * chunks * tile_floats));
    }
}

static int64_t clamp(int64_t x, int64_t most) {
    return x < 0 ? 0 : x < most ? x : most;
}

void veer_amx_pack_b(veer_tile_ctx_t *t, val_t from, int64_t row_floats, int64_t k, int64_t columns,
                     veer_amx_factors_t factors, int parts, val_t to) {
    veer_emit_t *e = t->e;
    pack_t p = {t, from, to, row_floats, k, columns, parts, factors, NULL, true, true};
    int64_t whole = k / VEER_AMX_CHUNK, rest = k - whole * VEER_AMX_CHUNK;
    if (whole) {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, whole), 1);
        p.tile = loop.i;
        for_each(e, 0, VEER_AMX_SIDE, pack_b_row, &p);
        veer_emit_loop_end(e, &loop);
    }
    if (!rest) return;
    int64_t both = clamp(rest - VEER_AMX_SIDE, VEER_AMX_SIDE), low = clamp(rest, VEER_AMX_SIDE);
    p.tile = veer_emit_i64(e, whole);
    for_each(e, 0, both, pack_b_row, &p);
    p.high = false;
    for_each(e, both, low, pack_b_row, &p);
    p.low = false;
    for_each(e, low, VEER_AMX_SIDE, pack_b_row, &p);
}

/* ---- products ---- */

enum { FIRST_A = 4, FIRST_B = 6 }; /* tiles: results are 0 to 3, [row][column] */
enum { LINE_FLOATS = 16 };

static val_t floats_behind(veer_emit_t *e, val_t base, int64_t offset) {
    return veer_emit_at(e, base, veer_emit_i64(e, offset));
}

static const char LOAD[] = "llvm.x86.tileloadd64", STORE[] = "llvm.x86.tilestored64";

/* Loads or stores a tile. */
static void move_tile(veer_emit_t *e, const char *how, int tile, val_t base, int64_t offset, int64_t row_floats) {
    val_t args[] = {tile_name(e, tile), floats_behind(e, base, offset), veer_emit_i64(e, row_floats * 4)};
    call(e, how, args, 3);
}

static void load_packed(veer_emit_t *e, int first, int count, const val_t *from, int64_t offset) {
    for (int i = 0; i < count; i++) move_tile(e, LOAD, first + i, from[i], offset, VEER_AMX_ROW_FLOATS);
}

static void add_product(veer_emit_t *e, int sum, int a, int b) {
    val_t args[] = {tile_name(e, sum), tile_name(e, a), tile_name(e, b)};
    call(e, "llvm.x86.tdpbf16ps", args, 3);
}

/* `done`: products before these, of `count`. */
static void multiply_tiles(veer_emit_t *e, const veer_amx_step_t *s, int done, int count) {
    for (int r = 0; r < s->rows; r++)
        for (int c = 0; c < s->columns; c++) {
            add_product(e, r * 2 + c, FIRST_A + r, FIRST_B + c);
            if (s->between) s->between(s->user, done++, count);
        }
}

/* Each operand is loaded again where its part changes. What is to be fetched comes in between: many lines at once would
 * hold up the loads behind them. */
void veer_amx_step(veer_emit_t *e, const veer_amx_step_t *s) {
    typedef struct order_s {
        int a, b;
    } order_t;
    static const order_t of_three[] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}, {0, 0}},
                         of_two[] = {{1, 1}, {1, 0}, {0, 0}, {0, 1}};
    const order_t *order = s->parts == VEER_AMX_PARTS ? of_three : of_two + !s->mm;
    int has_a = -1, has_b = -1, count = veer_amx_pairs(s->parts, s->mm);
    for (int i = 0; i < count; i++) {
        if (order[i].a != has_a) load_packed(e, FIRST_A, s->rows, s->a, (has_a = order[i].a) * s->a_part);
        if (order[i].b != has_b) load_packed(e, FIRST_B, s->columns, s->b, (has_b = order[i].b) * s->b_part);
        int64_t first = s->fetch_lines * i / count, end = s->fetch_lines * (i + 1) / count;
        if (first < end) veer_emit_fetch(e, floats_behind(e, s->fetch, first * LINE_FLOATS), end - first);
        multiply_tiles(e, s, i * s->rows * s->columns, count * s->rows * s->columns);
    }
}

static void move_results(veer_emit_t *e, const char *how, int rows, int columns, val_t c, int64_t c_row) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++)
            move_tile(e, how, i * 2 + j, c, i * VEER_AMX_SIDE * c_row + (int64_t)j * VEER_AMX_SIDE, c_row);
}

static void clear_tile(veer_emit_t *e, int tile) {
    val_t name = tile_name(e, tile);
    call(e, "llvm.x86.tilezero", &name, 1);
}

void veer_amx_results_clear(veer_emit_t *e, int rows, int columns) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) clear_tile(e, i * 2 + j);
}

void veer_amx_results_load(veer_emit_t *e, int rows, int columns, val_t c, int64_t c_row) {
    move_results(e, LOAD, rows, columns, c, c_row);
}

void veer_amx_results_store(veer_emit_t *e, int rows, int columns, val_t c, int64_t c_row) {
    move_results(e, STORE, rows, columns, c, c_row);
}

typedef struct block_s {
    veer_tile_ctx_t *t;
    const veer_amx_product_t *p;
    val_t a, b, c; /* where the block begins */
    int rows, columns;
    val_t fetch;         /* the block's part of what is to be fetched; NULL: none */
    int64_t fetch_lines; /* in each chunk */
    /* beside the chunk under way */
    val_t index, row, end; /* of the block among others; rows */
} block_t;

static int64_t column_blocks(const veer_amx_product_t *p) {
    return (p->column_tiles + 1) / 2;
}

static int64_t all_chunks(const veer_amx_product_t *p) {
    return (p->row_tiles + 1) / 2 * column_blocks(p) * p->chunks;
}

/* The pieces for the time of a product of tiles. Rows are shared out over chunks evenly: `sure` are certain. */
static void do_beside(void *user, int i, int count) {
    block_t *k = user;
    veer_emit_t *e = k->t->e;
    const veer_amx_beside_t *w = k->p->beside;
    int64_t sure = w->rows / all_chunks(k->p), most = (w->rows + all_chunks(k->p) - 1) / all_chunks(k->p);
    for (int64_t n = most * w->pieces * i / count; n < most * w->pieces * (i + 1) / count; n++) {
        int64_t ahead = n / w->pieces;
        val_t row = veer_emit_add(e, k->row, veer_emit_i64(e, ahead));
        veer_emit_branch_t exists;
        if (ahead >= sure) exists = veer_emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, row, k->end, ""));
        w->piece(w->user, row, (int)(n % w->pieces));
        if (ahead >= sure) veer_emit_endif(e, &exists);
    }
}

static void begin_beside(block_t *k, val_t chunk, veer_amx_step_t *step) {
    veer_emit_t *e = k->t->e;
    const veer_amx_beside_t *w = k->p->beside;
    val_t done = veer_emit_add(e, veer_emit_mul(e, k->index, k->p->chunks), chunk), first = veer_emit_i64(e, w->first);
    val_t behind = veer_emit_add(e, done, veer_emit_i64(e, 1));
    k->row = veer_emit_add(e, veer_emit_div(e, veer_emit_mul(e, done, w->rows), all_chunks(k->p)), first);
    k->end = veer_emit_add(e, veer_emit_div(e, veer_emit_mul(e, behind, w->rows), all_chunks(k->p)), first);
    step->between = do_beside, step->user = k;
}

static void multiply_chunk(block_t *k, val_t chunk, val_t a, val_t b, val_t fetch) {
    veer_amx_step_t step = {.parts = k->p->parts,
                            .mm = k->p->mm,
                            .rows = k->rows,
                            .columns = k->columns,
                            .a_part = VEER_AMX_PART_FLOATS,
                            .b_part = VEER_AMX_PART_FLOATS,
                            .fetch = fetch,
                            .fetch_lines = k->fetch_lines};
    for (int i = 0; i < 2; i++) {
        step.a[i] = veer_tile_at_c(k->t, a, i * k->p->a_tile);
        step.b[i] = veer_tile_at_c(k->t, b, i * k->p->b_tile);
    }
    if (k->p->beside) begin_beside(k, chunk, &step);
    veer_amx_step(k->t->e, &step);
}

static void do_block(block_t *k) {
    veer_emit_t *e = k->t->e;
    if (k->p->adds)
        veer_amx_results_load(e, k->rows, k->columns, k->c, k->p->c_row);
    else
        veer_amx_results_clear(e, k->rows, k->columns);
    if (k->p->chunks == 1)
        multiply_chunk(k, veer_emit_i64(e, 0), k->a, k->b, k->fetch);
    else {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, k->p->chunks), 1);
        val_t offset = veer_emit_mul(e, loop.i, veer_amx_tile_floats(k->p->parts)), fetch = k->fetch;
        if (fetch) fetch = veer_emit_at(e, fetch, veer_emit_mul(e, loop.i, k->fetch_lines * LINE_FLOATS));
        multiply_chunk(k, loop.i, veer_emit_at(e, k->a, offset), veer_emit_at(e, k->b, offset), fetch);
        veer_emit_loop_end(e, &loop);
    }
    veer_amx_results_store(e, k->rows, k->columns, k->c, k->p->c_row);
}

static int64_t lines_per(int64_t floats, int64_t steps) {
    return veer_ceil_div(floats, LINE_FLOATS * steps);
}

static void do_rows(veer_tile_ctx_t *t, const veer_amx_product_t *p, val_t tile, int tiles) {
    veer_emit_t *e = t->e;
    block_t k = {.t = t, .p = p, .rows = tiles, .a = veer_emit_at(e, p->a, veer_emit_mul(e, tile, p->a_tile))};
    val_t c = veer_emit_at(e, p->c, veer_emit_mul(e, tile, VEER_AMX_SIDE * p->c_row)), fetch = p->fetch;
    val_t first = veer_emit_mul(e, veer_emit_div(e, tile, 2), column_blocks(p));
    if (fetch) k.fetch_lines = lines_per(p->fetch_floats, all_chunks(p));
    int64_t each = k.fetch_lines * p->chunks * LINE_FLOATS; /* of a block */
    if (fetch) fetch = veer_emit_at(e, fetch, veer_emit_mul(e, first, each));
    for (int64_t column = 0; column < p->column_tiles; column += k.columns) {
        k.columns = column + 1 < p->column_tiles ? 2 : 1;
        k.b = veer_tile_at_c(t, p->b, column * p->b_tile);
        k.c = veer_tile_at_c(t, c, column * VEER_AMX_SIDE);
        k.index = veer_emit_add(e, first, veer_emit_i64(e, column / 2));
        if (fetch) k.fetch = veer_tile_at_c(t, fetch, column / 2 * each);
        do_block(&k);
    }
}

void veer_amx_multiply(veer_tile_ctx_t *t, const veer_amx_product_t *p) {
    veer_emit_t *e = t->e;
    int64_t pairs = p->row_tiles / 2;
    if (pairs == 1) do_rows(t, p, veer_emit_i64(e, 0), 2);
    if (pairs > 1) {
        veer_emit_loop_t loop = veer_emit_loop_begin(e, veer_emit_i64(e, 0), veer_emit_i64(e, pairs), 1);
        do_rows(t, p, veer_emit_mul(e, loop.i, 2), 2);
        veer_emit_loop_end(e, &loop);
    }
    if (p->row_tiles % 2) do_rows(t, p, veer_emit_i64(e, pairs * 2), 1);
}

/* ---- tall results ---- */

void veer_amx_tall_clear(veer_emit_t *e) {
    for (int i = 0; i < VEER_AMX_TALL; i++) clear_tile(e, i);
}

/* Two tiles of rows at a time, so that both parts of b stay in the unit: tiles of a are loaded once. The sums of two
 * tiles wait for each other, but not for those of the other two. */
void veer_amx_tall_step(veer_emit_t *e, const veer_amx_tall_t *s) {
    enum { PAIR = 2, B_M = FIRST_B, B_H = FIRST_B + 1 };
    load_packed(e, B_M, 1, &s->b, s->b_part);
    load_packed(e, B_H, 1, &s->b, 0);
    for (int first = 0; first < VEER_AMX_TALL; first += PAIR)
        for (int part = 1; part >= 0; part--) { /* mh, then hh, hm */
            load_packed(e, FIRST_A, PAIR, s->a + first, part * s->a_part);
            for (int j = 0; j < (part ? 1 : 2) * PAIR; j++)
                add_product(e, first + j % PAIR, FIRST_A + j % PAIR, j / PAIR ? B_M : B_H);
        }
}

void veer_amx_tall_store(veer_emit_t *e, val_t c) {
    for (int i = 0; i < VEER_AMX_TALL; i++)
        move_tile(e, STORE, i, c, (int64_t)i * VEER_AMX_PART_FLOATS, VEER_AMX_ROW_FLOATS);
}
