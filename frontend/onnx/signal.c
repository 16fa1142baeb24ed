/* Fourier transforms, as products with matrices of cosines and sines, and the constants that go with them. */
#include "frontend/onnx/node.h"

#include <math.h>

enum { MAX_LENGTH = 1 << 24 };

/* param 0 Hann, 1 Hamming, 2 Blackman: a - b cos(2 pi i / N) + c cos(4 pi i / N) */
void veer_onnx_window(veer_onnx_node_t *n) {
    static const double table[3][3] = {{0.5, 0.5, 0}, {25.0 / 46, 21.0 / 46, 0}, {0.42, 0.5, 0.08}};
    const double *w = table[n->op->param];
    int64_t size = veer_onnx_in_int(n, 0, "size", 0);
    veer_dtype_t dtype = veer_onnx_attr_dtype(n, "output_datatype", VEER_DTYPE_F32);
    double period = (double)(veer_onnx_attr_int(n, "periodic", 1) ? size : size - 1);
    if (veer_onnx_ok(n) && (size < 0 || size > MAX_LENGTH))
        veer_onnx_fail(n, VEER_ERR_FILE, "size is %lld, expected 0 to %d", (long long)size, MAX_LENGTH);
    double *values = veer_onnx_scratch(n, size, sizeof *values);
    if (!values) return;
    for (int64_t i = 0; i < size; i++) {
        double angle = period > 0 ? 2 * M_PI * (double)i / period : 0;
        values[i] = w[0] - w[1] * cos(angle) + w[2] * cos(2 * angle);
    }
    veer_type_t type = VEER_TYPE(veer_dtype_is_float(dtype) ? dtype : VEER_DTYPE_F64, size);
    n->out[0] = veer_cast(n->b, veer_onnx_const_doubles(n, type, values), dtype);
}

/* ---- mel ---- */

static double mel_of(double hertz) {
    return 2595 * log10(1 + hertz / 700);
}

/* One triangle per column: up from bin `low` to `centre`, down to `high`. */
static void triangle(double *values, int64_t columns, int64_t column, int64_t rows, const int64_t *edges) {
    int64_t low = edges[0], centre = edges[1], high = edges[2];
    for (int64_t j = low; j <= centre && j < rows; j++)
        if (j >= 0) values[j * columns + column] = low == centre ? 1 : (double)(j - low) / (double)(centre - low);
    for (int64_t j = centre; j < high && j < rows; j++)
        if (j >= 0) values[j * columns + column] = (double)(high - j) / (double)(high - centre);
}

/* Weights [dft_length / 2 + 1, num_mel_bins]: triangles whose edges are equidistant in mel. */
void veer_onnx_mel_weight_matrix(veer_onnx_node_t *n) {
    int64_t bins = veer_onnx_in_int(n, 0, "num_mel_bins", 0), length = veer_onnx_in_int(n, 1, "dft_length", 0);
    int64_t rate = veer_onnx_in_int(n, 2, "sample_rate", 0);
    double low = veer_onnx_in_double(n, 3, "lower_edge_hertz", 0),
           high = veer_onnx_in_double(n, 4, "upper_edge_hertz", 0);
    veer_dtype_t dtype = veer_onnx_attr_dtype(n, "output_datatype", VEER_DTYPE_F32);
    if (!veer_onnx_ok(n)) return;
    if (bins < 1 || bins > MAX_LENGTH || length < 1 || length > MAX_LENGTH || rate < 1 || !(low >= 0 && high >= low) ||
        !veer_dtype_is_float(dtype)) {
        veer_onnx_fail(n, VEER_ERR_FILE, "%lld bins of a transform of %lld at rate %lld, from %g to %g Hz",
                       (long long)bins, (long long)length, (long long)rate, low, high);
        return;
    }
    int64_t rows = length / 2 + 1, *edges = veer_onnx_scratch(n, bins + 2, sizeof *edges);
    double step = (mel_of(high) - mel_of(low)) / (double)(bins + 2),
           *values = veer_onnx_scratch(n, rows * bins, sizeof *values);
    if (!edges || !values) return;
    for (int64_t i = 0; i < bins + 2; i++) {
        double hertz = 700 * (pow(10, ((double)i * step + mel_of(low)) / 2595) - 1);
        edges[i] = (int64_t)fmin(floor((double)(length + 1) * hertz / (double)rate), MAX_LENGTH);
    }
    for (int64_t i = 0; i < bins; i++) triangle(values, bins, i, rows, edges + i);
    n->out[0] = veer_onnx_const_doubles(n, VEER_TYPE(dtype, rows, bins), values);
}

/* ---- transforms ---- */

typedef struct {
    veer_value_t re, im; /* im: VEER_NO_VALUE for real signals */
} complex_t;

/* [length, bins] of scale cos or scale sin of 2 pi j k / length, the angle reduced exactly */
static veer_value_t table(veer_onnx_node_t *n, veer_dtype_t dtype, int64_t length, int64_t bins, double scale,
                          double (*f)(double)) {
    double *values = bins > MAX_LENGTH ? NULL : veer_onnx_scratch(n, length * bins, sizeof *values);
    if (!values) return VEER_NO_VALUE;
    for (int64_t j = 0; j < length; j++)
        for (int64_t k = 0; k < bins; k++)
            values[j * bins + k] = scale * f(2 * M_PI * (double)(j * k % length) / (double)length);
    return veer_onnx_const_doubles(n, VEER_TYPE(dtype, length, bins), values);
}

/* Along the last axis of x [rows, length]: (re + i im) (c - i s), conjugated and divided by the length for the inverse.
 */
static complex_t transform(veer_onnx_node_t *n, complex_t x, int64_t bins, bool inverse) {
    veer_type_t type = veer_onnx_type(n, x.re);
    if (!veer_onnx_ok(n)) return (complex_t){VEER_NO_VALUE, VEER_NO_VALUE};
    int64_t length = type.dims[1];
    double scale = inverse ? 1.0 / (double)length : 1;
    veer_value_t c = table(n, type.dtype, length, bins, scale, cos);
    veer_value_t s = table(n, type.dtype, length, bins, inverse ? -scale : scale, sin);
    complex_t y = {veer_matmul(n->b, x.re, c, false, false), veer_neg(n->b, veer_matmul(n->b, x.re, s, false, false))};
    if (x.im.i) {
        y.re = veer_add(n->b, y.re, veer_matmul(n->b, x.im, s, false, false));
        y.im = veer_add(n->b, y.im, veer_matmul(n->b, x.im, c, false, false));
    }
    return y;
}

/* The real signal of `length` whose transform's first half is x [rows, bins]: the other half is its mirror image, so
 * all but k = 0 and k = length / 2 count twice. */
static veer_value_t real_signal(veer_onnx_node_t *n, complex_t x, int64_t length) {
    veer_type_t type = veer_onnx_type(n, x.re);
    int64_t bins = type.dims[1];
    double *c = veer_onnx_scratch(n, bins * length, sizeof *c), *s = veer_onnx_scratch(n, bins * length, sizeof *s);
    if (!c || !s) return VEER_NO_VALUE;
    for (int64_t k = 0; k < bins; k++)
        for (int64_t j = 0; j < length; j++) {
            double angle = 2 * M_PI * (double)(j * k % length) / (double)length;
            double scale = (k == 0 || 2 * k == length ? 1 : 2) / (double)length;
            c[k * length + j] = scale * cos(angle), s[k * length + j] = -scale * sin(angle);
        }
    veer_type_t of_table = VEER_TYPE(type.dtype, bins, length);
    veer_value_t y = veer_matmul(n->b, x.re, veer_onnx_const_doubles(n, of_table, c), false, false);
    if (!x.im.i) return y;
    return veer_add(n->b, y, veer_matmul(n->b, x.im, veer_onnx_const_doubles(n, of_table, s), false, false));
}

/* x [..., 1 or 2] cut into real and imaginary parts [...] */
static complex_t split(veer_onnx_node_t *n, veer_value_t x) {
    veer_type_t type = veer_onnx_type(n, x), lead = type;
    complex_t y = {VEER_NO_VALUE, VEER_NO_VALUE};
    if (!veer_onnx_ok(n)) return y;
    lead.rank--;
    y.re = veer_reshape_like(n->b, veer_slice_axis(n->b, x, lead.rank, 0, 1, 1), &lead);
    if (type.dims[lead.rank] == 2) y.im = veer_reshape_like(n->b, veer_slice_axis(n->b, x, lead.rank, 1, 1, 1), &lead);
    return y;
}

static veer_value_t pair(veer_onnx_node_t *n, complex_t x, veer_type_t lead) {
    lead.dims[lead.rank++] = 1;
    veer_value_t parts[] = {veer_reshape_like(n->b, x.re, &lead), veer_reshape_like(n->b, x.im, &lead)};
    return veer_concat(n->b, parts, 2, lead.rank - 1);
}

/* Cut, or filled up with zeros behind. */
static veer_value_t fit(veer_onnx_node_t *n, veer_value_t x, int axis, int64_t length) {
    int64_t before[VEER_MAX_RANK] = {0}, after[VEER_MAX_RANK] = {0}, have = veer_onnx_type(n, x).dims[axis];
    if (have > length) return veer_slice_axis(n->b, x, axis, 0, length, 1);
    after[axis] = length - have;
    return veer_pad_zero(n->b, x, before, after);
}

/* The axis: an attribute in operator set 17, the third input since 20. */
void veer_onnx_dft(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    bool inverse = veer_onnx_attr_int(n, "inverse", 0) != 0, onesided = veer_onnx_attr_int(n, "onesided", 0) != 0;
    int64_t axis = n->opset < 20 ? veer_onnx_attr_int(n, "axis", 1) : veer_onnx_in_int(n, 2, "axis", -2),
            perm[VEER_MAX_RANK];
    int at = x.rank >= 2 ? veer_onnx_axis(n, axis, x.rank) : -1, last = x.rank - 2;
    if (at < 0 || at > last || x.dims[x.rank - 1] < 1 || x.dims[x.rank - 1] > 2) {
        veer_onnx_fail(n, VEER_ERR_FILE, "axis %lld of a signal of rank %d, whose last dim holds 1 or 2 parts",
                       (long long)axis, x.rank);
        return;
    }
    /* Inverse and onesided: x is the first half of a transform, y a real signal. */
    bool halved = inverse && onesided;
    int64_t length = veer_onnx_in_int(n, 1, "dft_length", halved ? 2 * (x.dims[at] - 1) : x.dims[at]);
    if (veer_onnx_ok(n) && (length < 1 || length > MAX_LENGTH))
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "a transform of length %lld is not supported", (long long)length);
    if (!veer_onnx_ok(n)) return;
    int64_t taken = halved ? length / 2 + 1 : length, bins = onesided && !inverse ? length / 2 + 1 : length;
    for (int i = 0; i < x.rank; i++) perm[i] = i;
    perm[at] = last, perm[last] = at; /* an exchange, its own inverse */
    veer_value_t moved = veer_transpose(n->b, fit(n, n->in[0], at, taken), perm);
    complex_t parts = split(n, moved);
    veer_type_t lead = veer_onnx_type(n, parts.re);
    if (!veer_onnx_ok(n)) return;
    int64_t rows = veer_type_count_range(&lead, 0, last);
    parts.re = veer_reshape(n->b, parts.re, VEER_DIMS(rows, taken));
    if (parts.im.i) parts.im = veer_reshape(n->b, parts.im, VEER_DIMS(rows, taken));
    lead.dims[last] = bins;
    veer_value_t y;
    if (halved) {
        lead.dims[lead.rank++] = 1;
        y = veer_reshape_like(n->b, real_signal(n, parts, length), &lead);
    } else
        y = pair(n, transform(n, parts, bins, inverse), lead);
    n->out[0] = veer_transpose(n->b, y, perm);
}

/* Frames of a signal [batch, length, 1 or 2], windowed, each transformed: [batch, frames, bins, 2]. */
void veer_onnx_stft(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), window = {0};
    int64_t step = veer_onnx_in_int(n, 1, "frame_step", 0);
    if (veer_onnx_has_in(n, 2)) window = veer_onnx_in_type(n, 2);
    int64_t length = veer_onnx_in_int(n, 3, "frame_length", window.rank == 1 ? window.dims[0] : 0);
    if (!veer_onnx_ok(n)) return;
    if (x.rank != 3 || x.dims[2] < 1 || x.dims[2] > 2 || step < 1 || length < 1 || length > x.dims[1] ||
        length > MAX_LENGTH || (window.rank && (window.rank != 1 || window.dims[0] != length))) {
        veer_onnx_fail(n, VEER_ERR_FILE, "frames of %lld, %lld apart, do not fit the signal or the window",
                       (long long)length, (long long)step);
        return;
    }
    int64_t frames = (x.dims[1] - length) / step + 1,
            bins = veer_onnx_attr_int(n, "onesided", 1) ? length / 2 + 1 : length;
    int64_t *from = frames > MAX_LENGTH ? NULL : veer_onnx_scratch(n, frames * length, sizeof *from);
    if (!from) return;
    for (int64_t i = 0; i < frames * length; i++) from[i] = i / length * step + i % length;
    veer_value_t places = veer_const(n->b, VEER_TYPE(VEER_DTYPE_I64, frames, length), from);
    complex_t parts = split(n, n->in[0]);
    veer_value_t *part[] = {&parts.re, &parts.im};
    for (int i = 0; i < 2; i++) {
        if (!part[i]->i) continue;
        *part[i] = veer_gather(n->b, *part[i], places, 1);
        if (window.rank) *part[i] = veer_mul(n->b, *part[i], n->in[2]);
        *part[i] = veer_reshape(n->b, *part[i], VEER_DIMS(x.dims[0] * frames, length));
    }
    n->out[0] = pair(n, transform(n, parts, bins, false), VEER_TYPE(x.dtype, x.dims[0], frames, bins));
}
