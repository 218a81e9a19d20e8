/* SPDX-License-Identifier: MIT */
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
#include "server.h"

#include <time.h>

#define TICK 50000000 /* ns: a request that takes one to two of them loses the turn */
#define SECOND 1000000000
#define SHARE 1u /* in `busy`, below the request's number */

void om_turn_init(struct om_server *server)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->free, NULL);
    pthread_cond_init(&server->stir, &clock);
    pthread_condattr_destroy(&clock);
}

void om_turn_clear(struct om_server *server)
{
    pthread_cond_destroy(&server->stir);
    pthread_cond_destroy(&server->free);
    pthread_mutex_destroy(&server->lock);
}

void om_turn_end(struct om_server *server)
{
    pthread_mutex_lock(&server->lock);
    pthread_cond_broadcast(&server->free);
    pthread_cond_broadcast(&server->stir);
    pthread_mutex_unlock(&server->lock);
}

/* Takes the turn away from a worker that is still at the request `busy`; under the lock. */
static void take_away(struct om_server *server, uint64_t busy)
{
    if (atomic_compare_exchange_strong(&server->busy, &busy, 0))
        server->taken = 0;
}

static void wait_a_tick(struct om_server *server)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK;
    if (until.tv_nsec >= SECOND) {
        until.tv_nsec -= SECOND;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&server->stir, &server->lock, &until);
}

/* Waits until the turn is free, or takes it away from a worker that is stuck; under the lock. */
static void watch(struct om_server *server)
{
    uint64_t seen = 0, numbered = 0;

    while (server->taken && !atomic_load(&server->stopping)) {
        uint64_t busy = atomic_load(&server->busy);
        if (busy && busy == seen) {
            take_away(server, busy);
        } else if (!busy && numbered == atomic_load(&server->numbered)) {
            /* om_turn_busy sets `busy` before it looks at `asleep`: one of us sees the other. */
            atomic_store(&server->asleep, 1);
            if (!atomic_load(&server->busy))
                pthread_cond_wait(&server->stir, &server->lock);
            atomic_store(&server->asleep, 0);
        } else {
            numbered = atomic_load(&server->numbered);
            seen = busy;
            wait_a_tick(server);
        }
    }
}

int om_turn_take(struct om_server *server)
{
    pthread_mutex_lock(&server->lock);
    unsigned others = atomic_fetch_add(&server->waiting, 1);
    uint64_t busy = atomic_load(&server->busy);
    if (busy & SHARE && others > 0)
        take_away(server, busy);
    while (server->taken && !atomic_load(&server->stopping)) {
        if (server->watched) {
            pthread_cond_wait(&server->free, &server->lock);
        } else {
            server->watched = 1;
            watch(server);
            server->watched = 0;
        }
    }
    int taken = !atomic_load(&server->stopping);
    if (taken)
        server->taken = 1;
    atomic_fetch_sub(&server->waiting, 1);
    pthread_cond_signal(&server->free); /* the next one watches */
    pthread_mutex_unlock(&server->lock);
    return taken;
}

void om_turn_give(struct om_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->taken = 0;
    pthread_cond_signal(&server->stir);
    pthread_mutex_unlock(&server->lock);
}

uint64_t om_turn_busy(struct om_server *server, int share)
{
    uint64_t busy = (atomic_fetch_add(&server->numbered, 1) + 1) << 1 | (share ? SHARE : 0);
    atomic_store(&server->busy, busy);
    if (atomic_load(&server->asleep)) {
        pthread_mutex_lock(&server->lock);
        pthread_cond_signal(&server->stir);
        pthread_mutex_unlock(&server->lock);
    }
    return busy;
}

int om_turn_keep(struct om_server *server, uint64_t busy)
{
    return atomic_compare_exchange_strong(&server->busy, &busy, 0);
}
