/* ONNX files by hand, right and wrong ones: messages are put together field by field.
 *
 *     bytes_t graph = {0}, model = {0};
 *     put_node(&graph, "Relu", "", "x", "y");          // inputs and outputs separated by blanks
 *     put_value(&graph, INPUT, "x", FLOAT, "2 n");     // dims: numbers and symbols
 *     put_value(&graph, OUTPUT, "y", FLOAT, "2 n");
 *     put_model(&model, &graph, 17);
 */
#ifndef VEER_TESTS_UNIT_ONNX_BYTES_H
#define VEER_TESTS_UNIT_ONNX_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT = 1, INT64 = 7, STRING = 8, BOOL = 9, DOUBLE = 11 };
enum { NODE = 1, INITIALIZER = 5, INPUT = 11, OUTPUT = 12 };

enum { BYTES_ROOM = 1 << 16 };
typedef struct bytes_s {
    size_t size;
    uint8_t data[BYTES_ROOM];
} bytes_t;

static inline void put_varint(bytes_t *m, uint64_t value) {
    for (; value > 127; value >>= 7) m->data[m->size++] = (uint8_t)(value | 128);
    m->data[m->size++] = (uint8_t)value;
}
static inline void put_int(bytes_t *m, int field, int64_t value) {
    put_varint(m, (uint64_t)field << 3);
    put_varint(m, (uint64_t)value);
}
static inline void put_bytes(bytes_t *m, int field, const void *data, size_t size) {
    put_varint(m, (uint64_t)field << 3 | 2);
    put_varint(m, size);
    memcpy(m->data + m->size, data, size);
    m->size += size;
}
static inline void put_text(bytes_t *m, int field, const char *text) {
    put_bytes(m, field, text, strlen(text));
}
static inline void put_message(bytes_t *m, int field, const bytes_t *inner) {
    put_bytes(m, field, inner->data, inner->size);
}

/* Calls put for every word. */
static inline void put_words(bytes_t *m, int field, const char *words) {
    for (const char *at = words; *at;) {
        size_t length = strcspn(at, " ");
        put_bytes(m, field, at, length);
        at += length + (at[length] == ' ');
    }
}

/* ---- attributes: put into a node with put_message(node, 5, ..) ---- */
static inline bytes_t int_attr(const char *name, int64_t value) {
    bytes_t a = {0};
    put_text(&a, 1, name);
    put_int(&a, 3, value);
    put_int(&a, 20, 2);
    return a;
}
/* "name=1", "name=1,2", "name=0.5f", "name=0.5f," (a list of one) or "name=text"; lists where the operator wants one.
 */
static inline bytes_t text_attr(const char *at, size_t length) {
    static const char *const lists[] = {"axes",         "starts",       "ends",   "strides",
                                        "kernel_shape", "output_shape", "scales", "pooled_shape",
                                        "pads",         "dilations",    "perm",   "output_padding"};
    bytes_t a = {0};
    size_t name = strcspn(at, "=");
    const char *value = at + name + 1, *end = at + length;
    bool number = *value == '-' || (*value >= '0' && *value <= '9'),
         real = number && memchr(value, 'f', (size_t)(end - value));
    bool list = false;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list |= strlen(lists[i]) == name && !strncmp(at, lists[i], name);
    put_bytes(&a, 1, at, name);
    bool texts = name == strlen("activations") && !strncmp(at, "activations", name);
    if (!number) put_bytes(&a, texts ? 9 : 4, value, (size_t)(end - value));
    for (char *next; number && value < end; value = next + strspn(next, "f,")) {
        float f = strtof(value, &next);
        if (!real) put_int(&a, list ? 8 : 3, (int64_t)f);
        if (real) {
            put_varint(&a, (list ? 7u : 2u) << 3 | 5);
            memcpy(a.data + a.size, &f, 4);
            a.size += 4;
        }
    }
    put_int(&a, 20, texts ? 8 : !number ? 3 : real ? (list ? 6 : 1) : list ? 7 : 2);
    return a;
}
static inline bytes_t graph_attr(const char *name, const bytes_t *graph) {
    bytes_t a = {0};
    put_text(&a, 1, name);
    put_message(&a, 6, graph);
    put_int(&a, 20, 5);
    return a;
}

/* ---- nodes, values, tensors ---- */
static inline bytes_t node(const char *type, const char *name, const char *in, const char *out) {
    bytes_t n = {0};
    put_words(&n, 1, in);
    put_words(&n, 2, out);
    put_text(&n, 3, name);
    put_text(&n, 4, type);
    return n;
}
static inline void put_node(bytes_t *graph, const char *type, const char *name, const char *in, const char *out) {
    bytes_t n = node(type, name, in, out);
    put_message(graph, NODE, &n);
}

static inline void put_value(bytes_t *graph, int field, const char *name, int type, const char *dims) {
    bytes_t shape = {0}, tensor = {0}, of = {0}, value = {0};
    for (const char *at = dims; *at;) {
        bytes_t dim = {0};
        size_t length = strcspn(at, " ");
        char *end;
        long number = strtol(at, &end, 10);
        if (end == at)
            put_bytes(&dim, 2, at, length);
        else
            put_int(&dim, 1, number);
        put_message(&shape, 1, &dim);
        at += length + (at[length] == ' ');
    }
    put_int(&tensor, 1, type);
    put_message(&tensor, 2, &shape);
    put_message(&of, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &of);
    put_message(graph, field, &value);
}

/* data NULL: no raw_data at all. */
static inline bytes_t tensor(const char *name, int type, int rank, const int64_t *dims, const void *data, size_t size) {
    bytes_t t = {0};
    for (int i = 0; i < rank; i++) put_int(&t, 1, dims[i]);
    put_int(&t, 2, type);
    put_text(&t, 8, name);
    if (data) put_bytes(&t, 9, data, size);
    return t;
}
static inline void put_external(bytes_t *t, const char *key, const char *value) {
    bytes_t entry = {0};
    put_text(&entry, 1, key);
    put_text(&entry, 2, value);
    put_message(t, 13, &entry);
}

static inline void put_model(bytes_t *model, const bytes_t *graph, int opset) {
    bytes_t id = {0};
    put_int(&id, 2, opset);
    put_int(model, 1, 8);
    put_message(model, 7, graph);
    put_message(model, 8, &id);
}

#endif
