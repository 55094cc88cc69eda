/* The shapes that a run without --shape covers: those of common models. */
#ifndef TUNE_BENCHMARK_H
#define TUNE_BENCHMARK_H

struct benchmark_shape {
    const char *text;
    int weight; /* its share of a run's budget */
};

extern const struct benchmark_shape benchmark_shapes[]; /* ends with a NULL text */

#endif
