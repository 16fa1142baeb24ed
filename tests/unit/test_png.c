/* PNG grids, read back with libpng, and what happens when memory or disk run out in the middle. */
#include "frontend/png.h"
#include "tests/unit/limited_allocator.h"
#include "tests/unit/temp_folder.h"

#include <math.h>
#include <png.h>

/* Reads a PNG by libpng's simplified interface into `out`; `channels` 1 or 3. */
static void read_png(const char *path, int channels, unsigned width, unsigned height, unsigned char *out) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, path));
    assert_int_equal(image.format, channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY);
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    assert_true(png_image_finish_read(&image, NULL, out, 0, NULL));
}

static void test_pixels(void **state) {
    (void)state;
    static const struct {
        float x;
        int pixel;
    } cases[] = {{-1, 0},      {1, 255},        {0, 127},         {-2, 0},      {5, 255},
                 {NAN, 0},     {INFINITY, 255}, {-INFINITY, 0},   {0.99f, 253}, {-0.99f, 1},
                 {1e-3f, 127}, {0.0040f, 128},  {0.9999999f, 254}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(veer_pixel_from_float(cases[i].x), cases[i].pixel);
}

/* The value that pixel (c, y, x) of image n has, chosen so that the bytes are exact. */
static float value_of(int64_t n, int64_t c, int64_t y, int64_t x) {
    return (float)((n * 61 + c * 29 + y * 7 + x * 3) % 256) / 127.5f - 1.0f + 1e-4f;
}

static void check_grid(int64_t n, int64_t channels, int64_t cols, int64_t scale, int64_t expected_cols) {
    enum { H = 3, W = 4 };
    static float pixels[7 * 3 * H * W];
    static unsigned char image[3 * 7 * 7 * H * W * 9];
    for (int64_t i = 0; i < n * channels * H * W; i++)
        pixels[i] = value_of(i / (channels * H * W), i / (H * W) % channels, i / W % H, i % W);
    veer_tensor_t t = {VEER_TYPE(VEER_DTYPE_F32, n, channels, H, W), pixels};
    veer_png_options_t o = {.cols = cols, .scale = scale};
    assert_ok(veer_png_write(temp_path("a.png"), &t, &o, veer_allocator_system()));
    int64_t s = scale ? scale : 1, rows = (n + expected_cols - 1) / expected_cols, width = expected_cols * W * s;
    read_png(temp_path("a.png"), (int)channels, (unsigned)width, (unsigned)(rows * H * s), image);
    for (int64_t y = 0; y < rows * H * s; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t c = 0; c < channels; c++) {
                int64_t at = y / s / H * expected_cols + x / s / W;
                int expected = at < n ? veer_pixel_from_float(value_of(at, c, y / s % H, x / s % W)) : 0;
                assert_int_equal(image[(y * width + x) * channels + c], expected);
            }
}

static void test_grids(void **state) {
    (void)state;
    check_grid(1, 1, 0, 0, 1);
    check_grid(4, 1, 0, 1, 2);
    check_grid(7, 3, 0, 2, 3); /* 3 x 3 with two black cells */
    check_grid(7, 3, 7, 1, 7);
    check_grid(5, 1, 100, 3, 5); /* more columns than images */
    check_grid(6, 3, 1, 1, 1);
    temp_folder_count(true);
}

/* The chunk "tEXt" or "iTXt" with "parameters", then the text. */
static bool has_text(const char *chunk, const char *text) {
    char bytes[4096];
    size_t size = read_file(temp_path("a.png"), bytes, sizeof bytes);
    char *at = memmem(bytes, size, chunk, 4);
    return at && !strcmp(at + 4, "parameters") && memmem(at, size - (size_t)(at - bytes), text, strlen(text));
}

static void test_parameters(void **state) {
    (void)state;
    float pixel = 0;
    veer_tensor_t t = {VEER_TYPE(VEER_DTYPE_F32, 1, 1, 1, 1), &pixel};
    veer_png_options_t o = {.parameters = "Steps: 50, Seed: 42"};
    assert_ok(veer_png_write(temp_path("a.png"), &t, &o, veer_allocator_system()));
    assert_true(has_text("tEXt", o.parameters));
    o.parameters = "caf\xc3\xa9";
    assert_ok(veer_png_write(temp_path("a.png"), &t, &o, veer_allocator_system()));
    assert_true(has_text("iTXt", o.parameters));
    o.parameters = NULL;
    assert_ok(veer_png_write(temp_path("a.png"), &t, &o, veer_allocator_system()));
    assert_false(has_text("tEXt", "") || has_text("iTXt", ""));
    temp_folder_count(true);
}

static void test_refused(void **state) {
    (void)state;
    static float pixels[16];
    veer_allocator_t a = veer_allocator_system();
    veer_png_options_t o = {0};
    const veer_type_t types[] = {VEER_TYPE(VEER_DTYPE_F32, 1, 2, 2, 2), VEER_TYPE(VEER_DTYPE_F32, 1, 2, 2),
                                 VEER_TYPE(VEER_DTYPE_F64, 1, 1, 2, 2), VEER_TYPE(VEER_DTYPE_F32, 0, 1, 2, 2)};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        assert_error(veer_png_write(temp_path("a.png"), &(veer_tensor_t){types[i], pixels}, &o, a),
                     VEER_ERR_UNSUPPORTED, "f32[N,1 or 3,H,W]");
    veer_tensor_t t = {VEER_TYPE(VEER_DTYPE_F32, 1, 1, 4, 4), pixels};
    o = (veer_png_options_t){.scale = 257};
    assert_error(veer_png_write(temp_path("a.png"), &t, &o, a), VEER_ERR_CONFIG, "scaled by 257");
    o = (veer_png_options_t){.cols = -1};
    assert_error(veer_png_write(temp_path("a.png"), &t, &o, a), VEER_ERR_CONFIG, "-1 images per row");
    /* Refused by its sides before any pixel is read. */
    veer_tensor_t wide = {VEER_TYPE(VEER_DTYPE_F32, 1, 1, 1, (int64_t)1 << 31), pixels};
    assert_error(veer_png_write(temp_path("a.png"), &wide, &(veer_png_options_t){0}, a), VEER_ERR_UNSUPPORTED, "side");
    veer_tensor_t many = {VEER_TYPE(VEER_DTYPE_F32, 300000, 1, 4, 4), pixels};
    assert_error(veer_png_write(temp_path("a.png"), &many, &(veer_png_options_t){.cols = 1}, a), VEER_ERR_UNSUPPORTED,
                 "side");
    assert_int_equal(temp_folder_count(true), 0);
}

static void test_full_disk(void **state) {
    (void)state;
    static float pixels[3 * 200 * 200];
    for (size_t i = 0; i < sizeof pixels / sizeof pixels[0]; i++)
        pixels[i] = (float)(i * 2654435761u % 256) / 127.5f - 1;
    veer_tensor_t t = {VEER_TYPE(VEER_DTYPE_F32, 1, 3, 200, 200), pixels};
    assert_error(veer_png_write("/dev/full", &t, &(veer_png_options_t){.scale = 2}, veer_allocator_system()),
                 VEER_ERR_RESOURCE, "free some space");
    assert_error(veer_png_write(temp_path("none/a.png"), &t, &(veer_png_options_t){0}, veer_allocator_system()),
                 VEER_ERR_CONFIG, "create the folder first");
}

static void test_out_of_memory(void **state) {
    (void)state;
    static float pixels[2 * 3 * 8 * 8];
    veer_tensor_t t = {VEER_TYPE(VEER_DTYPE_F32, 2, 3, 8, 8), pixels};
    veer_png_options_t o = {.parameters = "text"};
    for (int budget = 0;; budget++) {
        int left = budget;
        veer_status_t status = veer_png_write(temp_path("a.png"), &t, &o, limited_allocator(&left));
        if (!status) {
            assert_true(budget > 5);
            break;
        }
        assert_error(status, VEER_ERR_RESOURCE, "memory");
        assert_int_equal(temp_folder_count(false), 0);
    }
    temp_folder_count(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pixels),  cmocka_unit_test(test_grids),     cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_full_disk), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
