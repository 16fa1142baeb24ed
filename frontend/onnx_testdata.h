/* Folders of ONNX tests: model.onnx beside test_data_set_0, test_data_set_1, ..., each with input_<i>.pb,
 * output_<i>.pb.
 *
 *     veer_onnx_testdata_t data;
 *     VEER_TRY(veer_onnx_testdata_read(allocator, "test_add/test_data_set_0", &data));
 *     ... data.inputs[0].tensor ...
 *     veer_onnx_testdata_deinit(&data);
 */
#ifndef VEER_FRONTEND_ONNX_TESTDATA_H
#define VEER_FRONTEND_ONNX_TESTDATA_H

#include "ir/base/allocator.h"
#include "ir/types.h"

typedef struct veer_onnx_testvalue_s {
    char *name; /* as the file has it; "" where it has none */
    veer_tensor_t tensor;
} veer_onnx_testvalue_t;

typedef struct veer_onnx_testdata_s {
    veer_onnx_testvalue_t *inputs, *outputs; /* in the order of their numbers */
    int input_count, output_count;
    veer_allocator_t allocator;
} veer_onnx_testdata_t;

/* VEER_ERR_FILE where a file is broken or there is no output_0.pb, VEER_ERR_UNSUPPORTED for values that are no tensors
 * of the IR's types. */
VEER_MUST_USE veer_status_t veer_onnx_testdata_read(veer_allocator_t allocator, const char *folder,
                                                    veer_onnx_testdata_t *out_data);
void veer_onnx_testdata_deinit(veer_onnx_testdata_t *data);

/* Names of the entries of a folder, sorted; those that begin with '.' are left out. Each name and the list are the
 * caller's: veer_onnx_testdata_names_free. VEER_ERR_FILE where it cannot be read. */
VEER_MUST_USE veer_status_t veer_onnx_testdata_names(veer_allocator_t allocator, const char *folder, char ***out_names,
                                                     size_t *out_count);
void veer_onnx_testdata_names_free(veer_allocator_t allocator, char **names, size_t count);

#endif
