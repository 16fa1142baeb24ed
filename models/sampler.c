#include "models/sampler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- names ---- */

static veer_status_t parse_name(const char *what, const char *const *names, int count, const char *name, int *out) {
    char known[128] = "";
    for (int i = 0; i < count; i++) {
        if (!strcmp(names[i], name)) {
            *out = i;
            return veer_ok();
        }
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", names[i]);
    }
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "unknown %s '%s'", what, name), "use one of: %s", known);
}

#define PARSER(function, type, what, ...)                                                                              \
    veer_status_t function(const char *name, type *out) {                                                              \
        static const char *const names[] = {__VA_ARGS__};                                                              \
        int i = 0;                                                                                                     \
        VEER_TRY(parse_name(what, names, (int)(sizeof names / sizeof *names), name, &i));                              \
        *out = (type)i;                                                                                                \
        return veer_ok();                                                                                              \
    }
PARSER(veer_sampler_kind_parse, veer_sampler_kind_t, "sampler", "ddpm", "ddim")
PARSER(veer_prediction_parse, veer_prediction_t, "prediction type", "epsilon", "sample", "v_prediction", "score")
PARSER(veer_grad_at_parse, veer_grad_at_t, "place for the gradient", "xt", "mu", "x0")
PARSER(veer_guidance_parse, veer_guidance_t, "guidance", "mean", "noise")

veer_sampler_t veer_sampler_default(void) {
    return (veer_sampler_t){.timestep_scale = 1, .clip = true, .clip_range = 1, .null_label = -1};
}

/* ---- the function under construction ---- */

/* Scalars of the current step that formulas use; each is a row of a table, or an argument of a helper function. */
typedef struct coefficients_s {
    veer_value_t sqrt_abar, sqrt_one_minus_abar, sqrt_recip_abar, sqrt_recipm1_abar;
} coefficients_t;

typedef struct build_s {
    veer_graph_t *g;
    const veer_sampler_t *s;
    const veer_step_table_t *table;
    veer_func_t func;
    veer_builder_t outer, b; /* before the loop, and in its body */
    veer_type_t x_type;      /* [N, ...] */
    int channel_axis;        /* of variance channels, spec (b) */
    bool has_variance_channels;
    veer_value_t seed, first_sample, x_T, noise, class_labels, target, cfg_scale, classifier_scale;
    veer_value_t embeddings;
    veer_value_t i, x_t, previous_x0; /* the loop's arguments */
    coefficients_t c;
} build_t;

static veer_value_t table_row(build_t *w, const double *values) {
    int64_t steps = w->table->steps;
    float *rounded = veer_arena_array(veer_graph_arena(w->g), (size_t)steps, sizeof *rounded);
    if (!rounded) return VEER_NO_VALUE; /* the arena remembers: the builder's status reports it */
    for (int64_t i = 0; i < steps; i++) rounded[i] = (float)values[i]; /* computed in double, rounded once */
    veer_value_t table = veer_const_view(&w->outer, VEER_TYPE(VEER_DTYPE_F32, steps), rounded, NULL);
    return veer_builder_ok(&w->outer) ? veer_step_slice(&w->b, table, w->i) : VEER_NO_VALUE;
}

static veer_value_t find_argument(const build_t *w, const char *name) {
    veer_region_t body = veer_func_body(w->g, w->func);
    for (int i = 0; i < veer_region_arg_count(w->g, body); i++) {
        veer_value_t arg = veer_region_arg(w->g, body, i);
        if (!strcmp(veer_value_name(w->g, arg), name)) return arg;
    }
    return VEER_NO_VALUE;
}

static veer_status_t add_argument(build_t *w, const char *name, veer_type_t type, veer_value_t *out) {
    return veer_region_add_arg(w->g, veer_func_body(w->g, w->func), type, name, out);
}

static veer_value_t network_arg(const build_t *w, const veer_network_t *net, int i) {
    return veer_region_arg(w->g, veer_func_body(w->g, net->func), i);
}

static const veer_type_t *network_arg_type(const build_t *w, const veer_network_t *net, int i) {
    return veer_value_type(w->g, network_arg(w, net, i));
}

static int network_arg_count(const build_t *w, const veer_network_t *net) {
    return net->func.i ? veer_region_arg_count(w->g, veer_func_body(w->g, net->func)) : 0;
}

static int find_role(const build_t *w, const veer_network_t *net, veer_role_t role) {
    for (int i = 0; i < network_arg_count(w, net); i++)
        if (net->roles[i] == role) return i;
    return -1;
}

static const veer_type_t *network_result_type(const build_t *w, const veer_network_t *net) {
    return veer_value_type(w->g, veer_region_result(w->g, veer_func_body(w->g, net->func), 0));
}

/* ---- checks and arguments ---- */

/* A batch of 2 N holds the conditional samples, then the unconditional ones. */
static veer_type_t per_sample_type(const build_t *w, veer_type_t type) {
    if (w->s->cfg && type.rank > 0 && type.dims[0] == 2 * w->x_type.dims[0]) type.dims[0] /= 2;
    return type;
}

static veer_status_t check_output(build_t *w) {
    const veer_sampler_t *s = w->s;
    veer_type_t out = per_sample_type(w, *network_result_type(w, &s->denoiser)), want = w->x_type;
    w->channel_axis = want.rank == 3 ? 2 : 1; /* [N, L, E]: last; [N, C, ...]: 1 */
    if (want.rank < 2) w->channel_axis = want.rank - 1;
    bool plain = veer_type_equal(&out, &want);
    want.dims[w->channel_axis] *= 2;
    w->has_variance_channels = !plain && veer_type_equal(&out, &want);
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    if (!plain && !w->has_variance_channels)
        return veer_error(VEER_ERR_CONFIG,
                          "the denoiser's output is %s, expected x_t's type %s (or twice its channels)",
                          veer_type_text(&out, a), veer_type_text(&w->x_type, b));
    bool learned = veer_variance_is_learned(s->variance);
    if (learned && plain && s->kind == VEER_SAMPLER_DDPM)
        return veer_status_help(veer_error(VEER_ERR_CONFIG,
                                           "a learned variance needs twice the channels, the denoiser's output is %s",
                                           veer_type_text(&out, a)),
                                "use --variance-type fixed_small or fixed_large");
    if (!learned && w->has_variance_channels)
        return veer_status_help(
            veer_error(VEER_ERR_CONFIG,
                       "the denoiser's output %s has variance channels, but the variance type is a fixed one",
                       veer_type_text(&out, a)),
            "use --variance-type learned_range or learned");
    return veer_ok();
}

static veer_status_t check_denoiser(build_t *w) {
    int x = find_role(w, &w->s->denoiser, VEER_ROLE_X);
    if (x < 0)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "the denoiser has no input for x_t"),
                                "name it with --map-input sample=ITS_NAME");
    veer_type_t type = *network_arg_type(w, &w->s->denoiser, x);
    char text[VEER_TYPE_TEXT_BYTES];
    if (type.rank < 2 || type.dtype != VEER_DTYPE_F32)
        return veer_error(VEER_ERR_CONFIG, "the denoiser's x_t is %s, expected f32 with the batch first",
                          veer_type_text(&type, text));
    if (w->s->cfg) {
        if (type.dims[0] % 2)
            return veer_error(VEER_ERR_CONFIG,
                              "classifier-free guidance needs the denoiser at twice the batch, it has %s",
                              veer_type_text(&type, text));
        type.dims[0] /= 2;
    }
    w->x_type = type;
    return check_output(w);
}

static veer_status_t check_embeddings(const build_t *w) {
    const veer_sampler_t *s = w->s;
    if (!s->embeddings) {
        if (s->clamp_below <= 0) return veer_ok();
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "the nearest-embedding clamp needs embeddings"),
                                "give --embeddings FILE.npy");
    }
    int64_t width = w->x_type.dims[w->x_type.rank - 1];
    if (s->width == width && s->vocab > 0) return veer_ok();
    return veer_error(VEER_ERR_CONFIG, "embeddings are [%lld, %lld], but the last dimension of x_t is %lld",
                      (long long)s->vocab, (long long)s->width, (long long)width);
}

static veer_status_t add_network_extras(build_t *w, const veer_network_t *net) {
    for (int i = 0; i < network_arg_count(w, net); i++) {
        if (net->roles[i] != VEER_ROLE_EXTRA) continue;
        veer_type_t type = *network_arg_type(w, net, i);
        if (net == &w->s->denoiser) type = per_sample_type(w, type);
        const char *name = veer_value_name(w->g, network_arg(w, net, i));
        veer_value_t known = find_argument(w, name);
        if (!known.i) {
            VEER_TRY(add_argument(w, name, type, &known));
        } else if (!veer_type_equal(veer_value_type(w->g, known), &type)) {
            char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
            return veer_status_help(veer_error(VEER_ERR_CONFIG, "input '%s' is %s for one model and %s for the other",
                                               name, veer_type_text(veer_value_type(w->g, known), a),
                                               veer_type_text(&type, b)),
                                    "rename one of them with --map-input");
        }
    }
    return veer_ok();
}

static veer_status_t add_target(build_t *w) {
    const veer_sampler_t *s = w->s;
    veer_type_t type;
    VEER_TRY(
        veer_status_where(veer_head_target_type(s->head, network_result_type(w, &s->classifier), &type), "classifier"));
    const char *name = veer_head_target_name(s->head);
    bool wants_label = find_role(w, &s->classifier, VEER_ROLE_TARGET) >= 0;
    if (!*name && wants_label) name = "label", type = VEER_TYPE(VEER_DTYPE_I64, w->x_type.dims[0]);
    return *name ? add_argument(w, name, type, &w->target) : veer_ok();
}

static veer_status_t add_arguments(build_t *w) {
    const veer_sampler_t *s = w->s;
    int64_t n = w->x_type.dims[0];
    VEER_TRY(add_argument(w, "seed", VEER_SCALAR(VEER_DTYPE_I64), &w->seed));
    VEER_TRY(add_argument(w, "first_sample", VEER_SCALAR(VEER_DTYPE_I64), &w->first_sample));
    if (s->init_given) VEER_TRY(add_argument(w, "x_T", w->x_type, &w->x_T));
    if (s->noise_given) {
        veer_type_t type = {.dtype = VEER_DTYPE_F32, .rank = w->x_type.rank + 1, .dims = {w->table->steps}};
        memcpy(type.dims + 1, w->x_type.dims, (size_t)w->x_type.rank * sizeof *type.dims);
        VEER_TRY(add_argument(w, "noise", type, &w->noise));
    }
    if (find_role(w, &s->denoiser, VEER_ROLE_LABELS) >= 0 && !s->null_labels_only)
        VEER_TRY(add_argument(w, "class_labels", VEER_TYPE(VEER_DTYPE_I64, n), &w->class_labels));
    if (s->classifier.func.i) VEER_TRY(add_target(w));
    if (s->cfg) VEER_TRY(add_argument(w, "cfg_scale", VEER_SCALAR(VEER_DTYPE_F32), &w->cfg_scale));
    if (s->classifier.func.i)
        VEER_TRY(add_argument(w, "classifier_scale", VEER_SCALAR(VEER_DTYPE_F32), &w->classifier_scale));
    VEER_TRY(add_network_extras(w, &s->denoiser));
    return add_network_extras(w, &s->classifier);
}

/* ---- networks ---- */

/* The timestep input: training indices (times the scale) of every step as a table, its row spread to the input's shape.
 */
static veer_value_t timestep_value(build_t *w, const int64_t *indices, const veer_type_t *type) {
    int64_t steps = w->table->steps;
    bool integer = veer_dtype_is_integer(type->dtype);
    veer_type_t table_type = VEER_TYPE(integer ? VEER_DTYPE_I64 : VEER_DTYPE_F64, steps);
    union {
        int64_t i;
        double f;
    } *values = veer_arena_array(veer_graph_arena(w->g), (size_t)steps, sizeof *values);
    if (!values) return VEER_NO_VALUE;
    for (int64_t i = 0; i < steps; i++) {
        double scaled = (double)indices[i] * w->s->timestep_scale;
        if (integer && scaled != rint(scaled))
            veer_builder_fail(
                &w->b,
                veer_error(VEER_ERR_CONFIG,
                           "timestep %lld times the scale %g is not an integer, but the network's timestep input is %s",
                           (long long)indices[i], w->s->timestep_scale, veer_dtype_name(type->dtype)));
        if (integer)
            values[i].i = (int64_t)scaled;
        else
            values[i].f = scaled;
    }
    veer_value_t table = veer_cast(&w->outer, veer_const_view(&w->outer, table_type, values, NULL), type->dtype);
    if (!veer_builder_ok(&w->outer)) return VEER_NO_VALUE;
    return veer_broadcast_to(&w->b, veer_step_slice(&w->b, table, w->i), type->rank, type->dims);
}

/* Integers of another width for the network's input. */
static veer_value_t as_input(build_t *w, veer_value_t v, const veer_type_t *type) {
    return veer_cast(&w->b, v, type->dtype);
}

static veer_value_t null_labels(build_t *w) {
    return veer_full(&w->b, VEER_TYPE(VEER_DTYPE_I64, w->x_type.dims[0]), (double)w->s->null_label);
}

static veer_value_t twice(build_t *w, veer_value_t v) {
    return veer_concat(&w->b, (veer_value_t[]){v, v}, 2, 0);
}

static veer_value_t denoiser_labels(build_t *w) {
    if (w->s->null_labels_only) return null_labels(w);
    if (!w->s->cfg) return w->class_labels;
    return veer_concat(&w->b, (veer_value_t[]){w->class_labels, null_labels(w)}, 2, 0); /* conditional first */
}

/* The value that each of the denoiser's arguments takes, (a); both CFG branches in one batch. */
static veer_value_t denoiser_argument(build_t *w, int i, veer_value_t x) {
    const veer_network_t *net = &w->s->denoiser;
    veer_type_t type = *network_arg_type(w, net, i);
    switch (net->roles[i]) {
    case VEER_ROLE_TIMESTEP: return timestep_value(w, w->table->timestep, &type);
    case VEER_ROLE_LABELS: return as_input(w, denoiser_labels(w), &type);
    case VEER_ROLE_X: return w->s->cfg ? twice(w, x) : x;
    case VEER_ROLE_SELF_COND: return w->s->cfg ? twice(w, w->previous_x0) : w->previous_x0;
    default: break;
    }
    veer_value_t given = find_argument(w, veer_value_name(w->g, network_arg(w, net, i)));
    return w->s->cfg && !veer_type_equal(veer_value_type(w->g, given), &type) ? twice(w, given) : given;
}

static veer_value_t guide_argument(build_t *w, int i, veer_value_t x, const int64_t *indices) {
    const veer_network_t *net = &w->s->classifier;
    veer_type_t type = *network_arg_type(w, net, i);
    switch (net->roles[i]) {
    case VEER_ROLE_X: return x;
    case VEER_ROLE_TIMESTEP: return timestep_value(w, indices, &type);
    case VEER_ROLE_TARGET:
    case VEER_ROLE_LABELS: return as_input(w, w->target, &type);
    default: return find_argument(w, veer_value_name(w->g, network_arg(w, net, i)));
    }
}

typedef struct output_s {
    veer_value_t f, variance; /* [N, ...]; variance is none without variance channels */
} output_t;

/* (b) and (c): split off variance channels, combine the branches on the raw output; the variance is the conditional
 * one's. */
static output_t split_output(build_t *w, veer_builder_t *b, veer_value_t out, veer_value_t cfg_scale) {
    output_t o = {0};
    int axis = w->channel_axis;
    int64_t n = w->x_type.dims[0], c = w->x_type.dims[axis];
    veer_value_t conditional = w->s->cfg ? veer_slice_axis(b, out, 0, 0, n, 1) : out;
    o.f = veer_slice_axis(b, conditional, axis, 0, c, 1);
    if (w->has_variance_channels) o.variance = veer_slice_axis(b, conditional, axis, c, c, 1);
    if (!w->s->cfg) return o;
    veer_value_t unconditional = veer_slice_axis(b, veer_slice_axis(b, out, 0, n, n, 1), axis, 0, c, 1);
    /* (12): gamma F_c + (1 - gamma) F_u */
    o.f = veer_add(b, veer_mul(b, cfg_scale, o.f), veer_mul(b, veer_rsub_c(b, cfg_scale, 1), unconditional));
    return o;
}

/* (d): x0-hat by the prediction type, (1) and (2). */
static veer_value_t predict_x0(const build_t *w, veer_builder_t *b, const coefficients_t *c, veer_value_t x,
                               veer_value_t f) {
    switch (w->s->prediction) {
    case VEER_PREDICTION_SAMPLE: return f;
    case VEER_PREDICTION_V: return veer_sub(b, veer_mul(b, c->sqrt_abar, x), veer_mul(b, c->sqrt_one_minus_abar, f));
    case VEER_PREDICTION_SCORE: f = veer_neg(b, veer_mul(b, c->sqrt_one_minus_abar, f)); break; /* (2): eps */
    case VEER_PREDICTION_EPSILON: break;
    }
    return veer_sub(b, veer_mul(b, c->sqrt_recip_abar, x), veer_mul(b, c->sqrt_recipm1_abar, f));
}

/* ---- guides ---- */

/* graph @guide(classifier's arguments, target) -> log p summed over the batch. */
static veer_status_t make_guide(build_t *w, veer_func_t *out) {
    const veer_network_t *net = &w->s->classifier;
    VEER_TRY(veer_graph_add_func(w->g, "guide", out));
    veer_region_t body = veer_func_body(w->g, *out);
    veer_builder_t b = veer_builder_at_end(w->g, body);
    int count = network_arg_count(w, net);
    veer_value_t *args = veer_arena_array(veer_graph_arena(w->g), (size_t)count + 1, sizeof *args),
                 target = VEER_NO_VALUE;
    if (!args) return veer_out_of_memory();
    for (int i = 0; i < count; i++)
        VEER_TRY(veer_region_add_arg(w->g, body, *network_arg_type(w, net, i),
                                     veer_value_name(w->g, network_arg(w, net, i)), &args[i]));
    if (*veer_head_target_name(w->s->head))
        VEER_TRY(veer_region_add_arg(w->g, body, *veer_value_type(w->g, w->target), "target", &target));
    veer_node_t call = veer_builder_call(&b, net->func, args, count);
    if (call.i) {
        veer_value_t log_p = veer_head_log_p(&b, w->s->head, veer_node_out(w->g, call, 0), target);
        veer_builder_return(&b, &log_p, 1);
    }
    return veer_builder_status(&b);
}

/* g = grad_x log p(y|x, t) at x, by a grad node over @guide. */
static veer_value_t guide_gradient(build_t *w, veer_value_t x, const int64_t *indices) {
    veer_func_t guide;
    veer_builder_fail(&w->b, make_guide(w, &guide));
    if (!veer_builder_ok(&w->b)) return VEER_NO_VALUE;
    const veer_network_t *net = &w->s->classifier;
    int count = network_arg_count(w, net);
    veer_value_t *args = veer_arena_array(veer_graph_arena(w->g), (size_t)count + 2, sizeof *args);
    if (!args) return VEER_NO_VALUE;
    for (int i = 0; i < count; i++) args[i] = guide_argument(w, i, x, indices);
    int64_t wrt = find_role(w, net, VEER_ROLE_X);
    bool with_target = *veer_head_target_name(w->s->head);
    if (with_target) args[count] = w->target;
    veer_node_t node = veer_builder_grad(&w->b, guide, args, count + with_target, 0, veer_const_f32(&w->b, 1), &wrt, 1);
    return node.i ? veer_node_out(w->g, node, 1) : VEER_NO_VALUE;
}

/* (9''): graph @guide_x0(x_t, denoiser's other arguments, coefficients, classifier's other arguments, target) -> log p
 * of x0-hat(x_t); the gradient runs through the denoiser. Every value of the loop's body that it needs is passed in. */
static veer_value_t guide_gradient_at_x0(build_t *w) {
    veer_func_t func, guide;
    veer_builder_fail(&w->b, make_guide(w, &guide));
    if (!veer_builder_ok(&w->b)) return VEER_NO_VALUE;
    veer_builder_fail(&w->b, veer_graph_add_func(w->g, "guide_x0", &func));
    if (!veer_builder_ok(&w->b)) return VEER_NO_VALUE;
    veer_region_t body = veer_func_body(w->g, func);
    const veer_network_t *net = &w->s->denoiser, *cls = &w->s->classifier;
    int den = network_arg_count(w, net), classifier = network_arg_count(w, cls), count = 0;
    int64_t *zeros = veer_arena_array(veer_graph_arena(w->g), (size_t)w->table->steps, sizeof *zeros);
    size_t most = (size_t)(den + classifier) + 16;
    veer_value_t *given = veer_arena_array(veer_graph_arena(w->g), most, sizeof *given);
    veer_value_t *inner = veer_arena_array(veer_graph_arena(w->g), most, sizeof *inner);
    veer_value_t *net_args = veer_arena_array(veer_graph_arena(w->g), most, sizeof *net_args);
    if (!zeros || !given || !inner || !net_args) return VEER_NO_VALUE;
    /* given[0] is x_t: the only argument that the gradient is taken by, wherever the denoiser uses it. */
    given[count++] = w->x_t;
    for (int i = 0; i < den; i++)
        if (net->roles[i] != VEER_ROLE_X) given[count++] = denoiser_argument(w, i, VEER_NO_VALUE);
    int coefficients = count;
    given[count++] = w->c.sqrt_abar, given[count++] = w->c.sqrt_one_minus_abar;
    given[count++] = w->c.sqrt_recip_abar, given[count++] = w->c.sqrt_recipm1_abar;
    if (w->s->cfg) given[count++] = w->cfg_scale;
    int others = count;
    for (int i = 0; i < classifier; i++)
        if (cls->roles[i] != VEER_ROLE_X) given[count++] = guide_argument(w, i, VEER_NO_VALUE, zeros);
    bool with_target = *veer_head_target_name(w->s->head);
    if (with_target) given[count++] = w->target;
    if (!veer_builder_ok(&w->b)) return VEER_NO_VALUE;
    for (int i = 0; i < count; i++)
        veer_builder_fail(&w->b, veer_region_add_arg(w->g, body, *veer_value_type(w->g, given[i]), "", &inner[i]));
    if (!veer_builder_ok(&w->b)) return VEER_NO_VALUE;

    veer_builder_t b = veer_builder_at_end(w->g, body);
    for (int i = 0, next = 1; i < den; i++)
        net_args[i] = net->roles[i] != VEER_ROLE_X ? inner[next++]
                      : w->s->cfg                  ? veer_concat(&b, (veer_value_t[]){inner[0], inner[0]}, 2, 0)
                                                   : inner[0];
    veer_node_t call = veer_builder_call(&b, net->func, net_args, den);
    coefficients_t c = {inner[coefficients], inner[coefficients + 1], inner[coefficients + 2], inner[coefficients + 3]};
    veer_value_t scale = w->s->cfg ? inner[coefficients + 4] : VEER_NO_VALUE;
    if (call.i) {
        output_t o = split_output(w, &b, veer_node_out(w->g, call, 0), scale);
        veer_value_t x0 = predict_x0(w, &b, &c, inner[0], o.f);
        for (int i = 0, next = others; i < classifier; i++)
            net_args[i] = cls->roles[i] == VEER_ROLE_X ? x0 : inner[next++];
        if (with_target) net_args[classifier] = inner[count - 1];
        veer_node_t log_p = veer_builder_call(&b, guide, net_args, classifier + with_target);
        veer_value_t result = log_p.i ? veer_node_out(w->g, log_p, 0) : VEER_NO_VALUE;
        veer_builder_return(&b, &result, 1);
    }
    veer_builder_fail(&w->b, veer_builder_status(&b));
    int64_t wrt = 0;
    veer_node_t node = veer_builder_grad(&w->b, func, given, count, 0, veer_const_f32(&w->b, 1), &wrt, 1);
    return node.i ? veer_node_out(w->g, node, 1) : VEER_NO_VALUE;
}

/* ---- the step ---- */

/* (f): x0-hat's nearest embedding where the training index is below the bound, (17). */
static veer_value_t clamp_to_embeddings(build_t *w, veer_value_t x0) {
    int64_t steps = w->table->steps;
    uint8_t *below = veer_arena_array(veer_graph_arena(w->g), (size_t)steps, sizeof *below);
    if (!below) return VEER_NO_VALUE;
    bool any = false;
    for (int64_t i = 0; i < steps; i++) any |= below[i] = w->table->timestep[i] < w->s->clamp_below;
    if (!any) return x0;
    veer_value_t on =
        veer_step_slice(&w->b, veer_const_view(&w->outer, VEER_TYPE(VEER_DTYPE_BOOL, steps), below, NULL), w->i);
    veer_value_t id = veer_build(&w->b, VEER_OP_NEAREST, VEER_IN(x0, w->embeddings), NULL);
    return veer_where(&w->b, on, veer_gather(&w->b, w->embeddings, id, 0), x0);
}

/* (g) */
static veer_value_t clip(build_t *w, veer_value_t x0) {
    veer_value_t low = veer_const_f32(&w->b, (float)-w->s->clip_range),
                 high = veer_const_f32(&w->b, (float)w->s->clip_range);
    return veer_min(&w->b, veer_max(&w->b, x0, low), high);
}

/* sigma^2 of the shift and sigma of the noise, (i); sigma is 0 where no noise is added. */
typedef struct variance_s {
    veer_value_t shift, sigma;
} variance_t;

static variance_t variance(build_t *w, veer_value_t channels) {
    veer_builder_t *b = &w->b;
    const veer_step_table_t *t = w->table;
    if (!veer_variance_is_learned(w->s->variance)) {
        double *sigma = veer_arena_array(veer_graph_arena(w->g), (size_t)t->steps, sizeof *sigma);
        if (!sigma) return (variance_t){0};
        for (int64_t i = 0; i < t->steps; i++) sigma[i] = sqrt(t->sigma2_noise[i]);
        return (variance_t){table_row(w, t->sigma2_shift), table_row(w, sigma)};
    }
    veer_value_t on = table_row(w, t->noise_on);
    if (w->s->variance == VEER_VARIANCE_LEARNED_SIGMA2)
        return (variance_t){channels, veer_mul(b, on, veer_sqrt(b, channels))};
    veer_value_t log_var = channels;
    if (w->s->variance == VEER_VARIANCE_LEARNED_RANGE) { /* between the bounds, v in [-1, 1] */
        veer_value_t fraction = veer_mul_c(b, veer_add_c(b, channels, 1), 0.5);
        veer_value_t high = table_row(w, t->log_var_max), low = table_row(w, t->log_var_min);
        log_var = veer_add(b, veer_mul(b, fraction, high), veer_mul(b, veer_rsub_c(b, fraction, 1), low));
    }
    return (variance_t){veer_exp(b, log_var), veer_mul(b, on, veer_exp(b, veer_mul_c(b, log_var, 0.5)))};
}

static veer_value_t step_noise(build_t *w) {
    veer_builder_t *b = &w->b;
    if (w->noise.i) return veer_step_slice(b, w->noise, w->i);
    veer_value_t step = veer_add_c(b, w->i, 1); /* 0 is x_T's */
    return veer_build(b, VEER_OP_NOISE, VEER_IN(w->seed, w->first_sample, step),
                      VEER_ATTRS(VEER_INTS("dims", w->x_type.dims, w->x_type.rank), VEER_INT("stream", 0)));
}

static bool any_nonzero(const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (values[i] != 0) return true;
    return false;
}

/* (10): eps_hat = eps - gamma sqrt(1-abar) g, with eps recomputed from x0-hat, (h). */
static veer_value_t guided_eps(build_t *w, veer_value_t x0, veer_value_t g) {
    veer_builder_t *b = &w->b;
    veer_value_t eps = veer_div(b, veer_sub(b, veer_mul(b, w->c.sqrt_recip_abar, w->x_t), x0), w->c.sqrt_recipm1_abar);
    if (!g.i) return eps;
    return veer_sub(b, eps, veer_mul(b, veer_mul(b, w->classifier_scale, w->c.sqrt_one_minus_abar), g));
}

/* (11) */
static veer_value_t ddim_step(build_t *w, veer_value_t x0, veer_value_t g) {
    veer_builder_t *b = &w->b;
    const veer_step_table_t *t = w->table;
    double *sqrt_prev = veer_arena_array(veer_graph_arena(w->g), (size_t)t->steps * 3, sizeof *sqrt_prev);
    if (!sqrt_prev) return VEER_NO_VALUE;
    double *direction = sqrt_prev + t->steps, *sigma = direction + t->steps;
    for (int64_t i = 0; i < t->steps; i++) {
        double abar = t->abar[i], prev = t->abar_prev[i];
        double s = w->s->eta * sqrt((1 - prev) / (1 - abar)) * sqrt(1 - abar / prev);
        sqrt_prev[i] = sqrt(prev);
        direction[i] = sqrt(fmax(1 - prev - s * s, 0));
        sigma[i] = s;
    }
    veer_value_t eps = guided_eps(w, x0, g);
    if (g.i) /* x0 of the shifted eps; not clipped again, (k) */
        x0 = veer_sub(b, veer_mul(b, w->c.sqrt_recip_abar, w->x_t), veer_mul(b, w->c.sqrt_recipm1_abar, eps));
    veer_value_t next =
        veer_add(b, veer_mul(b, table_row(w, sqrt_prev), x0), veer_mul(b, table_row(w, direction), eps));
    if (!any_nonzero(sigma, t->steps)) return next;
    return veer_add(b, next, veer_mul(b, table_row(w, sigma), step_noise(w)));
}

static veer_value_t posterior_mean(build_t *w, veer_value_t x0) { /* (4) */
    return veer_add(&w->b, veer_mul(&w->b, table_row(w, w->table->mean_xt), w->x_t),
                    veer_mul(&w->b, table_row(w, w->table->mean_x0), x0));
}

static veer_value_t ddpm_step(build_t *w, veer_value_t x0, veer_value_t channels, veer_value_t g) {
    veer_builder_t *b = &w->b;
    const veer_sampler_t *s = w->s;
    variance_t v = variance(w, channels);
    veer_value_t mean;
    if (s->classifier.func.i && s->guidance == VEER_GUIDANCE_NOISE) { /* (10), then (5) */
        veer_value_t eps = guided_eps(w, x0, g);
        mean = veer_mul(b, table_row(w, w->table->mean_recip),
                        veer_sub(b, w->x_t, veer_mul(b, table_row(w, w->table->mean_eps), eps)));
    } else {
        mean = posterior_mean(w, x0);
        if (s->classifier.func.i && s->grad_at == VEER_GRAD_AT_MU)
            g = guide_gradient(w, mean, w->table->timestep_next);                                     /* (9') */
        if (g.i) mean = veer_add(b, mean, veer_mul(b, veer_mul(b, w->classifier_scale, v.shift), g)); /* (9) */
    }
    bool noisy = veer_variance_is_learned(s->variance) ? any_nonzero(w->table->noise_on, w->table->steps)
                                                       : any_nonzero(w->table->sigma2_noise, w->table->steps);
    return noisy ? veer_add(b, mean, veer_mul(b, v.sigma, step_noise(w))) : mean; /* (l) */
}

static veer_value_t guidance_before_step(build_t *w) {
    if (!w->s->classifier.func.i) return VEER_NO_VALUE;
    if (w->s->grad_at == VEER_GRAD_AT_X0) return guide_gradient_at_x0(w);
    if (w->s->grad_at == VEER_GRAD_AT_XT) return guide_gradient(w, w->x_t, w->table->timestep);
    return VEER_NO_VALUE; /* at mu: once mu is there */
}

/* One pass of the loop's body: x_{t-1}, and the raw x0-hat for self-conditioning. */
static veer_value_t step(build_t *w, veer_value_t *out_raw_x0) {
    const veer_sampler_t *s = w->s;
    int count = network_arg_count(w, &s->denoiser);
    veer_value_t *args = veer_arena_array(veer_graph_arena(w->g), (size_t)count + 1, sizeof *args);
    if (!args) return VEER_NO_VALUE;
    for (int i = 0; i < count; i++) args[i] = denoiser_argument(w, i, w->x_t);
    veer_node_t call = veer_builder_call(&w->b, s->denoiser.func, args, count); /* (a) */
    if (!call.i) return VEER_NO_VALUE;
    output_t o = split_output(w, &w->b, veer_node_out(w->g, call, 0), w->cfg_scale); /* (b), (c) */
    veer_value_t x0 = predict_x0(w, &w->b, &w->c, w->x_t, o.f);                      /* (d) */
    *out_raw_x0 = x0;                                                                /* (e) */
    if (s->clamp_below > 0) x0 = clamp_to_embeddings(w, x0);                         /* (f) */
    if (s->clip) x0 = clip(w, x0);                                                   /* (g) */
    veer_value_t g = guidance_before_step(w);                                        /* (j) */
    return s->kind == VEER_SAMPLER_DDIM ? ddim_step(w, x0, g) : ddpm_step(w, x0, o.variance, g);
}

/* ---- the loop ---- */

static veer_value_t initial_x(build_t *w) {
    if (w->x_T.i) return w->x_T;
    return veer_build(&w->outer, VEER_OP_NOISE, VEER_IN(w->seed, w->first_sample, veer_const_i64(&w->outer, 0)),
                      VEER_ATTRS(VEER_INTS("dims", w->x_type.dims, w->x_type.rank), VEER_INT("stream", 0)));
}

static void load_coefficients(build_t *w) {
    const veer_step_table_t *t = w->table;
    w->c.sqrt_abar = table_row(w, t->sqrt_abar);
    w->c.sqrt_one_minus_abar = table_row(w, t->sqrt_one_minus_abar);
    w->c.sqrt_recip_abar = table_row(w, t->sqrt_recip_abar);
    w->c.sqrt_recipm1_abar = table_row(w, t->sqrt_recipm1_abar);
}

static veer_node_t build_loop(build_t *w, bool self_cond) {
    veer_value_t init[2] = {initial_x(w)};
    if (self_cond) init[1] = veer_zeros(&w->outer, w->x_type);
    veer_node_t loop = veer_builder_loop(&w->outer, w->table->steps, init, self_cond ? 2 : 1);
    if (!loop.i) return loop;
    veer_region_t body = veer_node_body(w->g, loop);
    w->b = veer_builder_at_end(w->g, body);
    w->i = veer_region_arg(w->g, body, 0);
    w->x_t = veer_region_arg(w->g, body, 1);
    if (self_cond) w->previous_x0 = veer_region_arg(w->g, body, 2);
    /* Constants that the body makes on the side (w->outer) must stand before the loop. */
    w->outer = veer_builder_before(w->g, loop);
    load_coefficients(w);
    veer_value_t raw_x0 = VEER_NO_VALUE, next = step(w, &raw_x0), yields[3];
    int count = 0;
    yields[count++] = next;
    if (self_cond) yields[count++] = raw_x0;
    if (w->s->record) yields[count++] = next;
    veer_builder_yield(&w->b, yields, count);
    veer_builder_fail(&w->outer, veer_builder_status(&w->b));
    veer_builder_loop_finish(&w->outer, loop);
    return loop;
}

static veer_status_t build_body(build_t *w) {
    const veer_sampler_t *s = w->s;
    veer_region_t body = veer_func_body(w->g, w->func);
    w->outer = veer_builder_at_end(w->g, body);
    if (s->embeddings)
        w->embeddings = veer_const(&w->outer, VEER_TYPE(VEER_DTYPE_F32, s->vocab, s->width), s->embeddings);
    bool self_cond = find_role(w, &s->denoiser, VEER_ROLE_SELF_COND) >= 0;
    veer_node_t loop = build_loop(w, self_cond);
    VEER_TRY(veer_builder_status(&w->outer));
    veer_builder_t b = veer_builder_at_end(w->g, body);
    veer_value_t results[3] = {veer_node_out(w->g, loop, 0)};
    const char *names[3] = {"x_0"};
    int count = 1;
    if (s->embeddings)
        names[count] = "tokens",
        results[count++] = veer_build(&b, VEER_OP_NEAREST, VEER_IN(results[0], w->embeddings), NULL);
    if (s->record) names[count] = "x", results[count++] = veer_node_out(w->g, loop, self_cond ? 2 : 1);
    veer_builder_return(&b, results, count);
    for (int i = 0; i < count; i++) VEER_TRY(veer_func_set_result_name(w->g, w->func, i, names[i]));
    return veer_builder_status(&b);
}

/* abar = 0 (zero terminal SNR) leaves no way from eps to x0. */
static veer_status_t check_schedule(const build_t *w) {
    bool from_eps = w->s->prediction == VEER_PREDICTION_EPSILON || w->s->prediction == VEER_PREDICTION_SCORE;
    if (w->table->abar[0] > 0 || !from_eps) return veer_ok();
    return veer_status_help(
        veer_error(VEER_ERR_CONFIG, "the schedule ends at abar = 0, where epsilon says nothing about x_0"),
        "use a model with v_prediction or sample, or leave the last timestep out");
}

static veer_status_t check_guide(const build_t *w) {
    const veer_sampler_t *s = w->s;
    if (!s->classifier.func.i) return veer_ok();
    int x = find_role(w, &s->classifier, VEER_ROLE_X);
    if (x < 0)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "the classifier has no input for x_t"),
                                "name it with --map-input x=ITS_NAME");
    char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
    const veer_type_t *type = network_arg_type(w, &s->classifier, x);
    if (!veer_type_equal(type, &w->x_type))
        return veer_error(VEER_ERR_CONFIG, "the classifier's x_t is %s, the denoiser's %s", veer_type_text(type, a),
                          veer_type_text(&w->x_type, b));
    if (s->grad_at == VEER_GRAD_AT_MU && (s->kind == VEER_SAMPLER_DDIM || s->guidance == VEER_GUIDANCE_NOISE))
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "a gradient at mu goes with DDPM's mean guidance only; "
                                                            "noise guidance shifts eps, which comes before mu"),
                                "use --grad-at xt, or --sampler ddpm --guidance mean");
    return veer_ok();
}

veer_status_t veer_sampler_build(veer_graph_t *g, const veer_sampler_t *sampler, const veer_step_table_t *table,
                                 veer_func_t *out_sample) {
    build_t w = {.g = g, .s = sampler, .table = table};
    VEER_TRY(check_denoiser(&w));
    VEER_TRY(check_guide(&w));
    VEER_TRY(check_schedule(&w));
    VEER_TRY(check_embeddings(&w));
    VEER_TRY(veer_graph_add_func(g, "sample", &w.func));
    VEER_TRY(add_arguments(&w));
    VEER_TRY(build_body(&w));
    *out_sample = w.func;
    return veer_ok();
}
