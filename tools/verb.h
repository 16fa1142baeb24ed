/* What a verb of the command is: one file, one veer_verb_t, listed in verbs.def.
 *
 *     static veer_status_t run_version(veer_command_t *c) { ... }
 *     const veer_verb_t veer_verb_version = {.name = "version", .summary = "...", .run = run_version, ...};
 */
#ifndef VEER_TOOLS_VERB_H
#define VEER_TOOLS_VERB_H

#include "tools/args.h"
#include "tools/report.h"

/* One invocation of a verb. */
typedef struct veer_command_s {
    veer_allocator_t allocator;
    veer_args_t args;
    veer_report_t report;
    int threads; /* --threads; 0: physical cores */
} veer_command_t;

typedef struct veer_verb_s {
    const char *name;
    const char *operands; /* "MODEL.onnx", "[FOLDER]"; "" */
    int min_operands, max_operands;
    const char *summary;      /* one line */
    const char *details;      /* NULL or lines */
    const char *example;      /* lines that work as printed, in the project's folder */
    const veer_flag_t *flags; /* ends with a flag without name; may be NULL */
    bool settings;            /* has the settings of `veer sample` as flags, too */
    /* The status becomes the exit code. Results have been printed before. */
    veer_status_t (*run)(veer_command_t *c);
} veer_verb_t;

#define VEER_VERB(name) extern const veer_verb_t veer_verb_##name;
#include "tools/verbs.def"
#undef VEER_VERB

static inline const char *veer_command_operand(const veer_command_t *c, int i) {
    return i < c->args.operand_count ? c->args.operands[i] : NULL;
}

#endif
