#include "api/budget.h"

#include "api/storage.h"
#include "ir/flops.h"
#include "passes/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

veer_status_t veer_bytes_parse(const char *text, int64_t *out_bytes) {
    static const char units[] = "KMG";
    char *end;
    double bytes = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    for (const char *u = units; unit && u <= unit; u++) bytes *= 1000;
    if (end == text || (*end && (!unit || end[1])) || !(bytes >= 1) || bytes > 0x1p62)
        return veer_status_help(veer_error(VEER_ERR_CONFIG, "'%s' is no number of bytes", text),
                                "as in 1500000, 1500K, 60M, 1.5G");
    *out_bytes = (int64_t)bytes;
    return veer_ok();
}

/* What decides on speed where memory allows it. */
typedef struct fit_s {
    veer_graph_t *g;
    veer_func_t func;
    const veer_compile_options_t *options;
    bool reorder;       /* passes interleave and strands may */
    int64_t free_bytes; /* the arena without a budget; 0 until it is known */
} fit_t;

/* ---- order ---- */

/* Nodes of a function in their order, region by region. */
static void save_order(const veer_graph_t *g, veer_region_t region, veer_node_t *list, size_t *count) {
    VEER_FOR_EACH_NODE(g, region, n) {
        list[(*count)++] = n;
        if (veer_node_op(g, n) == VEER_OP_LOOP) save_order(g, veer_node_body(g, n), list, count);
    }
}

/* Without strands. */
static void restore_order(veer_graph_t *g, const veer_node_t *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        veer_node_set_strand(g, list[i], 0);
        veer_node_t end = veer_region_terminator(g, veer_node_region(g, list[i]));
        if (!veer_node_eq(list[i], end)) veer_node_move_before(g, list[i], end);
    }
}

static bool fits(const fit_t *f, int64_t bytes) {
    return bytes <= f->options->memory_budget;
}

/* With memory that is given away late, or else at once. */
static veer_status_t try_order(fit_t *f, int64_t *out_bytes, bool *out_compact) {
    veer_allocator_t a = veer_graph_allocator(f->g);
    int64_t compact = 0;
    VEER_TRY(veer_storage_arena(f->g, f->func, false, a, out_bytes));
    if (!f->free_bytes) f->free_bytes = *out_bytes;
    *out_compact = !fits(f, *out_bytes);
    if (*out_compact) VEER_TRY(veer_storage_arena(f->g, f->func, true, a, &compact));
    if (*out_compact && fits(f, compact)) *out_bytes = compact;
    return veer_ok();
}

/* Passes that choose an order, undone where the arena then takes more than the budget. */
static veer_status_t try_passes(fit_t *f, const char *passes, int64_t *out_bytes, bool *out_compact) {
    veer_allocator_t a = veer_graph_allocator(f->g);
    size_t count = 0;
    veer_node_t *list = veer_alloc_array(a, veer_graph_node_limit(f->g), sizeof *list);
    if (!list) return veer_out_of_memory();
    save_order(f->g, veer_func_body(f->g, f->func), list, &count);
    veer_status_t status = veer_run_passes(f->g, f->func, passes, f->options);
    if (!status) status = try_order(f, out_bytes, out_compact);
    if (!status && !fits(f, *out_bytes)) restore_order(f->g, list, count);
    veer_free(a, list);
    return status;
}

/* ---- computing again ---- */

static int64_t counted(const veer_pipeline_t *p, const char *name) {
    veer_pass_report_t report = veer_pipeline_report(p, 0);
    for (int i = 0; i < report.counter_count; i++)
        if (!strcmp(report.counters[i].name, name)) return report.counters[i].count;
    return 0;
}

static veer_status_t recompute(veer_graph_t *g, veer_func_t func, int64_t bytes, veer_plan_budget_t *out) {
    veer_pipeline_t *p;
    char text[64];
    snprintf(text, sizeof text, "recompute{budget=%lld},dce", (long long)bytes);
    VEER_TRY(veer_pipeline_create(veer_graph_allocator(g), text, &p));
    veer_pipeline_options_t options = {.target = veer_compile_target()};
    veer_status_t status = veer_pipeline_run(p, g, func, &options);
    out->computed_again += counted(p, "computed again");
    out->moved += counted(p, "moved");
    out->added_flops += (double)counted(p, "added flops");
    veer_pipeline_destroy(p);
    return status;
}

/* What dce takes away at the end may lead to other places in the arena, which are not always better: then once more,
 * for a little less. */
static veer_status_t compute_again(const fit_t *f, veer_plan_budget_t *out) {
    int64_t budget = f->options->memory_budget;
    for (int64_t wanted = budget, arena; wanted > 0; wanted -= arena - budget) {
        VEER_TRY(recompute(f->g, f->func, wanted, out));
        VEER_TRY(veer_storage_arena(f->g, f->func, true, veer_graph_allocator(f->g), &arena));
        if (fits(f, arena)) return veer_ok();
    }
    return veer_error(VEER_ERR_RESOURCE, "the memory budget of %lld bytes cannot be met", (long long)budget);
}

/* The order that runs fastest and fits; whether any does. */
static veer_status_t choose_order(fit_t *f, bool *out_compact, bool *out_fits) {
    static const char *const orders[] = {"interleave,strands", "interleave"};
    int64_t bytes = 0;
    for (int i = 0; f->reorder && i < 2; i++) {
        VEER_TRY(try_passes(f, orders[i], &bytes, out_compact));
        if (fits(f, bytes)) return *out_fits = true, veer_ok();
    }
    VEER_TRY(try_order(f, &bytes, out_compact));
    *out_fits = fits(f, bytes);
    return veer_ok();
}

veer_status_t veer_fit_budget(veer_graph_t *g, veer_func_t func, const veer_compile_options_t *options, bool reorder,
                              veer_plan_budget_t *out, bool *out_compact) {
    fit_t f = {g, func, options, reorder, 0};
    bool done;
    *out =
        (veer_plan_budget_t){.budget_bytes = options->memory_budget, .flops = veer_flops(g, veer_func_body(g, func))};
    VEER_TRY(veer_legalise(g, veer_func_body(g, func)));
    VEER_TRY(choose_order(&f, out_compact, &done));
    out->arena_bytes = f.free_bytes;
    if (done) return veer_ok();
    VEER_TRY(compute_again(&f, out));
    return choose_order(&f, out_compact, &done);
}
