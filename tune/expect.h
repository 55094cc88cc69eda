/* What a call must give, computed on the host in double precision: all of it, or as many samples as
 * there is time for. */
#ifndef TUNE_EXPECT_H
#define TUNE_EXPECT_H

#include "operands.h"

/* Stretches of one output, `width` elements long. */
struct expected {
    int64_t count, width;
    int64_t *at;    /* [count]: where each begins, from the buffer's start */
    double *exact;  /* [count][width] */
    double bound;   /* of the error: several times that of a plain computation in fp32 */
    double largest; /* of exact */
};

/* Fills an entry for each output that `operands` has; terms: multiply-adds that may be spent on the
 * samples, three times over. False when memory runs out; to be released in
 * any case. */
bool expect(const struct problem *problem, const struct operands *operands,
            const struct values *values, double terms, struct expected expected[OUTPUT_COUNT]);
void expected_release(struct expected expected[OUTPUT_COUNT]);

/* Whether the output, read from the device, is within the bound; *max_error becomes at least its
 * largest error over the largest exact value. */
bool expected_holds(const struct expected *expected, enum number type, const unsigned char *bytes,
                    const char *name, double *max_error, char *why, size_t why_bytes);

#endif
