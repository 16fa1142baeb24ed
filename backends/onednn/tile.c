/* Rules of cutting:
 *  1. Shapes alone decide. Neither the number of threads nor the machine may.
 *  2. Channels-last tensors are cut into images and rows of images: such a tile is contiguous, which oneDNN's fast
 *     implementations ask for. Rows overlap in x where the kernel does.
 *  3. Row-major pools and resamplings are cut into channels, matrices into rows or columns.
 *  4. 16 tiles where there is work for them, 8 where there is less; none smaller than about 5 microseconds. */
#include "backends/onednn/problem.h"
#include "ir/base/integers.h"

static const double flops_of_16_tiles = 64e6, least_flops = 256e3;
enum { COLUMNS_MULTIPLE = 16, ROWS_MULTIPLE = 4, LEAST_PIXELS = 8 };

static int64_t round_up(int64_t a, int64_t multiple) {
    return veer_ceil_div(a, multiple) * multiple;
}

void veer_onednn_dense_strides(int rank, const int64_t *dims, bool channels_last, int64_t *out_strides) {
    int64_t stride = 1;
    if (channels_last && rank > 1) out_strides[1] = 1, stride = dims[1];
    for (int i = rank - 1; i >= 0; i--) {
        if (channels_last && i == 1) continue;
        out_strides[i] = stride;
        stride *= dims[i];
    }
}

bool veer_onednn_channels_last(const veer_onednn_view_t *v) {
    int64_t strides[VEER_ONEDNN_MAX_RANK];
    veer_onednn_dense_strides(v->rank, v->dims, true, strides);
    for (int i = 0; i < v->rank; i++)
        if (v->dims[i] > 1 && v->strides[i] != strides[i]) return false;
    return true;
}

int64_t veer_onednn_view_count(const veer_onednn_view_t *v) {
    int64_t count = v->rank > 0;
    for (int i = 0; i < v->rank; i++) count *= v->dims[i];
    return count;
}

static int64_t tiles_wanted(double flops) {
    int64_t most = flops >= flops_of_16_tiles ? 16 : 8;
    return flops / least_flops >= (double)most ? most : veer_max_i64(1, (int64_t)(flops / least_flops));
}

/* Post-op operands that change with the image but not within it: oneDNN takes them one image at a time. */
static bool wants_single_images(const veer_onednn_problem_t *p) {
    const veer_onednn_view_t *y = &p->tensors[VEER_ONEDNN_Y];
    for (int i = 0; i < p->post_count; i++) {
        const veer_onednn_view_t *v = &p->tensors[VEER_ONEDNN_POST + i];
        if (v->rank && v->dims[0] > 1 && veer_onednn_view_count(v) < veer_onednn_view_count(y)) return true;
    }
    return false;
}

/* Images first, and where there are too few, rows of them. */
static void cut_images(const veer_onednn_problem_t *p, int64_t wanted, int64_t row_multiple, veer_onednn_cut_t *cut) {
    const veer_onednn_view_t *y = &p->tensors[VEER_ONEDNN_Y];
    int64_t images = y->dims[0], rows = cut->rows;
    cut->images = wants_single_images(p) ? 1 : veer_max_i64(1, images / wanted);
    if (images >= wanted || row_multiple < 1) return;
    cut->images = 1;
    cut->rows = veer_min_i64(rows, round_up(veer_ceil_div(rows, veer_ceil_div(wanted, images)), row_multiple));
}

static int64_t conv_row_multiple(const veer_onednn_problem_t *p) {
    const veer_onednn_view_t *y = &p->tensors[VEER_ONEDNN_Y];
    int64_t pixels = 1;
    for (int i = 3; i < y->rank; i++) pixels *= y->dims[i];
    int64_t least = y->rank == 3 ? ROWS_MULTIPLE : veer_ceil_div(LEAST_PIXELS, pixels);
    /* A tile of a strided transposed convolution starts where a stride does. */
    return p->form == VEER_ONEDNN_CONV_TRANSPOSE ? round_up(least, p->window.strides[0]) : least;
}

static void cut_matmul(const veer_onednn_problem_t *p, int64_t wanted, veer_onednn_cut_t *cut) {
    const veer_onednn_view_t *y = &p->tensors[VEER_ONEDNN_Y];
    int64_t leads = y->dims[0];
    cut->images = wants_single_images(p) ? 1 : veer_max_i64(1, leads / wanted);
    if (leads >= wanted) return;
    int64_t parts = veer_ceil_div(wanted, leads);
    cut->images = 1;
    if (y->dims[2] >= y->dims[1])
        cut->channels = veer_min_i64(y->dims[2], round_up(veer_ceil_div(y->dims[2], parts), COLUMNS_MULTIPLE));
    else
        cut->rows = veer_min_i64(y->dims[1], round_up(veer_ceil_div(y->dims[1], parts), ROWS_MULTIPLE));
}

veer_onednn_cut_t veer_onednn_cut(const veer_onednn_problem_t *p) {
    const veer_onednn_view_t *y = &p->tensors[VEER_ONEDNN_Y];
    bool matmul = p->form == VEER_ONEDNN_MATMUL, moves = p->form >= VEER_ONEDNN_POOL;
    veer_onednn_cut_t cut = {
        .images = y->dims[0], .channels = y->dims[matmul ? 2 : 1], .rows = y->dims[matmul ? 1 : 2]};
    /* What only moves memory does about one element where a product does 32 operations. */
    int64_t wanted = tiles_wanted(moves ? 32.0 * (double)veer_onednn_view_count(y) : p->flops);
    if (matmul)
        cut_matmul(p, wanted, &cut);
    else if (moves && y->dims[0] == 1 && !veer_onednn_channels_last(y))
        cut.channels = veer_min_i64(cut.channels, round_up(veer_ceil_div(cut.channels, wanted), COLUMNS_MULTIPLE));
    else if (p->form == VEER_ONEDNN_RESAMPLING)
        cut_images(p, wanted, p->repeats, &cut);
    else
        cut_images(p, wanted, conv_row_multiple(p), &cut);
    cut.count = veer_ceil_div(y->dims[0], cut.images) * veer_ceil_div(y->dims[matmul ? 2 : 1], cut.channels) *
                veer_ceil_div(y->dims[matmul ? 1 : 2], cut.rows);
    return cut;
}

/* Rows [a, b) of y = windows over rows [i0, i1) of x; what a window reads outside x is padding. */
static void window_rows(const veer_onednn_problem_t *p, veer_onednn_tile_t *t) {
    const veer_dnnl_window_t *w = &p->window;
    int64_t in = p->tensors[VEER_ONEDNN_X].dims[2], extent = (w->dilates[0] + 1) * (w->kernel[0] - 1) + 1;
    int64_t first = t->a * w->strides[0] - w->pads_before[0];
    int64_t limit = (t->b - 1) * w->strides[0] - w->pads_before[0] + extent;
    t->i0 = veer_min_i64(veer_max_i64(first, 0), in);
    t->i1 = veer_max_i64(veer_min_i64(limit, in), t->i0);
    t->pad_before = t->i0 - first, t->pad_after = limit - t->i1;
}

/* Rows [a, b) of y receive from the rows i of x with a <= i*stride - pad + k < b for a kernel offset k. pad_before is
 * how many of the tile's own rows stick out in front of a, pad_after behind b (negative: rows that nothing reaches). */
static void transposed_rows(const veer_onednn_problem_t *p, veer_onednn_tile_t *t) {
    const veer_dnnl_window_t *w = &p->window;
    int64_t in = p->tensors[VEER_ONEDNN_X].dims[2], s = w->strides[0], pad = w->pads_before[0];
    int64_t extent = (w->dilates[0] + 1) * (w->kernel[0] - 1) + 1;
    t->i0 = veer_min_i64(veer_ceil_div(veer_max_i64(t->a + pad - extent + 1, 0), s), in - 1);
    if (t->i0 * s > pad + t->a)
        t->i0--; /* a kernel shorter than the stride: rows without input, but pads cannot be < 0 */
    t->i1 = veer_min_i64((t->b - 1 + pad) / s + 1, in);
    if (t->i1 <= t->i0) t->i1 = t->i0 + 1;
    t->pad_before = pad + t->a - t->i0 * s;
    t->pad_after = (t->i1 - 1 - t->i0) * s + extent - t->pad_before - (t->b - t->a);
}

static void input_rows(const veer_onednn_problem_t *p, veer_onednn_tile_t *t) {
    switch (p->form) {
    case VEER_ONEDNN_CONV:
    case VEER_ONEDNN_POOL: window_rows(p, t); break;
    case VEER_ONEDNN_CONV_TRANSPOSE: transposed_rows(p, t); break;
    case VEER_ONEDNN_RESAMPLING:
        t->i0 = p->repeats ? t->a / p->repeats : 0;
        t->i1 = p->repeats ? t->b / p->repeats : p->tensors[VEER_ONEDNN_X].dims[2];
        break;
    default: t->i0 = t->a, t->i1 = t->b; break;
    }
}

veer_onednn_tile_t veer_onednn_tile(const veer_onednn_problem_t *p, const veer_onednn_cut_t *cut, int64_t i) {
    const veer_onednn_view_t *y = &p->tensors[VEER_ONEDNN_Y];
    bool matmul = p->form == VEER_ONEDNN_MATMUL;
    int64_t channels = y->dims[matmul ? 2 : 1], rows = y->dims[matmul ? 1 : 2];
    int64_t row_parts = veer_ceil_div(rows, cut->rows), channel_parts = veer_ceil_div(channels, cut->channels);
    veer_onednn_tile_t t = {.a = i % row_parts * cut->rows, .c0 = i / row_parts % channel_parts * cut->channels};
    t.n0 = i / (row_parts * channel_parts) * cut->images;
    t.b = veer_min_i64(t.a + cut->rows, rows);
    t.c1 = veer_min_i64(t.c0 + cut->channels, channels);
    t.n1 = veer_min_i64(t.n0 + cut->images, y->dims[0]);
    input_rows(p, &t);
    return t;
}
