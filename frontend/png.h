/* A grid of images as one 8-bit PNG, written row by row.
 *
 *     veer_png_options_t o = {.scale = 8, .parameters = "Steps: 50, Seed: 42"};
 *     VEER_TRY(veer_png_write(path, &samples, &o, allocator));     // samples: f32 [N, C, H, W], C = 1 or 3
 */
#ifndef VEER_FRONTEND_PNG_H
#define VEER_FRONTEND_PNG_H

#include "ir/base/allocator.h"
#include "ir/types.h"

/* trunc(clamp((x + 1) * 127.5, 0, 255)) in single precision, as guided-diffusion does; NaN is 0. */
static inline uint8_t veer_pixel_from_float(float x) {
    float v = (x + 1.0f) * 127.5f;
    return v > 0.0f ? v < 255.0f ? (uint8_t)v : 255 : 0;
}

typedef struct veer_png_options_s {
    int64_t cols;  /* images per row, at most N; 0: as near to a square as can be. Row-major, the rest black. */
    int64_t scale; /* every pixel becomes scale x scale pixels; 0 counts as 1 */
    const char *parameters; /* text chunk of that name (UTF-8); NULL: none */
} veer_png_options_t;

/* VEER_ERR_CONFIG for options out of range, VEER_ERR_UNSUPPORTED for a tensor of another type or an image beyond
 * libpng's limit of a million pixels a side; disk trouble as veer_outfile has it. */
VEER_MUST_USE veer_status_t veer_png_write(const char *path, const veer_tensor_t *images,
                                           const veer_png_options_t *options, veer_allocator_t allocator);

#endif
