#include "frontend/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16, MAX_NAMES_TRIED = 100 };

struct veer_outfile_s {
    veer_allocator_t allocator;
    int fd;
    int error;   /* errno of the first failure */
    char *path;  /* as the user gave it, for messages */
    char *final; /* where the bytes end up: `path` with symbolic links followed; NULL when written directly */
    char *temporary;
    size_t used;
    char buffer[BUFFER_BYTES];
};

static const char *advice(int error) {
    switch (error) {
    case ENOSPC:
    case EDQUOT: return "free some space, or write to another disk";
    case EFBIG: return "raise the file size limit (ulimit -f), or write fewer samples";
    case ENOENT:
    case ENOTDIR: return "create the folder first, or check the path";
    case EACCES:
    case EPERM:
    case EROFS: return "choose a folder that you may write to";
    case EISDIR: return "give the name of a file inside it";
    default: return NULL;
    }
}

static veer_status_t file_error(const char *path, int error) {
    veer_code_t code = VEER_ERR_CONFIG;
    if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO || error == ENOMEM || error == EMFILE)
        code = VEER_ERR_RESOURCE;
    veer_status_t status = veer_error(code, "cannot write '%s': %s", path, strerror(error));
    return advice(error) ? veer_status_help(status, "%s", advice(error)) : status;
}

static void release(veer_outfile_t *f) {
    veer_allocator_t allocator = f->allocator;
    veer_free(allocator, f->path);
    veer_free(allocator, f->temporary);
    free(f->final); /* of realpath */
    veer_free(allocator, f);
}

/* "<folder of path>/.veer-<pid>-<n>.tmp"; short, so that it fits wherever the name itself fits. */
static char *temporary_name(veer_allocator_t allocator, const char *path, unsigned n) {
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, size = folder + 64;
    char *name = veer_alloc(allocator, size);
    if (!name) return NULL;
    memcpy(name, path, folder);
    snprintf(name + folder, size - folder, ".veer-%ld-%u.tmp", (long)getpid(), n);
    return name;
}

static veer_status_t open_temporary(veer_outfile_t *f) {
    static atomic_uint counter;
    for (int tries = 0; tries < MAX_NAMES_TRIED; tries++) {
        veer_free(f->allocator, f->temporary);
        f->temporary = temporary_name(f->allocator, f->final, atomic_fetch_add(&counter, 1));
        if (!f->temporary) return veer_out_of_memory();
        f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd >= 0) return veer_ok();
        if (errno != EEXIST) break;
    }
    int error = errno;
    veer_free(f->allocator, f->temporary); /* not ours to remove */
    f->temporary = NULL;
    return file_error(f->path, error);
}

static veer_status_t open_target(veer_outfile_t *f) {
    struct stat st;
    bool exists = stat(f->path, &st) == 0;
    if (!exists && errno != ENOENT) return file_error(f->path, errno);
    if (exists && S_ISDIR(st.st_mode)) return file_error(f->path, EISDIR);
    if (exists && !S_ISREG(st.st_mode)) {
        f->fd = open(f->path, O_WRONLY | O_CLOEXEC);
        return f->fd >= 0 ? veer_ok() : file_error(f->path, errno);
    }
    if (exists && access(f->path, W_OK)) return file_error(f->path, errno); /* rename alone would not ask */
    f->final = exists ? realpath(f->path, NULL) : strdup(f->path);
    if (!f->final) return file_error(f->path, errno);
    VEER_TRY(open_temporary(f));
    if (exists && fchmod(f->fd, st.st_mode & 0777)) return file_error(f->path, errno);
    return veer_ok();
}

veer_status_t veer_outfile_open(const char *path, veer_allocator_t allocator, veer_outfile_t **out_file) {
    veer_outfile_t *f = veer_alloc(allocator, sizeof *f);
    if (!f) return veer_out_of_memory();
    f->allocator = allocator;
    f->fd = -1;
    f->path = veer_strdup(allocator, path);
    veer_status_t status = f->path ? open_target(f) : veer_out_of_memory();
    if (status)
        veer_outfile_abandon(f);
    else
        *out_file = f;
    return status;
}

static void write_all(veer_outfile_t *f, const char *data, size_t size) {
    while (size > 0 && !f->error) {
        ssize_t n = write(f->fd, data, size);
        if (n > 0)
            data += n, size -= (size_t)n;
        else if (n == 0)
            f->error = ENOSPC;
        else if (errno != EINTR)
            f->error = errno;
    }
}

static void flush(veer_outfile_t *f) {
    write_all(f, f->buffer, f->used);
    f->used = 0;
}

veer_status_t veer_outfile_write(veer_outfile_t *file, const void *data, size_t size_bytes) {
    if (file->used + size_bytes > BUFFER_BYTES || size_bytes > BUFFER_BYTES) flush(file);
    if (size_bytes > BUFFER_BYTES) {
        write_all(file, data, size_bytes);
    } else if (size_bytes > 0) {
        memcpy(file->buffer + file->used, data, size_bytes);
        file->used += size_bytes;
    }
    return file->error ? file_error(file->path, file->error) : veer_ok();
}

veer_status_t veer_outfile_commit(veer_outfile_t *take_file) {
    veer_outfile_t *f = take_file;
    flush(f);
    if (!f->error && f->final && fsync(f->fd)) f->error = errno; /* a full disk may show only here */
    if (close(f->fd) && !f->error) f->error = errno;
    f->fd = -1;
    if (!f->error && f->final && rename(f->temporary, f->final)) f->error = errno;
    if (f->error) {
        veer_status_t status = file_error(f->path, f->error);
        veer_outfile_abandon(f);
        return status;
    }
    release(f);
    return veer_ok();
}

void veer_outfile_abandon(veer_outfile_t *take_file) {
    if (take_file->fd >= 0) close(take_file->fd);
    if (take_file->temporary) unlink(take_file->temporary);
    release(take_file);
}

veer_status_t veer_outfile_close(veer_outfile_t *take_file, veer_status_t status) {
    if (!status) return veer_outfile_commit(take_file);
    veer_outfile_abandon(take_file);
    return status;
}
