/* Two candidates measured in turn: what one is worth against the other. */
#ifndef TUNE_PAIR_H
#define TUNE_PAIR_H

#include "remote.h"

#define PAIR_ROUNDS 16
#define PAIR_PART 4 /* rounds of a process, where that divides them all */
#define PAIR_MOST_ROUNDS 1000

struct pair {
    double ns[2], mad_ns[2];
    double ratio, low, high; /* how many times as fast the second is, with its 95 % interval */
};

/* Checks the results of both, then measures them. */
struct measurement pair_measure(struct remote *remote, const struct shape *shape,
                                const struct candidate candidates[2], int rounds, bool is_warm,
                                struct pair *pair);

#endif
