/* Operators of object detectors. */
#include "frontend/onnx/node.h"

#include <math.h>
#include <string.h>

/* ---- RoiAlign ----
 * Each region is cut into bins, each bin sampled at sampling_ratio^2 points, each point interpolated between four
 * pixels; y is the mean (or maximum) over the points of a bin. With data as rows [N * H * W, C] a pixel is a row. */

typedef struct {
    veer_onnx_node_t *n;
    veer_type_t x;         /* [N, C, H, W] */
    int64_t rois, bins[2]; /* height, width */
    int64_t ratio[2];      /* points per bin, height and width */
    veer_value_t corners;  /* [R, 4]: x1, y1, x2, y2, scaled */
    veer_value_t images;   /* [R]: which one each is of, i64 */
    bool aligned;
} roi_t;

/* Points of one dim (0: y, 1: x) of every region: [R, bins * ratio] */
static veer_value_t points(const roi_t *r, int dim) {
    veer_builder_t *b = r->n->b;
    int64_t count = r->bins[dim] * r->ratio[dim];
    veer_value_t first = veer_slice_axis(b, r->corners, 1, 1 - dim, 1, 1);
    veer_value_t size = veer_sub(b, veer_slice_axis(b, r->corners, 1, 3 - dim, 1, 1), first);
    double *at = veer_onnx_scratch(r->n, count, sizeof *at);
    if (!at) return VEER_NO_VALUE;
    if (!r->aligned) size = veer_max(b, size, veer_const_scalar(b, r->x.dtype, 1));
    for (int64_t i = 0; i < count; i++) at[i] = ((double)i + 0.5) / (double)count;
    return veer_add(b, first, veer_mul(b, size, veer_onnx_const_doubles(r->n, VEER_TYPE(r->x.dtype, 1, count), at)));
}

typedef struct {
    veer_value_t at[2], weight[2]; /* [R, points]: the pixel before and behind, i64, and what it counts */
} line_t;

/* Points further than one pixel outside count nothing; the others are moved to the edge. */
static line_t line_of(const roi_t *r, int dim) {
    veer_builder_t *b = r->n->b;
    veer_dtype_t dtype = r->x.dtype;
    double size = (double)r->x.dims[2 + dim];
    veer_value_t p = points(r, dim), zero = veer_const_scalar(b, dtype, 0),
                 last = veer_const_scalar(b, dtype, size - 1);
    veer_value_t inside = veer_and(b, veer_less_equal(b, veer_const_scalar(b, dtype, -1), p),
                                   veer_less_equal(b, p, veer_const_scalar(b, dtype, size)));
    p = veer_min(b, veer_max(b, p, zero), last);
    veer_value_t whole = veer_floor(b, p), t = veer_sub(b, p, whole);
    line_t l;
    l.at[0] = veer_cast(b, whole, VEER_DTYPE_I64);
    l.at[1] = veer_cast(b, veer_min(b, veer_add_c(b, whole, 1), last), VEER_DTYPE_I64);
    l.weight[0] = veer_where(b, inside, veer_rsub_c(b, t, 1), zero);
    l.weight[1] = veer_where(b, inside, t, zero);
    return l;
}

/* One of the four pixels of all points, weighted: [R, PY, PX, C] */
static veer_value_t corner(const roi_t *r, const line_t *y, const line_t *x, int i, int j, veer_value_t rows,
                           veer_value_t image) {
    veer_builder_t *b = r->n->b;
    int64_t py = r->bins[0] * r->ratio[0], px = r->bins[1] * r->ratio[1];
    veer_value_t row =
        veer_mul_c(b, veer_add(b, veer_mul_c(b, image, (double)r->x.dims[2]), y->at[i]), (double)r->x.dims[3]);
    veer_value_t at = veer_add(b, veer_reshape(b, row, VEER_DIMS(r->rois, py, 1)),
                               veer_reshape(b, x->at[j], VEER_DIMS(r->rois, 1, px)));
    veer_value_t weight = veer_mul(b, veer_reshape(b, y->weight[i], VEER_DIMS(r->rois, py, 1, 1)),
                                   veer_reshape(b, x->weight[j], VEER_DIMS(r->rois, 1, px, 1)));
    return veer_mul(b, veer_gather(b, rows, at, 0), weight);
}

static veer_value_t align(const roi_t *r, bool maximum) {
    veer_onnx_node_t *n = r->n;
    veer_builder_t *b = n->b;
    const veer_type_t *x = &r->x;
    veer_value_t rows = veer_transpose(b, n->in[0], (int64_t[]){0, 2, 3, 1});
    rows = veer_reshape(b, rows, VEER_DIMS(x->dims[0] * x->dims[2] * x->dims[3], x->dims[1]));
    veer_value_t image = veer_reshape(b, r->images, VEER_DIMS(r->rois, 1)), y = VEER_NO_VALUE;
    line_t of_y = line_of(r, 0), of_x = line_of(r, 1);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            veer_value_t part = corner(r, &of_y, &of_x, i, j, rows, image);
            y = !y.i ? part : maximum ? veer_max(b, y, part) : veer_add(b, y, part);
        }
    y = veer_reshape(b, y, VEER_DIMS(r->rois, r->bins[0], r->ratio[0], r->bins[1], r->ratio[1], x->dims[1]));
    veer_op_t op = maximum ? VEER_OP_REDUCE_MAX : VEER_OP_REDUCE_MEAN;
    y = veer_reduce(b, op, y, (int64_t[]){2, 4}, 2, false);
    return veer_transpose(b, y, (int64_t[]){0, 3, 1, 2});
}

/* sampling_ratio 0: as many points as a bin has pixels, which differs between regions: each is done alone. */
static veer_value_t align_each(const roi_t *all, const double *rois, double scale, bool maximum) {
    veer_builder_t *b = all->n->b;
    veer_value_t y = VEER_NO_VALUE;
    for (int64_t i = 0; i < all->rois && veer_onnx_ok(all->n); i++) {
        roi_t r = *all;
        r.rois = 1;
        r.corners = veer_slice_axis(b, all->corners, 0, i, 1, 1);
        r.images = veer_slice_axis(b, all->images, 0, i, 1, 1);
        for (int dim = 0; dim < 2; dim++) {
            double size = (rois[4 * i + 3 - dim] - rois[4 * i + 1 - dim]) * scale;
            if (!r.aligned) size = fmax(size, 1);
            double points = ceil(size / (double)r.bins[dim]);
            r.ratio[dim] = points > 1 ? points < 1 << 10 ? (int64_t)points : 1 << 10 : 1;
        }
        veer_value_t part = align(&r, maximum);
        y = i ? veer_concat(b, (veer_value_t[]){y, part}, 2, 0) : part;
    }
    return y;
}

void veer_onnx_roi_align(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), rois = veer_onnx_in_type(n, 1), images = veer_onnx_in_type(n, 2);
    const char *mode = veer_onnx_attr_string(n, "mode", "avg");
    const char *coordinates =
        n->opset < 16 ? "output_half_pixel" : veer_onnx_attr_string(n, "coordinate_transformation_mode", "half_pixel");
    roi_t r = {.n = n, .x = x, .rois = rois.dims[0], .aligned = !strcmp(coordinates, "half_pixel")};
    r.bins[0] = veer_onnx_attr_int(n, "output_height", 1), r.bins[1] = veer_onnx_attr_int(n, "output_width", 1);
    if (x.rank != 4 || rois.rank != 2 || rois.dims[1] != 4 || images.rank != 1 || images.dims[0] != r.rois ||
        r.bins[0] < 1 || r.bins[1] < 1 || r.bins[0] > 1 << 16 || r.bins[1] > 1 << 16) {
        veer_onnx_fail(n, VEER_ERR_FILE, "X of rank %d, rois of rank %d, batch_indices of rank %d do not fit", x.rank,
                       rois.rank, images.rank);
        return;
    }
    int64_t ratio = veer_onnx_attr_int(n, "sampling_ratio", 0);
    double scale = veer_onnx_attr_float(n, "spatial_scale", 1);
    if (ratio < 0 || ratio > 1 << 10 || (ratio == 0 && (r.rois < 1 || r.rois > 1 << 12))) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "sampling_ratio %lld for %lld regions, at most %d and %d are",
                       (long long)ratio, (long long)r.rois, 1 << 10, 1 << 12);
        return;
    }
    r.corners = veer_mul_c(n->b, veer_cast(n->b, n->in[1], x.dtype), scale);
    if (r.aligned) r.corners = veer_add_c(n->b, r.corners, -0.5);
    r.images = veer_cast(n->b, n->in[2], VEER_DTYPE_I64);
    r.ratio[0] = r.ratio[1] = ratio;
    int count;
    const double *known = ratio ? NULL : veer_onnx_in_doubles(n, 1, "rois", &count);
    if (!veer_onnx_ok(n)) return;
    n->out[0] = ratio ? align(&r, !strcmp(mode, "max")) : align_each(&r, known, scale, !strcmp(mode, "max"));
}

/* ---- MaxRoiPool: of regions that are known ---- */

/* Rows of pixels (of all [N, H, W]) in one bin of one region; gives how many. */
static int64_t bin_pixels(const veer_type_t *x, const double *roi, double scale, const int64_t *bins, int64_t bin,
                          int64_t *out) {
    int64_t first[2], end[2], count = 0, at[2] = {bin / bins[1], bin % bins[1]};
    for (int dim = 0; dim < 2; dim++) {
        double low = round(roi[2 - dim] * scale), high = round(roi[4 - dim] * scale), size = fmax(high - low + 1, 1);
        double step = size / (double)bins[dim], limit = (double)x->dims[2 + dim];
        first[dim] = (int64_t)fmin(fmax(floor((double)at[dim] * step) + low, 0), limit);
        end[dim] = (int64_t)fmin(fmax(ceil((double)(at[dim] + 1) * step) + low, 0), limit);
    }
    for (int64_t h = first[0]; h < end[0]; h++)
        for (int64_t w = first[1]; w < end[1]; w++, count++)
            if (out) out[count] = ((int64_t)roi[0] * x->dims[2] + h) * x->dims[3] + w;
    return count;
}

/* The maximum of each bin of each region [batch, x1, y1, x2, y2]; 0 where a bin is empty. Bins are filled up with their
 * first pixel to the size of the largest, so that one gather reads them all. */
void veer_onnx_max_roi_pool(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), rois = veer_onnx_in_type(n, 1);
    veer_builder_t *b = n->b;
    double scale = veer_onnx_attr_float(n, "spatial_scale", 1);
    int bin_rank, ignored;
    const int64_t *bins = veer_onnx_attr_ints(n, "pooled_shape", &bin_rank);
    const double *values = veer_onnx_in_doubles(n, 1, "rois", &ignored);
    if (!veer_onnx_ok(n)) return;
    bool fits = x.rank == 4 && rois.rank == 2 && rois.dims[1] == 5 && bins && bin_rank == 2 && bins[0] > 0 &&
                bins[1] > 0 && bins[0] < 1 << 12 && bins[1] < 1 << 12;
    for (int64_t i = 0; fits && i < rois.dims[0]; i++) fits = values[5 * i] >= 0 && values[5 * i] < (double)x.dims[0];
    if (!fits) {
        veer_onnx_fail(n, VEER_ERR_FILE, "X of rank %d, rois of rank %d and pooled_shape do not fit", x.rank,
                       rois.rank);
        return;
    }
    int64_t each = bins[0] * bins[1], count = rois.dims[0] * each, most = 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t pixels = bin_pixels(&x, values + i / each * 5, scale, bins, i % each, NULL);
        most = pixels > most ? pixels : most;
    }
    int64_t *at = count && most > (1 << 28) / count ? NULL : veer_onnx_scratch(n, count * most, sizeof *at);
    double *full = veer_onnx_scratch(n, count, sizeof *full);
    if (!at || !full) {
        if (veer_onnx_ok(n)) veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "regions of %lld pixels", (long long)most);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t pixels = bin_pixels(&x, values + i / each * 5, scale, bins, i % each, at + i * most);
        for (int64_t k = pixels; k < most; k++) at[i * most + k] = pixels ? at[i * most] : 0;
        full[i] = pixels > 0;
    }
    veer_value_t rows = veer_transpose(b, n->in[0], (int64_t[]){0, 2, 3, 1});
    rows = veer_reshape(b, rows, VEER_DIMS(x.dims[0] * x.dims[2] * x.dims[3], x.dims[1]));
    veer_value_t y = veer_gather(b, rows, veer_const(b, VEER_TYPE(VEER_DTYPE_I64, count, most), at), 0);
    y = veer_reduce(b, VEER_OP_REDUCE_MAX, y, (int64_t[]){1}, 1, false);
    veer_value_t some = veer_cast(b, veer_onnx_const_doubles(n, VEER_TYPE(x.dtype, count, 1), full), VEER_DTYPE_BOOL);
    y = veer_where(b, some, y, veer_const_scalar(b, x.dtype, 0));
    y = veer_reshape(b, y, VEER_DIMS(rois.dims[0], bins[0], bins[1], x.dims[1]));
    n->out[0] = veer_transpose(b, y, (int64_t[]){0, 3, 1, 2});
}

/* ---- NonMaxSuppression: of inputs that are known, because the number of boxes is the shape ---- */

typedef struct {
    double y1, x1, y2, x2;
} box_t;

static box_t box_of(const double *v, bool centre) {
    if (centre) /* x, y of the centre, width, height */
        return (box_t){v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
    return (box_t){fmin(v[0], v[2]), fmin(v[1], v[3]), fmax(v[0], v[2]), fmax(v[1], v[3])};
}

static double overlap(const box_t *a, const box_t *b) {
    double height = fmin(a->y2, b->y2) - fmax(a->y1, b->y1), width = fmin(a->x2, b->x2) - fmax(a->x1, b->x1);
    double shared = height > 0 && width > 0 ? height * width : 0;
    double both = (a->y2 - a->y1) * (a->x2 - a->x1) + (b->y2 - b->y1) * (b->x2 - b->x1) - shared;
    return both > 0 ? shared / both : 0;
}

typedef struct {
    const double *boxes, *scores;
    int64_t batches, classes, count, most;
    double iou, score;
    bool centre, has_score;
    int64_t *chosen, total; /* triples */
    bool *gone;
} suppression_t;

/* Boxes of one class by falling score, each only where it does not overlap one that was chosen. */
static void choose(suppression_t *s, int64_t batch, int64_t class) {
    const double *scores = s->scores + (batch * s->classes + class) * s->count,
                 *boxes = s->boxes + batch * s->count * 4;
    for (int64_t i = 0; i < s->count; i++) s->gone[i] = s->has_score && !(scores[i] > s->score);
    for (int64_t taken = 0; taken < s->most; taken++) {
        int64_t best = -1;
        for (int64_t i = 0; i < s->count; i++)
            if (!s->gone[i] && (best < 0 || scores[i] > scores[best])) best = i;
        if (best < 0) return;
        box_t box = box_of(boxes + 4 * best, s->centre);
        int64_t *triple = s->chosen + 3 * s->total++;
        triple[0] = batch, triple[1] = class, triple[2] = best;
        for (int64_t i = 0; i < s->count; i++) {
            box_t other = box_of(boxes + 4 * i, s->centre);
            s->gone[i] |= i == best || overlap(&box, &other) > s->iou;
        }
    }
}

void veer_onnx_non_max_suppression(veer_onnx_node_t *n) {
    veer_type_t boxes = veer_onnx_in_type(n, 0), scores = veer_onnx_in_type(n, 1);
    int ignored;
    suppression_t s = {.boxes = veer_onnx_in_doubles(n, 0, "boxes", &ignored),
                       .scores = veer_onnx_in_doubles(n, 1, "scores", &ignored),
                       .most = veer_onnx_in_int(n, 2, "max_output_boxes_per_class", 0),
                       .iou = veer_onnx_in_double(n, 3, "iou_threshold", 0),
                       .score = veer_onnx_in_double(n, 4, "score_threshold", 0),
                       .centre = veer_onnx_attr_int(n, "center_point_box", 0) != 0,
                       .has_score = veer_onnx_has_in(n, 4)};
    if (!veer_onnx_ok(n) || !s.boxes || !s.scores) return;
    if (boxes.rank != 3 || scores.rank != 3 || boxes.dims[2] != 4 || boxes.dims[1] != scores.dims[2] ||
        boxes.dims[0] != scores.dims[0]) {
        veer_onnx_fail(n, VEER_ERR_FILE, "boxes of rank %d and scores of rank %d do not fit", boxes.rank, scores.rank);
        return;
    }
    s.batches = scores.dims[0], s.classes = scores.dims[1], s.count = scores.dims[2];
    if (s.most > s.count) s.most = s.count;
    s.gone = veer_onnx_scratch(n, s.count, sizeof *s.gone);
    s.chosen = veer_onnx_scratch(n, 3 * veer_type_count(&scores), sizeof *s.chosen);
    if (!s.gone || !s.chosen) return;
    for (int64_t batch = 0; batch < s.batches; batch++)
        for (int64_t class = 0; class < s.classes; class ++) choose(&s, batch, class);
    n->out[0] = veer_const(n->b, VEER_TYPE(VEER_DTYPE_I64, s.total, 3), s.chosen);
}
