/* opened.c: the open files that C answers for: found by handle, held while a read is in flight. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void om_opened_init(struct om_opened *opened)
{
    memset(opened, 0, sizeof *opened);
    pthread_mutex_init(&opened->lock, NULL);
    pthread_cond_init(&opened->dropped, NULL);
}

void om_opened_clear(struct om_opened *opened)
{
    for (uint32_t i = 0; i < OM_BUCKETS; i++) {
        while (opened->buckets[i]) {
            struct om_file *file = opened->buckets[i];
            opened->buckets[i] = file->next;
            free(file);
        }
    }
    pthread_cond_destroy(&opened->dropped);
    pthread_mutex_destroy(&opened->lock);
}

/* Where the pointer to the handle's file stands, or would stand; under the lock. */
static struct om_file **place_of(struct om_opened *opened, uint64_t handle)
{
    struct om_file **place = &opened->buckets[handle % OM_BUCKETS];
    while (*place && (*place)->handle != handle)
        place = &(*place)->next;
    return place;
}

int om_serve_open(struct om_serve *serve, uint64_t handle, uint64_t node,
                  const struct om_table *table)
{
    struct om_opened *opened = &serve->opened;
    struct om_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->handle = handle;
    file->node = node;
    file->table = table;
    pthread_mutex_lock(&opened->lock);
    struct om_file **place = place_of(opened, handle);
    int taken = *place != NULL;
    if (!taken)
        *place = file;
    pthread_mutex_unlock(&opened->lock);
    if (taken)
        free(file);
    return taken ? -EEXIST : 0;
}

void om_serve_close(struct om_serve *serve, uint64_t handle)
{
    struct om_opened *opened = &serve->opened;
    pthread_mutex_lock(&opened->lock);
    struct om_file **place = place_of(opened, handle);
    struct om_file *file = *place;
    if (file) {
        *place = file->next; /* nobody finds it from here on; those who hold it finish */
        while (file->holders > 0)
            pthread_cond_wait(&opened->dropped, &opened->lock);
    }
    pthread_mutex_unlock(&opened->lock);
    free(file);
}

struct om_file *om_opened_hold(struct om_opened *opened, uint64_t handle)
{
    pthread_mutex_lock(&opened->lock);
    struct om_file *file = *place_of(opened, handle);
    if (file)
        file->holders++;
    pthread_mutex_unlock(&opened->lock);
    return file;
}

void om_opened_drop(struct om_opened *opened, struct om_file *file)
{
    pthread_mutex_lock(&opened->lock);
    if (--file->holders == 0)
        pthread_cond_broadcast(&opened->dropped);
    pthread_mutex_unlock(&opened->lock);
}

/* A sequential reader's faults, and the same one met again, join the entry before; under the lock. */
static void note(struct om_opened *opened, uint64_t node, const struct om_fault *fault)
{
    uint64_t end = fault->offset + fault->size;
    if (opened->met_count > 0) {
        struct om_met *last = &opened->met[opened->met_count - 1];
        uint64_t last_end = last->offset + last->size;
        if (last->node == node && fault->offset <= last_end && end >= last->offset) {
            if (fault->offset < last->offset)
                last->offset = fault->offset;
            last->size = (end > last_end ? end : last_end) - last->offset;
            return;
        }
    }
    if (opened->met_count == OM_MET_MAX)
        opened->met_lost += fault->size;
    else
        opened->met[opened->met_count++] =
            (struct om_met){.node = node, .offset = fault->offset, .size = fault->size};
}

int om_opened_met(struct om_opened *opened, struct om_file *file, const struct om_faults *faults)
{
    pthread_mutex_lock(&opened->lock);
    for (uint32_t i = 0; i < faults->count; i++)
        note(opened, file->node, &faults->at[i]);
    int soon = !file->told || opened->met_count > OM_MET_MAX / 2;
    file->told = 1;
    pthread_mutex_unlock(&opened->lock);
    return soon;
}

uint32_t om_serve_met(struct om_serve *serve, struct om_met out[OM_MET_MAX], uint64_t *lost)
{
    struct om_opened *opened = &serve->opened;
    pthread_mutex_lock(&opened->lock);
    uint32_t count = opened->met_count;
    memcpy(out, opened->met, count * sizeof *out);
    *lost = opened->met_lost;
    opened->met_count = 0;
    opened->met_lost = 0;
    pthread_mutex_unlock(&opened->lock);
    return count;
}
