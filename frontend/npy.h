/* NumPy's array files: .npy versions 1 and 2, C order, little endian (or single bytes); f2 f4 f8, i1..i8, u1..u8, b1.
 *
 *     veer_tensor_t x;
 *     VEER_TRY(veer_npy_read("x_T.npy", allocator, &x));
 *     ...
 *     veer_free(allocator, x.data);
 *
 * A file that is broken is VEER_ERR_FILE, one that is fine but of a kind we do not read VEER_ERR_UNSUPPORTED; nothing
 * is allocated for data that the file does not have. Thread-safe for distinct files.
 */
#ifndef VEER_FRONTEND_NPY_H
#define VEER_FRONTEND_NPY_H

#include "frontend/outfile.h"
#include "ir/base/allocator.h"
#include "ir/types.h"

/* The caller owns out_tensor->data, from `allocator`. */
VEER_MUST_USE veer_status_t veer_npy_read(const char *path, veer_allocator_t allocator, veer_tensor_t *out_tensor);
/* The same from memory, which may be released afterwards. */
VEER_MUST_USE veer_status_t veer_npy_parse(const void *bytes, size_t size_bytes, veer_allocator_t allocator,
                                           veer_tensor_t *out_tensor);
/* VEER_ERR_UNSUPPORTED for bf16, which NumPy has no name for. */
VEER_MUST_USE veer_status_t veer_npy_write(const char *path, const veer_tensor_t *tensor, veer_allocator_t allocator);

/* Everything that comes before the data: magic, version and the padded text, a multiple of 64 bytes. */
enum { VEER_NPY_MAX_HEADER_BYTES = 512 };
VEER_MUST_USE veer_status_t veer_npy_header(const veer_type_t *type, char out_header[VEER_NPY_MAX_HEADER_BYTES],
                                            size_t *out_size_bytes);

#endif
