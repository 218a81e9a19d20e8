/* SPDX-License-Identifier: MIT */
/*
 * verdict.h: the class of one page, from its struct page and the next one.
 *
 * The order of the tests is makedumpfile's, so that both exclude the same pages.
 */
#ifndef OLDMEM_VERDICT_H
#define OLDMEM_VERDICT_H

#include "internal.h"

#include <byteswap.h>
#include <string.h>

#define KEPT OM_CLASSES /* a verdict besides those of enum om_class: kept, nothing to report */

/*
 * Always inlined, because sweep.c compiles this code twice: for 64-bit kernels of this machine's
 * byte order, where `word` and `swap` are constants, and for all others.
 */
#define INLINE static inline __attribute__((always_inline))

INLINE uint32_t load32(const struct om_rules *rules, const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return rules->swap ? bswap_32(value) : value;
}

INLINE uint64_t load_word(const struct om_rules *rules, const uint8_t *at)
{
    if (rules->word == 4)
        return load32(rules, at);
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return rules->swap ? bswap_64(value) : value;
}

INLINE uint64_t load_width(const struct om_rules *rules, const uint8_t *at, uint32_t width)
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

/* Whether _mapcount is a count of mappings (which starts at -1) and not a page type. */
INLINE int is_count(const struct om_rules *rules, uint32_t mapcount)
{
    return mapcount + 1 <= rules->least_type;
}

/* The size of a compound page and whether it is hugetlb's: from the head and the second page. */
struct compound {
    uint64_t nr;
    int hugetlb;
};

INLINE struct compound compound(const struct om_rules *rules, const uint8_t *next, uint64_t pfn,
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
        /*
         * 6.6 to 6.8: a compound page of a driver can have any value in these flags (makedumpfile's
         * issue 21; d99e3140a4d3 repaired the kernel). So the bit counts only for orders that huge
         * pages have.
         */
        found.hugetlb = (flags & rules->hugetlb_bit) && order < 64 &&
                        (rules->hugetlb_orders >> order & 1) && pfn % (UINT64_C(1) << order) == 0;
        break;
    case OM_HUGETLB_DTOR:
        found.hugetlb =
            load_width(rules, next + rules->dtor, rules->dtor_width) == rules->dtor_value;
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
 * Returns the class of one page, or KEPT; *nr is the number of pages in its block. `next` is the
 * next struct page, or NULL if this page cannot be the head of a compound page.
 */
INLINE unsigned judge(const struct om_rules *rules, const uint8_t *page, const uint8_t *next,
                      uint64_t pfn, uint64_t *nr)
{
    *nr = 1;
    if (load_word(rules, page + rules->head) & rules->tail_bit)
        return KEPT; /* a tail page: the verdict on its head covers it */

    uint64_t flags = load_word(rules, page + rules->flags);
    uint32_t mapcount = load32(rules, page + rules->mapcount);
    uint32_t has = is_count(rules, mapcount) ? 0 : rules->has;
    int slab = (flags & rules->slab) || ((has & OM_HAS_SLAB) && mapcount == rules->slab_type);
    struct compound whole = {.nr = 1, .hugetlb = 0};
    if ((flags & rules->head_bit) && next)
        whole = compound(rules, next, pfn, mapcount);

    if (has && (rules->level & 16)) {
        if ((has & OM_HAS_BUDDY) && mapcount == rules->buddy && !slab) {
            uint64_t order = load_word(rules, page + rules->private_);
            if (order >= rules->orders)
                return OM_BAD_ORDER;
            *nr = UINT64_C(1) << order;
            return OM_FREE;
        }
        if ((has & OM_HAS_UNACCEPTED) && mapcount == rules->unaccepted) {
            *nr = UINT64_C(1) << (rules->orders - 1);
            return OM_FREE;
        }
    }

    *nr = whole.nr;
    int cache = (flags & rules->lru) ||
                ((flags & rules->swapcache) && (!rules->swapbacked || (flags & rules->swapbacked)));
    int anon = !slab && (load_word(rules, page + rules->mapping) & rules->anon_bit);
    int private_cache = (flags & rules->private_bit) != 0;
    if (cache && !anon && ((rules->level & 4) || ((rules->level & 2) && !private_cache)))
        return private_cache ? OM_CACHE_PRIVATE : OM_CACHE;
    if ((rules->level & 8) && (anon || whole.hugetlb))
        return OM_USER;
    if (flags & rules->hwpoison)
        return OM_HWPOISON;
    if ((has & OM_HAS_OFFLINE) && !slab && mapcount == rules->offline)
        return OM_OFFLINE;
    /*
     * Since 6.12 (4ffca5a96678) the type is the top byte and the 24 bits below it are zero. If a
     * kernel uses them one day, the exported value no longer matches: keep the page and report it.
     */
    if ((rules->level & 16) && (has & OM_HAS_BUDDY) && !(rules->buddy & 0xffffff) &&
        (mapcount ^ rules->buddy) < 0x1000000 && !slab && mapcount != rules->buddy)
        return OM_ODD_TYPE;
    return KEPT;
}

/* ---- pages with the same verdict --------------------------------------------------------------
 */

/*
 * All that judge() looks at for a plain page: one that has no page type and is no head. Of plain
 * pages in a row with equal values only the first one is judged.
 */
struct like {
    uint64_t tail, flags, anon;
    int plain;
};

INLINE struct like like(const struct om_rules *rules, const uint8_t *page)
{
    const uint64_t used = rules->lru | rules->private_bit | rules->swapcache | rules->swapbacked |
                          rules->slab | rules->hwpoison;
    uint64_t flags = load_word(rules, page + rules->flags);
    return (struct like){
        .tail = load_word(rules, page + rules->head) & rules->tail_bit,
        .flags = flags & used,
        .anon = load_word(rules, page + rules->mapping) & rules->anon_bit,
        .plain =
            !(flags & rules->head_bit) && is_count(rules, load32(rules, page + rules->mapcount)),
    };
}

INLINE int same(struct like a, struct like b)
{
    return a.plain && b.plain && !((a.tail ^ b.tail) | (a.flags ^ b.flags) | (a.anon ^ b.anon));
}

#endif
