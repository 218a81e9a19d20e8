/* SPDX-License-Identifier: MIT */
/* internal.h: what the C files share and Python does not use. */
#ifndef OLDMEM_INTERNAL_H
#define OLDMEM_INTERNAL_H

#include "oldmem.h"

#include <stdatomic.h>
#include <stddef.h>

#define OM_PAGE 4096u /* faults and retries of mmap are counted in pages of this size */

/* Returns the row that contains `offset`, or the last row; the table must have one or more. */
const struct om_row *om_find_row(const struct om_table *table, uint64_t offset);

/*
 * table.c: a thread that another one may want to end points this to a flag. Once the flag is set,
 * the thread starts no more pread(2) and does not repeat one that a signal has interrupted; what is
 * missing then is a fault.
 */
extern _Thread_local const atomic_int *om_give_up;

/* Adds [offset, offset + size) to `faults`, joined to the last range if it follows it; 0 if full.
 */
int om_fault_add(struct om_faults *faults, uint64_t offset, uint64_t size);

/*
 * Copies up to size bytes of row's fd, from file offset `at`, through a mapped window. Returns
 * the bytes copied (at least 1), or 0 when the page at `at` cannot be read; *bad is then the
 * number of bytes from `at` to the end of that page, at most `size`: the caller skips them.
 */
uint64_t om_window_copy(struct om_windows *windows, const struct om_row *row, uint64_t at,
                        void *buf, uint64_t size, uint64_t *bad);

/*
 * Bytes of a window that are used where they lie, by a writev(2) say: nobody unmaps them until
 * om_window_drop.
 */
struct window;
struct om_hold {
    struct window *window;
    const unsigned char *from;
};

/* Whether the kernel can pin the pages of these mappings: those of a regular file, not /dev/mem's.
 */
int om_windows_pinnable(const struct om_windows *windows);

/*
 * Up to `size` bytes of row's fd from file offset `at`, held in a window; each page was touched,
 * so it is there now. Returns how many; 0, and nothing is held, when the page at `at` cannot be
 * read or all windows are in use.
 */
uint64_t om_window_hold(struct om_windows *windows, const struct om_row *row, uint64_t at,
                        uint64_t size, struct om_hold *hold);
void om_window_drop(struct om_windows *windows, const struct om_hold *hold);

/*
 * table.c. How much of [offset, offset + size), which the table has, lies in one row and is given
 * alike by its mask. *row is that row; NULL where the mask leaves the bytes out.
 */
uint64_t om_stretch(const struct om_table *table, uint64_t offset, uint64_t size,
                    const struct om_row **row);

/* Maps in advance what om_window_copy of [at, at + size) will need. */
void om_window_ahead(struct om_windows *windows, const struct om_row *row, uint64_t at,
                     uint64_t size);

#endif
