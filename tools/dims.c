#include "tools/dims.h"
#include "ir/base/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

veer_status_t veer_dims_add(veer_command_t *c, veer_dims_t *dims, const char *name, int64_t value) {
    if (dims->count == dims->capacity) {
        int capacity = dims->capacity ? 2 * dims->capacity : 8;
        veer_dim_binding_t *items = veer_arena_array(&c->args.arena, (size_t)capacity, sizeof *items);
        if (!items) return veer_out_of_memory();
        if (dims->count) memcpy(items, dims->items, (size_t)dims->count * sizeof *items);
        dims->items = items;
        dims->capacity = capacity;
    }
    dims->items[dims->count++] = (veer_dim_binding_t){name, value};
    return veer_ok();
}

veer_status_t veer_dims_from_args(veer_command_t *c, veer_dims_t *out) {
    *out = (veer_dims_t){0};
    for (int i = 0; i < veer_args_count(&c->args, "dim"); i++) {
        const char *name, *text;
        char *end;
        VEER_TRY(veer_args_assignment(&c->args, "dim", veer_args_value_at(&c->args, "dim", i), &name, &text));
        errno = 0;
        long long value = strtoll(text, &end, 10);
        if (*end || errno || value < 1)
            return veer_error(VEER_ERR_CONFIG, "--dim %s: '%s' is no size, expected an integer of at least 1", name,
                              text);
        VEER_TRY(veer_dims_add(c, out, name, value));
    }
    return veer_ok();
}

bool veer_dims_has(const veer_dims_t *dims, const char *name) {
    for (int i = 0; i < dims->count; i++)
        if (!strcmp(dims->items[i].name, name)) return true;
    return false;
}

static void place_text(const veer_onnx_value_info_t *input, int axis, char out[300]) {
    snprintf(out, 300, "%.250s.%d", input->name, axis);
}

bool veer_dims_binds(const veer_dims_t *dims, const veer_onnx_value_info_t *input, int axis) {
    char place[300];
    place_text(input, axis, place);
    return veer_dims_has(dims, place) || (input->dim_names[axis] && veer_dims_has(dims, input->dim_names[axis]));
}

static bool is_known(const veer_onnx_info_t *info, const char *name) {
    char place[300];
    for (int i = 0; i < info->input_count; i++)
        for (int axis = 0; axis < info->inputs[i].rank; axis++) {
            const char *symbol = info->inputs[i].dim_names[axis];
            place_text(&info->inputs[i], axis, place);
            if (!strcmp(place, name) || (symbol && !strcmp(symbol, name))) return true;
        }
    return false;
}

/* The symbolic dimensions of all inputs, as a list for messages and as candidates for a suggestion. */
static veer_status_t unknown(const veer_onnx_info_t *info, const char *name) {
    const char *names[64];
    char list[400] = "";
    size_t count = 0;
    for (int i = 0; i < info->input_count; i++)
        for (int axis = 0; axis < info->inputs[i].rank; axis++) {
            const char *symbol = info->inputs[i].dim_names[axis];
            bool seen = !symbol || count == 64;
            for (size_t k = 0; k < count && !seen; k++) seen = !strcmp(names[k], symbol);
            if (seen) continue;
            size_t at = strlen(list);
            snprintf(list + at, sizeof list - at, "%s%s", count ? ", " : "", symbol);
            names[count++] = symbol;
        }
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "--dim %s: the model has no such dimension", name);
    const char *near = veer_suggest(name, names, count);
    if (near) return veer_status_help(status, "did you mean %s?", near);
    return veer_status_help(status, count ? "its symbolic dimensions: %s" : "it has no symbolic dimensions%s", list);
}

veer_status_t veer_dims_check(const veer_dims_t *dims, const veer_onnx_info_t *info) {
    veer_status_t status = NULL;
    for (int i = 0; i < dims->count; i++)
        if (!is_known(info, dims->items[i].name)) status = veer_status_join(status, unknown(info, dims->items[i].name));
    return status;
}

veer_status_t veer_dims_fill(veer_command_t *c, veer_dims_t *dims, const veer_onnx_info_t *info) {
    for (int i = 0; i < info->input_count; i++) {
        const veer_onnx_value_info_t *input = &info->inputs[i];
        for (int axis = 0; axis < input->rank; axis++) {
            const char *name = input->dim_names[axis];
            if (!name || input->has_default || veer_dims_binds(dims, input, axis)) continue;
            veer_report_note(&c->report, "dimension '%s' is taken as 1 (--dim %s=N)", name, name);
            VEER_TRY(veer_dims_add(c, dims, name, 1));
        }
    }
    return veer_ok();
}
