/* SPDX-License-Identifier: MIT */
/* table.c: reads a table: finds the row, then copies as the row's kind says. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int om_fault_add(struct om_faults *faults, uint64_t offset, uint64_t size)
{
    if (faults->count > 0) {
        struct om_fault *last = &faults->at[faults->count - 1];
        if (last->offset + last->size == offset) {
            last->size += size;
            return 1;
        }
    }
    if (faults->count == OM_FAULTS_MAX)
        return 0;
    faults->at[faults->count++] = (struct om_fault){.offset = offset, .size = size};
    return 1;
}

const struct om_row *om_find_row(const struct om_table *table, uint64_t offset)
{
    uint64_t low = 0, high = table->count;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (table->rows[middle].start <= offset)
            low = middle;
        else
            high = middle;
    }
    return &table->rows[low];
}

_Thread_local const atomic_int *om_give_up;

static int gives_up(void)
{
    return om_give_up && atomic_load(om_give_up);
}

/* For om_read_now. REFUSE: a read fails instead of waiting; REFUSED: one has failed so. */
static _Thread_local enum { WAIT, REFUSE, REFUSED } patience;

/* As pread(2), until it is not interrupted. */
static ssize_t pread_again(int fd, void *buf, uint64_t size, uint64_t at)
{
    if (patience != WAIT) {
        struct iovec part = {buf, size};
        ssize_t got = patience == REFUSE ? preadv2(fd, &part, 1, (off_t)at, RWF_NOWAIT) : -1;
        if (got <= 0)
            patience = REFUSED;
        return got;
    }
    ssize_t got = -1;
    errno = EINTR;
    while (got < 0 && errno == EINTR && !gives_up())
        got = pread(fd, buf, size, (off_t)at);
    return got;
}

/* As om_window_copy, with pread(2): a failing stretch is retried page by page. */
static uint64_t pread_copy(const struct om_row *row, uint64_t at, void *buf, uint64_t size,
                           uint64_t *bad)
{
    uint64_t page_rest = OM_PAGE - at % OM_PAGE;
    ssize_t got = pread_again(row->fd, buf, size, at);
    if (got < 0 && size > page_rest && !gives_up()) {
        size = page_rest;
        got = pread_again(row->fd, buf, size, at);
    }
    if (got > 0)
        return (uint64_t)got;
    /* An error loses one page; an early end of the file loses all that was asked for. */
    *bad = got < 0 ? min_u64(size, page_rest) : size;
    return 0;
}

/* Reads a stretch inside one row. Returns the bytes of buf that are filled (zeros, where a fault
 * was noted), or 0 when `faults` is full. */
static uint64_t read_row(const struct om_table *table, const struct om_row *row, uint64_t offset,
                         unsigned char *buf, uint64_t size, struct om_faults *faults)
{
    uint64_t at = row->at + (offset - row->start);
    uint64_t done = 0, bad = size;

    switch ((enum om_kind)row->kind) {
    case OM_ZERO:
        memset(buf, 0, size);
        return size;
    case OM_BYTES:
        memcpy(buf, (const void *)(uintptr_t)at, size); /* NOLINT: Python owns the bytes */
        return size;
    case OM_PREAD:
        done = pread_copy(row, at, buf, size, &bad);
        break;
    case OM_WINDOW:
        done = om_window_copy(table->windows, row, at, buf, size, &bad);
        break;
    case OM_HOLE:
        break;
    }
    if (done > 0)
        return done;
    if (!om_fault_add(faults, offset, bad))
        return 0;
    memset(buf, 0, bad);
    return bad;
}

/* How much of size, inside a masked row, the mask treats alike; *given is 0 where it leaves it out.
 */
static uint64_t masked_alike(const struct om_table *table, const struct om_row *row,
                             uint64_t offset, uint64_t size, int *given)
{
    uint64_t at = row->mask + (offset - row->start);
    uint64_t page = at >> table->mask_shift;
    uint64_t last = (at + size - 1) >> table->mask_shift;
    uint64_t same = om_bits_same(table->mask, page, last + 1);
    *given = table->mask[page / 8] >> page % 8 & 1;
    return min_u64(size, ((page + same) << table->mask_shift) - at);
}

/* As read_row, as far as the mask says the same: a page that is left out is not even looked at. */
static uint64_t read_masked(const struct om_table *table, const struct om_row *row, uint64_t offset,
                            unsigned char *buf, uint64_t size, struct om_faults *faults)
{
    int given;
    size = masked_alike(table, row, offset, size, &given);
    if (given)
        return read_row(table, row, offset, buf, size, faults);
    memset(buf, 0, size);
    return size;
}

uint64_t om_stretch(const struct om_table *table, uint64_t offset, uint64_t size,
                    const struct om_row **row)
{
    const struct om_row *here = om_find_row(table, offset);
    int given = 1;

    size = min_u64(size, here->start + here->size - offset);
    if (here->mask != OM_UNMASKED)
        size = masked_alike(table, here, offset, size, &given);
    *row = given ? here : NULL;
    return size;
}

uint64_t om_read(const struct om_table *table, uint64_t offset, void *buf, uint64_t size,
                 struct om_faults *faults)
{
    faults->count = 0;
    if (table->count == 0)
        return 0;
    const struct om_row *end = table->rows + table->count;
    uint64_t table_size = end[-1].start + end[-1].size;
    if (offset >= table_size)
        return 0;
    size = min_u64(size, table_size - offset);

    const struct om_row *row = om_find_row(table, offset);
    uint64_t done = 0;
    while (done < size) {
        uint64_t here = offset + done;
        if (here >= row->start + row->size) {
            row++;
            continue;
        }
        uint64_t part = min_u64(size - done, row->start + row->size - here);
        uint64_t n = (row->mask == OM_UNMASKED ? read_row : read_masked)(
            table, row, here, (unsigned char *)buf + done, part, faults);
        if (n == 0)
            break;
        done += n;
    }
    return done;
}

uint64_t om_read_now(const struct om_table *table, uint64_t offset, void *buf, uint64_t size,
                     struct om_faults *faults)
{
    patience = REFUSE;
    uint64_t done = om_read(table, offset, buf, size, faults);
    if (patience == REFUSED)
        done = OM_WOULD_WAIT;
    patience = WAIT;
    return done;
}

void om_read_ahead(const struct om_table *table, uint64_t offset, uint64_t size)
{
    if (table->count == 0)
        return;
    const struct om_row *row = om_find_row(table, offset);
    if (row->kind != OM_WINDOW || offset - row->start >= row->size)
        return;
    uint64_t skipped = offset - row->start;
    om_window_ahead(table->windows, row, row->at + skipped, min_u64(size, row->size - skipped));
}
