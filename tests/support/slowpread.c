/* SPDX-License-Identifier: MIT */
/*
 * slowpread.c: a source that hangs, for tests; preloaded into the daemon.
 *
 * While the file SLOW_GATE exists, a pread of [SLOW_START, SLOW_END) of the file SLOW_FILE waits;
 * the file SLOW_MET is created when one waits. A signal interrupts the wait, unless SLOW_DEAF is
 * set (as a read of a dead NFS server is not interrupted). SEEK_DATA finds no data in the file, so
 * that no part of it is mapped instead of read.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct stat slow;
static uint64_t first, end;
static const char *gate, *met;
static int deaf;
typedef ssize_t pread_function(int, void *, size_t, off_t);
typedef ssize_t preadv2_function(int, const struct iovec *, int, off_t, int);
typedef off_t lseek_function(int, off_t, int);
static pread_function *real_pread;
static preadv2_function *real_preadv2;
static lseek_function *real_lseek;

__attribute__((constructor)) static void start(void)
{
    real_pread = (pread_function *)dlsym(RTLD_NEXT, "pread64");
    real_preadv2 = (preadv2_function *)dlsym(RTLD_NEXT, "preadv64v2");
    real_lseek = (lseek_function *)dlsym(RTLD_NEXT, "lseek64");
    if (stat(getenv("SLOW_FILE"), &slow) < 0)
        abort();
    first = strtoull(getenv("SLOW_START"), NULL, 0);
    end = strtoull(getenv("SLOW_END"), NULL, 0);
    gate = getenv("SLOW_GATE");
    met = getenv("SLOW_MET");
    deaf = getenv("SLOW_DEAF") != NULL;
}

static int is_slow(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && found.st_dev == slow.st_dev && found.st_ino == slow.st_ino;
}

ssize_t pread(int fd, void *buf, size_t size, off_t at)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    while ((uint64_t)at < end && (uint64_t)at + size > first && is_slow(fd) &&
           access(gate, F_OK) == 0) {
        close(open(met, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        if (nanosleep(&moment, NULL) < 0 && !deaf) {
            errno = EINTR;
            return -1;
        }
    }
    return real_pread(fd, buf, size, at);
}

ssize_t pread64(int fd, void *buf, size_t size, off_t at)
{
    return pread(fd, buf, size, at);
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    if ((uint64_t)at < end && (uint64_t)at + parts[0].iov_len > first && is_slow(fd) &&
        access(gate, F_OK) == 0) {
        errno = EAGAIN; /* RWF_NOWAIT is what is asked for */
        return -1;
    }
    return real_preadv2(fd, parts, count, at, flags);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    return preadv2(fd, parts, count, at, flags);
}

off_t lseek(int fd, off_t at, int whence)
{
    if (whence == SEEK_DATA && is_slow(fd)) {
        errno = ENXIO;
        return -1;
    }
    return real_lseek(fd, at, whence);
}

off_t lseek64(int fd, off_t at, int whence)
{
    return lseek(fd, at, whence);
}
