/* SPDX-License-Identifier: MIT */
/*
 * server.c: starts the threads once, and ends them even when they wait for a request or a source.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 500 /* tries, a millisecond or more apart, to get a worker out of its read */

/*
 * Threads beside those that the caller asks for: one watches (turn.c), the others take over when
 * reads are slow. A large read must not go to the library while one thread is free: the library's
 * answer needs a MiB of contiguous kernel memory for the socket, and in a capture kernel send(2)
 * fails with ENOBUFS then; the reader would wait for ever (met with Debian's kdump-tools in QEMU).
 * A thread costs 256 KiB of address space for its stack, and no memory before it is used.
 */
#define SPARE 7
#define STACK (256u << 10)

static void on_stop(int number)
{
    (void)number; /* the handler does nothing: the signal only has to interrupt a read(2) */
}

static int stop_signal(void)
{
    return SIGRTMIN;
}

/*
 * Starts a thread with all signals blocked, so that Python's thread gets them; except the stop
 * signal, and those that the thread's own instructions raise.
 */
static int start_thread(pthread_t *thread, void *(*body)(void *), void *argument)
{
    sigset_t blocked, before;
    sigfillset(&blocked);
    sigdelset(&blocked, stop_signal());
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGFPE);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(thread, &attributes, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* Allocates memory that takes no physical page before it is used; NULL when there is no room. */
static unsigned char *room(size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return map == MAP_FAILED ? NULL : map;
}

/*
 * Ends the `count` workers: one of them waits in a read of the device, some may be in reads of a
 * source, the others wait for their turn. A signal that arrives just before the read begins does
 * not interrupt it, so it is sent again until the thread has ended. Returns how many threads have
 * not ended because a read of their source cannot be interrupted.
 */
static uint32_t end_workers(struct om_server *server, uint32_t count)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    uint32_t left = count;

    for (int i = 0; left > 0 && i < PATIENCE; i++) {
        for (uint32_t j = 0; j < count; j++) {
            struct om_worker *worker = &server->workers[j];
            if (worker->ended)
                continue;
            pthread_kill(worker->thread, stop_signal());
            worker->ended = pthread_tryjoin_np(worker->thread, NULL) == 0;
            left -= (uint32_t)worker->ended;
        }
        if (left > 0)
            nanosleep(&moment, NULL);
    }
    return left;
}

/*
 * Ends the `count` workers and, if `replier` is set, the replier; frees everything, but leaves
 * device and peer open. Returns how many workers could not be ended; nothing is freed then, because
 * they still use it.
 */
static uint32_t dismantle(struct om_server *server, uint32_t count, int replier)
{
    atomic_store(&server->stopping, 1);
    om_turn_end(server);
    uint32_t left = end_workers(server, count);
    if (replier) {
        shutdown(server->peer, SHUT_RDWR);
        pthread_join(server->replier, NULL);
    }
    if (left > 0)
        return left;
    for (uint32_t i = 0; i < server->count; i++) {
        if (server->workers[i].request)
            munmap(server->workers[i].request, OM_REQUEST_ROOM);
        if (server->workers[i].data)
            munmap(server->workers[i].data, OM_MAX_READ);
    }
    if (server->reply)
        munmap(server->reply, OM_REPLY_ROOM);
    if (server->wake >= 0)
        close(server->wake);
    om_openfiles_clear(&server->files);
    om_turn_clear(server);
    free(server);
    return 0;
}

struct om_server *om_server_start(int device, int peer, uint32_t threads, int strict)
{
    uint32_t count = threads + SPARE;
    struct om_server *server = calloc(1, sizeof *server + count * sizeof server->workers[0]);
    if (!server)
        return NULL;
    om_openfiles_init(&server->files);
    om_turn_init(server);
    server->device = device;
    server->peer = peer;
    server->strict = strict;
    server->count = count;
    server->spare = SPARE;
    server->parallel = threads > 1 && sched_getaffinity(0, sizeof server->cpus, &server->cpus) == 0;
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->reply = room(OM_REPLY_ROOM);
    int failed = server->wake < 0 || !server->reply;
    for (uint32_t i = 0; i < count; i++) {
        struct om_worker *worker = &server->workers[i];
        worker->server = server;
        worker->cpu = -1;
        worker->request = room(OM_REQUEST_ROOM);
        worker->data = room(OM_MAX_READ);
        failed |= !worker->request || !worker->data;
    }
    if (failed) {
        dismantle(server, 0, 0);
        errno = ENOMEM;
        return NULL;
    }

    struct sigaction action = {.sa_handler = on_stop};
    sigaction(stop_signal(), &action, NULL);
    int error = start_thread(&server->replier, om_replier_body, server);
    int replier = !error;
    uint32_t running = 0;
    while (!error && running < count) {
        struct om_worker *worker = &server->workers[running];
        error = start_thread(&worker->thread, om_worker_body, worker);
        running += !error;
    }
    if (error) {
        dismantle(server, running, replier);
        errno = error;
        return NULL;
    }
    return server;
}

uint32_t om_server_stop(struct om_server *server)
{
    int device = server->device, peer = server->peer;
    uint32_t left = dismantle(server, server->count, 1);
    /*
     * A thread that is left may still write its reply to this descriptor number. It must not reach
     * a file that is opened later and gets the same number, so the number stays in use.
     */
    if (left > 0)
        dup2(server->wake, device);
    else
        close(device);
    close(peer);
    return left;
}

int om_server_wake(const struct om_server *server)
{
    return server->wake;
}

int om_server_ended(const struct om_server *server)
{
    return atomic_load(&server->ended);
}
