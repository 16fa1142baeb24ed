#include "tools/inputs.h"
#include "frontend/npy.h"
#include "ir/half.h"
#include "ir/literal.h"
#include "runtime/philox.h"

#include <string.h>

veer_status_t veer_inputs_init(veer_inputs_t *out, int count, veer_allocator_t allocator) {
    *out = (veer_inputs_t){.allocator = allocator};
    out->items = veer_alloc_array(allocator, (size_t)count + 1, sizeof *out->items);
    if (!out->items) return veer_out_of_memory();
    out->count = count;
    return veer_ok();
}

void veer_inputs_deinit(veer_inputs_t *inputs) {
    for (int i = 0; i < inputs->count; i++) veer_free(inputs->allocator, inputs->items[i].tensor.data);
    if (inputs->items) veer_free(inputs->allocator, inputs->items);
    *inputs = (veer_inputs_t){0};
}

veer_input_t *veer_inputs_find(const veer_inputs_t *inputs, const char *name) {
    for (int i = 0; i < inputs->count; i++)
        if (inputs->items[i].name && !strcmp(inputs->items[i].name, name)) return &inputs->items[i];
    return NULL;
}

static veer_status_t read_one(veer_command_t *c, const char *text, veer_inputs_t *inputs, veer_input_t *input) {
    const char *value;
    VEER_TRY(veer_args_assignment(&c->args, "input", text, &input->name, &value));
    for (veer_input_t *other = inputs->items; other < input; other++)
        if (other->name && !strcmp(other->name, input->name))
            return veer_error(VEER_ERR_CONFIG, "--input %s is given twice", input->name);
    if (*value != '@') return input->list = value, veer_ok();
    return veer_status_where(veer_npy_read(value + 1, inputs->allocator, &input->tensor), "--input %s", input->name);
}

veer_status_t veer_inputs_from_args(veer_command_t *c, veer_inputs_t *out) {
    int count = veer_args_count(&c->args, "input");
    veer_status_t status = veer_inputs_init(out, count, c->allocator);
    for (int i = 0; i < count && out->items; i++)
        status = veer_status_join(status, read_one(c, veer_args_value_at(&c->args, "input", i), out, &out->items[i]));
    return status;
}

/* ---- shapes ---- */

static veer_status_t wrong_type(const veer_onnx_value_info_t *want, const veer_type_t *given) {
    char text[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_CONFIG, "input '%s' is %s, expected %s", want->name, veer_type_text(given, text),
                      want->type);
}

static const veer_dim_binding_t *bound(const veer_dims_t *dims, const char *name) {
    for (int i = 0; i < dims->count; i++)
        if (!strcmp(dims->items[i].name, name)) return &dims->items[i];
    return NULL;
}

static veer_status_t bind_axis(veer_command_t *c, const veer_onnx_value_info_t *want, int axis, int64_t size,
                               const veer_type_t *given, veer_dims_t *dims) {
    char text[VEER_TYPE_TEXT_BYTES];
    const char *name = want->dim_names[axis];
    if (!name) return want->dims[axis] == size ? veer_ok() : wrong_type(want, given);
    const veer_dim_binding_t *known = bound(dims, name);
    if (!known) return veer_dims_add(c, dims, name, size);
    if (known->value == size) return veer_ok();
    return veer_status_note(wrong_type(want, given), "'%s' is %lld already, by --dim or another input; %s has %lld",
                            name, (long long)known->value, veer_type_text(given, text), (long long)size);
}

static veer_status_t bind_tensor(veer_command_t *c, const veer_onnx_value_info_t *want, const veer_type_t *given,
                                 veer_dims_t *dims) {
    if ((want->dtype && want->dtype != given->dtype) || (want->rank >= 0 && want->rank != given->rank))
        return wrong_type(want, given);
    for (int axis = 0; axis < want->rank; axis++) VEER_TRY(bind_axis(c, want, axis, given->dims[axis], given, dims));
    return veer_ok();
}

static int64_t list_length(const char *list) {
    int64_t n = 1;
    for (; *list; list++) n += *list == ',';
    return n;
}

/* A list says something about an input of one dimension: its length, where that is more than one number to fill all. */
static veer_status_t bind_list(veer_command_t *c, const veer_onnx_value_info_t *want, const char *list, bool last,
                               veer_dims_t *dims) {
    int64_t length = list_length(list);
    if (want->rank != 1 || !want->dim_names[0] || veer_dims_binds(dims, want, 0)) return veer_ok();
    return length > 1 || last ? veer_dims_add(c, dims, want->dim_names[0], length) : veer_ok();
}

static veer_status_t bind_lists(veer_command_t *c, const veer_inputs_t *inputs, const veer_onnx_info_t *info, bool last,
                                veer_dims_t *dims) {
    for (int i = 0; i < info->input_count; i++) {
        const veer_input_t *input = veer_inputs_find(inputs, info->inputs[i].name);
        if (input && input->list) VEER_TRY(bind_list(c, &info->inputs[i], input->list, last, dims));
    }
    return veer_ok();
}

veer_status_t veer_inputs_bind_dims(veer_command_t *c, const veer_inputs_t *inputs, const veer_onnx_info_t *info,
                                    veer_dims_t *dims) {
    veer_status_t status = NULL;
    for (int i = 0; i < info->input_count; i++) {
        const veer_input_t *input = veer_inputs_find(inputs, info->inputs[i].name);
        if (input && input->tensor.data && !input->bind)
            status = veer_status_join(status, bind_tensor(c, &info->inputs[i], &input->tensor.type, dims));
    }
    VEER_TRY(status);
    VEER_TRY(bind_lists(c, inputs, info, false, dims));
    return bind_lists(c, inputs, info, true, dims);
}

/* ---- values ---- */

static veer_status_t bad_list(const veer_input_t *input, const veer_type_t *type, const char *what) {
    char text[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_CONFIG, "input '%s': '%s' %s %s", input->name, input->list, what,
                      veer_type_text(type, text));
}

static veer_status_t parse_list(const veer_input_t *input, const veer_type_t *type, char *data) {
    int64_t count = veer_type_count(type), length = list_length(input->list);
    size_t size = veer_dtype_size(type->dtype);
    if (length != count && length != 1) return bad_list(input, type, "has another number of entries than");
    const char *at = input->list;
    for (int64_t i = 0; i < length; i++) {
        size_t n = strcspn(at, ",");
        if (count && !veer_literal_parse_element(type->dtype, at, n, data + (size_t)i * size))
            return bad_list(input, type, "does not hold numbers for");
        at += n + 1;
    }
    for (int64_t i = 1; i < count && length == 1; i++) memcpy(data + (size_t)i * size, data, size);
    return veer_ok();
}

veer_status_t veer_input_make(veer_input_t *input, const veer_type_t *type, veer_allocator_t allocator) {
    char given[VEER_TYPE_TEXT_BYTES], want[VEER_TYPE_TEXT_BYTES];
    input->used = true;
    if (!input->list) {
        if (veer_type_equal(&input->tensor.type, type)) return veer_ok();
        return veer_error(VEER_ERR_CONFIG, "input '%s' is %s, expected %s", input->name,
                          veer_type_text(&input->tensor.type, given), veer_type_text(type, want));
    }
    char *data = veer_alloc(allocator, veer_type_bytes(type));
    if (!data) return veer_out_of_memory();
    veer_status_t status = parse_list(input, type, data);
    if (status)
        veer_free(allocator, data);
    else
        *input = (veer_input_t){.name = input->name, .tensor = {*type, data}, .used = true, .bind = input->bind};
    return status;
}

/* ---- made up ---- */

static void fill_random(const veer_tensor_t *t, uint32_t sample) {
    int64_t count = veer_type_count(&t->type);
    float block[4];
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) veer_noise_block(42, (uint32_t)(i / 4), sample, 0, VEER_STREAM_OTHER, block);
        switch (t->type.dtype) {
        case VEER_DTYPE_F32: ((float *)t->data)[i] = block[i % 4]; break;
        case VEER_DTYPE_F64: ((double *)t->data)[i] = block[i % 4]; break;
        case VEER_DTYPE_F16: ((uint16_t *)t->data)[i] = veer_half_from_double(block[i % 4]); break;
        case VEER_DTYPE_BF16: ((uint16_t *)t->data)[i] = veer_bfloat_from_double(block[i % 4]); break;
        default: /* little endian: one in every integer type */
            ((char *)t->data)[(size_t)i * veer_dtype_size(t->type.dtype)] = 1;
            break;
        }
    }
}

veer_status_t veer_inputs_add_random(veer_inputs_t *inputs, const char *name, const veer_type_t *type) {
    veer_input_t *items = veer_alloc_array(inputs->allocator, (size_t)inputs->count + 2, sizeof *items);
    void *data = veer_alloc(inputs->allocator, veer_type_bytes(type));
    if (!items || !data) {
        veer_free(inputs->allocator, items);
        veer_free(inputs->allocator, data);
        return veer_out_of_memory();
    }
    if (inputs->count) memcpy(items, inputs->items, (size_t)inputs->count * sizeof *items);
    veer_free(inputs->allocator, inputs->items);
    inputs->items = items;
    veer_input_t *input = &items[inputs->count++];
    *input = (veer_input_t){.name = name, .tensor = {*type, data}, .used = true};
    fill_random(&input->tensor, (uint32_t)inputs->count);
    return veer_ok();
}
