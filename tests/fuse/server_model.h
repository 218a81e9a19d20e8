/* SPDX-License-Identifier: MIT */
/* server_model.h: what server_stress.c serves, a part of each kind of run, and what it must hold.
 */
#ifndef SERVER_MODEL_H
#define SERVER_MODEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "oldmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define PART (2 * MIB) /* of each kind, in the order of enum om_kind */
#define SIZE (5 * PART + 777)

static void check(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "server_stress: %s\n", what);
        abort();
    }
}

static unsigned char *content; /* PART bytes and a bit: of OM_BYTES, and of the file */
static int content_fd;
static struct om_windows *windows;

static unsigned char expected(uint64_t offset)
{
    uint64_t kind = offset / PART;
    if (kind >= 5) /* the tail */
        return content[offset - 5 * PART];
    return kind == OM_HOLE || kind == OM_ZERO ? 0 : content[offset % PART];
}

struct served {
    struct om_table table;
    struct om_row rows[6];
};

static struct served *make_table(void)
{
    struct served *made = calloc(1, sizeof *made);
    check(made != NULL, "calloc");
    for (uint32_t kind = 0; kind < 6; kind++) {
        struct om_row *row = &made->rows[kind];
        row->start = kind * PART;
        row->size = kind < 5 ? PART : SIZE - 5 * PART;
        row->kind = kind < 5 ? kind : OM_BYTES;
        row->fd = content_fd;
        row->hi = PART;
        row->mask = OM_UNMASKED;
        row->at = row->kind == OM_BYTES ? (uint64_t)(uintptr_t)content : 0;
    }
    made->table = (struct om_table){.rows = made->rows, .count = 6, .windows = windows};
    return made;
}

static void make_content(void)
{
    content_fd = memfd_create("server_stress", MFD_CLOEXEC);
    check(content_fd >= 0 && ftruncate(content_fd, PART) == 0, "memfd_create");
    content = mmap(NULL, PART, PROT_READ | PROT_WRITE, MAP_SHARED, content_fd, 0);
    check(content != MAP_FAILED, "mmap");
    for (uint64_t i = 0; i < PART; i++)
        content[i] = (unsigned char)(i * 2654435761u >> 13);
    windows = om_windows_new(MIB / 2, MIB / 16, 3, 0, 1);
    check(windows != NULL, "om_windows_new");
}

#endif
