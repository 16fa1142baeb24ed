/* A file that is there completely or not at all: it is written under another name in the same folder and takes its
 * own name at the end. Targets that are no regular files (/dev/full, pipes, terminals) are written directly.
 *
 *     veer_outfile_t *f;
 *     VEER_TRY(veer_outfile_open("x.npy", allocator, &f));
 *     veer_status_t status = veer_outfile_write(f, data, size);
 *     return veer_outfile_close(f, status);   // commits when status is OK, abandons and passes it on otherwise
 *
 * Disk trouble (full, quota, size limit, I/O) is VEER_ERR_RESOURCE, a path that cannot be VEER_ERR_CONFIG. A process
 * with a file size limit has to ignore SIGXFSZ to get that error instead of the signal. One thread per object.
 */
#ifndef VEER_FRONTEND_OUTFILE_H
#define VEER_FRONTEND_OUTFILE_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

typedef struct veer_outfile_s veer_outfile_t;

/* Creates the temporary file, so that a wrong path is found before any work is done. */
VEER_MUST_USE veer_status_t veer_outfile_open(const char *path, veer_allocator_t allocator, veer_outfile_t **out_file);
/* After a failure every further write and the commit fail as well. */
VEER_MUST_USE veer_status_t veer_outfile_write(veer_outfile_t *file, const void *data, size_t size_bytes);
/* Both release the file. Commit leaves an old file of that name untouched when it fails. */
VEER_MUST_USE veer_status_t veer_outfile_commit(veer_outfile_t *take_file);
void veer_outfile_abandon(veer_outfile_t *take_file);
/* Commit when `status` is NULL; otherwise abandon and give `status` back. */
VEER_MUST_USE veer_status_t veer_outfile_close(veer_outfile_t *take_file, veer_status_t status);

#endif
