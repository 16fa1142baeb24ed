#include "runtime/team.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* First some 50 microseconds awake, which is longer than most kernels of small models take; then a millisecond or two
 * of offering the processor to others, which may be the very thread that is waited for; then asleep. Going to sleep
 * earlier is worse than it looks: threads that wake each other often end up on one processor. */
enum { SPINS = 1000, YIELDS = 2000, CROWDED_YIELDS = 20 };

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

void veer_barrier_init(veer_barrier_t *barrier, int team, int crowded) {
    atomic_init(&barrier->arrived, 0);
    atomic_init(&barrier->generation, 0);
    atomic_init(&barrier->sleepers, 0);
    barrier->team = (unsigned)team;
    barrier->spins = crowded ? 0 : SPINS;
    barrier->yields = crowded ? CROWDED_YIELDS : YIELDS;
}

static void sleep_until_changed(veer_barrier_t *b, unsigned generation) {
    /* The order of both sides is that of all threads: either the last one sees the sleeper, or the kernel sees the new
     * generation and does not let it sleep. */
    atomic_fetch_add(&b->sleepers, 1);
    while (atomic_load(&b->generation) == generation)
        syscall(SYS_futex, &b->generation, FUTEX_WAIT_PRIVATE, generation, NULL, NULL, 0);
    atomic_fetch_sub(&b->sleepers, 1);
}

static void wait_for_others(veer_barrier_t *b, unsigned generation) {
    for (unsigned i = 0; i < b->spins + b->yields; i++) {
        if (atomic_load_explicit(&b->generation, memory_order_acquire) != generation) return;
        if (i < b->spins)
            pause_briefly();
        else
            sched_yield();
    }
    sleep_until_changed(b, generation);
}

void veer_barrier_wait(veer_barrier_t *b, void (*last)(void *), void *user) {
    if (b->team == 1) {
        if (last) last(user);
        return;
    }
    unsigned generation = atomic_load_explicit(&b->generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 < b->team) {
        wait_for_others(b, generation);
        return;
    }
    if (last) last(user);
    atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
    atomic_store(&b->generation, generation + 1);
    if (atomic_load(&b->sleepers)) syscall(SYS_futex, &b->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
