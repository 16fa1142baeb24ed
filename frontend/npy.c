#include "frontend/npy.h"

#include "frontend/infile.h"

#include <stdio.h>
#include <string.h>

/* X(dtype, kind letter of NumPy, bytes) */
#define NPY_DTYPES(X)                                                                                                  \
    X(F32, 'f', 4)                                                                                                     \
    X(F64, 'f', 8)                                                                                                     \
    X(F16, 'f', 2) X(I8, 'i', 1) X(I16, 'i', 2) X(I32, 'i', 4) X(I64, 'i', 8) X(U8, 'u', 1) X(U16, 'u', 2)             \
        X(U32, 'u', 4) X(U64, 'u', 8) X(BOOL, 'b', 1)

static const struct {
    veer_dtype_t dtype;
    char kind;
    char bytes;
} npy_dtypes[] = {
#define X(dtype, kind, bytes) {VEER_DTYPE_##dtype, kind, bytes},
    NPY_DTYPES(X)
#undef X
};

/* ---- the header: a Python dict with exactly the keys descr, fortran_order, shape ---- */

typedef struct parser_s {
    const char *at, *end;
} parser_t;

static veer_status_t broken(const char *what) {
    return veer_error(VEER_ERR_FILE, "broken .npy header: %s", what);
}

static char peek(parser_t *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t')) p->at++;
    return p->at < p->end ? *p->at : '\0';
}

static bool accept(parser_t *p, char c) {
    if (peek(p) != c) return false;
    p->at++;
    return true;
}

static bool accept_word(parser_t *p, const char *word) {
    size_t length = strlen(word);
    peek(p);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length)) return false;
    p->at += length;
    return true;
}

static veer_status_t parse_string(parser_t *p, char *out_text, size_t size) {
    char quote = peek(p);
    if (quote != '\'' && quote != '"') return broken("a quoted string expected");
    const char *first = ++p->at;
    while (p->at < p->end && *p->at != quote) p->at++;
    if (p->at == p->end) return broken("a string does not end");
    size_t length = (size_t)(p->at++ - first);
    if (length >= size) return broken("a string is too long");
    memcpy(out_text, first, length);
    out_text[length] = '\0';
    return veer_ok();
}

static veer_status_t parse_dtype(parser_t *p, veer_type_t *type) {
    if (peek(p) == '[')
        return veer_error(VEER_ERR_UNSUPPORTED, ".npy file with a structured dtype; expected plain numbers");
    char text[16];
    VEER_TRY(parse_string(p, text, sizeof text));
    const char *name = text + (*text && strchr("<>|=", *text) ? 1 : 0);
    for (size_t i = 0; i < sizeof npy_dtypes / sizeof npy_dtypes[0]; i++) {
        if (name[0] != npy_dtypes[i].kind || name[1] != '0' + npy_dtypes[i].bytes || name[2]) continue;
        if (*text == '>' && npy_dtypes[i].bytes > 1)
            return veer_status_help(veer_error(VEER_ERR_UNSUPPORTED, ".npy file with big-endian data ('%s')", text),
                                    "save it with array.astype('<%s')", name);
        type->dtype = npy_dtypes[i].dtype;
        return veer_ok();
    }
    return veer_status_help(veer_error(VEER_ERR_UNSUPPORTED, ".npy file with dtype '%s'", text),
                            "f2 f4 f8, i1 i2 i4 i8, u1 u2 u4 u8 and b1 can be read");
}

static veer_status_t parse_dim(parser_t *p, int64_t *out_dim) {
    char c = peek(p);
    if (c < '0' || c > '9') return broken("the shape has something else than sizes");
    int64_t value = 0;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *p->at - '0', &value))
            return broken("a size in the shape is too large");
    if (p->at < p->end && *p->at == 'L') p->at++; /* Python 2 */
    *out_dim = value;
    return veer_ok();
}

static veer_status_t parse_shape(parser_t *p, veer_type_t *type) {
    if (!accept(p, '(')) return broken("the shape is no tuple");
    type->rank = 0;
    while (!accept(p, ')')) {
        if (type->rank == VEER_MAX_RANK)
            return veer_error(VEER_ERR_UNSUPPORTED, ".npy file with more than %d dimensions", VEER_MAX_RANK);
        VEER_TRY(parse_dim(p, &type->dims[type->rank++]));
        if (!accept(p, ',') && peek(p) != ')') return broken("the shape does not end");
    }
    return veer_ok();
}

typedef struct header_s {
    veer_type_t type;
    bool fortran_order;
    unsigned seen; /* bits 1 descr, 2 fortran_order, 4 shape */
} header_t;

static veer_status_t parse_entry(parser_t *p, header_t *h) {
    char key[32];
    VEER_TRY(parse_string(p, key, sizeof key));
    if (!accept(p, ':')) return broken("a key without value");
    unsigned bit = !strcmp(key, "descr") ? 1 : !strcmp(key, "fortran_order") ? 2 : !strcmp(key, "shape") ? 4 : 0;
    if (!bit || (h->seen & bit)) return broken("an unknown or repeated key");
    h->seen |= bit;
    if (bit == 1) return parse_dtype(p, &h->type);
    if (bit == 4) return parse_shape(p, &h->type);
    h->fortran_order = accept_word(p, "True");
    return h->fortran_order || accept_word(p, "False") ? veer_ok() : broken("fortran_order is neither True nor False");
}

/* Fortran order of a tensor with at most one size other than 1 is C order too. */
static bool order_matters(const veer_type_t *type) {
    int wide = 0;
    for (int i = 0; i < type->rank; i++) wide += type->dims[i] != 1;
    return wide > 1;
}

static veer_status_t parse_dict(parser_t p, veer_type_t *out_type) {
    header_t h = {0};
    if (!accept(&p, '{')) return broken("no dict");
    while (!accept(&p, '}')) {
        VEER_TRY(parse_entry(&p, &h));
        if (!accept(&p, ',') && peek(&p) != '}') return broken("the dict does not end");
    }
    if (peek(&p)) return broken("text after the dict");
    if (h.seen != 7) return broken("descr, fortran_order or shape is missing");
    VEER_TRY(veer_type_check(&h.type));
    if (h.fortran_order && order_matters(&h.type))
        return veer_status_help(veer_error(VEER_ERR_UNSUPPORTED, ".npy file in Fortran order, expected C order"),
                                "save it with np.ascontiguousarray(array)");
    *out_type = h.type;
    return veer_ok();
}

/* ---- the parts before the dict ---- */

enum {
    PREFIX_BYTES = 12, /* magic 6, version 2, length 2 (version 1) or 4 (version 2) */
    MAX_TEXT_BYTES = 1 << 16
};

static veer_status_t parse_prefix(const unsigned char *b, size_t size, size_t *out_text_at, size_t *out_data_at) {
    if (size < PREFIX_BYTES || memcmp(b, "\x93NUMPY", 6))
        return veer_error(VEER_ERR_FILE, "not a .npy file (its first bytes are others)");
    if (b[6] != 1 && b[6] != 2)
        return veer_error(VEER_ERR_UNSUPPORTED, ".npy format version %d.%d, expected 1.0 or 2.0", b[6], b[7]);
    size_t length = (size_t)b[8] | (size_t)b[9] << 8;
    if (b[6] == 2) length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    *out_text_at = b[6] == 1 ? 10 : 12;
    *out_data_at = *out_text_at + length;
    return veer_ok();
}

static veer_status_t check_size(const veer_type_t *type, uint64_t data_bytes) {
    if (data_bytes == veer_type_bytes(type)) return veer_ok();
    char text[VEER_TYPE_TEXT_BYTES];
    return veer_error(VEER_ERR_FILE, "%s needs %zu bytes of data, the .npy file has %llu%s", veer_type_text(type, text),
                      veer_type_bytes(type), (unsigned long long)data_bytes,
                      data_bytes < veer_type_bytes(type) ? " (truncated?)" : "");
}

/* IR bools are 0 or 1; NumPy takes any other byte for true. */
static void normalise_bools(veer_tensor_t *t) {
    unsigned char *b = t->data;
    if (t->type.dtype != VEER_DTYPE_BOOL) return;
    for (size_t i = 0, n = veer_type_bytes(&t->type); i < n; i++) b[i] = b[i] != 0;
}

static veer_status_t read_data(veer_infile_t *file, uint64_t at, veer_allocator_t allocator, veer_tensor_t *tensor) {
    VEER_TRY(check_size(&tensor->type, file->size_bytes - at));
    tensor->data = veer_alloc(allocator, veer_type_bytes(&tensor->type));
    if (!tensor->data) return veer_out_of_memory();
    veer_status_t status = veer_infile_read(file, at, tensor->data, veer_type_bytes(&tensor->type));
    if (status)
        veer_free(allocator, tensor->data);
    else
        normalise_bools(tensor);
    return status;
}

static veer_status_t read_npy(veer_infile_t *file, veer_allocator_t allocator, veer_tensor_t *out_tensor) {
    unsigned char prefix[PREFIX_BYTES];
    size_t available = file->size_bytes < PREFIX_BYTES ? (size_t)file->size_bytes : PREFIX_BYTES;
    size_t text_at = 0, data_at = 0;
    VEER_TRY(veer_infile_read(file, 0, prefix, available));
    VEER_TRY(parse_prefix(prefix, available, &text_at, &data_at));
    if (data_at > file->size_bytes) return broken("it is longer than the file");
    if (data_at - text_at > MAX_TEXT_BYTES) return broken("it is too long for plain numbers");
    char *text = veer_alloc(allocator, data_at - text_at);
    if (!text) return veer_out_of_memory();
    veer_tensor_t tensor = {0};
    veer_status_t status = veer_infile_read(file, text_at, text, data_at - text_at);
    if (!status) status = parse_dict((parser_t){text, text + (data_at - text_at)}, &tensor.type);
    veer_free(allocator, text);
    if (!status) status = read_data(file, data_at, allocator, &tensor);
    if (!status) *out_tensor = tensor;
    return status;
}

veer_status_t veer_npy_read(const char *path, veer_allocator_t allocator, veer_tensor_t *out_tensor) {
    veer_infile_t file;
    VEER_TRY(veer_infile_open(path, &file));
    veer_status_t status = read_npy(&file, allocator, out_tensor);
    veer_infile_close(&file);
    return veer_status_where(status, "%s", path);
}

veer_status_t veer_npy_parse(const void *bytes, size_t size_bytes, veer_allocator_t allocator,
                             veer_tensor_t *out_tensor) {
    veer_infile_t file = veer_infile_from_memory(bytes, size_bytes);
    return read_npy(&file, allocator, out_tensor);
}

/* ---- writing ---- */

veer_status_t veer_npy_header(const veer_type_t *type, char out_header[VEER_NPY_MAX_HEADER_BYTES],
                              size_t *out_size_bytes) {
    size_t i = 0, count = sizeof npy_dtypes / sizeof npy_dtypes[0];
    while (i < count && npy_dtypes[i].dtype != type->dtype) i++;
    if (i == count)
        return veer_error(VEER_ERR_UNSUPPORTED, ".npy files have no dtype for %s", veer_dtype_name(type->dtype));
    char *text = out_header + 10, *end = out_header + VEER_NPY_MAX_HEADER_BYTES;
    text += snprintf(text, (size_t)(end - text), "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (",
                     npy_dtypes[i].bytes > 1 ? '<' : '|', npy_dtypes[i].kind, npy_dtypes[i].bytes);
    for (int d = 0; d < type->rank; d++)
        text += snprintf(text, (size_t)(end - text), d ? " %lld," : "%lld,", (long long)type->dims[d]);
    if (type->rank > 1) text--; /* Python writes (2, 3) but (2,) */
    text += snprintf(text, (size_t)(end - text), "), }");
    size_t used = (size_t)(text - out_header), size = (used + 1 + 63) / 64 * 64;
    memset(text, ' ', size - used - 1);
    out_header[size - 1] = '\n';
    memcpy(out_header, "\x93NUMPY\x01\x00", 8);
    out_header[8] = (char)((size - 10) & 0xff);
    out_header[9] = (char)((size - 10) >> 8);
    *out_size_bytes = size;
    return veer_ok();
}

veer_status_t veer_npy_write(const char *path, const veer_tensor_t *tensor, veer_allocator_t allocator) {
    char header[VEER_NPY_MAX_HEADER_BYTES];
    size_t header_bytes;
    VEER_TRY(veer_status_where(veer_npy_header(&tensor->type, header, &header_bytes), "%s", path));
    veer_outfile_t *file;
    VEER_TRY(veer_outfile_open(path, allocator, &file));
    veer_status_t status = veer_outfile_write(file, header, header_bytes);
    if (!status) status = veer_outfile_write(file, tensor->data, veer_type_bytes(&tensor->type));
    return veer_outfile_close(file, status);
}
