/* Errors are values. A veer_status_t is NULL when all is well; otherwise it owns one or more errors, each with a code
 * (which is also the command's exit code), a message, an optional "where" and notes and helps.
 *
 *     if (rank != 4)
 *         return veer_error(VEER_ERR_UNSUPPORTED, "weight has %d dims, expected 4", rank);
 *     ...
 *     VEER_TRY(read_header(f));                                  // returns the error, holding nothing
 *     status = veer_status_where(read_body(f), "%s", path);      // adds "path: " in front, NULL stays NULL
 *     status = veer_status_help(status, "export with opset 13 or later");
 *
 * Whoever receives a status owns it: return it on, or release it with veer_status_free.
 * Not thread-safe per object; distinct statuses are independent.
 */
#ifndef VEER_IR_BASE_STATUS_H
#define VEER_IR_BASE_STATUS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what is declared here is what the library exports */

/* The exit codes of the command line; keep in step with docs/cli.md. */
typedef enum veer_code_e {
    VEER_OK = 0,
    VEER_ERR_FAILED = 1,       /* failed while running */
    VEER_ERR_CONFIG = 2,       /* usage or configuration */
    VEER_ERR_UNSUPPORTED = 3,  /* operator or feature */
    VEER_ERR_MISMATCH = 4,     /* verification */
    VEER_ERR_FILE = 5,         /* file broken or of another version */
    VEER_ERR_RESOURCE = 6,     /* memory or disk */
    VEER_ERR_INTERRUPTED = 130 /* by the user */
} veer_code_t;

typedef struct veer_status_s *veer_status_t;

#define VEER_MUST_USE     __attribute__((warn_unused_result))
#define VEER_PRINTF(f, a) __attribute__((format(printf, f, a)))

static inline VEER_MUST_USE veer_status_t veer_ok(void) {
    return NULL;
}

/* A new error. When its own memory cannot be had, the static out-of-memory status takes its place. */
VEER_MUST_USE veer_status_t veer_error_at(const char *file, int line, veer_code_t code, const char *format, ...)
    VEER_PRINTF(4, 5) __attribute__((returns_nonnull));
#define veer_error(code, ...) veer_error_at(__FILE__, __LINE__, code, __VA_ARGS__)
/* The static status (code VEER_ERR_RESOURCE) for a failed allocation; needs no memory itself. */
VEER_MUST_USE veer_status_t veer_out_of_memory(void) __attribute__((returns_nonnull));

/* Each takes `status`, changes it and gives it back; NULL (all is well) passes through unchanged. */
VEER_MUST_USE veer_status_t veer_status_where(veer_status_t status, const char *format, ...)
    VEER_PRINTF(2, 3); /* adds "where: " in front */
VEER_MUST_USE veer_status_t veer_status_note(veer_status_t status, const char *format, ...)
    VEER_PRINTF(2, 3); /* adds a line "note: ..." */
VEER_MUST_USE veer_status_t veer_status_help(veer_status_t status, const char *format, ...)
    VEER_PRINTF(2, 3); /* adds a line "help: ..." */
/* All errors of `first`, then those of `second`; takes both, either may be NULL. The code is the first one's. */
VEER_MUST_USE veer_status_t veer_status_join(veer_status_t first, veer_status_t second);

/* Code of the first error; VEER_OK for NULL. */
veer_code_t veer_status_code(veer_status_t status);
/* Number of joined errors; 0 for NULL. */
size_t veer_status_count(veer_status_t status);
/* Message of error `i` with its "where" in front, borrowed from the status. */
const char *veer_status_message(veer_status_t status, size_t i);
/* Notes and helps of error `i`, one a line, each "note: ..." or "help: ..."; "" where there are none. Borrowed. */
const char *veer_status_details(veer_status_t status, size_t i);
/* Source file and line of our own code where error `i` was made, for debugging. Borrowed. */
const char *veer_status_origin(veer_status_t status, size_t i, int *out_line);
void veer_status_free(veer_status_t status);
/* Drops an error on purpose. */
static inline void veer_status_ignore(veer_status_t status) {
    veer_status_free(status);
}

#define VEER_TRY(expression)                                                                                           \
    do {                                                                                                               \
        veer_status_t veer_try_status_ = (expression);                                                                 \
        if (veer_try_status_) return veer_try_status_;                                                                 \
    } while (0)
/* For functions that hold something: needs `veer_status_t status` and a label `done` in scope. */
#define VEER_GOTO_DONE(expression)                                                                                     \
    do {                                                                                                               \
        if ((status = (expression))) goto done;                                                                        \
    } while (0)

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
