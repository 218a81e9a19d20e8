/*
 * oldmem.h: the whole C interface on one page.
 *
 * A table maps the offsets of one space (a file's offsets, or physical addresses) to where the
 * bytes are. Its runs are sorted and contiguous from offset 0; Python builds them, C only reads.
 *
 *      offset 0        start               start + size              end
 *      |---- run ------|------- run -------|---- run (hole) ---------|
 */
#ifndef OLDMEM_H
#define OLDMEM_H

#include <assert.h>
#include <stdint.h>

enum om_kind {
    OM_HOLE,   /* nothing can read it: zeros, and a fault */
    OM_ZERO,   /* zeros by definition */
    OM_BYTES,  /* `at` is the address of the bytes in this process */
    OM_PREAD,  /* pread(2) of fd at file offset `at` */
    OM_WINDOW, /* a bounded mmap(2) of fd around `at`, inside [lo, hi) */
};

struct om_run {
    uint64_t start; /* first offset in the table's space */
    uint64_t size;  /* bytes */
    uint64_t at;
    uint64_t lo, hi; /* OM_WINDOW: the part of fd that may be mapped, page aligned */
    int32_t fd;
    uint32_t kind;
};
static_assert(sizeof(struct om_run) == 48, "Python packs this struct");

/* Ranges of the table's space that read as zeros because nothing could read them. */
#define OM_FAULTS_MAX 256
struct om_fault {
    uint64_t offset, size;
};
struct om_faults {
    uint32_t count;
    uint32_t reserved;
    struct om_fault at[OM_FAULTS_MAX];
};
static_assert(sizeof(struct om_faults) == 8 + 16 * OM_FAULTS_MAX, "Python reads this struct");

struct om_windows; /* a small LRU cache of mappings, shared by tables and threads */

struct om_table {
    const struct om_run *runs;
    uint64_t count;
    struct om_windows *windows; /* NULL: the table has no OM_WINDOW run */
};

/* window.c. `words`: copy with aligned 64-bit loads only (arm64 maps old memory as Device memory). */
struct om_windows *om_windows_new(uint64_t window_size, uint32_t count, int words);
void om_windows_free(struct om_windows *windows);

/*
 * table.c. Copies [offset, offset + size) of the table into buf. Returns the bytes copied: fewer
 * than size only at the end of the table or when `faults` is full; call again for the rest.
 * What cannot be read is zeros in buf and a range in `faults`, never an error. Thread safe.
 */
uint64_t om_read(const struct om_table *table, uint64_t offset, void *buf, uint64_t size,
                 struct om_faults *faults);

/* Keeps this process out of core dumps and ptrace: it holds another kernel's secrets. */
int om_hide_process(void);

#endif
