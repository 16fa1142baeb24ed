/* .npy files: round trips, the header's grammar, and files made to break readers. */
#include "frontend/npy.h"
#include "tests/unit/temp_folder.h"

/* A version-1 file from a header text and data; the text is taken as it is. */
static size_t make_npy(unsigned char *out, const char *text, const void *data, size_t size) {
    size_t length = strlen(text);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (unsigned char)length, out[9] = (unsigned char)(length >> 8);
    memcpy(out + 10, text, length);
    if (size) memcpy(out + 10 + length, data, size);
    return 10 + length + size;
}

static veer_status_t parse(const char *text, const void *data, size_t size, veer_tensor_t *out) {
    unsigned char file[2048];
    return veer_npy_parse(file, make_npy(file, text, data, size), veer_allocator_system(), out);
}

static void test_round_trip(void **state) {
    (void)state;
    for (veer_dtype_t dtype = VEER_DTYPE_F32; dtype < VEER_DTYPE_COUNT; dtype++) {
        if (dtype == VEER_DTYPE_BF16 || dtype > VEER_DTYPE_BOOL) continue; /* NumPy has no such types */
        for (int rank = 0; rank <= VEER_MAX_RANK; rank++) {
            static const int64_t dims[] = {3, 1, 2, 1, 2, 1, 1, 2, 1, 1};
            veer_type_t type = veer_type_make(dtype, rank, dims);
            unsigned char data[24 * 8];
            for (size_t i = 0; i < sizeof data; i++)
                data[i] = dtype == VEER_DTYPE_BOOL ? i % 3 == 0 : (uint8_t)(i * 37);
            veer_tensor_t back, x = {type, data};
            assert_ok(veer_npy_write(temp_path("x.npy"), &x, veer_allocator_system()));
            assert_ok(veer_npy_read(temp_path("x.npy"), veer_allocator_system(), &back));
            assert_true(veer_type_equal(&back.type, &type));
            assert_memory_equal(back.data, data, veer_type_bytes(&type));
            veer_free(veer_allocator_system(), back.data);
        }
    }
    temp_folder_count(true);
}

static void test_empty(void **state) {
    (void)state;
    veer_tensor_t back, x = {VEER_TYPE(VEER_DTYPE_I64, 0, 5), NULL};
    assert_ok(veer_npy_write(temp_path("x.npy"), &x, veer_allocator_system()));
    assert_ok(veer_npy_read(temp_path("x.npy"), veer_allocator_system(), &back));
    assert_true(veer_type_equal(&back.type, &x.type));
    veer_free(veer_allocator_system(), back.data);
    temp_folder_count(true);
}

/* The bytes that NumPy itself writes. */
static void test_header_bytes(void **state) {
    (void)state;
    static const char *const expected[] = {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
                                           "{'descr': '|u1', 'fortran_order': False, 'shape': (7,), }",
                                           "{'descr': '<i8', 'fortran_order': False, 'shape': (), }"};
    const veer_type_t types[] = {VEER_TYPE(VEER_DTYPE_F32, 2, 3), VEER_TYPE(VEER_DTYPE_U8, 7),
                                 VEER_SCALAR(VEER_DTYPE_I64)};
    for (int i = 0; i < 3; i++) {
        char header[VEER_NPY_MAX_HEADER_BYTES];
        size_t size;
        assert_ok(veer_npy_header(&types[i], header, &size));
        assert_int_equal(size, 128);
        assert_memory_equal(header, "\x93NUMPY\x01\x00\x76\x00", 10);
        assert_memory_equal(header + 10, expected[i], strlen(expected[i]));
        for (size_t j = 10 + strlen(expected[i]); j < size - 1; j++) assert_int_equal(header[j], ' ');
        assert_int_equal(header[size - 1], '\n');
    }
    /* The longest header that there can be still fits. */
    char header[VEER_NPY_MAX_HEADER_BYTES];
    size_t size;
    veer_type_t widest = {.dtype = VEER_DTYPE_BOOL, .rank = VEER_MAX_RANK};
    for (int i = 0; i < VEER_MAX_RANK; i++) widest.dims[i] = INT64_MAX;
    assert_ok(veer_npy_header(&widest, header, &size));
    assert_true(size <= sizeof header && header[size - 1] == '\n');
    veer_type_t bf16 = VEER_TYPE(VEER_DTYPE_BF16, 1);
    assert_error(veer_npy_header(&bf16, header, &size), VEER_ERR_UNSUPPORTED, "bf16");
}

static void test_accepted_headers(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }\n",
        "{\"shape\":(2L,),\"descr\":\"<i2\",\"fortran_order\":False}",           /* any order, Python 2's L */
        "  { 'fortran_order' : True , 'shape' : ( 2 ) , 'descr' : '=i2' } \n\t", /* one dim: any order is C order */
    };
    static const int16_t data[2] = {-2, 300};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        veer_tensor_t x;
        assert_ok(parse(texts[i], data, sizeof data, &x));
        assert_true(x.type.dtype == VEER_DTYPE_I16 && x.type.rank == 1 && x.type.dims[0] == 2);
        assert_memory_equal(x.data, data, sizeof data);
        veer_free(veer_allocator_system(), x.data);
    }
    veer_tensor_t b;
    assert_ok(parse("{'descr': '>b1', 'fortran_order': True, 'shape': (1, 3, 1)}", "\x02\x00\xff", 3, &b));
    assert_memory_equal(b.data, "\x01\x00\x01", 3); /* bools are 0 or 1 */
    veer_free(veer_allocator_system(), b.data);
}

static void test_version_2(void **state) {
    (void)state;
    static const char text[] = "{'descr': '<u4', 'fortran_order': False, 'shape': ()}";
    unsigned char file[128] = "\x93NUMPY\x02\x00";
    uint32_t length = sizeof text - 1, value = 77;
    memcpy(file + 8, &length, 4);
    memcpy(file + 12, text, length);
    memcpy(file + 12 + length, &value, 4);
    veer_tensor_t x;
    assert_ok(veer_npy_parse(file, 16 + length, veer_allocator_system(), &x));
    assert_int_equal(*(uint32_t *)x.data, 77);
    veer_free(veer_allocator_system(), x.data);
    file[6] = 3;
    assert_error(veer_npy_parse(file, 16 + length, veer_allocator_system(), &x), VEER_ERR_UNSUPPORTED, "version 3.0");
}

static void test_refused_headers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        veer_code_t code;
        const char *part;
    } cases[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", VEER_ERR_UNSUPPORTED, "astype('<f4')"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", VEER_ERR_UNSUPPORTED, "dtype '<c8'"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", VEER_ERR_UNSUPPORTED, "dtype '|O'"},
        {"{'descr': '<U10', 'fortran_order': False, 'shape': (1,)}", VEER_ERR_UNSUPPORTED, "dtype '<U10'"},
        {"{'descr': '', 'fortran_order': False, 'shape': (1,)}", VEER_ERR_UNSUPPORTED, "dtype ''"},
        {"{'descr': '<f16', 'fortran_order': False, 'shape': (1,)}", VEER_ERR_UNSUPPORTED, "dtype '<f16'"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", VEER_ERR_UNSUPPORTED, "structured"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}", VEER_ERR_UNSUPPORTED, "ascontiguousarray"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1)}", VEER_ERR_UNSUPPORTED,
         "more than"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", VEER_ERR_UNSUPPORTED, "limit"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4, 0)}", VEER_ERR_UNSUPPORTED,
         "limit"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", VEER_ERR_FILE, "too large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", VEER_ERR_FILE, "something else than sizes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1.0,)}", VEER_ERR_FILE, "shape does not end"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", VEER_ERR_FILE, "something else than sizes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,", VEER_ERR_FILE, "something else than sizes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 1}", VEER_ERR_FILE, "no tuple"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", VEER_ERR_FILE, "fortran_order"},
        {"{'descr': '<f4', 'fortran_order': False}", VEER_ERR_FILE, "missing"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", VEER_ERR_FILE, "repeated"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", VEER_ERR_FILE, "unknown"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", VEER_ERR_FILE, "after the dict"},
        {"{'descr", VEER_ERR_FILE, "does not end"},
        {"{'descr'", VEER_ERR_FILE, "without value"},
        {"{'ddddddddddddddddddddddddddddddddddddddddddddddddddddescr': 1}", VEER_ERR_FILE, "too long"},
        {"", VEER_ERR_FILE, "no dict"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        veer_tensor_t x;
        assert_error(parse(cases[i].text, "\0\0\0\0\0\0\0\0", 8, &x), cases[i].code, cases[i].part);
    }
}

static const char plain[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n";

static void test_truncated(void **state) {
    (void)state;
    unsigned char file[256];
    float data[4] = {1, 2, 3, 4};
    size_t size = make_npy(file, plain, data, 12);
    veer_tensor_t x;
    for (size_t n = 0; n < size; n++) { /* every cut, in memory and from a file */
        assert_error(veer_npy_parse(file, n, veer_allocator_system(), &x), VEER_ERR_FILE, "");
        write_file(temp_path("x.npy"), file, n);
        assert_error(veer_npy_read(temp_path("x.npy"), veer_allocator_system(), &x), VEER_ERR_FILE, "x.npy");
    }
    size = make_npy(file, plain, data, 16);
    assert_error(veer_npy_parse(file, size, veer_allocator_system(), &x), VEER_ERR_FILE, "needs 12 bytes of data");
    temp_folder_count(true);
}

/* Whatever one byte becomes, the reader answers; a header that still parses yields what the file has. */
static void test_changed_bytes(void **state) {
    (void)state;
    unsigned char file[256];
    float data[3] = {1, 2, 3};
    size_t size = make_npy(file, plain, data, sizeof data), refused = 0;
    for (size_t at = 0; at < size; at++)
        for (int value = 0; value < 256; value++) {
            unsigned char old = file[at];
            file[at] = (unsigned char)value;
            veer_tensor_t x;
            veer_status_t status = veer_npy_parse(file, size, veer_allocator_system(), &x);
            if (!status) {
                assert_int_equal(veer_type_bytes(&x.type), sizeof data);
                veer_free(veer_allocator_system(), x.data);
            }
            refused += status != NULL;
            veer_status_free(status);
            file[at] = old;
        }
    assert_true(refused > 60 * 200); /* nearly everything in the 68 bytes before the data matters */
}

/* Asks for nothing that the file does not have. */
static void *modest_alloc(void *user, size_t size_bytes) {
    size_t *largest = user;
    if (size_bytes > *largest) *largest = size_bytes;
    return veer_alloc(veer_allocator_system(), size_bytes);
}
static void modest_free(void *user, void *ptr) {
    (void)user;
    veer_free(veer_allocator_system(), ptr);
}

static void test_no_large_allocation(void **state) {
    (void)state;
    size_t largest = 0;
    veer_allocator_t a = {modest_alloc, modest_free, &largest};
    unsigned char file[256];
    size_t size = make_npy(file, "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000,)}", "", 0);
    veer_tensor_t x;
    assert_error(veer_npy_parse(file, size, a, &x), VEER_ERR_FILE, "truncated");
    file[6] = 2, file[8] = file[9] = file[10] = 0xff, file[11] = 0x7f; /* a header of 2 GiB */
    assert_error(veer_npy_parse(file, size, a, &x), VEER_ERR_FILE, "longer than the file");
    assert_true(largest < 1024);
}

static void test_no_file(void **state) {
    (void)state;
    veer_tensor_t x;
    assert_error(veer_npy_read(temp_path("none.npy"), veer_allocator_system(), &x), VEER_ERR_FILE, "No such file");
    assert_error(veer_npy_read(temp_folder, veer_allocator_system(), &x), VEER_ERR_FILE, "not a regular file");
    assert_error(veer_npy_read("/dev/zero", veer_allocator_system(), &x), VEER_ERR_FILE, "not a regular file");
    x = (veer_tensor_t){VEER_TYPE(VEER_DTYPE_F32, 1), (float[]){1}};
    assert_error(veer_npy_write("/dev/full", &x, veer_allocator_system()), VEER_ERR_RESOURCE, "/dev/full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_empty),
        cmocka_unit_test(test_header_bytes),        cmocka_unit_test(test_accepted_headers),
        cmocka_unit_test(test_version_2),           cmocka_unit_test(test_refused_headers),
        cmocka_unit_test(test_truncated),           cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_no_large_allocation), cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
