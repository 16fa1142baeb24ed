/* guider_config.json. */
#include "frontend/json_config.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    fuzz_memory_t memory = {.limit_bytes = 64 << 20};
    veer_allocator_t allocator = fuzz_allocator(&memory);
    veer_guider_configs_t configs;
    fuzz_file_t file = fuzz_file(bytes, size_bytes);
    if (fuzz_ok(veer_guider_configs_read(file.path, allocator, &configs))) {
        double sum = 0;
        for (size_t i = 0; i < configs.count; i++) {
            const veer_guider_config_t *c = &configs.items[i];
            sum += veer_guider_config_gamma(c);
            if (c->head) sum += (double)strlen(c->head);
            for (size_t k = 0; k < c->class.count; k++) sum += (double)c->class.values[k];
            for (size_t k = 0; k < c->target.count; k++) sum += c->target.values[k];
        }
        volatile double kept = sum; /* reads all of it, for the address sanitizer */
        (void)kept;
        veer_guider_configs_deinit(&configs);
    }
    fuzz_file_close(&file);
    FUZZ_CHECK(memory.live_bytes == 0, "%zu bytes are left", memory.live_bytes);
    return 0;
}
