/* SPDX-License-Identifier: MIT */
/* openfiles.c: the open files whose reads C answers; a read holds its file until it is done. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void om_openfiles_init(struct om_openfiles *files)
{
    memset(files, 0, sizeof *files);
    pthread_mutex_init(&files->lock, NULL);
    pthread_cond_init(&files->dropped, NULL);
}

void om_openfiles_clear(struct om_openfiles *files)
{
    for (uint32_t i = 0; i < OM_BUCKETS; i++) {
        while (files->buckets[i]) {
            struct om_file *file = files->buckets[i];
            files->buckets[i] = file->next;
            free(file);
        }
    }
    pthread_cond_destroy(&files->dropped);
    pthread_mutex_destroy(&files->lock);
}

/* Returns the pointer to the handle's file, or the NULL at the end of its list; under the lock. */
static struct om_file **place_of(struct om_openfiles *files, uint64_t handle)
{
    struct om_file **place = &files->buckets[handle % OM_BUCKETS];
    while (*place && (*place)->handle != handle)
        place = &(*place)->next;
    return place;
}

int om_server_open(struct om_server *server, uint64_t handle, uint64_t node,
                   const struct om_table *table, int backing)
{
    struct om_openfiles *files = &server->files;
    struct om_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->handle = handle;
    file->node = node;
    file->table = table;
    file->backing = om_passthrough_open(server, backing);
    pthread_mutex_lock(&files->lock);
    struct om_file **place = place_of(files, handle);
    int taken = *place != NULL;
    if (!taken)
        *place = file;
    pthread_mutex_unlock(&files->lock);
    if (taken)
        free(file);
    return taken ? -EEXIST : 0;
}

void om_server_close(struct om_server *server, uint64_t handle)
{
    struct om_openfiles *files = &server->files;
    pthread_mutex_lock(&files->lock);
    struct om_file **place = place_of(files, handle);
    struct om_file *file = *place;
    if (file) {
        *place = file->next; /* no new read finds it; those that hold it finish first */
        while (file->holders > 0)
            pthread_cond_wait(&files->dropped, &files->lock);
    }
    pthread_mutex_unlock(&files->lock);
    free(file);
}

struct om_file *om_openfiles_hold(struct om_openfiles *files, uint64_t handle)
{
    pthread_mutex_lock(&files->lock);
    struct om_file *file = *place_of(files, handle);
    if (file)
        file->holders++;
    pthread_mutex_unlock(&files->lock);
    return file;
}

void om_openfiles_drop(struct om_openfiles *files, struct om_file *file)
{
    pthread_mutex_lock(&files->lock);
    if (--file->holders == 0)
        pthread_cond_broadcast(&files->dropped);
    pthread_mutex_unlock(&files->lock);
}

/*
 * Adds one unreadable range; it is joined to the entry before if it touches or overlaps that one,
 * as the faults of a sequential or a repeated read do. Under the lock.
 */
static void note(struct om_openfiles *files, uint64_t node, const struct om_fault *fault)
{
    uint64_t end = fault->offset + fault->size;
    if (files->unreadable_count > 0) {
        struct om_unreadable *last = &files->unreadable[files->unreadable_count - 1];
        uint64_t last_end = last->offset + last->size;
        if (last->node == node && fault->offset <= last_end && end >= last->offset) {
            if (fault->offset < last->offset)
                last->offset = fault->offset;
            last->size = (end > last_end ? end : last_end) - last->offset;
            return;
        }
    }
    if (files->unreadable_count == OM_UNREADABLE_MAX)
        files->unreadable_lost += fault->size;
    else
        files->unreadable[files->unreadable_count++] =
            (struct om_unreadable){.node = node, .offset = fault->offset, .size = fault->size};
}

int om_openfiles_note(struct om_openfiles *files, struct om_file *file,
                      const struct om_faults *faults)
{
    pthread_mutex_lock(&files->lock);
    for (uint32_t i = 0; i < faults->count; i++)
        note(files, file->node, &faults->at[i]);
    int soon = !file->told || files->unreadable_count > OM_UNREADABLE_MAX / 2;
    file->told = 1;
    pthread_mutex_unlock(&files->lock);
    return soon;
}

uint32_t om_server_unreadable(struct om_server *server, struct om_unreadable out[OM_UNREADABLE_MAX],
                              uint64_t *lost)
{
    struct om_openfiles *files = &server->files;
    pthread_mutex_lock(&files->lock);
    uint32_t count = files->unreadable_count;
    memcpy(out, files->unreadable, count * sizeof *out);
    *lost = files->unreadable_lost;
    files->unreadable_count = 0;
    files->unreadable_lost = 0;
    pthread_mutex_unlock(&files->lock);
    return count;
}
