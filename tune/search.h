/* Proposes configurations and is told how fast they are; does nothing else.
 *
 * Seeds, then stratified random points, then a local search that a model of the times leads. The
 * same seed and the same answers give the same proposals. */
#ifndef TUNE_SEARCH_H
#define TUNE_SEARCH_H

#include "space.h"

enum search_method { SEARCH_LOCAL, SEARCH_RANDOM, SEARCH_EXHAUSTIVE };

struct search_options {
    enum search_method method;
    uint64_t seed;
    const struct point *starts; /* tried first, in this order; illegal ones are left out */
    int start_count;
};

struct search;

/* NULL when memory runs out. The space must outlive the search. */
struct search *search_create(const struct space *space, const struct search_options *options);
void search_destroy(struct search *search);

/* The next point to measure, never one that was told before; the same again until it is told. False
 * when there is none left, or, in a space of many millions, none that is found. */
bool search_next(struct search *search, struct point *point);

/* Less is better; INFINITY for a point that failed. Points that were not proposed may be told too:
 * what a journal remembers. */
void search_tell(struct search *search, const struct point *point, double ns);

/* Whether a point was told that differs in nothing that takes another build. */
bool search_has_build(const struct search *search, const struct point *point);

/* How many evaluations a new build is worth; 1, as at first, where only their number counts. Where
 * builds are dear the search makes more of each. */
void search_set_build_cost(struct search *search, double cost);

/* Up to `count` best points that did not fail, best first; returns how many. */
#define SEARCH_MAX_BEST 64
int search_best(const struct search *search, struct point *points, double *ns, int count);

#endif
