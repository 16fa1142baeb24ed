/* The cache of compiled code and measurements: what is found is what was kept, whatever happens to the files. */
#include "api/cache.h"
#include "tests/support/failing_allocator.h"
#include "tests/unit/temp_folder.h"

#include <pthread.h>
#include <sys/stat.h>

static veer_cache_t *open_cache(void) {
    veer_cache_t *cache;
    assert_ok(veer_cache_open(temp_folder, veer_allocator_system(), &cache));
    assert_non_null(cache);
    return cache;
}

static bool finds(veer_cache_t *cache, const char *key, const char *expected) {
    void *value;
    size_t bytes;
    if (!veer_cache_find(cache, key, strlen(key), &value, &bytes)) return false;
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(value, expected, bytes);
    veer_free(veer_allocator_system(), value);
    return true;
}

static void keep(veer_cache_t *cache, const char *key, const char *value) {
    veer_cache_store(cache, key, strlen(key), value, strlen(value));
}

static void test_round_trip(void **state) {
    (void)state;
    veer_cache_t *cache = open_cache();
    assert_false(finds(cache, "a", "1"));
    keep(cache, "a", "1");
    keep(cache, "b", "");
    keep(cache, "", "empty key");
    assert_true(finds(cache, "a", "1"));
    assert_true(finds(cache, "b", ""));
    assert_true(finds(cache, "", "empty key"));
    assert_false(finds(cache, "ab", "1"));
    keep(cache, "a", "another");
    veer_cache_close(cache);
    cache = open_cache();
    assert_true(finds(cache, "a", "another"));
    veer_cache_close(cache);
    assert_int_equal(temp_folder_count(true), 3);
}

/* The file's name, of the only entry. */
static const char *only_file(void) {
    const char *path = NULL;
    DIR *dir = opendir(temp_folder);
    for (struct dirent *e; (e = readdir(dir));)
        if (*e->d_name != '.') path = temp_path(e->d_name);
    closedir(dir);
    assert_non_null(path);
    return path;
}

/* Cut anywhere, lengthened, or with any byte changed, an entry is absent and can be kept anew. */
static void test_broken(void **state) {
    (void)state;
    veer_cache_t *cache = open_cache();
    keep(cache, "the key", "the value");
    unsigned char good[256], bad[257];
    size_t size = read_file(only_file(), good, sizeof good);
    assert_true(size > 16 && size < sizeof good);
    for (size_t cut = 0; cut <= size + 1; cut++) {
        memcpy(bad, good, size), bad[size] = 0;
        write_file(only_file(), bad, cut);
        assert_int_equal(finds(cache, "the key", "the value"), cut == size);
    }
    for (size_t at = 0; at < size; at++) {
        memcpy(bad, good, size);
        bad[at] ^= 0x10;
        write_file(only_file(), bad, size);
        assert_false(finds(cache, "the key", "the value"));
    }
    keep(cache, "the key", "the value");
    assert_true(finds(cache, "the key", "the value"));
    veer_cache_close(cache);
    temp_folder_count(true);
}

static void keep_first(veer_cache_t *cache, const char *value) {
    veer_cache_store_first(cache, "k", 1, value, strlen(value));
}

/* Whoever comes second finds what the first one kept, unless that is broken. */
static void test_first(void **state) {
    (void)state;
    veer_cache_t *a = open_cache(), *b = open_cache();
    keep_first(a, "one");
    keep_first(b, "two");
    assert_true(finds(a, "k", "one"));
    assert_true(finds(b, "k", "one"));
    assert_int_equal(temp_folder_count(false), 1);
    write_file(only_file(), "not an entry", 12);
    keep_first(b, "three");
    assert_true(finds(a, "k", "three"));
    veer_cache_close(a), veer_cache_close(b);
    assert_int_equal(temp_folder_count(true), 1);
}

/* Another key's entry under this key's name: the names are only hashes. */
static void test_collision(void **state) {
    (void)state;
    char path[400];
    unsigned char file[256];
    veer_cache_t *cache = open_cache();
    keep(cache, "first", "1");
    snprintf(path, sizeof path, "%s", only_file());
    size_t size = read_file(path, file, sizeof file);
    unlink(path);
    keep(cache, "other", "2");
    write_file(only_file(), file, size);
    assert_false(finds(cache, "other", "2"));
    veer_cache_close(cache);
    temp_folder_count(true);
}

static void test_folders(void **state) {
    (void)state;
    veer_cache_t *cache;
    assert_ok(veer_cache_open("none", veer_allocator_system(), &cache));
    assert_null(cache);
    assert_false(finds(cache, "a", "1"));
    keep(cache, "a", "1");
    veer_cache_close(cache);
    assert_error(veer_cache_open("/dev/null/x", veer_allocator_system(), &cache), VEER_ERR_CONFIG, "/dev/null/x");
    char deep[400];
    snprintf(deep, sizeof deep, "%s/a/b", temp_folder);
    assert_int_equal(setenv("VEER_CACHE_DIR", deep, 1), 0);
    assert_ok(veer_cache_open(NULL, veer_allocator_system(), &cache));
    keep(cache, "a", "1");
    assert_true(finds(cache, "a", "1"));
    veer_cache_close(cache);
    struct stat st;
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    unsetenv("VEER_CACHE_DIR");
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    assert_ok(veer_cache_open(NULL, veer_allocator_system(), &cache)); /* cannot be made: no cache, no error */
    assert_null(cache);
    snprintf(deep, sizeof deep, "rm -r '%s/a'", temp_folder);
    assert_int_equal(system(deep), 0);
}

/* No folder to write to any more, as with a full disk: nothing is kept, nothing fails. */
static void test_lost_folder(void **state) {
    (void)state;
    char folder[400];
    snprintf(folder, sizeof folder, "%s/gone", temp_folder);
    veer_cache_t *cache;
    assert_ok(veer_cache_open(folder, veer_allocator_system(), &cache));
    assert_int_equal(rmdir(folder), 0);
    keep(cache, "a", "1");
    assert_false(finds(cache, "a", "1"));
    veer_cache_close(cache);
}

/* The oldest entries go first, others' files stay. */
static void test_size(void **state) {
    (void)state;
    enum { COUNT = 5 };
    size_t bytes = (size_t)VEER_CACHE_BYTES / 4;
    char *value = calloc(bytes, 1), key[2] = "0";
    assert_non_null(value);
    write_file(temp_path("notes.txt"), "mine", 4);
    for (int i = 0; i < COUNT; i++) {
        veer_cache_t *cache = open_cache();
        key[0] = (char)('0' + i);
        veer_cache_store(cache, key, 1, value, bytes);
        usleep(20000); /* files' times are coarse */
        if (i == 2) {  /* used again: younger than the second */
            void *found;
            size_t n;
            assert_true(veer_cache_find(cache, "0", 1, &found, &n));
            veer_free(veer_allocator_system(), found);
            usleep(20000);
        }
        veer_cache_close(cache);
    }
    veer_cache_t *cache = open_cache();
    static const bool there[COUNT] = {true, false, false, true, true};
    for (int i = 0; i < COUNT; i++) {
        void *found = NULL;
        size_t n;
        key[0] = (char)('0' + i);
        assert_int_equal(veer_cache_find(cache, key, 1, &found, &n), there[i]);
        veer_free(veer_allocator_system(), found);
    }
    veer_cache_close(cache);
    free(value);
    assert_int_equal(access(temp_path("notes.txt"), F_OK), 0);
    temp_folder_count(true);
}

/* Several writers and readers of the same entry: it is absent or whole. */
static void *use(void *cache) {
    for (int i = 0; i < 200; i++) {
        keep(cache, "shared", "the same value of everybody");
        finds(cache, "shared", "the same value of everybody");
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t threads[4];
    veer_cache_t *a = open_cache(), *b = open_cache();
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, use, i % 2 ? a : b), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_true(finds(a, "shared", "the same value of everybody"));
    veer_cache_close(a), veer_cache_close(b);
    assert_int_equal(temp_folder_count(true), 1);
}

static void test_no_memory(void **state) {
    (void)state;
    for (long at = 0, more = 1; more; at++) {
        failing_allocator_t f = {.fail_at = at};
        veer_cache_t *cache;
        veer_status_t status = veer_cache_open(temp_folder, failing_allocator(&f), &cache);
        if (!status) {
            void *value;
            size_t bytes;
            keep(cache, "k", "v");
            if (veer_cache_find(cache, "k", 1, &value, &bytes)) veer_free(failing_allocator(&f), value);
            veer_cache_close(cache);
        }
        veer_status_free(status);
        assert_int_equal(f.live, 0);
        more = f.failed;
    }
    temp_folder_count(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_broken),  cmocka_unit_test(test_collision),
        cmocka_unit_test(test_first),      cmocka_unit_test(test_folders), cmocka_unit_test(test_lost_folder),
        cmocka_unit_test(test_size),       cmocka_unit_test(test_threads), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
