/*
 * pages.c: the sweep over struct pages that says which pages are left out.
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
#include "internal.h"

#include <byteswap.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 512u     /* makedumpfile's batch: its last page is never taken for a head */
#define CHUNK_MIN 64u  /* struct pages read at once after a jump */
#define CHUNK_MAX 4096u /* and when it goes straight on */

#define KEPT OM_CLASSES /* a verdict beside enum om_class: kept, and nothing to remark */

/* ---- one struct page ------------------------------------------------------------------------ */

static uint32_t load32(const struct om_rules *rules, const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return rules->swap ? bswap_32(value) : value;
}

static uint64_t load_word(const struct om_rules *rules, const uint8_t *at)
{
    if (rules->word == 4)
        return load32(rules, at);
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return rules->swap ? bswap_64(value) : value;
}

static uint64_t load_width(const struct om_rules *rules, const uint8_t *at, uint32_t width)
{
    uint16_t half;
    switch (width) {
    case 1:
        return *at;
    case 2:
        memcpy(&half, at, sizeof half);
        return rules->swap ? bswap_16(half) : half;
    case 4:
        return load32(rules, at);
    default:
        return load_word(rules, at);
    }
}

/* What a head says of its compound page, with the help of the struct page behind it. */
struct compound {
    uint64_t nr;
    int hugetlb;
};

static struct compound compound(const struct om_rules *rules, const uint8_t *next, uint64_t pfn,
                                uint32_t mapcount)
{
    struct compound found = {.nr = 1, .hugetlb = 0};
    uint64_t order = 0, flags;

    switch ((enum om_hugetlb)rules->hugetlb) {
    case OM_HUGETLB_TYPE:
        order = load_word(rules, next + rules->flags) & 0xff;
        found.hugetlb = mapcount == rules->hugetlb_type;
        break;
    case OM_HUGETLB_FLAG:
        flags = load_word(rules, next + rules->flags);
        order = flags & 0xff;
        /* A driver's compound page may carry anything there: believe it of real sizes only. */
        found.hugetlb = (flags & rules->hugetlb_bit) && order < 64 &&
                        (rules->hugetlb_orders >> order & 1) && pfn % (UINT64_C(1) << order) == 0;
        break;
    case OM_HUGETLB_DTOR:
        found.hugetlb = load_width(rules, next + rules->dtor, rules->dtor_width) == rules->dtor_value;
        /* fall through */
    case OM_HUGETLB_NONE:
        if (rules->order_width)
            order = load_width(rules, next + rules->order, rules->order_width);
        break;
    }
    if (order < rules->word * 8 && pfn % (UINT64_C(1) << order) == 0)
        found.nr = UINT64_C(1) << order;
    return found;
}

/*
 * The verdict on one page: a class that is excluded, or kept; *nr is the size of its block.
 * `next` is the struct page behind it, or NULL if this page cannot be a head.
 */
static unsigned judge(const struct om_rules *rules, const uint8_t *page, const uint8_t *next,
                      uint64_t pfn, uint64_t *nr)
{
    *nr = 1;
    if (rules->head != OM_ABSENT && (load_word(rules, page + rules->head) & 1))
        return KEPT; /* a tail: its head has decided */

    uint64_t flags = load_word(rules, page + rules->flags);
    uint32_t mapcount = rules->has || rules->hugetlb == OM_HUGETLB_TYPE
                            ? load32(rules, page + rules->mapcount)
                            : 0;
    struct compound whole = {.nr = 1, .hugetlb = 0};
    if ((flags & rules->head_bit) && next)
        whole = compound(rules, next, pfn, mapcount);

    int slab = (flags & rules->slab) ||
               ((rules->has & OM_HAS_SLAB) && mapcount == rules->slab_type);
    if ((rules->level & 16) && (rules->has & OM_HAS_BUDDY) && mapcount == rules->buddy && !slab) {
        uint64_t order = load_word(rules, page + rules->private_);
        if (order >= rules->orders)
            return OM_BAD_ORDER;
        *nr = UINT64_C(1) << order;
        return OM_FREE;
    }
    if ((rules->level & 16) && (rules->has & OM_HAS_UNACCEPTED) && mapcount == rules->unaccepted) {
        *nr = UINT64_C(1) << (rules->orders - 1);
        return OM_FREE;
    }

    *nr = whole.nr;
    int cache = (flags & rules->lru) || ((flags & rules->swapcache) &&
                                         (!rules->swapbacked || (flags & rules->swapbacked)));
    int anon = rules->mapping != OM_ABSENT && !slab &&
               (load_word(rules, page + rules->mapping) & 1);
    int private_cache = (flags & rules->private_bit) != 0;
    if (cache && !anon && ((rules->level & 4) || ((rules->level & 2) && !private_cache)))
        return private_cache ? OM_CACHE_PRIVATE : OM_CACHE;
    if ((rules->level & 8) && (anon || whole.hugetlb))
        return OM_USER;
    if (flags & rules->hwpoison)
        return OM_HWPOISON;
    if ((rules->has & OM_HAS_OFFLINE) && !slab && mapcount == rules->offline)
        return OM_OFFLINE;
    /* A type byte (6.12 and later) with more beside it: the exported value covers it no longer. */
    if ((rules->level & 16) && (rules->has & OM_HAS_BUDDY) && !(rules->buddy & 0xffffff) &&
        (mapcount ^ rules->buddy) < 0x1000000 && !slab && mapcount != rules->buddy)
        return OM_ODD_TYPE;
    return KEPT;
}

/* ---- reading the struct pages of a section ---------------------------------------------------- */

struct reader {
    const struct om_table *table;
    uint64_t size;  /* of a struct page */
    uint64_t first; /* index in the span of the first one in buf */
    uint64_t have;  /* how many are there, all readable */
    uint64_t ready; /* how many of them can be judged: the one behind a head must be there too */
    uint64_t chunk;
    uint64_t passed; /* pages of earlier sections, for who watches */
    struct om_faults faults;
    uint8_t buf[];
};

/*
 * Reads the struct pages of span from `index` on. If that one cannot be read, nothing is ready and
 * the number of those that are lost with it is returned.
 */
static uint64_t refill(struct reader *reader, const struct om_span *span, uint64_t index)
{
    int straight = index - (reader->first + reader->ready) < CHUNK_MIN;
    reader->chunk = straight ? reader->chunk * 2 : CHUNK_MIN;
    if (reader->chunk > CHUNK_MAX)
        reader->chunk = CHUNK_MAX;
    uint64_t left = span->pages - index;
    uint64_t want = reader->chunk + 1 < left ? reader->chunk + 1 : left;
    uint64_t offset = span->offset + index * reader->size;
    uint64_t got = om_read(reader->table, offset, reader->buf, want * reader->size,
                           &reader->faults);

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

/* ---- the sweep -------------------------------------------------------------------------------- */

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

/* The pages [pfn, end) of span, all in the range `at`. Returns where the sweep goes on, or 0. */
static uint64_t sweep_range(const struct om_rules *rules, struct om_job *job,
                            struct reader *reader, const struct om_span *span, uint64_t at,
                            uint64_t pfn, uint64_t end)
{
    while (pfn < end) {
        uint64_t index = pfn - span->pfn;
        if (index < reader->first || index - reader->first >= reader->ready) {
            if (cancelled(job, reader->passed + index))
                return 0;
            uint64_t lost = refill(reader, span, index);
            if (reader->ready == 0) {
                lost = lost < end - pfn ? lost : end - pfn;
                job->counts[OM_NO_STRUCT] += lost;
                pfn += lost;
                continue;
            }
        }
        uint64_t stop = span->pfn + reader->first + reader->ready;
        stop = stop < end ? stop : end;
        while (pfn < stop) {
            uint64_t behind = pfn - span->pfn - reader->first;
            const uint8_t *page = reader->buf + behind * reader->size;
            int head = pfn % BATCH != BATCH - 1 && behind + 1 < reader->have;
            uint64_t nr;
            unsigned verdict = judge(rules, page, head ? page + reader->size : NULL, pfn, &nr);
            if (verdict >= OM_NO_STRUCT) {
                if (verdict != KEPT)
                    job->counts[verdict]++;
                pfn++;
                continue;
            }
            job->counts[verdict] += exclude(job, at, pfn, nr);
            pfn = pfn + nr > pfn ? pfn + nr : UINT64_MAX;
        }
    }
    return pfn;
}

static int sweep_span(const struct om_rules *rules, struct om_job *job, struct reader *reader,
                      const struct om_span *span, uint64_t at)
{
    uint64_t pfn = span->pfn, end = span->pfn + span->pages;
    reader->first = reader->ready = 0;
    for (; at < job->ram_count && job->ram[at].pfn < end; at++) {
        const struct om_ram *ram = &job->ram[at];
        uint64_t high = ram->pfn + ram->pages < end ? ram->pfn + ram->pages : end;
        if (pfn < ram->pfn)
            pfn = ram->pfn;
        if (pfn < high && (pfn = sweep_range(rules, job, reader, span, at, pfn, high)) == 0)
            return -ECANCELED;
    }
    reader->passed += span->pages;
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
    for (uint64_t i = 0; i < job->span_count && result == 0; i++)
        result = sweep_span(rules, job, reader, &job->spans[i],
                            find_ram(job, job->spans[i].pfn));
    free(reader);
    return result;
}
