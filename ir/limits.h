/* The limits of veer/limits.h as the code asks for them.
 *
 *     VEER_TRY(veer_limit_check(limits, VEER_LIMIT_MAX_NODES, count));
 */
#ifndef VEER_IR_LIMITS_H
#define VEER_IR_LIMITS_H

#include "ir/base/status.h"
#include "veer/limits.h"

typedef enum veer_limit_e {
#define VEER_LIMIT_ENUM(NAME, ...) VEER_LIMIT_##NAME,
    VEER_LIMITS(VEER_LIMIT_ENUM)
#undef VEER_LIMIT_ENUM
        VEER_LIMIT_COUNT
} veer_limit_t;

typedef struct veer_limit_info_s {
    const char *flag, *counted, *doc;
    int64_t usual, most;
} veer_limit_info_t;
const veer_limit_info_t *veer_limit_info(veer_limit_t which);

/* The limit in force; `limits` may be NULL. */
int64_t veer_limit(const veer_limits_t *limits, veer_limit_t which);
/* VEER_ERR_UNSUPPORTED that names the limit, `found` and the flag that raises it, where `found` is more. */
VEER_MUST_USE veer_status_t veer_limit_check(const veer_limits_t *limits, veer_limit_t which, int64_t found);

#endif
