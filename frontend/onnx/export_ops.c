/* One IR operator after the other, in the words of ONNX. */
#include "frontend/onnx/export.h"
#include "ir/channels.h"

#include <math.h>
#include <string.h>

typedef const char *name_t;
#define NAMES(...)                                                                                                     \
    (int)(sizeof((name_t[]){__VA_ARGS__}) / sizeof(name_t)), (name_t[]) {                                              \
        __VA_ARGS__                                                                                                    \
    }

static veer_type_t in_type(veer_onnx_writer_t *w, veer_node_t node, int i) {
    return *veer_value_type(w->graph, veer_node_in(w->graph, node, i));
}

static veer_type_t out_type(veer_onnx_writer_t *w, veer_node_t node) {
    return *veer_value_type(w->graph, veer_node_out(w->graph, node, 0));
}

/* Operands of the node, trailing absent ones left out; writes it under its first result's name. */
static void write_as(veer_onnx_writer_t *w, veer_node_t node, const char *op_type) {
    int count = veer_node_in_count(w->graph, node);
    name_t *in = veer_onnx_writer_alloc(w, (size_t)(count + 1) * sizeof *in);
    if (!in) return;
    for (int i = 0; i < count; i++) in[i] = veer_onnx_in(w, node, i);
    while (count > 0 && !*in[count - 1]) count--;
    veer_onnx_write(w, op_type, veer_onnx_out(w, node, 0), count, in);
}

static int64_t int_of(veer_onnx_writer_t *w, veer_node_t node, const char *name) {
    return veer_node_int(w->graph, node, name);
}

static void put_same_int(veer_onnx_writer_t *w, veer_node_t node, const char *name) {
    veer_onnx_put_int(w, name, int_of(w, node, name));
}

static name_t reshaped(veer_onnx_writer_t *w, name_t out, name_t x, const int64_t *dims, int rank) {
    bool zero = false;
    for (int i = 0; i < rank; i++) zero |= dims[i] == 0;
    if (zero) veer_onnx_put_int(w, "allowzero", 1);
    return veer_onnx_write(w, "Reshape", out, NAMES(x, veer_onnx_write_ints(w, dims, rank)));
}

/* ---- elementwise ---- */

static void export_mod(veer_onnx_writer_t *w, veer_node_t node) {
    bool real = veer_dtype_is_float(in_type(w, node, 0).dtype);
    if (real && !int_of(w, node, "fmod")) { /* ONNX wants fmod for floats: x - floor(x / y) y */
        name_t x = veer_onnx_in(w, node, 0), y = veer_onnx_in(w, node, 1);
        name_t whole = veer_onnx_write(w, "Floor", NULL, NAMES(veer_onnx_write(w, "Div", NULL, NAMES(x, y))));
        veer_onnx_write(w, "Sub", veer_onnx_out(w, node, 0),
                        NAMES(x, veer_onnx_write(w, "Mul", NULL, NAMES(whole, y))));
        return;
    }
    put_same_int(w, node, "fmod");
    write_as(w, node, "Mod");
}

static void export_rsqrt(veer_onnx_writer_t *w, veer_node_t node) {
    name_t root = veer_onnx_write(w, "Sqrt", NULL, NAMES(veer_onnx_in(w, node, 0)));
    veer_onnx_write(w, "Reciprocal", veer_onnx_out(w, node, 0), NAMES(root));
}

static void export_cast(veer_onnx_writer_t *w, veer_node_t node) {
    veer_onnx_put_int(w, "to", veer_onnx_data_type(w, (veer_dtype_t)int_of(w, node, "to")));
    write_as(w, node, "Cast");
}

/* ---- moves ---- */

static void export_reshape(veer_onnx_writer_t *w, veer_node_t node) {
    veer_type_t type = out_type(w, node);
    reshaped(w, veer_onnx_out(w, node, 0), veer_onnx_in(w, node, 0), type.dims, type.rank);
}

static void export_transpose(veer_onnx_writer_t *w, veer_node_t node) {
    int rank;
    const int64_t *perm = veer_node_ints(w->graph, node, "perm", &rank);
    veer_onnx_put_ints(w, "perm", perm, rank);
    write_as(w, node, "Transpose");
}

static void export_broadcast(veer_onnx_writer_t *w, veer_node_t node) {
    veer_type_t type = out_type(w, node);
    veer_onnx_write(w, "Expand", veer_onnx_out(w, node, 0),
                    NAMES(veer_onnx_in(w, node, 0), veer_onnx_write_ints(w, type.dims, type.rank)));
}

static void export_slice(veer_onnx_writer_t *w, veer_node_t node) {
    int rank;
    const int64_t *starts = veer_node_ints(w->graph, node, "starts", &rank);
    const int64_t *sizes = veer_node_ints(w->graph, node, "sizes", &rank);
    const int64_t *steps = veer_node_ints(w->graph, node, "steps", &rank);
    int64_t ends[VEER_MAX_RANK], axes[VEER_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        ends[i] = starts[i] + sizes[i] * steps[i];
        if (ends[i] < 0) ends[i] = INT64_MIN / 2; /* a negative step runs past the front */
        if (sizes[i] == 0) ends[i] = starts[i];
        axes[i] = i;
    }
    veer_onnx_write(w, "Slice", veer_onnx_out(w, node, 0),
                    NAMES(veer_onnx_in(w, node, 0), veer_onnx_write_ints(w, starts, rank),
                          veer_onnx_write_ints(w, ends, rank), veer_onnx_write_ints(w, axes, rank),
                          veer_onnx_write_ints(w, steps, rank)));
}

static void export_concat(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    write_as(w, node, "Concat");
}

static void export_pad(veer_onnx_writer_t *w, veer_node_t node) {
    int rank;
    int64_t pads[2 * VEER_MAX_RANK];
    const int64_t *before = veer_node_ints(w->graph, node, "before", &rank);
    const int64_t *after = veer_node_ints(w->graph, node, "after", &rank);
    veer_type_t scalar = VEER_SCALAR(in_type(w, node, 0).dtype);
    for (int i = 0; i < rank; i++) pads[i] = before[i], pads[rank + i] = after[i];
    veer_onnx_put_string(w, "mode", veer_node_string(w->graph, node, "mode"));
    veer_onnx_write(w, "Pad", veer_onnx_out(w, node, 0),
                    NAMES(veer_onnx_in(w, node, 0), veer_onnx_write_ints(w, pads, 2 * rank),
                          veer_onnx_write_full(w, &scalar, veer_node_float(w->graph, node, "value"))));
}

static void export_gather(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    write_as(w, node, "Gather");
}

static void export_gather_elements(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    write_as(w, node, "GatherElements");
}

static void export_scatter_add(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    veer_onnx_put_string(w, "reduction", "add");
    write_as(w, node, "ScatterElements");
}

static void export_scatter_reduce(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    veer_onnx_put_string(w, "reduction", veer_node_string(w->graph, node, "mode"));
    write_as(w, node, "ScatterElements");
}

static void export_step_slice(veer_onnx_writer_t *w, veer_node_t node) {
    veer_onnx_put_int(w, "axis", 0);
    write_as(w, node, "Gather");
}

/* ---- reductions ---- */

static void export_reduce(veer_onnx_writer_t *w, veer_node_t node, const char *op_type) {
    int count;
    const int64_t *axes = veer_node_ints(w->graph, node, "axes", &count);
    put_same_int(w, node, "keepdims");
    veer_onnx_put_ints(w, "axes", axes, count);
    write_as(w, node, op_type);
}

/* Its axes moved to an input in operator set 13, those of the others later. */
static void export_reduce_sum(veer_onnx_writer_t *w, veer_node_t node) {
    int count;
    const int64_t *axes = veer_node_ints(w->graph, node, "axes", &count);
    put_same_int(w, node, "keepdims");
    veer_onnx_write(w, "ReduceSum", veer_onnx_out(w, node, 0),
                    NAMES(veer_onnx_in(w, node, 0), veer_onnx_write_ints(w, axes, count)));
}

static void export_reduce_mean(veer_onnx_writer_t *w, veer_node_t node) {
    export_reduce(w, node, "ReduceMean");
}
static void export_reduce_max(veer_onnx_writer_t *w, veer_node_t node) {
    export_reduce(w, node, "ReduceMax");
}
static void export_reduce_min(veer_onnx_writer_t *w, veer_node_t node) {
    export_reduce(w, node, "ReduceMin");
}
static void export_reduce_prod(veer_onnx_writer_t *w, veer_node_t node) {
    export_reduce(w, node, "ReduceProd");
}

static void export_arg_max(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    put_same_int(w, node, "keepdims");
    veer_onnx_put_int(w, "select_last_index", int_of(w, node, "select_last"));
    write_as(w, node, int_of(w, node, "largest") ? "ArgMax" : "ArgMin");
}

static void export_top_k(veer_onnx_writer_t *w, veer_node_t node) {
    int64_t k = int_of(w, node, "k");
    put_same_int(w, node, "axis");
    put_same_int(w, node, "largest");
    veer_onnx_write_many(w, "TopK", 2, (name_t[]){veer_onnx_out(w, node, 0), veer_onnx_out(w, node, 1)},
                         NAMES(veer_onnx_in(w, node, 0), veer_onnx_write_ints(w, &k, 1)));
}

static void export_cumsum(veer_onnx_writer_t *w, veer_node_t node) {
    veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64);
    put_same_int(w, node, "exclusive");
    put_same_int(w, node, "reverse");
    veer_onnx_write(w, "CumSum", veer_onnx_out(w, node, 0),
                    NAMES(veer_onnx_in(w, node, 0), veer_onnx_write_full(w, &scalar, (double)int_of(w, node, "axis"))));
}

/* argmin over v of sum((x[..., 1, :] - table[v, :])^2) */
static void export_nearest(veer_onnx_writer_t *w, veer_node_t node) {
    veer_type_t x = in_type(w, node, 0), wide = x;
    wide.dims[x.rank] = x.dims[x.rank - 1];
    wide.dims[x.rank - 1] = 1;
    if (++wide.rank > VEER_MAX_RANK) {
        veer_onnx_writer_fail(w, veer_error(VEER_ERR_UNSUPPORTED, "nearest of rank %d cannot be written", x.rank));
        return;
    }
    name_t d = reshaped(w, NULL, veer_onnx_in(w, node, 0), wide.dims, wide.rank);
    d = veer_onnx_write(w, "Sub", NULL, NAMES(d, veer_onnx_in(w, node, 1)));
    d = veer_onnx_write(w, "Mul", NULL, NAMES(d, d));
    veer_onnx_put_int(w, "keepdims", 0);
    d = veer_onnx_write(w, "ReduceSum", NULL, NAMES(d, veer_onnx_write_ints(w, (int64_t[]){-1}, 1)));
    veer_onnx_put_int(w, "axis", -1);
    veer_onnx_put_int(w, "keepdims", 0);
    veer_onnx_write(w, "ArgMin", veer_onnx_out(w, node, 0), NAMES(d));
}

/* ---- rows ---- */

static void export_softmax(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    write_as(w, node, "Softmax");
}

static void export_log_softmax(veer_onnx_writer_t *w, veer_node_t node) {
    put_same_int(w, node, "axis");
    write_as(w, node, "LogSoftmax");
}

static void export_layer_norm(veer_onnx_writer_t *w, veer_node_t node) {
    veer_type_t x = in_type(w, node, 0), row = {.dtype = x.dtype};
    for (int i = (int)int_of(w, node, "axis"); i < x.rank; i++) row.dims[row.rank++] = x.dims[i];
    name_t scale = veer_onnx_in(w, node, 1), bias = veer_onnx_in(w, node, 2);
    if (!*scale) scale = veer_onnx_write_full(w, &row, 1);
    put_same_int(w, node, "axis");
    veer_onnx_put_float(w, "epsilon", veer_node_float(w->graph, node, "eps"));
    veer_onnx_write(w, "LayerNormalization", veer_onnx_out(w, node, 0), *bias ? 3 : 2,
                    (name_t[]){veer_onnx_in(w, node, 0), scale, bias});
}

/* Groups are the instances of an instance normalisation over [N, groups, rest]; then the affine part per channel. */
static void export_group_norm(veer_onnx_writer_t *w, veer_node_t node) {
    veer_type_t x = in_type(w, node, 0), per_group = {.dtype = x.dtype, .rank = 1};
    int64_t groups = int_of(w, node, "groups"), channels[VEER_MAX_RANK] = {x.dims[1]};
    int64_t grouped[] = {x.dims[0], groups, groups ? veer_type_count_range(&x, 1, x.rank) / groups : 0};
    name_t scale = veer_onnx_in(w, node, 1), bias = veer_onnx_in(w, node, 2), out = veer_onnx_out(w, node, 0);
    for (int i = 1; i < x.rank - 1; i++) channels[i] = 1;
    per_group.dims[0] = groups;
    name_t y = reshaped(w, NULL, veer_onnx_in(w, node, 0), grouped, 3);
    name_t ones = veer_onnx_write_full(w, &per_group, 1), zeros = veer_onnx_write_full(w, &per_group, 0);
    veer_onnx_put_float(w, "epsilon", veer_node_float(w->graph, node, "eps"));
    y = veer_onnx_write(w, "InstanceNormalization", NULL, NAMES(y, ones, zeros));
    y = reshaped(w, *scale || *bias ? NULL : out, y, x.dims, x.rank);
    if (*scale)
        y = veer_onnx_write(w, "Mul", *bias ? NULL : out, NAMES(y, reshaped(w, NULL, scale, channels, x.rank - 1)));
    if (*bias) veer_onnx_write(w, "Add", out, NAMES(y, reshaped(w, NULL, bias, channels, x.rank - 1)));
}

/* ---- contractions ---- */

static name_t turned(veer_onnx_writer_t *w, veer_node_t node, int i) {
    int rank = in_type(w, node, i).rank;
    int64_t perm[VEER_MAX_RANK];
    for (int k = 0; k < rank; k++) perm[k] = k;
    perm[rank - 2] = rank - 1;
    perm[rank - 1] = rank - 2;
    veer_onnx_put_ints(w, "perm", perm, rank);
    return veer_onnx_write(w, "Transpose", NULL, NAMES(veer_onnx_in(w, node, i)));
}

static void export_matmul(veer_onnx_writer_t *w, veer_node_t node) {
    int64_t trans_a = int_of(w, node, "trans_a"), trans_b = int_of(w, node, "trans_b");
    if ((trans_a || trans_b) && in_type(w, node, 0).rank == 2 && in_type(w, node, 1).rank == 2) {
        veer_onnx_put_int(w, "transA", trans_a);
        veer_onnx_put_int(w, "transB", trans_b);
        write_as(w, node, "Gemm");
        return;
    }
    name_t a = trans_a ? turned(w, node, 0) : veer_onnx_in(w, node, 0);
    name_t b = trans_b ? turned(w, node, 1) : veer_onnx_in(w, node, 1);
    veer_onnx_write(w, "MatMul", veer_onnx_out(w, node, 0), NAMES(a, b));
}

/* ---- windows ---- */

static void put_window(veer_onnx_writer_t *w, veer_node_t node, bool with_dilations) {
    int rank;
    int64_t pads[2 * VEER_MAX_RANK];
    const int64_t *before = veer_node_ints(w->graph, node, "pads_before", &rank);
    const int64_t *after = veer_node_ints(w->graph, node, "pads_after", &rank);
    for (int i = 0; i < rank; i++) pads[i] = before[i], pads[rank + i] = after[i];
    veer_onnx_put_ints(w, "pads", pads, 2 * rank);
    const int64_t *strides = veer_node_ints(w->graph, node, "strides", &rank);
    veer_onnx_put_ints(w, "strides", strides, rank);
    const int64_t *dilations = veer_node_ints(w->graph, node, "dilations", &rank);
    if (with_dilations) veer_onnx_put_ints(w, "dilations", dilations, rank);
}

/* ONNX has channels first only: operand 0 of a window op, transposed where its channels are last. To be called before
 * attributes are put. */
static name_t images_of(veer_onnx_writer_t *w, veer_node_t node) {
    int64_t perm[VEER_MAX_RANK];
    if (!veer_node_channels_last(w->graph, node)) return veer_onnx_in(w, node, 0);
    int rank = in_type(w, node, 0).rank;
    veer_channels_first_perm(rank, perm);
    veer_onnx_put_ints(w, "perm", perm, rank);
    return veer_onnx_write(w, "Transpose", NULL, NAMES(veer_onnx_in(w, node, 0)));
}

/* The node on images x, its result transposed back. */
static void write_images(veer_onnx_writer_t *w, veer_node_t node, const char *op_type, name_t x) {
    int64_t perm[VEER_MAX_RANK];
    bool last = veer_node_channels_last(w->graph, node);
    name_t in[] = {x, veer_onnx_in(w, node, 1), veer_onnx_in(w, node, 2)}, out = veer_onnx_out(w, node, 0);
    int count = *in[2] ? 3 : *in[1] ? 2 : 1, rank = in_type(w, node, 0).rank;
    name_t y = veer_onnx_write(w, op_type, last ? NULL : out, count, in);
    if (!last) return;
    veer_channels_last_perm(rank, perm);
    veer_onnx_put_ints(w, "perm", perm, rank);
    veer_onnx_write(w, "Transpose", out, NAMES(y));
}

static void export_conv(veer_onnx_writer_t *w, veer_node_t node) {
    name_t x = images_of(w, node);
    veer_onnx_put_int(w, "group", int_of(w, node, "groups"));
    put_window(w, node, true);
    write_images(w, node, "Conv", x);
}

static void export_conv_transpose(veer_onnx_writer_t *w, veer_node_t node) {
    int rank;
    name_t x = images_of(w, node);
    const int64_t *more = veer_node_ints(w->graph, node, "output_padding", &rank);
    veer_onnx_put_int(w, "group", int_of(w, node, "groups"));
    veer_onnx_put_ints(w, "output_padding", more, rank);
    put_window(w, node, true);
    write_images(w, node, "ConvTranspose", x);
}

static void put_pool(veer_onnx_writer_t *w, veer_node_t node, bool with_dilations) {
    int rank;
    const int64_t *kernel = veer_node_ints(w->graph, node, "kernel", &rank);
    veer_onnx_put_ints(w, "kernel_shape", kernel, rank);
    put_same_int(w, node, "ceil_mode");
    put_window(w, node, with_dilations);
}

static void export_max_pool(veer_onnx_writer_t *w, veer_node_t node) {
    bool indices = veer_value_use_count(w->graph, veer_node_out(w->graph, node, 1)) > 0;
    if (veer_node_channels_last(w->graph, node)) {
        if (indices)
            veer_onnx_writer_fail(w, veer_error(VEER_ERR_UNSUPPORTED, "the indices of a max_pool with channels_last "
                                                                      "have no form in ONNX"));
        name_t x = images_of(w, node);
        put_pool(w, node, true);
        write_images(w, node, "MaxPool", x);
        return;
    }
    put_pool(w, node, true);
    veer_onnx_write_many(w, "MaxPool", indices ? 2 : 1,
                         (name_t[]){veer_onnx_out(w, node, 0), indices ? veer_onnx_out(w, node, 1) : ""},
                         NAMES(veer_onnx_in(w, node, 0)));
}

static void export_avg_pool(veer_onnx_writer_t *w, veer_node_t node) {
    int rank;
    name_t x = images_of(w, node);
    const int64_t *dilations = veer_node_ints(w->graph, node, "dilations", &rank);
    for (int i = 0; i < rank; i++)
        if (dilations[i] != 1)
            veer_onnx_writer_fail(w, veer_error(VEER_ERR_UNSUPPORTED,
                                                "an average pool with dilations has no form in "
                                                "operator set %d",
                                                VEER_ONNX_EXPORT_OPSET));
    put_pool(w, node, false);
    put_same_int(w, node, "count_include_pad");
    write_images(w, node, "AveragePool", x);
}

/* ONNX takes scales (f32, sizes follow) or sizes (scales follow). True where one of them says the same. */
static bool scales_fit(const veer_graph_t *g, veer_node_t node, bool *out_by_scale) {
    int rank;
    const int64_t *dims = veer_node_ints(g, node, "dims", &rank);
    const double *scales = veer_node_floats(g, node, "scales", &rank);
    const veer_type_t *x = veer_value_type(g, veer_node_in(g, node, 0));
    bool by_scale = true, by_size = true;
    for (int i = 0; i < rank; i++) {
        double in = (double)x->dims[i];
        by_scale &= (double)(float)scales[i] == scales[i] && floor(in * scales[i]) == (double)dims[i];
        by_size &= scales[i] == (double)dims[i] / in;
    }
    *out_by_scale = by_scale;
    return by_scale || by_size;
}

static bool resize_fits(const veer_graph_t *g, veer_node_t node) {
    bool by_scale;
    return scales_fit(g, node, &by_scale) &&
           strcmp(veer_node_string(g, node, "coordinate"), "half_pixel_symmetric") != 0;
}

static void export_resize(veer_onnx_writer_t *w, veer_node_t node) {
    int rank;
    bool by_scale;
    const double *scales = veer_node_floats(w->graph, node, "scales", &rank);
    const int64_t *dims = veer_node_ints(w->graph, node, "dims", &rank);
    veer_type_t type = VEER_TYPE(VEER_DTYPE_F32, rank);
    float *values = veer_onnx_writer_alloc(w, (size_t)(rank + 1) * sizeof *values);
    if (!values || !scales_fit(w->graph, node, &by_scale)) return;
    for (int i = 0; i < rank; i++) values[i] = (float)scales[i];
    const char *mode = veer_node_string(w->graph, node, "mode");
    veer_onnx_put_string(w, "mode", mode);
    veer_onnx_put_string(w, "coordinate_transformation_mode", veer_node_string(w->graph, node, "coordinate"));
    if (!strcmp(mode, "nearest"))
        veer_onnx_put_string(w, "nearest_mode", veer_node_string(w->graph, node, "nearest_mode"));
    if (!strcmp(mode, "cubic")) {
        veer_onnx_put_float(w, "cubic_coeff_a", veer_node_float(w->graph, node, "cubic_a"));
        put_same_int(w, node, "exclude_outside");
    }
    name_t x = veer_onnx_in(w, node, 0);
    name_t to = by_scale ? veer_onnx_write_tensor(w, "", &type, values) : veer_onnx_write_ints(w, dims, rank);
    veer_onnx_write(w, "Resize", veer_onnx_out(w, node, 0), by_scale ? 3 : 4,
                    (name_t[]){x, "", by_scale ? to : "", to});
}

/* Of integers only later operator sets know it. */
static void export_logic(veer_onnx_writer_t *w, veer_node_t node) {
    veer_op_t op = veer_node_op(w->graph, node);
    name_t in[2];
    int count = veer_node_in_count(w->graph, node);
    veer_dtype_t dtype = veer_value_type(w->graph, veer_node_in(w->graph, node, 0))->dtype;
    if (dtype != VEER_DTYPE_BOOL)
        veer_onnx_writer_fail(w, veer_error(VEER_ERR_UNSUPPORTED, "'%s' of %s has no form in operator set %d",
                                            veer_op_name(op), veer_dtype_name(dtype), VEER_ONNX_EXPORT_OPSET));
    for (int i = 0; i < count && i < 2; i++) in[i] = veer_onnx_in(w, node, i);
    const char *name = op == VEER_OP_AND ? "And" : op == VEER_OP_OR ? "Or" : op == VEER_OP_XOR ? "Xor" : "Not";
    veer_onnx_write(w, name, veer_onnx_out(w, node, 0), count, in);
}

/* ---- structure ---- */

static void export_const(veer_onnx_writer_t *w, veer_node_t node) {
    veer_value_t value = veer_node_out(w->graph, node, 0);
    veer_type_t type = *veer_value_type(w->graph, value);
    if (w->names[value.i]) { /* a result of the function: the name belongs to a node */
        name_t x = veer_onnx_write_tensor(w, "", &type, veer_value_const_data(w->graph, value));
        veer_onnx_write(w, "Identity", w->names[value.i], NAMES(x));
    } else {
        w->names[value.i] =
            veer_onnx_write_tensor(w, veer_value_name(w->graph, value), &type, veer_value_const_data(w->graph, value));
    }
}

/* A fused node is its body, written out. */
static void export_fused(veer_onnx_writer_t *w, veer_node_t node) {
    veer_region_t body = veer_node_body(w->graph, node);
    for (int i = 0; i < veer_region_arg_count(w->graph, body); i++)
        w->names[veer_region_arg(w->graph, body, i).i] = veer_onnx_in(w, node, i);
    VEER_FOR_EACH_NODE(w->graph, body, inner)
    if (!veer_onnx_write_node(w, inner))
        veer_onnx_writer_fail(w, veer_error(VEER_ERR_UNSUPPORTED, "ONNX has no standard operator for '%s'",
                                            veer_op_name(veer_node_op(w->graph, inner))));
    w->node = node;
    for (int i = 0; i < veer_region_result_count(w->graph, body); i++) {
        name_t value = w->names[veer_region_result(w->graph, body, i).i];
        veer_onnx_write(w, "Identity", veer_onnx_out(w, node, i), NAMES(value ? value : ""));
    }
}

/* ---- the table ---- */

typedef struct {
    const char *op_type; /* the same operator, without attributes */
    void (*write)(veer_onnx_writer_t *w, veer_node_t node);
} row_t;

static const row_t rows[VEER_OP_COUNT] = {
    [VEER_OP_CONST] = {NULL, export_const},
    [VEER_OP_FUSED] = {NULL, export_fused},
    [VEER_OP_STEP_SLICE] = {NULL, export_step_slice},
    [VEER_OP_NEG] = {"Neg", NULL},
    [VEER_OP_ABS] = {"Abs", NULL},
    [VEER_OP_SIGN] = {"Sign", NULL},
    [VEER_OP_EXP] = {"Exp", NULL},
    [VEER_OP_LOG] = {"Log", NULL},
    [VEER_OP_SQRT] = {"Sqrt", NULL},
    [VEER_OP_RSQRT] = {NULL, export_rsqrt},
    [VEER_OP_RECIPROCAL] = {"Reciprocal", NULL},
    [VEER_OP_SIN] = {"Sin", NULL},
    [VEER_OP_COS] = {"Cos", NULL},
    [VEER_OP_ATAN] = {"Atan", NULL},
    [VEER_OP_TANH] = {"Tanh", NULL},
    [VEER_OP_SIGMOID] = {"Sigmoid", NULL},
    [VEER_OP_SOFTPLUS] = {"Softplus", NULL},
    [VEER_OP_ERF] = {"Erf", NULL},
    [VEER_OP_RELU] = {"Relu", NULL},
    [VEER_OP_FLOOR] = {"Floor", NULL},
    [VEER_OP_CEIL] = {"Ceil", NULL},
    [VEER_OP_ROUND] = {"Round", NULL},
    [VEER_OP_NOT] = {NULL, export_logic},
    [VEER_OP_ISNAN] = {"IsNaN", NULL},
    [VEER_OP_CAST] = {NULL, export_cast},
    [VEER_OP_ADD] = {"Add", NULL},
    [VEER_OP_SUB] = {"Sub", NULL},
    [VEER_OP_MUL] = {"Mul", NULL},
    [VEER_OP_DIV] = {"Div", NULL},
    [VEER_OP_POW] = {"Pow", NULL},
    [VEER_OP_MIN] = {"Min", NULL},
    [VEER_OP_MAX] = {"Max", NULL},
    [VEER_OP_MOD] = {NULL, export_mod},
    [VEER_OP_EQUAL] = {"Equal", NULL},
    [VEER_OP_LESS] = {"Less", NULL},
    [VEER_OP_LESS_EQUAL] = {"LessOrEqual", NULL},
    [VEER_OP_AND] = {NULL, export_logic},
    [VEER_OP_OR] = {NULL, export_logic},
    [VEER_OP_XOR] = {NULL, export_logic},
    [VEER_OP_WHERE] = {"Where", NULL},
    [VEER_OP_RESHAPE] = {NULL, export_reshape},
    [VEER_OP_TRANSPOSE] = {NULL, export_transpose},
    [VEER_OP_BROADCAST] = {NULL, export_broadcast},
    [VEER_OP_SLICE] = {NULL, export_slice},
    [VEER_OP_CONCAT] = {NULL, export_concat},
    [VEER_OP_PAD] = {NULL, export_pad},
    [VEER_OP_GATHER] = {NULL, export_gather},
    [VEER_OP_GATHER_ELEMENTS] = {NULL, export_gather_elements},
    [VEER_OP_SCATTER_ADD] = {NULL, export_scatter_add},
    [VEER_OP_SCATTER_REDUCE] = {NULL, export_scatter_reduce},
    [VEER_OP_REDUCE_SUM] = {NULL, export_reduce_sum},
    [VEER_OP_REDUCE_MEAN] = {NULL, export_reduce_mean},
    [VEER_OP_REDUCE_MAX] = {NULL, export_reduce_max},
    [VEER_OP_REDUCE_MIN] = {NULL, export_reduce_min},
    [VEER_OP_REDUCE_PROD] = {NULL, export_reduce_prod},
    [VEER_OP_ARG_MAX] = {NULL, export_arg_max},
    [VEER_OP_TOP_K] = {NULL, export_top_k},
    [VEER_OP_CUMSUM] = {NULL, export_cumsum},
    [VEER_OP_SOFTMAX] = {NULL, export_softmax},
    [VEER_OP_LOG_SOFTMAX] = {NULL, export_log_softmax},
    [VEER_OP_LAYER_NORM] = {NULL, export_layer_norm},
    [VEER_OP_GROUP_NORM] = {NULL, export_group_norm},
    [VEER_OP_MATMUL] = {NULL, export_matmul},
    [VEER_OP_CONV] = {NULL, export_conv},
    [VEER_OP_CONV_TRANSPOSE] = {NULL, export_conv_transpose},
    [VEER_OP_MAX_POOL] = {NULL, export_max_pool},
    [VEER_OP_AVG_POOL] = {NULL, export_avg_pool},
    [VEER_OP_RESIZE] = {NULL, export_resize},
    [VEER_OP_NEAREST] = {NULL, export_nearest},
};

bool veer_onnx_must_expand(const veer_graph_t *g, veer_node_t node) {
    veer_op_t op = veer_node_op(g, node);
    if (!veer_op_has(op, VEER_COMPOSITE)) return false;
    if (op == VEER_OP_RESIZE) return !resize_fits(g, node);
    if (op == VEER_OP_GROUP_NORM) return veer_node_channels_last(g, node);
    return !rows[op].op_type && !rows[op].write;
}

bool veer_onnx_write_node(veer_onnx_writer_t *w, veer_node_t node) {
    const row_t *row = &rows[veer_node_op(w->graph, node)];
    w->node = node;
    if (veer_op_has(veer_node_op(w->graph, node), VEER_TERMINATOR)) return true;
    if (row->write)
        row->write(w, node);
    else if (row->op_type)
        write_as(w, node, row->op_type);
    else
        return false;
    return true;
}
