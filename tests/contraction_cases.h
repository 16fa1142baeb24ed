/* Cases of the larger op families, one table of them all. `want` was computed by PyTorch 1.13 in double; for resize by
 * the numpy interpolation of the onnx 1.12 package. */
#include "tests/op_case.h"

static const op_case_t contraction_cases[] = {
#include "tests/cases/norm.def"

#include "tests/cases/matmul.def"

#include "tests/cases/conv.def"

#include "tests/cases/pool.def"

#include "tests/cases/resize.def"
};
enum { CONTRACTION_CASES = sizeof contraction_cases / sizeof *contraction_cases };
