#include "runtime/team.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Turns of waiting awake, some 50 ns each. On a machine of its own a team should never sleep: waking costs more than
 * most waits are long, and threads that wake each other may end up on one processor. On one with other work the thread
 * that is waited for may not be running at all, and the processor is better left to others at once. So whoever waited
 * in vain halves the turns for all, and whoever did not adds a little. */
enum { MOST_SPINS = 10000, LEAST_SPINS = 300, RECOVERY = 64 };

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
    atomic_init(&barrier->news, 0);
    atomic_init(&barrier->sleepers, 0);
    atomic_init(&barrier->spins, crowded ? 0 : MOST_SPINS);
    barrier->team = (unsigned)team;
    barrier->crowded = crowded;
}

static void sleep_until(veer_barrier_t *b, bool (*came)(void *), void *user) {
    /* The order of both sides is that of all threads: either who brings the news sees the sleeper, or the sleeper sees
     * what it waits for or that `news` changed, and the kernel does not let it sleep. */
    atomic_fetch_add(&b->sleepers, 1);
    for (;;) {
        unsigned news = atomic_load(&b->news);
        if (came(user)) break;
        syscall(SYS_futex, &b->news, FUTEX_WAIT_PRIVATE, news, NULL, NULL, 0);
    }
    atomic_fetch_sub(&b->sleepers, 1);
}

void veer_barrier_until(veer_barrier_t *b, bool (*came)(void *), void *user) {
    unsigned spins = atomic_load_explicit(&b->spins, memory_order_relaxed), next = spins + spins / RECOVERY;
    for (unsigned i = 0; i < spins; i++) {
        if (came(user)) {
            if (i && !b->crowded && next <= MOST_SPINS) atomic_store_explicit(&b->spins, next, memory_order_relaxed);
            return;
        }
        pause_briefly();
    }
    sleep_until(b, came, user);
    next = spins / 2 > LEAST_SPINS ? spins / 2 : LEAST_SPINS;
    if (!b->crowded) atomic_store_explicit(&b->spins, next, memory_order_relaxed);
}

void veer_barrier_wake(veer_barrier_t *b) {
    if (!atomic_load(&b->sleepers)) return;
    atomic_fetch_add(&b->news, 1);
    syscall(SYS_futex, &b->news, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

typedef struct passage_s {
    const veer_barrier_t *barrier;
    unsigned generation;
} passage_t;

static bool is_open(void *user) {
    const passage_t *p = user;
    return atomic_load(&p->barrier->generation) != p->generation;
}

void veer_barrier_wait(veer_barrier_t *b, void (*last)(void *), void *user) {
    if (b->team == 1) {
        if (last) last(user);
        return;
    }
    unsigned generation = atomic_load_explicit(&b->generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 < b->team) {
        veer_barrier_until(b, is_open, &(passage_t){b, generation});
        return;
    }
    if (last) last(user);
    atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
    atomic_store(&b->generation, generation + 1);
    veer_barrier_wake(b);
}
