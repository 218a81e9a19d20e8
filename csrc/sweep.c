/* SPDX-License-Identifier: MIT */
/*
 * sweep.c: the sweep over struct pages that decides which pages are excluded.
 *
 * It goes as makedumpfile does, in ascending pfn: an excluded page excludes its whole block
 * [pfn, pfn + nr), and the sweep continues at pfn + nr. The struct pages inside the block are not
 * read. At the start of each section the sweep begins again at the section's first page, even if
 * a block of the section before reaches into it:
 *
 *      section n                      section n + 1
 *      |--- block, nr pages ---|--|--|-- block reaches ...|.. here, but is looked at again --|
 *
 * A page in doubt is kept. Nothing here depends on a kernel version: see struct om_rules.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "verdict.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_MIN 8u    /* struct pages in one read after large blocks were skipped */
#define CHUNK_MAX 8192u /* at most so many in one read, where nothing is skipped */
#define LARGE 256u      /* pages; reading a smaller block's struct pages costs less than a skip */

/* ---- reading the struct pages of a section ----------------------------------------------------
 */

struct reader {
    const struct om_table *table;
    uint64_t size;   /* bytes of a struct page */
    uint64_t first;  /* index in the chunk of the first struct page in buf */
    uint64_t have;   /* struct pages in buf, all readable */
    uint64_t ready;  /* how many of them can be judged: the verdict on a head needs the next one */
    uint64_t chunk;  /* struct pages that the next read asks for */
    uint64_t jumped; /* pages of large blocks that were skipped since the last read */
    uint64_t passed; /* pages of earlier chunks, for job->done */
    struct om_faults faults;
    uint8_t buf[];
};

/*
 * Reads struct pages of `chunk` from `index` on and sets `ready`. If the one at `index` cannot be
 * read, `ready` is 0, and the number of struct pages that cannot be read is returned.
 */
static uint64_t refill(struct reader *reader, const struct om_chunk *chunk, uint64_t index)
{
    reader->chunk = reader->jumped * 2 < reader->ready ? reader->chunk * 2 : CHUNK_MIN;
    if (reader->chunk > CHUNK_MAX)
        reader->chunk = CHUNK_MAX;
    reader->jumped = 0;
    uint64_t left = chunk->pages - index;
    uint64_t want = reader->chunk + 1 < left ? reader->chunk + 1 : left;
    uint64_t offset = chunk->offset + index * reader->size;
    uint64_t got =
        om_read(reader->table, offset, reader->buf, want * reader->size, &reader->faults);

    reader->first = index;
    reader->have = got / reader->size;
    uint64_t lost = left;
    int cut = reader->have == left;
    if (reader->faults.count) {
        const struct om_fault *fault = &reader->faults.at[0];
        uint64_t good = (fault->offset - offset) / reader->size;
        if (good < reader->have || reader->have == 0) {
            uint64_t end = fault->offset + fault->size - offset;
            lost = (end + reader->size - 1) / reader->size;
            reader->have = good;
            cut = 1;
        }
    }
    reader->ready = cut || reader->have < 2 ? reader->have : reader->have - 1;
    return lost < left ? lost : left;
}

/* ---- the sweep --------------------------------------------------------------------------------
 */

/* Clears the bits of [pfn, pfn + nr), starting at job->ram[at]; returns how many were set. */
static uint64_t exclude(struct om_job *job, uint64_t at, uint64_t pfn, uint64_t nr)
{
    uint64_t count = 0;
    uint64_t end = pfn + nr > pfn ? pfn + nr : UINT64_MAX;
    for (; at < job->ram_count && job->ram[at].pfn < end; at++) {
        const struct om_ram *ram = &job->ram[at];
        uint64_t low = pfn > ram->pfn ? pfn - ram->pfn : 0;
        uint64_t high = end - ram->pfn < ram->pages ? end - ram->pfn : ram->pages;
        if (low < high)
            count += om_bits_clear(job->kept, ram->bit + low, ram->bit + high);
    }
    return count;
}

static int cancelled(struct om_job *job, uint64_t done)
{
    __atomic_store_n(&job->done, done, __ATOMIC_RELAXED);
    return __atomic_load_n(&job->cancel, __ATOMIC_RELAXED) != 0;
}

/* Excluded pages of one class, contiguous: their bits are cleared together. */
struct pending {
    unsigned verdict;
    uint64_t start, end;
};

static void flush(struct om_job *job, uint64_t at, const struct pending *pending)
{
    if (pending->end > pending->start)
        job->counts[pending->verdict] +=
            exclude(job, at, pending->start, pending->end - pending->start);
}

/*
 * Sweeps the pages [pfn, stop), whose struct pages are in the reader. Returns the pfn at which the
 * sweep continues. `rules` is a copy on the caller's stack: the compiler then knows that no store
 * in this loop changes it.
 */
INLINE uint64_t sweep_ready(const struct om_rules *rules, struct om_job *job, struct reader *reader,
                            const struct om_chunk *chunk, uint64_t at, uint64_t pfn, uint64_t stop)
{
    const uint64_t size = reader->size;
    const uint8_t *page = reader->buf + (pfn - chunk->pfn - reader->first) * size;
    const uint8_t *last = reader->buf + (reader->have - 1) * size;
    struct pending pending = {KEPT, 0, 0};
    while (pfn < stop) {
        const struct like first = like(rules, page);
        uint64_t nr;
        int head = pfn % OM_BATCH != OM_BATCH - 1 && page < last;
        unsigned verdict = judge(rules, page, head ? page + size : NULL, pfn, &nr);
        if (verdict >= OM_NO_STRUCT) {
            if (verdict != KEPT)
                job->counts[verdict]++;
            do {
                pfn++;
                page += size;
            } while (pfn < stop && same(first, like(rules, page)));
            continue;
        }
        if (verdict != pending.verdict || pfn != pending.end) {
            flush(job, at, &pending);
            pending = (struct pending){.verdict = verdict, .start = pfn, .end = pfn};
        }
        pfn = pfn + nr > pfn ? pfn + nr : UINT64_MAX;
        if (nr >= LARGE)
            reader->jumped += nr;
        if (pfn < stop)
            page += nr * size;
        while (pfn < stop && same(first, like(rules, page))) {
            pfn++;
            page += size;
        }
        pending.end = pfn;
    }
    flush(job, at, &pending);
    return pfn;
}

static uint64_t sweep_usual(const struct om_rules *rules, struct om_job *job, struct reader *reader,
                            const struct om_chunk *chunk, uint64_t at, uint64_t pfn, uint64_t stop)
{
    struct om_rules own = *rules;
    own.word = 8;
    own.swap = 0;
    return sweep_ready(&own, job, reader, chunk, at, pfn, stop);
}

static uint64_t sweep_other(const struct om_rules *rules, struct om_job *job, struct reader *reader,
                            const struct om_chunk *chunk, uint64_t at, uint64_t pfn, uint64_t stop)
{
    struct om_rules own = *rules;
    return sweep_ready(&own, job, reader, chunk, at, pfn, stop);
}

/*
 * Sweeps the pages [pfn, end) of `chunk`, all in job->ram[at]. Returns the pfn at which the sweep
 * continues, or 0 when it was cancelled.
 */
static uint64_t sweep_range(const struct om_rules *rules, struct om_job *job, struct reader *reader,
                            const struct om_chunk *chunk, uint64_t at, uint64_t pfn, uint64_t end)
{
    while (pfn < end) {
        uint64_t index = pfn - chunk->pfn;
        if (index < reader->first || index - reader->first >= reader->ready) {
            if (cancelled(job, reader->passed + index))
                return 0;
            uint64_t lost = refill(reader, chunk, index);
            if (reader->ready == 0) {
                lost = lost < end - pfn ? lost : end - pfn;
                job->counts[OM_NO_STRUCT] += lost;
                pfn += lost;
                continue;
            }
        }
        uint64_t stop = chunk->pfn + reader->first + reader->ready;
        stop = stop < end ? stop : end;
        pfn = (rules->word == 8 && !rules->swap ? sweep_usual : sweep_other)(rules, job, reader,
                                                                             chunk, at, pfn, stop);
    }
    return pfn;
}

static int sweep_chunk(const struct om_rules *rules, struct om_job *job, struct reader *reader,
                       const struct om_chunk *chunk, uint64_t at)
{
    uint64_t pfn = chunk->pfn, end = chunk->pfn + chunk->pages;
    if (chunk->goes_on && pfn < job->reach)
        pfn = job->reach;
    reader->first = reader->ready = reader->jumped = 0;
    for (; at < job->ram_count && job->ram[at].pfn < end; at++) {
        const struct om_ram *ram = &job->ram[at];
        uint64_t high = ram->pfn + ram->pages < end ? ram->pfn + ram->pages : end;
        if (pfn < ram->pfn)
            pfn = ram->pfn;
        if (pfn < high && (pfn = sweep_range(rules, job, reader, chunk, at, pfn, high)) == 0)
            return -ECANCELED;
    }
    job->reach = pfn;
    reader->passed += chunk->pages;
    return cancelled(job, reader->passed) ? -ECANCELED : 0;
}

/* The index of the first range of job->ram that ends above pfn. */
static uint64_t find_ram(const struct om_job *job, uint64_t pfn)
{
    uint64_t low = 0, high = job->ram_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (job->ram[middle].pfn + job->ram[middle].pages <= pfn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int om_sweep(const struct om_rules *rules, struct om_job *job)
{
    struct reader *reader = malloc(sizeof *reader + (CHUNK_MAX + 1) * (uint64_t)rules->size);
    if (!reader)
        return -ENOMEM;
    reader->table = job->table;
    reader->size = rules->size;
    reader->chunk = CHUNK_MIN;
    reader->passed = job->done;
    int result = 0;
    for (uint64_t i = 0; i < job->chunk_count && result == 0; i++)
        result =
            sweep_chunk(rules, job, reader, &job->chunks[i], find_ram(job, job->chunks[i].pfn));
    free(reader);
    return result;
}
