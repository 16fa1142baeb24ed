/* ONNX models: inspected, imported, taken through everything that graphs stand, exported and imported again. */
#include "backends/reference/reference.h"
#include "frontend/onnx_export.h"
#include "frontend/onnx_import.h"
#include "frontend/onnx_wire.h"
#include "ir/verify.h"
#include "tests/fuzz/fuzz.h"

#include <onnx.pb-c.h>
#include <string.h>
#include <unistd.h>

static const veer_onnx_options_t options = {
    .dims = (veer_dim_binding_t[]){{"batch", 2}, {"n", 3}}, .dim_count = 2, .eval = veer_reference_node};
static const veer_limits_t limits = {.max_nodes = 20000, .max_constant_bytes = 32 << 20, .max_message_bytes = 32 << 20};

static void inspect(const uint8_t *bytes, size_t size_bytes, veer_allocator_t allocator) {
    veer_onnx_info_t info;
    if (fuzz_ok(veer_onnx_inspect_memory(allocator, bytes, size_bytes, &limits, &info))) veer_onnx_info_deinit(&info);
}

static bool new_graph(veer_allocator_t allocator, veer_graph_t **out) {
    if (!fuzz_must(veer_graph_create(allocator, out), "a new graph")) return false;
    veer_graph_set_limits(*out, &limits);
    return true;
}

/* What can be exported can be imported again. */
static void export_import(veer_graph_t *g, veer_func_t f, veer_allocator_t allocator) {
    char path[64];
    veer_graph_t *again = NULL;
    veer_func_t func;
    snprintf(path, sizeof path, "/tmp/veer-fuzz-%d.onnx", (int)getpid());
    if (fuzz_ok(veer_onnx_export(g, f, path, NULL)) && fuzz_must(veer_graph_create(allocator, &again), "a new graph") &&
        fuzz_must(veer_onnx_import(again, path, "f", &options, &func), "import what was exported"))
        fuzz_must(veer_verify(again), "verify what was exported");
    veer_graph_destroy(again);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    fuzz_memory_t memory = {.limit_bytes = 64 << 20};
    veer_allocator_t allocator = fuzz_allocator(&memory);
    veer_graph_t *g = NULL;
    veer_func_t f;
    inspect(bytes, size_bytes, allocator);
    if (new_graph(allocator, &g) && fuzz_ok(veer_onnx_import_memory(g, bytes, size_bytes, "f", &options, &f)) &&
        fuzz_must(veer_verify(g), "verify")) {
        export_import(g, f, allocator);
        fuzz_graph(g, allocator);
    }
    veer_graph_destroy(g);
    FUZZ_CHECK(memory.live_bytes == 0, "%zu bytes are left", memory.live_bytes);
    return 0;
}

/* ---- mutations of the messages' fields ---- */

enum { MOST_FIELDS = 4096, ROOM = 1 << 20 };

typedef struct field_s {
    size_t start, payload, end; /* offsets in the file */
    int parent;                 /* the field of the message it stands in; -1: the model */
    ProtobufCWireType wire;
    const ProtobufCFieldDescriptor *known; /* may be NULL */
} field_t;

typedef struct model_s {
    const uint8_t *bytes;
    field_t fields[MOST_FIELDS];
    int count;
} model_t;

static void collect(model_t *m, veer_wire_t wire, const ProtobufCMessageDescriptor *message, int parent, int depth) {
    veer_wire_field_t f;
    while (m->count < MOST_FIELDS && veer_wire_next(&wire, &f)) {
        const ProtobufCFieldDescriptor *known = protobuf_c_message_descriptor_get_field(message, f.number);
        int i = m->count++;
        m->fields[i] = (field_t){.start = (size_t)(f.start - m->bytes),
                                 .payload = (size_t)(f.bytes - m->bytes),
                                 .end = (size_t)(f.bytes - m->bytes) + f.size_bytes,
                                 .parent = parent,
                                 .wire = f.type,
                                 .known = known};
        if (known && known->type == PROTOBUF_C_TYPE_MESSAGE && f.type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
            depth < 20)
            collect(m, veer_wire(f.bytes, f.size_bytes), known->descriptor, i, depth + 1);
    }
}

static size_t write_varint(uint8_t *out, uint64_t value) {
    size_t n = 0;
    for (; value > 127; value >>= 7) out[n++] = (uint8_t)(value | 128);
    out[n++] = (uint8_t)value;
    return n;
}

/* Tag, length where the wire type has one, payload. */
static size_t write_field(uint8_t *out, uint64_t tag, const uint8_t *payload, size_t size_bytes) {
    size_t n = write_varint(out, tag);
    if ((tag & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) n += write_varint(out + n, size_bytes);
    memcpy(out + n, payload, size_bytes);
    return n + size_bytes;
}

static uint64_t tag_of(const model_t *m, const field_t *f) {
    uint64_t tag = 0;
    for (size_t at = f->start, shift = 0; shift < 35; shift += 7, at++) {
        tag |= (uint64_t)(m->bytes[at] & 127) << shift;
        if (m->bytes[at] < 128) break;
    }
    return tag;
}

/* The model with [from, to) of field i's message replaced: lengths of all messages around it are set anew. The result
 * is in `out`; 0 where it does not fit. */
static size_t splice(const model_t *m, size_t size, int parent, size_t from, size_t to, const uint8_t *by,
                     size_t length, uint8_t *out) {
    static uint8_t a[ROOM], b[ROOM];
    if (length > ROOM / 2 || size > ROOM / 4) return 0;
    memcpy(a, by, length);
    while (parent >= 0) {
        const field_t *p = &m->fields[parent];
        size_t before = from - p->payload, after = p->end - to;
        memmove(a + before, a, length);
        memcpy(a, m->bytes + p->payload, before);
        memcpy(a + before + length, m->bytes + to, after);
        length = write_field(b, tag_of(m, p), a, before + length + after);
        memcpy(a, b, length);
        from = p->start, to = p->end, parent = p->parent;
    }
    memcpy(out, m->bytes, from);
    memcpy(out + from, a, length);
    memcpy(out + from + length, m->bytes + to, size - to);
    return from + length + size - to;
}

/* A new payload for a field; gives its size. */
static size_t new_payload(const model_t *m, const field_t *f, uint8_t *out, fuzz_random_t *r) {
    size_t size = f->end - f->payload < ROOM / 4 ? f->end - f->payload : ROOM / 4, n = 0;
    ProtobufCType type = f->known ? f->known->type : PROTOBUF_C_TYPE_BYTES;
    if (f->wire == PROTOBUF_C_WIRE_TYPE_VARINT) return write_varint(out, (uint64_t)fuzz_number(r));
    memcpy(out, m->bytes + f->payload, size);
    if (f->wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
        if (f->known && !strcmp(f->known->name, "op_type"))
            return (size_t)snprintf((char *)out, 64, "%s",
                                    veer_onnx_op_info((int)fuzz_below(r, (size_t)veer_onnx_op_count())).op_type);
        if (type == PROTOBUF_C_TYPE_INT64 || type == PROTOBUF_C_TYPE_INT32) {
            for (size_t count = fuzz_below(r, 6); count--;) n += write_varint(out + n, (uint64_t)fuzz_number(r));
            return n;
        }
        const field_t *other = &m->fields[fuzz_below(r, (size_t)m->count)];
        if (other->known && other->known->type == type && fuzz_below(r, 3) && other->end - other->payload < ROOM / 4) {
            memcpy(out, m->bytes + other->payload, other->end - other->payload);
            return other->end - other->payload;
        }
        return LLVMFuzzerMutate(out, size, size + 64);
    }
    static const float floats[] = {
        0, -0.0f, 1, -1, 1e30f, -1e30f, 1e-30f, (float)(__builtin_inf()), (float)__builtin_nan(""), 0.5f};
    if (size == 4) memcpy(out, &floats[fuzz_below(r, sizeof floats / sizeof *floats)], 4);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t capacity, unsigned seed) {
    static model_t m;
    static uint8_t field[ROOM], payload[ROOM], out[ROOM];
    fuzz_random_t r = {seed * UINT64_C(2654435761) + 1};
    for (size_t rounds = 1 + fuzz_below(&r, 3); rounds--;) {
        m.bytes = bytes, m.count = 0;
        collect(&m, veer_wire(bytes, size), &veer_onnx__model_proto__descriptor, -1, 0);
        if (!m.count || fuzz_below(&r, 16) == 0) return LLVMFuzzerMutate(bytes, size, capacity);
        const field_t *f = &m.fields[fuzz_below(&r, (size_t)m.count)], *g = &m.fields[fuzz_below(&r, (size_t)m.count)];
        if (f->end - f->start > ROOM / 4) return size;
        size_t length = 0, from = f->start, to = f->end;
        bool message = f->known && f->known->type == PROTOBUF_C_TYPE_MESSAGE;
        switch (fuzz_below(&r, message ? 4 : 8)) {
        case 0: break; /* it goes */
        case 1:
            from = to, length = f->end - f->start;
            memcpy(field, bytes + f->start, length);
            break; /* it stands twice */
        case 2:    /* a field of another message of that type */
            for (int tries = 50;
                 tries-- && (f->parent < 0 || g->parent < 0 || !m.fields[g->parent].known ||
                             m.fields[g->parent].known->descriptor != m.fields[f->parent].known->descriptor);)
                g = &m.fields[fuzz_below(&r, (size_t)m.count)];
            if (g->end - g->start > ROOM / 4) return size;
            length = g->end - g->start;
            memcpy(field, bytes + g->start, length);
            break;
        default: length = write_field(field, tag_of(&m, f), payload, new_payload(&m, f, payload, &r));
        }
        size_t now = splice(&m, size, f->parent, from, to, field, length, out);
        if (!now || now > capacity) return size;
        memcpy(bytes, out, now);
        size = now;
    }
    return size;
}
