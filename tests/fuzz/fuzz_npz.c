/* NumPy's archives: zip files, stored and deflated. */
#include "frontend/npz.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    fuzz_memory_t memory = {.limit_bytes = 64 << 20};
    veer_allocator_t allocator = fuzz_allocator(&memory);
    veer_npz_t npz, by_path;
    fuzz_file_t file = fuzz_file(bytes, size_bytes);
    bool ok = fuzz_ok(veer_npz_parse(bytes, size_bytes, allocator, &npz));
    bool ok_by_path = fuzz_ok(veer_npz_read(file.path, allocator, &by_path));
    FUZZ_CHECK(ok == ok_by_path, "from memory and from a file are two things");
    if (ok) {
        FUZZ_CHECK(npz.count == by_path.count, "%zu and %zu members", npz.count, by_path.count);
        for (size_t i = 0; i < npz.count; i++)
            FUZZ_CHECK(veer_npz_find(&npz, npz.entries[i].name), "'%s' is not found", npz.entries[i].name);
        veer_npz_deinit(&npz);
        veer_npz_deinit(&by_path);
    }
    fuzz_file_close(&file);
    FUZZ_CHECK(memory.live_bytes == 0, "%zu bytes are left", memory.live_bytes);
    return 0;
}
