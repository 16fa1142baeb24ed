/* Files that are there completely or not at all. */
#include "frontend/outfile.h"
#include "tests/unit/temp_folder.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static veer_status_t write_text(const char *path, const char *text) {
    veer_outfile_t *f;
    VEER_TRY(veer_outfile_open(path, veer_allocator_system(), &f));
    return veer_outfile_close(f, veer_outfile_write(f, text, strlen(text)));
}

static void assert_text(const char *path, const char *text) {
    char bytes[64] = {0};
    read_file(path, bytes, sizeof bytes - 1);
    assert_string_equal(bytes, text);
}

static void test_commit(void **state) {
    (void)state;
    const char *path = temp_path("a");
    assert_ok(write_text(path, "old"));
    assert_text(path, "old");
    assert_int_equal(chmod(path, 0640), 0);
    assert_ok(write_text(path, "new one"));
    assert_text(path, "new one");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640); /* the mode of the file it replaces */
    assert_int_equal(temp_folder_count(true), 1);
}

static void test_abandon(void **state) {
    (void)state;
    veer_outfile_t *f;
    write_file(temp_path("a"), "old", 3);
    assert_ok(veer_outfile_open(temp_path("a"), veer_allocator_system(), &f));
    assert_int_equal(temp_folder_count(false), 2); /* written aside */
    assert_ok(veer_outfile_write(f, "new", 3));
    assert_text(temp_path("a"), "old");
    veer_outfile_abandon(f);
    assert_text(temp_path("a"), "old");
    assert_ok(veer_outfile_open(temp_path("b"), veer_allocator_system(), &f));
    assert_error(veer_outfile_close(f, veer_error(VEER_ERR_FAILED, "stop")), VEER_ERR_FAILED, "stop");
    assert_int_equal(temp_folder_count(true), 1);
}

/* Pieces smaller and larger than the buffer, in any order. */
static void test_buffering(void **state) {
    (void)state;
    enum { TOTAL = 400000 };
    static unsigned char data[TOTAL], back[TOTAL + 1];
    for (size_t i = 0; i < TOTAL; i++) data[i] = (unsigned char)(i * 2654435761u >> 13);
    static const size_t pieces[] = {1, 65536, 0, 65535, 2, 100000, 65537, 7};
    veer_outfile_t *f;
    assert_ok(veer_outfile_open(temp_path("a"), veer_allocator_system(), &f));
    for (size_t at = 0, i = 0; at < TOTAL; i++) {
        size_t size = pieces[i % 8] < TOTAL - at ? pieces[i % 8] : TOTAL - at;
        assert_ok(veer_outfile_write(f, data + at, size));
        at += size;
    }
    assert_ok(veer_outfile_commit(f));
    assert_int_equal(read_file(temp_path("a"), back, sizeof back), TOTAL);
    assert_memory_equal(data, back, TOTAL);
    temp_folder_count(true);
}

static void test_symbolic_link(void **state) {
    (void)state;
    write_file(temp_path("real"), "old", 3);
    assert_int_equal(symlink("real", temp_path("link")), 0);
    assert_ok(write_text(temp_path("link"), "new"));
    assert_text(temp_path("real"), "new");
    struct stat st;
    assert_int_equal(lstat(temp_path("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(temp_folder_count(true), 2);
}

static void test_bad_paths(void **state) {
    (void)state;
    assert_error(write_text(temp_path("missing/a"), "x"), VEER_ERR_CONFIG, "create the folder first");
    assert_error(write_text(temp_folder, "x"), VEER_ERR_CONFIG, "Is a directory");
    assert_error(write_text("", "x"), VEER_ERR_CONFIG, "cannot write");
    write_file(temp_path("file"), "x", 1);
    assert_error(write_text(temp_path("file/a"), "x"), VEER_ERR_CONFIG, "Not a directory");
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_error(write_text(name, "x"), VEER_ERR_CONFIG, "too long");
    assert_int_equal(temp_folder_count(true), 1);
}

/* A device is written to, not replaced. */
static void test_devices(void **state) {
    (void)state;
    struct stat st;
    assert_error(write_text("/dev/full", "x"), VEER_ERR_RESOURCE, "free some space");
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_ok(write_text("/dev/null", "x"));
}

static void test_size_limit(void **state) {
    (void)state;
    static char data[200000];
    struct rlimit old, low;
    write_file(temp_path("a"), "old", 3);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){.rlim_cur = 100000, .rlim_max = old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    veer_outfile_t *f;
    veer_status_t opened = veer_outfile_open(temp_path("a"), veer_allocator_system(), &f);
    veer_status_t first = opened ? NULL : veer_outfile_write(f, data, sizeof data);
    veer_status_t second = opened ? NULL : veer_outfile_write(f, data, 1); /* a failure sticks */
    veer_status_t last = opened ? NULL : veer_outfile_commit(f);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_ok(opened);
    assert_error(first, VEER_ERR_RESOURCE, "ulimit -f");
    assert_error(second, VEER_ERR_RESOURCE, "File too large");
    assert_error(last, VEER_ERR_RESOURCE, "File too large");
    assert_text(temp_path("a"), "old");
    assert_int_equal(temp_folder_count(true), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit),        cmocka_unit_test(test_abandon),   cmocka_unit_test(test_buffering),
        cmocka_unit_test(test_symbolic_link), cmocka_unit_test(test_bad_paths), cmocka_unit_test(test_devices),
        cmocka_unit_test(test_size_limit),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
