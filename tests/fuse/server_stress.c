/* SPDX-License-Identifier: MIT */
/*
 * server_stress.c: server.c's threads with a socket pair in the place of /dev/fuse, for sanitizers.
 *
 *   server_stress SECONDS        exit status 0 when every reply was right
 *
 * This process plays the kernel (asks, checks each reply), the library (answers what is passed
 * on), and Python (opens and closes files meanwhile, frees their tables, collects the faults).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "server_model.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STEADY 4 /* handles that stay open; the next CHURNED come and go */
#define CHURNED 12
#define IN_FLIGHT 16

/* ---- the kernel ----------------------------------------------------------------------------- */

struct asked {
    uint64_t unique, offset;
    uint32_t size, opcode;
    int may_fail;
};

static int kernel_end, library_end;
static sem_t answered;
static struct asked asked[IN_FLIGHT]; /* by unique; a slot is its request's until it is answered */
static atomic_int running = 1;
static atomic_long reads, passed, seeks;

static void ask(uint32_t opcode, uint64_t unique, const void *body, size_t size)
{
    unsigned char request[sizeof(struct fuse_in_header) + 256];
    struct fuse_in_header in = {
        .len = (uint32_t)(sizeof in + size), .opcode = opcode, .unique = unique, .nodeid = 2};
    memcpy(request, &in, sizeof in);
    memcpy(request + sizeof in, body, size);
    check(send(kernel_end, request, in.len, 0) == (ssize_t)in.len, "send");
}

static void ask_one(unsigned *seed, uint64_t slot, uint64_t unique)
{
    static const char name[] = "x";
    struct asked *one = &asked[slot];
    uint32_t chance = (uint32_t)rand_r(seed) % 17;
    *one = (struct asked){.unique = unique, .opcode = FUSE_READ};
    if (chance < 13) {
        struct fuse_read_in in = {.fh = (uint64_t)rand_r(seed) % (STEADY + CHURNED)};
        one->may_fail = in.fh >= STEADY;
        in.offset = one->offset = (uint64_t)rand_r(seed) % (SIZE + 10000);
        in.size = one->size = (uint32_t)rand_r(seed) % (chance < 10 ? 9000u : 1u << 20) + 1;
        ask(FUSE_READ, unique, &in, sizeof in);
    } else if (chance == 13) {
        struct fuse_interrupt_in in = {.unique = unique};
        ask(FUSE_INTERRUPT, unique | 1, &in, sizeof in);
        struct fuse_forget_in forget = {.nlookup = 1};
        ask(FUSE_FORGET, unique, &forget, sizeof forget);
        one->opcode = FUSE_GETATTR;
        ask(FUSE_GETATTR, unique, name, 0);
    } else if (chance == 16) {
        struct fuse_lseek_in in = {.fh = (uint64_t)rand_r(seed) % STEADY};
        in.offset = one->offset = (uint64_t)rand_r(seed) % (SIZE + 10000);
        in.whence = one->size = rand_r(seed) % 2 ? SEEK_HOLE : SEEK_DATA;
        one->opcode = FUSE_LSEEK;
        ask(FUSE_LSEEK, unique, &in, sizeof in);
    } else {
        one->opcode = chance == 14 ? FUSE_LOOKUP : FUSE_DESTROY;
        ask(one->opcode, unique, name, chance == 14 ? sizeof name : 0);
    }
}

static void *asker(void *unused)
{
    (void)unused;
    unsigned seed = 1;
    uint64_t turn = 1;
    while (atomic_load(&running)) {
        /* A full house, then all of it answered: the slots need no other bookkeeping. */
        for (uint64_t i = 0; i < IN_FLIGHT; i++)
            ask_one(&seed, i, (turn * IN_FLIGHT + i) * 2);
        for (uint64_t i = 0; i < IN_FLIGHT; i++)
            sem_wait(&answered);
        turn++;
    }
    shutdown(kernel_end, SHUT_RDWR); /* the mount is gone */
    return NULL;
}

/* The one hole is the part of OM_ZERO; the end of the file is another. */
static void check_sought(const struct asked *one, const struct fuse_out_header *out,
                         const unsigned char *body)
{
    uint64_t found, zeros = OM_ZERO * PART, end = zeros + PART, at = one->offset;
    if (at >= SIZE) {
        check(out->error == -ENXIO, "a seek behind the end");
        return;
    }
    check(out->error == 0 && out->len == sizeof *out + sizeof(struct fuse_lseek_out), "a seek");
    memcpy(&found, body, sizeof found);
    int inside = at >= zeros && end >= OM_HOLE_LEAST + at;
    if (one->size == SEEK_HOLE)
        check(found == (inside ? at : at < zeros ? zeros : SIZE), "a seek for a hole");
    else
        check(found == (inside ? end : at), "a seek for data");
    atomic_fetch_add(&seeks, 1);
}

static void *checker(void *unused)
{
    (void)unused;
    unsigned char *reply = malloc(2 * MIB);
    check(reply != NULL, "malloc");
    for (;;) {
        ssize_t size = recv(kernel_end, reply, 2 * MIB, 0);
        if (size <= 0)
            break;
        struct fuse_out_header out;
        memcpy(&out, reply, sizeof out);
        struct asked *one = &asked[out.unique / 2 % IN_FLIGHT];
        check(out.unique == one->unique, "a reply to something else");
        check(out.len == (uint32_t)size, "a reply's length");
        if (one->opcode == FUSE_LSEEK) {
            check_sought(one, &out, reply + sizeof out);
        } else if (one->opcode != FUSE_READ) {
            check(out.error == 0, "the library's reply");
            atomic_fetch_add(&passed, 1);
        } else if (out.error) {
            check(one->may_fail && out.error == -EBADF, "a read's error");
        } else {
            uint64_t left = one->offset < SIZE ? SIZE - one->offset : 0;
            uint64_t count = (uint64_t)size - sizeof out;
            check(count == (left < one->size ? left : one->size), "a read's length");
            for (uint64_t i = 0; i < count; i += i + 64 < count ? 61 : 1)
                check(reply[sizeof out + i] == expected(one->offset + i), "a read's bytes");
            atomic_fetch_add(&reads, 1);
        }
        sem_post(&answered);
    }
    free(reply);
    return NULL;
}

/* ---- the library, and Python ---------------------------------------------------------------- */

static struct served *steady; /* what all handles below STEADY are reads of */

/* A read is passed on where C has no such file, or no thread to spare: what Python does then. */
static void answer_read(const unsigned char *request, unsigned char *reply)
{
    struct fuse_in_header in;
    struct fuse_read_in wanted;
    struct om_faults faults;
    memcpy(&in, request, sizeof in);
    memcpy(&wanted, request + sizeof in, sizeof wanted);
    struct fuse_out_header out = {.len = sizeof out, .unique = in.unique, .error = -EBADF};
    if (wanted.fh < STEADY) {
        uint64_t part = 1;
        out.error = 0;
        for (uint64_t done = 0; done < wanted.size && part > 0; done += part) {
            part = om_read(&steady->table, wanted.offset + done, reply + sizeof out + done,
                           wanted.size - done, &faults);
            out.len += (uint32_t)part;
        }
    }
    memcpy(reply, &out, sizeof out);
    check(send(library_end, reply, out.len, 0) == (ssize_t)out.len, "the library's read");
}

static void *library(void *unused)
{
    (void)unused;
    unsigned char request[4096], *reply = malloc(2 * MIB);
    check(reply != NULL, "malloc");
    while (recv(library_end, request, sizeof request, 0) > 0) {
        struct fuse_in_header in;
        memcpy(&in, request, sizeof in);
        check(in.opcode != FUSE_INTERRUPT, "an interrupt was passed on");
        if (in.opcode == FUSE_FORGET)
            continue;
        if (in.opcode == FUSE_READ) {
            answer_read(request, reply);
            continue;
        }
        struct fuse_out_header out = {.len = sizeof out, .unique = in.unique};
        check(send(library_end, &out, sizeof out, 0) == sizeof out, "the library's send");
    }
    free(reply);
    return NULL;
}

static void greet(void)
{
    struct fuse_init_in in = {.major = 7, .minor = 31};
    unsigned char buffer[256];
    struct {
        struct fuse_out_header out;
        struct fuse_init_out init;
    } reply = {{.len = sizeof reply, .unique = 2}, {.major = 7, .max_write = 1 << 20}};
    ask(FUSE_INIT, 2, &in, sizeof in);
    check(recv(library_end, buffer, sizeof buffer, 0) > 0, "no INIT");
    check(send(library_end, &reply, sizeof reply, 0) == sizeof reply, "INIT's reply");
    check(recv(kernel_end, &reply, sizeof reply, 0) == sizeof reply, "INIT's way back");
    check(reply.init.max_write == 4096, "max_write stayed large");
}

static uint64_t collect(struct om_server *serve)
{
    static struct om_unreadable met[OM_UNREADABLE_MAX];
    uint64_t lost, sum = 0;
    uint32_t count = om_server_unreadable(serve, met, &lost);
    for (uint32_t i = 0; i < count; i++) {
        check(met[i].node >= 100 && met[i].offset + met[i].size <= PART, "a fault off the hole");
        sum += met[i].size;
    }
    return sum + lost;
}

static double clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pairs(int device[2], int peer[2])
{
    int send_room = 4 << 20;
    check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, device) == 0, "socketpair");
    check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, peer) == 0, "socketpair");
    setsockopt(device[0], SOL_SOCKET, SO_SNDBUF, &send_room, sizeof send_room);
    setsockopt(peer[1], SOL_SOCKET, SO_SNDBUF, &send_room, sizeof send_room);
}

static void run(double seconds)
{
    int device[2], peer[2];
    pthread_t threads[3];
    struct served *tables[STEADY + CHURNED] = {0};
    unsigned seed = 2;
    uint64_t met = 0;

    pairs(device, peer);
    kernel_end = device[1];
    library_end = peer[1];
    atomic_store(&running, 1);
    sem_init(&answered, 0, 0);
    struct om_server *serve = om_server_start(device[0], peer[0], 3, 0);
    check(serve != NULL, "om_server_start");
    greet();
    for (uint64_t i = 0; i < STEADY; i++) {
        tables[i] = make_table();
        check(om_server_open(serve, i, 100 + i, &tables[i]->table, -1) == 0, "om_server_open");
    }
    steady = tables[0];
    check(om_server_open(serve, 0, 0, &tables[0]->table, -1) == -EEXIST, "a handle opened twice");
    void *(*bodies[])(void *) = {checker, library, asker};
    for (int i = 0; i < 3; i++)
        check(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0, "pthread_create");

    double until = clock_now() + seconds;
    do {
        uint64_t i = STEADY + (uint64_t)rand_r(&seed) % CHURNED;
        if (tables[i]) {
            om_server_close(serve, i);
            memset(tables[i], 0xff, sizeof *tables[i]);
            free(tables[i]);
            tables[i] = NULL;
        } else {
            tables[i] = make_table();
            check(om_server_open(serve, i, 100 + i, &tables[i]->table, -1) == 0, "om_server_open");
        }
        met += collect(serve);
    } while (clock_now() < until);

    atomic_store(&running, 0);
    pthread_join(threads[2], NULL);
    while (!om_server_ended(serve))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    check(om_server_ended(serve) == 1, "a device that failed");
    uint64_t told;
    check(read(om_server_wake(serve), &told, sizeof told) == sizeof told, "nobody was woken");
    check(met + collect(serve) > 0, "no fault was collected");
    check(om_server_stop(serve) == 0, "a thread did not end");
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    close(kernel_end);
    close(library_end);
    for (uint64_t i = 0; i < STEADY + CHURNED; i++)
        free(tables[i]);
    sem_destroy(&answered);
}

/*
 * Threads that wait for requests that never come must end as well, whichever of them it is that
 * waits in a read, with the others behind it.
 */
static void stop_idle(int long_reads)
{
    int device[2], peer[2];
    pairs(device, peer);
    kernel_end = device[1];
    struct om_server *serve = om_server_start(device[0], peer[0], 4, 1);
    check(serve != NULL, "om_server_start");
    for (int i = 0; i < long_reads; i++) {
        struct fuse_read_in in = {.size = 1 << 20};
        unsigned char passed_on[256];
        ask(FUSE_READ, 4, &in, sizeof in);
        check(recv(peer[1], passed_on, sizeof passed_on, 0) > 0, "a read was not passed on");
    }
    check(om_server_ended(serve) == 0, "ended at once");
    check(om_server_stop(serve) == 0, "a thread did not end");
    close(device[1]);
    close(peer[1]);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    make_content();
    for (int i = 0; i < 10; i++)
        stop_idle(i);
    run(seconds);
    om_windows_free(windows);
    printf("%ld reads right, %ld requests passed on, %ld seeks right\n", atomic_load(&reads),
           atomic_load(&passed), atomic_load(&seeks));
    return atomic_load(&reads) > 0 && atomic_load(&passed) > 0 && atomic_load(&seeks) > 0 ? 0 : 1;
}
