#include "tools/progress.h"

#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted; /* a signal handler can reach nothing else */

static void on_interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

void veer_progress_begin(veer_progress_t *p, FILE *file) {
    *p = (veer_progress_t){.file = file, .terminal = isatty(fileno(file)), .drawn_seconds = -1};
    interrupted = 0;
    /* SA_RESETHAND: a second Ctrl-C does what it always does. */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &p->old);
}

static void draw(veer_progress_t *p, const veer_step_info_t *info) {
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    int done = info->steps > 0 ? (int)(WIDTH * info->step / info->steps) : 0;
    memset(bar, '.', WIDTH);
    memset(bar, '#', (size_t)done);
    bar[WIDTH] = 0;
    double each = info->seconds / (double)info->step, left = each * (double)(info->steps - info->step);
    fprintf(p->file, "\r[%s] %lld/%lld  ", bar, (long long)info->step, (long long)info->steps);
    fprintf(p->file, each >= 1 ? "%.2f s/it" : "%.2f it/s", each >= 1 || each <= 0 ? each : 1 / each);
    fprintf(p->file, "  %.0f s left \033[K", left);
    fflush(p->file);
    p->drawn = true;
    p->drawn_seconds = info->seconds;
}

int veer_progress_step(const veer_step_info_t *info, void *user) {
    veer_progress_t *p = user;
    bool due = info->step == info->steps || info->seconds - p->drawn_seconds > 0.1;
    if (p->terminal && info->step > 0 && due) draw(p, info);
    return interrupted;
}

void veer_progress_end(veer_progress_t *p) {
    if (p->drawn) fputs("\r\033[K", p->file);
    fflush(p->file);
    sigaction(SIGINT, &p->old, NULL);
}
