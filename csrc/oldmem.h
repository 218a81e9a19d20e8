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

struct om_row {
    uint64_t start; /* first offset in the table's space */
    uint64_t size;  /* bytes */
    uint64_t at;
    uint64_t lo, hi; /* OM_WINDOW: the part of fd that may be mapped, page aligned */
    uint64_t mask;   /* where the run starts in the mask's space; OM_UNMASKED: all of it is given */
    int32_t fd;
    uint32_t kind;
};
static_assert(sizeof(struct om_row) == 56, "Python packs this struct");
#define OM_UNMASKED UINT64_MAX

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
    const struct om_row *rows;
    uint64_t count;
    struct om_windows *windows; /* NULL: the table has no OM_WINDOW run */
    const uint8_t *mask;        /* a bit a page: clear means zeros, and the page is never touched */
    uint32_t mask_shift;        /* log2 of that page's size */
};

/*
 * window.c. `count` windows: of `least` bytes for a read somewhere, more for one that goes on, up
 * to `size`; both are powers of two. `words`: copy with aligned 64-bit loads only (arm64 maps old
 * memory as Device memory).
 */
struct om_windows *om_windows_new(uint64_t size, uint64_t least, uint32_t count, int words);
void om_windows_free(struct om_windows *windows);

/*
 * table.c. Copies [offset, offset + size) of the table into buf. Returns the bytes copied: fewer
 * than size only at the end of the table or when `faults` is full; call again for the rest.
 * What cannot be read is zeros in buf and a range in `faults`, never an error. Thread safe.
 */
uint64_t om_read(const struct om_table *table, uint64_t offset, void *buf, uint64_t size,
                 struct om_faults *faults);

/*
 * seek.c. The first offset from `offset` on that has data, or a hole, as lseek(2) has it: the end
 * of the table is a hole, too. OM_NOWHERE behind the end, and where no data follows.
 */
#define OM_HOLE_LEAST (UINT64_C(64) << 10) /* shorter stretches of zeros count as data */
#define OM_NOWHERE UINT64_MAX
uint64_t om_seek(const struct om_table *table, uint64_t offset, int hole);

/* Bytes of the table outside its holes. */
uint64_t om_data_size(const struct om_table *table);

/*
 * As om_read, but OM_WOULD_WAIT, and nothing done, where a file would have to be waited for. What
 * is mapped (/dev/mem, an image on tmpfs) is memory and is read at once.
 */
#define OM_WOULD_WAIT UINT64_MAX
uint64_t om_read_now(const struct om_table *table, uint64_t offset, void *buf, uint64_t size,
                     struct om_faults *faults);

/* Prepares a read that may come, so that it need not wait for a window. */
void om_read_ahead(const struct om_table *table, uint64_t offset, uint64_t size);

/*
 * bitmap.c: bitmaps, least significant bit of each byte first, all of [from, to) inside the bitmap.
 * How many bits from `from` on are like it; clears bits, counting those that were set; counts.
 */
uint64_t om_bits_same(const uint8_t *bits, uint64_t from, uint64_t to);
uint64_t om_bits_clear(uint8_t *bits, uint64_t from, uint64_t to);
uint64_t om_bits_count(const uint8_t *bits, uint64_t from, uint64_t to);

/* Runs of set bits, joined over gaps of less than `gap` bits: counted, the first `max` written. */
struct om_range {
    uint64_t start, end;
};
uint64_t om_bits_runs(const uint8_t *bits, uint64_t from, uint64_t to, uint64_t gap,
                      struct om_range *out, uint64_t max);

/*
 * sweep.c: which pages of a kernel are kept, from its struct pages. Every number here was found
 * by Python in the dead kernel's VMCOREINFO; a mask of 0, a width of 0 or a missing OM_HAS_ bit
 * turns off the rule that needs it, and every offset is inside the struct page all the same.
 */

enum om_hugetlb {
    OM_HUGETLB_NONE,
    OM_HUGETLB_TYPE, /* the head's page type says so */
    OM_HUGETLB_FLAG, /* a bit of the second page's flags, on orders that huge pages can have */
    OM_HUGETLB_DTOR, /* the second page names the destructor */
};

enum om_has { OM_HAS_BUDDY = 1, OM_HAS_UNACCEPTED = 2, OM_HAS_OFFLINE = 4, OM_HAS_SLAB = 8 };

struct om_rules {
    uint32_t level; /* makedumpfile's: 2 cache, 4 private cache too, 8 user, 16 free */
    uint32_t size;  /* of a struct page */
    uint32_t word;  /* 4 or 8 */
    uint32_t swap;  /* the kernel's byte order is not this machine's */
    uint32_t flags, mapping, mapcount, private_, head; /* offsets in a struct page */
    uint32_t order, order_width, dtor, dtor_width;     /* in the second page; width 0: absent */
    uint32_t hugetlb;
    uint32_t orders; /* how many orders free blocks come in */
    uint32_t has;
    uint32_t buddy, unaccepted, offline, slab_type, hugetlb_type; /* values of _mapcount */
    uint32_t least_type;         /* a _mapcount below, unsigned, is none of them, nor is -1 */
    uint64_t tail_bit, anon_bit; /* in the words at `head` and at `mapping` */
    uint64_t lru, private_bit, swapcache, swapbacked, slab, head_bit, hwpoison, hugetlb_bit;
    uint64_t dtor_value;
    uint64_t hugetlb_orders; /* OM_HUGETLB_FLAG: bit n is set if order n is a huge page's */
};

enum om_class {
    OM_ZEROED, /* kept, and all zero: om_zero's */
    OM_CACHE,
    OM_CACHE_PRIVATE,
    OM_USER,
    OM_FREE,
    OM_HWPOISON,
    OM_OFFLINE,
    OM_NO_STRUCT, /* kept: the struct page cannot be read */
    OM_BAD_ORDER, /* kept: a free block of an order that there is not */
    OM_ODD_TYPE,  /* kept: the type byte of a free block, with more bits beside it */
    OM_NO_BYTES,  /* kept: the page itself cannot be read, so nobody knows whether it is zero */
    OM_CLASSES
};

/* Pages that have a bit: [pfn, pfn + pages), from bit `bit` on. Sorted and disjoint. */
struct om_ram {
    uint64_t pfn, pages, bit;
};

/* A head is never the last page of so many: a section may be cut where a multiple of it begins. */
#define OM_BATCH 512

/*
 * A section, or a piece of one: the struct page of `pfn` is at `offset` of the table, the others
 * follow it. `goes_on`: it belongs to the section of the piece before, whose last block may reach
 * into it.
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
    uint8_t *kept;
    uint64_t counts[OM_CLASSES]; /* pages: added to */
    uint64_t reach;              /* om_sweep's own: where the last span's sweep ended */
    uint64_t done;               /* pages looked at or jumped over: watched from other threads */
    uint32_t cancel;             /* set by another thread: stop soon */
    uint32_t page_shift;         /* om_zero, as the rest */
    uint64_t zero_least;         /* pages in a run of zeros that is worth to be left out */
    struct om_range *zeros;      /* such runs, as pfns */
    uint64_t zero_count, zero_max;
};

/* Clears the bits of what the level excludes. Returns 0, -ENOMEM, or -ECANCELED. */
int om_sweep(const struct om_rules *rules, struct om_job *job);

/*
 * zero.c. Counts the pages that are all zero; clears the bits of long runs of them and notes those
 * in `zeros`, as long as there is room. Returns as om_sweep.
 */
int om_zero(struct om_job *job);

/*
 * openfiles.c, requests.c, server.c, turn.c: reads answered without Python. `device` is /dev/fuse,
 * mounted; requests that are no reads of an open file go through `peer`, a SOCK_SEQPACKET socket,
 * to whoever holds its other end; that one's replies come back. Both descriptors are closed by
 * om_server_stop.
 */
struct om_server;

/* [offset, offset + size) of the file `node` could not be read. */
struct om_unreadable {
    uint64_t node, offset, size;
};
#define OM_UNREADABLE_MAX 4096

/* Starts `threads` threads for reads and one that watches them. NULL and errno when it cannot, the
 * descriptors as they were. */
struct om_server *om_server_start(int device, int peer, uint32_t threads, int strict);

/* An eventfd: readable when there are faults worth a word, or when it has ended. */
int om_server_wake(const struct om_server *server);

/* 0: serving; 1: unmounted; -errno: /dev/fuse failed. */
int om_server_ended(const struct om_server *server);

/* From now on, until om_server_close, reads of `handle` are reads of `table`. 0 or -errno. */
int om_server_open(struct om_server *server, uint64_t handle, uint64_t node,
                   const struct om_table *table);

/* Returns when no thread looks at the table any more. */
void om_server_close(struct om_server *server, uint64_t handle);

/* Moves what was met since the last call into out: its count; *lost bytes found no room. */
uint32_t om_server_unreadable(struct om_server *server, struct om_unreadable out[OM_UNREADABLE_MAX],
                              uint64_t *lost);

/*
 * Ends the threads, whatever they wait for, and closes: a mount that is left is dead then. Returns
 * how many threads a source did not let go within a second or so: they may still read tables, and
 * end with the process.
 */
uint32_t om_server_stop(struct om_server *server);

/* mount(2) of a fuse.oldmemfs, ro,nosuid,nodev,noexec; umount2(2), lazily. 0 or -errno. */
int om_mount(const char *source, const char *target, const char *options);
int om_umount(const char *target);

/* Keeps this process out of core dumps and ptrace: it holds another kernel's secrets. */
int om_hide_process(void);

#endif
