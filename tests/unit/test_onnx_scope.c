/* Names of a scope stay what they were when they were added. */
#include "frontend/onnx_scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_names_are_kept(void **state) {
    (void)state;
    veer_arena_t arena;
    veer_arena_init(&arena, veer_allocator_system());
    veer_onnx_scope_t scope = {.arena = &arena};
    char first[8] = "conv", second[8] = "conv";
    bool is_new = false;
    assert_non_null(veer_onnx_scope_add(&scope, first, &is_new));
    assert_true(is_new);
    assert_non_null(veer_onnx_scope_add(&scope, second, &is_new));
    assert_false(is_new);
    /* The second asker makes up another name in the same buffer, as the writer of ONNX files does. */
    strcpy(second, "conv_1");
    assert_non_null(veer_onnx_scope_add(&scope, second, &is_new));
    assert_true(is_new);
    assert_non_null(veer_onnx_scope_add(&scope, "conv", &is_new));
    assert_false(is_new);
    assert_ptr_not_equal(veer_onnx_scope_find(&scope, "conv"), veer_onnx_scope_find(&scope, "conv_1"));
    veer_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names_are_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
