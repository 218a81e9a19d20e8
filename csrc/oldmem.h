/* SPDX-License-Identifier: MIT */
/*
 * oldmem.h: the C functions and structs that Python uses.
 *
 * A table maps the offsets of one space (a file's offsets, or physical addresses) to the places of
 * the bytes. Its rows are sorted and contiguous from offset 0. Python builds them, C reads them.
 *
 *      offset 0        start               start + size              end
 *      |---- row ------|------- row -------|---- row (hole) ---------|
 *
 * Python owns all tables, rows, masks, jobs and rules, and keeps them alive while C uses them. What
 * `_new` or `_start` returns belongs to the caller until `_free` or `_stop`. Sizes and offsets are
 * bytes unless a comment says pages or bits. A pfn is a physical address divided by the page size.
 */
#ifndef OLDMEM_H
#define OLDMEM_H

#include <assert.h>
#include <stdint.h>

enum om_kind {
    OM_HOLE,   /* no source has these bytes: they read as zeros and are reported as a fault */
    OM_ZERO,   /* zeros by definition: no fault */
    OM_BYTES,  /* `at` is the address of the bytes in this process */
    OM_PREAD,  /* pread(2) of fd at file offset `at` */
    OM_WINDOW, /* a bounded mmap(2) of fd around `at`, inside [lo, hi) */
};

struct om_row {
    uint64_t start;  /* first offset in the table's space */
    uint64_t size;   /* bytes */
    uint64_t at;     /* see enum om_kind */
    uint64_t lo, hi; /* OM_WINDOW: the part of fd that may be mapped, page aligned */
    uint64_t mask;   /* the row's first byte in the mask's space; OM_UNMASKED: no mask applies */
    int32_t fd;      /* OM_PREAD, OM_WINDOW: an open descriptor */
    uint32_t kind;
};
static_assert(sizeof(struct om_row) == 56, "Python packs this struct");
#define OM_UNMASKED UINT64_MAX

/* Ranges of the table's space that read as zeros because their bytes could not be read. */
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
    const struct om_row *rows;
    uint64_t count;
    struct om_windows *windows; /* NULL: the table has no OM_WINDOW row */
    const uint8_t *mask;        /* one bit per page; clear: reads as zeros, the page is not read */
    uint32_t mask_shift;        /* log2 of the size of the mask's pages */
};

/*
 * window.c. Makes an empty cache of up to `count` mappings; NULL when there is no memory for it. A
 * read at a new place maps `least` bytes around it, a sequential read maps more each time, up to
 * `size`; both are powers of two. `words`: copy with aligned 64-bit loads only (arm64 maps old
 * memory as Device memory). `pinnable`: the mappings are of a regular file, whose pages the kernel
 * can take for a reply where they lie; it cannot take those of /dev/mem.
 */
struct om_windows *om_windows_new(uint64_t size, uint64_t least, uint32_t count, int words,
                                  int pinnable);

/* Unmaps and frees `windows` (NULL is allowed); no thread may be reading through it. */
void om_windows_free(struct om_windows *windows);

/*
 * table.c. Copies [offset, offset + size) of the table into `buf`, which has room for `size` bytes.
 * Returns the bytes copied: fewer than `size` only at the end of the table or when `faults` is
 * full; call again for the rest. A range that cannot be read becomes zeros in `buf` and an entry in
 * `faults` (overwritten by each call), never an error. Thread safe.
 */
uint64_t om_read(const struct om_table *table, uint64_t offset, void *buf, uint64_t size,
                 struct om_faults *faults);

/*
 * seek.c. Returns the first offset at or after `offset` that is in data (`hole` is 0) or in a hole
 * (`hole` is not 0), as SEEK_DATA and SEEK_HOLE of lseek(2) do: the end of the table counts as a
 * hole. Returns OM_NOWHERE where lseek(2) fails with ENXIO: `offset` is at or beyond the end, or no
 * data follows it.
 */
#define OM_HOLE_LEAST (UINT64_C(64) << 10) /* bytes; shorter stretches of zeros count as data */
#define OM_NOWHERE UINT64_MAX
uint64_t om_seek(const struct om_table *table, uint64_t offset, int hole);

/* Returns the bytes of the table that are not in holes, as om_seek defines them. */
uint64_t om_data_size(const struct om_table *table);

/*
 * As om_read, but returns OM_WOULD_WAIT, with `buf` undefined, when the read would have to wait for
 * a file (RWF_NOWAIT). OM_WINDOW rows (/dev/mem, an image on tmpfs) are memory and never wait.
 */
#define OM_WOULD_WAIT UINT64_MAX
uint64_t om_read_now(const struct om_table *table, uint64_t offset, void *buf, uint64_t size,
                     struct om_faults *faults);

/* Maps the window that a later read of [offset, offset + size) would need; reads nothing. */
void om_read_ahead(const struct om_table *table, uint64_t offset, uint64_t size);

/*
 * bitmap.c: bitmaps; bit n is bit n % 8 of byte n / 8 (bit 0 is the least significant). The caller
 * makes sure that [from, to) lies inside the bitmap.
 */

/* Returns how many bits in a row, from `from` on and below `to`, have the value of bit `from`. */
uint64_t om_bits_same(const uint8_t *bits, uint64_t from, uint64_t to);

/* Clears the bits [from, to); returns how many of them were set. */
uint64_t om_bits_clear(uint8_t *bits, uint64_t from, uint64_t to);

/* Returns how many of the bits [from, to) are set. */
uint64_t om_bits_count(const uint8_t *bits, uint64_t from, uint64_t to);

/*
 * Finds the runs of set bits in [from, to); two runs with less than `gap` clear bits between them
 * count as one. Returns how many there are; writes the first `max` of them to `out`.
 */
struct om_range {
    uint64_t start, end;
};
uint64_t om_bits_runs(const uint8_t *bits, uint64_t from, uint64_t to, uint64_t gap,
                      struct om_range *out, uint64_t max);

/*
 * sweep.c: decides from a kernel's struct pages which pages are kept. Python found every number in
 * struct om_rules in the dead kernel's VMCOREINFO. A mask of 0, a width of 0 or a missing OM_HAS_
 * bit turns off the rule that needs it; the offset of a rule that is off is still inside the struct
 * page.
 */

enum om_hugetlb {
    OM_HUGETLB_NONE,
    OM_HUGETLB_TYPE, /* by the page type in the head's _mapcount (6.9 and later) */
    OM_HUGETLB_FLAG, /* by a bit of the second page's flags, see hugetlb_orders (6.6 .. 6.8) */
    OM_HUGETLB_DTOR, /* by the destructor that the second page names (before 6.6) */
};

enum om_has { OM_HAS_BUDDY = 1, OM_HAS_UNACCEPTED = 2, OM_HAS_OFFLINE = 4, OM_HAS_SLAB = 8 };

struct om_rules {
    uint32_t level; /* makedumpfile's: 2 cache, 4 private cache too, 8 user, 16 free */
    uint32_t size;  /* bytes of a struct page */
    uint32_t word;  /* bytes of an unsigned long: 4 or 8 */
    uint32_t swap;  /* 1: the dead kernel's byte order is not this machine's */
    uint32_t flags, mapping, mapcount, private_, head; /* offsets in a struct page */
    uint32_t order, order_width, dtor, dtor_width;     /* in the second page; width 0: absent */
    uint32_t hugetlb;                                  /* enum om_hugetlb */
    uint32_t orders; /* free blocks have the orders 0 .. orders - 1 */
    uint32_t has;    /* OM_HAS_ bits: which of the values in the next line are known */
    uint32_t buddy, unaccepted, offline, slab_type, hugetlb_type; /* values of _mapcount */
    uint32_t least_type; /* the least of these, unsigned; a _mapcount below it, or -1, is a count */
    uint64_t tail_bit, anon_bit; /* masks for the words at `head` and at `mapping` */
    /* masks for the word at `flags` */
    uint64_t lru, private_bit, swapcache, swapbacked, slab, head_bit, hwpoison, hugetlb_bit;
    uint64_t dtor_value;
    uint64_t hugetlb_orders; /* OM_HUGETLB_FLAG: bit n is set if a huge page can have order n */
};

enum om_class {
    OM_ZEROED, /* a kept page that holds only zeros: counted by om_zero */
    OM_CACHE,
    OM_CACHE_PRIVATE,
    OM_USER,
    OM_FREE,
    OM_HWPOISON,
    OM_OFFLINE,
    OM_NO_STRUCT, /* kept: the struct page cannot be read */
    OM_BAD_ORDER, /* kept: marked free, but its order is not below om_rules.orders */
    OM_ODD_TYPE,  /* kept: the type byte says free, but the 24 bits below it are not zero */
    OM_NO_BYTES,  /* kept: the page itself cannot be read, so it may or may not be zero */
    OM_CLASSES
};

/* The pages [pfn, pfn + pages) have the bits from `bit` on. Arrays are sorted and disjoint. */
struct om_ram {
    uint64_t pfn, pages, bit;
};

/*
 * The last page of each aligned group of OM_BATCH pages is never taken for a head (makedumpfile
 * does the same: it reads struct pages in such groups). So sections can be cut at multiples of it.
 */
#define OM_BATCH 512

/*
 * A section, or a piece of one: the struct page of `pfn` is at `offset` of the table, the others
 * follow it. `goes_on`: 1 if the chunk before it is of the same section, and its last block may
 * reach into this one.
 */
struct om_chunk {
    uint64_t pfn, pages, offset, goes_on;
};

struct om_job {
    const struct om_table *table; /* om_sweep: the struct pages; om_zero: physical addresses */
    const struct om_chunk *chunks;
    uint64_t chunk_count;
    const struct om_ram *ram;
    uint64_t ram_count;
    uint8_t *kept;               /* the bitmap: set, the page is kept; sized by Python for `ram` */
    uint64_t counts[OM_CLASSES]; /* pages of each class; added to, never reset */
    uint64_t reach;              /* om_sweep: the pfn at which the last chunk's sweep ended */
    uint64_t done;               /* pages passed so far; other threads may read it */
    uint32_t cancel;             /* another thread sets it to 1 to end the call early */
    uint32_t page_shift;         /* log2 of the page size; from here on only om_zero uses them */
    uint64_t zero_least;         /* pages: a shorter run of zero pages keeps its bits */
    struct om_range *zeros;      /* the runs that lost their bits, as pfns */
    uint64_t zero_count, zero_max;
};

/* Clears the bits of the pages that the level excludes. Returns 0, -ENOMEM or -ECANCELED. */
int om_sweep(const struct om_rules *rules, struct om_job *job);

/*
 * zero.c. Counts the kept pages that are all zero; clears the bits of runs of at least zero_least
 * of them and writes these runs to job->zeros, up to zero_max. Returns 0, -ENOMEM or -ECANCELED.
 */
int om_zero(struct om_job *job);

/*
 * openfiles.c, requests.c, server.c, turn.c: threads that answer reads without Python. `device` is
 * a mounted /dev/fuse. A request that is no read of an open file is sent through `peer`, a
 * SOCK_SEQPACKET socket, to the FUSE library at its other end; its replies come back that way.
 */
struct om_server;

/* The bytes [offset, offset + size) of the file with inode number `node` could not be read. */
struct om_unreadable {
    uint64_t node, offset, size;
};
#define OM_UNREADABLE_MAX 4096

/*
 * Starts `threads` threads that answer reads, and some that take over from those whose source is
 * slow; owns both descriptors from then on, until om_server_stop closes them. `strict`: a read that
 * meets a fault fails with EIO. When it cannot start it returns NULL, sets errno, and leaves the
 * descriptors open.
 */
struct om_server *om_server_start(int device, int peer, uint32_t threads, int strict);

/* Returns the server's eventfd: readable when om_server_unreadable has news, or at its end. */
int om_server_wake(const struct om_server *server);

/* Returns 0 while it serves, 1 after an unmount, -errno when reading /dev/fuse failed. */
int om_server_ended(const struct om_server *server);

/*
 * Makes the server answer reads of the file handle `handle` from `table`, until om_server_close.
 * `node` is the inode number for om_unreadable. `backing` is a descriptor of a regular file that
 * has the same bytes, or -1: the kernel then reads that file itself, where it can (passthrough.c).
 * Returns 0, -ENOMEM, or -EEXIST for a known handle.
 */
int om_server_open(struct om_server *server, uint64_t handle, uint64_t node,
                   const struct om_table *table, int backing);

/* Forgets `handle`; returns only when no thread uses its table any more. */
void om_server_close(struct om_server *server, uint64_t handle);

/*
 * Moves the unreadable ranges met since the last call to `out` and returns how many they are; *lost
 * is set to the number of unreadable bytes in further ranges, for which there was no room.
 */
uint32_t om_server_unreadable(struct om_server *server, struct om_unreadable out[OM_UNREADABLE_MAX],
                              uint64_t *lost);

/*
 * Ends the threads, closes both descriptors and frees the server; a mount that still exists gives
 * errors then. Returns how many threads a hanging source did not release within about a second: if
 * any, nothing is freed, because they may still read their tables. They end with the process.
 */
uint32_t om_server_stop(struct om_server *server);

/* process.c. mount(2), type fuse.oldmemfs, ro,nosuid,nodev,noexec. Returns 0 or -errno. */
int om_mount(const char *source, const char *target, const char *options);

/* umount2(2) of `target` with MNT_DETACH. Returns 0 or -errno. */
int om_umount(const char *target);

/* PR_SET_DUMPABLE 0: no core dumps, no ptrace by others; returns 0, or -1 and sets errno. */
int om_hide_process(void);

#endif
