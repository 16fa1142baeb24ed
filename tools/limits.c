#include "tools/limits.h"

veer_status_t veer_limits_from_args(const veer_command_t *c, veer_limits_t *out) {
    veer_status_t status = NULL;
    *out = (veer_limits_t){0};
#define VEER_LIMIT_READ(NAME, field, flag, usual, most, ...)                                                           \
    status = veer_status_join(status, veer_args_int(&c->args, flag, 1, most, &out->field));
    VEER_LIMITS(VEER_LIMIT_READ)
#undef VEER_LIMIT_READ
    return status;
}
