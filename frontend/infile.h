/* Bytes at an offset, from a regular file or from memory: what the readers of untrusted formats stand on. The size is
 * known before anything is read or allocated, and no read goes past it. One thread per object. */
#ifndef VEER_FRONTEND_INFILE_H
#define VEER_FRONTEND_INFILE_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

typedef struct veer_infile_s {
    uint64_t size_bytes;
    const void *memory; /* NULL: the file */
    int fd;
} veer_infile_t;

/* VEER_ERR_FILE where the path cannot be opened or is no regular file; the message names the path. */
VEER_MUST_USE veer_status_t veer_infile_open(const char *path, veer_infile_t *out_file);
void veer_infile_close(veer_infile_t *file);
/* Borrows the bytes; needs no close. */
veer_infile_t veer_infile_from_memory(const void *bytes, size_t size_bytes);
/* VEER_ERR_FILE where the range is not inside the file, or the file shrank meanwhile. */
VEER_MUST_USE veer_status_t veer_infile_read(veer_infile_t *file, uint64_t at, void *out_bytes, size_t size_bytes);
/* A whole file as a NUL-terminated text of at most `max_bytes`; the caller owns *out_text. */
VEER_MUST_USE veer_status_t veer_infile_read_text(const char *path, size_t max_bytes, veer_allocator_t allocator,
                                                  char **out_text, size_t *out_size_bytes);

#endif
