/* Points with their times, in the order they came, and found again by their values. */
#ifndef TUNE_RECORDS_H
#define TUNE_RECORDS_H

#include "space.h"

struct record {
    struct point point;
    double ns;
};

struct records {
    const struct space *space;
    struct record *list;
    size_t count, capacity;
    uint32_t *slots; /* a hash table of numbers in the list plus one; twice the capacity */
};

/* NULL where there is none. */
struct record *records_find(const struct records *records, const struct point *point);

/* The record may have no point that is there already. False when memory runs out. */
bool records_add(struct records *records, const struct record *record);
void records_release(struct records *records);

#endif
