/* Tests of ONNX's own suites whose data contradicts the other tests of the same operator; they cannot all pass. */
#ifndef VEER_TESTS_SUPPORT_ONNX_CONTRADICTIONS_H
#define VEER_TESTS_SUPPORT_ONNX_CONTRADICTIONS_H

#include <stdbool.h>
#include <string.h>

static inline bool veer_contradictory_test(const char *name) {
    /* With ceil_mode a window may hang over the padding. Every other averagepool test leaves what lies beyond the
     * padding out of the divisor; this one counts it. */
    return !strcmp(name, "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True");
}

#endif
