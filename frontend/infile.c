#include "frontend/infile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

veer_status_t veer_infile_open(const char *path, veer_infile_t *out_file) {
    /* O_NONBLOCK: a pipe without a writer is refused below instead of waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return veer_error(VEER_ERR_FILE, "cannot open '%s': %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return veer_error(VEER_ERR_FILE, "'%s' is not a regular file", path);
    }
    *out_file = (veer_infile_t){.size_bytes = (uint64_t)st.st_size, .fd = fd};
    return veer_ok();
}

void veer_infile_close(veer_infile_t *file) {
    if (!file->memory) close(file->fd);
    *file = (veer_infile_t){.fd = -1};
}

veer_infile_t veer_infile_from_memory(const void *bytes, size_t size_bytes) {
    return (veer_infile_t){.size_bytes = size_bytes, .memory = bytes, .fd = -1};
}

static veer_status_t read_fd(int fd, uint64_t at, char *out_bytes, size_t size_bytes) {
    while (size_bytes > 0) {
        ssize_t n = pread(fd, out_bytes, size_bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return veer_error(VEER_ERR_FILE, "cannot read: %s", strerror(errno));
        if (n == 0) return veer_error(VEER_ERR_FILE, "the file became shorter while it was read");
        out_bytes += n, at += (uint64_t)n, size_bytes -= (size_t)n;
    }
    return veer_ok();
}

veer_status_t veer_infile_read(veer_infile_t *file, uint64_t at, void *out_bytes, size_t size_bytes) {
    if (at > file->size_bytes || size_bytes > file->size_bytes - at)
        return veer_error(VEER_ERR_FILE, "truncated: %zu bytes at offset %llu of a file of %llu", size_bytes,
                          (unsigned long long)at, (unsigned long long)file->size_bytes);
    if (!file->memory) return read_fd(file->fd, at, out_bytes, size_bytes);
    if (size_bytes > 0) memcpy(out_bytes, (const char *)file->memory + at, size_bytes);
    return veer_ok();
}

static veer_status_t read_text(veer_infile_t *file, size_t max_bytes, veer_allocator_t allocator, char **out_text,
                               size_t *out_size_bytes) {
    if (file->size_bytes > max_bytes)
        return veer_error(VEER_ERR_FILE, "the file has %llu bytes, expected at most %zu",
                          (unsigned long long)file->size_bytes, max_bytes);
    size_t size = (size_t)file->size_bytes;
    char *text = veer_alloc(allocator, size + 1); /* zeroed: the NUL is there */
    if (!text) return veer_out_of_memory();
    veer_status_t status = veer_infile_read(file, 0, text, size);
    if (status) {
        veer_free(allocator, text);
        return status;
    }
    *out_text = text;
    *out_size_bytes = size;
    return veer_ok();
}

veer_status_t veer_infile_read_text(const char *path, size_t max_bytes, veer_allocator_t allocator, char **out_text,
                                    size_t *out_size_bytes) {
    veer_infile_t file;
    VEER_TRY(veer_infile_open(path, &file));
    veer_status_t status = read_text(&file, max_bytes, allocator, out_text, out_size_bytes);
    veer_infile_close(&file);
    return veer_status_where(status, "%s", path);
}
