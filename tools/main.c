/* The `veer` command: finds the verb, reads its arguments, runs it, and makes its status the exit code. */
#include "api/veer.h"
#include "tools/verb.h"
#include "ir/base/suggest.h"

#include <limits.h>
#include <signal.h>
#include <string.h>

static const veer_verb_t *const verbs[] = {
#define VEER_VERB(name) &veer_verb_##name,
#include "tools/verbs.def"
#undef VEER_VERB
};
enum { VERB_COUNT = sizeof verbs / sizeof *verbs };

static const veer_flag_t common_flags[] = {
    {"format", 0, "table|json", "how results and errors are printed", false},
    {"threads", 't', "N", "threads; 0: one per physical core (the default)", false},
    {"help", 'h', NULL, "this text", false},
};
enum { COMMON_COUNT = sizeof common_flags / sizeof *common_flags };

/* ---- usage ---- */

static void print_usage(FILE *file) {
    fputs("usage: veer VERB [ARGUMENTS]\n\n", file);
    for (int i = 0; i < VERB_COUNT; i++) fprintf(file, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("\nveer VERB --help lists the flags of a verb.\n", file);
}

static void print_flag(FILE *file, const veer_flag_t *flag) {
    char text[128];
    bool has_value = flag->value && *flag->value;
    int n = flag->letter ? snprintf(text, sizeof text, "-%c, ", flag->letter) : snprintf(text, sizeof text, "    ");
    snprintf(text + n, sizeof text - (size_t)n, "--%s%s%s", flag->name, has_value ? " " : "",
             has_value ? flag->value : "");
    fprintf(file, "  %-34s %s%s\n", text, flag->doc, flag->repeatable ? " (repeatable)" : "");
}

static void print_help(FILE *file, const veer_verb_t *verb, const veer_flag_t *flags, int count) {
    fprintf(file, "usage: veer %s%s%s [FLAGS]\n\n%s\n", verb->name, *verb->operands ? " " : "", verb->operands,
            verb->summary);
    if (verb->details) fprintf(file, "\n%s\n", verb->details);
    fputs("\nflags:\n", file);
    for (int i = 0; i < count; i++) print_flag(file, &flags[i]);
    fprintf(file, "\nexample:\n%s\n", verb->example);
}

/* ---- one verb ---- */

static bool is_among(const veer_flag_t *flags, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(flags[i].name, name)) return true;
    return false;
}

/* The verb's own flags, those of the settings that it does not have itself, then the common ones; in the arena. */
static veer_status_t collect_flags(const veer_verb_t *verb, veer_arena_t *arena, veer_flag_t **out_flags,
                                   int *out_count) {
    int own = 0, settings = verb->settings ? veer_setting_count() : 0, count = 0;
    while (verb->flags && verb->flags[own].name) own++;
    veer_flag_t *flags = veer_arena_array(arena, (size_t)(own + settings) + COMMON_COUNT, sizeof *flags);
    if (!flags) return veer_out_of_memory();
    for (int i = 0; i < own; i++) flags[count++] = verb->flags[i];
    for (int i = 0; i < settings; i++) {
        veer_setting_info_t info = veer_setting_info(i);
        if (!is_among(flags, own, info.name))
            flags[count++] = (veer_flag_t){info.name, 0, info.value, info.doc, info.repeatable};
    }
    for (int i = 0; i < COMMON_COUNT; i++) flags[count++] = common_flags[i];
    *out_flags = flags;
    *out_count = count;
    return veer_ok();
}

static veer_status_t check_operands(const veer_verb_t *verb, const veer_args_t *args) {
    if (args->operand_count < verb->min_operands)
        return veer_error(VEER_ERR_CONFIG, "%s is missing: veer %s %s", verb->operands, verb->name, verb->operands);
    if (args->operand_count > verb->max_operands)
        return veer_error(VEER_ERR_CONFIG, "unexpected argument '%s'", args->operands[verb->max_operands]);
    return veer_ok();
}

static veer_status_t read_common(veer_command_t *c) {
    static const char *const formats[] = {"table", "json", NULL};
    const char *format = formats[0];
    int64_t threads = 0;
    veer_status_t status = veer_args_choice(&c->args, "format", formats, &format);
    c->report.json = format == formats[1];
    status = veer_status_join(status, veer_args_int(&c->args, "threads", INT_MIN, 1024, &threads));
    c->threads = threads > 0 ? (int)threads : 0;
    return status;
}

static int run_verb(const veer_verb_t *verb, int argc, char **argv) {
    veer_command_t c = {.allocator = veer_allocator_system(), .report = veer_report_make()};
    veer_arena_t arena;
    veer_flag_t *flags = NULL;
    int count = 0;
    veer_arena_init(&arena, c.allocator);
    veer_status_t status = collect_flags(verb, &arena, &flags, &count);
    if (!status) status = veer_args_parse(&c.args, c.allocator, flags, count, argc, argv);
    if (flags && veer_args_has(&c.args, "help")) {
        print_help(c.report.out, verb, flags, count);
        veer_status_free(status);
        status = NULL;
    } else if (flags) {
        status = veer_status_join(status, read_common(&c));
        if (!status) status = check_operands(verb, &c.args);
        if (status)
            status = veer_status_help(status, "veer %s --help lists the flags", verb->name);
        else
            status = verb->run(&c);
    }
    int code = veer_report_finish(&c.report, status);
    veer_args_deinit(&c.args);
    veer_arena_deinit(&arena);
    return code;
}

static int unknown_verb(const char *word) {
    const char *names[VERB_COUNT];
    veer_report_t report = veer_report_make();
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "there is no verb '%s'", word);
    for (int i = 0; i < VERB_COUNT; i++) names[i] = verbs[i]->name;
    const char *near = veer_suggest(word, names, VERB_COUNT);
    status = near ? veer_status_help(status, "did you mean veer %s?", near)
                  : veer_status_help(status, "veer --help lists the verbs");
    return veer_report_finish(&report, status);
}

int main(int argc, char **argv) {
    /* What cannot be written is an error with a message, not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    veer_report_t report = veer_report_make();
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        print_usage(stderr);
        return VEER_ERR_CONFIG;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || (!strcmp(word, "help") && argc == 2)) {
        print_usage(stdout);
        return veer_report_finish(&report, NULL);
    }
    bool help = !strcmp(word, "help");
    if (help) word = argv[2];
    if (!strcmp(word, "--version")) word = "version";
    for (int i = 0; i < VERB_COUNT; i++)
        if (!strcmp(word, verbs[i]->name))
            return help ? run_verb(verbs[i], 1, (char *[]){"--help"}) : run_verb(verbs[i], argc - 2, argv + 2);
    return unknown_verb(word);
}
