#include "passes/manager.h"

#include "ir/base/clock.h"
#include "ir/base/suggest.h"
#include "ir/base/text.h"
#include "ir/print.h"
#include "ir/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct stage_s {
    const veer_pass_def_t *def;
    int64_t options[VEER_PASS_MAX_OPTIONS];
    veer_pass_counter_t counters[VEER_PASS_MAX_COUNTERS];
    int counter_count;
    double time_ms;
} stage_t;

struct veer_pipeline_s {
    veer_allocator_t allocator;
    stage_t *stages;
    int count, capacity;
};

/* ---- text ---- */

static size_t word_length(const char *text) {
    return strcspn(text, ",{}= ");
}

static bool same_word(const char *a, const char *b, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((a[i] == '_' ? '-' : a[i]) != (b[i] == '_' ? '-' : b[i])) return false;
    return strlen(b) == length;
}

static veer_status_t unknown(const char *what, const char *name, size_t length, const char *best) {
    veer_status_t status = veer_error(VEER_ERR_CONFIG, "unknown %s '%.*s'", what, (int)length, name);
    return best ? veer_status_help(status, "did you mean '%s'?", best) : status;
}

static veer_status_t find_pass(const char *name, size_t length, const veer_pass_def_t **out) {
    veer_suggest_t s = veer_suggest_for(name, length);
    for (int i = 0; i < veer_pass_def_count(); i++) {
        *out = veer_pass_def(i);
        if (same_word(name, (*out)->name, length)) return veer_ok();
        veer_suggest_offer(&s, (*out)->name);
    }
    return unknown("pass", name, length, s.best);
}

static veer_status_t set_option(stage_t *stage, const char *name, size_t length, int64_t value) {
    veer_suggest_t s = veer_suggest_for(name, length);
    for (int i = 0; i < VEER_PASS_MAX_OPTIONS && stage->def->options[i].name; i++) {
        if (same_word(name, stage->def->options[i].name, length)) {
            stage->options[i] = value;
            return veer_ok();
        }
        veer_suggest_offer(&s, stage->def->options[i].name);
    }
    return veer_status_where(unknown("option", name, length, s.best), "pass '%s'", stage->def->name);
}

/* name=123 */
static veer_status_t parse_option(stage_t *stage, const char **text) {
    size_t length = word_length(*text);
    const char *value = *text + length + 1;
    char *end = NULL;
    errno = 0;
    if (length == 0 || (*text)[length] != '=')
        return veer_error(VEER_ERR_CONFIG, "pass '%s': '%.20s' is no option such as limit=1", stage->def->name, *text);
    long long number = strtoll(value, &end, 10);
    if (end == value || errno)
        return veer_error(VEER_ERR_CONFIG, "pass '%s': option '%.*s' is no integer", stage->def->name, (int)length,
                          *text);
    VEER_TRY(set_option(stage, *text, length, number));
    *text = end;
    return veer_ok();
}

/* {a=1,b=2} */
static veer_status_t parse_options(stage_t *stage, const char **text) {
    if (**text != '{') return veer_ok();
    do {
        (*text)++;
        VEER_TRY(parse_option(stage, text));
    } while (**text == ',');
    if (**text != '}') return veer_error(VEER_ERR_CONFIG, "pass '%s': its options lack a '}'", stage->def->name);
    (*text)++;
    return veer_ok();
}

static veer_status_t add_stage(veer_pipeline_t *p, const veer_pass_def_t *def) {
    if (p->count == p->capacity) {
        int capacity = p->capacity ? p->capacity * 2 : 16;
        stage_t *bigger = veer_alloc_array(p->allocator, (size_t)capacity, sizeof *bigger);
        if (!bigger) return veer_out_of_memory();
        if (p->count) memcpy(bigger, p->stages, (size_t)p->count * sizeof *bigger);
        veer_free(p->allocator, p->stages);
        p->stages = bigger;
        p->capacity = capacity;
    }
    stage_t *stage = &p->stages[p->count++];
    *stage = (stage_t){.def = def};
    for (int i = 0; i < VEER_PASS_MAX_OPTIONS; i++) stage->options[i] = def->options[i].default_value;
    return veer_ok();
}

static veer_status_t parse_pipeline(veer_pipeline_t *p, const char *text) {
    while (*text) {
        const veer_pass_def_t *def;
        size_t length = word_length(text);
        VEER_TRY(find_pass(text, length, &def));
        VEER_TRY(add_stage(p, def));
        text += length;
        VEER_TRY(parse_options(&p->stages[p->count - 1], &text));
        if (!*text) break;
        if (*text != ',') return veer_error(VEER_ERR_CONFIG, "'%.20s' in the list of passes, expected ','", text);
        text++;
        if (!*text) return veer_error(VEER_ERR_CONFIG, "the list of passes ends with ','");
    }
    return veer_ok();
}

veer_status_t veer_pipeline_create(veer_allocator_t allocator, const char *text, veer_pipeline_t **out_pipeline) {
    veer_pipeline_t *p = veer_alloc(allocator, sizeof *p);
    if (!p) return veer_out_of_memory();
    p->allocator = allocator;
    veer_status_t status = parse_pipeline(p, text);
    if (status)
        veer_pipeline_destroy(p);
    else
        *out_pipeline = p;
    return status;
}

void veer_pipeline_destroy(veer_pipeline_t *p) {
    if (!p) return;
    veer_free(p->allocator, p->stages);
    veer_free(p->allocator, p);
}

/* Options that have their default value go without saying. */
static void add_stage_text(veer_text_t *t, const stage_t *stage) {
    int printed = 0;
    veer_text_add(t, "%s%s", t->length ? "," : "", stage->def->name);
    for (int i = 0; i < VEER_PASS_MAX_OPTIONS && stage->def->options[i].name; i++)
        if (stage->options[i] != stage->def->options[i].default_value)
            veer_text_add(t, "%s%s=%" PRId64, printed++ ? "," : "{", stage->def->options[i].name, stage->options[i]);
    if (printed) veer_text_add(t, "}");
}

veer_status_t veer_pipeline_text(const veer_pipeline_t *p, int from, veer_allocator_t allocator, char **out_text) {
    veer_text_t t = veer_text_make(allocator);
    for (int i = from; i < p->count; i++) add_stage_text(&t, &p->stages[i]);
    return veer_text_take(&t, out_text);
}

int veer_pipeline_count(const veer_pipeline_t *p) {
    return p->count;
}

veer_pass_report_t veer_pipeline_report(const veer_pipeline_t *p, int i) {
    const stage_t *s = &p->stages[i];
    return (veer_pass_report_t){s->def->name, s->time_ms, s->counters, s->counter_count};
}

/* ---- dumps and reproducers ---- */

static bool in_list(const char *list, const char *name) {
    for (const char *at = list; at && *at; at += *at == ',') {
        size_t length = strcspn(at, ",");
        if ((length == 3 && !memcmp(at, "all", 3)) || same_word(at, name, length)) return true;
        at += length;
    }
    return false;
}

/* A name that no pass has is a mistake that would otherwise show as silence. */
static veer_status_t check_dump_names(const char *list) {
    for (const char *at = list; at && *at; at += *at == ',') {
        size_t length = strcspn(at, ",");
        const veer_pass_def_t *def;
        if (length != 3 || memcmp(at, "all", 3)) VEER_TRY(find_pass(at, length, &def));
        at += length;
    }
    return veer_ok();
}

static veer_status_t dump(const veer_pipeline_t *p, const stage_t *s, const veer_graph_t *g,
                          const veer_pipeline_options_t *o) {
    char *text;
    if (!o->dump || !in_list(o->dump_after, s->def->name)) return veer_ok();
    VEER_TRY(veer_print(g, p->allocator, &text));
    o->dump(o->dump_user, s->def->name, text);
    veer_free(p->allocator, text);
    return veer_ok();
}

static veer_status_t write_file(const char *path, const char *passes, const char *text) {
    FILE *f = fopen(path, "w");
    if (!f) return veer_error(VEER_ERR_RESOURCE, "%s: %s", path, strerror(errno));
    bool ok = fprintf(f, "// RUN: veer opt --passes=%s\n%s", passes, text) >= 0;
    ok = fclose(f) == 0 && ok;
    if (ok) return veer_ok();
    unlink(path);
    return veer_error(VEER_ERR_RESOURCE, "%s: it could not be written", path);
}

/* Adds a note with the file's name to `status`; that the file cannot be written must not hide the failure itself. */
static veer_status_t write_repro(const veer_pipeline_t *p, int from, const char *before, const char *folder,
                                 veer_status_t status) {
    veer_text_t path = veer_text_make(p->allocator);
    char *passes = NULL;
    veer_text_add(&path, "%s/repro.veer", folder);
    veer_status_t wrote = path.failed ? veer_out_of_memory() : veer_pipeline_text(p, from, p->allocator, &passes);
    if (!wrote) wrote = write_file(path.data, passes, before);
    if (wrote)
        status = veer_status_note(status, "no reproducer: %s", veer_status_message(wrote, 0));
    else
        status = veer_status_note(status, "%s repeats it", path.data);
    veer_status_free(wrote);
    veer_free(p->allocator, passes);
    veer_text_deinit(&path);
    return status;
}

/* ---- runs ---- */

static veer_status_t run_func(stage_t *s, veer_graph_t *g, veer_func_t func, const veer_pipeline_options_t *o,
                              veer_pass_ctx_t *ctx) {
    veer_arena_init(&ctx->scratch, veer_graph_allocator(g));
    veer_region_clear_strands(g, veer_func_body(g, func)); /* they hold for the order and the nodes of before */
    veer_status_t status = s->def->run(g, func, ctx);
    veer_arena_deinit(&ctx->scratch);
    if (!status && veer_graph_out_of_memory(g)) status = veer_out_of_memory();
    bool verify = o->verify_each;
#ifndef NDEBUG
    verify = true;
#endif
    if (!status && verify) status = veer_status_where(veer_verify(g), "the graph is wrong afterwards");
    return veer_status_where(status, "pass '%s' on @%s", s->def->name, veer_func_name(g, func));
}

static veer_status_t run_stage(stage_t *s, veer_graph_t *g, veer_func_t only, const veer_pipeline_options_t *o) {
    veer_pass_ctx_t ctx = {.def = s->def, .eval = o->eval, .target = o->target};
    memcpy(ctx.options, s->options, sizeof ctx.options);
    double start = veer_clock_seconds();
    veer_status_t status = veer_ok();
    /* A pass may add functions behind the one at hand, and they have their turn; it must not remove any but that one.
     */
    for (veer_func_t f = only.i ? only : veer_graph_first_func(g); f.i && !status;) {
        veer_func_t next = only.i ? VEER_NO_FUNC : veer_graph_next_func(g, f);
        status = run_func(s, g, f, o, &ctx);
        f = next.i || only.i ? next : veer_graph_next_func(g, f);
    }
    s->time_ms = (veer_clock_seconds() - start) * 1e3;
    memcpy(s->counters, ctx.counters, sizeof s->counters);
    s->counter_count = ctx.counter_count;
    return status;
}

static veer_status_t run_stage_with_repro(veer_pipeline_t *p, int i, veer_graph_t *g, veer_func_t func,
                                          const veer_pipeline_options_t *o) {
    char *before = NULL;
    if (o->repro_folder) VEER_TRY(veer_print(g, p->allocator, &before));
    veer_status_t status = run_stage(&p->stages[i], g, func, o);
    if (status && before) status = write_repro(p, i, before, o->repro_folder, status);
    veer_free(p->allocator, before);
    return status;
}

veer_status_t veer_pipeline_run(veer_pipeline_t *p, veer_graph_t *g, veer_func_t func,
                                const veer_pipeline_options_t *options) {
    veer_pipeline_options_t o = options ? *options : (veer_pipeline_options_t){0};
    VEER_TRY(check_dump_names(o.dump_after));
    for (int i = 0; i < p->count; i++) {
        VEER_TRY(run_stage_with_repro(p, i, g, func, &o));
        VEER_TRY(dump(p, &p->stages[i], g, &o));
    }
    return veer_ok();
}
