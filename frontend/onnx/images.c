/* Operators of later sets that move or place elements: Col2Im, CenterCropPad, AffineGrid, RotaryEmbedding. */
#include "frontend/onnx/node.h"

enum { MAX_SPATIAL = 3 };

/* ---- Col2Im ---- */

typedef struct {
    int rank;
    int64_t image[MAX_SPATIAL], block[MAX_SPATIAL], strides[MAX_SPATIAL], dilations[MAX_SPATIAL];
    int64_t before[MAX_SPATIAL], padded[MAX_SPATIAL], places[MAX_SPATIAL];
} columns_t;

static int64_t entry(veer_onnx_node_t *n, const char *name, int i, int64_t missing) {
    int count;
    const int64_t *values = veer_onnx_attr_ints(n, name, &count);
    return i < count ? values[i] : missing;
}

static bool read_columns(veer_onnx_node_t *n, columns_t *c) {
    enum { MOST = 1 << 24 };
    int blocks;
    const int64_t *image = veer_onnx_in_ints(n, 1, "image_shape", &c->rank);
    const int64_t *block = veer_onnx_in_ints(n, 2, "block_shape", &blocks);
    bool good = image && block && c->rank == blocks && blocks >= 1 && blocks <= MAX_SPATIAL;
    for (int i = 0; good && i < c->rank; i++) {
        c->image[i] = image[i], c->block[i] = block[i];
        c->strides[i] = entry(n, "strides", i, 1), c->dilations[i] = entry(n, "dilations", i, 1);
        c->before[i] = entry(n, "pads", i, 0);
        int64_t after = entry(n, "pads", i + c->rank, 0);
        good = image[i] >= 1 && image[i] < MOST && block[i] >= 1 && block[i] < MOST && c->strides[i] >= 1 &&
               c->dilations[i] >= 1 && c->dilations[i] < MOST && c->before[i] >= 0 && c->before[i] < MOST &&
               after >= 0 && after < MOST;
        if (!good) break;
        c->padded[i] = image[i] + c->before[i] + after;
        int64_t room = c->padded[i] - c->dilations[i] * (block[i] - 1) - 1;
        good = room >= 0;
        c->places[i] = good ? room / c->strides[i] + 1 : 0;
    }
    if (!good && veer_onnx_ok(n))
        veer_onnx_fail(n, VEER_ERR_FILE, "image_shape, block_shape, strides, dilations or pads do not fit");
    return good && veer_onnx_ok(n);
}

static int64_t product(const int64_t *v, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++) p *= v[i];
    return p;
}

/* The element of the padded image where entry `b` of the block at place `l` lies. */
static int64_t target(const columns_t *c, int64_t b, int64_t l) {
    int64_t at = 0, stride = 1;
    for (int i = c->rank; i-- > 0; b /= c->block[i], l /= c->places[i]) {
        at += (l % c->places[i] * c->strides[i] + b % c->block[i] * c->dilations[i]) * stride;
        stride *= c->padded[i];
    }
    return at;
}

/* Blocks [N, C * block, places] are added up where they overlap in the image [N, C, image...]. */
void veer_onnx_col_2_im(veer_onnx_node_t *n) {
    columns_t c;
    veer_type_t x = veer_onnx_in_type(n, 0);
    if (!read_columns(n, &c)) return;
    int64_t block = product(c.block, c.rank), places = product(c.places, c.rank), size = product(c.padded, c.rank);
    if (x.rank != 3 || x.dims[1] % block || x.dims[2] != places) {
        veer_onnx_fail(n, VEER_ERR_FILE, "input of rank %d is not made of blocks of %lld at %lld places", x.rank,
                       (long long)block, (long long)places);
        return;
    }
    int64_t rows = x.dims[0] * (x.dims[1] / block), *at = veer_onnx_scratch(n, block * places, sizeof *at);
    if (!at) return;
    for (int64_t b = 0; b < block; b++)
        for (int64_t l = 0; l < places; l++) at[b * places + l] = target(&c, b, l);
    veer_value_t indices = veer_const(n->b, VEER_TYPE(VEER_DTYPE_I64, 1, block * places), at);
    indices = veer_broadcast_to(n->b, indices, VEER_DIMS(rows, block * places));
    veer_value_t y = veer_build(n->b, VEER_OP_SCATTER_ADD,
                                VEER_IN(veer_zeros(n->b, VEER_TYPE(x.dtype, rows, size)), indices,
                                        veer_reshape(n->b, n->in[0], VEER_DIMS(rows, block * places))),
                                VEER_ATTRS(VEER_INT("axis", 1)));
    veer_type_t image = VEER_TYPE(x.dtype, x.dims[0], x.dims[1] / block);
    for (int i = 0; i < c.rank; i++) image.dims[image.rank++] = c.padded[i];
    y = veer_reshape_like(n->b, y, &image);
    for (int i = 0; i < c.rank; i++) y = veer_slice_axis(n->b, y, 2 + i, c.before[i], c.image[i], 1);
    n->out[0] = y;
}

/* ---- CenterCropPad ---- */

/* Cut or filled up with zeros on both sides, an odd one behind. */
void veer_onnx_center_crop_pad(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0};
    int count, axes_count;
    const int64_t *shape = veer_onnx_in_ints(n, 1, "shape", &count),
                  *axes = veer_onnx_attr_ints(n, "axes", &axes_count);
    if (!shape) return;
    if (count != (axes ? axes_count : x.rank)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "shape has %d entries, expected %d", count, axes ? axes_count : x.rank);
        return;
    }
    n->out[0] = n->in[0];
    for (int i = 0; i < count && veer_onnx_ok(n); i++) {
        int axis = axes ? veer_onnx_axis(n, axes[i], x.rank) : i;
        int64_t more = shape[i] - x.dims[axis];
        if (shape[i] < 0 || shape[i] > VEER_MAX_TENSOR_BYTES)
            veer_onnx_fail(n, VEER_ERR_FILE, "entry %d of shape is %lld", i, (long long)shape[i]);
        if (veer_onnx_ok(n) && more < 0) n->out[0] = veer_slice_axis(n->b, n->out[0], axis, -more / 2, shape[i], 1);
        if (more > 0) before[axis] = more / 2, after[axis] = more - more / 2;
    }
    n->out[0] = veer_pad_zero(n->b, n->out[0], before, after);
}

/* ---- AffineGrid ---- */

/* theta [N, k, k + 1] times the places (x, y, ..., 1) of an image, which span [-1, 1]: [N, image..., k] */
void veer_onnx_affine_grid(veer_onnx_node_t *n) {
    veer_type_t theta = veer_onnx_in_type(n, 0), out = {.dtype = theta.dtype};
    int count;
    const int64_t *size = veer_onnx_in_ints(n, 1, "size", &count);
    bool align = veer_onnx_attr_int(n, "align_corners", 0) != 0;
    int k = count - 2;
    if (!size) return;
    if (k < 2 || k > 3 || theta.rank != 3 || theta.dims[0] != size[0] || theta.dims[1] != k || theta.dims[2] != k + 1) {
        veer_onnx_fail(n, VEER_ERR_FILE, "theta of rank %d does not fit a size of %d entries", theta.rank, count);
        return;
    }
    out.dims[out.rank++] = size[0];
    for (int i = 0; i < k; i++) out.dims[out.rank++] = size[2 + i];
    out.dims[out.rank++] = k;
    veer_status_t status = veer_type_check(&out);
    if (status) {
        veer_builder_fail(n->b, status);
        return;
    }
    int64_t places = veer_type_count_range(&out, 1, 1 + k);
    double *base = veer_onnx_scratch(n, places * (k + 1), sizeof *base);
    for (int64_t p = 0; base && p < places; p++) {
        int64_t rest = p;
        base[p * (k + 1) + k] = 1;
        for (int i = k; i-- > 0; rest /= size[2 + i]) { /* the innermost dim is x, the first entry */
            double length = (double)size[2 + i], at = (double)(rest % size[2 + i]);
            base[p * (k + 1) + k - 1 - i] = !align       ? (2 * at + 1) / length - 1
                                            : length > 1 ? 2 * at / (length - 1) - 1
                                                         : 0;
        }
    }
    if (!base) return;
    veer_value_t places_of = veer_onnx_const_doubles(n, VEER_TYPE(theta.dtype, places, k + 1), base);
    n->out[0] = veer_reshape_like(n->b, veer_matmul(n->b, places_of, n->in[0], false, true), &out);
}

/* ---- RotaryEmbedding ---- */

/* Pairs (a, b) of the first `rotary` entries turn by the angle of their position: (a cos - b sin, a sin + b cos). */
static veer_value_t rotate(veer_onnx_node_t *n, veer_value_t x, veer_value_t cosine, veer_value_t sine,
                           int64_t rotary) {
    veer_builder_t *b = n->b;
    veer_type_t type = veer_onnx_type(n, x), wide;
    bool interleaved = veer_onnx_attr_int(n, "interleaved", 0) != 0;
    int64_t half = rotary / 2, step = interleaved ? 2 : 1;
    veer_value_t first = veer_slice_axis(b, x, 3, 0, half, step);
    veer_value_t second = veer_slice_axis(b, x, 3, interleaved ? 1 : half, half, step);
    veer_value_t parts[] = {veer_sub(b, veer_mul(b, first, cosine), veer_mul(b, second, sine)),
                            veer_add(b, veer_mul(b, first, sine), veer_mul(b, second, cosine))};
    wide = type, wide.dims[3] = half, wide.dims[4] = 1, wide.rank = 5;
    for (int i = 0; i < 2 && interleaved; i++) parts[i] = veer_reshape_like(b, parts[i], &wide);
    veer_value_t turned = veer_concat(b, parts, 2, interleaved ? 4 : 3);
    wide = type, wide.dims[3] = rotary;
    turned = veer_reshape_like(b, turned, &wide);
    if (rotary == type.dims[3]) return turned;
    veer_value_t all[] = {turned, veer_slice_axis(b, x, 3, rotary, type.dims[3] - rotary, 1)};
    return veer_concat(b, all, 2, 3);
}

/* x [B, heads, S, D], or [B, S, heads * D] with num_heads; cos and sin [B, S, rotary / 2], or a table of them by
 * position_ids [B, S] */
void veer_onnx_rotary_embedding(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), cosine = veer_onnx_in_type(n, 1), sine = veer_onnx_in_type(n, 2);
    int64_t heads = veer_onnx_attr_int(n, "num_heads", 0), rotary = veer_onnx_attr_int(n, "rotary_embedding_dim", 0);
    bool flat = x.rank == 3, table = veer_onnx_has_in(n, 3);
    int64_t swap[] = {0, 2, 1, 3};
    if ((x.rank != 3 && x.rank != 4) || (flat && (heads < 1 || x.dims[2] % heads)) || cosine.rank != (table ? 2 : 3) ||
        !veer_type_same_shape(&cosine, &sine)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "X of rank %d with %lld heads, cos_cache of rank %d do not fit", x.rank,
                       (long long)heads, cosine.rank);
        return;
    }
    int64_t batch = x.dims[0], steps = flat ? x.dims[1] : x.dims[2], depth = flat ? x.dims[2] / heads : x.dims[3];
    if (rotary == 0) rotary = depth;
    if (rotary < 2 || rotary % 2 || rotary > depth || cosine.dims[cosine.rank - 1] != rotary / 2) {
        veer_onnx_fail(n, VEER_ERR_FILE, "rotary_embedding_dim %lld does not fit heads of %lld or cos_cache",
                       (long long)rotary, (long long)depth);
        return;
    }
    veer_value_t y = n->in[0], turn[2];
    if (flat) y = veer_transpose(n->b, veer_reshape(n->b, y, VEER_DIMS(batch, steps, heads, depth)), swap);
    for (int i = 0; i < 2; i++) {
        turn[i] = table ? veer_gather(n->b, n->in[1 + i], n->in[3], 0) : n->in[1 + i];
        turn[i] = veer_reshape(n->b, turn[i], VEER_DIMS(batch, 1, steps, rotary / 2));
    }
    y = rotate(n, y, turn[0], turn[1], rotary);
    if (flat) y = veer_transpose(n->b, y, swap);
    n->out[0] = veer_reshape_like(n->b, y, &x);
}
