/* NumPy's archives: a zip file of .npy members, read stored or deflated, written stored.
 *
 *     veer_npz_t npz;
 *     VEER_TRY(veer_npz_read("samples.npz", allocator, &npz));
 *     const veer_tensor_t *x = veer_npz_find(&npz, "arr_0");   // borrowed; NULL where there is none
 *     veer_npz_deinit(&npz);
 *
 * Archives of 4 GiB and more (zip64), encrypted ones and other compressions are VEER_ERR_UNSUPPORTED, broken ones
 * VEER_ERR_FILE; checksums are verified. Members that are no .npy files are left out.
 */
#ifndef VEER_FRONTEND_NPZ_H
#define VEER_FRONTEND_NPZ_H

#include "frontend/npy.h"

typedef struct veer_npz_entry_s {
    char *name; /* without ".npy" */
    veer_tensor_t tensor;
} veer_npz_entry_t;

typedef struct veer_npz_s {
    size_t count;
    veer_npz_entry_t *entries; /* in the order of the archive */
    veer_allocator_t allocator;
} veer_npz_t;

VEER_MUST_USE veer_status_t veer_npz_read(const char *path, veer_allocator_t allocator, veer_npz_t *out_npz);
/* The same from memory, which may be released afterwards. */
VEER_MUST_USE veer_status_t veer_npz_parse(const void *bytes, size_t size_bytes, veer_allocator_t allocator,
                                           veer_npz_t *out_npz);
void veer_npz_deinit(veer_npz_t *npz);
const veer_tensor_t *veer_npz_find(const veer_npz_t *npz, const char *name);

/* The same entries give the same bytes: time stamps are fixed. Names and data are borrowed. */
VEER_MUST_USE veer_status_t veer_npz_write(const char *path, const veer_npz_entry_t *entries, size_t count,
                                           veer_allocator_t allocator);

#endif
