/* SPDX-License-Identifier: MIT */
/*
 * zero.c: finds the kept pages that hold only zeros; reads each kept page once.
 *
 * A reader of the dump must be able to tell a zero page from an excluded one. So only long runs of
 * zero pages lose their bits, and each is listed in job->zeros: the file gets a program header with
 * p_filesz 0 for it. Shorter runs stay in the file, as zeros.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (256u * 1024u) /* bytes in one read */

/* `size` is a multiple of 64. Most pages that are not zero differ in their first 64 bytes. */
static int is_zero(const uint8_t *at, uint64_t size)
{
    for (uint64_t i = 0; i < size; i += 64) {
        uint64_t words[8];
        memcpy(words, at + i, sizeof words);
        if (words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7])
            return 0;
    }
    return 1;
}

/* A run of zero pages in one range of memory; the next page may extend it. */
struct zeros {
    uint64_t page; /* index of its first page in the range */
    uint64_t pages;
};

/* Ends the run: counts its pages, and clears their bits if it is long enough. */
static void end_run(struct om_job *job, const struct om_ram *ram, struct zeros *run)
{
    job->counts[OM_ZEROED] += run->pages;
    if (run->pages >= job->zero_least && job->zero_count < job->zero_max) {
        uint64_t start = ram->pfn + run->page, bit = ram->bit + run->page;
        job->zeros[job->zero_count++] =
            (struct om_range){.start = start, .end = start + run->pages};
        om_bits_clear(job->kept, bit, bit + run->pages);
    }
    run->pages = 0;
}

/*
 * Reads up to `pages` pages of `ram`, all kept, from index `page` on; returns how many it is done
 * with. A page that cannot be read is not known to be zero: it keeps its bit and ends the run.
 */
static uint64_t look(struct om_job *job, const struct om_ram *ram, uint64_t page, uint64_t pages,
                     struct zeros *run, uint8_t *buf, struct om_faults *faults)
{
    uint64_t shift = job->page_shift, offset = (ram->pfn + page) << shift;
    uint64_t got = om_read(job->table, offset, buf, pages << shift, faults) >> shift;
    uint64_t lost = 0;
    if (got == 0 && faults->count == 0) /* beyond the end of the table */
        lost = pages;
    if (faults->count) {
        uint64_t first = (faults->at[0].offset - offset) >> shift;
        uint64_t last = (faults->at[0].offset + faults->at[0].size - 1 - offset) >> shift;
        if (first < got || got == 0) {
            got = first;
            lost = last + 1 - first;
        }
    }
    for (uint64_t i = 0; i < got; i++) {
        if (!is_zero(buf + (i << shift), UINT64_C(1) << shift))
            end_run(job, ram, run);
        else if (run->pages++ == 0)
            run->page = page + i;
    }
    if (lost)
        end_run(job, ram, run);
    job->counts[OM_NO_BYTES] += lost;
    return got + lost;
}

/* Searches one range of pages that have bits. */
static int zero_range(struct om_job *job, const struct om_ram *ram, uint8_t *buf,
                      struct om_faults *faults)
{
    uint64_t most = CHUNK >> job->page_shift;
    uint64_t page = 0;
    struct zeros run = {0, 0};
    while (page < ram->pages) {
        uint64_t bit = ram->bit + page;
        uint64_t same = om_bits_same(job->kept, bit, ram->bit + ram->pages);
        if (!(job->kept[bit / 8] >> bit % 8 & 1)) {
            end_run(job, ram, &run);
            page += same;
            __atomic_store_n(&job->done, job->done + same, __ATOMIC_RELAXED);
            continue;
        }
        same = look(job, ram, page, same < most ? same : most, &run, buf, faults);
        page += same;
        __atomic_store_n(&job->done, job->done + same, __ATOMIC_RELAXED);
        if (__atomic_load_n(&job->cancel, __ATOMIC_RELAXED))
            return -ECANCELED;
    }
    end_run(job, ram, &run);
    return 0;
}

int om_zero(struct om_job *job)
{
    struct om_faults *faults = malloc(sizeof *faults);
    uint8_t *buf = malloc(CHUNK);
    int result = faults && buf ? 0 : -ENOMEM;
    for (uint64_t i = 0; i < job->ram_count && result == 0; i++)
        result = zero_range(job, &job->ram[i], buf, faults);
    free(buf);
    free(faults);
    return result;
}
