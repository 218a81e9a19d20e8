/* SPDX-License-Identifier: MIT */
/* SPDX-License-Identifier: MIT */
/*
 * walk.c: many short reads of one file, as debuggers do them; the benchmark's fastest reader.
 *
 *   walk FILE SIZE STEP COUNT       COUNT reads of SIZE bytes, STEP bytes apart, from the middle on
 *   walk FILE SIZE random COUNT     the same at random places, multiples of SIZE
 *
 * Prints the bytes read. One pread(2) a read: no buffer of its own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char buffer[4096];
    if (argc != 5)
        return 2;
    int fd = open(argv[1], O_RDONLY);
    size_t size = strtoul(argv[2], NULL, 0);
    int random_places = strcmp(argv[3], "random") == 0;
    uint64_t step = strtoull(argv[3], NULL, 0), count = strtoull(argv[4], NULL, 0);
    off_t end = lseek(fd, 0, SEEK_END);
    if (fd < 0 || size == 0 || size > sizeof buffer || end < (off_t)size)
        return 1;
    uint64_t room = (uint64_t)end - size, at = room / 2, total = 0, state = 1;
    for (uint64_t i = 0; i < count; i++) {
        if (random_places) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            at = (state >> 16) % room / size * size;
        }
        ssize_t got = pread(fd, buffer, size, (off_t)at);
        if (got < 0)
            return 1;
        total += (uint64_t)got;
        at = at + step <= room ? at + step : 0;
    }
    printf("%llu\n", (unsigned long long)total);
    return 0;
}
