/* What tests of whole models share: reading tensors of the test data, and the largest error relative to the range of
 * what was expected. Include <setjmp.h>, <stdarg.h>, <stddef.h> and <cmocka.h> before. */
#ifndef VEER_TESTS_TENSORS_H
#define VEER_TESTS_TENSORS_H

#include "frontend/npy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* All messages of a failure, then fails. */
static inline void require_ok(veer_status_t status) {
    for (size_t i = 0; i < veer_status_count(status); i++)
        print_error("%s\n%s", veer_status_message(status, i), veer_status_details(status, i));
    bool ok = !status;
    veer_status_free(status);
    assert_true(ok);
}

/* VEER_TEST_DATA/folder/name.npy; the caller frees .data with the system's allocator. */
static inline veer_tensor_t read_data(const char *folder, const char *name) {
    char path[512];
    veer_tensor_t tensor;
    snprintf(path, sizeof path, "%s/%s/%s.npy", VEER_TEST_DATA, folder, name);
    require_ok(veer_npy_read(path, veer_allocator_system(), &tensor));
    return tensor;
}

static inline void free_tensor(veer_tensor_t *t) {
    veer_free(veer_allocator_system(), t->data);
    t->data = NULL;
}

/* max |got - want| / (max want - min want); a NaN counts as infinite, and so does an error where want has no range. */
static inline double relative_error(const float *got, const float *want, int64_t count) {
    double low = INFINITY, high = -INFINITY, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double error = fabs((double)got[i] - want[i]);
        if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
        low = fmin(low, want[i]), high = fmax(high, want[i]);
    }
    return worst == 0 ? 0 : worst / (high - low);
}

#endif
