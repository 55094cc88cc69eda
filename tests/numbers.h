/* Storage types on the host: doubles to and from the bytes a device reads. */
#ifndef TESTS_NUMBERS_H
#define TESTS_NUMBERS_H

#include "mha_cl.h"

/* The element types of every buffer of a call: mha_dtype, and those of lengths and masks. */
enum number {
    NUMBER_F32 = MHA_F32,
    NUMBER_F16 = MHA_F16,
    NUMBER_BF16 = MHA_BF16,
    NUMBER_F64 = MHA_F64,
    NUMBER_I32,
    NUMBER_U8
};

const char *number_name(enum number type);
size_t number_bytes(enum number type);

/* The distance from 1 to the next larger value. */
double number_epsilon(enum number type);

/* Stores `value`, rounded once to the nearest even, as element `index`; returns what was stored. */
double number_put(enum number type, void *data, int64_t index, double value);
double number_get(enum number type, const void *data, int64_t index);

/* `value` rounded once to the nearest even. */
double number_round(enum number type, double value);

/* Uniform values from a seed; equal seeds give equal sequences on every machine. */
struct random {
    uint64_t state;
};
uint64_t random_bits(struct random *random);
double random_uniform(struct random *random, double low, double high);
int64_t random_integer(struct random *random, int64_t low, int64_t high); /* both ends included */

#endif
