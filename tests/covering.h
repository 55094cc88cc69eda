/* A covering array: rows of values of several factors such that every triple of values of any
 * three factors occurs in some row. */
#ifndef TESTS_COVERING_H
#define TESTS_COVERING_H

#include "numbers.h"

#define MAX_FACTORS 6

struct covering {
    int factors;
    int levels[MAX_FACTORS];
    int rows, triples;
    int (*values)[MAX_FACTORS]; /* [rows] */
};

/* Greedy, and the same for the same levels and seed. `values` is NULL when out of memory. */
struct covering covering_make(int factors, const int levels[], uint64_t seed);
void covering_release(struct covering *covering);

#endif
