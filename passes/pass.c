#include "passes/pass.h"

#include <assert.h>
#include <string.h>

#define VEER_PASS(name) extern const veer_pass_def_t veer_pass_##name;
#include "passes/passes.def"
#undef VEER_PASS

static const veer_pass_def_t *const defs[] = {
#define VEER_PASS(name) &veer_pass_##name,
#include "passes/passes.def"
#undef VEER_PASS
};

int veer_pass_def_count(void) {
    return (int)(sizeof defs / sizeof *defs);
}

const veer_pass_def_t *veer_pass_def(int i) {
    return defs[i];
}

const veer_pass_def_t *veer_pass_find(const char *name, size_t length) {
    for (int i = 0; i < veer_pass_def_count(); i++)
        if (strlen(defs[i]->name) == length && !memcmp(defs[i]->name, name, length)) return defs[i];
    return NULL;
}

void veer_pass_count_by(veer_pass_ctx_t *ctx, const char *what, int64_t by) {
    int i = 0;
    while (i < ctx->counter_count && strcmp(ctx->counters[i].name, what)) i++;
    assert(i < VEER_PASS_MAX_COUNTERS);
    if (i == ctx->counter_count) ctx->counters[ctx->counter_count++] = (veer_pass_counter_t){what, 0};
    ctx->counters[i].count += by;
}

void veer_pass_count(veer_pass_ctx_t *ctx, const char *what) {
    veer_pass_count_by(ctx, what, 1);
}

int64_t veer_pass_option(const veer_pass_ctx_t *ctx, const char *name) {
    int i = 0;
    while (i < VEER_PASS_MAX_OPTIONS && ctx->def->options[i].name && strcmp(ctx->def->options[i].name, name)) i++;
    assert(i < VEER_PASS_MAX_OPTIONS && ctx->def->options[i].name);
    return ctx->options[i];
}
