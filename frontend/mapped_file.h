/* A file mapped read-only: constants of a graph point into it.
 *
 *     veer_mapped_file_t *file;
 *     VEER_TRY(veer_mapped_file_open(allocator, "model.onnx", &file));
 *     use(file->bytes, file->size_bytes);
 *     VEER_TRY(veer_graph_on_destroy(g, veer_mapped_file_close, file));   // or close it oneself
 */
#ifndef VEER_FRONTEND_MAPPED_FILE_H
#define VEER_FRONTEND_MAPPED_FILE_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

typedef struct veer_mapped_file_s {
    veer_allocator_t allocator;
    const uint8_t *bytes; /* page-aligned; NULL for an empty file */
    size_t size_bytes;
    char *path;
} veer_mapped_file_t;

/* VEER_ERR_FILE where there is no such regular file or it cannot be read. */
VEER_MUST_USE veer_status_t veer_mapped_file_open(veer_allocator_t allocator, const char *path,
                                                  veer_mapped_file_t **out_file);
/* Takes a veer_mapped_file_t; void so that it can be a release callback. NULL is allowed. */
void veer_mapped_file_close(void *file);

#endif
