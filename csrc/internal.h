/* internal.h: what the C files share and Python never sees. */
#ifndef OLDMEM_INTERNAL_H
#define OLDMEM_INTERNAL_H

#include "oldmem.h"

#include <stdatomic.h>
#include <stddef.h>

#define OM_PAGE 4096u /* the grain of faults and of mmap retries */

/* The row that holds offset, or the last one before it; the table has one at the least. */
const struct om_row *om_find_row(const struct om_table *table, uint64_t offset);

/*
 * table.c: a thread that somebody may want to end points this to a flag: once it is set, no read of
 * a file is begun any more, nor tried again when a signal has interrupted it. It is a fault then.
 */
extern _Thread_local const atomic_int *om_give_up;

/* Notes [offset, offset + size) as unreadable; 0 when the list is full. Adjacent ranges join. */
int om_fault_add(struct om_faults *faults, uint64_t offset, uint64_t size);

/*
 * Copies up to size bytes of row's fd, from file offset `at`, through a mapped window. Returns
 * the bytes copied (at least 1), or 0 when the page at `at` cannot be read; *bad is then the
 * number of bytes, up to the end of that page, to leave out.
 */
uint64_t om_window_copy(struct om_windows *windows, const struct om_row *row, uint64_t at,
                        void *buf, uint64_t size, uint64_t *bad);

/* Maps what copies of [at, at + size) will need, before a reader waits for it. */
void om_window_ahead(struct om_windows *windows, const struct om_row *row, uint64_t at,
                     uint64_t size);

#endif
