/* In: points and times. Out: the same, to be looked up. */
#include "records.h"

#include <stdlib.h>

#define FIRST_CAPACITY 256
#define MAX_CAPACITY (UINT32_C(1) << 30)

/* FNV-1a (Fowler, Noll and Vo) over whole values; the high half is the better mixed one. */
static size_t hash(const struct space *space, const struct point *point) {
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < space->count; ++i)
        sum = (sum ^ (uint32_t)point->value[i]) * UINT64_C(0x100000001b3);
    return (size_t)(sum >> 32 ^ sum);
}

/* The point's slot, or the free one where it would be. */
static uint32_t *find_slot(const struct records *r, const struct point *point) {
    const size_t mask = 2 * r->capacity - 1;
    size_t at = hash(r->space, point) & mask;
    while (r->slots[at] && !space_points_equal(r->space, &r->list[r->slots[at] - 1].point, point))
        at = (at + 1) & mask;
    return &r->slots[at];
}

struct record *records_find(const struct records *r, const struct point *point) {
    const uint32_t number = r->capacity ? *find_slot(r, point) : 0;
    return number ? &r->list[number - 1] : NULL;
}

static bool grow(struct records *r) {
    const size_t capacity = r->capacity ? 2 * r->capacity : FIRST_CAPACITY;
    struct record *list =
        capacity <= MAX_CAPACITY ? realloc(r->list, capacity * sizeof(*list)) : NULL;
    if (!list)
        return false;
    r->list = list;
    uint32_t *slots = calloc(2 * capacity, sizeof(*slots));
    if (!slots)
        return false;
    free(r->slots);
    r->slots = slots;
    r->capacity = capacity;
    for (size_t i = 0; i < r->count; ++i)
        *find_slot(r, &r->list[i].point) = (uint32_t)i + 1;
    return true;
}

bool records_add(struct records *r, const struct record *record) {
    if (r->count == r->capacity && !grow(r))
        return false;
    *find_slot(r, &record->point) = (uint32_t)r->count + 1;
    r->list[r->count++] = *record;
    return true;
}

void records_release(struct records *r) {
    free(r->list);
    free(r->slots);
    *r = (struct records){.space = r->space};
}
