/* Numbers as text, without loss: the shortest decimal that reads back as the same bits; `inf`, `-inf`, `nan`; other
 * NaNs as their bits in hexadecimal. Both directions need the "C" locale: see veer_literal_locale_enter. */
#ifndef VEER_IR_LITERAL_H
#define VEER_IR_LITERAL_H

#include "ir/types.h"

#include <locale.h>

/* The calling thread's numeric locale becomes "C" until it is given back. */
locale_t veer_literal_locale_enter(void);
void veer_literal_locale_leave(locale_t old);

enum { VEER_LITERAL_BYTES = 40 };
/* One element of a tensor; `element` need not be aligned. */
const char *veer_literal_element(veer_dtype_t dtype, const void *element, char out_text[VEER_LITERAL_BYTES]);
const char *veer_literal_double(double x, char out_text[VEER_LITERAL_BYTES]);

/* False where the text is no number of this dtype, or out of its range. Writes veer_dtype_size bytes. */
bool veer_literal_parse_element(veer_dtype_t dtype, const char *text, size_t length, void *out_element);
bool veer_literal_parse_int(const char *text, size_t length, int64_t *out);
bool veer_literal_parse_double(const char *text, size_t length, double *out);

/* 64 bits that tell whether a file still holds the bytes that were printed. No protection against forgery. */
uint64_t veer_literal_hash(const void *bytes, size_t size_bytes);

#endif
