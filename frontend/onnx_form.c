#include "frontend/onnx_form.h"

#include "frontend/onnx_file.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NUMBERS = 512, MAX_COUNT = 1 << 16 };

/* ---- operands ---- */

/* splitmix64, in [0, 1) */
static double draw_unit(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static double draw(char kind, double limit, int64_t i, int64_t count, uint64_t *state) {
    double u = draw_unit(state), magnitude = 0.1 + 1.9 * u;
    switch (kind) {
    case 'p': return 0.3 + 2 * u;
    case 'u': return 1.8 * u - 0.9;
    case 'g': return 1.2 + 1.8 * u;
    case 'd': return (double)(i - count / 2) / 16 + 0.01; /* shuffled afterwards */
    case 'b': return u < 0.5;
    case 'i': return floor(u * limit);
    case 'o': return floor(u * 256);
    case 'e': return floor(u * 120); /* bits of finite numbers */
    case 'w': return floor(u * 16) - 8;
    default: return draw_unit(state) < 0.5 ? magnitude : -magnitude;
    }
}

static void store(const veer_tensor_t *t, int64_t i, double value) {
    switch (t->type.dtype) {
    case VEER_DTYPE_F32: ((float *)t->data)[i] = (float)value; break;
    case VEER_DTYPE_F64: ((double *)t->data)[i] = value; break;
    case VEER_DTYPE_I64: ((int64_t *)t->data)[i] = (int64_t)value; break;
    default: ((uint8_t *)t->data)[i] = (uint8_t)value; break;
    }
}

static void shuffle(const veer_tensor_t *t, uint64_t *state) {
    size_t size = veer_dtype_size(t->type.dtype);
    char *bytes = t->data, kept[8];
    for (int64_t i = veer_type_count(&t->type) - 1; i > 0; i--) {
        int64_t j = (int64_t)(draw_unit(state) * (double)(i + 1));
        memcpy(kept, bytes + (size_t)i * size, size);
        memcpy(bytes + (size_t)i * size, bytes + (size_t)j * size, size);
        memcpy(bytes + (size_t)j * size, kept, size);
    }
}

static veer_status_t bad_operand(const char *text) {
    return veer_error(VEER_ERR_CONFIG, "operand '%.*s' says nothing", (int)strcspn(text, " "), text);
}

static bool read_numbers(const char *text, double out[MAX_NUMBERS], int *count) {
    *count = 0;
    for (char *end; *text && *text != ' '; text = *end == ',' ? end + 1 : end) {
        if (*count == MAX_NUMBERS) return false;
        out[(*count)++] = strtod(text, &end);
        if (end == text) return false;
    }
    return *count > 0;
}

static veer_dtype_t dtype_of(char kind, veer_dtype_t real) {
    if (strchr("lsi", kind)) return VEER_DTYPE_I64;
    if (strchr("bt", kind)) return VEER_DTYPE_BOOL;
    if (kind == 'e') return VEER_DTYPE_F8E4M3FN;
    if (kind == 'w') return VEER_DTYPE_I4;
    return strchr("oz", kind) ? VEER_DTYPE_U8 : real;
}

static veer_status_t read_operand(const char *text, veer_dtype_t real, uint64_t *state, veer_arena_t *arena,
                                  veer_onnx_form_operand_t *out) {
    double numbers[MAX_NUMBERS];
    int count;
    bool marked = *text == '!', captured = *text == '&';
    text += marked || captured;
    char kind = *text;
    *out = (veer_onnx_form_operand_t){
        .kind = kind, .is_input = marked || captured || (kind && strchr("xpugd", kind)), .is_captured = captured};
    if (kind == '_') return veer_ok();
    const char *colon = text + strcspn(text, ": ");
    if (*colon != ':' || !kind || !strchr("xpugdcioewbfltnsz", kind) || !read_numbers(colon + 1, numbers, &count))
        return bad_operand(text);
    int64_t number = strtol(text + 1, NULL, 10), dims[VEER_MAX_RANK] = {count};
    bool is_values = strchr("fltnsz", kind), scalar = strchr("nsz", kind);
    int rank = is_values ? !scalar : count;
    if (rank > VEER_MAX_RANK) return bad_operand(text);
    if (is_values && number > 0) dims[0] = count / number, dims[1] = number, rank = 2;
    for (int i = 0; i < count && !is_values; i++) dims[i] = (int64_t)numbers[i];
    out->tensor.type = veer_type_make(dtype_of(kind, real), rank, dims);
    VEER_TRY(veer_type_check(&out->tensor.type));
    int64_t total = veer_type_count(&out->tensor.type);
    if (total > MAX_COUNT) return bad_operand(text);
    out->tensor.data = veer_arena_alloc(arena, veer_type_bytes(&out->tensor.type) + 1);
    if (!out->tensor.data) return veer_out_of_memory();
    for (int64_t i = 0; i < total; i++)
        store(&out->tensor, i, is_values ? numbers[i] : draw(kind, (double)number, i, total, state));
    if (kind == 'd') shuffle(&out->tensor, state);
    return veer_ok();
}

veer_status_t veer_onnx_form_operands(const veer_onnx_form_t *form, veer_dtype_t real, uint64_t seed,
                                      veer_arena_t *arena, veer_onnx_form_operand_t out[VEER_ONNX_FORM_OPERANDS],
                                      int *out_count) {
    *out_count = 0;
    for (const char *at = form->operands; *at;) {
        if (*out_count == VEER_ONNX_FORM_OPERANDS) return bad_operand(at);
        VEER_TRY(read_operand(at, real, &seed, arena, &out[(*out_count)++]));
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    return veer_ok();
}

/* ---- protobuf, field by field ---- */

static void put_varint(veer_text_t *m, uint64_t value) {
    char byte;
    for (; value > 127; value >>= 7) byte = (char)(value | 128), veer_text_add_bytes(m, &byte, 1);
    byte = (char)value;
    veer_text_add_bytes(m, &byte, 1);
}
static void put_int(veer_text_t *m, unsigned field, int64_t value) {
    put_varint(m, field << 3);
    put_varint(m, (uint64_t)value);
}
static void put_bytes(veer_text_t *m, unsigned field, const void *data, size_t size) {
    put_varint(m, field << 3 | 2);
    put_varint(m, size);
    if (size) veer_text_add_bytes(m, data, size);
}
static void put_text(veer_text_t *m, unsigned field, const char *text) {
    put_bytes(m, field, text, strlen(text));
}
/* Takes the inner message. */
static void put_message(veer_text_t *m, unsigned field, veer_text_t *take_inner) {
    m->failed |= take_inner->failed;
    put_bytes(m, field, take_inner->data, take_inner->length);
    veer_text_deinit(take_inner);
}

/* ---- attributes: AttributeProto ---- */
enum {
    NAME = 1,
    FLOAT_VALUE = 2,
    INT_VALUE = 3,
    TEXT_VALUE = 4,
    GRAPH = 6,
    FLOATS = 7,
    INTS = 8,
    TEXTS = 9,
    TYPE = 20
};
enum { IS_FLOAT = 1, IS_INT = 2, IS_TEXT = 3, IS_GRAPH = 5, IS_FLOATS = 6, IS_INTS = 7, IS_TEXTS = 8 };
/* Fields of a GraphProto and of a NodeProto. */
enum { NODE = 1, INITIALIZER = 5, INPUT = 11, OUTPUT = 12, NODE_IN = 1, NODE_OUT = 2, NODE_TYPE = 4 };

static bool is_list(const char *name, size_t length) {
    static const char *const lists[] = {
        "axes",   "starts", "ends", "strides",        "kernel_shape", "output_shape", "dilations",     "pooled_shape",
        "scales", "pads",   "perm", "output_padding", "shape",        "ngram_counts", "ngram_indexes", "pool_int64s"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (strlen(lists[i]) == length && !strncmp(lists[i], name, length)) return true;
    return false;
}

static void put_float(veer_text_t *m, unsigned field, float value) {
    put_varint(m, field << 3 | 5);
    veer_text_add_bytes(m, (const char *)&value, sizeof value); /* little-endian, as is everything here */
}

/* a,b,c: each as text, or (as_value) as a ValueInfoProto that says its name. */
static void put_names(veer_text_t *m, unsigned field, const char *at, const char *end, bool as_value) {
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma ? comma : end;
        veer_text_t value = veer_text_make(m->allocator);
        put_bytes(as_value ? &value : m, as_value ? 1 : field, at, (size_t)(stop - at));
        if (as_value) put_message(m, field, &value);
        at = stop + 1;
    }
}

static const char *find(const char *at, const char *end, char c) {
    const char *found = memchr(at, c, (size_t)(end - at));
    return found ? found : end;
}

/* Op:in,in>out */
static void put_plain_node(veer_text_t *graph, const char *at, const char *end) {
    veer_text_t node = veer_text_make(graph->allocator);
    const char *colon = find(at, end, ':'), *arrow = find(colon, end, '>');
    if (colon < end) put_names(&node, NODE_IN, colon + 1, arrow, false);
    if (arrow < end) put_names(&node, NODE_OUT, arrow + 1, end, false);
    put_bytes(&node, NODE_TYPE, at, (size_t)(colon - at));
    put_message(graph, NODE, &node);
}

/* {in,in>out,out|node|node} */
static void put_graph(veer_text_t *attr, const char *at, const char *end) {
    veer_text_t graph = veer_text_make(attr->allocator);
    const char *bar = find(at, end, '|'), *arrow = find(at, bar, '>');
    put_names(&graph, INPUT, at, arrow, true);
    if (arrow < bar) put_names(&graph, OUTPUT, arrow + 1, bar, true);
    for (; bar < end; bar = find(bar + 1, end, '|')) put_plain_node(&graph, bar + 1, find(bar + 1, end, '|'));
    put_message(attr, GRAPH, &graph);
}

static void put_attr(veer_text_t *node, const char *at, size_t length) {
    veer_text_t a = veer_text_make(node->allocator);
    size_t name = strcspn(at, "=");
    const char *value = at + name + 1, *end = at + length;
    bool number = *value == '-' || isdigit((unsigned char)*value), list = is_list(at, name);
    bool real = number && memchr(value, 'f', (size_t)(end - value));
    bool nested = *value == '{', texts = !strncmp(at, "xs=", 3) || !strncmp(at, "zs=", 3);
    put_bytes(&a, NAME, at, name);
    if (nested)
        put_graph(&a, value + 1, end - 1);
    else if (texts)
        put_names(&a, TEXTS, value, end, false);
    else if (!number)
        put_bytes(&a, TEXT_VALUE, value, (size_t)(end - value));
    for (char *next; number && value < end; value = next + strspn(next, "f,")) {
        double x = strtod(value, &next);
        if (next == value) break;
        if (real)
            put_float(&a, list ? FLOATS : FLOAT_VALUE, (float)x);
        else
            put_int(&a, list ? INTS : INT_VALUE, (int64_t)x);
    }
    put_int(&a, TYPE,
            nested    ? IS_GRAPH
            : texts   ? IS_TEXTS
            : !number ? IS_TEXT
            : real    ? (list ? IS_FLOATS : IS_FLOAT)
            : list    ? IS_INTS
                      : IS_INT);
    put_message(node, 5, &a);
}

/* ---- the model ---- */

/* ValueInfoProto; type NULL: the shape is left out. */
static void put_value(veer_text_t *graph, unsigned field, const char *name, veer_dtype_t dtype,
                      const veer_type_t *type) {
    veer_allocator_t a = graph->allocator;
    veer_text_t shape = veer_text_make(a), tensor = veer_text_make(a), of = veer_text_make(a),
                value = veer_text_make(a);
    for (int i = 0; type && i < type->rank; i++) {
        veer_text_t dim = veer_text_make(a);
        put_int(&dim, 1, type->dims[i]);
        put_message(&shape, 1, &dim);
    }
    put_int(&tensor, 1, veer_onnx_data_type_of(dtype));
    if (type)
        put_message(&tensor, 2, &shape);
    else
        veer_text_deinit(&shape);
    put_message(&of, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &of);
    put_message(graph, field, &value);
}

static void put_operand(veer_text_t *graph, const veer_onnx_form_operand_t *o, const char *name) {
    const veer_type_t *type = &o->tensor.type;
    if (o->is_input) {
        put_value(graph, INPUT, name, type->dtype, type);
        return;
    }
    veer_text_t t = veer_text_make(graph->allocator);
    for (int i = 0; i < type->rank; i++) put_int(&t, 1, type->dims[i]);
    put_int(&t, 2, veer_onnx_data_type_of(type->dtype));
    put_text(&t, 8, name);
    put_bytes(&t, 9, o->tensor.data, veer_type_bytes(type));
    put_message(graph, INITIALIZER, &t);
}

static void put_node(veer_text_t *graph, const veer_onnx_form_t *form, const veer_onnx_form_operand_t *operands,
                     int count) {
    veer_text_t node = veer_text_make(graph->allocator);
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        if (!operands[i].is_captured) put_text(&node, NODE_IN, operands[i].kind == '_' ? "" : name);
        if (operands[i].kind != '_') put_operand(graph, &operands[i], name);
    }
    put_text(&node, NODE_OUT, "y");
    put_text(&node, NODE_TYPE, form->op_type);
    if (form->domain) put_text(&node, 7, form->domain);
    for (const char *at = form->attrs; *at;) {
        size_t length = strcspn(at, " ");
        if (*at == '|')
            put_plain_node(graph, at + 1, at + length);
        else
            put_attr(&node, at, length);
        at += length + (at[length] == ' ');
    }
    put_message(graph, NODE, &node);
}

static void put_opset(veer_text_t *model, const char *domain, int version) {
    veer_text_t opset = veer_text_make(model->allocator);
    if (domain) put_text(&opset, 1, domain);
    put_int(&opset, 2, version);
    put_message(model, 8, &opset);
}

veer_status_t veer_onnx_form_write(const veer_onnx_form_t *form, const veer_onnx_form_operand_t *operands, int count,
                                   veer_text_t *out_bytes) {
    enum { OTHER_NODES_OPSET = 21 };
    veer_text_t graph = veer_text_make(out_bytes->allocator);
    put_node(&graph, form, operands, count);
    put_value(&graph, OUTPUT, "y", VEER_DTYPE_F32, NULL);
    put_int(out_bytes, 1, 8);
    put_message(out_bytes, 7, &graph);
    put_opset(out_bytes, form->domain, form->opset);
    if (form->domain) put_opset(out_bytes, NULL, OTHER_NODES_OPSET);
    return out_bytes->failed ? veer_out_of_memory() : veer_ok();
}
