/* A convolution on the matrix unit as LLVM IR:
 *
 *     for each item: its group of segments, its panel of channels
 *         for each block of four tiles of positions
 *             for each chunk, each element of the kernel:
 *                 sums += x w on the unit
 *                 some rows of the block before: y = program(sums)
 *                 unless the item before it had the same group: some of x that the next block needs, split
 *                 some weights are fetched that are read next, and some lines of y that are written next
 *             sums are stored
 *         the last block's rows
 *
 * Products and the vector units' work are independent of each other, so the processor does both at once. */
#include "backends/llvm/conv_amx.h"

#include "backends/llvm/matmul_emit.h"

typedef LLVMValueRef val_t;

enum { SIDE = VEER_AMX_SIDE, CHUNK = VEER_AMX_CHUNK, LINE = VEER_CONV_AMX_LINE, PARTS = VEER_CONV_AMX_PARTS };
enum { TILES = VEER_AMX_TALL, ROWS = TILES * SIDE, STEP_FLOATS = VEER_CONV_AMX_STEP_FLOATS, LINE_FLOATS = 16 };

/* Where a block's tiles go: for each the first row of y and how many there are; on the stack. */
typedef struct places_s {
    val_t row, rows; /* addresses of TILES numbers */
} places_t;

typedef struct conv_s {
    veer_mm_emitter_t mm;
    veer_emit_t *e;
    const veer_conv_problem_t *p;
    const veer_conv_amx_cut_t *cut;
    val_t x, sums;                 /* scratch: the group, split; sums of the block before */
    val_t first_segment, segments; /* of the group */
    val_t weights, after;          /* the panel's; what is read after it */
    val_t offsets;                 /* of the kernel's elements, a table */
    val_t pieces;                  /* of x that are split, on the stack */
    places_t now, before;          /* of the block under way; of the one whose sums wait */
} conv_t;

static val_t number(conv_t *c, int64_t i) {
    return veer_emit_i64(c->e, i);
}
static val_t slot(conv_t *c, val_t table, val_t i) {
    return LLVMBuildInBoundsGEP2(c->e->builder, c->e->i64, table, &i, 1, "");
}
static val_t entry(conv_t *c, val_t table, val_t i) {
    return LLVMBuildLoad2(c->e->builder, c->e->i64, slot(c, table, i), "");
}
static void set_entry(conv_t *c, val_t table, val_t i, val_t value) {
    LLVMBuildStore(c->e->builder, value, slot(c, table, i));
}

/* ---- segments ---- */

static val_t image_of(conv_t *c, val_t segment) {
    return veer_emit_div(c->e, segment, c->cut->image_segments);
}
/* Its first row of y, in its image. */
static val_t first_row_of(conv_t *c, val_t segment) {
    return veer_emit_mul(c->e, veer_emit_mod(c->e, segment, c->cut->image_segments), c->cut->segment_rows);
}

/* ---- x ---- */

/* A piece of x is some positions of a row of a plane. Rows follow each other as they lie in scratch. */
enum { PIECE = 8 };
static int64_t pieces_of_row(const conv_t *c) {
    return veer_ceil_div(c->cut->pitch, PIECE);
}

static void store_line(conv_t *c, val_t line, val_t to, int part) {
    val_t at = veer_emit_at(c->e, to, number(c, part * c->cut->part_floats));
    LLVMSetAlignment(LLVMBuildStore(c->e->builder, line, at), 64);
}

/* One chunk of a position, of `channels` channels; x NULL: zeros. */
static void split_chunk(conv_t *c, val_t x, int64_t channels, val_t to) {
    veer_emit_t *e = c->e;
    veer_amx_parts_t low, high, *first = x ? &low : NULL, *second = x && channels > SIDE ? &high : NULL;
    int lows = channels < SIDE ? (int)channels : SIDE, highs = (int)channels - SIDE;
    if (first) low = veer_amx_split(e, veer_emit_load_first(e, x, lows, SIDE, 4), PARTS);
    if (second) {
        val_t at = veer_emit_at(e, x, number(c, SIDE));
        high = veer_amx_split(e, veer_emit_load_first(e, at, highs, SIDE, 4), PARTS);
    }
    for (int i = 0; i < PARTS; i++) store_line(c, veer_amx_row(e, first, second, i), to, i);
}

static void split_position(conv_t *c, val_t x, val_t to) {
    veer_emit_t *e = c->e;
    int64_t whole = c->p->mm.k / CHUNK, rest = c->p->mm.k % CHUNK, chunk_floats = PARTS * c->cut->part_floats;
    if (whole == 1) split_chunk(c, x, CHUNK, to);
    if (whole > 1) {
        veer_emit_loop_t chunks = veer_emit_loop_begin(e, number(c, 0), number(c, whole), 1);
        split_chunk(c, x ? veer_emit_at(e, x, veer_emit_mul(e, chunks.i, CHUNK)) : NULL, CHUNK,
                    veer_emit_at(e, to, veer_emit_mul(e, chunks.i, chunk_floats)));
        veer_emit_loop_end(e, &chunks);
    }
    if (rest)
        split_chunk(c, x ? veer_emit_at(e, x, number(c, whole * CHUNK)) : NULL, rest,
                    veer_emit_at(e, to, number(c, whole * chunk_floats)));
}

/* Where a row of a plane comes from. */
typedef struct source_s {
    val_t row;   /* of x; outside of it: zeros */
    val_t first; /* column of x of position 0 */
    val_t image; /* in all of x */
} source_t;

static source_t source_of(conv_t *c, val_t row) {
    veer_emit_t *e = c->e;
    const veer_conv_amx_cut_t *cut = c->cut;
    int64_t rows = cut->remainders * cut->copies * cut->plane_rows;
    val_t segment = veer_emit_add(e, c->first_segment, veer_emit_div(e, row, rows)), in = veer_emit_mod(e, row, rows);
    val_t plane = veer_emit_div(e, in, cut->plane_rows), q = veer_emit_mod(e, in, cut->plane_rows);
    val_t at = veer_emit_mul(e, veer_emit_add(e, first_row_of(c, segment), q), c->p->stride_h);
    at = veer_emit_add(e, at, veer_emit_sub(e, veer_emit_div(e, plane, cut->copies), number(c, c->p->pad_h)));
    val_t column = veer_emit_mul(e, veer_emit_mod(e, plane, cut->copies), c->p->dilation_w);
    return (source_t){at, veer_emit_sub(e, column, number(c, c->p->pad_w)), image_of(c, segment)};
}

/* The first position whose column is not below `limit`. */
static val_t first_from(conv_t *c, const source_t *s, int64_t limit) {
    veer_emit_t *e = c->e;
    val_t left = veer_emit_max(e, veer_emit_sub(e, number(c, limit), s->first), number(c, 0));
    int64_t step = c->p->stride_w;
    return step == 1 ? left : veer_emit_div(e, veer_emit_add(e, left, number(c, step - 1)), step);
}

static void split_positions(conv_t *c, val_t from, val_t end, val_t x, val_t first, val_t to) {
    veer_emit_t *e = c->e;
    veer_emit_loop_t positions = veer_emit_loop_begin(e, from, end, 1);
    val_t at = NULL;
    if (x) {
        val_t column = veer_emit_add(e, veer_emit_mul(e, positions.i, c->p->stride_w), first);
        at = veer_emit_at(e, x, veer_emit_mul(e, column, c->p->mm.k));
    }
    split_position(c, at, veer_emit_at(e, to, veer_emit_mul(e, positions.i, LINE)));
    veer_emit_loop_end(e, &positions);
}

static void split_piece(conv_t *c, val_t piece) {
    veer_emit_t *e = c->e;
    val_t row = veer_emit_div(e, piece, pieces_of_row(c)), zero = number(c, 0);
    val_t from = veer_emit_mul(e, veer_emit_mod(e, piece, pieces_of_row(c)), PIECE);
    val_t end = veer_emit_min(e, veer_emit_add(e, from, number(c, PIECE)), number(c, c->cut->pitch));
    source_t s = source_of(c, row);
    val_t is_inside = LLVMBuildICmp(e->builder, LLVMIntULT, s.row, number(c, c->p->h), "");
    val_t low = veer_emit_min(e, veer_emit_max(e, first_from(c, &s, 0), from), end),
          high = veer_emit_min(e, veer_emit_max(e, first_from(c, &s, c->p->w), low), end);
    low = veer_emit_select(e, is_inside, low, end), high = veer_emit_select(e, is_inside, high, end);
    val_t to = veer_emit_at(e, c->x, veer_emit_mul(e, row, c->cut->pitch * LINE));
    val_t in_x = veer_emit_add(e, veer_emit_mul(e, s.image, c->p->h), veer_emit_select(e, is_inside, s.row, zero));
    split_positions(c, from, low, NULL, NULL, to);
    split_positions(c, low, high, veer_emit_at(e, c->mm.a, veer_emit_mul(e, in_x, c->p->w * c->p->mm.k)), s.first, to);
    split_positions(c, high, end, NULL, NULL, to);
}

static void split_pieces(conv_t *c, val_t from, val_t end) {
    veer_emit_loop_t pieces = veer_emit_loop_begin(c->e, from, end, 1);
    split_piece(c, pieces.i);
    veer_emit_loop_end(c->e, &pieces);
}

/* ---- tiles ---- */

typedef struct tile_s {
    val_t x;         /* scratch, where element (0, 0) of the kernel meets its first position */
    val_t row, rows; /* of y */
} tile_t;

static tile_t tile_at(conv_t *c, val_t i) {
    veer_emit_t *e = c->e;
    const veer_conv_amx_cut_t *cut = c->cut;
    int64_t of_row = veer_conv_amx_row_tiles(c->p), width = cut->in_rows ? c->p->y_w : cut->segment_rows * c->p->y_w;
    val_t in_group = veer_emit_div(e, i, cut->tiles), tile = veer_emit_mod(e, i, cut->tiles), above = number(c, 0);
    val_t segment = veer_emit_add(e, c->first_segment, in_group), row = first_row_of(c, segment);
    if (cut->in_rows) above = veer_emit_div(e, tile, of_row), tile = veer_emit_mod(e, tile, of_row);
    val_t first = veer_emit_mul(e, tile, SIDE), at = veer_emit_add(e, veer_emit_mul(e, above, cut->pitch), first);
    at = veer_emit_add(e, at, veer_emit_mul(e, in_group, cut->segment_positions));
    val_t y = veer_emit_add(e, veer_emit_mul(e, image_of(c, segment), c->p->y_h), veer_emit_add(e, row, above));
    val_t left = number(c, width);
    if (!cut->in_rows && c->p->y_h % cut->segment_rows)
        left = veer_emit_min(e, left, veer_emit_mul(e, veer_emit_sub(e, number(c, c->p->y_h), row), c->p->y_w));
    return (tile_t){veer_emit_at(e, c->x, veer_emit_mul(e, at, LINE)),
                    veer_emit_add(e, veer_emit_mul(e, y, c->p->y_w), first),
                    veer_emit_min(e, veer_emit_sub(e, left, first), number(c, SIDE))};
}

/* Of the group. Only an image's last segment may be shorter. */
static val_t tile_count(conv_t *c) {
    veer_emit_t *e = c->e;
    const veer_conv_amx_cut_t *cut = c->cut;
    if (cut->image_segments == 1) return veer_emit_mul(e, c->segments, cut->tiles);
    if (c->p->y_h % cut->segment_rows == 0) return number(c, cut->tiles);
    val_t rows = veer_emit_sub(e, number(c, c->p->y_h), first_row_of(c, c->first_segment));
    rows = veer_emit_min(e, rows, number(c, cut->segment_rows));
    if (cut->in_rows) return veer_emit_mul(e, rows, veer_conv_amx_row_tiles(c->p));
    return veer_emit_div(e, veer_emit_add(e, veer_emit_mul(e, rows, c->p->y_w), number(c, SIDE - 1)), SIDE);
}

/* Pieces of x that tiles up to this one need. Planes lie behind each other, so of several all of the segment. */
static val_t pieces_for(conv_t *c, val_t tile) {
    veer_emit_t *e = c->e;
    const veer_conv_amx_cut_t *cut = c->cut;
    int64_t planes = cut->remainders * cut->copies;
    val_t segment = veer_emit_div(e, tile, cut->tiles), rows = number(c, planes * cut->plane_rows);
    if (planes == 1 && cut->in_rows)
        rows = veer_emit_add(e, veer_emit_div(e, veer_emit_mod(e, tile, cut->tiles), veer_conv_amx_row_tiles(c->p)),
                             number(c, cut->plane_rows - cut->segment_rows + 1));
    rows = veer_emit_add(e, rows, veer_emit_mul(e, segment, planes * cut->plane_rows));
    return veer_emit_mul(e, rows, pieces_of_row(c));
}

/* ---- y ---- */

/* Row i of a block; only where it exists. */
static void finish_row(conv_t *c, val_t i) {
    veer_emit_t *e = c->e;
    val_t tile = veer_emit_div(e, i, SIDE), in_tile = veer_emit_mod(e, i, SIDE);
    veer_emit_branch_t exists = veer_emit_if(e, veer_emit_is_less(e, in_tile, entry(c, c->before.rows, tile)));
    val_t sums = veer_emit_load_first(e, veer_emit_at(e, c->sums, veer_emit_mul(e, i, SIDE)), SIDE, SIDE, 64);
    veer_mm_finish_row(&c->mm, &sums, veer_emit_add(e, entry(c, c->before.row, tile), in_tile));
    veer_emit_endif(e, &exists);
}

static void finish_rows(conv_t *c, val_t from, val_t end) {
    veer_emit_loop_t rows = veer_emit_loop_begin(c->e, from, end, 1);
    finish_row(c, rows.i);
    veer_emit_loop_end(c->e, &rows);
}

static void fetch_rows(conv_t *c, val_t from, val_t end) {
    veer_emit_t *e = c->e;
    veer_emit_loop_t rows = veer_emit_loop_begin(e, from, end, 1);
    val_t row = veer_emit_add(e, entry(c, c->now.row, veer_emit_div(e, rows.i, SIDE)), veer_emit_mod(e, rows.i, SIDE));
    val_t at = veer_emit_at(e, c->mm.y, veer_emit_add(e, veer_emit_mul(e, row, c->p->mm.n), c->mm.column));
    veer_emit_fetch_line(e, at, VEER_EMIT_TO_WRITE);
    veer_emit_loop_end(e, &rows);
}

/* ---- products ---- */

typedef struct block_s {
    tile_t tiles[TILES];
    val_t number;
    val_t from, end, step; /* pieces of x for the next block; of them for a step */
} block_t;

/* One of four lines of what is needed later: they start the second cache's own fetching, which brings the others.
 * Instructions for all of them would wait for the few places that the first cache has for lines under way. Where a
 * panel has several blocks, each fetches its part of what follows the panel. Else weights are read once, and what is
 * read some steps later comes from memory meanwhile. */
static void fetch_weights(conv_t *c, const block_t *b, val_t step) {
    enum { LINES = STEP_FLOATS / LINE_FLOATS, AHEAD = 16, EVERY = 4 };
    veer_emit_t *e = c->e;
    int64_t blocks = veer_conv_amx_blocks(c->cut), steps = c->cut->chunks * c->cut->taps;
    int64_t each = veer_ceil_div(LINES, blocks);
    val_t from;
    if (blocks > 1) {
        val_t turn = veer_emit_add(e, veer_emit_mul(e, b->number, steps), step);
        from = veer_emit_at(e, c->after, veer_emit_mul(e, turn, each * LINE_FLOATS));
    } else {
        val_t later = veer_emit_add(e, step, number(c, AHEAD)), over = veer_emit_sub(e, later, number(c, steps));
        val_t is_over = LLVMBuildICmp(e->builder, LLVMIntSGE, over, number(c, 0), "");
        from = veer_emit_at(e, veer_emit_select(e, is_over, c->after, c->weights),
                            veer_emit_mul(e, veer_emit_select(e, is_over, over, later), STEP_FLOATS));
    }
    for (int64_t i = 0; i < each; i += EVERY)
        veer_emit_fetch_line(e, veer_emit_at(e, from, number(c, i * LINE_FLOATS)),
                             blocks > 1 ? VEER_EMIT_TO_READ_LATER : VEER_EMIT_TO_READ);
}

static void do_step(conv_t *c, const block_t *b, val_t chunk, val_t tap) {
    veer_emit_t *e = c->e;
    const veer_conv_amx_cut_t *cut = c->cut;
    val_t step = veer_emit_add(e, veer_emit_mul(e, chunk, cut->taps), tap);
    val_t x = veer_emit_add(e, veer_emit_mul(e, chunk, PARTS * cut->part_floats), entry(c, c->offsets, tap));
    veer_amx_tall_t tall = {.a_part = cut->part_floats, .b_part = VEER_AMX_PART_FLOATS};
    tall.b = veer_emit_at(e, c->weights, veer_emit_mul(e, step, STEP_FLOATS));
    for (int i = 0; i < TILES; i++) tall.a[i] = veer_emit_at(e, b->tiles[i].x, x);
    fetch_weights(c, b, step);
    veer_amx_tall_step(e, &tall);
    int64_t steps = cut->chunks * cut->taps, rows = veer_ceil_div(ROWS, steps);
    val_t from = veer_emit_mul(e, step, rows), all = number(c, ROWS);
    val_t end = veer_emit_min(e, veer_emit_add(e, from, number(c, rows)), all);
    finish_rows(c, from, end);
    fetch_rows(c, from, end);
    val_t piece = veer_emit_add(e, b->from, LLVMBuildMul(e->builder, step, b->step, ""));
    split_pieces(c, piece, veer_emit_min(e, veer_emit_add(e, piece, b->step), b->end));
}

static void copy_places(conv_t *c, const places_t *from, const places_t *to) {
    for (int i = 0; i < TILES; i++) {
        val_t at = number(c, i);
        set_entry(c, to->row, at, entry(c, from->row, at));
        set_entry(c, to->rows, at, entry(c, from->rows, at));
    }
}

/* Tiles behind the group's last are that one again, without rows. */
static void open_block(conv_t *c, val_t first, val_t count, block_t *b) {
    veer_emit_t *e = c->e;
    b->number = veer_emit_div(e, first, TILES);
    for (int i = 0; i < TILES; i++) {
        val_t own = veer_emit_add(e, first, number(c, i)), last = veer_emit_sub(e, count, number(c, 1));
        b->tiles[i] = tile_at(c, veer_emit_min(e, own, last));
        val_t rows = veer_emit_select(e, veer_emit_is_less(e, own, count), b->tiles[i].rows, number(c, 0));
        set_entry(c, c->now.row, number(c, i), b->tiles[i].row);
        set_entry(c, c->now.rows, number(c, i), rows);
    }
}

/* Pieces [from, end) from now to what is there when tile `last` is begun. */
static void pieces_until(conv_t *c, val_t last, val_t *from, val_t *end) {
    *from = LLVMBuildLoad2(c->e->builder, c->e->i64, c->pieces, "");
    *end = veer_emit_max(c->e, *from, pieces_for(c, last));
    LLVMBuildStore(c->e->builder, *end, c->pieces);
}

static void share_pieces(conv_t *c, val_t first, val_t count, block_t *b) {
    veer_emit_t *e = c->e;
    int64_t steps = c->cut->chunks * c->cut->taps;
    val_t last =
        veer_emit_min(e, veer_emit_add(e, first, number(c, 2 * TILES - 1)), veer_emit_sub(e, count, number(c, 1)));
    pieces_until(c, last, &b->from, &b->end);
    b->step = veer_emit_div(e, veer_emit_add(e, veer_emit_sub(e, b->end, b->from), number(c, steps - 1)), steps);
}

static void do_block(conv_t *c, val_t first, val_t count) {
    veer_emit_t *e = c->e;
    block_t block;
    open_block(c, first, count, &block);
    share_pieces(c, first, count, &block);
    veer_amx_tall_clear(e);
    veer_emit_loop_t chunks = veer_emit_loop_begin(e, number(c, 0), number(c, c->cut->chunks), 1);
    veer_emit_loop_t taps = veer_emit_loop_begin(e, number(c, 0), number(c, c->cut->taps), 1);
    do_step(c, &block, chunks.i, taps.i);
    veer_emit_loop_end(e, &taps);
    veer_emit_loop_end(e, &chunks);
    veer_amx_tall_store(e, c->sums);
    copy_places(c, &c->now, &c->before);
}

/* ---- items ---- */

static void do_blocks(conv_t *c) {
    veer_emit_t *e = c->e;
    val_t count = tile_count(c), from, end;
    pieces_until(c, veer_emit_min(e, number(c, TILES - 1), veer_emit_sub(e, count, number(c, 1))), &from, &end);
    split_pieces(c, from, end);
    for (int i = 0; i < TILES; i++) set_entry(c, c->before.rows, number(c, i), number(c, 0));
    veer_emit_loop_t blocks = veer_emit_loop_begin(e, number(c, 0), count, TILES);
    do_block(c, blocks.i, count);
    veer_emit_loop_end(e, &blocks);
    finish_rows(c, number(c, 0), number(c, ROWS));
}

/* What is read after a panel's weights: the next panel's, the first of the next group, or the beginning of the next
 * call's stream; where there is no such, what is there already. */
static val_t after_panel(conv_t *c, val_t item, val_t panel) {
    veer_emit_t *e = c->e;
    val_t is_end = veer_emit_is_equal(e, veer_emit_add(e, item, number(c, 1)), c->mm.jit->end),
          is_last = veer_emit_is_equal(e, panel, number(c, c->cut->mm.panels - 1)),
          is_none = LLVMBuildICmp(e->builder, LLVMIntEQ, c->mm.jit->next, LLVMConstNull(e->ptr), "");
    val_t here = veer_emit_select(e, is_last, c->mm.bm, veer_emit_at(e, c->weights, number(c, c->cut->panel_floats)));
    return veer_emit_select(e, is_end, veer_emit_select(e, is_none, c->weights, c->mm.jit->next), here);
}

static void do_panel(conv_t *c, val_t panel, bool is_tail) {
    const veer_mm_blocking_t *b = &c->cut->mm;
    c->mm.vectors = 1;
    c->mm.lanes = is_tail ? b->tail_lanes : b->lanes;
    c->mm.column = veer_emit_mul(c->e, panel, SIDE);
    veer_mm_load_columns(&c->mm);
    do_blocks(c);
}

static void do_item(conv_t *c, val_t item) {
    veer_emit_t *e = c->e;
    const veer_mm_blocking_t *b = &c->cut->mm;
    val_t group = veer_emit_div(e, item, b->panels), panel = veer_emit_mod(e, item, b->panels);
    c->first_segment = veer_emit_mul(e, group, c->cut->group_segments);
    c->segments = veer_emit_min(e, veer_emit_sub(e, number(c, c->p->images * c->cut->image_segments), c->first_segment),
                                number(c, c->cut->group_segments));
    val_t starts_share = LLVMBuildAnd(e->builder, veer_emit_is_equal(e, item, c->mm.jit->begin),
                                      veer_emit_is_equal(e, c->mm.jit->continues, number(c, 0)), "");
    val_t is_new = LLVMBuildOr(e->builder, veer_emit_is_equal(e, panel, number(c, 0)), starts_share, "");
    LLVMBuildStore(e->builder, veer_emit_select(e, is_new, number(c, 0), number(c, INT64_MAX)), c->pieces);
    c->weights = veer_emit_at(e, c->mm.bm, veer_emit_mul(e, panel, c->cut->panel_floats));
    c->after = after_panel(c, item, panel);
    bool partial = b->tail_lanes < b->lanes;
    if (!partial || b->panels == 1) {
        do_panel(c, panel, partial);
        return;
    }
    veer_emit_branch_t full = veer_emit_if(e, veer_emit_is_less(e, panel, number(c, b->panels - 1)));
    do_panel(c, panel, false);
    veer_emit_else(e, &full);
    do_panel(c, panel, true);
    veer_emit_endif(e, &full);
}

static val_t make_offsets(conv_t *c) {
    val_t offsets[VEER_CONV_AMX_MOST_TAPS];
    for (int64_t i = 0; i < c->cut->taps; i++)
        offsets[i] = number(c, veer_conv_amx_offset(c->p, c->cut, i / c->p->kernel_w, i % c->p->kernel_w) * LINE);
    val_t table = LLVMAddGlobal(c->e->module, LLVMArrayType2(c->e->i64, (uint64_t)c->cut->taps), "offsets");
    LLVMSetInitializer(table, LLVMConstArray2(c->e->i64, offsets, (uint64_t)c->cut->taps));
    LLVMSetGlobalConstant(table, 1);
    LLVMSetLinkage(table, LLVMPrivateLinkage);
    return table;
}

static places_t make_places(conv_t *c) {
    LLVMTypeRef type = LLVMArrayType2(c->e->i64, TILES);
    return (places_t){veer_emit_variable(c->e, type), veer_emit_variable(c->e, type)};
}

void veer_conv_amx_emit(veer_jit_kernel_t *jit, const veer_conv_problem_t *p, const veer_conv_amx_cut_t *cut) {
    conv_t c = {.e = &jit->emit, .p = p, .cut = cut, .x = jit->scratch};
    veer_mm_emitter_init(&c.mm, jit, &p->mm, &cut->mm);
    c.sums = veer_emit_at(c.e, c.x, number(&c, veer_conv_amx_x_floats(cut)));
    c.offsets = make_offsets(&c);
    c.pieces = veer_emit_variable(c.e, c.e->i64);
    c.now = make_places(&c), c.before = make_places(&c);
    veer_amx_begin(c.e);
    veer_emit_loop_t loop = veer_emit_loop_begin(c.e, jit->begin, jit->end, 1);
    do_item(&c, loop.i);
    veer_emit_loop_end(c.e, &loop);
    veer_amx_end(c.e);
}
