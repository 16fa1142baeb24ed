/* Element types and tensor types. Every value of the IR has a dtype and a fully known shape. */
#ifndef VEER_IR_TYPES_H
#define VEER_IR_TYPES_H

#include "veer/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what is declared here is what the library exports */

/* X(enum suffix, text name, size in bytes). The order is the order of veer_dtype_t. */
#define VEER_DTYPES(X)                                                                                                 \
    X(F32, f32, 4)                                                                                                     \
    X(F64, f64, 8)                                                                                                     \
    X(F16, f16, 2)                                                                                                     \
    X(BF16, bf16, 2)                                                                                                   \
    X(I8, i8, 1)                                                                                                       \
    X(I16, i16, 2)                                                                                                     \
    X(I32, i32, 4)                                                                                                     \
    X(I64, i64, 8)                                                                                                     \
    X(U8, u8, 1)                                                                                                       \
    X(U16, u16, 2)                                                                                                     \
    X(U32, u32, 4)                                                                                                     \
    X(U64, u64, 8)                                                                                                     \
    X(BOOL, bool, 1) /* one byte, 0 or 1 */                                                                            \
    /* for storage only: cast, movement and comparison take them. Four bits are a byte of their own, sign-extended. */ \
    X(F8E4M3FN, f8e4m3fn, 1)                                                                                           \
    X(F8E4M3FNUZ, f8e4m3fnuz, 1)                                                                                       \
    X(F8E5M2, f8e5m2, 1)                                                                                               \
    X(F8E5M2FNUZ, f8e5m2fnuz, 1)                                                                                       \
    X(I4, i4, 1)                                                                                                       \
    X(U4, u4, 1)

typedef enum veer_dtype_e {
    VEER_DTYPE_NONE,
#define X(suffix, name, size) VEER_DTYPE_##suffix,
    VEER_DTYPES(X)
#undef X
        VEER_DTYPE_COUNT
} veer_dtype_t;

/* Size of one element; 0 for VEER_DTYPE_NONE. */
size_t veer_dtype_size(veer_dtype_t dtype);
/* "f32" and so on; "none" where there is none. */
const char *veer_dtype_name(veer_dtype_t dtype);
/* VEER_DTYPE_NONE where the name is unknown. */
veer_dtype_t veer_dtype_from_name(const char *name, size_t length);
static inline bool veer_dtype_is_float(veer_dtype_t d) {
    return d >= VEER_DTYPE_F32 && d <= VEER_DTYPE_BF16;
}
static inline bool veer_dtype_is_signed(veer_dtype_t d) {
    return d >= VEER_DTYPE_I8 && d <= VEER_DTYPE_I64;
}
static inline bool veer_dtype_is_integer(veer_dtype_t d) {
    return d >= VEER_DTYPE_I8 && d <= VEER_DTYPE_U64;
}

/* Storage only. */
static inline bool veer_dtype_is_float8(veer_dtype_t d) {
    return d >= VEER_DTYPE_F8E4M3FN && d <= VEER_DTYPE_F8E5M2FNUZ;
}
static inline bool veer_dtype_is_int4(veer_dtype_t d) {
    return d == VEER_DTYPE_I4 || d == VEER_DTYPE_U4;
}

enum { VEER_MAX_RANK = 10 };
/* No tensor holds more bytes than this; keeps every product of dims far from overflow. */
#define VEER_MAX_TENSOR_BYTES ((int64_t)1 << 40)

typedef struct veer_type_s {
    veer_dtype_t dtype;
    int rank;
    int64_t dims[VEER_MAX_RANK]; /* dims beyond rank are 0 */
} veer_type_t;

/* `dims` may be NULL when rank is 0. No check: see veer_type_check. */
veer_type_t veer_type_make(veer_dtype_t dtype, int rank, const int64_t *dims);
/* VEER_TYPE(VEER_DTYPE_F32, n, c, h, w) and VEER_SCALAR(VEER_DTYPE_I64). */
#define VEER_TYPE(dtype, ...)                                                                                          \
    veer_type_make(dtype, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define VEER_SCALAR(dtype) veer_type_make(dtype, 0, NULL)

/* Rank, negative dims and total size are within limits; VEER_ERR_UNSUPPORTED otherwise. */
VEER_MUST_USE veer_status_t veer_type_check(const veer_type_t *type);
bool veer_type_equal(const veer_type_t *a, const veer_type_t *b);
bool veer_type_same_shape(const veer_type_t *a, const veer_type_t *b);
/* Product of the dims (1 for a scalar). */
int64_t veer_type_count(const veer_type_t *type);
size_t veer_type_bytes(const veer_type_t *type);
/* Product of dims[from..to). */
int64_t veer_type_count_range(const veer_type_t *type, int from, int to);
/* Row-major strides, in elements. */
void veer_type_strides(const veer_type_t *type, int64_t *out_strides);
/* "f32[2,8]"; a scalar is "f32[]". */
enum { VEER_TYPE_TEXT_BYTES = 16 + VEER_MAX_RANK * 21 };
const char *veer_type_text(const veer_type_t *type, char out_text[VEER_TYPE_TEXT_BYTES]);

/* NumPy's broadcasting of two shapes; false where they do not fit. Sets rank and dims of out, not its dtype. */
bool veer_type_broadcast(const veer_type_t *a, const veer_type_t *b, veer_type_t *out);
/* True where a value of type `from` may be broadcast to the shape of `to`. */
bool veer_type_broadcasts_to(const veer_type_t *from, const veer_type_t *to);

/* A tensor in memory: row-major, dense, the data owned by whoever made it. */
typedef struct veer_tensor_s {
    veer_type_t type;
    void *data;
} veer_tensor_t;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
