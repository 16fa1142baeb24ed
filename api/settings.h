/* Settings as the rest of the api reads them: by constant, parsed. */
#ifndef VEER_API_SETTINGS_H
#define VEER_API_SETTINGS_H

#include "api/veer.h"
#include "ir/base/arena.h"
#include "ir/limits.h"

typedef enum veer_setting_e {
#define VEER_SETTING(ENUM, ...) VEER_SETTING_##ENUM,
#include "api/settings.def"
#undef VEER_SETTING
    VEER_SETTING_COUNT
} veer_setting_t;

/* Whether it was set; a switch counts once set. `settings` may be NULL: nothing is set. */
bool veer_setting_given(const veer_settings_t *settings, veer_setting_t which);
/* NULL where it was not set. Of a repeatable one, entry i; NULL behind the last. */
const char *veer_setting_text(const veer_settings_t *settings, veer_setting_t which, int i);

/* Each leaves *out alone where the setting was not given; VEER_ERR_CONFIG names the flag where the text is no such
 * value. */
VEER_MUST_USE veer_status_t veer_setting_int(const veer_settings_t *settings, veer_setting_t which, int64_t low,
                                             int64_t high, int64_t *out);
VEER_MUST_USE veer_status_t veer_setting_double(const veer_settings_t *settings, veer_setting_t which, double *out);
/* Sets the limits that were given. */
VEER_MUST_USE veer_status_t veer_setting_limits(const veer_settings_t *settings, veer_limits_t *out);
/* Lists separated by commas; memory from the arena. */
VEER_MUST_USE veer_status_t veer_setting_ints(const veer_settings_t *settings, veer_setting_t which,
                                              veer_arena_t *arena, int64_t **out, int64_t *out_count);
VEER_MUST_USE veer_status_t veer_setting_doubles(const veer_settings_t *settings, veer_setting_t which,
                                                 veer_arena_t *arena, double **out, int64_t *out_count);
/* "NAME=REST" of a repeatable setting: the name is copied to the arena, the rest points into the text. */
VEER_MUST_USE veer_status_t veer_setting_pair(const veer_settings_t *settings, veer_setting_t which, int i,
                                              veer_arena_t *arena, const char **out_name, const char **out_rest);

#endif
