/* A bar with the seconds left on stderr, where that is a terminal, and Ctrl-C: the first one stops a run after its
 * step, the second one ends the process. One run at a time.
 *
 *     veer_progress_t progress = {0};
 *     veer_progress_begin(&progress, stderr);
 *     options.progress = veer_progress_step, options.user = &progress;
 *     ...
 *     veer_progress_end(&progress);
 */
#ifndef VEER_TOOLS_PROGRESS_H
#define VEER_TOOLS_PROGRESS_H

#include "runtime/plan.h"

#include <signal.h>
#include <stdio.h>

typedef struct veer_progress_s {
    FILE *file;
    bool terminal, drawn;
    double drawn_seconds; /* when the bar was drawn last */
    struct sigaction old;
} veer_progress_t;

void veer_progress_begin(veer_progress_t *p, FILE *file);
/* For veer_run_options_t.progress; `user` is a veer_progress_t. */
int veer_progress_step(const veer_step_info_t *info, void *user);
/* Clears the bar, gives Ctrl-C back. */
void veer_progress_end(veer_progress_t *p);

#endif
