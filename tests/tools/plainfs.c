/* SPDX-License-Identifier: MIT */
/*
 * plainfs.c: the peer that the benchmark measures against: a libfuse file system in C of a few
 * dozen lines that serves one file, the bytes of another one, by pread.
 *
 *   plainfs FILE MOUNTPOINT [-o direct_io]      the file appears as MOUNTPOINT/vmcore
 */
#define FUSE_USE_VERSION 35
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fd;
static off_t size;
static int direct;

static int plain_getattr(const char *path, struct stat *st, struct fuse_file_info *info)
{
    (void)info;
    memset(st, 0, sizeof *st);
    if (strcmp(path, "/") == 0) {
        st->st_mode = S_IFDIR | 0500;
        st->st_nlink = 2;
    } else if (strcmp(path, "/vmcore") == 0) {
        st->st_mode = S_IFREG | 0400;
        st->st_nlink = 1;
        st->st_size = size;
        st->st_blksize = 1 << 20;
        st->st_blocks = (size + 511) / 512; /* or cp looks for zeros, and does not write them */
    } else {
        return -ENOENT;
    }
    return 0;
}

static int plain_open(const char *path, struct fuse_file_info *info)
{
    if (strcmp(path, "/vmcore") != 0)
        return -ENOENT;
    info->direct_io = direct != 0;
    info->keep_cache = !direct;
    return 0;
}

static int plain_read(const char *path, char *buf, size_t count, off_t offset,
                      struct fuse_file_info *info)
{
    (void)path;
    (void)info;
    ssize_t got = pread(fd, buf, count, offset);
    return got < 0 ? -errno : (int)got;
}

static const struct fuse_operations operations = {
    .getattr = plain_getattr,
    .open = plain_open,
    .read = plain_read,
};

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    fd = open(argv[1], O_RDONLY);
    if (fd < 0)
        return 1;
    size = lseek(fd, 0, SEEK_END);
    direct = argc > 3;
    char *arguments[] = {argv[0], argv[2], "-f", "-s", NULL};
    return fuse_main(4, arguments, &operations, NULL);
}
