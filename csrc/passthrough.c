/* SPDX-License-Identifier: MIT */
/*
 * passthrough.c: a file that is another file, byte for byte, is read by the kernel itself.
 *
 * Since Linux 6.9 a FUSE server may name a backing file in its answer to OPEN (FOPEN_PASSTHROUGH):
 * reads and mmap(2) then go straight to that file. The library does not know of this, so its
 * answers are completed on their way: INIT asks for the feature where the kernel offers it, OPEN
 * names the backing file. Where the kernel refuses, reads are answered as ever. All who open a file
 * at the same time must name the same backing file by the same number, or open(2) fails with EIO:
 * a descriptor is registered once, until the device is closed.
 *
 * Source: include/uapi/linux/fuse.h since 6.9 (protocol 7.40).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "server.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/ioctl.h>

/* What headers older than 7.40 lack. */
#define INIT_EXT (1u << 30)                   /* FUSE_INIT_EXT: flags2 counts */
#define PASSTHROUGH (UINT64_C(1) << 37 >> 32) /* FUSE_PASSTHROUGH, in flags2 */
#define OPEN_PASSTHROUGH (1u << 7)            /* FOPEN_PASSTHROUGH */
#define STACK_DEPTH 1u /* backing files on real file systems, not on overlays */
struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)

struct init_in { /* struct fuse_init_in since 7.36 */
    uint32_t major, minor, max_readahead, flags, flags2;
};
struct init_out { /* struct fuse_init_out since 7.40; 64 bytes long since 7.23 */
    uint32_t major, minor, max_readahead, flags;
    uint16_t max_background, congestion_threshold;
    uint32_t max_write, time_gran;
    uint16_t max_pages, map_alignment;
    uint32_t flags2, max_stack_depth, unused[6];
};
struct open_out { /* struct fuse_open_out since 7.40 */
    uint64_t fh;
    uint32_t open_flags;
    int32_t backing_id;
};
static_assert(sizeof(struct init_out) == sizeof(struct fuse_init_out), "the kernel's");
static_assert(sizeof(struct open_out) == sizeof(struct fuse_open_out), "the kernel's");

void om_passthrough_asked(struct om_server *server, const struct fuse_in_header *in, size_t size)
{
    const struct init_in *init = (const void *)(in + 1);

    if (in->opcode == FUSE_INIT)
        atomic_store(&server->offered, size >= sizeof *in + sizeof *init &&
                                           init->flags & INIT_EXT && init->flags2 & PASSTHROUGH);
    if (in->opcode != FUSE_OPEN)
        return;
    pthread_mutex_lock(&server->files.lock);
    for (int i = 0; i < OM_OPENING_MAX; i++) {
        if (server->opening[i] == 0) {
            server->opening[i] = in->unique;
            break;
        }
    }
    pthread_mutex_unlock(&server->files.lock);
}

/* Whether this is the answer to an OPEN that was noted; it is forgotten then. */
static int answers_open(struct om_server *server, uint64_t unique)
{
    int found = 0;
    pthread_mutex_lock(&server->files.lock);
    for (int i = 0; i < OM_OPENING_MAX && !found; i++) {
        if (server->opening[i] == unique) {
            server->opening[i] = 0;
            found = 1;
        }
    }
    pthread_mutex_unlock(&server->files.lock);
    return found;
}

void om_passthrough_answered(struct om_server *server, struct fuse_out_header *out, size_t size)
{
    struct init_out *init = (void *)(out + 1);
    struct open_out *open = (void *)(out + 1);

    if (out->unique == atomic_load(&server->greeting)) {
        if (atomic_load(&server->offered) && !out->error && size == sizeof *out + sizeof *init) {
            init->flags |= INIT_EXT;
            init->flags2 |= PASSTHROUGH;
            init->max_stack_depth = STACK_DEPTH;
        }
    } else if (answers_open(server, out->unique) && !out->error &&
               size == sizeof *out + sizeof *open) {
        struct om_file *file = om_openfiles_hold(&server->files, open->fh);
        if (file && file->backing > 0) {
            open->open_flags = OPEN_PASSTHROUGH;
            open->backing_id = file->backing;
        }
        if (file)
            om_openfiles_drop(&server->files, file);
    }
}

int32_t om_passthrough_open(struct om_server *server, int fd)
{
    struct backing_map map = {.fd = fd};
    int id = 0, free = -1;

    if (fd < 0 || !atomic_load(&server->offered))
        return 0;
    pthread_mutex_lock(&server->files.lock);
    for (int i = 0; i < OM_BACKINGS_MAX && id == 0; i++) {
        if (server->backings[i].id == 0)
            free = i;
        else if (server->backings[i].fd == fd)
            id = server->backings[i].id;
    }
    if (id == 0 && free >= 0) {
        id = ioctl(server->device, BACKING_OPEN, &map);
        if (id > 0) {
            server->backings[free].fd = fd;
            server->backings[free].id = id;
        }
    }
    pthread_mutex_unlock(&server->files.lock);
    return id > 0 ? id : 0;
}
