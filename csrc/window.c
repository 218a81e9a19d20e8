/* SPDX-License-Identifier: MIT */
/*
 * window.c: bounded mappings of a file whose pages may fail.
 *
 * mmap of /dev/mem builds its page tables at once (2 MiB per GiB), so old memory is read through a
 * few windows; the least recently used one is unmapped first. A page of a mapping may be gone
 * (truncated file) or poisoned: reading it raises SIGBUS. The copy catches that, leaves out this
 * one page and continues behind it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct window {
    int fd;
    uint64_t lo, hi; /* what of fd is mapped, [lo, hi) */
    unsigned char *map;
    uint64_t used;  /* clock of the last use; 0: nothing is mapped, or not yet */
    uint32_t users; /* copies in flight, or whoever maps it */
};

struct om_windows {
    pthread_mutex_t lock;
    uint64_t size, least; /* of a window: the largest, and what a read somewhere maps around it */
    uint64_t clock;
    uint32_t count;
    int words, pinnable;
    struct window slots[];
};

/* ---- the guard ---------------------------------------------------------------------------- */

struct guard {
    sigjmp_buf back;
    const unsigned char *map;
    uint64_t size;
    const unsigned char *volatile bad; /* set by the handler: the address that could not be read */
};

static _Thread_local struct guard *volatile current;
static struct sigaction previous;
static pthread_once_t installed = PTHREAD_ONCE_INIT;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    struct guard *guard = current;
    const unsigned char *at = info->si_addr;
    if (guard && at >= guard->map && at < guard->map + guard->size) {
        guard->bad = at;
        siglongjmp(guard->back, 1);
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        /* Not ours: let the same instruction fault again, with the default action. */
        signal(number, SIG_DFL);
    }
}

static void install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
}

/* Device memory on arm64 takes naturally aligned loads only; the target is ordinary memory. */
static void copy_words(unsigned char *to, const unsigned char *from, uint64_t size)
{
    while (size > 0) {
        uint64_t lead = (uintptr_t)from % 8;
        uint64_t part = size < 8 - lead ? size : 8 - lead;
        uint64_t word = *(const volatile uint64_t *)(const void *)(from - lead);
        memcpy(to, (unsigned char *)&word + lead, part);
        to += part;
        from += part;
        size -= part;
    }
}

/* Reads one byte of each page, so that the page is there. */
static void touch(const unsigned char *from, uint64_t size)
{
    const unsigned char *end = from + size;
    for (const unsigned char *at = from; at < end; at += OM_PAGE - (uintptr_t)at % OM_PAGE)
        (void)*(const volatile unsigned char *)at;
}

/* Not inlined: what a copy changes must not live in the frame that siglongjmp returns to. */
__attribute__((noinline)) static void copy(unsigned char *to, const unsigned char *from,
                                           uint64_t size, int words)
{
    if (!to)
        touch(from, size);
    else if (words)
        copy_words(to, from, size);
    else
        memcpy(to, from, size);
}

/* Copies, or returns 0 with guard->bad set. Nothing but the guard is looked at after a fault. */
static int try_copy(struct guard *guard, unsigned char *to, const unsigned char *from,
                    uint64_t size, int words)
{
    if (sigsetjmp(guard->back, 0) != 0) {
        current = NULL;
        return 0;
    }
    current = guard;
    copy(to, from, size, words);
    current = NULL;
    return 1;
}

/*
 * Copies, or with `to` NULL only touches each page. Returns the bytes before the first page that
 * could not be read.
 */
static uint64_t guarded_copy(const struct window *window, unsigned char *to,
                             const unsigned char *from, uint64_t size, int words)
{
    struct guard guard = {.map = window->map, .size = window->hi - window->lo, .bad = NULL};

    while (size > 0 && !try_copy(&guard, to, from, size, words)) {
        uint64_t page = (uint64_t)(guard.bad - window->map) / OM_PAGE * OM_PAGE;
        const unsigned char *stop = window->map + page;
        size = stop > from ? (uint64_t)(stop - from) : 0;
    }
    return size;
}

/* ---- the cache ---------------------------------------------------------------------------- */

struct om_windows *om_windows_new(uint64_t size, uint64_t least, uint32_t count, int words,
                                  int pinnable)
{
    struct om_windows *windows = calloc(1, sizeof *windows + count * sizeof windows->slots[0]);
    if (!windows)
        return NULL;
    pthread_once(&installed, install);
    pthread_mutex_init(&windows->lock, NULL);
    windows->size = size;
    windows->least = least;
    windows->count = count;
    windows->words = words;
    windows->pinnable = pinnable;
    return windows;
}

static void unmap(struct window *window)
{
    if (window->map)
        munmap(window->map, window->hi - window->lo);
    window->map = NULL;
}

void om_windows_free(struct om_windows *windows)
{
    if (!windows)
        return;
    for (uint32_t i = 0; i < windows->count; i++)
        unmap(&windows->slots[i]);
    pthread_mutex_destroy(&windows->lock);
    free(windows);
}

/* Maps `size` bytes around `at`, aligned to `grain`; half as much, down to a page, when refused. */
static int map_from(struct window *window, const struct om_row *row, uint64_t at, uint64_t size,
                    uint64_t grain)
{
    for (; size >= OM_PAGE; size /= 2) {
        if (grain > size)
            grain = size;
        uint64_t lo = at / grain * grain;
        uint64_t hi = lo + size;
        if (lo < row->lo)
            lo = row->lo;
        if (hi > row->hi || hi < lo)
            hi = row->hi;
        void *map = mmap(NULL, hi - lo, PROT_READ, MAP_SHARED, row->fd, (off_t)lo);
        if (map != MAP_FAILED) {
            window->fd = row->fd;
            window->lo = lo;
            window->hi = hi;
            window->map = map;
            return 1;
        }
    }
    return 0;
}

/*
 * How much to map on a miss. At a new place: little, since mmap of /dev/mem maps every page at
 * once. For a sequential read: twice the window that ends just before `at`, up to the largest.
 */
static uint64_t size_for(const struct om_windows *windows, const struct om_row *row, uint64_t at,
                         uint64_t wanted)
{
    uint64_t size = windows->least;
    while (size < wanted)
        size *= 2;
    for (uint32_t i = 0; i < windows->count; i++) {
        const struct window *window = &windows->slots[i];
        if (window->used && window->fd == row->fd && at >= window->hi &&
            at - window->hi < windows->least && 2 * (window->hi - window->lo) > size)
            size = 2 * (window->hi - window->lo);
    }
    return size < windows->size ? size : windows->size;
}

static int holds(const struct window *window, const struct om_row *row, uint64_t at)
{
    return window->used && window->fd == row->fd && at >= window->lo && at < window->hi;
}

/*
 * A window that holds `at`, with one more user; NULL when the kernel maps nothing there. Threads
 * that use another window do not wait while this one is mapped. When every window has users (their
 * source may hang), `own` is mapped, as small as possible, so that no thread waits for another.
 */
static struct window *acquire(struct om_windows *windows, const struct om_row *row, uint64_t at,
                              uint64_t wanted, struct window *own)
{
    struct window *found = NULL, *oldest = NULL;

    pthread_mutex_lock(&windows->lock);
    for (uint32_t i = 0; i < windows->count && !found; i++) {
        struct window *window = &windows->slots[i];
        if (holds(window, row, at))
            found = window;
        else if (window->users == 0 && (!oldest || window->used < oldest->used))
            oldest = window;
    }
    if (!found && !oldest) {
        pthread_mutex_unlock(&windows->lock);
        return map_from(own, row, at, windows->least, windows->least) ? own : NULL;
    }
    if (!found) {
        uint64_t size = size_for(windows, row, at, wanted);
        oldest->users = 1;
        oldest->used = 0;
        pthread_mutex_unlock(&windows->lock);
        unmap(oldest);
        int mapped = map_from(oldest, row, at, size, windows->least);
        pthread_mutex_lock(&windows->lock);
        oldest->users = 0;
        if (mapped)
            found = oldest;
    }
    if (found) {
        found->users++;
        found->used = ++windows->clock;
    }
    pthread_mutex_unlock(&windows->lock);
    return found;
}

/* Gives back a window of the cache. */
static void put_back(struct om_windows *windows, struct window *window)
{
    pthread_mutex_lock(&windows->lock);
    window->users--;
    pthread_mutex_unlock(&windows->lock);
}

static void release(struct om_windows *windows, struct window *window, struct window *own)
{
    if (window == own)
        unmap(own);
    else
        put_back(windows, window);
}

uint64_t om_window_copy(struct om_windows *windows, const struct om_row *row, uint64_t at,
                        void *buf, uint64_t size, uint64_t *bad)
{
    uint64_t page_rest = OM_PAGE - at % OM_PAGE;
    *bad = size < page_rest ? size : page_rest;

    struct window own = {.map = NULL};
    struct window *window = acquire(windows, row, at, size, &own);
    if (!window)
        return 0;
    uint64_t part = size < window->hi - at ? size : window->hi - at;
    part = guarded_copy(window, buf, window->map + (at - window->lo), part, windows->words);
    release(windows, window, &own);
    return part;
}

int om_windows_pinnable(const struct om_windows *windows)
{
    return windows && windows->pinnable;
}

uint64_t om_window_hold(struct om_windows *windows, const struct om_row *row, uint64_t at,
                        uint64_t size, struct om_hold *hold)
{
    struct window own = {.map = NULL};
    struct window *window = acquire(windows, row, at, size, &own);
    if (window == &own)
        release(windows, window, &own);
    if (!window || window == &own)
        return 0;
    uint64_t part = size < window->hi - at ? size : window->hi - at;
    hold->window = window;
    hold->from = window->map + (at - window->lo);
    part = guarded_copy(window, NULL, hold->from, part, 0);
    if (part == 0)
        release(windows, window, &own);
    return part;
}

void om_window_drop(struct om_windows *windows, const struct om_hold *hold)
{
    put_back(windows, hold->window);
}

void om_window_ahead(struct om_windows *windows, const struct om_row *row, uint64_t at,
                     uint64_t size)
{
    struct window own = {.map = NULL};
    struct window *window = &own;
    uint64_t end = at + size;

    while (at < end && (window = acquire(windows, row, at, end - at, &own)) != NULL) {
        at = window == &own ? end : window->hi;
        release(windows, window, &own);
    }
}
