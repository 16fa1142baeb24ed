/* .npz archives: what NumPy wrote, round trips, and archives made to break readers. */
#include "frontend/npz.h"
#include "tests/unit/limited_allocator.h"
#include "tests/unit/temp_folder.h"

/* np.savez_compressed(arr_0=np.arange(6, dtype=np.uint8).reshape(2, 3), labels=np.array([3, 1])) */
static const unsigned char compressed[] = {
    0x50, 0x4b, 0x03, 0x04, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00, 0x7e, 0x9e, 0xd7, 0xcf, 0x4c,
    0x00, 0x00, 0x00, 0x86, 0x00, 0x00, 0x00, 0x09, 0x00, 0x14, 0x00, 0x61, 0x72, 0x72, 0x5f, 0x30, 0x2e, 0x6e, 0x70,
    0x79, 0x01, 0x00, 0x10, 0x00, 0x86, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4c, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x9b, 0xec, 0x17, 0xea, 0x1b, 0x10, 0xc9, 0xc8, 0x50, 0xc6, 0x50, 0xad, 0x9e, 0x92, 0x5a, 0x9c, 0x5c,
    0xa4, 0x6e, 0xa5, 0xa0, 0x5e, 0x53, 0x6a, 0xa8, 0xae, 0xa3, 0xa0, 0x9e, 0x96, 0x5f, 0x54, 0x52, 0x94, 0x98, 0x17,
    0x9f, 0x5f, 0x94, 0x92, 0x0a, 0x12, 0x77, 0x4b, 0xcc, 0x29, 0x4e, 0x05, 0x8a, 0x17, 0x67, 0x24, 0x16, 0xa4, 0x02,
    0xf9, 0x1a, 0x46, 0x3a, 0x0a, 0xc6, 0x9a, 0x3a, 0x0a, 0xb5, 0x0a, 0x64, 0x03, 0x2e, 0x06, 0x46, 0x26, 0x66, 0x16,
    0x56, 0x00, 0x50, 0x4b, 0x03, 0x04, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00, 0x8c, 0xde, 0x33,
    0xe0, 0x4a, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x14, 0x00, 0x6c, 0x61, 0x62, 0x65, 0x6c, 0x73,
    0x2e, 0x6e, 0x70, 0x79, 0x01, 0x00, 0x10, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4a, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x9b, 0xec, 0x17, 0xea, 0x1b, 0x10, 0xc9, 0xc8, 0x50, 0xc6, 0x50, 0xad, 0x9e, 0x92,
    0x5a, 0x9c, 0x5c, 0xa4, 0x6e, 0xa5, 0xa0, 0x6e, 0x93, 0x69, 0xa1, 0xae, 0xa3, 0xa0, 0x9e, 0x96, 0x5f, 0x54, 0x52,
    0x94, 0x98, 0x17, 0x9f, 0x5f, 0x94, 0x92, 0x0a, 0x12, 0x77, 0x4b, 0xcc, 0x29, 0x4e, 0x05, 0x8a, 0x17, 0x67, 0x24,
    0x16, 0xa4, 0x02, 0xf9, 0x1a, 0x46, 0x3a, 0x9a, 0x3a, 0x0a, 0xb5, 0x0a, 0x14, 0x00, 0x2e, 0x66, 0x06, 0x08, 0x60,
    0x84, 0xd2, 0x00, 0x50, 0x4b, 0x01, 0x02, 0x14, 0x03, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00,
    0x7e, 0x9e, 0xd7, 0xcf, 0x4c, 0x00, 0x00, 0x00, 0x86, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, 0x00, 0x61, 0x72, 0x72, 0x5f, 0x30, 0x2e, 0x6e, 0x70,
    0x79, 0x50, 0x4b, 0x01, 0x02, 0x14, 0x03, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00, 0x8c, 0xde,
    0x33, 0xe0, 0x4a, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x80, 0x01, 0x87, 0x00, 0x00, 0x00, 0x6c, 0x61, 0x62, 0x65, 0x6c, 0x73, 0x2e, 0x6e, 0x70, 0x79,
    0x50, 0x4b, 0x05, 0x06, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x02, 0x00, 0x6f, 0x00, 0x00, 0x00, 0x0d, 0x01, 0x00,
    0x00, 0x00, 0x00};
enum { CENTRAL_AT = 269 }; /* where its directory begins */

static void test_compressed(void **state) {
    (void)state;
    veer_npz_t npz;
    assert_ok(veer_npz_parse(compressed, sizeof compressed, veer_allocator_system(), &npz));
    assert_int_equal(npz.count, 2);
    const veer_tensor_t *x = veer_npz_find(&npz, "arr_0"), *labels = veer_npz_find(&npz, "labels");
    assert_true(x && labels && !veer_npz_find(&npz, "arr_1"));
    veer_type_t x_type = VEER_TYPE(VEER_DTYPE_U8, 2, 3), labels_type = VEER_TYPE(VEER_DTYPE_I64, 2);
    assert_true(veer_type_equal(&x->type, &x_type) && veer_type_equal(&labels->type, &labels_type));
    assert_memory_equal(x->data, "\0\1\2\3\4\5", 6);
    assert_memory_equal(labels->data, ((int64_t[]){3, 1}), 16);
    veer_npz_deinit(&npz);
}

static void test_round_trip(void **state) {
    (void)state;
    float x[3] = {1.5f, -2, 1e30f};
    int64_t step = 7;
    veer_npz_entry_t entries[] = {{(char *)"x", {VEER_TYPE(VEER_DTYPE_F32, 3), x}},
                                  {(char *)"sub/step", {VEER_SCALAR(VEER_DTYPE_I64), &step}}};
    static char first[4096], second[4096];
    veer_npz_t npz;
    assert_ok(veer_npz_write(temp_path("a.npz"), entries, 2, veer_allocator_system()));
    size_t size = read_file(temp_path("a.npz"), first, sizeof first);
    assert_ok(veer_npz_write(temp_path("a.npz"), entries, 2, veer_allocator_system()));
    assert_int_equal(read_file(temp_path("a.npz"), second, sizeof second), size);
    assert_memory_equal(first, second, size);
    assert_ok(veer_npz_read(temp_path("a.npz"), veer_allocator_system(), &npz));
    assert_int_equal(npz.count, 2);
    assert_string_equal(npz.entries[1].name, "sub/step");
    assert_memory_equal(veer_npz_find(&npz, "x")->data, x, sizeof x);
    assert_memory_equal(veer_npz_find(&npz, "sub/step")->data, &step, sizeof step);
    veer_npz_deinit(&npz);
    assert_ok(veer_npz_write(temp_path("b.npz"), NULL, 0, veer_allocator_system()));
    assert_ok(veer_npz_read(temp_path("b.npz"), veer_allocator_system(), &npz));
    assert_int_equal(npz.count, 0);
    veer_npz_deinit(&npz);
    assert_int_equal(temp_folder_count(true), 2);
}

static void test_write_failures(void **state) {
    (void)state;
    static float x[4];
    veer_npz_entry_t good = {(char *)"x", {VEER_TYPE(VEER_DTYPE_F32, 4), x}},
                     bad = {(char *)"b", {VEER_TYPE(VEER_DTYPE_BF16, 1), x}};
    veer_npz_entry_t entries[] = {good, bad};
    assert_error(veer_npz_write(temp_path("a.npz"), entries, 2, veer_allocator_system()), VEER_ERR_UNSUPPORTED,
                 "array 'b'");
    assert_int_equal(temp_folder_count(true), 0);
    assert_error(veer_npz_write("/dev/full", &good, 1, veer_allocator_system()), VEER_ERR_RESOURCE, "/dev/full");
    /* 4 GiB and more is refused before its data is looked at. */
    veer_npz_entry_t huge = {(char *)"h", {VEER_TYPE(VEER_DTYPE_U8, (int64_t)1 << 32), x}};
    assert_error(veer_npz_write(temp_path("a.npz"), &huge, 1, veer_allocator_system()), VEER_ERR_UNSUPPORTED, "4 GiB");
    assert_int_equal(temp_folder_count(true), 0);
}

static veer_status_t parse_patched(size_t at, const void *bytes, size_t size) {
    unsigned char file[sizeof compressed];
    memcpy(file, compressed, sizeof file);
    memcpy(file + at, bytes, size);
    veer_npz_t npz;
    veer_status_t status = veer_npz_parse(file, sizeof file, veer_allocator_system(), &npz);
    if (!status) veer_npz_deinit(&npz);
    return status;
}

static void test_hostile(void **state) {
    (void)state;
    static const struct {
        size_t at;
        const char *bytes;
        size_t size;
        veer_code_t code;
        const char *part;
    } cases[] = {
        {CENTRAL_AT, "XX", 2, VEER_ERR_FILE, "directory is damaged"},
        {CENTRAL_AT + 8, "\x01", 1, VEER_ERR_UNSUPPORTED, "encrypted"},
        {CENTRAL_AT + 10, "\x0c", 1, VEER_ERR_UNSUPPORTED, "compression method 12"},
        {CENTRAL_AT + 10, "\x00", 1, VEER_ERR_FILE, "a size that"}, /* stored, but two sizes */
        {CENTRAL_AT + 16, "\x00", 1, VEER_ERR_FILE, "checksum"},
        {CENTRAL_AT + 20, "\xff\xff\xff\x0f", 4, VEER_ERR_FILE, "overlap"},     /* packed: more than the file */
        {CENTRAL_AT + 20, "\xff\x00", 2, VEER_ERR_FILE, ""},                    /* packed: runs into the next one */
        {CENTRAL_AT + 24, "\xff\xff\xff\x7f", 4, VEER_ERR_FILE, "a size that"}, /* a bomb: 2 GiB from 76 bytes */
        {CENTRAL_AT + 24, "\x85", 1, VEER_ERR_FILE, "damaged compressed"},      /* more comes out than promised */
        {CENTRAL_AT + 24, "\x87", 1, VEER_ERR_FILE, "damaged compressed"},      /* less comes out than promised */
        {CENTRAL_AT + 24, "\xff\xff\xff\xff", 4, VEER_ERR_UNSUPPORTED, "zip64"},
        {CENTRAL_AT + 28, "\xff\xff", 2, VEER_ERR_FILE, "directory is damaged"},
        {CENTRAL_AT + 42, "\xff\xff\xff\x7f", 4, VEER_ERR_FILE, "truncated"},
        {CENTRAL_AT + 42, "\x01", 1, VEER_ERR_FILE, "not where the directory says"},
        {sizeof compressed - 12, "\xff", 1, VEER_ERR_FILE, "directory does not fit"}, /* 255 members */
        {sizeof compressed - 10, "\xff\xff", 2, VEER_ERR_FILE, "directory does not fit"},
        {sizeof compressed - 6, "\xff\xff\xff\xff", 4, VEER_ERR_UNSUPPORTED, "zip64"},
        {sizeof compressed - 2, "\x05", 1, VEER_ERR_FILE, "no zip directory"}, /* a comment that is not there */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_error(parse_patched(cases[i].at, cases[i].bytes, cases[i].size), cases[i].code, cases[i].part);
}

static void test_repeated_name(void **state) {
    (void)state;
    uint8_t x[1] = {1};
    veer_npz_entry_t entries[] = {{(char *)"x", {VEER_TYPE(VEER_DTYPE_U8, 1), x}},
                                  {(char *)"x", {VEER_TYPE(VEER_DTYPE_U8, 1), x}}};
    veer_npz_t npz;
    assert_ok(veer_npz_write(temp_path("a.npz"), entries, 2, veer_allocator_system()));
    assert_error(veer_npz_read(temp_path("a.npz"), veer_allocator_system(), &npz), VEER_ERR_FILE, "twice");
    temp_folder_count(true);
}

static void test_truncated(void **state) {
    (void)state;
    veer_npz_t npz;
    for (size_t n = 0; n < sizeof compressed; n++)
        assert_error(veer_npz_parse(compressed, n, veer_allocator_system(), &npz), VEER_ERR_FILE, "");
}

/* Any one byte changed: an answer, never a crash. Most changes are noticed. */
static void test_changed_bytes(void **state) {
    (void)state;
    size_t refused = 0;
    for (size_t at = 0; at < sizeof compressed; at++)
        for (int change = 1; change < 256; change += 3) {
            unsigned char value = compressed[at] ^ (unsigned char)change;
            veer_status_t status = parse_patched(at, &value, 1);
            refused += status != NULL;
            veer_status_free(status);
        }
    assert_true(refused > sizeof compressed * 85 / 2);
}

static void test_out_of_memory(void **state) {
    (void)state;
    for (int budget = 0;; budget++) {
        int left = budget;
        veer_npz_t npz;
        veer_status_t status = veer_npz_parse(compressed, sizeof compressed, limited_allocator(&left), &npz);
        if (!status) {
            veer_npz_deinit(&npz);
            assert_true(budget > 8);
            return;
        }
        assert_error(status, VEER_ERR_RESOURCE, "memory");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compressed),     cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_write_failures), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_repeated_name),  cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_changed_bytes),  cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
