/* scheduler_config.json, and the schedule that it describes. */
#include "frontend/json_config.h"
#include "models/schedule.h"
#include "tests/fuzz/fuzz.h"

static void check_table(const veer_schedule_t *s, const veer_kept_steps_t *kept, const veer_scheduler_config_t *c,
                        veer_allocator_t allocator) {
    veer_step_table_options_t o = {.final_noise = c->final_noise, .final_abar_is_first = !c->set_alpha_to_one};
    veer_step_table_t table;
    if (!fuzz_ok(veer_variance_parse(c->variance_type, &o.variance, &o.variance_fraction))) return;
    if (!fuzz_ok(veer_step_table_init(&table, s, kept, &o, allocator))) return;
    for (int64_t i = 0; i < table.steps; i++)
        FUZZ_CHECK(table.abar[i] >= 0 && table.abar[i] <= 1, "abar[%lld] = %g", (long long)i, table.abar[i]);
    veer_step_table_deinit(&table);
}

static void check_schedule(const veer_scheduler_config_t *c, veer_allocator_t allocator) {
    veer_schedule_options_t o = veer_schedule_options_default();
    veer_schedule_t s;
    veer_kept_steps_t kept;
    veer_spacing_t spacing;
    o.steps = c->num_train_timesteps;
    if (c->trained_betas.count) {
        o.kind = VEER_BETAS_GIVEN;
        o.betas = c->trained_betas.values;
        o.steps = (int64_t)c->trained_betas.count;
    } else if (!fuzz_ok(veer_betas_kind_parse(c->beta_schedule, &o.kind)))
        return;
    o.beta_start = c->beta_start, o.beta_end = c->beta_end, o.rescale_zero_snr = c->rescale_betas_zero_snr;
    if (!fuzz_ok(veer_schedule_init(&s, &o, allocator))) return;
    for (int64_t i = 0; i < s.steps; i++)
        FUZZ_CHECK(s.beta[i] > 0 && s.beta[i] <= 1, "beta[%lld] = %g", (long long)i, s.beta[i]);
    if (fuzz_ok(veer_spacing_parse(c->timestep_spacing, &spacing)) &&
        fuzz_ok(
            veer_kept_steps_spaced(&kept, s.steps, s.steps < 50 ? s.steps : 50, spacing, c->steps_offset, allocator))) {
        check_table(&s, &kept, c, allocator);
        veer_kept_steps_deinit(&kept);
    }
    if (fuzz_ok(veer_kept_steps_respacing(&kept, s.steps, c->beta_schedule, allocator))) veer_kept_steps_deinit(&kept);
    veer_schedule_deinit(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    fuzz_memory_t memory = {.limit_bytes = 256 << 20};
    veer_allocator_t allocator = fuzz_allocator(&memory);
    veer_scheduler_config_t config;
    fuzz_file_t file = fuzz_file(bytes, size_bytes);
    if (fuzz_ok(veer_scheduler_config_read(file.path, allocator, &config))) {
        check_schedule(&config, allocator);
        veer_scheduler_config_deinit(&config);
    }
    fuzz_file_close(&file);
    FUZZ_CHECK(memory.live_bytes == 0, "%zu bytes are left", memory.live_bytes);
    return 0;
}
