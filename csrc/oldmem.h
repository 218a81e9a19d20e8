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

/*
 * opened.c, requests.c, serve.c: reads answered without Python. `device` is /dev/fuse, mounted;
 * requests that are no reads of an open file go through `peer`, a SOCK_SEQPACKET socket, to whoever
 * holds its other end; that one's replies come back. Both descriptors are closed by om_serve_stop.
 */
struct om_serve;

/* [offset, offset + size) of the file `node` could not be read. */
struct om_met {
    uint64_t node, offset, size;
};
#define OM_MET_MAX 4096

/* Starts the threads. NULL and errno when it cannot, the descriptors as they were. */
struct om_serve *om_serve_start(int device, int peer, uint32_t threads, int strict);

/* An eventfd: readable when there are faults worth a word, or when it has ended. */
int om_serve_wake(const struct om_serve *serve);

/* 0: serving; 1: unmounted; -errno: /dev/fuse failed. */
int om_serve_ended(const struct om_serve *serve);

/* From now on, until om_serve_close, reads of `handle` are reads of `table`. 0 or -errno. */
int om_serve_open(struct om_serve *serve, uint64_t handle, uint64_t node,
                  const struct om_table *table);

/* Returns when no thread looks at the table any more. */
void om_serve_close(struct om_serve *serve, uint64_t handle);

/* Moves what was met since the last call into out: its count; *lost bytes found no room. */
uint32_t om_serve_met(struct om_serve *serve, struct om_met out[OM_MET_MAX], uint64_t *lost);

/* Ends the threads, whatever they wait for, and closes: a mount that is left is dead then. */
void om_serve_stop(struct om_serve *serve);

/* mount(2) of a fuse.oldmemfs, ro,nosuid,nodev,noexec; umount2(2), lazily. 0 or -errno. */
int om_mount(const char *source, const char *target, const char *options);
int om_umount(const char *target);

/* Keeps this process out of core dumps and ptrace: it holds another kernel's secrets. */
int om_hide_process(void);

#endif
