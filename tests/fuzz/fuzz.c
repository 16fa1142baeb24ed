#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- memory ---- */

/* In front of every block, so that 64-byte alignment stays. */
enum { HEADER_BYTES = 64 };

static void *fuzz_alloc(void *user, size_t size_bytes) {
    fuzz_memory_t *m = user;
    if (size_bytes > m->limit_bytes - m->live_bytes) return NULL;
    char *block = veer_alloc(veer_allocator_system(), size_bytes + HEADER_BYTES);
    if (!block) return NULL;
    memcpy(block, &size_bytes, sizeof size_bytes);
    m->live_bytes += size_bytes;
    return block + HEADER_BYTES;
}

static void fuzz_free(void *user, void *ptr) {
    size_t size_bytes;
    char *block = (char *)ptr - HEADER_BYTES;
    memcpy(&size_bytes, block, sizeof size_bytes);
    ((fuzz_memory_t *)user)->live_bytes -= size_bytes;
    veer_free(veer_allocator_system(), block);
}

veer_allocator_t fuzz_allocator(fuzz_memory_t *memory) {
    return (veer_allocator_t){fuzz_alloc, fuzz_free, memory};
}

/* ---- statuses ---- */

/* Bytes of the character at `text`; 0 where it is none, or one that terminals obey. */
static size_t shown_character(const unsigned char *text) {
    if (*text < 0x80) return (*text >= ' ' && *text != 0x7f) || *text == '\n' || *text == '\t';
    size_t length = *text >= 0xf0 ? 4 : *text >= 0xe0 ? 3 : 2;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    return *text >= 0xc2 && *text <= 0xf4 ? length : 0;
}

static void check_text(const char *text) {
    /* At most 4 KiB, and as much for each of what stands around it. */
    FUZZ_CHECK(strlen(text) < 1 << 14, "a message of %zu bytes", strlen(text));
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        size_t length = shown_character(at);
        FUZZ_CHECK(length > 0, "byte 0x%02x in a message: %s", *at, text);
        at += length;
    }
}

bool fuzz_ok(veer_status_t status) {
    if (!status) return true;
    veer_code_t code = veer_status_code(status);
    FUZZ_CHECK(code >= VEER_ERR_FAILED && code <= VEER_ERR_RESOURCE, "code %d", code);
    for (size_t i = 0; i < veer_status_count(status); i++) {
        FUZZ_CHECK(*veer_status_message(status, i), "no message");
        check_text(veer_status_message(status, i));
        check_text(veer_status_details(status, i));
    }
    if (getenv("FUZZ_SHOW"))
        fprintf(stderr, "%s\n%s\n", veer_status_message(status, 0), veer_status_details(status, 0));
    veer_status_free(status);
    return false;
}

bool fuzz_must_unless(veer_status_t status, veer_code_t unless, const char *what) {
    veer_code_t code = veer_status_code(status);
    FUZZ_CHECK(!status || code == VEER_ERR_RESOURCE || code == unless, "%s: %s\n%s", what,
               veer_status_message(status, 0), veer_status_details(status, 0));
    return fuzz_ok(status);
}

bool fuzz_must(veer_status_t status, const char *what) {
    return fuzz_must_unless(status, VEER_ERR_RESOURCE, what);
}

/* ---- files ---- */

fuzz_file_t fuzz_file(const void *bytes, size_t size_bytes) {
    fuzz_file_t file = {.fd = memfd_create("fuzz", MFD_CLOEXEC)};
    FUZZ_CHECK(file.fd >= 0 && write(file.fd, bytes, size_bytes) == (ssize_t)size_bytes, "no file in memory");
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    return file;
}

void fuzz_file_close(fuzz_file_t *file) {
    close(file->fd);
}

/* ---- numbers ---- */

int64_t fuzz_number(fuzz_random_t *r) {
    static const int64_t edges[] = {0,        1,         -1,        2,         3,         7,        8,        10,
                                    63,       64,        127,       128,       255,       256,      1000,     65535,
                                    65536,    1 << 20,   1 << 24,   INT32_MAX, INT32_MIN, 1L << 31, 1L << 32, 1L << 40,
                                    1L << 53, INT64_MAX, INT64_MIN, 1L << 62,  -2,        -3,       -65536,   100};
    size_t i = fuzz_below(r, 2 * sizeof edges / sizeof *edges);
    return i < sizeof edges / sizeof *edges ? edges[i] : (int64_t)fuzz_below(r, 17);
}
