/* What a device can be timed at, and how. */
#ifndef BENCH_CONTENDER_H
#define BENCH_CONTENDER_H

#include "case.h"

/* A way to compute a case, or to measure the device beside it. */
struct contender {
    const char *name;
    /* NULL with a reason where it can't do this case. */
    void *(*open)(const struct bench *device, const struct bench_case *c, char *why,
                  size_t why_bytes);
    /* Enqueues one call; whoever times it waits for the queue. */
    void (*call)(void *state, const struct bench *device, const struct bench_case *c);
    /* Adds what is worth knowing to the answer: flops, bytes, the variant. */
    void (*describe)(const void *state, json_t *json);
    void (*close)(void *state);
};

/* contender_mha's open() in two steps: the plan of a case, and its state, whose the plan is then.
 */
mha_status bench_make_plan(const struct bench *device, const struct bench_case *c, mha_plan **plan,
                           mha_error *error);
void *bench_open_plan(const struct bench *device, const struct bench_case *c, mha_plan *plan,
                      char *why, size_t why_bytes);

extern const struct contender contender_mha, contender_clblast, contender_read, contender_peak;

#endif
