/* SPDX-License-Identifier: MIT */
/* server.h: what openfiles.c, requests.c, server.c and turn.c share. */
#ifndef OLDMEM_SERVER_H
#define OLDMEM_SERVER_H

#include "internal.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define OM_MAX_READ (1u << 20)                /* bytes; the mount option max_read= says the same */
#define OM_REQUEST_ROOM (64u << 10)           /* bytes; the largest: an ioctl, a batch of FORGETs */
#define OM_REPLY_ROOM (OM_MAX_READ + OM_PAGE) /* bytes for the library's largest reply, to READ */

/* An open file. om_server_close frees it when no thread holds it any more. */
struct om_file {
    struct om_file *next;
    uint64_t handle, node;
    const struct om_table *table;
    uint32_t holders;
    uint32_t told;   /* 1: its first fault has been reported */
    int32_t backing; /* passthrough.c: the kernel reads this backing file itself; 0: we answer */
};

#define OM_BUCKETS 64u
struct om_openfiles {
    pthread_mutex_t lock;
    pthread_cond_t dropped;
    struct om_file *buckets[OM_BUCKETS]; /* by handle */
    uint32_t unreadable_count;
    uint64_t unreadable_lost; /* bytes whose ranges found no room in `unreadable` */
    struct om_unreadable unreadable[OM_UNREADABLE_MAX];
};

#define OM_PARTS_MAX 64u /* pieces of one reply; whatever is left then is copied */
struct om_reply {
    uint32_t count, held;
    struct iovec parts[1 + OM_PARTS_MAX]; /* the first one is the header's */
    struct om_hold holds[OM_PARTS_MAX];
};

struct om_worker {
    struct om_server *server;
    pthread_t thread;
    unsigned char *request, *data;
    struct om_faults faults;
    struct om_reply reply;
    uint32_t reader, streak; /* follow.c's: the task that sends short reads, how many it has sent */
    int cpu;                 /* ... and the CPU that this thread is bound to; -1: none */
    int ended;               /* joined */
};

#define OM_OPENING_MAX 64
#define OM_BACKINGS_MAX 8 /* backing files; there is one, the core */
struct om_server {
    int device, peer, wake;
    int strict;
    atomic_int stopping;
    atomic_int ended;              /* as om_server_ended */
    atomic_uint_fast64_t greeting; /* the `unique` of FUSE_INIT */
    struct om_openfiles files;
    pthread_mutex_t lock; /* turn.c's: of `taken` and `watched` */
    pthread_cond_t free, stir;
    int taken;           /* 1: a worker has the turn: it reads requests and answers them */
    int watched;         /* 1: another worker watches that one */
    atomic_int asleep;   /* 1: the watcher sleeps, because no requests come */
    atomic_uint waiting; /* workers that wait for the turn, the watcher among them */
    atomic_uint_fast64_t numbered; /* requests that were begun */
    atomic_uint_fast64_t busy;     /* the request that the one with the turn is at; 0: none */
    int crowded;        /* for so many more long reads another worker listens meanwhile */
    int parallel;       /* there is more than one CPU */
    cpu_set_t cpus;     /* that a thread may run on when it follows nobody */
    atomic_int offered; /* passthrough.c's: the kernel offered it */
    uint64_t opening[OM_OPENING_MAX]; /* ... and the `unique` of each OPEN in flight, 0: free */
    struct {
        int fd, id;
    } backings[OM_BACKINGS_MAX]; /* ... and those that are registered; id 0: free */
    pthread_t replier;
    unsigned char *reply;
    uint32_t count; /* of `workers` */
    uint32_t spare; /* how many of them only take over when reads are slow */
    struct om_worker workers[];
};

void om_openfiles_init(struct om_openfiles *files);
void om_openfiles_clear(struct om_openfiles *files); /* no thread may use it any more */

/* Returns the file of a handle, held until om_openfiles_drop, or NULL when none has it. */
struct om_file *om_openfiles_hold(struct om_openfiles *files, uint64_t handle);
void om_openfiles_drop(struct om_openfiles *files, struct om_file *file);

/*
 * Records the faults of a read of a held file; returns 1 when om_server_unreadable should be called
 * soon: at the file's first fault, and when the list is half full.
 */
int om_openfiles_note(struct om_openfiles *files, struct om_file *file,
                      const struct om_faults *faults);

/* turn.c. Waits for the turn, and takes it; 0 when the threads are to end. */
int om_turn_take(struct om_server *server);
void om_turn_give(struct om_server *server);

/*
 * The worker that has the turn calls om_turn_busy before it handles a request and om_turn_keep
 * after it. `share`: another worker may take the turn meanwhile. om_turn_keep returns 0 if one did.
 */
uint64_t om_turn_busy(struct om_server *server, int share);
int om_turn_keep(struct om_server *server, uint64_t busy);

void om_turn_init(struct om_server *server);
void om_turn_end(struct om_server *server); /* `stopping` is set: wakes those who wait */
void om_turn_clear(struct om_server *server);

/* follow.c. To be told of each read, before it is answered. */
void om_follow(struct om_worker *worker, uint32_t pid, int is_short);

/*
 * passthrough.c. Requests on their way to the library, and its answers on their way back; what a
 * descriptor is to the kernel, or 0 where it does not want it.
 */
struct fuse_in_header;
struct fuse_out_header;
void om_passthrough_asked(struct om_server *server, const struct fuse_in_header *in, size_t size);
void om_passthrough_answered(struct om_server *server, struct fuse_out_header *out, size_t size);
int32_t om_passthrough_open(struct om_server *server, int fd);

/* requests.c: the bodies of the threads. */
void *om_worker_body(void *worker);
void *om_replier_body(void *server);

#endif
