/* SPDX-License-Identifier: MIT */
/*
 * requests.c: what the threads between the kernel and a FUSE library do.
 *
 *   kernel --/dev/fuse--> worker --FUSE_READ of an open file--> copy or hold, writev --> kernel
 *                           |
 *                           +--everything else--> peer: library --> replier --> kernel
 *
 * A request is never dropped: what can be neither answered nor passed on is answered with an error,
 * because whoever waits for it waits in the kernel. The reading path allocates nothing.
 *
 * The source of a read may be slow, or hang. While all workers but one are stuck in such reads, the
 * last one answers none itself but passes them on, too: names and texts go on being served.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "server.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONG_READ (64u << 10)
#define LEAST_HELD (16u << 10) /* below, a copy costs less than to hold and touch the pages */
#define CROWDED 64             /* long reads for which a crowd is remembered */
#define MAX_WRITE OM_PAGE      /* nobody writes, but the kernel demands room for it */

/* A failure is not an error here: ENOENT, the request was given up; ENODEV, the mount is gone. */
static void write_reply(const struct om_server *server, uint64_t unique, int error,
                        unsigned char *data, size_t size)
{
    struct fuse_out_header out = {
        .len = (uint32_t)(sizeof out + size), .error = error, .unique = unique};
    struct iovec parts[2] = {{&out, sizeof out}, {data, size}};
    ssize_t written = writev(server->device, parts, size ? 2 : 1);
    (void)written;
}

static void wake_python(const struct om_server *server)
{
    uint64_t one = 1;
    ssize_t written = write(server->wake, &one, sizeof one); /* fails only if it is awake already */
    (void)written;
}

/* One more piece of the reply; it joins the one before where it goes on behind it. */
static void add_part(struct om_reply *reply, const unsigned char *from, uint64_t size)
{
    struct iovec *last = &reply->parts[reply->count];
    if (reply->count > 0 && (unsigned char *)last->iov_base + last->iov_len == from) {
        last->iov_len += size;
        return;
    }
    reply->parts[++reply->count] = (struct iovec){(void *)(uintptr_t)from, size};
}

/*
 * The bytes from `offset` on, held where a mapping has them: the kernel then copies them once, from
 * there to the reader. 0 when they are elsewhere, or too few; *size is then how many to copy.
 *
 * A held page was touched, so the kernel can pin it. If the file is cut short in the moment
 * between, the whole read fails with EIO; it never gives wrong bytes.
 */
static uint64_t hold(struct om_reply *reply, const struct om_table *table, uint64_t offset,
                     uint64_t *size)
{
    const struct om_row *row;
    uint64_t part = om_stretch(table, offset, *size, &row);

    if (reply->held == OM_PARTS_MAX || reply->count + 1 >= OM_PARTS_MAX)
        return 0;
    *size = part;
    if (!row || row->kind != OM_WINDOW || part < LEAST_HELD)
        return 0;
    struct om_hold *held = &reply->holds[reply->held];
    part = om_window_hold(table->windows, row, row->at + (offset - row->start), part, held);
    if (part > 0) {
        add_part(reply, held->from, part);
        reply->held++;
    }
    return part;
}

static uint64_t table_size(const struct om_table *table)
{
    const struct om_row *end = table->rows + table->count;
    return table->count ? end[-1].start + end[-1].size : 0;
}

static void write_parts(const struct om_server *server, uint64_t unique, struct om_reply *reply,
                        uint64_t size)
{
    struct fuse_out_header out = {.len = (uint32_t)(sizeof out + size), .unique = unique};
    reply->parts[0] = (struct iovec){&out, sizeof out};
    ssize_t written = writev(server->device, reply->parts, (int)reply->count + 1);
    (void)written; /* as in write_reply */
}

/* Answers a read of a file that is registered; 0 when it is not. */
static int answer(struct om_worker *worker, const struct fuse_in_header *in,
                  const struct fuse_read_in *wanted)
{
    struct om_server *server = worker->server;
    struct om_file *file =
        wanted->size <= OM_MAX_READ ? om_openfiles_hold(&server->files, wanted->fh) : NULL;
    if (!file)
        return 0;

    const struct om_table *table = file->table;
    struct om_reply *reply = &worker->reply;
    uint64_t end = table_size(table), done = 0, part = 1;
    uint64_t size = wanted->offset < end ? end - wanted->offset : 0;
    int error = 0, holds = wanted->size >= LEAST_HELD && om_windows_pinnable(table->windows);

    if (size > wanted->size)
        size = wanted->size;
    reply->count = reply->held = 0;
    while (done < size && part > 0) {
        uint64_t copied = size - done;
        if (holds && (part = hold(reply, table, wanted->offset + done, &copied)) > 0) {
            done += part;
            continue;
        }
        part = om_read(table, wanted->offset + done, worker->data + done, copied, &worker->faults);
        add_part(reply, worker->data + done, part);
        done += part;
        if (atomic_load(&server->stopping)) { /* the source was given up: these are not zeros */
            error = -EIO;
            break;
        }
        if (worker->faults.count > 0) {
            if (om_openfiles_note(&server->files, file, &worker->faults))
                wake_python(server);
            error = server->strict ? -EIO : 0;
        }
    }
    if (error)
        write_reply(server, in->unique, error, NULL, 0);
    else
        write_parts(server, in->unique, reply, done);
    for (uint32_t i = 0; i < reply->held; i++)
        om_window_drop(table->windows, &reply->holds[i]);
    if (done >= LONG_READ && !error)
        om_read_ahead(table, wanted->offset + done, done);
    om_openfiles_drop(&server->files, file);
    return 1;
}

/* Answers a search for data or a hole in a file that is registered; 0 when it is not. */
static int answer_seek(struct om_server *server, const struct fuse_in_header *in,
                       const struct fuse_lseek_in *wanted)
{
    struct om_file *file = om_openfiles_hold(&server->files, wanted->fh);
    if (!file)
        return 0;
    int known = wanted->whence == SEEK_DATA || wanted->whence == SEEK_HOLE;
    uint64_t found = om_seek(file->table, wanted->offset, wanted->whence == SEEK_HOLE);
    struct fuse_lseek_out out = {.offset = found};
    int error = !known ? -EINVAL : found == OM_NOWHERE ? -ENXIO : 0;
    write_reply(server, in->unique, error, (unsigned char *)&out, error ? 0 : sizeof out);
    om_openfiles_drop(&server->files, file);
    return 1;
}

static void pass_on(struct om_server *server, const struct fuse_in_header *in, size_t size)
{
    if (in->opcode == FUSE_INIT)
        atomic_store(&server->greeting, in->unique);
    om_passthrough_asked(server, in, size);
    while (send(server->peer, in, size, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR || atomic_load(&server->stopping)) {
            write_reply(server, in->unique, -EIO, NULL, 0);
            return;
        }
    }
}

/* `last`: no other worker could listen if this one were stuck. */
static void handle(struct om_worker *worker, size_t size, int last)
{
    const struct fuse_in_header *in = (const void *)worker->request;
    const struct fuse_read_in *wanted = (const void *)(in + 1);
    const struct fuse_lseek_in *sought = (const void *)(in + 1);
    struct om_server *server = worker->server;

    if (in->opcode == FUSE_READ && size >= sizeof *in + sizeof *wanted && !last) {
        om_follow(worker, in->pid, wanted->size < LONG_READ);
        if (answer(worker, in, wanted))
            return;
    }
    if (in->opcode == FUSE_LSEEK && size >= sizeof *in + sizeof *sought &&
        answer_seek(server, in, sought))
        return;
    /* No read is given up half way, and the library would keep an interrupt of one for ever. */
    if (in->opcode != FUSE_INTERRUPT)
        pass_on(server, in, size);
}

/* Waits for a request: its size; 0 when there will be no more. */
static size_t next_request(struct om_worker *worker)
{
    struct om_server *server = worker->server;

    while (!atomic_load(&server->stopping)) {
        ssize_t size = read(server->device, worker->request, OM_REQUEST_ROOM);
        if (size >= (ssize_t)sizeof(struct fuse_in_header))
            return (size_t)size;
        if (size >= 0 || errno == ENODEV || errno == ECONNABORTED) {
            atomic_store(&server->ended, 1);
            break;
        }
        if (errno != EINTR && errno != EAGAIN && errno != ENOENT) {
            atomic_store(&server->ended, -errno);
            break;
        }
    }
    wake_python(server);
    return 0;
}

/*
 * Whether the request is worth another thread: a long read, when lately somebody waited behind
 * such a one. Only who has the turn asks.
 */
static int is_worth_help(const struct om_worker *worker)
{
    struct om_server *server = worker->server;
    const struct fuse_in_header *in = (const void *)worker->request;
    const struct fuse_read_in *wanted = (const void *)(in + 1);
    struct pollfd device = {.fd = server->device, .events = POLLIN};

    if (in->opcode != FUSE_READ || wanted->size < LONG_READ || !server->parallel)
        return 0;
    if (poll(&device, 1, 0) > 0)
        server->crowded = CROWDED;
    else if (server->crowded > 0)
        server->crowded--;
    return server->crowded > 0;
}

/*
 * One thread listens, and answers by itself what it hears: the kernel would wake the threads in
 * turn, and a page from a thread that sleeps costs a fifth more. Only where long reads queue up
 * does the next one listen meanwhile. One thread is always left to watch: see turn.c.
 */
void *om_worker_body(void *argument)
{
    struct om_worker *worker = argument;
    struct om_server *server = worker->server;

    om_give_up = &server->stopping;
    while (om_turn_take(server)) {
        int mine = 1;
        while (mine) {
            size_t size = next_request(worker);
            if (size == 0) {
                om_turn_give(server);
                return NULL;
            }
            unsigned waiting = atomic_load(&server->waiting);
            int share = waiting > 0 && is_worth_help(worker);
            if (share && waiting > server->spare) {
                om_turn_give(server);
                handle(worker, size, 0);
                mine = 0;
            } else {
                uint64_t busy = om_turn_busy(server, share);
                handle(worker, size, waiting == 0);
                mine = om_turn_keep(server, busy);
            }
        }
    }
    return NULL;
}

/* The library asks for room for writes of a MiB: requests stay small if there are none. */
static void shrink_writes(struct om_server *server, size_t size)
{
    const struct fuse_out_header *out = (const void *)server->reply;
    struct fuse_init_out *init = (void *)(server->reply + sizeof *out);

    if (size >= sizeof *out + FUSE_COMPAT_22_INIT_OUT_SIZE && !out->error &&
        out->unique == atomic_load(&server->greeting) && init->max_write > MAX_WRITE)
        init->max_write = MAX_WRITE;
}

void *om_replier_body(void *argument)
{
    struct om_server *server = argument;

    for (;;) {
        ssize_t size = recv(server->peer, server->reply, OM_REPLY_ROOM, 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return NULL;
        shrink_writes(server, (size_t)size);
        if (size >= (ssize_t)sizeof(struct fuse_out_header))
            om_passthrough_answered(server, (void *)server->reply, (size_t)size);
        ssize_t written = write(server->device, server->reply, (size_t)size);
        (void)written; /* as in write_reply */
    }
}
