/* vocab.txt, and texts made of its words. */
#include "frontend/vocab.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

enum { TEXT_TOKENS = 16 };

/* Any word that was read is its own token, and comes back from it. */
static void check_words(const veer_vocab_t *v, veer_allocator_t allocator) {
    char *text;
    int64_t tokens[TEXT_TOKENS];
    for (int64_t i = 0; i < v->count; i++)
        FUZZ_CHECK(veer_vocab_find(v, v->words[i], strlen(v->words[i])) == i, "word %lld", (long long)i);
    for (int64_t i = 0; i < TEXT_TOKENS; i++) tokens[i] = i % (v->count + 1); /* the last one is no token */
    if (fuzz_ok(veer_vocab_decode(v, tokens, TEXT_TOKENS, allocator, &text))) veer_free(allocator, text);
    for (int64_t i = 0; i < TEXT_TOKENS; i++) tokens[i] = VEER_TOKEN_UNKNOWN + i % (v->count - VEER_TOKEN_UNKNOWN);
    if (fuzz_must(veer_vocab_decode(v, tokens, TEXT_TOKENS, allocator, &text), "decode")) {
        fuzz_ok(veer_vocab_encode(v, text, TEXT_TOKENS, tokens));
        veer_free(allocator, text);
    }
    if (fuzz_must(veer_vocab_json_line(v, tokens, TEXT_TOKENS, 42, 0, allocator, &text), "a line of JSON"))
        veer_free(allocator, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    fuzz_memory_t memory = {.limit_bytes = 64 << 20};
    veer_allocator_t allocator = fuzz_allocator(&memory);
    veer_vocab_t vocab;
    fuzz_file_t file = fuzz_file(bytes, size_bytes);
    if (fuzz_ok(veer_vocab_read(file.path, allocator, &vocab))) {
        check_words(&vocab, allocator);
        veer_vocab_deinit(&vocab);
    }
    fuzz_file_close(&file);
    FUZZ_CHECK(memory.live_bytes == 0, "%zu bytes are left", memory.live_bytes);
    return 0;
}
