/*
 * turn.c: which thread listens for requests, and what becomes of it when a read takes long.
 *
 * One worker has the turn: it waits for requests and answers them itself. If it is still at the
 * same request after a while, its source is slow, and everybody would wait: the worker that watches
 * takes the turn away from it. The slow one comes back later and waits for the turn like the rest.
 *
 *   worker A   listen, read, listen, read .................................. wait
 *   worker B   wait (watch) .................... take the turn, listen, read, listen ...
 *
 * The watcher looks 20 times a second while requests come. While none come it sleeps, and the
 * first one wakes it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "serve.h"

#include <time.h>

#define TICK 50000000 /* ns: a request that takes one to two of them loses the turn */
#define SECOND 1000000000
#define SHARE 1u /* in `busy`, below the request's number */

void om_turn_init(struct om_serve *serve)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&serve->lock, NULL);
    pthread_cond_init(&serve->free, NULL);
    pthread_cond_init(&serve->stir, &clock);
    pthread_condattr_destroy(&clock);
}

void om_turn_clear(struct om_serve *serve)
{
    pthread_cond_destroy(&serve->stir);
    pthread_cond_destroy(&serve->free);
    pthread_mutex_destroy(&serve->lock);
}

void om_turn_end(struct om_serve *serve)
{
    pthread_mutex_lock(&serve->lock);
    pthread_cond_broadcast(&serve->free);
    pthread_cond_broadcast(&serve->stir);
    pthread_mutex_unlock(&serve->lock);
}

/* Takes the turn away from a worker that is still at the request `busy`; under the lock. */
static void take_away(struct om_serve *serve, uint64_t busy)
{
    if (atomic_compare_exchange_strong(&serve->busy, &busy, 0))
        serve->taken = 0;
}

static void wait_a_tick(struct om_serve *serve)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK;
    if (until.tv_nsec >= SECOND) {
        until.tv_nsec -= SECOND;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&serve->stir, &serve->lock, &until);
}

/* Waits until the turn is free, or takes it away from a worker that is stuck; under the lock. */
static void watch(struct om_serve *serve)
{
    uint64_t seen = 0, numbered = 0;

    while (serve->taken && !atomic_load(&serve->stopping)) {
        uint64_t busy = atomic_load(&serve->busy);
        if (busy && busy == seen) {
            take_away(serve, busy);
        } else if (!busy && numbered == atomic_load(&serve->numbered)) {
            /* om_turn_busy sets `busy` before it looks at `asleep`: one of us sees the other. */
            atomic_store(&serve->asleep, 1);
            if (!atomic_load(&serve->busy))
                pthread_cond_wait(&serve->stir, &serve->lock);
            atomic_store(&serve->asleep, 0);
        } else {
            numbered = atomic_load(&serve->numbered);
            seen = busy;
            wait_a_tick(serve);
        }
    }
}

int om_turn_take(struct om_serve *serve)
{
    pthread_mutex_lock(&serve->lock);
    unsigned others = atomic_fetch_add(&serve->waiting, 1);
    uint64_t busy = atomic_load(&serve->busy);
    if (busy & SHARE && others > 0)
        take_away(serve, busy);
    while (serve->taken && !atomic_load(&serve->stopping)) {
        if (serve->watched) {
            pthread_cond_wait(&serve->free, &serve->lock);
        } else {
            serve->watched = 1;
            watch(serve);
            serve->watched = 0;
        }
    }
    int taken = !atomic_load(&serve->stopping);
    if (taken)
        serve->taken = 1;
    atomic_fetch_sub(&serve->waiting, 1);
    pthread_cond_signal(&serve->free); /* the next one watches */
    pthread_mutex_unlock(&serve->lock);
    return taken;
}

void om_turn_give(struct om_serve *serve)
{
    pthread_mutex_lock(&serve->lock);
    serve->taken = 0;
    pthread_cond_signal(&serve->stir);
    pthread_mutex_unlock(&serve->lock);
}

uint64_t om_turn_busy(struct om_serve *serve, int share)
{
    uint64_t busy = (atomic_fetch_add(&serve->numbered, 1) + 1) << 1 | (share ? SHARE : 0);
    atomic_store(&serve->busy, busy);
    if (atomic_load(&serve->asleep)) {
        pthread_mutex_lock(&serve->lock);
        pthread_cond_signal(&serve->stir);
        pthread_mutex_unlock(&serve->lock);
    }
    return busy;
}

int om_turn_keep(struct om_serve *serve, uint64_t busy)
{
    return atomic_compare_exchange_strong(&serve->busy, &busy, 0);
}
