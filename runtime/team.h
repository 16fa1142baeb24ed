/* Where the threads of one OpenMP team meet or wait for one another, every few microseconds: they wait awake for a
 * while that depends on how well that went lately, then asleep, so that a machine with other work is not kept from it.
 *
 *     veer_barrier_t barrier;
 *     veer_barrier_init(&barrier, team);
 *     ... each thread:  veer_barrier_wait(&barrier, NULL, NULL);
 */
#ifndef VEER_RUNTIME_TEAM_H
#define VEER_RUNTIME_TEAM_H

#include <stdatomic.h>
#include <stdbool.h>

/* Fields that different threads write while others wait stand in lines of their own. */
typedef struct veer_barrier_s {
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_uint generation; /* what threads that meet look at */
    atomic_uint news;                    /* what sleepers sleep on */
    atomic_uint sleepers;
    atomic_uint spins;
    unsigned team;
    int crowded;
} veer_barrier_t;

/* `team` threads meet. `crowded`: there are fewer processors than threads, so none should wait awake. */
void veer_barrier_init(veer_barrier_t *barrier, int team, int crowded);
/* Returns once all threads have called it; what any wrote before is seen by all after. `last`, where there is one, is
 * called by the thread that came last, while the others wait. */
void veer_barrier_wait(veer_barrier_t *barrier, void (*last)(void *), void *user);

/* Returns once `came` says so, which threads of the team bring about with sequentially consistent writes followed by
 * veer_barrier_wake. */
void veer_barrier_until(veer_barrier_t *barrier, bool (*came)(void *), void *user);
void veer_barrier_wake(veer_barrier_t *barrier);

#endif
