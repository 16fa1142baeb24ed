#include "ir/limits.h"

#include <stddef.h>

static const veer_limit_info_t infos[VEER_LIMIT_COUNT] = {
#define VEER_LIMIT_INFO(NAME, field, flag, usual, most, counted, doc) {flag, counted, doc, usual, most},
    VEER_LIMITS(VEER_LIMIT_INFO)
#undef VEER_LIMIT_INFO
};

static const size_t offsets[VEER_LIMIT_COUNT] = {
#define VEER_LIMIT_OFFSET(NAME, field, ...) offsetof(veer_limits_t, field),
    VEER_LIMITS(VEER_LIMIT_OFFSET)
#undef VEER_LIMIT_OFFSET
};

const veer_limit_info_t *veer_limit_info(veer_limit_t which) {
    return &infos[which];
}

/* What a caller of the library puts into the struct is no more than what a flag may say. */
int64_t veer_limit(const veer_limits_t *limits, veer_limit_t which) {
    int64_t value = limits ? *(const int64_t *)((const char *)limits + offsets[which]) : 0;
    if (value <= 0) return infos[which].usual;
    return value < infos[which].most ? value : infos[which].most;
}

veer_status_t veer_limit_check(const veer_limits_t *limits, veer_limit_t which, int64_t found) {
    const veer_limit_info_t *info = &infos[which];
    int64_t limit = veer_limit(limits, which);
    if (found <= limit) return veer_ok();
    veer_status_t status = veer_error(VEER_ERR_UNSUPPORTED, "%lld %s, more than the limit of %lld", (long long)found,
                                      info->counted, (long long)limit);
    if (limit == info->most) return veer_status_note(status, "%s cannot be raised further", info->flag);
    return veer_status_help(status, "--%s N admits more, up to %lld", info->flag, (long long)info->most);
}
