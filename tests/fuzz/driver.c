/* Runs a fuzz target without libFuzzer: replays files, then runs a fixed number of mutations of them, the same ones
 * every time.
 *
 *     fuzz_npy FOLDER [RUNS [SEED]]        all files of the folder, then RUNS mutations
 *     fuzz_npy FILE                        one file: to repeat what libFuzzer or this driver has found
 *
 * An input that breaks the target is written to <program>.crash in the current folder; so is one that takes longer
 * than a minute.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FILES = 1024, MOST_BYTES = 1 << 16, DEFAULT_RUNS = 2000, SECONDS = 60 };

typedef struct input_s {
    uint8_t *bytes;
    size_t size;
} input_t;

static input_t files[MOST_FILES];
static size_t file_count;
static fuzz_random_t generator = {42};

/* ---- what was running when it broke ---- */

static const uint8_t *running;
static size_t running_size;
static char crash_path[256];

static void save_running(void) {
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return;
    ssize_t written = running ? write(fd, running, running_size) : 0;
    close(fd);
    static const char text[] = "the input is kept in ";
    if (written < 0 || write(2, text, sizeof text - 1) < 0 || write(2, crash_path, strlen(crash_path)) < 0 ||
        write(2, "\n", 1) < 0)
        return;
}

static void on_signal(int number) {
    save_running();
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the sanitizers' runtime, where there is one. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void catch_crashes(const char *program) {
    const char *name = strrchr(program, '/');
    snprintf(crash_path, sizeof crash_path, "%s.crash", name ? name + 1 : program);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(save_running);
    static const int numbers[] = {SIGABRT, SIGFPE, SIGALRM, SIGSEGV, SIGBUS, SIGILL};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (i < 3 || !__sanitizer_set_death_callback) signal(numbers[i], on_signal);
}

static void run(const uint8_t *bytes, size_t size) {
    uint8_t *exact = malloc(size ? size : 1); /* its own block, so that reading behind the end is found */
    FUZZ_CHECK(exact, "out of memory");
    if (size) memcpy(exact, bytes, size);
    running = exact, running_size = size;
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(exact, size);
    alarm(0);
    running = NULL;
    free(exact);
}

/* ---- files ---- */

static bool read_file(const char *path) {
    FILE *f = file_count < MOST_FILES ? fopen(path, "rb") : NULL;
    if (!f) return false;
    input_t *in = &files[file_count];
    in->bytes = malloc(MOST_BYTES);
    FUZZ_CHECK(in->bytes, "out of memory");
    in->size = fread(in->bytes, 1, MOST_BYTES, f);
    bool whole = feof(f) || fgetc(f) == EOF;
    fclose(f);
    FUZZ_CHECK(whole, "%s has more than %d bytes", path, MOST_BYTES);
    file_count++;
    return true;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* In the order of their names: the mutations depend on it. */
static bool read_folder(const char *path) {
    struct dirent **entries;
    char name[4096];
    int count = scandir(path, &entries, NULL, by_name);
    bool ok = count >= 0;
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') ok &= read_file(name);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return ok;
}

/* ---- mutations ---- */

static size_t insert(uint8_t *bytes, size_t size, size_t capacity, const uint8_t *piece, size_t length) {
    size_t at = fuzz_below(&generator, size + 1);
    if (length > capacity - size) length = capacity - size;
    memmove(bytes + at + length, bytes + at, size - at);
    memcpy(bytes + at, piece, length);
    return size + length;
}

static size_t write_number(char *out, size_t room) {
    return (size_t)snprintf(out, room, "%lld", (long long)fuzz_number(&generator));
}

/* Digits from a random place on become another number. */
static size_t change_digits(uint8_t *bytes, size_t size, size_t capacity) {
    size_t at = fuzz_below(&generator, size), end;
    while (at < size && (bytes[at] < '0' || bytes[at] > '9')) at++;
    for (end = at; end < size && bytes[end] >= '0' && bytes[end] <= '9';) end++;
    char number[32];
    size_t length = write_number(number, sizeof number);
    if (at == end || size - (end - at) + length > capacity) return size;
    memmove(bytes + at + length, bytes + end, size - end);
    memcpy(bytes + at, number, length);
    return size - (end - at) + length;
}

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t capacity) {
    uint8_t piece[256];
    const input_t *other = &files[fuzz_below(&generator, file_count)];
    size_t at = fuzz_below(&generator, size), length = 1 + fuzz_below(&generator, 16),
           from = fuzz_below(&generator, other->size);
    int64_t number = fuzz_number(&generator);
    if (length > size - at) length = size - at;
    switch (size ? fuzz_below(&generator, 9) : 0) {
    case 0:
        for (size_t i = 0; i < 8; i++) piece[i] = (uint8_t)fuzz_random(&generator);
        return insert(bytes, size, capacity, piece, 1 + fuzz_below(&generator, 8));
    case 1: bytes[at] ^= (uint8_t)(1 << fuzz_below(&generator, 8)); return size;
    case 2: bytes[at] = (uint8_t)fuzz_random(&generator); return size;
    case 3: memcpy(bytes + at, &number, length < 8 ? length : 8); return size;
    case 4: memmove(bytes + at, bytes + at + length, size - at - length); return size - length;
    case 5: memcpy(piece, bytes + at, length); return insert(bytes, size, capacity, piece, length);
    case 6: return fuzz_below(&generator, 4) ? change_digits(bytes, size, capacity) : at;
    case 7: return change_digits(bytes, size, capacity);
    default:
        length = fuzz_below(&generator, sizeof piece);
        if (length > other->size - from) length = other->size - from;
        memcpy(piece, other->bytes + from, length);
        return insert(bytes, size, capacity, piece, length);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t capacity, unsigned seed) __attribute__((weak));

static void run_mutation(void) {
    static uint8_t bytes[MOST_BYTES];
    const input_t *from = &files[fuzz_below(&generator, file_count)];
    size_t size = from->size;
    memcpy(bytes, from->bytes, size);
    for (size_t rounds = 1 + fuzz_below(&generator, 4); rounds--;)
        size = LLVMFuzzerCustomMutator
                   ? LLVMFuzzerCustomMutator(bytes, size, sizeof bytes, (unsigned)fuzz_random(&generator))
                   : LLVMFuzzerMutate(bytes, size, sizeof bytes);
    run(bytes, size);
}

int main(int argc, char **argv) {
    struct stat info;
    bool one = argc > 1 && !stat(argv[1], &info) && S_ISREG(info.st_mode);
    if (argc < 2 || !(one ? read_file(argv[1]) : read_folder(argv[1])) || !file_count) {
        fprintf(stderr, "usage: %s FOLDER [RUNS [SEED]] | FILE\n", argv[0]);
        return 2;
    }
    unsigned long runs = argc > 2 ? strtoul(argv[2], NULL, 10) : one ? 0 : DEFAULT_RUNS;
    if (argc > 3) generator.state = strtoull(argv[3], NULL, 10);
    if (!generator.state) generator.state = 1; /* xorshift stays at 0 */
    printf("%zu files, %lu mutations, seed %llu\n", file_count, runs, (unsigned long long)generator.state);
    fflush(stdout);
    catch_crashes(argv[0]);
    run(NULL, 0);
    for (size_t i = 0; i < file_count; i++) run(files[i].bytes, files[i].size);
    for (unsigned long i = 0; i < runs; i++) run_mutation();
    for (size_t i = 0; i < file_count; i++) free(files[i].bytes);
    return 0;
}
