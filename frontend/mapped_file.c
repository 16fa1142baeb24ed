#include "frontend/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static veer_status_t map(int fd, veer_mapped_file_t *file) {
    struct stat info;
    if (fstat(fd, &info)) return veer_error(VEER_ERR_FILE, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(info.st_mode)) return veer_error(VEER_ERR_FILE, "is not a regular file");
    file->size_bytes = (size_t)info.st_size;
    if (!file->size_bytes) return veer_ok();
    void *bytes = mmap(NULL, file->size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return veer_error(VEER_ERR_RESOURCE, "cannot be mapped: %s", strerror(errno));
    file->bytes = bytes;
    return veer_ok();
}

veer_status_t veer_mapped_file_open(veer_allocator_t allocator, const char *path, veer_mapped_file_t **out_file) {
    veer_mapped_file_t *file = veer_alloc(allocator, sizeof *file);
    if (!file) return veer_out_of_memory();
    file->allocator = allocator;
    file->path = veer_strdup(allocator, path);
    if (!file->path) {
        veer_mapped_file_close(file);
        return veer_out_of_memory();
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us before it is refused */
    veer_status_t status = fd < 0 ? veer_error(VEER_ERR_FILE, "cannot be opened: %s", strerror(errno)) : map(fd, file);
    if (fd >= 0) close(fd);
    if (status) {
        veer_mapped_file_close(file);
        return veer_status_where(status, "%s", path);
    }
    *out_file = file;
    return veer_ok();
}

void veer_mapped_file_close(void *object) {
    veer_mapped_file_t *file = object;
    if (!file) return;
    if (file->bytes) munmap((void *)(uintptr_t)file->bytes, file->size_bytes);
    veer_free(file->allocator, file->path);
    veer_free(file->allocator, file);
}
