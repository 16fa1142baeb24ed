#include "frontend/npz.h"

#include "frontend/infile.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

/* Sizes of the fixed parts of zip's records, and their signatures. */
enum { LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22, MAX_COMMENT_BYTES = 65535, CHUNK_BYTES = 1 << 16 };
enum { METHOD_STORED = 0, METHOD_DEFLATED = 8, FLAG_ENCRYPTED = 1 };
#define LOCAL_SIGNATURE   0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE     0x06054b50u
/* No deflated byte makes more than this many. */
#define MAX_RATIO 1032u

static uint32_t get16(const unsigned char *b) {
    return (uint32_t)b[0] | (uint32_t)b[1] << 8;
}
static uint32_t get32(const unsigned char *b) {
    return get16(b) | get16(b + 2) << 16;
}

static unsigned char *put16(unsigned char *b, uint32_t v) {
    b[0] = (unsigned char)v, b[1] = (unsigned char)(v >> 8);
    return b + 2;
}
static unsigned char *put32(unsigned char *b, uint32_t v) {
    return put16(put16(b, v & 0xffff), v >> 16);
}

static veer_status_t broken(const char *what) {
    return veer_error(VEER_ERR_FILE, "broken .npz file: %s", what);
}

/* ---- reading ---- */

typedef struct member_s {
    const char *name; /* in the directory, not NUL-terminated */
    size_t name_length;
    uint32_t flags, method, crc, packed_bytes, full_bytes, local_at;
} member_t;

typedef struct directory_s {
    unsigned char *bytes;
    size_t size_bytes, count, at_byte;
} directory_t;

/* The end record is the last thing in the file but for a comment of unknown length. */
static veer_status_t find_end(const unsigned char *tail, size_t size, size_t *out_at) {
    for (size_t at = size - END_BYTES + 1; at-- > 0;)
        if (get32(tail + at) == END_SIGNATURE && at + END_BYTES + get16(tail + at + 20) == size) {
            *out_at = at;
            return veer_ok();
        }
    return veer_error(VEER_ERR_FILE, "not a .npz file, or a truncated one (no zip directory at its end)");
}

static veer_status_t read_directory_at(veer_infile_t *file, const unsigned char *end, veer_allocator_t allocator,
                                       directory_t *out_directory) {
    directory_t d = {.count = get16(end + 10), .size_bytes = get32(end + 12)};
    uint32_t at = get32(end + 16);
    if (at == UINT32_MAX || d.size_bytes == UINT32_MAX || d.count == UINT16_MAX)
        return veer_error(VEER_ERR_UNSUPPORTED, ".npz file in the zip64 format, expected less than 4 GiB");
    if (get16(end + 4) || get16(end + 6)) return broken("it is one part of several");
    if (d.size_bytes < d.count * CENTRAL_BYTES || at > file->size_bytes || d.size_bytes > file->size_bytes - at)
        return broken("its directory does not fit into the file");
    d.bytes = veer_alloc(allocator, d.size_bytes);
    if (!d.bytes) return veer_out_of_memory();
    veer_status_t status = veer_infile_read(file, at, d.bytes, d.size_bytes);
    if (status)
        veer_free(allocator, d.bytes);
    else
        *out_directory = d;
    return status;
}

static veer_status_t read_directory(veer_infile_t *file, veer_allocator_t allocator, directory_t *out_directory) {
    size_t size = END_BYTES + MAX_COMMENT_BYTES, at = 0;
    if (file->size_bytes < END_BYTES) return broken("it is too short");
    if (file->size_bytes < size) size = (size_t)file->size_bytes;
    unsigned char *tail = veer_alloc(allocator, size);
    if (!tail) return veer_out_of_memory();
    veer_status_t status = veer_infile_read(file, file->size_bytes - size, tail, size);
    if (!status) status = find_end(tail, size, &at);
    if (!status) status = read_directory_at(file, tail + at, allocator, out_directory);
    veer_free(allocator, tail);
    return status;
}

static veer_status_t next_member(directory_t *d, member_t *out_member) {
    const unsigned char *b = d->bytes + d->at_byte;
    size_t left = d->size_bytes - d->at_byte;
    if (left < CENTRAL_BYTES || get32(b) != CENTRAL_SIGNATURE) return broken("its directory is damaged");
    *out_member = (member_t){.name = (const char *)b + CENTRAL_BYTES,
                             .name_length = get16(b + 28),
                             .flags = get16(b + 8),
                             .method = get16(b + 10),
                             .crc = get32(b + 16),
                             .packed_bytes = get32(b + 20),
                             .full_bytes = get32(b + 24),
                             .local_at = get32(b + 42)};
    size_t size = CENTRAL_BYTES + out_member->name_length + get16(b + 30) + get16(b + 32);
    if (size > left) return broken("its directory is damaged");
    d->at_byte += size;
    return veer_ok();
}

static veer_status_t check_member(const member_t *m) {
    if (m->flags & FLAG_ENCRYPTED) return veer_error(VEER_ERR_UNSUPPORTED, "the archive is encrypted");
    if (m->method != METHOD_STORED && m->method != METHOD_DEFLATED)
        return veer_status_help(veer_error(VEER_ERR_UNSUPPORTED, "zip compression method %u", m->method),
                                "save it with np.savez or np.savez_compressed");
    if (m->packed_bytes == UINT32_MAX || m->full_bytes == UINT32_MAX || m->local_at == UINT32_MAX)
        return veer_error(VEER_ERR_UNSUPPORTED, "an array of 4 GiB or more (zip64)");
    if (m->method == METHOD_STORED ? m->full_bytes != m->packed_bytes : m->full_bytes / MAX_RATIO > m->packed_bytes)
        return broken("a size that its packed data cannot have");
    return veer_ok();
}

/* Where the packed data begins: the local record repeats the name and may have other extra fields. */
static veer_status_t find_data(veer_infile_t *file, const member_t *m, uint64_t *out_at) {
    unsigned char local[LOCAL_BYTES];
    VEER_TRY(veer_infile_read(file, m->local_at, local, sizeof local));
    if (get32(local) != LOCAL_SIGNATURE) return broken("an array is not where the directory says");
    *out_at = (uint64_t)m->local_at + LOCAL_BYTES + get16(local + 26) + get16(local + 28);
    if (*out_at > file->size_bytes || m->packed_bytes > file->size_bytes - *out_at) return broken("truncated data");
    return veer_ok();
}

static veer_status_t inflate_all(veer_infile_t *file, const member_t *m, uint64_t at, z_stream *z,
                                 unsigned char *chunk) {
    size_t left = m->packed_bytes;
    int result = Z_OK;
    while (result == Z_OK && (left > 0 || z->avail_in > 0)) {
        if (z->avail_in == 0) {
            size_t size = left < CHUNK_BYTES ? left : CHUNK_BYTES;
            VEER_TRY(veer_infile_read(file, at, chunk, size));
            z->next_in = chunk, z->avail_in = (uInt)size;
            at += size, left -= size;
        }
        result = inflate(z, Z_NO_FLUSH);
    }
    if (result == Z_MEM_ERROR) return veer_out_of_memory();
    if (result != Z_STREAM_END || z->avail_out != 0 || z->avail_in != 0 || left != 0)
        return broken("damaged compressed data");
    return veer_ok();
}

static veer_status_t read_deflated(veer_infile_t *file, const member_t *m, uint64_t at, veer_allocator_t allocator,
                                   unsigned char *out_bytes) {
    z_stream z = {.next_out = out_bytes, .avail_out = m->full_bytes};
    unsigned char *chunk = veer_alloc(allocator, CHUNK_BYTES);
    if (!chunk) return veer_out_of_memory();
    veer_status_t status;
    if (inflateInit2(&z, -MAX_WBITS) == Z_OK) {
        status = inflate_all(file, m, at, &z, chunk);
        inflateEnd(&z);
    } else {
        status = veer_out_of_memory();
    }
    veer_free(allocator, chunk);
    return status;
}

static veer_status_t read_member(veer_infile_t *file, const member_t *m, veer_allocator_t allocator,
                                 veer_tensor_t *out_tensor) {
    uint64_t at;
    VEER_TRY(check_member(m));
    VEER_TRY(find_data(file, m, &at));
    unsigned char *bytes = veer_alloc(allocator, m->full_bytes);
    if (!bytes) return veer_out_of_memory();
    veer_status_t status = m->method == METHOD_STORED ? veer_infile_read(file, at, bytes, m->full_bytes)
                                                      : read_deflated(file, m, at, allocator, bytes);
    if (!status && crc32_z(0, bytes, m->full_bytes) != m->crc) status = broken("its checksum does not match");
    if (!status) status = veer_npy_parse(bytes, m->full_bytes, allocator, out_tensor);
    veer_free(allocator, bytes);
    return status;
}

static veer_status_t add_member(veer_npz_t *npz, veer_infile_t *file, const member_t *m) {
    static const char ending[] = ".npy";
    size_t length = m->name_length, e = sizeof ending - 1;
    if (length <= e || memcmp(m->name + length - e, ending, e) || memchr(m->name, 0, length)) return veer_ok();
    char *name = veer_alloc(npz->allocator, length - e + 1);
    if (!name) return veer_out_of_memory();
    memcpy(name, m->name, length - e);
    veer_npz_entry_t entry = {.name = name};
    veer_status_t status = veer_npz_find(npz, name) ? broken("the name is there twice")
                                                    : read_member(file, m, npz->allocator, &entry.tensor);
    status = veer_status_where(status, "array '%s'", name);
    if (status)
        veer_free(npz->allocator, name);
    else
        npz->entries[npz->count++] = entry;
    return status;
}

static veer_status_t read_members(veer_npz_t *npz, veer_infile_t *file, directory_t *d) {
    uint64_t packed = 0;
    for (size_t i = 0; i < d->count; i++) {
        member_t m;
        VEER_TRY(next_member(d, &m));
        /* Members that share their bytes could make a small file ask for any amount of memory. */
        packed += m.packed_bytes;
        if (packed > file->size_bytes && m.packed_bytes != UINT32_MAX) return broken("its arrays overlap");
        VEER_TRY(add_member(npz, file, &m));
    }
    return veer_ok();
}

static veer_status_t read_npz(veer_infile_t *file, veer_allocator_t allocator, veer_npz_t *out_npz) {
    directory_t d;
    VEER_TRY(read_directory(file, allocator, &d));
    veer_npz_t npz = {.allocator = allocator};
    npz.entries = veer_alloc_array(allocator, d.count, sizeof *npz.entries);
    veer_status_t status = npz.entries ? read_members(&npz, file, &d) : veer_out_of_memory();
    veer_free(allocator, d.bytes);
    if (status)
        veer_npz_deinit(&npz);
    else
        *out_npz = npz;
    return status;
}

veer_status_t veer_npz_read(const char *path, veer_allocator_t allocator, veer_npz_t *out_npz) {
    veer_infile_t file;
    VEER_TRY(veer_infile_open(path, &file));
    veer_status_t status = read_npz(&file, allocator, out_npz);
    veer_infile_close(&file);
    return veer_status_where(status, "%s", path);
}

veer_status_t veer_npz_parse(const void *bytes, size_t size_bytes, veer_allocator_t allocator, veer_npz_t *out_npz) {
    veer_infile_t file = veer_infile_from_memory(bytes, size_bytes);
    return read_npz(&file, allocator, out_npz);
}

void veer_npz_deinit(veer_npz_t *npz) {
    for (size_t i = 0; i < npz->count; i++) {
        veer_free(npz->allocator, npz->entries[i].name);
        veer_free(npz->allocator, npz->entries[i].tensor.data);
    }
    if (npz->entries) veer_free(npz->allocator, npz->entries);
    *npz = (veer_npz_t){0};
}

const veer_tensor_t *veer_npz_find(const veer_npz_t *npz, const char *name) {
    for (size_t i = 0; i < npz->count; i++)
        if (!strcmp(npz->entries[i].name, name)) return &npz->entries[i].tensor;
    return NULL;
}

/* ---- writing ---- */

/* What the directory repeats about a member that is already written. */
typedef struct written_s {
    uint32_t crc, size_bytes, local_at;
} written_t;

/* Fields that a local and a central record share, from "version needed" to the length of the extra field. */
static unsigned char *put_common(unsigned char *b, const written_t *w, size_t name_length) {
    b = put16(b, 20); /* version needed: 2.0 */
    b = put16(b, 0);  /* flags */
    b = put16(b, METHOD_STORED);
    b = put16(b, 0);    /* time: midnight */
    b = put16(b, 0x21); /* date: 1 January 1980, zip's first day */
    b = put32(b, w->crc);
    b = put32(b, w->size_bytes); /* packed */
    b = put32(b, w->size_bytes); /* full */
    b = put16(b, (uint32_t)name_length);
    return put16(b, 0); /* no extra field */
}

static veer_status_t write_name(veer_outfile_t *file, const char *name) {
    VEER_TRY(veer_outfile_write(file, name, strlen(name)));
    return veer_outfile_write(file, ".npy", 4);
}

static veer_status_t write_member(veer_outfile_t *file, const veer_npz_entry_t *e, uint64_t *at,
                                  written_t *out_written) {
    char header[VEER_NPY_MAX_HEADER_BYTES];
    size_t header_bytes, data_bytes = veer_type_bytes(&e->tensor.type), name_length = strlen(e->name) + 4;
    VEER_TRY(veer_npy_header(&e->tensor.type, header, &header_bytes));
    uint64_t end = *at + LOCAL_BYTES + name_length + header_bytes + data_bytes;
    if (end >= UINT32_MAX || name_length > UINT16_MAX)
        return veer_error(VEER_ERR_UNSUPPORTED, ".npz files of 4 GiB or more cannot be written; use .npy");
    written_t w = {.size_bytes = (uint32_t)(header_bytes + data_bytes), .local_at = (uint32_t)*at};
    w.crc = (uint32_t)crc32_z(crc32_z(0, (const Bytef *)header, header_bytes), e->tensor.data, data_bytes);
    unsigned char local[LOCAL_BYTES], *b = put32(local, LOCAL_SIGNATURE);
    put_common(b, &w, name_length);
    VEER_TRY(veer_outfile_write(file, local, sizeof local));
    VEER_TRY(write_name(file, e->name));
    VEER_TRY(veer_outfile_write(file, header, header_bytes));
    VEER_TRY(veer_outfile_write(file, e->tensor.data, data_bytes));
    *at = end;
    *out_written = w;
    return veer_ok();
}

static veer_status_t write_central(veer_outfile_t *file, const char *name, const written_t *w, uint64_t *at) {
    unsigned char central[CENTRAL_BYTES] = {0}, *b = put32(central, CENTRAL_SIGNATURE);
    b = put16(b, 20); /* made by version 2.0 */
    put_common(b, w, strlen(name) + 4);
    put32(central + 42, w->local_at); /* comment, disk and attributes stay 0 */
    VEER_TRY(veer_outfile_write(file, central, sizeof central));
    *at += CENTRAL_BYTES + strlen(name) + 4;
    return write_name(file, name);
}

static veer_status_t write_end(veer_outfile_t *file, size_t count, uint64_t directory_at, uint64_t end_at) {
    if (end_at >= UINT32_MAX || count >= UINT16_MAX)
        return veer_error(VEER_ERR_UNSUPPORTED, ".npz files of 4 GiB or more cannot be written; use .npy");
    unsigned char end[END_BYTES] = {0};
    put32(end, END_SIGNATURE);
    put16(end + 8, (uint32_t)count);
    put16(end + 10, (uint32_t)count);
    put32(end + 12, (uint32_t)(end_at - directory_at));
    put32(end + 16, (uint32_t)directory_at);
    return veer_outfile_write(file, end, sizeof end);
}

static veer_status_t write_archive(veer_outfile_t *file, const veer_npz_entry_t *entries, size_t count,
                                   written_t *written) {
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++)
        VEER_TRY(veer_status_where(write_member(file, &entries[i], &at, &written[i]), "array '%s'", entries[i].name));
    uint64_t directory_at = at;
    for (size_t i = 0; i < count; i++) VEER_TRY(write_central(file, entries[i].name, &written[i], &at));
    return write_end(file, count, directory_at, at);
}

veer_status_t veer_npz_write(const char *path, const veer_npz_entry_t *entries, size_t count,
                             veer_allocator_t allocator) {
    written_t *written = veer_alloc_array(allocator, count, sizeof *written);
    if (!written) return veer_out_of_memory();
    veer_outfile_t *file;
    veer_status_t status = veer_outfile_open(path, allocator, &file);
    if (!status) status = veer_outfile_close(file, write_archive(file, entries, count, written));
    veer_free(allocator, written);
    return status;
}
