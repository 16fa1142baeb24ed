/* What the fuzz targets share. Each target is one file fuzz_<name>.c with LLVMFuzzerTestOneInput; it runs under
 * libFuzzer (preset `fuzz`) and under driver.c, in every build.
 *
 * A target feeds its bytes to one reader and goes on with what it gives. Any bytes must give either a value or a status
 * fit to be shown; nothing may be left in memory; what was read must keep the rules of the IR. Whatever does not is
 * reported by FUZZ_CHECK, which aborts.
 */
#ifndef VEER_TESTS_FUZZ_FUZZ_H
#define VEER_TESTS_FUZZ_FUZZ_H

#include "ir/graph.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);
/* Changes bytes[size_bytes] in place, at most capacity bytes; gives the new size. A target may define the first one,
 * which knows its format; libFuzzer and driver.c bring the second one, which knows bytes. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size_bytes, size_t capacity, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size_bytes, size_t capacity);

#define FUZZ_CHECK(condition, ...)                                                                                     \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, "\n");                                                                                     \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Memory that counts, and runs out at a limit. */
typedef struct fuzz_memory_s {
    size_t live_bytes, limit_bytes;
} fuzz_memory_t;
veer_allocator_t fuzz_allocator(fuzz_memory_t *memory);

/* True where all is well; otherwise checks that the status can be shown, and releases it. */
bool fuzz_ok(veer_status_t status);
/* The same, where only want of memory is an excuse. */
bool fuzz_must(veer_status_t status, const char *what);
/* The same, where `unless` is one, too. */
bool fuzz_must_unless(veer_status_t status, veer_code_t unless, const char *what);

/* A path that reads as these bytes. Close it afterwards. */
typedef struct fuzz_file_s {
    int fd;
    char path[40];
} fuzz_file_t;
fuzz_file_t fuzz_file(const void *bytes, size_t size_bytes);
void fuzz_file_close(fuzz_file_t *file);

/* Everything that can be done with a graph that was read: verify; print, parse and print again; run passes, which must
 * not change a bit of what it computes; differentiate; evaluate. Small graphs only; larger ones are verified and
 * printed. */
void fuzz_graph(veer_graph_t *g, veer_allocator_t allocator);

/* xorshift64*: the same numbers everywhere. */
typedef struct fuzz_random_s {
    uint64_t state; /* not 0 */
} fuzz_random_t;
static inline uint64_t fuzz_random(fuzz_random_t *r) {
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(0x2545f4914f6cdd1d);
}
static inline size_t fuzz_below(fuzz_random_t *r, size_t limit) {
    return limit ? (size_t)(fuzz_random(r) >> 16) % limit : 0;
}
/* One of the numbers at which readers break. */
int64_t fuzz_number(fuzz_random_t *r);

#endif
