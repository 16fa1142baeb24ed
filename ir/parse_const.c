/* Constants: f32[2] [1, 2] · f32[] 0.5 · f32[64] splat 0.5 · f32[64] base64 "..." · f32[64] @"file"+offset #hash. */
#include "ir/literal.h"
#include "ir/parse_internal.h"
#include "ir/print.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static veer_status_t parse_element(veer_parser_t *p, veer_dtype_t dtype, void *out) {
    const veer_token_t *t = &p->lex.token;
    bool word = t->kind == VEER_TOKEN_NUMBER || t->kind == VEER_TOKEN_WORD;
    if (!word) return veer_parse_expected(p, "a number");
    if (!veer_literal_parse_element(dtype, t->text, t->length, out))
        return veer_lexer_error(&p->lex, t, "no number of dtype %s", veer_dtype_name(dtype));
    veer_lexer_next(&p->lex);
    return veer_ok();
}

static veer_status_t copy_bytes(veer_parser_t *p, veer_builder_t *b, const veer_type_t *type, const veer_token_t *at,
                                const void *bytes, veer_value_t *out) {
    *out = veer_const(b, *type, bytes);
    return veer_lexer_locate(&p->lex, at, veer_builder_status(b));
}

static veer_status_t parse_elements(veer_parser_t *p, veer_builder_t *b, const veer_type_t *type, veer_value_t *out) {
    veer_token_t start = p->lex.token;
    int count = 0, capacity = 0;
    void *bytes = NULL;
    size_t size_bytes = veer_dtype_size(type->dtype);
    if (!veer_lexer_is(&p->lex, '[')) { /* a bare number */
        VEER_TRY(veer_parse_grow(p, &bytes, 0, &capacity, size_bytes));
        VEER_TRY(parse_element(p, type->dtype, bytes));
        count = 1;
    } else {
        veer_lexer_next(&p->lex);
        while (!veer_parse_accept(p, ']')) {
            if (count) VEER_TRY(veer_parse_punct(p, ','));
            VEER_TRY(veer_parse_grow(p, &bytes, count, &capacity, size_bytes));
            VEER_TRY(parse_element(p, type->dtype, (char *)bytes + (size_t)count * size_bytes));
            count++;
        }
        if (!bytes) VEER_TRY(veer_parse_grow(p, &bytes, 0, &capacity, size_bytes));
    }
    if (count != veer_type_count(type))
        return veer_lexer_error(&p->lex, &start, "%d elements, expected %" PRId64, count, veer_type_count(type));
    return copy_bytes(p, b, type, &start, bytes, out);
}

/* Constants of the graph itself are zeroed memory already: only the elements are to be written. */
static veer_status_t parse_splat(veer_parser_t *p, veer_builder_t *b, const veer_type_t *type, veer_value_t *out) {
    veer_token_t start = p->lex.token;
    char element[8] = {0};
    size_t size_bytes = veer_type_bytes(type), step = veer_dtype_size(type->dtype);
    veer_lexer_next(&p->lex);
    VEER_TRY(parse_element(p, type->dtype, element));
    p->splat_bytes += size_bytes; /* cannot overflow: each is at most VEER_MAX_TENSOR_BYTES, and the sum is checked */
    VEER_TRY(veer_lexer_locate(
        &p->lex, &start,
        veer_limit_check(veer_graph_limits(p->g), VEER_LIMIT_MAX_CONSTANT_BYTES, (int64_t)p->splat_bytes)));
    char *bytes = veer_arena_alloc(veer_graph_arena(p->g), size_bytes);
    if (!bytes) return veer_out_of_memory();
    for (size_t i = 0; i < size_bytes; i += step) memcpy(bytes + i, element, step);
    *out = veer_const_view(b, *type, bytes, NULL);
    return veer_lexer_locate(&p->lex, &start, veer_builder_status(b));
}

/* ---- base64 ---- */

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Exactly size_bytes, with padding; false for anything else. */
static bool decode_base64(const char *text, size_t length, unsigned char *out, size_t size_bytes) {
    if (length != (size_bytes + 2) / 3 * 4) return false;
    for (size_t i = 0; i < size_bytes; i += 3, text += 4) {
        size_t left = size_bytes - i;
        int d[4] = {base64_digit(text[0]), base64_digit(text[1]), left > 1 ? base64_digit(text[2]) : 0,
                    left > 2 ? base64_digit(text[3]) : 0};
        if (d[0] < 0 || d[1] < 0 || d[2] < 0 || d[3] < 0) return false;
        if ((left < 2 && text[2] != '=') || (left < 3 && text[3] != '=')) return false;
        unsigned v = (unsigned)d[0] << 18 | (unsigned)d[1] << 12 | (unsigned)d[2] << 6 | (unsigned)d[3];
        out[i] = (unsigned char)(v >> 16);
        if (left > 1) out[i + 1] = (unsigned char)(v >> 8);
        if (left > 2) out[i + 2] = (unsigned char)v;
    }
    return true;
}

/* Kernels rely on a bool being 0 or 1. */
static veer_status_t check_bools(veer_parser_t *p, const veer_token_t *at, const veer_type_t *type, const void *bytes) {
    const unsigned char *b = bytes;
    for (int64_t i = 0; type->dtype == VEER_DTYPE_BOOL && i < veer_type_count(type); i++)
        if (b[i] > 1) return veer_lexer_error(&p->lex, at, "byte %" PRId64 " of a bool constant is %d", i, b[i]);
    return veer_ok();
}

static veer_status_t parse_base64(veer_parser_t *p, veer_builder_t *b, const veer_type_t *type, veer_value_t *out) {
    veer_lexer_next(&p->lex);
    veer_token_t t = p->lex.token;
    if (t.kind != VEER_TOKEN_STRING) return veer_parse_expected(p, "a string");
    size_t size_bytes = veer_type_bytes(type);
    if (size_bytes > t.length) /* before memory is asked for */
        return veer_lexer_error(&p->lex, &t, "%zu characters for a constant of %zu bytes", t.length - 2, size_bytes);
    unsigned char *bytes = veer_arena_alloc(veer_graph_arena(p->g), size_bytes);
    if (!bytes) return veer_out_of_memory();
    if (!decode_base64(t.text + 1, t.length - 2, bytes, size_bytes))
        return veer_lexer_error(&p->lex, &t, "no base64 of %zu bytes", size_bytes);
    VEER_TRY(check_bools(p, &t, type, bytes));
    *out = veer_const_view(b, *type, bytes, NULL);
    veer_lexer_next(&p->lex);
    return veer_lexer_locate(&p->lex, &t, veer_builder_status(b));
}

/* ---- files ---- */

typedef struct mapping_s {
    void *bytes;
    size_t size_bytes;
    veer_allocator_t allocator;
} mapping_t;

static void unmap(void *object) {
    mapping_t *m = object;
    if (m->bytes) munmap(m->bytes, m->size_bytes);
    veer_free(m->allocator, m);
}

static veer_status_t map_descriptor(int fd, mapping_t *m) {
    struct stat info;
    if (fstat(fd, &info)) return veer_error(VEER_ERR_FILE, "%s", strerror(errno));
    if (!S_ISREG(info.st_mode)) return veer_error(VEER_ERR_FILE, "not a regular file");
    m->size_bytes = (size_t)info.st_size;
    if (!m->size_bytes) return veer_ok();
    void *bytes = mmap(NULL, m->size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return veer_error(VEER_ERR_FILE, "%s", strerror(errno));
    m->bytes = bytes;
    return veer_ok();
}

/* Mapped until the graph goes. O_NONBLOCK: a pipe must not make us wait before we see that it is one. */
static veer_status_t map_file(veer_graph_t *g, const char *path, mapping_t **out) {
    veer_allocator_t allocator = veer_graph_allocator(g);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return veer_error(VEER_ERR_FILE, "%s: %s", path, strerror(errno));
    mapping_t *m = veer_alloc(allocator, sizeof *m);
    veer_status_t status = m ? veer_status_where(map_descriptor(fd, m), "%s", path) : veer_out_of_memory();
    close(fd);
    if (m) m->allocator = allocator;
    if (!status) status = veer_graph_on_destroy(g, unmap, m);
    if (status && m) unmap(m);
    if (!status) *out = m;
    return status;
}

static veer_status_t find_file(veer_parser_t *p, const char *path, const veer_mapped_file_t **out) {
    for (*out = p->files; *out; *out = (*out)->next)
        if (!strcmp((*out)->path, path)) return veer_ok();
    mapping_t *m = NULL;
    veer_mapped_file_t *file = veer_arena_alloc(&p->scratch, sizeof *file);
    char *copy = veer_arena_strdup(veer_graph_arena(p->g), path); /* constants keep it */
    if (!file || !copy) return veer_out_of_memory();
    VEER_TRY(map_file(p->g, path, &m));
    *file = (veer_mapped_file_t){p->files, copy, m->bytes, m->size_bytes};
    *out = p->files = file;
    return veer_ok();
}

static veer_status_t view_file(veer_parser_t *p, veer_builder_t *b, const veer_type_t *type, const char *path,
                               int64_t offset, uint64_t hash, veer_value_t *out) {
    const veer_mapped_file_t *file;
    VEER_TRY(find_file(p, path, &file));
    size_t size_bytes = veer_type_bytes(type);
    if (offset < 0 || (uint64_t)offset > file->size_bytes || size_bytes > file->size_bytes - (size_t)offset)
        return veer_error(VEER_ERR_FILE, "%s holds %zu bytes, expected %zu at offset %" PRId64, path, file->size_bytes,
                          size_bytes, offset);
    const void *bytes = file->bytes ? (const char *)file->bytes + offset : "";
    if (veer_literal_hash(bytes, size_bytes) != hash)
        return veer_error(VEER_ERR_MISMATCH, "%s: the %zu bytes at offset %" PRId64 " hash to #%016" PRIx64, path,
                          size_bytes, offset, veer_literal_hash(bytes, size_bytes));
    /* Kernels read whole elements: what does not lie as they need it is copied, and still remembers its source. */
    if ((uintptr_t)bytes % veer_dtype_size(type->dtype)) {
        bytes = veer_arena_copy(veer_graph_arena(p->g), bytes, size_bytes);
        if (!bytes) return veer_out_of_memory();
    }
    *out = veer_const_view(b, *type, bytes, &(veer_data_source_t){file->path, offset});
    return veer_builder_status(b);
}

static veer_status_t parse_hash(veer_parser_t *p, uint64_t *out) {
    const veer_token_t *t = &p->lex.token;
    char digits[17] = {0};
    char *end = digits;
    if (t->kind == VEER_TOKEN_HASH && t->length == 17) {
        memcpy(digits, t->text + 1, 16);
        *out = strtoull(digits, &end, 16);
    }
    if (end == digits || *end) return veer_parse_expected(p, "a hash of 16 hexadecimal digits");
    veer_lexer_next(&p->lex);
    return veer_ok();
}

static veer_status_t parse_view(veer_parser_t *p, veer_builder_t *b, const veer_type_t *type, veer_value_t *out) {
    veer_token_t start = p->lex.token;
    char *path;
    int64_t offset;
    uint64_t hash = 0;
    VEER_TRY(veer_lexer_name(&p->lex, &start, &p->scratch, &path));
    veer_lexer_next(&p->lex);
    VEER_TRY(veer_parse_integer(p, &offset));
    VEER_TRY(parse_hash(p, &hash));
    VEER_TRY(veer_lexer_locate(&p->lex, &start, view_file(p, b, type, path, offset, hash, out)));
    return check_bools(p, &start, type, veer_value_const_data(p->g, *out));
}

veer_status_t veer_parse_const(veer_parser_t *p, veer_builder_t *b, veer_node_t *out_node) {
    veer_type_t type;
    veer_value_t value = VEER_NO_VALUE;
    VEER_TRY(veer_parse_type(p, &type));
    if (veer_lexer_is_word(&p->lex, "splat"))
        VEER_TRY(parse_splat(p, b, &type, &value));
    else if (veer_lexer_is_word(&p->lex, "base64"))
        VEER_TRY(parse_base64(p, b, &type, &value));
    else if (p->lex.token.kind == VEER_TOKEN_AT)
        VEER_TRY(parse_view(p, b, &type, &value));
    else
        VEER_TRY(parse_elements(p, b, &type, &value));
    *out_node = veer_value_def(p->g, value);
    return veer_ok();
}
