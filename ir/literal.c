#include "ir/literal.h"

#include "ir/half.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

locale_t veer_literal_locale_enter(void) {
    /* The "C" locale object of the C library is static: nothing is allocated and nothing is to be released. */
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return c ? uselocale(c) : (locale_t)0;
}

void veer_literal_locale_leave(locale_t old) {
    if (old) uselocale(old);
}

/* ---- writing ---- */

/* Infinities, and whole numbers that read better without an exponent (-0 among them). */
static const char *special(double x, char *out) {
    if (isinf(x))
        snprintf(out, VEER_LITERAL_BYTES, x < 0 ? "-inf" : "inf");
    else if (fabs(x) < 1e6 && x == trunc(x))
        snprintf(out, VEER_LITERAL_BYTES, "%.0f", x);
    else
        return NULL;
    return out;
}

const char *veer_literal_double(double x, char out_text[VEER_LITERAL_BYTES]) {
    if (isnan(x)) {
        uint64_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (bits == 0x7ff8000000000000u)
            snprintf(out_text, VEER_LITERAL_BYTES, "nan");
        else
            snprintf(out_text, VEER_LITERAL_BYTES, "0x%016" PRIx64, bits);
    } else if (!special(x, out_text)) {
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(out_text, VEER_LITERAL_BYTES, "%.*g", digits, x);
            if (strtod(out_text, NULL) == x) break;
        }
    }
    return out_text;
}

static const char *float_text(float x, char *out) {
    if (isnan(x)) {
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (bits == 0x7fc00000u)
            snprintf(out, VEER_LITERAL_BYTES, "nan");
        else
            snprintf(out, VEER_LITERAL_BYTES, "0x%08" PRIx32, bits);
    } else if (!special(x, out)) {
        for (int digits = 1; digits <= 9; digits++) {
            snprintf(out, VEER_LITERAL_BYTES, "%.*g", digits, x);
            if (strtof(out, NULL) == x) break;
        }
    }
    return out;
}

/* f16 and bf16 hold few digits: the shortest decimal that rounds to the same bits is found as for f32. */
static const char *half_text(uint16_t bits, bool brain, char *out) {
    double x = brain ? veer_bfloat_to_double(bits) : veer_half_to_double(bits);
    if (isnan(x)) {
        if (bits == (brain ? 0x7fc0 : 0x7e00))
            snprintf(out, VEER_LITERAL_BYTES, "nan");
        else
            snprintf(out, VEER_LITERAL_BYTES, "0x%04x", bits);
    } else if (!special(x, out)) {
        for (int digits = 1; digits <= 9; digits++) {
            snprintf(out, VEER_LITERAL_BYTES, "%.*g", digits, x);
            double back = strtod(out, NULL);
            if ((brain ? veer_bfloat_from_double(back) : veer_half_from_double(back)) == bits) break;
        }
    }
    return out;
}

static int64_t load_signed(veer_dtype_t dtype, const void *p) {
    union {
        int8_t b;
        int16_t h;
        int32_t w;
        int64_t d;
    } u = {.d = 0};
    memcpy(&u, p, veer_dtype_size(dtype));
    return dtype == VEER_DTYPE_I8 ? u.b : dtype == VEER_DTYPE_I16 ? u.h : dtype == VEER_DTYPE_I32 ? u.w : u.d;
}

static uint64_t load_unsigned(veer_dtype_t dtype, const void *p) {
    union {
        uint8_t b;
        uint16_t h;
        uint32_t w;
        uint64_t d;
    } u = {.d = 0};
    memcpy(&u, p, veer_dtype_size(dtype));
    size_t size = veer_dtype_size(dtype);
    return size == 1 ? u.b : size == 2 ? u.h : size == 4 ? u.w : u.d;
}

const char *veer_literal_element(veer_dtype_t dtype, const void *element, char out_text[VEER_LITERAL_BYTES]) {
    float f;
    double d;
    switch (dtype) {
    case VEER_DTYPE_F32: memcpy(&f, element, sizeof f); return float_text(f, out_text);
    case VEER_DTYPE_F64: memcpy(&d, element, sizeof d); return veer_literal_double(d, out_text);
    case VEER_DTYPE_F16:
    case VEER_DTYPE_BF16: return half_text((uint16_t)load_unsigned(dtype, element), dtype == VEER_DTYPE_BF16, out_text);
    case VEER_DTYPE_BOOL:
        snprintf(out_text, VEER_LITERAL_BYTES, load_unsigned(dtype, element) ? "true" : "false");
        break;
    default:
        if (veer_dtype_is_signed(dtype))
            snprintf(out_text, VEER_LITERAL_BYTES, "%" PRId64, load_signed(dtype, element));
        else
            snprintf(out_text, VEER_LITERAL_BYTES, "%" PRIu64, load_unsigned(dtype, element));
    }
    return out_text;
}

/* ---- reading ---- */

/* strtod and friends want a terminated string; a longer one is no number that we ever wrote. */
typedef struct word_s {
    char text[64];
} word_t;

static bool copy_word(const char *text, size_t length, word_t *out) {
    if (length == 0 || length >= sizeof out->text) return false;
    memcpy(out->text, text, length);
    out->text[length] = 0;
    /* No blanks, and nothing that only the C library knows (hexadecimal fractions, "infinity", "nan(...)"). */
    const char *digits = out->text + (*text == '-' || *text == '+');
    return (*digits >= '0' && *digits <= '9') || *digits == '.' || !strcmp(digits, "inf") || !strcmp(digits, "nan");
}

static bool is_hex(const word_t *w) {
    return w->text[0] == '0' && (w->text[1] == 'x' || w->text[1] == 'X');
}

/* Hexadecimal bits of at most `size_bytes`. */
static bool parse_bits(const word_t *w, size_t size_bytes, uint64_t *out) {
    char *end;
    size_t digits = strlen(w->text + 2);
    if (digits == 0 || digits > 16 || strspn(w->text + 2, "0123456789abcdefABCDEF") != digits) return false;
    *out = strtoull(w->text, &end, 16);
    return !*end && (size_bytes == 8 || *out >> (8 * size_bytes) == 0);
}

bool veer_literal_parse_int(const char *text, size_t length, int64_t *out) {
    word_t w;
    char *end;
    if (!copy_word(text, length, &w) || strpbrk(w.text, "xX.")) return false;
    errno = 0;
    long long x = strtoll(w.text, &end, 10);
    if (*end || errno) return false;
    *out = x;
    return true;
}

bool veer_literal_parse_double(const char *text, size_t length, double *out) {
    word_t w;
    char *end;
    uint64_t bits;
    if (!copy_word(text, length, &w)) return false;
    if (is_hex(&w)) {
        if (!parse_bits(&w, 8, &bits)) return false;
        memcpy(out, &bits, sizeof bits);
        return true;
    }
    if (strpbrk(w.text, "xX")) return false;
    double x = strtod(w.text, &end);
    if (*end || (isinf(x) && !strchr(w.text, 'i'))) return false; /* 1e999 is a mistake, not an infinity */
    *out = x;
    return true;
}

static bool parse_float(veer_dtype_t dtype, const word_t *w, void *out) {
    char *end;
    uint64_t bits;
    double x;
    if (is_hex(w)) {
        if (!parse_bits(w, veer_dtype_size(dtype), &bits)) return false;
        memcpy(out, &bits, veer_dtype_size(dtype)); /* little-endian, as is everything here */
        return true;
    }
    if (!veer_literal_parse_double(w->text, strlen(w->text), &x)) return false;
    if (dtype == VEER_DTYPE_F64) return memcpy(out, &x, sizeof x);
    if (dtype == VEER_DTYPE_F32) {
        float f = strtof(w->text, &end); /* from the text, so that it is rounded once */
        return (isinf(f) && !isinf(x)) ? false : memcpy(out, &f, sizeof f) != NULL;
    }
    uint16_t half = dtype == VEER_DTYPE_BF16 ? veer_bfloat_from_double(x) : veer_half_from_double(x);
    return memcpy(out, &half, sizeof half);
}

static bool parse_unsigned(const word_t *w, size_t size_bytes, void *out) {
    char *end;
    errno = 0;
    if (w->text[0] == '-' || strpbrk(w->text, "xX.")) return false;
    unsigned long long x = strtoull(w->text, &end, 10);
    if (*end || errno || (size_bytes < 8 && x >> (8 * size_bytes))) return false;
    return memcpy(out, &x, size_bytes);
}

bool veer_literal_parse_element(veer_dtype_t dtype, const char *text, size_t length, void *out_element) {
    word_t w;
    if (dtype == VEER_DTYPE_BOOL) {
        bool yes = length == 4 && !memcmp(text, "true", 4), no = length == 5 && !memcmp(text, "false", 5);
        if (length == 1 && (*text == '0' || *text == '1')) yes = *text == '1', no = !yes;
        if (yes || no) *(char *)out_element = yes;
        return yes || no;
    }
    if (!copy_word(text, length, &w)) return false;
    if (veer_dtype_is_float(dtype)) return parse_float(dtype, &w, out_element);
    if (!veer_dtype_is_signed(dtype)) return parse_unsigned(&w, veer_dtype_size(dtype), out_element);
    int64_t x;
    if (!veer_literal_parse_int(text, length, &x)) return false;
    int bits = 8 * (int)veer_dtype_size(dtype);
    if (bits < 64 && (x < -((int64_t)1 << (bits - 1)) || x >= (int64_t)1 << (bits - 1))) return false;
    memcpy(out_element, &x, veer_dtype_size(dtype));
    return true;
}

/* FNV-1a over words of eight bytes, then over what is left. */
uint64_t veer_literal_hash(const void *bytes, size_t size_bytes) {
    const unsigned char *p = bytes;
    uint64_t h = 14695981039346656037u ^ size_bytes, word;
    for (; size_bytes >= 8; p += 8, size_bytes -= 8) {
        memcpy(&word, p, sizeof word);
        h = (h ^ word) * 1099511628211u;
        h ^= h >> 29; /* a product alone never carries upper bits down */
    }
    for (; size_bytes; p++, size_bytes--) h = (h ^ *p) * 1099511628211u;
    return h ^ h >> 32;
}
