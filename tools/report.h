/* What a verb tells its user: results to stdout as table or JSON, notes and errors to stderr. Nothing here writes
 * control characters that came out of a file to a terminal.
 *
 *     veer_report_t r = veer_report_make();
 *     r.stage = "import";                       // where errors from here on happen
 *     veer_report_note(&r, "dimension '%s' is taken as 1", name);
 *     return veer_report_finish(&r, status);    // prints all errors, gives the exit code
 */
#ifndef VEER_TOOLS_REPORT_H
#define VEER_TOOLS_REPORT_H

#include "ir/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct veer_report_s {
    FILE *out, *err;
    bool json;         /* --format json */
    const char *stage; /* "arguments", "import", "compile", "run", "write", ... */
    bool failed;       /* a JSON value could not be made: out of memory */
} veer_report_t;

/* stdout and stderr, tables. */
veer_report_t veer_report_make(void);

/* "note: ..." on stderr. */
void veer_report_note(veer_report_t *r, const char *format, ...) VEER_PRINTF(2, 3);
/* Text on `out` or `err`, control characters other than newline and tab replaced. */
void veer_report_text(FILE *file, const char *text);
void veer_report_print(veer_report_t *r, const char *format, ...) VEER_PRINTF(2, 3);

/* Prints every error with its notes and helps (as a line of JSON each with --format json), takes the status, flushes
 * stdout, and gives the exit code. A result that could not be written is an error, too. */
int veer_report_finish(veer_report_t *r, veer_status_t take_status);

/* ---- JSON results ---- each sets r->failed instead of failing; numbers that JSON has no form for become null. */
json_t *veer_report_object(veer_report_t *r);
json_t *veer_report_array(veer_report_t *r);
void veer_put(veer_report_t *r, json_t *object, const char *key, json_t *take_value);
void veer_put_text(veer_report_t *r, json_t *object, const char *key, const char *text); /* NULL: null */
void veer_put_int(veer_report_t *r, json_t *object, const char *key, int64_t value);
void veer_put_real(veer_report_t *r, json_t *object, const char *key, double value);
void veer_put_bool(veer_report_t *r, json_t *object, const char *key, bool value);
void veer_append(veer_report_t *r, json_t *array, json_t *take_value);

/* ---- tables ---- */
typedef struct veer_column_s {
    const char *key;   /* of the rows' objects */
    const char *title; /* NULL: the key */
} veer_column_t;
/* Rows are objects; numbers stand right, other cells left. A column that is null in every row is left out; an empty
 * table prints nothing. */
void veer_report_table(veer_report_t *r, const json_t *rows, const veer_column_t *columns, int count);
#define VEER_COLUMNS(...)                                                                                              \
    (veer_column_t[]){__VA_ARGS__}, (int)(sizeof((veer_column_t[]){__VA_ARGS__}) / sizeof(veer_column_t))

/* With --format json: prints the value and gives true. The value stays the caller's. */
bool veer_report_json(veer_report_t *r, const json_t *value);

#endif
