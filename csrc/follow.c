/* SPDX-License-Identifier: MIT */
/*
 * follow.c: the thread that answers short reads runs where their reader runs.
 *
 * A short read costs two wake-ups, the server's and the reader's. Across two CPUs each of them
 * waits for an idle CPU to come back (30 microseconds for both in a virtual machine); on one CPU
 * both are a switch. So while one task alone sends short reads, its server thread is bound to the
 * CPU that the task last ran on. A long read, or a second reader, unbinds it: copies want both
 * CPUs.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "server.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAK 32     /* short reads of one task before it is followed */
#define LOOK_AGAIN 64 /* short reads between two looks at where the task runs: a power of two */
#define PROCESSOR 39  /* the field of /proc/PID/stat: the CPU that a task last ran on (proc(5)) */

/* The CPU that a task last ran on; -1 where /proc does not tell. */
static int processor_of(uint32_t pid)
{
    char text[1024], path[32];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return -1;
    text[size] = '\0';
    const char *at = strrchr(text, ')'); /* the end of field 2, which may hold anything */
    for (int field = 2; at && field < PROCESSOR; field++)
        at = strchr(at + 1, ' ');
    return at ? atoi(at + 1) : -1;
}

static void run_on(struct om_worker *worker, int cpu)
{
    cpu_set_t set;
    if (cpu == worker->cpu)
        return;
    if (cpu < 0) {
        set = worker->server->cpus;
    } else {
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
    }
    if (cpu >= CPU_SETSIZE || pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
        return; /* another CPU set than ours: nothing is lost but time */
    worker->cpu = cpu;
}

void om_follow(struct om_worker *worker, uint32_t pid, int is_short)
{
    if (!worker->server->parallel)
        return;
    if (!is_short || pid != worker->reader) {
        worker->reader = is_short ? pid : 0;
        worker->streak = 0;
        run_on(worker, -1);
    } else if (++worker->streak >= STREAK && worker->streak % LOOK_AGAIN == STREAK % LOOK_AGAIN) {
        run_on(worker, processor_of(pid));
    }
}
