/* veer opt: graphs in their text form, through a pipeline of passes. */
#include "api/compile.h"
#include "frontend/infile.h"
#include "frontend/outfile.h"
#include "ir/parse.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/pass.h"
#include "tools/limits.h"

#include <string.h>

enum { MAX_TEXT_BYTES = 1 << 28 };

typedef struct {
    veer_command_t *c;
    char *input, *output;
    veer_graph_t *graph;
} opt_t;

static void dump(void *user, const char *pass, const char *text) {
    opt_t *s = user;
    fprintf(s->c->report.err, "// after %s\n", pass);
    veer_report_text(s->c->report.err, text);
}

static veer_status_t parse(opt_t *s) {
    const char *path = veer_command_operand(s->c, 0);
    size_t size;
    s->c->report.stage = "parse";
    VEER_TRY(veer_infile_read_text(path, MAX_TEXT_BYTES, s->c->allocator, &s->input, &size));
    veer_limits_t limits;
    VEER_TRY(veer_limits_from_args(s->c, &limits));
    VEER_TRY(veer_graph_create(s->c->allocator, &s->graph));
    veer_graph_set_limits(s->graph, &limits);
    VEER_TRY(veer_parse(s->graph, s->input, size, path));
    return veer_status_where(veer_verify(s->graph), "%s", path);
}

static veer_status_t write_text(opt_t *s) {
    veer_report_t *r = &s->c->report;
    const char *path = veer_args_value(&s->c->args, "output");
    r->stage = "write";
    if (path) {
        veer_outfile_t *file;
        VEER_TRY(veer_outfile_open(path, s->c->allocator, &file));
        return veer_outfile_close(file, veer_outfile_write(file, s->output, strlen(s->output)));
    }
    json_t *root = veer_report_object(r);
    veer_put_text(r, root, "text", s->output);
    if (!veer_report_json(r, root)) fputs(s->output, r->out);
    json_decref(root);
    return veer_ok();
}

static veer_status_t list_passes(veer_status_t status) {
    char list[1024] = "";
    for (int i = 0; i < veer_pass_def_count(); i++) {
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", veer_pass_def(i)->name);
    }
    return veer_status_help(status, "passes are: %s", list);
}

static veer_status_t run_passes(opt_t *s, const char *passes, const veer_compile_options_t *options) {
    veer_status_t status = veer_run_passes(s->graph, VEER_NO_FUNC, passes, options);
    return veer_status_code(status) == VEER_ERR_CONFIG ? list_passes(status) : status;
}

static veer_status_t opt(opt_t *s) {
    const char *passes = veer_args_value(&s->c->args, "passes");
    veer_compile_options_t options = {.allocator = s->c->allocator,
                                      .dump_after = veer_args_value(&s->c->args, "dump-after"),
                                      .dump = dump,
                                      .dump_user = s};
    VEER_TRY(parse(s));
    s->c->report.stage = "passes";
    if (passes && *passes) VEER_TRY(run_passes(s, passes, &options));
    VEER_TRY(veer_print(s->graph, s->c->allocator, &s->output));
    return write_text(s);
}

static veer_status_t run_opt(veer_command_t *c) {
    opt_t s = {.c = c};
    veer_status_t status = opt(&s);
    veer_graph_destroy(s.graph);
    veer_free(c->allocator, s.input);
    veer_free(c->allocator, s.output);
    return status;
}

static const veer_flag_t flags[] = {
    {"passes", 0, "A,B,C", "the pipeline; without it the text is only checked and printed again", false},
    {"dump-after", 0, "PASS", "show the graph after a pass, or after all: fold,cse or all", false},
    {"output", 'o', "FILE.veer", "where the text goes instead of stdout", false},
    VEER_LIMIT_FLAGS{0},
};

const veer_verb_t veer_verb_opt = {
    .name = "opt",
    .operands = "FILE.veer",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "run passes over a graph in its text form",
    .example = "  veer opt examples/silu.veer --passes recognize-silu,fold,dce",
    .flags = flags,
    .run = run_opt,
};
