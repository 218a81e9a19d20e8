/* SPDX-License-Identifier: MIT */
/*
 * bitmap.c: bitmaps of pages, 64 bits at a time.
 *
 * Bit n is bit n % 8 of byte n / 8 on every machine, so words are loaded as little endian.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <endian.h>
#include <string.h>

/*
 * Returns the bits [at, at + n) as the low bits of a word; 1 <= n <= 64 - at % 8. Reads only the
 * bytes that hold these bits, so it never reads beyond the bitmap.
 */
static uint64_t load(const uint8_t *bits, uint64_t at, uint64_t n)
{
    uint64_t word = 0;
    memcpy(&word, bits + at / 8, (at % 8 + n + 7) / 8);
    word = le64toh(word) >> at % 8;
    return n < 64 ? word & ((UINT64_C(1) << n) - 1) : word;
}

/* How many bits the next load can take: up to `to`, and no more than fit into a word. */
static uint64_t step(uint64_t at, uint64_t to)
{
    uint64_t n = 64 - at % 8;
    return n < to - at ? n : to - at;
}

uint64_t om_bits_same(const uint8_t *bits, uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    uint64_t flip = bits[from / 8] >> from % 8 & 1 ? UINT64_MAX : 0;
    for (uint64_t at = from; at < to;) {
        uint64_t n = step(at, to);
        uint64_t differ = load(bits, at, n) ^ flip;
        if (n < 64)
            differ &= (UINT64_C(1) << n) - 1;
        if (differ)
            return at - from + (uint64_t)__builtin_ctzll(differ);
        at += n;
    }
    return to - from;
}

uint64_t om_bits_count(const uint8_t *bits, uint64_t from, uint64_t to)
{
    uint64_t count = 0;
    for (uint64_t at = from; at < to;) {
        uint64_t n = step(at, to);
        count += (uint64_t)__builtin_popcountll(load(bits, at, n));
        at += n;
    }
    return count;
}

/* Clears the bits of one byte that are set in `which`; returns how many were set. */
static uint64_t clear_some(uint8_t *byte, unsigned which)
{
    unsigned set = *byte & which;
    *byte = (uint8_t)(*byte & ~which);
    return (uint64_t)__builtin_popcount(set);
}

uint64_t om_bits_clear(uint8_t *bits, uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    uint64_t first = from / 8, last = (to - 1) / 8;
    unsigned head = 0xffu << from % 8 & 0xffu, tail = 0xffu >> (7 - (to - 1) % 8);
    if (first == last)
        return clear_some(&bits[first], head & tail);
    uint64_t count = clear_some(&bits[first], head) + clear_some(&bits[last], tail);
    count += om_bits_count(bits, (first + 1) * 8, last * 8);
    memset(bits + first + 1, 0, last - first - 1);
    return count;
}

uint64_t om_bits_runs(const uint8_t *bits, uint64_t from, uint64_t to, uint64_t gap,
                      struct om_range *out, uint64_t max)
{
    uint64_t count = 0;
    struct om_range run = {0, 0};
    for (uint64_t at = from; at < to;) {
        uint64_t n = om_bits_same(bits, at, to);
        if (bits[at / 8] >> at % 8 & 1) {
            if (count > 0 && at - run.end < gap) {
                run.end = at + n;
            } else {
                count++;
                run = (struct om_range){.start = at, .end = at + n};
            }
            if (count <= max)
                out[count - 1] = run;
        }
        at += n;
    }
    return count;
}
