/* One way to compute a shape, a variant, as a search space with its search. */
#ifndef TUNE_PATH_H
#define TUNE_PATH_H

#include "remote.h"
#include "search.h"

struct path {
    const struct variant *variant;
    struct problem problem;
    struct device_caps caps;
    struct space space;
    struct search *search;
    double best_ns; /* INFINITY: nothing worked yet */
    int evaluations;
    double seconds;       /* that they took */
    double build_seconds; /* part of them */
    bool has_result;      /* among its starts are tuning results */
    bool is_dropped;
};

enum path_seeds { SEEDS_ALL, SEEDS_SAFE, SEEDS_HEURISTIC, SEEDS_NONE };

/* Less than the whole space, as the user asked. */
struct path_limits {
    const char *variant; /* NULL: all */
    const char *values;  /* "VEC=8,16 MICRO_D=4": other values of those tunables are left out; NULL:
                            none */
};

/* Whether `values` can be read; else why not. */
bool path_check_limits(const struct path_limits *limits, char *why, size_t why_bytes);

/* False where the variant can't do this shape, is not among `limits`, or has nothing to tune. The
 * path must not be moved: its space points to it. config: seeds from tuning results. */
bool path_open(struct path *path, const struct variant *variant, const struct shape *shape,
               const struct device_caps *caps, const struct path_limits *limits,
               const struct config *config, enum path_seeds seeds, enum search_method method,
               uint64_t seed);
void path_close(struct path *path);

/* Values of the variant's domains, before fit(). */
struct tuning path_tuning(const struct path *path, const struct point *point);
struct point path_point(const struct path *path, const struct tuning *tuning);

double path_combinations(const struct path *path);

#endif
