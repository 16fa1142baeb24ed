/* Single tensors in files (TensorProto), as in the test_data_set folders of ONNX tests.
 *
 *     veer_tensor_t x;
 *     char *name;
 *     VEER_TRY(veer_onnx_pb_read("test_data_set_0/input_0.pb", allocator, &x, &name));
 *     ...
 *     veer_free(allocator, x.data), veer_free(allocator, name);
 */
#ifndef VEER_FRONTEND_ONNX_PB_H
#define VEER_FRONTEND_ONNX_PB_H

#include "ir/base/allocator.h"
#include "ir/types.h"

/* The caller owns data and name ("" where the file has none), both from `allocator`. VEER_ERR_FILE where the file is no
 * tensor, VEER_ERR_UNSUPPORTED for element types that the IR does not have and for sequences. */
VEER_MUST_USE veer_status_t veer_onnx_pb_read(const char *path, veer_allocator_t allocator, veer_tensor_t *out_tensor,
                                              char **out_name);

#endif
