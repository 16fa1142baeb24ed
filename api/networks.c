#include "api/networks.h"

#include "backends/reference/reference.h"
#include "ir/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct roles_s {
    const veer_parts_t *p;
    const veer_settings_t *s;
    veer_arena_t *arena;
} roles_t;

/* ---- names ---- */

/* What the user calls input `name`: the right side of --map-input theirs=ours, else the name itself. */
static veer_status_t mapped_name(const roles_t *r, const char *name, const char **out) {
    *out = name;
    for (int i = 0; veer_setting_text(r->s, VEER_SETTING_MAP_INPUT, i); i++) {
        const char *theirs, *ours;
        VEER_TRY(veer_setting_pair(r->s, VEER_SETTING_MAP_INPUT, i, r->arena, &theirs, &ours));
        if (!strcmp(theirs, name)) *out = ours;
    }
    return veer_ok();
}

static bool is_one_of(const char *name, const char *const *names) {
    for (; *names; names++)
        if (!strcmp(name, *names)) return true;
    return false;
}

/* --input or --text for this name: it is given from outside, whatever it is called. */
static veer_status_t given_outside(const roles_t *r, const char *name, bool *out) {
    static const veer_setting_t kinds[] = {VEER_SETTING_INPUT, VEER_SETTING_TEXT};
    *out = false;
    for (int k = 0; k < 2; k++)
        for (int i = 0; veer_setting_text(r->s, kinds[k], i); i++) {
            const char *who, *rest;
            VEER_TRY(veer_setting_pair(r->s, kinds[k], i, r->arena, &who, &rest));
            *out |= !strcmp(who, name);
        }
    return veer_ok();
}

static veer_status_t role_of(const roles_t *r, const char *name, veer_dtype_t dtype, int rank, bool classifier,
                             veer_role_t *out) {
    static const char *const xs[] = {"sample", "x", "x_t", NULL}, *const ts[] = {"timestep", "timesteps", "t", NULL};
    const char *ours;
    bool outside;
    *out = VEER_ROLE_EXTRA;
    VEER_TRY(given_outside(r, name, &outside));
    if (outside) return veer_ok();
    VEER_TRY(mapped_name(r, name, &ours));
    const char *self_cond = veer_setting_text(r->s, VEER_SETTING_SELF_COND, 0);
    if (is_one_of(ours, xs))
        *out = VEER_ROLE_X;
    else if (is_one_of(ours, ts))
        *out = VEER_ROLE_TIMESTEP;
    else if (!classifier && self_cond && !strcmp(self_cond, name))
        *out = VEER_ROLE_SELF_COND;
    else if (!strcmp(ours, "class_labels"))
        *out = classifier ? VEER_ROLE_TARGET : VEER_ROLE_LABELS;
    else if (classifier && !strcmp(ours, "y") && r->p->class_count && veer_dtype_is_integer(dtype) && rank == 1)
        *out = VEER_ROLE_TARGET;
    return veer_ok();
}

static veer_status_t check_self_cond(const roles_t *r, const veer_role_t *roles, int count) {
    const char *name = veer_setting_text(r->s, VEER_SETTING_SELF_COND, 0);
    if (!name) return veer_ok();
    for (int i = 0; i < count; i++)
        if (roles[i] == VEER_ROLE_SELF_COND) return veer_ok();
    return veer_error(VEER_ERR_CONFIG, "--self-cond names '%s', but the denoiser has no such input", name);
}

/* ---- the batch ---- */

/* Index of the input that takes x_t, from the file alone. */
static veer_status_t find_x(const roles_t *r, const veer_onnx_info_t *info, bool classifier, int *out) {
    *out = -1;
    for (int i = 0; i < info->input_count; i++) {
        veer_role_t role;
        VEER_TRY(role_of(r, info->inputs[i].name, info->inputs[i].dtype, info->inputs[i].rank, classifier, &role));
        if (role == VEER_ROLE_X) *out = i;
    }
    if (*out >= 0) return veer_ok();
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "no input is called sample, x or x_t"),
                            "say which one it is: --map-input NAME=sample");
}

static veer_status_t user_dims(const roles_t *r, veer_dim_binding_t *dims, int *count, int most) {
    for (int i = 0; veer_setting_text(r->s, VEER_SETTING_DIM, i); i++) {
        const char *name, *rest;
        char *end;
        VEER_TRY(veer_setting_pair(r->s, VEER_SETTING_DIM, i, r->arena, &name, &rest));
        long long value = strtoll(rest, &end, 10);
        if (end == rest || *end || value < 1)
            return veer_error(VEER_ERR_CONFIG, "--dim %s=%s: expected a number of at least 1", name, rest);
        if (*count == most) return veer_error(VEER_ERR_CONFIG, "more than %d --dim", most);
        dims[(*count)++] = (veer_dim_binding_t){name, value};
    }
    return veer_ok();
}

enum { MOST_DIMS = 64 };

/* The user's dims and, for the first dimension of x_t, the batch. */
static veer_status_t import_network(veer_graph_t *g, const roles_t *r, const char *path, const char *func_name,
                                    bool classifier, int64_t batch, const veer_compile_options_t *options,
                                    veer_network_t *out) {
    veer_onnx_info_t info;
    VEER_TRY(veer_onnx_inspect(veer_graph_allocator(g), path, veer_graph_limits(g), &info));
    veer_dim_binding_t dims[MOST_DIMS];
    int count = 0, x = -1;
    veer_status_t status = user_dims(r, dims, &count, MOST_DIMS - 1);
    if (!status) status = veer_status_where(find_x(r, &info, classifier, &x), "%s", path);
    const char *symbol = NULL;
    if (!status && info.inputs[x].rank > 0 && info.inputs[x].dims[0] < 0)
        symbol = veer_arena_strdup(r->arena, info.inputs[x].dim_names[0]);
    if (!status && symbol) {
        int at = 0;
        while (at < count && strcmp(dims[at].name, symbol)) at++;
        dims[at] = (veer_dim_binding_t){symbol, batch};
        if (at == count) count++;
    }
    veer_onnx_info_deinit(&info);
    VEER_TRY(status);
    veer_onnx_options_t import = {.dims = dims, .dim_count = count, .eval = veer_reference_node};
    VEER_TRY(veer_import_model(g, path, func_name, &import, options, &out->func));
    veer_region_t body = veer_func_body(g, out->func);
    int args = veer_region_arg_count(g, body);
    veer_role_t *roles = veer_arena_array(veer_graph_arena(g), (size_t)args + 1, sizeof *roles);
    if (!roles) return veer_out_of_memory();
    out->roles = roles;
    for (int i = 0; i < args; i++) {
        veer_value_t arg = veer_region_arg(g, body, i);
        const veer_type_t *type = veer_value_type(g, arg);
        VEER_TRY(role_of(r, veer_value_name(g, arg), type->dtype, type->rank, classifier, &roles[i]));
    }
    return classifier ? veer_ok() : check_self_cond(r, roles, args);
}

/* ---- names that are mapped ---- */

/* Whether the model has such an input; its inputs' names are added to `names`. */
static veer_status_t look_for(const veer_parts_t *p, const char *path, const char *name, bool *found,
                              veer_text_t *names) {
    veer_onnx_info_t info;
    VEER_TRY(veer_onnx_inspect(p->allocator, path, &p->limits, &info));
    for (int i = 0; i < info.input_count; i++) {
        *found |= !strcmp(info.inputs[i].name, name);
        veer_text_add(names, "%s'%s'", names->length ? ", " : "", info.inputs[i].name);
    }
    veer_onnx_info_deinit(&info);
    return veer_ok();
}

static veer_status_t check_name(const veer_parts_t *p, const char *name, const char *ours, veer_text_t *names) {
    bool found = false;
    VEER_TRY(look_for(p, p->denoiser, name, &found, names));
    if (p->classifier) VEER_TRY(look_for(p, p->classifier, name, &found, names));
    if (!found && p->unused_classifier) {
        /* What is not loaded need not be there; as long as it cannot be read, the name may be its. */
        veer_status_t status = look_for(p, p->unused_classifier, name, &found, names);
        found |= status && veer_status_code(status) != VEER_ERR_RESOURCE;
        if (found || !status)
            veer_status_free(status);
        else
            return status;
    }
    if (found) return veer_ok();
    return veer_status_help(
        veer_error(VEER_ERR_CONFIG, "--map-input %s=%s: no model has an input '%s'", name, ours, name),
        "the models' inputs are %s", names->length ? names->data : "none");
}

veer_status_t veer_networks_check_names(const veer_parts_t *p, const veer_settings_t *settings) {
    veer_arena_t arena;
    veer_status_t status = veer_ok();
    veer_arena_init(&arena, p->allocator);
    for (int i = 0; veer_setting_text(settings, VEER_SETTING_MAP_INPUT, i) && !status; i++) {
        const char *theirs, *ours;
        veer_text_t names = veer_text_make(p->allocator);
        status = veer_setting_pair(settings, VEER_SETTING_MAP_INPUT, i, &arena, &theirs, &ours);
        if (!status) status = check_name(p, theirs, ours, &names);
        veer_text_deinit(&names);
    }
    veer_arena_deinit(&arena);
    return status;
}

veer_status_t veer_networks_fixed_batch(const veer_parts_t *p, const veer_settings_t *settings, int64_t *out_batch) {
    veer_onnx_info_t info;
    veer_arena_t arena;
    *out_batch = 0;
    VEER_TRY(veer_onnx_inspect(p->allocator, p->denoiser, &p->limits, &info));
    veer_arena_init(&arena, p->allocator);
    roles_t r = {p, settings, &arena};
    int x;
    veer_status_t status = veer_status_where(find_x(&r, &info, false, &x), "%s", p->denoiser);
    if (!status && info.inputs[x].rank > 0 && info.inputs[x].dims[0] > 0) *out_batch = info.inputs[x].dims[0];
    if (!status && *out_batch && p->sampler.cfg) {
        if (*out_batch % 2)
            status = veer_error(
                VEER_ERR_CONFIG,
                "%s: classifier-free guidance runs both branches in one batch, but the batch is fixed at %lld",
                p->denoiser, (long long)*out_batch);
        *out_batch /= 2;
    }
    veer_onnx_info_deinit(&info);
    veer_arena_deinit(&arena);
    return status;
}

veer_status_t veer_networks_import(veer_graph_t *g, veer_parts_t *p, const veer_settings_t *settings,
                                   const veer_compile_options_t *options, int64_t batch) {
    roles_t r = {p, settings, &p->arena};
    VEER_TRY(import_network(g, &r, p->denoiser, "denoiser", false, p->sampler.cfg ? 2 * batch : batch, options,
                            &p->sampler.denoiser));
    if (!p->classifier) return veer_ok();
    return import_network(g, &r, p->classifier, "classifier", true, batch, options, &p->sampler.classifier);
}
