/* Graphs as text. */
#include "ir/parse.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    fuzz_memory_t memory = {.limit_bytes = 64 << 20};
    veer_allocator_t allocator = fuzz_allocator(&memory);
    veer_graph_t *g = NULL;
    if (fuzz_must(veer_graph_create(allocator, &g), "a new graph") &&
        fuzz_ok(veer_parse(g, (const char *)bytes, size_bytes, "fuzz")))
        fuzz_graph(g, allocator);
    veer_graph_destroy(g);
    FUZZ_CHECK(memory.live_bytes == 0, "%zu bytes are left", memory.live_bytes);
    return 0;
}

/* ---- mutations: words, numbers and statements ---- */

typedef struct span_s {
    size_t start, length;
} span_t;

static bool in_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
           c == '-' || c == '%' || c == '@';
}

/* A word or a number somewhere. */
static span_t pick_word(const char *text, size_t size, fuzz_random_t *r) {
    size_t at = fuzz_below(r, size);
    while (at < size && !in_word(text[at])) at++;
    while (at > 0 && in_word(text[at - 1])) at--;
    size_t end = at;
    while (end < size && in_word(text[end])) end++;
    return (span_t){at, end - at};
}

static span_t pick_line(const char *text, size_t size, fuzz_random_t *r) {
    size_t at = fuzz_below(r, size), end = at;
    while (at > 0 && text[at - 1] != '\n') at--;
    while (end < size && text[end] != '\n') end++;
    return (span_t){at, end - at + (end < size)};
}

static size_t replace(char *text, size_t size, size_t capacity, span_t was, const char *by, size_t length) {
    if (size - was.length + length > capacity) return size;
    memmove(text + was.start + length, text + was.start + was.length, size - was.start - was.length);
    memcpy(text + was.start, by, length);
    return size - was.length + length;
}

static size_t new_word(char *out, size_t room, char first, fuzz_random_t *r) {
    static const char *const words[] = {"nan", "inf", "-inf", "1e-320", "1e308", "_", "splat", "true", "0x7fc00001"};
    size_t kind = fuzz_below(r, 8);
    if ((first >= '0' && first <= '9') || first == '-')
        return (size_t)(kind ? snprintf(out, room, "%lld", (long long)fuzz_number(r))
                             : snprintf(out, room, "%s", words[fuzz_below(r, sizeof words / sizeof *words)]));
    if (kind < 2)
        return (size_t)snprintf(out, room, "%s",
                                veer_dtype_name((veer_dtype_t)(1 + fuzz_below(r, VEER_DTYPE_COUNT - 1))));
    return (size_t)snprintf(out, room, "%s", veer_op_def((veer_op_t)(1 + fuzz_below(r, VEER_OP_COUNT - 1)))->name);
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t capacity, unsigned seed) {
    fuzz_random_t r = {seed * UINT64_C(2654435761) + 1};
    char *text = (char *)bytes, word[128];
    if (!size || fuzz_below(&r, 8) == 0) return LLVMFuzzerMutate(bytes, size, capacity);
    for (size_t rounds = 1 + fuzz_below(&r, 3); rounds-- && size;) {
        bool lines = fuzz_below(&r, 4) == 0;
        span_t a = lines ? pick_line(text, size, &r) : pick_word(text, size, &r);
        span_t b = lines ? pick_line(text, size, &r) : pick_word(text, size, &r);
        size_t length = b.length < sizeof word ? b.length : sizeof word;
        memcpy(word, text + b.start, length);
        size_t kind = fuzz_below(&r, 4);
        if (!lines && kind > 1 && a.length) length = new_word(word, sizeof word, text[a.start], &r);
        if (kind == 0 && lines) length = 0;
        if (kind == 1 && lines) a.length = 0;
        size = replace(text, size, capacity, a, word, length);
    }
    return size;
}
