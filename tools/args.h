/* Command-line arguments by a table of flags. `_` and `-` are the same in names; `--flag value` and `--flag=value` too;
 * `--` ends the flags; the last of several values counts, unless the flag is repeatable.
 *
 *     static const veer_flag_t flags[] = {{"steps", 0, "N", "number of steps", false}, ...};
 *     status = veer_args_parse(&args, allocator, flags, count, argc, argv);
 *     VEER_TRY(veer_args_int(&args, "steps", 1, INT64_MAX, &steps));   // left alone where the flag was not given
 *     veer_args_deinit(&args);
 */
#ifndef VEER_TOOLS_ARGS_H
#define VEER_TOOLS_ARGS_H

#include "ir/base/arena.h"
#include "ir/base/status.h"

typedef struct veer_flag_s {
    const char *name;  /* with '-' */
    char letter;       /* 't' for -t; 0: none */
    const char *value; /* what the value is called in the usage text; NULL or "": a switch */
    const char *doc;
    bool repeatable;
} veer_flag_t;

typedef struct veer_given_s {
    const veer_flag_t *flag;
    const char *value; /* "" for a switch; borrowed from argv */
} veer_given_t;

typedef struct veer_args_s {
    veer_arena_t arena;
    veer_given_t *given; /* in the order of the command line */
    int given_count;
    const char **operands;
    int operand_count;
} veer_args_t;

/* VEER_ERR_CONFIG with one error per mistake; what was understood is in *out all the same, which always needs
 * veer_args_deinit. `flags` and argv are borrowed. */
VEER_MUST_USE veer_status_t veer_args_parse(veer_args_t *out, veer_allocator_t allocator, const veer_flag_t *flags,
                                            int flag_count, int argc, char *const *argv);
void veer_args_deinit(veer_args_t *args);

/* The last value of a flag, NULL where it was not given. */
const char *veer_args_value(const veer_args_t *args, const char *name);
static inline bool veer_args_has(const veer_args_t *args, const char *name) {
    return veer_args_value(args, name) != NULL;
}
/* The values of a repeatable flag. */
int veer_args_count(const veer_args_t *args, const char *name);
const char *veer_args_value_at(const veer_args_t *args, const char *name, int i);

/* The last value as a number in [least, most]; *out is left alone where the flag was not given. VEER_ERR_CONFIG. */
VEER_MUST_USE veer_status_t veer_args_int(const veer_args_t *args, const char *name, int64_t least, int64_t most,
                                          int64_t *out);
VEER_MUST_USE veer_status_t veer_args_double(const veer_args_t *args, const char *name, double least, double *out);
/* One of the words of a list that ends with NULL; VEER_ERR_CONFIG that names them all. */
VEER_MUST_USE veer_status_t veer_args_choice(const veer_args_t *args, const char *name, const char *const *words,
                                             const char **out);
/* "a,b,c" cut at the commas, in the args' arena; empty parts are VEER_ERR_CONFIG. */
VEER_MUST_USE veer_status_t veer_args_split(veer_args_t *args, const char *text, const char *const **out_parts,
                                            int *out_count);
/* "NAME=VALUE" cut at the first '=' (names of ONNX values may hold anything else). VEER_ERR_CONFIG that names `flag`.
 */
VEER_MUST_USE veer_status_t veer_args_assignment(veer_args_t *args, const char *flag, const char *text,
                                                 const char **out_name, const char **out_value);

#endif
