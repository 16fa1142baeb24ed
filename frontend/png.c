#include "frontend/png.h"

#include "frontend/outfile.h"

#include <math.h>
#include <png.h>
#include <string.h>

enum { MAX_SIDE = 1000000, MAX_SCALE = 256 };

/* Everything that lives across libpng's longjmp is in here, none of it in the frame that setjmp returns to twice. */
typedef struct writer_s {
    const float *pixels; /* [n, channels, height, width] */
    int64_t n, channels, height, width;
    int64_t cols, rows, scale;
    const char *parameters;
    veer_allocator_t allocator;
    veer_outfile_t *file;
    unsigned char *row; /* one row of the grid */
    png_structp png;
    png_infop info;
    veer_status_t status; /* the first failure */
} writer_t;

/* ---- what libpng calls ---- */

static void on_error(png_structp png, png_const_charp message) {
    writer_t *w = png_get_error_ptr(png);
    if (!w->status) w->status = veer_error(VEER_ERR_FAILED, "cannot make a PNG: %s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void on_write(png_structp png, png_bytep bytes, size_t size) {
    writer_t *w = png_get_io_ptr(png);
    w->status = veer_outfile_write(w->file, bytes, size);
    if (w->status) png_error(png, "write");
}

static void on_flush(png_structp png) {
    (void)png;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t size) {
    writer_t *w = png_get_mem_ptr(png);
    void *ptr = veer_alloc(w->allocator, size);
    if (!ptr && !w->status) w->status = veer_out_of_memory(); /* libpng or zlib give up on it */
    return ptr;
}

static void on_free(png_structp png, png_voidp ptr) {
    writer_t *w = png_get_mem_ptr(png);
    veer_free(w->allocator, ptr);
}

/* ---- the picture ---- */

/* Row y of the grid before scaling: pixel row y % height of the images in grid row y / height. */
static void fill_row(writer_t *w, int64_t y) {
    int64_t channels = w->channels, plane = w->height * w->width;
    memset(w->row, 0, (size_t)(w->cols * w->width * w->scale * channels));
    for (int64_t col = 0; col < w->cols; col++) {
        int64_t image = y / w->height * w->cols + col;
        if (image >= w->n) return;
        const float *src = w->pixels + image * channels * plane + y % w->height * w->width;
        unsigned char *dst = w->row + col * w->width * w->scale * channels;
        for (int64_t x = 0; x < w->width; x++)
            for (int64_t s = 0; s < w->scale; s++)
                for (int64_t c = 0; c < channels; c++) *dst++ = veer_pixel_from_float(src[c * plane + x]);
    }
}

static bool is_ascii(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80) return false;
    return true;
}

static void put_parameters(writer_t *w) {
    /* tEXt is Latin-1; anything beyond ASCII goes into iTXt, which is UTF-8. */
    bool ascii = is_ascii(w->parameters);
    png_text text = {.compression = ascii ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE,
                     .key = (char *)"parameters",
                     .text = (char *)w->parameters,
                     .text_length = ascii ? strlen(w->parameters) : 0,
                     .itxt_length = ascii ? 0 : strlen(w->parameters)};
    png_set_text(w->png, w->info, &text, 1);
}

static void put_picture(writer_t *w) {
    if (setjmp(png_jmpbuf(w->png))) return; /* from on_error, which has set w->status */
    png_set_write_fn(w->png, w, on_write, on_flush);
    png_set_IHDR(w->png, w->info, (png_uint_32)(w->cols * w->width * w->scale),
                 (png_uint_32)(w->rows * w->height * w->scale), 8,
                 w->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (w->parameters) put_parameters(w);
    png_write_info(w->png, w->info);
    for (int64_t y = 0; y < w->rows * w->height; y++) {
        fill_row(w, y);
        for (int64_t s = 0; s < w->scale; s++) png_write_row(w->png, w->row);
    }
    png_write_end(w->png, w->info);
}

static veer_status_t write_png(writer_t *w) {
    w->row = veer_alloc_array(w->allocator, (size_t)(w->cols * w->width * w->scale), (size_t)w->channels);
    w->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, w, on_error, on_warning, w, on_malloc, on_free);
    w->info = w->png ? png_create_info_struct(w->png) : NULL;
    if (w->row && w->info)
        put_picture(w);
    else
        w->status = veer_out_of_memory();
    if (w->png) png_destroy_write_struct(&w->png, &w->info);
    veer_free(w->allocator, w->row);
    return w->status;
}

/* ---- checks ---- */

static veer_status_t check_images(const veer_type_t *type) {
    char text[VEER_TYPE_TEXT_BYTES];
    bool fits = type->dtype == VEER_DTYPE_F32 && type->rank == 4 && (type->dims[1] == 1 || type->dims[1] == 3);
    if (fits && veer_type_count(type) > 0) return veer_ok();
    return veer_status_help(
        veer_error(VEER_ERR_UNSUPPORTED, "a PNG takes images f32[N,1 or 3,H,W], not %s", veer_type_text(type, text)),
        "write .npy instead");
}

static veer_status_t check_options(const veer_png_options_t *o) {
    if (o->cols < 0) return veer_error(VEER_ERR_CONFIG, "%lld images per row of a PNG", (long long)o->cols);
    if (o->scale < 0 || o->scale > MAX_SCALE)
        return veer_error(VEER_ERR_CONFIG, "a PNG scaled by %lld, expected 1 to %d", (long long)o->scale, MAX_SCALE);
    return veer_ok();
}

/* Sides of images are below MAX_SIDE before they are multiplied, so nothing overflows. */
static veer_status_t check_sides(const writer_t *w) {
    if (w->width <= MAX_SIDE && w->height <= MAX_SIDE && w->cols <= MAX_SIDE && w->rows <= MAX_SIDE &&
        w->cols * w->width * w->scale <= MAX_SIDE && w->rows * w->height * w->scale <= MAX_SIDE)
        return veer_ok();
    return veer_status_help(
        veer_error(VEER_ERR_UNSUPPORTED,
                   "a PNG of %lld x %lld images of %lld x %lld pixels, scaled by %lld, has a side of "
                   "more than %d pixels",
                   (long long)w->cols, (long long)w->rows, (long long)w->width, (long long)w->height,
                   (long long)w->scale, MAX_SIDE),
        "choose a smaller scale or another number of columns, or write .npy");
}

veer_status_t veer_png_write(const char *path, const veer_tensor_t *images, const veer_png_options_t *options,
                             veer_allocator_t allocator) {
    const int64_t *dims = images->type.dims;
    VEER_TRY(check_images(&images->type));
    VEER_TRY(check_options(options));
    writer_t w = {.pixels = images->data,
                  .n = dims[0],
                  .channels = dims[1],
                  .height = dims[2],
                  .width = dims[3],
                  .parameters = options->parameters,
                  .allocator = allocator};
    w.scale = options->scale ? options->scale : 1;
    w.cols = options->cols ? options->cols : (int64_t)ceil(sqrt((double)w.n));
    if (w.cols > w.n) w.cols = w.n;
    w.rows = (w.n + w.cols - 1) / w.cols;
    VEER_TRY(check_sides(&w));
    VEER_TRY(veer_outfile_open(path, allocator, &w.file));
    veer_status_t status = write_png(&w);
    return veer_outfile_close(w.file, status);
}
