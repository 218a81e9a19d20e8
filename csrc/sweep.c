/*
 * sweep.c: the sweep over struct pages that says which pages are left out.
 *
 * makedumpfile's way, one page after the other: a page that is excluded takes its whole block
 * [pfn, pfn + nr) with it, and the sweep goes on behind the block. What lies inside is not looked
 * at, so its struct pages are not read either. At the start of a section the sweep forgets how
 * far a block reached:
 *
 *      section n                      section n + 1
 *      |--- block, nr pages ---|--|--|-- block reaches ...|.. here, but is looked at again --|
 *
 * Whatever is in doubt is kept. No version of any kernel is known here.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "verdict.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_MIN 8u    /* struct pages read at once after a jump */
#define CHUNK_MAX 8192u /* and when it goes straight on */
#define LARGE 256u      /* pages in a block that is worth a jump: reading on costs less */

/* ---- reading the struct pages of a section ----------------------------------------------------
 */

struct reader {
    const struct om_table *table;
    uint64_t size;  /* of a struct page */
    uint64_t first; /* index in the chunk of the first one in buf */
    uint64_t have;  /* how many are there, all readable */
    uint64_t ready; /* how many of them can be judged: the one behind a head must be there too */
    uint64_t chunk;
    uint64_t jumped; /* pages of large blocks that need not be there, since the last read */
    uint64_t passed; /* pages of earlier sections, for who watches */
    struct om_faults faults;
    uint8_t buf[];
};

/*
 * Reads the struct pages of chunk from `index` on. If that one cannot be read, nothing is ready and
 * the number of those that are lost with it is returned.
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

/* Clears [pfn, pfn + nr) where it has bits, from the range `at` on. */
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

/* Excluded pages of one class, one behind the other: their bits are cleared at once. */
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
 * The pages [pfn, stop), whose struct pages are in the reader. Returns where the sweep goes on.
 * `rules` is the caller's own copy, so that no store here can change it.
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

/* The pages [pfn, end) of chunk, all in the range `at`. Returns where the sweep goes on, or 0. */
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

/* The first range that ends behind pfn. */
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
