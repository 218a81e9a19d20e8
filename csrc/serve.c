/*
 * serve.c: the threads' life: started once, ended whatever they wait for; and the mount's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 500 /* times a ms or more that a worker has to leave its source */

static void on_stop(int number)
{
    (void)number; /* only there to interrupt a read */
}

static int stop_signal(void)
{
    return SIGRTMIN;
}

/* Every signal is Python's, but for those that a thread brings on itself, and ours. */
static int start_thread(pthread_t *thread, void *(*body)(void *), void *argument)
{
    sigset_t blocked, before;
    sigfillset(&blocked);
    sigdelset(&blocked, stop_signal());
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGFPE);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(thread, NULL, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* Pages that are there once they are touched; NULL when there is no room. */
static unsigned char *room(size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return map == MAP_FAILED ? NULL : map;
}

/*
 * Ends the `count` workers: one of them is in a read of the device, some may be in reads of a
 * source, the others wait for their turn. The signal may come just before the read that it is to
 * interrupt: again, until they are gone. Returns how many a source does not let go.
 */
static uint32_t end_workers(struct om_serve *serve, uint32_t count)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    uint32_t left = count;

    for (int i = 0; left > 0 && i < PATIENCE; i++) {
        for (uint32_t j = 0; j < count; j++) {
            struct om_worker *worker = &serve->workers[j];
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
 * Ends the `count` workers and, if it runs, the replier; frees everything but the descriptors.
 * Returns how many workers could not be ended: nothing is freed then, because they use it.
 */
static uint32_t dismantle(struct om_serve *serve, uint32_t count, int replier)
{
    atomic_store(&serve->stopping, 1);
    om_turn_end(serve);
    uint32_t left = end_workers(serve, count);
    if (replier) {
        shutdown(serve->peer, SHUT_RDWR);
        pthread_join(serve->replier, NULL);
    }
    if (left > 0)
        return left;
    for (uint32_t i = 0; i < serve->count; i++) {
        if (serve->workers[i].request)
            munmap(serve->workers[i].request, OM_REQUEST_ROOM);
        if (serve->workers[i].data)
            munmap(serve->workers[i].data, OM_MAX_READ);
    }
    if (serve->reply)
        munmap(serve->reply, OM_REPLY_ROOM);
    if (serve->wake >= 0)
        close(serve->wake);
    om_opened_clear(&serve->opened);
    om_turn_clear(serve);
    free(serve);
    return 0;
}

struct om_serve *om_serve_start(int device, int peer, uint32_t threads, int strict)
{
    uint32_t count = threads + 1; /* one is left to watch */
    struct om_serve *serve = calloc(1, sizeof *serve + count * sizeof serve->workers[0]);
    if (!serve)
        return NULL;
    om_opened_init(&serve->opened);
    om_turn_init(serve);
    serve->device = device;
    serve->peer = peer;
    serve->strict = strict;
    serve->count = count;
    serve->parallel = threads > 1;
    serve->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    serve->reply = room(OM_REPLY_ROOM);
    int failed = serve->wake < 0 || !serve->reply;
    for (uint32_t i = 0; i < count; i++) {
        struct om_worker *worker = &serve->workers[i];
        worker->serve = serve;
        worker->request = room(OM_REQUEST_ROOM);
        worker->data = room(OM_MAX_READ);
        failed |= !worker->request || !worker->data;
    }
    if (failed) {
        dismantle(serve, 0, 0);
        errno = ENOMEM;
        return NULL;
    }

    struct sigaction action = {.sa_handler = on_stop};
    sigaction(stop_signal(), &action, NULL);
    int error = start_thread(&serve->replier, om_replier_body, serve);
    int replier = !error;
    uint32_t running = 0;
    while (!error && running < count) {
        struct om_worker *worker = &serve->workers[running];
        error = start_thread(&worker->thread, om_worker_body, worker);
        running += !error;
    }
    if (error) {
        dismantle(serve, running, replier);
        errno = error;
        return NULL;
    }
    return serve;
}

uint32_t om_serve_stop(struct om_serve *serve)
{
    int device = serve->device, peer = serve->peer;
    uint32_t left = dismantle(serve, serve->count, 1);
    if (left > 0) /* they may still write a reply: not into a file that gets this number */
        dup2(serve->wake, device);
    else
        close(device);
    close(peer);
    return left;
}

int om_serve_wake(const struct om_serve *serve)
{
    return serve->wake;
}

int om_serve_ended(const struct om_serve *serve)
{
    return atomic_load(&serve->ended);
}

int om_mount(const char *source, const char *target, const char *options)
{
    unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    return mount(source, target, "fuse.oldmemfs", flags, options) == 0 ? 0 : -errno;
}

int om_umount(const char *target)
{
    return umount2(target, MNT_DETACH) == 0 ? 0 : -errno;
}
