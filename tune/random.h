/* Random numbers, the same ones on every machine. */
#ifndef TUNE_RANDOM_H
#define TUNE_RANDOM_H

#include <stdint.h>

/* Any state is a good one to begin with. */
uint64_t random_next(uint64_t *state);

/* 0 .. count - 1 */
int random_below(uint64_t *state, int count);

#endif
