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
    int64_t ratio;
    veer_value_t corners; /* [R, 4]: x1, y1, x2, y2, scaled */
    bool aligned;
} roi_t;

/* Points of one dim (0: y, 1: x) of every region: [R, bins * ratio] */
static veer_value_t points(const roi_t *r, int dim) {
    veer_builder_t *b = r->n->b;
    int64_t count = r->bins[dim] * r->ratio;
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
    int64_t py = r->bins[0] * r->ratio, px = r->bins[1] * r->ratio;
    veer_value_t row =
        veer_mul_c(b, veer_add(b, veer_mul_c(b, image, (double)r->x.dims[2]), y->at[i]), (double)r->x.dims[3]);
    veer_value_t at = veer_add(b, veer_reshape(b, row, VEER_DIMS(r->rois, py, 1)),
                               veer_reshape(b, x->at[j], VEER_DIMS(r->rois, 1, px)));
    veer_value_t weight = veer_mul(b, veer_reshape(b, y->weight[i], VEER_DIMS(r->rois, py, 1, 1)),
                                   veer_reshape(b, x->weight[j], VEER_DIMS(r->rois, 1, px, 1)));
    return veer_mul(b, veer_gather(b, rows, at, 0), weight);
}

static void align(const roi_t *r, bool maximum) {
    veer_onnx_node_t *n = r->n;
    veer_builder_t *b = n->b;
    const veer_type_t *x = &r->x;
    veer_value_t rows = veer_transpose(b, n->in[0], (int64_t[]){0, 2, 3, 1});
    rows = veer_reshape(b, rows, VEER_DIMS(x->dims[0] * x->dims[2] * x->dims[3], x->dims[1]));
    veer_value_t image = veer_reshape(b, veer_cast(b, n->in[2], VEER_DTYPE_I64), VEER_DIMS(r->rois, 1)),
                 y = VEER_NO_VALUE;
    line_t of_y = line_of(r, 0), of_x = line_of(r, 1);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            veer_value_t part = corner(r, &of_y, &of_x, i, j, rows, image);
            y = !y.i ? part : maximum ? veer_max(b, y, part) : veer_add(b, y, part);
        }
    y = veer_reshape(b, y, VEER_DIMS(r->rois, r->bins[0], r->ratio, r->bins[1], r->ratio, x->dims[1]));
    veer_op_t op = maximum ? VEER_OP_REDUCE_MAX : VEER_OP_REDUCE_MEAN;
    y = veer_reduce(b, op, y, (int64_t[]){2, 4}, 2, false);
    n->out[0] = veer_transpose(b, y, (int64_t[]){0, 3, 1, 2});
}

void veer_onnx_roi_align(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), rois = veer_onnx_in_type(n, 1), images = veer_onnx_in_type(n, 2);
    const char *mode = veer_onnx_attr_string(n, "mode", "avg");
    const char *coordinates =
        n->opset < 16 ? "output_half_pixel" : veer_onnx_attr_string(n, "coordinate_transformation_mode", "half_pixel");
    roi_t r = {.n = n,
               .x = x,
               .rois = rois.dims[0],
               .ratio = veer_onnx_attr_int(n, "sampling_ratio", 0),
               .aligned = !strcmp(coordinates, "half_pixel")};
    r.bins[0] = veer_onnx_attr_int(n, "output_height", 1), r.bins[1] = veer_onnx_attr_int(n, "output_width", 1);
    if (x.rank != 4 || rois.rank != 2 || rois.dims[1] != 4 || images.rank != 1 || images.dims[0] != r.rois ||
        r.bins[0] < 1 || r.bins[1] < 1 || r.bins[0] > 1 << 16 || r.bins[1] > 1 << 16) {
        veer_onnx_fail(n, VEER_ERR_FILE, "X of rank %d, rois of rank %d, batch_indices of rank %d do not fit", x.rank,
                       rois.rank, images.rank);
        return;
    }
    if (r.ratio < 1 || r.ratio > 1 << 10) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED,
                       "sampling_ratio %lld: a number of points that depends on the regions "
                       "is not supported",
                       (long long)r.ratio);
        return;
    }
    r.corners = veer_mul_c(n->b, veer_cast(n->b, n->in[1], x.dtype), veer_onnx_attr_float(n, "spatial_scale", 1));
    if (r.aligned) r.corners = veer_add_c(n->b, r.corners, -0.5);
    align(&r, !strcmp(mode, "max"));
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
