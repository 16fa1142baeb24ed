/* The flags that raise or lower the limits of veer/limits.h. */
#ifndef VEER_TOOLS_LIMITS_H
#define VEER_TOOLS_LIMITS_H

#include "ir/limits.h"
#include "tools/verb.h"

/* VEER_ERR_CONFIG where a value is none. What is not given stays 0, the default. */
VEER_MUST_USE veer_status_t veer_limits_from_args(const veer_command_t *c, veer_limits_t *out);

/* Rows of a table of flags. */
#define VEER_LIMIT_FLAG(NAME, field, flag, usual, most, counted, doc) {flag, 0, "N", doc, false},
#define VEER_LIMIT_FLAGS                                              VEER_LIMITS(VEER_LIMIT_FLAG)

#endif
