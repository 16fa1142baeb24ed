/* NumPy's array files. What was read is written and read again. */
#include "frontend/npy.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_again(const veer_tensor_t *t, veer_allocator_t allocator) {
    char header[VEER_NPY_MAX_HEADER_BYTES];
    size_t header_bytes, size_bytes = veer_type_bytes(&t->type);
    veer_tensor_t again;
    if (!fuzz_must(veer_npy_header(&t->type, header, &header_bytes), "write what was read")) return;
    char *file = veer_alloc(allocator, header_bytes + size_bytes);
    if (!file) return;
    memcpy(file, header, header_bytes);
    memcpy(file + header_bytes, t->data, size_bytes);
    if (fuzz_must(veer_npy_parse(file, header_bytes + size_bytes, allocator, &again), "read what was written")) {
        FUZZ_CHECK(veer_type_equal(&t->type, &again.type), "another type");
        FUZZ_CHECK(!memcmp(t->data, again.data, size_bytes), "other bytes");
        veer_free(allocator, again.data);
    }
    veer_free(allocator, file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    fuzz_memory_t memory = {.limit_bytes = 64 << 20};
    veer_allocator_t allocator = fuzz_allocator(&memory);
    veer_tensor_t t, by_path;
    fuzz_file_t file = fuzz_file(bytes, size_bytes);
    bool ok = fuzz_ok(veer_npy_parse(bytes, size_bytes, allocator, &t));
    bool ok_by_path = fuzz_ok(veer_npy_read(file.path, allocator, &by_path));
    FUZZ_CHECK(ok == ok_by_path, "from memory and from a file are two things");
    if (ok) {
        FUZZ_CHECK(veer_type_equal(&t.type, &by_path.type), "another type from a file");
        FUZZ_CHECK(veer_type_bytes(&t.type) <= size_bytes, "more data than bytes");
        check_again(&t, allocator);
        veer_free(allocator, t.data);
        veer_free(allocator, by_path.data);
    }
    fuzz_file_close(&file);
    FUZZ_CHECK(memory.live_bytes == 0, "%zu bytes are left", memory.live_bytes);
    return 0;
}
