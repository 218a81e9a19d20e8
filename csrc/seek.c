/* SPDX-License-Identifier: MIT */
/*
 * seek.c: where a table has holes, for SEEK_DATA and SEEK_HOLE.
 *
 * A hole is what reads as zeros by definition: OM_ZERO rows, and pages whose mask bit is clear. The
 * bytes themselves are never read. What cannot be read (OM_HOLE rows, for example) counts as data,
 * because only a read reports it. A stretch of zeros shorter than OM_HOLE_LEAST counts as data too:
 * two more system calls cost a copying program more than such a copy.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

/*
 * Sets *zeros to whether the byte at `offset` is zero by definition; returns for how many bytes,
 * up to the end of the row, that stays the same.
 */
static uint64_t alike(const struct om_table *table, const struct om_row *row, uint64_t offset,
                      int *zeros)
{
    uint64_t rest = row->start + row->size - offset;
    *zeros = row->kind == OM_ZERO;
    if (*zeros || row->mask == OM_UNMASKED)
        return rest;
    uint64_t at = row->mask + (offset - row->start);
    uint64_t page = at >> table->mask_shift, last = (at + rest - 1) >> table->mask_shift;
    uint64_t same = om_bits_same(table->mask, page, last + 1);
    uint64_t size = ((page + same) << table->mask_shift) - at;
    *zeros = !(table->mask[page / 8] >> page % 8 & 1);
    return size < rest ? size : rest;
}

uint64_t om_seek(const struct om_table *table, uint64_t offset, int hole)
{
    if (table->count == 0)
        return OM_NOWHERE;
    const struct om_row *row = &table->rows[table->count - 1];
    uint64_t size = row->start + row->size;
    if (offset >= size)
        return OM_NOWHERE;

    uint64_t at = offset, first = offset; /* [first, at) is zeros by definition */
    row = om_find_row(table, offset);
    while (at < size) {
        if (at >= row->start + row->size) {
            row++;
            continue;
        }
        int zeros;
        uint64_t n = alike(table, row, at, &zeros);
        if (!zeros) {
            if (!hole)
                return at - offset >= OM_HOLE_LEAST ? at : offset;
            if (at - first >= OM_HOLE_LEAST)
                return first;
            first = at + n;
        }
        at += n;
    }
    if (size - first < OM_HOLE_LEAST)
        return hole ? size : offset;
    return hole ? first : OM_NOWHERE;
}

uint64_t om_data_size(const struct om_table *table)
{
    uint64_t sum = 0, start, end = 0;
    while ((start = om_seek(table, end, 0)) != OM_NOWHERE) {
        end = om_seek(table, start, 1);
        sum += end - start;
    }
    return sum;
}
